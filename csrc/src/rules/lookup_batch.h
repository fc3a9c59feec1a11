/* lookup_batch.h - the stages of a batched look-up, shared by the vector kernels. A kernel defines, then includes this:
 *
 *   FC_TARGET                         the function attribute that enables its instructions
 *   FC_LOOKUP                         the name of its entry point
 *   extract(word, mask)               bit extraction; or FC_PICKED and what lookup_picked.h asks for
 *   body_fails(lanes, key, body)      0 when all range lanes match (lo at body, spans behind)
 *   short_fails(key, body, spans)     the same for a short body (format.h)
 *   block_matches(lanes, key, block)  marks: of the bits for the 32 lanes of a 128-octet block's bodies, those of the
 *                                     last lane of each body that matches, so that its number is easily found
 *   half_matches(key, block)          the same for a half block (two bodies of 8 lanes)
 *   interval(threshold, value)        how many of 31 rising thresholds are <= value
 *   meet(row, rows, block, n, both)     as fc_meet
 *   and, with FC_OWN_SORT defined, what lookup_plain.h has by better means, or FC_EIGHT for AVX2's (lookup_eight.h)
 *
 * All keys of a piece (FC_STAGE) are at one stage at a time, so that each stage is a loop without branches on data,
 * whose memory was asked for by the stage before. */

/* Words between two keys' words, so that a block stays in the first-level cache: 16 octets a key where that is all
 * there is to compare, else with the traffic class lane, to a power of two. */
#define STRIDE(lanes, permuted) ((lanes) == 8 ? 2u : (lanes) == 16 && !(permuted) ? 4u : 8u)

/* Keys at one stage together. The last trees are asked for a few in a hundred: the more keys, the rarer do their short
 * loops begin and end, each end a mistaken branch (10k rules: 64, 128 in place of 256 cost 17 and 6 %, 384 gain 1 to
 * 10; 512 and 1,024 lose 3 to 6 at 100k). Keys of 16 and 32 lanes would fill the first-level cache. */
#define FC_STAGE 384u
#define FC_LONG_STAGE 256u

#define FEW 8u /* keys: so few are looked up one after the other */

/* Memory is asked for so many keys ahead of a comparison, not all before the first: it answers some 20 requests at a
 * time, and meanwhile there is work. 100k rules: IPv4 +13 %, IPv6 +31 %; 32 and 100 are as good, 16 half as good. */
#define FC_AHEAD 64u

/* Keys are asked for, into the first-level cache, so many before they are read. */
#define FC_KEYS_AHEAD 64u

typedef struct list {
    uint32_t key[FC_STAGE + 16], slot[FC_STAGE + FC_AHEAD + 16];
    uint32_t n;
} list;

/* The keys of a piece have the numbers from 0 on (a few after the last are written over). Those of earlier pieces that
 * wait for later trees (put_off()) have the numbers from LATE on. */
#define PIECE(lanes) ((lanes) == 8 ? FC_STAGE : FC_LONG_STAGE)
#define LATE(lanes) (PIECE(lanes) + 16u)

typedef struct work {
    uint64_t words[(2 * FC_LONG_STAGE + 16) * 8 + 8] __attribute__((aligned(64)));
    uint16_t lanes[(2 * FC_LONG_STAGE + 16) * 16] __attribute__((aligned(64)));
    uint32_t open[FC_STAGE + 16], active[FC_STAGE + 16], limit[FC_STAGE + 16], slot[FC_STAGE + 16];
    list one, half, leaf, node;
    uint32_t best[2 * FC_STAGE + 16] __attribute__((aligned(64)));
    uint64_t rank[FC_STAGE];          /* priorities of the best, where numbers are no ranks */
    uint32_t late, late_at[FC_STAGE]; /* how many keys wait, and where among the call's keys they are */
    int late_from, late_careful;      /* for which tree, 0: none yet; is some of them from a careful piece? */
    const uint8_t *ahead; /* the next line of memory of the next piece's keys to be asked for (ask_ahead()) */
    size_t line;          /* how much further on the one after it is: 64, or 0 where there is none */
} work;

#define FC_COUNT8(i) i, i + 1, i + 2, i + 3, i + 4, i + 5, i + 6, i + 7
#define FC_COUNT64(i)                                                                                           \
    FC_COUNT8(i), FC_COUNT8(i + 8), FC_COUNT8(i + 16), FC_COUNT8(i + 24), FC_COUNT8(i + 32), FC_COUNT8(i + 40), \
        FC_COUNT8(i + 48), FC_COUNT8(i + 56)
#define FC_COUNT256(i) FC_COUNT64(i), FC_COUNT64(i + 64), FC_COUNT64(i + 128), FC_COUNT64(i + 192)
static const uint32_t counting[2 * FC_STAGE + 32] __attribute__((aligned(64))) = {
    FC_COUNT256(0), FC_COUNT256(256), FC_COUNT256(512), FC_COUNT8(768), FC_COUNT8(776), FC_COUNT8(784), FC_COUNT8(792)};
