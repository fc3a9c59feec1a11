"""The forwarding table against a naive one: every kind of node, key, kernel and batch length."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_forwarding import DISCARD, FORWARD, NCAST, Node, agrees, decide
from strategies import edge_key, neighbour, random_rules, rule_rows

import flowclass as fc
from flowclass.errors import ClassifierError

KERNELS = [name for name, runs in fc.kernels().items() if runs]
BLOCK = 128  # keys that a kernel has in flight
SECRET = bytes(range(16))


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


HOME = packed("2001:db8:1::1")
RULE = fc.make_rules(version=6, source_port=(22, 22))[0]


def number(address: bytes) -> int:
    return int.from_bytes(address, "big")


def network(address: bytes, length: int) -> tuple[bytes, int]:
    bits = 8 * len(address)
    return ((number(address) >> (bits - length) << (bits - length)).to_bytes(len(address), "big"), length)


def random_address(rnd: Random, near: Sequence[bytes]) -> bytes:
    """Of either version; often one that shares a prefix with an earlier one, or its neighbour."""
    if near and rnd.randint(0, 2):
        old = rnd.choice(near)
        flipped = number(old) ^ 1 << rnd.randint(0, 8 * len(old) - 1)
        return flipped.to_bytes(len(old), "big")
    return rnd.randbytes(rnd.choice([4, 16]))


def random_node(rnd: Random, addresses: list[bytes], networks: list[tuple[bytes, int]], n_flows: int) -> Node:
    """A node with addresses and prefixes that are nobody's yet (they are added to the lists)."""

    def fresh() -> bytes:
        while (address := random_address(rnd, addresses)) in addresses:
            pass
        addresses.append(address)
        return address

    home = fresh()
    also = tuple(fresh() for _ in range(rnd.choice([0, 0, 1, 3])))
    prefixes = []
    for _ in range(rnd.choice([0, 0, 1, 3])):
        base = random_address(rnd, addresses + [a for a, _ in networks])
        prefix = network(base, rnd.randint(0, 8 * len(base)))
        if prefix not in networks:
            networks.append(prefix)
            prefixes.append(prefix)
    targets = tuple(
        (rnd.choice([0, i + 1, 60000 + i]), random_address(rnd, [])) for i in range(rnd.choice([0, 1, 3, 5]))
    )
    if len(targets) > 2:
        targets = (*targets[:-1], (targets[-1][0], targets[0][1]))  # two BIDs, one address
    default = rnd.randrange(len(targets)) if targets and rnd.randint(0, 7) else -1
    plain = random_rules(rnd, n_flows)
    for rule in plain:
        if "destination" in rule.ranges and rnd.randint(0, 2):
            target = rnd.choice([home, *also, *(a for a, _ in prefixes)])
            if rule.version == (4 if len(target) == 4 else 6):
                rule.ranges["destination"] = neighbour(rnd, (number(target),) * 2, 8 * len(target))
    node = Node(home, also, tuple(prefixes), targets, default, ())
    fids = rnd.sample(range(65536), n_flows)
    flows = []
    for fid, row in zip(fids, rule_rows(plain, rnd), strict=True):
        picks = rnd.choices(range(len(targets)), k=rnd.choice([0, 1, 1, 1, 2, 4])) if targets else []
        flows.append((fid, rnd.choice([FORWARD, FORWARD, DISCARD, NCAST]), tuple(picks), row))
    node.flows = tuple(flows)
    node.rules = tuple(plain)
    return node


def random_key(rnd: Random, nodes: Sequence[Node]) -> Any:
    """A key for one of a node's addresses, inside or near its prefixes, or for nobody."""
    node = rnd.choice(list(nodes)) if nodes else Node(HOME)
    key = edge_key(rnd, node.rules)
    base = rnd.choice([node.home, node.home, *node.also, *(a for a, _ in node.prefixes)])
    value = number(base)
    if rnd.randint(0, 3) == 0:
        value ^= 1 << rnd.randint(0, 8 * len(base) - 1)
    if rnd.randint(0, 7) == 0:
        return key
    if (key["version"] == 4) != (len(base) == 4):
        key["version"] = 4 if len(base) == 4 else 6
        if len(base) == 4:
            key["source"] = (0, int(key["source"][1]) & 0xFFFFFFFF)
    key["destination"] = (value >> 64, value & (1 << 64) - 1)
    key["present"] |= oracle.BITS["destination"]
    if rnd.randint(0, 15) == 0:
        key["protocol"], key["present"] = 135, key["present"] | oracle.BITS["protocol"]
    return key


