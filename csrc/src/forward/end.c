/* end.c - the packet loop of the two ends: a mobile node and a correspondent node (RFC 6275 6.3, 6.4, 9.3, 11.3).
 *
 *                       leaves (TUN)                           arrives
 *   mobile node         tunnel to the home agent               out of that tunnel (raw sockets, UDP)
 *                       or Home Address option                 or type 2 routing header (packet socket)
 *   correspondent node  type 2 routing header, or as it is     Home Address option (packet socket), or by the kernel
 *
 * The option and the header have 24 octets each and stand at the same place: behind hop-by-hop options and any other
 * routing header, before a fragment header. Checksums cover the home address, so that they stay as they are.
 *
 * What arrives was perhaps put together by the kernel from several segments, or has never left this machine; then its
 * transport checksum is that of the pseudo-header alone, with the address in the IPv6 header or the final one. It is
 * completed here. */
#include "forward.h"

#if FC_FORWARD_HERE
#include <errno.h>
#include <linux/if_packet.h>
#include <string.h>

#include "../common/bytes.h"
#include "checksum.h"

#define ADDED 24u        /* octets of the option in its header, and of the routing header */
#define HOME_ADDRESS 201 /* type of an option */
#define EXPERIMENT 0x1e  /* of one that is passed over (RFC 4727 4.2) */
#define PADN 1
#define TYPE_2 2
#define AT_ONCE 32u /* packets of one recvmmsg */
#define SLOT (FC_FWD_HEADROOM + 65536u + 192u)
#define TELL_AGAIN 5000u /* ms */

static int is_mine(const fc_forwarder *f, unsigned version, const uint64_t address[2])
{
    for (uint32_t i = 0; i < f->options.n_own; i++) {
        const fc_address *own = &f->options.own[i];
        unsigned bits = own->version == 4 ? 96u + own->length : own->length; /* IPv4 is in the last 32 */
        uint64_t high = bits >= 64 ? ~(uint64_t)0 : bits ? ~(uint64_t)0 << (64 - bits) : 0;
        uint64_t low = bits >= 128 ? ~(uint64_t)0 : bits > 64 ? ~(uint64_t)0 << (128 - bits) : 0;
        if (own->version == version && ((own->words[0] ^ address[0]) & high) == 0 &&
            ((own->words[1] ^ address[1]) & low) == 0)
            return 1;
    }
    return 0;
}

static fc_address address_at(const uint8_t *p) { return (fc_address){{fc_be64(p), fc_be64(p + 8)}, 6, 128, {0}}; }

static uint32_t interface_of(fc_forwarder *f, const uint8_t *address, unsigned version)
{
    fc_address a = {{0, fc_be32(address)}, (uint8_t)version, 0, {0}};
    uint32_t found = 0;
    if (version == 6)
        a = address_at(address);
    pthread_mutex_lock(&f->address_lock);
    for (unsigned i = 0; i < FC_FWD_SOURCES && !found; i++) {
        const fc_fwd_source *s = &f->source[i];
        if (s->address.version == version && s->address.words[0] == a.words[0] && s->address.words[1] == a.words[1])
            found = s->interface;
    }
    pthread_mutex_unlock(&f->address_lock);
    return found;
}

int fc_forwarder_set_source(fc_forwarder *f, const fc_address *address, uint32_t interface)
{
    fc_fwd_source *use = NULL;
    if (address->version != 4 && address->version != 6)
        return FC_EINVAL;
    pthread_mutex_lock(&f->address_lock);
    for (unsigned i = 0; i < FC_FWD_SOURCES; i++) {
        fc_fwd_source *s = &f->source[i];
        if (s->address.version == address->version && s->address.words[0] == address->words[0] &&
            s->address.words[1] == address->words[1]) {
            use = s;
            break;
        }
        if (!s->address.version && !use)
            use = s;
    }
    int known = use && use->address.version;
    if (use && interface)
        *use = (fc_fwd_source){*address, interface};
    else if (known)
        memset(use, 0, sizeof *use);
    pthread_mutex_unlock(&f->address_lock);
    return use || !interface ? FC_OK : FC_ELIMIT;
}

