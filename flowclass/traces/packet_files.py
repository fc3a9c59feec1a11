"""Writes packets to capture files: pcapng, or pcap, as the file name's ending says; compressed with .gz or .zst behind.

    with open_packets("some.pcapng") as packets:
        Run(agent, selection=Selection(where=Where("reason=flow")), packets=packets).classify(["trace.pcap"])

Times are in nanoseconds. A pcapng file has an interface for each link type, and the comments that a pcapng trace has
for a packet. A pcap file has one link type, no comments, and times from 1970 to 2106.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Final, Literal, NamedTuple, Protocol

import numpy as np

from flowclass.errors import OutputError

from .compress import COMPRESSIONS, OR_COMPRESSED, Compressor, compressor, endings
from .files import Together, atomic_file, check_writable
from .outcomes import Rows
from .reader import NO_TIME, KeyBatch

__all__ = [
    "PACKET_ENDINGS",
    "Packet",
    "PacketFormat",
    "PacketTaker",
    "PacketWriter",
    "Pcap",
    "Pcapng",
    "check_packets",
    "new_format",
    "open_packets",
    "packets_of",
    "stream_packets",
]

_LONG_AGO: Final = 9 * 10**9  # seconds before 1970: times before 1970 are counted from there, so as not to be negative
_NS: Final = 10**9


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + length + body + length


_SECTION: Final = _block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))


class PacketFormat(Protocol):
    """The state of one file that is being written in some format."""

    def begin(self, into: bytearray) -> None:
        """Appends what a file begins with, unless that has been done."""

    def add(
        self,
        into: bytearray,
        linktype: int,
        time: int,
        original: int,
        parts: Sequence[bytes | memoryview],
        comments: bytes,
    ) -> int:
        """Appends one packet, given in parts; returns its octets on the wire.

        ``time`` is in ns since 1970 (`NO_TIME` is written as 1970), ``original`` the length on the wire in octets, and
        ``comments`` pcapng options (little-endian). Raises `OutputError` for what the format can't hold.
        """


class Pcapng:
    """A pcapng file (little-endian, one section)."""

    def __init__(self) -> None:
        self._begun = False
        self._interfaces: dict[tuple[int, bool], int] = {}

    def begin(self, into: bytearray) -> None:
        """Appends the section header, unless that has been done."""
        if not self._begun:
            self._begun = True
            into += _SECTION

    def add(
        self,
        into: bytearray,
        linktype: int,
        time: int,
        original: int,
        parts: Sequence[bytes | memoryview],
        comments: bytes,
    ) -> int:
        """Appends one packet: see `PacketFormat`."""
        self.begin(into)
        if time == NO_TIME:
            time = 0
        early = time < 0
        interface = self._interfaces.get((linktype, early))
        if interface is None:
            interface = self._interfaces[linktype, early] = len(self._interfaces)
            options = struct.pack("<HHB3x", 9, 1, 9)  # if_tsresol: ns
            if early:
                options += struct.pack("<HHq", 14, 8, -_LONG_AGO)  # if_tsoffset
            into += _block(1, struct.pack("<HHI", linktype, 0, 0) + options + bytes(4))
        units = time + _LONG_AGO * _NS if early else time
        captured = sum(map(len, parts))
        octets = max(original, captured)
        length = 32 + captured + -captured % 4 + len(comments)
        into += struct.pack("<IIIIIII", 6, length, interface, units >> 32, units & 0xFFFFFFFF, captured, octets)
        for part in parts:
            into += part
        into += bytes(-captured % 4) + comments + struct.pack("<I", length)
        return octets


class Pcap:
    """A pcap file (little-endian, times in ns)."""

    def __init__(self) -> None:
        self._linktype: int | None = None

    def begin(self, into: bytearray) -> None:
        """Appends the header of a file without packets, unless one was begun."""
        if self._linktype is None:
            self._begin(into, 1)

    def _begin(self, into: bytearray, linktype: int) -> None:
        self._linktype = linktype
        into += struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, linktype)

    def add(
        self,
        into: bytearray,
        linktype: int,
        time: int,
        original: int,
        parts: Sequence[bytes | memoryview],
        comments: bytes,
    ) -> int:
        """Appends one packet: see `PacketFormat`. The comments are dropped."""
        if self._linktype is None:
            self._begin(into, linktype)
        if linktype != self._linktype:
            raise OutputError(
                f"a .pcap file has one link type, and the packets have several ({self._linktype} and {linktype}):"
                " write a .pcapng file"
            )
        seconds, rest = divmod(0 if time == NO_TIME else time, _NS)
        if not 0 <= seconds < 1 << 32:
            raise OutputError("a .pcap file has times from 1970 to 2106, and a packet is outside: write a .pcapng file")
        captured = sum(map(len, parts))
        octets = max(original, captured)
        into += struct.pack("<IIII", seconds, rest, captured, octets)
        for part in parts:
            into += part
        return octets


def _comments_of(octets: memoryview, start: int, captured: int) -> bytes:
    """The comments of the packet at ``start`` as little-endian pcapng options, if it is in an Enhanced Packet Block."""
    if start < 28:
        return b""
    kind = bytes(octets[start - 28 : start - 24])
    order: Literal["little", "big"]
    if kind == b"\6\0\0\0":
        order = "little"
    elif kind == b"\0\0\0\6":
        order = "big"
    else:
        return b""
    total = int.from_bytes(octets[start - 24 : start - 20], order)
    at, end = start + captured + -captured % 4, start - 28 + total - 4
    if int.from_bytes(octets[start - 8 : start - 4], order) != captured or end > len(octets):
        return b""
    if bytes(octets[end : end + 4]) != bytes(octets[start - 24 : start - 20]):
        return b""  # it was not a block after all
    found = b""
    while end - at >= 4:
        code, size = (int.from_bytes(octets[i : i + 2], order) for i in (at, at + 2))
        at += 4
        if code == 0 or size > end - at:
            break
        if code == 1:
            found += struct.pack("<HH", 1, size) + bytes(octets[at : at + size]) + bytes(-size % 4)
        at += size + -size % 4
    return found + struct.pack("<HH", 0, 0) if found else b""


class Packet(NamedTuple):
    """One packet of a batch: what `PacketFormat.add` takes. ``octets`` are the captured ones."""

    linktype: int
    time: int
    original: int
    octets: memoryview
    comments: bytes


def packets_of(batch: KeyBatch, rows: Rows) -> Iterator[Packet]:
    """Yields the packets of ``rows``, which are of the ``batch``. It must have the octets of its packets."""
    chosen = (rows.frames - np.uint64(batch.first_frame)).astype(np.intp)
    starts, sizes, times, originals, linktypes = (
        column[chosen].tolist()
        for column in (batch.offsets, batch.lengths, batch.times, batch.originals, batch.linktypes)
    )
    begins, found = zip(*batch.windows, strict=True) if batch.windows else ((), ())
    windows = [found[place].data for place in (np.searchsorted(begins, chosen, side="right") - 1).tolist()]
    for linktype, time, original, window, start, size in zip(
        linktypes, times, originals, windows, starts, sizes, strict=True
    ):
        yield Packet(linktype, time, original, window[start : start + size], _comments_of(window, start, size))


class PacketTaker(Protocol):
    """What `Run` gives the packets of its rows to."""

    def write(self, batch: KeyBatch, rows: Rows) -> None:
        """Takes the packets of the ``rows``, which are of the ``batch``; it has the octets of its packets."""


class PacketWriter:
    """Writes packets to one stream. Errors call it ``path``; ``packets`` is how many packets were written."""

    def __init__(self, stream: IO[bytes], form: PacketFormat, path: str, compressor: Compressor) -> None:
        self.packets: int = 0
        self._stream, self._form, self._path, self._compressor = stream, form, path, compressor

    def write(self, batch: KeyBatch, rows: Rows) -> None:
        """Appends the packets of the rows."""
        gathered = bytearray()
        try:
            for linktype, time, original, octets, comments in packets_of(batch, rows):
                self._form.add(gathered, linktype, time, original, (octets,), comments)
        except OutputError as error:
            raise OutputError(f"{self._path}: {error}") from None
        self.packets += len(rows)
        self._stream.write(self._compressor.compress(gathered))

    def close(self) -> None:
        """Completes the file, even if it has no packets; the stream stays open."""
        gathered = bytearray()
        self._form.begin(gathered)
        self._stream.write(self._compressor.compress(gathered))
        self._stream.write(self._compressor.flush())


class _Flushing(PacketWriter):
    """A writer whose stream is flushed after each batch, so that packets are seen as they come."""

    def write(self, batch: KeyBatch, rows: Rows) -> None:
        super().write(batch, rows)
        self._stream.flush()


_FORMATS: Final[dict[str, type[Pcapng] | type[Pcap]]] = {".pcapng": Pcapng, ".pcap": Pcap}
PACKET_ENDINGS: Final = tuple(form + compression for compression in ("", *COMPRESSIONS) for form in _FORMATS)
"""The endings of files that packets can be written to."""


def new_format(path: str) -> tuple[PacketFormat, Callable[[], Compressor]]:
    """The format for the path's ending, and what makes compressors. Raises `OutputError` for other endings."""
    ending, compression = endings(path)
    form = _FORMATS.get(ending)
    if form is None:
        raise OutputError(f"{path}: expected a name that ends in {' or '.join(_FORMATS)}, {OR_COMPRESSED}")
    return form(), compressor(compression, path)


def check_packets(path: str) -> None:
    """Raises `OutputError` if no file with packets can be made at the path."""
    new_format(path)
    check_writable(path)


@contextlib.contextmanager
def open_packets(path: str | os.PathLike[str], files: Together | None = None) -> Iterator[PacketWriter]:
    """A writer whose file appears at ``path`` when the block ends normally, and is removed when it raises.

    ``files`` is as for `flowclass.traces.files.atomic_file`.
    Raises `OutputError` for a path whose ending is none of `PACKET_ENDINGS`, for one where no file can be made, and
    for packets that a pcap file can't hold.
    """
    path = os.fspath(path)
    check_packets(path)
    form, make = new_format(path)
    with atomic_file(path, files) as stream:
        writer = PacketWriter(stream, form, path, make())
        yield writer
        writer.close()


@contextlib.contextmanager
def stream_packets(stream: IO[bytes]) -> Iterator[PacketWriter]:
    """A writer of pcapng to a stream, which is flushed as packets come, and stays open."""
    writer = _Flushing(stream, Pcapng(), "-", compressor("", "-")())
    yield writer
    writer.close()
    stream.flush()
