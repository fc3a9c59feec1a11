# cython: language_level=3, annotation_typing=False
"""Applies flow identification options to one node: draft sections 8.1 and 8.3.1, RFC 6089 sections 5.3.2 to 5.3.4.

`apply_explicit` and `apply_implicit` change the working copy of a transaction and return one status per option, in the
order of the options. The checks of the draft are made in exactly the order of its section 8.1: an option with two
faults gets the status of the first one.

A helper that may refuse the option returns the status to refuse it with, 128 or more, in place of its result. An
exception would take as long as the rest of a decision, and anybody can send options that are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from flowclass.engine.rules import WILD_CARD, octets_rule
from flowclass.wire._usual import selector_octets
from flowclass.wire.flow_options import (
    BindingReference,
    FlowIdentification,
    MalformedSubOption,
    TrafficSelectorOption,
)
from flowclass.wire.numbers import REFUSED, Request, SelectorFormat
from flowclass.wire.profiles import FlowStatus, Profile
from flowclass.wire.selectors import TrafficSelector4, TrafficSelector6

from ..cache.node import DISCARD, FORWARD, NCAST, Flow, Node
from ..settings import Capabilities
from .policy import Policy, verdict

__all__ = ["FlowContext", "apply_explicit", "apply_implicit", "purge"]

_ADD: Final = Request.ADD.value
_REPLACE: Final = Request.REPLACE.value
_REFRESH: Final = Request.REFRESH.value
_REMOVE: Final = Request.REMOVE.value

_RESERVED: Final = 0
"""The Action 0, which section 3.1 of the draft reserves although its section 5 uses it (K4)."""

_IPV4: Final = SelectorFormat.IPV4.value
_IPV6: Final = SelectorFormat.IPV6.value


class FlowContext(Struct, gc=False):
    """The inputs for deciding about the flow options of one binding update."""

    node: Node  # the working copy of the transaction
    policy: Policy
    codes: FlowStatus  # those of the profile
    elements: bool  # whether this receiver can match all elements of selectors
    lifetime: float  # granted, in seconds; 0 in a de-registration
    expires: float
    refresh_at: float
    packet_bid: int | None  # the BID of the update's own care-of address (K18), PLAIN for a binding without BID
    packet_address: bytes  # that address
    authorized: frozenset[bytes] | None = None  # correspondent node: addresses whose token was used (R106)

    @property
    def profile(self) -> Profile:
        """The profile, wire format and rules, of the update."""
        return self.policy.profile

    @property
    def can_ncast(self) -> bool:
        """Whether a flow may be copied to several addresses."""
        # K20: the draft forbids it at a correspondent node; RFC 6089 section 5.3 has no such exception
        return self.policy.capabilities.ncast and not (self.policy.correspondent and self.profile.explicit_actions)


def apply_explicit(context: FlowContext, options: Sequence[FlowIdentification]) -> list[int]:
    """Apply options of the draft, whose PRO field says what to do; return a status for each.

    They are applied one after the other, also if several have the same FID (K25).
    """
    return [_explicit(context, option) for option in options]


def _explicit(context: FlowContext, option: FlowIdentification) -> int:
    node, codes = context.node, context.codes
    content = _read(option)
    if content.error is not None and _is_framing(content.error):
        return codes.malformed  # the octets after it can't be interpreted
    fid, request = option.fid, option.pro
    old = node.flows.get(fid)
    if request == _REMOVE:
        # R68, R125 to R127, K21: all fields but the FID are ignored
        if old is None:
            return codes.fid_not_found
        del node.flows[fid]
        return codes.success
    if request == _REFRESH:
        # R124c, R113h: no other checks
        if old is None:
            return _lost(context)
        node.flows[fid] = _until(old, context)
        return codes.success
    if request == _REPLACE:
        if old is None:
            return _lost(context)  # R124a, R113d
    elif request != _ADD:
        return codes.malformed  # K24
    elif old is not None:
        return codes.fid_in_use  # R116, R113a
    action = _action(context, option)
    if action >= REFUSED:
        return action
    if action == NCAST and not content.references:
        return codes.malformed  # R24, R117, R119
    granted = _check_description(context, content) or _admission(context, option)
    if granted >= REFUSED:
        return granted
    bids = _targets(context, content.bids, action)
    if isinstance(bids, int):
        return bids
    if old is None and (len(node.flows) >= context.policy.limits.flows_per_node or context.lifetime <= 0):
        return codes.unspecified  # there is no room, or a de-registration, which grants no lifetime
    # K11: Replace keeps the filter. K9, R62: Add without one is a wild card
    rule = _rule(content, WILD_CARD if old is None else old.rule)
    # PRI and action are fixed fields: always replaced (K11)
    made = Flow(fid, option.pri, action, bids, rule, context.expires, context.refresh_at)
    node.flows[fid] = made if context.lifetime > 0 or old is None else _with_times(made, old)
    return granted


class _Content(Struct, gc=False):
    """The content of the sub-options of one flow identification option."""

    error: MalformedSubOption | None
    description: TrafficSelectorOption | None
    descriptions: int
    bids: tuple[int, ...]  # of all binding references, in order, without duplicates (K16)
    references: int
    octets: bytes = b""  # of the description, from `_check_description` on


def _read(option: FlowIdentification) -> _Content:
    error = None
    description = None
    bids: tuple[int, ...] = ()
    descriptions = references = 0
    for sub in option.suboptions:
        kind = type(sub)
        if kind is BindingReference:
            bids += sub.bids  # type: ignore[union-attr]  # kind says so
            references += 1
        elif kind is TrafficSelectorOption:
            descriptions += 1
            if description is None:
                description = sub
        elif kind is MalformedSubOption and error is None:
            error = sub
    if len(bids) > 1:
        bids = tuple(dict.fromkeys(bids))
    return _Content(error, description, descriptions, bids, references)  # type: ignore[arg-type]  # as kind said


def _is_framing(error: MalformedSubOption) -> bool:
    """Whether the length of the sub-option itself is wrong, rather than its content.

    In the order of checks of 1.13, a wrong length is found before PRO is examined, so that even a Remove is refused.
    Wrong content doesn't matter in a Remove or a Refresh.
    """
    octets = error.octets
    # depending on the profile, the length includes the octets of type and length; a wrong one fits neither way
    return len(octets) < 2 or octets[1] < 2 or len(octets) not in (octets[1], octets[1] + 2)


def _lost(context: FlowContext) -> int:
    """Return the status for a Replace or Refresh of an unknown FID (K6)."""
    codes = context.codes
    if context.policy.correspondent or context.policy.switches.unknown_fid_status == "not-found":
        return codes.fid_not_found
    return codes.fid_lost


def _action(context: FlowContext, option: FlowIdentification) -> int:
    """Return the action of an option of the draft, or a status."""
    codes, action = context.codes, option.action
    if action == FORWARD:
        return FORWARD
    if action == _RESERVED and context.policy.switches.accept_action_zero:
        return FORWARD  # K4: section 5 of the draft uses it
    if action == DISCARD:
        return DISCARD if context.policy.capabilities.discard else codes.discard_unsupported
    if action == NCAST:
        return NCAST if context.can_ncast else codes.ncast_unsupported  # R113b, R113e, K20
    return codes.malformed  # K24


def _check_description(context: FlowContext, content: _Content) -> int:
    """Return a status for a flow description that can't be used, or 0."""
    able, codes = context.policy.capabilities, context.codes
    if content.description is not None:
        content.octets = selector_octets(content.description)
        form = content.octets[0]
        if not (able.ipv6_selectors if form == _IPV6 else able.ipv4_selectors and form == _IPV4):
            return codes.selector_format_unsupported
        if not context.elements:
            selector = content.description.selector
            status = _check_elements(able, codes, selector)  # type: ignore[arg-type]  # its format is one of the two
            if status:
                return status
    return codes.malformed if content.error is not None or content.descriptions > 1 else 0


