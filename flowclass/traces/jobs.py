"""Many traces by many processes, with the results of one: units of work, their parts, and how parts become one.

A unit is one trace. Whoever does it (this process, a pool, another machine that sees the same files) writes its rows
into a part, beside its place and then renamed, with its summary; parts are put together in the order of the traces.
What is done stays done: a run that was interrupted finds its parts again, as their names say what they were made from.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pickle
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, BrokenExecutor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import IO, Any, Protocol

from flowclass.errors import FlowclassError
from flowclass.mobility import HomeAgent
from flowclass.mobility.bindings_file import BindingsFile

from .classify import Run
from .outcomes import Outcomes, Rows
from .outputs import RowWriter, TextWriter, atomic_file, check_output, csv_tail_writer, jsonl_writer
from .summary import Summary

__all__ = ["DaskPool", "Job", "LocalPool", "do_unit", "parts_folder", "run_job"]


@dataclass(frozen=True, slots=True)
class Job:
    """What is the same for all traces. ``ending`` is that of the output, None where there is only a summary."""

    found: BindingsFile
    inner: int = 0
    ending: str | None = None
    key: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        about = pickle.dumps((1, self.found.profile, self.found.nodes, self.inner, self.ending))
        object.__setattr__(self, "key", hashlib.sha256(about).digest())

    def part_name(self, trace: str) -> str:
        """The name of a trace's part: another bindings file, option, trace or state of the trace gives another one."""
        state = os.stat(trace)
        about = (trace, os.path.abspath(trace), state.st_size, state.st_mtime_ns)
        return hashlib.sha256(self.key + pickle.dumps(about)).hexdigest()[:40]


class Pool(Protocol):
    """What does units: concurrent.futures' executors, and Dask's clients by way of an adapter."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Any: ...


_agents: dict[bytes, HomeAgent] = {}


def _agent(job: Job) -> HomeAgent:
    """One per process: bindings are loaded once, not for each trace."""
    if job.key not in _agents:
        agent = HomeAgent(job.found.profile)
        agent.load(job.found)
        _agents.clear()
        _agents[job.key] = agent
    return _agents[job.key]


def do_unit(job: Job, trace: str, part: str) -> None:
    """Classifies one trace into a part; its summary goes beside it, and is there only if the part is whole."""
    with contextlib.ExitStack() as stack:
        writer = None
        if job.ending is not None:
            writer = _part_writer(job.ending, stack.enter_context(atomic_file(f"{part}.rows")))
        summary = Run(_agent(job), writer=writer, inner=job.inner).classify([trace])
    with atomic_file(f"{part}.summary") as stream:
        pickle.dump(summary, stream)


class _RowsWriter:
    """Rows as they are, for outputs that can't be put together from pieces."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._values: object = None
        self._known = 0

    def write(self, rows: Rows) -> None:
        if self._values is not rows.outcomes.values:
            self._values, self._known = rows.outcomes.values, 0
        fresh = rows.outcomes.values[self._known :]
        first, self._known = self._known, len(rows.outcomes)
        pickle.dump((rows.file, rows.frames, rows.times, rows.ids, rows.sizes, first, fresh), self._stream, protocol=5)

    def close(self) -> None:
        pass


def _read_rows(stream: IO[bytes]) -> Iterator[Rows]:
    outcomes = Outcomes()
    while True:
        try:
            file, frames, times, ids, sizes, first, fresh = pickle.load(stream)
        except EOFError:
            return
        if first == 0:
            outcomes.forget()
        outcomes.values += fresh
        yield Rows(file, frames, times, ids, outcomes, sizes)


def _part_writer(ending: str, stream: IO[bytes]) -> RowWriter:
    # texts are pieces that need only be joined: the costly work is done where the unit is
    return {".csv": csv_tail_writer, ".jsonl": jsonl_writer}.get(ending, _RowsWriter)(stream)


def parts_folder(output: str) -> str:
    """Where the parts of an output are until it's whole."""
    folder, name = os.path.split(os.path.realpath(output))
    return os.path.join(folder, f".{name}.parts")


def run_job(
    job: Job,
    traces: Sequence[str],
    output: str | None,
    folder: str,
    pool: Pool,
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> Summary:
    """Does what is not done yet, puts the parts together, and takes them away. Raises what a unit raised.

    ``folder`` holds the parts; it's made, and removed when all is well or a unit can't be done, but left when the job
    is interrupted.
    """
    os.makedirs(folder, exist_ok=True)
    parts = [os.path.join(folder, job.part_name(trace)) for trace in traces]
    todo = {part: trace for part, trace in zip(parts, traces, strict=True) if not os.path.exists(f"{part}.summary")}
    # the largest first: the last one to be finished is then a small one
    order = sorted(todo.items(), key=lambda item: -os.path.getsize(item[1]))
    futures = {pool.submit(do_unit, job, trace, part): trace for part, trace in order}
    _wait(
        futures, folder, progress, sum(os.path.getsize(t) for t in traces) - sum(os.path.getsize(t) for _, t in order)
    )
    summary = Summary()
    for part in parts:
        with open(f"{part}.summary", "rb") as stream:
            summary.merge(pickle.load(stream))
    if output is not None:
        _join(parts, output)
    shutil.rmtree(folder)
    return summary


def _wait(futures: dict[Any, str], folder: str, progress: Callable[[int], None], done_before: int) -> None:
    done_octets, left = done_before, set(futures)
    progress(done_octets)
    while left:
        done, left = wait(left, timeout=0.5, return_when=FIRST_EXCEPTION)
        for future in done:
            if (error := future.exception()) is not None:
                for other in left:
                    other.cancel()
                wait(left)
                if isinstance(error, BrokenExecutor):
                    raise FlowclassError("a worker process died; the same command goes on where it was") from error
                shutil.rmtree(folder)
                raise error
            done_octets += os.path.getsize(futures[future])
        progress(done_octets)


def _join(parts: Sequence[str], output: str) -> None:
    make = check_output(output)
    with atomic_file(output) as stream:
        writer = make(stream)
        text = isinstance(writer, TextWriter)
        for part in parts:
            with open(f"{part}.rows", "rb") as rows_stream:
                if text:
                    shutil.copyfileobj(rows_stream, stream, 1 << 20)
                else:
                    for rows in _read_rows(rows_stream):
                        writer.write(rows)
        writer.close()


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told too, and ends the pool
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed can't end its workers, and they would wait for it for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class LocalPool:
    """Processes of this machine. Leaving the block early cancels what has not begun."""

    def __init__(self, workers: int) -> None:
        # spawned: a fork would copy threads' locks in whatever state they are
        self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin_worker)

    def __enter__(self) -> LocalPool:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            # an interruption doesn't wait for a large trace: parts are whole or not there at all
            for process in list(self._pool._processes.values()):
                process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        return self._pool.submit(function, *arguments)


class DaskPool:
    """A Dask cluster, by the address of its scheduler; "local": processes of this machine under Dask.

    Its workers see the traces and the output's folder under the same paths, and have flowclass installed.
    """

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

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(wait=False)
        self._stack.close()

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        future: Future[Any] = self._executor.submit(function, *arguments)
        return future
