/* fib.c - the forwarding table: publishing nodes (fib_read.c: asking). Theory of operation.
 *
 * THE PROBLEM. A home agent has up to a million mobile nodes. A packet's destination says which one it is for: a home
 * address, exactly, or else the longest mobile network prefix. The node's flows, in (PRI, FID) order, say what becomes
 * of the packet; if none matches, its default binding does. Nodes change all the time, one by one, and whoever looks
 * must see a node as it was before a change or as it is after it.
 *
 * THE STRUCTURE. All that is known of a node is in one record, written once and never changed. An index leads from an
 * address to the record's reference (its place in the arena, in units of 16 octets). An example, the first node:
 *
 *      home address 2001:db8:1::1, prefix 2001:db8:100::/56
 *      targets BID 1 (2001:db8:a::1) and BID 2 (2001:db8:b::1), the second is the default
 *      FID 1  source port 22, TCP             forward  BID 1
 *      FID 2  source 2001:db8:c::/64          n-cast   BIDs 2, 1
 *      FID 3  destination port 6000-7000      discard
 *
 *      home index                 anchor 19       record 8: 11 units, immutable
 *      bucket 9: be75, 19 ------> record 8 -----> header      home address, node 0, 3 flows, default target 1
 *      prefix index                 ^             signatures  octets 0, 40, 1 of a key     end of body
 *      bucket 1: 6f15, 19 ----------+               FID 1       any   22  any                1
 *                                                   FID 2        1   any   1                 3
 *      A node with a single address needs           FID 3       any  any  any                5
 *      no anchor: its entry leads straight        targets     BID 1, BID 2
 *      to the record.                             bodies      of FID 1, 2, 3; each written downwards from its end
 *                                                 list        of FID 2: targets 1, 0
 *                                                 trailer     the prefix
 *
 * A LOOK-UP (fib_search.h, one key; fib_block.h, many at once). A packet from 2001:db8:c::9, port 80, to 2001:db8:1::1:
 *   1. fib_hash_of gives the bucket and the tag, the tag a reference; the address is compared in the record.
 *   2. The picked octets of the key, 0, 80 and 0 (octet 40 is the source port's lower one, 0 and 1 the lowest of the
 *      source's upper half), are compared with all signatures in one vector operation. A signature has the value that an
 *      octet has in every key which matches the flow, or "any"; 0 means "any", so a 0 of a key counts as 1. 80 is not
 *      22: FID 1 is out, FIDs 2 and 3 are candidates. Which octets are picked is each node's own choice: those that are
 *      expected to leave the fewest candidates (choose_signatures).
 *   3. The candidates' bodies are compared in order, nearly without branches (fib_body_matches). FID 2 matches.
 *   4. Its targets: n-cast takes all; forward with several takes one, by rendezvous hashing of the connection.
 * Prefixes are looked for only when no address is found, a probe for each length in use, the longest first; not for what
 * stays on its link (fib_stays_on_link). The flows of a node with more than FIB_LINEAR of them are a table of the flat classifier (build.c). tests/test_fib.c has the example.
 *
 * A CHANGE (publish). The new record is written beside the old one; then one release-store of its reference makes it the
 * node's state: in the index entry, or in the anchor where several entries lead to the node. Entries for new addresses
 * are put in before that store, those for addresses that are gone are taken out after it; meanwhile they lead to a
 * record that doesn't have the address, which is as if they weren't there. So one store changes all of it at once.
 * "No address, so the prefix" needs several looks; `changes` tells a reader when they weren't of one state (fib_find).
 * The old record is freed when every reader that may have seen it has left (fc_epoch.h). An index that is full is copied
 * and replaced as a whole: readers go on in the old one until their call ends, and the publish that meets it pays.
 *
 * COSTS. A publish: 2 to 7 us. A look-up reads a bucket (one line; one in thirty a second one), two lines of a record, a
 * body, a target. Memory: 29 octets a flow, 20 a target, 32 a node, 9 to 13 an address. Bounds: 64 signatures and bodies
 * a key, or one look-up of the flat classifier; a destination that is nobody's costs a probe for each prefix length in
 * use, at most 129; the hash is keyed, and an index whose probes grow long gets another key.
 *
 * References: Thorup, High Speed Hashing for Integers and Strings, 2015 (the hash); Thaler and Ravishankar, Using
 * Name-Based Mappings to Increase Hit Rates, 1998 (rendezvous hashing); Fraser, Practical lock-freedom, 2004 (epochs).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* -std=c11 alone leaves out MAP_ANONYMOUS */
