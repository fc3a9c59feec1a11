# cython: language_level=3
"""What forwarding.pyx takes from flowclass.h."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from flowclass.engine.packets cimport fc_key, fc_packet, fc_parse_options


cdef extern from "flowclass.h" nogil:
    enum:
        FC_OK, FC_ENOMEM, FC_EINVAL, FC_ELIMIT, FC_ENOENT, FC_EEXIST
        FC_NO_TARGET, FC_MAX_FANOUT
        FC_HAS_FID, FC_HAS_BID, FC_HAS_NODE, FC_CARE_OF_IPV4
    ctypedef struct fc_rule:
        pass
    ctypedef struct fc_decision:
        uint8_t action, reason, flags, n_targets
        uint16_t fid, bid
        uint32_t node, version
        uint8_t care_of[16]
    ctypedef struct fc_address:
        uint64_t words[2]
        uint8_t version, length
    ctypedef struct fc_target:
        uint8_t address[16]
        uint16_t bid
        uint8_t version
    ctypedef struct fc_flow:
        fc_rule rule
        uint16_t fid
        uint8_t action, n_targets
        uint32_t targets
    ctypedef struct fc_node:
        fc_address home
        const fc_address *also
        const fc_address *prefixes
        const fc_target *targets
        const fc_flow *flows
        const uint16_t *flow_targets
        uint32_t n_also, n_prefixes, n_targets, n_flows, n_flow_targets, default_target
    ctypedef struct fc_fib:
        pass
    ctypedef struct fc_fib_info:
        uint64_t nodes, addresses, prefixes, bytes, waiting, freed
    int fc_fib_new(const uint8_t *secret, fc_fib **out)
    void fc_fib_free(fc_fib *fib)
    int fc_fib_publish(fc_fib *fib, const fc_node *node, uint32_t *number)
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
    int fc_fib_home_address(fc_fib *fib, uint32_t node, fc_address *out)
    int fc_fib_find(fc_fib *fib, const fc_address *home, uint32_t *number)
    void fc_fib_get_info(fc_fib *fib, fc_fib_info *out)
