/* Counting definite bits, the inner loop of a build: the portable way and AVX-512. */
#include "build.h"

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx512f,avx512bw"))) static void count_avx512(const uint64_t *care, const uint64_t *value,
                                                                     uint32_t stride, const uint32_t *list, uint32_t n,
                                                                     uint16_t *ones, uint16_t *zeros)
{
    const __m512i minus = _mm512_set1_epi16(-1);
    __m512i o0 = _mm512_setzero_si512(), o1 = o0, z0 = o0, z1 = o0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t c = care[(size_t)list[i] * stride], v = value[(size_t)list[i] * stride];
        uint64_t one = c & v, zero = c & ~v;
        o0 = _mm512_mask_sub_epi16(o0, (__mmask32)one, o0, minus);
        o1 = _mm512_mask_sub_epi16(o1, (__mmask32)(one >> 32), o1, minus);
        z0 = _mm512_mask_sub_epi16(z0, (__mmask32)zero, z0, minus);
        z1 = _mm512_mask_sub_epi16(z1, (__mmask32)(zero >> 32), z1, minus);
    }
    _mm512_storeu_si512(ones, o0);
    _mm512_storeu_si512(ones + 32, o1);
    _mm512_storeu_si512(zeros, z0);
    _mm512_storeu_si512(zeros + 32, z1);
}
#endif

/* Eight bits spread over eight octets by one multiplication: the i-th octet of the product's masked copy is bit i. */
static uint64_t spread(uint64_t octet) { return ((octet * 0x8040201008040201ull & 0x8080808080808080ull) >> 7); }

static void add_octets(const uint8_t *octets, uint16_t *total)
{
    /* octet i of a spread word is bit 7 - i of its octet, by the way spread() multiplies */
    for (int i = 0; i < 64; i++)
        total[i] = (uint16_t)(total[i] + octets[(i & ~7) | (7 - (i & 7))]);
}

static void count_portable(const uint64_t *care, const uint64_t *value, uint32_t stride, const uint32_t *list,
                           uint32_t n, uint16_t *ones, uint16_t *zeros)
{
    memset(ones, 0, 128);
    memset(zeros, 0, 128);
    for (uint32_t start = 0; start < n; start += 255) {
        uint64_t o[8] = {0}, z[8] = {0};
        uint32_t end = n - start > 255 ? start + 255 : n;
        for (uint32_t i = start; i < end; i++) {
            uint64_t c = care[(size_t)list[i] * stride], v = value[(size_t)list[i] * stride];
            for (int j = 0; j < 8; j++) {
                o[j] += spread((c & v) >> (8 * j) & 0xff);
                z[j] += spread((c & ~v) >> (8 * j) & 0xff);
            }
        }
        add_octets((const uint8_t *)o, ones);
        add_octets((const uint8_t *)z, zeros);
    }
}

fc_count_fn *fc_count_choose(void)
{
#if defined(__x86_64__)
    if (fc_kernel_check(FC_KERNEL_AVX512) == FC_OK)
        return count_avx512;
#endif
    return count_portable;
}
