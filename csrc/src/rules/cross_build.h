/* cross_build.h - what the files that build cross-product tables share. cross.c has the theory. */
#ifndef FC_CROSS_BUILD_H
#define FC_CROSS_BUILD_H

#include <stdlib.h>
#include <string.h>

#include "../common/memory.h"
#include "cross.h"

#define FC_CROSS_NODES 512
#define FC_CROSS_PARTS 4        /* of a node, put together in one step */
#define FC_CROSS_RAW (1u << 31) /* with the lane of a part: its octets are inputs, not a class */

/* Different sets of rules, each `words` words of bits by rank, found again by their contents. */
typedef struct fc_sets {
    uint32_t n, room, slots;
    uint64_t *bits;
    uint32_t *slot; /* open addressing: number + 1 */
} fc_sets;

/* A lane, as a table of two octets' classes. */
typedef struct fc_cross_lane {
    uint8_t map[2][256]; /* classes of the upper octet, of the lower */
    uint16_t classes[2];
    uint8_t lacking[2]; /* the class of keys without the field, in the octet that has one */
    int lacking_in;     /* 0, 1, or -1: neither */
    uint16_t *set;      /* classes[0] * classes[1]: the set, a number of the node's */
    int field;          /* bit number */
} fc_cross_lane;

/* The lower half of an IPv6 address, where every rule asks for all of it or nothing. */
typedef struct fc_cross_word {
    uint32_t lanes;  /* 0: it isn't so */
    uint64_t *value; /* of candidates 1 to n */
    uint32_t n;
    uint64_t factor;
    int bits; /* of the slots' number: candidates have one each */
} fc_cross_word;

/* A set of lanes: what is known of a key when only these have been looked at. */
typedef struct fc_cross_node {
    uint32_t lanes;
    fc_sets sets;                  /* the classes; n = 0: too many */
    uint32_t cost;                 /* of the steps up to its class, UINT32_MAX: none are known */
    uint32_t part[FC_CROSS_PARTS]; /* the lanes of the parts, the last step's inputs; parts = 0: one lane */
    uint8_t parts;
    const fc_cross_word *word; /* an exact step leads to the class */
} fc_cross_node;

typedef struct fc_cross_maker {
    int version, status;
    uint32_t n, words;                             /* rules; of a set */
    uint16_t *lo[FC_MAX_LANES], *hi[FC_MAX_LANES]; /* of the lanes that rules ask for: by rank */
    uint32_t *row;                                 /* of each rule in the caller's table */
    uint8_t *conditions;
    uint32_t lanes;                 /* those that rules ask for */
    uint64_t *covers[FC_MAX_LANES]; /* row i: the rules that rule i covers in the lane, itself among them */
    fc_cross_lane lane[FC_MAX_LANES];
    fc_cross_word word[2];           /* source, destination */
    uint32_t field_lanes[FC_FIELDS]; /* of those fields that matter, packed: the lanes of each */
    int fields;
    fc_cross_node node[FC_CROSS_NODES];
    uint32_t nodes;
    uint16_t node_at[1024]; /* by lanes, open addressing: number + 1 */
    uint64_t *dominates;    /* a row for each rule, of the lanes `dominating`; ready[i]: it is made */
    uint8_t *ready;
    uint32_t dominating;
    uint64_t work, work_limit;
} fc_cross_maker;

static inline void *fc_cross_get(fc_cross_maker *b, size_t octets)
{
    void *p = b->status == FC_OK ? malloc(octets ? octets : 1) : NULL;
    if (p == NULL)
        b->status = FC_ENOMEM;
    return p;
}

static inline size_t fc_cross_lines(size_t octets) { return (octets + 63) / 64 * 64; } /* to whole lines of memory */

/* ---- cross_classes.c ----------------------------------------------------------------------------------------------
 */

uint32_t fc_sets_add(fc_cross_maker *b, fc_sets *s, const uint64_t *set); /* its number; UINT32_MAX: no memory */
uint32_t fc_sets_find(const fc_cross_maker *b, const fc_sets *s, const uint64_t *set);
void fc_sets_free(fc_sets *s);
void fc_cross_cover(fc_cross_maker *b);
void fc_cross_prune(fc_cross_maker *b, uint32_t lanes, uint64_t *set);
void fc_cross_make_lane(fc_cross_maker *b, int lane);
void fc_cross_make_words(fc_cross_maker *b); /* before lanes: those of words are not made */
/* The classes of two parts together; sets.n stays 0 when there are more than can be kept. */
void fc_cross_meet(fc_cross_maker *b, const fc_cross_node *a, const fc_cross_node *c, fc_cross_node *out);

/* ---- cross_plan.c ---------------------------------------------------------------------------------------------------
 */

fc_cross_node *fc_cross_new_node(fc_cross_maker *b, uint32_t lanes);
fc_cross_node *fc_cross_find(fc_cross_maker *b, uint32_t lanes);
void fc_cross_plan(fc_cross_maker *b);
uint32_t fc_cross_entries(const fc_cross_maker *b, const fc_cross_node *part, int *raw);

/* ---- cross_vectors.c ------------------------------------------------------------------------------------------------
 */

typedef struct fc_cross_vectors fc_cross_vectors;
uint32_t fc_cross_vectors_cost(const fc_cross_maker *b); /* UINT32_MAX: the set doesn't suit them */
/* NULL: no memory, or they don't fit (FC_ELIMIT in b->status). Before any lane is made. */
fc_cross *fc_cross_make_vectors(fc_cross_maker *b, uint32_t required);

#endif
