/* errors.c - ICMP errors: our own (RFC 4443, RFC 792), and those that come out of a tunnel, which are told to whoever
 * sent the packet inside (RFC 2473 8). Never about an ICMP error, never to an address that isn't one host's, never more
 * than so many a second. */
#include "forward.h"

#if FC_FORWARD_HERE
#include <string.h>

#include "../common/bytes.h"
#include "checksum.h"

#define QUOTE4 548u /* octets of an IPv4 packet that are quoted: the error is at most 576 octets (RFC 1812 4.3.2.3) */

int fc_fwd_allowed(fc_fwd_bucket *b, uint64_t now)
{
    uint64_t more = (now - b->refilled) * b->rate / 1000;
    if (more) {
        b->tokens = b->tokens + more < b->rate ? b->tokens + more : b->rate;
        b->refilled = now;
    }
    return b->tokens ? (b->tokens--, 1) : 0;
}

/* May there be an error about this packet? multicast: even if its destination is a group's (RFC 4443 2.4 e). */
static int may_answer(const fc_fwd_packet *p, int multicast)
{
    const uint8_t *d = p->data;
    if (p->version == 6) {
        const uint8_t *source = d + 8;
        static const uint8_t none[16];
        if (source[0] == 0xff || memcmp(source, none, 15) == 0 || (source[0] == 0xfe && (source[1] & 0xc0) == 0x80))
            return 0; /* a group, unspecified or loopback, link-local */
        if (d[24] == 0xff && !multicast)
            return 0;
        if (p->fragment == FC_FRAGMENT_LATER)
            return p->protocol != FC_PROTOCOL_ICMPV6;
        return p->protocol != FC_PROTOCOL_ICMPV6 ||
               (p->transport < p->length && d[p->transport] >= 128 && d[p->transport] != 137);
    }
    if (p->fragment == FC_FRAGMENT_LATER || d[12] == 0 || d[12] == 127 || d[12] >= 224 || d[16] >= 224 ||
        (d[12] == 169 && d[13] == 254))
        return 0;
    if (p->protocol != FC_PROTOCOL_ICMP)
        return 1;
    uint8_t type = p->transport < p->length ? d[p->transport] : 3;
    return type != 3 && type != 4 && type != 5 && type != 11 && type != 12;
}

static void error6(fc_fwd_lane *l, const fc_fwd_packet *p, unsigned type, unsigned code, uint32_t word)
{
    uint32_t quoted = p->length < FC_FWD_MIN_MTU - 48 ? p->length : FC_FWD_MIN_MTU - 48, size = 8 + quoted;
    fc_fwd_begin(l);
    uint8_t *h = fc_fwd_scratch(l, FC_FWD_VNET + FC_FWD_IPV6_HEADER + size), *m;
    if (!h)
        return;
    h += FC_FWD_VNET;
    m = h + FC_FWD_IPV6_HEADER;
    fc_put32(h, 6u << 28);
    fc_put16(h + 4, size);
    h[6] = FC_PROTOCOL_ICMPV6;
    h[7] = 64;
    memcpy(h + 8, l->forwarder->options.home_agent, 16);
    memcpy(h + 24, p->data + 8, 16);
    m[0] = (uint8_t)type;
    m[1] = (uint8_t)code;
    fc_put16(m + 2, 0);
    fc_put32(m + 4, word);
    memcpy(m + 8, p->data, quoted);
    fc_put_checksum(m + 2, fc_sum(m, size, fc_pseudo_sum(h, FC_PROTOCOL_ICMPV6, size)));
    fc_fwd_count(l, FC_FORWARD_ERRORS, 1, FC_FWD_IPV6_HEADER + size);
    if (l->forwarder->options.role != FC_FORWARD_HOME_AGENT) { /* to an application on this host */
        fc_fwd_to_tun(l, &(fc_fwd_packet){.data = h, .length = FC_FWD_IPV6_HEADER + size});
        return;
    }
    *fc_fwd_to6(l, h + 24, 1) = (struct iovec){h, FC_FWD_IPV6_HEADER + size};
}

static void error4(fc_fwd_lane *l, const fc_fwd_packet *p, unsigned type, unsigned code, uint32_t word)
{
    fc_forwarder *f = l->forwarder;
    uint32_t quoted = p->length < QUOTE4 ? p->length : QUOTE4, size = 8 + quoted;
    int end = f->options.role != FC_FORWARD_HOME_AGENT; /* then to an application on this host */
    static const uint8_t nobody[4] = {192, 0, 0, 8};    /* of a node without an IPv4 address (RFC 7600 4.8) */
    if (!end && (f->options.output4 < 0 || !f->options.has_ipv4))
        return;
    fc_fwd_begin(l);
    uint8_t *h = fc_fwd_scratch(l, FC_FWD_VNET + FC_FWD_IPV4_HEADER + size), *m;
    if (!h)
        return;
    h += FC_FWD_VNET;
    m = h + FC_FWD_IPV4_HEADER;
    memset(h, 0, FC_FWD_IPV4_HEADER);
    h[0] = 0x45;
    h[1] = 0xc0; /* internetwork control (RFC 1812 4.3.2.5) */
    fc_put16(h + 2, FC_FWD_IPV4_HEADER + size);
    h[8] = 64;
    h[9] = FC_PROTOCOL_ICMP;
    memcpy(h + 12, f->options.has_ipv4 ? f->options.home_agent_ipv4 : nobody, 4);
    memcpy(h + 16, p->data + 12, 4);
    fc_ipv4_checksum(h, FC_FWD_IPV4_HEADER);
    m[0] = (uint8_t)type;
    m[1] = (uint8_t)code;
    fc_put16(m + 2, 0);
    fc_put32(m + 4, word);
    memcpy(m + 8, p->data, quoted);
    fc_put_checksum(m + 2, fc_sum(m, size, 0));
    fc_fwd_count(l, FC_FORWARD_ERRORS, 1, FC_FWD_IPV4_HEADER + size);
    if (end) {
        fc_fwd_to_tun(l, &(fc_fwd_packet){.data = h, .length = FC_FWD_IPV4_HEADER + size});
        return;
    }
    *fc_fwd_to4(l, h + 16, 1) = (struct iovec){h, FC_FWD_IPV4_HEADER + size};
}

