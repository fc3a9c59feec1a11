"""Imports go one way (ARCHITECTURE.md); found by reading the source, so that late imports count too."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "flowclass"

# layer: the layers that it may import from, besides itself and the standard library
ALLOWED = {
    "errors": set(),
    "wire": {"errors"},
    "engine": {"errors"},
    "engine.rules": {"errors", "wire", "engine"},
    "mobility": {"errors", "wire", "engine", "engine.rules"},
    "generate": {"errors", "wire", "engine", "engine.rules"},
    "traces": {"errors", "wire", "engine", "engine.rules", "mobility"},
    "bench": {"errors", "wire", "engine", "engine.rules", "mobility", "generate", "traces"},
    "agent": {"errors", "wire", "engine", "engine.rules", "mobility"},
    "cli": {"errors", "wire", "engine", "engine.rules", "mobility", "generate", "traces", "bench", "agent"},
}


def layer_of(module: str) -> str | None:
    """The layer of flowclass.x.y; None for the package itself."""
    parts = module.split(".")[1:]
    if not parts:
        return None
    return "engine.rules" if parts[:2] == ["engine", "rules"] else parts[0]


def imports_of(path: Path, package: str) -> list[tuple[str, int]]:
    """(module, line) of everything a file imports; relative names made absolute."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(name.name, node.lineno) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # "from flowclass import wire" and "from . import x" may name modules
            found += [(f"{module}.{name.name}", node.lineno) for name in node.names]
    return found


def modules() -> list[tuple[Path, str, str]]:
    """(file, its module, the package that relative imports count from)."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ["flowclass", *path.relative_to(PACKAGE).with_suffix("").parts]
        package = parts[:-1]
        name = package if parts[-1] == "__init__" else parts
        found.append((path, ".".join(name), ".".join(package)))
    return found


def test_imports_go_one_way() -> None:
    wrong = []
    for path, module, package in modules():
        layer = layer_of(module)
        if layer is None or layer == "__main__":
            continue
        assert layer in ALLOWED, f"{path}: a new layer: say in this test and in ARCHITECTURE.md where it belongs"
        for imported, line in imports_of(path, package):
            if not imported.startswith("flowclass."):
                continue
            target = layer_of(imported)
            if target in (None, "__version__"):  # the package itself: its version, or another layer by its name
                continue
            if target != layer and target not in ALLOWED[layer]:
                wrong.append(f"{path.relative_to(PACKAGE.parent)}:{line}: {layer} imports {imported}")
    assert not wrong, "\n".join(wrong)


def test_wire_needs_neither_numpy_nor_a_clock() -> None:
    for path, module, package in modules():
        if layer_of(module) == "wire":
            names = {imported.split(".")[0] for imported, _ in imports_of(path, package)}
            assert not names & {"numpy", "time", "datetime", "socket"}, path


def test_only_agent_bench_and_cli_look_at_a_clock() -> None:
    for path, module, package in modules():
        if layer_of(module) in ("engine", "engine.rules", "mobility", "traces", "generate"):
            names = {imported.split(".")[0] for imported, _ in imports_of(path, package)}
            assert "time" not in names, path
