/* The forwarding table in C: the worked example of publish.c, nodes against the definition of a match, memory that is
 * given back, and readers beside writers (under ThreadSanitizer too: make tsan). */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "fib/search.h"
#include "guard.h"

static const uint8_t secret[16] = "0123456789abcdef";
static int quick;

static fc_address address6(uint64_t hi, uint64_t lo) { return (fc_address){{hi, lo}, 6, 128, {0}}; }

static fc_target target(uint16_t bid, uint8_t a, uint8_t b)
{
    fc_target t = {.bid = bid, .version = 6};
    t.address[0] = 0x20;
    t.address[14] = a;
    t.address[15] = b;
    return t;
}

static fc_key key_to(uint64_t hi, uint64_t lo)
{
    return (fc_key){.destination = {hi, lo},
                    .source = {0x20010db8000c0000u, 1},
                    .source_port = 22,
                    .destination_port = 999,
                    .protocol = 6,
                    .version = 6,
                    .present = 0xff & ~FC_SPI};
}

static fc_decision ask(fc_fib *fib, fc_key k)
{
    fc_decision d[3];
    for (int kernel = 0, n = 0; kernel < FC_KERNEL_COUNT; kernel++) {
        if (fc_kernel_check(kernel) != FC_OK)
            continue;
        fc_key keys[9] = {k, k, k, k, k, k, k, k, k};
        fc_decision out[9];
        CHECK(fc_fib_classify(fib, keys, 9, kernel, 1, out) == FC_OK);
        for (int i = 1; i < 9; i++)
            CHECK(memcmp(&out[0], &out[i], sizeof out[0]) == 0);
        d[n > 0] = out[0];
        CHECK(n == 0 || memcmp(&d[0], &d[1], sizeof d[0]) == 0);
        n++;
    }
    return d[0];
}

/* ---- The example at the head of fib.c ----------------------------------------------------------- */

static void example(void)
{
    fc_fib *fib;
    CHECK(fc_fib_new(secret, &fib) == FC_OK);
    fc_target targets[2] = {target(1, 0xa, 1), target(2, 0xb, 1)};
    fc_flow flows[3] = {
        {.rule = {.version = 6,
                  .conditions = FC_SOURCE_PORT | FC_PROTOCOL,
                  .source_port_first = 22,
                  .source_port_last = 22,
                  .protocol_first = 6,
                  .protocol_last = 6},
         .fid = 1,
         .action = FC_ACTION_FORWARD,
         .n_targets = 1,
         .targets = 0},
        {.rule = {.version = 6,
                  .conditions = FC_SOURCE,
                  .source_first = {0x20010db8000c0000u, 0},
                  .source_last = {0x20010db8000c0000u, UINT64_MAX}},
         .fid = 2,
         .action = FC_ACTION_NCAST,
         .n_targets = 2,
         .targets = 1},
        {.rule = {.conditions = FC_DESTINATION_PORT, .destination_port_first = 6000, .destination_port_last = 7000},
         .fid = 3,
         .action = FC_ACTION_DISCARD},
    };
    uint16_t indices[3] = {0, 1, 0};
    fc_address prefix = {{0x20010db801000000u, 0}, 6, 56, {0}};
    fc_node node = {.home = address6(0x20010db800010000u, 1),
                    .prefixes = &prefix,
                    .n_prefixes = 1,
                    .targets = targets,
                    .n_targets = 2,
                    .flows = flows,
                    .n_flows = 3,
                    .flow_targets = indices,
                    .n_flow_targets = 3,
                    .default_target = 1};
    CHECK(fc_fib_publish(fib, &node, NULL) == FC_OK);
    const fib_record *r = (const fib_record *)(const void *)fib_at(&fib->arena, 2);
    const fib_signature expected[3] = {{{0, 22, 0}, 13}, {{1, 0, 1}, 15}, {{0, 0, 0}, 17}};
    CHECK(r->n == 3 && r->units == 3 && r->pick[0] == 0 && r->pick[1] == 40 && r->pick[2] == 1);
    CHECK(memcmp(fib_signatures(r), expected, sizeof expected) == 0);
    fc_key k = key_to(0x20010db800010000u, 1);
    fc_decision d = ask(fib, k);
    CHECK(d.action == FC_ACTION_FORWARD && d.reason == FC_REASON_FLOW && d.fid == 1 && d.bid == 1);
    k.source_port = 80;
    d = ask(fib, k);
    CHECK(d.action == FC_ACTION_NCAST && d.fid == 2 && d.n_targets == 2 && !(d.flags & FC_HAS_BID));
    fc_target copies[FC_MAX_FANOUT];
    CHECK(fc_fib_targets(fib, &d, copies, FC_MAX_FANOUT) == 2 && copies[0].bid == 2 && copies[1].bid == 1);
    k.source[0]++;
    d = ask(fib, k);
    CHECK(d.action == FC_ACTION_FORWARD && d.reason == FC_REASON_DEFAULT && d.bid == 2 && !(d.flags & FC_HAS_FID));
    k.destination[0] = 0x20010db8010000ffu;
    k.destination_port = 6500;
    d = ask(fib, k);
    CHECK(d.action == FC_ACTION_DISCARD && d.fid == 3);
    k.destination[0] = 0x20010db801000100u;
    d = ask(fib, k);
    CHECK(d.action == FC_ACTION_NONE && d.reason == FC_REASON_UNBOUND && !(d.flags & FC_HAS_NODE));
    fc_fib_free(fib);
}

/* ---- Against fc_rule_matches -------------------------------------------------------------------- */

#define MANY 130
typedef struct model {
    fc_flow flows[MANY];
    fc_target targets[4];
    uint16_t indices[MANY];
    fc_node node;
} model;

static void random_range(uint32_t top, uint32_t *first, uint32_t *last)
{
    *first = random_below(top);
    *last = random_below(3) ? *first : *first + random_below(top - *first);
}

