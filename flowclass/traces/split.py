"""Writes the packets of traces to pcapng files, one for each care-of address, flow, node or action.

    splitter = Splitter(agent, "links", by="care-of", encapsulate=True)
    result = splitter.split(["a.pcap"], replay=True)

A trace is read twice. First every packet is decided, as for `classify`, and the number of the set of outputs to which
it goes is kept: four octets per packet. Then the records are copied. Outputs are not kept open: their records are
gathered in memory and appended now and then, so thousands of outputs need only one descriptor and bounded memory.
How a file is written is in packet_files.py.

A copy keeps its time in nanoseconds, its link type (the pcapng file has an interface for each), its captured and
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
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from flowclass.engine.packets import parse
from flowclass.errors import OutputError
from flowclass.mobility import HomeAgent

from .decompress import MEMORY
from .files import check_apart
from .outcomes import Rows, RowValues
from .packet_files import Pcapng, comments_of
from .reader import RecordBatch, Trace
from .replaying import replay as replay_traces
from .run import Run
from .selection import Selection
from .sources import FileIdentity, identity_of, source_name
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
    out. ``selection`` restricts the split to some of the packets. ``inputs`` are further files that no output may
    replace. ``inner`` is as in `flowclass.engine.packets.parse`:
    the packet that is encapsulated is the one whose header was decided on.
    """

    def __init__(
        self,
        agent: HomeAgent,
        folder: str | os.PathLike[str],
        *,
        by: By = "care-of",
        encapsulate: bool = False,
        home_agents: tuple[IPv6Address, IPv4Address] = (IPv6Address("2001:db8::"), IPv4Address("192.0.2.0")),
        inner: int = 0,
        progress: Callable[[int], None] = lambda done: None,
        memory: int = MEMORY,
        esp_null: bool = True,
        selection: Selection | None = None,
        inputs: Sequence[str | None] = (),
    ) -> None:
        self.agent: HomeAgent = agent
        self.folder: str = os.fspath(folder)
        self.by = by
        self.encapsulate: bool = encapsulate
        self._inputs = inputs
        self._sources: dict[int, bytes] = {6: home_agents[0].packed, 4: home_agents[1].packed}
        self._inner = inner
        self._progress = progress
        self._memory = memory
        self._esp_null = esp_null
        self._selection = selection
        self._sets: list[tuple[Copy, ...]] = [()]
        self._set_numbers: dict[tuple[Copy, ...], int] = {(): 0}
        self._of_values: dict[RowValues, int] = {}

    def split(self, traces: Sequence[str], *, replay: bool = False) -> Split:
        """Splits the traces into files in the folder, which is created unless it exists.

        Each trace must be a file, as it is read twice. The outputs appear when all of them are complete, and replace
        files of the same names, but not one of the traces. Raises `CaptureError`, also if a trace is replaced in the
        meantime, and `OutputError` for a folder that can't be written to.
        """
        identities = {trace: identity_of(trace) for trace in traces if os.path.exists(trace)}
        sets, summary = self._decide(traces, replay)
        os.makedirs(self.folder, exist_ok=True)
        try:
            temporary = tempfile.mkdtemp(prefix=".split-", dir=self.folder)
        except OSError as error:
            raise OutputError(f"{self.folder}: {error.strerror}") from None
        result = Split(packets=summary.packets, left_out=summary.packets, summary=summary)
        try:
            with _Files(temporary, self.folder) as files:
                for trace in traces:
                    if any(file.file == source_name(trace) and file.error is not None for file in summary.files):
                        continue
                    found = sets[source_name(trace)]
                    result.left_out -= int(np.count_nonzero(found))
                    self._copy(trace, identities[trace], found, files)
            for name in files.outputs:
                check_apart(os.path.join(self.folder, name), (*traces, *self._inputs))
            for name in sorted(files.outputs):
                os.replace(os.path.join(temporary, name), os.path.join(self.folder, name))
                result.outputs.append(files.outputs[name])
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return result

    # ---- which outputs a packet goes to

    def _decide(self, traces: Sequence[str], replay: bool) -> tuple[dict[str, Any], Summary]:
        found: dict[str, list[Any]] = {source_name(trace): [] for trace in traces}

        def watch(rows: Rows) -> None:
            ids, place = np.unique(rows.ids, return_inverse=True)
            numbers = np.array([self._set_of(rows.outcomes.values[number]) for number in ids], dtype=np.uint32)
            found[rows.file].append((rows.frames, numbers[place]))

        run = Run(
            self.agent,
            observers=[watch],
            inner=self._inner,
            progress=self._progress,
            memory=self._memory,
            esp_null=self._esp_null,
            selection=self._selection,
        )
        summary = replay_traces(run, traces) if replay else run.classify(traces)
        sets = {
            trace: np.zeros(max((int(frames[-1]) for frames, _ in parts if len(frames)), default=0), dtype=np.uint32)
            for trace, parts in found.items()
        }
        for trace, parts in found.items():
            for frames, numbers in parts:
                sets[trace][frames - np.uint64(1)] = numbers
        return sets, summary

    def _set_of(self, values: RowValues) -> int:
        known = self._of_values.get(values)
        if known is None:
            copies = tuple(self._copies(values))
            known = self._set_numbers.setdefault(copies, len(self._sets))
            if known == len(self._sets):
                self._sets.append(copies)
            self._of_values[values] = known
        return known

    def _copies(self, values: RowValues) -> Iterator[Copy]:
        if self.encapsulate:
            for address in values.care_of:
                name = address if self.by == "care-of" else self._name(values)
                if name is not None:
                    yield file_name(name), ip_address(address).packed
        elif self.by == "care-of":
            for address in values.care_of:
                yield file_name(address), None
        elif (name := self._name(values)) is not None:
            yield file_name(name), None

    def _name(self, values: RowValues) -> str | None:
        if self.by == "action":
            return values.action
        if values.home_address is None or self.by == "node":
            return values.home_address
        what = f"flow-{values.fid}" if values.fid is not None else values.reason
        return f"{values.home_address}_{what}"

    # ---- copying

    def _copy(self, trace: str, identity: FileIdentity | None, sets: Any, files: _Files) -> None:
        done = 0
        with Trace(trace, memory=self._memory) as reader:
            for batch in reader.records():
                if done >= len(sets):
                    break
                numbers = sets[done : done + len(batch)]
                done += len(batch)
                if numbers.any():
                    self._copy_batch(batch, numbers, files)
            reader.check(identity)

    def _copy_batch(self, batch: RecordBatch, numbers: Any, files: _Files) -> None:
        wanted = np.flatnonzero(numbers).tolist()
        infos = None
        if self.encapsulate:
            _, infos = parse((batch.buffer, batch.offsets, batch.lengths), linktypes=batch.linktypes, inner=self._inner)
        octets = batch.buffer.data
        for i in wanted:
            start = int(batch.offsets[i])
            packet = octets[start : start + int(batch.lengths[i])]
            time, original = int(batch.times[i]), int(batch.originals[i])
            comments = comments_of(octets, start, len(packet))
            for name, care_of in self._sets[numbers[i]]:
                if care_of is None or infos is None:
                    files.add(name, int(batch.linktypes[i]), time, original, (packet,), comments)
                    continue
                begin, size = int(infos["ip_offset"][i]), int(infos["ip_length"][i])
                inside = packet[begin : begin + size]
                header = self._tunnel_header(care_of, bytes(inside[:4]), size)
                files.add(name, _RAW, time, len(header) + size, (header, inside), comments)

    def _tunnel_header(self, care_of: bytes, first: bytes, size: int) -> bytes:
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


