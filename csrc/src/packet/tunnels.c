/* tunnels.c - finds the IP header inside an IP packet.
 *
 * Some IP protocols say by number that they are tunnels (IP in IP, GRE, EtherIP, MPLS in IP, Ethernet in SRv6, L2TPv3).
 * The UDP ones are known by their port alone, so that each is believed only if its header is as its standard wants it;
 * parse.c then takes the inner header only if it can be read. What a tunnel carries is read as a frame is (layers.c).
 */
#include "numbers.h"
#include "packet.h"

/* Says that there is no packet inside, because the header is not as a tunnel's should be. */
static int no_tunnel(fc_frame *f) { return fc_unread(f, FC_UNREAD_FRAME, 0); }

/* ERSPAN (draft-foschiano-erspan) carries mirrored Ethernet frames. Type I has no header, and its GRE header no
 * sequence number; types II and III have headers, and type III may carry IP packets too. */
static int erspan(fc_frame *f, int has_sequence)
{
    enum { III_SUBHEADER = 1, III_FRAME_TYPE_SHIFT = 10, III_ETHERNET = 0, III_IP = 2 };
    if (!has_sequence)
        return FC_LAYER_ETHERNET;
    const uint8_t *p = fc_take(f, 8);
    if (!p)
        return FC_LAYER_NONE;
    if (p[0] >> 4 == 1)
        return FC_LAYER_ETHERNET;
    if (p[0] >> 4 != 2 || !fc_take(f, 4))
        return no_tunnel(f);
    uint16_t word = fc_be16(p + 10);
    int type = word >> III_FRAME_TYPE_SHIFT & 31;
    if (type != III_ETHERNET && type != III_IP)
        return no_tunnel(f);
    return fc_behind(f, word & III_SUBHEADER ? 8 : 0, type == III_IP ? FC_LAYER_IP : FC_LAYER_ETHERNET);
}

/* Returns the layer that follows a GRE header of this protocol type. */
static int gre_payload(fc_frame *f, uint16_t type, int has_sequence)
{
    switch (type) {
    case FC_TYPE_BRIDGED:
        return FC_LAYER_ETHERNET;
    case FC_TYPE_ERSPAN:
    case FC_TYPE_ERSPAN_III:
        return erspan(f, has_sequence);
    case FC_TYPE_WCCP: /* version 2 has a redirect header of four octets, which doesn't begin with 4 */
        return f->at < f->end && f->data[f->at] >> 4 == 4 ? FC_LAYER_IP : fc_behind(f, 4, FC_LAYER_IP);
    default:
        if (type >= FC_TYPE_ARUBA_FIRST && type <= FC_TYPE_ARUBA_LAST && (type & 15) == 0)
            return FC_LAYER_WLAN;
        f->number = type;
        return type >= FC_TYPE_FIRST ? FC_LAYER_ETHERTYPE : no_tunnel(f);
    }
}

/* RFC 2784, 2890, 1701 (source routes); version 1 is PPTP's (RFC 2637) */
static int gre(fc_frame *f)
{
    enum {
        CHECKSUM = 0x8000,
        ROUTING = 0x4000,
        KEY = 0x2000,
        SEQUENCE = 0x1000,
        ACKNOWLEDGEMENT = 0x0080,
        VERSION = 7
    };
    const uint8_t *p = fc_take(f, 4);
    if (!p)
        return FC_LAYER_NONE;
    uint16_t flags = fc_be16(p), type = fc_be16(p + 2);
    uint32_t size = 0;
    if ((flags & VERSION) > 1)
        return no_tunnel(f);
    size += flags & (CHECKSUM | ROUTING) ? 4 : 0;
    size += flags & KEY ? 4 : 0;
    size += flags & SEQUENCE ? 4 : 0;
    size += (flags & VERSION) == 1 && flags & ACKNOWLEDGEMENT ? 4 : 0;
    if (!fc_take(f, size))
        return FC_LAYER_NONE;
    while (flags & ROUTING) { /* source route entries: family, offset, length; the last is all zero */
        p = fc_take(f, 4);
        if (!p || !fc_take(f, p[3]))
            return FC_LAYER_NONE;
        if (fc_be16(p) == 0 && p[3] == 0)
            break;
    }
    return gre_payload(f, type, flags & SEQUENCE);
}

/* RFC 3378: version 3, and twelve bits of zero */
static int etherip(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 2);
    return !p ? FC_LAYER_NONE : fc_be16(p) == 0x3000 ? FC_LAYER_ETHERNET : no_tunnel(f);
}

