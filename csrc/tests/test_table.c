/* fc_table against the definition of a match: random, nested and edge rules in all eight fields, every kernel that runs
 * here, every short batch length, keys at the end of readable memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "flowclass.h"

#define CHECK(x) \
    do { \
        if (!(x)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
            exit(1); \
        } \
    } while (0)

static uint64_t state = 88172645463325252ull;

static uint64_t rnd(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545f4914f6cdd1dull;
}

static uint64_t below(uint64_t n)
{
    return rnd() % n;
}

/* A range of values of `bits` bits: a point, a prefix, anything, all, or one end of the space. */
static void range(int bits, uint64_t *first, uint64_t *last)
{
    uint64_t max = bits == 64 ? ~0ull : (1ull << bits) - 1, a = rnd() & max, b = rnd() & max;
    if (below(2)) { /* few distinct values: nesting, adjacency and shared ends */
        a = below(8) << (bits > 12 ? bits - 12 : 0);
        b = below(8) << (bits > 12 ? bits - 12 : 0);
    }
    switch (below(6)) {
    case 0:
        b = a;
        break;
    case 1: {
        uint64_t span = (1ull << below((uint64_t)bits)) - 1;
        a &= ~span;
        b = a | span;
        break;
    }
    case 2:
        a = 0;
        b = max;
        break;
    case 3:
        b = max;
        break;
    default:
        break;
    }
    *first = a < b ? a : b;
    *last = a < b ? b : a;
}

static void address(int version, uint64_t *first, uint64_t *last)
{
    if (version == 4) {
        first[0] = last[0] = 0;
        range(32, &first[1], &last[1]);
    } else if (below(2)) {
        first[1] = 0;
        last[1] = ~0ull;
        range(64, &first[0], &last[0]);
        if (below(3) == 0) { /* any 128-bit range */
            first[1] = rnd();
            last[1] = first[0] == last[0] ? ~0ull : rnd();
        }
    } else {
        first[0] = last[0] = below(4) << 40;
        range(64, &first[1], &last[1]);
    }
}

static fc_rule random_rule(int fields)
{
    fc_rule r;
    uint64_t a, b;
    memset(&r, 0, sizeof(r));
    r.version = below(12) == 0 ? 0 : below(3) == 0 ? 4 : 6;
    r.conditions = (uint8_t)(rnd() & (uint64_t)fields & (below(8) ? rnd() | rnd() : rnd()));
    if (r.version == 0)
        r.conditions &= (uint8_t) ~(FC_SOURCE | FC_DESTINATION);
    address(r.version, r.source_first, r.source_last);
    address(r.version, r.destination_first, r.destination_last);
    range(20, &a, &b), r.flow_label_first = (uint32_t)a, r.flow_label_last = (uint32_t)b;
    range(32, &a, &b), r.spi_first = (uint32_t)a, r.spi_last = (uint32_t)b;
    range(16, &a, &b), r.source_port_first = (uint16_t)a, r.source_port_last = (uint16_t)b;
    range(16, &a, &b), r.destination_port_first = (uint16_t)a, r.destination_port_last = (uint16_t)b;
    range(8, &a, &b), r.traffic_class_first = (uint8_t)a, r.traffic_class_last = (uint8_t)b;
    range(8, &a, &b), r.protocol_first = (uint8_t)a, r.protocol_last = (uint8_t)b;
    return r;
}

/* One of the ends of a rule's range, or just beside it. */
static uint64_t edge(uint64_t first, uint64_t last, int bits)
{
    uint64_t max = bits == 64 ? ~0ull : (1ull << bits) - 1;
    switch (below(5)) {
    case 0:
        return first;
    case 1:
        return last;
    case 2:
        return (first - 1) & max;
    case 3:
        return (last + 1) & max;
    default:
        return first + (last - first) / 2;
    }
}

static void edge_address(int version, const uint64_t *first, const uint64_t *last, uint64_t *out)
{
    memcpy(out, below(2) ? first : last, 16);
    if (version == 4)
        out[1] = edge(first[1], last[1], 32);
    else if (below(2))
        out[0] = edge(first[0], last[0], 64);
    else
        out[1] += below(3) - 1;
}

static fc_key random_key(const fc_rule *rules, uint32_t n)
{
    const fc_rule *r = &rules[below(n)], *s = below(3) ? r : &rules[below(n)];
    fc_key k;
    memset(&k, 0, sizeof(k));
    k.version = r->version ? r->version : below(2) ? 4 : 6;
    if (below(50) == 0)
        k.version = (uint8_t)rnd();
    k.present = below(3) ? 0xff : (uint8_t)(rnd() | r->conditions * (below(2) != 0));
    if ((k.present & FC_SOURCE) && r->version)
        edge_address(r->version, r->source_first, r->source_last, k.source);
    if ((k.present & FC_DESTINATION) && s->version == r->version && s->version)
        edge_address(s->version, s->destination_first, s->destination_last, k.destination);
    if (k.present & FC_FLOW_LABEL)
        k.flow_label = (uint32_t)edge(s->flow_label_first, s->flow_label_last, 20);
    if (k.present & FC_SPI)
        k.spi = (uint32_t)edge(r->spi_first, r->spi_last, 32);
    if (k.present & FC_SOURCE_PORT)
        k.source_port = (uint16_t)edge(r->source_port_first, r->source_port_last, 16);
    if (k.present & FC_DESTINATION_PORT)
        k.destination_port = (uint16_t)edge(s->destination_port_first, s->destination_port_last, 16);
    if (k.present & FC_TRAFFIC_CLASS)
        k.traffic_class = (uint8_t)edge(r->traffic_class_first, r->traffic_class_last, 8);
    if (k.present & FC_PROTOCOL)
        k.protocol = (uint8_t)edge(r->protocol_first, r->protocol_last, 8);
    return k;
}

/* `n` keys whose last octet is the last readable one. */
static fc_key *guarded(uint32_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (n * sizeof(fc_key) + page - 1) / page * page;
    uint8_t *p = mmap(NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    CHECK(mprotect(p + size, page, PROT_NONE) == 0);
    return (fc_key *)(p + size) - n;
}

static int32_t naive(const fc_rule *rules, uint32_t n, const fc_key *key)
{
    for (uint32_t i = 0; i < n; i++) {
        if (fc_rule_matches(&rules[i], key))
            return (int32_t)i;
    }
    return -1;
}

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
    static const int sets[] = {0xff, FC_SOURCE | FC_DESTINATION | FC_SOURCE_PORT | FC_DESTINATION_PORT | FC_PROTOCOL,
                               FC_SOURCE, FC_FLOW_LABEL | FC_SPI, FC_SOURCE_PORT | FC_DESTINATION_PORT,
                               FC_TRAFFIC_CLASS | FC_PROTOCOL, FC_DESTINATION | FC_TRAFFIC_CLASS};
    static const fc_build_options options[] = {
        {0}, {.leaf = 1, .slots = 2, .copies = 2}, {.leaf = 70, .slots = 1, .copies = 1}, {.leaf = 2, .keep_covered = 1}};
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
    check_set(60, 0xff, NULL, quick ? 40 : 2 * 128 + 17, 1);
    check_set(400, sets[1], NULL, quick ? 40 : 2 * 128 + 17, 1);
    check_set(quick ? 1000 : 6000, 0xff, NULL, quick ? 500 : 4000, 0);
    check_set(quick ? 1000 : 6000, sets[1], NULL, quick ? 500 : 4000, 0);
    puts("table: ok");
    return 0;
}
