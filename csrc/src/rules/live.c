/* live.c - inserting rules into a forest, and removing them, while readers run.
 *
 * A rule is in one tree, in every leaf whose region it meets. An update finds the slots of these leaves as a look-up
 * would, except that a bit which the rule leaves open leads both ways. For each slot it writes a new leaf beside the
 * old one and then stores the 32-bit slot. Old leaves are freed when no reader can be in them any more (epoch.h). A
 * wide rule, one that would be in more than WIDE places, goes to one more tree: a single leaf that every look-up
 * visits. This tree is meant to stay small, and a rebuild (classifier.c) empties it.
 *
 * A reader that met an update half done could see the rule in one leaf and not in another. Or it could miss a rule just
 * removed from one tree, without seeing the rule inserted before that in another. Such answers belong to no state. So
 * updates are counted: `turn` is odd while one is under way, and the rule that changes is noted before. A reader
 * compares `turn` before and after a block of keys. If it has changed, the keys inside the rules that changed meanwhile
 * are looked up again, without the others. For the others every state in that time gives the same answer, which is the
 * one they have found.
 *
 *      turn      6 ------ 7 ==== 8 -------- 9 ==== 10
 *      update             | 3: insert a     | 4: remove b
 *      reader         |-- block of keys --------|        turn was 6, is 9: keys inside a or b go again
 *
 * Which of two rules comes first is told by their priorities, and where these are equal by their numbers. A table's
 * ranks would not do, because an insertion moves the ranks of all rules behind it.
 */
#include <stdlib.h>

#include "live.h"

#define WIDE 64       /* places */
#ifndef FC_LIVE_ARENA /* address space, in octets: what the offsets of leaves reach; fuzzing takes less */
#define FC_LIVE_ARENA ((size_t)4 << 30)
#endif
#define MAX_PLACES (1u << 22)

/* ---- Memory in units of 64 octets --------------------------------------------------------------- */

static int size_class(uint32_t units) { return units < 64 ? (int)units : 64; }

static uint32_t rounded(uint32_t units) /* how many units are really given: from 64 on a power of two */
{
    uint32_t p = 64;
    if (units < 64)
        return units;
    while (p < units)
        p *= 2;
    return p;
}

static void give_back(fc_live *v, uint32_t at, uint32_t units)
{
    int c = size_class(units);
    uint32_t *link = (uint32_t *)(v->arena + (size_t)at * 64);
    link[0] = v->free_list[c];
    link[1] = rounded(units);
    v->free_list[c] = at;
}

static void live_reclaim(fc_live *v)
{
    uint64_t safe = fc_epoch_safe(v->epoch);
    for (; v->retired.count; fc_ring_drop(&v->retired)) {
        const fc_retired *r = fc_ring_at(&v->retired, 0);
        if (r->epoch >= safe)
            break;
        give_back(v, r->at, r->units);
    }
}

/* Takes `units` of memory and returns where they begin (in units), or 0 if there is no room. */
static uint32_t obtain(fc_live *v, uint32_t units)
{
    int c = size_class(units);
    units = rounded(units);
    for (uint32_t *link = &v->free_list[c]; *link; link = (uint32_t *)(v->arena + (size_t)*link * 64)) {
        uint32_t at = *link, *here = (uint32_t *)(v->arena + (size_t)at * 64);
        if (here[1] == units) {
            *link = here[0];
            return at;
        }
        if (c < 64)
            break;
    }
    if (v->used + (size_t)units * 64 > v->size)
        return 0;
    uint32_t at = (uint32_t)(v->used / 64);
    v->used += (size_t)units * 64;
    return at;
}

/* Notes memory that is to be given back when its readers have left. Can't fail: the caller has reserved room in the
 * ring. */
