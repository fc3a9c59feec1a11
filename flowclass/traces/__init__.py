"""Captures: reads them, decides each packet, replays binding updates, and writes rows, summaries and reports.

    from flowclass.traces import Run, Trace, classify_traces

A name's module is imported when the name is first used, so pyarrow is needed only for the names that use it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowclass.late import late_names

if TYPE_CHECKING:
    from .columnar import DecisionStream as DecisionStream
    from .columnar import classify_traces as classify_traces
    from .connections import Connections as Connections
    from .connections import write_connections as write_connections
    from .explain import Explanation as Explanation
    from .explain import explain_frame as explain_frame
    from .outcomes import Rows as Rows
    from .outcomes import RowValues as RowValues
    from .outputs import RowWriter as RowWriter
    from .outputs import open_output as open_output
    from .packet_files import PacketWriter as PacketWriter
    from .packet_files import open_packets as open_packets
    from .reader import NO_TIME as NO_TIME
    from .reader import Damage as Damage
    from .reader import KeyBatch as KeyBatch
    from .reader import RecordBatch as RecordBatch
    from .reader import Trace as Trace
    from .replaying import replay as replay
    from .report import make_report as make_report
    from .run import Run as Run
    from .split import Split as Split
    from .split import Splitter as Splitter
    from .summary import Summary as Summary

# public name -> the module of this package that defines it
_PLACES = {
    "NO_TIME": "reader",
    "Damage": "reader",
    "Connections": "connections",
    "DecisionStream": "columnar",
    "Explanation": "explain",
    "KeyBatch": "reader",
    "PacketWriter": "packet_files",
    "RecordBatch": "reader",
    "RowValues": "outcomes",
    "RowWriter": "outputs",
    "Rows": "outcomes",
    "Run": "run",
    "Split": "split",
    "Splitter": "split",
    "Summary": "summary",
    "Trace": "reader",
    "classify_traces": "columnar",
    "explain_frame": "explain",
    "make_report": "report",
    "open_output": "outputs",
    "open_packets": "packet_files",
    "replay": "replaying",
    "write_connections": "connections",
}

__all__ = list(_PLACES)

__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = late_names(__name__, _PLACES)