_Static_assert(FC_STAGE == 384, "as many as are counted here");
_Static_assert(2 * FC_STAGE <= 8 * FC_LONG_STAGE, "room for the words of keys of 8 lanes");
_Static_assert(FC_BATCH % FC_STAGE == 0 && FC_BATCH % FC_LONG_STAGE == 0, "no short rest of a full batch");

/* Slots change under updates: what a slot points to was written before it (live.c). */
#define FC_SLOT_AT(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)

/* slot[j], an index, gives way to base[slot[j]]. */
INLINE void load_slots(const uint32_t *base, uint32_t *slot, uint32_t n)
{
    for (uint32_t j = 0; j < n; j++)
        slot[j] = FC_SLOT_AT(base + slot[j]);
}

#ifdef FC_OWN_SORT
INLINE void sort_slots(work *w, const uint32_t *key, const uint32_t *limit, const uint32_t *slot, uint32_t n);
INLINE uint32_t prepare_many(const fc_key *keys, uint32_t n, work *w, uint64_t *all, uint64_t *any);
INLINE void read_slots(const uint32_t *base, uint32_t *slot, uint32_t n, int dynamic);
#else
#include "lookup_plain.h"
#endif

typedef struct batch {
    const fc_key *keys;
    const uint32_t *index; /* which of them, NULL: the first, the second, ... */
    uint32_t from;         /* where the piece begins */
} batch;

INLINE const fc_key *key_at(const batch *b, const work *w, uint32_t i, int lanes)
{
    uint32_t at = i < LATE(lanes) ? b->from + i : w->late_at[i - LATE(lanes)];
    return b->index ? &b->keys[b->index[at]] : &b->keys[at];
}

/* Words and lanes of one key; returns its last word as it is: ports, class, protocol, version, presence. */
INLINE uint64_t prepare_one(const fc_forest *f, const fc_key *k, uint32_t i, work *w, int lanes, int permuted)
{
    uint64_t tail = fc_load64(&k->source_port), *words = w->words + i * STRIDE(lanes, permuted);
    if (lanes == 8) {
        words[0] = k->source[1] << 32 | (uint32_t)k->destination[1];
        words[1] = tail; /* version and presence give way to the virtual bits in mark_ports */
        return tail;
    }
    uint64_t virtual = (uint64_t)(k->source_port >= 1024) << 48 | (uint64_t)(k->destination_port >= 1024) << 49;
    if (lanes == 16 && !permuted) {
        words[0] = k->source[1] << 32 | (uint32_t)k->destination[1];
        words[1] = (tail & 0xffffffffffff) | virtual;
        words[2] = fc_load64(&k->flow_label);
        words[3] = tail >> 24 & 0xff00;
        return tail;
    }
    memcpy(words, k, 40);
    words[5] = (tail & 0xffffffffffff) | virtual;
    words[6] = tail >> 24 & 0xff00;
    if (permuted) {
        uint16_t *to = w->lanes + i * 16;
        const uint16_t *from = (const uint16_t *)words;
        for (int j = 0; j < 15; j++) /* beyond range_lanes: lane 0, against spans that let all pass */
            to[j] = from[f->lane_map[j]];
        to[15] = 0;
    } else {
        words[7] = 0; /* no field: every span lets these lanes pass, but valgrind can't see that */
    }
    return tail;
}

/* All keys of the block: the fields that some key lacks and some rule asks for, or -1 when one has another version. */
INLINE int prepare(const fc_forest *f, const batch *keys, uint32_t n, work *w, int lanes, int permuted)
{
    uint64_t all = UINT64_MAX, any = 0;
    const fc_key *first = keys->keys + keys->from;
    const uint32_t *index = keys->index ? keys->index + keys->from : NULL;
    uint32_t done = lanes == 8 && index == NULL ? prepare_many(first, n, w, &all, &any) : 0;
    for (uint32_t i = done; i < n; i++) {
        const fc_key *k = index ? &keys->keys[index[i]] : &first[i];
        __builtin_prefetch(k + FC_KEYS_AHEAD);
        uint64_t tail = prepare_one(f, k, i, w, lanes, permuted);
        all &= tail;
        any |= tail;
    }
    if (lanes == 8) {
        memset(w->words + 2 * n, 0, 48); /* a vector may take in three keys more */
        mark_ports(w->words + 2 * done, n - done);
    }
    if ((uint8_t)(all >> 48) != f->version || (uint8_t)(any >> 48) != f->version)
        return -1;
    return f->conditions & (uint8_t) ~(all >> 56);
}

INLINE const uint16_t *key_lanes(const work *w, uint32_t i, int lanes, int permuted)
{
    return permuted ? w->lanes + (size_t)i * 16 : (const uint16_t *)(w->words + (size_t)i * STRIDE(lanes, permuted));
}

