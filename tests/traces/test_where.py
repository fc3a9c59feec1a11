"""--where and --columns, by every way that rows take: formats, workers, standard input, replay, Python."""

from __future__ import annotations

import csv
import io
import json
import random
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from flowclass.cli import main
from flowclass.errors import FlowclassError
from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.generate.captures import RAW, Frame, write_pcap, write_pcapng
from flowclass.generate.mobility import mobility_trace
from flowclass.generate.traffic import traffic
from flowclass.generate.updates import update_packets
from flowclass.traces import classify_traces
from flowclass.traces.columns import COLUMNS, PACKET_COLUMNS, parse_columns
from flowclass.traces.where import Where

pq = pytest.importorskip("pyarrow.parquet")
pa = pytest.importorskip("pyarrow")
NODES = random_nodes(random.Random(4), 4, 6)
ALL = ("time", *COLUMNS, *PACKET_COLUMNS)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.toml").write_text(bindings_toml(NODES))
    rng = random.Random(6)
    frames = [Frame(p.time_ns, p.frame) for p in mobility_trace(rng, NODES, 600)]
    frames += traffic(rng, NODES, 600, connections=40)
    with (tmp_path / "a.pcap").open("wb") as stream:
        write_pcap(stream, frames, snap_length=200)
    with (tmp_path / "b.pcapng").open("wb") as stream:
        write_pcapng(stream, frames[:300])
    return tmp_path


def run(*arguments: str) -> None:
    assert main(["classify", "a.pcap", "b.pcapng", "--bindings", "b.toml", "--json", *arguments]) == 0


def rows_of(path: str) -> list[dict[str, Any]]:
    if path.endswith(".jsonl"):
        return [json.loads(line) for line in Path(path).read_text().splitlines()]
    table = pq.read_table(path) if path.endswith(".parquet") else pa.ipc.open_file(path).read_all()
    if "time" in table.column_names:
        assert table.schema.field("time").type == pa.timestamp("ns", "UTC")
        whole = table.column("time").cast(pa.int64()).to_pylist()
        assert whole == table.column("time_ns").to_pylist()
    found: list[dict[str, Any]] = table.drop_columns(["time"] if "time" in table.column_names else []).to_pylist()
    return found


@pytest.mark.parametrize("how", [[], ["--replay"], ["--workers", "2", "--part-size", "20K"]])
def test_every_format_has_the_same_columns(files: Path, how: list[str]) -> None:
    for ending in ("csv", "jsonl", "arrow", "parquet"):
        run("-o", f"x.{ending}", "--columns", ",".join(ALL), *how)
        run("-o", f"usual.{ending}", *how)
    expected = rows_of("x.jsonl")
    assert tuple(expected[0]) == ALL
    assert [{name: row[name] for name in COLUMNS} for row in expected] == rows_of("usual.jsonl")
    lines = list(csv.DictReader(io.StringIO(Path("x.csv").read_text())))
    assert tuple(lines[0]) == ALL
    for line, row in zip(lines, expected, strict=True):
        assert line == {
            name: "" if value is None else " ".join(value) if isinstance(value, list) else str(value)
            for name, value in row.items()
        }
    timeless = [{name: value for name, value in row.items() if name != "time"} for row in expected]
    assert rows_of("x.arrow") == rows_of("x.parquet") == timeless
    assert any(row["flow_label"] for row in expected)
    assert {row["captured"] < row["length"] for row in expected} == {True, False}


@pytest.mark.parametrize("ending", ["csv", "jsonl", "arrow", "parquet"])
def test_workers_write_the_same_octets(files: Path, ending: str) -> None:
    for columns in ("+packet,time", "captured,care_of,source,fid,file", "fid"):
        run("-o", f"alone.{ending}", "--columns", columns)
        run("-o", f"parts.{ending}", "--columns", columns, "--workers", "2", "--part-size", "15K")
        assert Path(f"alone.{ending}").read_bytes() == Path(f"parts.{ending}").read_bytes()


CONDITIONS = [
    "reason=flow",
    "action = forward and reason=default",
    "protocol=tcp and destination_port=1-1023",
    "protocol=58",
    "source=2001:db8::/33 and length=0-300",
    "destination=0.0.0.0-255.255.255.255",
    "frame=5-10 and file=b.pcapng",
    f"home_address={NODES[1].home_address}",
    f"care_of={NODES[1].care_of[0][1]}/64 and bid=1-65535",
    "fid=0x1 and captured=1-100000 and time_ns=0-9223372036854775807",
    "traffic_class=0-255 and flow_label=1-1048575",
]


def naive(text: str, row: dict[str, Any]) -> bool:
    """The meaning of conditions, by the text of a row."""
    names = {"tcp": 6, "udp": 17}
    for condition in text.split(" and "):
        name, value = (part.strip() for part in condition.split("="))
        there = row[name]
        if there is None:
            return False
        if name in ("action", "reason", "file"):
            if there != value:
                return False
        elif name in ("source", "destination", "home_address", "care_of"):
            addresses = [ip_address(a) for a in (there if isinstance(there, list) else [there])]
            if "-" in value:
                low, high = (ip_address(end) for end in value.split("-"))
                fits = [a.version == low.version and int(low) <= int(a) <= int(high) for a in addresses]
            else:
                fits = [a in ip_network(value, strict=False) for a in addresses]
            if not any(fits):
                return False
        else:
            first, _, last = value.partition("-")
            ends = [names[end] if end in names else int(end, 0) for end in (first, last or first)]
            if not ends[0] <= there <= ends[1]:
                return False
    return True


