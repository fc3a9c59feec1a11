"""Rows to standard output as packets come: seen at once, complete when interrupted, the same as in a file."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from flowclass import load_bindings
from flowclass.cli import main
from flowclass.traces import Run, Trace
from flowclass.traces.outputs import STREAMS, open_stream

COMMAND = [sys.executable, "-m", "flowclass", "classify", "-", "--bindings", "demo/section5.toml", "-o", "-"]


@pytest.fixture
def demo(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--save", "demo"]) == 0
    capsys.readouterr()
    return tmp_path


@contextlib.contextmanager
def running(*more: str) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]]:
    command = [*COMMAND, *more]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process, process.stdin, process.stdout
        finally:
            process.kill()


def test_rows_are_there_before_the_input_ends_and_stay_when_interrupted(demo: Path) -> None:
    capture = Path("demo/section5.pcapng").read_bytes()
    assert main(["classify", "demo/section5.pcapng", "--bindings", "demo/section5.toml", "-o", "rows.csv"]) == 0
    lines = [line.replace(b"demo/section5.pcapng", b"-") for line in Path("rows.csv").read_bytes().splitlines(True)]
    with running() as (process, packets, rows):
        packets.write(capture)  # and the pipe stays open: more could come
        packets.flush()
        assert [rows.readline() for _ in lines] == lines
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
        assert process.returncode == 130
        assert out == b""
        assert b"15 packets" in error
        assert b"interrupted" in error


def test_an_arrow_stream_has_a_batch_for_what_has_come(demo: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    capture = Path("demo/section5.pcapng").read_bytes()
    with running("--format", "arrow", "--json") as (process, packets, rows):
        packets.write(capture)
        packets.flush()
        reader = pa.ipc.open_stream(rows)
        batch = reader.read_next_batch()
        found = batch.num_rows
        while found < 15:
            found += reader.read_next_batch().num_rows
        packets.close()
        assert list(reader) == []
        assert process.wait(timeout=60) == 0
        assert process.stderr is not None
        assert json.loads(process.stderr.read())["packets"] == 15


def test_a_reader_that_ends_early_is_no_error(demo: Path) -> None:
    with running("--format", "jsonl") as (process, packets, rows):
        packets.write(Path("demo/section5.pcapng").read_bytes())
        packets.flush()
        assert json.loads(rows.readline())["frame"] == 1
        rows.close()
        with contextlib.suppress(BrokenPipeError):
            packets.write(Path("demo/section5.pcapng").read_bytes())
            packets.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_a_stream_is_flushed_after_each_batch_and_left_open(demo: Path) -> None:
    for form in STREAMS:
        if form == "arrow":
            pytest.importorskip("pyarrow")
        stream = io.BytesIO()
        with open_stream(form, stream) as writer:
            Run(load_bindings("demo/section5.toml"), writer=writer).classify(["demo/section5.pcapng"])
        assert not stream.closed
        assert stream.getvalue()


def test_a_live_trace_gives_what_is_there(demo: Path) -> None:
    capture = Path("demo/section5.pcapng").read_bytes()
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as source, os.fdopen(writing, "wb", buffering=0) as sink:
        sink.write(capture)
        with Trace(source, live=True) as trace:
            batches = trace.keys()
            first = next(batches)
            assert len(first) > 0
            sink.close()
            assert len(first) + sum(map(len, batches)) == 15


def test_workers_write_files_only(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["classify", "demo/section5.pcapng", "--bindings", "demo/section5.toml", "-o", "-", "--workers", "2"]
    assert main(arguments) == 2
    assert "-o - goes without --workers" in capsys.readouterr().err
