/* capture.c - pcap and pcapng records out of a stream of bytes, and what to do where the bytes are damaged.
 *
 * No I/O: the caller shows a window of the stream, this file says which records are in it and how much of it is done
 * with. A window of FC_CAPTURE_WINDOW octets always makes progress, because nothing here looks further ahead than
 * LOOK_AHEAD. Frames are counted as Wireshark counts them, up to the first damage.
 *
 * pcap has no mark where a record begins: a record header is believed unless its captured length is more than any
 * capture has (the only test that Wireshark makes; times and original lengths of real files are wrong too often to
 * judge by). Where a header can't be believed, a search goes through the following octets for a place where several
 * plausible headers in a row begin, each where the one before it ends, with times within a day of each other.
 * The search begins inside the last record, for it may be that record's length that was wrong:
 *
 *     good header (captured: 60 -> 8252 by a flipped bit) | data ... good header | data ... | xx xx xx xx <- no header
 *                                                                ^ found: LENGTH                            found after
 *                                                                                                        here: RECORD
 *
 * pcapng is easier: a block begins and ends with its length. A block in which the two differ is skipped, and the
 * search looks for a known block type with a length that stands at both ends.
 *
 * Parts: what a reader knows between two records is little (byte order, units, pcapng's interfaces; for the search the
 * time of the last record). fc_capture_state gives it away, fc_capture_resume begins with it anywhere. Where a record
 * begins can be guessed by the same search: a guess proves right when the reader of the part before stops there, in
 * that state, because everything from there on depends on these two only.
 */
#include <stdlib.h>
#include <string.h>

#include "../common/bytes.h"
#include "flowclass.h"

#define MAX_DAMAGES 64
#define ENOUGH_DAMAGES (MAX_DAMAGES - 2) /* when reading stops for the caller to take them: a step adds two at most */
#define MAX_INTERFACES 65536u
#define MAX_HUGE_RECORD (128u << 20) /* USB and D-Bus records; Wireshark's limit for them */
#define MAX_BLOCK (16u << 20)        /* Wireshark's limit */
#define LOOK_AHEAD 700000u           /* the largest block that is looked at as a whole: < FC_CAPTURE_WINDOW */
#define DAY 86400u

enum { PCAP_HEADER = 24, PCAP_RECORD = 16, PCAP_MODIFIED_RECORD = 24 };
enum { SHB_BYTES = 0x0a0d0d0a, IDB = 1, PB = 2, SPB = 3, NRB = 4, ISB = 5, EPB = 6, DSB = 10, CB = 0xbad, CB_FIXED = 0x40000bad };
enum { OPT_END = 0, OPT_TSRESOL = 9, OPT_TSOFFSET = 14 };

__extension__ typedef __int128 wide;
__extension__ typedef unsigned __int128 unsigned_wide;

typedef struct interface {
    uint16_t linktype;
    uint8_t resolution; /* as in if_tsresol */
    uint8_t zero;       /* states are compared as octets */
    uint32_t snaplen;
    int64_t offset; /* seconds */
} interface;

typedef struct window {
    const uint8_t *data;
    size_t size, at;
    int last;
} window;

/* What a step came to; negative: an enum fc_status. */
enum { STEP_AGAIN = 0, STEP_MORE = 1 };

struct fc_capture {
    int (*step)(struct fc_capture *, window *, fc_records *);
    uint64_t base; /* stream offset of the window */
    uint64_t skip; /* octets to pass over before the next step */
    uint64_t frames;
    uint64_t stop;  /* no record is given that begins here or behind it */
    uint64_t begun; /* where the first record was, after a search for it */
    int big; /* the file's (pcapng: section's) integers are big-endian */
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
    uint64_t damaged_at; /* where the search began to be needed, stream offset */
    uint32_t damage_kind;
    uint32_t n_damages;
    fc_damage damages[MAX_DAMAGES];
};

