/* search.h - decides one key at a time. This is the whole of the scalar kernel, and what the other kernels use for keys
 * that are not the usual case. */
#ifndef FC_FIB_SEARCH_H
#define FC_FIB_SEARCH_H

#include "../common/wide.h"
#include "../packet/numbers.h"
#include "format.h"

#ifndef FIB_TARGET
#define FIB_TARGET
#endif

/* ---- Finding the node --------------------------------------------------------------------------- */

/* The record that an entry of the index leads to, directly or through an anchor, and its reference. What stands at
 * reference 0 has FIB_ANCHOR set, so an anchor that leads nowhere leads to no node's record. */
static inline const fib_record *fib_open(const fc_fib *fib, uint32_t ref, uint32_t *record_ref)
{
    const uint8_t *p = fib_at(&fib->arena, ref);
    if (((const fib_record *)(const void *)p)->flags & FIB_ANCHOR) {
        ref = atomic_load_explicit(&((fib_anchor *)(void *)(uintptr_t)p)->ref, memory_order_acquire);
        p = fib_at(&fib->arena, ref);
    }
    *record_ref = ref;
    return (const fib_record *)(const void *)p;
}

static inline int fib_has_address(const fib_record *r, const uint64_t a[2], unsigned version)
{
    if (r->flags & FIB_ANCHOR)
        return 0;
    if (r->home[0] == a[0] && r->home[1] == a[1] && (r->flags & FIB_IPV4) == (version == 4))
        return 1;
    if (!(r->flags & FIB_MORE))
        return 0;
    const fib_trailer *t = fib_trailer_of(r);
    const fc_address *also = (const fc_address *)(const void *)t - t->n_prefixes - t->n_also;
    for (unsigned i = 0; i < t->n_also; i++)
        if (also[i].words[0] == a[0] && also[i].words[1] == a[1] && also[i].version == version)
            return 1;
    return 0;
}

static inline int fib_has_prefix(const fib_record *r, const uint64_t a[2], unsigned version, unsigned length)
{
    if (!(r->flags & FIB_MORE) || (r->flags & FIB_ANCHOR))
        return 0;
    const fib_trailer *t = fib_trailer_of(r);
    const fc_address *prefix = (const fc_address *)(const void *)t - t->n_prefixes;
    for (unsigned i = 0; i < t->n_prefixes; i++)
        if (prefix[i].words[0] == a[0] && prefix[i].words[1] == a[1] && prefix[i].version == version &&
            prefix[i].length == length)
            return 1;
    return 0;
}

/* Writes the first `length` bits of an address (for IPv4, of its 32 bits) to `out`, with zeros behind them. */
static inline void fib_mask(const uint64_t a[2], unsigned version, unsigned length, uint64_t out[2])
{
    const uint64_t *mask = fc_fib_masks[version == 4 ? 96 + length : length];
    out[0] = a[0] & mask[0];
    out[1] = a[1] & mask[1];
}

/* Finds an address in an index, or, if `length` is not negative, a prefix of that length: returns the record that has
 * it, or NULL, and sets *ref to the record's reference. Entries are not moved while an index lives, and an entry with
 * the right tag is checked against its record. So a reader that meets an entry in the middle of a change either finds
 * what it looks for or doesn't, but never finds something wrong. */
static inline const fib_record *fib_probe(const fc_fib *fib, const fib_index *x, const uint64_t a[2], unsigned version,
                                          int length, uint32_t *ref)
{
    fib_hash h = fib_hash_of(x, a[0], a[1], fib_kind(version, length < 0 ? 0 : (unsigned)length));
    uint32_t at = h.bucket;
    for (uint32_t probes = 0; probes < x->buckets; probes++) {
        fib_bucket *b = &x->bucket[at];
        for (unsigned i = 0; i < FIB_WAYS; i++) {
            if (atomic_load_explicit(&b->tag[i], memory_order_acquire) != h.tag)
                continue;
            uint32_t entry = atomic_load_explicit(&b->ref[i], memory_order_acquire);
            if (!entry)
                continue;
            const fib_record *r = fib_open(fib, entry, ref);
            if (length < 0 ? fib_has_address(r, a, version) : fib_has_prefix(r, a, version, (unsigned)length))
                return r;
        }
        if (!atomic_load_explicit(&b->passed, memory_order_acquire))
            return NULL;
        at = at + 1 == x->buckets ? 0 : at + 1;
    }
    return NULL;
}

