"""Replay: the binding updates in a trace drive a home agent, and each packet is decided by the state at its time.

Every binding update is assumed to be authenticated and addressed to this home agent. The packet that carries it is
decided by the state before the update. Acknowledgements in the trace are ignored (docs/interfaces.md).

Several traces are merged by the times of their packets; at equal times, the trace that was given first goes first. Each
trace is read in the order of its file: a packet whose time is before that of an earlier packet in the same trace is
treated as if it had that packet's time.

All packets between two events (a binding update, or the expiry of something) see the same state, and are decided in one
call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from heapq import heapify, heappop, heapreplace
from typing import Literal

import numpy as np

from flowclass.engine.packets import SIGNALLING

from .interruption import WaitEndedError
from .outcomes import Rows
from .pipeline import ReadAhead
from .reader import NO_TIME, KeyBatch, Trace
from .run import Run, Source, new_fragments
from .signalling import Signalling, may_be_signalling
from .summary import FileSummary, Summary, Updates

__all__ = ["replay", "stream"]

_AHEAD = 3  # how many batches of keys a reading thread may be ahead of the decisions
_HELD = 12  # batches whose arrays are in use at a time: those read ahead, and those that rows are made from


def replay(run: Run, sources: Sequence[Source], *, ahead: bool = False) -> Summary:
    """Decides all packets of all sources by ``run.agent``, whose bindings the updates change on the way.

    With ``ahead``, each source has a thread that reads it and extracts the keys ahead of the decisions. Returns the
    run's summary. Raises `CaptureError`.
    """
    for _ in stream(run, sources, ahead=ahead):
        pass
    return run.summary


def stream(run: Run, sources: Sequence[Source], *, ahead: bool = False) -> Iterator[Rows]:
    """Like `replay`, but yields the rows in pieces, and works only as pieces are asked for."""
    run.summary.updates = Updates()
    with ExitStack() as stack:
        traces = _open_all(run, sources, stack)
        cursors = [_Cursor(run, trace, stack if ahead else None) for trace in traces]
        clock = _Clock()
        heap = [(cursor.time, place) for place, cursor in enumerate(cursors) if cursor.advance(0)]
        heapify(heap)
        while heap and not run.done:
            _, place = heap[0]
            cursor = cursors[place]
            # the second smallest element of a heap is at index 1 or 2
            bound = min(heap[1:3]) if len(heap) > 1 else None
            stop = cursor.end_before(bound, place)
            yield from _take(run, cursor, stop, clock)
            if cursor.advance(stop):
                heapreplace(heap, (cursor.time, place))
            else:
                heappop(heap)
    _count(run, run.summary.updates)


def _open_all(run: Run, sources: Sequence[Source], stack: ExitStack) -> list[Trace]:
    traces: list[Trace] = []
    for number, source in enumerate(sources, 1):
        trace = run.open(source, raises=number == len(sources) and not traces)
        if trace is not None:
            traces.append(stack.enter_context(trace))
    return traces


class _Clock:
    """Converts capture times (ns since 1970) to the seconds, as floats, that a home agent takes.

    Seconds are counted from the first packet that has a time: counted from 1970, a float could not hold the
    nanoseconds.
    """

    def __init__(self) -> None:
        self._zero: int | None = None

    def seconds(self, times: np.typing.NDArray[np.int64]) -> np.typing.NDArray[np.float64]:
        if self._zero is None:
            known = times[times != NO_TIME]
            if len(known) == 0:
                return np.zeros(len(times))
            self._zero = int(known[0])
        return np.where(times == NO_TIME, 0.0, np.maximum(times - self._zero, 0) / 1e9)


class _Cursor:
    """The place up to which one trace has been replayed: the current ``batch``, and the ``position`` in it.

    ``times`` are the times of the batch, adjusted so that they never decrease; ``updates`` its binding updates.
    """

    def __init__(self, run: Run, trace: Trace, threads: ExitStack | None) -> None:
        self.trace = trace
        self.file: FileSummary = run.begin_file(trace)
        self.run = run
        self.batch: KeyBatch | None = None
        self.position = 0
        self.times = np.empty(0, dtype=np.int64)
        self.updates: list[tuple[int, bytes]] = []  # (position in the batch, IPv6 packet)
        assert run.summary.updates is not None
        self._signalling = Signalling(run.summary.updates.unread, esp_null=run.esp_null)
        self._latest = NO_TIME
        self._batches: Iterator[KeyBatch]
        keys = trace.keys(
            fragments=new_fragments(),
            inner=run.inner,
            keep=SIGNALLING,
            held=_HELD if threads else 1,
            keep_also=may_be_signalling,
            octets=run.needs_octets,
        )
        self._batches = keys
        if threads is not None:
            self._batches = ReadAhead(keys, _AHEAD)
            threads.callback(self._batches.close)

    @property
    def time(self) -> int:
        return int(self.times[self.position])

    def advance(self, position: int) -> bool:
        """Moves to a position in the batch, or to the next batch at its end. Returns False at the end of the trace."""
        self.position = position
        if self.batch is not None and position < len(self.batch):
            return True
        self.batch = self._next()
        self.position = 0
        self.run.tell(self.trace)
        if self.batch is None:
            self._signalling.finish()
            self.run.end_file(self.trace)
            return False
        self.times = np.maximum.accumulate(np.maximum(self.batch.times, self._latest))
        self._latest = int(self.times[-1])
        self.updates = list(self._find_updates(self.batch))
        return True

    def _next(self) -> KeyBatch | None:
        if not isinstance(self._batches, ReadAhead):
            return next(self._batches, None)  # here the trace itself checks for an interruption
        try:
            with self.run.interruption.waiting():
                return next(self._batches, None)
        except WaitEndedError:
            return None

    def _find_updates(self, batch: KeyBatch) -> Iterator[tuple[int, bytes]]:
        for i, octets in sorted(batch.kept.items()):
            update = self._signalling.find(octets, batch.keys[i], batch.infos[i], int(batch.times[i]))
            if update is not None:
                yield i, update.packet

    def end_before(self, bound: tuple[int, int] | None, place: int) -> int:
        """The first later position in the batch whose packet must wait for the next packet of another trace.

        ``bound`` is that packet's (time, index of its trace), or None if no other trace is left; ``place`` is the index
        of this trace.
        """
        if bound is None:
            return len(self.times)
        side: Literal["left", "right"] = "right" if place < bound[1] else "left"
        return max(self.position + 1, int(np.searchsorted(self.times, bound[0], side=side)))


def _take(run: Run, cursor: _Cursor, stop: int, clock: _Clock) -> Iterator[Rows]:
    """Decides the packets from the cursor up to ``stop``, applying expiries and binding updates on the way."""
    batch, agent, counts = cursor.batch, run.agent, run.summary.updates
    assert batch is not None
    assert counts is not None
    now = clock.seconds(cursor.times[:stop])
    updates = [found for found in cursor.updates if cursor.position <= found[0] < stop]
    start = cursor.position
    while start < stop:
        deadline = agent.next_deadline()
        if deadline is not None and deadline <= now[start]:
            agent.tick(float(now[start]))  # its refresh requests are dropped: there is nobody to send them to
            run.changed()
            deadline = agent.next_deadline()
        end = stop
        if deadline is not None:
            end = start + max(1, int(np.searchsorted(now[start:stop], deadline)))
        update = updates[0] if updates and updates[0][0] < end else None
        if update is not None:
            end = update[0] + 1
        yield run.take(cursor.file, batch, start, end)
        if update is not None:
            del updates[0]
            counts.received += 1
            position, octets = update
            accepted = sum(agent.counters.updates[:128])
            agent.receive(octets, now=float(now[position]), authenticated=True)
            run.updated(int(batch.times[position]), sum(agent.counters.updates[:128]) > accepted)
            run.changed()
        start = end


def _count(run: Run, counts: Updates) -> None:
    counters = run.agent.counters
    counts.accepted, counts.rejected = sum(counters.updates[:128]), sum(counters.updates[128:])
    counts.ignored = sum(counters.ignored.values())
    counts.flows_accepted, counts.flows_rejected = sum(counters.flows[:128]), sum(counters.flows[128:])
    counts.profile = run.agent.profile.name
    counts.statuses = {status: n for status, n in enumerate(counters.updates) if n}
    counts.flow_statuses = {status: n for status, n in enumerate(counters.flows) if n}
