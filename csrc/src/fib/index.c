/* index.c - leads from addresses and prefixes to the references of records, by open addressing over buckets of one
 * cache line. Why it is made so stands at the head of publish.c. Readers probe it with fib_probe (search.h); all that
 * is here is for writers. */
#include <stdlib.h>

#include "../common/memory.h"
#include "../common/wide.h"
#include "search.h"

#define MAX_PROBES 16u   /* full buckets in a row before an index gets new keys */
#define FILTER_WORDS 32u /* for each prefix, ... */
#define LEAST_WORDS (1u << 14)
#define MOST_WORDS (1u << 18) /* ... but no more than 1 MiB: enough for 8,192 prefixes */
#define STALE 64u             /* prefixes that are gone may outnumber those that are left by this many */

/* ---- One index ---------------------------------------------------------------------------------- */

static uint64_t next_key(fc_fib *fib)
{
    /* This is splitmix64 over the secret: every index has other keys, and nobody can tell them without the secret. */
    return fc_scramble(fib->secret[0] ^ (++fib->seeds * FC_GOLDEN), fib->secret[1]);
}

static fib_filter *new_filter(fc_fib *fib, uint64_t entries)
{
    uint32_t words = LEAST_WORDS;
    while (words < MOST_WORDS && words < FILTER_WORDS * entries)
        words *= 2;
    size_t size = sizeof(fib_filter) + 4 * (size_t)words;
    fib_filter *f = fc_big_alloc(size);
    if (!f)
        return NULL;
    memset((void *)f, 0, size);
    f->mask = words - 1;
    for (unsigned i = 0; i < 2; i++)
        f->start[i] = (uint32_t)next_key(fib);
    for (unsigned value = 0; value < 16; value++) {
        for (unsigned bits = 1; bits <= 4; bits++)
            f->admits[value] |= fib_part_of(value, bits);
        for (unsigned i = 0; i < 32; i++)
            f->step[i][value] = (uint32_t)next_key(fib);
    }
    return f;
}

/* Makes an index that has three quarters of its ways in use when it holds so many entries. */
int fc_fib_index_new(fc_fib *fib, int prefixes, uint64_t entries, fib_index **out)
{
    uint64_t buckets = entries * 4 / (3 * FIB_WAYS) + 2;
    if (buckets > UINT32_MAX / 2)
        return FC_ENOMEM;
    fib_index *x = calloc(1, sizeof *x);
    if (!x)
        return FC_ENOMEM;
    x->buckets = (uint32_t)buckets;
    x->bucket = fc_big_alloc(buckets * sizeof(fib_bucket));
    x->filter = prefixes ? new_filter(fib, entries) : NULL;
    if (!x->bucket || (prefixes && !x->filter)) {
        fc_fib_index_free(x);
        return FC_ENOMEM;
    }
    memset((void *)x->bucket, 0, buckets * sizeof(fib_bucket));
    for (int i = 0; i < 5; i++)
        x->key[i] = next_key(fib);
    *out = x;
    return FC_OK;
}

void fc_fib_index_free(fib_index *x)
{
    if (!x)
        return;
    fc_big_free(x->bucket);
    fc_big_free(x->filter);
    free(x);
}

static int is_free(const fib_bucket *b, unsigned way)
{
    return atomic_load_explicit(&b->ref[way], memory_order_relaxed) <= FIB_GONE;
}

/* Adds an entry in the first free way; the index must have one. *probes becomes the number of full buckets that were
 * passed. The tag is stored last: readers compare what an entry leads to, but a tag without a reference would tell them
 * that no way behind it has an entry with this tag. */
void fc_fib_index_put(fib_index *x, fib_hash h, uint32_t ref, uint32_t *probes)
{
    uint32_t at = h.bucket;
    for (*probes = 0;; ++*probes, at = at + 1 == x->buckets ? 0 : at + 1) {
        fib_bucket *b = &x->bucket[at];
        for (unsigned i = 0; i < FIB_WAYS; i++) {
            if (!is_free(b, i))
                continue;
            atomic_store_explicit(&b->ref[i], ref, memory_order_release);
            atomic_store_explicit(&b->tag[i], h.tag, memory_order_release);
            x->count++;
            return;
        }
        uint16_t passed = atomic_load_explicit(&b->passed, memory_order_relaxed);
        if (passed != UINT16_MAX)
            atomic_store_explicit(&b->passed, (uint16_t)(passed + 1), memory_order_release);
    }
}