/* Behind the session number of L2TPv3 (RFC 3931) stand a cookie, and perhaps a sublayer of four octets. Only the two
 * ends know how long the cookie is and whether the sublayer is there, so the first place where an Ethernet header can
 * begin is taken. */
static int l2tp_session(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 4);
    if (!p)
        return FC_LAYER_NONE;
    for (uint32_t more = 0; fc_be32(p) != 0 && more <= 12; more += 4) /* session 0: control */
        if (fc_ethernet_here(f, f->at + more))
            return fc_behind(f, more, FC_LAYER_ETHERNET);
    return no_tunnel(f);
}

/* Data messages of L2TP version 2 (RFC 2661) and version 3 (RFC 3931) in UDP. */
static int l2tp_udp(fc_frame *f)
{
    enum { CONTROL = 0x8000, LENGTH = 0x4000, SEQUENCE = 0x0800, OFFSET = 0x0200, VERSION = 15 };
    const uint8_t *p = fc_take(f, 2);
    if (!p)
        return FC_LAYER_NONE;
    uint16_t flags = fc_be16(p);
    if (flags & CONTROL)
        return no_tunnel(f);
    if ((flags & VERSION) == 3)
        return fc_take(f, 2) ? l2tp_session(f) : FC_LAYER_NONE;
    if ((flags & VERSION) != 2)
        return no_tunnel(f);
    if (!fc_take(f, 4u + (flags & LENGTH ? 2u : 0u) + (flags & SEQUENCE ? 4u : 0u)))
        return FC_LAYER_NONE;
    if (flags & OFFSET) {
        p = fc_take(f, 2);
        if (!p || !fc_take(f, fc_be16(p)))
            return FC_LAYER_NONE;
    }
    return FC_LAYER_PPP;
}

/* 3GPP TS 29.281, 5.1. In version 1, protocol type GTP, a message 255 (G-PDU) carries an IP packet or, in 5G, an
 * Ethernet frame. */
static int gtp_u(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 8);
    if (!p)
        return FC_LAYER_NONE;
    if ((p[0] & 0xf0) != 0x30 || p[1] != 255)
        return no_tunnel(f);
    if (!(p[0] & 7))
        return FC_LAYER_IP_OR_ETHERNET;
    uint8_t extended = p[0] & 4;
    p = fc_take(f, 4);
    if (!p)
        return FC_LAYER_NONE;
    uint8_t next = extended ? p[3] : 0; /* extension headers, lengths in 4 octets */
    while (next) {
        uint32_t size = f->at < f->end ? 4u * f->data[f->at] : 0;
        p = size ? fc_take(f, size) : NULL;
        if (!p)
            return FC_LAYER_NONE;
        next = p[size - 1];
    }
    return FC_LAYER_IP_OR_ETHERNET;
}

/* VXLAN (RFC 7348); bits that the group policy draft sets are ignored. A header with the P bit is VXLAN-GPE's
 * (draft-ietf-nvo3-vxlan-gpe) and has the protocol of what follows; with `generic`, no other header is accepted. */
static int vxlan(fc_frame *f, int generic)
{
    enum { GPE_VERSION = 0x30, INSTANCE = 0x08, PROTOCOL = 0x04 };
    static const uint8_t layers[] = {FC_LAYER_NONE,     FC_LAYER_IP,  FC_LAYER_IP,
                                     FC_LAYER_ETHERNET, FC_LAYER_NSH, FC_LAYER_MPLS};
    const uint8_t *p = fc_take(f, 8);
    if (!p)
        return FC_LAYER_NONE;
    if (p[0] & PROTOCOL && !(p[0] & GPE_VERSION))
        return p[3] < sizeof layers ? layers[p[3]] : no_tunnel(f);
    return generic || !(p[0] & INSTANCE) ? no_tunnel(f) : FC_LAYER_ETHERNET;
}

/* RFC 8926. Only version 0 is read; the header says how many units of 4 octets its options have. */
static int geneve(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 8);
    if (!p)
        return FC_LAYER_NONE;
    if (p[0] >> 6)
        return no_tunnel(f);
    f->number = fc_be16(p + 2);
    return fc_behind(f, 4u * (p[0] & 63u), f->number == FC_TYPE_BRIDGED ? FC_LAYER_ETHERNET : FC_LAYER_ETHERTYPE);
}

/* RFC 4380, 5.1.1: an authentication and an origin indication may stand before the IPv6 header */
static int teredo(fc_frame *f)
{
    const uint8_t *p = f->data + f->at;
    if (f->end - f->at >= 4 && p[0] == 0 && p[1] == 1 && !fc_take(f, 13u + p[2] + p[3]))
        return FC_LAYER_NONE;
    p = f->data + f->at;
    if (f->end - f->at >= 8 && p[0] == 0 && p[1] == 0)
        f->at += 8;
    return f->at < f->end && f->data[f->at] >> 4 == 6 ? FC_LAYER_IP : no_tunnel(f);
}

