/* cross_classes.c - equivalence classes: which sets of rules the values of a lane, or of several, can lead to. cross.c
 * has the theory. */
#include "cross_build.h"

/* ---- Sets of sets --------------------------------------------------------------------------------------------------
 */

static uint32_t hash_set(const uint64_t *set, uint32_t words)
{
    uint64_t h = 0, odd = 0x9e3779b97f4a7c15ull;
    for (uint32_t i = 0; i < words; i++, odd += 2 * 0x9e3779b97f4a7c15ull)
        h += set[i] * odd;
    h ^= h >> 32;
    h *= 0xff51afd7ed558ccdull;
    return (uint32_t)(h >> 32);
}

static int differ(const uint64_t *a, const uint64_t *c, uint32_t words)
{
    uint64_t x = 0;
    for (uint32_t i = 0; i < words; i++)
        x |= a[i] ^ c[i];
    return x != 0;
}

static uint32_t slot_of_set(const fc_cross_maker *b, const fc_sets *s, const uint64_t *set)
{
    uint32_t at = hash_set(set, b->words) & (s->slots - 1);
    while (s->slot[at] && differ(s->bits + (size_t)(s->slot[at] - 1) * b->words, set, b->words))
        at = (at + 1) & (s->slots - 1);
    return at;
}

static void sets_grow(fc_cross_maker *b, fc_sets *s)
{
    uint32_t room = s->room ? 2 * s->room : 64, slots = 2 * room;
    uint64_t *bits = b->status == FC_OK ? realloc(s->bits, 8 * (size_t)b->words * room) : NULL;
    uint32_t *slot = bits ? calloc(slots, sizeof(*slot)) : NULL;
    if (bits != NULL)
        s->bits = bits;
    if (slot == NULL) {
        b->status = FC_ENOMEM;
        return;
    }
    free(s->slot);
    s->slot = slot;
    s->slots = slots;
    s->room = room;
    for (uint32_t i = 0; i < s->n; i++)
        s->slot[slot_of_set(b, s, s->bits + (size_t)i * b->words)] = i + 1;
}

uint32_t fc_sets_add(fc_cross_maker *b, fc_sets *s, const uint64_t *set)
{
    if (s->n == s->room)
        sets_grow(b, s);
    if (b->status != FC_OK)
        return UINT32_MAX;
    uint32_t at = slot_of_set(b, s, set);
    if (s->slot[at] == 0) {
        memcpy(s->bits + (size_t)s->n * b->words, set, 8 * (size_t)b->words);
        s->slot[at] = ++s->n;
    }
    return s->slot[at] - 1;
}

uint32_t fc_sets_find(const fc_cross_maker *b, const fc_sets *s, const uint64_t *set)
{
    return s->n ? s->slot[slot_of_set(b, s, set)] - 1 : UINT32_MAX; /* 0 - 1: not there */
}

void fc_sets_free(fc_sets *s)
{
    free(s->bits);
    free(s->slot);
    *s = (fc_sets){0};
}

/* ---- Rules that can't win ------------------------------------------------------------------------------------------
 */

/* Eight octets of 0 or 1 to eight bits. */
static uint64_t pack(const uint8_t *octets)
{
    uint64_t x;
    memcpy(&x, octets, 8);
    return x * 0x0102040810204080ull >> 56;
}

/* Row i of a lane's matrix: the rules all of whose values there match i too, before it and after. A rule that
 * asks for a field covers only rules that ask for it as well. */
static void cover_lane(fc_cross_maker *b, int lane, uint8_t *in)
{
    const uint16_t *lo = b->lo[lane], *hi = b->hi[lane];
    uint8_t field = (uint8_t)(1u << b->lane[lane].field);
    memset(in, 0, 64 * (size_t)b->words);
    for (uint32_t i = 0; i < b->n; i++) {
        uint64_t *row = b->covers[lane] + (size_t)i * b->words;
        uint8_t asks = b->conditions[i] & field;
        for (uint32_t j = 0; j < b->n; j++)
            in[j] = (uint8_t)((lo[i] <= lo[j]) & (hi[i] >= hi[j]) & ((b->conditions[j] & asks) == asks));
        for (uint32_t w = 0; w < b->words; w++) {
            row[w] = 0;
            for (uint32_t k = 0; k < 8; k++)
                row[w] |= pack(in + 64 * w + 8 * k) << (8 * k);
        }
    }
}

