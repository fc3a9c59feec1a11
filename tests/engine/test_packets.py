"""flowclass.engine.packets: packets to keys, against a naive parser and scapy's packets."""

from __future__ import annotations

import struct
from typing import Any

import naive_packets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowclass.engine.packets import INNERMOST, PACKET_DTYPE, Fragments, as_batch, parse
from flowclass.errors import ClassifierError

STATUS = ("ok", "not-ip", "malformed")
FRAGMENT = ("none", "first", "later")
SIGNALLING, CUT, COMPLETED = 1, 2, 4


def address(version: int, words: Any) -> bytes:
    return int(words[1]).to_bytes(4, "big") if version == 4 else struct.pack(">QQ", *map(int, words))


def seen(key: Any, info: Any) -> naive_packets.Parsed:
    """One key of the engine in the terms of the naive parser."""
    status = STATUS[info["status"]]
    if status != "ok":
        assert key.tobytes() == bytes(48)
        return naive_packets.Parsed(status)
    version, present = int(key["version"]), int(key["present"])

    def field(name: str, bit: int) -> int | None:
        if not present & bit:
            assert key[name] == 0
        return int(key[name]) if present & bit else None

    return naive_packets.Parsed(
        status,
        version,
        address(version, key["source"]),
        address(version, key["destination"]),
        field("traffic_class", 64),
        field("flow_label", 4),
        field("protocol", 128),
        field("source_port", 16),
        field("destination_port", 32),
        field("spi", 8),
        FRAGMENT[info["fragment"]],
        bool(info["flags"] & SIGNALLING),
    )


def one(packet: bytes, **options: Any) -> tuple[Any, Any]:
    keys, infos = parse([packet], **options)
    return keys[0], infos[0]


# ---- packets made by hand: every header in every order -------------------------------------------

octet = st.integers(0, 255)


@st.composite
def extension(draw: st.DrawFn) -> tuple[int, bytes]:
    """(type, everything but the next-header octet), mostly of right lengths."""
    kind = draw(st.sampled_from([0, 43, 60, 44, 51, 139, 140]))
    if kind == 44:
        field = draw(st.sampled_from([0, 1, 8, 9, 6, 0xFFF8]))
        return kind, bytes([draw(octet)]) + struct.pack(">HI", field, draw(st.integers(0, 2**32 - 1)))
    units = draw(st.sampled_from([0, 1, 2, 3]))
    size = 4 * (units + 2) if kind == 51 else 8 * (units + 1)
    claimed = units if draw(st.integers(0, 9)) else draw(octet)
    return kind, bytes([claimed]) + draw(st.binary(min_size=size - 2, max_size=size - 2))


@st.composite
def packet6(draw: st.DrawFn) -> bytes:
    chain = draw(st.lists(extension(), max_size=5))
    final = draw(st.sampled_from([6, 17, 33, 50, 58, 59, 132, 135, 136, 103, 41]) | octet)
    types = [kind for kind, _ in chain] + [final]
    body = b"".join(bytes([after]) + data for (_, data), after in zip(chain, types[1:], strict=True))
    body += draw(st.binary(max_size=12) | st.builds(lambda t: bytes([t, 0, 0, 0]), st.integers(142, 149)))
    length = draw(st.sampled_from([len(body), 0, max(len(body) - 3, 0), len(body) + 9]) | st.integers(0, 65535))
    head = struct.pack(">IHBB", 6 << 28 | draw(st.integers(0, 2**28 - 1)), length & 0xFFFF, types[0], 64)
    return head + draw(st.binary(min_size=32, max_size=32)) + body


@st.composite
def packet4(draw: st.DrawFn) -> bytes:
    words = draw(st.sampled_from([5, 5, 6, 15, 4]))
    protocol = draw(st.sampled_from([6, 17, 33, 50, 51, 132, 135, 136, 1]) | octet)
    body = draw(st.binary(max_size=12))
    if protocol == 51:
        body = bytes([17, 1]) + bytes(10) + body
    header = max(words, 5) * 4
    total = draw(st.sampled_from([header + len(body), 0, header + 1, header - 1, 65535]) | st.integers(0, 65535))
    field = draw(st.sampled_from([0, 0x4000, 0x2000, 0x2001, 1]))
    start = struct.pack(
        ">BBHHHBBH", 0x40 | words, draw(octet), total, draw(st.integers(0, 65535)), field, 64, protocol, 0
    )
    return start + draw(st.binary(min_size=header - 12, max_size=header - 12)) + body


