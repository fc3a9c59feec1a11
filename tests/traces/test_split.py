"""`flowclass split`: the packets that decisions name are in the files, each once, as tshark reads them."""

from __future__ import annotations

import json
import random
import resource
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from naive_packets import parse as naive_parse

from flowclass import load_bindings
from flowclass.generate.captures import Frame, write_pcap, write_pcapng
from flowclass.traces import Trace
from flowclass.traces.interruption import Interruption
from flowclass.traces.packet_files import PACKET_ENDINGS
from flowclass.traces.split import Splitter

BINDINGS = """
[[node]]
home_address = "2001:db8:1::1"
ipv4_home_address = "192.0.2.9"
[[node.care_of]]
bid = 1
address = "2001:db8:a::1"
[[node.care_of]]
bid = 2
address = "198.51.100.7"
[[node.flow]]
fid = 1
pri = 1
bids = [2]
selector = { protocol = "udp", source_port = 1 }
[[node.flow]]
fid = 2
pri = 2
action = "n-cast"
bids = [1, 2]
selector = { protocol = "udp", source_port = 2 }
[[node.flow]]
fid = 3
pri = 3
action = "discard"
selector = { protocol = "udp", source_port = 3 }
"""
SECTION_5_TO_BOTH = """
[[node]]
home_address = "2001:db8:1::1"
care_of = [{ bid = 1, address = "2001:db8:a::1" }, { bid = 2, address = "2001:db8:b::1" }]
flow = [{ fid = 1, pri = 1, action = "n-cast", bids = [1, 2], selector = { protocol = "tcp" } }]
"""
CARRIED = ("udp.srcport", "udp.dstport", "udp.length", "tcp.srcport", "tcp.dstport", "tcp.seq_raw", "tcp.len")
HOME = bytes.fromhex("20010db8000100000000000000000001")
PEER = bytes.fromhex("20010db8000c00000000000000000001")


def packet6(source_port: int, payload: bytes = b"payload!", home: bytes = HOME) -> bytes:
    udp = struct.pack(">HHHH", source_port, 9, 8 + len(payload), 0) + payload
    return struct.pack(">IHBB", 6 << 28 | 0xB8 << 20 | 0x12345, len(udp), 17, 64) + PEER + home + udp


def packet4(source_port: int) -> bytes:
    udp = struct.pack(">HHHH", source_port, 9, 12, 0) + b"four"
    head = struct.pack(">BBHHHBBH", 0x45, 0x28, 32, 0, 0, 64, 17, 0)
    return head + bytes((192, 0, 2, 1, 192, 0, 2, 9)) + udp


@pytest.fixture
def bindings(tmp_path: Path) -> Path:
    path = tmp_path / "b.toml"
    path.write_text(BINDINGS)
    return path


def ether(packet: bytes) -> bytes:
    return bytes(12) + (b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00") + packet


def records(path: Path) -> list[tuple[int, int, bytes, int]]:
    """(link type, time, octets, octets on the wire) of each packet of a file."""
    with Trace(path) as trace:
        found = [
            (int(b.linktypes[i]), int(b.times[i]), b.packet(i), int(b.originals[i]))
            for b in trace.records()
            for i in range(len(b))
        ]
    assert trace.damages == []
    return found


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flowclass", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


def split(*arguments: Any, status: int = 0) -> Any:
    done = run("split", *arguments, "--json")
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout) if status != 2 else done.stderr


def test_each_packet_is_where_its_decision_sends_it(tmp_path: Path, bindings: Path) -> None:
    packets = [packet6(1), packet6(2), packet6(3), packet6(4), packet4(4), packet6(1, home=PEER), b"\0" * 30]
    trace = tmp_path / "t.pcap"
    with trace.open("wb") as stream:
        write_pcap(stream, [Frame(10**18 + i, ether(p) + b"FCS!") for i, p in enumerate(packets)])
    frames = [(1, 10**18 + i, ether(p) + b"FCS!", len(p) + 18) for i, p in enumerate(packets)]
    expected = {
        "care-of": {"2001-db8-a--1": [1, 3, 4], "198.51.100.7": [0, 1]},
        "flow": {"2001-db8-1--1_flow-1": [0], "2001-db8-1--1_flow-2": [1], "2001-db8-1--1_flow-3": [2],
                 "2001-db8-1--1_default": [3, 4]},
        "node": {"2001-db8-1--1": [0, 1, 2, 3, 4]},
        "action": {"forward": [0, 3, 4], "n-cast": [1], "discard": [2], "none": [5, 6]},
    }  # fmt: skip
    for by, files in expected.items():
        folder = tmp_path / by
        found = split(trace, "--bindings", bindings, "-o", folder, "--by", by)
        assert {p.stem: records(p) for p in folder.iterdir()} == {
            name: [frames[i] for i in which] for name, which in files.items()
        }
        assert {f["file"]: f["packets"] for f in found["files"]} == {f"{n}.pcapng": len(w) for n, w in files.items()}
        assert found["packets"] == 7
        assert found["left_out"] == 7 - len({i for which in files.values() for i in which})