static void retire_units(fc_live *v, size_t at, size_t octets, uint64_t epoch)
{
    uint32_t units = (uint32_t)((octets + 63) / 64);
    if (at < v->built && units > 64) { /* the build did not round up, so round down */
        uint32_t p = 64;
        while (2 * p <= units)
            p *= 2;
        units = p;
    }
    *(fc_retired *)fc_ring_push(&v->retired) = (fc_retired){.epoch = epoch, .at = (uint32_t)(at / 64), .units = units};
}

/* Retires a slot's memory, except what the slot that took its place (`instead`) shares with it. These are at most two
 * pieces: the leaf and its vector. */
static void retire_leaf(fc_live *v, uint32_t slot, uint32_t instead, uint64_t epoch)
{
    if (slot >> 30 != FC_LEAF || slot == instead)
        return;
    const fc_forest *f = &v->forest;
    size_t unit = f->lanes == 32 ? 16 : 64, at = (size_t)FC_LEAF_OFFSET(slot) * unit;
    fc_leaf_at leaf = fc_leaf_open(f, slot);
    size_t octets = (size_t)(leaf.data - (f->arena + at)) + (f->lanes == 32         ? 4 * (size_t)leaf.n
                                                             : FC_LEAF_BLOCKS(slot) ? 128 * (size_t)(leaf.n / leaf.per)
                                                                                    : 64);
    /* a list that the build wrote stays until the next build, because lists are packed there closer than units */
    if (f->lanes < 32 || at >= v->built)
        retire_units(v, at, octets, epoch);
    if (leaf.vector && !(instead >> 30 == FC_LEAF && fc_leaf_open(f, instead).vector == leaf.vector))
        retire_units(v, (size_t)((const uint8_t *)leaf.vector - f->arena), (size_t)leaf.vector->units * 64, epoch);
}

/* ---- Where a rule is ---------------------------------------------------------------------------- */

typedef struct places {
    uint32_t *fixed[WIDE], **at; /* `at` is `fixed` until it is too small */
    uint32_t n, max, limit;
    int status;
} places;

static void add_place(places *p, uint32_t *slot)
{
    if (p->n >= p->limit) {
        p->status = FC_ELIMIT;
        return;
    }
    if (p->n == p->max) {
        uint32_t **more = malloc(2 * (size_t)p->max * sizeof(*more));
        if (more == NULL) {
            p->status = FC_ENOMEM;
            return;
        }
        memcpy(more, p->at, p->n * sizeof(*more));
        if (p->at != p->fixed)
            free(p->at);
        p->at = more;
        p->max *= 2;
    }
    p->at[p->n++] = slot;
}

typedef struct outline { /* a rule as the build sees it */
    uint64_t care[FC_MAX_WORDS], value[FC_MAX_WORDS];
    uint16_t lo[FC_MAX_LANES], hi[FC_MAX_LANES];
    int exact;
} outline;

static void draw(const fc_forest *f, const fc_rule *rule, outline *o)
{
    o->exact = fc_rule_lanes(f->version, rule, o->lo, o->hi);
    fc_rule_bits(f->version, rule, o->lo, o->hi, o->care, o->value);
}

static void find_slots(fc_live *v, const outline *o, uint32_t *slot, places *p);

/* Goes on to all children of a node of bits that the rule meets: those indexed by the rule's fixed bits together with
 * every combination of the bits that it leaves open. */
static void find_bits(fc_live *v, const outline *o, const uint64_t *mask, const uint8_t *word, int shift,
                      uint32_t *slots, places *p)
{
    const fc_reach to = fc_reach_bits(o->care, o->value, mask, word, shift);
    uint64_t sub = 0;
    do {
        find_slots(v, o, slots + (to.fixed | sub), p);
        sub = (sub - to.open) & to.open;
    } while (sub && p->status == FC_OK);
}

