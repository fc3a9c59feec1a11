/* lane.c - one TUN queue: packets in, decisions, and what is done about each. Does I/O; Linux only. */
#include "forward.h"

#if FC_FORWARD_HERE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../common/bytes.h"
#include "checksum.h"

#define BUFFER \
    (512u * 1024u) /* a batch of small packets, or seven super-packets: it should stay in the second-level cache */
#define COUNTERS_AHEAD 6u /* packets for which the place of a counter is asked from memory */
#define FRAGMENTS 4096u   /* first fragments remembered */
#define STREAM_SLOTS 32u  /* packets of one recvmmsg; */
#define STREAM_SLOT (FC_FWD_HEADROOM + 65536u + 192u) /* not a power of two, so that they don't meet in the cache */
#define WHOLE (2u * 65536u)
#define WAITING 4096u /* packets for the agent, */
#define WAITING_OCTETS (8u << 20)
#define MOST_HEADERS 4096u /* of a super-packet: see FC_FWD_SEGMENT */

enum { VNET_NEEDS_CHECKSUM = 1, VNET_TCP4 = 1, VNET_TCP6 = 4, VNET_UDP = 5, VNET_ECN = 0x80 }; /* linux/virtio_net.h */

/* Under AddressSanitizer, reading past a packet is found although the next one lies behind it. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define GAP 256u
#define FORBID(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define ALLOW(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define GAP 0u
#define FORBID(p, n) ((void)(p))
#define ALLOW(p, n) ((void)(p))
#endif

uint64_t fc_fwd_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

static void *pages(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static int is_internet(int fd)
{
    int domain = 0;
    socklen_t size = sizeof domain;
    return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
           (domain == AF_INET || domain == AF_INET6);
}

int fc_fwd_lane_new(fc_forwarder *f, unsigned number, fc_fwd_lane **out)
{
    fc_fwd_lane *l = calloc(1, sizeof *l);
    if (!l)
        return FC_ENOMEM;
    *out = l;
    l->forwarder = f;
    l->number = number;
    l->tun = f->options.tun[number];
    l->out6.fd = f->options.output;
    l->out4.fd = f->options.output4;
    l->udp.fd = f->options.udp;
    l->out6.nameless = !is_internet(l->out6.fd);
    l->out4.nameless = !is_internet(l->out4.fd);
    memcpy(&l->random, f->options.secret + 8, sizeof l->random);
    l->random += number;
    l->now = fc_fwd_now();
    l->errors = (fc_fwd_bucket){FC_FWD_ERRORS_RATE, FC_FWD_ERRORS_RATE, l->now};
    l->tellings = (fc_fwd_bucket){FC_FWD_TELL_RATE, FC_FWD_TELL_RATE, l->now};
    l->buffer = pages(BUFFER);
    l->whole = malloc(WHOLE);
    l->scratch = malloc(FC_FWD_SCRATCH);
    if (number == 0)
        l->stream = pages((size_t)STREAM_SLOTS * STREAM_SLOT);
    if (!l->buffer || !l->whole || !l->scratch || (number == 0 && !l->stream))
        return FC_ENOMEM;
    int status = fc_fragments_new(FRAGMENTS, f->options.secret, &l->fragments);
    return status == FC_OK ? fc_fwd_reassembly_new(&l->reassembly) : status;
}

void fc_fwd_lane_free(fc_fwd_lane *l)
{
    if (!l)
        return;
    if (l->buffer) {
        ALLOW(l->buffer, BUFFER);
        munmap(l->buffer, BUFFER);
    }
    if (l->stream)
        munmap(l->stream, (size_t)STREAM_SLOTS * STREAM_SLOT);
    free(l->whole);
    free(l->scratch);
    fc_fragments_free(l->fragments);
    fc_fwd_reassembly_free(l->reassembly);
    for (fc_fwd_flows *t = l->flows, *before; t; t = before) {
        before = t->before;
        free(t);
    }
    free(l);
}

/* ---- To the agent ----------------------------------------------------------------------------------------------- */