static void random_model(model *m, uint32_t i, uint32_t n_flows)
{
    memset(m, 0, sizeof *m);
    m->node = (fc_node){.home = address6(0x2001000000000000u, i),
                        .targets = m->targets,
                        .n_targets = 4,
                        .flows = m->flows,
                        .n_flows = n_flows,
                        .flow_targets = m->indices,
                        .n_flow_targets = n_flows,
                        .default_target = 3};
    if (i % 3 == 0)
        m->node.home = (fc_address){{0, i}, 4, 32, {0}};
    for (int t = 0; t < 4; t++)
        m->targets[t] = target((uint16_t)(t + 1), (uint8_t)i, (uint8_t)t);
    for (uint32_t f = 0; f < n_flows; f++) {
        fc_rule *r = &m->flows[f].rule;
        uint32_t a, b;
        r->version = m->node.home.version;
        r->conditions = (uint8_t)(random_below(256) & random_below(256) & ~FC_DESTINATION);
        random_range(16, &a, &b);
        r->source_first[1] = a << 4;
        r->source_last[1] = b << 4 | 15;
        random_range(16, &a, &b);
        r->source_port_first = (uint16_t)(a * 256), r->source_port_last = (uint16_t)(b * 256 + 255);
        random_range(16, &a, &b);
        r->destination_port_first = (uint16_t)a, r->destination_port_last = (uint16_t)b;
        random_range(16, &r->flow_label_first, &r->flow_label_last);
        random_range(16, &r->spi_first, &r->spi_last);
        random_range(16, &a, &b);
        r->protocol_first = (uint8_t)a, r->protocol_last = (uint8_t)b;
        random_range(16, &a, &b);
        r->traffic_class_first = (uint8_t)(a * 4), r->traffic_class_last = (uint8_t)(b * 4);
        m->flows[f].fid = (uint16_t)(f + 1);
        m->flows[f].action = FC_ACTION_FORWARD;
        m->flows[f].n_targets = 1;
        m->flows[f].targets = f;
        m->indices[f] = (uint16_t)random_below(4);
    }
}

static fc_key random_key(const model *m)
{
    fc_key k = {.source = {0, random_below(256)},
                .flow_label = random_below(16),
                .spi = random_below(16),
                .source_port = (uint16_t)random_below(4096),
                .destination_port = (uint16_t)random_below(16),
                .traffic_class = (uint8_t)random_below(64),
                .protocol = (uint8_t)random_below(16),
                .present = (uint8_t)(random_below(256) | random_below(256) | FC_DESTINATION)};
    k.destination[0] = m->node.home.words[0];
    k.destination[1] = m->node.home.words[1];
    k.version = m->node.home.version;
    return k;
}

static void check_decision(const model *m, const fc_key *k, const fc_decision *d)
{
    uint32_t f = 0;
    while (f < m->node.n_flows && !fc_rule_matches(&m->flows[f].rule, k))
        f++;
    uint32_t t = f < m->node.n_flows ? m->indices[f] : 3;
    CHECK(d->reason == (f < m->node.n_flows ? FC_REASON_FLOW : FC_REASON_DEFAULT));
    CHECK(d->fid == (f < m->node.n_flows ? f + 1 : 0) && d->bid == t + 1);
    CHECK(memcmp(d->care_of, m->targets[t].address, 16) == 0);
}

/* Keys, results and packets end where memory ends. */
static void against_the_definition(void)
{
    enum { NODES = 60, KEYS = 2 * 128 + 3 };
    static const uint32_t sizes[] = {0, 1, 2, 7, 16, 17, 33, 64, 65, MANY};
    static model models[NODES];
    fc_fib *fib;
    CHECK(fc_fib_new(secret, &fib) == FC_OK);
    for (uint32_t i = 0; i < NODES; i++) {
        random_model(&models[i], i, sizes[i % 10]);
        CHECK(fc_fib_publish(fib, &models[i].node, NULL) == FC_OK);
    }
    fc_key *keys = (fc_key *)(void *)guarded_end(KEYS * sizeof *keys) - KEYS;
    fc_decision *out = (fc_decision *)(void *)guarded_end(KEYS * sizeof *out) - KEYS;
    for (int round = 0; round < (quick ? 3 : 100); round++) {
        const model *of[KEYS];
        for (int i = 0; i < KEYS; i++) {
            of[i] = &models[random_below(NODES)];
            keys[i] = random_key(of[i]);
        }
        for (int kernel = 0; kernel < FC_KERNEL_COUNT; kernel++) {
            int first = round % KEYS;
            int status = fc_fib_classify(fib, keys + first, (size_t)(KEYS - first), kernel, 1, out + first);
            CHECK(status == fc_kernel_check(kernel));
            for (int i = first; status == FC_OK && i < KEYS; i++)
                check_decision(of[i], &keys[i], &out[i]);
        }
    }
    fc_fib_free(fib);
}

/* Nodes whose flows are in a table, because there are many or because signatures tell nothing of them, change flow by
 * flow, and sometimes in nothing but a target. Their tables are built with all care, or soon, or are used again. */