static void find_slots(fc_live *v, const outline *o, uint32_t *slot, places *p)
{
    uint32_t s = *slot;
    if (s >> 30 < FC_BITS) {
        add_place(p, slot);
        return;
    }
    uint8_t *at = v->arena + (size_t)FC_PAYLOAD(s) * 64;
    if (s >> 30 == FC_BITS) {
        fc_bits *node = (fc_bits *)at;
        find_bits(v, o, node->mask, node->word, node->shift, node->slot, p);
        return;
    }
    fc_range *node = (fc_range *)at;
    uint32_t first, last;
    fc_reach_range(node, o->lo[node->lane], o->hi[node->lane], &first, &last);
    for (uint32_t i = first; i <= last && p->status == FC_OK; i++) {
        if (!fc_is_no_interval(node->threshold, i))
            find_slots(v, o, &node->slot[i], p);
    }
}

/* The tree that a rule belongs to by the fields it fixes, or NULL when the forest has no such tree. */
static fc_tree *tree_for(fc_live *v, const outline *o)
{
    fc_forest *f = &v->forest;
    int part = fc_tree_of(f, o->care, f->source_bits, f->destination_bits);
    for (int t = 0; t + 1 < f->trees; t++) {
        if (f->tree[t].part == part)
            return &f->tree[t];
    }
    return NULL;
}

static fc_tree *wide_tree(fc_live *v) { return &v->forest.tree[v->forest.trees - 1]; }

/* ---- Rewriting leaves --------------------------------------------------------------------------- */

static int before(const fc_forest *f, uint32_t a, uint32_t b)
{
    return f->priority[a] < f->priority[b] || (f->priority[a] == f->priority[b] && a < b);
}

static uint32_t empty_slot(void) { return FC_SLOT(FC_ONE, FC_EMPTY); }

/* The i-th rule number that a leaf has outside its vector, FC_EMPTY after the last. */
static uint32_t loose(const fc_forest *f, const fc_leaf_at *leaf, uint32_t i)
{
    uint32_t number = FC_EMPTY, before_it = FC_EMPTY;
    const uint16_t *lo, *span;
    if (i < leaf->n)
        fc_leaf_body(f, leaf, i, &number, &lo, &span);
    if (i > 0 && i < leaf->n)
        fc_leaf_body(f, leaf, i - 1, &before_it, &lo, &span);
    return number == before_it ? FC_EMPTY : number; /* the places that fill the last block repeat a number */
}

/* Writes the rule numbers in a slot to `list` in priority order, at most `max` of them; returns how many there are. */
static uint32_t members(const fc_forest *f, uint32_t slot, uint32_t *list, uint32_t max)
{
    if (slot == empty_slot())
        return 0;
    if (slot >> 30 == FC_ONE) {
        if (max)
            list[0] = FC_PAYLOAD(slot);
        return 1;
    }
    fc_leaf_at leaf = fc_leaf_open(f, slot);
    uint32_t n = 0, all = leaf.vector ? leaf.vector->n : 0, a = loose(f, &leaf, 0);
    for (uint32_t i = 0, j = 0; a != FC_EMPTY || j < all; n++) {
        uint32_t b = j < all ? fc_vector_numbers(leaf.vector)[j] : FC_EMPTY;
        if (j < all && b == FC_EMPTY) {
            j++;
            n--;
            continue;
        }
        int from_vector = b != FC_EMPTY && (a == FC_EMPTY || before(f, b, a));
        if (n < max)
            list[n] = from_vector ? b : a;
        if (from_vector)
            j++;
        else
            a = loose(f, &leaf, ++i);
    }
    return n;
}

/* Writes a leaf with the n rules of `list`, and with the vector at offset `vector` if that is not 0; *slot leads to it.
 * Returns FC_OK, or FC_ELIMIT when the arena is full. */
