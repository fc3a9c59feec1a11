"""Classifies many traces, and parts of large ones, in many processes. The output is the same as that of one process.

Workers do the units (parts.py) in any order. This process then takes the finished units one after the other, in the
order of the output: it checks the guesses with which they began, decides the fragments that they left open, adds up the
counts, and thereby learns the number of each unit's first frame. Only then is a unit's text made from its rows, again
by any worker. The size of the text is known beforehand, so where workers can share a file they write it directly to its
place in the output and nothing is copied. Arrow and Parquet go through one writer, whose octets depend on the rows
alone.

Finished units survive an interruption. The name of a unit's files is a hash of everything that they were made from, so
the next run of the same command finds them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, replace
from typing import IO

import numpy as np

from flowclass.engine.keys import KEY_DTYPE
from flowclass.errors import CaptureError, FlowclassError

from ..files import mode_of, named, open_own, own_file, own_folder
from ..interruption import Interruption, WaitEndedError
from ..outcomes import RowValues
from ..outputs import RowWriter, check_output
from ..reader import Checkpoint
from ..run import Run, new_fragments
from ..summary import Summary
from ..text_rows import frame_digits, settled_size
from .calls import check_answer, render_call, unit_call
from .parts import PART_SIZE, Job, Result, Settled, Unit, agent_of, cut, read_notes, read_rows
from .pools import Pool

__all__ = ["Job", "parts_folder", "run_job"]


def parts_folder(output: str) -> str:
    """The path of the folder that holds the parts of an output until the output is complete."""
    folder, name = os.path.split(os.path.realpath(output))
    return os.path.join(folder, f".{name}.parts")


def run_job(
    job: Job,
    traces: Sequence[str],
    output: str | None,
    folder: str,
    pool: Pool,
    *,
    part_size: int = PART_SIZE,
    progress: Callable[[int], None] = lambda done: None,
    interruption: Interruption | None = None,
) -> Summary:
    """Classifies ``traces``, writes the rows to ``output`` (None: no rows are wanted), and returns the summary.

    ``folder`` holds the parts. It is created here, and removed when the job succeeds or a unit raises an error, which
    is raised again here. It stays when a job with an output is interrupted, or a worker dies: the next run reuses the
    finished parts. Traces larger than ``part_size`` octets are cut into parts. ``progress`` is called with the octets
    of the units done so far.
    Among several traces, those that are not captures are skipped, and their `FileSummary` has the ``error``. A request
    to ``interruption`` stops the workers; a job without an output then returns the summary of what it has assembled,
    and one with an output raises KeyboardInterrupt.
    """
    stop = Interruption() if interruption is None else interruption
    shared = not pool.one_file
    slots = [
        _Slot(unit, number) for number, trace in enumerate(traces) for unit in cut(trace, part_size, shared=shared)
    ]
    with own_folder(folder) as handle, _only_user(handle, output):
        work = _Work(job, slots, output, folder, pool, progress, stop)
        try:
            summary = work.run()
        except BrokenExecutor as error:
            raise FlowclassError("a worker process died; the same command goes on where it was") from error
        except Exception:
            work.give_up()
            shutil.rmtree(folder)
            raise
        shutil.rmtree(folder)
    return summary


def _check_any_readable(summary: Summary) -> None:
    if summary.files and all(file.error is not None for file in summary.files):
        raise CaptureError(f"{summary.files[-1].file}: {summary.files[-1].error}")


@contextlib.contextmanager
def _only_user(handle: int, output: str | None) -> Iterator[None]:
    """Locks the folder, so that no other run makes the same output. The lock ends with this process, even if killed."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FlowclassError(f"{output}: another run is making it") from None
    except OSError:
        pass  # the file systems of some clusters don't support locks
    yield


@dataclass(slots=True, eq=False)
class _Slot:
    """A place in the order of the output. ``trace`` is the index of its trace.

    ``unit`` is replaced when it turns out to have begun with a wrong guess, and is then done again.
    """

    unit: Unit
    trace: int
    done: bool = False


