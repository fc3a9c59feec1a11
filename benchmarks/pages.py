"""Measures anew what docs/scaling.md and docs/benchmarks.md show of look-ups, nodes and single packets.

It writes the figures, with the machine and the day, and the pictures into these pages:

    .venv/bin/python benchmarks/pages.py                  # all parts, one after the other
    .venv/bin/python benchmarks/pages.py nodes packet     # some of them

    scaling   pictures and tables of 16 rules to a million, beside rte_acl and linear search (10 minutes)
    sets      the table of the rule sets in ../shared/data/rulesets beside rte_acl (15 minutes)
    nodes     picture and table of mobile nodes (3 minutes)
    packet    the table of one packet from Python (10 seconds)

rte_acl needs `apt install libdpdk-dev pkg-config`, `packet` the extra `test`. In a page a part stands between the lines
`<!-- measured: NAME -->` and `<!-- end of NAME -->`; what else is in the page stays.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import compare_rte_acl

from flowclass.bench.machine import describe

HERE = Path(__file__).parent
RULES = ("16", "64", "256", "1k", "4k", "16k", "100k", "1M")
NODES = ("1k", "10k", "100k", "1M")
FLOWS = ("1", "64", "100", "1000")  # of a single node
PEERS_UP_TO = "100k"  # rules; rte_acl's build of a million takes many minutes
SEED = 1


@dataclass(frozen=True)
class Run:
    """Where the pages are, and how much is measured."""

    docs: Path
    rounds: int
    quick: bool
    sets: Path

    def put(self, page: str, part: str, text: str) -> None:
        """Puts the text between a part's two lines in a page."""
        path = self.docs / page
        old = path.read_text(encoding="utf-8")
        marks = (f"<!-- measured: {part} -->\n", f"<!-- end of {part} -->\n")
        pattern = re.escape(marks[0]) + "(?s:.*?)" + re.escape(marks[1])
        new, n = re.subn(pattern, lambda _: f"{marks[0]}\n{text}\n\n{marks[1]}", old)
        if n != 1:
            raise SystemExit(f"{path}: expected one part {marks[0].strip()} to {marks[1].strip()}, found {n}")
        path.write_text(new, encoding="utf-8")

    def bench(self, *words: str) -> tuple[str, list[dict[str, Any]]]:
        """One `flowclass bench` with seed and rounds: the command as a page shows it, and its results."""
        words = (*words, "--rounds", str(self.rounds), "--seed", str(SEED))
        command = "flowclass bench " + " ".join(w.removeprefix(f"{self.docs}/figures/") for w in words)
        print("$", command, flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "flowclass", "bench", *words, "--json"], check=True, stdout=subprocess.PIPE
        )
        return command, json.loads(done.stdout)["results"]

    def facts(self, *more: str) -> str:
        """A sentence about machine and day."""
        machine: dict[str, Any] = describe()
        load = os.getloadavg()[0]
        parts = (
            f"{datetime.now(UTC):%d %B %Y}".lstrip("0"),
            f"{machine['processor']}, {machine['processors']} processors (load average {load:.1f})",
            f"{machine['system']}, Python {machine['python']}, kernel {machine['kernels'][-1]} unless another is named",
            *more,
            f"medians of {self.rounds} rounds",
        )
        return f"Measured on {'; '.join(parts)}."


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its first column left and the others right."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def three(value: float) -> str:
    """A number with three digits or so that count."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3 if value >= 0.1 else 4
    return f"{value:.{digits}f}"


def span(values: Iterable[float], form: Callable[[float], str] = three) -> str:
    """The lowest and the highest."""
    low, high = form(min(values := list(values))), form(max(values))
    return low if low == high else f"{low}-{high}"


def wrapped(command: str) -> str:
    """A command in lines of at most 100 columns, as a code block."""
    lines = [""]
    for word in re.split(r" (?=--)", command):
        if len(lines[-1]) + len(word) > 96:
            lines.append("   ")
        lines[-1] += f"{' ' if lines[-1] else ''}{word}"
    return "\n".join(f"    {line}" for line in " \\\n".join(lines).splitlines())


# ---- From 16 rules to a million -------------------------------------------------------------------------------------


def scaling(run: Run) -> None:
    """The three pictures of docs/scaling.md, and their figures."""
    sizes = ("16", "64") if run.quick else RULES
    pictures = {name: run.docs / "figures" / f"scaling_{name}.svg" for name in ("rate", "build", "memory")}
    command, results = run.bench(
        *("lookup", "--ip", "4", "--ip", "6", "--family", "acl"),
        *(word for size in sizes for word in ("--size", size)),
        *("--packets", "1k" if run.quick else "50k", "--peers-up-to", PEERS_UP_TO),
        *("--plot", str(pictures["rate"]), "--plot-build", str(pictures["build"])),
        *("--plot-memory", str(pictures["memory"])),
    )
    checked = ", ".join(
        f"{r['answers_checked']:,} at {r['rules']:,}"
        for r in results
        if r["version"] == 4 and r["answers_checked"] < r["packets"]
    )
    about = run.facts(f"seed {SEED}", f"{results[0]['packets']:,} packets to a call", "one thread")
    text = f"{wrapped(command)}\n\n{about} Of the answers, linear search checked all"
    run.put("scaling.md", "scaling", f"{text}{f', but {checked} rules' if checked else ''}.")
    figures: dict[str, Callable[[dict[str, Any], dict[str, Any] | None], float | None]] = {
        "rate": lambda r, p: r["mpps"]["auto"]["median"] if p is None else p["mpps"][p["best"]]["median"],
        "build": lambda r, p: (r if p is None else p)["build_seconds"] or None,
        "memory": lambda r, p: r["bytes_per_rule"] if p is None else p["bytes"] and p["bytes"] / r["rules"],
    }
    says = {"rate": "Million packets per second", "build": "Seconds for a build", "memory": "Octets of memory a rule"}
    for name, figure in figures.items():
        head = (
            f"```{{image}} figures/scaling_{name}.svg\n:class: picture\n:alt: {says[name]} over the number of rules: "
        )
        text = f"{head}the figures of the table below.\n```\n\n{says[name]}:\n\n{_by_size(results, figure)}"
        if name == "rate":
            text += f"\n\n{_times(results)}"
        run.put("scaling.md", name, text)


def _by_size(
    results: Sequence[dict[str, Any]],
    figure: Callable[[dict[str, Any], dict[str, Any] | None], float | None],
) -> str:
    """A row for each number of rules, a column for each classifier and IP version that has figures."""
    columns: dict[str, dict[int, str]] = {}
    for r in results:
        for peer in (None, *r["peers"]):
            value = figure(r, peer)
            if value:
                label = f"{'flowclass' if peer is None else peer['name'].split(' 2')[0]}, IPv{r['version']}"
                columns.setdefault(label, {})[_nominal(r)] = three(value)
    sizes = sorted({size for column in columns.values() for size in column})
    rows = ([f"{size:,}", *(column.get(size, "") for column in columns.values())] for size in sizes)
    return table(["rules", *columns], rows)


def _nominal(result: dict[str, Any]) -> int:
    """The number of rules that was asked for: a set may have a few less."""
    return int(str(result["set"]).rpartition("_")[2])


def _times(results: Sequence[dict[str, Any]]) -> str:
    """How many times as fast as rte_acl, in small sets and in the largest."""
    times: dict[int, list[float]] = {}
    for r in results:
        for peer in r["peers"]:
            if peer["name"].startswith("rte_acl"):
                times.setdefault(_nominal(r), []).append(peer["ratio"]["median"])
    if not times:
        return "rte_acl is not installed on this machine."
    small = [value for size, values in times.items() if size <= 1000 for value in values]
    largest = max(times)
    return (
        f"flowclass is {span(small)} times as fast as rte_acl up to 1,000 rules, and {span(times[largest])} times at"
        f" {largest:,} (medians of paired rounds)."
    )


# ---- Rule sets of ClassBench's kinds --------------------------------------------------------------------------------


def sets(run: Run) -> None:
    """The table of docs/benchmarks.md beside rte_acl."""
    files = sorted(run.sets.glob("*_64.rules.gz" if run.quick else "*.rules.gz"))
    if not files:
        print(f"sets: left out, no rule sets in {run.sets}", file=sys.stderr)
        return
    results = []
    for result in compare_rte_acl.compare(files, run.rounds, []):
        results.append(result)
        print(compare_rte_acl.line(result), flush=True)
    rows = []
    for (version, size), those in compare_rte_acl.by_class(results).items():
        least, mean = compare_rte_acl.least_and_mean(those)
        asked = compare_rte_acl.TARGETS.get((version, size))
        peers = [r.peers[0] for r in those]
        rows.append([
            f"IPv{version} {size}",
            str(len({r.case for r in those})),
            span(r.mpps["auto"].median for r in those),
            span(p.mpps[p.best].median for p in peers),
            f"{least:.2f}",
            f"{mean:.2f}",
            f"{asked[0]:g} and {asked[1]:g}" if asked else "",
            f"{span(r.build_seconds for r in those)} / {span(p.build_seconds for p in peers)}",
            f"{span((r.bytes_per_rule for r in those), '{:.0f}'.format)} /"
            f" {span(((p.bytes or 0) / r.rules for r, p in zip(those, peers, strict=True)), '{:.0f}'.format)}",
        ])  # fmt: skip
    heads = (
        *("rules", "sets", "flowclass", "rte_acl", "ratio: each at least", "mean", "asked"),
        *("build in s, flowclass / rte_acl", "octets a rule, flowclass / rte_acl"),
    )
    packets = span((r.packets for r in results), "{:,}".format)
    about = run.facts("the sets' own corner and uniform traces", f"{packets} packets to a call", "one thread")
    run.put("benchmarks.md", "sets", f"{about}\n\n{table(heads, rows)}")


# ---- Mobile nodes, and one packet -----------------------------------------------------------------------------------


def nodes(run: Run) -> None:
    """The picture and the table of docs/benchmarks.md about mobile nodes."""
    common = ("--packets", "1k" if run.quick else "200k", "--no-peers")
    sizes = ("10", "100") if run.quick else NODES
    picture = ("--plot", str(run.docs / "figures" / "nodes.svg"))
    command, results = run.bench("nodes", *(w for n in sizes for w in ("--nodes", n)), *common, *picture)
    commands = [wrapped(command)]
    for flows in FLOWS[:1] if run.quick else FLOWS:
        command, one = run.bench("nodes", "--nodes", "1", "--flows", flows, flows, *common)
        commands.append(wrapped(command))
        results += one
    names = {"avx512": "AVX-512", "avx2": "AVX2", "neon": "NEON", "scalar": "portable"}
    kernels = [name for name in names if name in results[0]["mpps"]]
    heads = (
        *("nodes", "flows a node", *(names[name] for name in kernels)),
        *("octets a node", "load in s", "publish in us, median / 99 %", "a reader beside it keeps"),
    )
    rows = (
        [
            f"{r['nodes']:,}",
            f"{r['flows_per_node']:.0f}",
            *(three(r["mpps"][name]["median"]) for name in kernels),
            f"{r['bytes_per_node']:,.0f}",
            three(r["load_seconds"]),
            f"{r['publish_us']['p50']:.1f} / {r['publish_us']['p99']:.1f}",
            f"{r['reader_ratio']['median']:.2f}",
        ]
        for r in results
    )
    about = run.facts(f"seed {SEED}", f"{results[0]['packets']:,} packets to a call", "one thread")
    shown = (
        "```{image} figures/nodes.svg\n:class: picture\n"
        ":alt: Million packets per second over the number of mobile nodes, by kernel: the table below.\n```"
    )
    run.put("benchmarks.md", "nodes", "\n\n".join(["\n".join(commands), about, shown, table(heads, rows)]))


def packet(run: Run) -> None:
    """The table of docs/benchmarks.md about one packet from Python."""
    calls = {  # of test_one_packet.py: what a reader sees, and what is asked in ns
        "test_one_packet[classify_one]": ("`classify_one`: an integer", "150"),
        "test_one_packet[decide_one]": ("`decide_one`: a `Decision`", "400"),
        "test_one_packet[classify]": ("`classify` of a list of one", ""),
        "test_care_of[packed_care_of]": ("`packed_care_of`", "150"),
        "test_care_of[care_of]": ("`care_of`: as `ipaddress` objects", ""),
        "test_a_batch_of_64": ("`classify` of a list of 64, a packet", "20 above the next row"),
        "test_the_cost_in_c": ("a large batch that was joined before, a packet", ""),
    }
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        seconds = "0.01" if run.quick else "1"
        command = [sys.executable, "-m", "pytest", "-q", str(HERE / "test_one_packet.py"), f"--benchmark-json={found}"]
        print("$ pytest benchmarks/test_one_packet.py", flush=True)
        subprocess.run([*command, f"--benchmark-max-time={seconds}"], check=True, stdout=subprocess.DEVNULL)
        measured = {b["name"]: b for b in json.loads(found.read_text())["benchmarks"]}
    rows = [
        [text, f"{measured[name]['stats']['median'] * 1e9 / measured[name]['extra_info']['packets']:.0f}", asked]
        for name, (text, asked) in calls.items()
    ]
    machine = run.facts().partition("; medians")[0]
    about = f"    .venv/bin/pytest benchmarks/test_one_packet.py\n\n{machine}. Medians."
    run.put("benchmarks.md", "packet", f"{about}\n\n{table(('call of a `HomeAgent`', 'ns', 'asked, at most'), rows)}")


PARTS: dict[str, Callable[[Run], None]] = {"packet": packet, "nodes": nodes, "scaling": scaling, "sets": sets}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs", help="the folder of the pages")
    parser.add_argument("--sets", type=Path, default=compare_rte_acl.SETS, help="folder of NAME.rules.gz")
    parser.add_argument("--quick", action="store_true", help="a few small sizes, to see that it works: no measurement")
    options = parser.parse_args()
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"{part}: expected {', '.join(PARTS)}")
    run = Run(options.docs, options.rounds, options.quick, options.sets)
    for part in options.parts or PARTS:
        PARTS[part](run)


if __name__ == "__main__":
    main()
