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
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import IO, Any, Final

import numpy as np

from flowclass.engine.fields import BITS
from flowclass.engine.keys import KEY_DTYPE
from flowclass.errors import OutputError

from ._rows import NO_TOTAL, DecisionNumbers, add_totals, address_texts
from .files import atomic_file
from .outcomes import Rows
from .outputs import check_output
from .reader import NO_TIME

__all__ = ["CONNECTION_COLUMNS", "Connections", "write_connections"]

_TUPLE: Final = ("source", "destination", "protocol", "source_port", "destination_port")
CONNECTION_COLUMNS: Final = (*_TUPLE, "packets", "octets", "first_ns", "last_ns")
"""The five-tuple (ports null where there are none), packets, octets on the wire, and ns since 1970 or null."""

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
        self._secret = np.frombuffer(os.urandom(8 * KEY_DTYPE.itemsize // 4), np.uint64)
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
        # the numbers' hash has no secret, so a trace could choose keys that collide: a keyed digest of the key, in
        # fields that are not used here, prevents that
        digest = (keys.view(np.uint32).reshape(-1, len(self._secret)) * self._secret).sum(axis=1, dtype=np.uint64)
        keys["flow_label"], keys["spi"] = digest & np.uint64(0xFFFFFFFF), digest >> np.uint64(32)
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

    def blocks(self) -> Iterator[dict[str, list[Any]]]:
        """Yields the `CONNECTION_COLUMNS` of all connections in pieces, in the order of their first packets."""
        keys = self._keys = [np.concatenate(self._keys)] if self._keys else []
        for start in range(0, len(self), _BLOCK):
            yield _columns(keys[0][start : start + _BLOCK], self._totals[start : min(start + _BLOCK, len(self))])


def _columns(keys: Any, totals: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for name in _TUPLE[:2]:
        texts, ends, _ = address_texts(keys, name == "source")
        text, places = texts.tobytes().decode("ascii"), ends.tolist()
        found[name] = [text[a:b] for a, b in pairwise(places)]
    for name in _TUPLE[2:]:
        there = (keys["present"] & BITS[name] != 0).tolist()
        found[name] = [value if has else None for value, has in zip(keys[name].tolist(), there, strict=True)]
    found["packets"], found["octets"] = totals["packets"].tolist(), totals["octets"].tolist()
    timed = (totals["last"] != NO_TIME).tolist()
    for name in ("first", "last"):
        found[f"{name}_ns"] = [v if has else None for v, has in zip(totals[name].tolist(), timed, strict=True)]
    return found


def write_connections(path: str, connections: Connections) -> None:
    """Writes connections to a .csv, .jsonl, .arrow or .parquet file, as the path ends. Raises `OutputError`."""
    check_output(path)
    ending = os.path.splitext(path)[1].lower()
    with atomic_file(path) as stream, (_text if ending in (".csv", ".jsonl") else _table)(stream, ending) as write:
        for block in connections.blocks():
            write(block)


@contextmanager
def _text(stream: IO[bytes], ending: str) -> Iterator[Callable[[dict[str, list[Any]]], None]]:
    if ending == ".csv":
        stream.write(f"{','.join(CONNECTION_COLUMNS)}\n".encode())

    def write(block: dict[str, list[Any]]) -> None:
        rows = zip(*block.values(), strict=True)
        if ending == ".csv":
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(rows)
            stream.write(text.getvalue().encode())
        else:
            lines = (json.dumps(dict(zip(block, row, strict=True)), separators=(",", ":")) + "\n" for row in rows)
            stream.write("".join(lines).encode())

    yield write


@contextmanager
def _table(stream: IO[bytes], ending: str) -> Iterator[Callable[[dict[str, list[Any]]], None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = [pa.string(), pa.string(), pa.uint8(), pa.uint16(), pa.uint16(), *[pa.uint64()] * 2, *[pa.int64()] * 2]
    schema = pa.schema(list(zip(CONNECTION_COLUMNS, types, strict=True)))
    if ending == ".arrow":
        writer = pa.ipc.new_file(stream, schema)
    else:
        writer = pq.ParquetWriter(stream, schema, compression="zstd", store_schema=False)
    with writer:
        yield lambda block: writer.write_table(pa.table(block, schema=schema))
