# cython: language_level=3, annotation_typing=False
"""The entry of a binding cache for one home address, and what a forwarding table needs to know of it.

`CareOf` and `Flow` are immutable values: a change replaces them by new ones. This makes transactions cheap: the working
copy of a `Node` only needs shallow copies of two dictionaries, and an abort drops them.

All three classes are msgspec Structs with ``gc=False``. They are made in a quarter of the time that a dataclass takes,
and the garbage collector doesn't track them, which is safe because they can't be part of a reference cycle. If it had
to visit six objects for each of 100,000 nodes, this would cost 50 us per update on average, as much as the rest of the
processing of an update.

Times are seconds on the caller's clock; addresses are packed, 16 octets (IPv6) or 4 (IPv4).
"""

from __future__ import annotations

from math import inf
from operator import attrgetter
from typing import Final, NamedTuple

from msgspec import NODEFAULT, Struct
from msgspec.structs import fields, replace

from flowclass.addresses import address_text
from flowclass.engine.rules import rule_text
from flowclass.wire.numbers import Action

from ..addresses import Prefix

__all__ = ["DISCARD", "FORWARD", "NCAST", "PLAIN", "CareOf", "Flow", "Forwarding", "Node", "default_binding"]

FORWARD: Final = Action.FORWARD.value
DISCARD: Final = Action.DISCARD.value
NCAST: Final = Action.N_CAST.value
"""The action of a flow as a plain integer; in the rfc6089 profile it follows from the number of BIDs."""

PLAIN: Final = 0
"""Stands for the BID of a binding that was registered without one, as in RFC 6275. RFC 5648 reserves the value 0."""

RULE_SIZE: Final = 96


class CareOf(Struct, gc=False):
    """A registered care-of address (R39), which RFC 5648 calls a binding."""

    bid: int
    address: bytes
    priority: int = 0  # BID-PRI: lower is preferred, 0 means none (K13)
    expires: float = inf
    refresh_at: float = inf  # when to send a refresh request; inf after it was sent
    home: bool = False  # H flag: this is the home link, and address is the home address
    port: int = 0  # UDP port of an IPv4 care-of address behind a NAT (RFC 5555); 0: no UDP

    def __repr__(self) -> str:
        return _repr(self, address=address_text(self.address))


class Flow(Struct, gc=False):
    """A flow binding (R35 to R38). ``rule`` has all attributes of the flow description; BIDs stand for addresses
    (R46)."""

    fid: int
    priority: int  # PRI or FID-PRI: lower is tried first, equal ones by FID (K14)
    action: int
    bids: tuple[int, ...]  # PLAIN stands for the binding without BID (K19)
    rule: bytes  # one row of RULE_DTYPE
    expires: float = inf
    refresh_at: float = inf

    def __repr__(self) -> str:
        return _repr(self, rule=rule_text(self.rule))


class Forwarding(NamedTuple):
    """The arguments of ForwardingTable.publish that depend on bindings; ``default`` is an index into ``targets``, or
    -1."""

    targets: list[tuple[int, bytes]]
    default: int
    flows: list[tuple[int, int, tuple[int, ...], bytes]]


def default_binding(care_of: dict[int, CareOf]) -> CareOf | None:
    """Return the default binding (R45, R47, R50), or None if there is no binding.

    It is the one with the lowest priority number, where 0 comes after all others, and then with the lowest BID (K13).
    A binding without BID is the only one of its node and thus the default.
    """
    best = None
    key = (0, 0)
    for entry in care_of.values():
        this = (entry.priority or 256, entry.bid)
        if best is None or this < key:
            best, key = entry, this
    return best