/* Is this a link-local address, or multicast whose scope ends with the link or before? Packets to these are never sent
 * on (RFC 6275 10.4.2, RFC 4291 2.5.6 and 2.7, RFC 3927 7, RFC 5771 4), even if a node's prefix has the address. */
static inline int fib_stays_on_link(const uint64_t a[2], unsigned version)
{
    if (version == 4)
        return a[1] >> 16 == 0xa9fe || a[1] >> 8 == 0xe00000 || a[1] == 0xffffffff;
    return a[0] >> 54 == 0x3fa || (a[0] >> 56 == 0xff && (a[0] >> 48 & 15) <= 2);
}

/* The i-th nibble of an address from the most significant on. */
static inline unsigned fib_nibble(const uint64_t a[2], unsigned i) { return a[i / 16] >> (60 - 4 * (i % 16)) & 15; }

/* The bit of a filter's word that stands for the first `bits` (1 to 4) bits of a nibble. */
static inline uint32_t fib_part_of(unsigned nibble, unsigned bits)
{
    return (uint32_t)1 << ((1u << bits) - 2 + (nibble >> (4 - bits)));
}

/* Up to so many lengths in use, the index is asked for each: the filter costs as much. */
#define FIB_FEW_LENGTHS 6

/* Sets bits for the lengths that prefixes of a version have. Returns how many. */
FIB_TARGET static inline int fib_lengths_in_use(fc_fib *fib, unsigned version, uint64_t lengths[3])
{
    int n = 0;
    for (int i = 0; i < 3; i++) {
        lengths[i] = atomic_load_explicit(&fib->lengths[version == 6][i], memory_order_acquire);
        n += __builtin_popcountll(lengths[i]);
    }
    return n;
}

/* Of the lengths in use, those that the index may have a prefix of this address of. */
FIB_TARGET static inline void fib_lengths_of(const fib_index *x, const uint64_t a[2], unsigned version,
                                             const uint64_t in_use[3], uint64_t lengths[3])
{
    const fib_filter *f = x->filter;
    const uint32_t(*step)[16] = f->step + (version == 4 ? 24 : 0);
    unsigned longest = in_use[2]   ? 128
                       : in_use[1] ? 127 - (unsigned)__builtin_clzll(in_use[1])
                                   : 63 - (unsigned)__builtin_clzll(in_use[0] | 1);
    uint64_t set[3] = {1, 0, 0}, rest = version == 4 ? a[1] << 32 : a[0];
    uint32_t h = f->start[version == 6];
    for (unsigned first = 0; first < longest; first += 4, step++, rest = first == 64 ? a[1] : rest << 4) {
        unsigned nibble = (unsigned)(rest >> 60);
        uint32_t is = atomic_load_explicit(&f->word[h & f->mask], memory_order_acquire) & f->admits[nibble];
        h ^= (*step)[nibble];
        for (unsigned bits = 1; FIB_UNLIKELY(is) && bits <= 4; bits++) {
            unsigned length = first + bits;
            set[length / 64] |= (uint64_t)((is & fib_part_of(nibble, bits)) != 0) << length % 64;
        }
    }
    for (int i = 0; i < 3; i++)
        lengths[i] = in_use[i] & set[i];
}

static inline const fib_record *fib_longest_prefix(fc_fib *fib, const uint64_t a[2], unsigned version, uint32_t *ref)
{
    if (fib_stays_on_link(a, version))
        return NULL;
    const fib_index *x = atomic_load_explicit(&fib->prefix, memory_order_acquire);
    uint64_t lengths[3];
    if (fib_lengths_in_use(fib, version, lengths) > FIB_FEW_LENGTHS)
        fib_lengths_of(x, a, version, lengths, lengths);
    for (int word = 2; word >= 0; word--) {
        while (lengths[word]) {
            int bit = 63 - __builtin_clzll(lengths[word]);
            lengths[word] ^= (uint64_t)1 << bit;
            uint64_t network[2];
            fib_mask(a, version, (unsigned)(64 * word + bit), network);
            const fib_record *r = fib_probe(fib, x, network, version, 64 * word + bit, ref);
            if (r)
                return r;
        }
    }
    return NULL;
}

