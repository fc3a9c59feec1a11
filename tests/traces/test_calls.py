"""What crosses the borders between processes is octets, and decoding them runs no code."""

from __future__ import annotations

import errno
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from traces_kit import FORWARD, NCAST

from flowclass.engine.keys import KEY_DTYPE
from flowclass.errors import CaptureError, FlowclassError, OutputError
from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.generate.captures import Frame, write_pcap
from flowclass.mobility.bindings_file import read_bindings
from flowclass.traces.workers import calls
from flowclass.traces.workers.calls import check_answer, perform, render_call, unit_call
from flowclass.traces.workers.jobs import run_job
from flowclass.traces.workers.parts import Job, RowLayout, Settled, cut
from flowclass.traces.workers.pools import LocalPool

ROWS = RowLayout(".csv")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    path = tmp_path / "b.toml"
    path.write_text(bindings_toml(random_nodes(random.Random(3), 20, 5)))
    return Job(read_bindings(path), 2, ".csv", 1 << 26)


def test_a_job_arrives_as_it_was_sent(job: Job) -> None:
    again = Job.of(job.octets)
    assert again.found.nodes == job.found.nodes
    assert (again.inner, again.ending, again.memory) == (2, ".csv", 1 << 26)
    assert (again.octets, again.key) == (job.octets, job.key)  # an agent that was loaded before a fork is found by it


def test_arguments_arrive_as_they_were_sent(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[tuple[Any, ...]] = []
    monkeypatch.setattr(calls, "do_unit", lambda *arguments: got.append(arguments))
    monkeypatch.setattr(calls, "render", lambda *arguments: got.append(arguments))
    trace = tmp_path / "t\udcff.pcap"
    with trace.open("wb") as stream:
        write_pcap(stream, [Frame(0, bytes(50))] * 9)
    settled = Settled(np.array([3, 9]), np.array([1, 0], np.uint32), [FORWARD, NCAST], np.zeros(2, KEY_DTYPE))
    unit = cut(str(trace), 200)[1]
    for call in (unit_call(job, unit, "p\udcfe"), render_call(ROWS, "p\udcfe", 7, settled, "x", 3, 4)):
        assert perform(call) == b""
    assert got[0][1:] == (unit, "p\udcfe")
    assert got[0][1].trace == str(trace)
    rows, part, first, found, *rest = got[1]
    assert (rows, part, first, rest) == (ROWS, "p\udcfe", 7, ["x", 3, 4])
    assert (found.rows.tolist(), found.ids.tolist(), found.outcomes) == ([3, 9], [1, 0], [FORWARD, NCAST])
    assert perform(render_call(ROWS, "p", 7, None, "x", 3, 4)) == b""
    assert got[2][3] is None


@pytest.mark.parametrize(
    "error",
    [
        CaptureError("t.pcap: is empty"),
        CaptureError("t\udcff.pcap: is empty"),
        OutputError("x.csv: No space left on device"),
        FlowclassError("something"),
        OSError(errno.ENOSPC, "No space left on device"),
        PermissionError(errno.EACCES, "Permission denied", "t\udcff"),
        MemoryError("too much"),
    ],
)
def test_an_error_of_a_worker_is_raised_here(error: Exception, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(calls, "render", fail)
    answer = perform(render_call(ROWS, "p", 7, None, "x", 3, 4))
    with pytest.raises(type(error)) as caught:
        check_answer(answer)
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)
    if isinstance(error, OSError) and isinstance(caught.value, OSError):
        assert (caught.value.errno, caught.value.filename) == (error.errno, error.filename)


def test_a_fault_of_the_program_comes_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "render", lambda *_: {}["missing"])
    with pytest.raises(RuntimeError, match=r"(?s)a worker failed:.*KeyError: 'missing'"):
        check_answer(perform(render_call(ROWS, "p", 7, None, "x", 3, 4)))


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('run')",)


def test_what_is_no_call_is_refused_and_runs_no_code(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = tmp_path / "t.pcap"
    with trace.open("wb") as stream:
        write_pcap(stream, [])
    call = unit_call(job, cut(str(trace), 200)[0], "p")
    monkeypatch.setattr(calls, "LAYOUT", calls.LAYOUT + 1)
    other_version = unit_call(job, cut(str(trace), 200)[0], "p")
    monkeypatch.undo()
    for octets in (b"", pickle.dumps(Hostile()), call[:-1], call.replace(b"unit", b"tinu", 1), other_version):
        with pytest.raises(FlowclassError, match="different versions of flowclass"):
            check_answer(perform(octets))


def test_pools_send_octets_and_get_octets(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace, out = tmp_path / "t.pcap", tmp_path / "rows.csv"
    with trace.open("wb") as stream:
        write_pcap(stream, [Frame(i, bytes(50)) for i in range(99)])
    sent: list[Any] = []
    got: list[Future[bytes]] = []
    with LocalPool(1) as pool:
        submit = pool._pool.submit

        def spy(function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
            sent.append((function, *arguments, *named))
            got.append(submit(function, *arguments))
            return got[-1]

        monkeypatch.setattr(pool._pool, "submit", spy)
        run_job(job, [str(trace)], str(out), str(tmp_path / "parts"), pool, part_size=2000)
    assert len(sent) > 5
    assert {(function, type(call)) for function, call in sent} == {(perform, bytes)}
    assert {type(future.result()) for future in got} == {bytes}


def test_names_that_are_no_text(tmp_path: Path, job: Job) -> None:
    """A file's name may be any octets, with workers too."""
    trace, out = os.fsencode(tmp_path / "t") + b"\xff.pcap", os.fsencode(tmp_path / "rows") + b"\xfe.csv"
    with open(trace, "wb") as stream:
        write_pcap(stream, [Frame(i, bytes(50)) for i in range(99)])
    command = [sys.executable, "-m", "flowclass", "classify", trace, "--bindings", tmp_path / "b.toml", "-o", out]
    texts = []
    for workers in ([], ["--workers", "2", "--part-size", "2000"]):
        done = subprocess.run([*command, *workers], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert rf"rows: {tmp_path}/rows\xfe.csv" in done.stdout
        texts.append(Path(os.fsdecode(out)).read_text())
        os.unlink(out)
    assert texts[0] == texts[1]
    assert texts[0].count("\n") == 100
