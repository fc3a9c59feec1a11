"""Writes the packets of traces to capture files, one for each care-of address, flow, node or action.

    splitter = Splitter(agent, "links", by="care-of", encapsulate=True)
    result = splitter.split(["a.pcap"], replay=True)

A packet is copied as soon as it is decided, so each trace is read once. Outputs are not kept open: their records are
gathered in memory and appended now and then, so thousands of outputs need only one descriptor and bounded memory.
How a file is written is in packet_files.py.

A copy keeps its time in nanoseconds, its link type (a pcapng file has an interface for each), its captured and
original lengths, and the comments that a pcapng trace has for it. An encapsulated copy is what a home agent sends: the
packet after the header of a tunnel (RFC 2473), without the link layer with which it was captured.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final, Literal, TypeAlias

from flowclass.errors import OutputError
from flowclass.mobility import HomeAgent

from .decompress import MEMORY
from .files import check_apart, make_folder
from .interruption import Interruption
from .outcomes import Outcomes, Rows, RowValues
from .packet_files import Packet, PacketFormat, new_format, packets_of
from .reader import KeyBatch
from .replaying import replay as replay_traces
from .run import Run, Source
from .selection import Selection
from .summary import Summary

__all__ = ["BY", "Output", "Split", "Splitter"]

By: TypeAlias = Literal["care-of", "flow", "node", "action"]
BY: Final[tuple[By, ...]] = ("care-of", "flow", "node", "action")

_RAW: Final = 101  # LINKTYPE_RAW
_GATHERED: Final = 64 << 20  # octets that are gathered for all outputs before they are appended
_TUNNEL_HOPS: Final = 64  # hop limit of the outer header
_ENCAPSULATION_LIMIT: Final = bytes((4, 1, 4, 1, 0))  # RFC 2473 section 4.1.1: the option, and padding after it


@dataclass(slots=True)
class Output:
    """One output file: how many packets it has, and their octets on the wire, including tunnel headers."""

    file: str
    packets: int = 0
    octets: int = 0


@dataclass(slots=True)
class Split:
    """The result of a split.

    ``outputs`` are the files in the order of their names, ``packets`` is the number of packets in the traces, and
    ``left_out`` the number of those that are in no file, because they are not sent anywhere.
    """

    outputs: list[Output] = field(default_factory=list)
    packets: int = 0
    left_out: int = 0
    summary: Summary = field(default_factory=Summary)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "packets": self.packets,
            "left_out": self.left_out,
            "files": [{"file": o.file, "packets": o.packets, "octets": o.octets} for o in self.outputs],
        }


Copy: TypeAlias = tuple[str, bytes | None]  # file name; care-of address to encapsulate to, or None


class Splitter:
    """Splits traces by what ``agent`` decides about their packets.

    ``by`` says what each file is for. With ``encapsulate``, each copy that is sent gets the outer header of a tunnel
    from ``home_agents`` (one address of each IP version) to the care-of address; packets that are not sent are left
    out. ``ending`` is the format of the files, one of `flowclass.traces.packet_files.PACKET_ENDINGS`. ``selection``
    restricts the split to some of the packets. ``inputs`` are further files that no output may replace. ``inner`` is as
    in `flowclass.engine.packets.parse`: the packet that is encapsulated is the one whose header was decided on. When
    ``interruption`` is requested, the split ends early, with the packets so far.
    """

    def __init__(
        self,
        agent: HomeAgent,
        folder: str | os.PathLike[str],
        *,
        by: By = "care-of",
        encapsulate: bool = False,
        home_agents: tuple[IPv6Address, IPv4Address] = (IPv6Address("2001:db8::"), IPv4Address("192.0.2.0")),
        ending: str = ".pcapng",
        inner: int = 0,
        progress: Callable[[int], None] = lambda done: None,
        memory: int = MEMORY,
        esp_null: bool = True,
        interruption: Interruption | None = None,
        selection: Selection | None = None,
        inputs: Sequence[str | None] = (),
    ) -> None:
        self.agent: HomeAgent = agent
        self.folder: str = os.fspath(folder)
        self.by = by
        self.encapsulate: bool = encapsulate
        new_format(f"{self.folder}{ending}")
        self._ending = ending
        self._inputs = inputs
        self._sources: dict[int, bytes] = {6: home_agents[0].packed, 4: home_agents[1].packed}
        self._inner = inner
        self._progress = progress
        self._memory = memory
        self._esp_null = esp_null
        self._interruption = interruption
        self._selection = selection

    def split(self, traces: Sequence[Source], *, replay: bool = False) -> Split:
        """Splits the traces into files in the folder, which is created unless it exists.

        The outputs appear when all of them are complete, and replace files of the same names, but not one of the
        traces. Raises `CaptureError`, and `OutputError` for a folder that can't be written to or for packets that a
        pcap file can't hold.
        """
        with ExitStack() as stack:
            try:
                if not os.path.isdir(self.folder):
                    make_folder(self.folder)
                    stack.callback(_remove_empty, self.folder)
                temporary = tempfile.mkdtemp(prefix=".split-", dir=self.folder)
            except OSError as error:
                raise OutputError(f"{self.folder}: {error.strerror}") from None
            stack.callback(shutil.rmtree, temporary, ignore_errors=True)
            files = _Files(temporary, self.folder)
            copier = _Copier(self, files)
            run = Run(
                self.agent,
                packets=copier,
                inner=self._inner,
                progress=self._progress,
                memory=self._memory,
                esp_null=self._esp_null,
                interruption=self._interruption,
                selection=self._selection,
            )
            summary = replay_traces(run, traces) if replay else run.classify(traces)
            files.append()
            result = Split(packets=summary.packets, left_out=copier.left_out, summary=summary)
            inputs = [os.fspath(trace) for trace in traces if isinstance(trace, (str, os.PathLike))]
            for name in files.outputs:
                check_apart(os.path.join(self.folder, name), (*inputs, *self._inputs))
            for name in sorted(files.outputs):
                os.replace(os.path.join(temporary, name), os.path.join(self.folder, name))
                result.outputs.append(files.outputs[name])
        return result

    def copies(self, values: RowValues) -> Iterator[Copy]:
        """Yields the copies that are made of a packet with these values."""
        if self.encapsulate:
            for address in values.care_of:
                name = address if self.by == "care-of" else self._name(values)
                if name is not None:
                    yield file_name(name, self._ending), ip_address(address).packed
        elif self.by == "care-of":
            for address in values.care_of:
                yield file_name(address, self._ending), None
        elif (name := self._name(values)) is not None:
            yield file_name(name, self._ending), None

    def _name(self, values: RowValues) -> str | None:
        if self.by == "action":
            return values.action
        if values.home_address is None or self.by == "node":
            return values.home_address
        what = f"flow-{values.fid}" if values.fid is not None else values.reason
        return f"{values.home_address}_{what}"

    def tunnel_header(self, care_of: bytes, first: bytes, size: int) -> bytes:
        """The tunnel header for an IP packet that begins with the four octets ``first`` and is ``size`` octets long."""
        version = first[0] >> 4
        protocol = 41 if version == 6 else 4
        word = int.from_bytes(first, "big")
        traffic_class = word >> 20 & 0xFF if version == 6 else word >> 16 & 0xFF
        if len(care_of) == 16:  # traffic class and flow label are copied from the packet (RFC 2473 section 6)
            flow_label = word & 0xFFFFF if version == 6 else 0
            options = bytes((protocol, 0)) + _ENCAPSULATION_LIMIT + b"\0"
            length = len(options) + size
            head = struct.pack(
                ">IHBB", 6 << 28 | traffic_class << 20 | flow_label, length if length < 65536 else 0, 60, _TUNNEL_HOPS
            )
            return b"".join((head, self._sources[6], care_of, options))
        total = 20 + size
        head = struct.pack(
            ">BBHHHBBH", 0x45, traffic_class, total if total < 65536 else 0, 0, 0, _TUNNEL_HOPS, protocol, 0
        )
        header: bytes = b"".join((head, self._sources[4], care_of))
        checksum: int = sum(struct.unpack(">10H", header))
        checksum = (checksum & 0xFFFF) + (checksum >> 16)
        checksum = (checksum & 0xFFFF) + (checksum >> 16)
        return header[:10] + (checksum ^ 0xFFFF).to_bytes(2, "big") + header[12:]


def file_name(what: str, ending: str) -> str:
    """A file name that is valid on every system: other characters, such as colons, become hyphens."""
    return re.sub(r"[^0-9A-Za-z._-]", "-", what) + ending


def _remove_empty(folder: str) -> None:
    if not os.listdir(folder):
        os.rmdir(folder)


class _Copier:
    """Copies the packets that a run decides to files; ``left_out`` is how many went to none."""

    def __init__(self, splitter: Splitter, files: _Files) -> None:
        self.left_out: int = 0
        self._splitter, self._files = splitter, files
        self._known: dict[RowValues, tuple[Copy, ...]] = {}

    def write(self, batch: KeyBatch, rows: Rows) -> None:
        ids = rows.ids.tolist()
        of_id = {number: self._copies(rows.outcomes.values[number]) for number in set(ids)}
        places, sizes = (batch.infos[name].tolist() for name in ("ip_offset", "ip_length"))
        first = batch.first_frame
        for frame, number, packet in zip(rows.frames.tolist(), ids, packets_of(batch, rows), strict=True):
            copies = of_id[number]
            self.left_out += not copies
            for name, care_of in copies:
                if care_of is None:
                    self._files.add(name, packet, (packet.octets,))
                    continue
                begin, size = places[frame - first], sizes[frame - first]
                inside = packet.octets[begin : begin + size]
                header = self._splitter.tunnel_header(care_of, bytes(inside[:4]), size)
                sent = packet._replace(linktype=_RAW, original=len(header) + size)
                self._files.add(name, sent, (header, inside))

    def _copies(self, values: RowValues) -> tuple[Copy, ...]:
        known = self._known.get(values)
        if known is None:
            if len(self._known) >= Outcomes.LIMIT:
                self._known.clear()
            known = self._known[values] = tuple(self._splitter.copies(values))
        return known


class _Files:
    """Writes several capture files at the same time; ``outputs`` has the counts of each.

    They are written to ``folder``, and will be moved to ``target``, which is what errors name.
    """

    def __init__(self, folder: str, target: str) -> None:
        self.outputs: dict[str, Output] = {}
        self._folder = folder
        self._target = target
        self._gathered: dict[str, bytearray] = {}
        self._formats: dict[str, PacketFormat] = {}
        self._octets = 0

    def add(self, name: str, packet: Packet, parts: Sequence[bytes | memoryview]) -> None:
        """Adds a packet to a file, with ``parts`` in place of its octets."""
        output = self.outputs.get(name)
        if output is None:
            output = self.outputs[name] = Output(name)
            self._gathered[name] = bytearray()
            self._formats[name], _ = new_format(name)
        gathered = self._gathered[name]
        before = len(gathered)
        output.packets += 1
        try:
            output.octets += self._formats[name].add(
                gathered, packet.linktype, packet.time, packet.original, parts, packet.comments
            )
        except OutputError as error:
            raise OutputError(f"{os.path.join(self._target, name)}: {error}") from None
        self._octets += len(gathered) - before
        if self._octets > _GATHERED:
            self.append()

    def append(self) -> None:
        """Appends what was gathered to the files."""
        for name, gathered in self._gathered.items():
            if gathered:
                path = os.path.join(self._folder, name)
                packed = new_format(name)[1]()
                try:
                    with open(path, "ab", buffering=0) as stream:
                        for octets in (packed.compress(gathered), packed.flush()):
                            view = memoryview(octets)
                            while view:
                                view = view[stream.write(view) :]
                            view.release()
                except OSError as error:
                    raise OutputError(f"{os.path.join(self._target, name)}: {error.strerror}") from None
                gathered.clear()
        self._octets = 0
