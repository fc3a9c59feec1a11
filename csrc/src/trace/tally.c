/* tally.c - makes a summary without rows: from the octets of a capture to counts of decisions, in one pass.
 *
 *      octets --> records --> keys --> packets by key --> packets by decision
 *              capture.c   parse.c     `seen`, a cache    `slots`, all of them
 *
 * Packets are handled in blocks so small that they stay in the processor's nearest caches from the record header to the
 * count. Most packets of a trace have a key that came before, so packets are counted by key first, in `seen`. A key is
 * decided, together with others, when a new one takes its place there, or at the end; its packets and octets are then
 * added to its decision's.
 *
 * Where a key is in the cache is found in three steps over a block, so that none waits for memory: its hash, which says
 * what set it belongs to; the tags of the set, 15 bits of the hash of each of its four keys, which say which line to
 * look at; that line, which is compared as a whole.
 *
 * Measured, ns a packet (length 96, 50,000 connections): 110 in whole batches, each step over 16,384 packets with numpy
 * between the steps (140 octets of each packet went to the second-level cache and back with every step); 97 in blocks;
 * 38 with the cache, where all connections are alike 52; with tags 0.86 and 0.83 of that, with the changes to capture.c
 * and parse.c of that time (docs/decisions/0020). */
#include <stdlib.h>
#include <string.h>

#include "../common/memory.h"
#include "../common/wide.h"
#include "../packet/packet.h"
#include "tally.h"

#define TALLY_BLOCK 256u
#define FIRST_SLOTS 1024u  /* at most half of them full */
#ifndef FC_TALLY_SETS_BITS /* smaller for fuzzing: there each tally is new */
#define FC_TALLY_SETS_BITS 14
#endif
/* Sets of four keys each, 4 MiB in all: the hardware keeps the busy ones near. With 4,096 sets of two: 52 ns instead of
 * 38. Their tags are 128 KiB, and say which line of a set is the one to look at. */
#define WAYS 4u
#define SETS (1u << FC_TALLY_SETS_BITS)
#define LINES_AHEAD 32u /* keys whose line is being fetched while others are counted */

/* A key and the totals of its packets, in one line: a time is counted in 40 bits from `base`, of 18 minutes. Packets
 * outside of these are decided one by one until there are STRAYS of them; then `base` is moved. */
typedef struct seen {
    fc_key key;
    uint64_t since; /* first time << 24 | packets; 0: there is no key here */
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

/* Keys to be decided, each with the totals of its packets. */
typedef struct waiting {
    fc_key keys[TALLY_BLOCK];
    fc_packet infos[TALLY_BLOCK];
    fc_total totals[TALLY_BLOCK];
    size_t count;
} waiting;

struct fc_tally {
    seen *seen;
    uint64_t *tags; /* a word a set: the tags of its keys, 15 bits each, and whose turn it is to go (turn_of) */
    slot *slots;    /* open addressing */
    unsigned shift; /* 64 less log2 of how many */
    int64_t base;   /* times in `seen` are counted from here */
    uint32_t strays;
    int used; /* whether a key was ever put into `seen` */
    fc_tally_totals totals;
    fc_records records;
    uint64_t offsets[TALLY_BLOCK];
    int64_t times[TALLY_BLOCK];
    uint32_t lengths[TALLY_BLOCK], originals[TALLY_BLOCK], interfaces[TALLY_BLOCK];
    uint16_t linktypes[TALLY_BLOCK];
    fc_key keys[TALLY_BLOCK];
    fc_packet infos[TALLY_BLOCK];
    fc_decision decisions[TALLY_BLOCK];
    waiting waiting;
    fc_tally_unread unread[FC_TALLY_UNREAD + 1]; /* the last one is for all others */
    size_t n_unread;
};

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
    t->seen = lines(WAYS * SETS);
    t->tags = lines((SETS * sizeof *t->tags + 63) / 64);
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
    fc_big_free(t->seen);
    fc_big_free(t->tags);
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
    size_t n = w->count, at[TALLY_BLOCK];
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
    w->keys[w->count] = *key;
    w->infos[w->count].status = info->status;
    w->infos[w->count].flags = info->flags;
    w->totals[w->count++] = total;
    return w->count == TALLY_BLOCK ? decide(t, fib) : FC_OK;
}

static fc_total total_of(uint32_t octets, int64_t time)
{
    return (fc_total){1, octets, time == FC_NO_TIME ? INT64_MAX : time, time};
}

