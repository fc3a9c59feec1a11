/* cross_avx512.c - the cross-product tables' look-up, 64 keys at a time: classes of octets by permutations of registers
 * (so VBMI is wanted), tables by gathering.
 *
 * Order of the keys. What is known of 64 keys is 64 octets or, in two registers, 64 words of 16 bits; a gather takes 16
 * indices of 32 bits. Between them no key moves: the words are the octets' lower and upper halves of each 128-bit lane
 * (unpacklo and unpackhi), a gather's indices the even or the odd words. So key 16g + 4i + l of a block is octet
 * 8 (g / 2) + 2i + g % 2 of lane l, and of gather g the i-th dword of lane l; only the results are put in order. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "../common/halves.h"
#include "cross.h"

#define FC_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx2,bmi2")))
#define INLINE static inline __attribute__((always_inline)) FC_TARGET

/* A gather leaves what its mask doesn't name of the register that it fills, so it waits for that register: a cleared
 * one is there at once, what a compiler takes otherwise may be the last gather's. The mask is all ones, but a compiler
 * that knew it would leave the clearing out. */
INLINE __mmask16 every(void)
{
    __mmask16 all = 0xffff;
    __asm__("" : "+k"(all));
    return all;
}

#define GATHER32(at, table, scale) _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), every(), at, table, scale)
#define GATHER64(at, table, scale) \
    _mm512_mask_i32gather_epi64(_mm512_setzero_si512(), (__mmask8)every(), at, table, scale)
#define GATHER64_AT64(at, table, scale) \
    _mm512_mask_i64gather_epi64(_mm512_setzero_si512(), (__mmask8)every(), at, table, scale)

enum { AVX512_KEYS = 64, AVX512_GROUPS = 4, AVX512_AHEAD = 64, KEY_DWORDS = sizeof(fc_key) / 4, DWORD_SETS = 3 };

typedef struct work {
    uint8_t octet[FC_CROSS_OCTETS][AVX512_KEYS] __attribute__((aligned(64)));
    uint16_t step[FC_CROSS_STEPS][AVX512_KEYS] __attribute__((aligned(64)));
    /* eight octets of each of 64 keys: of half the keys in the first register, of the others in the second */
    __m512i eight[8 * DWORD_SETS][2];
    const fc_key *keys;
    uint32_t from[AVX512_KEYS]
        __attribute__((aligned(64))); /* octets from `keys` to each key: of others than full blocks */
    uint32_t halves;                  /* with more than 32 keys 2, else 1 */
} work;

/* Which dwords of a key are read, by fours, and where in `eight` each octet is found: after the rules' octets come the
 * version and the presence. */
typedef struct reading {
    uint32_t dwords;
    uint8_t dword[4 * DWORD_SETS];
    struct place {
        uint8_t eight, odd;
    } place[FC_CROSS_OCTETS + 2];
} reading;

static struct place find_place(reading *r, uint32_t at)
{
    uint32_t i = 0;
    while (i < r->dwords && r->dword[i] != at / 4)
        i++;
    if (i == r->dwords)
        r->dword[r->dwords++] = (uint8_t)(at / 4);
    return (struct place){(uint8_t)(i / 4 * 8 + 2 * (at & 3) + (i >> 1 & 1)), i & 1};
}

static void plan_reading(const fc_cross *x, reading *r)
{
    r->dwords = 0;
    memset(r->dword, 0, sizeof(r->dword));
    for (uint32_t c = 0; c < x->octets; c++)
        r->place[c] = find_place(r, x->octet[c].at);
    r->place[x->octets] = find_place(r, 46);
    r->place[x->octets + 1u] = find_place(r, 47);
}

/* The lower, then the upper elements of two registers, of the even and of the odd pairs. */
INLINE __m512i even_octets(__m512i a, __m512i b)
{
    return _mm512_mask_blend_epi8(0xaaaaaaaaaaaaaaaa, a, _mm512_slli_epi16(b, 8));
}

