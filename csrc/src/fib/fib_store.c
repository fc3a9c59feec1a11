/* fib_store.c - where the forwarding table keeps its records, and the index that finds them. Writers only, but for what
 * fc_fib.h has inline. */
#include <stdlib.h>

#include "../common/memory.h"
#include "../common/wide.h"
#include "format.h"

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
const uint64_t fc_fib_compared[4] = {0, (uint64_t)0xff << FIB_TAIL_PROTOCOL, (uint64_t)0xff << FIB_TAIL_VERSION,
                                  (uint64_t)0xffff << FIB_TAIL_PROTOCOL};

const uint64_t fc_fib_masks[161][2] = {M64(0), M64(64), M1(128), V16(1), V16(17)};

/* ---- Arena -------------------------------------------------------------------------------------------------------
 *
 * Free blocks are in lists by size. A block that comes back is joined with the free ones beside it, so that nodes whose
 * records change in size again and again don't grind the memory into pieces. A free block says its size at both ends;
 * a bit map says which units are such ends. */

#define SEGMENT_SIZE ((size_t)FIB_SEGMENT_UNITS * FIB_UNIT)
#define UNIT_OF(ref) ((ref) & (FIB_SEGMENT_UNITS - 1))

typedef struct block { /* the first unit of a free one */
    uint32_t next, before; /* in its list; 0: none */
    uint32_t units;
    uint32_t at_end; /* in its last unit (which may be the first): units */
} block;
_Static_assert(sizeof(block) == FIB_UNIT, "a block of one unit");

static block *block_at(const fib_arena *a, uint32_t ref) { return (block *)(void *)fib_at(a, ref); }

/* The list for a block of this size: exact up to FIB_EXACT_UNITS, then 2^i to 2^(i+1) - 1. */
static unsigned list_of(uint32_t units)
{
    return units <= FIB_EXACT_UNITS ? units : FIB_EXACT_UNITS + (31u - (unsigned)__builtin_clz(units)) - 7;
}

static void set_edge(fib_arena *a, uint32_t ref, int on)
{
    uint64_t *word = &a->edge[ref >> FIB_SEGMENT_BITS][UNIT_OF(ref) / 64], bit = (uint64_t)1 << UNIT_OF(ref) % 64;
    *word = on ? *word | bit : *word & ~bit;
}

static int is_edge(const fib_arena *a, uint32_t ref)
{
    return a->edge[ref >> FIB_SEGMENT_BITS][UNIT_OF(ref) / 64] >> UNIT_OF(ref) % 64 & 1;
}

static void add_block(fib_arena *a, uint32_t ref, uint32_t units)
{
    unsigned list = list_of(units);
    block *b = block_at(a, ref);
    *b = (block){a->free_list[list], 0, units, units};
    block_at(a, ref + units - 1)->at_end = units;
    if (b->next)
        block_at(a, b->next)->before = ref;
    a->free_list[list] = ref;
    a->lists[list / 64] |= (uint64_t)1 << list % 64;
    set_edge(a, ref, 1);
    set_edge(a, ref + units - 1, 1);
}

/* Out of its list; returns its size. */
static uint32_t remove_block(fib_arena *a, uint32_t ref)
{
    const block b = *block_at(a, ref);
    unsigned list = list_of(b.units);
    if (b.next)
        block_at(a, b.next)->before = b.before;
    if (b.before)
        block_at(a, b.before)->next = b.next;
    else if (!(a->free_list[list] = b.next))
        a->lists[list / 64] &= ~((uint64_t)1 << list % 64);
    set_edge(a, ref, 0);
    set_edge(a, ref + b.units - 1, 0);
    return b.units;
}

/* The first segment is not on huge pages: a small table then takes the 4 KiB pages that it touches, and not 2 MiB. */
static int grow(fib_arena *a)
{
    if (a->segments == FIB_SEGMENTS)
        return FC_ENOMEM;
    uint8_t *p = a->segments ? fc_big_alloc(SEGMENT_SIZE) : aligned_alloc(64, SEGMENT_SIZE);
    uint64_t *edge = calloc(FIB_SEGMENT_UNITS / 64, sizeof *edge);
    if (!p || !edge) {
        fc_big_free(p);
        free(edge);
        return FC_ENOMEM;
    }
    if (a->segments && a->next < FIB_SEGMENT_UNITS) /* the rest of the last one */
        add_block(a, (a->segments - 1) << FIB_SEGMENT_BITS | a->next, FIB_SEGMENT_UNITS - a->next);
    a->edge[a->segments] = edge;
    a->segment[a->segments++] = p;
    a->next = 0;
    return FC_OK;
}