uint32_t fc_fwd_interface(fc_forwarder *f, const uint8_t *packet)
{
    return packet[0] >> 4 == 6 ? interface_of(f, packet + 8, 6) : interface_of(f, packet + 12, 4);
}

/* ---- What leaves ------------------------------------------------------------------------------------------------ */

/* Where the new header belongs, and where the number of what follows there stands. */
static void place_header(const fc_fwd_packet *p, fc_fwd_way *w)
{
    uint8_t next = p->data[6];
    w->next = 6;
    w->at = FC_FWD_IPV6_HEADER;
    for (uint32_t at = w->at, before = 6; at + 8 <= p->transport;) {
        if (next != FC_PROTOCOL_HOP_BY_HOP && next != FC_PROTOCOL_ROUTING && next != FC_PROTOCOL_DESTINATION_OPTIONS)
            break;
        uint32_t end = at + 8u * (p->data[at + 1] + 1u);
        if (end > p->transport)
            break;
        if (next != FC_PROTOCOL_DESTINATION_OPTIONS) { /* options for each hop of a routing header may come before it */
            w->next = at;
            w->at = end;
        }
        before = at;
        next = p->data[before];
        at = end;
    }
}

void fc_fwd_write_direct(const fc_fwd_lane *l, const fc_fwd_way *w, uint32_t size, uint8_t *head)
{
    int mobile = l->forwarder->options.role == FC_FORWARD_MOBILE_NODE;
    uint8_t *p = head - ADDED, *h = p + w->at, next = head[w->next];
    memmove(p, head, w->at);
    memset(h, 0, 8);
    h[0] = next;
    h[1] = ADDED / 8 - 1;
    if (mobile) {
        h[2] = PADN;
        h[3] = 2;
        h[6] = HOME_ADDRESS;
        h[7] = 16;
    } else {
        h[2] = TYPE_2;
        h[3] = 1; /* segments left */
    }
    memcpy(h + 8, p + (mobile ? 8 : 24), 16);
    memcpy(p + 8, w->from, 16);
    memcpy(p + 24, w->to, 16);
    p[w->next] = mobile ? FC_PROTOCOL_DESTINATION_OPTIONS : FC_PROTOCOL_ROUTING;
    fc_put16(p + 4, size + ADDED - FC_FWD_IPV6_HEADER);
}

static void known_path(fc_fwd_lane *l, fc_fwd_way *w)
{
    fc_address to = {{0, fc_be32(w->to)}, w->version, 0, {0}};
    if (w->version == 6)
        to = address_at(w->to);
    w->path = fc_fwd_path_mtu(l->forwarder, &to, l->now);
}

/* From the care-of address `t`, directly or through the tunnel. 0: there is no way. */
static int mobile_way(fc_fwd_lane *l, const fc_fwd_packet *p, const fc_decision *d, const fc_target *t, fc_fwd_way *w)
{
    fc_forwarder *f = l->forwarder;
    uint32_t home;
    int tunnel = fc_fib_find(f->fib, &f->options.own[0], &home) == FC_OK && home == d->node;
    *w = (fc_fwd_way){.version = t->version, .interface = interface_of(f, t->address, t->version)};
    memcpy(w->from, t->address, 16);
    if (!w->interface) {
        fc_fwd_drop_packet(l, FC_DROP_NO_SOCKET, p);
        return 0;
    }
    if (!tunnel && p->version == 6 && t->version == 6) {
        w->how = FC_FWD_DIRECT;
        w->overhead = ADDED;
        memcpy(w->to, p->data + 24, 16);
        known_path(l, w);
        if (fc_fwd_size(p) > FC_FWD_MIN_MTU || fc_fwd_size(p) + ADDED <= w->path) {
            place_header(p, w);
            return fc_fwd_fits(l, p, w);
        }
    }
    w->how = FC_FWD_TUNNEL;
    if (t->version == 6) {
        memcpy(w->to, f->options.home_agent, 16);
        w->overhead = FC_FWD_IPV6_HEADER;
    } else {
        memcpy(w->to, f->options.home_agent_ipv4, 4);
        w->port = RFC5555_PORT;
        w->overhead = FC_FWD_IPV4_HEADER + 8;
        if (f->options.udp < 0) {
            fc_fwd_drop_packet(l, FC_DROP_NO_SOCKET, p);
            return 0;
        }
    }
    known_path(l, w);
    return fc_fwd_fits(l, p, w);
}

