"""The durable store: what is acknowledged is there after any end of the process, and nothing else is."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

from flowclass import HomeAgent, SqliteStore, StoreError
from flowclass.agent import store as module
from flowclass.agent.store import StoreFollower
from flowclass.mobility import BindingCache
from flowclass.wire import BindingIdentifier, BindingUpdate, MobilityPacket, decode_packet, encode_packet

AGENT = IPv6Address("2001:db8:100::1")


def home(number: int) -> IPv6Address:
    return IPv6Address("2001:db8:100::1:0") + number


def care_of(number: int) -> IPv6Address:
    return IPv6Address("2001:db8:a::") + number


def update(number: int, sequence: int, address: int = 1, lifetime: int = 100) -> bytes:
    bids = (BindingIdentifier(1, care_of(address)),) if lifetime else ()
    message = BindingUpdate(sequence, lifetime, 0xC000, bids)
    return encode_packet(MobilityPacket(care_of(address), AGENT, message, home(number)))


def status(replies: list[bytes]) -> int:
    (reply,) = replies
    return decode_packet(reply).message.status  # type: ignore[union-attr]  # its type is known


class Times:
    """A wall clock and a monotonic one that a test sets."""

    def __init__(self) -> None:
        self.now, self.wall = 1000.0, 1_800_000_000.0

    def go_on(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds

    def store(self, path: Path) -> SqliteStore:
        return SqliteStore(path, clock=lambda: self.now, wall=lambda: self.wall)


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bindings.sqlite"


def restored(times: Times, path: Path) -> tuple[HomeAgent, SqliteStore]:
    store = times.store(path)
    agent = HomeAgent(store=store)
    store.restore(agent.cache, times.now)
    return agent, store


def test_bindings_survive_a_restart_minus_what_has_expired_meanwhile(times: Times, path: Path) -> None:
    agent, store = restored(times, path)
    assert status(agent.receive(update(1, 5, lifetime=100), now=times.now)) == 0
    assert status(agent.receive(update(2, 5, lifetime=10), now=times.now)) == 0
    store.close()
    times.go_on(60)
    agent, store = restored(times, path)
    assert [node.home for node in agent.cache] == [home(1).packed]
    node = agent.cache.get(home(1).packed)
    assert node is not None
    assert node.care_of[1].address == care_of(1).packed
    assert node.care_of[1].expires == pytest.approx(times.now + 340)
    store.close()


def test_within_one_boot_the_monotonic_clock_decides_and_after_a_reboot_the_wall_clock(
    times: Times, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, store = restored(times, path)
    agent.receive(update(1, 5, lifetime=100), now=times.now)
    store.close()
    times.wall += 1e6  # somebody has set the clock
    agent, store = restored(times, path)
    assert len(agent.cache) == 1
    store.close()
    times.wall -= 1e6
    monkeypatch.setattr(module, "boot_id", lambda: "another boot")
    times.now, times.wall = 3.0, times.wall + 100
    agent, store = restored(times, path)
    node = agent.cache.get(home(1).packed)
    assert node is not None
    assert node.care_of[1].expires == pytest.approx(3.0 + 300)
    store.close()


def test_sequence_numbers_survive_with_their_binding_and_shortly_after_it(times: Times, path: Path) -> None:
    agent, store = restored(times, path)
    agent.receive(update(1, 5), now=times.now)
    agent.receive(update(2, 7), now=times.now)
    assert status(agent.receive(update(2, 8, lifetime=0), now=times.now)) == 0
    store.close()
    agent, store = restored(times, path)
    assert status(agent.receive(update(1, 5), now=times.now)) == 135
    assert status(agent.receive(update(2, 8), now=times.now)) == 135
    store.close()
    times.go_on(11)  # RFC 6275 section 10.3.2: long enough
    agent, store = restored(times, path)
    assert status(agent.receive(update(2, 8), now=times.now)) == 0
    store.close()


def test_a_batch_is_one_commit_and_all_of_it_or_nothing(times: Times, path: Path) -> None:
    agent, store = restored(times, path)
    agent.receive(update(1, 1), now=times.now)
    with agent.cache.batch():
        for number in range(2, 50):
            agent.receive(update(number, 1), now=times.now)
    before = {node.home: dict(node.care_of) for node in agent.cache}

    def fails() -> None:
        with agent.cache.batch():
            agent.receive(update(1, 2, address=9), now=times.now)
            agent.receive(update(2, 2, lifetime=0), now=times.now)
            agent.receive(update(77, 1), now=times.now)
            raise RuntimeError("something else went wrong")

    with pytest.raises(RuntimeError):
        fails()
    assert {node.home: dict(node.care_of) for node in agent.cache} == before
    store.close()
    agent, store = restored(times, path)
    assert {node.home for node in agent.cache} == before.keys()
    # it is there
    assert agent.cache.get(home(1).packed).care_of[1].address == care_of(1).packed  # type: ignore[union-attr]  # the node is there
    store.close()


def test_a_batch_that_cannot_be_committed_takes_back_what_packets_see(times: Times, path: Path) -> None:
    agent, store = restored(times, path)
    agent.receive(update(1, 1, address=1), now=times.now)
    table = agent.table

    def fails() -> None:
        with agent.cache.batch():
            agent.receive(update(1, 2, address=2), now=times.now)
            agent.receive(update(2, 1, address=2), now=times.now)
            store._db.execute("ROLLBACK")  # what SQLite does by itself on some errors, a full disk among them

    with pytest.raises(StoreError):
        fails()
    assert table.find(home(2).packed) is None
    assert status(agent.receive(update(1, 2, address=3), now=times.now)) == 0
    store.close()


def test_a_store_in_use_is_refused_by_name_of_its_user(times: Times, path: Path) -> None:
    store = times.store(path)
    with pytest.raises(StoreError, match=f"in use by process {os.getpid()}"):
        times.store(path)
    store.close()
    times.store(path).close()


def _foreign(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE somebody (elses)")
    db.close()


def _text(path: Path) -> None:
    path.write_text("profile = 'draft'\n" * 10)


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(8192))


def _cut(path: Path) -> None:
    _whole(path)
    path.write_bytes(path.read_bytes()[:5000])


def _flipped(path: Path) -> None:
    _whole(path)
    data = bytearray(path.read_bytes())
    data[4096:4200] = os.urandom(104)
    path.write_bytes(data)


def _row(path: Path) -> None:
    _whole(path)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE node SET data = '{}' WHERE home = (SELECT min(home) FROM node WHERE data IS NOT NULL)")
    db.close()


def _later(path: Path) -> None:
    _whole(path)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()


def _whole(path: Path) -> None:
    times = Times()
    agent, store = restored(times, path)
    with agent.cache.batch():
        for number in range(100):
            agent.receive(update(number, 1), now=times.now)
    store.close()


@pytest.mark.parametrize("make", [_foreign, _text, _zeros, _cut, _flipped, _row, _later])
def test_a_damaged_or_foreign_file_is_refused_and_left_as_it_is(make: Any, times: Times, path: Path) -> None:
    make(path)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=str(path)):
        restored(times, path)
    assert path.read_bytes() == before


def test_a_schema_of_an_earlier_release_is_brought_up_to_date(times: Times, path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA application_id = {module._APPLICATION_ID}")
        db.executescript(module.MIGRATIONS[0] + "PRAGMA user_version = 1;")
        agent = HomeAgent()
        agent.receive(update(1, 9), now=times.now)
        data = module.encode_node(next(iter(agent.cache)), times.now)
        db.execute("INSERT INTO node VALUES (?, ?, ?, ?, ?)", (home(1).packed, data, times.wall, times.now, ""))
    db.close()
    agent, store = restored(times, path)
    assert status(agent.receive(update(1, 9), now=times.now)) == 135
    assert status(agent.receive(update(1, 10), now=times.now)) == 0
    store.close()


def test_a_follower_sees_each_commit_and_takes_over_when_the_writer_is_gone(times: Times, path: Path) -> None:
    agent, store = restored(times, path)
    agent.receive(update(1, 1), now=times.now)
    agent.receive(update(2, 1), now=times.now)
    follower = StoreFollower(path, clock=lambda: times.now, wall=lambda: times.wall)
    cache = BindingCache()
    assert follower.follow(cache, times.now)
    assert not follower.follow(cache, times.now)
    agent.receive(update(2, 2, lifetime=0), now=times.now)
    agent.receive(update(3, 1, address=3), now=times.now)
    assert follower.follow(cache, times.now)
    assert {node.home for node in cache} == {home(1).packed, home(3).packed}
    assert cache.last_sequence(home(2).packed) == 2
    assert follower.take_over() is None
    store.close()
    taken = follower.take_over()
    assert taken is not None
    cache = BindingCache(store=taken)
    assert taken.restore(cache, times.now) == 2
    taken.close()


_WRITER = """
import sys, time
sys.path.insert(0, sys.argv[2])
from flowclass import HomeAgent, SqliteStore
from test_store import home, status, update
store = SqliteStore(sys.argv[1])
agent = HomeAgent(store=store)
store.restore(agent.cache, time.monotonic())
sequences = {number: agent.cache.last_sequence(home(number).packed) or 0 for number in range(20)}
turn = 0
while True:
    turn += 1
    lines = []
    with agent.cache.batch():
        for number in sequences:
            sequences[number] += 1
            address = turn % 200 + 1
            if (turn + number) % 5 == 0 and agent.cache.get(home(number).packed) is not None:
                address = 0
            packet = update(number, sequences[number], address or 1, 10000 if address else 0)
            assert status(agent.receive(packet, now=time.monotonic())) == 0
            lines.append(f"{number} {sequences[number]} {address}\\n")
    sys.stdout.write("".join(lines))  # after the commit: acknowledged
    sys.stdout.flush()
