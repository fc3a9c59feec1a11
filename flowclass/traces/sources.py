"""Where the bytes of a trace come from: files, pipes, standard input, file objects.

A source fills a buffer (`readinto`), as a raw file does; 0 means the end. What is compressed is undone in
`flowclass.traces.decompress`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from stat import S_ISREG
from typing import Any, BinaryIO, Protocol

from flowclass.errors import CaptureError

__all__ = ["ByteSource", "RawSource", "open_raw", "path_text"]


class ByteSource(Protocol):
    """Bytes in order. ``damage`` says (after the end) what was wrong with the encoding, if anything was."""

    damage: list[str]

    def readinto(self, buffer: memoryview, /) -> int: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class RawSource:
    """A file, a pipe or a file object, with a little read ahead put back (to look at the magic number).

    ``position`` counts the octets taken from it, for progress; ``size`` is None where it can't be had.
    """

    name: str
    read: Callable[[memoryview], int]
    close: Callable[[], None]
    size: int | None = None
    position: int = 0
    damage: list[str] = field(default_factory=list)
    _ahead: bytes = b""

    def readinto(self, buffer: memoryview, /) -> int:
        if self._ahead:
            n = min(len(buffer), len(self._ahead))
            buffer[:n] = self._ahead[:n]
            self._ahead = self._ahead[n:]
        else:
            try:
                n = self.read(buffer)
            except OSError as error:
                self.damage.append(f"can't be read on: {error.strerror or error}")
                return 0
            self.position += n
        return n

    def peek(self, n: int) -> bytes:
        """The first ``n`` octets, or fewer at the end; they are read again afterwards."""
        ahead = b""
        while len(ahead) < n:
            buffer = bytearray(n - len(ahead))
            got = self.readinto(memoryview(buffer))
            if got == 0:
                break
            ahead += buffer[:got]
        self._ahead = ahead + self._ahead
        return ahead


def path_text(path: str) -> str:
    """A path for people and outputs, which are UTF-8: an octet that is none is written as \\xNN."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def open_raw(source: str | os.PathLike[str] | BinaryIO, offset: int = 0) -> RawSource:
    """A path, ``-`` for standard input, or a binary file object (which stays the caller's to close).

    ``offset``: where to begin in a file that is given as a path.

    Raises `CaptureError` when the file is missing or can't be opened.
    """
    if isinstance(source, (str, os.PathLike)):
        if os.fspath(source) == "-":
            return _file_object(sys.stdin.buffer, "-")
        return _path(os.fspath(source), offset)
    name = getattr(source, "name", None)
    return _file_object(source, path_text(name) if isinstance(name, str) else f"<{type(source).__name__}>")


def _path(path: str, offset: int) -> RawSource:
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115 (closed by RawSource.close)
    except OSError as error:
        raise CaptureError(f"{path_text(path)}: {(error.strerror or str(error)).lower()}") from None
    if offset:
        file.seek(offset)
    about = os.fstat(file.fileno())
    size = about.st_size if S_ISREG(about.st_mode) else None
    return RawSource(path_text(path), lambda buffer: file.readinto(buffer) or 0, file.close, size)


def _file_object(file: Any, name: str) -> RawSource:
    readinto = getattr(file, "readinto1", None) or getattr(file, "readinto", None)
    if readinto is not None:
        return RawSource(name, lambda buffer: readinto(buffer) or 0, lambda: None)
    if not hasattr(file, "read"):
        raise CaptureError(f"{name}: expected a path or a binary file object")

    def read(buffer: memoryview) -> int:
        data = file.read(len(buffer))
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise CaptureError(f"{name}: expected a binary file object, got text")
        buffer[: len(data)] = data
        return len(data)

    return RawSource(name, read, lambda: None)
