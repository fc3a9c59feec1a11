/* trees.c - rule rows -> a forest of direct-index trees. Theory of operation.
 *
 * Problem. Of up to millions of rules, each a product of ranges in up to eight fields, find the first that matches a
 * key. Comparing them all is out of the question; but for any one key, a few bits of it rule out nearly all.
 *
 * Structure. A node looks at selected bits of at most two of the key's 64-bit words, and indexes an array of slots with
 * them. A slot is empty, is one rule, is a leaf (a few rules to be compared together), or is another node. A rule that
 * leaves a selected bit open is found on both sides, so a node's bits are chosen to be ones that most of its rules fix,
 * and rules that fix different fields (long source prefix, long destination prefix, port, ...) go to different trees.
 * A look-up visits the trees one after the other, the largest first, and leaves out those whose best rule is no better
 * than what it has, and all of them when no better rule can match too (rivals.c). Where no bit separates (nested
 * ranges), a range node cuts one 16-bit lane into 32 intervals.
 *
 * Worked example, an IPv4 table of five rules (csrc/tests/test_example.c builds it and looks into it). In word 0,
 * source bits are 63..32, destination bits 31..0.
 *
 *      number  source       destination    dest. port   fixed bits of word 0
 *      0       10.0.0.0/8   any            any          63..56 = 00001010
 *      1       10.0.0.0/8   192.0.2.1      80           63..56 = 00001010, 31..0
 *      2       11.0.0.0/8   any            any          63..56 = 00001011
 *      3       any          192.0.2.2      443          31..0
 *      4       10.0.0.0/7   any            any          63..57 = 0000101
 *
 * fc_rule_bits() finds the fixed bits. fc_tree_of() with limits (13, 13) for long prefixes sends 1 and 3 to tree "long
 * destination", 0, 2 and 4 to tree "the rest". (fc_choose_partition() tries several limits on a sample and keeps the
 * one with which random packets need the least work.)
 *
 * Tree "rest", fc_choose_bits(): a bucket costs as many pairs as can be made of its rules, each counted twice; {0, 2,
 * 4} costs 6. Bits 63..57 are the same in all three: 6 again. Bit 56 sends 0 left, 2 right, and 4, which leaves it
 * open, to both: buckets {0, 4} and {2, 4}, which cost 2 each. It is chosen, being 3 % better. After it no bit gains
 * any more.
 *
 *      word 0, mask 1 << 56   slot 0: leaf {0, 4}       slot 1: leaf {2, 4}
 *
 * With so few rules all this is not worth it: build_slot() makes a leaf at once of lists up to the option `leaf`, and a
 * root is divided only if fc_choose_bits() gains 10 % in all. (The example's test sets leaf = 1 to see the nodes.)
 *
 * The packet 11.1.1.1 -> 192.0.2.9: "long destination" has nothing for it. In "rest", bit 56 is 1: slot 1, compare 2
 * (matches: 11/8), which is the answer; 4 comes later in the leaf and is not looked at.
 *
 * Covering. In slot 0 of a node whose bits fix 63..56 to 00001010, rule 0 matches every key that arrives: 4 can never
 * win there and is cut off (fc_covers()). Not when the table takes updates: rule 0 might be removed.
 *
 * Work. A look-up costs at most trees x (depth nodes + one leaf); the build reports the largest leaf. Choosing k bits
 * looks at each entry k times, with counters for 64 bits at once (count.c): 0.1 s for 100k rules. `slots` and `copies`
 * bound the memory of a node per rule, `work_limit` the time of all choices. Leaves of hundreds of rules, which these
 * bounds and sets that no node divides leave behind, are searched by bit vectors (vector.c). References: bit selection
 * is that of "BitCuts" (Liu et al., IEEE/ACM ToN 2019) and PextCuts; trees by field are those of EffiCuts (Vamanan et
 * al., SIGCOMM 2010); range nodes go back to HiCuts (Gupta and McKeown, 1999). */
#include <stdlib.h>

#include "build.h"

static uint32_t build_slot(fc_build *b, const uint32_t *list, uint32_t n, uint32_t depth, const fc_region *at);

/* ---- Memory: a growing arena, addressed by offset; the first failure sticks --------------------- */

