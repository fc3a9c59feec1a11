"""Makes one HTML page about traces: what went where and when, with pictures. It loads nothing from a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from ipaddress import ip_address
from string import Template
from typing import Any

from flowclass import __version__
from flowclass.addresses import address_text
from flowclass.mobility import HomeAgent
from flowclass.mobility.cache.events import Event, EventKind
from flowclass.mobility.cache.node import Flow
from flowclass.wire import BINDING_STATUS, get_profile

from .chart import chart, chart_data, count_text, duration_text, legend, time_text
from .outcomes import RowValues
from .replaying import replay
from .run import Run, Source
from .summary import FlowSummary, Summary
from .timeline import Timeline, kind_of
from .unread import unread_words

__all__ = ["make_report"]

_MOST_ROWS = 1000  # per table, as a page should stay well under a megabyte
_FEW_NODES = 10  # up to so many, every decision is shown at once


_Way = tuple[str, str, int | None, FlowSummary]  # reason, action, FID, counts


def make_report(
    agent: HomeAgent,
    sources: Sequence[Source],
    *,
    updates: bool,
    inner: int = 0,
    bindings: str = "",
    command: str = "",
    **how: Any,
) -> tuple[str, Summary]:
    """Returns the HTML page about traces, and their summary.

    With ``updates``, binding updates in the traces change the bindings. ``bindings`` and ``command`` say where the
    bindings came from and how the page was asked for, in words for the page. ``how`` are further arguments of `Run`.
    """
    timeline, flows = Timeline(), _Flows(agent)
    run = Run(agent, observers=[timeline.add], inner=inner, updated=timeline.add_update, **how)
    if updates:
        with flows.follow():
            summary = replay(run, sources)
    else:
        summary = run.classify(sources)
    made = {
        "made by": f"flowclass {__version__}",
        "command": command,
        "bindings": bindings,
        "binding updates": f"replayed, profile {agent.profile.name}" if updates else "not looked at",
    }
    return _page(summary, timeline, flows, made), summary


class _Flows:
    """The flow bindings that exist, and those that existed while `follow` was in force."""

    def __init__(self, agent: HomeAgent) -> None:
        self._cache = agent.cache
        self._seen: dict[tuple[bytes, int], Flow] = {}

    @contextmanager
    def follow(self) -> Iterator[None]:
        """Notes the flow bindings that binding updates make, and those that they may take away."""
        self._seen = {(home, flow.fid): flow for home, flow in self._present()}
        before = self._cache.listener

        def hear(event: Event) -> None:
            if before is not None:
                before(event)
            if event.kind in (EventKind.FLOW_ADDED, EventKind.FLOW_CHANGED):
                node = self._cache.get(event.home)
                if node is not None and event.number in node.flows:
                    self._seen[event.home, event.number] = node.flows[event.number]

        self._cache.listener = hear
        try:
            yield
        finally:
            self._cache.listener = before

    def _present(self) -> Iterator[tuple[bytes, Flow]]:
        for node in self._cache:
            for flow in node.ordered():
                yield node.home, flow

    def __iter__(self) -> Iterator[tuple[bytes, Flow, bool]]:
        """Yields (packed home address, flow binding, whether it is in force now)."""
        for home, flow in self._present():
            yield home, flow, True
        for (home, fid), flow in self._seen.items():
            node = self._cache.get(home)
            if node is None or fid not in node.flows:
                yield home, flow, False


def _page(summary: Summary, timeline: Timeline, flows: _Flows, made: dict[str, str]) -> str:
    names = [file.file for file in summary.files]
    title = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    spans = timeline.spans()
    body = [
        _timeline_section(summary, timeline),
        _reason_section(summary),
        _updates_section(summary),
        _node_section(summary),
        _never_section(summary, flows),
        _care_of_section(summary),
        _damage_section(summary),
        _origin_section(summary, made),
    ]
    template = Template(files("flowclass.traces").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title),
        subtitle=escape(_subtitle(timeline)),
        facts="".join(f"<li><b>{value}</b> {escape(name)}</li>" for name, value in _facts(summary)),
        body="\n".join(filter(None, body)),
        data=chart_data(spans, timeline.first or 0),
    )


def _subtitle(timeline: Timeline) -> str:
    if timeline.first is None or timeline.last is None:
        return "no packet with a time"
    first, last = timeline.first, timeline.last
    return f"{time_text(first)} to {time_text(last)} UTC, {duration_text(last - first)}"


def _facts(summary: Summary) -> list[tuple[str, str]]:
    facts = [("packets", count_text(summary.packets)), ("octets", count_text(summary.octets))]
    names = {"none": "no action"}
    facts += [
        (names.get(name, name), count_text(way.packets)) for name, way in summary.by_action().items() if way.packets
    ]
    if summary.cut:
        facts.append(("cut by the capture", count_text(summary.cut)))
    if (updates := summary.updates) is not None:
        facts.append((f"binding updates, {count_text(updates.accepted)} accepted", count_text(updates.received)))
    if summary.damage:
        facts.append((f"damaged place{'s' * (len(summary.damage) > 1)}", count_text(len(summary.damage))))
    return facts


# ---- tables


@dataclass(frozen=True, slots=True)
class _Cell:
    """A cell of a table: its HTML, and what it is sorted by if that isn't its text."""

    html: str
    key: str = ""


