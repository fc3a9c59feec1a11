"""What happens when things go wrong: provokes each fault and writes the table of docs/reliability.md.

    python tests/support/reliability.py [NAME ...]

runs all faults (or those whose name contains a NAME), prints a line for each, fails if one of them ends otherwise than
it should, and, when all were run, puts the table into docs/reliability.md.
A new fault is a function here, with `@fault`.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: written by tests/support/reliability.py -->\n", "<!-- end of faults -->\n"

FAULTS: dict[str, tuple[str, Callable[[], str]]] = {}


def fault(name: str, expected: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Registers a fault. The function provokes it, asserts that `expected` is what happens, and says how often."""

    def register(run: Callable[[], str]) -> Callable[[], str]:
        FAULTS[name] = (expected, run)
        return run

    return register


def make(target: str) -> str:
    run = subprocess.run(["make", "-s", "-C", str(ROOT / "csrc"), target], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    return run.stdout


def lengths(records: int) -> list[int]:
    return [40 + 13 * i % 97 for i in range(records)]


def pcap(records: int) -> bytes:
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    packet = bytes([0x60, 0, 0, 0, 0, 0, 59, 64]) + bytes.fromhex("20010db8" * 40)
    return header + b"".join(
        struct.pack("<IIII", 1700000000 + i, 7000 * i, n, n) + packet[:n] for i, n in enumerate(lengths(records))
    )


def count(data: bytes) -> tuple[int, int]:
    """Records and damages of a capture."""
    from flowclass.traces import Trace

    with tempfile.NamedTemporaryFile(suffix=".pcap") as file:
        file.write(data)
        file.flush()
        with Trace(file.name) as trace:
            records = sum(len(batch) for batch in trace.records())
            return records, len(trace.damages)


@fault(
    "memory runs out at each allocation of the C library",
    "an error status; what was there answers as before; nothing is leaked",
)
def out_of_memory() -> str:
    failures = re.search(r"oom: ok, (\d+) failures", make("oom"))
    assert failures, "make oom"
    return f"{int(failures[1]):,} allocations failed"


@fault(
    "a process forks while threads publish, insert and look up",
    "the child publishes, inserts, rebuilds, and gives memory back",
)
def fork() -> str:
    make("build/asan/test_fork")
    run = subprocess.run([ROOT / "csrc/build/asan/test_fork"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "fork: ok" in run.stdout
    return "20 forks beside 5 threads"


@fault("a capture ends at any octet", "every whole record is read; the rest is one damage")
def cut() -> str:
    whole = pcap(40)
    ends = [24]
    for n in lengths(40):
        ends.append(ends[-1] + 16 + n)
    for size in range(24, len(whole)):
        records, damages = count(whole[:size])
        assert records == sum(end <= size for end in ends) - 1, size
        assert damages == (size not in ends), size
    return f"{len(whole) - 24:,} lengths"


@fault(
    "a bit of a record's header is wrong",
    "most often nothing is lost; a length that leads to another header by chance swallows what is between",
)
def flipped() -> str:
    whole = bytearray(pcap(30))
    lost = []
    starts = [24 + sum(16 + n for n in lengths(record)) for record in range(30)]
    for record in (0, 1, 15, 29):
        for bit in range(16 * 8):
            at = starts[record] + bit // 8
            whole[at] ^= 1 << bit % 8
            lost.append(30 - count(bytes(whole))[0])
            whole[at] ^= 1 << bit % 8
    assert sum(lost) < len(lost)
    return f"{len(lost)} bits: {lost.count(0)} lose nothing; {max(lost)} of 30 records at most"


@fault("the tail of a preallocated 64 MiB file was never written", "the records, and one damage")
def preallocated() -> str:
    start = time.perf_counter()
    records, damages = count(pcap(1000).ljust(64 << 20, b"\0"))
    assert (records, damages) == (1000, 1)
    return f"1,000 records, {time.perf_counter() - start:.1f} s"


def main(wanted: list[str]) -> int:
    rows, failed = [], 0
    for name, (expected, run) in FAULTS.items():
        if wanted and not any(word in name for word in wanted):
            continue
        try:
            how = run()
        except AssertionError as error:
            how, failed = f"**not so: {error}**", failed + 1
        rows.append(f"| {name} | {expected} | {how} |\n")
        print(rows[-1], end="", flush=True)
    if not wanted and not failed:
        text = PAGE.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        after = rest.partition(END)[2]
        table = "| when | what happens | tried |\n|---|---|---|\n" + "".join(rows)
        PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")
    return failed > 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
