"""`classify --by 5-tuple`: totals of each connection, in place of a row for each packet.

    connections = Connections()
    Run(agent, observers=[connections.add]).classify(["trace.pcap"])
    write_connections("connections.csv", connections)

A connection is a five-tuple (source, destination, protocol, ports) in one direction, in all traces together. It is that
of the header by which a packet was decided. Memory is bounded: more than `Connections.MOST` are refused.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import IO, Any, Final

import numpy as np

from flowclass.engine.fields import ADDRESSES, BITS
from flowclass.engine.keys import KEY_DTYPE
from flowclass.errors import OutputError

from ._rows import NO_TOTAL, DecisionNumbers, add_totals, address_texts
from .compress import compressed, endings
from .files import Together, atomic_file
from .outcomes import Rows
from .outputs import check_output
from .reader import NO_TIME

__all__ = ["ALL_CONNECTION_COLUMNS", "CONNECTION_COLUMNS", "Connections", "stream_connections", "write_connections"]

_TUPLE: Final = ("source", "destination", "protocol", "source_port", "destination_port")
CONNECTION_COLUMNS: Final = (*_TUPLE, "packets", "octets", "first_ns", "last_ns")
"""The five-tuple (ports null where there are none), packets, octets on the wire, and ns since 1970 or null."""

ALL_CONNECTION_COLUMNS: Final = (*CONNECTION_COLUMNS, "first", "last")
"""Every column that there is. ``first`` and ``last`` are timestamps (text: RFC 3339) in UTC."""

_BLOCK: Final = 1 << 16  # connections that are made into text or Arrow arrays at a time
_MASK: Final = sum(BITS[name] for name in _TUPLE)


class Connections:
    """Counts packets by their five-tuples; ``left_out`` is how many have none, as they are not IP or malformed."""

    MOST = 1 << 20
    """How many connections can be counted; they take some 250 MB."""

    def __init__(self, most: int = MOST) -> None:
        self.left_out: int = 0
        self._most = most
        self._numbers = DecisionNumbers(KEY_DTYPE, limit=most)
        self._keys: list[Any] = []
        self._totals = np.full(0, NO_TOTAL)

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, rows: Rows) -> None:
        """Counts one batch of rows, which must have keys. Raises `OutputError` for too many connections."""
        there = rows.keys["present"] & BITS["source"] != 0
        self.left_out += len(rows) - int(np.count_nonzero(there))
        rows = rows.picked(there)
        keys = np.zeros(len(rows), KEY_DTYPE)
        keys["present"] = rows.keys["present"] & _MASK
        for name in (*_TUPLE, "version"):
            keys[name] = rows.keys[name]
        numbers, first = self._numbers.number(keys)
        if len(numbers) < len(keys):
            raise OutputError(
                f"more than {self._most:,} connections, which is as many as are counted in memory:"
                " take fewer packets at a time (--from, --to, --where, --first), or rows per packet (without --by)"
            )
        self._keys.append(keys[first])
        if len(self) > len(self._totals):
            self._totals = np.append(self._totals, np.full(2 * len(self) - len(self._totals), NO_TOTAL))
        add_totals(self._totals, numbers, rows.sizes, rows.times)

    def blocks(self, columns: Sequence[str] = CONNECTION_COLUMNS) -> Iterator[dict[str, list[Any]]]:
        """Yields columns of all connections in pieces, in the order of their first packets; times are ns since 1970."""
        keys = self._keys = [np.concatenate(self._keys)] if self._keys else []
        for start in range(0, len(self), _BLOCK):
            stop = min(start + _BLOCK, len(self))
            yield {name: _column(name, keys[0][start:stop], self._totals[start:stop]) for name in columns}


def _column(name: str, keys: Any, totals: Any) -> list[Any]:
    if name in ADDRESSES:
        texts, ends, _ = address_texts(keys, name == "source")
        text, places = texts.tobytes().decode("ascii"), ends.tolist()
        return [text[a:b] for a, b in pairwise(places)]
    if name in _TUPLE:
        there = (keys["present"] & BITS[name] != 0).tolist()
        return [value if has else None for value, has in zip(keys[name].tolist(), there, strict=True)]
    if name in ("packets", "octets"):
        return list(totals[name].tolist())
    times, timed = totals[name.removesuffix("_ns")].tolist(), (totals["last"] != NO_TIME).tolist()
    return [time if has else None for time, has in zip(times, timed, strict=True)]


def write_connections(
    path: str,
    connections: Connections,
    columns: Sequence[str] = CONNECTION_COLUMNS,
    files: Together | None = None,
) -> None:
    """Writes connections to a file of the kinds that rows can be written to, as the path ends. Raises `OutputError`.

    ``files`` is as for `flowclass.traces.files.atomic_file`.
    """
    check_output(path)
    ending, compression = endings(path)
    with atomic_file(path, files) as file, compressed(file, compression, path) as stream:
        _write(stream, ending.removeprefix("."), connections, columns)


def stream_connections(
    form: str, stream: IO[bytes], connections: Connections, columns: Sequence[str] = CONNECTION_COLUMNS
) -> None:
    """Writes connections to a stream in one of the formats `outputs.STREAMS`; the stream stays open."""
    _write(stream, "stream" if form == "arrow" else form, connections, columns)
    stream.flush()


def _write(stream: IO[bytes], form: str, connections: Connections, columns: Sequence[str]) -> None:
    with (_text if form in ("csv", "jsonl") else _table)(stream, form, columns) as write:
        for block in connections.blocks(columns):
            write(block)


@contextmanager
def _text(stream: IO[bytes], form: str, columns: Sequence[str]) -> Iterator[Callable[[dict[str, list[Any]]], None]]:
    if form == "csv":
        stream.write(f"{','.join(columns)}\n".encode())

    def write(block: dict[str, list[Any]]) -> None:
        for name in {"first", "last"} & block.keys():
            block[name] = [None if ns is None else f"{np.datetime64(ns, 'ns')}Z" for ns in block[name]]
        rows = zip(*block.values(), strict=True)
        if form == "csv":
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(rows)
            stream.write(text.getvalue().encode())
        else:
            lines = (json.dumps(dict(zip(block, row, strict=True)), separators=(",", ":")) + "\n" for row in rows)
            stream.write("".join(lines).encode())

    yield write


@contextmanager
def _table(stream: IO[bytes], form: str, columns: Sequence[str]) -> Iterator[Callable[[dict[str, list[Any]]], None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from .arrow import schema_of

    schema = schema_of(columns)
    if form == "parquet":
        writer = pq.ParquetWriter(stream, schema, compression="zstd", store_schema=False)
        writer.add_key_value_metadata(schema.metadata)
    else:
        writer = (pa.ipc.new_stream if form == "stream" else pa.ipc.new_file)(stream, schema)
    with writer:
        yield lambda block: writer.write_table(pa.table(block, schema=schema))
