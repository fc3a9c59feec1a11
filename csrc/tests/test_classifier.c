/* fc_classifier: insertions and removals against the naive answer, alone and under readers. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "random_rules.h"

static int quick, steps;

/* ---- One thread: after every few updates all answers are right on every kernel ------------------ */

typedef struct model {
    fc_rule rule[4096];
    double priority[4096];
    uint8_t alive[4096];
    uint32_t n;
} model;

static int32_t model_answer(const model *m, const fc_key *key)
{
    int32_t best = -1;
    for (uint32_t i = 0; i < m->n; i++) {
        if (!m->alive[i] || !fc_rule_matches(&m->rule[i], key))
            continue;
        if (best < 0 || m->priority[i] < m->priority[best]) /* equal ones: the lower number stays */
            best = (int32_t)i;
    }
    return best;
}

static void compare_all(fc_classifier *c, const model *m, uint32_t n_keys)
{
    fc_key *keys = calloc(n_keys, sizeof(*keys));
    int32_t *want = calloc(n_keys, sizeof(*want)), *got = calloc(n_keys, sizeof(*got));
    for (uint32_t i = 0; i < n_keys; i++) {
        keys[i] = random_key(m->rule, m->n);
        want[i] = model_answer(m, &keys[i]);
    }
    for (int kernel = FC_KERNEL_AUTO; kernel < FC_KERNEL_COUNT; kernel = next_kernel(kernel)) {
        if (fc_kernel_check(kernel) != FC_OK)
            continue;
        CHECK(fc_classifier_lookup(c, keys, n_keys, got, kernel) == FC_OK);
        for (uint32_t i = 0; i < n_keys; i++) {
            if (got[i] != want[i]) {
                fprintf(stderr, "kernel %d, key %u: %d, expected %d\n", kernel, i, got[i], want[i]);
                exit(1);
            }
        }
    }
    free(keys);
    free(want);
    free(got);
}

static void model_insert(model *m, uint32_t id, const fc_rule *rule, double priority)
{
    CHECK(id < 4096);
    if (id >= m->n)
        m->n = id + 1;
    CHECK(!m->alive[id]);
    m->rule[id] = *rule;
    m->priority[id] = priority;
    m->alive[id] = 1;
}

static void alone(uint32_t n, int fields, int updates, const fc_build_options *options)
{
    model *m = calloc(1, sizeof(*m));
    fc_classifier *c;
    uint32_t done, live = n;
    for (uint32_t i = 0; i < n; i++) {
        fc_rule r = random_rule(fields);
        model_insert(m, i, &r, i);
    }
    CHECK(fc_classifier_new(m->rule, n, options, &c, NULL) == FC_OK);
    for (int u = 0; u < updates; u++) {
        if (below(2) && m->n && live) {
            uint32_t id;
            do
                id = (uint32_t)below(m->n);
            while (!m->alive[id]);
            CHECK(fc_classifier_remove(c, &id, 1, &done) == FC_OK && done == 1);
            CHECK(fc_classifier_remove(c, &id, 1, &done) == FC_ENOENT && done == 0);
            m->alive[id] = 0;
            live--;
        } else {
            fc_rule r = random_rule(fields);
            double priority = below(4) ? (double)below(4 * n + 4) / 4 : -(double)below(5);
            uint32_t id;
            CHECK(fc_classifier_insert(c, &r, &priority, 1, &id, &done) == FC_OK && done == 1);
            model_insert(m, id, &r, priority);
            live++;
        }
        if (u % 40 == 0 && m->n)
            compare_all(c, m, 300);
        if (u % 250 == 100)
            CHECK(fc_classifier_rebuild(c) == FC_OK);
    }
    fc_table_info info;
    fc_classifier_get_info(c, &info);
    CHECK(info.rules == live);
    if (m->n)
        compare_all(c, m, 1000);
    fc_classifier_free(c);
    free(m);
}

