/* cross.c - small rule sets as cross-product tables. Theory of operation.
 *
 * Problem. In sets of a few to 2,000 rules most time is spent on finding the few rules to compare a key with, and on
 * keys that wait for each other's branches. Sets this small can be looked up without a comparison or a branch.
 *
 * Structure. Take a key's octets. Two values of an octet that no rule tells apart are of one class, so a table of 256
 * gives each octet's class. Two octets make a lane: of the pairs of their classes most lead to the same set of rules
 * again, so a table of (classes of one) x (classes of the other) gives the lane's class, and such a class stands for a
 * set: the rules that match as far as this lane goes. Two lanes, or what was already put together of them, make a class
 * in the same way: its set is the intersection of theirs. The last table has the first rule of the intersection. This
 * is recursive flow classification (Pankaj Gupta and Nick McKeown, SIGCOMM 1999) with octets for chunks.
 *
 * Worked example, five rules with two fields:
 *
 *      rule   destination port   protocol
 *      0      80                 6
 *      1      1024-65535         6
 *      2      1024-65535         17
 *      3      any                1
 *      4      any                any
 *
 *      upper octet: 0 | 1-3 | 4-255        lower octet: 80 | others
 *      classes      a    b     c                        x     y
 *
 *      port    x           y           protocol: 6 -> {0 1 4}, 17 -> {2 4}, 1 -> {3}, others -> {4}
 *      a    {0 3 4} P   {3 4} Q
 *      b    {3 4}   Q   {3 4} Q        last step:    6   17   1   others
 *      c    {1 2 3 4} R {...} R                 P    0    4   3     4
 *                                               Q    4    4   3     4
 *                                               R    1    2   3     4
 *
 * The set of protocol 1 is {3}, not {3 4}: rule 3 comes before 4 and in all other lanes covers whatever 4 matches, so 4
 * can't win there any more (fc_cross_prune()). Fewer sets differ that way, in firewalls' sets by a hundred times.
 *
 * TCP to port 443: octets 1 and 187 are b and y, so Q; protocol 6 has class 0; Q x 6 is rule 4. In a packet without
 * ports the upper octet has one class more, whose set is that of the rules without a condition on the port.
 *
 * Plan (cross_plan.c). The order in which lanes are put together decides how large tables become: (source, port) may
 * have a hundred times the classes of (source, destination). So the number of classes of every set of fields, and of
 * every run of a field's lanes, is counted as far as CROSS_WORK lasts (cross_classes.c), and dynamic programming finds
 * the cheapest way to put them together, two to four parts a step, octets also without a step of their own: it weighs
 * the number of look-ups and the size of their tables. A set whose tables don't fit, or don't pay, is left to the
 * forest, which is always there: it serves kernels without a way to use these tables, calls with a few keys, and what
 * updates make of the rules.
 *
 * IPv6. The lower half of an address is mostly asked for as a whole or not at all. Where all rules do so, its four
 * lanes are one exact step: multiplied by a factor that leads every value of some rule to a slot of its own, a key's
 * half finds the only value that it can be and is compared with it. That takes the place of some eight steps.
 *
 * Vectors (cross_vectors.c). Where tables are read by loads, sets of up to 256 rules mostly need no steps.
 *
 * Limits: FC_CROSS_RULES rules; ranges of addresses, flow labels and SPIs that are no product of ranges of their lanes
 * (FC_BODY_VERIFY in the forest) are not taken; CROSS_BYTES. Work of a look-up: one table an octet and a step, whatever
 * the key: 3 to 10 steps for IPv4. There is no worst packet. */
#include "cross_build.h"

#define CROSS_BYTES (3u << 19) /* of all tables: they are to stay in the second-level cache */
#define CROSS_WORK 20000000u   /* words of pairs of classes' sets that a build looks at */

/* ---- What is known of the rules --------------------------------------------------------------------------------- */

