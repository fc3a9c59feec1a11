/* capture.h - what the readers of captures share: the object, the window of the stream, records and damage. capture.c
 * has the loop and the theory; pcap.c and pcapng.c read one format each. */
#ifndef FC_CAPTURE_H
#define FC_CAPTURE_H

#include "../common/bytes.h"
#include "../packet/numbers.h"
#include "flowclass.h"

#define MAX_DAMAGES 64
#define ENOUGH_DAMAGES (MAX_DAMAGES - 2) /* then reading stops for the caller to take them; a step adds two at most */
#define MAX_INTERFACES 65536u
#define MAX_HUGE_RECORD (128u << 20) /* USB and D-Bus records; Wireshark's limit for them */
#define LOOK_AHEAD 700000u           /* the largest block that is looked at as a whole: < FC_CAPTURE_WINDOW */

typedef struct interface {
    uint16_t linktype;
    uint8_t resolution; /* as in if_tsresol */
    uint8_t zero;       /* always 0, because states are compared as octets */
    uint32_t snaplen;
    int64_t offset; /* seconds */
} interface;

typedef struct window {
    const uint8_t *data;
    size_t size, at;
    int last;
} window;

/* What a step returns: the next step may follow (AGAIN), or more of the stream is needed first (MORE); negative: an
 * enum fc_status. */
enum { STEP_AGAIN = 0, STEP_MORE = 1 };

typedef int fc_step_fn(fc_capture *, window *, fc_records *);

struct fc_capture {
    fc_step_fn *step;
    uint64_t base; /* stream offset of the window */
    uint64_t skip; /* octets to pass over before the next step */
    uint64_t frames;
    uint64_t stop;  /* no record is given that begins here or behind it */
    uint64_t begun; /* where the first record was, after a search for it */
    int big;        /* the file's (pcapng: section's) integers are big-endian */
    /* pcap */
    uint32_t record_header, unit_ns; /* ns per unit of the second time field */
    uint32_t max_captured;
    uint32_t last_seconds; /* of the last record that was good; the search looks near it */
    uint16_t linktype;
    uint8_t swapped_lengths, has_last;
    /* pcapng */
    interface *interfaces;
    uint32_t n_interfaces, room;
    /* damage */
    uint64_t damaged_at; /* the stream offset of the damage that a search is for */
    uint64_t beyond;     /* pcap: where that record would end, if it was one beyond the limit; else 0 */
    uint32_t damage_kind;
    uint32_t n_damages;
    fc_damage damages[MAX_DAMAGES];
};

enum { NO_DAMAGE = 0 }; /* damage_kind of a search for the first record of a part */

/* pcap.c */
enum { PCAP_HEADER = 24, PCAP_RECORD = 16, PCAP_MODIFIED_RECORD = 24 };
int fc_pcap_header(fc_capture *c, const uint8_t *p);            /* FC_OK, FC_ENOTBUILT, FC_EINVAL */
int fc_pcap_record_here(const fc_capture *c, const uint8_t *p); /* after the header: can a record begin at p? */
fc_step_fn fc_pcap_step, fc_pcap_search;

/* pcapng.c */
enum { SHB_BYTES = 0x0a0d0d0a };       /* a section header's type, the same in both byte orders */
int fc_pcapng_order(const uint8_t *p); /* of the byte-order magic at p: 1 big, 0 little, -1 neither */
fc_step_fn fc_pcapng_step, fc_pcapng_search;

/* ---- Integers, records, damage ------------------------------------------------------------------ */

static inline uint32_t ordered32(int big, const uint8_t *p) { return big ? fc_be32(p) : fc_le32(p); }
static inline uint32_t u32(const fc_capture *c, const uint8_t *p) { return ordered32(c->big, p); }
static inline uint16_t u16(const fc_capture *c, const uint8_t *p) { return c->big ? fc_be16(p) : fc_le16(p); }
static inline size_t left(const window *w) { return w->size - w->at; }

static inline void damage(fc_capture *c, uint32_t kind, uint64_t offset, uint64_t skipped)
{
    if (c->n_damages < MAX_DAMAGES) /* always: see ENOUGH_DAMAGES */
        c->damages[c->n_damages++] = (fc_damage){offset, skipped, c->frames + 1, kind, 0};
}

