"""What a decision says, once for each different decision.

A trace has millions of packets but few different decisions, so that a batch is carried as numbers of `Outcome` values
(dictionary encoding): texts are made once per outcome, never per packet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["ACTIONS", "REASONS", "Ids", "Outcome", "Outcomes", "Rows", "address_text"]

ACTIONS = ("none", "forward", "discard", "n-cast")
REASONS = ("not-ip", "malformed", "unbound", "signalling", "flow", "default")
_FID, _BID = 1, 2  # bits of DECISION_DTYPE's flags

Ids: TypeAlias = npt.NDArray[np.uint32]
Decisions: TypeAlias = npt.NDArray[np.void]

# a 64-bit mix of the four words of a decision; equality is checked afterwards, so that it needs not be perfect
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The columns of a row that come from the decision; None and () where a column does not apply."""

    action: str
    reason: str
    home_address: str | None = None
    fid: int | None = None
    bid: int | None = None
    care_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """One batch of classified packets of one file, in the order of the file.

    ``frames`` u64, 1-based; ``times`` i64, nanoseconds since the epoch; ``timed`` bool, False where the capture has no
    time (None: all have one); ``ids`` u32 into ``outcomes``; ``sizes`` u32, octets on the wire. All of equal length.
    """

    file: str
    frames: npt.NDArray[np.uint64]
    times: npt.NDArray[np.int64]
    timed: npt.NDArray[np.bool_] | None
    ids: Ids
    outcomes: Outcomes
    sizes: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.frames)


class Outcomes:
    """A growing table of outcomes; ``values[id]`` is the outcome of an id.

    An id is good until `forget`, which raises ``epoch``: whoever keeps something per id compares it.
    """

    LIMIT = 1 << 16
    """When `trim` forgets: some 30 MB of texts in the writers."""

    def __init__(self) -> None:
        self.values: list[Outcome] = []
        self.epoch = 0
        self._ids: dict[Outcome, int] = {}

    def __len__(self) -> int:
        return len(self.values)

    def number(self, outcome: Outcome) -> int:
        """The id of one outcome."""
        known = self._ids.get(outcome)
        if known is None:
            known = self._ids[outcome] = len(self.values)
            self.values.append(outcome)
        return known

    def intern(self, decisions: Decisions, resolve: Callable[[Any], Outcome]) -> Ids:
        """The ids of DECISION_DTYPE records; ``resolve`` is asked once for each different one."""
        first, inverse = _distinct(decisions)
        numbers = np.fromiter((self.number(resolve(d)) for d in decisions[first]), dtype=np.uint32, count=len(first))
        return numbers[inverse]

    def trim(self) -> None:
        """Forgets everything when the table has grown large; to be called between batches."""
        if len(self.values) > self.LIMIT:
            self.forget()

    def forget(self) -> None:
        self.values = []
        self._ids = {}
        self.epoch += 1


def _distinct(decisions: Decisions) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where each different record is first, and for each record which of those it equals."""
    words = np.ascontiguousarray(decisions).view(np.uint64).reshape(len(decisions), -1)
    mixed = (words * _MIX).sum(axis=1, dtype=np.uint64)
    _, first, inverse = np.unique(mixed, return_index=True, return_inverse=True)
    if not np.array_equal(words[first[inverse]], words):  # two records share a mix: exact, and slower
        whole = words.view(np.dtype((np.void, words.itemsize * words.shape[1])))[:, 0]
        _, first, inverse = np.unique(whole, return_index=True, return_inverse=True)
    return first, inverse


def address_text(packed: bytes) -> str:
    """RFC 5952 text of a packed address; the mixed notation for IPv4-mapped ones on every Python version."""
    if len(packed) == 4:
        return str(IPv4Address(packed))
    if packed[:12] == b"\0" * 10 + b"\xff\xff":
        return f"::ffff:{IPv4Address(packed[12:])}"
    return str(IPv6Address(packed))


def outcome_of(decision: Any, home_address: bytes | None, care_of: tuple[bytes, ...]) -> Outcome:
    """One DECISION_DTYPE record as an `Outcome`; addresses are packed."""
    flags = int(decision["flags"])
    return Outcome(
        action=ACTIONS[decision["action"]],
        reason=REASONS[decision["reason"]],
        home_address=None if home_address is None else address_text(home_address),
        fid=int(decision["fid"]) if flags & _FID else None,
        bid=int(decision["bid"]) if flags & _BID else None,
        care_of=tuple(address_text(a) for a in care_of),
    )
