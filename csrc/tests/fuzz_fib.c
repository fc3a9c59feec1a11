/* libFuzzer: nodes of any kind that are published, replaced and withdrawn; every decision of every kernel is that of
 * the definition: the exact address, else the longest prefix, then the first flow that matches, then the default. */
#include "fuzz_octets.h"

enum { NODES = 8, FLOWS = 70, TARGETS = 6, LIST = 8, KEYS = 12 };

typedef struct model {
    fc_node node; /* n_targets 0 and home.version 0: none */
    uint32_t number;
    fc_address also[2], prefixes[2];
    fc_target targets[TARGETS];
    fc_flow flows[FLOWS];
    uint16_t list[LIST];
} model;

static model now[NODES];

static fc_address next_address(octets *o, int is_prefix)
{
    uint8_t b = next8(o);
    fc_address a = {.version = b & 1 ? 4 : 6};
    a.length = a.version == 4 ? 32 : 128;
    a.words[0] = a.version == 4 ? 0 : 0x20010db800000000u;
    a.words[1] =
        (a.version == 4 ? 0x0a000000u : 0) | (b >> 1 & 7) | (uint64_t)(b >> 4 & 1) << 31; /* often the same tag */
    if (is_prefix) {
        uint32_t length = a.version == 4 ? 8 + next8(o) % 25u : 32 + next8(o) % 97u;
        a.length = (uint8_t)length;
        if (a.version == 4)
            a.words[1] &= ~(uint64_t)0 << (32 - length);
        else if (length < 128)
            a.words[1] &= length <= 64 ? 0 : ~(uint64_t)0 << (128 - length);
    }
    return a;
}

static int same(const fc_address *a, const fc_address *b, int is_prefix)
{
    return a->version == b->version && a->words[0] == b->words[0] && a->words[1] == b->words[1] &&
           (!is_prefix || a->length == b->length);
}

static int inside(const fc_address *p, const fc_key *k)
{
    uint64_t width = p->version == 4 ? 32u : 128u, open = width - p->length;
    if (p->version != k->version)
        return 0;
    uint64_t low = open >= 64 ? 0 : ~(uint64_t)0 << open,
             high = open <= 64 ? ~(uint64_t)0 : ~(uint64_t)0 << (open - 64);
    return ((p->words[1] ^ k->destination[1]) & low) == 0 && ((p->words[0] ^ k->destination[0]) & high) == 0;
}

static const model *owner(const fc_key *k)
{
    const model *best = NULL;
    fc_address a = {{k->destination[0], k->destination[1]}, k->version, 0, {0}};
    int length = -1;
    if (!(k->present & FC_DESTINATION))
        return NULL;
    for (const model *m = now; m < now + NODES; m++) {
        if (m->node.home.version && same(&m->node.home, &a, 0))
            return m;
        for (uint32_t i = 0; i < m->node.n_also; i++)
            if (same(&m->also[i], &a, 0))
                return m;
    }
    for (const model *m = now; m < now + NODES; m++)
        for (uint32_t i = 0; i < m->node.n_prefixes; i++)
            if (inside(&m->prefixes[i], k) && m->prefixes[i].length > length) {
                length = m->prefixes[i].length;
                best = m;
            }
    return best;
}

static void check(const fc_key *k, const fc_decision *d)
{
    const model *m = owner(k);
    MUST(!(d->flags & FC_HAS_NODE) == !m);
    if (!m)
        return;
    MUST(d->node == m->number);
    if (m->node.n_targets == 0) {
        MUST(d->reason == FC_REASON_UNBOUND);
        return;
    }
    if (k->present & FC_PROTOCOL && k->protocol == 135)
        return;
    for (uint32_t i = 0; i < m->node.n_flows; i++) {
        const fc_flow *f = &m->flows[i];
        if ((f->action != FC_ACTION_DISCARD && !f->n_targets) || !fc_rule_matches(&f->rule, k))
            continue;
        MUST(d->reason == FC_REASON_FLOW && d->fid == f->fid && d->action == f->action);
        if (f->action != FC_ACTION_DISCARD) {
            int is_one = 0;
            for (uint32_t j = 0; j < f->n_targets; j++)
                is_one |= memcmp(m->targets[m->list[f->targets + j]].address, d->care_of, 16) == 0;
            MUST(is_one);
        }
        return;
    }
    if (m->node.default_target == FC_NO_TARGET)
        MUST(d->action == FC_ACTION_NONE && d->reason == FC_REASON_UNBOUND);
    else
        MUST(d->reason == FC_REASON_DEFAULT && memcmp(d->care_of, m->targets[m->node.default_target].address, 16) == 0);
}

/* The status that a publication must have; where it belongs to *at. */
static int expected(const model *m, uint32_t *at)
{
    *at = NODES;
    for (uint32_t i = 0; i < NODES; i++)
        if (now[i].node.home.version && same(&now[i].node.home, &m->node.home, 0))
            *at = i;
    for (uint32_t i = 0; i < NODES; i++) {
        const model *other = &now[i];
        if (i == *at || !other->node.home.version)
            continue;
        for (uint32_t a = 0; a <= m->node.n_also; a++) {
            const fc_address *mine = a ? &m->also[a - 1] : &m->node.home;
            if (same(mine, &other->node.home, 0))
                return FC_EEXIST;
            for (uint32_t b = 0; b < other->node.n_also; b++)
                if (same(mine, &other->also[b], 0))
                    return FC_EEXIST;
        }
        for (uint32_t a = 0; a < m->node.n_prefixes; a++)
            for (uint32_t b = 0; b < other->node.n_prefixes; b++)
                if (same(&m->prefixes[a], &other->prefixes[b], 1))
                    return FC_EEXIST;
    }
    for (uint32_t a = 0; a < m->node.n_also; a++)
        if (same(&m->also[a], &m->node.home, 0) || (a && same(&m->also[0], &m->also[a], 0)))
            return FC_EEXIST;
    return m->node.n_prefixes == 2 && same(&m->prefixes[0], &m->prefixes[1], 1) ? FC_EEXIST : FC_OK;
}

