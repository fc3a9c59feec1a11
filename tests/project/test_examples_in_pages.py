"""Every block of code in docs/ is run, page by page, in a folder of its own.

``python`` blocks of a page share their names. A ``console`` block has commands behind ``$`` and below each what it
prints (``...`` stands for anything). ``toml``, ``json``, ``text`` and ``python`` blocks behind a line that ends with
"`NAME`:" are files. ``c`` blocks are compiled with all warnings as errors, and run if they have a main.
"""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if page.parent.name != "decisions")
FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>```+)(?P<language>[^\n`]*)\n(?P<code>.*?)^(?P=indent)(?P=fence)$", re.M | re.S
)
MATCHER = doctest.OutputChecker()
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True, slots=True)
class Block:
    """One block of code; ``file`` is the name that the line before gives it."""

    language: str
    code: str
    line: int
    file: str


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        if match["language"].startswith("{"):
            continue  # a directive
        before = text[: match.start()].rstrip().rpartition("\n")[2]
        named = re.search(r"`([\w./-]+\.\w+)`:$", before)
        yield Block(
            match["language"].strip(), match["code"], text.count("\n", 0, match.start()) + 1, named[1] if named else ""
        )


# pages whose commands need more than a folder, and the test that types them
ELSEWHERE = {"agent.md": "tests/agent/test_tutorial.py"}
WITH_CODE = [
    page for page in PAGES if page.name not in ELSEWHERE and any(block.language != "text" for block in blocks(page))
]


def run_console(block: Block, folder: Path) -> None:
    for piece in re.split(r"^\$ ", block.code, flags=re.M)[1:]:
        command, _, expected = piece.partition("\n")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "COLUMNS": "130", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )
        got = done.stdout + done.stderr
        assert done.returncode in (0, 1), (command, got)
        assert MATCHER.check_output(expected, got, FLAGS), (
            f"line {block.line}: $ {command}\n{got}\ninstead of\n{expected}"
        )


def run_c(block: Block, folder: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None
    source = folder / "example.c"
    source.write_text(block.code)
    command = [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/csrc/include"]
    subprocess.run([*command, "-c", str(source), "-o", str(folder / "example.o")], check=True)
    if "int main(" in block.code:
        core = map(str, sorted((ROOT / "csrc/src").glob("*/*.c")))
        program = str(folder / "example")
        subprocess.run([*command, "-O0", "-pthread", str(source), *core, "-o", program], check=True)
        subprocess.run([program], check=True, cwd=folder)


class _Anything:
    """Takes every call: a cluster that a page starts, where there is none."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self.scheduler_address = "tcp://127.0.0.1:8786"

    def scale(self, *arguments: Any, **more: Any) -> None: ...


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters of other machines are the only thing that a page may ask for and not get."""
    import types

    for name, cluster in (("dask_jobqueue", "SLURMCluster"), ("dask_kubernetes.operator", "KubeCluster")):
        module = types.ModuleType(name)
        setattr(module, cluster, _Anything)
        monkeypatch.setitem(sys.modules, name.partition(".")[0], module)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(DOCS)))
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_ins: None) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__page__"}
    for block in blocks(page):
        if block.file:
            path = tmp_path / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")
        if block.language == "toml":
            tomllib.loads(block.code)
        elif block.language == "python" and not block.file:
            for library in ("pyarrow", "pandas", "polars", "duckdb"):
                if library in block.code or (library == "pyarrow" and "classify_traces" in block.code):
                    pytest.importorskip(library)
            source = "\n" * block.line + block.code  # so that a traceback names the page's line
            exec(compile(source, str(page), "exec"), names)
        elif block.language == "console":
            run_console(block, tmp_path)
        elif block.language == "c":
            run_c(block, tmp_path)
        elif block.language == "cython":
            assert block.file.endswith(".pyx"), "a Cython block is a file, which the page builds"
        else:
            assert block.file or block.language == "text", f"line {block.line}: nothing runs {block.language!r}"


def test_blocks_are_found() -> None:
    found = list(blocks(DOCS / "tutorials" / "first-trace.md"))
    assert [block.language for block in found][:2] == ["console", "console"]
    assert next(block.file for block in found if block.language == "toml") == "mine.toml"


def test_pages_that_are_typed_elsewhere_are() -> None:
    for name, test in ELSEWHERE.items():
        assert f"docs/{name}" in (ROOT / test).read_text(encoding="utf-8")
