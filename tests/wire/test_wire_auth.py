"""Return routability: tokens, key and authenticator."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_values import ADDRESS6, options

from flowclass.errors import EncodeError
from flowclass.wire import (
    RFC6089,
    AlternateCareOf,
    BindingAcknowledgement,
    BindingAuthorizationData,
    BindingUpdate,
    MobilityPacket,
    NonceIndices,
    decode_packet,
    encode_message,
    encode_packet,
)
from flowclass.wire.auth import (
    authenticator,
    authorize,
    binding_key,
    care_of_keygen_token,
    home_keygen_token,
    is_authentic,
)

HOME = IPv6Address("2001:db8:1::100")
COA = IPv6Address("2001:db8:a::100")
PEER = IPv6Address("2001:db8:c::7")
KEY = b"\x0b" * 20


def test_tokens_and_key_as_the_rfc_writes_them() -> None:
    # RFC 6275 5.2.5
    node_key, nonce = bytes(range(20)), b"12345678"
    home = hmac.new(node_key, HOME.packed + nonce + bytes((0,)), hashlib.sha1).digest()[:8]
    care_of = hmac.new(node_key, COA.packed + nonce + bytes((1,)), hashlib.sha1).digest()[:8]
    assert home_keygen_token(node_key, HOME, nonce) == home
    assert care_of_keygen_token(node_key, COA, nonce) == care_of
    assert binding_key(home, care_of) == hashlib.sha1(home + care_of).digest()
    # 5.2.6: a de-registration depends on the home keygen token alone
    assert binding_key(home) == hashlib.sha1(home).digest()


@pytest.mark.req("R137")
def test_the_golden_frame_is_authentic(shared: Path) -> None:
    vectors = json.loads((shared / "data" / "vectors" / "mip6.json").read_text())
    (frame,) = (v for v in vectors if v["name"] == "bu_cn_auth")
    octets = bytes.fromhex(frame["hex"])
    packet = decode_packet(octets, RFC6089)
    message = octets[-40:]
    assert message[0] == 59
    assert is_authentic(message, KEY, packet.source, packet.destination)
    # made again from the values
    assert isinstance(packet.message, BindingUpdate)
    bare = replace(packet.message, options=packet.message.options[:-1])
    made = authorize(bare, KEY, packet.source, packet.destination, RFC6089)
    assert encode_packet(replace(packet, message=made), RFC6089) == octets


@given(options(RFC6089, 5), ADDRESS6, ADDRESS6, st.binary(min_size=20, max_size=20), st.data())
def test_what_is_authorized_is_authentic(
    some: tuple[object, ...], care_of: IPv6Address, correspondent: IPv6Address, key: bytes, data: st.DataObject
) -> None:
    plain = tuple(o for o in some if not isinstance(o, BindingAuthorizationData))
    # of any type
    message = authorize(BindingUpdate(1, 2, options=plain), key, care_of, correspondent, RFC6089)  # type: ignore[arg-type]  # a tuple of options
    octets = bytearray(encode_message(message, source=HOME, destination=correspondent, profile=RFC6089))
    assert is_authentic(octets, key, care_of, correspondent)
    assert not is_authentic(octets, key[:-1] + bytes((key[-1] ^ 1,)), care_of, correspondent)
    assert not is_authentic(octets, key, IPv6Address(int(care_of) ^ 1), correspondent)
    assert not is_authentic(octets, key, care_of, IPv6Address(int(correspondent) ^ 1))
    at = data.draw(st.integers(0, len(octets) - 1))
    octets[at] ^= 1
    # the checksum is the one thing that is not covered
    assert is_authentic(octets, key, care_of, correspondent) == (at in (4, 5))


def test_the_authenticator_covers_type_and_length_of_its_option_and_not_the_checksum() -> None:
    message = encode_message(
        BindingAcknowledgement(0, 1, 2, options=(BindingAuthorizationData(bytes(12)),)), source=COA, destination=PEER
    )
    covered = COA.packed + PEER.packed + message[:4] + b"\0\0" + message[6:-12]
    assert covered.endswith(b"\x05\x0c")
    assert authenticator(KEY, COA, PEER, message) == hmac.new(KEY, covered, hashlib.sha1).digest()[:12]


def test_messages_without_an_authenticator() -> None:
    assert not is_authentic(b"", KEY, COA, PEER)
    assert not is_authentic(encode_message(BindingUpdate(1, 2)), KEY, COA, PEER)
    # not the last option
    message = authorize(BindingUpdate(1, 2, options=(NonceIndices(1, 2),)), KEY, COA, PEER)
    octets = encode_message(message)
    assert is_authentic(octets, KEY, COA, PEER)
    assert not is_authentic(octets[:1] + b"\6" + octets[2:] + bytes(8), KEY, COA, PEER)


def test_an_option_given_is_filled_in() -> None:
    blank = BindingUpdate(1, 2, options=(AlternateCareOf(COA), BindingAuthorizationData(bytes(12))))
    bare = BindingUpdate(1, 2, options=(AlternateCareOf(COA),))
    assert authorize(blank, KEY, COA, PEER) == authorize(bare, KEY, COA, PEER)
    packet = MobilityPacket(COA, PEER, authorize(bare, KEY, COA, PEER), home_address=HOME)
    assert is_authentic(encode_packet(packet)[64:], KEY, COA, PEER)
    with pytest.raises(EncodeError):
        authorize(BindingUpdate(1, 2, options=(BindingAuthorizationData(bytes(4)),)), KEY, COA, PEER)
