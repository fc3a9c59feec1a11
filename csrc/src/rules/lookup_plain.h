/* lookup_plain.h - dealing slots and thinning lists without a compress instruction: each item is written to every list,
 * and only the right list's end moves (with FC_EIGHT defined, eight items at once: lookup_eight.h). Included by
 * lookup_batch.h where a kernel has no better way. */

/* Of n keys `from`, with these bests, those that fc_is_open() lets go on to later trees; returns how many. */
INLINE uint32_t keep_open(uint32_t *open, const uint32_t *from, const uint32_t *best, uint32_t n,
                          const uint32_t *rivals, uint32_t rules)
{
    uint32_t kept = 0;
    for (uint32_t j = 0; j < n; j++) {
        open[kept] = from[j];
        kept += fc_is_open(rivals, rules, best[j]);
    }
    return kept;
}

/* As load_slots, by the fastest means there is. */
INLINE void read_slots(const uint32_t *base, uint32_t *slot, uint32_t n, int dynamic)
{
    (void)dynamic;
    load_slots(base, slot, n);
}

/* Of n keys, those in `from` or, where that is NULL, the first: whose best is worse than `than`, and these bests;
 * returns how many. */
INLINE uint32_t keep_worse_by_one(uint32_t *active, uint32_t *limit, const uint32_t *from, uint32_t n,
                                  const uint32_t *best, uint32_t than)
{
    uint32_t kept = 0;
    for (uint32_t j = 0; j < n; j++) {
        uint32_t i = from ? from[j] : j;
        active[kept] = i;
        limit[kept] = best[i];
        kept += best[i] > than;
    }
    return kept;
}

#ifdef FC_EIGHT
#include "lookup_eight.h"
#else
INLINE uint32_t keep_worse(uint32_t *active, uint32_t *limit, const uint32_t *from, uint32_t n, const uint32_t *best,
                           uint32_t than)
{
    return keep_worse_by_one(active, limit, from, n, best, than);
}

/* In words of 8-lane keys: are the ports at least 1024? To the bits above the protocol. */
INLINE void mark_ports(uint64_t *words, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint64_t tail = words[2 * i + 1];
        words[2 * i + 1] = (tail & 0xffffffffffff) | (uint64_t)((tail & 0xffff) >= 1024) << 48 |
                           (uint64_t)((tail >> 16 & 0xffff) >= 1024) << 49;
    }
}

INLINE void sort_slots(work *w, const uint32_t *key, const uint32_t *limit, const uint32_t *slot, uint32_t n)
{
    uint32_t one = w->one.n, half = w->half.n, leaf = w->leaf.n, node = w->node.n;
    for (uint32_t j = 0; j < n; j++) {
        uint32_t s = slot[j], k = key[j];
        w->one.key[one] = k, w->one.slot[one] = s;
        w->half.key[half] = k, w->half.slot[half] = s;
        w->leaf.key[leaf] = k, w->leaf.slot[leaf] = s;
        w->node.key[node] = k, w->node.slot[node] = s;
        one += s < limit[j];
        half += s >> 26 == FC_LEAF << 4;
        leaf += (s >> 30 == FC_LEAF) & (s >> 26 != FC_LEAF << 4);
        node += s >> 31;
    }
    w->one.n = one, w->half.n = half, w->leaf.n = leaf, w->node.n = node;
}

/* Nothing better than one key at a time. */
INLINE uint32_t prepare_many(const fc_key *keys, uint32_t n, work *w, uint64_t *all, uint64_t *any)
{
    (void)keys, (void)n, (void)w, (void)all, (void)any;
    return 0;
}
#endif
