from typing import Any

from flowclass.wire.flow_options import FlowIdentification, TrafficSelectorOption
from flowclass.wire.messages import BindingAcknowledgement
from flowclass.wire.profiles import Profile

__all__ = ["PacketSlots", "UsualCodec", "acknowledgement", "flow_answer", "selector_octets"]

def acknowledgement(
    status: int, sequence: int, lifetime: int, flags: int, options: tuple[Any, ...]
) -> BindingAcknowledgement: ...
def flow_answer(option: FlowIdentification, status: int, whole: bool) -> FlowIdentification: ...
def selector_octets(option: TrafficSelectorOption) -> bytes: ...

class PacketSlots:
    def __new__(cls, packet_type: type[Any]) -> PacketSlots: ...

class UsualCodec:
    def __new__(cls, profile: Profile, leaves: dict[int, tuple[int, Any]]) -> UsualCodec: ...
    def read_update(self, data: bytes, home_header: bytes, packet_type: type[Any], to: PacketSlots) -> Any: ...
    def write_acknowledgement(
        self,
        addresses: tuple[bytes, bytes, bytes | None, bytes | None],
        message: BindingAcknowledgement,
        hop_limit: int,
        routing_header: bytes,
    ) -> bytes | None: ...
