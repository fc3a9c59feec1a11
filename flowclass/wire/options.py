"""Mobility options (RFC 6275 6.2, RFC 3963, RFC 5555, RFC 5648) as values, apart from the flow options (flow.py).

``alignment`` is (modulus, remainder): where the option wants to start, counted from the start of the Mobility Header.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, ClassVar, TypeVar

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

    The decoder returns them so, and the encoder writes them as they stand. A plain tuple, such as any change of this
    one gives, is laid out with the padding that alignment asks for. Equal to a plain tuple of the same values.
    """

    __slots__ = ()


@checked_init
@dataclass(frozen=True, slots=True)
class Pad1:
    """One octet of padding (RFC 6275 6.2.2); also the sub-option of that number."""

    alignment: ClassVar[tuple[int, int]] = (1, 0)


@checked_init
@dataclass(frozen=True, slots=True)
class PadN:
    """Two or more octets of padding (RFC 6275 6.2.3): ``data`` is what follows type and length, zeros if well sent."""

    alignment: ClassVar[tuple[int, int]] = (1, 0)

    data: bytes = b""


@checked_init
@dataclass(frozen=True, slots=True)
class BindingRefreshAdvice:
    """When to refresh (RFC 6275 6.2.4): ``interval`` in units of 4 seconds."""

    alignment: ClassVar[tuple[int, int]] = (2, 0)

    interval: U16


@checked_init
@dataclass(frozen=True, slots=True)
class AlternateCareOf:
    """The care-of address to bind, in place of the packet's source (RFC 6275 6.2.5)."""

    alignment: ClassVar[tuple[int, int]] = (8, 6)

    address: IPv6Address


@checked_init
@dataclass(frozen=True, slots=True)
class NonceIndices:
    """Which nonces of the correspondent node made the keygen tokens (RFC 6275 6.2.6)."""

    alignment: ClassVar[tuple[int, int]] = (2, 0)

    home: U16
    care_of: U16


@checked_init
@dataclass(frozen=True, slots=True)
class BindingAuthorizationData:
    """The authenticator of a message to or from a correspondent node (RFC 6275 6.2.7): always last; see auth.py."""

    alignment: ClassVar[tuple[int, int]] = (8, 2)

    authenticator: bytes


@checked_init
@dataclass(frozen=True, slots=True)
class MobileNetworkPrefix:
    """A prefix behind a mobile router (RFC 3963 4.3); the receiver judges it, with status 141 or 142."""

    alignment: ClassVar[tuple[int, int]] = (8, 4)

    prefix: IPv6Address
    prefix_length: U8


@checked_init
@dataclass(frozen=True, slots=True)
class MobileNodeIdentifier:
    """Who sends, by name (RFC 4283 3): with subtype 1 a network access identifier, such as b"user@example.com"."""

    alignment: ClassVar[tuple[int, int]] = (1, 0)

    identifier: bytes
    subtype: U8 = 1


@checked_init
@dataclass(frozen=True, slots=True)
class MessageAuthentication:
    """The authenticator of a message between a mobile node and its home agent (RFC 4285 5), or with subtype 2 its AAA
    server: what is authenticated ends with ``spi``. Last of the options; see auth.py."""

    alignment: ClassVar[tuple[int, int]] = (4, 1)

    spi: U32
    authenticator: bytes
    subtype: U8 = 1


@checked_init
@dataclass(frozen=True, slots=True)
class ReplayProtection:
    """When a message was made (RFC 4285 6): ``timestamp`` as NTP has it, 64 bits, seconds since 1900 in the upper
    half."""

    alignment: ClassVar[tuple[int, int]] = (8, 2)

    timestamp: U64


@checked_init
@dataclass(frozen=True, slots=True)
class BindingIdentifier(Received):
    """A care-of address by number (RFC 5648 4.3, RFC 6089 4.1).

    ``priority`` is BID-PRI: lower is preferred, 0 is none given. ``home`` is the H flag (home and foreign at once).
    ``care_of`` is present in binding updates only. ``status`` counts in acknowledgements and care-of tests only.
    """

    _late: ClassVar[tuple[str, ...]] = ("care_of",)

    bid: U16
    care_of: IPv6Address | IPv4Address | None = None
    priority: U8 = 0
    status: U8 = 0
    home: bool = False

    def _complete(self) -> None:
        octets: bytes = self._octets
        _set_care_of(self, (IPv6Address if len(octets) == 16 else IPv4Address)(int.from_bytes(octets)))

    @property
    def packed(self) -> bytes | None:
        """``care_of``, packed."""
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
    """An IPv4 home address, or 0.0.0.0 to ask for one (RFC 5555 3.1.1); ``request_prefix`` is the P flag."""

    alignment: ClassVar[tuple[int, int]] = (4, 0)

    address: IPv4Address
    prefix_length: Annotated[int, 6] = 32
    request_prefix: bool = False


@checked_init
@dataclass(frozen=True, slots=True)
class IPv4AddressAcknowledgement:
    """The answer to an IPv4 home address option (RFC 5555 3.2.1)."""

    alignment: ClassVar[tuple[int, int]] = (4, 0)

    address: IPv4Address
    status: U8 = 0
    prefix_length: Annotated[int, 6] = 32


@checked_init
@dataclass(frozen=True, slots=True)
class NatDetection:
    """A NAT was found, or UDP is wanted anyway (RFC 5555 3.2.2): ``refresh_time`` in seconds, all ones: no NAT."""

    alignment: ClassVar[tuple[int, int]] = (4, 0)

    refresh_time: U32
    force_udp: bool = False


@checked_init
@dataclass(frozen=True, slots=True)
class IPv4CareOf:
    """An IPv4 care-of address (RFC 5555 3.1.2); must not accompany a binding identifier (RFC 5648 8.1)."""

    alignment: ClassVar[tuple[int, int]] = (4, 0)

    address: IPv4Address


@checked_init
@dataclass(frozen=True, slots=True)
class UnknownOption:
    """An option that this codec or profile does not know: skipped by receivers (R96), kept for a round trip."""

    alignment: ClassVar[tuple[int, int]] = (1, 0)

    type: U8
    data: bytes


@checked_init
@dataclass(frozen=True, slots=True)
class MalformedOption:
    """An option whose fault has an answer of its own, so that the message must stay readable.

    Two make one. For a binding identifier of a wrong length the whole binding update is refused with status 164
    (RFC 5648 4.4). For a flow summary of a wrong length (RFC 6089 4.2.2) only what it says of flows is. ``offset`` is
    that of the fault, from the start of what was decoded.
    """

    alignment: ClassVar[tuple[int, int]] = (1, 0)

    type: U8
    data: bytes
    reason: str = field(default="", compare=False)
    offset: int = field(default=0, compare=False)
