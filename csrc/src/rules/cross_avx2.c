/* cross_avx2.c - the cross-product tables' look-up by gathering eight entries at once. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "cross.h"

#define FC_TARGET __attribute__((target("avx2,bmi2")))
#define INLINE static inline __attribute__((always_inline)) FC_TARGET

enum { AVX2_KEYS = 64, AVX2_GROUPS = 8 };

typedef struct work {
    uint32_t column[FC_CROSS_COLUMNS][AVX2_KEYS] __attribute__((aligned(32)));
    uint32_t from[AVX2_KEYS] __attribute__((aligned(32))); /* octets from the first key */
    uint32_t at[AVX2_KEYS] __attribute__((aligned(32)));
} work;

INLINE const fc_key *key_at(const fc_key *keys, const uint32_t *index, uint32_t i)
{
    return &keys[index ? index[i] : i];
}

/* Four octets of each key from octet `at` on. */
INLINE void read_four(const fc_key *keys, const work *w, int groups, int at, __m256i *four)
{
    for (int g = 0; g < groups; g++)
        four[g] = _mm256_i32gather_epi32((const int *)((const uint8_t *)keys + at),
                                         _mm256_load_si256((const __m256i *)(w->from + 8 * g)), 1);
}

/* The classes of all octets of n keys; those after them, up to a whole group, get the last one's. */
INLINE int read_octets(const fc_cross *x, const fc_key *keys, const uint32_t *index, uint32_t n, int groups, work *w)
{
    uint64_t all = UINT64_MAX, any = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t tail;
        memcpy(&tail, &key_at(keys, index, i)->source_port, 8);
        all &= tail;
        any |= tail;
    }
    uint8_t lacking = (uint8_t) ~(all >> 56);
    if (!fc_cross_serves(x, all, any))
        return 0;
    for (uint32_t i = 0; i < 8 * (uint32_t)groups; i++)
        w->from[i] = (uint32_t)sizeof(fc_key) * (index ? index[i < n ? i : n - 1] : i < n ? i : n - 1);
    const __m256i low = _mm256_set1_epi32(0xff);
    for (uint32_t c = 0; c < x->octets;) {
        const int at = x->octet[c].at & ~3;
        __m256i four[AVX2_GROUPS];
        read_four(keys, w, groups, at, four);
        for (; c < x->octets && (x->octet[c].at & ~3) == at; c++) {
            const fc_cross_octet *o = &x->octet[c];
            const __m128i shift = _mm_cvtsi32_si128(8 * (o->at & 3));
            for (int g = 0; g < groups; g++) {
                __m256i octet = _mm256_and_si256(_mm256_srl_epi32(four[g], shift), low);
                __m256i class = _mm256_i32gather_epi32((const int *)(x->map + 256 * c), octet, 1);
                _mm256_store_si256((__m256i *)(w->column[c] + 8 * g), _mm256_and_si256(class, low));
            }
            for (uint32_t i = 0; (lacking & o->field) && i < n; i++) {
                if (~key_at(keys, index, i)->present & o->field)
                    w->column[c][i] = o->lacking;
            }
        }
    }
    return 1;
}

INLINE void index_of(const fc_cross_step *step, const work *w, int groups, __m256i *at)
{
    for (int g = 0; g < groups; g++)
        at[g] = _mm256_setzero_si256();
    for (uint32_t k = 0; k < step->inputs; k++) {
        const __m256i stride = _mm256_set1_epi32(step->input[k].stride);
        uint32_t column = step->input[k].column;
        for (int g = 0; g < groups; g++) {
            __m256i v = _mm256_load_si256((const __m256i *)(w->column[column] + 8 * g));
            at[g] = _mm256_add_epi32(at[g], _mm256_madd_epi16(v, stride));
        }
    }
}

INLINE void take_step(const fc_cross *x, const fc_cross_step *step, const work *w, int groups, int last, uint32_t *to)
{
    const int *table = (const int *)(x->tables + step->table);
    __m256i at[AVX2_GROUPS];
    index_of(step, w, groups, at);
    for (int g = 0; g < groups; g++) {
        __m256i v = step->width == 1   ? _mm256_i32gather_epi32(table, at[g], 1)
                    : step->width == 2 ? _mm256_i32gather_epi32(table, at[g], 2)
                                       : _mm256_i32gather_epi32(table, at[g], 4);
        if (last && step->width == 2)
            v = _mm256_srai_epi32(_mm256_slli_epi32(v, 16), 16);
        else if (!last)
            v = _mm256_and_si256(v, _mm256_set1_epi32(step->width == 1 ? 0xff : 0xffff));
        _mm256_store_si256((__m256i *)(to + 8 * g), v);
    }
}

/* One key after the other: four words of 64 bits to a register are not worth gathering. */
INLINE void exact_step(const fc_cross *x, const fc_cross_step *step, const fc_key *keys, const work *w, int groups,
                       uint32_t *to)
{
    for (int i = 0; i < 8 * groups; i++)
        to[i] = fc_cross_exact(x, step, (const fc_key *)((const uint8_t *)keys + w->from[i]));
}

INLINE int look_up(const fc_cross *x, const fc_key *keys, const uint32_t *index, uint32_t n, int groups, work *w,
                   int32_t *out)
{
    uint32_t s = 0;
    if (!read_octets(x, keys, index, n, groups, w))
        return 0;
    for (; s + 1u < x->steps; s++) {
        if (x->step[s].width)
            take_step(x, &x->step[s], w, groups, 0, w->column[x->octets + s]);
        else
            exact_step(x, &x->step[s], keys, w, groups, w->column[x->octets + s]);
    }
    take_step(x, &x->step[s], w, groups, 1, w->at);
    memcpy(out, w->at, 4 * (size_t)n);
    return 1;
}

FC_TARGET int fc_cross_avx2(const fc_cross *x, const fc_key *keys, const uint32_t *index, uint32_t n, int32_t *out)
{
    work w;
    for (uint32_t start = 0; start < n; start += AVX2_KEYS) {
        uint32_t m = n - start < AVX2_KEYS ? n - start : AVX2_KEYS;
        const fc_key *from = index ? keys : keys + start;
        const uint32_t *which = index ? index + start : NULL;
        int found = m == AVX2_KEYS ? look_up(x, from, which, AVX2_KEYS, AVX2_GROUPS, &w, out + start)
                                   : look_up(x, from, which, m, (int)(m + 7) / 8, &w, out + start);
        if (!found)
            return 0;
    }
    return 1;
}
#else
typedef int fc_cross_not_this_architecture; /* ISO C wants a declaration */
#endif
