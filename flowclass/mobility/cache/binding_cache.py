"""The binding cache: transactions, lifetimes, and nothing half done whatever fails.

Theory of operation. ``nodes`` maps a home address to a `Node`; a node in it is never written to. ``begin`` makes a
working copy, the caller changes that, ``commit`` puts it in place of the old one: first into the store (if any), then
into the forwarding table (readers there see the old or the new state, never half), then into ``nodes``. Whatever fails
before the last step leaves everything as it was. What changed is worked out by comparing the two nodes, and only when
somebody asks: an update that nobody watches pays nothing for events.

Time. A heap holds (time, home address) pairs: a node is pushed when its earliest deadline lies before the one that it
is scheduled for; a refresh, which moves the deadline out, touches the heap not at all, and the stale entry is put right
when it comes up. So an update costs O(its own node), never O(nodes); deadlines.py keeps stale entries few.

What fails. A store or a table may raise anything. In a commit that takes the commit back. An expiry goes on: what is
over is over, and who could not be told is told again later (``_behind``), once a second at most. The same goes for a
store that was asked to take something back and could not. A listener hears of what has happened after it has
(delivery.py), and can neither undo nor hold it up.

Threads. Any number of threads may call any method at once. Writers wait for each other (``lock``, which an agent holds
while it decides and commits one update; a batch holds it from its beginning to its end); `tick` lets them in between
calls when it is told how much to do. Readers take no lock: ``get``, iterating and ``len`` see states between two
commits, and what is iterated is a list made at the beginning. The listener runs in the thread that made a change, or in
another one that makes changes at the same time, one call after the other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import inf
from threading import RLock
from typing import Any, Final, Protocol

from msgspec import Struct

from flowclass.errors import FlowclassError

from ..arguments import later
from ..delivery import Outbox
from ..settings import Switches
from .deadlines import Deadlines
from .events import Event, EventKind
from .node import Node
from .owners import Owners

__all__ = ["BindingCache", "BusyError", "Store", "Table", "Transaction"]

_STORE: Final = 1
_TABLE: Final = 2
"""Who has not heard of a change: bits of `BindingCache._behind`."""

_RETRY: Final = 1.0
"""Seconds before a store or table that has failed is tried again."""

_log = logging.getLogger("flowclass.mobility")


class BusyError(FlowclassError):
    """A transaction for this home address is open (duplicate address detection runs); one at a time."""


class Table(Protocol):
    """The part of engine.ForwardingTable that a cache publishes into. A call that raises must have changed nothing."""

    def publish(
        self,
        home_address: bytes,
        *,
        also: Any = ...,
        prefixes: Any = ...,
        targets: Any = ...,
        default: int = ...,
        flows: Any = ...,
    ) -> int:
        """Put this state of a node in place of the one that is there."""

    def withdraw(self, home_address: bytes) -> Any:
        """Take the node out."""


class Store(Protocol):
    """Something that keeps nodes over a restart.

    A store may have more than `put`, and is asked for it by name. ``batch()``: a context manager in which `put` only
    gathers; its end makes all of it safe, or raises and then nothing of it is (see `BindingCache.batch`).
    ``remember(home_address, sequence, until)``: the sequence number of a node that is gone, and until when it's to be
    refused. Calls come one after the other, from whatever thread makes the change.
    """

    def put(self, home_address: bytes, node: Node | None) -> None:
        """Keep a node, or with None that it is gone; returns when that is safe.

        It may raise anything, and then may have kept the new state or not. The update is refused with 130, insufficient
        resources, and the cache as it was; for an expiry the cache goes on. `put` is called again for the same home
        address, at the next `tick` that is at least a second later, until it has taken what the cache has by then.
        """


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
        then nothing has changed and the transaction is still open: commit again, or abort."""
        self.cache._commit(self)

    def delete(self) -> None:
        """De-registration (R108): the commit will remove everything about the home address."""
        self.node.care_of = {}
        self.node.flows = {}

    def abort(self) -> None:
        """Drop it."""
        self.closed = True
        cache = self.cache
        with cache.lock:
            if cache._open.get(self.home) is self:
                del cache._open[self.home]


