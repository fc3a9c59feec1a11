"""The bindings file: read, written values parsed, keys found by line, and examined for what does nothing."""

from __future__ import annotations

from .check import Finding, check_bindings
from .read import BindingsFile, read_bindings

__all__ = ["BindingsFile", "Finding", "check_bindings", "read_bindings"]
