/* libFuzzer: tables and classifiers of any rules, built with any options, inserted into and removed from, answer as the
 * definition of a match does, with every kernel. */
#include "fuzz_octets.h"
#include "kernels.h"

enum { RULES = 40, MOST = 160, KEYS = 24 };

static fc_rule rules[MOST];
static double priority[MOST];
static uint8_t alive[MOST];

static int32_t naive(uint32_t n, const fc_key *k)
{
    int32_t best = -1;
    for (uint32_t i = 0; i < n; i++)
        if (alive[i] && fc_rule_matches(&rules[i], k) && (best < 0 || priority[i] < priority[best]))
            best = (int32_t)i;
    return best;
}

/* Keys around the rules through every kernel; `table` or `classifier`. */
static void ask(octets *o, uint32_t n, const fc_table *table, fc_classifier *classifier)
{
    fc_key keys[KEYS];
    int32_t out[KEYS];
    uint32_t count = 1 + next8(o) % KEYS;
    for (uint32_t i = 0; i < count; i++)
        keys[i] = next_key(o, &rules[n ? next8(o) % n : 0]);
    for (int kernel = FC_KERNEL_AUTO; kernel < FC_KERNEL_COUNT; kernel = next_kernel(kernel)) {
        if (fc_kernel_check(kernel) != FC_OK)
            continue;
        MUST((table ? fc_table_lookup(table, keys, count, out, kernel)
                    : fc_classifier_lookup(classifier, keys, count, out, kernel)) == FC_OK);
        for (uint32_t i = 0; i < count; i++)
            MUST(out[i] == naive(n, &keys[i]));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    octets o = {data, size};
    uint8_t shape = next8(&o);
    fc_build_options options = {.leaf = shape & 1 ? 1 + next8(&o) % 8 : 0,
                                .slots = shape & 2 ? 1 + next8(&o) % 16 : 0,
                                .copies = shape & 4 ? 1 + next8(&o) % 16 : 0,
                                .vector = shape & 8 ? 1 + next8(&o) % 32 : 0,
                                .keep_covered = shape >> 4 & 1,
                                .no_cross = shape >> 6 & 1};
    uint32_t n = next8(&o) % RULES, done;
    memset(alive, 0, sizeof alive);
    for (uint32_t i = 0; i < n; i++) {
        rules[i] = next_rule(&o);
        priority[i] = i;
        alive[i] = 1;
    }
    if (shape & 32) {
        fc_table *table;
        MUST(fc_table_build(rules, n, &options, &table, NULL) == FC_OK);
        ask(&o, n, table, NULL);
        fc_table_free(table);
        return 0;
    }
    fc_classifier *c;
    MUST(fc_classifier_new(rules, n, &options, &c, NULL) == FC_OK);
    for (int step = 0; o.left && step < 40; step++) {
        uint8_t what = next8(&o);
        if (what < 110) {
            fc_rule r = next_rule(&o);
            double p = next8(&o) - 0.5 * (what & 1);
            uint32_t id = UINT32_MAX;
            MUST(fc_classifier_insert(c, &r, &p, 1, &id, &done) == FC_OK && done == 1 && id < MOST && !alive[id]);
            rules[id] = r;
            priority[id] = p;
            alive[id] = 1;
            n = id >= n ? id + 1 : n;
        } else if (what < 180) {
            uint32_t id = next8(&o) % (n + 1);
            int is = id < n && alive[id];
            MUST(fc_classifier_remove(c, &id, 1, &done) == (is ? FC_OK : FC_ENOENT) && done == (uint32_t)is);
            if (is)
                alive[id] = 0;
        } else if (what < 185) {
            MUST(fc_classifier_rebuild(c) == FC_OK);
        } else {
            ask(&o, n, NULL, c);
        }
    }
    fc_classifier_free(c);
    return 0;
}
