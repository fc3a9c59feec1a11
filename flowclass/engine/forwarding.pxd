# cython: language_level=3
"""The forwarding table, for other Cython modules: no header and no linking needed (the pointer is opaque)."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


# How this may change between versions that share a struct layout: methods are appended, never moved, and each release
# that appends takes one more place of `appended`. A module compiled against a later one than is installed is then
# refused when it is imported ("size changed"), and one compiled against an earlier one goes on working.
cdef int check_status(int status, what) except -1  # raises the status as a ClassifierError in words, or MemoryError


cdef class ForwardingTable:
    cdef void *ptr
    cdef void *appended[1]

    cdef tuple targets(self, const void *decision)  # BIDs and packed addresses; takes the GIL

    # n keys (fc_key, KEY_DTYPE) to n decisions (fc_decision, DECISION_DTYPE). kernel: -1 chooses. threads: from 1.
    # 0, or a negative enum fc_status, here and below.
    cdef int decide(self, const void *keys, size_t n, int kernel, unsigned threads, void *out) noexcept nogil

    # n packets at buffer + offsets[i] of lengths[i] octets. linktypes[i] where linktypes isn't NULL, else linktype (101:
    # IP). times: ns, for fragments, whose first one counts for 60 s; NULL: no clock. fragments: the `ptr` of a Fragments
    # that nobody else uses meanwhile, or NULL.
    cdef int decide_packets(self, int linktype, const uint16_t *linktypes, const uint8_t *buffer, const uint64_t *offsets,
                            const uint32_t *lengths, const int64_t *times, size_t n, void *fragments, int kernel,
                            unsigned threads, void *out) noexcept nogil

    # node: a const fc_node *, which is copied; number may be NULL. home: a const fc_address *.
    cdef int publish_node(self, const void *node, uint32_t *number) noexcept nogil
    cdef int withdraw_node(self, const void *home) noexcept nogil

    # The targets (fc_target) of one decision to out, at most `room` of them; how many.
    cdef uint32_t targets_of(self, const void *decision, void *out, uint32_t room) noexcept nogil

    # Raises a ClassifierError that says which field of a const fc_node * publish_node refuses, and why. Takes the GIL.
    cdef int check_node(self, const void *node) except -1


cdef class Decision:
    cdef readonly int n_targets
    cdef readonly object action, reason, flags, fid, bid, node, home_address
    cdef readonly tuple care_of
