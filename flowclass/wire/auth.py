"""Tokens, keys and authenticators of binding updates.

For correspondent nodes, they are those of return routability (RFC 6275 section 5.2). A mobile node and its home agent
can make an authenticator with a key that they share (RFC 4285). The RFCs prescribe SHA-1 and HMAC-SHA1 for this;
nothing else in the project uses them.
"""

from __future__ import annotations

import hmac
from dataclasses import replace
from hashlib import sha1
from ipaddress import IPv6Address
from typing import TypeVar, cast

from flowclass.errors import EncodeError
from flowclass.wire.message_codec import decode_message, encode_message
from flowclass.wire.messages import (
    BindingAcknowledgement,
    BindingRevocationAcknowledgement,
    BindingRevocationIndication,
    BindingUpdate,
)
from flowclass.wire.numbers import OptionType
from flowclass.wire.octets import as_bytes
from flowclass.wire.options import BindingAuthorizationData, MessageAuthentication, Verbatim
from flowclass.wire.profiles import Profile

__all__ = [
    "AUTHENTICATOR_SIZE",
    "authenticate",
    "authenticator",
    "authorize",
    "binding_key",
    "care_of_keygen_token",
    "home_keygen_token",
    "is_authentic",
    "is_authenticated",
    "ntp_seconds",
    "ntp_timestamp",
]

AUTHENTICATOR_SIZE = 12
"""The number of octets of an authenticator, which is the first 96 bits of the MAC (RFC 6275 section 6.2.7)."""

Authorized = TypeVar(
    "Authorized",
    bound=BindingUpdate | BindingAcknowledgement | BindingRevocationIndication | BindingRevocationAcknowledgement,
)

_TOKEN_SIZE = 8
# type and length of the option, and the authenticator: the last octets of an authorized message
_OPTION = bytes((OptionType.BINDING_AUTHORIZATION_DATA, AUTHENTICATOR_SIZE))


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha1")


def home_keygen_token(node_key: bytes, home_address: IPv6Address, nonce: bytes) -> bytes:
    """Return First (64, HMAC_SHA1 (Kcn, (home address | nonce | 0))), 8 octets (RFC 6275 section 5.2.5)."""
    return _hmac(node_key, home_address.packed + nonce + b"\0")[:_TOKEN_SIZE]


def care_of_keygen_token(node_key: bytes, care_of: IPv6Address, nonce: bytes) -> bytes:
    """Return First (64, HMAC_SHA1 (Kcn, (care-of address | nonce | 1))), 8 octets (RFC 6275 section 5.2.5)."""
    return _hmac(node_key, care_of.packed + nonce + b"\1")[:_TOKEN_SIZE]


def binding_key(home_token: bytes, care_of_token: bytes = b"") -> bytes:
    """Return Kbm = SHA1 (home keygen token | care-of keygen token), 20 octets (RFC 6275 section 5.2.6).

    A de-registration has no care-of keygen token.
    """
    return sha1(home_token + care_of_token, usedforsecurity=True).digest()


def authenticator(key: bytes, care_of: IPv6Address, correspondent: IPv6Address, message: bytes) -> bytes:
    """Return First (96, HMAC_SHA1 (Kbm, care-of address | correspondent | MH data)), 12 octets.

    RFC 6275 section 6.2.7 defines it. ``message`` is the whole Mobility Header with a binding authorization data option
    of 12 octets at its end; its checksum and authenticator don't count. ``care_of`` is the alternate care-of address,
    if there is one, and in a de-registration the home address.
    """
    data = message[:4] + b"\0\0" + message[6:-AUTHENTICATOR_SIZE]
    return _hmac(key, care_of.packed + correspondent.packed + data)[:AUTHENTICATOR_SIZE]


def authorize(
    message: Authorized,
    key: bytes,
    care_of: IPv6Address,
    correspondent: IPv6Address,
    profile: str | Profile = "draft",
) -> Authorized:
    """Return the message with its authenticator, in a binding authorization data option at its end.

    The option is added if there is none. The options of the result are `Verbatim`, because the authenticator covers
    their padding: encode it with the same profile, and change nothing but the checksum.
    """
    if not (message.options and type(message.options[-1]) is BindingAuthorizationData):
        message = replace(message, options=(*message.options, BindingAuthorizationData(bytes(AUTHENTICATOR_SIZE))))
    octets = encode_message(message, profile=profile)
    if octets[-AUTHENTICATOR_SIZE - 2 : -AUTHENTICATOR_SIZE] != _OPTION:
        raise EncodeError(f"an authenticator of {AUTHENTICATOR_SIZE} octets must be the last option")
    made = BindingAuthorizationData(authenticator(key, care_of, correspondent, octets))
    laid_out = cast(Authorized, decode_message(octets, profile))
    return replace(laid_out, options=Verbatim((*laid_out.options[:-1], made)))