/* Returns the record of the node that has the key's destination, or NULL. A record found by its exact address is a
 * state that existed. But "the address is not among the exact ones, so a prefix decides, or none" takes several looks,
 * and these must be at one state: one publish can move an address from a node's prefix to its own addresses, and who
 * looks among the addresses before it and among the prefixes after it finds neither.
 *
 * Who has which address changes by one store at a time, and `changes` is raised right before that store and right after
 * it. Writers store with release and readers load with acquire, so that a reader which has seen one store sees all that
 * came before it. Hence, of a search that found the same number at its beginning and at its end:
 *   - an even number: there was no such store between its looks, so that it saw one state;
 *   - an odd number: there was at most one. Then only one of several searches under that number can have that store
 *     between its looks. Of two that follow each other, at least one saw one state; so what both found is right.
 * A reader never waits for a writer that was stopped between the two: it searches twice, or, if the store came
 * meanwhile, four times at most. It begins anew when the number has changed: somebody's change was done then. The
 * number counts only changes of who has which address, not of what a node's flows do, so all this is rare. */
static inline const fib_record *fib_find(fc_fib *fib, const fc_key *k, uint32_t *ref)
{
    if ((k->version != 4 && k->version != 6) || !(k->present & FC_DESTINATION))
        return NULL;
    const fib_record *before = NULL;
    for (uint64_t last = 0;;) {
        uint64_t changes = atomic_load_explicit(&fib->changes, memory_order_acquire);
        const fib_index *x = atomic_load_explicit(&fib->home, memory_order_acquire);
        const fib_record *r = fib_probe(fib, x, k->destination, k->version, -1, ref);
        if (r)
            return r;
        r = fib_longest_prefix(fib, k->destination, k->version, ref);
        uint64_t now = atomic_load_explicit(&fib->changes, memory_order_acquire);
        if (FIB_LIKELY(now == changes && (now % 2 == 0 || (now == last && r == before))))
            return r;
        last = changes;
        before = r;
    }
}

/* ---- Finding the flow --------------------------------------------------------------------------- */

static inline int fib_in_range(const uint64_t a[2], const uint8_t *range)
{
    uint64_t r[4];
    memcpy(r, range, sizeof r);
    int below =
        a[0] != r[0] ? a[0] < r[0] : a[1] < r[1]; /* fc_below and its opposite, as the compiler likes them here */
    int above = a[0] != r[2] ? a[0] > r[2] : a[1] > r[3];
    return !below & !above;
}

static inline uint64_t fib_tail(const fc_key *k) { return fc_load64((const uint8_t *)k + FIB_TAIL_OFFSET); }

/* Do the less usual conditions of a body fail? `low` is where they end: at the lowest octet of what was compared. */
static inline int fib_extra_fails(const uint8_t *low, const fc_key *k)
{
    fib_extra x;
    low -= sizeof x;
    memcpy(&x, low, sizeof x);
    int fail = k->flow_label - x.label > x.label_span;
    fail |= k->spi - x.spi > x.spi_span;
    fail |= (uint8_t)((k->traffic_class >> 2) - x.class6) > x.class_span;
    fail |= (uint8_t)(k->protocol - x.protocol) > x.protocol_span;
    if (x.which & FC_SOURCE)
        fail |= !fib_in_range(k->source, low -= 32);
    if (x.which & FC_DESTINATION)
        fail |= !fib_in_range(k->destination, low - 32);
    return fail;
}

/* Two questions for which a kernel may bring a better way: are the ports of a tail outside the ranges at `p`, and does
 * the source differ from the prefix at `p` in a bit of the mask? The answer is 0 for no, anything else for yes. */
