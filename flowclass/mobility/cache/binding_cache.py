"""The binding cache: one writer, transactions, lifetimes.

Theory of operation. ``nodes`` maps a home address to a `Node`; a node in it is never written to. ``begin`` makes a
working copy, the caller changes that, ``commit`` puts it in place of the old one: first into the store (if any), then
into the forwarding table (readers there see the old or the new state, never half), then into ``nodes``. Whatever fails
before the last step leaves everything as it was. What changed is worked out by comparing the two nodes, and only when
somebody asks: an update that nobody watches pays nothing for events.

Time. A heap holds at most a few (time, home address) pairs per node: a node is pushed when its earliest deadline lies
before the one it's scheduled for; a refresh, which moves the deadline out, touches the heap not at all, and the stale
entry is put right when it comes up. So an update costs O(its own node), never O(nodes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from math import inf
from typing import Any, Protocol

from msgspec import Struct

from flowclass.errors import FlowclassError

from ..addresses import Prefix
from ..arguments import later
from ..settings import Switches
from .events import Event, EventKind
from .node import Node

__all__ = ["BindingCache", "BusyError", "Store", "Table", "Transaction"]


class BusyError(FlowclassError):
    """A transaction for this home address is open (duplicate address detection runs); one at a time."""


class Table(Protocol):
    """The part of engine.ForwardingTable that a cache publishes into."""

    def publish(
        self,
        home_address: bytes,
        *,
        also: Any = ...,
        prefixes: Any = ...,
        targets: Any = ...,
        default: int = ...,
        flows: Any = ...,
    ) -> int: ...

    def withdraw(self, home_address: bytes) -> Any: ...


class Store(Protocol):
    """Something that keeps nodes over a restart; `put` returns when the node is safe, or raises.

    A store may have more, and is asked for it by name. ``batch()``: a context manager in which `put` only gathers; its
    end makes all of it safe, or raises and then nothing of it is (see `BindingCache.batch`). ``remember(home_address,
    sequence, until)``: the sequence number of a node that is gone, and until when it's to be refused.
    """

    def put(self, home_address: bytes, node: Node | None) -> None: ...


class Transaction(Struct, eq=False):
    """One update of one home address: change `node`, then commit or abort; nothing is seen before the commit."""

    cache: BindingCache
    home: bytes
    node: Node
    now: float
    closed: bool = False

    @property
    def changes(self) -> list[Event]:
        """What a commit would change, in an order that can be applied: care-of addresses first."""
        return differences(self.cache.nodes.get(self.home), self.node, self.now)

    def commit(self) -> None:
        """Make it so. A node without bindings and flows ceases to exist. Raises what the store or the table raise, and
        then nothing has changed and the transaction is still open."""
        self.cache._commit(self)

    def delete(self) -> None:
        """De-registration (R108): the commit will remove everything about the home address."""
        self.node.care_of = {}
        self.node.flows = {}

    def abort(self) -> None:
        """Drop it."""
        self.closed = True
        self.cache._open.pop(self.home, None)


class BindingCache:
    """Home address -> `Node`. Not thread-safe: one writer. Several agents, of any profile, may share one cache."""

    def __init__(
        self,
        table: Table | None = None,
        *,
        store: Store | None = None,
        switches: Switches | None = None,
        listener: Callable[[Event], object] | None = None,
    ) -> None:
        self.nodes: dict[bytes, Node] = {}
        self.owners: dict[Prefix, bytes] = {}
        """Who has a mobile network prefix, or with its full length a further home address."""
        self.table = table
        self.store = store
        self.switches = switches or Switches()
        self.listener = listener
        self._open: dict[bytes, Transaction] = {}
        self._heap: list[tuple[float, bytes]] = []
        self._deleted: dict[bytes, tuple[float, int]] = {}
        self._clock = -inf
        self._first_only = self.switches.forward_multi == "first"
        self._undo: list[tuple[bytes, Node | None, tuple[float, int] | None]] | None = None

    # ---- reading

    def __len__(self) -> int:
        return len(self.nodes)

    def __contains__(self, home: bytes) -> bool:
        return home in self.nodes

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def get(self, home: bytes) -> Node | None:
        return self.nodes.get(home)

    def last_sequence(self, home: bytes) -> int | None:
        """The last sequence number accepted, also shortly after a de-registration (RFC 6275 section 10.3.2)."""
        node = self.nodes.get(home)
        if node is not None:
            return node.sequence
        gone = self._deleted.get(home)
        return gone[1] if gone is not None and gone[0] > self._clock else None

    # ---- writing

    def begin(self, home: bytes, now: float, profile: str = "draft") -> Transaction:
        """A transaction on one home address, whose working copy has nothing expired in it. `BusyError` if one is
        open."""
        if home in self._open:
            raise BusyError("an update of this home address is in progress")
        now = self.advance(now)
        node = self.nodes.get(home)
        if node is None:
            node = Node(home, profile)
        else:
            node = node.copy()
            if node.deadline <= now:
                _drop_expired(node, now)
        transaction = Transaction(self, home, node, now)
        self._open[home] = transaction
        return transaction

    def remove(self, home: bytes, now: float | None = None) -> bool:
        """Revocation: forget a home address; an open transaction of it is aborted. False if there was nothing."""
        pending = self._open.get(home)
        if pending is not None:
            pending.abort()
        node = self.nodes.get(home)
        if node is None:
            return False
        self._install(home, node, None, self._clock if now is None else now)
        return True

    def put(self, node: Node) -> None:
        """Install a node as it is, from a file or another cache; it must not be written to from then on."""
        self._install(node.home, self.nodes.get(node.home), node, self._clock)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Changes inside become durable together, at its end: one commit of the store for many updates.

        Readers see each change at once. The acknowledgements that it led to must not leave before the end: should the
        store fail there, all changes are taken back and its error is raised. A batch inside a batch is part of it. With
        a store that knows no batches each change is durable by itself, as always.
        """
        open_batch = getattr(self.store, "batch", None)
        if open_batch is None or self._undo is not None:
            yield
            return
        self._undo = []
        try:
            with open_batch():
                yield
        except BaseException:
            self._take_back()
            raise
        finally:
            self._undo = None

    def _take_back(self) -> None:
        """Undo what a batch has changed, in the opposite order; the store has nothing of it."""
        changes, self._undo, store, self.store = self._undo or [], None, self.store, None
        try:
            for home, old, gone in reversed(changes):
                current = self.nodes.get(home)
                if current is not old:
                    self._install(home, current, old, self._clock)
                if gone is not None and old is None:
                    self._deleted[home] = gone
                    heappush(self._heap, (gone[0], home))
        finally:
            self.store = store

    def restore(self, nodes: Iterable[Node], deleted: Iterable[tuple[bytes, int, float]] = ()) -> None:
        """Install nodes that a store has kept, and what `remember` has been told (home address, sequence number, until
        when), without writing them to the store again."""
        store, self.store = self.store, None
        try:
            for node in nodes:
                self.put(node)
            for home, sequence, until in deleted:
                self.remember(home, sequence, until)
        finally:
            self.store = store

    def _commit(self, transaction: Transaction) -> None:
        if transaction.closed:
            raise FlowclassError("the transaction is closed")
        home, node = transaction.home, transaction.node
        if transaction.now < self._clock:
            _drop_expired(node, self._clock)  # time went on while it was open
        old = self.nodes.get(home)
        if not node.care_of and not node.flows:
            with self.batch():
                if old is not None:
                    self._install(home, old, None, self._clock)
                self._remember(node, transaction.now, max(node.memory, self.switches.deleted_memory))
        else:
            self._install(home, old, node, self._clock)
        transaction.closed = True
        del self._open[home]

    def _remember(self, node: Node, now: float, memory: float) -> None:
        """Keep the sequence number of a node that is gone, against delayed and replayed updates."""
        if node.sequence is not None and memory > 0:
            self.remember(node.home, node.sequence, now + memory)

    def remember(self, home: bytes, sequence: int, until: float) -> None:
        """Refuse updates of a home address that has no binding up to this sequence number and this time."""
        if home not in self.nodes:
            keep = getattr(self.store, "remember", None)
            if keep is not None:
                keep(home, sequence, until)
            self._deleted[home] = (until, sequence)
            heappush(self._heap, (until, home))

    def deleted(self) -> dict[bytes, tuple[float, int]]:
        """What `remember` has been told: home address -> until when, sequence number."""
        return dict(self._deleted)

    def _install(self, home: bytes, old: Node | None, new: Node | None, now: float) -> None:
        if self._undo is not None:
            self._undo.append((home, old, self._deleted.get(home)))
        if self.store is not None:
            self.store.put(home, new)  # durable first: it's never acknowledged and then lost
        try:
            self._publish(home, new)
        except Exception:
            if self.store is not None:
                self.store.put(home, old)
            raise
        if new is None:
            self.nodes.pop(home, None)
        else:
            self.nodes[home] = new
            if self._deleted:
                self._deleted.pop(home, None)
            new.deadline = new.earliest()
            if new.deadline < new.scheduled:
                new.scheduled = new.deadline
                heappush(self._heap, (new.deadline, home))
        self._own(home, old, new)
        if self.listener is not None:
            for event in differences(old, new, now):
                self.listener(event)

    def _publish(self, home: bytes, node: Node | None) -> None:
        if self.table is None:
            return
        if node is None:
            self.table.withdraw(home)
            return
        targets, default, flows = node.forwarding(self._first_only)
        self.table.publish(home, also=node.also, prefixes=node.prefixes, targets=targets, default=default, flows=flows)

    def _own(self, home: bytes, old: Node | None, new: Node | None) -> None:
        if (old is None or not (old.prefixes or old.also)) and (new is None or not (new.prefixes or new.also)):
            return
        before = () if old is None else old.prefixes + tuple((a, 8 * len(a)) for a in old.also)
        after = () if new is None else new.prefixes + tuple((a, 8 * len(a)) for a in new.also)
        if before != after:
            for prefix in before:
                if self.owners.get(prefix) == home:
                    del self.owners[prefix]
            self.owners.update(dict.fromkeys(after, home))

    # ---- time

    def advance(self, now: float) -> float:
        """Let time go on to `now`, and return what time it is: see `later`."""
        self._clock = now = later(now, self._clock)
        return now

    def next_deadline(self) -> float | None:
        """When `tick` has something to do next; None: never, as things are."""
        heap = self._heap
        while heap:
            when, home = heap[0]
            node = self.nodes.get(home)
            if node is not None and node.scheduled == when:
                if node.deadline <= when:
                    return when
                heappop(heap)
                self._schedule(node)
            elif (gone := self._deleted.get(home)) is not None and gone[0] == when:
                return when
            else:
                heappop(heap)
        return None

    def _schedule(self, node: Node) -> None:
        node.scheduled = node.deadline
        if node.deadline < inf:
            heappush(self._heap, (node.deadline, node.home))

    def tick(self, now: float) -> list[Event]:
        """Expire what is over (an entry ends at its time exactly), and say so, and which refreshes are due."""
        now = self.advance(now)
        events: list[Event] = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            when, home = heappop(heap)
            node = self.nodes.get(home)
            if node is not None and node.scheduled == when:
                node.scheduled = inf
                if node.deadline <= now:
                    events += self._tick_node(node, now)
                else:
                    self._schedule(node)
            gone = self._deleted.get(home)
            if gone is not None and gone[0] <= now:
                del self._deleted[home]
        return events

    def _tick_node(self, old: Node, now: float) -> list[Event]:
        node = old.copy()
        expired = _drop_expired(node, now)
        due = _take_due(node, now)
        if not node.care_of and not node.flows:
            events = differences(old, None, now)
            self._install(old.home, old, None, now)
            self._remember(old, now, old.memory)
            return events
        events = differences(old, node, now)
        if expired:
            self._install(old.home, old, node, now)
        else:  # only asked for a refresh: what packets see is the same
            node.deadline = node.earliest()
            self.nodes[node.home] = node
            self._schedule(node)
        if due is not None:
            events.append(due)
            if self.listener is not None:
                self.listener(due)
        return events

    def restart(self, now: float) -> None:
        """Time starts again here: whatever follows is counted from this clock."""
        self._clock = later(now, -inf)

    def compact(self) -> None:
        """Drop stale heap entries; never needed for correctness."""
        self._heap = [
            (when, home)
            for when, home in self._heap
            if ((node := self.nodes.get(home)) is not None and node.scheduled == when) or home in self._deleted
        ]
        heapify(self._heap)


