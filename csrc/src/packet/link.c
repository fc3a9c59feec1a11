/* link.c - link layers: where does the IP header begin?
 *
 * Every function takes what was captured (data, caplen) and an offset at <= caplen, and returns an offset <= caplen or
 * FC_NO_IP. All but fc_link_layer go forward only, so that a chain of tags and shims ends with the bytes.
 * The version nibble is parse.c's business: an EtherType says "IP", the nibble says which.
 */
#include "../common/bytes.h"
#include "numbers.h"
#include "packet.h"

#define MAX_VLAN_TAGS 4

static uint32_t ethertype(const uint8_t *data, uint32_t caplen, uint16_t type, uint32_t at, int may_be_length);

/* IEEE 802.2, with SNAP (RFC 1042) or the old IP service access point */
static uint32_t llc(const uint8_t *data, uint32_t caplen, uint32_t at)
{
    const uint8_t *p = data + at;
    uint32_t left = caplen - at;
    if (left >= 3 && p[0] == 0x06 && p[1] == 0x06 && p[2] == 0x03)
        return at + 3;
    if (left < 8 || p[0] != 0xaa || p[1] != 0xaa || p[2] != 0x03)
        return FC_NO_IP;
    uint32_t oui = fc_be32(p + 2) & 0xffffff;
    if (oui != 0x000000 && oui != 0x0000f8) /* EtherTypes: RFC 1042, and 802.1H's bridge tunnel */
        return FC_NO_IP;
    uint16_t type = fc_be16(p + 6);
    return ethertype(data, caplen, type, at + 8, 0);
}

static uint32_t mpls(const uint8_t *data, uint32_t caplen, uint32_t at)
{
    for (;;) {
        if (caplen - at < 4)
            return FC_NO_IP;
        uint8_t bottom = data[at + 2] & 1;
        at += 4;
        if (bottom) /* no type field behind the stack: RFC 4928 has everybody look at the nibble */
            return at < caplen ? at : FC_NO_IP;
    }
}

/* RFC 2516 session stage; the Length field is not needed: IP has its own */
static uint32_t pppoe(const uint8_t *data, uint32_t caplen, uint32_t at)
{
    if (caplen - at < 6 || data[at] != 0x11 || data[at + 1] != 0)
        return FC_NO_IP;
    return fc_link_ppp(data, caplen, at + 6);
}

/* may_be_length: an 802.3 length is followed by LLC; at most once, so that a packet can't nest LLC in itself */
static uint32_t ethertype(const uint8_t *data, uint32_t caplen, uint16_t type, uint32_t at, int may_be_length)
{
    for (int tags = 0;;) {
        switch (type) {
        case FC_TYPE_IPV4:
        case FC_TYPE_IPV6:
            return at;
        case FC_TYPE_VLAN:
        case FC_TYPE_VLAN_SERVICE:
        case FC_TYPE_VLAN_9100:
            if (++tags > MAX_VLAN_TAGS || caplen - at < 4)
                return FC_NO_IP;
            type = fc_be16(data + at + 2);
            at += 4;
            continue;
        case FC_TYPE_MPLS:
        case FC_TYPE_MPLS_MULTICAST:
            return mpls(data, caplen, at);
        case FC_TYPE_PPPOE:
            return pppoe(data, caplen, at);
        case FC_TYPE_PPP:
            return fc_link_ppp(data, caplen, at);
        default:
            return type < FC_TYPE_FIRST && may_be_length ? llc(data, caplen, at) : FC_NO_IP;
        }
    }
}

uint32_t fc_link_ethertype(const uint8_t *data, uint32_t caplen, uint16_t type, uint32_t at)
{
    return ethertype(data, caplen, type, at, 1);
}

uint32_t fc_link_ethernet(const uint8_t *data, uint32_t caplen, uint32_t at)
{
    if (caplen - at < 14)
        return FC_NO_IP;
    return fc_link_ethertype(data, caplen, fc_be16(data + at + 12), at + 14);
}

/* RFC 1661 and 1662: address and control may be compressed away, the protocol field to one (odd) octet */
uint32_t fc_link_ppp(const uint8_t *data, uint32_t caplen, uint32_t at)
{
    if (caplen - at >= 2 && data[at] == 0xff && data[at + 1] == 0x03)
        at += 2;
    if (caplen - at < 1)
        return FC_NO_IP;
    uint16_t protocol = data[at];
    if (protocol & 1) {
        at += 1;
    } else {
        if (caplen - at < 2)
            return FC_NO_IP;
        protocol = fc_be16(data + at);
        at += 2;
    }
    switch (protocol) {
    case 0x0021:
    case 0x0057:
        return at;
    case 0x0281:
    case 0x0283:
        return mpls(data, caplen, at);
    default:
        return FC_NO_IP;
    }
}

