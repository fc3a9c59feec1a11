from collections.abc import Sequence
from typing import Any, Self, TypedDict

import numpy as np
import numpy.typing as npt

__all__ = ["Classifier", "kernels"]

class TableInfo(TypedDict):
    rules: int
    trees: tuple[int, int]
    depth: int
    largest_leaf: int
    nodes: int
    slots: int
    leaf_rules: int
    steps: tuple[int, int]
    rebuilds: int
    bytes: int

def kernels() -> dict[str, bool]: ...
def parts_of(n: int, threads: int, least: int = 16384) -> list[tuple[int, int]]: ...

class Classifier:
    def __new__(cls, rules: npt.NDArray[np.void]) -> Self: ...
    def __len__(self) -> int: ...
    @property
    def info(self) -> TableInfo: ...
    def classify(
        self,
        keys: npt.NDArray[np.void],
        out: npt.NDArray[np.int32] | None = None,
        *,
        kernel: str = "auto",
        threads: int = 1,
    ) -> npt.NDArray[np.int32]: ...
    def insert(
        self, rules: npt.NDArray[np.void], priorities: float | Sequence[float] | npt.NDArray[Any]
    ) -> npt.NDArray[np.uint32]: ...
    def remove(self, ids: int | Sequence[int] | npt.NDArray[Any]) -> None: ...
    def rebuild(self) -> None: ...