/* 0: not a set for such tables. */
static int take_rules(fc_cross_maker *b, const fc_rule *rules, uint32_t n)
{
    uint16_t lo[FC_MAX_LANES], hi[FC_MAX_LANES];
    uint32_t *row = fc_cross_get(b, sizeof(*row) * FC_CROSS_RULES), m = 0;
    b->row = row;
    b->conditions = fc_cross_get(b, FC_CROSS_RULES);
    uint16_t *memory = fc_cross_get(b, 2 * sizeof(uint16_t) * FC_MAX_LANES * FC_CROSS_RULES);
    b->lo[0] = memory;
    if (b->status != FC_OK)
        return 0;
    for (int l = 0; l < FC_MAX_LANES; l++) {
        b->lo[l] = memory + (size_t)2 * (size_t)l * FC_CROSS_RULES;
        b->hi[l] = b->lo[l] + FC_CROSS_RULES;
    }
    uint32_t used = 0, conditions = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (rules[i].version != 0 && rules[i].version != b->version)
            continue;
        if (m == FC_CROSS_RULES || !fc_rule_lanes(b->version, &rules[i], lo, hi))
            return 0;
        for (int l = 0; l < FC_MAX_LANES; l++) {
            b->lo[l][m] = lo[l];
            b->hi[l][m] = hi[l];
            used |= (uint32_t)(lo[l] != 0 || hi[l] != 0xffff) << l;
        }
        conditions |= b->conditions[m] = rules[i].conditions;
        row[m++] = i;
    }
    b->n = m;
    b->words = (m + 63) / 64;
    for (int f = 0; f < FC_FIELDS; f++) {
        const fc_field_place *place = &fc_layout_of(b->version)->field[f];
        uint32_t lanes = ((1u << place->lanes) - 1) << place->lane;
        for (int l = place->lane; l < place->lane + place->lanes; l++)
            b->lane[l].field = f;
        /* a condition that all values meet still asks for the field */
        if (f > 1 && (conditions >> f & 1) && !(used & lanes))
            used |= 1u << place->lane;
        if (used & lanes)
            b->field_lanes[b->fields++] = used & lanes;
    }
    b->lanes = used;
    return m > 0 && used != 0;
}

/* ---- Writing the tables
 * ----------------------------------------------------------------------------------------------- */

typedef struct writer {
    fc_cross_maker *b;
    fc_cross x;
    uint8_t column[FC_MAX_LANES][2]; /* of a lane's octets */
    uint8_t *tables;
    size_t used, size;
} writer;

/* Which octet of a key is the upper (0) or lower (1) half of a lane. */
static uint8_t octet_of(int version, int lane, int half)
{
    int at, upper = !half;
    if (lane == 4 * fc_words_of(version)) /* the traffic class */
        return 44;
    if (version == 6)
        at = 2 * lane;
    else if (lane < 4)
        at = lane < 2 ? 24 + 2 * lane : 4 + 2 * lane;
    else
        at = lane < 8 ? 32 + 2 * lane : 16 + 2 * lane;
    return (uint8_t)(at + upper);
}

static void write_octets(writer *w, uint8_t *map)
{
    fc_cross_maker *b = w->b;
    for (uint8_t at = 0; at < 46; at++) {
        for (uint32_t rest = b->lanes; rest; rest &= rest - 1) {
            int lane = __builtin_ctz(rest);
            const fc_cross_lane *x = &b->lane[lane];
            for (int half = 0; half < 2; half++) {
                if (x->classes[half] < 2 || octet_of(b->version, lane, half) != at)
                    continue;
                fc_cross_octet *o = &w->x.octet[w->x.octets];
                *o = (fc_cross_octet){.at = at};
                if (x->lacking_in == half) {
                    o->field = (uint8_t)(1u << x->field);
                    o->lacking = x->lacking[half];
                }
                memcpy(map + 256 * (size_t)w->x.octets, x->map[half], 256);
                w->column[lane][half] = w->x.octets++;
            }
        }
    }
}

typedef struct part { /* of a step: its rows */
    const fc_cross_node *node;
    int raw;
    uint32_t n, top;    /* rows; those of the input with the largest stride */
    uint32_t stride[2]; /* of its class, or of its upper and lower octet */
    uint16_t column;
} part;

typedef struct filling {
    writer *w;
    const fc_cross_node *node;
    const part *part;
    int parts, last; /* last: entries are rules */
    uint32_t width;
    uint8_t *table;
    fc_sets seen; /* sets met so far, and their entries */
    int32_t *entry;
    uint32_t room;
    uint64_t *set; /* room for one for each part */
} filling;

static uint32_t row_set(const filling *t, const part *p, uint32_t i)
{
    return p->raw ? t->w->b->lane[__builtin_ctz(p->node->lanes)].set[i] : i;
}

