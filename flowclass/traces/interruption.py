"""Interruptions by signals: the first signal lets a run finish with what it has read, the second one ends it at once.

A signal may arrive at any instruction, and an exception raised there could leave half a batch in an output. So the
first signal only sets a flag, which readers check between batches. While the main thread waits for octets that may
never come (from a pipe), it is marked as waiting, and then the signal also ends the waiting.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["SIGNALS", "Interruption", "WaitEndedError", "interruptible", "nothing_to_finish"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that interrupt work."""


class WaitEndedError(Exception):
    """Raised in the main thread if it waits for input when the first signal comes."""


class Interruption:
    """Whether an end of the work was requested; `Trace` and `Run` take one and check it."""

    def __init__(self) -> None:
        self.requested: bool = False
        self._waiting = False

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Encloses a call that may wait for ever: a request raises `WaitEndedError` in it, or before it begins."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._waiting = True
        try:
            if self.requested:
                raise WaitEndedError
            yield
        finally:
            self._waiting = False

    def request(self) -> None:
        """Requests an end, for a signal handler. The second request raises KeyboardInterrupt."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        if self._waiting:
            self._waiting = False
            raise WaitEndedError


_present: list[Interruption] = []  # of the blocks of `interruptible` that run


@contextlib.contextmanager
def nothing_to_finish() -> Iterator[None]:
    """Encloses a call that may wait for ever while there is nothing yet to finish, as opening a named pipe that nobody
    reads: the first signal ends the work at once, by KeyboardInterrupt."""
    try:
        with _present[-1].waiting() if _present else contextlib.nullcontext():
            yield
    except WaitEndedError:
        raise KeyboardInterrupt from None


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """An `Interruption` that SIGINT, SIGTERM and SIGHUP request while the block runs (in the main thread).

    A signal that was ignored before (SIGHUP under nohup) stays ignored.
    """
    found = Interruption()

    def handle(number: int, frame: FrameType | None) -> None:
        found.request()

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handle)
    _present.append(found)
    try:
        yield found
    finally:
        _present.remove(found)
        for number, handler in before.items():
            signal.signal(number, handler)
