"""kill -9 of a job at many moments, and the same command again: the output has the octets of an undisturbed run.

    python benchmarks/kill_a_job.py [--times 200]

Each time a job of two workers over one cut trace and one compressed one is killed, its whole process group or the
leading process alone, after a time drawn from how long the job takes; then the command is run to its end. What is
checked: no output before the end; the output's octets and the summary are right; nothing is left beside them. Prints
one row for docs/reliability.md.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.generate.captures import Frame, write_pcap
from flowclass.generate.mobility import mobility_trace


def make_input(folder: Path, seed: int) -> None:
    """b.toml, large.pcap (cut into parts) and small.pcap.gz."""
    rng = random.Random(seed)
    nodes = random_nodes(rng, 5, 6)
    (folder / "b.toml").write_text(bindings_toml(nodes))
    frames = [Frame(p.time_ns, p.frame) for p in mobility_trace(rng, nodes, 3000)]
    with (folder / "large.pcap").open("wb") as stream:
        write_pcap(stream, frames * 60)
    with gzip.open(folder / "small.pcap.gz", "wb") as packed:
        write_pcap(packed, frames * 5)  # type: ignore[arg-type]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng, bad, resumed, finished = random.Random(options.seed), list[str](), 0, 0
    with tempfile.TemporaryDirectory(prefix="flowclass-") as made:
        folder = Path(made)
        make_input(folder, options.seed)
        before = sorted(os.listdir(folder))
        command = [sys.executable, "-m", "flowclass", "classify", "large.pcap", "small.pcap.gz", "--bindings", "b.toml"]
        command += ["-o", "rows.csv", "--json", "--workers", "2", "--part-size", "1M"]
        out = folder / "rows.csv"
        began = time.perf_counter()
        right = json.loads(subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout)
        takes, octets = time.perf_counter() - began, out.read_bytes()
        out.unlink()
        for number in range(options.times):
            child = subprocess.Popen(
                command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
            time.sleep(rng.uniform(0, 1.05 * takes))
            (os.killpg if number % 2 else os.kill)(child.pid, signal.SIGKILL)
            child.wait()
            finished += child.returncode == 0
            if out.exists() and out.read_bytes() != octets:
                bad.append(f"{number}: an output that is not whole")
            resumed += bool(list((folder / ".rows.csv.parts").glob("*.result")))
            deadline = time.monotonic() + 60
            while True:
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
                if "another run is making it" not in done.stderr or time.monotonic() > deadline:
                    break
                time.sleep(0.05)  # workers whose parent was killed end within moments
            if done.returncode or out.read_bytes() != octets or json.loads(done.stdout) != right:
                bad.append(f"{number}: status {done.returncode}: {done.stderr.strip()}")
            out.unlink(missing_ok=True)
            if sorted(os.listdir(folder)) != before:
                bad.append(f"{number}: left: {sorted(set(os.listdir(folder)) - set(before))}")
    for line in bad:
        print(line, file=sys.stderr)
    what = f"kill -9 of a job of two workers at {options.times} moments, then the same command again"
    result = "the octets of an undisturbed run each time, nothing left over" if not bad else f"{len(bad)} wrong"
    print(f"| {what} | {result}; {resumed} went on with parts that were done, {finished} had finished |")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