static uint32_t row_offset(const filling *t, const part *p, uint32_t i)
{
    if (!p->raw)
        return i * p->stride[0];
    uint32_t lower = t->w->b->lane[__builtin_ctz(p->node->lanes)].classes[1];
    return i / lower * p->stride[0] + i % lower * p->stride[1];
}

static int32_t entry_of(filling *t, uint64_t *set)
{
    fc_cross_maker *b = t->w->b;
    if (t->last) {
        for (uint32_t w = 0; w < b->words; w++) {
            if (set[w])
                return (int32_t)b->row[64 * w + (uint32_t)__builtin_ctzll(set[w])];
        }
        return -1;
    }
    uint32_t before = t->seen.n, number = fc_sets_add(b, &t->seen, set);
    if (b->status == FC_OK && t->room < t->seen.room) {
        int32_t *entry = realloc(t->entry, sizeof(*entry) * t->seen.room);
        if (entry == NULL) {
            b->status = FC_ENOMEM;
            return 0;
        }
        t->entry = entry;
        t->room = t->seen.room;
    }
    if (b->status != FC_OK)
        return 0;
    if (number == before) {
        fc_cross_prune(b, t->node->lanes, set);
        t->entry[number] = (int32_t)fc_sets_find(b, &t->node->sets, set);
    }
    return t->entry[number];
}

static void put(const filling *t, size_t at, int32_t entry)
{
    memcpy(t->table + at * t->width, &entry, t->width); /* little-endian, as everything here is */
}

/* All rows from part `k` on, for one choice of rows of those before: `before` is what these leave, `at` their offset.
 */
static void fill(filling *t, int k, const uint64_t *before, size_t at)
{
    fc_cross_maker *b = t->w->b;
    const part *p = &t->part[k];
    uint64_t *set = t->set + (size_t)k * b->words;
    int32_t entry[2 * FC_CROSS_RULES + 2]; /* of the classes of the last part, where many of its rows share one */
    int by_class = k == t->parts - 1 && p->raw;
    uint32_t n = by_class ? p->node->sets.n : p->n;
    for (uint32_t i = 0; i < n && b->status == FC_OK; i++) {
        const uint64_t *own = p->node->sets.bits + (size_t)(by_class ? i : row_set(t, p, i)) * b->words;
        for (uint32_t w = 0; w < b->words; w++)
            set[w] = before[w] & own[w];
        if (k < t->parts - 1)
            fill(t, k + 1, set, at + row_offset(t, p, i));
        else if (by_class)
            entry[i] = entry_of(t, set);
        else
            put(t, at + row_offset(t, p, i), entry_of(t, set));
    }
    for (uint32_t i = 0; by_class && i < p->n && b->status == FC_OK; i++)
        put(t, at + row_offset(t, p, i), entry[row_set(t, p, i)]);
}

static uint32_t table_room(writer *w, size_t octets)
{
    size_t at = (w->used + 63) / 64 * 64 + 8; /* two octets before the first entry are read too, from the same line */
    if (at + octets > w->size) {
        size_t size = 2 * (at + octets);
        uint8_t *p = w->b->status == FC_OK ? realloc(w->tables, size) : NULL;
        if (p == NULL) {
            w->b->status = FC_ENOMEM;
            return 0;
        }
        w->tables = p;
        w->size = size;
    }
    w->used = at + octets;
    return (uint32_t)at;
}

static int write_node(writer *w, const fc_cross_node *node);

static struct fc_cross_input an_input(uint32_t column, uint32_t stride, uint32_t ratio)
{
    return (struct fc_cross_input){(uint16_t)column, (uint16_t)stride, stride * 0x10001u,
                                   ratio ? ratio * 0x01000100u + 0x00010001u : 0};
}