def random_keys(rnd: Random, nodes: Sequence[Node], n: int) -> npt.NDArray[np.void]:
    keys = np.zeros(n, fc.KEY_DTYPE)
    for i in range(n):
        keys[i] = random_key(rnd, nodes)
    return keys


def random_table(rnd: Random, n_nodes: int, flows: Sequence[int]) -> tuple[fc.ForwardingTable, list[Node]]:
    addresses: list[bytes] = []
    networks: list[tuple[bytes, int]] = []
    nodes = [random_node(rnd, addresses, networks, rnd.choice(list(flows))) for _ in range(n_nodes)]
    table = fc.ForwardingTable(SECRET)
    for node in nodes:
        node.publish(table)
    return table, nodes


def check(table: fc.ForwardingTable, nodes: Sequence[Node], keys: npt.NDArray[np.void], kernel: str) -> None:
    decisions = table.classify(keys, kernel=kernel)
    for i, (key, decision) in enumerate(zip(keys, decisions, strict=True)):
        answer = decide(nodes, key)
        assert agrees(table, decision, answer), (kernel, i, key, decision, answer)


@pytest.mark.req("R2", "R3", "R38", "R40", "R41", "R42", "R49", "R59", "R60")
@pytest.mark.parametrize("kernel", KERNELS)
@given(rnd=st.randoms(use_true_random=False), n_nodes=st.integers(0, 6), n_flows=st.integers(0, 12))
def test_equals_the_naive_table(kernel: str, rnd: Random, n_nodes: int, n_flows: int) -> None:
    table, nodes = random_table(rnd, n_nodes, [n_flows, 0, 3])
    check(table, nodes, random_keys(rnd, nodes, 40), kernel)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("n_nodes", "flows"), [(1, [64]), (40, [0, 1, 63, 64, 65]), (500, [0, 1, 4, 16, 64])])
def test_tables_of_many_nodes_and_flows(kernel: str, n_nodes: int, flows: list[int]) -> None:
    """Issue 2: 1 to 500 nodes of up to 64 flows (and more), all eight fields, packet by packet."""
    rnd = Random(n_nodes)
    table, nodes = random_table(rnd, n_nodes, flows)
    check(table, nodes, random_keys(rnd, nodes, 600), kernel)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_batch_length(kernel: str) -> None:
    rnd = Random(5)
    table, nodes = random_table(rnd, 20, [0, 3, 17, 70])
    keys = random_keys(rnd, nodes, 2 * BLOCK + 1)
    whole = table.classify(keys, kernel="scalar")
    check(table, nodes, keys, "scalar")
    for n in range(len(keys) + 1):
        assert np.array_equal(table.classify(keys[:n], kernel=kernel), whole[:n]), n
    for first in range(0, BLOCK, 7):
        assert np.array_equal(table.classify(keys[first:], kernel=kernel), whole[first:]), first


@given(rnd=st.randoms(use_true_random=False), steps=st.integers(1, 40))
def test_publish_over_and_withdraw(rnd: Random, steps: int) -> None:
    """Nodes come, change their addresses, prefixes and flows, and go; after each step the table is the naive one."""
    table = fc.ForwardingTable(SECRET)
    nodes: dict[bytes, Node] = {}
    pool = [random_address(rnd, []) for _ in range(6)]
    nets = [network(rnd.choice(pool), rnd.randint(0, 32)) for _ in range(4)]
    for _ in range(steps):
        home = rnd.choice(pool)
        if rnd.randint(0, 3) == 0:
            if home in nodes:
                table.withdraw(home)
                del nodes[home]
            else:
                with pytest.raises(ClassifierError, match="no node"):
                    table.withdraw(home)
            continue
        node = random_node(rnd, [], [], rnd.randint(0, 5))
        node.home = home
        node.also = tuple(dict.fromkeys(rnd.choices(pool, k=rnd.randint(0, 2))))
        node.prefixes = tuple(dict.fromkeys(rnd.choices(nets, k=rnd.randint(0, 2))))
        others = [n for n in nodes.values() if n.home != home]
        taken = {a for n in others for a in (n.home, *n.also)} | {home}
        if (
            taken & set(node.also)
            or home in {a for n in others for a in n.also}
            or {p for n in others for p in n.prefixes} & set(node.prefixes)
        ):
            with pytest.raises(ClassifierError, match="another node"):
                node.publish(table)
        else:
            node.publish(table)
            nodes[home] = node
        check(table, list(nodes.values()), random_keys(rnd, list(nodes.values()), 6), "scalar")
    assert len(table) == len(nodes)
    present = {a for n in nodes.values() for a in (n.home, *n.also)}
    assert [a in table for a in pool] == [a in present for a in pool]
