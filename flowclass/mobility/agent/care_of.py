"""Care-of addresses of one node: binding identifier options (RFC 5648 section 6.2), plain updates, mobile network
prefixes (RFC 3963 section 6.2). Works on a transaction's working copy.

A status that concerns one of several BIDs goes into that BID's option and the acknowledgement has 4, MCOA NOTCOMPLETE;
one that concerns the only BID there is, or the update as a whole, is the acknowledgement's (RFC 5648 section 6.2, last
paragraphs).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Final

from msgspec import Struct

from flowclass.wire.numbers import REFUSED, BindingStatus, UpdateFlag
from flowclass.wire.options import BindingIdentifier

from ..addresses import Prefix, is_routable
from ..cache.node import PLAIN, CareOf, Node
from ..settings import Capabilities, Limits, Switches
from .received_update import Update

__all__ = ["BindingContext", "RefusedUpdateError", "SilentlyIgnored", "deregister_bids", "network_prefixes", "register"]


_MOBILE_ROUTER: Final = UpdateFlag.MOBILE_ROUTER.value


class RefusedUpdateError(Exception):
    """The update is refused as a whole: an acknowledgement with this status, and nothing changes."""

    def __init__(self, status: int, sequence: int | None = None) -> None:
        self.status = status
        self.sequence = sequence  # what the acknowledgement carries instead of the update's own (135)


class SilentlyIgnored(Exception):  # nothing went wrong here, so no Error
    """The update is discarded without an answer; `reason` is a counter's name."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class BindingContext(Struct):
    """What the care-of addresses of one update are judged by."""

    node: Node
    update: Update
    switches: Switches
    limits: Limits
    capabilities: Capabilities
    expires: float
    refresh_at: float
    correspondent: bool = False
    keeps_registered: bool = True  # K37: the draft's reading of an update without BID option


def register(context: BindingContext) -> tuple[int, list[int], int | None]:
    """Register what an update with a lifetime asks for.

    Returns the status of the acknowledgement, one for each BID option, and the BID of the update's own care-of address
    (K18; None: it has no binding, or several). Raises `RefusedUpdateError`.
    """
    update = context.update
    if update.malformed_bid:
        raise RefusedUpdateError(BindingStatus.MCOA_MALFORMED)
    if not update.bids:
        return BindingStatus.ACCEPTED, [], _register_plain(context)
    _check_bulk(context)
    node = context.node
    known = node.care_of
    if update.overwrite:
        node.care_of = {}
    elif PLAIN in known:
        raise RefusedUpdateError(BindingStatus.MCOA_NON_MCOA_BINDING_EXISTS)
    statuses = [_register_bid(context, option, known) for option in update.bids]
    if len(statuses) == 1:
        if statuses[0] >= REFUSED:
            raise RefusedUpdateError(statuses[0])
        _leave_home(context)
        own = update.bids[0].bid
        return statuses[0], [BindingStatus.ACCEPTED], own
    _leave_home(context)
    status = max(statuses)
    if status >= REFUSED:
        answers = [s if s >= REFUSED else BindingStatus.ACCEPTED for s in statuses]
        return BindingStatus.MCOA_NOTCOMPLETE, answers, node.bid_of(update.care_of)
    return status, [BindingStatus.ACCEPTED] * len(statuses), node.bid_of(update.care_of)


def _check_bulk(context: BindingContext) -> None:
    if not context.capabilities.multiple_care_of:
        raise RefusedUpdateError(BindingStatus.MCOA_PROHIBITED)
    if len(context.update.bids) > 1 and (context.correspondent or not context.capabilities.bulk):
        raise RefusedUpdateError(BindingStatus.MCOA_BULK_REGISTRATION_PROHIBITED)


def _register_plain(context: BindingContext) -> int:
    """An update without BID option: it replaces everything (RFC 5648 section 6.2), but for K37."""
    node, update = context.node, context.update
    address = update.care_of
    if not is_routable(address):
        raise RefusedUpdateError(BindingStatus.INVALID_CARE_OF_ADDRESS)
    if context.keeps_registered and update.flows and node.care_of:
        bid = node.bid_of(address)
        if bid is not None:
            # K37: the address is registered, so the update concerns its BID and replaces nothing
            old = node.care_of[bid]
            node.care_of[bid] = CareOf(bid, address, old.priority, context.expires, context.refresh_at, old.home)
            return bid
    node.care_of = {PLAIN: CareOf(PLAIN, address, 0, context.expires, context.refresh_at)}
    return PLAIN


