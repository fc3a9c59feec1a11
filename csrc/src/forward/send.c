/* send.c - batches of packets to send: one system call for up to FC_FWD_BATCH. Does I/O; Linux only.
 *
 * Nothing is copied on the way here: a message is up to three pieces (tunnel header, headers of a segment, payload) of
 * memory that stays as it is until the flush at the end of the batch. A socket that has no room is waited for, for a
 * moment; a packet that can't go is dropped and counted, and those behind it go on. */
#include "forward.h"

#if FC_FORWARD_HERE
#include <errno.h>
#include <linux/errqueue.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "../common/bytes.h"
#include "checksum.h"

#define PATIENCE 20 /* ms that a full socket is waited for */

static uint64_t octets_of(const struct msghdr *m)
{
    uint64_t n = 0;
    for (size_t i = 0; i < m->msg_iovlen; i++)
        n += m->msg_iov[i].iov_len;
    return n;
}

/* A packet was too long for the device: the kernel put its MTU into the socket's error queue. */
static void learn_mtu(fc_fwd_lane *l, const fc_fwd_batch *b, const struct msghdr *failed)
{
    uint8_t control[512], data[64];
    struct iovec piece = {data, sizeof data};
    struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    fc_address to = {{0, 0}, 6, 0, {0}};
    const struct sockaddr_in6 *address = failed->msg_name;
    if (b != &l->out6 || !address)
        return;
    to.words[0] = fc_be64(address->sin6_addr.s6_addr);
    to.words[1] = fc_be64(address->sin6_addr.s6_addr + 8);
    while (recvmsg(b->fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0) {
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
            struct sock_extended_err e;
            if (c->cmsg_level != IPPROTO_IPV6 || c->cmsg_type != IPV6_RECVERR)
                continue;
            memcpy(&e, CMSG_DATA(c), sizeof e);
            if (e.ee_errno == EMSGSIZE && e.ee_info)
                fc_fwd_note_path(l->forwarder, &to, e.ee_info, l->now);
        }
        m.msg_controllen = sizeof control;
    }
}

static void flush(fc_fwd_lane *l, fc_fwd_batch *b)
{
    unsigned done = 0;
    int waited = 0;
    while (done < b->n) {
        int sent = sendmmsg(b->fd, b->message + done, b->n - done, MSG_DONTWAIT);
        if (sent > 0) {
            uint64_t octets = 0;
            for (unsigned i = done; i < done + (unsigned)sent; i++)
                octets += octets_of(&b->message[i].msg_hdr);
            fc_fwd_count(l, FC_FORWARD_SENT, (uint64_t)sent, octets);
            done += (unsigned)sent;
            continue;
        }
        if (errno == EINTR)
            continue;
        if ((errno == EAGAIN || errno == EWOULDBLOCK) && !waited) {
            struct pollfd p = {b->fd, POLLOUT, 0};
            waited = poll(&p, 1, PATIENCE) <= 0; /* what is left is tried once more, then dropped one by one */
            continue;
        }
        if (errno == EMSGSIZE)
            learn_mtu(l, b, &b->message[done].msg_hdr);
        fc_fwd_drop(l, errno == EMSGSIZE ? FC_DROP_TOO_BIG : FC_DROP_SEND, 1, octets_of(&b->message[done].msg_hdr));
        done++;
    }
    b->n = 0;
}

void fc_fwd_flush(fc_fwd_lane *l)
{
    flush(l, &l->out6);
    flush(l, &l->out4);
    flush(l, &l->udp);
}

void fc_fwd_by(fc_fwd_lane *l, const fc_fwd_way *w)
{
    fc_fwd_batch *b = w->version == 6 ? &l->out6 : w->port ? &l->udp : &l->out4;
    if (b->nameless)
        return;
    struct msghdr *m = &b->message[b->n - 1].msg_hdr;
    m->msg_control = &b->control[b->n - 1];
    m->msg_controllen = fc_fwd_control_of(&b->control[b->n - 1], w->version, w->from, w->interface);
}

void fc_fwd_begin(fc_fwd_lane *l)
{
    if (FC_FWD_SCRATCH - l->scratch_used < FC_FWD_SEGMENT) {
        fc_fwd_flush(l);
        l->scratch_used = 0;
    }
}

uint8_t *fc_fwd_scratch(fc_fwd_lane *l, uint32_t size)
{
    size = (size + 15u) & ~15u;
    if (FC_FWD_SCRATCH - l->scratch_used < size)
        return NULL;
    uint8_t *p = l->scratch + l->scratch_used;
    l->scratch_used += size;
    return p;
}