def _rule(content: _Content, otherwise: bytes) -> bytes:
    """Return the rule of a flow description, which was checked, and ``otherwise`` without one."""
    return otherwise if content.description is None else octets_rule(content.octets)


def _admission(context: FlowContext, option: FlowIdentification) -> int:
    """Return the status with which local policy accepts or refuses an option."""
    admit = context.policy.admit_flow
    if admit is None:
        return 0
    return verdict("admit_flow", admit(context.node, option), context.codes.prohibited)


def _check_elements(able: Capabilities, codes: FlowStatus, selector: TrafficSelector4 | TrafficSelector6) -> int:
    """Return a status for an element of a selector that this receiver can't match, each has its own (R26), or 0."""
    for bounds in (selector.source, selector.destination):
        # RFC 6088 knows only ranges: a range of more than one address counts as a prefix
        if bounds is not None and bounds[0] != bounds[1] and not able.prefixes:
            return codes.prefix_unsupported
    if not able.ports and (selector.source_port is not None or selector.destination_port is not None):
        return codes.ports_unsupported
    if not able.flow_label and selector.flow_label is not None:
        return codes.flow_label_unsupported
    if not able.spi and selector.spi is not None:
        return codes.spi_unsupported
    return 0


def _check_bids(context: FlowContext, bids: tuple[int, ...]) -> int:
    """Return a status for BIDs that aren't registered (R31), and for more of them than the limit allows, or 0.

    At a correspondent node, the address of each BID must have been tested (R113f, K20).
    """
    care_of = context.node.care_of
    for bid in bids:
        entry = care_of.get(bid)
        if entry is None or bid == 0:
            if context.policy.profile.explicit_requests:
                return context.policy.switches.unknown_bid_status  # K23
            return context.codes.unknown_bid
        if context.authorized is not None and entry.address not in context.authorized:
            return context.codes.malformed
    return context.codes.unspecified if len(bids) > context.policy.limits.fan_out else 0


