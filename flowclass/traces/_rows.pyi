from collections.abc import Iterable
from typing import Final, Self

import numpy as np
import numpy.typing as npt

__all__ = ["NO_TOTAL", "TOTAL_DTYPE", "DecisionNumbers", "RowTexts", "add_totals"]

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
    def __new__(cls, middle: bytes, null: bytes) -> Self: ...
    def __len__(self) -> int: ...
    def clear(self) -> None: ...
    def add(self, tails: Iterable[bytes]) -> None: ...
    def rows(
        self,
        head: bytes,
        frames: npt.NDArray[np.uint64],
        times: npt.NDArray[np.int64],
        numbers: npt.NDArray[np.uint32],
    ) -> bytes: ...
