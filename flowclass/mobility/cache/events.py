"""Events: values that describe the changes in a binding cache, one for each change."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from flowclass.addresses import address_text

__all__ = ["Event", "EventKind"]


class EventKind(StrEnum):
    """The kinds of events; those named "expired" are removals because a lifetime has ended."""

    NODE_ADDED = "node-added"
    NODE_REMOVED = "node-removed"
    BID_ADDED = "bid-added"
    BID_CHANGED = "bid-changed"
    BID_REMOVED = "bid-removed"
    BID_EXPIRED = "bid-expired"
    FLOW_ADDED = "flow-added"
    FLOW_CHANGED = "flow-changed"
    FLOW_REMOVED = "flow-removed"
    FLOW_EXPIRED = "flow-expired"
    DEFAULT_CHANGED = "default-changed"
    PREFIXES_CHANGED = "prefixes-changed"
    REFRESH_DUE = "refresh-due"
    PARAMETER_PROBLEM = "parameter-problem"


class Event(NamedTuple):
    """One change, or one thing to do, for one home address (packed, 16 octets; 4 if a bindings file says so).

    ``number`` is the BID or FID concerned, -1 if there is none. ``address`` is a packed care-of address: the new one
    of a BID that was added or changed, the last one of a BID that was removed or has expired, or the new one of the
    default binding. With REFRESH_DUE, ``bids`` and ``fids`` are about to expire. With PARAMETER_PROBLEM, ``number`` is
    the offset in the packet of the octet at fault, and ``address`` the source of the packet, to which the caller may
    send an ICMPv6 Parameter Problem, code 0 (RFC 6275 section 9.2).
    """

    kind: EventKind
    home: bytes
    number: int = -1
    address: bytes = b""
    bids: tuple[int, ...] = ()
    fids: tuple[int, ...] = ()

    def __repr__(self) -> str:
        shown = [f"kind={self.kind.value!r}", f"home={address_text(self.home)!r}"]
        if self.number != -1:
            shown.append(f"number={self.number}")
        if self.address:
            shown.append(f"address={address_text(self.address)!r}")
        shown += [f"{name}={numbers}" for name, numbers in (("bids", self.bids), ("fids", self.fids)) if numbers]
        return f"Event({', '.join(shown)})"