def _address_cell(address: str) -> _Cell:
    return _Cell(f"<code>{address}</code>", ip_address(address).packed.hex())


def _bar_cell(largest: int, *parts: tuple[int, int]) -> _Cell:
    """A bar of (value, kind) pieces, which is as long as the cell if the values add up to ``largest``."""
    unit = 100 / max(largest, 1)
    pieces = (f'<i style="width:{value * unit:.1f}%;background:var(--k{kind})"></i>' for value, kind in parts)
    return _Cell("".join(pieces))


def _row(cells: Sequence[_Cell | str], kinds: Sequence[str], name: str = "") -> str:
    parts = []
    for cell, kind in zip(cells, kinds, strict=True):
        html, key = (cell.html, cell.key) if isinstance(cell, _Cell) else (cell, "")
        marks = f"{f' class={kind}' if kind else ''}{f' data-v={key}' if key else ''}"
        parts.append(f"<td{marks}>{html}</td>")
    return f"<tr{f' class={name}' if name else ''}>{''.join(parts)}</tr>"


def _table(
    name: str,
    caption: str,
    headings: Sequence[tuple[str, str]],
    groups: Sequence[str],
    *,
    of: str,
    cards: bool = True,
    left_out: int = 0,
    sorted_by: int = -1,
) -> str:
    """A table that can be sorted and, if it is long, filtered.

    Each of ``groups`` is the HTML of rows that stay together. ``headings`` are (text, class of the column). ``of`` says
    what the rows are. With ``cards``, narrow screens show each row as a card whose lines bear the headings. The table
    is already sorted by the column ``sorted_by``, largest first.
    """
    head = "".join(
        f'<th scope="col" class="{kind}"{" aria-sort=descending" if i == sorted_by else ""}>{text}</th>'
        for i, (text, kind) in enumerate(headings)
    )
    labels = "".join(
        f'#{name} td:nth-child({i}):not(:empty)::before{{content:"{text}"}}' for i, (text, _) in enumerate(headings, 1)
    )
    style = f"<style>@media screen and (max-width:52rem){{{labels}}}</style>" if cards else ""
    more = (
        f"<p class=quiet>and {count_text(left_out)} more {of}, which the JSON summary has</p>" if left_out > 0 else ""
    )
    bodies = "".join(f"<tbody>{rows}</tbody>" for rows in groups)
    return (
        f'{style}<table id="{name}"{" class=cards" * cards} data-of="{of}"><caption class="quiet">{caption}</caption>'
        f"<thead><tr>{head}</tr></thead>{bodies}</table>{more}"
    )


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{title}</h2>{''.join(parts)}</section>"


def _paragraph(text: str) -> str:
    return f"<p>{text}</p>"


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


# ---- sections


def _timeline_section(summary: Summary, timeline: Timeline) -> str:
    if not summary.packets:
        return _section("Over time", _paragraph("There are no packets."))
    if timeline.first is None or timeline.last is None:
        return _section("Over time", _paragraph("No packet has a time: there is nothing to draw."))
    spans = timeline.spans()
    left_out = timeline.left_out
    far = (
        f" {count_text(left_out)} packet{'s' * (left_out > 1)} of a time far from all others left out."
        if left_out
        else ""
    )
    return _section(
        "Over time",
        '<p class="choice"><button data-what="packets" aria-pressed="true" hidden>packets</button> '
        '<button data-what="octets" aria-pressed="false" hidden>octets</button> '
        f'<span class="hint">Times are UTC. Point at the bars, or use the arrow keys.{far}</span></p>',
        legend(spans),
        chart(spans, timeline.first, timeline.last, updates=summary.updates is not None),
        '<p id="readout" aria-live="polite" class="quiet"></p>',
    )


