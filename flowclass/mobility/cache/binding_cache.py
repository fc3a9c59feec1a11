# cython: language_level=3, annotation_typing=False
"""The binding cache: atomic transactions on its nodes, and lifetimes.

Transactions. ``nodes`` maps a home address to a `Node`, and a node in it is never changed. ``begin`` makes a working
copy, the caller changes the copy, and ``commit`` puts it in place of the old node: first in the store (if any), then,
if packets are to be forwarded differently, in the forwarding table (whose readers see the old or the new state, nothing
in between), and then in ``nodes``. If
something fails before the last step, everything stays as it was. The changes are found by comparing the two nodes, but
only if there is a listener or somebody asks for them.

Time. A heap has pairs (time, home address). A node is pushed when its earliest deadline lies before the time for which
it is scheduled. A refresh, which moves the deadline to a later time, doesn't touch the heap; the stale entry is
corrected when its time comes. The cost of an update thus depends on the size of its own node, not on the number of
nodes. deadlines.py keeps the number of stale entries small.

Failures. A store or a table may raise any exception. In a commit, this undoes the commit. An expiry is carried out
nevertheless, and the store or table that has missed it is told again later (``_behind``), at most once a second. The
same is done for a store that fails to take something back. A listener is called after the changes (delivery.py), and
can neither undo nor delay them.

Threads. Any number of threads may call any method at the same time. Writers wait for each other by ``lock``: an agent
holds it while it decides and commits one update, and a batch from its beginning to its end. A `tick` whose amount of
work is limited gives writers a chance between two calls. Readers take no lock: ``get``, iteration and ``len`` see the
state between two commits, and iteration is over a list made at its beginning. Calls of the listener are made one after
the other, in a thread that makes changes at that time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import inf
from threading import RLock
from typing import Any, Final, Protocol

from msgspec import Struct

from flowclass.addresses import AddressLike, as_packed
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
"""Bits of `BindingCache._behind`: the store or the table has missed a change."""

_RETRY: Final = 1.0
"""The time in seconds after which a failed store or table is tried again."""

_log = logging.getLogger("flowclass.mobility")


class BusyError(FlowclassError):
    """A transaction for this home address is open already, for example while duplicate address detection runs."""


class Table(Protocol):
    """The methods of engine.ForwardingTable that a cache needs. A call that raises an exception must change nothing."""

    def publish(
        self,
        home_address: bytes,
        *,
        also: Any = (),
        prefixes: Any = (),
        targets: Any = (),
        default: int = -1,
        flows: Any = (),
    ) -> int:
        """Replace the state of a node, or add the node."""

    def withdraw(self, home_address: bytes) -> Any:
        """Remove the node."""


class Store(Protocol):
    """Storage that keeps nodes over a restart.

    A store may have two optional methods. ``batch()`` returns a context manager in which `put` only collects changes;
    its end makes all of them durable, or raises and then none of them is (see `BindingCache.batch`).
    ``remember(home_address, sequence, until)`` keeps the sequence number of a node that was removed, and the time until
    which updates up to this number are refused. Calls are made one after the other, from the thread of the change.
    """

    def put(self, home_address: bytes, node: Node | None) -> None:
        """Store a node, or with None its removal; return when this is durable.

        The method may raise any exception, and may then have stored the new state or not. The update is refused with
        status 130, insufficient resources, and the cache doesn't change; an expiry is carried out nevertheless. `put`
        is called again for this home address, at the next `tick` that is at least a second later, until it has stored
        the node as the cache then has it.
        """


class Transaction(Struct, eq=False):
    """One update of one home address: change ``node``, then commit or abort. Changes are invisible before the
    commit."""

    cache: BindingCache
    home: bytes
    node: Node
    now: float
    closed: bool = False

    @property
    def changes(self) -> list[Event]:
        """The changes that a commit would make, in an order in which they can be applied: care-of addresses first."""
        return differences(self.cache.nodes.get(self.home), self.node, self.now)

    def commit(self) -> None:
        """Put the changed node in place of the old one; a node without bindings and flows is removed.

        Exceptions of the store or the table are passed on; then nothing has changed and the transaction is still open,
        so that the caller can commit again, or abort. FlowclassError is raised for a closed transaction.
        """
        self.cache._commit(self)

    def delete(self) -> None:
        """De-register the node (R108): the commit will remove all its bindings and flows."""
        self.node.care_of = {}
        self.node.flows = {}

    def abort(self) -> None:
        """Close the transaction without changing anything."""
        self.closed = True
        cache = self.cache
        with cache.lock:
            if cache._open.get(self.home) is self:
                del cache._open[self.home]


class BindingCache:
    """Maps home addresses to `Node` objects. Several agents, of any profiles, and several threads may share a cache.

    Methods take a home address in every form of `flowclass.addresses`; values, such as `Node`, hold it packed.

    ``listener`` is called with every `Event` after it has happened. Its exceptions are logged and change nothing; it
    may change the cache itself. ``lock`` is the reentrant lock of writers; hold it around several changes between which
    no other change may come.
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
        self.owners: Owners = Owners(self.nodes)
        """The owners of mobile network prefixes, and of further home addresses as prefixes of full length."""
        self.table = table
        self.store = store
        self.switches: Switches = switches or Switches()
        self.listener = listener
        self.lock: RLock = RLock()
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

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: nodes={len(self.nodes)}, next_deadline={self.next_deadline()}>"

    def __len__(self) -> int:
        return len(self.nodes)

    def __contains__(self, home: AddressLike) -> bool:
        return self.get(home) is not None

    def __iter__(self) -> Iterator[Node]:
        """Iterate over the nodes that there are now; later changes aren't seen."""
        return iter(list(self.nodes.values()))

    def get(self, home: AddressLike) -> Node | None:
        """Return the node of a home address, or None if it has no bindings."""
        return self.nodes.get(home if type(home) is bytes else as_packed("home", home))

    def last_sequence(self, home: AddressLike) -> int | None:
        """Return the last accepted sequence number, also for a while after a de-registration (RFC 6275 section
        10.3.2)."""
        if type(home) is not bytes:
            home = as_packed("home", home)
        node = self.nodes.get(home)
        if node is not None:
            return node.sequence
        gone = self._deleted.get(home)
        return gone[1] if gone is not None and gone[0] > self._clock else None

    # ---- writing

    def begin(self, home: AddressLike, now: float, profile: str = "draft") -> Transaction:
        """Begin and return a transaction on one home address; its working copy has no expired entries.

        `BusyError` is raised if a transaction on this home address is open.
        """
        if type(home) is not bytes:
            home = as_packed("home", home)
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

    def remove(self, home: AddressLike, now: float | None = None) -> bool:
        """Remove a home address, to revoke its bindings, and abort its open transaction.

        Returns False if it had no bindings. Exceptions of the store or the table are passed on, and then nothing has
        changed.
        """
        if type(home) is not bytes:
            home = as_packed("home", home)
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
        """Install a node unchanged, from a file or another cache; it must not be changed from then on."""
        with self.lock:
            self._install(node.home, self.nodes.get(node.home), node, self._clock)
        self.deliver()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Return a context manager whose changes become durable together at its end, by one commit of the store.

        Readers see each change at once; other writers wait. Acknowledgements must not be sent before the end: if the
        store fails there, all changes except expiries are undone, and its exception is raised. A batch inside a batch
        is part of the outer one. If the store has no ``batch``, each change is made durable by itself.
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
        """Undo the changes of a batch in reverse order, except in the store, which has none of them."""
        changes, self._undo, store, self.store = self._undo or [], None, self.store, None
        try:
            for home, old, gone in reversed(changes):
                current = self.nodes.get(home)
                if current is not old:
                    kept = old
                    if old is not None and old.deadline <= self._clock:
                        # expired entries don't come back; the store is told later
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
        """Install the nodes that a store has kept, without writing them to the store again.

        ``deleted`` has the arguments of `remember`: home address, sequence number, and until when it is remembered.
        """
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
                _drop_expired(node, self._clock)  # time has passed while the transaction was open
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
            transaction.abort()  # this only closes the transaction; it is done
        self.deliver()

    def _check_claims(self, node: Node) -> None:
        """Refuse prefixes that another node has registered while the transaction was open."""
        for prefix in (*node.prefixes, *((address, 8 * len(address)) for address in node.also)):
            if self.owners.get(prefix, node.home) != node.home:
                raise FlowclassError("a prefix or an address of this node is another's by now")

    def _remember(self, node: Node, now: float, memory: float) -> None:
        """Remember the sequence number of a removed node, to detect delayed and replayed updates."""
        if node.sequence is not None and memory > 0:
            self.remember(node.home, node.sequence, now + memory)

    def remember(self, home: bytes, sequence: int, until: float) -> None:
        """Refuse updates up to this sequence number until this time, for a home address that has no binding."""
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
        """Return what `remember` has stored, as a dictionary from home addresses to pairs (until when, sequence
        number)."""
        return dict(self._deleted)

    def _install(self, home: bytes, old: Node | None, new: Node | None, now: float, *, expiry: bool = False) -> None:
        """Replace the state of a node by another. An expiry is carried out even if the store or the table fails."""
        if self._undo is not None:
            self._undo.append((home, old, self._deleted.get(home)))
        heard = 0
        if self.store is not None:
            try:
                self.store.put(home, new)  # durable first, so that no acknowledged change is lost
                heard |= _STORE
            except BaseException as error:
                self._fall_behind(home, _STORE)
                if not expiry or not isinstance(error, Exception):
                    raise
                _log.error("the store could not keep an expiry: %r", error)
        try:
            # what the table has already, it isn't told again
            if old is None or new is None or home in self._behind or not new.forwards_like(old):
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
            # the old node's present value: since the copy was made, the heap may have changed
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
        """Restore the old node in the store, because the table has refused the new one."""
        if self.store is None:
            return
        try:
            self.store.put(home, old)
        except Exception as error:
            self._fall_behind(home, _STORE)
            _log.error("the store could not take back what the forwarding table has refused: %r", error)

    def _fall_behind(self, home: bytes, who: int) -> None:
        """Note that the store or the table may have missed a change, so that it is told later."""
        self._behind[home] = self._behind.get(home, 0) | who
        self._retry_at = min(self._retry_at, self._clock + _RETRY)

    def _has_heard(self, home: bytes, who: int) -> None:
        left = self._behind.pop(home, 0) & ~who
        if left:
            self._behind[home] = left

    def _catch_up(self, now: float) -> None:
        """Tell the store and the table what they have missed; after an error, the rest waits for the next attempt."""
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
        """Pass an event that isn't a change of the cache to the listener."""
        if self.listener is not None:
            self._outbox.put(event)
            self.deliver()

    def deliver(self) -> None:
        """Call the listener with the waiting events. Methods that change the cache call this themselves at their
        end."""
        self._outbox.deliver(self.listener)

    # ---- time

    @property
    def clock(self) -> float:
        """The latest time that was passed to the cache; minus infinity before the first."""
        return self._clock

    def advance(self, now: float) -> float:
        """Set the clock to ``now``, unless it is later already; return the clock (see `later`)."""
        if now is self._clock:  # within one update
            return now
        with self.lock:
            self._clock = now = later(now, self._clock)
            return now

    def _is_meant(self, when: float, home: bytes) -> bool:
        """Whether an entry of the heap is still valid."""
        node = self.nodes.get(home)
        if node is not None and node.scheduled == when:
            return True
        gone = self._deleted.get(home)
        return gone is not None and gone[0] == when

    def _push(self, when: float, home: bytes) -> None:
        self._heap.push(when, home, len(self.nodes) + len(self._deleted))

    def next_deadline(self) -> float | None:
        """Return when `tick` has something to do next, or None if nothing is waiting."""
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
        """Remove the entries that have expired; return the events, such as *_EXPIRED and REFRESH_DUE.

        An entry ends at exactly its time of expiry. ``most`` is the number of home addresses to process at most; if
        some are left, `next_deadline` is still in the past. A failing store, table or listener raises nothing.
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
            except Exception as error:  # in a batch: the number is lost, but the node is removed
                _log.error("the store could not keep a sequence number: %r", error)
            return events
        events = differences(old, node, now)
        if expired:
            self._install(old.home, old, node, now, expiry=True)
        else:  # only refreshes are due: forwarding stays the same
            node.deadline = node.earliest()
            self.nodes[node.home] = node
            self._schedule(node)
        if due is not None:
            events.append(due)
            if self.listener is not None:
                self._outbox.put(due)
        return events

    def restart(self, now: float) -> None:
        """Set the clock to ``now``, even if it was later before."""
        with self.lock:
            self._clock = later(now, -inf)


def _drop_expired(node: Node, now: float) -> bool:
    """Remove expired entries from a working copy; return whether there were any. A flow outlives its BID (K30)."""
    care_of = {bid: entry for bid, entry in node.care_of.items() if entry.expires > now}
    flows = {fid: flow for fid, flow in node.flows.items() if flow.expires > now}
    changed = len(care_of) != len(node.care_of) or len(flows) != len(node.flows)
    node.care_of, node.flows = care_of, flows
    return changed


def _take_due(node: Node, now: float) -> Event | None:
    """Return an event with the entries due for a refresh (R131), if any, and mark them so that this happens once."""
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
    """Return the events that describe the change from one node to the other; None stands for no node."""
    node = new or old
    if node is None or (new is not None and not new.care_of and not new.flows and old is None):
        return []
    home = node.home
    events: list[Event] = []
    if old is None:
        events.append(Event(EventKind.NODE_ADDED, home))
    if new is not None and not new.care_of and not new.flows:
        new = None  # a commit removes a node without bindings
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
