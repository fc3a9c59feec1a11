/* link.c - says with which layer a frame begins, by its capture's link type (https://www.tcpdump.org/linktypes.html).
 *
 * The capturing machine writes some headers in its own byte order, which nothing tells. Such a value is read in one
 * order, and if it is impossible in that one, in the other.
 */
#include "numbers.h"
#include "packet.h"

/* Address families. AF_INET is 2 everywhere; AF_INET6 is 10 on Linux, 23 on Windows, 24, 28 and 30 on the BSDs and
 * Darwin. */
static int is_ip_family(uint32_t family)
{
    return family == 2 || family == 10 || family == 23 || family == 24 || family == 28 || family == 30;
}

static int frame_of(fc_frame *f, uint32_t linktype) { return fc_unread(f, FC_UNREAD_FRAME, linktype); }

/* Cisco HDLC, which also occurs under PPP's link types. Its address is 0x0f (unicast) or 0x8f (multicast). */
static int cisco_hdlc(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 2);
    if (!p)
        return FC_LAYER_NONE;
    return p[0] == 0x0f || p[0] == 0x8f ? fc_type_behind(f, 0) : frame_of(f, FC_LINK_C_HDLC);
}

static int ppp_or_cisco_hdlc(fc_frame *f)
{
    int cisco = f->at < f->end && (f->data[f->at] == 0x0f || f->data[f->at] == 0x8f);
    return cisco ? cisco_hdlc(f) : FC_LAYER_PPP;
}

/* A frame begins with a Q.922 address of two to four octets, of which only the last is odd. Behind it stands one of RFC
 * 2427's NLPIDs (for IP, or SNAP with an EtherType or bridged Ethernet), or, in Cisco's encapsulation, an EtherType. */
static int frame_relay(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 2);
    if (!p)
        return FC_LAYER_NONE;
    if (p[0] & 1)
        return frame_of(f, FC_LINK_FRELAY);
    for (int octets = 2; !(p[octets - 1] & 1); octets++) {
        if (octets == 4)
            return frame_of(f, FC_LINK_FRELAY);
        if (!fc_take(f, 1))
            return FC_LAYER_NONE;
    }
    p = fc_take(f, 2);
    if (!p)
        return FC_LAYER_NONE;
    uint8_t nlpid = p[1];
    if (p[0] != 0x03) {
        f->number = fc_be16(p);
        return FC_LAYER_ETHERTYPE;
    }
    if (nlpid == 0) { /* a pad octet */
        p = fc_take(f, 1);
        if (!p)
            return FC_LAYER_NONE;
        nlpid = p[0];
    }
    if (nlpid == FC_NLPID_IPV4 || nlpid == FC_NLPID_IPV6)
        return FC_LAYER_IP;
    if (nlpid != FC_NLPID_SNAP)
        return fc_unread(f, FC_UNREAD_NLPID, nlpid);
    p = fc_take(f, 5);
    if (!p)
        return FC_LAYER_NONE;
    uint32_t organization = fc_be32(p) >> 8;
    f->number = fc_be16(p + 3);
    if (organization == 0)
        return FC_LAYER_ETHERTYPE;
    if (organization == 0x0080c2 && (f->number == 1 || f->number == 7))
        return FC_LAYER_ETHERNET;
    return fc_unread(f, FC_UNREAD_SNAP, f->number);
}

/* A frame begins with an address family, in the byte order of the capturing machine (NULL) or in network order (LOOP);
 * both orders are tried for both. Some programs write an EtherType instead, and a PPP daemon of the BSDs writes PPP's
 * address and control octets. */
static int null_loop(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 4);
    if (!p)
        return FC_LAYER_NONE;
    uint32_t family = fc_le32(p) <= 0xffff ? fc_le32(p) : fc_be32(p);
    if (is_ip_family(family))
        return FC_LAYER_IP;
    if (p[0] == 0xff && p[1] == 0x03) {
        f->at -= 4;
        return FC_LAYER_PPP;
    }
    f->number = family <= 0xffff ? (uint16_t)family : fc_be16(p + 2);
    return f->number >= FC_TYPE_FIRST ? FC_LAYER_ETHERTYPE : fc_unread(f, FC_UNREAD_FAMILY, family);
}

/* Linux cooked capture: `protocol` is an EtherType, or one of a few small numbers of its own (4: LLC). Interfaces that
 * monitor 802.11 hand on its frames, which `hardware` tells. */
