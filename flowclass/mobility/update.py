"""A binding update as its receiver sees it: the packet's addresses and the options sorted by kind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from flowclass.wire.flow import FlowIdentification, FlowSummary
from flowclass.wire.messages import BindingUpdate
from flowclass.wire.options import (
    AlternateCareOf,
    BindingAuthorizationData,
    BindingIdentifier,
    IPv4CareOf,
    IPv4HomeAddress,
    MalformedOption,
    MobileNetworkPrefix,
    NonceIndices,
    Pad1,
    PadN,
)
from flowclass.wire.packets import MobilityPacket

from .state import Prefix

__all__ = ["Update", "collect", "in_prefixes", "is_routable", "not_greater", "stays_on_link"]

ACKNOWLEDGE: Final = 0x8000
HOME_REGISTRATION: Final = 0x4000
MAP_REGISTRATION: Final = 0x0800
MOBILE_ROUTER: Final = 0x0400
PROXY_REGISTRATION: Final = 0x0200
FORCE_UDP: Final = 0x0100
OVERWRITE: Final = 0x0040

BINDING_IDENTIFIER: Final = 35


class Update(Struct):
    """The facts of one binding update; addresses are packed."""

    packet: MobilityPacket
    home: bytes
    source: bytes
    destination: bytes
    away: bool  # the home address came in a Home Address option; else it's the packet's source
    sequence: int
    flags: int
    lifetime: int  # as asked for, in units of 4 seconds
    bids: list[BindingIdentifier] = []
    flows: list[FlowIdentification] = []
    summary: tuple[int, ...] = ()
    alternate: bytes | None = None
    ipv4_care_of: bytes | None = None
    ipv4_homes: tuple[IPv4HomeAddress, ...] = ()
    prefixes: tuple[MobileNetworkPrefix, ...] = ()
    nonces: NonceIndices | None = None
    authorization: bytes | None = None
    key: bytes | None = None  # the binding management key that secured it (correspondent node)
    authorized: frozenset[bytes] | None = None  # care-of addresses with tokens, as the embedder has found
    octets: bytes = b""  # the packet as received, where the octets themselves count
    malformed_bid: bool = False  # a BID option of a wrong length: the whole update is refused (RFC 5648 section 6.2)

    @property
    def care_of(self) -> bytes:
        """The care-of address of the update itself, BID options apart: alternate, IPv4, else source (R57, K18)."""
        return self.alternate or self.ipv4_care_of or self.source

    @property
    def overwrite(self) -> bool:
        """The O flag: bit 0x0040 means it only without P (K36), and only with BID options (RFC 5648 section 4.2)."""
        return self.flags & (OVERWRITE | PROXY_REGISTRATION) == OVERWRITE


def collect(packet: MobilityPacket, message: BindingUpdate) -> Update:
    """Sort the options; unknown ones and padding are skipped (R96). Of a second one of a kind that is there once, the
    last counts."""
    source, destination, home, _ = packet.addresses
    update = Update(
        packet,
        home or source,
        source,
        destination,
        home is not None,
        message.sequence,
        message.flags,
        message.lifetime,
    )
    for option in message.options:
        kind = type(option)
        if kind is FlowIdentification:
            update.flows.append(option)  # type: ignore[arg-type]
        elif kind is BindingIdentifier:
            update.bids.append(option)  # type: ignore[arg-type]
        elif kind is not PadN and kind is not Pad1:
            _collect_rare(update, option)
    return update


def _collect_rare(update: Update, option: object) -> None:
    match option:
        case FlowSummary():
            update.summary += option.fids
        case AlternateCareOf():
            update.alternate = option.address.packed
        case IPv4CareOf():
            update.ipv4_care_of = option.address.packed
        case IPv4HomeAddress():
            update.ipv4_homes += (option,)
        case MobileNetworkPrefix():
            update.prefixes += (option,)
        case NonceIndices():
            update.nonces = option
        case BindingAuthorizationData():
            update.authorization = option.authenticator
        case MalformedOption():
            update.malformed_bid |= option.type == BINDING_IDENTIFIER


_NOT_ROUTABLE: Final = (bytes(12), bytes(10) + b"\xff\xff")


def is_routable(address: bytes) -> bool:
    """A unicast routable address: one that another subnet can send to (RFC 6275 section 3.1)."""
    first = address[0]
    if len(address) == 4:
        return 0 < first < 224 and first != 127 and address[:2] != b"\xa9\xfe"
    if first == 0xFF or (first == 0xFE and address[1] & 0xC0 == 0x80):
        return False  # multicast, link-local
    # unspecified, loopback, IPv4-compatible; IPv4-mapped
    return first != 0 or not (address.startswith(_NOT_ROUTABLE))


def stays_on_link(address: bytes) -> bool:
    """Link-local, or multicast whose scope ends with the link: in nobody's prefix (fib_stays_on_link in csrc)."""
    if len(address) == 4:
        return address[:2] == b"\xa9\xfe" or address[:3] == b"\xe0\0\0" or address == b"\xff\xff\xff\xff"
    return (address[0] == 0xFE and address[1] & 0xC0 == 0x80) or (address[0] == 0xFF and address[1] & 15 <= 2)


def in_prefixes(address: bytes, prefixes: Iterable[Prefix]) -> bool:
    """Whether an address lies in one of them; packed, as they are."""
    number = int.from_bytes(address, "big")
    return any(
        len(network) == len(address)
        and (number ^ int.from_bytes(network, "big")) >> (8 * len(network) - length) == 0
        for network, length in prefixes
    )  # fmt: skip


def not_greater(received: int, last: int) -> bool:
    """Whether a sequence number is too old: the last one and the 32768 before it (RFC 6275 section 9.5.1)."""
    return (last - received) & 0xFFFF <= 32768
