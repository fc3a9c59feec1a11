"""When a binding cache has something to do next: a heap that stays as small as what is waiting.

Entries are (time, home address). Nobody takes one out before its time: who no longer means one lets it be, and says so
when asked by ``live``. Should such stale entries become more than the live ones, the heap is sifted: it is set aside,
and each later push moves a few of its last entries, which leave a heap a heap, into a new one. So no call pays for more
than a few entries, whatever the size, and the two heaps together are at most a few times what is live.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

__all__ = ["Deadlines"]

_MOVED_PER_PUSH: Final = 8
_SLACK: Final = 64
"""Below so many entries nothing is sifted."""

Entry = tuple[float, bytes]


class Deadlines:
    """Times by home address, the earliest first. ``live(time, home)``: whether an entry is still meant."""

    __slots__ = ("_aside", "_heap", "_live")

    def __init__(self, live: Callable[[float, bytes], bool]) -> None:
        self._live = live
        self._heap: list[Entry] = []
        self._aside: list[Entry] = []

    def __len__(self) -> int:
        return len(self._heap) + len(self._aside)

    def push(self, when: float, home: bytes, waiting: int) -> None:
        """Add an entry; ``waiting`` is how many live ones there can be at most."""
        heappush(self._heap, (when, home))
        if self._aside:
            for _ in range(min(_MOVED_PER_PUSH, len(self._aside))):
                entry = self._aside.pop()
                if self._live(*entry):
                    heappush(self._heap, entry)
        elif len(self._heap) > 2 * waiting + _SLACK:
            self._heap, self._aside = [], self._heap

    def first(self) -> Entry | None:
        """The earliest entry, live or not."""
        heap, aside = self._heap, self._aside
        if aside and (not heap or aside[0] < heap[0]):
            return aside[0]
        return heap[0] if heap else None

    def pop(self) -> Entry:
        """Take out the earliest entry; there must be one."""
        heap, aside = self._heap, self._aside
        return heappop(aside if aside and (not heap or aside[0] < heap[0]) else heap)
