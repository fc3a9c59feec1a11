from collections.abc import Callable, Iterable
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer, deprecated

from flowclass.addresses import AddressLike, PrefixLike
from flowclass.engine.decisions import Action, DecisionFlag, Reason
from flowclass.engine.packets import Fragments, Packets

__all__ = ["FLOW_DTYPE", "TARGET_DTYPE", "DataPlane", "Decision", "ForwardingTable"]

FLOW_DTYPE: Final[np.dtype[np.void]]
ABI: tuple[int, ...]
TARGET_DTYPE: Final[np.dtype[np.void]]

Records = npt.NDArray[np.void]
Flow = tuple[int, int, tuple[int, ...], Buffer]

class Decision:
    @property
    def action(self) -> Action: ...
    @property
    def reason(self) -> Reason: ...
    @property
    def flags(self) -> DecisionFlag: ...
    @property
    def n_targets(self) -> int: ...
    @property
    def fid(self) -> int | None: ...
    @property
    def bid(self) -> int | None: ...
    @property
    def node(self) -> int | None: ...
    @property
    def home_address(self) -> bytes | None: ...
    @property
    def care_of(self) -> tuple[bytes, ...]: ...

class ForwardingTable:
    def __new__(cls, secret: Buffer | None = None) -> Self: ...
    def __len__(self) -> int: ...
    def __contains__(self, home_address: AddressLike, /) -> bool: ...
    def publish(
        self,
        home_address: AddressLike,
        *,
        also: Iterable[AddressLike] = (),
        prefixes: Iterable[PrefixLike] = (),
        targets: Iterable[tuple[int, AddressLike]] = (),
        default: int = -1,
        flows: Iterable[Flow] = (),
    ) -> int: ...
    def load(
        self,
        home_addresses: npt.ArrayLike,
        *,
        targets: Records,
        target_offsets: npt.ArrayLike,
        defaults: npt.ArrayLike,
        flows: Records,
        flow_offsets: npt.ArrayLike,
        flow_targets: npt.ArrayLike,
    ) -> npt.NDArray[np.uint32]: ...
    def withdraw(self, home_address: AddressLike) -> None: ...
    def find(self, home_address: AddressLike) -> int | None: ...
    def reserve(self, addresses: int) -> None: ...
    def reclaim(self) -> None: ...
    def info(self) -> dict[str, int]: ...
    def classify(
        self, keys: Records, out: Records | None = None, *, kernel: str = "auto", threads: int = 1
    ) -> Records: ...
    def classify_parsed(
        self, keys: Records, infos: Records, out: Records | None = None, *, kernel: str = "auto", threads: int = 1
    ) -> Records: ...
    def classify_packets(
        self,
        packets: Packets,
        *,
        linktype: int = 101,
        linktypes: npt.ArrayLike | None = None,
        fragments: Fragments | None = None,
        times: npt.ArrayLike | None = None,
        inner: int = 0,
        out: Records | None = None,
        kernel: str = "auto",
        threads: int = 1,
    ) -> Records: ...
    def classify_one(self, packet: Buffer, linktype: int = 101) -> int: ...
    def decide_one(self, packet: Buffer, linktype: int = 101) -> Decision: ...
    def addresses_of(
        self, decisions: Records
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], Records, npt.NDArray[np.int64]]: ...
    @deprecated("ForwardingTable.places is called addresses_of")
    def places(
        self, decisions: Records
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], Records, npt.NDArray[np.int64]]: ...
    def care_of(self, decision: np.void | Buffer) -> tuple[bytes, ...]: ...
    def home_address(self, decision: np.void | Buffer | int | np.integer) -> bytes | None: ...

class DataPlane:
    def __init__(
        self, table: ForwardingTable, fragments: Callable[[], Fragments], clock: Callable[[], int | None]
    ) -> None: ...
    def classify_one(self, packet: Buffer, linktype: int = 101) -> int: ...
    def decide_one(self, packet: Buffer, linktype: int = 101) -> Decision: ...
