"""What an agent has answered, by status code, and what it has passed over in silence, by reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Counters"]


def _zeros() -> list[int]:
    return [0] * 256


@dataclass(slots=True)
class Counters:
    """``updates``, ``bids`` and ``flows`` are indexed by the status that was sent: of a binding acknowledgement, of a
    binding identifier option in one, of a flow identification option in one."""

    updates: list[int] = field(default_factory=_zeros)
    bids: list[int] = field(default_factory=_zeros)
    flows: list[int] = field(default_factory=_zeros)
    ignored: Counter[str] = field(default_factory=Counter)
    actions_zero: int = 0  # K4: forward by the number that section 5 of the draft gives

    def as_dict(self) -> dict[str, dict[str, int]]:
        """Those that aren't zero, by name and status, for a report."""
        found = {
            name: {str(status): count for status, count in enumerate(counts) if count}
            for name, counts in (("updates", self.updates), ("bids", self.bids), ("flows", self.flows))
        }
        return found | {"ignored": dict(self.ignored), "notes": {"action 0": self.actions_zero}}
