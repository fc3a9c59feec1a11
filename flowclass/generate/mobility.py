"""Makes a trace of packets to mobile nodes, as seen on a home agent's link, with the right answer for each packet.

It has all that makes captures of such links hard to read: VLAN tags, extension headers of every kind, fragments in and
out of order, tunnels, packets that are not IP. The answers are not parsed from the bytes: the bytes are made from them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from typing import Any

from flowclass.engine.fields import LARGEST

from .bindings import CORRESPONDENTS, FlowSpec, NodeSpec
from .packets import (
    DCCP,
    ESP,
    ICMP6,
    SCTP,
    TCP,
    UDP,
    UDPLITE,
    Extension,
    Fields,
    authentication,
    destination_options,
    ethernet,
    fragment6,
    hop_by_hop,
    ip_packet,
    routing,
    tunnel,
)

__all__ = ["START_NS", "TracePacket", "extension_chain", "mobility_trace", "node_fields"]

START_NS = 1_210_982_400_000_000_000  # 2008-05-17: the month of the draft
_WITH_PORTS = (TCP, UDP, UDP, SCTP, DCCP, UDPLITE)
_FOREIGN = IPv6Address("2001:db8:ffff::1")


@dataclass(frozen=True, slots=True)
class TracePacket:
    """One frame with the right answers.

    ``fields`` are those of its outermost IP header, or None if it is not IP; ``inner`` are those of its innermost IP
    header. ``ports`` says whether ports or SPI can be known, which they can't in a later fragment that comes before the
    first one. ``traits`` say what makes the frame hard to read: "VLAN tag", "extension header", "fragment", "tunnel".
    """

    time_ns: int
    frame: bytes
    fields: Fields | None
    ports: bool = True
    inner: Fields | None = None
    traits: tuple[str, ...] = ()


def mobility_trace(
    rng: random.Random, nodes: Sequence[NodeSpec], packets: int, *, payload: int = 32, interval_ns: int = 10_007
) -> Iterator[TracePacket]:
    """Makes frames ``interval_ns`` apart: ``packets`` of them, or a few more to complete a fragmented packet."""
    count = 0
    while count < packets:
        for packet in _next(rng, nodes, payload):
            yield replace(packet, time_ns=START_NS + count * interval_ns)
            count += 1


def _next(rng: random.Random, nodes: Sequence[NodeSpec], payload: int) -> list[TracePacket]:
    kind = rng.random()
    if kind < 0.01:
        return [TracePacket(0, b"\xff" * 6 + b"\x02\0\0\0\0\x02\x08\x06" + bytes(46), None)]  # ARP
    node = rng.choice(nodes)
    fields = node_fields(rng, node)
    if kind < 0.04:
        fields = _replaced(fields, destination=_FOREIGN.packed)
    size = rng.randrange(payload // 2, payload + 1)
    tags = _tags(rng)
    traits: tuple[str, ...] = ("VLAN tag",) if tags else ()
    if kind < 0.07 and fields.protocol in (TCP, UDP, SCTP):
        return _fragments(rng, fields, tags, (*traits, "fragment"))
    if kind < 0.09:
        inner = ip_packet(fields, payload=size)
        outer = _replaced(fields, protocol=41, source_port=0, destination_port=0, spi=0, flow_label=0, traffic_class=0)
        frame = ethernet(tunnel(outer.source, outer.destination, inner), tags)
        return [TracePacket(0, frame, outer, True, fields, (*traits, "tunnel"))]
    extensions = extension_chain(rng, node)
    packet = ip_packet(fields, extensions=extensions, payload=size)
    traits += ("extension header",) if extensions else ()
    return [TracePacket(0, ethernet(packet, tags), fields, True, fields, traits)]


def _tags(rng: random.Random) -> tuple[int, ...]:
    kind = rng.random()
    return () if kind < 0.8 else (100,) if kind < 0.95 else (200, 100)


def extension_chain(rng: random.Random, node: NodeSpec) -> list[Extension]:
    """The extension headers of a packet: none for most packets, else a few of the kinds that mobility traffic has."""
    if rng.random() < 0.85:
        return []
    extensions = []
    if rng.random() < 0.3:
        extensions.append(hop_by_hop(rng.choice((8, 16))))
    if rng.random() < 0.5:
        extensions.append(destination_options(rng.choice((8, 24))))
    if rng.random() < 0.3:
        extensions.append(routing(node.home_address.packed))
    if rng.random() < 0.3:
        extensions.append(authentication())
    return extensions or [destination_options()]


def _fragments(rng: random.Random, fields: Fields, tags: tuple[int, ...], traits: tuple[str, ...]) -> list[TracePacket]:
    parts = fragment6(ip_packet(fields, payload=80), size=48, identification=rng.getrandbits(32))
    first, *later = [TracePacket(0, ethernet(part, tags), fields, True, fields, traits) for part in parts]
    if rng.random() < 0.8:
        return [first, *later]
    return [*(replace(part, ports=False) for part in later), first]  # the ports are unknown before the first fragment


def node_fields(rng: random.Random, node: NodeSpec) -> Fields:
    """The fields of a packet: half are at the edges of one of the node's flows, the others are random."""
    destination = int(node.home_address)
    if node.prefixes and rng.random() < 0.5:
        network, length = node.prefixes[0]
        destination = int(network) + rng.randrange(1 << (128 - length))
    values = {
        "source": CORRESPONDENTS + (rng.randrange(20) << 64) + rng.randrange(80),
        "destination": destination,
        "protocol": rng.choice((*_WITH_PORTS, ESP, ICMP6)),
        "source_port": rng.choice((22, 53, 80, 443, 5060, 8080, rng.randrange(65536))),
        "destination_port": rng.choice((22, 443, rng.randrange(1024, 65536))),
        "flow_label": rng.choice((0, 0, rng.randrange(1, 8192))),
        "spi": rng.randrange(256, 8192),
        "traffic_class": rng.choice((0, 0, 0, 1, 40, 184, rng.randrange(256))),
    }
    if node.flows and rng.random() < 0.5:
        _aim(rng, rng.choice(node.flows), values)
    return _made_of(values)


