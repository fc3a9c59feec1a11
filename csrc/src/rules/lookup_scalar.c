/* The portable kernel, one key at a time: the truth that the others are checked against. */
#include "format.h"

static uint32_t match_one(const fc_forest *f, uint32_t number, const uint16_t *lo, const uint16_t *span,
                          const uint16_t *lanes, uint32_t lacking, const fc_key *key)
{
    uint16_t flags = span[f->lanes - 1];
    if ((flags & lacking) || fc_lanes_fail(f->lanes, lanes, lo, span))
        return FC_EMPTY;
    if ((flags & FC_BODY_VERIFY) && !fc_verify(f, number, key))
        return FC_EMPTY;
    return number;
}

/* Is rule a better than b (FC_EMPTY: none)? */
static int better(const fc_forest *f, uint32_t a, uint32_t b)
{
    if (f->priority == NULL || a == FC_EMPTY || b == FC_EMPTY)
        return a < b;
    return f->priority[a] < f->priority[b] || (f->priority[a] == f->priority[b] && a < b);
}

/* The best of a vector's rules that is better than `best`, else `best`. */
static uint32_t search(const fc_forest *f, const fc_vector *v, const uint16_t *lanes, uint32_t lacking,
                       const fc_key *key, uint32_t best)
{
    const uint64_t *row[8];
    uint64_t both[8];
    fc_vector_rows(v, key, row);
    for (uint32_t b = 0; b < v->blocks; b++) {
        if (fc_meet((const uint64_t *const *)row, v->fields, b, 1, both) == 0)
            continue;
        for (uint32_t i = 0; i < 512; i++) {
            if (!(both[i / 64] >> (i & 63) & 1))
                continue;
            uint32_t number = __atomic_load_n(&fc_vector_numbers(v)[512 * (size_t)b + i], __ATOMIC_RELAXED);
            if (number == FC_EMPTY)
                continue;
            if (!better(f, number, best))
                return best;
            const uint16_t *body = f->bodies + (size_t)number * 2 * f->lanes;
            if (match_one(f, number, body, body + f->lanes, lanes, lacking, key) != FC_EMPTY)
                return number;
        }
    }
    return best;
}

static uint32_t lookup(const fc_forest *f, const fc_key *key)
{
    uint64_t words[FC_MAX_WORDS];
    uint16_t lanes[FC_MAX_LANES];
    uint32_t lacking = fc_key_words(f, key, words), best = FC_EMPTY;
    fc_key_lanes(f, words, lanes);
    for (int t = 0; t < f->trees; t++) {
        if (f->priority == NULL && f->tree[t].best >= best)
            continue;
        uint32_t slot = fc_root(f, &f->tree[t], words);
        while (slot >> 30 >= FC_BITS)
            slot = fc_descend(f, slot, words);
        if (slot >> 30 == FC_ONE) {
            uint32_t number = FC_PAYLOAD(slot);
            if (better(f, number, best)) {
                const uint16_t *body = f->bodies + (size_t)number * 2 * f->lanes;
                number = match_one(f, number, body, body + f->lanes, lanes, lacking, key);
                best = better(f, number, best) ? number : best;
            }
            continue;
        }
        fc_leaf_at at = fc_leaf_open(f, slot);
        if (at.vector != NULL)
            best = search(f, at.vector, lanes, lacking, key, best);
        for (uint32_t i = 0; i < at.n; i++) { /* in priority order: the first match is the leaf's best */
            uint32_t number;
            const uint16_t *lo, *span;
            fc_leaf_body(f, &at, i, &number, &lo, &span);
            if (!better(f, number, best))
                break;
            number = match_one(f, number, lo, span, lanes, lacking, key);
            if (number != FC_EMPTY) {
                best = number;
                break;
            }
        }
    }
    return best;
}

uint32_t fc_lookup_scalar(const fc_forest *f, const fc_key *keys, const uint32_t *index, uint32_t count, uint32_t *best)
{
    for (uint32_t i = 0; i < count; i++) {
        const fc_key *key = &keys[index ? index[i] : i];
        if (key->version != f->version)
            return i;
        best[i] = lookup(f, key);
    }
    return count;
}
