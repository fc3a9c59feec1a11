# cython: language_level=3, embedsignature=True
"""Makes keys out of packets: the binding of csrc/src/packet/parse.c and fragments.c."""

from libc.stdint cimport UINT32_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from flowclass.engine._flowclass cimport *

import threading
from contextlib import nullcontext

from flowclass.engine.arguments import integer, link_types, out_array, secret_key, times_of
from flowclass.errors import ArgumentError, ClassifierError
from flowclass.late import Late

__all__ = ["FIRST_DTYPE", "INNERMOST", "NOTE_DTYPE", "OPEN", "PACKET_DTYPE", "SIGNALLING", "Fragments", "as_batch",
           "parse"]

INNERMOST = FC_INNERMOST
SIGNALLING = FC_PACKET_SIGNALLING  # bits of the flags in PACKET_DTYPE
OPEN = FC_PACKET_OPEN

np = Late("numpy")
dtypes = Late("flowclass.engine.dtypes")


SIZES = {"FIRST_DTYPE": sizeof(fc_fragment_first), "NOTE_DTYPE": sizeof(fc_fragment_note), "PACKET_DTYPE": sizeof(fc_packet)}


def __getattr__(name):
    if name in SIZES:
        assert getattr(dtypes, name).itemsize == SIZES[name]
        return getattr(dtypes, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *SIZES})


cdef class Fragments:
    """A bounded memory of first fragments, so that later fragments are decided as the first one was; see fragments.c.

    It holds at most ``capacity`` first fragments (1 to 2**24; 112 octets each); then the oldest makes room. ``secret``
    (16 octets) keys the hash; without one it is random. A memory belongs to one input: use one for each trace or
    interface. Batches that share one wait for each other.

    ``defer`` is for a part of an input. Where it could matter what came before the part, a packet is left as it would
    be without a memory, and a note is made, for the memory of what came before to `settle`.
    """

    def __cinit__(self, capacity=65536, secret=None, *, defer=False):
        cdef bytes key = secret_key(secret)
        capacity = integer("capacity", capacity, 1, 1 << 24)
        self.lock = threading.Lock()
        if fc_fragments_new(capacity, <const uint8_t *><const char *>key, <fc_fragments **>&self.ptr) != 0:
            raise MemoryError
        if defer:
            fc_fragments_defer(<fc_fragments *>self.ptr)

    def __dealloc__(self):
        fc_fragments_free(<fc_fragments *>self.ptr)

    def __len__(self):
        return fc_fragments_count(<fc_fragments *>self.ptr)

    def clear(self):
        """Forgets everything."""
        with self.lock:
            fc_fragments_clear(<fc_fragments *>self.ptr)

    def notes(self, most=16384):
        """Takes the oldest notes, at most ``most`` of them, and returns them as an array of `NOTE_DTYPE`."""
        taken = np.empty(most, dtypes.NOTE_DTYPE)
        cdef uint8_t[::1] view = taken.view(np.uint8)
        cdef size_t n
        with self.lock:
            if fc_fragments_notes(<fc_fragments *>self.ptr, <fc_fragment_note *>&view[0], most, &n) != 0:
                raise MemoryError
        return taken[:n]

    @property
    def told(self):
        """How many first fragments the memory was told so far."""
        return fc_fragments_told(<fc_fragments *>self.ptr)

    def firsts(self):
        """All first fragments that are held, the oldest first, as an array of `FIRST_DTYPE`."""
        cdef uint8_t[::1] view
        with self.lock:
            found = np.empty(fc_fragments_count(<fc_fragments *>self.ptr), dtypes.FIRST_DTYPE)
            if len(found):
                view = found.view(np.uint8)
                fc_fragments_firsts(<fc_fragments *>self.ptr, <fc_fragment_first *>&view[0])
        return found

    def settle(self, notes):
        """Answers the notes of the part that comes next, in their order, in one or several calls: their ``key`` and
        ``info`` become those that their packets have."""
        if notes.dtype != dtypes.NOTE_DTYPE or notes.ndim != 1 or not notes.flags.c_contiguous:
            raise ClassifierError(f"notes: expected a contiguous array of {dtypes.NOTE_DTYPE.names}")
        cdef uint8_t[::1] view = notes.view(np.uint8)
        if len(notes):
            with self.lock:
                if fc_fragments_settle(<fc_fragments *>self.ptr, <fc_fragment_note *>&view[0], len(notes)) != 0:
                    raise MemoryError

    def extend(self, firsts, told):
        """Takes in what the memory of a part holds, once the part's notes are settled. Then the next part can come."""
        if firsts.dtype != dtypes.FIRST_DTYPE or firsts.ndim != 1 or not firsts.flags.c_contiguous:
            raise ClassifierError(f"firsts: expected a contiguous array of {dtypes.FIRST_DTYPE.names}")
        cdef const uint8_t[::1] view = firsts.view(np.uint8)
        with self.lock:
            fc_fragments_extend(<fc_fragments *>self.ptr, <const fc_fragment_first *>(&view[0] if len(firsts) else NULL), len(firsts), told)


