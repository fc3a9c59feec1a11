"""The forwarder between socket pairs: tunnels, reverse tunnels, errors, fragments, super-packets; scapy judges."""

from __future__ import annotations

import ipaddress
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import naive_tunnel as naive
import pytest
from forward_kit import HOME_AGENT, HOME_AGENT4, VNET, Rig, flow, packed
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
    HBHOptUnknown,
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
)
from scapy.packet import Raw

from flowclass.agent._forward import Forwarder
from flowclass.errors import ClassifierError, FlowclassError

MN, MN2 = "2001:db8:100::5", "2001:db8:100::6"
MN4 = "198.51.100.5"
COA1, COA2, COA3 = "2001:db8:a::1", "2001:db8:b::1", "2001:db8:d::1"
COA4 = "203.0.113.7"
CN, CN4 = "2001:db8:c::9", "198.18.0.9"

FORWARD, DISCARD, NCAST = 1, 2, 3

MakeRig = Callable[..., Rig]


@pytest.fixture
def rig() -> Iterator[MakeRig]:
    made: list[Rig] = []

    def make(**options: Any) -> Rig:
        made.append(Rig(**options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def octets(size: int) -> bytes:
    return bytes(i % 251 for i in range(size))


def udp6(
    size: int = 32, source: str = CN, destination: str = MN, sport: int = 1000, dport: int = 2000, **ip: Any
) -> Any:
    header = IPv6(src=source, dst=destination, **ip) / UDP(sport=sport, dport=dport)
    return IPv6(bytes(header / Raw(octets(size))))


def udp4(size: int = 32, source: str = CN4, destination: str = MN4, **ip: Any) -> Any:
    return IP(bytes(IP(src=source, dst=destination, **ip) / UDP(sport=1000, dport=2000) / Raw(octets(size))))


# ---- Into tunnels


def test_a_packet_goes_to_the_care_of_address_of_its_flow_and_any_other_to_the_default(rig: MakeRig) -> None:
    r = rig(encapsulation_limit=None)
    node = r.node(MN, COA1, COA2, flows=[flow(7, FORWARD, (1,), version=6, source_port=(22, 22))])
    plain, ssh = udp6(tc=0xB8, fl=0x12345, hlim=9), udp6(sport=22)
    r.give(plain, ssh).run()
    first, second = (IPv6(p) for p in r.sent)
    assert (first.src, first.dst, first.nh, first.tc, first.fl, first.hlim) == (HOME_AGENT, COA1, 41, 0xB8, 0x12345, 64)
    assert first.plen == len(plain)
    assert bytes(first.payload) == bytes(plain)
    assert second.dst == COA2
    assert bytes(second.payload) == bytes(ssh)
    assert r.flows() == {(node, "default", 0): (1, len(plain)), (node, "flow", 7): (1, len(ssh))}
    assert r.packets == {"flow": 1, "default": 1, "sent": 2}


def test_n_cast_sends_a_copy_to_each_care_of_address_and_counts_one_packet(rig: MakeRig) -> None:
    r = rig(encapsulation_limit=None)
    node = r.node(MN, COA1, COA2, COA4, flows=[flow(1, NCAST, (0, 1, 2))])
    packet = udp6()
    r.give(packet).run()
    copies, (copy4,) = r.sent, r.sent4
    assert [IPv6(c).dst for c in copies] == [COA1, COA2]
    assert [c[40:] for c in copies] == [bytes(packet)] * 2
    assert (IP(copy4).dst, IP(copy4).proto, copy4[20:]) == (COA4, 41, bytes(packet))
    assert r.flows() == {(node, "flow", 1): (1, len(packet))}
    assert r.packets == {"n-cast": 1, "sent": 3}


def test_255_copies_of_each_segment_of_a_super_packet(rig: MakeRig) -> None:
    r = rig(encapsulation_limit=None, vnet=True)
    addresses = [f"2001:db8:a::{i:x}" for i in range(1, 256)]
    r.node(MN, *addresses, flows=[flow(1, NCAST, tuple(range(255)))])
    packet, header = super_packet(TCP(sport=1, dport=2, seq=7, flags="A"), 3 * 500, 500)
    got = []
    r.give(packet, vnet=header).run()
    got += r.sent
    assert len(got) == 3 * 255
    assert [IPv6(p[:40]).dst for p in got] == addresses * 3
    assert len({p[40:] for p in got}) == 3
    assert r.packets["n-cast"] == 3


def test_discarded_and_unbound_packets_go_nowhere(rig: MakeRig) -> None:
    r = rig()
    node = r.node(MN, COA1, flows=[flow(3, DISCARD, (), version=6, source_port=(9, 9))])
    r.node(MN2)
    r.give(udp6(sport=9), udp6(destination=MN2), udp6(destination="2001:db8:100::77")).run()
    unreachable = [IPv6(p) for p in r.sent]
    assert [(p.dst, p[ICMPv6DestUnreach].code) for p in unreachable] == [(CN, 3), (CN, 3)]
    assert r.flows()[node, "flow", 3][0] == 1
    assert r.packets["discard"] == 1
    assert r.dropped == {"unbound": 2}


def random_packet(rng: random.Random) -> tuple[bytes, str]:
    """A packet to a node, of any size around the limits, perhaps with extension headers; and a care-of address."""
    size = rng.choice((0, 1, 33, 500, *range(1180, 1300, 7), *range(1380, 1500, 3)))
    care_of = rng.choice((COA1, COA4))
    if rng.random() < 0.3:
        flags = rng.choice(("DF", 0))
        header = IP(src=CN4, dst=MN4, tos=rng.randrange(256), flags=flags, ttl=rng.randrange(1, 256))
        return bytes(header / UDP(sport=1) / Raw(octets(size))), care_of
    p = IPv6(src=CN, dst=MN, tc=rng.randrange(256), fl=rng.randrange(1 << 20), hlim=rng.randrange(1, 256))
    if rng.random() < 0.2:
        p /= IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * rng.randrange(4))])
    while rng.random() < 0.4:
        options: list[Any] = [PadN(optdata=b"\0" * rng.randrange(8)) for _ in range(rng.randrange(3))]
        if rng.random() < 0.5:
            options.append(HBHOptUnknown(otype=4, optdata=bytes([rng.choice((0, 1, 2, 255))])))
        p /= IPv6ExtHdrDestOpt(options=options)
    return bytes(p / rng.choice((UDP(sport=5), TCP(sport=5))) / Raw(octets(size))), care_of


