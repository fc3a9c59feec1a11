"""docs/reference/bindings.schema.json takes what the reader takes, and has its keys."""

from __future__ import annotations

import json
import random
import re
import tomllib
from typing import Any

import pytest
from places import ROOT

from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.mobility.bindings_file import shapes

jsonschema = pytest.importorskip("jsonschema")
SCHEMA = json.loads((ROOT / "docs/reference/bindings.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def validator() -> Any:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


def test_the_examples_are_valid(validator: Any) -> None:
    texts = re.findall(r"^```toml\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    assert texts
    for text in texts:
        validator.validate(tomllib.loads(text))


def test_generated_files_are_valid(validator: Any) -> None:
    for seed in range(20):
        validator.validate(tomllib.loads(bindings_toml(random_nodes(random.Random(seed), 5, 8))))


@pytest.mark.parametrize(
    "change",
    [
        {"nodes": []},
        {"profile": "rfc9999"},
        {"node": [{"home": "2001:db8::1"}]},
        {"node": [{"home_address": "2001:db8::1", "care_of": [{"bid": 1}]}]},
        {"node": [{"home_address": "2001:db8::1", "flow": [{"fid": 1}]}]},
        {"node": [{"home_address": "2001:db8::1", "flow": [{"fid": 1, "pri": 1, "action": "drop"}]}]},
        {"node": [{"home_address": "2001:db8::1", "flow": [{"fid": 1, "pri": 1, "selector": {"port": 1}}]}]},
        {"node": [{"home_address": "2001:db8::1", "flow": [{"fid": 1, "pri": 1, "selector": {"spi": "1 to 2"}}]}]},
    ],
)
def test_what_the_reader_refuses_is_invalid(validator: Any, change: dict[str, Any]) -> None:
    assert not validator.is_valid(change)


def test_the_keys_are_those_of_the_reader() -> None:
    kinds = {
        "node": shapes.NodeShape,
        "care_of": shapes.CareOfShape,
        "flow": shapes.FlowShape,
        "selector": shapes.SelectorShape,
    }
    for name, kind in kinds.items():
        assert set(SCHEMA["$defs"][name]["properties"]) == set(kind.__struct_fields__)
    assert set(SCHEMA["properties"]) == set(shapes.FileShape.__struct_fields__)
