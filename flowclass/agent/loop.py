"""The event loop of a daemon: it handles files, timers, signals and calls from other threads one after the other.

Beside it runs the one other thread, which forwards packets.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ._forward import Forwarder, Local

__all__ = ["DataThread", "Loop"]

_WAIT_MS: Final = 1000
"""How long a data thread waits for packets before it looks whether it is to end."""

_LOCAL_QUEUE: Final = 4096
"""How many packets may wait for the main thread; others are dropped and counted."""

_LONGEST: Final = 60.0


class Loop:
    """An event loop. All functions run in the thread that called `run`; `call` may be used from any thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._calls: deque[Callable[[], object]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._signals: dict[int, Callable[[], object]] = {}
        self._running = True
        self._failure: BaseException | None = None
        self._read_end, self._write_end = socket.socketpair()
        self.deadlines: list[Callable[[], float | None]] = []
        """Functions that return the time of the monotonic clock at which the ``on_time`` functions have to run next."""
        self.on_time: list[Callable[[float], object]] = []
        self.watch(self._wake, self._run_calls)
        for end in (self._read_end, self._write_end):
            end.setblocking(False)
        self.watch(self._read_end, self._run_signals)

    def watch(self, file: Any, ready: Callable[[], object]) -> None:
        """Call ``ready`` whenever ``file`` can be read."""
        self._selector.register(file, selectors.EVENT_READ, ready)

    def forget(self, file: Any) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(file)

    def on_signal(self, number: int, action: Callable[[], object]) -> None:
        self._signals[number] = action
        signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._write_end.fileno(), warn_on_full_buffer=False)

    def call(self, action: Callable[[], object]) -> None:
        self._calls.append(action)
        os.eventfd_write(self._wake, 1)

    @property
    def is_running(self) -> bool:
        return self._running

    def stop(self) -> None:
        self._running = False

    def go_on(self) -> None:
        """Allow `run` to be called again after `stop`."""
        self._running = True

    def fail(self, error: BaseException) -> None:
        """End `run` with an exception that has occurred in another thread."""
        self._failure = error
        self.call(self.stop)

    def run(self) -> None:
        while self._running:
            now = time.monotonic()
            times = [when for deadline in self.deadlines if (when := deadline()) is not None]
            wait = max(0.0, min([now + _LONGEST, *times]) - now)
            for key, _ in self._selector.select(wait):
                key.data()
            now = time.monotonic()
            for action in self.on_time:
                action(now)
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        if self._signals:
            signal.set_wakeup_fd(-1)
        self._selector.close()
        self._read_end.close()
        self._write_end.close()
        os.close(self._wake)

    def _run_calls(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        for _ in range(len(self._calls)):  # calls that these ask for wait, so that timers and signals have their turn
            self._calls.popleft()()

    def _run_signals(self) -> None:
        try:
            numbers = self._read_end.recv(64)
        except BlockingIOError:
            return
        for number in dict.fromkeys(numbers):
            action = self._signals.get(number)
            if action is not None:
                action()


class DataThread:
    """Runs a forwarder, in C and without the interpreter's lock, in a thread of its own while the loop runs.

    Packets for the host itself are left in ``waiting``, each behind the time of the monotonic clock at which it came;
    then ``take`` is called in the loop's thread. If it leaves some there, it has to ask for a further call by
    `schedule`. Packets for which there is no room are counted in ``dropped`` as "control plane busy".
    """

    def __init__(self, loop: Loop, take: Callable[[], object], dropped: Counter[str]) -> None:
        self.waiting: deque[tuple[float, Local]] = deque()
        self._loop = loop
        self._take = take
        self._dropped = dropped
        self._scheduled = False
        self._forwarder: Forwarder | None = None
        self._thread = threading.Thread(target=self._run, name="forward", daemon=True)

    def start(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder
        self._thread.start()

    def stop(self) -> None:
        """End the loop, and the thread if it runs, before what it uses is closed."""
        self._loop.stop()
        if self._forwarder is not None and self._thread.is_alive():
            self._forwarder.close()
            self._thread.join(5)

    def schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call(self._take_waiting)

    def _take_waiting(self) -> None:
        self._scheduled = False
        self._take()

    def _run(self) -> None:
        assert self._forwarder is not None
        try:
            while self._loop.is_running:
                found = self._forwarder.run(_WAIT_MS)
                if not found:
                    continue
                room = _LOCAL_QUEUE - len(self.waiting)
                if len(found) > room:
                    self._dropped["control plane busy"] += len(found) - room
                    del found[max(room, 0) :]
                now = time.monotonic()
                self.waiting.extend((now, local) for local in found)
                self.schedule()
        except BaseException as error:
            self._loop.fail(error)
