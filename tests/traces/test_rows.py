"""flowclass.traces._rows: numbers for records that are alike, and rows of text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowclass.traces._capture import NO_TIME
from flowclass.traces._rows import DecisionNumbers, RowTexts

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
edges = st.sampled_from([0, 9, 10, 99, 100, 101, 999, 10**9, 2**63 - 1])


@given(
    head=texts,
    middle=texts,
    null=texts,
    tails=st.lists(texts, min_size=1, max_size=6),
    rows=st.lists(
        st.tuples(
            edges | st.just(2**64 - 1) | st.integers(0, 2**64 - 1),
            edges | st.just(NO_TIME) | st.integers(NO_TIME, 2**63 - 1),
            st.integers(0, 5),
        ),
        max_size=30,
    ),
)
def test_rows(head: bytes, middle: bytes, null: bytes, tails: list[bytes], rows: list[tuple[int, int, int]]) -> None:
    writer = RowTexts(middle, null)
    writer.add(tails[:1])
    writer.add(tails[1:])
    assert len(writer) == len(tails)
    frames, times = np.array([r[0] for r in rows], np.uint64), np.array([r[1] for r in rows], np.int64)
    numbers = np.array([r[2] % len(tails) for r in rows], np.uint32)
    expected = b"".join(
        head + str(f).encode() + middle + (null if t == NO_TIME else str(t).encode()) + tails[n % len(tails)]
        for f, t, n in rows
    )
    assert writer.rows(head, frames, times, numbers) == expected


def test_numbers_without_a_tail() -> None:
    writer = RowTexts(b",", b"")
    one = np.ones(1, np.uint64)
    with pytest.raises(IndexError, match="number 0 of 0 tails"):
        writer.rows(b"", one, one.view(np.int64), np.zeros(1, np.uint32))
    with pytest.raises(ValueError, match="lengths 1, 1, 2"):
        writer.rows(b"", one, one.view(np.int64), np.zeros(2, np.uint32))
