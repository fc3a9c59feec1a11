/* cross_vectors.c - sets of at most 256 rules as bit vectors, for processors whose kernels read cross-product tables by
 * loads (cross_plain.c): written and read here.
 *
 * Problem. Read by loads, a cross-product table costs a chain of loads for each step, and as many stores: the class of
 * one step is an input of the next.
 *
 * Structure. Where a set has few rules, the set of those that a lane lets pass fits a register: a bit for each rule,
 * the first rule's the lowest (T. V. Lakshman and D. Stiliadis, SIGCOMM 1998). So there are no steps. Each lane leads
 * to its vector, all vectors are ANDed, and the lowest bit that is left is the answer. Nothing waits for anything but
 * the last AND, and nothing is stored but answers.
 *
 * A prefix asks for a range of each octet, whatever the others are: an octet has a vector for each of its values, and
 * an address's lane is two of them. A range of ports is no such product (1000-2000: which lower octets match depends on
 * the upper one). So the lanes of all other fields go by the classes of cross_classes.c: both octets' classes lead to
 * the vector of the pair.
 *
 * Worked example: the last two octets of a destination, and a port.
 *
 *      rule   destination   port        octet 3            octet 4            port        (rule 0 on the left)
 *      0      10.0.1.7      80          1       1 1 1      7       1 1 1      80          1 1 1
 *      1      10.0.1/24     any         others  0 0 1      others  0 1 1      others      0 1 1
 *      2      any           any
 *
 * 10.0.1.9, port 80: 111 & 011 & 111 = 011, the answer is rule 1.
 *
 * With one word a vector, an address's octet is an index of 256 vectors, 2 KiB; with two or four words its vectors are
 * kept once for each class, and the octet leads to the class's by a share, as in cross.h. IPv4 takes 3 loads for the
 * key's words, 8 or 16 for its addresses and 3 to 4 for each port, whatever the key. A packet without a field that some
 * rule asks for goes the way of the pair's class for that, as in cross.c.
 *
 * Limits: FC_CROSS_WORDS words a vector; addresses' ranges that are no product of ranges of octets are not taken;
 * 65,536 words of vectors, 65,536 pairs of classes. Sets that ask for fewer than four lanes are left to steps, which
 * are few then. Measured in decision 0037. */
#include "../common/wide.h"
#include "cross_build.h"
#if defined(__x86_64__)
#include <immintrin.h>
#define FC_TARGET __attribute__((target("avx2,bmi,bmi2")))
#else
#define FC_TARGET
#endif
#define INLINE static inline __attribute__((always_inline)) FC_TARGET

/* Lanes by canonical number (layout.h): IPv4 has its addresses in 0 to 3. */
enum { ADDRESSES = 4, PORTS = 4, PROTOCOL = 6, LABELS = 8, LABELS_END = 12, CLASS = 12, LANES = 13 };
#define LANE(i) (1u << (i))
#define COMMON (LANE(0) | LANE(1) | LANE(2) | LANE(3) | LANE(PROTOCOL)) /* what is read in any case */

struct fc_cross_vectors {
    uint32_t lanes; /* that are to be read */
    uint8_t words;  /* of a vector */
    uint8_t fields; /* that keys may lack and rules ask for */
    struct {
        uint8_t field,
            lower; /* keys without it have the octet 256 in the lane's upper or lower half; 0: there are none */
    } lacking[LANES];
    /* Of a lane's upper octet, then of its lower one. An address's, or where a lane has one octet: where its vector
     * is, in words. Else their sum is the pair's number; with one word a vector the pair's vector is there. */
    uint16_t share[LANES][2][FC_CROSS_SHARES];
    int32_t row[64 * FC_CROSS_WORDS + 1]; /* by rank, and at last -1 */
    const uint16_t *pair;                 /* where a pair's vector is */
    const uint64_t *vector; /* the first has all bits; one word: before all others 256 for each octet of an address */
};

/* ---- Reading ----------------------------------------------------------------------------------------------------- */

enum { VECTORS_BLOCK = 64 }; /* keys that are looked up before their versions are known */

typedef uint64_t two_words __attribute__((vector_size(16), may_alias));
typedef uint64_t four_words __attribute__((vector_size(32), may_alias));