static struct msghdr *message(fc_fwd_lane *l, fc_fwd_batch *b, unsigned pieces)
{
    if (b->n == FC_FWD_BATCH)
        flush(l, b);
    struct msghdr *m = &b->message[b->n].msg_hdr;
    memset(m, 0, sizeof *m);
    m->msg_name = b->nameless ? NULL : &b->to[b->n];
    m->msg_iov = b->piece[b->n];
    m->msg_iovlen = pieces;
    b->n++;
    return m;
}

struct iovec *fc_fwd_to6(fc_fwd_lane *l, const uint8_t address[16], unsigned pieces)
{
    struct msghdr *m = message(l, &l->out6, pieces);
    struct sockaddr_in6 *to = m->msg_name;
    if (!to)
        return m->msg_iov;
    m->msg_namelen = sizeof *to;
    memset(to, 0, sizeof *to);
    to->sin6_family = AF_INET6;
    memcpy(&to->sin6_addr, address, 16);
    return m->msg_iov;
}

static struct iovec *to_ipv4(fc_fwd_lane *l, fc_fwd_batch *b, const uint8_t address[4], uint16_t port, unsigned pieces)
{
    struct msghdr *m = message(l, b, pieces);
    struct sockaddr_in *to = m->msg_name;
    if (!to)
        return m->msg_iov;
    m->msg_namelen = sizeof *to;
    memset(to, 0, sizeof *to);
    to->sin_family = AF_INET;
    memcpy(&to->sin_addr, address, 4);
    fc_put16((uint8_t *)&to->sin_port, port);
    return m->msg_iov;
}

struct iovec *fc_fwd_to4(fc_fwd_lane *l, const uint8_t address[4], unsigned pieces)
{
    return to_ipv4(l, &l->out4, address, 0, pieces);
}

struct iovec *fc_fwd_to_udp(fc_fwd_lane *l, const uint8_t address[4], uint16_t port, unsigned pieces)
{
    return to_ipv4(l, &l->udp, address, port, pieces);
}

/* Into the kernel, which routes it on. */
void fc_fwd_to_tun(fc_fwd_lane *l, const fc_fwd_packet *p)
{
    uint32_t before = l->forwarder->options.vnet_header ? FC_FWD_VNET : 0;
    memset(p->data - before, 0, before);
    for (int tries = 0; tries < 3; tries++) {
        if (write(l->tun, p->data - before, p->length + before) >= 0) {
            fc_fwd_count(l, FC_FORWARD_REVERSE, 1, p->length);
            return;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            struct pollfd wait = {l->tun, POLLOUT, 0};
            (void)poll(&wait, 1, PATIENCE);
        } else if (errno != EINTR) {
            break;
        }
    }
    fc_fwd_drop_packet(l, FC_DROP_SEND, p);
}

int fc_forwarder_send(fc_forwarder *f, const uint8_t *packet, size_t length)
{
    unsigned version = length ? packet[0] >> 4 : 0;
    struct sockaddr_in6 to6 = {.sin6_family = AF_INET6};
    struct sockaddr_in to4 = {.sin_family = AF_INET};
    struct iovec v = {(void *)(uintptr_t)packet, length};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    fc_fwd_control control;
    if ((version != 6 || length < FC_FWD_IPV6_HEADER) && (version != 4 || length < FC_FWD_IPV4_HEADER))
        return -EINVAL;
    int fd = version == 6 ? f->options.output : f->options.output4;
    if (fd < 0)
        return -EAFNOSUPPORT;
    if (!(version == 6 ? f->lane[0]->out6.nameless : f->lane[0]->out4.nameless)) {
        memcpy(&to6.sin6_addr, packet + 24, version == 6 ? 16 : 0);
        memcpy(&to4.sin_addr, packet + 16, 4);
        m.msg_name = version == 6 ? (void *)&to6 : (void *)&to4;
        m.msg_namelen = version == 6 ? sizeof to6 : sizeof to4;
        uint32_t interface = f->options.role == FC_FORWARD_HOME_AGENT ? 0 : fc_fwd_interface(f, packet);
        if (interface) {
            m.msg_control = &control;
            m.msg_controllen = fc_fwd_control_of(&control, version, packet + (version == 6 ? 8 : 12), interface);
        }
    }
    return sendmsg(fd, &m, 0) < 0 ? -errno : 0;
}
#endif
