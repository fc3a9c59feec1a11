/* tunnels.c - the IP header inside an IP packet: 4in4, 4in6, 6in4, 6in6, GRE, GTP-U, VXLAN, GENEVE, Teredo.
 *
 * IP in IP and GRE say by number that they are tunnels. The UDP ones are known by their port alone, so that each is
 * believed only if its header is as its standard wants it and the octet behind has a version nibble of an IP header;
 * parse.c then takes the inner header only if all of it can be read.
 */
#include "../common/bytes.h"
#include "numbers.h"
#include "packet.h"

enum { PORT_GTP_U = 2152, PORT_TEREDO = 3544, PORT_VXLAN = 4789, PORT_VXLAN_LINUX = 8472, PORT_GENEVE = 6081 };

static uint32_t by_ethertype(const uint8_t *data, uint32_t end, uint16_t type, uint32_t at)
{
    return type == FC_TYPE_BRIDGED ? fc_link_ethernet(data, end, at) : fc_link_ethertype(data, end, type, at);
}

/* RFC 2784, 2890; version 1 is PPTP's (RFC 2637) */
static uint32_t gre(const uint8_t *data, uint32_t at, uint32_t end)
{
    if (end - at < 4)
        return FC_NO_IP;
    uint16_t flags = fc_be16(data + at), type = fc_be16(data + at + 2);
    uint32_t size = 4;
    if ((flags & 7) > 1 || flags & 0x4000) /* 0x4000: source routes of RFC 1701, long gone */
        return FC_NO_IP;
    size += flags & 0x8000 ? 4 : 0; /* checksum */
    size += flags & 0x2000 ? 4 : 0; /* key */
    size += flags & 0x1000 ? 4 : 0; /* sequence number */
    size += (flags & 7) == 1 && flags & 0x0080 ? 4 : 0; /* version 1: acknowledgement number */
    return end - at < size ? FC_NO_IP : by_ethertype(data, end, type, at + size);
}

/* 3GPP TS 29.281, 5.1: version 1, protocol type GTP, message 255 (G-PDU) */
static uint32_t gtp_u(const uint8_t *data, uint32_t at, uint32_t end)
{
    if (end - at < 8 || (data[at] & 0xf0) != 0x30 || data[at + 1] != 255)
        return FC_NO_IP;
    if (!(data[at] & 7))
        return at + 8;
    if (end - at < 12)
        return FC_NO_IP;
    uint8_t next = data[at] & 4 ? data[at + 11] : 0; /* E: extension headers, lengths in 4 octets */
    at += 12;
    while (next) {
        uint32_t size = end - at ? 4u * data[at] : 0;
        if (size == 0 || size > end - at)
            return FC_NO_IP;
        next = data[at + size - 1];
        at += size;
    }
    return at;
}

/* RFC 7348, and the group policy and GPE drafts' flags are left alone: I set, the first reserved bits as they are */
static uint32_t vxlan(const uint8_t *data, uint32_t at, uint32_t end)
{
    if (end - at < 8 || !(data[at] & 0x08))
        return FC_NO_IP;
    return fc_link_ethernet(data, end, at + 8);
}

/* RFC 8926: version 0, options counted in 4 octets */
static uint32_t geneve(const uint8_t *data, uint32_t at, uint32_t end)
{
    if (end - at < 8 || data[at] >> 6)
        return FC_NO_IP;
    uint32_t size = 8 + 4u * (data[at] & 63);
    return end - at < size ? FC_NO_IP : by_ethertype(data, end, fc_be16(data + at + 2), at + size);
}

/* RFC 4380, 5.1.1: an authentication and an origin indication may stand before the IPv6 header */
static uint32_t teredo(const uint8_t *data, uint32_t at, uint32_t end)
{
    if (end - at >= 4 && data[at] == 0 && data[at + 1] == 1) {
        uint32_t size = 13u + data[at + 2] + data[at + 3];
        if (size > end - at)
            return FC_NO_IP;
        at += size;
    }
    if (end - at >= 8 && data[at] == 0 && data[at + 1] == 0)
        at += 8;
    return end - at && data[at] >> 4 == 6 ? at : FC_NO_IP;
}

static uint32_t udp_tunnel(const uint8_t *data, uint32_t at, uint32_t end)
{
    if (end - at < 8)
        return FC_NO_IP;
    uint16_t source = fc_be16(data + at), destination = fc_be16(data + at + 2);
    at += 8;
    switch (destination) { /* overlays put entropy into the source port */
    case PORT_VXLAN:
    case PORT_VXLAN_LINUX:
        return vxlan(data, at, end);
    case PORT_GENEVE:
        return geneve(data, at, end);
    default:
        break;
    }
    if (source == PORT_GTP_U || destination == PORT_GTP_U)
        return gtp_u(data, at, end);
    if (source == PORT_TEREDO || destination == PORT_TEREDO)
        return teredo(data, at, end);
    return FC_NO_IP;
}

uint32_t fc_tunnel(const uint8_t *data, const fc_upper *upper)
{
    uint32_t at;
    switch (upper->protocol) {
    case FC_PROTOCOL_IP_IN_IP:
    case FC_PROTOCOL_IPV6_IN_IP:
        at = upper->at;
        if (at < upper->end && data[at] >> 4 != (upper->protocol == FC_PROTOCOL_IP_IN_IP ? 4 : 6))
            return FC_NO_IP;
        break;
    case FC_PROTOCOL_GRE:
        at = gre(data, upper->at, upper->end);
        break;
    case FC_PROTOCOL_UDP:
        at = udp_tunnel(data, upper->at, upper->end);
        break;
    default:
        return FC_NO_IP;
    }
    return at < upper->end ? at : FC_NO_IP;
}
