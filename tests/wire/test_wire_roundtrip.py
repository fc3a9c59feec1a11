"""Any value survives the codec; any bytes give a value or a DecodeError."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
from fuzz_wire import check_message, check_packet, run
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


@given(st.binary(max_size=200), st.sampled_from(range(9)))
@example(b"", 5)
@ALL
def test_any_bytes(profile: Profile, noise: bytes, kind: int) -> None:
    check_message(noise, profile)
    body = noise[: len(noise) // 8 * 8 + 2]
    body += bytes(-(len(body) - 2) % 8)
    check_message(bytes((59, len(body) // 8, kind, 0, 0, 0)) + body, profile)


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
    check_message(bytes(octets), profile)


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


def test_mutated_packets_are_values_or_errors_and_the_same_ones_each_time() -> None:
    accepted = list(islice(run(1, begin_with=20), 400))
    assert accepted == list(islice(run(1, begin_with=20), 400))
    assert 40 < sum(accepted) < 360
