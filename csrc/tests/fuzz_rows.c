/* libFuzzer: numbers of equal records are those of a naive list; rows of text are what snprintf writes. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <time.h>

#include "fuzz_octets.h"
#include "trace/intern.h"
#include "trace/rows.h"

enum { RECORDS = 200, WORDS = 3, LIMIT = 24, ROWS = 40, TAILS = 8, TEXT = 256, PIECES = 6 };

static void intern(octets *o)
{
    static uint64_t records[RECORDS * WORDS], known[LIMIT * WORDS];
    static uint32_t numbers[RECORDS], first[RECORDS];
    uint32_t words = 1 + next8(o) % WORDS, limit = 1 + next8(o) % LIMIT, n = 0, n_known = 0;
    fc_ids *ids;
    MUST(fc_ids_new(words, limit, next8(o), &ids) == FC_OK);
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

static int append(char *out, const char *text, int quoted)
{
    return sprintf(out, "%s%s%s", quoted ? "'" : "", text, quoted ? "'" : "");
}

/* What a piece says of packet i, by snprintf, strftime and inet_ntop; NULL stands for what the packet doesn't have. */
static int naive_value(char *out, const fc_row_layout *l, const fc_row_piece *p, const fc_row_columns *c, uint32_t i)
{
    const fc_key *k = &c->keys[i];
    char text[64];
    uint64_t v = 0;
    uint32_t present = 0; /* the bit that it takes; 0: none */
    switch (p->value) {
    case FC_ROW_NOTHING:
        return 0;
    case FC_ROW_OUTCOME: {
        uint64_t from = c->numbers[i] ? p->ends[c->numbers[i] - 1] : 0;
        return sprintf(out, "%.*s", (int)(p->ends[c->numbers[i]] - from), p->texts + from);
    }
    case FC_ROW_TIME:
        if (c->times[i] == FC_NO_TIME)
            return sprintf(out, "%.*s", l->null_size, l->null);
        return sprintf(out, "%" PRId64, c->times[i]);
    case FC_ROW_CLOCK: {
        if (c->times[i] == FC_NO_TIME)
            return sprintf(out, "%.*s", l->null_size, l->null);
        int64_t second = c->times[i] / 1000000000, rest = c->times[i] % 1000000000;
        time_t whole = (time_t)(rest < 0 ? second - 1 : second);
        struct tm tm;
        size_t size = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&whole, &tm));
        sprintf(text + size, ".%09dZ", (int)(rest < 0 ? rest + 1000000000 : rest));
        return append(out, text, l->quoted);
    }
    case FC_ROW_SOURCE:
    case FC_ROW_DESTINATION: {
        const uint64_t *words = p->value == FC_ROW_SOURCE ? k->source : k->destination;
        uint8_t address[16];
        if (!(k->present & (p->value == FC_ROW_SOURCE ? FC_SOURCE : FC_DESTINATION)))
            return sprintf(out, "%.*s", l->null_size, l->null);
        for (int b = 0; b < 16; b++)
            address[b] = (uint8_t)(words[b / 8] >> (56 - 8 * (b % 8)));
        if (k->version == 4)
            inet_ntop(AF_INET, address + 12, text, sizeof text);
        else
            inet_ntop(AF_INET6, address, text, sizeof text);
        return append(out, text, l->quoted);
    }
    case FC_ROW_FRAME:
        v = c->frames[i];
        break;
    case FC_ROW_LENGTH:
        v = c->sizes[i];
        break;
    case FC_ROW_CAPTURED:
        v = c->captured[i];
        break;
    case FC_ROW_PROTOCOL:
        v = k->protocol, present = FC_PROTOCOL;
        break;
    case FC_ROW_SOURCE_PORT:
        v = k->source_port, present = FC_SOURCE_PORT;
        break;
    case FC_ROW_DESTINATION_PORT:
        v = k->destination_port, present = FC_DESTINATION_PORT;
        break;
    case FC_ROW_FLOW_LABEL:
        v = k->flow_label, present = FC_FLOW_LABEL;
        break;
    case FC_ROW_SPI:
        v = k->spi, present = FC_SPI;
        break;
    default:
        v = k->traffic_class, present = FC_TRAFFIC_CLASS;
    }
    if (present && !(k->present & present))
        return sprintf(out, "%.*s", l->null_size, l->null);
    return sprintf(out, "%" PRIu64, v);
}

