"""Seeded mobile nodes with flow bindings, which can be written as a bindings file."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from flowclass.engine.fields import LARGEST

__all__ = ["CARE_OF_NETWORKS", "CORRESPONDENTS", "HOME_AGENT", "FlowSpec", "NodeSpec", "bindings_toml", "random_nodes"]

HOME_AGENT = IPv6Address("2001:db8:1::ffff")
HOME_NETWORK = int(IPv6Address("2001:db8:1::"))
CARE_OF_NETWORKS = tuple(int(IPv6Address(f"2001:db8:{letter}::")) for letter in "abde")
CORRESPONDENTS = int(IPv6Address("2001:db8:c::"))
_PREFIXES = int(IPv6Address("2001:db8:f000::"))

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class FlowSpec:
    """One flow binding; ``selector`` maps a field to its inclusive range of integers (addresses too)."""

    fid: int
    pri: int
    action: str
    bids: tuple[int, ...] = ()
    selector: Mapping[str, Range] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One mobile node: its home address, (BID, address, priority) of its care-of addresses, its flow bindings."""

    home_address: IPv6Address
    care_of: tuple[tuple[int, IPv6Address, int], ...]
    flows: tuple[FlowSpec, ...] = ()
    prefixes: tuple[tuple[IPv6Address, int], ...] = ()


def random_nodes(rng: random.Random, nodes: int, flows: int, *, actions: bool = True) -> list[NodeSpec]:
    """``nodes`` mobile nodes with 2 to 4 care-of addresses and ``flows`` flow bindings each, all eight fields in use.

    Every fourth node is a mobile router with a /56. With ``actions``, some flows discard or n-cast; else all forward.
    """
    return [_random_node(rng, number, flows, actions) for number in range(1, nodes + 1)]


def _random_node(rng: random.Random, number: int, flows: int, actions: bool) -> NodeSpec:
    home = HOME_NETWORK + number
    count = rng.randint(2, 4)
    care_of = tuple(
        (bid, IPv6Address(CARE_OF_NETWORKS[bid - 1] + number), rng.choice((0, 5, 10, 10, 127)))
        for bid in range(1, count + 1)
    )
    prefixes = ((IPv6Address(_PREFIXES + (number << 72)), 56),) if number % 4 == 0 else ()
    specs = tuple(_random_flow(rng, fid, home, count, actions) for fid in range(1, flows + 1))
    return NodeSpec(IPv6Address(home), care_of, specs, prefixes)


def _random_flow(rng: random.Random, fid: int, home: int, bids: int, actions: bool) -> FlowSpec:
    action = rng.choices(("forward", "n-cast", "discard"), (8, 1, 1))[0] if actions else "forward"
    chosen = rng.sample(range(1, bids + 1), rng.randint(2, bids) if action == "n-cast" else rng.choice((1, 1, 1, 2)))
    pri = rng.randint(1, 8)  # equal priorities are legal and occur (K14)
    return FlowSpec(fid, pri, action, () if action == "discard" else tuple(chosen), _random_selector(rng, home))


def _random_selector(rng: random.Random, home: int) -> dict[str, Range]:
    """A selector such as people write: mostly a protocol and a port, sometimes other fields and odd ranges."""
    selector: dict[str, Range] = {}
    if rng.random() < 0.4:
        bits = rng.choice((0, 4, 16, 64, 72))
        first = (CORRESPONDENTS + (rng.randrange(16) << 64) + rng.randrange(64)) >> bits << bits
        selector["source"] = (first, first + (1 << bits) - 1)
    if rng.random() < 0.2:
        selector["destination"] = (home, home)
    kind = rng.random()
    if kind < 0.55:
        protocol = rng.choice((6, 17, 17, 132, 33, 136))
        selector["protocol"] = (protocol, protocol) if rng.random() < 0.9 else (6, 17)
        name = rng.choice(("source_port", "source_port", "destination_port"))
        selector[name] = _range(rng, rng.choice((22, 53, 80, 443, 5060, 8080)), 0xFFFF)
    elif kind < 0.65:
        selector["spi"] = _range(rng, rng.randrange(256, 4096), LARGEST["spi"])
    elif kind < 0.75:
        selector["flow_label"] = _range(rng, rng.randrange(1, 4096), LARGEST["flow_label"])
    elif kind < 0.9:
        dscp = rng.choice((0, 8, 40, 46)) << 2
        selector["traffic_class"] = (dscp, dscp + rng.choice((0, 3, 8)))
    elif kind < 0.97 or not selector:
        protocol = rng.choice((6, 17, 50, 58))
        selector["protocol"] = (protocol, protocol)
    return selector


def _range(rng: random.Random, first: int, largest: int) -> Range:
    return first, min(largest, first + rng.choice((0, 0, 0, 1, 15, 1000)))


def bindings_toml(nodes: list[NodeSpec]) -> str:
    """The nodes as a bindings file (draft profile)."""
    return "\n".join(line for node in nodes for line in _node_lines(node)) + "\n"


def _node_lines(node: NodeSpec) -> Iterator[str]:
    yield from ("[[node]]", f'home_address = "{node.home_address}"')
    if node.prefixes:
        listed = ", ".join(f'"{network}/{length}"' for network, length in node.prefixes)
        yield f"prefixes = [{listed}]"
    for bid, address, priority in node.care_of:
        yield from ("", "[[node.care_of]]", f"bid = {bid}", f'address = "{address}"', f"priority = {priority}")
    for flow in node.flows:
        yield from ("", "[[node.flow]]", f"fid = {flow.fid}", f"pri = {flow.pri}", f'action = "{flow.action}"')
        if flow.bids:
            yield f"bids = {list(flow.bids)}"
        if flow.selector:
            yield "[node.flow.selector]"
        for name, (first, last) in flow.selector.items():
            text = IPv6Address if name in ("source", "destination") else int
            yield f'{name} = "{text(first)}"' if first == last else f'{name} = "{text(first)}-{text(last)}"'
    yield ""
