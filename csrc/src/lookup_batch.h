/* lookup_batch.h - the stages of a batched look-up, shared by the vector kernels. A kernel defines, then includes this:
 *
 *   FC_TARGET                         the function attribute that enables its instructions
 *   FC_LOOKUP                         the name of its entry point
 *   extract(word, mask)               bit extraction
 *   body_fails(lanes, key, body)      0 when all range lanes match (lo at body, spans behind)
 *   block_matches(lanes, key, block)  bit mask over the bodies of a 128-octet block: 1 where one matches
 *   half_matches(key, block)          the same for a half block (two bodies of 8 lanes)
 *   interval(threshold, value)        how many of 31 rising thresholds are <= value
 *   and, with FC_OWN_SORT defined, keep_worse and sort_slots of lookup_plain.h by better means
 *
 * All keys of a block are at one stage at a time, so that each stage is a loop without branches on data, whose memory
 * was asked for by the stage before. */

/* Words between two keys' words, so that a block stays in the first-level cache: 16 octets a key where that is all there is
 * to compare, else with the traffic class lane, to a power of two. */
#define STRIDE(lanes, permuted) ((lanes) == 8 ? 2u : (lanes) == 16 && !(permuted) ? 4u : 8u)

typedef struct list {
    uint32_t key[FC_BATCH + 16], slot[FC_BATCH + 16];
    uint32_t n;
} list;

typedef struct work {
    uint64_t words[FC_BATCH * 8] __attribute__((aligned(64)));
    uint16_t lanes[FC_BATCH * 16] __attribute__((aligned(64)));
    uint32_t active[FC_BATCH + 16], limit[FC_BATCH + 16], slot[FC_BATCH + 16];
    list one, half, leaf, node;
    uint32_t best[FC_BATCH + 16];
    uint64_t rank[FC_BATCH]; /* priorities of the best, where numbers are no ranks */
} work;

/* Slots change under updates: what a slot points to was written before it (update.c). */
#define FC_SLOT_AT(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)



#ifdef FC_OWN_SORT
INLINE void sort_slots(work *w, const uint32_t *key, const uint32_t *limit, const uint32_t *slot, uint32_t n);
#else
#include "lookup_plain.h"
#endif

/* Words and lanes of the block's keys; returns the fields that some key lacks and some rule asks for. */
INLINE uint32_t prepare(const fc_forest *f, const fc_key *const *keys, uint32_t n, work *w, int lanes, int permuted)
{
    uint64_t all = UINT64_MAX;
    for (uint32_t i = 0; i < n; i++) {
        const fc_key *k = keys[i];
        uint64_t tail = fc_load64(&k->source_port);
        uint64_t *words = w->words + i * STRIDE(lanes, permuted);
        uint64_t virtual = (uint64_t)(k->source_port >= 1024) << 48 | (uint64_t)(k->destination_port >= 1024) << 49;
        all &= tail;
        if (lanes == 8 || (lanes == 16 && !permuted)) {
            words[0] = k->source[1] << 32 | (uint32_t)k->destination[1];
            words[1] = (tail & 0xffffffffffff) | virtual;
            if (lanes == 16) {
                words[2] = fc_load64(&k->flow_label);
                words[3] = tail >> 24 & 0xff00;
            }
            continue;
        }
        memcpy(words, k, 40);
        words[5] = (tail & 0xffffffffffff) | virtual;
        words[6] = tail >> 24 & 0xff00;
        if (permuted) {
            uint16_t *to = w->lanes + i * 16;
            const uint16_t *from = (const uint16_t *)words;
            for (int j = 0; j < 15; j++) /* beyond range_lanes: lane 0, against spans that let all pass */
                to[j] = from[f->lane_map[j]];
            to[15] = 0;
        }
    }
    return f->conditions & (uint8_t)~(all >> 56);
}

INLINE const uint16_t *key_lanes(const work *w, uint32_t i, int lanes, int permuted)
{
    return permuted ? w->lanes + i * 16 : (const uint16_t *)(w->words + i * STRIDE(lanes, permuted));
}

INLINE uint64_t index_of(const uint64_t *words, const uint64_t *mask, const uint8_t *word, int shift)
{
    return extract(words[word[0]], mask[0]) | extract(words[word[1]], mask[1]) << shift;
}