static int write_leaf(fc_live *v, const uint32_t *list, uint32_t n, uint32_t vector, uint32_t *slot)
{
    fc_forest *f = &v->forest;
    fc_leaf_shape shape = fc_shape_leaf(f, n, vector != 0);
    uint32_t at = obtain(v, (uint32_t)((shape.octets + 63) / 64));
    if (at == 0 || (size_t)at * 64 / shape.unit > FC_MAX_LEAF_OFFSET)
        return FC_ELIMIT;
    fc_fill_leaf(f, &shape, list, n, vector, v->arena + (size_t)at * 64);
    *slot = FC_SLOT(FC_LEAF, shape.tag << 26 | (uint32_t)((size_t)at * 64 / shape.unit));
    return FC_OK;
}

/* Makes a slot for the n rules of `list`, with a leaf or a vector if they need one. Returns FC_OK, FC_ENOMEM, or
 * FC_ELIMIT when the arena is full. */
static int write_slot(fc_live *v, const uint32_t *list, uint32_t n, uint32_t *slot)
{
    if (n < 2) {
        *slot = n ? FC_SLOT(FC_ONE, list[0]) : empty_slot();
        return FC_OK;
    }
    if (n <= v->forest.vector)
        return write_leaf(v, list, n, 0, slot);
    fc_vector_plan *plan = malloc(sizeof(*plan));
    uint32_t at = 0;
    int status = plan ? fc_vector_shape(&v->forest, v->forest.rows, list, n, plan) : FC_ENOMEM;
    if (status == FC_OK) {
        at = obtain(v, plan->units);
        status = at ? FC_OK : FC_ELIMIT;
    }
    if (status == FC_OK) {
        fc_vector_fill(&v->forest, v->forest.rows, plan, list, v->arena + (size_t)at * 64);
        status = write_leaf(v, NULL, 0, at, slot);
        if (status != FC_OK)
            give_back(v, at, plan->units);
    }
    free(plan);
    return status;
}

#define LOOSE 32 /* a leaf with more rules outside its vector has that made anew: some 1 ms at 10,000 rules */

/* Makes the slot that is to take the place of `old`, with rule `number` added or taken out. If *slot is `old` itself,
 * the number is in its vector, from which drop() is to take it. */
static int changed_slot(fc_live *v, uint32_t old, uint32_t number, int insert, uint32_t *slot)
{
    fc_forest *f = &v->forest;
    uint32_t small[64], *list = small, n = 0, i = 0, j, vector = 0;
    if (old >> 30 == FC_LEAF) {
        fc_leaf_at leaf = fc_leaf_open(f, old);
        if (leaf.vector) { /* rewrite only the rules outside it, if that will do */
            while ((list[n] = loose(f, &leaf, n)) != FC_EMPTY)
                n++;
            for (j = 0; j < n && list[j] != number;)
                j++;
            vector = (uint32_t)((size_t)((const uint8_t *)leaf.vector - f->arena) / 64);
            if (insert ? n >= LOOSE : j == n && 2 * leaf.vector->removed >= leaf.vector->n) {
                vector = 0;
            } else if (!insert && j == n) {
                *slot = old;
                return FC_OK;
            }
        }
    }
    if (!vector)
        n = members(f, old, small, 64);
    if (n >= 63) {
        list = malloc(((size_t)n + 1) * sizeof(*list));
        if (list == NULL)
            return FC_ENOMEM;
        members(f, old, list, n);
    }
    if (insert) {
        while (i < n && before(f, list[i], number))
            i++;
        memmove(list + i + 1, list + i, (n - i) * sizeof(*list));
        list[i] = number;
        n++;
    } else {
        for (j = 0; j < n; j++) {
            list[i] = list[j];
            i += list[j] != number;
        }
        n = i;
    }
    int status = vector ? write_leaf(v, list, n, vector, slot) : write_slot(v, list, n, slot);
    v->strain += insert && n > 24 ? 1 : 0;
    if (list != small)
        free(list);
    return status;
}

