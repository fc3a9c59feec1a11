/* forest.c - rows to bodies, a partition chosen, its trees built, and settled in memory of their own size. */
#include <stdlib.h>

#include "../common/memory.h"
#include "build.h"

/* ---- A forest from rows
 * ------------------------------------------------------------------------------------------------- */

static void default_options(fc_build_options *o, uint32_t n, int lanes)
{
    /* measured on ClassBench's families: more slots only cost cache at 100k; fewer cost 15 % (3); leaves of 8 or 24
     * lost 1 to 9 % at 10k against 16. acl2 of 100k rules: leaves of 16 are 2 % faster than of 24, and take 127 octets
     * a rule in place of 119 */
    fc_build_options d = {.leaf = 24, .slots = 6, .copies = 8};
    if (n <= 2048)
        d = (fc_build_options){.leaf = 32, .slots = 32, .copies = 64};
    else if (n <= FC_MANY_RULES)
        d = (fc_build_options){.leaf = 14, .slots = 16, .copies = 8};
    if (lanes == 32)
        d.leaf = 3;                                      /* a body is 128 octets there, and compared alone */
    d.vector = lanes == 8 ? 128 : lanes == 16 ? 64 : 48; /* from 128, 64, 24 on vectors are as fast as comparing */
    o->vector = o->vector ? o->vector : d.vector;
    o->leaf = o->leaf ? o->leaf : d.leaf;
    o->slots = o->slots ? o->slots : d.slots;
    o->copies = o->copies ? o->copies : d.copies;
}

/* What a build knows of its rules beside their bodies: by number. */
typedef struct facts {
    uint64_t *care, *value;
    uint8_t *prefix;
    uint32_t *list; /* numbers in priority order */
} facts;

/* First pass: which rules, which lanes. */
static void survey(fc_forest *f, const fc_rule *rules, uint32_t n)
{
    uint8_t used[FC_MAX_LANES] = {0};
    uint16_t lo[FC_MAX_LANES], hi[FC_MAX_LANES];
    for (uint32_t i = 0; i < n; i++) {
        if (rules[i].version != 0 && rules[i].version != f->version)
            continue;
        f->n_exact += !fc_rule_lanes(f->version, &rules[i], lo, hi);
        for (int j = 0; j <= 4 * f->words; j++)
            used[j] |= lo[j] != 0 || hi[j] != 0xffff;
        f->conditions |= rules[i].conditions;
        f->n++;
    }
    f->verify = f->n_exact > 0;
    fc_choose_lanes(f, used);
}

/* Second pass: bodies, bits, exact rows. */
static int write_bodies(fc_build *b, const fc_rule *rules, uint32_t n, const fc_numbering *own, facts *x)
{
    fc_forest *f = b->f;
    uint16_t lo[FC_MAX_LANES], hi[FC_MAX_LANES];
    uint32_t limit = own ? own->limit : f->n, m = 0, inexact = 0;
    size_t body = 4 * (size_t)f->lanes;
    b->bodies = own ? own->bodies : fc_big_alloc(body * limit);
    if (own) { /* first of all: a forest with priorities does not own its bodies, however far its build comes */
        f->priority = own->priority;
        f->rows = own->rows;
    }
    x->care = fc_build_get(b, sizeof(uint64_t) * f->words * (size_t)limit);
    x->value = fc_build_get(b, sizeof(uint64_t) * f->words * (size_t)limit);
    x->prefix = fc_build_get(b, limit);
    x->list = fc_build_get(b, sizeof(uint32_t) * f->n);
    uint32_t *rank = !own && f->n < n ? fc_build_get(b, sizeof(uint32_t) * f->n) : NULL;
    fc_rule *exact = !own && f->n_exact ? fc_build_get(b, sizeof(fc_rule) * f->n_exact) : NULL;
    size_t exact_words = (size_t)f->n / 64 + 1;
    struct fc_exact *exact_at = !own && f->n_exact ? fc_build_get(b, sizeof(*exact_at) * exact_words) : NULL;
    f->bodies = b->bodies;
    f->rank = rank;
    f->exact = exact;
    f->exact_at = exact_at;
    if (b->bodies == NULL || b->status != FC_OK)
        return b->status = FC_ENOMEM;
    if (exact_at != NULL)
        memset(exact_at, 0, sizeof(*exact_at) * exact_words);
    for (uint32_t i = 0; i < n; i++) {
        if (rules[i].version != 0 && rules[i].version != f->version)
            continue;
        uint32_t number = own ? own->number[i] : m;
        int is_exact = fc_rule_lanes(f->version, &rules[i], lo, hi);
        fc_write_body(f, number, &rules[i], lo, hi, is_exact, b->bodies + (size_t)number * 2 * f->lanes);
        x->prefix[number] = (uint8_t)fc_rule_bits(f->version, &rules[i], lo, hi, x->care + (size_t)number * f->words,
                                                  x->value + (size_t)number * f->words);
        if (exact != NULL && number % 64 == 0)
            exact_at[number / 64].before = inexact;
        if (!is_exact && exact != NULL) {
            exact[inexact++] = rules[i];
            exact_at[number / 64].bits |= 1ull << (number & 63);
        }
        if (rank)
            rank[m] = i;
        x->list[m++] = number;
    }
    if (own)
        f->n_exact = 0;
    return FC_OK;
}