void fc_cross_cover(fc_cross_maker *b)
{
    uint8_t *in = fc_cross_get(b, 64 * (size_t)b->words);
    for (uint32_t rest = b->lanes; rest && b->status == FC_OK; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        b->covers[lane] = fc_cross_get(b, 8 * (size_t)b->n * b->words);
        if (b->covers[lane] != NULL)
            cover_lane(b, lane, in);
    }
    free(in);
}

/* The rules that rule i covers in all lanes `dominating`, and comes before; NULL: none, as for most rules. */
static const uint64_t *dominated(fc_cross_maker *b, uint32_t i)
{
    enum { UNKNOWN, NO_CLASS, SOME };
    uint64_t *row = b->dominates + (size_t)i * b->words, any = 0;
    if (b->ready[i] != UNKNOWN)
        return b->ready[i] == SOME ? row : NULL;
    for (uint32_t w = 0; w < b->words; w++)
        row[w] = w < i / 64 ? 0 : w > i / 64 ? ~0ull : ~0ull << (i & 63) << 1;
    for (uint32_t rest = b->dominating; rest; rest &= rest - 1) {
        const uint64_t *covers = b->covers[__builtin_ctz(rest)] + (size_t)i * b->words;
        for (uint32_t w = i / 64; w < b->words; w++)
            row[w] &= covers[w];
    }
    for (uint32_t w = i / 64; w < b->words; w++)
        any |= row[w];
    b->ready[i] = any ? SOME : NO_CLASS;
    return any ? row : NULL;
}

/* Takes out of a set of rules, all of which match in `lanes`, those that a better one of them covers in all other
 * lanes. */
void fc_cross_prune(fc_cross_maker *b, uint32_t lanes, uint64_t *set)
{
    uint32_t rest = b->lanes & ~lanes;
    if (b->dominating != rest) {
        memset(b->ready, 0, b->n);
        b->dominating = rest;
    }
    for (uint32_t w = 0; w < b->words; w++) {
        uint64_t todo = set[w];
        while (todo) {
            uint32_t i = 64 * w + (uint32_t)__builtin_ctzll(todo);
            const uint64_t *row = dominated(b, i);
            for (uint32_t v = w; row != NULL && v < b->words; v++)
                set[v] &= ~row[v];
            todo &= set[w] & (todo - 1);
        }
    }
}

/* ---- The classes of a lane
 * --------------------------------------------------------------------------------------------- */

typedef struct square { /* the class of each value of a lane, a row for each upper octet */
    uint16_t set[256][256];
} square;

static uint32_t row_classes(const square *q, uint8_t *map, uint8_t *first)
{
    uint32_t n = 0, k;
    for (uint32_t h = 0; h < 256; h++) {
        for (k = 0; k < n && memcmp(q->set[h], q->set[first[k]], sizeof(q->set[h])) != 0;)
            k++;
        if (k == n)
            first[n++] = (uint8_t)h;
        map[h] = (uint8_t)k;
    }
    return n;
}

static uint32_t column_classes(const square *q, const uint8_t *rows, uint32_t n_rows, uint8_t *map, uint8_t *first)
{
    uint32_t n = 0, k, r;
    for (uint32_t l = 0; l < 256; l++) {
        for (k = 0; k < n; k++) {
            for (r = 0; r < n_rows && q->set[rows[r]][l] == q->set[rows[r]][first[k]];)
                r++;
            if (r == n_rows)
                break;
        }
        if (k == n)
            first[n++] = (uint8_t)l;
        map[l] = (uint8_t)k;
    }
    return n;
}

/* Where ranges begin and have ended, by value: the first event + 1, and for each event the next + 1. Event 2i is that
 * rule i begins, 2i + 1 that it has ended. */
typedef struct events {
    uint16_t first[65537], next[2 * FC_CROSS_RULES];
} events;

static void note_event(events *e, uint32_t value, uint32_t event)
{
    e->next[event] = e->first[value];
    e->first[value] = (uint16_t)(event + 1);
}

/* The set of each value: of the rules whose range has it, without those that can't win. now, set: room for a set each.
 */