#ifndef FIB_PORTS_OUT
static inline uint32_t fib_ports_out(uint64_t tail, const uint8_t *p)
{
    uint64_t range = fc_load64(p);
    return ((uint16_t)(tail - range) > (uint16_t)(range >> 32)) |
           ((uint16_t)((tail >> 16) - (range >> 16)) > (uint16_t)(range >> 48));
}
#define FIB_PORTS_OUT fib_ports_out
#endif
#ifndef FIB_SOURCE_OUT
static inline int fib_source_out(const fc_key *k, const uint8_t *p, const uint64_t *mask)
{
    return (((k->source[0] ^ fc_load64(p)) & mask[0]) | ((k->source[1] ^ fc_load64(p + 8)) & mask[1])) != 0;
}
#define FIB_SOURCE_OUT fib_source_out
#endif
/* Does the body that ends at `end` match a key of version 4 or 6? There are nearly no branches, because which
 * conditions a rule has can't be predicted. Some octets are read and then masked away: these may lie below the body,
 * but are always inside the record. */
FIB_TARGET static inline int fib_body_matches(const uint8_t *end, const fc_key *k)
{
    uint64_t head = fc_load64(end - 8), tail = fib_tail(k);
    uint32_t form = (uint32_t)(head >> FIB_HEAD_FORM) & 0xff, ports = form >> 7;
    uint64_t compared =
        fc_fib_compared[form & (FIB_PROTOCOL | FIB_VERSION)] | (head & (uint64_t)0xff << FIB_TAIL_PRESENT);
    uint64_t fail = (tail ^ head) & compared;
    const uint8_t *p = end - 16;
    fail |= FIB_PORTS_OUT(tail, p) & -ports;
    p -= 8 * ports;
    const uint64_t *mask = fc_fib_masks[head >> FIB_HEAD_MASK & 0xff];
    fail |= (unsigned)FIB_SOURCE_OUT(k, p - 8 + (form >> (FIB_HALF_SHIFT - 3) & 8), mask);
    if (FIB_UNLIKELY(form & FIB_EXTRA))
        fail |= (unsigned)fib_extra_fails(p + 8 - 8 * ((mask[0] != 0) + (mask[1] != 0)), k);
    return fail == 0;
}

static inline const fib_signature *fib_signatures(const fib_record *r)
{
    return (const fib_signature *)(const void *)(r + 1);
}

static inline const uint8_t *fib_body_end(const fib_record *r, unsigned flow)
{
    return (const uint8_t *)r + 8 * ((size_t)fib_signatures(r)[flow].end << (r->flags >> FIB_SHIFT));
}

/* Returns the end of the body of a record's first flow that matches, or NULL if none does. */
FIB_TARGET static inline const uint8_t *fib_first_flow(const fib_record *r, const fc_key *k)
{
    const fib_signature *s = fib_signatures(r);
    uint8_t octet[3];
    for (int i = 0; i < 3; i++) {
        uint8_t v = ((const uint8_t *)k)[r->pick[i]];
        octet[i] = (uint8_t)(v + (v == 0));
    }
    for (unsigned i = 0; i < r->n; i++) {
        const uint8_t *wanted = s[i].octet;
        if ((wanted[0] && wanted[0] != octet[0]) || (wanted[1] && wanted[1] != octet[1]) ||
            (wanted[2] && wanted[2] != octet[2]))
            continue;
        const uint8_t *end = fib_body_end(r, i);
        if (fib_body_matches(end, k))
            return end;
    }
    return NULL;
}

/* ---- The decision ------------------------------------------------------------------------------- */

static inline void fib_write(fc_decision *out, unsigned action, unsigned reason, unsigned flags, unsigned fid,
                             uint32_t node, uint32_t version)
{
    *out = (fc_decision){(uint8_t)action, (uint8_t)reason, (uint8_t)flags, 0, (uint16_t)fid, 0, node, version, {0}};
}

static inline void fib_write_target(fc_decision *out, const fc_target *t)
{
    out->n_targets = 1;
    out->bid = t->bid;
    out->flags |= t->reserved; /* see write_targets */
    memcpy(out->care_of, t->address, 16);
}

static inline uint64_t fib_mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * FC_GOLDEN;
    return h ^ h >> 32;
}

