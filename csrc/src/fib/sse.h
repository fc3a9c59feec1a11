/* sse.h - steps of a body's comparison for the x86-64 kernels: search.h has them in portable C. */
/* Two lanes of 16 bits: what is above the span, saturated. */
FIB_TARGET static inline uint32_t ports_out(uint64_t tail, const uint8_t *p)
{
    uint32_t first, span;
    memcpy(&first, p, 4);
    memcpy(&span, p + 4, 4);
    __m128i above = _mm_sub_epi16(_mm_cvtsi64_si128((long long)tail), _mm_cvtsi32_si128((int)first));
    return (uint32_t)_mm_cvtsi128_si32(_mm_subs_epu16(above, _mm_cvtsi32_si128((int)span)));
}

FIB_TARGET static inline int source_out(const fc_key *k, const uint8_t *p, const uint64_t *mask)
{
    __m128i differs = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)k->source),
                                    _mm_loadu_si128((const __m128i *)(const void *)p));
    return !_mm_testz_si128(differs, _mm_loadu_si128((const __m128i *)(const void *)mask));
}

#define FIB_PORTS_OUT ports_out
#define FIB_SOURCE_OUT source_out

/* tzcnt says 64 for an empty word; the compiler would branch on __builtin_ctzll's condition. */
#define FIB_LOWEST(word) ((unsigned)_tzcnt_u64(word) & 63)
