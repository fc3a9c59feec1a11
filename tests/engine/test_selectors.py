"""Traffic selectors of RFC 6088: hand-made octets for every flag, every rule of validity, and a second reading."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import numpy as np
import oracle
import pytest
import rfc6088
from hypothesis import example, given
from hypothesis import strategies as st
from wire_values import SELECTORS4, SELECTORS6

import flowclass as fc
from flowclass.engine.rules import octets_rule, selector_rule
from flowclass.errors import DecodeError, EncodeError
from flowclass.wire import (
    DRAFT,
    RFC6089,
    BindingReference,
    BindingUpdate,
    FlowIdentification,
    MalformedSubOption,
    Pad1,
    PadN,
    Profile,
    TrafficSelector4,
    TrafficSelector6,
    TrafficSelectorOption,
    UnknownSelector,
    decode_message,
    encode_message,
)
from flowclass.wire.selectors import decode_selector, encode_selector

A4, B4 = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.9")
A6, B6 = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::ffff")
HEX_A6 = "20010db8000000000000000000000001"
HEX_B6 = "20010db800000000000000000000ffff"

# figure 1 (format 1), one row for each flag and each pair of flags: flag word, fields, value
BY_HAND_4: list[tuple[str, str, TrafficSelector4]] = [
    ("00000000", "", TrafficSelector4()),
    ("80000000", "c0000201", TrafficSelector4(source=(A4, A4))),
    ("c0000000", "c0000201 c0000209", TrafficSelector4(source=(A4, B4))),
    ("20000000", "c0000201", TrafficSelector4(destination=(A4, A4))),
    ("30000000", "c0000201 c0000209", TrafficSelector4(destination=(A4, B4))),
    ("08000000", "00000100", TrafficSelector4(spi=(256, 256))),
    ("0c000000", "00000100 ffffffff", TrafficSelector4(spi=(256, 0xFFFFFFFF))),
    ("02000000", "0016", TrafficSelector4(source_port=(22, 22))),
    ("03000000", "0016 0050", TrafficSelector4(source_port=(22, 80))),
    ("00800000", "01bb", TrafficSelector4(destination_port=(443, 443))),
    ("00c00000", "0400 ffff", TrafficSelector4(destination_port=(1024, 65535))),
    ("00200000", "b8", TrafficSelector4(traffic_class=(0xB8, 0xB8))),
    ("00300000", "28 bb", TrafficSelector4(traffic_class=(0x28, 0xBB))),
    ("00080000", "06", TrafficSelector4(protocol=(6, 6))),
    ("000c0000", "06 11", TrafficSelector4(protocol=(6, 17))),
]
# figure 2 (format 2)
BY_HAND_6: list[tuple[str, str, TrafficSelector6]] = [
    ("00000000", "", TrafficSelector6()),
    ("80000000", HEX_A6, TrafficSelector6(source=(A6, A6))),
    ("c0000000", HEX_A6 + HEX_B6, TrafficSelector6(source=(A6, B6))),
    ("20000000", HEX_A6, TrafficSelector6(destination=(A6, A6))),
    ("30000000", HEX_A6 + HEX_B6, TrafficSelector6(destination=(A6, B6))),
    ("08000000", "00000100", TrafficSelector6(spi=(256, 256))),
    ("0c000000", "00000100 ffffffff", TrafficSelector6(spi=(256, 0xFFFFFFFF))),
    ("02000000", "000abcde", TrafficSelector6(flow_label=(0xABCDE, 0xABCDE))),
    ("03000000", "00000001 000fffff", TrafficSelector6(flow_label=(1, 0xFFFFF))),
    ("00800000", "0016", TrafficSelector6(source_port=(22, 22))),
    ("00c00000", "0016 0050", TrafficSelector6(source_port=(22, 80))),
    ("00200000", "01bb", TrafficSelector6(destination_port=(443, 443))),
    ("00300000", "0400 ffff", TrafficSelector6(destination_port=(1024, 65535))),
    ("00080000", "b8", TrafficSelector6(traffic_class=(0xB8, 0xB8))),
    ("000c0000", "28 bb", TrafficSelector6(traffic_class=(0x28, 0xBB))),
    ("00020000", "06", TrafficSelector6(protocol=(6, 6))),
    ("00030000", "06 11", TrafficSelector6(protocol=(6, 17))),
]
BY_HAND: list[tuple[int, bytes, Any]] = [
    (form, bytes.fromhex(flags + fields), selector)
    for form, rows in ((1, BY_HAND_4), (2, BY_HAND_6))
    for flags, fields, selector in rows
]


def decode(form: int, body: bytes) -> Any:
    return decode_selector(form, body, 0, len(body))


@pytest.mark.req("R2", "R3", "R4", "R37", "R43", "R59", "R60")
@pytest.mark.parametrize(("form", "body", "selector"), BY_HAND)
def test_octets_made_by_hand(form: int, body: bytes, selector: Any) -> None:
    assert decode(form, body) == selector
    assert encode_selector(selector) == body


@pytest.mark.parametrize(
    ("form", "size", "selector"),
    [
        (1, 40, TrafficSelector4((A4, B4), (A4, B4), (1, 2), (1, 2), (1, 2), (4, 8), (1, 2))),
        (2, 96, TrafficSelector6((A6, B6), (A6, B6), (1, 2), (1, 2), (1, 2), (1, 2), (4, 8), (1, 2))),
    ],
)
def test_all_fields_at_once(form: int, size: int, selector: Any) -> None:
    body = encode_selector(selector)
    assert len(body) == size
    assert decode(form, body) == selector


@pytest.mark.parametrize("form", [1, 2])
def test_an_end_without_its_start(form: int) -> None:
    for start, end in zip("ACEGIKMO", "BDFHJLNP", strict=True):
        if form == 1 and start == "O":
            continue
        bit = 1 << (31 - "ABCDEFGHIJKLMNOP".index(end))
        with pytest.raises(DecodeError, match=r"an end of .* without its start") as caught:
            decode(form, bit.to_bytes(4) + bytes(16))
        assert caught.value.offset == 0


@pytest.mark.parametrize(
    ("form", "octets", "name"),
    [
        (1, "c0000000 c0000209 c0000201", "source"),
        (1, "00300000 2c 2b", "traffic_class"),
        (2, "03000000 000fffff 00000001", "flow_label"),
        (2, "00c00000 0017 0016", "source_port"),
        (2, "00030000 11 06", "protocol"),
    ],
)
def test_a_range_from_high_to_low(form: int, octets: str, name: str) -> None:
    with pytest.raises(DecodeError, match=f"the range of {name} is reversed"):
        decode(form, bytes.fromhex(octets))


def test_a_reversed_range_has_no_encoding() -> None:
    with pytest.raises(EncodeError, match=r"^TrafficSelector6\.source_port: the range is reversed: 23 to 22$"):
        encode_selector(TrafficSelector6(source_port=(23, 22)))
    with pytest.raises(EncodeError, match=r"source: an IPv6 address .* expected, got 192\.0\.2\.1$"):
        encode_selector(TrafficSelector6(source=(A4, A4)))  # type: ignore[arg-type]  # the mistake that is tested
    with pytest.raises(EncodeError, match=r"^TrafficSelector4\.traffic_class: the range is reversed"):
        encode_selector(TrafficSelector4(traffic_class=(0x2C, 0x28)))


def test_the_two_lowest_bits_of_a_traffic_class_are_ignored() -> None:
    # 0x2b and 0x28 are one code point: no reversed range
    selector = decode(1, bytes.fromhex("00300000 2b 28"))
    assert selector.traffic_class == (0x2B, 0x28)
    assert encode_selector(selector) == bytes.fromhex("00300000 2b 28")


@pytest.mark.req("K36")
def test_a_flow_label_has_20_bits() -> None:
    assert decode(2, bytes.fromhex("02000000 fffabcde")) == TrafficSelector6(flow_label=(0xABCDE, 0xABCDE))
    with pytest.raises(EncodeError, match=r"^TrafficSelector6\.flow_label: 0 to 1048575 expected, got 1048576$"):
        encode_selector(TrafficSelector6(flow_label=(1 << 20, 1 << 20)))


def test_reserved_flags_are_ignored_and_sent_as_zero() -> None:
    assert decode(1, bytes.fromhex("0203ffff0016")) == TrafficSelector4(source_port=(22, 22))
    assert decode(2, bytes.fromhex("0080ffff0016")) == TrafficSelector6(source_port=(22, 22))
    assert encode_selector(decode(2, bytes.fromhex("0080ffff0016"))) == bytes.fromhex("008000000016")


@pytest.mark.parametrize(("form", "body", "selector"), BY_HAND)
def test_octets_too_few_or_too_many(form: int, body: bytes, selector: Any) -> None:
    with pytest.raises(DecodeError):
        decode(form, body + b"\0")
    for size in range(len(body)):
        with pytest.raises(DecodeError):
            decode(form, body[:size])


def test_an_end_that_equals_its_start_is_kept() -> None:
    explicit = bytes.fromhex("03000000 0016 0016")
    assert decode(1, explicit) == TrafficSelector4(source_port=(22, 22))
    assert encode_selector(decode(1, explicit)) == explicit


@pytest.mark.req("R25", "R26")
@pytest.mark.parametrize("form", [0, 3, 255])
def test_other_formats_are_carried(form: int) -> None:
    selector = decode(form, b"abc")
    assert selector == UnknownSelector(form, b"abc")
    assert encode_selector(selector) == b"abc"


# ---- alignment (RFC 6088 3.1 and 3.2) ------------------------------------------------------------------------------


def aligned_at(selector: Any, profile: Profile) -> tuple[int, tuple[Any, ...]]:
    """Where the traffic selector sub-option of a binding update starts, and the sub-options before it."""
    option = FlowIdentification(1, 1, suboptions=(BindingReference((1,)), TrafficSelectorOption(selector)))
    octets = encode_message(BindingUpdate(1, 1, options=(option,)), profile=profile)
    received = decode_message(octets, profile)
    assert isinstance(received, BindingUpdate)
    flow = next(o for o in received.options if isinstance(o, FlowIdentification))
    assert flow.selector == selector
    marker = bytes((3, len(encode_selector(selector)) + (4 if profile is DRAFT else 2), selector.format, 0))
    at = octets.index(marker + encode_selector(selector))
    return at, flow.suboptions[:-1]


@pytest.mark.parametrize("profile", [DRAFT, RFC6089], ids=lambda p: p.name)
@pytest.mark.parametrize(
    ("selector", "modulus"),
    [
        (TrafficSelector6(source=(A6, A6)), 8),
        (TrafficSelector6(destination=(A6, B6), protocol=(6, 6)), 8),
        (TrafficSelector6(spi=(1, 1)), 4),
        (TrafficSelector6(flow_label=(1, 1), source_port=(1, 1)), 4),
        (TrafficSelector6(source_port=(22, 22)), 2),
        (TrafficSelector6(destination_port=(22, 22)), 2),
        (TrafficSelector6(protocol=(6, 6)), 1),
        (TrafficSelector4(source=(A4, A4)), 4),
        (TrafficSelector4(destination=(A4, B4)), 4),
        (TrafficSelector4(spi=(1, 1)), 4),
        (TrafficSelector4(source_port=(22, 22)), 2),
        (TrafficSelector4(traffic_class=(4, 4)), 1),
    ],
)
def test_a_selector_is_aligned(selector: Any, modulus: int, profile: Profile) -> None:
    at, before = aligned_at(selector, profile)
    assert at % modulus == 0
    # no more padding than that takes, in the profile's own kind
    pads = before[1:]
    assert all(isinstance(p, Pad1 if profile is DRAFT else Pad1 | PadN) for p in pads)
    assert sum(1 if isinstance(p, Pad1) else 2 + len(p.data) for p in pads) < modulus


# ---- a second reading ----------------------------------------------------------------------------------------------

FIELDS = (*(row[3] for row in rfc6088.FIGURE_2),)
WIDTH = {"spi": 32, "flow_label": 20, "source_port": 16, "destination_port": 16, "traffic_class": 8, "protocol": 8}


def bits(field: str, version: int) -> int:
    return WIDTH.get(field, 128 if version == 6 else 32)


@st.composite
def bodies(draw: st.DrawFn, form: int) -> bytes:
    """Octets near a selector: mostly of the length that the flags ask for, with values that are often edges."""
    figure = rfc6088.FIGURES[form]
    flags = 0
    fields = b""
    for start, end, size, _ in figure:
        choice = draw(st.sampled_from([(), (start,), (start, end)] * 8 + [(end,)]))
        values = [draw(st.integers(0, 256**size - 1) | st.sampled_from([0, 1, 256**size - 1])) for _ in choice]
        if draw(st.integers(0, 9)):
            values.sort()
        for letter, value in zip(choice, values, strict=True):
            flags |= 1 << (31 - "ABCDEFGHIJKLMNOP".index(letter))
            fields += value.to_bytes(size)
    reserved = draw(st.just(0) | st.integers(0, 0xFFFF))
    tail = draw(st.just(b"") | st.binary(max_size=3))
    return (flags | reserved).to_bytes(4) + fields + tail


@st.composite
def packet_near(draw: st.DrawFn, selector: Any) -> dict[str, int]:
    """A packet whose fields are on, beside, or away from the edges of the selector; some are absent."""
    version = draw(st.sampled_from([selector.version] * 4 + [4, 6]))
    packet = {"version": version}
    for field in FIELDS:
        if field == "flow_label" and version == 4:
            continue
        top = 2 ** bits(field, version) - 1
        bounds = getattr(selector, field)
        near = [0, top]
        if bounds is not None:
            near = [int(b) + d for b in bounds for d in (-1, 0, 0, 0, 1)]
        value = draw(st.sampled_from(near) if draw(st.integers(0, 4)) else st.integers(0, top))
        if field in ("source", "destination") or draw(st.integers(0, 9)):
            packet[field] = min(max(value, 0), top)
    return packet


def sub_option(form: int, body: bytes) -> TrafficSelectorOption:
    """The sub-option that a receiver gets when these octets were sent."""
    sent = FlowIdentification(1, 1, suboptions=(TrafficSelectorOption(UnknownSelector(form, body)),))
    received = decode_message(encode_message(BindingUpdate(1, 1, options=(sent,))))
    assert isinstance(received, BindingUpdate)
    (option,) = (o for o in received.options if isinstance(o, FlowIdentification))
    (found,) = (s for s in option.suboptions if isinstance(s, TrafficSelectorOption))
    return found


def engine_says(selector: Any, packet: dict[str, int]) -> bool:
    """The selector as a rule row, the packet as a key, and the project's own definition of a match."""
    row = np.frombuffer(selector_rule(selector), fc.RULE_DTYPE)[0]
    return oracle.matches(row, fc.make_keys(**packet)[0])


