"""What a decision says, once for each different decision.

A trace has millions of packets but few different decisions, so that a batch is carried as numbers of `RowValues` values
(dictionary encoding): texts are made once per outcome, never per packet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from socket import AF_INET, AF_INET6, inet_ntop
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from flowclass.engine.decisions import DECISION_DTYPE, Action, DecisionFlag, Reason

from ._rows import DecisionNumbers

__all__ = ["ACTIONS", "REASONS", "Ids", "Outcomes", "RowValues", "Rows", "address_text", "row_values_of"]

ACTIONS = tuple(action.label for action in Action)
REASONS = tuple(reason.label for reason in Reason)
_FID, _BID = DecisionFlag.FID.value, DecisionFlag.BID.value

Ids: TypeAlias = npt.NDArray[np.uint32]
DecisionArray: TypeAlias = npt.NDArray[np.void]


class RowValues(NamedTuple):
    """The columns of a row that come from the decision; None and () where a column does not apply.

    A tuple, as a trace to a million nodes has millions of them: made and found again in a third of a dataclass's time.
    """

    action: str
    reason: str
    home_address: str | None = None
    fid: int | None = None
    bid: int | None = None
    care_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """One batch of classified packets of one file, in the order of the file.

    ``frames`` u64, 1-based; ``times`` i64, nanoseconds since the epoch, `NO_TIME` where the capture has none; ``ids``
    u32 into ``outcomes``; ``sizes`` u32, octets on the wire. All of equal length.
    """

    file: str
    frames: npt.NDArray[np.uint64]
    times: npt.NDArray[np.int64]
    ids: Ids
    outcomes: Outcomes
    sizes: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.frames)


class Outcomes:
    """A growing table of outcomes; ``values[id]`` is the outcome of an id.

    An id is good until `forget`, which raises ``epoch``: whoever keeps something per id compares it. Two tables stand
    behind each other: equal decisions have equal numbers as long as the bindings stay as they are, and equal outcomes
    have equal ids, whichever state they came from.
    """

    LIMIT = 1 << 16
    """When `trim` forgets: some 30 MB of texts in the writers."""
    BATCH = 1 << 16
    """So many decisions at most in one `intern`."""

    def __init__(self, dtype: npt.DTypeLike = DECISION_DTYPE) -> None:
        self.values: list[RowValues] = []
        self.epoch = 0
        self.before_forget: Callable[[], None] = lambda: None
        self._ids: dict[RowValues, int] = {}
        self._numbers = DecisionNumbers(dtype, limit=self.LIMIT + self.BATCH)
        self._id_of = np.empty(self.LIMIT + self.BATCH, dtype=np.uint32)  # by decision number

    def __len__(self) -> int:
        return len(self.values)

    def number(self, outcome: RowValues) -> int:
        """The id of one outcome."""
        known = self._ids.get(outcome)
        if known is None:
            known = self._ids[outcome] = len(self.values)
            self.values.append(outcome)
        return known

    def intern(self, decisions: DecisionArray, resolve: Callable[[DecisionArray], Sequence[RowValues]]) -> Ids:
        """The ids of at most `BATCH` records; ``resolve`` is given those that are new."""
        known = len(self._numbers)
        numbers, first = self._numbers.number(decisions)
        if len(first):
            fresh = resolve(decisions[first])
            self._id_of[known : known + len(fresh)] = [self.number(outcome) for outcome in fresh]
        return self._id_of[numbers]

    def changed(self) -> None:
        """The bindings have changed: the same record may mean something else from now on."""
        self._numbers.clear()

    def trim(self) -> None:
        """Makes room; to be called before each `intern`."""
        if len(self._numbers) > self.LIMIT:
            self._numbers.clear()
        if len(self.values) > self.LIMIT:
            self.forget()

    def forget(self) -> None:
        """Drops all outcomes: ids begin at 0 again, and ``epoch`` is another one."""
        self.before_forget()
        self._numbers.clear()
        self.values = []
        self._ids = {}
        self.epoch += 1


def address_text(packed: bytes) -> str:
    """RFC 5952 text of a packed address; the mixed notation for IPv4-mapped ones on every Python version."""
    if packed[:12] == bytes(12):
        return str(IPv6Address(packed))  # where libc writes ::192.0.2.1, which RFC 5952 does not ask for
    # libc, because the ipaddress module takes 20 us
    return inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)


def row_values_of(
    decisions: DecisionArray,
    homes: npt.NDArray[np.uint8],
    versions: npt.NDArray[np.uint8],
    targets: npt.NDArray[np.void],
    ends: npt.NDArray[np.int64],
) -> list[RowValues]:
    """DECISION_DTYPE records, and what `ForwardingTable.addresses_of` says of them, as outcomes."""
    texts: dict[bytes, str] = {}
    home_addresses = _texts(homes, versions, texts)
    care_of: list[str] = _texts(targets["address"], targets["version"], texts)  # type: ignore[assignment]
    found, start = [], 0
    columns = [decisions[name].tolist() for name in ("action", "reason", "flags", "fid", "bid")]
    for action, reason, flags, fid, bid, home, end in zip(*columns, home_addresses, ends.tolist(), strict=True):
        found.append(
            RowValues(
                ACTIONS[action], REASONS[reason], home, fid if flags & _FID else None, bid if flags & _BID else None,
                tuple(care_of[start:end]),
            )
        )  # fmt: skip
        start = end
    return found


def _texts(
    addresses: npt.NDArray[np.uint8], versions: npt.NDArray[np.uint8], known: dict[bytes, str]
) -> list[str | None]:
    """Of rows of 16 octets; None where the version is neither 4 nor 6."""
    octets, found = addresses.tobytes(), list[str | None]()
    for at, version in enumerate(versions.tolist()):
        packed = octets[16 * at : 16 * at + (16 if version == 6 else 4)]
        if version and packed not in known:
            known[packed] = address_text(packed)
        found.append(known[packed] if version else None)
    return found
