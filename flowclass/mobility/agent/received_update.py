"""A received binding update, with the addresses of its packet and its options sorted by kind."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from flowclass.wire.flow_codec import whole_numbers
from flowclass.wire.flow_options import FlowIdentification, FlowSummary
from flowclass.wire.messages import BindingUpdate, Option
from flowclass.wire.numbers import OptionType, UpdateFlag
from flowclass.wire.options import (
    AlternateCareOf,
    BindingAuthorizationData,
    BindingIdentifier,
    IPv4CareOf,
    IPv4HomeAddress,
    MalformedOption,
    MessageAuthentication,
    MobileNetworkPrefix,
    MobileNodeIdentifier,
    NonceIndices,
    Pad1,
    PadN,
    ReplayProtection,
)
from flowclass.wire.packets import MobilityPacket

__all__ = ["Outcome", "RefusedUpdateError", "SilentlyIgnored", "Update", "collect"]

_OVERWRITE: Final = UpdateFlag.OVERWRITE.value
_FORCE_UDP: Final = UpdateFlag.FORCE_UDP.value
_OVERWRITE_OR_PROXY: Final = (UpdateFlag.OVERWRITE | UpdateFlag.PROXY_REGISTRATION).value


class Update(Struct):
    """The content of one binding update; addresses are packed."""

    packet: MobilityPacket
    home: bytes
    source: bytes
    destination: bytes
    away: bool  # the home address is in a Home Address option; otherwise it is the packet's source
    sequence: int
    flags: int
    lifetime: int  # the requested lifetime, in units of 4 seconds
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
    authorized: frozenset[bytes] | None = None  # care-of addresses whose tokens the embedder has verified
    octets: bytes = b""  # the packet as received, if its octets are needed
    authentication: MessageAuthentication | None = None  # RFC 4285
    timestamp: int | None = None  # RFC 4285, in the format of NTP
    identifier: bytes | None = None  # RFC 4283
    outer: tuple[bytes, int] | None = None  # IPv4 address and UDP port that it came from in UDP (RFC 5555)
    malformed_summary: tuple[int, ...] | None = None  # FIDs that could be read in flow summaries of a wrong length
    malformed_bid: bool = False  # a BID option of a wrong length: the whole update is refused (RFC 5648 section 6.2)

    @property
    def care_of(self) -> bytes:
        """The care-of address of the update itself, regardless of BID options (R57, K18).

        It is the one in the Alternate Care-of Address option, or in the IPv4 one, or the packet's source.
        """
        if self.outer is not None and self.alternate is None:
            return self.outer[0]  # RFC 5555 section 4.4.2: a NAT may have changed the address
        return self.alternate or self.ipv4_care_of or self.source

    @property
    def uses_udp(self) -> bool:
        """Whether packets to the care-of address must be sent in UDP (RFC 5555 sections 3.1.3 and 4.1).

        That is so when a NAT has changed the address, or when the mobile node asks for it with the F flag.
        """
        if self.outer is None:
            return False
        said = self.bids[0].packed if len(self.bids) == 1 else self.ipv4_care_of
        return said != self.outer[0] or bool(self.flags & _FORCE_UDP)

    @property
    def overwrite(self) -> bool:
        """Whether the O flag (overwrite, RFC 5648 section 4.2) is set: bit 0x0040 has this meaning without the P flag
        (K36)."""
        return self.flags & _OVERWRITE_OR_PROXY == _OVERWRITE


class Outcome(Struct):
    """The decision about one binding update."""

    status: int  # of the acknowledgement
    lifetime: int  # granted, in units of 4 seconds
    bids: list[int]  # a status for each BID option
    flows: list[int] | None = None  # a status for each flow identification option; None: flows aren't supported
    missing: list[int] = []  # FIDs of a flow summary that don't exist (RFC 6089 section 5.3.3)
    malformed: tuple[int, ...] = ()  # FIDs of a flow summary whose length is wrong
    router: bool = False
    key_management: bool = False  # the K flag (RFC 6275 10.3.1)
    sequence: int | None = None  # with status 135: the last one that was accepted
    extra: tuple[Option, ...] = ()


class RefusedUpdateError(Exception):
    """The update is refused as a whole: nothing changes, and the acknowledgement has this status."""

    def __init__(self, status: int, sequence: int | None = None, bids: list[int] | None = None) -> None:
        self.status = status
        self.sequence = sequence  # what the acknowledgement carries instead of the update's own (135)
        self.bids = bids  # a status for each BID option; None: zero, the acknowledgement's is theirs


class SilentlyIgnored(Exception):  # nothing went wrong here, so no Error
    """The update is discarded without an answer; ``reason`` is the name of the counter for it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def collect(packet: MobilityPacket, message: BindingUpdate) -> Update:
    """Return the content of a binding update, with its options sorted by kind.

    Unknown options and padding are skipped (R96). If an option that may occur once is repeated, the last one counts.
    """
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
            update.flows.append(option)  # type: ignore[arg-type]  # kind says so
        elif kind is BindingIdentifier:
            update.bids.append(option)  # type: ignore[arg-type]  # kind says so
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
        case MessageAuthentication():
            update.authentication = option
        case ReplayProtection():
            update.timestamp = option.timestamp
        case MobileNodeIdentifier():
            update.identifier = option.identifier
        case BindingAuthorizationData():
            update.authorization = option.authenticator
        case MalformedOption() if option.type == OptionType.BINDING_IDENTIFIER:
            update.malformed_bid = True
        case MalformedOption():  # the only other kind is a flow summary
            update.malformed_summary = (update.malformed_summary or ()) + whole_numbers(option.data)
