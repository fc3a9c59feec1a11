/* layers.c - what stands between the start of a frame, or a tunnel's header, and an IP header.
 *
 * Tags and shims (VLAN, VN-Tag, E-Tag, HSR, MPLS, NSH ...), frames in frames (provider backbone bridges, FabricPath,
 * TRILL, Ethernet in MPLS), LLC, PPP. Every function takes its octets off the frame and returns the layer that follows.
 * An EtherType says "IP"; whether it is version 4 or 6 is for the version nibble to say, which is parse.c's business.
 */
#include "numbers.h"
#include "packet.h"

/* Is what seems to be an IP header here certainly one? An IPv4 header is when its checksum is right, an IPv6 header
 * when its length is that of the octets that are there, apart from the padding that Ethernet adds to short frames. */
static int is_ip_beyond_doubt(const fc_frame *f)
{
    const uint8_t *p = f->data + f->at;
    uint32_t left = f->end - f->at;
    if (left && p[0] >> 4 == 4) {
        uint32_t header = 4u * (p[0] & 15u), sum = 0;
        if (header < 20 || header > left)
            return 0;
        for (uint32_t i = 0; i < header; i += 2)
            sum += fc_be16(p + i);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        return sum == 0xffff;
    }
    if (left < 40)
        return 0;
    uint32_t size = 40u + fc_be16(p + 4);
    return size <= left && left - size < 46;
}

/* Is this an EtherType that a real frame would have? Those that are read here are, and ARP's, which occurs in every
 * bridged network. IP's are left to the caller. */
static int is_known_type(uint16_t type)
{
    switch (type) {
    case FC_TYPE_ARP:
    case FC_TYPE_VLAN:
    case FC_TYPE_VLAN_SERVICE:
    case FC_TYPE_VLAN_9100:
    case FC_TYPE_VLAN_9200:
    case FC_TYPE_VLAN_9300:
    case FC_TYPE_VN_TAG:
    case FC_TYPE_HSR:
    case FC_TYPE_E_TAG:
    case FC_TYPE_EDSA:
    case FC_TYPE_CISCO_METADATA:
    case FC_TYPE_ARISTA_TIME:
    case FC_TYPE_MACSEC:
    case FC_TYPE_PBB:
    case FC_TYPE_FABRICPATH:
    case FC_TYPE_TRILL:
    case FC_TYPE_NSH:
    case FC_TYPE_MPLS:
    case FC_TYPE_MPLS_MULTICAST:
    case FC_TYPE_PPPOE:
    case FC_TYPE_PPP:
        return 1;
    default:
        return 0;
    }
}

int fc_ethernet_here(const fc_frame *f, uint32_t at)
{
    if (at > f->end || f->end - at < 15)
        return 0;
    const uint8_t *p = f->data + at;
    uint16_t type = fc_be16(p + 12);
    if (type == FC_TYPE_IPV4)
        return p[14] >= 0x45 && p[14] <= 0x4f;
    if (type == FC_TYPE_IPV6)
        return p[14] >> 4 == 6;
    if (type < FC_TYPE_FIRST) /* a length */
        return f->end - at >= 17 && p[14] == 0xaa && p[15] == 0xaa && p[16] == 0x03;
    return is_known_type(type);
}

/* For what stands behind the last label of an MPLS stack, or in a GTP tunnel, where no field says what it is. The usual
 * way is to look at the first nibble (RFC 4928), but an Ethernet destination address may begin with 4 or 6 too (RFC
 * 8469). */
static int ip_or_ethernet(fc_frame *f)
{
    if (f->at == f->end)
        return fc_unread(f, FC_UNREAD_CUT, 0);
    uint8_t nibble = f->data[f->at] >> 4;
    int ethernet = fc_ethernet_here(f, f->at);
    if (nibble == 4 || nibble == 6)
        return ethernet && !is_ip_beyond_doubt(f) ? FC_LAYER_ETHERNET : FC_LAYER_IP;
    return ethernet ? FC_LAYER_ETHERNET : fc_unread(f, FC_UNREAD_VERSION, nibble);
}

static int mpls(fc_frame *f)
{
    const uint8_t *p;
    do {
        p = fc_take(f, 4);
        if (!p)
            return FC_LAYER_NONE;
    } while (!(p[2] & 1)); /* the bottom of the stack */
    /* the control word of a pseudowire (RFC 4385) begins with the nibble 0, and so do many Ethernet addresses */
    if (f->at < f->end && f->data[f->at] >> 4 == 0 && fc_ethernet_here(f, f->at + 4))
        return fc_behind(f, 4, FC_LAYER_ETHERNET);
    return ip_or_ethernet(f);
}