static void flow_by_flow(void)
{
    static const uint32_t sizes[] = {40, 64, 65, MANY};
    static model m, other;
    fc_fib *fib;
    fc_fib_info empty = {0}, info;
    CHECK(fc_fib_new(secret, &fib) == FC_OK);
    for (uint32_t i = 0; i < 8; i++) {
        random_model(&m, i, sizes[i % 4]);
        for (uint32_t f = 0; f < m.node.n_flows && i >= 4; f++) /* ranges alone: no octet tells them apart */
            m.flows[f].rule.conditions &= FC_SPI | FC_FLOW_LABEL | FC_TRAFFIC_CLASS;
        for (int round = 0; round < (quick ? 70 : 200); round++) {
            fc_key keys[70];
            fc_decision out[70];
            random_model(&other, i, sizes[i % 4]);
            uint32_t f = random_below(m.node.n_flows);
            if (random_below(8))
                m.flows[f].rule = other.flows[f].rule;
            m.indices[f] = other.indices[f];
            CHECK(fc_fib_publish(fib, &m.node, NULL) == FC_OK);
            for (int k = 0; k < 70; k++)
                keys[k] = random_key(&m);
            for (int kernel = 0; kernel < FC_KERNEL_COUNT; kernel++) {
                if (fc_kernel_check(kernel) != FC_OK)
                    continue;
                CHECK(fc_fib_classify(fib, keys, 70, kernel, 1, out) == FC_OK);
                for (int k = 0; k < 70; k++)
                    check_decision(&m, &keys[k], &out[k]);
            }
        }
        CHECK(fc_fib_withdraw(fib, &m.node.home) == FC_OK);
        fc_fib_reclaim(fib);
        fc_fib_get_info(fib, &info);
        if (i == 3)
            empty = info;
        CHECK(info.waiting == 0 && (i < 4 || info.bytes == empty.bytes)); /* tables that were shared went once */
    }
    fc_fib_free(fib);
}

/* The record of a node of n flows: `wild` of them take any packet, each of the others one of `ports` source ports. */
static const fib_record *record_with(fc_fib *fib, uint32_t n, uint32_t wild, uint32_t ports)
{
    fc_flow flows[FIB_LINEAR];
    const fc_target t = target(1, 0, 0);
    for (uint32_t i = 0; i < n; i++) {
        uint16_t port = (uint16_t)(0x1111 * (1 + i % ports));
        flows[i] = (fc_flow){
            .rule = {.conditions = i < wild ? 0 : FC_SOURCE_PORT, .source_port_first = port, .source_port_last = port},
            .fid = (uint16_t)(i + 1),
            .action = FC_ACTION_DISCARD};
    }
    fc_node node = {.home = address6(1, 1), .targets = &t, .flows = flows, .n_targets = 1, .n_flows = n};
    uint32_t number;
    CHECK(fc_fib_publish(fib, &node, &number) == FC_OK);
    return (const fib_record *)(const void *)fib_at(&fib->arena, atomic_load(&fib_node_place(fib, number)->ref));
}

/* A flow that takes any packet looks like every other, but a key has as candidates only those, and the flows of one
 * port. */
static void few_flows_have_a_table_if_one_key_has_many_candidates(void)
{
    fc_fib *fib;
    CHECK(fc_fib_new(secret, &fib) == FC_OK);
    CHECK(!(record_with(fib, FIB_LINEAR, FIB_ALIKE - 4, 14)->flags & FIB_BIG)); /* 8, and 4 of each port */
    CHECK(record_with(fib, FIB_LINEAR, FIB_ALIKE - 3, 14)->flags & FIB_BIG);
    CHECK(!(record_with(fib, 16, 1, 15)->flags & FIB_BIG));
    CHECK(!(record_with(fib, FIB_ALIKE, FIB_ALIKE, 1)->flags & FIB_BIG));
    CHECK(record_with(fib, FIB_ALIKE + 1, FIB_ALIKE + 1, 1)->flags & FIB_BIG);
    CHECK(record_with(fib, FIB_ALIKE + 1, 0, 1)->flags & FIB_BIG);
    fc_fib_free(fib);
}

/* ---- Prefixes of many lengths, in one another --------------------------------------------------------- */

/* A prefix of any length of one of a few addresses, which share their first bits, so that prefixes lie in one another.
 */
static fc_address random_prefix(void)
{
    fc_address a = {{0x2001000000000000u | random_below(4) << 20, (uint64_t)random_below(4) << 40 | random_below(4)},
                    6,
                    (uint8_t)(1 + random_below(128)),
                    {0}};
    if (random_below(2))
        a = (fc_address){
            {0, 0x0a000000u | random_below(4) << 12 | random_below(4)}, 4, (uint8_t)(1 + random_below(32)), {0}};
    fib_mask(a.words, a.version, a.length, a.words);
    return a;
}

static int has_prefix(const fc_node *node, const fc_key *k, unsigned length)
{
    uint64_t network[2];
    for (uint32_t i = 0; i < node->n_prefixes; i++) {
        const fc_address *p = &node->prefixes[i];
        fib_mask(k->destination, k->version, length, network);
        if (p->version == k->version && p->length == length && memcmp(network, p->words, 16) == 0)
            return 1;
    }
    return 0;
}

static void longest_prefix_wins(void)
{
    enum { NODES = 12, PREFIXES = 24, KEYS = 70 };
    static fc_address prefixes[NODES][PREFIXES];
    static fc_node nodes[NODES];
    fc_fib *fib;
    CHECK(fc_fib_new(secret, &fib) == FC_OK);
    for (int round = 0; round < (quick ? 60 : 1500); round++) {
        uint32_t i = random_below(NODES);
        fc_node node = {
            .home = address6(0x3001000000000000u, i), .prefixes = prefixes[i], .default_target = FC_NO_TARGET};
        nodes[i] = node;
        if (random_below(4) == 0) {
            (void)fc_fib_withdraw(fib, &node.home); /* it may not be there */
        } else {
            for (uint32_t wanted = 1 + random_below(PREFIXES); nodes[i].n_prefixes < wanted;)
                prefixes[i][nodes[i].n_prefixes++] = random_prefix();
            if (fc_fib_publish(fib, &nodes[i], NULL) != FC_OK) { /* a prefix twice, or another node's */
                nodes[i].n_prefixes = 0;
                (void)fc_fib_withdraw(fib, &node.home);
            }
        }
        fc_key keys[KEYS];
        fc_decision out[KEYS];
        for (int k = 0; k < KEYS; k++) {
            fc_address a = random_prefix();
            keys[k] = key_to(a.words[0], a.words[1] ^ random_below(3));
            keys[k].version = a.version;
        }
        for (int kernel = 0; kernel < FC_KERNEL_COUNT; kernel++) {
            if (fc_kernel_check(kernel) != FC_OK)
                continue;
            CHECK(fc_fib_classify(fib, keys, KEYS, kernel, 1, out) == FC_OK);
            for (int k = 0; k < KEYS; k++) {
                int length = keys[k].version == 4 ? 32 : 128;
                uint32_t of = NODES;
                for (; length > 0 && of == NODES; length--)
                    for (uint32_t n = 0; n < NODES && of == NODES; n++)
                        of = has_prefix(&nodes[n], &keys[k], (unsigned)length) ? n : NODES;
                fc_address home = {{0}, 0, 0, {0}};
                CHECK(!(out[k].flags & FC_HAS_NODE) == (of == NODES));
                CHECK(of == NODES || (fc_fib_decider(fib, &out[k], &home) == FC_OK && home.words[1] == of));
            }
        }
    }
    fc_fib_free(fib);
}

