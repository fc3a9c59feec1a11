"""Measures a forwarding table of many mobile nodes: decisions per second, memory, and what publishing costs readers."""

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
from flowclass.engine.decisions import DECISION_DTYPE, Action, Reason
from flowclass.engine.forwarding import ForwardingTable
from flowclass.errors import ClassifierError, FlowclassError
from flowclass.generate.nodes import NodeSet, node_keys, node_set

__all__ = ["NodesResult", "measure", "nodes_of", "publish_arguments", "verify"]

Keys = npt.NDArray[np.void]

# keys in a batch, about as many as a trace reader or a home agent under load takes
BATCH = 4096
PUBLISH_RATE = 10_000
_CHECKED = 3000


def publish_arguments(people: NodeSet, node: int) -> dict[str, Any]:
    """The arguments of `ForwardingTable.publish` for one node of the set."""
    targets = people.targets[people.target_offsets[node] : people.target_offsets[node + 1]]
    flows = people.flows[people.flow_offsets[node] : people.flow_offsets[node + 1]]
    return {
        "home_address": people.home_addresses[node].tobytes(),
        "targets": tuple((int(t["bid"]), t["address"].tobytes()) for t in targets),
        "default": int(people.defaults[node]),
        "flows": tuple(
            (int(f["fid"]), int(f["action"]), (int(people.flow_targets[f["targets"]]),), f["rule"].tobytes())
            for f in flows
        ),
    }


def nodes_of(people: NodeSet, keys: Keys) -> list[int]:
    """For each key, the index of the node that it is for."""
    known = {home.tobytes(): i for i, home in enumerate(people.home_addresses)}
    return [known[words.tobytes()] for words in keys["destination"].astype(">u8")]


@dataclass(frozen=True, slots=True)
class NodesResult:
    """The result for one table.

    Rates are in million packets/s, and publishing times in microseconds. ``reader_ratio`` is the share of a reader's
    rate (in batches of 4,096) that is left while another Python thread publishes ``publish_rate`` nodes per second.
    """

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
        """The result as values for JSON."""
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


def verify(table: ForwardingTable, people: NodeSet, keys: Keys, nodes: Sequence[int], names: Sequence[str]) -> int:
    """Compares decisions with a linear search in the node's own flows; returns how many were compared.

    ``nodes`` are the indices of the nodes that the first keys are for. Raises FlowclassError at a wrong decision, or if
    the kernels differ on any key.
    """
    decisions = table.classify(keys)
    for kernel in names:
        if table.classify(keys, kernel=kernel).tobytes() != decisions.tobytes():
            raise FlowclassError(f"kernel {kernel}: decides otherwise than the default one")
    for i, node in enumerate(nodes):
        flows = people.flows[people.flow_offsets[node] : people.flow_offsets[node + 1]]
        found = int(first_match(np.ascontiguousarray(flows["rule"]), keys[i : i + 1])[0])
        index = int(people.defaults[node]) if found < 0 else int(people.flow_targets[flows["targets"][found]])
        target = people.targets[people.target_offsets[node] + index]
        reason, fid = (Reason.DEFAULT, 0) if found < 0 else (Reason.FLOW, int(flows["fid"][found]))
        wanted = (Action.FORWARD, reason, fid, int(target["bid"]), target["address"].tobytes())
        d = decisions[i]
        given = (*(int(d[name]) for name in ("action", "reason", "fid", "bid")), d["care_of"].tobytes())
        if given != wanted:
            raise FlowclassError(f"packet {i}, node {node}: decided {given}, not {wanted}")
    return len(nodes)


def _kernels(table: ForwardingTable, key: Keys) -> list[str]:
    """The kernels that this CPU runs and that support nodes (the flat classifier may have more)."""
    names = []
    for name, runs in kernels().items():
        try:
            if runs and len(table.classify(key, kernel=name)):
                names.append(name)
        except ClassifierError:
            continue
    return names


def _reader_rate(table: ForwardingTable, batches: Sequence[Keys], seconds: float) -> float:
    """The packets per second that a loop over the batches classifies."""
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
    """(share of the reader's rate left, publishes per second), from rounds with and without a publisher in turn."""
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
    """Loads a set of nodes, verifies decisions, measures, and verifies again."""
    people = node_set(nodes, seed, flows=flows)
    table = ForwardingTable()
    start = time.perf_counter()
    people.load(table)
    load = time.perf_counter() - start
    size = table.info()["bytes"] / nodes
    keys = node_keys(people, packets, seed + 1)
    where = nodes_of(people, keys[:_CHECKED])
    names = _kernels(table, keys[:1])
    checked = verify(table, people, keys, where, names)
    out = np.empty(len(keys), DECISION_DTYPE)
    with quiet():
        calls = {k: partial(table.classify, keys, out, kernel=k) for k in ("auto", *names)}
        times = alternate(calls, rounds)
        prepared = [publish_arguments(people, node) for node in where[:2000]]
        spent = []
        for arguments in prepared:
            begun = time.perf_counter_ns()
            table.publish(**arguments)
            spent.append(time.perf_counter_ns() - begun)
        homes = [home.tobytes() for home in people.home_addresses] if peers else []
        other = pytricia_rate(homes, [homes[node] for node in where]) if peers else None
    p50, p99 = np.percentile(spent, (50, 99)) / 1000
    with quiet(2):
        left, rate = _beside(table, [keys[i : i + BATCH] for i in range(0, len(keys), BATCH)], prepared, rounds)
    verify(table, people, keys, where, names)
    return NodesResult(
        nodes=nodes,
        flows=len(people.flows) / nodes,
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
