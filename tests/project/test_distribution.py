"""What a release is made of: one version everywhere, a README that an index can show, a source distribution that is
the same whoever makes it, and a sentence for a checkout that was not built."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from places import ROOT

import flowclass

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_version_is_the_same_everywhere() -> None:
    version = PROJECT["project"]["version"]
    assert flowclass.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_readme_of_an_index_has_no_link_into_the_checkout() -> None:
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "readme")
    names = {"re": re, "Path": lambda name: ROOT / name}
    exec(compile(ast.Module([function], []), "setup.py", "exec"), names)
    text = names["readme"]()  # type: ignore[operator]  # a function
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert all(re.match(r"[a-z]+:|#", link) for link in links)
    assert "`docs/wire.md`" in text


def test_no_extension_module_is_older_than_its_source() -> None:
    """Else Python runs something else than what the source says: `pip install -e .` again. Some sources are .py."""
    old = []
    for built in (ROOT / "flowclass").rglob(f"*{EXTENSION_SUFFIXES[0]}"):
        for source in (built.with_name(built.name.partition(".")[0] + kind) for kind in (".py", ".pyx")):
            if source.exists() and source.stat().st_mtime > built.stat().st_mtime:
                old.append(built.name)
            elif source.suffix == ".py" and source.exists() and not source.read_text("utf-8").startswith("# cython:"):
                old.append(built.name)  # it is compiled no more
    assert not old


def test_the_source_distribution_is_reproducible(tmp_path: Path) -> None:
    pytest.importorskip("Cython")
    made = []
    for name in ("one", "two"):
        code = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path / name)!r})"
        checkout = tmp_path / f"checkout-{name}"
        ignored = shutil.ignore_patterns(".venv", ".git", "build", "*.so", "__pycache__", "*.egg-info", ".*_cache")
        shutil.copytree(ROOT, checkout, ignore=ignored)
        os.utime(checkout / "README.md", (1, 1) if name == "one" else None)
        subprocess.run([sys.executable, "-c", code], cwd=checkout, check=True, capture_output=True)
        (archive,) = (tmp_path / name).iterdir()
        made.append(hashlib.sha256(archive.read_bytes()).hexdigest())
    assert made[0] == made[1]
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"csrc/include/flowclass.h", "docs/index.md", "examples/README.md", "CONTRIBUTING.md", "LICENSE"} <= names


def test_a_checkout_that_was_not_built_says_what_to_type(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "flowclass", tmp_path / "flowclass", ignore=ignored)
    # without the editable installation, whose folder has the extensions
    code = f"import sys; sys.path[:] = [p for p in sys.path if p != {str(ROOT)!r}]; sys.path.insert(0, '.')\n"
    code += "from flowclass.cli import main; sys.exit(main(['demo']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.fullmatch(r"flowclass: error: flowclass\.\S+ is not built; .*pip install -e \..*\n", done.stderr)
