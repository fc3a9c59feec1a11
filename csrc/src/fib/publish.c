/* publish.c - the forwarding table's theory of operation, and its writers' half: publishing nodes (read.c has the
 * readers').
 *
 * THE PROBLEM. A home agent has up to a million mobile nodes. A packet's destination says which one it is for: a home
 * address, exactly, or else the longest mobile network prefix. The node's flows, in (PRI, FID) order, say what becomes
 * of the packet; if none matches, its default binding does. Nodes change all the time, one by one, and a reader must
 * see a node either as it was before a change or as it is after it.
 *
 * THE STRUCTURE. All that is known of a node is in one record, written once and never changed. An index leads from an
 * address to the record's reference (its place in the arena, in lines of 64 octets). As an example, the first node has:
 *
 *      home address 2001:db8:1::1, prefix 2001:db8:100::/56
 *      targets BID 1 (2001:db8:a::1) and BID 2 (2001:db8:b::1), the second is the default
 *      FID 1  source port 22, TCP             forward  BID 1
 *      FID 2  source 2001:db8:c::/64          n-cast   BIDs 2, 1
 *      FID 3  destination port 6000-7000      discard
 *
 *      home index                 anchor 5        record 2: 3 lines, immutable
 *      bucket 9: be75, 5 -------> record 2 -----> header      home address, node 0, 3 flows, default target 1
 *      prefix index                 ^             signatures  octets 0, 40, 1 of a key     body ends at 8 *
 *      bucket 1: 6f15, 5 -----------+               FID 1       any   22  any                13
 *                                                   FID 2        1   any   1                 15
 *      A node with a single address needs           FID 3       any  any  any                17
 *      no anchor: its entry leads straight        targets     BID 1, BID 2
 *      to the record.                             bodies      of FID 1, 2, 3; each written downwards from its end
 *                                                 list        of FID 2: targets 1, 0
 *                                                 trailer     the prefix
 *
 * A LOOK-UP (search.h, one key; stages.h, many at once). A packet from 2001:db8:c::9, port 80, to 2001:db8:1::1:
 *   1. fib_hash_of gives a bucket and a tag. The bucket's entry with this tag has the reference of a record, in which
 *      the address is compared.
 *   2. The picked octets of the key are 0, 80 and 0 (octet 40 is the source port's lower one, 0 and 1 are the lowest of
 *      the source's upper half). They are compared with all signatures in one vector operation. A signature has the
 *      value that an octet has in every key which matches the flow, or "any". "Any" is written as 0, so a 0 of a key
 *      counts as 1. Here 80 is not 22, so FID 1 is out, and FIDs 2 and 3 are candidates. Each node has octets picked of
 *      its own: those that are expected to leave the fewest candidates (choose_signatures).
 *   3. The candidates' bodies are compared in order, nearly without branches (fib_body_matches). FID 2 matches.
 *   4. Its targets are taken: all of them for n-cast; for forward with several targets one, by rendezvous hashing of
 *      the connection.
 * Prefixes are looked for only when no address is found: one probe for each length in use, the longest first. With
 * more than a few lengths, a filter leaves nearly only those that match (fib_filter, fib_lengths_of). They are
 * not looked for when a packet stays on its link (fib_stays_on_link). A node with more than FIB_LINEAR flows, or
 * with flows of which signatures could leave more than FIB_ALIKE candidates of one key, has them in a table of the flat
 * classifier (trees.c). tests/test_fib.c has this example.
 *
 * A CHANGE (publish). The new record is written beside the old one. Then one release-store of its reference, into the
 * index entry, or into the anchor where several entries lead to the node, makes it the node's state. Entries for new
 * addresses are put in before that store, and entries for addresses that are gone are taken out after it. In between
 * they lead to a record that doesn't have the address, which is as if they weren't there. So one store changes
 * everything at once. To find that no address matches, so that a prefix decides, a reader must look several times;
 * `changes`, raised before that store and after it, tells it when these looks may not have been at one state
 * (fib_find). The old record is freed when every reader that may have seen it has left (epoch.h). A full index is
 * copied and replaced as a whole: readers go on in the old one until their call ends, and the publish that finds it
 * full takes the time.
 *
 * COSTS. A publish takes 2 to 7 us; with a table, 20 to 300 us for a change of up to 256 flows (find_table). A look-up
 * reads a bucket (one line, and one time in thirty a second one), two lines of a record, a body and a target. Memory:
 * 29 octets a flow, 20 a target, 32 a node, 32 on average to the end of its last line, 9 to 13 an address. The work for
 * a key is bounded by 64 signatures and 12 bodies, or one look-up in the flat classifier. A destination that is
 * nobody's costs a probe for each of up to six prefix lengths in use; with more, one look into the filter for each four
 * lengths, and one probe for a few keys in a hundred. The hashes are keyed. An index whose probes grow long, or whose
 * filter has more bits of prefixes that are gone than of others, is made anew with other keys.
 *
 * References: Thorup, High Speed Hashing for Integers and Strings, 2015 (the hash); Thaler and Ravishankar, Using
 * Name-Based Mappings to Increase Hit Rates, 1998 (rendezvous hashing); Fraser, Practical lock-freedom, 2004 (epochs).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* -std=c11 alone leaves out MAP_ANONYMOUS */