#endif
#include <stdlib.h>
#include <sys/mman.h>

#include "../rules/build.h"
#include "fib_search.h"

#define FIRST_ENTRIES 64u     /* of a new index */
#define MAX_PROBES 16u        /* full buckets in a row before an index gets new keys */
#define RECLAIM_EVERY 64u     /* objects, */
#define RECLAIM_BYTES 65536u  /* or octets, waiting before a publish looks whether readers have left */
#define KEEP_NUMBERS 1024u    /* free node numbers before the oldest is given again */

/* ---- Objects whose readers have to leave first ------------------------------------------------------------------ */

/* Room was reserved. */
static void retire(fc_fib *fib, uint32_t ref, fib_index *index)
{
    uint64_t size = index ? fib_index_bytes(index)
                          : (uint64_t)fib_units((const fib_record *)(const void *)fib_at(&fib->arena, ref)) * FIB_UNIT;
    *(fib_retired *)fc_ring_push(&fib->retired) = (fib_retired){fc_epoch_retire(&fib->epoch), size, index, ref};
    fib->waiting += size;
}

static void free_record(fc_fib *fib, uint32_t ref)
{
    const fib_record *r = (const fib_record *)(const void *)fib_at(&fib->arena, ref);
    if (!(r->flags & FIB_ANCHOR) && r->flags & FIB_BIG) {
        fib->table_bytes -= fib_big_of(r)->table_bytes;
        fc_table_free(fib_big_of(r)->table);
    }
    fc_fib_arena_free(&fib->arena, ref, fib_units(r));
}

static void reclaim(fc_fib *fib)
{
    uint64_t safe = fc_epoch_safe(&fib->epoch);
    for (; fib->retired.count; fc_ring_drop(&fib->retired)) {
        const fib_retired *o = fc_ring_at(&fib->retired, 0);
        if (o->epoch >= safe)
            break;
        fib->waiting -= o->size;
        fib->freed += o->size;
        if (o->index)
            fc_fib_index_free(o->index);
        else
            free_record(fib, o->ref);
    }
}

static void reclaim_if_due(fc_fib *fib)
{
    if (fib->retired.count >= RECLAIM_EVERY || fib->waiting >= RECLAIM_BYTES)
        reclaim(fib);
}

/* ---- Index entries ------------------------------------------------------------------------------------------------ */

static fib_index *home_index(const fc_fib *fib) { return atomic_load_explicit(&fib->home, memory_order_relaxed); }
static fib_index *prefix_index(const fc_fib *fib) { return atomic_load_explicit(&fib->prefix, memory_order_relaxed); }

static fib_hash hash_of(const fib_index *x, const fc_address *a, int is_prefix)
{
    return fib_hash_of(x, a->words[0], a->words[1], fib_kind(a->version, is_prefix ? a->length : 0));
}

static const fc_address *addresses_of(const fib_record *r, int prefixes, unsigned *n)
{
    *n = 0;
    if (!(r->flags & FIB_MORE))
        return NULL;
    const fib_trailer *t = fib_trailer_of(r);
    *n = prefixes ? t->n_prefixes : t->n_also;
    return (const fc_address *)(const void *)t - t->n_prefixes - (prefixes ? 0 : t->n_also);
}

/* Copies an entry of an index that is being replaced; an anchor's entries all at once. Returns the worst probe length. */
static uint32_t copy_entry(fc_fib *fib, fib_index *to, uint32_t entry, int prefixes)
{
    uint32_t ref, probes, worst = 0;
    unsigned n = 0;
    fib_anchor *anchor = (fib_anchor *)(void *)fib_at(&fib->arena, entry);
    const fib_record *r = fib_open(fib, entry, &ref);
    if (anchor->flags & FIB_ANCHOR) {
        if (anchor->mark == fib->seeds)
            return 0;
        anchor->mark = fib->seeds;
        const fc_address *a = addresses_of(r, prefixes, &n);
        for (unsigned i = 0; i < n; i++) {
            fc_fib_index_put(to, hash_of(to, &a[i], prefixes), entry, &probes);
            worst = probes > worst ? probes : worst;
        }
    }
    if (!prefixes) {
        fc_address home = fib_home_of(r);
        fc_fib_index_put(to, hash_of(to, &home, 0), entry, &probes);
        worst = probes > worst ? probes : worst;
    }
    return worst;
}

