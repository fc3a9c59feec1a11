"""IPv4 home addresses beside the IPv6 one (RFC 5555)."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from mobility_kit import COA1, COA2, COA3, HOME, OTHER_HOME, A, Answer, H, M, Peer, ReadableTable, bid, flow

from flowclass.errors import FlowclassError
from flowclass.mobility import Agent, Capabilities, HomeAgent, MobilityAnchorPoint
from flowclass.wire import (
    IPv4AddressAcknowledgement,
    IPv4HomeAddress,
)

MAP_FLAGS = A | M


def answers(answer: Answer) -> list[tuple[str, int]]:
    return [(str(o.address), o.status) for o in answer.options if isinstance(o, IPv4AddressAcknowledgement)]


def test_an_ipv4_home_address() -> None:
    peer = Peer(ipv4_homes={HOME.packed: bytes([10, 0, 0, 1])})
    answer = peer.send(bid(1, "192.0.2.1"), IPv4HomeAddress(IPv4Address("10.0.0.1")), flow(1))
    assert answers(answer) == [("10.0.0.1", 0)]
    assert peer.table.nodes[HOME.packed]["also"] == (bytes([10, 0, 0, 1]),)
    for option, status in [
        (IPv4HomeAddress(IPv4Address("10.0.0.1")), 130),
        (IPv4HomeAddress(IPv4Address("10.0.0.2")), 130),
        (IPv4HomeAddress(IPv4Address("224.0.0.1")), 131),
        (IPv4HomeAddress(IPv4Address("10.0.0.2"), 0), 128),
        (IPv4HomeAddress(IPv4Address("10.0.0.0"), 24), 133),
        (IPv4HomeAddress(IPv4Address("0.0.0.0"), 24, True), 133),
        (IPv4HomeAddress(IPv4Address("0.0.0.0")), 132),
    ]:
        answer = peer.send(option, home=OTHER_HOME)
        assert (answer.status, [s for _, s in answers(answer)]) == (0, [status])
    assert peer.table.nodes[OTHER_HOME.packed]["also"] == ()


@pytest.mark.parametrize("agent", [HomeAgent, MobilityAnchorPoint])
@pytest.mark.parametrize("profile", ["draft", "rfc6089"])
def test_an_ipv4_home_address_that_nobody_gave_is_refused(agent: type[Agent], profile: str) -> None:
    peer = Peer(agent=agent(profile, table=ReadableTable()))
    flags = A | (H if agent is HomeAgent else M)
    answer = peer.send(bid(1, COA1), IPv4HomeAddress(IPv4Address("10.0.0.1")), flags=flags)
    assert (answer.status, answers(answer)) == (0, [("10.0.0.1", 130)])
    assert peer.node.also == ()


def test_the_ipv4_answer_stands_before_the_bids() -> None:
    # RFC 5648 section 8.2
    peer = Peer(ipv4_homes={HOME.packed: bytes([10, 0, 0, 1])})
    answer = peer.send(bid(1, COA1), bid(2, COA2), IPv4HomeAddress(IPv4Address("10.0.0.1")), flow(1, bids=[1]))
    kinds = [type(option).__name__ for option in answer.options]
    assert kinds == ["IPv4AddressAcknowledgement", "BindingIdentifier", "BindingIdentifier", "FlowIdentification"]


def test_an_address_that_was_made_up_is_the_nodes_and_may_be_asked_for_by_name() -> None:
    made = {HOME.packed: bytes([10, 0, 0, 9]), OTHER_HOME.packed: bytes([10, 0, 0, 9])}
    peer = Peer(allocate_ipv4=made.get)
    assert answers(peer.send(IPv4HomeAddress(IPv4Address("0.0.0.0")))) == [("10.0.0.9", 0)]
    assert answers(peer.send(IPv4HomeAddress(IPv4Address("10.0.0.9")))) == [("10.0.0.9", 0)]
    # the allocator gives an address away twice: the second node doesn't get it
    assert answers(peer.send(IPv4HomeAddress(IPv4Address("0.0.0.0")), home=OTHER_HOME)) == [("0.0.0.0", 132)]
    assert answers(peer.send(IPv4HomeAddress(IPv4Address("10.0.0.8")))) == [("10.0.0.8", 130)]
    peer.agent.allocate_ipv4 = lambda home: b"too long for IPv4"
    with pytest.raises(FlowclassError, match="allocate_ipv4"):
        peer.send(IPv4HomeAddress(IPv4Address("0.0.0.0")), home=COA3)


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
