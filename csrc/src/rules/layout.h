/* layout.h - where each field of a key stands in the words and lanes that tables are built from, and in fc_rule.
 *
 * A key is seen as 16-bit lanes (to be compared) and as 64-bit words (to be indexed by). Both views are the same
 * little-endian memory: lane 4w+j is bits 16j to 16j+15 of word w. This order is called canonical:
 *
 *   IPv4: word 0 = source << 32 | destination, word 1 = ports|class|protocol|virtual, word 2 = flow label|SPI
 *   IPv6: words 0-3 = source, destination (as in fc_key), word 4 = flow label|SPI, word 5 =
 * ports|class|protocol|virtual
 *
 * The top lane of the word with the ports (the tail) is "virtual": bit 0 is source port >= 1024, bit 1 destination
 * port >= 1024. The commonest classes of ports are no prefixes, so no single real bit tells them apart.
 *
 * The traffic class shares a lane with the protocol (class in the low octet). A rule's range of protocols, with any
 * class, is a range of that lane; a rule's range of classes gets a lane of its own behind those of the words, with the
 * class in the upper octet.
 *
 * Whoever adds a field changes enum fc_field, fc_key, fc_rule, fc_rule_matches, the table in layout.c, and what is
 * written out because every look-up runs it: fc_canonical_words here, prepare_one in lookup_batch.h, and the reading of
 * keys in lookup_eight.h and lookup_avx512.c. */
#ifndef FC_LAYOUT_H
#define FC_LAYOUT_H

#include "flowclass.h"

#define FC_FIELDS 8 /* enum fc_field */
#define FC_MAX_WORDS 6
#define FC_MAX_LANES 32 /* 6 words are 24 lanes, one for the traffic class, one for the number and the flags */

typedef struct fc_value { /* of any field */
    uint64_t high, low;
} fc_value;

/* One field in one IP version's words and lanes. */
typedef struct fc_field_place {
    uint8_t word[2];     /* which words have its bits (twice the same where one has them all) */
    uint64_t mask[2];    /* and which of their bits */
    uint8_t lane, lanes; /* the lanes that hold a rule's range of it: the first, and how many */
    uint8_t shift;       /* bits of the lane that are below the field */
    uint8_t turn;        /* the i-th 16 bits of a value, from the least significant, are in lane + (i ^ turn) */
} fc_field_place;

typedef struct fc_layout {
    uint8_t words;
    fc_field_place field[FC_FIELDS]; /* by the bit number of enum fc_field */
} fc_layout;

/* One field in fc_rule, whatever the version. */
typedef struct fc_field_row {
    uint8_t first, last; /* offsets in fc_rule */
    uint8_t octets;      /* 16, 4, 2 or 1 */
    uint8_t ignored;     /* low bits that are not compared */
} fc_field_row;

extern const fc_layout fc_layouts[2]; /* IPv4, IPv6 */
extern const fc_field_row fc_field_rows[FC_FIELDS];

static inline const fc_layout *fc_layout_of(int version) { return &fc_layouts[version == 6]; }

static inline int fc_words_of(int version) { return version == 4 ? 3 : 6; }

/* The word with the ports, by the number of words. */
static inline int fc_tail_word(int words) { return words == 3 ? 1 : 5; }

/* The canonical words of a key. */
static inline void fc_canonical_words(int version, const fc_key *k, uint64_t *w)
{
    uint64_t tail = (uint64_t)k->source_port | (uint64_t)k->destination_port << 16 | (uint64_t)k->traffic_class << 32 |
                    (uint64_t)k->protocol << 40 | (uint64_t)(k->source_port >= 1024) << 48 |
                    (uint64_t)(k->destination_port >= 1024) << 49;
    uint64_t label = (uint64_t)k->flow_label | (uint64_t)k->spi << 32;
    if (version == 4) {
        w[0] = k->source[1] << 32 | (uint32_t)k->destination[1];
        w[1] = tail;
        w[2] = label;
    } else {
        w[0] = k->source[0];
        w[1] = k->source[1];
        w[2] = k->destination[0];
        w[3] = k->destination[1];
        w[4] = label;
        w[5] = tail;
    }
}

static inline uint16_t fc_lane(const uint64_t *words, int lane)
{
    return (uint16_t)(words[lane >> 2] >> (16 * (lane & 3)));
}

/* A lane that rules have ranges of: one of the words', or the traffic class in an upper octet. */
static inline uint16_t fc_range_lane(int words, const uint64_t *word, int lane)
{
    if (lane < 4 * words)
        return fc_lane(word, lane);
    return (uint16_t)(word[fc_tail_word(words)] >> 24 & 0xff00);
}

const char *fc_rule_fault(const fc_rule *rule); /* rule.c: why this row is no rule, as flowclass.h has it; or NULL */
/* First and last value of a rule in a field (a bit number), without what is not compared of it: a traffic class of 7
 * is 1. Whether the rule has a condition on the field is for the caller to ask. */
void fc_rule_range(const fc_rule *rule, int field, fc_value *first, fc_value *last);
/* The rule's lanes: the ranges lo[i]..hi[i] of the first 4 * words + 1 lanes. Returns 1 when their product is the rule,
 * 0 when it is only a bounding box of it. */
int fc_rule_lanes(int version, const fc_rule *rule, uint16_t *lo, uint16_t *hi);
/* The inverse, where the product is the rule: writes the ranges of the fields that `rule->conditions` names. */
void fc_rule_from_lanes(int version, const uint16_t *lo, const uint16_t *hi, fc_rule *rule);
/* The bits that all keys of a rule's lanes share: where they are, and what. Returns 1 when the rule is no more than
 * those bits, so that a region that fixes them all lies inside the rule. */
int fc_rule_bits(int version, const fc_rule *rule, const uint16_t *lo, const uint16_t *hi, uint64_t *care,
                 uint64_t *value);

#endif
