"""Units of work: whole traces and parts of large ones, each decided by whoever gets it, without looking at the others.

What a packet becomes depends on what comes before it in its file only in these ways, and a part deals with each:

*Where records begin.* A part begins at the first record behind its cut, which it has to search for, with the state
(byte order, units, pcapng's interfaces) that the beginning of the file has. Both are guesses. The reader of the part
before stops at a place of its own, and if that is the same the guess was right; if not, the part is done again from the
true place (jobs.py). Nothing is read twice when guesses are right, and no index has to be made first: hopping over the
records of a file that is in memory costs as much as classifying them.

*Frame numbers* are counted from 1 in each part. What a unit leaves are decisions and times; text is made of them when
the number of frames before the part is known.

*Fragments.* A later fragment is decided as its first one, which may be in another part. Where that could be, it is left
open, and a note is taken for the memory of the parts before (fragments.c).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from typing import IO, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from flowclass.engine.packets import FIRST_DTYPE, NOTE_DTYPE, Fragments
from flowclass.errors import CaptureError, FlowclassError
from flowclass.mobility import HomeAgent
from flowclass.mobility.bindings_file import BindingsFile

from .._capture import Tally
from ..decompress import MEMORY
from ..files import atomic_file, open_own, own_file
from ..outcomes import Ids, Outcomes, Rows, RowValues
from ..reader import Checkpoint, Trace
from ..run import Run, new_fragments
from ..sources import FileIdentity, identity_of, path_text
from ..summary import FileSummary, SavedSummary, Summary
from ..text_rows import TEXT_FORMATS, TextSize, TextWriter

__all__ = [
    "PART_SIZE",
    "Job",
    "Result",
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
_LAYOUT: Final = 3  # of the files of a part; a job finds no parts of another layout
_OPEN: Final = np.uint32(0xFFFFFFFF)  # the id of a row that is left open


@dataclass(frozen=True, slots=True)
class Unit:
    """A whole trace, or a part of one: from ``start`` (None: its beginning; ``guess``: from the first record that is
    found there) to ``stop`` (None: its end). ``size`` is about how many octets, ``identity`` the state of the file that
    all of its units have to see."""

    trace: str
    size: int
    identity: FileIdentity
    start: Checkpoint | None = None
    guess: bool = False
    stop: int | None = None

    @property
    def is_cut(self) -> bool:
        """Whether it is a part of a trace."""
        return self.start is not None or self.stop is not None


@dataclass(frozen=True, slots=True)
class Job:
    """What is the same for all units. ``ending`` is that of the output, None where there is only a summary."""

    found: BindingsFile
    inner: int = 0
    ending: str | None = None
    memory: int = MEMORY
    key: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        about = (_LAYOUT, self.found.profile, self.found.nodes, self.inner, self.ending, self.memory)
        object.__setattr__(self, "key", hashlib.sha256(msgspec.msgpack.encode(about)).digest())

    def part_name(self, unit: Unit) -> str:
        """The name of a unit's part: another bindings file, option, trace or state of the trace gives another one."""
        about = (unit, os.fsencode(os.path.abspath(unit.trace)))
        return hashlib.sha256(self.key + msgspec.msgpack.encode(about)).hexdigest()[:40]


@dataclass(slots=True)
class Result:
    """What a unit came to. ``begun`` and ``ended`` are None for a whole trace; ``text``: octets of the rows as text,
    but for the frame numbers and for what is left open; ``notes``: how many there are. ``firsts``, ``told``: what the
    memory of fragments holds at the end."""

    summary: Summary
    begun: Checkpoint | None = None
    ended: Checkpoint | None = None
    text: int = 0
    notes: int = 0
    firsts: npt.NDArray[np.void] | None = None
    told: int = 0

    @property
    def packets(self) -> int:
        """How many packets the unit has."""
        return self.summary.packets

    def write(self, stream: IO[bytes]) -> None:
        """As octets that `read` takes, and nothing else: no code is ever read from a file."""
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
    """The units of a trace: parts of at most ``size`` octets, or the whole where it is small, compressed or no capture.

    ``shared``: other machines read it too, whose numbers of devices are others. Raises `CaptureError` for what is no
    file.
    """
    identity = identity_of(os.stat(trace))
    if identity is None:
        raise CaptureError(f"{path_text(trace)}: is no regular file")
    if shared:
        identity = identity._replace(device=0)
    octets = identity.size
    count = -(-octets // size)
    whole = [Unit(trace, octets, identity)]
    if count < 2:
        return whole
    try:
        reader = Trace(trace)
    except CaptureError:
        return whole  # its unit says so
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
            trace,
            stop - start,
            identity,
            Checkpoint(start, state) if start else None,
            guess=start > 0,
            stop=None if stop == octets else stop,
        )
        for start, stop in pairwise(bounds)
    ]


_agents: dict[bytes, HomeAgent] = {}


def agent_of(job: Job) -> HomeAgent:
    """One per process: bindings are loaded once, not for each unit."""
    if job.key not in _agents:
        agent = HomeAgent(job.found.profile)
        agent.load(job.found)
        _agents.clear()
        _agents[job.key] = agent
    return _agents[job.key]


