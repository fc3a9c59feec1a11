"""Per-packet rows in Arrow's shape: .arrow and .parquet files, and a stream that other tools take without a copy.

Needs pyarrow: ``pip install 'flowclass[parquet]'``. Rows come as ids into a table of outcomes, which is what Arrow
calls dictionary encoding: columns are taken from the outcomes' own columns, in C.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from flowclass.errors import FlowclassError
from flowclass.mobility import HomeAgent
from flowclass.mobility.bindings_file import read_bindings

from .classify import Run, Source
from .outcomes import Outcome, Outcomes, Rows
from .outputs import OutputError
from .reader import NO_TIME
from .replay import stream as replay_stream
from .summary import Summary

try:
    import pyarrow as pa
except ImportError:
    raise OutputError("Arrow and Parquet take pyarrow: pip install 'flowclass[parquet]'") from None

__all__ = ["SCHEMA", "Decisions", "arrow_writer", "classify_traces", "parquet_writer", "record_batch"]

SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("frame", pa.uint64()),
        ("time_ns", pa.int64()),
        ("action", pa.string()),
        ("reason", pa.string()),
        ("home_address", pa.string()),
        ("fid", pa.uint16()),
        ("bid", pa.uint16()),
        ("care_of", pa.list_(pa.string())),
    ]
)
_OUTCOME_FIELDS = SCHEMA.names[3:]
_TEXTS = ("action", "reason", "home_address")


class _Tables:
    """The outcomes' columns as Arrow arrays, made anew when there are more outcomes."""

    def __init__(self) -> None:
        self._values: list[Outcome] | None = None
        self._count = -1
        self.columns: list[Any] = []

    def of(self, outcomes: Outcomes) -> list[Any]:
        if self._values is not outcomes.values or self._count != len(outcomes):
            self._values, self._count = outcomes.values, len(outcomes)
            values = outcomes.values
            self.columns = [_column(name, [getattr(o, name) for o in values]) for name in _OUTCOME_FIELDS]
        return self.columns


def record_batch(rows: Rows, tables: _Tables | None = None) -> Any:
    """One batch of rows as a pyarrow.RecordBatch of `SCHEMA`."""
    ids = pa.array(rows.ids)
    columns = [column.take(ids) for column in (tables or _Tables()).of(rows.outcomes)]
    return pa.RecordBatch.from_arrays([*_place(rows), *columns], schema=SCHEMA)


def _place(rows: Rows) -> list[Any]:
    """file, frame and time_ns."""
    return [pa.repeat(pa.scalar(rows.file, pa.string()), len(rows)), pa.array(rows.frames), _times(rows.times)]


def _times(times: npt.NDArray[np.int64]) -> Any:
    missing = times == NO_TIME
    return pa.array(times, mask=missing if missing.any() else None)


@dataclass(frozen=True, slots=True)
class _Block:
    """So many rows in a row, whichever batches they came in: ``numbers`` into ``values``."""

    files: list[str]
    lengths: list[int]
    frames: npt.NDArray[np.uint64]
    times: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.intp]
    values: list[Outcome]


class _Blocks:
    """Cuts rows into blocks of ``size``, the last one shorter.

    A block, and so its octets in a file, depends on its rows alone: not on the batches, parts or processes that they
    come from. So it has a table of outcomes of its own.
    """

    def __init__(self, size: int, take: Callable[[_Block], None]) -> None:
        self._size, self._take = size, take
        self._begin()

    def _begin(self) -> None:
        self._files: list[str] = []
        self._lengths: list[int] = []
        self._frames: list[npt.NDArray[np.uint64]] = []
        self._times: list[npt.NDArray[np.int64]] = []
        self._numbers: list[npt.NDArray[np.intp]] = []
        self._values: dict[Outcome, int] = {}
        self._count = 0

    def add(self, rows: Rows) -> None:
        done = 0
        while done < len(rows):
            part = slice(done, done + self._size - self._count)
            ids = rows.ids[part]
            numbers = np.zeros(len(rows.outcomes), dtype=np.intp)
            for number in np.flatnonzero(np.bincount(ids)).tolist():
                numbers[number] = self._values.setdefault(rows.outcomes.values[number], len(self._values))
            if self._files and self._files[-1] == rows.file:
                self._lengths[-1] += len(ids)
            else:
                self._files.append(rows.file)
                self._lengths.append(len(ids))
            self._frames.append(rows.frames[part])
            self._times.append(rows.times[part])
            self._numbers.append(numbers[ids])
            self._count += len(ids)
            done += len(ids)
            if self._count == self._size:
                self.flush()

    def flush(self) -> None:
        if self._count:
            columns = np.concatenate(self._frames), np.concatenate(self._times), np.concatenate(self._numbers)
            self._take(_Block(self._files, self._lengths, *columns, list(self._values)))
            self._begin()


