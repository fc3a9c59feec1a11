"""The home agent on the engine's own forwarding table: binding update bytes in, decisions for packets out."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from random import Random
from typing import Any

import naive_forwarding as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mobility_kit import AGENT, COA1, COA2, COA3, DISCARD, HOME, HTTPS, NCAST, OTHER_HOME, SSH, Peer, R, bid, flow

from flowclass.engine.forwarding import ForwardingTable
from flowclass.engine.keys import make_keys
from flowclass.engine.packets import Fragments
from flowclass.errors import BindingsFileError, FlowclassError
from flowclass.mobility import HomeAgent, MobileNode, Switches, load_bindings
from flowclass.mobility.mobile_node.uplink import exchanged, publish_known
from flowclass.wire import (
    BindingAcknowledgement,
    BindingIdentifier,
    BindingReference,
    BindingUpdate,
    FlowIdentification,
    IPv4HomeAddress,
    MobileNetworkPrefix,
    MobilityPacket,
    TrafficSelector4,
    TrafficSelector6,
    TrafficSelectorOption,
    decode_packet,
    encode_packet,
)

CN = IPv6Address("2001:db8:99::7")


def tcp(source_port: int, destination: IPv6Address = HOME, protocol: int = 6) -> bytes:
    """An IPv6 packet from the correspondent node."""
    header = struct.pack(">IHBB", 6 << 28, 20, protocol, 64) + CN.packed + destination.packed
    return header + struct.pack(">HHIIBBHHH", source_port, 40000, 0, 0, 0x50, 2, 65535, 0, 0)


@pytest.mark.req("R49", "R76", "R77", "R78", "R79", "R80", "R81", "R41")
def test_section_5_from_octets_to_decisions() -> None:
    """Binding updates and packets are bytes; ssh and https over CoA1, the rest over CoA2."""
    agent = HomeAgent()
    first = BindingUpdate(1, 150, 0xC000, (BindingIdentifier(2, COA2, 1),))
    (reply,) = agent.receive(encode_packet(MobilityPacket(COA2, AGENT, first, HOME)), now=0.0)
    message = decode_packet(reply).message
    assert isinstance(message, BindingAcknowledgement)
    assert message.status == 0
    options = tuple(
        FlowIdentification(fid, 1, 1, 0, 0, (TrafficSelectorOption(TrafficSelector6(source_port=(port, port))),))
        for fid, port in ((1, 22), (2, 443))
    )
    second = BindingUpdate(2, 150, 0xC000, (BindingIdentifier(1, COA1, 2), *options))
    (reply,) = agent.receive(encode_packet(MobilityPacket(COA1, AGENT, second, HOME)), now=1.0)
    message = decode_packet(reply).message
    assert isinstance(message, BindingAcknowledgement)
    echoes = [o for o in message.options if isinstance(o, FlowIdentification)]
    assert [(o.fid, o.pri, o.action, o.pro, o.status) for o in echoes] == [(1, 1, 1, 0, 0), (2, 1, 1, 0, 0)]
    decisions = agent.classify([tcp(22), tcp(443), tcp(80), tcp(22, OTHER_HOME)])
    assert [agent.care_of(d) for d in decisions] == [(COA1,), (COA1,), (COA2,), ()]
    assert [(int(d["fid"]), int(d["bid"]), int(d["reason"])) for d in decisions] == [
        (1, 1, naive.FLOW),
        (2, 1, naive.FLOW),
        (0, 2, naive.DEFAULT),
        (0, 0, naive.UNBOUND),
    ]
    agent.tick(600.0)
    assert [agent.care_of(d) for d in agent.classify([tcp(22)])] == [(COA1,)]
    agent.tick(601.0)
    assert [agent.care_of(d) for d in agent.classify([tcp(22)])] == [()]


def pieces(packet: bytes, number: int) -> list[bytes]:
    """A packet in two fragments."""
    header, payload = packet[:40], packet[40:]
    found = []
    for offset, part, more in ((0, payload[:16], 1), (2, payload[16:], 0)):
        extension = struct.pack(">BBHI", 6, 0, offset << 3 | more, number)
        found.append(header[:4] + struct.pack(">HB", len(part) + 8, 44) + header[7:] + extension + part)
    return found


@pytest.mark.parametrize("profile", ["draft", "rfc6089"])
def test_one_packet_at_a_time_is_decided_as_in_a_batch(profile: str) -> None:
    peer = Peer(profile, HomeAgent(profile))
    agent = peer.agent
    peer.send(bid(1, COA1, 5), bid(2, COA2, 2), flow(3, 1, bids=[1], selector=SSH))
    random = Random(1)
    packets = [tcp(port, home) for port in (22, 80) for home in (HOME, OTHER_HOME)]
    packets += [b"", b"\x60", packets[0][:50], *pieces(tcp(22), 7), *pieces(tcp(80), 8)]
    random.shuffle(packets)
    other = HomeAgent(profile, cache=agent.cache)  # with a memory of fragments of its own
    for packet, row in zip(packets, agent.classify(packets), strict=True):
        one, number = other.decide_one(packet), other.classify_one(memoryview(packet))
        assert (one.action, one.reason) == (row["action"], row["reason"]) == (number & 3, number >> 2 & 7)
        assert (one.fid or 0, one.bid or 0) == (row["fid"], row["bid"]) == (number >> 24 & 0xFFFF, number >> 8 & 0xFFFF)
        assert one.care_of == other.packed_care_of(row) == tuple(a.packed for a in agent.care_of(row))
    with pytest.raises(FlowclassError, match="linktype"):
        agent.classify_one(packets[0], 1 << 16)


def test_a_batch_may_be_given_in_any_form() -> None:
    peer = Peer(agent=HomeAgent())
    peer.send(bid(1, COA1, 5), flow(3, 1, bids=[1], selector=SSH))
    packets = [tcp(22), b"", *pieces(tcp(22), 7), tcp(80), tcp(22, OTHER_HOME)]
    lengths = np.array([len(packet) for packet in packets], np.uint32)
    joined = b"".join(packets), np.cumsum(lengths) - lengths, lengths
    expected = peer.agent.classify(packets, fragments=Fragments())
    assert expected["fid"].tolist() == [3, 0, 3, 3, 0, 0]
    forms: list[Any] = [packets, tuple(packets), [bytearray(packet) for packet in packets], joined]
    forms.append([memoryview(packet) if i % 2 else packet for i, packet in enumerate(packets)])
    for form in forms:
        decisions = peer.agent.classify(form)
        assert decisions.tobytes() == expected.tobytes()
        decisions["fid"] = 0  # the caller's own
    assert peer.agent.classify([]).shape == (0,)
    unfit: list[Any] = [[1], 5, ["text"]]
    for wrong in unfit:
        with pytest.raises(FlowclassError, match="packets"):
            peer.agent.classify(wrong)


def test_a_first_fragment_counts_for_sixty_seconds_also_one_packet_at_a_time() -> None:
    peer = Peer(agent=HomeAgent())
    agent = peer.agent
    peer.send(bid(1, COA1, 5), bid(2, COA2, 2), flow(3, 1, bids=[1], selector=SSH))
    first, later = pieces(tcp(22), 7)
    assert agent.decide_one(later).fid is None, "its first fragment is unknown"
    assert agent.decide_one(first).fid == 3
    assert agent.decide_one(later).fid == 3
    assert agent.classify([later])["fid"] == [3], "one memory for both calls"
    agent.tick(peer.now + 59)
    assert agent.decide_one(later).fid == 3
    agent.tick(peer.now + 61)
    assert agent.decide_one(later).fid is None


def test_a_table_of_ones_own_class_has_no_calls_for_one_packet() -> None:
    with pytest.raises(FlowclassError, match="table: a ForwardingTable"):
        Peer().agent.classify_one(b"")


def test_signalling_is_never_matched_and_goes_to_the_default_binding() -> None:
    """RFC 6089 section 4.3: a wild card doesn't take a correspondent's Home Test along; RFC 6275 10.4.2: it goes on."""
    peer = Peer(agent=HomeAgent())
    peer.send(bid(1, COA1, 2), bid(2, "192.0.2.1", 1), flow(1, bids=[1]))
    (decision,) = peer.agent.classify([encode_packet(MobilityPacket(CN, HOME, BindingUpdate(1, 1)))])
    assert (int(decision["reason"]), peer.agent.care_of(decision)) == (naive.SIGNALLING, (IPv4Address("192.0.2.1"),))


@pytest.mark.req("R7", "R3")
def test_networks_and_ipv4_home_addresses_have_the_same_flows() -> None:
    peer = Peer(agent=HomeAgent(ipv4_homes={HOME.packed: bytes([10, 0, 0, 1])}))
    peer.send(
        bid(1, COA1, 2),
        bid(2, "192.0.2.1", 1),
        flow(1, bids=[1], selector=SSH),
        flow(2, bids=[1], selector=TrafficSelector4(protocol=(17, 17))),
        MobileNetworkPrefix(IPv6Address("2001:db8:100::"), 56),
        IPv4HomeAddress(IPv4Address("10.0.0.1")),
        flags=0xC000 | R,
    )
    inside = IPv6Address("2001:db8:100::77")
    udp4 = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, bytes(4), bytes([10, 0, 0, 1])) + bytes(8)
    tcp4 = udp4[:9] + b"\6" + udp4[10:]
    where = [peer.agent.care_of(d) for d in peer.agent.classify([tcp(22, inside), tcp(80, inside), udp4, tcp4])]
    assert where == [(COA1,), (IPv4Address("192.0.2.1"),), (COA1,), (IPv4Address("192.0.2.1"),)]


def test_ncast_and_discard() -> None:
    peer = Peer(agent=HomeAgent())
    peer.send(
        bid(1, COA1),
        bid(2, COA2),
        bid(3, COA1),
        flow(1, action=NCAST, bids=[2, 1, 3], selector=SSH),
        flow(2, action=DISCARD, selector=HTTPS),
    )
    ncast, discard = peer.agent.classify([tcp(22), tcp(443)])
    assert peer.agent.care_of(ncast) == (COA2, COA1)
    assert (int(ncast["action"]), int(ncast["bid"])) == (naive.NCAST, 0)
    assert (int(discard["action"]), peer.agent.care_of(discard)) == (naive.DISCARD, ())


@pytest.mark.req("K27", "R27", "R28")
def test_forward_to_several_moves_only_the_flows_of_a_bid_that_is_lost() -> None:
    peer = Peer(agent=HomeAgent())
    peer.send(bid(1, COA1), bid(2, COA2), bid(3, COA3), flow(1, bids=[1, 2, 3]))
    packets = [tcp(port) for port in range(1000, 1300)]
    before = [int(d["bid"]) for d in peer.agent.classify(packets)]
    assert set(before) == {1, 2, 3}
    assert [int(d["bid"]) for d in peer.agent.classify(packets)] == before
    peer.send(bid(2), lifetime=0)
    after = [int(d["bid"]) for d in peer.agent.classify(packets)]
    assert all(a == b for a, b in zip(after, before, strict=True) if b != 2)
    assert set(after) == {1, 3}
    first = Peer(agent=HomeAgent(switches=Switches(forward_multi="first")))
    first.send(bid(1, COA1), bid(2, COA2), bid(3, COA3), flow(1, bids=[2, 1, 3]))
    assert {int(d["bid"]) for d in first.agent.classify(packets)} == {2}


def test_a_bindings_file_decides(tmp_path: Path) -> None:
    file = tmp_path / "b.toml"
    file.write_text(
        f'[[node]]\nhome_address = "{HOME}"\nprefixes = ["2001:db8:100::/56"]\nipv4_home_address = "10.0.0.1"\n'
        f'[[node.care_of]]\nbid = 1\naddress = "{COA1}"\npriority = 20\n'
        f'[[node.care_of]]\nbid = 2\naddress = "{COA2}"\npriority = 10\n'
        "[[node.flow]]\nfid = 1\npri = 1\nbids = [1]\n[node.flow.selector]\nsource_port = 22\n"
    )
    agent = load_bindings(file)
    decisions = agent.classify([tcp(22), tcp(80), tcp(22, IPv6Address("2001:db8:100::1"))])
    assert [agent.care_of(d) for d in decisions] == [(COA1,), (COA2,), (COA1,)]
    assert agent.next_deadline() is None
    # updates go on from there: implicit mode knows the prefixes, the IPv4 address stays
    peer = Peer(agent=agent)
    assert peer.send(bid(1, COA3), flags=0xC000 | R).status == 0
    decisions = agent.classify([tcp(22), tcp(22, IPv6Address("2001:db8:100::1"))])
    assert [agent.care_of(d) for d in decisions] == [(COA3,), (COA3,)]
    assert peer.node.also == (bytes([10, 0, 0, 1]),)


def test_a_bindings_file_that_is_too_much_for_the_table(tmp_path: Path) -> None:
    file = tmp_path / "b.toml"
    prefixes = ", ".join(f'"2001:db8:{i:x}::/48"' for i in range(256))
    file.write_text(f'[[node]]\nhome_address = "{HOME}"\nprefixes = [{prefixes}]\n')
    with pytest.raises(BindingsFileError, match=r"node\[0\]"):
        load_bindings(file)


def test_traffic_is_counted_by_flow() -> None:
    peer = Peer(agent=HomeAgent())
    peer.send(bid(1, COA1), flow(1, selector=SSH), flow(2, selector=HTTPS))
    peer.send(bid(1, COA1), flow(1), home=OTHER_HOME)
    packets = [tcp(22), tcp(22), tcp(443), tcp(80), tcp(9, OTHER_HOME), tcp(9, CN)]
    for _ in range(2):
        peer.agent.account(peer.agent.classify(packets), [len(p) for p in packets])
    size = len(packets[0])
    assert peer.agent.counters.traffic == {
        (HOME.packed, 1): (4, 4 * size),
        (HOME.packed, 2): (2, 2 * size),
        (OTHER_HOME.packed, 1): (2, 2 * size),
    }
    peer.agent.account(peer.agent.classify(packets))
    assert peer.agent.counters.traffic[HOME.packed, 1] == (6, 4 * size)
    peer.agent.account(peer.agent.classify([]))


def test_the_mobile_nodes_own_packets_take_the_same_path() -> None:
    agent = HomeAgent()
    node = MobileNode(HOME)
    node.add_receiver(AGENT)
    for packets in (
        node.register(AGENT, 1, COA1, 2, now=0, flush=False) + node.register(AGENT, 2, COA2, 1, now=0),
        lambda: node.add_flow(AGENT, 1, 1, [1], SSH, now=0),
        lambda: node.add_flow(AGENT, 2, 2, [2], HTTPS, DISCARD, now=0),
    ):
        for packet in packets() if callable(packets) else packets:
            for reply in agent.receive(packet, now=0):
                assert node.receive(reply, now=0) == []
    own = ForwardingTable()
    publish_known(own, HOME.packed, node.update_list(AGENT))
    ports = [22, 443, 80]
    keys = make_keys(
        version=6, source=int(CN), destination=int(HOME), protocol=6, source_port=ports, destination_port=40000
    )
    incoming = agent.table
    outgoing = make_keys(
        version=6, source=int(HOME), destination=int(CN), protocol=6, source_port=40000, destination_port=ports
    )
    assert (exchanged(outgoing) == keys).all()
    assert (exchanged(exchanged(outgoing)) == outgoing).all()
    bare = make_keys(version=6, source=int(HOME), destination_port=ports)
    assert (exchanged(bare) == make_keys(version=6, destination=int(HOME), source_port=ports)).all()
    theirs, ours = incoming.classify(keys), own.classify(exchanged(outgoing))
    assert (
        [own.care_of(d) for d in ours] == [incoming.care_of(d) for d in theirs] == [(COA1.packed,), (), (COA2.packed,)]
    )


# ---- decisions against a plain reading of the cache


@st.composite
def selectors(draw: Any) -> Any:
    def interval(top: int) -> tuple[int, int] | None:
        if not draw(st.booleans()):
            return None
        low = draw(st.integers(0, top))
        return low, draw(st.integers(low, top))

    low = draw(st.integers(0, 3))
    source = (IPv6Address(int(CN) + low), IPv6Address(int(CN) + low + draw(st.integers(0, 3))))
    return TrafficSelector6(
        source=source if draw(st.booleans()) else None,
        flow_label=interval(3),
        source_port=interval(4),
        traffic_class=(0, draw(st.integers(0, 12))) if draw(st.booleans()) else None,
        protocol=interval(9),
    )


@st.composite
def updates(draw: Any) -> tuple[Any, ...]:
    options: list[Any] = [
        bid(number, draw(st.sampled_from([COA1, COA2, COA3, "192.0.2.1"])), draw(st.integers(0, 2)))
        for number in draw(st.lists(st.integers(1, 3), min_size=1, max_size=3, unique=True))
    ]
    for _ in range(draw(st.integers(0, 4))):
        bids = draw(st.lists(st.integers(1, 3), max_size=3, unique=True))
        suboptions: list[Any] = [BindingReference(tuple(bids))] if bids else []
        if draw(st.integers(0, 4)):
            suboptions.append(TrafficSelectorOption(draw(selectors())))
        request = draw(st.sampled_from([0, 0, 0, 1, 15]))
        action = draw(st.integers(1, 3))
        options.append(
            FlowIdentification(draw(st.integers(1, 5)), draw(st.integers(0, 3)), action, request, 0, tuple(suboptions))
        )
    return tuple(options)


@pytest.mark.req("R40", "R42", "K30", "K34", "K35")
@given(st.lists(st.tuples(updates(), st.sampled_from([HOME, OTHER_HOME]), st.sampled_from([0, 2, 150]))), st.integers())
def test_decisions_are_those_of_a_plain_reading(sent: list[Any], seed: int) -> None:
    peer = Peer(agent=HomeAgent())
    rnd = Random(seed)
    for options, home, lifetime in sent:
        peer.send(*options, home=home, lifetime=lifetime)
        peer.now += 3
        peer.agent.tick(peer.now)
    n = 60
    keys = make_keys(
        version=6,
        source=[int(CN) + rnd.randint(0, 6) for _ in range(n)],
        destination=[int(rnd.choice([HOME, OTHER_HOME, CN])) for _ in range(n)],
        protocol=[rnd.randint(0, 9) for _ in range(n)],
        source_port=[rnd.randint(0, 4) for _ in range(n)],
        flow_label=[rnd.randint(0, 3) for _ in range(n)],
        traffic_class=[rnd.randint(0, 15) for _ in range(n)],
    )
    table = peer.agent.table
    nodes = naive.reading(peer.agent.cache)
    for decision, key in zip(table.classify(keys), keys, strict=True):
        assert naive.agrees(table, decision, naive.decide(nodes, key, signalling=False))
