"""What others offer for the same task, measured in the same process: linear search, and rte_acl in a checkout."""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from flowclass.bench.linear import first_match

__all__ = ["Peer", "PeerTrace", "harness", "peers_for"]

Rules = npt.NDArray[np.void]
Keys = npt.NDArray[np.void]

# a linear search is timed over as many keys as cost about 20 ms (3 ns per comparison)
_LINEAR_COMPARISONS = 6_000_000
_HARNESSES = Path(__file__).parents[2] / "benchmarks" / "peers"


@dataclass(frozen=True, slots=True)
class PeerTrace:
    """A trace in the peer's own layout: a call over its first ``packets`` keys per algorithm, and the last answers."""

    packets: int
    calls: Mapping[str, Callable[[], object]]
    answers: Callable[[], npt.NDArray[np.int32]]


@dataclass(frozen=True, slots=True)
class Peer:
    """A rule set built by somebody else's classifier. ``bytes`` is None where it can't be told."""

    name: str
    build_seconds: float
    bytes: int | None
    prepare: Callable[[Keys], PeerTrace]


def _linear(rules: Rules) -> Peer:
    def prepare(keys: Keys) -> PeerTrace:
        part = keys[: max(16, _LINEAR_COMPARISONS // len(rules))]
        last: list[npt.NDArray[np.int32]] = []

        def run() -> None:
            last[:] = [first_match(rules, part)]

        return PeerTrace(len(part), {"scalar": run}, lambda: last[0])

    return Peer("linear search", 0.0, rules.nbytes, prepare)


@cache
def harness(name: str) -> ModuleType | str:
    """The module benchmarks/peers/NAME.py, or why there is none."""
    path = _HARNESSES / f"{name}.py"
    if not path.exists():
        return f"{name}: its harness is in benchmarks/peers of a source checkout"
    spec = importlib.util.spec_from_file_location(f"flowclass_peer_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    missing: str | None = module.available()
    return missing or module


def _rte_acl(rules: Rules) -> Peer | str:
    peer = harness("rte_acl")
    if isinstance(peer, str):
        return peer
    try:
        built: Any = peer.RteAcl(rules)
    except (ValueError, RuntimeError) as error:
        return str(error)

    def prepare(keys: Keys) -> PeerTrace:
        trace = built.prepare(keys)
        calls: dict[str, Callable[[], object]] = {}
        for name in peer.ALGORITHMS:
            try:
                trace.run(name)
            except RuntimeError:
                continue  # an algorithm that this CPU lacks
            calls[name] = partial(trace.run, name)
        return PeerTrace(len(keys), calls, trace.answers)

    return Peer(f"rte_acl {peer.version()}", built.build_seconds, built.bytes, prepare)


def peers_for(rules: Rules, names: tuple[str, ...] = ("rte_acl", "linear")) -> tuple[list[Peer], list[str]]:
    """The peers that can take this rule set, built, and a line for each that can't."""
    peers: list[Peer] = []
    absent: list[str] = []
    for name in names:
        peer = _linear(rules) if name == "linear" else _rte_acl(rules)
        if isinstance(peer, str):
            absent.append(peer)
        else:
            peers.append(peer)
    return peers, absent


def pytricia_rate(home_addresses: list[bytes], asked: list[bytes], *, seconds: float = 0.3) -> float | None:
    """Million look-ups/s of pytricia (frozen, packed keys), one per call: all that it offers. None without pytricia."""
    try:
        pytricia = importlib.import_module("pytricia")
    except ImportError:
        return None
    tree = pytricia.PyTricia(128)
    for i, address in enumerate(home_addresses):
        tree.insert(address, 128, i)
    tree.freeze()
    get, done, start = tree.get, 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for address in asked:
            get(address)
        done += len(asked)
    return done / (time.perf_counter() - start) / 1e6
