/* fib_scalar.c - decisions in portable C, one key after the other: the truth that the other kernels are checked
 * against. */
#include "search.h"

#define GROUPS 128u
#define NOBODY UINT16_MAX

/* Those of one record together, so that the flat classifier gets batches where a node has much of the traffic. Keys are
 * chained in groups by their record first. Keys that stand beside each other are looked up where they are. */
void fc_fib_decide_waiting(const fib_waiting *list, size_t n, const fc_key *keys, int kernel, fc_decision *out)
{
    enum { BATCH = 256 };
    fc_key copies[BATCH];
    uint16_t first[GROUPS], next[FIB_WAITING];
    memset(first, 0xff, sizeof first);
    for (size_t i = n; i-- > 0;) {
        uint16_t *group = &first[(uintptr_t)list[i].record * FC_GOLDEN >> 32 & (GROUPS - 1)];
        next[i] = *group;
        *group = (uint16_t)i;
    }
    for (unsigned g = 0; g < GROUPS;) {
        if (first[g] == NOBODY) {
            g++;
            continue;
        }
        const fib_record *r = list[first[g]].record;
        uint32_t place[BATCH];
        int32_t flow[BATCH];
        size_t taken = 0, apart = 0; /* apart: not beside the one before */
        uint16_t *left = &first[g];
        for (uint16_t i = *left; i != NOBODY; i = next[i]) {
            if (list[i].record == r && taken < BATCH) {
                apart += taken && list[i].key != place[taken - 1] + 1;
                place[taken++] = list[i].key;
            } else {
                *left = i;
                left = &next[i];
            }
        }
        *left = NOBODY;
        const fc_key *of_record = keys + place[0];
        if (apart) {
            of_record = copies;
            for (size_t i = 0; i < taken; i++)
                copies[i] = keys[place[i]];
        }
        if (!fib_big_of(r)->table || fc_table_lookup(fib_big_of(r)->table, of_record, taken, flow, kernel) != FC_OK)
            memset(flow, 0xff, sizeof flow); /* no flows: -1 everywhere */
        for (size_t i = 0; i < taken; i++)
            fib_decide_big(&out[place[i]], r, &of_record[i], flow[i]);
    }
}

void fc_fib_decide_scalar(fc_fib *fib, const fc_key *keys, const fc_packet *infos, size_t n, fc_decision *out)
{
    enum { BLOCK = FIB_WAITING };
    fib_waiting waiting[BLOCK];
    for (size_t at = 0; at < n; at += BLOCK) {
        size_t block = n - at < BLOCK ? n - at : BLOCK, w = 0;
        for (uint32_t i = 0; i < block; i++) {
            const fib_record *r = fib_decide_one(fib, &keys[at + i], infos ? &infos[at + i] : NULL, &out[at + i]);
            if (r)
                waiting[w++] = (fib_waiting){r, i};
        }
        if (w)
            fc_fib_decide_waiting(waiting, w, keys + at, FC_KERNEL_SCALAR, out + at);
    }
}
