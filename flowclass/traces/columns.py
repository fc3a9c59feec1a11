"""The columns of rows: their names, and which of them a user asks for."""

from __future__ import annotations

from typing import Final

from flowclass.errors import FlowclassError

__all__ = [
    "COLUMNS",
    "OUTCOME_COLUMNS",
    "PACKET_COLUMNS",
    "all_columns",
    "check_columns",
    "parse_columns",
    "suggestion",
]

OUTCOME_COLUMNS: Final = ("action", "reason", "home_address", "fid", "bid", "care_of")
"""What the decision says."""

COLUMNS: Final = ("file", "frame", "time_ns", *OUTCOME_COLUMNS)
"""What rows have unless other columns are asked for."""

PACKET_COLUMNS: Final = (
    "source", "destination", "protocol", "source_port", "destination_port", "flow_label", "spi", "traffic_class",
    "length", "captured",
)  # fmt: skip
"""What the packet says: the fields by which it was decided, its octets on the wire, and those captured."""

_KNOWN: Final = (*COLUMNS, *PACKET_COLUMNS, "time")
_WORDS: Final = (*_KNOWN, "packet")


def all_columns() -> tuple[str, ...]:
    """Every column that there is. ``time`` is ``time_ns`` as a timestamp (text: RFC 3339) in UTC."""
    return _KNOWN


def parse_columns(text: str, usual: tuple[str, ...] = COLUMNS, known: tuple[str, ...] = _WORDS) -> tuple[str, ...]:
    """The columns that a comma-separated list means, in its order.

    ``packet`` stands for all of `PACKET_COLUMNS`. A list that begins with ``+`` adds to the ``usual`` ones:
    ``+packet``, ``+source,length``. Raises `FlowclassError` for a name that is none of the ``known`` ones, or comes
    twice.
    """
    names = [name.strip() for name in text.removeprefix("+").split(",")]
    found = list(usual) if text.startswith("+") else []
    for name in (name.removeprefix("+") for name in names):
        found += PACKET_COLUMNS if name == "packet" and "packet" in known else [name]
    return check_columns(found, known)


def check_columns(columns: list[str] | tuple[str, ...], known: tuple[str, ...] = _WORDS) -> tuple[str, ...]:
    """Returns the columns as a tuple; raises `FlowclassError` for a name that is none of the ``known`` ones, or comes
    twice."""
    for place, name in enumerate(columns):
        if name not in known or name == "packet":
            raise FlowclassError(f"columns: there is no column {name!r}{suggestion(name, known)}")
        if name in columns[:place]:
            raise FlowclassError(f"columns: {name} is there twice")
    if not columns:
        raise FlowclassError("columns: expected at least one")
    return tuple(columns)


def suggestion(name: str, known: tuple[str, ...]) -> str:
    """The end of a message about a name that is none of the ``known`` ones."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else f": expected one of {', '.join(known)}"