INLINE int accept(const fc_forest *f, const fc_key *key, uint32_t number, uint16_t flags)
{
    return !(flags & 0xff & ~key->present) && (!(flags & FC_BODY_VERIFY) || fc_verify(f, number, key));
}

/* Rule `number` matches key i (or nothing does: `match` is 0): is it the best so far? */
INLINE void offer(const fc_forest *f, work *w, uint32_t i, uint32_t number, int match, int dynamic)
{
    if (!dynamic) {
        number = match ? number : FC_EMPTY;
        w->best[i] = number < w->best[i] ? number : w->best[i];
    } else if (match) {
        uint64_t rank = f->priority[number];
        int better = rank < w->rank[i] || (rank == w->rank[i] && number < w->best[i]);
        w->rank[i] = better ? rank : w->rank[i];
        w->best[i] = better ? number : w->best[i];
    }
}

/* Nodes: a round finds the child of each, and deals the children's slots again. */
INLINE void walk_nodes(const fc_forest *f, work *w, int lanes, int permuted, int dynamic)
{
    list now;
    while (w->node.n) {
        uint32_t n = w->node.n;
        memcpy(now.key, w->node.key, 4 * n);
        memcpy(now.slot, w->node.slot, 4 * n);
        w->node.n = 0;
        const uint32_t *at[FC_BATCH];
        for (uint32_t j = 0; j < n; j++) {
            const uint64_t *words = w->words + now.key[j] * STRIDE(lanes, permuted);
            const uint8_t *p = f->arena + (size_t)FC_PAYLOAD(now.slot[j]) * 64;
            if (now.slot[j] >> 30 == FC_BITS) {
                const fc_bits *node = (const fc_bits *)p;
                at[j] = node->slot + index_of(words, node->mask, node->word, node->shift);
            } else {
                const fc_range *node = (const fc_range *)p;
                at[j] = node->slot + interval(node->threshold, ((const uint16_t *)words)[node->lane]);
            }
            __builtin_prefetch(at[j]);
        }
        uint32_t slot[FC_BATCH + 16], limit[FC_BATCH + 16];
        for (uint32_t j = 0; j < n; j++) {
            slot[j] = FC_SLOT_AT(at[j]);
            limit[j] = dynamic ? FC_EMPTY : w->best[now.key[j]];
        }
        sort_slots(w, now.key, limit, slot, n);
        for (uint32_t j = 0; j < w->node.n; j++)
            __builtin_prefetch(f->arena + (size_t)FC_PAYLOAD(w->node.slot[j]) * 64);
    }
}

INLINE void match_ones(const fc_forest *f, const fc_key *const *keys, work *w, int lanes, int permuted, int careful,
                       int dynamic)
{
    for (uint32_t j = 0; j < w->one.n; j++) {
        uint32_t i = w->one.key[j], number = w->one.slot[j];
        const uint16_t *body = f->bodies + (size_t)number * 2 * (uint32_t)lanes;
        int no = body_fails(lanes, key_lanes(w, i, lanes, permuted), body);
        if (careful && !no)
            no = !accept(f, keys[i], number, body[2 * lanes - 1]);
        offer(f, w, i, number, !no, dynamic);
    }
}

/* Bodies of one block that match: the first that is accepted is the leaf's answer. Returns whether there was one. */
INLINE int take_first(const fc_forest *f, const fc_key *const *keys, work *w, uint32_t i, const uint16_t *block, int per,
                      int lanes, uint32_t match, int careful, int dynamic)
{
    while (match) {
        int g = __builtin_ctz(match);
        uint16_t lo = block[g * lanes + lanes - 1], span = block[(per + g) * lanes + lanes - 1];
        uint32_t number = fc_body_number(lo, span);
        if (!careful || accept(f, keys[i], number, span)) {
            offer(f, w, i, number, 1, dynamic);
            return 1;
        }
        match &= match - 1;
    }
    return 0;
}

