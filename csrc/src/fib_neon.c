/* fib_neon.c - decisions with NEON: eight tags or sixteen signatures in one comparison. Tested under emulation, not timed. */
#if defined(__aarch64__)
#include <arm_neon.h>

#include "fc_fib.h"

#define FIB_TARGET
#define FIB_NAME fib_decide_neon
#define FIB_ID FC_KERNEL_NEON

/* no_sanitize: a writer may be storing a tag; a reference decides, and that is loaded as it should be */
__attribute__((no_sanitize("thread"))) static inline uint32_t tags(const fib_bucket *b, uint16_t tag)
{
    static const uint16_t bit[16] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
    const uint16_t *p = (const uint16_t *)(const void *)b;
    uint16x8_t wanted = vdupq_n_u16(tag);
    uint16x8_t low = vandq_u16(vceqq_u16(vld1q_u16(p), wanted), vld1q_u16(bit));
    uint16x8_t high = vandq_u16(vceqq_u16(vld1q_u16(p + 8), wanted), vld1q_u16(bit + 8));
    return vaddvq_u16(vorrq_u16(low, high));
}

static inline uint8x16_t admits(const uint8_t *row, uint8_t s)
{
    uint8x16_t v = vld1q_u8(row);
    return vorrq_u8(vceqq_u8(v, vdupq_n_u8(s)), vceqzq_u8(v));
}

/* 16 flows; what is loaded beyond the rows is still the record, and masked away by the caller */
static inline uint32_t admitted(const uint8_t *rows, unsigned n, uint8_t s0, uint8_t s1, uint8_t s2)
{
    static const uint8_t bit[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t v = vandq_u8(admits(rows, s0), vandq_u8(admits(rows + n, s1), admits(rows + 2 * n, s2)));
    v = vandq_u8(v, vld1q_u8(bit));
    return (uint32_t)vaddv_u8(vget_low_u8(v)) | (uint32_t)vaddv_u8(vget_high_u8(v)) << 8;
}

static inline uint64_t candidates(const uint8_t *rows, unsigned n, uint8_t s0, uint8_t s1, uint8_t s2)
{
    uint64_t c = 0;
    for (unsigned i = 0; i < n; i += 16)
        c |= (uint64_t)admitted(rows + i, n, s0, s1, s2) << i;
    return n == 64 ? c : c & (((uint64_t)1 << n) - 1);
}

#define FIB_TAGS tags
#define FIB_CANDIDATES candidates
#include "fib_block.h"
#else
typedef int fib_neon_is_not_built;
#endif
