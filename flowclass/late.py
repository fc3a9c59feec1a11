"""Imports that wait until something of the module is used, because the first second of a command is mostly imports."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Late", "late_names"]


class Late:
    """Stands for a module, which is imported when one of its names is first used: ``np = Late("numpy")``.

    A name that was used once is an attribute of its own, so that it costs no more than that of a module.
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __reduce__(self) -> tuple[type[Late], tuple[str]]:
        return Late, (self._module,)  # a copy that is made otherwise has no `_module` to look into yet

    def __getattr__(self, name: str) -> Any:
        value = getattr(importlib.import_module(self._module), name)
        setattr(self, name, value)
        return value


def late_names(package: str, places: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` for a package that imports what it exports when it is first used.

    ``places`` maps each public name to the module that has it, without the name of the package in front. These modules
    are attributes of the package, too.
    """
    own = sys.modules[package]
    modules = {place.partition(".")[0] for place in places.values()}

    def get(name: str) -> Any:
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        if name not in places:
            # with the module as `obj`, a traceback names what was probably meant
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=own)
        value = getattr(importlib.import_module(f"{package}.{places[name]}"), name)
        setattr(own, name, value)
        return value

    return get, lambda: sorted({*vars(own), *places, *modules})
