"""`flowclass bench` and what it is made of: right answers before figures, fair turns, pictures that are well formed."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import oracle
import pytest
import strategies

import flowclass as fc
from flowclass.bench.linear import first_match
from flowclass.bench.lookup import generated_case, slowest, verify
from flowclass.bench.nodes import nodes_of, publish_arguments
from flowclass.bench.nodes import verify as verify_nodes
from flowclass.bench.plot import check_plot, render, svg
from flowclass.bench.timing import Spread, alternate, quiet, ratio
from flowclass.bench.traces import generated
from flowclass.bench.updates import Updater
from flowclass.cli import main
from flowclass.engine.classbench import write_classbench, write_trace
from flowclass.generate.key_traces import key_trace
from flowclass.generate.nodes import node_keys, node_set
from flowclass.generate.rulesets import rule_set

QUICK = ("--rounds", "1", "--packets", "300", "--no-peers")


def test_linear_search_is_the_oracle() -> None:
    for seed in range(5):
        rules, keys = strategies.rules_and_keys(seed, 60, 300)
        assert first_match(rules, keys).tolist() == oracle.classify(rules, keys)
    assert first_match(rules[:0], keys[:3]).tolist() == [-1] * 3
    assert first_match(rules, keys[:0]).tolist() == []
    with pytest.raises(fc.ClassifierError, match="KEY_DTYPE"):
        first_match(rules, rules)


def test_measurements_take_turns() -> None:
    order: list[str] = []
    calls: dict[str, Callable[[], object]] = {name: (lambda name=name: order.append(name)) for name in "ab"}
    times = alternate(calls, 3, seconds=0)
    assert [len(times[name]) for name in "ab"] == [3, 3]
    assert "".join(order[-6:]) == "ababab"


def test_spread_and_ratio() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    assert ratio([1.0, 2.0, 4.0], [2.0, 2.0, 2.0]) == Spread(1.0, 0.5, 2.0)


def test_quiet_restores_what_it_changed() -> None:
    before = os.sched_getaffinity(0)
    with quiet():
        assert len(os.sched_getaffinity(0)) == 1
        assert not gc.isenabled()
    assert os.sched_getaffinity(0) == before
    assert gc.isenabled()


def test_slowest_keeps_to_the_candidates() -> None:
    rules = rule_set("fw", 200)
    keys = key_trace(rules, 100)
    worst = slowest(fc.Classifier(rules), keys)
    assert len(worst) == 100
    assert len(np.unique(worst)) <= 16
    assert np.isin(worst, keys).all()


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["bench", *arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["machine"]["kernels"]
    results: list[dict[str, Any]] = document["results"]
    return results


def test_lookup_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--family", "fw", "--family", "eight_fields", "--size", "40", "--ip", "6", "--trace", "worst"]
    results = run_json(capsys, "lookup", *arguments, "--trace", "corner", *QUICK)
    assert [(r["set"], r["trace"]) for r in results] == [
        (f"v6_{family}_40", trace) for family in ("fw", "eight_fields") for trace in ("worst", "corner")
    ]
    for result in results:
        assert result["rules"] == 40
        assert result["packets"] == result["answers_checked"] == 300
        assert set(result["mpps"]) == {"auto"} | {name for name, runs in fc.kernels().items() if runs}
        assert result["mpps"]["auto"]["low"] > 0
        assert 0 < result["latency_us"]["p50"] <= result["latency_us"]["p99"]
        assert result["bytes_per_rule"] > 0


def test_linear_search_beside(capsys: pytest.CaptureFixture[str]) -> None:
    results = run_json(capsys, "lookup", "--family", "acl", "--size", "50", "--packets", "300", "--rounds", "1")
    linear = next(p for p in results[0]["peers"] if p["name"] == "linear search")
    assert linear["mpps"]["scalar"]["median"] > 0
    assert linear["ratio"]["median"] > 0


def test_lookup_as_tables_and_plot(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plot, again = tmp_path / "curves.svg", tmp_path / "again.svg"
    sizes = ["--family", "acl", "--size", "20", "--size", "90"]
    assert main(["bench", "lookup", *sizes, "--plot", str(plot), "--plot", str(again), *QUICK]) == 0
    assert again.read_bytes() == plot.read_bytes()
    out = capsys.readouterr().out
    assert "v4_acl_20" in out
    assert "v4_acl_90" in out
    lines = ElementTree.fromstring(plot.read_text()).findall(".//{*}polyline")
    assert len(lines) == 1
    assert len(lines[0].attrib["points"].split()) == 2


def test_builds_and_memory_have_pictures_of_their_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    build, memory = tmp_path / "build.svg", tmp_path / "memory.svg"
    sizes = ("--family", "acl", "--size", "20", "--size", "90", "--packets", "300", "--rounds", "1")
    pictures = ("--plot-build", str(build), "--plot-memory", str(memory))
    assert main(["bench", "lookup", *sizes, *pictures, "--peers-up-to", "50"]) == 0
    for picture in (build, memory):
        lines = ElementTree.fromstring(picture.read_text()).findall(".//{*}polyline")
        points = [len(line.attrib["points"].split()) for line in lines]
        assert max(points) == 2
    out = capsys.readouterr().out
    assert re.search(r"v4_acl_20 .*linear search", out)
    assert not re.search(r"v4_acl_90 .*linear search", out)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A rule set, and a trace beside it with one wrong answer."""
    rules = rule_set("ipc", 60, seed=9)
    write_classbench(rules, tmp_path / "tiny.rules.gz")
    keys = key_trace(rules, 200)
    answers = oracle.brute_force(rules, keys)
    write_trace(keys, answers, tmp_path / "tiny.corner.trace")
    answers[77] = next(i for i in range(60) if first_match(rules[i : i + 1], keys[77:78])[0] < 0)
    write_trace(keys, answers, tmp_path / "tiny.zipf.trace.gz")
    return tmp_path / "tiny.rules.gz"


