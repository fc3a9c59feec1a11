/* tally.c - makes a summary without rows: from the octets of a capture to counts of decisions, in one pass.
 *
 *      octets --> records --> marks --> packets by mark --> keys --> packets by decision
 *              capture.c   head.h,      `seen`, a cache   parse.c    `slots`, all of them
 *                          parse.c
 *
 * Packets are handled in blocks so small that they stay in the processor's nearest caches from the record header to the
 * count. Most packets of a trace have a key that came before, so packets are counted first by what tells their keys
 * apart, in `seen`: by their heads, or where they have none, by their keys. These are their marks. One is decided,
 * together with others, when a new one takes its place there, or at the end; its packets and octets are then added to
 * its decision's.
 *
 * Where a mark is in the cache is found in three steps over a block, so that none waits for memory: its hash, which
 * says what set it belongs to; the tags of the set, 15 bits of the hash of each of its four marks, which say which line
 * to look at; that line, which is compared as a whole.
 *
 * Measured, ns a packet (length 96, 50,000 connections): 110 in whole batches, each step over 16,384 packets with numpy
 * between the steps (140 octets of each packet went to the second-level cache and back with every step); 97 in blocks;
 * 38 with the cache, where all connections are alike 52; with tags 0.86 and 0.83 of that, with heads and more sets 0.93
 * and 0.84 of these (docs/decisions/0020). */
#include <stdlib.h>
#include <string.h>

#include "../common/memory.h"
#include "../common/wide.h"
#include "../packet/head.h"
#include "tally.h"

#define TALLY_BLOCK 256u
#define FIRST_SLOTS 1024u   /* at most half of them full */
#ifndef FC_TALLY_FIRST_BITS /* smaller for fuzzing: there each tally is new */
#define FC_TALLY_FIRST_BITS 13
#define FC_TALLY_MOST_BITS 15
#endif
/* Sets of four marks each. There are 2 MiB of them, and 8 MiB once so many marks had to leave that a quarter of the 2
 * MiB would have held them; the hardware keeps the busy ones near. Their tags, at most 256 KiB, say which line of a set
 * is the one to look at. */
#define WAYS 4u
#define MOST_SETS ((size_t)1 << FC_TALLY_MOST_BITS)
#define TOGETHER 1024u  /* keys that are decided together */
#define LINES_AHEAD 32u /* marks whose line is being fetched while others are counted */

/* What packets are alike by: their head (packet/head.h), or the key of packets that have none. Octet 47 says which: it
 * is `present` in a key, and 0 in a head. */
typedef union mark {
    uint64_t words[FC_HEAD_WORDS];
    fc_key key;
} mark;

/* A mark and the totals of its packets, in one line: a time is counted in 40 bits from `base`, of 18 minutes. Packets
 * outside of these are decided one by one until there are STRAYS of them; then `base` is moved. */
typedef struct seen {
    mark mark;
    uint64_t since; /* first time << 24 | packets; 0: nothing is here */
    uint64_t until; /* last time << 24 | octets and packets together, so that packets alone can't overflow */
} seen;
#define LOW 0xffffffu
#define NEVER (((uint64_t)1 << 40) - 1) /* in both: no packet has a time */
#define BEFORE (NEVER / 4)              /* how far `base` is before the packet that it is chosen by */
#define STRAYS 65536u

typedef struct slot {
    fc_decision decision;
    fc_total total; /* no packets: free */
} slot;

_Static_assert(sizeof(seen) == 64 && sizeof(slot) == 64, "a line each");
_Static_assert(offsetof(fc_key, present) == 47 && sizeof(fc_key) == 48, "tells keys from heads");

/* Keys to be decided, each with the totals of its packets. */
typedef struct waiting {
    fc_key keys[TOGETHER];
    fc_packet infos[TOGETHER];
    fc_total totals[TOGETHER];
    size_t count;
} waiting;