typedef struct passing { /* the rules that match as far as is known */
    uint64_t one;
    two_words two;
    four_words four;
} passing;

INLINE void meet(passing *p, const uint64_t *vector, int words)
{
    if (words == 1)
        p->one &= *vector;
    else if (words == 2)
        p->two &= *(const two_words *)(const void *)vector;
    else
        p->four &= *(const four_words *)(const void *)vector;
}

/* The lanes of an address. */
INLINE void meet_address(passing *p, const fc_cross_vectors *x, uint32_t address, int lane, int words)
{
    for (int l = lane; l < lane + 2; l++, address >>= 16) {
        uint32_t lower = address & 255, upper = address >> 8 & 255;
        if (words == 1) {
            p->one &= x->vector[(uint32_t)(512 * l) + upper];
            p->one &= x->vector[(uint32_t)(512 * l + 256) + lower];
        } else {
            meet(p, x->vector + x->share[l][0][upper], words);
            meet(p, x->vector + x->share[l][1][lower], words);
        }
    }
}

/* The lane of another field. careful: the key may lack it. */
INLINE void meet_lane(passing *p, const fc_cross_vectors *x, uint32_t value, int lane, int words, int careful,
                      uint32_t present)
{
    const int single = lane == PROTOCOL || lane == CLASS;
    uint32_t lower = value & 255, upper = value >> 8 & 255;
    if (careful && (~present & x->lacking[lane].field)) {
        lower = x->lacking[lane].lower ? 256 : lower;
        upper = x->lacking[lane].lower ? upper : 256;
    }
    uint32_t at = x->share[lane][0][upper];
    if (!single)
        at += x->share[lane][1][lower];
    meet(p, x->vector + (single || words == 1 ? at : x->pair[at]), words);
}

/* The number of zeros below the lowest one; 64 where there is none. */
INLINE uint32_t zeros(uint64_t word)
{
#if defined(__x86_64__)
    return (uint32_t)_tzcnt_u64(word);
#else
    return word ? (uint32_t)__builtin_ctzll(word) : 64;
#endif
}

/* The first rule that is left, by rank; none: the number of bits. No branch: it would be guessed wrong often. */
INLINE uint32_t first_of(const passing *p, int words)
{
    if (words == 1)
        return zeros(p->one);
    if (words == 2)
        return zeros(p->two[0]) + (zeros(p->two[1]) & -(uint32_t)(p->two[0] == 0));
    uint64_t word[4];
    memcpy(word, &p->four, sizeof(word));
#if defined(__x86_64__)
    const __m256i empty = _mm256_cmpeq_epi64(_mm256_loadu_si256((const __m256i *)&p->four), _mm256_setzero_si256());
    uint32_t at = _tzcnt_u32(~(uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(empty)) | 8);
#else
    uint32_t none = word[0] == 0, neither = none & (word[1] == 0);
    uint32_t at = none + neither + (neither & (word[2] == 0));
#endif
    return 64 * at + zeros(word[at]);
}

INLINE int32_t look_up(const fc_cross_vectors *x, const fc_key *key, uint64_t tail, int words, uint32_t lanes,
                       int careful)
{
    const uint32_t present = (uint32_t)(tail >> 56);
    passing p = {~0ull, {~0ull, ~0ull}, {~0ull, ~0ull, ~0ull, ~0ull}};
    meet_address(&p, x, (uint32_t)key->destination[1], 0, words);
    meet_address(&p, x, (uint32_t)key->source[1], 2, words);
    for (int i = 0; i < 2; i++) {
        if (lanes & LANE(PORTS + i))
            meet_lane(&p, x, (uint32_t)(tail >> 16 * i), PORTS + i, words, careful, present);
    }
    meet_lane(&p, x, (uint32_t)(tail >> 32), PROTOCOL, words, careful, present);
    if (lanes & LANE(CLASS))
        meet_lane(&p, x, (uint32_t)(tail >> 24), CLASS, words, careful, present);
    uint64_t labels = lanes >> LABELS ? fc_load64(&key->flow_label) : 0;
    for (int l = LABELS; l < LABELS_END; l++, labels >>= 16) {
        if (lanes & LANE(l))
            meet_lane(&p, x, (uint32_t)labels, l, words, careful, present);
    }
    return x->row[(uint32_t)(64 * (FC_CROSS_WORDS - words)) + first_of(&p, words)];
}

