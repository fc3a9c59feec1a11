"""Pools of workers, which make calls (calls.py): processes of this machine, or the workers of a Dask cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from concurrent.futures import Future, ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any, Protocol

from flowclass.errors import FlowclassError

from ..interruption import SIGNALS
from .calls import perform

__all__ = ["DaskPool", "LocalPool", "Pool"]


class Pool(Protocol):
    """A set of workers that make calls.

    ``one_file`` says whether several workers may write to one file at the same time, each at its own offset.
    """

    one_file: bool

    @property
    def ahead(self) -> int:
        """How many calls should be submitted and unfinished at a time, so that no worker waits for work."""

    def submit(self, call: bytes) -> Future[bytes]:
        """Has one of the workers make a call; the future gives its answer."""

    def stop(self) -> None:
        """Stops the calls that are running or waiting; does not wait for them to finish."""


def _begin_worker() -> None:
    for number in SIGNALS:  # the parent gets the signal too, and stops the pool itself
        signal.signal(number, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Waits for the parent process to end, and then ends this worker.

    A parent that is killed can't end its workers, which would otherwise wait for more work for ever.
    """
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _start_method() -> str:
    """How to start worker processes: ``"fork"`` while this process has only one thread, otherwise ``"spawn"``.

    A forked worker already has all modules and data loaded. But if another thread held a lock at that moment, the lock
    would stay held in the copy for ever. Spawning a new interpreter is safe, and takes 0.3 s of processor time.
    """
    try:
        return "fork" if len(os.listdir("/proc/self/task")) == 1 else "spawn"
    except OSError:  # not Linux
        return "spawn"


class LocalPool:
    """A pool of ``workers`` processes on this machine. Leaving the block with an exception kills them.

    Where they can be forked, the workers have everything that this process has loaded: see `_start_method`.
    """

    one_file = True

    def __init__(self, workers: int) -> None:
        self._pool = ProcessPoolExecutor(workers, mp_context=get_context(_start_method()), initializer=_begin_worker)
        self.ahead: int = workers + 2
        self._pool.submit(int)  # starts the processes now, while this process has no other thread

    def __enter__(self) -> LocalPool:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.stop()
        self._pool.shutdown(cancel_futures=True)

    def stop(self) -> None:
        """Kills the processes. No part is left half-written, as a part appears only when it is complete."""
        for process in list((self._pool._processes or {}).values()):
            process.kill()

    def submit(self, call: bytes) -> Future[bytes]:
        """Has one of the processes make a call."""
        return self._pool.submit(perform, call)


class DaskPool:
    """The workers of a Dask cluster.

    ``scheduler`` is the address of its scheduler, or "local" for a new cluster of ``workers`` processes on this
    machine. The workers must have flowclass installed, and the traces and the output's folder must have the same paths
    on all machines.
    """

    one_file = False  # not every cluster file system supports writers on several machines

    def __init__(self, scheduler: str, workers: int | None = None) -> None:
        try:
            distributed: Any = import_module("distributed")
        except ImportError:
            raise FlowclassError("a cluster takes Dask: pip install 'flowclass[dask]'") from None
        self._stack = contextlib.ExitStack()
        try:
            address: Any = scheduler
            if scheduler == "local":
                # the messages that Dask logs when it shuts down under load help nobody here
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
        """Twice the present number of worker threads, at least 8. Asked each time, as the cluster may grow."""
        threads: dict[str, int] = self._client.nthreads()
        return max(8, 2 * sum(threads.values()))

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(wait=False)
        self._stack.close()

    def stop(self) -> None:
        """Drops the calls that have not begun. A worker still finishes the call that it is making."""
        self._executor.shutdown(wait=False)

    def submit(self, call: bytes) -> Future[bytes]:
        """Has one of the workers make a call."""
        future: Future[bytes] = self._executor.submit(perform, call)
        return future
