/* reverse.c - out of tunnels, and packets for the agent itself.
 *
 * What a mobile node sends through its tunnel goes on only if the tunnel's source is a care-of address that this node
 * has registered, and the inner source an address of that same node (RFC 6275 10.4.5): anybody else could otherwise
 * send in its name through its home network. Then the inner destination decides: the agent itself; another mobile node,
 * whose tunnel it enters without leaving this program; or any other network, for which it is written to the TUN device,
 * so that the kernel routes it as it would a packet from any link: hop limit, path MTU, firewall. */
#include "forward.h"

#if FC_FORWARD_HERE
#include <string.h>

#include "../common/bytes.h"
#include "checksum.h"

static int is_own(const fc_forwarder *f, const fc_key *k)
{
    if (k->version == 6)
        return k->destination[0] == f->home_agent[0] && k->destination[1] == f->home_agent[1];
    return k->version == 4 && f->options.has_ipv4 && k->destination[1] == f->home_agent4;
}

int fc_fwd_is_own(const fc_forwarder *f, const fc_key *k) { return is_own(f, k); }

/* The packet at `at` inside of `p` waits for fc_fwd_inner. Each packet of a batch has at most one in it. */
void fc_fwd_open(fc_fwd_lane *l, const fc_fwd_packet *p, uint32_t at, const fc_fwd_outer *from)
{
    if (at >= p->length || l->n_next == FC_FWD_BATCH || from->depth > FC_FWD_DEPTH) {
        fc_fwd_drop_packet(l, at >= p->length ? FC_DROP_MALFORMED : FC_DROP_ENCAPSULATION_LIMIT, p);
        return;
    }
    l->next[l->n_next] = (fc_fwd_packet){.data = p->data + at, .length = p->length - at};
    l->next_outer[l->n_next++] = *from;
}

static void strip_tunnel(fc_fwd_lane *l, const fc_fwd_packet *p, uint32_t at, uint16_t port, const fc_fwd_outer *outer)
{
    fc_fwd_outer from = {.queue = outer ? outer->queue : (int32_t)l->number,
                         .port = port,
                         .depth = (uint8_t)(outer ? outer->depth + 1 : 1)};
    from.source.version = p->version;
    if (p->version == 6) {
        from.source.words[0] = fc_be64(p->data + 8);
        from.source.words[1] = fc_be64(p->data + 16);
        from.ecn = p->data[1] >> 4 & 3;
    } else {
        from.source.words[1] = fc_be32(p->data + 12);
        from.ecn = p->data[1] & 3;
    }
    fc_fwd_open(l, p, at, &from);
}

void fc_fwd_own(fc_fwd_lane *l, fc_fwd_packet *p, const fc_packet *info, const fc_fwd_outer *outer)
{
    fc_fwd_packet whole;
    fc_key key;
    fc_packet found;
    if (p->fragment != FC_FRAGMENT_NONE) {
        int done = fc_fwd_reassemble(l->reassembly, l->now, p, info, &whole);
        if (done < 0)
            fc_fwd_drop_packet(l, FC_DROP_REASSEMBLY, p);
        if (done <= 0)
            return;
        if (fc_parse(FC_LINK_RAW, whole.data, whole.length, &key, &found) != FC_PACKET_OK ||
            !fc_fwd_describe(&whole, &key, &found) || whole.fragment != FC_FRAGMENT_NONE) {
            fc_fwd_drop_packet(l, FC_DROP_MALFORMED, &whole);
            return;
        }
        p = &whole;
    }
    if (p->protocol == FC_PROTOCOL_IPV6_IN_IP || p->protocol == FC_PROTOCOL_IP_IN_IP) {
        strip_tunnel(l, p, p->transport, 0, outer);
        return;
    }
    const uint8_t *u = p->data + p->transport;
    if (p->version == 4 && p->protocol == FC_PROTOCOL_UDP && p->length - p->transport > 8 &&
        fc_be16(u + 2) == RFC5555_PORT) {
        uint8_t version = u[8] >> 4;
        if (version == 4 || version == 6) /* else a NAT keepalive */
            strip_tunnel(l, p, p->transport + 8, fc_be16(u), outer);
        return;
    }
    if (!fc_fwd_relay(l, p))
        fc_fwd_tell(l, p, outer);
}

