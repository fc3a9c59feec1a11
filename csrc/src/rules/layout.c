/* layout.c - rules to canonical lanes and bits, and back. */
#include "layout.h"

#include <stddef.h>
#include <string.h>

#define ALL UINT64_MAX

/* clang-format off */
const fc_layout fc_layouts[2] = {
    {3, { /* word     mask                                  lane lanes shift turn */
        {{0, 0}, {0xffffffff00000000u, 0},                  2, 2, 0, 0},    /* source */
        {{0, 0}, {0x00000000ffffffffu, 0},                  0, 2, 0, 0},    /* destination */
        {{2, 2}, {0x00000000ffffffffu, 0},                  8, 2, 0, 0},    /* flow label */
        {{2, 2}, {0xffffffff00000000u, 0},                 10, 2, 0, 0},    /* SPI */
        {{1, 1}, {0x000000000000ffffu, 0},                  4, 1, 0, 0},    /* source port */
        {{1, 1}, {0x00000000ffff0000u, 0},                  5, 1, 0, 0},    /* destination port */
        {{1, 1}, {0x000000ff00000000u, 0},                 12, 1, 8, 0}, /* traffic class */
        {{1, 1}, {0x0000ff0000000000u, 0},                  6, 1, 8, 0}, /* protocol */
    }},
    {6, {
        {{0, 1}, {ALL, ALL},                                0, 8, 0, 4},
        {{2, 3}, {ALL, ALL},                                8, 8, 0, 4},
        {{4, 4}, {0x00000000ffffffffu, 0},                 16, 2, 0, 0},
        {{4, 4}, {0xffffffff00000000u, 0},                 18, 2, 0, 0},
        {{5, 5}, {0x000000000000ffffu, 0},                 20, 1, 0, 0},
        {{5, 5}, {0x00000000ffff0000u, 0},                 21, 1, 0, 0},
        {{5, 5}, {0x000000ff00000000u, 0},                 24, 1, 8, 0},
        {{5, 5}, {0x0000ff0000000000u, 0},                 22, 1, 8, 0},
    }},
};
/* clang-format on */

