"""What does a command take before its first packet, in processor time and by the clock?

    .venv/bin/python benchmarks/first_second.py                          # this installation
    .venv/bin/python benchmarks/first_second.py --than ../old/.venv/bin/python   # in turns with another one

Each command runs in a process of its own, with compiled bytecode there, as after an installation. The figures are the
medians of all rounds. ``--than`` names the interpreter of another installation, whose commands run in the same turns.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.generate.captures import write_pcap


def make_files(folder: Path) -> dict[str, list[str]]:
    """The inputs; returns the arguments of each case."""
    with (folder / "empty.pcap").open("wb") as stream:
        write_pcap(stream, [])
    cases = {"--help": ["--help"], "classify --help": ["classify", "--help"]}
    for name, nodes, flows in (("1 node", 1, 1), ("1 node, 800 flows", 1, 800), ("100 nodes, 800 flows", 100, 8)):
        path = folder / f"{nodes}-{flows}.toml"
        path.write_text(bindings_toml(random_nodes(random.Random(1), nodes, flows)))
        for what in ("classify", "report"):
            more = [] if what == "classify" else ["-o", str(folder / "page.html")]
            cases[f"{what}, {name}"] = [what, str(folder / "empty.pcap"), "--bindings", str(path), *more]
    return cases


def measure(python: str, arguments: Sequence[str], folder: Path) -> tuple[float, float]:
    """Seconds of processor time and by the clock of one command."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [python, "-m", "flowclass", *arguments], env=environment, cwd=folder, stdout=subprocess.DEVNULL, check=True
    )
    clock, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, clock


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--than", metavar="PYTHON", help="an interpreter with another flowclass")
    parser.add_argument("--rounds", type=int, default=11)
    given = parser.parse_args()
    pythons = [sys.executable] if given.than is None else [os.path.abspath(given.than), sys.executable]
    with TemporaryDirectory(prefix="flowclass-") as place:
        folder = Path(place)
        cases = make_files(folder)
        print(
            f"{'ms of processor time (and by the clock)':42}"
            + "".join(f"{n:>20}" for n in ("before", "now")[-len(pythons) :])
        )
        for name, arguments in cases.items():
            times: list[list[tuple[float, float]]] = [[] for _ in pythons]
            for number in range(given.rounds + 1):
                for python, found in zip(pythons, times, strict=True):
                    took = measure(python, arguments, folder)
                    if number:  # the first one compiles the bytecode
                        found.append(took)
            texts = []
            for found in times:
                cpu, clock = (1000 * statistics.median(column) for column in zip(*found, strict=True))
                texts.append(f"{cpu:.0f} ({clock:.0f})")
            print(f"{name:42}" + "".join(f"{text:>20}" for text in texts), flush=True)


if __name__ == "__main__":
    main()
