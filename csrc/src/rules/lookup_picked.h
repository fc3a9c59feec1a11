/* lookup_picked.h - the indices of nodes where bits can't be extracted, or not fast: the octet that has a bit is
 * brought to the bit's place in the index, and all places are asked for their bit at once. Included by lookup_batch.h
 * where a kernel defines FC_PICKED, and
 *
 *   octets                    a register of 16 octets
 *   octets_at(words)          those of two words in memory, at a multiple of 16 octets
 *   octets_of(first, second)  those of two words
 *   picks, root_picks(tree)   a root's octet[] and bit[]
 *   pick(picks, octets)       bit i of the index: has octet octet[i] of these the bit bit[i]?
 *   pick_by_head(node, octets)
 *                             the same for the 16 octets from node->word on, each a place (format.h); the first four
 *                             are none: what they give is of no use
 *
 * Measured in decision 0036. */

INLINE octets octets_for(const uint64_t *words, const uint8_t *word, int lanes)
{
    return lanes == 8 ? octets_at(words) : octets_of(words[word[0]], words[word[1]]);
}

INLINE uint32_t root_index(const fc_tree *tree, const uint64_t *words, int lanes)
{
    picks p = root_picks(tree);
    return pick(&p, octets_for(words, tree->word, lanes));
}

/* A node of more bits than its head has places for: one after the other, such are rare below a root. */
FC_TARGET static __attribute__((noinline)) uint32_t index_of_many(const fc_bits *node, const uint64_t *words)
{
    return (uint32_t)fc_index(words, node->mask, node->word, node->shift);
}

INLINE uint32_t node_index(const fc_bits *node, const uint64_t *words, int lanes)
{
    if (__builtin_expect(node->bits > FC_NODE_PLACES, 0))
        return index_of_many(node, words);
    uint32_t index = pick_by_head(node, octets_for(words, node->word, lanes)) >> 4;
    return index & ((1u << node->bits) - 1);
}

/* The indices of the root's slots for n keys, those in `active` or, where that is NULL, the first; to w->slot. */
INLINE void index_roots(const fc_tree *tree, work *w, const uint32_t *active, uint32_t n, int lanes, int permuted)
{
    const picks p = root_picks(tree);
    const uint8_t word[2] = {tree->word[0], tree->word[1]};
    const uint32_t *slot = tree->slot;
    for (uint32_t j = 0; j < n; j++) {
        uint32_t i = active ? active[j] : j;
        w->slot[j] = pick(&p, octets_for(w->words + (size_t)i * STRIDE(lanes, permuted), word, lanes));
        __builtin_prefetch(slot + w->slot[j]);
    }
}
