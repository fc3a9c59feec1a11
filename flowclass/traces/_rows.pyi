from collections.abc import Iterable, Sequence
from typing import IO, Final, Self

import numpy as np
import numpy.typing as npt

__all__ = ["NO_TOTAL", "TOTAL_DTYPE", "DecisionNumbers", "RowTexts", "add_totals", "address_texts"]

TOTAL_DTYPE: Final[np.dtype[np.void]]
NO_TOTAL: Final[npt.NDArray[np.void]]

def add_totals(
    totals: npt.NDArray[np.void],
    ids: npt.NDArray[np.uint32],
    sizes: npt.NDArray[np.uint32],
    times: npt.NDArray[np.int64],
) -> None: ...

class DecisionNumbers:
    def __new__(cls, dtype: npt.DTypeLike, limit: int = 131072) -> Self: ...
    def __len__(self) -> int: ...
    def clear(self) -> None: ...
    def number(self, records: npt.NDArray[np.void]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]: ...

class RowTexts:
    def __new__(cls, null: bytes, quote: bytes) -> Self: ...
    def __len__(self) -> int: ...
    def clear(self) -> None: ...
    def set_pieces(self, pieces: Sequence[tuple[bytes, str]]) -> None: ...
    def add(self, outcomes: Iterable[tuple[bytes, ...]]) -> None: ...
    def write(
        self,
        stream: IO[bytes],
        frames: npt.NDArray[np.uint64],
        times: npt.NDArray[np.int64],
        numbers: npt.NDArray[np.uint32],
        sizes: npt.NDArray[np.uint32],
        captured: npt.NDArray[np.uint32],
        keys: npt.NDArray[np.void],
    ) -> None: ...
    def measure(
        self,
        frames: npt.NDArray[np.uint64],
        times: npt.NDArray[np.int64],
        numbers: npt.NDArray[np.uint32],
        sizes: npt.NDArray[np.uint32],
        captured: npt.NDArray[np.uint32],
        keys: npt.NDArray[np.void],
    ) -> int: ...

def address_texts(
    keys: npt.NDArray[np.void], source: bool
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32], npt.NDArray[np.bool_]]: ...
