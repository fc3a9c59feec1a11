"""Pools: what does units of work. Processes of this machine, or the workers of a Dask cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any, Protocol

from flowclass.errors import FlowclassError

from ..interruption import SIGNALS

__all__ = ["DaskPool", "LocalPool", "Pool"]


class Pool(Protocol):
    """``ahead``: how many calls to have under way at a time; ``one_file``: whether its workers may write into one file
    at the same time, each in a place of its own."""

    one_file: bool

    @property
    def ahead(self) -> int:
        """How many calls to have under way at a time."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Has one of the workers make a call."""

    def stop(self) -> None:
        """Ends the calls that are under way, without waiting for them."""


def _begin_worker() -> None:
    for number in SIGNALS:  # the parent is told too, and ends the pool
        signal.signal(number, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed can't end its workers, and they would wait for it for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _start_method() -> str:
    """How to make a process: fork, which has everything imported and loaded, where no other thread exists whose locks
    the copy would find in whatever state they are; else a new interpreter, which takes 0.3 s of processor time."""
    try:
        return "fork" if len(os.listdir("/proc/self/task")) == 1 else "spawn"
    except OSError:  # no Linux
        return "spawn"


class LocalPool:
    """Processes of this machine. Leaving the block early cancels what has not begun.

    What this process has loaded, the workers have too, where it can be: see `_start_method`.
    """

    one_file = True

    def __init__(self, workers: int) -> None:
        self._pool = ProcessPoolExecutor(workers, mp_context=get_context(_start_method()), initializer=_begin_worker)
        self.ahead = workers + 2
        self._pool.submit(int)  # makes the processes now, while there is no other thread

    def __enter__(self) -> LocalPool:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.stop()
        self._pool.shutdown(cancel_futures=True)

    def stop(self) -> None:
        """An interruption doesn't wait for a large trace: parts are whole or not there at all."""
        for process in list((self._pool._processes or {}).values()):
            process.kill()

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Has one of the processes make a call."""
        return self._pool.submit(function, *arguments)


class DaskPool:
    """A Dask cluster, by the address of its scheduler; "local": processes of this machine under Dask.

    Its workers see the traces and the output's folder under the same paths, and have flowclass installed.
    """

    one_file = False  # not every file system of a cluster takes writers on several machines

    def __init__(self, scheduler: str, workers: int | None = None) -> None:
        try:
            distributed: Any = import_module("distributed")
        except ImportError:
            raise FlowclassError("a cluster takes Dask: pip install 'flowclass[dask]'") from None
        self._stack = contextlib.ExitStack()
        try:
            address: Any = scheduler
            if scheduler == "local":
                # what it says when it shuts down under load is of no use to anybody here
                quiet = {"silence_logs": logging.CRITICAL, "dashboard_address": None}
                cluster = distributed.LocalCluster(n_workers=workers, threads_per_worker=1, **quiet)
                address = self._stack.enter_context(cluster)
            self._client = self._stack.enter_context(distributed.Client(address))
        except (OSError, ValueError) as error:
            self._stack.close()
            raise FlowclassError(f"{scheduler}: no Dask scheduler: {error}") from None
        self._executor = self._client.get_executor(pure=False)

    def __enter__(self) -> DaskPool:
        return self

    @property
    def ahead(self) -> int:
        """As many as there are threads, twice; the cluster may grow meanwhile."""
        threads: dict[str, int] = self._client.nthreads()
        return max(8, 2 * sum(threads.values()))

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(wait=False)
        self._stack.close()

    def stop(self) -> None:
        """Forgets the calls; a worker ends the one that it is at."""
        self._executor.shutdown(wait=False)

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Has one of the workers make a call."""
        future: Future[Any] = self._executor.submit(function, *arguments)
        return future