static void answer(fc_fwd_lane *l, const fc_fwd_packet *p, int multicast, unsigned type6, unsigned code6,
                   unsigned type4, unsigned code4, uint32_t word)
{
    if (!may_answer(p, multicast))
        return;
    if (!fc_fwd_allowed(&l->errors, l->now)) {
        fc_fwd_drop(l, FC_DROP_RATE, 1, p->length);
        return;
    }
    if (p->version == 6)
        error6(l, p, type6, code6, word);
    else
        error4(l, p, type4, code4, word);
}

void fc_fwd_too_big(fc_fwd_lane *l, const fc_fwd_packet *p, uint32_t mtu) { answer(l, p, 1, 2, 0, 3, 4, mtu); }
void fc_fwd_unreachable(fc_fwd_lane *l, const fc_fwd_packet *p) { answer(l, p, 0, 1, 3, 3, 1, 0); }
void fc_fwd_time_exceeded(fc_fwd_lane *l, const fc_fwd_packet *p) { answer(l, p, 0, 3, 0, 11, 0, 0); }
void fc_fwd_parameter_problem(fc_fwd_lane *l, const fc_fwd_packet *p, uint32_t at) { answer(l, p, 0, 4, 0, 12, 0, at); }

/* The packet inside of a quoted tunnel packet of ours: its offset, or 0. */
static uint32_t quoted_inner(const fc_fwd_lane *l, const uint8_t *q, uint32_t size)
{
    uint32_t at = FC_FWD_IPV6_HEADER;
    if (size < FC_FWD_IPV6_HEADER || q[0] >> 4 != 6 || memcmp(q + 8, l->forwarder->options.home_agent, 16) != 0)
        return 0;
    uint8_t next = q[6];
    for (int headers = 0; headers < 2 && (next == FC_PROTOCOL_FRAGMENT || next == FC_PROTOCOL_DESTINATION_OPTIONS);
         headers++) {
        if (size - at < 8 || (next == FC_PROTOCOL_FRAGMENT && fc_be16(q + at + 2) & 0xfff8))
            return 0;
        uint32_t length = next == FC_PROTOCOL_FRAGMENT ? 8 : 8u * (q[at + 1] + 1u);
        next = q[at];
        if (length > size - at)
            return 0;
        at += length;
    }
    if ((next != FC_PROTOCOL_IPV6_IN_IP && next != FC_PROTOCOL_IP_IN_IP) || size - at < FC_FWD_IPV4_HEADER)
        return 0;
    return at;
}

/* RFC 2473 8. The error is believed if it quotes a packet that we could have sent: the inner destination's node has the
 * outer destination as a care-of address. What an error says about a path doesn't reach further than that path. */
int fc_fwd_relay(fc_fwd_lane *l, const fc_fwd_packet *p)
{
    const uint8_t *m = p->data + p->transport;
    uint32_t size = p->length - p->transport, node;
    if (p->version != 6 || p->protocol != FC_PROTOCOL_ICMPV6 || size < 8 || m[0] < 1 || m[0] > 4)
        return 0;
    uint32_t at = quoted_inner(l, m + 8, size - 8);
    if (at == 0)
        return 0;
    const uint8_t *q = m + 8;
    fc_address care_of = {{fc_be64(q + 24), fc_be64(q + 32)}, 6, 0, {0}}, to;
    fc_fwd_packet inner = {.data = p->data + p->transport + 8 + at, .length = size - 8 - at};
    fc_key key;
    fc_packet info;
    if (fc_parse(FC_LINK_RAW, inner.data, inner.length, &key, &info) != FC_PACKET_OK)
        return 1; /* too little of it was quoted to tell anybody */
    to = (fc_address){{key.destination[0], key.destination[1]}, key.version, 0, {0}};
    if (fc_fib_sender(l->forwarder->fib, &to, &care_of, &node) != FC_OK) {
        fc_fwd_drop_packet(l, FC_DROP_SOURCE, p);
        return 1;
    }
    inner.version = key.version;
    inner.protocol = key.protocol;
    inner.fragment = info.fragment;
    inner.transport = info.transport_offset;
    if (m[0] == 2) {
        uint32_t mtu = fc_be32(m + 4);
        if (mtu < FC_FWD_MIN_MTU)
            mtu = FC_FWD_MIN_MTU; /* RFC 8201 4: never less */
        fc_fwd_note_path(l->forwarder, &care_of, mtu, l->now);
        mtu -= at;
        if (inner.version == 6 && mtu < FC_FWD_MIN_MTU)
            mtu = FC_FWD_MIN_MTU;
        if (info.ip_length > mtu && (inner.version == 6 || inner.data[6] & 0x40))
            fc_fwd_too_big(l, &inner, mtu);
    } else {
        fc_fwd_unreachable(l, &inner);
    }
    return 1;
}
#endif
