"""Bounds on what a hostile or odd file may cost, and what is said when one is met."""

from __future__ import annotations

import io
import lzma
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from traces_kit import zstd_library

from flowclass.errors import CaptureError
from flowclass.generate.captures import Frame, write_pcap
from flowclass.traces.reader import Damages, Trace
from flowclass.traces.summary import FileSummary, Summary

HEAD = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28) + struct.pack("<IIHHII", 1, 20, 1, 0, 0, 20)
BAD = struct.pack("<III", 6, 12, 12)  # an enhanced packet block that is too short to be one


def capture() -> bytes:
    stream = io.BytesIO()
    write_pcap(stream, [Frame(i * 10**9, bytes(60)) for i in range(1000)])
    return stream.getvalue()


def test_the_first_places_are_kept_and_the_rest_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "t.pcapng"
    path.write_bytes(HEAD + BAD * 5000)
    with Trace(path) as trace:
        assert sum(len(batch) for batch in trace.records()) == 0
    assert (len(trace.damages), trace.damages.more, trace.damages.found) == (1000, 4000, 5000)
    assert [d.offset for d in trace.damages] == [len(HEAD) + 12 * i for i in range(1000)]
    summary, file = Summary(), FileSummary("t")
    file.damage = trace.damages
    summary.files.append(file)
    other = Summary.from_saved(summary.to_saved())
    other.merge(Summary.from_saved(summary.to_saved()), same_file=True)
    assert other.files[0].damage.found == 10_000
    assert len(other.files[0].damage) == Damages.MOST
    listed = summary.to_dict()["files"][0]
    assert (len(listed["damage"]), listed["more_damage"]) == (1000, 4000)


def test_a_cut_behind_more_places_than_are_kept_is_one_damage(tmp_path: Path) -> None:
    packed = lzma.compress(HEAD + BAD * 2000 + BAD[:5])
    path = tmp_path / "t.xz"
    path.write_bytes(packed[:-20])  # the record is cut, and so is the compression around it
    with Trace(path) as trace:
        list(trace.keys())
    assert 1000 < trace.damages.found <= 2001