/* Returns the layer that follows as this IP protocol, if the protocol is a tunnel. */
static int ip_protocol(fc_frame *f, uint8_t protocol)
{
    switch (protocol) {
    case FC_PROTOCOL_IP_IN_IP:
    case FC_PROTOCOL_IPV6_IN_IP:
        if (f->at < f->end && f->data[f->at] >> 4 != (protocol == FC_PROTOCOL_IP_IN_IP ? 4 : 6))
            return no_tunnel(f);
        return FC_LAYER_IP;
    case FC_PROTOCOL_GRE:
        return gre(f);
    case FC_PROTOCOL_ETHERIP:
        return etherip(f);
    case FC_PROTOCOL_L2TP:
        return l2tp_session(f);
    case FC_PROTOCOL_MPLS_IN_IP: /* RFC 4023 */
        return FC_LAYER_MPLS;
    case FC_PROTOCOL_ETHERNET: /* RFC 8986 */
        return FC_LAYER_ETHERNET;
    default:
        return no_tunnel(f);
    }
}

/* draft-ietf-intarea-gue. Version 0 has a header with the IP protocol of what follows and the number of units of 4
 * octets that its optional fields have. In version 1 there is no header: the packet begins with the IP header. */
static int gue(fc_frame *f)
{
    enum { CONTROL = 0x20 };
    if (f->at < f->end && f->data[f->at] >> 6 == 1)
        return FC_LAYER_IP;
    const uint8_t *p = fc_take(f, 4);
    if (!p)
        return FC_LAYER_NONE;
    if (p[0] >> 6 || p[0] & CONTROL)
        return no_tunnel(f);
    return fc_take(f, 4u * (p[0] & 31u)) ? ip_protocol(f, p[1]) : FC_LAYER_NONE;
}

/* TaZmen Sniffer Protocol: version 1, type, protocol of the frame, tags up to the one that ends them */
static int tzsp(fc_frame *f)
{
    enum { RECEIVED = 0, TO_SEND = 1, TAG_PADDING = 0, TAG_END = 1 };
    const uint8_t *p = fc_take(f, 4);
    if (!p)
        return FC_LAYER_NONE;
    if (p[0] != 1 || p[1] > TO_SEND)
        return no_tunnel(f);
    uint16_t protocol = fc_be16(p + 2);
    for (uint8_t tag = TAG_PADDING; tag != TAG_END;) {
        p = fc_take(f, 1);
        if (!p)
            return FC_LAYER_NONE;
        tag = p[0];
        if (tag == TAG_PADDING || tag == TAG_END)
            continue;
        p = fc_take(f, 1);
        if (!p || !fc_take(f, p[0]))
            return FC_LAYER_NONE;
    }
    switch (protocol) {
    case 0x01:
        return FC_LAYER_ETHERNET;
    case 0x12:
        return FC_LAYER_WLAN;
    case 0x77:
    case 0x7f:
        return FC_LAYER_PRISM_OR_AVS;
    default:
        return no_tunnel(f);
    }
}

/* RFC 5415, 4.3, data channel without DTLS. The T bit says that the frame is in its native format, which is 802.11's,
 * some with the octets of its frame control swapped; without it the frame is 802.3's, but not with everybody. */
static int capwap(fc_frame *f)
{
    enum { NATIVE = 0x01, FRAGMENT = 0x80, KEEP_ALIVE = 0x08, DATA = 0x08 };
    const uint8_t *p = fc_take(f, 8);
    if (!p)
        return FC_LAYER_NONE;
    uint32_t size = 4u * (p[1] >> 3);
    if (p[0] || size < 8 || p[3] & KEEP_ALIVE || (p[3] & FRAGMENT && fc_be16(p + 6) >> 3))
        return no_tunnel(f);
    uint8_t flags = p[2];
    if (!fc_take(f, size - 8))
        return FC_LAYER_NONE;
    if (f->end - f->at < 2 || (!(flags & NATIVE) && fc_ethernet_here(f, f->at)))
        return FC_LAYER_ETHERNET;
    p = f->data + f->at;
    if ((p[0] & 15) == DATA)
        return FC_LAYER_WLAN;
    return (p[1] & 15) == DATA ? FC_LAYER_WLAN_SWAPPED : no_tunnel(f);
}