def file_name(what: str) -> str:
    """A file name that is valid on every system: other characters, such as colons, become hyphens."""
    return re.sub(r"[^0-9A-Za-z._-]", "-", what) + ".pcapng"


class _Files:
    """Writes several pcapng files at the same time; ``outputs`` has the counts of each.

    They are written to ``folder``, and will be moved to ``target``, which is what errors name.
    """

    def __init__(self, folder: str, target: str) -> None:
        self.outputs: dict[str, Output] = {}
        self._folder = folder
        self._target = target
        self._gathered: dict[str, bytearray] = {}
        self._formats: dict[str, Pcapng] = {}
        self._octets = 0

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._append()

    def add(
        self, name: str, linktype: int, time: int, original: int, parts: Sequence[bytes | memoryview], comments: bytes
    ) -> None:
        """Adds one packet, given in parts. ``time`` is in ns since 1970, or `NO_TIME`."""
        output = self.outputs.get(name)
        if output is None:
            output = self.outputs[name] = Output(name)
            self._gathered[name] = bytearray()
            self._formats[name] = Pcapng()
        gathered = self._gathered[name]
        before = len(gathered)
        output.packets += 1
        output.octets += self._formats[name].add(gathered, linktype, time, original, parts, comments)
        self._octets += len(gathered) - before
        if self._octets > _GATHERED:
            self._append()

    def _append(self) -> None:
        for name, gathered in self._gathered.items():
            if gathered:
                path = os.path.join(self._folder, name)
                try:
                    with open(path, "ab", buffering=0) as stream:
                        view = memoryview(gathered)
                        while view:
                            view = view[stream.write(view) :]
                        view.release()
                except OSError as error:
                    raise OutputError(f"{os.path.join(self._target, name)}: {error.strerror}") from None
                gathered.clear()
        self._octets = 0
