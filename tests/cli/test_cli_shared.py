"""Every capture of the shared test data through the command line: no crash, no hang, a row for each frame."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from traces_kit import Here

from flowclass.cli import main
from flowclass.mobility import load_bindings
from flowclass.mobility.bindings_file import read_bindings
from flowclass.traces.outputs import open_output
from flowclass.traces.run import Run
from flowclass.traces.workers.jobs import Job, run_job
from flowclass.traces.workers.parts import cut


def captures(shared: Path) -> list[Path]:
    folders = (shared / "data/traffic", shared / "data/mobility", shared / "data/vectors")
    files = [p for folder in folders for p in sorted(folder.rglob("*")) if p.is_file()]
    return [p for p in files if p.suffix not in (".tsv", ".json", ".md")]


@pytest.fixture
def bindings(tmp_path: Path) -> Path:
    path = tmp_path / "bindings.toml"
    path.write_text(
        '[[node]]\nhome_address = "2001:db8:1::100"\nprefixes = ["::/0", "0.0.0.0/0"]\n'
        '[[node.care_of]]\nbid = 1\naddress = "2001:db8:a::1"\n'
        '[[node.flow]]\nfid = 1\npri = 1\nbids = [1]\nselector = { protocol = "tcp", source_port = "1-1024" }\n'
    )
    return path


def test_classify(shared: Path, tmp_path: Path, bindings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, out = captures(shared), tmp_path / "rows.jsonl"
    assert len(files) > 600
    statuses = {}
    for number, path in enumerate(files):
        how = ["--replay", "--profile", "rfc6089"] if number % 3 == 0 else ["--bindings", str(bindings)]
        status = main(["classify", str(path), *how, "-o", str(out), "--json"])
        captured = capsys.readouterr()
        assert status in (0, 1), (path, captured.err)
        found = json.loads(captured.out)
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert [row["frame"] for row in rows] == list(range(1, found["packets"] + 1)), path
        assert len(captured.err.splitlines()) == len(found["files"][0]["damage"]), path
        assert (status == 1) == bool(captured.err), path
        assert all(str(path) in line for line in captured.err.splitlines())
        statuses[path] = status
    assert sum(statuses.values()) < 30  # most are sound


def test_parts(shared: Path, tmp_path: Path, bindings: Path) -> None:
    """Cut into pieces, each capture comes to what it comes to as a whole."""
    job, out, right = Job(read_bindings(bindings), 0, ".csv"), tmp_path / "out.csv", tmp_path / "right.csv"
    parts = 0
    for path in captures(shared):
        with open_output(str(right)) as writer:
            summary = Run(load_bindings(bindings), writer=writer).classify([str(path)])
        size = max(path.stat().st_size // 7, 100)
        parts += len(cut(str(path), size))
        found = run_job(job, [str(path)], str(out), str(tmp_path / "parts"), Here(), part_size=size)
        assert out.read_bytes() == right.read_bytes(), path
        assert found.to_dict() == summary.to_dict(), path
    assert parts > 3000


def test_decode(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in captures(shared)[::5] + sorted((shared / "data/mobility").glob("*.pcap")):
        status = main(["decode", str(path), "--json"])
        captured = capsys.readouterr()
        assert status in (0, 1), (path, captured.err)
        assert json.loads(captured.out)["file"] == str(path)
        assert main(["decode", str(path)]) == status
        capsys.readouterr()


def test_all_at_once(shared: Path, tmp_path: Path, bindings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Many files in one run, the results of each as if it were alone."""
    files, out = captures(shared)[::10], tmp_path / "rows.csv"
    status = main(["classify", *map(str, files), "--bindings", str(bindings), "-o", str(out)])
    capsys.readouterr()
    assert status in (0, 1)
    together = out.read_text().splitlines()
    alone = together[:1]
    for path in files:
        main(["classify", str(path), "--bindings", str(bindings), "-o", str(out)])
        alone += out.read_text().splitlines()[1:]
    capsys.readouterr()
    assert together == alone