@given(packet=packet6() | packet4() | st.binary(max_size=80), cut=st.integers(0, 120))
def test_as_the_naive_parser(packet: bytes, cut: int) -> None:
    for data in (packet, packet[:cut]):
        assert seen(*one(data)) == naive_packets.parse(data)


@given(packets=st.lists(packet6() | packet4(), max_size=20))
def test_a_batch_is_its_packets(packets: list[bytes]) -> None:
    keys, infos = parse(packets)
    assert [seen(k, i) for k, i in zip(keys, infos, strict=True)] == [naive_packets.parse(p) for p in packets]
    buffer, offsets, lengths = as_batch(packets)
    again, _ = parse((buffer.tobytes(), offsets, lengths))
    assert np.array_equal(keys, again)


@given(packet=packet6() | packet4())
def test_longer_captures_only_add_fields(packet: bytes) -> None:
    before: naive_packets.Parsed | None = None
    for n in range(len(packet) + 1):
        now = seen(*one(packet[:n]))
        if before is not None and before.status == "ok" and now.status == "ok":  # a chain may turn out too long
            for name in ("version", "source", "destination", "protocol", "source_port", "destination_port", "spi"):
                assert getattr(before, name) in (None, getattr(now, name))
        before = now


# ---- link layers, by scapy -----------------------------------------------------------------------

scapy = pytest.importorskip("scapy.all")


def ip6() -> Any:
    return (
        scapy.IPv6(src="2001:db8::1", dst="2001:db8:9::2", tc=0x28, fl=0x12345) / scapy.UDP(sport=9, dport=443) / b"x"
    )


def ip4() -> Any:
    return scapy.IP(src="192.0.2.1", dst="198.51.100.2", tos=0xB8, options=[scapy.IPOption_RR()]) / scapy.TCP(sport=9)