struct fc_tally {
    seen *seen;
    uint64_t *tags;    /* a word a set: the tags of its marks, 15 bits each, and whose turn it is to go (turn_of) */
    unsigned set_bits; /* log2 of how many sets there are */
    uint32_t left;     /* marks that had to leave */
    slot *slots;       /* open addressing */
    unsigned shift;    /* 64 less log2 of how many */
    int64_t base;      /* times in `seen` are counted from here */
    uint32_t strays;
    int used; /* whether anything was ever put into `seen` */
    fc_tally_totals totals;
    fc_records records;
    uint64_t offsets[TALLY_BLOCK];
    int64_t times[TALLY_BLOCK];
    uint32_t lengths[TALLY_BLOCK], originals[TALLY_BLOCK], interfaces[TALLY_BLOCK];
    uint16_t linktypes[TALLY_BLOCK];
    mark marks[TALLY_BLOCK];      /* of the block's packets that have a place in the cache */
    uint64_t hashes[TALLY_BLOCK]; /* of these marks */
    uint16_t which[TALLY_BLOCK];  /* and the numbers of their packets */
    fc_decision decisions[TOGETHER];
    waiting waiting;
    fc_tally_unread unread[FC_TALLY_UNREAD + 1]; /* the last one is for all others */
    size_t n_unread;
};

static size_t sets_of(const fc_tally *t) { return (size_t)1 << t->set_bits; }
static size_t slots_of(const fc_tally *t) { return (size_t)1 << (64 - t->shift); }

static void *lines(size_t n)
{
    void *p = fc_big_alloc(64 * n);
    if (p)
        memset(p, 0, 64 * n);
    return p;
}

int fc_tally_new(fc_tally **out)
{
    fc_tally *t = calloc(1, sizeof *t);
    if (!t)
        return FC_ENOMEM;
    t->strays = STRAYS - 1; /* the first time sets `base` */
    t->shift = 64 - (unsigned)__builtin_ctz(FIRST_SLOTS);
    t->slots = lines(FIRST_SLOTS);
    t->set_bits = FC_TALLY_FIRST_BITS;
    t->seen = fc_zeros(MOST_SETS * WAYS * sizeof *t->seen);
    t->tags = fc_zeros(MOST_SETS * sizeof *t->tags);
    if (!t->slots || !t->seen || !t->tags) {
        fc_tally_free(t);
        return FC_ENOMEM;
    }
    t->records =
        (fc_records){t->offsets, t->lengths, t->originals, t->times, t->linktypes, t->interfaces, TALLY_BLOCK, 0};
    *out = t;
    return FC_OK;
}

void fc_tally_free(fc_tally *t)
{
    if (!t)
        return;
    if (t->seen)
        fc_unreserve(t->seen, MOST_SETS * WAYS * sizeof *t->seen);
    if (t->tags)
        fc_unreserve(t->tags, MOST_SETS * sizeof *t->tags);
    fc_big_free(t->slots);
    free(t);
}

void fc_tally_get(const fc_tally *t, fc_tally_totals *out) { *out = t->totals; }

/* ---- By decision -------------------------------------------------------------------------------- */

/* The slot where the search for a decision begins. The hash needs no secret, because there are no more different
 * decisions than bindings, whatever packets arrive. It is over octets 0 to 15, which say what was decided and by which
 * node; the other octets depend on these. */
static size_t slot_of(const fc_tally *t, const fc_decision *d)
{
    uint64_t words[2];
    memcpy(words, d, sizeof words);
    uint64_t h = (words[0] ^ words[0] >> 31) * FC_GOLDEN + words[1] * 0xd6e8feb86659fd93u;
    return (h ^ h >> 29) * FC_GOLDEN >> t->shift;
}

static int same_decision(const fc_decision *a, const fc_decision *b)
{
    uint64_t x[4], y[4];
    memcpy(x, a, sizeof x);
    memcpy(y, b, sizeof y);
    return ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3])) == 0;
}

/* The slot of a decision, or the free one where it belongs. */
static slot *find_slot(const fc_tally *t, const fc_decision *d, size_t at)
{
    size_t mask = slots_of(t) - 1;
    while (t->slots[at].total.packets && !same_decision(&t->slots[at].decision, d))
        at = (at + 1) & mask;
    return &t->slots[at];
}

static int more_slots(fc_tally *t, size_t more)
{
    while (2 * (t->totals.decisions + more) > slots_of(t)) {
        size_t n = slots_of(t);
        slot *old = t->slots, *slots = lines(2 * n);
        if (!slots)
            return FC_ENOMEM;
        t->slots = slots;
        t->shift--;
        for (size_t i = 0; i < n; i++)
            if (old[i].total.packets)
                *find_slot(t, &old[i].decision, slot_of(t, &old[i].decision)) = old[i];
        fc_big_free(old);
    }
    return FC_OK;
}

