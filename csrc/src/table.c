/* fc_table: both IP versions' forests behind one look-up. */
#include <stdlib.h>
#include <sys/mman.h>

#include "fc_build.h"

#define HUGE ((size_t)2 << 20)

void *fc_big_alloc(size_t size)
{
    if (size < HUGE)
        return aligned_alloc(64, (size + 63) / 64 * 64 + 64);
    void *p = aligned_alloc(HUGE, (size + HUGE - 1) / HUGE * HUGE);
#if defined(MADV_HUGEPAGE)
    if (p != NULL)
        madvise(p, (size + HUGE - 1) / HUGE * HUGE, MADV_HUGEPAGE); /* advice: a refusal changes nothing */
#endif
    return p;
}

void fc_big_free(void *p)
{
    free(p);
}

int fc_table_build(const fc_rule *rules, uint32_t n, const fc_build_options *options, fc_table **table, uint32_t *bad)
{
    if (n > FC_MAX_NUMBER)
        return FC_ELIMIT;
    for (uint32_t i = 0; i < n; i++) {
        if (!fc_rule_valid(&rules[i])) {
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
    int status = FC_OK;
    for (int v = 0; v < 2 && status == FC_OK; v++) {
        fc_table_info part = {0};
        status = fc_forest_build(&t->forest[v], v ? 6 : 4, rules, n, options, &part);
        t->info.trees[v] = t->forest[v].trees;
        t->info.depth = part.depth > t->info.depth ? part.depth : t->info.depth;
        if (part.largest_leaf > t->info.largest_leaf)
            t->info.largest_leaf = part.largest_leaf;
        t->info.nodes += part.nodes;
        t->info.slots += part.slots;
        t->info.leaf_rules += part.leaf_rules;
        t->info.bytes += part.bytes;
    }
    if (status != FC_OK) {
        fc_table_free(t);
        return status;
    }
    *table = t;
    return FC_OK;
}

void fc_table_free(fc_table *t)
{
    if (t == NULL)
        return;
    fc_forest_release(&t->forest[0]);
    fc_forest_release(&t->forest[1]);
    free(t);
}

void fc_table_get_info(const fc_table *t, fc_table_info *info)
{
    *info = t->info;
}

static fc_lookup_fn *kernel_of(int kernel)
{
    switch (kernel) {
#if defined(__x86_64__)
    case FC_KERNEL_AVX2:
        return fc_lookup_avx2;
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

static int best_kernel(void)
{
    static const int order[] = {FC_KERNEL_AVX512, FC_KERNEL_AVX2, FC_KERNEL_NEON};
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        if (fc_kernel_check(order[i]) == FC_OK)
            return order[i];
    }
    return FC_KERNEL_SCALAR;
}

/* A batch goes by blocks; a block's keys go to the forest of their version, in the order of the batch. */
int fc_table_lookup(const fc_table *t, const fc_key *keys, size_t n, int32_t *out, int kernel)
{
    int status = fc_kernel_check(kernel);
    if (status != FC_OK)
        return status;
    fc_lookup_fn *lookup = kernel_of(kernel == FC_KERNEL_AUTO ? best_kernel() : kernel);
    const fc_key *list[2][FC_BATCH];
    uint32_t best[FC_BATCH];
    uint8_t at[2][FC_BATCH];
    for (size_t start = 0; start < n; start += FC_BATCH) {
        uint32_t m = n - start < FC_BATCH ? (uint32_t)(n - start) : FC_BATCH, count[2] = {0, 0};
        for (uint32_t i = 0; i < m; i++) {
            const fc_key *k = &keys[start + i];
            int v = k->version == 6;
            list[v][count[v]] = k;
            at[v][count[v]] = (uint8_t)i;
            count[v] += k->version == 4 || k->version == 6;
            out[start + i] = -1;
        }
        for (int v = 0; v < 2; v++) {
            const fc_forest *f = &t->forest[v];
            if (count[v] == 0 || f->trees == 0)
                continue;
            lookup(f, list[v], count[v], best);
            for (uint32_t i = 0; i < count[v]; i++) {
                uint32_t b = best[i];
                out[start + at[v][i]] = b == FC_EMPTY ? -1 : (int32_t)(f->rank ? f->rank[b] : b);
            }
        }
    }
    return FC_OK;
}
