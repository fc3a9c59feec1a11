/* Cross-product tables against the definition of a match: products of 16-bit ranges in all eight fields, keys on their
 * edges that lack fields, every kernel's way, every short length, and memory that runs out at every place. */
#include "random_rules.h"
#include "rules/cross.h"

/* ---- Memory that runs out: malloc and its relatives of this program fail from the n-th on -------------------------
 */

static long allowed = -1; /* -1: as many as are wanted */

void *__real_malloc(size_t), *__real_calloc(size_t, size_t), *__real_realloc(void *, size_t);
void *__real_aligned_alloc(size_t, size_t);

static int refused(void) { return allowed >= 0 && allowed-- == 0 ? (allowed = 0, 1) : 0; }

void *__wrap_malloc(size_t n) { return refused() ? NULL : __real_malloc(n); }

void *__wrap_calloc(size_t n, size_t m) { return refused() ? NULL : __real_calloc(n, m); }

void *__wrap_realloc(void *p, size_t n) { return refused() ? NULL : __real_realloc(p, n); }

void *__wrap_aligned_alloc(size_t a, size_t n) { return refused() ? NULL : __real_aligned_alloc(a, n); }

/* ---- Rules --------------------------------------------------------------------------------------------------------
 */

/* A range of a field of several lanes that is a product of ranges of its lanes: some lanes alone, a range, all the
 * rest. */
static void product(uint64_t *first, uint64_t *last, int lanes, int few)
{
    int fixed = (int)below((uint64_t)lanes + 1);
    uint64_t a = 0, b = 0;
    for (int i = lanes - 1; i >= 0; i--) {
        uint64_t lo = few ? below(3) * 0x0101 : rnd() & 0xffff, hi = lo;
        if (fixed < 0)
            lo = 0, hi = 0xffff;
        else if (fixed-- == 0)
            range(16, &lo, &hi);
        a = a << 16 | lo;
        b = b << 16 | hi;
    }
    *first = a;
    *last = b;
}

static int hosts;  /* lower halves of IPv6 addresses are one value or all */
static int octets; /* 1: addresses are products of ranges of their octets too; 2: only their last values are so */
static int upper;  /* rules ask for the upper half of an SPI only */

/* Of 16 bits: where the upper octets differ, all lower ones. */
static void by_octets(uint64_t *first, uint64_t *last)
{
    for (int shift = 0; octets && shift < 64; shift += 16) {
        uint64_t lower = 0xffull << shift;
        if ((*first ^ *last) & 0xff00ull << shift)
            *first &= octets == 1 ? ~lower : UINT64_MAX, *last |= lower;
    }
}

static fc_rule product_rule(int version, int fields, int few)
{
    fc_rule r = random_rule(fields);
    r.version = (uint8_t)version;
    r.conditions = (uint8_t)(rnd() & (uint64_t)fields);
    memset(r.source_first, 0, 64);
    if (version == 0)
        r.conditions &= (uint8_t) ~(FC_SOURCE | FC_DESTINATION);
    for (int side = 0; side < 2; side++) {
        uint64_t *first = side ? r.destination_first : r.source_first,
                 *last = side ? r.destination_last : r.source_last;
        if (version == 4) {
            product(&first[1], &last[1], 2, few);
            by_octets(&first[1], &last[1]);
        } else if (below(2) || hosts) {
            product(&first[0], &last[0], 4, few);
            last[1] = UINT64_MAX;
            if (hosts && first[0] == last[0] && below(4)) {
                first[1] = last[1] = below(2) ? below(5) << 40 : rnd() >> below(60);
                product(&first[0], &last[0], 0, few);
                first[0] = last[0] = below(9);
            }
        } else {
            first[0] = last[0] = below(3) << 16;
            product(&first[1], &last[1], 4, few);
        }
        if (version == 6) {
            by_octets(&first[0], &last[0]);
            by_octets(&first[1], &last[1]);
        }
    }
    if (upper || r.spi_first >> 16 != r.spi_last >> 16)
        r.spi_first &= 0xffff0000, r.spi_last |= 0xffff;
    if (r.flow_label_first >> 16 != r.flow_label_last >> 16)
        r.flow_label_first &= 0xffff0000, r.flow_label_last |= 0xffff;
    return r;
}

/* ---- Checks
 * ----------------------------------------------------------------------------------------------------------- */

static int built, refusals, wide;          /* wide: tables with more entries than 16 bits count */
static int by_vectors[FC_CROSS_WORDS + 1]; /* sets with vectors, by words */
static int fits, full;                     /* sets about as large as vectors may be */

