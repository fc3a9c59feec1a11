"""The hot half of the codec, in C, gives what the codec in Python gives: the same values, octets and errors."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mobility_kit import checksummed
from wire_values import ADDRESS4, ADDRESS6, PROFILES, SELECTORS4, SELECTORS6, U7, U8, U16, packets

from flowclass.errors import FlowclassError
from flowclass.wire import (
    DRAFT,
    RFC6089,
    AlternateCareOf,
    BindingAcknowledgement,
    BindingIdentifier,
    BindingReference,
    BindingUpdate,
    FlowIdentification,
    MobilityPacket,
    PadN,
    Profile,
    TrafficSelector6,
    TrafficSelectorOption,
    decode_packet,
    encode_packet,
)
from flowclass.wire._usual import flow_answer, selector_octets
from flowclass.wire.numbers import MessageType
from flowclass.wire.option_codec import get_codec
from flowclass.wire.options import Verbatim
from flowclass.wire.packets import _SLOTS, _USUAL_UPDATE, Addresses, _decode, encode_between

HOME, AGENT, COA = (IPv6Address(a) for a in ("2001:db8:1::100", "2001:db8:1::1", "2001:db8:a::100"))


def everything(value: Any) -> Any:
    """A value with all that it holds, also what comparisons leave out, and the octets that a decoder has kept."""
    if is_dataclass(value) and not isinstance(value, Profile):
        kept = everything(getattr(value, "_octets", None))  # before fields that are made of them
        return type(value), kept, [(f.name, everything(getattr(value, f.name))) for f in fields(value)]
    if isinstance(value, tuple):
        return type(value), [everything(item) for item in value]
    return type(value), value


def outcome(call: Any, *arguments: Any) -> Any:
    """What a call returns, or what it raises."""
    try:
        return everything(call(*arguments))
    except FlowclassError as error:
        return type(error), str(error), getattr(error, "offset", None)


def read_in_c(octets: bytes, profile: Profile) -> Any:
    return get_codec(profile, MessageType.BINDING_UPDATE).usual.read_update(
        octets, _USUAL_UPDATE, MobilityPacket, _SLOTS
    )


def usual_flows(profile: Profile) -> st.SearchStrategy[FlowIdentification]:
    numbers = {"action": U8, "pro": st.integers(0, 15)} if profile.explicit_actions else {}
    plain = SELECTORS4 | SELECTORS6
    subs = st.tuples(
        st.lists(U16, min_size=1, max_size=3).map(lambda bids: BindingReference(tuple(bids))),
        plain.map(TrafficSelectorOption),
    )
    return st.builds(
        FlowIdentification, fid=U16, pri=st.integers(0, profile.max_pri), status=U8, suboptions=subs, **numbers
    )


@st.composite
def usual_updates(draw: st.DrawFn) -> tuple[bytes, Profile]:
    profile = draw(PROFILES)
    bids = st.builds(
        BindingIdentifier, bid=U16, care_of=st.none() | ADDRESS6 | ADDRESS4, priority=U7, home=st.booleans()
    )
    options = draw(st.lists(bids | usual_flows(profile) | st.builds(AlternateCareOf, address=ADDRESS6), max_size=4))
    message = BindingUpdate(draw(U16), draw(U16), draw(U16), tuple(options))
    packet = MobilityPacket(COA, AGENT, message, draw(st.none() | ADDRESS6), hop_limit=draw(U8))
    return encode_packet(
        replace(packet, traffic_class=draw(U8), flow_label=draw(st.integers(0, 0xFFFFF))), profile
    ), profile


def same(octets: bytes, profile: Profile) -> None:
    assert outcome(decode_packet, octets, profile) == outcome(_decode, octets, profile)


@given(usual_updates())
def test_an_update_is_read_as_in_python(case: tuple[bytes, Profile]) -> None:
    same(*case)


@given(PROFILES.flatmap(lambda profile: st.tuples(packets(profile), st.just(profile))))
def test_any_packet_is_read_as_in_python(case: tuple[MobilityPacket, Profile]) -> None:
    packet, profile = case
    same(encode_packet(packet, profile), profile)


@given(usual_updates(), st.lists(st.tuples(st.integers(0, 2**16), U8), min_size=1, max_size=4), st.booleans(), U8)
@example((b"", DRAFT), [(0, 0)], False, 0)
def test_a_damaged_update_is_read_as_in_python(
    case: tuple[bytes, Profile], damage: list[tuple[int, int]], sound_checksum: bool, cut: int
) -> None:
    octets, profile = bytearray(case[0]), case[1]
    for at, value in damage:
        if octets:
            octets[at % len(octets)] = value
    if sound_checksum and len(octets) > 80:
        start = 64 if octets[6] == 60 else 40
        home = octets[48:64] if start == 64 else octets[8:24]
        octets[:] = checksummed(octets, start, IPv6Address(bytes(home)), IPv6Address(bytes(octets[24:40])))
    for end in {len(octets), max(0, len(octets) - cut)}:
        same(bytes(octets[:end]), profile)


@pytest.mark.parametrize("profile", [DRAFT, RFC6089], ids=lambda p: p.name)
def test_what_is_usual_is_read_in_c(profile: Profile) -> None:
    subs = (
        BindingReference((1, 2)),
        TrafficSelectorOption(TrafficSelector6(destination=(HOME, HOME), source_port=(22, 80))),
    )
    options = (
        BindingIdentifier(1, COA, 10), BindingIdentifier(2, IPv4Address("192.0.2.1")), AlternateCareOf(COA),
        FlowIdentification(1, 1, suboptions=subs), FlowIdentification(2, 2),
    )  # fmt: skip
    octets = encode_packet(MobilityPacket(COA, AGENT, BindingUpdate(1, 2, 3, options), HOME), profile)
    made = read_in_c(octets, profile)
    assert made is not None
    assert everything(made) == everything(_decode(octets, profile))
    assert hash(made) == hash(_decode(octets, profile))
    # and what isn't is left to Python
    assert read_in_c(octets[:-1], profile) is None
    assert read_in_c(octets[:-1] + bytes((octets[-1] ^ 1,)), profile) is None


@given(usual_updates(), st.lists(PROFILES.flatmap(usual_flows), max_size=1), U8, st.booleans())
def test_the_answer_to_a_flow_option_is_made_as_in_python(
    case: tuple[bytes, Profile], made: list[FlowIdentification], status: int, whole: bool
) -> None:
    update = decode_packet(*case).message
    assert isinstance(update, BindingUpdate)
    for option in [o for o in update.options if isinstance(o, FlowIdentification)] + made:
        assert everything(flow_answer(option, status, whole)) == everything(option.answer(status, whole=whole))
        for sub in option.suboptions:
            if isinstance(sub, TrafficSelectorOption):
                assert selector_octets(sub) == sub.octets


Writing = tuple[Addresses, BindingAcknowledgement, Profile]
T = TypeVar("T")


def forced(value: T, **fields: int) -> T:
    """A value with fields that its constructor would refuse."""
    for name, number in fields.items():
        object.__setattr__(value, name, number)
    return value


@st.composite
def acknowledgements(draw: st.DrawFn) -> Writing:
    """Acknowledgements whose options are usual, or nearly: also fields that don't fit, and options as received."""
    profile = draw(PROFILES)
    update = decode_packet(draw(usual_updates())[0], profile).message
    received = (
        [o for o in update.options if isinstance(o, FlowIdentification)] if isinstance(update, BindingUpdate) else []
    )
    flows = [o.answer(draw(U8), whole=draw(st.booleans())) for o in received]
    flows += draw(st.lists(usual_flows(profile), max_size=1))
    bids = st.builds(
        lambda bid, *fields: forced(BindingIdentifier(1, *fields), bid=bid),
        st.integers(-1, 0x10000), st.none() | ADDRESS6, U8, U8, st.booleans(),
    )  # fmt: skip
    options: list[Any] = [*draw(st.lists(bids, max_size=3)), *flows, *draw(st.lists(st.just(PadN(b"\0")), max_size=1))]
    made = tuple(draw(st.permutations(options)))
    values = Verbatim(made) if draw(st.booleans()) else made
    number = st.integers(-1, 0x10000)
    message = forced(
        BindingAcknowledgement(0, 0, 0, 0, values),
        status=draw(U8 | number), sequence=draw(number), lifetime=draw(number), flags=draw(U8 | number),
    )  # fmt: skip
    home = draw(st.none() | ADDRESS6.map(lambda a: a.packed))
    return (AGENT.packed, COA.packed, draw(st.none() | st.just(HOME.packed)), home), message, profile


