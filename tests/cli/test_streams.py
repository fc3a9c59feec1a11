"""Standard streams that are closed or full, inputs without an end, and values of any length: one line, status 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowclass.cli import main
from flowclass.generate.captures import Frame, write_pcap

COMMAND = f"{sys.executable} -m flowclass"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "b.toml").write_text("")
    with (tmp_path / "t.pcap").open("wb") as stream:
        write_pcap(stream, [Frame(i, bytes(60)) for i in range(5)])
    return tmp_path


def shell(files: Path, text: str) -> tuple[int, str]:
    done = subprocess.run(["sh", "-c", f"{COMMAND} {text}"], cwd=files, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "command", ["classify t.pcap --bindings b.toml", "classify t.pcap --bindings b.toml --json -o rows.csv", "--help"]
)
def test_a_closed_standard_output_is_an_error(files: Path, command: str) -> None:
    expected = (2, "flowclass: error: standard output: Bad file descriptor\n")
    assert shell(files, f"{command} >&-") == expected
    if "-o" in command:  # what was made stays
        assert len((files / "rows.csv").read_text().splitlines()) == 6


def test_a_closed_standard_input_is_an_error(files: Path) -> None:
    status, error = shell(files, "classify - --bindings b.toml <&-")
    assert status == 2
    assert error == "flowclass: error: -: can't be read on: Bad file descriptor\n"


@pytest.mark.parametrize("stream", ["&-", "/dev/full"])
def test_a_message_that_nobody_can_be_told_changes_no_status(files: Path, stream: str) -> None:
    assert shell(files, f"classify missing.pcap --bindings b.toml 2>{stream}")[0] == 2
    assert shell(files, f"classify t.pcap --bindings b.toml 2>{stream}")[0] == 0
    (files / "t.pcap").write_bytes((files / "t.pcap").read_bytes()[:-1])
    assert shell(files, f"classify t.pcap --bindings b.toml 2>{stream}")[0] == 1


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no /dev/zero")
@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["check", "/dev/zero"], "/dev/zero: no text: octet 0 is 0"),
        (["classify", "t.pcap", "--bindings", "/dev/zero"], "/dev/zero: no text: octet 0 is 0"),
        (["classify", "/dev/zero", "--bindings", "b.toml"], "/dev/zero: no capture"),
        (
            ["lookup", "/dev/zero", "--header", "192.0.2.1", "192.0.2.2", "1", "2", "6"],
            "/dev/zero: no text: octet 0 is 0",
        ),
        (["ha", "--check", "/dev/zero"], "/dev/zero: no text: octet 0 is 0"),
    ],
)
def test_an_input_without_an_end_is_an_error(
    files: Path, command: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(files)
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


@pytest.mark.parametrize(
    "command", ["classify {} --bindings b.toml", "check {}", "split t.pcap --bindings b.toml -o {}"]
)
def test_a_name_of_any_length_is_one_short_line(
    files: Path, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(files)
    assert main(command.format("x" * 100_000).split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) < 1100
    assert line.endswith(("too long", "no such file or directory"))


def test_too_few_descriptors_are_one_line(files: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f"ulimit -n 8; {COMMAND} classify t.pcap --bindings b.toml --workers 2 -o rows.csv"],
        cwd=files, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "flowclass: error: Too many open files\n")
    assert sorted(path.name for path in files.iterdir()) == ["b.toml", "t.pcap"]


def test_a_folder_called_minus_is_not_standard_input(files: Path) -> None:
    (files / "-").mkdir()
    assert shell(files, "classify - --bindings b.toml < t.pcap") == (0, "")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("split t.pcap --bindings b.toml -o -", "-o -: a folder expected"),
        ("split t.pcap --bindings b.toml -o ''", "-o '': a folder expected"),
        ("classify t.pcap --bindings b.toml --format jsonl", "--format goes with -o -"),
        ("classify t.pcap --bindings b.toml --format jsonl -o rows.csv", "--format goes with -o -"),
    ],
)
def test_an_output_that_can_not_be_meant_is_refused(files: Path, command: str, says: str) -> None:
    status, error = shell(files, command)
    assert status == 2
    assert says in error
    assert sorted(path.name for path in files.iterdir()) == ["b.toml", "t.pcap"]