/* What a state begins with; the interfaces follow. */
typedef struct state_head {
    uint8_t format, big, swapped_lengths, has_last;
    uint32_t last_seconds; /* this and has_last: after a search they are those of the first record found */
    uint32_t record_header, unit_ns, max_captured, linktype, n_interfaces;
} state_head;

enum { FORMAT_PCAP = 1, FORMAT_PCAPNG = 2 };
enum { NO_DAMAGE = 0 }; /* damage_kind of a search for the first record of a part */

static uint32_t u32(const fc_capture *c, const uint8_t *p) { return c->big ? fc_be32(p) : fc_le32(p); }
static uint16_t u16(const fc_capture *c, const uint8_t *p) { return c->big ? fc_be16(p) : fc_le16(p); }
static size_t left(const window *w) { return w->size - w->at; }

static void damage(fc_capture *c, uint32_t kind, uint64_t offset, uint64_t skipped)
{
    if (c->n_damages < MAX_DAMAGES) /* always: see ENOUGH_DAMAGES */
        c->damages[c->n_damages++] = (fc_damage){offset, skipped, c->frames + 1, kind, 0};
}

/* The stream ended where `kind` was being read: what is left is damage. */
static int cut_off(fc_capture *c, window *w)
{
    if (left(w))
        damage(c, FC_DAMAGE_CUT, c->base + w->at, left(w));
    w->at = w->size;
    return STEP_MORE;
}

static int need_more(fc_capture *c, window *w) { return w->last ? cut_off(c, w) : STEP_MORE; }

/* LINKTYPE_DBUS, _USB_LINUX_MMAPPED, _USBPCAP, _EBHSCR have records beyond the usual limit */
static uint32_t max_captured(uint16_t linktype)
{
    return linktype == 231 || linktype == 220 || linktype == 249 || linktype == 279 ? MAX_HUGE_RECORD : FC_MAX_RECORD;
}

/* On the wire: more than this is damage, and would make nonsense of sums. (The largest of segmentation offload: 512 KiB.) */
static uint32_t max_original(uint16_t linktype)
{
    uint32_t most = max_captured(linktype);
    return most > 4 * FC_MAX_RECORD ? most : 4 * FC_MAX_RECORD;
}

static void add_record(fc_capture *c, fc_records *r, size_t offset, uint32_t captured, uint32_t original, int64_t time,
                       uint16_t linktype, uint32_t interface)
{
    size_t i = r->count++;
    r->offsets[i] = offset;
    r->lengths[i] = captured < FC_MAX_RECORD ? captured : FC_MAX_RECORD;
    r->originals[i] = original <= max_original(linktype) ? original : captured;
    r->times[i] = time;
    r->linktypes[i] = linktype;
    r->interfaces[i] = interface;
    c->frames++;
}

/* Goes n octets on, of which not all need be in the window. */
static void advance(fc_capture *c, window *w, uint64_t n)
{
    uint64_t now = n < left(w) ? n : left(w);
    w->at += (size_t)now;
    c->skip = n - now;
}

static uint16_t narrow_linktype(uint32_t linktype) { return linktype > 65534 ? 65535 : (uint16_t)linktype; }

/* ---- pcap ---- */

static int pcap_step(fc_capture *c, window *w, fc_records *r);
static int pcap_search(fc_capture *c, window *w, fc_records *r);

/* Does a pcap file header begin here? Sets up the reading of it. p has PCAP_HEADER octets. FC_ENOTBUILT: it does, but
 * of an unknown version; FC_EINVAL: it doesn't. */
