/* format.h - what the files of the flat classifier share: the memory format of a table. trees.c writes it,
 * lookup_*.c read it; theory of operation and a worked example are at the head of trees.c. */
#ifndef FC_RULES_FORMAT_H
#define FC_RULES_FORMAT_H

#include <stdint.h>
#include <string.h>

#include "../common/wide.h"
#include "flowclass.h"
#include "layout.h"

/* ---- Bounds ------------------------------------------------------------------------------------- */

#define FC_MAX_TREES 6
#define FC_MAX_DEPTH 12
/* Keys that an index or a list has room for: whole pieces of those that a kernel takes (lookup_batch.h). */
#define FC_BATCH 768

/* ---- Bodies: one rule as a product of 16-bit ranges ---------------------------------------------
 * `lanes` (8, 16 or 32) lower ends, then as many spans: a key matches when (key - lo) <= span, unsigned, in each lane
 * but the last. The last lane holds no range: its lo is the low 16 bits of the rule's number; its span is the
 * condition bits (bits 0-7), FC_BODY_VERIFY, and the number's upper 7 bits (bits 9-15). */
#define FC_BODY_VERIFY 0x0100u /* the lanes are only a bounding box: the exact rule must be asked too */
#ifndef FC_MAX_NUMBER          /* fuzzing takes smaller tables */
#define FC_MAX_NUMBER ((1u << 23) - 1)
#endif

/* ---- Short bodies: a rule in one line of memory --------------------------------------------------
 * Where all IPv6 rules of an immutable forest ask for prefixes of addresses, and for no traffic class, their bodies of
 * 32 lanes have the same again in half the room: lower ends as in a body up to lane 22; in lane 23 the lengths of the
 * source's prefix (lower octet) and the destination's; then the spans of lanes 16 to 22. The spans of lanes 0 to 15
 * follow from the lengths: those of an address whose prefix has `length` bits are the 8 values at short_spans + 8 *
 * length. */
#define FC_SHORT_LANES 32u

/* ---- Slots: 32 bits, kind (2) and payload (30) --------------------------------------------------
 * ONE    payload: number of the body to compare; FC_EMPTY: nothing here
 * LEAF   blocks (4 bits) and offset (26): see FC_LEAF_LONG below
 * BITS   offset of a struct fc_bits, in 64-octet units
 * RANGE  offset of a struct fc_range, in 64-octet units */
enum { FC_ONE = 0, FC_LEAF = 1, FC_BITS = 2, FC_RANGE = 3 };
#define FC_SLOT(kind, payload) ((uint32_t)(kind) << 30 | (uint32_t)(payload))
#define FC_PAYLOAD(slot) ((slot)&0x3fffffffu)
#define FC_EMPTY 0x3fffffffu
#define FC_LEAF_OFFSET(slot) ((slot)&0x03ffffffu)
#define FC_LEAF_BLOCKS(slot) ((slot) >> 26 & 15u)
/* A leaf's `blocks`: 1..14 blocks; 0 a half block (two bodies of 8 lanes); 15: a 64-octet header with the true number
 * of blocks in its first four octets comes before them. A block is 128 octets, the lower ends of 4 (8 lanes) or 2 (16
 * lanes) bodies, then their spans; unused places repeat the last body. With 32 lanes a leaf is a list of body numbers
 * (uint32, rising), `blocks` counts numbers, the offset is in 16-octet units and the header has 16 octets.
 * The next four octets of a header are 0, or lead to more rules of the leaf: the offset of an fc_vector in 64-octet
 * units. Such a leaf may have no blocks at all. */
#define FC_LEAF_LONG 15u

/* Hundreds of rules that no node could tell apart (vector.c). The values of each field that some rule asks for are cut
 * into intervals. Each interval has a row of bits, one for each rule in priority order: 1 if the rule has values in the
 * interval. All offsets count from the structure, in 64-octet units. */
typedef struct fc_vector {
    uint32_t n, blocks; /* how many rules; how many 512-bit pieces a row has */
    uint32_t fields;    /* how many fields; at least one */
    uint32_t units;     /* the whole vector's size, in units of 64 octets */
    uint32_t numbers;   /* offset of the n rules' numbers; FC_EMPTY: the rule was removed */
    uint32_t removed;   /* how many were removed; only the writer uses it */
    uint32_t unused[2];
    struct fc_vector_field {
        uint16_t field; /* bit number of enum fc_field */
        uint16_t wide;  /* 1: an IPv6 address */
        uint32_t rows;
        uint32_t first; /* offset of the intervals' first values, rising, of which the first is 0: as fc_value where
                           `wide`, else as fc_vector_narrow takes them */
        uint32_t row;   /* offset of the first row; behind the intervals' rows comes that for keys without the field */
    } field[];
} fc_vector;

