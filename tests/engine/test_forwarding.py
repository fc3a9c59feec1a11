"""The forwarding table against a naive one: every kind of node, key, kernel and batch length."""

from __future__ import annotations

import ipaddress
import re
import subprocess
import sys
from collections.abc import Sequence
from random import Random
from typing import Any, cast

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


def random_node(
    rnd: Random,
    addresses: list[bytes],
    networks: list[tuple[bytes, int]],
    n_flows: int,
    n_targets: Sequence[int] = (0, 1, 3, 5),
) -> Node:
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
    targets = tuple((rnd.choice([0, i + 1, 60000 + i]), random_address(rnd, [])) for i in range(rnd.choice(n_targets)))
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
@pytest.mark.parametrize("n_targets", [40, 100, 254])
def test_flows_behind_many_targets(kernel: str, n_targets: int) -> None:
    """One octet says where a flow's body ends, in units that grow with the record."""
    rnd = Random(n_targets)
    nodes = [random_node(rnd, [], [], n_flows, [n_targets]) for n_flows in (0, 1, 15, 48)]
    for node in nodes:
        table = fc.ForwardingTable(SECRET)
        node.publish(table)
        check(table, [node], random_keys(rnd, [node], 150), kernel)


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_stays_on_its_link_is_in_no_prefix(kernel: str) -> None:
    everything = Node(HOME, (), ((bytes(16), 0), (bytes(4), 0)), ((1, bytes(16)),), 0, ())
    table = fc.ForwardingTable(SECRET)
    everything.publish(table)
    near = ["fe7f:ffff::", "fe80::", "febf:ffff::", "fec0::", "ff00::", "ff02::1", "ff03::1", "fff2::1", "fff3::"]
    near4 = ["169.253.0.1", "169.254.0.0", "169.255.0.0", "224.0.0.251", "224.0.1.0", "255.255.255.255", "223.1.1.1"]
    keys = np.concatenate([fc.make_keys(destination=near), fc.make_keys(version=4, destination=near4)])
    check(table, [everything], keys, kernel)
    assert [d["action"] for d in table.classify(keys)] == [1, 0, 0, 1, 0, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1]


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
            with pytest.raises(ClassifierError, match=r"another node|given twice"):
                node.publish(table)
        else:
            node.publish(table)
            nodes[home] = node
        check(table, list(nodes.values()), random_keys(rnd, list(nodes.values()), 6), "scalar")
    assert len(table) == len(nodes)
    present = {a for n in nodes.values() for a in (n.home, *n.also)}
    assert [a in table for a in pool] == [a in present for a in pool]


# ---- packets ----------------------------------------------------------------------------------------------------


def udp6(source: str, destination: str, sport: int, dport: int) -> bytes:
    udp = sport.to_bytes(2, "big") + dport.to_bytes(2, "big") + b"\0\x08\0\0"
    return b"\x60\0\0\0" + len(udp).to_bytes(2, "big") + b"\x11\x40" + packed(source) + packed(destination) + udp


def fragment6(offset: int, more: bool, payload: bytes) -> bytes:
    header = b"\x11\0" + (offset << 3 | more).to_bytes(2, "big") + b"\0\0\0\x07"
    return (
        b"\x60\0\0\0"
        + (8 + len(payload)).to_bytes(2, "big")
        + b"\x2c\x40"
        + packed("2001:db8::5")
        + HOME
        + header
        + payload
    )


def two_targets() -> tuple[tuple[int, bytes], ...]:
    return ((1, packed("2001:db8:a::1")), (2, packed("2001:db8:b::1")))


@pytest.mark.req("R81")
@pytest.mark.parametrize("kernel", KERNELS)
def test_packets_of_every_reason(kernel: str) -> None:
    table = fc.ForwardingTable(SECRET)
    table.publish(HOME, targets=two_targets(), default=1, flows=[(9, FORWARD, (0,), bytes(RULE))])
    table.publish(packed("10.0.0.1"))  # registered, but nowhere to send to
    ssh, web = udp6("2001:db8::5", "2001:db8:1::1", 22, 5), udp6("2001:db8::5", "2001:db8:1::1", 443, 5)
    mobility = ssh[:6] + bytes([135]) + ssh[7:]
    echo = ssh[:6] + bytes([58]) + ssh[7:40] + bytes([128]) + ssh[41:]
    discovery = ssh[:6] + bytes([58]) + ssh[7:40] + bytes([144]) + ssh[41:]
    ipv4 = bytes.fromhex("4500001400000000401100000a0000090a000001")
    packets = [ssh, web, mobility, discovery, echo, ipv4, ssh[:30], b"\x50" + bytes(60), b"", udp6("::1", "::2", 1, 1)]
    expected = [4, 5, 3, 3, 5, 2, 1, 0, 1, 2]
    for repeat in (1, 40):
        decisions = table.classify_packets(packets * repeat, kernel=kernel)
        assert decisions["reason"].tolist() == expected * repeat
        assert decisions["bid"].tolist() == [1, 2, 2, 2, 2, 0, 0, 0, 0, 0] * repeat
        assert (decisions["flags"] >> 2 & 1).tolist() == [1, 1, 1, 1, 1, 1, 0, 0, 0, 0] * repeat
    assert [table.care_of(d) for d in decisions[2:4]] == [table.care_of(decisions[1])] * 2
    assert table.home_address(table.classify_packets([ipv4])[0]) == packed("10.0.0.1")
    buffer = b"".join(packets)
    lengths = np.array([len(p) for p in packets])
    offsets = np.cumsum(lengths) - lengths
    split = table.classify_packets((buffer, offsets, lengths), kernel=kernel, threads=2)
    assert np.array_equal(split, decisions[: len(packets)])