def test_a_flood_of_damage_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "t.pcapng"
    with path.open("wb") as stream:
        stream.write(HEAD)
        for _ in range(30):
            stream.write(BAD * 100_000)
    (tmp_path / "b.toml").write_text('[[node]]\nhome_address = "2001:db8::1"\n')
    code = (
        "from pathlib import Path\nfrom flowclass.cli import main\n"
        f"status = main(['classify', {str(path)!r}, '--bindings', {str(tmp_path / 'b.toml')!r}])\n"
        "print(status, Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status, kilobytes = map(int, done.stdout.splitlines()[-1].split())
    assert status == 1
    assert kilobytes < 100_000, kilobytes
    assert "2 999 990 more damaged places" in done.stderr


@pytest.mark.parametrize("kind", ["zst", "xz"])
def test_a_limit_of_memory_is_called_one_and_can_be_lifted(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"t.{kind}"
    if kind == "xz":
        path.write_bytes(lzma.compress(capture(), preset=9))
        small, says = 8 << 20, "more memory, and the limit is 8M: --memory SIZE"
    else:
        library = zstd_library()
        parameter = library.CompressionParameter
        compressor = library.ZstdCompressor(
            options={parameter.window_log: 27, parameter.enable_long_distance_matching: 1}
        )
        path.write_bytes(compressor.compress(capture()) + compressor.flush())
        small, says = 64 << 20, "128M of memory, and the limit is 64M: --memory 128M allows it"
    with pytest.raises(CaptureError, match=says) as caught:
        Trace(path, memory=small)
    assert "damaged" not in str(caught.value)
    with Trace(path, memory=160 << 20) as trace:
        assert sum(len(batch) for batch in trace.records()) == 1000
    assert trace.damages == []


def long_pcap(sizes: list[int]) -> bytes:
    """Records of these lengths."""
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101)
    return head + b"".join(struct.pack("<IIII", 1700000000 + i, 0, n, n) + bytes(n) for i, n in enumerate(sizes))


def long_pcapng(sizes: list[int]) -> bytes:
    """Packets of these lengths; a negative one is a custom block."""
    found = HEAD
    for n in sizes:
        body = struct.pack("<IIIII", 0, 0, 1, n, n) + bytes(n + -n % 4) if n > 0 else bytes(-n)
        total = 12 + len(body)
        found += struct.pack("<II", 6 if n > 0 else 0xBAD, total) + body + struct.pack("<I", total)
    return found


@pytest.mark.parametrize(
    "data",
    [
        long_pcap([60, 700_001, 60, 60]),
        long_pcap([60, 5_000_000, 60, 60]),
        long_pcapng([60, 800_000, 60, 60]),
        long_pcapng([60, -17_000_000, 60, 60]),
        long_pcapng([60, 17_000_000, 60, 60]),
    ],
    ids=["pcap record", "pcap record of 5 MB", "pcapng packet", "pcapng block", "pcapng packet of 17 MB"],
)
def test_a_record_beyond_a_limit_is_called_one(data: bytes) -> None:
    with Trace(io.BytesIO(data)) as trace:
        assert [int(n) for batch in trace.records() for n in batch.lengths] == [60, 60, 60]
    (damage,) = trace.damages
    assert "beyond the limit" in damage.what
    make = long_pcap if data.startswith(b"\xd4\xc3\xb2\xa1") else long_pcapng
    assert damage.skipped == len(data) - len(make([60] * 3))


@pytest.mark.parametrize("size", [305_933, 262_145])
@pytest.mark.parametrize("make", [long_pcap, long_pcapng])
def test_a_long_record_within_the_limits_is_read(make: Callable[[list[int]], bytes], size: int) -> None:
    """Of its octets the first 262,144 are given, Wireshark's largest packet."""
    with Trace(io.BytesIO(make([60, size, 60]))) as trace:
        batches = list(trace.records())
    found = [pair for b in batches for pair in zip(b.lengths.tolist(), b.originals.tolist(), strict=True)]
    assert found == [(60, 60), (262_144, size), (60, 60)]
    assert trace.damages == []


def test_a_length_that_is_wrong_is_not_called_a_limit() -> None:
    """A flipped bit: the record does not end where its length says."""
    data = bytearray(long_pcap([60] * 5))
    data[24 + 76 + 8 + 3] = 1  # the second record is 16 MiB longer
    with Trace(io.BytesIO(bytes(data))) as trace:
        assert sum(len(batch) for batch in trace.records()) == 4
    assert "limit" not in trace.damages[0].what


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"snoop\0\0\0" + bytes(60), "snoop"),
        (b"PK\x03\x04" + bytes(60), "zip archive"),
        (b"GMBU" + bytes(60), "Network Monitor"),
        ((bytes(8) + b"\x02\x04\0\x20\0\0\0\x10" + bytes(16)) * 3, "ERF"),
        (bytes(257) + b"ustar" + bytes(300), "tar archive"),
        (b"text\n", "neither pcap nor pcapng"),
        (b"", "is empty"),
    ],
)
def test_what_is_no_capture_is_called_by_its_name(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "t.pcap"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=word):
        Trace(path)


def test_compressed_twice(tmp_path: Path) -> None:
    path = tmp_path / "t.pcap.xz"
    path.write_bytes(lzma.compress(lzma.compress(capture())))
    with pytest.raises(CaptureError, match="compressed twice"):
        Trace(path)


def test_a_later_frame_that_asks_for_too_much_is_named_too(tmp_path: Path) -> None:
    """The first frame fits; what it holds is read, and of the second one the memory that it asks for is said."""
    library = zstd_library()
    data = capture()
    window = {library.CompressionParameter.window_log: 27}
    large = library.ZstdCompressor(options=window)
    path = tmp_path / "t.zst"
    path.write_bytes(library.compress(data) + large.compress(data[24:]) + large.flush())
    with Trace(path, memory=100 << 20) as trace:
        assert sum(len(batch) for batch in trace.records()) == 1000
    [damage] = trace.damages
    assert damage.what == "to decompress it takes 128M of memory, and the limit is 100M: --memory 128M allows it"
    with Trace(path, memory=(128 << 20)) as trace:
        assert sum(len(batch) for batch in trace.records()) == 2000
    assert trace.damages == []
