/* cross_avx512.c - the cross-product tables' look-up, 64 keys at a time: classes of octets by permutations of registers
 * (so VBMI is wanted), tables by gathering. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "cross.h"

#define FC_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx2,bmi2")))
#define INLINE static inline __attribute__((always_inline)) FC_TARGET

enum { AVX512_KEYS = 64, AVX512_GROUPS = 4, AVX512_AHEAD = 4 };

typedef struct work {
    uint8_t octet[FC_CROSS_OCTETS][AVX512_KEYS] __attribute__((aligned(64)));
    uint32_t step[FC_CROSS_STEPS][AVX512_KEYS];
} work;

/* Four octets of each of 64 keys, `at` and the next three, to octets[0] to octets[3], in the order of the keys.
 * from[g]: the offsets of keys 4g to 4g + 3 of each 16. */
INLINE void transpose(const fc_key *keys, const __m512i *from, int at, __m512i *octets)
{
    const __m512i by_octet =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    __m512i v[AVX512_GROUPS];
    for (int g = 0; g < AVX512_GROUPS; g++)
        v[g] = _mm512_shuffle_epi8(_mm512_i32gather_epi32(from[g], (const uint8_t *)keys + at, 1), by_octet);
    __m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpackhi_epi32(v[0], v[1]);
    __m512i c = _mm512_unpacklo_epi32(v[2], v[3]), d = _mm512_unpackhi_epi32(v[2], v[3]);
    octets[0] = _mm512_unpacklo_epi64(a, c);
    octets[1] = _mm512_unpackhi_epi64(a, c);
    octets[2] = _mm512_unpacklo_epi64(b, d);
    octets[3] = _mm512_unpackhi_epi64(b, d);
}

INLINE __m512i classes_of(const uint8_t *map, __m512i octet)
{
    __m512i lower = _mm512_permutex2var_epi8(_mm512_load_si512(map), octet, _mm512_load_si512(map + 64));
    __m512i upper = _mm512_permutex2var_epi8(_mm512_load_si512(map + 128), octet, _mm512_load_si512(map + 192));
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(octet), lower, upper);
}

INLINE int read_octets(const fc_cross *x, const fc_key *keys, const __m512i *from, work *w)
{
    __m512i octets[4];
    transpose(keys, from, 44, octets); /* class, protocol, version, presence */
    const __m512i present = octets[3];
    if (_mm512_cmpneq_epi8_mask(octets[2], _mm512_set1_epi8((char)x->version)) |
        _mm512_cmpneq_epi8_mask(_mm512_and_si512(present, _mm512_set1_epi8((char)x->required)),
                                _mm512_set1_epi8((char)x->required)))
        return 0;
    int have = 44;
    for (uint32_t c = x->octets; c-- > 0;) {
        const fc_cross_octet *o = &x->octet[c];
        if ((o->at & ~3) != have) {
            have = o->at & ~3;
            transpose(keys, from, have, octets);
        }
        __m512i k = classes_of(x->map + 256 * c, octets[o->at & 3]);
        __mmask64 lacking = _mm512_testn_epi8_mask(present, _mm512_set1_epi8((char)o->field));
        if (o->field)
            k = _mm512_mask_blend_epi8(lacking, k, _mm512_set1_epi8((char)o->lacking));
        _mm512_store_si512(w->octet[c], k);
    }
    return 1;
}

/* The indices of 64 keys in a step's table. */
INLINE void index_of(const fc_cross *x, const fc_cross_step *step, const work *w, __m512i *at)
{
    for (int g = 0; g < AVX512_GROUPS; g++)
        at[g] = _mm512_setzero_si512();
    for (uint32_t k = 0; k < step->inputs; k++) {
        const __m512i stride = _mm512_set1_epi32(step->input[k].stride);
        uint32_t column = step->input[k].column;
        if (column < x->octets) {
            for (int g = 0; g < AVX512_GROUPS; g++) {
                __m512i v = _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)(w->octet[column] + 16 * g)));
                at[g] = _mm512_add_epi32(at[g], _mm512_madd_epi16(v, stride));
            }
        } else {
            for (int g = 0; g < AVX512_GROUPS; g++)
                at[g] = _mm512_add_epi32(
                    at[g], _mm512_madd_epi16(_mm512_load_si512(w->step[column - x->octets] + 16 * g), stride));
        }
    }
}

INLINE void take_step(const fc_cross *x, const fc_cross_step *step, work *w, uint32_t *to)
{
    const uint8_t *table = x->tables + step->table;
    __m512i at[AVX512_GROUPS];
    index_of(x, step, w, at);
    if (step->width == 1) {
        for (int g = 0; g < AVX512_GROUPS; g++)
            _mm512_store_si512(to + 16 * g,
                               _mm512_and_si512(_mm512_i32gather_epi32(at[g], table, 1), _mm512_set1_epi32(0xff)));
    } else {
        for (int g = 0; g < AVX512_GROUPS; g++)
            _mm512_store_si512(to + 16 * g,
                               _mm512_and_si512(_mm512_i32gather_epi32(at[g], table, 2), _mm512_set1_epi32(0xffff)));
    }
}

INLINE __m512i both(__m256i low, __m256i high) { return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1); }

