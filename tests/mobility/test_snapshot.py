"""The cache as octets, and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from mobility_kit import (
    COA1,
    COA2,
    COA3,
    HOME,
    HTTPS,
    NCAST,
    OTHER_HOME,
    SSH,
    A,
    M,
    Peer,
    ReadableTable,
    bid,
    flow,
)

from flowclass.errors import ArgumentError, FlowclassError
from flowclass.mobility import CareOf, HomeAgent, Node
from flowclass.wire import (
    CareOfTest,
    HomeTest,
    IPv4HomeAddress,
)

MAP_FLAGS = A | M


def full_peer() -> Peer:
    peer = Peer()
    peer.send(bid(1, COA1, 4), bid(2, "192.0.2.1"), flow(1, selector=SSH), flow(2, action=NCAST, bids=[2, 1]))
    peer.send(bid(1, HOME, home=True), IPv4HomeAddress(IPv4Address("10.0.0.1")), home=OTHER_HOME)
    peer.send(bid(1, COA1), home=COA3)
    peer.send(lifetime=0, home=COA3)
    return peer


def test_export_and_import() -> None:
    peer = full_peer()
    data = peer.agent.export_state(peer.now)
    copy = Peer()
    copy.send(home=COA2)
    copy.now = 5.0
    copy.agent.import_state(data, copy.now)
    assert set(copy.table.nodes) == {HOME.packed, OTHER_HOME.packed}
    assert copy.agent.export_state(copy.now) == data
    assert copy.table.nodes == peer.table.nodes
    assert copy.agent.cache.owners == peer.agent.cache.owners
    assert copy.agent.next_deadline() == 15.0
    assert copy.agent.cache.last_sequence(COA3.packed) == 4
    copy.sequence = 10
    assert copy.send(bid(1), flow(1)).flow_statuses == [135]
    copy.agent.tick(605.0)
    assert copy.agent.cache.get(OTHER_HOME.packed) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d[:-1],
        lambda d: b"\xff" + d,
        lambda d: d.replace(b'"format":1', b'"format":2'),
        lambda d: d.replace(b'"draft"', b'"rfc1"'),
        lambda d: d.replace(b'"fid":1', b'"fid":65536'),
        lambda d: d.replace(b'"rule":"00', b'"rule":"'),
        lambda d: d.replace(b'"bids":[1]', b'"bids":[]'),
        lambda d: d.replace(HOME.packed.hex().encode(), b"00"),
        lambda d: d.replace(OTHER_HOME.packed.hex().encode(), HOME.packed.hex().encode()),
        lambda d: d.replace(b'"prefixes":[]', b'"prefixes":[["00000000",33]]'),
        lambda d: d.replace(b'"also":[]', b'"also":["0a000001"]'),
        lambda d: b"[]",
    ],
)
def test_a_snapshot_that_makes_no_sense_changes_nothing(damage: Callable[[bytes], bytes]) -> None:
    peer = full_peer()
    data = peer.agent.export_state(peer.now)
    assert damage(data) != data
    before = peer.state()
    with pytest.raises(FlowclassError):
        peer.agent.import_state(damage(data), peer.now)
    assert peer.state() == before


def changed(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    snapshot = json.loads(data)
    change(snapshot["nodes"][0])
    return json.dumps(snapshot).encode()


def with_rule_octet(place: int, value: int) -> Callable[[dict[str, Any]], object]:
    def change(node: dict[str, Any]) -> None:
        rule = bytearray.fromhex(node["flows"][0]["rule"])
        rule[place] = value
        node["flows"][0]["rule"] = rule.hex()

    return change


@pytest.mark.parametrize(
    "change",
    [
        with_rule_octet(92, 9),  # an unknown version
        lambda n: n.update(prefixes=[[HOME.packed.hex(), 64]]),  # host bits
        lambda n: n.update(prefixes=[[f"20010db8{i:04x}{0:020x}", 48] for i in range(300)]),
        lambda n: n.update(also=[n["home"]]),
        lambda n: n.update(also=[OTHER_HOME.packed.hex()]),
        lambda n: n.update(agent="00"),
        lambda n: n["care_of"].append(n["care_of"][0]),
        lambda n: n["care_of"].append({**n["care_of"][0], "bid": 0}),
        lambda n: n["flows"].append(n["flows"][0]),
        lambda n: n["flows"][0].update(bids=[1, 1]),
    ],
)
def test_a_snapshot_that_the_engine_refuses_changes_nothing(change: Callable[[dict[str, Any]], object]) -> None:
    data = changed(full_peer().agent.export_state(1000.0), change)
    peer = Peer(agent=HomeAgent())
    peer.send(bid(9, COA3), flow(9, selector=HTTPS))
    peer.send(bid(9, COA3), home=COA3)
    table = peer.agent.table
    before = peer.state(), table.info()["nodes"], peer.agent.next_deadline()
    with pytest.raises(FlowclassError, match=r"^no snapshot of a binding cache: "):
        peer.agent.import_state(data, peer.now)
    assert (peer.state(), table.info()["nodes"], peer.agent.next_deadline()) == before


def test_a_snapshot_may_give_a_prefix_to_another_node() -> None:
    network = bytes.fromhex("20010db80005") + bytes(10), 48

    def agent_with(owner: IPv6Address) -> HomeAgent:
        agent = HomeAgent()
        for home in (HOME, OTHER_HOME):
            prefixes = (network,) if home == owner else ()
            agent.cache.put(Node(home.packed, care_of={1: CareOf(1, COA1.packed)}, prefixes=prefixes))
        return agent

    agent = agent_with(OTHER_HOME)
    agent.import_state(agent_with(HOME).export_state(0.0), 0.0)
    assert (len(agent.cache), agent.cache.owners) == (2, {network: HOME.packed})


def test_a_home_agent_from_a_snapshot_is_a_home_agent() -> None:
    agent = HomeAgent(table=ReadableTable())
    agent.import_state(full_peer().agent.export_state(1000.0), 0.0)
    assert len(agent.cache) == 2
    assert isinstance(CareOfTest(1, bytes(8), bytes(8)), CareOfTest)
    assert isinstance(HomeTest(1, bytes(8), bytes(8)), HomeTest)


def test_pieces_are_the_whole_and_a_snapshot_of_one_moment() -> None:
    peer = full_peer()
    whole = peer.agent.export_state(peer.now)
    assert json.loads(whole)["format"] == 1
    for most in (1, 2, 1000):
        pieces = peer.agent.export_pieces(peer.now, most)
        first = next(pieces)
        peer.send(bid(1, COA2))
        peer.agent.cache.remove(OTHER_HOME.packed)
        assert b"".join([first, *pieces]) == whole
        peer.agent.import_state(whole, peer.now)
        assert peer.agent.export_state(peer.now) == whole
    with pytest.raises(FlowclassError, match="most"):
        list(peer.agent.export_pieces(peer.now, 0))


@pytest.mark.parametrize("size", [1, 7, 100000])
def test_import_in_steps_from_pieces_of_any_size(size: int) -> None:
    whole = full_peer().agent.export_state(1000.0)
    agent = HomeAgent(table=ReadableTable())
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    assert list(agent.import_pieces(iter(pieces), 1000.0, most=1)) == [1, 2, 1, 2]
    assert agent.export_state(1000.0) == whole
    # other JSON of the same shape
    again = HomeAgent(table=ReadableTable())
    assert list(again.import_pieces(json.dumps(json.loads(whole), indent=1).encode(), 1000.0)) == [2]
    assert again.export_state(1000.0) == whole
    for cut in range(1, len(whole) - 1, 97):
        with pytest.raises(FlowclassError):
            list(again.import_pieces([whole[:cut]], 1000.0))
    assert again.export_state(1000.0) == whole


def test_what_changes_while_a_snapshot_comes_in_is_newer() -> None:
    whole = full_peer().agent.export_state(1000.0)
    peer = Peer()
    steps = peer.agent.import_pieces(whole, 1000.0, most=1)
    assert [next(steps), next(steps)] == [1, 2]
    peer.send(bid(7, COA3), home=OTHER_HOME, sequence=9)
    assert list(steps) == [1, 2]
    assert set(peer.agent.cache.nodes) == {HOME.packed, OTHER_HOME.packed}
    assert set(peer.agent.cache.nodes[OTHER_HOME.packed].care_of) == {7}


def test_an_import_that_is_given_up_takes_everything_back() -> None:
    whole = full_peer().agent.export_state(1000.0)
    peer = Peer()
    peer.send(bid(9, COA3))
    before = peer.state(), dict(peer.table.nodes)
    steps = peer.agent.import_pieces(whole, 1000.0, most=1)
    for _ in range(3):
        next(steps)
    assert peer.state() != before[0]
    steps.close()
    assert (peer.state(), dict(peer.table.nodes)) == before


def test_a_snapshot_that_is_a_text_is_refused() -> None:
    with pytest.raises(ArgumentError, match="data: a bytes-like object expected, got str"):
        HomeAgent().import_state("state.json", 0.0)  # type: ignore[arg-type]  # a path, as somebody may think
