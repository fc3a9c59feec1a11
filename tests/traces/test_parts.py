"""Parts of one capture, decided by themselves: the octets and the summary of the whole, wherever it is cut."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces_kit import FORWARD, NCAST, NOTHING, Here

from flowclass.cli import main
from flowclass.engine.packets import Fragments, parse
from flowclass.errors import CaptureError
from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.generate.captures import Frame, write_pcap, write_pcapng
from flowclass.generate.mobility import mobility_trace
from flowclass.mobility import load_bindings
from flowclass.mobility.bindings_file import read_bindings
from flowclass.traces import run as run_module
from flowclass.traces.outcomes import Outcomes, Rows
from flowclass.traces.outputs import open_output
from flowclass.traces.reader import NO_TIME, Checkpoint, Trace
from flowclass.traces.run import Run
from flowclass.traces.text_rows import TEXT_ENDINGS, TextFormat, TextSize, TextWriter, frame_digits
from flowclass.traces.workers import jobs, parts
from flowclass.traces.workers.jobs import Job, run_job
from flowclass.traces.workers.parts import cut

NODES = random_nodes(random.Random(6), 4, 5)
SEEDS = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """With a bindings file, and first fragments that are soon forgotten: cuts must not change what is remembered."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "b.toml").write_text(bindings_toml(NODES))
    with pytest.MonkeyPatch.context() as patch:
        for module in (run_module, jobs, parts):
            patch.setattr(module, "new_fragments", lambda defer=False: Fragments(capacity=3, defer=defer))
        yield folder


