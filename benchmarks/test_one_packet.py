"""What does a home agent behind a TUN device pay for one packet, and for a small batch?

The figures are of Python calls on 1,000 nodes with two flows each; the last group has the cost in C beside a batch.
"""

from __future__ import annotations

from functools import cache
from ipaddress import IPv6Address
from typing import Any

import numpy as np
import pytest
from test_bu_rate import update

from flowclass.generate.packets import TCP, Fields, ip_packet
from flowclass.mobility import HomeAgent

NODES, BATCH, LARGE = 1000, 64, 64_000
PEER = IPv6Address("2001:db8:c::1").packed


@cache
def filled() -> HomeAgent:
    agent = HomeAgent()
    for number in range(NODES):
        agent.receive(update(number, 0, "draft", 0), now=0.0)
    return agent


def packets(n: int) -> list[bytes]:
    homes = [IPv6Address(0x20010DB80001 << 80 | i % NODES).packed for i in range(n)]
    made = [ip_packet(Fields(PEER, home, TCP, 22, 50000)) for home in homes]
    assert set(filled().classify(made)["fid"].tolist()) == {1}
    return made


@pytest.mark.benchmark(group="one packet")
@pytest.mark.parametrize("call", ["classify_one", "decide_one", "classify"])
def test_one_packet(benchmark: Any, call: str) -> None:
    agent = filled()
    (packet,) = packets(1)
    assert agent.decide_one(packet).fid == 1
    benchmark.extra_info.update(packets=1)
    benchmark(getattr(agent, call), [packet] if call == "classify" else packet)


@pytest.mark.benchmark(group="care-of addresses of one decision")
@pytest.mark.parametrize("call", ["care_of", "packed_care_of"])
def test_care_of(benchmark: Any, call: str) -> None:
    agent = filled()
    (decision,) = agent.classify(packets(1))
    assert len(agent.care_of(decision)) == len(agent.packed_care_of(decision)) == 1
    benchmark.extra_info.update(packets=1)
    benchmark(getattr(agent, call), decision)


@pytest.mark.benchmark(group="packets of a batch")
def test_a_batch_of_64(benchmark: Any) -> None:
    batch = packets(BATCH)
    benchmark.extra_info.update(packets=BATCH)
    benchmark(filled().classify, batch)


@pytest.mark.benchmark(group="packets of a batch")
def test_the_cost_in_c(benchmark: Any) -> None:
    """A batch so large, and joined before, that the cost of the call itself doesn't count."""
    made = packets(LARGE)
    lengths = np.array([len(packet) for packet in made], np.uint32)
    offsets = np.concatenate(([0], np.cumsum(lengths[:-1], dtype=np.uint64))).astype(np.uint64)
    benchmark.extra_info.update(packets=LARGE)
    benchmark(filled().table.classify_packets, (b"".join(made), offsets, lengths))
