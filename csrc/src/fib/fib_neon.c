/* fib_neon.c - decisions with NEON: eight tags or four signatures in one comparison. Tested under emulation, not timed.
 */
#if defined(__aarch64__)
#include <arm_neon.h>

#include "format.h"

#define FIB_TARGET
#define FIB_NAME fc_fib_decide_neon
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

static inline uint32_t admitted(const uint8_t *s, uint8x16_t key)
{
    static const uint32_t bit[4] = {1, 2, 4, 8};
    uint8x16_t v = vld1q_u8(s);                                /* what isn't signatures any more is still the record */
    uint8x16_t off = vbicq_u8(vsubq_u8(v, key), vceqzq_u8(v)); /* 0: the same, or anything */
    uint32x4_t same = vceqzq_u32(vandq_u32(vreinterpretq_u32_u8(off), vdupq_n_u32(0xffffff)));
    return vaddvq_u32(vandq_u32(same, vld1q_u32(bit)));
}

static inline uint64_t candidates(const uint8_t *s, unsigned n, uint32_t octets)
{
    uint8x16_t key = vmaxq_u8(vreinterpretq_u8_u32(vdupq_n_u32(octets)), vdupq_n_u8(1));
    uint64_t c = 0;
    for (unsigned i = 0; i < n; i += 4)
        c |= (uint64_t)admitted(s + 4 * i, key) << i;
    return n == 64 ? c : c & (((uint64_t)1 << n) - 1);
}

#define FIB_LOWEST(word) ((word) ? (unsigned)__builtin_ctzll(word) : 0)
#define FIB_TAGS tags
#define FIB_CANDIDATES candidates
#include "stages.h"
#else
typedef int fib_neon_is_not_built;
#endif
