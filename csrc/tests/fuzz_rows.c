/* libFuzzer: numbers of equal records are those of a naive list; rows of text are what snprintf writes. */
#include <inttypes.h>

#include "fuzz_octets.h"
#include "trace/intern.h"
#include "trace/rows.h"

enum { RECORDS = 200, WORDS = 3, LIMIT = 24, ROWS = 40, TAILS = 8, TEXT = 256 };

static void intern(octets *o)
{
    static uint64_t records[RECORDS * WORDS], known[LIMIT * WORDS];
    static uint32_t numbers[RECORDS], first[RECORDS];
    uint32_t words = 1 + next8(o) % WORDS, limit = 1 + next8(o) % LIMIT, n = 0, n_known = 0;
    fc_ids *ids;
    MUST(fc_ids_new(words, limit, &ids) == FC_OK);
    for (; o->left && n < RECORDS; n++)
        for (uint32_t j = 0; j < words; j++)
            records[n * words + j] = (uint64_t)(next8(o) & 7) << (j ? 56 : 0);
    for (uint32_t at = 0; at < n;) {
        uint32_t count = 1 + (n - at) / 2, size = 8 * words;
        size_t n_first, n_new = 0, done = fc_ids_number(ids, records + at * words, count, numbers, first, &n_first);
        MUST(done <= count);
        for (uint32_t i = 0; i < count; i++) {
            const uint64_t *r = records + (at + i) * words;
            uint32_t j = 0;
            while (j < n_known && memcmp(known + j * words, r, size) != 0)
                j++;
            if (j == n_known && n_known == limit) {
                MUST(done == i);
                break;
            }
            MUST(i < done && numbers[i] == j);
            if (j == n_known) {
                MUST(first[n_new++] == i);
                memcpy(known + n_known++ * words, r, size);
            }
        }
        MUST(n_new == n_first && fc_ids_count(ids) == n_known);
        at += (uint32_t)done;
        if (done < count) {
            fc_ids_clear(ids);
            n_known = 0;
        }
    }
    fc_ids_free(ids);
}

static uint64_t next_number(octets *o) /* of any length in decimal */
{
    uint8_t shape = next8(o);
    uint64_t v = (uint64_t)next16(o) << 48 >> shape % 60;
    return shape & 128 ? ~v : v;
}

static void rows(octets *o)
{
    static uint64_t frames[ROWS], ends[TAILS];
    static int64_t times[ROWS];
    static uint32_t tails[ROWS];
    char text[TEXT];
    uint32_t n = 0, n_tails = 1 + next8(o) % TAILS;
    uint64_t end = 0;
    for (int i = 0; i < TEXT; i++)
        text[i] = (char)('a' + i % 26);
    for (uint32_t i = 0; i < n_tails; i++)
        ends[i] = end += next8(o) % (TEXT / TAILS);
    fc_row_texts t = {.head = text,
                      .middle = text + 3,
                      .null = text + 5,
                      .head_size = next8(o) % 20,
                      .middle_size = next8(o) % 20,
                      .null_size = next8(o) % 20,
                      .text = text,
                      .ends = ends};
    size_t room = 0, wanted = 0;
    for (; o->left && n < ROWS; n++) {
        frames[n] = next_number(o);
        times[n] = next8(o) & 7 ? (int64_t)next_number(o) : FC_NO_TIME;
        tails[n] = next8(o) % n_tails;
        room += FC_ROW_DIGITS + t.head_size + t.middle_size + t.null_size + ends[tails[n]] -
                (tails[n] ? ends[tails[n] - 1] : 0);
    }
    char *out = malloc(room + 1), *naive = malloc(room + FC_ROW_DIGITS + 1);
    MUST(out && naive);
    size_t size = fc_rows(&t, frames, times, tails, n, out);
    MUST(size <= room);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t from = tails[i] ? ends[tails[i] - 1] : 0;
        char time[32];
        int digits = snprintf(time, sizeof time, "%" PRId64, times[i]);
        wanted += (size_t)sprintf(naive + wanted, "%.*s%" PRIu64 "%.*s%.*s%.*s", (int)t.head_size, text, frames[i],
                                  (int)t.middle_size, text + 3, times[i] == FC_NO_TIME ? (int)t.null_size : digits,
                                  times[i] == FC_NO_TIME ? text + 5 : time, (int)(ends[tails[i]] - from), text + from);
    }
    MUST(size == wanted && memcmp(out, naive, size) == 0);
    free(out);
    free(naive);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    octets o = {data, size};
    (next8(&o) & 1 ? intern : rows)(&o);
    return 0;
}
