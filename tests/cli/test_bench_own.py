"""The researcher's bench: traces and rules of other tools, and classifiers of one's own beside ours."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

from flowclass.bench.peers import load_peer
from flowclass.cli import main
from flowclass.errors import FlowclassError

RULES = (
    "@192.0.2.0/24\t198.51.100.0/24\t0 : 65535\t25 : 25\t0x06/0xFF\t0x0000/0x0000\t\n"
    "@192.0.2.0/24\t0.0.0.0/0\t0 : 65535\t25 : 25\t0x06/0xFF\t0x0000/0x0000\t\n"
)
# as trace_generator writes it: drawn from filter 1, the first to match is filter 0
TRACE = "3221225985\t3325256705\t1000\t25\t6\t0\t1\n"
QUICK = ("--rounds", "1", "--no-peers", "--packets", "200")

PEER = """
import numpy as np
from flowclass.bench.linear import first_match


class Linear:
    name = "my linear search"
    most_keys = 50
    bytes = 1234

    def __init__(self, rules):
        self.rules = rules

    def classify(self, keys):
        return first_match(self.rules, keys)


class Shifted(Linear):
    name = "prepared"
    algorithms = ("plain", "twice")

    def prepare(self, keys):
        return [keys]

    def classify(self, given, algorithm):
        return super().classify(given[0])


class Wrong(Linear):
    def classify(self, keys):
        return np.full(len(keys), 7, np.int32)


class Changing(Linear):
    name = "list"

    def __init__(self, rules):
        self.held = [(i, i, rule) for i, rule in enumerate(rules)]
        self.next = len(rules)
        self.dtype = rules.dtype

    def classify(self, keys):
        held = sorted(self.held, key=lambda entry: entry[:2])
        found = first_match(np.array([rule for _, _, rule in held], self.dtype), keys)
        ids = np.array([i for _, i, _ in held] + [-1])
        return ids[found].astype(np.int32)

    def insert(self, rules, priorities):
        ids = list(range(self.next, self.next + len(rules)))
        self.next += len(rules)
        self.held += list(zip(priorities, ids, rules))
        return np.array(ids)

    def remove(self, ids):
        gone = set(np.asarray(ids).tolist())
        self.held = [entry for entry in self.held if entry[1] not in gone]


class Picky(Linear):
    def __init__(self, rules):
        raise ValueError("rule 0: too hard")


def nothing(rules):
    return 5
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my.rules").write_text(RULES)
    (tmp_path / "my_peers.py").write_text(PEER)
    (tmp_path / "broken.py").write_text("open('no such file')\n")
    sys.modules.pop("my_peers", None)
    return tmp_path


