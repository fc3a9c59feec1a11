"""`--where`: conditions on the columns of rows, joined by "and".

    Where("reason=flow and source=2001:db8:c::/64 and destination_port=1024-65535")

A condition is the name of a column, "=", and a value: a number, an address, a prefix, a protocol's name, a word such as
``forward``, or a range ``first-last``. What a packet doesn't have matches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import numpy as np
import numpy.typing as npt

from flowclass.engine.fields import ADDRESSES, BITS, LARGEST, LOW_WORD
from flowclass.errors import FlowclassError
from flowclass.mobility.bindings_file.parse import BadValueError, address_range, number, number_range

from .columns import OUTCOME_COLUMNS, all_columns, suggestion
from .outcomes import ACTIONS, REASONS, Rows, RowValues

__all__ = ["Where"]

Mask = npt.NDArray[np.bool_]
_CONDITION: Final = re.compile(r"\s*(?P<name>[^\s=]*)\s*(?P<equals>=?)\s*(?P<value>\"[^\"]*\"|\S*)")
_AND: Final = re.compile(r"\s*(?P<word>\S*)")
_NUMBERS: Final = {
    "frame": (1 << 64) - 1, "fid": 65535, "bid": 65535, "length": (1 << 32) - 1, "captured": (1 << 32) - 1,
}  # fmt: skip
_WORDS: Final = {"action": ACTIONS, "reason": REASONS}


class Where:
    """The condition that a text describes. Raises `FlowclassError`, with the place in the text, if it describes none.

    ``of_packets`` says whether it can be tested without a decision.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._packets: list[Callable[[Rows], Mask]] = []
        self._outcomes: list[Callable[[RowValues], bool]] = []
        at = 0
        while True:
            at = self._condition(at)
            word = _AND.match(text, at)
            assert word is not None
            if not word["word"]:
                break
            if word["word"] != "and":
                raise self._error(word.start("word"), f"expected 'and' or the end, found {word['word']!r}")
            at = word.end()

    @property
    def of_packets(self) -> bool:
        """Whether it is about packets alone, whatever is decided about them."""
        return not self._outcomes

    def choose(self, rows: Rows) -> Mask:
        """Which rows match."""
        chosen = np.ones(len(rows), dtype=bool)
        for matches in self._packets:
            chosen &= matches(rows)
        if self._outcomes and chosen.any():
            used, places = np.unique(rows.ids, return_inverse=True)
            values = rows.outcomes.values
            fits = [all(matches(values[i]) for matches in self._outcomes) for i in used.tolist()]
            chosen &= np.array(fits, dtype=bool)[places]
        return chosen

    def _error(self, at: int, what: str) -> FlowclassError:
        return FlowclassError(f"where: character {at + 1} of {self.text!r}: {what}")

    def _condition(self, at: int) -> int:
        """Adds the condition that begins at a character; returns where it ends."""
        found = _CONDITION.match(self.text, at)
        assert found is not None
        name, value = found["name"], found["value"].strip('"')
        known = tuple(column for column in all_columns() if column != "time")
        if not name:
            raise self._error(found.start("name"), "expected a condition such as destination_port=443")
        if name == "time":
            raise self._error(found.start("name"), "times are chosen by --from and --to")
        if name not in known:
            raise self._error(found.start("name"), f"there is no field {name!r}{suggestion(name, known)}")
        if not found["equals"]:
            raise self._error(found.end("name"), f"expected '=' and a value after {name}")
        if not value:
            raise self._error(found.start("value"), f"expected a value after {name}=")
        try:
            self._add(name, value)
        except BadValueError as error:
            raise self._error(found.start("value"), f"{name}: {error}") from None
        return found.end()

    def _add(self, name: str, value: str) -> None:
        if name == "file":
            self._packets.append(lambda rows: np.full(len(rows), rows.file == value))
        elif name in _WORDS:
            if value not in _WORDS[name]:
                raise BadValueError(f"{value!r} is none of {', '.join(_WORDS[name])}")
            self._outcomes.append(lambda outcome: getattr(outcome, name) == value)
        elif name in ("home_address", "care_of"):
            fits = _AddressRange(*address_range(value))
            if name == "care_of":
                self._outcomes.append(lambda outcome: any(map(fits.has, outcome.care_of)))
            else:
                self._outcomes.append(
                    lambda outcome: outcome.home_address is not None and fits.has(outcome.home_address)
                )
        elif name in ADDRESSES:
            of_keys = _AddressRange(*address_range(value))
            self._packets.append(lambda rows: of_keys.has_keys(rows.keys, name))
        else:
            self._add_number(name, *_range(value, name))

    def _add_number(self, name: str, first: int, last: int) -> None:
        if name in OUTCOME_COLUMNS:
            self._outcomes.append(
                lambda outcome: getattr(outcome, name) is not None and first <= getattr(outcome, name) <= last
            )
        elif name in BITS:
            self._packets.append(
                lambda rows: (rows.keys["present"] & BITS[name] != 0) & _within(rows.keys[name], first, last)
            )
        else:
            array = {"frame": "frames", "time_ns": "times", "length": "sizes", "captured": "captured"}[name]
            self._packets.append(lambda rows: _within(getattr(rows, array), first, last))


def _range(value: str, name: str) -> tuple[int, int]:
    """The range of a number, or of "first-last"."""
    if name in LARGEST:
        return number_range(value, name)
    ends = value.split("-") if value.count("-") == 1 and not value.startswith("-") else [value, value]
    most = (1 << 63) - 1 if name == "time_ns" else _NUMBERS[name]
    first, last = (number(end, 0, most) for end in ends)
    if first > last:
        raise BadValueError(f"the range {value} is reversed")
    return first, last


def _within(values: npt.NDArray[np.integer], first: int, last: int) -> Mask:
    kind = values.dtype.type
    return np.asarray((values >= kind(first)) & (values <= kind(last)))


@dataclass(frozen=True, slots=True)
class _AddressRange:
    """Addresses of one IP version; ``ends`` are the first and the last as integers."""

    version: int
    ends: tuple[int, int]

    def has(self, text: str) -> bool:
        """Whether an address, given as text, is one of them."""
        found = ip_address(text)
        return found.version == self.version and self.ends[0] <= int(found) <= self.ends[1]

    def has_keys(self, keys: npt.NDArray[np.void], name: str) -> Mask:
        """Of which keys the source or destination is one of them."""
        high, low = keys[name][:, 0], keys[name][:, 1]
        (first_high, first_low), (last_high, last_low) = (
            (np.uint64(end >> 64), np.uint64(end & LOW_WORD)) for end in self.ends
        )
        above = (high > first_high) | ((high == first_high) & (low >= first_low))
        below = (high < last_high) | ((high == last_high) & (low <= last_low))
        there = (keys["version"] == self.version) & (keys["present"] & BITS[name] != 0)
        return np.asarray(there & above & below)
