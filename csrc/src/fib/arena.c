/* arena.c - memory for the forwarding table's records: units of one cache line, named by 32-bit references. Only
 * writers come here; readers find a record by its reference (fib_at in format.h).
 *
 * Free blocks are in lists by size. A block that comes back is joined with the free ones beside it, so that nodes whose
 * records change in size again and again don't grind the memory into pieces. A free block holds its size in its first
 * and in its last unit, and a bit map says which units are such ends: so the owner of the unit before or after a block
 * is found without a search. */
#include <stdlib.h>

#include "../common/memory.h"
#include "format.h"

#define SEGMENT_SIZE ((size_t)FIB_SEGMENT_UNITS * FIB_UNIT)
#define UNIT_OF(ref) ((ref) & (FIB_SEGMENT_UNITS - 1))

typedef struct block {     /* what the first unit of a free block holds */
    uint32_t next, before; /* the references of its neighbours in the list; 0: it has none there */
    uint32_t units;        /* its size */
    uint32_t at_end;       /* its size once more, valid in its last unit, which may be the first */
} block;
_Static_assert(sizeof(block) <= FIB_UNIT, "a block of one unit");

static block *block_at(const fib_arena *a, uint32_t ref) { return (block *)(void *)fib_at(a, ref); }

/* The list for a block of this size. Up to FIB_EXACT_UNITS each size has a list of its own; beyond, one list has all
 * sizes from 2^i to 2^(i+1) - 1. */
static unsigned list_of(uint32_t units)
{
    return units <= FIB_EXACT_UNITS ? units
                                    : FIB_EXACT_UNITS + (31u - (unsigned)__builtin_clz(units)) - (FIB_EXACT_BITS - 1);
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

/* Takes a free block out of its list and returns its size. */
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
static int grow_arena(fib_arena *a)
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
    if (a->segments && a->next < FIB_SEGMENT_UNITS) /* what is left of the segment before becomes a free block */
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
    if (grow_arena(a) != FC_OK)
        return FC_ENOMEM;
    /* Reference 0 leads to an anchor that is nobody's, so that a reader may look at what it has found before it asks
     * whether it has found anything. FIB_GONE leads to another one. */
    memset(a->segment[0], 0, (FIB_GONE + 1) * FIB_UNIT);
    for (uint32_t ref = 0; ref <= FIB_GONE; ref++)
        ((fib_anchor *)(void *)fib_at(a, ref))->flags = FIB_ANCHOR;
    a->next = FIB_GONE + 1;
    return FC_OK;
}

void fc_fib_arena_release(fib_arena *a)
{
    for (uint32_t i = 0; i < a->segments; i++) {
        fc_big_free(a->segment[i]);
        free(a->edge[i]);
    }
}

/* Finds a free block of at least so many units, or 0. In a list of many sizes only the first 16 blocks are looked at;
 * then the lists of larger blocks follow, where any block will do. */
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
    if (a->next + units > FIB_SEGMENT_UNITS && grow_arena(a) != FC_OK)
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
        a->next = UNIT_OF(ref); /* nothing in use is behind it, so it is as if it had never been handed out */
    else
        add_block(a, ref, units);
}

/* The octets that the arena takes from the system. Pages that were never touched cost nothing and don't count. */
uint64_t fc_fib_arena_bytes(const fib_arena *a)
{
    return (uint64_t)(a->segments - 1) * SEGMENT_SIZE + (uint64_t)a->next * FIB_UNIT +
           a->segments * (FIB_SEGMENT_UNITS / 8);
}
