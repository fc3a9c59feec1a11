/* The NEON kernel: the stages of lookup_batch.h with 128-bit comparisons. Checked under emulation, not timed. */
#if defined(__aarch64__)
#include <arm_neon.h>

#include "format.h"

#define FC_TARGET
#define FC_LOOKUP fc_lookup_neon
#define INLINE static inline __attribute__((always_inline))

#define FC_PICKED /* the base architecture has no bit extraction */

typedef uint8x16_t octets;
typedef struct picks {
    uint8x16_t octet[2], bit[2];
} picks;

INLINE octets octets_at(const uint64_t *words) { return vreinterpretq_u8_u64(vld1q_u64(words)); }

INLINE octets octets_of(uint64_t first, uint64_t second)
{
    return vreinterpretq_u8_u64(vcombine_u64(vcreate_u64(first), vcreate_u64(second)));
}

INLINE picks root_picks(const fc_tree *tree)
{
    return (picks){{vld1q_u8(tree->octet), vld1q_u8(tree->octet + 16)},
                   {vld1q_u8(tree->bit), vld1q_u8(tree->bit + 16)}};
}

/* One bit for each of 32 lanes, from lanes that are all ones or 0. */
INLINE uint32_t one_each(uint8x16_t low, uint8x16_t high)
{
    const uint8x16_t own = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
    uint8x16_t sum = vpaddq_u8(vandq_u8(low, own), vandq_u8(high, own));
    sum = vpaddq_u8(sum, sum);
    return vgetq_lane_u32(vreinterpretq_u32_u8(vpaddq_u8(sum, sum)), 0);
}

INLINE uint32_t pick(const picks *p, octets from)
{
    return one_each(vtstq_u8(vqtbl1q_u8(from, p->octet[0]), p->bit[0]),
                    vtstq_u8(vqtbl1q_u8(from, p->octet[1]), p->bit[1]));
}

INLINE uint32_t pick_by_head(const fc_bits *node, octets from)
{
    uint8x16_t place = vld1q_u8(node->word);
    uint8x16_t bit = vshlq_u8(vdupq_n_u8(1), vreinterpretq_s8_u8(vandq_u8(place, vdupq_n_u8(7))));
    uint8x16_t is = vtstq_u8(vqtbl1q_u8(from, vshrq_n_u8(place, 3)), bit);
    return one_each(is, is);
}

INLINE uint16x8_t over(const uint16_t *key, const uint16_t *lo, const uint16_t *span)
{
    return vcgtq_u16(vsubq_u16(vld1q_u16(key), vld1q_u16(lo)), vld1q_u16(span));
}

/* Is a lane over in `lanes` of them, the last left out? */
INLINE int fails(int lanes, const uint16_t *key, const uint16_t *lo, const uint16_t *span)
{
    uint16x8_t any = vsetq_lane_u16(0, over(key + lanes - 8, lo + lanes - 8, span + lanes - 8), 7);
    for (int i = 0; i < lanes - 8; i += 8)
        any = vorrq_u16(any, over(key + i, lo + i, span + i));
    return vmaxvq_u16(any) != 0;
}

INLINE int body_fails(int lanes, const uint16_t *key, const uint16_t *body)
{
    return fails(lanes, key, body, body + lanes);
}

INLINE int short_fails(const uint16_t *key, const uint16_t *body, const uint16_t *spans)
{
    const uint8_t *length = (const uint8_t *)(body + 23);
    uint16x8_t any = vsetq_lane_u16(0, over(key + 16, body + 16, body + 24), 7);
    for (int i = 0; i < 2; i++)
        any = vorrq_u16(any, over(key + 8 * i, body + 8 * i, spans + (size_t)8 * length[i]));
    return vmaxvq_u16(any) != 0;
}

INLINE uint32_t block_matches(int lanes, const uint16_t *key, const uint16_t *block)
{
    uint32_t match = 0;
    for (int g = 0; g < 32 / lanes; g++)
        match |= (uint32_t)!fails(lanes, key, block + g * lanes, block + 32 + g * lanes) << (g * lanes + lanes - 1);
    return match;
}

INLINE uint32_t half_matches(const uint16_t *key, const uint16_t *block)
{
    return (uint32_t)!fails(8, key, block, block + 16) << 7 | (uint32_t)!fails(8, key, block + 8, block + 24) << 15;
}

INLINE uint32_t interval(const uint16_t *threshold, uint16_t value)
{
    uint16x8_t v = vdupq_n_u16(value), n = vdupq_n_u16(0);
    for (int i = 0; i < 32; i += 8)
        n = vsubq_u16(n, vcleq_u16(vld1q_u16(threshold + i), v));
    return (uint32_t)vaddvq_u16(n) - (threshold[31] <= value); /* the 32nd is the lane's number */
}

INLINE uint32_t meet(const uint64_t *const *row, uint32_t rows, uint32_t block, uint32_t n, uint64_t *both)
{
    return fc_meet(row, rows, block, n, both);
}

#include "lookup_batch.h"

#else
typedef int fc_not_this_architecture; /* ISO C wants a declaration */
#endif