def test_encapsulated_packets(tmp_path: Path, bindings: Path) -> None:
    packets = [packet6(1), packet6(2), packet6(3), packet6(4), packet4(2)]
    trace = tmp_path / "t.pcapng"
    with trace.open("wb") as stream:
        write_pcapng(stream, [Frame(10**18 + i, ether(p) + b"FCS!") for i, p in enumerate(packets)], snap_length=80)
    found = split(trace, "--bindings", bindings, "-o", tmp_path / "l", "--encapsulate", "--home-agent", "2001:db8::9")
    assert [f["packets"] for f in found["files"]] == [2, 3]
    six, four = records(tmp_path / "l" / "2001-db8-a--1.pcapng"), records(tmp_path / "l" / "198.51.100.7.pcapng")
    for copies, which, outer, size in ((six, (1, 3, 4), 6, 48), (four, (0, 1), 4, 20)):
        for (linktype, time, octets, original), i in zip(copies, which, strict=True):
            inside = packets[i]
            assert (linktype, time, original) == (101, 10**18 + i, size + len(inside))
            assert octets[size:] == inside[: 80 - 14]
            header = naive_parse(octets + bytes(original - len(octets)))
            assert (header.version, header.protocol) == (outer, 41 if inside[0] >> 4 == 6 else 4)
            assert header.traffic_class == (0xB8 if i != 4 else 0x28)
            if outer == 6:
                assert header.flow_label == (0x12345 if i != 4 else 0)
                assert header.source == bytes.fromhex("20010db8000000000000000000000009")
            else:
                words = struct.unpack(">10H", octets[:20])
                assert sum(words) % 0xFFFF == 0


