"""Mobility anchor point, correspondent node, IPv4 home addresses, and the cache as octets."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mobility_kit import (
    AGENT,
    COA1,
    COA2,
    COA3,
    DISCARD,
    HOME,
    HTTPS,
    NCAST,
    OTHER_HOME,
    REFRESH,
    REMOVE,
    REPLACE,
    SSH,
    A,
    Answer,
    H,
    M,
    Peer,
    R,
    ReadableTable,
    bid,
    flow,
)

from flowclass.errors import FlowclassError
from flowclass.mobility import Capabilities, CareOf, CorrespondentNode, HomeAgent, MobilityAnchorPoint, Node, NonceTable
from flowclass.wire import (
    AlternateCareOf,
    BindingAuthorizationData,
    BindingError,
    BindingRefreshRequest,
    BindingUpdate,
    CareOfTest,
    CareOfTestInit,
    HomeTest,
    HomeTestInit,
    IPv4AddressAcknowledgement,
    IPv4HomeAddress,
    MobilityPacket,
    NonceIndices,
    Verbatim,
    decode_packet,
    encode_packet,
)
from flowclass.wire.auth import authorize, binding_key, is_authentic

MAP_FLAGS = A | M


# ---- mobility anchor point


def anchor_point(**how: Any) -> Peer:
    table = ReadableTable()
    peer = Peer(agent=MobilityAnchorPoint(table=table, **how))
    peer.table = table
    return peer


@pytest.mark.req("R132", "R133", "R134", "R135", "R136", "R71", "K28")
def test_an_anchor_point_binds_flows_to_the_regional_address() -> None:
    peer = anchor_point()
    answer = peer.send(bid(1, COA1, 1), flow(1, selector=SSH), flow(1), flags=MAP_FLAGS)
    assert (answer.status, answer.flow_statuses) == (0, [0, 135])
    assert answer.packet.routing_home == HOME  # the RCoA; without it the mobile node would ignore the answer
    assert peer.node.flows[1].expires == peer.now + 600
    assert peer.decide(source_port=22) == ("forward", 1, [str(COA1)])
    answer = peer.send(bid(1), flow(9, pro=REPLACE), flow(9, pro=REFRESH), flow(9, pro=REMOVE), flags=MAP_FLAGS)
    assert answer.flow_statuses == [129, 129, 136]
    assert peer.send(lifetime=0, flags=MAP_FLAGS).status == 0
    assert peer.node is None


def test_what_is_no_local_binding_update() -> None:
    peer = anchor_point()
    assert peer.send(bid(1, COA1)).status == 131
    assert peer.replies(peer.packet(flags=A)) == []
    assert peer.replies(peer.packet(NonceIndices(1, 1), flags=MAP_FLAGS)) == []
    assert len(peer.agent.cache) == 0


def test_where_an_anchor_point_lets_its_nodes_be() -> None:
    peer = anchor_point(
        home_prefixes=[(IPv6Address("2001:db8:1::").packed, 48)],
        care_of_prefixes=[(IPv6Address("2001:db8:a::").packed, 48)],
    )
    assert peer.send(flags=MAP_FLAGS, home=IPv6Address("2001:db8:2::1")).status == 132
    assert peer.send(flags=MAP_FLAGS, source=COA2).status == 129
    assert peer.send(bid(1, COA2), flags=MAP_FLAGS, source=COA1).status == 129
    assert peer.send(bid(1, COA1), flags=MAP_FLAGS).status == 0
    assert peer.send(bid(1), flags=MAP_FLAGS, source=COA2).status == 0
    assert peer.send(flags=MAP_FLAGS, source=COA2, lifetime=0).status == 0


# ---- correspondent node


class RoutableNode(Peer):
    """A mobile node that does return routability with a correspondent node, correctly unless told otherwise."""

    def __init__(self, profile: str = "draft", **how: Any) -> None:
        table = ReadableTable()
        super().__init__(profile, CorrespondentNode(profile, table=table, **how))
        self.table = table

    def test(self, kind: Callable[..., Any], source: IPv6Address) -> Any:
        packet = MobilityPacket(source, AGENT, kind(b"cookie!!", (bid(7),) if kind is CareOfTestInit else ()))
        (reply,) = self.replies(packet)
        assert (reply.source, reply.destination, reply.routing_home) == (AGENT, source, None)
        assert reply.message.cookie == b"cookie!!"  # type: ignore[union-attr]
        return reply.message

    def sealed(
        self, *options: Any, care_of: IPv6Address = COA1, lifetime: int = 100, flags: int = A, **how: Any
    ) -> MobilityPacket:
        """An authorized update; `home_nonce` and `care_of_nonce` replace the indices, `key` the key."""
        home = self.test(HomeTestInit, HOME)
        test = self.test(CareOfTestInit, care_of)
        key = binding_key(home.token, test.token if lifetime else b"")
        indices = NonceIndices(
            how.pop("home_nonce", home.nonce_index), how.pop("care_of_nonce", test.nonce_index if lifetime else 0)
        )
        self.key = how.pop("key", key)
        packet = self.packet(indices, *options, lifetime=lifetime, flags=flags, **how)
        assert isinstance(packet.message, BindingUpdate)
        covered = care_of if lifetime else HOME
        return replace(
            packet, message=authorize(packet.message, self.key, covered, AGENT, self.agent.profile)
        )  # fmt: skip

    def bind(self, *options: Any, **how: Any) -> Answer:
        (reply,) = self.replies(self.sealed(*options, **how))
        return Answer(reply)


@pytest.mark.req("R91", "R105", "R109", "R110", "R111", "R112", "R72", "R113i", "R113c", "R1")
def test_a_binding_at_a_correspondent_node() -> None:
    peer = RoutableNode()
    packet = peer.sealed(bid(1, priority=3), flow(1, bids=[1], selector=SSH))
    data = peer.agent.receive(encode_packet(packet), now=peer.now)[0]
    answer = Answer(decode_packet(data))
    assert (answer.status, answer.lifetime, answer.flow_statuses) == (0, 100, [0])
    assert (answer.packet.destination, answer.packet.routing_home) == (COA1, HOME)
    assert isinstance(answer.options[-1], BindingAuthorizationData)
    assert is_authentic(data[-8 * (data[40 + 24 + 1] + 1) :], peer.key, COA1, AGENT)
    assert peer.decide(source_port=22) == ("forward", 1, [str(COA1)])
    assert peer.node.care_of[1].priority == 3
    # a second care-of address in an update of its own (R107)
    assert peer.bind(bid(2, COA2), flow(2, selector=HTTPS), care_of=COA2, source=COA2).flow_statuses == [0]
    assert peer.decide(source_port=443) == ("forward", 2, [str(COA2)])


def test_the_lifetime_at_a_correspondent_node_is_bounded() -> None:
    assert RoutableNode().bind(lifetime=65535).lifetime == 105


@pytest.mark.req("R106", "R112", "R137")
@pytest.mark.parametrize(
    "damage",
    [
        {"key": bytes(20)},
        {"care_of": COA2},  # the token of another address
        {"source": COA2},
    ],
)
def test_what_is_not_authentic_is_silence(damage: dict[str, Any]) -> None:
    peer = RoutableNode()
    assert peer.replies(peer.sealed(flow(1), **damage)) == []
    assert peer.agent.counters.ignored["authenticator"] == 1
    assert peer.node is None


@pytest.mark.req("R112")
def test_an_update_without_authenticator_or_nonces() -> None:
    peer = RoutableNode()
    assert peer.replies(peer.packet(flags=A)) == []
    assert peer.replies(peer.packet(NonceIndices(1, 1), flags=A)) == []
    assert peer.replies(peer.packet(BindingAuthorizationData(bytes(12)), flags=A)) == []
    assert peer.replies(peer.sealed(), authenticated=False) == []
    assert peer.node is None
    answer = peer.send(flags=A | H)
    assert (answer.status, answer.options) == (131, [])


@pytest.mark.req("R112")
def test_an_authenticator_that_is_not_last() -> None:
    peer = RoutableNode()
    packet = peer.sealed()
    message = packet.message
    assert isinstance(message, BindingUpdate)
    swapped = replace(
        packet, message=replace(message, options=Verbatim((*message.options[-1:], *message.options[:-1])))
    )
    assert peer.replies(swapped) == []
    assert peer.replies(packet) != []


@pytest.mark.req("K29")
def test_expired_nonces() -> None:
    peer = RoutableNode()
    for damage, status in [({"home_nonce": 77}, 136), ({"care_of_nonce": 77}, 137)]:
        answer = peer.bind(flow(1), **damage)
        assert (answer.status, answer.flow_statuses) == (status, [128])
        assert not any(isinstance(o, BindingAuthorizationData) for o in answer.options)
    assert peer.bind(home_nonce=77, care_of_nonce=78).status == 138
    packet = peer.sealed()
    peer.now += 239
    late = peer.sealed()
    peer.now += 1
    (reply,) = peer.replies(packet)
    assert Answer(reply).status == 138
    assert Answer(peer.replies(late)[0]).status == 0


def test_sequence_numbers_and_replays() -> None:
    peer = RoutableNode()
    first = peer.sealed(bid(1), lifetime=1)
    assert Answer(peer.replies(first)[0]).status == 0
    answer = Answer(peer.replies(first)[0])
    assert (answer.status, answer.sequence) == (135, 1)
    assert isinstance(answer.options[-1], BindingAuthorizationData)
    peer.now += 4
    peer.agent.tick(peer.now)
    assert peer.node is None
    assert Answer(peer.replies(first)[0]).status == 135  # the binding is gone, the nonces still hold: remembered
    peer.now += 240
    peer.agent.tick(peer.now)
    assert Answer(peer.replies(first)[0]).status == 138


@pytest.mark.req("R109")
def test_a_mobile_router_is_refused() -> None:
    peer = RoutableNode()
    assert peer.bind(flags=A | R).status == 140
    assert peer.node is None


@pytest.mark.req("R113a", "R113b", "R113d", "R113e", "R113g", "R113h", "R113j", "K20", "K21", "K6", "R92", "R93")
def test_flow_options_at_a_correspondent_node() -> None:
    peer = RoutableNode()
    peer.bind(bid(1), flow(1, selector=SSH))
    answer = peer.bind(
        bid(1),
        flow(1),
        flow(2, action=NCAST, bids=[1]),
        flow(1, pro=REPLACE, action=NCAST, bids=[1]),
        flow(9, pro=REPLACE),
        flow(9, pro=REFRESH),
        flow(9, pro=REMOVE),
        flow(1, pro=REFRESH, action=77, bids=[77]),
        flow(1, 5, pro=REPLACE, action=DISCARD),
        flow(3, bids=[4]),
        flow(1, pro=REMOVE),
    )
    assert answer.flow_statuses == [135, 139, 139, 136, 136, 136, 0, 0, 129, 0]
    assert peer.node.flows == {}


@pytest.mark.req("R106", "R113f", "K20", "K33")
def test_references_only_to_authorized_addresses() -> None:
    peer = RoutableNode()
    peer.bind(bid(1), flow(1))
    peer.bind(bid(2), care_of=COA2, source=COA2)
    # bound in the same way, one by one: allowed
    assert peer.bind(bid(1), flow(2, bids=[2]), flow(1, pro=REPLACE, bids=[2])).flow_statuses == [0, 0]
    # an embedder that says which addresses had tokens
    node = peer.node.copy()
    node.care_of[3] = CareOf(3, COA3.packed)
    peer.agent.cache.put(node)
    packet = encode_packet(peer.packet(bid(1, COA1), flow(4, bids=[3]), flow(1, pro=REPLACE, bids=[3]), flags=A))
    (reply,) = peer.agent.receive(packet, now=peer.now, authorized=[COA1.packed])
    assert Answer(decode_packet(reply)).flow_statuses == [129, 129]
    packet = encode_packet(peer.packet(bid(1, COA2), flags=A))
    assert peer.agent.receive(packet, now=peer.now, authorized=[COA1.packed]) == []
    packet = encode_packet(peer.packet(bid(1, COA1), flow(4, bids=[3]), flags=A))
    (reply,) = peer.agent.receive(packet, now=peer.now, authorized=[COA1.packed, COA3.packed])
    assert Answer(decode_packet(reply)).flow_statuses == [0]


@pytest.mark.req("R107")
def test_bulk_registration_is_for_home_agents() -> None:
    peer = RoutableNode()
    answer = peer.bind(bid(1, COA1), bid(2, COA2), flow(1))
    assert (answer.status, [o.status for o in answer.bids], answer.flow_statuses) == (168, [0, 0], [128])
    assert peer.bind(bid(1, home=True)).status == 169
    assert peer.bind(bid(1, "192.0.2.1")).status == 164


def test_the_alternate_care_of_address_needs_the_token() -> None:
    peer = RoutableNode()
    assert peer.bind(AlternateCareOf(COA2), care_of=COA2, source=COA1).status == 0
    assert peer.node.care_of[0].address == COA2.packed
    assert peer.replies(peer.sealed(AlternateCareOf(COA3), care_of=COA1, source=COA1)) == []


def test_a_bid_without_address_moves_with_the_packet() -> None:
    peer = RoutableNode()
    peer.bind(bid(1))
    peer.bind(bid(1), care_of=COA2, source=COA2)
    assert peer.node.care_of[1].address == COA2.packed


@pytest.mark.req("R108")
def test_deregistration_at_a_correspondent_node() -> None:
    peer = RoutableNode()
    peer.bind(bid(1), flow(1))
    peer.bind(bid(2), care_of=COA2, source=COA2)
    assert peer.bind(bid(2), lifetime=0, source=COA2).status == 0
    assert list(peer.node.care_of) == [1]
    assert peer.bind(bid(9), lifetime=0).status == 133
    assert peer.bind(lifetime=0, care_of_nonce=999).status == 0  # the care-of nonce isn't looked at
    assert peer.node is None
    assert peer.bind(lifetime=0).status == 0  # the first answer may have got lost


def test_when_a_correspondent_node_says_nothing() -> None:
    peer = RoutableNode()
    assert peer.replies(peer.sealed(bid(1), flags=0)) == []
    assert peer.node is not None
    assert peer.bind(bid(1), flow(1), flags=0).flow_statuses == [0]
    assert peer.bind(bid(1), bid(2), flags=0).status == 168
    packet = MobilityPacket(COA1, AGENT, HomeTestInit(b"cookie!!"), home_address=HOME)
    assert peer.replies(packet) == []
    assert peer.replies(MobilityPacket(COA1, AGENT, BindingError(1, HOME))) == []


@pytest.mark.req("R131")
def test_a_correspondent_node_asks_for_a_refresh_at_the_home_address() -> None:
    peer = RoutableNode()
    peer.bind(bid(1), lifetime=100)
    deadline = peer.agent.next_deadline()
    assert deadline == peer.now + 390
    (data,) = peer.agent.tick(deadline)
    request = decode_packet(data)
    assert isinstance(request.message, BindingRefreshRequest)
    assert (request.source, request.destination, request.routing_home) == (AGENT, HOME, None)


def test_rfc6089_at_a_correspondent_node() -> None:
    peer = RoutableNode("rfc6089")
    peer.bind(bid(1, priority=1), flow(1, 1, bids=[1], selector=SSH))
    answer = peer.bind(bid(2, priority=2), flow(1, 1, bids=[1, 2]), care_of=COA2, source=COA2)
    assert answer.flow_statuses == [0]
    assert peer.decide(source_port=22) == ("n-cast", 1, [str(COA1), str(COA2)])


def test_nonces_are_made_when_needed_and_forgotten() -> None:
    table = NonceTable(bytes)
    assert [table.current(now) for now in (0.0, 29.9, 30.0, 100.0, 129.9)] == [1, 1, 2, 3, 3]
    assert table.valid(1, 239.9)
    assert not table.valid(1, 240.0)
    assert not table.valid(9, 0)
    table._current = 0xFFFF
    assert table.current(500.0) == 1


@given(st.binary(max_size=150))
def test_noise_for_the_other_roles(data: bytes) -> None:
    for agent in (CorrespondentNode(table=ReadableTable()), MobilityAnchorPoint("rfc6089", table=ReadableTable())):
        assert agent.receive(data, now=0.0) == []


def test_home_address_options_in_data_packets() -> None:
    peer = RoutableNode()
    (data,) = peer.agent.home_address_error(COA1.packed, AGENT.packed, HOME.packed)
    error = decode_packet(data)
    assert (error.message, error.destination) == (BindingError(1, HOME), COA1)
    peer.bind(bid(1))
    assert peer.agent.home_address_error(COA1.packed, AGENT.packed, HOME.packed) == []
    assert peer.agent.home_address_error(COA2.packed, AGENT.packed, HOME.packed) != []
    assert peer.agent.home_address_error(IPv6Address("ff02::1").packed, AGENT.packed, HOME.packed) == []


# ---- IPv4 home addresses (RFC 5555)


def answers(answer: Answer) -> list[tuple[str, int]]:
    return [(str(o.address), o.status) for o in answer.options if isinstance(o, IPv4AddressAcknowledgement)]


def test_an_ipv4_home_address() -> None:
    peer = Peer()
    answer = peer.send(bid(1, "192.0.2.1"), IPv4HomeAddress(IPv4Address("10.0.0.1")), flow(1))
    assert answers(answer) == [("10.0.0.1", 0)]
    assert peer.table.nodes[HOME.packed]["also"] == (bytes([10, 0, 0, 1]),)
    other = peer.send(IPv4HomeAddress(IPv4Address("10.0.0.1")), home=OTHER_HOME)
    assert (other.status, answers(other)) == (0, [("10.0.0.1", 130)])
    for option, status in [
        (IPv4HomeAddress(IPv4Address("224.0.0.1")), 131),
        (IPv4HomeAddress(IPv4Address("10.0.0.2"), 0), 128),
        (IPv4HomeAddress(IPv4Address("10.0.0.0"), 24), 133),
        (IPv4HomeAddress(IPv4Address("0.0.0.0"), 24, True), 133),
        (IPv4HomeAddress(IPv4Address("0.0.0.0")), 132),
    ]:
        assert [s for _, s in answers(peer.send(option, home=OTHER_HOME))] == [status]
    peer.send(bid(1))  # not asked for any more
    assert peer.table.nodes[HOME.packed]["also"] == ()
    other = peer.send(IPv4HomeAddress(IPv4Address("10.0.0.1")), home=OTHER_HOME)
    assert answers(other) == [("10.0.0.1", 0)]


def test_ipv4_addresses_that_are_configured_or_made_up() -> None:
    mine = bytes([10, 0, 0, 1])
    peer = Peer(ipv4_homes={HOME.packed: mine}, allocate_ipv4=lambda home: bytes([10, 0, 0, 9]))
    assert answers(peer.send(IPv4HomeAddress(IPv4Address("10.0.0.2")))) == [("10.0.0.2", 130)]
    assert answers(peer.send(IPv4HomeAddress(IPv4Address("0.0.0.0")))) == [("10.0.0.1", 0)]
    peer.send()
    assert peer.node.also == (mine,)
    other = peer.send(IPv4HomeAddress(IPv4Address("0.0.0.0")), home=OTHER_HOME)
    assert answers(other) == [("10.0.0.9", 0)]
    assert answers(Peer(capabilities=Capabilities(ipv4=False)).send(IPv4HomeAddress(IPv4Address("10.0.0.2")))) == []


# ---- the cache as octets


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
    copy.send(home=AGENT)
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
    table: Any = peer.agent.cache.table
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
    assert isinstance(CareOfTest(1, b"", b""), CareOfTest)
    assert isinstance(HomeTest(1, b"", b""), HomeTest)