static size_t take_memory(fc_build *b, size_t octets, size_t align)
{
    size_t at = (b->used + align - 1) / align * align;
    if (at + octets > b->size) {
        size_t size = b->size * 2 > at + octets ? b->size * 2 : at + octets + 4096;
        uint8_t *p = b->status == FC_OK ? realloc(b->arena, size) : NULL;
        if (p == NULL) {
            b->status = b->status == FC_OK ? FC_ENOMEM : b->status;
            return SIZE_MAX;
        }
        b->arena = p;
        b->size = size;
    }
    memset(b->arena + b->used, 0, at + octets - b->used);
    b->used = at + octets;
    return at;
}

/* ---- Leaves ------------------------------------------------------------------------------------- */

static uint64_t hash_list(const uint32_t *list, uint32_t n)
{
    uint64_t h = n * FC_GOLDEN;
    for (uint32_t i = 0; i < n; i++) {
        h = (h ^ list[i]) * 0xff51afd7ed558ccdull;
        h ^= h >> 32;
    }
    return h;
}

static void leaf_remember(fc_build *b, uint64_t hash, uint32_t slot)
{
    if (b->leaf_hash_used * 2 >= b->leaf_hash_size) {
        uint32_t size = b->leaf_hash_size ? b->leaf_hash_size * 2 : 1024;
        uint64_t *table = calloc(size, sizeof(*table));
        if (table == NULL)
            return; /* sharing is only a saving */
        for (uint32_t i = 0; i < b->leaf_hash_size; i++) {
            if (b->leaf_hash[i]) {
                uint32_t at = (uint32_t)(b->leaf_hash[i] >> 32) & (size - 1);
                while (table[at])
                    at = (at + 1) & (size - 1);
                table[at] = b->leaf_hash[i];
            }
        }
        free(b->leaf_hash);
        b->leaf_hash = table;
        b->leaf_hash_size = size;
    }
    uint32_t at = (uint32_t)(hash >> 32) & (b->leaf_hash_size - 1);
    while (b->leaf_hash[at])
        at = (at + 1) & (b->leaf_hash_size - 1);
    b->leaf_hash[at] = (hash & 0xffffffff00000000ull) | slot;
    b->leaf_hash_used++;
}

static uint32_t leaf_number(const fc_forest *f, const fc_leaf_at *leaf, uint32_t i)
{
    uint32_t number;
    const uint16_t *lo, *span;
    if (leaf->vector)
        return fc_vector_numbers(leaf->vector)[i];
    fc_leaf_body(f, leaf, i, &number, &lo, &span);
    return number;
}

/* The same list again: many slots of a node differ in nothing but rules that were cut off. */
static uint32_t leaf_find(const fc_build *b, uint64_t hash, const uint32_t *list, uint32_t n)
{
    if (b->leaf_hash_size == 0)
        return 0;
    uint32_t mask = b->leaf_hash_size - 1;
    b->f->arena = b->arena; /* it moves as it grows */
    for (uint32_t at = (uint32_t)(hash >> 32) & mask; b->leaf_hash[at]; at = (at + 1) & mask) {
        if ((b->leaf_hash[at] ^ hash) >> 32)
            continue;
        uint32_t slot = (uint32_t)b->leaf_hash[at], i = 0;
        fc_leaf_at leaf = fc_leaf_open(b->f, slot);
        uint32_t size = leaf.vector ? leaf.vector->n : leaf.n;
        if (size < n || (size > n && (leaf.vector || leaf_number(b->f, &leaf, n) != list[n - 1])))
            continue;
        while (i < n && leaf_number(b->f, &leaf, i) == list[i])
            i++;
        if (i == n)
            return slot;
    }
    return 0;
}

/* Offset of a new vector, in units of 64 octets; 0 on failure. */
static uint32_t vector_write(fc_build *b, const uint32_t *list, uint32_t n)
{
    fc_vector_plan *plan = fc_build_get(b, sizeof(*plan));
    size_t at = SIZE_MAX;
    if (plan != NULL) {
        b->status = fc_vector_shape(b->f, b->rules, list, n, plan);
        if (b->status == FC_OK)
            at = take_memory(b, (size_t)plan->units * 64, 64);
        if (at != SIZE_MAX)
            fc_vector_fill(b->f, b->rules, plan, list, b->arena + at);
    }
    free(plan);
    return at == SIZE_MAX ? 0 : (uint32_t)(at / 64);
}

