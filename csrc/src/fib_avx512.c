/* fib_avx512.c - decisions with AVX-512: a bucket's tags in one comparison, a row of 64 signatures in another. */
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

FIB_TARGET static inline __mmask64 admits(__mmask64 among, const uint8_t *row, uint8_t s)
{
    __m512i v = _mm512_maskz_loadu_epi8(among, row);
    return _mm512_mask_cmpeq_epi8_mask(among, v, _mm512_set1_epi8((char)s)) | _mm512_mask_testn_epi8_mask(among, v, v);
}

FIB_TARGET static inline uint64_t candidates(const uint8_t *rows, unsigned n, uint8_t s0, uint8_t s1, uint8_t s2)
{
    __mmask64 all = _bzhi_u64(UINT64_MAX, n);
    return admits(all, rows, s0) & admits(all, rows + n, s1) & admits(all, rows + 2 * n, s2);
}

#define FIB_TAGS tags
#define FIB_CANDIDATES candidates
#include "fib_block.h"
#else
typedef int fib_avx512_is_not_built;
#endif