static void compare(const char *name, fc_cross_fn *look_up, const fc_cross *cross, const fc_key *keys, uint32_t n,
                    const int32_t *want)
{
    int32_t *got = malloc((n + 1) * sizeof(*got));
    uint32_t *index = malloc(n * sizeof(*index));
    for (uint32_t i = 0; i < n; i++)
        index[i] = n - 1 - i;
    for (uint32_t m = 1; m <= n; m = m < 70 ? m + 1 : m < 140 ? m + 23 : m < n ? n : n + 1) {
        got[m] = 12345;
        CHECK(look_up(cross, keys + (n - m), NULL, m, got));
        CHECK(got[m] == 12345);
        for (uint32_t i = 0; i < m; i++) {
            if (got[i] != want[n - m + i]) {
                fprintf(stderr, "%s: key %u of %u: %d, expected %d\n", name, i, m, got[i], want[n - m + i]);
                exit(1);
            }
        }
        CHECK(look_up(cross, keys, index, m, got));
        for (uint32_t i = 0; i < m; i++)
            CHECK(got[i] == want[n - 1 - i]);
    }
    free(got);
    free(index);
}

/* The same sets by vectors; `cross`, or NULL, was made with steps. */
static void check_vectors(int version, const fc_rule *rules, uint32_t n, const fc_key *keys, uint32_t n_keys,
                          const int32_t *want)
{
    fc_cross *cross = NULL;
    fc_key odd = keys[0];
    int32_t one;
    CHECK(fc_cross_build(version, rules, n, UINT32_MAX, 1, &cross) == FC_OK);
    if (cross != NULL && cross->vectors != NULL && fc_kernel_resolve(FC_KERNEL_AUTO) != FC_KERNEL_SCALAR) {
        uint32_t m = 0;
        uint8_t asked = 0;
        for (uint32_t i = 0; i < n; i++) {
            m += rules[i].version != 10 - version;
            asked |= rules[i].version != 10 - version ? rules[i].conditions : 0;
        }
        by_vectors[(m + 63) / 64]++;
        compare("vectors", fc_cross_by_vectors, cross, keys, n_keys, want);
        odd.version = (uint8_t)(10 - version);
        CHECK(fc_cross_by_vectors(cross, &odd, NULL, 1, &one) == 0);
        odd = keys[0];
        for (int field = 0; field < 3; field++) { /* without the source, the destination, both */
            odd.present = (uint8_t)(0xff & ~(field == 0 ? FC_SOURCE : field == 1 ? FC_DESTINATION : 3));
            CHECK(fc_cross_by_vectors(cross, &odd, NULL, 1, &one) == !(asked & ~odd.present));
        }
    }
    fc_cross_free(cross);
}

static void check_set(int version, uint32_t n, int fields, int few, uint32_t n_keys)
{
    fc_rule *rules = calloc(n + 1, sizeof(*rules));
    fc_key *keys = guarded(n_keys), odd;
    int32_t *want = calloc(n_keys, sizeof(*want)), *mixed = calloc(n_keys, sizeof(*mixed)), one;
    fc_cross *cross = NULL;
    fc_table *table = NULL, *plain = NULL;
    const fc_build_options no_cross = {.no_cross = 1};
    for (uint32_t i = 0; i < n; i++)
        rules[i] = product_rule(below(20) ? version : 10 - version, fields, few);
    for (uint32_t i = 0; i < n; i += 1 + (uint32_t)below(40))
        rules[i] = product_rule(0, fields, few);
    for (uint32_t i = 0; i < n_keys; i++) {
        keys[i] = random_key(rules, n);
        keys[i].version = (uint8_t)version;
        if (version == 4) { /* it may have been made for a rule of the other version */
            keys[i].source[0] = keys[i].destination[0] = 0;
            keys[i].source[1] &= UINT32_MAX;
            keys[i].destination[1] &= UINT32_MAX;
        }
        keys[i].present |= FC_SOURCE | FC_DESTINATION;
        want[i] = naive(rules, n, &keys[i]);
    }
    CHECK(fc_cross_build(version, rules, n, UINT32_MAX, 0, &cross) == FC_OK);
    refusals += cross == NULL;
    if (cross != NULL) {
        built++;
        for (uint32_t i = 0; i < cross->steps; i++)
            wide += cross->step[i].wide;
        compare("plain", fc_cross_plain, cross, keys, n_keys, want);
        for (int kernel = FC_KERNEL_SCALAR; kernel < FC_KERNEL_COUNT; kernel = next_kernel(kernel)) {
            if (fc_kernel_check(kernel) == FC_OK && fc_cross_function(kernel) != NULL)
                compare(fc_kernel_name(kernel), fc_cross_function(kernel), cross, keys, n_keys, want);
        }
        odd = keys[0];
        odd.version = 9;
        CHECK(fc_cross_plain(cross, &odd, NULL, 1, &one) == 0);
        odd = keys[0];
        odd.present = 0;
        CHECK(fc_cross_plain(cross, &odd, NULL, 1, &one) == !(cross->required));
    }
    fc_cross_free(cross);
    check_vectors(version, rules, n, keys, n_keys, want);
    /* the whole table, with keys of both versions and none, and with addresses that are not there */
    fc_kernel_pretend(below(2) ? 1 : -1); /* with vectors, or as the processor is */
    CHECK(fc_table_build(rules, n, NULL, &table, NULL) == FC_OK);
    fc_kernel_pretend(-1);
    CHECK(fc_table_build(rules, n, &no_cross, &plain, NULL) == FC_OK);
    for (uint32_t i = 0; i < n_keys; i++) {
        if (below(30) == 0)
            keys[i] = random_key(rules, n);
        want[i] = naive(rules, n, &keys[i]);
    }
    for (int kernel = FC_KERNEL_AUTO; kernel < FC_KERNEL_COUNT; kernel = next_kernel(kernel)) {
        if (fc_kernel_check(kernel) != FC_OK)
            continue;
        for (uint32_t k = 0; k < 20; k++)
            CHECK(fc_table_lookup(table, keys + k, 1, mixed, kernel) == FC_OK && mixed[0] == want[k]);
        CHECK(fc_table_lookup(table, keys, n_keys, mixed, kernel) == FC_OK);
        for (uint32_t i = 0; i < n_keys; i++) {
            if (mixed[i] != want[i]) {
                fprintf(stderr, "kernel %d, %u rules, fields %02x: key %u: %d, expected %d\n", kernel, n,
                        (unsigned)fields, i, mixed[i], want[i]);
                exit(1);
            }
        }
        CHECK(fc_table_lookup(plain, keys, n_keys, mixed, kernel) == FC_OK);
        CHECK(memcmp(mixed, want, n_keys * sizeof(*want)) == 0);
    }
    fc_table_free(table);
    fc_table_free(plain);
    free(rules);
    free(want);
    free(mixed);
}

