"""Stores, forwarding tables and listeners that raise or call back: nothing is half done, and nothing stays locked."""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from mobility_kit import AGENT, COA1, COA2, HOME, OTHER_HOME, A, H, M, Peer, ReadableTable, bid, flow

from flowclass.errors import FlowclassError
from flowclass.mobility import (
    Agent,
    BindingCache,
    CorrespondentNode,
    Event,
    EventKind,
    HomeAgent,
    MobilityAnchorPoint,
    Node,
)
from flowclass.mobility.cache.deadlines import Deadlines
from flowclass.wire import BindingStatus, BindingUpdate, MobilityPacket, encode_packet

ERRORS = [OSError(28, "no space"), sqlite3.OperationalError("database is locked"), KeyError("x"), RuntimeError()]


class Failing:
    """A store and a table in one, which fail when told to."""

    def __init__(self) -> None:
        self.kept: dict[bytes, Node | None] = {}
        self.table = ReadableTable()
        self.store_error: BaseException | None = None
        self.table_error: BaseException | None = None
        self.puts = 0

    def put(self, home: bytes, node: Node | None) -> None:
        self.puts += 1
        if self.store_error is not None:
            raise self.store_error
        self.kept[home] = node

    def publish(self, home_address: bytes, **what: Any) -> int:
        if self.table_error is not None:
            raise self.table_error
        return self.table.publish(home_address, **what)

    def withdraw(self, home_address: bytes) -> None:
        if self.table_error is not None:
            raise self.table_error
        self.table.withdraw(home_address)


def failing(role: type[Agent] = HomeAgent, profile: str = "draft") -> tuple[Peer, Failing]:
    fails = Failing()
    peer = Peer(agent=role(profile, table=fails, store=fails))
    peer.table = fails.table
    return peer, fails


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("which", ["store_error", "table_error"])
@pytest.mark.parametrize(("role", "flags"), [(HomeAgent, A | H), (MobilityAnchorPoint, A | M)])
@pytest.mark.parametrize("profile", ["draft", "rfc6089"])
def test_an_update_that_cannot_be_kept_is_refused_and_locks_nothing(
    error: Exception, which: str, role: type[Agent], flags: int, profile: str
) -> None:
    peer, fails = failing(role, profile)
    peer.send(bid(1, COA1), flags=flags)
    before = peer.state()
    setattr(fails, which, error)
    for lifetime in (100, 0):
        answer = peer.send(bid(2, COA2), flags=flags) if lifetime else peer.send(lifetime=0, flags=flags)
        assert (answer.status, answer.lifetime) == (BindingStatus.INSUFFICIENT_RESOURCES, 0)
        assert peer.state() == before
        assert peer.decide() == ("default", None, [str(COA1)])
    setattr(fails, which, None)
    assert peer.send(bid(2, COA2), flags=flags).status == 0
    peer.agent.tick(peer.now + 5)
    assert fails.kept[HOME.packed] is peer.node