@pytest.mark.req("R2", "R3", "R37", "R43", "R59", "R60")
@given(data=st.data())
@pytest.mark.parametrize("form", [1, 2])
def test_a_second_reader_agrees(form: int, data: st.DataObject) -> None:
    body = data.draw(bodies(form))
    try:
        rfc6088.conditions(form, body)
    except rfc6088.Malformed:
        with pytest.raises(DecodeError):
            decode(form, body)
        return
    selector = decode(form, body)
    assert octets_rule(sub_option(form, body).octets) == selector_rule(selector)
    for _ in range(5):
        packet = data.draw(packet_near(selector))
        assert engine_says(selector, packet) == rfc6088.matches(form, body, packet), packet
    assert rfc6088.conditions(form, encode_selector(selector)) == rfc6088.conditions(form, body)


@given(SELECTORS4 | SELECTORS6, st.data())
@example(TrafficSelector6(), None)
def test_what_is_encoded_matches_the_same(selector: Any, data: st.DataObject | None) -> None:
    body = encode_selector(selector)
    packet = {"version": 6} if data is None else data.draw(packet_near(selector))
    packet = {"source": 1, "destination": 1, **packet}
    assert rfc6088.matches(selector.format, body, packet) == engine_says(selector, packet)


def test_a_packet_of_the_other_version_never_matches() -> None:
    packet = {"version": 4, "source": 1, "destination": 2, "protocol": 6}
    assert rfc6088.matches(1, bytes(4), packet)
    assert not rfc6088.matches(2, bytes(4), packet)
    assert engine_says(TrafficSelector4(), packet)
    assert not engine_says(TrafficSelector6(), packet)


