"""Interrupts keep what was done: the first signal ends with results and status 130, the second at once."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from flowclass.cli.classify import show
from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.generate.captures import Frame, write_pcap
from flowclass.generate.mobility import mobility_trace
from flowclass.mobility.bindings_file import read_bindings
from flowclass.traces.interruption import Interruption, interruptible, nothing_to_finish
from flowclass.traces.workers.jobs import run_job
from flowclass.traces.workers.parts import Job
from flowclass.traces.workers.pools import LocalPool

COMMAND = [sys.executable, "-m", "flowclass"]
NODES = random_nodes(random.Random(5), 3, 4)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def bindings(tmp_path: Path) -> Path:
    (tmp_path / "b.toml").write_text(bindings_toml(NODES))
    return tmp_path / "b.toml"


def packets(path: Path, count: int, times: int = 1) -> bytes:
    with path.open("wb") as stream:
        write_pcap(stream, [Frame(p.time_ns, p.frame) for p in mobility_trace(random.Random(3), NODES, count)] * times)
    return path.read_bytes()


def heed() -> None:
    for number in SIGNALS:  # a script that runs in the background has them ignored
        signal.signal(number, signal.SIG_DFL)


def start(*arguments: object) -> subprocess.Popen[bytes]:
    command = [*COMMAND, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, preexec_fn=heed)


def wait_for(condition: Callable[[], object], child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def send_pipe(child: subprocess.Popen[bytes], data: bytes) -> None:
    """Gives it all, and waits until it has been taken."""
    assert child.stdin is not None
    child.stdin.write(data)
    child.stdin.flush()
    pipe = child.stdin.fileno()
    wait_for(lambda: int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder) == 0, child)
    time.sleep(0.5)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("rest", [b"", b"half of a record's header"])
def test_a_pipe_that_gives_nothing_more(tmp_path: Path, bindings: Path, number: int, rest: bytes) -> None:
    data, out = packets(tmp_path / "t.pcap", 300), tmp_path / "rows.csv"
    with start("classify", "-", "--bindings", bindings, "-o", out, "--json") as child:
        send_pipe(child, data + rest)
        child.send_signal(number)
        stdout, stderr = child.communicate(timeout=60)
    assert child.returncode == 130, stderr
    summary = json.loads(stdout)
    assert (summary["packets"], summary["interrupted"], summary["files"][0]["damage"]) == (300, True, [])
    assert len(out.read_text().splitlines()) == 301
    assert stderr.decode().splitlines() == ["flowclass: interrupted: the results are those of what was read until then"]
    assert sorted(os.listdir(tmp_path)) == ["b.toml", "rows.csv", "t.pcap"]


@pytest.mark.parametrize("arguments", [["--replay"], ["--replay", "--workers", "2"], ["-o", "OUT.jsonl"]])
def test_every_way_to_read(tmp_path: Path, bindings: Path, arguments: list[str]) -> None:
    data = packets(tmp_path / "t.pcap", 50_000)
    given = [str(tmp_path / a) if a.startswith("OUT") else a for a in arguments]
    with start("classify", "-", "--bindings", bindings, "--json", *given) as child:
        send_pipe(child, data)
        child.send_signal(signal.SIGINT)
        stdout, stderr = child.communicate(timeout=60)
    assert child.returncode == 130, stderr
    assert json.loads(stdout)["interrupted"]
    assert b"Traceback" not in stderr


def test_messages_and_pages(tmp_path: Path, bindings: Path) -> None:
    data, page = packets(tmp_path / "t.pcap", 300), tmp_path / "page.html"
    for arguments in (["decode", "-", "--json"], ["report", "-", "--bindings", bindings, "-o", page]):
        with start(*arguments) as child:
            send_pipe(child, data)
            child.send_signal(signal.SIGTERM)
            stdout, stderr = child.communicate(timeout=60)
        assert child.returncode == 130, stderr
        assert b"Traceback" not in stderr
        if arguments[0] == "decode":
            assert json.loads(stdout)["frames"] == 300
    assert "300" in page.read_text()


def test_the_second_one_stops_at_once(tmp_path: Path, bindings: Path) -> None:
    """Here the first one is heeded only after the batch: a writer that waits for its reader."""
    trace, fifo = tmp_path / "t.pcap", tmp_path / "rows.csv"
    packets(trace, 3000, 40)
    os.mkfifo(fifo)
    with start("classify", trace, "--bindings", bindings, "-o", fifo) as child:
        with fifo.open("rb") as reader:
            reader.read(1)
            time.sleep(0.5)
            child.send_signal(signal.SIGINT)
            time.sleep(0.5)
            assert child.poll() is None
            child.send_signal(signal.SIGINT)
            assert child.wait(timeout=20) == 130
        assert child.stderr is not None
        assert b"Traceback" not in child.stderr.read()


def asleep(child: subprocess.Popen[bytes]) -> Callable[[], bool]:
    """A condition: the process has begun, and has waited at ten looks in a row without using the processor."""
    seen: list[tuple[str, ...]] = []

    def is_asleep() -> bool:
        found = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        seen.append((found[0], *found[11:13]))  # the state, and the time used
        return len(seen) > 10 and len(set(seen[-10:])) == 1 and seen[-1][0] == "S" and seen[-1][1] > "0"

    return is_asleep


@pytest.mark.parametrize(
    "arguments",
    [
        "classify - --bindings b.toml --json",
        "classify pipe --bindings b.toml --json",
        "classify pipe --replay -o rows.csv --json",
        "classify t.pcap --bindings b.toml -o pipe.csv",
        "classify t.pcap --bindings b.toml --write pipe.pcapng",
        "split pipe --bindings b.toml -o links --json",
        "decode pipe --json",
    ],
)
def test_one_signal_ends_the_wait_for_the_other_end_of_a_pipe(
    tmp_path: Path, bindings: Path, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    packets(tmp_path / "t.pcap", 10)
    monkeypatch.chdir(tmp_path)
    for name in ("pipe", "pipe.csv", "pipe.pcapng"):
        os.mkfifo(name)
    with start(*arguments.split()) as child:
        wait_for(asleep(child), child)
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=60) == 130
        assert child.stdout is not None
        assert child.stderr is not None
        assert b"Traceback" not in child.stderr.read()
        if "--json" in arguments:
            assert json.loads(child.stdout.read()).get("packets", 0) == 0


def test_the_work_is_ended_while_there_is_nothing_to_finish() -> None:
    with interruptible() as interruption:
        interruption.request()
        with pytest.raises(KeyboardInterrupt), nothing_to_finish():
            raise AssertionError
    with nothing_to_finish():
        pass


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("output", [True, False])
def test_workers(tmp_path: Path, bindings: Path, number: int, output: bool) -> None:
    """The parts that are done are kept, for the same command to go on with; nothing else is left, no process either."""
    trace, out = tmp_path / "t.pcap", tmp_path / "rows.csv"
    packets(trace, 3000, 150)
    arguments = ["classify", trace, "--bindings", bindings, "--workers", "2", "--part-size", "1M", "--json"]
    folder = tmp_path / ".rows.csv.parts"
    os.mkdir(tmp_path / "tmp")
    os.environ["TMPDIR"] = str(tmp_path / "tmp")
    try:
        with start(*arguments, *(["-o", out] if output else [])) as child:
            where = folder if output else tmp_path / "tmp"
            wait_for(lambda: list(where.rglob("*.result")), child)
            child.send_signal(number)
            stdout, stderr = child.communicate(timeout=60)
    finally:
        del os.environ["TMPDIR"]
    assert child.returncode == 130, stderr
    assert b"Traceback" not in stderr
    assert os.listdir(tmp_path / "tmp") == []
    if not output:
        assert json.loads(stdout)["interrupted"]
        return
    assert f"is kept in {folder}".encode() in stderr
    assert list(folder.glob("*.result"))
    done = subprocess.run([*COMMAND, *map(str, arguments), "-o", str(out)], capture_output=True, check=True)
    assert json.loads(done.stdout)["packets"] == 450_000
    assert not folder.exists()


def test_workers_that_are_stopped_before_anything_is_done(tmp_path: Path, bindings: Path) -> None:
    """As when the signal comes while they start: there is a summary all the same."""
    trace, stop = tmp_path / "t.pcap", Interruption()
    packets(trace, 100)
    stop.request()
    job = Job(read_bindings(bindings), 0, "", 1 << 26)
    with LocalPool(2) as pool:
        summary = run_job(job, [str(trace)], None, str(tmp_path / "parts"), pool, interruption=stop)
    assert summary.files == []
    assert not (tmp_path / "parts").exists()
    with redirect_stdout(StringIO()) as text:
        show(summary, None)
    assert text.getvalue().startswith("0 packets, 0 octets, 0 files\n")
    assert summary.to_dict()["packets"] == 0


def test_one_bad_file_among_many_stops_no_other(tmp_path: Path, bindings: Path) -> None:
    good, out = tmp_path / "good.pcap", tmp_path / "rows.csv"
    packets(good, 20)
    bad = {"empty.pcap": b"", "text.pcap": b"no capture\n", "zip.pcap": b"PK\x03\x04"}
    bad["cut.pcap.gz"] = b"\x1f\x8b\x08nonsense"
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    traces = [str(good), *(str(tmp_path / name) for name in bad), str(good)]
    for more in ([], ["--replay"], ["--workers", "2"], ["-o", str(out)], ["-o", str(out), "--workers", "2"]):
        command = [*COMMAND, "classify", *traces, "--bindings", str(bindings), "--json", *more]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1, done.stderr
        summary = json.loads(done.stdout)
        assert summary["packets"] == 40
        assert [file["error"] is None for file in summary["files"]].count(True) == 2
        assert len(done.stderr.splitlines()) == len(bad)
        for name in bad:
            assert name in done.stderr
        if "-o" in more:
            assert len(out.read_text().splitlines()) == 41
    command = [*COMMAND, "classify", *traces[1:-1], "--bindings", str(bindings)]
    assert subprocess.run(command, capture_output=True).returncode == 2  # none of them is a capture
