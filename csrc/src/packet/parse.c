/* parse.c - makes keys out of the octets of packets.
 *
 * link.c and layers.c find the IP header, this file reads it and the extension chain behind it, and tunnels.c looks for
 * a further header inside. How far does a packet reach? As far as its octets were captured, or as far as its own length
 * field says where that is less and not zero. (It is 0 in a jumbogram, or when an offloading network card had not
 * written it yet.) Nothing behind that point is looked at.
 *
 * Cut or malformed? The fixed IP header and IPv4's options must be there as a whole: otherwise the packet is malformed,
 * whoever cut it (the sender or the snap length). What comes behind may be missing. A port, an SPI or an ICMPv6 type
 * that isn't there is absent from the key. Where the extension chain is cut, the protocol is absent too, because nobody
 * can say what the packet carries. But a chain that is longer than the packet is by its IP header contradicts that
 * header, so the packet is malformed. An example is an IPv6 packet with a destination options header of 24 octets and
 * TCP (the offsets count from the IP header):
 *
 *     0            40                 64   66   68        captured   result
 *     | IPv6 header | dest. options   | sp | dp | ...         < 40   malformed
 *                                                          40 - 63   OK, no protocol
 *                                                          64 - 65   OK, protocol 6, no ports
 *                                                          66 - 67   OK, protocol 6, source port
 *                                                            >= 68   OK, protocol 6, both ports
 *
 * The number of headers in a chain is not limited: each has at least 8 octets, so the packet's size bounds the work.
 */
#include <string.h>

#include "numbers.h"
#include "packet.h"

#define IPV6_HEADER 40u
#define IPV4_HEADER 20u
#define MAX_DEPTH 16u /* IP headers in one packet: work per packet stays bounded by (bytes x 16) */
#define AHEAD 8u      /* packets whose header is fetched while another one is parsed */
#define MAX_FIRSTS 4u /* nested first fragments remembered for one packet */

const uint8_t fc_kinds[256] = {
    [FC_PROTOCOL_TCP] = FC_KIND_PORTS,
    [FC_PROTOCOL_UDP] = FC_KIND_PORTS,
    [FC_PROTOCOL_UDP_LITE] = FC_KIND_PORTS,
    [FC_PROTOCOL_SCTP] = FC_KIND_PORTS,
    [FC_PROTOCOL_DCCP] = FC_KIND_PORTS,
    [FC_PROTOCOL_ESP] = FC_KIND_SPI,
    [FC_PROTOCOL_MOBILITY] = FC_KIND_SPECIAL,
    [FC_PROTOCOL_ICMPV6] = FC_KIND_SPECIAL,
    [FC_PROTOCOL_HOP_BY_HOP] = FC_KIND_EXTENSION,
    [FC_PROTOCOL_ROUTING] = FC_KIND_EXTENSION,
    [FC_PROTOCOL_FRAGMENT] = FC_KIND_EXTENSION,
    [FC_PROTOCOL_DESTINATION_OPTIONS] = FC_KIND_EXTENSION,
    [FC_PROTOCOL_AH] = FC_KIND_EXTENSION,
    [FC_PROTOCOL_HIP] = FC_KIND_EXTENSION,
    [FC_PROTOCOL_SHIM6] = FC_KIND_EXTENSION,
};

/* How far the reading of one IP header and its extension chain has come. */
typedef struct walk {
    const uint8_t *data;
    uint32_t at;  /* the next octet to look at; at <= end */
    uint32_t end; /* the packet's end: of what was captured, or by the packet's own length if that is less */
    uint8_t protocol;
    uint8_t is_open; /* 1: the packet's length field is 0, so a long chain contradicts nothing */
} walk;

/* RFC 4302, 2.2: AH counts in 4-octet units minus 2, unlike every other extension header. */
static uint32_t ah_size(const uint8_t *p) { return 4u * (p[1] + 2u); }

/* Reads a Fragment header of 8 octets. With offset 0 and no more fragments the packet is whole (an "atomic fragment",
 * RFC 6946) and is treated like one without this header. */
static void read_fragment(const uint8_t *p, fc_packet *info)
{
    uint16_t field = fc_be16(p + 2);
    if (field & 0xfff8)
        info->fragment = FC_FRAGMENT_LATER;
    else if (field & 1)
        info->fragment = FC_FRAGMENT_FIRST;
    info->fragment_id = fc_be32(p + 4);
}

/* Called for an extension header that isn't there as a whole; `size` is its size as far as it is known. If the header
 * would fit into the packet and only the snap length cut it off, the packet ends here and its key has no protocol. If
 * it doesn't fit into the packet, the packet is malformed. Returns enum fc_packet_status. */
