/* fc_packet.h - what link.c, parse.c, tunnels.c and fragments.c share. */
#ifndef FC_PACKET_H
#define FC_PACKET_H

#include "flowclass.h"

#define FC_NO_IP UINT32_MAX

/* Where the IP header begins (<= caplen; nothing may be left there), or FC_NO_IP. link.c */
uint32_t fc_link_layer(int linktype, const uint8_t *data, uint32_t caplen);
uint32_t fc_link_ethertype(const uint8_t *data, uint32_t caplen, uint16_t type, uint32_t at);
uint32_t fc_link_ethernet(const uint8_t *data, uint32_t caplen, uint32_t at);
uint32_t fc_link_ppp(const uint8_t *data, uint32_t caplen, uint32_t at);

/* What one IP header leaves to look at: its upper-layer protocol and the bytes of it that are there. */
typedef struct fc_upper {
    uint32_t at, end; /* at <= end <= caplen */
    uint8_t protocol;
} fc_upper;

/* The IP header inside what `upper` describes: its offset (< upper->end), or FC_NO_IP. tunnels.c */
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
void fc_fragments_originals(fc_fragments *fragments, const uint32_t *originals, size_t n); /* for the last batch's notes */
void fc_fragments_at(fc_fragments *fragments, size_t i);     /* which packet of the batch comes now */

#endif