def _aim(rng: random.Random, flow: FlowSpec, values: dict[str, int]) -> None:
    for name, (first, last) in flow.selector.items():
        largest = LARGEST[name]
        near = (first, last, first, last, max(first - 1, 0), min(last + 1, largest), (first + last) // 2)
        if name != "destination":
            values[name] = rng.choice(near)
    if "protocol" not in flow.selector:
        if "spi" in flow.selector:
            values["protocol"] = ESP
        elif "source_port" in flow.selector or "destination_port" in flow.selector:
            values["protocol"] = rng.choice(_WITH_PORTS)


def _made_of(values: dict[str, int]) -> Fields:
    """The fields that a real packet with these values has: no ports if its protocol has none, and so on."""
    protocol = values["protocol"]
    if protocol not in (*_WITH_PORTS, ESP, ICMP6):
        protocol = UDP  # such a protocol, from the edge of a range, would need a header of its own
    ports = protocol in _WITH_PORTS
    return Fields(
        source=values["source"].to_bytes(16, "big"),
        destination=values["destination"].to_bytes(16, "big"),
        protocol=protocol,
        source_port=values["source_port"] if ports else 0,
        destination_port=values["destination_port"] if ports else 0,
        flow_label=values["flow_label"],
        spi=values["spi"] if protocol == ESP else 0,
        traffic_class=values["traffic_class"],
    )


def _replaced(fields: Fields, **changes: bytes | int) -> Fields:
    values: dict[str, Any] = {name: getattr(fields, name) for name in Fields.__slots__}
    return Fields(**{**values, **changes})
