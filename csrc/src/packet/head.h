/* head.h - plain packets told apart without reading them.
 *
 * Most packets of a trace have a key that came before, so for most of them it is enough to know that it is the same
 * one. A packet's head is those of its octets that its key depends on, at their places in the IP header; all others are
 * 0:
 *
 *     IPv6: version, class, label | 0 0 | next header | 0 | source, destination | ports or SPI | 4 times 0
 *     IPv4: 0x45, class | 7 times 0 | protocol | 0 0 | source, destination | ports or SPI | 24 times 0
 *
 * A head is itself a packet, whose length field says 0, as if nobody had written it. So fc_parse makes its key, which
 * is that of all packets with this head: there is no second way from octets to keys.
 *
 * Only plain packets have a head. They stand in an Ethernet frame with one VLAN tag at most, in Linux's cooked frame,
 * or in none; they have no options, extension headers or fragmentation, and a protocol with ports or an SPI, which were
 * captured. A head costs a third of the instructions of a key (docs/decisions/0020). */
#ifndef FC_HEAD_H
#define FC_HEAD_H

#include <string.h>

#include "../common/wide.h"
#include "numbers.h"
#include "packet.h"

#define FC_HEAD_WORDS 6
#define FC_HEAD_ROOM (18 + 8 * FC_HEAD_WORDS) /* so many octets are looked at, though not all of them are used */

/* Where things stand in an IP version's header, and what they have to be. */
typedef struct fc_head_shape {
    uint8_t type[2];        /* the EtherType */
    uint8_t first, asked;   /* the first octet, and which bits of it are looked at */
    uint8_t zero[8];        /* which bits of octets 6 to 13 must be 0 */
    uint32_t header, least; /* octets that the length field doesn't count; the least size of a plain packet */
    uint32_t size_at, protocol_at;
    uint8_t kept[8 * FC_HEAD_WORDS + 52]; /* which bits are the head; filled up to 128 octets */
} fc_head_shape;

/* Writes the head of a packet, or returns 0 if it has none. FC_HEAD_ROOM octets can be read at `data`, whatever was
 * captured. No branch depends on the IP version, which can't be foreseen in a trace that has both. */
static inline int fc_take_head(int linktype, const uint8_t *data, uint32_t caplen, uint64_t head[FC_HEAD_WORDS])
{
#define FOUR 255, 255, 255, 255
    static const fc_head_shape shapes[2] = {
        {.type = {FC_TYPE_IPV4 >> 8, FC_TYPE_IPV4 & 255},
         .first = 0x45,
         .asked = 0xff,
         .zero = {0x3f, 0xff},
         .least = 20 + 4,
         .size_at = 2,
         .protocol_at = 9,
         .kept = {255, 255, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0, FOUR, FOUR, FOUR}},
        {.type = {FC_TYPE_IPV6 >> 8, FC_TYPE_IPV6 & 255},
         .first = 0x60,
         .asked = 0xf0,
         .header = 40,
         .least = 40 + 4,
         .size_at = 4,
         .protocol_at = 6,
         .kept = {FOUR, 0, 0, 255, 0, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR}},
    };
#undef FOUR
    const uint8_t *p = data;
    int typed = 1; /* an EtherType stands in front of the IP header */
    if (linktype == FC_LINK_ETHERNET)
        p += 14 + 4 * (fc_be16(data + 12) == FC_TYPE_VLAN);
    else if (linktype == FC_LINK_LINUX_SLL)
        p += 16;
    else if (linktype == FC_LINK_RAW || linktype == FC_LINK_IPV4 || linktype == FC_LINK_IPV6)
        typed = 0;
    else
        return 0;
    const fc_head_shape *const shape = &shapes[p[0] >> 5 & 1];
    if (fc_kinds[p[shape->protocol_at]] < FC_KIND_PORTS || ((p[0] ^ shape->first) & shape->asked) ||
        (typed && memcmp(p - 2, shape->type, 2) != 0) || (fc_load64(p + 6) & fc_load64(shape->zero)) ||
        p + shape->least > data + caplen || fc_be16(p + shape->size_at) + shape->header < shape->least)
        return 0;
    for (unsigned i = 0; i < FC_HEAD_WORDS; i++)
        head[i] = fc_load64(p + 8 * i) & fc_load64(shape->kept + 8 * i);
    return 1;
}

#endif