static int chain_ends(walk *w, uint32_t size, fc_key *key, const fc_packet *info)
{
    uint64_t declared = (uint64_t)info->ip_offset + info->ip_length;
    if (declared > w->end ? size > declared - w->at : !w->is_open)
        return FC_PACKET_MALFORMED;
    key->present &= (uint8_t)~FC_PROTOCOL;
    w->protocol = 0;
    return FC_PACKET_OK;
}

/* Reads the chain of extension headers behind an IPv6 header. Returns enum fc_packet_status. */
static int extension_chain(walk *w, fc_key *key, fc_packet *info)
{
    while (fc_kinds[w->protocol] == FC_KIND_EXTENSION) {
        const uint8_t *p = w->data + w->at;
        uint32_t left = w->end - w->at, size = 8;
        if (left >= 2 && w->protocol == FC_PROTOCOL_AH)
            size = ah_size(p);
        else if (left >= 2 && w->protocol != FC_PROTOCOL_FRAGMENT)
            size =
                8u * (p[1] + 1u); /* hop-by-hop anywhere in the chain: a node would complain, a classifier reads on */
        if (left < 8 || size > left)
            return chain_ends(w, size > 8 ? size : 8, key, info);
        if (w->protocol == FC_PROTOCOL_FRAGMENT)
            read_fragment(p, info);
        w->protocol = p[0];
        w->at += size;
        if (info->fragment == FC_FRAGMENT_LATER)
            break; /* what follows is not the beginning of a header */
    }
    return FC_PACKET_OK;
}

static void special(const walk *w, fc_packet *info)
{
    const uint8_t *p = w->data + w->at;
    uint32_t left = w->end - w->at;
    /* ICMPv6: home agent address discovery and mobile prefix messages, RFC 6275 6.5 to 6.8 */
    if (w->protocol == FC_PROTOCOL_MOBILITY ||
        (w->protocol == FC_PROTOCOL_ICMPV6 && left >= 1 && p[0] >= 144 && p[0] <= 147))
        info->flags |= FC_PACKET_SIGNALLING;
}

/* Takes into the key what is there of the upper-layer header. The key's fields for it are 0 before. */
static inline void upper_layer(const walk *w, fc_key *key, fc_packet *info)
{
    const uint8_t *p = w->data + w->at;
    uint32_t left = w->end - w->at;
    if (fc_kinds[w->protocol] == FC_KIND_PORTS) {
        if (left >= 4) {
            key->source_port = fc_be16(p);
            key->destination_port = fc_be16(p + 2);
            key->present |= FC_SOURCE_PORT | FC_DESTINATION_PORT;
        } else if (left >= 2) {
            key->source_port = fc_be16(p);
            key->present |= FC_SOURCE_PORT;
        }
    } else if (fc_kinds[w->protocol] == FC_KIND_SPI) {
        if (left >= 4) {
            key->spi = fc_be32(p);
            key->present |= FC_SPI;
        }
    } else if (fc_kinds[w->protocol] == FC_KIND_SPECIAL) {
        special(w, info);
    }
}

/* The last step for both IP versions: the chain has been read, and w->protocol is the upper-layer protocol. */
static int finish(const walk *w, fc_key *key, fc_packet *info, fc_upper *upper)
{
    key->protocol = w->protocol;
    info->transport_offset = w->at;
    if (info->fragment != FC_FRAGMENT_LATER)
        upper_layer(w, key, info);
    else if (w->protocol == FC_PROTOCOL_MOBILITY)
        info->flags |= FC_PACKET_SIGNALLING;
    upper->at = w->at;
    upper->end = w->end;
    upper->protocol = w->protocol;
    return FC_PACKET_OK;
}

/* Returns where a packet ends that begins at `at` and says that it has `size` octets (0: all that were captured). If
 * fewer were captured, notes that the packet was cut and returns caplen. */
static uint32_t packet_end(uint32_t at, uint32_t caplen, uint32_t size, fc_packet *info)
{
    uint32_t left = caplen - at;
    if (size == 0)
        size = left;
    info->ip_length = size;
    if (size <= left)
        return at + size;
    info->flags |= FC_PACKET_CUT;
    return caplen;
}