/* The stream ended inside a record or block: notes what is left of it as damage. */
static inline int cut_off(fc_capture *c, window *w)
{
    if (left(w))
        damage(c, FC_DAMAGE_CUT, c->base + w->at, left(w));
    w->at = w->size;
    return STEP_MORE;
}

static inline int need_more(fc_capture *c, window *w) { return w->last ? cut_off(c, w) : STEP_MORE; }

/* The most octets that a record may have captured; some link types have a higher limit than the usual one. */
static inline uint32_t max_captured(uint16_t linktype)
{
    return linktype == FC_LINK_DBUS || linktype == FC_LINK_USB_LINUX_MMAPPED || linktype == FC_LINK_USBPCAP ||
                   linktype == FC_LINK_EBHSCR
               ? MAX_HUGE_RECORD
               : FC_MAX_RECORD;
}

/* The most octets that a packet may have had on the wire. A larger number is damage, and would make sums meaningless.
 * (Segmentation offload makes packets of up to 512 KiB.) */
static inline uint32_t max_original(uint16_t linktype)
{
    uint32_t most = max_captured(linktype);
    return most > 4 * FC_MAX_RECORD ? most : 4 * FC_MAX_RECORD;
}

static inline void add_record(fc_capture *c, fc_records *r, size_t offset, uint32_t captured, uint32_t original,
                              int64_t time, uint16_t linktype, uint32_t of_interface)
{
    size_t i = r->count++;
    r->offsets[i] = offset;
    r->lengths[i] = captured < FC_MAX_RECORD ? captured : FC_MAX_RECORD;
    r->originals[i] = original <= max_original(linktype) ? original : captured;
    r->times[i] = time;
    r->linktypes[i] = linktype;
    r->interfaces[i] = of_interface;
    c->frames++;
}

/* The records of short packets come so fast that each would be waited for: the stream is fetched a few records ahead.
 * Of a long one only the headers are wanted, which begin in the line of the record's and go on in the line behind it.
 */
static inline void fetch_ahead(const uint8_t *record, uint32_t captured, const uint8_t *next)
{
    const uint8_t *const ahead = captured < 256 ? record + 512 : next;
    __builtin_prefetch(ahead);
    __builtin_prefetch(ahead + 64);
}

/* Goes n octets on; those that are not in the window yet are skipped later. */
static inline void advance(fc_capture *c, window *w, uint64_t n)
{
    uint64_t now = n < left(w) ? n : left(w);
    w->at += (size_t)now;
    c->skip = n - now;
}

static inline uint16_t narrow_linktype(uint32_t linktype) { return linktype > 65534 ? 65535 : (uint16_t)linktype; }

/* ---- Searching for the next record -------------------------------------------------------------- */

/* Makes `search` the next step, because of damage of this kind at this offset of the stream. */
static inline int begin_search(fc_capture *c, fc_step_fn *search, uint32_t kind, uint64_t damaged_at)
{
    c->damage_kind = kind;
    c->damaged_at = damaged_at;
    c->beyond = 0;
    c->step = search;
    return STEP_AGAIN;
}

/* Ends a search that came to a record, or (found is 0) to the end of the stream: notes the damage, and makes `step` the
 * next step. */
static inline int end_search(fc_capture *c, window *w, fc_step_fn *step, uint32_t kind, int found)
{
    uint64_t here = c->base + w->at;
    if (kind == NO_DAMAGE)
        c->begun = here;
    else if (found && kind == FC_DAMAGE_RECORD && here <= c->damaged_at)
        damage(c, FC_DAMAGE_LENGTH, here, 0);
    else
        damage(c, kind, c->damaged_at, here - c->damaged_at);
    c->step = step;
    return found ? STEP_AGAIN : STEP_MORE;
}

/* Has a search for the first record of a part come to the part's end? */
static inline int no_record_here(const fc_capture *c, const window *w)
{
    return c->damage_kind == NO_DAMAGE && c->base + w->at >= c->stop;
}

#endif
