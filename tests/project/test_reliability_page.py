"""docs/reliability.md says what tests/support/reliability.py does, and the quick faults end as it says."""

from __future__ import annotations

import pytest
import reliability


def test_the_page_has_each_fault_as_the_script_names_it() -> None:
    expected = {name: what for name, (what, _) in reliability.FAULTS.items()}
    rows = reliability.table()
    assert {name: what for name, (what, _) in rows.items()} == expected
    assert list(rows) == list(expected)
    assert all(tried and "not so" not in tried for _, tried in rows.values())


@pytest.mark.parametrize("word", ["a bit of a record", "a trace is replaced"])
def test_a_quick_fault_ends_as_the_page_says(word: str) -> None:
    (name,) = (name for name in reliability.FAULTS if word in name)
    assert reliability.table()[name][1] == reliability.FAULTS[name][1]()
