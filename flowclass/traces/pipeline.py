"""Work on other threads of one process, in order: what comes ahead of a loop, and what is left behind it.

Both pay because the C code and the system calls that they run release the GIL. A bounded number of items is between two
threads, so memory is, too.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from queue import Empty, Full, Queue
from typing import Any, Final, Generic, TypeVar

__all__ = ["ReadAhead", "WriteBehind"]

T = TypeVar("T")
_CLOSE_TRIES: Final = 20  # of 50 ms each
_END: Final = object()


class ReadAhead(Generic[T]):
    """An iterator, run by another thread at most ``most`` items ahead. What it raises is raised here, in its turn."""

    def __init__(self, items: Iterator[T], most: int) -> None:
        self._items = items
        self._queue: Queue[Any] = Queue(most)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended = False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._ended:
            raise StopIteration
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)
            self._thread.start()
        item, error = self._queue.get()
        if item is _END:
            self._ended = True
            if error is not None:
                raise error
            raise StopIteration
        value: T = item
        return value

    def close(self) -> bool:
        """Ends the thread; False if it can't be ended: it waits for a pipe that gives nothing, and is left alone."""
        self._stop.set()
        for _ in range(_CLOSE_TRIES):
            if self._thread is None or not self._thread.is_alive():
                return True
            with contextlib.suppress(Empty):  # it may wait for room
                self._queue.get_nowait()
            self._thread.join(0.05)
        return False

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                if not self._put((item, None)):
                    return
        except BaseException as raised:
            error = raised
        self._put((_END, error))

    def _put(self, item: tuple[Any, BaseException | None]) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.2)
            except Full:
                continue
            return True
        return False


class WriteBehind:
    """Calls made by another thread, in order, at most ``most`` behind. What one raises is raised by the next call here.

    Leaving the block well waits for all of them; leaving it for an error drops those that have not begun.
    """

    def __init__(self, most: int) -> None:
        self._queue: Queue[tuple[Callable[..., Any], tuple[Any, ...]] | None] = Queue(most)
        self._error: BaseException | None = None
        self._dropped = False
        self._thread = threading.Thread(target=self._run, name="behind", daemon=True)

    def __enter__(self) -> WriteBehind:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._dropped = kind is not None
        self._queue.put(None)
        self._thread.join()
        if kind is None:
            self._check()

    def call(self, function: Callable[..., Any], /, *arguments: Any) -> None:
        """Has the thread make a call after those before it; waits while as many as are allowed are behind."""
        self._check()
        self._queue.put((function, arguments))

    def wait(self) -> None:
        """Until everything is done that was asked for."""
        self._queue.join()
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            error, self._error, self._dropped = self._error, None, True
            raise error

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            function, arguments = item
            try:
                if not self._dropped and self._error is None:
                    function(*arguments)
            except BaseException as error:
                self._error = error
            del item, arguments  # the next one may be long in coming: what this one held is free
            self._queue.task_done()