/* Looks up n keys; their tails, all of them, are ANDed and ORed to tails[0] and [1]. */
typedef void block_fn(const fc_cross_vectors *x, const fc_key *keys, uint32_t n, uint64_t *tails, int32_t *out);

INLINE void look_up_block(const fc_cross_vectors *x, const fc_key *keys, uint32_t n, uint64_t *tails, int32_t *out,
                          int words, uint32_t lanes, int careful)
{
    uint64_t all = UINT64_MAX, any = 0;
    for (uint32_t i = 0; i < n; i++) {
        __builtin_prefetch(keys + i + VECTORS_BLOCK);
        uint64_t tail = fc_load64(&keys[i].source_port);
        all &= tail;
        any |= tail;
        out[i] = look_up(x, &keys[i], tail, words, lanes, careful);
    }
    tails[0] = all;
    tails[1] = any;
}

/* A function for each number of words and each choice of ports, which are all that most sets ask for beside addresses
 * and protocol; and for each number of words one that asks which lanes there are, and whether the key has them. */
#define BLOCK(name, words, lanes, careful)                                                                         \
    FC_TARGET static void name(const fc_cross_vectors *x, const fc_key *keys, uint32_t n, uint64_t *t, int32_t *o) \
    {                                                                                                              \
        look_up_block(x, keys, n, t, o, words, lanes, careful);                                                    \
    }
