"""The log of a live agent: one line per event on standard error, as text or as JSON.

Events that any sender can cause are logged once per interval and key, with the number of times that they have occurred
since the last line, so that a flood of packets can't fill the disk.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

__all__ = ["Log"]

_KEPT: Final = 200
_KEYS: Final = 1024
_EVENTS: Final = 100

Level = Literal["info", "warning", "error"]


class Log:
    """A log. ``recent`` has the last events, for `flowclass ctl watch`. Values of fields must be possible in JSON."""

    def __init__(
        self, form: Literal["text", "json"] = "text", interval: float = 10.0, out: TextIO | None = None
    ) -> None:
        self.form = form
        self.interval = interval
        self.out = out
        self.recent: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._limited: dict[str, tuple[float, int]] = {}
        self._events = (0.0, 0)  # the present second, and its number of events so far

    def info(self, message: str, **fields: Any) -> None:
        self._write("info", message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        self._write("warning", message, fields)

    def error(self, message: str, **fields: Any) -> None:
        self._write("error", message, fields)

    def event(self, message: str, **fields: Any) -> None:
        """Log a normal event; of more than a hundred in a second, only the number is logged."""
        now = time.monotonic()
        since, count = self._events
        if now >= since + 1.0:
            if count > _EVENTS:
                self._write("info", "events not logged", {"count": count - _EVENTS})
            since, count = now, 0
        self._events = (since, count + 1)
        if count < _EVENTS:
            self._write("info", message, fields)

    def limited(self, key: str, message: str, **fields: Any) -> None:
        """Log a warning once per interval and key; ``times`` is how often it has occurred since the last line."""
        now = time.monotonic()
        due, count = self._limited.get(key, (0.0, 0))
        if now < due:
            self._limited[key] = (due, count + 1)
            return
        if len(self._limited) >= _KEYS:
            self._limited = {k: v for k, v in self._limited.items() if v[0] > now}
            if len(self._limited) >= _KEYS:
                return  # too many different warnings in one interval; counters have them
        self._limited[key] = (now + self.interval, 0)
        self._write("warning", message, {**fields, "times": count + 1})

    def ready(self) -> None:
        """Write the line for which the starting process waits: the word alone, in text and in JSON form."""
        print("ready", file=self.out or sys.stderr, flush=True)

    def following(self) -> None:
        """Write the corresponding line for a second agent that is on standby."""
        print("following", file=self.out or sys.stderr, flush=True)

    def _write(self, level: Level, message: str, fields: dict[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        fields = {name: value if isinstance(value, (int, float, str)) else str(value) for name, value in fields.items()}
        event = {"time": now, "level": level, "message": message, **fields}
        self.recent.append(event)
        if self.form == "json":
            line = json.dumps(event)
        else:
            rest = "".join(f" {name}={value}" for name, value in fields.items())
            line = " ".join(f"{now} {level} {message}{rest}".split())
        with contextlib.suppress(OSError):  # nobody reads the log any more, but the agent goes on serving
            print(line, file=self.out or sys.stderr, flush=True)
