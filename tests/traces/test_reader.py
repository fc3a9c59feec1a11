"""flowclass.traces.reader: captures from anywhere, compressed or not, whole or damaged."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces_kit import zstd_library

from flowclass.engine.packets import Fragments, parse
from flowclass.errors import CaptureError
from flowclass.traces import decompress
from flowclass.traces.pipeline import ReadAhead
from flowclass.traces.reader import NO_TIME, Trace

START = 1_700_000_000


def payload(i: int) -> bytes:
    packet = (
        struct.pack(">IHBB", 6 << 28 | i, 8, 17, 64)
        + bytes(30)
        + struct.pack(">HHHHH", i % 65536, 0, 9, 53, i >> 16)
        + bytes(2)
    )
    return packet[: 20 + i % 40]


def pcap(n: int, *, start: int = 0, linktype: int = 101) -> bytes:
    records = (
        struct.pack("<IIII", START + i // 10, i % 10 * 1000, len(payload(i)), len(payload(i)) + 7) + payload(i)
        for i in range(start, start + n)
    )
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, linktype) + b"".join(records)


def packets(source: Any, **options: Any) -> list[bytes]:
    with Trace(source) as trace:
        return [batch.packet(i) for batch in trace.records(**options) for i in range(len(batch))]


def test_records(tmp_path: Path) -> None:
    path = tmp_path / "trace.pcap"
    path.write_bytes(pcap(1000))
    with Trace(path) as trace:
        batches = list(trace.records(batch=300))
    assert [len(b) for b in batches][:3] == [300, 300, 300]
    assert [b.first_frame for b in batches][:4] == [1, 301, 601, 901]
    assert [b.packet(i) for b in batches for i in range(len(b))] == [payload(i) for i in range(1000)]
    assert np.concatenate([b.times for b in batches]).tolist() == [
        (START + i // 10) * 10**9 + i % 10 * 10**6 for i in range(1000)
    ]
    assert np.concatenate([b.originals for b in batches]).tolist() == [len(payload(i)) + 7 for i in range(1000)]
    assert (trace.frames, trace.damages, trace.position, trace.size) == (
        1000,
        [],
        path.stat().st_size,
        path.stat().st_size,
    )


def test_keys_are_those_of_the_records(tmp_path: Path) -> None:
    path = tmp_path / "trace.pcap"
    path.write_bytes(pcap(50_000))
    with Trace(path) as trace:
        batches = list(trace.keys(batch=3000, fragments=Fragments()))
    assert [len(b) for b in batches] == [3000] * 16 + [2000]
    assert [b.first_frame for b in batches] == [1 + 3000 * i for i in range(17)]
    keys, infos = parse([payload(i) for i in range(50_000)], fragments=Fragments())
    assert np.array_equal(np.concatenate([b.keys for b in batches]), keys)
    assert np.array_equal(np.concatenate([b.infos for b in batches]), infos)


def test_kept_packets(tmp_path: Path) -> None:
    signalling = struct.pack(">IHBB", 6 << 28, 8, 135, 64) + bytes(40)
    head = pcap(0)
    body = b"".join(
        struct.pack("<IIII", START, 0, len(p), len(p)) + p
        for p in (signalling if i % 7 == 3 else payload(40) for i in range(100))
    )
    (tmp_path / "t").write_bytes(head + body)
    with Trace(tmp_path / "t") as trace:
        batches = list(trace.keys(batch=30, keep=1))
    assert [b.first_frame + i for b in batches for i in b.kept] == [i + 1 for i in range(100) if i % 7 == 3]
    assert all(octets == signalling for b in batches for octets in b.kept.values())


# ---- where the octets come from ------------------------------------------------------------------


class OnlyRead:
    """A file object with nothing but read, giving a little at a time."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def read(self, n: int) -> bytes:
        part = self.data[self.at : self.at + min(n, 777)]
        self.at += len(part)
        return part


def test_sources(tmp_path: Path) -> None:
    expected = [payload(i) for i in range(500)]
    path = tmp_path / "trace"
    path.write_bytes(pcap(500))
    assert packets(str(path)) == packets(path) == expected
    assert packets(io.BytesIO(pcap(500))) == expected
    assert packets(OnlyRead(pcap(500))) == expected
    with path.open("rb") as file:
        assert packets(file) == expected
        assert not file.closed
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(pcap(500),))
    writer.start()
    assert packets(fifo) == expected
    writer.join()


