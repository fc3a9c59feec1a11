"""Writes per-packet rows to files, in the format that the file name's ending selects (text_rows.py, arrow.py); text may
be compressed (compress.py).

A file appears complete or not at all: it is written under another name, and renamed when it is complete.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import IO, Final, Protocol

from flowclass.errors import OutputError

from .columns import COLUMNS
from .compress import OR_COMPRESSED, compressed, compressor, endings
from .files import Together, atomic_file, check_writable
from .outcomes import Rows
from .text_rows import TEXT_ENDINGS, TextFormat, TextWriter

__all__ = ["STREAMS", "RowWriter", "check_output", "open_output", "open_stream"]

STREAMS: Final = ("csv", "jsonl", "arrow")
"""The formats that can be written to a stream, row by row."""


class RowWriter(Protocol):
    """A writer of rows: it takes batches in order, then `close`, or `abandon` if something failed."""

    def write(self, rows: Rows) -> None:
        """Appends one batch."""

    def close(self) -> None:
        """Writes the rows that are still buffered; the stream stays open."""

    def abandon(self) -> None:
        """Drops the rows that are still buffered; writes nothing more."""


def _text_writer(ending: str, columns: Sequence[str]) -> Callable[[IO[bytes]], RowWriter]:
    form = TextFormat(ending, columns)

    def make(stream: IO[bytes]) -> RowWriter:
        stream.write(form.first_line.encode())
        return TextWriter(stream, form)

    return make


def _columnar(name: str, columns: Sequence[str]) -> Callable[[IO[bytes]], RowWriter]:
    from . import arrow  # imported only when needed, as it needs pyarrow

    make: Callable[[IO[bytes], Sequence[str]], RowWriter] = getattr(arrow, name)
    return lambda stream: make(stream, columns)


# ending -> a function of the columns that returns the maker of writers, and imports what it needs
_WRITERS: dict[str, Callable[[Sequence[str]], Callable[[IO[bytes]], RowWriter]]] = {
    **{ending: partial(_text_writer, ending) for ending in TEXT_ENDINGS},
    ".arrow": partial(_columnar, "arrow_writer"),
    ".parquet": partial(_columnar, "parquet_writer"),
}


def check_output(path: str, columns: Sequence[str] = COLUMNS) -> Callable[[IO[bytes]], RowWriter]:
    """The maker of writers for the path's ending. Raises `OutputError` if no file can be made at the path."""
    ending, compression = endings(path)
    if ending not in _WRITERS or (compression and ending not in TEXT_ENDINGS):
        text, tables = TEXT_ENDINGS, [ending for ending in _WRITERS if ending not in TEXT_ENDINGS]
        raise OutputError(
            f"{path}: expected a name that ends in {' or '.join(text)}, {OR_COMPRESSED}, or in {' or '.join(tables)}"
        )
    compressor(compression, path)
    check_writable(path)
    return _WRITERS[ending](columns)


@contextlib.contextmanager
def open_output(path: str, columns: Sequence[str] = COLUMNS, files: Together | None = None) -> Iterator[RowWriter]:
    """A writer whose file appears at ``path`` when the block ends normally, and is removed when it raises.

    ``columns`` are names that `columns.parse_columns` returns; ``files`` is as for `files.atomic_file`.
    """
    make = check_output(path, columns)
    with atomic_file(path, files) as file, compressed(file, endings(path)[1], path) as stream:
        writer = make(stream)
        try:
            yield writer
            writer.close()
        except BaseException:
            writer.abandon()
            raise


class _Flushing:
    """A writer whose stream is flushed after each batch, so that rows are seen as they come."""

    def __init__(self, writer: RowWriter, stream: IO[bytes]) -> None:
        self._writer, self._stream = writer, stream
        self.abandon = writer.abandon
        stream.flush()

    def write(self, rows: Rows) -> None:
        self._writer.write(rows)
        self._stream.flush()

    def close(self) -> None:
        self._writer.close()
        self._stream.flush()


@contextlib.contextmanager
def open_stream(form: str, stream: IO[bytes], columns: Sequence[str] = COLUMNS) -> Iterator[RowWriter]:
    """A writer of rows to a stream in one of the formats `STREAMS`; the stream stays open."""
    make = _columnar("arrow_stream_writer", columns) if form == "arrow" else _WRITERS[f".{form}"](columns)
    writer = _Flushing(make(stream), stream)
    try:
        yield writer
        writer.close()
    except BaseException:
        writer.abandon()
        raise
