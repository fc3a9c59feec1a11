"""How much processor time does a packet of a capture take, from the file to the summary, beside tcpdump and libpcap?

    .venv/bin/python benchmarks/compare_traces.py                            # 100 MB of packets, 20 MB of headers
    FLOWCLASS_BENCH_LARGE=1 .venv/bin/python benchmarks/compare_traces.py    # 1 GB and 200 MB

Generated traffic to 100 mobile nodes with 8 flows each: a capture with whole packets, one cut at 96 octets, the latter
compressed with gzip and zstd too, and one more in which no connection is larger than another. The answers are compared
first: every pass has to find every packet, and the summary has to be that of the rows. Start-up counts for the peers
only (some milliseconds). The last lines are the memory of whole commands.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from flowclass.bench.machine import describe
from flowclass.bench.traces import TracesResult, generated_traffic, measure
from flowclass.mobility import load_bindings
from flowclass.traces.run import Run

LARGE = os.environ.get("FLOWCLASS_BENCH_LARGE", "") not in ("", "0")
SCALE = 1.0 if LARGE else 0.1
# name -> packets, captured octets of each at most, skew of connections' sizes; compressed ones are made of others
CAPTURES = {
    "full.pcap": (1_400_000, 262_144, 1.0),
    "snap96.pcap": (1_800_000, 96, 1.0),
    "even96.pcap": (1_800_000, 96, 0.0),
    "snap96.pcap.gz": (0, 0, 0.0),
    "snap96.pcap.zst": (0, 0, 0.0),
}
PACKERS = {"gz": ["gzip", "-6"], "zst": ["zstd", "-q", "-3", "--rm"]}
# at most this share of a peer's processor time: (capture, peer) -> share
TARGETS = {
    ("full.pcap", "tcpdump, 5 terms"): 0.35,
    ("full.pcap", "libpcap loop"): 1.0,
    ("snap96.pcap", "tcpdump, 5 terms"): 0.45,
    ("snap96.pcap", "libpcap loop"): 1.0,
    ("snap96.pcap.gz", "tcpdump, 5 terms"): 1 / 1.6,
}


def check(trace: Path, bindings: Path) -> None:
    """The summary, counted in C, against that of the rows."""
    agent = load_bindings(bindings)
    alone, of_rows = (Run(agent, observers=o).classify([str(trace)]).to_dict() for o in ([], [lambda rows: None]))
    assert alone == of_rows, trace


def lines(result: TracesResult) -> list[str]:
    out = [f"{result.file}: {result.packets} packets, {result.octets} octets; ns of processor time a packet, wall"]
    for name, spread in {**result.nanoseconds, **result.peers}.items():
        line = f"  {name:20}{spread.median:8.1f} ({spread.low:.1f}-{spread.high:.1f}) {result.wall[name].median:8.1f}"
        if name in result.ratios:
            processor, wall = result.ratios[name]
            target = TARGETS.get((result.file, name))
            line += f"   summary / this {1 / processor.median:.2f} ({1 / processor.high:.2f}-{1 / processor.low:.2f}"
            line += f", at most {target:.2f} wanted)" if target else ")"
            line += f", wall {1 / wall.median:.2f}"
        out.append(line)
    return out


def memory(trace: Path, bindings: Path) -> int:
    """Most resident octets of `flowclass classify`: VmHWM, as ru_maxrss begins with that of the process that forked."""
    code = """if True:
        import sys
        from flowclass.cli import main
        assert main(sys.argv[1:]) == 0
        line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
        print(line.split()[1], file=sys.stderr)"""
    command = [sys.executable, "-c", code, "classify", str(trace), "--bindings", str(bindings), "--json"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    return int(done.stderr) * 1024


def make(name: str, folder: Path) -> tuple[Path, Path] | None:
    """A capture and its bindings; None without the program that compresses it."""
    stem, _, ending = name.rpartition(".")
    if ending in PACKERS:
        if not shutil.which(PACKERS[ending][0]):
            return None
        made = make(stem, folder)
        assert made is not None
        subprocess.run([*PACKERS[ending], str(made[0])], check=True)
        return folder / name, made[1]
    packets, snap_length, skew = CAPTURES[name]
    return generated_traffic(folder, name, int(packets * SCALE), snap_length=snap_length, skew=skew)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("captures", nargs="*", metavar="NAME", help=f"of {', '.join(CAPTURES)} (all)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", help="all figures, with their spread")
    arguments = parser.parse_args()
    results, used = [], {}
    with TemporaryDirectory() as folder:
        for name in arguments.captures or CAPTURES:
            made = make(name, Path(folder))
            if made is None:
                print(f"{name}: no program makes it", file=sys.stderr)
                continue
            trace, bindings = made
            check(trace, bindings)
            results.append(
                measure(trace, bindings, rounds=arguments.rounds, peers=True, parquet=trace.suffix == ".pcap")
            )
            print("\n".join(lines(results[-1])), flush=True)
            used[name] = memory(trace, bindings)
            print(f"  flowclass classify: {used[name] / 1e6:.0f} MB at most")
            trace.unlink()
    machine = describe()
    print(f"{machine['processor']}, {machine['processors']} processors, {machine['system']}")
    if arguments.json:
        document = {"machine": machine, "results": [r.as_dict() for r in results], "memory": used}
        Path(arguments.json).write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