def test_standard_input() -> None:
    code = "from flowclass.traces.reader import Trace; t = Trace('-'); print(sum(map(len, t.records())), t.name)"
    run = subprocess.run([sys.executable, "-c", code], input=pcap(123), capture_output=True, check=True)
    assert run.stdout.split() == [b"123", b"-"]


def zstd(data: bytes) -> bytes:
    library = zstd_library()
    half = len(data) // 2
    skippable = struct.pack("<II", 0x184D2A53, 5) + b"hello"
    options = {library.CompressionParameter.checksum_flag: 1, library.CompressionParameter.content_size_flag: 0}
    return bytes(library.compress(data[:half], options=options) + skippable + library.compress(data[half:], 9))


def lz4(data: bytes) -> bytes:
    return bytes(pytest.importorskip("lz4.frame").compress(data))


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "gzip members": lambda d: gzip.compress(d[:100]) + gzip.compress(d[100:]) + bytes(512),
    "zstd": zstd,
    "xz": lambda d: lzma.compress(d, preset=0),
    "bzip2": bz2.compress,
    "lz4": lz4,
}


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_compressed(name: str) -> None:
    data = COMPRESSIONS[name](pcap(40_000))
    with Trace(io.BytesIO(data)) as trace:
        assert [b.packet(i) for b in trace.records() for i in range(len(b))] == [payload(i) for i in range(40_000)]
    assert trace.damages == []


