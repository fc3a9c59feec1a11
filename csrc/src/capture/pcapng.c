/* pcapng.c - reads the records of a pcapng file (draft-ietf-opsawg-pcapng). The head of capture.c says what damage is,
 * and how the next block is found behind it. */
#include <stdlib.h>

#include "capture.h"

#define MAX_BLOCK (16u << 20) /* Wireshark's limit */

enum { IDB = 1, PB = 2, SPB = 3, NRB = 4, ISB = 5, EPB = 6, DSB = 10, CB = 0xbad, CB_FIXED = 0x40000bad };
enum { OPT_END = 0, OPT_TSRESOL = 9, OPT_TSOFFSET = 14 };

int fc_pcapng_order(const uint8_t *p) { return fc_be32(p) == 0x1a2b3c4d ? 1 : fc_le32(p) == 0x1a2b3c4d ? 0 : -1; }

static uint64_t power_of_ten(unsigned exponent) /* 0 to 19 */
{
    uint64_t result = 1;
    for (; exponent; exponent--)
        result *= 10;
    return result;
}

/* Returns fraction / 2^exponent seconds in ns, truncated; fraction < 2^exponent, exponent 0 to 127. It does without
 * 128-bit integers, because 32-bit hosts have none. */
static uint64_t binary_fraction(uint64_t fraction, unsigned exponent)
{
    if (exponent < 32)
        return fraction * 1000000000u >> exponent;
    /* the product's upper 64 of 96 bits; what is below them can't reach the result */
    uint64_t high = (fraction >> 32) * 1000000000u + ((fraction & UINT32_MAX) * 1000000000u >> 32);
    return exponent - 32 < 64 ? high >> (exponent - 32) : 0;
}

/* Turns a timestamp of an interface into ns, truncated; FC_NO_TIME if 64 bits don't hold it. */
static int64_t ng_time(const interface *i, uint64_t units)
{
    unsigned exponent = i->resolution & 0x7f;
    uint64_t seconds = 0, fraction;
    int64_t sum, ns;
    if (i->resolution & 0x80) { /* units of 2^-exponent s */
        seconds = exponent < 64 ? units >> exponent : 0;
        fraction = binary_fraction(exponent < 64 ? units - (seconds << exponent) : units, exponent);
    } else if (exponent <= 9) {
        uint64_t second = power_of_ten(exponent);
        seconds = units / second;
        fraction = units % second * power_of_ten(9 - exponent);
    } else { /* so small a unit that 2^64 of them are few enough ns */
        fraction = exponent <= 28 ? units / power_of_ten(exponent - 9) : 0;
    }
    if (__builtin_add_overflow(seconds, i->offset, &sum))
        return FC_NO_TIME;
    int64_t below = (int64_t)fraction;
    if (sum < 0 && below > 0) { /* towards 0, or the product could leave 64 bits though the sum doesn't */
        int64_t borrowed = below / 1000000000 + 1;
        sum += borrowed;
        below -= borrowed * 1000000000;
    }
    if (__builtin_mul_overflow(sum, 1000000000, &ns) || __builtin_add_overflow(ns, below, &ns))
        return FC_NO_TIME;
    return ns; /* INT64_MIN is FC_NO_TIME too */
}

static void ng_section(fc_capture *c, const uint8_t *p, uint64_t here)
{
    c->big = fc_pcapng_order(p + 8);
    c->n_interfaces = 0;
    uint16_t major = u16(c, p + 12), minor = u16(c, p + 14);
    if (major != 1 || (minor != 0 && minor != 2)) /* 1.2: written by some, the same as 1.0 */
        damage(c, FC_DAMAGE_VERSION, here, 0);
}

static void ng_interface_options(const fc_capture *c, const uint8_t *p, const uint8_t *end, interface *i)
{
    while (end - p >= 4) {
        uint16_t code = u16(c, p), length = u16(c, p + 2);
        p += 4;
        if (code == OPT_END || end - p < length)
            return;
        if (code == OPT_TSRESOL && length == 1)
            i->resolution = p[0];
        if (code == OPT_TSOFFSET && length == 8) {
            uint64_t high = u32(c, p + (c->big ? 0 : 4)), low = u32(c, p + (c->big ? 4 : 0));
            i->offset = (int64_t)(high << 32 | low);
        }
        uint32_t padded = (length + 3u) & ~3u;
        if (end - p < (ptrdiff_t)padded)
            return;
        p += padded;
    }
}

static int ng_interface(fc_capture *c, const uint8_t *p, uint32_t total)
{
    interface i = {65535, 6, 0, 0, 0};
    if (c->n_interfaces == MAX_INTERFACES)
        return FC_OK; /* packets that name it are damage */
    if (c->n_interfaces == c->room) {
        uint32_t room = c->room ? 2 * c->room : 8;
        interface *more = realloc(c->interfaces, room * sizeof *more);
        if (!more)
            return FC_ENOMEM;
        c->interfaces = more;
        c->room = room;
    }
    if (total >= 20) {
        i.linktype = u16(c, p + 8) == 65535 ? 65534 : u16(c, p + 8);
        i.snaplen = u32(c, p + 12);
        ng_interface_options(c, p + 16, p + total - 4, &i);
    }
    c->interfaces[c->n_interfaces++] = i; /* one that is too short keeps its number */
    return FC_OK;
}