static void rows(octets *o)
{
    static uint64_t frames[ROWS], ends[TAILS];
    static int64_t times[ROWS];
    static uint32_t numbers[ROWS], sizes[ROWS], captured[ROWS];
    static fc_key keys[ROWS];
    char text[TEXT];
    uint32_t n = 0, n_tails = 1 + next8(o) % TAILS;
    uint64_t end = 0, widest = 0;
    for (int i = 0; i < TEXT; i++)
        text[i] = (char)('a' + i % 26);
    for (uint32_t i = 0; i < n_tails; i++) {
        uint64_t size = next8(o) % (TEXT / TAILS);
        ends[i] = end += size;
        widest = size > widest ? size : widest;
    }
    fc_row_piece pieces[PIECES];
    fc_row_layout layout = {.pieces = pieces, .n_pieces = 1 + next8(o) % PIECES, .null = "null", .quote = '\''};
    layout.null_size = next8(o) & 1 ? 4 : 0;
    layout.quoted = next8(o) & 1;
    size_t most = 0, outcomes = 0, naive_size = 0;
    for (size_t k = 0; k < layout.n_pieces; k++) {
        pieces[k] = (fc_row_piece){next8(o) % (FC_ROW_CAPTURED + 1), next8(o) % 40, text + k, text, ends};
        outcomes += pieces[k].value == FC_ROW_OUTCOME;
        most += FC_ROW_VALUE + pieces[k].text_size;
    }
    most += widest *= outcomes;
    for (; o->left && n < ROWS; n++) {
        uint32_t shape = next8(o);
        frames[n] = next_number(o);
        times[n] = shape & 7 ? (int64_t)next_number(o) : FC_NO_TIME;
        numbers[n] = next8(o) % n_tails;
        sizes[n] = (uint32_t)next_number(o);
        captured[n] = (uint32_t)next_number(o);
        keys[n] = (fc_key){.version = shape & 8 ? 4 : 6};
        keys[n].source[1] = keys[n].destination[1] = (uint32_t)next_number(o);
        if (shape & 16 && keys[n].version == 6) { /* the C library writes addresses such as ::7.8.9.10 otherwise */
            keys[n].source[0] = next_number(o) | (uint64_t)1 << 63;
            keys[n].source[1] = next_number(o);
            keys[n].destination[0] = (uint64_t)0xfe80 << 48;
        } else if (keys[n].version == 6) {
            keys[n].source[0] = keys[n].destination[0] = (uint64_t)1 << 61;
        }
        keys[n].present = next8(o);
        keys[n].protocol = next8(o);
        keys[n].traffic_class = next8(o);
        keys[n].source_port = next16(o);
        keys[n].destination_port = next16(o);
        keys[n].flow_label = (uint32_t)next_number(o) & 0xfffff;
        keys[n].spi = (uint32_t)next_number(o);
    }
    fc_row_columns columns = {frames, times, numbers, sizes, captured, keys};
    char *naive = malloc(most * n + 1);
    MUST(naive);
    for (uint32_t i = 0; i < n; i++)
        for (size_t k = 0; k < layout.n_pieces; k++) {
            naive_size += (size_t)sprintf(naive + naive_size, "%.*s", (int)pieces[k].text_size, pieces[k].text);
            naive_size += (size_t)naive_value(naive + naive_size, &layout, &pieces[k], &columns, i);
        }
    size_t done, room = most + next16(o) % (most * 4); /* in several calls, each with room for one row or some */
    char *out = malloc(room);
    MUST(out && fc_rows(&layout, &columns, 0, n, widest, out, most, 1, &done) == naive_size && done == n);
    size_t at = 0;
    for (size_t from = 0; from < n; from = done) {
        size_t size = fc_rows(&layout, &columns, from, n, widest, out, room, 0, &done);
        MUST(done > from && size <= room && at + size <= naive_size && memcmp(out, naive + at, size) == 0);
        at += size;
    }
    MUST(at == naive_size);
    free(out);
    free(naive);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    octets o = {data, size};
    (next8(&o) & 1 ? intern : rows)(&o);
    return 0;
}