/* ---- Selected bits ------------------------------------------------------------------------------
 * Two descriptions of one index: by masks, for processors that extract bits, and by the place that each of its bits has
 * in the key, for others (lookup_picked.h). A place is 8 * octet + bit of 16 octets: those of the words word[0] and
 * word[1], or, where keys are two words in all (8 lanes), those of the key. */
#define FC_NODE_PLACES 12u /* a node of more bits has masks only */
#define FC_ROOT_PLACES 32u

typedef struct fc_bits { /* a node that indexes by selected bits of at most two words */
    uint64_t mask[2];
    uint8_t word[2];
    uint8_t shift; /* bits that mask[0] gives */
    uint8_t bits;  /* in all */
    uint8_t place[FC_NODE_PLACES];
    uint32_t slot[]; /* 1 << bits of them: index = pext(word 0) | pext(word 1) << shift */
} fc_bits;

typedef struct fc_range {   /* a node that cuts one lane into 32 intervals */
    uint16_t threshold[31]; /* rising, repeated at the end; child = how many are <= the key's lane */
    uint16_t lane;
    uint32_t slot[32];
} fc_range;

typedef struct fc_tree {
    uint64_t mask[2]; /* the root node, copied out of the arena */
    const uint32_t *slot;
    uint8_t word[2];
    uint8_t shift;
    uint8_t part;           /* which rules it takes: fc_tree_of */
    uint32_t best;          /* the lowest number in the tree: a key that has a lower one already need not come here */
    uint32_t best_on;       /* the lowest number in this tree and those after it */
    uint64_t best_priority; /* the same as a priority, for forests that take updates, whose numbers are no ranks */
    /* of each bit of the index: its octet, and its bit in there as 1 << bit. Beyond the last: 0x80, no octet, and 1 */
    uint8_t octet[FC_ROOT_PLACES], bit[FC_ROOT_PLACES];
} fc_tree;

/* Describes a root's index by the places of its bits. */
static inline void fc_set_places(fc_tree *tree, const uint8_t *place, int bits)
{
    for (int i = 0; i < (int)FC_ROOT_PLACES; i++) {
        tree->octet[i] = (uint8_t)(i < bits ? place[i] / 8 : 0x80);
        tree->bit[i] = (uint8_t)(i < bits ? 1 << (place[i] & 7) : 1);
    }
}

/* All rules of one IP version. */
typedef struct fc_forest {
    uint8_t version;
    uint8_t words;       /* 3 or 6 */
    uint8_t lanes;       /* 8, 16 or 32 octet pairs a body has */
    uint8_t range_lanes; /* lanes of a body that hold ranges; the last lane never does */
    uint8_t permuted;    /* 1: lanes are chosen by lane_map; 0: canonical order */
    uint8_t conditions;  /* the union of the rules' conditions */
    uint8_t verify;      /* 1: some body is a bounding box only */
    uint8_t vectors;     /* 1: some leaf has an fc_vector; in a forest that takes updates any leaf may get one */
    uint16_t vector;     /* a leaf of more rules than this gets one */
    uint8_t trees;
    uint8_t source_bits, destination_bits; /* prefixes of so many bits are long: fc_tree_of */
    uint8_t lane_map[FC_MAX_LANES];
    fc_tree tree[FC_MAX_TREES + 1]; /* one more for live.c */
    const uint16_t *bodies;         /* 2 * lanes values each, by number */
    const uint16_t *shorts;         /* short bodies, by number; NULL: there are none */
    const uint16_t *short_spans;
    const uint8_t *arena;
    const uint32_t *rank;   /* number -> index in the table's rule order; NULL: the same */
    const fc_rule *exact;   /* the rules whose bodies have FC_BODY_VERIFY, by rising number */
    const struct fc_exact { /* tells, for each 64 numbers, which rules these are */
        uint64_t bits;
        uint64_t before; /* how many of them have smaller numbers than these 64 */
    } * exact_at;
    uint32_t n_exact;
    uint32_t n;
    const uint32_t *rivals; /* bit i: rule i has a rival in a later tree (rivals.c); bit n, no rule, is 1. NULL: it
                               isn't known, or known not to help */
    size_t arena_used;
    float cost; /* of looking up a packet, in cycles, as partition.c estimates it */
    /* A forest that takes updates (live.c): numbers are no ranks, so rules are compared by priority. NULL otherwise. */
    const uint64_t *priority; /* by number, lower first; equal ones by number */
    const fc_rule *rows;      /* by number */
} fc_forest;