static int pcap_header(fc_capture *c, const uint8_t *p)
{
    static const struct { uint32_t magic, record_header, unit_ns; } kinds[] = {
        {0xa1b2c3d4, PCAP_RECORD, 1000},
        {0xa1b23c4d, PCAP_RECORD, 1},
        {0xa1b2cd34, PCAP_MODIFIED_RECORD, 1000}, /* Kuznetzov's: ifindex, protocol, packet type behind each header */
    };
    uint32_t le = fc_le32(p), be = fc_be32(p);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (le != kinds[i].magic && be != kinds[i].magic)
            continue;
        int big = be == kinds[i].magic;
        uint16_t major = big ? fc_be16(p + 4) : fc_le16(p + 4), minor = big ? fc_be16(p + 6) : fc_le16(p + 6);
        c->big = big;
        c->record_header = kinds[i].record_header;
        c->unit_ns = kinds[i].unit_ns;
        c->swapped_lengths = minor < 3 ? 1 : minor == 3 ? 2 : 0; /* 2: some writers of version 2.3 did, some didn't */
        c->linktype = narrow_linktype(u32(c, p + 20) & 0x03ffffff); /* above: FCS length */
        c->max_captured = max_captured(c->linktype);
        c->has_last = 0;
        c->step = pcap_step;
        return major == 2 ? FC_OK : FC_ENOTBUILT;
    }
    return FC_EINVAL;
}

static void pcap_lengths(const fc_capture *c, const uint8_t *p, uint32_t *captured, uint32_t *original)
{
    *captured = u32(c, p + 8);
    *original = u32(c, p + 12);
    if (c->swapped_lengths && (c->swapped_lengths == 1 || *captured > *original)) {
        uint32_t swap = *captured;
        *captured = *original;
        *original = swap;
    }
}

/* A strict look at a record header, for the search. near: within a day of `seconds`. */
static int plausible(const fc_capture *c, const uint8_t *p, uint32_t *captured, uint32_t seconds, int *near)
{
    uint32_t original, when = u32(c, p);
    pcap_lengths(c, p, captured, &original);
    if (*captured == 0 || *captured > FC_MAX_RECORD || original < *captured || original > 4 * FC_MAX_RECORD)
        return 0;
    if (u32(c, p + 4) >= 1000000000u / c->unit_ns)
        return 0;
    *near = when - seconds + DAY <= 2 * DAY; /* modulo 2^32 */
    return 1;
}

/* Is there a row of records at `at`? 1 yes, 0 no, -1 can't say before more of the stream is there. */
static int row_of_records(const fc_capture *c, const window *w, size_t at)
{
    uint32_t captured, seconds = c->last_seconds;
    int near, wanted = 3;
    for (int i = 0; i < wanted; i++) {
        if (w->size - at < c->record_header)
            return w->last ? i > 0 && (at == w->size || wanted == 2) : -1;
        if (!plausible(c, w->data + at, &captured, seconds, &near) || (i > 0 && !near))
            return 0;
        if (i == 0 && c->has_last && near)
            wanted = 2;
        seconds = u32(c, w->data + at);
        at += c->record_header;
        if (w->size - at < captured)
            return w->last ? wanted == 2 : -1; /* a last record that was cut is one, too, if its time fits */
        at += captured;
    }
    return 1;
}

static int starts_another_file(const uint8_t *p)
{
    fc_capture probe;
    return pcap_header(&probe, p) == FC_OK && fc_le32(p + 8) == 0;
}

static int begin_search(fc_capture *c, int (*search)(fc_capture *, window *, fc_records *), uint32_t kind,
                        uint64_t damaged_at)
{
    c->damage_kind = kind;
    c->damaged_at = damaged_at;
    c->step = search;
    return STEP_AGAIN;
}

/* The search came to a record, or to the end (found: 0). */
static int end_search(fc_capture *c, window *w, int (*step)(fc_capture *, window *, fc_records *), uint32_t kind, int found)
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

/* A search for the first record of a part came to its end. */
static int no_record_here(const fc_capture *c, const window *w)
{
    return c->damage_kind == NO_DAMAGE && c->base + w->at >= c->stop;
}

/* Looks for the next row of records from w->at on; everything before it is skipped. */
static int pcap_search(fc_capture *c, window *w, fc_records *r)
{
    (void)r;
    for (; left(w) >= c->record_header; w->at++) {
        if (no_record_here(c, w))
            return end_search(c, w, pcap_step, NO_DAMAGE, 1);
        int found = row_of_records(c, w, w->at);
        if (found < 0)
            return STEP_MORE;
        if (found)
            return end_search(c, w, pcap_step, c->damage_kind, 1);
    }
    if (!w->last)
        return STEP_MORE;
    w->at = w->size;
    return end_search(c, w, pcap_step, c->damage_kind, 0);
}

