"""The C sources: folders that use each other one way, names that no other program has, no constant in two places."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

SOURCES = ROOT / "csrc" / "src"
INCLUDE = ROOT / "csrc" / "include"
HEADER = INCLUDE / "flowclass.h"

# folder -> the other folders whose headers it may include; a new folder has to find its place here
MAY_INCLUDE = {
    "common": set[str](),
    "packet": {"common"},
    "capture": {"common", "packet"},  # packet/numbers.h: link types
    "rules": {"common"},
    "fib": {"common", "rules", "packet"},
    "trace": {"common", "packet", "capture", "rules", "fib"},
    "forward": {"common", "packet", "rules", "fib"},
}
# what each vector kernel defines for the stages that it includes
KERNEL_PARAMETERS = re.compile(
    r"FC_(TARGET|LOOKUP|OWN_\w+)|FIB_(TARGET|NAME|ID|PART|HASH4|TAGS|CANDIDATES|PORTS_OUT|SOURCE_OUT)|INLINE"
)
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def files() -> list[Path]:
    return sorted(p for p in SOURCES.glob("*/*") if p.suffix in (".c", ".h"))


def name_of(path: Path) -> str:
    return path.relative_to(SOURCES).as_posix()


def includes(path: Path) -> Iterator[Path]:
    """The headers of csrc/src that a file includes."""
    for name in re.findall(r'^\s*#\s*include\s*"([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE):
        if not (INCLUDE / name).is_file():
            yield (path.parent / name).resolve()


def test_includes_lead_to_files_beside_or_below() -> None:
    for path in files():
        for other in includes(path):
            assert other.is_file(), f"{name_of(path)} includes {other}"
            here, there = path.parent.name, other.parent.name
            assert here in MAY_INCLUDE, f"{here} has no place in the table of this test"
            assert there == here or there in MAY_INCLUDE[here], f"{name_of(path)} includes {name_of(other)}"


def test_no_header_includes_itself_by_a_detour() -> None:
    done: set[Path] = set()

    def visit(path: Path, way: tuple[Path, ...]) -> None:
        assert path not in way, " -> ".join(map(name_of, (*way, path)))
        if path not in done:
            for other in includes(path):
                visit(other, (*way, path))
            done.add(path)

    for path in files():
        visit(path, ())
    assert len(done) > 50


def test_objects_of_different_sources_have_different_names() -> None:
    names = Counter(path.name for path in files() if path.suffix == ".c")  # cc -c writes them all to one folder
    assert [name for name, n in names.items() if n > 1] == []


def test_lines_fit_into_120_columns() -> None:
    paths = [*files(), HEADER, *(ROOT / "csrc" / "tests").glob("*.[ch]")]
    for path in paths:
        if path.parent.name == "forward":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert len(line) <= 120, f"{path.name}:{number} has {len(line)} columns"


def test_the_public_header_stays_short() -> None:
    assert len(HEADER.read_text(encoding="utf-8").splitlines()) < 400


def constants(path: Path) -> Iterator[str]:
    text = COMMENT.sub("", path.read_text(encoding="utf-8"))
    for name, value in re.findall(r"^\s*#\s*define\s+(\w+)[ \t]+([^\n]+)", text, re.MULTILINE):
        if re.search(r"\w", value):
            yield name
    for body in re.findall(r"\benum\b\s*\w*\s*\{([^}]*)\}", text):
        yield from re.findall(r"(?:^|,)\s*(\w+)", body)


def test_cython_users_have_all_members_and_enumerators() -> None:
    """structs.pxd declares the structs of the header whole, but for what is reserved, and its enumerations too."""
    header = COMMENT.sub("", HEADER.read_text(encoding="utf-8"))
    pxd = (ROOT / "flowclass" / "engine" / "structs.pxd").read_text(encoding="utf-8")
    structs = dict(re.findall(r"^    ctypedef struct (\w+):\n((?:        .*\n)+)", pxd, re.MULTILINE))
    assert {"fc_key", "fc_packet", "fc_node"} <= structs.keys()
    for name, body in structs.items():
        declared = re.search(rf"typedef struct {name} \{{([^}}]*)\}}", header)
        assert declared, name
        members = set(re.findall(r"(\w+)(?:\[\w+\])?\s*[,;]", declared[1])) - {"reserved"}
        assert set(re.findall(r"(\w+)(?:\[\w+\])?(?:,|\n)", body)) == members, name
    known = set(re.findall(r"\bFC_\w+", pxd))
    for body in re.findall(r"\benum\b\s*\w*\s*\{([^}]*)\}", header):
        names = set(re.findall(r"\bFC_\w+(?=\s*[=,}]|\s*$)", body))
        assert names <= known or not names & known, names - known


def test_a_constant_is_defined_in_one_file() -> None:
    homes: dict[str, set[str]] = {}
    for path in [*files(), HEADER]:
        for name in constants(path):
            homes.setdefault(name, set()).add(path.name)
    assert {"FC_PROTOCOL_MOBILITY", "FC_ELIMIT", "FIB_WAYS"} <= homes.keys()
    twice = {name: where for name, where in homes.items() if len(where) > 1 and not KERNEL_PARAMETERS.fullmatch(name)}
    assert twice == {}


@pytest.fixture(scope="module")
def symbols(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, str]]]:
    """Of each object: the kinds (nm's letters) and names of what it defines."""
    compiler = shutil.which("cc")
    if compiler is None or shutil.which("nm") is None:
        pytest.skip("no C compiler here")
    folder = tmp_path_factory.mktemp("objects")
    sources = [str(path) for path in files() if path.suffix == ".c"]
    subprocess.run([compiler, "-std=c11", f"-I{INCLUDE}", "-c", *sources], cwd=folder, check=True)
    found = {}
    for path in sorted(folder.glob("*.o")):
        lines = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout.splitlines()
        fields = [line.split() for line in lines]
        found[path.stem] = [(field[1], field[2]) for field in fields if len(field) == 3]
    return found


def test_what_a_linker_sees_begins_with_fc(symbols: dict[str, list[tuple[str, str]]]) -> None:
    names = [name for defined in symbols.values() for kind, name in defined if kind.isupper()]
    assert len(names) > 100
    assert [name for name in names if not name.startswith("fc_")] == []


def test_functions_of_different_files_have_different_names(symbols: dict[str, list[tuple[str, str]]]) -> None:
    headers = "".join(path.read_text(encoding="utf-8") for path in files() if path.suffix == ".h")
    inline = set(re.findall(r"^static inline [^;{(]*?(\w+)\(", headers, re.MULTILINE))
    homes: dict[str, list[str]] = {}
    for stem, defined in symbols.items():
        if stem.startswith(("lookup_", "fib_")):  # the kernels: one text, compiled for each
            continue
        for kind, name in defined:
            if kind == "t" and name.partition(".")[0] not in inline:
                homes.setdefault(name.partition(".")[0], []).append(stem)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


def test_an_extension_exports_its_init_function_only() -> None:
    modules = sorted((ROOT / "flowclass").rglob("*.so"))
    if shutil.which("nm") is None or not modules:
        pytest.skip("no nm, or installed elsewhere")
    for module in modules:
        lines = subprocess.run(["nm", "-D", "--defined-only", module], capture_output=True, text=True, check=True)
        names = {line.split()[-1] for line in lines.stdout.splitlines()}
        assert names <= {f"PyInit_{module.name.partition('.')[0]}", "_init", "_fini"}, module.name


def test_an_extension_is_hardened() -> None:
    modules = sorted((ROOT / "flowclass").rglob("classifier.*.so"))
    if shutil.which("readelf") is None or not modules:
        pytest.skip("no readelf, or installed elsewhere")
    for module in modules:
        run = subprocess.run(["readelf", "-dW", "--dyn-syms", module], capture_output=True, text=True, check=True)
        assert "BIND_NOW" in run.stdout or "NOW" in run.stdout, module.name
        assert "__stack_chk_fail" in run.stdout, module.name


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_programs_of_tests_and_fuzzing_fit_the_sources() -> None:
    programs = sorted((ROOT / "csrc" / "tests").glob("*.c"))
    command = ["cc", "-std=c11", "-D_GNU_SOURCE", "-fsyntax-only", f"-I{INCLUDE}", f"-I{SOURCES}", *programs]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert programs
    assert done.returncode == 0, done.stderr