def is_authentic(
    data: bytes | bytearray | memoryview, key: bytes, care_of: IPv6Address, correspondent: IPv6Address
) -> bool:
    """Whether a received Mobility Header ends with the right authenticator, of 96 bits and without padding.

    ``data`` are octets instead of a message, because the MAC also covers reserved bits. The caller has to check that
    the last option of the message is a `BindingAuthorizationData`. The comparison takes constant time.
    """
    octets = as_bytes(data)
    if len(octets) < 16 or octets[-AUTHENTICATOR_SIZE - 2 : -AUTHENTICATOR_SIZE] != _OPTION:
        return False
    return hmac.compare_digest(octets[-AUTHENTICATOR_SIZE:], authenticator(key, care_of, correspondent, octets))


# ---- a shared key (RFC 4285 5.1): the authenticator covers what stands before it in the message

_OPTIONS_AT = 12  # where the options of a binding update and of an acknowledgement begin
_HOME_AGENT = 1  # the subtype of the option
_SPI_END = 7  # type, length, subtype and SPI

_NTP_EPOCH = 2_208_988_800  # seconds from 1900 to 1970


def ntp_timestamp(seconds: float) -> int:
    """Return seconds since 1970 as an NTP timestamp of 64 bits (RFC 4285 section 6; RFC 5905)."""
    return int((seconds + _NTP_EPOCH) * (1 << 32)) & 0xFFFF_FFFF_FFFF_FFFF


def ntp_seconds(timestamp: int) -> float:
    """Return such a timestamp as seconds since 1970; times in the era that begins in 2036 follow those before it."""
    seconds = timestamp / (1 << 32) - _NTP_EPOCH
    return seconds if seconds >= 0 else seconds + (1 << 32)


def _authenticator_at(octets: bytes) -> int:
    """Return where the authenticator for the home agent begins in a Mobility Header.

    The result is -1 if there is none of the right length.
    """
    at = _OPTIONS_AT
    while at + 2 <= len(octets):
        if octets[at] == OptionType.PAD1:
            at += 1
            continue
        end = at + 2 + octets[at + 1]
        if octets[at] == OptionType.MESSAGE_AUTHENTICATION and octets[at + 2 : at + 3] == bytes((_HOME_AGENT,)):
            return at + _SPI_END if end == at + _SPI_END + AUTHENTICATOR_SIZE <= len(octets) else -1
        at = end
    return -1


def _shared_key_authenticator(key: bytes, care_of: IPv6Address, home: IPv6Address, octets: bytes) -> bytes:
    """Return First (96, HMAC_SHA1 (key, care-of address | home address | MH data)).

    The MH data end with the SPI, and their checksum is taken as zero.
    """
    data = octets[:4] + b"\0\0" + octets[6:]
    return _hmac(key, care_of.packed + home.packed + data)[:AUTHENTICATOR_SIZE]


def authenticate(
    message: Authorized,
    spi: int,
    key: bytes,
    care_of: IPv6Address,
    home: IPv6Address,
    profile: str | Profile = "draft",
) -> Authorized:
    """Return the message with a `MessageAuthentication` at its end, made with a key that both sides share.

    ``care_of`` is the source of the binding update (the destination of the acknowledgement), or its alternate care-of
    address. The options of the result are `Verbatim`, as those of `authorize`.
    """
    empty = MessageAuthentication(spi, bytes(AUTHENTICATOR_SIZE))
    octets = encode_message(replace(message, options=(*message.options, empty)), profile=profile)
    at = _authenticator_at(octets)
    made = _shared_key_authenticator(key, care_of, home, octets[:at])
    return cast(Authorized, decode_message(octets[:at] + made + octets[at + len(made) :], profile))


def is_authenticated(data: bytes | bytearray | memoryview, key: bytes, care_of: IPv6Address, home: IPv6Address) -> bool:
    """Whether a received Mobility Header has the right authenticator of RFC 4285, of 96 bits; in constant time."""
    octets = as_bytes(data)
    at = _authenticator_at(octets)
    if at < 0:
        return False
    made = _shared_key_authenticator(key, care_of, home, octets[:at])
    return hmac.compare_digest(octets[at : at + AUTHENTICATOR_SIZE], made)