/* Addresses that differ in their bits 31, 63, 95 and 127 alone have the same tag in half of all tables. With few nodes
 * they are often in one bucket, or in the one behind it. */
static void entries_that_are_gone_hide_no_others(void)
{
    enum { NODES = 64 };
    const uint64_t top = (uint64_t)1 << 63, middle = (uint64_t)1 << 31;
    fc_target targets[1] = {target(1, 0xa, 1)};
    for (uint32_t round = 0; round < (quick ? 40 : 400); round++) {
        uint8_t other[16];
        memcpy(other, secret, sizeof other);
        memcpy(other, &round, sizeof round);
        fc_fib *fib;
        CHECK(fc_fib_new(other, &fib) == FC_OK);
        fc_address homes[NODES], networks[NODES];
        fc_key keys[NODES];
        int by_prefix = round % 2;
        for (uint32_t i = 0; i < NODES; i++) {
            uint64_t hi = (0x20010db800000001u + i / 16) ^ (i & 1 ? top : 0) ^ (i & 2 ? middle : 0);
            uint64_t lo = 1 ^ (i & 4 ? top : 0) ^ (i & 8 ? middle : 0);
            keys[i] = key_to(hi, lo);
            networks[i] = address6(hi, lo);
            homes[i] = by_prefix ? address6(0x3001000000000000u, i) : networks[i];
            fc_node node = {.home = homes[i],
                            .prefixes = &networks[i],
                            .n_prefixes = (uint32_t)by_prefix,
                            .targets = targets,
                            .n_targets = 1};
            CHECK(fc_fib_publish(fib, &node, NULL) == FC_OK);
        }
        for (uint32_t i = 0; i < NODES; i++) {
            fc_decision out[NODES];
            CHECK(fc_fib_withdraw(fib, &homes[i]) == FC_OK);
            for (int kernel = 0; kernel < FC_KERNEL_COUNT; kernel++) {
                if (fc_kernel_check(kernel) != FC_OK)
                    continue;
                CHECK(fc_fib_classify(fib, keys, NODES, kernel, 1, out) == FC_OK);
                for (uint32_t j = 0; j < NODES; j++)
                    CHECK(out[j].action == (j > i ? FC_ACTION_FORWARD : FC_ACTION_NONE));
            }
        }
        fc_fib_free(fib);
    }
}

static void memory_is_given_back(void)
{
    static model m;
    fc_fib *fib;
    fc_fib_info info, before;
    CHECK(fc_fib_new(secret, &fib) == FC_OK);
    for (uint32_t i = 0; i < 300; i++) {
        random_model(&m, i, i % 70);
        CHECK(fc_fib_publish(fib, &m.node, NULL) == FC_OK);
    }
    fc_fib_get_info(fib, &before);
    CHECK(before.nodes == 300 && before.addresses == 300);
    for (int round = 0; round < (quick ? 2 : 20); round++)
        for (uint32_t i = 0; i < 300; i++) {
            random_model(&m, i, i % 70);
            CHECK(fc_fib_publish(fib, &m.node, NULL) == FC_OK);
        }
    fc_fib_reclaim(fib);
    fc_fib_get_info(fib, &info);
    CHECK(info.nodes == 300 && info.waiting == 0 && info.freed > before.freed);
    CHECK(info.bytes < before.bytes * 3 / 2);
    for (uint32_t i = 0; i < 300; i++)
        CHECK(fc_fib_withdraw(fib, &(fc_address){{i % 3 ? 0x2001000000000000u : 0, i}, i % 3 ? 6 : 4, 0, {0}}) ==
              FC_OK);
    fc_fib_reclaim(fib);
    fc_fib_get_info(fib, &info);
    CHECK(info.nodes == 0 && info.addresses == 0 && info.waiting == 0);
    fc_fib_free(fib);
}

/* Threads meet only if they run for longer than the scheduler's time slices. */
static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
static int64_t end_of_run(void) { return now_ms() + (quick ? 300 : 1500); }

/* ---- Readers beside a writer
 * ----------------------------------------------------------------------------------------- */

/* Node i in version v sends flow 1 to (v, 1) and the rest to (v, 0), has v % 5 flows more (v % 11 == 0: 70), and in
 * even versions a further address and a prefix. Its state says v in two octets of every target. */
enum { CHANGING = 8, MOST_OTHERS = 4000 };
#define ALSO(i) address6(0xa150000000000000u, (i))
#define NET(i) ((fc_address){{0xde7000000000000u + ((uint64_t)(i) << 8), 0}, 6, 56, {0}})

typedef struct race {
    fc_fib *fib;
    _Atomic uint32_t begun[CHANGING], done[CHANGING], stop;
    int kernel;
} race;