struct fc_table {
    uint32_t n_rules;
    uint32_t sharers;          /* owners beside the first: fc_table_share */
    fc_forest forest[2];       /* IPv4, IPv6 */
    struct fc_cross *cross[2]; /* cross.h: what kernels use in the place of the forest, or NULL */
    fc_table_info info;
};
/* One owner more, who will call fc_table_free too. All owners' calls need one lock. */
void fc_table_share(fc_table *table);
/* The rows of a table again, from its bodies and, where these are boxes only, from the rows that it keeps. Ranges of
 * fields without a condition come back as 0. */
void fc_table_rows(const fc_table *table, fc_rule *rows);

/* A kernel's look-up in one forest, of `count` keys: of keys[index[i]], or of keys[i] where index is NULL. best[i]
 * becomes the number of the first rule that matches, or FC_EMPTY. Returns how many keys are done: all of them, or
 * fewer, possibly none, where a key is not of the forest's IP version. */
typedef uint32_t fc_lookup_fn(const fc_forest *forest, const fc_key *keys, const uint32_t *index, uint32_t count,
                              uint32_t *best);
fc_lookup_fn *fc_kernel_function(int kernel); /* of one that fc_kernel_check allows */
void fc_split_versions(const fc_key *keys, uint32_t n, uint32_t index[2][FC_BATCH], uint32_t count[2], int32_t *out);
fc_lookup_fn fc_lookup_scalar;
#if defined(__x86_64__)
fc_lookup_fn fc_lookup_avx2, fc_lookup_avx2_picked;
fc_lookup_fn fc_lookup_avx512;
#elif defined(__aarch64__)
fc_lookup_fn fc_lookup_neon;
#endif

/* How rules are to be numbered where ranks won't do: rules[i] has the number number[i], below `limit`, in any order.
 * Its body goes to place number[i] of `bodies`, which the caller owns and which has room for `limit` bodies of 32
 * lanes. */
typedef struct fc_numbering {
    const uint32_t *number;
    uint32_t limit;
    uint16_t *bodies;
    const uint64_t *priority;
    const fc_rule *rows;
} fc_numbering;

int fc_forest_build(fc_forest *forest, int version, const fc_rule *rules, uint32_t n, const fc_numbering *numbering,
                    const fc_build_options *options, fc_table_info *info);
void fc_forest_release(fc_forest *forest);

/* ---- Shared by the kernels ---------------------------------------------------------------------- */

/* Writes the canonical words of a key to `w`. Returns the fields, as bits, that rules of the forest ask for and the key
 * lacks. */
static inline uint32_t fc_key_words(const fc_forest *f, const fc_key *k, uint64_t *w)
{
    fc_canonical_words(f->version, k, w);
    return f->conditions & (uint8_t)~k->present;
}

/* Writes the lanes of a key in the order of the forest's bodies; those beyond range_lanes are 0. */
static inline void fc_key_lanes(const fc_forest *f, const uint64_t *words, uint16_t *lanes)
{
    for (int i = 0; i < f->lanes; i++)
        lanes[i] = i < f->range_lanes ? fc_range_lane(f->words, words, f->lane_map[i]) : 0;
}

static inline uint32_t fc_body_number(uint16_t lo, uint16_t span) { return (uint32_t)lo | (uint32_t)(span >> 9) << 16; }

/* Portable bit extraction: what pext does in one instruction. */
static inline uint64_t fc_extract(uint64_t word, uint64_t mask)
{
    uint64_t out = 0;
    for (int i = 0; mask; i++, mask &= mask - 1)
        out |= (uint64_t)((word & mask & -mask) != 0) << i;
    return out;
}

/* The index of a node that looks at bits of at most two words. */
static inline uint64_t fc_index(const uint64_t *words, const uint64_t *mask, const uint8_t *word, int shift)
{
    return fc_extract(words[word[0]], mask[0]) | fc_extract(words[word[1]], mask[1]) << shift;
}