/* To the home address, by the care-of address `t` if there is one. */
static int correspondent_way(fc_fwd_lane *l, const fc_fwd_packet *p, const fc_target *t, fc_fwd_way *w)
{
    *w = (fc_fwd_way){.version = 6, .how = FC_FWD_PLAIN, .interface = fc_fwd_interface(l->forwarder, p->data)};
    if (p->version != 6 || !w->interface) {
        fc_fwd_drop_packet(l, FC_DROP_NO_SOCKET, p);
        return 0;
    }
    memcpy(w->from, p->data + 8, 16);
    if (t && t->version == 6) {
        w->how = FC_FWD_DIRECT;
        w->overhead = ADDED;
        memcpy(w->to, t->address, 16);
        known_path(l, w);
        if (fc_fwd_size(p) > FC_FWD_MIN_MTU || fc_fwd_size(p) + ADDED <= w->path) {
            place_header(p, w);
            return fc_fwd_fits(l, p, w);
        }
        w->how = FC_FWD_PLAIN;
        w->overhead = 0;
    }
    memcpy(w->to, p->data + 24, 16);
    known_path(l, w);
    return fc_fwd_fits(l, p, w);
}

void fc_fwd_leave(fc_fwd_lane *l, fc_fwd_packet *p, const fc_key *k, const fc_decision *d)
{
    fc_forwarder *f = l->forwarder;
    int mobile = f->options.role == FC_FORWARD_MOBILE_NODE;
    fc_target t;
    fc_fwd_way w;
    uint64_t octets;
    uint32_t n = fc_fwd_segments(p, &octets);
    if (!is_mine(f, k->version, k->source) ||
        fc_fwd_stays(k)) { /* the kernel's own: router solicitations and the like */
        fc_fwd_drop_packet(l, fc_fwd_stays(k) ? FC_DROP_SCOPE : FC_DROP_SOURCE, p);
        return;
    }
    if (d->action == FC_ACTION_DISCARD) {
        fc_fwd_decided(l, p, k, d);
        return;
    }
    uint32_t targets =
        d->action == FC_ACTION_FORWARD || d->action == FC_ACTION_NCAST ? fc_fib_targets(f->fib, d, &t, 1) : 0;
    if (mobile && !targets) {
        fc_fwd_drop_packet(l, FC_DROP_UNBOUND, p);
        return;
    }
    if (!(mobile ? mobile_way(l, p, d, &t, &w) : correspondent_way(l, p, targets ? &t : NULL, &w)))
        return;
    if (targets) {
        fc_fwd_count(l, fc_fwd_kind(d), n, octets);
        fc_fwd_count_flow(l, d->node, d->version, fc_fwd_kind(d), d->fid, n, octets);
    }
    if (w.how == FC_FWD_DIRECT)
        fc_fwd_count(l, FC_FORWARD_DIRECT, n, octets);
    fc_fwd_send(l, p, &w, 1, -1);
}

/* ---- What arrives -------------------------------------------------------------------------------------------------
 */

