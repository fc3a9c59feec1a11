"""Ticks of the axes of charts, and short texts for numbers: for the report and for the plots of the bench."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

__all__ = ["ClockTick", "clock", "linear", "logarithmic", "short"]

_SECOND: Final = 10**9
_MINUTE, _HOUR, _DAY = 60 * _SECOND, 3600 * _SECOND, 86_400 * _SECOND
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STEPS: Final = (
    *(step * 10**power for power in range(9) for step in (1, 2, 5)),
    *(step * unit for unit in (_SECOND, _MINUTE) for step in (1, 2, 5, 10, 15, 30)),
    *(step * _HOUR for step in (1, 2, 3, 6, 12)),
    *(step * _DAY for step in (1, 2, 5, 10)),
)
_MONTHS: Final = (1, 3, 6, *(12 * years for years in (1, 2, 5, 10, 20, 50, 100)))


def linear(low: float, high: float, most: int = 5) -> list[float]:
    """The multiples of a round number (1, 2 or 5 times a power of ten) from ``low`` to ``high``, at most ``most``."""
    if not low < high:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    return [i * step for i in range(first, last + 1)]


def logarithmic(low: float, high: float) -> list[float]:
    """Round numbers from ``low`` to ``high``, both above 0, for a logarithmic axis: three at least."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5), tuple(range(1, 10))):
        decades = [step * 10.0**power for power in powers for step in steps]
        found = [tick for tick in decades if low * 0.999 <= tick <= high * 1.001]
        if len(found) >= 4 or (len(found) == 3 and steps != (1,)):
            return found
    return linear(low, high, 8)


class ClockTick(NamedTuple):
    """A tick of a time axis: where it is (ns since 1970), its text, and the date (or minute) that this text lacks."""

    time_ns: int
    text: str
    context: str


def clock(first: int, last: int, most: int = 6) -> list[ClockTick]:
    """Ticks at round times of the clock (UTC) from ``first`` to ``last``, in ns since 1970: at most ``most``.

    If no round time is in between, ``first`` is the only tick.
    """
    for step in _STEPS:
        if (last - first) // step <= most:
            times = list(range(-(-first // step) * step, last + 1, step))
            if len(times) <= most:
                return _labelled(times or [first], step if times else 1)
    for months in _MONTHS:
        times = _months(first, last, months)
        if len(times) <= most:
            break
    return _labelled(times or [first], 365 * _DAY if months >= 12 else 30 * _DAY)


def _months(first: int, last: int, step: int) -> list[int]:
    start = (_EPOCH + timedelta(microseconds=first // 1000)).year * 12 // step * step
    found = []
    for month in range(start, 12 * 9999, step):
        time = (datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC) - _EPOCH).days * _DAY
        if time > last:
            break
        if time >= first:
            found.append(time)
    return found


def _labelled(times: Sequence[int], step: int) -> list[ClockTick]:
    found = list[ClockTick]()
    for time in times:
        when = _EPOCH + timedelta(seconds=time // _SECOND)
        date, context = f"{when:%Y-%m-%d}", ""
        if step >= 365 * _DAY:
            text = date[:4]
        elif step >= 30 * _DAY:
            text = date[:7]
        elif step >= _DAY:
            text = date
        elif step >= _MINUTE:
            text, context = f"{when:%H:%M}", date
        elif step >= _SECOND:
            text, context = f"{when:%H:%M:%S}", date
        else:
            digits = next(n for n in range(1, 10) if step % 10 ** (9 - n) == 0)
            text = f"{when:%S}.{time % _SECOND:09d}"[: 3 + digits] + " s"
            context = f"{date} {when:%H:%M}"
        found.append(ClockTick(time, text, context))
    return found


def short(value: float) -> str:
    """A number as a tick has it: 1500000 as "1.5M"."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.6g}{name}"
    return f"{value:.6g}"