def test_classbench_files(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (result,) = run_json(capsys, "lookup", str(files), "--trace", "corner", *QUICK)
    assert (result["set"], result["packets"], result["answers_checked"]) == ("tiny", 200, 200)


def test_a_trace_that_says_what_is_wrong_stops_everything(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "lookup", str(files), "--trace", "zipf", *QUICK]) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert "tiny.zipf.trace.gz: packet 77 is said to get rule" in streams.err


def test_a_kernel_that_is_wrong_stops_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    case = generated_case("acl", 50, 4, ("uniform",), 300, seed=1)
    keys = case.traces["uniform"][0]

    class Wrong:
        def classify(self, keys: Any, **more: Any) -> Any:
            answers = fc.Classifier(case.rules).classify(keys)
            answers[77] ^= 1
            return answers

    with pytest.raises(fc.FlowclassError, match="uniform trace, kernel auto: packet 77 got rule"):
        verify(case, "uniform", keys, Wrong(), ())  # type: ignore[arg-type]  # no classifier that is right


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "10x"], "'10x': a number from 1 to"),
        (["--size", "0"], "a number from 1 to"),
        (["--plot", "curves.gif"], "ends in .svg, .png or .pdf"),
        (["--kernel", "mmx", "--size", "10", *QUICK], "no kernel named 'mmx'"),
        (["no-such-file.rules"], "no-such-file.rules"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "lookup", *arguments]) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert message in streams.err
    assert streams.err.count("\n") == 1


def test_updates_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    (result,) = run_json(capsys, "updates", "--family", "fw", "--size", "300", "--rounds", "1")
    assert (result["set"], result["rules"]) == ("v4_fw_300", 300)
    assert result["answers_checked"] == 100_000, "before and after, every packet"
    assert result["million_updates_per_second"]["median"] > 0
    assert set(result["mpps"]) == {"fresh", "updated", "rebuilt"}
    assert result["updates_per_second_beside_reader"] > 0


def test_updates_as_table(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "updates", str(files), "--rounds", "1"]) == 0
    assert "tiny" in capsys.readouterr().out


def test_the_updater_knows_which_rule_has_which_id() -> None:
    case = generated_case("ipc", 200, 4, ("uniform",), 500, seed=3)
    keys = case.traces["uniform"][0]
    updater = Updater(case, seed=1)
    for _ in range(5):
        updater.replace_some(60)
    updater.remove(np.arange(0, 200, 3))
    assert updater.verify(keys, "now") == 500
    hit = int(updater.indices(updater.table.classify(keys[:1]))[0])
    updater.table.remove(updater.ids[hit : hit + 1])
    with pytest.raises(fc.FlowclassError, match="then: packet 0 got rule"):
        updater.verify(keys, "then")


def test_nodes_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--nodes", "30", "--flows", "2", "5", "--packets", "400", "--rounds", "1", "--no-peers")
    (result,) = run_json(capsys, "nodes", *arguments)
    assert result["nodes"] == 30
    assert 2 <= result["flows_per_node"] <= 5
    assert result["answers_checked"] == 400
    assert result["mpps"]["auto"]["median"] > 0
    assert result["reader_ratio"]["median"] > 0
    assert result["pytricia_mpps"] is None


def test_a_wrong_decision_stops_everything() -> None:
    people = node_set(20, 1, flows=(2, 5))
    table = fc.ForwardingTable()
    for i in range(20):
        table.publish(**publish_arguments(people, i))
    keys = node_keys(people, 300, 2)
    nodes = nodes_of(people, keys)
    assert verify_nodes(table, people, keys, nodes, ["scalar"]) == 300
    table.publish(**(publish_arguments(people, 7) | {"default": 1, "flows": ()}))
    with pytest.raises(fc.FlowclassError, match=r"node 7: decided"):
        verify_nodes(table, people, keys, nodes, [])