def _targets(context: FlowContext, bids: tuple[int, ...], action: int) -> tuple[int, ...] | int:
    """Return the BIDs to which an Add or a Replace of the draft binds the flow, or a status."""
    if bids:
        status = _check_bids(context, bids)
        if status:
            return status
        if action != NCAST or len(bids) > 1:
            return bids  # K19: n-cast with two BIDs or more uses exactly these
        return _bicast(context, bids[0])
    if action == DISCARD:
        return ()
    # R57, K11, K18: without BIDs, the care-of address of the update itself is meant
    if context.packet_bid is None:
        return context.codes.malformed
    return (context.packet_bid,)


def _bicast(context: FlowContext, bid: int) -> tuple[int, ...] | int:
    """Return the BIDs for n-cast with one BID, or a status: this BID, and that of the update's own care-of address
    (R121, K19)."""
    own = context.packet_bid
    if context.node.care_of[bid].address == context.packet_address:
        if context.policy.switches.single_own_bid_ncast == "reject":
            return context.codes.malformed  # R122
        return (bid,)
    if own is None:
        return context.codes.malformed
    return (own, bid)


def _until(flow: Flow, context: FlowContext) -> Flow:
    """Return the flow with the lifetime of this update (R134, K12); a de-registration leaves its lifetime unchanged."""
    if context.lifetime <= 0:
        return flow
    return Flow(
        flow.fid, flow.priority, flow.action, flow.bids, flow.rule, context.expires, context.refresh_at
    )  # fmt: skip


def _with_times(flow: Flow, old: Flow) -> Flow:
    return Flow(flow.fid, flow.priority, flow.action, flow.bids, flow.rule, old.expires, old.refresh_at)


