"""Packets over time in constant memory, whatever the length of a trace."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .outcomes import Outcome, Outcomes, Rows
from .reader import NO_TIME

__all__ = ["KINDS", "Timeline", "kind_of"]

KINDS = ("flow", "n-cast", "discard", "default", "signalling", "unbound", "not IP")
"""What happened to a packet, for a picture."""


def kind_of(outcome: Outcome) -> int:
    """Index into `KINDS`."""
    if outcome.reason in ("not-ip", "malformed"):
        return 6
    if outcome.reason == "flow":
        return {"forward": 0, "n-cast": 1, "discard": 2}[outcome.action]
    return KINDS.index(outcome.reason)


class Timeline:
    """Packets and octets of each kind in `BINS` equal spans of time.

    Nobody knows beforehand how long a trace is: it begins with spans of a microsecond, and when a packet falls outside
    two neighbours become one, so that the spans double until it fits. Packets without a time are left out.
    """

    BINS = 512

    def __init__(self) -> None:
        self.origin: int | None = None
        self.width = 1000  # ns
        self.counts = np.zeros((2, len(KINDS), self.BINS), dtype=np.int64)  # packets, octets
        self.first: int | None = None
        self.last: int | None = None
        self._kinds = np.zeros(0, dtype=np.intp)
        self._values: list[Outcome] | None = None

    def add(self, rows: Rows) -> None:
        timed = rows.times != NO_TIME
        if not timed.any():
            return
        times = rows.times[timed]
        kinds = self._kinds_of(rows.outcomes)[rows.ids[timed]]
        low, high = int(times.min()), int(times.max())
        self.first = low if self.first is None else min(self.first, low)
        self.last = high if self.last is None else max(self.last, high)
        if self.origin is None:
            self.origin = low
        while high >= self.origin + self.width * self.BINS:
            self._double(0)
        while low < self.origin:
            self.origin -= self.width * self.BINS
            self._double(self.BINS // 2)
        places = kinds * self.BINS + (times - self.origin) // self.width
        size = len(KINDS) * self.BINS
        shape = (len(KINDS), self.BINS)
        self.counts[0] += np.bincount(places, minlength=size).reshape(shape)
        octets = np.bincount(places, weights=rows.sizes[timed], minlength=size)
        self.counts[1] += octets.astype(np.int64).reshape(shape)

    def _kinds_of(self, outcomes: Outcomes) -> npt.NDArray[np.intp]:
        if self._values is not outcomes.values:
            self._values, self._kinds = outcomes.values, np.zeros(0, dtype=np.intp)
        if len(self._kinds) < len(outcomes):
            fresh = [kind_of(outcome) for outcome in outcomes.values[len(self._kinds) :]]
            self._kinds = np.append(self._kinds, np.array(fresh, dtype=np.intp))
        return self._kinds

    def _double(self, place: int) -> None:
        """Spans twice as long; what there is goes to ``place`` on."""
        half = self.counts.reshape(2, len(KINDS), self.BINS // 2, 2).sum(axis=3)
        self.counts[:] = 0
        self.counts[:, :, place : place + self.BINS // 2] = half
        self.width *= 2

    def spans(self, most: int = 128) -> tuple[int, int, npt.NDArray[np.int64]]:
        """(start ns, width ns, counts of shape (2, kinds, n)) over the time that has packets, n at most ``most``."""
        if self.origin is None or self.first is None or self.last is None:
            return 0, 1, np.zeros((2, len(KINDS), 0), dtype=np.int64)
        low = (self.first - self.origin) // self.width
        high = (self.last - self.origin) // self.width + 1
        step = -(-(high - low) // most)
        count = -(-(high - low) // step)
        padded = np.zeros((2, len(KINDS), count * step), dtype=np.int64)
        padded[:, :, : high - low] = self.counts[:, :, low:high]
        merged = padded.reshape(2, len(KINDS), count, step).sum(axis=3)
        return self.origin + low * self.width, self.width * step, merged
