"""Return routability: tokens, keys and the authenticator of a binding update to a correspondent node (RFC 6275 5.2).

SHA-1 and HMAC-SHA1 are what the RFC prescribes here; nothing else of the project uses them.
"""

from __future__ import annotations

import hmac
from dataclasses import replace
from hashlib import sha1
from ipaddress import IPv6Address
from typing import TypeVar, cast

from flowclass.errors import EncodeError
from flowclass.wire.message_codec import decode_message, encode_message
from flowclass.wire.messages import BindingAcknowledgement, BindingUpdate
from flowclass.wire.numbers import OptionType
from flowclass.wire.octets import as_bytes
from flowclass.wire.options import BindingAuthorizationData, Verbatim
from flowclass.wire.profiles import Profile

__all__ = [
    "AUTHENTICATOR_SIZE",
    "authenticator",
    "authorize",
    "binding_key",
    "care_of_keygen_token",
    "home_keygen_token",
    "is_authentic",
]

AUTHENTICATOR_SIZE = 12
"""Octets: the first 96 bits of the MAC (RFC 6275 6.2.7)."""

Authorized = TypeVar("Authorized", bound=BindingUpdate | BindingAcknowledgement)

_TOKEN_SIZE = 8
# type and length of the option, and the authenticator: the last octets of an authorized message
_OPTION = bytes((OptionType.BINDING_AUTHORIZATION_DATA, AUTHENTICATOR_SIZE))


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha1")


def home_keygen_token(node_key: bytes, home_address: IPv6Address, nonce: bytes) -> bytes:
    """First (64, HMAC_SHA1 (Kcn, (home address | nonce | 0))), 8 octets (RFC 6275 5.2.5)."""
    return _hmac(node_key, home_address.packed + nonce + b"\0")[:_TOKEN_SIZE]


def care_of_keygen_token(node_key: bytes, care_of: IPv6Address, nonce: bytes) -> bytes:
    """First (64, HMAC_SHA1 (Kcn, (care-of address | nonce | 1))), 8 octets (RFC 6275 5.2.5)."""
    return _hmac(node_key, care_of.packed + nonce + b"\1")[:_TOKEN_SIZE]


def binding_key(home_token: bytes, care_of_token: bytes = b"") -> bytes:
    """Kbm = SHA1 (home keygen token | care-of keygen token), 20 octets; a de-registration has no care-of token."""
    return sha1(home_token + care_of_token, usedforsecurity=True).digest()


def authenticator(key: bytes, care_of: IPv6Address, correspondent: IPv6Address, message: bytes) -> bytes:
    """First (96, HMAC_SHA1 (Kbm, care-of address | correspondent | MH data)), 12 octets (RFC 6275 6.2.7).

    ``message`` is the whole Mobility Header with a binding authorization data option of 12 octets at its end; checksum
    and authenticator in it do not count. ``care_of`` is the alternate care-of address where there is one, and on
    de-registration the home address.
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
    """The message with its authenticator: that of a binding authorization data option added, or filled in, at its end.

    The options come back `Verbatim`, since the authenticator covers their padding: encode the result with the same
    profile and change nothing of it but the checksum.
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
    """Whether a Mobility Header as received ends with the right authenticator, of 96 bits and without padding.

    Takes octets, not a message, because the MAC covers reserved bits too. That the message's last option is a
    `BindingAuthorizationData` is for the caller to see. Compares in constant time.
    """
    octets = as_bytes(data)
    if len(octets) < 16 or octets[-AUTHENTICATOR_SIZE - 2 : -AUTHENTICATOR_SIZE] != _OPTION:
        return False
    return hmac.compare_digest(octets[-AUTHENTICATOR_SIZE:], authenticator(key, care_of, correspondent, octets))
