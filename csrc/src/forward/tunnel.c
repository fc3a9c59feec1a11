/* tunnel.c - into tunnels: what RFC 2473 asks of a tunnel's entry point (RFC 4213 and RFC 5555 where IPv4 is outside).
 *
 *   inner | outer      header                              next header
 *   IPv6  | IPv6       40 octets (48 with a limit option)  41          hop limit: configured; traffic class and flow
 * label: IPv4  | IPv6       40 (48)                             4           the inner packet's, ECN bits included (RFC
 * 6040) IPv6  | IPv4       20                                  41          DF clear, identification and checksum the
 * kernel's IPv4  | IPv4       20                                  4 any   | UDP, IPv4  28, both the kernel's 17 RFC
 * 5555 with a NAT in between
 *
 * A packet that is too long for the path less that header: IPv6 above 1280 octets, or IPv4 with DF, goes back as an
 * ICMP error that says what would fit; anything else is put into the tunnel and the tunnel packet is fragmented (RFC
 * 2473 7).
 *
 * An offloaded packet (a "super-packet": one header and up to 64 KiB of payload that a network card or virtual device
 * was to cut up) is decided once. It is cut here, each segment with headers of its own before a slice of the payload,
 * which is not copied, because no kernel takes a super-packet inside of a protocol 41 tunnel that it hasn't built
 * itself. */
#include "forward.h"

#if FC_FORWARD_HERE
#include <stdlib.h>
#include <string.h>

#include "../common/bytes.h"
#include "checksum.h"

#define LIMIT_OPTION 4
#define TCP_FIN 1u
#define TCP_PSH 8u
#define TCP_CWR 0x80u

/* A packet, or a segment of one, that goes into tunnels. */
typedef struct piece {
    uint8_t *head; /* headers of a segment, or the whole packet */
    const uint8_t *body;
    uint32_t head_size, body_size;
    int room; /* nobody uses the octets before the head */
} piece;

/* Where the value of the packet's tunnel encapsulation limit is, or 0 (RFC 2473 4.1.1). */
static uint32_t limit_at(const fc_fwd_packet *p)
{
    uint32_t at = FC_FWD_IPV6_HEADER;
    uint8_t next = p->data[6];
    if (p->version != 6)
        return 0;
    while ((next == FC_PROTOCOL_HOP_BY_HOP || next == FC_PROTOCOL_DESTINATION_OPTIONS || next == FC_PROTOCOL_ROUTING) &&
           at + 8 <= p->transport) {
        uint32_t end = at + 8u * (p->data[at + 1] + 1u), option = at + 2;
        while (next == FC_PROTOCOL_DESTINATION_OPTIONS && option + 2 < end && end <= p->transport) {
            const uint8_t *o = p->data + option;
            if (o[0] == LIMIT_OPTION && o[1] == 1)
                return option + 2;
            option += o[0] == 0 ? 1 : 2u + o[1];
        }
        next = p->data[at];
        at = end;
    }
    return 0;
}

/* How often has this agent itself put the packet into a tunnel already? A care-of address can be the home address of a
 * node whose care-of address is the first one's home address. */
static unsigned nesting(const fc_fwd_lane *l, const fc_fwd_packet *p)
{
    unsigned depth = 0;
    uint32_t at = 0;
    while (at + FC_FWD_IPV6_HEADER <= p->length && p->data[at] >> 4 == 6 && depth <= FC_FWD_DEPTH &&
           memcmp(p->data + at + 8, l->forwarder->options.home_agent, 16) == 0) {
        uint8_t next = p->data[at + 6];
        uint32_t inner = at + FC_FWD_IPV6_HEADER;
        if (next == FC_PROTOCOL_DESTINATION_OPTIONS && inner + 8 <= p->length) {
            next = p->data[inner];
            inner += 8u * (p->data[inner + 1] + 1u);
        }
        if (next != FC_PROTOCOL_IPV6_IN_IP)
            break;
        at = inner;
        depth++;
    }
    return depth;
}

/* ---- Segments --------------------------------------------------------------------------------------------------- */

