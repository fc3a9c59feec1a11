"""`classify --by 5-tuple`: totals per connection, against a count by hand."""

from __future__ import annotations

import csv
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowclass.cli import main
from flowclass.errors import OutputError
from flowclass.generate.captures import Frame, write_pcap
from flowclass.mobility import HomeAgent
from flowclass.traces import Connections, Run
from flowclass.traces.connections import CONNECTION_COLUMNS

START = 10**18


def udp4(source: int, port: int, size: int) -> bytes:
    udp = struct.pack(">HHHH", port, 53, 8 + size, 0) + bytes(size)
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
    return head + bytes((192, 0, 2, source, 198, 51, 100, 7)) + udp


def icmp6(label: int) -> bytes:
    return struct.pack(">IHBB", 6 << 28 | label, 8, 58, 64) + bytes(15) + b"\1" + bytes(15) + b"\2" + bytes(8)


@pytest.fixture
def packets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    monkeypatch.chdir(tmp_path)
    Path("b.toml").write_text('[[node]]\nhome_address = "2001:db8:1::1"\n')
    found = [udp4(1 + i % 3, 1000 + i % 7, i % 50) if i % 5 else icmp6(i) for i in range(20_000)] + [b"no packet"]
    with open("t.pcap", "wb") as stream:
        write_pcap(stream, [Frame(START + i, packet) for i, packet in enumerate(found)], linktype=101)
    return found


def by_hand(packets: list[bytes]) -> list[tuple[Any, ...]]:
    totals: dict[tuple[Any, ...], list[int]] = {}
    for i, packet in enumerate(packets[:-1]):
        if packet[0] >> 4 == 4:
            who: tuple[Any, ...] = (
                f"192.0.2.{packet[15]}",
                "198.51.100.7",
                17,
                int.from_bytes(packet[20:22], "big"),
                53,
            )
        else:
            who = ("::1", "::2", 58, None, None)
        total = totals.setdefault(who, [0, 0, START + i, 0])
        total[:] = [total[0] + 1, total[1] + len(packet), total[2], START + i]
    return [(*who, *total) for who, total in totals.items()]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".arrow", ".parquet"])
def test_totals_per_connection(packets: list[bytes], ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = f"c{ending}"
    workers = ["--workers", "2"] if ending == ".arrow" else []
    assert main(["classify", "t.pcap", "--bindings", "b.toml", "--by", "5-tuple", "-o", out, "--json", *workers]) == 0
    assert json.loads(capsys.readouterr().out)["packets"] == len(packets)
    if ending == ".csv":
        head, *lines = csv.reader(Path(out).read_text().splitlines())
        assert tuple(head) == CONNECTION_COLUMNS
        found = [(a, b, *(int(value) if value else None for value in rest)) for a, b, *rest in lines]
    else:
        if ending == ".jsonl":
            rows = list(map(json.loads, Path(out).read_text().splitlines()))
        elif ending == ".arrow":
            rows = pytest.importorskip("pyarrow").ipc.open_file(out).read_all().to_pylist()
        else:
            rows = pytest.importorskip("pyarrow.parquet").read_table(out).to_pylist()
        assert {tuple(row) for row in rows} == {CONNECTION_COLUMNS}
        found = [tuple(row.values()) for row in rows]
    assert found == by_hand(packets)


def test_some_columns_and_times_as_times(packets: list[bytes], capsys: pytest.CaptureFixture[str]) -> None:
    some = ["classify", "t.pcap", "--bindings", "b.toml", "--by", "5-tuple", "--first", "2", "--columns"]
    assert main([*some, "packets,first,source", "-o", "c.csv"]) == 0
    assert Path("c.csv").read_text() == (
        "packets,first,source\n1,2001-09-09T01:46:40.000000000Z,::1\n1,2001-09-09T01:46:40.000000001Z,192.0.2.2\n"
    )
    assert main([*some, "+last", "-o", "c.parquet"]) == 0
    table = pytest.importorskip("pyarrow.parquet").read_table("c.parquet")
    assert table.column_names == [*CONNECTION_COLUMNS, "last"]
    assert str(table.schema.field("last").type) == "timestamp[ns, tz=UTC]"
    assert table["last"].cast("int64").to_pylist() == [START, START + 1]
    capsys.readouterr()
    assert main([*some, "frame", "-o", "c.csv"]) == 2
    assert "no column 'frame'" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["csv", "jsonl", "arrow"])
def test_to_standard_output(packets: list[bytes], form: str) -> None:
    command = [sys.executable, "-m", "flowclass", "classify", "t.pcap", "--bindings", "b.toml", "--by", "5-tuple"]
    done = subprocess.run(
        [*command, "-o", "-", "--format", form, "--columns", "packets", "--json"], capture_output=True, check=True
    )
    assert json.loads(done.stderr)["packets"] == len(packets)
    if form == "arrow":
        found = pytest.importorskip("pyarrow").ipc.open_stream(done.stdout).read_all()["packets"].to_pylist()
    elif form == "jsonl":
        found = [json.loads(line)["packets"] for line in done.stdout.splitlines()]
    else:
        found = list(map(int, done.stdout.splitlines()[1:]))
    assert found == [total[5] for total in by_hand(packets)]


def test_of_a_selection(packets: list[bytes], capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--where", "protocol=58", "--first", "3", "--write", "some.pcap"]
    assert main(["classify", "t.pcap", "--bindings", "b.toml", "--by", "5-tuple", "-o", "c.csv", *chosen]) == 0
    assert Path("c.csv").read_text().splitlines()[1:] == [f"::1,::2,58,,,3,144,{START},{START + 10}"]
    assert Path("some.pcap").stat().st_size == 24 + 3 * (16 + 48)
    assert "rows: c.csv" in capsys.readouterr().out


def test_too_many_are_refused_and_nothing_is_written(
    packets: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connections = Connections(most=22)
    Run(HomeAgent(), observers=[connections.add]).classify(["t.pcap"])
    assert (len(connections), connections.left_out) == (22, 1)
    with pytest.raises(OutputError, match=r"more than 21 connections.*--where"):
        Run(HomeAgent(), observers=[Connections(most=21).add]).classify(["t.pcap"])
    monkeypatch.setattr(Connections.__init__, "__defaults__", (21,))
    assert main(["classify", "t.pcap", "--bindings", "b.toml", "--by", "5-tuple", "-o", "c.csv"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not Path("c.csv").exists()


def test_a_trace_without_any(packets: list[bytes], tmp_path: Path) -> None:
    with open("none.pcap", "wb") as stream:
        write_pcap(stream, [Frame(START, b"no packet")], linktype=101)
    for name in ("none.csv", "none.arrow", "none.parquet"):
        assert main(["classify", "none.pcap", "--bindings", "b.toml", "--by", "5-tuple", "-o", name]) == 0
    assert Path("none.csv").read_text() == ",".join(CONNECTION_COLUMNS) + "\n"
    assert pytest.importorskip("pyarrow.parquet").read_table("none.parquet").column_names == list(CONNECTION_COLUMNS)


def test_wrong_use(packets: list[bytes], capsys: pytest.CaptureFixture[str]) -> None:
    some = ["classify", "t.pcap", "--bindings", "b.toml", "--by", "5-tuple"]
    for more in ([], ["-o", "c.csv", "--columns", "packet"], ["-o", "c.csv", "--scheduler", "local"],
                 ["-o", "c.txt"]):  # fmt: skip
        assert main([*some, *more]) == 2
        assert capsys.readouterr().err.count("\n") == 1
