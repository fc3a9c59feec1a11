"""flowclass explain: the decision is the classifier's, and the reasons are true."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from flowclass.cli import main
from flowclass.errors import CaptureError
from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.generate.captures import Frame, write_pcap
from flowclass.generate.mobility import mobility_trace
from flowclass.mobility import HomeAgent, load_bindings
from flowclass.traces import explain
from flowclass.traces.explain import explain_frame


def test_explanations_agree_with_decisions(tmp_path: Path) -> None:
    rng = random.Random(11)
    nodes = random_nodes(rng, 4, 10)
    packets = list(mobility_trace(rng, nodes, 150))
    trace, bindings = tmp_path / "t.pcap", tmp_path / "b.toml"
    bindings.write_text(bindings_toml(nodes))
    with trace.open("wb") as stream:
        write_pcap(stream, [Frame(p.time_ns, p.frame) for p in packets])
    agent = load_bindings(bindings)
    reasons, failures = set(), set()
    for frame, packet in enumerate(packets, 1):
        found = explain_frame(agent, str(trace), frame)
        winners = [c.fid for c in found.candidates if c.matched]
        assert winners == ([found.outcome.fid] if found.outcome.reason == "flow" else [])
        reasons.add(found.outcome.reason)
        failures |= {c.failed for c in found.candidates}
        node = next((n for n in nodes if str(n.home_address) == found.node), None)
        if found.node is None:
            assert found.candidates == ()
            continue
        assert node is not None
        assert packet.fields is not None
        order = [(flow.pri, flow.fid) for flow in sorted(node.flows, key=lambda f: (f.pri, f.fid))]
        assert [(c.pri, c.fid) for c in found.candidates] == order
        selectors = {flow.fid: flow.selector for flow in node.flows}
        for candidate in found.candidates:
            if candidate.failed is not None:
                first, last = selectors[candidate.fid][candidate.failed]
                value = found.packet.get(candidate.failed)
                if isinstance(value, int):
                    assert not first <= value <= last
    assert reasons == {"not-ip", "unbound", "flow", "default"}
    assert {"source_port", "spi", "source", "traffic_class", "protocol"} <= failures


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--save", str(tmp_path)]) == 0
    capsys.readouterr()
    trace, bindings = str(tmp_path / "section5.pcapng"), str(tmp_path / "section5.toml")
    assert main(["explain", "--bindings", bindings, trace, "--frame", "9"]) == 0
    text = capsys.readouterr().out
    assert "source_port: it asks for 22, the packet has 443" in text
    assert "decision: forward to 2001:db8:a::1 (BID 1): flow 2" in text
    assert main(["explain", "--bindings", bindings, trace, "--frame", "14", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [c["failed"] for c in found["candidates"]] == ["source_port"] * 2
    assert found["outcome"]["reason"] == "default"
    assert main(["explain", "--bindings", bindings, trace, "--frame", "16"]) == 2
    assert "there is no frame 16" in capsys.readouterr().err


def test_by_the_state_at_its_time(tmp_path: Path) -> None:
    assert main(["demo", "--save", str(tmp_path)]) == 0
    trace = str(tmp_path / "section5.pcapng")
    found = [explain_frame(HomeAgent(), trace, frame, updates=True) for frame in (1, 4, 8)]
    assert [f.outcome.reason for f in found] == ["unbound", "default", "flow"]
    assert [len(f.candidates) for f in found] == [0, 0, 2]


@pytest.mark.parametrize("grown", [False, True])
def test_a_trace_that_is_replaced_between_the_two_readings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grown: bool
) -> None:
    trace = tmp_path / "t.pcap"
    with trace.open("wb") as stream:
        write_pcap(stream, [Frame(1, bytes(60)), Frame(2, bytes(60))])
    find = explain._find

    def meddle(*arguments: Any) -> Any:
        data = trace.read_bytes()
        trace.write_bytes(data + data[24:] if grown else data[:24] + data[40:])
        return find(*arguments)

    monkeypatch.setattr(explain, "_find", meddle)
    if grown:  # a capture that is still being written
        assert explain_frame(HomeAgent(), str(trace), 2).outcome.reason == "not-ip"
        return
    with pytest.raises(CaptureError, match=r"t\.pcap: was replaced or overwritten while it was read"):
        explain_frame(HomeAgent(), str(trace), 1)
