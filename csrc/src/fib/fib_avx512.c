/* fib_avx512.c - decisions with AVX-512: a bucket's tags in one comparison, sixteen signatures in another. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "format.h"

#define FIB_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,bmi,bmi2,lzcnt,popcnt")))
#define FIB_NAME fc_fib_decide_avx512
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

/* fib_hash_of for four keys, two lanes each. A key of another version than 4 or 6 gets some bucket: it is nobody's. */
FIB_TARGET static inline void hash4(const fib_index *x, const fc_key *k, fib_hash *hash)
{
#define FOUR(field) _mm512_inserti64x4(_mm512_castsi256_si512(TWO(0, field)), TWO(2, field), 1)
#define TWO(i, field)                                                                                            \
    _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)&k[i].field)), \
                            _mm_loadu_si128((const __m128i *)(const void *)&k[(i) + 1].field), 1)
    __m512i address = FOUR(destination), tail = FOUR(flow_label); /* the tail is the upper word from there */
#undef TWO
#undef FOUR
    const __m512i low = _mm512_set1_epi64(0xffffffff);
    __m512i upper = _mm512_broadcast_i32x4(_mm_set_epi64x((long long)x->key[2], (long long)x->key[0]));
    __m512i lower = _mm512_broadcast_i32x4(_mm_set_epi64x((long long)x->key[3], (long long)x->key[1]));
    __m512i h = _mm512_mullo_epi64(_mm512_add_epi64(_mm512_srli_epi64(address, 32), upper),
                                   _mm512_add_epi64(_mm512_and_si512(address, low), lower));
    __mmask8 six = _mm512_test_epi64_mask(tail, _mm512_set1_epi64((long long)2 << FIB_TAIL_VERSION));
    __m512i kind = _mm512_mask_mov_epi64(_mm512_set1_epi64((long long)(x->key[4] * (2 * FIB_KIND_HOME(4) + 1))), six,
                                         _mm512_set1_epi64((long long)(x->key[4] * (2 * FIB_KIND_HOME(6) + 1))));
    /* in the upper lane of each two: both products and the version's part */
    h = _mm512_add_epi64(_mm512_add_epi64(h, kind), _mm512_shuffle_epi32(h, _MM_PERM_BADC));
    __m512i bucket = _mm512_srli_epi64(_mm512_mul_epu32(_mm512_srli_epi64(h, 32), _mm512_set1_epi64(x->buckets)), 32);
    __m512i tag = _mm512_and_si512(_mm512_slli_epi64(h, 16), _mm512_set1_epi64((long long)0xffff << 32));
    __m512i both = _mm512_or_si512(bucket, tag); /* as fib_hash has them */
    _mm256_storeu_si256((__m256i *)(void *)hash, _mm512_castsi512_si256(_mm512_maskz_compress_epi64(0xaa, both)));
}
_Static_assert(sizeof(fib_hash) == 8 && offsetof(fib_hash, tag) == 4, "as hash4 writes it");
_Static_assert(offsetof(fc_key, flow_label) + 8 == FIB_TAIL_OFFSET, "as hash4 reads it");

#include "sse.h"
#define FIB_HASH4 hash4

#define FIB_TAGS tags
#define FIB_CANDIDATES candidates
#include "stages.h"
#else
typedef int fib_avx512_is_not_built;
#endif