#ifdef FC_PICKED
#include "lookup_picked.h"
#else
#include "lookup_extracted.h"
#endif

INLINE int accept(const fc_forest *f, const fc_key *key, uint32_t number, uint16_t flags)
{
    return !(flags & 0xff & ~key->present) && (!(flags & FC_BODY_VERIFY) || fc_verify(f, number, key));
}

/* `number`, or none where `no`, without a branch: which keys match is a toss-up, and mistaken branches cost a fourth of
 * the time (fw1, 100k rules). */
INLINE uint32_t number_unless(uint32_t number, int no)
{
    uint32_t mask = -(uint32_t)(no != 0);
    __asm__("" : "+r"(mask));
    return number | mask;
}

/* Rule `number` matches key i (or nothing does: `no` isn't 0): is it the best so far? */
INLINE void offer(const fc_forest *f, work *w, uint32_t i, uint32_t number, int no, int dynamic)
{
    if (!dynamic) {
        number = no ? FC_EMPTY : number;
        w->best[i] = number < w->best[i] ? number : w->best[i];
    } else if (!no) {
        uint64_t rank = f->priority[number];
        int better = rank < w->rank[i] || (rank == w->rank[i] && number < w->best[i]);
        w->rank[i] = better ? rank : w->rank[i];
        w->best[i] = better ? number : w->best[i];
    }
}

/* The same without a branch where that can be. */
INLINE void offer_or_not(const fc_forest *f, work *w, uint32_t i, uint32_t number, int no, int dynamic)
{
    offer(f, w, i, dynamic ? number : number_unless(number, no), dynamic ? no : 0, dynamic);
}

/* Where a node (a slot of kind BITS or RANGE) sends a key. */
INLINE const uint32_t *child_of(const fc_forest *f, uint32_t slot, const uint64_t *words, int lanes)
{
    const uint8_t *p = f->arena + (size_t)FC_PAYLOAD(slot) * 64;
    if (slot >> 30 == FC_BITS) {
        const fc_bits *node = (const fc_bits *)p;
        return node->slot + node_index(node, words, lanes);
    }
    const fc_range *node = (const fc_range *)p;
    return node->slot + interval(node->threshold, ((const uint16_t *)words)[node->lane]);
}

/* Heads of nodes are asked for so many keys ahead: acl2 of 100k rules +5 %; 32 and 64 gain 3. */
#define FC_NODES_AHEAD 16u

INLINE void prefetch_node(const fc_forest *f, uint32_t slot)
{
    __builtin_prefetch(f->arena + (size_t)FC_PAYLOAD(slot) * 64);
}

/* Nodes: a round finds the child of each, and deals the children's slots again. In the first tree no key has an answer
 * yet. */
INLINE void walk_nodes(const fc_forest *f, work *w, int lanes, int permuted, int dynamic, int first)
{
    list now;
    while (w->node.n) {
        uint32_t n = w->node.n;
        for (uint32_t j = 0; j < n && j < FC_NODES_AHEAD; j++)
            prefetch_node(f, w->node.slot[j]);
        memcpy(now.key, w->node.key, 4 * n);
        memcpy(now.slot, w->node.slot, 4 * n);
        w->node.n = 0;
        const uint32_t *at[FC_STAGE];
        for (uint32_t j = 0; j < n; j++) {
            if (j + FC_NODES_AHEAD < n)
                prefetch_node(f, now.slot[j + FC_NODES_AHEAD]);
            at[j] = child_of(f, now.slot[j], w->words + (size_t)now.key[j] * STRIDE(lanes, permuted), lanes);
            __builtin_prefetch(at[j]);
        }
        uint32_t slot[FC_STAGE + 16], limit[FC_STAGE + 16];
        for (uint32_t j = 0; j < n; j++)
            slot[j] = FC_SLOT_AT(at[j]);
        for (uint32_t j = 0; j < n && !first; j++)
            limit[j] = dynamic ? FC_EMPTY : w->best[now.key[j]];
        sort_slots(w, now.key, first ? w->best : limit, slot, n);
    }
}

/* Keys, read all at once, come from memory at its own pace, while all else waits. So the next piece's are asked for,
 * into the second-level cache, a line with each comparison of this piece's: each loop over n of these asks for line j
 * with its j-th (decision 0030). */
INLINE void ask_ahead(const uint8_t *ahead, size_t line, uint32_t j) { __builtin_prefetch(ahead + j * line, 0, 2); }

INLINE const uint8_t *take_ahead(work *w, uint32_t n)
{
    const uint8_t *ahead = w->ahead;
    w->ahead += n * w->line;
    return ahead;
}

/* Short bodies, where a look-up may use them: of fields that a key lacks they know nothing. */
INLINE const uint16_t *shorts_of(const fc_forest *f, int lanes, int careful, int dynamic)
{
    return lanes == 32 && !careful && !dynamic ? f->shorts : NULL;
}