class ArrowWriter:
    """The Arrow IPC file format, which readers can map into memory."""

    BATCH = 1 << 16
    """Rows in a record batch."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._writer = pa.ipc.new_file(stream, SCHEMA)
        self._blocks = _Blocks(self.BATCH, self._write)
        self.write = self._blocks.add

    def _write(self, block: _Block) -> None:
        numbers = pa.array(block.numbers)
        file = pa.array(block.files, type=pa.string()).take(pa.array(_repeated(block)))
        columns = [_column(name, [getattr(o, name) for o in block.values]).take(numbers) for name in _OUTCOME_FIELDS]
        columns = [file, pa.array(block.frames), _times(block.times), *columns]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))

    def close(self) -> None:
        self._blocks.flush()
        self._writer.close()


class ParquetWriter:
    """Parquet with zstd. Texts go in as dictionaries, which is how Parquet stores them anyway."""

    GROUP = 1 << 18
    """Rows in a row group: what a reader has to take at least."""

    def __init__(self, stream: IO[bytes]) -> None:
        import pyarrow.parquet as pq

        texts = ("file", *_TEXTS)
        kind = pa.dictionary(pa.int32(), pa.string())
        self._schema = pa.schema([(f.name, kind if f.name in texts else f.type) for f in SCHEMA])
        # without Arrow's own schema in the file, a reader sees plain text and not our dictionaries
        self._writer = pq.ParquetWriter(
            stream, self._schema, compression="zstd", store_schema=False, write_statistics=["frame", "time_ns"],
            use_dictionary=[*texts, "fid", "bid", "care_of.list.element"],
            column_encoding={"frame": "DELTA_BINARY_PACKED", "time_ns": "DELTA_BINARY_PACKED"},
        )  # fmt: skip
        self._blocks = _Blocks(self.GROUP, self._write)
        self.write = self._blocks.add

    def _write(self, block: _Block) -> None:
        columns = [_dictionary(_repeated(block), block.files), pa.array(block.frames), _times(block.times)]
        for name in _OUTCOME_FIELDS:
            of_outcomes = [getattr(outcome, name) for outcome in block.values]
            if name in _TEXTS:
                columns.append(_dictionary(block.numbers, of_outcomes))
            else:
                columns.append(_column(name, of_outcomes).take(pa.array(block.numbers)))
        table = pa.Table.from_arrays(columns, schema=self._schema)
        self._writer.write_table(table, row_group_size=len(table))

    def close(self) -> None:
        self._blocks.flush()
        self._writer.close()


def _repeated(block: _Block) -> npt.NDArray[np.intp]:
    """For each row the number of its file."""
    return np.repeat(np.arange(len(block.files)), block.lengths)


def _dictionary(places: npt.NDArray[Any], texts: Sequence[str | None]) -> Any:
    """``texts[places]`` as a dictionary array; None becomes null."""
    known = {text: code for code, text in enumerate(sorted({t for t in texts if t is not None}))}
    codes = np.array([-1 if t is None else known[t] for t in texts], dtype=np.int32)
    indices = codes[places]
    missing = indices < 0
    return pa.DictionaryArray.from_arrays(
        pa.array(indices, mask=missing if missing.any() else None), pa.array(list(known), type=pa.string())
    )


def _column(name: str, values: list[Any]) -> Any:
    if name == "care_of":
        values = [list(addresses) or None for addresses in values]
    return pa.array(values, type=SCHEMA.field(name).type)


def arrow_writer(stream: IO[bytes]) -> ArrowWriter:
    return ArrowWriter(stream)


def parquet_writer(stream: IO[bytes]) -> ParquetWriter:
    return ParquetWriter(stream)


class Decisions:
    """The rows of some traces, as a stream: polars, duckdb, pandas and pyarrow take it through ``__arrow_c_stream__``.

    Nothing is read before it's asked for, and memory stays constant; each use begins anew. ``summary`` is that of the
    last use.
    """

    def __init__(self, make: Callable[[], tuple[Run, Iterator[Rows]]]) -> None:
        self._make = make
        self.summary: Summary | None = None

    def __iter__(self) -> Iterator[Any]:
        """pyarrow.RecordBatch values of `SCHEMA`."""
        run, stream = self._make()
        self.summary = run.summary
        tables = _Tables()
        for rows in stream:
            yield record_batch(rows, tables)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        reader = pa.RecordBatchReader.from_batches(SCHEMA, iter(self))
        return reader.__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        return SCHEMA.__arrow_c_schema__()


def classify_traces(
    traces: Source | Sequence[Source],
    bindings: str | os.PathLike[str] | None = None,
    *,
    replay: bool = False,
    profile: str | None = None,
    inner: int = 0,
) -> Decisions:
    """What ``flowclass classify`` does, as a table: ``polars.from_arrow(classify_traces("a.pcap", "bindings.toml"))``.

    ``bindings`` is the path of a bindings file; with ``replay`` binding updates in the traces drive the bindings.
    """
    sources: list[Source] = list(traces) if isinstance(traces, (list, tuple)) else [traces]  # type: ignore[list-item]
    if bindings is None and not replay:
        raise FlowclassError("bindings from a file, or replay=True, are needed")
    found = None if bindings is None else read_bindings(bindings)

    def make() -> tuple[Run, Iterator[Rows]]:
        agent = HomeAgent(profile or (found.profile if found else "draft"))
        if found is not None:
            agent.load(found)
        run = Run(agent, inner=inner)
        return run, replay_stream(run, sources) if replay else run.stream(sources)

    return Decisions(make)
