# cython: language_level=3
"""The structs and numbers of flowclass.h, for Cython modules that make keys, nodes and rules or read decisions themselves.

A module that cimports from here is compiled with ``include_dirs=[flowclass.get_include()]``; there is nothing to link
with. Layouts come from the header, so nobody writes them down a second time. Fields are explained there.

Call `check_abi` once where your module begins: built against a flowclass whose structs differ from the installed one's,
it raises ImportError instead of reading wrong octets.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "flowclass.h" nogil:
    enum:
        FC_VERSION_MAJOR, FC_VERSION_MINOR
        FC_OK, FC_ENOMEM, FC_EINVAL, FC_ELIMIT, FC_ENOKERNEL, FC_ENOTBUILT, FC_ENOCPU, FC_ENOENT, FC_EEXIST
        FC_KERNEL_AUTO, FC_KERNEL_SCALAR, FC_KERNEL_AVX2, FC_KERNEL_AVX512, FC_KERNEL_NEON, FC_KERNEL_COUNT
        FC_SOURCE, FC_DESTINATION, FC_FLOW_LABEL, FC_SPI, FC_SOURCE_PORT, FC_DESTINATION_PORT
        FC_TRAFFIC_CLASS, FC_PROTOCOL
        FC_INNERMOST
        FC_PACKET_OK, FC_PACKET_NOT_IP, FC_PACKET_MALFORMED
        FC_PACKET_SIGNALLING, FC_PACKET_CUT, FC_PACKET_COMPLETED, FC_PACKET_OPEN
        FC_FRAGMENT_NONE, FC_FRAGMENT_FIRST, FC_FRAGMENT_LATER
        FC_UNREAD_NONE, FC_UNREAD_LINKTYPE, FC_UNREAD_ETHERTYPE, FC_UNREAD_PPP, FC_UNREAD_LLC, FC_UNREAD_SNAP
        FC_UNREAD_NLPID, FC_UNREAD_FAMILY, FC_UNREAD_VERSION, FC_UNREAD_FRAME, FC_UNREAD_ENCRYPTED, FC_UNREAD_LIMIT
        FC_UNREAD_CUT
        FC_ACTION_NONE, FC_ACTION_FORWARD, FC_ACTION_DISCARD, FC_ACTION_NCAST
        FC_REASON_NOT_IP, FC_REASON_MALFORMED, FC_REASON_UNBOUND, FC_REASON_SIGNALLING, FC_REASON_FLOW
        FC_REASON_DEFAULT
        FC_NO_TARGET, FC_MAX_FANOUT, FC_MAX_FLOWS, FC_MAX_TARGETS, FC_MAX_ADDRESSES
        FC_HAS_FID, FC_HAS_BID, FC_HAS_NODE, FC_CARE_OF_IPV4

    const int64_t FC_NO_TIME

    # keys and rules
    ctypedef struct fc_key:
        uint64_t source[2]
        uint64_t destination[2]
        uint32_t flow_label, spi
        uint16_t source_port, destination_port
        uint8_t traffic_class, protocol, version, present
    ctypedef struct fc_rule:
        uint64_t source_first[2]
        uint64_t source_last[2]
        uint64_t destination_first[2]
        uint64_t destination_last[2]
        uint32_t flow_label_first, flow_label_last, spi_first, spi_last
        uint16_t source_port_first, source_port_last, destination_port_first, destination_port_last
        uint8_t traffic_class_first, traffic_class_last, protocol_first, protocol_last
        uint8_t version, conditions

    # what the parser found beside the key
    ctypedef struct fc_packet:
        uint8_t status, fragment, flags, depth
        uint32_t fragment_id, ip_offset, ip_length, transport_offset
        uint16_t unread, unread_value

    # the forwarding table
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


cdef inline tuple abi_of_this_build():
    """The version and the sizes of structs that the module was compiled with."""
    return (FC_VERSION_MAJOR, FC_VERSION_MINOR, sizeof(fc_key), sizeof(fc_rule), sizeof(fc_packet), sizeof(fc_decision),
            sizeof(fc_address), sizeof(fc_target), sizeof(fc_flow), sizeof(fc_node))


cdef inline int check_abi() except -1:
    """Raises ImportError when this module was compiled against another version of flowclass than the one installed."""
    from importlib import import_module
    # by name: this code is compiled into the module that calls it, and asks the flowclass that is there when it runs
    cdef tuple installed = import_module("flowclass.engine.forwarding").ABI, built = abi_of_this_build()
    if built != installed:
        raise ImportError(f"this module was compiled against flowclass {built[0]}.{built[1]}, and the flowclass installed is "
                          f"{installed[0]}.{installed[1]} with other structs: compile the module again")
    return 0
