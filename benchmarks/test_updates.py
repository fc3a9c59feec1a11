"""How fast do rules come and go in a table that is being read, and what is left of the look-ups then?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from conftest import LARGE, case

from flowclass.bench.updates import Updater

SIZES = (1_000, 10_000, 100_000, *((1_000_000,) if LARGE else ()))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("family", ["acl", "fw", "ipc"])
def test_replace(rate: Callable[..., None], family: str, n: int) -> None:
    """A hundred rules removed and inserted again: 200 updates in two calls."""
    which = case(family, n)
    updater = Updater(which, seed=1)
    updater.replace_some()
    updater.verify(which.traces["uniform"][0][:2000], "after the first update")
    rate(updater.replace_some, 200)
    updater.verify(which.traces["uniform"][0][:2000], "after all updates")


@pytest.mark.parametrize("worn", [False, True])
def test_lookup_after_updates(rate: Callable[..., None], worn: bool) -> None:
    """Look-ups in a table of which every rule has been replaced once, and in the same table built anew."""
    which = case("ipc", 10_000)
    keys, _ = which.traces["uniform"]
    updater = Updater(which, seed=1)
    for _ in range(100):
        updater.replace_some()
    if not worn:
        updater.table.rebuild()
    updater.verify(keys, "after 20,000 updates")
    out = np.empty(len(keys), np.int32)
    rate(lambda: updater.table.classify(keys, out), len(keys))
