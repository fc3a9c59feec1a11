/* Rule rows -> bodies (products of 16-bit ranges) and, for the build, the bits that each rule fixes. */
#include <stdlib.h>

#include "build.h"

/* A range of a field that spans `lanes` 16-bit lanes, the least significant first: the bounding product of ranges of
 * its lanes. Lanes above the first that differs are single values, that one is a range, those below are full. Returns 1
 * when the product is the range itself. Worked: 0x0001fff0..0x0003000f has lanes 0x0001..0x0003 and full, and is not
 * exact: the box also holds 0x00010000. */
static int box(const uint16_t *first, const uint16_t *last, int lanes, uint16_t *lo, uint16_t *hi)
{
    int exact = 1, open = 0;
    for (int i = lanes - 1; i >= 0; i--) {
        if (open) {
            exact &= first[i] == 0 && last[i] == 0xffff;
            lo[i] = 0;
            hi[i] = 0xffff;
        } else {
            lo[i] = first[i];
            hi[i] = last[i];
            open = lo[i] != hi[i];
        }
    }
    return exact;
}

static void split(uint64_t v, int lanes, uint16_t *out)
{
    for (int i = 0; i < lanes; i++)
        out[i] = (uint16_t)(v >> (16 * i));
}

static int box64(uint64_t first, uint64_t last, int lanes, uint16_t *lo, uint16_t *hi)
{
    uint16_t a[4], b[4];
    split(first, lanes, a);
    split(last, lanes, b);
    return box(a, b, lanes, lo, hi);
}

/* A 128-bit range; in the canonical order of words the more significant one comes first, so its lanes do too. */
static int box128(const uint64_t first[2], const uint64_t last[2], uint16_t *lo, uint16_t *hi)
{
    uint16_t a[8], b[8], l[8], h[8];
    split(first[1], 4, a);
    split(first[0], 4, a + 4);
    split(last[1], 4, b);
    split(last[0], 4, b + 4);
    int exact = box(a, b, 8, l, h);
    memcpy(lo, l + 4, 8);
    memcpy(lo + 4, l, 8);
    memcpy(hi, h + 4, 8);
    memcpy(hi + 4, h, 8);
    return exact;
}

/* The canonical lanes of a rule: [0, 4 * words) as in a key, [4 * words] the traffic class. Returns 0 when the
 * product of the lanes is larger than the rule. */
int fc_rule_lanes(int version, const fc_rule *r, uint16_t *lo, uint16_t *hi)
{
    int words = version == 4 ? 3 : 6, tail = version == 4 ? 4 : 20, label = version == 4 ? 8 : 16, exact = 1;
    int c = r->conditions;
    memset(lo, 0, sizeof(uint16_t) * FC_MAX_LANES);
    memset(hi, 0xff, sizeof(uint16_t) * FC_MAX_LANES);
    if (version == 4) {
        if (c & FC_SOURCE)
            exact &= box64(r->source_first[1], r->source_last[1], 2, lo + 2, hi + 2);
        if (c & FC_DESTINATION)
            exact &= box64(r->destination_first[1], r->destination_last[1], 2, lo, hi);
    } else {
        if (c & FC_SOURCE)
            exact &= box128(r->source_first, r->source_last, lo, hi);
        if (c & FC_DESTINATION)
            exact &= box128(r->destination_first, r->destination_last, lo + 8, hi + 8);
    }
    if (c & FC_FLOW_LABEL)
        exact &= box64(r->flow_label_first, r->flow_label_last, 2, lo + label, hi + label);
    if (c & FC_SPI)
        exact &= box64(r->spi_first, r->spi_last, 2, lo + label + 2, hi + label + 2);
    if (c & FC_SOURCE_PORT) {
        lo[tail] = r->source_port_first;
        hi[tail] = r->source_port_last;
    }
    if (c & FC_DESTINATION_PORT) {
        lo[tail + 1] = r->destination_port_first;
        hi[tail + 1] = r->destination_port_last;
    }
    if (c & FC_PROTOCOL) {
        lo[tail + 2] = (uint16_t)(r->protocol_first << 8);
        hi[tail + 2] = (uint16_t)(r->protocol_last << 8 | 0xff);
    }
    if (c & FC_TRAFFIC_CLASS) {
        lo[4 * words] = (uint16_t)((r->traffic_class_first & 0xfc) << 8);
        hi[4 * words] = (uint16_t)((r->traffic_class_last | 3) << 8 | 0xff);
    }
    return exact;
}

/* Bits that all values of first..last share. */
static uint16_t common(uint16_t first, uint16_t last)
{
    uint16_t x = first ^ last;
    x |= x >> 1;
    x |= x >> 2;
    x |= x >> 4;
    x |= x >> 8;
    return (uint16_t)~x;
}

/* The bits that a rule fixes, and whether it is no more than those bits (so that a region that fixes them all lies
 * inside the rule). */
