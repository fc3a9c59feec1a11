/* The AVX-512 kernel: a block of four bodies in one comparison, slots dealt sixteen at a time. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "format.h"

#define FC_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi,bmi2,popcnt,lzcnt")))
#define FC_LOOKUP fc_lookup_avx512
#define FC_OWN_SORT
#define INLINE static inline __attribute__((always_inline)) FC_TARGET

INLINE uint64_t extract(uint64_t word, uint64_t mask) { return _pext_u64(word, mask); }

INLINE int body_fails(int lanes, const uint16_t *key, const uint16_t *body)
{
    if (lanes == 8) {
        __m128i t = _mm_sub_epi16(_mm_load_si128((const __m128i *)key), _mm_load_si128((const __m128i *)body));
        return _mm_mask_cmpgt_epu16_mask(0x7f, t, _mm_load_si128((const __m128i *)(body + 8)));
    }
    if (lanes == 16) {
        __m256i t = _mm256_sub_epi16(_mm256_load_si256((const __m256i *)key), _mm256_load_si256((const __m256i *)body));
        return _mm256_mask_cmpgt_epu16_mask(0x7fff, t, _mm256_load_si256((const __m256i *)(body + 16)));
    }
    __m512i t = _mm512_sub_epi16(_mm512_load_si512(key), _mm512_load_si512(body));
    return (int)_mm512_mask_cmpgt_epu16_mask(0x7fffffff, t, _mm512_load_si512(body + 32));
}

INLINE int short_fails(const uint16_t *key, const uint16_t *body, const uint16_t *spans)
{
    const uint8_t *length = (const uint8_t *)(body + 23);
    __m256i span = _mm256_set_m128i(_mm_load_si128((const __m128i *)(spans + (size_t)8 * length[1])),
                                    _mm_load_si128((const __m128i *)(spans + (size_t)8 * length[0])));
    __m256i t = _mm256_sub_epi16(_mm256_load_si256((const __m256i *)key), _mm256_load_si256((const __m256i *)body));
    __m128i u =
        _mm_sub_epi16(_mm_load_si128((const __m128i *)(key + 16)), _mm_load_si128((const __m128i *)(body + 16)));
    return (int)(_mm256_cmpgt_epu16_mask(t, span) |
                 _mm_mask_cmpgt_epu16_mask(0x7f, u, _mm_load_si128((const __m128i *)(body + 24))));
}

/* no: a bit for each lane that doesn't match, the last of each body left out, where `last` has its bit. */
INLINE uint32_t marks(uint32_t no, uint32_t last) { return (last - no) & last; }

INLINE uint32_t block_matches(int lanes, const uint16_t *key, const uint16_t *block)
{
    if (lanes == 8) {
        __m512i k = _mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)key));
        __m512i t = _mm512_sub_epi16(k, _mm512_load_si512(block));
        return marks(_mm512_mask_cmpgt_epu16_mask(0x7f7f7f7f, t, _mm512_load_si512(block + 32)), 0x80808080);
    }
    __m512i k = _mm512_broadcast_i64x4(_mm256_load_si256((const __m256i *)key));
    __m512i t = _mm512_sub_epi16(k, _mm512_load_si512(block));
    return marks(_mm512_mask_cmpgt_epu16_mask(0x7fff7fff, t, _mm512_load_si512(block + 32)), 0x80008000);
}

INLINE uint32_t half_matches(const uint16_t *key, const uint16_t *block)
{
    __m256i k = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)key));
    __m256i t = _mm256_sub_epi16(k, _mm256_load_si256((const __m256i *)block));
    return marks(_mm256_mask_cmpgt_epu16_mask(0x7f7f, t, _mm256_load_si256((const __m256i *)(block + 16))), 0x8080);
}

INLINE uint32_t interval(const uint16_t *threshold, uint16_t value)
{
    __m512i t = _mm512_load_si512(threshold); /* the 32nd is the lane's number, masked off */
    return (uint32_t)__builtin_popcount(_mm512_mask_cmple_epu16_mask(0x7fffffff, t, _mm512_set1_epi16((short)value)));
}

