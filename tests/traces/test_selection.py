"""A part of the packets: --from, --to, --skip, --first."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path

import pytest

from flowclass.cli import main
from flowclass.errors import FlowclassError
from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.generate.captures import Frame, write_pcap
from flowclass.generate.mobility import mobility_trace
from flowclass.traces.selection import time_ns

NODES = random_nodes(random.Random(9), 3, 4)
BEGIN = 1_764_000_000 * 10**9


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.toml").write_text(bindings_toml(NODES))
    packets = [p.frame for p in mobility_trace(random.Random(3), NODES, 400)]
    for number in range(2):
        half = packets[200 * number : 200 * number + 200]
        with (tmp_path / f"{number}.pcap").open("wb") as stream:
            frames = [Frame(BEGIN + (200 * number + i) * 10**8, data) for i, data in enumerate(half)]
            write_pcap(stream, frames)
    return tmp_path


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("replay", [[], ["--replay"]])
@pytest.mark.parametrize(
    ("options", "span"),
    [
        (["--first", "7"], slice(0, 7)),
        (["--skip", "195", "--first", "10"], slice(195, 205)),
        (["--skip", "1000"], slice(400, 400)),
        (["--from", "1764000010"], slice(100, 400)),
        (["--to", "2025-11-24T16:00:10.05Z"], slice(0, 101)),
        (["--from", "1764000019.9", "--to", "1764000020.2", "--skip", "1"], slice(200, 202)),
    ],
)
def test_rows_are_those_of_the_whole(
    files: Path, capsys: pytest.CaptureFixture[str], options: list[str], span: slice, replay: list[str]
) -> None:
    common = ["classify", "0.pcap", "1.pcap", "--bindings", "b.toml", "--json", *replay]
    assert main([*common, "-o", "all.csv"]) == 0
    assert main([*common, "-o", "part.csv", *options]) == 0
    chosen = rows(Path("all.csv").read_text())[span]
    assert rows(Path("part.csv").read_text()) == chosen
    capsys.readouterr()
    assert main([*common, *options]) == 0  # the summary alone
    assert json.loads(capsys.readouterr().out)["packets"] == len(chosen)


def test_pages_and_messages(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "0.pcap", "--bindings", "b.toml", "-o", "p.html", "--first", "123"]) == 0
    assert "<b>123</b> packets" in Path("p.html").read_text()
    assert main(["decode", "0.pcap", "--json", "--first", "5"]) == 0
    assert json.loads(capsys.readouterr().out)["messages"] == []


def test_it_goes_with_workers_but_not_with_parts(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["classify", "0.pcap", "--bindings", "b.toml", "--workers", "2", "--first", "5"]
    assert main([*common, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["packets"] == 5
    for more in (["--part-size", "1M"], ["--scheduler", "local"]):
        assert main([*common, *more]) == 2
        error = capsys.readouterr().err
        assert "--first" in error
        assert error.count("\n") == 1


def test_times() -> None:
    assert time_ns("0") == 0
    assert time_ns("1.5") == time_ns("1970-01-01T00:00:01.5Z") == 1_500_000_000
    assert time_ns("-1.5") == time_ns("1969-12-31T23:59:58.5Z") == -1_500_000_000
    assert time_ns("1764000010.123456789") == 1_764_000_010_123_456_789
    assert time_ns("2025-11-24") == time_ns("2025-11-24 00:00:00+00:00") == time_ns("2025-11-24T01:00+01:00")
    for text in ("", "now", "2025-13-01", "1e9", "2025-11-24T25:00:00Z", "\u0661"):
        with pytest.raises(FlowclassError):
            time_ns(text)