/* Cisco HDLC in a PPP link type: address 0x0f unicast, 0x8f multicast */
static uint32_t cisco_hdlc(const uint8_t *data, uint32_t caplen)
{
    if (caplen < 4 || (data[0] != 0x0f && data[0] != 0x8f))
        return FC_NO_IP;
    return fc_link_ethertype(data, caplen, fc_be16(data + 2), 4);
}

/* A data frame that isn't encrypted, up to its LLC header. IEEE 802.11-2020, 9.2.4 and 9.3.2 */
static uint32_t wlan(const uint8_t *data, uint32_t caplen, uint32_t at, int padded)
{
    if (caplen - at < 24)
        return FC_NO_IP;
    const uint8_t *p = data + at;
    uint16_t control = fc_le16(p);
    int is_data = (control & 0x000f) == 0x0008, is_null = (control & 0x0040) != 0, is_protected = control >> 14 & 1;
    if (!is_data || is_null || is_protected || (p[22] & 15)) /* [22]: fragment number; only number 0 has the LLC header */
        return FC_NO_IP;
    uint32_t header = 24;
    int aggregated = 0;
    if ((control & 0x0300) == 0x0300) /* between access points: a fourth address */
        header += 6;
    if (control & 0x0080) { /* QoS */
        if (caplen - at < header + 2)
            return FC_NO_IP;
        aggregated = p[header] & 0x80;
        header += control & 0x8000 ? 6 : 2; /* with an HT control field */
    }
    if (padded)
        header = (header + 3) & ~3u;
    if (aggregated) /* A-MSDU: the first subframe's addresses and length; one record gives one key */
        header += 14;
    return caplen - at < header ? FC_NO_IP : llc(data, caplen, at + header);
}

/* https://www.radiotap.org: the flags field says whether the 802.11 header is padded to 4 octets */
static uint32_t radiotap(const uint8_t *data, uint32_t caplen)
{
    if (caplen < 8 || data[0] != 0)
        return FC_NO_IP;
    uint32_t length = fc_le16(data + 2), at = 4, present = fc_le32(data + 4);
    if (length < 8 || length > caplen)
        return FC_NO_IP;
    for (uint32_t word = present; at += 4, word >> 31;) { /* further bitmaps */
        if (length - at < 4)
            return FC_NO_IP;
        word = fc_le32(data + at);
    }
    if (present & 1) /* TSFT: 8 octets, aligned */
        at = ((at + 7) & ~7u) + 8;
    int padded = (present & 2) && at < length && (data[at] & 0x20);
    return wlan(data, caplen, length, padded);
}

static uint32_t wlan_behind(const uint8_t *data, uint32_t caplen, uint32_t length)
{
    return length > caplen ? FC_NO_IP : wlan(data, caplen, length, 0);
}

/* AVS headers say so in their first word; Prism's message length is in the order of the machine that captured */
static uint32_t prism_or_avs(const uint8_t *data, uint32_t caplen)
{
    if (caplen < 8)
        return FC_NO_IP;
    if ((fc_be32(data) & 0xfffff000) == 0x80211000)
        return wlan_behind(data, caplen, fc_be32(data + 4));
    uint32_t length = fc_le32(data + 4);
    return wlan_behind(data, caplen, length < 0x10000 ? length : fc_be32(data + 4));
}

/* Behind a two-octet Q.922 address: RFC 2427's NLPIDs for IP, and SNAP; or Cisco's encapsulation, an EtherType */
static uint32_t frame_relay(const uint8_t *data, uint32_t caplen)
{
    if (caplen < 4 || (data[0] & 1) || !(data[1] & 1))
        return FC_NO_IP;
    if (data[2] != 0x03)
        return fc_link_ethertype(data, caplen, fc_be16(data + 2), 4);
    uint32_t at = data[3] == 0 ? 4 : 3; /* a pad octet */
    if (caplen - at < 1)
        return FC_NO_IP;
    switch (data[at]) {
    case 0xcc:
    case 0x8e:
        return at + 1;
    case 0x80:
        if (caplen - at < 6 || data[at + 1] || data[at + 2] || data[at + 3])
            return FC_NO_IP;
        return fc_link_ethertype(data, caplen, fc_be16(data + at + 4), at + 6);
    default:
        return FC_NO_IP;
    }
}

