"""A bounded reader over octets: the one place where input is counted."""

from __future__ import annotations

from types import TracebackType

from flowclass.errors import ArgumentError, DecodeError

__all__ = ["Reader", "as_bytes"]


def as_bytes(data: bytes | bytearray | memoryview) -> bytes:
    """Any bytes-like object as ``bytes``; ``bytes`` themselves are not copied."""
    if type(data) is bytes:
        return data
    try:
        return bytes(memoryview(data))
    except TypeError:
        raise ArgumentError("data", "a bytes-like object", data) from None


class Reader:
    """Reads ``data[pos:end]`` once, from front to back.

    `take` is the only method that advances and the only bounds check. ``data`` is public so that a caller can hand the
    position that `take` returned to ``struct``: ``LAYOUT.unpack_from(r.data, r.take(LAYOUT.size))`` copies nothing.
    Offsets in errors count from the start of ``data``.
    """

    __slots__ = ("_outer", "data", "end", "pos")

    def __init__(self, data: bytes, pos: int = 0, end: int | None = None) -> None:
        self.data = data
        self.pos = pos
        self.end = len(data) if end is None else end
        self._outer: list[int] = []

    def take(self, count: int) -> int:
        """Advance over ``count`` octets and return the offset of the first one."""
        at = self.pos
        after = at + count
        if after > self.end:
            raise DecodeError(f"{count} octets expected, {self.end - at} left", at)
        self.pos = after
        return at

    def octets(self, count: int) -> bytes:
        at = self.take(count)
        return self.data[at : at + count]

    def rest(self) -> bytes:
        return self.octets(self.end - self.pos)

    def restrict(self, count: int) -> Reader:
        """``with r.restrict(n):`` the body sees the next ``n`` octets only, and must consume them all."""
        inner = self.pos + count
        if inner > self.end:
            raise DecodeError(f"a length of {count} octets where {self.end - self.pos} are left", self.pos)
        self._outer.append(self.end)
        self.end = inner
        return self

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        inner = self.end
        self.end = self._outer.pop()
        # only without an error: the first error is the one that explains
        if kind is None and self.pos != inner:
            raise DecodeError(f"{inner - self.pos} octets too many", self.pos)
