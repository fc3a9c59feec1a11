"""Ending well when asked to: the first signal lets a reader finish with what it has, the second one ends at once.

A signal may come at any instruction, and an exception there could leave half a batch in an output. So the first one
only sets a flag, which readers look at between batches. Where the main thread waits for octets that may never come (a
pipe), it is marked as waiting, and the signal ends the waiting.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["SIGNALS", "Interruption", "WaitEndedError", "interruptible"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends work that is under way."""


class WaitEndedError(Exception):
    """Raised where the main thread waited for input when the first signal came."""


class Interruption:
    """Whether somebody asked for an end; `Trace` and `Run` take one. A new one: nobody has."""

    def __init__(self) -> None:
        self.requested = False
        self._waiting = False

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around a call that may wait for ever; `WaitEndedError` is raised out of it, or before it begins."""
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
        """Asks for an end; the second time raises KeyboardInterrupt. For a signal handler."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        if self._waiting:
            self._waiting = False
            raise WaitEndedError


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """An `Interruption` that SIGINT, SIGTERM and SIGHUP ask for while the block runs (in the main thread).

    A signal that was ignored before (SIGHUP under nohup) stays so.
    """
    found = Interruption()

    def handle(number: int, frame: FrameType | None) -> None:
        found.request()

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handle)
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