/* Takes a number out of a slot's vector, in place, while readers may be in it. */
static void drop(fc_live *v, uint32_t slot, uint32_t number)
{
    fc_vector *vector = (fc_vector *)fc_leaf_open(&v->forest, slot).vector;
    uint32_t *numbers = (uint32_t *)fc_vector_numbers(vector);
    for (uint32_t i = 0; i < vector->n; i++) {
        if (numbers[i] == number) {
            __atomic_store_n(&numbers[i], FC_EMPTY, __ATOMIC_RELEASE);
            vector->removed++;
            return;
        }
    }
}

/* ---- One update, whole -------------------------------------------------------------------------- */

static void begin_turn(fc_live *v, const outline *o)
{
    uint64_t turn = atomic_load_explicit(&v->turn, memory_order_relaxed);
    fc_change *c = &v->change[(turn >> 1) % FC_CHANGES];
    for (int w = 0; w < v->forest.words; w++) {
        atomic_store_explicit(&c->care[w], o->care[w], memory_order_relaxed);
        atomic_store_explicit(&c->value[w], o->value[w], memory_order_relaxed);
    }
    /* this release store comes after the note above; the slots' release stores come after this one */
    atomic_store_explicit(&v->turn, turn + 1, memory_order_release);
}

static void end_turn(fc_live *v)
{
    uint64_t turn = atomic_load_explicit(&v->turn, memory_order_relaxed);
    atomic_store_explicit(&v->turn, turn + 1, memory_order_release);
}

/* Changes all places of a rule. First it writes all new leaves beside the old ones, which is what can fail. Then it
 * begins the turn, and then it stores the slots. */
static int apply(fc_live *v, const outline *o, places *p, uint32_t number, int insert)
{
    uint32_t fixed[WIDE], *fresh = p->n <= WIDE ? fixed : malloc(p->n * sizeof(*fresh)), done = 0;
    int status = fresh == NULL ? FC_ENOMEM : fc_ring_reserve(&v->retired, 4 * p->n);
    for (; done < p->n && status == FC_OK; done++)
        status = changed_slot(v, *p->at[done], number, insert, &fresh[done]);
    if (status == FC_OK) {
        begin_turn(v, o);
        for (uint32_t i = 0; i < p->n; i++) {
            uint32_t old = *p->at[i];
            if (fresh[i] == old)
                drop(v, old, number);
            else
                __atomic_store_n(p->at[i], fresh[i], __ATOMIC_RELEASE);
            fresh[i] = old;
        }
        end_turn(v);
        uint64_t epoch = fc_epoch_retire(v->epoch);
        for (uint32_t i = 0; i < p->n; i++)
            retire_leaf(v, fresh[i], *p->at[i], epoch);
    } else {
        for (uint32_t i = 0; fresh != NULL && i + 1 < done; i++)
            retire_leaf(v, fresh[i], *p->at[i], 0); /* nobody has seen them */
    }
    if (fresh != fixed)
        free(fresh);
    if (v->retired.count > 64)
        live_reclaim(v);
    return status;
}

static int collect_places(fc_live *v, fc_tree *t, const outline *o, uint32_t limit, places *p)
{
    p->at = p->fixed;
    p->max = WIDE;
    p->limit = limit;
    p->n = 0;
    p->status = FC_OK;
    find_bits(v, o, t->mask, t->word, t->shift, (uint32_t *)t->slot, p);
    return p->status;
}

static void places_free(places *p)
{
    if (p->at != p->fixed)
        free(p->at);
}

int fc_live_insert(fc_live *v, uint32_t number, const fc_rule *rule)
{
    fc_forest *f = &v->forest;
    outline o;
    places p;
    draw(f, rule, &o);
    fc_write_body(f, number, rule, o.lo, o.hi, o.exact, (uint16_t *)f->bodies + (size_t)number * 2 * f->lanes);
    fc_tree *t = tree_for(v, &o);
    int status = t == NULL ? FC_ELIMIT : collect_places(v, t, &o, WIDE, &p);
    if (status == FC_ELIMIT) {
        if (t != NULL)
            places_free(&p);
        t = wide_tree(v);
        status = collect_places(v, t, &o, WIDE, &p);
        v->wide += status == FC_OK;
    }
    if (status == FC_OK) {
        if (f->priority[number] < t->best_priority) /* stored before the slots, so that whoever sees them sees this */
            __atomic_store_n(&t->best_priority, f->priority[number], __ATOMIC_RELEASE);
        status = apply(v, &o, &p, number, 1);
    }
    places_free(&p);
    return status;
}

