"""Compresses outputs whose names end in .gz or .zst, behind the ending that says their format."""

from __future__ import annotations

import contextlib
import io
import os
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Final, Protocol

from flowclass.errors import OutputError

from .decompress import zstd_module

__all__ = ["COMPRESSIONS", "OR_COMPRESSED", "Compressor", "compressed", "compressor", "endings"]

COMPRESSIONS: Final = (".gz", ".zst")
"""The file name endings of compressed outputs."""

OR_COMPRESSED: Final = f"or with {' or '.join(COMPRESSIONS)} behind it"
"""How errors say that an ending may be followed by one of `COMPRESSIONS`."""


class Compressor(Protocol):
    """What the compressor objects of zlib and compression.zstd have in common."""

    def compress(self, data: bytes | bytearray | memoryview, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Plain:
    def compress(self, data: bytes | bytearray | memoryview, /) -> bytes | bytearray | memoryview:
        return data

    def flush(self) -> bytes:
        return b""


def endings(path: str) -> tuple[str, str]:
    """The ending that says the format, and the compression behind it or "", both in lower case."""
    rest, ending = os.path.splitext(path.lower())
    if ending in COMPRESSIONS:
        return os.path.splitext(rest)[1], ending
    return ending, ""


def compressor(compression: str, path: str) -> Callable[[], Compressor]:
    """What makes a compressor; "" is one that changes nothing. What several of them have made, one after the other, is
    a file, too.

    Raises `OutputError`, which names the ``path``, if what it needs isn't installed.
    """
    if compression == ".gz":
        return lambda: zlib.compressobj(wbits=31)
    if compression == ".zst":
        module = zstd_module()
        if module is None:
            raise OutputError(f"{path}: zstd needs the Python package backports.zstd: pip install 'flowclass[fast]'")
        made: Callable[[], Compressor] = module.ZstdCompressor
        return made
    return _Plain  # type: ignore[return-value]  # what it returns needn't be bytes to be written


@contextlib.contextmanager
def compressed(stream: IO[bytes], compression: str, path: str) -> Iterator[IO[bytes]]:
    """A stream that hands on, compressed, what is written to it ("": the stream itself); the given one stays open."""
    if not compression:
        yield stream
        return
    raw = _Compressing(stream, compressor(compression, path)())
    packed = io.BufferedWriter(raw, 1 << 16)  # type: ignore[type-var]  # a name is never asked for
    try:
        yield packed
    except BaseException:
        raw.abandon()
        raise
    packed.close()


class _Compressing(io.RawIOBase):
    def __init__(self, stream: IO[bytes], compressor: Compressor) -> None:
        self._stream, self._compressor, self._abandoned = stream, compressor, False

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]  # of octets only
        if not self._abandoned:
            self._stream.write(self._compressor.compress(data))
        return len(data)

    def abandon(self) -> None:
        """Drops what comes from now on: the file that it is for is thrown away."""
        self._abandoned = True

    def close(self) -> None:
        if not self.closed and not self._abandoned:
            self._stream.write(self._compressor.flush())
        super().close()
