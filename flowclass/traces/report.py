"""Makes one HTML page about traces: what went where and when, with pictures. It loads nothing from a network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np
import numpy.typing as npt

from flowclass.addresses import address_text
from flowclass.mobility import HomeAgent

from .replaying import replay
from .run import Run, Source
from .summary import FlowSummary, Summary
from .timeline import KINDS, Timeline
from .unread import unread_words

__all__ = ["make_report"]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 1000, 300, 64, 8, 22, 34
_MOST_ROWS = 200  # per table, as a page should stay well under a megabyte
_MOST_MARKS = 400
_COUNT_NAMES = ("packets", "octets")
_BY_REASON = {"default": 3, "signalling": 4, "unbound": 5, "malformed": 6, "not-ip": 7}
_BY_ACTION = {"forward": 0, "n-cast": 1, "discard": 2}


def make_report(
    agent: HomeAgent, sources: Sequence[Source], *, updates: bool, inner: int = 0, **how: Any
) -> tuple[str, Summary]:
    """Returns the HTML page about traces, and their summary.

    With ``updates``, binding updates in the traces change the bindings. ``how`` are further arguments of `Run`.
    """
    timeline, marks = Timeline(), list[tuple[int, bool]]()
    run = Run(agent, observers=[timeline.add], inner=inner, updated=lambda t, ok: marks.append((t, ok)), **how)
    summary = replay(run, sources) if updates else run.classify(sources)
    return _page(agent, summary, timeline, marks), summary


def _page(agent: HomeAgent, summary: Summary, timeline: Timeline, marks: list[tuple[int, bool]]) -> str:
    start, width, counts = timeline.spans()
    names = [file.file for file in summary.files]
    title = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    body = [
        _timeline_section(start, width, counts, marks, timeline),
        _reason_section(summary),
        _node_section(summary),
        _never_section(agent, summary),
    ]
    body += [_care_of_section(summary), _damage_section(summary)]
    template = Template(files("flowclass.traces").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title),
        subtitle=escape(_subtitle(timeline)),
        facts="".join(f"<li><b>{value}</b>{escape(name)}</li>" for name, value in _facts(summary)),
        body="\n".join(body),
        data=_script_data(start, width, counts, timeline.first or 0),
    )


def _subtitle(timeline: Timeline) -> str:
    if timeline.first is None or timeline.last is None:
        return "no times in this capture"
    return f"{_time(timeline.first)} to {_time(timeline.last)} UTC, {_duration(timeline.last - timeline.first)}"


def _time(ns: int) -> str:
    """Date and time to the millisecond, or seconds if the time is outside the calendar."""
    try:
        return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%d %H:%M:%S}.{ns % 10**9 // 10**6:03d}"
    except (OverflowError, ValueError, OSError):
        return f"{ns / 1e9:.3f} s"


def _duration(ns: int) -> str:
    """A duration with four digits, in the largest unit that is not larger than it."""
    for unit, name in ((86_400 * 10**9, "d"), (3600 * 10**9, "h"), (60 * 10**9, "min"), (10**9, "s"), (10**6, "ms")):
        if ns >= unit:
            return f"{float(f'{ns / unit:.4g}'):g} {name}"
    return f"{ns / 1000:g} \u00b5s"


def _count(number: int) -> str:
    return f"{number:,}".replace(",", "\u2009")


def _facts(summary: Summary) -> list[tuple[str, str]]:
    facts = [("packets", _count(summary.packets)), ("octets", _count(summary.octets))]
    names = {"none": "no action"}
    facts += [(names.get(name, name), _count(way.packets)) for name, way in summary.by_action().items() if way.packets]
    if summary.cut:
        facts.append(("cut by the capture", _count(summary.cut)))
    if (updates := summary.updates) is not None:
        facts.append((f"binding updates, {_count(updates.accepted)} accepted", _count(updates.received)))
    if summary.damage:
        facts.append((f"damaged place{'s' * (len(summary.damage) > 1)}", _count(len(summary.damage))))
    return facts


def _script_data(start: int, width: int, counts: npt.NDArray[np.int64], first: int) -> str:
    n = counts.shape[2]
    data = {
        "n": n,
        "kinds": KINDS,
        "counts": counts.tolist(),
        "labels": [f"{_time(max(start + i * width, first))}, {_duration(width)}" for i in range(n)],
        "width": _WIDTH,
        "left": _LEFT,
        "step": (_WIDTH - _LEFT - _RIGHT) / max(n, 1),
    }
    return json.dumps(data).replace("<", "\\u003c")


def _timeline_section(
    start: int, width: int, counts: npt.NDArray[np.int64], marks: list[tuple[int, bool]], timeline: Timeline
) -> str:
    if timeline.first is None:
        return "<section><h2>Over time</h2><p>The captures have no times.</p></section>"
    used = [k for k in range(len(KINDS)) if counts[0, k].any()]
    legend = "".join(f'<li><span style="background:var(--k{k})"></span>{KINDS[k]}</li>' for k in used)
    if marks:
        legend += "<li>dashed lines: binding updates (red: not accepted)</li>"
    left_out = timeline.left_out
    times = (
        f" {_count(left_out)} packet{'s' * (left_out > 1)} of a time far from all others left out." if left_out else ""
    )
    layers = "".join(_bars(counts[w], used, w) for w in range(2))
    axes = _time_axis(start, width * counts.shape[2], timeline.first) + _marks(start, width * counts.shape[2], marks)
    described = f"Packets over time in {counts.shape[2]} spans; the tables below have the totals."
    return f"""<section><h2>Over time</h2>
