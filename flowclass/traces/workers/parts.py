"""Units of work: whole traces and parts of large ones. Any worker can do any unit, without looking at the others.

The row of a packet depends on what precedes it in its file in only three ways, and a part deals with each of them:

*Where records begin.* A part searches for the first record after its cut, and begins there with the reader state (byte
order, time units, pcapng interfaces) found at the beginning of the file. Both are guesses. The reader of the part
before stops where the next record begins. If both place and state are the same there, the guesses were right;
otherwise the part is done again from the true place (jobs.py). When the guesses are right nothing is read twice, and no
index of the records is needed. Making one would cost too much: skipping over the records of a file that is in memory
takes as long as classifying them.

*Frame numbers* are counted from 1 in each part. A unit stores only decisions and times. Text is made from them later,
when the number of frames before the part is known.

*Fragments.* A later fragment is decided like the first fragment of its packet, which may be in another part. Where that
is possible the row is left open, and a note is stored from which it is decided when the parts before are known
(fragments.c).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from typing import IO, Final, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from flowclass.engine.keys import KEY_DTYPE
from flowclass.engine.packets import FIRST_DTYPE, NOTE_DTYPE, Fragments
from flowclass.errors import CaptureError, FlowclassError
from flowclass.mobility import HomeAgent
from flowclass.mobility.bindings_file import BindingsFile
from flowclass.mobility.cache.node import Node

from .._capture import Tally
from ..columns import COLUMNS, PACKET_COLUMNS
from ..decompress import MEMORY
from ..files import atomic_file, open_own, own_file
from ..outcomes import Ids, Outcomes, Rows, RowValues
from ..reader import Checkpoint, Trace
from ..run import Run, new_fragments
from ..sources import FileIdentity, identity_of, path_text
from ..summary import FileSummary, SavedSummary, Summary
from ..text_rows import TEXT_ENDINGS, TextFormat, TextSize, TextWriter

__all__ = [
    "LAYOUT",
    "PART_SIZE",
    "Job",
    "Result",
    "RowLayout",
    "Settled",
    "Unit",
    "agent_of",
    "cut",
    "do_unit",
    "read_notes",
    "read_rows",
    "render",
]

PART_SIZE: Final = 256 << 20
LAYOUT: Final = 5
"""The version of the format of parts and of calls to workers. A job ignores parts of another version."""
_OPEN: Final = np.uint32(0xFFFFFFFF)  # the id of a row that is left open


@dataclass(frozen=True, slots=True)
class Unit:
    """A whole trace, or a part of one.

    It reaches from ``start`` (None: the beginning of the trace) up to the octet offset ``stop`` (None: the end of the
    trace). With ``guess``, it begins at the first record that a search from ``start`` on finds. ``size`` is the
    approximate number of octets. ``identity`` is the state of the file when the job began: octets that are appended
    later are in no unit. ``path`` is that of the trace, in octets.
    """

    path: bytes
    size: int
    identity: FileIdentity
    start: Checkpoint | None = None
    guess: bool = False
    stop: int | None = None

    @property
    def trace(self) -> str:
        """The path of the trace."""
        return os.fsdecode(self.path)

    @property
    def is_cut(self) -> bool:
        """Whether it is a part of a trace."""
        return self.start is not None or self.stop is not None


class RowLayout(NamedTuple):
    """What the rows of an output look like: its file name ending (None: there is no output), and its columns."""

    ending: str | None
    columns: tuple[str, ...] = COLUMNS

    @property
    def has_packets(self) -> bool:
        """Whether there are columns of the packets themselves, so that parts need them."""
        return any(name in PACKET_COLUMNS for name in self.columns)

    @property
    def form(self) -> TextFormat | None:
        """The text format; None if the output has another one."""
        return TextFormat(self.ending, self.columns) if self.ending in TEXT_ENDINGS else None


@dataclass(frozen=True, slots=True)
class Job:
    """What all units have in common.

    ``found`` are the bindings; ``inner`` says which IP header counts, as in `flowclass.engine.packets.parse`;
    ``ending`` is the output's file name ending, None where only a summary is wanted; ``memory`` limits the octets that
    decompression may use; ``columns`` are those of the output. ``octets`` are all this for another process, and ``key``
    is their hash.
    """

    found: BindingsFile
    inner: int = 0
    ending: str | None = None
    memory: int = MEMORY
    columns: tuple[str, ...] = COLUMNS
    octets: bytes = field(init=False, repr=False, default=b"")
    key: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        about = self.inner, self.ending, self.memory, self.columns
        saved = _SavedJob(LAYOUT, self.found.profile, self.found.nodes, *about)
        object.__setattr__(self, "octets", msgspec.msgpack.encode(saved))
        object.__setattr__(self, "key", hashlib.sha256(self.octets).digest())

    @staticmethod
    def of(octets: bytes) -> Job:
        """The job with these ``octets``."""
        if octets in _loaded:
            return _loaded[octets][0]
        saved = msgspec.msgpack.decode(octets, type=_SavedJob)
        found = BindingsFile("", saved.profile, saved.nodes)
        return Job(found, saved.inner, saved.ending, saved.memory, saved.columns)

    @property
    def rows(self) -> RowLayout:
        """What the rows of the output look like."""
        return RowLayout(self.ending, self.columns)

    def part_name(self, unit: Unit) -> str:
        """The file name of a unit's part: a hash of the job, the unit, and the path and state of the trace."""
        about = (unit, os.path.abspath(unit.path))
        return hashlib.sha256(self.key + msgspec.msgpack.encode(about)).hexdigest()[:40]


