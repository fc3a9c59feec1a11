/* rivals.c - which rules may have a better one in a later tree.
 *
 * A look-up visits trees one after the other, though most keys have their answer after the first. That a later tree's
 * best rule is better than the answer says little: of keys that a tree takes in by that test, few find anything. So the
 * build asks each rule r: does some rule of a later tree, better than r, meet it (is there a key that matches both)?
 * If not, r has no rival, and whoever has r as the answer so far has the answer: a key matches all rules whose boxes it
 * is in, so a better rule that matches it too would meet r. One bit for each rule, read once after the first tree.
 *
 * In the example at the head of trees.c the trees are {0, 2, 4} and then {1, 3}, long destinations. Rule 4, from
 * 10.0.0.0/7, is met by 1 and by 3, which are better. Rules 0 and 2 have no rival: 1 and 3 are better than neither 0,
 * nor, for want of common sources or a better number, than 2. So the packet that gets 2 isn't looked up in {1, 3}.
 *
 * Whether there is a rival is found as a look-up finds a key, but in all slots that the rule's box reaches. Rules that
 * reach more than TRIED slots and bodies before one is found are taken to have one: visits that find nothing are only
 * slower. The scalar kernel, against which the others are checked, does without rivals. */
#include "build.h"

#define TRIED 32 /* 256 find no more that counts, and take a third of a build's time (IPv6, 10k rules) */
/* visits of trees that a rule must save on average, else asking for rivals costs more than it saves */
#define SAVED 0.15
#define STEP 16 /* one rule of so many tells whether they do */

typedef struct search {
    const fc_build *build;
    uint32_t rule;
    uint32_t tries; /* that are left */
} search;

/* Is rule `number` better than the one that is asked about, and is some key in the boxes of both? */
static int is_rival(search *s, uint32_t number)
{
    const fc_forest *f = s->build->f;
    if (number >= s->rule) /* FC_EMPTY is */
        return 0;
    const uint16_t *a = f->bodies + (size_t)s->rule * 2 * f->lanes, *b = f->bodies + (size_t)number * 2 * f->lanes;
    int apart = 0;
    for (int i = 0; i < f->range_lanes; i++)
        apart |= (uint16_t)(a[i] + a[f->lanes + i]) < b[i] || (uint16_t)(b[i] + b[f->lanes + i]) < a[i];
    return !apart;
}

static int search_slot(search *s, uint32_t slot);

static int search_leaf(search *s, uint32_t slot)
{
    const fc_forest *f = s->build->f;
    fc_leaf_at leaf = fc_leaf_open(f, slot);
    uint32_t in_vector = leaf.vector ? leaf.vector->n : 0, number;
    const uint16_t *lo, *span;
    for (uint32_t i = 0; i < leaf.n + in_vector; i++) {
        if (i < leaf.n)
            fc_leaf_body(f, &leaf, i, &number, &lo, &span);
        else
            number = fc_vector_numbers(leaf.vector)[i - leaf.n];
        if (s->tries == 0 || is_rival(s, number))
            return 1;
        if (number >= s->rule)
            break; /* they rise */
        s->tries--;
    }
    return 0;
}

/* The slots that the rule's fixed bits lead to, with every combination of the bits that it leaves open. */
static int search_bits(search *s, const uint64_t *mask, const uint8_t *word, int shift, const uint32_t *slots)
{
    const size_t at = (size_t)s->rule * s->build->f->words;
    const fc_reach to = fc_reach_bits(s->build->care + at, s->build->value + at, mask, word, shift);
    uint64_t sub = 0;
    do {
        if (search_slot(s, slots[to.fixed | sub]))
            return 1;
        sub = (sub - to.open) & to.open;
    } while (sub);
    return 0;
}

static int search_range(search *s, const fc_range *node)
{
    const fc_forest *f = s->build->f;
    const uint16_t *body = f->bodies + (size_t)s->rule * 2 * f->lanes;
    uint16_t lo = 0, hi = 0xffff;
    uint32_t first, last;
    for (int i = 0; i < f->range_lanes; i++) {
        if (f->lane_map[i] == node->lane) {
            lo = body[i];
            hi = (uint16_t)(body[i] + body[f->lanes + i]);
        }
    }
    fc_reach_range(node, lo, hi, &first, &last);
    for (uint32_t i = first; i <= last; i++) {
        if (search_slot(s, node->slot[i]))
            return 1;
    }
    return 0;
}

static int search_slot(search *s, uint32_t slot)
{
    if (s->tries == 0)
        return 1;
    s->tries--;
    const uint8_t *at = s->build->f->arena + (size_t)FC_PAYLOAD(slot) * 64;
    switch (slot >> 30) {
    case FC_ONE:
        return is_rival(s, FC_PAYLOAD(slot));
    case FC_LEAF:
        return search_leaf(s, slot);
    case FC_BITS: {
        const fc_bits *node = (const fc_bits *)at;
        return search_bits(s, node->mask, node->word, node->shift, node->slot);
    }
    default:
        return search_range(s, (const fc_range *)at);
    }
}

/* Has the rule a rival? Adds to *visits how many later trees a key with this answer would be looked up in if it had to
 * be: those with a better rule. */
static int has_rival(const fc_build *b, uint32_t rule, uint32_t *visits)
{
    const fc_forest *f = b->f;
    int part = fc_tree_of(f, b->care + (size_t)rule * f->words, f->source_bits, f->destination_bits), own = 0, yes = 0;
    while (f->tree[own].part != part)
        own++;
    search s = {.build = b, .rule = rule, .tries = TRIED};
    for (int t = own + 1; t < f->trees; t++) {
        const fc_tree *tree = &f->tree[t];
        if (tree->best < rule) {
            ++*visits;
            yes = yes || search_bits(&s, tree->mask, tree->word, tree->shift, tree->slot);
        }
    }
    return yes;
}

/* Sets the bits of every `step`th rule; returns how many visits of trees that saves, if each rule is asked for once. */
static uint32_t note_rivals(const fc_build *b, const uint32_t *list, uint32_t n, uint32_t step, uint32_t *rivals)
{
    uint32_t saved = 0;
    for (uint32_t i = 0; i < n; i += step) {
        uint32_t visits = 0;
        int yes = has_rival(b, list[i], &visits);
        rivals[list[i] / 32] |= (uint32_t)yes << (list[i] & 31);
        saved += yes ? 0 : visits;
    }
    return saved;
}

size_t fc_note_rivals(fc_build *b, const uint32_t *list, uint32_t n)
{
    fc_forest *f = b->f;
    size_t words = (size_t)f->n / 32 + 1;
    if (f->trees < 2 || f->priority != NULL) /* rules of a table that takes updates come and go */
        return 0;
    uint32_t *rivals = calloc(words, sizeof(*rivals));
    if (rivals == NULL) /* which only makes look-ups slower */
        return 0;
    if (note_rivals(b, list, n, STEP, rivals) < SAVED * n / STEP) {
        free(rivals);
        return 0;
    }
    note_rivals(b, list, n, 1, rivals);
    rivals[f->n / 32] |= 1u << (f->n & 31);
    f->rivals = rivals;
    return words * sizeof(*rivals);
}
