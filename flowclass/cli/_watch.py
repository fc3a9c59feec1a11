"""The live view of ``flowclass ctl watch``: one screen that shows the state of a running home agent."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from flowclass.agent.control import Asker
from flowclass.wire.numbers import REFUSED

from ._console import count_text, counted, make_console

__all__ = ["View", "watch_agent"]

_BARS: Final = " ▁▂▃▄▅▆▇█"
_HISTORY: Final = 60
_HEAD: Final = 7  # rows
_WIDE: Final = 110  # columns, from which on two tables stand side by side;
_ROOMY: Final = 72  # .. from which on one has all of its columns
_WITH_BARS: Final = 50
_STYLES: Final = {"warning": "yellow", "error": "bold red"}
_KINDS: Final = ("flow", "n-cast", "default", "discard", "reverse")


def watch_agent(path: str, interval: float, count: int | None) -> None:
    """Shows the agent at the socket ``path`` every ``interval`` seconds, ``count`` times or until interrupted."""
    asker = Asker(path)
    view = View()
    console = make_console()
    try:
        with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
            looks = 0
            while True:
                answers = {name: asker.ask(name) for name in ("status", "nodes", "counters", "events")}
                view.look(answers, time.monotonic())
                live.update(view.screen(console.width, console.height), refresh=True)
                looks += 1
                if looks == count:
                    return
                time.sleep(interval)
    except KeyboardInterrupt:
        return
    finally:
        asker.close()


def _rate(value: float, unit: str) -> str:
    """A rate with its unit and a short prefix: 1234567 per second as 1.2 M."""
    for limit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.1f} {prefix}{unit}"
    return f"{value:.0f} {unit}"


def _bar(share: float, width: int = 12) -> Text:
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    full, rest = divmod(eighths, 8)
    text = "█" * full + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")
    return Text(text.ljust(width), style="green")


def _spark(values: deque[float]) -> Text:
    top = max(values, default=0.0) or 1.0
    return Text("".join(_BARS[min(8, int(8 * value / top + 0.5))] for value in values), style="cyan")


def _since(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"


class View:
    """The state of the view: `look` takes answers of the agent, `screen` draws them.

    Earlier answers are remembered, as rates are computed from differences.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.packets: deque[float] = deque(maxlen=_HISTORY)
        self.bits: deque[float] = deque(maxlen=_HISTORY)
        self.updates: deque[float] = deque(maxlen=_HISTORY)
        self._rates: dict[tuple[Any, ...], tuple[float, float]] = {}
        self._before: dict[tuple[Any, ...], tuple[int, int]] = {}
        self._updates = 0
        self._at: float | None = None

    def look(self, answers: dict[str, Any], now: float) -> None:
        forwarding = answers["counters"]["forwarding"]
        totals: dict[tuple[Any, ...], tuple[int, int]] = {
            (kind,): (forwarding["packets"].get(kind, 0), forwarding["octets"].get(kind, 0)) for kind in _KINDS
        }
        for row in forwarding["flows"]:
            totals[row["home_address"], row["kind"], row["fid"]] = (row["packets"], row["octets"])
        updates = sum(answers["counters"]["updates"]["updates"].values())
        if self._at is not None and now > self._at:
            seconds = now - self._at
            self._rates = {
                key: (
                    max(packets - self._before.get(key, (0, 0))[0], 0) / seconds,
                    8 * max(octets - self._before.get(key, (0, 0))[1], 0) / seconds,
                )
                for key, (packets, octets) in totals.items()
            }
            self.packets.append(sum(self._rates[kind,][0] for kind in _KINDS))
            self.bits.append(sum(self._rates[kind,][1] for kind in _KINDS))
            self.updates.append(max(updates - self._updates, 0) / seconds)
        self.answers, self._before, self._updates, self._at = answers, totals, updates, now

    # ---- drawing

    def screen(self, width: int, height: int) -> RenderableType:
        """The view for a terminal of so many columns and rows; in a narrow one flows are below nodes."""
        layout = Layout()
        rest = max(height - _HEAD, 12)
        low = Layout(name="low")
        if width >= _WIDE:
            rows, left = round(rest * 0.6), width * 3 // 5
            middle = Layout(name="middle", size=rows)
            middle.split_row(Layout(self._nodes(left, rows), size=left), Layout(self._flows(width - left, rows)))
            parts = [middle]
        else:
            rows = max(rest // 3, 5)
            parts = [Layout(self._nodes(width, rows), size=rows), Layout(self._flows(width, rows), size=rows)]
        rows = rest - sum(part.size or 0 for part in parts)
        left = width * 2 // 5
        low.split_row(Layout(self._reasons(left, rows), size=left), Layout(self._events(width - left, rows)))
        layout.split_column(Layout(self._head(width), size=_HEAD), *parts, low)
        return layout

    def _head(self, width: int) -> Panel:
        status, nodes = self.answers["status"], self.answers["counters"]["nodes"]
        line = Text.assemble(
            (status["home_agent"], "bold"), f"   up {_since(status['uptime'])}   ", counted(nodes, "mobile node"),
            "   drained" if status["drained"] else "", f"   profile {status['profile']}",
            no_wrap=True, overflow="ellipsis",
        )  # fmt: skip
        line.highlight_words(["drained"], "yellow")
        store = f"store {status['store'] or 'none: bindings are in memory only'}"
        table = Table.grid(padding=(0, 2))
        room = max(width - 4 - len("packets  999.9 Mpackets/s  "), 1)
        for name, values, unit in (
            ("packets", self.packets, "packets/s"), ("octets", self.bits, "bit/s"), ("updates", self.updates, "/s"),
        ):  # fmt: skip
            rate = Text(_rate(values[-1] if values else 0.0, unit), style="bold")
            table.add_row(name, rate, _spark(values)[-room:])
        body = Group(line, Text(_short(store, width - 4), style="dim"), table)
        return Panel(body, title="flowclass", title_align="left")

    def _nodes(self, width: int, rows: int) -> Panel:
        nodes = sorted(self.answers["nodes"]["nodes"], key=lambda node: -self._of(node["home_address"])[1])
        lines = []
        for node in nodes[: rows - 3]:
            where = Text()
            left = None
            for entry in sorted(node["care_of"], key=lambda entry: entry["bid"] != node["default_bid"]):
                default = entry["bid"] == node["default_bid"]
                where.append(f"{entry['bid']} {entry['address']}  ", style="bold green" if default else "")
                if entry["left"] is not None:
                    left = entry["left"] if left is None else min(left, entry["left"])
            style = "red" if left is not None and left < 10 else ""
            line = [node["home_address"], where, _rate(self._of(node["home_address"])[1], "bit/s")]
            if width >= _ROOMY:
                line[2:2] = [Text("" if left is None else _since(left), style=style), str(node["flows"])]
            lines.append(line)
        headings = ["home address", "care-of addresses", *(["left", "flows"] if width >= _ROOMY else []), "rate"]
        more = f", the busiest {len(lines)} of {count_text(len(nodes))}" if len(nodes) > len(lines) else ""
        table = _table(headings, lines, width - 4, wide=2)
        return Panel(table, title=f"mobile nodes{more} (default in green)", title_align="left")

    def _of(self, home: str) -> tuple[float, float]:
        found = [rate for key, rate in self._rates.items() if len(key) == 3 and key[0] == home]
        return sum(packets for packets, _ in found), sum(bits for _, bits in found)

    def _flows(self, width: int, rows: int) -> Panel:
        flows = sorted(((key, rate) for key, rate in self._rates.items() if len(key) == 3), key=lambda f: -f[1][1])
        top = flows[0][1][1] if flows else 0.0
        lines: list[list[str | Text]] = []
        for (home, kind, fid), (_, bits) in flows[: rows - 3]:
            line: list[str | Text] = [home, kind if fid is None else f"flow {fid}", _rate(bits, "bit/s")]
            if width >= _WITH_BARS:
                line.insert(2, _bar(bits / top if top else 0.0))
            lines.append(line)
        headings = ["home address", "by", *([""] if width >= _WITH_BARS else []), "rate"]
        return Panel(_table(headings, lines, width - 4), title="flows", title_align="left")

    def _reasons(self, width: int, rows: int) -> Panel:
        counters = self.answers["counters"]
        plain: list[list[str | Text]] = []
        odd: list[list[str | Text]] = []
        for kind, packets in counters["forwarding"]["packets"].items():
            if packets:
                plain.append([kind if width < _WITH_BARS // 2 else f"packets: {kind}", count_text(packets)])
        for reason, packets in counters["forwarding"]["drops"].items():
            odd.append([Text(f"dropped: {reason}", style="yellow"), count_text(packets)])
        for status, number in counters["updates"]["updates"].items():
            if int(status) >= REFUSED:
                odd.append([Text(f"updates: {status}", style="yellow"), count_text(number)])
            else:
                plain.append([f"updates: {status}", count_text(number)])
        for reason, number in counters["updates"]["ignored"].items():
            odd.append([Text(f"ignored: {reason}", style="yellow"), count_text(number)])
        lines = plain + odd if len(plain) + len(odd) <= rows - 2 else odd + plain
        return Panel(_table([], lines, width - 4), title="counters", title_align="left")

    def _events(self, width: int, rows: int) -> Panel:
        lines = []
        for event in self.answers["events"]["events"][-(rows - 2) :]:
            room = 39 if width >= _ROOMY else 16  # of an address
            rest = " ".join(
                f"{k} {_short(str(v), room)}" for k, v in event.items() if k not in ("time", "level", "message")
            )
            style = _STYLES.get(event["level"], "")
            lines.append(Text.assemble((event["time"][11:19], "dim"), " ", (event["message"], style), " ", rest,
                                       no_wrap=True, overflow="ellipsis"))  # fmt: skip
        return Panel(Group(*lines), title="events", title_align="left")


def _short(text: str, room: int) -> str:
    """A text without its middle if it is too long: of an address, both ends tell it from others."""
    if len(text) <= room:
        return text
    head = max(room - 1, 0) // 2
    return f"{text[:head]}…{text[len(text) - max(room - 1 - head, 0) :]}"


def _table(headings: list[str], lines: Sequence[Sequence[str | Text]], room: int, wide: int = 1) -> Table:
    """A table of so many columns of the terminal: the last columns have what they need, the first ``wide`` the rest."""
    columns = len(headings) or max(map(len, lines), default=0)
    cells = [headings, *lines] if headings else lines
    needed = [max((len(line[i]) for line in cells), default=0) for i in range(columns)]
    rest = room - sum(needed[wide:]) - 2 * (columns - 1)
    widths = [min(needed[0], rest if wide == 1 else rest * 2 // 5), *needed[1:]]
    if wide == 2:
        widths[1] = rest - widths[0]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(headings))
    for i in range(columns):
        heading = headings[i] if headings else ""
        right = i >= wide and (i == columns - 1 or heading in ("left", "flows"))
        table.add_column(heading, justify="right" if right else "left", no_wrap=True, overflow="ellipsis",
                         width=max(widths[i], 1))  # fmt: skip
    for line in lines:
        first = line[0] if isinstance(line[0], Text) else _short(line[0], widths[0])
        table.add_row(first, *line[1:])
    return table
