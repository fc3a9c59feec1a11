/* lookup_extracted.h - the indices of nodes by bit extraction. Included by lookup_batch.h. */

INLINE uint32_t index_of(const uint64_t *words, const uint64_t *mask, const uint8_t *word, int shift)
{
    return (uint32_t)(extract(words[word[0]], mask[0]) | extract(words[word[1]], mask[1]) << shift);
}

INLINE uint32_t root_index(const fc_tree *tree, const uint64_t *words, int lanes)
{
    (void)lanes;
    return index_of(words, tree->mask, tree->word, tree->shift);
}

INLINE uint32_t node_index(const fc_bits *node, const uint64_t *words, int lanes)
{
    (void)lanes;
    return index_of(words, node->mask, node->word, node->shift);
}

/* index_roots() where the root looks at bits of two words, or of one only. */
INLINE void index_by(const fc_tree *tree, work *w, const uint32_t *active, uint32_t n, int lanes, int permuted, int two)
{
    const uint64_t *first = w->words + tree->word[0], *second = w->words + tree->word[1]; /* of key 0 */
    const uint64_t mask[2] = {tree->mask[0], tree->mask[1]};
    const uint32_t *slot = tree->slot;
    const int shift = tree->shift;
    for (uint32_t j = 0; j < n; j++) {
        size_t at = (size_t)(active ? active[j] : j) * STRIDE(lanes, permuted);
        uint64_t i = extract(first[at], mask[0]);
        w->slot[j] = (uint32_t)(two ? i | extract(second[at], mask[1]) << shift : i);
        __builtin_prefetch(slot + w->slot[j]);
    }
}

/* The indices of the root's slots for n keys, those in `active` or, where that is NULL, the first; to w->slot. */
INLINE void index_roots(const fc_tree *tree, work *w, const uint32_t *active, uint32_t n, int lanes, int permuted)
{
    if (tree->mask[1])
        index_by(tree, w, active, n, lanes, permuted, 1);
    else
        index_by(tree, w, active, n, lanes, permuted, 0);
}