@pytest.mark.parametrize("limit", [None, 0, 4])
@pytest.mark.parametrize("mtu", [1280, 1400, 1500])
def test_tunnel_packets_and_errors_are_those_of_the_rfcs_written_a_second_time(
    rig: MakeRig, limit: int | None, mtu: int
) -> None:
    rng = random.Random(f"{limit} {mtu}")
    r = rig(encapsulation_limit=limit, mtu=mtu, hop_limit=61)
    setting = naive.Setting(packed(HOME_AGENT), packed(HOME_AGENT4), mtu, 61, limit)
    drops: dict[str, int] = {}
    fragments = errors = 0
    for _ in range(300):
        packet, care_of = random_packet(rng)
        r.node(MN, care_of, also=(packed(MN4),))
        wanted = naive.into_tunnel(setting, packet, packed(care_of))
        r.give(packet).run()
        got, got4 = r.sent, r.sent4
        if wanted.error:
            errors += 1
            assert (got, got4) == (([wanted.error], []) if packet[0] >> 4 == 6 else ([], [wanted.error]))
            assert wanted.drop
            drops[wanted.drop] = drops.get(wanted.drop, 0) + 1
            continue
        out, other = (got, got4) if ":" in care_of else (got4, got)
        assert not other
        if wanted.fragmented:
            assert all(len(p) <= mtu for p in out)
            assert len(out) == 2
            fragments += 1
            out = [naive.rejoin(out)]
        assert out == [wanted.sent]
    assert r.dropped == drops
    assert fragments > 3
    assert errors > 10


def test_the_hop_limit_is_counted_by_the_kernel_and_only_between_tunnels_here(rig: MakeRig) -> None:
    r = rig(encapsulation_limit=None)
    r.node(MN, COA1, also=(packed(MN4),))
    r.node(MN2, COA2)
    r.give(udp6(hlim=1)).run()
    assert IPv6(r.sent[0]).payload.hlim == 1
    r.give(*(IPv6(src=COA2, dst=HOME_AGENT) / udp6(source=MN2, hlim=h) for h in (1, 2))).run()
    exceeded, passed = (IPv6(p) for p in r.sent)
    assert (exceeded.dst, exceeded[ICMPv6TimeExceeded].code) == (MN2, 0)
    assert (passed.dst, passed.payload.hlim) == (COA1, 1)
    assert r.dropped == {"hop-limit": 1}


def test_errors_of_ipv4_are_icmps(rig: MakeRig) -> None:
    r = rig(encapsulation_limit=None)
    r.node(MN, COA1, also=(packed(MN4),))
    r.give(udp4(destination="198.51.100.99"), udp4(size=1450, flags="DF")).run()
    unreachable, too_big = (IP(p) for p in r.sent4)
    assert (unreachable.src, unreachable.dst, unreachable[ICMP].type, unreachable[ICMP].code) == (
        HOME_AGENT4,
        CN4,
        3,
        1,
    )
    assert (too_big[ICMP].type, too_big[ICMP].code, too_big[ICMP].nexthopmtu) == (3, 4, 1460)
    for p in (unreachable, too_big):
        assert naive.checksum(bytes(p)[:20]) == naive.checksum(bytes(p)[20:]) == 0


@pytest.mark.parametrize(
    "packet",
    [
        udp6(source="::"),
        udp6(source="fe80::1"),
        udp6(source="ff02::1"),
        udp6(destination="ff0e::1"),
        IPv6(src=CN, dst="2001:db8:100::77") / ICMPv6DestUnreach() / udp6(),
        IPv6(src=CN, dst="2001:db8:100::77") / IPv6ExtHdrFragment(offset=9, nh=58) / Raw(octets(64)),
        udp4(source="0.0.0.0"),
        udp4(source="224.0.0.1"),
        IP(src=CN4, dst="198.51.100.77") / ICMP(type=3) / udp4(),
        IP(src=CN4, dst="198.51.100.77", frag=3) / Raw(octets(64)),
    ],
)
def test_there_is_no_error_about_these(rig: MakeRig, packet: Any) -> None:
    r = rig()
    r.give(packet).run()
    assert (r.sent, r.sent4) == ([], [])
    assert sum(r.dropped.values()) == 1


