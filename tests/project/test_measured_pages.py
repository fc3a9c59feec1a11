"""Figures in pages come from one command, which finds its places there."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from places import ROOT

PAGES = ("scaling.md", "benchmarks.md")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("pages", ROOT / "benchmarks" / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "pages", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    for page in PAGES:
        shutil.copy(ROOT / "docs" / page, tmp_path / page)
    (tmp_path / "figures").mkdir()
    return tmp_path


def parts(folder: Path) -> dict[str, str]:
    """What stands between the marks, by name."""
    text = "".join((folder / page).read_text(encoding="utf-8") for page in PAGES)
    return dict(re.findall(r"<!-- measured: (\w+) -->\n(.*?)<!-- end of \1 -->\n", text, re.DOTALL))


def test_every_part_of_a_page_has_its_figures() -> None:
    found = parts(ROOT / "docs")
    assert set(found) == {"scaling", "rate", "build", "memory", "sets", "nodes", "packet"}
    for name in ("scaling", "sets", "nodes", "packet"):
        assert re.search(r"^Measured on \d+ \w+ 20\d\d; .*processor", found[name], re.MULTILINE), name
    for name in ("rate", "build", "memory"):
        assert re.search(r"^\| rules \| flowclass.*\n\| --- \|.*\n\| 16 \|", found[name], re.MULTILINE), name


def test_the_figures_of_rule_sets_are_written(
    script: Any, docs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {page: (docs / page).read_text(encoding="utf-8") for page in PAGES}
    monkeypatch.setattr(script, "PEERS_UP_TO", "1")
    script.scaling(script.Run(docs, 1, True, docs))
    assert capsys.readouterr().out.startswith(
        "$ flowclass bench lookup --ip 4 --ip 6 --family acl --size 16 --size 64 "
    )
    found = parts(docs)
    assert "    flowclass bench lookup --ip 4" in found["scaling"]
    assert re.search(r"^\| rules \| flowclass, IPv4 \| flowclass, IPv6 \|$", found["rate"], re.MULTILINE)
    assert [line.split(" | ")[0] for line in found["memory"].splitlines() if line.startswith("| ")] == [
        *("| rules", "| ---", "| 16", "| 64"),
    ]
    assert sorted(path.name for path in (docs / "figures").iterdir()) == [
        *("scaling_build.svg", "scaling_memory.svg", "scaling_rate.svg"),
    ]
    assert (docs / "benchmarks.md").read_text(encoding="utf-8") == before["benchmarks.md"]
    outside = r"(<!-- measured: (\w+) -->\n).*?(<!-- end of \2 -->\n)"
    cut = [
        re.sub(outside, r"\1\3", t, flags=re.DOTALL) for t in (before["scaling.md"], (docs / "scaling.md").read_text())
    ]
    assert cut[0] == cut[1]


def test_a_page_without_the_place_is_refused(script: Any, docs: Path) -> None:
    with pytest.raises(SystemExit, match=r"benchmarks\.md: expected one part <!-- measured: other -->"):
        script.Run(docs, 1, True, docs).put("benchmarks.md", "other", "text")


def test_numbers_and_commands_as_pages_show_them(script: Any) -> None:
    assert [script.three(v) for v in (1234.5, 99.94, 9.876, 0.1234, 0.00123)] == [
        "1234",
        "99.9",
        "9.88",
        "0.123",
        "0.0012",
    ]
    assert script.span([2.0, 1.0, 3.0]) == "1.00-3.00"
    assert script.span([2.0]) == "2.00"
    lines = script.wrapped("flowclass bench lookup " + " ".join(f"--size {10**i}" for i in range(12))).splitlines()
    assert len(lines) == 3
    assert all(line.startswith("    ") and len(line) <= 102 for line in lines)
    assert [line.endswith(" \\") for line in lines] == [True, True, False]