/* Leaves of some hundred rules side by side, written by the build and then changed: none writes into the next. */
static void large_leaves(void)
{
    model *m = calloc(1, sizeof(*m));
    fc_classifier *c;
    uint32_t id, done;
    for (uint32_t i = 0; i < 1600; i++) {
        fc_rule r = {.version = 4, .conditions = FC_PROTOCOL | FC_SOURCE_PORT};
        r.protocol_first = r.protocol_last = (uint8_t)(i % 8 << 5);
        r.source_port_first = (uint16_t)(1000 - i / 8);
        r.source_port_last = (uint16_t)(1000 + i / 8);
        model_insert(m, i, &r, i);
    }
    CHECK(fc_classifier_new(m->rule, 1600, NULL, &c, NULL) == FC_OK);
    for (uint32_t i = 0; i < 1600; i += 8) { /* every leaf of those that the build wrote is given back */
        for (uint32_t p = 0; p < 8; p++) {
            id = i + (i / 8 + p) % 8;
            CHECK(fc_classifier_remove(c, &id, 1, &done) == FC_OK);
            m->alive[id] = 0;
            CHECK(fc_classifier_insert(c, &m->rule[id], &m->priority[id], 1, &id, &done) == FC_OK);
            model_insert(m, id, &m->rule[i + (i / 8 + p) % 8], i + (i / 8 + p) % 8);
        }
        if (i % 160 == 0)
            compare_all(c, m, 300);
    }
    compare_all(c, m, 2000);
    fc_classifier_free(c);
    free(m);
}

/* A lane is cut at 31 places, of which a node with fewer repeats the last. A rule whose range goes on beyond that is in
 * none of the intervals in between, to which no key comes. */
static void few_ends(int version)
{
    model *m = calloc(1, sizeof(*m));
    fc_classifier *c;
    uint32_t done, n = 40 + (uint32_t)below(200), ends = 3 + (uint32_t)below(12);
    uint16_t end[16];
    for (uint32_t i = 0; i < ends; i++) /* no bit tells apart what lies between them */
        end[i] = (uint16_t)(30000 + below(6000));
    for (uint32_t i = 0; i < n; i++) {
        fc_rule r = {.version = (uint8_t)version, .conditions = FC_SOURCE_PORT | FC_DESTINATION_PORT};
        uint16_t from = end[below(ends)], to = 65535;
        for (uint32_t k = 0; k < ends && i > 1; k++)
            to = end[k] > from && end[k] <= to ? end[k] - 1 : to;
        r.source_port_first = from;
        r.source_port_last = to;
        r.destination_port_first = (uint16_t)(31000 + 131 * below(5));
        r.destination_port_last = (uint16_t)(34000 + 77 * below(5));
        model_insert(m, i, &r, i);
    }
    CHECK(fc_classifier_new(m->rule, n, NULL, &c, NULL) == FC_OK);
    const uint32_t order[] = {n - 1, 0, 1}; /* the first update builds anew */
    for (int i = 0; i < 3; i++) {
        CHECK(fc_classifier_remove(c, &order[i], 1, &done) == FC_OK);
        m->alive[order[i]] = 0;
    }
    compare_all(c, m, 100);
    fc_classifier_free(c);
    free(m);
}

static void refusals(void)
{
    fc_rule rules[2];
    double priority[2] = {1, 2};
    uint32_t ids[2] = {77, 77}, done = 9;
    fc_classifier *c;
    fc_key key = {.version = 6};
    int32_t hit;
    memset(rules, 0, sizeof(rules));
    rules[1].version = 5;
    CHECK(fc_classifier_new(NULL, 0, NULL, &c, NULL) == FC_OK);
    CHECK(fc_classifier_insert(c, rules, priority, 2, ids, &done) == FC_EINVAL && done == 1 && ids[0] == 77);
    CHECK(fc_classifier_lookup(c, &key, 1, &hit, FC_KERNEL_AUTO) == FC_OK && hit == -1);
    rules[1].version = 6;
    priority[1] = strtod("nan", NULL);
    CHECK(fc_classifier_insert(c, rules, priority, 2, ids, &done) == FC_EINVAL && done == 1);
    CHECK(fc_classifier_insert(c, rules, priority, 1, ids, &done) == FC_OK && done == 1);
    CHECK(fc_classifier_lookup(c, &key, 1, &hit, FC_KERNEL_AUTO) == FC_OK && hit == (int32_t)ids[0]);
    fc_classifier_free(c);
    fc_classifier_free(NULL);
}

/* ---- Under readers: every answer is that of a state that existed while the call ran ------------- */

#define PROBES 150
#define FIRST 200 /* rules to begin with */
#define STEPS 3000

/* A rule is known by its place in the model here, for numbers are given again: number[] tells its number once it has
 * one. */
static struct {
    fc_classifier *c;
    fc_key probe[PROBES];
    int32_t (*answer)[PROBES]; /* after so many updates: a place in the model, -1 */
    _Atomic int32_t number[FIRST + STEPS];
    _Atomic int begun, ended;
} shared;

static int32_t number_of(int32_t place)
{
    int32_t number = -1;
    while (place >= 0 && (number = atomic_load(&shared.number[place])) < 0)
        sched_yield(); /* the insertion that has begun is about to tell */
    return number;
}