static uint32_t leaf_write(fc_build *b, const uint32_t *list, uint32_t n)
{
    uint32_t vector = 0, all = n;
    if (n > b->f->vector && !b->draft) {
        vector = vector_write(b, list, n);
        b->f->vectors = 1;
        n = 0;
    }
    fc_leaf_shape shape = fc_shape_leaf(b->f, n, vector != 0);
    size_t at = b->status == FC_OK ? take_memory(b, shape.octets, shape.unit) : SIZE_MAX;
    if (at == SIZE_MAX)
        return FC_SLOT(FC_ONE, FC_EMPTY);
    if (at / shape.unit > FC_MAX_LEAF_OFFSET) {
        b->status = FC_ELIMIT;
        return FC_SLOT(FC_ONE, FC_EMPTY);
    }
    fc_fill_leaf(b->f, &shape, list, n, vector, b->arena + at);
    b->info->leaf_rules += all;
    return FC_SLOT(FC_LEAF, shape.tag << 26 | (uint32_t)(at / shape.unit));
}

static uint32_t leaf(fc_build *b, const uint32_t *list, uint32_t n)
{
    if (n > b->info->largest_leaf)
        b->info->largest_leaf = n;
    uint64_t hash = hash_list(list, n) | 1ull << 32;
    uint32_t slot = b->o.keep_covered ? 0 : leaf_find(b, hash, list, n);
    if (slot == 0) {
        slot = leaf_write(b, list, n);
        if (!b->o.keep_covered)
            leaf_remember(b, hash, slot);
    }
    return slot;
}

/* The index that look-ups compute from a bucket's number: bit j of the bucket (from the top, in order of choice) goes
 * to the place that extraction gives to the j-th chosen bit. */
static uint32_t slot_place(const fc_cut *c, const uint8_t *position, uint32_t bucket)
{
    uint32_t index = 0;
    for (int j = 0; j < c->bits; j++)
        index |= (bucket >> (c->bits - 1 - j) & 1) << position[j];
    return index;
}

static void node_header(const fc_cut *c, fc_bits *node, uint8_t *position)
{
    *node = (fc_bits){.bits = (uint8_t)c->bits, .word = {c->word[0], c->words > 1 ? c->word[1] : c->word[0]}};
    for (int j = 0; j < c->bits; j++)
        node->mask[c->words > 1 && c->bit_word[j] == c->word[1]] |= 1ull << c->bit[j];
    node->shift = (uint8_t)__builtin_popcountll(node->mask[0]);
    for (int j = 0; j < c->bits; j++) {
        int second = c->words > 1 && c->bit_word[j] == c->word[1];
        uint64_t below = (1ull << c->bit[j]) - 1;
        position[j] = (uint8_t)(__builtin_popcountll(node->mask[second] & below) + (second ? node->shift : 0));
    }
}

/* Writes the children of a node whose slots start at `slots` (an offset: the arena moves). */
static void build_children(fc_build *b, const fc_cut *c, const uint8_t *position, size_t slots, uint32_t depth,
                           const fc_region *at)
{
    fc_region child = *at;
    for (int j = 0; j < c->bits; j++)
        child.fixed[c->bit_word[j]] |= 1ull << c->bit[j];
    for (uint32_t i = 0; i < 1u << c->bits && b->status == FC_OK; i++) {
        for (int j = 0; j < c->bits; j++) {
            uint64_t one = 1ull << c->bit[j], is = -(uint64_t)(i >> (c->bits - 1 - j) & 1);
            child.value[c->bit_word[j]] = (child.value[c->bit_word[j]] & ~one) | (one & is);
        }
        uint32_t slot = build_slot(b, c->entry + c->start[i], c->start[i + 1] - c->start[i], depth + 1, &child);
        memcpy(b->arena + slots + 4 * (size_t)slot_place(c, position, i), &slot, 4);
    }
}

