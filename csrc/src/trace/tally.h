/* tally.h - counts the decisions for a capture in one pass, for the command line; not part of the public interface. One
 * caller at a time per object. */
#ifndef FC_TALLY_H
#define FC_TALLY_H

#include "flowclass.h"
#include "totals.h"

/* How often each different decision was made. */
typedef struct fc_tally fc_tally;

typedef struct fc_tally_totals { /* of all packets since the beginning */
    uint64_t packets, octets;    /* octets on the wire */
    uint64_t cut;                /* packets of which fewer octets were captured */
    uint64_t decisions;          /* how many different ones; right after fc_tally_decide, until the next packet */
} fc_tally_totals;

/* Packets that were not read as IP, by where the way to an IP header ended (enum fc_unread, and its value). */
typedef struct fc_tally_unread {
    uint16_t unread, value; /* both 0: all others, when FC_TALLY_UNREAD different ones were known already */
    uint64_t packets;
} fc_tally_unread;
#define FC_TALLY_UNREAD 63

int fc_tally_new(fc_tally **out); /* FC_ENOMEM */
void fc_tally_free(fc_tally *tally);

/* Reads as fc_capture_read does, and parses and counts every packet that it finds. Returns as fc_capture_read does, but
 * FC_CAPTURE_FULL only when the caller has to take damages first. A packet may be decided in this call or in any later
 * one up to fc_tally_decide, so the table must not change in between. */
int fc_tally_read(fc_tally *tally, fc_capture *capture, fc_fib *fib, const fc_parse_options *options,
                  const uint8_t *data, size_t size, int last, size_t *consumed);
/* Decides all packets that are not decided yet. May return FC_ENOMEM. */
int fc_tally_decide(fc_tally *tally, fc_fib *fib);

void fc_tally_get(const fc_tally *tally, fc_tally_totals *out);
/* Writes the different decisions, in no particular order, and the totals of the packets of each, and forgets them. The
 * arrays have room for totals.decisions. */
void fc_tally_take(fc_tally *tally, fc_decision *decisions, fc_total *totals);
/* Writes the counts of packets that could not be read as IP since the last call, at most FC_TALLY_UNREAD + 1 entries,
 * and forgets them. Returns how many entries it wrote. */
size_t fc_tally_take_unread(fc_tally *tally, fc_tally_unread *out);

#endif
