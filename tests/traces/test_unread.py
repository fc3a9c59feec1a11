"""A packet that is not read is told apart from one that is no IP: which link type, EtherType or limit it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import flowclass as fc
from flowclass.generate.captures import Frame, write_pcap
from flowclass.traces.run import Run
from flowclass.traces.summary import Summary
from flowclass.traces.unread import unread_words

MACS = bytes(12)
ARP, UNKNOWN = MACS + b"\x08\x06" + bytes(46), MACS + b"\x12\x34" + bytes(46)
CUT = MACS + b"\x08"
WORDS = {
    "EtherType 0x0806 (ARP) is no IP": 3,
    "EtherType 0x1234 is not read": 2,
    "the captured octets end before an IP header": 1,
}


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "t.pcap"
    with path.open("wb") as stream:
        write_pcap(stream, [Frame(i, data) for i, data in enumerate([ARP, UNKNOWN, ARP, CUT, UNKNOWN, ARP])])
    (tmp_path / "b.toml").write_text('[[node]]\nhome_address = "2001:db8::1"\n')
    return path


def test_every_way_to_a_summary_says_the_same(trace: Path, tmp_path: Path) -> None:
    arguments = [str(trace), "--bindings", str(tmp_path / "b.toml"), "--json"]
    for more in ([], ["-o", str(tmp_path / "o.csv")], ["--replay"], ["--workers", "2"]):
        command = [sys.executable, "-m", "flowclass", "classify", *arguments, *more]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert {entry["what"]: entry["packets"] for entry in json.loads(done.stdout)["unread"]} == WORDS


def test_summary_page_and_explanation_show_it(trace: Path, tmp_path: Path) -> None:
    bindings, page = str(tmp_path / "b.toml"), tmp_path / "p.html"
    for arguments in (["classify"], ["report", "-o", str(page)], ["explain", "--frame", "2"]):
        command = [sys.executable, "-m", "flowclass", *arguments, str(trace), "--bindings", bindings]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        if arguments[0] == "classify":
            assert "not-ip: 3 because EtherType 0x0806 (ARP) is no IP" in done.stdout
        elif arguments[0] == "explain":
            assert "EtherType 0x1234 is not read" in " ".join(done.stdout.split())
    assert "3 because EtherType 0x0806 (ARP) is no IP" in page.read_text()


def test_link_types_by_number(tmp_path: Path) -> None:
    path = tmp_path / "t.pcap"
    with path.open("wb") as stream:
        write_pcap(stream, [Frame(0, bytes(40))], linktype=147)
    summary = Run(fc.HomeAgent()).classify([path])
    assert [unread_words(*key) for key in summary.unread] == ["link type 147 is not read"]


def test_of_very_many_reasons_the_first_ones_are_told_apart_whatever_way_the_packets_go(tmp_path: Path) -> None:
    ethertypes = [0x9999 - 7 * i for i in range(300)] * 2
    path = tmp_path / "t.pcap"
    with path.open("wb") as stream:
        write_pcap(stream, [Frame(i, MACS + kind.to_bytes(2) + bytes(46)) for i, kind in enumerate(ethertypes)])
    for observers in ([], [lambda rows: None]):
        summary: Summary = Run(fc.HomeAgent(), observers=observers).classify([path])
        assert summary.unread == {(2, kind): 2 for kind in ethertypes[:63]} | {(0, 0): 2 * 237}