/* Reads an enhanced, simple or obsolete packet block of `total` octets. Returns 1, 0 if its contents are impossible, or
 * -1 if its packet is beyond the limit. */
static int ng_packet(fc_capture *c, const window *w, fc_records *r, uint32_t type, uint32_t total)
{
    const uint8_t *p = w->data + w->at;
    uint32_t number = 0, captured, original, header = type == SPB ? 12 : 28;
    if (total < header + 4)
        return 0;
    if (type != SPB)
        number = type == EPB ? u32(c, p + 8) : u16(c, p + 8);
    if (number >= c->n_interfaces)
        return 0;
    const interface *i = &c->interfaces[number];
    int64_t time = FC_NO_TIME;
    if (type == SPB) {
        captured = original = u32(c, p + 8);
        if (i->snaplen && captured > i->snaplen)
            captured = i->snaplen;
    } else {
        time = ng_time(i, (uint64_t)u32(c, p + 12) << 32 | u32(c, p + 16));
        captured = u32(c, p + 20);
        original = u32(c, p + 24);
    }
    if (captured > total - header - 4)
        return 0;
    if (total > LOOK_AHEAD && total - captured > FC_MAX_RECORD) /* so much beside the packet? the length is wrong */
        return 0;
    if (total > LOOK_AHEAD && captured > max_captured(i->linktype))
        return -1;
    add_record(c, r, w->at + header, captured, original, time, i->linktype, number);
    return 1;
}

/* Returns the type of the block at p, or 0 if the type is not known, and sets *total to the block's length. */
static uint32_t ng_known(const fc_capture *c, const uint8_t *p, uint32_t *total)
{
    uint32_t type = fc_be32(p);
    if (type == SHB_BYTES) {
        int big = fc_pcapng_order(p + 8);
        *total = big ? fc_be32(p + 4) : fc_le32(p + 4);
        return big >= 0 && *total >= 28 ? type : 0;
    }
    type = u32(c, p);
    *total = u32(c, p + 4);
    int known = (type >= IDB && type <= EPB) || type == DSB || type == CB || type == CB_FIXED;
    return known && *total >= 12 ? type : 0;
}

static uint32_t trailer(const fc_capture *c, const uint8_t *p, uint32_t type, uint32_t total)
{
    int big = type == SHB_BYTES ? fc_pcapng_order(p + 8) : c->big;
    p += ((total + 3) & ~3u) - 4;
    return big ? fc_be32(p) : fc_le32(p);
}

/* A step: looks for the next block that has the same length at both its ends. */
int fc_pcapng_search(fc_capture *c, window *w, fc_records *r)
{
    (void)r;
    for (; left(w) >= 12; w->at++) {
        if (no_record_here(c, w))
            return end_search(c, w, fc_pcapng_step, NO_DAMAGE, 1);
        const uint8_t *p = w->data + w->at;
        uint32_t total, type = ng_known(c, p, &total);
        if (!type || total > LOOK_AHEAD || (c->damage_kind == FC_DAMAGE_SECTION && type != SHB_BYTES))
            continue;
        if (left(w) < total) {
            if (w->last)
                continue;
            return STEP_MORE;
        }
        if (total % 4 || trailer(c, p, type, total) != total)
            continue;
        uint32_t kind = c->damage_kind == FC_DAMAGE_CUT ? FC_DAMAGE_BLOCK : c->damage_kind; /* it was not the end */
        return end_search(c, w, fc_pcapng_step, kind, 1);
    }
    if (!w->last)
        return STEP_MORE;
    w->at = w->size;
    return end_search(c, w, fc_pcapng_step, c->damage_kind, 0);
}

/* For a block at w->at that can't be what it says: begins a search from the next octet on. */
static int ng_bad(fc_capture *c, window *w, uint32_t kind)
{
    uint64_t here = c->base + w->at;
    w->at++;
    return begin_search(c, fc_pcapng_search, kind, here);
}

/* Does a block of known type, or the end of the stream, follow `size` octets on? 1: yes; 0: no; -1: can't say yet. */
static int ng_followed(const fc_capture *c, const window *w, uint32_t size)
{
    uint32_t total;
    if (left(w) - size < 12)
        return w->last ? left(w) == size : -1;
    return ng_known(c, w->data + w->at + size, &total) != 0 && total <= MAX_BLOCK;
}

