"""docs/switches.md names every switch, limit and capability, with its default."""

from __future__ import annotations

from dataclasses import fields

import pytest
from places import ROOT

from flowclass.mobility import Capabilities, Limits, Switches

TEXT = (ROOT / "docs" / "switches.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [Switches, Limits, Capabilities])
def test_every_field_is_in_the_table(kind: type) -> None:
    for one in fields(kind):
        assert f"`{one.name}`" in TEXT


@pytest.mark.parametrize("kind", [Switches, Limits])
def test_the_defaults_are_those_of_the_code(kind: type) -> None:
    rows = {line.split("`")[1]: line for line in TEXT.splitlines() if line.startswith("| `")}
    for one in fields(kind):
        # of any type
        default = {None: "none", True: "True", False: "False"}.get(one.default, str(one.default))  # type: ignore[arg-type]  # any default will do
        cell = rows[one.name].split("|")[2].strip().strip("`s ").strip('"`')
        assert cell.lower() == default.lower()
