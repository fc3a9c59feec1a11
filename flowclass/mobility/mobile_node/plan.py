"""The requests of a mobile node as values: care-of addresses, flows, and the binding update that carries them."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from math import inf
from struct import error
from typing import Final, Literal

from flowclass.errors import FlowclassError
from flowclass.wire.flow_options import (
    BindingReference,
    FlowIdentification,
    FlowSummary,
    SubOption,
    TrafficSelectorOption,
)
from flowclass.wire.messages import Option
from flowclass.wire.numbers import Request
from flowclass.wire.options import AlternateCareOf, BindingIdentifier
from flowclass.wire.selectors import TrafficSelector4, TrafficSelector6, encode_selector

from ..arguments import check_number, check_type
from ..cache.node import PLAIN

__all__ = ["CareOfEntry", "FlowEntry", "Plan", "Refusal", "Role"]

Role = Literal["home-agent", "map", "correspondent"]
Address = IPv6Address | IPv4Address
Selector = TrafficSelector4 | TrafficSelector6

ADD: Final = Request.ADD.value
REPLACE: Final = Request.REPLACE.value
REFRESH: Final = Request.REFRESH.value
REMOVE: Final = Request.REMOVE.value

_FIDS_PER_SUMMARY = 127


@dataclass(frozen=True, slots=True)
class CareOfEntry:
    """A care-of address, wanted or known; ``certain`` is False when the receiver may have it or not. It may have it
    until ``lingers``, where that is later than ``expires``."""

    bid: int  # PLAIN: the address is registered without a BID option
    address: Address
    priority: int = 0
    home: bool = False
    expires: float = inf
    refresh_at: float = inf
    certain: bool = True
    lingers: float = 0.0

    def same(self, other: CareOfEntry | None) -> bool:
        return (other is not None and other.certain) and (self.address, self.priority, self.home) == (
            other.address,
            other.priority,
            other.home,
        )


@dataclass(frozen=True, slots=True)
class FlowEntry:
    """A wanted or known flow binding.

    ``certain`` is False when the receiver is known to have the flow, but not with which content. The receiver may have
    the flow until ``lingers``, if that is later than ``expires``.
    """

    fid: int
    pri: int
    action: int
    bids: tuple[int, ...]
    selector: Selector | None = None
    expires: float = inf
    refresh_at: float = inf
    certain: bool = True
    lingers: float = 0.0

    def same(self, other: FlowEntry) -> bool:
        """Whether the receiver is known to have this flow with exactly these attributes; ``other`` is the known
        entry."""
        return other.certain and (self.pri, self.action, self.bids, self.selector) == (
            other.pri,
            other.action,
            other.bids,
            other.selector,
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that a receiver has refused or, if ``status`` is below 128, a remark about something that it accepted.

    ``what`` is "update" (the whole update), "bid", "flow", "flows" or "bids"; the last two say that the receiver
    doesn't support flow bindings or BIDs at all. ``number`` is the BID or FID, or -1 if there is none. ``status`` is
    the status code, or -1 if the acknowledgement has no answer to this request. "revoked" says that the home agent has
    removed a binding, or all of them (RFC 5846); ``status`` is then a `RevocationTrigger`.
    """

    what: Literal["update", "bid", "flow", "flows", "bids", "revoked"]
    number: int
    status: int


@dataclass(slots=True)
class Plan:
    """One binding update to send: its content, and the address that it is sent from."""

    lifetime: int  # units of 4 seconds
    source: IPv6Address | None  # None: sent from the home address
    overwrite: bool = False
    care_of: list[CareOfEntry] = field(default_factory=list)  # to register, or with lifetime 0 to remove
    flows: list[FlowIdentification] = field(default_factory=list)
    entries: dict[int, FlowEntry] = field(default_factory=dict)  # the flows that an Add or Replace in `flows` creates
    summary: tuple[int, ...] = ()
    everything: bool = False  # de-registers all bindings
    alternate: IPv6Address | None = None
    sent: dict[int, float] = field(default_factory=dict)  # sequence number -> time of sending
    resynchronized: int = 0  # how often its sequence number was corrected after status 135

    def options(self) -> tuple[Option, ...]:
        found: list[Option] = []
        for entry in self.care_of:
            if entry.bid != PLAIN:
                address = entry.address if self.lifetime else None
                found.append(BindingIdentifier(entry.bid, address, entry.priority, 0, entry.home))
        found += self.flows
        found += [
            FlowSummary(self.summary[i : i + _FIDS_PER_SUMMARY])
            for i in range(0, len(self.summary), _FIDS_PER_SUMMARY)
        ]  # fmt: skip
        if self.alternate is not None:
            found.append(AlternateCareOf(self.alternate))
        return tuple(found)

    @property
    def secured(self) -> IPv6Address | None:
        """The care-of address whose keygen token has to secure this update at a correspondent node.

        None means that the token of the home address suffices (RFC 6275 section 5.2.6).
        """
        if self.lifetime == 0:
            return None
        address = self.care_of[0].address
        return address if isinstance(address, IPv6Address) else None


def rank(entry: CareOfEntry) -> tuple[int, int]:
    """Return the sort key of a care-of address: the most preferred one sorts first (K13)."""
    return entry.priority or 256, entry.bid


def octets_of(option: FlowIdentification) -> tuple[int, int, int, int]:
    return option.fid, option.pri, option.action, option.pro


def check_flow(entry: FlowEntry) -> None:
    """Check that the parts of a flow have the right types and can be encoded; FlowclassError if not.

    Which values are allowed depends on the profile; the update list checks that.
    """
    check_number("fid", entry.fid, 0, 0xFFFF)
    check_number("pri", entry.pri, 0, 0xFFFF)
    check_number("action", entry.action, 0, 0xFF)
    for bid in entry.bids:
        check_number("bids", bid, 0, 0xFFFF)
    if entry.selector is None:
        return
    check_type(
        "selector", entry.selector, (TrafficSelector4, TrafficSelector6), "a TrafficSelector4 or TrafficSelector6"
    )
    try:
        encode_selector(entry.selector)
    except (AttributeError, TypeError, ValueError, error) as wrong:  # raised by the encoder for a wrong value
        raise FlowclassError(f"selector: {wrong}") from None


def flow_option(
    entry: FlowEntry, request: int, selector: Selector | None = None, bids: tuple[int, ...] = ()
) -> FlowIdentification:
    suboptions: list[SubOption] = [BindingReference(bids)] if bids and entry.bids != (PLAIN,) else []
    if selector is not None:
        suboptions.append(TrafficSelectorOption(selector))
    return FlowIdentification(entry.fid, entry.pri, entry.action, request, 0, tuple(suboptions))
