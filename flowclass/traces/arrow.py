"""Rows as .arrow and .parquet files. Needs pyarrow: ``pip install 'flowclass[parquet]'``.

Rows arrive as ids into a table of outcomes, which Arrow calls dictionary encoding: the columns of rows are picked by id
from the columns of the outcomes, in C.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from flowclass.errors import OutputError

from .outcomes import Rows, RowValues
from .reader import NO_TIME

try:
    import pyarrow as pa
except ImportError:
    raise OutputError("Arrow and Parquet take pyarrow: pip install 'flowclass[parquet]'") from None

__all__ = ["SCHEMA", "arrow_writer", "parquet_writer", "time_column"]

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
OUTCOME_FIELDS = SCHEMA.names[3:]
_TEXTS = ("action", "reason", "home_address")


def time_column(times: npt.NDArray[np.int64]) -> Any:
    """Times as an array of i64, null where the capture has none."""
    missing = times == NO_TIME
    return pa.array(times, mask=missing if missing.any() else None)


@dataclass(frozen=True, slots=True)
class _Block:
    """Consecutive rows, whichever batches they came in.

    The outcome of row i is ``values[numbers[i]]``. File ``files[k]`` has the next ``lengths[k]`` of the rows.
    """

    files: list[str]
    lengths: list[int]
    frames: npt.NDArray[np.uint64]
    times: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.intp]
    values: list[RowValues]


class _Blocks:
    """Cuts rows into blocks of ``size``, the last one shorter.

    A block, and so its octets in a file, must depend only on its rows, not on the batches, parts or processes that they
    come from. So each block has its own table of outcomes. ``take`` is called with each block.
    """

    def __init__(self, size: int, take: Callable[[_Block], None]) -> None:
        self._size, self._take = size, take
        self.forget()

    def forget(self) -> None:
        """Drops the rows of the unfinished block."""
        self._files: list[str] = []
        self._lengths: list[int] = []
        self._frames: list[npt.NDArray[np.uint64]] = []
        self._times: list[npt.NDArray[np.int64]] = []
        self._numbers: list[npt.NDArray[np.intp]] = []
        self._values: dict[RowValues, int] = {}
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
            self.forget()


class ArrowWriter:
    """Writes the Arrow IPC file format, which readers can map into memory."""

    BATCH = 1 << 16
    """Rows in a record batch."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._writer = pa.ipc.new_file(stream, SCHEMA)
        self._blocks = _Blocks(self.BATCH, self._write)
        self.write: Callable[[Rows], None] = self._blocks.add

    def _write(self, block: _Block) -> None:
        numbers = pa.array(block.numbers)
        file = pa.array(block.files, type=pa.string()).take(pa.array(_repeated(block)))
        columns = [column(name, [getattr(o, name) for o in block.values]).take(numbers) for name in OUTCOME_FIELDS]
        columns = [file, pa.array(block.frames), time_column(block.times), *columns]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))

    def close(self) -> None:
        """Writes the rows that are still buffered, and the end of the file."""
        self._blocks.flush()
        self._writer.close()

    def abandon(self) -> None:
        """Drops the rows that are still buffered."""
        self._blocks.forget()


class ParquetWriter:
    """Writes Parquet with zstd. Texts are given to it as dictionaries, which is how Parquet stores them anyway."""

    GROUP = 1 << 18
    """Rows in a row group, the smallest piece that a reader can take."""

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
        self.write: Callable[[Rows], None] = self._blocks.add

    def _write(self, block: _Block) -> None:
        columns = [_dictionary(_repeated(block), block.files), pa.array(block.frames), time_column(block.times)]
        for name in OUTCOME_FIELDS:
            of_outcomes = [getattr(outcome, name) for outcome in block.values]
            if name in _TEXTS:
                columns.append(_dictionary(block.numbers, of_outcomes))
            else:
                columns.append(column(name, of_outcomes).take(pa.array(block.numbers)))
        table = pa.Table.from_arrays(columns, schema=self._schema)
        self._writer.write_table(table, row_group_size=len(table))

    def close(self) -> None:
        """Writes the rows that are still buffered, and the end of the file."""
        self._blocks.flush()
        self._writer.close()

    def abandon(self) -> None:
        """Drops the rows that are still buffered."""
        self._blocks.forget()
        self._writer.is_open = False  # otherwise it would write the end of the file when it is garbage-collected


def _repeated(block: _Block) -> npt.NDArray[np.intp]:
    """For each row the index of its file in ``block.files``."""
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


def column(name: str, values: list[Any]) -> Any:
    """The values of a column of `SCHEMA` as an array of its type."""
    if name == "care_of":
        values = [list(addresses) or None for addresses in values]
    return pa.array(values, type=SCHEMA.field(name).type)


def arrow_writer(stream: IO[bytes]) -> ArrowWriter:
    """A writer of rows as an Arrow file."""
    return ArrowWriter(stream)


def parquet_writer(stream: IO[bytes]) -> ParquetWriter:
    """A writer of rows as a Parquet file."""
    return ParquetWriter(stream)