def _reason_section(summary: Summary) -> str:
    found = [(reason, way) for reason, way in summary.by_reason().items() if way.packets]
    if not found:
        return ""
    found.sort(key=lambda item: -item[1].packets)
    headings = [("reason", ""), ("packets", "n"), ("octets", "n"), ("share", "n"), ("", "bars")]
    kinds = [kind for _, kind in headings]
    rows = [
        _row(
            (
                reason,
                count_text(way.packets),
                count_text(way.octets),
                f"{100 * way.packets / summary.packets:.1f} %",
                _bar_cell(found[0][1].packets, (way.packets, kind_of(RowValues("forward", reason)))),
            ),
            kinds,
        )
        for reason, way in found
    ]
    table = _table(
        "reasons", "What decided, or why nothing did.", headings, rows, of="reasons", cards=False, sorted_by=1
    )
    unread = sorted(summary.unread.items(), key=lambda item: -item[1])[:_MOST_ROWS]
    why = _list(f"{count_text(packets)} because {escape(unread_words(*key))}" for key, packets in unread)
    return _section("Packets by reason", table, f"<p>Not read as IP:</p>{why}" if unread else "")


def _updates_section(summary: Summary) -> str:
    updates = summary.updates
    if updates is None:
        return ""
    if not updates.received and not updates.unread:
        return _section("Binding updates", _paragraph("No binding update was found."))
    names = get_profile(updates.profile).status.names
    headings = [("of", ""), ("status", "n"), ("meaning", ""), ("count", "n")]
    kinds = [kind for _, kind in headings]
    rows = [
        _row((of, str(status), escape(texts.get(status, "unknown")), count_text(number)), kinds)
        for of, statuses, texts in (
            ("update", updates.statuses, BINDING_STATUS),
            ("flow option", updates.flow_statuses, names),
        )
        for status, number in statuses.items()
    ]
    caption = (
        f"{count_text(updates.received)} received: {count_text(updates.accepted)} accepted, "
        f"{count_text(updates.rejected)} rejected, {count_text(updates.ignored)} ignored. "
        "A status from 128 on refuses."
    )
    table = _table("statuses", caption, headings, rows, of="statuses", cards=False) if rows else _paragraph(caption)
    unread = _list(f"{count_text(packets)} {escape(why)}" for why, packets in sorted(updates.unread.items()))
    return _section(
        "Binding updates", table, f"<p>Signalling that could not be read:</p>{unread}" if updates.unread else ""
    )


def _node_section(summary: Summary) -> str:
    title = "Mobile nodes and their flows"
    nodes: dict[str, list[_Way]] = {}
    for home, reason, action, fid, way in summary.ways():
        nodes.setdefault(home, []).append((reason, action, fid, way))
    if not nodes:
        return _section(title, _paragraph(_nothing_bound(summary)))
    totals = {home: sum(way.packets for *_, way in ways) for home, ways in nodes.items()}
    order = sorted(nodes, key=lambda home: -totals[home])
    largest = totals[order[0]]
    headings = [("home address", ""), ("decided by", ""), ("action", ""), ("packets", "n"), ("octets", "n"),
                ("", "bars"), ("care-of addresses", "")]  # fmt: skip
    kinds = [kind for _, kind in headings]
    groups, shown = list[str](), 0
    for home in order:
        if groups and shown + len(nodes[home]) >= _MOST_ROWS:
            break
        groups.append("".join(_row(cells, kinds, name) for cells, name in _node_rows(home, nodes[home], largest)))
        shown += len(nodes[home]) + 1
    fold = "" if len(nodes) <= _FEW_NODES else " data-fold"
    caption = f"{count_text(len(nodes))} node{'s' * (len(nodes) > 1)}, the busiest first."
    table = _table("nodes", caption, headings, groups, of="nodes", left_out=len(nodes) - len(groups), sorted_by=3)
    return _section(title, table.replace('<table id="nodes"', f'<table id="nodes"{fold}', 1))


def _node_rows(home: str, ways: Sequence[_Way], largest: int) -> Iterator[tuple[list[_Cell | str], str]]:
    """The rows of one node, each with its class: first the total, if the node has several decisions."""
    several = len(ways) > 1
    bars = [(way.packets, kind_of(RowValues(action, reason))) for reason, action, _, way in ways]
    if several:
        packets, octets = (sum(getattr(way, name) for *_, way in ways) for name in ("packets", "octets"))
        addresses = len({address for *_, way in ways for address in way.care_of})
        yield (
            [
                _address_cell(home),
                f"{len(ways)} decisions",
                "",
                count_text(packets),
                count_text(octets),
                _bar_cell(largest, *bars),
                f"{addresses} address{'es' * (addresses > 1)}" if addresses else "",
            ],
            "total",
        )
    for (reason, action, fid, way), bar in zip(ways, bars, strict=True):
        yield (
            [
                "" if several else _address_cell(home),
                f"flow {fid}" if fid is not None else reason,
                action,
                count_text(way.packets),
                count_text(way.octets),
                _bar_cell(largest, bar),
                _care_of_lines(way),
            ],
            "part" if several else "",
        )


