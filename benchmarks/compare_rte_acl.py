"""flowclass beside DPDK's rte_acl on the rule sets in ../shared/data/rulesets: ratios per set, trace and size class.

    .venv/bin/python benchmarks/compare_rte_acl.py                 # all sets, all traces
    .venv/bin/python benchmarks/compare_rte_acl.py v4_acl1_1k fw1  # sets whose name contains one of these

Both classifiers run in this process, on one pinned processor, from arrays that were prepared before; the answers of
both are checked first. A ratio is the median over rounds in which they take turns, against rte_acl's best algorithm.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from flowclass.bench.lookup import LookupResult, file_case, measure

SETS = Path(__file__).parents[1].parent / "shared" / "data" / "rulesets"
# what each set and the geometric mean of a size class have to reach
TARGETS = {
    (4, "16-256"): (2.0, 3.0),
    (4, "1k"): (1.5, 2.5),
    (4, "10k"): (4.0, 9.0),
    (4, "100k"): (8.0, 16.0),
    (6, "1k"): (2.5, 3.5),
    (6, "10k"): (6.0, 11.0),
    (6, "100k"): (15.0, 22.0),
}


def size_class(result: LookupResult) -> tuple[int, str]:
    """IP version and nominal size, from the set's name; sets of up to 256 rules are one class."""
    size = result.case.rsplit("_", 1)[1]
    return result.version, "16-256" if size in ("16", "64", "256") else size


def line(result: LookupResult) -> str:
    """One row: ours per kernel, the peer's best algorithm, ratio with spread, build and memory of both."""
    ours = "  ".join(f"{result.mpps[k].median:6.1f}" for k in ("scalar", "avx2", "avx512", "auto") if k in result.mpps)
    head = f"{result.case:14} {result.trace:8} {ours}"
    if not result.peers:
        return f"{head}  {'no peer':>30}"
    peer = result.peers[0]
    size = (peer.bytes or 0) / result.rules
    return (
        f"{head}  {peer.mpps[peer.best].median:6.1f} {peer.best:10}"
        f"{peer.ratio.median:6.2f} ({peer.ratio.low:.2f}-{peer.ratio.high:.2f})"
        f"  {result.build_seconds:6.3f} /{peer.build_seconds:7.3f}  {result.bytes_per_rule:6.0f} /{size:7.0f}"
    )


def by_class(results: Iterable[LookupResult]) -> dict[tuple[int, str], list[LookupResult]]:
    """The results that have a peer, by IP version and size class, in their order."""
    classes: dict[tuple[int, str], list[LookupResult]] = defaultdict(list)
    for result in results:
        if result.peers:
            classes[size_class(result)].append(result)
    return {key: classes[key] for key in sorted(classes, key=lambda k: (k[0], k[1].endswith("k"), len(k[1]), k[1]))}


def least_and_mean(results: Sequence[LookupResult]) -> tuple[float, float]:
    """The smallest ratio and the geometric mean over sets and traces."""
    ratios = [result.peers[0].ratio.median for result in results]
    return min(ratios), math.exp(statistics.fmean(map(math.log, ratios)))


def compare(files: Iterable[Path], rounds: int, notes: list[str]) -> Iterator[LookupResult]:
    """Measures the sets in these files, each on its traces."""
    for path in files:
        kinds = [
            k for k in ("corner", "uniform") if path.with_name(path.name.replace(".rules", f".{k}.trace")).exists()
        ]
        yield from measure(file_case(path, kinds, 50_000, 1), peer_names=("rte_acl",), rounds=rounds, notes=notes)


def summary(results: Sequence[LookupResult]) -> list[str]:
    """Per size class: the smallest ratio and the geometric mean, beside what is asked."""
    lines = []
    for key, those in by_class(results).items():
        least, mean = least_and_mean(those)
        asked = TARGETS.get(key)
        verdict = ""
        if asked:
            met = least >= asked[0] and mean >= asked[1]
            verdict = f"  asked {asked[0]:g} and {asked[1]:g}: {'met' if met else 'NOT met'}"
        lines.append(f"IPv{key[0]} {key[1]:>6}: each at least {least:5.2f}, mean {mean:5.2f}{verdict}")
    return lines


def main() -> int:
    """Runs the comparison; 2 when there is nothing to run on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of set names (default: all)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sets", type=Path, default=SETS, help="folder of NAME.rules.gz and NAME.KIND.trace.gz")
    parser.add_argument("--json", type=Path, help="all figures, into this file")
    options = parser.parse_args()
    files = sorted(
        path
        for path in options.sets.glob("*.rules.gz")
        if not options.names or any(name in path.name for name in options.names)
    )
    if not files:
        print(f"no rule sets in {options.sets}", file=sys.stderr)
        return 2
    print("Mpps; build in s and bytes per rule: ours / rte_acl's")
    print(f"{'set':14} {'trace':8} scalar    avx2  avx512    auto  rte_acl best       ratio")
    results: list[LookupResult] = []
    notes: list[str] = []
    for result in compare(files, options.rounds, notes):
        results.append(result)
        print(line(result), flush=True)
    print(*notes, sep="\n")
    print(*summary(results), sep="\n")
    if options.json:
        options.json.write_text(json.dumps([result.as_dict() for result in results], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