def _drop_expired(node: Node, now: float) -> bool:
    """Remove what has expired from a working copy; whether anything had. A flow doesn't go with its BID (K30)."""
    care_of = {bid: entry for bid, entry in node.care_of.items() if entry.expires > now}
    flows = {fid: flow for fid, flow in node.flows.items() if flow.expires > now}
    changed = len(care_of) != len(node.care_of) or len(flows) != len(node.flows)
    node.care_of, node.flows = care_of, flows
    return changed


def _take_due(node: Node, now: float) -> Event | None:
    """What to ask a refresh for (R131); it's marked as asked, so that it is once."""
    bids = [bid for bid, entry in node.care_of.items() if entry.refresh_at <= now]
    fids = [fid for fid, flow in node.flows.items() if flow.refresh_at <= now]
    if not bids and not fids:
        return None
    for bid in bids:
        old = node.care_of[bid]
        node.care_of[bid] = type(old)(old.bid, old.address, old.priority, old.expires, inf, old.home)
    for fid in fids:
        was = node.flows[fid]
        node.flows[fid] = type(was)(was.fid, was.priority, was.action, was.bids, was.rule, was.expires, inf)
    return Event(EventKind.REFRESH_DUE, node.home, bids=tuple(bids), fids=tuple(fids))


def differences(old: Node | None, new: Node | None, now: float) -> list[Event]:
    """The events that lead from one node to the other; both None: none."""
    node = new or old
    if node is None or (new is not None and not new.care_of and not new.flows and old is None):
        return []
    home = node.home
    events: list[Event] = []
    if old is None:
        events.append(Event(EventKind.NODE_ADDED, home))
    if new is not None and not new.care_of and not new.flows:
        new = None  # what a commit will do with it
    before = old.care_of if old is not None else {}
    after = new.care_of if new is not None else {}
    for bid, entry in after.items():
        was = before.get(bid)
        if was is None:
            events.append(Event(EventKind.BID_ADDED, home, bid, entry.address))
        elif (was.address, was.priority, was.home) != (entry.address, entry.priority, entry.home):
            events.append(Event(EventKind.BID_CHANGED, home, bid, entry.address))
    for bid, entry in before.items():
        if bid not in after:
            kind = EventKind.BID_EXPIRED if entry.expires <= now else EventKind.BID_REMOVED
            events.append(Event(kind, home, bid, entry.address))
    events += _flow_differences(home, old, new, now)
    if (old.prefixes if old else ()) != (new.prefixes if new else ()):
        events.append(Event(EventKind.PREFIXES_CHANGED, home))
    default, earlier = (new.default if new else None), (old.default if old else None)
    if (default and (default.bid, default.address)) != (earlier and (earlier.bid, earlier.address)):
        number, address = (default.bid, default.address) if default else (-1, b"")
        events.append(Event(EventKind.DEFAULT_CHANGED, home, number, address))
    if new is None:
        events.append(Event(EventKind.NODE_REMOVED, home))
    return events


def _flow_differences(home: bytes, old: Node | None, new: Node | None, now: float) -> list[Event]:
    before = old.flows if old is not None else {}
    after = new.flows if new is not None else {}
    events = []
    for fid, flow in after.items():
        was = before.get(fid)
        if was is None:
            events.append(Event(EventKind.FLOW_ADDED, home, fid, bids=flow.bids))
        elif (was.priority, was.action, was.bids, was.rule) != (flow.priority, flow.action, flow.bids, flow.rule):
            events.append(Event(EventKind.FLOW_CHANGED, home, fid, bids=flow.bids))
    for fid, flow in before.items():
        if fid not in after:
            kind = EventKind.FLOW_EXPIRED if flow.expires <= now else EventKind.FLOW_REMOVED
            events.append(Event(kind, home, fid, bids=flow.bids))
    return events
