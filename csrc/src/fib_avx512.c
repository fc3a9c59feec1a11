/* fib_avx512.c - decisions with AVX-512: a bucket's tags in one comparison, sixteen signatures in another. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "fc_fib.h"

#define FIB_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,bmi,bmi2,lzcnt,popcnt")))
#define FIB_NAME fib_decide_avx512
#define FIB_ID FC_KERNEL_AVX512

/* no_sanitize: a writer may be storing a tag; a reference decides, and that is loaded as it should be */
FIB_TARGET __attribute__((no_sanitize("thread"))) static inline uint32_t tags(const fib_bucket *b, uint16_t tag)
{
    __m256i v = _mm256_load_si256((const __m256i *)(const void *)b);
    return _mm256_cmpeq_epi16_mask(v, _mm256_set1_epi16((short)tag)) & ((1u << FIB_WAYS) - 1);
}

FIB_TARGET static inline uint32_t admitted(const uint8_t *s, __m512i key)
{
    __m512i v = _mm512_loadu_si512(s); /* what isn't signatures any more is still the record */
    __m512i off = _mm512_maskz_sub_epi8(_mm512_test_epi8_mask(v, v), v, key); /* 0: the same, or anything */
    return _mm512_testn_epi32_mask(off, _mm512_set1_epi32(0xffffff));
}

FIB_TARGET static inline uint64_t candidates(const uint8_t *s, unsigned n, uint32_t octets)
{
    __m512i key = _mm512_max_epu8(_mm512_set1_epi32((int)octets), _mm512_set1_epi8(1));
    uint64_t c = admitted(s, key);
    for (unsigned i = 16; i < n; i += 16)
        c |= (uint64_t)admitted(s + 4 * i, key) << i;
    return _bzhi_u64(c, n);
}

#define FIB_TAGS tags
#define FIB_CANDIDATES candidates
#include "fib_block.h"
#else
typedef int fib_avx512_is_not_built;
#endif