def test_later_fragments_go_where_their_first_went() -> None:
    table = fc.ForwardingTable(SECRET)
    table.publish(HOME, targets=two_targets(), default=1, flows=[(9, FORWARD, (0,), bytes(RULE))])
    first, later = fragment6(0, True, b"\0\x16\0\x05\0\x10\0\0"), fragment6(1, False, b"\0" * 8)
    from flowclass.engine.packets import Fragments

    assert table.classify_packets([first, later])["bid"].tolist() == [1, 2]
    assert table.classify_packets([first, later], fragments=Fragments(), threads=4)["bid"].tolist() == [1, 1]


def test_one_packet_at_a_time() -> None:
    table = fc.ForwardingTable(SECRET)
    rules = fc.make_rules(version=6, source_port=([22, 23, 24], [22, 23, 24]))
    flows = [
        (1, FORWARD, (1,), bytes(rules[0])),
        (2, NCAST, (1, 0), bytes(rules[1])),
        (3, DISCARD, (), bytes(rules[2])),
    ]
    table.publish(HOME, targets=two_targets(), default=0, flows=flows)
    for port in (22, 23, 24, 25):
        packet = udp6("2001:db8::5", "2001:db8:1::1", port, 5)
        row = table.classify_packets([packet])[0]
        one, decision = table.classify_one(packet), table.decide_one(memoryview(packet))
        assert (one & 3, one >> 2 & 7, one >> 5 & 7) == (row["action"], row["reason"], row["flags"] & 7)
        assert (one >> 8 & 0xFFFF, one >> 24 & 0xFFFF, one >> 40) == (row["bid"], row["fid"], row["n_targets"])
        assert (decision.action, decision.reason, decision.home_address) == (row["action"], row["reason"], HOME)
        assert (decision.fid or 0, decision.bid or 0) == (row["fid"], row["bid"])
        assert decision.care_of == table.care_of(row)
    assert table.decide_one(packet[:3]).home_address is None


# ---- targets ------------------------------------------------------------------------------------------------------


@pytest.mark.req("R22", "R23", "R24")
def test_n_cast_sends_each_address_once_in_the_order_of_the_flow() -> None:
    a, b = packed("2001:db8:a::1"), packed("10.9.8.7")
    everything = bytes(fc.make_rules()[0])
    for n_flows in (1, 70):  # in a record, and through the flat classifier
        never = [(100 + i, DISCARD, (), bytes(fc.make_rules(spi=(i, i))[0])) for i in range(n_flows - 1)]
        table = fc.ForwardingTable(SECRET)
        table.publish(HOME, targets=((5, a), (6, b), (7, a)), flows=[*never, (1, NCAST, (1, 2, 0, 1), everything)])
        decision = table.classify(fc.make_keys(destination=HOME))[0]
        assert (decision["action"], decision["n_targets"], decision["bid"], decision["flags"] & 2) == (NCAST, 2, 0, 0)
        assert table.care_of(decision) == (b, a)
        table.publish(HOME, targets=((5, a), (6, b)), flows=[*never, (1, NCAST, (0,), everything)])
        decision = table.classify(fc.make_keys(destination=HOME))[0]
        assert (decision["action"], decision["n_targets"], decision["bid"]) == (NCAST, 1, 0)
        assert table.care_of(decision) == (a,)


