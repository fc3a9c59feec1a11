/* lookup_eight.h - dealing slots and thinning lists eight at a time, by AVX2: what belongs to a list is moved to the
 * front, all eight are written, and the list's end moves by as many as belong there. Included by lookup_plain.h where a
 * kernel defines FC_EIGHT. A scalar loop writes eight words a key, and stores are what it waits for. */

/* front[m]: the places of the bits of m, an octet each. */
#define FC_FRONT_BIT(m, i) ((uint64_t)((m) >> (i)&1u) * (i) << 8 * __builtin_popcount((m) & ((1u << (i)) - 1)))
#define FC_FRONT(m)                                                                                               \
    FC_FRONT_BIT(m, 0u) | FC_FRONT_BIT(m, 1u) | FC_FRONT_BIT(m, 2u) | FC_FRONT_BIT(m, 3u) | FC_FRONT_BIT(m, 4u) | \
        FC_FRONT_BIT(m, 5u) | FC_FRONT_BIT(m, 6u) | FC_FRONT_BIT(m, 7u)
#define FC_FRONT4(m) FC_FRONT(m), FC_FRONT(m + 1u), FC_FRONT(m + 2u), FC_FRONT(m + 3u)
#define FC_FRONT16(m) FC_FRONT4(m), FC_FRONT4(m + 4u), FC_FRONT4(m + 8u), FC_FRONT4(m + 12u)
#define FC_FRONT64(m) FC_FRONT16(m), FC_FRONT16(m + 16u), FC_FRONT16(m + 32u), FC_FRONT16(m + 48u)
static const uint64_t front[256]
    __attribute__((aligned(64))) = {FC_FRONT64(0u), FC_FRONT64(64u), FC_FRONT64(128u), FC_FRONT64(192u)};

INLINE __m256i eight(const uint32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }

INLINE void put_eight(uint32_t *p, __m256i v) { _mm256_storeu_si256((__m256i *)p, v); }

INLINE uint32_t signs(__m256i v) { return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(v)); }

/* Those of `which` to the front. */
INLINE __m256i forward(__m256i v, uint32_t which)
{
    return _mm256_permutevar8x32_epi32(v, _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(front + which))));
}

/* The numbers of `v` that are above those of `than`, as bits. */
INLINE uint32_t above(__m256i v, __m256i than)
{
    return signs(_mm256_cmpeq_epi32(_mm256_max_epu32(v, than), than)) ^ 0xff;
}

/* Of eight from j on, those before n. */
INLINE uint32_t up_to(uint32_t j, uint32_t n) { return n - j >= 8 ? 0xff : (1u << (n - j)) - 1; }

INLINE uint32_t keep_worse(uint32_t *active, uint32_t *limit, const uint32_t *from, uint32_t n, const uint32_t *best,
                           uint32_t than)
{
    if (from != NULL) /* few, and bests in any order */
        return keep_worse_by_one(active, limit, from, n, best, than);
    uint32_t kept = 0;
    const __m256i bound = _mm256_set1_epi32((int)than), step = _mm256_set1_epi32(8);
    __m256i at = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    for (uint32_t j = 0; j < n; j += 8, at = _mm256_add_epi32(at, step)) {
        __m256i b = eight(best + j);
        uint32_t worse = above(b, bound) & up_to(j, n);
        put_eight(active + kept, forward(at, worse));
        put_eight(limit + kept, forward(b, worse));
        kept += (uint32_t)__builtin_popcount(worse);
    }
    return kept;
}

/* In two keys of 8 lanes: lanes 4 and 5 are the ports; lane 7 gets 1 if the first is at least 1024, plus 2 if the
 * second is. */
INLINE __m256i mark_two(__m256i v)
{
    __m256i high = _mm256_min_epu16(_mm256_subs_epu16(v, _mm256_set1_epi16(1023)), _mm256_set1_epi16(1));
    high = _mm256_or_si256(_mm256_slli_epi64(high, 48), _mm256_slli_epi64(high, 33)); /* to lane 7 from 4 and from 5 */
    return _mm256_blend_epi16(v, high, 0x80);
}

/* What is beyond the last key is written over too, it is room for more keys. */
INLINE void mark_ports(uint64_t *words, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 2) {
        __m256i *two = (__m256i *)(words + 2 * (size_t)i);
        _mm256_storeu_si256(two, mark_two(_mm256_loadu_si256(two)));
    }
}

/* The two words of a key of 8 lanes: its dwords 6, the destination, 2, the source, and 10 and 11, the tail. */
INLINE __m128i key_of_8(const fc_key *key)
{
    const float *dwords = (const float *)(const void *)key;
    __m128 addresses = _mm_shuffle_ps(_mm_loadu_ps(dwords + 4), _mm_loadu_ps(dwords), 0xaa);
    return _mm_castps_si128(_mm_shuffle_ps(addresses, _mm_loadu_ps(dwords + 8), 0xe8));
}
_Static_assert(offsetof(fc_key, source) == 0 && offsetof(fc_key, destination) == 16 &&
                   offsetof(fc_key, source_port) == 40,
               "as key_of_8 reads them");

/* Keys of 8 lanes by twos. Returns how many are done; of these, *all and *any take in the tails. */
INLINE uint32_t prepare_many(const fc_key *keys, uint32_t n, work *w, uint64_t *all, uint64_t *any)
{
    __m256i every = _mm256_set1_epi64x(-1), some = _mm256_setzero_si256();
    uint32_t i = 0;
    for (; i + 2 <= n; i += 2) {
        __builtin_prefetch(keys + i + FC_KEYS_AHEAD);
        __builtin_prefetch((const uint8_t *)(keys + i + FC_KEYS_AHEAD) + 64);
        __m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(key_of_8(keys + i)), key_of_8(keys + i + 1), 1);
        every = _mm256_and_si256(every, v);
        some = _mm256_or_si256(some, v);
        _mm256_store_si256((__m256i *)(w->words + 2 * (size_t)i), mark_two(v));
    }
    *all &= (uint64_t)_mm256_extract_epi64(every, 1) & (uint64_t)_mm256_extract_epi64(every, 3);
    *any |= (uint64_t)_mm256_extract_epi64(some, 1) | (uint64_t)_mm256_extract_epi64(some, 3);
    return i;
}

INLINE void deal(list *l, uint32_t which, __m256i key, __m256i slot)
{
    put_eight(l->key + l->n, forward(key, which));
    put_eight(l->slot + l->n, forward(slot, which));
    l->n += (uint32_t)__builtin_popcount(which);
}

INLINE void sort_slots(work *w, const uint32_t *key, const uint32_t *limit, const uint32_t *slot, uint32_t n)
{
    const __m256i half_leaf = _mm256_set1_epi32(FC_LEAF << 4);
    for (uint32_t j = 0; j < n; j += 8) {
        const uint32_t in = up_to(j, n);
        __m256i s = eight(slot + j), k = eight(key + j);
        uint32_t half = signs(_mm256_cmpeq_epi32(_mm256_srli_epi32(s, 26), half_leaf)), node = signs(s),
                 leaf = signs(_mm256_slli_epi32(s, 1)) & ~node & ~half; /* kinds: 01 and 10, 11 */
        /* a ONE has its number alone in the word: one comparison sees kind, emptiness and hopelessness */
        deal(&w->one, above(eight(limit + j), s) & in, k, s);
        deal(&w->half, half & in, k, s);
        deal(&w->leaf, leaf & in, k, s);
        deal(&w->node, node & in, k, s);
    }
}
