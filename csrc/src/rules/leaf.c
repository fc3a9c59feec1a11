/* leaf.c - leaves: bodies gathered to be compared together. format.h describes their memory. */
#include "build.h"

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

void fc_fill_leaf(const fc_forest *f, const fc_leaf_shape *s, const uint32_t *list, uint32_t n, uint32_t vector,
                  uint8_t *to)
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
