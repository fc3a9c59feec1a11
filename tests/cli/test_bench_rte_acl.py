"""The harness for rte_acl: a peer that gives wrong answers, or other packets, would make every ratio worthless."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import oracle
import pytest
from places import REQUIRE_TOOLS

import flowclass as fc
from flowclass.bench.harness import rte_acl as module
from flowclass.generate.key_traces import key_trace
from flowclass.generate.rulesets import rule_set


@pytest.fixture(scope="module")
def rte_acl() -> Any:
    missing = module.available()
    if missing and REQUIRE_TOOLS and os.uname().machine == "x86_64":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    return module


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("family", ["acl", "fw", "ipc"])
def test_answers(rte_acl: Any, family: str, version: int) -> None:
    rules = rule_set(family, 150, version=version, seed=4)
    keys = key_trace(rules, 400, kind="corner")
    keys["destination_port"][::5] ^= 1  # some misses
    right = oracle.brute_force(rules, keys)
    assert -1 in right or family == "fw"
    peer = rte_acl.RteAcl(rules)
    assert peer.bytes > 0
    for n in (*range(1, 40), 400):
        trace = peer.prepare(keys[:n])
        for algorithm in ("scalar", "sse"):  # every x86-64 that runs DPDK has these
            trace.run(algorithm)
            np.testing.assert_array_equal(trace.answers(), right[:n])
    ran = ["scalar", "sse"]
    for algorithm in set(rte_acl.ALGORITHMS) - set(ran):
        try:
            trace.run(algorithm)
        except RuntimeError:
            continue  # this CPU lacks it
        np.testing.assert_array_equal(trace.answers(), right)


@pytest.mark.parametrize(
    "ranges",
    [
        {"version": 4, "source": ("10.0.0.1", "10.0.0.2")},
        {"version": 6, "destination": ("2001:db8::", "2001:db8::1:0")},
        {"version": 6, "destination": ("2001:db8::", "2001:db9::ff")},
        {"version": 6, "spi": (1, 1)},
        {"version": 4, "protocol": (6, 17)},
    ],
)
def test_what_it_cannot_express_is_refused(rte_acl: Any, ranges: dict[str, Any]) -> None:
    version = ranges["version"]
    rules = np.concatenate([rule_set("acl", 3, version=version), fc.make_rules(**ranges)])
    with pytest.raises(ValueError, match="rule 3"):
        rte_acl.RteAcl(rules)
