"""Timing on shared machines: the process is pinned, rounds alternate, and results are medians with their spread."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Spread", "alternate", "quiet", "ratio"]

Call = Callable[[], object]
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median, the smallest and the largest of several measurements of the same thing."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """The median of some measurements, with the lowest and the highest."""
        return cls(statistics.median(values), min(values), max(values))

    def as_dict(self) -> dict[str, float]:
        """The result as values for JSON."""
        return {"median": self.median, "low": self.low, "high": self.high}


@contextmanager
def quiet(cpus: int = 1) -> Iterator[None]:
    """Runs the block on the last ``cpus`` processors of those allowed, with the garbage collector frozen and off."""
    allowed = os.sched_getaffinity(0)
    gc.collect()
    gc.freeze()
    gc.disable()
    os.sched_setaffinity(0, sorted(allowed)[-cpus:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
        gc.enable()
        gc.unfreeze()


def _seconds(call: Call, repeat: int, clock: Clock) -> float:
    start = clock()
    for _ in range(repeat):
        call()
    return (clock() - start) / repeat


def alternate(
    calls: Mapping[str, Call], rounds: int, *, seconds: float = 0.01, clock: Clock = time.thread_time
) -> dict[str, list[float]]:
    """Measures calls in turn; returns the seconds per call of each of them, in each round.

    The order is first, second, ..., first, second, ..., so that disturbances affect all calls alike. Every measurement
    repeats its call for at least ``seconds``, after one warm-up. The default clock is the processor time of this
    thread, which doesn't include the time of other processes. Calls whose work is done in other threads or processes
    need `time.perf_counter`.
    """
    repeats = {}
    for name, call in calls.items():
        call()
        repeats[name] = max(1, round(seconds / max(_seconds(call, 1, clock), 1e-9)))
    out: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            out[name].append(_seconds(call, repeats[name], clock))
    return out


def ratio(ours: list[float], theirs: list[float]) -> Spread:
    """How many times faster ``ours`` is than ``theirs``, from the seconds of rounds measured side by side."""
    return Spread.of([b / a for a, b in zip(ours, theirs, strict=True)])
