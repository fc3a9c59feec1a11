# cython: language_level=3
"""The forwarding table, for other Cython modules: no header and no linking needed (the pointer is opaque)."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef class ForwardingTable:
    cdef void *ptr

    # n keys of KEY_DTYPE, n decisions of DECISION_DTYPE; 0 or a negative enum fc_status
    cdef tuple targets(self, const void *decision)
    cdef int decide(self, const void *keys, size_t n, int kernel, unsigned threads, void *out) noexcept nogil


cdef class Decision:
    cdef readonly int n_targets
    cdef readonly object action, reason, flags, fid, bid, node, home_address
    cdef readonly tuple care_of