class Node(Struct, gc=False):
    """All bindings of one home address. Only the working copy of a transaction is ever changed."""

    home: bytes
    profile: str = "draft"
    care_of: dict[int, CareOf] = {}
    flows: dict[int, Flow] = {}
    sequence: int | None = None  # of the last accepted update; all BIDs share it (RFC 5648 section 4.1)
    registration: bool = True  # the H flag of the update (M at an anchor point)
    router: bool | None = None  # the R flag; None: unknown, as from a file
    prefixes: tuple[Prefix, ...] = ()
    also: tuple[bytes, ...] = ()  # further home addresses, IPv4 (RFC 5555)
    agent: bytes = b""  # the address that updates are sent to; refresh requests come from it
    memory: float = 0.0  # how long to remember the sequence number (RFC 6275 section 5.2.8)
    deadline: float = inf  # the earliest time at which an entry expires or is due
    scheduled: float = inf  # the time of this node in the heap of the cache

    def __repr__(self) -> str:
        return _repr(
            self,
            home=address_text(self.home),
            care_of=list(self.care_of.values()),
            flows=self.ordered(),
            prefixes=[f"{address_text(network)}/{length}" for network, length in self.prefixes],
            also=[*map(address_text, self.also)],
            agent=address_text(self.agent),
        )

    def copy(self) -> Node:
        """Return a working copy; it shares the entries, which are immutable."""
        return replace(self, care_of=self.care_of.copy(), flows=self.flows.copy())

    @property
    def default(self) -> CareOf | None:
        """The default binding (R45, R47), None without any."""
        return default_binding(self.care_of)

    def bid_of(self, address: bytes) -> int | None:
        """The BID registered with a care-of address; of several the one that would be the default."""
        found = default_binding({bid: entry for bid, entry in self.care_of.items() if entry.address == address})
        return None if found is None else found.bid

    def active(self, flow: Flow) -> bool:
        """Whether packets are matched against the flow: a dangling one is kept, but skipped (K30)."""
        return flow.action == DISCARD or any(bid in self.care_of for bid in flow.bids)

    def ordered(self) -> list[Flow]:
        """Return all flow bindings in matching order, by PRI and then by FID (K14, K34)."""
        return sorted(self.flows.values(), key=_order)

    def earliest(self) -> float:
        """Return when the next entry expires or is due for a refresh."""
        when = inf
        for entry in self.care_of.values():
            if entry.expires < when:
                when = entry.expires
            if entry.refresh_at < when:
                when = entry.refresh_at
        for flow in self.flows.values():
            if flow.expires < when:
                when = flow.expires
            if flow.refresh_at < when:
                when = flow.refresh_at
        return when

    def forwards_like(self, other: Node) -> bool:
        """Whether packets go where they go with another state of the node: then a forwarding table needs no news.

        That is so after a refresh, and after an update whose flow options are all refused. Entries are compared by
        identity first, because those that an update doesn't touch are the same objects.
        """
        if (
            len(self.care_of) != len(other.care_of)
            or len(self.flows) != len(other.flows)
            or self.prefixes != other.prefixes
            or self.also != other.also
        ):
            return False
        before = iter(other.care_of.values())
        for entry in self.care_of.values():
            old = next(before)
            if entry.bid != old.bid or entry.address != old.address or entry.priority != old.priority:
                return False
        for fid, flow in self.flows.items():
            was = other.flows.get(fid)
            if was is not flow and (
                was is None
                or flow.rule != was.rule
                or flow.bids != was.bids
                or flow.action != was.action
                or flow.priority != was.priority
            ):
                return False
        return True

    def forwarding(self, first_only: bool = False) -> Forwarding:
        """Return the state for a forwarding table; ``first_only`` is the switch forward_multi = "first" (K27)."""
        targets = [(entry.bid, entry.address) for entry in self.care_of.values()]
        index = {bid: i for i, (bid, _) in enumerate(targets)}
        flows = []
        for flow in self.ordered() if len(self.flows) > 1 else self.flows.values():
            action = flow.action
            where: tuple[int, ...] = ()
            if action != DISCARD:
                where = tuple([index[bid] for bid in flow.bids if bid in index])
                if len(where) > 1:
                    where = where[:1] if action == FORWARD and first_only else _each_once(where, targets, action)
                elif not where:
                    continue  # none of its BIDs is registered: the flow is inactive (K30)
            flows.append((flow.fid, action, where, flow.rule))
        best = default_binding(self.care_of)
        return Forwarding(targets, -1 if best is None else index[best.bid], flows)


def _repr(value: Struct, **texts: object) -> str:
    """Return what a value is as text: fields that differ from their default, addresses and rules readable."""
    shown = []
    for field in fields(value):
        given = getattr(value, field.name)
        default = field.default if field.default_factory is NODEFAULT else field.default_factory()
        if given != default:
            shown.append(f"{field.name}={texts.get(field.name, given)!r}")
    return f"{type(value).__name__}({', '.join(shown)})"


_order: Final = attrgetter("priority", "fid")


def _each_once(where: tuple[int, ...], targets: list[tuple[int, bytes]], action: int) -> tuple[int, ...]:
    """For n-cast, leave out BIDs with the address of an earlier BID, so that each address gets one copy."""
    if action != NCAST:
        return where
    seen: dict[bytes, int] = {}
    for i in where:
        seen.setdefault(targets[i][1], i)
    return tuple(seen.values())
