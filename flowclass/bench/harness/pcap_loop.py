"""libpcap's loop over a capture as a peer: a small program, built on demand if libpcap's headers are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

from flowclass.bench.harness import compiled

__all__ = ["available", "program"]

_SOURCE: Final = Path(__file__).with_name("pcap_loop_peer.c")


@cache
def available() -> str | None:
    """None if the peer can be built, otherwise what is missing."""
    if shutil.which("cc") is None:
        return "libpcap: no C compiler"
    test = subprocess.run(
        ["cc", "-E", "-include", "pcap/pcap.h", "-x", "c", os.devnull], capture_output=True, check=False
    )
    return "libpcap: no headers (Debian: apt install libpcap-dev)" if test.returncode else None


@cache
def program() -> str:
    """The path of the program, which is compiled if need be."""
    return str(compiled(_SOURCE, ["-O2", "-Wall"], ["-lpcap"]))