INLINE __m512i odd_octets(__m512i a, __m512i b)
{
    return _mm512_mask_blend_epi8(0xaaaaaaaaaaaaaaaa, _mm512_srli_epi16(a, 8), b);
}

INLINE __m512i even_words(__m512i a, __m512i b)
{
    return _mm512_mask_blend_epi16(0xaaaaaaaa, a, _mm512_slli_epi32(b, 16));
}

INLINE __m512i odd_words(__m512i a, __m512i b)
{
    return _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(a, 16), b);
}

/* Which dwords of which of two registers four dwords of each of four keys are in: of keys in a row, which are in three
 * registers, as the first two have them and as the third adds to these; of keys anywhere, one in each register, of two
 * keys at a time. */
typedef struct choice {
    __m512i first, then, anywhere;
} choice;

INLINE choice choose(const uint8_t *dword)
{
    const __m512i lane = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const __m512i itself = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    uint32_t four;
    memcpy(&four, dword, 4);
    __m512i wanted = _mm512_cvtepu8_epi32(_mm_set1_epi32((int)four));
    __m512i first = _mm512_add_epi32(wanted, _mm512_mullo_epi32(lane, _mm512_set1_epi32(KEY_DWORDS)));
    __mmask16 third = _mm512_cmpge_epu32_mask(first, _mm512_set1_epi32(32));
    return (choice){first, _mm512_mask_sub_epi32(itself, third, first, _mm512_set1_epi32(16)),
                    _mm512_add_epi32(wanted, _mm512_slli_epi32(lane, 4))};
}

/* The chosen dwords of keys 4 * t to 4 * t + 3 of a block, a key in each lane. */
INLINE __m512i four_keys(const work *w, int full, uint32_t t, const choice *c)
{
    if (full) {
        const uint8_t *from = (const uint8_t *)(w->keys + 4 * (size_t)t);
        for (int line = 0; line < 3; line++)
            _mm_prefetch((const char *)(from + AVX512_AHEAD * sizeof(fc_key)) + 64 * line, _MM_HINT_T0);
        __m512i two = _mm512_permutex2var_epi32(_mm512_loadu_si512(from), c->first, _mm512_loadu_si512(from + 64));
        return _mm512_permutex2var_epi32(two, c->then, _mm512_loadu_si512(from + 128));
    }
    __m512i key[4], two[2];
    for (uint32_t l = 0; l < 4; l++)
        key[l] = _mm512_maskz_loadu_epi32((1 << KEY_DWORDS) - 1, (const uint8_t *)w->keys + w->from[4 * t + l]);
    for (int i = 0; i < 2; i++)
        two[i] = _mm512_permutex2var_epi32(key[2 * i], c->anywhere, key[2 * i + 1]);
    return _mm512_inserti64x4(two[0], _mm512_castsi512_si256(two[1]), 1);
}

/* Four dwords of each of 64 keys, transposed so far that eight[2 (at & 3) + dword / 2] has octet `at` of a dword in its
 * even (0, 2) or odd (1, 3) quadwords. */
INLINE void read_four(const uint8_t *dword, const work *from, int full, __m512i (*eight)[2])
{
    const choice c = choose(dword);
    const uint32_t halves = full ? 2 : from->halves;
    for (uint32_t half = 0; half < halves; half++) {
        __m512i v[8], w[8];
        for (uint32_t j = 0; j < 8; j++)
            v[j] = four_keys(from, full, 4 * (2 * half + (j & 1)) + j / 2, &c);
        for (int j = 0; j < 4; j++) {
            w[j] = even_octets(v[2 * j], v[2 * j + 1]);
            w[4 + j] = odd_octets(v[2 * j], v[2 * j + 1]);
        }
        for (int o = 0; o < 2; o++) {
            for (int j = 0; j < 2; j++) {
                v[4 * o + j] = even_words(w[4 * o + 2 * j], w[4 * o + 2 * j + 1]);
                v[4 * o + 2 + j] = odd_words(w[4 * o + 2 * j], w[4 * o + 2 * j + 1]);
            }
        }
        for (int o = 0; o < 4; o++) { /* of octets 0, 2, 1, 3 */
            int octet = (o & 1) * 2 + o / 2;
            eight[2 * octet][half] = _mm512_unpacklo_epi32(v[2 * o], v[2 * o + 1]);
            eight[2 * octet + 1][half] = _mm512_unpackhi_epi32(v[2 * o], v[2 * o + 1]);
        }
    }
    for (int i = 0; halves == 1 && i < 8; i++) /* the same keys again */
        eight[i][1] = eight[i][0];
}

