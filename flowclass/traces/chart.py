"""The report's chart of packets and binding updates over time, in HTML.

Bars are SVG that is stretched to whatever width there is. Words stand beside it as HTML and keep their size, so that
they can be read on a phone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape

import numpy as np
import numpy.typing as npt

from flowclass.ticks import clock, linear, short

from .timeline import KINDS, Spans

__all__ = ["chart", "chart_data", "count_text", "duration_text", "legend", "time_text"]

_TALL = 1000  # the height of a drawing in its own units; its width is the number of spans
_GAP = 0.12  # of a span, between two bars


def time_text(ns: int) -> str:
    """Date and time (UTC) to the millisecond, or seconds if the time is outside the calendar."""
    try:
        return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%d %H:%M:%S}.{ns % 10**9 // 10**6:03d}"
    except (OverflowError, ValueError, OSError):
        return f"{ns / 1e9:.3f} s"


def duration_text(ns: int) -> str:
    """A duration with four digits, in the largest unit that is not larger than it."""
    for unit, name in ((86_400 * 10**9, "d"), (3600 * 10**9, "h"), (60 * 10**9, "min"), (10**9, "s"), (10**6, "ms")):
        if ns >= unit:
            return f"{float(f'{ns / unit:.4g}'):g} {name}"
    return f"{ns / 1000:g} \u00b5s"


def count_text(number: int) -> str:
    """1234567 with thin spaces between the thousands."""
    return f"{number:,}".replace(",", "\u2009")


def legend(spans: Spans) -> str:
    """The kinds of packets that occur, each with its colour."""
    used = "".join(f'<li><span style="background:var(--k{k})"></span>{KINDS[k]}</li>' for k in _used(spans))
    return f'<ul class="legend">{used}</ul>'


def _used(spans: Spans) -> list[int]:
    return [k for k in range(len(KINDS)) if spans.counts[0, k].any()]


def chart(spans: Spans, first: int, last: int, *, updates: bool) -> str:
    """The chart of the spans. ``first`` and ``last`` are the times of the first and last packet, in ns since 1970."""
    span = duration_text(spans.width)
    rows = [
        _row(what, f"{what} in {span}", _stacks(spans.counts[w]), _largest(spans.counts[w]), hidden=w > 0)
        for w, what in enumerate(("packets", "octets"))
    ]
    if updates:
        rows.append(_updates_row(spans.updates, span))
    described = f"Packets over time, in {spans.counts.shape[2]} spans of {span}. The arrow keys move from span to span."
    return (
        f'<div id="timeline" class="chart" tabindex="0" role="group" aria-label="{escape(described)}"'
        f' aria-describedby="readout">{"".join(rows)}{_time_axis(spans, first, last)}</div>'
    )


def _largest(counts: npt.NDArray[np.int64]) -> int:
    return max(int(counts.sum(axis=0).max()), 1)


def _row(name: str, title: str, bars: str, largest: int, *, hidden: bool) -> str:
    ticks = "".join(_level(tick / largest, short(tick)) for tick in linear(0, largest, 5) if tick == int(tick))
    return _area(name, title, ticks, bars, hidden=hidden)


def _area(name: str, title: str, ticks: str, bars: str, *, hidden: bool = False) -> str:
    return (
        f'<div class="plot {name}"{" hidden" if hidden else ""}><p class="unit">{escape(title)}</p>'
        f'<div class="area">{ticks}{bars}<div class="cursor" hidden></div></div></div>'
    )


def _level(share: float, text: str) -> str:
    """A horizontal line with its number, at a share of the height."""
    return f'<div class="level" style="bottom:{100 * share:.2f}%"><span>{text}</span></div>'


def _svg(n: int, paths: Iterable[str]) -> str:
    return f'<svg viewBox="0 0 {n} {_TALL}" preserveAspectRatio="none" aria-hidden="true">{"".join(paths)}</svg>'


def _path(
    style: str, places: npt.NDArray[np.int64], tops: npt.NDArray[np.float64], tall: npt.NDArray[np.float64]
) -> str:
    wide = 1 - _GAP
    pieces = (
        f"M{i + _GAP / 2:g} {top:.1f}h{wide:g}v{high:.1f}h-{wide:g}z"
        for i, top, high in zip(places.tolist(), tops.tolist(), tall.tolist(), strict=True)
    )
    return f'<path {style} d="{"".join(pieces)}"/>'


def _stacks(counts: npt.NDArray[np.int64]) -> str:
    """Stacked bars, one path for each kind."""
    scale = _TALL / _largest(counts)
    floor, paths = np.zeros(counts.shape[1]), []
    for k in np.flatnonzero(counts.any(axis=1)).tolist():
        places = np.flatnonzero(counts[k])
        tall = counts[k, places] * scale
        floor[places] += tall
        paths.append(_path(f'fill="var(--k{k})"', places, _TALL - floor[places], tall))
    return _svg(counts.shape[1], paths)


def _updates_row(updates: npt.NDArray[np.int64], span: str) -> str:
    """Binding updates per span: what was accepted stands above the line, and what was not hangs below it."""
    if not updates.any():
        return '<p class="unit">binding updates: none</p>'
    up, down = int(updates[0].max()), int(updates[1].max())
    whole = up + down
    zero = _TALL * up / whole
    paths = []
    for which, name in enumerate(("accepted", "refused")):
        places = np.flatnonzero(updates[which])
        if len(places):
            tall = updates[which, places] * (_TALL / whole)
            tops = zero - tall if which == 0 else np.full(len(places), zero)
            paths.append(_path(f'class="{name}"', places, tops, tall))
    ticks = _level(down / whole, "0")
    if up:
        ticks += _level(1, short(up))
    if down:
        ticks += _level(0, short(down))
    title = f"binding updates in {span}: accepted \u25b2 above the line, not accepted \u25bc below"
    return _area("updates", title, ticks, _svg(updates.shape[1], paths))


def _time_axis(spans: Spans, first: int, last: int) -> str:
    length = spans.width * spans.counts.shape[2]
    ticks = clock(first, last)
    parts = []
    for i, tick in enumerate(ticks):
        x = 100 * (tick.time_ns - spans.start) / length
        names = ["tick", "first" if x < 6 else "last" if x > 94 else "middle"]
        # a narrow page leaves out each second tick; a date stands where it is not that of the tick shown before
        names += ["odd"] * (i % 2)
        names += [name for name, n in (("same", 1), ("same2", 2)) if i >= n and ticks[i - n].context == tick.context]
        parts.append(
            f'<div class="{" ".join(names)}" style="left:{x:.2f}%"><span>{tick.text}</span>'
            f"<small>{tick.context}</small></div>"
        )
    return f'<div class="times">{"".join(parts)}</div>'


def chart_data(spans: Spans, first: int) -> str:
    """What the page's script needs to say what a span holds: JSON that can stand in a script element."""
    n = spans.counts.shape[2]
    data = {
        "n": n,
        "kinds": KINDS,
        "counts": spans.counts.tolist(),
        "updates": spans.updates.tolist(),
        "labels": [
            f"{time_text(max(spans.start + i * spans.width, first))}, {duration_text(spans.width)}" for i in range(n)
        ],
    }
    return json.dumps(data).replace("<", "\\u003c")