static void fill_square(fc_cross_maker *b, fc_cross_node *node, int lane, square *q, events *e, uint64_t *now,
                        uint64_t *set)
{
    uint32_t number = 0;
    memset(e, 0, sizeof(*e));
    memset(now, 0, 8 * (size_t)b->words);
    for (uint32_t i = 0; i < b->n; i++) {
        note_event(e, b->lo[lane][i], 2 * i);
        note_event(e, b->hi[lane][i] + 1u, 2 * i + 1);
    }
    for (uint32_t v = 0; v < 65536 && b->status == FC_OK; v++) {
        if (v == 0 || e->first[v]) {
            for (uint32_t k = e->first[v]; k; k = e->next[k - 1])
                now[(k - 1) / 128] ^= 1ull << ((k - 1) / 2 & 63);
            memcpy(set, now, 8 * (size_t)b->words);
            fc_cross_prune(b, node->lanes, set);
            number = fc_sets_add(b, &node->sets, set);
        }
        q->set[v >> 8][v & 255] = (uint16_t)number; /* at most 2 * FC_CROSS_RULES + 1 */
    }
}

/* A row or column of their own for keys that lack the field, where some rule asks for it: only rules that don't are
 * left. */
static int add_lacking(fc_cross_maker *b, fc_cross_node *node, fc_cross_lane *x, uint64_t *set, uint32_t *number)
{
    x->lacking_in = -1;
    uint8_t field = (uint8_t)(1u << x->field), some = 0;
    memset(set, 0, 8 * (size_t)b->words);
    for (uint32_t i = 0; i < b->n; i++) {
        some |= b->conditions[i] & field;
        set[i / 64] |= (uint64_t) !(b->conditions[i] & field) << (i & 63);
    }
    if (!some || (field & (FC_SOURCE | FC_DESTINATION)))
        return 1;
    fc_cross_prune(b, node->lanes, set);
    *number = fc_sets_add(b, &node->sets, set);
    x->lacking_in = x->classes[0] == 1 && x->classes[1] > 1;
    if (x->classes[x->lacking_in] > 255)
        return 0;
    x->lacking[x->lacking_in] = (uint8_t)x->classes[x->lacking_in]++;
    return 1;
}

void fc_cross_make_lane(fc_cross_maker *b, int lane)
{
    fc_cross_lane *x = &b->lane[lane];
    fc_cross_node *node = fc_cross_new_node(b, 1u << lane);
    square *q = fc_cross_get(b, sizeof(*q));
    events *e = fc_cross_get(b, sizeof(*e));
    uint64_t *set = fc_cross_get(b, 16 * (size_t)b->words);
    uint8_t first[2][256];
    uint32_t lacking = 0;
    int fits = b->status == FC_OK;
    if (fits) {
        fill_square(b, node, lane, q, e, set + b->words, set);
        fits = b->status == FC_OK; /* if not, memory ran out and the square is only begun */
    }
    if (fits) {
        x->classes[0] = (uint16_t)row_classes(q, x->map[0], first[0]);
        x->classes[1] = (uint16_t)column_classes(q, first[0], x->classes[0], x->map[1], first[1]);
        uint16_t real[2] = {x->classes[0], x->classes[1]};
        fits = add_lacking(b, node, x, set, &lacking);
        x->set = fc_cross_get(b, sizeof(*x->set) * x->classes[0] * x->classes[1]);
        for (uint32_t h = 0; h < x->classes[0] && b->status == FC_OK; h++) {
            for (uint32_t l = 0; l < x->classes[1]; l++)
                x->set[h * x->classes[1] + l] =
                    h < real[0] && l < real[1] ? q->set[first[0][h]][first[1][l]] : (uint16_t)lacking;
        }
    }
    free(q);
    free(e);
    free(set);
    if (!fits)
        fc_sets_free(&node->sets);
}

/* ---- Halves of IPv6 addresses
 * ---------------------------------------------------------------------------------------------- */

static uint64_t word_of(const fc_cross_maker *b, uint32_t lanes, uint32_t i)
{
    uint64_t word = 0;
    for (int k = 0; k < 4; k++)
        word |= (uint64_t)b->lo[__builtin_ctz(lanes) + k][i] << (16 * k);
    return word;
}

/* Does rule i ask for one value of all four lanes (1), for nothing (0), or for something else (-1)? */
static int asks_for(const fc_cross_maker *b, uint32_t lanes, uint32_t i)
{
    int one = 0, all = 0;
    for (uint32_t rest = lanes; rest; rest &= rest - 1) {
        int l = __builtin_ctz(rest);
        one += b->lo[l][i] == b->hi[l][i];
        all += b->lo[l][i] == 0 && b->hi[l][i] == 0xffff;
    }
    return one == 4 ? 1 : all == 4 ? 0 : -1;
}

