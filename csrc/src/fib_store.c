/* fib_store.c - where the forwarding table keeps its records, and the index that finds them. Writers only, but for what
 * fc_fib.h has inline. */
#include <stdlib.h>

#include "fc_fib.h"
#include "fc_internal.h"

/* ---- Masks --------------------------------------------------------------------------------------------------- */

#define HI(n) ((n) == 0 ? 0 : (n) >= 64 ? UINT64_MAX : UINT64_MAX << ((64 - (n)) & 63))
#define LO(n) ((n) <= 64 ? 0 : (n) == 128 ? UINT64_MAX : UINT64_MAX << ((128 - (n)) & 63))
#define M1(n) {HI(n), LO(n)}
#define M4(n) M1(n), M1((n) + 1), M1((n) + 2), M1((n) + 3)
#define M16(n) M4(n), M4((n) + 4), M4((n) + 8), M4((n) + 12)
#define M64(n) M16(n), M16((n) + 16), M16((n) + 32), M16((n) + 48)
#define V1(n) {0, UINT64_MAX << (32 - (n))} /* an IPv4 address has 0 above: the mask may ask for that */
#define V4(n) V1(n), V1((n) + 1), V1((n) + 2), V1((n) + 3)
#define V16(n) V4(n), V4((n) + 4), V4((n) + 8), V4((n) + 12)
const uint64_t fib_masks[161][2] = {M64(0), M64(64), M1(128), V16(1), V16(17)};

/* ---- Arena ------------------------------------------------------------------------------------------------------- */

#define SEGMENT_SIZE ((size_t)FIB_SEGMENT_UNITS * FIB_UNIT)

/* The first segment is not on huge pages: a small table then takes the 4 KiB pages that it touches, and not 2 MiB. */
static uint8_t *new_segment(const fib_arena *a)
{
    return a->segments ? fc_big_alloc(SEGMENT_SIZE) : aligned_alloc(64, SEGMENT_SIZE);
}

/* The list for a block of this size: exact up to FIB_EXACT_UNITS, then 2^i to 2^(i+1) - 1. */
static unsigned list_of(uint32_t units)
{
    return units <= FIB_EXACT_UNITS ? units : FIB_EXACT_UNITS + (31u - (unsigned)__builtin_clz(units)) - 7;
}

static uint32_t *link_of(fib_arena *a, uint32_t ref) { return (uint32_t *)(void *)fib_at(a, ref); }

static void give_back(fib_arena *a, uint32_t ref, uint32_t units)
{
    unsigned list = list_of(units);
    uint32_t *link = link_of(a, ref);
    link[0] = a->free_list[list];
    link[1] = units;
    a->free_list[list] = ref;
}

static int grow(fib_arena *a)
{
    if (a->segments == FIB_SEGMENTS)
        return FC_ENOMEM;
    uint8_t *p = new_segment(a);
    if (!p)
        return FC_ENOMEM;
    if (a->segments && a->next < FIB_SEGMENT_UNITS) /* the rest of the last one */
        give_back(a, (a->segments - 1) << FIB_SEGMENT_BITS | a->next, FIB_SEGMENT_UNITS - a->next);
    a->segment[a->segments++] = p;
    a->next = 0;
    return FC_OK;
}

int fib_arena_init(fib_arena *a)
{
    memset(a, 0, sizeof *a);
    if (grow(a) != FC_OK)
        return FC_ENOMEM;
    /* reference 0: nobody's record, so that a reader need not ask whether it has found one before it looks */
    fib_anchor *nobody = (fib_anchor *)(void *)a->segment[0];
    memset(nobody, 0, sizeof *nobody);
    nobody->flags = FIB_ANCHOR;
    a->next = 128 / FIB_UNIT;
    return FC_OK;
}

void fib_arena_release(fib_arena *a)
{
    for (uint32_t i = 0; i < a->segments; i++)
        free(a->segment[i]);
}

/* The first of a list's first few blocks that is large enough; what is over goes back. 0: none. */
static uint32_t take(fib_arena *a, unsigned list, uint32_t units)
{
    uint32_t *from = &a->free_list[list];
    for (int i = 0; i < 16 && *from; i++) {
        uint32_t ref = *from;
        uint32_t *link = link_of(a, ref);
        if (link[1] >= units) {
            *from = link[0];
            if (link[1] > units)
                give_back(a, ref + units, link[1] - units);
            return ref;
        }
        from = link;
    }
    return 0;
}

/* A block of the same list; else the rest of the last segment; else a larger one is split, which is last because the
 * pieces stay pieces. */