static void publish_version(race *r, uint32_t i, uint32_t v)
{
    enum { MOST = 75 };
    fc_target targets[2];
    static _Thread_local fc_flow flows[MOST];
    uint16_t indices[2] = {0, 1};
    fc_address also = ALSO(i), net = NET(i);
    uint32_t n = 1 + (v % 11 == 0 ? 70 : v % 5);
    for (int t = 0; t < 2; t++) {
        targets[t] = target((uint16_t)(t + 1), (uint8_t)i, (uint8_t)t);
        memcpy(targets[t].address + 4, &v, 4);
    }
    memset(flows, 0, sizeof flows);
    for (uint32_t f = 0; f < n; f++) {
        flows[f] = (fc_flow){.rule = {.conditions = FC_SOURCE_PORT, .source_port_first = 100, .source_port_last = 100},
                             .fid = (uint16_t)(f + 10),
                             .action = FC_ACTION_DISCARD};
        if (f + 1 == n) { /* the last one is what the readers' packets match */
            flows[f].rule.source_port_first = flows[f].rule.source_port_last = 22;
            flows[f].fid = 1;
            flows[f].action = FC_ACTION_FORWARD;
            flows[f].n_targets = 1;
            flows[f].targets = 1;
        }
    }
    int even = v % 2 == 0;
    fc_node node = {.home = address6(0x2002000000000000u, i),
                    .also = &also,
                    .n_also = even,
                    .prefixes = &net,
                    .n_prefixes = even,
                    .targets = targets,
                    .n_targets = 2,
                    .flows = flows,
                    .n_flows = n,
                    .flow_targets = indices,
                    .n_flow_targets = 2,
                    .default_target = 0};
    atomic_store(&r->begun[i], v);
    CHECK(fc_fib_publish(r->fib, &node, NULL) == FC_OK);
    atomic_store(&r->done[i], v);
}

static void publish_addresses(fc_fib *fib, fc_address home, const fc_address *also, uint32_t n_also,
                              const fc_address *prefixes, uint32_t n_prefixes)
{
    const fc_target t = target(1, 0, 0);
    const fc_node node = {.home = home,
                          .also = also,
                          .prefixes = prefixes,
                          .targets = &t,
                          .n_also = n_also,
                          .n_prefixes = n_prefixes,
                          .n_targets = 1};
    CHECK(fc_fib_publish(fib, &node, NULL) == FC_OK);
}

/* Another node, with a further address and a prefix: both indexes grow, and are copied, beside their readers. */
static void publish_another(fc_fib *fib, uint32_t n)
{
    const fc_address also = address6(0x2006000000000000u, n), net = {{0x2007000000000000u + n, 0}, 6, 64, {0}};
    publish_addresses(fib, address6(0x2005000000000000u, n), &also, 1, &net, 1);
}

static void *writer(void *arg)
{
    race *r = arg;
    for (uint32_t v = 2; !atomic_load(&r->stop); v++)
        for (uint32_t i = 0; i < CHANGING; i++) {
            publish_version(r, i, v);
            if (v < MOST_OTHERS)
                publish_another(r->fib, v * CHANGING + i);
        }
    return NULL;
}

static void check_answer(const fc_decision *d, const fc_key *k, uint32_t i, uint32_t least, uint32_t most, int home)
{
    if (!home && d->reason == FC_REASON_UNBOUND && most > least)
        return;
    if (!home && d->reason == FC_REASON_UNBOUND) {
        CHECK(least % 2 == 1 && !(d->flags & FC_HAS_NODE));
        return;
    }
    uint32_t v;
    memcpy(&v, d->care_of + 4, 4);
    CHECK(v >= least && v <= most);
    CHECK(home || v % 2 == 0);
    int flow = k->source_port == 22;
    CHECK(d->action == FC_ACTION_FORWARD && d->reason == (flow ? FC_REASON_FLOW : FC_REASON_DEFAULT) && d->fid == flow);
    CHECK(d->bid == flow + 1 && d->care_of[14] == i && d->care_of[15] == flow);
}

static void *reader(void *arg)
{
    race *r = arg;
    enum { N = 6 * CHANGING };
    fc_key keys[N];
    fc_decision out[N];
    for (uint32_t i = 0; i < N; i++) {
        uint32_t node = i % CHANGING;
        fc_address net = NET(node);
        keys[i] = i / CHANGING % 3 == 0   ? key_to(0x2002000000000000u, node)
                  : i / CHANGING % 3 == 1 ? key_to(ALSO(0).words[0], node)
                                          : key_to(net.words[0] + 7, 99);
        keys[i].source_port = i < N / 2 ? 22 : 23;
    }
    for (int64_t end = end_of_run(); now_ms() < end;) {
        uint32_t least[CHANGING];
        for (int i = 0; i < CHANGING; i++)
            least[i] = atomic_load(&r->done[i]);
        CHECK(fc_fib_classify(r->fib, keys, N, r->kernel, 1, out) == FC_OK);
        for (uint32_t i = 0; i < N; i++)
            check_answer(&out[i], &keys[i], i % CHANGING, least[i % CHANGING], atomic_load(&r->begun[i % CHANGING]),
                         i / CHANGING % 3 == 0);
    }
    return NULL;
}

static void readers_beside_a_writer(int kernel)
{
    static race r;
    pthread_t threads[3];
    memset(&r, 0, sizeof r);
    r.kernel = kernel;
    CHECK(fc_fib_new(secret, &r.fib) == FC_OK);
    for (uint32_t i = 0; i < CHANGING; i++)
        publish_version(&r, i, 1);
    CHECK(pthread_create(&threads[0], NULL, writer, &r) == 0);
    for (int i = 1; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, reader, &r) == 0);
    for (int i = 1; i < 3; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&r.stop, 1);
    pthread_join(threads[0], NULL);
    fc_fib_info info;
    fc_fib_reclaim(r.fib);
    fc_fib_get_info(r.fib, &info);
    CHECK(info.waiting == 0 && info.addresses > 100); /* FIRST_ENTRIES of publish.c is 64 */
    fc_fib_free(r.fib);
}