INLINE __m512i octet_of(const reading *r, const work *w, uint32_t c)
{
    static const uint64_t quadwords[2][8]
        __attribute__((aligned(64))) = {{0, 8, 2, 10, 4, 12, 6, 14}, {1, 9, 3, 11, 5, 13, 7, 15}};
    const __m512i *from = w->eight[r->place[c].eight];
    return _mm512_permutex2var_epi64(from[0], _mm512_load_si512(quadwords[r->place[c].odd]), from[1]);
}

INLINE __m512i classes_of(const uint8_t *map, __m512i octet)
{
    __m512i lower = _mm512_permutex2var_epi8(_mm512_load_si512(map), octet, _mm512_load_si512(map + 64));
    __m512i upper = _mm512_permutex2var_epi8(_mm512_load_si512(map + 128), octet, _mm512_load_si512(map + 192));
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(octet), lower, upper);
}

INLINE int read_octets(const fc_cross *x, const reading *r, work *w, int full)
{
    for (uint32_t i = 0; i < r->dwords; i += 4)
        read_four(r->dword + i, w, full, w->eight + 2 * i);
    const __m512i present = octet_of(r, w, x->octets + 1u), required = _mm512_set1_epi8((char)x->required);
    if (_mm512_cmpneq_epi8_mask(octet_of(r, w, x->octets), _mm512_set1_epi8((char)x->version)) |
        _mm512_cmpneq_epi8_mask(_mm512_and_si512(present, required), required))
        return 0;
    for (uint32_t c = 0; c < x->octets; c++) {
        const fc_cross_octet *o = &x->octet[c];
        __m512i k = classes_of(x->map + 256 * c, octet_of(r, w, c));
        if (o->field)
            k = _mm512_mask_blend_epi8(_mm512_testn_epi8_mask(present, _mm512_set1_epi8((char)o->field)), k,
                                       _mm512_set1_epi8((char)o->lacking));
        _mm512_store_si512(w->octet[c], k);
    }
    return 1;
}

/* The next input of a step, or a lane's two: words of 64 keys to v, and how many inputs these were. */
INLINE uint32_t take_input(const fc_cross *x, const struct fc_cross_input *in, const work *w, __m512i *v)
{
    if (in->column >= x->octets) {
        const uint16_t *from = w->step[in->column - x->octets];
        v[0] = _mm512_load_si512(from);
        v[1] = _mm512_load_si512(from + 32);
        return 1;
    }
    __m512i lower = _mm512_load_si512(w->octet[in->column]);
    if (in->ratio) {
        __m512i upper = _mm512_load_si512(w->octet[in[1].column]);
        const __m512i by = _mm512_set1_epi32((int)in->ratio);
        v[0] = _mm512_unpacklo_epi8(lower, upper);
        v[1] = _mm512_unpackhi_epi8(lower, upper);
        v[0] = FC_BY_HALVES(_mm256_maddubs_epi16, v[0], by);
        v[1] = FC_BY_HALVES(_mm256_maddubs_epi16, v[1], by);
        return 2;
    }
    v[0] = _mm512_unpacklo_epi8(lower, _mm512_setzero_si512());
    v[1] = _mm512_unpackhi_epi8(lower, _mm512_setzero_si512());
    return 1;
}

