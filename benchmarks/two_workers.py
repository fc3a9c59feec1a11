"""How many times faster are two workers than one process, for many files, for one large file, and for a replay?

    .venv/bin/python benchmarks/two_workers.py                     # all cases, files of 1 GB in all
    .venv/bin/python benchmarks/two_workers.py one_file --rows csv --size 4G --rounds 3

Whole commands are timed, start included, in pairs: one process, two workers, one process, ... Summaries and rows have
to be equal. The ceiling, measured in the same turns, is what the machine gives: two commands of one process each on
half of the files, side by side, against the same two one after the other. The files are in the page cache.

On a machine that others use too both say little. So the last column is from processor time: what one process takes,
against the start of a command (on a trace of one packet) and half of what two workers take on top of that, as if two
processors were there for them. It leaves out that they share memory. (A replay's threads are not equals: none there.)
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from flowclass.bench.timing import Spread, ratio
from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.generate.captures import Frame, write_pcap
from flowclass.generate.mobility import START_NS, mobility_trace
from flowclass.generate.packets import ethernet
from flowclass.generate.updates import update_packets

FILES = 8
CASES = ("many_files", "one_file", "replay")
COMMAND = [sys.executable, "-m", "flowclass", "classify"]


def make_files(folder: Path, case: str, octets: int, snap: int) -> None:
    """Bindings, and what one case reads; many files are one under many names, and the ceiling needs them always."""
    rng = random.Random(1)
    nodes = random_nodes(rng, 100, 8)
    (folder / "bindings.toml").write_text(bindings_toml(nodes))
    frames = [Frame(p.time_ns, p.frame) for p in mobility_trace(rng, nodes, 5000, payload=1400)]
    updates = [Frame(START_NS - 1, ethernet(o)) for node in nodes for o in update_packets(node, lifetime=60_000)]
    header, body = pcap(frames, snap)
    head, first = pcap(updates, 65535)
    (folder / "start.pcap").write_bytes(b"".join(pcap(frames[:1], snap)))
    wanted = {"0.pcap": (header, octets // FILES // len(body))}
    if case == "one_file":
        wanted["one_file.pcap"] = (header, octets // len(body))
    if case == "replay":
        wanted["replay.pcap"] = (head + first, octets // len(body))
    for name, (start, times) in wanted.items():
        with (folder / name).open("wb", buffering=1 << 24) as stream:
            stream.write(start)
            for _ in range(times):
                stream.write(body)
    for number in range(1, FILES):
        (folder / f"{number}.pcap").hardlink_to(folder / "0.pcap")


def pcap(frames: Sequence[Frame], snap: int) -> tuple[bytes, bytes]:
    stream = io.BytesIO()
    write_pcap(stream, frames, snap_length=snap)
    return stream.getvalue()[:24], stream.getvalue()[24:]


def arguments(folder: Path, case: str, part: slice = slice(None)) -> list[str]:
    if case == "replay":
        return [str(folder / "replay.pcap"), "--replay"]
    if case == "start":
        return [str(folder / "start.pcap"), "--bindings", str(folder / "bindings.toml")]
    names = [f"{number}.pcap" for number in range(FILES)][part] if case == "many_files" else ["one_file.pcap"]
    return [*(str(folder / name) for name in names), "--bindings", str(folder / "bindings.toml")]


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(folder: Path, case: str, rows: bool, rounds: int) -> dict[str, Spread]:
    answers: dict[str, tuple[str, str]] = {}
    spent: dict[str, list[float]] = {"one": [], "two": [], "start": []}

    def run(name: str, *more: str) -> None:
        output = folder / f"{name}.csv"
        wanted = ["-o", str(output)] if rows else []
        before = processor_time()
        done = subprocess.run(
            [*COMMAND, *arguments(folder, "start" if name == "start" else case), *wanted, *more, "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        spent[name].append(processor_time() - before)
        if name not in answers:
            with output.open("rb") if rows else io.BytesIO() as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            answers[name] = digest, json.dumps(json.loads(done.stdout) | {"output": None})
        output.unlink(missing_ok=True)

    def halves(side_by_side: bool) -> None:
        children = []
        for part in (slice(0, FILES // 2), slice(FILES // 2, FILES)):
            wanted = ["-o", str(folder / f"half{part.start}.csv")] if rows else []
            command = [*COMMAND, *arguments(folder, "many_files", part), *wanted]
            children.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            if not side_by_side:
                children[-1].wait()
        for child in children:
            child.wait()

    calls: dict[str, Callable[[], object]] = {
        "start": lambda: run("start", "--workers", "2"),
        "one": lambda: run("one"),
        "two": lambda: run("two", "--workers", "2"),
        "apart": lambda: halves(False),
        "together": lambda: halves(True),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):  # the first round is for the page cache
        for name, call in calls.items():
            seconds = timed(call)
            if number:
                times[name].append(seconds)
    if answers["one"] != answers["two"]:
        raise SystemExit(f"{case}: two workers came to something else than one process")
    return {
        "seconds": Spread.of(times["one"]),
        "ratio": ratio(times["two"], times["one"]),
        "ceiling": ratio(times["together"], times["apart"]),
        "processors": Spread.of(
            [one / (start + (two - start) / 2) for one, two, start in zip(*spent.values(), strict=True)][1:]
        ),
    }


def processor_time() -> float:
    """Of commands that have ended, and of their children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def size(text: str) -> int:
    return int(text[:-1]) << {"M": 20, "G": 30}[text[-1]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{', '.join(CASES)}; all of them if not given")
    parser.add_argument("--size", type=size, default=1 << 30, help="of the files together, such as 500M or 4G")
    parser.add_argument("--snap", type=int, default=96, help="octets of each packet; 65535 for full payload")
    parser.add_argument("--rows", choices=("none", "csv"), help="only so; both if not given")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if bad := [case for case in options.cases if case not in CASES]:
        parser.error(f"no case {bad[0]}")
    print(f"{'case':12} rows  one process  two workers          ceiling              by processor time")
    for case in options.cases or CASES:
        with TemporaryDirectory() as name:
            folder = Path(name)
            make_files(folder, case, options.size, options.snap)
            for kind in (options.rows,) if options.rows else ("none", "csv"):
                found = measure(folder, case, kind == "csv", options.rounds)
                columns = ["ratio", "ceiling"] + ["processors"] * (case != "replay")
                told = [f"{s.median:5.2f} ({s.low:.2f} to {s.high:.2f})" for s in (found[name] for name in columns)]
                print(f"{case:12} {kind:4} {found['seconds'].median:8.2f} s   {'  '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
