"""`classify --write`: the packets that were chosen, as they were, in one capture file."""

from __future__ import annotations

import gzip
import io
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowclass.cli import main
from flowclass.errors import OutputError
from flowclass.generate.captures import Frame, write_pcap, write_pcapng
from flowclass.mobility import HomeAgent
from flowclass.traces import NO_TIME, Run, Trace, open_packets
from flowclass.traces.packet_files import PACKET_ENDINGS, Pcap, Pcapng
from flowclass.traces.selection import Selection
from flowclass.traces.where import Where

BINDINGS = '[[node]]\nhome_address = "2001:db8:1::1"\n[[node.care_of]]\nbid = 1\naddress = "2001:db8:a::1"\n'
HOME = bytes.fromhex("20010db8000100000000000000000001")
PEER = bytes.fromhex("20010db8000c00000000000000000001")
Packet = tuple[int, int, int, bytes]  # link type, time, octets on the wire, octets


def packet(port: int, payload: bytes = b"payload", home: bytes = HOME) -> bytes:
    udp = struct.pack(">HHHH", port, 9, 8 + len(payload), 0) + payload
    return struct.pack(">IHBB", 6 << 28, len(udp), 17, 64) + PEER + home + udp


def frames(count: int) -> list[Frame]:
    """Every third packet is nobody's."""
    return [Frame(10**18 + i, packet(i, bytes(i % 7), HOME if i % 3 else PEER)) for i in range(count)]


def read(path: Path) -> list[Packet]:
    with Trace(path) as trace:
        found = [
            (int(b.linktypes[i]), int(b.times[i]), int(b.originals[i]), b.packet(i))
            for b in trace.records()
            for i in range(len(b))
        ]
    assert trace.damages == []
    return found


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("b.toml").write_text(BINDINGS)
    with open("t.pcap", "wb") as stream:
        write_pcap(stream, frames(60), linktype=101)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    assert main(["classify", *arguments, "--bindings", "b.toml", "--json"]) == status
    said = capsys.readouterr()
    if status == 2:
        assert said.err.count("\n") == 1, said.err
        return said.err
    return json.loads(said.out)


@pytest.mark.parametrize("ending", PACKET_ENDINGS)
@pytest.mark.parametrize("how", [[], ["--workers", "2"], ["--replay"], ["-o", "rows.csv"]])
def test_all_packets_are_written_as_they_are(capsys: pytest.CaptureFixture[str], how: list[str], ending: str) -> None:
    if ending.endswith(".zst"):
        pytest.importorskip("backports.zstd" if sys.version_info < (3, 14) else "compression.zstd")
    found = run(capsys, "t.pcap", "--write", f"out{ending}", *how)
    assert read(Path(f"out{ending}")) == read(Path("t.pcap"))
    assert (found["written"], found["packets"]) == (f"out{ending}", 60)
    assert Path("rows.csv").exists() == ("-o" in how)


