"""The log of a live agent: one line per event on standard error, as text or as JSON.

What a stranger can cause is logged once per interval and key, with how often it has happened since: a flood fills
counters, not disks.
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
    """``recent`` holds the last events, for `flowclass ctl watch`. Fields are what JSON can say."""

    def __init__(
        self, form: Literal["text", "json"] = "text", interval: float = 10.0, out: TextIO | None = None
    ) -> None:
        self.form = form
        self.interval = interval
        self.out = out
        self.recent: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._limited: dict[str, tuple[float, int]] = {}
        self._events = (0.0, 0)  # the second that counts, and how many events it has had

    def info(self, message: str, **fields: Any) -> None:
        self._write("info", message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        self._write("warning", message, fields)

    def error(self, message: str, **fields: Any) -> None:
        self._write("error", message, fields)

    def event(self, message: str, **fields: Any) -> None:
        """Something that is as it should be; of more than a hundred in a second, only their number is logged."""
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
        """A warning, the first time and then once per interval, with ``times``: how often since the last line."""
        now = time.monotonic()
        due, count = self._limited.get(key, (0.0, 0))
        if now < due:
            self._limited[key] = (due, count + 1)
            return
        if len(self._limited) >= _KEYS:
            self._limited = {k: v for k, v in self._limited.items() if v[0] > now}
            if len(self._limited) >= _KEYS:
                return  # a thousand different troubles in one interval: they are counted elsewhere
        self._limited[key] = (now + self.interval, 0)
        self._write("warning", message, {**fields, "times": count + 1})

    def ready(self) -> None:
        """The line that whoever started the agent waits for: the word alone, in both forms."""
        print("ready", file=self.out or sys.stderr, flush=True)

    def following(self) -> None:
        """The same for a second agent that stands by."""
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
        with contextlib.suppress(OSError):  # nobody reads it any more; that is no reason to stop serving
            print(line, file=self.out or sys.stderr, flush=True)
