"""Replay: the binding updates in a trace drive a home agent, and each packet is decided by the state at its time.

A binding update is taken as authenticated and addressed to this home agent; its own row is decided by the state
before it; acknowledgements in the trace are ignored (docs/interfaces.md). Several traces are read side by side in the
order of their times, and at equal times in the order in which they were given. Within one trace the order is that of
the file: a packet whose time lies before that of an earlier packet counts as if it had the same time.

Packets between two events (a binding update, or something that expires) see the same state and are decided in one call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from heapq import heapify, heappop, heapreplace

import numpy as np

from flowclass.engine.packets import SIGNALLING
from flowclass.wire.numbers import DSMIPV6_PORT, Protocol

from .interruption import WaitEndedError
from .outcomes import Rows
from .pipeline import ReadAhead
from .reader import NO_TIME, KeyBatch, Trace
from .run import Run, Source, new_fragments
from .signalling import ESP, Signalling
from .summary import FileSummary, Summary, Updates

__all__ = ["replay", "stream"]

_UDP = Protocol.UDP.value
_AHEAD = 3  # batches of keys that a thread makes ahead of the decisions
_HELD = 12  # batches whose arrays are in use at a time: those ahead, and those that rows are being made of


def replay(run: Run, sources: Sequence[Source], *, ahead: bool = False) -> Summary:
    """All packets of all sources, decided by ``run.agent``, which changes on the way. Raises `CaptureError`.

    ``ahead``: a thread for each source reads it, and makes its keys, ahead of the decisions.
    """
    for _ in stream(run, sources, ahead=ahead):
        pass
    return run.summary


def stream(run: Run, sources: Sequence[Source], *, ahead: bool = False) -> Iterator[Rows]:
    """The same, piece by piece: the work is done as pieces are asked for."""
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
            # what comes after it on the heap is at 1 or 2
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


def _may_be_signalling(keys: np.typing.NDArray[np.void]) -> np.typing.NDArray[np.bool_]:
    """Packets in which signalling may be hidden: ESP, and UDP of RFC 5555."""
    protocols = keys["protocol"]
    in_udp = (protocols == _UDP) & ((keys["destination_port"] == DSMIPV6_PORT) | (keys["source_port"] == DSMIPV6_PORT))
    return np.asarray((protocols == ESP) | in_udp)


class _Clock:
    """Nanoseconds since the epoch to the seconds that a home agent is told.

    They begin at the first packet: counted from 1970 a float would have lost the nanoseconds.
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
    """A place in one trace: ``batch`` and the position in it."""

    def __init__(self, run: Run, trace: Trace, threads: ExitStack | None) -> None:
        self.trace = trace
        self.file: FileSummary = run.begin_file(trace)
        self.run = run
        self.batch: KeyBatch | None = None
        self.position = 0
        self.times = np.empty(0, dtype=np.int64)
        self.updates: list[tuple[int, bytes]] = []  # position, IPv6 packet
        assert run.summary.updates is not None
        self._signalling = Signalling(run.summary.updates.unread, esp_null=run.esp_null)
        self._latest = NO_TIME
        self._batches: Iterator[KeyBatch]
        keys = trace.keys(
            fragments=new_fragments(),
            inner=run.inner,
            keep=SIGNALLING,
            held=_HELD if threads else 1,
            keep_also=_may_be_signalling,
        )
        self._batches = keys
        if threads is not None:
            self._batches = ReadAhead(keys, _AHEAD)
            threads.callback(self._batches.close)

    @property
    def time(self) -> int:
        return int(self.times[self.position])

    def advance(self, position: int) -> bool:
        """Moves to a position, into the next batch at the end of this one; False at the end of the trace."""
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
            return next(self._batches, None)  # the trace itself looks at the interruption
        try:
            with self.run.interruption.waiting():
                return next(self._batches, None)
        except WaitEndedError:
            return None

    def _find_updates(self, batch: KeyBatch) -> Iterator[tuple[int, bytes]]:
        for i, octets in sorted(batch.kept.items()):
            update = self._signalling.update_in(octets, batch.keys[i], batch.infos[i], int(batch.times[i]))
            if update is not None:
                yield i, update

    def end_before(self, bound: tuple[int, int] | None, place: int) -> int:
        """The first position from here on whose turn comes after ``bound``, another trace's (time, place)."""
        if bound is None:
            return len(self.times)
        side = "right" if place < bound[1] else "left"
        return max(self.position + 1, int(np.searchsorted(self.times, bound[0], side=side)))  # type: ignore[call-overload]


def _take(run: Run, cursor: _Cursor, stop: int, clock: _Clock) -> Iterator[Rows]:
    """Decides the packets from the cursor to ``stop``."""
    batch, agent, counts = cursor.batch, run.agent, run.summary.updates
    assert batch is not None
    assert counts is not None
    now = clock.seconds(cursor.times[:stop])
    updates = [found for found in cursor.updates if cursor.position <= found[0] < stop]
    start = cursor.position
    while start < stop:
        deadline = agent.next_deadline()
        if deadline is not None and deadline <= now[start]:
            agent.tick(float(now[start]))  # requests to refresh have nobody to go to
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
            run.updated(int(cursor.times[position]), sum(agent.counters.updates[:128]) > accepted)
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
