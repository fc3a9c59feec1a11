# cython: language_level=3, annotation_typing=False
"""Care-of addresses of one node: binding identifier options (RFC 5648 section 6.2) and plain updates.

`register` and `deregister_bids` change the working copy of a transaction.

The status of one of several BIDs is put into the option of that BID, and the acknowledgement gets status 4, MCOA
NOTCOMPLETE. The status of a single BID, or of the update as a whole, is put into the acknowledgement itself (RFC 5648
section 6.2, last paragraphs).
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
    """The inputs for deciding about the care-of addresses of one update, and the times at which these expire."""

    node: Node
    update: Update
    policy: Policy
    owners: Owners
    expires: float
    refresh_at: float


def register(context: BindingContext) -> tuple[int, list[int], int | None]:
    """Register the care-of addresses of an update whose lifetime isn't 0.

    Returns the status of the acknowledgement, one for each BID option, and the BID of the update's own care-of address
    (K18), which is None if that address has no binding, or several. Raises `RefusedUpdateError` if the update is
    refused as a whole, or none of its BIDs can be registered; then no lifetime is granted.
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
    """Register an update without BID option; return the BID of its care-of address.

    The update replaces all bindings (RFC 5648 section 6.2), except in the case of decision K37.
    """
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
        return BindingStatus.MCOA_MALFORMED  # 0 is reserved
    old = known.get(bid)
    if option.home:
        if not context.policy.capabilities.home_and_foreign or context.policy.correspondent:
            return BindingStatus.MCOA_HOME_AND_FOREIGN_PROHIBITED
        address = node.home  # RFC 5648 section 6.2: the address in the option is ignored
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
        # a correspondent node takes the source, where the token has arrived, rather than the address in its cache
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
    """Whether a BID option that has no address, for an unknown BID, means the care-of address of the update itself."""
    switch = policy.switches.bid_source_address
    return policy.profile.bid_source_address if switch is None else switch


def _loops(context: BindingContext, address: bytes) -> bool:
    """Whether packets sent to a care-of address would come back to the agent in a loop.

    They do if the address is the agent's own, lies in a prefix of the node itself, or belongs to a node whose care-of
    addresses lead back.
    """
    node = context.node
    if address == context.update.destination:
        return True
    if context.policy.correspondent:
        return False  # a correspondent node has no tunnels
    behind = node.prefixes
    if node.also:
        behind += tuple((home, 8 * len(home)) for home in node.also)
    return context.owners.leads_back(address, node.home, behind)


def _leave_home(context: BindingContext) -> None:
    """End forwarding to the home link if no BID option of the update has the H flag (RFC 5648 section 5.6.5)."""
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
    """De-register the BIDs that an update with lifetime 0 names; other BIDs and all flows stay (K30).

    Returns the status of the acknowledgement, and one for each BID option. Raises `RefusedUpdateError` if none of the
    BIDs is registered.
    """
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