def _register_bid(context: BindingContext, option: BindingIdentifier, known: Mapping[int, CareOf]) -> int:
    node, bid = context.node, option.bid
    if bid == PLAIN:
        return BindingStatus.MCOA_MALFORMED  # reserved
    old = known.get(bid)
    if option.home:
        if not context.capabilities.home_and_foreign or context.correspondent:
            return BindingStatus.MCOA_HOME_AND_FOREIGN_PROHIBITED
        address = node.home  # RFC 5648 section 6.2: whatever the field holds
    elif (packed := option.packed) is not None:
        address = packed
        if not is_routable(address) or address == node.home:
            return BindingStatus.MCOA_MALFORMED
        if len(address) == 4 and (context.correspondent or not context.capabilities.ipv4):
            return BindingStatus.MCOA_MALFORMED  # RFC 5648 section 4.3: IPv6 only at correspondent nodes
    elif old is not None and not old.home and not context.correspondent:
        address = old.address
    elif context.correspondent or context.switches.bid_source_address:
        # a correspondent node knows that somebody answers there, and of an address in its cache no more than that
        address = context.update.care_of
        if not is_routable(address):
            return BindingStatus.MCOA_MALFORMED
    else:
        return BindingStatus.MCOA_UNKNOWN_COA
    if bid not in node.care_of and len(node.care_of) >= context.limits.bids_per_node:
        return BindingStatus.INSUFFICIENT_RESOURCES
    if option.home:
        # RFC 5648 section 5.6.3: one home binding at a time
        for other in [b for b, entry in node.care_of.items() if entry.home and b != bid]:
            del node.care_of[other]
    node.care_of[bid] = CareOf(
        bid, address, option.priority, context.expires, context.refresh_at, option.home
    )  # fmt: skip
    if option.home and context.capabilities.home_without_ndp:
        return BindingStatus.MCOA_RETURNHOME_WO_NDP
    return BindingStatus.ACCEPTED


def _leave_home(context: BindingContext) -> None:
    """RFC 5648 section 5.6.5: H clear in an update ends forwarding to the home link."""
    care_of = context.node.care_of
    at_home = [bid for bid, entry in care_of.items() if entry.home]
    if not at_home or not context.switches.h_unset_leaves_home or any(option.home for option in context.update.bids):
        return
    for bid in at_home:
        del care_of[bid]


def deregister_bids(context: BindingContext) -> tuple[int, list[int]]:
    """Lifetime 0 with BID options: these go, the others stay, and so do the flows of either (K30)."""
    update = context.update
    if update.malformed_bid:
        raise RefusedUpdateError(BindingStatus.MCOA_MALFORMED)
    _check_bulk(context)
    care_of = context.node.care_of
    statuses: list[int] = []
    for option in update.bids:
        gone = care_of.pop(option.bid, None) if option.bid != PLAIN else None
        statuses.append(BindingStatus.NOT_HOME_AGENT if gone is None else BindingStatus.ACCEPTED)
    if len(statuses) == 1 and statuses[0]:
        raise RefusedUpdateError(statuses[0])
    return (BindingStatus.MCOA_NOTCOMPLETE if any(statuses) else BindingStatus.ACCEPTED), statuses


def network_prefixes(
    context: BindingContext, owners: Mapping[Prefix, bytes], table: Mapping[bytes, Sequence[Prefix]]
) -> tuple[Prefix, ...]:
    """The mobile network prefixes that an accepted update registers (RFC 3963 section 6.2).

    Explicit mode: those of its options, all or none. Implicit mode: those that `table` has for the home address.
    Without the R flag the sender is a mobile node, and nothing is forwarded to a network behind it.
    """
    update, home = context.update, context.node.home
    if not update.flags & _MOBILE_ROUTER:
        return ()
    allowed = table.get(home)
    if not update.prefixes:
        if not allowed:
            raise RefusedUpdateError(BindingStatus.FORWARDING_SETUP_FAILED)
        return tuple(allowed)
    if len(update.prefixes) > context.limits.prefixes_per_node:
        raise RefusedUpdateError(BindingStatus.INVALID_PREFIX)
    found: dict[Prefix, None] = {}
    for option in update.prefixes:
        length = option.prefix_length
        if length > 128 or length == 0 or not is_routable(option.prefix.packed):
            raise RefusedUpdateError(BindingStatus.INVALID_PREFIX)
        host = 128 - length
        prefix = ((int(option.prefix) >> host << host).to_bytes(16, "big"), length)
        if (allowed is not None and prefix not in allowed) or owners.get(prefix, home) != home:
            raise RefusedUpdateError(BindingStatus.NOT_AUTHORIZED_FOR_PREFIX)
        found[prefix] = None
    return tuple(found)


def times(now: float, lifetime: float, lead: float) -> tuple[float, float]:
    """When an entry made now expires, and when to ask for its refresh."""
    expires = now + lifetime
    return expires, (expires - min(lead, lifetime / 2) if lead > 0 else inf)
