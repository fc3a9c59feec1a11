"""Per-packet rows as files, by the ending of their name: text_rows.py and arrow.py have the formats.

A file appears whole or not at all: it's written beside its place and renamed when it's complete.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import IO, Protocol

from flowclass.errors import OutputError

from .files import atomic_file, check_writable
from .outcomes import Rows
from .text_rows import TEXT_FORMATS, TextFormat, TextWriter

__all__ = ["RowWriter", "check_output", "open_output"]


class RowWriter(Protocol):
    """What rows are written to: batches in order, then `close`, or `abandon` if something failed."""

    def write(self, rows: Rows) -> None:
        """Appends one batch."""

    def close(self) -> None:
        """Writes what is still held back; the stream stays open."""

    def abandon(self) -> None:
        """Forgets what is held back: nothing is written any more."""


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
    check_writable(path)
    return _WRITERS[ending]()


@contextlib.contextmanager
def open_output(path: str) -> Iterator[RowWriter]:
    """A writer whose file takes its place when the block ends well, and leaves no trace when it does not."""
    make = check_output(path)
    with atomic_file(path) as stream:
        writer = make(stream)
        try:
            yield writer
            writer.close()
        except BaseException:
            writer.abandon()
            raise