INLINE uint32_t meet(const uint64_t *const *row, uint32_t rows, uint32_t block, uint32_t n, uint64_t *both)
{
    uint32_t some = 0;
    if (n == 4) { /* so that a row's address is loaded once for four blocks */
        const uint64_t *p = row[0] + 8 * (size_t)block;
        __m512i a = _mm512_load_si512(p), b = _mm512_load_si512(p + 8), c = _mm512_load_si512(p + 16),
                d = _mm512_load_si512(p + 24);
        for (uint32_t i = 1; i < rows; i++) {
            p = row[i] + 8 * (size_t)block;
            a = _mm512_and_si512(a, _mm512_load_si512(p));
            b = _mm512_and_si512(b, _mm512_load_si512(p + 8));
            c = _mm512_and_si512(c, _mm512_load_si512(p + 16));
            d = _mm512_and_si512(d, _mm512_load_si512(p + 24));
        }
        _mm512_store_si512(both, a);
        _mm512_store_si512(both + 8, b);
        _mm512_store_si512(both + 16, c);
        _mm512_store_si512(both + 24, d);
        return _mm512_test_epi64_mask(a, a) | (uint32_t)_mm512_test_epi64_mask(b, b) << 8 |
               (uint32_t)_mm512_test_epi64_mask(c, c) << 16 | (uint32_t)_mm512_test_epi64_mask(d, d) << 24;
    }
    for (uint32_t k = 0; k < n; k++) {
        __m512i all = _mm512_load_si512(row[0] + 8 * (size_t)(block + k));
        for (uint32_t i = 1; i < rows; i++)
            all = _mm512_and_si512(all, _mm512_load_si512(row[i] + 8 * (size_t)(block + k)));
        _mm512_store_si512(both + 8 * k, all);
        some |= (uint32_t)_mm512_test_epi64_mask(all, all) << (8 * k);
    }
    return some;
}

INLINE uint32_t keep_open(uint32_t *open, const uint32_t *from, const uint32_t *best, uint32_t n,
                          const uint32_t *rivals, uint32_t rules)
{
    uint32_t kept = 0;
    const __m512i none = _mm512_set1_epi32((int)rules), one = _mm512_set1_epi32(1), low = _mm512_set1_epi32(31);
    for (uint32_t j = 0; j < n; j += 16) {
        __mmask16 in = (__mmask16)(n - j >= 16 ? 0xffff : (1u << (n - j)) - 1);
        __m512i b = _mm512_min_epu32(_mm512_maskz_loadu_epi32(in, best + j), none);
        __m512i bits = _mm512_i32gather_epi32(_mm512_srli_epi32(b, 5), rivals, 4);
        bits = _mm512_srlv_epi32(bits, _mm512_and_si512(b, low));
        __mmask16 is = _mm512_mask_test_epi32_mask(in, bits, one);
        _mm512_storeu_si512(open + kept, _mm512_maskz_compress_epi32(is, _mm512_loadu_si512(from + j)));
        kept += (uint32_t)__builtin_popcount(is);
    }
    return kept;
}

INLINE uint32_t keep_worse(uint32_t *active, uint32_t *limit, const uint32_t *from, uint32_t n, const uint32_t *best,
                           uint32_t than)
{
    uint32_t kept = 0;
    const __m512i lim = _mm512_set1_epi32((int)than), step = _mm512_set1_epi32(16);
    __m512i next = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (uint32_t j = 0; j < n; j += 16, next = _mm512_add_epi32(next, step)) {
        __mmask16 in = (__mmask16)(n - j >= 16 ? 0xffff : (1u << (n - j)) - 1);
        __m512i at = from ? _mm512_maskz_loadu_epi32(in, from + j) : next;
        __m512i b = from ? _mm512_i32gather_epi32(at, best, 4) : _mm512_load_si512(best + j);
        __mmask16 worse = _mm512_mask_cmpgt_epu32_mask(in, b, lim);
        _mm512_storeu_si512(active + kept, _mm512_maskz_compress_epi32(worse, at));
        _mm512_storeu_si512(limit + kept, _mm512_maskz_compress_epi32(worse, b));
        kept += (uint32_t)__builtin_popcount(worse);
    }
    return kept;
}

/* In four keys of 8 lanes: lanes 4 and 5 are the ports; lane 7 gets 1 if the first is at least 1024, plus 2 if the
 * second is. No mask is made, whose way to the other registers and back takes as long as all of this, and nothing is
 * multiplied (common/halves.h). */
INLINE __m512i mark_four(__m512i words)
{
    const __m512i real = _mm512_broadcast_i32x4(_mm_setr_epi16(-1, -1, -1, -1, -1, -1, -1, 0));
    __m512i high = _mm512_min_epu16(_mm512_subs_epu16(words, _mm512_set1_epi16(1023)), _mm512_set1_epi16(1));
    high = _mm512_or_si512(_mm512_slli_epi64(high, 48), _mm512_slli_epi64(high, 33)); /* to lane 7 from 4 and from 5 */
    return _mm512_ternarylogic_epi32(real, words, high, 0xca);                        /* real ? words : high */
}