def lookup(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[list[dict[str, Any]], str]:
    assert main(["bench", "lookup", *arguments, *QUICK, "--json"]) == 0
    streams = capsys.readouterr()
    results: list[dict[str, Any]] = json.loads(streams.out)["results"]
    return results, streams.err


@pytest.mark.parametrize("name", ["my.rules_trace", "my_trace"])
def test_the_trace_that_trace_generator_makes_is_found(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / name).write_text(TRACE)
    (result,), _ = lookup(capsys, "my.rules")
    assert (result["trace"], result["packets"], result["answers_checked"]) == (name, 1, 1)


@pytest.mark.parametrize("columns", [6, 7])
def test_the_filter_that_a_packet_was_drawn_from_is_no_answer(
    folder: Path, columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = TRACE.split()
    (folder / "my.corner.trace").write_text("\t".join(words[:5] + words[-(columns - 5) :]) + "\n")
    results, said = lookup(capsys, "my.rules", "--trace", "corner")
    assert [result["packets"] for result in results] == [1]
    assert ("no claim" in said) == (columns == 6)


def test_sets_with_traces_of_their_own_are_points_of_one_curve(folder: Path) -> None:
    for size in (1, 2):
        (folder / f"acl1_{size}").write_text("".join(RULES.splitlines(keepends=True)[-size:]))
        (folder / f"acl1_{size}_trace").write_text(TRACE)
    assert main(["bench", "lookup", "acl1_1", "acl1_2", *QUICK, "--plot", "curve.svg"]) == 0
    (curve,) = re.findall(r'<polyline points="([^"]*)"', (folder / "curve.svg").read_text())
    assert len(curve.split()) == 2


def test_a_trace_file_for_any_rules(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "other.txt").write_text("192.0.2.1 198.51.100.1 1 25 6\n192.0.2.1 198.51.100.1 1 26 6\n")
    (result,), _ = lookup(capsys, "my.rules", "--trace-file", "other.txt")
    assert (result["trace"], result["packets"], result["hit_rate"]) == ("other.txt", 2, 0.5)
    assert main(["bench", "lookup", "--trace-file", "other.txt", *QUICK]) == 2


def test_openflow_rules_are_measured_and_say_what_was_left_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "of.rules").write_text("in_port=3, nw_proto=6, nw_src=192.0.2.0/24, nw_dst=198.51.100.9/32, tp_dst=443\n")
    (result,), said = lookup(capsys, "of.rules")
    assert (result["rules"], result["version"]) == (1, 4)
    assert "rules are read without in_port" in said


@pytest.mark.parametrize(
    ("peer", "name", "algorithms", "packets"),
    [("Linear", "my linear search", {"own"}, 50), ("Shifted", "prepared", {"plain", "twice"}, 50)],
)
def test_a_classifier_of_one_s_own_stands_beside(
    folder: Path, peer: str, name: str, algorithms: set[str], packets: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (result,), _ = lookup(capsys, "--family", "acl", "--size", "40", "--peer", f"my_peers:{peer}")
    (beside,) = result["peers"]
    assert (beside["name"], set(beside["mpps"]), beside["bytes"]) == (name, algorithms, 1234)
    assert beside["ratio"]["median"] > 0


@pytest.mark.parametrize(
    ("peer", "message"),
    [
        ("my_peers:Wrong", "gives other answers than flowclass"),
        ("my_peers:Nobody", "has no attribute 'Nobody'"),
        ("no_such_module:X", "No module named 'no_such_module'"),
        ("my_peers:PEER.x", "has no attribute"),
        ("broken:X", "--peer broken:X: FileNotFoundError"),
        ("nobody", "an entry point of flowclass.peers"),
        ("my_peers:nothing", "int has no method classify"),
        ("my_peers:Linear.bytes", "a class expected"),
    ],
)
def test_what_is_wrong_with_a_peer_is_said(
    folder: Path, peer: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "lookup", "--family", "fw", "--size", "40", *QUICK, "--peer", peer]) == 2
    assert message in capsys.readouterr().err


def test_rules_that_a_peer_can_t_take_are_no_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (result,), said = lookup(capsys, "--family", "acl", "--size", "40", "--peer", "my_peers:Picky")
    assert result["peers"] == []
    assert "my_peers:Picky: rule 0: too hard" in said


def test_a_peer_may_be_an_entry_point(folder: Path) -> None:
    info = folder / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[flowclass.peers]\nmine = my_peers:Linear\n")
    assert load_peer("mine").__name__ == "Linear"  # type: ignore[attr-defined]  # a class
    with pytest.raises(FlowclassError, match=r"\(mine\)"):
        load_peer("other")


def test_updates_of_a_peer(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("--family", "acl", "--size", "60", "--rounds", "1")
    assert main(["bench", "updates", *common, "--peer", "my_peers:Changing", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["peers_million_updates_per_second"]["list"]["median"] > 0
    assert main(["bench", "updates", *common, "--peer", "my_peers:Linear"]) == 2
    assert "no methods insert and remove" in capsys.readouterr().err


def test_figures_as_csv(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--family", "acl", "--size", "40", "--peer", "my_peers:Linear")
    assert main(["bench", "lookup", *arguments, *QUICK, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    figures = {row["figure"]: row for row in rows}
    assert {row["set"] for row in rows} == {"v4_acl_40"}
    assert float(figures["mpps.auto"]["low"]) <= float(figures["mpps.auto"]["value"])
    assert float(figures["peers.my linear search.mpps.own"]["value"]) > 0
    assert figures["rules"]["value"] == "40"


def test_which_rule_each_header_gets(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "my.rules_trace").write_text(TRACE)
    assert main(["lookup", "my.rules", "my.rules_trace"]) == 0
    assert capsys.readouterr().out == "packet,rule\n0,0\n"
    header = ("--header", "192.0.2.1", "203.0.113.1", "1", "25", "6")
    other = ("--header", "192.0.2.1", "203.0.113.1", "1", "25", "0x11")
    assert main(["lookup", "my.rules", *header, *other]) == 0
    assert capsys.readouterr().out == "packet,rule\n0,1\n1,-1\n"
    assert main(["lookup", "my.rules", "my.rules_trace", "--all", "--kernel", "scalar"]) == 0
    assert capsys.readouterr().out == "packet,rules\n0,0 1\n"
    for wrong in ((), ("my.rules_trace", *header), ("--header", "192.0.2.1", "203.0.113.1", "1", "x", "6")):
        assert main(["lookup", "my.rules", *wrong]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_the_bench_works_outside_of_a_checkout(folder: Path) -> None:
    """The harnesses come with the package; what they compile goes to the user's cache."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "-m", "flowclass", "bench", "lookup", "my.rules", "--rounds", "1", "--packets", "100"]
    done = subprocess.run([*command, "--json"], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    names = {peer["name"].split()[0] for peer in json.loads(done.stdout)["results"][0]["peers"]}
    assert "linear" in names
    if "rte_acl" in names:
        assert [path.name for path in (folder / "cache" / "flowclass").iterdir()]
    else:
        assert "rte_acl" in done.stderr