@pytest.mark.req("R27", "R28", "R46")
@pytest.mark.parametrize("n_flows", [1, 70])
def test_a_lost_bid_moves_only_its_own_flows(n_flows: int) -> None:
    rnd = Random(3)
    n = 4000
    keys = fc.make_keys(
        destination=HOME,
        source=np.array([[rnd.getrandbits(64), rnd.getrandbits(64)] for _ in range(n)], np.uint64),
        protocol=6,
        source_port=[rnd.randrange(65536) for _ in range(n)],
        destination_port=443,
    )
    everything = bytes(fc.make_rules()[0])
    never = [(100 + i, DISCARD, (), bytes(fc.make_rules(spi=(i, i))[0])) for i in range(n_flows - 1)]

    def bids(present: list[int], addresses: int = 0) -> npt.NDArray[Any]:
        table = fc.ForwardingTable()
        targets = [(bid, bytes([addresses, *bytes(14), bid])) for bid in present]
        rnd.shuffle(targets)
        table.publish(HOME, targets=targets, default=0, flows=[*never, (1, FORWARD, range_tuple(targets), everything)])
        for kernel in KERNELS:
            assert np.array_equal(table.classify(keys, kernel=kernel), table.classify(keys))
        return np.array(table.classify(keys)["bid"])

    before = bids([1, 2, 3, 4])
    assert all(n / 4 * 0.85 < count < n / 4 * 1.15 for count in np.bincount(before)[1:])
    after = bids([1, 2, 4])
    assert np.array_equal(after[before != 3], before[before != 3])
    assert set(after[before == 3]) == {1, 2, 4}
    assert np.array_equal(bids([1, 2, 3, 4], addresses=7), before)  # another care-of address of a BID moves nothing


def range_tuple(values: Sequence[object]) -> tuple[int, ...]:
    return tuple(range(len(values)))


def test_a_node_of_both_versions_and_prefixes_inside_prefixes() -> None:
    table = fc.ForwardingTable(SECRET)
    inner, outer = packed("2001:db8:5::1"), packed("2001:db8:6::1")
    care_of = packed("2001:db8:a::1")
    table.publish(
        HOME, also=[packed("10.0.0.1")], prefixes=[(packed("10.1.0.0"), 16)], targets=[(1, care_of)], default=0
    )
    table.publish(
        outer, prefixes=[(packed("2001:db8:100::"), 40), (packed("::"), 0)], targets=[(2, care_of)], default=0
    )
    table.publish(inner, prefixes=[(packed("2001:db8:100::"), 56)], targets=[(3, care_of)], default=0)
    homes = {
        "10.0.0.1": HOME,
        "10.1.255.255": HOME,
        "10.2.0.0": None,
        "2001:db8:1::1": HOME,
        "2001:db8:100:ff::1": inner,
        "2001:db8:100:100::1": outer,
        "2001:db8:5::1": inner,
        "ffff::": outer,
    }
    for text, home in homes.items():
        key = fc.make_keys(version=4 if "." in text else 6, destination=text)
        assert table.home_address(table.classify(key)[0]) == home, text
    table.withdraw(outer)
    assert table.classify(fc.make_keys(destination="ffff::"))["reason"].tolist() == [2]
    with pytest.raises(ClassifierError, match="another node"):
        table.publish(outer, prefixes=[(packed("2001:db8:100::"), 56)])
    with pytest.raises(ClassifierError, match="another node"):
        table.publish(packed("10.0.0.1"))
    assert outer not in table
    assert len(table) == 2


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"prefixes": [(packed("2001:db8::"), 64), (HOME, 64)]}, "prefixes[1]: has bits beyond its length"),
        ({"also": [packed("10.0.0.1"), HOME]}, "also[1]: given twice"),
        ({"also": [packed("2001:db8::77")]}, "also[0]: another node's"),
        ({"flows": [(1, DISCARD, (), bytes(RULE)), (2, 4, (), bytes(RULE))]}, "flows[1].action: none of"),
        ({"flows": [(1, DISCARD, (), bytes(92) + b"\x09\0\0\0")]}, "flows[0].rule.version: "),
    ],
)
def test_a_refused_node_is_told_which_field_is_wrong(arguments: dict[str, Any], place: str) -> None:
    table = fc.ForwardingTable(SECRET)
    table.publish(packed("2001:db8::77"))
    with pytest.raises(ClassifierError, match=re.escape(place)):
        table.publish(HOME, **arguments)
    assert HOME not in table


# ---- the rest -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"targets": [(1, b"123")]},
        {"targets": [(65536, HOME)]},
        {"also": [b""]},
        {"also": [HOME]},
        {"prefixes": [(HOME, 129)]},
        {"prefixes": [(HOME, 64)]},
        {"prefixes": [(packed("10.0.0.0"), 33)]},
        {"default": 0},
        {"default": -2},
        {"flows": [(1, 0, (), bytes(RULE))]},
        {"flows": [(1, 4, (), bytes(RULE))]},
        {"flows": [(1, FORWARD, (0,), bytes(RULE))]},
        {"flows": [(1, DISCARD, (), b"short")]},
        {"flows": [(1, DISCARD, ())]},
        {"flows": [(70000, DISCARD, (), bytes(RULE))]},
        {"flows": [(1, DISCARD, (), bytes(fc.make_rules(source_port=(5, 5))[0])[:-2] + b"\x09\x00")], "also": [b"1"]},
    ],
)
def test_what_is_refused_changes_nothing(arguments: dict[str, Any]) -> None:
    table = fc.ForwardingTable(SECRET)
    table.publish(HOME, targets=[(7, HOME)], default=0)
    before = table.classify(fc.make_keys(destination=HOME))
    with pytest.raises(ClassifierError):
        table.publish(HOME, **arguments)
    assert np.array_equal(table.classify(fc.make_keys(destination=HOME)), before)
    assert len(table) == 1


