"""Generated traces, classified through capture files, against linear search over what the packets were made from."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from naive_traces import expected

from flowclass.generate.bindings import NodeSpec, bindings_toml, random_nodes
from flowclass.generate.captures import Frame, write_pcap, write_pcapng
from flowclass.generate.mobility import START_NS, TracePacket, mobility_trace
from flowclass.generate.packets import ethernet
from flowclass.generate.updates import update_packets
from flowclass.mobility import HomeAgent, load_bindings
from flowclass.traces.outcomes import Rows, RowValues
from flowclass.traces.replaying import replay
from flowclass.traces.run import Run


class Collected(list[RowValues]):
    def take(self, rows: Rows) -> None:
        self.extend(rows.outcomes.values[number] for number in rows.ids.tolist())


def pcap(frames: Sequence[Frame], name: str = "trace.pcap") -> io.BytesIO:
    stream = io.BytesIO()
    (write_pcap if name.endswith("pcap") else write_pcapng)(stream, frames)
    stream.seek(0)
    stream.name = name  # type: ignore[misc]  # which a BytesIO lacks
    return stream


def check(nodes: Sequence[NodeSpec], packets: Sequence[TracePacket], outcomes: Sequence[RowValues]) -> None:
    """Every outcome against the naive one, and that all packets of a flow go one way (R27)."""
    ways: dict[object, str] = {}
    for number, (packet, outcome) in enumerate(zip(packets, outcomes, strict=True), 1):
        right = expected(nodes, packet)
        where = f"frame {number}: {packet.fields}"
        assert (outcome.action, outcome.reason, outcome.home_address, outcome.fid) == (
            right.action, right.reason, right.home_address, right.fid,
        ), where  # fmt: skip
        if outcome.action == "forward":
            assert len(outcome.care_of) == 1
            assert outcome.care_of[0] in right.care_of, where
            assert outcome.bid is not None
            assert ways.setdefault((packet.fields, packet.ports), outcome.care_of[0]) == outcome.care_of[0]
        else:
            assert outcome.care_of == right.care_of, where


def shape(nodes: int) -> tuple[int, int]:
    """(flows, packets) for a number of nodes."""
    return {1: (64, 3000), 7: (16, 4000), 60: (8, 4000), 500: (4, 4000)}[nodes]


@pytest.mark.req("R15", "R27", "R37", "R40", "R41", "R42", "K14", "K34")
@pytest.mark.parametrize("count", [1, 7, 60, 500])
def test_bindings_file(tmp_path: Path, count: int) -> None:
    flows, packets = shape(count)
    rng = random.Random(count)
    nodes = random_nodes(rng, count, flows)
    file = tmp_path / "bindings.toml"
    file.write_text(bindings_toml(nodes))
    trace = list(mobility_trace(rng, nodes, packets))
    outcomes = Collected()
    run = Run(load_bindings(file), observers=[outcomes.take])
    run.classify([pcap([Frame(p.time_ns, p.frame) for p in trace])])
    check(nodes, trace, outcomes)
    assert {o.reason for o in outcomes} == {"not-ip", "unbound", "flow", "default"}


@pytest.mark.req("R10", "R31", "R44", "R46", "R62")
@pytest.mark.parametrize("count", [1, 7, 60])
def test_replay_of_updates(count: int) -> None:
    """The same state from binding updates in front of the packets."""
    flows, packets = shape(count)
    rng = random.Random(count + 1000)
    nodes = random_nodes(rng, count, flows)
    updates = [octets for node in nodes for octets in update_packets(node)]
    trace = list(mobility_trace(rng, nodes, packets))
    frames = [Frame(START_NS - 1000, ethernet(octets)) for octets in updates]
    outcomes = Collected()
    run = Run(HomeAgent(), observers=[outcomes.take])
    summary = replay(run, [pcap([*frames, *(Frame(p.time_ns, p.frame) for p in trace)], "trace.pcapng")])
    assert summary.updates is not None
    assert summary.updates.received == summary.updates.accepted == len(updates)
    assert summary.updates.flows_accepted == count * flows
    assert {o.reason for o in outcomes[: len(updates)]} == {"unbound"}
    check(nodes, trace, outcomes[len(updates) :])


def test_several_traces_are_replayed_in_time_order() -> None:
    """Updates in one file, packets dealt out to two others."""
    rng = random.Random(5)
    nodes = random_nodes(rng, 4, 6)
    trace = [p for p in mobility_trace(rng, nodes, 600) if p.ports]
    updates = [Frame(START_NS - 1, ethernet(octets)) for node in nodes for octets in update_packets(node)]
    parts = [pcap([Frame(p.time_ns, p.frame) for p in trace[i::2]], f"{i}.pcap") for i in range(2)]
    rows: list[tuple[str, int, RowValues]] = []

    def take(batch: Rows) -> None:
        values = [batch.outcomes.values[number] for number in batch.ids.tolist()]
        rows.extend(zip([batch.file] * len(batch), batch.frames.tolist(), values, strict=True))

    replay(Run(HomeAgent(), observers=[take]), [*parts, pcap(updates, "updates.pcap")])
    assert [row[0] for row in rows[: len(updates)]] == ["updates.pcap"] * len(updates)
    rest = rows[len(updates) :]
    assert [row[:2] for row in rest] == [(f"{i % 2}.pcap", i // 2 + 1) for i in range(len(trace))]
    whole = [(p, row[2]) for p, row in zip(trace, rest, strict=True) if not _fragment(p)]
    check(nodes, [p for p, _ in whole], [o for _, o in whole])


def _fragment(packet: TracePacket) -> bool:
    """Fragments may have been dealt out to both files, and each input has a memory of its own."""
    start = 14 + 4 * (packet.frame[12:14] in (b"\x81\x00", b"\x88\xa8")) + 4 * (packet.frame[12:14] == b"\x88\xa8")
    return packet.fields is not None and packet.frame[start + 6] == 44


def test_what_expires_is_gone() -> None:
    """A binding of 8 seconds: there before, gone from the packet at its end on, and a later update brings it back."""
    node = random_nodes(random.Random(1), 1, 0)[0]
    update = ethernet(update_packets(node, lifetime=2)[0])
    packet = next(p for p in mobility_trace(random.Random(2), [node], 50) if p.fields and p.ports)
    at = [0, 0, 7_999_999_999, 8_000_000_000, 9_000_000_000]
    frames = [Frame(START_NS + at[0], update)] + [Frame(START_NS + t, packet.frame) for t in at[1:]]
    outcomes = Collected()
    replay(Run(HomeAgent(), observers=[outcomes.take]), [pcap(frames)])
    assert [o.reason for o in outcomes] == ["unbound", "default", "default", "unbound", "unbound"]


def test_time_that_goes_back_changes_nothing() -> None:
    node = random_nodes(random.Random(1), 1, 0)[0]
    update = ethernet(update_packets(node)[0])
    packet = next(p for p in mobility_trace(random.Random(2), [node], 50) if p.fields and p.ports)
    frames = [Frame(START_NS, packet.frame), Frame(START_NS + 10**9, update), Frame(START_NS - 10**9, packet.frame)]
    outcomes = Collected()
    replay(Run(HomeAgent(), observers=[outcomes.take]), [pcap(frames)])
    assert [o.reason for o in outcomes] == ["unbound", "unbound", "default"]
