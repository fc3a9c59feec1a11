"""The programs in examples/ run and say what they should."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

EXAMPLES = ROOT / "examples"


def run(*arguments: str | Path, folder: Path, path: Path | None = None) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(p) for p in (path, ROOT) if p)}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_home_agent_as_an_asyncio_program(tmp_path: Path) -> None:
    said = run(EXAMPLES / "asyncio_home_agent.py", "--state", tmp_path / "state", folder=tmp_path).splitlines()
    assert "  116 octets to 2001:db8:a::1" in said  # ssh, by its flow binding
    assert "  104 octets to 2001:db8:b::2" in said  # the rest, by the default binding
    assert "  1 for nobody" in said
    assert said[-1] == "started again from its store: 2 nodes"
    assert (tmp_path / "state").stat().st_size > 100


def test_a_package_with_a_cython_module(tmp_path: Path) -> None:
    pytest.importorskip("Cython")
    shutil.copytree(EXAMPLES / "cython_package", tmp_path / "package")
    run("setup.py", "-q", "build", "--build-lib", tmp_path / "lib", folder=tmp_path / "package")
    code = """
import flowclass as fc
from flowcount import count_reasons
table = fc.ForwardingTable()
home, care_of = bytes.fromhex("20010db8000100000000000000000001"), bytes.fromhex("20010db8000a00000000000000000001")
table.publish(home, targets=[(1, care_of)], default=0)
keys = fc.make_keys(version=6, destination=["2001:db8:1::1"] * 3000 + ["2001:db8::"] * 500, protocol=6)
print(count_reasons(table, keys))
"""
    assert run("-c", code, folder=tmp_path, path=tmp_path / "lib") == "[0, 0, 500, 0, 0, 3000]\n"


def test_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((EXAMPLES / "first_trace.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), "first_trace.ipynb", "exec"), names)
    assert names["counts"] == [
        {"reason": "default", "frame_count": 5},
        {"reason": "flow", "frame_count": 5},
        {"reason": "unbound", "frame_count": 5},
    ]
    assert len(names["table"]) == 15


def test_the_study_draws_its_pictures(tmp_path: Path) -> None:
    run(EXAMPLES / "study.py", "--quick", "--out", tmp_path / "out", folder=tmp_path)
    for name in ("lookup_ipv4", "lookup_ipv6", "nodes"):
        assert "<polyline" in (tmp_path / "out" / f"{name}.svg").read_text()
        assert json.loads((tmp_path / "out" / f"{name}.json").read_text())["results"]


def test_the_index_names_every_example() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.iterdir():
        if path.name not in ("README.md", "__pycache__"):
            assert f"`{path.name}{'/' if path.is_dir() else ''}`" in text
