"""Outcomes: what decisions say, in words and addresses, stored once for each different decision.

A trace has millions of packets but few different decisions. So a batch of packets is passed on as ids into a table of
`RowValues` (dictionary encoding), and texts are made once per outcome, never per packet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from flowclass.addresses import address_text
from flowclass.engine.decisions import Action, DecisionFlag, Reason
from flowclass.late import Late

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from flowclass.engine import dtypes

    from . import _rows
else:
    np = Late("numpy")
    npt = Late("numpy.typing")  # in the annotations of msgspec's classes, of which `help` makes types
    dtypes = Late("flowclass.engine.dtypes")
    _rows = Late("flowclass.traces._rows")

__all__ = ["ACTIONS", "REASONS", "Ids", "Outcomes", "RowValues", "Rows", "row_values_of"]

ACTIONS = tuple(action.label for action in Action)
REASONS = tuple(reason.label for reason in Reason)
_FID, _BID = DecisionFlag.FID.value, DecisionFlag.BID.value


Ids: TypeAlias = "npt.NDArray[np.uint32]"
DecisionArray: TypeAlias = "npt.NDArray[np.void]"


class RowValues(NamedTuple):
    """The columns of a row that come from the decision; None or () where a column does not apply.

    It is a tuple because a trace to a million nodes has millions of them, and a tuple is created and looked up in a
    third of the time that a dataclass takes.
    """

    action: str
    reason: str
    home_address: str | None = None
    fid: int | None = None
    bid: int | None = None
    care_of: tuple[str, ...] = ()


class Rows(Struct, frozen=True, eq=False):
    """One batch of classified packets of one file, in the order of the file.

    The arrays have equal lengths: ``frames`` u64, frame numbers from 1 on; ``times`` i64, nanoseconds since 1970 or
    `NO_TIME` where the capture has none; ``ids`` u32, indices into ``outcomes.values``; ``sizes`` u32, octets on the
    wire; ``keys`` of `KEY_DTYPE`; ``captured`` u32, octets in the capture.
    The last two are empty where nobody wants them.
    """

    file: str
    frames: npt.NDArray[np.uint64]
    times: npt.NDArray[np.int64]
    ids: Ids
    outcomes: Outcomes
    sizes: npt.NDArray[np.uint32]
    keys: npt.NDArray[np.void] = field(default_factory=lambda: np.zeros(0, dtypes.KEY_DTYPE))
    captured: npt.NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))

    def __len__(self) -> int:
        return len(self.frames)

    def picked(self, chosen: npt.NDArray[Any] | slice) -> Rows:
        """Those of the rows that an index array, a boolean array or a slice chooses."""
        return replace(self, **{name: getattr(self, name)[chosen] for name in self._ARRAYS})

    _ARRAYS: ClassVar = ("frames", "times", "ids", "sizes", "keys", "captured")


class Outcomes:
    """A growing table of outcomes; ``values[id]`` is the outcome with that id.

    Ids stay valid until `forget`, which increments ``epoch``: whoever stores something by id must compare the epoch.
    Two tables are used one after the other. The first gives equal decision records equal numbers, which hold only while
    the bindings don't change. The second gives equal outcomes equal ids, whatever the bindings were when they arose.
    """

    LIMIT = 1 << 16
    """The number of outcomes above which `trim` forgets them; the writers then hold some 30 MB of texts."""
    BATCH = 1 << 16
    """The largest number of decisions in one call of `intern`."""

    def __init__(self, dtype: npt.DTypeLike | None = None) -> None:
        self.values: list[RowValues] = []
        self.epoch: int = 0
        self.before_forget: Callable[[], None] = lambda: None
        self._ids: dict[RowValues, int] = {}
        records = dtypes.DECISION_DTYPE if dtype is None else dtype
        self._numbers = _rows.DecisionNumbers(records, limit=self.LIMIT + self.BATCH)
        self._id_of = np.empty(self.LIMIT + self.BATCH, dtype=np.uint32)  # indexed by decision number

    def __len__(self) -> int:
        return len(self.values)

    def number(self, outcome: RowValues) -> int:
        """The id of one outcome, which is added if it is new."""
        known = self._ids.get(outcome)
        if known is None:
            known = self._ids[outcome] = len(self.values)
            self.values.append(outcome)
        return known

    def intern(self, decisions: DecisionArray, resolve: Callable[[DecisionArray], Sequence[RowValues]]) -> Ids:
        """The outcome ids of at most `BATCH` decision records. ``resolve`` turns those that are new into outcomes."""
        known = len(self._numbers)
        numbers, first = self._numbers.number(decisions)
        if len(first):
            fresh = resolve(decisions[first])
            self._id_of[known : known + len(fresh)] = [self.number(outcome) for outcome in fresh]
        return self._id_of[numbers]

    def changed(self) -> None:
        """Must be called when the bindings have changed, as the same decision record may then mean something else."""
        self._numbers.clear()

    def trim(self) -> None:
        """Makes room in the tables. Must be called before each `intern`."""
        if len(self._numbers) > self.LIMIT:
            self._numbers.clear()
        if len(self.values) > self.LIMIT:
            self.forget()

    def forget(self) -> None:
        """Drops all outcomes: ids start from 0 again, and ``epoch`` is incremented."""
        self.before_forget()
        self._numbers.clear()
        self.values = []
        self._ids = {}
        self.epoch += 1


def row_values_of(
    decisions: DecisionArray,
    homes: npt.NDArray[np.uint8],
    versions: npt.NDArray[np.uint8],
    targets: npt.NDArray[np.void],
    ends: npt.NDArray[np.int64],
) -> list[RowValues]:
    """The outcomes of DECISION_DTYPE records; the other arguments are what `ForwardingTable.addresses_of` returns."""
    texts: dict[bytes, str] = {}
    home_addresses = _texts(homes, versions, texts)
    # targets have a version, so all have a text
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
    """The texts of addresses in rows of 16 octets; None where ``versions`` has 0. ``known`` caches the texts."""
    octets, found = addresses.tobytes(), list[str | None]()
    for at, version in enumerate(versions.tolist()):
        packed = octets[16 * at : 16 * at + (16 if version == 6 else 4)]
        if version and packed not in known:
            known[packed] = address_text(packed)
        found.append(known[packed] if version else None)
    return found