int fc_rule_bits(int version, const fc_rule *r, const uint16_t *lo, const uint16_t *hi, uint64_t *care, uint64_t *value)
{
    int words = version == 4 ? 3 : 6, tail = words == 3 ? 1 : 5, prefix = 1;
    memset(care, 0, sizeof(uint64_t) * (size_t)words);
    memset(value, 0, sizeof(uint64_t) * (size_t)words);
    for (int i = 0; i < 4 * words; i++) {
        uint16_t bits = common(lo[i], hi[i]);
        prefix &= (uint16_t)(lo[i] & ~bits) == 0 && (uint16_t)(hi[i] | bits) == 0xffff;
        care[i >> 2] |= (uint64_t)bits << (16 * (i & 3));
        value[i >> 2] |= (uint64_t)(lo[i] & bits) << (16 * (i & 3));
    }
    if (r->conditions & FC_TRAFFIC_CLASS) {
        uint16_t a = lo[4 * words] >> 8, b = hi[4 * words] >> 8, bits = common(a, b) & 0xff;
        prefix &= (a & ~bits & 0xff) == 0 && ((b | bits) & 0xff) == 0xff;
        care[tail] |= (uint64_t)bits << 32;
        value[tail] |= (uint64_t)(a & bits) << 32;
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

int fc_rule_valid(const fc_rule *r)
{
    int c = r->conditions;
    if (r->version != 0 && r->version != 4 && r->version != 6)
        return 0;
    if ((c & FC_SOURCE) && (r->source_first[0] > r->source_last[0] ||
                            (r->source_first[0] == r->source_last[0] && r->source_first[1] > r->source_last[1])))
        return 0;
    if ((c & FC_DESTINATION) && (r->destination_first[0] > r->destination_last[0] ||
                                 (r->destination_first[0] == r->destination_last[0] &&
                                  r->destination_first[1] > r->destination_last[1])))
        return 0;
    if (r->version == 4 && (((c & FC_SOURCE) && (r->source_last[0] || r->source_last[1] >> 32)) ||
                            ((c & FC_DESTINATION) && (r->destination_last[0] || r->destination_last[1] >> 32))))
        return 0;
    if (r->version == 0 && (c & (FC_SOURCE | FC_DESTINATION)))
        return 0;
    return !((c & FC_FLOW_LABEL) && (r->flow_label_first > r->flow_label_last || r->flow_label_last >> 20)) &&
           !((c & FC_SPI) && r->spi_first > r->spi_last) &&
           !((c & FC_SOURCE_PORT) && r->source_port_first > r->source_port_last) &&
           !((c & FC_DESTINATION_PORT) && r->destination_port_first > r->destination_port_last) &&
           !((c & FC_TRAFFIC_CLASS) && r->traffic_class_first > r->traffic_class_last) &&
           !((c & FC_PROTOCOL) && r->protocol_first > r->protocol_last);
}

/* How a forest's bodies are laid out: the fewest lanes that hold every lane that some rule constrains. */
void fc_choose_lanes(fc_forest *f, const uint8_t *used)
{
    int canonical = 4 * f->words + 1, n = 0;
    uint8_t map[FC_MAX_LANES] = {0};
    for (int i = 0; i < canonical; i++) {
        if (!used[i])
            continue;
        if (n < FC_MAX_LANES)
            map[n] = (uint8_t)i;
        n++;
    }
    int plain = n == 0 || map[n - 1] < 7;
    f->permuted = 0;
    if (f->version == 4) {
        f->lanes = plain ? 8 : 16;
    } else if (n <= 15) {
        f->lanes = 16;
        f->permuted = 1;
    } else {
        f->lanes = 32;
    }
    for (int i = 0; i < FC_MAX_LANES; i++)
        f->lane_map[i] = f->permuted ? (i < n ? map[i] : 0) : (uint8_t)i;
    f->range_lanes = (uint8_t)(f->permuted ? n : f->lanes == 8 ? 7 : canonical);
}

void fc_write_body(const fc_forest *f, uint32_t number, const fc_rule *r, const uint16_t *lo, const uint16_t *hi, int exact,
                   uint16_t *body)
{
    uint16_t *span = body + f->lanes;
    for (int i = 0; i < f->lanes - 1; i++) {
        int from = f->lane_map[i], in = i < f->range_lanes;
        body[i] = in ? lo[from] : 0;
        span[i] = in ? (uint16_t)(hi[from] - lo[from]) : 0xffff;
    }
    body[f->lanes - 1] = (uint16_t)number;
    span[f->lanes - 1] =
        (uint16_t)(r->conditions | (exact ? 0 : FC_BODY_VERIFY) | (number >> 16) << 9);
}

/* The inverse of fc_write_body for an exact body: the ranges of the fields that have conditions. */
void fc_read_body(const fc_forest *f, const uint16_t *body, fc_rule *r)
{
    uint16_t lo[FC_MAX_LANES] = {0}, hi[FC_MAX_LANES];
    memset(hi, 0xff, sizeof(hi));
    for (int i = 0; i < f->range_lanes; i++) {
        lo[f->lane_map[i]] = body[i];
        hi[f->lane_map[i]] = (uint16_t)(body[i] + body[f->lanes + i]);
    }
    int words = f->words, tail = words == 3 ? 4 : 20, label = words == 3 ? 8 : 16;
    uint64_t a[FC_MAX_WORDS], b[FC_MAX_WORDS];
    memcpy(a, lo, 8 * (size_t)words);
    memcpy(b, hi, 8 * (size_t)words);
    memset(r, 0, sizeof(*r));
    r->conditions = (uint8_t)body[2 * f->lanes - 1];
    if (r->conditions & FC_SOURCE) {
        memcpy(r->source_first, a, 16), memcpy(r->source_last, b, 16);
        if (words == 3) {
            r->source_first[0] = r->source_last[0] = 0;
            r->source_first[1] = a[0] >> 32, r->source_last[1] = b[0] >> 32;
        }
    }
    if (r->conditions & FC_DESTINATION) {
        if (words == 3)
            r->destination_first[1] = (uint32_t)a[0], r->destination_last[1] = (uint32_t)b[0];
        else
            memcpy(r->destination_first, a + 2, 16), memcpy(r->destination_last, b + 2, 16);
    }
    if (r->conditions & FC_FLOW_LABEL) {
        r->flow_label_first = lo[label] | (uint32_t)lo[label + 1] << 16;
        r->flow_label_last = hi[label] | (uint32_t)hi[label + 1] << 16;
        if (r->flow_label_last >> 20) /* a full range leaves its lanes open */
            r->flow_label_last = 0xfffff;
    }
    if (r->conditions & FC_SPI) {
        r->spi_first = lo[label + 2] | (uint32_t)lo[label + 3] << 16;
        r->spi_last = hi[label + 2] | (uint32_t)hi[label + 3] << 16;
    }
    if (r->conditions & FC_SOURCE_PORT)
        r->source_port_first = lo[tail], r->source_port_last = hi[tail];
    if (r->conditions & FC_DESTINATION_PORT)
        r->destination_port_first = lo[tail + 1], r->destination_port_last = hi[tail + 1];
    if (r->conditions & FC_PROTOCOL)
        r->protocol_first = (uint8_t)(lo[tail + 2] >> 8), r->protocol_last = (uint8_t)(hi[tail + 2] >> 8);
    if (r->conditions & FC_TRAFFIC_CLASS)
        r->traffic_class_first = (uint8_t)(lo[4 * words] >> 8), r->traffic_class_last = (uint8_t)(hi[4 * words] >> 8);
}

/* ---- Leaves: bodies gathered to be compared together -------------------------------------------------------- */

fc_leaf_shape fc_shape_leaf(const fc_forest *f, uint32_t n, int is_long)
{
    fc_leaf_shape s = {.per = f->lanes == 8 ? 4 : 2, .unit = f->lanes == 32 ? 16 : 64};
    int half = f->lanes == 8 && n == 2 && !is_long;
    s.blocks = f->lanes == 32 ? n : half ? 0 : (n + s.per - 1) / s.per;
    s.per = half ? 2 : s.per;
    s.places = half ? 2 : s.blocks * s.per;
    s.tag = s.blocks < FC_LEAF_LONG && !is_long ? s.blocks : FC_LEAF_LONG;
    s.header = s.tag == FC_LEAF_LONG ? s.unit : 0;
    s.octets = s.header + (f->lanes == 32 ? 4 * (size_t)n : half ? 64 : 128 * (size_t)s.blocks);
    return s;
}

void fc_fill_leaf(const fc_forest *f, const fc_leaf_shape *s, const uint32_t *list, uint32_t n, uint32_t vector, uint8_t *to)
{
    uint32_t lanes = f->lanes;
    if (s->header) {
        memcpy(to, &s->blocks, 4);
        memcpy(to + 4, &vector, 4);
    }
    to += s->header;
    if (lanes == 32) {
        if (n)
            memcpy(to, list, 4 * (size_t)n);
        return;
    }
    for (uint32_t i = 0; i < s->places; i++) {
        const uint16_t *from = f->bodies + (size_t)list[i < n ? i : n - 1] * 2 * lanes;
        uint16_t *block = (uint16_t *)to + (size_t)(i / s->per) * 64;
        memcpy(block + (i % s->per) * lanes, from, 2 * lanes);
        memcpy(block + (s->per + i % s->per) * lanes, from + lanes, 2 * lanes);
    }
}

/* Is rule `number`, whose bounding box matched, a match? */
int fc_verify(const fc_forest *f, uint32_t number, const fc_key *key)
{
    if (f->rows != NULL)
        return fc_rule_matches(&f->rows[number], key);
    const struct fc_exact *at = &f->exact_at[number / 64];
    uint64_t below = at->bits & ((1ull << (number & 63)) - 1);
    return fc_rule_matches(&f->exact[at->before + (uint64_t)__builtin_popcountll(below)], key);
}
