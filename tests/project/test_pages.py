"""The texts beside the code: links lead somewhere, decisions have their shape and stand in the index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from places import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", without_code(page.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    paths = r"(?<![\w/.])(?:benchmarks|csrc|docs|examples|tests)/[\w./-]+\.(?:c|h|ipynb|md|py|sh|toml)\b"
    missing = [name for name in re.findall(paths, page.read_text(encoding="utf-8")) if not (ROOT / name).exists()]
    assert missing == []


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_has_its_shape(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.name[:4]}. ")
    assert re.search(r"^\* Status: (in force|rejected|replaced by \[\d{4}\])", text, re.MULTILINE)
    assert re.search(r"^\* Date: \d{4}-\d\d-\d\d", text, re.MULTILINE)
    assert "\n## Question\n" in text
    assert "\n## Choice" in text


def test_the_index_has_every_decision_once() -> None:
    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\d{4})\]\(([^)]*)\) \| (.*?) \| (.*?) \| (.*?) \|$", index, re.MULTILINE)
    assert [(number, name) for number, name, *_ in rows] == [(page.name[:4], page.name) for page in DECISIONS]
    assert len({number for number, *_ in rows}) == len(rows)
    for _, name, title, status, date in rows:
        text = (ROOT / "docs" / "decisions" / name).read_text(encoding="utf-8")
        assert text.splitlines()[0].partition(". ")[2] == title
        assert f"* Status: {status}" in text
        assert f"* Date: {date}" in text


MAP = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
MAPPED = [
    path
    for folder in ("csrc/src", *(f"flowclass/{name}" for name in ("wire", "engine", "mobility", "traces", "agent")))
    for path in sorted((ROOT / folder).rglob("*.*"))
    if path.suffix in (".c", ".h", ".py", ".pyx", ".html") and path.name != "__init__.py"
]


def named_in_the_map() -> set[str]:
    """The files that ARCHITECTURE.md names in code; `lookup_{scalar,avx2}.c` is two."""
    found = set()
    for name in re.findall(r"`([^`\s]+)`", MAP):
        stem, brace, rest = name.partition("{")
        variants, _, end = rest.partition("}")
        for variant in variants.split(",") if brace else [""]:
            found.add(f"{stem}{variant}{end}".rpartition("/")[2])
    return found


def test_the_map_of_the_tree_is_short() -> None:
    assert len(MAP.splitlines()) <= 150


def test_the_map_names_every_file_of_the_large_packages() -> None:
    named = named_in_the_map()
    for path in MAPPED:
        beside = path.with_suffix(".c").name if path.suffix == ".h" else path.name  # a header goes with its .c file
        assert {path.name, beside} & named, f"ARCHITECTURE.md does not say what {path.relative_to(ROOT)} knows"


def test_the_map_names_no_file_that_is_gone() -> None:
    there = {path.name for path in ROOT.rglob("*.*") if ".venv" not in path.parts}
    assert {name for name in named_in_the_map() if re.fullmatch(r"[\w.]+\.(c|h|py|pyx|pxd|html)", name)} <= there