class BindingCache:
    """Home address -> `Node`. Several agents, of any profile, may share one cache; so may threads.

    ``listener`` is called with every `Event` after it has happened; what it raises is logged and changes nothing, and
    what it does to the cache comes after. ``lock`` is what writers hold (reentrant): take it around several changes
    that nobody else's may come between.
    """

    def __init__(
        self,
        table: Table | None = None,
        *,
        store: Store | None = None,
        switches: Switches | None = None,
        listener: Callable[[Event], object] | None = None,
    ) -> None:
        self.nodes: dict[bytes, Node] = {}
        self.owners = Owners(self.nodes)
        """Who has a mobile network prefix, or with its full length a further home address."""
        self.table = table
        self.store = store
        self.switches = switches or Switches()
        self.listener = listener
        self.lock = RLock()
        self._open: dict[bytes, Transaction] = {}
        self._heap = Deadlines(self._is_meant)
        self._deleted: dict[bytes, tuple[float, int]] = {}
        self._behind: dict[bytes, int] = {}
        self._retry_at = inf
        self._outbox: Outbox[Event] = Outbox()
        self._clock = -inf
        self._first_only = self.switches.forward_multi == "first"
        self._undo: list[tuple[bytes, Node | None, tuple[float, int] | None]] | None = None

    # ---- reading

    def __len__(self) -> int:
        return len(self.nodes)

    def __contains__(self, home: bytes) -> bool:
        return home in self.nodes

    def __iter__(self) -> Iterator[Node]:
        """The nodes as they are now: what comes or goes meanwhile isn't seen."""
        return iter(list(self.nodes.values()))

    def get(self, home: bytes) -> Node | None:
        """What is bound to a home address (packed); None: nothing."""
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
        with self.lock:
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
        """Revocation: forget a home address; an open transaction of it is aborted. False if there was nothing. Raises
        what the store or the table raise, and then nothing has changed."""
        with self.lock:
            node = self.nodes.get(home)
            if node is not None:
                self._install(home, node, None, self._clock if now is None else now)
            pending = self._open.get(home)
            if pending is not None:
                pending.abort()
        self.deliver()
        return node is not None

    def put(self, node: Node) -> None:
        """Install a node as it is, from a file or another cache; it must not be written to from then on."""
        with self.lock:
            self._install(node.home, self.nodes.get(node.home), node, self._clock)
        self.deliver()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Changes inside become durable together, at its end: one commit of the store for many updates.

        Readers see each change at once; other writers wait. The acknowledgements that it led to must not leave before
        the end: should the store fail there, all changes are taken back, but for what has expired, and its error is
        raised. A batch inside a batch is part of it. With a store that knows no batches each change is durable by
        itself, as always.
        """
        with self.lock:
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
        self.deliver()

    def _take_back(self) -> None:
        """Undo what a batch has changed, in the opposite order; the store has nothing of it."""
        changes, self._undo, store, self.store = self._undo or [], None, self.store, None
        try:
            for home, old, gone in reversed(changes):
                current = self.nodes.get(home)
                if current is not old:
                    kept = old
                    if old is not None and old.deadline <= self._clock:
                        # what has expired doesn't come back; the store hears of that when it can
                        kept = old.copy()
                        if _drop_expired(kept, self._clock):
                            self._fall_behind(home, _STORE)
                        if not kept.care_of and not kept.flows:
                            kept = None
                    self._install(home, current, kept, self._clock, expiry=True)
                if gone is not None and home not in self.nodes:
                    self._deleted[home] = gone
                    self._push(gone[0], home)
        finally:
            self.store = store

    def restore(self, nodes: Iterable[Node], deleted: Iterable[tuple[bytes, int, float]] = ()) -> None:
        """Install nodes that a store has kept, and what `remember` has been told (home address, sequence number, until
        when), without writing them to the store again."""
        with self.lock:
            store, self.store = self.store, None
            try:
                for node in nodes:
                    self.put(node)
                for home, sequence, until in deleted:
                    self.remember(home, sequence, until)
            finally:
                self.store = store

    def _commit(self, transaction: Transaction) -> None:
        with self.lock:
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
                if node.prefixes or node.also:
                    self._check_claims(node)
                self._install(home, old, node, self._clock)
            transaction.abort()  # it's done: nothing of it is open any more
        self.deliver()

    def _check_claims(self, node: Node) -> None:
        """What was nobody's when the update was decided may have become somebody's while it was open."""
        for prefix in (*node.prefixes, *((address, 8 * len(address)) for address in node.also)):
            if self.owners.get(prefix, node.home) != node.home:
                raise FlowclassError("a prefix or an address of this node is another's by now")

    def _remember(self, node: Node, now: float, memory: float) -> None:
        """Keep the sequence number of a node that is gone, against delayed and replayed updates."""
        if node.sequence is not None and memory > 0:
            self.remember(node.home, node.sequence, now + memory)

    def remember(self, home: bytes, sequence: int, until: float) -> None:
        """Refuse updates of a home address that has no binding up to this sequence number and this time."""
        with self.lock:
            if home in self.nodes:
                return
            keep = getattr(self.store, "remember", None)
            if keep is not None:
                try:
                    keep(home, sequence, until)
                except Exception as error:
                    if self._undo is not None:
                        raise
                    _log.error("the store could not keep a sequence number: %r", error)
            self._deleted[home] = (until, sequence)
            self._push(until, home)

    def deleted(self) -> dict[bytes, tuple[float, int]]:
        """What `remember` has been told: home address -> until when, sequence number."""
        return dict(self._deleted)

    def _install(self, home: bytes, old: Node | None, new: Node | None, now: float, *, expiry: bool = False) -> None:
        """Put one state of a node in place of another. An expiry can't be stopped by a store or a table that fails."""
        if self._undo is not None:
            self._undo.append((home, old, self._deleted.get(home)))
        heard = 0
        if self.store is not None:
            try:
                self.store.put(home, new)  # durable first: it's never acknowledged and then lost
                heard |= _STORE
            except BaseException as error:
                self._fall_behind(home, _STORE)
                if not expiry or not isinstance(error, Exception):
                    raise
                _log.error("the store could not keep an expiry: %r", error)
        try:
            self._publish(home, new)
            heard |= _TABLE
        except BaseException as error:
            if not expiry or not isinstance(error, Exception):
                self._put_back(home, old)
                raise
            self._fall_behind(home, _TABLE)
            _log.error("the forwarding table could not follow an expiry: %r", error)
        if self._behind:
            self._has_heard(home, heard)
        if new is None:
            self.nodes.pop(home, None)
        else:
            self.nodes[home] = new
            if self._deleted:
                self._deleted.pop(home, None)
            new.deadline = new.earliest()
            # as it is now: the copy was made when the transaction began, and the heap may have gone on since
            new.scheduled = inf if old is None else old.scheduled
            if new.deadline < new.scheduled:
                new.scheduled = new.deadline
                self._push(new.deadline, home)
            if old is None:
                self.owners.added((home, 8 * len(home)))
        self._own(home, old, new)
        if self.listener is not None:
            for event in differences(old, new, now):
                self._outbox.put(event)

    def _put_back(self, home: bytes, old: Node | None) -> None:
        """The table wouldn't have it, so the store must not either."""
        if self.store is None:
            return
        try:
            self.store.put(home, old)
        except Exception as error:
            self._fall_behind(home, _STORE)
            _log.error("the store could not take back what the forwarding table has refused: %r", error)

    def _fall_behind(self, home: bytes, who: int) -> None:
        """The store or the table may not have what the cache has: tell them later."""
        self._behind[home] = self._behind.get(home, 0) | who
        self._retry_at = min(self._retry_at, self._clock + _RETRY)

    def _has_heard(self, home: bytes, who: int) -> None:
        left = self._behind.pop(home, 0) & ~who
        if left:
            self._behind[home] = left

    def _catch_up(self, now: float) -> None:
        """Tell the store and the table what they have missed; the first error ends it until later."""
        self._retry_at = inf
        for home, who in list(self._behind.items()):
            node = self.nodes.get(home)
            try:
                if who & _STORE and self.store is not None:
                    self.store.put(home, node)
                    self._has_heard(home, _STORE)
                if who & _TABLE:
                    self._publish(home, node)
                self._has_heard(home, _STORE | _TABLE)
            except Exception as error:
                self._retry_at = now + _RETRY
                _log.error("the store or the forwarding table still fails: %r", error)
                return

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
            self.owners.release(before, home)
            self.owners.claim(after, home)

    def tell(self, event: Event) -> None:
        """Give the listener an event that is no change of the cache."""
        if self.listener is not None:
            self._outbox.put(event)
            self.deliver()

    def deliver(self) -> None:
        """Tell the listener what waits for it. Changes do that themselves, when they're done."""
        self._outbox.deliver(self.listener)

    # ---- time

    @property
    def clock(self) -> float:
        """The latest time that it was told; minus infinity before the first."""
        return self._clock

    def advance(self, now: float) -> float:
        """Let time go on to `now`, and return what time it is: see `later`."""
        with self.lock:
            self._clock = now = later(now, self._clock)
            return now

    def _is_meant(self, when: float, home: bytes) -> bool:
        """Whether an entry of the heap still stands for something."""
        node = self.nodes.get(home)
        if node is not None and node.scheduled == when:
            return True
        gone = self._deleted.get(home)
        return gone is not None and gone[0] == when

    def _push(self, when: float, home: bytes) -> None:
        self._heap.push(when, home, len(self.nodes) + len(self._deleted))

    def next_deadline(self) -> float | None:
        """When `tick` has something to do next; None: never, as things are."""
        with self.lock:
            while (first := self._heap.first()) is not None:
                when, home = first
                node = self.nodes.get(home)
                if node is not None and node.scheduled == when:
                    if node.deadline <= when:
                        return min(when, self._retry_at)
                    self._heap.pop()
                    self._schedule(node)
                elif (gone := self._deleted.get(home)) is not None and gone[0] == when:
                    return min(when, self._retry_at)
                else:
                    self._heap.pop()
            return self._retry_at if self._behind else None

    def _schedule(self, node: Node) -> None:
        node.scheduled = node.deadline
        if node.deadline < inf:
            self._push(node.deadline, node.home)

    def tick(self, now: float, most: int | None = None) -> list[Event]:
        """Expire what is over (an entry ends at its time exactly) and say what is due: REFRESH_DUE, *_EXPIRED, ...

        ``most``: look at so many home addresses and no more; `next_deadline` is still past when some are left. Nothing
        is raised for a store, a table or a listener that fails: what is over is over.
        """
        if most is not None and most < 1:
            raise FlowclassError(f"most: 1 or more home addresses expected, got {most}")
        events: list[Event] = []
        left = -1 if most is None else most
        with self.lock:
            now = self.advance(now)
            if self._behind and self._retry_at <= now:
                self._catch_up(now)
            while left and (first := self._heap.first()) is not None and first[0] <= now:
                left -= 1
                when, home = self._heap.pop()
                node = self.nodes.get(home)
                if node is not None and node.scheduled == when:
                    node.scheduled = inf
                    try:
                        if node.deadline <= now:
                            events += self._tick_node(node, now)
                        else:
                            self._schedule(node)
                    except BaseException:
                        if self.nodes.get(home) is node:
                            self._schedule(node)
                        raise
                gone = self._deleted.get(home)
                if gone is not None and gone[0] <= now:
                    del self._deleted[home]
        self.deliver()
        return events

    def _tick_node(self, old: Node, now: float) -> list[Event]:
        node = old.copy()
        expired = _drop_expired(node, now)
        due = _take_due(node, now)
        if not node.care_of and not node.flows:
            events = differences(old, None, now)
            self._install(old.home, old, None, now, expiry=True)
            try:
                self._remember(old, now, old.memory)
            except Exception as error:  # in a batch; the memory is lost, the node is gone all the same
                _log.error("the store could not keep a sequence number: %r", error)
            return events
        events = differences(old, node, now)
        if expired:
            self._install(old.home, old, node, now, expiry=True)
        else:  # only asked for a refresh: what packets see is the same
            node.deadline = node.earliest()
            self.nodes[node.home] = node
            self._schedule(node)
        if due is not None:
            events.append(due)
            if self.listener is not None:
                self._outbox.put(due)
        return events

    def restart(self, now: float) -> None:
        """Time starts again here: whatever follows is counted from this clock."""
        with self.lock:
            self._clock = later(now, -inf)


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
        elif (was.address, was.priority, was.home, was.port) != (entry.address, entry.priority, entry.home, entry.port):
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
