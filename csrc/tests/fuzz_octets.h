/* fuzz_octets.h - a fuzzer's octets as numbers, rules and keys. Where they end, zeros follow. */
#ifndef FUZZ_OCTETS_H
#define FUZZ_OCTETS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flowclass.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x)                                                     \
    do {                                                            \
        if (!(x)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
            abort();                                                \
        }                                                           \
    } while (0)

typedef struct octets {
    const uint8_t *at;
    size_t left;
} octets;

static inline uint8_t next8(octets *o)
{
    if (!o->left)
        return 0;
    o->left--;
    return *o->at++;
}

static inline uint16_t next16(octets *o) { return (uint16_t)(next8(o) << 8 | next8(o)); }

/* A range of one field: few different values, so that ranges meet, nest and touch. */
static inline void next_range(octets *o, unsigned bits, uint64_t *first, uint64_t *last)
{
    uint64_t most = bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
    uint8_t shape = next8(o);
    uint64_t a = bits > 8 ? (uint64_t)next8(o) << (shape & 1 ? bits - 8 : 0) : next8(o), span = 0;
    if (shape & 2)
        span = ((uint64_t)1 << (shape >> 4) % bits) - 1;
    else if (shape & 4)
        span = next8(o);
    else if (shape & 8)
        span = most;
    *first = (shape & 2 ? a & ~span : a) & most;
    *last = most - *first < span ? most : *first + span;
}

static inline fc_rule next_rule(octets *o)
{
    fc_rule r;
    uint64_t a, b;
    memset(&r, 0, sizeof r);
    r.conditions = next8(o);
    r.version = next8(o) % 3 ? (r.conditions & 1 ? 4 : 6) : 0;
    if (r.version == 0)
        r.conditions &= (uint8_t) ~(FC_SOURCE | FC_DESTINATION);
    for (int field = 0; field < 2; field++) {
        uint64_t *first = field ? r.destination_first : r.source_first,
                 *last = field ? r.destination_last : r.source_last;
        if (!(r.conditions >> field & 1))
            continue;
        next_range(o, r.version == 4 ? 32 : 64, &a, &b);
        first[r.version == 4] = a;
        last[r.version == 4] = b;
        if (r.version == 6)
            last[1] = a == b && next8(o) & 1 ? 7 : UINT64_MAX;
    }
#define RANGE(field, bits, type)     \
    do {                             \
        next_range(o, bits, &a, &b); \
        r.field##_first = (type)a;   \
        r.field##_last = (type)b;    \
    } while (0)
    if (r.conditions & FC_FLOW_LABEL)
        RANGE(flow_label, 20, uint32_t);
    if (r.conditions & FC_SPI)
        RANGE(spi, 32, uint32_t);
    if (r.conditions & FC_SOURCE_PORT)
        RANGE(source_port, 16, uint16_t);
    if (r.conditions & FC_DESTINATION_PORT)
        RANGE(destination_port, 16, uint16_t);
    if (r.conditions & FC_TRAFFIC_CLASS)
        RANGE(traffic_class, 8, uint8_t);
    if (r.conditions & FC_PROTOCOL)
        RANGE(protocol, 8, uint8_t);
#undef RANGE
    return r;
}

/* A key at an end of a rule's ranges, or beside it. */
static inline fc_key next_key(octets *o, const fc_rule *r)
{
    uint8_t upper = next8(o), off = next8(o) & 3;
    fc_key k = {.version = r->version ? r->version : upper & 1 ? 4 : 6};
    k.present = (uint8_t)(r->conditions | next8(o));
    if (k.present & FC_SOURCE)
        memcpy(k.source, upper & 1 ? r->source_last : r->source_first, sizeof k.source);
    if (k.present & FC_DESTINATION)
        memcpy(k.destination, upper & 2 ? r->destination_last : r->destination_first, sizeof k.destination);
    if (k.present & FC_FLOW_LABEL)
        k.flow_label = (upper & 4 ? r->flow_label_last : r->flow_label_first) & 0xfffff;
    if (k.present & FC_SPI)
        k.spi = upper & 8 ? r->spi_last : r->spi_first;
    if (k.present & FC_SOURCE_PORT)
        k.source_port = (uint16_t)((upper & 16 ? r->source_port_last : r->source_port_first) + (off == 1));
    if (k.present & FC_DESTINATION_PORT)
        k.destination_port =
            (uint16_t)((upper & 32 ? r->destination_port_last : r->destination_port_first) - (off == 2));
    if (k.present & FC_TRAFFIC_CLASS)
        k.traffic_class = upper & 64 ? r->traffic_class_last : r->traffic_class_first;
    if (k.present & FC_PROTOCOL)
        k.protocol = (uint8_t)((upper & 128 ? r->protocol_last : r->protocol_first) + (off == 3));
    if (k.version == 4) {
        k.source[0] = k.destination[0] = 0;
        k.source[1] &= 0xffffffffu;
        k.destination[1] &= 0xffffffffu;
    }
    return k;
}

#endif