#endif
#include <stdlib.h>
#include <sys/mman.h>

#include "search.h"

#define FIRST_ENTRIES 64u    /* of a new index */
#define RECLAIM_EVERY 64u    /* a publish frees what readers have left when so many objects wait, */
#define RECLAIM_BYTES 65536u /* or so many octets */
#define KEEP_NUMBERS 1024u   /* a free node number is given again when there are more than so many, or no new one */

/* ---- Objects whose readers have to leave first -------------------------------------------------- */

/* Notes that a record or anchor (`ref`) or an index (if not NULL) was replaced, to be freed when its readers have left.
 * Can't fail: the caller has reserved room in the ring. */
void fc_fib_retire(fc_fib *fib, uint32_t ref, fib_index *index)
{
    uint64_t size = index ? fib_index_bytes(index)
                          : (uint64_t)fib_units((const fib_record *)(const void *)fib_at(&fib->arena, ref)) * FIB_UNIT;
    *(fib_retired *)fc_ring_push(&fib->retired) = (fib_retired){fc_epoch_retire(&fib->epoch), size, index, ref};
    fib->waiting += size;
}

static void free_record(fc_fib *fib, uint32_t ref)
{
    const fib_record *r = (const fib_record *)(const void *)fib_at(&fib->arena, ref);
    if (!(r->flags & FIB_ANCHOR) && r->flags & FIB_BIG)
        fc_fib_drop_table(fib, fib_big_of(r));
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

/* ---- Node numbers ------------------------------------------------------------------------------- */

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
        void *chunk = calloc(FIB_NODES_CHUNK, sizeof(fib_place));
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
    if (fc_ring_reserve(&fib->free_numbers, 1) == FC_OK) /* if this fails, only the number is lost */
        *(uint32_t *)fc_ring_push(&fib->free_numbers) = number;
}

/* ---- Publish ------------------------------------------------------------------------------------ */

/* For each address and prefix that `now` has and `before` (may be NULL) has not: adds an index entry that leads to
 * `entry`, or, with `take`, takes it out. */
static void add_entries(fc_fib *fib, const fib_record *now, const fib_record *before, uint32_t entry, int take)
{
    for (int prefixes = 0; prefixes < 2; prefixes++) {
        unsigned n, m = 0;
        const fc_address *list = fib_addresses_of(now, prefixes, &n),
                         *had = before ? fib_addresses_of(before, prefixes, &m) : NULL;
        for (unsigned i = 0; i < n; i++)
            if (!fc_fib_listed(&list[i], had, m, prefixes))
                (take ? fc_fib_remove_address : fc_fib_add_address)(fib, &list[i], prefixes, entry);
    }
}