def test_errors_are_limited(rig: MakeRig) -> None:
    r = rig()
    began = time.monotonic()
    for _ in range(50):
        r.give(*[udp6(destination="2001:db8:100::77")] * 60).run()
        r.sent  # noqa: B018 - drained
    passed = time.monotonic() - began
    assert r.dropped["unbound"] == 3000
    assert r.packets["errors"] + r.dropped.get("rate", 0) == 3000
    assert 1000 <= r.packets["errors"] <= 1002 + 1000 * passed  # a burst of 1000, then 1000 a second


def test_link_local_destinations_are_never_sent_on(rig: MakeRig) -> None:
    r = rig()
    r.node("2001:db8::1", COA1, prefixes=((bytes(16), 0),))
    r.give(udp6(destination="fe80::1"), udp6(destination="ff02::5"), udp6(destination="2002::1")).run()
    assert [IPv6(p).dst for p in r.sent] == [COA1]
    assert r.dropped == {"scope": 2}


def test_a_care_of_address_loop_ends(rig: MakeRig) -> None:
    """The home address of each of two nodes is the care-of address of the other: what is sent comes back."""
    r = rig(encapsulation_limit=None)
    r.node(MN, MN2)
    r.node(MN2, MN)
    r.give(udp6())
    for _ in range(50):
        r.run()
        if not (back := r.sent):
            break
        r.give(*back)
    assert r.dropped == {"encapsulation-limit": 1}
    assert r.packets["default"] == r.packets["sent"] == 8


