"""Per-packet rows as files: .csv and .jsonl here, .arrow and .parquet in arrow.py.

A file appears whole or not at all: it's written beside its place and renamed when it's complete.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Protocol

import numpy as np
import numpy.typing as npt

from flowclass.errors import OutputError

from ._rows import RowTexts
from .files import atomic_file, check_place
from .outcomes import Outcome, Rows
from .reader import NO_TIME

__all__ = [
    "COLUMNS",
    "TEXT_FORMATS",
    "OutputError",
    "RowWriter",
    "TextSize",
    "TextWriter",
    "check_output",
    "frame_digits",
    "open_output",
]

COLUMNS = ("file", "frame", "time_ns", "action", "reason", "home_address", "fid", "bid", "care_of")


class RowWriter(Protocol):
    def write(self, rows: Rows) -> None:
        """Appends one batch."""

    def close(self) -> None:
        """Writes what is still held back; the stream stays open."""


@dataclass(frozen=True, slots=True)
class TextFormat:
    """Rows as lines: what comes before the frame number, between the fields, and after the time (rows.c)."""

    first_line: str
    head: Callable[[str], str]
    middle: str
    null: str
    tail: Callable[[Outcome], str]


class TextWriter:
    """Rows as lines, without the first line: a file or a piece of one."""

    def __init__(self, stream: IO[bytes], form: TextFormat) -> None:
        self._stream = stream
        self._form = form
        self._texts = RowTexts(form.middle.encode(), form.null.encode())
        self._epoch = 0

    def write(self, rows: Rows) -> None:
        outcomes = rows.outcomes
        if self._epoch != outcomes.epoch:
            self._texts.clear()
            self._epoch = outcomes.epoch
        if len(self._texts) < len(outcomes):
            self._texts.add([self._form.tail(outcome).encode() for outcome in outcomes.values[len(self._texts) :]])
        head = self._form.head(rows.file).encode()
        self._stream.write(self._texts.rows(head, rows.frames, rows.times, rows.ids))

    def close(self) -> None:
        pass


class TextSize:
    """How many octets rows will have as text, but for their frame numbers, before anybody writes them."""

    def __init__(self, form: TextFormat) -> None:
        self.octets = 0
        self._form = form
        self._tails = np.zeros(0, dtype=np.int64)
        self._epoch = 0

    def add(self, rows: Rows) -> None:
        fixed = len(self._form.head(rows.file).encode()) + len(self._form.middle.encode())
        self.octets += fixed * len(rows) + self._times(rows.times)
        self.add_tails(rows, 1)

    def add_tails(self, rows: Rows, sign: int) -> None:
        """What comes after the time alone; ``sign`` -1 takes it back."""
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
    """The octets of ``count`` frame numbers from ``first`` (1 or more) on, as text."""
    total, stop = 0, first + count
    while first < stop:
        width = len(str(first))
        end = min(stop, 10**width)
        total += width * (end - first)
        first = end
    return total


def _csv_line(values: list[object]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(values)  # so that either character in a value is quoted
    return out.getvalue()[:-2]


def _csv_tail(outcome: Outcome) -> str:
    # several care-of addresses are separated by spaces, which no address holds
    values: list[object] = [outcome.action, outcome.reason, outcome.home_address, outcome.fid, outcome.bid]
    return f",{_csv_line([*values, ' '.join(outcome.care_of)])}\n"


def _jsonl_tail(outcome: Outcome) -> str:
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


def _text_writer(form: TextFormat) -> Callable[[IO[bytes]], RowWriter]:
    def make(stream: IO[bytes]) -> RowWriter:
        stream.write(form.first_line.encode())
        return TextWriter(stream, form)

    return make


def _columnar(name: str) -> Callable[[IO[bytes]], RowWriter]:
    from . import arrow  # late: it needs pyarrow

    make: Callable[[IO[bytes]], RowWriter] = getattr(arrow, name)
    return make


# ending -> what gives the writer
_WRITERS: dict[str, Callable[[], Callable[[IO[bytes]], RowWriter]]] = {
    ".csv": lambda: _text_writer(TEXT_FORMATS[".csv"]),
    ".jsonl": lambda: _text_writer(TEXT_FORMATS[".jsonl"]),
    ".arrow": lambda: _columnar("arrow_writer"),
    ".parquet": lambda: _columnar("parquet_writer"),
}


def check_output(path: str) -> Callable[[IO[bytes]], RowWriter]:
    """The writer for a path, by its ending; `OutputError` before any work is done if it can't become a file."""
    ending = os.path.splitext(path)[1].lower()
    if ending not in _WRITERS:
        raise OutputError(f"{path}: expected a name that ends in {', '.join(_WRITERS)}")
    check_place(path)
    return _WRITERS[ending]()


@contextlib.contextmanager
def open_output(path: str) -> Iterator[RowWriter]:
    """A writer whose file takes its place when the block ends well, and leaves no trace when it does not."""
    make = check_output(path)
    with atomic_file(path) as stream:
        writer = make(stream)
        yield writer
        writer.close()
