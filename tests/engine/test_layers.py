"""Frames of every link layer, tag, shim and tunnel, in each other: the engine finds the packet inside.

So does the naive reader (tests/support/naive_layers.py), also where frames are cut or have octets changed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import naive_layers
import naive_packets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowclass.engine.packets import INNERMOST, parse

ETHER = bytes.fromhex("0200000000bb0200000000aa")
IPV4, IPV6 = 0x0800, 0x86DD

Typed = tuple[int, bytes]  # an EtherType, and what it names


def checksum(header: bytes) -> int:
    total = sum(struct.unpack(f">{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ip4(protocol: int, body: bytes) -> bytes:
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 7, 0, 64, protocol, 0, b"\xc0\0\2\1", b"\xc0\0\2\2")
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + body


def ip6(protocol: int, body: bytes) -> bytes:
    address = bytes.fromhex("20010db8000f000000000000000000")
    return struct.pack(">IHBB", 6 << 28, len(body), protocol, 64) + address + b"\1" + address + b"\2" + body


def udp(source: int, destination: int, body: bytes) -> bytes:
    return struct.pack(">HHHH", source, destination, 8 + len(body), 0) + body


PACKETS = {
    IPV4: ip4(17, udp(1111, 2222, b"payload1")),
    IPV6: ip6(6, struct.pack(">HHIIHHHH", 3333, 443, 0, 0, 0x5002, 9, 0, 0)),
}


def frame(typed: Typed) -> bytes:
    return ETHER + struct.pack(">H", typed[0]) + typed[1]


# ---- tags and shims: what an EtherType names goes in, what another one names comes out -----------------------


def tag(kind: int, octets: str) -> Callable[[Typed], Typed]:
    return lambda typed: (kind, bytes.fromhex(octets) + struct.pack(">H", typed[0]) + typed[1])


def framed(kind: int, octets: str) -> Callable[[Typed], Typed]:
    return lambda typed: (kind, bytes.fromhex(octets) + frame(typed))


def labels(typed: Typed, control_word: str = "") -> bytes:
    """Behind labels: a packet, or as a pseudowire everything else."""
    stack = bytes.fromhex("0001304000010140")
    return stack + (typed[1] if typed[0] in PACKETS else bytes.fromhex(control_word) + frame(typed))


def nsh(typed: Typed) -> Typed:
    head = bytes.fromhex("0fc30203000001ff01020304")
    if typed[0] in PACKETS:
        return 0x894F, head[:3] + (b"\1" if typed[0] == IPV4 else b"\2") + head[4:] + typed[1]
    return 0x894F, head + frame(typed)


SHIMS: dict[str, Callable[[Typed], Typed]] = {
    "802.1Q": tag(0x8100, "0005"),
    "802.1ad": tag(0x88A8, "0005"),
    "0x9100": tag(0x9100, "0005"),
    "0x9200": tag(0x9200, "0005"),
    "0x9300": tag(0x9300, "0005"),
    "VN-Tag": tag(0x8926, "00000014"),
    "E-Tag": tag(0x893F, "000000010000"),
    "HSR": tag(0x892F, "103c0001"),
    "Cisco MetaData": tag(0x8909, "010100010064"),
    "Arista time, 64 bits": tag(0xD28B, "00010010" + "00" * 8),
    "Arista time, 48 bits": tag(0xD28B, "00010020" + "00" * 6),
    "MACsec": tag(0x88E5, "002c00000001"),
    "MACsec with SCI": tag(0x88E5, "202c000000010200000000aa0001"),
    "EDSA": tag(0xDADA, "000040000001"),
    "PBB": framed(0x88E7, "0000000a"),
    "FabricPath": framed(0x8903, "0040"),
    "TRILL": framed(0x22F3, "003f00010002"),
    "TRILL with options": framed(0x22F3, "00bf0001000200000000aabbccdd"),
    "NSH": nsh,
    "MPLS": lambda typed: (0x8847, labels(typed)),
    "MPLS with control word": lambda typed: (0x8847, labels(typed, "00000007")),
    "MPLS multicast": lambda typed: (0x8848, labels(typed)),
    "Ethernet in MPLS": lambda typed: (0x8847, labels((0, b""))[:8] + frame(typed)),
}


def ppp(typed: Typed) -> bytes:
    kinds = {IPV4: 0x21, IPV6: 0x57, 0x8847: 0x281, 0x8848: 0x283}
    return struct.pack(">H", kinds[typed[0]]) + typed[1]


SHIMS_OF_PPP: dict[str, Callable[[Typed], Typed]] = {
    "PPPoE": lambda typed: (0x8864, bytes.fromhex("110000090063") + ppp(typed)),
    "PPP": lambda typed: (0x880B, b"\xff\x03" + ppp(typed)),
}

# ---- link types -----------------------------------------------------------------------------------------------


def snap(typed: Typed) -> bytes:
    return b"\xaa\xaa\x03\0\0\0" + struct.pack(">H", typed[0]) + typed[1]


def ethertyped(typed: Typed) -> bytes:
    return struct.pack(">H", typed[0]) + typed[1]


BRIDGED = b"\xaa\xaa\x03\x00\x80\xc2\x00\x07\0\0"
RADIOTAP = bytes.fromhex("0000080000000000")
ROUTED = ETHER[:6] + b"\x82" + ETHER[7:]
WLAN = bytes.fromhex("08010000") + ETHER + ETHER[:6] + b"\0\0"
QOS = bytes.fromhex("88030000") + ETHER + ETHER[:6] + b"\0\0" + ETHER[:6] + b"\0\0"
ERF = struct.pack("<QBB", 5, 0x82, 4) + bytes(6) + b"\x80" + bytes(7) + bytes(8) + bytes(2)


def nflog_of_a_bridge(typed: Typed) -> bytes:
    head = b"\7\0\0\0" + struct.pack("<HH", 8, 1) + struct.pack(">HH", typed[0], 0)
    return head + struct.pack("<HH", 4 + len(typed[1]), 9) + typed[1]


LINKS: dict[str, tuple[int, Callable[[Typed], bytes]]] = {
    "Ethernet": (1, frame),
    "802.3": (1, lambda t: ETHER + struct.pack(">H", len(snap(t)) % 1500) + snap(t)),
    "ISL": (1, lambda t: b"\1\0\x0c\0\0\x10" + bytes(6) + b"\0\x3c\xaa\xaa\x03\0\0\x0c\0\x14" + bytes(4) + frame(t)),
    "token ring": (6, lambda t: b"\x10\x40" + ETHER + snap(t)),
    "token ring with source routing": (6, lambda t: b"\x10\x40" + ROUTED + b"\4\0\1\2" + snap(t)),
    "FDDI": (10, lambda t: b"\x50" + ETHER + snap(t)),
    "ATM, routed": (100, snap),
    "ATM, bridged": (100, lambda t: BRIDGED + frame(t)),
    "Cisco HDLC": (104, lambda t: b"\x0f\0" + ethertyped(t)),
    "Cisco HDLC with direction": (205, lambda t: b"\1\x8f\0" + ethertyped(t)),
    "Cisco HDLC as PPP": (50, lambda t: b"\x0f\0" + ethertyped(t)),
    "802.11": (105, lambda t: WLAN + snap(t)),
    "802.11 QoS, four addresses": (105, lambda t: QOS + snap(t)),
    "radiotap, padded": (127, lambda t: bytes.fromhex("0000090002000000") + b"\x20" + QOS + snap(t)),
    "Prism, little-endian": (119, lambda t: struct.pack("<II", 68, 16) + bytes(8) + WLAN + snap(t)),
    "Prism, big-endian": (119, lambda t: struct.pack(">II", 68, 16) + bytes(8) + WLAN + snap(t)),
    "AVS": (163, lambda t: struct.pack(">II", 0x80211001, 16) + bytes(8) + WLAN + snap(t)),
    "Frame Relay, Cisco": (107, lambda t: b"\x18\x41" + ethertyped(t)),
    "Frame Relay, SNAP": (107, lambda t: b"\x18\x41\x03\0\x80\0\0\0" + ethertyped(t)),
    "Frame Relay, bridged": (107, lambda t: b"\x18\x40\x41\x03\0\x80\0\x80\xc2\0\x07" + frame(t)),
    "Frame Relay, 4 octets": (206, lambda t: b"\1\x08\x60\x04\x03\x03\x80\0\0\0" + ethertyped(t)),
    "cooked": (113, lambda t: bytes(14) + ethertyped(t)),
    "cooked 2": (276, lambda t: struct.pack(">H", t[0]) + bytes(18) + t[1]),
    "cooked, 802.11": (113, lambda t: b"\0\0\3\x21" + bytes(10) + b"\0\4" + WLAN + snap(t)),
    "cooked 2, radiotap": (276, lambda t: b"\0\4" + bytes(6) + b"\3\x23" + bytes(10) + RADIOTAP + WLAN + snap(t)),
    "cooked, LLC": (113, lambda t: bytes(14) + b"\0\4" + snap(t)),
    "IP over Fibre Channel": (122, lambda t: bytes(16) + snap(t)),
    "SunATM, LLC": (123, lambda t: b"\2\0\0\x21" + snap(t)),
    "SunATM, LANE": (123, lambda t: b"\1\0\0\x21\0\0" + frame(t)),
    "IP over 1394": (138, lambda t: bytes(16) + ethertyped(t)),
    "DOCSIS": (143, lambda t: bytes(6) + frame(t)),
    "DOCSIS, extended": (143, lambda t: b"\1\2\0\0\7\7\0\0" + frame(t)),
    "Juniper Ethernet": (178, lambda t: b"MGC\1" + frame(t)),
    "Juniper Ethernet, extended": (178, lambda t: b"MGC\x80\0\x06\1\1\4\2\1\4" + frame(t)),
    "Juniper Frame Relay": (180, lambda t: b"MGC\1\x18\x41" + ethertyped(t)),
    "Juniper Cisco HDLC": (181, lambda t: b"MGC\1\x0f\0" + ethertyped(t)),
    "PPI": (192, lambda t: struct.pack("<BBHI", 0, 0, 12, 1) + bytes(4) + frame(t)),
    "PKTAP": (258, lambda t: struct.pack("<III", 16, 1, 1) + bytes(4) + frame(t)),
    "ERF, Ethernet": (197, lambda t: ERF + frame(t)),
    "ERF, HDLC": (197, lambda t: bytes(8) + b"\1\4" + bytes(6) + b"\x0f\0" + ethertyped(t)),
    "netANALYZER": (240, lambda t: bytes(4) + frame(t)),
    "netANALYZER transparent": (241, lambda t: bytes(12) + frame(t)),
    "IP over Infiniband": (242, lambda t: bytes(40) + struct.pack(">HH", t[0], 0) + t[1]),
    "mPacket": (274, lambda t: b"\x55" * 7 + b"\xd5" + frame(t)),
    "mPacket, preemptable": (274, lambda t: b"\x55" * 7 + b"\x4c" + frame(t)),
    "DSA of Broadcom": (281, lambda t: ETHER + bytes(4) + ethertyped(t)),
    "DSA of Broadcom, in front": (282, lambda t: bytes(4) + frame(t)),
    "DSA of Marvell": (284, lambda t: ETHER + b"\x40\0\0\1" + ethertyped(t)),
    "NULL with EtherType": (0, lambda t: b"\x0f\0" + ethertyped(t)),
    "NULL with EtherType, little-endian": (0, lambda t: struct.pack("<I", t[0]) + t[1]),
    "NFLOG of a bridge": (239, nflog_of_a_bridge),
}  # fmt: skip

INET6 = {"FreeBSD": 28, "Darwin": 30, "OpenBSD": 24, "Linux": 10, "Windows": 23}


def family(typed: Typed, inet6: int) -> int:
    return 2 if typed[0] == IPV4 else inet6


def nflog(order: str) -> Callable[[Typed], bytes]:
    def wrap(typed: Typed) -> bytes:
        head = struct.pack(">BBH", family(typed, 10), 0, 42)
        prefix = struct.pack(order + "HH", 9, 10) + b"drop\0\0\0\0"
        return head + prefix + struct.pack(order + "HH", 4 + len(typed[1]), 9) + typed[1]

    return wrap


LINKS_OF_IP: dict[str, tuple[int, Callable[[Typed], bytes]]] = {
    "raw": (101, lambda t: t[1]),
    "SLIP": (8, lambda t: bytes(16) + t[1]),
    "LLC of IP": (113, lambda t: bytes(14) + b"\0\4\x06\x06\x03" + t[1]),
    "LLC of ISO": (100, lambda t: b"\xfe\xfe\x03" + (b"\xcc" if t[0] == IPV4 else b"\x8e") + t[1]),
    "Frame Relay, NLPID": (107, lambda t: b"\x18\x41\x03" + (b"\xcc" if t[0] == IPV4 else b"\x8e") + t[1]),
    "ENC": (109, lambda t: struct.pack("<III", family(t, 24), 0x1234, 0) + t[1]),
    "PFLOG": (117, lambda t: bytes([61, family(t, 24)]) + bytes(62) + t[1]),
    "PFLOG of FreeBSD": (117, lambda t: bytes([45, family(t, 28)]) + bytes(46) + t[1]),
    "IPNET": (226, lambda t: bytes([2, family(t, 26)]) + bytes(22) + t[1]),
    "NFLOG, little-endian": (239, nflog("<")),
    "NFLOG, big-endian": (239, nflog(">")),
    "ERF of IP": (197, lambda t: bytes(8) + bytes([22 if t[0] == IPV4 else 23, 4]) + bytes(6) + t[1]),
    "Juniper without a link layer": (178, lambda t: b"MGC\x03" + t[1]),
    "Juniper PPP": (179, lambda t: b"MGC\1\xff\x03" + ppp(t)),
    "PPP": (9, lambda t: ppp(t)[1:]),
    "PPP in NULL": (0, lambda t: b"\xff\x03" + ppp(t)),
    "PPP with direction": (204, lambda t: b"\1\xff\x03" + ppp(t)),
    "PPP of pppd": (166, lambda t: b"\0\x03" + ppp(t)),
    "PPP over Ethernet": (51, lambda t: bytes.fromhex("110000090063") + ppp(t)),
    "MPLS": (219, lambda t: labels(t)),
} | {
    f"NULL of {system}, {order}": (0, lambda t, n=number, o=order: struct.pack(o + "I", family(t, n)) + t[1])
    for system, number in INET6.items()
    for order in "<>"
}  # fmt: skip

# ---- tunnels: (IP protocol, payload) of an IP packet ------------------------------------------------------------

Carried = tuple[int, bytes]


def in_gre(kind: int, octets: str = "", flags: int = 0) -> Callable[[bytes], Carried]:
    return lambda inner: (47, struct.pack(">HH", flags, kind) + bytes.fromhex(octets) + inner)


def in_udp(port: int, octets: str = "", source: int = 50000) -> Callable[[bytes], Carried]:
    return lambda inner: (17, udp(source, port, bytes.fromhex(octets) + inner))


def number_of(typed: Typed) -> str:
    return "04" if typed[0] == IPV4 else "29"


TUNNELS: dict[str, Callable[[Typed], Carried]] = {
    "GRE": lambda t: in_gre(t[0])(t[1]),
    "GRE, all fields": lambda t: in_gre(t[0], "00" * 12, 0xB000)(t[1]),
    "GRE, source routes": lambda t: in_gre(t[0], "00000000" "08000004aabbccdd" "00000000", 0x4000)(t[1]),
    "GRE, bridged": lambda t: in_gre(0x6558)(frame(t)),
    "ERSPAN I": lambda t: in_gre(0x88BE)(frame(t)),
    "ERSPAN II": lambda t: in_gre(0x88BE, "00000001" "1001000100000001", 0x1000)(frame(t)),
    "ERSPAN III": lambda t: in_gre(0x22EB, "00000001" "200100010000000100000000", 0x1000)(frame(t)),
    "ERSPAN III, more": lambda t: in_gre(0x22EB, "00000001" "200100010000000100000001" + "00" * 8, 0x1000)(frame(t)),
    "Aruba": lambda t: in_gre(0x8200)(WLAN + snap(t)),
    "EtherIP": lambda t: (97, b"\x30\0" + frame(t)),
    "L2TPv3": lambda t: (115, b"\0\0\0\5" + frame(t)),
    "L2TPv3, cookie and sublayer": lambda t: (115, bytes.fromhex("00000005" "1122334455667788" "40000001") + frame(t)),
    "L2TPv3 in UDP": lambda t: in_udp(1701, "00030000" "00000005", 1701)(frame(t)),
    "MPLS in IP": lambda t: (137, labels(t)),
    "MPLS in UDP": lambda t: in_udp(6635)(labels(t, "00000000")),
    "SRv6": lambda t: (143, frame(t)),
    "GRE in UDP": lambda t: in_udp(4754, f"0000{t[0]:04x}")(t[1]),
    "VXLAN": lambda t: in_udp(4789, "0800000000000100")(frame(t)),
    "VXLAN, group policy": lambda t: in_udp(4789, "8800000500000100")(frame(t)),
    "VXLAN of Linux": lambda t: in_udp(8472, "0800000000000100")(frame(t)),
    "VXLAN-GPE": lambda t: in_udp(4790, "0c00000300000700")(frame(t)),
    "VXLAN-GPE on VXLAN's port": lambda t: in_udp(4789, "0c00000300000700")(frame(t)),
    "VXLAN-GPE of NSH": lambda t: in_udp(4790, "0c00000400000700")(nsh(t)[1]),
    "GENEVE": lambda t: in_udp(6081, "0100655800000100deadbeef")(frame(t)),
    "GENEVE of EtherTypes": lambda t: in_udp(6081, f"0000{t[0]:04x}00000100")(t[1]),
    "GTP-U, Ethernet": lambda t: in_udp(2152, "34ff003a00000001" "00000085" "01000900", 2152)(frame(t)),
    "TZSP": lambda t: in_udp(37008, "01000001" "00" "0a021234" "01")(frame(t)),
    "TZSP, 802.11": lambda t: in_udp(37008, "01000012" "01")(WLAN + snap(t)),
    "CAPWAP": lambda t: in_udp(5247, "0010020000000000")(frame(t)),
    "CAPWAP, 802.11": lambda t: in_udp(9, "0018030000000000aabbccdd", 5247)(WLAN + snap(t)),
    "CAPWAP, 802.11 swapped": lambda t: in_udp(5247, "0010030000000000")(b"\1\x08" + WLAN[2:] + snap(t)),
    "CAPWAP, 802.11 unannounced": lambda t: in_udp(5247, "0010020000000000")(WLAN + snap(t)),
    "GUE of GRE": lambda t: in_udp(6080, f"002f0000" f"0000{t[0]:04x}")(t[1]),
}  # fmt: skip
TUNNELS_OF_IP: dict[str, Callable[[Typed], Carried]] = {
    "IP in IP": lambda t: (4 if t[0] == IPV4 else 41, t[1]),
    "ERSPAN III of IP": lambda t: in_gre(0x22EB, "00000001" "200100010000000100000800", 0x1000)(t[1]),
    "PPTP": lambda t: in_gre(0x880B, "00100001" "00000001" "00000001", 0x3081)(b"\xff\x03" + ppp(t)),
    "L2TPv2": lambda t: in_udp(1701, "000200010001" "ff03", 1701)(ppp(t)),
    "L2TPv2, all fields": lambda t: in_udp(9, "4a02006300010001" "00000000" "0002aabb", 1701)(ppp(t)[1:]),
    "GTP-U": lambda t: in_udp(2152, "30ff003a00000001", 2152)(t[1]),
    "VXLAN-GPE of IP": lambda t: in_udp(4790, "0c00000100000700" if t[0] == IPV4 else "0c00000200000700")(t[1]),
    "GUE": lambda t: in_udp(6080, f"01{number_of(t)}0000deadbeef")(t[1]),
    "GUE, version 1": lambda t: in_udp(6080)(t[1]),
    "LISP": lambda t: in_udp(4341, "c000000100000001")(t[1]),
    "AYIYA": lambda t: in_udp(5072, f"441201{number_of(t)}" + "00" * 24)(t[1]),
}  # fmt: skip
WCCP: dict[str, Callable[[Typed], Carried]] = {
    "WCCP": lambda t: in_gre(0x883E)(t[1]),
    "WCCP 2": lambda t: in_gre(0x883E, "00000000")(t[1]),
}
TEREDO = {"Teredo": lambda t: in_udp(3544, "0001000012345678abcdef00000000123456789abc")(t[1])}


def typed(version: int) -> Typed:
    return (version, PACKETS[version])


def found(linktype: int, octets: bytes, inner: int = 0) -> tuple[Any, Any]:
    keys, infos = parse([octets], linktype=linktype, inner=inner)
    return keys[0], infos[0]


def assert_found(linktype: int, octets: bytes, packet: bytes, depth: int = 1) -> None:
    key, info = found(linktype, octets, INNERMOST)
    assert int(info["depth"]) == depth
    assert int(info["ip_offset"]) == len(octets) - len(packet)
    assert key.tobytes() == parse([packet])[0].tobytes()


VERSIONS = pytest.mark.parametrize("version", PACKETS)


@VERSIONS
@pytest.mark.parametrize("name", LINKS | LINKS_OF_IP)
def test_each_link_type(name: str, version: int) -> None:
    linktype, wrap = (LINKS | LINKS_OF_IP)[name]
    assert_found(linktype, wrap(typed(version)), PACKETS[version])


@VERSIONS
@pytest.mark.parametrize("name", SHIMS | SHIMS_OF_PPP)
def test_each_tag_and_shim(name: str, version: int) -> None:
    inside = (SHIMS | SHIMS_OF_PPP)[name](typed(version))
    assert_found(1, frame(inside), PACKETS[version])
    for outer in ("802.1Q", "Ethernet in MPLS", "NSH", "PBB"):
        assert_found(1, frame(SHIMS[outer](inside)), PACKETS[version])


@VERSIONS
@pytest.mark.parametrize("name", TUNNELS | TUNNELS_OF_IP | WCCP | TEREDO)
def test_each_tunnel(name: str, version: int) -> None:
    if (name == "WCCP" and version == IPV6) or (name == "Teredo" and version == IPV4):
        pytest.skip("carries the other version only")
    carried = (TUNNELS | TUNNELS_OF_IP | WCCP | TEREDO)[name](typed(version))
    for outer in (ip4, ip6):
        packet = outer(*carried)
        assert_found(101, packet, PACKETS[version], depth=2)
        assert found(101, packet)[1]["depth"] == 1
        assert_found(1, frame((IPV4 if outer is ip4 else IPV6, packet)), PACKETS[version], depth=2)


@pytest.mark.parametrize("first", ["40", "45", "60", "6f"])
def test_ethernet_in_mpls_whose_address_looks_like_an_ip_version(first: str) -> None:
    for version, packet in PACKETS.items():
        inner = bytes.fromhex(first) + frame(typed(version))[1:]
        assert_found(1, frame((0x8847, bytes.fromhex("00010140") + inner)), packet)


def test_more_layers_than_are_followed() -> None:
    for count in (31, 32, 5000):
        _, info = found(1, ETHER + b"\x93\x00\x00\x07" * count + b"\x08\x00" + PACKETS[IPV4])
        expected = (0, 0) if count < 31 else (11, 32)
        assert (int(info["unread"]), int(info["unread_value"])) == expected


# ---- in each other, cut, and with octets changed ------------------------------------------------------------------


@st.composite
def stacked(draw: st.DrawFn, at_most: int = 3) -> Typed:
    """A packet in tags and shims."""
    inside = typed(draw(st.sampled_from([IPV4, IPV6])))
    if draw(st.integers(0, 5)) == 0:
        inside = SHIMS_OF_PPP[draw(st.sampled_from(sorted(SHIMS_OF_PPP)))](inside)
    for name in draw(st.lists(st.sampled_from(sorted(SHIMS)), max_size=at_most)):
        inside = SHIMS[name](inside)
    return inside


@st.composite
def linked(draw: st.DrawFn, inside: Typed) -> tuple[int, bytes]:
    links = LINKS | LINKS_OF_IP if inside[0] in PACKETS else LINKS
    linktype, wrap = links[draw(st.sampled_from(sorted(links)))]
    return linktype, wrap(inside)


@st.composite
def tunnelled(draw: st.DrawFn) -> tuple[Typed, int]:
    """A packet in one to three tunnels, each with shims inside and out; how many IP headers there are."""
    inside, depth = draw(stacked(1)), 1
    for _ in range(draw(st.integers(1, 3))):
        tunnels = TUNNELS | TUNNELS_OF_IP if inside[0] in PACKETS else TUNNELS
        carried = tunnels[draw(st.sampled_from(sorted(tunnels)))](inside)
        version = draw(st.sampled_from([IPV4, IPV6]))
        inside, depth = (version, (ip4 if version == IPV4 else ip6)(*carried)), depth + 1
        if draw(st.booleans()):
            inside = SHIMS[draw(st.sampled_from(sorted(SHIMS)))](inside)
    return inside, depth


@given(data=st.data())
def test_layers_in_each_other(data: st.DataObject) -> None:
    inside = data.draw(stacked())
    linktype, octets = data.draw(linked(inside))
    assert_as_naive(linktype, octets)
    at = naive_layers.outermost(linktype, octets)
    assert at is not None
    assert octets[at:] in PACKETS.values()


@given(data=st.data())
def test_tunnels_in_each_other(data: st.DataObject) -> None:
    inside, depth = data.draw(tunnelled())
    linktype, octets = data.draw(linked(inside))
    _, info = found(linktype, octets, INNERMOST)
    assert int(info["depth"]) == depth
    assert octets[int(info["ip_offset"]) :] in PACKETS.values()
    assert_as_naive(linktype, octets)


@given(data=st.data(), cut=st.integers(0, 400))
def test_as_the_naive_reader_when_cut_or_changed(data: st.DataObject, cut: int) -> None:
    inside = data.draw(stacked() | tunnelled().map(lambda pair: pair[0]))
    linktype, octets = data.draw(linked(inside))
    assert_as_naive(linktype, octets[:cut])
    changed = np.frombuffer(octets, np.uint8).copy()
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    assert_as_naive(linktype, changed.tobytes())


def assert_as_naive(linktype: int, octets: bytes) -> None:
    """The IP headers from the outermost to the innermost, where the naive reader says."""
    at = naive_layers.outermost(linktype, octets)
    end, protocol = len(octets), None
    for depth in range(1, 16):
        status = "not-ip" if at is None else naive_packets.parse(octets[at:end]).status
        key, info = found(linktype, octets, depth)
        if status != "ok":
            if depth == 1:
                assert ("ok", "not-ip", "malformed")[info["status"]] == status
            else:
                assert info["depth"] == depth - 1
            return
        assert (int(info["depth"]), int(info["ip_offset"])) == (depth, at)
        present = bool(key["present"] & 128)
        if not present or info["fragment"] == 2:
            return
        start, protocol = int(info["transport_offset"]), int(key["protocol"])
        end = min(end, int(info["ip_offset"]) + int(info["ip_length"]))
        within = naive_layers.inside(protocol, octets[start:end])
        at = None if within is None else start + within
