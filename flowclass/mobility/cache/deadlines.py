"""A heap of deadlines, which tells a binding cache what it has to do next.

Entries are pairs (time, home address). An entry that is no longer valid isn't removed before its time comes; the
function ``live`` says whether an entry is still valid. When there are more stale entries than live ones, the heap is
set aside, and each later push moves a few live entries from its end to a new heap; without its last entries, the old
heap is still a heap. Thus no call handles more than a few entries, and the two heaps together have at most a few times
as many entries as are live.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

__all__ = ["Deadlines"]

_MOVED_PER_PUSH: Final = 8
_SLACK: Final = 64
"""A heap with fewer entries than this is never set aside."""

Entry = tuple[float, bytes]


class Deadlines:
    """A queue of times with their home addresses, the earliest first; ``live(time, home)`` says if an entry is
    valid."""

    __slots__ = ("_aside", "_heap", "_live")

    def __init__(self, live: Callable[[float, bytes], bool]) -> None:
        self._live = live
        self._heap: list[Entry] = []
        self._aside: list[Entry] = []

    def __len__(self) -> int:
        return len(self._heap) + len(self._aside)

    def push(self, when: float, home: bytes, waiting: int) -> None:
        """Add an entry; ``waiting`` is the greatest possible number of live entries."""
        heappush(self._heap, (when, home))
        if self._aside:
            for _ in range(min(_MOVED_PER_PUSH, len(self._aside))):
                entry = self._aside.pop()
                if self._live(*entry):
                    heappush(self._heap, entry)
        elif len(self._heap) > 2 * waiting + _SLACK:
            self._heap, self._aside = [], self._heap

    def first(self) -> Entry | None:
        """Return the earliest entry, live or not; None if there is none."""
        heap, aside = self._heap, self._aside
        if aside and (not heap or aside[0] < heap[0]):
            return aside[0]
        return heap[0] if heap else None

    def pop(self) -> Entry:
        """Remove and return the earliest entry; there must be one."""
        heap, aside = self._heap, self._aside
        return heappop(aside if aside and (not heap or aside[0] < heap[0]) else heap)
