"""What a binding cache holds for one home address, and what a forwarding table needs of it.

`CareOf` and `Flow` are values: nothing changes one after it is made, a new one takes its place. That is what makes a
transaction cheap: its working copy of a `Node` is two shallow dictionaries, and an abort just drops it.

All three are msgspec Structs with ``gc=False``: made in a quarter of a dataclass's time, and no business of the garbage
collector, because nothing in them can lead back to them. With six objects a node that it does walk, 100,000 nodes cost
50 us per update on average, as much as everything else about an update together.

Times are seconds on the caller's clock; addresses are packed, 16 octets (IPv6) or 4 (IPv4).
"""

from __future__ import annotations

from copy import copy
from math import inf
from operator import attrgetter
from typing import Final, NamedTuple

from msgspec import Struct

from flowclass.wire.numbers import Action

from ..addresses import Prefix

__all__ = ["DISCARD", "FORWARD", "NCAST", "PLAIN", "CareOf", "Flow", "Forwarding", "Node", "default_binding"]

FORWARD: Final = Action.FORWARD.value
DISCARD: Final = Action.DISCARD.value
NCAST: Final = Action.N_CAST.value
"""The action of a flow as a plain integer; the rfc6089 profile stores what its number of BIDs means."""

PLAIN: Final = 0
"""The BID of a binding that was registered without one (RFC 6275 style): 0 is reserved in RFC 5648, so it's free
here."""

RULE_SIZE: Final = 96


class CareOf(Struct, gc=False):
    """A registered care-of address (R39): what RFC 5648 calls a binding."""

    bid: int
    address: bytes
    priority: int = 0  # BID-PRI, lower is preferred, 0: none given (K13)
    expires: float = inf
    refresh_at: float = inf  # when to ask for a refresh; inf once asked
    home: bool = False  # H flag: the home link itself, address is the home address
    port: int = 0  # of an IPv4 care-of address behind a NAT: packets go there in UDP (RFC 5555); 0: without


class Flow(Struct, gc=False):
    """A flow binding (R35 to R38): every attribute of its description is in `rule`, and BIDs stand for addresses
    (R46)."""

    fid: int
    priority: int  # PRI or FID-PRI, lower is tried first; equal ones by FID (K14)
    action: int
    bids: tuple[int, ...]  # PLAIN among them: the binding without BID (K19)
    rule: bytes  # one row of RULE_DTYPE
    expires: float = inf
    refresh_at: float = inf


class Forwarding(NamedTuple):
    """The arguments of ForwardingTable.publish that depend on bindings; `default` is an index into targets or -1."""

    targets: list[tuple[int, bytes]]
    default: int
    flows: list[tuple[int, int, tuple[int, ...], bytes]]


def default_binding(care_of: dict[int, CareOf]) -> CareOf | None:
    """The default binding (R45, R47, R50): lowest priority number, 0 after all others, ties to the lowest BID (K13).

    A binding without BID is alone in its node, so it's the default by itself.
    """
    best = None
    key = (0, 0)
    for entry in care_of.values():
        this = (entry.priority or 256, entry.bid)
        if best is None or this < key:
            best, key = entry, this
    return best


class Node(Struct, gc=False):
    """Everything bound to one home address. Only a transaction's own copy is ever written to."""

    home: bytes
    profile: str = "draft"
    care_of: dict[int, CareOf] = {}
    flows: dict[int, Flow] = {}
    sequence: int | None = None  # of the last update accepted; one space for all BIDs (RFC 5648 section 4.1)
    registration: bool = True  # the H flag that the binding was made with (or M at a MAP)
    router: bool | None = None  # the R flag; None: not known, from a file
    prefixes: tuple[Prefix, ...] = ()
    also: tuple[bytes, ...] = ()  # further home addresses, IPv4 (RFC 5555)
    agent: bytes = b""  # the address that updates are sent to: source of refresh requests
    memory: float = 0.0  # how long the sequence number outlives it (RFC 6275 section 5.2.8)
    deadline: float = inf  # the earliest time at which something expires or is due
    scheduled: float = inf  # when the cache's heap has this node next

    def copy(self) -> Node:
        """A working copy: entries are shared, they're never written to."""
        node = copy(self)
        node.care_of = self.care_of.copy()
        node.flows = self.flows.copy()
        return node

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
        """All flow bindings in matching order: (PRI, FID) (K14, K34)."""
        return sorted(self.flows.values(), key=_order)

    def earliest(self) -> float:
        """When the next of its entries expires or is due for a refresh."""
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

    def forwarding(self, first_only: bool = False) -> Forwarding:
        """What a forwarding table is to do; `first_only` is the switch forward_multi = "first" (K27)."""
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
                    continue  # inactive: K30
            flows.append((flow.fid, action, where, flow.rule))
        best = default_binding(self.care_of)
        return Forwarding(targets, -1 if best is None else index[best.bid], flows)


_order: Final = attrgetter("priority", "fid")


def _each_once(where: tuple[int, ...], targets: list[tuple[int, bytes]], action: int) -> tuple[int, ...]:
    """n-cast sends one copy to each address, also when two BIDs have the same; hashing is over BIDs."""
    if action != NCAST:
        return where
    seen: dict[bytes, int] = {}
    for i in where:
        seen.setdefault(targets[i][1], i)
    return tuple(seen.values())
