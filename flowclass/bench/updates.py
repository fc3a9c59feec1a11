"""Measures removing and inserting rules while packets are classified: updates per second, and their cost to readers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from flowclass.bench.linear import first_match
from flowclass.bench.lookup import Case
from flowclass.bench.peers import load_peer
from flowclass.bench.timing import Spread, alternate, quiet
from flowclass.engine.classifier import Classifier
from flowclass.errors import FlowclassError

__all__ = ["Updater", "UpdatesResult", "measure"]

Keys = npt.NDArray[np.void]

# rules per call of insert and remove; keys in a reader's batch; updates per second beside the reader
CHUNK, BATCH, RATE = 100, 4096, 100_000
_CHECKED = 300_000_000


class Updater:
    """A classifier whose rules are removed and inserted, and the present id of each rule (-1 while it is removed)."""

    def __init__(self, case: Case, seed: int, make: Callable[[Any], Any] = Classifier) -> None:
        self.rules: npt.NDArray[np.void] = case.rules
        self.table: Any = make(case.rules)
        self.ids: npt.NDArray[np.int64] = np.arange(len(case.rules), dtype=np.int64)
        self.rng: np.random.Generator = np.random.default_rng([seed, len(case.rules), 5])
        self.count: int = 0

    def remove(self, some: npt.NDArray[np.int64]) -> None:
        """Removes the rules at these indices."""
        self.table.remove(self.ids[some])
        self.ids[some] = -1
        self.count += len(some)

    def insert(self, some: npt.NDArray[np.int64]) -> None:
        """Inserts the rules at these indices, each with its original priority."""
        self.ids[some] = self.table.insert(self.rules[some], some)
        self.count += len(some)

    def replace_some(self, n: int = CHUNK) -> None:
        """Removes and inserts ``n`` rules drawn at random: 2n updates."""
        some = self.rng.choice(len(self.rules), min(n, len(self.rules)), replace=False)
        self.remove(some)
        self.insert(some)

    def indices(self, answers: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """Converts ids to indices in ``rules``; -1, no match, stays -1."""
        place = np.full(int(self.ids.max(initial=0)) + 2, -1, np.int64)
        here = np.flatnonzero(self.ids >= 0)
        place[self.ids[here]] = here
        return place[answers]  # -1, no match, selects the last element, which is -1

    def verify(self, keys: Keys, when: str) -> int:
        """Checks answers by linear search; returns how many were checked, and raises FlowclassError at a wrong one."""
        here = np.flatnonzero(self.ids >= 0)
        some = keys[: max(64, _CHECKED // max(len(here), 1))]
        found = first_match(self.rules[here], some)
        right = np.where(found >= 0, here[found] if len(here) else -1, -1)
        given = self.indices(self.table.classify(some))
        wrong = np.flatnonzero(given != right)
        if len(wrong):
            at = int(wrong[0])
            raise FlowclassError(f"{when}: packet {at} got rule {given[at]}, not {right[at]}")
        return len(some)


@dataclass(frozen=True, slots=True)
class UpdatesResult:
    """The result for one rule set.

    ``updates`` is in million removals and insertions per second, with 100 per call. ``single_us`` are microseconds for
    one removal or insertion per call. ``mpps`` are the rates of a table without updates, after ``updates_done`` of
    them, and after a rebuild. ``reader_ratio`` is the share of a reader's rate (in batches of 4,096) that is left
    beside ``beside_rate`` updates per second in another thread.
    """

    case: str
    rules: int
    checked: int
    first_update_seconds: float
    updates: Spread
    single_us: Mapping[str, float]
    updates_done: int
    mpps: Mapping[str, float]
    beside_rate: float
    reader_ratio: Spread
    bytes_per_rule: float
    peers: Mapping[str, Spread] = field(default_factory=dict)
    """Million updates per second, with 100 per call, of the peers that have insert and remove, by name."""

    def as_dict(self) -> dict[str, Any]:
        """The result as values for JSON."""
        return {
            "set": self.case,
            "rules": self.rules,
            "answers_checked": self.checked,
            "first_update_seconds": self.first_update_seconds,
            "million_updates_per_second": self.updates.as_dict(),
            "single_update_us": dict(self.single_us),
            "updates_done": self.updates_done,
            "mpps": dict(self.mpps),
            "updates_per_second_beside_reader": self.beside_rate,
            "reader_ratio": self.reader_ratio.as_dict(),
            "bytes_per_rule": self.bytes_per_rule,
            "peers_million_updates_per_second": {name: rate.as_dict() for name, rate in self.peers.items()},
        }


def _mpps(tables: Mapping[str, Classifier], keys: Keys, rounds: int) -> dict[str, float]:
    """The rate of each table in million packets per second, measured in turn."""
    out = np.empty(len(keys), np.int32)
    times = alternate({name: partial(table.classify, keys, out) for name, table in tables.items()}, rounds)
    return {name: len(keys) / Spread.of(seconds).median / 1e6 for name, seconds in times.items()}


def _single(updater: Updater, calls: int) -> dict[str, float]:
    """p50 and p99 of one removal or insertion per call, in microseconds."""
    times = []
    for i in updater.rng.choice(len(updater.rules), min(calls, len(updater.rules)), replace=False):
        some = np.array([i])
        for change in (updater.remove, updater.insert):
            start = time.perf_counter_ns()
            change(some)
            times.append(time.perf_counter_ns() - start)
    p50, p99 = np.percentile(times, (50, 99)) / 1000
    return {"p50": float(p50), "p99": float(p99)}


def _reader_rate(table: Classifier, keys: Keys, seconds: float) -> float:
    """The packets per second that a loop over batches classifies."""
    batches = [keys[i : i + BATCH] for i in range(0, len(keys), BATCH)]
    out = np.empty(BATCH, np.int32)
    done, i, start = 0, 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        batch = batches[i % len(batches)]
        table.classify(batch, out[: len(batch)])
        done += len(batch)
        i += 1
    return done / passed


def _write(updater: Updater, stop: threading.Event) -> None:
    """Makes updates at a steady `RATE` until ``stop`` is set."""
    start, before = time.perf_counter(), updater.count
    while not stop.is_set():
        if updater.count - before < (time.perf_counter() - start) * RATE:
            updater.replace_some()
        else:
            time.sleep(0.0002)


def _beside(updater: Updater, keys: Keys, rounds: int) -> tuple[Spread, float]:
    """(share of the reader's rate left, updates per second), from rounds with and without a writer in turn."""
    ratios, before, busy = [], updater.count, 0.0
    for _ in range(rounds):
        alone = _reader_rate(updater.table, keys, 0.1)
        stop = threading.Event()
        writer = threading.Thread(target=_write, args=(updater, stop), daemon=True)
        start = time.perf_counter()
        writer.start()
        ratios.append(_reader_rate(updater.table, keys, 0.2) / alone)
        stop.set()
        writer.join()
        busy += time.perf_counter() - start
    return Spread.of(ratios), (updater.count - before) / busy


def _peer(name: str, case: Case, keys: Keys, rounds: int, seed: int) -> tuple[str, Spread]:
    """A peer's name and its million updates per second; its answers are checked with a third of the rules removed."""
    updater = Updater(case, seed, load_peer(name))
    if not (hasattr(updater.table, "insert") and hasattr(updater.table, "remove")):
        raise FlowclassError(f"--peer {name}: no methods insert and remove")
    some = keys[: getattr(updater.table, "most_keys", len(keys))]
    gone = updater.rng.choice(len(case.rules), len(case.rules) // 3, replace=False)
    updater.remove(gone)
    updater.verify(some, f"{name}, {case.name}: a third of the rules removed")
    updater.insert(gone)
    updater.verify(some, f"{name}, {case.name}: they are back")
    per_call = 2 * min(CHUNK, len(case.rules))
    with quiet():
        calls = alternate({"": updater.replace_some}, rounds, seconds=0.05)[""]
    return str(getattr(updater.table, "name", name)), Spread.of([per_call / seconds / 1e6 for seconds in calls])


def measure(case: Case, *, rounds: int, seed: int, peer_names: Sequence[str] = ()) -> UpdatesResult:
    """Measures updates of a rule set; verifies answers before, with a third of the rules removed, and after them."""
    keys = next(iter(case.traces.values()))[0]
    updater = Updater(case, seed)
    with quiet():
        start = time.perf_counter()
        updater.replace_some(1)
        first = time.perf_counter() - start
        gone = updater.rng.choice(len(case.rules), len(case.rules) // 3, replace=False)
        updater.remove(gone)
        checked = updater.verify(keys, f"{case.name}: a third of the rules removed")
        updater.insert(gone)
        calls = alternate({"": updater.replace_some}, rounds, seconds=0.05)[""]
        single = _single(updater, 1000)
        mpps = _mpps({"fresh": Classifier(case.rules), "updated": updater.table}, keys, rounds)
        done = updater.count
    with quiet(2):
        left, rate = _beside(updater, keys, rounds)
    checked += updater.verify(keys, f"{case.name}: after {updater.count} updates")
    size = updater.table.info["bytes"] / len(case.rules)
    with quiet():
        updater.table.rebuild()
        mpps |= _mpps({"rebuilt": updater.table}, keys, rounds)
    per_call = 2 * min(CHUNK, len(case.rules))
    peers = dict(_peer(name, case, keys, rounds, seed) for name in peer_names)
    return UpdatesResult(
        case=case.name,
        rules=len(case.rules),
        checked=checked,
        first_update_seconds=first,
        updates=Spread.of([per_call / s / 1e6 for s in calls]),
        single_us=single,
        updates_done=done,
        mpps=mpps,
        beside_rate=rate,
        reader_ratio=left,
        bytes_per_rule=size,
        peers=peers,
    )
