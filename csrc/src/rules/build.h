/* build.h - what the files that build a forest share; look-ups never see it. Each part says which file has its
 * functions. */
#ifndef FC_BUILD_H
#define FC_BUILD_H

#include <stdlib.h>

#include "format.h"

/* ---- body.c ------------------------------------------------------------------------------------- */

void fc_choose_lanes(fc_forest *forest, const uint8_t *used);
void fc_write_body(const fc_forest *forest, uint32_t number, const fc_rule *rule, const uint16_t *lo,
                   const uint16_t *hi, int exact, uint16_t *body);
void fc_read_body(const fc_forest *forest, const uint16_t *body, fc_rule *rule);
size_t fc_write_shorts(fc_forest *forest); /* if the rules have such; returns the octets that they take */

/* ---- table.c ------------------------------------------------------------------------------------ */

void fc_add_info(fc_table_info *all, const fc_table_info *part, const fc_forest *forest, int v);

/* ---- leaf.c ------------------------------------------------------------------------------------- */

typedef struct fc_leaf_shape {
    uint32_t blocks, per, tag; /* tag: what the slot says of the length */
    uint32_t places;
    size_t unit, header, octets;
} fc_leaf_shape;

#define FC_MAX_LEAF_OFFSET 0x03ffffffu
fc_leaf_shape fc_shape_leaf(const fc_forest *forest, uint32_t n, int is_long); /* is_long: with a header in any case */
/* vector: offset of the leaf's fc_vector, or 0; only with a header */
void fc_fill_leaf(const fc_forest *forest, const fc_leaf_shape *shape, const uint32_t *list, uint32_t n,
                  uint32_t vector, uint8_t *to);

/* ---- vector.c ----------------------------------------------------------------------------------- */

#define FC_VECTOR_ROWS 4096 /* of a vector, at most */

typedef struct fc_vector_plan { /* the intervals of each field */
    uint32_t n, blocks, fields, units;
    struct fc_vector_field field[8]; /* without offsets */
    fc_value first[FC_VECTOR_ROWS + 8];
} fc_vector_plan;

/* How a list of n > 0 rules (numbers, in priority order) is to be laid out: FC_OK, FC_ENOMEM. rules: by rank, or by
 * number where the forest has no ranks. */
int fc_vector_shape(const fc_forest *forest, const fc_rule *rules, const uint32_t *list, uint32_t n,
                    fc_vector_plan *plan);
/* Writes 64 * plan->units octets. */
void fc_vector_fill(const fc_forest *forest, const fc_rule *rules, const fc_vector_plan *plan, const uint32_t *list,
                    uint8_t *to);

/* ---- count.c ------------------------------------------------------------------------------------ */

/* Counts, over the n < 65536 rules `list`, those with a definite 1 and a definite 0 in each bit of one word: rule i has
 * care[i * stride] and value[i * stride]. ones and zeros have 64 places each. */
typedef void fc_count_fn(const uint64_t *care, const uint64_t *value, uint32_t stride, const uint32_t *list, uint32_t n,
                         uint16_t *ones, uint16_t *zeros);
fc_count_fn *fc_count_choose(void);

/* ---- What a build is at work on: trees.c, choose.c, cover.c, partition.c, forest.c -------------- */

typedef struct fc_build {
    fc_forest *f;
    fc_build_options o;
    const fc_rule *rules;         /* by rank, or by number where the forest has no ranks */
    const uint64_t *care, *value; /* words each, by number */
    const uint8_t *prefix;        /* the rule is no more than its fixed bits */
    uint16_t *bodies;
    uint8_t *arena;
    size_t used, size; /* octets */
    fc_count_fn *count;
    fc_table_info *info;
    uint64_t *leaf_hash; /* open addressing: hash of a leaf's list << 32 | slot; 0 is free */
    uint32_t leaf_hash_size, leaf_hash_used;
    uint64_t work;       /* entries looked at by the choices so far, and */
    uint64_t work_limit; /* after how many of them what is left becomes leaves */
    int draft;           /* only to be judged (fc_choose_partition): no vectors */
    int status;
} fc_build;

/* The cost of n rules in one place: how many pairs can be made of them, twice; so a rule alone costs nothing. n is a
 * float or a double. */
#define FC_PAIRS(n) ((n) * ((n)-1))

#define FC_MAX_BITS 22
#define FC_MANY_RULES 20480 /* of more, memory beyond the second-level cache is what takes the time */

typedef struct fc_cut { /* a list of rules dealt into 1 << bits buckets */
    int bits, words;
    uint8_t word[2]; /* in use; words of them */
    uint8_t bit_word[FC_MAX_BITS], bit[FC_MAX_BITS];
    uint32_t *entry, *start; /* bucket i: entry[start[i]] to entry[start[i + 1]] */
    double cost;             /* FC_PAIRS() of the buckets, in all */
} fc_cut;

typedef struct fc_intervals {
    int lane; /* of the body; -1: nothing helps */
    uint16_t threshold[31];
    double cost;
    uint64_t entries;
} fc_intervals;

/* What is known of every key that reaches a node: bits fixed by index nodes, intervals of lanes by range nodes. */
typedef struct fc_region {
    uint64_t fixed[FC_MAX_WORDS], value[FC_MAX_WORDS];
    uint16_t lo[FC_MAX_LANES], hi[FC_MAX_LANES];
    int cut; /* some lane has an interval */
} fc_region;

int fc_covers(const fc_build *build, uint32_t rule, const fc_region *at);                   /* cover.c */
int fc_tree_of(const fc_forest *forest, const uint64_t *care, int source, int destination); /* cover.c */
/* malloc; the first failure stays in build->status */
static inline void *fc_build_get(fc_build *b, size_t octets)
{
    void *p = b->status == FC_OK ? malloc(octets ? octets : 1) : NULL;
    if (p == NULL && b->status == FC_OK)
        b->status = FC_ENOMEM;
    return p;
}

/* rivals.c: sets forest->rivals, once the trees are built; returns the octets that they take. */
size_t fc_note_rivals(fc_build *build, const uint32_t *list, uint32_t n);

/* trees.c, choose.c, partition.c */
int fc_build_trees(fc_build *build, const uint32_t *list, uint32_t n, int source, int destination);
void fc_choose_bits(fc_build *build, const uint32_t *list, uint32_t n, fc_cut *cut);
void fc_cut_free(fc_cut *cut);
void fc_choose_interval(fc_build *build, const uint32_t *list, uint32_t n, fc_intervals *best);
void fc_choose_covered(fc_build *build, const uint32_t *list, uint32_t n, const fc_region *at, fc_intervals *best);
void fc_choose_partition(fc_build *build, const uint32_t *list, uint32_t n, int *source, int *destination);

#endif
