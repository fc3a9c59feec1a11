"""Describes the machine on which a result was measured, without which figures mean nothing."""

from __future__ import annotations

import os
import platform

from flowclass import __version__
from flowclass.engine.classifier import kernels

__all__ = ["describe"]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe() -> dict[str, object]:
    """Processor, number of processors, system, Python, flowclass and its kernels: for JSON and a line of text."""
    return {
        "processor": _processor(),
        "processors": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "flowclass": __version__,
        "kernels": [name for name, runs in kernels().items() if runs],
    }
