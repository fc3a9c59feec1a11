"""How many binding updates a home agent takes per second, and where the time goes.

One thread, no store, 100,000 mobile nodes in the cache and in the engine's forwarding table, the garbage collector as
it is by default. Each update registers a BID and replaces two flows with a selector of their own, so nothing is met
twice; the answer is made too. The parts are timed on updates of the same kind: reading, deciding (checks, on a
transaction's working copy), committing (publishing is most of it), answering.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import cache
from ipaddress import IPv6Address
from itertools import count
from typing import Any

import pytest

from flowclass import mobility, wire

NODES = 100_000
UPDATES = 20_000
AGENT = IPv6Address("2001:db8:1::ffff:ffff")  # nobody's home address: an update for the agent's own is ignored
SEQUENCES = count(1)  # no update is too old for its node
PROFILES = pytest.mark.parametrize("profile", ["draft", "rfc6089"])


def update(number: int, sequence: int, profile: str, request: int = 1) -> bytes:
    home, care_of = (IPv6Address((prefix << 80) | number) for prefix in (0x20010DB80001, 0x20010DB8000A))
    flows: list[wire.Option] = []
    for fid, port in ((1, 22), (2, 443)):
        selector = wire.TrafficSelector6(
            destination=(home, home), source_port=(port, port + sequence % 100), protocol=(6, 6)
        )
        suboptions = (wire.BindingReference((1,)), wire.TrafficSelectorOption(selector))
        pro = request if profile == "draft" else 0
        flows.append(wire.FlowIdentification(fid, fid, 1, pro, 0, suboptions))
    options: tuple[wire.Option, ...] = (wire.BindingIdentifier(1, care_of, 10), *flows)
    packet = wire.MobilityPacket(care_of, AGENT, wire.BindingUpdate(sequence, 150, 0xC000, options), home)
    return wire.encode_packet(packet, profile)


@cache
def filled(profile: str) -> mobility.HomeAgent:
    agent = mobility.HomeAgent(profile)
    for number in range(NODES):
        agent.receive(update(number, 0, profile, 0), now=0.0)
    assert len(agent.cache) == NODES
    return agent


def packets(profile: str, sequence: int) -> list[bytes]:
    return [update(number, sequence, profile) for number in range(0, NODES, NODES // UPDATES)]


@PROFILES
def test_receive(benchmark: Any, profile: str) -> None:
    agent = filled(profile)
    accepted = agent.counters.updates[0]

    def run(batch: list[bytes]) -> None:
        for packet in batch:
            agent.receive(packet, now=1.0)

    gc.enable()
    timed(benchmark, run, lambda: packets(profile, next(SEQUENCES)), profile)
    gc.disable()
    # every one of them was accepted, with both flows
    assert agent.counters.updates[0] - accepted >= UPDATES
    assert sum(agent.counters.updates) == agent.counters.updates[0]
    assert sum(agent.counters.flows) == agent.counters.flows[0] == 2 * agent.counters.updates[0]


def timed(benchmark: Any, run: Callable[[Any], None], prepare: Callable[[], Any], profile: str) -> None:
    """Rounds of `run`, each with a batch that `prepare` made before."""
    benchmark.extra_info.update(packets=UPDATES, profile=profile)
    benchmark.pedantic(run, setup=lambda: ((prepare(),), {}), rounds=3)


@PROFILES
def test_part_reading(benchmark: Any, profile: str) -> None:
    def run(batch: list[bytes]) -> None:
        for packet in batch:
            wire.decode_packet(packet, profile)

    timed(benchmark, run, lambda: packets(profile, next(SEQUENCES)), profile)


def begun(profile: str) -> tuple[mobility.HomeAgent, list[mobility.Pending]]:
    """Updates that were looked at and not committed, each of another node."""
    agent = filled(profile)
    return agent, [agent.begin(packet, now=1.0) for packet in packets(profile, next(SEQUENCES))]


@PROFILES
def test_part_deciding(benchmark: Any, profile: str) -> None:
    """From a decoded packet to the answer's contents; aborted, so that the same nodes can be decided about again."""
    agent = filled(profile)

    def run(batch: list[wire.MobilityPacket]) -> None:
        for packet in batch:
            transaction = agent.begin(packet, now=1.0).transaction
            assert transaction is not None
            transaction.abort()

    timed(
        benchmark,
        run,
        lambda: [wire.decode_packet(packet, profile) for packet in packets(profile, next(SEQUENCES))],
        profile,
    )


@PROFILES
def test_part_committing(benchmark: Any, profile: str) -> None:
    def run(batch: list[mobility.Transaction]) -> None:
        for transaction in batch:
            transaction.commit()

    def prepare() -> list[mobility.Transaction]:
        return [pending.transaction for pending in begun(profile)[1] if pending.transaction is not None]

    timed(benchmark, run, prepare, profile)


@PROFILES
def test_part_publishing(benchmark: Any, profile: str) -> None:
    """The share of committing that is the forwarding table's."""
    agent = filled(profile)

    def run(nodes: list[mobility.Node]) -> None:
        for node in nodes:
            agent.cache._publish(node.home, node)

    timed(benchmark, run, lambda: list(agent.cache)[:: NODES // UPDATES], profile)


@PROFILES
def test_part_answering(benchmark: Any, profile: str) -> None:
    agent, batch = begun(profile)
    for pending in batch:
        assert pending.transaction is not None
        pending.transaction.abort()

    def run(batch: list[mobility.Pending]) -> None:
        for pending in batch:
            assert pending.update is not None
            assert pending.outcome is not None
            mobility.acknowledge(pending.update, pending.outcome, agent.profile)

    timed(benchmark, run, lambda: batch, profile)
