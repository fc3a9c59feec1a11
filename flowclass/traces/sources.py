"""Sources of the bytes of a trace: files, pipes, standard input, file objects.

A source fills a buffer (`readinto`), as a raw file does; 0 means the end. Compressed sources are decompressed in
`flowclass.traces.decompress`.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from collections.abc import Callable
from stat import S_ISREG
from typing import Any, BinaryIO, NamedTuple, Protocol

from msgspec import Struct

from flowclass.errors import CaptureError

__all__ = ["ByteSource", "FileIdentity", "RawSource", "identity_of", "open_raw", "path_text", "source_name"]


class FileIdentity(NamedTuple):
    """Identifies a file and its state.

    ``size`` is in octets, ``time_ns`` the time of the last change, and ``edges`` a hash of the first and last octets.
    """

    device: int
    inode: int
    size: int
    time_ns: int
    edges: bytes

    def is_kept(self, handle: int) -> bool:
        """Whether the open file is this one and still has its octets. More may have been appended to them.

        Device 0 stands for any device.
        """
        about = os.fstat(handle)
        if (self.device or about.st_dev, self.inode) != (about.st_dev, about.st_ino):
            return False
        if about.st_size == self.size:
            return about.st_mtime_ns == self.time_ns
        # a file that was emptied and written anew may be larger too, so the octets are compared
        return about.st_size > self.size and _edges(handle, self.size) == self.edges


def _edges(handle: int, size: int) -> bytes:
    from hashlib import sha256

    edge = min(size, 4096)
    return sha256(os.pread(handle, edge, 0) + os.pread(handle, edge, size - edge)).digest()[:16]


def identity_of(path: str | os.PathLike[str]) -> FileIdentity | None:
    """The identity and present state of a file; None if it is not a regular file. Raises OSError if it is missing."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a named pipe would otherwise wait for a writer
    try:
        about = os.fstat(handle)
        if not S_ISREG(about.st_mode):
            return None
        edges = _edges(handle, about.st_size)
        return FileIdentity(about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, edges)
    finally:
        os.close(handle)


class ByteSource(Protocol):
    """A source of bytes in order. After the end, ``damage`` says what was wrong with the encoding, if anything."""

    damage: list[str]

    def readinto(self, buffer: memoryview, /) -> int:
        """Fills the front of a buffer; returns how many octets, 0 at the end."""

    def close(self) -> None:
        """Closes files and ends threads."""


