"""Updates authenticated by a shared key (RFC 4285): what is believed, what is refused and how, what stays silent."""

from __future__ import annotations

import hmac
from dataclasses import replace
from ipaddress import IPv6Address
from typing import Any

import pytest
from mobility_kit import statuses

from flowclass.errors import FlowclassError
from flowclass.mobility import Association, HomeAgent, MobileNode, SharedKey, SharedKeys
from flowclass.wire import (
    AlternateCareOf,
    BindingIdentifier,
    BindingUpdate,
    MessageAuthentication,
    MobileNodeIdentifier,
    MobilityPacket,
    ReplayProtection,
    decode_packet,
    encode_packet,
)
from flowclass.wire.auth import authenticate, is_authenticated, ntp_seconds, ntp_timestamp
from flowclass.wire.packets import mobility_header

AGENT, HOME, OTHER = (IPv6Address(f"2001:db8:1::{n}") for n in (1, 5, 6))
CARE_OF = IPv6Address("2001:db8:a::1")
KEY, SPI = bytes(range(20)), 256
WALL = 1_800_000_000.0


class Clock:
    def __init__(self, now: float = WALL) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def agent(clock: Clock, **more: Any) -> HomeAgent:
    keys = [
        Association(SPI, HOME.packed, KEY, **more),
        Association(SPI + 1, OTHER.packed, bytes(20)),
    ]
    return HomeAgent(security=SharedKeys(keys, wall=clock))


def update(
    sequence: int = 1,
    *,
    key: bytes = KEY,
    spi: int = SPI,
    home: IPv6Address = HOME,
    time: float | None = WALL,
    options: tuple[Any, ...] = (BindingIdentifier(1, CARE_OF),),
    sign: bool = True,
) -> bytes:
    if time is not None:
        options += (ReplayProtection(ntp_timestamp(time)),)
    message = BindingUpdate(sequence, 100, 0xC000, options)
    if sign:
        message = authenticate(message, spi, key, CARE_OF, home)
    return encode_packet(MobilityPacket(CARE_OF, AGENT, message, home))


def answer(agent: HomeAgent, packet: bytes) -> Any:
    replies = agent.receive(packet, now=1.0)
    return decode_packet(replies[0]).message if replies else None


def test_the_authenticator_is_the_one_of_the_rfc_by_hand() -> None:
    packet = update()
    header = mobility_header(packet)
    # the last option: type 9, length 17, subtype 1, SPI 256; then 12 octets, then padding to a multiple of 8
    at = header.index(bytes((9, 17, 1)) + SPI.to_bytes(4)) + 7
    covered = CARE_OF.packed + HOME.packed + header[:4] + b"\0\0" + header[6:at]
    assert header[at : at + 12] == hmac.digest(KEY, covered, "sha1")[:12]
    assert (at - 7) % 4 == 1  # its alignment
    assert header[at + 12 :] in (b"", b"\1\2\0\0", b"\1\0", b"\0")
    assert is_authenticated(header, KEY, CARE_OF, HOME)
    assert not is_authenticated(header, KEY, CARE_OF, OTHER)


def test_what_is_right_is_accepted_and_the_answer_is_authentic_too() -> None:
    ha = agent(Clock())
    (reply,) = ha.receive(update(), now=1.0)
    message: Any = decode_packet(reply).message
    assert message.status == 0
    assert is_authenticated(mobility_header(reply), KEY, CARE_OF, HOME)
    assert any(isinstance(o, ReplayProtection) and o.timestamp == ntp_timestamp(WALL) for o in message.options)
    assert HOME.packed in ha.cache


