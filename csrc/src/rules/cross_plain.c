/* cross_plain.c - the cross-product tables' look-up by loads, for processors that have no gathers, or have them in
 * microcode: the keys of a block take each step together, and what an octet adds to an index is loaded ready-made. */
#include "../common/kernel.h"
#include "../common/wide.h"
#include "cross.h"

#define INLINE static inline __attribute__((always_inline))

/* Keys in a block. Each loop over them ends after as few rounds as a processor foresees: 64 keys take 30 % longer. */
enum { PLAIN_BLOCK = 32 };
enum { PLAIN_OCTETS = 4 }; /* of a step, added up while its table is read; more of them are added before */

/* What the entries of a step's table are: classes, or at last the answers. */
enum { ENTRY_8, ENTRY_16, LAST_16, LAST_32 };
#define SHAPE(entry, octets, summed) ((entry) << 8 | (octets) << 4 | (summed))

typedef struct part {     /* an octet that goes into a step */
    const uint8_t *octet; /* the first key's */
    const uint32_t *share;
    uint32_t field;
} part;

typedef struct work {
    uint16_t column[FC_CROSS_STEPS][PLAIN_BLOCK];
    uint32_t sum[PLAIN_BLOCK];
    fc_key keys[PLAIN_BLOCK];
} work;

/* careful: some keys of the block lack fields. */
INLINE uint32_t share_of(const part *p, const uint8_t *present, size_t at, int careful)
{
    uint32_t octet = p->octet[at];
    if (careful)
        octet = ~(uint32_t)present[at] & p->field ? 256 : octet;
    return p->share[octet];
}

INLINE void read_entries(const part *parts, int octets, const uint32_t *sum, const fc_key *keys, uint32_t n,
                         const uint8_t *table, int entry, int careful, uint16_t *to, int32_t *out)
{
#pragma GCC unroll 8
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = sum ? sum[i] : 0;
        for (int k = 0; k < octets; k++)
            at += share_of(&parts[k], &keys->present, i * sizeof(fc_key), careful);
        if (entry == ENTRY_8)
            to[i] = table[at];
        else if (entry == ENTRY_16)
            to[i] = ((const uint16_t *)table)[at];
        else if (entry == LAST_16)
            out[i] = ((const int16_t *)table)[at];
        else
            out[i] = ((const int32_t *)table)[at];
    }
}

/* Reads a step's table, by a loop of its own for each kind of entry and number of octets. */
INLINE void read_table(const part *parts, int octets, const uint32_t *sum, const fc_key *keys, uint32_t n,
                       const uint8_t *table, int entry, int careful, uint16_t *to, int32_t *out)
{
#define CASE(entry, octets)                                                         \
    case SHAPE(entry, octets, 0):                                                   \
        read_entries(parts, octets, NULL, keys, n, table, entry, careful, to, out); \
        break;                                                                      \
    case SHAPE(entry, octets, 1):                                                   \
        read_entries(parts, octets, sum, keys, n, table, entry, careful, to, out);  \
        break;
#define CASES(entry) CASE(entry, 0) CASE(entry, 1) CASE(entry, 2) CASE(entry, 3) CASE(entry, 4)
    switch (SHAPE(entry, octets, sum != NULL)) {
        CASES(ENTRY_8)
        CASES(ENTRY_16)
        CASES(LAST_16)
        CASES(LAST_32)
    }
#undef CASES
#undef CASE
}

INLINE void take_step(const fc_cross *x, uint32_t s, const fc_key *keys, uint32_t n, int careful, work *w, int32_t *out)
{
    const fc_cross_step *step = &x->step[s];
    part parts[PLAIN_OCTETS];
    int octets = 0, summed = 0;
    for (uint32_t k = 0; k < step->inputs; k++) {
        uint32_t c = step->input[k].column, stride = step->input[k].stride;
        if (c < x->octets) {
            const fc_cross_octet *o = &x->octet[c];
            part p = {(const uint8_t *)keys + o->at, x->share + (size_t)FC_CROSS_SHARES * c, o->field};
            if (octets < PLAIN_OCTETS) {
                parts[octets++] = p;
                continue;
            }
            for (uint32_t i = 0; i < n; i++)
                w->sum[i] = (summed ? w->sum[i] : 0) + share_of(&p, &keys->present, i * sizeof(fc_key), careful);
        } else {
            const uint16_t *column = w->column[c - x->octets];
            for (uint32_t i = 0; i < n; i++)
                w->sum[i] = (summed ? w->sum[i] : 0) + column[i] * stride;
        }
        summed = 1;
    }
    const int last = s + 1u == x->steps;
    int entry = step->width == 1 ? ENTRY_8 : !last ? ENTRY_16 : step->width == 2 ? LAST_16 : LAST_32;
    read_table(parts, octets, summed ? w->sum : NULL, keys, n, x->tables + step->table, entry, careful, w->column[s],
               out);
}

INLINE void take_steps(const fc_cross *x, const fc_key *keys, uint32_t n, int careful, work *w, int32_t *out)
{
    for (uint32_t s = 0; s < x->steps; s++) {
        if (x->step[s].width)
            take_step(x, s, keys, n, careful, w, out);
        for (uint32_t i = 0; x->step[s].width == 0 && i < n; i++)
            w->column[s][i] = (uint16_t)fc_cross_exact(x, &x->step[s], &keys[i]);
    }
}

int fc_cross_plain(const fc_cross *x, const fc_key *keys, const uint32_t *index, uint32_t n, int32_t *out)
{
    work w;
    uint8_t fields = 0;
    for (uint32_t c = 0; c < x->octets; c++)
        fields |= x->octet[c].field;
    for (uint32_t start = 0; start < n; start += PLAIN_BLOCK) {
        uint32_t m = n - start < PLAIN_BLOCK ? n - start : PLAIN_BLOCK;
        const fc_key *from = index ? w.keys : keys + start;
        for (uint32_t i = 0; index && i < m; i++)
            w.keys[i] = keys[index[start + i]];
        uint64_t all = UINT64_MAX, any = 0;
        for (uint32_t i = 0; i < m; i++) {
            uint64_t tail = fc_load64(&from[i].source_port);
            all &= tail;
            any |= tail;
        }
        uint8_t lacking = (uint8_t) ~(all >> 56);
        if (!fc_cross_serves(x, all, any))
            return 0;
        if (lacking & fields)
            take_steps(x, from, m, 1, &w, out + start);
        else
            take_steps(x, from, m, 0, &w, out + start);
    }
    return 1;
}

fc_cross_fn *fc_cross_function(int kernel)
{
    switch (kernel) {
#if defined(__x86_64__)
    case FC_KERNEL_AVX2:
        return fc_kernel_microcoded() ? fc_cross_plain : fc_cross_avx2;
    case FC_KERNEL_AVX512:
        return __builtin_cpu_supports("avx512vbmi") ? fc_cross_avx512 : fc_cross_avx2;
#elif defined(__aarch64__)
    case FC_KERNEL_NEON:
        return fc_cross_plain;
#endif
    default:
        return NULL;
    }
}
