"""What tests of traces share: a pool without processes, and rows of a few outcomes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np

from flowclass.errors import FlowclassError
from flowclass.traces.outcomes import Outcomes, Rows, RowValues
from flowclass.traces.reader import NO_TIME
from flowclass.traces.workers.parts import do_unit

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
    """A pool that does each unit at once, and remembers which. ``fails`` stands for a machine that goes down."""

    one_file = True
    ahead = 3

    def __init__(self, fails_after: int | None = None) -> None:
        self.done: list[str] = []
        self.fails_after = fails_after

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if function is do_unit:
            if self.fails_after is not None and len(self.done) >= self.fails_after:
                raise KeyboardInterrupt
            self.done.append(arguments[1].trace)
        try:
            future.set_result(function(*arguments))
        except FlowclassError as error:
            future.set_exception(error)
        return future
