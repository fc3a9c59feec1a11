/* Which rules have rivals in later trees, against all pairs of rules: none is overlooked, and few are made up. And
 * look-ups that rely on it, by every kernel that runs here, against the definition of a match. */
#include "random_rules.h"
#include "rules/build.h"

typedef struct counts {
    uint32_t bits, real, later; /* rules with the bit, with a rival, and with any better rule in a later tree */
    uint32_t keys, other;       /* keys looked up, and those whose answer is in a later tree than another match */
} counts;

/* A prefix that is long, short or open; long ones are few, and short ones hold some of them. */
static int prefix(int version, uint64_t *first, uint64_t *last)
{
    static const int lengths[] = {0, 4, 12, 20, 28, 32, 32, 32};
    int length = lengths[below(8)];
    uint64_t span = 0xffffffffull >> length, at = (below(8) << 28 | below(2) << 20 | below(2) << 12 | below(8)) & ~span;
    if (length == 0)
        return 0;
    first[0] = last[0] = 0;
    first[1] = at;
    last[1] = at | span;
    if (version == 6) { /* the same, 32 bits further up */
        first[0] = first[1] << 16;
        last[0] = last[1] << 16 | 0xffff;
        first[1] = 0;
        last[1] = UINT64_MAX;
    }
    return 1;
}

static fc_rule prefix_rule(int version)
{
    fc_rule r;
    memset(&r, 0, sizeof(r));
    r.version = (uint8_t)version;
    r.conditions |= prefix(version, r.source_first, r.source_last) ? FC_SOURCE : 0;
    r.conditions |= prefix(version, r.destination_first, r.destination_last) ? FC_DESTINATION : 0;
    if (below(2)) {
        r.conditions |= FC_DESTINATION_PORT;
        r.destination_port_first = r.destination_port_last = (uint16_t)below(20);
    }
    if (below(8) == 0) {
        r.conditions |= FC_PROTOCOL;
        r.protocol_first = r.protocol_last = 6;
    }
    return r;
}

/* The tree that rule `number` of the forest is in. */
static int tree_at(const fc_forest *f, const fc_rule *rule)
{
    uint16_t lo[FC_MAX_LANES], hi[FC_MAX_LANES];
    uint64_t care[FC_MAX_WORDS], value[FC_MAX_WORDS];
    fc_rule_lanes(f->version, rule, lo, hi);
    fc_rule_bits(f->version, rule, lo, hi, care, value);
    int part = fc_tree_of(f, care, f->source_bits, f->destination_bits), t = 0;
    while (f->tree[t].part != part)
        t++;
    return t;
}

static int meet(const fc_forest *f, uint32_t a, uint32_t b)
{
    const uint16_t *x = f->bodies + (size_t)a * 2 * f->lanes, *y = f->bodies + (size_t)b * 2 * f->lanes;
    for (int i = 0; i < f->lanes - 1; i++) {
        if (x[i] + x[f->lanes + i] < y[i] || y[i] + y[f->lanes + i] < x[i])
            return 0;
    }
    return 1;
}

static void check_bits(const fc_forest *f, const fc_rule *rules, counts *all)
{
    CHECK(f->trees > 1 && (f->rivals[f->n / 32] >> (f->n & 31) & 1));
    for (uint32_t i = 0; i < f->n; i++) {
        int tree = tree_at(f, &rules[i]), later = 0, real = 0, bit = f->rivals[i / 32] >> (i & 31) & 1;
        for (uint32_t j = 0; j < i; j++) {
            int is_later = tree_at(f, &rules[j]) > tree;
            later |= is_later;
            real |= is_later && meet(f, i, j);
        }
        CHECK(bit || !real);
        CHECK(later || !bit);
        all->bits += (uint32_t)bit;
        all->real += (uint32_t)real;
        all->later += (uint32_t)later;
    }
}

static void check_keys(const fc_table *table, const fc_rule *rules, uint32_t n, counts *all)
{
    enum { KEYS = 1000 };
    const fc_forest *f = &table->forest[rules[0].version == 6];
    static fc_key keys[KEYS];
    int32_t want[KEYS], got[KEYS];
    for (int i = 0; i < KEYS; i++) {
        keys[i] = random_key(rules, n);
        want[i] = naive(rules, n, &keys[i]);
        for (int32_t j = want[i] + 1; want[i] >= 0 && j < (int32_t)n; j++) {
            if (fc_rule_matches(&rules[j], &keys[i]) && tree_at(f, &rules[j]) < tree_at(f, &rules[want[i]])) {
                all->other++;
                break;
            }
        }
    }
    all->keys += KEYS;
    for (int kernel = FC_KERNEL_AUTO; kernel < FC_KERNEL_COUNT; kernel = next_kernel(kernel)) {
        static const size_t batches[] = {KEYS, 100, 3}; /* a full batch, a short one, one by one */
        for (size_t b = 0; fc_kernel_check(kernel) == FC_OK && b < 3; b++) {
            for (size_t at = 0; at < KEYS; at += batches[b]) {
                size_t m = KEYS - at < batches[b] ? KEYS - at : batches[b];
                CHECK(fc_table_lookup(table, keys + at, m, got + at, kernel) == FC_OK);
            }
            CHECK(memcmp(want, got, sizeof(want)) == 0);
        }
    }
}

int main(void)
{
    static const fc_build_options options[] = {
        {.no_cross = 1}, {.no_cross = 1, .leaf = 1, .slots = 2, .copies = 2}, {.no_cross = 1, .leaf = 2, .vector = 3}};
    counts all = {0};
    uint32_t known = 0;
    for (uint32_t i = 0; i < 36; i++) {
        uint32_t n = 20 + 61 * (i % 12);
        fc_rule *rules = calloc(n, sizeof(*rules));
        fc_table *table = NULL;
        for (uint32_t k = 0; k < n; k++)
            rules[k] = prefix_rule(i & 1 ? 6 : 4);
        CHECK(fc_table_build(rules, n, &options[i / 12], &table, NULL) == FC_OK);
        if (table->forest[i & 1].rivals != NULL) {
            known++;
            check_bits(&table->forest[i & 1], rules, &all);
        }
        check_keys(table, rules, n, &all);
        fc_table_free(table);
        free(rules);
    }
    printf(
        "rivals: %u sets; %u of %u rules with a better one in a later tree have the bit, %u a rival; %u of %u keys\n",
        known, all.bits, all.later, all.real, all.other, all.keys);
    CHECK(known > 5 && all.real > 300 && all.later > all.bits + 300 && all.bits < 2 * all.real && all.other > 100);
    /* what is to be built soonest, or takes updates, does without */
    fc_rule two[2] = {{.version = 6, .conditions = FC_SPI, .spi_first = 1, .spi_last = 1},
                      {.version = 6, .conditions = FC_DESTINATION_PORT}};
    static const fc_build_options quick = {.quick = 1};
    fc_table *table = NULL;
    CHECK(fc_table_build(two, 2, &quick, &table, NULL) == FC_OK && table->forest[1].rivals == NULL);
    fc_table_free(table);
    return 0;
}
