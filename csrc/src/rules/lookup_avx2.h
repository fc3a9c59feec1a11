/* lookup_avx2.h - the AVX2 kernel's 256-bit comparisons, for the stages of lookup_batch.h. */
#include <immintrin.h>

#include "format.h"

#define FC_TARGET __attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt")))
#define FC_EIGHT
#define INLINE static inline __attribute__((always_inline)) FC_TARGET

/* There is no unsigned comparison: t > span exactly where the saturating difference is not 0. */
INLINE __m256i over(__m256i key, const uint16_t *lo, const uint16_t *span)
{
    __m256i t = _mm256_sub_epi16(key, _mm256_load_si256((const __m256i *)lo));
    return _mm256_subs_epu16(t, _mm256_load_si256((const __m256i *)span));
}

INLINE __m256i load(const uint16_t *p) { return _mm256_load_si256((const __m256i *)p); }

INLINE int body_fails(int lanes, const uint16_t *key, const uint16_t *body)
{
    if (lanes == 8) { /* the last lane is shifted out */
        __m128i t = _mm_sub_epi16(_mm_load_si128((const __m128i *)key), _mm_load_si128((const __m128i *)body));
        t = _mm_slli_si128(_mm_subs_epu16(t, _mm_load_si128((const __m128i *)(body + 8))), 2);
        return !_mm_testz_si128(t, t);
    }
    const __m256i all_but_last = _mm256_setr_epi32(-1, -1, -1, -1, -1, -1, -1, 0xffff);
    if (lanes == 16)
        return !_mm256_testz_si256(over(load(key), body, body + 16), all_but_last);
    __m256i a = over(load(key), body, body + 32);
    __m256i b = _mm256_and_si256(over(load(key + 16), body + 16, body + 48), all_but_last);
    a = _mm256_or_si256(a, b);
    return !_mm256_testz_si256(a, a);
}

INLINE int short_fails(const uint16_t *key, const uint16_t *body, const uint16_t *spans)
{
    const uint8_t *length = (const uint8_t *)(body + 23);
    __m256i span = _mm256_set_m128i(_mm_load_si128((const __m128i *)(spans + (size_t)8 * length[1])),
                                    _mm_load_si128((const __m128i *)(spans + (size_t)8 * length[0])));
    __m256i t = _mm256_subs_epu16(_mm256_sub_epi16(load(key), load(body)), span);
    __m128i u =
        _mm_sub_epi16(_mm_load_si128((const __m128i *)(key + 16)), _mm_load_si128((const __m128i *)(body + 16)));
    u = _mm_slli_si128(_mm_subs_epu16(u, _mm_load_si128((const __m128i *)(body + 24))), 2); /* without lane 23 */
    t = _mm256_or_si256(t, _mm256_zextsi128_si256(u));
    return !_mm256_testz_si256(t, t);
}

/* zero: all ones in the octets of lanes that match, in the order of the lanes. The last lane of each body says nothing.
 */
INLINE uint32_t marks(__m256i zero, uint32_t last)
{
    return (last - (~(uint32_t)_mm256_movemask_epi8(zero) & (last - last / 0x80))) & last;
}

INLINE uint32_t block_matches(int lanes, const uint16_t *key, const uint16_t *block)
{
    if (lanes == 8) {
        __m256i k = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)key));
        __m256i zero = _mm256_setzero_si256();
        __m256i a = _mm256_cmpeq_epi16(over(k, block, block + 32), zero);
        __m256i b = _mm256_cmpeq_epi16(over(k, block + 16, block + 48), zero);
        /* packed by halves: bodies 0, 2, 1, 3 */
        return marks(_mm256_permute4x64_epi64(_mm256_packs_epi16(a, b), 0xd8), 0x80808080);
    }
    __m256i k = load(key);
    const __m256i all_but_last = _mm256_setr_epi32(-1, -1, -1, -1, -1, -1, -1, 0xffff);
    return (uint32_t)_mm256_testz_si256(over(k, block, block + 32), all_but_last) << 15 |
           (uint32_t)_mm256_testz_si256(over(k, block + 16, block + 48), all_but_last) << 31;
}

INLINE uint32_t half_matches(const uint16_t *key, const uint16_t *block)
{
    __m256i k = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)key));
    __m256i zero = _mm256_cmpeq_epi16(over(k, block, block + 16), _mm256_setzero_si256());
    return marks(_mm256_permute4x64_epi64(_mm256_packs_epi16(zero, zero), 0xd8), 0x8080);
}

INLINE uint32_t interval(const uint16_t *threshold, uint16_t value)
{
    __m256i v = _mm256_set1_epi16((short)value);
    __m256i a = load(threshold), b = load(threshold + 16);
    a = _mm256_cmpeq_epi16(_mm256_max_epu16(a, v), v);
    b = _mm256_cmpeq_epi16(_mm256_max_epu16(b, v), v);
    uint32_t low = (uint32_t)_mm256_movemask_epi8(a), high = (uint32_t)_mm256_movemask_epi8(b) & 0x3fffffff;
    return (uint32_t)(__builtin_popcount(low) + __builtin_popcount(high)) / 2;
}

INLINE uint32_t meet(const uint64_t *const *row, uint32_t rows, uint32_t block, uint32_t n, uint64_t *both)
{
    uint32_t some = 0;
    const __m256i zero = _mm256_setzero_si256();
    for (uint32_t k = 0; k < n; k++) {
        const __m256i *first = (const __m256i *)(row[0] + 8 * (size_t)(block + k));
        __m256i a = _mm256_load_si256(first), b = _mm256_load_si256(first + 1);
        for (uint32_t i = 1; i < rows; i++) {
            const __m256i *more = (const __m256i *)(row[i] + 8 * (size_t)(block + k));
            a = _mm256_and_si256(a, _mm256_load_si256(more));
            b = _mm256_and_si256(b, _mm256_load_si256(more + 1));
        }
        _mm256_store_si256((__m256i *)(both + 8 * k), a);
        _mm256_store_si256((__m256i *)(both + 8 * k + 4), b);
        uint32_t low = (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(a, zero)));
        uint32_t high = (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(b, zero)));
        some |= ((low | high << 4) ^ 0xff) << (8 * k);
    }
    return some;
}
