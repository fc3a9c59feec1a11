"""Imports go one way: {errors, late} < addresses < {wire < engine.rules, engine} < mobility < the rest < cli.

Inside a package they may not go round in a circle, and inside mobility they go from the roles down to the cache.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from places import ROOT

from flowclass.late import Late
from flowclass.wire import BindingStatus, DraftFlowStatus, IPv4Status, Rfc6089FlowStatus

PACKAGE = ROOT / "flowclass"

# part -> the other parts that it may import; a new part has to find its place here
MAY_IMPORT = {
    "errors": set[str](),
    "late": set(),
    "addresses": {"errors"},
    "ticks": set(),
    "wire": {"errors", "late", "addresses"},
    "engine": {"errors", "late", "addresses"},
    "mobility": {"errors", "late", "addresses", "wire", "engine"},
    "generate": {"errors", "late", "addresses", "wire", "engine", "mobility"},
    "traces": {"errors", "late", "addresses", "ticks", "wire", "engine", "mobility"},
    "agent": {"errors", "late", "addresses", "wire", "engine", "mobility", "traces"},
    "bench": {"errors", "late", "addresses", "ticks", "wire", "engine", "mobility", "traces", "generate"},
    "cli": {"errors", "late", "addresses", "wire", "engine", "mobility", "traces", "generate", "agent", "bench"},
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


def module_of(path: Path) -> str:
    """The full name of a source file's module; a package's __init__ is the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def absolute(path: Path, dots: int, module: str) -> str:
    """The full name of what ``from ...module import`` means in the file ``path``."""
    package = path.relative_to(ROOT).parts[:-dots] if dots else ()
    return ".".join([*package, *([module] if module else [])])