#define ROW(name, octets, ignored)                                                       \
    {                                                                                    \
        offsetof(fc_rule, name##_first), offsetof(fc_rule, name##_last), octets, ignored \
    }
const fc_field_row fc_field_rows[FC_FIELDS] = {
    ROW(source, 16, 0),     ROW(destination, 16, 0),     ROW(flow_label, 4, 0),    ROW(spi, 4, 0),
    ROW(source_port, 2, 0), ROW(destination_port, 2, 0), ROW(traffic_class, 1, 2), ROW(protocol, 1, 0),
};

/* ---- Fields of a rule --------------------------------------------------------------------------- */

static fc_value get_value(const uint8_t *p, unsigned octets)
{
    fc_value v = {0, 0};
    if (octets == 16) {
        memcpy(&v.high, p, 8);
        memcpy(&v.low, p + 8, 8);
    } else { /* little-endian, as everything here is */
        memcpy(&v.low, p, octets);
    }
    return v;
}

static void set_value(uint8_t *p, unsigned octets, fc_value v)
{
    if (octets == 16) {
        memcpy(p, &v.high, 8);
        memcpy(p + 8, &v.low, 8);
    } else {
        memcpy(p, &v.low, octets);
    }
}

void fc_rule_range(const fc_rule *r, int field, fc_value *first, fc_value *last)
{
    const fc_field_row *row = &fc_field_rows[field];
    *first = get_value((const uint8_t *)r + row->first, row->octets);
    *last = get_value((const uint8_t *)r + row->last, row->octets);
    first->low >>= row->ignored;
    last->low >>= row->ignored;
}

/* ---- Rules to lanes ----------------------------------------------------------------------------- */

/* The i-th 16 bits of a value, from the least significant. */
static uint16_t piece(const fc_value *v, int i) { return (uint16_t)((i < 4 ? v->low : v->high) >> (16 * (i & 3))); }

/* A range of a field that spans several 16-bit lanes: the bounding product of ranges of its lanes. Lanes above the
 * first that differs are single values, that one is a range, those below are full. Returns 1 when the product is the
 * range itself. Worked: 0x0001fff0..0x0003000f has lanes 0x0001..0x0003 and full, and is not exact: the box also holds
 * 0x00010000. */
static int box(const fc_field_place *place, const fc_value *first, const fc_value *last, uint16_t *lo, uint16_t *hi)
{
    int exact = 1, open = 0;
    for (int i = place->lanes - 1; i >= 0; i--) {
        uint16_t a = piece(first, i), b = piece(last, i);
        int lane = place->lane + (i ^ place->turn);
        if (open) {
            exact &= a == 0 && b == 0xffff;
            lo[lane] = 0;
            hi[lane] = 0xffff;
        } else {
            lo[lane] = a;
            hi[lane] = b;
            open = a != b;
        }
    }
    return exact;
}

int fc_rule_lanes(int version, const fc_rule *r, uint16_t *lo, uint16_t *hi)
{
    const fc_layout *layout = fc_layout_of(version);
    int exact = 1;
    memset(lo, 0, sizeof(*lo) * FC_MAX_LANES);
    memset(hi, 0xff, sizeof(*hi) * FC_MAX_LANES);
    for (unsigned c = r->conditions; c; c &= c - 1) {
        int field = __builtin_ctz(c);
        const fc_field_place *place = &layout->field[field];
        int below = place->shift + fc_field_rows[field].ignored;
        fc_value first, last;
        fc_rule_range(r, field, &first, &last);
        first.low <<= below;
        last.low = last.low << below | ((1u << below) - 1);
        exact &= box(place, &first, &last, lo, hi);
    }
    return exact;
}

void fc_rule_from_lanes(int version, const uint16_t *lo, const uint16_t *hi, fc_rule *r)
{
    const fc_layout *layout = fc_layout_of(version);
    for (unsigned c = r->conditions; c; c &= c - 1) {
        int field = __builtin_ctz(c);
        const fc_field_place *place = &layout->field[field];
        const fc_field_row *row = &fc_field_rows[field];
        uint64_t first[2] = {0, 0}, last[2] = {0, 0}; /* the less significant half first */
        for (int i = 0; i < place->lanes; i++) {
            int lane = place->lane + (i ^ place->turn);
            first[i / 4] |= (uint64_t)lo[lane] << (16 * (i & 3));
            last[i / 4] |= (uint64_t)hi[lane] << (16 * (i & 3));
        }
        first[0] >>= place->shift;
        last[0] >>= place->shift;
        set_value((uint8_t *)r + row->first, row->octets, (fc_value){first[1], first[0]});
        set_value((uint8_t *)r + row->last, row->octets, (fc_value){last[1], last[0]});
    }
}

/* ---- Rules to bits ------------------------------------------------------------------------------ */

/* Bits that all values of first..last share. */
static uint16_t shared_bits(uint16_t first, uint16_t last)
{
    uint16_t x = first ^ last;
    x |= x >> 1;
    x |= x >> 2;
    x |= x >> 4;
    x |= x >> 8;
    return (uint16_t)~x;
}

/* Is a range all the values that have these bits of its first? */
static int is_prefix_range(uint16_t first, uint16_t last, uint16_t bits)
{
    return (uint16_t)(first & ~bits) == 0 && (uint16_t)(last | bits) == 0xffff;
}

int fc_rule_bits(int version, const fc_rule *r, const uint16_t *lo, const uint16_t *hi, uint64_t *care, uint64_t *value)
{
    int words = fc_words_of(version), tail = fc_tail_word(words), prefix = 1;
    memset(care, 0, sizeof(*care) * (size_t)words);
    memset(value, 0, sizeof(*value) * (size_t)words);
    for (int i = 0; i < 4 * words; i++) {
        uint16_t bits = shared_bits(lo[i], hi[i]);
        prefix &= is_prefix_range(lo[i], hi[i], bits);
        care[i >> 2] |= (uint64_t)bits << (16 * (i & 3));
        value[i >> 2] |= (uint64_t)(lo[i] & bits) << (16 * (i & 3));
    }
    if (r->conditions & FC_TRAFFIC_CLASS) { /* from the lane of its own to its place in the tail */
        uint16_t bits = shared_bits(lo[4 * words], hi[4 * words]);
        prefix &= is_prefix_range(lo[4 * words], hi[4 * words], bits);
        care[tail] |= (uint64_t)(bits >> 8) << 32;
        value[tail] |= (uint64_t)((lo[4 * words] & bits) >> 8) << 32;
    }
    /* virtual bits: is the whole range of ports on one side of 1024? */
    const uint16_t first[2] = {r->source_port_first, r->destination_port_first};
    const uint16_t last[2] = {r->source_port_last, r->destination_port_last};
    for (int i = 0; i < 2; i++) {
        if (!(r->conditions & (i ? FC_DESTINATION_PORT : FC_SOURCE_PORT)))
            continue;
        if (first[i] >= 1024 || last[i] < 1024) {
            care[tail] |= 1ull << (48 + i);
            value[tail] |= (uint64_t)(first[i] >= 1024) << (48 + i);
        }
    }
    return prefix;
}