@pytest.mark.parametrize("bit", range(0, 8 * 60, 37))
def test_any_bit_that_is_changed_on_the_way_is_noticed(bit: int) -> None:
    ha = agent(Clock())
    packet = bytearray(update())
    header = bytearray(mobility_header(bytes(packet)))
    header[bit // 8 % len(header)] ^= 1 << bit % 8
    message = bytes(header)
    packet[-len(header) :] = message
    before = dict(ha.cache.nodes)
    ha.receive(bytes(packet), now=1.0)
    assert ha.cache.nodes == before


def test_wrong_keys_are_answered_with_146_and_change_nothing() -> None:
    ha = agent(Clock())
    assert answer(ha, update(key=bytes(20))).status == 146
    assert not ha.cache.nodes


def test_without_an_authenticator_or_with_an_unknown_spi_there_is_silence() -> None:
    ha = agent(Clock())
    assert answer(ha, update(sign=False)) is None
    assert answer(ha, update(spi=999)) is None
    assert ha.counters.ignored["unauthenticated"] == 2


def test_the_key_of_one_node_is_no_good_for_another_home_address() -> None:
    ha = agent(Clock())
    assert answer(ha, update(spi=SPI + 1, key=bytes(20), home=OTHER)).status == 0
    assert answer(ha, update(home=OTHER)).status == 129
    node = ha.cache.get(OTHER.packed)
    assert node is not None
    assert node.sequence == 1


def test_a_replayed_or_late_update_is_answered_with_144_and_our_time() -> None:
    clock = Clock()
    ha = agent(clock)
    assert answer(ha, update(1)).status == 0
    clock.now += 5
    assert answer(ha, update(2)).status == 144  # a timestamp that was accepted before
    assert answer(ha, update(2, time=clock.now - 8)).status == 144
    refused = answer(ha, update(2, time=clock.now + 8))
    assert refused.status == 144
    (option,) = (o for o in refused.options if isinstance(o, ReplayProtection))
    assert ntp_seconds(option.timestamp) == pytest.approx(clock.now, abs=1e-6)
    assert answer(ha, update(2, time=clock.now)).status == 0


def test_a_missing_timestamp_is_answered_with_145_unless_none_is_wanted() -> None:
    assert answer(agent(Clock()), update(time=None)).status == 145
    assert answer(agent(Clock(), timestamps=False), update(time=None)).status == 0


def test_an_identifier_must_be_the_one_that_belongs_to_the_key() -> None:
    ha = agent(Clock(), identifier=b"mn@example.com")
    bid = BindingIdentifier(1, CARE_OF)
    assert answer(ha, update()).status == 146
    assert answer(ha, update(options=(bid, MobileNodeIdentifier(b"you@example.com")))).status == 146
    assert answer(ha, update(options=(bid, MobileNodeIdentifier(b"mn@example.com")))).status == 0


def test_the_care_of_address_covered_is_the_alternate_one() -> None:
    other = IPv6Address("2001:db8:b::7")
    message = BindingUpdate(1, 100, 0xC000, (AlternateCareOf(other), ReplayProtection(ntp_timestamp(WALL))))
    message = authenticate(message, SPI, KEY, other, HOME)
    (reply,) = agent(Clock()).receive(encode_packet(MobilityPacket(CARE_OF, AGENT, message, HOME)), now=1.0)
    assert decode_packet(reply).message.status == 0  # type: ignore[union-attr]  # its type is known
    assert is_authenticated(mobility_header(reply), KEY, other, HOME)


def test_an_spi_belongs_to_one_node() -> None:
    with pytest.raises(FlowclassError, match="SPI 256"):
        SharedKeys([Association(SPI, HOME.packed, KEY), Association(SPI, OTHER.packed, KEY)], wall=Clock())


def test_a_mobile_node_with_the_key_registers_even_if_its_clock_is_wrong() -> None:
    ha = agent(Clock(), identifier=b"mn@example.com")
    slow = Clock(WALL - 1000)
    mobile = MobileNode(HOME, security=SharedKey(SPI, KEY, wall=slow, identifier=b"mn@example.com"))
    mobile.add_receiver(AGENT)
    packets = mobile.register(AGENT, 1, CARE_OF, now=1.0)
    found = []
    while packets:
        replies = [reply for packet in packets for reply in ha.receive(packet, now=1.0)]
        found += statuses(replies)
        packets = [packet for reply in replies for packet in mobile.receive(reply, now=1.0)]
    assert found == [144, 0]
    assert mobile.update_list(AGENT).care_of[1].address == CARE_OF


def test_a_mobile_node_with_a_key_believes_no_answer_without_it() -> None:
    mobile = MobileNode(HOME, security=SharedKey(SPI, KEY, wall=Clock()))
    mobile.add_receiver(AGENT)
    (packet,) = mobile.register(AGENT, 1, CARE_OF, now=1.0)
    (forged,) = HomeAgent().receive(packet, now=1.0)
    assert mobile.receive(forged, now=1.0) == []
    assert not mobile.update_list(AGENT).care_of
    (right,) = agent(Clock()).receive(packet, now=1.0)
    mobile.receive(right, now=1.0)
    assert mobile.update_list(AGENT).care_of


@pytest.mark.parametrize("option", [
    MobileNodeIdentifier(b"mn@example.com"), MessageAuthentication(4096, bytes(12)), ReplayProtection(1 << 63 | 5),
])  # fmt: skip
def test_the_options_come_back_as_they_went(option: Any) -> None:
    message = BindingUpdate(1, 100, 0xC000, (option,))
    packet = encode_packet(MobilityPacket(CARE_OF, AGENT, message, HOME))
    found = decode_packet(packet)
    assert option in found.message.options  # type: ignore[union-attr]  # its type is known
    assert encode_packet(found) == packet
    assert encode_packet(replace(found, message=found.message)) == packet
