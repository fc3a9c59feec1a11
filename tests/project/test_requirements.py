"""Every requirement has a test that shows it, or a reason why none can."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import requirements


def test_every_number_has_a_test_or_a_reason() -> None:
    assert requirements.problems() == []


def test_all_numbers_are_there() -> None:
    known, _ = requirements.requirements()
    lettered = {113: "abcdefghij", 124: "abc"}
    expected = [f"R{n}{letter}" for n in range(1, 138) for letter in lettered.get(n, [""])]
    assert list(known) == expected + [f"K{n}" for n in range(1, 38)]


def test_the_page_names_every_number() -> None:
    page = requirements.render()
    known, _ = requirements.requirements()
    for number in known:
        assert page.count(f"| {number} | ") == 1


def test_markers_are_found_wherever_pytest_takes_them(tmp_path: Path) -> None:
    source = tmp_path / "test_some.py"
    source.write_text(
        """
import pytest
pytestmark = [pytest.mark.req("R1"), pytest.mark.slow]

@pytest.mark.req("R2", "K3")
def test_one(): ...

@pytest.mark.req("R4")
class TestMore:
    @pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.req("R5"))])
    def test_two(self, x): ...

def helper(): ...
"""
    )
    found = dict(requirements.tests_in(source))
    assert found["test_one"] == {"R1", "R2", "K3"}
    assert found["test_two"] == {"R1", "R4", "R5"}


def test_a_marker_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(SystemExit, match="plain strings"):
        list(requirements.marked(ast.parse("pytest.mark.req(*numbers)")))