class _SavedJob(NamedTuple):
    layout: int
    profile: Literal["draft", "rfc6089"]
    nodes: list[Node]
    inner: int
    ending: str | None
    memory: int
    columns: tuple[str, ...]


@dataclass(slots=True)
class Result:
    """The result of a unit, apart from its rows.

    ``begun`` and ``ended`` are where the first record was found and where the last one ended; None for a whole trace.
    ``text`` is the size in octets of the rows as text, without the frame numbers and without the ends of the rows left
    open. ``notes`` is the number of notes about fragments. ``firsts`` and ``told`` are the content of the fragment
    memory at the end of the unit.
    """

    summary: Summary
    begun: Checkpoint | None = None
    ended: Checkpoint | None = None
    text: int = 0
    notes: int = 0
    firsts: npt.NDArray[np.void] | None = None
    told: int = 0

    @property
    def packets(self) -> int:
        """The number of packets in the unit."""
        return self.summary.packets

    def write(self, stream: IO[bytes]) -> None:
        """Writes the result in the format that `read` takes. It is plain data: reading it never executes code."""
        firsts = None if self.firsts is None else self.firsts.tobytes()
        saved = _SavedResult(self.summary.to_saved(), self.begun, self.ended, self.text, self.notes, firsts, self.told)
        stream.write(msgspec.msgpack.encode(saved))

    @classmethod
    def read(cls, part: str) -> Result:
        """The result of a part. Raises `FlowclassError` for a file that holds none."""
        path = f"{part}.result"
        try:
            with open_own(path) as stream:
                saved = msgspec.msgpack.decode(stream.read(), type=_SavedResult)
            firsts = None if saved.firsts is None else np.frombuffer(saved.firsts, dtype=FIRST_DTYPE)
        except (msgspec.MsgspecError, ValueError) as error:
            raise FlowclassError(f"{path}: no result of a part ({error}); remove the folder and begin anew") from None
        summary = Summary.from_saved(saved.summary)
        return cls(summary, saved.begun, saved.ended, saved.text, saved.notes, firsts, saved.told)


class _SavedResult(NamedTuple):
    summary: SavedSummary
    begun: Checkpoint | None
    ended: Checkpoint | None
    text: int
    notes: int
    firsts: bytes | None
    told: int


