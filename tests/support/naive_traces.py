"""What should become of a generated packet: linear search in plain Python over what the packet was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowclass.generate.bindings import FlowSpec, NodeSpec
from flowclass.generate.mobility import TracePacket
from flowclass.generate.packets import DCCP, ESP, SCTP, TCP, UDP, UDPLITE, Fields


@dataclass(frozen=True)
class Expected:
    """``care_of``: every address for n-cast, those to choose from for forward."""

    action: str
    reason: str
    home_address: str | None = None
    fid: int | None = None
    care_of: tuple[str, ...] = ()


def said(fields: Fields, ports: bool) -> dict[str, int]:
    """Field name -> value, for the fields that the packet has."""
    values = {
        "source": int.from_bytes(fields.source, "big"),
        "destination": int.from_bytes(fields.destination, "big"),
        "traffic_class": fields.traffic_class,
        "protocol": fields.protocol,
        "flow_label": fields.flow_label,
    }
    if ports and fields.protocol in (TCP, UDP, UDPLITE, SCTP, DCCP):
        values |= {"source_port": fields.source_port, "destination_port": fields.destination_port}
    if ports and fields.protocol == ESP:
        values["spi"] = fields.spi
    return values


def matches(flow: FlowSpec, values: dict[str, int]) -> bool:
    for name, (first, last) in flow.selector.items():
        if name not in values:
            return False
        value = values[name]
        if name == "traffic_class":
            first, last, value = first >> 2, last >> 2, value >> 2
        if not first <= value <= last:
            return False
    return True


def node_of(nodes: Sequence[NodeSpec], destination: int) -> NodeSpec | None:
    for node in nodes:
        if int(node.home_address) == destination:
            return node
    for node in nodes:
        for network, length in node.prefixes:
            if destination >> (128 - length) == int(network) >> (128 - length):
                return node
    return None


def expected(nodes: Sequence[NodeSpec], packet: TracePacket) -> Expected:
    if packet.fields is None:
        return Expected("none", "not-ip")
    values = said(packet.fields, packet.ports)
    node = node_of(nodes, values["destination"])
    if node is None:
        return Expected("none", "unbound")
    home = str(node.home_address)
    addresses = {bid: str(address) for bid, address, _ in node.care_of}
    for flow in sorted(node.flows, key=lambda f: (f.pri, f.fid)):
        if matches(flow, values):
            care_of = tuple(addresses[bid] for bid in flow.bids)
            return Expected(flow.action, "flow", home, flow.fid, care_of)
    best = min(node.care_of, key=lambda entry: (entry[2] or 256, entry[0]))
    return Expected("forward", "default", home, None, (addresses[best[0]],))
