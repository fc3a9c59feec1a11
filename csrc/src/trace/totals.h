/* totals.h - how many packets and octets, and from when to when; for the command line, not part of the public
 * interface. */
#ifndef FC_TOTALS_H
#define FC_TOTALS_H

#include "flowclass.h"

typedef struct fc_total {
    uint64_t packets, octets; /* octets on the wire */
    int64_t first, last;      /* times of the packets that have one; INT64_MAX and INT64_MIN: there is none */
} fc_total;

/* Adds n packets: packet i, of sizes[i] octets and at times[i] (FC_NO_TIME: unknown), to totals[ids[i]]. */
void fc_totals_add(fc_total *totals, const uint32_t *ids, const uint32_t *sizes, const int64_t *times, size_t n);

#endif