/* The j-th quarters of the four together. */
INLINE __m512i quarters(const __m512i *v, int j)
{
    __m512i q[2];
    switch (j) {
    case 0:
        q[0] = _mm512_shuffle_i32x4(v[0], v[1], 0x00), q[1] = _mm512_shuffle_i32x4(v[2], v[3], 0x00);
        break;
    case 1:
        q[0] = _mm512_shuffle_i32x4(v[0], v[1], 0x55), q[1] = _mm512_shuffle_i32x4(v[2], v[3], 0x55);
        break;
    case 2:
        q[0] = _mm512_shuffle_i32x4(v[0], v[1], 0xaa), q[1] = _mm512_shuffle_i32x4(v[2], v[3], 0xaa);
        break;
    default:
        q[0] = _mm512_shuffle_i32x4(v[0], v[1], 0xff), q[1] = _mm512_shuffle_i32x4(v[2], v[3], 0xff);
        break;
    }
    return _mm512_shuffle_i32x4(q[0], q[1], 0x88);
}

/* from: as of transpose(). Results are stored 64 octets at a time, as they are read: else the reads wait for the
 * stores. */
INLINE void exact_step(const fc_cross *x, const fc_cross_step *step, const fc_key *keys, const __m512i *from,
                       uint32_t *to)
{
    const __m512i factor = _mm512_set1_epi64((long long)step->factor);
    const __m128i shift = _mm_cvtsi32_si128(step->shift);
    const uint8_t *at = (const uint8_t *)keys + step->at, *values = x->tables + step->values;
    for (int j = 0; j < 4; j++) {
        __m512i offset = quarters(from, j);
        __m512i a = _mm512_i32gather_epi64(_mm512_castsi512_si256(offset), at, 1);
        __m512i b = _mm512_i32gather_epi64(_mm512_extracti64x4_epi64(offset, 1), at, 1);
        __m512i slot = both(_mm512_cvtepi64_epi32(_mm512_srl_epi64(_mm512_mullo_epi64(a, factor), shift)),
                            _mm512_cvtepi64_epi32(_mm512_srl_epi64(_mm512_mullo_epi64(b, factor), shift)));
        __m512i candidate =
            _mm512_and_si512(_mm512_i32gather_epi32(slot, x->tables + step->table, 2), _mm512_set1_epi32(0xffff));
        __mmask8 first =
            _mm512_cmpeq_epi64_mask(a, _mm512_i32gather_epi64(_mm512_castsi512_si256(candidate), values, 8));
        __mmask8 second =
            _mm512_cmpeq_epi64_mask(b, _mm512_i32gather_epi64(_mm512_extracti64x4_epi64(candidate, 1), values, 8));
        _mm512_store_si512(to + 16 * j, _mm512_maskz_mov_epi32((__mmask16)(first | second << 8), candidate));
    }
}

INLINE void last_step(const fc_cross *x, const fc_cross_step *step, work *w, uint32_t n, int32_t *out)
{
    const uint8_t *table = x->tables + step->table;
    __m512i at[AVX512_GROUPS];
    index_of(x, step, w, at);
    for (uint32_t g = 0; 16 * g < n; g++) {
        __m512i v;
        if (step->width == 2)
            v = _mm512_srai_epi32(_mm512_slli_epi32(_mm512_i32gather_epi32(at[g], table, 2), 16), 16);
        else
            v = _mm512_i32gather_epi32(at[g], table, 4);
        __mmask16 in = (__mmask16)(n - 16 * g >= 16 ? 0xffff : (1u << (n - 16 * g)) - 1);
        _mm512_mask_storeu_epi32(out + 16 * g, in, v);
    }
}

FC_TARGET static int look_up(const fc_cross *x, const fc_key *keys, const __m512i *from, uint32_t n, int32_t *out)
{
    work w;
    if (!read_octets(x, keys, from, &w))
        return 0;
    uint32_t s = 0;
    for (; s + 1u < x->steps; s++) {
        if (x->step[s].width)
            take_step(x, &x->step[s], &w, w.step[s]);
        else
            exact_step(x, &x->step[s], keys, from, w.step[s]);
    }
    last_step(x, &x->step[s], &w, n, out);
    return 1;
}

FC_TARGET int fc_cross_avx512(const fc_cross *x, const fc_key *keys, const uint32_t *index, uint32_t n, int32_t *out)
{
    const __m512i of_group = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 32, 33, 34, 35, 48, 49, 50, 51);
    for (uint32_t start = 0; start < n; start += AVX512_KEYS) {
        uint32_t m = n - start < AVX512_KEYS ? n - start : AVX512_KEYS;
        const fc_key *base = index ? keys : keys + start;
        __m512i from[AVX512_GROUPS];
        for (int g = 0; g < AVX512_GROUPS; g++) {
            from[g] = _mm512_add_epi32(of_group, _mm512_set1_epi32(4 * g));
            if (m < AVX512_KEYS) /* the last key again */
                from[g] = _mm512_min_epu32(from[g], _mm512_set1_epi32((int)m - 1));
            if (index)
                from[g] = _mm512_i32gather_epi32(from[g], index + start, 4);
            from[g] = _mm512_mullo_epi32(from[g], _mm512_set1_epi32(sizeof(fc_key)));
        }
        if (!index) {
            for (uint32_t i = 0; i < AVX512_KEYS * sizeof(fc_key); i += 64)
                _mm_prefetch((const char *)(base + AVX512_AHEAD * AVX512_KEYS) + i, _MM_HINT_T0);
        }
        if (!look_up(x, base, from, m, out + start))
            return 0;
    }
    return 1;
}
#else
typedef int fc_cross_not_this_architecture; /* ISO C wants a declaration */
#endif