/* At any time an address is A's own, or in B's prefix, or both: never nobody's. Who looks first for one and then for
 * the other must not find neither. */
static const fc_address disputed = {{0x2003000000000000u, 5}, 6, 48, {0}},
                        around = {{0x2003000000000000u, 0}, 6, 48, {0}};

static void *taking_turns(void *arg)
{
    race *r = arg;
    fc_target t = target(1, 0, 0);
    fc_node a = {.home = disputed, .targets = &t, .n_targets = 1}, b = {.home = address6(0x2004000000000000u, 1),
                                                                        .prefixes = &around,
                                                                        .n_prefixes = 1,
                                                                        .targets = &t,
                                                                        .n_targets = 1};
    while (!atomic_load(&r->stop)) {
        CHECK(fc_fib_publish(r->fib, &a, NULL) == FC_OK);
        CHECK(fc_fib_withdraw(r->fib, &b.home) == FC_OK);
        CHECK(fc_fib_publish(r->fib, &b, NULL) == FC_OK);
        CHECK(fc_fib_withdraw(r->fib, &a.home) == FC_OK);
    }
    return NULL;
}

static void never_nobodys(void)
{
    static race r;
    pthread_t thread;
    fc_target t = target(1, 0, 0);
    fc_node b = {
        .home = address6(0x2004000000000000u, 1), .prefixes = &around, .n_prefixes = 1, .targets = &t, .n_targets = 1};
    memset(&r, 0, sizeof r);
    CHECK(fc_fib_new(secret, &r.fib) == FC_OK);
    CHECK(fc_fib_publish(r.fib, &b, NULL) == FC_OK);
    CHECK(pthread_create(&thread, NULL, taking_turns, &r) == 0);
    fc_key keys[16];
    fc_decision out[16];
    for (int i = 0; i < 16; i++)
        keys[i] = key_to(disputed.words[0], disputed.words[1]);
    for (int64_t end = end_of_run(); now_ms() < end;) {
        CHECK(fc_fib_classify(r.fib, keys, 16, FC_KERNEL_AUTO, 1, out) == FC_OK);
        for (int i = 0; i < 16; i++)
            CHECK(out[i].reason == FC_REASON_DEFAULT);
    }
    atomic_store(&r.stop, 1);
    pthread_join(thread, NULL);
    fc_fib_free(r.fib);
}

/* Two nodes move an address of their own about, with one publish each time: it is among the node's addresses, then in a
 * short prefix, then in a long one, in every order. Whoever looks for it, one key at a time or many, must find the
 * node. Around the first node's address is another node's prefix, around the second's (IPv4) nothing. A fourth node
 * with prefixes of many lengths comes and goes, so that readers take the filter, too. */
enum { MOVERS = 2, LENGTHS = 10 };
#define MOVER(i) address6(0x2004000000000000u, (i))

static const fc_address moved[MOVERS][3] = {
    {{{0x2003000000000000u, 5}, 6, 128, {0}},
     {{0x2003000000000000u, 0}, 6, 56, {0}},
     {{0x2003000000000000u, 0}, 6, 96, {0}}},
    {{{0, 0x0a000005}, 4, 32, {0}}, {{0, 0x0a000000}, 4, 8, {0}}, {{0, 0x0a000000}, 4, 24, {0}}},
};

static void move(fc_fib *fib, uint32_t mover, uint32_t step)
{
    static const uint8_t order[] = {0, 1, 2, 0, 2, 1};
    uint32_t to = order[step % sizeof order];
    publish_addresses(fib, MOVER(mover), &moved[mover][to], to == 0, &moved[mover][to], to != 0);
}

static void *moving(void *arg)
{
    race *r = arg;
    fc_address prefixes[2 * LENGTHS], home = MOVER(MOVERS + 1);
    for (uint8_t i = 0; i < LENGTHS; i++) {
        prefixes[2 * i] = (fc_address){{0xff00000000000000u, 0}, 6, (uint8_t)(i + 10), {0}};
        prefixes[2 * i + 1] = (fc_address){{0, 0xe0000000u}, 4, (uint8_t)(i + 10), {0}};
    }
    for (uint32_t step = 0; !atomic_load(&r->stop); step++) {
        for (uint32_t mover = 0; mover < MOVERS; mover++)
            move(r->fib, mover, step);
        if (step % 512 == 0)
            publish_addresses(r->fib, MOVER(MOVERS + 1), NULL, 0, prefixes, 2 * LENGTHS);
        else if (step % 512 == 256)
            CHECK(fc_fib_withdraw(r->fib, &home) == FC_OK);
    }
    return NULL;
}

static void *seeking(void *arg)
{
    race *r = arg;
    enum { N = 20 };
    fc_key keys[N];
    fc_decision out[N];
    uint32_t together = atomic_fetch_add(&r->begun[0], 1) ? N : 1;
    for (uint32_t i = 0; i < N; i++) {
        const fc_address *a = &moved[i % MOVERS][0];
        keys[i] = key_to(a->words[0], a->words[1]);
        keys[i].version = a->version;
    }
    for (int64_t end = now_ms() + 300; now_ms() < end;) {
        for (uint32_t i = 0; i < N; i += together)
            CHECK(fc_fib_classify(r->fib, keys + i, together, r->kernel, 1, out + i) == FC_OK);
        for (uint32_t i = 0; i < N; i++)
            CHECK(out[i].flags & FC_HAS_NODE && out[i].node == i % MOVERS);
    }
    return NULL;
}

static void always_found(int kernel)
{
    static race r;
    pthread_t threads[3];
    const fc_address wide = {{0x2003000000000000u, 0}, 6, 32, {0}};
    memset(&r, 0, sizeof r);
    r.kernel = kernel;
    CHECK(fc_fib_new(secret, &r.fib) == FC_OK);
    for (uint32_t mover = 0; mover < MOVERS; mover++)
        move(r.fib, mover, 0);
    publish_addresses(r.fib, MOVER(MOVERS), NULL, 0, &wide, 1);
    CHECK(pthread_create(&threads[0], NULL, moving, &r) == 0);
    for (int i = 1; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, seeking, &r) == 0);
    for (int i = 1; i < 3; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&r.stop, 1);
    pthread_join(threads[0], NULL);
    fc_fib_free(r.fib);
}

