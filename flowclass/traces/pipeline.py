"""Work on other threads of the same process: `ReadAhead` prepares items for a loop, `WriteBehind` finishes its work.

Both keep the order of their items. They save time because the C code and the system calls that they run release the
GIL. The queue between two threads has a fixed length, which bounds memory.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from queue import Empty, Full, Queue
from typing import Any, Final, Generic, TypeVar

__all__ = ["ReadAhead", "WriteBehind"]

T = TypeVar("T")
_CLOSE_TRIES: Final = 20  # each waits 50 ms for the thread to end
_END: Final = object()


class ReadAhead(Generic[T]):
    """Runs an iterator on another thread, at most ``most`` items ahead.

    An exception that the iterator raises is raised here, after the items before it.
    """

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
        """Ends the thread. Returns False, and leaves it running, if it doesn't end: it may wait for a silent pipe."""
        self._stop.set()
        for _ in range(_CLOSE_TRIES):
            if self._thread is None or not self._thread.is_alive():
                return True
            with contextlib.suppress(Empty):  # it may be waiting for room in the queue
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
    """Makes calls on another thread, in order; at most ``most`` may be waiting.

    An exception that one of them raises is raised by the next method called here. Leaving the block normally waits for
    all calls; leaving it with an exception drops those that have not begun.
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
        """Queues a call for the thread. Waits while the queue is full."""
        self._check()
        self._queue.put((function, arguments))

    def wait(self) -> None:
        """Waits until all calls that were queued are done."""
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
            del item, arguments  # frees the arguments now: the next call may be long in coming
            self._queue.task_done()
