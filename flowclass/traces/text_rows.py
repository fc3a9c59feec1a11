"""Rows as lines of text: .csv and .jsonl. The digits of each line are written in C (csrc/src/trace/rows.c)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt

from ._rows import RowTexts
from .outcomes import Rows, RowValues
from .reader import NO_TIME

__all__ = ["COLUMNS", "TEXT_FORMATS", "TextFormat", "TextSize", "TextWriter", "frame_digits"]

COLUMNS = ("file", "frame", "time_ns", "action", "reason", "home_address", "fid", "bid", "care_of")


@dataclass(frozen=True, slots=True)
class TextFormat:
    """The constant texts of a text format, around the numbers that rows.c writes: ``head frame middle time tail``.

    ``head`` makes the text before the frame number from the file's name, ``tail`` that after the time from an outcome.
    ``middle`` stands between the two numbers, ``null`` replaces a missing time, and ``first_line`` begins the file.
    """

    first_line: str
    head: Callable[[str], str]
    middle: str
    null: str
    tail: Callable[[RowValues], str]


class TextWriter:
    """Writes rows as lines of text, without the first line of a file, so that it can also write a piece of one."""

    def __init__(self, stream: IO[bytes], form: TextFormat) -> None:
        self._stream = stream
        self._form = form
        self._texts = RowTexts(form.middle.encode(), form.null.encode())
        self._epoch = 0

    def write(self, rows: Rows) -> None:
        """Appends one batch."""
        outcomes = rows.outcomes
        if self._epoch != outcomes.epoch:
            self._texts.clear()
            self._epoch = outcomes.epoch
        if len(self._texts) < len(outcomes):
            self._texts.add([self._form.tail(outcome).encode() for outcome in outcomes.values[len(self._texts) :]])
        head = self._form.head(rows.file).encode()
        self._stream.write(self._texts.rows(head, rows.frames, rows.times, rows.ids))

    def close(self) -> None:
        """Does nothing: all rows have been written to the stream."""

    def abandon(self) -> None:
        """Does nothing: no rows are buffered."""


class TextSize:
    """Computes how many octets rows will have as text, without their frame numbers, before they are written."""

    def __init__(self, form: TextFormat) -> None:
        self.octets: int = 0
        self._form = form
        self._tails = np.zeros(0, dtype=np.int64)
        self._epoch = 0

    def add(self, rows: Rows) -> None:
        """Counts one batch."""
        fixed = len(self._form.head(rows.file).encode()) + len(self._form.middle.encode())
        self.octets += fixed * len(rows) + self._times(rows.times)
        self.add_tails(rows, 1)

    def add_tails(self, rows: Rows, sign: int) -> None:
        """Counts only the texts after the time; ``sign`` -1 subtracts them again."""
        outcomes = rows.outcomes
        if self._epoch != outcomes.epoch:
            self._tails, self._epoch = np.zeros(0, dtype=np.int64), outcomes.epoch
        if len(self._tails) < len(outcomes):
            fresh = [len(self._form.tail(outcome).encode()) for outcome in outcomes.values[len(self._tails) :]]
            self._tails = np.append(self._tails, np.array(fresh, dtype=np.int64))
        self.octets += sign * int(np.bincount(rows.ids, minlength=len(self._tails)) @ self._tails)

    def _times(self, times: npt.NDArray[np.int64]) -> int:
        missing = times == NO_TIME
        if missing.any():
            return int(missing.sum()) * len(self._form.null) + self._times(times[~missing])
        if len(times) == 0:
            return 0
        lowest, highest = int(times.min()), int(times.max())
        if lowest >= 0 and len(str(lowest)) == len(str(highest)):
            return len(times) * len(str(lowest))
        return int(np.char.str_len(times.astype("U20")).sum())


def frame_digits(first: int, count: int) -> int:
    """How many octets the ``count`` frame numbers from ``first`` (1 or more) on have as text."""
    total, stop = 0, first + count
    while first < stop:
        width = len(str(first))
        end = min(stop, 10**width)
        total += width * (end - first)
        first = end
    return total


def _csv_line(values: list[object]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(values)  # \r and \n in values are quoted
    return out.getvalue()[:-2]


def _csv_tail(outcome: RowValues) -> str:
    # several care-of addresses are separated by spaces, which no address contains
    values: list[object] = [outcome.action, outcome.reason, outcome.home_address, outcome.fid, outcome.bid]
    return f",{_csv_line([*values, ' '.join(outcome.care_of)])}\n"


def _jsonl_tail(outcome: RowValues) -> str:
    values = {
        "action": outcome.action,
        "reason": outcome.reason,
        "home_address": outcome.home_address,
        "fid": outcome.fid,
        "bid": outcome.bid,
        "care_of": list(outcome.care_of) or None,
    }
    return f",{_json(values)[1:]}\n"


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


TEXT_FORMATS = {
    # RFC 4180 with a header line and a line feed at the end of each line
    ".csv": TextFormat(f"{','.join(COLUMNS)}\n", lambda file: f"{_csv_line([file])},", ",", "", _csv_tail),
    # one JSON object per line
    ".jsonl": TextFormat("", lambda file: f'{{"file":{_json(file)},"frame":', ',"time_ns":', "null", _jsonl_tail),
}