@pytest.mark.parametrize("how", [[], ["--replay"], ["--workers", "2"]])
def test_where_chooses_rows(files: Path, how: list[str]) -> None:
    run("-o", "all.jsonl", "--columns", "+packet", *how)
    everything = rows_of("all.jsonl")
    for text in CONDITIONS:
        expected = [row for row in everything if naive(text, row)]
        assert len(expected) < len(everything)
        run("-o", "some.jsonl", "--columns", "+packet", "--where", text, *how)
        assert rows_of("some.jsonl") == expected, text
        run("-o", "part.jsonl", "--columns", "+packet", "--where", text, "--skip", "2", "--first", "3", *how)
        assert rows_of("part.jsonl") == expected[2:5], text
    assert sum(any(naive(text, row) for row in everything) for text in CONDITIONS) > 8


def test_the_other_commands_and_standard_input(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Standard:
        buffer = io.BytesIO((files / "a.pcap").read_bytes())

    text = "protocol=udp and reason=flow"
    run("-o", "all.jsonl", "--columns", "+packet")
    expected = [row for row in rows_of("all.jsonl") if naive(text, row) and row["file"] == "a.pcap"]
    capsys.readouterr()
    monkeypatch.setattr(sys, "stdin", Standard())
    assert main(["classify", "-", "--bindings", "b.toml", "--where", text, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["packets"] == len(expected)
    assert main(["split", "a.pcap", "--bindings", "b.toml", "--where", text, "-o", "links", "--json"]) == 0
    assert sum(f["packets"] for f in json.loads(capsys.readouterr().out)["files"]) == sum(
        len(row["care_of"] or ()) for row in expected
    )
    assert main(["report", "a.pcap", "--bindings", "b.toml", "--where", text, "-o", "page.html"]) == 0
    with Path("u.pcap").open("wb") as stream:
        updates = [packet for node in NODES for packet in update_packets(node)] * 3
        write_pcap(stream, [Frame(i, packet) for i, packet in enumerate(updates)], linktype=RAW)
    assert main(["decode", "u.pcap", "--json"]) == 0
    messages = json.loads(capsys.readouterr().out)["messages"]
    assert main(["decode", "u.pcap", "--json", "--where", f"frame={messages[2]['frame']}-{messages[4]['frame']}"]) == 0
    assert json.loads(capsys.readouterr().out)["messages"] == messages[2:5]
    assert main(["decode", "a.pcap", "--where", "reason=flow"]) == 2
    assert "nothing is decided here" in capsys.readouterr().err


def test_from_python(files: Path) -> None:
    stream = classify_traces("a.pcap", "b.toml", columns="frame,time,source,fid", where="reason=flow")
    table = pa.table(stream)
    assert table.column_names == ["frame", "time", "source", "fid"]
    assert 0 < len(table) < 1200
    assert classify_traces("a.pcap", "b.toml", columns=["spi"]).__arrow_c_schema__() is not None
    pandas = pytest.importorskip("pandas")
    frame = pa.table(classify_traces("a.pcap", "b.toml", columns="+packet")).to_pandas()
    for name, kind in (("fid", "UInt16"), ("bid", "UInt16"), ("protocol", "UInt8"), ("time_ns", "Int64")):
        assert str(frame[name].dtype) == kind
    assert frame["fid"].isna().any()
    run("-o", "x.parquet")
    assert str(pandas.read_parquet("x.parquet")["fid"].dtype) == "UInt16"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "character 1 of '': expected a condition"),
        ("sorce=::1", "character 1 of 'sorce=::1': there is no field 'sorce'; did you mean source?"),
        ("frame", "character 6 of 'frame': expected '=' and a value after frame"),
        ("frame=", "character 7 of 'frame=': expected a value after frame="),
        ("frame=1 or frame=2", "character 9 of 'frame=1 or frame=2': expected 'and' or the end, found 'or'"),
        ("frame=1 and", "character 12 of 'frame=1 and': expected a condition"),
        ("frame=1 and fid=70000", "character 17 of 'frame=1 and fid=70000': fid: 70000 is out of range"),
        ("source=10.0.0.1-::1", "goes from one IP version to the other"),
        ("length=9-3", "the range 9-3 is reversed"),
        ("action=drop", "'drop' is none of none, forward, discard, n-cast"),
        ("time=5", "times are chosen by --from and --to"),
    ],
)
def test_what_is_wrong_with_a_condition(text: str, what: str) -> None:
    with pytest.raises(FlowclassError) as caught:
        Where(text)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lists_of_columns(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_columns("+packet") == COLUMNS + PACKET_COLUMNS
    assert parse_columns("+source, +length") == (*COLUMNS, "source", "length")
    assert parse_columns("packet,frame") == (*PACKET_COLUMNS, "frame")
    for text, what in (("sorce", "did you mean source"), ("frame,frame", "is there twice"), ("+fid", "is there twice")):
        with pytest.raises(FlowclassError, match=what):
            parse_columns(text)
    common = ["classify", "a.pcap", "--bindings", "b.toml"]
    for more in (
        ["--columns", "source"],
        ["-o", "x.csv", "--columns", "sorce"],
        ["--where", "sorce=1"],
        ["--where", "frame=1", "--workers", "2", "--part-size", "1M"],
    ):
        assert main([*common, *more]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not Path("x.csv").exists()