/* draft-massar-v6ops-ayiya: sizes of identity and signature in the first two octets, the IP protocol in the fourth */
static int ayiya(fc_frame *f)
{
    enum { FORWARD = 1 };
    const uint8_t *p = fc_take(f, 8);
    if (!p)
        return FC_LAYER_NONE;
    uint8_t operation = p[2] & 15, protocol = p[3];
    if (operation != FORWARD)
        return no_tunnel(f);
    return fc_take(f, (1u << (p[0] >> 4)) + 4u * (p[1] >> 4)) ? ip_protocol(f, protocol) : FC_LAYER_NONE;
}

static int udp(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 8);
    if (!p)
        return FC_LAYER_NONE;
    uint16_t source = fc_be16(p), destination = fc_be16(p + 2);
    switch (destination) { /* overlays put entropy into the source port */
    case FC_PORT_VXLAN:
    case FC_PORT_VXLAN_LINUX:
        return vxlan(f, 0);
    case FC_PORT_VXLAN_GPE:
        return vxlan(f, 1);
    case FC_PORT_GENEVE:
        return geneve(f);
    case FC_PORT_GUE:
        return gue(f);
    case FC_PORT_GRE:
        return gre(f);
    case FC_PORT_MPLS:
        return FC_LAYER_MPLS;
    case FC_PORT_LISP: /* RFC 9300: eight octets, then the packet */
        return fc_behind(f, 8, FC_LAYER_IP);
    case FC_PORT_TZSP:
        return tzsp(f);
    default:
        break;
    }
    for (int i = 0; i < 2; i++) {
        switch (i ? destination : source) {
        case FC_PORT_GTP_U:
            return gtp_u(f);
        case FC_PORT_TEREDO:
            return teredo(f);
        case FC_PORT_L2TP:
            return l2tp_udp(f);
        case FC_PORT_CAPWAP_DATA:
            return capwap(f);
        case FC_PORT_AYIYA:
            return ayiya(f);
        default:
            break;
        }
    }
    return no_tunnel(f);
}

/* Most UDP packets are no tunnel's. One look at this table for each port is enough to tell that of nearly all. */
#define FOLDED(port) (((port) ^ (port) >> 8) & 255)

static const uint8_t may_be_tunnel[256] = {
    [FOLDED(FC_PORT_L2TP)] = 1,        [FOLDED(FC_PORT_GTP_U)] = 1,  [FOLDED(FC_PORT_TEREDO)] = 1,
    [FOLDED(FC_PORT_LISP)] = 1,        [FOLDED(FC_PORT_GRE)] = 1,    [FOLDED(FC_PORT_VXLAN)] = 1,
    [FOLDED(FC_PORT_VXLAN_GPE)] = 1,   [FOLDED(FC_PORT_AYIYA)] = 1,  [FOLDED(FC_PORT_CAPWAP_DATA)] = 1,
    [FOLDED(FC_PORT_GUE)] = 1,         [FOLDED(FC_PORT_GENEVE)] = 1, [FOLDED(FC_PORT_MPLS)] = 1,
    [FOLDED(FC_PORT_VXLAN_LINUX)] = 1, [FOLDED(FC_PORT_TZSP)] = 1,
};

static uint32_t inside_tunnel(const uint8_t *data, const fc_upper *upper)
{
    fc_frame f = {.data = data, .at = upper->at, .end = upper->end};
    int layer = upper->protocol == FC_PROTOCOL_UDP ? udp(&f) : ip_protocol(&f, upper->protocol);
    uint32_t at = layer == FC_LAYER_IP ? f.at : fc_layers(&f, layer);
    return at < upper->end ? at : FC_NO_IP;
}

uint32_t fc_tunnel(const uint8_t *data, const fc_upper *upper)
{
    switch (upper->protocol) {
    case FC_PROTOCOL_UDP:
        if (upper->end - upper->at < 8)
            return FC_NO_IP;
        data += upper->at;
        if (!may_be_tunnel[data[0] ^ data[1]] && !may_be_tunnel[data[2] ^ data[3]])
            return FC_NO_IP;
        return inside_tunnel(data - upper->at, upper);
    case FC_PROTOCOL_IP_IN_IP:
    case FC_PROTOCOL_IPV6_IN_IP:
    case FC_PROTOCOL_GRE:
    case FC_PROTOCOL_ETHERIP:
    case FC_PROTOCOL_L2TP:
    case FC_PROTOCOL_MPLS_IN_IP:
    case FC_PROTOCOL_ETHERNET:
        return inside_tunnel(data, upper);
    default:
        return FC_NO_IP;
    }
}
