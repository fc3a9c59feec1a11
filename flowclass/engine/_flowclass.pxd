# cython: language_level=3
"""All functions that the extension modules take from C, declared once (structs.pxd has the structs): flowclass.h, and the
private headers of csrc/src/trace.

Only this package's own modules cimport from here. What other packages cimport (classifier.pxd, forwarding.pxd) has
opaque pointers, so that they need neither a header nor a library.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


from flowclass.engine.structs cimport *


cdef extern from "flowclass.h" nogil:
    enum:
        FC_CAPTURE_WINDOW, FC_CAPTURE_MORE, FC_CAPTURE_FULL, FC_CAPTURE_END, FC_CAPTURE_STOPPED

    const char *fc_version()
    const char *fc_status_text(int status)

    # rules
    int fc_rule_matches(const fc_rule *rule, const fc_key *key)
    int fc_rule_check(const fc_rule *rule, char *text, size_t room)

    # kernels
    const char *fc_kernel_name(int kernel)
    int fc_kernel_check(int kernel)
    int fc_kernel_select(const char *name, int *kernel)

    # flat rule sets
    ctypedef struct fc_classifier:
        pass
    ctypedef struct fc_build_options:
        uint32_t leaf, slots, copies, vector
        uint8_t keep_covered
    ctypedef struct fc_table_info:
        uint32_t rules
        uint32_t trees[2]
        uint32_t depth, largest_leaf, nodes, rebuilds
        uint32_t steps[2]
        uint64_t slots, leaf_rules, bytes
    int fc_classifier_new(const fc_rule *rules, uint32_t n, const fc_build_options *options, fc_classifier **out,
                          uint32_t *bad)
    void fc_classifier_free(fc_classifier *classifier)
    int fc_classifier_lookup(fc_classifier *classifier, const fc_key *keys, size_t n, int32_t *out, int kernel)
    int fc_classifier_insert(fc_classifier *classifier, const fc_rule *rules, const double *priorities, uint32_t n,
                             uint32_t *ids, uint32_t *done)
    int fc_classifier_remove(fc_classifier *classifier, const uint32_t *ids, uint32_t n, uint32_t *done)
    int fc_classifier_rebuild(fc_classifier *classifier)
    void fc_classifier_get_info(fc_classifier *classifier, fc_table_info *info)

    # packets to keys
    ctypedef struct fc_fragments:
        pass
    ctypedef struct fc_parse_options:
        uint32_t inner
        fc_fragments *fragments
        const int64_t *times
        int64_t now
    int fc_fragments_new(uint32_t capacity, const uint8_t *secret, fc_fragments **out)
    void fc_fragments_free(fc_fragments *fragments)
    void fc_fragments_clear(fc_fragments *fragments)
    uint32_t fc_fragments_count(const fc_fragments *fragments)
    int fc_parse(int linktype, const uint8_t *data, uint32_t caplen, fc_key *key, fc_packet *info)
    void fc_parse_batch(int linktype, const uint16_t *linktypes, const uint8_t *buffer, const uint64_t *offsets,
                        const uint32_t *lengths, size_t n, const fc_parse_options *options, fc_key *keys,
                        fc_packet *infos)

    # captures
    ctypedef struct fc_capture:
        pass
    ctypedef struct fc_records:
        uint64_t *offsets
        uint32_t *lengths
        uint32_t *originals
        int64_t *times
        uint16_t *linktypes
        uint32_t *interfaces
        size_t capacity, count
    ctypedef struct fc_damage:
        uint64_t offset, skipped, frame
        uint32_t kind
    int fc_capture_new(fc_capture **out)
    void fc_capture_free(fc_capture *capture)
    int fc_capture_read(fc_capture *capture, const uint8_t *data, size_t size, int last, fc_records *records,
                        size_t *consumed)
    uint64_t fc_capture_frames(const fc_capture *capture)
    size_t fc_capture_damage(fc_capture *capture, fc_damage *out, size_t capacity)

    # the forwarding table
    ctypedef struct fc_fib:
        pass
    ctypedef struct fc_fib_info:
        uint64_t nodes, addresses, prefixes, bytes, waiting, freed
    int fc_fib_new(const uint8_t *secret, fc_fib **out)
    void fc_fib_free(fc_fib *fib)
    int fc_fib_publish(fc_fib *fib, const fc_node *node, uint32_t *number)
    int fc_fib_check(fc_fib *fib, const fc_node *node, char *text, size_t room)
    int fc_fib_withdraw(fc_fib *fib, const fc_address *home)
    int fc_fib_reserve(fc_fib *fib, uint64_t addresses)
    void fc_fib_reclaim(fc_fib *fib)
    int fc_fib_classify(fc_fib *fib, const fc_key *keys, size_t n, int kernel, unsigned threads, fc_decision *out)
    int fc_fib_classify_parsed(fc_fib *fib, const fc_key *keys, const fc_packet *infos, size_t n, int kernel,
                               unsigned threads, fc_decision *out)
    int fc_fib_classify_packets(fc_fib *fib, int linktype, const uint16_t *linktypes, const uint8_t *buffer,
                                const uint64_t *offsets, const uint32_t *lengths, size_t n,
                                const fc_parse_options *options, int kernel, unsigned threads, fc_decision *out)
    void fc_fib_classify_one(fc_fib *fib, int linktype, const uint8_t *data, uint32_t caplen, fc_decision *out)
    uint32_t fc_fib_targets(fc_fib *fib, const fc_decision *decision, fc_target *out, uint32_t room)
    int fc_fib_decider(fc_fib *fib, const fc_decision *decision, fc_address *out)
    int fc_fib_home_address(fc_fib *fib, uint32_t node, fc_address *out)
    int fc_fib_find(fc_fib *fib, const fc_address *home, uint32_t *number)
    void fc_fib_get_info(fc_fib *fib, fc_fib_info *out)


cdef extern from "packet/fragments.h" nogil:
    ctypedef struct fc_fragment_note:
        pass
    ctypedef struct fc_fragment_first:
        pass
    void fc_fragments_defer(fc_fragments *fragments)
    int fc_fragments_notes(fc_fragments *fragments, fc_fragment_note *out, size_t capacity, size_t *n)
    uint64_t fc_fragments_told(const fc_fragments *fragments)
    size_t fc_fragments_firsts(const fc_fragments *fragments, fc_fragment_first *out)
    int fc_fragments_settle(fc_fragments *fragments, fc_fragment_note *notes, size_t n)
    void fc_fragments_extend(fc_fragments *fragments, const fc_fragment_first *firsts, size_t n, uint64_t told)


cdef extern from "capture/parts.h" nogil:
    void fc_capture_stop(fc_capture *capture, uint64_t offset)
    size_t fc_capture_state(const fc_capture *capture, uint8_t *out, size_t capacity)
    int fc_capture_resume(fc_capture *capture, const uint8_t *state, size_t size, uint64_t offset, int search)
    uint64_t fc_capture_begun(const fc_capture *capture)
    uint64_t fc_capture_position(const fc_capture *capture)


cdef extern from "trace/totals.h" nogil:
    ctypedef struct fc_total:
        uint64_t packets, octets
        int64_t first, last
    void fc_totals_add(fc_total *totals, const uint32_t *ids, const uint32_t *sizes, const int64_t *times, size_t n)


cdef extern from "trace/tally.h" nogil:
    ctypedef struct fc_tally:
        pass
    ctypedef struct fc_tally_totals:
        uint64_t packets, octets, cut, decisions
    ctypedef struct fc_tally_unread:
        uint16_t unread, value
        uint64_t packets
    enum:
        FC_TALLY_UNREAD
    int fc_tally_new(fc_tally **out)
    void fc_tally_free(fc_tally *tally)
    int fc_tally_read(fc_tally *tally, fc_capture *capture, fc_fib *fib, const fc_parse_options *options,
                      const uint8_t *data, size_t size, int last, size_t *consumed)
    int fc_tally_decide(fc_tally *tally, fc_fib *fib)
    void fc_tally_get(const fc_tally *tally, fc_tally_totals *out)
    void fc_tally_take(fc_tally *tally, fc_decision *decisions, fc_total *totals)
    size_t fc_tally_take_unread(fc_tally *tally, fc_tally_unread *out)


cdef extern from "trace/intern.h" nogil:
    ctypedef struct fc_ids:
        pass
    int fc_ids_new(uint32_t words, uint32_t limit, uint64_t secret, fc_ids **out)
    void fc_ids_free(fc_ids *ids)
    void fc_ids_clear(fc_ids *ids)
    uint32_t fc_ids_count(const fc_ids *ids)
    size_t fc_ids_number(fc_ids *ids, const uint64_t *records, size_t n, uint32_t *numbers, uint32_t *first,
                         size_t *n_first)


cdef extern from "trace/rows.h" nogil:
    enum:
        FC_ROW_NOTHING, FC_ROW_FRAME, FC_ROW_TIME, FC_ROW_CLOCK, FC_ROW_OUTCOME, FC_ROW_SOURCE, FC_ROW_DESTINATION,
        FC_ROW_PROTOCOL, FC_ROW_SOURCE_PORT, FC_ROW_DESTINATION_PORT, FC_ROW_FLOW_LABEL, FC_ROW_SPI,
        FC_ROW_TRAFFIC_CLASS, FC_ROW_LENGTH, FC_ROW_CAPTURED, FC_ROW_VALUE, FC_ADDRESS_TEXT
    ctypedef struct fc_row_piece:
        uint32_t value, text_size
        const char *text
        const char *texts
        const uint64_t *ends
    ctypedef struct fc_row_layout:
        const fc_row_piece *pieces
        size_t n_pieces
        char null[8]
        char quote
        uint8_t null_size, quoted
    ctypedef struct fc_row_columns:
        const uint64_t *frames
        const int64_t *times
        const uint32_t *numbers
        const uint32_t *sizes
        const uint32_t *captured
        const fc_key *keys
    size_t fc_rows(const fc_row_layout *layout, const fc_row_columns *columns, size_t start, size_t n, size_t widest,
                   char *out, size_t room, int measure, size_t *done)
    void fc_address_texts(const fc_key *keys, size_t n, int source, char *out, int32_t *ends)