void fc_fwd_tell(fc_fwd_lane *l, const fc_fwd_packet *p, const fc_fwd_outer *outer)
{
    fc_forwarder *f = l->forwarder;
    fc_fwd_waiting *w = malloc(sizeof *w);
    fc_local *local = malloc(sizeof *local + p->length);
    int room = 0;
    if (w && local) {
        local->length = p->length;
        local->queue = outer ? outer->queue : (int32_t)l->number;
        local->port = outer ? outer->port : 0;
        fc_put32(local->address, outer && outer->port ? (uint32_t)outer->source.words[1] : 0);
        memcpy(local->packet, p->data, p->length);
        *w = (fc_fwd_waiting){NULL, local};
        pthread_mutex_lock(&f->waiting_lock);
        room = f->waiting < WAITING && f->waiting_octets + p->length <= WAITING_OCTETS;
        if (room) {
            *f->last = w;
            f->last = &w->next;
            f->waiting++;
            f->waiting_octets += p->length;
        }
        pthread_mutex_unlock(&f->waiting_lock);
    }
    if (!room) {
        free(w);
        free(local);
        fc_fwd_drop_packet(l, FC_DROP_LOCAL, p);
        return;
    }
    fc_fwd_count(l, FC_FORWARD_LOCAL, 1, p->length);
    if (l->number != 0)
        (void)eventfd_write(f->wake, 1);
}

/* ---- What is done about a packet ------------------------------------------------------------------------------- */

int fc_fwd_describe(fc_fwd_packet *p, const fc_key *key, const fc_packet *info)
{
    if (info->status != FC_PACKET_OK || info->flags & FC_PACKET_CUT || info->depth != 1)
        return 0;
    p->length = info->ip_length; /* what is behind it is no part of it */
    p->transport = info->transport_offset;
    p->protocol = key->protocol;
    p->version = key->version;
    p->fragment = info->fragment;
    return 1;
}

/* RFC 6275 10.4.2, RFC 4291 2.5.6 and 2.7, RFC 3927 7: never sent on. */
int fc_fwd_stays(const fc_key *k)
{
    const uint64_t *a = k->destination;
    if (k->version == 4)
        return a[1] >> 16 == 0xa9fe || a[1] >> 8 == 0xe00000 || a[1] >> 24 == 127 || a[1] >> 24 == 0 ||
               a[1] == 0xffffffff;
    return a[0] >> 54 == 0x3fa || (a[0] >> 56 == 0xff && (a[0] >> 48 & 15) <= 2) || (a[0] == 0 && a[1] <= 1);
}

void fc_fwd_decided(fc_fwd_lane *l, fc_fwd_packet *p, const fc_key *k, const fc_decision *d)
{
    uint64_t octets;
    uint32_t n;
    switch (d->action) {
    case FC_ACTION_FORWARD:
    case FC_ACTION_NCAST:
        fc_fwd_tunnel(l, p, d);
        break;
    case FC_ACTION_DISCARD:
        n = fc_fwd_segments(p, &octets);
        fc_fwd_count(l, FC_FORWARD_DISCARD, n, octets);
        fc_fwd_count_flow(l, d->node, d->version, FC_FORWARD_FLOW, d->fid, n, octets);
        break;
    default:
        if (fc_fwd_stays(k)) {
            fc_fwd_drop_packet(l, FC_DROP_SCOPE, p);
        } else {
            fc_fwd_unreachable(l, p);
            fc_fwd_drop_packet(l, FC_DROP_UNBOUND, p);
        }
    }
}

static uint16_t host16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

/* 0: it would lie in headers that are read already, or behind the packet. */
static int finish_checksum(fc_fwd_packet *p, uint32_t start, uint32_t offset)
{
    if (start < p->transport || start >= p->length || start + offset + 2 > p->length)
        return 0;
    uint8_t *field = p->data + start + offset;
    fc_put_checksum(field, fc_sum(p->data + start, p->length - start, 0));
    if (p->protocol == FC_PROTOCOL_UDP && field[0] == 0 && field[1] == 0)
        fc_put16(field, 0xffff);
    return 1;
}

