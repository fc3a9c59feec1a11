"""Any value survives the codec; any bytes give a value or a DecodeError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wire_values import PROFILES, messages, packets, without_padding

from flowclass.errors import DecodeError
from flowclass.wire import (
    DRAFT,
    RFC6089,
    Profile,
    decode_message,
    decode_packet,
    encode_message,
    encode_packet,
)

ALL = pytest.mark.parametrize("profile", [DRAFT, RFC6089], ids=lambda p: p.name)


@st.composite
def message_and_profile(draw: st.DrawFn) -> tuple[Any, Profile]:
    profile = draw(PROFILES)
    return draw(messages(profile)), profile


@pytest.mark.req("R12", "R14", "R16", "R33", "K1", "K3")
@given(message_and_profile())
def test_every_message_survives(case: tuple[Any, Profile]) -> None:
    message, profile = case
    octets = encode_message(message, profile=profile)
    assert len(octets) % 8 == 0
    assert len(octets) == 8 + 8 * octets[1]
    received = decode_message(octets, profile)
    assert without_padding(received) == message
    # what was received is a value of its own, padding among it, and is encoded as it was
    assert encode_message(received, profile=profile) == octets
    assert decode_message(encode_message(received, profile=profile), profile) == received


@given(st.data())
@ALL
def test_every_packet_survives(profile: Profile, data: st.DataObject) -> None:
    packet = data.draw(packets(profile))
    octets = encode_packet(packet, profile)
    received = decode_packet(octets, profile)
    assert received.checksum_ok
    assert received.message.checksum != 0xFFFF
    assert without_padding(received.message) == packet.message
    assert (received.source, received.destination) == (packet.source, packet.destination)
    assert (received.home_address, received.routing_home) == (packet.home_address, packet.routing_home)
    assert received.extensions == ()
    assert encode_packet(received, profile) == octets


def attempt(decode: Callable[[bytes, Profile], Any], octets: bytes, profile: Profile) -> Any:
    """What the decoder gives, or None for a DecodeError, whose offset lies in the octets; any other error is raised."""
    error: DecodeError
    try:
        return decode(octets, profile)
    except DecodeError as caught:
        error = caught
    assert 0 <= error.offset <= len(octets)
    return None


def check(octets: bytes, profile: Profile) -> None:
    """A value is a fixpoint of encoding and decoding."""
    message = attempt(decode_message, octets, profile)
    if message is not None:
        again = encode_message(message, profile=profile)
        assert len(again) == len(octets)
        assert decode_message(again, profile) == message
        assert encode_message(decode_message(again, profile), profile=profile) == again


def check_packet(octets: bytes, profile: Profile) -> None:
    packet = attempt(decode_packet, octets, profile)
    if packet is not None:
        again = decode_packet(encode_packet(packet, profile), profile)
        assert again == packet
        assert again.checksum_ok


@given(st.binary(max_size=200), st.sampled_from(range(9)))
@example(b"", 5)
@ALL
def test_any_bytes(profile: Profile, noise: bytes, kind: int) -> None:
    check(noise, profile)
    body = noise[: len(noise) // 8 * 8 + 2]
    body += bytes(-(len(body) - 2) % 8)
    check(bytes((59, len(body) // 8, kind, 0, 0, 0)) + body, profile)


@given(st.data())
@ALL
def test_any_damage(profile: Profile, data: st.DataObject) -> None:
    octets = bytearray(encode_packet(data.draw(packets(profile)), profile))
    for at, octet in data.draw(st.lists(st.tuples(st.integers(0, len(octets) - 1), st.integers(0, 255)), max_size=4)):
        octets[at] = octet
    check_packet(bytes(octets), profile)
    check_packet(bytes(octets[: data.draw(st.integers(0, len(octets)))]), profile)


@given(st.data())
@ALL
def test_damage_in_the_options(profile: Profile, data: st.DataObject) -> None:
    octets = bytearray(encode_message(data.draw(messages(profile)), profile=profile))
    for at in data.draw(st.lists(st.integers(6, len(octets) - 1), min_size=1, max_size=3)):
        octets[at] = data.draw(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 18, 35, 44, 45, 255]) | st.integers(0, 255))
    check(bytes(octets), profile)


@given(st.data())
@ALL
def test_every_truncation_is_an_error(profile: Profile, data: st.DataObject) -> None:
    octets = encode_message(data.draw(messages(profile)), profile=profile)
    for size in range(len(octets)):
        with pytest.raises(DecodeError):
            decode_message(octets[:size], profile)
    with pytest.raises(DecodeError):
        decode_message(octets + b"\0", profile)


@given(message_and_profile())
def test_any_bytes_like_object(case: tuple[Any, Profile]) -> None:
    message, profile = case
    octets = encode_message(message, profile=profile)
    for other in (bytearray(octets), memoryview(octets), memoryview(b"".join(bytes((o, 0)) for o in octets))[::2]):
        assert decode_message(other, profile) == decode_message(octets, profile)