@pytest.mark.parametrize("which", ["store_error", "table_error"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_nothing_lives_longer_because_something_fails(which: str, error: Exception) -> None:
    peer, fails = failing()
    peer.send(bid(1, COA1), lifetime=5)
    peer.send(bid(1, COA2), lifetime=5, home=OTHER_HOME)
    setattr(fails, which, error)
    end = peer.now + 20
    assert peer.agent.tick(end) == []
    assert len(peer.agent.cache) == 0
    retry = peer.agent.next_deadline()
    assert retry is not None
    assert retry <= end + 10
    puts = fails.puts
    peer.agent.tick(end + 0.5)  # not before a second has gone by
    assert fails.puts == puts
    setattr(fails, which, None)
    peer.agent.tick(end + 10)
    assert (fails.kept[HOME.packed], fails.kept[OTHER_HOME.packed]) == (None, None)
    assert not fails.table.nodes
    assert peer.agent.next_deadline() is None


def test_an_interrupt_while_the_store_writes_leaves_the_address_free() -> None:
    peer, fails = failing()
    fails.store_error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        peer.send(bid(1, COA1))
    fails.store_error = None
    assert peer.send(bid(1, COA1)).status == 0


def test_a_store_that_cannot_take_back_hears_of_it_later() -> None:
    peer, fails = failing()
    peer.send(bid(1, COA1))
    kept = peer.node

    def put(home: bytes, node: Node | None) -> None:
        Failing.put(fails, home, node)
        fails.store_error = OSError(5, "it took that and broke")

    fails.put = put  # type: ignore[method-assign]  # for a while
    fails.table_error = OSError(12, "no memory")
    assert peer.send(bid(2, COA2)).status == 130
    del fails.put  # type: ignore[method-assign]  # for a while
    assert fails.kept[HOME.packed] is not kept
    fails.store_error = fails.table_error = None
    peer.agent.tick(peer.now + 2)
    assert fails.kept[HOME.packed] is peer.node is kept


def test_a_batch_that_fails_takes_back_all_but_what_has_expired() -> None:
    class Batched(Failing):
        @contextmanager
        def batch(self) -> Iterator[None]:
            before = dict(self.kept)
            try:
                yield
                if self.commit_error is not None:
                    raise self.commit_error
            except BaseException:
                self.kept = before
                raise

        commit_error: Exception | None = None

    store = Batched()
    peer = Peer(store=store)
    peer.send(bid(1, COA1), lifetime=5)
    peer.send(bid(1, COA2), home=OTHER_HOME)
    store.commit_error = OSError(28, "no space")
    peer.now += 20

    def changes() -> None:
        with peer.agent.cache.batch():
            peer.agent.tick(peer.now)
            assert peer.send(bid(2, COA1), home=OTHER_HOME).status == 0

    with pytest.raises(OSError, match="no space"):
        changes()
    assert set(peer.agent.cache.nodes) == {OTHER_HOME.packed}
    assert set(peer.agent.cache.nodes[OTHER_HOME.packed].care_of) == {1}
    store.commit_error = None
    peer.agent.tick(peer.now + 2)
    assert store.kept[HOME.packed] is None


def test_a_listener_can_neither_undo_nor_block_what_was_committed() -> None:
    seen: list[Event] = []

    def listener(event: Event) -> None:
        seen.append(event)
        raise KeyError("a listener with a fault")

    peer = Peer(agent=HomeAgent(table=ReadableTable(), listener=listener))
    assert peer.send(bid(1, COA1), lifetime=5).status == 0
    assert [event.kind for event in seen] == [EventKind.NODE_ADDED, EventKind.BID_ADDED, EventKind.DEFAULT_CHANGED]
    peer.agent.tick(peer.now + 20)
    assert seen[-1].kind is EventKind.NODE_REMOVED
    assert len(peer.agent.cache) == 0
    peer.agent.receive(bytes.fromhex("6000000000003b40") + bytes(32), now=peer.now)  # nothing of it is raised


def test_a_listener_may_call_back() -> None:
    order: list[str] = []

    def listener(event: Event) -> None:
        order.append(event.kind.value)
        if event.kind is EventKind.NODE_ADDED:
            assert agent.cache.remove(HOME.packed)
            order.append("back")

    agent = HomeAgent(table=ReadableTable(), listener=listener)
    Peer(agent=agent).send(bid(1, COA1))
    # what it did comes after what it was told of
    assert order == ["node-added", "back", "bid-added", "default-changed", "bid-removed", "default-changed",
                     "node-removed"]  # fmt: skip


def test_commit_after_the_lifetime_is_a_refusal() -> None:
    for role, flags in ((HomeAgent, A | H), (MobilityAnchorPoint, A | M)):
        peer = Peer(agent=role(table=ReadableTable()))
        for granted, late, status in ((None, 20, 128), (2, 8, 128), (2, 7, 0)):
            packet = encode_packet(peer.packet(bid(1, COA1), flow(1), lifetime=5, flags=flags))
            pending = peer.agent.begin(packet, now=peer.now)
            peer.now += late
            answers = peer.agent.receive(b"", now=peer.now) + pending.commit(granted)
            assert len(answers) == 1
            assert (peer.node is None) == (status != 0)
            assert peer.agent.counters.updates[status] > 0
        assert peer.agent.begin(packet, now=peer.now).commit(now=peer.now) != []


def test_an_update_that_is_open_while_its_node_is_due_does_not_outlive_its_time() -> None:
    peer = Peer()
    peer.send(bid(1, COA1), lifetime=5)
    pending = peer.agent.begin(peer.packet(bid(2, COA2), lifetime=50), now=peer.now + 1)
    peer.agent.tick(peer.now + 20)  # the node's place in the heap is gone
    assert pending.commit()
    assert peer.agent.next_deadline() == peer.now + 191
    peer.agent.tick(peer.now + 201)
    assert peer.node is None


def test_what_hooks_may_say() -> None:
    for answer, status, there in (
        (True, 0, True), (0, 0, True), (None, 0, True), (1, 1, True), (127, 127, True),
        (False, 129, False), (128, 128, False), (140, 140, False), (255, 255, False),
    ):  # fmt: skip
        peer = Peer(admit_update=lambda update, node, answer=answer: answer)
        sent = peer.send(bid(1, COA1))
        assert (sent.status, sent.lifetime, peer.node is not None) == (status, 150 if there else 0, there)
    for answer, status in ((True, 0), (None, 0), (3, 3), (False, 130), (128, 128), (200, 200)):
        peer = Peer(admit_flow=lambda node, option, answer=answer: answer)
        assert peer.send(bid(1, COA1), flow(1)).flow_statuses == [status]
        assert bool(peer.node.flows) == (status < 128)
    for wrong in ("yes", 256, -1, 1.0):
        peer = Peer(admit_update=lambda update, node, wrong=wrong: wrong)
        with pytest.raises(FlowclassError, match="admit_update"):
            peer.send(bid(1, COA1))
        peer.agent.admit_update = None
        assert peer.send(bid(1, COA1)).status == 0


# ---- many at once


def crowd(agent: Agent, count: int, lifetime: int = 10) -> None:
    for number in range(count):
        home = type(HOME)(int(HOME) + (number << 64) + 1)
        packet = MobilityPacket(COA1, AGENT, BindingUpdate(1, lifetime, A | H, (bid(1, COA1),)), home)
        agent.receive(encode_packet(packet), now=0.0)


def test_a_tick_does_no_more_than_it_is_told() -> None:
    agent = HomeAgent(table=ReadableTable())
    crowd(agent, 25)
    asked = [len(agent.tick(30.0, most=10)) for _ in range(3)]
    assert asked == [10, 10, 5]
    left = []
    while (when := agent.next_deadline()) is not None and when <= 40.0:
        agent.tick(40.0, most=10)
        left.append(len(agent.cache))
    assert left == [15, 5, 0]
    with pytest.raises(FlowclassError, match="most"):
        agent.tick(50.0, most=0)


@pytest.mark.parametrize("lifetime", [1, 10, 60000])
def test_the_heap_of_deadlines_does_not_grow_with_registrations_that_ended(lifetime: int) -> None:
    agent = HomeAgent(table=ReadableTable())
    crowd(agent, 10, 60000)
    peer = Peer(agent=agent)
    for _ in range(2000):
        peer.send(bid(1, COA1), lifetime=lifetime)
        peer.send(lifetime=0)
    assert len(agent.cache._heap) < 200
    for shorter in range(2000):
        peer.send(bid(1, COA1), lifetime=60000 - shorter)
    assert len(agent.cache._heap) < 200


def test_deadlines_come_in_order_while_the_heap_is_sifted() -> None:
    meant: dict[bytes, float] = {}
    heap = Deadlines(lambda when, home: meant.get(home) == when)
    largest = 0
    for turn in range(40):
        for number in range(50):
            home, when = bytes([number]), float((number * 7919 + turn * 104729) % 10007)
            meant[home] = when
            heap.push(when, home, len(meant))
        largest = max(largest, len(heap))
    assert largest < 400
    taken = []
    while heap.first() is not None:
        when, home = heap.pop()
        if meant.get(home) == when:
            taken.append((when, home))
            del meant[home]
    assert not meant
    assert taken == sorted(taken)


# ---- threads


def run_beside(seconds: float, *jobs: Callable[[], object]) -> Counter[str]:
    """Each job over and over in a thread of its own; what they raised."""
    errors: Counter[str] = Counter()
    stop = threading.Event()

    def loop(job: Callable[[], object]) -> None:
        try:
            while not stop.is_set():
                job()
        except Exception as error:
            errors[f"{type(error).__name__}: {error}"] += 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=loop, args=(job,)) for job in jobs]
    try:
        for thread in threads:
            thread.start()
        stop.wait(seconds)
        stop.set()
    finally:
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    return errors


