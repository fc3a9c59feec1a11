/* fc_table against the definition of a match: random, nested and edge rules in all eight fields, every kernel that runs
 * here, every short batch length, keys at the end of readable memory. */
#include "random_rules.h"

static void check_set(uint32_t n, int fields, const fc_build_options *options, uint32_t n_keys, int lengths)
{
    fc_rule *rules = calloc(n + 1, sizeof(*rules));
    fc_key *keys = guarded(n_keys);
    int32_t *want = calloc(n_keys, sizeof(*want)), *got = calloc(n_keys + 1, sizeof(*got));
    fc_table *table = NULL;
    for (uint32_t i = 0; i < n; i++)
        rules[i] = random_rule(fields);
    for (uint32_t i = 0; i < n_keys; i++) {
        keys[i] = n ? random_key(rules, n) : (fc_key){.version = 6};
        want[i] = naive(rules, n, &keys[i]);
    }
    CHECK(fc_table_build(rules, n, options, &table, NULL) == FC_OK);
    memset(rules, 0xee, n * sizeof(*rules)); /* the rows are copied */
    for (int kernel = FC_KERNEL_AUTO; kernel < FC_KERNEL_COUNT; kernel++) {
        if (fc_kernel_check(kernel) != FC_OK) {
            CHECK(fc_table_lookup(table, keys, n_keys, got, kernel) == fc_kernel_check(kernel));
            continue;
        }
        for (uint32_t m = lengths ? 0 : n_keys; m <= n_keys; m++) {
            got[m] = 12345;
            CHECK(fc_table_lookup(table, keys + (n_keys - m), m, got, kernel) == FC_OK);
            CHECK(got[m] == 12345);
            for (uint32_t i = 0; i < m; i++) {
                if (got[i] != want[n_keys - m + i]) {
                    fprintf(stderr, "%s: %u rules, fields %02x: key %u of %u: %d, expected %d\n",
                            kernel < 0 ? "auto" : fc_kernel_name(kernel), n, (unsigned)fields, i, m, got[i],
                            want[n_keys - m + i]);
                    exit(1);
                }
            }
        }
    }
    fc_table_free(table);
    free(rules);
    free(want);
    free(got);
}

static void check_refusals(void)
{
    fc_table *table = NULL;
    uint32_t bad = 99;
    fc_rule rules[3];
    memset(rules, 0, sizeof(rules));
    rules[0].version = rules[1].version = rules[2].version = 6;
    rules[2].conditions = FC_SPI;
    rules[2].spi_first = 2;
    rules[2].spi_last = 1;
    CHECK(fc_table_build(rules, 3, NULL, &table, &bad) == FC_EINVAL && bad == 2 && table == NULL);
    rules[2].conditions = FC_FLOW_LABEL;
    rules[2].flow_label_last = 1 << 20;
    CHECK(fc_table_build(rules, 3, NULL, &table, &bad) == FC_EINVAL && bad == 2);
    rules[2].conditions = 0; /* what no condition looks at may be anything */
    rules[1].version = 5;
    CHECK(fc_table_build(rules, 3, NULL, &table, &bad) == FC_EINVAL && bad == 1);
    rules[1].version = 0;
    rules[1].conditions = FC_SOURCE;
    CHECK(fc_table_build(rules, 3, NULL, &table, NULL) == FC_EINVAL);
    rules[1].conditions = 0;
    CHECK(fc_table_build(rules, 3, NULL, &table, NULL) == FC_OK);
    fc_table_free(table);
    fc_table_free(NULL);
    int kernel = 7;
    CHECK(fc_kernel_select("no such", &kernel) == FC_ENOKERNEL && kernel == 7);
    CHECK(fc_kernel_select("scalar", &kernel) == FC_OK && kernel == FC_KERNEL_SCALAR);
    CHECK(fc_kernel_select("auto", &kernel) == FC_OK && kernel == FC_KERNEL_AUTO);
}

int main(void)
{
    static const int sets[] = {0xff,
                               FC_SOURCE | FC_DESTINATION | FC_SOURCE_PORT | FC_DESTINATION_PORT | FC_PROTOCOL,
                               FC_SOURCE,
                               FC_FLOW_LABEL | FC_SPI,
                               FC_SOURCE_PORT | FC_DESTINATION_PORT,
                               FC_TRAFFIC_CLASS | FC_PROTOCOL,
                               FC_DESTINATION | FC_TRAFFIC_CLASS};
    static const fc_build_options options[] = {{0},
                                               {.leaf = 1, .slots = 2, .copies = 2},
                                               {.leaf = 70, .slots = 1, .copies = 1},
                                               {.leaf = 2, .keep_covered = 1},
                                               {.leaf = 2, .slots = 1, .copies = 1, .vector = 3},
                                               {.leaf = 4000, .vector = 1}};
    int quick = getenv("FC_TEST_QUICK") != NULL;
    check_refusals();
    for (size_t s = 0; s < sizeof(sets) / sizeof(sets[0]); s++) {
        for (size_t o = 0; o < sizeof(options) / sizeof(options[0]); o++) {
            check_set(0, sets[s], &options[o], 3, 1);
            check_set(1, sets[s], &options[o], 40, 0);
            check_set(3, sets[s], &options[o], 200, 0);
            check_set(40, sets[s], &options[o], 500, 0);
            check_set(700, sets[s], &options[o], quick ? 500 : 4000, 0);
        }
    }
    check_set(60, 0xff, NULL, quick ? 40 : 2 * 256 + 17, 1);
    check_set(400, sets[1], NULL, quick ? 40 : 2 * 256 + 17, 1);
    static const fc_build_options forest = {.no_cross = 1};
    check_set(400, sets[1], &forest, quick ? 40 : 768 + 384 + 17, 1);
    check_set(quick ? 1000 : 6000, 0xff, NULL, quick ? 500 : 4000, 0);
    check_set(quick ? 1000 : 6000, sets[1], NULL, quick ? 500 : 4000, 0);
    puts("table: ok");
    return 0;
}
