/* body.c - a rule as a forest keeps it: the lanes that a forest's bodies have, a rule to its body, and back. */
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
