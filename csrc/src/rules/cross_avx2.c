/* cross_avx2.c - the cross-product tables' look-up by gathering eight entries at once. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "cross.h"

#define FC_TARGET __attribute__((target("avx2,bmi2")))
#define INLINE static inline __attribute__((always_inline)) FC_TARGET

enum { AVX2_KEYS = 64, AVX2_GROUPS = 8 };

typedef struct work {
    uint8_t octet[FC_CROSS_OCTETS][AVX2_KEYS] __attribute__((aligned(32)));
    uint32_t step[FC_CROSS_STEPS][AVX2_KEYS] __attribute__((aligned(32)));
    uint32_t at[AVX2_KEYS] __attribute__((aligned(32)));
} work;

INLINE const fc_key *key_at(const fc_key *keys, const uint32_t *index, uint32_t i)
{
    return &keys[index ? index[i] : i];
}

/* The classes of all octets of n keys; those after them get the last one's. */
INLINE int read_octets(const fc_cross *x, const fc_key *keys, const uint32_t *index, uint32_t n, work *w)
{
    uint64_t all = UINT64_MAX, any = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t tail;
        memcpy(&tail, &key_at(keys, index, i)->source_port, 8);
        all &= tail;
        any |= tail;
    }
    uint8_t lacking = (uint8_t) ~(all >> 56);
    if ((uint8_t)(all >> 48) != x->version || (uint8_t)(any >> 48) != x->version || (lacking & x->required))
        return 0;
    for (uint32_t c = 0; c < x->octets; c++) {
        const fc_cross_octet *o = &x->octet[c];
        const uint8_t *map = x->map + 256 * c;
        for (uint32_t i = 0; i < n; i++)
            w->octet[c][i] = map[((const uint8_t *)key_at(keys, index, i))[o->at]];
        for (uint32_t i = 0; (lacking & o->field) && i < n; i++) {
            if (~key_at(keys, index, i)->present & o->field)
                w->octet[c][i] = o->lacking;
        }
        for (uint32_t i = n; i < AVX2_KEYS; i++)
            w->octet[c][i] = w->octet[c][n - 1];
    }
    return 1;
}

INLINE void index_of(const fc_cross *x, const fc_cross_step *step, const work *w, __m256i *at)
{
    for (int g = 0; g < AVX2_GROUPS; g++)
        at[g] = _mm256_setzero_si256();
    for (uint32_t k = 0; k < step->inputs; k++) {
        const __m256i stride = _mm256_set1_epi32(step->input[k].stride);
        uint32_t column = step->input[k].column;
        for (int g = 0; g < AVX2_GROUPS; g++) {
            __m256i v = column < x->octets
                            ? _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(w->octet[column] + 8 * g)))
                            : _mm256_load_si256((const __m256i *)(w->step[column - x->octets] + 8 * g));
            at[g] = _mm256_add_epi32(at[g], _mm256_madd_epi16(v, stride));
        }
    }
}

INLINE void take_step(const fc_cross *x, const fc_cross_step *step, const work *w, int last, uint32_t *to)
{
    const int *table = (const int *)(x->tables + step->table);
    __m256i at[AVX2_GROUPS];
    index_of(x, step, w, at);
    for (int g = 0; g < AVX2_GROUPS; g++) {
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

FC_TARGET int fc_cross_avx2(const fc_cross *x, const fc_key *keys, const uint32_t *index, uint32_t n, int32_t *out)
{
    work w;
    for (uint32_t start = 0; start < n; start += AVX2_KEYS) {
        uint32_t m = n - start < AVX2_KEYS ? n - start : AVX2_KEYS, s = 0;
        const fc_key *from = index ? keys : keys + start;
        const uint32_t *which = index ? index + start : NULL;
        if (!read_octets(x, from, which, m, &w))
            return 0;
        for (; s + 1u < x->steps; s++) {
            if (x->step[s].width)
                take_step(x, &x->step[s], &w, 0, w.step[s]);
            for (uint32_t i = 0; x->step[s].width == 0 && i < AVX2_KEYS; i++)
                w.step[s][i] = i < m ? fc_cross_exact(x, &x->step[s], key_at(from, which, i)) : 0;
        }
        take_step(x, &x->step[s], &w, 1, w.at);
        memcpy(out + start, w.at, 4 * (size_t)m);
    }
    return 1;
}
#else
typedef int fc_cross_not_this_architecture; /* ISO C wants a declaration */
#endif
