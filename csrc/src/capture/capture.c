/* capture.c - takes pcap and pcapng records out of a stream of octets, and goes on where the octets are damaged.
 *
 * There is no I/O here: the caller shows a window of the stream, and this file says which records are in it, and how
 * much of the window is no longer needed. A window of FC_CAPTURE_WINDOW octets always makes progress, because nothing
 * here looks further ahead than LOOK_AHEAD. Frames are counted as Wireshark counts them, up to the first damage.
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
 * that state, because everything from there on depends on these two only. */
#include <stdlib.h>
#include <string.h>

#include "capture.h"
#include "parts.h"

/* What a state begins with; the interfaces follow. */
typedef struct state_head {
    uint8_t format, big, swapped_lengths, has_last;
    uint32_t last_seconds; /* this and has_last: after a search they are those of the first record found */
    uint32_t record_header, unit_ns, max_captured, linktype, n_interfaces;
} state_head;

enum { FORMAT_PCAP = 1, FORMAT_PCAPNG = 2 };
static int first_step(fc_capture *c, window *w, fc_records *r)
{
    (void)r;
    if (left(w) < 4)
        return w->last ? FC_EINVAL : STEP_MORE;
    const uint8_t *p = w->data + w->at;
    if (fc_be32(p) == SHB_BYTES) {
        if (left(w) < 28)
            return w->last ? FC_EINVAL : STEP_MORE;
        if (fc_pcapng_order(p + 8) < 0)
            return FC_EINVAL;
        c->step = fc_pcapng_step; /* which reads this block from its start, as any other */
        return STEP_AGAIN;
    }
    if (left(w) < PCAP_HEADER + PCAP_MODIFIED_RECORD && !w->last)
        return STEP_MORE;
    if (left(w) < PCAP_HEADER)
        return FC_EINVAL;
    int status = fc_pcap_header(c, p);
    if (status == FC_EINVAL)
        return status;
    if (status == FC_ENOTBUILT) { /* a magic number alone makes no capture: a record must follow */
        if (left(w) < PCAP_HEADER + c->record_header || !fc_pcap_record_here(c, p + PCAP_HEADER))
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

static int between_records(const fc_capture *c)
{
    return !c->skip && (c->step == fc_pcap_step || c->step == fc_pcapng_step);
}

void fc_capture_stop(fc_capture *c, uint64_t offset) { c->stop = offset; }

size_t fc_capture_state(const fc_capture *c, uint8_t *out, size_t capacity)
{
    state_head head = {c->step == fc_pcap_step ? FORMAT_PCAP : FORMAT_PCAPNG,
                       (uint8_t)c->big,
                       c->swapped_lengths,
                       c->has_last,
                       c->last_seconds,
                       c->record_header,
                       c->unit_ns,
                       c->max_captured,
                       c->linktype,
                       c->n_interfaces};
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
    if (head.n_interfaces > MAX_INTERFACES || size != sizeof head + interfaces || head.big > 1 ||
        head.linktype > 65535 || (!is_pcap && head.format != FORMAT_PCAPNG))
        return FC_EINVAL;
    if (is_pcap &&
        (head.n_interfaces || (head.record_header != PCAP_RECORD && head.record_header != PCAP_MODIFIED_RECORD) ||
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
        c->step = is_pcap ? fc_pcap_search : fc_pcapng_search;
    else
        c->step = is_pcap ? fc_pcap_step : fc_pcapng_step;
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
