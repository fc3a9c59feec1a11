"""DPDK's rte_acl as a peer. It is built on demand if pkg-config finds libdpdk, and runs in this process."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import flowclass as fc
from flowclass.bench.harness import compiled

__all__ = ["ALGORITHMS", "Prepared", "RteAcl", "available", "version"]

# rte_acl.h, enum rte_acl_classify_alg
ALGORITHMS: Final = {"scalar": 1, "sse": 2, "avx2": 3, "avx512x16": 6, "avx512x32": 7}

_SOURCE: Final = Path(__file__).with_name("rte_acl_peer.c")
# the most that DPDK may allocate, half of the machine's memory; without huge pages it is only reserved, not touched.
# 100k firewall rules need up to 1.7 GB to run, and several times that to build.
_MEGABYTES: Final = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 >> 20


def _pkg_config(option: str) -> list[str]:
    done = subprocess.run(["pkg-config", option, "libdpdk"], capture_output=True, text=True, check=True)
    return shlex.split(done.stdout)


@cache
def available() -> str | None:
    """None if the peer can be built, otherwise what is missing."""
    if os.uname().machine != "x86_64":
        return "rte_acl: the harness is for x86-64"
    if shutil.which("pkg-config") is None or shutil.which("cc") is None:
        return "rte_acl: no pkg-config or C compiler"
    if subprocess.run(["pkg-config", "--exists", "libdpdk"], check=False).returncode:
        return "rte_acl: no libdpdk (Debian: apt install libdpdk-dev)"
    return None


def version() -> str:
    """DPDK's version."""
    return _pkg_config("--modversion")[0]


@cache
def _library() -> ctypes.CDLL:
    """The compiled library. It is made, and DPDK is started, at the first call."""
    include = Path(fc.get_include())
    flags = [
        "-std=gnu11",
        "-O3",
        "-fPIC",
        "-shared",
        "-Wall",
        f"-I{include}",
        *_pkg_config("--cflags"),
        "-march=native",
    ]
    libraries = ["-Wl,--as-needed", *_pkg_config("--libs")]
    target = compiled(_SOURCE, flags, libraries, depends=[include / "flowclass.h"])
    library = ctypes.CDLL(str(target))
    p, size = ctypes.c_void_p, ctypes.c_size_t
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "peer_start": (ctypes.c_int, [ctypes.c_uint]),
        "peer_build": (p, [p, size, ctypes.c_int, p]),
        "peer_free": (None, [p]),
        "peer_bytes": (size, [p]),
        "peer_stride": (size, [ctypes.c_int]),
        "peer_pack": (None, [p, size, ctypes.c_int, p, p]),
        "peer_classify": (ctypes.c_int, [p, p, ctypes.c_uint32, ctypes.c_int, p]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    if library.peer_start(_MEGABYTES) != 0:
        raise RuntimeError("rte_acl: DPDK's environment did not start")
    return library


class RteAcl:
    """A rule set in rte_acl.

    ``build_seconds`` is the time for adding the rules and building; ``bytes`` is what is allocated after the build.
    Raises ValueError for a rule that rte_acl can't express, MemoryError or RuntimeError when it can't build the set.
    """

    def __init__(self, rules: npt.NDArray[np.void]) -> None:
        self._peer = None
        self._library = _library()
        self.version: int = int(rules["version"][0])
        rules = np.ascontiguousarray(rules)
        failed = ctypes.c_int64(0)
        start = time.perf_counter()
        self._peer = self._library.peer_build(rules.ctypes.data, len(rules), self.version, ctypes.byref(failed))
        self.build_seconds: float = time.perf_counter() - start
        if not self._peer:
            if failed.value >= 0:
                raise ValueError(f"rte_acl can't express rule {failed.value}")
            raise RuntimeError(f"rte_acl: build failed: {os.strerror(-1 - failed.value)}")
        self.bytes: int = self._library.peer_bytes(self._peer)

    def __del__(self) -> None:
        if self._peer:
            self._library.peer_free(self._peer)

    def prepare(self, keys: npt.NDArray[np.void]) -> Prepared:
        """Converts keys to rte_acl's layout, with a pointer to each, and makes room for the results."""
        return Prepared(self._library, self._peer, self.version, np.ascontiguousarray(keys))


class Prepared:
    """A trace that is ready to be timed: `run` makes one call over all of it."""

    def __init__(self, library: ctypes.CDLL, peer: int | None, version: int, keys: npt.NDArray[np.void]) -> None:
        self._library, self._peer, self._n = library, peer, len(keys)
        self._octets = np.zeros(len(keys) * library.peer_stride(version) + 64, np.uint8)
        self._pointers = np.zeros(len(keys), np.uintp)
        self._results = np.zeros(len(keys), np.uint32)
        library.peer_pack(keys.ctypes.data, self._n, version, self._octets.ctypes.data, self._pointers.ctypes.data)

    def run(self, algorithm: str) -> None:
        """Makes one call. Raises RuntimeError if this machine doesn't support the algorithm."""
        status = self._library.peer_classify(
            self._peer, self._pointers.ctypes.data, self._n, ALGORITHMS[algorithm], self._results.ctypes.data
        )
        if status:
            raise RuntimeError(f"rte_acl: {algorithm}: {os.strerror(-status)}")

    def answers(self) -> npt.NDArray[np.int32]:
        """The results of the last `run`, in the form that `Classifier.classify` returns."""
        return self._results.view(np.int32) - np.int32(1)
