/* memory.c - large blocks, on huge pages where the system has them, and reserved address space. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* -std=c11 alone leaves out madvise and MAP_NORESERVE */
#endif
#include <stdlib.h>
#include <sys/mman.h>

#include "memory.h"

#define HUGE ((size_t)2 << 20)

void *fc_big_alloc(size_t size)
{
    if (size < HUGE)
        return aligned_alloc(64, (size + 63) / 64 * 64 + 64);
    void *p = aligned_alloc(HUGE, (size + HUGE - 1) / HUGE * HUGE);
#if defined(MADV_HUGEPAGE)
    if (p != NULL)
        madvise(p, (size + HUGE - 1) / HUGE * HUGE, MADV_HUGEPAGE); /* advice: a refusal changes nothing */
#endif
    return p;
}

void fc_big_free(void *p) { free(p); }

void *fc_reserve(size_t octets)
{
    void *p = mmap(NULL, octets, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void *fc_zeros(size_t octets)
{
    void *p = fc_reserve(octets);
#if defined(MADV_HUGEPAGE)
    if (p != NULL)
        madvise(p, octets, MADV_HUGEPAGE);
#endif
    return p;
}

void fc_unreserve(void *p, size_t octets)
{
    if (p != NULL)
        munmap(p, octets);
}