INLINE void prefetch_body(const fc_forest *f, const uint16_t *shorts, uint32_t number, int lanes)
{
    if (shorts) {
        __builtin_prefetch(shorts + (size_t)number * FC_SHORT_LANES);
        return;
    }
    const uint16_t *body = f->bodies + (size_t)number * 2 * (uint32_t)lanes;
    __builtin_prefetch(body);
    if (lanes == 32)
        __builtin_prefetch(body + 32);
}

INLINE void prefetch_leaf(const fc_forest *f, uint32_t slot, int lanes)
{
    const uint8_t *p = f->arena + (size_t)FC_LEAF_OFFSET(slot) * (lanes == 32 ? 16 : 64);
    __builtin_prefetch(p);
    if (lanes < 32)
        __builtin_prefetch(p + 64);
}

INLINE int rule_fails(const fc_forest *f, const uint16_t *shorts, const uint16_t *key, uint32_t number, int lanes)
{
    if (shorts)
        return short_fails(key, shorts + (size_t)number * FC_SHORT_LANES, f->short_spans);
    return body_fails(lanes, key, f->bodies + (size_t)number * 2 * (uint32_t)lanes);
}

INLINE void match_ones(const fc_forest *f, const batch *keys, work *w, int lanes, int permuted, int careful,
                       int dynamic)
{
    const uint16_t *shorts = shorts_of(f, lanes, careful, dynamic);
    const size_t line = w->line;
    const uint8_t *ahead = take_ahead(w, w->one.n);
    for (uint32_t j = 0; j < FC_AHEAD; j++)
        w->one.slot[w->one.n + j] = 0; /* so that no look-up asks whether there is a body to prefetch */
    for (uint32_t j = 0; j < w->one.n; j++) {
        uint32_t i = w->one.key[j], number = w->one.slot[j];
        prefetch_body(f, shorts, w->one.slot[j + FC_AHEAD], lanes);
        ask_ahead(ahead, line, j);
        int no = rule_fails(f, shorts, key_lanes(w, i, lanes, permuted), number, lanes);
        if (careful && !no)
            no = !accept(f, key_at(keys, w, i, lanes), number,
                         f->bodies[((size_t)number * 2 + 2) * (uint32_t)lanes - 1]);
        offer_or_not(f, w, i, number, no, dynamic);
    }
}

/* The number of the body whose last lane is `at`, in a block of `all` lanes. */
INLINE uint32_t number_in(const uint16_t *block, size_t at, size_t all)
{
    return fc_body_number(block[at], block[all + at]);
}

/* The marked bodies of a block of `all` lanes: the first that is accepted is the leaf's answer. Returns whether there
 * was one. */
INLINE int take_first(const fc_forest *f, const batch *keys, work *w, uint32_t i, const uint16_t *block, uint32_t all,
                      int lanes, uint32_t marks, int dynamic)
{
    for (; marks; marks &= marks - 1) {
        uint32_t at = (uint32_t)__builtin_ctz(marks), number = number_in(block, at, all);
        if (accept(f, key_at(keys, w, i, lanes), number, block[all + at])) {
            offer(f, w, i, number, 0, dynamic);
            return 1;
        }
    }
    return 0;
}

/* The first of the marked bodies, whose keys need no more than their lanes. */
INLINE void offer_first(const fc_forest *f, work *w, uint32_t i, const uint16_t *block, uint32_t all, uint32_t marks,
                        int dynamic)
{
    uint32_t at = (uint32_t)__builtin_ctz(marks | 1u << (all - 1));
    offer_or_not(f, w, i, number_in(block, at, all), marks == 0, dynamic);
}

INLINE void match_halves(const fc_forest *f, const batch *keys, work *w, int careful, int dynamic)
{
    const size_t line = w->line;
    const uint8_t *ahead = take_ahead(w, w->half.n);
    for (uint32_t j = 0; j < w->half.n; j++) {
        uint32_t i = w->half.key[j];
        ask_ahead(ahead, line, j);
        const uint16_t *block = (const uint16_t *)(f->arena + (size_t)FC_LEAF_OFFSET(w->half.slot[j]) * 64);
        uint32_t marks = half_matches(key_lanes(w, i, 8, 0), block);
        if (careful)
            take_first(f, keys, w, i, block, 16, 8, marks, dynamic);
        else
            offer_first(f, w, i, block, 16, marks, dynamic);
    }
}

/* ---- Bit vectors (vector.c): rare, so one key at a time and apart from the stages --------------- */

INLINE int body_of_fails(const fc_forest *f, const uint16_t *key, const uint16_t *body)
{
    return f->lanes == 8    ? body_fails(8, key, body)
           : f->lanes == 16 ? body_fails(16, key, body)
                            : body_fails(32, key, body);
}