static int cooked(fc_frame *f, uint32_t hardware, uint16_t protocol)
{
    enum { ARPHRD_IEEE80211 = 801, ARPHRD_IEEE80211_PRISM, ARPHRD_IEEE80211_RADIOTAP };
    f->number = protocol;
    if (protocol >= FC_TYPE_FIRST)
        return FC_LAYER_ETHERTYPE;
    switch (hardware) {
    case ARPHRD_IEEE80211:
        return FC_LAYER_WLAN;
    case ARPHRD_IEEE80211_PRISM:
        return FC_LAYER_PRISM_OR_AVS;
    case ARPHRD_IEEE80211_RADIOTAP:
        return FC_LAYER_RADIOTAP;
    default:
        return protocol == 4 ? FC_LAYER_LLC : fc_unread(f, FC_UNREAD_ETHERTYPE, protocol);
    }
}

/* Frame control must say that the frame carries LLC. A bit of the source address says that source routing comes first.
 */
static int token_ring(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 14);
    if (!p)
        return FC_LAYER_NONE;
    if ((p[1] & 0xc0) != 0x40)
        return frame_of(f, FC_LINK_TOKEN_RING);
    if (!(p[8] & 0x80))
        return FC_LAYER_LLC;
    p = fc_take(f, 2);
    if (!p)
        return FC_LAYER_NONE;
    uint32_t size = p[0] & 31;
    return size < 2 ? frame_of(f, FC_LINK_TOKEN_RING) : fc_behind(f, size - 2, FC_LAYER_LLC);
}

/* The low nibble of the first octet says what follows: 1 is LAN emulation (Ethernet), 2 is LLC (RFC 2684). */
static int sunatm(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 4);
    if (!p)
        return FC_LAYER_NONE;
    switch (p[0] & 15) {
    case 1:
        return fc_behind(f, 2, FC_LAYER_ETHERNET);
    case 2:
        return FC_LAYER_LLC;
    default:
        return frame_of(f, FC_LINK_SUNATM);
    }
}

/* Only packet PDUs carry Ethernet. An extended header may stand before the header check sequence. */
static int docsis(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 6);
    if (!p)
        return FC_LAYER_NONE;
    return p[0] >> 6 ? frame_of(f, FC_LINK_DOCSIS) : fc_behind(f, p[0] & 1 ? p[1] : 0, FC_LAYER_ETHERNET);
}

/* The last octet of the preamble tells what the frame is (802.3br): an express frame, or one of the four starts of
 * frames that may be interrupted. */
static int mpacket(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 8);
    if (!p)
        return FC_LAYER_NONE;
    switch (p[7]) {
    case 0xd5:
    case 0xe6:
    case 0x4c:
    case 0x7f:
    case 0xb3:
        return FC_LAYER_ETHERNET;
    default: /* a continuation */
        return frame_of(f, FC_LINK_ETHERNET_MPACKET);
    }
}

/* The header is "MGC", an octet of flags, and with flag 0x80 extensions with their length. Flag 0x02 says that the link
 * layer was taken off, so that an IP header follows. */
static int juniper(fc_frame *f, uint32_t linktype)
{
    enum { NO_LINK_LAYER = 0x02, EXTENDED = 0x80 };
    const uint8_t *p = fc_take(f, 4);
    if (!p)
        return FC_LAYER_NONE;
    uint8_t flags = p[3];
    if (fc_be32(p) >> 8 != 0x4d4743)
        return frame_of(f, linktype);
    if (flags & EXTENDED) {
        p = fc_take(f, 2);
        if (!p || !fc_take(f, fc_be16(p)))
            return FC_LAYER_NONE;
    }
    if (flags & NO_LINK_LAYER)
        return FC_LAYER_IP;
    switch (linktype) {
    case FC_LINK_JUNIPER_PPP:
        return FC_LAYER_PPP;
    case FC_LINK_JUNIPER_FRELAY:
        return frame_relay(f);
    case FC_LINK_JUNIPER_CHDLC:
        return cisco_hdlc(f);
    default:
        return FC_LAYER_ETHERNET;
    }
}

/* The header begins with its length, which does not count what fills it up to a multiple of four octets, and the
 * address family as a BSD numbers it. */
static int pflog(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 2);
    if (!p)
        return FC_LAYER_NONE;
    uint32_t size = (p[0] + 3u) & ~3u;
    if (size < 4)
        return frame_of(f, FC_LINK_PFLOG);
    return is_ip_family(p[1]) ? fc_behind(f, size - 2, FC_LAYER_IP) : fc_unread(f, FC_UNREAD_FAMILY, p[1]);
}

/* Linux netfilter's log is a list of attributes, each filled up to a multiple of four octets. An attribute begins with
 * its length and its type, in the byte order of the capturing machine. Types are small numbers, so the octet that is
 * zero tells the order. One attribute is the payload, which begins with the network header. */
