"""The pictures of the explanation are what their script draws."""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ElementTree

from places import ROOT


def test_the_pictures_are_what_the_script_draws() -> None:
    spec = importlib.util.spec_from_file_location("draw", ROOT / "docs/pictures/draw.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert len(script.PICTURES) >= 5
    for name, draw in script.PICTURES.items():
        text = draw().save()
        ElementTree.fromstring(text)
        assert (ROOT / f"docs/pictures/{name}.svg").read_text(encoding="utf-8") == text, "python docs/pictures/draw.py"
