/* reassembly.c - fragments of packets that are addressed to the agent: updates with many options, tunnel packets.
 *
 * Packets that pass through are never put together: see fragments.c. Here at most PACKETS are under way at a time, the
 * one that began first makes room; each has LIFE from its first fragment on (RFC 8200 4.5); one whose fragments overlap
 * is given up, and so are those of its fragments that still come (RFC 5722). The network may double a fragment: exactly
 * the same one again is no overlap (RFC 8200 4.5), the same octets in other pieces are. Octets lie where they belong
 * from the start, and bitmaps say which blocks of 8 are there, and where fragments began. */
#include "forward.h"

#if FC_FORWARD_HERE
#include <stdlib.h>
#include <string.h>

#include "../common/bytes.h"
#include "checksum.h"

#define PACKETS 64u
#define LIFE 60000u      /* ms */
#define MOST 65535u      /* octets of payload */
#define MOST_BEFORE 512u /* octets of headers before the Fragment header */
#define BLOCKS ((MOST + 7u) / 8u)

typedef struct slot {
    uint64_t since;
    uint64_t source[2], destination[2];
    uint32_t id, kind;            /* as in parse.c; kind 0: free */
    uint32_t before, total, have; /* octets of headers, 0: not known yet; of payload, 0: not known; those there */
    uint32_t next_at;             /* where in them the number of the next header is */
    uint8_t given_up, complete;
    uint8_t next;  /* what follows the headers */
    uint8_t *data; /* headroom, headers (they end where payload begins), payload */
    uint8_t present[(BLOCKS + 7) / 8], begins[(BLOCKS + 7) / 8];
} slot;

struct fc_fwd_reassembly {
    slot packet[PACKETS];
};

int fc_fwd_reassembly_new(fc_fwd_reassembly **out) { return (*out = calloc(1, sizeof **out)) ? FC_OK : FC_ENOMEM; }

static void clear(slot *s)
{
    free(s->data);
    memset(s, 0, sizeof *s);
}

void fc_fwd_reassembly_free(fc_fwd_reassembly *r)
{
    for (unsigned i = 0; r && i < PACKETS; i++)
        clear(&r->packet[i]);
    free(r);
}

void fc_fwd_reassembly_done(fc_fwd_reassembly *r)
{
    for (unsigned i = 0; i < PACKETS; i++)
        if (r->packet[i].complete)
            clear(&r->packet[i]);
}

typedef struct fragment {
    uint32_t before, next_at, data, offset, size; /* data: where it begins in this packet; offset: where in the whole */
    int more;
    uint8_t next;
} fragment;

static int take_fragment(const fc_fwd_packet *p, fragment *f)
{
    const uint8_t *d = p->data;
    if (p->version == 4) {
        uint16_t field = fc_be16(d + 6);
        f->before = f->data = (d[0] & 15u) * 4u;
        f->next_at = 9;
        f->next = d[9];
        f->offset = 8u * (field & 0x1fff);
        f->more = field >> 13 & 1;
    } else {
        uint32_t at = FC_FWD_IPV6_HEADER, from = 6;
        while (d[from] != FC_PROTOCOL_FRAGMENT) { /* the parser has walked it, so it ends inside of the packet */
            if (at + 8 > p->length || (d[from] != FC_PROTOCOL_HOP_BY_HOP && d[from] != FC_PROTOCOL_ROUTING &&
                                       d[from] != FC_PROTOCOL_DESTINATION_OPTIONS))
                return 0;
            from = at;
            at += 8u * (d[at + 1] + 1u);
        }
        if (at + 8 > p->length)
            return 0;
        uint16_t field = fc_be16(d + at + 2);
        f->before = at;
        f->data = at + 8;
        f->next_at = from;
        f->next = d[at];
        f->offset = field & 0xfff8;
        f->more = field & 1;
    }
    f->size = p->length - f->data;
    /* all but the last are in blocks of 8 */
    return f->size != 0 && f->before <= MOST_BEFORE && (!f->more || f->size % 8 == 0) && f->offset + f->size <= MOST;
}