FC_TARGET static __attribute__((noinline)) void search_vector(const fc_forest *f, const fc_key *key, work *w,
                                                              uint32_t i, const uint16_t *lanes, const fc_vector *v)
{
    const uint64_t *row[8];
    uint64_t both[8 * FC_MEET] __attribute__((aligned(64)));
    const uint32_t *numbers = fc_vector_numbers(v);
    int dynamic = f->priority != NULL;
    fc_vector_rows(v, key, row);
    for (uint32_t b = 0; b < v->blocks; b += FC_MEET) {
        uint32_t n = v->blocks - b < FC_MEET ? v->blocks - b : FC_MEET;
        for (uint32_t some = meet((const uint64_t *const *)row, v->fields, b, n, both); some; some &= some - 1) {
            uint32_t q = (uint32_t)__builtin_ctz(some);
            for (uint64_t bits = both[q]; bits; bits &= bits - 1) {
                const uint32_t *at = numbers + 512 * (size_t)b + 64 * q + (uint32_t)__builtin_ctzll(bits);
                uint32_t number = __atomic_load_n(at, __ATOMIC_RELAXED);
                if (number == FC_EMPTY)
                    continue;
                if (dynamic ? f->priority[number] > w->rank[i] : number >= w->best[i])
                    return;
                const uint16_t *body = f->bodies + (size_t)number * 2 * f->lanes;
                if (!body_of_fails(f, lanes, body) && accept(f, key, number, body[2 * f->lanes - 1])) {
                    offer(f, w, i, number, 0, dynamic);
                    return;
                }
            }
        }
    }
}

/* Answers from the leaves that have vectors; those without any other rules leave the list. */
FC_TARGET static __attribute__((noinline)) void search_vectors(const fc_forest *f, const batch *keys, work *w)
{
    const uint16_t *lanes = f->permuted ? w->lanes : (const uint16_t *)w->words;
    uint32_t stride = f->permuted ? 16 : 4 * STRIDE(f->lanes, 0), kept = 0;
    for (uint32_t j = 0; j < w->leaf.n; j++) {
        uint32_t i = w->leaf.key[j], slot = w->leaf.slot[j];
        fc_leaf_at leaf = fc_leaf_open(f, slot);
        if (leaf.vector)
            search_vector(f, key_at(keys, w, i, f->lanes), w, i, lanes + i * stride, leaf.vector);
        w->leaf.key[kept] = i;
        w->leaf.slot[kept] = slot;
        kept += leaf.n > 0;
    }
    w->leaf.n = kept;
}

/* A leaf that has blocks: where they are, and how many (numbers of bodies, where a body has 32 lanes). */
INLINE const uint8_t *leaf_blocks(const fc_forest *f, uint32_t slot, int lanes, uint32_t *blocks)
{
    const size_t unit = lanes == 32 ? 16 : 64;
    const uint8_t *at = f->arena + FC_LEAF_OFFSET(slot) * unit;
    *blocks = FC_LEAF_BLOCKS(slot);
    if (__builtin_expect(*blocks == FC_LEAF_LONG, 0)) {
        memcpy(blocks, at, 4);
        at += unit;
    }
    return at;
}

/* Rounds over the leaves, a block each: those without a match that have another block stay. */
INLINE void match_leaves(const fc_forest *f, const batch *keys, work *w, int lanes, int permuted, int careful,
                         int dynamic)
{
    const uint8_t *at[FC_STAGE + FC_AHEAD];
    uint32_t left[FC_STAGE], more[FC_STAGE], stay[FC_STAGE]; /* left: blocks after this one; more: are there any? */
    uint32_t n = w->leaf.n, *key = w->leaf.key, any_long = 0;
    for (uint32_t j = 0; j < n; j++) {
        uint32_t slot = w->leaf.slot[j], blocks = FC_LEAF_BLOCKS(slot);
        at[j] = f->arena + (size_t)FC_LEAF_OFFSET(slot) * 64;
        left[j] = blocks - 1;
        more[j] = blocks > 1;
        any_long |= blocks == FC_LEAF_LONG;
    }
    for (uint32_t j = 0; any_long && j < n; j++) {
        at[j] = leaf_blocks(f, w->leaf.slot[j], lanes, &left[j]);
        left[j]--;
        more[j] = left[j] > 0;
    }
    const size_t line = w->line;
    while (n) {
        const uint8_t *ahead = take_ahead(w, n);
        uint32_t kept = 0;
        for (uint32_t j = 0; j < FC_AHEAD; j++)
            at[n + j] = f->arena;
        for (uint32_t j = 0; j < n; j++) {
            uint32_t i = key[j];
            const uint16_t *block = (const uint16_t *)at[j];
            __builtin_prefetch(at[j + FC_AHEAD]);
            __builtin_prefetch(at[j + FC_AHEAD] + 64);
            ask_ahead(ahead, line, j);
            uint32_t marks = block_matches(lanes, key_lanes(w, i, lanes, permuted), block);
            if (careful)
                marks = (uint32_t)take_first(f, keys, w, i, block, 32, lanes, marks, dynamic);
            else
                offer_first(f, w, i, block, 32, marks, dynamic);
            stay[kept] = j;
            kept += marks < more[j];
        }
        for (n = 0; n < kept; n++) {
            uint32_t j = stay[n];
            key[n] = key[j];
            left[n] = left[j] - 1;
            more[n] = left[n] > 0;
            at[n] = at[j] + 128;
            __builtin_prefetch(at[n]);
            __builtin_prefetch(at[n] + 64);
        }
    }
}

