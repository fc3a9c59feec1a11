"""How many binding updates a home agent takes per second, and where the time goes.

One thread, no store, 100,000 mobile nodes in the cache and in the engine's forwarding table. Each update registers a
BID and replaces two flows with a selector of their own, so nothing is met twice; the answer is made too. The parts are
timed on the same updates: reading, deciding (transaction, checks, publishing), publishing alone, answering.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from ipaddress import IPv6Address
from itertools import cycle
from typing import Any

import pytest

from flowclass import mobility, wire

NODES = 100_000
UPDATES = 20_000
AGENT = IPv6Address("2001:db8:1::1")
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


@cache
def packets(profile: str, sequence: int) -> list[bytes]:
    return [update(number, sequence, profile) for number in range(0, NODES, NODES // UPDATES)]


@PROFILES
def test_receive(benchmark: Any, profile: str) -> None:
    agent = filled(profile)
    sequences = iter(range(1, 30_000))
    benchmark.extra_info.update(packets=UPDATES, profile=profile)

    def setup() -> tuple[tuple[list[bytes]], dict[str, Any]]:
        return (packets(profile, next(sequences)),), {}

    def run(batch: list[bytes]) -> None:
        for packet in batch:
            agent.receive(packet, now=1.0)

    accepted = agent.counters.updates[0]
    rounds = 3
    benchmark.pedantic(run, setup=setup, rounds=rounds)
    # every one of them was accepted, with both flows
    assert agent.counters.updates[0] - accepted >= UPDATES
    assert sum(agent.counters.updates) == agent.counters.updates[0]
    assert sum(agent.counters.flows) == agent.counters.flows[0] == 2 * agent.counters.updates[0]


def turns(profile: str) -> Iterator[bytes]:
    return cycle(packets(profile, 0))


@PROFILES
def test_part_reading(benchmark: Callable[..., Any], profile: str) -> None:
    turn = turns(profile)
    benchmark(lambda: wire.decode_packet(next(turn), profile))


@PROFILES
def test_part_deciding(benchmark: Any, profile: str) -> None:
    """From a decoded packet to the answer; aborted, so that the same updates can be decided again."""
    agent = filled(profile)
    decoded = cycle([wire.decode_packet(data, profile) for data in packets(profile, 29_999)])

    def run() -> None:
        pending = agent.begin(next(decoded), now=1.0)
        assert pending.transaction is not None
        pending.transaction.abort()

    benchmark(run)


@PROFILES
def test_part_publishing(benchmark: Callable[..., Any], profile: str) -> None:
    agent = filled(profile)
    nodes = cycle(list(agent.cache)[:UPDATES])
    benchmark(lambda: agent.cache._publish((node := next(nodes)).home, node))


@PROFILES
def test_part_answering(benchmark: Callable[..., Any], profile: str) -> None:
    agent = filled(profile)
    pending = agent.begin(update(0, 29_998, profile), now=1.0)
    received, outcome, transaction = pending.update, pending.outcome, pending.transaction
    assert received is not None
    assert outcome is not None
    assert transaction is not None
    transaction.abort()
    benchmark(lambda: mobility.acknowledge(agent, received, outcome))