/* The places of an index's bits, from those that extraction gives them (format.h). */
static void find_places(const fc_forest *f, const fc_cut *c, const uint8_t *position, uint8_t *place)
{
    for (int j = 0; j < c->bits; j++) {
        int word = f->lanes == 8 ? c->bit_word[j] : c->words > 1 && c->bit_word[j] == c->word[1];
        place[position[j]] = (uint8_t)(64 * word + c->bit[j]);
    }
}

static uint32_t build_bits(fc_build *b, const fc_cut *c, uint32_t depth, const fc_region *at)
{
    fc_bits node;
    uint8_t position[FC_MAX_BITS], place[FC_MAX_BITS] = {0};
    node_header(c, &node, position);
    find_places(b->f, c, position, place);
    memcpy(node.place, place, sizeof(node.place));
    size_t offset = take_memory(b, sizeof(node) + ((size_t)4 << c->bits), 64);
    if (offset == SIZE_MAX)
        return FC_SLOT(FC_ONE, FC_EMPTY);
    memcpy(b->arena + offset, &node, sizeof(node));
    b->info->nodes++;
    b->info->slots += 1u << c->bits;
    build_children(b, c, position, offset + sizeof(node), depth, at);
    return FC_SLOT(FC_BITS, offset / 64);
}

static uint32_t build_range(fc_build *b, const uint32_t *list, uint32_t n, const fc_intervals *v, uint32_t depth,
                            const fc_region *at)
{
    uint32_t lanes = b->f->lanes, canonical = b->f->lane_map[v->lane];
    fc_range node = {.lane = (uint16_t)canonical};
    memcpy(node.threshold, v->threshold, sizeof(node.threshold));
    size_t offset = take_memory(b, sizeof(node), 64);
    uint32_t *part = fc_build_get(b, n * sizeof(*part));
    if (offset == SIZE_MAX || part == NULL) {
        free(part);
        return FC_SLOT(FC_ONE, FC_EMPTY);
    }
    memcpy(b->arena + offset, &node, sizeof(node));
    b->info->nodes++;
    b->info->slots += 32;
    fc_region child = *at;
    child.cut = 1;
    for (uint32_t i = 0; i < 32 && b->status == FC_OK; i++) {
        uint32_t m = 0, slot = FC_SLOT(FC_ONE, FC_EMPTY);
        uint16_t first = i ? v->threshold[i - 1] : 0, last = i < 31 ? (uint16_t)(v->threshold[i] - 1) : 0xffff;
        if (!fc_is_no_interval(v->threshold, i)) {
            for (uint32_t k = 0; k < n; k++) {
                const uint16_t *body = b->bodies + (size_t)list[k] * 2 * lanes;
                uint16_t lo = body[v->lane], hi = (uint16_t)(lo + body[lanes + (uint32_t)v->lane]);
                part[m] = list[k];
                m += lo <= last && hi >= first;
            }
            child.lo[canonical] = first > at->lo[canonical] ? first : at->lo[canonical];
            child.hi[canonical] = last < at->hi[canonical] ? last : at->hi[canonical];
            slot = build_slot(b, part, m, depth + 1, &child);
        }
        memcpy(b->arena + offset + offsetof(fc_range, slot) + 4 * (size_t)i, &slot, 4);
    }
    free(part);
    return FC_SLOT(FC_RANGE, offset / 64);
}

/* ---- Trees
 * ----------------------------------------------------------------------------------------------------------- */

/* The subtree for a list of rules (rising numbers) that meet in a region. */
static uint32_t build_slot(fc_build *b, const uint32_t *list, uint32_t n, uint32_t depth, const fc_region *at)
{
    for (uint32_t i = 0; !b->o.keep_covered && i + 1 < n; i++) {
        if (fc_covers(b, list[i], at))
            n = i + 1;
    }
    if (n == 0)
        return FC_SLOT(FC_ONE, FC_EMPTY);
    if (n == 1)
        return FC_SLOT(FC_ONE, list[0]);
    if (depth > b->info->depth)
        b->info->depth = depth;
    if (n <= b->o.leaf || depth >= FC_MAX_DEPTH || b->work > b->work_limit)
        return leaf(b, list, n);
    fc_cut c;
    uint32_t slot;
    fc_choose_bits(b, list, n, &c);
    double undivided = FC_PAIRS((double)n);
    fc_intervals v = {.lane = -1, .cost = 0.5 * (c.bits ? c.cost : undivided)};
    if (c.cost > 0.5 * undivided || c.bits == 0)
        fc_choose_interval(b, list, n, &v);
    int bits_help = c.bits && c.cost < 0.9 * undivided;
    if (v.lane < 0 && !bits_help && !b->o.keep_covered) {
        v.cost = 0.5 * undivided;
        fc_choose_covered(b, list, n, at, &v);
    }
    if (v.lane >= 0)
        slot = build_range(b, list, n, &v, depth, at);
    else if (bits_help)
        slot = build_bits(b, &c, depth, at);
    else
        slot = leaf(b, list, n);
    fc_cut_free(&c);
    return slot;
}

