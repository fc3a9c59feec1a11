"""Per-packet rows as files: the columns of docs/interfaces.md, and whole or not at all."""

from __future__ import annotations

import csv
import gzip
import importlib
import json
import os
import stat
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from traces_kit import FORWARD, NCAST, NOTHING, make_rows

from flowclass.addresses import address_text
from flowclass.cli import main
from flowclass.errors import OutputError
from flowclass.generate.captures import Frame, write_pcap
from flowclass.traces.columns import COLUMNS
from flowclass.traces.files import atomic_file
from flowclass.traces.outcomes import Outcomes, Rows, RowValues
from flowclass.traces.outputs import open_output
from flowclass.traces.summary import FileSummary, Summary


def test_csv_rows(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with open_output(str(path)) as writer:
        writer.write(make_rows(FORWARD, NCAST, NOTHING, untimed=(2,)))
    lines = list(csv.reader(path.read_text().splitlines()))
    assert tuple(lines[0]) == COLUMNS
    assert ",".join(lines[1]) == "a.pcap,1,1600000000000000001,forward,flow,2001:db8:1::1,1,2,2001:db8:b::1"
    assert lines[2][7:] == ["", "2001:db8:a::1 2001:db8:b::1"]
    assert lines[3] == ["a.pcap", "3", "", "none", "not-ip", "", "", "", ""]


def test_jsonl_rows(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with open_output(str(path)) as writer:
        writer.write(make_rows(FORWARD, NCAST, NOTHING, untimed=(2,)))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(tuple(row) == COLUMNS for row in rows)
    assert rows[0]["time_ns"] == 1600000000000000001
    assert rows[0]["care_of"] == ["2001:db8:b::1"]
    assert rows[1]["bid"] is None
    assert rows[1]["care_of"] == ["2001:db8:a::1", "2001:db8:b::1"]
    assert rows[2] == dict.fromkeys(COLUMNS) | {"file": "a.pcap", "frame": 3, "action": "none", "reason": "not-ip"}


@pytest.mark.parametrize("compression", [".gz", ".zst"])
@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_compressed_text(tmp_path: Path, ending: str, compression: str) -> None:
    if compression == ".zst":
        zstd = pytest.importorskip("backports.zstd" if sys.version_info < (3, 14) else "compression.zstd")
    plain, packed = tmp_path / f"rows{ending}", tmp_path / f"rows{ending}{compression}"
    for path in (plain, packed):
        with open_output(str(path)) as writer:
            for _ in range(100):
                writer.write(make_rows(FORWARD, NCAST, NOTHING))
    octets = packed.read_bytes()
    assert (gzip.decompress(octets) if compression == ".gz" else zstd.decompress(octets)) == plain.read_bytes()
    with pytest.raises(AttributeError), open_output(str(packed)) as writer:
        writer.write(None)  # type: ignore[arg-type]  # an error on the way
    assert packed.read_bytes() == octets
    assert sorted(tmp_path.iterdir()) == [plain, packed]


@pytest.mark.parametrize("name", ['a,"b".pcap', "a\nb.pcap", "\udcff.pcap", "ü.pcap"])
def test_odd_file_names(tmp_path: Path, name: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Every output is UTF-8, whatever octets a file is named with."""
    source, shown = tmp_path / name, f"{tmp_path}/{name}".replace("\udcff", "\\xff")
    with source.open("wb") as stream:
        write_pcap(stream, [Frame(0, b"x")])
    source.write_bytes(source.read_bytes() + b"cut")  # a damage, whose place is named too
    (tmp_path / "b.toml").write_text("")
    for ending in ("csv", "jsonl", "arrow", "parquet"):
        if ending in ("arrow", "parquet") and find_spec("pyarrow") is None:
            continue
        path = tmp_path / f"out.{ending}"
        assert main(["classify", str(source), "--bindings", str(tmp_path / "b.toml"), "-o", str(path), "--json"]) == 1
        captured = capfdbinary.readouterr()
        assert json.loads(captured.out.decode())["files"][0]["file"] == shown
        assert captured.err.decode().startswith(f"flowclass: {' '.join(shown.split())}: octet 41")
        if ending == "csv":
            with path.open(newline="", encoding="utf-8") as text:
                assert list(csv.reader(text))[1][0] == shown
        elif ending == "jsonl":
            assert json.loads(path.read_text("utf-8"))["file"] == shown
        else:
            columnar = importlib.import_module("pyarrow.feather" if ending == "arrow" else "pyarrow.parquet")
            assert columnar.read_table(str(path))["file"].to_pylist() == [shown]


def test_texts_survive_a_forgotten_table(tmp_path: Path) -> None:
    rows = make_rows(FORWARD, NOTHING)
    path = tmp_path / "out.csv"
    with open_output(str(path)) as writer:
        writer.write(rows)
        rows.outcomes.forget()
        rows.ids[:] = [rows.outcomes.number(NOTHING), rows.outcomes.number(FORWARD)]
        writer.write(rows)
    reasons = [line.split(",")[4] for line in path.read_text().splitlines()[1:]]
    assert reasons == ["flow", "not-ip", "not-ip", "flow"]


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("before")

    def interrupted() -> None:
        with open_output(str(path)) as writer:
            writer.write(make_rows(FORWARD))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["out.csv"]


def test_replaced_file_keeps_its_permissions_and_links(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("before")
    target.chmod(0o640)
    link.symlink_to(target)
    with atomic_file(str(link)) as stream:
        stream.write(b"after")
    assert link.is_symlink()
    assert target.read_text() == "after"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    with atomic_file(str(tmp_path / "new")) as stream:
        stream.write(b"x")
    (tmp_path / "usual").write_text("x")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_no_space_left(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    (tmp_path / "rows.csv").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"rows\.csv: No space"), open_output(str(tmp_path / "rows.csv")):
        pass


@pytest.mark.parametrize("name", ["out.txt", "out", "missing/out.csv", "out.parquet.gz", "out.gz", "out.csv.xz"])
def test_impossible_outputs(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=name), open_output(str(tmp_path / name)):
        pass


@pytest.mark.parametrize(
    ("text", "packed"),
    [
        ("192.0.2.1", bytes([192, 0, 2, 1])),
        ("2001:db8::1", bytes.fromhex("20010db8") + bytes(11) + b"\1"),
        ("::ffff:192.0.2.1", bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 1])),
        ("::", bytes(16)),
        ("::102:304", bytes(12) + bytes([1, 2, 3, 4])),
        ("1::", b"\0\1" + bytes(14)),
        ("1:0:0:2::3", bytes.fromhex("00010000000000020000000000000003")),
        ("2001:db8::1:0:0:1", bytes.fromhex("20010db8000000000001000000000001")),
        ("2001:db8:0:1:1:1:1:1", bytes.fromhex("20010db8000000010001000100010001")),
    ],
)
def test_address_text(text: str, packed: bytes) -> None:
    assert address_text(packed) == text


RECORD = np.dtype([("a", "<u8"), ("b", "<u8")])


def test_interning() -> None:
    rng = np.random.default_rng(1)
    records = rng.integers(0, 9, size=(500, 2), dtype=np.uint64).view(RECORD)[:, 0]
    table = Outcomes(RECORD)
    asked = []

    def resolve(fresh: npt.NDArray[np.void]) -> list[RowValues]:
        asked.extend(fresh.tolist())
        return [RowValues("none", "flow", fid=a) for a in fresh["a"].tolist()]  # b makes no difference to the outcome

    ids = table.intern(records, resolve)
    assert [table.values[i].fid for i in ids] == records["a"].tolist()
    assert len(table) == 9
    assert len(asked) == len(set(asked)) == 81
    assert np.array_equal(table.intern(records, resolve), ids)
    assert len(asked) == 81
    table.changed()  # the same records may mean something else now: ask again, the ids stay
    assert np.array_equal(table.intern(records, resolve), ids)
    assert len(asked) == 162


def test_many_different_outcomes_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Outcomes, "LIMIT", 100)
    monkeypatch.setattr(Outcomes, "BATCH", 50)
    table, path = Outcomes(RECORD), tmp_path / "rows.csv"
    numbers = np.arange(2000) % 777
    with open_output(str(path)) as writer:
        for start in range(0, 2000, 50):
            part = np.zeros(50, RECORD)
            part["a"] = numbers[start : start + 50]
            table.trim()
            ids = table.intern(part, lambda fresh: [RowValues("none", "flow", fid=a) for a in fresh["a"].tolist()])
            assert len(table) <= 150
            frames = np.arange(start, start + 50, dtype=np.uint64)
            writer.write(Rows("f", frames, frames.astype(np.int64), ids, table, np.ones(50, np.uint32)))
    assert table.epoch > 10
    assert [int(row["fid"]) for row in csv.DictReader(path.open())] == numbers.tolist()


def test_summary_counts() -> None:
    summary, file = Summary(), FileSummary("a.pcap")
    summary.files.append(file)
    summary.add(make_rows(FORWARD, FORWARD, NCAST, NOTHING), file)
    found = summary.to_dict()
    assert found["packets"] == 4
    assert found["octets"] == 400
    assert found["actions"] == {"none": 1, "forward": 2, "discard": 0, "n-cast": 1}
    assert found["reasons"]["flow"] == 3
    decisions = found["nodes"][0]["decisions"]
    assert [d["fid"] for d in decisions] == [1, 2]
    assert decisions[1]["care_of"] == {"2001:db8:a::1": 1, "2001:db8:b::1": 1}
    other = Summary()
    other.merge(summary)
    other.merge(summary)
    assert other.to_dict()["nodes"][0]["packets"] == 6