def as_batch(packets):
    """``packets`` as (buffer, offsets u64, lengths u32), each packet inside the buffer: the form that the engine takes.

    Either such a triple (any buffer, integer arrays of equal length; checked, not copied where the types fit), or a
    sequence of bytes-like objects, which are copied together (a tuple of three arrays is always the triple). Raises
    `ClassifierError`.
    """
    if not isinstance(packets, tuple) or len(packets) != 3 or isinstance(packets[1], (bytes, bytearray, memoryview)):
        return _join(packets)
    try:
        buffer = np.frombuffer(packets[0], dtype=np.uint8)
        offsets = np.ascontiguousarray(packets[1], dtype=np.uint64)
        wide = np.ascontiguousarray(packets[2], dtype=np.uint64)  # checked before it is narrowed
    except (TypeError, ValueError, OverflowError) as error:
        raise ClassifierError(f"packets: expected (buffer, offsets, lengths): {error}") from None
    if offsets.ndim != 1 or offsets.shape != wide.shape:
        raise ClassifierError(f"offsets and lengths: expected one dimension and equal length, "
                              f"got shapes {offsets.shape} and {wide.shape}")
    cdef const uint64_t[::1] o = offsets
    cdef const uint64_t[::1] l = wide
    cdef uint64_t size = buffer.size
    cdef Py_ssize_t i, bad = -1
    with nogil:
        for i in range(o.shape[0]):
            if o[i] > size or l[i] > size - o[i] or l[i] > UINT32_MAX:
                bad = i
                break
    if bad >= 0:
        raise ClassifierError(f"packet {bad}: {l[bad]} octets at {o[bad]} of a buffer of {size}")
    return buffer, offsets, wide.astype(np.uint32)


def _join(packets):
    if isinstance(packets, (str, bytes, bytearray, memoryview, dict)):  # one packet is none of several
        raise ArgumentError("packets", "a sequence of bytes-like objects", packets)
    try:
        views = [memoryview(p) for p in packets]
    except TypeError as error:
        raise ClassifierError(f"packets: expected a sequence of bytes-like objects: {error}") from None
    lengths = np.fromiter((v.nbytes for v in views), dtype=np.uint32, count=len(views))
    offsets = np.zeros(len(views), dtype=np.uint64)
    np.cumsum(lengths[:-1], out=offsets[1:], dtype=np.uint64)
    return np.frombuffer(b"".join(views), dtype=np.uint8), offsets, lengths


def parse(packets, *, linktype=101, linktypes=None, fragments=None, times=None, inner=0, keys=None, infos=None):
    """Parses packets and returns ``(keys, infos)``, arrays of `KEY_DTYPE` and `PACKET_DTYPE`.

    ``packets``
        a sequence of bytes-like objects, or (buffer, offsets, lengths) as `as_batch` takes them.
    ``linktype``, ``linktypes``
        the pcap link type number of all (LINKTYPE_x; 101: raw IP), or an array of u16 with one for each.
    ``fragments``
        a `Fragments`: later fragments take the key of their first one, if that came before.
    ``times``
        when each packet came, ns of one clock (i64), or one number for all; used with ``fragments`` only: a first
        fragment is good for 60 seconds (RFC 8200 section 4.5). None: forever.
    ``inner``
        0 or 1 the outermost IP header, N the N-th (or the deepest before it), `INNERMOST`.
    ``keys``, ``infos``
        arrays to fill instead of new ones; at least as long as the input, of which the filled part is returned.

    Never raises on what the packets hold. Raises `ClassifierError` on arguments that don't fit.
    """
    buffer, offsets, lengths = as_batch(packets)
    cdef Py_ssize_t n = offsets.size
    keys = out_array("keys", keys, dtypes.KEY_DTYPE, n)
    infos = out_array("infos", infos, dtypes.PACKET_DTYPE, n)
    inner = integer("inner", inner, 0, FC_INNERMOST)
    if fragments is not None and not isinstance(fragments, Fragments):
        raise ArgumentError("fragments", "a Fragments", fragments)
    cdef fc_parse_options options
    options.inner = inner
    options.fragments = NULL if fragments is None else <fc_fragments *>(<Fragments>fragments).ptr
    cdef const int64_t[::1] when
    options.times = NULL
    options.now = FC_NO_TIME
    if fragments is not None:
        when = times_of(times, n)
        options.times = &when[0] if n else NULL
    cdef int link = integer("linktype", linktype, 0, 0xffff)
    cdef const uint16_t[::1] types
    cdef const uint16_t *types_ptr = NULL
    if linktypes is not None:
        types = link_types(linktypes, n)
    if n == 0:
        return keys, infos
    if linktypes is not None:
        types_ptr = &types[0]
    cdef const uint64_t[::1] o = offsets
    cdef const uint32_t[::1] l = lengths
    cdef uint8_t[::1] k = keys.view(np.uint8)
    cdef uint8_t[::1] p = infos.view(np.uint8)
    cdef const uint8_t[::1] b = buffer
    cdef const uint8_t *bytes_ptr = &b[0] if b.shape[0] else <const uint8_t *>&options
    with nullcontext() if fragments is None else (<Fragments>fragments).lock:
        with nogil:
            fc_parse_batch(link, types_ptr, bytes_ptr, &o[0], &l[0], n, &options, <fc_key *>&k[0], <fc_packet *>&p[0])
    return keys, infos
