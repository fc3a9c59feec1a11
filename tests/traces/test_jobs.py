"""Many traces by many processes: the octets of one process, whatever happens on the way."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from traces_kit import Here

from flowclass.cli._console import warn_damage
from flowclass.errors import CaptureError, FlowclassError
from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.generate.captures import Frame, write_pcap
from flowclass.generate.mobility import mobility_trace
from flowclass.mobility.bindings_file import read_bindings
from flowclass.traces.outputs import open_output
from flowclass.traces.run import Run
from flowclass.traces.summary import FileSummary, Summary
from flowclass.traces.workers import parts
from flowclass.traces.workers.jobs import Job, parts_folder, run_job
from flowclass.traces.workers.parts import do_unit

COMMAND = [sys.executable, "-m", "flowclass", "classify"]


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A bindings file and seven traces of different length, the last one damaged at its end."""
    folder = tmp_path_factory.mktemp("traces")
    rng = random.Random(4)
    nodes = random_nodes(rng, 5, 5)
    (folder / "b.toml").write_text(bindings_toml(nodes))
    names = []
    for number in range(7):
        path = folder / f"{number}.pcap"
        with path.open("wb") as stream:
            frames = [Frame(p.time_ns, p.frame) for p in mobility_trace(rng, nodes, 300 * (number % 3) + 50)]
            write_pcap(stream, frames)
        names.append(str(path))
    path.write_bytes(path.read_bytes()[:-5])
    return folder / "b.toml", names


def serial(bindings: Path, names: list[str], out: Path) -> dict[str, Any]:
    from flowclass.mobility import load_bindings

    with open_output(str(out)) as writer:
        return Run(load_bindings(bindings), writer=writer).classify(names).to_dict()


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".arrow", ".parquet"])
def test_same_octets_as_one_process(tmp_path: Path, traces: tuple[Path, list[str]], ending: str) -> None:
    if ending in (".arrow", ".parquet"):
        pytest.importorskip("pyarrow")
    bindings, names = traces
    right, out = tmp_path / f"right{ending}", tmp_path / f"out{ending}"
    summary = serial(bindings, names, right)
    job = Job(read_bindings(bindings), 0, ending)
    found = run_job(job, names, str(out), parts_folder(str(out)), Here())
    assert out.read_bytes() == right.read_bytes()
    assert found.to_dict() == summary
    assert sorted(os.listdir(tmp_path)) == sorted([right.name, out.name])


def test_what_is_done_stays_done(tmp_path: Path, traces: tuple[Path, list[str]]) -> None:
    bindings, names = traces
    right, out = tmp_path / "right.csv", tmp_path / "out.csv"
    serial(bindings, names, right)
    job, folder = Job(read_bindings(bindings), 0, ".csv"), parts_folder(str(out))
    first = Here(fails_after=3)
    with pytest.raises(KeyboardInterrupt):
        run_job(job, names, str(out), folder, first)
    assert not out.exists()
    # another option is another job: nothing of the first one counts
    other = Here(fails_after=7)
    run_job(Job(read_bindings(bindings), 1, ".csv"), names, str(tmp_path / "x.csv"), str(tmp_path / "x"), other)
    assert len(other.done) == 7
    os.utime(first.done[0], ns=(1, 1))  # one trace has changed since
    second = Here()
    run_job(job, names, str(out), folder, second)
    assert sorted(second.done) == sorted(set(names) - set(first.done[1:]))
    assert out.read_bytes() == right.read_bytes()


def test_a_trace_that_is_no_capture(tmp_path: Path, traces: tuple[Path, list[str]]) -> None:
    bindings, names = traces
    bad = tmp_path / "bad.pcap"
    bad.write_text("no capture")
    out = tmp_path / "out.csv"
    job = Job(read_bindings(bindings), 0, ".csv")
    with pytest.raises(CaptureError, match=r"bad\.pcap: no capture"):
        run_job(job, [str(bad), str(bad)], str(out), parts_folder(str(out)), Here(), part_size=4)
    assert os.listdir(tmp_path) == ["bad.pcap"]
    summary = run_job(job, [names[0], str(bad), names[1]], str(out), parts_folder(str(out)), Here())
    assert [file.error is None for file in summary.files] == [True, False, True]
    serial(bindings, [names[0], str(bad), names[1]], tmp_path / "right.csv")
    assert out.read_bytes() == (tmp_path / "right.csv").read_bytes()


