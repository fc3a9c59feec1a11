"""The manual pages: one for each command, as its --help says, and nothing in them that roff complains about."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import click
import pytest

from flowclass.cli import COMMANDS, flowclass, main
from flowclass.cli.man import manual

PAGES = dict(manual(click.Context(flowclass, info_name="flowclass")))


def test_each_command_has_a_page() -> None:
    names = {f"flowclass-{name}" for name in COMMANDS}
    assert names | {"flowclass", "flowclass-bench-lookup", "flowclass-ctl-why"} <= set(PAGES)
    assert all(page.startswith(".TH ") for page in PAGES.values())


@pytest.mark.needs_tool("man", "groff")
def test_man_renders_them_without_a_warning(tmp_path: Path) -> None:
    assert main(["man", str(tmp_path / "man1")]) == 0
    files = sorted((tmp_path / "man1").iterdir())
    assert [file.name for file in files] == sorted(f"{name}.1" for name in PAGES)
    environment = os.environ | {"LC_ALL": "C.UTF-8", "MANWIDTH": "100", "MANPAGER": "cat"}
    command = ["man", "--warnings=w", "-E", "UTF-8", "-l", *map(str, files)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    text = " ".join(done.stdout.split())
    assert text.count("EXIT STATUS") == len(files)
    for part in ("--encapsulate", 'eval "$(flowclass completion bash)"', "'-' is standard output"):
        assert part in text


def test_a_folder_that_is_a_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").touch()
    assert main(["man", str(tmp_path / "taken")]) == 2
    assert "taken" in capsys.readouterr().err
