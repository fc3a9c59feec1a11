"""Arrow and Parquet: the same rows as .jsonl, with the types of docs/interfaces.md, and as a stream for other tools."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from traces_kit import FORWARD, NCAST, NOTHING, make_rows

from flowclass import DamageWarning
from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.generate.captures import Frame, write_pcap
from flowclass.generate.mobility import mobility_trace
from flowclass.mobility import load_bindings
from flowclass.traces.columns import COLUMNS
from flowclass.traces.outputs import open_output
from flowclass.traces.run import Run

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from flowclass.traces import arrow  # noqa: E402 (without pyarrow it can't be imported)
from flowclass.traces.columnar import SCHEMA, classify_traces  # noqa: E402


def read(path: Path) -> Any:
    return pq.read_table(path) if path.suffix == ".parquet" else pa.ipc.open_file(path).read_all()


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(bindings file, trace)."""
    folder = tmp_path_factory.mktemp("job")
    rng = random.Random(8)
    nodes = random_nodes(rng, 9, 6)
    (folder / "b.toml").write_text(bindings_toml(nodes))
    with (folder / "t.pcap").open("wb") as stream:
        write_pcap(stream, [Frame(p.time_ns, p.frame) for p in mobility_trace(rng, nodes, 40_000)])
    return folder / "b.toml", folder / "t.pcap"


def write(path: Path, job: tuple[Path, Path]) -> Path:
    with open_output(str(path)) as writer:
        Run(load_bindings(job[0]), writer=writer).classify([str(job[1])])
    return path


@pytest.mark.parametrize("ending", ["arrow", "parquet"])
def test_same_rows_as_jsonl(
    tmp_path: Path, job: tuple[Path, Path], ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow.ParquetWriter, "GROUP", 10_000)
    table = read(write(tmp_path / f"rows.{ending}", job))
    lines = write(tmp_path / "rows.jsonl", job).read_text().splitlines()
    assert table.to_pylist() == [json.loads(line) for line in lines]


@pytest.mark.parametrize("ending", ["arrow", "parquet"])
def test_types(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows.{ending}"
    with open_output(str(path)) as writer:
        writer.write(make_rows(FORWARD, NCAST, NOTHING, untimed=(2,)))
        writer.write(make_rows(NOTHING, file="other.pcap"))
        writer.write(make_rows(FORWARD, file="ü.pcap"))
    table = read(path)
    assert tuple(table.column_names) == COLUMNS
    for name, kind in {"file": pa.string(), "frame": pa.uint64(), "time_ns": pa.int64(), "action": pa.string(),
                       "reason": pa.string(), "home_address": pa.string(), "fid": pa.uint16(),
                       "bid": pa.uint16()}.items():  # fmt: skip
        assert table.schema.field(name).type == kind
    care_of = table.schema.field("care_of").type
    assert pa.types.is_list(care_of)
    assert care_of.value_type == pa.string()
    rows = table.to_pylist()
    assert rows[1]["care_of"] == ["2001:db8:a::1", "2001:db8:b::1"]
    assert [row["time_ns"] is None for row in rows] == [False, False, True, False, False]
    assert rows[3] == dict.fromkeys(COLUMNS) | {
        "file": "other.pcap", "frame": 1, "time_ns": 1_600_000_000_000_000_001, "action": "none", "reason": "not-ip",
    }  # fmt: skip
    assert rows[4]["file"] == "ü.pcap"


@pytest.mark.parametrize("ending", ["arrow", "parquet"])
def test_no_rows(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows.{ending}"
    with open_output(str(path)):
        pass
    assert read(path).num_rows == 0
    assert tuple(read(path).column_names) == COLUMNS


def test_forgotten_outcomes(tmp_path: Path) -> None:
    """A table of outcomes that begins anew in the middle of a row group."""
    rows = make_rows(FORWARD, NOTHING)
    paths = [tmp_path / f"rows.{ending}" for ending in ("arrow", "parquet")]
    for path in paths:
        with open_output(str(path)) as writer:
            writer.write(rows)
            old, rows.outcomes.values = rows.outcomes.values, [NOTHING, FORWARD]
            writer.write(rows)
            rows.outcomes.values = old
        assert read(path)["reason"].to_pylist() == ["flow", "not-ip", "not-ip", "flow"]


def test_stream(job: tuple[Path, Path]) -> None:
    decisions = classify_traces(str(job[1]), job[0])
    table = pa.table(decisions)
    assert table.schema == SCHEMA
    assert table.num_rows >= 40_000
    assert decisions.summary is not None
    assert decisions.summary.packets == table.num_rows
    assert pa.table(decisions).equals(table)  # a second use begins anew
    counts = dict(zip(*np.unique(table["reason"].to_numpy(zero_copy_only=False), return_counts=True), strict=True))
    assert counts == {k: v.packets for k, v in decisions.summary.by_reason().items() if v.packets}


def test_stream_is_read_as_it_is_used(job: tuple[Path, Path]) -> None:
    batches = iter(classify_traces([str(job[1])] * 3, job[0]))
    assert next(batches).num_rows == 16384


def test_polars_takes_it(job: tuple[Path, Path]) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(classify_traces(str(job[1]), job[0]))
    assert frame.columns == list(COLUMNS)
    assert frame["frame"].dtype == polars.UInt64


def test_pandas_takes_it_with_nullable_integers(job: tuple[Path, Path]) -> None:
    pandas = pytest.importorskip("pandas")
    stream = classify_traces(str(job[1]), job[0])
    frame = stream.to_pandas()
    kinds = {name: str(frame[name].dtype) for name in ("frame", "time_ns", "fid", "bid")}
    assert kinds == {"frame": "uint64", "time_ns": "Int64", "fid": "UInt16", "bid": "UInt16"}
    assert frame["fid"].isna().any()
    with pytest.raises(TypeError, match=r"stream\.to_pandas\(\)"):
        pandas.DataFrame(stream)  # it would be one column of record batches
    assert repr(stream).startswith("<DecisionStream: file, frame, time_ns,")


def test_damage_is_a_warning(tmp_path: Path, job: tuple[Path, Path]) -> None:
    cut, text = tmp_path / "cut.pcap", tmp_path / "text.pcap"
    cut.write_bytes(job[1].read_bytes()[:-5])
    text.write_text("no capture")
    stream = classify_traces([str(cut), str(text)], job[0])
    with pytest.warns(DamageWarning) as found:
        pa.table(stream)
    assert [str(warning.message).partition(": ")[0] for warning in found] == [str(cut), str(text)]
    assert str(found[1].message).endswith(": passed over")
    summary = stream.summary
    assert summary is not None
    assert repr(summary).endswith("; 2 of 2 files damaged>")
    assert "<p>" in summary._repr_html_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pa.table(classify_traces(str(job[1]), job[0]))


def test_without_pyarrow(tmp_path: Path, job: tuple[Path, Path]) -> None:
    """One line that says what to install."""
    code = "import sys; sys.modules['pyarrow'] = None; from flowclass.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["classify", str(job[1]), "--bindings", str(job[0]), "-o", str(tmp_path / "x.parquet")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert "flowclass[parquet]" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_trace_is_an_error_at_the_call(tmp_path: Path) -> None:
    cases: list[Any] = [tmp_path / "none.pcap", [str(tmp_path / "none.pcap")]]
    for traces in cases:
        with pytest.raises(FileNotFoundError, match=r"none\.pcap"):
            classify_traces(traces, replay=True)
