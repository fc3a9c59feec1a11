"""The bindings file: reading it with the line of each mistake, and checking it for bindings that have no effect."""

from __future__ import annotations

from .check import Finding, check_bindings
from .read import BindingsFile, read_bindings

__all__ = ["BindingsFile", "Finding", "check_bindings", "read_bindings"]