/* Is the rule in the wide tree? */
static int is_in_wide_tree(fc_live *v, uint32_t number)
{
    uint32_t slot = *wide_tree(v)->slot;
    if (v->wide == 0 || slot >> 30 == FC_ONE)
        return FC_PAYLOAD(slot) == number && v->wide;
    fc_leaf_at leaf = fc_leaf_open(&v->forest, slot);
    uint32_t all = leaf.vector ? leaf.vector->n : 0;
    for (uint32_t i = 0; i < leaf.n; i++) {
        uint32_t other;
        const uint16_t *lo, *span;
        fc_leaf_body(&v->forest, &leaf, i, &other, &lo, &span);
        if (other == number)
            return 1;
    }
    for (uint32_t i = 0; i < all; i++) {
        if (fc_vector_numbers(leaf.vector)[i] == number)
            return 1;
    }
    return 0;
}

int fc_live_remove(fc_live *v, uint32_t number, const fc_rule *rule)
{
    outline o;
    places p;
    draw(&v->forest, rule, &o);
    int wide = is_in_wide_tree(v, number);
    fc_tree *t = wide ? wide_tree(v) : tree_for(v, &o);
    if (t == NULL)
        return FC_ENOENT;
    int status = collect_places(v, t, &o, MAX_PLACES, &p);
    if (status == FC_OK)
        status = apply(v, &o, &p, number, 0);
    v->wide -= wide && status == FC_OK;
    places_free(&p);
    return status;
}

/* ---- Building, and whether a rule fits ---------------------------------------------------------- */

int fc_live_fits(const fc_live *v, const fc_rule *rule)
{
    const fc_forest *f = &v->forest;
    uint16_t lo[FC_MAX_LANES], hi[FC_MAX_LANES];
    uint8_t in[FC_MAX_LANES] = {0};
    if (f->trees == 0 || (rule->conditions & ~f->conditions))
        return 0;
    if (!fc_rule_lanes(f->version, rule, lo, hi) && !f->verify)
        return 0;
    for (int i = 0; i < f->range_lanes; i++)
        in[f->lane_map[i]] = 1;
    for (int i = 0; i <= 4 * f->words; i++) {
        if (!in[i] && (lo[i] != 0 || hi[i] != 0xffff))
            return 0;
    }
    return 1;
}

int fc_live_build(fc_live *v, int version, const fc_rule *rules, uint32_t n, const fc_numbering *numbering,
                  const fc_build_options *options, fc_epoch *epoch, fc_table_info *info)
{
    fc_build_options o = *options;
    o.keep_covered = 1;
    memset(v, 0, sizeof(*v));
    v->epoch = epoch;
    v->retired = FC_RING(fc_retired);
    int status = fc_forest_build(&v->forest, version, rules, n, numbering, &o, info);
    fc_forest *f = &v->forest;
    if (status != FC_OK || f->trees == 0)
        return status;
    v->size = f->lanes == 32 ? FC_LIVE_ARENA / 4 : FC_LIVE_ARENA;
    while (v->size > 4 * f->arena_used + FC_LIVE_ARENA / 64 && (v->arena = fc_reserve(v->size)) == NULL)
        v->size /= 2;
    if (v->arena == NULL)
        return FC_ENOMEM;
    memcpy(v->arena, f->arena, f->arena_used); /* offset 0 is the first tree's root, so 0 can mean "none" elsewhere */
    v->built = (f->arena_used + 63) / 64 * 64;
    v->used = v->built;
    for (int t = 0; t < f->trees; t++) {
        f->tree[t].slot = (const uint32_t *)(v->arena + ((const uint8_t *)f->tree[t].slot - f->arena));
        f->tree[t].best_priority = f->priority[f->tree[t].best];
    }
    fc_big_free((void *)f->arena);
    f->arena = v->arena;
    uint32_t root = obtain(v, 1), *slot = (uint32_t *)(v->arena + (size_t)root * 64);
    *slot = empty_slot();
    f->tree[f->trees] = (fc_tree){.slot = slot, .best_priority = UINT64_MAX, .part = UINT8_MAX};
    fc_set_places(&f->tree[f->trees], NULL, 0);
    f->trees++;
    return FC_OK;
}