static void *reader(void *argument)
{
    int kernel = *(int *)argument;
    int32_t got[PROBES];
    for (int end = 0; end < steps; sched_yield()) { /* under valgrind one thread runs at a time */
        int first = atomic_load(&shared.ended);
        CHECK(fc_classifier_lookup(shared.c, shared.probe, PROBES, got, kernel) == FC_OK);
        end = atomic_load(&shared.begun);
        for (int k = 0; k < PROBES; k++) {
            int i = first;
            while (i <= end && number_of(shared.answer[i][k]) != got[k])
                i++;
            if (i > end) {
                fprintf(stderr, "kernel %d: probe %d is %d, in no state of %d..%d\n", kernel, k, got[k], first, end);
                exit(1);
            }
        }
    }
    return NULL;
}

static void under_readers(int fields, const fc_build_options *options)
{
    uint32_t done, id;
    model *m = calloc(1, sizeof(*m));
    for (uint32_t i = 0; i < FIRST; i++) {
        fc_rule r = random_rule(fields);
        model_insert(m, i, &r, i);
    }
    CHECK(fc_classifier_new(m->rule, FIRST, options, &shared.c, NULL) == FC_OK);
    shared.answer = calloc((size_t)STEPS + 1, sizeof(*shared.answer));
    for (int i = 0; i < FIRST + STEPS; i++)
        atomic_store(&shared.number[i], i < FIRST ? i : -1);
    for (int k = 0; k < PROBES; k++) {
        shared.probe[k] = random_key(m->rule, FIRST);
        shared.answer[0][k] = model_answer(m, &shared.probe[k]);
    }
    atomic_store(&shared.begun, 0);
    atomic_store(&shared.ended, 0);
    int kernels[2] = {FC_KERNEL_SCALAR, FC_KERNEL_AUTO};
    pthread_t thread[2];
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&thread[i], NULL, reader, &kernels[i]) == 0);
    for (int u = 1; u <= steps; u++) {
        uint32_t place = m->n;
        fc_rule r = random_rule(fields);
        double priority = (double)below(4 * FIRST) / 4 + u * 1e-6; /* no two alike: numbers decide between those */
        int removal = (int)below(2);
        if (removal) {
            do
                place = (uint32_t)below(m->n);
            while (!m->alive[place]);
            m->alive[place] = 0;
        } else {
            model_insert(m, place, &r, priority);
        }
        for (int k = 0; k < PROBES; k++)
            shared.answer[u][k] = model_answer(m, &shared.probe[k]);
        atomic_store(&shared.begun, u);
        if (removal) {
            id = (uint32_t)number_of((int32_t)place);
            CHECK(fc_classifier_remove(shared.c, &id, 1, &done) == FC_OK);
        } else {
            CHECK(fc_classifier_insert(shared.c, &r, &priority, 1, &id, &done) == FC_OK);
            atomic_store(&shared.number[place], (int32_t)id);
        }
        atomic_store(&shared.ended, u);
        if (u % 200 == 0)
            CHECK(fc_classifier_rebuild(shared.c) == FC_OK);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    fc_classifier_free(shared.c);
    free(shared.answer);
    free(m);
}

int main(void)
{
    quick = getenv("FC_TEST_QUICK") != NULL;
    steps = quick ? 300 : STEPS;
    const int five = FC_SOURCE | FC_DESTINATION | FC_SOURCE_PORT | FC_DESTINATION_PORT | FC_PROTOCOL;
    /* leaves of more than four rules become bit vectors, few of them and none */
    static const fc_build_options vectors = {.leaf = 2, .slots = 1, .copies = 1, .vector = 4},
                                  one = {.leaf = 9999, .vector = 1};
    refusals();
    large_leaves();
    for (int i = 0; i < 60; i++)
        few_ends(i & 1 ? 6 : 4);
    alone(0, 0xff, quick ? 150 : 600, NULL);
    alone(20, five, quick ? 300 : 1500, NULL);
    alone(1000, five, quick ? 100 : 1500, NULL);
    alone(600, 0xff, quick ? 100 : 1500, NULL);
    alone(300, FC_SOURCE_PORT, quick ? 100 : 1000, NULL);
    alone(20, five, quick ? 300 : 1500, &vectors);
    alone(600, 0xff, quick ? 100 : 1500, &vectors);
    alone(300, FC_SOURCE_PORT, quick ? 100 : 1000, &one);
    alone(30, 0xff, quick ? 100 : 1000, &one);
    under_readers(five, NULL);
    under_readers(five, &vectors);
    if (!quick)
        under_readers(0xff, NULL);
    puts("classifier: ok");
    return 0;
}