/* ---- Decisions that are held while nodes come and go -------------------------------------------- */

static uint32_t publish_two(fc_fib *fib, uint64_t which, uint8_t mark)
{
    const fc_target targets[2] = {target(1, mark, 1), target(2, mark, 2)};
    const fc_flow flow = {.fid = 7, .action = FC_ACTION_NCAST, .n_targets = 2};
    const uint16_t both[2] = {0, 1};
    const fc_node node = {.home = address6(0x20010db800010000u, which),
                          .targets = targets,
                          .flows = &flow,
                          .flow_targets = both,
                          .n_targets = 2,
                          .n_flows = 1,
                          .n_flow_targets = 2,
                          .default_target = 0};
    uint32_t number;
    CHECK(fc_fib_publish(fib, &node, &number) == FC_OK);
    return number;
}

static void held_decisions(void)
{
    fc_fib *fib;
    fc_target out[FC_MAX_FANOUT];
    fc_address home;
    CHECK(fc_fib_new(secret, &fib) == FC_OK);
    uint32_t number = publish_two(fib, 1, 0xaa), again, seen = 0;
    fc_decision held = ask(fib, key_to(0x20010db800010000u, 1));
    CHECK(held.action == FC_ACTION_NCAST && fc_fib_targets(fib, &held, out, FC_MAX_FANOUT) == 2);
    CHECK(publish_two(fib, 1, 0xab) == number); /* replaced: its present targets */
    CHECK(fc_fib_targets(fib, &held, out, FC_MAX_FANOUT) == 2 && out[1].address[14] == 0xab);
    for (uint64_t i = 1; i < 5000; i++) { /* until another node has the number, and long after */
        home = address6(0x20010db800010000u, i);
        CHECK(fc_fib_withdraw(fib, &home) == FC_OK);
        again = publish_two(fib, i + 1, 0xbb);
        CHECK(fc_fib_targets(fib, &held, out, FC_MAX_FANOUT) == 1 && out[0].address[14] == 0xaa);
        CHECK(fc_fib_decider(fib, &held, &home) == FC_ENOENT);
        seen += again == number;
    }
    CHECK(seen > 0);
    fc_fib_free(fib);
}

/* ---- What is wrong with a node ------------------------------------------------------------------- */

/* Both calls refuse the node alike, the text says where, and a shorter one is the beginning of it. */
static void refused(fc_fib *fib, const fc_node *node, int status, const char *expected)
{
    char text[100], start[8];
    CHECK(fc_fib_check(fib, node, text, sizeof text) == status && strcmp(text, expected) == 0);
    CHECK(fc_fib_check(fib, node, start, sizeof start) == status && strncmp(start, expected, sizeof start - 1) == 0);
    CHECK(strlen(start) < sizeof start && fc_fib_check(fib, node, NULL, 0) == status);
    CHECK(fc_fib_publish(fib, node, NULL) == status);
}

static void faults_by_name(void)
{
    fc_fib *fib;
    fc_fib_info info;
    CHECK(fc_fib_new(secret, &fib) == FC_OK);
    publish_two(fib, 1, 0xaa);
    fc_target targets[2] = {target(1, 1, 1), target(2, 1, 2)};
    fc_flow flows[2] = {{.fid = 1, .action = FC_ACTION_FORWARD, .n_targets = 1},
                        {.fid = 2, .action = FC_ACTION_FORWARD, .targets = 1, .n_targets = 1}};
    fc_address also[2] = {address6(2, 1), address6(2, 2)}, prefixes[2] = {address6(3, 0), address6(4, 0)};
    uint16_t indices[2] = {0, 1};
    prefixes[0].length = prefixes[1].length = 64;
    const fc_node good = {address6(1, 1), also, prefixes, targets, flows, indices, 2, 2, 2, 2, 2, 0};
    fc_node node = good;
    char text[8] = "before";
    CHECK(fc_fib_check(fib, &node, text, sizeof text) == FC_OK && text[0] == 0);
#define WITH(change, status, expected)         \
    do {                                       \
        node = good;                           \
        change;                                \
        refused(fib, &node, status, expected); \
    } while (0)
    WITH(node.home.version = 5, FC_EINVAL, "home: no IPv4 or IPv6 address");
    WITH(node.home = address6(0x20010db800010000u, 1); also[1] = node.home, FC_EEXIST, "also[1]: given twice");
    also[1] = address6(0x20010db800010000u, 1);
    WITH(, FC_EEXIST, "also[1]: another node's");
    also[1] = (fc_address){{1, 2}, 4, 0, {0}};
    WITH(, FC_EINVAL, "also[1]: no IPv4 or IPv6 address");
    also[1] = address6(2, 2);
    prefixes[0].words[1] = 1;
    WITH(, FC_EINVAL, "prefixes[0]: has bits beyond its length");
    prefixes[0].length = 129;
    WITH(, FC_EINVAL, "prefixes[0]: longer than an address");
    prefixes[0] = prefixes[1];
    WITH(, FC_EEXIST, "prefixes[1]: given twice");
    prefixes[0].words[0]++;
    targets[1].version = 0;
    WITH(, FC_EINVAL, "targets[1].version: neither 4 nor 6");
    targets[1].version = 4;
    WITH(node.default_target = 2, FC_EINVAL, "default_target: no index into targets");
    WITH(node.n_flows = FC_MAX_FLOWS + 1, FC_ELIMIT, "n_flows: at most 65,535");
    WITH(node.n_also = FC_MAX_ADDRESSES + 1, FC_ELIMIT, "n_also: at most 255");
    WITH(node.n_flow_targets = 1, FC_EINVAL, "flows[1].targets: reaches beyond flow_targets");
    indices[1] = 2;
    WITH(, FC_EINVAL, "flow_targets[1]: no index into targets");
    indices[1] = 1;
    flows[1].action = FC_ACTION_NONE;
    WITH(, FC_EINVAL, "flows[1].action: none of forward, discard and n-cast");
    flows[1].action = FC_ACTION_NCAST;
    flows[1].rule = (fc_rule){.conditions = FC_SPI, .spi_first = 1};
    WITH(, FC_EINVAL, "flows[1].rule.spi: first is above last");
#undef WITH
    fc_fib_get_info(fib, &info);
    CHECK(info.nodes == 1 && info.addresses == 1 && info.prefixes == 0);
    fc_fib_free(fib);
}

