"""The binding update list of a mobile node for one receiver (RFC 6275 section 11.1, draft sections 3.3 and 6).

The list holds two sets of entries: the wanted ones, which the node's policy has asked for, and the known ones, which
the receiver has acknowledged. The next binding update is the difference between the two: `plan` computes it, and
settle.py enters the acknowledgement into the known entries. Messages may be lost, duplicated or delayed; the difference
is sent until there is none. Three kinds of flows need care:

* A flow in `doubtful` may or may not exist at the receiver, because an Add or Remove was given up unanswered. It is
  removed and added in one update. The receiver carries out both in order (K25), so that no packet finds it missing.
* A known flow whose content is uncertain is replaced. This happens after status 135 for an Add that was sent twice,
  and after a Replace that was given up.
* A known flow that the receiver has lost (status 136 for a Replace or Refresh) is added again. Status 129 may mean the
  same (K6) or something else, so that the flow becomes doubtful.

A request that is refused for good is rolled back: the wanted entry becomes the known one, and the caller is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv6Address
from math import inf

from flowclass.errors import EncodeError, FlowclassError
from flowclass.wire.flow_options import BindingReference, FlowIdentification, SubOption, TrafficSelectorOption
from flowclass.wire.message_codec import encode_message
from flowclass.wire.messages import BindingUpdate
from flowclass.wire.numbers import LIFETIME_UNIT, MAX_BID_PRIORITY
from flowclass.wire.profiles import Profile

from ..cache.node import DISCARD, FORWARD, NCAST, PLAIN
from .plan import (
    ADD,
    REFRESH,
    REMOVE,
    REPLACE,
    CareOfEntry,
    FlowEntry,
    Plan,
    Role,
    flow_option,
    rank,
)

__all__ = ["UpdateList"]

_FLOWS_PER_UPDATE = 16  # below 2048 octets even with full selectors; RFC 6089 section 6 asks for small updates


class UpdateList:
    """The part of the binding update list that concerns one receiver. It sends nothing itself; `MobileNode` does."""

    def __init__(self, peer: IPv6Address, role: Role, profile: Profile, lifetime: int, sequence: int) -> None:
        self.peer = peer
        self.role: Role = role
        self.profile = profile
        self.lifetime = lifetime
        self.sequence = sequence
        self.wanted_care_of: dict[int, CareOfEntry] = {}
        self.wanted_flows: dict[int, FlowEntry] = {}
        self.care_of: dict[int, CareOfEntry] = {}  # known: acknowledged by the receiver
        self.flows: dict[int, FlowEntry] = {}  # known: acknowledged by the receiver
        self.doubtful: dict[int, FlowEntry] = {}  # flows that the receiver may have, and until when at most
        self.attempts: dict[int, int] = {}
        self.leaving: bool = False  # all bindings are to be removed
        self.at_home: bool = False
        self.contacted: bool = False  # an update was sent since the receiver last had no binding
        self.fresh: bool = True  # nothing is registered: the next update sets the O flag (RFC 5648 section 5.9)
        self.bulk: bool = role != "correspondent"
        self.force_udp: bool = False  # updates ask for UDP encapsulation also without a NAT (RFC 5555 section 3.1.3)
        self.supports_flows: bool | None = None
        self.outstanding: Plan | None = None
        self.status: int | None = None  # of the last acknowledgement that was accepted as genuine
        self.last_source: IPv6Address | None = None

    def __repr__(self) -> str:
        known = f"bids={sorted(self.care_of)}, fids={sorted(self.flows)}"
        waiting = "an update outstanding" if self.outstanding is not None else "nothing outstanding"
        return f"<{type(self).__name__}: {self.role} {self.peer}, {known}, {waiting}>"

    # ---- what the node's policy asks for

    def want_flow(self, entry: FlowEntry) -> None:
        """Make a flow wanted (R54, R84, R89, R90, R106, R107); FlowclassError if the profile or the list doesn't allow
        it."""
        profile = self.profile
        low = 1 if profile.zero_reserved else 0
        if not low <= entry.fid <= 0xFFFF or not low <= entry.pri <= profile.max_pri:
            raise FlowclassError(f"FID {entry.fid} or PRI {entry.pri} is out of range in profile {profile.name}")
        if profile.unique_pri and any(
            f.pri == entry.pri for f in self.wanted_flows.values() if f.fid != entry.fid
        ):  # fmt: skip
            raise FlowclassError(f"PRI {entry.pri} is that of another flow (K14)")
        if profile.description_required and entry.selector is None:
            raise FlowclassError(f"profile {profile.name} has no wild card: a flow needs a selector")
        unknown = [bid for bid in entry.bids if bid not in self.wanted_care_of]
        if unknown:
            raise FlowclassError(f"BID {unknown[0]} has no care-of address")
        if PLAIN in entry.bids and profile.description_required:
            raise FlowclassError(f"profile {profile.name} binds flows to BIDs only")
        if not entry.bids and entry.action != DISCARD:
            raise FlowclassError("a flow goes to one BID or more")
        if entry.action not in (FORWARD, DISCARD, NCAST) or (not profile.explicit_actions and entry.action == DISCARD):
            raise FlowclassError(f"profile {profile.name} has no action {entry.action}")
        if not profile.explicit_actions:
            entry = replace(entry, action=NCAST if len(entry.bids) > 1 else FORWARD)
        elif entry.action == NCAST:
            entry = replace(entry, bids=self._ncast_bids(entry))
        said = entry if profile.explicit_actions else replace(entry, action=FORWARD)
        trial = flow_option(said, ADD, entry.selector, entry.bids)
        try:
            encode_message(BindingUpdate(0, 1, 0, (trial,)), profile=profile)
        except EncodeError as error:
            raise FlowclassError(f"bids: {len(entry.bids)} with this selector fit no option: {error}") from None
        self.wanted_flows[entry.fid] = entry
        self.attempts.pop(entry.fid, None)

    def _ncast_bids(self, entry: FlowEntry) -> tuple[int, ...]:
        if self.role == "correspondent":
            raise FlowclassError("a correspondent node refuses n-cast (R113b)")
        if len(entry.bids) > 1:
            return entry.bids
        others = sorted((c for c in self.wanted_care_of.values() if c.bid != entry.bids[0]), key=rank)
        if not others:
            raise FlowclassError("n-cast with one BID needs a second care-of address (R90)")
        # the receiver would add the other BID itself (K19); naming both makes sure that both sides store the same
        return others[0].bid, entry.bids[0]

    def want_care_of(self, entry: CareOfEntry) -> None:
        """Make a care-of address wanted (RFC 5648 section 6.2, RFC 6089 section 5.2.1).

        FlowclassError is raised when bindings with and without a BID would be mixed.
        """
        mixed = [bid for bid in self.wanted_care_of if (bid == PLAIN) != (entry.bid == PLAIN)]
        if mixed:
            raise FlowclassError("a binding without BID stands alone (RFC 5648 section 6.2)")
        if self.profile.bid_priority_required and entry.bid != PLAIN and not entry.priority:
            entry = replace(entry, priority=MAX_BID_PRIORITY)  # 0 is reserved here; without a priority, it ranks last
        self.wanted_care_of[entry.bid] = entry
        self.leaving = self.at_home = False

    def drop_care_of(self, bids: Iterable[int]) -> None:
        """No longer want these care-of addresses. Flows bound to them stay wanted, but are inactive at the receiver
        (K30)."""
        for bid in bids:
            self.wanted_care_of.pop(bid, None)
        if not self.wanted_care_of:
            self.leave(at_home=False)

    def leave(self, at_home: bool) -> None:
        """No longer want any care-of address or flow; the next update removes them all (R108)."""
        self.wanted_care_of.clear()
        self.wanted_flows.clear()
        self.at_home = at_home
        self.leaving = self.contacted

    # ---- the difference

    def forget_expired(self, now: float) -> None:
        """Drop what has ended; what the receiver may have longer becomes uncertain, or a flow doubtful."""
        for bid, entry in list(self.care_of.items()):
            if entry.expires <= now:
                del self.care_of[bid]
                if entry.lingers > now:
                    self.care_of[bid] = replace(entry, expires=entry.lingers, refresh_at=inf, certain=False)
        for fid, flow in list(self.flows.items()):
            if flow.expires <= now:
                del self.flows[fid]
                if flow.lingers > now:
                    self.doubtful[fid] = replace(flow, expires=flow.lingers)
        self.doubtful = {fid: entry for fid, entry in self.doubtful.items() if entry.expires > now}

    def deadline(self) -> float:
        """Return the time at which the next known entry expires or is due for a refresh; infinite if there is none."""
        entries: list[CareOfEntry | FlowEntry] = [*self.care_of.values(), *self.flows.values()]
        return min((time for entry in entries for time in (entry.expires, entry.refresh_at)), default=inf)

    def plan(self, now: float) -> Plan | None:
        """Return the next binding update to send, or None if the receiver has everything that is wanted."""
        self.forget_expired(now)
        if self.leaving:
            return self._plan_to_leave()
        plan = self._plan_registration(now) or self._plan_removal()
        if plan is None:
            # a flow that is due but can't be refreshed, because its care-of addresses are gone, is left to expire
            for fid, entry in self.flows.items():
                if entry.refresh_at <= now:
                    self.flows[fid] = replace(entry, refresh_at=inf)
        return plan

    def _plan_to_leave(self) -> Plan:
        return Plan(0, None if self.at_home else self.last_source, everything=True)

    def _plan_removal(self) -> Plan | None:
        gone = [entry for bid, entry in self.care_of.items() if bid not in self.wanted_care_of and bid != PLAIN]
        if not gone:
            return None
        if not self.bulk:
            gone = gone[:1]
        plan = Plan(0, self._source(), care_of=gone)
        if self.profile.omission_purges:
            plan.summary = tuple(self.flows)  # otherwise they would be removed (RFC 6089 section 5.3.3)
        return plan

    def _source(self, bid: int | None = None) -> IPv6Address | None:
        """Return the IPv6 care-of address to send from, or None if there is none.

        This is the address of the given BID if it is an IPv6 address, otherwise the one with the best priority.
        """
        candidates = sorted(self.wanted_care_of.values(), key=rank)
        if bid is not None:
            candidates.insert(0, self.wanted_care_of[bid])
        return next(
            (c.address for c in candidates if isinstance(c.address, IPv6Address) and not c.home), None
        )  # fmt: skip

    def _plan_registration(self, now: float) -> Plan | None:
        due = [
            entry
            for bid, entry in self.wanted_care_of.items()
            if not entry.same(self.care_of.get(bid)) or self.care_of[bid].refresh_at <= now
        ]
        due.sort(key=rank)
        if not self.bulk:
            due = due[:1]
        work = self._flow_work(now)
        if not due:
            due = self._carrier(work)
            if not due:
                return None
        plan = Plan(self.lifetime, self._source(due[0].bid), care_of=due)
        # O flag: for the first registration (RFC 5648 section 5.9), and to change from a plain binding to BIDs, which
        # the receiver would otherwise refuse with 165
        plan.overwrite = (self.fresh or PLAIN in self.care_of) and due[0].bid != PLAIN
        self.last_source = plan.source
        first = due[0]
        differs = self.role == "home-agent" or plan.source != first.address
        if first.bid == PLAIN and not first.home and isinstance(first.address, IPv6Address) and differs:
            # RFC 6275 section 11.7.1 requires an Alternate Care-of Address option in each home registration, because
            # IPsec doesn't cover the packet's source. A BID option contains the address itself, and must not be
            # accompanied by that option (RFC 5648 section 4.2)
            plan.alternate = first.address
        reachable = set() if plan.overwrite else {bid for bid, entry in self.care_of.items() if entry.certain}
        reachable.update(entry.bid for entry in due)
        if self.supports_flows is not False:
            self._put_flows(plan, work, reachable)
        return plan

    def _carrier(self, work: list[int]) -> list[CareOfEntry]:
        """Return the care-of address that an update names when only flows have changed, or an empty list for no update.

        It has to name a registered BID: an update without a BID would replace all bindings (K37).
        """
        if not work or self.supports_flows is False:
            return []
        if self.role == "correspondent":
            # R94, R106: the update must be secured with the token of the flow's own care-of address
            for fid in work:
                entry = self.wanted_flows.get(fid) or self.flows.get(fid) or self.doubtful.get(fid)
                bids = [b for b in (entry.bids if entry else ()) if b in self.wanted_care_of]
                if bids:
                    return [self.wanted_care_of[bids[0]]]
        return sorted(self.wanted_care_of.values(), key=rank)[:1]

    def _flow_work(self, now: float) -> list[int]:
        """Return the FIDs, in ascending order, of the flows that have to be added, changed, refreshed or removed."""
        if self.supports_flows is False:
            return []
        work = {fid for fid in (*self.flows, *self.doubtful) if fid not in self.wanted_flows and self._removable(fid)}
        here = self.wanted_care_of.keys()
        for fid, entry in self.wanted_flows.items():
            known = self.flows.get(fid)
            if fid in self.doubtful or known is None or not entry.same(known):
                if here >= set(entry.bids):
                    work.add(fid)
            elif known.refresh_at <= now and self._removable(fid):
                work.add(fid)
        return sorted(work)

    def _removable(self, fid: int) -> bool:
        """Whether an update may name a flow. At a correspondent node, only one from the flow's own address may
        (R94)."""
        entry = self.flows.get(fid) or self.doubtful.get(fid)
        return (
            self.role != "correspondent"
            or entry is None
            or not entry.bids
            or not self.wanted_care_of.keys().isdisjoint(entry.bids)
        )

    def _put_flows(self, plan: Plan, work: list[int], reachable: set[int]) -> None:
        carried = {entry.bid for entry in plan.care_of}
        for fid in work:
            if len(plan.flows) >= _FLOWS_PER_UPDATE:
                break
            wish = self.wanted_flows.get(fid)
            if wish is not None and not reachable.issuperset(wish.bids) and not self._refreshes(fid, wish):
                continue  # it has to wait for its care-of addresses; a refresh needn't (K30)
            if self.role == "correspondent" and not self._concerns(fid, wish, carried):
                continue
            if self.profile.explicit_requests:
                self._put_explicit(plan, fid, wish)
            elif wish is not None:
                self._put_implicit(plan, fid, wish)
        if self.profile.omission_purges:
            named = {option.fid for option in plan.flows}
            plan.summary = tuple(fid for fid in self.flows if fid in self.wanted_flows and fid not in named)

    def _refreshes(self, fid: int, wish: FlowEntry) -> bool:
        """Whether the receiver is known to have a flow exactly as it is wanted, so that a refresh is all that it
        needs."""
        known = self.flows.get(fid)
        return known is not None and fid not in self.doubtful and wish.same(known)

    def _concerns(self, fid: int, wish: FlowEntry | None, carried: set[int]) -> bool:
        entry = wish or self.flows.get(fid) or self.doubtful.get(fid)
        return entry is None or not entry.bids or bool(carried.intersection(entry.bids))

    def _put_explicit(self, plan: Plan, fid: int, wish: FlowEntry | None) -> None:
        """Add the options for one flow to the plan: Add, Replace, Refresh or Remove (R85 to R88).

        In each of them, PRI and Action have the values of the list (K32).
        """
        known = self.flows.get(fid)
        doubtful = fid in self.doubtful
        if wish is None:
            plan.flows.append(flow_option(known or self.doubtful[fid], REMOVE))
            return
        if self._refreshes(fid, wish):
            plan.flows.append(flow_option(wish, REFRESH))
            return
        # a Replace without a description keeps the old one (K11), so that it can't make the flow a wild card
        widened = known is not None and wish.selector is None and not (known.certain and known.selector is None)
        if doubtful or widened:
            plan.flows.append(flow_option(wish, REMOVE))
        if known is None or doubtful or widened:
            plan.flows.append(flow_option(wish, ADD, wish.selector, wish.bids))
        else:
            # R103: a description that stays the same is left out
            selector = None if known.certain and known.selector == wish.selector else wish.selector
            plan.flows.append(flow_option(wish, REPLACE, selector, wish.bids))
        plan.entries[fid] = wish

    def _put_implicit(self, plan: Plan, fid: int, wish: FlowEntry) -> None:
        if self._refreshes(fid, wish):
            return  # the flow summary option names it
        suboptions: list[SubOption] = [BindingReference(wish.bids)]
        if wish.selector is not None:
            suboptions.append(TrafficSelectorOption(wish.selector))
        plan.flows.append(FlowIdentification(fid, wish.pri, suboptions=tuple(suboptions)))
        plan.entries[fid] = wish

    # ---- the answer

    def start_over(self) -> None:
        """The update that is under way was refused, and is planned anew: an earlier transmission may have been done."""
        if self.outstanding is not None and len(self.outstanding.sent) > 1:
            self.give_up()
        self.outstanding = None

    def revoked(self, bids: Iterable[int], stop: bool) -> list[int]:
        """The receiver has removed the bindings with these BIDs, or all if there are none (RFC 5846).

        With ``stop`` they are no longer wanted. Returns the BIDs of those that were known or wanted.
        """
        known = self.care_of.keys() | self.wanted_care_of.keys()
        named = set(bids)
        gone = known & named if named else known
        for bid in gone:
            self.care_of.pop(bid, None)
        under_way = self.outstanding is not None
        if not self.care_of:
            self.flows.clear()
            self.doubtful.clear()
            self.fresh = True
            self.contacted = under_way
        self.give_up()  # the receiver may have got it before, or may get it yet
        if stop:
            for bid in gone:
                self.wanted_care_of.pop(bid, None)
            if not self.wanted_care_of:
                self.leave(at_home=False)
        return sorted(gone)

    def give_up(self) -> None:
        """Abandon the outstanding update.

        The receiver may have done what it asks for, may still do so, or may never have received it.
        """
        plan, self.outstanding = self.outstanding, None
        if plan is None:
            return
        if plan.everything:
            self.doubtful |= self.flows
            self.flows.clear()
            self.care_of.clear()
            self.fresh = True
            return
        until = max(plan.sent.values(), default=0.0) + LIFETIME_UNIT * (plan.lifetime or self.lifetime)
        for entry in plan.care_of:
            # uncertain, so that the next update registers or removes it
            self.care_of[entry.bid] = replace(entry, expires=until, refresh_at=inf, certain=False)
        for option in plan.flows:
            known = self.flows.get(option.fid)
            if option.pro in (REPLACE, REFRESH) and known is not None:
                # if the receiver does or did this, it keeps the flow beyond the known lifetime
                certain = known.certain and option.pro == REFRESH
                self.flows[option.fid] = replace(known, lingers=until, certain=certain)
            elif option.pro != REFRESH:
                entry_then = plan.entries.get(option.fid) or known
                if entry_then is not None:
                    self.doubtful[option.fid] = replace(entry_then, expires=until)
                self.flows.pop(option.fid, None)
