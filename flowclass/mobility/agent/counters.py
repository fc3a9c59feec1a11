"""Counters of an agent: its answers by status code, and the packets that it has silently ignored by reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Counters"]


def _zeros() -> list[int]:
    return [0] * 256


@dataclass(slots=True)
class Counters:
    """Counters of one agent.

    ``updates``, ``bids`` and ``flows`` are indexed by a status that was sent: that of a binding acknowledgement, of a
    binding identifier option in it, or of a flow identification option in it. ``ignored`` has a count for each reason.
    """

    updates: list[int] = field(default_factory=_zeros)
    bids: list[int] = field(default_factory=_zeros)
    flows: list[int] = field(default_factory=_zeros)
    ignored: Counter[str] = field(default_factory=Counter)
    traffic: dict[tuple[bytes, int], tuple[int, int]] = field(default_factory=dict)  # (home, FID) -> packets, octets
    actions_zero: int = 0  # flows with Action 0, by section 5 of the draft: forward (K4)

    def as_dict(self) -> dict[str, dict[str, int]]:
        """Return the counters that aren't zero, by name and status, for a report."""
        found = {
            name: {str(status): count for status, count in enumerate(counts) if count}
            for name, counts in (("updates", self.updates), ("bids", self.bids), ("flows", self.flows))
        }
        return found | {"ignored": dict(self.ignored), "notes": {"action 0": self.actions_zero}}

    def count(self, table: Any, decisions: Any, lengths: Any = None) -> None:
        """Add decisions of a forwarding table to `traffic`; see `Agent.account`."""
        import numpy as np  # imported late: an agent without a data plane doesn't need it

        chosen = (decisions["flags"] & 1) != 0
        flows = decisions["node"][chosen].astype(np.uint64) << np.uint64(16) | decisions["fid"][chosen]
        octets = np.zeros(len(flows)) if lengths is None else np.asarray(lengths)[chosen]
        found, where = np.unique(flows, return_inverse=True)
        sums = np.bincount(where, weights=octets, minlength=len(found))
        for flow, packets, total in zip(found.tolist(), np.bincount(where).tolist(), sums.tolist(), strict=True):
            home = table.home_address(flow >> 16)
            if home is not None:
                key = (home, flow & 0xFFFF)
                before = self.traffic.get(key, (0, 0))
                self.traffic[key] = (before[0] + packets, before[1] + int(total))