def cut(trace: str, size: int, *, shared: bool = False) -> list[Unit]:
    """Divides a trace into units: parts of at most ``size`` octets.

    A trace that is small or compressed, or not a capture, is a single unit. ``shared`` means that other machines read
    the trace too: the device number, which differs between them, is then left out of its identity. Raises
    `CaptureError` for a path that is not a regular file.
    """
    identity = identity_of(trace)
    if identity is None:
        raise CaptureError(f"{path_text(trace)}: is no regular file")
    if shared:
        identity = identity._replace(device=0)
    octets = identity.size
    count = -(-octets // size)
    path = os.fsencode(trace)
    whole = [Unit(path, octets, identity)]
    if count < 2:
        return whole
    try:
        reader = Trace(trace)
    except CaptureError:
        return whole  # the error is reported when the unit is done
    with reader:
        if reader.compressed:
            return whole
        next(reader.records(batch=1), None)
        state = reader.checkpoint().state
    if not state:
        return whole
    bounds = [octets * i // count for i in range(count + 1)]
    return [
        Unit(
            path,
            stop - start,
            identity,
            Checkpoint(start, state) if start else None,
            guess=start > 0,
            stop=None if stop == octets else stop,
        )
        for start, stop in pairwise(bounds)
    ]


_loaded: dict[bytes, tuple[Job, HomeAgent]] = {}  # by the octets of the job


def agent_of(job: Job) -> HomeAgent:
    """The home agent of a job. It is kept, so that each process loads the bindings once, not for each unit."""
    if job.octets not in _loaded:
        agent = HomeAgent(job.found.profile)
        agent.load(job.found)
        _loaded.clear()
        _loaded[job.octets] = job, agent
    return _loaded[job.octets][1]


def do_unit(job: Job, unit: Unit, part: str) -> None:
    """Classifies a unit and writes its part: the files ``part``.rows, ``part``.notes and ``part``.result.

    .result is written last, so a part that has one is complete. A trace that is not a capture has a result too, which
    says so. Raises `CaptureError` if the file is not the one of the unit's ``identity``, or lost octets that it had.
    """
    end = unit.identity.size
    run = Run(agent_of(job), inner=job.inner, deferred=unit.is_cut)
    result = Result(run.summary)
    with ExitStack() as stack:
        try:
            trace = stack.enter_context(
                Trace(unit.trace, start=unit.start, guess=unit.guess, stop=unit.stop, end=end, memory=job.memory)
            )
        except CaptureError as error:
            if unit.is_cut:
                raise
            name = path_text(unit.trace)
            run.summary.files.append(FileSummary(name, error=str(error).removeprefix(f"{name}: ")))
            with atomic_file(f"{part}.rows"), atomic_file(f"{part}.result") as stream:
                result.write(stream)
            return
        trace.check(unit.identity)
        file = run.begin_file(trace)
        memory, notes = new_fragments(defer=unit.is_cut), None
        if unit.is_cut:
            notes = _NotesFile(stack.enter_context(atomic_file(f"{part}.notes")), memory)
        if job.ending is None:
            tally = Tally()
            for _ in run.count(file, trace, tally, memory):
                if notes is not None:
                    notes.take()
            run.end_count(tally)
        else:
            rows_file = _RowsFile(stack.enter_context(atomic_file(f"{part}.rows")), job.rows)
            for batch in trace.keys(fragments=memory, inner=job.inner):
                rows = run.take(file, batch, 0, len(batch))
                left_open = None if notes is None else notes.take(rows)
                rows_file.write(rows, left_open)
            result.text = 0 if rows_file.size is None else rows_file.size.octets
        if notes is not None:
            begun = Checkpoint(trace.begun, b"" if unit.start is None else unit.start.state)
            result.begun, result.ended, result.notes = begun, trace.checkpoint(), notes.count
            result.firsts, result.told = memory.firsts(), memory.told
        trace.check(unit.identity)
        if unit.stop is None and trace.has_grown:
            file.read_to = end
    with atomic_file(f"{part}.result") as stream:
        result.write(stream)


class _NotesFile:
    """Writes the notes about fragments that a part leaves open, as they arise."""

    def __init__(self, stream: IO[bytes], memory: Fragments) -> None:
        self.count = 0
        self._stream, self._memory = stream, memory

    def take(self, rows: Rows | None = None) -> Rows | None:
        """Writes the notes that have arisen since the last call.

        ``rows`` are the rows that the notes are about; those of them that are left open are returned (None: there are
        none, or no ``rows`` were given).
        """
        places = []
        while len(notes := self._memory.notes()):
            if rows is not None:
                where = notes["packet"].astype(np.int64) - (int(rows.frames[0]) - 1)
                notes["original"] = rows.sizes[where]
                places.append(where)
            self._stream.write(notes.tobytes())
            self.count += len(notes)
        if rows is None or not places:
            return None
        return rows.picked(np.concatenate(places))


def read_notes(part: str, *, most: int = 1 << 15) -> Iterator[npt.NDArray[np.void]]:
    """The notes of a part, as arrays of `NOTE_DTYPE` with at most ``most`` notes each."""
    with open_own(f"{part}.notes") as stream:
        while octets := stream.read(most * NOTE_DTYPE.itemsize):
            yield np.frombuffer(octets, dtype=NOTE_DTYPE).copy()


@dataclass(slots=True)
class Settled:
    """Decisions on the rows that a part left open.

    The outcome of row ``rows[i]`` (from 0) is ``outcomes[ids[i]]``, and the key of its packet ``keys[i]``.
    """

    rows: npt.NDArray[np.int64]
    ids: Ids
    outcomes: Sequence[RowValues]
    keys: npt.NDArray[np.void]


class _RowsHead(NamedTuple):
    """The head of a batch in a .rows file. Its size in 8 octets precedes it; the times and the ids follow it."""

    file: str
    packets: int
    first: int
    """The id of the first outcome in ``fresh``. 0 means that ids start again from 0, and earlier ones are forgotten."""
    fresh: list[RowValues]


class _RowsFile:
    """Writes decisions and times, 12 octets per row, from which text or columns are made later.

    Where the output has columns of the packets themselves, it is 68 octets: the sizes and the keys too.
    """

    def __init__(self, stream: IO[bytes], layout: RowLayout) -> None:
        form = layout.form
        self.size = None if form is None else TextSize(form)
        self._packets = layout.has_packets
        self._stream = stream
        self._values: object = None
        self._known = 0

    def write(self, rows: Rows, left_open: Rows | None) -> None:
        if self._values is not rows.outcomes.values:
            self._values, self._known = rows.outcomes.values, 0
        fresh = rows.outcomes.values[self._known :]
        first, self._known = self._known, len(rows.outcomes)
        ids, unsettled = rows.ids, None
        if left_open is not None:
            unsettled = np.zeros(len(rows), dtype=bool)
            unsettled[(left_open.frames - rows.frames[0]).astype(np.int64)] = True
            ids = np.where(unsettled, _OPEN, ids)
        if self.size is not None:
            self.size.add(rows, unsettled)
        head = msgspec.msgpack.encode(_RowsHead(rows.file, len(rows), first, fresh))
        self._stream.write(len(head).to_bytes(8, "little"))
        self._stream.write(head)
        self._stream.write(np.ascontiguousarray(rows.times).data)
        self._stream.write(ids.data)
        if self._packets:
            for values in (rows.sizes, rows.captured, rows.keys):
                self._stream.write(np.ascontiguousarray(values).data)


def read_rows(layout: RowLayout, part: str, first_frame: int, settled: Settled | None = None) -> Iterator[Rows]:
    """Reads the rows of a part, numbers its frames from ``first_frame`` on, and fills in the rows left open."""
    sizes = captured = np.zeros(0, dtype=np.uint32)
    keys = np.zeros(0, dtype=KEY_DTYPE)
    outcomes, known = Outcomes(), np.zeros(0, dtype=np.uint32)
    done = 0
    with open_own(f"{part}.rows") as stream:
        while size := int.from_bytes(stream.read(8), "little"):
            file, count, first, fresh = msgspec.msgpack.decode(stream.read(size), type=_RowsHead)
            if first == 0:
                outcomes.forget()
                known = np.zeros(0, dtype=np.uint32)
            numbers = [outcomes.number(outcome) for outcome in fresh]
            known = np.append(known, np.array(numbers, dtype=np.uint32))
            times = np.frombuffer(stream.read(8 * count), dtype=np.int64)
            raw = np.frombuffer(stream.read(4 * count), dtype=np.uint32)
            if settled is None:
                ids = known[raw]
            else:
                ids = _settle(raw, known, outcomes, settled, done)
            frames = np.arange(first_frame + done, first_frame + done + count, dtype=np.uint64)
            if layout.has_packets:
                sizes, captured = (np.frombuffer(stream.read(4 * count), dtype=np.uint32) for _ in range(2))
                keys = np.frombuffer(stream.read(KEY_DTYPE.itemsize * count), dtype=KEY_DTYPE)
                if settled is not None:
                    low, high = np.searchsorted(settled.rows, [done, done + count])
                    keys = keys.copy()
                    keys[settled.rows[low:high] - done] = settled.keys[low:high]
            yield Rows(file, frames, times, ids, outcomes, sizes, keys, captured)
            done += count


def _settle(raw: Ids, known: Ids, outcomes: Outcomes, settled: Settled, done: int) -> Ids:
    ids = known[np.where(raw == _OPEN, np.uint32(0), raw)] if len(known) else np.zeros(len(raw), dtype=np.uint32)
    low, high = np.searchsorted(settled.rows, [done, done + len(raw)])
    used, places = np.unique(settled.ids[low:high], return_inverse=True)
    numbers = np.array([outcomes.number(settled.outcomes[i]) for i in used.tolist()], dtype=np.uint32)
    ids[settled.rows[low:high] - done] = numbers[places]
    return ids


def render(
    layout: RowLayout, part: str, first_frame: int, settled: Settled | None, target: str, offset: int, size: int
) -> None:
    """Writes the rows of a part as text to the file ``target``, from ``offset`` on: exactly ``size`` octets."""
    form = layout.form
    assert form is not None
    with own_file(target) as stream:
        stream.seek(offset)
        writer = TextWriter(stream, form)
        for rows in read_rows(layout, part, first_frame, settled):
            writer.write(rows)
        assert stream.tell() == offset + size, (part, stream.tell() - offset, size)
