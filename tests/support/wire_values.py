"""Hypothesis strategies for everything that flowclass.wire can encode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import strategies as st

from flowclass.wire import (
    DRAFT,
    RFC6089,
    AlternateCareOf,
    BindingAcknowledgement,
    BindingAuthorizationData,
    BindingError,
    BindingIdentifier,
    BindingReference,
    BindingRefreshAdvice,
    BindingRefreshRequest,
    BindingRevocationAcknowledgement,
    BindingRevocationIndication,
    BindingUpdate,
    CareOfTest,
    CareOfTestInit,
    FlowIdentification,
    FlowSummary,
    HomeTest,
    HomeTestInit,
    IPv4AddressAcknowledgement,
    IPv4CareOf,
    IPv4HomeAddress,
    Message,
    MobileNetworkPrefix,
    MobilityPacket,
    NatDetection,
    NonceIndices,
    Pad1,
    PadN,
    Profile,
    TrafficSelector4,
    TrafficSelector6,
    TrafficSelectorOption,
    UnknownMessage,
    UnknownOption,
    UnknownSelector,
    UnknownSubOption,
)

U7 = st.integers(0, 127)
U8 = st.integers(0, 0xFF)
U16 = st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFFFFFF)
ADDRESS4 = st.integers(0, 2**32 - 1).map(IPv4Address)
ADDRESS6 = st.integers(0, 2**128 - 1).map(IPv6Address)
EIGHT = st.binary(min_size=8, max_size=8)

PROFILES = st.sampled_from(
    [
        DRAFT,
        RFC6089,
        replace(DRAFT, flow_identification=200, accept_len_units=False),
        replace(DRAFT, bid_priority_in_status=True),
    ]
)


def ranges(values: st.SearchStrategy[Any], key: Callable[[Any], int] = int) -> st.SearchStrategy[Any]:
    """None, one value, or two in order."""
    single = values.map(lambda v: (v, v))
    double = st.tuples(values, values).map(lambda pair: tuple(sorted(pair, key=key)))
    return st.none() | single | double


SELECTORS4 = st.builds(
    TrafficSelector4,
    source=ranges(ADDRESS4),
    destination=ranges(ADDRESS4),
    spi=ranges(U32),
    source_port=ranges(U16),
    destination_port=ranges(U16),
    traffic_class=ranges(U8, lambda octet: octet >> 2),
    protocol=ranges(U8),
)
SELECTORS6 = st.builds(
    TrafficSelector6,
    source=ranges(ADDRESS6),
    destination=ranges(ADDRESS6),
    spi=ranges(U32),
    flow_label=ranges(st.integers(0, 0xFFFFF)),
    source_port=ranges(U16),
    destination_port=ranges(U16),
    traffic_class=ranges(U8, lambda octet: octet >> 2),
    protocol=ranges(U8),
)
UNKNOWN_SELECTORS = st.builds(UnknownSelector, format=U8.filter(lambda f: f not in (1, 2)), data=st.binary(max_size=20))
REFERENCES = st.lists(U16, min_size=1, max_size=4).map(lambda bids: BindingReference(tuple(bids)))
UNKNOWN_SUBS = st.builds(UnknownSubOption, type=st.integers(4, 255), data=st.binary(max_size=8))


@st.composite
def suboptions(draw: st.DrawFn, profile: Profile) -> tuple[Any, ...]:
    subs: list[Any] = draw(st.lists(UNKNOWN_SUBS, max_size=2))
    references = draw(st.lists(REFERENCES, max_size=1 if profile.single_reference else 3))
    selectors = draw(st.lists(SELECTORS4 | SELECTORS6 | UNKNOWN_SELECTORS, max_size=1))
    subs += [*references, *map(TrafficSelectorOption, selectors)]
    return tuple(draw(st.permutations(subs)))


@st.composite
def flow_identifications(draw: st.DrawFn, profile: Profile) -> FlowIdentification:
    option = FlowIdentification(draw(U16), draw(st.integers(0, profile.max_pri)), status=draw(U8))
    if profile.explicit_actions:
        option = replace(option, action=draw(U8), pro=draw(st.integers(0, 15)))
    return replace(option, suboptions=draw(suboptions(profile)))


def binding_identifiers(profile: Profile, *, update: bool) -> st.SearchStrategy[BindingIdentifier]:
    old = profile.bid_priority_in_status and update
    return st.builds(
        BindingIdentifier,
        bid=U16,
        care_of=st.none() | ADDRESS6 | ADDRESS4,
        priority=U8 if old else U7,
        status=st.just(0) if old else U8,
        home=st.booleans(),
    )


# in nobody's table: not here, not at IANA (18 is the draft's, 200 a test's)
UNKNOWN_OPTIONS = st.builds(UnknownOption, type=st.sampled_from([100, 199, 255]), data=st.binary(max_size=12))
COMMON_OPTIONS = (
    st.builds(BindingRefreshAdvice, interval=U16)
    | st.builds(AlternateCareOf, address=ADDRESS6)
    | st.builds(NonceIndices, home=U16, care_of=U16)
    | st.builds(MobileNetworkPrefix, prefix=ADDRESS6, prefix_length=U8)
    | st.builds(IPv4HomeAddress, address=ADDRESS4, prefix_length=st.integers(0, 63), request_prefix=st.booleans())
    | st.builds(IPv4AddressAcknowledgement, address=ADDRESS4, status=U8, prefix_length=st.integers(0, 63))
    | st.builds(NatDetection, refresh_time=U32, force_udp=st.booleans())
    | st.builds(IPv4CareOf, address=ADDRESS4)
    | UNKNOWN_OPTIONS
)


@st.composite
def options(draw: st.DrawFn, profile: Profile, kind: int) -> tuple[Any, ...]:
    """Options that a message of type ``kind`` may carry, without padding."""
    choice: st.SearchStrategy[Any] = COMMON_OPTIONS | binding_identifiers(profile, update=kind == 5)
    if kind in (5, 6):
        choice |= flow_identifications(profile)
    if kind == 5 and profile.flow_summary is not None:
        choice |= st.lists(U16, min_size=1, max_size=5).map(lambda fids: FlowSummary(tuple(fids)))
    found = draw(st.lists(choice, max_size=5))
    if kind in (5, 6) and draw(st.booleans()):
        found.append(BindingAuthorizationData(draw(st.binary(min_size=12, max_size=12))))
    return tuple(found)


@st.composite
def messages(draw: st.DrawFn, profile: Profile) -> Message:
    kind = draw(st.sampled_from([0, 1, 2, 3, 4, 5, 5, 5, 6, 6, 7, 11, 16]))
    if kind == 11:
        size = 8 * draw(st.integers(0, 3)) + 2
        return UnknownMessage(
            draw(st.integers(8, 255).filter(lambda number: number != 16)), draw(st.binary(min_size=size, max_size=size))
        )
    made = options(profile, kind)
    built: dict[int, st.SearchStrategy[Message]] = {
        0: st.builds(BindingRefreshRequest, options=made),
        1: st.builds(HomeTestInit, cookie=EIGHT, options=made),
        2: st.builds(CareOfTestInit, cookie=EIGHT, options=made),
        3: st.builds(HomeTest, nonce_index=U16, cookie=EIGHT, token=EIGHT, options=made),
        4: st.builds(CareOfTest, nonce_index=U16, cookie=EIGHT, token=EIGHT, options=made),
        5: st.builds(BindingUpdate, sequence=U16, lifetime=U16, flags=U16, options=made),
        6: st.builds(BindingAcknowledgement, status=U8, sequence=U16, lifetime=U16, flags=U8, options=made),
        7: st.builds(BindingError, status=U8, home_address=ADDRESS6, options=made),
        16: st.builds(BindingRevocationIndication, sequence=U16, trigger=U8, flags=U16, options=made)
        | st.builds(BindingRevocationAcknowledgement, sequence=U16, status=U8, flags=U16, options=made),
    }
    return draw(built[kind])


def packets(profile: Profile) -> st.SearchStrategy[MobilityPacket]:
    return st.builds(
        MobilityPacket,
        source=ADDRESS6,
        destination=ADDRESS6,
        message=messages(profile),
        home_address=st.none() | ADDRESS6,
        routing_home=st.none() | ADDRESS6,
        hop_limit=U8,
        traffic_class=U8,
        flow_label=st.integers(0, 0xFFFFF),
    )


def without_padding(message: Message) -> Message:
    """The message with plain tuples of options and sub-options, padding left out."""
    if isinstance(message, UnknownMessage):
        return message
    kept = []
    for option in message.options:
        if isinstance(option, Pad1 | PadN):
            continue
        if isinstance(option, FlowIdentification):
            subs = tuple(sub for sub in option.suboptions if not isinstance(sub, Pad1 | PadN))
            option = replace(option, suboptions=subs)
        kept.append(option)
    return replace(message, options=tuple(kept))
