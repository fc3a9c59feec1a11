"""A bare TUN echo loop in C as a peer, to show how fast a program that does nothing with its packets can be."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Final

from flowclass.bench.harness import compiled

__all__ = ["available", "program"]

_SOURCE: Final = Path(__file__).with_name("tun_echo_peer.c")


def available() -> str | None:
    """None if the peer can be built, otherwise what is missing."""
    return None if shutil.which("cc") else "TUN echo: no C compiler"


@cache
def program() -> str:
    """The path of the program, which is compiled if need be."""
    return str(compiled(_SOURCE, ["-O2", "-Wall"], []))
