"""Mobility Header messages (RFC 6275 6.1, RFC 5846) as values.

``options`` hold padding too, see `Verbatim`. ``checksum`` is the one received, or 0; the encoder computes it when it
is given addresses. Lifetimes are in units of 4 seconds, as on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Annotated, ClassVar

from flowclass.addresses import AddressLike
from flowclass.wire.checks import U8, U16
from flowclass.wire.flow_options import FlowIdentification, FlowSummary
from flowclass.wire.lazy import checked_init
from flowclass.wire.numbers import MessageType
from flowclass.wire.options import (
    AlternateCareOf,
    BindingAuthorizationData,
    BindingIdentifier,
    BindingRefreshAdvice,
    IPv4AddressAcknowledgement,
    IPv4CareOf,
    IPv4HomeAddress,
    MalformedOption,
    MessageAuthentication,
    MobileNetworkPrefix,
    MobileNodeIdentifier,
    NatDetection,
    NonceIndices,
    Pad1,
    PadN,
    ReplayProtection,
    UnknownOption,
)

__all__ = [
    "BindingAcknowledgement",
    "BindingError",
    "BindingRefreshRequest",
    "BindingRevocationAcknowledgement",
    "BindingRevocationIndication",
    "BindingUpdate",
    "CareOfTest",
    "CareOfTestInit",
    "HomeTest",
    "HomeTestInit",
    "Message",
    "Option",
    "UnknownMessage",
]

Option = (
    Pad1
    | PadN
    | BindingRefreshAdvice
    | AlternateCareOf
    | NonceIndices
    | BindingAuthorizationData
    | MobileNetworkPrefix
    | MobileNodeIdentifier
    | MessageAuthentication
    | ReplayProtection
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


@checked_init
@dataclass(frozen=True, slots=True)
class BindingRefreshRequest:
    """Asks a mobile node for a binding update (RFC 6275 section 6.1.2).

    If it has BID options, it asks for one about these BIDs (RFC 5648 section 6.4).
    """

    type: ClassVar[int] = MessageType.BINDING_REFRESH_REQUEST.value

    options: tuple[Option, ...] = ()
    checksum: U16 = field(default=0, compare=False)


@checked_init
@dataclass(frozen=True, slots=True)
class HomeTestInit:
    """Asks for a home keygen token (RFC 6275 section 6.1.3); ``cookie`` has 8 octets."""

    type: ClassVar[int] = MessageType.HOME_TEST_INIT.value

    cookie: Annotated[bytes, 8]
    options: tuple[Option, ...] = ()
    checksum: U16 = field(default=0, compare=False)


@checked_init
@dataclass(frozen=True, slots=True)
class CareOfTestInit:
    """Asks for a care-of keygen token (RFC 6275 section 6.1.4); ``cookie`` has 8 octets."""

    type: ClassVar[int] = MessageType.CARE_OF_TEST_INIT.value

    cookie: Annotated[bytes, 8]
    options: tuple[Option, ...] = ()
    checksum: U16 = field(default=0, compare=False)


@checked_init
@dataclass(frozen=True, slots=True)
class HomeTest:
    """Answers a Home Test Init (RFC 6275 section 6.1.5); ``cookie`` and ``token`` have 8 octets each."""

    type: ClassVar[int] = MessageType.HOME_TEST.value

    nonce_index: U16
    cookie: Annotated[bytes, 8]
    token: Annotated[bytes, 8]
    options: tuple[Option, ...] = ()
    checksum: U16 = field(default=0, compare=False)


@checked_init
@dataclass(frozen=True, slots=True)
class CareOfTest:
    """Answers a Care-of Test Init (RFC 6275 section 6.1.6); ``cookie`` and ``token`` have 8 octets each."""

    type: ClassVar[int] = MessageType.CARE_OF_TEST.value

    nonce_index: U16
    cookie: Annotated[bytes, 8]
    token: Annotated[bytes, 8]
    options: tuple[Option, ...] = ()
    checksum: U16 = field(default=0, compare=False)


@checked_init
@dataclass(frozen=True, slots=True)
class BindingUpdate:
    """A binding update (RFC 6275 section 6.1.7); ``flags`` are bits of `UpdateFlag`, and also those without a name."""

    type: ClassVar[int] = MessageType.BINDING_UPDATE.value

    sequence: U16
    lifetime: U16
    flags: U16 = 0
    options: tuple[Option, ...] = ()
    checksum: U16 = field(default=0, compare=False)


@checked_init
@dataclass(frozen=True, slots=True)
class BindingAcknowledgement:
    """Answers a binding update (RFC 6275 section 6.1.8).

    ``status`` is one of `BINDING_STATUS`, and ``flags`` are bits of `AcknowledgementFlag`.
    """

    type: ClassVar[int] = MessageType.BINDING_ACKNOWLEDGEMENT.value

    status: U8
    sequence: U16
    lifetime: U16
    flags: U8 = 0
    options: tuple[Option, ...] = ()
    checksum: U16 = field(default=0, compare=False)


@checked_init
@dataclass(frozen=True, slots=True)
class BindingError:
    """Says that a packet can't be processed (RFC 6275 section 6.1.9); ``status`` is a `BindingErrorStatus`."""

    type: ClassVar[int] = MessageType.BINDING_ERROR.value

    status: U8
    home_address: IPv6Address
    options: tuple[Option, ...] = ()
    checksum: U16 = field(default=0, compare=False)

    if TYPE_CHECKING:

        def __init__(
            self, status: int, home_address: AddressLike, options: tuple[Option, ...] = ..., checksum: int = ...
        ) -> None: ...


@checked_init
@dataclass(frozen=True, slots=True)
class BindingRevocationIndication:
    """Tells a mobile node that its bindings are gone (RFC 5846 section 5.1), or only those of its BID options.

    ``trigger`` is a `RevocationTrigger`, and ``flags`` are bits of `RevocationFlag`.
    """

    type: ClassVar[int] = MessageType.BINDING_REVOCATION.value

    sequence: U16
    trigger: U8 = 0
    flags: U16 = 0
    options: tuple[Option, ...] = ()
    checksum: U16 = field(default=0, compare=False)


@checked_init
@dataclass(frozen=True, slots=True)
class BindingRevocationAcknowledgement:
    """Answers a binding revocation indication, whose sequence number and ``flags`` it has (RFC 5846 section 5.2).

    ``status`` is a `RevocationStatus`.
    """

    type: ClassVar[int] = MessageType.BINDING_REVOCATION.value

    sequence: U16
    status: U8 = 0
    flags: U16 = 0
    options: tuple[Option, ...] = ()
    checksum: U16 = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class UnknownMessage:
    """A message of an unknown type; ``data`` has all octets after the checksum."""

    type: U8
    data: bytes
    checksum: U16 = field(default=0, compare=False)


Message = (
    BindingRefreshRequest
    | HomeTestInit
    | CareOfTestInit
    | HomeTest
    | CareOfTest
    | BindingUpdate
    | BindingAcknowledgement
    | BindingError
    | BindingRevocationIndication
    | BindingRevocationAcknowledgement
    | UnknownMessage
)