def test_command(tmp_path: Path, traces: tuple[Path, list[str]]) -> None:
    bindings, names = traces
    out = tmp_path / "out.csv"
    arguments = [*names, "--bindings", str(bindings), "-o", str(out), "--json"]
    alone = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True)
    right = out.read_bytes()
    out.unlink()
    shared = subprocess.run([*COMMAND, *arguments, "--workers", "2"], capture_output=True, text=True)
    assert (shared.returncode, shared.stdout, shared.stderr) == (alone.returncode, alone.stdout, alone.stderr)
    assert alone.returncode == 1  # the damaged one
    assert out.read_bytes() == right
    summary = subprocess.run([*COMMAND, *arguments[:-3], "--json", "--workers", "2"], capture_output=True, text=True)
    assert json.loads(summary.stdout) == json.loads(alone.stdout) | {"output": None}


def test_killed_in_the_middle(tmp_path: Path, traces: tuple[Path, list[str]]) -> None:
    """kill -9 of a 20-file job, then the same again: what an undisturbed run gives."""
    bindings, names = traces
    many = []
    for number in range(20):
        path = tmp_path / f"{number}.pcap"
        data = Path(names[number % 6]).read_bytes()
        path.write_bytes(data + 40 * data[24:])  # one header, its records many times
        many.append(str(path))
    right, out = tmp_path / "right.csv", tmp_path / "out.csv"
    summary = serial(bindings, many, right)
    folder = Path(parts_folder(str(out)))
    command = [*COMMAND, *many, "--bindings", str(bindings), "-o", str(out), "--json", "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        while child.poll() is None and len(list(folder.glob("*.result"))) < 3:
            time.sleep(0.005)
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert not out.exists()
    assert len(list(folder.glob("*.result"))) >= 3
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == right.read_bytes()
    assert json.loads(done.stdout) == summary | {"output": str(out), "interrupted": False}
    assert not folder.exists()


class Meddling(Here):
    """A pool before whose call number ``at`` something happens."""

    def __init__(self, at: int, meddle: Callable[[], object]) -> None:
        super().__init__()
        self.calls, self.at, self.meddle = 0, at, meddle

    def submit(self, call: bytes) -> Future[bytes]:
        self.calls += 1
        if self.calls == self.at:
            self.meddle()
        return super().submit(call)


@pytest.mark.parametrize("ending", [None, ".csv"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_trace_that_grows_meanwhile(
    tmp_path: Path, traces: tuple[Path, list[str]], ending: str | None, packed: bool
) -> None:
    """A capture that is still being written is read to where it ended when the job began, in the middle of a record."""
    bindings, names = traces
    trace, before, out = tmp_path / "t.pcap", tmp_path / "before", tmp_path / f"out{ending}"
    data = Path(names[2]).read_bytes()
    whole = gzip.compress(data[:30_000]) + gzip.compress(data[30_000:]) if packed else data
    end = len(gzip.compress(data[:30_000])) - 9 if packed else 30_000
    before.mkdir()
    (before / "t.pcap").write_bytes(whole[:end])
    right = serial(bindings, [str(before / "t.pcap")], before / "right.csv")
    assert right["files"][0]["damage"]  # the record that was cut in the middle
    trace.write_bytes(whole[:end])
    job = Job(read_bindings(bindings), 0, ending)
    pool = Meddling(1, lambda: trace.write_bytes(whole))
    found = run_job(job, [str(trace)], ending and str(out), parts_folder(str(out)), pool, part_size=9_000)
    assert len(pool.done) == (1 if packed else 4)
    (file,) = found.files
    assert (file.packets, file.read_to, file.damage) == (right["packets"], end, [])
    if ending is not None:
        mine, his = out.read_text(), (before / "right.csv").read_text()
        assert mine.replace(str(trace), "t") == his.replace(str(before / "t.pcap"), "t")


def test_growth_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = Summary()
    summary.files.append(FileSummary("t.pcap", read_to=30_000))
    warn_damage(summary)
    assert "t.pcap: has grown; it was read to octet 30000" in capsys.readouterr().err
    assert not summary.is_damaged


def other_file(trace: Path) -> None:
    """Rotation: another file of the same size and time stands under the name."""
    about, other = trace.stat(), trace.with_name("other")
    other.write_bytes(trace.read_bytes())
    os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
    os.replace(other, trace)


def overwritten(trace: Path) -> None:
    data = trace.read_bytes()
    trace.write_bytes(data[:-1] + b"x")
    os.utime(trace, ns=(1, 1))


def truncated(trace: Path) -> None:
    os.truncate(trace, trace.stat().st_size - 1)


def copied_and_emptied(trace: Path) -> None:
    """Rotation in place: the file is emptied, and has grown to more than it was since."""
    data = trace.read_bytes()
    trace.write_bytes(data[:24] + bytes(16) + data[24:])


@pytest.mark.parametrize("meddle", [other_file, overwritten, truncated, copied_and_emptied])
@pytest.mark.parametrize("ending", [None, ".jsonl"])
def test_a_trace_that_is_replaced_meanwhile(
    tmp_path: Path, traces: tuple[Path, list[str]], ending: str | None, meddle: Callable[[Path], None]
) -> None:
    """Parts of two states of a file are never put together."""
    bindings, names = traces
    trace, out = tmp_path / "t.pcap", tmp_path / "out.jsonl"
    trace.write_bytes(Path(names[2]).read_bytes())
    pool = Meddling(3, lambda: meddle(trace))
    job = Job(read_bindings(bindings), 0, ending)
    with pytest.raises(CaptureError, match=r"t\.pcap: was replaced or overwritten while it was read"):
        run_job(job, [str(trace)], ending and str(out), str(tmp_path / "parts"), pool, part_size=10_000)
    assert os.listdir(tmp_path) == ["t.pcap"]


def test_one_run_at_a_time_for_an_output(tmp_path: Path, traces: tuple[Path, list[str]]) -> None:
    bindings, names = traces
    job, out = Job(read_bindings(bindings), 0, ".csv"), tmp_path / "out.csv"
    folder = parts_folder(str(out))

    class Meanwhile(Here):
        def submit(self, call: bytes) -> Future[bytes]:
            with pytest.raises(FlowclassError, match="another run is making it"):
                run_job(job, names, str(out), folder, Here())
            return super().submit(call)

    run_job(job, names, str(out), folder, Meanwhile())
    serial(bindings, names, tmp_path / "right.csv")
    assert out.read_bytes() == (tmp_path / "right.csv").read_bytes()


def test_agents_are_made_once_per_process(traces: tuple[Path, list[str]], tmp_path: Path) -> None:
    bindings, names = traces
    job = Job(read_bindings(bindings))
    do_unit(job, parts.cut(names[0], 1 << 30)[0], str(tmp_path / "a"))
    agent = parts.agent_of(job)
    do_unit(job, parts.cut(names[1], 1 << 30)[0], str(tmp_path / "b"))
    assert parts.agent_of(job) is agent
    assert sorted(os.listdir(tmp_path)) == ["a.result", "b.result"]


def test_dask(tmp_path: Path, traces: tuple[Path, list[str]]) -> None:
    """A local cluster gives the octets of one process."""
    pytest.importorskip("distributed")
    bindings, names = traces
    right, out = tmp_path / "right.csv", tmp_path / "out.csv"
    summary = serial(bindings, names, right)
    arguments = ["--bindings", str(bindings), "-o", str(out), "--json", "--scheduler", "local", "--workers", "2"]
    done = subprocess.run([*COMMAND, *names, *arguments], capture_output=True, text=True, timeout=180)
    assert done.returncode == 1, done.stderr  # one trace is damaged
    assert any(line.startswith(f"flowclass: {names[6]}") for line in done.stderr.splitlines()), done.stderr
    assert json.loads(done.stdout) == summary | {"output": str(out), "interrupted": False}
    assert out.read_bytes() == right.read_bytes()


def test_no_scheduler(tmp_path: Path, traces: tuple[Path, list[str]]) -> None:
    pytest.importorskip("distributed")
    bindings, names = traces
    arguments = ["--bindings", str(bindings), "--scheduler", "nonsense://nowhere:1"]
    done = subprocess.run([*COMMAND, *names, *arguments], capture_output=True, text=True, timeout=180)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
