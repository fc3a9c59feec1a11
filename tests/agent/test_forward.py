"""The forwarder between socket pairs: tunnels, reverse tunnels, errors, fragments, super-packets; scapy judges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from forward_kit import HOME_AGENT, Rig, flow
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
)
from scapy.packet import Raw

MN = "2001:db8:100::5"
COA1, COA2 = "2001:db8:a::1", "2001:db8:b::1"
CN = "2001:db8:c::9"


@pytest.fixture
def rig() -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(**options: Any) -> Rig:
        made.append(Rig(**options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def udp6(
    size: int = 32, source: str = CN, destination: str = MN, sport: int = 1000, dport: int = 2000, **ip: Any
) -> Any:
    payload = Raw(bytes(i % 251 for i in range(size)))
    return IPv6(bytes(IPv6(src=source, dst=destination, **ip) / UDP(sport=sport, dport=dport) / payload))


def test_a_packet_goes_to_the_care_of_address_of_its_flow_and_any_other_to_the_default(rig: Callable[..., Rig]) -> None:
    r = rig(encapsulation_limit=None)
    node = r.node(MN, COA1, COA2, flows=[flow(7, 1, (1,), version=6, source_port=(22, 22))])
    plain, ssh = udp6(tc=0xB8, fl=0x12345, hlim=9), udp6(sport=22)
    r.give(plain, ssh).run()
    first, second = (IPv6(p) for p in r.sent)
    assert (first.src, first.dst, first.nh, first.tc, first.fl, first.hlim) == (HOME_AGENT, COA1, 41, 0xB8, 0x12345, 64)
    assert first.plen == len(plain)
    assert bytes(first.payload) == bytes(plain)
    assert second.dst == COA2
    assert bytes(second.payload) == bytes(ssh)
    assert r.flows() == {(node, "default", 0): (1, len(plain)), (node, "flow", 7): (1, len(ssh))}
    assert r.packets == {"flow": 1, "default": 1, "sent": 2}


def test_a_ping_to_the_agent_is_the_agents_own(rig: Callable[..., Rig]) -> None:
    r = rig()
    ping = IPv6(src=CN, dst=HOME_AGENT) / ICMPv6EchoRequest(data=b"x")
    r.give(ping).run()
    assert r.told == [(bytes(ping), None)]


def test_reverse_tunnel(rig: Callable[..., Rig]) -> None:
    r = rig()
    r.node(MN, COA1)
    inner = udp6(source=MN, destination=CN)
    r.give(IPv6(src=COA1, dst=HOME_AGENT) / inner, IPv6(src=COA2, dst=HOME_AGENT) / inner).run()
    assert r.routed == [bytes(inner)]
    assert r.dropped == {"source": 1}
