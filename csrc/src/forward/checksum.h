/* checksum.h - the Internet checksum (RFC 1071), over words in host order: its bytes come out right on either kind of
 * host. */
#ifndef FC_CHECKSUM_H
#define FC_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Adds n octets; a piece with an odd number of them must be the last. */
static inline uint64_t fc_sum(const uint8_t *p, size_t n, uint64_t sum)
{
    uint32_t w;
    size_t words = n / 4;
    for (size_t i = 0; i < words; i++) { /* in this form compilers make vectors of it */
        memcpy(&w, p + 4 * i, 4);
        sum += w;
    }
    if (n % 4) {
        uint8_t rest[4] = {0};
        memcpy(rest, p + 4 * words, n % 4);
        memcpy(&w, rest, 4);
        sum += w;
    }
    return sum; /* far from 2^64, whatever the packet */
}

/* A 16-bit number, as it would add were it an octet pair. */
static inline uint64_t fc_sum16(uint16_t v)
{
    uint8_t p[2] = {(uint8_t)(v >> 8), (uint8_t)v};
    return fc_sum(p, 2, 0);
}

static inline uint16_t fc_fold(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

/* Where it stands in the packet. */
static inline void fc_put_checksum(uint8_t *at, uint64_t sum)
{
    uint16_t v = (uint16_t)~fc_fold(sum);
    memcpy(at, &v, 2);
}

static inline void fc_put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void fc_put32(uint8_t *p, uint32_t v)
{
    fc_put16(p, v >> 16);
    fc_put16(p + 2, v & 0xffff);
}

/* The header checksum of an IPv4 header of `size` octets. */
static inline void fc_ipv4_checksum(uint8_t *p, size_t size)
{
    fc_put16(p + 10, 0);
    fc_put_checksum(p + 10, fc_sum(p, size, 0));
}

/* The sum of the pseudo-header of what follows an IP header (RFC 8200 8.1; RFC 793 for IPv4). */
static inline uint64_t fc_pseudo_sum(const uint8_t *ip, unsigned protocol, uint32_t length)
{
    uint8_t rest[8] = {0};
    fc_put32(rest, length);
    rest[7] = (uint8_t)protocol;
    return ip[0] >> 4 == 6 ? fc_sum(ip + 8, 32, fc_sum(rest, 8, 0)) : fc_sum(ip + 12, 8, fc_sum(rest, 8, 0));
}

#endif
