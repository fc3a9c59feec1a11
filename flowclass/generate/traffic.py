"""Makes traffic as on a backbone or a home agent's link, for measuring how fast captures are read.

Packet sizes and protocols are realistic, few of the connections are large, and some packets have VLAN tags, extension
headers or tunnels. Unlike in `mobility_trace`, where every other packet is hard to read, most packets are plain.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from .bindings import NodeSpec
from .captures import Frame
from .mobility import START_NS, extension_chain, node_fields
from .packets import DCCP, ESP, ICMP6, SCTP, TCP, UDP, UDPLITE, Extension, Fields, ethernet, ip_packet, tunnel

__all__ = ["OCTETS", "traffic"]

OCTETS = 697
"""Average octets of a frame; 713 with the header of a pcap record."""
# (share, smallest, largest) payload: calls and acknowledgements, a little of everything, full segments
_SIZES = ((0.45, 0, 60), (0.17, 100, 1000), (0.38, 1360, 1400))
_PROTOCOLS = {TCP: 0.72, UDP: 0.22, ESP: 0.03, ICMP6: 0.01, SCTP: 0.01, DCCP: 0.005, UDPLITE: 0.005}
_IPV6, _TUNNEL, _VLAN, _EXTENSIONS = 0.62, 0.02, 0.08, 0.3  # shares; of the last, a sixth has some


@dataclass(frozen=True, slots=True)
class _Connection:
    fields: Fields
    tags: tuple[int, ...]
    extensions: Sequence[Extension]
    inner: Fields | None  # a tunnel's contents

    def frame(self, payload: int) -> bytes:
        if self.inner is not None:
            packet = tunnel(self.fields.source, self.fields.destination, ip_packet(self.inner, payload=payload))
        else:
            packet = ip_packet(self.fields, extensions=self.extensions, payload=payload)
        return ethernet(packet, self.tags)


def traffic(
    rng: random.Random,
    nodes: Sequence[NodeSpec],
    packets: int,
    *,
    connections: int = 50_000,
    skew: float = 1.0,
    interval_ns: int = 10_007,
) -> Iterator[Frame]:
    """Yields ``packets`` Ethernet frames: IPv6 to ``nodes`` (half at the edges of their flows), and IPv4 to no node.

    A connection is chosen for each packet; the n-th largest of ``connections`` has 1 / n^``skew`` as many packets as
    the largest. A skew of 1 is Zipf's law, which real traffic follows; with 0 all connections are equally large, which
    is unrealistic, and worst for caches.
    """
    made = [_connection(rng, nodes) for _ in range(connections)]
    sizes = [[rng.randint(smallest, largest) for _, smallest, largest in _SIZES] for _ in made]
    popular = list(accumulate((n + 1) ** -skew for n in range(connections)))
    shares = list(accumulate(share for share, _, _ in _SIZES))
    frames: dict[tuple[int, int], bytes] = {}
    block = 10_000
    for start in range(0, packets, block):
        count = min(block, packets - start)
        chosen = rng.choices(range(connections), cum_weights=popular, k=count)
        for i, place in enumerate(
            zip(chosen, rng.choices(range(len(_SIZES)), cum_weights=shares, k=count), strict=True)
        ):
            data = frames.get(place)
            if data is None:
                data = frames[place] = made[place[0]].frame(sizes[place[0]][place[1]])
            yield Frame(START_NS + (start + i) * interval_ns, data)


def _connection(rng: random.Random, nodes: Sequence[NodeSpec]) -> _Connection:
    tags = (rng.randrange(1, 4095),) if rng.random() < _VLAN else ()
    if rng.random() >= _IPV6:
        return _Connection(_ipv4_fields(rng), tags, (), None)
    node = rng.choice(nodes)
    fields = node_fields(rng, node)
    # half of node_fields has the protocol of a flow; the rest has any protocol, where traffic has mostly TCP and UDP
    if rng.random() < 0.9 or fields.protocol not in (TCP, UDP):
        (protocol,) = rng.choices(list(_PROTOCOLS), list(_PROTOCOLS.values()))
        ports = protocol not in (ESP, ICMP6)
        fields = replace(
            fields, protocol=protocol,
            source_port=fields.source_port if ports else 0, destination_port=fields.destination_port if ports else 0,
            spi=rng.randrange(256, 8192) if protocol == ESP else 0,
        )  # fmt: skip
    inner = _ipv4_fields(rng) if rng.random() < _TUNNEL else None
    extensions = extension_chain(rng, node) if rng.random() < _EXTENSIONS else ()
    return _Connection(fields, tags, extensions, inner)


def _ipv4_fields(rng: random.Random) -> Fields:
    return Fields(
        source=bytes((10, rng.randrange(256), rng.randrange(256), rng.randrange(1, 255))),
        destination=bytes((198, 51, 100, rng.randrange(1, 255))),
        protocol=rng.choice((TCP, TCP, TCP, UDP)),
        source_port=rng.choice((53, 80, 443, 443, rng.randrange(1024, 65536))),
        destination_port=rng.randrange(1024, 65536),
    )