/* `ip`: the header that the kernel took for the packet's own when it put segments together. */
static void complete(fc_fwd_packet *p, const uint8_t ip[40])
{
    uint32_t size = p->length - p->transport, field = p->protocol == FC_PROTOCOL_TCP ? 16 : 6;
    if (p->fragment != FC_FRAGMENT_NONE || (p->protocol != FC_PROTOCOL_TCP && p->protocol != FC_PROTOCOL_UDP) ||
        size < field + 2)
        return;
    uint8_t *at = p->data + p->transport + field;
    uint64_t sum = fc_pseudo_sum(p->data, p->protocol, size);
    uint16_t found;
    memcpy(&found, at, 2);
    if (found != fc_fold(sum) && found != fc_fold(fc_pseudo_sum(ip, p->protocol, size)))
        return;
    fc_put16(at, 0);
    fc_put_checksum(at, fc_sum(p->data + p->transport, size, sum));
    if (p->protocol == FC_PROTOCOL_UDP && at[0] == 0 && at[1] == 0)
        fc_put16(at, 0xffff);
}

static void deliver(fc_fwd_lane *l, fc_fwd_packet *p, const uint8_t ip[40])
{
    complete(p, ip);
    fc_fwd_to_tun(l, p);
}

static void tell_peer(fc_fwd_lane *l, const fc_fwd_packet *p, const fc_key *k)
{
    fc_forwarder *f = l->forwarder;
    uint64_t mixed = (k->source[0] ^ k->source[1] * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
    fc_fwd_peer *peer = &f->peer[mixed >> 32 & (FC_FWD_PEERS - 1)];
    if (peer->address[0] == k->source[0] && peer->address[1] == k->source[1] && l->now - peer->told < TELL_AGAIN)
        return;
    if (!fc_fwd_allowed(&l->tellings, l->now))
        return; /* signalling must have room */
    *peer = (fc_fwd_peer){{k->source[0], k->source[1]}, l->now};
    fc_fwd_packet head = {.data = p->data, .length = FC_FWD_IPV6_HEADER};
    fc_fwd_outer from = {.queue = FC_LOCAL_PEER};
    fc_fwd_tell(l, &head, &from);
}

void fc_fwd_arrive(fc_fwd_lane *l, fc_fwd_packet *p, const fc_key *k, const fc_fwd_outer *from)
{
    fc_forwarder *f = l->forwarder;
    int ours = from->source.version == 6
                   ? from->source.words[0] == f->home_agent[0] && from->source.words[1] == f->home_agent[1]
                   : f->options.has_ipv4 && from->source.words[1] == f->home_agent4 && from->port == RFC5555_PORT;
    if (!ours) { /* RFC 6275 11.3.1: nobody else may send it */
        fc_fwd_drop_packet(l, FC_DROP_SOURCE, p);
        return;
    }
    if (p->protocol == FC_PROTOCOL_MOBILITY) {
        fc_fwd_tell(l, p, from);
        return;
    }
    if (!is_mine(f, k->version, k->destination)) {
        fc_fwd_drop_packet(l, FC_DROP_UNBOUND, p);
        return;
    }
    if (!fc_fwd_ecn(p, from->ecn)) {
        fc_fwd_drop_packet(l, FC_DROP_CONGESTION, p);
        return;
    }
    if (p->version == 6)
        tell_peer(l, p, k);
    deliver(l, p, p->data);
}

/* Takes `size` octets out of the packet at `at`, a header whose number stands at `next`. */
static void take_out(fc_fwd_packet *p, uint32_t at, uint32_t next, uint32_t size)
{
    p->data[next] = p->data[at];
    fc_put16(p->data + 4, fc_be16(p->data + 4) - size);
    memmove(p->data + size, p->data, at);
    p->data += size;
    p->length -= size;
    p->transport -= size;
}

/* The option in the header of `size` octets at `h`; *lone: there is nothing but padding beside it. */
static uint8_t *home_address_option(uint8_t *h, uint32_t size, int *lone)
{
    uint8_t *found = NULL;
    *lone = 1;
    for (uint32_t at = 2; at < size;) {
        if (h[at] == 0) {
            at++;
            continue;
        }
        if (at + 2 > size || at + 2 + h[at + 1] > size)
            return NULL;
        if (h[at] == HOME_ADDRESS && h[at + 1] == 16 && !found)
            found = h + at;
        else if (h[at] != PADN)
            *lone = 0;
        at += 2u + h[at + 1];
    }
    return found;
}

/* A packet of the packet socket: a type 2 routing header or a Home Address option is taken out, if it may be there. */
static void tapped(fc_fwd_lane *l, fc_fwd_packet *p, const fc_key *k)
{
    fc_forwarder *f = l->forwarder;
    int mobile = f->options.role == FC_FORWARD_MOBILE_NODE;
    uint8_t next = p->data[6], wire[40];
    uint32_t before = 6, at = FC_FWD_IPV6_HEADER, size;
    if (p->protocol == FC_PROTOCOL_MOBILITY) {
        fc_fwd_tell(l, p, &(fc_fwd_outer){.queue = -1});
        return;
    }
    memcpy(wire, p->data, sizeof wire);
    uint8_t wanted = mobile ? FC_PROTOCOL_ROUTING : FC_PROTOCOL_DESTINATION_OPTIONS;
    for (; at + 8 <= p->transport; before = at, next = p->data[at], at += size) {
        size = 8u * (p->data[at + 1] + 1u);
        if (at + size > p->transport)
            break;
        uint8_t *h = p->data + at;
        if (next == wanted && mobile) {
            fc_address home = address_at(h + 8);
            if (size != ADDED || h[2] != TYPE_2 || h[3] != 1 || home.words[0] != f->options.own[0].words[0] ||
                home.words[1] != f->options.own[0].words[1] || !interface_of(f, p->data + 24, 6))
                break; /* RFC 6275 11.3.3 */
            memcpy(p->data + 24, h + 8, 16);
            take_out(p, at, before, size);
            fc_address peer = {{k->source[0], k->source[1]}, 6, 0, {0}};
            uint32_t node;
            if (fc_fib_find(f->fib, &peer, &node) == FC_OK)
                fc_fwd_count_flow(l, node, fc_fib_born(f->fib, node), FC_FORWARD_REVERSE, 0, 1, p->length);
        } else if (next == wanted) {
            int lone;
            uint32_t node;
            uint8_t *option = home_address_option(h, size, &lone);
            if (!option)
                continue;
            fc_address home = address_at(option + 2), care_of = {{k->source[0], k->source[1]}, 6, 0, {0}};
            if (!is_mine(f, 6, k->destination))
                break;
            if (fc_fib_sender(f->fib, &home, &care_of, &node) != FC_OK) { /* RFC 6275 9.3.1: a Binding Error is due */
                fc_fwd_drop_packet(l, FC_DROP_SOURCE, p);
                if (fc_fwd_allowed(&l->tellings, l->now))
                    fc_fwd_tell(l, p, &(fc_fwd_outer){.queue = -1});
                else
                    fc_fwd_drop(l, FC_DROP_RATE, 1, p->length);
                return;
            }
            memcpy(p->data + 8, option + 2, 16);
            if (lone)
                take_out(p, at, before, size);
            else
                option[0] = EXPERIMENT;
            fc_fwd_count_flow(l, node, fc_fib_born(f->fib, node), FC_FORWARD_REVERSE, 0, 1, p->length);
        } else if (next == FC_PROTOCOL_HOP_BY_HOP || next == FC_PROTOCOL_ROUTING ||
                   next == FC_PROTOCOL_DESTINATION_OPTIONS) {
            continue;
        } else {
            break;
        }
        fc_fwd_count(l, FC_FORWARD_DIRECT, 1, p->length);
        deliver(l, p, wire);
        return;
    }
    fc_fwd_drop_packet(l, FC_DROP_MALFORMED, p);
}

/* ---- Sockets --------------------------------------------------------------------------------------------------------
 */

unsigned fc_fwd_control_of(fc_fwd_control *c, unsigned version, const uint8_t *from, uint32_t interface)
{
    struct cmsghdr *head = (struct cmsghdr *)(void *)c->octets;
    memset(c, 0, sizeof *c);
    if (version == 6) {
        /* with a source address, the kernel would take the best route by any interface */
        struct in6_pktinfo info = {.ipi6_ifindex = interface};
        *head =
            (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof info), .cmsg_level = IPPROTO_IPV6, .cmsg_type = IPV6_PKTINFO};
        memcpy(CMSG_DATA(head), &info, sizeof info);
        return CMSG_SPACE(sizeof info);
    }
    struct in_pktinfo info = {.ipi_ifindex = (int)interface};
    memcpy(&info.ipi_spec_dst, from, 4);
    *head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof info), .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO};
    memcpy(CMSG_DATA(head), &info, sizeof info);
    return CMSG_SPACE(sizeof info);
}

