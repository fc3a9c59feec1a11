"""Decompresses traces. The format is recognised by its magic number, never by the file name.

Each source is decompressed on its own thread. The libraries release the GIL while they work, so reading, decompressing
and classifying overlap. Memory is bounded: output comes in chunks of `OUTPUT` octets, whatever the compression ratio,
and there is a limit for what the formats themselves need (zstd's window, xz's dictionary). Damage (a file that ends
early, octets that are not compressed data) ends the stream, after everything before it was delivered, and is described
in ``damage``. So is exceeding the memory limit, in words that name the limit.
"""

from __future__ import annotations

import bz2
import importlib
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from flowclass.errors import CaptureError
from flowclass.traces.pipeline import ReadAhead
from flowclass.traces.sources import ByteSource, RawSource

__all__ = ["MEMORY", "decompressed", "other_kind"]

CHUNK: Final = 1 << 18  # compressed octets at a time
OUTPUT: Final = (
    1 << 18
)  # decompressed octets at a time: larger pieces leave the cache (445 ms for 200 MB; 640 at 1 << 20)
QUEUED: Final = 4  # chunks of OUTPUT between the two threads
MEMORY: Final = 272 << 20
"""Octets that a format may use: `zstd --long=28` needs a little over 256 MiB, `xz -9` 65 MiB, a hostile file 4 GiB."""

_ZSTD_WINDOW: Final = range(1 << 10, 1 << 31)  # the window limits that zstd accepts

_GZIP, _ZSTD, _XZ, _BZIP2, _LZ4 = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh", b"\x04\x22\x4d\x18"


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
    magic: bytes,
    new: Callable[[], _Member],
    errors: tuple[type[Exception], ...],
    memory: int = MEMORY,
) -> Iterator[bytes]:
    """Yields the decompressed octets of one or more members, between which there may be zero padding."""
    buffer = memoryview(bytearray(CHUNK))
    member, fresh = new(), True
    while n := source.readinto(buffer):
        data = bytes(buffer[:n])
        while data:
            if fresh and not (data := data.lstrip(b"\0")):
                break
            if fresh and not magic.startswith(data[: len(magic)]):
                source.damage.append("octets that are no compressed data follow")
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


def _why(error: Exception, memory: int, needed: int = 0) -> str:
    """Why decompression ended: damage, or the memory limit. ``needed`` is the memory in octets, 0 if unknown."""
    text = str(error)
    if "too much memory" not in text and "Memory usage limit" not in text:
        return f"the compressed data is damaged ({text})"
    asked = f"{_size(needed)} of memory" if needed > memory else "more memory"
    advice = f"--memory {_size(needed, up=True)} allows it" if needed > memory else "--memory SIZE allows more"
    return f"to decompress it takes {asked}, and the limit is {_size(memory)}: {advice}"


def _size(octets: int, *, up: bool = False) -> str:
    """A number of octets in MiB or GiB as the command line takes it; ``up`` rounds up instead of down."""
    for shift, letter in ((30, "G"), (20, "M")):
        if octets >> shift and (octets % (1 << shift) == 0 or shift == 20):
            return f"{-(-octets >> shift) if up else octets >> shift}{letter}"
    return str(octets)


