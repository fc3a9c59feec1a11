/* bytes.h - reading integers out of packets: any alignment, any host (compilers turn each into one load). */
#ifndef FC_BYTES_H
#define FC_BYTES_H

#include <stdint.h>

static inline uint16_t fc_be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

static inline uint32_t fc_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t fc_be64(const uint8_t *p) { return (uint64_t)fc_be32(p) << 32 | fc_be32(p + 4); }

static inline uint16_t fc_le16(const uint8_t *p) { return (uint16_t)(p[1] << 8 | p[0]); }

static inline uint32_t fc_le32(const uint8_t *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

#endif
