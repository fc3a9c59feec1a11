"""Threads for calls that divide a large batch. They start when first asked for, and are kept: a start takes 0.1 ms."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

__all__ = ["run_parts"]

_pool: ThreadPoolExecutor | None = None


def _forget() -> None:
    global _pool
    _pool = None  # a child process has none of its parent's threads


os.register_at_fork(after_in_child=_forget)


def run_parts(function: Callable[[int, int], object], parts: Sequence[tuple[int, int]]) -> None:
    """Calls function(begin, end) for all parts at the same time, the first of them in this thread. Raises what the
    first part to fail raised, in the order of the parts."""
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(1024, thread_name_prefix="flowclass")
    others = [_pool.submit(function, *part) for part in parts[1:]]
    try:
        function(*parts[0])
    finally:
        wait(others)
    for done in others:
        done.result()