static int read_ipv6(const uint8_t *data, uint32_t at, uint32_t caplen, fc_key *key, fc_packet *info, fc_upper *upper)
{
    if (caplen - at < IPV6_HEADER)
        return FC_PACKET_MALFORMED;
    const uint8_t *p = data + at;
    uint32_t payload = fc_be16(p + 4);
    uint32_t first_word = fc_be32(p);
    walk w = {data, at + IPV6_HEADER, packet_end(at, caplen, payload ? IPV6_HEADER + payload : 0, info), p[6],
              payload == 0};
    key->source[0] = fc_be64(p + 8);
    key->source[1] = fc_be64(p + 16);
    key->destination[0] = fc_be64(p + 24);
    key->destination[1] = fc_be64(p + 32);
    key->flow_label = first_word & 0xfffff;
    key->spi = 0;
    key->source_port = key->destination_port = 0;
    key->traffic_class = (uint8_t)(first_word >> 20);
    key->version = 6;
    key->present = FC_SOURCE | FC_DESTINATION | FC_FLOW_LABEL | FC_TRAFFIC_CLASS | FC_PROTOCOL;
    int status = extension_chain(&w, key, info);
    return status == FC_PACKET_OK ? finish(&w, key, info, upper) : status;
}

static int read_ipv4(const uint8_t *data, uint32_t at, uint32_t caplen, fc_key *key, fc_packet *info, fc_upper *upper)
{
    if (caplen - at < IPV4_HEADER)
        return FC_PACKET_MALFORMED;
    const uint8_t *p = data + at;
    uint32_t header = (p[0] & 15u) * 4;
    uint32_t end = packet_end(at, caplen, fc_be16(p + 2), info);
    if (header < IPV4_HEADER || header > end - at)
        return FC_PACKET_MALFORMED;
    walk w = {data, at + header, end, p[9], fc_be16(p + 2) == 0};
    key->source[0] = key->destination[0] = 0;
    key->source[1] = fc_be32(p + 12);
    key->destination[1] = fc_be32(p + 16);
    key->flow_label = key->spi = 0;
    key->source_port = key->destination_port = 0;
    key->traffic_class = p[1];
    key->version = 4;
    key->present = FC_SOURCE | FC_DESTINATION | FC_TRAFFIC_CLASS | FC_PROTOCOL;
    uint16_t field = fc_be16(p + 6);
    if (field & 0x3fff) {
        info->fragment = field & 0x1fff ? FC_FRAGMENT_LATER : FC_FRAGMENT_FIRST;
        info->fragment_id = fc_be16(p + 4);
    }
    /* AH is an extension header in IPv4 too (RFC 4302), but a later fragment begins somewhere behind it. */
    while (w.protocol == FC_PROTOCOL_AH && info->fragment != FC_FRAGMENT_LATER) {
        uint32_t left = end - w.at, size = left >= 2 ? ah_size(data + w.at) : 8;
        if (left < 8 || size > left) {
            int status = chain_ends(&w, size > 8 ? size : 8, key, info);
            if (status != FC_PACKET_OK)
                return status;
            break;
        }
        w.protocol = data[w.at];
        w.at += size;
    }
    return finish(&w, key, info, upper);
}

/* Reads the IP header at `at` and what stands behind it. Returns enum fc_packet_status; the key is good only after
 * FC_PACKET_OK. `info` must be all zero before. */
static int read_ip(const uint8_t *data, uint32_t at, uint32_t caplen, fc_key *key, fc_packet *info, fc_upper *upper)
{
    info->ip_offset = at;
    info->depth = 1;
    if (at == caplen)
        return FC_PACKET_MALFORMED;
    uint8_t version = data[at] >> 4;
    if (version == 6)
        return read_ipv6(data, at, caplen, key, info, upper);
    if (version == 4)
        return read_ipv4(data, at, caplen, key, info, upper);
    info->depth = 0;
    info->unread = FC_UNREAD_VERSION;
    info->unread_value = version;
    return FC_PACKET_NOT_IP;
}

/* Reads what most packets of most traces are: an IPv6 or IPv4 header without extensions, options or fragmentation, with
 * both ports behind it. Returns 1, or 0 for any other packet, of which it has written nothing. Which of the two
 * versions it is can't be foreseen in a trace that has both, so no branch depends on it. (With struct walk in memory a
 * packet took 7 ns longer: gcc loads as one word what was just stored as two, which no processor can forward.) */
