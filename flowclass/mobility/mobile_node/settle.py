"""Reading a binding acknowledgement into the update list of its sender (RFC 6275 section 11.7.3, draft section 6).

`settle` takes the acknowledgement of a binding update that was accepted; `refuse` takes the status of one that was
refused as a whole. Both end the outstanding update, change the known and the wanted entries of the list, and return
what was refused. A request that is refused for good is rolled back: the wanted entry becomes the known one again.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Final, TypedDict

from flowclass.wire.flow_options import FlowIdentification
from flowclass.wire.messages import BindingAcknowledgement
from flowclass.wire.numbers import LIFETIME_UNIT, REFUSED, BindingStatus, DraftFlowStatus
from flowclass.wire.options import BindingIdentifier

from ..cache.node import PLAIN
from .plan import ADD, REFRESH, REMOVE, REPLACE, CareOfEntry, Plan, Refusal, octets_of
from .update_list import UpdateList

__all__ = ["refuse", "settle"]

_REFRESH_AT: Final = 0.75
"""An entry is refreshed when this share of its lifetime has passed."""

_ATTEMPTS: Final = 4
"""How often a flow is requested before it is rolled back, when the answers contradict each other (an Add is answered
with "in use", the Replace that follows with "lost", and so on)."""


class _Times(TypedDict):
    """The times of what an update has made (`CareOfEntry`, `FlowEntry`)."""

    expires: float
    refresh_at: float
    lingers: float


def settle(updates: UpdateList, message: BindingAcknowledgement) -> list[Refusal]:
    """Read the acknowledgement of the outstanding update, which was accepted; return the parts that were refused."""
    plan, updates.outstanding = updates.outstanding, None
    assert plan is not None
    start = plan.sent[message.sequence]
    # RFC 6275 section 11.7.3: the lifetime runs from the sending
    granted = LIFETIME_UNIT * min(message.lifetime, plan.lifetime)
    # a later transmission of the same may be taken yet: then all of it ends that much later there than here
    later = max(plan.sent.values()) > start
    times = _Times(
        expires=start + granted,
        refresh_at=start + _REFRESH_AT * granted,
        lingers=max(plan.sent.values()) + LIFETIME_UNIT * plan.lifetime if later else 0.0,
    )
    if plan.everything:
        _forget_all(updates)
        return []
    refusals = _settle_care_of(updates, plan, message, times)
    if plan.lifetime and message.lifetime:
        updates.fresh = False
    if plan.flows and not any(isinstance(o, FlowIdentification) for o in message.options):
        # R75, R98: the receiver doesn't support flow bindings, or refuses to use them
        updates.supports_flows = False
        updates.flows.clear()
        updates.doubtful.clear()
        updates.wanted_flows.clear()
        return [*refusals, Refusal("flows", -1, -1)]
    if plan.flows:
        updates.supports_flows = True
    if updates.profile.explicit_requests:
        return refusals + _settle_explicit(updates, plan, message, times)
    return refusals + _settle_implicit(updates, plan, message, times)


def _forget_all(updates: UpdateList) -> None:
    updates.care_of.clear()
    updates.flows.clear()
    updates.doubtful.clear()
    updates.fresh = True
    updates.contacted = updates.leaving = False


def _settle_care_of(updates: UpdateList, plan: Plan, message: BindingAcknowledgement, times: _Times) -> list[Refusal]:
    if plan.lifetime == 0:
        for entry in plan.care_of:  # the receiver has removed it, or never had it (status 133)
            updates.care_of.pop(entry.bid, None)
        return []
    if plan.overwrite or plan.care_of[0].bid == PLAIN:
        updates.care_of.clear()
    answered = {o.bid: o.status for o in message.options if isinstance(o, BindingIdentifier)}
    if not answered and plan.care_of[0].bid != PLAIN:
        return _no_bids(updates, plan, times)
    refusals = []
    for entry in plan.care_of:
        status = answered.get(entry.bid, 0 if entry.bid == PLAIN else -1)
        if 0 <= status < REFUSED:
            updates.care_of[entry.bid] = replace(entry, certain=True, **times)
        else:
            refusals.append(_refuse_bid(updates, entry, status))
    return refusals


def _no_bids(updates: UpdateList, plan: Plan, times: _Times) -> list[Refusal]:
    """RFC 5648 section 5.7: a receiver without BIDs has made one plain binding of it."""
    address = plan.source if plan.source is not None else plan.care_of[0].address
    entry = CareOfEntry(PLAIN, address, **times)
    updates.care_of = {PLAIN: entry}
    updates.wanted_care_of = {PLAIN: replace(entry, expires=inf, refresh_at=inf)}
    updates.wanted_flows.clear()
    return [Refusal("bids", -1, -1)]


def _refuse_bid(updates: UpdateList, entry: CareOfEntry, status: int) -> Refusal:
    known = updates.care_of.get(entry.bid)
    if known is not None:
        updates.wanted_care_of[entry.bid] = replace(known, expires=inf, refresh_at=inf)
    else:
        updates.wanted_care_of.pop(entry.bid, None)
        for fid in [f.fid for f in updates.wanted_flows.values() if entry.bid in f.bids]:
            _roll_back(updates, fid)
    return Refusal("bid", entry.bid, status)


def _settle_explicit(updates: UpdateList, plan: Plan, message: BindingAcknowledgement, times: _Times) -> list[Refusal]:
    refusals = []
    copies = [o for o in message.options if isinstance(o, FlowIdentification)]
    for option in plan.flows:
        # R97: the copy of an option differs from it in the status only; a missing copy means that it is refused
        copy = next((c for c in copies if octets_of(c) == octets_of(option)), None)
        status = -1 if copy is None else copy.status
        if copy is not None:
            copies.remove(copy)
        refusal = _settle_flow(updates, plan, option, status, times)
        if refusal is not None:
            refusals.append(refusal)
    return refusals


def _settle_flow(
    updates: UpdateList, plan: Plan, option: FlowIdentification, status: int, times: _Times
) -> Refusal | None:
    fid, request = option.fid, option.pro
    codes = updates.profile.status
    if request == REMOVE:
        # this holds for any answer: a flow that the receiver doesn't remove is left to expire
        updates.flows.pop(fid, None)
        updates.doubtful.pop(fid, None)
        done = 0 <= status < REFUSED or status in (
            codes.fid_not_found,
            DraftFlowStatus.CLASSIFIER_UNSUPPORTED,
        )  # K5: section 8.3.1 of the draft answers with 137
        return None if done else Refusal("flow", fid, status)
    if 0 <= status < REFUSED:
        entry = plan.entries[fid] if request != REFRESH else updates.flows.get(fid)
        if entry is not None:
            updates.flows[fid] = replace(entry, certain=True, **times)
        updates.doubtful.pop(fid, None)
        updates.attempts.pop(fid, None)
        return None
    updates.attempts[fid] = updates.attempts.get(fid, 0) + 1
    if status >= REFUSED and updates.attempts[fid] < _ATTEMPTS:
        if request == ADD and status == codes.fid_in_use:
            # the receiver got an earlier copy of this update: replace the flow that it has
            entry = plan.entries[fid]
            updates.flows[fid] = replace(entry, certain=False, **times)
            updates.doubtful.pop(fid, None)
            return None
        if request in (REPLACE, REFRESH) and status in (codes.fid_lost, codes.fid_not_found):
            lost = updates.flows.pop(fid, None)  # K6: the receiver has lost the flow; add it again
            if lost is not None and status != codes.fid_not_found:
                # 129 says other things as well, a BID that is gone for one (K23)
                updates.doubtful[fid] = replace(lost, expires=max(lost.expires, lost.lingers, _done_until(plan)))
            return None
    _roll_back(updates, fid)
    if request != REFRESH:
        _doubt(updates, plan, fid)
    return Refusal("flow", fid, status)


def _settle_implicit(updates: UpdateList, plan: Plan, message: BindingAcknowledgement, times: _Times) -> list[Refusal]:
    named = {*plan.summary, *(option.fid for option in plan.flows)}
    updates.flows = {fid: entry for fid, entry in updates.flows.items() if fid in named}
    updates.doubtful = {fid: entry for fid, entry in updates.doubtful.items() if fid in named}
    statuses = {o.fid: o.status for o in message.options if isinstance(o, FlowIdentification)}
    refusals = []
    for option in plan.flows:
        fid, status = option.fid, statuses.get(option.fid, -1)
        updates.doubtful.pop(fid, None)
        if 0 <= status < REFUSED:
            updates.flows[fid] = replace(plan.entries[fid], **times)
        else:
            _roll_back(updates, fid)
            _doubt(updates, plan, fid)
            refusals.append(Refusal("flow", fid, status))
    for fid in plan.summary:
        if statuses.get(fid) == updates.profile.status.fid_not_found:
            updates.flows.pop(fid, None)  # the next update adds it again
        elif fid in updates.flows and plan.lifetime:
            updates.flows[fid] = replace(updates.flows[fid], **times)
    return refusals


def _roll_back(updates: UpdateList, fid: int) -> None:
    """Give up what was wanted for a flow: want the flow that the receiver is known to have, or none."""
    known = updates.flows.get(fid)
    updates.attempts.pop(fid, None)
    if known is not None and known.certain:
        updates.wanted_flows[fid] = replace(known, expires=inf, refresh_at=inf)
    else:
        updates.wanted_flows.pop(fid, None)


def _done_until(plan: Plan) -> float:
    """Until when the receiver may have what an update made that was sent more than once: another transmission than the
    one that was answered was perhaps decided otherwise, because a BID or a flow has ended in between."""
    return max(plan.sent.values()) + LIFETIME_UNIT * plan.lifetime if len(plan.sent) > 1 and plan.lifetime else 0.0


def _doubt(updates: UpdateList, plan: Plan, fid: int) -> None:
    """A flow that was refused, and rolled back: if another transmission has made or changed it, so it is to be put
    back, or removed."""
    until = _done_until(plan)
    if not until:
        return
    known = updates.flows.get(fid)
    if known is not None:
        updates.flows[fid] = replace(known, certain=False, lingers=max(known.lingers, until))
    else:
        updates.doubtful[fid] = replace(plan.entries[fid], expires=until)


def refuse(updates: UpdateList, status: int) -> list[Refusal]:
    """Read the status of the outstanding update, which was refused as a whole; return what to report as refused.

    The receiver has done nothing of what the update asks for (RFC 6275 section 11.7.3).
    """
    plan, updates.outstanding = updates.outstanding, None
    assert plan is not None
    if plan.lifetime == 0:
        if plan.everything:
            _forget_all(updates)
        for entry in plan.care_of:
            updates.care_of.pop(entry.bid, None)
        return [] if status == BindingStatus.NOT_HOME_AGENT else [Refusal("update", -1, status)]
    for entry in plan.care_of:
        _refuse_bid(updates, entry, status)
    for option in plan.flows:
        _roll_back(updates, option.fid)
    return [Refusal("update", -1, status)]