/* The indices of 64 keys in a step's table. */
INLINE void index_of(const fc_cross *x, const fc_cross_step *step, const work *w, __m512i *at)
{
    __m512i sum[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()}, v[2];
    uint32_t k = step->inputs ? take_input(x, &step->input[0], w, sum) : 0; /* its stride is 1 */
    for (uint32_t next; k < step->inputs; k = next) {
        const __m512i stride = _mm512_set1_epi32((int)step->input[k].strides);
        next = k + take_input(x, &step->input[k], w, v);
        if (next == step->inputs && step->wide) { /* what came before it is less than its stride */
            const __m512i by = _mm512_mask_blend_epi16(0x55555555, stride, _mm512_set1_epi16(1));
            for (int h = 0; h < 2; h++) {
                __m512i even = even_words(sum[h], v[h]), odd = odd_words(sum[h], v[h]);
                at[2 * h] = FC_BY_HALVES(_mm256_madd_epi16, even, by);
                at[2 * h + 1] = FC_BY_HALVES(_mm256_madd_epi16, odd, by);
            }
            return;
        }
        sum[0] = _mm512_add_epi16(sum[0], FC_BY_HALVES(_mm256_mullo_epi16, v[0], stride));
        sum[1] = _mm512_add_epi16(sum[1], FC_BY_HALVES(_mm256_mullo_epi16, v[1], stride));
    }
    for (int h = 0; h < 2; h++) {
        at[2 * h] = _mm512_and_si512(sum[h], _mm512_set1_epi32(0xffff));
        at[2 * h + 1] = _mm512_srli_epi32(sum[h], 16);
    }
}

/* The entries of the odd words' keys are read two octets early, so that they come to the upper halves. */
INLINE void take_step(const fc_cross *x, const fc_cross_step *step, const work *w, int full, uint16_t *to)
{
    const uint32_t halves = full ? 2 : w->halves;
    const uint8_t *table = x->tables + step->table;
    __m512i at[AVX512_GROUPS];
    index_of(x, step, w, at);
    if (step->width == 1) {
        for (uint32_t h = 0; h < halves; h++) {
            __m512i even = GATHER32(at[2 * h], table, 1), odd = GATHER32(at[2 * h + 1], table - 2, 1);
            _mm512_store_si512(
                to + 32 * h, _mm512_and_si512(_mm512_mask_blend_epi16(0xaaaaaaaa, even, odd), _mm512_set1_epi16(0xff)));
        }
    } else {
        for (uint32_t h = 0; h < halves; h++) {
            __m512i even = GATHER32(at[2 * h], table, 2), odd = GATHER32(at[2 * h + 1], table - 2, 2);
            _mm512_store_si512(to + 32 * h, _mm512_mask_blend_epi16(0xaaaaaaaa, even, odd));
        }
    }
}

/* Where 16 of a block's keys are, from w->from + 16 * g, of which eight are taken: those of the e-th word of each four
 * in the order of words. */
INLINE __m256i every_fourth(const work *w, int full, int h, int e)
{
    const __m512i which = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 0, 0, 0, 0, 0, 0, 0, 0);
    int first = 32 * h + 16 * (e & 1) + 4 * (e >> 1);
    if (full)
        return _mm512_castsi512_si256(
            _mm512_mullo_epi32(_mm512_add_epi32(which, _mm512_set1_epi32(first)), _mm512_set1_epi32(sizeof(fc_key))));
    __m512i from = _mm512_load_si512(w->from + 16 * (2 * h + (e & 1)));
    return _mm512_castsi512_si256(
        _mm512_permutexvar_epi32(_mm512_add_epi32(which, _mm512_set1_epi32(4 * (e >> 1))), from));
}

