"""Measures captures: nanoseconds per packet for reading, extracting keys, and decisions with a summary or with rows.

tcpdump and libpcap are measured beside them. The processor time of all threads and processes counts, including that of
the system (copies from the page cache).
"""

from __future__ import annotations

import os
import random
import resource
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from flowclass.bench.peers import harness
from flowclass.bench.timing import Spread, quiet, ratio
from flowclass.errors import FlowclassError
from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.generate.captures import Frame, write_pcap
from flowclass.generate.mobility import mobility_trace
from flowclass.generate.traffic import traffic
from flowclass.mobility import HomeAgent, load_bindings
from flowclass.traces.outcomes import Rows
from flowclass.traces.outputs import open_output
from flowclass.traces.reader import Trace
from flowclass.traces.run import Run

__all__ = ["FILTER", "TracesResult", "generated", "generated_traffic", "measure"]

FILTER: Final = "tcp port 22 or tcp port 443 or udp port 53 or udp port 5060 or esp"
"""The filter that tcpdump tests on each packet, while flowclass tries the eight flows of one of a hundred nodes."""
_DISTINCT = 5000  # generated packet by packet in Python; a longer trace repeats these packets
_DECOMPRESS = {".gz": "gzip -dc", ".zst": "zstd -dc", ".xz": "xz -dc", ".bz2": "bzip2 -dc"}
_SUMMARY = "summary"


@dataclass(frozen=True, slots=True)
class TracesResult:
    """The result for one capture file.

    ``nanoseconds`` are processor time per packet for each pass; a pass includes the work of those before it. ``peers``
    are the same for other programs, and include their start. ``wall`` has the elapsed nanoseconds per packet of all.
    ``ratios`` say how many times faster than each peer the summary is, round by round: (processor time, wall time).
    """

    file: str
    packets: int
    octets: int
    nanoseconds: Mapping[str, Spread]
    peers: Mapping[str, Spread]
    wall: Mapping[str, Spread]
    ratios: Mapping[str, tuple[Spread, Spread]]

    def as_dict(self) -> dict[str, Any]:
        """The result as values for JSON."""
        return {
            "file": self.file,
            "packets": self.packets,
            "octets": self.octets,
            "nanoseconds_per_packet": {name: spread.as_dict() for name, spread in self.nanoseconds.items()},
            "peers_nanoseconds_per_packet": {name: spread.as_dict() for name, spread in self.peers.items()},
            "wall_nanoseconds_per_packet": {name: spread.as_dict() for name, spread in self.wall.items()},
            "times_faster_than": {
                name: {"processor": processor.as_dict(), "wall": wall.as_dict()}
                for name, (processor, wall) in self.ratios.items()
            },
        }