@pytest.mark.parametrize("name", ["gzip", "zstd", "xz"])
def test_compressed_and_cut(name: str) -> None:
    whole = COMPRESSIONS[name](pcap(40_000))
    for n in (len(whole) - 1, len(whole) - 9, len(whole) // 2):
        with Trace(io.BytesIO(whole[:n])) as trace:
            found = [b.packet(i) for b in trace.records() for i in range(len(b))]
        assert found == [payload(i) for i in range(len(found))]
        assert n < len(whole) - 9 or len(found) > 35_000
        # one cut, one damage: at the record that it went through, or at the end where it went between two
        [damage] = trace.damages
        assert damage.what == "the compressed data ends early"
        assert damage.offset == 24 + sum(16 + len(packet) for packet in found)
        assert 0 <= damage.skipped < 16 + 60
        assert f": octet {damage.offset}: the compressed data ends early" in str(damage)


def test_compressed_and_cut_before_anything_came_out() -> None:
    with pytest.raises(CaptureError, match="the compressed data ends early"):
        Trace(io.BytesIO(bz2.compress(pcap(1000))[:200]))


def test_compressed_with_rubbish_behind() -> None:
    with Trace(io.BytesIO(gzip.compress(pcap(100)) + b"rubbish")) as trace:
        assert sum(map(len, trace.records())) == 100
    assert len(trace.damages) == 1
    assert "no compressed data" in str(trace.damages[0])


def test_damaged_compression() -> None:
    data = bytearray(gzip.compress(pcap(40_000)))
    data[len(data) // 2] ^= 0xFF
    with Trace(io.BytesIO(bytes(data))) as trace:
        found = [b.packet(i) for b in trace.records() for i in range(len(b))]
    assert trace.damages
    assert len(found) > 10_000
    assert found[:10_000] == [payload(i) for i in range(10_000)]


def test_a_missing_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zstd(pcap(10))
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    with pytest.raises(CaptureError, match=r"compressed with zstd, which needs the Python package backports\.zstd"):
        packets(io.BytesIO(data))


def test_a_fallback_for_gzip(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("isal", "isal.isal_zlib", "zlib_ng"):
        monkeypatch.setitem(sys.modules, name, None)
    assert len(packets(io.BytesIO(gzip.compress(pcap(1000))))) == 1000


def test_memory_is_bounded_whatever_the_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes that are 16 MiB of records without octets: no piece is larger than OUTPUT."""
    sizes = []
    original = ReadAhead._put

    def put(self: Any, item: Any) -> bool:
        sizes.append(len(item[0]) if isinstance(item[0], bytes) else 0)
        return original(self, item)

    monkeypatch.setattr(ReadAhead, "_put", put)
    data = pcap(3) + struct.pack("<4I", 1, 0, 0, 60) * (1 << 20)
    for compressed in (gzip.compress(data), zstd(data), lzma.compress(data)):
        with Trace(io.BytesIO(compressed)) as trace:
            assert sum(map(len, trace.records())) == 3 + (1 << 20)
        assert 0 < max(sizes) <= decompress.OUTPUT
        sizes.clear()


def test_a_trace_that_is_left_stops_its_thread() -> None:
    before = threading.active_count()
    with Trace(io.BytesIO(gzip.compress(pcap(60_000) + bytes(20 << 20), 1))) as trace:
        next(iter(trace.records()))
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


# ---- damage --------------------------------------------------------------------------------------


def test_damage_is_named(tmp_path: Path) -> None:
    data = bytearray(pcap(100))
    at = data.index(payload(50)) - 16
    data[at : at + 16] = b"\xff" * 16
    path = tmp_path / "bad.pcap"
    path.write_bytes(data)
    with Trace(path, name="bad.pcap") as trace:
        found = [b.packet(i) for b in trace.records() for i in range(len(b))]
    assert found == [payload(i) for i in range(100) if i != 50]
    (damage,) = trace.damages
    assert (damage.file, damage.offset, damage.frame, damage.skipped) == ("bad.pcap", at, 51, 16 + len(payload(50)))
    assert (
        str(damage)
        == f"bad.pcap: octet {at}: no record can begin here, {damage.skipped} octets skipped (before frame 51)"
    )


@given(n=st.integers(24, 4000))
def test_a_cut_file_loses_the_cut_record_only(n: int) -> None:
    data = pcap(60)[:n]
    whole, at = 0, 24
    while whole < 60 and at + 16 + len(payload(whole)) <= len(data):
        at += 16 + len(payload(whole))
        whole += 1
    with Trace(io.BytesIO(data)) as trace:
        assert sum(map(len, trace.records())) == whole
    assert [(d.offset, d.frame, d.skipped) for d in trace.damages] == (
        [(at, whole + 1, len(data) - at)] if at < len(data) else []
    )


@given(data=st.data())
def test_changed_octets_never_raise(data: st.DataObject) -> None:
    octets = bytearray(pcap(40))
    for _ in range(data.draw(st.integers(1, 6))):
        octets[data.draw(st.integers(4, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        with Trace(io.BytesIO(bytes(octets))) as trace:
            frames = sum(map(len, trace.keys(batch=7)))
    except CaptureError:
        return  # the version was hit
    assert frames == trace.frames


def test_an_unknown_version_is_read_on() -> None:
    data = bytearray(pcap(10))
    data[4] = 3
    with Trace(io.BytesIO(data)) as trace:
        assert sum(map(len, trace.records())) == 10
    assert [(d.offset, d.frame, d.what) for d in trace.damages] == [(0, 1, "a version that is not known")]


def test_no_capture(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pcap"
    with pytest.raises(CaptureError, match=r"missing\.pcap: no such file"):
        Trace(missing)
    with pytest.raises(CaptureError, match="is a directory"):
        Trace(tmp_path)
    for data, what in ((b"", "is empty"), (b"#!/bin/sh\n", "no capture"), (gzip.compress(b"text"), "no capture")):
        missing.write_bytes(data)
        with pytest.raises(CaptureError, match=rf"missing\.pcap: {what}"):
            Trace(missing)
    with pytest.raises(CaptureError, match="expected a path or a binary file object"):
        Trace(17)  # type: ignore[arg-type]  # no path
    with pytest.raises(CaptureError, match="got text"):
        Trace(OnlyRead("text"))  # type: ignore[arg-type]  # no octets


def test_a_time_that_is_not_there() -> None:
    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)

    data = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)) + block(1, struct.pack("<HHI", 101, 0, 0))
    data += block(3, struct.pack("<I", len(payload(5))) + payload(5))
    with Trace(io.BytesIO(data)) as trace:
        (batch,) = trace.records()
    assert batch.times.tolist() == [NO_TIME]
    assert batch.packet(0) == payload(5)


def test_batches_that_are_kept_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(pcap(20_000))
    with Trace(tmp_path / "t") as trace:
        # views of views, while the batches themselves are let go
        views = [batch.keys["flow_label"][::2] for batch in trace.keys(batch=500)]
    keys, _ = parse([payload(i) for i in range(20_000)])
    assert np.array_equal(np.concatenate(views), keys["flow_label"][::2])
    assert len(set(np.concatenate(views).tolist())) > 4000
