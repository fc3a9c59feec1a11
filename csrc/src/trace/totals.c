/* totals.c - packets, octets, first and last time by a number that each packet has: of its decision, its connection. */
#include "totals.h"

_Static_assert(FC_NO_TIME == INT64_MIN, "an unknown time is never the last");

void fc_totals_add(fc_total *totals, const uint32_t *ids, const uint32_t *sizes, const int64_t *times, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fc_total *t = &totals[ids[i]];
        t->packets++;
        t->octets += sizes[i];
        if (times[i] > t->last)
            t->last = times[i];
        if (times[i] < t->first && times[i] != FC_NO_TIME)
            t->first = times[i];
    }
}
