"""What happens when things go wrong: provokes each fault and writes the table of docs/reliability.md.

    python tests/support/reliability.py [NAME ...]

runs all faults (or those whose name contains a NAME), prints a line for each, fails if one of them ends otherwise than
it should, and puts the lines into the table of docs/reliability.md. All of them take some 20 minutes.
A new fault is a function here, with `@fault`.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: written by tests/support/reliability.py -->\n", "<!-- end of faults -->\n"

COMMAND = [sys.executable, "-m", "flowclass"]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ENDINGS = (".csv", ".jsonl", ".arrow", ".parquet")

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


@contextmanager
def workplace(packets: int) -> Iterator[Path]:
    """A folder with b.toml and t.pcap."""
    with tempfile.TemporaryDirectory(prefix="flowclass-") as made:
        folder = Path(made)
        (folder / "b.toml").write_text(
            '[[node]]\nhome_address = "2001:db8::20"\n[[node.care_of]]\nbid = 1\naddress = "2001:db8:a::1"\n'
        )
        (folder / "t.pcap").write_bytes(pcap(packets))
        yield folder


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


# runs a command again and again, each time in a forked child whose disk is full from another write on
FULL_DISK = """
import ctypes, json, os, sys
from flowclass.cli import classify, main, report, split
from flowclass.traces import arrow, connections, outputs, packet_files
from flowclass.traces.workers import jobs, pools
import pyarrow.parquet
disk = ctypes.CDLL(None)
disk.full_disk_begin.argtypes = [ctypes.c_long]
disk.full_disk_writes.restype = ctypes.c_long
number = 1
while True:
    disk.full_disk_begin(number)
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.dup2(write, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(main(sys.argv[1:]))
    os.close(write)
    with open(read) as stream:
        said = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    failed = disk.full_disk_writes() >= number
    print(json.dumps([number, failed, status, said]), flush=True)
    if not failed or sys.stdin.readline() != "on\\n":
        break
    number += 1
"""


def full_disk(library: Path, folder: Path, command: list[str], names: str) -> int:
    """Runs a command with a disk that is full from each of its writes on; returns how many writes it makes."""
    env = os.environ | {"LD_PRELOAD": str(library), "TMPDIR": str(folder / "tmp"), "OPENBLAS_NUM_THREADS": "1"}
    before = listing(folder)
    with subprocess.Popen(
        [sys.executable, "-Bc", FULL_DISK, *command],
        cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        for line in child.stdout:
            number, failed, status, said = json.loads(line)
            if not failed:
                assert status == 0, (command, said)
                return int(number) - 1
            what = (command, number, status, said)
            assert status == 2, what
            assert len(said.splitlines()) == 1, what
            assert names in said, what
            assert names == "" or "No space left on device" in said, what
            assert listing(folder) == before, (*what, list(listing(folder)))
            child.stdin.write("on\n")
            child.stdin.flush()
    raise AssertionError(f"{command}: ended early")


@fault(
    "the disk is full at each write: rows in every format, compressed or not, by one process or two workers with their"
    " own files; `--by`, `--write`, `report`, `split`",
    "status 2 and one line that names the output; an older output is as it was; nothing is left over",
)
def disk_full() -> str:
    writes = 0
    with workplace(40_000) as folder, tempfile.TemporaryDirectory() as built:
        library = Path(built) / "full_disk.so"
        source = ROOT / "tests" / "support" / "full_disk.c"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        (folder / "tmp").mkdir()
        read, workers = ["t.pcap", "--bindings", "b.toml"], ["--workers", "2", "--part-size", "1M"]
        commands = [(["classify", *read, *workers], "")]
        for ending in ENDINGS:
            (folder / f"rows{ending}").write_text("an older output")
            command = ["classify", *read, "-o", f"rows{ending}"]
            commands += [(command, f"rows{ending}"), ([*command, *workers], f"rows{ending}")]
        for name, what in (
            ("rows.csv.gz", ["-o"]),
            ("rows.jsonl.zst", ["-o"]),
            ("part.pcapng", ["--write"]),
            ("part.pcap.gz", ["--write"]),
            ("both.pcapng", ["-o", "rows.csv", "--write"]),
            *((f"connections{ending}", ["--by", "5-tuple", "-o"]) for ending in ENDINGS),
        ):
            (folder / name).write_text("an older output")
            commands += [(["classify", *read, *what, name], "" if "rows.csv" in what else name)]
        (folder / "page.html").write_text("an older output")
        (folder / "links").mkdir()
        commands += [(["report", *read, "-o", "page.html"], "page.html")]
        for form in ("pcapng", "pcap.gz"):
            commands += [(["split", *read, "-o", "links", "--by", "action", "--format", form], "links")]
        older = listing(folder)
        for command, names in commands:
            writes += full_disk(library, folder, command, names)
            for path in sorted(folder.rglob("*"), reverse=True):  # what the last run, without a fault, has made
                if path.is_file() and str(path.relative_to(folder)) not in older:
                    path.unlink()
            for name, content in older.items():
                if (folder / name).is_file():
                    (folder / name).write_bytes(content)
    return f"{writes} writes of {len(commands)} commands failed"


def interrupted(folder: Path, what: Sequence[str], made: Sequence[str], signals: Sequence[int], *, waits: bool) -> None:
    """Signals to a command that reads from a pipe, when it has taken all that was in it (or at once).

    ``what`` is the command's name and how it writes the outputs ``made``.
    """
    command = [*COMMAND, what[0], "-", "--bindings", "b.toml", *what[1:], "--json"]
    before = listing(folder)
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in SIGNALS] and None,
    ) as child:  # fmt: skip
        assert child.stdin is not None
        if waits:
            child.stdin.write((folder / "t.pcap").read_bytes()[:-7])
            child.stdin.flush()
            deadline = time.monotonic() + 60
            while fcntl.ioctl(child.stdin, termios.FIONREAD, bytes(4)) != bytes(4):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        for number in signals:
            child.send_signal(number)
        out, said = child.communicate(timeout=60)
    new = {name: content for name, content in listing(folder).items() if name not in before}
    if not waits:  # before the command has begun, a signal simply ends it
        # the interpreter itself may not have begun yet
        assert child.returncode in (130, *(-number for number in signals)) or b"init_sys_streams" in said, said
        assert not out or json.loads(out)["packets"] == 0, out
        remove(folder, new)
        return
    # a second signal may come when the handlers are gone, as everything is done
    assert child.returncode == 130 or (len(signals) > 1 and child.returncode == -signals[1]), said
    assert b"Traceback" not in said, said
    if out:
        summary = json.loads(out)
        assert (summary["interrupted"], summary["packets"]) == (True, 499), (command, summary)
        assert list(new) == list(made)
    else:  # the second signal came before the end
        assert len(signals) > 1
        assert not new, new
    remove(folder, new)


def remove(folder: Path, names: Iterable[str]) -> None:
    for name in sorted(names, reverse=True):
        path = folder / name
        path.rmdir() if path.is_dir() else path.unlink()


@fault(
    "SIGINT, SIGTERM or SIGHUP, once or twice, while `classify` (rows, `--by`, `--write`) or `split` waits for more of"
    " a pipe, or begins",
    "once: status 130, with the summary, the rows and the packets of every whole record so far; twice: the same,"
    " or at once and nothing",
)
def interrupts() -> str:
    tried = 0
    with workplace(500) as folder:
        commands = [(["classify", "-o", f"rows{ending}"], [f"rows{ending}"]) for ending in ENDINGS]
        commands += [
            (["classify", "-o", "rows.csv.gz", "--write", "part.pcapng"], ["part.pcapng", "rows.csv.gz"]),
            (["classify", "--by", "5-tuple", "-o", "rows.csv"], ["rows.csv"]),
            (["split", "--by", "action", "-o", "links"], ["links", "links/none.pcapng"]),
        ]
        for what, made in commands:
            for number in SIGNALS:
                for signals in ([number], [number, number], [number, signal.SIGINT]):
                    interrupted(folder, what, made, signals, waits=True)
                    tried += 1
                interrupted(folder, what, made, [number], waits=False)
                tried += 1
    return f"{tried} times"


def other_file(trace: Path) -> None:
    about, other = trace.stat(), trace.with_name("other")
    other.write_bytes(trace.read_bytes())
    os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
    other.replace(trace)


def overwritten(trace: Path) -> None:
    before = trace.stat().st_mtime_ns
    trace.write_bytes(trace.read_bytes()[:-1] + b"x")
    os.utime(trace, ns=(before + 1, before + 1))


def emptied_and_filled(trace: Path) -> None:
    trace.write_bytes(pcap(1) + trace.read_bytes()[24:])


def cut_short(trace: Path) -> None:
    os.truncate(trace, trace.stat().st_size - 1)


def appended(trace: Path) -> None:
    with trace.open("ab") as stream:
        stream.write(pcap(2)[24:])


@fault(
    "a trace is replaced, overwritten, emptied and filled again, or cut between any two parts; or is appended to",
    "replaced: one line, nothing is left over; appended to: the result is that of the octets at the beginning",
)
def replaced() -> str:
    from traces_kit import Here

    from flowclass.errors import CaptureError
    from flowclass.mobility.bindings_file import read_bindings
    from flowclass.traces.workers.jobs import Job, parts_folder, run_job

    class Meddling(Here):
        """A pool before whose call number ``at`` something happens to the trace."""

        at, calls = 0, 0

        def submit(self, call: bytes) -> Future[bytes]:
            self.calls += 1
            if self.calls == self.at:
                meddle(trace)
            return super().submit(call)

    tried = 0
    with workplace(100) as folder:
        trace, out = folder / "t.pcap", folder / "rows.csv"
        data, before = trace.read_bytes(), sorted(os.listdir(folder))
        job = Job(read_bindings(folder / "b.toml"), 0, ".csv")
        pool = Meddling()
        pool.ahead = 100  # all units before the first text
        run_job(job, [str(trace)], str(out), parts_folder(str(out)), pool, part_size=2000)
        right = out.read_bytes()
        units = len(pool.done)
        for meddle in (other_file, overwritten, emptied_and_filled, cut_short, appended):
            for at in range(1, units + 1):
                trace.write_bytes(data)
                out.unlink(missing_ok=True)
                pool = Meddling()
                pool.at, pool.ahead = at, 100
                try:
                    summary = run_job(job, [str(trace)], str(out), parts_folder(str(out)), pool, part_size=2000)
                except CaptureError as error:
                    said = str(error)
                    assert meddle is not appended, at
                    assert "was replaced or overwritten while it was read" in said
                    assert sorted(os.listdir(folder)) == before, at
                else:
                    assert meddle is appended, (meddle, at)
                    assert out.read_bytes() == right, at
                    assert summary.files[0].read_to in (len(data), None), at  # None: after the last part was done
                tried += 1
    return f"{tried} times"


@fault(
    "kill -9 of a job of two workers (the process alone, or with its workers), then the same command again",
    "the octets of an undisturbed run, nothing left over",
)
def killed() -> str:
    command = [sys.executable, ROOT / "benchmarks" / "kill_a_job.py", "--times", "200"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = re.search(r"at (\d+) moments.*; (\d+) went on with parts that were done, (\d+) had finished", run.stdout)
    assert found, run.stdout
    return f"{found[1]} moments; {found[2]} went on with parts that were done, {found[3]} had finished"


@fault(
    "144 MB that are damage alone, 12 million places", "the first 1,000 are kept, the rest counted; less than 100 MB"
)
def damage_flood() -> str:
    bad = struct.pack("<III", 6, 12, 12)  # an enhanced packet block that is too short to be one
    head = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    with workplace(0) as folder:
        with (folder / "t.pcapng").open("wb") as stream:
            stream.write(head + struct.pack("<IIHHII", 1, 20, 1, 0, 0, 20))
            for _ in range(120):
                stream.write(bad * 100_000)
        code = (
            "from pathlib import Path\nfrom flowclass.cli import main\n"
            "assert main(['classify', 't.pcapng', '--bindings', 'b.toml']) == 1\n"
            "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
        )
        run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert "11 999 990 more damaged places" in run.stderr, run.stderr
    megabytes = int(run.stdout.split()[-1]) // 1000
    assert megabytes < 100
    return f"{megabytes} MB at most"


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
    records, damages = count(pcap(1000).ljust(64 << 20, b"\0"))
    assert (records, damages) == (1000, 1)
    return "1,000 records"


def table() -> dict[str, tuple[str, str]]:
    """The rows of the page: name of the fault -> what happens, what was tried."""
    text = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {name: (expected, how) for name, expected, how in rows[1:]}


def main(wanted: list[str]) -> int:
    rows, failed = table(), 0
    for name, (expected, run) in FAULTS.items():
        if wanted and not any(word in name for word in wanted):
            continue
        try:
            rows[name] = expected, run()
        except AssertionError as error:
            rows[name] = expected, f"**not so: {error}**"
            failed += 1
        print(f"| {name} | {' | '.join(rows[name])} |", flush=True)
    if not failed:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        lines = [f"| {name} | {' | '.join(rows[name])} |\n" for name in FAULTS if name in rows]
        heading = "| when | what happens | tried |\n|---|---|---|\n"
        PAGE.write_text(f"{before}{BEGIN}\n{heading}{''.join(lines)}\n{END}{after}", encoding="utf-8")
    return failed > 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
