"""Captures: nanoseconds per packet for reading, for making keys, and for decisions with a row or a summary each."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flowclass.bench.timing import Spread, alternate, quiet
from flowclass.errors import FlowclassError
from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.generate.captures import Frame, write_pcap
from flowclass.generate.mobility import mobility_trace
from flowclass.mobility import HomeAgent, load_bindings
from flowclass.traces.classify import Run
from flowclass.traces.outputs import open_output
from flowclass.traces.reader import Trace

__all__ = ["TracesResult", "generated", "measure"]

_DISTINCT = 5000  # made packet by packet in Python; a longer trace repeats them


@dataclass(frozen=True, slots=True)
class TracesResult:
    """One capture file. ``nanoseconds`` per packet by what is done: each includes what stands before it, but for the
    peers."""

    file: str
    packets: int
    octets: int
    nanoseconds: Mapping[str, Spread]
    peers: Mapping[str, Spread]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "file": self.file,
            "packets": self.packets,
            "octets": self.octets,
            "nanoseconds_per_packet": {name: spread.as_dict() for name, spread in self.nanoseconds.items()},
            "peers_nanoseconds_per_packet": {name: spread.as_dict() for name, spread in self.peers.items()},
        }


@contextmanager
def generated(packets: int, seed: int, *, nodes: int = 100, flows: int = 8) -> Iterator[tuple[Path, Path]]:
    """A capture of at least so many packets, and the bindings file of the nodes that they go to; gone afterwards."""
    rng = random.Random(seed)
    people = random_nodes(rng, nodes, flows)
    made = [Frame(p.time_ns, p.frame) for p in mobility_trace(rng, people, min(packets, _DISTINCT))]
    with TemporaryDirectory() as folder:
        trace, bindings = Path(folder) / "generated.pcap", Path(folder) / "bindings.toml"
        bindings.write_text(bindings_toml(people))
        with trace.open("wb") as stream:
            write_pcap(stream, (frame for _ in range(-(-packets // len(made))) for frame in made))
        yield trace, bindings


def _records(path: str) -> int:
    with Trace(path) as trace:
        return sum(map(len, trace.records()))


def _keys(path: str) -> int:
    with Trace(path) as trace:
        return sum(map(len, trace.keys()))


def _summary(path: str, agent: HomeAgent) -> int:
    return Run(agent).classify([path]).packets


def _rows(path: str, agent: HomeAgent, output: str) -> int:
    with open_output(output) as writer:
        return Run(agent, writer=writer).classify([path]).packets


def _tools(path: str) -> dict[str, Callable[[], object]]:
    """What people have: copying the octets, and tcpdump reading the records (start-up included, uncompressed only)."""
    commands = {"cat": ["cat", path], "tcpdump -w": ["tcpdump", "-r", path, "-w", "/dev/null"]}
    return {
        name: partial(subprocess.run, command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        for name, command in commands.items()
        if shutil.which(command[0])
    }


def measure(path: Path, bindings: Path | None, *, rounds: int, peers: bool) -> TracesResult:
    """Every pass has to see the same number of packets, or FlowclassError. Without bindings nothing is decided."""
    name = str(path)
    passes: dict[str, Callable[[], int]] = {"read": partial(_records, name), "keys": partial(_keys, name)}
    with TemporaryDirectory() as folder:
        if bindings is not None:
            agent = load_bindings(bindings)
            passes["summary"] = partial(_summary, name, agent)
            passes["csv rows"] = partial(_rows, name, agent, str(Path(folder) / "rows.csv"))
        counts = {what: call() for what, call in passes.items()}
        packets = counts["read"]
        if not packets:
            raise FlowclassError(f"{name}: no packets")
        if set(counts.values()) != {packets}:
            raise FlowclassError(f"{name}: the passes disagree on the number of packets: {counts}")
        with quiet():
            times = alternate(passes, rounds, clock=time.perf_counter)
            others = alternate(_tools(name), rounds, clock=time.perf_counter) if peers else {}
    return TracesResult(path.name, packets, path.stat().st_size, _each(times, packets), _each(others, packets))


def _each(times: Mapping[str, Sequence[float]], packets: int) -> dict[str, Spread]:
    return {name: Spread.of([s / packets * 1e9 for s in values]) for name, values in times.items()}