/* The inputs' rows and strides: the largest part gets the largest stride, the smallest stride 1. */
static uint32_t lay_out(writer *w, const fc_cross_node *node, part *parts, fc_cross_step *step)
{
    fc_cross_maker *b = w->b;
    uint32_t stride = 1;
    for (int i = 0; i < node->parts; i++) {
        part p = {.node = fc_cross_find(b, node->part[i] & ~FC_CROSS_RAW), .raw = (node->part[i] & FC_CROSS_RAW) != 0};
        const fc_cross_lane *lane = &b->lane[__builtin_ctz(p.node->lanes)];
        if (!p.raw)
            p.column = (uint16_t)write_node(w, p.node);
        p.n = fc_cross_entries(b, p.node, &p.raw);
        p.top = p.raw && lane->classes[0] > 1 ? lane->classes[0] : p.n;
        int at = i;
        for (; at > 0 && parts[at - 1].top > p.top; at--)
            parts[at] = parts[at - 1];
        parts[at] = p;
    }
    for (int i = 0; i < node->parts; i++) {
        part *p = &parts[i];
        if (!p->raw) {
            p->stride[0] = stride;
            step->input[step->inputs++] = an_input(p->column, stride, 0);
        } else {
            int l = __builtin_ctz(p->node->lanes);
            p->stride[0] = stride * b->lane[l].classes[1];
            p->stride[1] = stride;
            for (int half = 1; half >= 0; half--) {
                int both = half == 1 && b->lane[l].classes[0] > 1 && b->lane[l].classes[1] < 128;
                if (b->lane[l].classes[half] > 1)
                    step->input[step->inputs++] =
                        an_input(w->column[l][half], p->stride[half], both ? b->lane[l].classes[1] : 0);
            }
        }
        stride *= p->n;
    }
    return stride;
}

static void write_exact(writer *w, const fc_cross_word *word, fc_cross_step *step)
{
    *step = (fc_cross_step){
        .factor = word->factor, .at = word->lanes == 0xf0 ? 8 : 24, .shift = (uint8_t)(64 - word->bits)};
    step->table = table_room(w, (size_t)2 << word->bits);
    step->values = table_room(w, 8 * ((size_t)word->n + 1));
    if (w->b->status != FC_OK)
        return;
    memset(w->tables + step->table, 0, (size_t)2 << word->bits);
    memset(w->tables + step->values, 0, 8);
    for (uint32_t i = 0; i < word->n; i++) {
        uint16_t candidate = (uint16_t)(i + 1);
        memcpy(w->tables + step->table + 2 * (word->value[i] * word->factor >> step->shift), &candidate, 2);
        memcpy(w->tables + step->values + 8 * (size_t)candidate, &word->value[i], 8);
    }
}

/* The steps that lead to a node's class; returns the column that the last of them fills. */
static int write_node(writer *w, const fc_cross_node *node)
{
    fc_cross_maker *b = w->b;
    if (node->word != NULL && w->x.steps < FC_CROSS_STEPS) {
        write_exact(w, node->word, &w->x.step[w->x.steps]);
        return w->x.octets + w->x.steps++;
    }
    part parts[FC_CROSS_PARTS];
    fc_cross_step step = {.inputs = 0};
    uint32_t entries = lay_out(w, node, parts, &step);
    step.wide = entries > 0x10000;
    filling t = {.w = w, .node = node, .part = parts, .parts = node->parts, .last = node->lanes == b->lanes};
    step.width = t.last ? (b->row[b->n - 1] > FC_CROSS_MAX ? 4 : 2) : node->sets.n > 256 ? 2 : 1;
    if (w->x.steps == FC_CROSS_STEPS) {
        b->status = FC_ELIMIT;
        return 0;
    }
    step.table = table_room(w, (size_t)entries * step.width);
    t.set = fc_cross_get(b, 8 * (size_t)b->words * (FC_CROSS_PARTS + 1));
    if (b->status == FC_OK) {
        uint64_t *all = t.set + (size_t)FC_CROSS_PARTS * b->words;
        t.table = w->tables + step.table;
        t.width = step.width;
        memset(all, 0xff, 8 * (size_t)b->words);
        fill(&t, 0, all, 0);
    }
    free(t.set);
    free(t.entry);
    fc_sets_free(&t.seen);
    w->x.step[w->x.steps] = step;
    return w->x.octets + w->x.steps++;
}

static void write_shares(const writer *w, const uint8_t *map, uint32_t *share)
{
    for (uint32_t s = 0; s < w->x.steps; s++) {
        const fc_cross_step *step = &w->x.step[s];
        for (uint32_t k = 0; k < step->inputs; k++) {
            uint32_t c = step->input[k].column, stride = step->input[k].stride;
            if (c >= w->x.octets)
                continue;
            for (uint32_t i = 0; i < FC_CROSS_SHARES; i++)
                share[c * FC_CROSS_SHARES + i] = stride * (i < 256 ? map[256 * c + i] : w->x.octet[c].lacking);
        }
    }
}

