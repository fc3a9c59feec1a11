"""Which files are meant: folders, patterns, and the files of a rotation in the order of their numbers."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from flowclass.cli import main
from flowclass.cli._inputs import expand_traces
from flowclass.generate.captures import Frame, write_pcap


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("d/t.pcap10", "d/t.pcap", "d/t.pcap9", "d/e/f.pcap", "d/.hidden", "d/.git/x", "d/.t.csv.1.part"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            write_pcap(stream, [Frame(0, bytes(60))])
    (tmp_path / "d/nowhere").symlink_to("missing")
    (tmp_path / "b.toml").write_text('[[node]]\nhome_address = "2001:db8::1"\n')
    return tmp_path


def test_a_folder_stands_for_its_files(tree: Path) -> None:
    assert expand_traces(["d"], True) == ("d/e/f.pcap", "d/t.pcap", "d/t.pcap9", "d/t.pcap10")
    with pytest.raises(click.UsageError, match="-r reads"):
        expand_traces(["d"], False)
    os.mkdir("empty")
    with pytest.raises(click.UsageError, match="no files"):
        expand_traces(["empty"], True)


def test_a_pattern_that_no_shell_expanded(tree: Path) -> None:
    assert expand_traces(["d/t.pcap*", "-"], False) == ("d/t.pcap", "d/t.pcap9", "d/t.pcap10", "-")
    assert expand_traces(["d/*.none"], False) == ("d/*.none",)
    Path("[a].pcap").touch()
    assert expand_traces(["[a].pcap"], False) == ("[a].pcap",)  # the name of a file before it is a pattern


def test_commands_take_folders(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("d/bad.txt").write_text("notes\n")
    assert main(["classify", "-r", "d", "--bindings", "b.toml", "-o", "o.csv"]) == 1
    assert "bad.txt: no capture" in capsys.readouterr().err
    assert len(Path("o.csv").read_text().splitlines()) == 5
    assert main(["report", "-r", "d/e", "--bindings", "b.toml", "-o", "o.html"]) == 0
    assert main(["classify", "d", "--bindings", "b.toml"]) == 2