int fc_fib_arena_init(fib_arena *a)
{
    memset(a->free_list, 0, sizeof a->free_list);
    memset(a->lists, 0, sizeof a->lists);
    a->segments = 0;
    if (grow(a) != FC_OK)
        return FC_ENOMEM;
    /* reference 0: nobody's record, so that a reader need not ask whether it has found one before it looks */
    fib_anchor *nobody = (fib_anchor *)(void *)a->segment[0];
    memset(nobody, 0, 128);
    nobody->flags = FIB_ANCHOR;
    a->next = 128 / FIB_UNIT;
    return FC_OK;
}

void fc_fib_arena_release(fib_arena *a)
{
    for (uint32_t i = 0; i < a->segments; i++) {
        fc_big_free(a->segment[i]);
        free(a->edge[i]);
    }
}

/* A free block of at least so many units; of the large ones' lists only the first few are looked at. 0: none. */
static uint32_t find_block(const fib_arena *a, uint32_t units)
{
    unsigned list = list_of(units);
    if (list > FIB_EXACT_UNITS) {
        uint32_t ref = a->free_list[list];
        for (int i = 0; ref && i < 16; i++, ref = block_at(a, ref)->next)
            if (block_at(a, ref)->units >= units)
                return ref;
        list++;
    }
    for (unsigned word = list / 64; word < sizeof a->lists / sizeof a->lists[0]; word++) {
        uint64_t lists = a->lists[word] & (word == list / 64 ? UINT64_MAX << list % 64 : UINT64_MAX);
        if (lists)
            return a->free_list[64 * word + (unsigned)__builtin_ctzll(lists)];
    }
    return 0;
}

uint32_t fc_fib_arena_alloc(fib_arena *a, uint32_t units)
{
    if (units == 0 || units > FIB_SEGMENT_UNITS)
        return 0;
    uint32_t ref = find_block(a, units);
    if (ref) {
        uint32_t size = remove_block(a, ref);
        if (size > units)
            add_block(a, ref + units, size - units);
        return ref;
    }
    if (a->next + units > FIB_SEGMENT_UNITS && grow(a) != FC_OK)
        return 0;
    ref = (a->segments - 1) << FIB_SEGMENT_BITS | a->next;
    a->next += units;
    return ref;
}

void fc_fib_arena_free(fib_arena *a, uint32_t ref, uint32_t units)
{
#ifdef FC_FIB_POISON /* in tests: what is freed too early gives wrong answers at once */
    memset(fib_at(a, ref), 0xdd, (size_t)units * FIB_UNIT);
#endif
    uint32_t after = ref + units;
    if (UNIT_OF(ref) && is_edge(a, ref - 1)) {
        ref -= block_at(a, ref - 1)->at_end;
        units += remove_block(a, ref);
    }
    if (UNIT_OF(after) && is_edge(a, after))
        units += remove_block(a, after);
    if (ref >> FIB_SEGMENT_BITS == a->segments - 1 && UNIT_OF(ref) + units == a->next)
        a->next = UNIT_OF(ref); /* nothing is behind it: as if it had never been handed out */
    else
        add_block(a, ref, units);
}

/* Pages that were never touched cost nothing and don't count. */
uint64_t fc_fib_arena_bytes(const fib_arena *a)
{
    return (uint64_t)(a->segments - 1) * SEGMENT_SIZE + (uint64_t)a->next * FIB_UNIT + a->segments * (FIB_SEGMENT_UNITS / 8);
}

/* ---- Index ---------------------------------------------------------------------------------------------------------- */

static uint64_t next_key(fc_fib *fib)
{
    /* splitmix64 over the secret: the keys of every index differ, nobody can tell them without it */
    return fc_scramble(fib->secret[0] ^ (++fib->seeds * FC_GOLDEN), fib->secret[1]);
}

/* Room for so many entries at three quarters of the ways taken. */
int fc_fib_index_new(fc_fib *fib, uint64_t entries, fib_index **out)
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

void fc_fib_index_free(fib_index *x)
{
    if (!x)
        return;
    fc_big_free(x->bucket);
    free(x);
}

/* There must be a free way. *probes: buckets that were full. The reference is stored last: it makes the entry one. */
void fc_fib_index_put(fib_index *x, fib_hash h, uint32_t ref, uint32_t *probes)
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
    atomic_store_explicit(entry, 0, memory_order_release);
    x->count--;
    for (uint32_t back = h.bucket; back != at; back = back + 1 == x->buckets ? 0 : back + 1) {
        uint16_t passed = atomic_load_explicit(&x->bucket[back].passed, memory_order_relaxed);
        if (passed != UINT16_MAX)
            atomic_store_explicit(&x->bucket[back].passed, (uint16_t)(passed - 1), memory_order_release);
    }
}
