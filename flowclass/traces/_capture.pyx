# cython: language_level=3, embedsignature=True
"""Records of a capture and their keys: the binding of csrc/src/capture/capture.c, and of packet/parse.c."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from contextlib import nullcontext

from flowclass.engine._flowclass cimport *
from flowclass.engine.forwarding cimport ForwardingTable
from flowclass.engine.packets cimport Fragments

from flowclass.late import Late

__all__ = ["END", "FULL", "MORE", "NO_TIME", "STOPPED", "WINDOW", "Capture", "KeyArrays", "RecordArrays", "Tally"]

np = Late("numpy")
dtypes = Late("flowclass.engine.dtypes")
rows = Late("flowclass.traces._rows")

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(object)

MORE, FULL, END, STOPPED = FC_CAPTURE_MORE, FC_CAPTURE_FULL, FC_CAPTURE_END, FC_CAPTURE_STOPPED
WINDOW = FC_CAPTURE_WINDOW
NO_TIME = FC_NO_TIME


cdef class RecordArrays:
    """Arrays with room for ``capacity`` records.

    They are ``offsets`` u64, ``lengths`` u32, ``originals`` u32, ``times`` i64, ``linktypes`` u16 and ``interfaces``
    u32; their meaning is that of `flowclass.traces.reader.RecordBatch`.
    """

    cdef readonly object offsets, lengths, originals, times, linktypes, interfaces
    cdef fc_records c

    def __cinit__(self, size_t capacity):
        if capacity == 0:
            raise ValueError("capacity: expected at least 1")
        self.offsets = np.empty(capacity, np.uint64)
        self.lengths = np.empty(capacity, np.uint32)
        self.originals = np.empty(capacity, np.uint32)
        self.times = np.empty(capacity, np.int64)
        self.linktypes = np.empty(capacity, np.uint16)
        self.interfaces = np.empty(capacity, np.uint32)
        cdef uint64_t[::1] offsets = self.offsets
        cdef uint32_t[::1] lengths = self.lengths
        cdef uint32_t[::1] originals = self.originals
        cdef int64_t[::1] times = self.times
        cdef uint16_t[::1] linktypes = self.linktypes
        cdef uint32_t[::1] interfaces = self.interfaces
        self.c = fc_records(&offsets[0], &lengths[0], &originals[0], &times[0], &linktypes[0], &interfaces[0],
                            capacity, 0)


cdef class KeyArrays(RecordArrays):
    """Arrays for records and what the parser finds in them: ``keys`` of `KEY_DTYPE`, ``infos`` of `PACKET_DTYPE`."""

    cdef readonly object keys, infos
    cdef fc_key *key_ptr
    cdef fc_packet *info_ptr

    def __cinit__(self, size_t capacity):
        self.keys = np.empty(capacity, dtypes.KEY_DTYPE)
        self.infos = np.empty(capacity, dtypes.PACKET_DTYPE)
        cdef uint8_t[::1] keys = self.keys.view(np.uint8)
        cdef uint8_t[::1] infos = self.infos.view(np.uint8)
        self.key_ptr = <fc_key *>&keys[0]
        self.info_ptr = <fc_packet *>&infos[0]

    @property
    def unused(self):
        """Whether nobody else holds one of the arrays (or a view of it), so that they can be filled again.

        Reuse pays because new arrays cost a page fault per 4 KiB: a third of the time for reading and parsing headers.
        """
        return (Py_REFCNT(self.offsets) == 1 and Py_REFCNT(self.lengths) == 1 and Py_REFCNT(self.originals) == 1
                and Py_REFCNT(self.times) == 1 and Py_REFCNT(self.linktypes) == 1 and Py_REFCNT(self.interfaces) == 1
                and Py_REFCNT(self.keys) == 1 and Py_REFCNT(self.infos) == 1)


cdef int check(int status) except -1:
    """Raises what a negative status of the reader means."""
    if status == FC_ENOMEM:
        raise MemoryError
    if status < 0:
        raise ValueError("no capture (neither pcap nor pcapng)")
    return status


cdef class Capture:
    """The reader of one capture, which is a stream of bytes: `read` finds the records in a window of the stream.

    Only one thread at a time may use it.
    """

    cdef fc_capture *ptr

    def __cinit__(self):
        if fc_capture_new(&self.ptr) != FC_OK:
            raise MemoryError

    def __dealloc__(self):
        fc_capture_free(self.ptr)

    @property
    def frames(self):
        """How many records were read so far."""
        return fc_capture_frames(self.ptr)

    @property
    def position(self):
        """The offset in the stream at which the next window must begin."""
        return fc_capture_position(self.ptr)

    @property
    def begun(self):
        """The offset of the first record that was read after `resume`."""
        return fc_capture_begun(self.ptr)

    def stop(self, uint64_t offset):
        """Ends reading before the first record that begins at this offset or later: the status is then `STOPPED`."""
        fc_capture_stop(self.ptr, offset)

    def state(self):
        """The reader state on which the next record depends (capture/parts.h), as bytes; empty inside a record."""
        cdef size_t size = fc_capture_state(self.ptr, NULL, 0)
        out = bytearray(size)
        cdef uint8_t[::1] view = out
        if size:
            fc_capture_state(self.ptr, &view[0], size)
        return bytes(out)

    def resume(self, const uint8_t[::1] state not None, uint64_t offset, bint search):
        """Begins reading at an offset of the stream, with a state that `state` returned.

        With ``search``, reading begins at the first record found from the offset on. Raises ValueError if the state is
        invalid, or reading has already begun.
        """
        cdef int status = FC_EINVAL
        if state.shape[0]:
            status = fc_capture_resume(self.ptr, &state[0], state.shape[0], offset, search)
        if status == FC_ENOMEM:
            raise MemoryError
        if status != FC_OK:
            raise ValueError("no state of a capture, or not a new one")

    def read(self, const uint8_t[::1] window not None, size_t size, bint last, RecordArrays arrays not None,
             size_t start=0):
        """Reads the records in ``window[:size]`` into ``arrays``, from index ``start`` on.

        ``last`` says that the stream ends with this window. Returns (status, number of records, octets consumed). The
        status is `MORE` (another window is needed), `FULL` (empty the arrays, call `damage`, and go on), `END` or
        `STOPPED`. Raises ValueError when the bytes are not a capture.
        """
        return self._read(window, size, last, arrays, start, None, 0, None)

    def read_keys(self, const uint8_t[::1] window not None, size_t size, bint last, KeyArrays arrays not None,
                  size_t start=0, Fragments fragments=None, unsigned inner=0):
        """Like `read`, and also parses the packets into ``arrays.keys`` and ``arrays.infos``."""
        lock = nullcontext() if fragments is None else fragments.lock
        with lock:
            return self._read(window, size, last, arrays, start, fragments, inner, arrays)

    cdef _read(self, const uint8_t[::1] window, size_t size, bint last, RecordArrays arrays, size_t start,
               Fragments fragments, unsigned inner, KeyArrays keys):
        cdef fc_records r = arrays.c
        cdef size_t consumed = 0
        cdef int status
        cdef fc_parse_options options
        cdef const uint8_t *data = <const uint8_t *>&options if window.shape[0] == 0 else &window[0]
        cdef fc_key *key_ptr = NULL
        cdef fc_packet *info_ptr = NULL
        if size > <size_t>window.shape[0] or start >= r.capacity:
            raise ValueError(f"size: {size} of a window of {window.shape[0]}; start: {start} of {r.capacity}")
        if keys is not None:
            key_ptr = <fc_key *>(<char *>keys.key_ptr + start * sizeof(fc_key))
            info_ptr = <fc_packet *>(<char *>keys.info_ptr + start * sizeof(fc_packet))
        options.inner = inner
        options.fragments = NULL if fragments is None else <fc_fragments *>fragments.ptr
        options.times = r.times + start
        r.offsets += start
        r.lengths += start
        r.originals += start
        r.times += start
        r.linktypes += start
        r.interfaces += start
        r.capacity -= start
        with nogil:
            status = fc_capture_read(self.ptr, data, size, last, &r, &consumed)
            if status >= 0 and key_ptr != NULL:
                fc_parse_batch(0, r.linktypes, data, r.offsets, r.lengths, r.count, &options, key_ptr, info_ptr)
        return check(status), r.count, consumed

    def identify(self, const uint8_t[::1] window not None, size_t size, bint last):
        """Raises ValueError if a stream that begins with ``window[:size]`` is no capture. It reads one record."""
        cdef fc_records r
        cdef uint64_t offset
        cdef uint32_t length, original, interface
        cdef int64_t time
        cdef uint16_t linktype
        cdef size_t consumed = 0
        cdef const uint8_t *data = <const uint8_t *>&r if window.shape[0] == 0 else &window[0]
        if size > <size_t>window.shape[0]:
            raise ValueError(f"size: {size} of a window of {window.shape[0]}")
        r = fc_records(&offset, &length, &original, &time, &linktype, &interface, 1, 0)
        check(fc_capture_read(self.ptr, data, size, last, &r, &consumed))

    def damage(self):
        """Takes at most 64 damages found since the last call: a list of (kind, offset, skipped, frame)."""
        cdef fc_damage found[64]
        cdef size_t i, n = fc_capture_damage(self.ptr, found, 64)
        return [(found[i].kind, found[i].offset, found[i].skipped, found[i].frame) for i in range(n)]


cdef class Tally:
    """Counts decisions over one or more captures, for a summary without rows. Only one thread at a time may use it."""

    cdef fc_tally *ptr

    def __cinit__(self):
        if fc_tally_new(&self.ptr) != FC_OK:
            raise MemoryError

    def __dealloc__(self):
        fc_tally_free(self.ptr)

    @property
    def totals(self):
        """(packets, octets on the wire, packets cut by the snap length), counted since the tally was made."""
        cdef fc_tally_totals totals
        fc_tally_get(self.ptr, &totals)
        return totals.packets, totals.octets, totals.cut

    def read(self, Capture capture not None, const uint8_t[::1] window not None, size_t size, bint last,
             ForwardingTable table not None, Fragments fragments=None, unsigned inner=0):
        """Counts the packets in ``window[:size]``. Returns (status, octets consumed) as `Capture.read` does.

        `FULL` means here that `Capture.damage` must be called before reading goes on. ``table`` decides the packets in
        this call or in a later one, so it must not change before `take`. Raises ValueError when the bytes are not a
        capture.
        """
        lock = nullcontext() if fragments is None else fragments.lock
        cdef size_t consumed = 0
        cdef int status
        cdef fc_parse_options options
        cdef const uint8_t *data = <const uint8_t *>&options if window.shape[0] == 0 else &window[0]
        if size > <size_t>window.shape[0]:
            raise ValueError(f"size: {size} of a window of {window.shape[0]}")
        options.inner = inner
        options.fragments = NULL if fragments is None else <fc_fragments *>fragments.ptr
        options.times = NULL
        options.now = FC_NO_TIME
        with lock:
            with nogil:
                status = fc_tally_read(self.ptr, capture.ptr, <fc_fib *>table.ptr, &options, data, size, last, &consumed)
        return check(status), consumed

    def take(self, ForwardingTable table not None):
        """The different decisions since the last call, in no particular order, with the totals of the packets of each.

        Returns two arrays of equal length: of `DECISION_DTYPE` and `TOTAL_DTYPE`.
        """
        cdef fc_tally_totals totals
        cdef int status
        with nogil:
            status = fc_tally_decide(self.ptr, <fc_fib *>table.ptr)
        if status != FC_OK:
            raise MemoryError
        fc_tally_get(self.ptr, &totals)
        decisions = np.empty(totals.decisions, dtypes.DECISION_DTYPE)
        each = np.empty(totals.decisions, rows.TOTAL_DTYPE)
        cdef uint8_t[::1] d = decisions.view(np.uint8)
        cdef uint8_t[::1] e = each.view(np.uint8)
        if totals.decisions:
            fc_tally_take(self.ptr, <fc_decision *>&d[0], <fc_total *>&e[0])
        return decisions, each

    def take_unread(self):
        """Why packets since the last call were not read as IP: a list of (unread, value, packets).

        The first two are fields of `PACKET_DTYPE`. Only a limited number of different pairs is kept apart; the packets
        of all further ones are counted as (0, 0, packets).
        """
        cdef fc_tally_unread found[FC_TALLY_UNREAD + 1]
        cdef size_t i, n = fc_tally_take_unread(self.ptr, found)
        return [(found[i].unread, found[i].value, found[i].packets) for i in range(n)]
