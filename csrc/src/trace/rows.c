/* rows.c - per-packet rows as text.
 *
 * A trace has millions of packets and few different decisions. So decisions are numbered (fc_ids), the text of
 * each number is made once by the caller, and a row is three pieces of text with two integers between them:
 *
 *     trace.pcap,  4711  ,  1700000000123456789  ,forward,flow,2001:db8:1::1,1,2,2001:db8:b::1\n
 *     head         frame middle time             tail
 */
#include <stdlib.h>
#include <string.h>

#include "../common/wide.h"
#include "rows.h"

#define MAX_LIMIT (1u << 24)
#define MAX_WORDS 16u
#define NONE UINT32_MAX

struct fc_ids {
    uint32_t words, limit, count, mask;
    uint32_t *slots; /* numbers, or NONE; open addressing, at most half full */
    uint64_t *records;
};

int fc_ids_new(uint32_t words, uint32_t limit, fc_ids **out)
{
    if (words == 0 || words > MAX_WORDS || limit == 0 || limit > MAX_LIMIT || !out)
        return FC_EINVAL;
    uint32_t slots = 2;
    while (slots < 2 * limit)
        slots *= 2;
    fc_ids *ids = calloc(1, sizeof *ids);
    if (!ids)
        return FC_ENOMEM;
    ids->slots = malloc(slots * sizeof *ids->slots);
    ids->records = malloc((size_t)limit * words * sizeof *ids->records);
    if (!ids->slots || !ids->records) {
        fc_ids_free(ids);
        return FC_ENOMEM;
    }
    ids->words = words;
    ids->limit = limit;
    ids->mask = slots - 1;
    fc_ids_clear(ids);
    *out = ids;
    return FC_OK;
}

void fc_ids_free(fc_ids *ids)
{
    if (!ids)
        return;
    free(ids->slots);
    free(ids->records);
    free(ids);
}

void fc_ids_clear(fc_ids *ids)
{
    ids->count = 0;
    memset(ids->slots, 0xff, ((size_t)ids->mask + 1) * sizeof *ids->slots);
}

uint32_t fc_ids_count(const fc_ids *ids) { return ids->count; }

/* No secret: records are decisions, of which there are as many as bindings, whatever arrives; `limit` bounds the rest. */
static uint64_t hash_record(const uint64_t *record, uint32_t words)
{
    uint64_t h = FC_GOLDEN;
    for (uint32_t i = 0; i < words; i++) {
        h = (h ^ record[i]) * 0xd6e8feb86659fd93u;
        h ^= h >> 32;
    }
    return h;
}

size_t fc_ids_number(fc_ids *ids, const uint64_t *records, size_t n, uint32_t *numbers, uint32_t *first, size_t *n_first)
{
    const size_t words = ids->words, size = words * sizeof *records;
    *n_first = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t *record = records + i * words;
        if (i > 0 && memcmp(record, record - words, size) == 0) { /* as the packet before: often, and no miss */
            numbers[i] = numbers[i - 1];
            continue;
        }
        uint32_t slot = (uint32_t)hash_record(record, ids->words) & ids->mask;
        while (ids->slots[slot] != NONE && memcmp(ids->records + ids->slots[slot] * words, record, size) != 0)
            slot = (slot + 1) & ids->mask;
        if (ids->slots[slot] == NONE) {
            if (ids->count == ids->limit)
                return i;
            memcpy(ids->records + ids->count * words, record, size);
            ids->slots[slot] = ids->count++;
            first[(*n_first)++] = (uint32_t)i;
        }
        numbers[i] = ids->slots[slot];
    }
    return n;
}

/* Decimal digits, two at a time. */
static char *put_u64(char *out, uint64_t v)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
                                "4950515253545556575859606162636465666768697071727374757677787980818283848586878889909192939495969798"
                                "99";
    char digits[20];
    int at = sizeof digits;
    while (v >= 100) {
        memcpy(digits + (at -= 2), pairs + 2 * (v % 100), 2);
        v /= 100;
    }
    if (v >= 10)
        memcpy(digits + (at -= 2), pairs + 2 * v, 2);
    else
        digits[--at] = (char)('0' + v);
    size_t n = sizeof digits - (size_t)at;
    memcpy(out, digits + at, n);
    return out + n;
}

static char *put_text(char *out, const char *text, size_t size)
{
    memcpy(out, text, size);
    return out + size;
}

size_t fc_rows(const fc_row_texts *t, const uint64_t *frames, const int64_t *times, const uint32_t *tails, size_t n,
               char *out)
{
    char *at = out;
    for (size_t i = 0; i < n; i++) {
        at = put_text(at, t->head, t->head_size);
        at = put_u64(at, frames[i]);
        at = put_text(at, t->middle, t->middle_size);
        if (times[i] == FC_NO_TIME) {
            at = put_text(at, t->null, t->null_size);
        } else if (times[i] < 0) {
            *at++ = '-';
            at = put_u64(at, 0 - (uint64_t)times[i]);
        } else {
            at = put_u64(at, (uint64_t)times[i]);
        }
        uint64_t begin = tails[i] ? t->ends[tails[i] - 1] : 0;
        at = put_text(at, t->text + begin, t->ends[tails[i]] - begin);
    }
    return (size_t)(at - out);
}