/* ---- Threads of the library's own have room for a look-up --------------------------------------- */

static void library_threads_have_room(void)
{
    enum { FLOWS = 3000, PACKETS = 32768 };
    fc_flow *flows = calloc(FLOWS, sizeof *flows);
    uint8_t *packets = calloc(PACKETS, 64);
    uint64_t *offsets = malloc(PACKETS * sizeof *offsets);
    uint32_t *lengths = malloc(PACKETS * sizeof *lengths);
    fc_decision *out = malloc(2 * PACKETS * sizeof *out);
    CHECK(flows && packets && offsets && lengths && out);
    for (uint32_t i = 0; i < FLOWS; i++) { /* half of each version, so that both tables are asked for one batch */
        flows[i] = (fc_flow){.fid = (uint16_t)(i + 1), .action = FC_ACTION_FORWARD, .n_targets = 1};
        fc_rule *r = &flows[i].rule;
        uint64_t net = (i * 0x9e3779b9u) & 0xffffff00;
        r->version = i & 1 ? 4 : 6;
        r->conditions = FC_SOURCE | FC_DESTINATION_PORT;
        r->source_first[i & 1] = i & 1 ? net : net << 32;
        r->source_last[0] = i & 1 ? 0 : net << 32 | 0xffffffff;
        r->source_last[1] = i & 1 ? net | 0xff : UINT64_MAX;
        r->destination_port_first = r->destination_port_last = (uint16_t)(i % 256);
    }
    for (uint32_t i = 0; i < PACKETS; i++) {
        uint8_t *p = packets + 64 * (size_t)i;
        uint64_t net = ((i % FLOWS) * 0x9e3779b9u) & 0xffffff00;
        offsets[i] = 64 * (size_t)i;
        lengths[i] = 60;
        p[0] = i & 1 ? 0x45 : 0x60;
        p[i & 1 ? 3 : 5] = i & 1 ? 60 : 20;
        p[i & 1 ? 9 : 6] = 17;
        for (int b = 0; b < 4; b++)
            p[(i & 1 ? 12 : 8) + b] = (uint8_t)(net >> (24 - 8 * b));
        memcpy(p + (i & 1 ? 16 : 24), i & 1 ? "\12\0\0\1" : "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", i & 1 ? 4 : 16);
        p[i & 1 ? 23 : 43] = (uint8_t)(i % FLOWS % 256);
    }
    fc_target to = target(1, 0xa, 1);
    const uint16_t index = 0;
    fc_address also = {{0, 0x0a000001}, 4, 32, {0}};
    fc_node node = {.home = address6(0x20010db800000000u, 1),
                    .also = &also,
                    .n_also = 1,
                    .targets = &to,
                    .flows = flows,
                    .flow_targets = &index,
                    .n_targets = 1,
                    .n_flows = FLOWS,
                    .n_flow_targets = 1};
    fc_fib *fib;
    CHECK(fc_fib_new(secret, &fib) == FC_OK && fc_fib_publish(fib, &node, NULL) == FC_OK);
    CHECK(fc_fib_classify_packets(fib, 101, NULL, packets, offsets, lengths, PACKETS, NULL, FC_KERNEL_SCALAR, 1, out) ==
          FC_OK);
    pthread_attr_t before, small;
    CHECK(pthread_getattr_default_np(&before) == 0 && pthread_getattr_default_np(&small) == 0);
    CHECK(pthread_attr_setstacksize(&small, 128 << 10) == 0 && pthread_setattr_default_np(&small) == 0);
    for (int kernel = 0; kernel < FC_KERNEL_COUNT; kernel++) {
        if (fc_kernel_check(kernel) != FC_OK)
            continue;
        CHECK(fc_fib_classify_packets(fib, 101, NULL, packets, offsets, lengths, PACKETS, NULL, kernel, 2,
                                      out + PACKETS) == FC_OK);
        CHECK(memcmp(out, out + PACKETS, PACKETS * sizeof *out) == 0);
    }
    CHECK(pthread_setattr_default_np(&before) == 0);
    uint32_t by_flow = 0;
    for (uint32_t i = 0; i < PACKETS; i++)
        by_flow += out[i].reason == FC_REASON_FLOW;
    CHECK(by_flow > PACKETS / 2);
    fc_fib_free(fib);
    free(flows), free(packets), free(offsets), free(lengths), free(out);
}

int main(void)
{
    quick = getenv("FC_TEST_QUICK") != NULL;
    example();
    against_the_definition();
    flow_by_flow();
    few_flows_have_a_table_if_one_key_has_many_candidates();
    longest_prefix_wins();
    entries_that_are_gone_hide_no_others();
    memory_is_given_back();
    for (int kernel = 0; kernel < FC_KERNEL_COUNT; kernel++)
        if (fc_kernel_check(kernel) == FC_OK)
            readers_beside_a_writer(kernel), always_found(kernel);
    never_nobodys();
    held_decisions();
    faults_by_name();
    library_threads_have_room();
    puts("fib: ok");
    return 0;
}
