"""The mobile node's end of a tunnel, in C: the other side of the live packet loop in its benchmark."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from flowclass.bench.harness import compiled

__all__ = ["program"]

_SOURCE: Final = Path(__file__).with_name("tunnel_end_peer.c")


@cache
def program() -> str:
    """The path of the program, which is compiled if need be."""
    return str(compiled(_SOURCE, ["-O2", "-Wall"], []))