/* Hashes a packet's connection, for choosing one of a flow's targets: the packet goes to the target whose BID has the
 * highest score (fib_score) with it. So all packets of one connection go one way, and when a BID goes away, only the
 * connections that it had move (R27, R28). The hash is not keyed: it is the same on every run and host. */
static inline uint64_t fib_connection(const fib_record *r, unsigned fid, const fc_key *k)
{
    uint64_t h = fib_mix(r->home[0], r->home[1] + (r->flags & FIB_IPV4));
    h = fib_mix(h, k->source[0]);
    h = fib_mix(h, k->source[1]);
    h = fib_mix(h, k->destination[0]);
    h = fib_mix(h, k->destination[1]);
    return fib_mix(h, (uint64_t)fid << 48 | (uint64_t)k->protocol << 32 | (uint64_t)k->source_port << 16 |
                          k->destination_port);
}

static inline uint64_t fib_score(uint64_t connection, const fc_target *t)
{
    /* Two rounds: with one, the scores of BIDs that differ in low bits stay alike */
    return fib_mix(fib_mix(connection, t->bid), 0xd6e8feb86659fd93u);
}

static inline unsigned fib_list_small(const fib_record *r, unsigned list, const uint8_t **indices)
{
    const uint8_t *lists = (const uint8_t *)r + fib_trailer_of(r)->lists;
    uint16_t start;
    memcpy(&start, lists + 2 * list, 2);
    *indices = lists + start + 1;
    return lists[start];
}

/* Writes the targets of a decision whose action is there already: for forward the target with the highest score, for
 * n-cast all. `indices` are the n targets' indices of `width` octets each. */
static inline void fib_write_list(fc_decision *out, const fib_record *r, const fc_target *targets,
                                  const uint8_t *indices, unsigned width, unsigned n, const fc_key *k)
{
    uint16_t best = 0;
    memcpy(&best, indices, width);
    if (n > 1 && out->action == FC_ACTION_FORWARD) {
        uint64_t connection = fib_connection(r, out->fid, k), top = fib_score(connection, &targets[best]);
        for (unsigned i = 1; i < n; i++) {
            uint16_t index = 0;
            memcpy(&index, indices + (size_t)i * width, width);
            uint64_t score = fib_score(connection, &targets[index]);
            if (score > top) {
                top = score;
                best = index;
            }
        }
    }
    fib_write_target(out, &targets[best]);
    if (out->action == FC_ACTION_NCAST) {
        out->n_targets = (uint8_t)n;
        out->bid = 0;
        out->flags &= (uint8_t)~FC_HAS_BID;
    }
}

static inline const fc_target *fib_targets_small(const fib_record *r)
{
    return (const fc_target *)(const void *)((const uint8_t *)r + fib_targets_at(r->n));
}

static inline void fib_write_flow(fc_decision *out, const fib_record *r, const uint8_t *end, const fc_key *k)
{
    fib_body b;
    memcpy(&b, end - sizeof b, sizeof b);
    unsigned action = b.form >> FIB_ACTION & 3;
    fib_write(out, action, FC_REASON_FLOW, FC_HAS_NODE | FC_HAS_FID, b.fid, r->node, fib_version_of(r));
    if (action == FC_ACTION_DISCARD)
        return;
    const uint8_t *indices = &b.target;
    unsigned n = b.form & FIB_MULTI ? fib_list_small(r, b.target, &indices) : 1;
    fib_write_list(out, r, fib_targets_small(r), indices, 1, n, k);
}

static inline void fib_write_default(fc_decision *out, const fib_record *r, const fc_target *targets, uint32_t target,
                                     uint32_t none)
{
    uint32_t version = fib_version_of(r);
    if (target == none) {
        fib_write(out, FC_ACTION_NONE, FC_REASON_UNBOUND, FC_HAS_NODE, 0, r->node, version);
        return;
    }
    fib_write(out, FC_ACTION_FORWARD, FC_REASON_DEFAULT, FC_HAS_NODE, 0, r->node, version);
    fib_write_target(out, &targets[target]);
}

/* Writes the decision of a node with a FIB_BIG record. `flow` is the first of its flows that matches, which the flat
 * classifier has found, or negative if none does. */
