"""Rows as lines of text: .csv and .jsonl. Each line is written in C (csrc/src/trace/rows.c)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from ._rows import RowTexts
from .columns import COLUMNS, OUTCOME_COLUMNS, PACKET_COLUMNS
from .outcomes import Ids, Rows, RowValues

__all__ = ["TEXT_ENDINGS", "TextFormat", "TextSize", "TextWriter", "frame_digits", "settled_size"]

TEXT_ENDINGS: Final = (".csv", ".jsonl")
"""The file name endings of text formats."""

Keys = npt.NDArray[np.void]
_NOTHING: Final = RowValues("", "")


class TextFormat:
    """A text format with some columns.

    ``.csv`` is as RFC 4180 has it, with a header line and a line feed at the end of each line; ``.jsonl`` has one JSON
    object per line. ``first_line`` begins the file, ``null`` stands for a value that doesn't apply, and ``quote`` is
    before and after text that is made in C.
    """

    def __init__(self, ending: str, columns: Sequence[str] = COLUMNS) -> None:
        self.columns: tuple[str, ...] = tuple(columns)
        self.is_csv: bool = ending == ".csv"
        self.first_line: str = f"{','.join(columns)}\n" if self.is_csv else ""
        # a line that is empty would be passed over by readers of .csv
        self.null = "null" if not self.is_csv else '""' if len(columns) == 1 else ""
        self.quote = "" if self.is_csv else '"'
        self.has_packets: bool = any(name in PACKET_COLUMNS for name in columns)
        self._groups: list[list[tuple[str, str]]] = []  # outcome columns side by side are one text: (before, column)

    def pieces(self, file: str) -> list[tuple[str, str]]:
        """What a row of a file consists of: constant text, and the column that follows it.

        The column "outcome" is the next group of outcome columns, "" nothing.
        """
        self._groups = []
        found: list[tuple[str, str]] = []
        text, end = ("", "\n") if self.is_csv else ("{", "}\n")
        for place, column in enumerate(self.columns):
            between = "," * (place > 0) + ("" if self.is_csv else f"{json.dumps(column)}:")
            if column == "file":
                text += between + self._value(file)
            elif column in OUTCOME_COLUMNS:
                if not (found and found[-1][1] == "outcome" and not text):
                    found.append(("", "outcome"))
                    self._groups.append([])
                self._groups[-1].append((text + between, column))
                text = ""
            else:
                found.append((text + between, column))
                text = ""
        if found and found[-1][1] == "outcome":
            self._groups[-1].append((text + end, ""))
        else:
            found.append((text + end, ""))
        return found

    def outcome_texts(self, outcome: RowValues) -> tuple[bytes, ...]:
        """The text of each group of outcome columns; valid after `pieces`."""
        return tuple(
            "".join(before + (self._value(getattr(outcome, name)) if name else "") for before, name in group).encode()
            for group in self._groups
        )

    def _value(self, value: object) -> str:
        if not self.is_csv:
            return json.dumps((list(value) or None) if isinstance(value, tuple) else value, separators=(",", ":"))
        if isinstance(value, tuple):
            value = " ".join(value)  # several care-of addresses: no address contains a space
        if value is None or value == "":
            return self.null
        out = io.StringIO()
        csv.writer(out, lineterminator="\r\n").writerow([value])  # \r and \n in values are quoted
        return out.getvalue()[:-2]


class _Texts:
    """`RowTexts` that follows the file and the outcomes of batches."""

    def __init__(self, form: TextFormat) -> None:
        self._form = form
        self._texts = RowTexts(form.null.encode(), form.quote.encode())
        self._file: str | None = None
        self._epoch = 0

    def of(self, file: str, outcomes: Sequence[RowValues], epoch: int) -> RowTexts:
        """The texts for rows of a file with these outcomes."""
        texts = self._texts
        if self._file != file:
            texts.set_pieces([(text.encode(), column) for text, column in self._form.pieces(file)])
            self._file = file
            texts.clear()  # they may have the file's name in them
        if self._epoch != epoch:
            texts.clear()
            self._epoch = epoch
        if len(texts) < len(outcomes):
            texts.add([self._form.outcome_texts(outcome) for outcome in outcomes[len(texts) :]])
        return texts


class TextWriter:
    """Writes rows as lines of text, without the first line of a file, so that it can also write a piece of one."""

    def __init__(self, stream: IO[bytes], form: TextFormat) -> None:
        self._stream = stream
        self._texts = _Texts(form)

    def write(self, rows: Rows) -> None:
        """Appends one batch."""
        texts = self._texts.of(rows.file, rows.outcomes.values, rows.outcomes.epoch)
        texts.write(self._stream, rows.frames, rows.times, rows.ids, rows.sizes, rows.captured, rows.keys)

    def close(self) -> None:
        """Does nothing: all rows have been written to the stream."""

    def abandon(self) -> None:
        """Does nothing: no rows are buffered."""


class TextSize:
    """Computes how many octets rows will have as text, without their frame numbers, before they are written.

    Rows that are left open count without what is settled later: their outcomes, and the fields of their packets.
    """

    def __init__(self, form: TextFormat) -> None:
        self.octets: int = 0
        self._form = form
        self._texts, self._blank = _Texts(form), _Texts(form)

    def add(self, rows: Rows, left_open: npt.NDArray[np.bool_] | None = None) -> None:
        """Counts one batch; ``left_open`` says which of its rows are open (None: none)."""
        if left_open is not None:
            self._add(self._blank.of(rows.file, [_NOTHING], 0), _blank(rows.picked(left_open)))
            rows = rows.picked(~left_open)
        self._add(self._texts.of(rows.file, rows.outcomes.values, rows.outcomes.epoch), rows)

    def _add(self, texts: RowTexts, rows: Rows) -> None:
        frames = np.zeros(len(rows), dtype=np.uint64)
        self.octets += texts.measure(frames, rows.times, rows.ids, rows.sizes, rows.captured, rows.keys)
        self.octets -= len(rows) * ("frame" in self._form.columns)  # the digit of 0


def _blank(rows: Rows) -> Rows:
    """The rows without what is settled later."""
    return Rows(
        rows.file, rows.frames, rows.times, np.zeros_like(rows.ids), rows.outcomes, rows.sizes,
        np.zeros_like(rows.keys), rows.captured,
    )  # fmt: skip


def settled_size(form: TextFormat, ids: Ids, outcomes: Sequence[RowValues], keys: Keys) -> int:
    """How many octets it adds to the text of open rows when their outcomes and keys are settled."""
    nothing = np.zeros(len(ids), dtype=np.uint64), np.zeros(len(ids), dtype=np.int64)
    sizes = np.zeros(len(ids), dtype=np.uint32)
    settled = _Texts(form).of("", outcomes, 0).measure(*nothing, ids, sizes, sizes, keys)
    before = _Texts(form).of("", [_NOTHING], 0).measure(*nothing, sizes, sizes, sizes, np.zeros_like(keys))
    return settled - before


def frame_digits(first: int, count: int) -> int:
    """How many octets the ``count`` frame numbers from ``first`` (1 or more) on have as text."""
    total, stop = 0, first + count
    while first < stop:
        width = len(str(first))
        end = min(stop, 10**width)
        total += width * (end - first)
        first = end
    return total