/* Rows above what 16 bits hold: many rules of the other version before those of this one. */
static void check_high_rows(void)
{
    uint32_t n = 40000;
    fc_rule *rules = calloc(n, sizeof(*rules));
    fc_key keys[64];
    int32_t got[64];
    for (uint32_t i = 0; i < n; i++)
        rules[i] = product_rule(i < n - 50 ? 4 : 6, FC_SOURCE | FC_DESTINATION_PORT, 1);
    fc_cross *cross = NULL;
    CHECK(fc_cross_build(6, rules, n, UINT32_MAX, 0, &cross) == FC_OK && cross != NULL);
    CHECK(cross->step[cross->steps - 1].width == 4);
    for (int i = 0; i < 64; i++) {
        keys[i] = random_key(rules + n - 50, 50);
        keys[i].version = 6;
        keys[i].present = 0xff;
    }
    for (int kernel = FC_KERNEL_SCALAR; kernel < FC_KERNEL_COUNT; kernel = next_kernel(kernel)) {
        fc_cross_fn *look_up = fc_kernel_check(kernel) == FC_OK ? fc_cross_function(kernel) : NULL;
        CHECK((look_up ? look_up : fc_cross_plain)(cross, keys, NULL, 64, got));
        for (int i = 0; i < 64; i++)
            CHECK(got[i] == naive(rules, n, &keys[i]));
    }
    fc_cross_free(cross);
    free(rules);
}

/* As many classes of ports and SPIs as vectors have room for, a few less and a few more: no error, and right answers.
 * ranges: each ends in another octet than it begins in, so that vectors run out; else many rules with one port each,
 * and pairs of classes do. */
static void check_limits(int version, uint32_t n, int ranges)
{
    fc_rule rules[256];
    fc_key keys[400];
    int32_t want[400];
    fc_cross *cross = NULL;
    memset(rules, 0, sizeof(rules));
    for (uint32_t i = 0; i < n; i++) {
        fc_rule *r = &rules[i];
        uint32_t lo = ranges ? (2 * i) << 8 | 4 * i : i << 8 | 37 * i % 256, hi = ranges ? lo + 0x102 : lo;
        r->version = (uint8_t)version;
        r->conditions = FC_PROTOCOL | FC_SOURCE_PORT | FC_DESTINATION_PORT | FC_DESTINATION;
        r->conditions |= ranges ? FC_SPI | FC_FLOW_LABEL : 0;
        r->protocol_first = r->protocol_last = 6;
        r->source_port_first = r->destination_port_first = (uint16_t)lo;
        r->source_port_last = r->destination_port_last = (uint16_t)hi;
        r->flow_label_first = lo;
        r->flow_label_last = hi;
        r->spi_first = lo << 16;
        r->spi_last = hi << 16 | 0xffff;
        r->destination_first[1] = r->destination_last[1] = i % 23;
    }
    for (int i = 0; i < 400; i++) {
        keys[i] = random_key(rules, n);
        keys[i].version = (uint8_t)version;
        keys[i].present = 0xff;
        want[i] = naive(rules, n, &keys[i]);
    }
    CHECK(fc_cross_build(version, rules, n, UINT32_MAX, 1, &cross) == FC_OK);
    full += cross == NULL || cross->vectors == NULL;
    fits += cross != NULL && cross->vectors != NULL;
    if (cross != NULL && fc_kernel_resolve(FC_KERNEL_AUTO) != FC_KERNEL_SCALAR)
        compare("limits", cross->vectors ? fc_cross_by_vectors : fc_cross_plain, cross, keys, 400, want);
    fc_cross_free(cross);
}

