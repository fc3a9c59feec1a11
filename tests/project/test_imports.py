"""Imports go one way: errors < wire < engine.rules, errors < engine, wire and engine < mobility < the rest < cli."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

PACKAGE = ROOT / "flowclass"

# part -> the other parts that it may import; a new part has to find its place here
MAY_IMPORT = {
    "errors": set[str](),
    "wire": {"errors"},
    "engine": {"errors"},
    "mobility": {"errors", "wire", "engine"},
    "generate": {"errors", "wire", "engine", "mobility"},
    "traces": {"errors", "wire", "engine", "mobility"},
    "agent": {"errors", "wire", "engine", "mobility", "traces"},
    "bench": {"errors", "wire", "engine", "mobility", "traces", "generate"},
    "cli": {"errors", "wire", "engine", "mobility", "traces", "generate", "agent", "bench"},
}
# the one bridge from the codec to the tables
EXCEPTIONS = {("engine/rules.py", "wire")}

# time is an argument, and nothing is read from a network, below the agent and the command line
CLOCKS_AND_SOCKETS = {"asyncio", "datetime", "select", "selectors", "socket", "time"}
MUST_NOT_IMPORT = {
    "wire": CLOCKS_AND_SOCKETS | {"numpy"},
    "engine": CLOCKS_AND_SOCKETS,
    "mobility": CLOCKS_AND_SOCKETS,
}


def imports(path: Path) -> Iterator[str]:
    """The full names of the modules that a file imports, those inside functions and under TYPE_CHECKING among them."""
    source = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from re.findall(r"^\s*(?:from|c?import)\s+([\w.]+)", source, re.MULTILINE)
        return
    for node in ast.walk(ast.parse(source, str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            module = ".".join([*package, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def sources() -> list[Path]:
    return sorted(p for suffix in ("py", "pyx", "pxd") for p in PACKAGE.rglob(f"*.{suffix}"))


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.req("R4")
@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    part = part_of(path)
    if part in ("__init__", "__main__"):
        return
    inside = path.relative_to(PACKAGE).as_posix()
    assert part in MAY_IMPORT, f"{part} has no place in the table of this test"
    for module in imports(path):
        top, _, rest = module.partition(".")
        assert top not in MUST_NOT_IMPORT.get(part, ()), f"{inside} imports {module}"
        other = rest.partition(".")[0]
        if top == "flowclass" and other in MAY_IMPORT and other != part:
            assert other in MAY_IMPORT[part] or (inside, other) in EXCEPTIONS, f"{inside} imports {module}"


def test_the_walk_finds_something() -> None:
    assert "flowclass.wire.selectors" in set(imports(PACKAGE / "engine" / "rules.py"))
    assert "flowclass.engine.keys" in set(imports(PACKAGE / "engine" / "classifier.pyx"))
    assert len(sources()) > 30


def test_the_codec_loads_alone() -> None:
    code = "import sys, flowclass.wire.auth; print([m for m in sys.modules if m.startswith(('numpy', 'flowclass.'))])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = ast.literal_eval(run.stdout)
    assert {name.split(".")[1] for name in loaded} == {"errors", "wire"}


def test_the_c_core_knows_no_python() -> None:
    for path in [*ROOT.glob("csrc/src/**/*"), *ROOT.glob("csrc/include/*")]:
        if path.suffix in (".c", ".h"):
            assert not re.search(r"#\s*include\s*[<\"]Python\.h", path.read_text(encoding="utf-8")), path.name
