"""docs/interfaces.md names every key that the files of the live agents may have."""

from __future__ import annotations

import pytest
from places import ROOT

from flowclass.agent import config

PAGE = (ROOT / "docs" / "interfaces.md").read_text(encoding="utf-8")
LIVE = PAGE[PAGE.index("## A live agent") : PAGE.index("## JSON")]


@pytest.mark.parametrize("shape", [config._Agent, config._Security, config._Limits, config._Node, config._NodeSecurity])
def test_every_key_is_named(shape: type) -> None:
    for name in shape.__struct_fields__:  # type: ignore[attr-defined]  # a Struct
        assert f"`{name}" in LIVE or f"[{name}]" in LIVE or f".{name}]" in LIVE, name