/* A new index with room for `entries`, other keys, and the same entries; takes the place of the old one. */
static int replace_index(fc_fib *fib, int prefixes, uint64_t entries)
{
    fib_index *_Atomic *at = prefixes ? &fib->prefix : &fib->home;
    fib_index *old = atomic_load_explicit(at, memory_order_relaxed), *x;
    if (fc_ring_reserve(&fib->retired, 1) != FC_OK)
        return FC_ENOMEM;
    for (int attempt = 0;; attempt++) {
        int status = fc_fib_index_new(fib, entries, &x);
        if (status != FC_OK)
            return status;
        uint32_t worst = 0;
        for (uint32_t i = 0; i < old->buckets; i++)
            for (unsigned way = 0; way < FIB_WAYS; way++) {
                uint32_t entry = atomic_load_explicit(&old->bucket[i].ref[way], memory_order_relaxed);
                uint32_t probes = entry ? copy_entry(fib, x, entry, prefixes) : 0;
                worst = probes > worst ? probes : worst;
            }
        if (worst <= MAX_PROBES || attempt == 3)
            break;
        fc_fib_index_free(x);
    }
    atomic_store_explicit(at, x, memory_order_release);
    retire(fib, 0, old);
    return FC_OK;
}

/* Sees to it that `more` entries find room. Grows by a half: between 8.5 and 13 octets an entry. */
static int make_room(fc_fib *fib, int prefixes, uint64_t more)
{
    const fib_index *x = prefixes ? prefix_index(fib) : home_index(fib);
    uint64_t wanted = x->count + more;
    if (wanted * 4 <= (uint64_t)x->buckets * FIB_WAYS * 3)
        return FC_OK;
    return replace_index(fib, prefixes, wanted + wanted / 2);
}

static void put_address(fc_fib *fib, const fc_address *a, int is_prefix, uint32_t entry)
{
    uint32_t probes;
    fib_index *x = is_prefix ? prefix_index(fib) : home_index(fib);
    fc_fib_index_put(x, hash_of(x, a, is_prefix), entry, &probes);
    if (is_prefix && fib->length_count[a->version == 6][a->length]++ == 0)
        atomic_fetch_or(&fib->lengths[a->version == 6][a->length / 64], (uint64_t)1 << a->length % 64);
    if (probes > MAX_PROBES)
        fib->crowded[is_prefix] = 1;
}

static void take_out(fc_fib *fib, const fc_address *a, int is_prefix, uint32_t entry)
{
    fib_index *x = is_prefix ? prefix_index(fib) : home_index(fib);
    fc_fib_index_remove(x, hash_of(x, a, is_prefix), entry);
    if (is_prefix && --fib->length_count[a->version == 6][a->length] == 0)
        atomic_fetch_and(&fib->lengths[a->version == 6][a->length / 64], ~((uint64_t)1 << a->length % 64));
}

/* ---- Node numbers --------------------------------------------------------------------------------------------------- */

static int new_number(fc_fib *fib, uint32_t *number)
{
    uint32_t limit = atomic_load_explicit(&fib->node_limit, memory_order_relaxed);
    if (fib->free_numbers.count > KEEP_NUMBERS || limit == FIB_NODES_CHUNK * FIB_NODES_CHUNKS) {
        if (!fib->free_numbers.count)
            return FC_ELIMIT;
        *number = *(const uint32_t *)fc_ring_at(&fib->free_numbers, 0);
        fc_ring_drop(&fib->free_numbers);
        return FC_OK;
    }
    if (limit % FIB_NODES_CHUNK == 0) {
        void *chunk = calloc(FIB_NODES_CHUNK, sizeof(_Atomic uint32_t));
        if (!chunk)
            return FC_ENOMEM;
        atomic_store_explicit(&fib->nodes[limit / FIB_NODES_CHUNK], chunk, memory_order_release);
    }
    atomic_store_explicit(&fib->node_limit, limit + 1, memory_order_release);
    *number = limit;
    return FC_OK;
}

static void free_number(fc_fib *fib, uint32_t number)
{
    if (fc_ring_reserve(&fib->free_numbers, 1) == FC_OK) /* else the number is lost, nothing else */
        *(uint32_t *)fc_ring_push(&fib->free_numbers) = number;
}

