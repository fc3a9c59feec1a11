"""Handing events to a listener so that neither can hurt the other."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["Outbox"]

E = TypeVar("E")

_log = logging.getLogger("flowclass.mobility")


class Outbox(Generic[E]):
    """Events that wait for the listener, in the order in which they happened.

    `put` is called where the state has changed, under the lock of whoever changed it; `deliver` after that lock was
    let go, so that a listener may call back, and may take its time. One thread delivers at a time, and takes along what
    others have put meanwhile. What a listener raises is logged, and changes nothing of what has happened.
    """

    __slots__ = ("_delivering", "_events")

    def __init__(self) -> None:
        self._events: deque[E] = deque()
        self._delivering = Lock()

    def put(self, event: E) -> None:
        """Add an event to those that wait."""
        self._events.append(event)

    def deliver(self, listener: Callable[[E], object] | None) -> None:
        """Call the listener with all waiting events, unless a thread, possibly this one, is doing so already."""
        events = self._events
        while events and self._delivering.acquire(blocking=False):
            try:
                while events:
                    event = events.popleft()
                    if listener is not None:
                        try:
                            listener(event)
                        except Exception as error:
                            _log.error(
                                "the listener raised an error at %r: %r",
                                event,
                                error,
                                exc_info=_log.isEnabledFor(logging.DEBUG),
                            )
            finally:
                self._delivering.release()