@given(acknowledgements())
def test_an_acknowledgement_is_written_as_in_python(case: Writing) -> None:
    addresses, message, profile = case
    places = [None if octets is None else IPv6Address(octets) for octets in addresses]
    packet = MobilityPacket(places[0], places[1], message, *places[2:])  # type: ignore[arg-type]  # of either type
    assert outcome(encode_between, *case) == outcome(encode_packet, packet, profile)


@pytest.mark.parametrize("many", [1, 30, 230])
@pytest.mark.parametrize("profile", [DRAFT, RFC6089], ids=lambda p: p.name)
def test_what_is_usual_is_written_in_c_up_to_its_room(profile: Profile, many: int) -> None:
    options = (BindingIdentifier(1, None, 5, 0, True), *(FlowIdentification(i, 1, status=9) for i in range(many)))
    message = BindingAcknowledgement(0, 1, 2, 3, options)
    addresses = AGENT.packed, COA.packed, None, HOME.packed
    packet = MobilityPacket(AGENT, COA, message, None, HOME)
    made = get_codec(profile, MessageType.BINDING_ACKNOWLEDGEMENT).usual.write_acknowledgement(
        addresses, message, 64, packet_routing_header()
    )
    assert (made is None) == (many == 230)
    assert made in (None, encode_packet(packet, profile))


def packet_routing_header() -> bytes:
    octets = encode_packet(MobilityPacket(AGENT, COA, BindingAcknowledgement(0, 1, 2), None, HOME))
    return octets[41:48]
