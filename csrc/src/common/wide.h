/* wide.h - 128-bit integers as two words, the more significant first, and words out of memory. */
#ifndef FC_WIDE_H
#define FC_WIDE_H

#include <stdint.h>
#include <string.h>

/* Is a smaller than b? */
static inline int fc_below(const uint64_t a[2], const uint64_t b[2])
{
    return a[0] != b[0] ? a[0] < b[0] : a[1] < b[1];
}

/* Eight octets at any alignment, in the host's order. */
static inline uint64_t fc_load64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

/* The last step of splitmix64 (Steele, Lea and Flood, OOPSLA 2014): every bit of `z` reaches every bit of the result.
 * `salt` keeps whoever does not know it from telling the result; 0 where that does not matter. */
static inline uint64_t fc_scramble(uint64_t z, uint64_t salt)
{
    z = (z ^ z >> 30 ^ salt) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* 2^64 over the golden ratio: the step of splitmix64, and a good odd multiplier. */
#define FC_GOLDEN 0x9e3779b97f4a7c15u

#endif