static void publish(octets *o, fc_fib *fib)
{
    static model m;
    uint8_t shape = next8(o);
    uint32_t at, number;
    memset(&m, 0, sizeof m);
    m.node = (fc_node){.home = next_address(o, 0),
                       .n_also = shape & 3,
                       .n_prefixes = shape >> 2 & 3,
                       .n_targets = shape & 16 ? next8(o) % TARGETS : 2,
                       .n_flows = shape & 32 ? next8(o) % FLOWS : next8(o) % 6,
                       .n_flow_targets = LIST,
                       .default_target = FC_NO_TARGET};
    m.node.n_also -= m.node.n_also == 3;
    m.node.n_prefixes -= m.node.n_prefixes == 3;
    for (uint32_t i = 0; i < m.node.n_also; i++)
        m.also[i] = next_address(o, 0);
    for (uint32_t i = 0; i < m.node.n_prefixes; i++)
        m.prefixes[i] = next_address(o, 1);
    for (uint32_t i = 0; i < m.node.n_targets; i++) {
        m.targets[i] = (fc_target){.bid = (uint16_t)(i + 1), .version = 6};
        m.targets[i].address[15] = (uint8_t)(1 + next8(o) % 8);
    }
    for (uint32_t i = 0; i < LIST && m.node.n_targets; i++)
        m.list[i] = (uint16_t)(next8(o) % m.node.n_targets);
    if (m.node.n_targets && shape & 64)
        m.node.default_target = next8(o) % m.node.n_targets;
    for (uint32_t i = 0; i < m.node.n_flows; i++) {
        fc_flow *f = &m.flows[i];
        f->rule = i > 8 ? m.flows[i % 8].rule : next_rule(o); /* many flows of few rules: octets are few */
        if (i > 8 && f->rule.conditions & FC_SOURCE_PORT)
            f->rule.source_port_first = f->rule.source_port_last = (uint16_t)i;
        f->fid = (uint16_t)(i + 1);
        f->action = (uint8_t)(1 + next8(o) % 3);
        f->n_targets = m.node.n_targets ? next8(o) % 5 : 0;
        f->targets = next8(o) % (LIST - 4);
    }
    m.node.also = m.also;
    m.node.prefixes = m.prefixes;
    m.node.targets = m.targets;
    m.node.flows = m.flows;
    m.node.flow_targets = m.list;
    int wanted = expected(&m, &at);
    for (uint32_t i = 0; at == NODES && i < NODES; i++)
        at = now[i].node.home.version ? NODES : i;
    if (at == NODES)
        return;
    MUST(fc_fib_publish(fib, &m.node, &number) == wanted);
    if (wanted == FC_OK) {
        now[at] = m;
        now[at].number = number;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    octets o = {data, size};
    uint8_t secret[16] = {next8(&o)};
    fc_fib *fib;
    memset(now, 0, sizeof now);
    MUST(fc_fib_new(secret, &fib) == FC_OK);
    for (int step = 0; o.left && step < 40; step++) {
        uint8_t what = next8(&o);
        model *m = &now[next8(&o) % NODES];
        if (what < 120) {
            publish(&o, fib);
        } else if (what < 150) {
            fc_address home = m->node.home.version ? m->node.home : next_address(&o, 0);
            int is = 0;
            for (uint32_t i = 0; i < NODES; i++)
                if (now[i].node.home.version && same(&now[i].node.home, &home, 0)) {
                    memset(&now[i], 0, sizeof now[i]);
                    is = 1;
                }
            MUST(fc_fib_withdraw(fib, &home) == (is ? FC_OK : FC_ENOENT));
        } else if (what < 156) {
            fc_fib_reclaim(fib);
        } else {
            fc_key keys[KEYS];
            fc_decision out[KEYS];
            for (uint32_t i = 0; i < KEYS; i++) {
                const fc_address to = next_address(&o, 0);
                keys[i] = next_key(&o, &m->flows[m->node.n_flows ? next8(&o) % m->node.n_flows : 0].rule);
                if (keys[i].version != to.version) {
                    keys[i] = (fc_key){.version = to.version, .protocol = 6, .present = FC_PROTOCOL};
                }
                keys[i].destination[0] = to.words[0];
                keys[i].destination[1] = to.words[1];
                keys[i].present |= FC_DESTINATION;
            }
            for (int kernel = 0; kernel < FC_KERNEL_COUNT; kernel++) {
                if (fc_kernel_check(kernel) != FC_OK)
                    continue;
                MUST(fc_fib_classify(fib, keys, KEYS, kernel, 1, out) == FC_OK);
                for (uint32_t i = 0; i < KEYS; i++)
                    check(&keys[i], &out[i]);
            }
        }
    }
    fc_fib_free(fib);
    return 0;
}
