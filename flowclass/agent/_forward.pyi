from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, Literal, NamedTuple, Self, TypedDict

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

from flowclass.engine.forwarding import ForwardingTable

__all__ = ["FLOW_COUNTER_DTYPE", "PEER", "Forwarder", "Local"]

FLOW_COUNTER_DTYPE: Final[np.dtype[np.void]]
PEER: Final[int]

class Local(NamedTuple):
    packet: bytes
    tun: int
    outer: tuple[bytes, int] | None

class Counters(TypedDict):
    packets: dict[str, int]
    octets: dict[str, int]
    drops: dict[str, int]
    drop_octets: dict[str, int]
    batches: int
    super_packets: int
    segments: int

class Forwarder:
    KINDS: ClassVar[tuple[str, ...]]
    DROPS: ClassVar[tuple[str, ...]]
    def __new__(
        cls,
        table: ForwardingTable,
        *,
        tun: Sequence[int],
        output: int,
        home_agent: Buffer,
        output4: int | None = None,
        udp: int | None = None,
        tunnel4: Sequence[int] = (),
        home_agent_ipv4: Buffer | None = None,
        mtu: int = 1500,
        hop_limit: int = 64,
        encapsulation_limit: int | None = 4,
        vnet_header: bool = False,
        secret: Buffer | None = None,
        role: Literal["home-agent", "mobile-node", "correspondent"] = "home-agent",
        own: Iterable[tuple[Buffer, int]] = (),
        tap: int | None = None,
        tunnel6: Sequence[int] = (),
    ) -> Self: ...
    def run(self, timeout_ms: int | None = -1) -> list[Local]: ...
    def wake(self) -> None: ...
    def send(self, packets: Iterable[Buffer]) -> int: ...
    def close(self) -> None: ...
    def reload(self, *, mtu: int, hop_limit: int = 64, encapsulation_limit: int | None = 4) -> None: ...
    def set_port(self, home_address: Buffer, bid: int, care_of: Buffer, port: int | None) -> None: ...
    def set_source(self, address: Buffer, interface: int | None) -> None: ...
    def counters(self) -> Counters: ...
    def flows(self) -> npt.NDArray[np.void]: ...