static int nflog(fc_frame *f)
{
    enum { FAMILY_IPV4 = 2, FAMILY_BRIDGE = 7, FAMILY_IPV6 = 10, PACKET_HEADER = 1, PAYLOAD = 9 };
    const uint8_t *p = fc_take(f, 4);
    if (!p)
        return FC_LAYER_NONE;
    uint8_t family = p[0];
    f->number = 0;
    for (;;) {
        p = fc_take(f, 4);
        if (!p)
            return FC_LAYER_NONE;
        uint32_t little = p[3] == 0, type = little ? p[2] : p[3], size = little ? fc_le16(p) : fc_be16(p);
        if ((p[2] && p[3]) || size < 4)
            return frame_of(f, FC_LINK_NFLOG);
        if (type == PAYLOAD)
            break;
        if (!fc_take(f, ((size + 3) & ~3u) - 4))
            return FC_LAYER_NONE;
        if (type == PACKET_HEADER && size >= 6)
            f->number = fc_be16(p + 4);
    }
    if (family == FAMILY_IPV4 || family == FAMILY_IPV6)
        return FC_LAYER_IP;
    return family == FAMILY_BRIDGE && f->number >= FC_TYPE_FIRST ? FC_LAYER_ETHERTYPE
                                                                 : fc_unread(f, FC_UNREAD_FAMILY, family);
}

/* Solaris's header of 24 octets: version, family (2: IPv4, 26: IPv6), and the packet's zones and interfaces. */
static int ipnet(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 24);
    if (!p)
        return FC_LAYER_NONE;
    return p[1] == 2 || p[1] == 26 ? FC_LAYER_IP : fc_unread(f, FC_UNREAD_FAMILY, p[1]);
}

/* Endace's record header of 16 octets, behind which a chain of extension headers of 8 octets each may stand. */
static int endace(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 16);
    if (!p)
        return FC_LAYER_NONE;
    uint8_t type = p[8] & 0x7f, more = p[8] & 0x80;
    while (more) {
        p = fc_take(f, 8);
        if (!p)
            return FC_LAYER_NONE;
        more = p[0] & 0x80;
    }
    switch (type) {
    case 2: /* Ethernet, behind an offset and a pad octet; 11, 16, 20: with a colour or a hash */
    case 11:
    case 16:
    case 20:
        return fc_behind(f, 2, FC_LAYER_ETHERNET);
    case 1: /* HDLC; 10, 15, 19: with a colour or a hash */
    case 10:
    case 15:
    case 19:
        return ppp_or_cisco_hdlc(f);
    case 5: /* HDLC of one channel; 17: with a colour */
    case 17:
        return fc_take(f, 4) ? ppp_or_cisco_hdlc(f) : FC_LAYER_NONE;
    case 22:
    case 23:
        return FC_LAYER_IP;
    default:
        return frame_of(f, FC_LINK_ERF);
    }
}