def test_comments_link_types_and_times_are_kept(tmp_path: Path, bindings: Path) -> None:
    def block(order: str, kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        length = struct.pack(order + "I", 12 + len(body))
        return struct.pack(order + "I", kind) + length + body + length

    octets = b""
    for order in "<>":
        octets += block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
        for linktype, offset in ((1, 0), (101, 0), (101, -(10**6))):
            options = struct.pack(order + "HHB3xHHqHH", 9, 1, 9, 14, 8, offset, 0, 0)
            octets += block(order, 1, struct.pack(order + "HHI", linktype, 0, 0) + options)
        for interface, data in enumerate((ether(packet6(4)), packet6(4), packet6(4, b"odd"))):
            head = struct.pack(order + "IIIII", interface, 0, 77, len(data), len(data))
            comment = struct.pack(order + "HHIHH", 2, 4, 1, 1, 5) + b"hello\0\0\0" + struct.pack(order + "HH", 0, 0)
            octets += block(order, 6, head + data + bytes(-len(data) % 4) + comment)
    trace = tmp_path / "t.pcapng"
    trace.write_bytes(octets)
    split(trace, "--bindings", bindings, "-o", tmp_path / "l")
    out = tmp_path / "l" / "2001-db8-a--1.pcapng"
    assert [r[:2] for r in records(out)] == [(1, 77), (101, 77), (101, 77 - 10**15)] * 2
    assert out.read_bytes().count(b"\1\0\5\0hello\0\0\0") == 6


@pytest.mark.needs_tool("tshark")
@pytest.mark.parametrize(
    ("case", "encapsulate"),
    [("made", False), ("made", True), ("section 5", False), ("section 5", True), ("section 5 with n-cast", True)],
)
def test_access_links_as_tshark_reads_them(tmp_path: Path, bindings: Path, case: str, encapsulate: bool) -> None:
    """Packets that leave by an access link are those that decisions name, each once and whole; of n-cast each copy."""
    if case != "made":  # section 5 of the draft
        assert run("demo", "--save", tmp_path / "demo").returncode == 0
        what: list[Any] = [tmp_path / "demo" / "section5.pcapng", "--replay"]
        if case != "section 5":
            bindings.write_text(SECTION_5_TO_BOTH)
            what[1:] = ["--bindings", bindings]
    else:
        what = [tmp_path / "t.pcap", "--bindings", bindings]
        packets = [packet6(1 + i % 4) for i in range(40)] + [packet4(1 + i % 4) for i in range(20)]
        with what[0].open("wb") as stream:
            write_pcap(stream, [Frame(10**18 + i, p) for i, p in enumerate(packets)], linktype=101)
    rows = tmp_path / "rows.jsonl"
    assert run("classify", *what, "-o", rows).returncode == 0
    named = Counter(
        (address, row["time_ns"])
        for row in map(json.loads, rows.read_text().splitlines())
        for address in row["care_of"] or ()
    )
    assert named
    assert (len(named) > len({time for _, time in named})) == (case != "section 5")
    before = {packet["time"]: packet for packet in dissected(what[0])}
    split(*what, "-o", tmp_path / "l", *(["--encapsulate"] if encapsulate else []))
    seen = Counter[tuple[str, int]]()
    for path in (tmp_path / "l").iterdir():
        address = path.stem.replace("-", ":")
        for packet in dissected(path):
            seen[address, packet["time"]] += 1
            if encapsulate:
                packet["destinations"].remove(address)
            assert packet == before[packet["time"]]
    assert seen == named


def dissected(path: Path) -> list[dict[str, Any]]:
    """What tshark says of each packet: its time in ns, the destinations of all of its headers, and what they carry."""
    names = ("frame.time_epoch", "ipv6.dst", "ip.dst", *CARRIED)
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", *(part for name in names for part in ("-e", name))]
    found = []
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        time, six, four, *carried = line.split("\t")
        whole, part = time.split(".")
        destinations = [address for address in f"{six},{four}".split(",") if address]
        found.append({"time": int(whole) * 10**9 + int(part), "destinations": destinations, "carried": carried})
    return found


def test_more_files_than_may_be_open(tmp_path: Path) -> None:
    count, limit = 2000, 64
    nodes = "".join(
        f'[[node]]\nhome_address = "2001:db8:1::{i:x}"\n[[node.care_of]]\nbid = 1\naddress = "2001:db8:a::{i:x}"\n'
        for i in range(1, count + 1)
    )
    (tmp_path / "b.toml").write_text(nodes)
    rng = random.Random(1)
    frames = [
        Frame(i, packet6(1, home=HOME[:14] + rng.randrange(1, count + 1).to_bytes(2, "big"))) for i in range(3 * count)
    ]
    with (tmp_path / "t.pcap").open("wb") as stream:
        write_pcap(stream, frames, linktype=101)
    done = subprocess.run(
        [sys.executable, "-m", "flowclass", "split", "t.pcap", "--bindings", "b.toml", "-o", "l", "--json"],
        cwd=tmp_path, check=True, capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert len(found["files"]) > limit
    assert sum(f["packets"] for f in found["files"]) == 3 * count
    assert len(list((tmp_path / "l").iterdir())) == len(found["files"]) > 0.9 * count


def test_a_part(tmp_path: Path, bindings: Path) -> None:
    trace = tmp_path / "t.pcap"
    with trace.open("wb") as stream:
        write_pcap(stream, [Frame(10**9 * i, packet6(1 + i % 2)) for i in range(20)], linktype=101)
    found = split(trace, "--bindings", bindings, "-o", tmp_path / "l", "--from", 5, "--skip", 2, "--first", 6)
    assert (found["packets"], found["left_out"]) == (6, 0)
    assert [r[1] // 10**9 for r in records(tmp_path / "l" / "198.51.100.7.pcapng")] == [7, 8, 9, 10, 11, 12]
    assert [r[1] // 10**9 for r in records(tmp_path / "l" / "2001-db8-a--1.pcapng")] == [7, 9, 11]


def test_wrong_use(tmp_path: Path, bindings: Path) -> None:
    trace = tmp_path / "t.pcap"
    with trace.open("wb") as stream:
        write_pcap(stream, [Frame(1, packet6(1))], linktype=101)
    some = ("--bindings", bindings, "-o")
    assert "is a file" in split(trace, *some, trace, status=2)
    assert "no IP address" in split(trace, *some, tmp_path / "l", "--encapsulate", "--home-agent", "x", status=2)
    assert "--encapsulate" in split(trace, *some, tmp_path / "l", "--home-agent", "::1", status=2)
    two = ("--encapsulate", "--home-agent", "::1", "--home-agent", "::2")
    assert "::1 and ::2 are both of IPv6" in split(trace, *some, tmp_path / "l", *two, status=2)
    assert not (tmp_path / "l").exists()


def test_a_damaged_capture_gives_what_is_whole(tmp_path: Path, bindings: Path) -> None:
    trace = tmp_path / "t.pcap"
    with trace.open("wb") as stream:
        write_pcap(stream, [Frame(i, packet6(4)) for i in range(5)], linktype=101)
    trace.write_bytes(trace.read_bytes()[:-3])
    found = split(trace, "--bindings", bindings, "-o", tmp_path / "l", status=1)
    assert found["packets"] == 4
    assert len(records(tmp_path / "l" / "2001-db8-a--1.pcapng")) == 4


def one_packet(trace: Path) -> bytes:
    with trace.open("wb") as stream:
        write_pcap(stream, [Frame(10**18, ether(packet6(1)))])
    return trace.read_bytes()


@pytest.mark.parametrize("how", ["name", "link", "hard link"])
def test_an_output_that_is_an_input_is_refused(tmp_path: Path, bindings: Path, how: str) -> None:
    links = tmp_path / "links"
    links.mkdir()
    output = links / "198.51.100.7.pcapng"
    trace = output if how == "name" else tmp_path / "t.pcap"
    before = one_packet(trace)
    if how == "link":
        output.symlink_to(trace)
    elif how == "hard link":
        output.hardlink_to(trace)
    error = split(trace, "--bindings", bindings, "-o", links, status=2)
    assert error.endswith("which is read\n")
    assert trace.read_bytes() == before
    assert [path.name for path in links.iterdir()] == [output.name]


def test_bindings_are_no_output_either(tmp_path: Path) -> None:
    links, trace = tmp_path / "links", tmp_path / "t.pcap"
    links.mkdir()
    one_packet(trace)
    bindings = links / "198.51.100.7.pcapng"
    bindings.write_text(BINDINGS)
    assert "would replace" in split(trace, "--bindings", bindings, "-o", links, status=2)
    assert bindings.read_text() == BINDINGS


def test_from_a_pipe(tmp_path: Path, bindings: Path) -> None:
    data = one_packet(tmp_path / "t.pcap")
    command = [sys.executable, "-m", "flowclass", "split", "-", "--bindings", str(bindings), "-o", "l", "--json"]
    done = subprocess.run(command, input=data, cwd=tmp_path, capture_output=True, check=True, timeout=120)
    assert json.loads(done.stdout)["files"] == [{"file": "198.51.100.7.pcapng", "packets": 1, "octets": 70}]


@pytest.mark.parametrize("ending", PACKET_ENDINGS)
def test_formats(tmp_path: Path, bindings: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if ending.endswith(".zst"):
        pytest.importorskip("backports.zstd" if sys.version_info < (3, 14) else "compression.zstd")
    monkeypatch.setattr("flowclass.traces.split._GATHERED", 300)  # several compressed pieces, one after the other
    frames = [Frame(10**18 + i, ether(packet6(1 + i % 4))) for i in range(40)]
    for trace, some in ((tmp_path / "a.pcap", frames[:20]), (tmp_path / "b.pcap", frames[20:])):
        with trace.open("wb") as stream:
            write_pcap(stream, some)
    traces = [tmp_path / "a.pcap", tmp_path / "b.pcap"]
    found = Splitter(load_bindings(bindings), tmp_path / "l", ending=ending).split(traces)
    assert [(output.file, output.packets) for output in found.outputs] == [
        (f"198.51.100.7{ending}", 20), (f"2001-db8-a--1{ending}", 20)
    ]  # fmt: skip
    assert [time for _, time, _, _ in records(tmp_path / "l" / f"198.51.100.7{ending}")] == [
        frame.time_ns for frame in frames if int.from_bytes(frame.data[54:56]) in (1, 2)
    ]


def test_a_pcap_file_with_two_link_types_is_refused(tmp_path: Path, bindings: Path) -> None:
    one_packet(tmp_path / "a.pcap")
    with (tmp_path / "b.pcap").open("wb") as stream:
        write_pcap(stream, [Frame(10**18, packet6(1))], linktype=101)
    what = (tmp_path / "a.pcap", tmp_path / "b.pcap", "--bindings", bindings, "-o", tmp_path / "l", "--format", "pcap")
    assert f"{tmp_path}/l/198.51.100.7.pcap: a .pcap file has one link type" in split(*what, status=2)
    assert not (tmp_path / "l").exists()
    assert [output["packets"] for output in split(*what, "--encapsulate")["files"]] == [2]  # all of them are raw IP


def test_what_was_read_until_an_interruption(tmp_path: Path, bindings: Path) -> None:
    traces = [tmp_path / "a.pcap", tmp_path / "b.pcap"]
    for trace in traces:
        one_packet(trace)
    interruption = Interruption()
    splitter = Splitter(
        load_bindings(bindings), tmp_path / "l", interruption=interruption, progress=lambda done: interruption.request()
    )
    assert [output.packets for output in splitter.split(traces).outputs] == [1]


def test_a_name_that_is_no_text(tmp_path: Path, bindings: Path) -> None:
    one_packet(tmp_path / "t.pcap")
    trace = tmp_path / "t\udcff.pcap"
    (tmp_path / "t.pcap").rename(trace)
    found = split(trace, "--bindings", bindings, "-o", tmp_path / "links\udcfe")
    assert found["folder"] == rf"{tmp_path}/links\xfe"
    assert [file["packets"] for file in found["files"]] == [1]
