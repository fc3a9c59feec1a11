"""The event loop of a daemon: it handles files, timers, signals and calls from other threads one after the other."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

__all__ = ["LOCAL_QUEUE", "WAIT_MS", "Loop"]

WAIT_MS: Final = 1000
"""How long a data thread waits for packets before it looks whether it is to end."""

LOCAL_QUEUE: Final = 4096
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