/* Leaves of 32-lane bodies are lists of numbers: rounds again, a body each, the next one's memory asked for meanwhile.
 */
INLINE void match_lists(const fc_forest *f, const batch *keys, work *w, int careful, int dynamic)
{
    const uint16_t *shorts = shorts_of(f, 32, careful, dynamic);
    const uint32_t *at[FC_STAGE];
    uint32_t left[FC_STAGE];
    uint32_t n = w->leaf.n;
    for (uint32_t j = 0; j < n; j++) {
        at[j] = (const uint32_t *)leaf_blocks(f, w->leaf.slot[j], 32, &left[j]);
        prefetch_body(f, shorts, *at[j], 32);
    }
    const size_t line = w->line;
    while (n) {
        const uint8_t *ahead = take_ahead(w, n);
        uint32_t kept = 0;
        for (uint32_t j = 0; j < n; j++) {
            uint32_t i = w->leaf.key[j], number = *at[j], more = left[j] - 1;
            ask_ahead(ahead, line, j);
            int no = rule_fails(f, shorts, key_lanes(w, i, 32, 0), number, 32);
            if (careful && !no)
                no = !accept(f, key_at(keys, w, i, 32), number, f->bodies[(size_t)number * 64 + 63]);
            offer_or_not(f, w, i, number, no, dynamic);
            const uint32_t *next = at[j] + (more > 0);
            prefetch_body(f, shorts, *next, 32);
            w->leaf.key[kept] = i;
            at[kept] = next;
            left[kept] = more;
            kept += (no != 0) & (more > 0) & (dynamic || *next < w->best[i]);
        }
        n = kept;
    }
}

/* keep_worse where numbers are no ranks: with no limit on the numbers to look at. */
INLINE uint32_t keep_hopeful(work *w, uint32_t n, uint64_t best)
{
    uint32_t m = 0;
    for (uint32_t j = 0; j < n; j++) {
        w->active[m] = j;
        w->limit[m] = FC_EMPTY;
        m += w->rank[j] >= best;
    }
    return m;
}

/* Keys that trees from t on may better wait for those of the next pieces where they are few: a later tree's nodes and
 * leaves have rounds of two or three keys, each of which ends with a mistaken branch (IPv6 of 10k rules +2 to +10 %,
 * IPv4 +1 to +5 %). Returns whether they wait. */
INLINE int put_off(work *w, const batch *keys, int t, const uint32_t *open, uint32_t n, uint32_t of, int lanes,
                   int permuted, int careful)
{
    const uint32_t stride = STRIDE(lanes, permuted);
    if (w->late_from == 0 && 2 * n <= of)
        w->late_from = t;
    if (w->late_from != t || w->late + n > PIECE(lanes))
        return 0;
    for (uint32_t j = 0; j < n; j++) {
        uint32_t i = open[j], to = LATE(lanes) + w->late;
        memcpy(w->words + to * stride, w->words + i * stride, 8 * stride);
        if (permuted)
            memcpy(w->lanes + to * 16, w->lanes + i * 16, 32);
        w->best[to] = w->best[i];
        w->late_at[w->late++] = keys->from + i;
    }
    w->late_careful |= careful;
    return 1;
}

/* The root's slots for n keys, those in `active` or, where that is NULL, the first. */
INLINE void find_roots(const fc_tree *tree, work *w, const uint32_t *active, uint32_t n, int lanes, int permuted,
                       int dynamic)
{
    index_roots(tree, w, active, n, lanes, permuted);
    read_slots(tree->slot, w->slot, n, dynamic);
}

/* All trees for a piece of n keys (t is 0), or those from t on for the n keys that wait. more: the call has more than
 * one piece, so that keys may wait. */
