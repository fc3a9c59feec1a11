/* fib_avx2.c - decisions with AVX2: a bucket's tags in one comparison, 32 signatures of a row in another. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "fc_fib.h"

#define FIB_TARGET __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))
#define FIB_NAME fib_decide_avx2
#define FIB_ID FC_KERNEL_AVX2

/* no_sanitize: a writer may be storing a tag; a reference decides, and that is loaded as it should be */
FIB_TARGET __attribute__((no_sanitize("thread"))) static inline uint32_t tags(const fib_bucket *b, uint16_t tag)
{
    __m256i v = _mm256_load_si256((const __m256i *)(const void *)b);
    __m256i same = _mm256_cmpeq_epi16(v, _mm256_set1_epi16((short)tag));
    /* two bits a way to one */
    return _pext_u32((uint32_t)_mm256_movemask_epi8(same), 0x55555555u) & ((1u << FIB_WAYS) - 1);
}

FIB_TARGET static inline __m256i admits(const uint8_t *row, uint8_t s)
{
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)row);
    return _mm256_or_si256(_mm256_cmpeq_epi8(v, _mm256_set1_epi8((char)s)), _mm256_cmpeq_epi8(v, _mm256_setzero_si256()));
}

/* 32 flows; what is loaded beyond the rows is still the record, and masked away by the caller */
FIB_TARGET static inline uint32_t admitted(const uint8_t *rows, unsigned n, uint8_t s0, uint8_t s1, uint8_t s2)
{
    __m256i v = _mm256_and_si256(admits(rows, s0), _mm256_and_si256(admits(rows + n, s1), admits(rows + 2 * n, s2)));
    return (uint32_t)_mm256_movemask_epi8(v);
}

FIB_TARGET static inline uint64_t candidates(const uint8_t *rows, unsigned n, uint8_t s0, uint8_t s1, uint8_t s2)
{
    if (n == 0) /* no rows: such a record may be shorter than a vector */
        return 0;
    uint64_t c = admitted(rows, n, s0, s1, s2);
    if (n > 32)
        c |= (uint64_t)admitted(rows + 32, n, s0, s1, s2) << 32;
    return _bzhi_u64(c, n);
}

#define FIB_TAGS tags
#define FIB_CANDIDATES candidates
#include "fib_block.h"
#else
typedef int fib_avx2_is_not_built;
#endif