/* Decides the keys that wait, and adds their packets and octets to the counts of their decisions. */
static int decide(fc_tally *t, fc_fib *fib)
{
    waiting *w = &t->waiting;
    size_t n = w->count, at[TOGETHER];
    int status = more_slots(t, n);
    if (status == FC_OK)
        status = fc_fib_classify_parsed(fib, w->keys, w->infos, n, FC_KERNEL_AUTO, 1, t->decisions);
    if (status != FC_OK)
        return status;
    for (size_t i = 0; i < n; i++) {
        at[i] = slot_of(t, &t->decisions[i]);
        __builtin_prefetch(&t->slots[at[i]], 1);
    }
    for (size_t i = 0; i < n; i++) {
        slot *s = find_slot(t, &t->decisions[i], at[i]);
        const fc_total *more = &w->totals[i];
        if (!s->total.packets) {
            s->decision = t->decisions[i];
            s->total = *more;
            t->totals.decisions++;
            continue;
        }
        s->total.packets += more->packets;
        s->total.octets += more->octets;
        s->total.first = more->first < s->total.first ? more->first : s->total.first;
        s->total.last = more->last > s->total.last ? more->last : s->total.last;
    }
    w->count = 0;
    return FC_OK;
}

static int put_off(fc_tally *t, fc_fib *fib, const fc_key *key, const fc_packet *info, fc_total total)
{
    waiting *w = &t->waiting;
    if (w->count == TOGETHER) {
        int status = decide(t, fib);
        if (status != FC_OK)
            return status;
    }
    w->keys[w->count] = *key;
    w->infos[w->count].status = info->status;
    w->infos[w->count].flags = info->flags;
    w->totals[w->count++] = total;
    return FC_OK;
}

static fc_total total_of(uint32_t octets, int64_t time)
{
    return (fc_total){1, octets, time == FC_NO_TIME ? INT64_MAX : time, time};
}

static int put_off_mark(fc_tally *t, fc_fib *fib, const mark *m, fc_total total)
{
    static const fc_packet whole;
    fc_key key;
    fc_packet info;
    if (m->key.present)
        return put_off(t, fib, &m->key, &whole, total);
    (void)fc_parse(FC_LINK_RAW, (const uint8_t *)m->words, sizeof m->words, &key, &info);
    return put_off(t, fib, &key, &whole, total);
}

/* Moves what leaves the cache to the keys that wait; does nothing if nothing is in `s`. */
static int leave(fc_tally *t, fc_fib *fib, const seen *s)
{
    uint64_t packets = s->since & LOW, first = s->since >> 24, last = s->until >> 24;
    if (!packets)
        return FC_OK;
    fc_total total = {packets, (s->until & LOW) - packets, INT64_MAX, FC_NO_TIME};
    if (first != NEVER) {
        total.first = t->base + (int64_t)first;
        total.last = t->base + (int64_t)last;
    }
    return put_off_mark(t, fib, &s->mark, total);
}

/* Empties the cache. */
static int leave_all(fc_tally *t, fc_fib *fib)
{
    int status = FC_OK;
    for (size_t i = 0; i < WAYS * sets_of(t) && status == FC_OK; i++) {
        status = leave(t, fib, &t->seen[i]);
        t->seen[i] = (seen){0};
    }
    memset(t->tags, 0, sets_of(t) * sizeof *t->tags);
    return status;
}

int fc_tally_decide(fc_tally *t, fc_fib *fib)
{
    int status = leave_all(t, fib);
    return status == FC_OK ? decide(t, fib) : status;
}

void fc_tally_take(fc_tally *t, fc_decision *decisions, fc_total *totals)
{
    size_t n = 0;
    for (size_t i = 0; i < slots_of(t); i++) {
        slot *s = &t->slots[i];
        if (!s->total.packets)
            continue;
        decisions[n] = s->decision;
        totals[n++] = s->total;
        memset(s, 0, sizeof *s);
    }
    t->totals.decisions = 0;
}

/* ---- Not read ------------------------------------------------------------------------------------ */

static void count_unread(fc_tally *t, const fc_packet *info)
{
    size_t i = 0;
    while (i < t->n_unread && (t->unread[i].unread != info->unread || t->unread[i].value != info->unread_value))
        i++;
    if (i == t->n_unread && i < FC_TALLY_UNREAD)
        t->unread[t->n_unread++] = (fc_tally_unread){info->unread, info->unread_value, 0};
    t->unread[i].packets++;
}