def test_arguments_of_classify_are_checked() -> None:
    table = fc.ForwardingTable(SECRET)
    keys = fc.make_keys(destination=HOME, source_port=[1, 2])
    with pytest.raises(ClassifierError, match="KEY_DTYPE"):
        table.classify(cast(Any, np.zeros(3)))
    with pytest.raises(ClassifierError, match="at least 2"):
        table.classify(keys, np.zeros(1, fc.DECISION_DTYPE))
    with pytest.raises(ClassifierError, match="no kernel"):
        table.classify(keys, kernel="fast")
    out = np.ones(5, fc.DECISION_DTYPE)
    assert len(table.classify(keys, out)) == 2
    out.flags.writeable = False
    with pytest.raises(ClassifierError, match="contiguous array that can be written to"):
        table.classify(keys, out)
    assert out["reason"].tolist() == [2, 2, 1, 1, 1]
    assert len(table.classify(keys[:0])) == 0
    assert table.classify(keys[::-1])["reason"].tolist() == [2, 2]


def test_load_equals_publish() -> None:
    from flowclass.generate.nodes import node_keys, node_set

    nodes = node_set(300, 4, flows=(0, 70))
    loaded, published = fc.ForwardingTable(SECRET), fc.ForwardingTable(SECRET)
    numbers = nodes.load(loaded)
    for i in range(300):
        t, f = slice(*nodes.target_offsets[i : i + 2]), slice(*nodes.flow_offsets[i : i + 2])
        flows = [
            (int(x["fid"]), int(x["action"]), (int(nodes.flow_targets[x["targets"]]),), bytes(x["rule"]))
            for x in nodes.flows[f]
        ]
        targets = [(int(x["bid"]), bytes(x["address"])) for x in nodes.targets[t]]
        number = published.publish(bytes(nodes.home_addresses[i]), targets=targets, default=0, flows=flows)
        assert number == numbers[i]
    keys = node_keys(nodes, 3000, 5)
    for name in ("action", "reason", "flags", "fid", "bid", "node", "care_of"):
        assert np.array_equal(loaded.classify(keys)[name], published.classify(keys)[name])
    reasons = np.bincount(loaded.classify(keys)["reason"], minlength=6)
    assert reasons[4] > 1000
    assert reasons[5] > 100


def test_threads_give_the_same_answers() -> None:
    rnd = Random(11)
    table, nodes = random_table(rnd, 30, [0, 5, 70])
    keys = np.tile(random_keys(rnd, nodes, 500), 100)
    assert np.array_equal(table.classify(keys, threads=3), table.classify(keys))


def test_memory_is_counted_and_given_back() -> None:
    table = fc.ForwardingTable(SECRET)
    flows = [(i, DISCARD, (), bytes(RULE)) for i in range(200)]
    for i in range(50):
        table.publish(i.to_bytes(4, "big"), targets=[(1, HOME)], default=0, flows=flows)
    full = table.info()
    assert full["nodes"] == 50
    assert full["bytes"] > 50 * 200 * 8
    for i in range(50):
        table.withdraw(i.to_bytes(4, "big"))
    table.reclaim()
    empty = table.info()
    assert (empty["nodes"], empty["addresses"], empty["waiting"]) == (0, 0, 0)
    assert empty["bytes"] < full["bytes"] / 2


_ENDS = """
import threading
import numpy as np
import flowclass as fc

table, rules = fc.ForwardingTable(bytes(16)), fc.make_rules(protocol=(6, 6), source_port=([1, 2, 3], [1, 2, 3]))
classifier, begun = fc.Classifier(rules), threading.Barrier(4)
keys = fc.make_keys(version=6, destination="2001:db8::1", protocol=6, source_port=np.arange(50000) % 4)


def read():
    begun.wait()
    while True:
        classifier.classify(keys)
        table.classify(keys, threads=2)


def write():
    begun.wait()
    while True:
        table.publish("2001:db8::1", targets=[(1, "2001:db8:a::1")], default=0)
        classifier.remove(classifier.insert(rules[:1], [-1.0]))


for target in (read, read, write):
    threading.Thread(target=target, daemon=True).start()
begun.wait()
"""


def test_a_process_may_end_while_threads_are_in_the_engine() -> None:
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", _ENDS], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
