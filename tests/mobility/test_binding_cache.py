"""The binding cache by itself: transactions, lifetimes, what it publishes, what it says has changed."""

from __future__ import annotations

import gc
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowclass.engine.rules import WILD_CARD
from flowclass.errors import FlowclassError
from flowclass.mobility.cache.binding_cache import BindingCache, BusyError, Transaction
from flowclass.mobility.cache.events import Event, EventKind
from flowclass.mobility.cache.node import DISCARD, FORWARD, NCAST, PLAIN, CareOf, Flow, Node
from flowclass.mobility.settings import Switches

HOME = bytes(15) + b"\x01"
OTHER = bytes(15) + b"\x02"
A, B, C = (bytes(15) + bytes([0xA0 + i]) for i in range(3))


class FakeTable:
    """Remembers what was published; can be told to fail."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, dict[str, Any]] = {}
        self.failing = False

    def publish(self, home_address: bytes, **what: Any) -> int:
        if self.failing:
            raise FlowclassError("the table is full")
        self.nodes[home_address] = what
        return 0

    def withdraw(self, home_address: bytes) -> None:
        if self.failing:
            raise FlowclassError("the table is full")
        del self.nodes[home_address]


def bind(cache: BindingCache, *entries: CareOf | Flow, now: float = 0.0, home: bytes = HOME) -> Transaction:
    transaction = cache.begin(home, now)
    for entry in entries:
        if isinstance(entry, CareOf):
            transaction.node.care_of[entry.bid] = entry
        else:
            transaction.node.flows[entry.fid] = entry
    return transaction


def entries(node: Node) -> list[CareOf | Flow]:
    return [*node.care_of.values(), *node.flows.values()]


def kinds(events: list[Event]) -> list[str]:
    return [str(e.kind) for e in events]


def test_the_garbage_collector_does_not_walk_the_cache() -> None:
    """Else a full collection takes longer with every node, and comes the more often the more updates there are."""
    cache = BindingCache(FakeTable())
    for i in range(3):
        bind(cache, CareOf(1, A), CareOf(2, B), Flow(1, 1, NCAST, (1, 2), WILD_CARD), home=bytes([i] * 16)).commit()
    for node in cache:
        assert not any(map(gc.is_tracked, [node, *entries(node)]))


def test_nothing_is_seen_before_the_commit() -> None:
    table = FakeTable()
    cache = BindingCache(table)
    transaction = bind(cache, CareOf(1, A))
    assert HOME not in cache
    assert not table.nodes
    transaction.commit()
    assert HOME in cache
    assert table.nodes[HOME]["targets"] == [(1, A)]
    other = bind(cache, CareOf(2, B))
    other.node.care_of.pop(1)
    other.abort()
    assert list(cache.nodes[HOME].care_of) == [1]
    assert cache.next_deadline() is None


def test_an_open_update_makes_the_next_one_busy() -> None:
    cache = BindingCache()
    transaction = cache.begin(HOME, 0.0)
    with pytest.raises(BusyError):
        cache.begin(HOME, 0.0)
    cache.begin(OTHER, 0.0).abort()
    transaction.abort()
    cache.begin(HOME, 0.0).abort()
    with pytest.raises(FlowclassError, match="closed"):
        transaction.commit()


def test_a_table_or_store_that_fails_leaves_everything_as_it_was() -> None:
    class FailingStore:
        def __init__(self) -> None:
            self.kept: dict[bytes, Node | None] = {}
            self.failing = False

        def put(self, home_address: bytes, node: Node | None) -> None:
            if self.failing:
                raise OSError("disk full")
            self.kept[home_address] = node

    table, store = FakeTable(), FailingStore()
    cache = BindingCache(table, store=store)
    bind(cache, CareOf(1, A)).commit()
    before = cache.nodes[HOME]
    table.failing = True
    transaction = bind(cache, CareOf(2, B))
    with pytest.raises(FlowclassError):
        transaction.commit()
    assert cache.nodes[HOME] is before
    assert store.kept[HOME] is before
    table.failing, store.failing = False, True
    with pytest.raises(OSError, match="disk"):
        transaction.commit()
    assert cache.nodes[HOME] is before
    assert len(table.nodes[HOME]["targets"]) == 1
    store.failing = False
    transaction.commit()
    assert list(cache.nodes[HOME].care_of) == [1, 2]
    assert store.kept[HOME] is cache.nodes[HOME]


@pytest.mark.req("R45", "R47", "R50", "K13")
def test_the_default_binding() -> None:
    node = Node(HOME)
    assert node.default is None
    for entry, best in [
        (CareOf(7, A, 0), 7),
        (CareOf(9, B, 127), 9),  # no priority ranks after all explicit ones
        (CareOf(8, B, 20), 8),
        (CareOf(6, C, 20), 6),  # ties: the lowest BID
        (CareOf(3, C, 0), 6),
    ]:
        node.care_of[entry.bid] = entry
        assert node.default is node.care_of[best]
    assert node.bid_of(C) == 6
    assert node.bid_of(HOME) is None


@pytest.mark.req("R40", "R42", "K14", "K30", "K34", "R46")
def test_what_is_published() -> None:
    table = FakeTable()
    cache = BindingCache(table)
    flows = [
        Flow(5, 1, FORWARD, (1,), b"five"),
        Flow(2, 1, NCAST, (2, 1, 9), b"two"),
        Flow(3, 0, DISCARD, (), b"three"),
        Flow(4, 0, FORWARD, (9,), b"four"),
    ]
    bind(cache, CareOf(1, A, 20), CareOf(2, B, 10), *flows).commit()
    published = table.nodes[HOME]
    assert published["targets"] == [(1, A), (2, B)]
    assert published["default"] == 1
    # (PRI, FID) order; the one that points nowhere is left out, in the other the BID that isn't there is
    assert published["flows"] == [(3, 2, (), b"three"), (2, 3, (1, 0), b"two"), (5, 1, (0,), b"five")]
    bind(cache, CareOf(9, C)).commit()
    assert [f[0] for f in table.nodes[HOME]["flows"]] == [3, 4, 2, 5]
    bind(cache, CareOf(1, C)).commit()  # moving a BID moves its flows, which know no address
    assert table.nodes[HOME]["targets"] == [(1, C), (2, B), (9, C)]
    assert table.nodes[HOME]["flows"][2] == (2, 3, (1, 0), b"two")  # each address once


@pytest.mark.req("K27")
@pytest.mark.parametrize(("how", "where"), [("hash", (0, 1)), ("first", (0,))])
def test_forward_with_several_bids(how: Any, where: tuple[int, ...]) -> None:
    table = FakeTable()
    cache = BindingCache(table, switches=Switches(forward_multi=how))
    bind(cache, CareOf(1, A), CareOf(2, B), Flow(1, 1, FORWARD, (7, 1, 2), WILD_CARD)).commit()
    assert table.nodes[HOME]["flows"][0][2] == where


@pytest.mark.req("K30", "R130")
def test_everything_ends_at_its_own_time() -> None:
    table = FakeTable()
    cache = BindingCache(table)
    bind(
        cache, CareOf(1, A, expires=10), CareOf(2, B, expires=20), Flow(1, 1, FORWARD, (1,), WILD_CARD, expires=30)
    ).commit()
    assert cache.next_deadline() == 10
    assert cache.tick(9.999) == []
    assert kinds(cache.tick(10)) == ["bid-expired", "default-changed"]
    assert table.nodes[HOME]["targets"] == [(2, B)]
    assert table.nodes[HOME]["flows"] == []
    assert cache.next_deadline() == 20
    assert kinds(cache.tick(25)) == ["bid-expired", "default-changed"]
    assert HOME in cache  # the flow lives on, inactive
    assert table.nodes[HOME]["default"] == -1
    assert kinds(cache.tick(30)) == ["flow-expired", "node-removed"]
    assert not table.nodes
    assert cache.next_deadline() is None


@pytest.mark.req("R131", "K17")
def test_a_refresh_is_asked_for_once() -> None:
    cache = BindingCache()
    bind(
        cache,
        CareOf(1, A, expires=100, refresh_at=90),
        CareOf(2, B, expires=200, refresh_at=190),
        Flow(4, 1, FORWARD, (1,), WILD_CARD, expires=100, refresh_at=90),
    ).commit()
    assert cache.next_deadline() == 90
    (event,) = cache.tick(91)
    assert (event.kind, event.bids, event.fids) == (EventKind.REFRESH_DUE, (1,), (4,))
    assert cache.next_deadline() == 100
    bind(cache, CareOf(1, A, expires=300, refresh_at=290), now=95).commit()
    assert kinds(cache.tick(150)) == ["flow-expired"]
    assert cache.next_deadline() == 190


def test_time_that_passes_while_an_update_is_open() -> None:
    cache = BindingCache()
    bind(cache, CareOf(1, A, expires=10), CareOf(2, B, expires=50)).commit()
    transaction = bind(cache, CareOf(3, C, expires=60), now=5)
    cache.tick(20)
    assert list(cache.nodes[HOME].care_of) == [2]
    transaction.commit()
    assert list(cache.nodes[HOME].care_of) == [2, 3]  # what has expired doesn't come back


@pytest.mark.req("R108", "R126")
def test_deletion_is_remembered_for_a_while_by_its_sequence_number() -> None:
    cache = BindingCache()
    transaction = bind(cache, CareOf(1, A), Flow(1, 1, FORWARD, (1,), WILD_CARD))
    transaction.node.sequence = 7
    transaction.commit()
    bind(cache, CareOf(1, A), home=OTHER).commit()
    transaction = cache.begin(HOME, 100.0)
    transaction.delete()
    assert kinds(transaction.changes) == ["bid-removed", "flow-removed", "default-changed", "node-removed"]
    transaction.node.sequence = 8
    transaction.commit()
    assert HOME not in cache
    assert OTHER in cache
    assert cache.last_sequence(HOME) == 8
    assert cache.next_deadline() == 110
    cache.tick(110)
    assert cache.last_sequence(HOME) is None
    assert cache.next_deadline() is None


def test_remove_and_owners_of_prefixes() -> None:
    seen: list[Event] = []
    cache = BindingCache(listener=seen.append)
    transaction = bind(cache, CareOf(PLAIN, A))
    transaction.node.prefixes = ((A[:8] + bytes(8), 64),)
    transaction.node.also = (b"\x0a\0\0\1",)
    transaction.commit()
    assert cache.owners == {(A[:8] + bytes(8), 64): HOME, (b"\x0a\0\0\1", 32): HOME}
    pending = cache.begin(HOME, 1.0)
    assert cache.remove(HOME)
    assert not cache.remove(HOME)
    assert cache.owners == {}
    with pytest.raises(FlowclassError):
        pending.commit()
    assert kinds(seen) == [
        "node-added", "bid-added", "prefixes-changed", "default-changed",
        "bid-removed", "prefixes-changed", "default-changed", "node-removed",
    ]  # fmt: skip


@given(
    st.lists(
        st.tuples(
            st.sampled_from([HOME, OTHER]), st.integers(1, 3), st.integers(1, 40), st.booleans(), st.integers(0, 9)
        ),
        max_size=40,
    )
)
def test_deadlines_against_a_plain_reading(steps: list[tuple[bytes, int, int, bool, int]]) -> None:
    """next_deadline is the earliest end or asking time of all entries, and after a tick nothing is overdue."""
    table = FakeTable()
    cache = BindingCache(table)
    now = 0.0
    for home, number, lifetime, is_flow, passed in steps:
        entry: CareOf | Flow
        if is_flow:
            entry = Flow(number, 1, FORWARD, (number,), WILD_CARD, now + lifetime, now + lifetime / 2)
        else:
            entry = CareOf(number, A, 0, now + lifetime, now + lifetime / 2)
        bind(cache, entry, now=now, home=home).commit()
        times = [time for node in cache for e in entries(node) for time in (e.expires, e.refresh_at) if time < inf]
        assert cache.next_deadline() == min(times)
        now += passed
        cache.tick(now)
        left = [e for node in cache for e in entries(node)]
        assert all(e.expires > now and e.refresh_at > now for e in left)
        assert set(table.nodes) == set(cache.nodes)
        for node in cache:
            assert table.nodes[node.home]["targets"] == [(c.bid, c.address) for c in node.care_of.values()]
    assert len(cache._heap) <= 4 * len(steps) + 1