INLINE void match_halves(const fc_forest *f, const fc_key *const *keys, work *w, int careful, int dynamic)
{
    for (uint32_t j = 0; j < w->half.n; j++) {
        uint32_t i = w->half.key[j];
        const uint16_t *block = (const uint16_t *)(f->arena + (size_t)FC_LEAF_OFFSET(w->half.slot[j]) * 64);
        uint32_t match = half_matches(key_lanes(w, i, 8, 0), block);
        if (careful) {
            take_first(f, keys, w, i, block, 2, 8, match, 1, dynamic);
            continue;
        }
        uint32_t g = match & 1 ? 0 : 1;
        uint32_t number = fc_body_number(block[g * 8 + 7], block[16 + g * 8 + 7]);
        offer(f, w, i, number, match != 0, dynamic);
    }
}

/* Rounds over the leaves, a block each: those without a match that have another block stay. */
INLINE void match_leaves(const fc_forest *f, const fc_key *const *keys, work *w, int lanes, int permuted, int careful,
                         int dynamic)
{
    const uint8_t *at[FC_BATCH];
    uint32_t left[FC_BATCH];
    const int per = lanes == 8 ? 4 : 2;
    uint32_t n = w->leaf.n;
    for (uint32_t j = 0; j < n; j++) {
        fc_leaf_at leaf = fc_leaf_open(f, w->leaf.slot[j]);
        at[j] = leaf.data;
        left[j] = leaf.n / (uint32_t)per;
    }
    while (n) {
        uint32_t kept = 0;
        for (uint32_t j = 0; j < n; j++) {
            uint32_t i = w->leaf.key[j];
            const uint16_t *block = (const uint16_t *)at[j];
            uint32_t match = block_matches(lanes, key_lanes(w, i, lanes, permuted), block);
            int done;
            if (careful) {
                done = take_first(f, keys, w, i, block, per, lanes, match, 1, dynamic);
            } else {
                uint32_t g = match ? (uint32_t)__builtin_ctz(match) : 0, l = (uint32_t)lanes;
                uint32_t number = fc_body_number(block[g * l + l - 1], block[((uint32_t)per + g) * l + l - 1]);
                offer(f, w, i, number, match != 0, dynamic);
                done = match != 0;
            }
            uint32_t more = left[j] - 1;
            w->leaf.key[kept] = i;
            at[kept] = at[j] + 128;
            left[kept] = more;
            kept += !done & (more > 0);
        }
        n = kept;
    }
}

/* Leaves of 32-lane bodies are lists of numbers. */
INLINE void match_lists(const fc_forest *f, const fc_key *const *keys, work *w, int careful, int dynamic)
{
    for (uint32_t j = 0; j < w->leaf.n; j++) {
        fc_leaf_at leaf = fc_leaf_open(f, w->leaf.slot[j]);
        const uint32_t *number = (const uint32_t *)leaf.data;
        for (uint32_t k = 0; k < leaf.n && k < 4; k++)
            __builtin_prefetch(f->bodies + (size_t)number[k] * 64), __builtin_prefetch(f->bodies + (size_t)number[k] * 64 + 32);
    }
    for (uint32_t j = 0; j < w->leaf.n; j++) {
        uint32_t i = w->leaf.key[j];
        fc_leaf_at leaf = fc_leaf_open(f, w->leaf.slot[j]);
        const uint32_t *number = (const uint32_t *)leaf.data;
        for (uint32_t k = 0; k < leaf.n && (dynamic || number[k] < w->best[i]); k++) {
            const uint16_t *body = f->bodies + (size_t)number[k] * 64;
            if (body_fails(32, key_lanes(w, i, 32, 0), body))
                continue;
            if (careful && !accept(f, keys[i], number[k], body[63]))
                continue;
            offer(f, w, i, number[k], 1, dynamic);
            break;
        }
    }
}

