/* fc_table against the definition of a match: random, nested and edge rules in all eight fields, every kernel that runs
 * here, every short batch length, keys at the end of readable memory. */
#include "random_rules.h"
#include "rules/format.h"

/* All kernels' answers to the last m keys, for each m from `shortest` on. */
static void check_answers(const fc_table *table, const char *what, const fc_key *keys, const int32_t *want,
                          uint32_t n_keys, uint32_t shortest)
{
    int32_t *got = calloc(n_keys + 1, sizeof(*got));
    for (int kernel = FC_KERNEL_AUTO; kernel < FC_KERNEL_COUNT; kernel = next_kernel(kernel)) {
        if (fc_kernel_check(kernel) != FC_OK) {
            CHECK(fc_table_lookup(table, keys, n_keys, got, kernel) == fc_kernel_check(kernel));
            continue;
        }
        for (uint32_t m = shortest; m <= n_keys; m++) {
            got[m] = 12345;
            CHECK(fc_table_lookup(table, keys + (n_keys - m), m, got, kernel) == FC_OK);
            CHECK(got[m] == 12345);
            for (uint32_t i = 0; i < m; i++) {
                if (got[i] != want[n_keys - m + i]) {
                    fprintf(stderr, "%s: %s: key %u of %u: %d, expected %d\n",
                            kernel < 0 ? "auto" : fc_kernel_name(kernel), what, i, m, got[i], want[n_keys - m + i]);
                    exit(1);
                }
            }
        }
    }
    free(got);
}

static void check_set(uint32_t n, int fields, const fc_build_options *options, uint32_t n_keys, int lengths)
{
    fc_rule *rules = calloc(n + 1, sizeof(*rules));
    fc_key *keys = guarded(n_keys);
    int32_t *want = calloc(n_keys, sizeof(*want));
    char what[60];
    fc_table *table = NULL;
    for (uint32_t i = 0; i < n; i++)
        rules[i] = random_rule(fields);
    for (uint32_t i = 0; i < n_keys; i++) {
        keys[i] = n ? random_key(rules, n) : (fc_key){.version = 6};
        want[i] = naive(rules, n, &keys[i]);
    }
    CHECK(fc_table_build(rules, n, options, &table, NULL) == FC_OK);
    memset(rules, 0xee, n * sizeof(*rules)); /* the rows are copied */
    snprintf(what, sizeof(what), "%u rules, fields %02x", n, (unsigned)fields);
    check_answers(table, what, keys, want, n_keys, lengths ? 0 : n_keys);
    fc_table_free(table);
    free(rules);
    free(want);
}

/* Nodes of more bits than their heads have places for: three groups of rules are told apart by a word of their own, of
 * which a root takes one, and one group by two words. */
static void check_nodes_of_many_bits(void)
{
    enum { EACH = 3000, N = 5 * EACH, KEYS = 1500 };
    fc_rule *rules = calloc(N, sizeof(*rules));
    fc_key *keys = calloc(KEYS, sizeof(*keys));
    int32_t *want = calloc(KEYS, sizeof(*want));
    const fc_build_options options = {.leaf = 1, .slots = 64, .copies = 64, .no_cross = 1};
    fc_table *table = NULL;
    int one_word = 0, two_words = 0;
    for (uint32_t i = 0; i < N; i++) {
        fc_rule *r = &rules[i];
        const uint32_t group = i < 2 * EACH ? 0 : i / EACH - 1; /* the first is the largest: the root takes its word */
        *r = (fc_rule){.version = 6, .conditions = FC_SOURCE | FC_DESTINATION};
        r->source_first[0] = group;
        if (group == 3)
            r->destination_first[0] = rnd() << 57, r->destination_first[1] = rnd() << 57;
        else
            (group == 0 ? r->source_first : r->destination_first)[group == 1 ? 0 : 1] = rnd() >> 8;
        memcpy(r->source_last, r->source_first, 16);
        memcpy(r->destination_last, r->destination_first, 16);
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        keys[i] = (fc_key){.version = 6, .present = FC_SOURCE | FC_DESTINATION};
        memcpy(keys[i].source, rules[i * 10].source_first, 16);
        memcpy(keys[i].destination, rules[i * 10].destination_first, 16);
        keys[i].destination[1] ^= below(3) == 0; /* some match nothing */
        want[i] = naive(rules, N, &keys[i]);
    }
    CHECK(fc_table_build(rules, N, &options, &table, NULL) == FC_OK);
    const fc_forest *f = &table->forest[1];
    uint32_t slots = 1u << __builtin_popcountll(f->tree[0].mask[0]) << __builtin_popcountll(f->tree[0].mask[1]);
    for (uint32_t i = 0; i < slots; i++) {
        uint32_t slot = f->tree[0].slot[i];
        const fc_bits *node = (const fc_bits *)(f->arena + (size_t)FC_PAYLOAD(slot) * 64);
        if (slot >> 30 == FC_BITS && node->bits > FC_NODE_PLACES)
            *(node->mask[1] ? &two_words : &one_word) = 1;
    }
    CHECK(one_word && two_words);
    check_answers(table, "nodes of many bits", keys, want, KEYS, KEYS - 20);
    check_answers(table, "nodes of many bits", keys + KEYS - 9, want + KEYS - 9, 9, 0);
    fc_table_free(table);
    free(rules);
    free(keys);
    free(want);
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
    check_nodes_of_many_bits();
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
