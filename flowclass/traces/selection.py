"""Selects packets by time, conditions and order. Only these are counted and written; all still drive a replay."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from flowclass.errors import FlowclassError

from .outcomes import Outcomes, Rows
from .reader import NO_TIME, KeyBatch
from .where import Where

__all__ = ["Selection", "time_ns"]

_EPOCH: Final = re.compile(r"(-?\d+)(?:\.(\d{1,9})\d*)?", re.ASCII)
_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)?)?", re.ASCII
)


def time_ns(text: str) -> int:
    """Converts RFC 3339 text, or a number of seconds since 1970, to nanoseconds since 1970.

    A time without an offset is in UTC, and a date alone is its midnight. Digits after the nanoseconds are dropped.
    Raises `FlowclassError` for any other text.
    """
    if found := _EPOCH.fullmatch(text.strip()):
        seconds, fraction = found.groups()
        nanoseconds = int((fraction or "0").ljust(9, "0"))
        return int(seconds) * 10**9 + (-nanoseconds if seconds.startswith("-") else nanoseconds)
    if found := _RFC3339.fullmatch(text.strip()):
        day, clock, fraction, offset = found.groups()
        try:
            zone = "+00:00" if offset is None or offset in "Zz" else offset
            moment = datetime.fromisoformat(f"{day}T{clock or '00:00'}{zone}") - datetime(1970, 1, 1, tzinfo=UTC)
        except ValueError as error:
            raise FlowclassError(f"{text!r}: {error}") from None
        whole = (moment.days * 86_400 + moment.seconds) * 10**9
        return whole + int((fraction or "0").ljust(9, "0"))
    raise FlowclassError(f"{text!r}: a time is expected, as 2026-11-27T08:30:00Z or in seconds since 1970")


class Selection:
    """Selects packets with times from ``start`` to before ``stop`` (ns since 1970) that match ``where``; of these,
    ``first`` after ``skip``.

    Packets are counted in the order in which they are read, over all traces. With ``start`` or ``stop``, packets
    without a time are not selected. An object counts what it has selected, so each run needs a new one.
    """

    def __init__(
        self,
        start: int | None = None,
        stop: int | None = None,
        skip: int = 0,
        first: int | None = None,
        where: Where | None = None,
    ) -> None:
        self._start, self._stop = start, stop
        self._skip, self._left = skip, first
        self.where = where

    @property
    def done(self) -> bool:
        """Whether no packet that is still to be read can be selected."""
        return self._left == 0

    def choose_times(self, times: npt.NDArray[np.int64]) -> npt.NDArray[np.intp] | None:
        """The indices of the packets whose times are selected; None if all are."""
        if self._start is None and self._stop is None:
            return None
        chosen = times != NO_TIME
        if self._start is not None:
            chosen &= times >= self._start
        if self._stop is not None:
            chosen &= times < self._stop
        return np.flatnonzero(chosen)

    def choose(self, rows: Rows) -> npt.NDArray[np.intp] | slice:
        """Which of the next rows are selected, of those whose times are."""
        if self.where is None:
            indices: npt.NDArray[np.intp] | range = range(len(rows))
        else:
            indices = np.flatnonzero(self.where.choose(rows))
        skipped = min(self._skip, len(indices))
        self._skip -= skipped
        indices = indices[skipped:]
        if self._left is not None:
            indices = indices[: self._left]
            self._left -= len(indices)
        return slice(indices.start, indices.stop) if isinstance(indices, range) else indices

    def choose_keys(self, file: str, batch: KeyBatch) -> npt.NDArray[np.intp]:
        """The indices of the selected packets of the next batch, about which nothing is decided."""
        timely = self.choose_times(batch.times)
        indices = np.arange(len(batch)) if timely is None else timely
        ids, frames = np.zeros(len(batch), dtype=np.uint32), np.arange(len(batch), dtype=np.uint64)
        frames += np.uint64(batch.first_frame)
        rows = Rows(file, frames, batch.times, ids, Outcomes(), batch.originals, batch.keys, batch.lengths)
        chosen: npt.NDArray[np.intp] = indices[self.choose(rows.picked(indices))]
        return chosen