/* The stream ends inside a record at w->at: cut off, unless its length is what is wrong and records follow inside. */
static int pcap_cut(fc_capture *c, window *w)
{
    for (size_t at = w->at + 1; w->size - at >= c->record_header; at++) {
        if (row_of_records(c, w, at) != 1)
            continue;
        damage(c, FC_DAMAGE_RECORD, c->base + w->at, at - w->at);
        w->at = at;
        return STEP_AGAIN;
    }
    return cut_off(c, w);
}

/* Records with nothing odd about them, each with the next one's header in sight: what pcap_step does, a third of its
 * instructions. Stops before the first that needs a closer look. */
static inline void pcap_usual(fc_capture *c, window *w, fc_records *r, int big)
{
    const uint32_t header = c->record_header, unit = c->unit_ns, most = c->max_captured;
    const uint32_t most_original = max_original(c->linktype);
    const size_t capacity = r->capacity;
    const uint64_t stop = c->stop - c->base; /* in the window; it lies ahead */
    const uint8_t *p = w->data + w->at;
    size_t rest = left(w), n = r->count;
    if (rest < header || c->swapped_lengths)
        return;
#define U32(at) (big ? fc_be32(at) : fc_le32(at))
    uint32_t captured = U32(p + 8);
    while (n < capacity && captured != 0 && captured <= FC_MAX_RECORD && rest >= 2 * (size_t)header + captured &&
           w->size - rest < stop) {
        const uint8_t *next = p + header + captured;
        uint32_t next_captured = U32(next + 8);
        if (next_captured > most)
            break;
        __builtin_prefetch(next + 64); /* the packet's headers begin in the line of the record's, and go on in this one */
        r->offsets[n] = (size_t)(p - w->data) + header;
        r->lengths[n] = captured;
        uint32_t original = U32(p + 12);
        r->originals[n] = original <= most_original ? original : captured;
        r->times[n] = (int64_t)U32(p) * 1000000000 + (int64_t)U32(p + 4) * unit;
        r->linktypes[n] = c->linktype;
        r->interfaces[n++] = 0;
        c->last_seconds = U32(p);
        rest -= header + captured;
        p = next;
        captured = next_captured;
    }
#undef U32
    c->has_last |= n > r->count;
    c->frames += n - r->count;
    r->count = n;
    w->at = (size_t)(p - w->data);
}

static int pcap_step(fc_capture *c, window *w, fc_records *r)
{
    const uint32_t header = c->record_header;
    while (r->count < r->capacity && c->base + w->at < c->stop) {
        if (c->big)
            pcap_usual(c, w, r, 1);
        else
            pcap_usual(c, w, r, 0);
        if (r->count == r->capacity || c->base + w->at >= c->stop)
            break;
        if (left(w) < header)
            return need_more(c, w);
        const uint8_t *p = w->data + w->at;
        uint32_t captured, original;
        pcap_lengths(c, p, &captured, &original);
        if (captured == 0 && left(w) >= PCAP_HEADER && starts_another_file(p)) {
            damage(c, FC_DAMAGE_APPENDED, c->base + w->at, 0);
            pcap_header(c, p);
            w->at += PCAP_HEADER;
            return STEP_AGAIN;
        }
        if (captured > c->max_captured) {
            w->at++;
            return begin_search(c, pcap_search, FC_DAMAGE_RECORD, c->base + w->at - 1);
        }
        /* The next header must be in sight too, because if it is bad, this record's length may be why. */
        uint64_t whole = (uint64_t)header + captured;
        uint32_t shown = captured < FC_MAX_RECORD ? captured : FC_MAX_RECORD;
        if (left(w) < (uint64_t)header + shown + (captured == shown ? header : 0)) {
            if (!w->last)
                return STEP_MORE;
            if (left(w) < whole)
                return pcap_cut(c, w);
        }
        uint32_t seconds = u32(c, p);
        int64_t time = (int64_t)seconds * 1000000000 + (int64_t)u32(c, p + 4) * c->unit_ns;
        add_record(c, r, w->at + header, captured, original, time, c->linktype, 0);
        c->last_seconds = seconds;
        c->has_last = 1;
        if (captured == shown && left(w) >= whole + header) {
            uint32_t next_captured, next_original;
            pcap_lengths(c, p + whole, &next_captured, &next_original);
            if (next_captured > c->max_captured) {
                uint64_t damaged_at = c->base + w->at + whole;
                w->at += header + 1;
                return begin_search(c, pcap_search, FC_DAMAGE_RECORD, damaged_at);
            }
        }
        advance(c, w, whole);
        if (c->skip)
            return STEP_AGAIN;
    }
    return STEP_AGAIN;
}

