/* halves.h - products of 512 bits as two of 256 (include <immintrin.h> first, in a function with AVX-512 enabled).
 *
 * One multiplication of 512 bits in some hundred instructions is enough for a processor to lower its clock, for all of
 * them, by 5 to 8 %; multiplications of 256 bits and additions of 512 don't (decision 0035). */
#ifndef FC_HALVES_H
#define FC_HALVES_H

/* op, a product of two __m256i such as _mm256_mullo_epi16, of both halves of the __m512i a and b. */
#define FC_BY_HALVES(op, a, b)                                                                           \
    _mm512_inserti64x4(_mm512_castsi256_si512(op(_mm512_castsi512_si256(a), _mm512_castsi512_si256(b))), \
                       op(_mm512_extracti64x4_epi64(a, 1), _mm512_extracti64x4_epi64(b, 1)), 1)

#endif