/* RFC 8300 */
static int nsh(fc_frame *f)
{
    enum { IPV4 = 1, IPV6, ETHERNET, NSH, MPLS };
    static const uint8_t layers[] = {[IPV4] = FC_LAYER_IP,
                                     [IPV6] = FC_LAYER_IP,
                                     [ETHERNET] = FC_LAYER_ETHERNET,
                                     [NSH] = FC_LAYER_NSH,
                                     [MPLS] = FC_LAYER_MPLS};
    const uint8_t *p = fc_take(f, 8);
    if (!p)
        return FC_LAYER_NONE;
    uint32_t size = 4u * (p[1] & 63u);
    if (p[0] >> 6 || size < 8 || p[3] == 0 || p[3] > MPLS)
        return fc_unread(f, FC_UNREAD_ETHERTYPE, FC_TYPE_NSH);
    return fc_behind(f, size - 8, layers[p[3]]);
}

/* IEEE 802.1AE. Without encryption the user's EtherType follows; an integrity check value stands at the frame's end. */
static int macsec(fc_frame *f)
{
    enum { SCI_PRESENT = 0x20, ENCRYPTED = 0x08, CHANGED = 0x04 };
    const uint8_t *p = fc_take(f, 6);
    if (!p)
        return FC_LAYER_NONE;
    if (p[0] & (ENCRYPTED | CHANGED))
        return fc_unread(f, FC_UNREAD_ENCRYPTED, FC_TYPE_MACSEC);
    return fc_type_behind(f, p[0] & SCI_PRESENT ? 8 : 0);
}

/* RFC 6325. The header says how many units of 4 octets its options have. */
static int trill(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 6);
    if (!p)
        return FC_LAYER_NONE;
    if (p[0] >> 6)
        return fc_unread(f, FC_UNREAD_ETHERTYPE, FC_TYPE_TRILL);
    return fc_behind(f, 4u * (fc_be16(p) >> 6 & 31u), FC_LAYER_ETHERNET);
}

/* Arista's header, which holds the time of capture in 64 or 48 bits. */
static int arista_time(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 4);
    if (!p)
        return FC_LAYER_NONE;
    switch (fc_be16(p + 2)) {
    case 0x0010:
        return fc_type_behind(f, 8);
    case 0x0020:
        return fc_type_behind(f, 6);
    default:
        return fc_unread(f, FC_UNREAD_ETHERTYPE, FC_TYPE_ARISTA_TIME);
    }
}

/* The header begins with its version and the number of units of 4 octets that follow: options and security group tags.
 */
static int cisco_metadata(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 2);
    return p ? fc_type_behind(f, 4u * p[1]) : FC_LAYER_NONE;
}

/* RFC 2516, the session stage. The Length field is not needed, because IP has its own. */
static int pppoe(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 6);
    if (!p)
        return FC_LAYER_NONE;
    return p[0] == 0x11 && p[1] == 0 ? FC_LAYER_PPP : fc_unread(f, FC_UNREAD_ETHERTYPE, FC_TYPE_PPPOE);
}

static int ethertype(fc_frame *f)
{
    switch (f->number) {
    case FC_TYPE_IPV4:
    case FC_TYPE_IPV6:
        return FC_LAYER_IP;
    case FC_TYPE_VLAN:
    case FC_TYPE_VLAN_SERVICE:
    case FC_TYPE_VLAN_9100:
    case FC_TYPE_VLAN_9200:
    case FC_TYPE_VLAN_9300:
        return fc_type_behind(f, 2);
    case FC_TYPE_VN_TAG:
    case FC_TYPE_HSR:
        return fc_type_behind(f, 4);
    case FC_TYPE_E_TAG:
    case FC_TYPE_EDSA: /* two octets of zero, four of tag */
        return fc_type_behind(f, 6);
    case FC_TYPE_CISCO_METADATA:
        return cisco_metadata(f);
    case FC_TYPE_ARISTA_TIME:
        return arista_time(f);
    case FC_TYPE_MACSEC:
        return macsec(f);
    case FC_TYPE_PBB: /* flags and service identifier, then the customer's frame */
        return fc_behind(f, 4, FC_LAYER_ETHERNET);
    case FC_TYPE_FABRICPATH: /* tag and time to live, then the frame inside */
        return fc_behind(f, 2, FC_LAYER_ETHERNET);
    case FC_TYPE_TRILL:
        return trill(f);
    case FC_TYPE_NSH:
        return FC_LAYER_NSH;
    case FC_TYPE_MPLS:
    case FC_TYPE_MPLS_MULTICAST:
        return FC_LAYER_MPLS;
    case FC_TYPE_PPPOE:
        return pppoe(f);
    case FC_TYPE_PPP:
        return FC_LAYER_PPP;
    default:
        return f->number < FC_TYPE_FIRST ? FC_LAYER_LLC : fc_unread(f, FC_UNREAD_ETHERTYPE, f->number);
    }
}