/* ---- pcapng (draft-ietf-opsawg-pcapng) ---- */

static int ng_step(fc_capture *c, window *w, fc_records *r);

/* A byte-order magic: 1 big, 0 little, -1 neither */
static int byte_order(const uint8_t *p)
{
    return fc_be32(p) == 0x1a2b3c4d ? 1 : fc_le32(p) == 0x1a2b3c4d ? 0 : -1;
}

static uint64_t power(uint64_t base, unsigned exponent) /* saturates */
{
    uint64_t result = 1;
    for (; exponent; exponent--) {
        if (result > UINT64_MAX / base)
            return UINT64_MAX;
        result *= base;
    }
    return result;
}

/* Timestamp units to ns, truncated; FC_NO_TIME where 64 bits don't hold it. */
static int64_t ng_time(const interface *i, uint64_t units)
{
    unsigned exponent = i->resolution & 0x7f;
    wide ns;
    if (i->resolution & 0x80) /* units of 2^-exponent s */
        ns = (wide)((unsigned_wide)units * 1000000000u >> exponent);
    else if (exponent <= 9)
        ns = (wide)units * (wide)power(10, 9 - exponent);
    else
        ns = units / power(10, exponent - 9);
    ns += (wide)i->offset * 1000000000;
    return ns > INT64_MAX || ns <= INT64_MIN ? FC_NO_TIME : (int64_t)ns;
}

static void ng_section(fc_capture *c, const uint8_t *p, uint64_t here)
{
    c->big = byte_order(p + 8);
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

/* An enhanced, simple or obsolete packet block of `total` octets. 0: its contents are impossible. */
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
    if (captured > total - header - 4 || captured > max_captured(i->linktype))
        return 0;
    if (total > LOOK_AHEAD && total - captured > FC_MAX_RECORD) /* so much beside the packet? the length is wrong */
        return 0;
    add_record(c, r, w->at + header, captured, original, time, i->linktype, number);
    return 1;
}

/* The block type at p (0: none that is known), and its total length. */
static uint32_t ng_known(const fc_capture *c, const uint8_t *p, uint32_t *total)
{
    uint32_t type = fc_be32(p);
    if (type == SHB_BYTES) {
        int big = byte_order(p + 8);
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
    int big = type == SHB_BYTES ? byte_order(p + 8) : c->big;
    p += ((total + 3) & ~3u) - 4;
    return big ? fc_be32(p) : fc_le32(p);
}

/* Looks for the next block whose length stands at both its ends. */
static int ng_search(fc_capture *c, window *w, fc_records *r)
{
    (void)r;
    for (; left(w) >= 12; w->at++) {
        if (no_record_here(c, w))
            return end_search(c, w, ng_step, NO_DAMAGE, 1);
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
        return end_search(c, w, ng_step, kind, 1);
    }
    if (!w->last)
        return STEP_MORE;
    w->at = w->size;
    return end_search(c, w, ng_step, c->damage_kind, 0);
}

/* The block at w->at can't be what it says: search from its next octet on. */
static int ng_bad(fc_capture *c, window *w, uint32_t kind)
{
    uint64_t here = c->base + w->at;
    w->at++;
    return begin_search(c, ng_search, kind, here);
}

/* Does a block that is known, or the end, follow `size` octets on? 1 yes, 0 no, -1 can't say yet. */
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
        if (!ng_packet(c, w, r, type, total)) {
            if (total > LOOK_AHEAD)
                return ng_bad(c, w, FC_DAMAGE_BLOCK);
            damage(c, FC_DAMAGE_PACKET, c->base + w->at, total);
        }
    }
    advance(c, w, ((uint64_t)total + 3) & ~3ull);
    return status == FC_OK ? STEP_AGAIN : status;
}