INLINE void run(const fc_forest *f, const batch *keys, int t, uint32_t n, work *w, int lanes, int permuted, int careful,
                int dynamic, int vectors, int more)
{
    const int piece = t == 0;
    const uint32_t *open = piece ? NULL : counting + LATE(lanes); /* keys that a later tree may better; NULL: all */
    uint32_t n_open = n;
    w->line = piece && keys->index == NULL && more ? 64 : 0;
    w->ahead = w->line ? (const uint8_t *)(keys->keys + keys->from + n) : f->arena;
    for (; t < f->trees; t++) {
        const fc_tree *tree = &f->tree[t];
        const uint32_t *active = counting, *limit = w->best; /* the first tree: all keys, with no answer yet */
        uint32_t m = n;
        if (t > 0 && piece && !dynamic) {
            const int rivals = t == 1 && f->rivals != NULL, wait = more && (w->late_from == 0 || w->late_from == t);
            if (rivals || wait) {
                n_open = keep_worse(w->open, w->limit, open, n_open, w->best, tree->best_on);
                open = w->open;
            }
            if (rivals)
                n_open = keep_open(w->open, w->open, w->limit, n_open, f->rivals, f->n);
            if (wait && put_off(w, keys, t, open, n_open, n, lanes, permuted, careful))
                return;
        }
        if (t > 0) {
            active = w->active;
            limit = w->limit;
            m = dynamic ? keep_hopeful(w, n, __atomic_load_n(&tree->best_priority, __ATOMIC_RELAXED))
                        : keep_worse(w->active, w->limit, open, n_open, w->best, tree->best);
        }
        if (t == 0)
            find_roots(tree, w, NULL, m, lanes, permuted, dynamic);
        else
            find_roots(tree, w, active, m, lanes, permuted, dynamic);
        w->one.n = w->half.n = w->leaf.n = w->node.n = 0;
        sort_slots(w, active, limit, w->slot, m);
        for (uint32_t j = 0; j < w->one.n && j < FC_AHEAD; j++)
            prefetch_body(f, shorts_of(f, lanes, careful, dynamic), w->one.slot[j], lanes);
        walk_nodes(f, w, lanes, permuted, dynamic, t == 0);
        for (uint32_t j = 0; j < w->half.n; j++)
            __builtin_prefetch(f->arena + (size_t)FC_LEAF_OFFSET(w->half.slot[j]) * 64);
        for (uint32_t j = 0; j < w->leaf.n && (lanes == 32 || j < FC_AHEAD); j++)
            prefetch_leaf(f, w->leaf.slot[j], lanes);
        match_ones(f, keys, w, lanes, permuted, careful, dynamic);
        if (vectors)
            search_vectors(f, keys, w);
        if (lanes == 8)
            match_halves(f, keys, w, careful, dynamic);
        if (lanes < 32)
            match_leaves(f, keys, w, lanes, permuted, careful, dynamic);
        else
            match_lists(f, keys, w, careful, dynamic);
    }
}

/* ---- A few keys: one after the other, no lists. Twice as fast for one key, even at 8. ----------- */

INLINE uint32_t one_slot(const fc_forest *f, const fc_tree *tree, const uint64_t *words, int lanes)
{
    uint32_t slot = FC_SLOT_AT(tree->slot + root_index(tree, words, lanes));
    while (slot >> 30 >= FC_BITS)
        slot = FC_SLOT_AT(child_of(f, slot, words, lanes));
    return slot;
}

INLINE void one_leaf(const fc_forest *f, const batch *keys, work *w, uint32_t i, uint32_t slot, int lanes, int permuted,
                     int dynamic, int vectors)
{
    const uint16_t *key = key_lanes(w, i, lanes, permuted);
    fc_leaf_at leaf = fc_leaf_open(f, slot);
    if (vectors && leaf.vector)
        search_vector(f, key_at(keys, w, i, lanes), w, i, key, leaf.vector);
    if (lanes == 32) {
        for (uint32_t k = 0; k < leaf.n; k++) {
            uint32_t number = ((const uint32_t *)leaf.data)[k];
            const uint16_t *body = f->bodies + (size_t)number * 64;
            if (!body_fails(32, key, body) && accept(f, key_at(keys, w, i, lanes), number, body[63])) {
                offer(f, w, i, number, 0, dynamic);
                return;
            }
        }
    } else if (lanes == 8 && FC_LEAF_BLOCKS(slot) == 0) {
        const uint16_t *block = (const uint16_t *)leaf.data;
        take_first(f, keys, w, i, block, 16, 8, half_matches(key, block), dynamic);
    } else {
        const int per = lanes == 8 ? 4 : 2;
        for (uint32_t k = 0; k < leaf.n; k += (uint32_t)per) {
            const uint16_t *block = (const uint16_t *)leaf.data + (size_t)(k / (uint32_t)per) * 64;
            if (take_first(f, keys, w, i, block, 32, lanes, block_matches(lanes, key, block), dynamic))
                return;
        }
    }
}

