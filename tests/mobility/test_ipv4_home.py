"""IPv4 home addresses beside the IPv6 one (RFC 5555)."""

from __future__ import annotations

from ipaddress import IPv4Address

from mobility_kit import (
    HOME,
    OTHER_HOME,
    A,
    Answer,
    M,
    Peer,
    bid,
    flow,
)

from flowclass.mobility import Capabilities
from flowclass.wire import (
    IPv4AddressAcknowledgement,
    IPv4HomeAddress,
)

MAP_FLAGS = A | M


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
