/* fib_avx512.c - decisions with AVX-512: a bucket's tags in one comparison, sixteen signatures in another. What is done
 * with 16 octets of each key is done for four keys at once. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "../common/halves.h"
#include "format.h"

#define FIB_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,bmi,bmi2,lzcnt,popcnt")))
#define FIB_NAME fc_fib_decide_avx512
#define FIB_ID FC_KERNEL_AVX512

#include "sse.h" /* before search.h, which takes these steps then */

#include "search.h"

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

/* 16 octets at each of four places, one in each lane. */
#define TWO(a, b)                                                                                        \
    _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)(a))), \
                            _mm_loadu_si128((const __m128i *)(const void *)(b)), 1)
#define FOUR(a, b, c, d) _mm512_inserti64x4(_mm512_castsi256_si512(TWO(a, b)), TWO(c, d), 1)
#define OF_KEYS(field) FOUR(&k[0].field, &k[1].field, &k[2].field, &k[3].field)
#define TAILS OF_KEYS(flow_label) /* in the upper words */
#define UPPER(word) _mm512_broadcast_i32x4(_mm_set_epi64x((long long)(word), 0))
_Static_assert(offsetof(fc_key, flow_label) + 8 == FIB_TAIL_OFFSET, "tails are upper words");

/* fib_hash_of for four keys. A key of another version than 4 or 6 gets some bucket: it is nobody's. */
FIB_TARGET static inline void hash4(const fib_index *x, const fc_key *k, fib_hash *hash)
{
    __m512i address = OF_KEYS(destination), tail = TAILS;
    const __m512i low = _mm512_set1_epi64(0xffffffff);
    __m512i upper = _mm512_broadcast_i32x4(_mm_set_epi64x((long long)x->key[2], (long long)x->key[0]));
    __m512i lower = _mm512_broadcast_i32x4(_mm_set_epi64x((long long)x->key[3], (long long)x->key[1]));
    upper = _mm512_add_epi64(upper, _mm512_srli_epi64(address, 32));
    lower = _mm512_add_epi64(lower, _mm512_and_si512(address, low));
    __m512i h = FC_BY_HALVES(_mm256_mullo_epi64, upper, lower);
    __mmask8 six = _mm512_test_epi64_mask(tail, _mm512_set1_epi64((long long)2 << FIB_TAIL_VERSION));
    __m512i kind = _mm512_mask_mov_epi64(_mm512_set1_epi64((long long)(x->key[4] * (2 * FIB_KIND_HOME(4) + 1))), six,
                                         _mm512_set1_epi64((long long)(x->key[4] * (2 * FIB_KIND_HOME(6) + 1))));
    /* in the upper lane of each two: both products and the version's part */
    h = _mm512_add_epi64(_mm512_add_epi64(h, kind), _mm512_shuffle_epi32(h, _MM_PERM_BADC));
    __m512i part = _mm512_srli_epi64(h, 32), buckets = _mm512_set1_epi64(x->buckets);
    __m512i bucket = _mm512_srli_epi64(FC_BY_HALVES(_mm256_mul_epu32, part, buckets), 32);
    __m512i tag = _mm512_and_si512(_mm512_slli_epi64(h, 16), _mm512_set1_epi64((long long)0xffff << 32));
    __m512i both = _mm512_or_si512(bucket, tag); /* as fib_hash has them */
    _mm256_storeu_si256((__m256i *)(void *)hash, _mm512_castsi512_si256(_mm512_maskz_compress_epi64(0xaa, both)));
}
_Static_assert(sizeof(fib_hash) == 8 && offsetof(fib_hash, tag) == 4, "as hash4 writes it");

/* fib_is_unusual for four bare keys, one bit each. no_sanitize: what the table has for a record may be an anchor, whose
 * reference a writer changes; nothing is done with what was read of it. */
FIB_TARGET __attribute__((no_sanitize("thread"))) static inline uint32_t unusual4(const uint8_t *const *record,
                                                                                  const fc_key *k)
{
    __m512i tail = TAILS;
    __m512i differs = _mm512_xor_si512(FOUR(record[0], record[1], record[2], record[3]), OF_KEYS(destination));
    __m512i top = FOUR(record[0] + 16, record[1] + 16, record[2] + 16, record[3] + 16); /* upper words: `usual` first */
    __m512i kind = _mm512_xor_si512(_mm512_srli_epi64(tail, FIB_TAIL_VERSION), top);
    differs = _mm512_or_si512(differs, _mm512_and_si512(kind, UPPER(FIB_TAIL_USUAL)));
    const uint64_t protocol = (uint64_t)0xff << FIB_TAIL_PROTOCOL,
                   mobility = (uint64_t)FC_PROTOCOL_MOBILITY << FIB_TAIL_PROTOCOL;
    uint32_t wrong = _mm512_test_epi64_mask(differs, differs); /* two bits a key */
    wrong |= _mm512_mask_testn_epi64_mask(0xaa, _mm512_xor_si512(tail, UPPER(mobility)), UPPER(protocol));
    return _pext_u32(wrong | wrong << 1, 0xaa);
}
_Static_assert(offsetof(fib_record, usual) == 24, "as unusual4 reads it");

