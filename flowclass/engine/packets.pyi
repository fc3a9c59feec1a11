from collections.abc import Sequence
from typing import Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

__all__ = [
    "FIRST_DTYPE",
    "INNERMOST",
    "NOTE_DTYPE",
    "OPEN",
    "PACKET_DTYPE",
    "SIGNALLING",
    "Fragments",
    "as_batch",
    "parse",
]

INNERMOST: Final[int]
SIGNALLING: Final[int]
OPEN: Final[int]
FIRST_DTYPE: Final[np.dtype[np.void]]
NOTE_DTYPE: Final[np.dtype[np.void]]
PACKET_DTYPE: Final[np.dtype[np.void]]

Octets: TypeAlias = Buffer | npt.NDArray[np.uint8]
Packets: TypeAlias = Sequence[Octets] | tuple[Octets, npt.ArrayLike, npt.ArrayLike]
Batch: TypeAlias = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64], npt.NDArray[np.uint32]]
Records: TypeAlias = npt.NDArray[np.void]

class Fragments:
    def __new__(cls, capacity: int = 65536, secret: bytes | None = None, *, defer: bool = False) -> Self: ...
    def __len__(self) -> int: ...
    def clear(self) -> None: ...
    def notes(self, most: int = 16384) -> Records: ...
    @property
    def told(self) -> int: ...
    def firsts(self) -> Records: ...
    def settle(self, notes: Records) -> None: ...
    def extend(self, firsts: Records, told: int) -> None: ...

def as_batch(packets: Packets) -> Batch: ...
def parse(
    packets: Packets,
    *,
    linktype: int = 101,
    linktypes: npt.ArrayLike | None = None,
    fragments: Fragments | None = None,
    times: npt.ArrayLike | None = None,
    inner: int = 0,
    keys: Records | None = None,
    infos: Records | None = None,
) -> tuple[Records, Records]: ...
