"""flowclass.traces._rows: numbers for records that are alike, and rows of text."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowclass.addresses import address_text
from flowclass.engine.fields import ADDRESSES, BITS, LARGEST, NUMBERS
from flowclass.engine.keys import KEY_DTYPE
from flowclass.traces._capture import NO_TIME
from flowclass.traces._rows import DecisionNumbers, RowTexts, address_texts
from flowclass.traces.columns import PACKET_COLUMNS

RECORD = np.dtype([("a", "<u8"), ("b", "<u4"), ("c", "<u4")])
values = st.tuples(st.integers(0, 3) | st.integers(0, 2**64 - 1), st.integers(0, 2), st.integers(0, 1))


@given(batches=st.lists(st.lists(values, max_size=30), max_size=5))
def test_equal_records_have_equal_numbers(batches: list[list[tuple[int, int, int]]]) -> None:
    table = DecisionNumbers(RECORD)
    known: dict[tuple[int, int, int], int] = {}
    for batch in batches:
        fresh = []
        expected = []
        for i, value in enumerate(batch):
            if value not in known:
                known[value] = len(known)
                fresh.append(i)
            expected.append(known[value])
        numbers, first = table.number(np.array(batch, RECORD))
        assert (numbers.tolist(), first.tolist()) == (expected, fresh)
    assert len(table) == len(known)


def test_the_limit() -> None:
    table = DecisionNumbers(RECORD, limit=100)
    records = np.zeros(1000, RECORD)
    records["a"] = np.arange(1000) // 2
    numbers, first = table.number(records)
    assert (len(numbers), len(first), len(table)) == (200, 100, 100)
    table.clear()
    numbers, first = table.number(records[200:])
    assert numbers[:4].tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="dtype of 4 octets"):
        DecisionNumbers(np.uint32)
    with pytest.raises(ValueError, match="records: expected"):
        table.number(np.zeros(3, np.uint64))


texts = st.binary(max_size=12)
edges = st.sampled_from([0, 9, 10, 99, 100, 101, 999, 9999, 10_000, 10**9])
words = st.sampled_from([0, 1, 0xFFFF, 0xFFFF_0000_0000, 0x1_0000_0000, 0x2001_0DB8_0000_0000]) | st.integers(
    0, 2**64 - 1
)
row_values = st.fixed_dictionaries(
    {
        "frame": edges | st.integers(0, 2**64 - 1),
        "time_ns": edges | st.just(NO_TIME) | st.integers(NO_TIME, 2**63 - 1),
        "outcome": st.integers(0, 5),
        "length": edges | st.integers(0, 2**32 - 1),
        "captured": edges,
        "version": st.sampled_from([4, 6]),
        "present": st.integers(0, 255),
        "source": st.tuples(words, words),
        "destination": st.tuples(words, words),
        **{
            name: (edges | st.integers(0, LARGEST[name])).map(lambda v, most=LARGEST[name]: min(v, most))
            for name in NUMBERS
        },
    }
)


def clock(time_ns: int) -> str:
    """RFC 3339, by the standard library's calendar."""
    seconds, nanoseconds = divmod(time_ns, 10**9)
    return f"{datetime(1970, 1, 1) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def expected_value(column: str, row: dict[str, Any], outcomes: list[tuple[bytes, ...]], group: int) -> bytes | None:
    """What stands in a row for a column, without quotes; None for nothing."""
    if column == "outcome":
        return outcomes[row["outcome"] % len(outcomes)][group]
    if column in ("time", "time_ns"):
        if row["time_ns"] == NO_TIME:
            return None
        return (clock(row["time_ns"]) if column == "time" else str(row["time_ns"])).encode()
    if column in BITS and not row["present"] & BITS[column]:
        return None
    if column in ADDRESSES:
        high, low = row[column]
        packed = (
            (low & 0xFFFF_FFFF).to_bytes(4, "big") if row["version"] == 4 else (high << 64 | low).to_bytes(16, "big")
        )
        return address_text(packed).encode()
    return str(row[column]).encode()


def arrays_of(rows: list[dict[str, Any]], outcomes: int) -> tuple[Any, ...]:
    keys = np.zeros(len(rows), KEY_DTYPE)
    for key, row in zip(keys, rows, strict=True):
        for name in ("version", "present", *NUMBERS, *ADDRESSES):
            key[name] = row[name]
    columns = (("frame", np.uint64), ("time_ns", np.int64), ("outcome", np.uint32), ("length", np.uint32))
    found = [np.array([row[name] for row in rows], dtype) for name, dtype in columns]
    found[2] %= outcomes
    return (*found, np.array([row["captured"] for row in rows], np.uint32), keys)


NAMES = ("", "frame", "time_ns", "time", "outcome", *PACKET_COLUMNS)


@given(
    pieces=st.lists(st.tuples(texts, st.sampled_from(NAMES)), max_size=20),
    null=st.binary(max_size=8),
    quote=st.binary(max_size=1),
    outcomes=st.lists(st.lists(texts, min_size=20, max_size=20).map(tuple), min_size=1, max_size=6),
    rows=st.lists(row_values, max_size=10),
)
def test_rows(
    pieces: list[tuple[bytes, str]],
    null: bytes,
    quote: bytes,
    outcomes: list[tuple[bytes, ...]],
    rows: list[dict[str, Any]],
) -> None:
    writer = RowTexts(null, quote)
    writer.set_pieces(pieces)
    writer.add(outcomes[:1])
    writer.add(outcomes[1:])
    assert len(writer) == len(outcomes)
    expected = b""
    for row in rows:
        group = 0
        for text, column in pieces:
            value = b"" if column == "" else expected_value(column, row, outcomes, group)
            group += column == "outcome"
            around = quote if column in (*ADDRESSES, "time") else b""
            expected += text + (null if value is None else around + value + around)
    stream = io.BytesIO()
    writer.write(stream, *arrays_of(rows, len(outcomes)))
    assert stream.getvalue() == expected
    assert writer.measure(*arrays_of(rows, len(outcomes))) == len(expected)


def test_rows_of_more_octets_than_are_written_at_a_time() -> None:
    writer = RowTexts(b"", b"")
    writer.set_pieces([(b"x" * 300_000, "outcome"), (b"", "frame")])
    writer.add([(b"a",), (b"b" * 9,)])
    nothing, numbers = np.zeros(3, np.uint32), np.array([0, 1, 0], np.uint32)
    stream = io.BytesIO()
    times, keys = np.zeros(3, np.int64), np.zeros(3, KEY_DTYPE)
    writer.write(stream, np.arange(8, 11, dtype=np.uint64), times, numbers, nothing, nothing, keys)
    head = b"x" * 300_000
    assert stream.getvalue() == head + b"a8" + head + b"b" * 9 + b"9" + head + b"a10"
    with pytest.raises(IndexError, match="number 2 of 2 outcomes"):
        writer.measure(np.zeros(3, np.uint64), times, numbers + np.uint32(1), nothing, nothing, keys)
    with pytest.raises(ValueError, match="frames: expected 3 elements"):
        writer.measure(np.zeros((3, 1), np.uint64), times, numbers, nothing, nothing, keys)


@given(rows=st.lists(row_values, max_size=20))
def test_address_texts(rows: list[dict[str, Any]]) -> None:
    keys = arrays_of(rows, 1)[-1]
    for column in ADDRESSES:
        texts, ends, there = address_texts(keys, column == "source")
        found = [texts[ends[i] : ends[i + 1]].tobytes() if there[i] else None for i in range(len(rows))]
        assert found == [expected_value(column, row, [], 0) for row in rows]
