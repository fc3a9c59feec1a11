from typing import Final, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

from flowclass.engine.forwarding import ForwardingTable, Records
from flowclass.engine.packets import Fragments

__all__ = ["END", "FULL", "MORE", "NO_TIME", "STOPPED", "WINDOW", "Capture", "KeyArrays", "RecordArrays", "Tally"]

MORE: Final[int]
FULL: Final[int]
END: Final[int]
STOPPED: Final[int]
WINDOW: Final[int]
NO_TIME: Final[int]

class RecordArrays:
    offsets: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.uint32]
    originals: npt.NDArray[np.uint32]
    times: npt.NDArray[np.int64]
    linktypes: npt.NDArray[np.uint16]
    interfaces: npt.NDArray[np.uint32]
    def __new__(cls, capacity: int) -> Self: ...

class KeyArrays(RecordArrays):
    keys: npt.NDArray[np.void]
    infos: npt.NDArray[np.void]
    @property
    def unused(self) -> bool: ...

class Capture:
    @property
    def frames(self) -> int: ...
    @property
    def position(self) -> int: ...
    @property
    def begun(self) -> int: ...
    def stop(self, offset: int) -> None: ...
    def state(self) -> bytes: ...
    def resume(self, state: Buffer, offset: int, search: bool) -> None: ...
    def read(
        self, window: Buffer | npt.NDArray[np.uint8], size: int, last: bool, arrays: RecordArrays, start: int = 0
    ) -> tuple[int, int, int]: ...
    def read_keys(
        self,
        window: Buffer | npt.NDArray[np.uint8],
        size: int,
        last: bool,
        arrays: KeyArrays,
        start: int = 0,
        fragments: Fragments | None = None,
        inner: int = 0,
    ) -> tuple[int, int, int]: ...
    def identify(self, window: Buffer, size: int, last: bool) -> None: ...
    def damage(self) -> list[tuple[int, int, int, int]]: ...

class Tally:
    @property
    def totals(self) -> tuple[int, int, int]: ...
    def read(
        self,
        capture: Capture,
        window: Buffer | npt.NDArray[np.uint8],
        size: int,
        last: bool,
        table: ForwardingTable,
        fragments: Fragments | None = None,
        inner: int = 0,
    ) -> tuple[int, int]: ...
    def take(self, table: ForwardingTable) -> tuple[Records, npt.NDArray[np.void]]: ...
    def take_unread(self) -> list[tuple[int, int, int]]: ...