/* The entry with this hash and reference, and the bucket that it is in; NULL: there is none. */
_Atomic uint32_t *fc_fib_index_entry(fib_index *x, fib_hash h, uint32_t ref, uint32_t *at)
{
    *at = h.bucket;
    for (uint32_t probes = 0; probes < x->buckets; probes++, *at = *at + 1 == x->buckets ? 0 : *at + 1) {
        fib_bucket *b = &x->bucket[*at];
        for (unsigned i = 0; i < FIB_WAYS; i++)
            if (atomic_load_explicit(&b->ref[i], memory_order_relaxed) == ref &&
                atomic_load_explicit(&b->tag[i], memory_order_relaxed) == h.tag)
                return &b->ref[i];
        if (!atomic_load_explicit(&b->passed, memory_order_relaxed))
            return NULL;
    }
    return NULL;
}

void fc_fib_index_remove(fib_index *x, fib_hash h, uint32_t ref)
{
    uint32_t at;
    _Atomic uint32_t *entry = fc_fib_index_entry(x, h, ref, &at);
    if (!entry)
        return;
    fib_bucket *b = &x->bucket[at];
    uint32_t left = atomic_load_explicit(&b->passed, memory_order_relaxed) ? FIB_GONE : 0;
    for (unsigned i = (unsigned)(entry - b->ref) + 1; i < FIB_WAYS; i++)
        if (!is_free(b, i) && atomic_load_explicit(&b->tag[i], memory_order_relaxed) == h.tag)
            left = FIB_GONE;
    atomic_store_explicit(entry, left, memory_order_release);
    x->count--;
    for (uint32_t back = h.bucket; back != at; back = back + 1 == x->buckets ? 0 : back + 1) {
        uint16_t passed = atomic_load_explicit(&x->bucket[back].passed, memory_order_relaxed);
        if (passed != UINT16_MAX)
            atomic_store_explicit(&x->bucket[back].passed, (uint16_t)(passed - 1), memory_order_release);
    }
}

static void put_in_filter(fib_filter *f, const fc_address *prefix)
{
    unsigned first = prefix->version == 4 ? 24 : 0, last = first + (prefix->length + 3u) / 4 - 1;
    uint32_t h = f->start[prefix->version == 6];
    if (prefix->length == 0) /* always asked for */
        return;
    for (unsigned i = first; i < last; i++)
        h ^= f->step[i][fib_nibble(prefix->words, i)];
    uint32_t part = fib_part_of(fib_nibble(prefix->words, last), (prefix->length + 3u) % 4 + 1);
    atomic_fetch_or_explicit(&f->word[h & f->mask], part, memory_order_release);
}

/* ---- The table's two: addresses and prefixes ---------------------------------------------------- */

/* Copies an entry of an index that is being replaced into the new one. When it leads to an anchor, all entries of that
 * node are copied, and the anchor is marked so that its other entries are passed over. Returns how many full buckets
 * were passed at most. */
static uint32_t copy_entry(fc_fib *fib, fib_index *to, uint32_t entry, int prefixes)
{
    uint32_t ref, probes, worst = 0;
    unsigned n = 0;
    fib_anchor *anchor = (fib_anchor *)(void *)fib_at(&fib->arena, entry);
    const fib_record *r = fib_open(fib, entry, &ref);
    if (anchor->flags & FIB_ANCHOR) {
        if (anchor->mark == (uint32_t)fib->seeds)
            return 0;
        anchor->mark = (uint32_t)fib->seeds;
        const fc_address *a = fib_addresses_of(r, prefixes, &n);
        for (unsigned i = 0; i < n; i++) {
            if (prefixes)
                put_in_filter(to->filter, &a[i]);
            fc_fib_index_put(to, fib_hash_of_address(to, &a[i], prefixes), entry, &probes);
            worst = probes > worst ? probes : worst;
        }
    }
    if (!prefixes) {
        fc_address home = fib_home_of(r);
        fc_fib_index_put(to, fib_hash_of_address(to, &home, 0), entry, &probes);
        worst = probes > worst ? probes : worst;
    }
    return worst;
}

