/* body.c - a rule as a forest keeps it: the lanes that a forest's bodies have, a rule to its body, and back. */
#include "../common/memory.h"
#include "build.h"

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

void fc_write_body(const fc_forest *f, uint32_t number, const fc_rule *r, const uint16_t *lo, const uint16_t *hi,
                   int exact, uint16_t *body)
{
    uint16_t *span = body + f->lanes;
    for (int i = 0; i < f->lanes - 1; i++) {
        int from = f->lane_map[i], in = i < f->range_lanes;
        body[i] = in ? lo[from] : 0;
        span[i] = in ? (uint16_t)(hi[from] - lo[from]) : 0xffff;
    }
    body[f->lanes - 1] = (uint16_t)number;
    span[f->lanes - 1] = (uint16_t)(r->conditions | (exact ? 0 : FC_BODY_VERIFY) | (number >> 16) << 9);
}

/* The length of the prefix that an address's 8 lanes are, or -1. */
static int length_of(const uint16_t *lo, const uint16_t *span)
{
    int length = 0, open = 0;
    for (int i = 0; i < 8; i++) {
        uint32_t lane = (uint32_t)i ^ 3, s = span[lane]; /* the most significant first */
        if ((s & (s + 1)) != 0 || (lo[lane] & s) != 0 || (open && s != 0xffff))
            return -1;
        length += 16 - __builtin_popcount(s);
        open |= s != 0;
    }
    return length;
}

/* Fewer rules' bodies are in the second-level cache, where two lines cost little: 10k rules -2 to +5 % with short ones,
 * 100k +11 to +17 %. */
#define SHORT_FROM 16384u

size_t fc_write_shorts(fc_forest *f)
{
    const size_t spans = 8 * 132, size = 2 * (spans + (size_t)FC_SHORT_LANES * f->n); /* 128 + 1 lengths, whole lines */
    int wanted = f->n >= SHORT_FROM && f->lanes == 32 && f->priority == NULL && !f->verify;
    uint16_t *memory = wanted ? fc_big_alloc(size) : NULL;
    if (memory == NULL) /* which only makes look-ups slower */
        return 0;
    for (int length = 0; length <= 128; length++) {
        for (int i = 0; i < 8; i++) {
            int bits = length - 16 * i;
            memory[8 * length + (i ^ 3)] = (uint16_t)(bits <= 0 ? 0xffff : bits >= 16 ? 0 : 0xffff >> bits);
        }
    }
    for (uint32_t number = 0; number < f->n; number++) {
        const uint16_t *lo = f->bodies + (size_t)number * 64, *span = lo + 32;
        uint16_t *to = memory + spans + (size_t)number * FC_SHORT_LANES;
        int source = length_of(lo, span), destination = length_of(lo + 8, span + 8), other = 0;
        for (int i = 23; i < 31; i++)
            other |= span[i] != 0xffff;
        if (source < 0 || destination < 0 || other) {
            fc_big_free(memory);
            return 0;
        }
        memcpy(to, lo, 2 * 23);
        to[23] = (uint16_t)(source | destination << 8);
        memcpy(to + 24, span + 16, 2 * 7);
        to[31] = 0;
    }
    f->short_spans = memory;
    f->shorts = memory + spans;
    return size;
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
    memset(r, 0, sizeof(*r));
    r->conditions = (uint8_t)body[2 * f->lanes - 1];
    fc_rule_from_lanes(f->version, lo, hi, r);
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