static slot *find_packet(fc_fwd_reassembly *r, uint64_t now, const fc_fwd_packet *p, const fc_packet *info,
                         int *evicted)
{
    uint64_t source[2] = {0, fc_be32(p->data + 12)}, destination[2] = {0, fc_be32(p->data + 16)};
    uint32_t kind = 4 | (uint32_t)p->data[9] << 8;
    if (p->version == 6) {
        source[0] = fc_be64(p->data + 8);
        source[1] = fc_be64(p->data + 16);
        destination[0] = fc_be64(p->data + 24);
        destination[1] = fc_be64(p->data + 32);
        kind = 6;
    }
    slot *use = NULL;
    for (unsigned i = 0; i < PACKETS; i++) {
        slot *s = &r->packet[i];
        if (s->kind && !s->complete && now - s->since > LIFE)
            clear(s);
        if (s->kind == kind && !s->complete && s->id == info->fragment_id &&
            memcmp(s->source, source, sizeof source) == 0 &&
            memcmp(s->destination, destination, sizeof destination) == 0)
            return s;
        if (!s->complete && (!use || (use->kind && (!s->kind || s->since < use->since))))
            use = s;
    }
    if (!use)
        return NULL;
    *evicted = use->kind && !use->given_up;
    clear(use);
    use->data = malloc(FC_FWD_HEADROOM + MOST_BEFORE + MOST);
    if (!use->data)
        return NULL;
    use->since = now;
    memcpy(use->source, source, sizeof source);
    memcpy(use->destination, destination, sizeof destination);
    use->id = info->fragment_id;
    use->kind = kind;
    return use;
}

static int has(const uint8_t *map, uint32_t block) { return map[block / 8] >> block % 8 & 1; }
static void set_block(uint8_t *map, uint32_t block) { map[block / 8] |= (uint8_t)(1u << block % 8); }

/* Was there a fragment just like it, blocks `first` to before `end`? */
static int again(const slot *s, const fc_fwd_packet *p, const fragment *f, uint32_t first, uint32_t end)
{
    const uint8_t *payload = s->data + FC_FWD_HEADROOM + MOST_BEFORE;
    for (uint32_t b = first; b < end; b++)
        if (!has(s->present, b) || has(s->begins, b) != (b == first))
            return 0;
    int goes_on = end < BLOCKS && has(s->present, end) && !has(s->begins, end);
    int last = s->total && f->offset + f->size == s->total;
    return !goes_on && last == !f->more && memcmp(payload + f->offset, p->data + f->data, f->size) == 0;
}

/* Puts it in its place. 0: it contradicts what is there. */
static int take(slot *s, const fc_fwd_packet *p, const fragment *f)
{
    uint8_t *payload = s->data + FC_FWD_HEADROOM + MOST_BEFORE;
    uint32_t first = f->offset / 8, end = (f->offset + f->size + 7) / 8, there = 0;
    for (uint32_t b = first; b < end; b++)
        there += (uint32_t)has(s->present, b);
    if (there)
        return again(s, p, f, first, end);
    if (s->total ? f->offset + f->size > s->total || (!f->more && f->offset + f->size != s->total) : 0)
        return 0;
    for (uint32_t b = first; b < end; b++)
        set_block(s->present, b);
    set_block(s->begins, first);
    memcpy(payload + f->offset, p->data + f->data, f->size);
    s->have += f->size;
    if (!f->more) {
        s->total = f->offset + f->size;
        for (uint32_t b = end; b < BLOCKS; b++)
            if (has(s->present, b))
                return 0; /* something lies behind its end */
    }
    if (f->offset == 0) {
        memcpy(payload - f->before, p->data, f->before);
        s->before = f->before;
        s->next_at = f->next_at;
        s->next = f->next;
    }
    return 1;
}

int fc_fwd_reassemble(fc_fwd_reassembly *r, uint64_t now, const fc_fwd_packet *p, const fc_packet *info,
                      fc_fwd_packet *whole)
{
    fragment f;
    int evicted = 0;
    if (!take_fragment(p, &f))
        return -1;
    slot *s = find_packet(r, now, p, info, &evicted);
    if (!s)
        return -1;
    if (s->given_up || !take(s, p, &f)) {
        s->given_up = 1;
        return -1;
    }
    if (!s->total || s->have != s->total || !s->before)
        return evicted ? -1 : 0;
    uint8_t *d = s->data + FC_FWD_HEADROOM + MOST_BEFORE - s->before;
    if (s->before + s->total > (p->version == 4 ? MOST : MOST + FC_FWD_IPV6_HEADER)) {
        s->given_up = 1;
        return -1;
    }
    if (p->version == 4) {
        fc_put16(d + 2, s->before + s->total);
        fc_put16(d + 6, 0);
        fc_ipv4_checksum(d, s->before);
    } else {
        fc_put16(d + 4, s->before + s->total - FC_FWD_IPV6_HEADER);
        d[s->next_at] = s->next;
    }
    s->complete = 1;
    *whole = (fc_fwd_packet){.data = d, .length = s->before + s->total, .counted = p->counted};
    return 1;
}
#endif
