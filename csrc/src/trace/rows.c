/* rows.c - per-packet rows as text.
 *
 * A trace has millions of packets and few different decisions. So decisions are numbered (intern.h), and the text of
 * each number is made once by the caller. A row is a sequence of pieces, each of them constant text and a value:
 *
 *     trace.pcap,  4711  ,  1700000000123456789  ,forward,flow,2001:db8:1::1,1,2,2001:db8:b::1  \n
 *     text         frame text time               text of the outcome                            text
 *
 * Only what a packet itself has (addresses, ports) is made into text packet by packet. */
#include <string.h>

#include "rows.h"

static const char pairs[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
    "4950515253545556575859606162636465666768697071727374757677787980818283848586878889909192939495969798"
    "99";

/* Exactly eight digits. */
static inline char *put_eight(char *out, uint32_t v)
{
    uint32_t high = v / 10000, low = v % 10000;
    memcpy(out, pairs + 2 * (high / 100), 2);
    memcpy(out + 2, pairs + 2 * (high % 100), 2);
    memcpy(out + 4, pairs + 2 * (low / 100), 2);
    memcpy(out + 6, pairs + 2 * (low % 100), 2);
    return out + 8;
}

/* Numbers of at most five digits, such as ports. */
static inline char *put_u16(char *out, uint32_t v)
{
    if (v >= 10000) {
        *out++ = (char)('0' + v / 10000);
        v %= 10000;
    } else if (v < 100) {
        if (v >= 10)
            *out++ = pairs[2 * v];
        *out++ = pairs[2 * v + 1];
        return out;
    } else if (v < 1000) {
        *out++ = (char)('0' + v / 100);
        memcpy(out, pairs + 2 * (v % 100), 2);
        return out + 2;
    }
    memcpy(out, pairs + 2 * (v / 100), 2);
    memcpy(out + 2, pairs + 2 * (v % 100), 2);
    return out + 4;
}

/* Numbers below 10^8. */
static inline char *put_u32(char *out, uint32_t v)
{
    if (v < 100000)
        return put_u16(out, v);
    char digits[8];
    put_eight(digits, v);
    size_t skip = v < 1000000 ? 2 : v < 10000000;
    memcpy(out, digits + skip, 6);
    memcpy(out + 6 - skip, digits + 6, 2);
    return out + 8 - skip;
}

/* Writes v in decimal, eight digits at a time, and returns where the text ends. */
static inline char *put_u64(char *out, uint64_t v)
{
    const uint64_t eight = 100000000;
    if (v < eight)
        return put_u32(out, (uint32_t)v);
    uint64_t high = v / eight;
    if (high < eight)
        out = put_u32(out, (uint32_t)high);
    else
        out = put_eight(put_u32(out, (uint32_t)(high / eight)), (uint32_t)(high % eight));
    return put_eight(out, (uint32_t)(v % eight));
}

/* Copies text: most are so short that a call of memcpy would take longer. Moves of fixed sizes overlap instead. */
static inline char *put_text(char *out, const char *text, size_t size)
{
    if (size >= 16) {
        for (size_t at = 0; at + 16 <= size; at += 16)
            memcpy(out + at, text + at, 16);
        memcpy(out + size - 16, text + size - 16, 16);
    } else if (size >= 8) {
        memcpy(out, text, 8);
        memcpy(out + size - 8, text + size - 8, 8);
    } else if (size >= 4) {
        memcpy(out, text, 4);
        memcpy(out + size - 4, text + size - 4, 4);
    } else if (size >= 2) {
        memcpy(out, text, 2);
        memcpy(out + size - 2, text + size - 2, 2);
    } else if (size)
        *out = *text;
    return out + size;
}

static char *put_time(char *out, int64_t time)
{
    if (time < 0) {
        *out++ = '-';
        return put_u64(out, 0 - (uint64_t)time);
    }
    return put_u64(out, (uint64_t)time);
}

/* v with exactly `digits` digits, an even number. */
static char *put_digits(char *out, uint32_t v, int digits)
{
    for (int at = digits - 2; at >= 0; at -= 2) {
        memcpy(out + at, pairs + 2 * (v % 100), 2);
        v /= 100;
    }
    return out + digits;
}

/* 2026-11-27T08:30:00.123456789Z. The date is that of the proleptic Gregorian calendar; years are 1677 to 2262. Days
 * are counted from 1 March of the year 0, as a leap day is then the last of its year: eras of 400 years have 146,097.
 */
static char *put_clock(char *out, int64_t time)
{
    int64_t seconds = time / 1000000000 - (time % 1000000000 < 0);
    uint32_t nanoseconds = (uint32_t)(time - seconds * 1000000000);
    int64_t days = seconds / 86400 - (seconds % 86400 < 0);
    uint32_t second = (uint32_t)(seconds - days * 86400);
    uint32_t z = (uint32_t)(days + 719468), era = z / 146097, of_era = z % 146097;
    uint32_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint32_t of_year = of_era - (365 * year + year / 4 - year / 100), shifted = (5 * of_year + 2) / 153;
    uint32_t day = of_year - (153 * shifted + 2) / 5 + 1, month = shifted < 10 ? shifted + 3 : shifted - 9;
    out = put_digits(out, year + era * 400 + (month <= 2), 4);
    *out++ = '-';
    out = put_digits(out, month, 2);
    *out++ = '-';
    out = put_digits(out, day, 2);
    *out++ = 'T';
    out = put_digits(out, second / 3600, 2);
    *out++ = ':';
    out = put_digits(out, second / 60 % 60, 2);
    *out++ = ':';
    out = put_digits(out, second % 60, 2);
    *out++ = '.';
    *out++ = (char)('0' + nanoseconds / 100000000);
    out = put_digits(out, nanoseconds % 100000000, 8);
    *out++ = 'Z';
    return out;
}

static char *put_ipv4(char *out, uint32_t a)
{
    for (int shift = 24; shift >= 0; shift -= 8) {
        out = put_u16(out, a >> shift & 255);
        *out++ = '.';
    }
    return out - 1;
}

static char *put_group(char *out, uint32_t group)
{
    static const char digits[] = "0123456789abcdef";
    if (group >= 0x1000)
        *out++ = digits[group >> 12];
    if (group >= 0x100)
        *out++ = digits[group >> 8 & 15];
    if (group >= 0x10)
        *out++ = digits[group >> 4 & 15];
    *out++ = digits[group & 15];
    return out;
}

/* RFC 5952: the first of the longest runs of two or more zero groups is "::", IPv4-mapped addresses end in dots. */
static char *put_ipv6(char *out, const uint64_t words[2])
{
    if (words[0] == 0 && words[1] >> 32 == 0xffff)
        return put_ipv4(put_text(out, "::ffff:", 7), (uint32_t)words[1]);
    uint32_t groups[8];
    int begin = 8, length = 1, run = 0;
    for (int i = 0; i < 8; i++) {
        groups[i] = words[i / 4] >> (48 - 16 * (i % 4)) & 0xffff;
        run = groups[i] ? 0 : run + 1;
        if (run > length) {
            length = run;
            begin = i + 1 - run;
        }
    }
    for (int i = 0; i < 8; i++) {
        if (i == begin) {
            *out++ = ':';
            if (i == 0)
                *out++ = ':';
            i += length - 1;
            continue;
        }
        out = put_group(out, groups[i]);
        if (i < 7)
            *out++ = ':';
    }
    return out;
}

static char *put_address(char *out, const uint64_t words[2], int version)
{
    return version == 4 ? put_ipv4(out, (uint32_t)words[1]) : put_ipv6(out, words);
}

static char *put_field(char *out, uint32_t value, const fc_key *k)
{
    switch (value) {
    case FC_ROW_PROTOCOL:
        return put_u16(out, k->protocol);
    case FC_ROW_SOURCE_PORT:
        return put_u16(out, k->source_port);
    case FC_ROW_DESTINATION_PORT:
        return put_u16(out, k->destination_port);
    case FC_ROW_FLOW_LABEL:
        return put_u64(out, k->flow_label);
    case FC_ROW_SPI:
        return put_u64(out, k->spi);
    default:
        return put_u16(out, k->traffic_class);
    }
}

static const uint8_t bit_of[] = {
    [FC_ROW_SOURCE] = FC_SOURCE,
    [FC_ROW_DESTINATION] = FC_DESTINATION,
    [FC_ROW_PROTOCOL] = FC_PROTOCOL,
    [FC_ROW_SOURCE_PORT] = FC_SOURCE_PORT,
    [FC_ROW_DESTINATION_PORT] = FC_DESTINATION_PORT,
    [FC_ROW_FLOW_LABEL] = FC_FLOW_LABEL,
    [FC_ROW_SPI] = FC_SPI,
    [FC_ROW_TRAFFIC_CLASS] = FC_TRAFFIC_CLASS,
};

static char *put_value(char *out, const fc_row_layout *l, const fc_row_piece *p, const fc_row_columns *c, size_t i)
{
    switch (p->value) {
    case FC_ROW_NOTHING:
        return out;
    case FC_ROW_FRAME:
        return put_u64(out, c->frames[i]);
    case FC_ROW_OUTCOME: {
        uint32_t number = c->numbers[i];
        uint64_t begin = number ? p->ends[number - 1] : 0;
        return put_text(out, p->texts + begin, p->ends[number] - begin);
    }
    case FC_ROW_TIME:
        if (c->times[i] != FC_NO_TIME)
            return put_time(out, c->times[i]);
        break;
    case FC_ROW_CLOCK:
        if (c->times[i] != FC_NO_TIME) {
            *out = l->quote;
            out = put_clock(out + l->quoted, c->times[i]);
            *out = l->quote;
            return out + l->quoted;
        }
        break;
    case FC_ROW_LENGTH:
        return put_u64(out, c->sizes[i]);
    case FC_ROW_CAPTURED:
        return put_u64(out, c->captured[i]);
    case FC_ROW_SOURCE:
    case FC_ROW_DESTINATION: {
        const fc_key *k = &c->keys[i];
        if (k->present & bit_of[p->value]) {
            *out = l->quote;
            out = put_address(out + l->quoted, p->value == FC_ROW_SOURCE ? k->source : k->destination, k->version);
            *out = l->quote;
            return out + l->quoted;
        }
        break;
    }
    default:
        if (c->keys[i].present & bit_of[p->value])
            return put_field(out, p->value, &c->keys[i]);
    }
    return put_text(out, l->null, l->null_size);
}

size_t fc_rows(const fc_row_layout *l, const fc_row_columns *c, size_t from, size_t n, size_t widest, char *out,
               size_t room, int measure, size_t *done)
{
    size_t most = widest + FC_ROW_VALUE * l->n_pieces, written = 0, i = from;
    for (size_t k = 0; k < l->n_pieces; k++)
        most += l->pieces[k].text_size;
    char *at = out;
    for (; i < n && room - (size_t)(at - out) >= most; i++) {
        char *begin = at;
        for (size_t k = 0; k < l->n_pieces; k++) {
            const fc_row_piece *p = &l->pieces[k];
            at = put_value(put_text(at, p->text, p->text_size), l, p, c, i);
        }
        written += (size_t)(at - begin);
        if (measure)
            at = out;
    }
    *done = i;
    return written;
}

void fc_address_texts(const fc_key *keys, size_t n, int source, char *out, int32_t *ends)
{
    char *at = out;
    for (size_t i = 0; i < n; i++) {
        const fc_key *k = &keys[i];
        if (k->present & (source ? FC_SOURCE : FC_DESTINATION))
            at = put_address(at, source ? k->source : k->destination, k->version);
        ends[i] = (int32_t)(at - out);
    }
}