static void check_no_memory(int version, int vectors)
{
    fc_rule rules[60];
    fc_cross *cross;
    for (int i = 0; i < 60; i++)
        rules[i] = product_rule(version, FC_SOURCE | FC_DESTINATION | FC_DESTINATION_PORT | FC_PROTOCOL, 1);
    for (long n = 0;; n++) {
        allowed = n;
        int status = fc_cross_build(version, rules, 60, UINT32_MAX, vectors, &cross);
        allowed = -1;
        if (status == FC_OK) {
            CHECK(n > (vectors ? 8 : 20) && cross != NULL && (cross->vectors != NULL) == vectors);
            fc_cross_free(cross);
            return;
        }
        CHECK(status == FC_ENOMEM && cross == NULL);
    }
}

int main(void)
{
    static const int sets[] = {0xff,
                               FC_SOURCE | FC_DESTINATION | FC_SOURCE_PORT | FC_DESTINATION_PORT | FC_PROTOCOL,
                               FC_SOURCE,
                               FC_FLOW_LABEL | FC_SPI,
                               FC_SOURCE_PORT | FC_DESTINATION_PORT,
                               FC_TRAFFIC_CLASS | FC_PROTOCOL,
                               FC_DESTINATION | FC_TRAFFIC_CLASS,
                               FC_SPI | FC_SOURCE_PORT};
    int quick = getenv("FC_TEST_QUICK") != NULL;
    for (size_t s = 0; s < sizeof(sets) / sizeof(sets[0]); s++) {
        for (int version = 4; version <= 6; version += 2) {
            for (int few = 0; few < 2; few++) {
                hosts = s < 3 && below(2);
                octets = (int)below(3);
                check_set(version, 1, sets[s], few, 200);
                check_set(version, 2, sets[s], few, 200);
                for (int i = 0; i < (quick ? 1 : 3); i++)
                    check_set(version, 3 + (uint32_t)below(60), sets[s], few, 700);
                check_set(version, 200, sets[s], few, quick ? 700 : 3000);
                check_set(version, quick ? 400 : few ? 2000 : 700, sets[s], few, quick ? 700 : 3000);
            }
        }
    }
    for (int i = 0; i < (quick ? 16 : 48); i++) { /* for vectors */
        hosts = i / 2 & 1;
        upper = i % 5 == 4;
        octets = i % 7 == 6 ? 2 : 1;
        int fields = upper ? FC_SOURCE | FC_DESTINATION | FC_SPI | FC_PROTOCOL : i % 4 ? sets[1] : 0xff;
        check_set(i & 1 ? 6 : 4, 1 + (uint32_t)below(i % 3 ? 280 : 70), fields, below(2) != 0, 120);
    }
    octets = hosts = upper = 0;
    for (uint32_t n = 58; n <= 64; n++)
        check_limits(n & 1 ? 6 : 4, n, 1);
    for (uint32_t n = 130; n <= 256; n += 18)
        check_limits(4, n, 0);
    check_high_rows();
    check_no_memory(6, 0);
    octets = hosts = 1;
    check_no_memory(4, 1);
    check_no_memory(6, 1);
    printf(
        "cross: ok (%d sets with tables, %d without; %d wide steps; vectors of 1 to 4 words: %d, %d, %d, %d; at their "
        "limits %d fit, %d don't)\n",
        built, refusals, wide, by_vectors[1], by_vectors[2], by_vectors[3], by_vectors[4], fits, full);
    CHECK(built > refusals / 2 && (quick || wide > 0));
    CHECK(fc_kernel_resolve(FC_KERNEL_AUTO) == FC_KERNEL_SCALAR ||
          (fits > 0 && full > 0 && by_vectors[1] > 0 && by_vectors[2] > 0 && by_vectors[3] + by_vectors[4] > 0));
    return 0;
}
