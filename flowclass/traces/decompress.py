"""Decompresses traces. The format is recognised by its magic number, never by the file name.

Each source is decompressed on its own thread. The libraries release the GIL while they work, so reading, decompressing
and classifying overlap. Memory is bounded: output comes in chunks of `OUTPUT` octets, whatever the compression ratio,
and there is a limit for what the formats themselves need (zstd's window, xz's dictionary). Damage (a file that ends
early, octets that are not compressed data) ends the stream, after everything before it was delivered, and is described
in ``damage``. So is exceeding the memory limit, in words that name the limit.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from flowclass.errors import CaptureError
from flowclass.late import Late

if TYPE_CHECKING:
    import bz2
    import lzma
    import zlib

    from . import pipeline
    from .sources import ByteSource, RawSource
else:
    bz2 = Late("bz2")
    lzma = Late("lzma")
    zlib = Late("zlib")
    pipeline = Late("flowclass.traces.pipeline")

__all__ = ["MEMORY", "decompressed", "other_kind"]

CHUNK: Final = 1 << 18  # compressed octets at a time
OUTPUT: Final = (
    1 << 18
)  # decompressed octets at a time: larger pieces leave the cache (445 ms for 200 MB; 640 at 1 << 20)
QUEUED: Final = 4  # chunks of OUTPUT between the two threads
MEMORY: Final = 272 << 20
"""Octets that a format may use: `zstd --long=28` needs a little over 256 MiB, `xz -9` 65 MiB, a hostile file 4 GiB."""

_ZSTD_WINDOW_LOG: Final = (10, 31)  # the window limits that zstd accepts, as powers of two

_GZIP, _ZSTD, _XZ, _BZIP2, _LZ4 = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh", b"\x04\x22\x4d\x18"
_HEADER: Final = 18  # octets at the beginning that tell what a format needs: a zstd frame header has at most so many
_ZSTD_SKIPPABLE: Final = b"\x2a\x4d\x18"  # after an octet from 0x50 to 0x5f


class _Member(Protocol):
    """What the decompressor objects of zlib, isal, bz2, lzma, lz4 and compression.zstd have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _gzip_member() -> Callable[[], _Member]:
    # isal is 1.6 times as fast as zlib on traces cut at 96 octets (219 against 361 ns for each packet)
    for name in ("isal.isal_zlib", "zlib_ng.zlib_ng", "zlib"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        return lambda: module.decompressobj(31)
    raise AssertionError("zlib is always there")


def _errors(*names: str) -> tuple[type[Exception], ...]:
    """The exceptions that decompression may raise; ``names`` ("module.Name") are added if the module is installed."""
    found: list[type[Exception]] = [OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError]
    for name in names:
        module, _, attribute = name.rpartition(".")
        try:
            found.append(getattr(importlib.import_module(module), attribute))
        except ImportError:
            continue
    return tuple(found)


def _inflate(member: Any, data: bytes) -> Iterator[bytes]:
    """Yields what ``data`` decompresses to, in pieces of at most `OUTPUT` octets."""
    while True:
        output = member.decompress(data, OUTPUT)
        if output:
            yield output
        if member.eof:
            return
        if hasattr(member, "needs_input"):  # bz2, lzma, lz4: the object keeps input that it has not used
            data = b""
            if member.needs_input:
                return
        else:  # zlib: it returns such input, and may have more output when the limit was reached
            data = member.unconsumed_tail
            if not data and len(output) < OUTPUT:
                return


def _members(
    source: RawSource,
    begins: Callable[[bytes], bool],
    new: Callable[[], _Member],
    errors: tuple[type[Exception], ...],
    memory: int = MEMORY,
    needs: Callable[[bytes], int] = lambda head: 0,
) -> Iterator[bytes]:
    """Yields the decompressed octets of one or more members, between which there may be zero padding.

    ``begins`` says whether a member can begin with these octets, ``needs`` how much memory it asks for (0: unknown).
    """
    buffer = memoryview(bytearray(CHUNK))
    member, fresh = new(), True
    while n := source.readinto(buffer):
        data = bytes(buffer[:n])
        while data:
            if fresh and not (data := data.lstrip(b"\0")):
                break
            if fresh and not begins(data):
                source.damage.append("octets that are no compressed data follow")
                return
            if fresh and (needed := needs(data[:_HEADER])) > memory:
                source.damage.append(_too_much(memory, needed))
                return
            try:
                yield from _inflate(member, data)
            except errors as error:
                source.damage.append(_why(error, memory))
                return
            data, fresh = member.unused_data if member.eof else b"", False
            if member.eof:
                member, fresh = new(), True
    if not fresh:
        source.damage.append("the compressed data ends early")


def _starts(magic: bytes) -> Callable[[bytes], bool]:
    """Whether octets begin with a magic number, or are the beginning of it."""
    return lambda data: magic.startswith(data[: len(magic)])


def _why(error: Exception, memory: int) -> str:
    """Why decompression ended: damage, or the memory limit."""
    text = str(error)
    if "too much memory" in text or "Memory usage limit" in text:
        return _too_much(memory)
    return f"the compressed data is damaged ({text})"


def _too_much(memory: int, needed: int = 0) -> str:
    """That the memory limit is too low; ``needed`` is the memory in octets, 0 if unknown."""
    asked, advice = (f"{_size(needed)} of", _size(needed, up=True)) if needed else ("more", "SIZE")
    more = "it" if needed else "more"
    return f"to decompress it takes {asked} memory, and the limit is {_size(memory)}: --memory {advice} allows {more}"


def _size(octets: int, *, up: bool = False) -> str:
    """A number of octets in MiB or GiB as the command line takes it; ``up`` rounds up instead of down."""
    for shift, letter in ((30, "G"), (20, "M")):
        if octets >> shift and (octets % (1 << shift) == 0 or shift == 20):
            return f"{-(-octets >> shift) if up else octets >> shift}{letter}"
    return str(octets)


def zstd_module() -> Any:
    """The module compression.zstd of Python 3.14, or the same for those before; None if it isn't installed."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def _zstd(source: RawSource, memory: int) -> Iterator[bytes]:
    zstd = zstd_module()
    if zstd is None:
        raise _missing(source, "zstd", "backports.zstd")
    # as powers of two are the only limits, one that is above `memory` here is refused by _zstd_window
    largest = min(max((memory - 1).bit_length(), _ZSTD_WINDOW_LOG[0]), _ZSTD_WINDOW_LOG[1])
    new = partial(zstd.ZstdDecompressor, options={zstd.DecompressionParameter.window_log_max: largest})
    return _members(source, _zstd_begins, new, (*_errors(), zstd.ZstdError), memory, _zstd_window)


def _zstd_begins(data: bytes) -> bool:
    """Whether this can be a zstd frame, which may be skippable (RFC 8878 sections 3.1.1 and 3.1.2)."""
    return _ZSTD.startswith(data[:4]) or (data[0] & 0xF0 == 0x50 and _ZSTD_SKIPPABLE.startswith(data[1:4]))


def _zstd_window(head: bytes) -> int:
    """The memory in octets that the frame beginning with ``head`` asks for, or 0 if too little of it is there.

    A frame of a single segment asks for as much as its content, any other for its window (RFC 8878 section 3.1.1.1).
    """
    if len(head) < _HEADER or not head.startswith(_ZSTD):
        return 0
    content_code, single, dictionary = head[4] >> 6, head[4] >> 5 & 1, (0, 1, 2, 4)[head[4] & 3]
    if not single:
        return (8 + (head[5] & 7)) << (7 + (head[5] >> 3))
    at, size = 5 + dictionary, (1, 2, 4, 8)[content_code]
    return int.from_bytes(head[at : at + size], "little") + 256 * (size == 2)


def _lz4(source: RawSource) -> Iterator[bytes]:
    try:
        module = importlib.import_module("lz4.frame")
    except ImportError:
        raise _missing(source, "lz4", "lz4") from None
    return _members(source, _starts(_LZ4), module.LZ4FrameDecompressor, _errors())


def _missing(source: RawSource, what: str, package: str) -> CaptureError:
    return CaptureError(f"{source.name}: is compressed with {what}, which needs the Python package {package}")


_FORMATS: Final[dict[bytes, Callable[[RawSource, int], Iterator[bytes]]]] = {
    _GZIP: lambda source, memory: _members(
        source, _starts(_GZIP), _gzip_member(), _errors("isal.isal_zlib.error", "zlib_ng.zlib_ng.error")
    ),
    _ZSTD: _zstd,
    _XZ: lambda source, memory: _members(
        source, _starts(_XZ), lambda: lzma.LZMADecompressor(memlimit=memory), _errors(), memory
    ),
    _BZIP2: lambda source, memory: _members(source, _starts(_BZIP2), bz2.BZ2Decompressor, _errors()),
    _LZ4: lambda source, memory: _lz4(source),
}

# first octets of other files that users may pass as captures -> what to tell them
_OTHER_KINDS: Final = {
    b"snoop\0\0\0": "a snoop capture, which is not read: editcap -F pcapng makes one that is",
    b"GMBU": "a Network Monitor capture, which is not read: editcap -F pcapng makes one that is",
    b"RTSS": "a Network Monitor capture, which is not read: editcap -F pcapng makes one that is",
    b"PK\x03\x04": "a zip archive, which is not read: unzip it first",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive, which is not read: unpack it first",
    b"Rar!": "a rar archive, which is not read: unpack it first",
    _GZIP: "compressed twice: gunzip it once",
    _ZSTD: "compressed twice, with zstd inside: decompress it once",
    _XZ: "compressed twice, with xz inside: decompress it once",
    _BZIP2: "compressed twice, with bzip2 inside: decompress it once",
    _LZ4: "compressed twice, with lz4 inside: decompress it once",
}


def other_kind(head: bytes) -> str | None:
    """What kind of file this is, which is not a capture, if its first octets tell; else None."""
    for magic, what in _OTHER_KINDS.items():
        if head.startswith(magic):
            return what
    if len(head) > 262 and head[257:262] == b"ustar":
        return "a tar archive, which is not read: unpack it first"
    if _erf_records(head) >= 2:
        return "an ERF capture, which is not read: editcap -F pcapng makes one that is"
    return None


def _erf_records(head: bytes) -> int:
    """How many records of an ERF (Extensible Record Format) file the octets begin with; it has no magic number."""
    count, at = 0, 0
    while len(head) - at >= 16:
        kind, size = head[at + 8] & 0x7F, int.from_bytes(head[at + 10 : at + 12], "big")
        if not 1 <= kind <= 48 or size < 16:
            return 0
        count, at = count + 1, at + size
        if at == len(head):
            return max(count, 2)  # the whole file consists of records
    return count


def decompressed(source: RawSource, memory: int = MEMORY) -> ByteSource:
    """The source itself, or a source of its decompressed octets; the format may use ``memory`` octets.

    Raises `CaptureError` if the library for the format is missing.
    """
    head = source.peek(_HEADER)
    for magic, opener in _FORMATS.items():
        if head.startswith(magic):
            return _Threaded(source, opener(source, memory))
    return source


class _Threaded:
    """A source whose octets are decompressed by another thread, at most `QUEUED` chunks ahead."""

    def __init__(self, source: RawSource, chunks: Iterator[bytes]) -> None:
        self.damage: list[str] = []
        self._source = source
        self._chunks = pipeline.ReadAhead(chunks, QUEUED)
        self._current = memoryview(b"")

    def readinto(self, buffer: memoryview, /) -> int:
        """Fills the buffer, only at the end less than all of it; returns how many octets."""
        filled = 0
        while filled < len(buffer):
            if not self._current:
                chunk = next(self._chunks, None)
                if chunk is None:
                    self.damage = self._source.damage
                    break
                self._current = memoryview(chunk)
            n = min(len(buffer) - filled, len(self._current))
            buffer[filled : filled + n] = self._current[:n]
            self._current = self._current[n:]
            filled += n
        return filled

    def close(self) -> None:
        """Ends the thread and closes the file."""
        if self._chunks.close():
            self._source.close()