size_t fc_tally_take_unread(fc_tally *t, fc_tally_unread *out)
{
    size_t n = 0;
    for (size_t i = 0; i <= FC_TALLY_UNREAD; i++)
        if (t->unread[i].packets)
            out[n++] = t->unread[i];
    memset(t->unread, 0, sizeof t->unread);
    t->n_unread = 0;
    return n;
}

/* ---- By mark ------------------------------------------------------------------------------------ */

/* Says which set of the cache a mark belongs to, in the upper bits, and its tag, behind them. The hash needs no secret:
 * whoever makes keys collide can only make this as slow as it would be without the cache. The upper bits of the
 * products depend on all bits below. */
static inline uint64_t hash_of(const mark *m)
{
    const uint64_t *w = m->words;
    uint64_t h = (w[0] ^ w[3]) * FC_GOLDEN + (w[1] ^ w[5]) * 0xd6e8feb86659fd93u;
    return h + (w[2] ^ w[4]) * 0xc2b2ae3d27d4eb4fu;
}

static size_t set_of(const fc_tally *t, uint64_t hash) { return hash >> (64 - t->set_bits); }
static uint64_t tag_of(uint64_t hash) { return hash >> (48 - FC_TALLY_MOST_BITS) & 0xfffe; }

/* Which mark of the set goes when the next one comes: two bits that stand beside the tags. They go in turn. */
static unsigned turn_of(uint64_t tags) { return (tags & 1) | (tags >> 15 & 2); }

/* The tags after a mark with this tag took the place of the one whose turn it was. */
static uint64_t tagged(uint64_t tags, uint64_t tag)
{
    const unsigned way = turn_of(tags), next = (way + 1) % WAYS;
    const uint64_t others = tags & ~((uint64_t)0xfffe << 16 * way | 0x10001);
    return others | tag << 16 * way | (next & 1) | (uint64_t)(next & 2) << 15;
}

/* Which mark of the set has this tag, or else, whose turn it is to go. */
static unsigned way_of(uint64_t tags, uint64_t tag)
{
    const uint64_t each = 0x0001000100010001u;
    const uint64_t off = (tags ^ tag * each) & 0xfffe * each;
    const uint64_t same = (off - each) & ~off & 0x8000 * each; /* of the set bits the lowest is right */
    const unsigned way = (unsigned)__builtin_ctzll(same | (uint64_t)1 << 63) >> 4, none = 0u - (same == 0);
    return way ^ ((way ^ turn_of(tags)) & none); /* without a branch, as what is new can't be foreseen */
}

/* Two words, which compilers keep in a vector register. */
typedef uint64_t pair __attribute__((vector_size(16)));

static inline pair pair_at(const mark *m, size_t at)
{
    pair p;
    memcpy(&p, m->words + 2 * at, sizeof p);
    return p;
}

static inline int same_mark(const mark *a, const mark *b)
{
    pair off = (pair_at(a, 0) ^ pair_at(b, 0)) | (pair_at(a, 1) ^ pair_at(b, 1)) | (pair_at(a, 2) ^ pair_at(b, 2));
    return (off[0] | off[1]) == 0;
}

/* Does this packet's decision depend on its key alone, and is it to be counted here? */
static inline int plain(const fc_packet *info)
{
    return !(info->status | (info->flags & (FC_PACKET_SIGNALLING | FC_PACKET_OPEN)));
}

/* Counts a packet that can't be in the cache, and now and then moves the times that can. */
static int count_stray(fc_tally *t, fc_fib *fib, const mark *m, uint32_t octets, int64_t time)
{
    int status = put_off_mark(t, fib, m, total_of(octets, time));
    if (status == FC_OK && time != FC_NO_TIME && ++t->strays == STRAYS) {
        if (t->used) /* not before the first key */
            status = leave_all(t, fib);
        t->strays = 0;
        /* within such bounds that FC_NO_TIME is outside of the times that can be in `seen` */
        const int64_t before = (int64_t)BEFORE, least = INT64_MIN + before, most = INT64_MAX - (int64_t)NEVER;
        t->base = time < least + before ? least : time - before > most ? most : time - before;
    }
    return status;
}

