/* fc_table: both IP versions' forests, and cross-product tables for small sets, behind one look-up. */
#include <stdlib.h>

#include "../common/kernel.h"
#include "build.h"
#include "cross.h"

/* The cost of a cross-product table's steps that takes as long as a cycle of the forest's, as both are counted, for
 * IPv4 and IPv6: of 44 sets of 16 to 1,000 rules these find the faster one, or one that is no more than 2 % slower
 * (decision 0024). By loads: NEON, and AVX2 where gathers are microcode (decision 0036). Else: AVX-512 without VBMI,
 * with its forest and AVX2's steps. */
#if defined(__x86_64__)
static const uint8_t per_cycle[2] = {13, 18};
static const uint8_t per_cycle_by_loads[2] = {9, 11}, per_cycle_else[2] = {7, 7};
#else
static const uint8_t per_cycle_by_loads[2] = {11, 14}, per_cycle_else[2] = {7, 7};
#endif

fc_lookup_fn *fc_kernel_function(int kernel)
{
    switch (fc_kernel_resolve(kernel)) {
#if defined(__x86_64__)
    case FC_KERNEL_AVX2:
        return fc_kernel_microcoded() ? fc_lookup_avx2_picked : fc_lookup_avx2;
    case FC_KERNEL_AVX512:
        return fc_lookup_avx512;
#elif defined(__aarch64__)
    case FC_KERNEL_NEON:
        return fc_lookup_neon;
#endif
    default:
        return fc_lookup_scalar;
    }
}

/* What a kernel looks up with: cross is NULL where it has no way to use cross-product tables. */
typedef struct ways {
    fc_lookup_fn *lookup;
    fc_cross_fn *cross;
    const uint8_t *per_cycle;
} ways;

static ways ways_of(int kernel)
{
    ways by = {fc_kernel_function(kernel), fc_cross_function(fc_kernel_resolve(kernel)), per_cycle_else};
    if (by.cross == fc_cross_plain)
        by.per_cycle = per_cycle_by_loads;
#if defined(__x86_64__)
    else if (by.cross == fc_cross_avx512 || by.lookup == fc_lookup_avx2)
        by.per_cycle = per_cycle;
#endif
    return by;
}

void fc_add_info(fc_table_info *all, const fc_table_info *part, const fc_forest *f, int v)
{
    all->trees[v] = f->trees;
    all->depth = part->depth > all->depth ? part->depth : all->depth;
    if (part->largest_leaf > all->largest_leaf)
        all->largest_leaf = part->largest_leaf;
    all->nodes += part->nodes;
    all->slots += part->slots;
    all->leaf_rules += part->leaf_rules;
    all->bytes += part->bytes;
}

int fc_table_build(const fc_rule *rules, uint32_t n, const fc_build_options *options, fc_table **table, uint32_t *bad)
{
    if (n > FC_MAX_NUMBER)
        return FC_ELIMIT;
    for (uint32_t i = 0; i < n; i++) {
        if (fc_rule_fault(&rules[i])) {
            if (bad != NULL)
                *bad = i;
            return FC_EINVAL;
        }
    }
    fc_table *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return FC_ENOMEM;
    t->n_rules = n;
    t->info.rules = n;
    t->info.bytes = sizeof(*t);
    const ways by = ways_of(FC_KERNEL_AUTO);
    const uint8_t *limit = by.per_cycle;
#if defined(__x86_64__)
    limit = by.cross == fc_cross_plain ? limit : per_cycle; /* the highest of those that kernels here go by */
#endif
    int status = FC_OK;
    for (int v = 0; v < 2 && status == FC_OK; v++) {
        fc_table_info part = {0};
        status = fc_forest_build(&t->forest[v], v ? 6 : 4, rules, n, NULL, options, &part);
        fc_add_info(&t->info, &part, &t->forest[v], v);
        if (status == FC_OK && t->forest[v].n > 0 && !(options && (options->no_cross || options->quick)))
            status = fc_cross_build(v ? 6 : 4, rules, n, (uint32_t)(limit[v] * t->forest[v].cost),
                                    by.cross == fc_cross_plain, &t->cross[v]);
        if (t->cross[v] != NULL) {
            t->info.steps[v] = t->cross[v]->steps;
            t->info.bytes += t->cross[v]->bytes;
        }
    }
    if (status != FC_OK) {
        fc_table_free(t);
        return status;
    }
    *table = t;
    return FC_OK;
}

void fc_table_share(fc_table *t) { t->sharers++; }

void fc_table_free(fc_table *t)
{
    if (t == NULL)
        return;
    if (t->sharers > 0) {
        t->sharers--;
        return;
    }
    fc_forest_release(&t->forest[0]);
    fc_forest_release(&t->forest[1]);
    fc_cross_free(t->cross[0]);
    fc_cross_free(t->cross[1]);
    free(t);
}