static inline uint32_t fc_root(const fc_forest *f, const fc_tree *t, const uint64_t *words)
{
    (void)f;
    return __atomic_load_n(&t->slot[fc_index(words, t->mask, t->word, t->shift)], __ATOMIC_ACQUIRE);
}

/* One node down from a slot of kind BITS or RANGE. */
static inline uint32_t fc_descend(const fc_forest *f, uint32_t slot, const uint64_t *words)
{
    const uint8_t *at = f->arena + (size_t)FC_PAYLOAD(slot) * 64;
    if (slot >> 30 == FC_BITS) {
        const fc_bits *node = (const fc_bits *)at;
        return __atomic_load_n(&node->slot[fc_index(words, node->mask, node->word, node->shift)], __ATOMIC_ACQUIRE);
    }
    const fc_range *node = (const fc_range *)at;
    uint16_t v = fc_range_lane(f->words, words, node->lane);
    uint32_t i = 0;
    while (i < 31 && node->threshold[i] <= v)
        i++;
    return __atomic_load_n(&node->slot[i], __ATOMIC_ACQUIRE);
}

/* May a later tree have something better than rule `best`, of n rules? Or, if that is FC_EMPTY, anything at all? */
static inline uint32_t fc_is_open(const uint32_t *rivals, uint32_t n, uint32_t best)
{
    best = best < n ? best : n;
    return rivals[best / 32] >> (best & 31) & 1;
}

/* Which slots of a node of bits a rule reaches: index `fixed`, with every combination of the bits `open`. */
typedef struct fc_reach {
    uint64_t fixed, open;
} fc_reach;

static inline fc_reach fc_reach_bits(const uint64_t *care, const uint64_t *value, const uint64_t *mask,
                                     const uint8_t *word, int shift)
{
    uint64_t a = word[0], b = word[1];
    return (fc_reach){
        .fixed = fc_extract(value[a] & care[a], mask[0]) | fc_extract(value[b] & care[b], mask[1]) << shift,
        .open = fc_extract(~care[a], mask[0]) | fc_extract(~care[b], mask[1]) << shift,
    };
}

/* Does interval i of a lane that is cut at 31 thresholds hold no value? Where there are fewer, the last is repeated. */
static inline int fc_is_no_interval(const uint16_t *threshold, uint32_t i)
{
    return i == 0 ? threshold[0] == 0 : i < 31 && threshold[i - 1] == threshold[i];
}

/* The first and the last interval of a node's lane that a rule with the range lo to hi reaches. Between them may be
 * some without values, whose slots are empty: fc_is_no_interval(). */
static inline void fc_reach_range(const fc_range *node, uint16_t lo, uint16_t hi, uint32_t *first, uint32_t *last)
{
    for (*first = 0; *first < 31 && node->threshold[*first] <= lo;)
        ++*first;
    for (*last = *first; *last < 31 && node->threshold[*last] <= hi;)
        ++*last;
}

static inline int fc_lanes_fail(int lanes, const uint16_t *key, const uint16_t *lo, const uint16_t *span)
{
    int fail = 0;
    for (int i = 0; i < lanes - 1; i++)
        fail |= (uint16_t)(key[i] - lo[i]) > span[i];
    return fail;
}

static inline int fc_body_fails(const fc_forest *f, const uint16_t *body, const uint16_t *key)
{
    return fc_lanes_fail(f->lanes, key, body, body + f->lanes);
}

/* Walking a leaf's bodies one by one. */
typedef struct fc_leaf_at {
    const uint8_t *data;
    uint32_t n;              /* places, repeated bodies included */
    uint32_t per;            /* bodies in a block */
    const fc_vector *vector; /* more rules, or NULL */
} fc_leaf_at;

static inline fc_leaf_at fc_leaf_open(const fc_forest *f, uint32_t slot)
{
    uint32_t blocks = FC_LEAF_BLOCKS(slot), unit = f->lanes == 32 ? 16 : 64,
             per = f->lanes == 8    ? 4
                   : f->lanes == 16 ? 2
                                    : 1;
    const uint8_t *data = f->arena + (size_t)FC_LEAF_OFFSET(slot) * unit;
    if (blocks == FC_LEAF_LONG) {
        uint32_t head[2];
        memcpy(head, data, 8);
        return (fc_leaf_at){data + unit, head[0] * per, per,
                            head[1] ? (const fc_vector *)(f->arena + (size_t)head[1] * 64) : NULL};
    }
    if (blocks == 0)
        return (fc_leaf_at){data, 2, 2, NULL};
    return (fc_leaf_at){data, blocks * per, per, NULL};
}

