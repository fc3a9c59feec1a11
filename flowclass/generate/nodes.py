"""Seeded mobile nodes for tables of any size: home addresses, care-of addresses, flows, and keys of packets to them.

The flows are such as a mobile node would ask for: most name a remote network (a site's /48, a
subnet's /64, one host, now and then a provider's /32), many a protocol and a port or a range of ports at either end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from flowclass.engine.fields import BITS, LARGEST
from flowclass.engine.forwarding import FLOW_DTYPE, TARGET_DTYPE, ForwardingTable
from flowclass.engine.keys import KEY_DTYPE

__all__ = ["NodeSet", "node_keys", "node_set"]

Words = npt.NDArray[np.uint64]
Records = npt.NDArray[np.void]
Random = np.random.Generator

_REMOTE_LENGTHS: Final = {0: 0.1, 32: 0.08, 48: 0.32, 56: 0.06, 64: 0.26, 128: 0.18}
_PORTS: Final = np.array([22, 25, 53, 80, 123, 143, 443, 993, 1883, 3478, 5060, 5223, 8080, 8443], np.uint16)


@dataclass(frozen=True, slots=True)
class NodeSet:
    """A set of n nodes, as the arguments of `ForwardingTable.load`."""

    home_addresses: npt.NDArray[np.uint8]
    targets: Records
    target_offsets: npt.NDArray[np.uint32]
    defaults: npt.NDArray[np.int32]
    flows: Records
    flow_offsets: npt.NDArray[np.uint32]
    flow_targets: npt.NDArray[np.uint16]

    def load(self, table: ForwardingTable) -> npt.NDArray[np.uint32]:
        """Publishes all nodes in a table; returns their numbers."""
        return table.load(**{name: getattr(self, name) for name in self.__slots__})


def _offsets(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    return np.concatenate(([0], np.cumsum(counts))).astype(np.uint32)


def _masks(lengths: npt.NDArray[np.int64]) -> Words:
    """(n, 2) words of which the first ``lengths`` bits are set."""
    table = [((1 << 128) - (1 << (128 - n)) >> 64, (1 << 128) - (1 << (128 - n)) & (1 << 64) - 1) for n in range(129)]
    return np.array(table, np.uint64)[lengths]


def _remotes(random: Random, rules: Records) -> None:
    n = len(rules)
    lengths = random.choice(list(_REMOTE_LENGTHS), n, p=list(_REMOTE_LENGTHS.values()))
    address = random.integers(0, 1 << 64, (n, 2), np.uint64)
    address[:, 0] = address[:, 0] >> np.uint64(3) | np.uint64(1 << 61)  # global unicast, 2000::/3
    mask = _masks(lengths)
    rules["source_first"] = address & mask
    rules["source_last"] = address | ~mask
    rules["conditions"] |= np.where(lengths > 0, BITS["source"], 0).astype(np.uint8)


def _ports(random: Random, rules: Records, name: str, exact: float, ranges: float) -> None:
    n = len(rules)
    kind = random.random(n)
    first = np.where(random.random(n) < 0.5, random.choice(_PORTS, n), random.integers(0, 65536, n)).astype(np.uint16)
    width = np.where(kind < exact, 0, random.integers(1, 4096, n))
    rules[f"{name}_first"] = first
    rules[f"{name}_last"] = np.minimum(first + width, 65535)
    rules["conditions"] |= np.where(kind < exact + ranges, BITS[name], 0).astype(np.uint8)


def _flows(random: Random, n: int) -> Records:
    flows = np.zeros(n, FLOW_DTYPE)
    rules = flows["rule"]
    rules["version"] = 6
    _remotes(random, rules)
    _ports(random, rules, "source_port", 0.2, 0.05)
    _ports(random, rules, "destination_port", 0.35, 0.15)
    rules["protocol_first"] = rules["protocol_last"] = random.choice(np.array([6, 6, 17], np.uint8), n)
    rules["conditions"] |= np.where(random.random(n) < 0.75, BITS["protocol"], 0).astype(np.uint8)
    return flows


def node_set(n: int, seed: int, *, flows: tuple[int, int] = (4, 16), targets: tuple[int, int] = (2, 4)) -> NodeSet:
    """``n`` nodes: random 128-bit home addresses, ``flows`` (least, most) flows, ``targets`` care-of addresses."""
    random = np.random.default_rng(seed)
    homes = random.integers(0, 256, (n, 16), np.uint8)
    homes[:, 0] = homes[:, 0] >> 3 | 0x20
    n_targets = random.integers(targets[0], targets[1] + 1, n)
    n_flows = random.integers(flows[0], flows[1] + 1, n)
    target_offsets, flow_offsets = _offsets(n_targets), _offsets(n_flows)
    target_rows = np.zeros(int(target_offsets[-1]), TARGET_DTYPE)
    target_rows["address"] = random.integers(0, 256, (len(target_rows), 16), np.uint8)
    target_rows["version"] = 6
    target_rows["bid"] = np.arange(len(target_rows)) - np.repeat(target_offsets[:-1], n_targets) + 1
    flow_rows = _flows(random, int(flow_offsets[-1]))
    flow_rows["fid"] = np.arange(len(flow_rows)) - np.repeat(flow_offsets[:-1], n_flows) + 1
    flow_rows["action"] = 1
    flow_rows["n_targets"] = 1
    flow_rows["targets"] = np.arange(len(flow_rows))
    picks = (random.random(len(flow_rows)) * np.repeat(n_targets, n_flows)).astype(np.uint16)
    return NodeSet(homes, target_rows, target_offsets, np.zeros(n, np.int32), flow_rows, flow_offsets, picks)


def node_keys(nodes: NodeSet, n: int, seed: int, *, aimed: float = 0.8) -> Records:
    """``n`` keys to uniformly random nodes, a share ``aimed`` of them inside a random flow of the node."""
    random = np.random.default_rng(seed)
    node = random.integers(0, len(nodes.home_addresses), n)
    keys = np.zeros(n, KEY_DTYPE)
    keys["version"] = 6
    keys["present"] = sum(BITS.values()) - BITS["spi"]
    keys["destination"] = nodes.home_addresses[node].view(">u8")
    keys["source"] = random.integers(0, 1 << 64, (n, 2), np.uint64)
    keys["flow_label"] = random.integers(0, LARGEST["flow_label"] + 1, n)
    keys["source_port"] = random.integers(0, 65536, n)
    keys["destination_port"] = random.integers(0, 65536, n)
    keys["protocol"] = random.choice(np.array([6, 17], np.uint8), n)
    counts = np.diff(nodes.flow_offsets.astype(np.int64))[node]
    which = nodes.flow_offsets[node] + (random.random(n) * counts).astype(np.int64)
    hit = (random.random(n) < aimed) & (counts > 0)
    rules = nodes.flows["rule"][np.where(hit, which, 0)]
    asked = np.where(hit, rules["conditions"], 0)
    mask = ~(rules["source_first"] ^ rules["source_last"])
    inside = rules["source_first"] & mask | keys["source"] & ~mask
    keys["source"] = np.where((asked & BITS["source"] != 0)[:, None], inside, keys["source"])
    for name in ("source_port", "destination_port", "protocol"):
        first, last = rules[f"{name}_first"].astype(np.int64), rules[f"{name}_last"].astype(np.int64)
        value = first + (random.random(n) * (last - first + 1)).astype(np.int64)
        keys[name] = np.where(asked & BITS[name] != 0, value, keys[name])
    return keys