@contextmanager
def generated(packets: int, seed: int, *, nodes: int = 100, flows: int = 8) -> Iterator[tuple[Path, Path]]:
    """Yields a capture of at least ``packets`` packets and a bindings file of their nodes; deletes both afterwards."""
    rng = random.Random(seed)
    people = random_nodes(rng, nodes, flows)
    made = [Frame(p.time_ns, p.frame) for p in mobility_trace(rng, people, min(packets, _DISTINCT))]
    with TemporaryDirectory() as folder:
        trace, bindings = Path(folder) / "generated.pcap", Path(folder) / "bindings.toml"
        bindings.write_text(bindings_toml(people))
        with trace.open("wb") as stream:
            write_pcap(stream, (frame for _ in range(-(-packets // len(made))) for frame in made))
        yield trace, bindings


def generated_traffic(
    folder: Path, name: str, packets: int, *, seed: int = 1, snap_length: int = 262144, skew: float = 1.0
) -> tuple[Path, Path]:
    """Writes traffic to 100 nodes with 8 flows each (`generate.traffic`) to ``name`` in ``folder``, and the bindings.

    Returns the paths of both.
    """
    rng = random.Random(seed)
    people = random_nodes(rng, 100, 8)
    trace, bindings = folder / name, folder / f"{name}.toml"
    bindings.write_text(bindings_toml(people))
    connections = max(100, min(50_000, packets // 20))
    with trace.open("wb", buffering=1 << 20) as stream:
        frames = traffic(rng, people, packets, connections=connections, skew=skew)
        write_pcap(stream, frames, snap_length=snap_length)
    return trace, bindings


def _read_again(path: Path) -> None:
    """Reads a file from the disk again, so that the page cache holds it in large pieces.

    Writing leaves small pieces, from which copying takes twice as long (87 instead of 37 ns per 713 octets).
    """
    with path.open("rb", buffering=0) as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while stream.read(1 << 20):
            pass


def _records(path: str) -> int:
    with Trace(path) as trace:
        return sum(map(len, trace.records()))


def _keys(path: str) -> int:
    with Trace(path) as trace:
        return sum(map(len, trace.keys()))


def _summary(path: str, agent: HomeAgent) -> int:
    return Run(agent).classify([path]).packets


def _nothing(rows: Rows) -> None:
    pass


def _decisions(path: str, agent: HomeAgent) -> int:
    return Run(agent, observers=[_nothing]).classify([path]).packets


def _rows(path: str, agent: HomeAgent, output: str) -> int:
    with open_output(output) as writer:
        return Run(agent, writer=writer).classify([path]).packets


def _tools(path: str) -> dict[str, Callable[[], object]]:
    """The peers as calls by name: cat, the decompressor, libpcap's bare loop, and tcpdump with and without a filter.

    For a compressed capture, tcpdump reads the output of the decompressor.
    """
    unpack = _DECOMPRESS.get(os.path.splitext(path)[1])
    quoted = shlex.quote(path)
    source, before = ("-", f"{unpack} {quoted} | ") if unpack else (quoted, "")
    commands = {"cat": f"cat {quoted}"}
    if unpack and shutil.which(unpack.split()[0]):
        commands[unpack.split()[0]] = f"{unpack} {quoted}"
    if shutil.which("tcpdump") and len(commands) == 1 + bool(unpack):
        commands["tcpdump, 5 terms"] = f"{before}tcpdump -r {source} -w /dev/null '{FILTER}'"
        commands["tcpdump"] = f"{before}tcpdump -r {source} -w /dev/null"
    loop = harness("pcap_loop")
    if not unpack and not isinstance(loop, str):
        commands["libpcap loop"] = f"{shlex.quote(loop.program())} {quoted}"
    quiet_run = {"shell": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return {name: partial(subprocess.run, command, **quiet_run) for name, command in commands.items()}


class _Cost(NamedTuple):
    """The seconds that one call took."""

    processor: float
    wall: float


def _processor() -> float:
    """The processor time in seconds of this process with all threads, and of the processes that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _cost(call: Callable[[], object]) -> _Cost:
    processor, wall = _processor(), time.perf_counter()
    call()
    return _Cost(_processor() - processor, time.perf_counter() - wall)


def measure(path: Path, bindings: Path | None, *, rounds: int, peers: bool, parquet: bool = False) -> TracesResult:
    """Measures all passes over a capture in turn, and the peers if wanted.

    Without ``bindings``, packets are only read. The measurement is pinned to one processor, or for compressed captures
    to two, as two processes or threads work at the same time. Raises FlowclassError unless every pass sees the same
    number of packets.
    """
    name = str(path)
    passes: dict[str, Callable[[], int]] = {"read": partial(_records, name), "keys": partial(_keys, name)}
    with TemporaryDirectory() as folder:
        if bindings is not None:
            agent = load_bindings(bindings)
            passes[_SUMMARY] = partial(_summary, name, agent)
            passes["decisions"] = partial(_decisions, name, agent)
            passes["csv rows"] = partial(_rows, name, agent, str(Path(folder) / "rows.csv"))
            if parquet and find_spec("pyarrow"):
                passes["parquet rows"] = partial(_rows, name, agent, str(Path(folder) / "rows.parquet"))
        counts = {what: call() for what, call in passes.items()}
        packets = counts["read"]
        if not packets:
            raise FlowclassError(f"{name}: no packets")
        if set(counts.values()) != {packets}:
            raise FlowclassError(f"{name}: the passes disagree on the number of packets: {counts}")
        tools = _tools(name) if peers else {}
        costs: dict[str, list[_Cost]] = {what: [] for what in (*passes, *tools)}
        with quiet(2 if path.suffix in _DECOMPRESS else 1):
            _read_again(path)
            for _ in range(rounds):
                for what, call in (*passes.items(), *tools.items()):
                    costs[what].append(_cost(call))
    each = {what: Spread.of([c.processor / packets * 1e9 for c in found]) for what, found in costs.items()}
    return TracesResult(
        path.name,
        packets,
        path.stat().st_size,
        {what: each[what] for what in passes},
        {what: each[what] for what in tools},
        {what: Spread.of([c.wall / packets * 1e9 for c in found]) for what, found in costs.items()},
        {what: _ratios(costs[_SUMMARY], costs[what]) for what in tools if _SUMMARY in costs},
    )


def _ratios(ours: list[_Cost], theirs: list[_Cost]) -> tuple[Spread, Spread]:
    return (
        ratio([c.processor for c in ours], [c.processor for c in theirs]),
        ratio([c.wall for c in ours], [c.wall for c in theirs]),
    )
