"""The live view of `flowclass ctl watch`, drawn for terminals of many sizes."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from flowclass.cli._watch import View

HOMES = ["2001:db8:100::5", "2001:db8:100:0:a1b2:c3d4:e5f6:7", "2001:db8:100:0:a1b2:c3d4:e5f6:8", "198.51.100.9"]


def answers(packets: int, homes: list[str]) -> dict[str, Any]:
    care_of = [{"bid": bid, "address": f"2001:db8:{bid}::2", "left": 40000.0, "priority": bid} for bid in (1, 2)]
    rows = [
        {"home_address": h, "kind": "flow", "fid": 1001, "packets": packets, "octets": packets * 100} for h in homes
    ]
    return {
        "status": {"home_agent": "2001:db8:100::1", "profile": "draft", "uptime": 4000.0, "store": None,
                   "drained": True},
        "nodes": {"nodes": [{"home_address": h, "care_of": care_of, "default_bid": 2, "flows": 3} for h in homes]},
        "counters": {
            "nodes": len(homes),
            "forwarding": {"packets": {"flow": packets}, "octets": {"flow": packets * 100}, "drops": {"unbound": 12},
                           "flows": rows},
            "updates": {"updates": {"0": 7, "133": 2}, "ignored": {"rate limit": 3}},
        },
        "events": {"events": [{"time": "2026-11-27T10:11:12.000Z", "level": "info", "message": "node-added",
                               "home": h} for h in homes]},
    }  # fmt: skip


def drawn(width: int, height: int, homes: list[str]) -> list[str]:
    view = View()
    for now in range(3):
        view.look(answers(12345 * now, homes), float(now))
    console = Console(file=io.StringIO(), width=width, height=height, record=True)
    console.print(view.screen(width, height), height=height)
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 109, 110, 140, 250])
@pytest.mark.parametrize("height", [20, 24, 50])
def test_numbers_are_whole_at_any_size_and_nothing_is_wider_than_the_terminal(width: int, height: int) -> None:
    lines = drawn(width, height, HOMES)
    assert max(map(len, lines)) <= width
    assert not [line for line in lines if "it/s" in line and not re.search(r"\d [kMG]?bit/s", line)]
    text = "\n".join(lines)
    assert re.search(r"flow 1001 .*9\.9 Mbit/s", text)


def test_the_ends_of_an_address_that_is_too_long_tell_it_from_others() -> None:
    lines = drawn(80, 40, HOMES)
    for home in HOMES:
        assert [line for line in lines if home[:6] in line and home[-6:] in line and "1:06:40" not in line]


def test_an_agent_without_nodes_and_one_with_more_than_there_is_room_for() -> None:
    assert "0 mobile nodes" in "\n".join(drawn(80, 24, []))
    many = [f"2001:db8:100::{i:x}" for i in range(1, 200)]
    assert re.search(r"the busiest \d+ of 199", "\n".join(drawn(120, 30, many)))