@dataclass(slots=True)
class _ZstdFrames:
    """Follows the frames of a zstd stream (RFC 8878, 3.1), to know at its end whether it was complete.

    This is needed because zstandard's reader ends without an error at a cut, and its other interfaces don't bound
    their output.
    """

    pending: bytes = b""  # the start of a header that is not complete yet
    skip: int = 0
    state: str = "frame"
    checksum: bool = False
    window: int = 0  # the largest window that a frame asked for, in octets

    def feed(self, data: bytes) -> None:
        at, data = 0, self.pending + data
        self.pending = b""
        while at < len(data) or self.skip:
            step = min(self.skip, len(data) - at)
            at, self.skip = at + step, self.skip - step
            if self.skip or at == len(data):
                break
            size = self._frame(data[at : at + 18]) if self.state == "frame" else self._block(data[at : at + 3])
            if size == 0:
                self.pending = data[at:]
                break
            at += size

    @property
    def whole(self) -> bool:
        return self.state == "frame" and not self.skip and not self.pending

    def _frame(self, head: bytes) -> int:
        """The size of the frame header at the start of ``head``, or 0 if it is incomplete."""
        if len(head) < 5:
            return 0
        if head[0] & 0xF0 == 0x50 and head[1:4] == b"\x2a\x4d\x18":  # skippable
            if len(head) < 8:
                return 0
            self.skip = int.from_bytes(head[4:8], "little")
            return 8
        descriptor = head[4]
        single = descriptor >> 5 & 1
        content = (single, 2, 4, 8)[descriptor >> 6]
        size = 5 + (not single) + (0, 1, 2, 4)[descriptor & 3] + content
        if len(head) < size:
            return 0
        if single:
            window = int.from_bytes(head[size - content : size], "little") + 256 * (content == 2)
        else:
            exponent, mantissa = head[5] >> 3, head[5] & 7
            window = (8 + mantissa) << (7 + exponent)
        self.window = max(self.window, window)
        self.checksum, self.state = bool(descriptor & 4), "block"
        return size

    def _block(self, head: bytes) -> int:
        if len(head) < 3:
            return 0
        value = int.from_bytes(head, "little")
        self.skip = 1 if value >> 1 & 3 == 1 else value >> 3  # a run-length block has one octet
        if value & 1:
            self.skip += 4 * self.checksum
            self.state = "frame"
        return 3


def _zstd(source: RawSource, memory: int) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError:
        try:
            standard = importlib.import_module("compression.zstd")  # Python 3.14
        except ImportError:
            raise _missing(source, "zstd", "zstandard") from None
        options = {standard.DecompressionParameter.window_log_max: min(max(memory.bit_length() - 1, 10), 31)}
        new = partial(standard.ZstdDecompressor, options=options)
        yield from _members(source, _ZSTD, new, _errors("compression.zstd.ZstdError"), memory)
        return
    frames = _ZstdFrames()

    class Tee:
        def read(self, n: int) -> bytes:
            buffer = bytearray(n)
            data = bytes(memoryview(buffer)[: source.readinto(memoryview(buffer))])
            frames.feed(data)
            return data

    largest = min(max(memory, _ZSTD_WINDOW.start), _ZSTD_WINDOW.stop)
    decompressor = zstandard.ZstdDecompressor(max_window_size=largest)
    reader = decompressor.stream_reader(Tee(), read_size=CHUNK, read_across_frames=True)  # type: ignore[arg-type]
    try:
        while output := reader.read(OUTPUT):
            yield output
    except zstandard.ZstdError as error:
        source.damage.append(_why(error, memory, frames.window))
        return
    if not frames.whole:
        source.damage.append("the compressed data ends early")


def _lz4(source: RawSource) -> Iterator[bytes]:
    try:
        module = importlib.import_module("lz4.frame")
    except ImportError:
        raise _missing(source, "lz4", "lz4") from None
    return _members(source, _LZ4, module.LZ4FrameDecompressor, _errors())


def _missing(source: RawSource, what: str, package: str) -> CaptureError:
    return CaptureError(f"{source.name}: is compressed with {what}, which needs the Python package {package}")


_FORMATS: Final[dict[bytes, Callable[[RawSource, int], Iterator[bytes]]]] = {
    _GZIP: lambda source, memory: _members(
        source, _GZIP, _gzip_member(), _errors("isal.isal_zlib.error", "zlib_ng.zlib_ng.error")
    ),
    _ZSTD: _zstd,
    _XZ: lambda source, memory: _members(
        source, _XZ, lambda: lzma.LZMADecompressor(memlimit=memory), _errors(), memory
    ),
    _BZIP2: lambda source, memory: _members(source, _BZIP2, bz2.BZ2Decompressor, _errors()),
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
    head = source.peek(6)
    for magic, opener in _FORMATS.items():
        if head.startswith(magic):
            return _Threaded(source, opener(source, memory))
    return source


class _Threaded:
    """A source whose octets are decompressed by another thread, at most `QUEUED` chunks ahead."""

    def __init__(self, source: RawSource, chunks: Iterator[bytes]) -> None:
        self.damage: list[str] = []
        self._source = source
        self._chunks = ReadAhead(chunks, QUEUED)
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
