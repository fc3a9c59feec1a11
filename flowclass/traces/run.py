"""Classifies traces: reads the packets, and makes a decision for each.

    run = Run(load_bindings("bindings.toml"))
    summary = run.classify(["a.pcap", "b.pcapng.gz"])

The reader extracts the keys of a batch of packets. Here the batch is decided, the decisions are turned into outcome ids
(outcomes.py), and these go to a writer of rows and into the summary. No Python code runs per packet. When nobody wants
rows, decisions are counted in C.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from flowclass.engine.forwarding import ForwardingTable
from flowclass.engine.packets import OPEN, Fragments
from flowclass.errors import CaptureError
from flowclass.late import Late

from ._capture import Tally
from .decompress import MEMORY
from .interruption import Interruption
from .outcomes import Outcomes, Rows, RowValues, row_values_of
from .reader import KeyBatch, Trace
from .sources import source_name
from .summary import FileSummary, Summary
from .unread import add_unread, unread_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from flowclass.mobility import HomeAgent

    from .outputs import RowWriter
    from .packet_files import PacketTaker
    from .pipeline import WriteBehind
    from .selection import Selection
else:
    np = Late("numpy")

__all__ = ["Run", "Source", "new_fragments"]

Frames: TypeAlias = "npt.NDArray[np.uint64]"
Structures: TypeAlias = "npt.NDArray[np.void]"
Sizes: TypeAlias = "npt.NDArray[np.uint32]"
Times: TypeAlias = "npt.NDArray[np.int64]"
Source = str | os.PathLike[str] | BinaryIO


def new_fragments(*, defer: bool = False) -> Fragments:
    """A new fragment memory, for one input or for a part of one (``defer``: see `Fragments`).

    Its hash has a random secret, which doesn't affect results: when the memory is full, the oldest entry is evicted,
    whatever its hash.
    """
    return Fragments(defer=defer)


class Run:
    """Classifies traces one after the other against the bindings of a home agent, or against a forwarding table alone.

    ``writer`` gets the rows, ``packets`` the packets of these rows, and ``observers`` are called with each batch of
    rows. ``inner`` says which IP header counts, as in `flowclass.engine.packets.parse`. ``progress`` is called with the
    octets read so far, and ``updated`` with the time in ns of each binding update in a replay, and whether it was
    accepted. With ``behind``, counting and writing are done on its thread, and are complete when its block has been
    left. ``memory`` limits the octets that decompression may use. When ``interruption`` is requested, the run ends
    early, with the results so far. ``selection`` says which packets are decided and counted. ``esp_null`` says whether
    a replay looks for signalling in ESP with NULL encryption. With ``deferred``, packets that the fragment memory
    leaves open don't count for decisions. With ``live``, rows are made as soon as packets come, not only when a batch
    is full.

    Among several traces, one that is missing, empty or not a capture doesn't stop the others: its `FileSummary` has the
    ``error``. If no trace can be read, the error of the last one is raised.
    """

    def __init__(
        self,
        agent: HomeAgent | ForwardingTable,
        *,
        writer: RowWriter | None = None,
        packets: PacketTaker | None = None,
        observers: Sequence[Callable[[Rows], None]] = (),
        inner: int = 0,
        progress: Callable[[int], None] = lambda done: None,
        updated: Callable[[int, bool], None] = lambda time_ns, accepted: None,
        behind: WriteBehind | None = None,
        memory: int = MEMORY,
        interruption: Interruption | None = None,
        selection: Selection | None = None,
        esp_null: bool = True,
        deferred: bool = False,
        live: bool = False,
    ) -> None:
        table = agent if isinstance(agent, ForwardingTable) else agent.cache.table
        assert isinstance(table, ForwardingTable)
        self._agent = agent
        self.summary: Summary = Summary()
        self.inner = inner
        self.esp_null = esp_null
        self._table = table
        self._takers = [*observers] if writer is None else [writer.write, *observers]
        self._packets = packets
        self._progress = progress
        self.updated = updated
        self._done = 0
        self._behind = behind
        self._deferred = deferred
        self._memory = memory
        self._live = live
        self.selection = selection
        self.interruption: Interruption = Interruption() if interruption is None else interruption

    @cached_property
    def _outcomes(self) -> Outcomes:
        made = Outcomes()
        if self._behind is not None:
            made.before_forget = self._behind.wait
        return made

    @property
    def agent(self) -> HomeAgent:
        """The home agent, which a replay needs."""
        assert not isinstance(self._agent, ForwardingTable)
        return self._agent

    def classify(self, sources: Sequence[Source]) -> Summary:
        """Decides all packets of all sources by the present bindings; returns the summary. Raises `CaptureError`."""
        if self._takers or self.needs_octets or self.selection is not None:
            for _ in self.stream(sources):
                pass
        else:
            self._count(sources)
        return self.summary

    def _count(self, sources: Sequence[Source]) -> None:
        """Makes only the summary. This is three times as fast, as nothing about single packets leaves C."""
        tally = Tally()
        for trace in self.open_each(sources):
            file = self.begin_file(trace)
            for _ in self.count(file, trace, tally, new_fragments()):
                self.tell(trace)
            self.end_file(trace)
        self.end_count(tally)

    def open_each(self, sources: Sequence[Source]) -> Iterator[Trace]:
        """Yields the traces one after the other, each open until the next is asked for; ends when the run is done."""
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
        """Opens a trace. If that fails, raises `CaptureError` or, without ``raises``, notes it in the summary."""
        try:
            return Trace(source, memory=self._memory, interruption=self.interruption, live=self._live)
        except CaptureError as error:
            if raises:
                raise
            name = source_name(source)
            self.summary.files.append(FileSummary(name, error=str(error).removeprefix(f"{name}: ")))
            return None

    def count(self, file: FileSummary, trace: Trace, tally: Tally, fragments: Fragments) -> Iterator[None]:
        """Counts one trace in pieces. Packets that ``fragments`` leaves open count for the file, not for a decision."""
        packets, octets, cut = tally.totals
        for _ in trace.tally(tally, self._table, fragments=fragments, inner=self.inner):
            yield
        file.packets, file.octets = tally.totals[0] - packets, tally.totals[1] - octets
        self.summary.cut += tally.totals[2] - cut

    @property
    def needs_octets(self) -> bool:
        """Whether the batches that `take` gets must have the octets of their packets."""
        return self._packets is not None

    @property
    def done(self) -> bool:
        """Whether nothing more is to be read: an end was requested, or the selection is complete."""
        return self.interruption.requested or (self.selection is not None and self.selection.done)

    def end_count(self, tally: Tally) -> None:
        """Adds what was counted to the summary."""
        if tally.totals[0]:
            decisions, totals = tally.take(self._table)
            self.summary.add_decisions(decisions, self._table.addresses_of(decisions), totals)
        add_unread(self.summary.unread, tally.take_unread())

    def stream(self, sources: Sequence[Source]) -> Iterator[Rows]:
        """Like `classify`, but yields the rows batch by batch, and works only as batches are asked for."""
        for trace in self.open_each(sources):
            file = self.begin_file(trace)
            for batch in trace.keys(fragments=new_fragments(), inner=self.inner, octets=self.needs_octets):
                yield self.take(file, batch, 0, len(batch))
                self.tell(trace)
                if self.done:
                    break
            self.end_file(trace)

    def begin_file(self, trace: Trace) -> FileSummary:
        """Adds the counts of a trace that is about to be read to the summary, and returns them."""
        file = FileSummary(trace.name)
        file.damage = trace.damages  # grows while the trace is read
        self.summary.files.append(file)
        return file

    def end_file(self, trace: Trace) -> None:
        """Notes, for the progress, that a trace has been read."""
        self._done += trace.position

    def tell(self, trace: Trace) -> None:
        """Reports progress."""
        self._progress(self._done + trace.position)

    def take(self, file: FileSummary, batch: KeyBatch, start: int, stop: int) -> Rows:
        """Decides the packets ``start`` to ``stop`` of a batch by the present state, and counts and writes them."""
        part: slice | npt.NDArray[np.intp] = slice(start, stop)
        frames = np.arange(batch.first_frame + start, batch.first_frame + stop, dtype=np.uint64)
        if self.selection is not None:
            timely = self.selection.choose_times(batch.times[part])
            if timely is not None:
                part, frames = timely + start, frames[timely]
        infos = batch.infos[part]
        rows = self.decide(
            file.file, frames, batch.keys[part], infos, batch.originals[part], batch.times[part], batch.lengths[part]
        )
        if self.selection is not None:
            chosen = self.selection.choose(rows)
            rows, infos = rows.picked(chosen), infos[chosen]
        if not len(rows):
            return rows
        counted = None
        if self._deferred:
            left_open = infos["flags"] & OPEN != 0
            counted = rows.picked(~left_open) if left_open.any() else None
        add_unread(self.summary.unread, unread_of(infos))
        if self._behind is None:
            self._keep(file, batch, rows, counted)
        else:
            self._behind.call(self._keep, file, batch, rows, counted)
        return rows

    def _keep(self, file: FileSummary, batch: KeyBatch, rows: Rows, counted: Rows | None) -> None:
        self.summary.add(rows, file, counted)
        self.summary.cut += int(np.count_nonzero(rows.captured < rows.sizes))
        for taker in self._takers:
            taker(rows)
        if self._packets is not None:
            self._packets.write(batch, rows)

    def decide(
        self, file: str, frames: Frames, keys: Structures, infos: Structures, sizes: Sizes, times: Times,
        captured: Sizes,
    ) -> Rows:  # fmt: skip
        """Decides at most `Outcomes.BATCH` packets by the present state, without counting them."""
        decisions = self._table.classify_parsed(keys, infos)
        self._outcomes.trim()
        ids = self._outcomes.intern(decisions, self._resolve)
        return Rows(file, frames, times, ids, self._outcomes, sizes, keys, captured)

    def changed(self) -> None:
        """Must be called whenever the agent's bindings have changed."""
        self._outcomes.changed()

    def _resolve(self, decisions: npt.NDArray[np.void]) -> list[RowValues]:
        """The outcomes of decisions. They are made at once, as node numbers are valid only until the state changes."""
        return row_values_of(decisions, *self._table.addresses_of(decisions))