/* One block of memory: the header, the octets' classes, the tables. */
static fc_cross *in_one_block(writer *w, const uint8_t *map)
{
    size_t head = fc_cross_lines(sizeof(w->x)), maps = 256 * (size_t)w->x.octets;
    size_t shares = sizeof(uint32_t) * FC_CROSS_SHARES * w->x.octets,
           all = head + maps + shares + fc_cross_lines(w->used + 4);
    uint8_t *p = fc_big_alloc(all);
    if (p == NULL) {
        w->b->status = FC_ENOMEM;
        return NULL;
    }
    w->x.bytes = (uint32_t)all;
    w->x.map = p + head;
    w->x.share = (uint32_t *)(p + head + maps);
    w->x.tables = p + head + maps + shares;
    memcpy(p, &w->x, sizeof(w->x));
    memcpy(p + head, map, maps);
    write_shares(w, map, (uint32_t *)(p + head + maps));
    memcpy(p + head + maps + shares, w->tables, w->used);
    memset(p + head + maps + shares + w->used, 0, fc_cross_lines(w->used + 4) - w->used);
    return (fc_cross *)p;
}

static uint8_t required_of(const fc_cross_maker *b)
{
    uint8_t all = 0;
    for (uint32_t i = 0; i < b->n; i++)
        all |= b->conditions[i];
    return all & (FC_SOURCE | FC_DESTINATION);
}

static fc_cross *write_tables(fc_cross_maker *b, const fc_cross_node *all)
{
    fc_cross *made = NULL;
    writer w = {.b = b, .x = {.version = (uint8_t)b->version, .cost = all->cost}};
    uint8_t *map = fc_cross_get(b, 256 * FC_CROSS_OCTETS);
    w.x.required = required_of(b);
    if (map != NULL) {
        write_octets(&w, map);
        write_node(&w, all);
    }
    if (b->status == FC_OK && w.used <= CROSS_BYTES)
        made = in_one_block(&w, map);
    free(map);
    free(w.tables);
    return made;
}

/* ---- All in all
 * ----------------------------------------------------------------------------------------------------------- */

static void release(fc_cross_maker *b)
{
    for (uint32_t i = 0; i < b->nodes; i++)
        fc_sets_free(&b->node[i].sets);
    for (int l = 0; l < FC_MAX_LANES; l++) {
        free(b->covers[l]);
        free(b->lane[l].set);
    }
    free(b->word[0].value);
    free(b->word[1].value);
    free(b->lo[0]);
    free(b->conditions);
    free((void *)b->row);
    free(b->dominates);
    free(b->ready);
    free(b);
}

static fc_cross *make_steps(fc_cross_maker *b, uint32_t limit)
{
    fc_cross_make_words(b);
    for (uint32_t rest = b->lanes & ~b->word[0].lanes & ~b->word[1].lanes; rest && b->status == FC_OK; rest &= rest - 1)
        fc_cross_make_lane(b, __builtin_ctz(rest));
    fc_cross_plan(b);
    const fc_cross_node *all = b->status == FC_OK ? fc_cross_find(b, b->lanes) : NULL;
    return all != NULL && all->cost < limit ? write_tables(b, all) : NULL;
}

int fc_cross_build(int version, const fc_rule *rules, uint32_t n, uint32_t limit, int vectors, fc_cross **cross)
{
    fc_cross_maker *b = calloc(1, sizeof(*b));
    *cross = NULL;
    if (b == NULL)
        return FC_ENOMEM;
    b->version = version;
    if (take_rules(b, rules, n)) {
        b->work_limit = CROSS_WORK / b->words; /* a pair's sets are compared word by word */
        b->dominates = fc_cross_get(b, 8 * (size_t)b->n * b->words);
        b->ready = fc_cross_get(b, b->n);
        b->dominating = UINT32_MAX; /* no set of lanes */
        fc_cross_cover(b);
        vectors = vectors && fc_cross_vectors_cost(b) < limit;
        *cross = vectors ? fc_cross_make_vectors(b, required_of(b)) : make_steps(b, limit);
    }
    int status = b->status;
    release(b);
    if (status == FC_ELIMIT && vectors)
        return fc_cross_build(version, rules, n, limit, 0, cross);
    return status == FC_ELIMIT ? FC_OK : status; /* too many steps: it doesn't pay */
}

void fc_cross_free(fc_cross *cross) { fc_big_free(cross); }