static inline void fib_decide_big(fc_decision *out, const fib_record *r, const fc_key *k, int32_t flow)
{
    const fib_big *big = fib_big_of(r);
    const uint8_t *p = (const uint8_t *)r;
    const fc_target *targets = (const fc_target *)(const void *)(p + big->targets);
    if (flow < 0) {
        fib_write_default(out, r, targets, big->default_target, FC_NO_TARGET);
        return;
    }
    const fib_meta *m = (const fib_meta *)(const void *)(p + big->meta) + flow;
    fib_write(out, m->action, FC_REASON_FLOW, FC_HAS_NODE | FC_HAS_FID, m->fid, r->node, big->version);
    if (m->action == FC_ACTION_DISCARD)
        return;
    uint16_t one = (uint16_t)m->target, n = 1;
    const uint8_t *indices = (const uint8_t *)&one;
    if (m->multi) {
        memcpy(&n, p + m->target, 2);
        indices = p + m->target + 2;
    }
    fib_write_list(out, r, targets, indices, 2, n, k);
}

/* Writes the decision if it needs no look at flows: for no node, a node without targets, or signalling. Returns 1 if it
 * did. docs/interfaces.md has the order of reasons; the first that holds counts. */
static inline int fib_decide_early(fc_decision *out, const fib_record *r, const fc_key *k, const fc_packet *info)
{
    if (!r) {
        fib_write(out, FC_ACTION_NONE, FC_REASON_UNBOUND, 0, 0, 0, 0);
        return 1;
    }
    if (r->flags & FIB_UNUSABLE) {
        fib_write(out, FC_ACTION_NONE, FC_REASON_UNBOUND, FC_HAS_NODE, 0, r->node, fib_version_of(r));
        return 1;
    }
    int signalling =
        info ? info->flags & FC_PACKET_SIGNALLING : k->present & FC_PROTOCOL && k->protocol == FC_PROTOCOL_MOBILITY;
    if (!signalling)
        return 0;
    if (r->flags & FIB_BIG) {
        const fib_big *big = fib_big_of(r);
        const uint8_t *targets = (const uint8_t *)r + big->targets;
        fib_write_default(out, r, (const fc_target *)(const void *)targets, big->default_target, FC_NO_TARGET);
    } else {
        fib_write_default(out, r, fib_targets_small(r), r->default_target, FIB_NONE8);
    }
    if (out->action == FC_ACTION_FORWARD)
        out->reason = FC_REASON_SIGNALLING;
    return 1;
}

/* Decides a key, unless that needs the flows of a FIB_BIG record. Then returns that record, for fib_decide_big; else
 * NULL. */
FIB_TARGET static inline const fib_record *fib_decide_one(fc_fib *fib, const fc_key *k, const fc_packet *info,
                                                          fc_decision *out)
{
    if (info && info->status != FC_PACKET_OK) {
        fib_write(out, FC_ACTION_NONE, info->status == FC_PACKET_NOT_IP ? FC_REASON_NOT_IP : FC_REASON_MALFORMED, 0, 0,
                  0, 0);
        return NULL;
    }
    uint32_t ref = 0;
    const fib_record *r = fib_find(fib, k, &ref);
    if (fib_decide_early(out, r, k, info))
        return NULL;
    if (r->flags & FIB_BIG)
        return r;
    const uint8_t *end = fib_first_flow(r, k);
    if (end)
        fib_write_flow(out, r, end, k);
    else
        fib_write_default(out, r, fib_targets_small(r), r->default_target, FIB_NONE8);
    return NULL;
}

/* A key that waits for the flows of a FIB_BIG record: its index, and the record. */
typedef struct fib_waiting {
    const fib_record *record;
    uint32_t key;
} fib_waiting;

/* So many keys wait at most: with 128, sixteen nodes of 100 flows had batches of eight keys, and a third less speed. */
#define FIB_WAITING 512u

/* Decides n waiting keys, those of one record together. */
void fc_fib_decide_waiting(const fib_waiting *list, size_t n, const fc_key *keys, int kernel,
                           fc_decision *out); /* fib_scalar.c */

#endif
