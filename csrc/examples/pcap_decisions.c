/* pcap_decisions FILE: a capture in, what would become of each packet out.
 *
 * The smallest whole host: a forwarding table with one mobile node that has two care-of addresses, a flow binding that
 * sends ssh through the first, everything else by the default binding through the second; records are found in the file
 * by fc_capture_read and decided a batch at a time. Build it against an installed library:
 *   cc pcap_decisions.c $(pkg-config --cflags --libs flowclass) -o pcap_decisions */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <flowclass.h>

enum { BATCH = 1024 };

static int failed(const char *what, int status)
{
    fprintf(stderr, "pcap_decisions: %s: %s\n", what, fc_status_text(status));
    return 1;
}

/* The node of the example: home address 2001:db8:1::1, a mobile network 2001:db8:100::/56. */
static int publish_node(fc_fib *fib)
{
    const fc_target targets[2] = {
        {.address = {0x20, 0x01, 0x0d, 0xb8, 0x00, 0x0a, [15] = 1}, .bid = 1, .version = 6},
        {.address = {0x20, 0x01, 0x0d, 0xb8, 0x00, 0x0b, [15] = 1}, .bid = 2, .version = 6},
    };
    const fc_address prefix = {.words = {0x20010db801000000, 0}, .version = 6, .length = 56};
    const uint16_t flow_targets[1] = {0}; /* the ssh flow's only target is targets[0] */
    const fc_flow ssh = {
        .rule = {.version = 6,
                 .conditions = FC_PROTOCOL | FC_SOURCE_PORT,
                 .protocol_first = 6,
                 .protocol_last = 6,
                 .source_port_first = 22,
                 .source_port_last = 22},
        .fid = 1,
        .action = FC_ACTION_FORWARD,
        .n_targets = 1,
        .targets = 0,
    };
    const fc_node node = {
        .home = {.words = {0x20010db800010000, 1}, .version = 6},
        .prefixes = &prefix,
        .n_prefixes = 1,
        .targets = targets,
        .n_targets = 2,
        .flows = &ssh,
        .n_flows = 1,
        .flow_targets = flow_targets,
        .n_flow_targets = 1,
        .default_target = 1,
    };
    return fc_fib_publish(fib, &node, NULL); /* copies all of it: nothing above need outlive this call */
}

int main(int argc, char **argv)
{
    static uint8_t window[FC_CAPTURE_WINDOW];
    static uint64_t offsets[BATCH];
    static uint32_t lengths[BATCH], originals[BATCH], interfaces[BATCH];
    static int64_t times[BATCH];
    static uint16_t linktypes[BATCH];
    static fc_decision decisions[BATCH];
    static const uint8_t secret[16] = {1, 2, 3}; /* a real host draws it at random: it keys the hash of addresses */
    uint64_t counts[4] = {0};
    fc_records records = {offsets, lengths, originals, times, linktypes, interfaces, BATCH, 0};
    fc_fib *fib = NULL;
    fc_capture *capture = NULL;
    fc_fragments *fragments = NULL;
    size_t held = 0, consumed;
    int status, last = 0, wrong = 1;

    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (!file) {
        fprintf(stderr, argc == 2 ? "pcap_decisions: %s cannot be opened\n" : "usage: pcap_decisions FILE\n",
                argv[argc - 1]);
        return 2;
    }
    if ((status = fc_fib_new(secret, &fib)) || (status = publish_node(fib)) || (status = fc_capture_new(&capture)) ||
        (status = fc_fragments_new(4096, secret, &fragments))) {
        failed("no table", status);
        goto done;
    }
    const fc_parse_options options = {.fragments = fragments,
                                      .times = times}; /* later fragments go where their first one went */
    do {
        held += fread(window + held, 1, sizeof window - held, file);
        last = feof(file) || ferror(file);
        status = fc_capture_read(capture, window, held, last, &records, &consumed);
        if (status < 0) {
            if (status == FC_EINVAL)
                fprintf(stderr, "pcap_decisions: %s is neither pcap nor pcapng\n", argv[1]);
            else
                failed(argv[1], status);
            goto done;
        }
        int decided = fc_fib_classify_packets(fib, 0, linktypes, window, offsets, lengths, records.count, &options,
                                              FC_KERNEL_AUTO, 1, decisions);
        if (decided) {
            failed("packets", decided);
            goto done;
        }
        for (size_t i = 0; i < records.count; i++)
            counts[decisions[i].action]++;
        memmove(window, window + consumed, held - consumed); /* what is left is the start of the next record */
        held -= consumed;
    } while (status != FC_CAPTURE_END);
    for (int i = 0; i < 4; i++)
        printf("%-8s %" PRIu64 "\n", fc_action_text(i), counts[i]);
    wrong = 0;
done:
    fc_fragments_free(fragments);
    fc_capture_free(capture);
    fc_fib_free(fib);
    fclose(file);
    return wrong;
}
