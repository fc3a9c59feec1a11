/* packet.h - what the files of this folder share.
 *
 * A frame is read layer by layer. Each layer is a function that takes its octets off the frame and says which layer
 * comes next; fc_layers calls one after the other until an IP header begins. Layers therefore may stand in each other
 * in any order without recursion, every step but a fixed few takes octets, and FC_MAX_LAYERS bounds the steps. link.c
 * knows what a capture's link type begins with, layers.c what stands between that and IP, wlan.c 802.11, tunnels.c what
 * stands behind an IP header; parse.c reads IP headers.
 */
#ifndef FC_PACKET_H
#define FC_PACKET_H

#include "../common/bytes.h"
#include "flowclass.h"

#define FC_NO_IP UINT32_MAX
#define FC_MAX_LAYERS 32u /* between the start of a frame, or the end of an IP header, and the next IP header */

/* What a protocol number means: special() of parse.c looks at it, a header of the extension chain, a header that begins
 * with two ports, or with an SPI. For most packets one look at this table is enough. parse.c */
enum { FC_KIND_OTHER = 0, FC_KIND_SPECIAL, FC_KIND_EXTENSION, FC_KIND_PORTS, FC_KIND_SPI };
extern const uint8_t fc_kinds[256];

/* One packet, number i of a batch, as fc_parse_batch reads it; behind the last one fc_fragments_passed is due. parse.c
 */
void fc_parse_next(int linktype, const uint8_t *data, uint32_t caplen, size_t i, const fc_parse_options *options,
                   fc_key *key, fc_packet *info);

/* A frame that is read from front to back. */
typedef struct fc_frame {
    const uint8_t *data;
    uint32_t at, end;       /* the next octet; at <= end */
    uint16_t number;        /* the EtherType, where FC_LAYER_ETHERTYPE is next */
    uint16_t unread, value; /* enum fc_unread, once the next layer is FC_LAYER_NONE */
} fc_frame;

enum fc_layer {
    FC_LAYER_NONE = 0, /* there is no IP header, or none that can be found */
    FC_LAYER_IP,
    FC_LAYER_ETHERNET,
    FC_LAYER_ETHERTYPE, /* what frame->number says */
    FC_LAYER_LLC,
    FC_LAYER_PPP,
    FC_LAYER_MPLS,
    FC_LAYER_NSH,
    FC_LAYER_IP_OR_ETHERNET, /* the octets themselves have to tell */
    FC_LAYER_WLAN,
    FC_LAYER_WLAN_PADDED,  /* its header is filled up to a multiple of four octets */
    FC_LAYER_WLAN_SWAPPED, /* the two octets of its frame control field stand in the wrong order */
    FC_LAYER_RADIOTAP,
    FC_LAYER_PRISM_OR_AVS,
};

/* Takes the next n octets off the frame and returns them. If fewer are left, returns NULL and notes FC_UNREAD_CUT. */
static inline const uint8_t *fc_take(fc_frame *f, uint32_t n)
{
    if (f->end - f->at < n) {
        f->unread = FC_UNREAD_CUT;
        f->value = 0;
        return NULL;
    }
    const uint8_t *p = f->data + f->at;
    f->at += n;
    return p;
}

/* Notes why nothing further can be read, with a value that says more; returns FC_LAYER_NONE. */
static inline int fc_unread(fc_frame *f, int why, uint32_t value)
{
    f->unread = (uint16_t)why;
    f->value = (uint16_t)(value < 0xffff ? value : 0xffff);
    return FC_LAYER_NONE;
}

/* Takes n octets and the EtherType behind them, which says what the next layer is. */
static inline int fc_type_behind(fc_frame *f, uint32_t n)
{
    const uint8_t *p = fc_take(f, n + 2);
    if (!p)
        return FC_LAYER_NONE;
    f->number = fc_be16(p + n);
    return FC_LAYER_ETHERTYPE;
}

/* Takes n octets and returns `layer`, the layer behind them; FC_LAYER_NONE if there are fewer. */
static inline int fc_behind(fc_frame *f, uint32_t n, int layer) { return fc_take(f, n) ? layer : FC_LAYER_NONE; }

/* Goes on from this layer until an IP header begins. Returns its offset, at most frame->end (so no octet of it need be
 * there), or FC_NO_IP. layers.c */
uint32_t fc_layers(fc_frame *f, int layer);
/* Does an Ethernet header seem to begin at `at`, with something behind it that could hold a packet? layers.c */
int fc_ethernet_here(const fc_frame *f, uint32_t at);

/* Returns the first layer of a frame whose link type (LINKTYPE_x) this is. link.c */
int fc_link_layer(fc_frame *f, uint32_t linktype);

/* IEEE 802.11 and the headers that capturing puts in front of it. wlan.c */
int fc_wlan(fc_frame *f, int layer);
int fc_radiotap(fc_frame *f);
int fc_prism_or_avs(fc_frame *f);

/* What stands behind one IP header and its extensions: the upper-layer protocol, and the octets of it that are there.
 */
typedef struct fc_upper {
    uint32_t at, end; /* at <= end <= caplen */
    uint8_t protocol;
} fc_upper;

/* Returns the offset of the IP header inside what `upper` describes (less than upper->end), or FC_NO_IP. tunnels.c */
uint32_t fc_tunnel(const uint8_t *data, const fc_upper *upper);

/* The identity of a fragmented packet. */
typedef struct fc_fragment_id {
    uint64_t source[2], destination[2];
    uint32_t id;
    uint32_t kind; /* IP version, and for IPv4 the protocol << 8 */
} fc_fragment_id;

/* fragments.c */
void fc_fragments_remember(fc_fragments *fragments, const fc_fragment_id *id, const fc_key *key, const fc_packet *info);
int fc_fragments_find(fc_fragments *fragments, const fc_fragment_id *id, fc_key *key, fc_packet *info);
void fc_fragments_passed(fc_fragments *fragments, size_t n); /* n packets of a batch: the notes' numbers go on */
void fc_fragments_originals(fc_fragments *fragments, const uint32_t *originals,
                            size_t n); /* for the last batch's notes */
/* Which packet of the batch comes now, and when (ns, or FC_NO_TIME). */
void fc_fragments_at(fc_fragments *fragments, size_t i, int64_t time);

#endif