INLINE void run_few(const fc_forest *f, const batch *keys, uint32_t n, work *w, int lanes, int permuted, int dynamic,
                    int vectors)
{
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t *words = w->words + i * STRIDE(lanes, permuted);
        for (int t = 0; t < f->trees; t++) {
            const fc_tree *tree = &f->tree[t];
            if (dynamic ? __atomic_load_n(&tree->best_priority, __ATOMIC_RELAXED) > w->rank[i]
                        : tree->best >= w->best[i])
                continue;
            if (t == 1 && !dynamic && f->rivals != NULL && !fc_is_open(f->rivals, f->n, w->best[i]))
                break;
            uint32_t slot = one_slot(f, tree, words, lanes);
            if (slot >> 30 == FC_LEAF) {
                one_leaf(f, keys, w, i, slot, lanes, permuted, dynamic, vectors);
            } else if (slot < (dynamic ? FC_EMPTY : w->best[i])) {
                const uint16_t *body = f->bodies + (size_t)slot * 2 * (uint32_t)lanes;
                int no = body_fails(lanes, key_lanes(w, i, lanes, permuted), body) ||
                         !accept(f, key_at(keys, w, i, lanes), slot, body[2 * lanes - 1]);
                offer(f, w, i, slot, no, dynamic);
            }
        }
    }
}

/* Keys of one layout, in pieces. Returns how many are done: all, or those before a piece with a key of another version.
 */
INLINE uint32_t look_up_lanes(const fc_forest *f, const fc_key *keys, const uint32_t *index, uint32_t n, uint32_t *best,
                              int lanes, int permuted, int dynamic, int vectors)
{
    work w;
    batch in = {keys, index, 0};
    w.late = 0;
    w.late_from = w.late_careful = 0;
    for (;;) {
        uint32_t m = n - in.from < PIECE(lanes) ? n - in.from : PIECE(lanes);
        int t = 0, careful;
        if (m == 0 && w.late == 0)
            return n;
        if (m == 0 || w.late > PIECE(lanes) / 2) { /* room for half a piece's keys to wait */
            t = w.late_from;
            careful = w.late_careful;
        } else {
            for (uint32_t i = 0; i < m; i++) {
                w.best[i] = FC_EMPTY;
                if (dynamic)
                    w.rank[i] = UINT64_MAX;
            }
            int lacking = prepare(f, &in, m, &w, lanes, permuted);
            if (lacking < 0) {
                n = in.from; /* only those that wait are left to do */
                continue;
            }
            careful = lacking || f->verify || (vectors && !dynamic);
        }
        if (t == 0 && m <= FEW)
            run_few(f, &in, m, &w, lanes, permuted, dynamic, vectors);
        else if (careful)
            run(f, &in, t, t ? w.late : m, &w, lanes, permuted, 1, dynamic, vectors, n > PIECE(lanes));
        else
            run(f, &in, t, t ? w.late : m, &w, lanes, permuted, 0, dynamic, vectors, n > PIECE(lanes));
        if (t == 0) {
            memcpy(best + in.from, w.best, 4 * m);
            in.from += m;
        } else {
            for (uint32_t j = 0; j < w.late; j++)
                best[w.late_at[j]] = w.best[LATE(lanes) + j];
            w.late = 0;
        }
    }
}

/* Each layout in a function of its own, and those for forests that take updates or have vectors apart: one function for
 * all cost the others 2 to 4 % (IPv6, AVX-512). */
#define FC_LOOKUP_OF(name, lanes, permuted, dynamic, vectors)                                                   \
    FC_TARGET static __attribute__((noinline)) uint32_t name(const fc_forest *f, const fc_key *keys,            \
                                                             const uint32_t *index, uint32_t n, uint32_t *best) \
    {                                                                                                           \
        return look_up_lanes(f, keys, index, n, best, lanes, permuted, dynamic, vectors);                       \
    }
#define FC_LOOKUPS_OF(kind, dynamic, vectors)                         \
    FC_LOOKUP_OF(look_up_8_##kind, 8, 0, dynamic, vectors)            \
    FC_LOOKUP_OF(look_up_16_##kind, 16, 0, dynamic, vectors)          \
    FC_LOOKUP_OF(look_up_16_permuted_##kind, 16, 1, dynamic, vectors) \
    FC_LOOKUP_OF(look_up_32_##kind, 32, 0, dynamic, vectors)
FC_LOOKUPS_OF(plain, 0, 0)
FC_LOOKUPS_OF(vectors, 0, 1)
FC_LOOKUPS_OF(dynamic, 1, 1)

FC_TARGET uint32_t FC_LOOKUP(const fc_forest *f, const fc_key *keys, const uint32_t *index, uint32_t n, uint32_t *best)
{
    static fc_lookup_fn *const way[3][4] = {
        {look_up_8_plain, look_up_16_plain, look_up_16_permuted_plain, look_up_32_plain},
        {look_up_8_vectors, look_up_16_vectors, look_up_16_permuted_vectors, look_up_32_vectors},
        {look_up_8_dynamic, look_up_16_dynamic, look_up_16_permuted_dynamic, look_up_32_dynamic}};
    int kind = f->priority != NULL ? 2 : f->vectors, layout = f->lanes == 8 ? 0 : f->lanes == 32 ? 3 : 1 + f->permuted;
    return way[kind][layout](f, keys, index, n, best);
}
