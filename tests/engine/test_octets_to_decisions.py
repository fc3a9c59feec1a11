"""End to end: binding updates as octets into a home agent, packets out of it with their care-of addresses."""

from __future__ import annotations

import struct
from collections import defaultdict
from ipaddress import IPv6Address

import pytest
from mobility_kit import AGENT, COA1, COA2, COA3, DISCARD, HOME, HTTPS, NCAST, REMOVE, SSH, A, H, R, bid, flow

from flowclass.mobility import HomeAgent
from flowclass.wire import (
    BindingAcknowledgement,
    BindingUpdate,
    MobileNetworkPrefix,
    MobilityPacket,
    Option,
    TrafficSelector6,
    decode_packet,
    encode_packet,
)

PEER = IPv6Address("2001:db8:ffff::1")
TCP, UDP, ESP = 6, 17, 50


def data_packet(
    *,
    source: IPv6Address = PEER,
    destination: IPv6Address = HOME,
    protocol: int = TCP,
    ports: tuple[int, int] = (0, 0),
    flow_label: int = 0,
    spi: int = 0,
) -> bytes:
    """An IPv6 packet from a correspondent node to a mobile node."""
    upper = struct.pack(">II", spi, 1) if protocol == ESP else struct.pack(">HH", *ports) + bytes(16)
    head = struct.pack(">IHBB", 6 << 28 | flow_label, len(upper), protocol, 60)
    return head + source.packed + destination.packed + upper


class Network:
    """A home agent and the mobile node's way to it."""

    def __init__(self, profile: str = "draft") -> None:
        self.agent = HomeAgent(profile)
        self.profile = profile
        self.sequence = 0

    def update(self, *options: Option, source: IPv6Address, flags: int = A | H, lifetime: int = 150) -> int:
        """Send a binding update; the status of its acknowledgement."""
        self.sequence += 1
        message = BindingUpdate(self.sequence, lifetime, flags, options)
        octets = encode_packet(MobilityPacket(source, AGENT, message, home_address=HOME), self.profile)
        (reply,) = self.agent.receive(octets, now=1.0)
        answer = decode_packet(reply, self.profile).message
        assert isinstance(answer, BindingAcknowledgement)
        return answer.status

    def where(self, *packets: bytes) -> list[tuple[str, ...]]:
        """The care-of addresses of each packet."""
        return [tuple(map(str, self.agent.care_of(d))) for d in self.agent.classify(list(packets))]


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.mark.req("R1", "R5", "R76", "R77", "R78", "R79", "R80", "R81", "R114")
def test_the_usage_scenario(network: Network) -> None:
    assert network.update(bid(2, COA2, 1), source=COA2) == 0
    packets = [data_packet(ports=ports) for ports in ((22, 5000), (443, 5000), (80, 22))]
    assert network.where(*packets) == [(str(COA2),)] * 3
    assert network.update(bid(1, COA1, 2), flow(1, selector=SSH), flow(2, selector=HTTPS), source=COA1) == 0
    assert network.where(*packets) == [(str(COA1),), (str(COA1),), (str(COA2),)]


@pytest.mark.req("R115", "R128")
def test_flow_options_of_a_rejected_update_are_not_looked_at(network: Network) -> None:
    network.update(bid(2, COA2, 1), source=COA2)
    network.sequence -= 1  # the same number again
    assert network.update(bid(1, COA1, 2), flow(1, selector=SSH), source=COA1) == 135
    assert network.where(data_packet(ports=(22, 1))) == [(str(COA2),)]


@pytest.mark.req("R3")
def test_flow_labels_and_spis(network: Network) -> None:
    network.update(
        bid(1, COA1, 1),
        bid(2, COA2, 2),
        flow(1, bids=[2], selector=TrafficSelector6(flow_label=(0xABCDE, 0xABCDE))),
        flow(2, bids=[2], selector=TrafficSelector6(spi=(256, 511))),
        source=COA1,
    )
    packets = [
        data_packet(flow_label=0xABCDE),
        data_packet(flow_label=0xABCDF),
        data_packet(protocol=ESP, spi=300),
        data_packet(protocol=ESP, spi=512),
    ]
    assert network.where(*packets) == [(str(COA2),), (str(COA1),), (str(COA2),), (str(COA1),)]


@pytest.mark.req("R7", "R114")
def test_a_mobile_router_s_network_has_the_same_flows(network: Network) -> None:
    prefix = IPv6Address("2001:db8:f00::")
    network.update(
        MobileNetworkPrefix(prefix, 48),
        bid(1, COA1, 2),
        bid(2, COA2, 1),
        flow(1, bids=[1], selector=SSH),
        source=COA1,
        flags=A | H | R,
    )
    behind = IPv6Address(int(prefix) + 5)
    packets = [data_packet(destination=d, ports=(port, 1)) for d in (HOME, behind) for port in (22, 80)]
    assert network.where(*packets) == [(str(COA1),), (str(COA2),)] * 2
    assert network.where(data_packet(destination=IPv6Address("2001:db8:f01::1"))) == [()]


@pytest.mark.req("R22", "R23", "R24", "R120")
def test_actions(network: Network) -> None:
    network.update(
        bid(1, COA1, 1),
        bid(2, COA2, 2),
        flow(1, action=DISCARD, selector=SSH),
        flow(2, action=NCAST, bids=[1, 2], selector=HTTPS),
        source=COA1,
    )
    decisions = network.agent.classify([data_packet(ports=(port, 1)) for port in (22, 443, 80)])
    assert decisions["action"].tolist() == [2, 3, 1]
    assert [sorted(map(str, network.agent.care_of(d))) for d in decisions] == [[], [str(COA1), str(COA2)], [str(COA1)]]