static int ethernet(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 14);
    if (!p)
        return FC_LAYER_NONE;
    f->number = fc_be16(p + 12);
    /* Cisco's ISL looks like an 802.3 frame to one of two addresses; 12 octets later the frame inside begins */
    if (f->number < FC_TYPE_FIRST && (p[0] & ~2) == 0x01 && p[1] == 0 && p[2] == 0x0c && p[3] == 0 && p[4] == 0)
        return fc_behind(f, 12, FC_LAYER_ETHERNET);
    return FC_LAYER_ETHERTYPE;
}

/* IEEE 802.2. IP stands behind SNAP (RFC 1042), behind IP's own old service access point, or behind ISO's and an NLPID.
 */
static int llc(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 3);
    if (!p)
        return FC_LAYER_NONE;
    uint16_t access_points = fc_be16(p);
    if (p[2] != 0x03) /* not unnumbered information */
        return fc_unread(f, FC_UNREAD_LLC, access_points);
    switch (access_points) {
    case FC_LLC_IP:
        return FC_LAYER_IP;
    case FC_LLC_ISO:
        p = fc_take(f, 1);
        if (!p)
            return FC_LAYER_NONE;
        return p[0] == FC_NLPID_IPV4 || p[0] == FC_NLPID_IPV6 ? FC_LAYER_IP : fc_unread(f, FC_UNREAD_NLPID, p[0]);
    case FC_LLC_SNAP:
        break;
    default:
        return fc_unread(f, FC_UNREAD_LLC, access_points);
    }
    p = fc_take(f, 5);
    if (!p)
        return FC_LAYER_NONE;
    uint32_t organization = fc_be32(p) >> 8;
    f->number = fc_be16(p + 3);
    if (organization == 0x0080c2 &&
        (f->number == 1 || f->number == 7)) /* RFC 2684: bridged Ethernet behind two octets */
        return fc_behind(f, 2, FC_LAYER_ETHERNET);
    /* EtherTypes: RFC 1042, and 802.1H's bridge tunnel */
    if ((organization == 0x000000 || organization == 0x0000f8) && f->number >= FC_TYPE_FIRST)
        return FC_LAYER_ETHERTYPE;
    return fc_unread(f, FC_UNREAD_SNAP, f->number);
}

/* RFC 1661 and 1662. Address and control may be left out, and the protocol field may be compressed to one (odd) octet.
 */
static int ppp(fc_frame *f)
{
    const uint8_t *p = f->data + f->at;
    if (f->end - f->at >= 2 && p[0] == 0xff && p[1] == 0x03)
        f->at += 2;
    p = fc_take(f, 1);
    if (!p)
        return FC_LAYER_NONE;
    uint16_t protocol = p[0];
    if (!(protocol & 1)) {
        p = fc_take(f, 1);
        if (!p)
            return FC_LAYER_NONE;
        protocol = (uint16_t)(protocol << 8 | p[0]);
    }
    switch (protocol) {
    case FC_PPP_IPV4:
    case FC_PPP_IPV6:
        return FC_LAYER_IP;
    case FC_PPP_MPLS:
    case FC_PPP_MPLS_MULTICAST:
        return FC_LAYER_MPLS;
    default:
        return fc_unread(f, FC_UNREAD_PPP, protocol);
    }
}

uint32_t fc_layers(fc_frame *f, int layer)
{
    for (unsigned n = 0; n < FC_MAX_LAYERS; n++) {
        switch (layer) {
        case FC_LAYER_IP:
            return f->at;
        case FC_LAYER_ETHERNET:
            layer = ethernet(f);
            break;
        case FC_LAYER_ETHERTYPE:
            layer = ethertype(f);
            break;
        case FC_LAYER_LLC:
            layer = llc(f);
            break;
        case FC_LAYER_PPP:
            layer = ppp(f);
            break;
        case FC_LAYER_MPLS:
            layer = mpls(f);
            break;
        case FC_LAYER_NSH:
            layer = nsh(f);
            break;
        case FC_LAYER_IP_OR_ETHERNET:
            layer = ip_or_ethernet(f);
            break;
        case FC_LAYER_WLAN:
        case FC_LAYER_WLAN_PADDED:
        case FC_LAYER_WLAN_SWAPPED:
            layer = fc_wlan(f, layer);
            break;
        case FC_LAYER_RADIOTAP:
            layer = fc_radiotap(f);
            break;
        case FC_LAYER_PRISM_OR_AVS:
            layer = fc_prism_or_avs(f);
            break;
        default:
            return FC_NO_IP;
        }
    }
    fc_unread(f, FC_UNREAD_LIMIT, FC_MAX_LAYERS);
    return FC_NO_IP;
}