void fc_live_release(fc_live *v)
{
    if (v->arena != NULL) {
        fc_unreserve(v->arena, v->size);
        v->forest.arena = NULL;
    }
    fc_forest_release(&v->forest);
    fc_ring_free(&v->retired);
}

/* ---- Reading ------------------------------------------------------------------------------------ */

/* Is the key inside a rule that changed in updates [first, end)? Only the rules' fixed bits are compared, so the answer
 * may be yes for some keys outside, which is harmless. */
static int concerned(fc_live *v, const fc_key *key, uint64_t first, uint64_t end)
{
    uint64_t words[FC_MAX_WORDS];
    fc_key_words(&v->forest, key, words);
    for (uint64_t u = first; u < end; u++) {
        const fc_change *c = &v->change[u % FC_CHANGES];
        uint64_t differs = 0;
        for (int w = 0; w < v->forest.words; w++)
            differs |= (words[w] & atomic_load_explicit(&c->care[w], memory_order_relaxed)) ^
                       atomic_load_explicit(&c->value[w], memory_order_relaxed);
        if (!differs)
            return 1;
    }
    return 0;
}

#define TRIES 100 /* to look keys up again; one takes a fraction of an update's time, so a second is rare */

int fc_live_lookup(fc_live *v, fc_lookup_fn *lookup, const fc_key *keys, const uint32_t *index, uint32_t n,
                   uint32_t *best)
{
    uint32_t again[FC_BATCH], at[FC_BATCH], found[FC_BATCH], m = n;
    for (uint32_t i = 0; i < n; i++) {
        again[i] = index[i];
        at[i] = i;
    }
    for (int tries = 0; m > 0; tries++) {
        uint64_t start = atomic_load_explicit(&v->turn, memory_order_acquire);
        lookup(&v->forest, keys, again, m, found);
        atomic_thread_fence(memory_order_acquire);
        uint64_t end = atomic_load_explicit(&v->turn, memory_order_relaxed);
        uint64_t first = start >> 1, last = (end + 1) >> 1;
        uint8_t redo[FC_BATCH] = {0};
        if (first < last) {
            for (uint32_t i = 0; i < m; i++)
                redo[i] = last - first >= FC_CHANGES || concerned(v, &keys[again[i]], first, last);
            /* if what was noted of the changes may have been overwritten while it was read, do all keys again */
            atomic_thread_fence(memory_order_acquire);
            uint64_t later = atomic_load_explicit(&v->turn, memory_order_relaxed);
            if (((later + 1) >> 1) - first >= FC_CHANGES)
                memset(redo, 1, sizeof(redo));
        }
        uint32_t kept = 0;
        for (uint32_t i = 0; i < m; i++) {
            best[at[i]] = found[i];
            again[kept] = again[i];
            at[kept] = at[i];
            kept += redo[i];
        }
        m = kept;
        if (tries == TRIES) {
            for (uint32_t i = 0; i < m; i++)
                best[at[i]] = FC_UNSETTLED;
            return m == 0;
        }
    }
    return 1;
}
