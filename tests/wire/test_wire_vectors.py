"""The golden frames of ../shared/data/vectors: they decode to what their notes say, and back byte for byte."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from places import SHARED

from flowclass.errors import DecodeError
from flowclass.wire import (
    AlternateCareOf,
    BindingAcknowledgement,
    BindingAuthorizationData,
    BindingError,
    BindingIdentifier,
    BindingReference,
    BindingRefreshAdvice,
    BindingRefreshRequest,
    BindingUpdate,
    FlowIdentification,
    FlowSummary,
    MobileNetworkPrefix,
    NonceIndices,
    Pad1,
    PadN,
    TrafficSelector4,
    TrafficSelector6,
    TrafficSelectorOption,
    UpdateFlag,
    decode_packet,
    encode_packet,
)

VECTORS = SHARED / "data" / "vectors" / "mip6.json"
pytestmark = pytest.mark.skipif(not VECTORS.exists(), reason="../shared is absent")

FRAMES: dict[int, dict[str, Any]] = (
    {frame["frame"]: frame for frame in json.loads(VECTORS.read_text())} if VECTORS.exists() else {}
)

AH = UpdateFlag.ACKNOWLEDGE | UpdateFlag.HOME_REGISTRATION
HOME = IPv6Address("2001:db8:1::100")
COA1 = IPv6Address("2001:db8:a::100")
COA2 = IPv6Address("2001:db8:b::100")
AGENT = IPv6Address("2001:db8:1::1")
PEER = IPv6Address("2001:db8:c::7")
BID1 = BindingIdentifier(1, COA1, priority=10)


def flow(fid: int, pri: int, *subs: Any, **rest: Any) -> FlowIdentification:
    return FlowIdentification(fid, pri, suboptions=subs, **rest)


SELECTOR6 = TrafficSelector6(
    source=(IPv6Address("2001:db8:c::1"), IPv6Address("2001:db8:c::ff")),
    destination=(HOME, IPv6Address("2001:db8:1::1ff")),
    spi=(0x1000, 0x1FFF),
    flow_label=(1, 0xFFFFF),
    source_port=(22, 22),
    destination_port=(1024, 65535),
    traffic_class=(0xB8, 0xBB),
    protocol=(6, 17),
)
SELECTOR4 = TrafficSelector4(
    source=(IPv4Address("192.0.2.1"), IPv4Address("192.0.2.99")),
    destination=(IPv4Address("198.51.100.1"), IPv4Address("198.51.100.1")),
    spi=(1, 2),
    source_port=(22, 443),
    destination_port=(1024, 65535),
    traffic_class=(0xB8, 0xBB),
    protocol=(6, 17),
)
SSH = TrafficSelector6(source_port=(22, 22), protocol=(6, 6))
BREF1 = BindingReference((1,))

# what each note says, padding aside: message fields by name, then the options
MEANING: dict[int, tuple[type, dict[str, Any], list[Any]]] = {
    1: (
        BindingUpdate,
        {"sequence": 100, "lifetime": 150, "flags": AH},
        [
            BID1,
            BindingIdentifier(2, COA2, priority=20),
            flow(5, 30, BindingReference((1, 2)), TrafficSelectorOption(SELECTOR6)),
        ],
    ),
    2: (
        BindingUpdate,
        {"sequence": 109, "lifetime": 150, "flags": AH},
        [flow(5, 30, BindingReference((1, 2)), PadN(), TrafficSelectorOption(SELECTOR6))],
    ),
    3: (
        BindingUpdate,
        {"sequence": 101, "lifetime": 150, "flags": AH},
        [BindingIdentifier(1, priority=10), flow(1, 1, BREF1, TrafficSelectorOption(SSH))],
    ),
    4: (
        BindingUpdate,
        {"sequence": 102, "lifetime": 150, "flags": AH},
        [BindingIdentifier(1, priority=10), flow(2, 2, BREF1, TrafficSelectorOption(SELECTOR4))],
    ),
    5: (
        BindingUpdate,
        {"sequence": 103, "lifetime": 150, "flags": AH},
        [BindingIdentifier(1, priority=10), FlowSummary((1, 2, 5))],
    ),
    6: (
        BindingAcknowledgement,
        {"status": 0, "flags": 0, "sequence": 100, "lifetime": 150},
        [
            BindingIdentifier(1, priority=10),
            flow(5, 30, BindingReference((1, 2)), TrafficSelectorOption(TrafficSelector6(source_port=(22, 22)))),
            flow(6, 31, status=131),
            flow(7, 32, status=132),
            flow(8, 33, status=133),
        ],
    ),
    7: (
        BindingAcknowledgement,
        {"status": 4, "flags": 0, "sequence": 104, "lifetime": 150},
        [
            BindingRefreshAdvice(100),
            BindingIdentifier(1, priority=10),
            BindingIdentifier(2, priority=20, status=167),
        ],
    ),
    8: (BindingUpdate, {"sequence": 105, "lifetime": 150, "flags": AH}, [AlternateCareOf(COA2)]),
    9: (
        BindingUpdate,
        {"sequence": 106, "lifetime": 150, "flags": AH | UpdateFlag.MOBILE_ROUTER},
        [MobileNetworkPrefix(IPv6Address("2001:db8:f00::"), 48), BID1],
    ),
    10: (
        BindingUpdate,
        {"sequence": 7, "lifetime": 105, "flags": UpdateFlag.ACKNOWLEDGE},
        [
            NonceIndices(3, 9),
            BindingIdentifier(1, priority=10),
            BindingAuthorizationData(bytes.fromhex("a448b9fa3c59a0e8c6453940")),
        ],
    ),
    11: (BindingUpdate, {"sequence": 107, "lifetime": 0, "flags": AH}, []),
    12: (BindingRefreshRequest, {}, [BindingIdentifier(1)]),
    13: (BindingError, {"status": 1, "home_address": HOME}, []),
    14: (
        BindingUpdate,
        {"sequence": 108, "lifetime": 150, "flags": AH},
        [BindingIdentifier(3, IPv4Address("203.0.113.9"), priority=5)],
    ),
    15: (
        BindingUpdate,
        {"sequence": 110, "lifetime": 150, "flags": AH},
        [BindingIdentifier(1, COA1), flow(1, 1, BREF1), flow(2, 1, BREF1)],
    ),
    16: (
        BindingAcknowledgement,
        {"status": 0, "flags": 0, "sequence": 110, "lifetime": 150},
        [BindingIdentifier(1), flow(1, 1), flow(2, 1, status=135)],
    ),
}


def profile_of(frame: dict[str, Any]) -> str:
    return "draft" if frame["name"].startswith("draft") else "rfc6089"


@pytest.mark.req("R9", "R10", "R12", "R16", "R18", "R19", "R25", "R32", "R33", "R34", "K1", "K2", "K3", "K7", "K36")
@pytest.mark.parametrize("number", sorted(MEANING))
def test_a_frame_means_what_its_note_says(number: int) -> None:
    frame = FRAMES[number]
    packet = decode_packet(bytes.fromhex(frame["hex"]), profile_of(frame))
    kind, fields, options = MEANING[number]
    message = packet.message
    assert type(message) is kind
    assert packet.checksum_ok
    for name, value in fields.items():
        assert getattr(message, name) == value, name
    # its type is known
    assert [o for o in message.options if type(o) not in (Pad1, PadN)] == options  # type: ignore[union-attr]  # a message with options


@pytest.mark.parametrize("number", sorted(MEANING))
def test_a_frame_is_encoded_as_it_was(number: int) -> None:
    frame = FRAMES[number]
    packet = decode_packet(bytes.fromhex(frame["hex"]), profile_of(frame))
    assert encode_packet(packet, profile_of(frame)).hex() == frame["hex"]


@pytest.mark.parametrize("number", sorted(MEANING))
def test_addresses_of_the_headers(number: int) -> None:
    packet = decode_packet(bytes.fromhex(FRAMES[number]["hex"]), profile_of(FRAMES[number]))
    if isinstance(packet.message, BindingUpdate):
        assert (packet.source, packet.home_address, packet.routing_home) == (COA1, HOME, None)
        assert packet.destination == (PEER if number == 10 else AGENT)
    elif isinstance(packet.message, BindingAcknowledgement):
        assert (packet.source, packet.destination) == (AGENT, COA1)
        assert (packet.home_address, packet.routing_home) == (None, HOME)
    else:
        assert (packet.source, packet.home_address, packet.routing_home) == (PEER, None, None)


def test_the_data_packet_has_no_mobility_header() -> None:
    with pytest.raises(DecodeError, match="next header 41") as caught:
        decode_packet(bytes.fromhex(FRAMES[17]["hex"]))
    assert caught.value.offset == 40
    assert set(FRAMES) == {*MEANING, 17}