def statements(path: Path) -> Iterator[tuple[str, list[str]]]:
    """What a file imports, also inside functions, for types only and late: each module, and the names out of it."""
    source = path.read_text(encoding="utf-8")
    yield from ((module, []) for module in re.findall(r'\bLate\("([\w.]+)"\)', source))
    if path.suffix in (".pyx", ".pxd"):
        yield from ((module, []) for module in re.findall(r"^\s*c?import\s+([\w.]+)", source, re.MULTILINE))
        pattern = r"^\s*from\s+(\.*)([\w.]*)\s+c?import\s+(\([^)]*\)|[^\n]*)"
        for dots, rest, names in re.findall(pattern, source, re.MULTILINE):
            yield absolute(path, len(dots), rest), re.findall(r"(\w+)(?:\s+as\s+\w+)?", names)
        return
    for node in ast.walk(ast.parse(source, str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield absolute(path, node.level, node.module or ""), [alias.name for alias in node.names]


def imports(path: Path) -> Iterator[str]:
    """The full names of the modules that a file imports, and of the names out of them."""
    for module, names in statements(path):
        yield module
        yield from (f"{module}.{name}" for name in names)


def sources() -> list[Path]:
    return sorted(p for suffix in ("py", "pyi", "pyx", "pxd") for p in PACKAGE.rglob(f"*.{suffix}"))


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


def modules_imported() -> dict[str, set[str]]:
    """Each module of the package with those of its modules that it imports; .pyx, .pxd and .pyi of one name are one.

    ``from package import module`` is an import of the module, ``from package import name`` one of the package.
    """
    known = {module_of(path) for path in sources()}
    found: dict[str, set[str]] = {module: set() for module in known}
    for path in sources():
        here = module_of(path)
        for module, names in statements(path):
            meant = {f"{module}.{name}" if f"{module}.{name}" in known else module for name in names} or {module}
            found[here] |= (meant & known) - {here}
    return found


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """A circle of imports, empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_imports_go_in_no_circle() -> None:
    assert circle(modules_imported()) == []


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})
    assert not circle({"a": {"b", "c"}, "b": {"c"}, "c": set()})


# mobility from the lowest floor up: a room may import those that are named for it, and itself
MOBILITY = {
    "arguments": set[str](),
    "addresses": {"arguments"},
    "delivery": {"arguments"},
    "settings": {"arguments", "addresses"},
    "cache": {"arguments", "addresses", "delivery", "settings"},
    "agent": {"arguments", "addresses", "delivery", "settings", "cache"},
    "mobile_node": {"arguments", "addresses", "delivery", "settings", "cache"},
    "bindings_file": {"arguments", "addresses", "settings", "cache"},
}
MOBILITY_EXCEPTIONS = {("agent.home_agent", "bindings_file")}


def test_inside_mobility_roles_stand_on_the_cache_and_not_on_each_other() -> None:
    for module, others in modules_imported().items():
        inside = module.removeprefix("flowclass.mobility.")
        room = inside.partition(".")[0]
        if inside == module:
            continue
        assert room in MOBILITY, f"{room} has no place in the table of this test"
        for other in others:
            below = other.removeprefix("flowclass.mobility.").partition(".")[0]
            if below in MOBILITY and below != room and other.startswith("flowclass.mobility."):
                assert below in MOBILITY[room] or (inside, below) in MOBILITY_EXCEPTIONS, f"{module} imports {other}"


# names of each file's own choices, which may be equal by chance: how many of something are done at once, ...
CHOICES = {"BATCH"}


def constants(path: Path) -> Iterator[tuple[str, object]]:
    """The module's UPPER_CASE numbers and octets, without leading underscores, also where they are computed."""
    for node in ast.parse(path.read_text(encoding="utf-8"), str(path)).body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
        for target in targets:
            if value is None or not isinstance(target, ast.Name) or not re.fullmatch(r"_*[A-Z][A-Z0-9_]*", target.id):
                continue
            if any(isinstance(inner, (ast.Name, ast.Call, ast.Attribute)) for inner in ast.walk(value)):
                continue  # made of another constant, which is what should be done
            with contextlib.suppress(TypeError, ValueError, SyntaxError, ArithmeticError):
                found = eval(compile(ast.Expression(value), str(path), "eval"), {"__builtins__": {}})
                if isinstance(found, (int, float, bytes)) and not isinstance(found, bool):
                    yield target.id.strip("_"), found


def test_no_constant_is_defined_in_two_files() -> None:
    homes: dict[tuple[str, object], list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for name, value in set(constants(path)):
            if name not in CHOICES:
                homes.setdefault((name, value), []).append(path.relative_to(PACKAGE).as_posix())
    twice = {f"{name} = {value!r}": files for (name, value), files in homes.items() if len(files) > 1}
    assert twice == {}


def test_a_status_code_is_named_where_it_is_used() -> None:
    """Bare numbers from 129 on, in the parts that speak the protocol, are those of wire/numbers.py written again."""
    from flowclass.wire import numbers

    codes = {
        status.value
        for kind in (numbers.BindingStatus, numbers.DraftFlowStatus, numbers.Rfc6089FlowStatus, numbers.IPv4Status)
        for status in kind
        if status.value > 128
    }
    for folder in ("wire", "mobility"):
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            if path.name in ("numbers.py", "settings.py"):  # and what users write in their settings
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
                bare = isinstance(node, ast.Constant) and type(node.value) is int and node.value in codes
                assert not bare, f"{path.relative_to(ROOT)}:{node.lineno}: {node.value} has a name in wire/numbers.py"


def test_the_walk_finds_something() -> None:
    assert "flowclass.wire.selectors" in set(imports(PACKAGE / "engine" / "rules.py"))
    assert "flowclass.engine.arguments" in set(imports(PACKAGE / "engine" / "classifier.pyx"))
    assert "flowclass.engine.packets" in modules_imported()["flowclass.engine.forwarding"]
    assert "flowclass.traces.reader" in modules_imported()["flowclass.traces.replaying"]
    assert "flowclass.engine.dtypes" in modules_imported()["flowclass.engine.packets"]
    assert len(sources()) > 30


def test_the_codec_loads_alone() -> None:
    code = "import sys, flowclass.wire.auth; print([m for m in sys.modules if m.startswith(('numpy', 'flowclass.'))])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = ast.literal_eval(run.stdout)
    assert {name.split(".")[1] for name in loaded} == {"addresses", "errors", "late", "wire"}


def test_the_c_core_knows_no_python() -> None:
    for path in [*ROOT.glob("csrc/src/**/*"), *ROOT.glob("csrc/include/*")]:
        if path.suffix in (".c", ".h"):
            assert not re.search(r"#\s*include\s*[<\"]Python\.h", path.read_text(encoding="utf-8")), path.name


def test_a_status_code_stands_in_wire_numbers_alone() -> None:
    """Elsewhere in the codec and the control plane it has its name; 128 is also the length of an IPv6 address."""
    statuses = {*BindingStatus, *IPv4Status, *DraftFlowStatus, *Rfc6089FlowStatus} - set(range(129))
    # the switch takes the number that users know from the draft
    allowed = {("settings.py", 129)}
    for path in [*PACKAGE.glob("wire/**/*.py"), *PACKAGE.glob("mobility/**/*.py")]:
        if path.name == "numbers.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and type(node.value) is int and node.value in statuses:
                assert (path.name, node.value) in allowed, f"{path.name}:{node.lineno}: {node.value}"


def test_a_module_that_is_imported_late_can_be_copied_and_pickled() -> None:
    math = Late("math")
    for made in (copy.copy(math), copy.deepcopy(math), pickle.loads(pickle.dumps(math))):
        assert made.sqrt(4.0) == 2.0