static inline void fc_leaf_body(const fc_forest *f, const fc_leaf_at *at, uint32_t i, uint32_t *number,
                                const uint16_t **lo, const uint16_t **span)
{
    if (f->lanes == 32) {
        memcpy(number, at->data + 4 * (size_t)i, 4);
        *lo = f->bodies + (size_t)*number * 64;
        *span = *lo + 32;
        return;
    }
    const uint16_t *block = (const uint16_t *)at->data + (size_t)(i / at->per) * 64;
    *lo = block + (i % at->per) * f->lanes;
    *span = *lo + at->per * f->lanes;
    *number = fc_body_number((*lo)[f->lanes - 1], (*span)[f->lanes - 1]);
}

static inline const uint32_t *fc_vector_numbers(const fc_vector *v)
{
    return (const uint32_t *)((const uint8_t *)v + (size_t)v->numbers * 64);
}

/* Returns the index of the last of `rows` rising first values that is not above `value`. The first of them is 0. */
static inline uint32_t fc_vector_interval(const fc_value *first, uint32_t rows, fc_value value)
{
    uint32_t at = 0;
    for (; rows > 1; rows -= rows / 2) {
        const fc_value *middle = &first[at + rows / 2];
        int above = (middle->high > value.high) | ((middle->high == value.high) & (middle->low > value.low));
        at += above ? 0 : rows / 2;
    }
    return at;
}

/* The same for values of 32 bits, and without branches. `first` begins with every 32nd of up to FC_NARROW_ROWS first
 * values, and all of them follow; both lists are filled up to a multiple of 32 with UINT32_MAX. */
#define FC_NARROW_ROWS 1024u
static inline uint32_t fc_vector_narrow(const uint32_t *first, uint32_t rows, uint32_t value)
{
    uint32_t group = 0, at = 0, groups = (rows + 31) / 32;
    for (int i = 0; i < 32; i++)
        group += first[i] <= value;
    group = (group < groups ? group : groups) - 1;
    first += 32 + 32 * group;
    for (int i = 0; i < 32; i++)
        at += first[i] <= value;
    at += 32 * group;
    return (at < rows ? at : rows) - 1;
}

/* Sets row[i], for each field of a vector, to the row of the interval that the key's value is in. */
static inline void fc_vector_rows(const fc_vector *v, const fc_key *key, const uint64_t **row)
{
    const uint32_t narrow[8] = {
        (uint32_t)key->source[1], (uint32_t)key->destination[1], key->flow_label,         key->spi,
        key->source_port,         key->destination_port,         key->traffic_class >> 2, key->protocol};
    for (uint32_t i = 0; i < v->fields; i++) {
        const struct fc_vector_field *p = &v->field[i];
        const void *first = (const uint8_t *)v + (size_t)p->first * 64;
        uint32_t at = p->rows;
        if (key->present >> p->field & 1) {
            const uint64_t *wide = p->field ? key->destination : key->source;
            at = p->wide ? fc_vector_interval(first, p->rows, (fc_value){wide[0], wide[1]})
                         : fc_vector_narrow(first, p->rows, narrow[p->field]);
        }
        row[i] = (const uint64_t *)((const uint8_t *)v + ((size_t)p->row + (size_t)at * v->blocks) * 64);
    }
}

/* ANDs all rows in `n` blocks (1 to FC_MEET) from `block` on, and writes the result to `both`. Returns, as bits, which
 * words of it are not 0. This is the portable form. */
#define FC_MEET 4u
static inline uint32_t fc_meet(const uint64_t *const *row, uint32_t rows, uint32_t block, uint32_t n, uint64_t *both)
{
    uint32_t some = 0;
    for (uint32_t q = 0; q < 8 * n; q++) {
        uint64_t all = row[0][8 * (size_t)block + q];
        for (uint32_t i = 1; i < rows; i++)
            all &= row[i][8 * (size_t)block + q];
        both[q] = all;
        some |= (uint32_t)(all != 0) << q;
    }
    return some;
}

/* Does rule `number`, whose body matched only as a bounding box, match the key itself? */
int fc_verify(const fc_forest *f, uint32_t number, const fc_key *key);

#endif