def test_a_condition_on_an_absent_field_fails() -> None:
    icmp = {"version": 6, "source": 1, "destination": 2, "protocol": 58}
    assert not engine_says(TrafficSelector6(source_port=(0, 65535)), icmp)
    assert not rfc6088.matches(2, bytes.fromhex("00c00000 0000 ffff"), icmp)


# ---- a fault stays inside its option -------------------------------------------------------------------------------


@pytest.mark.req("R18", "R25")
@pytest.mark.parametrize("profile", [DRAFT, RFC6089], ids=lambda p: p.name)
def test_a_malformed_selector_spoils_its_own_option_only(profile: Profile) -> None:
    good = FlowIdentification(1, 1, suboptions=(TrafficSelectorOption(TrafficSelector6(protocol=(6, 6))),))
    header = bytes((3, 10 if profile is DRAFT else 8, 2, 0))
    bad = MalformedSubOption(header + bytes.fromhex("00010000 1100"))
    octets = encode_message(
        BindingUpdate(1, 1, options=(replace(good, fid=7, suboptions=(bad, BindingReference((3,)))), good)),
        profile=profile,
    )
    received = decode_message(octets, profile)
    assert isinstance(received, BindingUpdate)
    first, second = (o for o in received.options if isinstance(o, FlowIdentification))
    assert first.fid == 7
    assert first.error is not None
    assert first.error.octets == bad.octets
    assert first.error.reason == "an end of protocol without its start"
    assert octets[first.error.offset :].startswith(bytes.fromhex("00010000"))
    assert first.selector is None
    assert first.bids == (3,)
    assert (second, second.error) == (good, None)
    assert encode_message(received, profile=profile) == octets
