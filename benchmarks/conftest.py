"""What the suites share: a pinned, quiet process, cases made once, and packets per second at the end of the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import flowclass as fc
from flowclass.bench.linear import first_match
from flowclass.bench.lookup import Case, generated_case
from flowclass.bench.timing import quiet

LARGE = os.environ.get("FLOWCLASS_BENCH_LARGE", "") not in ("", "0")
"""Sets of a million rules too: minutes instead of seconds."""


@pytest.fixture(scope="session", autouse=True)
def quiet_process() -> Iterator[None]:
    """One processor, no garbage collection (see flowclass.bench.timing)."""
    with quiet():
        yield


@cache
def case(family: str, n: int, version: int = 4, trace: str = "uniform", packets: int = 20_000) -> Case:
    """A generated rule set with one trace, the same in every test of a run."""
    return generated_case(family, n, version, (trace,), packets, seed=1)


@cache
def table(family: str, n: int, version: int = 4) -> fc.Classifier:
    """Its classifier."""
    return fc.Classifier(case(family, n, version).rules)


def assert_right(rules: npt.NDArray[np.void], keys: npt.NDArray[np.void], answers: npt.NDArray[np.int32]) -> None:
    """Answers equal linear search, over as many keys as take a quarter of a second."""
    checked = max(16, 80_000_000 // len(rules))
    np.testing.assert_array_equal(answers[:checked], first_match(rules, keys[:checked]))


@pytest.fixture
def rate(benchmark: Any) -> Callable[..., None]:
    """``rate(call, packets, **extra)``: times the call; the summary shows packets per second."""

    def run(call: Callable[[], object], packets: int, **extra: object) -> None:
        benchmark.extra_info.update(packets=packets, **extra)
        benchmark(call)

    return run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each function asks one question, so that its cases are compared with one another in a table of their own."""
    for item in items:
        if item.get_closest_marker("benchmark") is None and isinstance(item, pytest.Function):
            question = item.originalname.removeprefix("test_").replace("_", " ")
            item.add_marker(pytest.mark.benchmark(group=f"{item.path.stem.removeprefix('test_')}: {question}"))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Million packets (or whatever is counted) per second of each benchmark: pytest-benchmark knows only calls."""
    session = getattr(config, "_benchmarksession", None)
    timed = [b for b in getattr(session, "benchmarks", []) if b.extra_info.get("packets") and not b.has_error]
    if not timed:
        return
    terminalreporter.section("million per second")
    for bench in timed:
        counted = bench.extra_info["packets"]
        others = "  ".join(f"{k} {v}" for k, v in bench.extra_info.items() if k != "packets")
        each = bench.stats.median / counted * 1e6
        slow = f"{each:8.2f} us each" if each > 1 else ""
        terminalreporter.write_line(f"{1 / each:10.3f}{slow}  {bench.name}  {others}".rstrip())