/* Eight keys at a time, a candidate in each quadword; four of these make 32 words. */
INLINE void exact_step(const fc_cross *x, const fc_cross_step *step, const work *w, int full, uint16_t *to)
{
    const __m512i factor = _mm512_set1_epi64((long long)step->factor), shift = _mm512_set1_epi64(step->shift),
                  number = _mm512_set1_epi64(0xffff);
    const uint8_t *at = (const uint8_t *)w->keys + step->at, *slots = x->tables + step->table,
                  *values = x->tables + step->values;
    for (int h = 0; h < 2; h++) {
        __m512i words = _mm512_setzero_si512();
        for (int e = 3; e >= 0; e--) {
            __m512i word = GATHER64(every_fourth(w, full, h, e), at, 1);
            __m512i slot = _mm512_srlv_epi64(FC_BY_HALVES(_mm256_mullo_epi64, word, factor), shift);
            __m512i candidate = _mm512_and_si512(GATHER64_AT64(slot, slots, 2), number);
            __mmask8 is = _mm512_cmpeq_epi64_mask(word, GATHER64_AT64(candidate, values, 8));
            words = _mm512_or_si512(_mm512_slli_epi64(words, 16), _mm512_maskz_mov_epi64(is, candidate));
        }
        _mm512_store_si512(to + 32 * h, words);
    }
}

INLINE void last_step(const fc_cross *x, const fc_cross_step *step, work *w, uint32_t n, int32_t *out)
{
    const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const uint8_t *table = x->tables + step->table;
    __m512i at[AVX512_GROUPS];
    index_of(x, step, w, at);
    for (uint32_t g = 0; 16 * g < n; g++) {
        __m512i v;
        if (step->width == 2)
            v = _mm512_srai_epi32(GATHER32(at[g], table - 2, 2), 16);
        else
            v = GATHER32(at[g], table, 4);
        __mmask16 in = (__mmask16)(n - 16 * g >= 16 ? 0xffff : (1u << (n - 16 * g)) - 1);
        _mm512_mask_storeu_epi32(out + 16 * g, in, _mm512_permutexvar_epi32(in_order, v));
    }
}

/* Where the keys of a block are: the last of n < 64 again up to 64. */
INLINE void find_keys(const uint32_t *index, uint32_t n, work *w)
{
    const __m512i few = _mm512_set1_epi32((int)n - 1);
    __m512i key = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    w->halves = n > AVX512_KEYS / 2 ? 2 : 1;
    for (int g = 0; g < AVX512_GROUPS; g++, key = _mm512_add_epi32(key, _mm512_set1_epi32(16))) {
        __m512i k = _mm512_min_epu32(key, few);
        if (index)
            k = GATHER32(k, index, 4);
        _mm512_store_si512(w->from + 16 * g, _mm512_mullo_epi32(k, _mm512_set1_epi32(sizeof(fc_key))));
    }
}

/* full: 64 keys in a row. */
INLINE int look_up(const fc_cross *x, const reading *r, uint32_t n, int full, work *w, int32_t *out)
{
    uint32_t s = 0;
    if (!read_octets(x, r, w, full))
        return 0;
    for (; s + 1u < x->steps; s++) {
        if (x->step[s].width)
            take_step(x, &x->step[s], w, full, w->step[s]);
        else
            exact_step(x, &x->step[s], w, full, w->step[s]);
    }
    last_step(x, &x->step[s], w, n, out);
    return 1;
}

FC_TARGET int fc_cross_avx512(const fc_cross *x, const fc_key *keys, const uint32_t *index, uint32_t n, int32_t *out)
{
    work w;
    reading r;
    plan_reading(x, &r);
    for (uint32_t start = 0; start < n; start += AVX512_KEYS) {
        uint32_t m = n - start < AVX512_KEYS ? n - start : AVX512_KEYS;
        int found;
        w.keys = index ? keys : keys + start;
        if (index == NULL && m == AVX512_KEYS) {
            found = look_up(x, &r, AVX512_KEYS, 1, &w, out + start);
        } else {
            find_keys(index ? index + start : NULL, m, &w);
            found = look_up(x, &r, m, 0, &w, out + start);
        }
        if (!found)
            return 0;
    }
    return 1;
}
#else
typedef int fc_cross_not_this_architecture; /* ISO C wants a declaration */
#endif
