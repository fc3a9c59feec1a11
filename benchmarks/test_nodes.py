"""How do decisions scale with the number of mobile nodes, and what do one publish and one packet cost?"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import cycle
from typing import Any

import numpy as np
import pytest
from conftest import LARGE

import flowclass as fc
from flowclass.bench.nodes import nodes_of, publish_arguments, verify
from flowclass.engine.decisions import DECISION_DTYPE
from flowclass.generate.nodes import NodeSet, node_keys, node_set

CHUNK = 50_000  # nodes generated at a time: a million at once would take 2 GB
KEYS = 1_000_000


@cache
def table_and_keys(nodes: int) -> tuple[fc.ForwardingTable, NodeSet, Any]:
    """``nodes`` nodes of 4 to 16 flows, the first chunk of them as arrays, and keys to uniformly random ones."""
    table = fc.ForwardingTable()
    keys = []
    first = node_set(min(nodes, CHUNK), 1)
    for start in range(0, nodes, CHUNK):
        people = first if start == 0 else node_set(min(CHUNK, nodes - start), start + 1)
        people.load(table)
        keys.append(node_keys(people, KEYS * len(people.home_addresses) // nodes, start + 2))
    aimed = node_keys(first, 500, 3)
    verify(table, first, aimed, nodes_of(first, aimed), [name for name, runs in fc.kernels().items() if runs])
    everything = np.concatenate(keys)
    np.random.default_rng(4).shuffle(everything)
    return table, first, everything


@pytest.mark.parametrize("kernel", [name for name, runs in fc.kernels().items() if runs])
@pytest.mark.parametrize("nodes", [1_000, 10_000, 100_000, pytest.param(1_000_000, marks=pytest.mark.skipif(
    not LARGE, reason="FLOWCLASS_BENCH_LARGE is not set"))])  # fmt: skip
def test_decisions_from_keys(rate: Callable[..., None], nodes: int, kernel: str) -> None:
    table, _, keys = table_and_keys(nodes)
    out = np.zeros(len(keys), DECISION_DTYPE)
    assert set(table.classify(keys, out, kernel=kernel)["reason"].tolist()) == {4, 5}
    rate(lambda: table.classify(keys, out, kernel=kernel), len(keys), bytes_per_node=table.info()["bytes"] // nodes)


def test_publish_from_python(rate: Callable[..., None]) -> None:
    table, people, _ = table_and_keys(10_000)
    arguments = cycle([publish_arguments(people, node) for node in range(200)])
    rate(lambda: table.publish(**next(arguments)), 1)
    assert len(table) == 10_000


@pytest.mark.parametrize("call", ["classify_one", "decide_one"])
def test_one_packet_of_sixteen_flows(rate: Callable[..., None], call: str) -> None:
    people = node_set(1_000, 1, flows=(16, 16))
    table = fc.ForwardingTable()
    people.load(table)
    ports = (443).to_bytes(2, "big") + (999).to_bytes(2, "big")
    source = bytes.fromhex("20010db8000000000000000000000005")
    packet = b"\x60\0\0\0\0\x08\x11\x40" + source + people.home_addresses[5].tobytes() + ports + b"\0\x08\0\0"
    assert table.decide_one(packet).home_address == people.home_addresses[5].tobytes()
    one = getattr(table, call)
    rate(lambda: one(packet), 1)