class _Work:
    """A job that is being done: which units are left, which calls are running, and the output so far."""

    def __init__(
        self,
        job: Job,
        slots: list[_Slot],
        output: str | None,
        folder: str,
        pool: Pool,
        progress: Callable[[int], None],
        interruption: Interruption,
    ) -> None:
        self._job, self._slots, self._folder, self._pool, self._progress = job, slots, folder, pool, progress
        self._output, self._interruption = output, interruption
        # largest first: the units that finish last are then small, and all workers stay busy until the end
        self._todo = deque(sorted(slots, key=lambda slot: -slot.unit.size))
        self._running: dict[Future[bytes], Callable[[], None]] = {}
        self._octets = 0
        self._parts: dict[Unit, str] = {}
        self._end = _Assembly(job, output, folder, pool.one_file)

    def run(self) -> Summary:
        taken = 0
        with self._end:
            while (taken < len(self._slots) or self._running or self._end.texts) and not self._stopped():
                while taken < len(self._slots) and self._slots[taken].done:
                    if not self._take(taken):
                        break
                    taken += 1
                self._submit()
                if not self._running:
                    continue
                for future in self._wait():
                    after = self._running.pop(future)
                    check_answer(future.result())
                    after()
                self._progress(self._octets)
            _check_any_readable(self._end.summary)
        return self._end.summary

    def _wait(self) -> set[Future[bytes]]:
        try:
            with self._interruption.waiting():
                done, _ = wait(self._running, timeout=0.5, return_when=FIRST_COMPLETED)
        except WaitEndedError:
            return set()
        return done

    def _stopped(self) -> bool:
        """Whether an interruption was requested; if so, stops the workers.

        Raises KeyboardInterrupt when the job has an output, as an unfinished one can't be assembled.
        """
        if not self._interruption.requested:
            return False
        self._pool.stop()
        if self._output is not None:
            raise KeyboardInterrupt
        return True

    def give_up(self) -> None:
        """Cancels the calls that have not begun, and waits for those that have."""
        for future in self._running:
            future.cancel()
        wait(self._running)

    def _part(self, unit: Unit) -> str:
        if unit not in self._parts:  # only once, as the name must not change if the trace is written to
            self._parts[unit] = os.path.join(self._folder, self._job.part_name(unit))
        return self._parts[unit]

    def _submit(self) -> None:
        while self._end.texts and len(self._running) < self._pool.ahead:
            text = self._end.texts.popleft()
            self._running[self._pool.submit(text.call)] = text.after
        while self._todo and len(self._running) < self._pool.ahead:
            slot = self._todo.popleft()
            unit, part = slot.unit, self._part(slot.unit)
            if os.path.exists(f"{part}.result"):
                self._finished(slot, unit)
                continue
            future = self._pool.submit(unit_call(self._job, unit, part))
            # mypy infers no type of a lambda with defaults
            self._running[future] = lambda slot=slot, unit=unit: self._finished(slot, unit)  # type: ignore[misc]

    def _finished(self, slot: _Slot, unit: Unit) -> None:
        if slot.unit is unit:  # otherwise its guess has proved wrong meanwhile, and the slot waits for another unit
            slot.done = True
            self._octets += unit.size

    def _take(self, number: int) -> bool:
        """Adds a finished unit to the output.

        If the unit began with a wrong guess, schedules it again instead and returns False.
        """
        slot = self._slots[number]
        part = self._part(slot.unit)
        result = Result.read(part)
        place = self._end.place
        if slot.unit.start is not None and place is not None:
            assert result.begun is not None
            if not place.proves(result.begun):
                self._again(number, place)
                return False
        last = number + 1 == len(self._slots) or self._slots[number + 1].trace != slot.trace
        self._end.take(part, result, first=slot.unit.start is None, last=last)
        return True

    def _again(self, number: int, place: Checkpoint) -> None:
        """Schedules a unit again, beginning at ``place``, where the unit before it ended.

        Later units of the same trace that assumed another reader state are done again with the state of ``place``.
        """
        slot = self._slots[number]
        again = [slot]
        slot.unit = replace(slot.unit, start=place, guess=False)
        for other in self._slots[number + 1 :]:
            start = other.unit.start
            if other.trace != slot.trace or start is None:
                break
            if other.unit.guess and not place.matches(start.state):
                other.unit = replace(other.unit, start=Checkpoint(start.offset, place.state))
                again.append(other)
        for other in reversed(again):
            if other.done:
                self._octets -= other.unit.size
            other.done = False
            with contextlib.suppress(ValueError):
                self._todo.remove(other)
            self._todo.appendleft(other)


@dataclass(slots=True)
class _Text:
    """A call of `render` that is still to be made, and what to do afterwards."""

    call: bytes
    after: Callable[[], None]