def test_nodes_as_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "nodes", "--nodes", "20", "--packets", "100", "--rounds", "1"]) == 0
    assert "publish p50" in capsys.readouterr().out
    assert main(["bench", "nodes", "--flows", "5", "2"]) == 2
    assert "the fewest exceed the most" in capsys.readouterr().err


def test_traces_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    (result,) = run_json(capsys, "traces", "--packets", "600", "--rounds", "1", "--no-peers")
    assert result["packets"] >= 600
    assert list(result["nanoseconds_per_packet"]) == ["read", "keys", "summary", "decisions", "csv rows"]
    assert result["peers_nanoseconds_per_packet"] == {}


def test_traces_from_files(capsys: pytest.CaptureFixture[str]) -> None:
    with generated(300, 5) as (trace, bindings):
        assert main(["bench", "traces", str(trace), "--bindings", str(bindings), "--rounds", "1"]) == 0
        assert "csv rows" in capsys.readouterr().out
        (result,) = run_json(capsys, "traces", str(trace), "--rounds", "1", "--no-peers")
        assert list(result["nanoseconds_per_packet"]) == ["read", "keys"]
        trace.write_bytes(trace.read_bytes()[:24])
        assert main(["bench", "traces", str(trace)]) == 2
        assert "no packets" in capsys.readouterr().err


def test_help_is_light() -> None:
    code = "import sys, flowclass.cli.bench; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_plots() -> None:
    picture = svg({"a <b>": [(10, 1), (1000, 5)], "c": [(10, 3)]}, title="t & t", x_label="x", y_label="y")
    root = ElementTree.fromstring(picture)
    assert [len(line.attrib["points"].split()) for line in root.findall(".//{*}polyline")] == [2, 1]
    assert {"t & t", "a <b>", "c", "10", "1k"} <= {text.text for text in root.findall(".//{*}text")}
    for bad in ({}, {"a": []}, {"a": [(0.0, 1.0)]}):
        with pytest.raises(fc.FlowclassError, match="nothing to plot"):
            svg(bad, title="", x_label="", y_label="")
    with pytest.raises(fc.FlowclassError, match=r"\.svg, \.png or \.pdf"):
        check_plot("x.gif")


def test_a_classifier_keeps_its_colour_and_an_ip_version_its_pattern() -> None:
    def looks(names: list[str]) -> dict[str, tuple[str | None, str | None]]:
        root = ElementTree.fromstring(svg({n: [(10, 1), (99, 2)] for n in names}, title="", x_label="", y_label=""))
        lines = root.findall(".//{*}polyline")
        return {n: (x.get("stroke"), x.get("stroke-dasharray")) for n, x in zip(names, lines, strict=True)}

    one = looks(["ours, IPv4", "theirs, IPv4", "third, IPv4", "ours, IPv6", "theirs, IPv6", "third, IPv6"])
    other = looks(["ours, IPv4", "theirs, IPv4", "ours, IPv6", "theirs, IPv6"])
    assert other.items() <= one.items()
    assert len({colour for colour, _ in one.values()}) == 3
    assert len({dashes for _, dashes in one.values()}) == 2
    many = looks([f"a, {i}" for i in range(12)])  # more than there are patterns
    assert len(set(many.values())) == 12


def test_sizes_are_the_ticks_where_they_have_room_and_long_words_have_lines() -> None:
    def words(xs: Sequence[float], subtitle: str = "") -> list[str | None]:
        root = ElementTree.fromstring(
            svg({"a": [(x, 1.0) for x in xs]}, title="", subtitle=subtitle, x_label="", y_label="")
        )
        return [text.text for text in root.findall(".//{*}text")]

    assert {"16", "99.9k"} <= set(words((16, 99_873)))
    assert not {"17", "19"} & set(words((16, 17, 18, 19, 99_873)))
    machine = "a processor with a very long name, a system of many words, and what the points are: lowest and highest"
    first, second = words((1, 2), machine)[:2]
    assert f"{first} {second}" == machine


def test_the_spread_of_a_point_is_drawn() -> None:
    plain, with_spread = (
        svg({"a": [point]}, title="", x_label="", y_label="").count("<path") for point in ((10, 5), (10, 5, 4, 6))
    )
    assert with_spread >= plain + 3


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<svg")])
def test_a_picture_in_each_format(ending: str, magic: bytes) -> None:
    if ending != "svg":
        pytest.importorskip("matplotlib")
    picture = render(f"x.{ending}", {"a $x_": [(10, 1, 0.5, 2), (100, 5, 4, 6)]}, title="t", x_label="x", y_label="y")
    assert picture.startswith(magic)
