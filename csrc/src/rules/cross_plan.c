/* cross_plan.c - in which order lanes are put together: the cheapest way by a count of look-ups and the sizes of their
 * tables, found by dynamic programming over sets of lanes. cross.c has the theory. */
#include "cross_build.h"

#define ENTRIES (1u << 18) /* of a table at most, and */
#define PAIRS (1u << 18)   /* pairs of classes that are looked at to find out how many there are together */

fc_cross_node *fc_cross_find(fc_cross_maker *b, uint32_t lanes)
{
    uint32_t at = lanes * 0x9e3779b1u >> 22;
    while (b->node_at[at] && b->node[b->node_at[at] - 1].lanes != lanes)
        at = (at + 1) & 1023;
    return b->node_at[at] ? &b->node[b->node_at[at] - 1] : NULL;
}

fc_cross_node *fc_cross_new_node(fc_cross_maker *b, uint32_t lanes)
{
    uint32_t at = lanes * 0x9e3779b1u >> 22;
    while (b->node_at[at])
        at = (at + 1) & 1023;
    b->node_at[at] = (uint16_t)(b->nodes + 1);
    b->node[b->nodes] = (fc_cross_node){.lanes = lanes, .cost = UINT32_MAX};
    return &b->node[b->nodes++];
}

/* Hundredths of a nanosecond for one key, as measured with 16 keys gathered at once: 15 in the first-level cache, twice
 * that in the second (Sapphire Rapids; what counts is the proportion). */
static uint32_t look_up_cost(uint64_t octets)
{
    uint32_t cost = 15 + (uint32_t)(octets / 32768);
    for (; octets > 8192; octets = (octets + 1) / 2)
        cost += 3;
    return cost;
}

#define INPUT_COST 3 /* of each class that goes into an index */

/* How many rows or columns a part has in a step's table. A lane can be put in as it is, octet by octet, which spares a
 * step of its own and makes the table grow: so where the caller asks for it by *raw, and *raw becomes 0 where the part
 * is no single lane, 1 where only one of its octets matters. */
uint32_t fc_cross_entries(const fc_cross_maker *b, const fc_cross_node *part, int *raw)
{
    const fc_cross_lane *x = &b->lane[__builtin_ctz(part->lanes)];
    uint32_t octets = (uint32_t)x->classes[0] * x->classes[1];
    if (part->lanes & (part->lanes - 1))
        *raw = 0;
    else if (x->classes[0] == 1 || x->classes[1] == 1)
        *raw = 1;
    return *raw ? octets : part->sets.n;
}

static int is_single(const fc_cross_node *part) { return (part->lanes & (part->lanes - 1)) == 0; }

/* ---- The last step of a node
 * ----------------------------------------------------------------------------------------- */

/* Parts so far, each given as it is (bit i of `raw`) or by its class. */
typedef struct choice {
    const fc_cross_node *part[FC_CROSS_PARTS];
    uint32_t n, raw;
} choice;

/* Puts the costs of a choice of parts into its node if it is the best so far. */
static void weigh_parts(const fc_cross_maker *b, fc_cross_node *node, const choice *c)
{
    for (uint32_t raw = 0; raw < 1u << c->n; raw++) { /* every way to give single lanes */
        uint64_t entries = 1, largest = 0, cost = 0;
        uint32_t inputs = 0;
        for (uint32_t i = 0; i < c->n; i++) {
            int as_it_is = raw >> i & 1;
            const fc_cross_node *p = c->part[i];
            if (as_it_is && !is_single(p))
                goto next;
            uint64_t size = fc_cross_entries(b, p, &as_it_is);
            if (as_it_is != (int)(raw >> i & 1))
                goto next; /* a lane of one octet has no step */
            const fc_cross_lane *x = &b->lane[__builtin_ctz(p->lanes)];
            inputs += as_it_is ? (uint32_t)((x->classes[0] > 1) + (x->classes[1] > 1)) : 1;
            cost += as_it_is ? 0 : p->cost;
            uint64_t top =
                as_it_is && x->classes[0] > 1 ? x->classes[0] : size; /* of the octet with the larger stride */
            largest = top > largest ? top : largest;
            entries *= size;
            if (entries > ENTRIES)
                goto next;
        }
        if (inputs > FC_CROSS_INPUTS || entries / largest > FC_CROSS_MAX)
            continue;
        uint32_t width = node->lanes == b->lanes || node->sets.n > 256 ? 2 : 1;
        cost += look_up_cost(entries * width) + INPUT_COST * inputs;
        if (cost >= node->cost)
            continue;
        node->cost = (uint32_t)cost;
        node->parts = (uint8_t)c->n;
        for (uint32_t i = 0; i < c->n; i++)
            node->part[i] = c->part[i]->lanes | (raw >> i & 1 ? FC_CROSS_RAW : 0);
    next:;
    }
}

/* Ways to divide atoms (lanes of a field from the most significant on, or whole fields) into two to four parts. */
typedef struct division {
    uint32_t atom[FC_MAX_LANES]; /* lanes of each */
    int n, in_order;             /* in order: parts are runs of atoms */
} division;

static void divide_run(fc_cross_maker *b, fc_cross_node *node, const division *d, int from, choice *c)
{
    uint32_t lanes = 0;
    if (from == d->n) {
        if (c->n > 1)
            weigh_parts(b, node, c);
        return;
    }
    if (c->n == FC_CROSS_PARTS)
        return;
    for (int to = from; to < d->n; to++) {
        lanes |= d->atom[to];
        const fc_cross_node *part = lanes == node->lanes ? NULL : fc_cross_find(b, lanes);
        if (part == NULL || part->sets.n == 0 || (part->cost == UINT32_MAX && !is_single(part)))
            continue;
        c->part[c->n++] = part;
        divide_run(b, node, d, to + 1, c);
        c->n--;
    }
}