@pytest.mark.req("R27", "R28", "K27")
def test_a_flow_stays_together_and_moves_as_a_whole(network: Network) -> None:
    # forward to three BIDs: one of them for each connection, the same for all its packets
    network.update(
        bid(1, COA1, 1), bid(2, COA2, 2), bid(3, COA3, 3), flow(1, bids=[1, 2, 3], selector=None), source=COA1
    )
    connections = [(PEER, UDP, (1000 + n, 2000 + n % 7)) for n in range(400)]

    def chosen() -> dict[int, str]:
        """connection -> care-of address; packets of all connections come interleaved, five times."""
        found: dict[int, set[str]] = defaultdict(set)
        order = [n for _ in range(5) for n in range(len(connections))]
        packets = [
            data_packet(source=s, protocol=p, ports=ports) for s, p, ports in map(connections.__getitem__, order)
        ]
        for n, addresses in zip(order, network.where(*packets), strict=True):
            found[n].update(addresses)
        assert all(len(addresses) == 1 for addresses in found.values())
        return {n: addresses.pop() for n, addresses in found.items()}

    before = chosen()
    shares = [list(before.values()).count(str(coa)) for coa in (COA1, COA2, COA3)]
    assert min(shares) > 80
    # BID 2 goes: its connections move, no other does
    assert network.update(bid(2), source=COA1, lifetime=0) == 0
    during = chosen()
    assert all(during[n] == where for n, where in before.items() if where != str(COA2))
    assert {during[n] for n, where in before.items() if where == str(COA2)} == {str(COA1), str(COA3)}
    # and comes back
    assert network.update(bid(2, COA2, 2), source=COA1) == 0
    assert chosen() == before


@pytest.mark.req("R46", "R66", "R104", "R126")
def test_moving_a_bid_and_removing_a_flow(network: Network) -> None:
    network.update(
        bid(1, COA1, 1),
        bid(2, COA2, 2),
        flow(1, bids=[2], selector=SSH),
        flow(2, bids=[2], selector=HTTPS),
        source=COA1,
    )
    packets = [data_packet(ports=(port, 1)) for port in (22, 443, 80)]
    network.update(bid(2, COA3, 2), source=COA3)
    assert network.where(*packets) == [(str(COA3),), (str(COA3),), (str(COA1),)]
    network.update(bid(2, COA3, 2), flow(1, pro=REMOVE), source=COA3)
    assert network.where(*packets) == [(str(COA1),), (str(COA3),), (str(COA1),)]


@pytest.mark.req("K27", "R24")
def test_rfc_6089_copies_to_every_bid() -> None:
    network = Network("rfc6089")
    network.update(bid(1, COA1, 1), bid(2, COA2, 2), flow(1, bids=[1, 2], selector=SSH), source=COA1)
    assert sorted(network.where(data_packet(ports=(22, 1)))[0]) == [str(COA1), str(COA2)]
    assert network.where(data_packet(ports=(80, 1))) == [(str(COA1),)]


def fragments_of(packet: bytes, identification: int, sizes: tuple[int, ...]) -> list[bytes]:
    """An IPv6 packet without extension headers in fragments (RFC 8200 4.5); sizes: multiples of 8, but the last."""
    made, at = [], 40
    for size in sizes:
        more = at + size < len(packet)
        header = struct.pack(">BBHI", packet[6], 0, (at - 40) | more, identification)
        head = packet[:4] + struct.pack(">HB", size + 8, 44) + packet[7:40]
        made.append(head + header + packet[at : at + size])
        at += size
    return made


def test_fragments_follow_their_first_one(network: Network) -> None:
    """RFC 6089 5.3.6: also those that come in a later batch; without memory, and with other identifiers, they don't."""
    assert network.update(bid(1, COA1, 1), bid(2, COA2, 2), flow(1, 1, bids=[2], selector=SSH), source=COA1) == 0
    ssh = data_packet(ports=(22, 50000))
    first, second, third = fragments_of(ssh, 7, (8, 8, 4))
    assert network.where(first, second) == [(str(COA2),)] * 2
    assert network.where(third) == [(str(COA2),)]
    assert network.where(fragments_of(ssh, 8, (8, 12))[1]) == [(str(COA1),)]
    alone = network.agent.classify([first, second], fragments=None)
    assert [network.agent.care_of(d) for d in alone] == [(COA2,), (COA1,)]
    # the flow goes elsewhere: so do fragments that are still to come
    assert network.update(bid(1, COA1, 1), flow(1, 1, pro=1, bids=[1]), source=COA1) == 0
    assert network.where(third) == [(str(COA1),)]


def test_what_stays_on_its_link_is_never_tunnelled(network: Network) -> None:
    """RFC 6275 10.4.2: not even to a mobile router whose prefix is short enough."""
    everything = MobileNetworkPrefix(IPv6Address("8000::"), 1)
    assert network.update(bid(1, COA1), everything, source=COA1, flags=A | H | R) == 0
    for destination, sent in (
        ("fd00::1", True),
        ("fe80::1", False),
        ("febf:ffff::1", False),
        ("fec0::1", True),
        ("ff01::1", False),
        ("ff02::1:ff00:100", False),
        ("ff32::1", False),
        ("ff05::1:3", True),
    ):
        packet = data_packet(destination=IPv6Address(destination))
        assert network.where(packet) == [(str(COA1),) if sent else ()], destination
