"""Whole IPv6 packets: extension headers, the addresses of the checksum, and captures that others made."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from flowclass.errors import DecodeError, EncodeError, ParameterProblem
from flowclass.wire import (
    BindingAcknowledgement,
    BindingError,
    BindingRefreshRequest,
    BindingUpdate,
    CareOfTest,
    CareOfTestInit,
    ExtensionHeader,
    HomeTest,
    HomeTestInit,
    MobilityPacket,
    decode_packet,
    encode_message,
    encode_packet,
)

HOME = IPv6Address("2001:db8:1::100")
COA = IPv6Address("2001:db8:a::100")
AGENT = IPv6Address("2001:db8:1::1")
UPDATE = BindingUpdate(1, 150, 0xC000)
PACKET = MobilityPacket(COA, AGENT, UPDATE, home_address=HOME)

HOME_OPTION = "c9 10" + HOME.packed.hex()


def packet(headers: list[tuple[int, str]], *, source: IPv6Address = COA, checksum_from: IPv6Address = HOME) -> bytes:
    """A binding update behind these extension headers: (number, octets after the next header octet)."""
    payload = encode_message(UPDATE, source=checksum_from, destination=AGENT)
    number = 135
    for header, body in reversed(headers):
        payload = bytes((number,)) + bytes.fromhex(body) + payload
        number = header
    return struct.pack(">IHBB", 6 << 28, len(payload), number, 64) + source.packed + AGENT.packed + payload


# ---- headers -------------------------------------------------------------------------------------------------------


def test_a_binding_update_as_the_encoder_writes_it() -> None:
    octets = encode_packet(PACKET)
    assert octets == packet([(60, "02 01 02 00 00" + HOME_OPTION)])
    received = decode_packet(octets)
    assert received.home_address == HOME
    assert received.mobile_node == HOME
    assert received.extensions == ()
    assert received.checksum_ok
    assert replace(PACKET, home_address=None).mobile_node == COA


def test_a_type_2_routing_header_comes_first() -> None:
    both = MobilityPacket(COA, AGENT, UPDATE, home_address=HOME, routing_home=IPv6Address("2001:db8:9::9"))
    octets = encode_packet(both)
    assert (octets[6], octets[40], octets[64]) == (43, 60, 135)
    assert octets[41:48].hex() == "02020100000000"
    assert decode_packet(octets).extensions == ()
    assert encode_packet(decode_packet(octets)) == octets


@pytest.mark.parametrize(
    "headers",
    [
        # the option elsewhere in its header, and beside another one
        [(60, "02" + HOME_OPTION + "01 02 0000")],
        [(60, "03 01 02 0000" + HOME_OPTION + "1e 06 000000000000")],
        [(0, "00 01 04 00000000"), (60, "02 01 02 00 00" + HOME_OPTION)],
        [(60, "00 01 04 00000000"), (60, "02 01 02 00 00" + HOME_OPTION)],
        # AH counts in units of 4 octets: 24 octets here
        [(60, "02 01 02 00 00" + HOME_OPTION), (51, "04 0000 00000001 00000001" + "aa" * 12)],
        # no segments left: routed already, or of a type that is skipped
        [(43, "02 02 00 00000000" + COA.packed.hex()), (60, "02 01 02 00 00" + HOME_OPTION)],
        [(43, "02 00 00 00000000" + COA.packed.hex()), (60, "02 01 02 00 00" + HOME_OPTION)],
        # out of the usual order
        [(60, "02 01 02 00 00" + HOME_OPTION), (60, "00 01 04 00000000")],
    ],
)
def test_other_headers_are_kept(headers: list[tuple[int, str]]) -> None:
    octets = packet(headers)
    received = decode_packet(octets)
    assert received.home_address == HOME
    assert received.routing_home is None
    assert received.message.checksum == int.from_bytes(encode_message(UPDATE, source=HOME, destination=AGENT)[4:6])
    assert received.checksum_ok
    assert received.extensions == tuple(ExtensionHeader(n, bytes.fromhex(body)) for n, body in headers)
    assert encode_packet(received) == octets


def test_a_routing_header_after_the_home_address() -> None:
    body = "02 02 01 00000000" + "20010db8000900000000000000000009"
    final = IPv6Address("2001:db8:9::9")
    payload = encode_message(UPDATE, source=HOME, destination=final)
    octets = packet([(60, "02 01 02 00 00" + HOME_OPTION), (43, body)])
    octets = octets[: -len(payload)] + payload
    received = decode_packet(octets)
    assert (received.home_address, received.routing_home) == (HOME, final)
    assert received.checksum_ok
    assert encode_packet(received) == octets


def test_without_extension_headers() -> None:
    received = decode_packet(packet([], checksum_from=COA))
    assert (received.home_address, received.checksum_ok) == (None, True)
    assert not decode_packet(packet([], checksum_from=HOME)).checksum_ok


def test_what_follows_the_message_is_ignored() -> None:
    octets = encode_packet(PACKET)
    # beyond the payload: a link layer's trailer; inside it: RFC 8200 4.7
    assert decode_packet(octets + b"trailer") == decode_packet(octets)
    inside = octets[:4] + struct.pack(">H", len(octets) - 40 + 5) + octets[6:] + b"extra"
    assert decode_packet(inside) == decode_packet(octets)
    assert decode_packet(inside).checksum_ok


@pytest.mark.parametrize(
    ("headers", "offset", "text"),
    [
        ([(44, "00 0001 00000000")], 40, "a fragment"),
        ([(50, "00 0000 00000000")], 40, "encrypted"),
        ([(17, "00 0000 00000000")], 40, "next header 17"),
        ([(60, "02 01 02 00 00" + HOME_OPTION), (6, "00 0000 00000000")], 64, "next header 6"),
        ([(60, "00 c9 04 00000000")], 43, "a Home Address option of 4 octets"),
        ([(60, "00 01 05 00000000")], 44, "5 octets where 4 are left"),
        ([(60, "00 00 00 00 00 00 01")], 47, "2 octets expected, 1 left"),
        ([(60, "04" + HOME_OPTION + "c9 10" + "00" * 16 + "00 00")], 60, "a second Home Address option"),
        ([(60, "ff 00 00 00 00 00 00")], 42, "2046 octets where 22 are left"),
        ([(43, "02 00 01 00000000" + COA.packed.hex())], 42, "routing header type 0 with 1 segments left"),
        ([(43, "02 02 02 00000000" + COA.packed.hex())], 43, "2 segments left"),
        ([(43, "00 02 01 00000000")], 41, "holds one address"),
        ([(43, "02 02 01 00000000" + COA.packed.hex())] * 2, 67, "a second one"),
    ],
)
def test_undecodable_headers(headers: list[tuple[int, str]], offset: int, text: str) -> None:
    with pytest.raises(DecodeError, match=text) as caught:
        decode_packet(packet(headers))
    assert caught.value.offset == offset


def test_not_ipv6() -> None:
    with pytest.raises(DecodeError, match="IP version 4: 6 expected") as caught:
        decode_packet(b"\x45" + bytes(60))
    assert caught.value.offset == 0
    with pytest.raises(DecodeError, match="40 octets expected, 3 left"):
        decode_packet(b"\x60\0\0")
    with pytest.raises(DecodeError, match="40 octets where 39 are left"):
        decode_packet(encode_packet(PACKET)[:-1])


def test_a_parameter_problem_needs_the_right_checksum() -> None:
    # RFC 6275 9.2: with a wrong checksum the message is discarded silently
    good = bytearray(encode_packet(PACKET))
    assert good[68] < 0xFF
    # one less in the first octet, one more in the checksum's
    good[64] -= 1
    good[68] += 1
    with pytest.raises(ParameterProblem, match="Payload Proto is 58") as caught:
        decode_packet(bytes(good))
    assert caught.value.offset == 64
    good[70] ^= 1
    with pytest.raises(DecodeError, match="wrong checksum, and Payload Proto") as caught2:
        decode_packet(bytes(good))
    assert not isinstance(caught2.value, ParameterProblem)


def test_header_values_that_do_not_fit() -> None:
    for name, wrong, largest in (("hop_limit", 256, 255), ("traffic_class", -1, 255), ("flow_label", 1 << 20, 0xFFFFF)):
        with pytest.raises(EncodeError, match=rf"^MobilityPacket\.{name}: 0 to {largest} expected, got {wrong}$"):
            replace(PACKET, **{name: wrong})  # type: ignore[arg-type]  # the mistake that is tested
    long = replace(PACKET, extensions=(ExtensionHeader(60, b"\xff" + bytes(2046)),) * 33)
    with pytest.raises(EncodeError, match="fit"):
        encode_packet(long)


# ---- captures of the zeek project ----------------------------------------------------------------------------------


def frames(path: Path) -> list[bytes]:
    """The IPv6 packets of a little-endian pcap file of Ethernet frames."""
    data = path.read_bytes()
    assert data[:4] == b"\xd4\xc3\xb2\xa1"
    assert data[20:24] == b"\1\0\0\0"
    at, found = 24, []
    while at < len(data):
        size = int.from_bytes(data[at + 8 : at + 12], "little")
        frame = data[at + 16 : at + 16 + size]
        assert frame[12:14] == b"\x86\xdd"
        found.append(frame[14:])
        at += 16 + size
    return found


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mip6_brr", BindingRefreshRequest),
        ("mip6_hoti", HomeTestInit),
        ("mip6_coti", CareOfTestInit),
        ("mip6_hot", HomeTest),
        ("mip6_cot", CareOfTest),
        ("mip6_bu", BindingUpdate),
        ("mip6_back", BindingAcknowledgement),
        ("mip6_be", BindingError),
        ("mip6-good-mh-chksum", BindingError),
        ("mip6-bad-mh-chksum", BindingError),
    ],
)
def test_captured_messages(shared: Path, name: str, kind: type) -> None:
    (octets,) = frames(shared / "data" / "mobility" / f"zeek__{name}.pcap")
    received = decode_packet(octets)
    assert type(received.message) is kind
    assert received.checksum_ok == ("bad" not in name)
    again = encode_packet(received)
    if received.checksum_ok:
        assert again == octets
    else:
        message = 40 + (len(octets) - 40 - 24)
        assert again[: message + 4] == octets[: message + 4]
        assert again[message + 6 :] == octets[message + 6 :]
        assert again[message + 4 : message + 6] != octets[message + 4 : message + 6]


@pytest.mark.parametrize(
    "name",
    [
        "ip6-hoa-tcp-bad-chksum",
        "ip6-hoa-tcp-good-chksum",
        "ip6-hoa-udp-bad-chksum",
        "ip6-hoa-udp-good-chksum",
        "ipv6-mobile-hoa",
        "ipv6-mobile-routing",
    ],
)
def test_captured_data_packets_are_no_messages(shared: Path, name: str) -> None:
    for octets in frames(shared / "data" / "mobility" / f"zeek__{name}.pcap"):
        with pytest.raises(DecodeError, match=r"no Mobility Header: next header \d+"):
            decode_packet(octets)


def test_captured_malformed_home_address_options(shared: Path) -> None:
    reasons = []
    for octets in frames(shared / "data" / "mobility" / "zeek__ipv6-mobility-dst-opts.pcap"):
        with pytest.raises(DecodeError) as caught:
            decode_packet(octets)
        reasons.append(str(caught.value))
    assert reasons == [
        "a length of 144 octets where 16 are left (at octet 48)",
        "a length of 38 octets where 34 are left (at octet 42)",
        "a Home Address option of 1 octets: 16 expected (at octet 47)",
    ]
