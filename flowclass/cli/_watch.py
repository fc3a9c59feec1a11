"""The live view of ``flowclass ctl watch``: one screen that shows the state of a running home agent."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from flowclass.agent.control import Asker

from ._console import count_text, counted, make_console

__all__ = ["View", "watch_agent"]

_BARS: Final = " ▁▂▃▄▅▆▇█"
_HISTORY: Final = 60
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
                live.update(view.screen(console.height), refresh=True)
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

    def screen(self, height: int) -> RenderableType:
        layout = Layout()
        layout.split_column(Layout(self._head(), size=7), Layout(name="middle", ratio=3), Layout(name="low", ratio=2))
        rows = max(3, int((height - 7) * 0.6) - 5)
        layout["middle"].split_row(Layout(self._nodes(rows), ratio=3), Layout(self._flows(rows), ratio=2))
        layout["low"].split_row(Layout(self._reasons(), ratio=2), Layout(self._events(max(3, height // 3)), ratio=3))
        return layout

    def _head(self) -> Panel:
        status, nodes = self.answers["status"], self.answers["counters"]["nodes"]
        line = Text.assemble(
            (status["home_agent"], "bold"), f"   profile {status['profile']}   up {_since(status['uptime'])}   ",
            counted(nodes, "mobile node"), "   ", ("drained", "yellow") if status["drained"] else "",
        )  # fmt: skip
        store = status["store"] or "none: bindings are in memory only"
        table = Table.grid(padding=(0, 2))
        for name, values, unit in (
            ("packets", self.packets, "packets/s"), ("octets", self.bits, "bit/s"), ("updates", self.updates, "/s"),
        ):  # fmt: skip
            table.add_row(name, Text(_rate(values[-1] if values else 0.0, unit), style="bold"), _spark(values))
        return Panel(Group(line, Text(f"store {store}", style="dim"), table), title="flowclass", title_align="left")

    def _nodes(self, rows: int) -> Panel:
        table = Table(expand=True, box=None, pad_edge=False)
        for heading in ("home address", "care-of addresses"):
            table.add_column(heading, no_wrap=True, overflow="ellipsis")
        for heading in ("left", "flows", "rate"):
            table.add_column(heading, justify="right", no_wrap=True)
        nodes = sorted(self.answers["nodes"]["nodes"], key=lambda node: -self._of(node["home_address"])[1])
        for node in nodes[:rows]:
            where = Text()
            left = None
            for entry in node["care_of"]:
                default = entry["bid"] == node["default_bid"]
                where.append(f"{entry['bid']} {entry['address']}  ", style="bold green" if default else "")
                if entry["left"] is not None:
                    left = entry["left"] if left is None else min(left, entry["left"])
            style = "red" if left is not None and left < 10 else ""
            table.add_row(
                node["home_address"], where, Text("" if left is None else _since(left), style=style),
                str(node["flows"]), _rate(self._of(node["home_address"])[1], "bit/s"),
            )  # fmt: skip
        more = f" and {count_text(len(nodes) - rows)} more" if len(nodes) > rows else ""
        return Panel(table, title=f"mobile nodes{more} (default in green)", title_align="left")

    def _of(self, home: str) -> tuple[float, float]:
        found = [rate for key, rate in self._rates.items() if len(key) == 3 and key[0] == home]
        return sum(packets for packets, _ in found), sum(bits for _, bits in found)

    def _flows(self, rows: int) -> Panel:
        table = Table(expand=True, box=None, pad_edge=False)
        table.add_column("flow", no_wrap=True, overflow="ellipsis")
        table.add_column("", no_wrap=True)
        table.add_column("rate", justify="right", no_wrap=True)
        flows = sorted(((key, rate) for key, rate in self._rates.items() if len(key) == 3), key=lambda f: -f[1][1])
        top = flows[0][1][1] if flows else 0.0
        for (home, kind, fid), (_, bits) in flows[:rows]:
            name = f"{home} {kind if fid is None else f'flow {fid}'}"
            table.add_row(name, _bar(bits / top if top else 0.0), _rate(bits, "bit/s"))
        return Panel(table, title="flows", title_align="left")

    def _reasons(self) -> Panel:
        counters = self.answers["counters"]
        table = Table(expand=True, box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True)
        for kind, packets in counters["forwarding"]["packets"].items():
            if packets:
                table.add_row(f"packets: {kind}", count_text(packets))
        for reason, packets in counters["forwarding"]["drops"].items():
            table.add_row(Text(f"dropped: {reason}", style="yellow"), count_text(packets))
        for status, number in counters["updates"]["updates"].items():
            style = "yellow" if int(status) >= 128 else ""
            table.add_row(Text(f"updates answered with {status}", style=style), count_text(number))
        for reason, number in counters["updates"]["ignored"].items():
            table.add_row(Text(f"ignored: {reason}", style="yellow"), count_text(number))
        return Panel(table, title="counters", title_align="left")

    def _events(self, rows: int) -> Panel:
        lines = []
        for event in self.answers["events"]["events"][-rows:]:
            rest = " ".join(f"{k} {v}" for k, v in event.items() if k not in ("time", "level", "message"))
            style = _STYLES.get(event["level"], "")
            lines.append(Text.assemble((event["time"][11:19], "dim"), " ", (event["message"], style), " ", rest,
                                       no_wrap=True, overflow="ellipsis"))  # fmt: skip
        return Panel(Group(*lines), title="events", title_align="left")