static int ng_step(fc_capture *c, window *w, fc_records *r)
{
    while (r->count < r->capacity && !c->skip && c->n_damages < ENOUGH_DAMAGES && c->base + w->at < c->stop) {
        const uint8_t *p = w->data + w->at;
        if (left(w) < 12)
            return need_more(c, w);
        int is_section = fc_be32(p) == SHB_BYTES;
        if (is_section && byte_order(p + 8) < 0)
            return ng_bad(c, w, FC_DAMAGE_SECTION);
        int big = is_section ? byte_order(p + 8) : c->big;
        uint32_t type = is_section ? SHB_BYTES : u32(c, p), total = big ? fc_be32(p + 4) : fc_le32(p + 4);
        int is_packet = type == EPB || type == SPB || type == PB;
        if (total < (is_section ? 28u : 12u) || total > (is_packet ? MAX_HUGE_RECORD + MAX_BLOCK : MAX_BLOCK))
            return ng_bad(c, w, FC_DAMAGE_BLOCK);
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
        if (status != STEP_AGAIN || c->step != ng_step)
            return status;
    }
    return STEP_AGAIN;
}

/* ---- both ---- */

static int first_step(fc_capture *c, window *w, fc_records *r)
{
    (void)r;
    if (left(w) < 4)
        return w->last ? FC_EINVAL : STEP_MORE;
    const uint8_t *p = w->data + w->at;
    if (fc_be32(p) == SHB_BYTES) {
        if (left(w) < 28)
            return w->last ? FC_EINVAL : STEP_MORE;
        if (byte_order(p + 8) < 0)
            return FC_EINVAL;
        c->step = ng_step; /* which reads this block from its start, as any other */
        return STEP_AGAIN;
    }
    if (left(w) < PCAP_HEADER + PCAP_MODIFIED_RECORD && !w->last)
        return STEP_MORE;
    if (left(w) < PCAP_HEADER)
        return FC_EINVAL;
    int status = pcap_header(c, p);
    if (status == FC_EINVAL)
        return status;
    if (status == FC_ENOTBUILT) { /* a magic number alone makes no capture: a record must follow */
        uint32_t captured;
        int near;
        if (left(w) < PCAP_HEADER + c->record_header || !plausible(c, p + PCAP_HEADER, &captured, 0, &near))
            return FC_EINVAL;
        damage(c, FC_DAMAGE_VERSION, c->base + w->at, 0);
    }
    w->at += PCAP_HEADER;
    return STEP_AGAIN;
}

int fc_capture_new(fc_capture **out)
{
    fc_capture *c = calloc(1, sizeof *c);
    if (!c)
        return FC_ENOMEM;
    c->step = first_step;
    c->stop = UINT64_MAX;
    *out = c;
    return FC_OK;
}

void fc_capture_free(fc_capture *c)
{
    if (!c)
        return;
    free(c->interfaces);
    free(c);
}

static int between_records(const fc_capture *c) { return !c->skip && (c->step == pcap_step || c->step == ng_step); }

void fc_capture_stop(fc_capture *c, uint64_t offset) { c->stop = offset; }

