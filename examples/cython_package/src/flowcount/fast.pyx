# cython: language_level=3, boundscheck=False, wraparound=False
"""Keys in, counts out: `flowclass.engine` is called without the GIL, without a header and with nothing to link."""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc

from flowclass.engine cimport ForwardingTable

from flowclass import DECISION_DTYPE, KEY_DTYPE

# where a field stands in a row is asked of flowclass, not written down here a second time
cdef size_t KEY_SIZE = KEY_DTYPE.itemsize
cdef size_t DECISION_SIZE = DECISION_DTYPE.itemsize
cdef size_t REASON = DECISION_DTYPE.fields["reason"][1]

cdef enum:
    BATCH = 1024


def count_reasons(ForwardingTable table not None, keys):
    """How many of ``keys`` (an array of `KEY_DTYPE`) were decided for each reason: a list of six numbers."""
    if keys.dtype != KEY_DTYPE:
        raise TypeError("keys: an array of KEY_DTYPE expected")
    cdef const uint8_t[::1] octets = keys.view("u1")
    cdef size_t n = len(keys), done = 0, some, i
    cdef size_t counts[6]
    cdef uint8_t *out = <uint8_t *>malloc(BATCH * DECISION_SIZE)
    cdef int status = 0
    if out == NULL:
        raise MemoryError
    for i in range(6):
        counts[i] = 0
    with nogil:
        while done < n and status == 0:
            some = min(n - done, <size_t>BATCH)
            status = table.decide(&octets[done * KEY_SIZE], some, -1, 1, out)
            if status == 0:
                for i in range(some):
                    counts[out[i * DECISION_SIZE + REASON]] += 1
            done += some
    free(out)
    if status:
        raise RuntimeError(f"flowclass: status {status}")
    return [counts[i] for i in range(6)]