static uint32_t new_anchor(fc_fib *fib, uint32_t record)
{
    uint32_t ref = fc_fib_arena_alloc(&fib->arena, 1);
    if (!ref)
        return 0;
    fib_anchor *a = (fib_anchor *)(void *)fib_at(&fib->arena, ref);
    memset(a, 0, sizeof *a);
    atomic_init(&a->ref, record);
    a->flags = FIB_ANCHOR;
    return ref;
}

#ifdef FC_FIB_LINGER /* in tests: readers meet a change that is half made */
static void linger(void)
{
    for (volatile int i = 0; i < FC_FIB_LINGER; i++)
        ;
}
#else
static void linger(void) {}
#endif

static void raise_changes(fc_fib *fib)
{
    uint64_t changes = atomic_load_explicit(&fib->changes, memory_order_relaxed);
    atomic_store_explicit(&fib->changes, changes + 1, memory_order_release);
}

/* These two stand around each store that changes who has which address, as close as can be (fib_find). */
static void begin_change(fc_fib *fib)
{
    raise_changes(fib);
    linger();
}

static void end_change(fc_fib *fib)
{
    linger();
    raise_changes(fib);
}

/* The one store that changes all entries which lead to an anchor. */
static void set_anchor(fc_fib *fib, uint32_t anchor, uint32_t record)
{
    begin_change(fib);
    atomic_store_explicit(&((fib_anchor *)(void *)fib_at(&fib->arena, anchor))->ref, record, memory_order_release);
    end_change(fib);
}

static int is_anchor(const fc_fib *fib, uint32_t ref)
{
    return ((const fib_record *)(const void *)fib_at(&fib->arena, ref))->flags & FIB_ANCHOR;
}

/* Publishes a node that wasn't there. Readers see it from one store on: that of its only index entry, or that into its
 * anchor. */
static int publish_new(fc_fib *fib, const fib_record *r, uint32_t ref)
{
    fc_address home = fib_home_of(r);
    if (!(r->flags & FIB_MORE)) {
        begin_change(fib);
        fc_fib_add_address(fib, &home, 0, ref);
        end_change(fib);
        return FC_OK;
    }
    uint32_t anchor = new_anchor(fib, 0);
    if (!anchor)
        return FC_ENOMEM;
    fc_fib_add_address(fib, &home, 0, anchor);
    add_entries(fib, r, NULL, anchor, 0);
    set_anchor(fib, anchor, ref);
    return FC_OK;
}

/* Publishes a record in the place of `old`. For a node with one address this is one store into its entry. For others,
 * entries for new addresses come first, which readers don't find yet because the old record doesn't have the addresses.
 * Then comes the one store into the anchor, and then the entries for addresses that are gone are taken out. */
static int publish_over(fc_fib *fib, const fib_record *old, uint32_t old_ref, const fib_record *r, uint32_t ref)
{
    _Atomic uint32_t *entry = fc_fib_home_entry(fib, old, old_ref);
    uint32_t anchor = atomic_load_explicit(entry, memory_order_relaxed);
    if (!is_anchor(fib, anchor)) {
        if (!(r->flags & FIB_MORE)) {
            atomic_store_explicit(entry, ref, memory_order_release);
            return FC_OK;
        }
        anchor = new_anchor(fib, old_ref);
        if (!anchor)
            return FC_ENOMEM;
        atomic_store_explicit(entry, anchor, memory_order_release); /* changes nothing yet: it leads to `old` */
    }
    add_entries(fib, r, old, anchor, 0);
    set_anchor(fib, anchor, ref);
    add_entries(fib, old, r, anchor, 1);
    return FC_OK;
}

/* Writes the record of `node` into the arena, with its number and a new version; *ref is where it is. `old`: the one
 * that it will take the place of, or NULL. */
