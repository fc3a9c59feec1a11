"""Limits the rate of binding updates from each source, by a token bucket for each of a bounded number of sources."""

from __future__ import annotations

from typing import Final

__all__ = ["RateLimit"]

_SOURCES: Final = 8192


class RateLimit:
    """Allows each source ``rate`` updates per second on average, and ``burst`` at once.

    When there are too many sources, the one that was silent for the longest time is forgotten.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self.rate = rate
        self.burst = burst
        self._buckets: dict[bytes, tuple[float, float]] = {}

    def allows(self, source: bytes, now: float) -> bool:
        """Whether an update from this source, a packed address, is allowed now; if so, it is counted."""
        tokens, since = self._buckets.pop(source, (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - since) * self.rate)
        allowed = tokens >= 1
        self._buckets[source] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > _SOURCES:
            del self._buckets[next(iter(self._buckets))]
        return allowed
