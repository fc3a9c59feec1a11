"""Many traces by many processes: the octets of one process, whatever happens on the way."""

from __future__ import annotations

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

from flowclass.errors import CaptureError, FlowclassError
from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.generate.captures import Frame, write_pcap
from flowclass.generate.mobility import mobility_trace
from flowclass.mobility.bindings_file import read_bindings
from flowclass.traces.outputs import open_output
from flowclass.traces.run import Run
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


def test_a_trace_that_grows_meanwhile(tmp_path: Path, traces: tuple[Path, list[str]]) -> None:
    """Parts of two states of a file are never put together."""
    bindings, names = traces
    trace, out = tmp_path / "t.pcap", tmp_path / "out.csv"
    trace.write_bytes(Path(names[2]).read_bytes())

    class Growing(Here):
        def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
            future = super().submit(function, *arguments)
            with trace.open("ab") as stream:
                stream.write(b"x" * 7)
            return future

    job = Job(read_bindings(bindings), 0, ".csv")
    with pytest.raises(FlowclassError, match=r"t\.pcap: was replaced or written to while it was read"):
        run_job(job, [str(trace)], str(out), parts_folder(str(out)), Growing(), part_size=20_000)
    assert os.listdir(tmp_path) == ["t.pcap"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_trace_that_is_replaced_meanwhile(tmp_path: Path, traces: tuple[Path, list[str]], workers: int) -> None:
    """Rotation: another file of the same size and time stands under the name for the later parts."""
    bindings, names = traces
    trace, other, out = tmp_path / "t.pcap", tmp_path / "other.pcap", tmp_path / "out.csv"
    trace.write_bytes(Path(names[2]).read_bytes())
    other.write_bytes(trace.read_bytes())
    about = trace.stat()
    os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))

    class Rotating(Here):
        calls = 0

        def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
            self.calls += 1
            if self.calls == 3:
                os.replace(other, trace)
            return super().submit(function, *arguments)

    with pytest.raises(FlowclassError, match="was replaced"):
        run_job(
            Job(read_bindings(bindings), 0, None if workers == 1 else ".jsonl"), [str(trace)],
            None if workers == 1 else str(out), str(tmp_path / "parts"), Rotating(), part_size=20_000,
        )  # fmt: skip
    assert os.listdir(tmp_path) == ["t.pcap"]


def test_one_run_at_a_time_for_an_output(tmp_path: Path, traces: tuple[Path, list[str]]) -> None:
    bindings, names = traces
    job, out = Job(read_bindings(bindings), 0, ".csv"), tmp_path / "out.csv"
    folder = parts_folder(str(out))

    class Meanwhile(Here):
        def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
            with pytest.raises(FlowclassError, match="another run is making it"):
                run_job(job, names, str(out), folder, Here())
            return super().submit(function, *arguments)

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