FRAMES = {
    "ethernet": (1, lambda p: scapy.Ether() / p),
    "vlan": (1, lambda p: scapy.Ether() / scapy.Dot1Q(vlan=5) / p),
    "qinq": (1, lambda p: scapy.Ether() / scapy.Dot1AD(vlan=5) / scapy.Dot1Q(vlan=6) / p),
    "four tags": (1, lambda p: scapy.Ether() / scapy.Dot1Q() / scapy.Dot1Q() / scapy.Dot1Q() / scapy.Dot1Q() / p),
    "old qinq": (1, lambda p: scapy.Ether(type=0x9100) / scapy.Dot1Q() / p),
    "snap": (1, lambda p: scapy.Dot3() / scapy.LLC() / scapy.SNAP() / p),
    "sll": (113, lambda p: scapy.CookedLinux() / p),
    "sll2": (
        276,
        lambda p: struct.pack(">HHIHBB8s", 0x86DD if p.version == 6 else 0x800, 0, 1, 1, 0, 6, b"") + bytes(p),
    ),
    "raw": (101, lambda p: p),
    "raw of bsd": (12, lambda p: p),
    "raw of openbsd": (14, lambda p: p),
    "ipv4 or ipv6": (229, lambda p: p),
    "null": (0, lambda p: scapy.Loopback(type=30 if p.version == 6 else 2) / p),
    "null, other order": (0, lambda p: struct.pack("<I", 24 if p.version == 6 else 2) + bytes(p)),
    "loop": (108, lambda p: struct.pack(">I", 28 if p.version == 6 else 2) + bytes(p)),
    "ppp": (9, lambda p: scapy.HDLC() / scapy.PPP() / p),
    "pppoe": (1, lambda p: scapy.Ether() / scapy.PPPoE() / scapy.PPP() / p),
    "802.11": (105, lambda p: scapy.Dot11(type=2, subtype=8) / scapy.Dot11QoS() / scapy.LLC() / scapy.SNAP() / p),
    "radiotap": (127, lambda p: scapy.RadioTap() / scapy.Dot11(type=2) / scapy.LLC() / scapy.SNAP() / p),
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("packet", [ip6, ip4])
def test_link_layers(name: str, packet: Any) -> None:
    linktype, wrap = FRAMES[name]
    inside = bytes(packet())
    frame = bytes(wrap(packet()))
    key, info = one(frame, linktype=linktype)
    assert seen(key, info) == naive_packets.parse(inside)
    assert frame[info["ip_offset"] :] == inside
    for n in range(len(frame)):  # inside the link layer there is no IP
        assert STATUS[one(frame[:n], linktype=linktype)[1]["status"]] in (
            ("not-ip", "malformed") if n < info["ip_offset"] + 20 else STATUS
        )


@pytest.mark.parametrize(
    ("linktype", "frame"),
    [
        (1, bytes(12) + b"\x08\x06" + bytes(28)),  # ARP
        (1, bytes(12) + b"\x81\x00\x00\x01" * 5 + b"\x86\xdd" + bytes(60)),  # five tags
        (1, bytes(12) + b"\x86\xdd\x50" + bytes(60)),  # version 5
        (1, bytes(13)),
        (1, bytes(12) + b"\x88\x64\x11\x09" + bytes(60)),  # PPPoE, but not a session packet
        (147, b"\x60" + bytes(60)),  # a link type of somebody's own
        (65535, b"\x60" + bytes(60)),
        (101, b"\x10" + bytes(60)),
        (105, b"\x08\x40" + bytes(22) + b"\xaa\xaa\x03\0\0\0\x86\xdd\x60" + bytes(60)),  # encrypted
        (0, b"\x07\0\0\0\x60" + bytes(60)),  # an unknown address family
    ],
)
def test_not_ip(linktype: int, frame: bytes) -> None:
    key, info = one(frame, linktype=linktype)
    assert STATUS[info["status"]] == "not-ip"
    assert key.tobytes() == bytes(48)


@pytest.mark.parametrize(
    "build",
    [
        lambda p: scapy.IPv6ExtHdrHopByHop() / p,
        lambda p: scapy.IPv6ExtHdrDestOpt(options=[scapy.HAO(hoa="2001:db8::5")]) / p,
        lambda p: scapy.IPv6ExtHdrRouting(type=2, addresses=["2001:db8::5"]) / p,
        lambda p: scapy.IPv6ExtHdrDestOpt() / scapy.IPv6ExtHdrRouting() / scapy.IPv6ExtHdrDestOpt() / p,
        lambda p: scapy.AH(nh=132, payloadlen=4, icv=bytes(12)) / p,
        lambda p: scapy.IPv6ExtHdrHopByHop() / scapy.IPv6ExtHdrFragment(m=1, id=5) / scapy.IPv6ExtHdrDestOpt() / p,
    ],
)
def test_extension_headers(build: Any) -> None:
    packet = bytes(scapy.IPv6() / build(scapy.SCTP(sport=7, dport=8)))
    key, _ = one(packet)
    assert (int(key["protocol"]), int(key["source_port"]), int(key["destination_port"])) == (132, 7, 8)


def test_link_headers_do_not_nest_without_end() -> None:
    frame = bytes(12) + (b"\x00\x40\xaa\xaa\x03\0\0\0\x81\x00\x00\x01") * 20_000 + b"\x86\xdd" + bytes(60)
    assert STATUS[one(frame, linktype=1)[1]["status"]] == "not-ip"


# ---- fragments -----------------------------------------------------------------------------------


def fragment6(offset: int, more: int, identification: int, body: bytes, proto: int = 17) -> bytes:
    header = struct.pack(">BBHI", proto, 0, offset | more, identification)
    return struct.pack(">IHBB", 6 << 28, 8 + len(body), 44, 1) + bytes(31) + b"\1" + header + body


def test_later_fragments_are_decided_as_the_first() -> None:
    first, later = fragment6(0, 1, 7, struct.pack(">HHI", 5, 6, 0)), fragment6(8, 0, 7, b"12345678", 60)
    keys, infos = parse([later, first, later], fragments=Fragments())
    assert [FRAGMENT[i] for i in infos["fragment"]] == ["later", "first", "later"]
    assert keys["protocol"].tolist() == [60, 17, 17]
    assert keys["destination_port"].tolist() == [0, 6, 6]
    assert (infos["flags"] & COMPLETED).tolist() == [0, 0, COMPLETED]
    keys, _ = parse([first, later])  # without a memory each stands alone
    assert keys["present"][1] & 0x30 == 0


SECOND = 10**9


@pytest.mark.parametrize(
    ("apart", "together"),
    [(0, True), (60 * SECOND, True), (60 * SECOND + 1, False), (7200 * SECOND, False), (-SECOND, True),
     (-61 * SECOND, False)],
)  # fmt: skip
def test_a_first_fragment_is_good_for_60_seconds(apart: int, together: bool) -> None:
    packets = [fragment6(0, 1, 7, struct.pack(">HHI", 5, 6, 0)), fragment6(8, 0, 7, b"12345678")]
    memory, start = Fragments(), 1_700_000_000 * SECOND
    _, infos = parse(packets, fragments=memory, times=[start, start + apart])
    assert (infos["flags"] & COMPLETED).tolist() == [0, COMPLETED * together]
    _, infos = parse([packets[1]], fragments=memory, times=start + apart)
    assert (infos["flags"] & COMPLETED).tolist() == [COMPLETED * together]
    _, infos = parse([packets[1]], fragments=memory)  # nobody knows when it came
    assert infos["flags"][0] & COMPLETED


@given(st.data())
def test_the_memory_of_fragments_as_a_naive_one(data: st.DataObject) -> None:
    """The last first fragment with each identification, and when: what is at most 60 seconds away is its own."""
    told: dict[int, tuple[int, int]] = {}
    packets, times, expected, now = [], [], [], 0
    for port in range(data.draw(st.integers(0, 30))):
        now += data.draw(st.sampled_from([0, 1, 20 * SECOND, 45 * SECOND, 61 * SECOND, -3 * SECOND]))
        identification, is_first = data.draw(st.integers(0, 2)), data.draw(st.booleans())
        packets.append(fragment6(0 if is_first else 8, 1, identification, struct.pack(">HHI", 5, port, 0)))
        times.append(now)
        if is_first:
            told[identification] = (port, now)
        before, when = told.get(identification, (-1, now))
        expected.append(before if abs(now - when) <= 60 * SECOND else -1)
    keys, _ = parse(packets, fragments=Fragments(), times=times)
    assert [int(k["destination_port"]) if k["present"] & 32 else -1 for k in keys] == expected


def test_fragment_memory_is_bounded_and_forgets_the_oldest() -> None:
    memory = Fragments(8, secret=bytes(16))
    parse([fragment6(0, 1, i, struct.pack(">HHI", 5, i, 0)) for i in range(20)], fragments=memory)
    assert len(memory) == 8
    keys, infos = parse([fragment6(8, 0, i, b"x") for i in range(20)], fragments=memory)
    assert (infos["flags"] & COMPLETED != 0).tolist() == [False] * 12 + [True] * 8
    assert keys["destination_port"][12:].tolist() == list(range(12, 20))
    memory.clear()
    assert len(memory) == 0


def test_signalling_of_fragments() -> None:
    first = fragment6(0, 1, 3, bytes([146]) + bytes(7), proto=58)
    _, infos = parse([first, fragment6(8, 0, 3, b"x", proto=58)], fragments=Fragments())
    assert (infos["flags"] & SIGNALLING).tolist() == [1, 1]
    _, infos = parse([fragment6(8, 0, 3, b"x", proto=58), fragment6(8, 0, 3, b"x", proto=135)])
    assert (infos["flags"] & SIGNALLING).tolist() == [0, 1]


def test_fragments_of_both_versions_and_protocols_are_kept_apart() -> None:
    def fragment4(offset: int, protocol: int) -> bytes:
        return struct.pack(">BBHHHBBHII", 0x45, 0, 28, 9, offset or 0x2000, 1, protocol, 0, 1, 2) + struct.pack(
            ">HHI", 5, 6, 0
        )

    _, infos = parse([fragment4(0, 17), fragment4(1, 6), fragment4(1, 17)], fragments=Fragments())
    assert (infos["flags"] & COMPLETED).tolist() == [0, 0, COMPLETED]


# ---- inner headers -------------------------------------------------------------------------------

TUNNELS = {
    "6in6": lambda p: scapy.IPv6() / p,
    "6in4": lambda p: scapy.IP() / p,
    "gre": lambda p: scapy.IP() / scapy.GRE(key_present=1, seqnum_present=1) / p,
    "gre, bridged": lambda p: scapy.IPv6() / scapy.GRE(proto=0x6558) / scapy.Ether() / p,
    "vxlan": lambda p: (
        scapy.IP() / scapy.UDP(sport=1, dport=4789) / bytes.fromhex("0800000000000100") / scapy.Ether() / p
    ),
    "geneve": lambda p: (
        scapy.IPv6() / scapy.UDP(sport=1, dport=6081) / bytes.fromhex("0100655800000100deadbeef") / scapy.Ether() / p
    ),
    "gtp-u": lambda p: scapy.IP() / scapy.UDP(sport=1, dport=2152) / bytes.fromhex("30ff004000000001") / p,
    "teredo": lambda p: scapy.IP() / scapy.UDP(sport=3544, dport=9) / bytes.fromhex("0000123456789abc") / p,
}


@pytest.mark.parametrize("name", TUNNELS)
def test_inner_headers(name: str) -> None:
    packet = bytes(TUNNELS[name](ip6()))
    key, info = one(packet, inner=INNERMOST)
    assert seen(key, info) == naive_packets.parse(bytes(ip6()))
    assert info["depth"] == 2
    assert seen(*one(packet)) == naive_packets.parse(packet)
    for n in range(len(packet)):  # a cut inner header leaves the key with the outer one
        key, info = one(packet[:n], inner=INNERMOST)
        expected = naive_packets.parse(packet[int(info["ip_offset"]) : n])
        assert seen(key, info) == expected
        if naive_packets.parse(packet[:n]).status == "ok":
            assert STATUS[info["status"]] == "ok"


def test_the_nth_header() -> None:
    packet = bytes(scapy.IP() / scapy.IP(tos=4) / scapy.IPv6(tc=8) / scapy.IP(tos=12) / scapy.UDP())
    assert [int(one(packet, inner=n)[1]["depth"]) for n in (0, 1, 2, 3, 4, 5, INNERMOST)] == [1, 1, 2, 3, 4, 4, 4]
    assert [int(one(packet, inner=n)[0]["traffic_class"]) for n in (1, 2, 3, 4)] == [0, 4, 8, 12]


def test_a_port_alone_makes_no_tunnel() -> None:
    for port in (2152, 4789, 6081, 3544):
        packet = bytes(scapy.IPv6() / scapy.UDP(sport=port, dport=port) / (b"\xff" * 80))
        assert one(packet, inner=INNERMOST)[1]["depth"] == 1


# ---- arguments -----------------------------------------------------------------------------------


def test_arguments_that_do_not_fit() -> None:
    with pytest.raises(ClassifierError, match="packet 1: 10 octets at 5 of a buffer of 10"):
        parse((bytes(10), [0, 5], [10, 10]))
    with pytest.raises(ClassifierError, match="packet 0: 4294967301 octets"):
        parse((bytes(10), [0], np.array([2**32 + 5])))
    with pytest.raises(ClassifierError, match="expected \\(buffer, offsets, lengths\\)"):
        parse((bytes(10), [-1], [1]))
    with pytest.raises(ClassifierError, match="equal length"):
        parse((bytes(10), [0], [1, 2]))
    with pytest.raises(ClassifierError, match="linktypes: expected 1, got 2"):
        parse([b""], linktypes=[1, 1])
    with pytest.raises(ClassifierError, match="times: expected 1, got 2"):
        parse([b""], fragments=Fragments(), times=[1, 1])
    with pytest.raises(ClassifierError, match="times: expected an integer"):
        parse([b""], fragments=Fragments(), times=[0.5])
    with pytest.raises(ClassifierError, match="capacity"):
        Fragments(0)
    with pytest.raises(ClassifierError, match="secret"):
        Fragments(8, secret=b"short")
    with pytest.raises(ClassifierError, match="inner"):
        parse([b""], inner=-1)
    with pytest.raises(ClassifierError, match="keys: expected"):
        parse([b""], keys=np.empty(1, PACKET_DTYPE))


def test_any_buffer_and_arrays_of_the_caller() -> None:
    packet = bytes(ip6())
    packets = [packet, bytearray(packet), memoryview(packet), np.frombuffer(packet, np.uint8)]
    keys, infos = parse(packets)
    assert len({k.tobytes() for k in keys}) == 1
    out_keys, out_infos = np.empty_like(keys), np.empty_like(infos)
    given_keys, _ = parse(packets[:2], keys=out_keys, infos=out_infos)
    assert len(given_keys) == 2
    assert given_keys.base is out_keys
    assert len(parse([])[0]) == 0