/* What the virtual network header leaves to do: a checksum, segments. 0: it makes no sense. */
static int offloads(fc_fwd_packet *p, const uint8_t *h, int own)
{
    uint32_t type = h[1] & ~(uint32_t)VNET_ECN, gso = host16(h + 4), start = host16(h + 6), offset = host16(h + 8);
    if (type == 0)
        return !(h[0] & VNET_NEEDS_CHECKSUM) || finish_checksum(p, start, offset);
    int tcp = type == VNET_TCP4 || type == VNET_TCP6;
    if (!(h[0] & VNET_NEEDS_CHECKSUM) || start != p->transport || p->fragment != FC_FRAGMENT_NONE || gso == 0 ||
        !(tcp ? p->protocol == FC_PROTOCOL_TCP && offset == 16 && p->version == (type == VNET_TCP4 ? 4 : 6)
              : type == VNET_UDP && p->protocol == FC_PROTOCOL_UDP && offset == 6))
        return 0;
    if (p->length - start < (tcp ? 20 : 8))
        return 0;
    p->header = start + (tcp ? (p->data[start + 12] >> 4) * 4u : 8u);
    if ((tcp && p->header < start + 20) || p->header > MOST_HEADERS || p->header >= p->length)
        return 0;
    if (own || p->length - p->header <= gso)
        return finish_checksum(p, start, offset);
    p->gso = (uint16_t)gso;
    return 1;
}

/* Datagrams of RFC 5555 that came as one super-packet. Each is opened where it lies, so those before it must be gone.
 */
static void own_datagrams(fc_fwd_lane *l, const fc_fwd_packet *p, uint32_t gso)
{
    fc_fwd_outer from = {
        .queue = (int32_t)l->number, .port = fc_be16(p->data + p->transport), .ecn = p->data[1] & 3, .depth = 1};
    from.source = (fc_address){{0, fc_be32(p->data + 12)}, 4, 0, {0}};
    for (uint32_t at = p->transport + 8; at < p->length; at += gso) {
        fc_fwd_packet one = *p;
        one.length = p->length - at < gso ? p->length : at + gso;
        if (p->data[at] >> 4 != 4 && p->data[at] >> 4 != 6)
            continue;
        fc_fwd_open(l, &one, at, &from);
        fc_fwd_inner(l);
        fc_fwd_flush(l);
    }
}

static void one(fc_fwd_lane *l, unsigned i)
{
    fc_fwd_packet *p = &l->packet[i];
    fc_key key = l->key[i]; /* a packet that is opened brings others' */
    fc_packet info = l->info[i];
    int end = l->forwarder->options.role != FC_FORWARD_HOME_AGENT, own = !end && fc_fwd_is_own(l->forwarder, &key);
    const uint8_t *vnet = l->vnet[i];
    if (!fc_fwd_describe(p, &key, &info)) {
        fc_fwd_drop_packet(l, FC_DROP_MALFORMED, p);
        return;
    }
    if (own && l->forwarder->options.vnet_header && vnet[1] == VNET_UDP && p->version == 4 &&
        p->protocol == FC_PROTOCOL_UDP && p->length - p->transport > 8 && host16(vnet + 4) &&
        fc_be16(p->data + p->transport + 2) == RFC5555_PORT) {
        own_datagrams(l, p, host16(vnet + 4));
        return;
    }
    if (l->forwarder->options.vnet_header && !offloads(p, vnet, own)) {
        fc_fwd_drop_packet(l, FC_DROP_MALFORMED, p);
        return;
    }
    if (end)
        fc_fwd_leave(l, p, &key, &l->decision[i]);
    else if (own)
        fc_fwd_own(l, p, &info, NULL);
    else
        fc_fwd_decided(l, p, &key, &l->decision[i]);
}

/* ---- Reading --------------------------------------------------------------------------------------------------------
 */

static void read_tun(fc_fwd_lane *l)
{
    ALLOW(l->buffer, BUFFER);
    uint32_t before = l->forwarder->options.vnet_header ? FC_FWD_VNET : 0, at = 0;
    unsigned n = 0;
    while (n < FC_FWD_BATCH && BUFFER - at >= FC_FWD_HEADROOM + FC_FWD_LARGEST + GAP + 64) {
        uint8_t *p = l->buffer + at + FC_FWD_HEADROOM;
        ssize_t got = read(l->tun, p - before, FC_FWD_LARGEST + before);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (got <= 0) {
            l->failed = 1;
            break;
        }
        if ((size_t)got <= before) {
            fc_fwd_drop(l, FC_DROP_MALFORMED, 1, 0);
            continue;
        }
        memcpy(l->vnet[n], p - before, before);
        l->packet[n] = (fc_fwd_packet){.data = p, .length = (uint32_t)got - before, .counted = 1};
        l->offset[n] = at + FC_FWD_HEADROOM;
        l->length[n] = l->packet[n].length;
        at = (at + FC_FWD_HEADROOM + l->packet[n].length + GAP + 63u) & ~63u;
        FORBID(p + l->packet[n].length, (size_t)(l->buffer + at - p) - l->packet[n].length);
        n++;
    }
    l->n = n;
}

