/* random_rules.h - rules that nest, touch and overlap in all eight fields, keys on their edges, and the naive answer.
 */
#ifndef RANDOM_RULES_H
#define RANDOM_RULES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "flowclass.h"
#include "kernels.h"

#define CHECK(x)                                                    \
    do {                                                            \
        if (!(x)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
            exit(1);                                                \
        }                                                           \
    } while (0)

static uint64_t state = 88172645463325252ull;

static uint64_t rnd(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545f4914f6cdd1dull;
}

static uint64_t below(uint64_t n) { return rnd() % n; }

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

static inline fc_rule random_rule(int fields)
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

static inline fc_key random_key(const fc_rule *rules, uint32_t n)
{
    const fc_rule *r = &rules[below(n)], *s = below(3) ? r : &rules[below(n)];
    fc_key k;
    memset(&k, 0, sizeof(k));
    k.version = r->version ? r->version : below(2) ? 4 : 6;
    if (below(50) == 0)
        k.version = (uint8_t)(7 + below(200));
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
static inline fc_key *guarded(uint32_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (n * sizeof(fc_key) + page - 1) / page * page;
    uint8_t *p = mmap(NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    CHECK(mprotect(p + size, page, PROT_NONE) == 0);
    return (fc_key *)(p + size) - n;
}

static inline int32_t naive(const fc_rule *rules, uint32_t n, const fc_key *key)
{
    for (uint32_t i = 0; i < n; i++) {
        if (fc_rule_matches(&rules[i], key))
            return (int32_t)i;
    }
    return -1;
}

#endif