#define BLOCKS(words)                                                      \
    BLOCK(no_port_##words, words, COMMON, 0)                               \
    BLOCK(source_port_##words, words, COMMON | LANE(PORTS), 0)             \
    BLOCK(destination_port_##words, words, COMMON | LANE(PORTS + 1), 0)    \
    BLOCK(ports_##words, words, COMMON | LANE(PORTS) | LANE(PORTS + 1), 0) \
    BLOCK(any_##words, words, x->lanes, 1)
BLOCKS(1)
BLOCKS(2)
BLOCKS(4)
#define ROW(words)                                                                                 \
    {                                                                                              \
        no_port_##words, source_port_##words, destination_port_##words, ports_##words, any_##words \
    }
static block_fn *const block[3][5] = {ROW(1), ROW(2), ROW(4)};

int fc_cross_by_vectors(const fc_cross *cross, const fc_key *keys, const uint32_t *index, uint32_t n, int32_t *out)
{
    const fc_cross_vectors *x = cross->vectors;
    block_fn *const *by = block[x->words / 2];
    const int usual = x->lanes >> LABELS ? 4 : (int)(x->lanes >> PORTS & 3);
    fc_key copy[VECTORS_BLOCK];
    for (uint32_t start = 0; start < n; start += VECTORS_BLOCK) {
        uint32_t m = n - start < VECTORS_BLOCK ? n - start : VECTORS_BLOCK;
        const fc_key *from = index ? copy : keys + start;
        for (uint32_t i = 0; index && i < m; i++)
            copy[i] = keys[index[start + i]];
        uint64_t tails[2];
        by[usual](x, from, m, tails, out + start);
        uint8_t lacking = (uint8_t) ~(tails[0] >> 56);
        if ((uint8_t)(tails[0] >> 48) != 4 || (uint8_t)(tails[1] >> 48) != 4 || (lacking & cross->required))
            return 0;
        if (usual < 4 && (lacking & x->fields))
            by[4](x, from, m, tails, out + start);
    }
    return 1;
}

/* What a look-up costs in the measure of cross_plan.c, times what the forest takes at table.c's limits for loads. */
static uint32_t cost_of(const fc_cross_vectors *x)
{
    static const uint32_t by_words[3] = {105, 150, 180};
    return by_words[x->words / 2] + 20 * (uint32_t)__builtin_popcount(x->lanes >> LABELS);
}

/* ---- Writing ----------------------------------------------------------------------------------------------------- */

typedef struct writer {
    fc_cross_maker *b;
    fc_cross_vectors *x;
    uint16_t *pair;
    uint64_t *vector;
    uint32_t pairs, used; /* words of vectors */
} writer;

enum { MOST = 65536 }; /* words of vectors, pairs */

/* Writes a vector of a lane's set; returns where. */
static uint32_t put_vector(writer *w, const uint64_t *set)
{
    uint32_t at = w->used;
    if (at + w->x->words > MOST) {
        w->b->status = FC_ELIMIT;
        return 0;
    }
    memset(w->vector + at, 0, 8 * (size_t)w->x->words);
    memcpy(w->vector + at, set, 8 * (size_t)w->b->words);
    w->used += w->x->words;
    return at;
}

/* The set of each value of an address's octet, all of them. `set` has room for 257. */
static void sets_of_octet(const fc_cross_maker *b, int lane, int half, uint64_t *set)
{
    const int shift = half ? 0 : 8;
    memset(set, 0, 257 * 8 * (size_t)b->words);
    for (uint32_t i = 0; i < b->n; i++) {
        uint32_t lo = b->lo[lane][i] >> shift & 255, hi = b->hi[lane][i] >> shift & 255;
        set[lo * b->words + i / 64] ^= 1ull << (i & 63); /* begins here */
        set[(hi + 1) * b->words + i / 64] ^= 1ull << (i & 63);
    }
    for (uint32_t k = b->words; k < 257 * b->words; k++)
        set[k] ^= set[k - b->words];
}

static void write_octet(writer *w, int lane, int half, uint64_t *set)
{
    fc_cross_maker *b = w->b;
    uint16_t *share = w->x->share[lane][half];
    const uint32_t first = w->used;
    fc_sets seen = {0};
    sets_of_octet(b, lane, half, set);
    for (uint32_t v = 0; v < 256 && b->status == FC_OK; v++) {
        if (w->x->words == 1) {
            w->vector[256 * (uint32_t)(2 * lane + half) + v] = set[v];
            continue;
        }
        uint32_t before = seen.n, number = fc_sets_add(b, &seen, set + v * b->words);
        if (number == before)
            put_vector(w, set + v * b->words);
        share[v] = (uint16_t)(first + number * w->x->words);
    }
    fc_sets_free(&seen);
}

/* A lane of another field: by pairs of its octets' classes. */
static void write_pairs(writer *w, int lane)
{
    fc_cross_maker *b = w->b;
    fc_cross_make_lane(b, lane);
    const fc_cross_node *node = fc_cross_find(b, LANE(lane));
    const fc_cross_lane *l = &b->lane[lane];
    const int single = lane == PROTOCOL || lane == CLASS;
    if (b->status == FC_OK && (node == NULL || node->sets.n == 0))
        b->status = FC_ELIMIT;
    if (b->status != FC_OK)
        return;
    uint32_t n = (uint32_t)l->classes[0] * l->classes[1], base = w->x->words == 1 || single ? w->used : w->pairs;
    if (single || w->x->words == 1) {
        for (uint32_t k = 0; k < n; k++)
            put_vector(w, node->sets.bits + (size_t)l->set[k] * b->words);
    } else {
        uint32_t first = w->used;
        for (uint32_t k = 0; k < node->sets.n; k++)
            put_vector(w, node->sets.bits + (size_t)k * b->words);
        if (w->pairs + n > MOST)
            b->status = FC_ELIMIT;
        for (uint32_t k = 0; k < n && b->status == FC_OK; k++)
            w->pair[w->pairs++] = (uint16_t)(first + l->set[k] * w->x->words);
    }
    const uint32_t each = single ? w->x->words : 1;
    for (int half = 0; half < 2; half++) {
        for (uint32_t v = 0; v < FC_CROSS_SHARES; v++) {
            uint32_t k = v < 256 ? l->map[half][v] : l->lacking_in == half ? l->lacking[half] : 0;
            w->x->share[lane][half][v] = (uint16_t)(half ? k * each : base + k * l->classes[1] * each);
        }
    }
    if (l->lacking_in >= 0) {
        w->x->lacking[lane].field = (uint8_t)(1u << l->field);
        w->x->lacking[lane].lower = l->lacking_in == 1;
        w->x->fields |= w->x->lacking[lane].field;
    }
}

int fc_cross_suits_vectors(const fc_cross_maker *b)
{
    if (b->version != 4 || b->n > 64 * FC_CROSS_WORDS || __builtin_popcount(b->lanes) < 4)
        return 0;
    for (int l = 0; l < ADDRESSES; l++) {
        for (uint32_t i = 0; (b->lanes & LANE(l)) && i < b->n; i++) {
            uint32_t lo = b->lo[l][i], hi = b->hi[l][i];
            if (lo >> 8 != hi >> 8 && ((lo & 255) != 0 || (hi & 255) != 255))
                return 0;
        }
    }
    return 1;
}

static void write_all(writer *w, uint64_t *set)
{
    fc_cross_maker *b = w->b;
    const uint32_t base = w->x->words == 1 ? 256 * 2 * ADDRESSES : 0; /* where a vector of all bits is */
    w->used = base + w->x->words;
    memset(w->vector, 0xff, 8 * (size_t)w->used);
    for (uint32_t v = 0; v < FC_CROSS_SHARES; v++)
        w->x->share[PROTOCOL][0][v] = (uint16_t)base; /* it is read in any case */
    for (int l = 0; l < ADDRESSES; l++) {
        for (int half = 0; half < 2 && (b->lanes & LANE(l)); half++)
            write_octet(w, l, half, set);
    }
    for (int l = PORTS; l < LANES && b->status == FC_OK; l++) {
        if (b->lanes & LANE(l))
            write_pairs(w, l);
    }
    int32_t *row = w->x->row + 64 * (FC_CROSS_WORDS - w->x->words);
    for (uint32_t i = 0; i < b->n; i++)
        row[i] = (int32_t)b->row[i];
    w->x->row[64 * FC_CROSS_WORDS] = -1;
}

static size_t in_lines(size_t octets) { return (octets + 63) / 64 * 64; }

/* One block of memory: the headers, the vectors, the pairs. */
static fc_cross *in_one_block(writer *w, uint32_t required)
{
    size_t head = in_lines(sizeof(fc_cross)), own = in_lines(sizeof(*w->x)), vectors = in_lines(8 * (size_t)w->used),
           all = head + own + vectors + in_lines(sizeof(*w->pair) * (size_t)w->pairs);
    uint8_t *p = fc_big_alloc(all);
    if (p == NULL) {
        w->b->status = FC_ENOMEM;
        return NULL;
    }
    memcpy(p + head + own, w->vector, 8 * (size_t)w->used);
    memcpy(p + head + own + vectors, w->pair, sizeof(*w->pair) * (size_t)w->pairs);
    w->x->vector = (const uint64_t *)(p + head + own);
    w->x->pair = (const uint16_t *)(p + head + own + vectors);
    memcpy(p + head, w->x, sizeof(*w->x));
    fc_cross x = {.version = 4,
                  .required = (uint8_t)required,
                  .steps = 1,
                  .bytes = (uint32_t)all,
                  .cost = cost_of(w->x),
                  .vectors = (const fc_cross_vectors *)(p + head)};
    memcpy(p, &x, sizeof(x));
    return (fc_cross *)p;
}

fc_cross *fc_cross_make_vectors(fc_cross_maker *b, uint32_t required, uint32_t limit)
{
    fc_cross *made = NULL;
    writer w = {.b = b, .x = fc_cross_get(b, sizeof(*w.x))};
    w.pair = fc_cross_get(b, sizeof(*w.pair) * MOST);
    w.vector = fc_cross_get(b, 8 * (size_t)MOST);
    uint64_t *set = fc_cross_get(b, 257 * 8 * (size_t)b->words);
    if (b->status == FC_OK) {
        memset(w.x, 0, sizeof(*w.x));
        w.x->lanes = b->lanes;
        w.x->words = b->words > 2 ? 4 : (uint8_t)b->words;
        if (cost_of(w.x) < limit)
            write_all(&w, set);
        if (b->status == FC_OK && w.used > 0)
            made = in_one_block(&w, required);
    }
    free(w.x);
    free(w.pair);
    free(w.vector);
    free(set);
    return made;
}