/* A tree's root is a node of bits, of one slot at least, whose header the forest keeps. */
static size_t build_tree(fc_build *b, const uint32_t *list, uint32_t n, fc_tree *tree)
{
    fc_region all = {.cut = 0};
    memset(all.hi, 0xff, sizeof(all.hi));
    fc_cut c;
    fc_bits node;
    uint8_t position[FC_MAX_BITS], place[FC_MAX_BITS];
    fc_choose_bits(b, list, n, &c);
    size_t slots = SIZE_MAX;
    if (b->status == FC_OK) {
        int poor = c.bits == 0 || c.cost > 0.9 * FC_PAIRS((double)n);
        if (poor) {
            c.bits = 0;
            c.words = 0;
        }
        node_header(&c, &node, position);
        *tree = (fc_tree){.word = {node.word[0], node.word[1]},
                          .mask = {node.mask[0], node.mask[1]},
                          .shift = node.shift,
                          .best = list[0]};
        find_places(b->f, &c, position, place);
        fc_set_places(tree, place, c.bits);
        slots = take_memory(b, (size_t)4 << c.bits, 64);
        if (slots != SIZE_MAX) {
            b->info->nodes++;
            b->info->slots += 1u << c.bits;
            if (poor) {
                uint32_t slot = build_slot(b, list, n, 1, &all);
                memcpy(b->arena + slots, &slot, 4);
            } else {
                build_children(b, &c, position, slots, 0, &all);
            }
        }
    }
    fc_cut_free(&c);
    return slots;
}

int fc_build_trees(fc_build *b, const uint32_t *list, uint32_t n, int source, int destination)
{
    fc_forest *f = b->f;
    uint32_t *part[FC_MAX_TREES], size[FC_MAX_TREES] = {0};
    size_t slots[FC_MAX_TREES];
    uint32_t *memory = fc_build_get(b, (size_t)FC_MAX_TREES * n * sizeof(*memory));
    if (memory == NULL)
        return b->status;
    for (int t = 0; t < FC_MAX_TREES; t++)
        part[t] = memory + (size_t)t * n;
    for (uint32_t i = 0; i < n; i++) {
        int t = fc_tree_of(f, b->care + (size_t)list[i] * f->words, source, destination);
        part[t][size[t]++] = list[i];
    }
    f->trees = 0;
    b->used = 0;
    b->work = 0;
    b->work_limit = 600 * (uint64_t)n; /* ClassBench's families need 30 to 180 a rule; made to hurt, sets took 1,700 */
    b->leaf_hash_used = 0;
    if (b->leaf_hash_size)
        memset(b->leaf_hash, 0, b->leaf_hash_size * sizeof(*b->leaf_hash));
    b->info->nodes = b->info->largest_leaf = b->info->depth = 0;
    b->info->slots = b->info->leaf_rules = 0;
    for (;;) { /* largest first: its answer spares most packets the others */
        int t = 0;
        for (int i = 1; i < FC_MAX_TREES; i++)
            t = size[i] > size[t] ? i : t;
        if (size[t] == 0 || b->status != FC_OK)
            break;
        slots[f->trees] = build_tree(b, part[t], size[t], &f->tree[f->trees]);
        f->tree[f->trees].part = (uint8_t)t;
        f->trees++;
        size[t] = 0;
    }
    f->arena = b->arena;
    for (int t = 0; t < f->trees && b->status == FC_OK; t++)
        f->tree[t].slot = (const uint32_t *)(b->arena + slots[t]);
    free(memory);
    return b->status;
}
