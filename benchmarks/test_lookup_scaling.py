"""How do look-ups in a flat rule set scale with its size, family, IP version and kernel?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import LARGE, assert_right, case, table

import flowclass as fc

SIZES = (16, 128, 1_000, 10_000, 100_000, *((1_000_000,) if LARGE else ()))
KERNELS = [name for name, runs in fc.kernels().items() if runs]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("family", ["acl", "fw", "ipc"])
def test_size(rate: Callable[..., None], family: str, version: int, n: int) -> None:
    which, classifier = case(family, n, version), table(family, n, version)
    keys, _ = which.traces["uniform"]
    out = classifier.classify(keys)
    assert_right(which.rules, keys, out)
    rate(lambda: classifier.classify(keys, out), len(keys), bytes_per_rule=classifier.info["bytes"] // n)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("family", ["acl", "fw", "ipc"])
def test_kernel(rate: Callable[..., None], family: str, kernel: str) -> None:
    which, classifier = case(family, 10_000), table(family, 10_000)
    keys, _ = which.traces["uniform"]
    out = classifier.classify(keys, kernel=kernel)
    assert_right(which.rules, keys, out)
    rate(lambda: classifier.classify(keys, out, kernel=kernel), len(keys))


@pytest.mark.parametrize("batch", [1, 4, 16, 64, 256, 4096])
def test_batch(rate: Callable[..., None], batch: int) -> None:
    """Calls with few keys: one round is one call, so that its latency stands in the table of times."""
    which, classifier = case("acl", 10_000), table("acl", 10_000)
    keys = which.traces["uniform"][0][:batch]
    out = classifier.classify(keys)
    assert_right(which.rules, keys, out)
    rate(lambda: classifier.classify(keys, out), batch)


@pytest.mark.parametrize("trace", ["corner", "zipf"])
def test_trace(rate: Callable[..., None], trace: str) -> None:
    which = case("fw", 10_000, 4, trace)
    classifier = table("fw", 10_000)
    keys, _ = which.traces[trace]
    out = classifier.classify(keys)
    assert_right(which.rules, keys, out)
    rate(lambda: classifier.classify(keys, out), len(keys))


@pytest.mark.parametrize("n", [10_000, 100_000])
@pytest.mark.parametrize("family", ["acl", "fw", "ipc"])
def test_build(benchmark: Any, family: str, n: int) -> None:
    rules = case(family, n).rules
    built = benchmark.pedantic(lambda: fc.Classifier(rules), rounds=3)
    keys, _ = case(family, n).traces["uniform"]
    np.testing.assert_array_equal(built.classify(keys), table(family, n).classify(keys))
