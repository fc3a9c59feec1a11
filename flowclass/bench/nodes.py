"""A forwarding table of many mobile nodes: decisions per second, memory, and what publishing costs its readers."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from flowclass.bench.linear import first_match
from flowclass.bench.peers import pytricia_rate
from flowclass.bench.timing import Spread, alternate, quiet
from flowclass.engine.classifier import kernels
from flowclass.engine.forwarding import DECISION_DTYPE, ForwardingTable
from flowclass.engine.keys import FIELDS
from flowclass.errors import ClassifierError, FlowclassError
from flowclass.generate.key_traces import keys_inside
from flowclass.generate.rulesets import full_ranges

__all__ = ["NodesResult", "Population", "measure", "population"]

Keys = npt.NDArray[np.void]

FORWARD, REASON_FLOW, REASON_DEFAULT = 1, 4, 5
CARE_OF = tuple((bid, bytes([0x20, 0x01, 0x0D, 0xB8, bid, *[0] * 10, 1])) for bid in (1, 2))
# a reader takes batches of this many keys, as a trace reader or a home agent under load does
BATCH = 4096
PUBLISH_RATE = 10_000
_CHECKED = 3000


@dataclass(frozen=True, slots=True)
class Population:
    """``homes``: (n, 16) octets; the flows of node i are ``rules[start[i]:start[i + 1]]``, FID 1, 2, ... in order."""

    homes: npt.NDArray[np.uint8]
    rules: npt.NDArray[np.void]
    start: npt.NDArray[np.int64]

    def arguments(self, node: int) -> dict[str, Any]:
        """What `ForwardingTable.publish` takes for a node: two care-of addresses, flows to one or the other."""
        first, last = int(self.start[node]), int(self.start[node + 1])
        octets = self.rules[first:last].tobytes()
        flows = tuple((i + 1, FORWARD, (i % 2,), octets[96 * i : 96 * i + 96]) for i in range(last - first))
        return {"home_address": self.homes[node].tobytes(), "targets": CARE_OF, "default": 0, "flows": flows}


def population(nodes: int, flows: tuple[int, int], seed: int) -> Population:
    """Nodes with random home addresses and so many flows each, uniformly; a flow is what a correspondent, a port or a
    protocol says, or several of these."""
    rng = np.random.default_rng([seed, nodes, *flows])
    start = np.concatenate([[0], np.cumsum(rng.integers(flows[0], flows[1], nodes, endpoint=True))])
    total = int(start[-1])
    rules = full_ranges(total, 6)
    source = rng.integers(0, 1 << 63, (total, 2), np.uint64)
    rules["source_first"], rules["source_last"] = source, source
    network = rng.random(total) < 0.3  # a /64 instead of a host
    rules["source_first"][network, 1], rules["source_last"][network, 1] = 0, 0xFFFFFFFFFFFFFFFF
    port = rng.integers(1, 50_000, total)
    rules["destination_port_first"] = port
    rules["destination_port_last"] = port + np.where(rng.random(total) < 0.7, 0, rng.integers(0, 2000, total))
    rules["protocol_first"] = rules["protocol_last"] = rng.choice(np.array([6, 17], np.uint8), total)
    for name, share in (("source", 0.6), ("destination_port", 0.6), ("protocol", 0.8)):
        rules["conditions"] |= np.where(rng.random(total) < share, FIELDS[name], 0).astype(np.uint8)
    rules["conditions"][rules["conditions"] == 0] = FIELDS["source"]  # no wild card: it would hide what follows it
    homes = rng.integers(0, 256, (nodes, 16), np.uint8)
    return Population(homes, rules, start)


def packets_for(people: Population, n: int, seed: int) -> tuple[Keys, npt.NDArray[np.int64]]:
    """Keys to nodes drawn uniformly, and these nodes: four of five made inside a flow, the others for the default."""
    rng = np.random.default_rng([seed, n, 11])
    node = rng.integers(0, len(people.homes), n)
    flow = people.start[node] + rng.integers(0, people.start[node + 1] - people.start[node])
    keys = keys_inside(rng, people.rules, flow)
    keys["destination"] = people.homes[node].view(">u8").astype("<u8")
    other = rng.random(n) < 0.2
    keys["source"][other] = rng.integers(0, 1 << 63, (int(other.sum()), 2), np.uint64)
    keys["destination_port"][other] = 65535
    keys["protocol"][keys["protocol"] == 135] = 6  # would be signalling, which no flow decides
    return keys, node


@dataclass(frozen=True, slots=True)
class NodesResult:
    """One table. Rates in million packets/s; publishing in microseconds; ``reader_ratio``: what is left of a reader's
    rate (batches of 4,096) while another Python thread publishes ``publish_rate`` nodes a second."""

    nodes: int
    flows: float
    packets: int
    checked: int
    mpps: Mapping[str, Spread]
    load_seconds: float
    bytes_per_node: float
    publish_us: Mapping[str, float]
    publish_rate: float
    reader_ratio: Spread
    pytricia_mpps: float | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "nodes": self.nodes,
            "flows_per_node": self.flows,
            "packets": self.packets,
            "answers_checked": self.checked,
            "mpps": {name: spread.as_dict() for name, spread in self.mpps.items()},
            "load_seconds": self.load_seconds,
            "bytes_per_node": self.bytes_per_node,
            "publish_us": dict(self.publish_us),
            "publish_per_second_beside_reader": self.publish_rate,
            "reader_ratio": self.reader_ratio.as_dict(),
            "pytricia_mpps": self.pytricia_mpps,
        }


def verify(
    table: ForwardingTable, people: Population, keys: Keys, node: npt.NDArray[np.int64], names: Sequence[str]
) -> int:
    """How many decisions were compared with linear search in the node's own flows; FlowclassError at a wrong one, or
    where the kernels differ on any key."""
    decisions = table.classify(keys)
    for kernel in names:
        if table.classify(keys, kernel=kernel).tobytes() != decisions.tobytes():
            raise FlowclassError(f"kernel {kernel}: decides otherwise than the default one")
    checked = min(len(keys), _CHECKED)
    for i in range(checked):
        flows = people.rules[people.start[node[i]] : people.start[node[i] + 1]]
        found = int(first_match(flows, keys[i : i + 1])[0])
        target = CARE_OF[found % 2 if found >= 0 else 0]
        wanted = (FORWARD, REASON_FLOW, found + 1, *target) if found >= 0 else (FORWARD, REASON_DEFAULT, 0, *target)
        d = decisions[i]
        given = (d["action"], d["reason"], d["fid"], d["bid"], d["care_of"].tobytes())
        if given != wanted:
            raise FlowclassError(f"packet {i}, node {node[i]}: decided {given}, not {wanted}")
    return checked


def _kernels(table: ForwardingTable, key: Keys) -> list[str]:
    """Those that this CPU runs and that decide for nodes (the flat classifier may have more)."""
    names = []
    for name, runs in kernels().items():
        try:
            if runs and len(table.classify(key, kernel=name)):
                names.append(name)
        except ClassifierError:
            continue
    return names


def _reader_rate(table: ForwardingTable, batches: Sequence[Keys], seconds: float) -> float:
    """Packets per second of a loop over the batches."""
    out = np.empty(BATCH, DECISION_DTYPE)
    done, i, start = 0, 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        batch = batches[i % len(batches)]
        table.classify(batch, out[: len(batch)])
        done += len(batch)
        i += 1
    return done / passed


class _Publisher(threading.Thread):
    """Publishes prepared nodes again and again, at a steady rate."""

    def __init__(self, table: ForwardingTable, prepared: Sequence[dict[str, Any]]) -> None:
        super().__init__(daemon=True)
        self.table, self.prepared = table, prepared
        self.stop = threading.Event()
        self.published = 0

    def run(self) -> None:
        start = time.perf_counter()
        while not self.stop.is_set():
            due = int((time.perf_counter() - start) * PUBLISH_RATE)
            while self.published < due:
                self.table.publish(**self.prepared[self.published % len(self.prepared)])
                self.published += 1
            time.sleep(0.0005)


def _beside(
    table: ForwardingTable, batches: Sequence[Keys], prepared: Sequence[dict[str, Any]], rounds: int
) -> tuple[Spread, float]:
    """(what is left of the reader's rate, publishes per second): rounds with and without a publisher in turn."""
    ratios, published, busy = [], 0, 0.0
    for _ in range(rounds):
        alone = _reader_rate(table, batches, 0.1)
        publisher = _Publisher(table, prepared)
        start = time.perf_counter()
        publisher.start()
        ratios.append(_reader_rate(table, batches, 0.2) / alone)
        publisher.stop.set()
        busy += time.perf_counter() - start
        publisher.join()
        published += publisher.published
    return Spread.of(ratios), published / busy


def measure(nodes: int, *, flows: tuple[int, int], packets: int, rounds: int, seed: int, peers: bool) -> NodesResult:
    """Loads the nodes one by one, verifies, then measures."""
    people = population(nodes, flows, seed)
    table = ForwardingTable()
    table.reserve(nodes)
    start = time.perf_counter()
    for i in range(nodes):
        table.publish(**people.arguments(i))
    load = time.perf_counter() - start
    size = table.info()["bytes"] / nodes
    keys, node = packets_for(people, packets, seed)
    names = _kernels(table, keys[:1])
    checked = verify(table, people, keys, node, names)
    out = np.empty(len(keys), DECISION_DTYPE)
    with quiet():
        calls = {k: partial(table.classify, keys, out, kernel=k) for k in ("auto", *names)}
        times = alternate(calls, rounds)
        prepared = [people.arguments(int(i)) for i in node[:2000]]
        spent = []
        for arguments in prepared:
            begun = time.perf_counter_ns()
            table.publish(**arguments)
            spent.append(time.perf_counter_ns() - begun)
        asked = [people.homes[i].tobytes() for i in node[:5000]]
        other = pytricia_rate([h.tobytes() for h in people.homes], asked) if peers else None
    p50, p99 = np.percentile(spent, (50, 99)) / 1000
    with quiet(2):
        left, rate = _beside(table, [keys[i : i + BATCH] for i in range(0, len(keys), BATCH)], prepared, rounds)
    verify(table, people, keys, node, names)
    return NodesResult(
        nodes=nodes,
        flows=len(people.rules) / nodes,
        packets=packets,
        checked=checked,
        mpps={name: Spread.of([packets / s / 1e6 for s in values]) for name, values in times.items()},
        load_seconds=load,
        bytes_per_node=size,
        publish_us={"p50": float(p50), "p99": float(p99)},
        publish_rate=rate,
        reader_ratio=left,
        pytricia_mpps=other,
    )