def _nothing_bound(summary: Summary) -> str:
    """Why no packet was for a mobile node."""
    if not summary.packets:
        return "There are no packets."
    updates = summary.updates
    if updates is not None and not updates.accepted:
        found = (
            f"none of {count_text(updates.received)} binding updates was"
            if updates.received
            else "there were none to be"
        )
        return f"No packet was for a mobile node: {found} accepted."
    return "No packet was for a mobile node: no destination is one of the home addresses or mobile network prefixes."


def _care_of_lines(way: FlowSummary) -> str:
    items = sorted(way.care_of.items(), key=lambda item: -item[1])
    if len(items) == 1:
        return f"<code>{items[0][0]}</code>"
    return "".join(
        f'<span class="pair"><code>{address}</code> <span class="n">{count_text(n)}\u00a0packets</span></span>'
        for address, n in items
    )


def _never_section(summary: Summary, flows: _Flows) -> str:
    """The flow bindings of any time that no packet matched."""
    title = "Flow bindings that never matched"
    matched = {(home, fid) for home, reason, _, fid, _ in summary.ways() if reason == "flow"}
    found, never, rows = 0, 0, list[str]()
    replayed = summary.updates is not None
    headings = [("home address", ""), ("flow binding", ""), ("PRI", "n"), ("BIDs", "")]
    headings += [("at the end", "")] * replayed
    kinds = [kind for _, kind in headings]
    for packed, flow, in_force in flows:
        found += 1
        home = address_text(packed)
        if (home, flow.fid) in matched:
            continue
        never += 1
        if len(rows) < _MOST_ROWS:
            bids = ", ".join(map(str, flow.bids))
            cells: list[_Cell | str] = [_address_cell(home), f"flow {flow.fid}", str(flow.priority), bids]
            cells += ["in force" if in_force else "gone"] * replayed
            rows.append(_row(cells, kinds))
    if not never:
        none = f"None: each of {count_text(found)} did." if found else "There were no flow bindings."
        return _section(title, _paragraph(none))
    caption = f"{count_text(never)} of {count_text(found)}{', those no longer in force included' * replayed}."
    return _section(title, _table("never", caption, headings, rows, of="flow bindings", left_out=never - len(rows)))


def _care_of_section(summary: Summary) -> str:
    shares: dict[str, int] = {}
    for *_, way in summary.ways():
        for address, packets in way.care_of.items():
            shares[address] = shares.get(address, 0) + packets
    if not shares:
        return ""
    total = sum(shares.values())
    ordered = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    headings = [("care-of address", ""), ("packets", "n"), ("share", "n"), ("", "bars")]
    kinds = [kind for _, kind in headings]
    rows = [
        _row(
            (
                _address_cell(address),
                count_text(packets),
                f"{100 * packets / total:.1f} %",
                _bar_cell(ordered[0][1], (packets, 0)),
            ),
            kinds,
        )
        for address, packets in ordered[:_MOST_ROWS]
    ]
    caption = f"{count_text(len(shares))} in all. Each copy of an n-cast packet counts."
    return _section("Care-of addresses", _table(
        "care-of", caption, headings, rows, of="care-of addresses", left_out=len(ordered) - len(rows), sorted_by=1
    ))  # fmt: skip


def _damage_section(summary: Summary) -> str:
    damage = summary.damage
    if not damage:
        return ""
    headings = [("file", ""), ("octet", "n"), ("before frame", "n"), ("octets skipped", "n"), ("what", "")]
    kinds = [kind for _, kind in headings]
    rows = [
        _row(
            (f"<code>{escape(d.file)}</code>", *map(count_text, (d.offset, d.frame, d.skipped)), escape(d.what)), kinds
        )
        for d in damage[:_MOST_ROWS]
    ]
    more = sum(file.damage.more for file in summary.files) + len(damage) - len(rows)
    caption = "Everything before and after these places is in this page."
    return _section("Damaged places", _table("damage", caption, headings, rows, of="places", left_out=more))


def _origin_section(summary: Summary, made: dict[str, str]) -> str:
    facts = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in made.items() if value)
    headings = [("file", ""), ("packets", "n"), ("octets", "n"), ("damaged places", "n"), ("", "")]
    kinds = [kind for _, kind in headings]
    rows = [
        _row(
            (
                f"<code>{escape(file.file)}</code>",
                count_text(file.packets),
                count_text(file.octets),
                count_text(file.damage.found),
                escape(file.error or ""),
            ),
            kinds,
        )
        for file in summary.files[:_MOST_ROWS]
    ]
    table = _table("files", "What was read.", headings, rows, of="files", left_out=len(summary.files) - len(rows))
    return _section("How this page was made", f"<dl>{facts}</dl>", table)