/* ---- Checks --------------------------------------------------------------------------------------------------------- */

static int address_is_bad(const fc_address *a)
{
    return a->version == 4 ? a->words[0] || a->words[1] > UINT32_MAX : a->version != 6;
}

static int prefix_is_bad(const fc_address *a)
{
    if (address_is_bad(a) || a->length > (a->version == 4 ? 32 : 128))
        return 1;
    uint64_t network[2];
    fib_mask(a->words, a->version, a->length, network);
    return network[0] != a->words[0] || network[1] != a->words[1];
}

static int flow_is_bad(const fc_node *node, const fc_flow *f)
{
    if (f->action < FC_ACTION_FORWARD || f->action > FC_ACTION_NCAST || !fc_rule_valid(&f->rule))
        return 1;
    if (f->targets > node->n_flow_targets || f->n_targets > node->n_flow_targets - f->targets)
        return 1;
    for (unsigned i = 0; i < f->n_targets; i++)
        if (node->flow_targets[f->targets + i] >= node->n_targets)
            return 1;
    return 0;
}

static int check_node(const fc_node *node)
{
    if (node->n_flows > FC_MAX_FLOWS || node->n_targets > FC_MAX_TARGETS || node->n_also > FC_MAX_ADDRESSES ||
        node->n_prefixes > FC_MAX_ADDRESSES)
        return FC_ELIMIT;
    int bad = address_is_bad(&node->home) || (node->default_target != FC_NO_TARGET && node->default_target >= node->n_targets);
    for (uint32_t i = 0; i < node->n_also; i++)
        bad |= address_is_bad(&node->also[i]);
    for (uint32_t i = 0; i < node->n_prefixes; i++)
        bad |= prefix_is_bad(&node->prefixes[i]);
    for (uint32_t i = 0; i < node->n_targets; i++)
        bad |= node->targets[i].version != 4 && node->targets[i].version != 6;
    for (uint32_t i = 0; !bad && i < node->n_flows; i++)
        bad |= flow_is_bad(node, &node->flows[i]);
    return bad ? FC_EINVAL : FC_OK;
}

static int same_address(const fc_address *a, const fc_address *b, int is_prefix)
{
    return a->words[0] == b->words[0] && a->words[1] == b->words[1] && a->version == b->version &&
           (!is_prefix || a->length == b->length);
}

/* Is an address or prefix in a list of them? */
static int listed(const fc_address *a, const fc_address *list, unsigned n, int is_prefix)
{
    for (unsigned i = 0; i < n; i++)
        if (same_address(a, &list[i], is_prefix))
            return 1;
    return 0;
}

static const fib_record *owner_of(const fc_fib *fib, const fc_address *a, int is_prefix, uint32_t *ref)
{
    return fib_probe(fib, is_prefix ? prefix_index(fib) : home_index(fib), a->words, a->version,
                     is_prefix ? a->length : -1, ref);
}

/* The node that this home address names. Others' further addresses don't count, but are in the way. */
static int find_home(const fc_fib *fib, const fc_address *home, const fib_record **r, uint32_t *ref)
{
    *r = owner_of(fib, home, 0, ref);
    if (!*r)
        return FC_ENOENT;
    fc_address own = fib_home_of(*r);
    return same_address(&own, home, 0) ? FC_OK : FC_EEXIST;
}

static int check_claims(const fc_fib *fib, const fc_node *node, const fib_record *old)
{
    uint32_t ref;
    for (int prefixes = 0; prefixes < 2; prefixes++) {
        const fc_address *list = prefixes ? node->prefixes : node->also;
        uint32_t n = prefixes ? node->n_prefixes : node->n_also;
        for (uint32_t i = 0; i < n; i++) {
            const fib_record *r = owner_of(fib, &list[i], prefixes, &ref);
            if ((r && r != old) || listed(&list[i], list, i, prefixes) ||
                (!prefixes && same_address(&list[i], &node->home, 0)))
                return FC_EEXIST;
        }
    }
    return FC_OK;
}

/* ---- Publish ---------------------------------------------------------------------------------------------------------- */