def test_later_fragments_go_where_their_first_one_went(rig: MakeRig) -> None:
    r = rig(encapsulation_limit=None)
    r.node(MN, COA1, COA2, flows=[flow(7, FORWARD, (1,), version=6, source_port=(22, 22))])
    whole = bytes(udp6(size=2000, sport=22))
    parts = [
        bytes(
            IPv6(src=CN, dst=MN, plen=8 + len(whole[40:][at : at + 800]))
            / IPv6ExtHdrFragment(nh=17, offset=at // 8, m=at < 1200, id=5)
        )
        + whole[40:][at : at + 800]
        for at in (0, 800, 1600)
    ]
    r.give(*parts).run()
    assert [IPv6(p).dst for p in r.sent] == [COA2] * 3
    r.give(parts[1][:44] + b"\0\0\0\6" + parts[1][48:]).run()  # its first one was never seen
    assert [IPv6(p).dst for p in r.sent] == [COA1]


def test_no_ipv4_socket_no_ipv4_care_of_address(rig: MakeRig) -> None:
    r = rig(ipv4=False)
    r.node(MN, COA4)
    r.give(udp6()).run()
    assert r.dropped == {"no-socket": 1}


# ---- Out of tunnels


def test_a_reverse_tunnel_carries_only_its_own_nodes_packets(rig: MakeRig) -> None:
    r = rig()
    node = r.node(MN, COA1, COA2, also=(packed(MN4),), prefixes=((packed("2001:db8:5::"), 48),))
    r.node(MN2, COA3)
    good = [
        udp6(source=MN, destination=CN),
        udp6(source="2001:db8:5::77", destination=CN),
        udp4(source=MN4, destination=CN4),
    ]
    bad = [udp6(source=MN2, destination=CN), udp6(source=CN, destination="2001:db8::1"), udp4(destination="198.18.0.1")]
    for coa in (COA1, COA2):
        r.give(*(IPv6(src=coa, dst=HOME_AGENT) / p for p in good + bad)).run()
    r.give(*(IPv6(src=COA3, dst=HOME_AGENT) / p for p in good)).run()
    assert r.routed == [bytes(p) for p in good] * 2
    assert r.dropped == {"source": 2 * len(bad) + len(good)}
    assert r.packets == {"reverse": 6}
    assert r.flows() == {(node, "reverse", 0): (6, 2 * sum(map(len, good)))}


def test_a_withdrawn_node_or_care_of_address_sends_nothing_more(rig: MakeRig) -> None:
    r = rig()
    r.node(MN, COA1, COA2)
    packets = [IPv6(src=c, dst=HOME_AGENT) / udp6(source=MN, destination=CN) for c in (COA1, COA2)]
    r.node(MN, COA2)
    r.give(*packets).run()
    assert r.dropped == {"source": 1}
    r.table.withdraw(packed(MN))
    r.give(*packets).run()
    assert r.dropped == {"source": 3}
    assert len(r.routed) == 1


def test_who_may_send_is_what_a_naive_reading_of_the_nodes_says(rig: MakeRig) -> None:
    """fc_fib_sender against loops over lists: nodes with few and many flows and care-of addresses, of both versions."""
    rng = random.Random(5)
    r = rig()
    pool6 = [f"2001:db8:a::{i:x}" for i in range(1, 12)]
    pool4 = [f"203.0.113.{i}" for i in range(1, 12)]
    for i in range(40):
        care_of = rng.sample(pool6 + pool4, rng.randrange(0, 12))
        count = rng.choice((0, 3, 70)) if care_of else 0
        flows = [
            flow(f + 1, FORWARD, (rng.randrange(len(care_of)),), version=6, source_port=(f, f)) for f in range(count)
        ]
        also = (packed(f"198.51.100.{i + 1}"),) if rng.random() < 0.5 else ()
        prefixes = (
            ((packed(f"2001:db8:{i + 0x200:x}::"), 48), (packed(f"10.{i}.0.0"), 16)) if rng.random() < 0.5 else ()
        )
        r.node(f"2001:db8:100::{i + 16:x}", *care_of, flows=flows, also=also, prefixes=prefixes)

    def owner(source: str) -> Any:
        address = ipaddress.ip_address(source)
        for n in r.nodes:
            if address.packed in (n.home, *n.also):
                return n
        for n in r.nodes:
            for network, length in n.prefixes:
                if len(network) == len(address.packed) and address in ipaddress.ip_network((network, length)):
                    return n
        return None

    allowed = 0
    for _ in range(3000):
        i = rng.randrange(42)
        source = rng.choice(
            (f"2001:db8:100::{i + 16:x}", f"198.51.100.{i + 1}", f"2001:db8:{i + 0x200:x}::5", f"10.{i}.3.4")
        )
        care_of = rng.choice(pool6 + pool4)
        inner = udp6(source=source, destination=CN) if ":" in source else udp4(source=source, destination=CN4)
        outer = IPv6(src=care_of, dst=HOME_AGENT) if ":" in care_of else IP(src=care_of, dst=HOME_AGENT4)
        node = owner(source)
        r.give(outer / inner).run()
        wanted = node is not None and packed(care_of) in [address for _, address in node.targets]
        assert r.routed == ([bytes(inner)] if wanted else []), (source, care_of)
        allowed += wanted
    assert 300 < allowed < 2700


def test_from_one_mobile_node_to_another_without_leaving(rig: MakeRig) -> None:
    r = rig(encapsulation_limit=None)
    r.node(MN, COA1)
    r.node(MN2, COA2)
    inner = udp6(source=MN, destination=MN2, hlim=40)
    r.give(IPv6(src=COA1, dst=HOME_AGENT) / inner).run()
    (out,) = r.sent
    assert IPv6(out).dst == COA2
    inner.hlim = 39
    assert out[40:] == bytes(inner)
    assert r.routed == []


def test_congestion_on_the_tunnel_header_is_not_lost(rig: MakeRig) -> None:
    """RFC 6040, figure 4."""
    r = rig()
    r.node(MN, COA1, also=(packed(MN4),))
    wanted = {(o, i): i for o in range(4) for i in range(4)} | {(3, 1): 3, (3, 2): 3, (3, 3): 3, (1, 2): 1}
    for version in (6, 4):
        for (outer, inner), ecn in wanted.items():
            make = udp6 if version == 6 else udp4
            field = "tc" if version == 6 else "tos"
            packet = make(
                source=MN if version == 6 else MN4, destination=CN if version == 6 else CN4, **{field: 0x20 | inner}
            )
            r.give(IPv6(src=COA1, dst=HOME_AGENT, tc=0x40 | outer) / packet).run()
            got = r.routed
            if (outer, inner) == (3, 0):
                assert got == []
                continue
            if version == 6:
                packet.tc = 0x20 | ecn
            else:
                packet.tos = 0x20 | ecn
                del packet.chksum
            assert got == [bytes(packet)]
    assert r.dropped == {"congestion": 2}


def test_tunnels_in_one_another_are_opened_but_not_without_end(rig: MakeRig) -> None:
    r = rig()
    r.node(MN, COA1)
    r.node(COA1, COA2)
    inner = udp6(source=MN, destination=CN)
    r.give(IPv6(src=COA2, dst=HOME_AGENT) / IPv6(src=COA1, dst=HOME_AGENT) / inner).run()
    assert r.routed == [bytes(inner)]
    r.node(MN2, MN2)
    deep = udp6(source=MN2, destination=CN)
    for _ in range(30):
        deep = IPv6(src=MN2, dst=HOME_AGENT) / deep
    r.give(deep).run()
    assert r.routed == []
    assert r.dropped == {"encapsulation-limit": 1}


# ---- To the agent itself


def test_packets_to_the_agent_are_told_whole(rig: MakeRig) -> None:
    r = rig()
    ping = IPv6(src=CN, dst=HOME_AGENT) / ICMPv6EchoRequest(data=b"x")
    ping4 = IP(src=CN4, dst=HOME_AGENT4) / ICMP() / Raw(b"y")
    trailing = bytes(ping) + b"behind the packet"
    r.give(ping, ping4, trailing).run()
    assert r.told == [(bytes(ping), 0, None), (bytes(ping4), 0, None), (bytes(ping), 0, None)]
    assert r.packets == {"local": 3}


def test_a_packet_to_the_agent_through_its_nodes_tunnel(rig: MakeRig) -> None:
    r = rig()
    r.node(MN, COA1)
    inner = IPv6(src=MN, dst=HOME_AGENT) / ICMPv6EchoRequest()
    r.give(IPv6(src=COA1, dst=HOME_AGENT) / inner, IPv6(src=COA3, dst=HOME_AGENT) / inner).run()
    assert r.told == [(bytes(inner), 0, None)]
    assert r.dropped == {"source": 1}


def fragments6(packet: bytes, *sizes: int, ident: int = 77) -> list[bytes]:
    """An IPv6 packet without extension headers cut into pieces of these sizes and the rest."""
    pieces, at = [], 0
    payload = packet[40:]
    for size in (*sizes, len(payload)):
        data = payload[at : at + size]
        if data:
            more = at + size < len(payload)
            p = packet[:4] + struct.pack(">HB", 8 + len(data), 44) + packet[7:40]
            pieces.append(p + struct.pack(">BBHI", packet[6], 0, at | more, ident) + data)
        at += size
    return pieces


def test_fragments_to_the_agent_are_put_together_in_any_order(rig: MakeRig) -> None:
    rng = random.Random(3)
    r = rig()
    for i in range(60):
        version = rng.choice((4, 6))
        size = rng.choice((100, 1500, 9000, 65000))
        if version == 6:
            whole = bytes(IPv6(src=CN, dst=HOME_AGENT, tc=3, fl=9) / UDP(sport=1, dport=i) / Raw(octets(size)))
            pieces = fragments6(
                whole, *(8 * rng.randrange(1, size // 8 + 2) for _ in range(rng.randrange(1, 6))), ident=i
            )
        else:
            p = IP(src=CN4, dst=HOME_AGENT4, id=i) / UDP(sport=1, dport=i) / Raw(octets(size))
            whole = bytes(p)
            pieces = [bytes(f) for f in fragment(p, 8 * rng.randrange(4, 500))]
        rng.shuffle(pieces)
        pieces += [rng.choice(pieces)] if len(pieces) > 1 and rng.random() < 0.2 else []
        before = len(r.told)
        for n in range(0, len(pieces), 30):
            r.give(*pieces[n : n + 30]).run()
        assert [t.packet for t in r.told[before:]] == [whole], (i, version, size)
    assert set(r.dropped) <= {"reassembly"}


def test_a_reverse_tunnel_that_came_in_fragments(rig: MakeRig) -> None:
    r = rig()
    r.node(MN, COA1)
    inner = udp6(source=MN, destination=CN, size=1450)
    r.give(*fragments6(bytes(IPv6(src=COA1, dst=HOME_AGENT) / inner), 1200)).run()
    assert r.routed == [bytes(inner)]


def test_overlapping_fragments_are_given_up_and_so_is_what_still_comes(rig: MakeRig) -> None:
    r = rig()
    whole = bytes(IPv6(src=CN, dst=HOME_AGENT) / UDP(sport=1, dport=2) / Raw(octets(2000)))
    first, second, last = fragments6(whole, 800, 800)
    overlap = fragments6(whole, 720, 800)[1]
    r.give(first, overlap, second, last).run()
    assert r.told == []
    assert r.dropped == {"reassembly": 3}


def test_a_node_that_gets_the_number_of_one_that_has_gone_counts_from_nothing(rig: MakeRig) -> None:
    r = rig()
    number = r.node(MN, COA1)
    reverse = IPv6(src=COA1, dst=HOME_AGENT) / udp6(source=MN, destination=CN)
    r.give(udp6(), udp6(), reverse).run()
    assert {key: n for key, (n, _) in r.flows().items()} == {(number, "default", 0): 2, (number, "reverse", 0): 1}
    r.table.withdraw(packed(MN))
    for _ in range(5000):  # numbers are given again after others
        if r.node(MN2, COA2) == number:
            break
        r.table.withdraw(packed(MN2))
    else:
        pytest.fail("the number didn't come again")
    assert r.flows() == {}
    r.give(udp6(destination=MN2)).run()
    assert {key: n for key, (n, _) in r.flows().items()} == {(number, "default", 0): 1}
    r.node(MN2, COA1)  # its state changes, and it goes on counting
    r.give(udp6(destination=MN2)).run()
    assert {key: n for key, (n, _) in r.flows().items()} == {(number, "default", 0): 2}


def test_the_same_fragment_again_is_no_overlap_but_the_same_octets_in_other_pieces_are(rig: MakeRig) -> None:
    r = rig()
    whole = bytes(IPv6(src=CN, dst=HOME_AGENT) / UDP(sport=1, dport=2) / Raw(octets(2000)))
    first, second, last = fragments6(whole, 800, 800)
    r.give(first, first, last, last, first, second).run()  # RFC 8200 section 4.5: exact duplicates
    assert [told.packet for told in r.told] == [whole]
    longer, shorter = fragments6(whole, 1600)[0], fragments6(whole, 400)[0]
    not_last = last[:43] + bytes([last[43] | 1]) + last[44:]
    for ident, others in enumerate(([first, second, longer], [longer, first], [first, shorter], [last, not_last])):
        pieces = [p[:44] + struct.pack(">I", ident) + p[48:] for p in (*others, first, second, last)]
        r.give(*pieces).run()
    assert len(r.told) == 1


def test_fragments_are_forgotten_after_others_and_memory_stays_bounded(rig: MakeRig) -> None:
    r = rig()
    whole = bytes(IPv6(src=CN, dst=HOME_AGENT) / UDP(sport=1, dport=2) / Raw(octets(2000)))
    early, rest = fragments6(whole, 1200, ident=1)
    r.give(early).run()
    for ident in range(2, 200):
        r.give(fragments6(whole, 1200, ident=ident)[0]).run()
    r.give(rest).run()
    assert r.told == []
    assert r.dropped["reassembly"] >= 130
    r.give(*fragments6(whole, 1200, ident=999)).run()
    assert [t.packet for t in r.told] == [whole]


def test_packets_that_the_agent_does_not_take_are_dropped_at_a_bound(rig: MakeRig) -> None:
    r = rig()
    ping = bytes(IPv6(src=CN, dst=HOME_AGENT) / ICMPv6EchoRequest(data=bytes(64)))
    for _ in range(10):
        r.give(*[ping] * 60)
    r.run()
    assert len(r.told) == 600


# ---- Errors out of tunnels


def test_too_big_from_inside_the_tunnel_reaches_the_sender_and_is_remembered(rig: MakeRig) -> None:
    r = rig(encapsulation_limit=None)
    r.node(MN, COA1, COA2, flows=[flow(7, FORWARD, (1,), version=6, source_port=(22, 22))])
    packet = udp6(size=1350)
    r.give(packet).run()
    (sent,) = r.sent
    router = "2001:db8:ffff::1"
    error = IPv6(src=router, dst=HOME_AGENT) / ICMPv6PacketTooBig(mtu=1400) / Raw(sent[:1232])
    r.give(error).run()
    (relayed,) = (IPv6(p) for p in r.sent)
    assert (relayed.src, relayed.dst, relayed[ICMPv6PacketTooBig].mtu) == (HOME_AGENT, CN, 1360)
    r.give(packet, udp6(size=1350, sport=22)).run()
    again, other_path = (IPv6(p) for p in r.sent)
    assert again[ICMPv6PacketTooBig].mtu == 1360
    assert other_path.dst == COA2
    assert r.told == []


def test_an_error_about_a_packet_that_was_never_sent_is_not_believed(rig: MakeRig) -> None:
    r = rig(encapsulation_limit=None)
    r.node(MN, COA1)
    forged = IPv6(src=HOME_AGENT, dst=COA3) / udp6(size=1350)
    r.give(IPv6(src=CN, dst=HOME_AGENT) / ICMPv6PacketTooBig(mtu=1300) / Raw(bytes(forged)[:1232])).run()
    assert r.sent == []
    assert r.dropped == {"source": 1}


def test_unreachable_tunnels_are_told_to_the_sender(rig: MakeRig) -> None:
    r = rig()
    r.node(MN, COA1)
    packet = udp6()
    r.give(packet).run()
    (sent,) = r.sent
    for error in (ICMPv6DestUnreach(code=0), ICMPv6TimeExceeded(), ICMPv6ParamProblem()):
        r.give(IPv6(src="2001:db8:ffff::1", dst=HOME_AGENT) / error / Raw(sent)).run()
        (relayed,) = (IPv6(p) for p in r.sent)
        assert (relayed.dst, relayed[ICMPv6DestUnreach].code) == (CN, 3)
        assert bytes(relayed[ICMPv6DestUnreach].payload) == bytes(packet)


def test_other_errors_are_the_agents(rig: MakeRig) -> None:
    r = rig()
    error = IPv6(src=CN, dst=HOME_AGENT) / ICMPv6DestUnreach() / (IPv6(src=HOME_AGENT, dst=COA1) / Raw(octets(8)))
    r.give(error).run()
    assert [t.packet for t in r.told] == [bytes(error)]


# ---- Super-packets


def super_packet(upper: Any, payload: int, gso: int, *, version: int = 6, **ip: Any) -> tuple[bytes, bytes]:
    """As a kernel with offloads gives it: one header, the sum of the pseudo-header in the checksum field; and its
    virtio_net_hdr."""
    header: Any = IPv6(src=CN, dst=MN, **ip) if version == 6 else IP(src=CN4, dst=MN4, **ip)
    packet = bytearray(bytes(header / upper / Raw(octets(payload))))
    at = 40 if version == 6 else 20
    tcp = isinstance(upper, TCP)
    size = (packet[at + 12] >> 4) * 4 if tcp else 8
    field = at + (16 if tcp else 6)
    length = len(packet) - at
    addresses = packet[8:40] if version == 6 else packet[12:20]
    pseudo = bytes(addresses) + struct.pack(">II", length, 6 if tcp else 17)
    packet[field : field + 2] = (~naive.checksum(pseudo) & 0xFFFF).to_bytes(2, "big")
    kind = (1 if version == 4 else 4) if tcp else 5
    return bytes(packet), VNET.pack(1, kind, at + size, gso, at, field - at)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("payload", [1, 999, 1000, 1001, 2000, 31999, 60000])
def test_a_tcp_super_packet_becomes_the_segments_that_tcp_would_have_sent(
    rig: MakeRig, version: int, payload: int
) -> None:
    r = rig(encapsulation_limit=None, vnet=True)
    node = r.node(MN, COA1, also=(packed(MN4),))
    tcp = TCP(sport=5, dport=6, seq=0xFFFFFF00, ack=7, flags="CFPA", options=[("Timestamp", (1, 2))])
    packet, header = super_packet(tcp, payload, 1000, version=version)
    r.give(packet, vnet=header).run()
    got = [p[40:] for p in r.sent]
    assert len(got) == max(1, -(-payload // 1000))
    at = 40 if version == 6 else 20
    joined = b""
    for i, p in enumerate(got):
        judged = IPv6(p) if version == 6 else IP(p)
        last = i == len(got) - 1
        assert judged[TCP].seq == (0xFFFFFF00 + 1000 * i) % 2**32
        assert judged[TCP].ack == 7
        assert str(judged[TCP].flags) == ("FP" if last else "") + "A" + ("" if i else "C")
        assert judged[TCP].options[0] == ("Timestamp", (1, 2))
        if version == 4:
            assert judged.id == (IP(packet).id + i) % 65536
            assert naive.checksum(p[:20]) == 0
            assert judged.len == len(p)
        else:
            assert judged.plen == len(p) - 40
        assert naive.transport_checksum(p, at, 6) == 0
        joined += bytes(judged[TCP].payload)
    assert joined == octets(payload)
    assert r.flows() == {(node, "default", 0): (len(got), sum(map(len, got)))}


@pytest.mark.parametrize("version", [4, 6])
def test_a_udp_super_packet_becomes_datagrams(rig: MakeRig, version: int) -> None:
    r = rig(encapsulation_limit=None, vnet=True)
    r.node(MN, COA1, also=(packed(MN4),))
    packet, header = super_packet(UDP(sport=5, dport=6), 3333, 1111 - 1, version=version)
    r.give(packet, vnet=header).run()
    got = [p[40:] for p in r.sent]
    at = 40 if version == 6 else 20
    assert [len(p) - at - 8 for p in got] == [1110, 1110, 1110, 3]
    assert b"".join(p[at + 8 :] for p in got) == octets(3333)
    for p in got:
        assert naive.transport_checksum(p, at, 17) == 0
        assert int.from_bytes(p[at + 4 : at + 6], "big") == len(p) - at


def test_a_checksum_that_was_left_to_the_card_is_finished(rig: MakeRig) -> None:
    r = rig(encapsulation_limit=None, vnet=True)
    r.node(MN, COA1)
    packet, header = super_packet(UDP(sport=5, dport=6), 333, 0)
    r.give(packet, vnet=header[:1] + b"\0" + header[2:]).run()
    (sent,) = r.sent
    assert sent[40:] == bytes(IPv6(src=CN, dst=MN) / UDP(sport=5, dport=6) / Raw(octets(333)))


def test_segments_that_are_too_long_for_the_tunnel(rig: MakeRig) -> None:
    r = rig(encapsulation_limit=None, vnet=True)
    r.node(MN, COA1, also=(packed(MN4),))
    packet, header = super_packet(TCP(), 10000, 1440)
    r.give(packet, vnet=header).run()
    (error,) = (IPv6(p) for p in r.sent)
    assert error[ICMPv6PacketTooBig].mtu == 1460
    assert r.dropped == {"too-big": 7}
    packet, header = super_packet(UDP(), 5000, 1460, version=4)
    r.give(packet, vnet=header).run()
    out = r.sent
    pairs = [out[i : i + 2] for i in range(0, 6, 2)]
    assert [len(naive.rejoin(p)) for p in pairs] == [40 + 28 + 1460] * 3
    assert len(out) == 7


def test_a_virtual_network_header_that_makes_no_sense_is_dropped(rig: MakeRig) -> None:
    r = rig(vnet=True)
    r.node(MN, COA1)
    packet, good = super_packet(TCP(), 3000, 1000)
    fields = VNET.unpack(good)
    bad = 0
    for i, value in [(0, 0), (1, 1), (1, 3), (1, 5), (3, 0), (4, 0), (4, 41), (4, 9999), (5, 6), (5, 65535)]:
        wrong = list(fields)
        wrong[i] = value
        r.give(packet, vnet=VNET.pack(*wrong)).run()
        bad += 1
    assert r.sent == []
    assert r.dropped == {"malformed": bad}


# ---- UDP over IPv4 (RFC 5555)


def test_packets_in_udp_over_ipv4_go_to_the_port_that_a_nat_gave(rig: MakeRig) -> None:
    r = rig(udp=True)
    assert r.udp
    agent = r.udp.getsockname()
    r.node(MN, "127.0.0.1", also=(packed(MN4),))
    r.node(MN2, "127.0.0.1")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        for s in (one, two):
            s.bind(("127.0.0.1", 0))
            s.settimeout(60)
        r.forwarder.set_port(packed(MN), 1, packed("127.0.0.1"), one.getsockname()[1])
        r.forwarder.set_port(packed(MN2), 1, packed("127.0.0.1"), two.getsockname()[1])
        to_one, to_two = udp6(), udp6(destination=MN2)
        r.give(to_one, to_two, udp4()).run()
        assert [one.recv(4096), one.recv(4096), two.recv(4096)] == [bytes(to_one), bytes(udp4()), bytes(to_two)]

        back = udp6(source=MN, destination=CN)
        update = IPv6(src=MN, dst=HOME_AGENT) / ICMPv6EchoRequest()
        for s in (one, two):
            s.sendto(bytes(back), agent)
            s.sendto(bytes(update), agent)
            s.sendto(b"\xff", agent)
        wait_for(lambda: len(r.run(50).told) == 2)
        assert r.routed == [bytes(back)]
        loopback = packed("127.0.0.1")
        assert {t.outer for t in r.told} == {(loopback, s.getsockname()[1]) for s in (one, two)}
        assert {(t.packet, t.tun) for t in r.told} == {(bytes(update), -1)}
        assert r.dropped == {"source": 1}

        r.forwarder.set_port(packed(MN), 1, loopback, None)
        r.give(to_one).run()
        assert IP(r.sent4[0]).dst == "127.0.0.1"


def test_udp_and_plain_tunnels_of_ipv4_that_arrive_at_the_tun_device(rig: MakeRig) -> None:
    r = rig(udp=True, vnet=True)
    r.node(MN, COA4, also=(packed(MN4),))
    six, four = udp6(source=MN, destination=CN), udp4(source=MN4, destination=CN4)
    r.give(*(IP(src=COA4, dst=HOME_AGENT4) / p for p in (six, four))).run()
    outer = IP(src=COA4, dst=HOME_AGENT4) / UDP(sport=777, dport=4191)
    r.give(*(outer / p for p in (six, four))).run()
    assert r.routed == [bytes(six), bytes(four)] * 2
    r.forwarder.set_port(packed(MN), 1, packed(COA4), 778)
    r.give(outer / six).run()
    assert r.dropped == {"source": 1}
    # several datagrams as one super-packet
    r.forwarder.set_port(packed(MN), 1, packed(COA4), 777)
    packet = bytes(outer / Raw(bytes(six) * 3))
    r.give(packet, vnet=VNET.pack(1, 5, 28, len(six), 20, 6)).run()
    assert r.routed == [bytes(six)] * 3


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "in vain"


# ---- The object


def test_wake_and_close_end_a_run_in_another_thread(rig: MakeRig) -> None:
    r = rig()
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(r.forwarder.run()))
    thread.start()
    r.forwarder.wake()
    thread.join(60)
    assert found == [[]]
    thread = threading.Thread(target=lambda: found.append(r.forwarder.run(None)))
    thread.start()
    time.sleep(0.05)
    r.forwarder.close()
    thread.join(60)
    assert found == [[], []]
    assert r.forwarder.run() == []


def test_each_queue_is_served_and_says_its_number(rig: MakeRig) -> None:
    r = rig(queues=3, encapsulation_limit=None)
    node = r.node(MN, COA1)
    ping = IPv6(src=CN, dst=HOME_AGENT) / ICMPv6EchoRequest()
    for q in range(3):
        r.give(udp6(), ping, queue=q)
    wait_for(lambda: len(r.run(20).told) == 3 and r.packets.get("default") == 3)
    assert sorted(t.tun for t in r.told) == [0, 1, 2]
    assert len(r.sent) == 3
    assert r.flows() == {(node, "default", 0): (3, 3 * len(udp6()))}


def test_settings_change_while_it_runs(rig: MakeRig) -> None:
    r = rig()
    r.node(MN, COA1)
    r.forwarder.reload(mtu=1300, hop_limit=9, encapsulation_limit=None)
    r.give(udp6(size=1200), udp6(size=1252)).run()
    fits, error = (IPv6(p) for p in r.sent)
    assert (fits.hlim, fits.nh) == (9, 41)
    assert error[ICMPv6PacketTooBig].mtu == 1280
    with pytest.raises(ClassifierError, match="mtu: expected 1280 to 65535, got 1279"):
        r.forwarder.reload(mtu=1279)


def test_send_takes_whole_packets_of_both_versions(rig: MakeRig) -> None:
    r = rig()
    assert r.forwarder.send([bytes(udp6()), memoryview(bytes(udp4()))]) == 2
    assert (r.sent, r.sent4) == ([bytes(udp6())], [bytes(udp4())])
    for bad in (b"", b"\x60", bytes(40)):
        with pytest.raises(OSError, match="Invalid argument"):
            r.forwarder.send([bad])


@pytest.mark.parametrize(
    "wrong",
    [
        {"tun": []},
        {"tun": [-1]},
        {"mtu": 1279},
        {"hop_limit": 0},
        {"encapsulation_limit": 256},
        {"home_agent": b"short"},
        {"home_agent_ipv4": bytes(16)},
        {"output": None},
    ],
)
def test_wrong_arguments_are_refused_by_name(rig: MakeRig, wrong: dict[str, Any]) -> None:
    arguments = {"tun": [0], "output": 1, "home_agent": bytes(16)} | wrong
    with pytest.raises(FlowclassError, match=next(iter(wrong))):
        Forwarder(rig().table, **arguments)
