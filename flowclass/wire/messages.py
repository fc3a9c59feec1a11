"""Mobility Header messages (RFC 6275 6.1) as values.

``options`` hold padding too, see `Verbatim`. ``checksum`` is the one received, or 0; the encoder computes it when it
is given addresses. Lifetimes are in units of 4 seconds, as on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag
from ipaddress import IPv6Address
from typing import ClassVar

from flowclass.wire.flow import FlowIdentification, FlowSummary
from flowclass.wire.options import (
    AlternateCareOf,
    BindingAuthorizationData,
    BindingIdentifier,
    BindingRefreshAdvice,
    IPv4AddressAcknowledgement,
    IPv4CareOf,
    IPv4HomeAddress,
    MalformedOption,
    MobileNetworkPrefix,
    NatDetection,
    NonceIndices,
    Pad1,
    PadN,
    UnknownOption,
)
from flowclass.wire.values import fast_init

__all__ = [
    "BINDING_STATUS",
    "LIFETIME_UNIT",
    "AcknowledgementFlag",
    "BindingAcknowledgement",
    "BindingError",
    "BindingRefreshRequest",
    "BindingUpdate",
    "CareOfTest",
    "CareOfTestInit",
    "HomeTest",
    "HomeTestInit",
    "Message",
    "Option",
    "UnknownMessage",
    "UpdateFlag",
]

LIFETIME_UNIT = 4
"""Seconds in one unit of a lifetime or refresh interval."""

Option = (
    Pad1
    | PadN
    | BindingRefreshAdvice
    | AlternateCareOf
    | NonceIndices
    | BindingAuthorizationData
    | MobileNetworkPrefix
    | BindingIdentifier
    | FlowIdentification
    | FlowSummary
    | IPv4HomeAddress
    | IPv4AddressAcknowledgement
    | NatDetection
    | IPv4CareOf
    | UnknownOption
    | MalformedOption
)


class UpdateFlag(IntFlag):
    """Flags of a binding update. 0x0040 is RFC 5648's O unless P is set, then RFC 6602's B (K36)."""

    ACKNOWLEDGE = 0x8000
    HOME_REGISTRATION = 0x4000
    LINK_LOCAL = 0x2000
    KEY_MANAGEMENT = 0x1000
    MAP_REGISTRATION = 0x0800
    MOBILE_ROUTER = 0x0400
    PROXY_REGISTRATION = 0x0200
    FORCE_UDP = 0x0100
    TLV_HEADER = 0x0080
    OVERWRITE = 0x0040
    SUBSCRIPTION = 0x0020
    DNS_UPDATE = 0x0010


class AcknowledgementFlag(IntFlag):
    """Flags of a binding acknowledgement."""

    KEY_MANAGEMENT = 0x80
    MOBILE_ROUTER = 0x40
    PROXY_REGISTRATION = 0x20
    TLV_HEADER = 0x10
    BULK = 0x08


BINDING_STATUS = {
    0: "accepted",
    1: "accepted but prefix discovery necessary",
    4: "MCOA NOTCOMPLETE",
    5: "MCOA RETURNHOME WO/NDP",
    128: "reason unspecified",
    129: "administratively prohibited",
    130: "insufficient resources",
    131: "home registration not supported",
    132: "not home subnet",
    133: "not home agent for this mobile node",
    134: "duplicate address detection failed",
    135: "sequence number out of window",
    136: "expired home nonce index",
    137: "expired care-of nonce index",
    138: "expired nonces",
    139: "registration type change disallowed",
    140: "mobile router operation not permitted",
    141: "invalid prefix",
    142: "not authorized for prefix",
    143: "forwarding setup failed",
    164: "MCOA MALFORMED",
    165: "MCOA NON-MCOA BINDING EXISTS",
    166: "MCOA PROHIBITED",
    167: "MCOA UNKNOWN COA",
    168: "MCOA BULK REGISTRATION PROHIBITED",
    169: "MCOA SIMULTANEOUS HOME AND FOREIGN PROHIBITED",
    174: "invalid care-of address",
}
"""Status of a binding acknowledgement, and of a binding identifier in one (IANA registry)."""


@dataclass(frozen=True, slots=True)
class BindingRefreshRequest:
    """Asks a mobile node for a binding update (RFC 6275 6.1.2); with BID options: for these (RFC 5648 6.4)."""

    type: ClassVar[int] = 0

    options: tuple[Option, ...] = ()
    checksum: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class HomeTestInit:
    """RFC 6275 6.1.3; ``cookie`` has 8 octets."""

    type: ClassVar[int] = 1

    cookie: bytes
    options: tuple[Option, ...] = ()
    checksum: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class CareOfTestInit:
    """RFC 6275 6.1.4; ``cookie`` has 8 octets."""

    type: ClassVar[int] = 2

    cookie: bytes
    options: tuple[Option, ...] = ()
    checksum: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class HomeTest:
    """RFC 6275 6.1.5; ``cookie`` and ``token`` have 8 octets each."""

    type: ClassVar[int] = 3

    nonce_index: int
    cookie: bytes
    token: bytes
    options: tuple[Option, ...] = ()
    checksum: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class CareOfTest:
    """RFC 6275 6.1.6; ``cookie`` and ``token`` have 8 octets each."""

    type: ClassVar[int] = 4

    nonce_index: int
    cookie: bytes
    token: bytes
    options: tuple[Option, ...] = ()
    checksum: int = field(default=0, compare=False)


@fast_init
@dataclass(frozen=True, slots=True)
class BindingUpdate:
    """RFC 6275 6.1.7; ``flags`` are `UpdateFlag` bits, those without a name among them."""

    type: ClassVar[int] = 5

    sequence: int
    lifetime: int
    flags: int = 0
    options: tuple[Option, ...] = ()
    checksum: int = field(default=0, compare=False)


@fast_init
@dataclass(frozen=True, slots=True)
class BindingAcknowledgement:
    """RFC 6275 6.1.8; ``status`` is one of `BINDING_STATUS`, ``flags`` are `AcknowledgementFlag` bits."""

    type: ClassVar[int] = 6

    status: int
    sequence: int
    lifetime: int
    flags: int = 0
    options: tuple[Option, ...] = ()
    checksum: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class BindingError:
    """RFC 6275 6.1.9; ``status`` 1: unknown binding for a Home Address option, 2: unrecognized message type."""

    type: ClassVar[int] = 7

    status: int
    home_address: IPv6Address
    options: tuple[Option, ...] = ()
    checksum: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class UnknownMessage:
    """A message of another type; ``data`` is what follows the checksum, options unread."""

    type: int
    data: bytes
    checksum: int = field(default=0, compare=False)


Message = (
    BindingRefreshRequest
    | HomeTestInit
    | CareOfTestInit
    | HomeTest
    | CareOfTest
    | BindingUpdate
    | BindingAcknowledgement
    | BindingError
    | UnknownMessage
)
