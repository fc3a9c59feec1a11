"""Files of our own: where others may write, nothing of theirs is believed, followed or replaced."""

from __future__ import annotations

import errno
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest

import flowclass.traces.workers.parts
from flowclass.errors import FlowclassError, OutputError
from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.generate.captures import Frame, write_pcap
from flowclass.generate.mobility import mobility_trace
from flowclass.mobility.bindings_file import read_bindings
from flowclass.traces.files import atomic_file, make_folder, open_own, own_file, own_folder, together
from flowclass.traces.workers.jobs import Job, parts_folder
from flowclass.traces.workers.parts import Result, cut

NODES = random_nodes(random.Random(5), 3, 4)
COMMAND = [sys.executable, "-m", "flowclass"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "b.toml").write_text(bindings_toml(NODES))
    with (tmp_path / "t.pcap").open("wb") as stream:
        write_pcap(stream, [Frame(p.time_ns, p.frame) for p in mobility_trace(random.Random(3), NODES, 300)])
    return tmp_path


def classify(folder: Path, output: str) -> subprocess.CompletedProcess[str]:
    arguments = ["t.pcap", "--bindings", "b.toml", "--workers", "2", "-o", output]
    return subprocess.run([*COMMAND, "classify", *arguments], cwd=folder, capture_output=True, text=True)


def test_a_folder_of_our_own_is_for_us_alone(tmp_path: Path) -> None:
    with own_folder(str(tmp_path / "parts")):
        assert (tmp_path / "parts").stat().st_mode & 0o777 == 0o700
    for mode in (0o720, 0o702, 0o777):
        os.chmod(tmp_path / "parts", mode)
        with pytest.raises(OutputError, match="others may write"), own_folder(str(tmp_path / "parts")):
            pass
    (tmp_path / "link").symlink_to(tmp_path / "parts")
    with pytest.raises(OutputError, match="link"), own_folder(str(tmp_path / "link")):
        pass
    if os.geteuid() == 0:
        os.chmod(tmp_path / "parts", 0o700)
        os.chown(tmp_path / "parts", 1234, 1234)
        with pytest.raises(OutputError, match="somebody else"), own_folder(str(tmp_path / "parts")):
            pass


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "a").symlink_to(tmp_path / "victim")
    with own_file(str(tmp_path / "a"), fresh=True) as stream:
        stream.write(b"mine")
    assert (tmp_path / "victim").read_text() == "precious"
    (tmp_path / "b").symlink_to(tmp_path / "victim")
    for call in (own_file, open_own):
        with pytest.raises(OSError, match="symbolic"):
            call(str(tmp_path / "b"))


def test_planted_parts(files: Path) -> None:
    """A folder of parts that others can write to is refused, whatever it holds."""
    parts = files / ".rows.csv.parts"
    parts.mkdir()
    os.chmod(parts, 0o777)
    (files / "victim").write_text("precious")
    (parts / "output").symlink_to(files / "victim")
    done = classify(files, "rows.csv")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert ".rows.csv.parts: others may write to it" in done.stderr
    assert (files / "victim").read_text() == "precious"


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('run')",)


def test_a_result_runs_no_code(files: Path) -> None:
    out = str(files / "rows.csv")
    (unit,) = cut(str(files / "t.pcap"), 1 << 30)
    job = Job(read_bindings(str(files / "b.toml")), 0, ".csv")
    with own_folder(parts_folder(out)):
        part = Path(parts_folder(out)) / job.part_name(unit)
    for content in (pickle.dumps(Hostile()), b"", b"\xc1", b"\x91\x00"):
        part.with_name(f"{part.name}.result").write_bytes(content)
        with pytest.raises(FlowclassError, match="no result of a part"):
            Result.read(str(part))
    assert "pickle" not in vars(flowclass.traces.workers.parts)


