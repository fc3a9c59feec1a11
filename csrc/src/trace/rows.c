/* rows.c - per-packet rows as text.
 *
 * A trace has millions of packets and few different decisions. So decisions are numbered (intern.h), the text of
 * each number is made once by the caller, and a row is three pieces of text with two integers between them:
 *
 *     trace.pcap,  4711  ,  1700000000123456789  ,forward,flow,2001:db8:1::1,1,2,2001:db8:b::1\n
 *     head         frame middle time             tail */
#include <string.h>

#include "rows.h"

/* Writes v in decimal, two digits at a time, and returns where the text ends. */
static char *put_u64(char *out, uint64_t v)
{
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
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