/* The part of the first atom left over, then those of the rest: every division once. */
static void divide_set(fc_cross_maker *b, fc_cross_node *node, const division *d, uint32_t left, choice *c)
{
    if (left == 0) {
        if (c->n > 1)
            weigh_parts(b, node, c);
        return;
    }
    if (c->n == FC_CROSS_PARTS)
        return;
    uint32_t first = left & -left, others = left & (left - 1), some = others;
    for (;;) { /* all subsets of the others */
        uint32_t lanes = 0;
        for (uint32_t rest = first | some; rest; rest &= rest - 1)
            lanes |= d->atom[__builtin_ctz(rest)];
        const fc_cross_node *part = lanes == node->lanes ? NULL : fc_cross_find(b, lanes);
        if (part != NULL && part->sets.n > 0 && (part->cost != UINT32_MAX || is_single(part))) {
            c->part[c->n++] = part;
            divide_set(b, node, d, others & ~some, c);
            c->n--;
        }
        if (some == 0)
            break;
        some = (some - 1) & others;
    }
}

static void plan_node(fc_cross_maker *b, fc_cross_node *node, const division *d)
{
    choice c = {.n = 0};
    if (d->in_order)
        divide_run(b, node, d, 0, &c);
    else
        divide_set(b, node, d, (1u << d->n) - 1, &c);
}

/* ---- All nodes, the smaller ones first
 * ---------------------------------------------------------------------------------- */

/* A node of several atoms: its classes, by way of the two parts that have the fewest pairs of them, and its last step.
 */
static void make_node(fc_cross_maker *b, const division *d)
{
    uint32_t all = 0;
    uint64_t best = PAIRS + 1;
    const fc_cross_node *pair[2] = {NULL, NULL};
    for (int i = 0; i < d->n; i++)
        all |= d->atom[i];
    if (b->nodes == FC_CROSS_NODES || fc_cross_find(b, all) != NULL)
        return;
    for (uint32_t i = 0; i < b->nodes && all != b->lanes; i++) {
        const fc_cross_node *x = &b->node[i], *y = (x->lanes & ~all) == 0 ? fc_cross_find(b, all & ~x->lanes) : NULL;
        if (y == NULL || x->sets.n == 0 || y->sets.n == 0 || (uint64_t)x->sets.n * y->sets.n >= best)
            continue;
        best = (uint64_t)x->sets.n * y->sets.n;
        pair[0] = x;
        pair[1] = y;
    }
    fc_cross_node *node = fc_cross_new_node(b, all);
    if (all != b->lanes && pair[0] != NULL && b->work + best <= b->work_limit)
        fc_cross_meet(b, pair[0], pair[1], node);
    if (all == b->lanes || node->sets.n > 0)
        plan_node(b, node, d);
}

/* All runs of a field's lanes. */
static void plan_field(fc_cross_maker *b, uint32_t lanes)
{
    division all = {.in_order = 1};
    /* IPv6: words in order, lanes of a word from the top down; else all from the top down */
    for (int w = 0; w < FC_MAX_LANES / 4; w++) {
        for (int j = 3; j >= 0; j--) {
            int lane = 4 * w + j;
            if (lanes & (b->word[0].lanes | b->word[1].lanes) & 1u << lane) {
                if (j == 3)
                    all.atom[all.n++] = 0xfu << 4 * w;
            } else if (lanes >> lane & 1) {
                all.atom[all.n++] = 1u << lane;
            }
        }
    }
    for (int size = 2; size <= all.n; size++) {
        for (int from = 0; from + size <= all.n && b->status == FC_OK; from++) {
            division run = {.in_order = 1, .n = size};
            memcpy(run.atom, all.atom + from, sizeof(*run.atom) * (size_t)size);
            make_node(b, &run);
        }
    }
}

void fc_cross_plan(fc_cross_maker *b)
{
    for (uint32_t i = 0; i < b->nodes; i++) { /* single lanes */
        fc_cross_node *node = &b->node[i];
        const fc_cross_lane *x = &b->lane[__builtin_ctz(node->lanes)];
        if (node->sets.n == 0)
            continue;
        if (node->word) { /* three look-ups, two of them of 64 bits */
            node->cost = 45 + look_up_cost(2ull << node->word->bits) + look_up_cost(8 * (uint64_t)node->word->n);
            continue;
        }
        uint32_t inputs = (uint32_t)((x->classes[0] > 1) + (x->classes[1] > 1));
        node->parts = 1;
        node->part[0] = node->lanes | FC_CROSS_RAW;
        if (inputs > 1 || node->lanes == b->lanes)
            node->cost = look_up_cost((uint64_t)x->classes[0] * x->classes[1] * (node->sets.n > 256 ? 2 : 1)) +
                         INPUT_COST * inputs;
    }
    for (int i = 0; i < b->fields; i++)
        plan_field(b, b->field_lanes[i]);
    for (int size = 2; size <= b->fields; size++) {
        for (uint32_t some = 1; some < 1u << b->fields && b->status == FC_OK; some++) {
            if (__builtin_popcount(some) != size)
                continue;
            division d = {.n = 0};
            for (int i = 0; i < b->fields; i++) {
                if (some >> i & 1)
                    d.atom[d.n++] = b->field_lanes[i];
            }
            make_node(b, &d);
        }
    }
}
