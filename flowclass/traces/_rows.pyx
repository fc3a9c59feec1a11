# cython: language_level=3, embedsignature=True
"""Numbers decisions, and writes rows of text by number: the binding of csrc/src/trace/rows.c."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

import numpy as np

from flowclass.engine._flowclass cimport *

__all__ = ["NO_TOTAL", "TOTAL_DTYPE", "DecisionNumbers", "RowTexts", "add_totals"]

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
    records, at most 2**24.
    """

    cdef fc_ids *ptr
    cdef size_t words
    cdef object dtype

    def __cinit__(self, dtype, uint32_t limit=1 << 17):
        self.dtype = np.dtype(dtype)
        self.words = self.dtype.itemsize // 8
        cdef int status = FC_EINVAL if self.dtype.itemsize % 8 else fc_ids_new(self.words, limit, &self.ptr)
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


cdef class RowTexts:
    """Makes rows ``head frame middle time tail``. The tails are added beforehand, and rows choose them by number."""

    cdef bytes middle, null
    cdef list tails
    cdef bytes text
    cdef object ends

    def __cinit__(self, bytes middle not None, bytes null not None):
        self.middle, self.null = middle, null
        self.clear()

    def __len__(self):
        return len(self.tails)

    def clear(self):
        """Forgets all tails."""
        self.tails, self.text, self.ends = [], None, None

    def add(self, tails):
        """Appends tails (bytes). They are numbered in order; the first one after `clear` has number 0."""
        self.tails += tails
        self.text = None

    def rows(self, bytes head not None, frames, times, numbers):
        """Returns the rows as bytes.

        ``frames`` u64, ``times`` i64 (`NO_TIME` becomes ``null``) and ``numbers`` u32 have equal lengths.
        """
        cdef const uint64_t[::1] frame = np.ascontiguousarray(frames, np.uint64)
        cdef const int64_t[::1] time = np.ascontiguousarray(times, np.int64)
        numbers = np.ascontiguousarray(numbers, np.uint32)
        cdef const uint32_t[::1] number = numbers
        cdef size_t n = frame.shape[0], size
        if n != <size_t>time.shape[0] or n != <size_t>number.shape[0]:
            raise ValueError(f"frames, times, numbers: lengths {n}, {time.shape[0]}, {number.shape[0]}")
        if n == 0:
            return b""
        if numbers.max() >= len(self.tails):
            raise IndexError(f"number {numbers.max()} of {len(self.tails)} tails")
        if self.text is None:
            self.text = b"".join(self.tails)
            self.ends = np.cumsum([len(t) for t in self.tails], dtype=np.uint64)
        lengths = np.diff(self.ends, prepend=np.uint64(0))
        cdef size_t room = int(lengths[numbers].sum()) + n * (
            <size_t>FC_ROW_DIGITS + len(head) + len(self.middle) + len(self.null))
        cdef const uint64_t[::1] ends = self.ends
        cdef fc_row_texts texts = fc_row_texts(head, self.middle, self.null, len(head), len(self.middle),
                                               len(self.null), self.text, &ends[0])
        out = np.empty(room, np.uint8)
        cdef unsigned char[::1] view = out
        with nogil:
            size = fc_rows(&texts, &frame[0], &time[0], &number[0], n, <char *>&view[0])
        return out[:size].tobytes()
