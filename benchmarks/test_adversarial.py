"""What is left of the speed on rule sets and packets that are made to hurt?"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import assert_right, case, table

from flowclass.bench.lookup import slowest
from flowclass.generate.adversarial import ADVERSARIAL

# sizes at which they hurt most, cut to 10,000 where the plain benchmark run would otherwise build for seconds
SIZES = {"nested_ranges": 32_000, "overlapping_ranges": 64_000, "small_rectangles": 64_000}


@pytest.mark.parametrize("trace", ["uniform", "worst"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("family", ADVERSARIAL)
def test_adversarial(rate: Callable[..., None], family: str, version: int, trace: str) -> None:
    n = SIZES.get(family, 10_000)
    which, classifier = case(family, n, version, trace), table(family, n, version)
    keys, _ = which.traces[trace]
    if trace == "worst":
        keys = slowest(classifier, keys)
    out = classifier.classify(keys)
    assert_right(which.rules, keys, out)
    info = classifier.info
    rate(
        lambda: classifier.classify(keys, out),
        len(keys),
        bytes_per_rule=info["bytes"] // n,
        largest_leaf=info["largest_leaf"],
    )
