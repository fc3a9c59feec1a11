"""The bindings file: reading it with the line of each mistake, and checking it for bindings that have no effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowclass.late import late_names

if TYPE_CHECKING:
    from .check import Finding as Finding
    from .check import check_bindings as check_bindings
    from .read import BindingsFile as BindingsFile
    from .read import publish_bindings as publish_bindings
    from .read import read_bindings as read_bindings
    from .write import write_bindings as write_bindings

# public name -> the module of this package that defines it
_PLACES = {
    "BindingsFile": "read",
    "Finding": "check",
    "check_bindings": "check",
    "publish_bindings": "read",
    "read_bindings": "read",
    "write_bindings": "write",
}

__all__ = list(_PLACES)

__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = late_names(__name__, _PLACES)
