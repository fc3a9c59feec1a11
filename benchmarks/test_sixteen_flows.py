"""How many keys per second does one thread decide when every mobile node has 16 flows, kernel by kernel?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

import flowclass as fc
from flowclass.bench.nodes import nodes_of, verify
from flowclass.engine.decisions import DECISION_DTYPE
from flowclass.generate.nodes import node_keys, node_set


@pytest.mark.parametrize("kernel", ["auto", *(name for name, runs in fc.kernels().items() if runs)])
@pytest.mark.parametrize("nodes", [1, 1_000, 100_000])
def test_sixteen_flows(rate: Callable[..., None], nodes: int, kernel: str) -> None:
    people = node_set(nodes, 1, flows=(16, 16))
    table = fc.ForwardingTable()
    people.load(table)
    keys = node_keys(people, 50_000, 2)
    verify(table, people, keys, nodes_of(people, keys[:500]), [kernel])
    out = table.classify(keys, kernel=kernel)
    assert out.dtype == DECISION_DTYPE
    rate(lambda: table.classify(keys, out, kernel=kernel), len(keys), bytes_per_node=table.info()["bytes"] // nodes)
