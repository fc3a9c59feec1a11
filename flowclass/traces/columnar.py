"""Per-packet rows as a stream of Arrow record batches, which other tools take without a copy.

Needs pyarrow: ``pip install 'flowclass[parquet]'``. Rows arrive as ids into a table of outcomes, which
Arrow calls dictionary encoding: the columns of rows are picked by id from the columns of the outcomes, in C.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from flowclass.errors import DamageWarning, FlowclassError
from flowclass.mobility import HomeAgent
from flowclass.mobility.bindings_file import read_bindings

from .arrow import SCHEMA, column, columns_of, schema_of
from .columns import COLUMNS, OUTCOME_COLUMNS, check_columns, parse_columns
from .outcomes import Outcomes, Rows, RowValues
from .replaying import stream as replay_stream
from .run import Run, Source
from .selection import Selection
from .summary import Summary
from .where import Where

__all__ = ["SCHEMA", "DecisionStream", "classify_traces"]


class _Tables:
    """The columns of the outcomes as Arrow arrays, which are rebuilt when there are more outcomes."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._names = [name for name in columns if name in OUTCOME_COLUMNS]
        self._values: list[RowValues] | None = None
        self._count = -1
        self._columns: dict[str, Any] = {}

    def of(self, outcomes: Outcomes) -> dict[str, Any]:
        if self._values is not outcomes.values or self._count != len(outcomes):
            self._values, self._count = outcomes.values, len(outcomes)
            self._columns = {name: column(name, [getattr(o, name) for o in outcomes.values]) for name in self._names}
        return self._columns


class DecisionStream:
    """The rows of some traces as a stream that polars, duckdb, pandas and pyarrow take through ``__arrow_c_stream__``.

    Traces are read only as rows are asked for, so memory stays constant. Each use reads the traces from the start.
    ``summary`` is that of the last use. At the end of a use, each trace that was damaged gets a `DamageWarning`.
    """

    def __init__(self, make: Callable[[], tuple[Run, Iterator[Rows]]], columns: Sequence[str] = COLUMNS) -> None:
        self._make = make
        self._columns = columns
        self.summary: Summary | None = None

    def __iter__(self) -> Iterator[Any]:
        """Yields the rows as pyarrow.RecordBatch values."""
        run, stream = self._make()
        self.summary = run.summary
        tables = _Tables(self._columns)
        for rows in stream:
            yield columns_of(rows, self._columns, tables.of(rows.outcomes))
        for text in run.summary.damage_texts():
            warnings.warn(text, DamageWarning, stacklevel=2)

    def __repr__(self) -> str:
        return f"<DecisionStream: {', '.join(self._columns)}>"

    def to_pandas(self) -> Any:
        """The rows as a pandas.DataFrame, in which integers that may be null are pandas' nullable integers."""
        return pa.table(self).to_pandas()

    def __array__(self, *arguments: Any, **more: Any) -> Any:
        # pandas.DataFrame(stream) asks for this, and would otherwise make one column of record batches
        raise TypeError("a DecisionStream is no array: stream.to_pandas() and pandas.DataFrame.from_arrow(stream) "
                        "give a table of pandas, pyarrow.table(stream) one of pyarrow")  # fmt: skip

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        reader = pa.RecordBatchReader.from_batches(schema_of(self._columns), iter(self))
        return reader.__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        return schema_of(self._columns).__arrow_c_schema__()


def classify_traces(
    traces: Source | Sequence[Source],
    bindings: str | os.PathLike[str] | None = None,
    *,
    replay: bool = False,
    profile: str | None = None,
    inner: int = 0,
    columns: str | Sequence[str] = COLUMNS,
    where: str | None = None,
) -> DecisionStream:
    """Does what ``flowclass classify`` does, and gives the rows as a stream for tables.

    For example: ``polars.DataFrame(classify_traces("a.pcap", "bindings.toml"))``.
    ``bindings`` is the path of a bindings file; with ``replay``, binding updates in the traces change the bindings.
    ``columns`` are names, or text as of ``--columns`` (``"+packet"``); ``where`` chooses rows, as ``--where`` does.

    Raises FileNotFoundError for a trace that is missing, at the call; what else is wrong with one shows when rows are
    asked for: as a `CaptureError`, or, when what could be read of it has been read, as a `DamageWarning`.
    """
    # mypy does not know that other sequences are no source either, which is said where it is opened
    sources: list[Source] = list(traces) if isinstance(traces, (list, tuple)) else [traces]  # type: ignore[list-item]
    if bindings is None and not replay:
        raise FlowclassError("bindings from a file, or replay=True, are needed")
    for source in sources:
        if isinstance(source, (str, os.PathLike)) and os.fspath(source) != "-":
            os.stat(source)  # a missing file is an error here, not when the first row is asked for
    found = None if bindings is None else read_bindings(bindings)

    names = parse_columns(columns) if isinstance(columns, str) else check_columns(tuple(columns))
    condition = None if where is None else Where(where)

    def make() -> tuple[Run, Iterator[Rows]]:
        agent = HomeAgent(profile or (found.profile if found else "draft"))
        if found is not None:
            agent.load(found)
        selection = None if condition is None else Selection(where=condition)
        run = Run(agent, inner=inner, selection=selection)
        return run, replay_stream(run, sources) if replay else run.stream(sources)

    return DecisionStream(make, names)
