"""Care-of addresses of one node: binding identifier options (RFC 5648 section 6.2) and plain updates.

Both functions change a transaction's working copy.

A status that concerns one of several BIDs goes into that BID's option and the acknowledgement has 4, MCOA NOTCOMPLETE;
one that concerns the only BID there is, or the update as a whole, is the acknowledgement's (RFC 5648 section 6.2, last
paragraphs).
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from flowclass.wire.numbers import REFUSED, BindingStatus
from flowclass.wire.options import BindingIdentifier

from ..addresses import is_routable
from ..cache.node import PLAIN, CareOf, Node
from ..cache.owners import Owners
from .policy import Policy
from .received_update import RefusedUpdateError, Update

__all__ = ["BindingContext", "deregister_bids", "register"]


class BindingContext(Struct, gc=False):
    """What the care-of addresses of one update are judged by, and when they expire."""

    node: Node
    update: Update
    policy: Policy
    owners: Owners
    expires: float
    refresh_at: float


def register(context: BindingContext) -> tuple[int, list[int], int | None]:
    """Register what an update with a lifetime asks for.

    Returns the status of the acknowledgement, one for each BID option, and the BID of the update's own care-of address
    (K18; None: it has no binding, or several). Raises `RefusedUpdateError`, also when none of several BIDs can be
    registered: then nothing has changed, and no lifetime is granted.
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
    if min(statuses) >= REFUSED:
        if len(statuses) == 1:
            raise RefusedUpdateError(statuses[0])
        raise RefusedUpdateError(BindingStatus.MCOA_NOTCOMPLETE, bids=statuses)
    if len(statuses) == 1:
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
    if not context.policy.capabilities.multiple_care_of:
        raise RefusedUpdateError(BindingStatus.MCOA_PROHIBITED)
    if len(context.update.bids) > 1 and (context.policy.correspondent or not context.policy.capabilities.bulk):
        raise RefusedUpdateError(BindingStatus.MCOA_BULK_REGISTRATION_PROHIBITED)


def _register_plain(context: BindingContext) -> int:
    """An update without BID option: it replaces everything (RFC 5648 section 6.2), but for K37."""
    node, update = context.node, context.update
    address = update.care_of
    if not is_routable(address) or _loops(context, address):
        raise RefusedUpdateError(BindingStatus.INVALID_CARE_OF_ADDRESS)
    if context.policy.profile.explicit_requests and update.flows and node.care_of:
        bid = node.bid_of(address)
        if bid is not None:
            # K37: the address is registered, so the update concerns its BID and replaces nothing
            old = node.care_of[bid]
            node.care_of[bid] = CareOf(
                bid, address, old.priority, context.expires, context.refresh_at, old.home, _port(update)
            )
            return bid
    node.care_of = {PLAIN: CareOf(PLAIN, address, 0, context.expires, context.refresh_at, False, _port(update))}
    return PLAIN


def _register_bid(context: BindingContext, option: BindingIdentifier, known: Mapping[int, CareOf]) -> int:
    node, bid = context.node, option.bid
    if bid == PLAIN:
        return BindingStatus.MCOA_MALFORMED  # reserved
    old = known.get(bid)
    if option.home:
        if not context.policy.capabilities.home_and_foreign or context.policy.correspondent:
            return BindingStatus.MCOA_HOME_AND_FOREIGN_PROHIBITED
        address = node.home  # RFC 5648 section 6.2: whatever the field holds
    elif (packed := option.packed) is not None:
        outer = context.update.outer
        address = packed if len(packed) != 4 or outer is None or len(context.update.bids) > 1 else outer[0]
        if not is_routable(address) or address == node.home:
            return BindingStatus.MCOA_MALFORMED
        if len(address) == 4 and (context.policy.correspondent or not context.policy.capabilities.ipv4):
            return BindingStatus.MCOA_MALFORMED  # RFC 5648 section 4.3: IPv6 only at correspondent nodes
    elif old is not None and not old.home and not context.policy.correspondent:
        address = old.address
    elif context.policy.correspondent or _takes_source(context.policy):
        # a correspondent node knows that somebody answers there, and of an address in its cache no more than that
        address = context.update.care_of
        if not is_routable(address):
            return BindingStatus.MCOA_MALFORMED
    else:
        return BindingStatus.MCOA_UNKNOWN_COA
    if not option.home and _loops(context, address):
        return BindingStatus.INVALID_CARE_OF_ADDRESS
    if bid not in node.care_of and len(node.care_of) >= context.policy.limits.bids_per_node:
        return BindingStatus.INSUFFICIENT_RESOURCES
    if option.home:
        # RFC 5648 section 5.6.3: one home binding at a time
        for other in [b for b, entry in node.care_of.items() if entry.home and b != bid]:
            del node.care_of[other]
    node.care_of[bid] = CareOf(
        bid, address, option.priority, context.expires, context.refresh_at, option.home,
        _port(context.update) if len(address) == 4 and len(context.update.bids) == 1 else 0,
    )  # fmt: skip
    if option.home and context.policy.capabilities.home_without_ndp:
        return BindingStatus.MCOA_RETURNHOME_WO_NDP
    return BindingStatus.ACCEPTED


def _port(update: Update) -> int:
    return update.outer[1] if update.outer is not None and update.uses_udp else 0


def _takes_source(policy: Policy) -> bool:
    """Whether a BID option without an address, for an unknown BID, stands for the update's own care-of address."""
    switch = policy.switches.bid_source_address
    return policy.profile.bid_source_address if switch is None else switch


def _loops(context: BindingContext, address: bytes) -> bool:
    """Whether what is sent to a care-of address would come back: it is the agent's own, lies behind the node itself, or
    belongs to a node whose own care-of addresses lead back."""
    node = context.node
    if address == context.update.destination:
        return True
    if context.policy.correspondent:
        return False  # it tunnels nothing
    behind = node.prefixes
    if node.also:
        behind += tuple((home, 8 * len(home)) for home in node.also)
    return context.owners.leads_back(address, node.home, behind)


def _leave_home(context: BindingContext) -> None:
    """RFC 5648 section 5.6.5: H clear in an update ends forwarding to the home link."""
    care_of = context.node.care_of
    at_home = [bid for bid, entry in care_of.items() if entry.home]
    if (
        not at_home
        or not context.policy.switches.h_unset_leaves_home
        or any(option.home for option in context.update.bids)
    ):
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
    if all(statuses):
        if len(statuses) == 1:
            raise RefusedUpdateError(statuses[0])
        raise RefusedUpdateError(BindingStatus.MCOA_NOTCOMPLETE, bids=statuses)
    return (BindingStatus.MCOA_NOTCOMPLETE if any(statuses) else BindingStatus.ACCEPTED), statuses
