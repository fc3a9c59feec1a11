/* pcap.c - reads the records of a pcap file. The head of capture.c says what damage is, and how the next record is
 * found behind it. */
#include "capture.h"

#define DAY 86400u

/* Reads the PCAP_HEADER octets at p as a pcap file header, and prepares the reading of the file. Returns FC_OK,
 * FC_ENOTBUILT (a header of an unknown version) or FC_EINVAL (not a pcap file header). */
int fc_pcap_header(fc_capture *c, const uint8_t *p)
{
    static const struct {
        uint32_t magic, record_header, unit_ns;
    } kinds[] = {
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
        c->step = fc_pcap_step;
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

static int is_zero(const uint8_t *p, size_t n)
{
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= p[i];
    return any == 0;
}

/* Could this be a record header? Looks strictly, as a search must. *near: is its time within a day of `seconds`? */
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

/* Do several records follow each other from `at` on? 1: yes; 0: no; -1: can't say before more of the stream is there.
 */
static int row_of_records(const fc_capture *c, const window *w, size_t at)
{
    uint32_t captured, seconds = c->last_seconds;
    int near, wanted = 3;
    for (int i = 0; i < wanted; i++) {
        if (w->size - at < c->record_header)
            return w->last ? i > 0 && (at == w->size || wanted == 2) : -1;
        if (i > 0 && wanted == 2 && is_zero(w->data + at, c->record_header))
            return 1; /* a single record, between blocks of a disk that are empty */
        if (!plausible(c, w->data + at, &captured, seconds, &near) || (i > 0 && !near))
            return 0;
        if (i == 0 && c->has_last && near)
            wanted = 2;
        seconds = u32(c, w->data + at);
        at += c->record_header;
        if (w->size - at < captured)
            return w->last ? wanted == 2 : -1; /* the last record may be cut off, if its time fits */
        at += captured;
    }
    return 1;
}

int fc_pcap_record_here(const fc_capture *c, const uint8_t *p)
{
    uint32_t captured;
    int near;
    return plausible(c, p, &captured, 0, &near);
}

static int starts_another_file(const uint8_t *p)
{
    fc_capture probe;
    return fc_pcap_header(&probe, p) == FC_OK && fc_le32(p + 8) == 0;
}

/* Begins a search because of the record header at this offset of the stream, which has these lengths. */
static int search_behind(fc_capture *c, uint64_t damaged_at, uint32_t captured, uint32_t original)
{
    begin_search(c, fc_pcap_search, FC_DAMAGE_RECORD, damaged_at);
    if (captured > LOOK_AHEAD && original >= captured)
        c->beyond = damaged_at + c->record_header + captured;
    return STEP_AGAIN;
}

/* The damage that a search at w->at has found the end of: a record beyond the limit, if it ends just here. */
static uint32_t found_damage(const fc_capture *c, const window *w)
{
    return c->beyond && c->beyond == c->base + w->at ? FC_DAMAGE_LIMIT : c->damage_kind;
}

/* A step: looks for the next row of records from w->at on, and skips everything before it. */
int fc_pcap_search(fc_capture *c, window *w, fc_records *r)
{
    (void)r;
    for (; left(w) >= c->record_header; w->at++) {
        if (no_record_here(c, w))
            return end_search(c, w, fc_pcap_step, NO_DAMAGE, 1);
        int found = row_of_records(c, w, w->at);
        if (found < 0)
            return STEP_MORE;
        if (found)
            return end_search(c, w, fc_pcap_step, found_damage(c, w), 1);
    }
    if (!w->last)
        return STEP_MORE;
    w->at = w->size;
    return end_search(c, w, fc_pcap_step, found_damage(c, w), 0);
}

/* For a record at w->at that reaches beyond the end of the stream: it was cut off, unless a row of records is found
 * inside, which shows that its length is wrong. */
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

/* Reads records with nothing odd about them, each with the next one's header in the window, as fc_pcap_step does but in
 * a third of its instructions. Stops before the first record that needs a closer look. */
static inline void pcap_usual(fc_capture *c, window *w, fc_records *r, int big)
{
    const uint32_t header = c->record_header, unit = c->unit_ns, most = c->max_captured;
    const uint32_t most_original = max_original(c->linktype);
    const uint16_t linktype = c->linktype;
    const fc_records out = *r; /* here, so that nothing that is written to the arrays can change it */
    const uint8_t *const data = w->data;
    size_t at = w->at, n = out.count;
    if (left(w) < header || c->swapped_lengths || n == out.capacity)
        return;
    const size_t end = w->size - header;     /* where the next record's header may begin at the latest */
    const uint64_t stop = c->stop - c->base; /* in the window; it lies ahead */
    uint32_t seconds = c->last_seconds;
    uint32_t captured = ordered32(big, data + at + 8);
    while (captured - 1 < FC_MAX_RECORD && end - at >= (uint64_t)header + captured && at < stop) {
        const uint8_t *const p = data + at;
        const size_t next = at + header + captured;
        const uint32_t next_captured = ordered32(big, data + next + 8), original = ordered32(big, p + 12);
        if (next_captured > most)
            break;
        fetch_ahead(p, captured, data + next);
        seconds = ordered32(big, p);
        out.offsets[n] = at + header;
        out.lengths[n] = captured;
        out.originals[n] = original <= most_original ? original : captured;
        out.times[n] = (int64_t)seconds * 1000000000 + (int64_t)ordered32(big, p + 4) * unit;
        at = next;
        captured = next_captured;
        if (++n == out.capacity)
            break;
    }
    for (size_t i = out.count; i < n; i++) {
        out.linktypes[i] = linktype;
        out.interfaces[i] = 0;
    }
    c->last_seconds = seconds;
    c->has_last |= n > out.count;
    c->frames += n - out.count;
    r->count = n;
    w->at = at;
}

/* Is a record header at `at` to be believed whose captured length is beyond the usual limit? Yes if the capture ends
 * behind that record or goes on there with a plausible header. 1: yes; 0: no; -1: can't say before more of the stream
 * is there. */
static int is_long_record(const fc_capture *c, const window *w, size_t at, uint32_t captured, uint32_t original)
{
    uint64_t next = (uint64_t)at + c->record_header + captured;
    int near;
    if (captured > LOOK_AHEAD || original < captured || original > 4 * FC_MAX_RECORD)
        return 0;
    if (w->size < next + c->record_header)
        return w->last ? w->size == next : -1;
    return plausible(c, w->data + next, &captured, u32(c, w->data + at), &near) && near;
}

int fc_pcap_step(fc_capture *c, window *w, fc_records *r)
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
            fc_pcap_header(c, p);
            w->at += PCAP_HEADER;
            return STEP_AGAIN;
        }
        if (captured == 0 &&
            is_zero(p, header)) /* a disk's empty blocks; a packet of 1970 without octets has a length */
            return begin_search(c, fc_pcap_search, FC_DAMAGE_RECORD, c->base + w->at);
        if (captured > c->max_captured) {
            int is_record = is_long_record(c, w, w->at, captured, original);
            if (is_record < 0)
                return STEP_MORE;
            if (!is_record) {
                w->at++;
                return search_behind(c, c->base + w->at - 1, captured, original);
            }
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
        int next_is_bad = 0;
        uint32_t next_captured = 0, next_original = 0;
        if (captured == shown && left(w) >= whole + header) {
            pcap_lengths(c, p + whole, &next_captured, &next_original);
            int is_record = next_captured <= c->max_captured
                                ? 1
                                : is_long_record(c, w, w->at + (size_t)whole, next_captured, next_original);
            if (is_record < 0)
                return STEP_MORE;
            next_is_bad = !is_record;
        }
        uint32_t seconds = u32(c, p);
        int64_t time = (int64_t)seconds * 1000000000 + (int64_t)u32(c, p + 4) * c->unit_ns;
        add_record(c, r, w->at + header, captured, original, time, c->linktype, 0);
        c->last_seconds = seconds;
        c->has_last = 1;
        if (next_is_bad) {
            uint64_t damaged_at = c->base + w->at + whole;
            w->at += header + 1;
            return search_behind(c, damaged_at, next_captured, next_original);
        }
        advance(c, w, whole);
        if (c->skip)
            return STEP_AGAIN;
    }
    return STEP_AGAIN;
}