static int ng_block(fc_capture *c, window *w, fc_records *r, uint32_t type, uint32_t total)
{
    const uint8_t *p = w->data + w->at;
    int status = FC_OK;
    if (type == SHB_BYTES) {
        ng_section(c, p, c->base + w->at);
    } else if (type == IDB) {
        if (total < 20)
            damage(c, FC_DAMAGE_PACKET, c->base + w->at, total);
        status = ng_interface(c, p, total < LOOK_AHEAD ? total : LOOK_AHEAD);
    } else if (type == EPB || type == SPB || type == PB) {
        int added = ng_packet(c, w, r, type, total);
        if (added <= 0) {
            if (total > LOOK_AHEAD)
                return ng_bad(c, w, added < 0 ? FC_DAMAGE_LIMIT : FC_DAMAGE_BLOCK);
            damage(c, FC_DAMAGE_PACKET, c->base + w->at, total);
        }
    }
    advance(c, w, ((uint64_t)total + 3) & ~3ull);
    return status == FC_OK ? STEP_AGAIN : status;
}

/* Reads enhanced packet blocks with nothing odd about them, each in the window as a whole, as fc_pcapng_step does but
 * in a third of its instructions. Stops before the first block that needs a closer look. */
static inline void ng_usual(fc_capture *c, window *w, fc_records *r, int big)
{
    enum { HEADER = 28, LEAST = HEADER + 4 };
    const fc_records out = *r; /* here, so that nothing that is written to the arrays can change it */
    const uint8_t *const data = w->data;
    const uint64_t stop = c->stop - c->base; /* in the window; it lies ahead */
    const interface *i = NULL;               /* the last packet's */
    uint32_t number = 0, most_original = 0;
    uint64_t unit = 1;
    size_t at = w->at, n = out.count;
    for (; n < out.capacity && w->size - at >= LEAST && at < stop; n++) {
        const uint8_t *const p = data + at;
        const uint32_t total = ordered32(big, p + 4), captured = ordered32(big, p + 20);
        if (ordered32(big, p) != EPB || total % 4 || total < LEAST || total - LEAST > FC_MAX_RECORD ||
            total > w->size - at || captured > total - LEAST || ordered32(big, p + total - 4) != total)
            break;
        if (!i || ordered32(big, p + 8) != number) {
            number = ordered32(big, p + 8);
            if (number >= c->n_interfaces)
                break;
            i = &c->interfaces[number];
            if (i->offset || (i->resolution != 6 && i->resolution != 9)) /* units other than us and ns of 1970 */
                break;
            unit = i->resolution == 6 ? 1000 : 1;
            most_original = max_original(i->linktype);
        }
        const uint64_t units = (uint64_t)ordered32(big, p + 12) << 32 | ordered32(big, p + 16);
        if (units > INT64_MAX / 1000) /* their ns may not fit into 64 bits */
            break;
        fetch_ahead(p, captured, p + total);
        const uint32_t original = ordered32(big, p + 24);
        out.offsets[n] = at + HEADER;
        out.lengths[n] = captured;
        out.originals[n] = original <= most_original ? original : captured;
        out.times[n] = (int64_t)(units * unit);
        out.linktypes[n] = i->linktype;
        out.interfaces[n] = number;
        at += total;
    }
    c->frames += n - out.count;
    r->count = n;
    w->at = at;
}

int fc_pcapng_step(fc_capture *c, window *w, fc_records *r)
{
    while (r->count < r->capacity && !c->skip && c->n_damages < ENOUGH_DAMAGES && c->base + w->at < c->stop) {
        if (c->big)
            ng_usual(c, w, r, 1);
        else
            ng_usual(c, w, r, 0);
        if (r->count == r->capacity || c->base + w->at >= c->stop)
            break;
        const uint8_t *p = w->data + w->at;
        if (left(w) < 12)
            return need_more(c, w);
        int is_section = fc_be32(p) == SHB_BYTES;
        if (is_section && fc_pcapng_order(p + 8) < 0)
            return ng_bad(c, w, FC_DAMAGE_SECTION);
        int big = is_section ? fc_pcapng_order(p + 8) : c->big;
        uint32_t type = is_section ? SHB_BYTES : u32(c, p), total = big ? fc_be32(p + 4) : fc_le32(p + 4);
        int is_packet = type == EPB || type == SPB || type == PB;
        if (total < (is_section ? 28u : 12u))
            return ng_bad(c, w, FC_DAMAGE_BLOCK);
        if (total > (is_packet ? MAX_HUGE_RECORD + MAX_BLOCK : MAX_BLOCK)) {
            uint32_t known = total;
            return ng_bad(c, w, ng_known(c, p, &known) ? FC_DAMAGE_LIMIT : FC_DAMAGE_BLOCK);
        }
        uint32_t padded = (total + 3) & ~3u;
        if (left(w) < (padded < LOOK_AHEAD ? padded : LOOK_AHEAD))
            return w->last ? ng_bad(c, w, FC_DAMAGE_CUT) : STEP_MORE;
        if (padded <= LOOK_AHEAD && trailer(c, p, type, total) != total) {
            int followed = ng_followed(c, w, padded);
            if (followed < 0)
                return STEP_MORE;
            if (!followed)
                return ng_bad(c, w, FC_DAMAGE_BLOCK);
            damage(c, FC_DAMAGE_BLOCK, c->base + w->at, 0);
        }
        int status = ng_block(c, w, r, type, total);
        if (status != STEP_AGAIN || c->step != fc_pcapng_step)
            return status;
    }
    return STEP_AGAIN;
}