class RawSource(Struct, eq=False):
    """A file, a pipe or a file object, from which the first octets can be peeked at (for the magic number).

    ``position`` counts the octets taken from it, for progress; ``size`` in octets is None where it is unknown; ``file``
    is the descriptor of a file that was opened by its path. Reading begins at the octet ``offset`` of it, and
    ends at ``end``; octets from there on are as if they were not there. ``descriptor`` is what is read, if it has one.
    """

    name: str
    read: Callable[[memoryview], int]
    close: Callable[[], None]
    size: int | None = None
    file: int | None = None
    offset: int = 0
    end: int | None = None
    position: int = 0
    descriptor: int | None = None
    damage: list[str] = []
    _ahead: bytes = b""

    def check(self, identity: FileIdentity | None) -> None:
        """Raises `CaptureError` unless this is the file of that identity, with at least the octets that it had then.

        None stands for something that is not a regular file, about which nothing can be said.
        """
        if identity is not None and (self.file is None or not identity.is_kept(self.file)):
            raise CaptureError(f"{self.name}: was replaced or overwritten while it was read")

    @property
    def is_limited(self) -> bool:
        """Whether the file has octets from ``end`` on."""
        return self.end is not None and self.file is not None and os.fstat(self.file).st_size > self.end

    def readinto(self, buffer: memoryview, /) -> int:
        """Fills the front of a buffer; returns how many octets, 0 at the end."""
        if self._ahead:
            n = min(len(buffer), len(self._ahead))
            buffer[:n] = self._ahead[:n]
            self._ahead = self._ahead[n:]
        else:
            if self.end is not None:
                buffer = buffer[: max(self.end - self.offset - self.position, 0)]
            try:
                n = self.read(buffer)
            except OSError as error:
                what = f"can't be read on: {error.strerror or error}"
                if what not in self.damage:  # it may be tried again
                    self.damage.append(what)
                return 0
            self.position += n
        return n

    def is_ready(self) -> bool:
        """Whether octets, or the end, are there without waiting; True where that can't be known."""
        return self._ahead != b"" or self.never_waits or self.descriptor is None or self._poll(0)

    def wait(self) -> bool:
        """Waits until `readinto` needn't; returns False, and doesn't wait, where that can't be known."""
        return self._ahead != b"" or self.never_waits or (self.descriptor is not None and self._poll(None))

    @property
    def never_waits(self) -> bool:
        """Whether this is a regular file, which has its octets, or its end, at any time."""
        return self.size is not None

    def _poll(self, milliseconds: int | None) -> bool:
        waiting = select.poll()
        assert self.descriptor is not None
        waiting.register(self.descriptor, select.POLLIN)
        return bool(waiting.poll(milliseconds))

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
    """A path as text for people and outputs, which are UTF-8: octets that are not UTF-8 are written as \\xNN."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def source_name(source: str | os.PathLike[str] | BinaryIO) -> str:
    """The name of a source in results."""
    if isinstance(source, (str, os.PathLike)):
        return path_text(os.fspath(source))
    name = getattr(source, "name", None)
    return path_text(name) if isinstance(name, str) else f"<{type(source).__name__}>"


def open_raw(source: str | os.PathLike[str] | BinaryIO, offset: int = 0, end: int | None = None) -> RawSource:
    """Opens a path, ``-`` for standard input, or a binary file object (which the caller has to close).

    ``offset`` is where reading begins in a file that is given as a path, and ``end`` where it ends at the latest.

    Raises `CaptureError` when the file is missing or can't be opened.
    """
    if isinstance(source, (str, os.PathLike)):
        if os.fspath(source) == "-":
            return _file_object(getattr(sys.stdin.buffer, "raw", sys.stdin.buffer), "-")
        return _path(os.fspath(source), offset, end)
    return _file_object(source, source_name(source))


def _path(path: str, offset: int, end: int | None) -> RawSource:
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115 (closed by RawSource.close)
    except OSError as error:
        raise CaptureError(f"{path_text(path)}: {(error.strerror or str(error)).lower()}") from None
    if offset:
        file.seek(offset)
    about = os.fstat(file.fileno())
    size = about.st_size if S_ISREG(about.st_mode) else None
    return RawSource(
        path_text(path), lambda buffer: file.readinto(buffer) or 0, file.close, size, file.fileno(), offset, end,
        descriptor=file.fileno(),
    )  # fmt: skip


def _file_object(file: Any, name: str) -> RawSource:
    descriptor = None
    with contextlib.suppress(AttributeError, OSError):
        descriptor = file.fileno()
    readinto = getattr(file, "readinto1", None) or getattr(file, "readinto", None)
    if readinto is not None and not isinstance(file, io.BufferedReader):
        return RawSource(name, lambda buffer: readinto(buffer) or 0, lambda: None, descriptor=descriptor)
    if not hasattr(file, "read"):
        raise CaptureError(f"{name}: expected a path or a binary file object")

    # readinto1 of a BufferedReader waits for more than what it has in its buffer, and read for all; read1 does not
    some = file.read1 if isinstance(file, io.BufferedReader) else file.read

    def read(buffer: memoryview) -> int:
        data = some(len(buffer))
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise CaptureError(f"{name}: expected a binary file object, got text")
        buffer[: len(data)] = data
        return len(data)

    return RawSource(name, read, lambda: None, descriptor=descriptor)