/* The address family in the order of the machine that captured, or (LOOP) in network order: both are tried for both.
 * AF_INET is 2 everywhere; AF_INET6 is 10 on Linux, 23 on Windows, 24, 28 and 30 on the BSDs and Darwin. */
static uint32_t null_loop(const uint8_t *data, uint32_t caplen)
{
    if (caplen < 4)
        return FC_NO_IP;
    uint32_t family = fc_le32(data);
    if (family > 0xffff)
        family = fc_be32(data);
    switch (family) {
    case 2:
    case 10:
    case 23:
    case 24:
    case 28:
    case 30:
        return 4;
    default:
        return FC_NO_IP;
    }
}

/* Linux cooked capture: the protocol field has EtherTypes, and small numbers of its own (4: LLC) */
static uint32_t cooked(const uint8_t *data, uint32_t caplen, uint32_t protocol_at, uint32_t size)
{
    if (caplen < size)
        return FC_NO_IP;
    uint16_t protocol = fc_be16(data + protocol_at);
    if (protocol < FC_TYPE_FIRST)
        return protocol == 4 ? llc(data, caplen, size) : FC_NO_IP;
    return fc_link_ethertype(data, caplen, protocol, size);
}

static uint32_t link_layer(uint32_t linktype, const uint8_t *data, uint32_t caplen)
{
    switch (linktype) {
    case FC_LINK_ETHERNET:
        return fc_link_ethernet(data, caplen, 0);
    case FC_LINK_RAW_BSD:
    case FC_LINK_RAW_OPENBSD:
    case FC_LINK_RAW:
    case FC_LINK_IPV4:
    case FC_LINK_IPV6:
        return 0;
    case FC_LINK_LINUX_SLL:
        return cooked(data, caplen, 14, 16);
    case FC_LINK_LINUX_SLL2:
        return cooked(data, caplen, 0, 20);
    case FC_LINK_NULL:
    case FC_LINK_LOOP:
        return null_loop(data, caplen);
    case FC_LINK_PPP:
    case FC_LINK_PPP_HDLC:
        return caplen && (data[0] == 0x0f || data[0] == 0x8f) ? cisco_hdlc(data, caplen) : fc_link_ppp(data, caplen, 0);
    case FC_LINK_PPP_WITH_DIR:
        return caplen ? fc_link_ppp(data, caplen, 1) : FC_NO_IP;
    case FC_LINK_PPP_ETHER:
        return pppoe(data, caplen, 0);
    case FC_LINK_FDDI: /* frame control, two addresses */
        return caplen < 13 || (data[0] & 0xf0) != 0x50 ? FC_NO_IP : llc(data, caplen, 13);
    case FC_LINK_FRELAY:
        return frame_relay(data, caplen);
    case FC_LINK_IPOIB: /* 40 octets of global routing header, then EtherType and a reserved field (RFC 4391) */
        return caplen < 44 ? FC_NO_IP : fc_link_ethertype(data, caplen, fc_be16(data + 40), 44);
    case FC_LINK_C_HDLC:
        return cisco_hdlc(data, caplen);
    case FC_LINK_IEEE802_11:
        return wlan(data, caplen, 0, 0);
    case FC_LINK_IEEE802_11_RADIOTAP:
        return radiotap(data, caplen);
    case FC_LINK_IEEE802_11_PRISM:
    case FC_LINK_IEEE802_11_AVS:
        return prism_or_avs(data, caplen);
    default:
        return FC_NO_IP;
    }
}

/* PPI and PKTAP: a header with its length, and the link type of what follows */
uint32_t fc_link_layer(int linktype, const uint8_t *data, uint32_t caplen)
{
    uint32_t length, inner;
    if (linktype == FC_LINK_PPI) {
        if (caplen < 8)
            return FC_NO_IP;
        length = fc_le16(data + 2);
        inner = fc_le32(data + 4);
    } else if (linktype == FC_LINK_PKTAP) {
        if (caplen < 12)
            return FC_NO_IP;
        length = fc_le32(data);
        inner = fc_le32(data + 8);
    } else {
        return link_layer((uint32_t)linktype, data, caplen);
    }
    if (length < 8 || length > caplen)
        return FC_NO_IP;
    uint32_t at = link_layer(inner, data + length, caplen - length);
    return at == FC_NO_IP ? FC_NO_IP : length + at;
}
