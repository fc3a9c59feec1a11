"""Traces in, a decision for each packet out.

    run = Run(load_bindings("bindings.toml"))
    summary = run.classify(["a.pcap", "b.pcapng.gz"])

The keys of a batch of packets are made while the capture is read; here they become decisions, the decisions become
numbers of outcomes (outcomes.py), and these go to a writer of rows and into the summary. Nothing is done per packet.
Where nobody wants rows, decisions are counted in C.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from flowclass.engine.forwarding import ForwardingTable
from flowclass.engine.packets import Fragments
from flowclass.errors import CaptureError
from flowclass.mobility import HomeAgent

from ._capture import Tally
from .decompress import MEMORY
from .interruption import Interruption
from .outcomes import Outcomes, Rows, RowValues, row_values_of
from .outputs import RowWriter
from .pipeline import WriteBehind
from .reader import KeyBatch, Trace
from .selection import Selection
from .sources import source_name
from .summary import FileSummary, Summary
from .unread import add_unread, unread_of

__all__ = ["Run", "Source", "new_fragments"]

Frames = npt.NDArray[np.uint64]
Structures = npt.NDArray[np.void]
Sizes = npt.NDArray[np.uint32]
Times = npt.NDArray[np.int64]
_NO_TIMES: Times = np.zeros(0, dtype=np.int64)
Source = str | os.PathLike[str] | BinaryIO


def new_fragments(*, defer: bool = False) -> Fragments:
    """The fragment memory of one input, or of a part of it.

    The oldest is evicted, whatever the hash: its secret changes no answer.
    """
    return Fragments(defer=defer)


class Run:
    """Classifies traces one after the other against the bindings of a home agent.

    ``writer`` gets the rows, ``observers`` are called with each batch of them; ``inner`` says which IP header counts,
    as in `flowclass.engine.packets.parse`; ``progress`` is told the octets read so far, ``updated`` the time of each
    binding update that a replay met, and whether it was accepted. With ``behind`` counting and writing are done there:
    when that is left, they are complete. ``memory`` bounds what decompressing may take. With an ``interruption`` the
    run ends early when that is requested, with what it has.
    ``selection`` says which packets are decided and counted.

    Of several traces, one that is missing, empty or no capture doesn't stop the others: its `FileSummary` has the
    ``error``. A single one, and the last of several of which none could be read, raise it.
    """

    def __init__(
        self,
        agent: HomeAgent,
        *,
        writer: RowWriter | None = None,
        observers: Sequence[Callable[[Rows], None]] = (),
        inner: int = 0,
        progress: Callable[[int], None] = lambda done: None,
        updated: Callable[[int, bool], None] = lambda time_ns, accepted: None,
        behind: WriteBehind | None = None,
        memory: int = MEMORY,
        interruption: Interruption | None = None,
        selection: Selection | None = None,
        esp_null: bool = True,
    ) -> None:
        table = agent.cache.table
        assert isinstance(table, ForwardingTable)
        self.agent = agent
        self.summary = Summary()
        self.inner = inner
        self.esp_null = esp_null
        self._table = table
        self._outcomes = Outcomes()
        self._takers = [*observers] if writer is None else [writer.write, *observers]
        self._progress = progress
        self.updated = updated
        self._done = 0
        self._behind = behind
        self._memory = memory
        self.selection = selection
        self.interruption = Interruption() if interruption is None else interruption
        if behind is not None:
            self._outcomes.before_forget = behind.wait

    def classify(self, sources: Sequence[Source]) -> Summary:
        """All packets of all sources, by the bindings as they stand. Raises `CaptureError`."""
        if self._takers or self.selection is not None:
            for _ in self.stream(sources):
                pass
        else:
            self._count(sources)
        return self.summary

    def _count(self, sources: Sequence[Source]) -> None:
        """The summary alone: three times as fast, as nothing about a single packet leaves C."""
        tally = Tally()
        for trace in self.open_each(sources):
            file = self.begin_file(trace)
            for _ in self.count(file, trace, tally, new_fragments()):
                self.tell(trace)
            self.end_file(trace)
        self.end_count(tally)

    def open_each(self, sources: Sequence[Source]) -> Iterator[Trace]:
        """The traces one after the other, each open until the next one; none after an interruption."""
        readable = False
        for number, source in enumerate(sources, 1):
            if self.done:
                break
            trace = self.open(source, raises=number == len(sources) and not readable)
            if trace is not None:
                readable = True
                with trace:
                    yield trace

    def open(self, source: Source, *, raises: bool) -> Trace | None:
        """A trace; one that is missing or no capture is noted in the summary, or its `CaptureError` raised."""
        try:
            return Trace(source, memory=self._memory, interruption=self.interruption)
        except CaptureError as error:
            if raises:
                raise
            name = source_name(source)
            self.summary.files.append(FileSummary(name, error=str(error).removeprefix(f"{name}: ")))
            return None

    def count(self, file: FileSummary, trace: Trace, tally: Tally, fragments: Fragments) -> Iterator[None]:
        """One trace, in pieces; packets that ``fragments`` leaves open are in the file, but in no decision."""
        packets, octets, cut = tally.totals
        for _ in trace.tally(tally, self._table, fragments=fragments, inner=self.inner):
            yield
        file.packets, file.octets = tally.totals[0] - packets, tally.totals[1] - octets
        self.summary.cut += tally.totals[2] - cut

    @property
    def done(self) -> bool:
        """Whether nothing more is to be read: somebody asked for an end, or the selection is complete."""
        return self.interruption.requested or (self.selection is not None and self.selection.done)

    def end_count(self, tally: Tally) -> None:
        """What was counted, into the summary."""
        decisions, each_packets, each_octets = tally.take(self._table)
        add_unread(self.summary.unread, tally.take_unread())
        self.summary.add_decisions(decisions, self._table.addresses_of(decisions), each_packets, each_octets)

    def stream(self, sources: Sequence[Source]) -> Iterator[Rows]:
        """The same, batch by batch: the work is done as batches are asked for."""
        for trace in self.open_each(sources):
            file = self.begin_file(trace)
            for batch in trace.keys(fragments=new_fragments(), inner=self.inner):
                yield self.take(file, batch, 0, len(batch))
                self.tell(trace)
                if self.done:
                    break
            self.end_file(trace)

    def begin_file(self, trace: Trace) -> FileSummary:
        """The counts of a trace that is about to be read, in the summary."""
        file = FileSummary(trace.name)
        file.damage = trace.damages  # grows while the trace is read
        self.summary.files.append(file)
        return file

    def end_file(self, trace: Trace) -> None:
        """The trace has been read: for the progress."""
        self._done += trace.position

    def tell(self, trace: Trace) -> None:
        """Reports progress."""
        self._progress(self._done + trace.position)

    def take(self, file: FileSummary, batch: KeyBatch, start: int, stop: int) -> Rows:
        """Decides the packets ``start`` to ``stop`` of a batch by the present state, and hands them on."""
        part: slice | npt.NDArray[np.intp] = slice(start, stop)
        frames = np.arange(batch.first_frame + start, batch.first_frame + stop, dtype=np.uint64)
        if self.selection is not None:
            chosen = self.selection.choose(batch.times[part])
            part, frames = chosen + start, frames[chosen]
        rows = self.decide(
            file.file, frames, batch.keys[part], batch.infos[part], batch.originals[part], batch.times[part]
        )
        if not len(rows):
            return rows
        add_unread(self.summary.unread, unread_of(batch.infos[part]))
        if self._behind is None:
            self._keep(file, rows, batch.lengths[part])
        else:
            self._behind.call(self._keep, file, rows, batch.lengths[part])
        return rows

    def _keep(self, file: FileSummary, rows: Rows, lengths: Sizes) -> None:
        self.summary.add(rows, file)
        self.summary.cut += int(np.count_nonzero(lengths < rows.sizes))
        for taker in self._takers:
            taker(rows)

    def decide(
        self, file: str, frames: Frames, keys: Structures, infos: Structures, sizes: Sizes, times: Times = _NO_TIMES
    ) -> Rows:
        """Decides packets by the present state, and counts nothing; at most `Outcomes.BATCH` of them."""
        decisions = self._table.classify_parsed(keys, infos)
        self._outcomes.trim()
        return Rows(file, frames, times, self._outcomes.intern(decisions, self._resolve), self._outcomes, sizes)

    def changed(self) -> None:
        """To be told whenever the agent's bindings have changed."""
        self._outcomes.changed()

    def _resolve(self, decisions: npt.NDArray[np.void]) -> list[RowValues]:
        """What decisions say in addresses: at once, as node numbers are good only until the state changes."""
        return row_values_of(decisions, *self._table.addresses_of(decisions))
