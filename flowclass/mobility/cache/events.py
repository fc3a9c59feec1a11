"""What changed in a binding cache, one value per change."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

__all__ = ["Event", "EventKind"]


class EventKind(StrEnum):
    """What may happen; "expired" ones are removals that time made."""

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
    """One change, or one thing to do, for one home address (packed, 16 octets; 4 where a file says so).

    ``number`` is the BID or FID concerned, -1 where there is none. ``address`` is the packed care-of address that a
    BID has from now on (added, changed) or had (removed, expired), and the default's new one.
    REFRESH_DUE: ``bids`` and ``fids`` are about to expire. PARAMETER_PROBLEM: ``number`` is the octet at fault, counted
    from the start of the packet, ``address`` the source of the packet (RFC 6275 section 9.2: the caller may send it an
    ICMPv6 Parameter Problem, code 0).
    """

    kind: EventKind
    home: bytes
    number: int = -1
    address: bytes = b""
    bids: tuple[int, ...] = ()
    fids: tuple[int, ...] = ()