static inline int read_plain(const uint8_t *data, uint32_t at, uint32_t caplen, fc_key *key, fc_packet *info,
                             fc_upper *upper)
{
    const uint8_t *p = data + at;
    const uint32_t left = caplen - at;
    if (left < IPV4_HEADER + 4)
        return 0;
    /* All ones for IPv6, else 0. What is read of an IPv4 header stays within its 20 octets: an address is the lower
     * half of the eight octets that end with it. */
    const uint32_t six = 0u - (uint32_t)(p[0] >> 4 == 6);
    const uint8_t protocol = p[9 - (3 & six)];
    if (fc_kinds[protocol] != FC_KIND_PORTS)
        return 0;
    const uint64_t high = (uint64_t)six << 32 | six, low = high | UINT32_MAX;
    const uint32_t header = IPV4_HEADER + ((IPV6_HEADER - IPV4_HEADER) & six);
    const uint32_t size = fc_be16(p + 2 + (2 & six)) + (IPV6_HEADER & six), first_word = fc_be32(p);
    if (left < header + 4 || !(six | (p[0] == 0x45)) || size < header + 4 || (fc_be16(p + 6) & 0x3fff & ~six))
        return 0;
    *key = (fc_key){
        .source = {fc_be64(p + 8) & high, fc_be64(p + 8 + (8 & six)) & low},
        .destination = {fc_be64(p + 8 + (16 & six)) & high, fc_be64(p + 12 + (20 & six)) & low},
        .flow_label = first_word & 0xfffff & six,
        .source_port = fc_be16(p + header),
        .destination_port = fc_be16(p + header + 2),
        .traffic_class = (uint8_t)(first_word >> (16 + (4 & six))),
        .protocol = protocol,
        .version = (uint8_t)(4 + (2 & six)),
        .present = (uint8_t)(FC_SOURCE | FC_DESTINATION | FC_TRAFFIC_CLASS | FC_PROTOCOL | FC_SOURCE_PORT |
                             FC_DESTINATION_PORT | (FC_FLOW_LABEL & six)),
    };
    *info = (fc_packet){
        .flags = size > left ? FC_PACKET_CUT : 0,
        .depth = 1,
        .ip_offset = at,
        .ip_length = size,
        .transport_offset = at + header,
    };
    *upper = (fc_upper){at + header, size < left ? at + size : caplen, protocol};
    return 1;
}

/* One comparison, where compilers would make a branch for each of the two. */
static inline int is_ip_type(uint32_t type) { return (type ^ FC_TYPE_IPV6) * (type ^ FC_TYPE_IPV4) == 0; }

/* Returns where the IP header begins, or FC_NO_IP, and then f says why. The commonest link layers are read here, in a
 * few steps; all others layer by layer (fc_layers). */
static __attribute__((noinline)) uint32_t find_ip(int linktype, const uint8_t *data, uint32_t caplen, fc_frame *f)
{
    uint32_t at;
    uint16_t type;
    switch (linktype) {
    case FC_LINK_RAW:
    case FC_LINK_IPV4:
    case FC_LINK_IPV6:
        return 0;
    case FC_LINK_ETHERNET:
        at = 12;
        break;
    case FC_LINK_LINUX_SLL:
        at = 14;
        break;
    default:
        at = caplen;
        break;
    }
    if (caplen >= at + 2) {
        type = fc_be16(data + at);
        at += 2;
        for (unsigned tags = 1; (type == FC_TYPE_VLAN || type == FC_TYPE_VLAN_SERVICE) && caplen - at >= 4; tags++) {
            if (tags == FC_MAX_LAYERS) {
                fc_unread(f, FC_UNREAD_LIMIT, FC_MAX_LAYERS);
                return FC_NO_IP;
            }
            type = fc_be16(data + at + 2);
            at += 4;
        }
        if (is_ip_type(type))
            return at;
        if (type == FC_TYPE_ARP) {
            fc_unread(f, FC_UNREAD_ETHERTYPE, type);
            return FC_NO_IP;
        }
        if (type >= FC_TYPE_FIRST) {
            *f = (fc_frame){.data = data, .at = at, .end = caplen, .number = type};
            return fc_layers(f, FC_LAYER_ETHERTYPE);
        }
    }
    *f = (fc_frame){.data = data, .end = caplen};
    return fc_layers(f, fc_link_layer(f, (uint32_t)linktype));
}

static inline int outermost(int linktype, const uint8_t *data, uint32_t caplen, fc_key *key, fc_packet *info,
                            fc_upper *upper)
{
    fc_frame f;
    uint32_t at = FC_NO_IP;
    if (linktype == FC_LINK_ETHERNET && caplen >= 18) { /* without a call, for one VLAN tag or none */
        at = 14 + 4u * (fc_be16(data + 12) == FC_TYPE_VLAN);
        at = is_ip_type(fc_be16(data + at - 2)) ? at : FC_NO_IP;
    }
    if (at == FC_NO_IP)
        at = find_ip(linktype, data, caplen, &f);
    if (at != FC_NO_IP && read_plain(data, at, caplen, key, info, upper))
        return FC_PACKET_OK;
    memset(info, 0, sizeof *info);
    int status = at == FC_NO_IP ? FC_PACKET_NOT_IP : read_ip(data, at, caplen, key, info, upper);
    if (status != FC_PACKET_OK) {
        memset(key, 0, sizeof *key);
        if (at == FC_NO_IP) {
            info->unread = f.unread;
            info->unread_value = f.value;
        }
    }
    info->status = (uint8_t)status;
    return status;
}