def capture(rng: random.Random, packets: int = 250) -> bytes:
    """A capture of any kind: many fragments, out of order over some distance, several sections, damage."""
    frames = []
    pause = rng.choice((1, 1, 7_000_000_000))  # ns: seldom enough that first fragments grow too old
    while len(frames) < packets:
        some = list(mobility_trace(rng, NODES, 40))
        fragments = [p for p in some if p.fields is not None and len(p.frame) == 14 + 40 + 8 + 48]
        chosen = fragments if rng.random() < 0.5 else some
        frames += [Frame(p.time_ns + pause * (len(frames) + i), p.frame) for i, p in enumerate(chosen)]
    for _ in range(packets // 4):
        i = rng.randrange(len(frames))
        j = min(len(frames) - 1, i + rng.randrange(30))
        frames[i], frames[j] = Frame(frames[i].time_ns, frames[j].data), Frame(frames[j].time_ns, frames[i].data)
    stream = io.BytesIO()
    order: Any = rng.choice("<>")
    if rng.random() < 0.5:
        write_pcap(stream, frames, unit=rng.choice(("us", "ns")), order=order)
    else:
        for _ in range(rng.choice((1, 1, 2, 3))):  # sections follow each other in a file, each with its own byte order
            size = rng.randrange(1, len(frames) + 1)
            write_pcapng(stream, frames[:size], order=rng.choice((order, "<", ">")), linktype=rng.choice((1, 1, 101)))
            frames = frames[size:] or frames
    data = bytearray(stream.getvalue())
    for _ in range(rng.choice((0, 0, 1, 3))):
        at = rng.randrange(60, len(data))
        kind = rng.random()
        if kind < 0.4:
            data[at] ^= 1 << rng.randrange(8)
        elif kind < 0.6:
            data[at : at + rng.randrange(1, 500)] = b""
        elif kind < 0.8:
            data[at:at] = rng.randbytes(rng.randrange(1, 500))
        else:
            data[at : at + 16] = b"\xff" * 16
    return bytes(data)


def serial(folder: Path, trace: Path, ending: str) -> tuple[bytes, dict[str, Any]]:
    with open_output(str(folder / f"right{ending}")) as writer:
        summary = Run(load_bindings(folder / "b.toml"), writer=writer).classify([str(trace)])
    return (folder / f"right{ending}").read_bytes(), summary.to_dict()


@given(SEEDS)
def test_any_cut(folder: Path, seed: int) -> None:
    rng = random.Random(seed)
    trace = folder / "t"
    trace.write_bytes(capture(rng))
    ending = rng.choice((".csv", ".jsonl"))
    right, summary = serial(folder, trace, ending)
    for size in (trace.stat().st_size // 2 + 1, rng.randrange(300, 5000)):
        out = folder / f"out{ending}"
        job = Job(read_bindings(folder / "b.toml"), 0, ending)
        found = run_job(job, [str(trace)], str(out), str(folder / "parts"), Here(), part_size=size)
        assert out.read_bytes() == right, size
        assert found.to_dict() == summary, size
        found = run_job(Job(job.found), [str(trace)], None, str(folder / "parts"), Here(), part_size=size)
        assert found.to_dict() == summary, size


def test_pieces_that_are_copied_into_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a cluster's workers; one trace is given twice, and the kernel may not be able to copy."""
    trace, out = folder / "t", folder / "out.csv"
    trace.write_bytes(capture(random.Random(9), 500))
    with open_output(str(folder / "right.csv")) as writer:
        Run(load_bindings(folder / "b.toml"), writer=writer).classify([str(trace), str(trace)])
    pool = Here()
    pool.one_file, pool.ahead = False, 100
    job = Job(read_bindings(folder / "b.toml"), 0, ".csv")
    for able in (True, False):
        if not able:
            monkeypatch.delattr(os, "copy_file_range", raising=False)
        run_job(job, [str(trace), str(trace)], str(out), str(folder / "parts"), pool, part_size=9000)
        assert out.read_bytes() == (folder / "right.csv").read_bytes()
        out.unlink()


@pytest.mark.parametrize("ending", [".arrow", ".parquet"])
def test_columns_do_not_tell_where_the_cuts_were(folder: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    columnar = pytest.importorskip("flowclass.traces.arrow")
    monkeypatch.setattr(columnar.ArrowWriter, "BATCH", 111)
    monkeypatch.setattr(columnar.ParquetWriter, "GROUP", 111)
    traces = [folder / "t0", folder / "t1"]
    for number, trace in enumerate(traces):
        trace.write_bytes(capture(random.Random(number)))
    with open_output(str(folder / f"right{ending}")) as writer:
        Run(load_bindings(folder / "b.toml"), writer=writer).classify(list(map(str, traces)))
    job, out = Job(read_bindings(folder / "b.toml"), 0, ending), folder / f"out{ending}"
    for size in (1 << 20, 5000, 700):
        run_job(job, list(map(str, traces)), str(out), str(folder / "parts"), Here(), part_size=size)
        assert out.read_bytes() == (folder / f"right{ending}").read_bytes()


@given(SEEDS)
def test_nested_fragments_by_notes(seed: int) -> None:
    """A first fragment of a tunnel around a later fragment asks and tells in one packet; and the memory overflows."""
    rng = random.Random(seed)

    def fragment(identification: int, offset: int, inside: bytes, following: int) -> bytes:
        header = struct.pack(">BBHI", following, 0, offset << 3 | (offset == 0), identification)
        return struct.pack(">IHBB", 6 << 28, len(header + inside), 44, 64) + bytes(32) + header + inside

    packets = []
    for number in range(100):
        udp = struct.pack(">HHHH", number, 53, 8, 0)
        inside = rng.choice((
            fragment(rng.randrange(6), rng.randrange(2), udp, 17),
            struct.pack(">IHBB", 6 << 28, 8, 17, 64) + bytes(32) + udp,
        ))  # fmt: skip
        packets.append(fragment(rng.randrange(6, 12), rng.randrange(2), inside, 41))
    inner, capacity = rng.choice((1, 2, 3)), rng.choice((1, 3, 5, 20))
    pauses = [rng.choice((1, 10**9, rng.choice((1, 31 * 10**9)), -5)) for _ in packets]
    times = np.cumsum(np.array(pauses, dtype=np.int64))
    if rng.random() < 0.1:
        times[rng.randrange(len(times))] = NO_TIME
    keys, infos = parse(packets, fragments=Fragments(capacity=capacity), inner=inner, times=times)
    memory, begin = Fragments(capacity=capacity), 0
    while begin < len(packets):
        end = min(begin + rng.randrange(1, 40), len(packets))
        part, at = Fragments(capacity=capacity, defer=True), begin
        mine, found = keys[:0], infos[:0]
        while at < end:  # in batches
            stop = min(at + rng.randrange(1, 9), end)
            more_keys, more_infos = parse(packets[at:stop], fragments=part, inner=inner, times=times[at:stop])
            mine, found, at = np.append(mine, more_keys), np.append(found, more_infos), stop
        while len(notes := part.notes(rng.randrange(1, 30))):
            memory.settle(notes)
            mine[notes["packet"]] = notes["key"]
            found[notes["packet"]] = notes["info"]
        assert np.array_equal(mine, keys[begin:end])
        assert np.array_equal(found, infos[begin:end])
        memory.extend(part.firsts(), part.told)
        begin = end


def test_states(tmp_path: Path) -> None:
    """A reader begins with what another one gave it, and with nothing else."""
    trace = tmp_path / "t"
    with trace.open("wb") as stream:
        write_pcapng(stream, [Frame(p.time_ns, p.frame) for p in mobility_trace(random.Random(1), NODES, 100)])
    with Trace(trace, stop=2000) as first:
        frames = sum(map(len, first.records()))
        place = first.checkpoint()
    with Trace(trace, start=place) as second:
        assert frames + sum(map(len, second.records())) == 100
        assert second.begun == place.offset
    assert 2000 <= place.offset < 2300
    with Trace(trace, start=Checkpoint(place.offset + 1, place.state), guess=True, stop=place.offset + 9) as third:
        assert list(third.records()) == []  # one that finds no record before its end looks no further
        assert third.begun == third.checkpoint().offset == place.offset + 9
    for state in (b"", b"x", place.state[:-1], place.state + bytes(16), b"\3" + place.state[1:], b"\xff" * 44):
        with pytest.raises(ValueError, match="no state"):
            Trace(trace, start=Checkpoint(place.offset, state))


def test_what_is_cut(tmp_path: Path) -> None:
    plain, packed, other = tmp_path / "t", tmp_path / "t.gz", tmp_path / "x"
    with plain.open("wb") as stream:
        write_pcap(stream, [Frame(p.time_ns, p.frame) for p in mobility_trace(random.Random(1), NODES, 500)])
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    size = plain.stat().st_size
    assert [unit.start for unit in cut(str(plain), size)] == [None]
    units = cut(str(plain), size // 3)
    assert [unit.stop for unit in units] == [unit.start.offset for unit in units[1:] if unit.start] + [None]
    assert len(units) == 4  # 3, and an octet that is left
    assert sum(unit.size for unit in units) == size
    assert len(cut(str(packed), 1000)) == 1  # nobody can begin in the middle of it
    other.write_bytes(b"no capture" * 100)
    assert len(cut(str(other), 100)) == 1  # its unit says what is wrong
    with pytest.raises(CaptureError, match="no regular file"):
        cut(str(tmp_path), 100)


@given(st.data())
def test_sizes_of_text(data: st.DataObject) -> None:
    first, count = data.draw(st.integers(1, 2**40)), data.draw(st.integers(0, 2000))
    assert frame_digits(first, count) == sum(len(str(number)) for number in range(first, first + count))
    times = data.draw(
        st.lists(st.integers(-(2**63), 2**63 - 1) | st.sampled_from([NO_TIME, 0, -1, 10**18]), max_size=9)
    )
    table = Outcomes()
    ids = [table.number(data.draw(st.sampled_from([FORWARD, NCAST, NOTHING]))) for _ in times]
    rows = Rows("ü", np.arange(1, len(ids) + 1, dtype=np.uint64), np.array(times, dtype=np.int64),
                np.array(ids, dtype=np.uint32), table, np.zeros(len(ids), dtype=np.uint32))  # fmt: skip
    for ending in TEXT_ENDINGS:
        form = TextFormat(ending)
        stream, size = io.BytesIO(), TextSize(form)
        TextWriter(stream, form).write(rows)
        size.add(rows)
        assert size.octets + frame_digits(1, len(ids)) == len(stream.getvalue())


COMMAND = [sys.executable, "-m", "flowclass", "classify"]


def test_one_large_trace_killed_in_the_middle(tmp_path: Path) -> None:
    """kill -9 within one trace that is cut into parts, then the same again."""
    (tmp_path / "b.toml").write_text(bindings_toml(NODES))
    trace, right, out = tmp_path / "t.pcap", tmp_path / "right.csv", tmp_path / "out.csv"
    with trace.open("wb") as stream:
        frames = [Frame(p.time_ns, p.frame) for p in mobility_trace(random.Random(2), NODES, 3000)]
        write_pcap(stream, frames * 60)
    with open_output(str(right)) as writer:
        summary = Run(load_bindings(tmp_path / "b.toml"), writer=writer).classify([str(trace)]).to_dict()
    command = [*COMMAND, str(trace), "--bindings", str(tmp_path / "b.toml"), "-o", str(out), "--json"]
    command += ["--workers", "2", "--part-size", "1M"]
    folder = Path(jobs.parts_folder(str(out)))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        while child.poll() is None and len(list(folder.glob("*.result"))) < 3:
            time.sleep(0.002)
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert not out.exists()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("*.result")}
    assert 3 <= len(kept) < trace.stat().st_size >> 20
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == right.read_bytes()
    assert json.loads(done.stdout) == summary | {"output": str(out), "interrupted": False}
    assert sorted(os.listdir(tmp_path)) == ["b.toml", "out.csv", "right.csv", "t.pcap"]


def test_parts_by_dask(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    (tmp_path / "b.toml").write_text(bindings_toml(NODES))
    trace, out = tmp_path / "t", tmp_path / "out.csv"
    trace.write_bytes(capture(random.Random(7), 2000))
    with open_output(str(tmp_path / "right.csv")) as writer:
        summary = Run(load_bindings(tmp_path / "b.toml"), writer=writer).classify([str(trace)]).to_dict()
    arguments = [str(trace), "--bindings", str(tmp_path / "b.toml"), "-o", str(out), "--json", "--part-size", "20000"]
    command = [*COMMAND, *arguments, "--scheduler", "local", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == (1 if summary["files"][0]["damage"] else 0), done.stderr
    assert json.loads(done.stdout) == summary | {"output": str(out), "interrupted": False}
    assert out.read_bytes() == (tmp_path / "right.csv").read_bytes()


@pytest.mark.parametrize("size", ["0", "x", "5T", "-1"])
def test_part_sizes_that_are_none(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "t", "--bindings", "b", "--workers", "2", "--part-size", size]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
