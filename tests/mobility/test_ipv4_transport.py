"""Binding updates in UDP over IPv4 (RFC 5555): NATs are found, and both address and port are bound."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from flowclass.mobility import HomeAgent, decode_node, encode_node
from flowclass.wire import (
    BindingIdentifier,
    BindingUpdate,
    IPv4CareOf,
    MobilityPacket,
    NatDetection,
    UpdateFlag,
    decode_packet,
    encode_packet,
)

AGENT, HOME = IPv6Address("2001:db8:1::1"), IPv6Address("2001:db8:1::5")
INSIDE, OUTSIDE = IPv4Address("10.0.0.7"), IPv4Address("192.0.2.9")
FLAGS = UpdateFlag.ACKNOWLEDGE.value | UpdateFlag.HOME_REGISTRATION.value


def register(outer: tuple[bytes, int] | None, *options: Any, flags: int = FLAGS) -> tuple[HomeAgent, Any]:
    agent = HomeAgent()
    packet = encode_packet(MobilityPacket(HOME, AGENT, BindingUpdate(1, 100, flags, options)))
    (reply,) = agent.receive(packet, now=1.0, outer=outer)
    found = decode_packet(reply)
    assert (found.destination, found.routing_home) == (HOME, None)
    return agent, found.message


@pytest.mark.parametrize("options", [(IPv4CareOf(INSIDE),), (BindingIdentifier(3, INSIDE),)])
def test_behind_a_nat_the_outer_address_and_port_are_bound_and_it_is_said(options: tuple[Any, ...]) -> None:
    agent, answer = register((OUTSIDE.packed, 40000), *options)
    assert answer.status == 0
    assert any(isinstance(o, NatDetection) and o.refresh_time == 110 and not o.force_udp for o in answer.options)
    node = agent.cache.get(HOME.packed)
    assert node is not None
    (entry,) = node.care_of.values()
    assert (entry.address, entry.port) == (OUTSIDE.packed, 40000)
    again = decode_node(encode_node(node, 1.0), 50.0)
    assert next(iter(again.care_of.values())).port == 40000


@pytest.mark.parametrize("options", [(IPv4CareOf(OUTSIDE),), (BindingIdentifier(3, OUTSIDE),)])
def test_without_a_nat_packets_need_no_udp_unless_the_node_wants_it(options: tuple[Any, ...]) -> None:
    agent, answer = register((OUTSIDE.packed, 4191), *options)
    assert not any(isinstance(o, NatDetection) for o in answer.options)
    (entry,) = agent.cache.get(HOME.packed).care_of.values()  # type: ignore[union-attr]  # it is there
    assert (entry.address, entry.port) == (OUTSIDE.packed, 0)
    agent, answer = register((OUTSIDE.packed, 4191), *options, flags=FLAGS | UpdateFlag.FORCE_UDP.value)
    assert any(isinstance(o, NatDetection) and o.force_udp for o in answer.options)
    (entry,) = agent.cache.get(HOME.packed).care_of.values()  # type: ignore[union-attr]  # it is there
    assert entry.port == 4191