static fc_fragment_id identity(const uint8_t *data, const fc_packet *info)
{
    /* read from the packet and not from the key, because the key may be that of another, inner header */
    const uint8_t *p = data + info->ip_offset;
    fc_fragment_id id = {{0, 0}, {0, 0}, info->fragment_id, 6};
    if (p[0] >> 4 == 4) {
        id.source[1] = fc_be32(p + 12);
        id.destination[1] = fc_be32(p + 16);
        id.kind = 4 | (uint32_t)p[9] << 8;
        return id;
    }
    id.source[0] = fc_be64(p + 8);
    id.source[1] = fc_be64(p + 16);
    id.destination[0] = fc_be64(p + 24);
    id.destination[1] = fc_be64(p + 32);
    return id;
}

/* Goes into tunnels as deep as `options` ask, and asks and tells the fragment memory on the way. At entry, key and info
 * are those of the outermost header; at the end, those of the header that decides. */
static void further(const uint8_t *data, const fc_parse_options *options, fc_key *key, fc_packet *info, fc_upper *upper)
{
    fc_fragment_id firsts[MAX_FIRSTS];
    unsigned n_firsts = 0, depth = 1;
    unsigned wanted = options->inner < MAX_DEPTH ? options->inner : MAX_DEPTH;
    for (;;) {
        if (options->fragments && info->fragment != FC_FRAGMENT_NONE) {
            fc_fragment_id id = identity(data, info);
            if (info->fragment == FC_FRAGMENT_FIRST && n_firsts < MAX_FIRSTS)
                firsts[n_firsts++] = id;
            else if (info->fragment == FC_FRAGMENT_LATER && fc_fragments_find(options->fragments, &id, key, info))
                break;
        }
        if (depth >= wanted || info->fragment == FC_FRAGMENT_LATER)
            break;
        uint32_t at = fc_tunnel(data, upper);
        if (at == FC_NO_IP)
            break;
        fc_key inner_key;
        fc_packet inner = {0};
        fc_upper inner_upper;
        if (read_ip(data, at, upper->end, &inner_key, &inner, &inner_upper) != FC_PACKET_OK)
            break;
        inner.flags |= info->flags & FC_PACKET_CUT;
        inner.depth = (uint8_t)++depth;
        *key = inner_key;
        *info = inner;
        *upper = inner_upper;
    }
    for (unsigned i = 0; i < n_firsts; i++)
        fc_fragments_remember(options->fragments, &firsts[i], key, info);
}

int fc_parse(int linktype, const uint8_t *data, uint32_t caplen, fc_key *key, fc_packet *info)
{
    fc_upper upper;
    return outermost(linktype, data, caplen, key, info, &upper);
}

static inline void parse_next(int linktype, const uint8_t *data, uint32_t caplen, size_t i,
                              const fc_parse_options *options, fc_key *key, fc_packet *info)
{
    fc_upper upper;
    const int deeper = options && options->inner > 1, remember = options && options->fragments;
    int status = outermost(linktype, data, caplen, key, info, &upper);
    if (status == FC_PACKET_OK && (deeper || (remember && info->fragment != FC_FRAGMENT_NONE))) {
        if (remember)
            fc_fragments_at(options->fragments, i, options->times ? options->times[i] : options->now);
        further(data, options, key, info, &upper);
    }
}

void fc_parse_next(int linktype, const uint8_t *data, uint32_t caplen, size_t i, const fc_parse_options *options,
                   fc_key *key, fc_packet *info)
{
    parse_next(linktype, data, caplen, i, options, key, info);
}

void fc_parse_batch(int linktype, const uint16_t *linktypes, const uint8_t *buffer, const uint64_t *offsets,
                    const uint32_t *lengths, size_t n, const fc_parse_options *options, fc_key *keys, fc_packet *infos)
{
    for (size_t i = 0; i < n; i++) {
        if (i + AHEAD < n)
            __builtin_prefetch(buffer + offsets[i + AHEAD] + 14);
        parse_next(linktypes ? linktypes[i] : linktype, buffer + offsets[i], lengths[i], i, options, &keys[i],
                   &infos[i]);
    }
    if (options && options->fragments)
        fc_fragments_passed(options->fragments, n);
}
