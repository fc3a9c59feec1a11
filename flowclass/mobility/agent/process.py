# cython: language_level=3, annotation_typing=False
"""Decides one binding update: how it changes one node, and what is answered.

`process` doesn't depend on an agent or a cache. It changes the working copy of a node that it is given, and returns the
`Outcome`; when it raises `RefusedUpdateError` or `SilentlyIgnored`, the caller drops the copy. Each role has checked
before whether the update is authentic and its sequence number valid.
"""

from __future__ import annotations

from math import inf
from typing import Final

from flowclass.wire.numbers import LIFETIME_UNIT, NAT_KEEPALIVE_TIMEOUT, BindingStatus, Request, UpdateFlag
from flowclass.wire.options import NatDetection

from ..cache.node import Node
from ..cache.owners import Owners
from .care_of import BindingContext, deregister_bids, register
from .flows import FlowContext, apply_explicit, apply_implicit, purge
from .ipv4_home import register_ipv4
from .policy import Policy
from .prefixes import network_prefixes
from .received_update import Outcome, RefusedUpdateError, Update

__all__ = ["process", "times"]

_FORCE_UDP: Final = UpdateFlag.FORCE_UDP.value
_MOBILE_ROUTER: Final = UpdateFlag.MOBILE_ROUTER.value
_REMOVE: Final = Request.REMOVE.value


def process(
    update: Update,
    node: Node,
    policy: Policy,
    owners: Owners,
    *,
    now: float,
    authorized: frozenset[bytes] | None = None,
) -> Outcome:
    """Apply an update to the working copy of its node (RFC 6275 section 10.3, RFC 5648 section 6.2, draft section 8).

    ``owners`` knows which node has which prefix and address, and where care-of addresses lead. ``authorized`` are the
    care-of addresses whose tokens a correspondent node has verified; None means that the update may name any address.
    Returns what is to be answered; raises `RefusedUpdateError` when the update is refused as a whole.
    """
    known = bool(node.care_of or node.flows)
    lifetime = min(update.lifetime, policy.limits.lifetime)
    seconds = lifetime * LIFETIME_UNIT
    expires, refresh_at = times(now, seconds, policy.switches.refresh_lead)
    context = BindingContext(node, update, policy, owners, expires, refresh_at)
    if update.lifetime == 0 or (update.care_of == update.home and not update.bids):
        if not known and (update.bids or not policy.correspondent):
            # a correspondent node accepts it: its first answer may be lost, and RFC 6275 section 9.5.3 has no status
            raise RefusedUpdateError(BindingStatus.NOT_HOME_AGENT)
        node.sequence, node.memory = update.sequence, policy.replay_memory
        if not update.bids and not update.malformed_bid:
            return _deregister(update, node, policy)
        status, statuses = deregister_bids(context)
        outcome = Outcome(status, 0, statuses)
        own = update.bids[0].bid if len(update.bids) == 1 else node.bid_of(update.care_of)
        if own not in node.care_of:
            own = None
        seconds = 0
    else:
        node.prefixes = network_prefixes(update, node.home, policy, owners)
        status, bids, own = register(context)
        node.router = bool(update.flags & _MOBILE_ROUTER)
        node.registration = not policy.correspondent
        outcome = Outcome(status, lifetime, bids, router=node.router)
        if policy.capabilities.ipv4 and not policy.correspondent:
            outcome.extra = register_ipv4(node, update, policy, owners)
            if update.uses_udp:
                forced = bool(update.flags & _FORCE_UDP)
                outcome.extra += (NatDetection(NAT_KEEPALIVE_TIMEOUT, forced),)
        node.sequence, node.memory = update.sequence, policy.replay_memory
    node.agent, node.profile = update.destination, policy.profile.name
    if policy.capabilities.flow_bindings:
        _flows(context, outcome, seconds, own, authorized)
    return outcome


def times(now: float, lifetime: float, lead: float) -> tuple[float, float]:
    """Return when an entry made now expires, and when to ask for its refresh (infinite without a ``lead``)."""
    expires = now + lifetime
    return expires, (expires - min(lead, lifetime / 2) if lead > 0 else inf)


def _deregister(update: Update, node: Node, policy: Policy) -> Outcome:
    """De-register everything, flows included, whatever the flow options say (R108, RFC 6089 section 5.3.3)."""
    outcome = Outcome(BindingStatus.ACCEPTED, 0, [])
    if policy.capabilities.flow_bindings:
        codes = policy.profile.status
        outcome.flows = [
            codes.unspecified
            if option.pro != _REMOVE
            else codes.success
            if option.fid in node.flows
            else codes.fid_not_found
            for option in update.flows
        ]
    node.care_of = {}
    node.flows = {}
    return outcome


def _flows(
    bindings: BindingContext, outcome: Outcome, seconds: float, own: int | None, authorized: frozenset[bytes] | None
) -> None:
    """Apply the flow options; ``own`` is the BID of the update's own care-of address."""
    update, node, policy = bindings.update, bindings.node, bindings.policy
    profile, able, options = policy.profile, policy.capabilities, update.flows
    if not options and not node.flows and not update.summary and update.malformed_summary is None:
        return
    entry = None if own is None else node.care_of.get(own)
    context = FlowContext(
        node,
        policy,
        profile.status,
        able.prefixes and able.ports and able.flow_label and able.spi,
        seconds,
        bindings.expires,
        bindings.refresh_at,
        None if entry is None else own,
        update.care_of if entry is None else entry.address,
        authorized,
    )
    if profile.explicit_requests:
        if profile.omission_purges or policy.switches.omission == "purge":
            purge(node, {option.fid for option in options})
        outcome.flows = apply_explicit(context, options)
    else:
        unread = update.malformed_summary
        # the FIDs of an unreadable summary are unknown, so that no flow is removed for not being named
        outcome.flows, outcome.missing = apply_implicit(context, options, update.summary, keep=unread is not None)
        outcome.malformed = tuple(dict.fromkeys(unread or ()))