@pytest.mark.parametrize("role", [HomeAgent, MobilityAnchorPoint, CorrespondentNode])
def test_receive_tick_export_and_iterating_beside_each_other(role: type[Agent]) -> None:
    agent = role(table=ReadableTable())
    flags = A | {HomeAgent: H, MobilityAnchorPoint: M}.get(role, 0)
    clock = [0.0]

    def send(first: int) -> Callable[[], object]:
        state = {"sequence": 0}

        def job() -> None:
            state["sequence"] = sequence = state["sequence"] + 1 & 0xFFFF
            home = type(HOME)(int(HOME) + first + sequence % 7)
            lifetime = 0 if sequence % 5 == 0 else 1 + sequence % 3
            message = BindingUpdate(sequence, lifetime, flags, (bid(1, COA1),) if lifetime else ())
            clock[0] += 0.01
            agent.receive(encode_packet(MobilityPacket(COA1, AGENT, message, home)), now=clock[0],
                          authorized=[COA1.packed])  # fmt: skip

        return job

    def read() -> None:
        for node in agent.cache:
            agent.cache.get(node.home)
        agent.next_deadline()

    jobs = [send(0), send(0), send(100), lambda: agent.tick(clock[0], most=3), read]
    assert not run_beside(1.0, *jobs, lambda: agent.export_state(clock[0]))
    assert not agent.cache._open
    agent.tick(clock[0] + 100)
    agent.tick(clock[0] + 1000)
    assert len(agent.cache) == len(agent.cache._heap) == 0


def test_two_agents_that_share_a_cache_in_two_threads() -> None:
    cache = BindingCache(ReadableTable())
    one, other = Peer(agent=HomeAgent(cache=cache)), Peer(agent=MobilityAnchorPoint(cache=cache))
    assert not run_beside(
        0.5,
        lambda: one.send(bid(1, COA1)),
        lambda: other.send(bid(1, COA2), flags=A | M, home=OTHER_HOME),
    )
    assert set(cache.nodes) == {HOME.packed, OTHER_HOME.packed}
