/* libFuzzer: the counts of a tally that reads a capture in windows of any size are those of a naive count that takes
 * record after record: parse it, decide it alone, look for its decision in a list. Each way to a decision has the same
 * answer. */
#include <sanitizer/lsan_interface.h>

#include "fuzz_octets.h"
#include "trace/tally.h"

enum { RECORDS = 64, LINES = 1024, DAMAGES = 64 };

typedef struct line {
    fc_decision decision;
    fc_total total;
} line;

static fc_fib *make_fib(void)
{
    static const fc_address prefixes[4] = {
        {{0, 0}, 6, 0, {0}}, {{0, 0}, 4, 1, {0}}, {{0x2001000000000000u, 0}, 6, 16, {0}}, {{0, 0x0a000000}, 4, 8, {0}}};
    static const fc_target targets[3] = {{{1}, 1, 6, 0}, {{2}, 2, 6, 0}, {{3}, 3, 4, 0}};
    static const uint16_t indices[3] = {0, 1, 2};
    fc_flow flows[3] = {{.fid = 1, .action = FC_ACTION_FORWARD, .n_targets = 2},
                        {.fid = 2, .action = FC_ACTION_NCAST, .n_targets = 3},
                        {.fid = 3, .action = FC_ACTION_DISCARD}};
    flows[0].rule = (fc_rule){.conditions = FC_SOURCE_PORT, .source_port_last = 1023};
    flows[1].rule = (fc_rule){.conditions = FC_PROTOCOL, .protocol_first = 17, .protocol_last = 60};
    flows[2].rule = (fc_rule){.conditions = FC_SPI, .spi_last = 0x7fffffff};
    fc_fib *fib;
    MUST(fc_fib_new((const uint8_t *)"sixteen octets.", &fib) == FC_OK);
    for (uint32_t i = 0; i < 2; i++) {
        fc_node node = {.home = {{0x20010db800000000u, i + 1}, 6, 128, {0}},
                        .prefixes = prefixes + 2 * i,
                        .targets = targets,
                        .flows = flows,
                        .flow_targets = indices,
                        .n_prefixes = 2,
                        .n_targets = 3,
                        .n_flows = 3,
                        .n_flow_targets = 3,
                        .default_target = i ? 1 : FC_NO_TARGET};
        MUST(fc_fib_publish(fib, &node, NULL) == FC_OK);
    }
    return fib;
}

static int compare(const void *a, const void *b) { return memcmp(a, b, sizeof(fc_decision)); }

/* Returns the number of lines, or -1 when this is no capture. */
static int tally(fc_fib *fib, const fc_parse_options *options, const uint8_t *data, size_t size, size_t step,
                 line *lines, fc_tally_totals *totals)
{
    static fc_decision decisions[LINES];
    static fc_total sums[LINES];
    fc_tally *t;
    fc_capture *c;
    fc_damage damages[DAMAGES];
    size_t start = 0, seen = 0, used;
    MUST(fc_tally_new(&t) == FC_OK && fc_capture_new(&c) == FC_OK);
    int status = FC_CAPTURE_MORE;
    while (status == FC_CAPTURE_MORE || status == FC_CAPTURE_FULL) {
        int last = seen == size;
        if (status == FC_CAPTURE_MORE)
            seen = size - seen < step ? size : seen + step;
        uint8_t *window = malloc(seen - start + 1); /* its own allocation, for ASan */
        MUST(window);
        memcpy(window, data + start, seen - start);
        status = fc_tally_read(t, c, fib, options, window, seen - start, last, &used);
        free(window);
        MUST(status < 0 || used <= seen - start);
        start += used;
        (void)fc_capture_damage(c, damages, DAMAGES);
    }
    int n = -1;
    if (status >= 0) {
        MUST(start == size && fc_tally_decide(t, fib) == FC_OK);
        fc_tally_get(t, totals);
        MUST(totals->decisions <= LINES);
        fc_tally_take(t, decisions, sums);
        n = (int)totals->decisions;
        for (int i = 0; i < n; i++)
            lines[i] = (line){decisions[i], sums[i]};
    }
    fc_capture_free(c);
    fc_tally_free(t);
    return n;
}