/* The form of a body in the upper octet. */
FIB_TARGET static inline uint32_t form_of(const uint8_t *end)
{
    uint32_t v;
    memcpy(&v, end - 7, sizeof v);
    return v;
}

/* fib_body_matches for four keys: which heads they have then, the body's or the default's; one bit for each key that
 * doesn't match and has other candidates. */
FIB_TARGET static inline uint32_t match4(const fc_key *k, const uint8_t *const *record, const uint8_t *const *end,
                                         const uint64_t *candidates, uint64_t *head)
{
    static const intptr_t source_at[4] = {-24, -16, -32, -24}; /* by a form's two bits FIB_HALF and FIB_PORTS */
#define SOURCE(i) (end[i] + source_at[form_of(end[i]) >> 30])
#define MASK(i) fc_fib_masks[end[i][-5]]
    __m512i differs = _mm512_xor_si512(OF_KEYS(source), FOUR(SOURCE(0), SOURCE(1), SOURCE(2), SOURCE(3)));
    differs = _mm512_and_si512(differs, FOUR(MASK(0), MASK(1), MASK(2), MASK(3)));
    differs = _mm512_or_si512(differs, _mm512_shuffle_epi32(differs, _MM_PERM_BADC));
#undef SOURCE
#undef MASK
    /* in each lane: the ports' first values, their spans, the head */
    __m512i body = FOUR(end[0] - 16, end[1] - 16, end[2] - 16, end[3] - 16), tail = TAILS;
    __m512i above = _mm512_sub_epi16(tail, _mm512_shuffle_epi32(body, _MM_PERM_AAAA));
    __m512i outside = _mm512_subs_epu16(above, _mm512_shuffle_epi32(body, _MM_PERM_BBBB));
#define FORM(bits) UPPER((uint64_t)(bits) << FIB_HEAD_FORM)
#define HAS(bits) _mm512_test_epi64_mask(body, FORM(bits))
    __m512i other = _mm512_xor_si512(tail, body);
    __mmask8 fail = _mm512_test_epi64_mask(differs, differs);
    __mmask8 absent =
        _mm512_test_epi64_mask(_mm512_andnot_si512(tail, body), UPPER((uint64_t)0xff << FIB_TAIL_PRESENT));
    __mmask8 ports = _mm512_mask_test_epi64_mask(HAS(FIB_PORTS), outside, UPPER(0xffffffff));
    __mmask8 protocol =
        _mm512_mask_test_epi64_mask(HAS(FIB_PROTOCOL), other, UPPER((uint64_t)0xff << FIB_TAIL_PROTOCOL));
    __mmask8 version = _mm512_mask_test_epi64_mask(HAS(FIB_VERSION), other, UPPER((uint64_t)0xff << FIB_TAIL_VERSION));
    fail = _kor_mask8(_kor_mask8(_kor_mask8(fail, absent), _kor_mask8(ports, protocol)), version);
    uint32_t extra = HAS(FIB_EXTRA) & (uint32_t)~fail;
    if (FIB_UNLIKELY(extra))
        for (int i = 0; i < 4; i++)
            if (extra >> (2 * i + 1) & 1 && !fib_body_matches(end[i], &k[i]))
                fail |= (__mmask8)(2u << 2 * i);
    const uint64_t by_flow = (uint64_t)1 << FIB_TAIL_PRESENT;
    __m512i of_default = FOUR(record[0] + 16, record[1] + 16, record[2] + 16, record[3] + 16);
    of_default = _mm512_and_si512(of_default, _mm512_or_si512(UPPER((uint64_t)0xff << FIB_HEAD_TARGET), FORM(0xff)));
    __m512i of_flow = _mm512_and_si512(body, UPPER(by_flow - 1));
    of_flow = _mm512_or_si512(of_flow, UPPER(by_flow));
    __m512i heads = _mm512_mask_mov_epi64(of_flow, fail, of_default);
    _mm256_storeu_si256((__m256i *)(void *)head, _mm512_castsi512_si256(_mm512_maskz_compress_epi64(0xaa, heads)));
    __m256i others = _mm256_loadu_si256((const __m256i *)(const void *)candidates);
    return _pext_u32(fail, 0xaa) & _mm256_test_epi64_mask(others, others);
#undef FORM
#undef HAS
}

#define FIB_HASH4 hash4
#define FIB_UNUSUAL4 unusual4
#define FIB_MATCH4 match4
#define FIB_TAGS tags
#define FIB_CANDIDATES candidates
#include "stages.h"
#else
typedef int fib_avx512_is_not_built;
#endif
