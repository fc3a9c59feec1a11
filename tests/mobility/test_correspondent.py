"""The correspondent node: return routability, and what it accepts from whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv6Address
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

from flowclass.mobility import CareOf, CorrespondentNode, NonceTable
from flowclass.wire import (
    AlternateCareOf,
    BindingAuthorizationData,
    BindingError,
    BindingRefreshRequest,
    BindingUpdate,
    CareOfTestInit,
    HomeTestInit,
    MobilityPacket,
    NonceIndices,
    Verbatim,
    decode_packet,
    encode_packet,
)
from flowclass.wire.auth import authorize, binding_key, is_authentic

MAP_FLAGS = A | M


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
        assert reply.message.cookie == b"cookie!!"  # type: ignore[union-attr]  # its type is known
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


def test_home_address_options_in_data_packets() -> None:
    peer = RoutableNode()
    (data,) = peer.agent.home_address_error(COA1.packed, AGENT.packed, HOME.packed)
    error = decode_packet(data)
    assert (error.message, error.destination) == (BindingError(1, HOME), COA1)
    peer.bind(bid(1))
    assert peer.agent.home_address_error(COA1.packed, AGENT.packed, HOME.packed) == []
    assert peer.agent.home_address_error(COA2.packed, AGENT.packed, HOME.packed) != []
    assert peer.agent.home_address_error(IPv6Address("ff02::1").packed, AGENT.packed, HOME.packed) == []


@given(st.binary(max_size=150))
def test_noise_at_a_correspondent_node(data: bytes) -> None:
    assert CorrespondentNode(table=ReadableTable()).receive(data, now=0.0) == []
