"""What tests of traces share: a pool without processes, rows of a few outcomes, zstd."""

from __future__ import annotations

import importlib
import os
from concurrent.futures import Future
from typing import Any

import msgspec
import numpy as np
import pytest

from flowclass.traces.outcomes import Outcomes, Rows, RowValues
from flowclass.traces.reader import NO_TIME
from flowclass.traces.workers.calls import perform

FORWARD = RowValues("forward", "flow", "2001:db8:1::1", 1, 2, ("2001:db8:b::1",))
NCAST = RowValues("n-cast", "flow", "2001:db8:1::1", 2, None, ("2001:db8:a::1", "2001:db8:b::1"))
NOTHING = RowValues("none", "not-ip")


def make_rows(*outcomes: RowValues, file: str = "a.pcap", untimed: tuple[int, ...] = ()) -> Rows:
    table = Outcomes()
    ids = np.array([table.number(o) for o in outcomes], dtype=np.uint32)
    count = len(outcomes)
    times = np.arange(count, dtype=np.int64) + 1_600_000_000_000_000_001
    times[list(untimed)] = NO_TIME
    return Rows(
        file=file,
        frames=np.arange(1, count + 1, dtype=np.uint64),
        times=times,
        ids=ids,
        outcomes=table,
        sizes=np.full(count, 100, dtype=np.uint32),
    )


class Here:
    """A pool that makes each call at once. ``done`` are the traces of the units done, in order; ``fails_after`` so many
    of them, it stands for a machine that goes down."""

    one_file = True
    ahead = 3

    def __init__(self, fails_after: int | None = None) -> None:
        self.done: list[str] = []
        self.fails_after = fails_after

    def submit(self, call: bytes) -> Future[bytes]:
        found = msgspec.msgpack.decode(call)
        if found["type"] == "unit":
            if self.fails_after is not None and len(self.done) >= self.fails_after:
                raise KeyboardInterrupt
            self.done.append(os.fsdecode(found["unit"]["path"]))
        future: Future[bytes] = Future()
        future.set_result(perform(call))
        return future

    def stop(self) -> None:
        """Does nothing: no call is running."""


def zstd_library() -> Any:
    """The module of the standard library, or the same for Python before 3.14; the test is skipped where neither is."""
    try:
        return importlib.import_module("compression.zstd")
    except ImportError:
        return pytest.importorskip("backports.zstd")