/* The headers of the segment that begins `done` octets into the payload, number i, into `h`. */
static void segment_headers(const fc_fwd_packet *p, uint32_t i, uint32_t done, uint32_t size, uint8_t *h)
{
    uint32_t at = p->transport, length = p->header - at + size, whole = p->length - at;
    int last = p->header + done + size == p->length;
    memcpy(h, p->data, p->header);
    if (p->version == 6) {
        fc_put16(h + 4, p->header + size - FC_FWD_IPV6_HEADER);
    } else {
        fc_put16(h + 2, p->header + size);
        fc_put16(h + 4, fc_be16(h + 4) + i);
        fc_ipv4_checksum(h, (h[0] & 15u) * 4u);
    }
    /* The field holds the sum of the pseudo-header, with the length of all: from there, so that an address that a
     * routing header has is right too. */
    uint32_t field = at + (p->protocol == FC_PROTOCOL_TCP ? 16 : 6);
    uint64_t sum = (uint16_t)~fc_fold(fc_sum16((uint16_t)whole) + fc_sum16((uint16_t)(whole >> 16)));
    sum = fc_sum(h + field, 2, sum) + fc_sum16((uint16_t)length);
    fc_put16(h + field, 0);
    if (p->protocol == FC_PROTOCOL_TCP) {
        fc_put32(h + at + 4, fc_be32(h + at + 4) + done);
        if (!last)
            h[at + 13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
        if (i)
            h[at + 13] &= (uint8_t)~TCP_CWR;
    } else {
        fc_put16(h + at + 4, length);
    }
    sum = fc_sum(h + at, p->header - at, sum);
    fc_put_checksum(h + field, fc_sum(p->data + p->header + done, size, sum));
    if (p->protocol == FC_PROTOCOL_UDP && h[field] == 0 && h[field + 1] == 0)
        fc_put16(h + field, 0xffff);
}

/* ---- Outer headers ------------------------------------------------------------------------------------------------
 */

static void write_ipv6(const fc_fwd_lane *l, const uint8_t *inner, const fc_fwd_way *w, int32_t limit, uint32_t size,
                       uint8_t *h)
{
    uint8_t next = inner[0] >> 4 == 6 ? FC_PROTOCOL_IPV6_IN_IP : FC_PROTOCOL_IP_IN_IP;
    uint32_t word = fc_be32(inner);
    if (next == FC_PROTOCOL_IP_IN_IP)
        word = 6u << 28 | (word << 4 & 0xff00000);
    fc_put32(h, word);
    fc_put16(h + 4, size + w->overhead - FC_FWD_IPV6_HEADER);
    h[6] = limit < 0 ? next : FC_PROTOCOL_DESTINATION_OPTIONS;
    h[7] = (uint8_t)atomic_load_explicit(&l->forwarder->hop_limit, memory_order_relaxed);
    memcpy(h + 8, w->from, 16);
    memcpy(h + 24, w->to, 16);
    if (limit >= 0) {
        const uint8_t option[8] = {next, 0, LIMIT_OPTION, 1, (uint8_t)limit, 1, 1, 0}; /* and PadN */
        memcpy(h + FC_FWD_IPV6_HEADER, option, sizeof option);
    }
}

static void write_ipv4(const fc_fwd_lane *l, const uint8_t *inner, const fc_fwd_way *w, uint32_t size, uint8_t *h)
{
    int six = inner[0] >> 4 == 6;
    memset(h, 0, FC_FWD_IPV4_HEADER);
    h[0] = 0x45;
    h[1] = six ? (uint8_t)(fc_be32(inner) >> 20) : inner[1];
    fc_put16(h + 2, size + w->overhead);
    h[8] = (uint8_t)atomic_load_explicit(&l->forwarder->hop_limit, memory_order_relaxed);
    h[9] = six ? FC_PROTOCOL_IPV6_IN_IP : FC_PROTOCOL_IP_IN_IP;
    memcpy(h + 12, w->from, 4);
    memcpy(h + 16, w->to, 4);
    fc_ipv4_checksum(h, FC_FWD_IPV4_HEADER);
}

static struct iovec *message_to(fc_fwd_lane *l, const fc_fwd_way *w, unsigned pieces)
{
    struct iovec *v = w->version == 6 ? fc_fwd_to6(l, w->to, pieces)
                      : w->port       ? fc_fwd_to_udp(l, w->to, w->port, pieces)
                                      : fc_fwd_to4(l, w->to, pieces);
    if (w->interface)
        fc_fwd_by(l, w);
    return v;
}

/* The tunnel packet in fragments (RFC 8200 4.5, RFC 791). */
static void send_fragments(fc_fwd_lane *l, const piece *s, const fc_fwd_way *w, int32_t limit)
{
    int six = w->version == 6;
    uint32_t size = s->head_size + s->body_size, fixed = six ? FC_FWD_IPV6_HEADER : FC_FWD_IPV4_HEADER;
    uint8_t *all = l->whole + FC_FWD_HEADROOM, *out;
    fc_fwd_flush(l); /* `whole` may still be in a message */
    if (six)
        write_ipv6(l, s->head, w, limit, size, all);
    else
        write_ipv4(l, s->head, w, size, all);
    memcpy(all + w->overhead, s->head, s->head_size);
    if (s->body_size)
        memcpy(all + w->overhead + s->head_size, s->body, s->body_size);
    uint32_t total = w->overhead + size - fixed, each = (w->path - fixed - (six ? 8 : 0)) & ~7u;
    uint32_t id = (uint32_t)fc_fwd_random(l);
    uint8_t next = all[6];
    for (uint32_t at = 0; at < total; at += each) {
        uint32_t n = total - at < each ? total - at : each, more = at + n < total;
        fc_fwd_begin(l);
        out = fc_fwd_scratch(l, 48);
        if (!out)
            return;
        memcpy(out, all, fixed);
        if (six) {
            fc_put16(out + 4, n + 8);
            out[6] = FC_PROTOCOL_FRAGMENT;
            out[40] = next;
            out[41] = 0;
            fc_put16(out + 42, at | more);
            fc_put32(out + 44, id);
        } else {
            fc_put16(out + 2, n + fixed);
            fc_put16(out + 4, id & 0xffff ? id & 0xffff : 1);
            fc_put16(out + 6, at / 8 | more << 13);
            fc_ipv4_checksum(out, fixed);
        }
        struct iovec *v = message_to(l, w, 2);
        v[0] = (struct iovec){out, six ? 48 : fixed};
        v[1] = (struct iovec){all + fixed + at, n};
    }
    fc_fwd_flush(l);
}

static void send_piece(fc_fwd_lane *l, const piece *s, const fc_fwd_way *w, int32_t limit)
{
    uint32_t size = s->head_size + s->body_size, n = 0;
    if (w->too_long && !w->port) {
        send_fragments(l, s, w, limit);
        return;
    }
    uint8_t *h = NULL;
    if (w->how == FC_FWD_DIRECT) { /* there is no other copy of the packet */
        fc_fwd_write_direct(l, w, size, s->head);
        h = s->head - w->overhead;
    } else if (w->how == FC_FWD_TUNNEL && !w->port) {
        h = s->room ? s->head - w->overhead : fc_fwd_scratch(l, w->overhead);
        if (!h)
            return; /* can't be: see FC_FWD_SEGMENT */
        if (w->version == 6)
            write_ipv6(l, s->head, w, limit, size, h);
        else
            write_ipv4(l, s->head, w, size, h);
    }
    int apart = h && !s->room;
    struct iovec *v = message_to(l, w, 1u + (unsigned)apart + (s->body_size != 0));
    if (apart)
        v[n++] = (struct iovec){h, w->overhead};
    v[n++] = h && s->room ? (struct iovec){h, w->overhead + s->head_size} : (struct iovec){s->head, s->head_size};
    if (s->body_size)
        v[n] = (struct iovec){(void *)(uintptr_t)s->body, s->body_size};
}

/* ---- A packet -----------------------------------------------------------------------------------------------------
 */

int fc_fwd_fits(fc_fwd_lane *l, const fc_fwd_packet *p, fc_fwd_way *w)
{
    uint32_t size = fc_fwd_size(p), fits = w->path - w->overhead;
    if (size <= fits)
        return 1;
    if (p->version == 6 ? size > FC_FWD_MIN_MTU : (p->data[6] & 0x40) != 0) {
        fc_fwd_too_big(l, p, p->version == 6 && fits < FC_FWD_MIN_MTU ? FC_FWD_MIN_MTU : fits);
        fc_fwd_drop_packet(l, FC_DROP_TOO_BIG, p);
        return 0;
    }
    w->too_long = 1;
    return 1;
}

uint32_t fc_fwd_size(const fc_fwd_packet *p)
{
    return p->gso && p->header + p->gso < p->length ? p->header + p->gso : p->length;
}

/* 0: there is no way. */
static int find_way(fc_fwd_lane *l, const fc_fwd_packet *p, const fc_target *t, uint32_t node, int32_t limit,
                    fc_fwd_way *w)
{
    fc_forwarder *f = l->forwarder;
    fc_address to = {{0, 0}, t->version, 0, {0}};
    *w = (fc_fwd_way){.version = t->version};
    memcpy(w->to, t->address, 16);
    if (t->version == 6) {
        memcpy(w->from, f->options.home_agent, 16);
        to.words[0] = fc_be64(t->address);
        to.words[1] = fc_be64(t->address + 8);
        w->overhead = FC_FWD_IPV6_HEADER + (limit < 0 ? 0 : FC_FWD_LIMIT_HEADER);
    } else {
        memcpy(w->from, f->options.home_agent_ipv4, 4);
        to.words[1] = fc_be32(t->address);
        w->port = fc_fwd_port_of(f, node, t->bid, t->address);
        w->overhead = FC_FWD_IPV4_HEADER + (w->port ? 8 : 0);
        if (!w->port && (f->options.output4 < 0 || !f->options.has_ipv4)) {
            fc_fwd_drop_packet(l, FC_DROP_NO_SOCKET, p);
            return 0;
        }
    }
    w->path = fc_fwd_path_mtu(f, &to, l->now);
    return fc_fwd_fits(l, p, w);
}

static int count_hop(fc_fwd_lane *l, fc_fwd_packet *p)
{
    uint8_t *limit = p->data + (p->version == 6 ? 7 : 8);
    if (*limit <= (p->counted ? 0 : 1)) {
        fc_fwd_time_exceeded(l, p);
        fc_fwd_drop_packet(l, FC_DROP_HOP_LIMIT, p);
        return 0;
    }
    if (!p->counted) {
        --*limit;
        if (p->version == 4)
            fc_ipv4_checksum(p->data, (p->data[0] & 15u) * 4u);
    }
    return 1;
}

/* The limit that the tunnel header says, or -1; -2: the packet may not go into a tunnel. */
static int32_t new_limit(fc_fwd_lane *l, const fc_fwd_packet *p)
{
    uint32_t at = limit_at(p);
    if (at ? p->data[at] == 0 : nesting(l, p) >= FC_FWD_DEPTH) {
        if (at)
            fc_fwd_parameter_problem(l, p, at);
        fc_fwd_drop_packet(l, FC_DROP_ENCAPSULATION_LIMIT, p);
        return -2;
    }
    return at ? p->data[at] - 1 : atomic_load_explicit(&l->forwarder->encapsulation_limit, memory_order_relaxed);
}

enum fc_forward_kind fc_fwd_kind(const fc_decision *d)
{
    return d->reason == FC_REASON_FLOW         ? FC_FORWARD_FLOW
           : d->reason == FC_REASON_SIGNALLING ? FC_FORWARD_SIGNALLING
                                               : FC_FORWARD_DEFAULT;
}

void fc_fwd_send(fc_fwd_lane *l, const fc_fwd_packet *p, fc_fwd_way *ways, uint32_t n, int32_t limit)
{
    uint64_t octets;
    uint32_t segments = fc_fwd_segments(p, &octets);
    for (uint32_t i = 0, done = 0; i < segments; i++) {
        piece s = {.head = p->data, .head_size = p->length, .room = 1};
        fc_fwd_begin(l);
        if (p->gso) {
            uint32_t left = p->length - p->header - done, size = left < p->gso ? left : p->gso;
            uint8_t *room = fc_fwd_scratch(l, FC_FWD_IPV6_HEADER + FC_FWD_LIMIT_HEADER + p->header);
            if (!room)
                return; /* can't be: see FC_FWD_SEGMENT */
            s = (piece){room + FC_FWD_IPV6_HEADER + FC_FWD_LIMIT_HEADER, p->data + p->header + done, p->header, size,
                        1};
            segment_headers(p, i, done, size, s.head);
            done += size;
        }
        for (uint32_t j = 0; j < n; j++) {
            send_piece(l, &s, &ways[j], limit);
            s.room &= ways[j].port != 0 || ways[j].too_long;
        }
    }
    if (p->gso) {
        fc_fwd_add(&l->super_packets, 1);
        fc_fwd_add(&l->segments, segments);
    }
}

void fc_fwd_tunnel(fc_fwd_lane *l, fc_fwd_packet *p, const fc_decision *d)
{
    uint64_t octets;
    uint32_t n = fc_fwd_segments(p, &octets);
    enum fc_forward_kind kind = fc_fwd_kind(d);
    if (!count_hop(l, p))
        return;
    int32_t limit = new_limit(l, p);
    if (limit == -2)
        return;
    fc_target targets[FC_MAX_FANOUT];
    fc_fwd_way ways[FC_MAX_FANOUT];
    uint32_t n_targets = fc_fib_targets(l->forwarder->fib, d, targets, d->n_targets), n_ways = 0;
    for (uint32_t i = 0; i < n_targets; i++)
        n_ways += (uint32_t)find_way(l, p, &targets[i], d->node, limit, &ways[n_ways]);
    if (n_ways == 0)
        return; /* find_way has said why */
    fc_fwd_count(l, d->action == FC_ACTION_NCAST ? FC_FORWARD_NCAST : kind, n, octets);
    fc_fwd_count_flow(l, d->node, d->version, kind, d->fid, n, octets);
    fc_fwd_send(l, p, ways, n_ways, limit);
}
#endif