/* Four keys at once; what is beyond the last is written over too, it is room for more keys. */
INLINE void mark_ports(uint64_t *words, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 4)
        _mm512_storeu_si512(words + 2 * i, mark_four(_mm512_loadu_si512(words + 2 * i)));
}

#include "lookup_batch.h"

INLINE void deal(list *l, __mmask16 which, __m512i key, __m512i slot)
{
    _mm512_storeu_si512(l->key + l->n, _mm512_maskz_compress_epi32(which, key));
    _mm512_storeu_si512(l->slot + l->n, _mm512_maskz_compress_epi32(which, slot));
    l->n += (uint32_t)__builtin_popcount(which);
}

INLINE void sort_slots(work *w, const uint32_t *key, const uint32_t *limit, const uint32_t *slot, uint32_t n)
{
    const __m512i leaf = _mm512_set1_epi32((int)FC_SLOT(FC_LEAF, 0)),
                  long_leaf = _mm512_set1_epi32((int)FC_SLOT(FC_LEAF, 1 << 26));
    const __m512i node = _mm512_set1_epi32((int)FC_SLOT(FC_BITS, 0));
    for (uint32_t j = 0; j < n; j += 16) {
        __mmask16 in = (__mmask16)(n - j >= 16 ? 0xffff : (1u << (n - j)) - 1);
        __m512i s = _mm512_loadu_si512(slot + j), k = _mm512_loadu_si512(key + j), b = _mm512_loadu_si512(limit + j);
        /* a ONE has its number alone in the word: one comparison sees kind, emptiness and hopelessness */
        deal(&w->one, _mm512_mask_cmplt_epu32_mask(in, s, b), k, s);
        __mmask16 below_node = _mm512_mask_cmplt_epu32_mask(in, s, node);
        __mmask16 half = _mm512_mask_cmpge_epu32_mask(_mm512_mask_cmplt_epu32_mask(in, s, long_leaf), s, leaf);
        deal(&w->half, half, k, s);
        deal(&w->leaf, _mm512_mask_cmpge_epu32_mask(below_node, s, long_leaf), k, s);
        deal(&w->node, in & (__mmask16)~below_node, k, s);
    }
}

/* A gather doesn't promise what readers beside a writer need. */
INLINE void read_slots(const uint32_t *base, uint32_t *slot, uint32_t n, int dynamic)
{
    if (dynamic) {
        load_slots(base, slot, n);
        return;
    }
    for (uint32_t j = 0; j < n; j += 16) {
        __mmask16 in = (__mmask16)(n - j >= 16 ? 0xffff : (1u << (n - j)) - 1);
        __m512i at = _mm512_maskz_loadu_epi32(in, slot + j);
        _mm512_storeu_si512(slot + j, _mm512_mask_i32gather_epi32(at, in, at, base, 4));
    }
}

/* Keys of 8 lanes by fours: 192 octets, of which two permutations take the 64 that are wanted. Returns how many keys
 * are done; of these, *all and *any take in the tails. */
INLINE uint32_t prepare_many(const fc_key *keys, uint32_t n, work *w, uint64_t *all, uint64_t *any)
{
    /* dwords of a key: 2 the source, 6 the destination, 10 and 11 the tail; the fourth key's are all in the third load
     */
    const __m512i first = _mm512_setr_epi32(6, 2, 10, 11, 18, 14, 22, 23, 30, 26, 0, 0, 0, 0, 0, 0);
    const __m512i then = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 18, 19, 26, 22, 30, 31);
    __m512i every = _mm512_set1_epi64(-1), some = _mm512_setzero_si512();
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const uint8_t *from = (const uint8_t *)(keys + i);
        for (int line = 0; line < 3; line++)
            __builtin_prefetch(from + FC_KEYS_AHEAD * sizeof(fc_key) + 64 * line);
        __m512i v = _mm512_permutex2var_epi32(_mm512_loadu_si512(from), first, _mm512_loadu_si512(from + 64));
        v = _mm512_permutex2var_epi32(v, then, _mm512_loadu_si512(from + 128));
        every = _mm512_and_si512(every, v);
        some = _mm512_or_si512(some, v);
        _mm512_store_si512(w->words + 2 * i, mark_four(v));
    }
    const __mmask8 tails = 0xaa;
    *all &= (uint64_t)_mm512_mask_reduce_and_epi64(tails, every);
    *any |= (uint64_t)_mm512_mask_reduce_or_epi64(tails, some);
    return i;
}
#else
typedef int fc_not_this_architecture; /* ISO C wants a declaration */
#endif