<p><button data-what="0" aria-pressed="true" hidden>packets</button>
<button data-what="1" aria-pressed="false" hidden>octets</button>
<span class="hint">A span is {_duration(width)}. Point at one, or use the arrow keys.{times}</span></p>
<ul class="legend">{legend}</ul>
<svg id="timeline" class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" tabindex="0" role="img" aria-label="{described}"
 aria-describedby="readout">{layers}{axes}
<rect class="cursor" y="{_TOP}" width="{(_WIDTH - _LEFT - _RIGHT) / counts.shape[2]:.3f}"
 height="{_HEIGHT - _TOP - _BOTTOM}" visibility="hidden"/></svg>
<p id="readout" aria-live="polite" class="quiet"></p></section>"""


def _bars(counts: npt.NDArray[np.int64], used: list[int], what: int) -> str:
    """SVG of stacked bars, with one path for each kind, and of the scale on the left."""
    largest = max(int(counts.sum(axis=0).max()), 1)
    top = _nice(largest)
    n = counts.shape[1]
    step, height = (_WIDTH - _LEFT - _RIGHT) / n, _HEIGHT - _TOP - _BOTTOM
    floor = np.zeros(n)
    paths = []
    for k in used:
        pieces = []
        for i in np.flatnonzero(counts[k]).tolist():
            tall = counts[k, i] / top * height
            y = _HEIGHT - _BOTTOM - floor[i] - tall
            pieces.append(
                f"M{_LEFT + i * step:.2f} {y:.2f}h{max(step * 0.92, 0.5):.2f}v{tall:.2f}h-{max(step * 0.92, 0.5):.2f}z"
            )
            floor[i] += tall
        paths.append(f'<path fill="var(--k{k})" d="{"".join(pieces)}"/>')
    lines = []
    for part in range(5):
        y = _HEIGHT - _BOTTOM - part / 4 * height
        label = _short(top * part / 4)
        lines.append(f'<path class="axis" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    lines.append(f'<text x="{_LEFT}" y="12">{_COUNT_NAMES[what]} per span</text>')
    visible = "visible" if what == 0 else "hidden"
    return f'<g data-what="{what}" visibility="{visible}">{"".join(lines)}{"".join(paths)}</g>'


def _nice(largest: int) -> int:
    """The next number that is 1, 2, 4 or 8 times a power of ten, as quarters of it are easy to read."""
    power = 1
    while True:
        for factor in (1, 2, 4, 8):
            if factor * power >= largest:
                return max(factor * power, 4)
        power *= 10


def _short(value: float) -> str:
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g} {name}"
    return f"{value:g}"


def _time_axis(start: int, length: int, first: int) -> str:
    """Ticks at round times after the first packet; the first span may begin before that packet."""
    parts, step = [], _round_time(length / 5)
    for offset in range(0, start + length - first, step):
        x = _LEFT + (first + offset - start) / length * (_WIDTH - _LEFT - _RIGHT)
        anchor = "start" if offset == 0 else "end" if x > _WIDTH - 40 else "middle"
        label = f"+{_duration(offset)}" if offset else _time(first)
        parts.append(f'<path class="axis" d="M{x:.1f} {_HEIGHT - _BOTTOM}v5"/>')
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 12}" text-anchor="{anchor}">{label}</text>')
    return "".join(parts)


def _round_time(ns: float) -> int:
    """The next longer duration that is a round number in its unit."""
    second = 10**9
    for unit, numbers in ((second, (1, 2, 5, 10, 20, 30)), (60 * second, (1, 2, 5, 10, 20, 30)),
                          (3600 * second, (1, 2, 3, 6, 12))):  # fmt: skip
        if unit / 2 < ns <= unit * numbers[-1]:
            return next(unit * number for number in numbers if unit * number >= ns)
    unit = 86_400 * second if ns > second else 1
    while True:
        for factor in (1, 2, 5):
            if factor * unit >= ns:
                return factor * unit
        unit *= 10


def _marks(start: int, length: int, marks: list[tuple[int, bool]]) -> str:
    parts = []
    marks = [mark for mark in marks if start <= mark[0] < start + length]
    for time, accepted in marks[:_MOST_MARKS]:
        x = _LEFT + (time - start) / length * (_WIDTH - _LEFT - _RIGHT)
        words = f"binding update at {_time(time)}{'' if accepted else ', not accepted'}"
        kind = "update" if accepted else "update refused"
        parts.append(f'<path class="{kind}" d="M{x:.1f} {_TOP - 6}V{_HEIGHT - _BOTTOM}"><title>{words}</title></path>')
    if len(marks) > _MOST_MARKS:
        parts.append(f'<text x="{_WIDTH - _RIGHT}" y="12" text-anchor="end">'
                     f"the first {_MOST_MARKS} of {len(marks)} binding updates</text>")  # fmt: skip
    return "".join(parts)


def _bar(value: int, largest: int, kind: int) -> str:
    share = 100 * value / max(largest, 1)
    return (f'<td class="bar"><svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
            f'<rect width="{share:.2f}" height="8" fill="var(--k{kind})"/></svg></td>')  # fmt: skip


def _table(caption: str, headings: Sequence[tuple[str, str]], rows: Sequence[str], left_out: int) -> str:
    head = "".join(f'<th scope="col" class="{kind}">{name}</th>' for name, kind in headings)
    more = f"<p class=quiet>and {_count(left_out)} more</p>" if left_out > 0 else ""
    return (f'<div class="wide"><table><caption class="quiet">{caption}</caption><thead><tr>{head}</tr></thead>'
            f"<tbody>{''.join(rows)}</tbody></table></div>{more}")  # fmt: skip


def _reason_section(summary: Summary) -> str:
    found = [(reason, way) for reason, way in summary.by_reason().items() if way.packets]
    if not found:
        return ""
    largest = max(way.packets for _, way in found)
    rows = [
        f'<tr><td>{reason}</td><td class="n">{_count(way.packets)}</td><td class="n">{_count(way.octets)}</td>'
        f'<td class="n">{100 * way.packets / summary.packets:.1f} %</td>'
        f"{_bar(way.packets, largest, _BY_REASON.get(reason, 0))}</tr>"
        for reason, way in found
    ]
    headings = [("reason", ""), ("packets", "n"), ("octets", "n"), ("share", "n"), ("", "")]
    unread = sorted(summary.unread.items(), key=lambda item: -item[1])[:_MOST_ROWS]
    why = "".join(f"<li>{_count(packets)} because {escape(unread_words(*key))}</li>" for key, packets in unread)
    not_read = f"<p>Not read as IP:</p><ul>{why}</ul>" if why else ""
    return (
        f"<section><h2>Packets by reason</h2>{_table('What decided, or why nothing did.', headings, rows, 0)}"
        f"{not_read}</section>"
    )


def _node_section(summary: Summary) -> str:
    ways = summary.ways()
    if not ways:
        return "<section><h2>Mobile nodes and their flows</h2><p>No packet was for a mobile node.</p></section>"
    totals: dict[str, int] = {}
    for home, _, _, _, way in ways:
        totals[home] = totals.get(home, 0) + way.packets
    ways.sort(key=lambda entry: -totals[entry[0]])  # the sort is stable, so the rows of a node stay together
    largest = max(way.packets for *_, way in ways)
    rows, last = [], ""
    for home, reason, action, fid, way in ways[:_MOST_ROWS]:
        kind = _BY_ACTION[action] if reason == "flow" else _BY_REASON[reason]
        name = f"flow {fid}" if fid is not None else reason
        first = f"<code>{home}</code>" if home != last else ""
        rows.append(
            f"<tr><td>{first}</td><td>{name}</td><td>{action}</td>"
            f'<td class="n">{_count(way.packets)}</td><td class="n">{_count(way.octets)}</td>'
            f"{_bar(way.packets, largest, kind)}<td>{_addresses(way)}</td></tr>"
        )
        last = home
    headings = [("home address", ""), ("decided by", ""), ("action", ""), ("packets", "n"), ("octets", "n"), ("", ""),
                ("care-of addresses", "")]  # fmt: skip
    table = _table("The busiest node first.", headings, rows, len(ways) - _MOST_ROWS)
    return f"<section><h2>Mobile nodes and their flows</h2>{table}</section>"


def _addresses(way: FlowSummary) -> str:
    items = sorted(way.care_of.items(), key=lambda item: -item[1])
    lines = [f"<code>{address}</code>" for address, _ in items]
    if len(items) > 1:
        lines = [f'{line} <span class="n">{_count(n)}</span>' for line, (_, n) in zip(lines, items, strict=True)]
    return "<br>".join(lines)


def _never_section(agent: HomeAgent, summary: Summary) -> str:
    """The flow bindings, of those that exist at the end, that no packet matched."""
    matched = {(home, fid) for home, reason, _, fid, _ in summary.ways() if reason == "flow"}
    rows, count, flows = list[str](), 0, 0
    for node in agent.cache:
        home = address_text(node.home)
        for flow in node.ordered():
            flows += 1
            if (home, flow.fid) in matched:
                continue
            count += 1
            if len(rows) < _MOST_ROWS:
                bids = ", ".join(map(str, flow.bids))
                rows.append(f'<tr class="never"><td><code>{home}</code></td><td>flow {flow.fid}</td>'
                            f'<td class="n">{flow.priority}</td><td>{bids}</td></tr>')  # fmt: skip
    title = "<section><h2>Flow bindings that never matched</h2>"
    if not flows:
        return f"{title}<p>There are no flow bindings{' at the end' if summary.updates else ''}.</p></section>"
    if not count:
        return f"{title}<p>None: each of {_count(flows)} did.</p></section>"
    headings = [("home address", ""), ("flow binding", ""), ("PRI", "n"), ("BIDs", "")]
    return f"{title}{_table(f'{_count(count)} of {_count(flows)}.', headings, rows, count - _MOST_ROWS)}</section>"


def _care_of_section(summary: Summary) -> str:
    shares: dict[str, int] = {}
    for *_, way in summary.ways():
        for address, packets in way.care_of.items():
            shares[address] = shares.get(address, 0) + packets
    if not shares:
        return ""
    total = sum(shares.values())
    ordered = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    rows = [
        f'<tr><td><code>{address}</code></td><td class="n">{_count(packets)}</td>'
        f'<td class="n">{100 * packets / total:.1f} %</td>{_bar(packets, ordered[0][1], 0)}</tr>'
        for address, packets in ordered[:_MOST_ROWS]
    ]
    headings = [("care-of address", ""), ("packets", "n"), ("share", "n"), ("", "")]
    table = _table("Each copy of an n-cast packet counts.", headings, rows, len(ordered) - _MOST_ROWS)
    return f"<section><h2>Care-of addresses</h2>{table}</section>"


def _damage_section(summary: Summary) -> str:
    damage = summary.damage
    if not damage:
        return ""
    rows = [
        f'<tr><td><code>{escape(d.file)}</code></td><td class="n">{_count(d.offset)}</td>'
        f'<td class="n">{_count(d.frame)}</td><td class="n">{_count(d.skipped)}</td><td>{escape(d.what)}</td></tr>'
        for d in damage[:_MOST_ROWS]
    ]
    headings = [("file", ""), ("octet", "n"), ("before frame", "n"), ("octets skipped", "n"), ("what", "")]
    table = _table(
        "Everything before and after these places is in this page.", headings, rows, len(damage) - _MOST_ROWS
    )
    return f"<section><h2>Damaged places</h2>{table}</section>"
