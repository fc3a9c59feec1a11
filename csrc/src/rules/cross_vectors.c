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
 * the vector of the pair. The lower half of an IPv6 address that rules ask for as a whole or not at all leads to its
 * vector by one look-up, as in an exact step of cross.c.
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
 * key's words, 8 or 16 for its addresses and 3 to 4 for each port, whatever the key. Nothing has to be set up for a
 * batch, so a single key takes this way too. A key without a field that some rule asks for has a class of its own in
 * that field's lane, as in cross.c.
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

/* Lanes by canonical number (layout.h): addresses are 0 to 3, in IPv6 0 to 15. */
#define ADDRESSES(version) ((version) == 4 ? 4 : 16)
#define PORTS(version) ((version) == 4 ? 4 : 20)
#define PROTOCOL(version) ((version) == 4 ? 6 : 22)
#define LABELS(version) ((version) == 4 ? 8 : 16) /* flow label and SPI: four lanes */
#define CLASS(version) ((version) == 4 ? 12 : 24)
#define LANES 25
#define LANE(i) (1u << (i))

struct fc_cross_vectors {
    uint32_t lanes; /* that are to be read */
    uint8_t words;  /* of a vector */
    uint8_t fields; /* that keys may lack and rules ask for */
    /* Of the words of IPv6 addresses, bits 0 to 3: which are read octet by octet; bits 4 to 7: and which, lower halves,
     * as a whole. */
    uint8_t halves;
    struct {
        uint64_t factor; /* of the word; the upper bits of the product lead to the candidate (cross.h) */
        const uint64_t *value;
        const uint16_t *candidate;
        uint32_t first; /* where the vector of candidate 0, none, is */
        uint8_t shift;
    } half[2]; /* of the source, of the destination */
    /* A bit of enum fc_field: keys without it have 256 in the place of the upper octet. 0: there are none. */
    uint8_t lacking[LANES];
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

/* Lanes of an address. */
INLINE void meet_lanes(passing *p, const fc_cross_vectors *x, uint64_t word, int lane, int n, int words)
{
#pragma GCC unroll 4
    for (int l = lane; l < lane + n; l++, word >>= 16) {
        uint32_t lower = word & 255, upper = word >> 8 & 255;
        if (words == 1) {
            p->one &= x->vector[(uint32_t)(512 * l) + upper];
            p->one &= x->vector[(uint32_t)(512 * l + 256) + lower];
        } else {
            meet(p, x->vector + x->share[l][0][upper], words);
            meet(p, x->vector + x->share[l][1][lower], words);
        }
    }
}

/* The lower half of an IPv6 address as a whole: it can only be one value that rules ask for, or none. */
INLINE void meet_half(passing *p, const fc_cross_vectors *x, uint64_t word, int side, int words)
{
    uint32_t candidate = x->half[side].candidate[word * x->half[side].factor >> x->half[side].shift];
    uint32_t is = candidate & -(uint32_t)(x->half[side].value[candidate] == word); /* no branch, as in cross.h */
    meet(p, x->vector + x->half[side].first + is * (uint32_t)words, words);
}

INLINE void meet_addresses(passing *p, const fc_cross_vectors *x, const fc_key *key, int version, int words,
                           uint32_t halves)
{
    if (version == 4) {
        meet_lanes(p, x, (uint32_t)key->destination[1], 0, 2, words);
        meet_lanes(p, x, (uint32_t)key->source[1], 2, 2, words);
        return;
    }
    const uint64_t word[4] = {key->source[0], key->source[1], key->destination[0], key->destination[1]};
#pragma GCC unroll 4
    for (int w = 0; w < 4; w++) {
        if (halves >> w & 1)
            meet_lanes(p, x, word[w], 4 * w, 4, words);
        else if ((w & 1) && (halves >> w & 16))
            meet_half(p, x, word[w], w / 2, words);
    }
}

/* The lane of another field. single: rules ask for its upper octet only; careful: the key may lack it. */
INLINE void meet_lane(passing *p, const fc_cross_vectors *x, uint32_t value, int lane, int single, int words,
                      int careful, uint32_t present)
{
    uint32_t lower = value & 255, upper = value >> 8 & 255;
    if (careful && (~present & x->lacking[lane]))
        upper = 256;
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

INLINE int32_t look_up(const fc_cross_vectors *x, const fc_key *key, uint64_t tail, int version, int words,
                       uint32_t lanes, uint32_t halves, int careful)
{
    const uint32_t present = (uint32_t)(tail >> 56);
    passing p = {~0ull, {~0ull, ~0ull}, {~0ull, ~0ull, ~0ull, ~0ull}};
    meet_addresses(&p, x, key, version, words, halves);
#pragma GCC unroll 2
    for (int l = PORTS(version), i = 0; i < 2; i++, l++) {
        if (lanes & LANE(l))
            meet_lane(&p, x, (uint32_t)(tail >> 16 * i), l, 0, words, careful, present);
    }
    meet_lane(&p, x, (uint32_t)(tail >> 32), PROTOCOL(version), 1, words, careful, present);
    if (lanes & LANE(CLASS(version)))
        meet_lane(&p, x, (uint32_t)(tail >> 24), CLASS(version), 1, words, careful, present);
    if (lanes & 15 * LANE(LABELS(version))) {
        uint64_t labels = fc_load64(&key->flow_label);
#pragma GCC unroll 4
        for (int l = LABELS(version), i = 0; i < 4; i++, l++, labels >>= 16) {
            if (lanes & LANE(l))
                meet_lane(&p, x, (uint32_t)labels, l, 0, words, careful, present);
        }
    }
    return x->row[(uint32_t)(64 * (FC_CROSS_WORDS - words)) + first_of(&p, words)];
}

/* Looks up n keys; their tails, all of them, are ANDed and ORed to tails[0] and [1]. */
typedef void block_fn(const fc_cross_vectors *x, const fc_key *keys, uint32_t n, uint64_t *tails, int32_t *out);

INLINE void look_up_block(const fc_cross_vectors *x, const fc_key *keys, uint32_t n, uint64_t *tails, int32_t *out,
                          int version, int words, uint32_t lanes, int careful)
{
    uint64_t all = UINT64_MAX, any = 0;
    const uint32_t halves = x->halves;
    for (uint32_t i = 0; i < n; i++) {
        __builtin_prefetch(keys + i + VECTORS_BLOCK);
        uint64_t tail = fc_load64(&keys[i].source_port);
        all &= tail;
        any |= tail;
        out[i] = look_up(x, &keys[i], tail, version, words, lanes, halves, careful);
    }
    tails[0] = all;
    tails[1] = any;
}

/* A function for each version, each number of words and each choice of ports, which are all that most sets ask for
 * beside addresses and protocol; and one that asks which lanes there are, and whether the key has them. */
#define BLOCK(name, version, words, lanes, careful)                                                                \
    FC_TARGET static void name(const fc_cross_vectors *x, const fc_key *keys, uint32_t n, uint64_t *t, int32_t *o) \
    {                                                                                                              \
        look_up_block(x, keys, n, t, o, version, words, lanes, careful);                                           \
    }
#define BLOCKS(version, words)                                                               \
    BLOCK(no_port_##version##_##words, version, words, 0, 0)                                 \
    BLOCK(source_port_##version##_##words, version, words, LANE(PORTS(version)), 0)          \
    BLOCK(destination_port_##version##_##words, version, words, LANE(PORTS(version) + 1), 0) \
    BLOCK(ports_##version##_##words, version, words, 3 * LANE(PORTS(version)), 0)            \
    BLOCK(any_##version##_##words, version, words, x->lanes, 1)
#define ROW(version, words)                                                                                 \
    {                                                                                                       \
        no_port_##version##_##words, source_port_##version##_##words, destination_port_##version##_##words, \
            ports_##version##_##words, any_##version##_##words                                              \
    }
BLOCKS(4, 1)
BLOCKS(4, 2)
BLOCKS(4, 4)
BLOCKS(6, 1)
BLOCKS(6, 2)
BLOCKS(6, 4)
static block_fn *const block[2][3][5] = {{ROW(4, 1), ROW(4, 2), ROW(4, 4)}, {ROW(6, 1), ROW(6, 2), ROW(6, 4)}};

/* Those of some lanes that few sets ask for. */
static uint32_t rare(uint32_t lanes, int version)
{
    return lanes & (LANE(CLASS(version)) | 15 * LANE(LABELS(version)));
}

int fc_cross_by_vectors(const fc_cross *cross, const fc_key *keys, const uint32_t *index, uint32_t n, int32_t *out)
{
    const fc_cross_vectors *x = cross->vectors;
    const int version = cross->version;
    block_fn *const *by = block[version == 6][x->words / 2];
    const int usual = rare(x->lanes, version) ? 4 : (int)(x->lanes >> PORTS(version) & 3);
    fc_key copy[VECTORS_BLOCK];
    for (uint32_t start = 0; start < n; start += VECTORS_BLOCK) {
        uint32_t m = n - start < VECTORS_BLOCK ? n - start : VECTORS_BLOCK;
        const fc_key *from = index ? copy : keys + start;
        for (uint32_t i = 0; index && i < m; i++)
            copy[i] = keys[index[start + i]];
        uint64_t tails[2];
        by[usual](x, from, m, tails, out + start);
        if (!fc_cross_serves(cross, tails[0], tails[1]))
            return 0;
        if (usual < 4 && (~(tails[0] >> 56) & x->fields))
            by[4](x, from, m, tails, out + start);
    }
    return 1;
}

/* ---- Writing ----------------------------------------------------------------------------------------------------- */

typedef struct writer {
    fc_cross_maker *b;
    fc_cross_vectors *x;
    uint16_t *pair;
    uint64_t *vector;
    uint32_t pairs, used; /* words of vectors */
} writer;

enum { VECTORS_MOST = 65536 }; /* words of vectors, pairs */

/* Writes a vector of a lane's set; returns where. */
static uint32_t put_vector(writer *w, const uint64_t *set)
{
    uint32_t at = w->used;
    if (at + w->x->words > VECTORS_MOST) {
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
    const int single = lane == PROTOCOL(b->version) || lane == CLASS(b->version);
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
        if (w->pairs + n > VECTORS_MOST)
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
    if (l->lacking_in >= 0) { /* always the upper octet's: no range of 16 bits asks for the lower one alone */
        w->x->lacking[lane] = (uint8_t)(1u << l->field);
        w->x->fields |= w->x->lacking[lane];
    }
}

static uint32_t words_of(const fc_cross_maker *b) { return b->words > 2 ? 4 : b->words; }

/* Are all addresses' ranges products of ranges of octets? */
static int have_octets(const fc_cross_maker *b)
{
    for (int l = 0; l < ADDRESSES(b->version); l++) {
        for (uint32_t i = 0; (b->lanes & LANE(l)) && i < b->n; i++) {
            uint32_t lo = b->lo[l][i], hi = b->hi[l][i];
            if (lo >> 8 != hi >> 8 && ((lo & 255) != 0 || (hi & 255) != 255))
                return 0;
        }
    }
    return 1;
}

uint32_t fc_cross_vectors_cost(const fc_cross_maker *b)
{
    /* by words / 2, and of each rare lane: as much as those of the forest's cycles that take as long, times table.c's
     * limit for loads (decision 0037) */
    static const uint32_t cost[2][3] = {{105, 150, 180}, {236, 264, 308}}, lane[3] = {45, 55, 70};
    const uint32_t words = words_of(b) / 2;
    if (b->n > 64 * FC_CROSS_WORDS || __builtin_popcount(b->lanes) < 4 || !have_octets(b))
        return UINT32_MAX;
    return cost[b->version == 6][words] + lane[words] * (uint32_t)__builtin_popcount(rare(b->lanes, b->version));
}

/* Of IPv6 addresses: do all rules ask for the lower half as a whole, or not at all, and is there a place for each? */
static int has_half(fc_cross_maker *b, int side)
{
    const fc_cross_node *node = b->word[side].lanes ? fc_cross_find(b, b->word[side].lanes) : NULL;
    return node != NULL && node->sets.n > 0;
}

/* The lower half of an IPv6 address that all rules ask for as a whole or not at all. */
static void write_half(writer *w, int side)
{
    fc_cross_maker *b = w->b;
    const fc_cross_word *word = &b->word[side];
    const fc_cross_node *node = fc_cross_find(b, word->lanes);
    fc_cross_vectors *x = w->x;
    x->halves |= (uint8_t)(32u << 2 * side);
    x->half[side].factor = word->factor;
    x->half[side].shift = (uint8_t)(64 - word->bits);
    x->half[side].first = w->used;
    for (uint32_t k = 0; k < node->sets.n; k++)
        put_vector(w, node->sets.bits + (size_t)k * b->words);
}

static void write_all(writer *w, uint64_t *set)
{
    fc_cross_maker *b = w->b;
    const int version = b->version, addresses = ADDRESSES(version);
    /* where a vector of all bits is */
    const uint32_t base = w->x->words == 1 ? 512 * (uint32_t)addresses : 0;
    w->used = base + w->x->words;
    memset(w->vector, 0xff, 8 * (size_t)w->used);
    for (uint32_t v = 0; v < FC_CROSS_SHARES; v++)
        w->x->share[PROTOCOL(version)][0][v] = (uint16_t)base; /* it is read in any case */
    fc_cross_make_words(b);
    for (int side = 0; side < 2 && b->status == FC_OK; side++) {
        if (has_half(b, side))
            write_half(w, side);
    }
    for (int l = 0; l < addresses; l++) {
        if (!(b->lanes & LANE(l)) || (version == 6 && (w->x->halves >> l / 4 & 16)))
            continue;
        w->x->halves |= (uint8_t)(1u << l / 4);
        write_octet(w, l, 0, set);
        write_octet(w, l, 1, set);
    }
    for (int l = addresses; l < LANES && b->status == FC_OK; l++) {
        if (b->lanes & LANE(l))
            write_pairs(w, l);
    }
    int32_t *row = w->x->row + 64 * (FC_CROSS_WORDS - w->x->words);
    for (uint32_t i = 0; i < b->n; i++)
        row[i] = (int32_t)b->row[i];
    w->x->row[64 * FC_CROSS_WORDS] = -1;
}

/* The tables of a half that is looked up as a whole go to p; returns how many octets they take. p NULL: only that. */
static size_t place_half(writer *w, int side, uint8_t *p)
{
    const fc_cross_word *word = &w->b->word[side];
    size_t slots = fc_cross_lines((size_t)2 << word->bits), values = fc_cross_lines(8 * ((size_t)word->n + 1));
    if (!(w->x->halves & 32u << 2 * side))
        return 0;
    if (p != NULL) {
        uint16_t *candidate = (uint16_t *)(void *)p;
        memset(p, 0, slots + values);
        for (uint32_t i = 0; i < word->n; i++)
            candidate[word->value[i] * word->factor >> (64 - word->bits)] = (uint16_t)(i + 1);
        memcpy(p + slots + 8, word->value, 8 * (size_t)word->n); /* that of 0 is not used */
        w->x->half[side].candidate = candidate;
        w->x->half[side].value = (const uint64_t *)(const void *)(p + slots);
    }
    return slots + values;
}

/* One block of memory: the headers, the vectors, the pairs, the halves. */
static fc_cross *vectors_in_one_block(writer *w, uint32_t required)
{
    size_t head = fc_cross_lines(sizeof(fc_cross)), own = fc_cross_lines(sizeof(*w->x)),
           vectors = fc_cross_lines(8 * (size_t)w->used), pairs = fc_cross_lines(sizeof(*w->pair) * (size_t)w->pairs),
           source = place_half(w, 0, NULL), all = head + own + vectors + pairs + source + place_half(w, 1, NULL);
    uint8_t *p = fc_big_alloc(all), *at = p + head + own;
    if (p == NULL) {
        w->b->status = FC_ENOMEM;
        return NULL;
    }
    memcpy(at, w->vector, 8 * (size_t)w->used);
    memcpy(at + vectors, w->pair, sizeof(*w->pair) * (size_t)w->pairs);
    place_half(w, 0, at + vectors + pairs);
    place_half(w, 1, at + vectors + pairs + source);
    w->x->vector = (const uint64_t *)(const void *)at;
    w->x->pair = (const uint16_t *)(const void *)(at + vectors);
    memcpy(p + head, w->x, sizeof(*w->x));
    fc_cross x = {.version = (uint8_t)w->b->version,
                  .required = (uint8_t)required,
                  .steps = 1,
                  .bytes = (uint32_t)all,
                  .cost = fc_cross_vectors_cost(w->b),
                  .vectors = (const fc_cross_vectors *)(const void *)(p + head)};
    memcpy(p, &x, sizeof(x));
    return (fc_cross *)(void *)p;
}

fc_cross *fc_cross_make_vectors(fc_cross_maker *b, uint32_t required)
{
    fc_cross *made = NULL;
    writer w = {.b = b, .x = fc_cross_get(b, sizeof(*w.x))};
    w.pair = fc_cross_get(b, sizeof(*w.pair) * VECTORS_MOST);
    w.vector = fc_cross_get(b, 8 * (size_t)VECTORS_MOST);
    uint64_t *set = fc_cross_get(b, 257 * 8 * (size_t)b->words);
    if (b->status == FC_OK) {
        memset(w.x, 0, sizeof(*w.x));
        w.x->lanes = b->lanes;
        w.x->words = (uint8_t)words_of(b);
        write_all(&w, set);
        if (b->status == FC_OK)
            made = vectors_in_one_block(&w, required);
    }
    free(w.x);
    free(w.pair);
    free(w.vector);
    free(set);
    return made;
}
