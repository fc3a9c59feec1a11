"""Counts packets over time, in constant memory however long a trace is."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from .outcomes import Outcomes, Rows, RowValues
from .reader import NO_TIME

Times: TypeAlias = npt.NDArray[np.int64]
Kinds: TypeAlias = npt.NDArray[np.intp]
Sizes: TypeAlias = npt.NDArray[np.uint32]
Counts: TypeAlias = npt.NDArray[np.int64]

__all__ = ["KINDS", "Spans", "Timeline", "kind_of"]

KINDS = ("flow", "n-cast", "discard", "default", "signalling", "unbound", "malformed", "not IP")
"""The kinds of packets that a picture tells apart, by what happened to them."""


def kind_of(outcome: RowValues) -> int:
    """The kind of an outcome, as an index into `KINDS`."""
    if outcome.reason == "not-ip":
        return KINDS.index("not IP")
    if outcome.reason == "flow":
        return {"forward": 0, "n-cast": 1, "discard": 2}[outcome.action]
    return KINDS.index(outcome.reason)


class Spans(NamedTuple):
    """Counts in equal spans of time: the first begins at ``start`` (ns since 1970), each is ``width`` ns long.

    ``counts`` has shape (2, kinds, spans): index 0 has packets, 1 octets. ``updates`` has shape (2, spans): index 0 has
    the binding updates that were accepted, 1 those that were not.
    """

    start: int
    width: int
    counts: Counts
    updates: Counts


class Timeline:
    """Packets and octets of each kind in `BINS` equal spans of time.

    How long a trace is isn't known beforehand. So spans are a microsecond long at first; when a packet falls outside
    them, each two neighbours are merged, which doubles the spans, until it fits.

    Binding updates are counted in the same spans, accepted and not accepted ones, when `add_update` is told of them.

    Packets without a time are left out. So are a few (``left_out``, at most one in `FEW`) whose times are so far from
    all others that nothing else could be seen in a picture with them: one flipped bit can turn a second into months.
    """

    BINS = 512
    FAR = 64
    """A packet is set aside if it is further from the middle of the spans than this many times their whole length."""
    FEW = 10_000
    MOST_FAR = 1000

    def __init__(self) -> None:
        self.origin: int | None = None
        self.width: int = 1000  # ns, the length of a span
        shape = (2, len(KINDS), self.BINS)
        self.counts: Counts = np.zeros(shape, dtype=np.int64)  # [0]: packets, [1]: octets
        self.updates: Counts = np.zeros((2, self.BINS), dtype=np.int64)  # [0]: accepted, [1]: not accepted
        self.first: int | None = None
        self.last: int | None = None
        self._total = 0
        self._far: list[tuple[Times, Kinds, Sizes]] = []
        self._far_updates: list[tuple[int, bool]] = []
        self._kinds: Kinds = np.zeros(0, dtype=np.intp)
        self._values: list[RowValues] | None = None

    @property
    def left_out(self) -> int:
        """How many packets have been set aside because their times are too far from all others."""
        return sum(len(times) for times, _, _ in self._far)

    def add(self, rows: Rows) -> None:
        """Counts one batch."""
        timed = rows.times != NO_TIME
        if not timed.any():
            return
        times = rows.times[timed]
        kinds = self._kinds_of(rows.outcomes)[rows.ids[timed]]
        sizes = rows.sizes[timed]
        if self.origin is None:
            # fit the spans to the first packets without the extreme ones, as any single time may be wrong
            ordered, edge = np.sort(times), len(times) // 64
            self.origin = int(ordered[edge])
            while self.width * self.BINS <= int(ordered[-1 - edge]) - self.origin:
                self.width *= 2
        self._total += len(times)
        middle, reach = self.origin + self.width * (self.BINS // 2), self.FAR * self.width * self.BINS
        far = np.abs(times.astype(np.float64) - middle) > reach
        if far.any():
            self._far.append((times[far], kinds[far], sizes[far]))
            times, kinds, sizes = times[~far], kinds[~far], sizes[~far]
            if self.left_out > self.MOST_FAR:
                self._take_far()
        if len(times):
            self._place(times, kinds, sizes)

    def add_update(self, time: int, accepted: bool) -> None:
        """Counts a binding update after its packet. One outside all spans, as its packet is, is left out."""
        if self.origin is None or time == NO_TIME:
            return
        place = (time - self.origin) // self.width
        if 0 <= place < self.BINS:
            self.updates[0 if accepted else 1, place] += 1
        elif len(self._far_updates) < self.MOST_FAR:  # its packet has been set aside, or wasn't chosen
            self._far_updates.append((time, accepted))

    def _take_far(self) -> None:
        taken, self._far = self._far, []
        for some in taken:
            self._place(*some)
        updates, self._far_updates = self._far_updates, []
        for update in updates:
            self.add_update(*update)

    def _place(self, times: Times, kinds: Kinds, sizes: Sizes) -> None:
        assert self.origin is not None
        low, high = int(times.min()), int(times.max())
        self.first = low if self.first is None else min(self.first, low)
        self.last = high if self.last is None else max(self.last, high)
        while high >= self.origin + self.width * self.BINS:
            self._double(0)
        while low < self.origin:
            self.origin -= self.width * self.BINS
            self._double(self.BINS // 2)
        places = kinds * self.BINS + (times - self.origin) // self.width
        size = len(KINDS) * self.BINS
        shape = (len(KINDS), self.BINS)
        self.counts[0] += np.bincount(places, minlength=size).reshape(shape)
        octets = np.bincount(places, weights=sizes, minlength=size)
        self.counts[1] += octets.astype(np.int64).reshape(shape)

    def _kinds_of(self, outcomes: Outcomes) -> Kinds:
        if self._values is not outcomes.values:
            self._values, self._kinds = outcomes.values, np.zeros(0, dtype=np.intp)
        if len(self._kinds) < len(outcomes):
            fresh = [kind_of(outcome) for outcome in outcomes.values[len(self._kinds) :]]
            self._kinds = np.append(self._kinds, np.array(fresh, dtype=np.intp))
        return self._kinds

    def _double(self, place: int) -> None:
        """Makes the spans twice as long, and moves the present counts to the spans from ``place`` on."""
        for counts in (self.counts, self.updates):
            half = counts.reshape(*counts.shape[:-1], self.BINS // 2, 2).sum(axis=-1)
            counts[:] = 0
            counts[..., place : place + self.BINS // 2] = half
        self.width *= 2

    def spans(self, most: int = 128) -> Spans:
        """The counts over the time from the first to the last packet, in at most ``most`` spans."""
        if self.left_out > self._total // self.FEW:
            self._take_far()
        if self.origin is None or self.first is None or self.last is None:
            return Spans(0, 1, self.counts[..., :0], self.updates[..., :0])
        low = (self.first - self.origin) // self.width
        high = (self.last - self.origin) // self.width + 1
        step = -(-(high - low) // most)
        count = -(-(high - low) // step)

        def merged(counts: Counts) -> Counts:
            padded = np.zeros((*counts.shape[:-1], count * step), dtype=np.int64)
            padded[..., : high - low] = counts[..., low:high]
            return np.asarray(padded.reshape(*counts.shape[:-1], count, step).sum(axis=-1))

        return Spans(self.origin + low * self.width, self.width * step, merged(self.counts), merged(self.updates))