/* RFC 6040 4.2: what was noted on the tunnel header is noted on the packet. 0: it can't be, and must not be lost. */
int fc_fwd_ecn(fc_fwd_packet *p, unsigned outer)
{
    uint8_t *at = p->data + 1;
    unsigned shift = p->version == 6 ? 4 : 0, inner = (unsigned)*at >> shift & 3u, now = inner;
    if (outer == 3 && inner == 0)
        return 0;
    if (outer == 3 || (outer == 1 && inner == 2))
        now = outer;
    if (now != inner) {
        *at = (uint8_t)((*at & ~(3u << shift)) | now << shift);
        if (p->version == 4)
            fc_ipv4_checksum(p->data, (p->data[0] & 15u) * 4u);
    }
    return 1;
}

/* 0: nobody who may use this tunnel sent it. */
static int sender(fc_fwd_lane *l, const fc_key *k, const fc_fwd_outer *from, uint32_t *node)
{
    fc_address source = {{k->source[0], k->source[1]}, k->version, 0, {0}};
    if (fc_fib_sender(l->forwarder->fib, &source, &from->source, node) != FC_OK)
        return 0;
    if (!from->port)
        return 1;
    uint8_t care_of[4];
    fc_put32(care_of, (uint32_t)from->source.words[1]);
    return fc_fwd_port_fits(l->forwarder, *node, care_of, from->port);
}

static void forward_inner(fc_fwd_lane *l, fc_fwd_packet *p, const fc_key *k, const fc_packet *info,
                          const fc_decision *d, const fc_fwd_outer *from)
{
    uint32_t node = 0;
    int own = is_own(l->forwarder, k);
    if (l->forwarder->options.role != FC_FORWARD_HOME_AGENT) {
        fc_fwd_arrive(l, p, k, from);
        return;
    }
    if (!(own && from->port) && !sender(l, k, from, &node)) { /* an update in UDP is judged by who gets it */
        fc_fwd_drop_packet(l, FC_DROP_SOURCE, p);
        return;
    }
    if (!fc_fwd_ecn(p, from->ecn)) {
        fc_fwd_drop_packet(l, FC_DROP_CONGESTION, p);
        return;
    }
    if (own) {
        fc_fwd_own(l, p, info, from);
        return;
    }
    fc_fwd_count_flow(l, node, fc_fib_born(l->forwarder->fib, node), FC_FORWARD_REVERSE, 0, 1, p->length);
    if (d->flags & FC_HAS_NODE)
        fc_fwd_decided(l, p, k, d);
    else if (fc_fwd_stays(k))
        fc_fwd_drop_packet(l, FC_DROP_SCOPE, p);
    else
        fc_fwd_to_tun(l, p);
}

void fc_fwd_inner(fc_fwd_lane *l)
{
    fc_parse_options options = {.fragments = l->fragments, .now = (int64_t)l->now * 1000000};
    static const uint64_t here;
    while (l->n_next) {
        unsigned n = l->n_inner = l->n_next;
        memcpy(l->inner, l->next, n * sizeof *l->inner);
        memcpy(l->outer, l->next_outer, n * sizeof *l->outer);
        l->n_next = 0;
        for (unsigned i = 0; i < n; i++)
            fc_parse_batch(FC_LINK_RAW, NULL, l->inner[i].data, &here, &l->inner[i].length, 1, &options, &l->key[i],
                           &l->info[i]);
        (void)fc_fib_classify_parsed(l->forwarder->fib, l->key, l->info, n, FC_KERNEL_AUTO, 1, l->decision);
        for (unsigned i = 0; i < n; i++) {
            if (fc_fwd_describe(&l->inner[i], &l->key[i], &l->info[i]))
                forward_inner(l, &l->inner[i], &l->key[i], &l->info[i], &l->decision[i], &l->outer[i]);
            else
                fc_fwd_drop_packet(l, FC_DROP_MALFORMED, &l->inner[i]);
        }
    }
}
#endif