static int link_layer(fc_frame *f, uint32_t linktype)
{
    const uint8_t *p;
    switch (linktype) {
    case FC_LINK_ETHERNET:
    case FC_LINK_DSA_TAG_EDSA: /* has an EtherType of its own */
        return FC_LAYER_ETHERNET;
    case FC_LINK_RAW_BSD:
    case FC_LINK_RAW_OPENBSD:
    case FC_LINK_RAW:
    case FC_LINK_IPV4:
    case FC_LINK_IPV6:
        return FC_LAYER_IP;
    case FC_LINK_LINUX_SLL:
        p = fc_take(f, 16);
        return p ? cooked(f, fc_be16(p + 2), fc_be16(p + 14)) : FC_LAYER_NONE;
    case FC_LINK_LINUX_SLL2:
        p = fc_take(f, 20);
        return p ? cooked(f, fc_be16(p + 8), fc_be16(p)) : FC_LAYER_NONE;
    case FC_LINK_NULL:
    case FC_LINK_LOOP:
        return null_loop(f);
    case FC_LINK_PPP:
    case FC_LINK_PPP_HDLC:
        return ppp_or_cisco_hdlc(f);
    case FC_LINK_PPP_WITH_DIR:
        return fc_behind(f, 1, FC_LAYER_PPP);
    case FC_LINK_PPP_PPPD: /* the direction instead of PPP's address */
        p = fc_take(f, 2);
        return !p ? FC_LAYER_NONE : p[0] <= 1 && p[1] == 0x03 ? FC_LAYER_PPP : frame_of(f, linktype);
    case FC_LINK_PPP_ETHER:
        f->number = FC_TYPE_PPPOE;
        return FC_LAYER_ETHERTYPE;
    case FC_LINK_FDDI: /* frame control, two addresses */
        p = fc_take(f, 13);
        return !p ? FC_LAYER_NONE : (p[0] & 0xf0) == 0x50 ? FC_LAYER_LLC : frame_of(f, linktype);
    case FC_LINK_TOKEN_RING:
        return token_ring(f);
    case FC_LINK_FRELAY_WITH_DIR:
        return fc_take(f, 1) ? frame_relay(f) : FC_LAYER_NONE;
    case FC_LINK_FRELAY:
        return frame_relay(f);
    case FC_LINK_IPOIB: /* 40 octets of global routing header, then EtherType and a reserved field (RFC 4391) */
        p = fc_take(f, 44);
        f->number = p ? fc_be16(p + 40) : 0;
        return p ? FC_LAYER_ETHERTYPE : FC_LAYER_NONE;
    case FC_LINK_C_HDLC_WITH_DIR:
        return fc_take(f, 1) ? cisco_hdlc(f) : FC_LAYER_NONE;
    case FC_LINK_C_HDLC:
        return cisco_hdlc(f);
    case FC_LINK_IEEE802_11:
        return FC_LAYER_WLAN;
    case FC_LINK_IEEE802_11_RADIOTAP:
        return FC_LAYER_RADIOTAP;
    case FC_LINK_IEEE802_11_PRISM:
    case FC_LINK_IEEE802_11_AVS:
        return FC_LAYER_PRISM_OR_AVS;
    case FC_LINK_SLIP: /* direction and the compressed header, if there was one */
        return fc_behind(f, 16, FC_LAYER_IP);
    case FC_LINK_ATM_RFC1483:
        return FC_LAYER_LLC;
    case FC_LINK_IP_OVER_FC: /* RFC 2625's network header */
        return fc_behind(f, 16, FC_LAYER_LLC);
    case FC_LINK_SUNATM:
        return sunatm(f);
    case FC_LINK_APPLE_IP_OVER_IEEE1394: /* two addresses of 8 octets */
        return fc_type_behind(f, 16);
    case FC_LINK_DOCSIS:
        return docsis(f);
    case FC_LINK_MPLS:
        return FC_LAYER_MPLS;
    case FC_LINK_ENC: /* family, SPI, flags */
        return fc_behind(f, 12, FC_LAYER_IP);
    case FC_LINK_PFLOG:
        return pflog(f);
    case FC_LINK_NFLOG:
        return nflog(f);
    case FC_LINK_IPNET:
        return ipnet(f);
    case FC_LINK_ERF:
        return endace(f);
    case FC_LINK_JUNIPER_ETHER:
    case FC_LINK_JUNIPER_PPP:
    case FC_LINK_JUNIPER_FRELAY:
    case FC_LINK_JUNIPER_CHDLC:
        return juniper(f, linktype);
    case FC_LINK_NETANALYZER:
        return fc_behind(f, 4, FC_LAYER_ETHERNET);
    case FC_LINK_NETANALYZER_TRANSPARENT: /* with the preamble */
        return fc_behind(f, 12, FC_LAYER_ETHERNET);
    case FC_LINK_ETHERNET_MPACKET:
        return mpacket(f);
    case FC_LINK_DSA_TAG_BRCM: /* switches' tags of four octets, between the addresses and the EtherType */
    case FC_LINK_DSA_TAG_DSA:
        return fc_type_behind(f, 16);
    case FC_LINK_DSA_TAG_BRCM_PREPEND:
        return fc_behind(f, 4, FC_LAYER_ETHERNET);
    default:
        return fc_unread(f, FC_UNREAD_LINKTYPE, linktype);
    }
}

int fc_link_layer(fc_frame *f, uint32_t linktype)
{
    if (linktype != FC_LINK_PPI && linktype != FC_LINK_PKTAP)
        return link_layer(f, linktype);
    /* PPI and PKTAP: a header that tells its own length and the link type of what follows */
    uint32_t head = linktype == FC_LINK_PPI ? 8 : 12;
    const uint8_t *p = fc_take(f, head);
    if (!p)
        return FC_LAYER_NONE;
    uint32_t length = linktype == FC_LINK_PPI ? fc_le16(p + 2) : fc_le32(p);
    uint32_t inner = fc_le32(p + (linktype == FC_LINK_PPI ? 4 : 8));
    if (length < head)
        return frame_of(f, linktype);
    return fc_take(f, length - head) ? link_layer(f, inner) : FC_LAYER_NONE;
}