/* Moves a key that leaves the cache to those that wait; does nothing if there is no key in `s`. */
static int leave(fc_tally *t, fc_fib *fib, const seen *s)
{
    static const fc_packet whole = {0};
    uint64_t packets = s->since & LOW, first = s->since >> 24, last = s->until >> 24;
    if (!packets)
        return FC_OK;
    fc_total total = {packets, (s->until & LOW) - packets, INT64_MAX, FC_NO_TIME};
    if (first != NEVER) {
        total.first = t->base + (int64_t)first;
        total.last = t->base + (int64_t)last;
    }
    return put_off(t, fib, &s->key, &whole, total);
}

/* Empties the cache. */
static int leave_all(fc_tally *t, fc_fib *fib)
{
    int status = FC_OK;
    for (size_t i = 0; i < WAYS * SETS && status == FC_OK; i++) {
        status = leave(t, fib, &t->seen[i]);
        t->seen[i] = (seen){0};
    }
    memset(t->tags, 0, SETS * sizeof *t->tags);
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

/* ---- By key ------------------------------------------------------------------------------------- */

static uint64_t word(const fc_key *key, size_t at)
{
    uint64_t w;
    memcpy(&w, (const uint8_t *)key + 8 * at, sizeof w);
    return w;
}

/* Says which set of the cache a key belongs to, in the upper bits, and its tag, behind them. The hash needs no secret:
 * whoever makes keys collide can only make this as slow as it would be without the cache. The upper bits of the
 * products depend on all bits below. */
static uint64_t hash_of(const fc_key *key)
{
    uint64_t h = (word(key, 0) ^ word(key, 3)) * FC_GOLDEN + (word(key, 1) ^ word(key, 5)) * 0xd6e8feb86659fd93u;
    return h + (word(key, 2) ^ word(key, 4)) * 0xc2b2ae3d27d4eb4fu;
}

static size_t set_of(uint64_t hash) { return hash >> (64 - FC_TALLY_SETS_BITS); }
static uint64_t tag_of(uint64_t hash) { return hash >> (48 - FC_TALLY_SETS_BITS) & 0xfffe; }

/* Which key of the set goes when the next one comes: two bits that stand beside the tags. They go in turn. */
static unsigned turn_of(uint64_t tags) { return (tags & 1) | (tags >> 15 & 2); }

/* Which key of the set has this tag, or else, whose turn it is to go. */
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

static inline pair pair_at(const fc_key *key, size_t at)
{
    pair p;
    memcpy(&p, (const uint8_t *)key + 16 * at, sizeof p);
    return p;
}

static inline int same_key(const fc_key *a, const fc_key *b)
{
    pair off = (pair_at(a, 0) ^ pair_at(b, 0)) | (pair_at(a, 1) ^ pair_at(b, 1)) | (pair_at(a, 2) ^ pair_at(b, 2));
    return (off[0] | off[1]) == 0;
}

/* Does this packet's decision depend on its key alone, and is it to be counted here? */
static inline int plain(const fc_packet *info)
{
    static const fc_packet asked = {.status = 0xff, .flags = FC_PACKET_SIGNALLING | FC_PACKET_OPEN};
    uint32_t head, mask; /* status, fragment, flags and depth at once */
    memcpy(&head, info, sizeof head);
    memcpy(&mask, &asked, sizeof mask);
    return !(head & mask);
}

/* Counts a packet that can't be in the cache, and now and then moves the times that can. */
static int count_stray(fc_tally *t, fc_fib *fib, const fc_key *key, uint32_t octets, int64_t time)
{
    static const fc_packet whole;
    int status = put_off(t, fib, key, &whole, total_of(octets, time));
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

/* Counts a packet whose key is in the cache, but not as count_seen does. */
__attribute__((noinline)) static int count_again(fc_tally *t, fc_fib *fib, seen *s, uint32_t octets, int64_t time)
{
    uint64_t now = (uint64_t)time - (uint64_t)t->base;
    int timed = time != FC_NO_TIME;
    if ((timed && now >= NEVER) || octets >= LOW)
        return count_stray(t, fib, &s->key, octets, time);
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

/* Counts a packet whose key was not where its tag said, or had no tag: because it isn't in the cache, or came into it
 * after the tags were looked at, or because another key has this tag. One that isn't there takes the place of the key
 * whose turn it is to go. */
__attribute__((noinline)) static int count_new(fc_tally *t, fc_fib *fib, uint64_t hash, const fc_key *key,
                                               uint32_t octets, int64_t time)
{
    const uint64_t tags = t->tags[set_of(hash)], lane = 0xfffe;
    seen *set = &t->seen[WAYS * set_of(hash)];
    for (unsigned i = 0; i < WAYS; i++)
        if ((tags >> 16 * i & lane) == tag_of(hash) && same_key(&set[i].key, key))
            return count_again(t, fib, &set[i], octets, time);
    uint64_t now = (uint64_t)time - (uint64_t)t->base;
    int timed = time != FC_NO_TIME;
    if ((timed && now >= NEVER) || octets >= LOW)
        return count_stray(t, fib, key, octets, time);
    now = timed ? now : NEVER;
    const unsigned way = turn_of(tags), next = (way + 1) % WAYS;
    int status = leave(t, fib, &set[way]);
    if (status != FC_OK)
        return status;
    t->used = 1;
    set[way] = (seen){*key, now << 24 | 1, now << 24 | (octets + 1)};
    t->tags[set_of(hash)] =
        (tags & ~(lane << 16 * way | 0x10001)) | tag_of(hash) << 16 * way | (next & 1) | (uint64_t)(next & 2) << 15;
    return FC_OK;
}

/* Counts a packet; at once if its key is in the cache, at `s`, and it isn't earlier than those before it. */
static inline int count_seen(fc_tally *t, fc_fib *fib, uint64_t hash, seen *s, const fc_key *key, uint32_t octets,
                             int64_t time)
{
    if (!same_key(&s->key, key))
        return count_new(t, fib, hash, key, octets, time);
    uint64_t now = (uint64_t)time - (uint64_t)t->base, more = (s->until & LOW) + octets + 1;
    if (now >> 40 | more >> 24 || now < s->until >> 24)
        return count_again(t, fib, s, octets, time);
    s->since++;
    s->until = now << 24 | more;
    return FC_OK;
}

/* Counts a packet that isn't plain. */
__attribute__((noinline)) static int count_odd(fc_tally *t, fc_fib *fib, size_t i)
{
    if (t->infos[i].flags & FC_PACKET_OPEN)
        return FC_OK; /* whoever takes its note counts it */
    if (t->infos[i].unread)
        count_unread(t, &t->infos[i]);
    return put_off(t, fib, &t->keys[i], &t->infos[i], total_of(t->originals[i], t->times[i]));
}

/* Where the key with this hash is in the cache, or else, will be. */
static inline seen *fetch(const fc_tally *t, uint64_t hash)
{
    const size_t set = set_of(hash);
    seen *s = &t->seen[WAYS * set + way_of(t->tags[set], tag_of(hash))];
    __builtin_prefetch(s, 1);
    return s;
}

static inline int count_packet(fc_tally *t, fc_fib *fib, uint64_t hash, seen *s, size_t i)
{
    return plain(&t->infos[i]) ? count_seen(t, fib, hash, s, &t->keys[i], t->originals[i], t->times[i])
                               : count_odd(t, fib, i);
}

static int count_block(fc_tally *t, fc_fib *fib, size_t n)
{
    uint64_t hashes[TALLY_BLOCK];
    seen *places[TALLY_BLOCK];
    for (size_t i = 0; i < n; i++) {
        hashes[i] = hash_of(&t->keys[i]);
        __builtin_prefetch(&t->tags[set_of(hashes[i])]);
    }
    size_t first = n < LINES_AHEAD ? n : LINES_AHEAD, i = 0;
    int status = FC_OK;
    for (; i < first; i++)
        places[i] = fetch(t, hashes[i]);
    for (; i < n && status == FC_OK; i++) {
        places[i] = fetch(t, hashes[i]);
        status = count_packet(t, fib, hashes[i - first], places[i - first], i - first);
    }
    for (i -= first; i < n && status == FC_OK; i++)
        status = count_packet(t, fib, hashes[i], places[i], i);
    return status;
}

static int count(fc_tally *t, fc_fib *fib, size_t n)
{
    uint64_t octets = 0, cut = 0;
    for (size_t i = 0; i < n; i++) {
        octets += t->originals[i];
        cut += t->lengths[i] < t->originals[i];
    }
    t->totals.packets += n;
    t->totals.octets += octets;
    t->totals.cut += cut;
    return count_block(t, fib, n);
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
        fc_parse_batch(0, r->linktypes, data + at, r->offsets, r->lengths, r->count, &timed, t->keys, t->infos);
        if (options->fragments)
            fc_fragments_originals(options->fragments, t->originals, r->count);
        int counted = count(t, fib, r->count);
        if (counted != FC_OK)
            return counted;
        at += used;
    } while (status == FC_CAPTURE_FULL && r->count == TALLY_BLOCK);
    *consumed = at;
    return status;
}
