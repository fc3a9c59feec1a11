/* fib_avx2.c - decisions with AVX2: a bucket's tags in one comparison, eight signatures in another. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "format.h"

#define FIB_TARGET __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))
#define FIB_NAME fc_fib_decide_avx2
#define FIB_ID FC_KERNEL_AVX2

/* no_sanitize: a writer may be storing a tag; a reference decides, and that is loaded as it should be */
FIB_TARGET __attribute__((no_sanitize("thread"))) static inline uint32_t tags(const fib_bucket *b, uint16_t tag)
{
    __m256i v = _mm256_load_si256((const __m256i *)(const void *)b);
    __m256i same = _mm256_cmpeq_epi16(v, _mm256_set1_epi16((short)tag));
    /* an octet a way; not pext, which is microcode in AMD's processors before Zen 3 */
    __m128i octets = _mm_packs_epi16(_mm256_castsi256_si128(same), _mm256_extracti128_si256(same, 1));
    return (uint32_t)_mm_movemask_epi8(octets) & ((1u << FIB_WAYS) - 1);
}

FIB_TARGET static inline uint32_t admitted(const uint8_t *s, __m256i key)
{
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)s); /* what isn't signatures is still the record */
    __m256i zero = _mm256_setzero_si256();
    __m256i off = _mm256_andnot_si256(_mm256_cmpeq_epi8(v, zero), _mm256_sub_epi8(v, key)); /* 0: same, any */
    off = _mm256_and_si256(off, _mm256_set1_epi32(0xffffff));
    return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(off, zero)));
}

FIB_TARGET static inline uint64_t candidates(const uint8_t *s, unsigned n, uint32_t octets)
{
    __m256i key = _mm256_max_epu8(_mm256_set1_epi32((int)octets), _mm256_set1_epi8(1));
    uint64_t c = 0;
    for (unsigned i = 0; i < n; i += 16)
        c |= ((uint64_t)admitted(s + 4 * i, key) | (uint64_t)admitted(s + 4 * i + 32, key) << 8) << i;
    return _bzhi_u64(c, n);
}

#include "sse.h"

#define FIB_TAGS tags
#define FIB_CANDIDATES candidates
#include "stages.h"
#else
typedef int fib_avx2_is_not_built;
#endif
