"""The judge judged: the oracle by hand-worked cases, its fast twin by the slow one, the generators by their yield."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import oracle
import pytest
import strategies
from hypothesis import given

import flowclass as fc

RULES = np.concatenate(
    [
        fc.make_rules(source=("2001:db8::", "2001:db8::ffff"), protocol=(17, 17)),
        fc.make_rules(version=4, source=("10.0.0.5", "10.0.1.4"), destination_port=(0, 65535)),
        fc.make_rules(version=0, traffic_class=(0x28, 0x28)),
        fc.make_rules(version=6),
    ]
)


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ({"source": "2001:db8::ffff", "protocol": 17}, 0),
        ({"source": "2001:db8::1:0", "protocol": 17}, 3),
        ({"source": "2001:db8::ffff"}, 3),
        ({"version": 4, "source": "10.0.1.4", "destination_port": 0}, 1),
        ({"version": 4, "source": "10.0.1.5", "destination_port": 0}, -1),
        ({"version": 4, "source": "10.0.1.4"}, -1),
        ({"version": 4, "traffic_class": 0x2B}, 2),
        ({"version": 6, "traffic_class": 0x2C}, 3),
    ],
)
def test_by_hand(key: dict[str, Any], answer: int) -> None:
    keys = fc.make_keys(**key)
    assert oracle.classify(RULES, keys) == [answer]
    assert oracle.brute_force(RULES, keys).tolist() == [answer]


@given(strategies.classifications())
def test_brute_force_is_the_oracle(case: tuple[npt.NDArray[np.void], npt.NDArray[np.void]]) -> None:
    rules, keys = case
    assert oracle.brute_force(rules, keys, block=7).tolist() == oracle.classify(rules, keys)


def test_generators_make_what_they_promise() -> None:
    rules, keys = strategies.rules_and_keys(1, 300, 1000)
    again, _ = strategies.rules_and_keys(1, 300, 1000)
    assert rules.tobytes() == again.tobytes()
    assert set(np.unique(rules["version"])) == {0, 4, 6}
    assert all((rules["conditions"] & bit).any() for bit in oracle.BITS.values())
    assert not np.any((rules["version"] == 0) & (rules["conditions"] & 3))
    answers = oracle.brute_force(rules, keys)
    # neither all hits on one rule nor all misses: the oracle would be no judge
    assert len(np.unique(answers)) > 30
    assert -1 in answers


def test_neighbours_nest_touch_and_overlap() -> None:
    rnd, seen = Random(3), set()
    for _ in range(300):
        lo, hi = strategies.neighbour(rnd, (100, 200), 16)
        assert 0 <= lo <= hi <= 65535
        seen.add((lo == 201, hi == 99, lo >= 100 and hi <= 200, lo <= 100 and hi >= 200))
    assert len(seen) >= 5