def test_packets_to_a_pipe_come_with_the_summary_on_standard_error(here: Path) -> None:
    command = [sys.executable, "-m", "flowclass", "classify", "-", "--bindings", "b.toml", "--write", "-", "--json"]
    data = (here / "t.pcap").read_bytes()
    with subprocess.Popen(
        command, cwd=here, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(data[: len(data) // 2])
        child.stdin.flush()
        begun = child.stdout.read(2000)  # while the trace goes on
        child.stdin.write(data[len(data) // 2 :])
        out, said = child.communicate(timeout=60)
    (here / "out.pcapng").write_bytes(begun + out)
    assert read(here / "out.pcapng") == read(here / "t.pcap")
    assert json.loads(said)["written"] == "-"


@pytest.mark.parametrize("replay", [False, True])
def test_the_packets_of_a_selection_are_those_of_its_rows(capsys: pytest.CaptureFixture[str], replay: bool) -> None:
    chosen = ["--where", "reason=default and source_port=4-50", "--from", "1000000000.000000006", "--skip", "2"]
    run(capsys, "t.pcap", *chosen, "-o", "rows.jsonl", "--write", "out.pcapng", *["--replay"] * replay)
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    every = read(Path("t.pcap"))
    assert len(rows) == 28
    assert read(Path("out.pcapng")) == [every[row["frame"] - 1] for row in rows]
    assert all(row["time_ns"] >= 10**18 + 6 for row in rows)


def test_traces_of_many_batches(capsys: pytest.CaptureFixture[str]) -> None:
    """Batches of 16,384 packets, the second file compressed; frames count from 1 in each file."""
    many = [Frame(i, packet(i % 1000, bytes(i % 5), HOME if i % 3 else PEER)) for i in range(40_000)]
    data = io.BytesIO()
    write_pcapng(data, many, linktype=101, order=">")
    Path("many.pcapng.gz").write_bytes(gzip.compress(data.getvalue(), 1))
    run(capsys, "t.pcap", "many.pcapng.gz", "--where", "home_address=2001:db8:1::1", "--write", "out.pcapng")
    expected = [frame for frame in [*frames(60), *many] if frame.data[24:40] == HOME]
    assert [(time, octets) for _, time, _, octets in read(Path("out.pcapng"))] == expected


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + length + body + length


def mixed() -> bytes:
    """Both byte orders, two link types, times before 1970, a comment in each packet, which the snap length has cut."""
    octets = b""
    for order in "<>":
        octets += block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
        for linktype, offset in ((1, 0), (101, 0), (101, -(10**6))):
            options = struct.pack(order + "HHB3xHHqHH", 9, 1, 9, 14, 8, offset, 0, 0)
            octets += block(order, 1, struct.pack(order + "HHI", linktype, 0, 0) + options)
        for interface, data in enumerate((bytes(12) + b"\x86\xdd" + packet(4), packet(4), packet(4, b"odd"))):
            head = struct.pack(order + "IIIII", interface, 0, 77, len(data), len(data) + 9)
            comment = struct.pack(order + "HHIHH", 2, 4, 1, 1, 5) + b"hello\0\0\0" + struct.pack(order + "HH", 0, 0)
            octets += block(order, 6, head + data + bytes(-len(data) % 4) + comment)
    return octets


def test_link_types_times_lengths_and_comments_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mixed.pcapng").write_bytes(mixed())
    run(capsys, "mixed.pcapng", "--write", "out.pcapng")
    assert read(Path("out.pcapng")) == read(Path("mixed.pcapng"))
    assert {linktype for linktype, *_ in read(Path("out.pcapng"))} == {1, 101}
    assert Path("out.pcapng").read_bytes().count(b"\1\0\5\0hello\0\0\0") == 6


def test_what_a_pcap_file_cannot_hold_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mixed.pcapng").write_bytes(mixed())
    Path("out.pcap").write_text("an older output")
    said = run(capsys, "mixed.pcapng", "-o", "rows.csv", "--write", "out.pcap", status=2)
    assert "out.pcap: a .pcap file has one link type, and the packets have several (1 and 101)" in said
    assert "1970" in run(capsys, "mixed.pcapng", "--from", "-9999999", "--to", "0", "--write", "out.pcap", status=2)
    assert Path("out.pcap").read_text() == "an older output"
    assert sorted(path.name for path in Path().iterdir()) == ["b.toml", "mixed.pcapng", "out.pcap", "t.pcap"]


@pytest.mark.parametrize("ending", [".pcapng", ".pcap"])
def test_no_packet_is_a_capture_without_packets(capsys: pytest.CaptureFixture[str], ending: str) -> None:
    run(capsys, "t.pcap", "--where", "frame=1000", "--write", f"out{ending}")
    assert read(Path(f"out{ending}")) == []


@pytest.mark.parametrize("form", [Pcap(), Pcapng()])
def test_a_packet_without_a_time_is_written_with_1970(form: Pcap | Pcapng, here: Path) -> None:
    octets = bytearray()
    form.add(octets, 101, NO_TIME, 4, (b"1234",), b"")
    (here / "x").write_bytes(octets)
    assert read(here / "x") == [(101, 0, 4, b"1234")]


def test_a_damaged_capture_gives_what_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    Path("cut.pcap").write_bytes(Path("t.pcap").read_bytes()[:-3])
    run(capsys, "cut.pcap", "--write", "out.pcapng", status=1)
    assert read(Path("out.pcapng")) == read(Path("t.pcap"))[:-1]


@pytest.mark.parametrize("how", ["t.pcap", "link.pcap", "hard.pcap"])
def test_an_output_that_is_an_input_is_refused(capsys: pytest.CaptureFixture[str], how: str) -> None:
    before = Path("t.pcap").read_bytes()
    if how == "link.pcap":
        Path(how).symlink_to("t.pcap")
    elif how == "hard.pcap":
        Path(how).hardlink_to("t.pcap")
    assert "would replace t.pcap, which is read" in run(capsys, "t.pcap", "--write", how, status=2)
    assert Path("t.pcap").read_bytes() == before


def test_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert ".pcapng or .pcap, or with .gz or .zst behind it" in run(
        capsys, "t.pcap", "--write", "out.txt", "-o", "-", status=2
    )
    assert "no folder" in run(capsys, "t.pcap", "--write", "none/out.pcap", status=2)
    Path("rows.csv").symlink_to("out.pcap")
    assert "the same output" in run(capsys, "t.pcap", "--write", "out.pcap", "-o", "rows.csv", status=2)
    assert "the same output" in run(capsys, "t.pcap", "--write", "-", "-o", "-", status=2)
    some = ["t.pcap", "--write", "out.pcap"]
    assert "--part-size" in run(capsys, *some, "--workers", "2", "--part-size", "1M", status=2)
    assert "--scheduler" in run(capsys, *some, "--scheduler", "local", status=2)
    assert not Path("out.pcap").exists()


def test_from_python(here: Path) -> None:
    with open_packets(here / "out.pcap") as packets:
        summary = Run(HomeAgent(), selection=Selection(where=Where("frame=3-5")), packets=packets).classify(["t.pcap"])
    assert (packets.packets, summary.packets) == (3, 3)
    assert read(here / "out.pcap") == read(here / "t.pcap")[2:5]
    with pytest.raises(OutputError, match="ends in"), open_packets("x.csv"):
        pass
