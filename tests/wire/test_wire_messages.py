"""Messages and the other mobility options: layouts, alignment, padding, checksum, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_values import ADDRESS6, messages

from flowclass.errors import DecodeError, EncodeError, FlowclassError, ParameterProblem
from flowclass.wire import (
    DRAFT,
    AlternateCareOf,
    BindingAcknowledgement,
    BindingAuthorizationData,
    BindingError,
    BindingIdentifier,
    BindingRefreshAdvice,
    BindingRefreshRequest,
    BindingRevocationAcknowledgement,
    BindingRevocationIndication,
    BindingUpdate,
    CareOfTest,
    CareOfTestInit,
    HomeTest,
    HomeTestInit,
    IPv4AddressAcknowledgement,
    IPv4CareOf,
    IPv4HomeAddress,
    MalformedOption,
    Message,
    MobileNetworkPrefix,
    NatDetection,
    NonceIndices,
    Option,
    Pad1,
    PadN,
    UnknownMessage,
    UnknownOption,
    UpdateFlag,
    Verbatim,
    checksum_ok,
    decode_message,
    encode_message,
)

A6 = IPv6Address("2001:db8::1")
HEX_A6 = "20010db8000000000000000000000001"
V4 = IPv4Address("192.0.2.9")
AUTHENTICATOR = bytes(range(12))

# made by hand from RFC 6275 6.1
MESSAGES: list[tuple[Message, str]] = [
    (BindingRefreshRequest(), "3b 00 00 00 0000 0000"),
    (HomeTestInit(b"cookie-1"), "3b 01 01 00 0000 0000 636f6f6b69652d31"),
    (CareOfTestInit(b"cookie-2"), "3b 01 02 00 0000 0000 636f6f6b69652d32"),
    (HomeTest(258, b"cookie-1", b"token--1"), "3b 02 03 00 0000 0102 636f6f6b69652d31 746f6b656e2d2d31"),
    (CareOfTest(1, b"cookie-1", b"token--1"), "3b 02 04 00 0000 0001 636f6f6b69652d31 746f6b656e2d2d31"),
    (BindingUpdate(0x1234, 0x0096, 0xC040), "3b 01 05 00 0000 1234 c040 0096 0102 0000"),
    (BindingAcknowledgement(135, 7, 150, 0x80), "3b 01 06 00 0000 87 80 0007 0096 0102 0000"),
    (BindingError(1, A6), f"3b 02 07 00 0000 01 00 {HEX_A6}"),
    (BindingRevocationIndication(0x1234, 1, 0x2000), "3b 01 10 00 0000 01 01 1234 2000 0102 0000"),
    (BindingRevocationAcknowledgement(7, 128), "3b 01 10 00 0000 02 80 0007 0000 0102 0000"),
    (UnknownMessage(16, bytes.fromhex("0301123400000102 0000")), "3b 01 10 00 0000 03 01 1234 0000 0102 0000"),
    (UnknownMessage(21, b"\0\0" + bytes(8)), "3b 01 15 00 0000 0000 0000000000000000"),
]


@pytest.mark.parametrize(("message", "octets"), MESSAGES, ids=lambda v: type(v).__name__)
def test_messages_made_by_hand(message: Message, octets: str) -> None:
    assert encode_message(message).hex(" ") == bytes.fromhex(octets).hex(" ")
    received: Any = decode_message(bytes.fromhex(octets))
    if not isinstance(message, UnknownMessage):
        received = replace(received, options=())
    assert received == message


# option, its octets, the octets of padding before it at offset 12 of a binding update (RFC 6275 6.2, 3963, 5555, 5648)
OPTIONS: list[tuple[Any, str, int]] = [
    (BindingRefreshAdvice(100), "02 02 0064", 0),
    (AlternateCareOf(A6), f"03 10 {HEX_A6}", 2),
    (NonceIndices(3, 9), "04 04 0003 0009", 0),
    (BindingAuthorizationData(AUTHENTICATOR), f"05 0c {AUTHENTICATOR.hex()}", 6),
    (MobileNetworkPrefix(A6, 56), f"06 12 00 38 {HEX_A6}", 0),
    (IPv4HomeAddress(V4), "1d 06 8000 c0000209", 0),
    (IPv4HomeAddress(IPv4Address(0), 24, True), "1d 06 6200 00000000", 0),
    (IPv4AddressAcknowledgement(V4, 0, 32), "1e 06 00 80 c0000209", 0),
    (IPv4AddressAcknowledgement(V4, 131, 0), "1e 06 83 00 c0000209", 0),
    (NatDetection(110), "1f 06 0000 0000006e", 0),
    (NatDetection(0xFFFFFFFF, True), "1f 06 8000 ffffffff", 0),
    (IPv4CareOf(V4), "20 06 0000 c0000209", 0),
    (BindingIdentifier(1), "23 04 0001 00 00", 0),
    (BindingIdentifier(0x102, None, 127, 167, True), "23 04 0102 a7 ff", 0),
    (BindingIdentifier(3, V4, 5), "23 08 0003 00 05 c0000209", 6),
    (BindingIdentifier(1, A6, 10), f"23 14 0001 00 0a {HEX_A6}", 6),
    (UnknownOption(64, b"abc"), "40 03 616263", 0),
]


@pytest.mark.req("R44", "R45", "R50")
@pytest.mark.parametrize(("option", "octets", "gap"), OPTIONS, ids=lambda v: type(v).__name__)
def test_options_made_by_hand(option: Any, octets: str, gap: int) -> None:
    encoded = encode_message(BindingUpdate(1, 1, options=(option,)))
    plain = bytes.fromhex(octets)
    assert encoded[12 + gap : 12 + gap + len(plain)].hex(" ") == plain.hex(" ")
    received = decode_message(encoded)
    assert isinstance(received, BindingUpdate)
    assert [o for o in received.options if not isinstance(o, Pad1 | PadN)] == [option]
    modulus, remainder = option.alignment
    assert (12 + gap) % modulus == remainder % modulus


@pytest.mark.parametrize(
    "octets",
    [
        f"1d 06 81ff {V4.packed.hex()}",
        f"1e 06 00 83 {V4.packed.hex()}",
        "1f 06 7fff 00000001",
        f"20 06 ffff {V4.packed.hex()}",
        f"06 12 ff 38 {HEX_A6}",
    ],
)
def test_reserved_bits_are_ignored_and_sent_as_zero(octets: str) -> None:
    body = bytes(6) + bytes.fromhex(octets)
    body += bytes(-(len(body) + 6) % 8)
    first = decode_message(bytes((59, (len(body) + 6) // 8 - 1, 5, 255, 0, 0)) + body)
    again = decode_message(encode_message(first))
    assert again == first
    assert encode_message(first)[3] == 0
    assert encode_message(first) != bytes((59, (len(body) + 6) // 8 - 1, 5, 0, 0, 0)) + body


# ---- padding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(9))
def test_the_end_is_padded(size: int) -> None:
    encoded = encode_message(BindingUpdate(1, 1, options=(UnknownOption(64, bytes(size)),)))
    received = decode_message(encoded)
    assert isinstance(received, BindingUpdate)
    rest = -(14 + size) % 8
    pads = {0: (), 1: (Pad1(),)}.get(rest, (PadN(bytes(max(rest - 2, 0))),))
    assert received.options == (UnknownOption(64, bytes(size)), *pads)


def test_padding_given_is_kept_and_completed() -> None:
    encoded = encode_message(BindingUpdate(1, 1, options=(PadN(b"\xff"), Pad1(), BindingIdentifier(1))))
    assert encoded[12:].hex(" ") == "01 01 ff 00 23 04 00 01 00 00 01 00"
    received = decode_message(encoded)
    assert isinstance(received, BindingUpdate)
    assert received.options == (PadN(b"\xff"), Pad1(), BindingIdentifier(1), PadN())


def test_verbatim_is_written_as_it_stands() -> None:
    options: Verbatim[Option] = Verbatim((Pad1(), BindingIdentifier(1), Pad1(), Pad1(), Pad1(), Pad1(), Pad1()))
    encoded = encode_message(BindingUpdate(1, 1, options=options))
    assert encoded[12:].hex() == "002304000100000000000000"
    with pytest.raises(EncodeError, match="end at octet 19, not at a multiple of 8"):
        encode_message(BindingUpdate(1, 1, options=Verbatim(options[:2])))


def test_an_authenticator_is_last_and_without_padding() -> None:
    mac = BindingAuthorizationData(AUTHENTICATOR)
    encoded = encode_message(BindingUpdate(1, 1, options=(NonceIndices(1, 2), mac)))
    assert encoded.endswith(bytes((5, 12)) + AUTHENTICATOR)
    with pytest.raises(EncodeError, match="after the authenticator"):
        encode_message(BindingUpdate(1, 1, options=(mac, NonceIndices(1, 2))))
    with pytest.raises(EncodeError, match="not at a multiple of 8"):
        encode_message(BindingUpdate(1, 1, options=(BindingAuthorizationData(bytes(10)),)))


# ---- checksum ------------------------------------------------------------------------------------------------------


def slow_checksum(message: bytes, source: IPv6Address, destination: IPv6Address) -> int:
    """RFC 8200 8.1 and RFC 1071, word by word."""
    data = source.packed + destination.packed + len(message).to_bytes(4) + bytes((0, 0, 0, 135)) + message
    total = 0
    for at in range(0, len(data), 2):
        total += data[at] << 8 | data[at + 1]
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


@given(messages(DRAFT), ADDRESS6, ADDRESS6)
def test_the_checksum(message: Message, source: IPv6Address, destination: IPv6Address) -> None:
    octets = encode_message(message, source=source, destination=destination)
    assert slow_checksum(octets, source, destination) == 0
    zeroed = octets[:4] + b"\0\0" + octets[6:]
    assert int.from_bytes(octets[4:6]) == slow_checksum(zeroed, source, destination)
    assert checksum_ok(octets, source, destination)
    assert decode_message(octets).checksum == int.from_bytes(octets[4:6])


@given(messages(DRAFT), ADDRESS6, ADDRESS6, st.data())
def test_a_changed_octet_shows(
    message: Message, source: IPv6Address, destination: IPv6Address, data: st.DataObject
) -> None:
    octets = bytearray(encode_message(message, source=source, destination=destination))
    at = data.draw(st.integers(0, len(octets) - 1))
    octets[at] ^= data.draw(st.integers(1, 255))
    assert checksum_ok(bytes(octets), source, destination) == (slow_checksum(bytes(octets), source, destination) == 0)
    assert not checksum_ok(bytes(octets), source, destination)


def test_without_addresses_the_checksum_received_is_written() -> None:
    octets = bytes.fromhex("3b 00 00 00 beef 0000")
    assert decode_message(octets).checksum == 0xBEEF
    assert encode_message(decode_message(octets)) == octets
    with pytest.raises(EncodeError, match="both addresses"):
        encode_message(decode_message(octets), source=A6)


# ---- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "offset", "text"),
    [
        ("", 0, "6 octets expected, 0 left"),
        ("3b 00 00", 0, "6 octets expected, 3 left"),
        ("3b 01 00 00 0000 0000", 1, "Header Len 1 means 16 octets, 8 are there"),
        ("3b 00 00 00 0000 0000 00", 8, "1 octets after the Mobility Header"),
        ("3b 01 05 00 0000 0000 0000 0000 40 03 00 00", 14, "3 octets expected, 2 left"),
        ("3b 01 05 00 0000 0000 0000 0000 00 00 00 40", 15, "2 octets expected, 1 left"),
        ("3b 01 05 00 0000 0000 0000 0000 02 01 00 00", 13, "option 2 of 1 octets: 2 expected"),
        ("3b 01 00 00 0000 0000 04 06 000000000000", 9, "option 4 of 6 octets: 4 expected"),
    ],
)
def test_undecodable(octets: str, offset: int, text: str) -> None:
    with pytest.raises(DecodeError, match=text) as caught:
        decode_message(bytes.fromhex(octets))
    assert caught.value.offset == offset
    assert not isinstance(caught.value, ParameterProblem)
    assert isinstance(caught.value, FlowclassError)


@pytest.mark.parametrize(
    ("octets", "offset"),
    [
        ("3a 00 00 00 0000 0000", 0),
        *((f"3b 00 {kind:02x} 00 0000 0000", 1) for kind in range(1, 8)),
        *((f"3b 01 {kind:02x} 00 0000 0000 0000000000000000", 1) for kind in (3, 4, 7)),
    ],
)
def test_parameter_problems(octets: str, offset: int) -> None:
    # RFC 6275 9.2: the pointer shows the Payload Proto or the Header Len
    with pytest.raises(ParameterProblem) as caught:
        decode_message(bytes.fromhex(octets))
    assert caught.value.offset == offset


@pytest.mark.parametrize("length", [0, 1, 5, 16, 24])
def test_a_binding_identifier_of_a_wrong_length_is_a_value(length: int) -> None:
    # RFC 5648 4.4: the answer is 164, so the message must be readable
    body = bytes(6) + bytes((35, length)) + bytes(range(1, length + 1))
    body += bytes(-(len(body) + 6) % 8)
    octets = bytes((59, (len(body) + 6) // 8 - 1, 5, 0, 0, 0)) + body
    received = decode_message(octets)
    assert isinstance(received, BindingUpdate)
    option = received.options[0]
    assert option == MalformedOption(35, bytes(range(1, length + 1)))
    assert isinstance(option, MalformedOption)
    assert (option.offset, option.reason) == (13, f"a binding identifier of {length} octets: 4, 8 or 20 expected")
    assert encode_message(received) == octets


@pytest.mark.parametrize(
    "message",
    [
        lambda: BindingUpdate(1 << 16, 1),
        lambda: BindingUpdate(1, -1),
        lambda: BindingAcknowledgement(256, 1, 1),
        lambda: HomeTestInit(b"short"),
        lambda: HomeTest(1, bytes(8), bytes(9)),
        lambda: UnknownMessage(8, bytes(3)),
        lambda: UnknownMessage(256, bytes(2)),
        lambda: UnknownMessage(8, bytes(2050)),
        lambda: BindingRefreshRequest(checksum=1 << 16),
        lambda: BindingUpdate(1, 1, options=(UnknownOption(256, b""),)),
        lambda: BindingUpdate(1, 1, options=(UnknownOption(0, b""),)),
        lambda: BindingUpdate(1, 1, options=(UnknownOption(64, bytes(256)),)),
        lambda: BindingUpdate(1, 1, options=(BindingIdentifier(1, priority=128),)),
        lambda: BindingUpdate(1, 1, options=(BindingIdentifier(1 << 16),)),
        lambda: BindingUpdate(1, 1, options=(IPv4HomeAddress(V4, 64),)),
        lambda: BindingUpdate(1, 1, options=(MobileNetworkPrefix(A6, 256),)),
        # addresses of the other kind, for callers who do not check types
        lambda: BindingUpdate(1, 1, options=(MobileNetworkPrefix(ip_address("192.0.2.1"), 24),)),
        lambda: BindingUpdate(1, 1, options=(AlternateCareOf(ip_address("192.0.2.1")),)),
        lambda: BindingUpdate(1, 1, options=(IPv4CareOf(ip_address("::1")),)),
        lambda: BindingUpdate(1, 1, options=(IPv4HomeAddress(ip_address("::1")),)),
        lambda: BindingError(1, ip_address("192.0.2.1")),
        lambda: BindingUpdate(1, 1, options=tuple(UnknownOption(64, bytes(255)) for _ in range(8))),
    ],
)
def test_values_that_do_not_fit(message: Callable[[], Message]) -> None:
    with pytest.raises(EncodeError):
        encode_message(message())


def test_the_longest_message() -> None:
    full = BindingUpdate(1, 1, options=(*[UnknownOption(64, bytes(255))] * 7, UnknownOption(64, bytes(235))))
    octets = encode_message(full)
    assert (len(octets), octets[1]) == (2048, 255)
    assert decode_message(octets) == full


# ---- flags and switches --------------------------------------------------------------------------------------------


@pytest.mark.req("K36")
def test_flags_of_a_binding_update() -> None:
    # RFC 6275 6.1.7, 5380, 3963, 5213, 5555, 5845, 5648, 7161, 8885
    values = [0x8000, 0x4000, 0x2000, 0x1000, 0x800, 0x400, 0x200, 0x100, 0x80, 0x40, 0x20, 0x10]
    assert [flag.value for flag in UpdateFlag] == values
    assert UpdateFlag.OVERWRITE.value == 0x0040
    for flag in (*values, 0xFFFF):
        message = BindingUpdate(1, 1, flag)
        octets = encode_message(message)
        assert int.from_bytes(octets[8:10]) == flag
        received = decode_message(octets)
        assert isinstance(received, BindingUpdate)
        assert received.flags == flag


@pytest.mark.req("K13")
def test_a_priority_where_the_status_is() -> None:
    # the layout before multiplecoa-06, in binding updates only
    old = replace(DRAFT, bid_priority_in_status=True)
    option = BindingIdentifier(1, priority=200)
    encoded = encode_message(BindingUpdate(1, 1, options=(option,)), profile=old)
    assert encoded[12:18].hex() == "23040001c800"
    received = decode_message(encoded, old)
    assert isinstance(received, BindingUpdate)
    assert received.options[0] == option
    answer = BindingAcknowledgement(0, 1, 1, options=(BindingIdentifier(1, priority=9, status=167),))
    encoded = encode_message(answer, profile=old)
    assert encoded[12:18].hex() == "23040001a709"
    # and without the switch the octet is a status, which nobody reads in a binding update
    plain = decode_message(encode_message(BindingUpdate(1, 1, options=(option,)), profile=old))
    assert isinstance(plain, BindingUpdate)
    assert plain.options[0] == BindingIdentifier(1, priority=0, status=200)