typedef union name {
    struct sockaddr any;
    struct sockaddr_in6 v6;
    struct sockaddr_ll link;
} name;

static uint8_t noted_ecn(struct msghdr *m)
{
    int value = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS && c->cmsg_len >= CMSG_LEN(sizeof value))
            memcpy(&value, CMSG_DATA(c), sizeof value);
    return (uint8_t)value & 3;
}

static void one_tapped(fc_fwd_lane *l, fc_fwd_packet *p, const name *from)
{
    fc_parse_options options = {.fragments = l->fragments, .now = (int64_t)l->now * 1000000};
    static const uint64_t here;
    fc_key key;
    fc_packet info;
    if (from->any.sa_family == AF_PACKET && from->link.sll_pkttype != PACKET_HOST)
        return;
    fc_parse_batch(FC_LINK_RAW, NULL, p->data, &here, &p->length, 1, &options, &key, &info);
    if (fc_fwd_describe(p, &key, &info) && p->version == 6)
        tapped(l, p, &key);
    else
        fc_fwd_drop_packet(l, FC_DROP_MALFORMED, p);
}

static unsigned read_tapped(fc_fwd_lane *l, int fd, int tap)
{
    struct mmsghdr m[AT_ONCE];
    struct iovec v[AT_ONCE];
    name from[AT_ONCE];
    fc_fwd_control control[AT_ONCE];
    if (fd < 0)
        return 0;
    memset(m, 0, sizeof m);
    memset(from, 0, sizeof from);
    for (unsigned i = 0; i < AT_ONCE; i++) {
        v[i] = (struct iovec){l->stream + (size_t)i * SLOT + FC_FWD_HEADROOM, 65536};
        m[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
                                       .msg_namelen = sizeof from[i],
                                       .msg_iov = &v[i],
                                       .msg_iovlen = 1,
                                       .msg_control = &control[i],
                                       .msg_controllen = sizeof control[i]};
    }
    int got = recvmmsg(fd, m, AT_ONCE, MSG_DONTWAIT, NULL);
    for (int i = 0; i < got; i++) {
        fc_fwd_packet p = {.data = v[i].iov_base, .length = m[i].msg_len};
        if (tap) {
            one_tapped(l, &p, &from[i]);
            continue;
        }
        fc_fwd_outer outer = {.queue = -1, .depth = 1, .ecn = noted_ecn(&m[i].msg_hdr)};
        outer.source = address_at(from[i].v6.sin6_addr.s6_addr);
        fc_fwd_open(l, &p, 0, &outer);
    }
    fc_fwd_inner(l);
    if (got > 0)
        fc_fwd_flush(l); /* the next packets come where these are */
    return got > 0 ? (unsigned)got : 0;
}

unsigned fc_fwd_read_end(fc_fwd_lane *l)
{
    const fc_forward_options *o = &l->forwarder->options;
    return read_tapped(l, o->tap, 1) + read_tapped(l, o->tunnel6[0], 0) + read_tapped(l, o->tunnel6[1], 0);
}
#endif
