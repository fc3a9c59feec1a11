/* fib_big.c - the rules of a node with more flows than a record holds (FIB_LINEAR). */
#include <stdlib.h>

#include "fc_fib.h"

typedef struct big_rules {
    uint32_t n;
    fc_rule rule[];
} big_rules;

int fib_table_build(const fc_rule *rules, uint32_t n, void **table, uint64_t *bytes)
{
    *table = NULL;
    *bytes = 0;
    if (n == 0)
        return FC_OK;
    big_rules *t = malloc(sizeof *t + n * sizeof *rules);
    if (!t)
        return FC_ENOMEM;
    t->n = n;
    memcpy(t->rule, rules, n * sizeof *rules);
    *table = t;
    *bytes = sizeof *t + n * sizeof *rules;
    return FC_OK;
}

void fib_table_free(void *table) { free(table); }

void fib_table_lookup(const void *table, const fc_key *keys, size_t n, int kernel, int32_t *out)
{
    const big_rules *t = table;
    (void)kernel;
    for (size_t i = 0; i < n; i++) {
        out[i] = -1;
        for (uint32_t j = 0; t && j < t->n && out[i] < 0; j++)
            if (fc_rule_matches(&t->rule[j], &keys[i]))
                out[i] = (int32_t)j;
    }
}
