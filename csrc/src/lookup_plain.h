/* lookup_plain.h - dealing slots and thinning lists without a compress instruction: each item is written to every list, and
 * only the right list's end moves. Included by lookup_batch.h where a kernel has no better way. */

INLINE uint32_t keep_worse(uint32_t *active, uint32_t n, const uint32_t *best, uint32_t limit)
{
    uint32_t kept = 0;
    for (uint32_t j = 0; j < n; j++) {
        active[kept] = j;
        kept += best[j] > limit;
    }
    return kept;
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