/* Counts a packet whose mark is in the cache, but not as count_seen does. */
__attribute__((noinline)) static int count_again(fc_tally *t, fc_fib *fib, seen *s, uint32_t octets, int64_t time)
{
    uint64_t now = (uint64_t)time - (uint64_t)t->base;
    int timed = time != FC_NO_TIME;
    if ((timed && now >= NEVER) || octets >= LOW)
        return count_stray(t, fib, &s->mark, octets, time);
    if ((s->until & LOW) + octets >= LOW) { /* its counts go */
        int status = leave(t, fib, s);
        if (status != FC_OK)
            return status;
        s->since = s->until = NEVER << 24;
    }
    uint64_t first = s->since >> 24, last = s->until >> 24;
    if (timed) {
        last = first == NEVER || now > last ? now : last;
        first = now < first ? now : first;
    }
    s->since = first << 24 | ((s->since & LOW) + 1);
    s->until = last << 24 | ((s->until & LOW) + octets + 1);
    return FC_OK;
}

/* Counts a packet whose mark was not where its tag said, or had no tag: because it isn't in the cache, or came into it
 * after the tags were looked at, or because another mark has this tag. One that isn't there takes the place of the one
 * whose turn it is to go. */
__attribute__((noinline)) static int count_new(fc_tally *t, fc_fib *fib, uint64_t hash, const mark *m, uint32_t octets,
                                               int64_t time)
{
    const uint64_t tags = t->tags[set_of(t, hash)], lane = 0xfffe;
    seen *set = &t->seen[WAYS * set_of(t, hash)];
    for (unsigned i = 0; i < WAYS; i++)
        if ((tags >> 16 * i & lane) == tag_of(hash) && same_mark(&set[i].mark, m))
            return count_again(t, fib, &set[i], octets, time);
    uint64_t now = (uint64_t)time - (uint64_t)t->base;
    int timed = time != FC_NO_TIME;
    if ((timed && now >= NEVER) || octets >= LOW)
        return count_stray(t, fib, m, octets, time);
    now = timed ? now : NEVER;
    const unsigned way = turn_of(tags);
    t->left += set[way].since != 0;
    int status = leave(t, fib, &set[way]);
    if (status != FC_OK)
        return status;
    t->used = 1;
    set[way] = (seen){*m, now << 24 | 1, now << 24 | (octets + 1)};
    t->tags[set_of(t, hash)] = tagged(tags, tag_of(hash));
    return FC_OK;
}

/* Goes over to the most sets, if many marks had to leave. What was in one set is then in several that begin at or
 * behind it, as the upper bits of a hash say which, so the last set is the first to move. */
static void more_sets(fc_tally *t)
{
    size_t from = sets_of(t);
    if (t->left < WAYS * from / 4 || t->set_bits == FC_TALLY_MOST_BITS)
        return;
    t->set_bits = FC_TALLY_MOST_BITS;
    while (from-- > 0) {
        seen moved[WAYS];
        memcpy(moved, &t->seen[WAYS * from], sizeof moved);
        memset(&t->seen[WAYS * from], 0, sizeof moved);
        t->tags[from] = 0;
        for (unsigned i = 0; i < WAYS; i++) {
            if (!moved[i].since)
                continue;
            const uint64_t hash = hash_of(&moved[i].mark);
            const size_t set = set_of(t, hash);
            t->seen[WAYS * set + turn_of(t->tags[set])] = moved[i];
            t->tags[set] = tagged(t->tags[set], tag_of(hash));
        }
    }
}

/* Counts a packet; at once if its mark is in the cache, at `s`, and it isn't earlier than those before it. */
static inline int count_seen(fc_tally *t, fc_fib *fib, uint64_t hash, seen *s, const mark *m, uint32_t octets,
                             int64_t time)
{
    if (!same_mark(&s->mark, m))
        return count_new(t, fib, hash, m, octets, time);
    uint64_t now = (uint64_t)time - (uint64_t)t->base, more = (s->until & LOW) + octets + 1;
    if (now >= NEVER || more >> 24 || now < s->until >> 24)
        return count_again(t, fib, s, octets, time);
    s->since++;
    s->until = now << 24 | more;
    return FC_OK;
}

/* Counts a packet that isn't in the cache, with this key. */
static int count_odd(fc_tally *t, fc_fib *fib, size_t i, const fc_key *key, const fc_packet *info)
{
    if (info->flags & FC_PACKET_OPEN)
        return FC_OK; /* whoever takes its note counts it */
    if (info->unread)
        count_unread(t, info);
    return put_off(t, fib, key, info, total_of(t->originals[i], t->times[i]));
}