/* Tunnel packets over IPv4: datagrams of RFC 5555, or whole packets from a raw socket. */
static unsigned read_socket(fc_fwd_lane *l, int fd, int raw)
{
    struct mmsghdr m[STREAM_SLOTS];
    struct iovec v[STREAM_SLOTS];
    struct sockaddr_in from[STREAM_SLOTS];
    memset(m, 0, sizeof m);
    for (unsigned i = 0; i < STREAM_SLOTS; i++) {
        v[i] = (struct iovec){l->stream + (size_t)i * STREAM_SLOT + FC_FWD_HEADROOM, 65536};
        m[i].msg_hdr =
            (struct msghdr){.msg_name = &from[i], .msg_namelen = sizeof from[i], .msg_iov = &v[i], .msg_iovlen = 1};
    }
    int got = fd < 0 ? 0 : recvmmsg(fd, m, STREAM_SLOTS, MSG_DONTWAIT, NULL);
    for (int i = 0; i < got; i++) {
        fc_fwd_packet p = {.data = v[i].iov_base, .length = m[i].msg_len};
        fc_fwd_outer outer = {.queue = -1, .depth = 1};
        outer.source = (fc_address){{0, fc_be32((const uint8_t *)&from[i].sin_addr)}, 4, 0, {0}};
        uint32_t at = 0;
        if (raw) { /* the kernel has checked and reassembled it */
            at = p.length < FC_FWD_IPV4_HEADER ? p.length : (p.data[0] & 15u) * 4u;
            outer.ecn = p.length < FC_FWD_IPV4_HEADER ? 0 : p.data[1] & 3;
        } else {
            outer.port = fc_be16((const uint8_t *)&from[i].sin_port);
        }
        if (at < p.length && from[i].sin_family == AF_INET && (raw || outer.port) &&
            (p.data[at] >> 4 == 4 || p.data[at] >> 4 == 6))
            fc_fwd_open(l, &p, at, &outer);
    }
    fc_fwd_inner(l);
    if (got > 0)
        fc_fwd_flush(l); /* the next packets come where these are */
    return got > 0 ? (unsigned)got : 0;
}

unsigned fc_fwd_lane_serve(fc_fwd_lane *l, int sockets)
{
    fc_parse_options options = {.fragments = l->fragments};
    read_tun(l);
    unsigned n = l->n;
    if (n || sockets)
        l->now = fc_fwd_now();
    options.now = (int64_t)l->now * 1000000;
    if (n) {
        fc_parse_batch(FC_LINK_RAW, NULL, l->buffer, l->offset, l->length, n, &options, l->key, l->info);
        (void)fc_fib_classify_parsed(l->forwarder->fib, l->key, l->info, n, FC_KERNEL_AUTO, 1, l->decision);
        for (unsigned i = 0; i < n; i++) {
            const fc_decision *ahead = &l->decision[i + COUNTERS_AHEAD < n ? i + COUNTERS_AHEAD : i];
            fc_fwd_expect_flow(l, ahead->node, fc_fwd_kind(ahead), ahead->fid);
            one(l, i);
        }
    }
    fc_fwd_inner(l);
    if (sockets) {
        const fc_forward_options *o = &l->forwarder->options;
        n += read_socket(l, o->udp, 0) + read_socket(l, o->tunnel4[0], 1) + read_socket(l, o->tunnel4[1], 1);
    }
    if (sockets && l->forwarder->options.role != FC_FORWARD_HOME_AGENT)
        n += fc_fwd_read_end(l);
    if (n) {
        fc_fwd_flush(l);
        l->scratch_used = 0;
        fc_fwd_reassembly_done(l->reassembly);
        fc_fwd_add(&l->batches, 1);
    }
    return n;
}
#endif
