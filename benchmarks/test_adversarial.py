"""What is left of the speed on rule sets made to hurt, and what do they cost beside friendly ones?"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from conftest import LARGE, assert_right, case, table

import flowclass as fc
from flowclass.bench.lookup import slowest
from flowclass.generate.adversarial import ADVERSARIAL
from flowclass.generate.names import FAMILY_NAMES

# a plain run would otherwise search for the worst packets for minutes
SIZE = 64_000 if LARGE else 10_000


@cache
def cost(families: tuple[str, ...], version: int) -> tuple[float, float]:
    """Seconds of a build and octets a rule: the mean over the families."""

    def one(rules: npt.NDArray[np.void]) -> tuple[float, float]:
        start = time.thread_time()
        built = fc.Classifier(rules)
        return time.thread_time() - start, built.info["bytes"] / len(rules)

    costs = [[min(one(case(family, SIZE, version).rules) for _ in range(3))] for family in families]
    seconds, octets = np.concatenate(costs).mean(axis=0)
    return float(seconds), float(octets)


@pytest.mark.parametrize("trace", ["uniform", "worst"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("family", ADVERSARIAL)
def test_adversarial(rate: Callable[..., None], family: str, version: int, trace: str) -> None:
    which, classifier = case(family, SIZE, version, trace), table(family, SIZE, version)
    keys, _ = which.traces[trace]
    if trace == "worst":
        keys = slowest(classifier, keys)
    out = classifier.classify(keys)
    assert_right(which.rules, keys, out)
    friendly, hurt = cost(FAMILY_NAMES, version), cost((family,), version)
    rate(
        lambda: classifier.classify(keys, out),
        len(keys),
        build_times_friendly=round(hurt[0] / friendly[0], 1),
        memory_times_friendly=round(hurt[1] / friendly[1], 1),
        largest_leaf=classifier.info["largest_leaf"],
    )