/* The decision for one record, every way. */
static fc_decision decide(fc_fib *fib, const fc_parse_options *options, uint16_t linktype, const uint8_t *data,
                          uint32_t length)
{
    static const fc_parse_options outermost;
    const uint64_t here = 0;
    fc_key key, alone;
    fc_packet info, info_alone;
    fc_decision decision, one, packets;
    uint8_t *packet = malloc(length + !length);
    MUST(packet);
    memcpy(packet, data, length);
    fc_parse_batch(linktype, NULL, packet, &here, &length, 1, options, &key, &info);
    MUST(fc_parse(linktype, packet, length, &alone, &info_alone) == info.status);
    MUST(fc_fib_classify_parsed(fib, &key, &info, 1, FC_KERNEL_SCALAR, 1, &decision) == FC_OK);
    MUST(fc_fib_classify_packets(fib, linktype, NULL, packet, &here, &length, 1, &outermost, FC_KERNEL_AUTO, 1,
                                 &packets) == FC_OK);
    fc_fib_classify_one(fib, linktype, packet, length, &one);
    MUST(memcmp(&one, &packets, sizeof one) == 0);
    if (options->inner < 2 && !(info.flags & FC_PACKET_COMPLETED)) {
        MUST(memcmp(&key, &alone, sizeof key) == 0);
        MUST(memcmp(&decision, &one, sizeof one) == 0);
    }
    MUST(key.present & FC_SPI || !key.spi);
    MUST(key.present & FC_SOURCE_PORT || !key.source_port);
    MUST(key.present & FC_DESTINATION_PORT || !key.destination_port);
    MUST(key.version != 4 || (!key.source[0] && !key.destination[0] && !key.flow_label && key.source[1] <= UINT32_MAX));
    free(packet);
    return decision;
}

static int naive(fc_fib *fib, fc_parse_options *options, const uint8_t *data, size_t size, line *lines,
                 fc_tally_totals *totals)
{
    uint64_t offsets[RECORDS];
    uint32_t lengths[RECORDS], originals[RECORDS], interfaces[RECORDS];
    int64_t times[RECORDS];
    uint16_t linktypes[RECORDS];
    fc_records r = {offsets, lengths, originals, times, linktypes, interfaces, RECORDS, 0};
    fc_damage damages[DAMAGES];
    fc_capture *c;
    size_t at = 0, used = 0;
    int n = 0, status;
    memset(totals, 0, sizeof *totals);
    MUST(fc_capture_new(&c) == FC_OK);
    do {
        status = fc_capture_read(c, data + at, size - at, 1, &r, &used);
        for (size_t i = 0; status >= 0 && i < r.count; i++) {
            int j = 0;
            options->now = times[i];
            fc_decision d = decide(fib, options, linktypes[i], data + at + offsets[i], lengths[i]);
            while (j < n && memcmp(&lines[j].decision, &d, sizeof d) != 0)
                j++;
            if (j == n) {
                MUST(n < LINES);
                lines[n++] = (line){d, {0, 0, INT64_MAX, INT64_MIN}};
            }
            fc_total *sum = &lines[j].total;
            sum->packets++;
            sum->octets += originals[i];
            if (times[i] != FC_NO_TIME) {
                sum->first = times[i] < sum->first ? times[i] : sum->first;
                sum->last = times[i] > sum->last ? times[i] : sum->last;
            }
            totals->packets++;
            totals->octets += originals[i];
            totals->cut += lengths[i] < originals[i];
        }
        at += used;
        (void)fc_capture_damage(c, damages, DAMAGES);
    } while (status == FC_CAPTURE_FULL);
    totals->decisions = (uint64_t)n;
    fc_capture_free(c);
    return status < 0 ? -1 : n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static fc_fib *fib;
    static line counted[LINES], wanted[LINES];
    fc_tally_totals totals, wanted_totals;
    fc_fragments *one, *other;
    if (!fib) {
        __lsan_disable(); /* it stays, and LeakSanitizer does not look into memory of mmap() */
        fib = make_fib();
        __lsan_enable();
    }
    if (size < 2)
        return 0;
    uint32_t inner = data[0] & 3 ? data[0] >> 2 & 3 : FC_INNERMOST, capacity = 1 + (data[0] >> 4) % 8;
    size_t step = (1u + data[1]) * (size > 600 ? 16u : 1u); /* tiny windows of long streams take too long */
    data += 2;
    size -= 2;
    MUST(fc_fragments_new(capacity, (const uint8_t *)"sixteen octets.", &one) == FC_OK);
    MUST(fc_fragments_new(capacity, (const uint8_t *)"fifteen octets.", &other) == FC_OK);
    fc_parse_options options = {.inner = inner, .fragments = one}, options_naive = {.inner = inner, .fragments = other};
    int n = tally(fib, &options, data, size, step, counted, &totals);
    MUST(naive(fib, &options_naive, data, size, wanted, &wanted_totals) == n);
    if (n >= 0) {
        MUST(memcmp(&totals, &wanted_totals, sizeof totals) == 0);
        qsort(counted, (size_t)n, sizeof *counted, compare);
        qsort(wanted, (size_t)n, sizeof *wanted, compare);
        MUST(memcmp(counted, wanted, (size_t)n * sizeof *counted) == 0);
    }
    fc_fragments_free(one);
    fc_fragments_free(other);
    return 0;
}
