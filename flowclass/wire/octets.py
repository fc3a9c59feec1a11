"""Conversion of bytes-like arguments to ``bytes``."""

from __future__ import annotations

from flowclass.errors import ArgumentError

__all__ = ["as_bytes"]


def as_bytes(data: bytes | bytearray | memoryview) -> bytes:
    """Return any bytes-like object as ``bytes``; an object that is ``bytes`` already is not copied."""
    if type(data) is bytes:
        return data
    try:
        return bytes(memoryview(data))
    except TypeError:
        raise ArgumentError("data", "a bytes-like object", data) from None
