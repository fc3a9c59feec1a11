"""Makes the binding updates with which a mobile node registers the bindings of a `NodeSpec`."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Address
from typing import Any

from flowclass import wire

from .bindings import HOME_AGENT, FlowSpec, NodeSpec

__all__ = ["update_packets"]

_FLOWS_EACH = 8  # a Mobility Header has at most 2048 octets, a selector with all fields takes some hundred
_ACTIONS = {"forward": wire.Action.FORWARD, "discard": wire.Action.DISCARD, "n-cast": wire.Action.N_CAST}


def update_packets(node: NodeSpec, profile: wire.Profile = wire.DRAFT, *, lifetime: int = 150) -> list[bytes]:
    """IPv6 packets, the first of which registers all care-of addresses (RFC 5648 section 5.3), each with some flows.

    ``lifetime`` is in units of 4 seconds. The updates of a mobile router have the R flag and its prefixes.
    """
    flags = wire.UpdateFlag.ACKNOWLEDGE | wire.UpdateFlag.HOME_REGISTRATION
    if node.prefixes:
        flags |= wire.UpdateFlag.MOBILE_ROUTER
    fixed: list[wire.Option] = [wire.MobileNetworkPrefix(network, length) for network, length in node.prefixes]
    identifiers: list[wire.Option] = [wire.BindingIdentifier(bid, a, priority) for bid, a, priority in node.care_of]
    packets: list[bytes] = []
    for first in range(0, max(len(node.flows), 1), _FLOWS_EACH):
        flows = [_flow_option(flow) for flow in node.flows[first : first + _FLOWS_EACH]]
        options = (*fixed, *(identifiers if first == 0 else identifiers[:1]), *flows)
        message = wire.BindingUpdate(len(packets) + 1, lifetime, flags, options)
        packet = wire.MobilityPacket(node.care_of[0][1], HOME_AGENT, message, home_address=node.home_address)
        packets.append(wire.encode_packet(packet, profile))
    return packets


def _flow_option(flow: FlowSpec) -> wire.FlowIdentification:
    suboptions: list[wire.SubOption] = []
    if flow.bids:
        suboptions.append(wire.BindingReference(flow.bids))
    if flow.selector:
        suboptions.append(wire.TrafficSelectorOption(_selector(flow.selector)))
    return wire.FlowIdentification(flow.fid, flow.pri, _ACTIONS[flow.action], suboptions=tuple(suboptions))


def _selector(selector: Mapping[str, tuple[int, int]]) -> wire.TrafficSelector6:
    fields: dict[str, Any] = dict(selector)
    for name in ("source", "destination"):
        if name in selector:
            fields[name] = IPv6Address(selector[name][0]), IPv6Address(selector[name][1])
    return wire.TrafficSelector6(**fields)