def test_output_that_is_an_input_is_refused(files: Path) -> None:
    before = {name: (files / name).read_bytes() for name in ("b.toml", "t.pcap")}
    (files / "b.csv").symlink_to(files / "b.toml")
    os.link(files / "t.pcap", files / "t.csv")
    os.link(files / "t.pcap", files / "t.html")
    (files / "b.html").symlink_to(files / "b.toml")
    common = ["t.pcap", "--bindings", "b.toml"]
    commands = [
        *(["classify", *common, "-o", out] for out in ("b.csv", "t.csv")),
        *(["classify", *common, "-o", out, "--workers", "2"] for out in ("b.csv", "t.csv")),
        ["classify", "-", "--bindings", "b.toml", "-o", "t.csv"],
        *(["report", *common, "-o", out] for out in ("b.html", "t.html")),
    ]
    for command in commands:
        with (files / "t.pcap").open("rb") as stream:
            done = subprocess.run([*COMMAND, *command], cwd=files, stdin=stream, capture_output=True, text=True)
        assert done.returncode == 2, command
        assert "would replace" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert before == {name: (files / name).read_bytes() for name in before}


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".arrow", ".parquet"])
@pytest.mark.parametrize("workers", [[], ["--workers", "2"]])
def test_a_full_disk_names_the_output(files: Path, ending: str, workers: list[str]) -> None:
    """A limit on the size of files stands for the disk: the same path of errors."""
    command = [*COMMAND, "classify", "t.pcap", "--bindings", "b.toml", "-o", f"rows{ending}", *workers]
    code = (
        "import resource, signal, sys\nfrom flowclass.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))\n"
        f"sys.exit(main({command[3:]!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=files, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"rows{ending}" in line
    assert "too large" in line
    assert sorted(p.name for p in files.iterdir()) == ["b.toml", "t.pcap"]


def test_a_full_standard_output_is_one_line(files: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    commands = (["classify", "t.pcap", "--bindings", "b.toml"], ["decode", "t.pcap"], ["check", "b.toml"], ["--help"])
    for command in commands:
        with open("/dev/full", "w") as full:
            done = subprocess.run([*COMMAND, *command], cwd=files, stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 2, done.stderr
        assert done.stderr.splitlines() == ["flowclass: error: standard output: No space left on device"]


def test_lone_surrogates_and_too_little_memory_are_one_line(files: Path) -> None:
    (files / "surrogate.json").write_text('{"\\ud800": 1}')
    (files / "value.json").write_text('{"node": [{"home_address": "\\ud800"}]}')
    for name in ("surrogate.json", "value.json"):
        for command in (["check", name], ["classify", "t.pcap", "--bindings", name]):
            done = subprocess.run([*COMMAND, *command], cwd=files, capture_output=True, text=True)
            assert done.returncode == 2
            assert len(done.stderr.splitlines()) == 1, done.stderr
    code = (
        "import sys\nimport flowclass.traces.run\nfrom flowclass.cli import main\n"
        "def fail(*_):\n    raise MemoryError\n"
        "flowclass.traces.run.Run.classify = fail\nsys.exit(main(['classify', 't.pcap', '--bindings', 'b.toml']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=files, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "flowclass: error: out of memory\n")


def test_files_that_belong_together_appear_together_or_not_at_all(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("older")

    def write(*, fails: bool) -> None:
        with together() as files:
            with atomic_file(str(first), files) as stream:
                stream.write(b"newer")
            assert first.read_text() == "older"
            with atomic_file(str(second), files) as stream:
                stream.write(b"new")
                if fails:
                    raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="second: No space left"):
        write(fails=True)
    assert [path.name for path in tmp_path.iterdir()] == ["first"]
    assert first.read_text() == "older"
    write(fails=False)
    assert (first.read_text(), second.read_text()) == ("newer", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def test_a_folder_in_too_many_others_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_folder("a/b")
    make_folder("a/b")
    with pytest.raises(OutputError, match="too many folders in each other"):
        make_folder("a/" * 2000)
    assert os.listdir("a") == ["b"]
