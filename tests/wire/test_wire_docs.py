"""The examples in docs/wire.md run as they stand."""

from __future__ import annotations

import re
from typing import Any

from places import ROOT

PAGE = ROOT / "docs" / "wire.md"


def test_examples() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["received"].message.sequence == 1
