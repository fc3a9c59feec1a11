"""What do a binding update with two flow options, and its acknowledgement, cost the codec?

``same`` decodes one packet again and again, as refreshes are; ``different`` decodes options never seen before.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address
from itertools import cycle
from typing import Any

import pytest

from flowclass import wire

HOME, CARE_OF, AGENT = (IPv6Address(a) for a in ("2001:db8:1::100", "2001:db8:a::100", "2001:db8:1::1"))
PROFILES = pytest.mark.parametrize("profile", ["draft", "rfc6089"])


def flow(fid: int, home: IPv6Address, port: int) -> wire.FlowIdentification:
    selector = wire.TrafficSelector6(destination=(home, home), source_port=(port, port), protocol=(6, 6))
    return wire.FlowIdentification(
        fid, fid, suboptions=(wire.BindingReference((1,)), wire.TrafficSelectorOption(selector))
    )


def update(n: int) -> wire.MobilityPacket:
    home = IPv6Address(int(HOME) + n)
    options = (wire.BindingIdentifier(1, CARE_OF, 10), flow(1, home, 22), flow(2, home, 443))
    return wire.MobilityPacket(CARE_OF, AGENT, wire.BindingUpdate(1, 150, 0xC000, options), home_address=home)


def acknowledgement() -> wire.MobilityPacket:
    options = (wire.BindingIdentifier(1, priority=10), *(wire.FlowIdentification(fid, fid) for fid in (1, 2)))
    return wire.MobilityPacket(AGENT, CARE_OF, wire.BindingAcknowledgement(0, 1, 150, 0, options), routing_home=HOME)


@pytest.mark.parametrize("packets", [1, 20_000], ids=["same", "different"])
@PROFILES
def test_decode(benchmark: Callable[..., Any], profile: str, packets: int) -> None:
    octets = [wire.encode_packet(update(n), profile) for n in range(packets)]
    assert [o.fid for o in wire.decode_packet(octets[0], profile).message.options if hasattr(o, "fid")] == [1, 2]
    turn = cycle(octets)
    benchmark(lambda: wire.decode_packet(next(turn), profile))


@PROFILES
def test_encode_update(benchmark: Callable[..., Any], profile: str) -> None:
    packet = update(0)
    octets = benchmark(wire.encode_packet, packet, profile)
    assert wire.decode_packet(octets, profile).checksum_ok


@PROFILES
def test_encode_acknowledgement(benchmark: Callable[..., Any], profile: str) -> None:
    packet = acknowledgement()
    octets = benchmark(wire.encode_packet, packet, profile)
    assert wire.decode_packet(octets, profile).checksum_ok
