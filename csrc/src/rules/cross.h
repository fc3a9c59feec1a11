/* cross.h - the memory format of cross-product tables, which look up small rule sets. cross.c writes it and has the
 * theory; cross_plain.c, cross_avx2.c and cross_avx512.c read it, or, of tables with vectors, cross_vectors.c. */
#ifndef FC_CROSS_H
#define FC_CROSS_H

#include <string.h>

#include "layout.h"

#define FC_CROSS_RULES 2048 /* larger sets are not tried */
#define FC_CROSS_OCTETS 46  /* of a key, that rules can ask for */
#define FC_CROSS_STEPS 40
#define FC_CROSS_INPUTS 8 /* of a step */
#define FC_CROSS_COLUMNS (FC_CROSS_OCTETS + FC_CROSS_STEPS)
#define FC_CROSS_MAX 32767u /* classes, strides, rows: two of them are multiplied as signed 16-bit numbers */
#define FC_CROSS_FEW 12     /* keys: fewer are looked up in the forest, where there are steps */
#define FC_CROSS_WORDS 4    /* of a bit vector, a bit for each rule */

/* An octet of the keys and the class of each of its 256 values. */
typedef struct fc_cross_octet {
    uint8_t at;    /* offset in fc_key; rising */
    uint8_t field; /* keys without this field (a bit of enum fc_field) get the class `lacking`; 0: there are none */
    uint8_t lacking;
} fc_cross_octet;

/* A table: the index is the sum of the inputs' classes times their strides, the entry is the class of the result.
 * With a width of 0 it is an exact step: word = 8 octets of the key, candidate = the 16-bit entry at word * factor >>
 * shift, the class is the candidate if `values` has the word for it, else 0. */
typedef struct fc_cross_step {
    uint64_t factor;
    uint32_t values; /* offset, octets: 8 for each candidate, that of 0 is not used */
    uint8_t at, shift;
    uint32_t table; /* offset, octets */
    uint8_t width;  /* octets of an entry: 1 or 2, 0: an exact step; the last step's: 2, or 4, signed, the row of the
                       rule or -1 */
    uint8_t inputs;
    uint8_t wide; /* the index may need more than 16 bits */
    struct fc_cross_input {
        uint16_t column; /* an octet's number, or the number of octets and a step's number */
        uint16_t stride;
        uint32_t strides; /* the same, twice */
        uint32_t ratio; /* of a lane's lower octet: octets 1, r, 1, r where the next input is the upper one with r times
                           the stride, r < 128; else 0 */
    } input[FC_CROSS_INPUTS]; /* by rising stride */
} fc_cross_step;

typedef struct fc_cross {
    uint8_t version;
    uint8_t required; /* fields that every key must have: addresses, if rules ask for them */
    uint8_t octets, steps;
    const struct fc_cross_vectors *vectors; /* of a set without steps (cross_vectors.c); NULL: there are steps */
    uint32_t bytes;                         /* of everything */
    uint32_t cost;                          /* of a look-up, as cross_plan.c counts it */
    fc_cross_octet octet[FC_CROSS_OCTETS];
    fc_cross_step step[FC_CROSS_STEPS];
    const uint8_t *map;    /* 256 classes for each octet; 64-octet aligned */
    const uint32_t *share; /* FC_CROSS_SHARES for each octet */
    const uint8_t *tables; /* four octets may be read at any entry, and from two before it; of an exact step eight */
} fc_cross;

/* What an octet's value adds to the index of the one step that it goes into, its class times the stride; and after
 * these what it adds for keys without the field. To a multiple of 64 octets. */
#define FC_CROSS_SHARES 272u

/* One key's class by an exact step. */
static inline uint32_t fc_cross_exact(const fc_cross *cross, const fc_cross_step *step, const fc_key *key)
{
    uint64_t word, value;
    uint16_t candidate;
    memcpy(&word, (const uint8_t *)key + step->at, 8);
    memcpy(&candidate, cross->tables + step->table + 2 * (word * step->factor >> step->shift), 2);
    memcpy(&value, cross->tables + step->values + 8 * (uint32_t)candidate, 8);
    return candidate & -(uint32_t)(word == value); /* no branch: it would be guessed wrong often */
}

/* May keys with these tails (eight octets from the source port on), ANDed and ORed, be looked up? */
static inline int fc_cross_serves(const fc_cross *cross, uint64_t all, uint64_t any)
{
    return (uint8_t)(all >> 48) == cross->version && (uint8_t)(any >> 48) == cross->version &&
           !(~(all >> 56) & cross->required);
}

/* keys[index[i]], or keys[i] where index is NULL, of n keys: the row of the first rule that matches, or -1, to out[i].
 * 0, and nothing of use, when a key has another version or lacks a required field. */
typedef int fc_cross_fn(const fc_cross *cross, const fc_key *keys, const uint32_t *index, uint32_t n, int32_t *out);
fc_cross_fn *fc_cross_function(int kernel); /* NULL: the kernel has none, the forest serves it */
fc_cross_fn fc_cross_plain;
fc_cross_fn fc_cross_by_vectors; /* of tables that have vectors; any kernel's others want steps */
#if defined(__x86_64__)
fc_cross_fn fc_cross_avx2;
fc_cross_fn fc_cross_avx512;
#endif

/* Tables for the rules of one version, or NULL in *cross where there are none that cost less than `limit`
 * (cross_plan.c). vectors: 1 where vectors are wanted in the place of steps, if the set suits them. FC_OK, FC_ENOMEM.
 */
int fc_cross_build(int version, const fc_rule *rules, uint32_t n, uint32_t limit, int vectors, fc_cross **cross);
void fc_cross_free(fc_cross *cross);

#endif