/* Puts a new index in the place of the old one, with room for `entries`, other keys, and the same entries. */
int fc_fib_replace_index(fc_fib *fib, int prefixes, uint64_t entries)
{
    fib_index *_Atomic *at = prefixes ? &fib->prefix : &fib->home;
    fib_index *old = atomic_load_explicit(at, memory_order_relaxed), *x;
    if (fc_ring_reserve(&fib->retired, 1) != FC_OK)
        return FC_ENOMEM;
    for (int attempt = 0;; attempt++) {
        int status = fc_fib_index_new(fib, prefixes, entries, &x);
        if (status != FC_OK)
            return status;
        uint32_t worst = 0;
        for (uint32_t i = 0; i < old->buckets; i++)
            for (unsigned way = 0; way < FIB_WAYS; way++) {
                uint32_t entry = atomic_load_explicit(&old->bucket[i].ref[way], memory_order_relaxed);
                uint32_t probes = entry > FIB_GONE ? copy_entry(fib, x, entry, prefixes) : 0;
                worst = probes > worst ? probes : worst;
            }
        if (worst <= MAX_PROBES || attempt == 3)
            break;
        fc_fib_index_free(x);
    }
    atomic_store_explicit(at, x, memory_order_release);
    fc_fib_retire(fib, 0, old);
    return FC_OK;
}

/* Sees to it that `more` entries find room. Grows by a half: between 8.5 and 13 octets an entry. */
int fc_fib_make_room(fc_fib *fib, int prefixes, uint64_t more)
{
    const fib_index *x = prefixes ? fib_prefix_index(fib) : fib_home_index(fib);
    uint64_t wanted = x->count + more;
    if (wanted * 4 <= (uint64_t)x->buckets * FIB_WAYS * 3)
        return FC_OK;
    return fc_fib_replace_index(fib, prefixes, wanted + wanted / 2);
}

void fc_fib_add_address(fc_fib *fib, const fc_address *a, int is_prefix, uint32_t entry)
{
    uint32_t probes;
    fib_index *x = is_prefix ? fib_prefix_index(fib) : fib_home_index(fib);
    if (is_prefix)
        put_in_filter(x->filter, a);
    fc_fib_index_put(x, fib_hash_of_address(x, a, is_prefix), entry, &probes);
    if (is_prefix && fib->length_count[a->version == 6][a->length]++ == 0)
        atomic_fetch_or(&fib->lengths[a->version == 6][a->length / 64], (uint64_t)1 << a->length % 64);
    if (probes > MAX_PROBES)
        fib->crowded[is_prefix] = 1;
}

void fc_fib_remove_address(fc_fib *fib, const fc_address *a, int is_prefix, uint32_t entry)
{
    fib_index *x = is_prefix ? fib_prefix_index(fib) : fib_home_index(fib);
    fc_fib_index_remove(x, fib_hash_of_address(x, a, is_prefix), entry);
    if (is_prefix && ++x->filter->stale > x->count + STALE)
        fib->crowded[1] = 1;
    if (is_prefix && --fib->length_count[a->version == 6][a->length] == 0)
        atomic_fetch_and(&fib->lengths[a->version == 6][a->length / 64], ~((uint64_t)1 << a->length % 64));
}

/* The entry of a node's home address in the index: the record's reference itself, or its anchor's. */
_Atomic uint32_t *fc_fib_home_entry(const fc_fib *fib, const fib_record *r, uint32_t ref)
{
    fib_index *x = fib_home_index(fib);
    fc_address home = fib_home_of(r);
    uint32_t at;
    _Atomic uint32_t *entry = fc_fib_index_entry(x, fib_hash_of_address(x, &home, 0), ref, &at);
    if (entry)
        return entry;
    fib_hash h = fib_hash_of_address(x, &home, 0);
    for (at = h.bucket;; at = at + 1 == x->buckets ? 0 : at + 1)
        for (unsigned i = 0; i < FIB_WAYS; i++) {
            uint32_t of, found = atomic_load_explicit(&x->bucket[at].ref[i], memory_order_relaxed);
            if (found && fib_open(fib, found, &of) == r &&
                atomic_load_explicit(&x->bucket[at].tag[i], memory_order_relaxed) == h.tag)
                return &x->bucket[at].ref[i];
        }
}