/* Where the mark with this hash is in the cache, or else, will be. */
static inline seen *fetch(const fc_tally *t, uint64_t hash)
{
    const size_t set = set_of(t, hash);
    seen *s = &t->seen[WAYS * set + way_of(t->tags[set], tag_of(hash))];
    __builtin_prefetch(s, 1);
    return s;
}

static inline void hash_mark(fc_tally *t, size_t m)
{
    t->hashes[m] = hash_of(&t->marks[m]);
    __builtin_prefetch(&t->tags[set_of(t, t->hashes[m])]);
}

/* Makes the marks of a block's packets and their hashes, and counts those that have no place in the cache. *marks
 * becomes how many have one. */
static int mark_block(fc_tally *t, fc_fib *fib, const uint8_t *data, size_t size, const fc_parse_options *options,
                      size_t *marks)
{
    const size_t n = t->records.count;
    /* where a head can begin at the latest; with tunnels each packet may have one in it, whatever its head is */
    const uint64_t most = options->inner < 2 && size >= FC_HEAD_ROOM ? size - FC_HEAD_ROOM + 1 : 0;
    const uint64_t *const offsets = t->offsets;
    const uint32_t *const lengths = t->lengths;
    const uint16_t *const linktypes = t->linktypes;
    uint16_t *const which = t->which, keys[TALLY_BLOCK];
    size_t m = 0, n_keys = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t at = offsets[i];
        mark *const to = &t->marks[m];
        if (at < most && fc_take_head(linktypes[i], data + at, lengths[i], to->words)) {
            hash_mark(t, m);
        } else {
            fc_packet info;
            fc_parse_next(linktypes[i], data + at, lengths[i], i, options, &to->key, &info);
            if (!plain(&info)) {
                int status = count_odd(t, fib, i, &to->key, &info);
                if (status != FC_OK)
                    return status;
                continue;
            }
            keys[n_keys++] = (uint16_t)m;
        }
        which[m++] = (uint16_t)i;
    }
    for (size_t i = 0; i < n_keys; i++) /* not at once: words that were stored in pieces can't be loaded yet */
        hash_mark(t, keys[i]);
    *marks = m;
    return FC_OK;
}

static inline int count_mark(fc_tally *t, fc_fib *fib, seen *s, size_t m)
{
    const size_t i = t->which[m];
    return count_seen(t, fib, t->hashes[m], s, &t->marks[m], t->originals[i], t->times[i]);
}

static int count_marks(fc_tally *t, fc_fib *fib, size_t n)
{
    seen *places[TALLY_BLOCK];
    const uint64_t *const hashes = t->hashes;
    const size_t first = n < LINES_AHEAD ? n : LINES_AHEAD;
    for (size_t i = 0; i < first; i++)
        places[i] = fetch(t, hashes[i]);
    for (size_t i = 0; i < n; i++) {
        if (i + LINES_AHEAD < n)
            places[i + LINES_AHEAD] = fetch(t, hashes[i + LINES_AHEAD]);
        const int status = count_mark(t, fib, places[i], i);
        if (status != FC_OK)
            return status;
    }
    return FC_OK;
}

static void add_totals(fc_tally *t)
{
    const size_t n = t->records.count;
    uint64_t octets = 0, cut = 0;
    for (size_t i = 0; i < n; i++) {
        octets += t->originals[i];
        cut += t->lengths[i] < t->originals[i];
    }
    t->totals.packets += n;
    t->totals.octets += octets;
    t->totals.cut += cut;
}

/* ---- The pass ----------------------------------------------------------------------------------- */

int fc_tally_read(fc_tally *t, fc_capture *capture, fc_fib *fib, const fc_parse_options *options, const uint8_t *data,
                  size_t size, int last, size_t *consumed)
{
    fc_records *r = &t->records;
    fc_parse_options timed = *options;
    size_t at = 0, used;
    int status;
    timed.times = r->times;
    do {
        status = fc_capture_read(capture, data + at, size - at, last, r, &used);
        if (status < 0)
            return status;
        add_totals(t);
        more_sets(t);
        size_t marks = 0;
        int counted = mark_block(t, fib, data + at, size - at, &timed, &marks);
        if (options->fragments) {
            fc_fragments_passed(options->fragments, r->count);
            fc_fragments_originals(options->fragments, t->originals, r->count);
        }
        if (counted == FC_OK)
            counted = count_marks(t, fib, marks);
        if (counted != FC_OK)
            return counted;
        at += used;
    } while (status == FC_CAPTURE_FULL && r->count == TALLY_BLOCK);
    *consumed = at;
    return status;
}