def do_unit(job: Job, unit: Unit, part: str) -> None:
    """Classifies a unit into a part: ``part`` with .rows, .notes and .result, which is there only if all is whole.

    A trace that is no capture has a result too, which says so. Raises `FlowclassError` if the file is not, or no
    longer, that of the unit's identity.
    """
    run = Run(agent_of(job), inner=job.inner)
    result = Result(run.summary)
    with ExitStack() as stack:
        try:
            trace = stack.enter_context(
                Trace(unit.trace, start=unit.start, guess=unit.guess, stop=unit.stop, memory=job.memory)
            )
        except CaptureError as error:
            if unit.is_cut:
                raise
            name = path_text(unit.trace)
            run.summary.files.append(FileSummary(name, error=str(error).removeprefix(f"{name}: ")))
            with atomic_file(f"{part}.rows"), atomic_file(f"{part}.result") as stream:
                result.write(stream)
            return
        _check_identity(trace, unit)
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
            rows_file = _RowsFile(stack.enter_context(atomic_file(f"{part}.rows")), job.ending)
            for batch in trace.keys(fragments=memory, inner=job.inner):
                rows = run.take(file, batch, 0, len(batch))
                left_open = None if notes is None else notes.take(rows)
                if left_open is not None:
                    run.summary.count(left_open, -1)
                rows_file.write(rows, left_open)
            result.text = 0 if rows_file.size is None else rows_file.size.octets
        if notes is not None:
            begun = Checkpoint(trace.begun, b"" if unit.start is None else unit.start.state)
            result.begun, result.ended, result.notes = begun, trace.checkpoint(), notes.count
            result.firsts, result.told = memory.firsts(), memory.told
        _check_identity(trace, unit)
    with atomic_file(f"{part}.result") as stream:
        result.write(stream)


def _check_identity(trace: Trace, unit: Unit) -> None:
    found = trace.identity
    if found is not None and not unit.identity.device:
        found = found._replace(device=0)
    if found != unit.identity:
        raise FlowclassError(f"{trace.name}: was replaced or written to while it was read")


class _NotesFile:
    """Notes about fragments that are left open, as they come."""

    def __init__(self, stream: IO[bytes], memory: Fragments) -> None:
        self.count = 0
        self._stream, self._memory = stream, memory

    def take(self, rows: Rows | None = None) -> Rows | None:
        """Writes the notes there are; of ``rows``, where these are the ones they are about, gives those left open."""
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
        chosen = np.concatenate(places)
        frames, times, ids, sizes = rows.frames[chosen], rows.times[chosen], rows.ids[chosen], rows.sizes[chosen]
        return Rows(rows.file, frames, times, ids, rows.outcomes, sizes)


def read_notes(part: str, *, most: int = 1 << 15) -> Iterator[npt.NDArray[np.void]]:
    """The notes of a part, in pieces."""
    with open_own(f"{part}.notes") as stream:
        while octets := stream.read(most * NOTE_DTYPE.itemsize):
            yield np.frombuffer(octets, dtype=NOTE_DTYPE).copy()


@dataclass(slots=True)
class Settled:
    """What has become of the rows that a part left open: row ``rows[i]`` (from 0) is ``outcomes[ids[i]]``."""

    rows: npt.NDArray[np.int64]
    ids: Ids
    outcomes: Sequence[RowValues]


class _RowsHead(NamedTuple):
    """Before each batch in a .rows file, with its own size in 8 octets: then come the times and the ids."""

    file: str
    packets: int
    first: int
    """The number of the first outcome of ``fresh``; 0: numbers begin anew."""
    fresh: list[RowValues]


class _RowsFile:
    """Decisions and times, for text or columns to be made of them: 12 octets a row."""

    def __init__(self, stream: IO[bytes], ending: str) -> None:
        self.size = TextSize(TEXT_FORMATS[ending]) if ending in TEXT_FORMATS else None
        self._stream = stream
        self._values: object = None
        self._known = 0

    def write(self, rows: Rows, left_open: Rows | None) -> None:
        if self._values is not rows.outcomes.values:
            self._values, self._known = rows.outcomes.values, 0
        fresh = rows.outcomes.values[self._known :]
        first, self._known = self._known, len(rows.outcomes)
        if self.size is not None:
            self.size.add(rows)
        ids = rows.ids
        if left_open is not None:
            ids = ids.copy()
            ids[(left_open.frames - rows.frames[0]).astype(np.int64)] = _OPEN
            if self.size is not None:
                self.size.add_tails(left_open, -1)
        head = msgspec.msgpack.encode(_RowsHead(rows.file, len(rows), first, fresh))
        self._stream.write(len(head).to_bytes(8, "little"))
        self._stream.write(head)
        self._stream.write(np.ascontiguousarray(rows.times).data)
        self._stream.write(ids.data)


def read_rows(part: str, first_frame: int, settled: Settled | None = None) -> Iterator[Rows]:
    """The rows of a part, whose first frame has this number."""
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
            yield Rows(file, frames, times, ids, outcomes, np.zeros(0, dtype=np.uint32))
            done += count


def _settle(raw: Ids, known: Ids, outcomes: Outcomes, settled: Settled, done: int) -> Ids:
    ids = known[np.where(raw == _OPEN, np.uint32(0), raw)] if len(known) else np.zeros(len(raw), dtype=np.uint32)
    low, high = np.searchsorted(settled.rows, [done, done + len(raw)])
    used, places = np.unique(settled.ids[low:high], return_inverse=True)
    numbers = np.array([outcomes.number(settled.outcomes[i]) for i in used.tolist()], dtype=np.uint32)
    ids[settled.rows[low:high] - done] = numbers[places]
    return ids


def render(
    ending: str, part: str, first_frame: int, settled: Settled | None, target: str, offset: int, size: int
) -> None:
    """A part's rows as text, into a file of the job's own from an offset on: exactly ``size`` octets."""
    with own_file(target) as stream:
        stream.seek(offset)
        writer = TextWriter(stream, TEXT_FORMATS[ending])
        for rows in read_rows(part, first_frame, settled):
            writer.write(rows)
        assert stream.tell() == offset + size, (part, stream.tell() - offset, size)
