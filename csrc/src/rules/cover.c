/* cover.c - which rule matches every key of a region, and which tree a rule belongs to: by its fixed bits. */
#include "build.h"

/* How many of a field's bits are among `care`. */
static int fixed_bits(const fc_layout *layout, int field, const uint64_t *care)
{
    const fc_field_place *p = &layout->field[field];
    return __builtin_popcountll(care[p->word[0]] & p->mask[0]) + __builtin_popcountll(care[p->word[1]] & p->mask[1]);
}

/* Rules that are alike in what they fix share a tree: then few of them leave open the bits that the others need. */
int fc_tree_of(const fc_forest *f, const uint64_t *care, int source, int destination)
{
    enum { SOURCE, DESTINATION, LABEL, SPI, SOURCE_PORT, DESTINATION_PORT }; /* bit numbers of enum fc_field */
    const fc_layout *layout = fc_layout_of(f->version);
    if (fixed_bits(layout, SOURCE, care) >= source)
        return 0;
    if (fixed_bits(layout, DESTINATION, care) >= destination)
        return 1;
    if (fixed_bits(layout, DESTINATION_PORT, care) >= 8)
        return 2;
    if (fixed_bits(layout, SOURCE_PORT, care) >= 8)
        return 3;
    return fixed_bits(layout, LABEL, care) + fixed_bits(layout, SPI, care) >= 8 ? 4 : 5;
}

/* ---- Covering: does a rule match every key of a region? ----------------------------------------- */

/* A field that a key lacks reads as 0: a region proves that its keys have the field by a fixed 1 in it, or by an
 * interval of one of its lanes that begins above 0 (the protocol shares its lane with the class below it). */
static int present(const fc_build *b, const fc_region *at, int conditions)
{
    const fc_layout *layout = fc_layout_of(b->f->version);
    for (int i = 0; i < FC_FIELDS; i++) {
        if (!(conditions >> i & 1))
            continue;
        const fc_field_place *p = &layout->field[i];
        int proved = (at->value[p->word[0]] & p->mask[0]) || (at->value[p->word[1]] & p->mask[1]);
        for (int k = p->lane; k < p->lane + p->lanes; k++)
            proved |= at->lo[k] >= 1 << p->shift;
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
