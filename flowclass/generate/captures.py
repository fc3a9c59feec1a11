"""Writes capture files: classic pcap (with either time unit and byte order) and pcapng."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import IO, Literal, NamedTuple

__all__ = ["ETHERNET", "RAW", "Frame", "write_pcap", "write_pcapng"]

ETHERNET, RAW = 1, 101  # LINKTYPE_ numbers
_SNAP_LENGTH = 262144  # what tcpdump uses for "everything"
_MAGIC = {"us": 0xA1B2C3D4, "ns": 0xA1B23C4D}
_PER_SECOND = {"us": 10**6, "ns": 10**9}


class Frame(NamedTuple):
    """One packet on a link."""

    time_ns: int
    data: bytes


def write_pcap(
    stream: IO[bytes],
    frames: Iterable[Frame],
    *,
    linktype: int = ETHERNET,
    unit: Literal["us", "ns"] = "ns",
    order: Literal["<", ">"] = "<",
    snap_length: int = _SNAP_LENGTH,
) -> int:
    """Writes a classic pcap file; returns the number of frames.

    Times are truncated to ``unit``, and frames are cut at ``snap_length`` octets.
    """
    stream.write(struct.pack(order + "IHHiIII", _MAGIC[unit], 2, 4, 0, 0, snap_length, linktype))
    pack = struct.Struct(order + "IIII").pack
    divisor = 10**9 // _PER_SECOND[unit]
    count = 0
    for time_ns, data in frames:
        seconds, rest = divmod(time_ns, 10**9)
        cut = data[:snap_length]
        stream.write(pack(seconds, rest // divisor, len(cut), len(data)) + cut)
        count += 1
    return count


def write_pcapng(
    stream: IO[bytes],
    frames: Iterable[Frame],
    *,
    linktype: int = ETHERNET,
    order: Literal["<", ">"] = "<",
    snap_length: int = _SNAP_LENGTH,
) -> int:
    """Writes a pcapng file of one section and one interface with nanosecond times; returns the number of frames."""
    block = _Blocks(order)
    stream.write(block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1)))
    # option 9 is if_tsresol: 9 stands for 10**-9 s; option 0 ends the list
    options = struct.pack(order + "HHB3xHH", 9, 1, 9, 0, 0)
    stream.write(block(1, struct.pack(order + "HHI", linktype, 0, snap_length) + options))
    pack = struct.Struct(order + "IIIII").pack
    count = 0
    for time_ns, data in frames:
        cut = data[:snap_length]
        head = pack(0, time_ns >> 32, time_ns & 0xFFFFFFFF, len(cut), len(data))
        stream.write(block(6, head + cut))
        count += 1
    return count


class _Blocks:
    """Makes pcapng blocks: type, length, body padded to 4 octets, and the length again."""

    def __init__(self, order: str) -> None:
        self._two = struct.Struct(order + "II")
        self._one = struct.Struct(order + "I")

    def __call__(self, kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        length = 12 + len(body)
        return self._two.pack(kind, length) + body + self._one.pack(length)