uint32_t fib_arena_alloc(fib_arena *a, uint32_t units)
{
    if (units == 0 || units > FIB_SEGMENT_UNITS)
        return 0;
    unsigned list = list_of(units);
    uint32_t ref = take(a, list, units);
    if (!ref && a->next + units <= FIB_SEGMENT_UNITS) {
        ref = (a->segments - 1) << FIB_SEGMENT_BITS | a->next;
        a->next += units;
    }
    while (!ref && ++list < FIB_CLASSES)
        ref = take(a, list, units);
    if (!ref)
        return grow(a) == FC_OK ? fib_arena_alloc(a, units) : 0; /* once more: it fits a new segment */
    a->used += (uint64_t)units * FIB_UNIT;
    return ref;
}

void fib_arena_free(fib_arena *a, uint32_t ref, uint32_t units)
{
#ifdef FC_FIB_POISON /* in tests: what is freed too early gives wrong answers at once */
    memset(fib_at(a, ref), 0xdd, (size_t)units * FIB_UNIT);
#endif
    a->used -= (uint64_t)units * FIB_UNIT;
    give_back(a, ref, units);
}

/* Pages that were never touched cost nothing and don't count. */
uint64_t fib_arena_bytes(const fib_arena *a)
{
    return (uint64_t)(a->segments - 1) * SEGMENT_SIZE + (uint64_t)a->next * FIB_UNIT;
}

/* ---- Index ---------------------------------------------------------------------------------------------------------- */

static uint64_t next_key(fc_fib *fib)
{
    /* splitmix64 over the secret: the keys of every index differ, nobody can tell them without it */
    uint64_t z = fib->secret[0] ^ (++fib->seeds * 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30 ^ fib->secret[1]) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Room for so many entries at three quarters of the ways taken. */
int fib_index_new(fc_fib *fib, uint64_t entries, fib_index **out)
{
    uint64_t buckets = entries * 4 / (3 * FIB_WAYS) + 2;
    if (buckets > UINT32_MAX / 2)
        return FC_ENOMEM;
    fib_index *x = calloc(1, sizeof *x);
    if (!x)
        return FC_ENOMEM;
    x->buckets = (uint32_t)buckets;
    x->bucket = fc_big_alloc(buckets * sizeof(fib_bucket));
    if (!x->bucket) {
        free(x);
        return FC_ENOMEM;
    }
    memset((void *)x->bucket, 0, buckets * sizeof(fib_bucket));
    for (int i = 0; i < 5; i++)
        x->key[i] = next_key(fib);
    *out = x;
    return FC_OK;
}

void fib_index_free(fib_index *x)
{
    if (!x)
        return;
    fc_big_free(x->bucket);
    free(x);
}

/* There must be a free way. *probes: buckets that were full. The reference is stored last: it makes the entry one. */
void fib_index_put(fib_index *x, fib_hash h, uint32_t ref, uint32_t *probes)
{
    uint32_t at = h.bucket;
    for (*probes = 0;; ++*probes, at = at + 1 == x->buckets ? 0 : at + 1) {
        fib_bucket *b = &x->bucket[at];
        for (unsigned i = 0; i < FIB_WAYS; i++) {
            if (atomic_load_explicit(&b->ref[i], memory_order_relaxed))
                continue;
            atomic_store_explicit(&b->tag[i], h.tag, memory_order_release);
            atomic_store_explicit(&b->ref[i], ref, memory_order_release);
            x->count++;
            return;
        }
        uint16_t passed = atomic_load_explicit(&b->passed, memory_order_relaxed);
        if (passed != UINT16_MAX)
            atomic_store_explicit(&b->passed, (uint16_t)(passed + 1), memory_order_release);
    }
}

/* The entry with this hash and reference, and the bucket that it is in; NULL: there is none. */
_Atomic uint32_t *fib_index_entry(fib_index *x, fib_hash h, uint32_t ref, uint32_t *at)
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

void fib_index_remove(fib_index *x, fib_hash h, uint32_t ref)
{
    uint32_t at;
    _Atomic uint32_t *entry = fib_index_entry(x, h, ref, &at);
    if (!entry)
        return;
    atomic_store_explicit(entry, 0, memory_order_release);
    x->count--;
    for (uint32_t back = h.bucket; back != at; back = back + 1 == x->buckets ? 0 : back + 1) {
        uint16_t passed = atomic_load_explicit(&x->bucket[back].passed, memory_order_relaxed);
        if (passed != UINT16_MAX)
            atomic_store_explicit(&x->bucket[back].passed, (uint16_t)(passed - 1), memory_order_release);
    }
}