/* Entries for what `now` has and `before` (may be NULL) hadn't, or the other way round taken out. */
static void add_entries(fc_fib *fib, const fib_record *now, const fib_record *before, uint32_t entry, int take)
{
    for (int prefixes = 0; prefixes < 2; prefixes++) {
        unsigned n, m = 0;
        const fc_address *list = addresses_of(now, prefixes, &n), *had = before ? addresses_of(before, prefixes, &m) : NULL;
        for (unsigned i = 0; i < n; i++)
            if (!listed(&list[i], had, m, prefixes))
                (take ? take_out : put_address)(fib, &list[i], prefixes, entry);
    }
}

static uint32_t new_anchor(fc_fib *fib, uint32_t record)
{
    uint32_t ref = fc_fib_arena_alloc(&fib->arena, sizeof(fib_anchor) / FIB_UNIT);
    if (!ref)
        return 0;
    fib_anchor *a = (fib_anchor *)(void *)fib_at(&fib->arena, ref);
    memset(a, 0, sizeof *a);
    atomic_init(&a->ref, record);
    a->flags = FIB_ANCHOR;
    return ref;
}

static void set_anchor(const fc_fib *fib, uint32_t anchor, uint32_t record)
{
    atomic_store_explicit(&((fib_anchor *)(void *)fib_at(&fib->arena, anchor))->ref, record, memory_order_release);
}

static void changed(fc_fib *fib) { atomic_fetch_add(&fib->changes, 1); }

/* The entry of a node's home address in the index: the record's reference itself, or its anchor's. */
static _Atomic uint32_t *home_entry(const fc_fib *fib, const fib_record *r, uint32_t ref)
{
    fib_index *x = home_index(fib);
    fc_address home = fib_home_of(r);
    uint32_t at;
    _Atomic uint32_t *entry = fc_fib_index_entry(x, hash_of(x, &home, 0), ref, &at);
    if (entry)
        return entry;
    fib_hash h = hash_of(x, &home, 0);
    for (at = h.bucket;; at = at + 1 == x->buckets ? 0 : at + 1)
        for (unsigned i = 0; i < FIB_WAYS; i++) {
            uint32_t of, found = atomic_load_explicit(&x->bucket[at].ref[i], memory_order_relaxed);
            if (found && fib_open(fib, found, &of) == r &&
                atomic_load_explicit(&x->bucket[at].tag[i], memory_order_relaxed) == h.tag)
                return &x->bucket[at].ref[i];
        }
}

static int is_anchor(const fc_fib *fib, uint32_t ref)
{
    return ((const fib_record *)(const void *)fib_at(&fib->arena, ref))->flags & FIB_ANCHOR;
}

/* A node that wasn't there. The one store that shows it: of its only entry, or of its anchor. */
static int publish_new(fc_fib *fib, const fib_record *r, uint32_t ref)
{
    fc_address home = fib_home_of(r);
    if (!(r->flags & FIB_MORE)) {
        put_address(fib, &home, 0, ref);
        return FC_OK;
    }
    uint32_t anchor = new_anchor(fib, 0);
    if (!anchor)
        return FC_ENOMEM;
    put_address(fib, &home, 0, anchor);
    add_entries(fib, r, NULL, anchor, 0);
    set_anchor(fib, anchor, ref);
    return FC_OK;
}

/* In the place of `old`. A node with one address is one store to its entry. Else entries that are new come first, when
 * the old record doesn't know them and so they aren't found; then the one store; then those that are gone go. */
static int publish_over(fc_fib *fib, const fib_record *old, uint32_t old_ref, const fib_record *r, uint32_t ref)
{
    _Atomic uint32_t *entry = home_entry(fib, old, old_ref);
    uint32_t anchor = atomic_load_explicit(entry, memory_order_relaxed);
    if (!is_anchor(fib, anchor)) {
        if (!(r->flags & FIB_MORE)) {
            atomic_store_explicit(entry, ref, memory_order_release);
            return FC_OK;
        }
        anchor = new_anchor(fib, old_ref);
        if (!anchor)
            return FC_ENOMEM;
        atomic_store_explicit(entry, anchor, memory_order_release); /* nothing to see yet: it leads to `old` */
    }
    add_entries(fib, r, old, anchor, 0);
    set_anchor(fib, anchor, ref);
    changed(fib);
    add_entries(fib, old, r, anchor, 1);
    return FC_OK;
}

