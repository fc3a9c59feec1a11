# cython: language_level=3, embedsignature=True
"""Numbers decisions, and writes rows of text by number: the binding of csrc/src/trace/rows.c."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

import os

import numpy as np

from flowclass.engine._flowclass cimport *

from flowclass.engine.keys import KEY_DTYPE

__all__ = ["NO_TOTAL", "TOTAL_DTYPE", "DecisionNumbers", "RowTexts", "add_totals", "address_texts"]

TOTAL_DTYPE = np.dtype([("packets", "=u8"), ("octets", "=u8"), ("first", "=i8"), ("last", "=i8")])
assert TOTAL_DTYPE.itemsize == sizeof(fc_total)
NO_TOTAL = np.array((0, 0, np.iinfo(np.int64).max, np.iinfo(np.int64).min), TOTAL_DTYPE)


def add_totals(totals, ids, sizes, times):
    """Adds packets to ``totals``, an array of `TOTAL_DTYPE`: packet i to the element ``ids[i]``.

    ``ids`` u32, ``sizes`` u32 (octets on the wire) and ``times`` i64 (`NO_TIME`: unknown) have equal lengths. The
    totals of nothing are `NO_TOTAL`.
    """
    cdef const uint32_t[::1] id = np.ascontiguousarray(ids, np.uint32)
    cdef const uint32_t[::1] size = np.ascontiguousarray(sizes, np.uint32)
    cdef const int64_t[::1] time = np.ascontiguousarray(times, np.int64)
    cdef size_t n = id.shape[0]
    if totals.dtype != TOTAL_DTYPE or n != <size_t>size.shape[0] or n != <size_t>time.shape[0]:
        raise ValueError(f"totals, ids, sizes, times: {totals.dtype}, lengths {n}, {len(sizes)}, {len(times)}")
    cdef uint8_t[::1] t = totals.view(np.uint8)
    if n == 0:
        return
    if ids.max() >= len(totals):
        raise IndexError(f"id {ids.max()} of {len(totals)} totals")
    with nogil:
        fc_totals_add(<fc_total *>&t[0], &id[0], &size[0], &time[0], n)


cdef class DecisionNumbers:
    """Gives numbers to records, of which many are equal: equal records get equal numbers, which count up from 0.

    The size of ``dtype`` must be a multiple of 8 octets, and at most 128. ``limit`` is the largest number of different
    records, at most 2**24. Nobody who chooses the records, such as the sender of packets, can make that slow.
    """

    cdef fc_ids *ptr
    cdef size_t words
    cdef object dtype

    def __cinit__(self, dtype, uint32_t limit=1 << 17):
        self.dtype = np.dtype(dtype)
        self.words = self.dtype.itemsize // 8
        cdef int status = FC_EINVAL
        if self.dtype.itemsize % 8 == 0:
            status = fc_ids_new(self.words, limit, int.from_bytes(os.urandom(8), "little"), &self.ptr)
        if status == FC_EINVAL:
            raise ValueError(f"dtype of {self.dtype.itemsize} octets, limit {limit}")
        if status != FC_OK:
            raise MemoryError

    def __dealloc__(self):
        fc_ids_free(self.ptr)

    def __len__(self):
        return fc_ids_count(self.ptr)

    def clear(self):
        """Forgets all records: numbers start from 0 again."""
        fc_ids_clear(self.ptr)

    def number(self, records):
        """The numbers of records: returns (``numbers`` u32, ``first`` u32).

        ``first`` has the indices of the records that were new, in the order of their numbers. ``numbers`` is shorter
        than ``records`` if the limit was reached: then call `clear`, and pass the rest again.
        """
        if records.dtype != self.dtype or records.ndim != 1:
            raise ValueError(f"records: expected one dimension of {self.dtype}, got {records.dtype}")
        records = np.ascontiguousarray(records)
        cdef size_t n = len(records), done, n_first = 0
        numbers = np.empty(n, np.uint32)
        first = np.empty(n, np.uint32)
        if n == 0:
            return numbers, first
        cdef const uint64_t[::1] words = records.view(np.uint64)
        cdef uint32_t[::1] numbers_view = numbers
        cdef uint32_t[::1] first_view = first
        with nogil:
            done = fc_ids_number(self.ptr, &words[0], n, &numbers_view[0], &first_view[0], &n_first)
        return numbers[:done], first[:n_first]


_VALUES = {
    "": FC_ROW_NOTHING, "frame": FC_ROW_FRAME, "time_ns": FC_ROW_TIME, "time": FC_ROW_CLOCK, "outcome": FC_ROW_OUTCOME,
    "source": FC_ROW_SOURCE, "destination": FC_ROW_DESTINATION, "protocol": FC_ROW_PROTOCOL,
    "source_port": FC_ROW_SOURCE_PORT, "destination_port": FC_ROW_DESTINATION_PORT, "flow_label": FC_ROW_FLOW_LABEL,
    "spi": FC_ROW_SPI, "traffic_class": FC_ROW_TRAFFIC_CLASS, "length": FC_ROW_LENGTH, "captured": FC_ROW_CAPTURED,
}  # fmt: skip
cdef enum:
    PIECES = 64  # columns, and an end
    BUFFER = 262144  # octets that are written at a time: half of a second-level cache


cdef class RowTexts:
    """Makes rows of text out of pieces: constant text, and the value of a column.

    The texts of outcomes are added beforehand, and rows choose them by number. ``null`` (at most 8 octets) stands for
    what a packet doesn't have, and ``quote`` (at most one) before and after addresses and times of day.
    """

    cdef fc_row_layout layout
    cdef fc_row_piece pieces[PIECES]
    cdef list texts  # of the pieces
    cdef list outcomes  # for each outcome, a tuple of the texts of the pieces that are outcomes
    cdef list joined, ends
    cdef size_t widest
    cdef bint fresh, numbered, timed, framed, sized, cut, keyed
    cdef object buffer

    def __cinit__(self, bytes null not None, bytes quote not None):
        if len(null) > 8 or len(quote) > 1:
            raise ValueError(f"null: {null!r}, quote: {quote!r}")
        for i in range(len(null)):
            self.layout.null[i] = null[i]
        self.layout.null_size = len(null)
        self.layout.quoted = len(quote)
        self.layout.quote = quote[0] if quote else 0
        self.texts = []
        self.buffer = np.empty(BUFFER, np.uint8)
        self.clear()

    def __len__(self):
        return len(self.outcomes)

    def clear(self):
        """Forgets the texts of all outcomes."""
        self.outcomes, self.fresh = [], False

    def set_pieces(self, pieces):
        """Says what a row consists of: pairs of constant text (bytes), and the name of a column.

        The column is "outcome" for the next of an outcome's texts, or "" for nothing. The numbers of outcomes stay.
        """
        if len(pieces) > PIECES:
            raise ValueError(f"pieces: {len(pieces)}, at most {PIECES}")
        self.texts = [text for text, _ in pieces]
        columns = [column for _, column in pieces]
        for i, column in enumerate(columns):
            self.pieces[i] = fc_row_piece(_VALUES[column], len(self.texts[i]), self.texts[i], NULL, NULL)
        self.layout.pieces = self.pieces
        self.layout.n_pieces = len(pieces)
        self.framed, self.timed = "frame" in columns, "time_ns" in columns or "time" in columns
        self.sized, self.cut, self.numbered = "length" in columns, "captured" in columns, "outcome" in columns
        self.keyed = any(FC_ROW_SOURCE <= self.pieces[i].value <= FC_ROW_TRAFFIC_CLASS for i in range(len(pieces)))
        self.fresh = False

    def add(self, outcomes):
        """Appends outcomes: for each a tuple of its texts (bytes). The first one after `clear` has number 0."""
        self.outcomes += outcomes
        self.fresh = False

    cdef _settle(self):
        """Lays out the texts of outcomes for C."""
        cdef const uint64_t[::1] ends
        cdef size_t group = 0
        if self.fresh:
            return
        self.joined, self.ends, self.widest = [], [], 0
        for i in range(self.layout.n_pieces):
            if self.pieces[i].value != FC_ROW_OUTCOME:
                continue
            texts = [outcome[group] for outcome in self.outcomes]
            group += 1
            self.joined.append(b"".join(texts))
            lengths = np.array([len(text) for text in texts], np.uint64)
            self.ends.append(np.cumsum(lengths, dtype=np.uint64))
            self.widest += int(lengths.max(initial=0))
            self.pieces[i].texts = self.joined[-1]
            if len(texts):
                ends = self.ends[-1]
                self.pieces[i].ends = &ends[0]
        self.fresh = True

    def write(self, stream, frames, times, numbers, sizes, captured, keys):
        """Writes the rows to a binary stream.

        ``frames`` u64, ``times`` i64 (`NO_TIME` becomes null), ``numbers`` u32 (of outcomes), ``sizes`` u32, ``captured``
        u32 and ``keys`` of `KEY_DTYPE` have equal lengths; what no piece asks for isn't looked at.
        """
        self._rows(stream, frames, times, numbers, sizes, captured, keys)

    def measure(self, frames, times, numbers, sizes, captured, keys):
        """How many octets `write` would write."""
        return self._rows(None, frames, times, numbers, sizes, captured, keys)

    cdef _rows(self, stream, frames, times, numbers, sizes, captured, keys):
        cdef const uint64_t[::1] frame
        cdef const int64_t[::1] time
        cdef const uint32_t[::1] u32
        cdef const uint8_t[::1] octets
        cdef fc_row_columns columns
        cdef size_t n = len(frames), done = 0, size, total = 0, room
        cdef bint measure = stream is None
        if n == 0:
            return 0
        self._settle()
        held = []
        if self.framed:
            frame = _column("frames", frames, np.uint64, n, held)
            columns.frames = &frame[0]
        if self.timed:
            time = _column("times", times, np.int64, n, held)
            columns.times = &time[0]
        if self.numbered:
            u32 = _column("numbers", numbers, np.uint32, n, held)
            columns.numbers = &u32[0]
            if held[-1].max() >= len(self.outcomes):
                raise IndexError(f"number {held[-1].max()} of {len(self.outcomes)} outcomes")
        if self.sized:
            u32 = _column("sizes", sizes, np.uint32, n, held)
            columns.sizes = &u32[0]
        if self.cut:
            u32 = _column("captured", captured, np.uint32, n, held)
            columns.captured = &u32[0]
        if self.keyed:
            octets = _column("keys", keys, KEY_DTYPE, n, held).view(np.uint8)
            columns.keys = <const fc_key *>&octets[0]
        room = self.widest + FC_ROW_VALUE * self.layout.n_pieces + sum([len(text) for text in self.texts])
        if room > <size_t>len(self.buffer):
            self.buffer = np.empty(2 * room, np.uint8)
        cdef unsigned char[::1] view = self.buffer
        room = len(self.buffer)
        while done < n:
            with nogil:
                size = fc_rows(&self.layout, &columns, done, n, self.widest, <char *>&view[0], room, measure, &done)
            total += size
            if not measure:
                stream.write(memoryview(self.buffer)[:size])
        return total


cdef _column(name, values, dtype, size_t n, list held):
    """A column as a contiguous array of n elements, which ``held`` keeps alive."""
    found = np.ascontiguousarray(values, dtype)
    if found.shape != (n,):
        raise ValueError(f"{name}: expected {n} elements, got {found.shape}")
    held.append(found)
    return found


def address_texts(keys, bint source):
    """The source (or else the destination) of each key as text (RFC 5952).

    Returns the texts one after the other (u8), where each begins and the last ends (i32), and which keys have one.
    """
    keys = np.ascontiguousarray(keys, KEY_DTYPE)
    cdef size_t n = len(keys)
    cdef const uint8_t[::1] octets = keys.view(np.uint8)
    texts, ends = np.empty(n * FC_ADDRESS_TEXT + 1, np.uint8), np.zeros(n + 1, np.int32)
    cdef uint8_t[::1] text = texts
    cdef int32_t[::1] end = ends
    if n:
        with nogil:
            fc_address_texts(<const fc_key *>&octets[0], n, source, <char *>&text[0], &end[1])
    return texts[: ends[n]], ends, keys["present"] & (FC_SOURCE if source else FC_DESTINATION) != 0