static int place_record(fc_fib *fib, const fc_node *node, const fib_record *old, uint32_t number, uint32_t *ref)
{
    uint32_t units;
    int status = fc_fib_record(fib, node, old, &units);
    if (status != FC_OK)
        return status;
    fib_record *r = (fib_record *)(void *)fib->scratch;
    r->node = number;
    fib->version++;
    memcpy(fib->scratch + fib_version_at(r->n), &fib->version, sizeof fib->version);
    *ref = fc_fib_arena_alloc(&fib->arena, units);
    if (!*ref) {
        if (r->flags & FIB_BIG)
            fc_fib_drop_table(fib, fib_big_of(r));
        return FC_ENOMEM;
    }
    memcpy(fib_at(&fib->arena, *ref), r, (size_t)units * FIB_UNIT);
    return FC_OK;
}

static int publish(fc_fib *fib, const fc_node *node, uint32_t *number)
{
    const fib_record *old;
    uint32_t old_ref, ref, n;
    fib_fault fault;
    int status = fc_fib_check_node(node, &fault);
    if (status == FC_OK)
        status = fc_fib_check_claims(fib, node, &old, &old_ref, &fault);
    if (status != FC_OK || (status = fc_fib_make_room(fib, 0, 1 + (uint64_t)node->n_also)) != FC_OK ||
        (status = node->n_prefixes ? fc_fib_make_room(fib, 1, node->n_prefixes) : FC_OK) != FC_OK ||
        (status = fc_ring_reserve(&fib->retired, 8)) != FC_OK)
        return status;
    if (old)
        n = old->node;
    else if ((status = new_number(fib, &n)) != FC_OK)
        return status;
    status = place_record(fib, node, old, n, &ref);
    if (status == FC_OK) {
        const fib_record *r = (const fib_record *)(const void *)fib_at(&fib->arena, ref);
        status = old ? publish_over(fib, old, old_ref, r, ref) : publish_new(fib, r, ref);
        if (status != FC_OK)
            free_record(fib, ref);
    }
    if (status != FC_OK) {
        if (!old)
            free_number(fib, n);
        return status;
    }
    if (!old) /* stored before the reference, so that whoever sees the reference sees this too */
        atomic_store_explicit(&fib_node_place(fib, n)->born, fib->version, memory_order_release);
    atomic_store_explicit(&fib_node_place(fib, n)->ref, ref, memory_order_release);
    if (old)
        fc_fib_retire(fib, old_ref, NULL);
    else
        fib->n_nodes++;
    for (int i = 0; i < 2; i++)
        if (fib->crowded[i]) { /* see format.h; if this fails, look-ups are right but slower */
            fib->crowded[i] = 0;
            (void)fc_fib_replace_index(fib, i,
                                       (i ? fib_prefix_index(fib) : fib_home_index(fib))->count + FIRST_ENTRIES);
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
    if (fc_fib_find_home(fib, home, &r, &ref) != FC_OK)
        return FC_ENOENT;
    if (fc_ring_reserve(&fib->retired, 2) != FC_OK)
        return FC_ENOMEM;
    uint32_t entry = atomic_load_explicit(fc_fib_home_entry(fib, r, ref), memory_order_relaxed);
    uint32_t number = r->node;
    if (is_anchor(fib, entry)) {
        set_anchor(fib, entry, 0);
        fc_fib_remove_address(fib, home, 0, entry);
        add_entries(fib, r, NULL, entry, 1);
        fc_fib_retire(fib, entry, NULL);
    } else {
        begin_change(fib);
        fc_fib_remove_address(fib, home, 0, entry);
        end_change(fib);
    }
    atomic_store_explicit(&fib_node_place(fib, number)->ref, 0, memory_order_release);
    fc_fib_retire(fib, ref, NULL);
    free_number(fib, number);
    fib->n_nodes--;
    reclaim_if_due(fib);
    return FC_OK;
}

int fc_fib_withdraw(fc_fib *fib, const fc_address *home)
{
    if (fc_fib_address_is_bad(home))
        return FC_EINVAL;
    pthread_mutex_lock(&fib->writer);
    int status = withdraw(fib, home);
    pthread_mutex_unlock(&fib->writer);
    return status;
}

int fc_fib_reserve(fc_fib *fib, uint64_t addresses)
{
    pthread_mutex_lock(&fib->writer);
    const fib_index *x = fib_home_index(fib);
    int status = addresses <= x->count ? FC_OK : fc_fib_make_room(fib, 0, addresses - x->count);
    pthread_mutex_unlock(&fib->writer);
    return status;
}

void fc_fib_reclaim(fc_fib *fib)
{
    pthread_mutex_lock(&fib->writer);
    reclaim(fib);
    pthread_mutex_unlock(&fib->writer);
}

/* ---- Life --------------------------------------------------------------------------------------- */

int fc_fib_new(const uint8_t secret[16], fc_fib **out)
{
    /* mmap, because this has a quarter of a megabyte of pointers to segments, of which a small table touches one page
     */
    fc_fib *fib = mmap(NULL, sizeof *fib, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fib == MAP_FAILED)
        return FC_ENOMEM;
    memcpy(fib->secret, secret, sizeof fib->secret);
    fc_epoch_init(&fib->epoch);
    pthread_mutex_init(&fib->writer, NULL);
    fib->free_numbers = FC_RING(uint32_t);
    fib->retired = FC_RING(fib_retired);
    fib_index *home = NULL, *prefix = NULL;
    if (fc_fib_arena_init(&fib->arena) != FC_OK || fc_fib_index_new(fib, 0, FIRST_ENTRIES, &home) != FC_OK ||
        fc_fib_index_new(fib, 1, FIRST_ENTRIES, &prefix) != FC_OK) {
        fc_fib_index_free(home);
        fc_fib_arena_release(&fib->arena);
        munmap(fib, sizeof *fib);
        return FC_ENOMEM;
    }
    atomic_init(&fib->home, home);
    atomic_init(&fib->prefix, prefix);
    fib->guard = (fc_guard){.lock = &fib->writer, .epoch = &fib->epoch};
    fc_guard_begin(&fib->guard);
    *out = fib;
    return FC_OK;
}

void fc_fib_free(fc_fib *fib)
{
    if (!fib)
        return;
    fc_guard_end(&fib->guard);
    reclaim(fib); /* no reader is inside, so this frees all that waits */
    uint32_t limit = atomic_load(&fib->node_limit);
    for (uint32_t i = 0; i < limit; i++) {
        uint32_t ref = atomic_load_explicit(&fib_node_place(fib, i)->ref, memory_order_relaxed);
        const fib_record *r = (const fib_record *)(const void *)fib_at(&fib->arena, ref);
        if (ref && r->flags & FIB_BIG)
            fc_table_free(fib_big_of(r)->table);
    }
    for (uint32_t i = 0; i < FIB_NODES_CHUNKS && i * FIB_NODES_CHUNK < limit; i++)
        free((void *)atomic_load(&fib->nodes[i]));
    fc_fib_index_free(fib_home_index(fib));
    fc_fib_index_free(fib_prefix_index(fib));
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
    const fib_index *home = fib_home_index(fib), *prefix = fib_prefix_index(fib);
    uint64_t limit = atomic_load_explicit(&fib->node_limit, memory_order_relaxed);
    uint64_t chunks = (limit + FIB_NODES_CHUNK - 1) / FIB_NODES_CHUNK;
    *out = (fc_fib_info){
        .nodes = fib->n_nodes,
        .addresses = home->count,
        .prefixes = prefix->count,
        .bytes = fc_fib_arena_bytes(&fib->arena) + fib_index_bytes(home) + fib_index_bytes(prefix) +
                 chunks * FIB_NODES_CHUNK * sizeof(fib_place) + fib->table_bytes + fib->scratch_size +
                 fc_ring_bytes(&fib->retired) + fc_ring_bytes(&fib->free_numbers) + sizeof *fib - sizeof fib->nodes -
                 sizeof fib->arena.segment - sizeof fib->arena.edge,
        .waiting = fib->waiting,
        .freed = fib->freed,
    };
    for (uint32_t i = 0; i < fib->retired.count; i++) {
        const fib_retired *o = fc_ring_at(&fib->retired, i);
        out->bytes += o->index ? o->size : 0; /* records that wait are still counted in the arena */
    }
    pthread_mutex_unlock(&fib->writer);
}