/* The record of `node` in the arena, with its number. */
static int place_record(fc_fib *fib, const fc_node *node, uint32_t number, uint32_t *ref)
{
    uint32_t units;
    int status = fc_fib_record(fib, node, &units);
    if (status != FC_OK)
        return status;
    fib_record *r = (fib_record *)(void *)fib->scratch;
    r->node = number;
    *ref = fc_fib_arena_alloc(&fib->arena, units);
    if (!*ref) {
        if (r->flags & FIB_BIG)
            fc_table_free(fib_big_of(r)->table);
        return FC_ENOMEM;
    }
    memcpy(fib_at(&fib->arena, *ref), r, (size_t)units * FIB_UNIT);
    if (r->flags & FIB_BIG)
        fib->table_bytes += fib_big_of(r)->table_bytes;
    return FC_OK;
}

static int publish(fc_fib *fib, const fc_node *node, uint32_t *number)
{
    const fib_record *old;
    uint32_t old_ref, ref, n;
    int status = check_node(node), found = find_home(fib, &node->home, &old, &old_ref);
    if (status == FC_OK)
        status = found == FC_EEXIST ? found : check_claims(fib, node, found == FC_OK ? old : NULL);
    if (status != FC_OK || (status = make_room(fib, 0, 1 + (uint64_t)node->n_also)) != FC_OK ||
        (status = node->n_prefixes ? make_room(fib, 1, node->n_prefixes) : FC_OK) != FC_OK ||
        (status = fc_ring_reserve(&fib->retired, 8)) != FC_OK)
        return status;
    if (found == FC_OK)
        n = old->node;
    else if ((status = new_number(fib, &n)) != FC_OK)
        return status;
    status = place_record(fib, node, n, &ref);
    if (status == FC_OK) {
        const fib_record *r = (const fib_record *)(const void *)fib_at(&fib->arena, ref);
        status = found == FC_OK ? publish_over(fib, old, old_ref, r, ref) : publish_new(fib, r, ref);
        if (status != FC_OK)
            free_record(fib, ref);
    }
    if (status != FC_OK) {
        if (found != FC_OK)
            free_number(fib, n);
        return status;
    }
    atomic_store_explicit(fib_node_place(fib, n), ref, memory_order_release);
    if (found == FC_OK) {
        retire(fib, old_ref, NULL);
    } else {
        changed(fib);
        fib->n_nodes++;
    }
    for (int i = 0; i < 2; i++)
        if (fib->crowded[i]) { /* bad luck, or a secret that leaked; if this fails, look-ups are right but slower */
            fib->crowded[i] = 0;
            (void)replace_index(fib, i, (i ? prefix_index(fib) : home_index(fib))->count + FIRST_ENTRIES);
        }
    if (number)
        *number = n;
    reclaim_if_due(fib);
    return FC_OK;
}

int fc_fib_publish(fc_fib *fib, const fc_node *node, uint32_t *number)
{
    pthread_mutex_lock(&fib->writer);
    int status = publish(fib, node, number);
    pthread_mutex_unlock(&fib->writer);
    return status;
}

static int withdraw(fc_fib *fib, const fc_address *home)
{
    const fib_record *r;
    uint32_t ref;
    if (find_home(fib, home, &r, &ref) != FC_OK)
        return FC_ENOENT;
    if (fc_ring_reserve(&fib->retired, 2) != FC_OK)
        return FC_ENOMEM;
    uint32_t entry = atomic_load_explicit(home_entry(fib, r, ref), memory_order_relaxed);
    uint32_t number = r->node;
    if (is_anchor(fib, entry))
        set_anchor(fib, entry, 0);
    take_out(fib, home, 0, entry);
    changed(fib);
    atomic_store_explicit(fib_node_place(fib, number), 0, memory_order_release);
    if (is_anchor(fib, entry)) {
        add_entries(fib, r, NULL, entry, 1);
        retire(fib, entry, NULL);
    }
    retire(fib, ref, NULL);
    free_number(fib, number);
    fib->n_nodes--;
    reclaim_if_due(fib);
    return FC_OK;
}

int fc_fib_withdraw(fc_fib *fib, const fc_address *home)
{
    if (address_is_bad(home))
        return FC_EINVAL;
    pthread_mutex_lock(&fib->writer);
    int status = withdraw(fib, home);
    pthread_mutex_unlock(&fib->writer);
    return status;
}