/* Moves the arena to memory of its own size, on huge pages where that can help. */
static int settle(fc_build *b)
{
    fc_forest *f = b->f;
    size_t size = (b->used + 63) / 64 * 64;
    uint8_t *arena = fc_big_alloc(size);
    if (arena == NULL) {
        f->arena = NULL;
        return FC_ENOMEM;
    }
    memcpy(arena, b->arena, b->used);
    f->arena_used = b->used;
    for (int t = 0; t < f->trees; t++)
        f->tree[t].slot = (const uint32_t *)(arena + ((const uint8_t *)f->tree[t].slot - b->arena));
    f->arena = arena;
    b->info->bytes +=
        size + 4 * (size_t)f->lanes * f->n + (f->rank ? 4 * (size_t)f->n : 0) +
        (f->n_exact ? sizeof(fc_rule) * (size_t)f->n_exact + sizeof(struct fc_exact) * ((size_t)f->n / 64 + 1) : 0);
    return FC_OK;
}

int fc_forest_build(fc_forest *f, int version, const fc_rule *rules, uint32_t n, const fc_numbering *own,
                    const fc_build_options *options, fc_table_info *info)
{
    fc_build b = {.f = f, .count = fc_count_choose(), .info = info};
    facts x = {0};
    *f = (fc_forest){.version = (uint8_t)version, .words = (uint8_t)fc_words_of(version)};
    b.rules = own ? own->rows : rules;
    if (options != NULL)
        b.o = *options;
    survey(f, rules, n);
    int status = FC_OK, source = 0, destination = 0;
    if (f->n > 0) {
        default_options(&b.o, f->n, f->lanes);
        if (f->verify && b.o.vector > 16 && (options == NULL || options->vector == 0))
            b.o.vector = 16; /* a bounding box that matches in vain costs 40 ns */
        f->vector = b.o.vector < UINT16_MAX ? (uint16_t)b.o.vector : UINT16_MAX;
        status = write_bodies(&b, rules, n, own, &x);
        b.care = x.care;
        b.value = x.value;
        b.prefix = x.prefix;
        if (status == FC_OK) {
            fc_choose_partition(&b, x.list, f->n, &source, &destination);
            status = fc_build_trees(&b, x.list, f->n, source, destination);
            f->source_bits = (uint8_t)source;
            f->destination_bits = (uint8_t)destination;
        }
        if (status == FC_OK)
            status = settle(&b);
        else
            f->arena = NULL; /* it was b.arena's */
        uint32_t best = FC_EMPTY;
        for (int i = f->trees; status == FC_OK && i-- > 0;)
            f->tree[i].best_on = best = f->tree[i].best < best ? f->tree[i].best : best;
        if (status == FC_OK && !b.o.quick)
            info->bytes += fc_note_rivals(&b, x.list, f->n) + fc_write_shorts(f);
    }
    free(b.arena);
    free(b.leaf_hash);
    free(x.care);
    free(x.value);
    free(x.prefix);
    free(x.list);
    if (status != FC_OK)
        fc_forest_release(f);
    return status;
}

void fc_forest_release(fc_forest *f)
{
    fc_big_free((void *)f->arena);
    if (f->priority == NULL)
        fc_big_free((void *)f->bodies);
    free((void *)f->rank);
    fc_big_free((void *)f->short_spans);
    free((void *)f->rivals);
    free((void *)f->exact);
    free((void *)f->exact_at);
    *f = (fc_forest){.version = f->version};
}