void fc_table_get_info(const fc_table *t, fc_table_info *info) { *info = t->info; }

/* Which of the block's keys are of each version; out is -1 for all. */
void fc_split_versions(const fc_key *keys, uint32_t n, uint32_t index[2][FC_BATCH], uint32_t count[2], int32_t *out)
{
    count[0] = count[1] = 0;
    for (uint32_t i = 0; i < n; i++) {
        int v = keys[i].version == 6;
        index[v][count[v]] = i;
        count[v] += keys[i].version == 4 || keys[i].version == 6;
        out[i] = -1;
    }
}

static int by_cross(const fc_table *t, const ways *by, int v, const fc_key *keys, const uint32_t *index, uint32_t n,
                    int32_t *out)
{
    const fc_cross *x = t->cross[v];
    if (by->cross == NULL || x == NULL)
        return 0;
    if (x->vectors != NULL)
        return fc_cross_by_vectors(x, keys, index, n, out);
    return n >= FC_CROSS_FEW && (float)x->cost < (float)by->per_cycle[v] * t->forest[v].cost &&
           by->cross(x, keys, index, n, out);
}

/* Those of the block's keys that index names, all of one version. */
static void look_up_version(const fc_table *t, const ways *by, int v, const fc_key *keys, const uint32_t *index,
                            uint32_t n, int32_t *out)
{
    const fc_forest *f = &t->forest[v];
    uint32_t best[FC_BATCH];
    int32_t row[FC_BATCH];
    if (n == 0 || f->trees == 0)
        return;
    if (by_cross(t, by, v, keys, index, n, row)) {
        for (uint32_t i = 0; i < n; i++)
            out[index[i]] = row[i];
        return;
    }
    by->lookup(f, keys, index, n, best);
    for (uint32_t i = 0; i < n; i++) {
        if (best[i] != FC_EMPTY)
            out[index[i]] = (int32_t)(f->rank ? f->rank[best[i]] : best[i]);
    }
}

/* At most FC_BATCH keys of both versions. */
static void look_up_mixed(const fc_table *t, const ways *by, const fc_key *keys, uint32_t n, int32_t *out)
{
    uint32_t index[2][FC_BATCH], count[2];
    fc_split_versions(keys, n, index, count, out);
    for (int v = 0; v < 2; v++)
        look_up_version(t, by, v, keys, index[v], count[v], out);
}

/* Keys of one version, as nearly all are. Returns how many are looked up: none where another way has to be taken. */
static uint32_t look_up_same(const fc_table *t, const ways *by, const fc_key *keys, uint32_t n, int32_t *out)
{
    int v = keys[0].version == 6;
    const fc_forest *f = &t->forest[v];
    if (t->cross[v] != NULL && n > FC_BATCH) /* it answers for all or none */
        n = FC_BATCH;
    if (by_cross(t, by, v, keys, NULL, n, out))
        return n;
    if (f->trees == 0 || f->rank != NULL)
        return 0;
    uint32_t *best = (uint32_t *)out, done = by->lookup(f, keys, NULL, n, best);
    for (uint32_t i = 0; i < done; i++)
        out[i] = best[i] == FC_EMPTY ? -1 : (int32_t)best[i];
    return done;
}

/* Keys that look_up_same() is given: the more, the more of them can wait for later trees together (lookup_batch.h). */
#define SAME (4 * FC_BATCH)

int fc_table_lookup(const fc_table *t, const fc_key *keys, size_t n, int32_t *out, int kernel)
{
    int status = fc_kernel_check(kernel);
    if (status != FC_OK)
        return status;
    const ways by = ways_of(kernel);
    for (size_t start = 0; start < n;) {
        const size_t rest = n - start;
        uint32_t done = look_up_same(t, &by, keys + start, rest < SAME ? (uint32_t)rest : SAME, out + start);
        if (done == 0) {
            done = rest < FC_BATCH ? (uint32_t)rest : FC_BATCH;
            look_up_mixed(t, &by, keys + start, done, out + start);
        }
        start += done;
    }
    return FC_OK;
}

void fc_table_rows(const fc_table *t, fc_rule *rows)
{
    memset(rows, 0, sizeof(*rows) * (size_t)t->n_rules);
    for (int v = 0; v < 2; v++) {
        const fc_forest *f = &t->forest[v];
        for (uint32_t i = 0, e = 0; i < f->n; i++) {
            fc_rule *row = &rows[f->rank ? f->rank[i] : i];
            int seen = row->version != 0; /* by the other forest: a rule for both versions */
            if (f->exact_at != NULL && (f->exact_at[i / 64].bits >> (i & 63) & 1))
                *row = f->exact[e++];
            else
                fc_read_body(f, f->bodies + (size_t)i * 2 * f->lanes, row);
            row->version = seen ? 0 : f->version;
        }
    }
}
