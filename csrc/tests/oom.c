/* Out of memory at each allocation (make oom): malloc and its like are wrapped by the linker. Whatever fails, the call
 * says FC_ENOMEM, its output is untouched, what was there answers as before, and nothing is leaked (LeakSanitizer).
 * Each operation is tried with its k-th allocation failing, for every k until it succeeds; once with that one alone,
 * once with all after it. */
#include <errno.h>

#include "random_rules.h"
#include "trace/intern.h"
#include "trace/tally.h"

static long left = -1; /* allocations that still succeed; negative: all */
static int one_only;   /* only the next one fails */
static long failed;    /* in all */

static int fails(void)
{
    if (left < 0)
        return 0;
    if (left > 0) {
        left--;
        return 0;
    }
    if (one_only)
        left = -1;
    failed++;
    return 1;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void *__real_mmap(void *p, size_t n, int protection, int flags, int fd, off_t offset);
void *__wrap_malloc(size_t n) { return fails() ? NULL : __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t size) { return fails() ? NULL : __real_calloc(n, size); }
void *__wrap_realloc(void *p, size_t n) { return fails() ? NULL : __real_realloc(p, n); }
void *__wrap_aligned_alloc(size_t align, size_t n) { return fails() ? NULL : __real_aligned_alloc(align, n); }
void *__wrap_mmap(void *p, size_t n, int protection, int flags, int fd, off_t offset)
{
    return fails() ? MAP_FAILED : __real_mmap(p, n, protection, flags, fd, offset);
}

/* The operation with its k-th allocation failing, for k = 0, 1, 2 ... until it says something else than FC_ENOMEM,
 * which has to be FC_OK. check is called after each failure. */
typedef int operation(void *about);
typedef void check(void *about);

static void each_allocation(operation *run, check *intact, void *about)
{
    for (one_only = 0; one_only < 2; one_only++) {
        int status = FC_ENOMEM;
        for (long k = 0; status == FC_ENOMEM; k += k < 200 ? 1 : 17) {
            left = k;
            status = run(about);
            left = -1;
            CHECK(status == FC_ENOMEM || status == FC_OK);
            intact(about);
        }
    }
}

enum { RULES = 700, KEYS = 60 };
static fc_rule rules[RULES];
static fc_key keys[KEYS];

/* ---- Tables ------------------------------------------------------------------------------------- */

static fc_table *table;

static int build_table(void *about)
{
    uint32_t n = *(uint32_t *)about;
    fc_table *built = table;
    int status = fc_table_build(rules, n, NULL, &built, NULL);
    if (status != FC_OK) {
        CHECK(built == table);
        return status;
    }
    int32_t out[KEYS];
    CHECK(fc_table_lookup(built, keys, KEYS, out, FC_KERNEL_AUTO) == FC_OK);
    for (uint32_t i = 0; i < KEYS; i++)
        CHECK(out[i] == naive(rules, n, &keys[i]));
    fc_table_free(built);
    return FC_OK;
}

static void nothing(void *about) { (void)about; }

/* ---- Classifiers -------------------------------------------------------------------------------- */

typedef struct set {
    fc_classifier *classifier;
    fc_rule rule[RULES + 64];
    double priority[RULES + 64];
    uint8_t alive[RULES + 64];
    uint32_t limit;
    fc_rule next;
    double next_priority;
    uint32_t gone;
} set;

static void set_intact(void *about)
{
    const set *s = about;
    int32_t out[KEYS];
    CHECK(fc_classifier_lookup(s->classifier, keys, KEYS, out, FC_KERNEL_AUTO) == FC_OK);
    for (uint32_t i = 0; i < KEYS; i++) {
        int32_t best = -1;
        for (uint32_t j = 0; j < s->limit; j++)
            if (s->alive[j] && fc_rule_matches(&s->rule[j], &keys[i]) &&
                (best < 0 || s->priority[j] < s->priority[best]))
                best = (int32_t)j;
        CHECK(out[i] == best);
    }
    fc_table_info info;
    uint32_t count = 0;
    for (uint32_t j = 0; j < s->limit; j++)
        count += s->alive[j];
    fc_classifier_get_info(s->classifier, &info);
    CHECK(info.rules == count);
}

static int insert_rule(void *about)
{
    set *s = about;
    uint32_t id = UINT32_MAX, done = 7;
    int status = fc_classifier_insert(s->classifier, &s->next, &s->next_priority, 1, &id, &done);
    CHECK(done == (status == FC_OK));
    if (status == FC_OK) {
        CHECK(id < RULES + 64 && !s->alive[id]);
        s->rule[id] = s->next;
        s->priority[id] = s->next_priority;
        s->alive[id] = 1;
        s->limit = id >= s->limit ? id + 1 : s->limit;
    }
    return status;
}

static int remove_rule(void *about)
{
    set *s = about;
    uint32_t done = 7;
    while (!s->alive[s->gone])
        s->gone = (s->gone + 1) % s->limit;
    int status = fc_classifier_remove(s->classifier, &s->gone, 1, &done);
    CHECK(done == (status == FC_OK));
    if (status == FC_OK)
        s->alive[s->gone] = 0;
    return status;
}

static int rebuild_rules(void *about) { return fc_classifier_rebuild(((set *)about)->classifier); }

static int new_classifier(void *about)
{
    fc_classifier *c = NULL;
    int status = fc_classifier_new(rules, *(uint32_t *)about, NULL, &c, NULL);
    CHECK((c == NULL) == (status != FC_OK));
    fc_classifier_free(c);
    return status;
}

static void classifiers(uint32_t n)
{
    static set s;
    memset(&s, 0, sizeof s);
    CHECK(fc_classifier_new(rules, n, NULL, &s.classifier, NULL) == FC_OK);
    for (s.limit = 0; s.limit < n; s.limit++) {
        s.rule[s.limit] = rules[s.limit];
        s.priority[s.limit] = s.limit;
        s.alive[s.limit] = 1;
    }
    for (int i = 0; i < 8; i++) { /* the first of them builds the forests that take updates */
        s.next = random_rule(i < 4 ? FC_SOURCE_PORT | FC_PROTOCOL : 0xff);
        s.next_priority = (double)below(n + 1) - 0.5;
        each_allocation(insert_rule, set_intact, &s);
        s.gone = (uint32_t)below(s.limit);
        each_allocation(remove_rule, set_intact, &s);
    }
    each_allocation(rebuild_rules, set_intact, &s);
    fc_classifier_free(s.classifier);
}

/* ---- The forwarding table ----------------------------------------------------------------------- */

enum { NODES = 40, FLOWS = 80 };
static const uint8_t secret[16] = "0123456789abcdef";

typedef struct nodes {
    fc_fib *fib;
    uint8_t mark[NODES]; /* what the node's first target ends with; 0: no node */
    uint32_t i, flows, addresses;
    uint8_t next;
} nodes;

static fc_address home_of(uint32_t i) { return (fc_address){{0x20010db800000000u, i + 1}, 6, 128, {0}}; }

static int publish_node(void *about)
{
    nodes *t = about;
    fc_target targets[2] = {{.bid = 1, .version = 6}, {.bid = 2, .version = 6}};
    targets[0].address[15] = t->next;
    fc_flow flows[FLOWS];
    memset(flows, 0, sizeof flows);
    for (uint32_t j = 0; j < t->flows; j++) {
        flows[j].rule = rules[j];
        flows[j].rule.conditions &= (uint8_t)~FC_DESTINATION;
        flows[j].fid = (uint16_t)(j + 1);
        flows[j].action = FC_ACTION_DISCARD;
    }
    const uint16_t flow_targets[2] = {0, 1};
    fc_address also[2] = {{{0, 0x0a000000u + t->i}, 4, 32, {0}}, {{0x20010db8ffff0000u, t->i}, 6, 128, {0}}};
    fc_address prefix = {{0x20010db900000000u + ((uint64_t)t->i << 8), 0}, 6, 56, {0}};
    fc_node node = {.home = home_of(t->i),
                    .also = also,
                    .prefixes = &prefix,
                    .targets = targets,
                    .flows = flows,
                    .flow_targets = flow_targets,
                    .n_also = t->addresses,
                    .n_prefixes = t->addresses > 1,
                    .n_targets = 2,
                    .n_flows = t->flows,
                    .n_flow_targets = 2,
                    .default_target = 0};
    int status = fc_fib_publish(t->fib, &node, NULL);
    if (status == FC_OK)
        t->mark[t->i] = t->next;
    return status;
}

static int withdraw_node(void *about)
{
    nodes *t = about;
    fc_address home = home_of(t->i);
    int status = fc_fib_withdraw(t->fib, &home);
    if (status == FC_OK)
        t->mark[t->i] = 0;
    return status == FC_ENOENT && !t->mark[t->i] ? FC_OK : status;
}

static void nodes_intact(void *about)
{
    nodes *t = about;
    fc_fib_info info;
    uint64_t count = 0;
    for (uint32_t i = 0; i < NODES; i++) { /* no flow matches a key of a link-local source without ports */
        fc_key k = {.destination = {0x20010db800000000u, i + 1}, .version = 6, .present = FC_DESTINATION};
        fc_decision d;
        CHECK(fc_fib_classify(t->fib, &k, 1, FC_KERNEL_AUTO, 1, &d) == FC_OK);
        CHECK(!(d.flags & FC_HAS_NODE) == !t->mark[i]);
        CHECK(d.action != FC_ACTION_FORWARD || d.care_of[15] == t->mark[i]);
        count += t->mark[i] != 0;
    }
    fc_fib_get_info(t->fib, &info);
    CHECK(info.nodes == count);
}

static int new_fib(void *about)
{
    fc_fib *fib = NULL;
    int status = fc_fib_new(secret, &fib);
    CHECK((fib == NULL) == (status != FC_OK));
    fc_fib_free(fib);
    (void)about;
    return status;
}

static void forwarding(void)
{
    static nodes t;
    memset(&t, 0, sizeof t);
    each_allocation(new_fib, nothing, NULL);
    CHECK(fc_fib_new(secret, &t.fib) == FC_OK);
    for (int step = 0; step < 600; step++) {
        t.i = (uint32_t)below(NODES);
        t.next = (uint8_t)(1 + below(255));
        t.flows = below(4) ? (uint32_t)below(6) : (uint32_t)below(FLOWS);
        t.addresses = (uint32_t)below(3);
        if (step % 5 == 4)
            each_allocation(withdraw_node, nodes_intact, &t);
        else
            each_allocation(publish_node, nodes_intact, &t);
    }
    fc_fib_free(t.fib);
}

/* ---- The other constructors --------------------------------------------------------------------- */

static int new_others(void *about)
{
    fc_tally *tally = NULL;
    fc_ids *ids = NULL;
    fc_fragments *fragments = NULL;
    fc_capture *capture = NULL;
    int status = fc_tally_new(&tally);
    status = status == FC_OK ? fc_ids_new(4, 100, 1, &ids) : status;
    status = status == FC_OK ? fc_fragments_new(100, secret, &fragments) : status;
    status = status == FC_OK ? fc_capture_new(&capture) : status;
    CHECK(!capture == (status != FC_OK));
    fc_tally_free(tally);
    fc_ids_free(ids);
    fc_fragments_free(fragments);
    fc_capture_free(capture);
    (void)about;
    return status;
}

/* One packet for a home address, counted while memory fails: a tally that says FC_ENOMEM counts on later. */
static int count_packets(void *about)
{
    fc_fib *fib = about;
    static uint8_t file[24 + 300 * (16 + 40)] = {0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0};
    fc_tally *tally = NULL;
    fc_capture *capture = NULL;
    size_t used;
    fc_parse_options options = {0, NULL};
    file[20] = 101;
    for (uint32_t i = 0; i < 300; i++) {
        uint8_t *p = file + 24 + i * 56;
        p[0] = 1;
        p[8] = p[12] = 40;
        p[16] = 0x60;
        p[16 + 6] = 59;
        p[16 + 8] = p[16 + 24] = 0x20;
        p[16 + 22] = (uint8_t)(i >> 8);
        p[16 + 23] = (uint8_t)i;
    }
    int status = fc_tally_new(&tally);
    if (status == FC_OK)
        status = fc_capture_new(&capture);
    if (status == FC_OK)
        status = fc_tally_read(tally, capture, fib, &options, file, sizeof file, 1, &used);
    if (status >= 0)
        status = fc_tally_decide(tally, fib);
    if (status == FC_OK) {
        fc_tally_totals totals;
        fc_tally_get(tally, &totals);
        CHECK(totals.packets == 300 && totals.decisions == 1);
    }
    fc_tally_free(tally);
    fc_capture_free(capture);
    return status;
}

int main(void)
{
    fc_fib *fib;
    for (uint32_t i = 0; i < RULES; i++)
        rules[i] = random_rule(0xff);
    for (uint32_t i = 0; i < KEYS; i++)
        keys[i] = random_key(rules, RULES);
    for (uint32_t n = 3; n <= RULES; n += n < 80 ? 77 : RULES - n ? RULES - n : 1)
        each_allocation(build_table, nothing, &n);
    printf("oom: tables, %ld failures\n", failed);
    for (uint32_t n = 30; n < RULES; n += 300) {
        each_allocation(new_classifier, nothing, &n);
        classifiers(n);
    }
    printf("oom: classifiers, %ld failures\n", failed);
    forwarding();
    printf("oom: forwarding table, %ld failures\n", failed);
    each_allocation(new_others, nothing, NULL);
    CHECK(fc_fib_new(secret, &fib) == FC_OK);
    each_allocation(count_packets, nothing, fib);
    fc_fib_free(fib);
    printf("oom: ok, %ld failures\n", failed);
    return 0;
}
