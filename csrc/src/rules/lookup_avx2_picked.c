/* The AVX2 kernel for processors whose pext is microcode (fc_kernel_microcoded()): selected bits are picked by octet.
 */
#if defined(__x86_64__)
#include "lookup_avx2.h"

#define FC_LOOKUP fc_lookup_avx2_picked
#define FC_PICKED

typedef __m128i octets;
typedef struct picks {
    __m256i octet, bit;
} picks;

INLINE octets octets_at(const uint64_t *words) { return _mm_load_si128((const __m128i *)words); }

INLINE octets octets_of(uint64_t first, uint64_t second) { return _mm_set_epi64x((long long)second, (long long)first); }

INLINE picks root_picks(const fc_tree *tree)
{
    return (picks){_mm256_loadu_si256((const __m256i *)tree->octet), _mm256_loadu_si256((const __m256i *)tree->bit)};
}

INLINE uint32_t pick(const picks *p, octets from)
{
    __m256i v = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(from), p->octet);
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_and_si256(v, p->bit), p->bit));
}

INLINE uint32_t pick_by_head(const fc_bits *node, octets from)
{
    const __m128i bit = _mm_set1_epi64x((long long)0x8040201008040201);
    __m128i place = _mm_load_si128((const __m128i *)node->word);
    __m128i v = _mm_shuffle_epi8(from, _mm_and_si128(_mm_srli_epi16(place, 3), _mm_set1_epi8(15)));
    __m128i is = _mm_shuffle_epi8(bit, place);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_and_si128(v, is), is));
}

#include "lookup_batch.h"
#else
typedef int fc_not_this_architecture; /* ISO C wants a declaration */
#endif
