"""Peers: other classifiers, measured in the same process. They are linear search, rte_acl, and any that you provide.

Your own classifier must be a class (or a function) that takes rules and returns an object:

    class Mine:
        name = "tuple space search"                 # optional; in tables and pictures

        def __init__(self, rules): ...              # an array of RULE_DTYPE, the first rule that matches wins
        def classify(self, keys): ...               # an array of KEY_DTYPE -> int32 array, the rule's index, or -1

and may also have:

        bytes = 12345                               # all memory of what was built; an attribute or property
        most_keys = 1000                            # for a slow one: the most keys per call
        def prepare(self, keys): ...                # keys in its own layout; `classify` is then given that
        algorithms = ("scalar", "avx2")             # `classify(keys, algorithm)`, each measured by itself
        def insert(self, rules, priorities): ...    # -> ids, for `flowclass bench updates`
        def remove(self, ids): ...

`flowclass bench lookup --peer mymodule:Mine` measures it, and so does ``--peer NAME`` for a class that an installed
package offers under that name in the entry-point group ``flowclass.peers``. Its answers are checked before it is timed;
`KEY_DTYPE` and `RULE_DTYPE` are described in `flowclass.engine.keys`. A rule set that it can't take is a ValueError.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from flowclass.bench.linear import first_match
from flowclass.errors import FlowclassError

__all__ = ["ENTRY_POINTS", "OwnClassifier", "Peer", "PeerTrace", "harness", "load_peer", "peers_for"]

Rules = npt.NDArray[np.void]
Keys = npt.NDArray[np.void]

ENTRY_POINTS: Final = "flowclass.peers"
"""The entry-point group in which packages offer their classifiers."""

# linear search is timed over as many keys as take about 20 ms (3 ns per comparison)
_LINEAR_COMPARISONS = 6_000_000


@runtime_checkable
class OwnClassifier(Protocol):
    """What a classifier that you provide must have; the docstring of this module says what else it may have."""

    def classify(self, keys: Any) -> Any:
        """For each key, the index of the first rule that matches, or -1: an int32 array."""


@dataclass(frozen=True, slots=True)
class PeerTrace:
    """A trace in the peer's own layout.

    ``calls`` has a call over the first ``packets`` keys for each algorithm; ``answers`` returns those of the last call.
    """

    packets: int
    calls: Mapping[str, Callable[[], object]]
    answers: Callable[[], npt.NDArray[np.int32]]


@dataclass(frozen=True, slots=True)
class Peer:
    """A rule set built by another classifier. ``bytes`` is its memory, or None if that is unknown."""

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


def harness(name: str) -> ModuleType | str:
    """The module `flowclass.bench.harness.NAME`, or a text that says what it needs and is missing."""
    module = importlib.import_module(f"flowclass.bench.harness.{name}")
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
                continue  # this CPU doesn't support the algorithm
            calls[name] = partial(trace.run, name)
        return PeerTrace(len(keys), calls, trace.answers)

    return Peer(f"rte_acl {peer.version()}", built.build_seconds, built.bytes, prepare)


def load_peer(name: str) -> Callable[[Rules], OwnClassifier]:
    """The classifier that ``--peer NAME`` means: ``module:attribute`` or the name of an entry point.

    Modules are also searched in the current folder. Raises FlowclassError, which lists the existing entry points, if
    the classifier can't be imported.
    """
    module, colon, attribute = name.partition(":")
    offered = entry_points(group=ENTRY_POINTS)
    if not colon and name not in offered.names:
        known = ", ".join(sorted(offered.names)) or "none is installed"
        raise FlowclassError(f"--peer {name}: module:attribute expected, or an entry point of {ENTRY_POINTS} ({known})")
    if colon and "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module) if colon else offered[name].load()
        for part in attribute.split(".") if colon else ():
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise FlowclassError(f"--peer {name}: {error}") from None
    except Exception as error:  # whatever a module does when it is imported
        raise FlowclassError(f"--peer {name}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise FlowclassError(f"--peer {name}: a class expected, or a function that takes rules, not {found!r}")
    made: Callable[[Rules], OwnClassifier] = found
    return made


def _own(name: str, rules: Rules) -> Peer | str:
    make = load_peer(name)
    start = time.perf_counter()
    try:
        built: Any = make(rules)
    except ValueError as error:
        return f"{name}: {error}"
    seconds = time.perf_counter() - start
    if not isinstance(built, OwnClassifier):
        raise FlowclassError(f"--peer {name}: {type(built).__name__} has no method classify")

    def prepare(keys: Keys) -> PeerTrace:
        part = keys[: getattr(built, "most_keys", len(keys))]
        given = built.prepare(part) if hasattr(built, "prepare") else part
        last: list[Any] = []

        def run(*algorithm: str) -> None:
            last[:] = [built.classify(given, *algorithm)]

        algorithms = getattr(built, "algorithms", ())
        calls: dict[str, Callable[[], object]] = {which: partial(run, which) for which in algorithms} or {"own": run}
        return PeerTrace(len(part), calls, lambda: np.asarray(last[0], np.int32))

    return Peer(str(getattr(built, "name", name)), seconds, getattr(built, "bytes", None), prepare)


_BUILT_IN: Final[Mapping[str, Callable[[Rules], Peer | str]]] = {"rte_acl": _rte_acl, "linear": _linear}


def peers_for(rules: Rules, names: tuple[str, ...] = ("rte_acl", "linear")) -> tuple[list[Peer], list[str]]:
    """Builds the rule set in each peer; returns these peers, and a line for each peer that can't take the set."""
    peers: list[Peer] = []
    absent: list[str] = []
    for name in names:
        peer = _BUILT_IN[name](rules) if name in _BUILT_IN else _own(name, rules)
        if isinstance(peer, str):
            absent.append(peer)
        else:
            peers.append(peer)
    return peers, absent


def pytricia_rate(home_addresses: list[bytes], asked: list[bytes], *, seconds: float = 0.3) -> float | None:
    """Million look-ups/s of pytricia (frozen, packed keys), one per call, as it has no batches; None without it."""
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
