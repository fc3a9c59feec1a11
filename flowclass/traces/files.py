"""Output files that appear complete or not at all: they are written under another name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from typing import IO, TypeAlias

from flowclass.errors import OutputError
from flowclass.traces.interruption import nothing_to_finish

__all__ = [
    "Together",
    "atomic_file",
    "check_apart",
    "check_writable",
    "make_folder",
    "mode_of",
    "named",
    "open_own",
    "own_file",
    "own_folder",
    "together",
]


def check_writable(path: str) -> None:
    """Raises `OutputError` if no file can be made at this path."""
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise OutputError(f"{path}: there is no folder {folder}")
    if os.path.isdir(path):
        raise OutputError(f"{path}: is a folder")


def make_folder(path: str) -> None:
    """Makes a folder, and those that it is in, unless it is there."""
    try:
        os.makedirs(path, exist_ok=True)
    except RecursionError:  # it calls itself for each of them
        raise OutputError(f"{path}: too many folders in each other") from None


def check_apart(output: str | None, inputs: Iterable[str | None]) -> None:
    """Raises `OutputError` if the output is one of the files that are read (``-`` is standard input).

    Symbolic and hard links to the same file count as the same file.
    """
    if output is None or not os.path.exists(output):
        return
    there = os.stat(output)
    if not stat.S_ISREG(there.st_mode):
        return
    for name in inputs:
        if name is None:
            continue
        try:
            read = os.fstat(sys.stdin.fileno()) if name == "-" else os.stat(name)
        except (OSError, ValueError):  # a missing file is reported elsewhere
            continue
        if os.path.samestat(read, there):
            called = "standard input" if name == "-" else name
            raise OutputError(f"{output}: the output would replace {called}, which is read")


Together: TypeAlias = list[tuple[str, str]]
"""Complete files that are to appear at the same time: where each is, and where it will be."""


@contextlib.contextmanager
def together() -> Iterator[Together]:
    """Files of `atomic_file` that appear when the block ends: all of them, or none if it, or one of them, failed."""
    files: Together = []
    try:
        yield files
        for temporary, target in files:
            os.replace(temporary, target)
    except BaseException:
        for temporary, _ in files:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise


@contextlib.contextmanager
def atomic_file(path: str, files: Together | None = None) -> Iterator[IO[bytes]]:
    """A binary file that appears at ``path`` complete or not at all, and replaces a file that was there before.

    With ``files`` it appears with the other ones of a `together` block.
    """
    try:
        with _atomic_file(path, files) as stream:
            yield stream
    except OSError as error:
        raise named(error, path) from None


def named(error: OSError, path: str) -> Exception:
    """The error itself, or for a full disk an `OutputError` that names the file."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return OutputError(f"{path}: {error.strerror}")
    return error


@contextlib.contextmanager
def own_folder(path: str) -> Iterator[int]:
    """A folder for temporary files of this program, created unless it exists; yields its file descriptor.

    Raises `OutputError` if the folder belongs to somebody else or others may write to it, because its contents are
    trusted from then on.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}: a folder of our own is expected there") from None
    try:
        about = os.fstat(handle)
        if about.st_uid != os.geteuid():
            raise OutputError(f"{path}: belongs to somebody else: remove it, or write to another folder")
        if about.st_mode & 0o022:
            raise OutputError(f"{path}: others may write to it: remove it, or write to another folder")
        yield handle
    finally:
        os.close(handle)


def own_file(path: str, *, fresh: bool = False) -> IO[bytes]:
    """Opens a file in an `own_folder` for writing; ``fresh`` replaces one that exists. Links are never followed."""
    if fresh:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    new = os.O_CREAT | os.O_EXCL if fresh else 0
    return open(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | new, 0o600), "wb", buffering=1 << 20)


def open_own(path: str) -> IO[bytes]:
    """Opens a file in an `own_folder` for reading. Links are never followed."""
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=1 << 20)


@contextlib.contextmanager
def _atomic_file(path: str, files: Together | None) -> Iterator[IO[bytes]]:
    target = os.path.realpath(path)  # a symbolic link is kept, and the file that it points to is replaced
    if os.path.exists(target) and not os.path.isfile(target):
        with nothing_to_finish():  # a pipe or device, which can't be replaced: it waits for somebody who reads
            raw = io.FileIO(target, "w")
        with io.BufferedWriter(raw, 1 << 20) as stream:
            try:
                yield stream
            except BaseException:
                stream.raw.close()  # what is buffered is dropped: a pipe that nobody reads would never take it
                raise
        return
    folder, name = os.path.split(target)
    try:
        from tempfile import mkstemp

        handle, temporary = mkstemp(prefix=f".{name}.", suffix=".part", dir=folder)
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb", buffering=1 << 20) as stream:
            os.fchmod(stream.fileno(), mode_of(target))
            yield stream
        if files is None:
            os.replace(temporary, target)
        else:
            files.append((temporary, target))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def mode_of(target: str) -> int:
    """The permissions of the file at ``target``, or else those of any new file (mkstemp's are private)."""
    with contextlib.suppress(OSError):
        return os.stat(target).st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask
