"""Measures look-ups in one flat rule set beside the peers, after checking that the answers are right."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flowclass.bench.linear import first_match
from flowclass.bench.peers import Peer, peers_for
from flowclass.bench.timing import Spread, alternate, quiet, ratio
from flowclass.engine.classbench import read_classbench, read_trace
from flowclass.engine.classifier import Classifier, kernels
from flowclass.errors import FlowclassError
from flowclass.generate.adversarial import ADVERSARIAL, adversarial_set
from flowclass.generate.key_traces import key_trace, near_misses
from flowclass.generate.rulesets import rule_set

__all__ = ["Case", "LookupResult", "file_case", "generated_case", "measure", "slowest", "verify"]

Keys = npt.NDArray[np.void]
Answers = npt.NDArray[np.int32]
Trace = tuple[Keys, Answers | None]  # the keys, and the answers if the trace file has them

LATENCY_BATCH = 256
# comparisons per trace in a check by linear search: at about 3 ns each, some two seconds
_CHECKED = 600_000_000


@dataclass(frozen=True, slots=True)
class Case:
    """A rule set and its traces, with the right answers if a file has them."""

    name: str
    rules: npt.NDArray[np.void]
    traces: Mapping[str, Trace]

    @property
    def version(self) -> int:
        """The IP version of the rules."""
        return int(self.rules["version"].max())


@dataclass(frozen=True, slots=True)
class PeerResult:
    """The result of a peer on one trace.

    ``mpps`` are million packets/s by algorithm; ``ratio`` is how many times faster flowclass is than the best of them.
    """

    name: str
    mpps: Mapping[str, Spread]
    best: str
    ratio: Spread
    build_seconds: float
    bytes: int | None

    def as_dict(self) -> dict[str, Any]:
        """The result as values for JSON."""
        return {
            "name": self.name,
            "mpps": {name: spread.as_dict() for name, spread in self.mpps.items()},
            "best": self.best,
            "ratio": self.ratio.as_dict(),
            "build_seconds": self.build_seconds,
            "bytes": self.bytes,
        }


@dataclass(frozen=True, slots=True)
class LookupResult:
    """The result of one rule set on one trace. Rates are in million packets/s, latencies in microseconds per batch."""

    case: str
    trace: str
    version: int
    rules: int
    packets: int
    checked: int
    hit_rate: float
    mpps: Mapping[str, Spread]
    latency_us: Mapping[str, float]
    build_seconds: float
    bytes_per_rule: float
    table: Mapping[str, Any]
    peers: Sequence[PeerResult] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """The result as values for JSON."""
        return {
            "set": self.case,
            "trace": self.trace,
            "version": self.version,
            "rules": self.rules,
            "packets": self.packets,
            "answers_checked": self.checked,
            "hit_rate": self.hit_rate,
            "mpps": {name: spread.as_dict() for name, spread in self.mpps.items()},
            "latency_us": dict(self.latency_us),
            "build_seconds": self.build_seconds,
            "bytes_per_rule": self.bytes_per_rule,
            "table": dict(self.table),
            "peers": [peer.as_dict() for peer in self.peers],
        }


def file_case(
    path: Path,
    traces: Sequence[str],
    packets: int,
    seed: int,
    *,
    files: Sequence[Path] = (),
    notes: list[str] | None = None,
) -> Case:
    """A rule set in a file: ClassBench's format, or OpenFlow rules as ClassBench-ng writes them.

    Its traces are ``files``, if any are given. Otherwise they are ``NAME_trace``, as ClassBench's trace_generator names
    it (``acl1.rules_trace``, ``acl1_trace``), if it exists, and a trace of each of the kinds ``traces``: read from
    ``NAME.KIND.trace`` with its answers if that exists, or else generated (``uniform`` if there is no other trace). All
    file names may end in .gz. Remarks about the files are appended to ``notes``.
    """
    left_out: set[str] = set()
    rules = read_classbench(path, left_out=left_out)
    if not len(rules):
        raise FlowclassError(f"{path}: no rules")
    if left_out and notes is not None:
        notes.append(f"{path}: rules are read without {', '.join(sorted(left_out))}, which no packet's IP header has")
    version = int(rules["version"].max())
    name = path.name.removesuffix(".gz").removesuffix(".rules")
    found: dict[str, Trace] = {}
    for file in files:
        found[file.name] = _file_trace(file, rules, version, claims=not _is_generator_s(file), notes=notes)
    if files:
        return Case(name, rules, found)
    own = _existing(path.with_name(f"{stem}_trace") for stem in (path.name.removesuffix(".gz"), name))
    if own is not None:
        found[own.name] = _file_trace(own, rules, version, claims=False, notes=notes)
    for kind in traces or (() if found else ("uniform",)):
        beside = _existing([path.with_name(f"{name}.{kind}.trace")])
        if beside is not None:
            found[kind] = _file_trace(beside, rules, version, claims=True, notes=notes)
        else:
            found[kind] = (_trace(rules, packets, kind, seed), None)
    return Case(name, rules, found)


def _is_generator_s(path: Path) -> bool:
    """Whether a trace has the name that ClassBench's trace_generator gives."""
    return path.name.removesuffix(".gz").endswith("_trace")


def _existing(paths: Iterable[Path]) -> Path | None:
    candidates = (candidate for path in paths for candidate in (path.with_name(f"{path.name}.gz"), path))
    return next((path for path in candidates if path.exists()), None)


def _file_trace(
    path: Path, rules: npt.NDArray[np.void], version: int, *, claims: bool, notes: list[str] | None
) -> Trace:
    """Reads a trace from a file, and checks its answers by linear search.

    If an answer is a rule that matches, but is not the first to match, the column is taken for the filter from which
    each packet was drawn, and not used as answers. Raises FlowclassError if an answer doesn't match at all.
    """
    keys, answers = read_trace(path, version=version, claims=claims)
    if answers is None:
        return keys, None
    right = first_match(rules, keys[: max(64, _CHECKED // len(rules))])
    for at in np.flatnonzero(answers[: len(right)] != right).tolist():
        claimed = int(answers[at])
        if not 0 <= claimed < len(rules) or first_match(rules[claimed : claimed + 1], keys[at : at + 1])[0] < 0:
            raise FlowclassError(
                f"{path}: packet {at} is said to get rule {claimed}, the first to match is {right[at]}"
            )
        if notes is not None:
            notes.append(
                f"{path}: the last column is taken for the filter that a packet was drawn from, no claim about the"
                f" answer: packet {at} has {claimed}, the first rule to match is {right[at]}"
            )
        return keys, None
    return keys, answers


def generated_case(family: str, n: int, version: int, traces: Sequence[str], packets: int, seed: int) -> Case:
    """A rule set from this project's generators, including the adversarial ones."""
    make = adversarial_set if family in ADVERSARIAL else rule_set
    rules = make(family, n, version=version, seed=seed)
    made: dict[str, Trace] = {k: (_trace(rules, packets, k, seed), None) for k in traces or ("uniform",)}
    return Case(f"v{version}_{family}_{n}", rules, made)


def _trace(rules: npt.NDArray[np.void], packets: int, kind: str, seed: int) -> Keys:
    """A generated trace; for the kind ``worst``, the candidates from which `slowest` then chooses."""
    if kind != "worst":
        return key_trace(rules, packets, kind=kind, seed=seed)
    third = max(packets // 3, 1)
    made = [key_trace(rules, third, kind=kind, seed=seed) for kind in ("corner", "uniform")]
    return np.concatenate([*made, near_misses(rules, packets - 2 * third, seed=seed, worst=256)])


def slowest(table: Classifier, keys: Keys, *, candidates: int = 3000, kept: int = 16) -> Keys:
    """A trace as long as ``keys``, which repeats the few keys on which this table takes longest.

    They are found by looking up each candidate as a batch of 32 copies, of which the smallest of six times counts. So
    the packets are aimed at the worst leaf of the table as it was built, and may differ from build to build.
    """
    tried = keys[np.linspace(0, len(keys) - 1, min(candidates, len(keys))).astype(np.intp)]
    out, times = np.empty(32, np.int32), np.empty(len(tried))
    for i in range(len(tried)):
        batch = np.repeat(tried[i : i + 1], 32)
        rounds = []
        for _ in range(6):
            start = time.perf_counter_ns()
            table.classify(batch, out)
            rounds.append(time.perf_counter_ns() - start)
        times[i] = min(rounds)
    worst = tried[np.argsort(-times, kind="stable")[:kept]]
    return np.resize(worst, len(keys))


def verify(case: Case, trace: str, keys: Keys, table: Classifier, names: Sequence[str]) -> tuple[Answers, int]:
    """Checks that all kernels agree; returns their answers, and how many of these were compared with right answers.

    The right answers are those of the trace file, or else those of linear search over as many keys as take some two
    seconds (all keys for a small set). Raises FlowclassError at the first wrong answer, so that nothing is timed then.
    """
    right = case.traces[trace][1]
    if right is None:
        right = first_match(case.rules, keys[: max(64, _CHECKED // len(case.rules))])
    answers: Answers = table.classify(keys)
    for kernel in ("auto", *names):
        given: Answers = table.classify(keys, kernel=kernel)
        for ours, theirs in ((given[: len(right)], right), (given, answers)):
            wrong = np.flatnonzero(ours != theirs)
            if len(wrong):
                at = int(wrong[0])
                raise FlowclassError(
                    f"{case.name}, {trace} trace, kernel {kernel}: packet {at} got rule {ours[at]}, not {theirs[at]}"
                )
    return answers, len(right)


def _latency(table: Classifier, keys: Keys) -> dict[str, float]:
    """p50 and p99 of the time of a call with 256 keys, in microseconds, over at least 1,000 calls along the trace."""
    batches = [keys[i : i + LATENCY_BATCH] for i in range(0, max(1, len(keys) - LATENCY_BATCH + 1), LATENCY_BATCH)]
    out = np.empty(len(batches[0]), np.int32)
    times = []
    for _ in range(-(-1000 // len(batches))):
        for batch in batches:
            start = time.perf_counter_ns()
            table.classify(batch, out)
            times.append(time.perf_counter_ns() - start)
    p50, p99 = np.percentile(times, (50, 99)) / 1000
    return {"batch": float(len(out)), "p50": float(p50), "p99": float(p99)}


def _mpps(packets: int, seconds: list[float]) -> Spread:
    return Spread.of([packets / s / 1e6 for s in seconds])


def _beside(peer: Peer, keys: Keys, answers: Answers, ours: Any, rounds: int, seconds: float) -> PeerResult:
    """Measures a peer: all of its algorithms in a few rounds, then the best of them in turn with flowclass."""
    trace = peer.prepare(keys)
    for name, call in trace.calls.items():
        call()
        if not np.array_equal(trace.answers(), answers[: trace.packets]):
            raise FlowclassError(f"{peer.name}, {name}: gives other answers than flowclass")
    first = alternate(trace.calls, 3, seconds=seconds)
    best = min(first, key=lambda name: min(first[name]))  # the shortest time is the least disturbed one
    pair = alternate({"ours": ours, "theirs": trace.calls[best]}, rounds, seconds=seconds)
    mpps = {name: _mpps(trace.packets, times) for name, times in first.items()}
    mpps[best] = _mpps(trace.packets, pair["theirs"])
    per_packet = [s / len(keys) for s in pair["ours"]], [s / trace.packets for s in pair["theirs"]]
    return PeerResult(peer.name, mpps, best, ratio(*per_packet), peer.build_seconds, peer.bytes)


def measure(
    case: Case,
    *,
    chosen: Sequence[str] = (),
    peer_names: tuple[str, ...] = (),
    rounds: int = 7,
    seconds: float = 0.01,
    notes: list[str] | None = None,
) -> list[LookupResult]:
    """Measures every trace of the case: verifies the answers, then times ``rounds`` alternating rounds.

    In each round, each call is repeated for at least ``seconds``. ``chosen`` are the kernels (default: all that this
    CPU runs). A line for each peer that is missing is appended to ``notes``.
    """
    names = list(chosen) or [name for name, runs in kernels().items() if runs]
    start = time.perf_counter()
    table = Classifier(case.rules)
    build = time.perf_counter() - start
    peers, absent = peers_for(case.rules, peer_names) if peer_names else ([], [])
    if notes is not None:
        notes.extend(line for line in absent if line not in notes)
    results = []
    for trace, (keys, right) in case.traces.items():
        if trace == "worst" and right is None:
            with quiet():
                keys = slowest(table, keys)
        answers, checked = verify(case, trace, keys, table, names)
        out = np.empty(len(keys), np.int32)
        calls = {k: partial(table.classify, keys, out, kernel=k) for k in ("auto", *names)}
        with quiet():
            times = alternate(calls, rounds, seconds=seconds)
            beside = [_beside(peer, keys, answers, calls["auto"], rounds, seconds) for peer in peers]
            latency = _latency(table, keys)
        results.append(
            LookupResult(
                case=case.name,
                trace=trace,
                version=case.version,
                rules=len(case.rules),
                packets=len(keys),
                checked=checked,
                hit_rate=float((answers >= 0).mean()),
                mpps={name: _mpps(len(keys), values) for name, values in times.items()},
                latency_us=latency,
                build_seconds=build,
                bytes_per_rule=table.info["bytes"] / len(case.rules),
                table=table.info,
                peers=beside,
            )
        )
    return results