size_t fc_capture_state(const fc_capture *c, uint8_t *out, size_t capacity)
{
    state_head head = {c->step == pcap_step ? FORMAT_PCAP : FORMAT_PCAPNG, (uint8_t)c->big, c->swapped_lengths, c->has_last,
                       c->last_seconds, c->record_header, c->unit_ns, c->max_captured, c->linktype, c->n_interfaces};
    size_t interfaces = c->n_interfaces * sizeof *c->interfaces;
    if (!between_records(c))
        return 0;
    if (capacity >= sizeof head + interfaces) {
        memcpy(out, &head, sizeof head);
        if (interfaces)
            memcpy(out + sizeof head, c->interfaces, interfaces);
    }
    return sizeof head + interfaces;
}

int fc_capture_resume(fc_capture *c, const uint8_t *state, size_t size, uint64_t offset, int search)
{
    state_head head;
    if (c->step != first_step || size < sizeof head)
        return FC_EINVAL;
    memcpy(&head, state, sizeof head);
    size_t interfaces = head.n_interfaces * sizeof *c->interfaces;
    int is_pcap = head.format == FORMAT_PCAP;
    if (head.n_interfaces > MAX_INTERFACES || size != sizeof head + interfaces || head.big > 1 || head.linktype > 65535 ||
        (!is_pcap && head.format != FORMAT_PCAPNG))
        return FC_EINVAL;
    if (is_pcap && (head.n_interfaces || (head.record_header != PCAP_RECORD && head.record_header != PCAP_MODIFIED_RECORD) ||
                    (head.unit_ns != 1 && head.unit_ns != 1000) || head.max_captured != max_captured((uint16_t)head.linktype)))
        return FC_EINVAL;
    if (interfaces) {
        c->interfaces = malloc(interfaces);
        if (!c->interfaces)
            return FC_ENOMEM;
        memcpy(c->interfaces, state + sizeof head, interfaces);
        c->n_interfaces = c->room = head.n_interfaces;
    }
    c->big = head.big;
    c->swapped_lengths = head.swapped_lengths;
    c->has_last = !search && head.has_last;
    c->last_seconds = head.last_seconds;
    c->record_header = head.record_header;
    c->unit_ns = head.unit_ns;
    c->max_captured = head.max_captured;
    c->linktype = (uint16_t)head.linktype;
    c->base = c->begun = offset;
    c->damage_kind = NO_DAMAGE;
    if (search)
        c->step = is_pcap ? pcap_search : ng_search;
    else
        c->step = is_pcap ? pcap_step : ng_step;
    return FC_OK;
}

uint64_t fc_capture_begun(const fc_capture *c) { return c->begun; }

uint64_t fc_capture_position(const fc_capture *c) { return c->base; }

int fc_capture_read(fc_capture *c, const uint8_t *data, size_t size, int last, fc_records *records, size_t *consumed)
{
    window w = {data, size, 0, last};
    int status = FC_CAPTURE_MORE;
    records->count = 0;
    for (;;) {
        advance(c, &w, c->skip);
        if (c->skip)
            break;
        if (between_records(c) && c->base + w.at >= c->stop) {
            status = FC_CAPTURE_STOPPED;
            break;
        }
        if (records->count == records->capacity || c->n_damages >= ENOUGH_DAMAGES) {
            status = FC_CAPTURE_FULL;
            break;
        }
        int step = c->step(c, &w, records);
        if (step < 0)
            return step;
        if (step == STEP_MORE)
            break;
    }
    c->base += w.at;
    *consumed = w.at;
    if (last && status == FC_CAPTURE_MORE) {
        if (c->skip)
            damage(c, FC_DAMAGE_CUT, c->base, 0);
        c->skip = 0;
        status = FC_CAPTURE_END;
    }
    return status;
}

uint64_t fc_capture_frames(const fc_capture *c) { return c->frames; }

size_t fc_capture_damage(fc_capture *c, fc_damage *out, size_t capacity)
{
    size_t n = c->n_damages < capacity ? c->n_damages : capacity;
    memcpy(out, c->damages, n * sizeof *out);
    memmove(c->damages, c->damages + n, (c->n_damages - n) * sizeof *out);
    c->n_damages -= (uint32_t)n;
    return n;
}