def apply_implicit(
    context: FlowContext, options: Sequence[FlowIdentification], summary: Sequence[int], keep: bool = False
) -> tuple[list[int], list[int]]:
    """Apply the options of an RFC 6089 update: a known FID changes its flow, an unknown one adds a flow.

    Flows that the update doesn't name are removed (section 5.3.4), unless ``keep`` is True. ``summary`` has the FIDs of
    its flow summary options. Returns a status for each option, and the FIDs in ``summary`` that don't exist
    (section 5.3.3).
    """
    node, codes = context.node, context.codes
    named = {option.fid for option in options}
    if not keep:
        purge(node, named.union(summary) if summary else named)
    if len(named) < len(options):
        statuses = [codes.malformed] * len(options)  # K25: all options are refused, not only the duplicates
    else:
        statuses = _implicit(context, options)
    missing = []
    for fid in dict.fromkeys(summary):  # duplicates are ignored (5.3.3)
        flow = node.flows.get(fid)
        if flow is None:
            missing.append(fid)
        elif fid not in named:
            node.flows[fid] = _until(flow, context)
    return statuses, missing


def purge(node: Node, named: set[int]) -> None:
    """Remove every flow whose FID isn't in ``named`` (RFC 6089 section 5.3.4; K12 with omission = "purge")."""
    if not named.issuperset(node.flows):
        node.flows = {fid: flow for fid, flow in node.flows.items() if fid in named}


def _implicit(context: FlowContext, options: Sequence[FlowIdentification]) -> list[int]:
    made: dict[int, Flow] = {}
    statuses = [_one_implicit(context, option, made) for option in options]
    if made:
        for fid in _clashing(context.node, made):
            statuses[[option.fid for option in options].index(fid)] = context.codes.malformed
            del made[fid]
        context.node.flows.update(made)
    return statuses


def _one_implicit(context: FlowContext, option: FlowIdentification, made: dict[int, Flow]) -> int:
    """Decide an option, and return its status; if it is accepted, add its flow to ``made``."""
    node, codes = context.node, context.codes
    fid = option.fid
    if (fid == 0 or option.pri == 0) and context.policy.profile.zero_reserved:
        return codes.malformed  # K31
    old = node.flows.get(fid)
    content = _read(option)
    granted = _check_description(context, content) or _admission(context, option)
    if granted >= REFUSED:
        return granted
    if content.description is None and old is None:
        return codes.malformed  # 5.3.2.1: a new FID needs a traffic selector
    if content.references > 1 or (content.references == 0 and old is None):
        return codes.malformed  # a new flow needs exactly one, a known flow at most one
    bids = content.bids
    status = _check_bids(context, bids)
    if status:
        return status
    if len(bids) > 1 and not context.can_ncast:
        return codes.ncast_unsupported
    if old is None:
        if len(node.flows) + len(made) >= context.policy.limits.flows_per_node or context.lifetime <= 0:
            return codes.unspecified
    else:
        bids = bids or old.bids  # 5.3.2.2: what the option leaves out stays as it was, its rule too
    rule = _rule(content, WILD_CARD if old is None else old.rule)
    action = NCAST if len(bids) > 1 else FORWARD  # K27: each BID gets a copy
    flow = Flow(fid, option.pri, action, bids, rule, context.expires, context.refresh_at)
    made[fid] = flow if context.lifetime > 0 or old is None else _with_times(flow, old)
    return granted


def _clashing(node: Node, made: dict[int, Flow]) -> list[int]:
    """Return the FIDs in ``made`` whose FID-PRI another flow of the node has, too.

    FID-PRI must be unique in a node (K14); the RFC names no status for this, so that the caller uses "malformed". The
    options of one update are checked together, so that two flows may exchange their priorities. When one is refused,
    its old flow stays in place, and another one may then clash with that: one before it makes a new pass.
    """
    refused: dict[int, None] = {}
    again = True
    while again:
        again = False
        taken = {flow.priority for fid, flow in node.flows.items() if fid not in made or fid in refused}
        for fid, flow in made.items():
            if fid in refused:
                continue
            if flow.priority not in taken:
                taken.add(flow.priority)
                continue
            refused[fid] = None
            old = node.flows.get(fid)
            if old is not None:
                if old.priority in taken:
                    again = True
                    break
                taken.add(old.priority)
    return list(refused)
