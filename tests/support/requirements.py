"""Which test shows which requirement: docs/requirements.md, made from the tests' own ``@pytest.mark.req`` markers.

    python tests/support/requirements.py            writes docs/requirements.md
    python tests/support/requirements.py --check    fails when that file is out of date, or a
                                                  number has neither test nor reason

The numbers and their texts are in requirements.toml. Markers are read from the source, so no test has to run.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parent
PAGE = TESTS.parent / "docs" / "requirements.md"

HEAD = """\
# Requirements and the tests that show them

Made by `python tests/support/requirements.py` from the markers of the tests; not to be edited.

R numbers are the requirements of the draft, K numbers its contradictions with the resolutions chosen. Roles: C codec,
DP data plane, HA home agent, MAP mobility anchor point, CN correspondent node, MN mobile node. Levels: M must,
S should, O may, P procedure. Short: BU binding update, BA binding acknowledgement, BID binding identifier,
FID flow identifier, BREF binding reference, HoA home address, CoA care-of address, BC binding cache, BUL binding update
list.
"""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One number; ``section``, ``roles`` and ``level`` are empty for a contradiction."""

    number: str
    text: str
    section: str = ""
    roles: str = ""
    level: str = ""


def requirements() -> tuple[dict[str, Requirement], dict[str, str]]:
    """All numbers in order, and the reasons of those out of scope."""
    data = tomllib.loads((HERE / "requirements.toml").read_text(encoding="utf-8"))
    found = {
        number: Requirement(number, text, section, roles, level)
        for number, (section, roles, level, text) in data["requirements"].items()
    }
    found |= {number: Requirement(number, text) for number, text in data["contradictions"].items()}
    return found, data["out_of_scope"]


def marked(node: ast.AST) -> Iterator[str]:
    """The numbers of every ``pytest.mark.req(...)`` inside a decorator or a ``pytestmark``."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.req":
            for argument in call.args:
                if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                    raise SystemExit(f"pytest.mark.req takes plain strings, not {ast.unparse(argument)}")
                yield argument.value


def tests_in(path: Path) -> Iterator[tuple[str, set[str]]]:
    """Each test function of a file with its numbers, those of its class and of the whole file among them."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    whole = {n for node in tree.body if isinstance(node, ast.Assign) for n in marked(node)}

    def walk(body: list[ast.stmt], inherited: set[str]) -> Iterator[tuple[str, set[str]]]:
        for node in body:
            if isinstance(node, ast.ClassDef):
                own = {n for decorator in node.decorator_list for n in marked(decorator)}
                yield from walk(node.body, inherited | own)
            elif isinstance(node, ast.FunctionDef):
                own = {n for decorator in node.decorator_list for n in marked(decorator)}
                yield node.name, inherited | own

    for name, numbers in walk(tree.body, whole):
        # a hypothesis state machine's rules count too: the machine is the test
        if name.startswith("test_") or numbers:
            yield name, numbers


def shown() -> dict[str, dict[str, list[str]]]:
    """number -> file name -> names of its tests."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(TESTS.rglob("test_*.py")):
        for name, numbers in tests_in(path):
            for number in numbers:
                found[number][path.name].append(name)
    return found


def problems() -> list[str]:
    """What is wrong: a number with neither test nor reason, with both, or that does not exist."""
    known, excused = requirements()
    tested = shown()
    found = [f"{n}: no test shows it, and no reason is given" for n in known if n not in tested and n not in excused]
    found += [f"{n}: out of scope, yet tested" for n in excused if n in tested]
    found += [f"{n}: no such number" for n in sorted({*tested, *excused} - set(known))]
    return found


def render() -> str:
    known, excused = requirements()
    tested = shown()
    lines = [HEAD]
    for title, letter in (("Requirements", "R"), ("Contradictions", "K")):
        numbers = [r for r in known.values() if r.number.startswith(letter)]
        lines.append(f"## {title}\n")
        if letter == "R":
            lines += ["| # | § | role | level | what | shown by |", "|---|---|---|---|---|---|"]
        else:
            lines += ["| # | resolution | shown by |", "|---|---|---|"]
        for r in numbers:
            by = "; ".join(f"{file}: {', '.join(names)}" for file, names in tested.get(r.number, {}).items())
            by = by or f"*out of scope: {excused[r.number]}*" if r.number in excused else by
            cells = [r.number, r.section, r.roles, r.level, r.text, by] if letter == "R" else [r.number, r.text, by]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    wrong = problems()
    for problem in wrong:
        print(problem, file=sys.stderr)
    page = render()
    if arguments == ["--check"]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
            print(f"{PAGE.name} is out of date: python tests/support/requirements.py", file=sys.stderr)
            return 1
    elif arguments:
        print(__doc__, file=sys.stderr)
        return 2
    else:
        PAGE.write_text(page, encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
