/* ring.h - a queue of items of one size that grows when it is full: what was put in first comes out first. */
#ifndef FC_RING_H
#define FC_RING_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "flowclass.h"

/* Begin with FC_RING(type of the items). */
typedef struct fc_ring {
    uint8_t *items;
    uint32_t octets; /* of an item */
    uint32_t size;   /* places: 0, or a power of two */
    uint32_t first, count;
} fc_ring;

#define FC_RING(type) ((fc_ring){.octets = sizeof(type)})

/* The i-th item, 0 the oldest. */
static inline void *fc_ring_at(const fc_ring *r, uint32_t i)
{
    return r->items + (size_t)((r->first + i) & (r->size - 1)) * r->octets;
}

/* Room for `more` items, so that so many calls of fc_ring_push can't fail. FC_ENOMEM: nothing has changed. */
static inline int fc_ring_reserve(fc_ring *r, uint32_t more)
{
    uint64_t size = r->size ? r->size : 256;
    if ((uint64_t)r->count + more <= r->size)
        return FC_OK;
    while (size < (uint64_t)r->count + more)
        size *= 2;
    uint8_t *items = size > UINT32_MAX ? NULL : malloc((size_t)size * r->octets);
    if (items == NULL)
        return FC_ENOMEM;
    for (uint32_t i = 0; i < r->count; i++)
        memcpy(items + (size_t)i * r->octets, fc_ring_at(r, i), r->octets);
    free(r->items);
    r->items = items;
    r->size = (uint32_t)size;
    r->first = 0;
    return FC_OK;
}

/* A new item at the end, to be written by the caller; its room has been reserved. */
static inline void *fc_ring_push(fc_ring *r) { return fc_ring_at(r, r->count++); }

/* Takes out the oldest item. */
static inline void fc_ring_drop(fc_ring *r)
{
    r->first = (r->first + 1) & (r->size - 1);
    r->count--;
}

static inline uint64_t fc_ring_bytes(const fc_ring *r) { return (uint64_t)r->size * r->octets; }

static inline void fc_ring_free(fc_ring *r)
{
    free(r->items);
    r->items = NULL;
    r->size = r->first = r->count = 0;
}

#endif