/* A factor that leads every value to a slot of its own. */
static int hash_values(fc_cross_maker *b, fc_cross_word *x)
{
    enum { HASH_BITS = 16, HASH_TRIES = 200 };
    uint8_t *taken = fc_cross_get(b, 1 << HASH_BITS);
    uint64_t state = 1;
    for (x->bits = 4; x->bits < HASH_BITS && (2u << x->bits) < 3 * x->n;)
        x->bits++;
    for (; taken != NULL && x->bits <= HASH_BITS; x->bits++) {
        for (int t = 0; t < HASH_TRIES; t++) {
            uint32_t i = 0;
            state = state * 0x5851f42d4c957f2dull + 0x14057b7ef767814full;
            x->factor = (state ^ state >> 29) | 1;
            memset(taken, 0, (size_t)1 << x->bits);
            for (; i < x->n; i++) {
                uint64_t at = x->value[i] * x->factor >> (64 - x->bits);
                if (taken[at])
                    break;
                taken[at] = 1;
            }
            if (i == x->n) {
                free(taken);
                return 1;
            }
        }
    }
    free(taken);
    return 0;
}

static int by_value(const void *a, const void *c)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)c;
    return x < y ? -1 : x > y;
}

static void make_word(fc_cross_maker *b, uint32_t lanes, fc_cross_word *x)
{
    uint64_t *value = x->value = fc_cross_get(b, sizeof(*value) * b->n), *set = fc_cross_get(b, 8 * (size_t)b->words);
    uint32_t n = 0, m = 0;
    for (uint32_t i = 0; i < b->n && b->status == FC_OK; i++) {
        int asks = asks_for(b, lanes, i);
        if (asks < 0) {
            free(set);
            return;
        }
        if (asks)
            value[n++] = word_of(b, lanes, i);
    }
    if (b->status == FC_OK && n > 0) {
        fc_cross_node *node = fc_cross_new_node(b, lanes);
        qsort(value, n, sizeof(*value), by_value);
        for (uint32_t k = 0; k <= n && b->status == FC_OK; k++) { /* none of the values, then each */
            if (k > 1 && value[k - 1] == value[k - 2])
                continue;
            memset(set, 0, 8 * (size_t)b->words);
            for (uint32_t i = 0; i < b->n; i++) {
                uint64_t in = asks_for(b, lanes, i) == 0 || (k > 0 && word_of(b, lanes, i) == value[k - 1]);
                set[i / 64] |= in << (i & 63);
            }
            fc_cross_prune(b, lanes, set);
            /* a value whose own rules all can't win is none: so sets are different, and numbers are candidates */
            if (fc_sets_add(b, &node->sets, set) == m + 1 && k > 0)
                value[m++] = value[k - 1];
        }
        x->n = m;
        x->lanes = lanes;
        node->word = x;
        if (!hash_values(b, x))
            fc_sets_free(&node->sets);
    }
    free(set);
}

void fc_cross_make_words(fc_cross_maker *b)
{
    for (int side = 0; side < 2 && b->version == 6; side++) {
        uint32_t lanes = 0xfu << (side ? 12 : 4);
        if ((b->lanes & lanes) == lanes && b->lanes != lanes && b->status == FC_OK)
            make_word(b, lanes, &b->word[side]);
    }
}

/* ---- Classes of several lanes
 * --------------------------------------------------------------------------------------------- */

#define CLASSES 16384u /* of a node at most, before those that can't win are taken out of them */

void fc_cross_meet(fc_cross_maker *b, const fc_cross_node *a, const fc_cross_node *c, fc_cross_node *out)
{
    fc_sets raw = {0};
    uint64_t *set = fc_cross_get(b, 8 * (size_t)b->words);
    for (uint32_t i = 0; i < a->sets.n && b->status == FC_OK && raw.n <= CLASSES; i++) {
        const uint64_t *x = a->sets.bits + (size_t)i * b->words;
        for (uint32_t j = 0; j < c->sets.n && b->status == FC_OK; j++) {
            const uint64_t *y = c->sets.bits + (size_t)j * b->words;
            for (uint32_t w = 0; w < b->words; w++)
                set[w] = x[w] & y[w];
            fc_sets_add(b, &raw, set);
        }
    }
    b->work += (uint64_t)a->sets.n * c->sets.n;
    for (uint32_t i = 0; i < raw.n && raw.n <= CLASSES && b->status == FC_OK; i++) {
        uint64_t *each = raw.bits + (size_t)i * b->words;
        fc_cross_prune(b, out->lanes, each);
        fc_sets_add(b, &out->sets, each);
    }
    fc_sets_free(&raw);
    free(set);
}