class _Assembly:
    """Assembles the output and the summary from finished units, which `take` receives in the order of the output.

    ``place`` is where the last unit taken ended, and None at the beginning of a trace. ``texts`` are the pieces of text
    that are still to be made.
    """

    def __init__(self, job: Job, output: str | None, folder: str, one_file: bool) -> None:
        self.summary = Summary()
        self.place: Checkpoint | None = None
        self.texts: deque[_Text] = deque()
        self._job, self._output, self._one_file = job, output, one_file
        self._target = os.path.join(folder, "output")
        self._stream: IO[bytes] | None = None
        self._writer: RowWriter | None = None
        self._memory = new_fragments()
        self._run: Run | None = None
        self._first_frame = 1
        self._octets = 0

    def __enter__(self) -> _Assembly:
        if self._output is not None:
            make = check_output(self._output, self._job.columns)
            try:
                self._stream = own_file(self._target, fresh=True)
                self._writer = make(self._stream)
                self._stream.flush()  # a header line, if the format has one: the workers write after it
            except OSError as error:
                raise named(error, self._output) from None
            self._octets = self._stream.tell()
        return self

    def __exit__(self, kind: object, error: object, *_: object) -> None:
        if self._stream is None or self._writer is None or self._output is None:
            return
        try:
            if kind is None:
                self._writer.close()
                self._stream.close()
                _put_in_place(self._target, self._output)
            else:
                self._writer.abandon()
                with contextlib.suppress(OSError):
                    self._stream.close()
        except OSError as failed:
            self._writer.abandon()
            raise named(failed, self._output) from None
        if isinstance(error, OSError):
            raise named(error, self._output) from None

    def take(self, part: str, result: Result, *, first: bool, last: bool) -> None:
        """Adds the next unit to the summary and the output.

        ``part`` is the path of its files; ``first`` and ``last`` say whether it is the first or last unit of its trace.
        """
        settled = self._settle(part) if result.notes else None
        self.summary.merge(result.summary, same_file=not first)
        if self._writer is not None:
            self._write(part, result, settled)
        self._first_frame += result.packets
        self.place = result.ended
        if last:
            self._first_frame, self.place, self._memory = 1, None, new_fragments()
        elif result.firsts is not None:
            self._memory.extend(result.firsts, result.told)

    def _write(self, part: str, result: Result, settled: Settled | None) -> None:
        assert self._writer is not None
        form = self._job.rows.form
        if form is None:
            for rows in read_rows(self._job.rows, part, self._first_frame, settled):
                self._writer.write(rows)
            return
        size = result.text
        if "frame" in form.columns:
            size += frame_digits(self._first_frame, result.packets)
        if settled is not None:
            size += settled_size(form, settled.ids, settled.outcomes, settled.keys)
        offset, self._octets = self._octets, self._octets + size
        if size == 0:
            return
        if self._one_file:
            call = render_call(self._job.rows, part, self._first_frame, settled, self._target, offset, size)
            self.texts.append(_Text(call, lambda: None))
        else:
            piece = f"{part}.{offset}.text"  # the offset keeps the names apart when the same trace is given twice
            own_file(piece, fresh=True).close()
            call = render_call(self._job.rows, part, self._first_frame, settled, piece, 0, size)
            self.texts.append(_Text(call, lambda: _copy(piece, self._target, offset)))

    def _settle(self, part: str) -> Settled:
        """Decides the rows that a part left open, from the first fragments remembered from the parts before it."""
        if self._run is None:
            self._run = Run(agent_of(self._job), inner=self._job.inner)
        numbers: dict[RowValues, int] = {}
        places, ids = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.uint32)]
        all_keys = [np.zeros(0, dtype=KEY_DTYPE)]
        for notes in read_notes(part):
            self._memory.settle(notes)
            keys, infos = np.ascontiguousarray(notes["key"]), np.ascontiguousarray(notes["info"])
            rows = self._run.decide(
                "", notes["packet"], keys, infos, notes["original"], notes["time"], notes["original"]
            )
            self.summary.count(rows)
            used, inverse = np.unique(rows.ids, return_inverse=True)
            mine = [numbers.setdefault(rows.outcomes.values[i], len(numbers)) for i in used.tolist()]
            places.append(notes["packet"].astype(np.int64))
            all_keys.append(keys)
            ids.append(np.array(mine, dtype=np.uint32)[inverse])
        return Settled(np.concatenate(places), np.concatenate(ids), list(numbers), np.concatenate(all_keys))


def _copy(piece: str, target: str, offset: int) -> None:
    """Copies a piece of text to its place in the output, and deletes the piece.

    The copy is made inside the kernel (or by the file server) where that is possible.
    """
    with open_own(piece) as source, own_file(target) as sink:
        left, done = os.fstat(source.fileno()).st_size, 0
        try:
            while left > done:
                moved = os.copy_file_range(source.fileno(), sink.fileno(), left - done, done, offset + done)
                if moved == 0:
                    break
                done += moved
        except (OSError, AttributeError):  # across file systems, on an old kernel, or not on Linux
            pass
        source.seek(done)
        sink.seek(offset + done)
        shutil.copyfileobj(source, sink, 1 << 20)
    os.unlink(piece)


def _put_in_place(made: str, output: str) -> None:
    target = os.path.realpath(output)  # a symbolic link is kept, and the file that it points to is replaced
    if os.path.exists(target) and not os.path.isfile(target):
        with open_own(made) as source, open(target, "wb") as sink:  # pipe or device: can't be replaced
            shutil.copyfileobj(source, sink, 1 << 20)
        return
    os.chmod(made, mode_of(target))
    os.replace(made, target)
