"""The ticks of axes, and the report's chart over time."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import numpy as np
import pytest

from flowclass.ticks import clock, linear, logarithmic, short
from flowclass.traces.chart import chart, chart_data
from flowclass.traces.timeline import KINDS, Spans

SECOND = 10**9
START = int(datetime(2026, 2, 2, 2, 40, 49, tzinfo=UTC).timestamp()) * SECOND + 633_000_000


@pytest.mark.parametrize(("low", "high"), [(1, 1e6), (10, 20), (100, 130), (99.5, 101), (0.03, 170), (7, 7.01), (5, 9)])
def test_ticks_never_vanish(low: float, high: float) -> None:
    found = logarithmic(low, high)
    assert len(found) >= 3
    assert found == sorted(found)
    assert low * 0.998 <= found[0] <= found[-1] <= high * 1.002


@pytest.mark.parametrize("high", [1, 2, 3, 7, 13, 51, 99, 100, 101, 219, 999, 123_456_789, 3 * 10**12])
def test_ticks_of_counts_are_few_round_and_fit(high: int) -> None:
    found = linear(0, high)
    assert 2 <= len(found) <= 5
    assert found[0] == 0
    assert high / 2 <= found[-1] <= high
    assert re.fullmatch(r"[125]0*", f"{found[1] * 10:.0f}".rstrip("0") or "0")


@pytest.mark.parametrize(
    ("length", "texts", "contexts"),
    [
        (
            3 * 86_400 * SECOND,
            "12:00 00:00 12:00 00:00 12:00 00:00",
            {"2026-02-02", "2026-02-03", "2026-02-04", "2026-02-05"},
        ),
        (10 * SECOND, "02:40:50 02:40:52 02:40:54 02:40:56 02:40:58", {"2026-02-02"}),
        (10 * 60 * SECOND, "02:42 02:44 02:46 02:48 02:50", {"2026-02-02"}),
        (10_000_000, "49.634 s 49.636 s 49.638 s 49.640 s 49.642 s", {"2026-02-02 02:40"}),
        (3, "49.633000000 s 49.633000001 s 49.633000002 s 49.633000003 s", {"2026-02-02 02:40"}),
        (20 * 86_400 * SECOND, "2026-02-06 2026-02-11 2026-02-16 2026-02-21", {""}),
        (200 * 86_400 * SECOND, "2026-03 2026-04 2026-05 2026-06 2026-07 2026-08", {""}),
        (40 * 365 * 86_400 * SECOND, "2030 2040 2050 2060", {""}),
    ],
)
def test_ticks_of_times_are_round_on_the_clock(length: int, texts: str, contexts: set[str]) -> None:
    found = clock(START, START + length)
    assert " ".join(tick.text for tick in found) == texts
    assert {tick.context for tick in found} == contexts
    assert all(START <= tick.time_ns <= START + length for tick in found)


def test_one_instant_has_one_tick_and_any_span_of_time_a_few() -> None:
    assert [tick.time_ns for tick in clock(START + 1, START + 1)] == [START + 1]
    for exponent in range(63):
        for first in (0, START, -START):
            last = min(first + (1 << exponent), 2**63 - 1)
            assert 1 <= len(clock(first, last)) <= 6, (first, last)


def test_short_numbers() -> None:
    assert [short(value) for value in (0, 4, 2.5, 1000, 1500, 2e6, 3e9, 4.5e12)] == (
        ["0", "4", "2.5", "1k", "1.5k", "2M", "3G", "4.5T"]
    )


def spans(n: int = 4) -> Spans:
    counts = np.zeros((2, len(KINDS), n), dtype=np.int64)
    counts[0, 0], counts[0, 3], counts[1, 0] = [1, 0, 3, 0], [0, 2, 1, 0], [100, 0, 300, 0]
    return Spans(START, SECOND, counts, np.array([[2, 0, 1, 0], [0, 0, 1, 0]], dtype=np.int64))


def test_refused_updates_are_told_apart_by_their_place() -> None:
    drawn = chart(spans(), START, START + 4 * SECOND, updates=True)
    bars = {name: re.search(rf'class="{name}" d="([^"]*)"', drawn) for name in ("accepted", "refused")}
    tops = {
        name: [float(top) for top in re.findall(r"M\S+ (\S+?)h", found[1])] for name, found in bars.items() if found
    }
    # 3 in all: 2 above the line at two thirds of the height, 1 below it
    assert tops["accepted"] == pytest.approx([0, 333.3], abs=0.1)
    assert tops["refused"] == pytest.approx([666.7], abs=0.1)
    assert "accepted \u25b2 above the line, not accepted \u25bc below" in drawn
    assert re.findall(r"<span>(\d)</span>", drawn[drawn.index("binding updates") :]) == ["0", "2", "1"]


def test_a_chart_says_what_it_has_not() -> None:
    empty = spans()._replace(updates=np.zeros((2, 4), dtype=np.int64))
    assert "binding updates: none" in chart(empty, START, START + 4 * SECOND, updates=True)
    assert "binding updates" not in chart(empty, START, START + 4 * SECOND, updates=False)


def test_words_are_not_part_of_the_stretched_drawing() -> None:
    """They would shrink with it on a phone."""
    drawn = chart(spans(), START, START + 4 * SECOND, updates=True)
    assert drawn.count("<svg") == 3
    assert not any("<text" in svg or "<title" in svg for svg in re.findall(r"<svg.*?</svg>", drawn))


def test_the_script_has_every_count() -> None:
    data = json.loads(chart_data(spans(), START))
    assert data["counts"] == spans().counts.tolist()
    assert data["updates"] == [[2, 0, 1, 0], [0, 0, 1, 0]]
    assert data["labels"][1] == "2026-02-02 02:40:50.633, 1 s"
