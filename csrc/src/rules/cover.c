/* cover.c - which rule matches every key of a region, and which tree a rule belongs to: by its fixed bits. */
#include "build.h"

/* Rules that are alike in what they fix share a tree: then few of them leave open the bits that the others need. */
int fc_tree_of(const fc_forest *f, const uint64_t *care, int source, int destination)
{
    int words = f->words, s, d;
    if (words == 3) {
        s = __builtin_popcountll(care[0] >> 32);
        d = __builtin_popcountll(care[0] & 0xffffffff);
    } else {
        s = __builtin_popcountll(care[0]) + __builtin_popcountll(care[1]);
        d = __builtin_popcountll(care[2]) + __builtin_popcountll(care[3]);
    }
    uint64_t tail = care[words - 1 - (words == 3)], label = care[words == 3 ? 2 : 4];
    if (s >= source)
        return 0;
    if (d >= destination)
        return 1;
    if (__builtin_popcountll(tail & 0xffff0000) >= 8)
        return 2;
    if (__builtin_popcountll(tail & 0xffff) >= 8)
        return 3;
    return __builtin_popcountll(label) >= 8 ? 4 : 5;
}

/* ---- Covering: does a rule match every key of a region? ------------------------------------------------------- */

static const struct { /* where a field's bits are: word and mask of up to two words */
    uint8_t word[2];
    uint64_t mask[2];
} field_bits[2][8] = {
    {{{0, 0}, {0xffffffff00000000, 0}},
     {{0, 0}, {0x00000000ffffffff, 0}},
     {{2, 0}, {0x00000000ffffffff, 0}},
     {{2, 0}, {0xffffffff00000000, 0}},
     {{1, 0}, {0x000000000000ffff, 0}},
     {{1, 0}, {0x00000000ffff0000, 0}},
     {{1, 0}, {0x000000ff00000000, 0}},
     {{1, 0}, {0x0000ff0000000000, 0}}},
    {{{0, 1}, {~0ull, ~0ull}},
     {{2, 3}, {~0ull, ~0ull}},
     {{4, 0}, {0x00000000ffffffff, 0}},
     {{4, 0}, {0xffffffff00000000, 0}},
     {{5, 0}, {0x000000000000ffff, 0}},
     {{5, 0}, {0x00000000ffff0000, 0}},
     {{5, 0}, {0x000000ff00000000, 0}},
     {{5, 0}, {0x0000ff0000000000, 0}}},
};

/* The lanes of each field: the first and how many. */
static const uint8_t field_lanes[2][8][2] = {{{2, 2}, {0, 2}, {8, 2}, {10, 2}, {4, 1}, {5, 1}, {12, 1}, {6, 1}},
                                             {{0, 8}, {8, 8}, {16, 2}, {18, 2}, {20, 1}, {21, 1}, {24, 1}, {22, 1}}};

/* A field that a key lacks reads as 0: a region proves that its keys have the field by a fixed 1 in it, or by an interval
 * of one of its lanes that begins above 0 (the protocol shares its lane with the class below it). */
static int present(const fc_build *b, const fc_region *at, int conditions)
{
    int v6 = b->f->version == 6;
    for (int i = 0; i < 8; i++) {
        if (!(conditions >> i & 1))
            continue;
        const uint8_t *w = field_bits[v6][i].word, *l = field_lanes[v6][i];
        const uint64_t *m = field_bits[v6][i].mask;
        int proved = (at->value[w[0]] & m[0]) || (at->value[w[1]] & m[1]);
        for (int k = l[0]; k < l[0] + l[1]; k++)
            proved |= at->lo[k] >= (i >= 6 ? 0x100 : 1);
        if (!proved)
            return 0;
    }
    return 1;
}

int fc_covers(const fc_build *b, uint32_t rule, const fc_region *at)
{
    const fc_forest *f = b->f;
    const uint16_t *lo = b->bodies + (size_t)rule * 2 * f->lanes, *span = lo + f->lanes;
    const uint64_t *care = b->care + (size_t)rule * f->words;
    if (span[f->lanes - 1] & FC_BODY_VERIFY)
        return 0;
    uint64_t open = !b->prefix[rule];
    for (int w = 0; w < f->words; w++)
        open |= care[w] & ~at->fixed[w];
    if (open) {
        if (!at->cut)
            return 0;
        for (int i = 0; i < f->range_lanes; i++) {
            int lane = f->lane_map[i];
            uint16_t hi = (uint16_t)(lo[i] + span[i]);
            if (lo[i] <= at->lo[lane] && hi >= at->hi[lane])
                continue;
            if (lane >= 4 * f->words)
                return 0;
            uint16_t bits = (uint16_t)(care[lane >> 2] >> (16 * (lane & 3)));
            uint16_t fixed = (uint16_t)(at->fixed[lane >> 2] >> (16 * (lane & 3)));
            /* a lane that is no prefix range has free bits, some combinations of which it does not take */
            if ((bits & ~fixed) || (uint16_t)(lo[i] & ~bits) != 0 || (uint16_t)(hi | bits) != 0xffff)
                return 0;
        }
    }
    return present(b, at, span[f->lanes - 1] & 0xff);
}
