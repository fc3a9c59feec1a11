"""Rows as .arrow and .parquet files. Needs pyarrow: ``pip install 'flowclass[parquet]'``.

Rows arrive as ids into a table of outcomes, which Arrow calls dictionary encoding: the columns of rows are picked by id
from the columns of the outcomes, in C.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any, ClassVar

import numpy as np
import numpy.typing as npt

from flowclass.engine.fields import ADDRESSES, BITS
from flowclass.errors import OutputError

from ._rows import address_texts
from .columns import COLUMNS, OUTCOME_COLUMNS
from .outcomes import Rows, RowValues
from .reader import NO_TIME

try:
    import pyarrow as pa
except ImportError:
    raise OutputError("Arrow and Parquet take pyarrow: pip install 'flowclass[parquet]'") from None

__all__ = ["SCHEMA", "arrow_stream_writer", "arrow_writer", "columns_of", "parquet_writer", "schema_of"]

_TYPES = {
    "file": pa.string(),
    "frame": pa.uint64(),
    "time_ns": pa.int64(),
    "time": pa.timestamp("ns", "UTC"),
    "action": pa.string(),
    "reason": pa.string(),
    "home_address": pa.string(),
    "fid": pa.uint16(),
    "bid": pa.uint16(),
    "care_of": pa.list_(pa.string()),
    "source": pa.string(),
    "destination": pa.string(),
    "protocol": pa.uint8(),
    "source_port": pa.uint16(),
    "destination_port": pa.uint16(),
    "flow_label": pa.uint32(),
    "spi": pa.uint32(),
    "traffic_class": pa.uint8(),
    "length": pa.uint32(),
    "captured": pa.uint32(),
    # of connections
    "packets": pa.uint64(),
    "octets": pa.uint64(),
    "first_ns": pa.int64(),
    "last_ns": pa.int64(),
    "first": pa.timestamp("ns", "UTC"),
    "last": pa.timestamp("ns", "UTC"),
}
_TEXTS = ("action", "reason", "home_address")


def schema_of(columns: Sequence[str]) -> Any:
    """The pyarrow.Schema of rows with these columns.

    Its metadata says to pandas that integers which may be null are to be its nullable ones (``UInt16`` and so on):
    without it they would become floating-point numbers.
    """
    about = [
        {
            "name": name,
            "field_name": name,
            "pandas_type": str(kind),
            "numpy_type": _pandas_integer(kind),
            "metadata": None,
        }
        for name, kind in ((name, _TYPES[name]) for name in columns)
        if pa.types.is_integer(kind) and name not in ("frame", "packets", "octets")
    ]
    pandas = {"index_columns": [], "column_indexes": [], "columns": about, "pandas_version": "1.0"}
    fields = [(name, _TYPES[name]) for name in columns]
    return pa.schema(fields, metadata={"pandas": json.dumps(pandas)} if about else None)


def _pandas_integer(kind: Any) -> str:
    return f"{'Int' if pa.types.is_signed_integer(kind) else 'UInt'}{kind.bit_width}"


SCHEMA = schema_of(COLUMNS)


def packet_column(name: str, rows: Rows) -> Any:
    """A column that is not of the outcome: of the place of the packet, or of the packet itself."""
    if name == "file":
        return pa.repeat(pa.scalar(rows.file, pa.string()), len(rows))
    if name == "frame":
        return pa.array(rows.frames)
    if name in ("time_ns", "time"):
        return time_column(rows.times).cast(_TYPES[name])
    if name == "length":
        return pa.array(rows.sizes)
    if name == "captured":
        return pa.array(rows.captured)
    if name in ADDRESSES:
        texts, ends, there = address_texts(rows.keys, name == "source")
        valid = pa.py_buffer(np.packbits(there, bitorder="little"))
        return pa.StringArray.from_buffers(len(rows), pa.py_buffer(ends), pa.py_buffer(texts), valid)
    missing = rows.keys["present"] & BITS[name] == 0
    return pa.array(np.ascontiguousarray(rows.keys[name]), type=_TYPES[name], mask=missing)


def columns_of(rows: Rows, columns: Sequence[str], outcomes: dict[str, Any]) -> Any:
    """Rows as a pyarrow.RecordBatch; ``outcomes`` has the columns of the table of outcomes."""
    ids = pa.array(rows.ids)
    found = [outcomes[name].take(ids) if name in outcomes else packet_column(name, rows) for name in columns]
    return pa.RecordBatch.from_arrays(found, schema=schema_of(columns))


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
    numbers: npt.NDArray[np.intp]
    values: list[RowValues]
    columns: dict[str, Any]
    """The columns that are not of the outcome, nor the file."""


class _Blocks:
    """Cuts rows into blocks of ``size``, the last one shorter.

    A block, and so its octets in a file, must depend only on its rows, not on the batches, parts or processes that they
    come from. So each block has its own table of outcomes. ``take`` is called with each block.
    """

    def __init__(self, size: int, columns: Sequence[str], take: Callable[[_Block], None]) -> None:
        self._size, self._take = size, take
        self._names = [name for name in columns if name not in OUTCOME_COLUMNS and name != "file"]
        self.forget()

    def forget(self) -> None:
        """Drops the rows of the unfinished block."""
        self._files: list[str] = []
        self._lengths: list[int] = []
        self._columns: dict[str, list[Any]] = {name: [] for name in self._names}
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
            some = rows.picked(part)
            for name, pieces in self._columns.items():
                pieces.append(packet_column(name, some))
            self._numbers.append(numbers[ids])
            self._count += len(ids)
            done += len(ids)
            if self._count == self._size:
                self.flush()

    def flush(self) -> None:
        if self._count:
            columns = {name: pa.concat_arrays(pieces) for name, pieces in self._columns.items()}
            self._take(_Block(self._files, self._lengths, np.concatenate(self._numbers), list(self._values), columns))
            self.forget()


class ArrowWriter:
    """Writes the Arrow IPC file format, which readers can map into memory."""

    BATCH = 1 << 16
    """Rows in a record batch."""
    _open: ClassVar[Any] = staticmethod(pa.ipc.new_file)

    def __init__(self, stream: IO[bytes], columns: Sequence[str]) -> None:
        self._schema = schema_of(columns)
        self._writer: Any = self._open(stream, self._schema)
        self._blocks = _Blocks(self.BATCH, columns, self._write)
        self.write: Callable[[Rows], None] = self._blocks.add

    def _write(self, block: _Block) -> None:
        columns = block.columns | {"file": pa.array(block.files, type=pa.string()).take(pa.array(_repeated(block)))}
        numbers = pa.array(block.numbers)
        for name in self._schema.names:
            if name in OUTCOME_COLUMNS:
                columns[name] = column(name, [getattr(o, name) for o in block.values]).take(numbers)
        ordered = [columns[name] for name in self._schema.names]
        self._writer.write_batch(pa.RecordBatch.from_arrays(ordered, schema=self._schema))

    def close(self) -> None:
        """Writes the rows that are still buffered, and the end of the file."""
        self._blocks.flush()
        self._writer.close()

    def abandon(self) -> None:
        """Drops the rows that are still buffered."""
        self._blocks.forget()


class ArrowStreamWriter(ArrowWriter):
    """Writes the Arrow IPC stream format, with a record batch for each batch of rows as it comes."""

    _open: ClassVar[Any] = staticmethod(pa.ipc.new_stream)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.write: Callable[[Rows], None] = self._write_now

    def _write_now(self, rows: Rows) -> None:
        self._blocks.add(rows)
        self._blocks.flush()


class ParquetWriter:
    """Writes Parquet with zstd. Texts are given to it as dictionaries, which is how Parquet stores them anyway."""

    GROUP = 1 << 18
    """Rows in a row group, the smallest piece that a reader can take."""

    def __init__(self, stream: IO[bytes], columns: Sequence[str]) -> None:
        import pyarrow.parquet as pq

        kind = pa.dictionary(pa.int32(), pa.string())
        texts = ("file", *_TEXTS)
        plain = schema_of(columns)
        fields = [(field.name, kind if field.name in texts else field.type) for field in plain]
        self._schema = pa.schema(fields)
        numbered = [name for name in ("frame", "time_ns", "time") if name in columns]
        alike = ["care_of.list.element" if name == "care_of" else name for name in columns if name not in numbered]
        # without Arrow's own schema in the file, a reader sees plain text and not our dictionaries
        self._writer = pq.ParquetWriter(
            stream, self._schema, compression="zstd", store_schema=False, write_statistics=numbered,
            use_dictionary=alike, column_encoding=dict.fromkeys(numbered, "DELTA_BINARY_PACKED"),
        )  # fmt: skip
        if plain.metadata:
            self._writer.add_key_value_metadata(plain.metadata)
        self._blocks = _Blocks(self.GROUP, columns, self._write)
        self.write: Callable[[Rows], None] = self._blocks.add

    def _write(self, block: _Block) -> None:
        columns = []
        for name in self._schema.names:
            if name == "file":
                columns.append(_dictionary(_repeated(block), block.files))
            elif name in _TEXTS:
                columns.append(_dictionary(block.numbers, [getattr(outcome, name) for outcome in block.values]))
            elif name in OUTCOME_COLUMNS:
                values = column(name, [getattr(outcome, name) for outcome in block.values])
                columns.append(values.take(pa.array(block.numbers)))
            else:
                columns.append(block.columns[name])
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
    """The values of a column of outcomes as an array of its type."""
    if name == "care_of":
        values = [list(addresses) or None for addresses in values]
    return pa.array(values, type=_TYPES[name])


def arrow_writer(stream: IO[bytes], columns: Sequence[str] = COLUMNS) -> ArrowWriter:
    """A writer of rows as an Arrow file."""
    return ArrowWriter(stream, columns)


def arrow_stream_writer(stream: IO[bytes], columns: Sequence[str] = COLUMNS) -> ArrowStreamWriter:
    """A writer of rows as an Arrow stream."""
    return ArrowStreamWriter(stream, columns)


def parquet_writer(stream: IO[bytes], columns: Sequence[str] = COLUMNS) -> ParquetWriter:
    """A writer of rows as a Parquet file."""
    return ParquetWriter(stream, columns)