int fc_fib_reserve(fc_fib *fib, uint64_t addresses)
{
    pthread_mutex_lock(&fib->writer);
    const fib_index *x = home_index(fib);
    int status = addresses <= x->count ? FC_OK : make_room(fib, 0, addresses - x->count);
    pthread_mutex_unlock(&fib->writer);
    return status;
}

void fc_fib_reclaim(fc_fib *fib)
{
    pthread_mutex_lock(&fib->writer);
    reclaim(fib);
    pthread_mutex_unlock(&fib->writer);
}

/* ---- Life ------------------------------------------------------------------------------------------------------------- */

int fc_fib_new(const uint8_t secret[16], fc_fib **out)
{
    /* from mmap: a quarter of a megabyte of pointers to segments, of which a small table touches one page */
    fc_fib *fib = mmap(NULL, sizeof *fib, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fib == MAP_FAILED)
        return FC_ENOMEM;
    memcpy(fib->secret, secret, sizeof fib->secret);
    fc_epoch_init(&fib->epoch);
    pthread_mutex_init(&fib->writer, NULL);
    fib->free_numbers = FC_RING(uint32_t);
    fib->retired = FC_RING(fib_retired);
    fib_index *home = NULL, *prefix = NULL;
    if (fc_fib_arena_init(&fib->arena) != FC_OK || fc_fib_index_new(fib, FIRST_ENTRIES, &home) != FC_OK ||
        fc_fib_index_new(fib, FIRST_ENTRIES, &prefix) != FC_OK) {
        fc_fib_index_free(home);
        fc_fib_arena_release(&fib->arena);
        munmap(fib, sizeof *fib);
        return FC_ENOMEM;
    }
    atomic_init(&fib->home, home);
    atomic_init(&fib->prefix, prefix);
    *out = fib;
    return FC_OK;
}

void fc_fib_free(fc_fib *fib)
{
    if (!fib)
        return;
    reclaim(fib); /* nobody is inside: all of it */
    uint32_t limit = atomic_load(&fib->node_limit);
    for (uint32_t i = 0; i < limit; i++) {
        uint32_t ref = atomic_load_explicit(fib_node_place(fib, i), memory_order_relaxed);
        const fib_record *r = (const fib_record *)(const void *)fib_at(&fib->arena, ref);
        if (ref && r->flags & FIB_BIG)
            fc_table_free(fib_big_of(r)->table);
    }
    for (uint32_t i = 0; i < FIB_NODES_CHUNKS && i * FIB_NODES_CHUNK < limit; i++)
        free((void *)atomic_load(&fib->nodes[i]));
    fc_fib_index_free(home_index(fib));
    fc_fib_index_free(prefix_index(fib));
    fc_fib_arena_release(&fib->arena);
    fc_ring_free(&fib->free_numbers);
    fc_ring_free(&fib->retired);
    free(fib->scratch);
    pthread_mutex_destroy(&fib->writer);
    munmap(fib, sizeof *fib);
}

void fc_fib_get_info(fc_fib *fib, fc_fib_info *out)
{
    pthread_mutex_lock(&fib->writer);
    const fib_index *home = home_index(fib), *prefix = prefix_index(fib);
    uint64_t limit = atomic_load_explicit(&fib->node_limit, memory_order_relaxed);
    uint64_t chunks = (limit + FIB_NODES_CHUNK - 1) / FIB_NODES_CHUNK;
    *out = (fc_fib_info){
        .nodes = fib->n_nodes,
        .addresses = home->count,
        .prefixes = prefix->count,
        .bytes = fc_fib_arena_bytes(&fib->arena) + fib_index_bytes(home) + fib_index_bytes(prefix) +
                 chunks * FIB_NODES_CHUNK * sizeof(uint32_t) + fib->table_bytes + fib->scratch_size +
                 fc_ring_bytes(&fib->retired) + fc_ring_bytes(&fib->free_numbers) + sizeof *fib - sizeof fib->nodes -
                 sizeof fib->arena.segment - sizeof fib->arena.edge,
        .waiting = fib->waiting,
        .freed = fib->freed,
    };
    for (uint32_t i = 0; i < fib->retired.count; i++) {
        const fib_retired *o = fc_ring_at(&fib->retired, i);
        out->bytes += o->index ? o->size : 0; /* records that wait are in the arena still */
    }
    pthread_mutex_unlock(&fib->writer);
}
