"""Mobility options as values (RFC 6275 section 6.2, RFC 3963, RFC 5555, RFC 5648); flow_options.py has those for flows.

The ``alignment`` of an option is a pair (modulus, remainder): it should begin at an octet of the Mobility Header whose
number has this remainder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from flowclass.addresses import AddressLike
from flowclass.wire.checks import U8, U16, U32, U64
from flowclass.wire.lazy import Received, checked_init, received

__all__ = [
    "AlternateCareOf",
    "BindingAuthorizationData",
    "BindingIdentifier",
    "BindingRefreshAdvice",
    "IPv4AddressAcknowledgement",
    "IPv4CareOf",
    "IPv4HomeAddress",
    "MalformedOption",
    "MessageAuthentication",
    "MobileNetworkPrefix",
    "MobileNodeIdentifier",
    "NatDetection",
    "NonceIndices",
    "Pad1",
    "PadN",
    "ReplayProtection",
    "UnknownOption",
    "Verbatim",
]

T_co = TypeVar("T_co", covariant=True)


class Verbatim(tuple[T_co, ...]):
    """Options, or sub-options, exactly as they are on the wire, with their padding.

    The decoder returns them in this form, and the encoder writes them unchanged. In a plain tuple, such as the result
    of any change of this one, the encoder inserts the padding that alignment needs. It equals a plain tuple of the same
    values.
    """

    __slots__ = ()


@checked_init
@dataclass(frozen=True, slots=True)
class Pad1:
    """One octet of padding (RFC 6275 section 6.2.2), as an option or as a sub-option."""

    alignment: ClassVar[tuple[int, int]] = (1, 0)


@checked_init
@dataclass(frozen=True, slots=True)
class PadN:
    """Two or more octets of padding (RFC 6275 section 6.2.3).

    ``data`` are the octets after type and length; senders set them to zero.
    """

    alignment: ClassVar[tuple[int, int]] = (1, 0)

    data: bytes = b""


@checked_init
@dataclass(frozen=True, slots=True)
class BindingRefreshAdvice:
    """Advises when to refresh a binding (RFC 6275 section 6.2.4); ``interval`` is in units of 4 seconds."""

    alignment: ClassVar[tuple[int, int]] = (2, 0)

    interval: U16


@checked_init
@dataclass(frozen=True, slots=True)
class AlternateCareOf:
    """The care-of address to bind instead of the source of the packet (RFC 6275 section 6.2.5)."""

    alignment: ClassVar[tuple[int, int]] = (8, 6)

    address: IPv6Address

    if TYPE_CHECKING:

        def __init__(self, address: AddressLike) -> None: ...


@checked_init
@dataclass(frozen=True, slots=True)
class NonceIndices:
    """The indices of the nonces with which the correspondent node made the tokens (RFC 6275 section 6.2.6)."""

    alignment: ClassVar[tuple[int, int]] = (2, 0)

    home: U16
    care_of: U16


@checked_init
@dataclass(frozen=True, slots=True)
class BindingAuthorizationData:
    """The authenticator of a message to or from a correspondent node (RFC 6275 section 6.2.7).

    It is always the last option; auth.py makes and verifies it.
    """

    alignment: ClassVar[tuple[int, int]] = (8, 2)

    authenticator: bytes


@checked_init
@dataclass(frozen=True, slots=True)
class MobileNetworkPrefix:
    """A prefix behind a mobile router (RFC 3963 section 4.3); receivers refuse wrong ones with status 141 or 142."""

    alignment: ClassVar[tuple[int, int]] = (8, 4)

    prefix: IPv6Address
    prefix_length: U8

    if TYPE_CHECKING:

        def __init__(self, prefix: AddressLike, prefix_length: int) -> None: ...


@checked_init
@dataclass(frozen=True, slots=True)
class MobileNodeIdentifier:
    """The name of the sender (RFC 4283 section 3).

    With subtype 1 it is a network access identifier, such as b"user@example.com".
    """

    alignment: ClassVar[tuple[int, int]] = (1, 0)

    identifier: bytes
    subtype: U8 = 1


@checked_init
@dataclass(frozen=True, slots=True)
class MessageAuthentication:
    """The authenticator of a message between a mobile node and its home agent (RFC 4285 section 5).

    With subtype 2 it is made for the AAA server. It covers the message up to ``spi``, and is the last option; auth.py
    makes and verifies it.
    """

    alignment: ClassVar[tuple[int, int]] = (4, 1)

    spi: U32
    authenticator: bytes
    subtype: U8 = 1


@checked_init
@dataclass(frozen=True, slots=True)
class ReplayProtection:
    """The time at which a message was made (RFC 4285 section 6).

    ``timestamp`` has the format of NTP: 64 bits, of which the upper 32 are the seconds since 1900.
    """

    alignment: ClassVar[tuple[int, int]] = (8, 2)

    timestamp: U64


@checked_init
@dataclass(frozen=True, slots=True)
class BindingIdentifier(Received):
    """A binding by its number, the BID, with its care-of address (RFC 5648 section 4.3, RFC 6089 section 4.1).

    ``priority`` is BID-PRI: lower numbers are preferred, and 0 means that none is given. ``home`` is the H flag: the
    node is at home and in a foreign network at once. Only binding updates have ``care_of``. ``status`` has a meaning in
    acknowledgements and care-of tests only.
    """

    _late: ClassVar[tuple[str, ...]] = ("care_of",)

    bid: U16
    care_of: IPv6Address | IPv4Address | None = None
    priority: U8 = 0
    status: U8 = 0
    home: bool = False

    if TYPE_CHECKING:

        def __init__(
            self,
            bid: int,
            care_of: AddressLike | None = ...,
            priority: int = ...,
            status: int = ...,
            home: bool = ...,
        ) -> None: ...

    def _complete(self) -> None:
        octets: bytes = self._octets
        _set_care_of(self, (IPv6Address if len(octets) == 16 else IPv4Address)(int.from_bytes(octets)))

    @property
    def packed(self) -> bytes | None:
        """The packed care-of address, or None."""
        octets: bytes | None = getattr(self, "_octets", None)
        if octets is None and self.care_of is not None:
            octets = self.care_of.packed
        return octets

    @property
    def alignment(self) -> tuple[int, int]:
        """Where the option begins in a message: (n, offset) is a multiple of n, plus offset (RFC 5648 section 4.3)."""
        return (2, 0) if self.care_of is None else (8, 2)


_set_care_of: Any = BindingIdentifier.__dict__["care_of"].__set__
received_bid: Callable[..., BindingIdentifier] = received(BindingIdentifier)


@checked_init
@dataclass(frozen=True, slots=True)
class IPv4HomeAddress:
    """An IPv4 home address, or 0.0.0.0 to ask for one (RFC 5555 section 3.1.1); ``request_prefix`` is the P flag."""

    alignment: ClassVar[tuple[int, int]] = (4, 0)

    address: IPv4Address
    prefix_length: Annotated[int, 6] = 32
    request_prefix: bool = False

    if TYPE_CHECKING:

        def __init__(self, address: AddressLike, prefix_length: int = ..., request_prefix: bool = ...) -> None: ...


@checked_init
@dataclass(frozen=True, slots=True)
class IPv4AddressAcknowledgement:
    """The answer to an IPv4 home address option (RFC 5555 section 3.2.1)."""

    alignment: ClassVar[tuple[int, int]] = (4, 0)

    address: IPv4Address
    status: U8 = 0
    prefix_length: Annotated[int, 6] = 32

    if TYPE_CHECKING:

        def __init__(self, address: AddressLike, status: int = ..., prefix_length: int = ...) -> None: ...


@checked_init
@dataclass(frozen=True, slots=True)
class NatDetection:
    """Says that a NAT was found, or that UDP is to be used without one (RFC 5555 section 3.2.2).

    ``refresh_time`` is in seconds; the value with all bits set stands for no NAT.
    """

    alignment: ClassVar[tuple[int, int]] = (4, 0)

    refresh_time: U32
    force_udp: bool = False


@checked_init
@dataclass(frozen=True, slots=True)
class IPv4CareOf:
    """An IPv4 care-of address (RFC 5555 section 3.1.2), which isn't used beside a BID option (RFC 5648 section 8.1)."""

    alignment: ClassVar[tuple[int, int]] = (4, 0)

    address: IPv4Address

    if TYPE_CHECKING:

        def __init__(self, address: AddressLike) -> None: ...


@checked_init
@dataclass(frozen=True, slots=True)
class UnknownOption:
    """An option that the profile doesn't know.

    Receivers skip it (R96). Its type and data are kept, so that encoding gives the same octets again.
    """

    alignment: ClassVar[tuple[int, int]] = (1, 0)

    type: U8
    data: bytes


@checked_init
@dataclass(frozen=True, slots=True)
class MalformedOption:
    """A binding identifier or a flow summary of a wrong length; the rest of the message stays readable for the answer.

    For a wrong binding identifier, the whole binding update is refused with status 164 (RFC 5648 section 4.4). A wrong
    flow summary (RFC 6089 section 4.2.2) concerns flows alone. ``reason`` says what is wrong, and ``offset`` where,
    counted from the beginning of what was decoded.
    """

    alignment: ClassVar[tuple[int, int]] = (1, 0)

    type: U8
    data: bytes
    reason: str = field(default="", compare=False)
    offset: int = field(default=0, compare=False)