"""


def kill_and_check(path: Path, seconds: float, expected: dict[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """Run a writer for a while, kill it, and compare: ``expected`` has (sequence, care-of number or 0) by node."""
    command = [sys.executable, "-c", _WRITER, str(path), str(Path(__file__).parent)]
    # without a buffer, in which `communicate` doesn't look for what came together with the first line
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    assert writer.stdout is not None
    first = writer.stdout.readline()  # it has begun
    time.sleep(seconds)
    writer.send_signal(signal.SIGKILL)
    out, err = writer.communicate()
    out = first + out
    assert b"Error" not in err, err.decode()
    for line in out[: out.rfind(b"\n") + 1].split(b"\n"):
        if len(words := line.split()) == 3:
            number, sequence, address = map(int, words)
            expected[number] = (sequence, address)
    store = SqliteStore(path)
    agent = HomeAgent(store=store)
    store.restore(agent.cache, time.monotonic())
    found = dict(expected)
    for number, (sequence, address) in expected.items():
        node = agent.cache.get(home(number).packed)
        last = agent.cache.last_sequence(home(number).packed)
        assert last is not None
        ahead = (last - sequence) & 0xFFFF  # a batch may have been committed whose answer didn't leave any more
        assert ahead <= 1, (number, last, sequence)
        if ahead == 0:
            assert (node is None) == (address == 0)
            if node is not None:
                assert node.care_of[1].address == care_of(address).packed
        found[number] = (last, 0 if node is None else int.from_bytes(node.care_of[1].address[8:]))
    store.close()
    return found


def test_after_kill_9_each_acknowledged_binding_is_there_and_no_removed_one(path: Path) -> None:
    expected: dict[int, tuple[int, int]] = {}
    for turn in range(5):
        expected = kill_and_check(path, 0.05 + 0.13 * turn, expected)
    assert len(expected) == 20
