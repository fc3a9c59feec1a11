/* The NEON kernel: the stages of lookup_batch.h with 128-bit comparisons. Checked under emulation, not timed. */
#if defined(__aarch64__)
#include <arm_neon.h>

#include "format.h"

#define FC_TARGET
#define FC_LOOKUP fc_lookup_neon
#define INLINE static inline __attribute__((always_inline))

INLINE uint64_t extract(uint64_t word, uint64_t mask)
{
    return fc_extract(word, mask); /* the base architecture has no bit extraction */
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