INLINE void run(const fc_forest *f, const fc_key *const *keys, uint32_t n, work *w, int lanes, int permuted, int careful,
                int dynamic)
{
    for (int t = 0; t < f->trees; t++) {
        const fc_tree *tree = &f->tree[t];
        uint32_t m = n;
        if (t == 0) {
            for (uint32_t j = 0; j < n; j++)
                w->active[j] = j;
        } else if (dynamic) {
            uint64_t best = __atomic_load_n(&tree->best_priority, __ATOMIC_RELAXED);
            m = 0;
            for (uint32_t j = 0; j < n; j++) {
                w->active[m] = j;
                m += w->rank[j] >= best;
            }
        } else {
            m = keep_worse(w->active, n, w->best, tree->best);
        }
        for (uint32_t j = 0; j < m; j++) {
            w->slot[j] = (uint32_t)index_of(w->words + w->active[j] * STRIDE(lanes, permuted), tree->mask, tree->word, tree->shift);
            __builtin_prefetch(tree->slot + w->slot[j]);
        }
        for (uint32_t j = 0; j < m; j++) {
            w->slot[j] = FC_SLOT_AT(tree->slot + w->slot[j]);
            w->limit[j] = dynamic ? FC_EMPTY : w->best[w->active[j]];
        }
        w->one.n = w->half.n = w->leaf.n = w->node.n = 0;
        sort_slots(w, w->active, w->limit, w->slot, m);
        for (uint32_t j = 0; j < w->node.n; j++)
            __builtin_prefetch(f->arena + (size_t)FC_PAYLOAD(w->node.slot[j]) * 64);
        for (uint32_t j = 0; j < w->one.n; j++) {
            const uint16_t *body = f->bodies + (size_t)w->one.slot[j] * 2 * (uint32_t)lanes;
            __builtin_prefetch(body);
            if (lanes == 32)
                __builtin_prefetch(body + 32);
        }
        uint32_t first = w->one.n;
        walk_nodes(f, w, lanes, permuted, dynamic);
        for (uint32_t j = first; j < w->one.n; j++)
            __builtin_prefetch(f->bodies + (size_t)w->one.slot[j] * 2 * (uint32_t)lanes);
        for (uint32_t j = 0; j < w->half.n; j++)
            __builtin_prefetch(f->arena + (size_t)FC_LEAF_OFFSET(w->half.slot[j]) * 64);
        for (uint32_t j = 0; j < w->leaf.n; j++) {
            const uint8_t *p = f->arena + (size_t)FC_LEAF_OFFSET(w->leaf.slot[j]) * (lanes == 32 ? 16 : 64);
            __builtin_prefetch(p);
            if (lanes < 32)
                __builtin_prefetch(p + 64);
        }
        match_ones(f, keys, w, lanes, permuted, careful, dynamic);
        if (lanes == 8)
            match_halves(f, keys, w, careful, dynamic);
        if (lanes < 32)
            match_leaves(f, keys, w, lanes, permuted, careful, dynamic);
        else
            match_lists(f, keys, w, careful, dynamic);
    }
}

/* One copy of the stages for each layout, with and without keys that lack something. */
INLINE void choose(const fc_forest *f, const fc_key *const *keys, uint32_t n, uint32_t *best, int dynamic)
{
    work w;
    for (uint32_t i = 0; i < n; i++) {
        w.best[i] = FC_EMPTY;
        w.rank[i] = UINT64_MAX;
    }
    if (f->lanes == 8) {
        if (prepare(f, keys, n, &w, 8, 0) || f->verify)
            run(f, keys, n, &w, 8, 0, 1, dynamic);
        else
            run(f, keys, n, &w, 8, 0, 0, dynamic);
    } else if (f->lanes == 16) {
        if (f->permuted)
            run(f, keys, n, &w, 16, 1, prepare(f, keys, n, &w, 16, 1) || f->verify, dynamic);
        else
            run(f, keys, n, &w, 16, 0, prepare(f, keys, n, &w, 16, 0) || f->verify, dynamic);
    } else {
        if (prepare(f, keys, n, &w, 32, 0) || f->verify)
            run(f, keys, n, &w, 32, 0, 1, dynamic);
        else
            run(f, keys, n, &w, 32, 0, 0, dynamic);
    }
    memcpy(best, w.best, 4 * n);
}

FC_TARGET static __attribute__((noinline)) void look_up_dynamic(const fc_forest *f, const fc_key *const *keys, uint32_t n,
                                                                uint32_t *best)
{
    choose(f, keys, n, best, 1);
}

FC_TARGET void FC_LOOKUP(const fc_forest *f, const fc_key *const *keys, uint32_t n, uint32_t *best)
{
    if (f->priority != NULL)
        look_up_dynamic(f, keys, n, best);
    else
        choose(f, keys, n, best, 0);
}
