"""The control plane as Python interprets its sources: the oracle of those of its modules that are compiled."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from types import ModuleType

import flowclass

PACKAGE = "flowclass.mobility"


class _Sources:
    """Finds the .py of a module of the control plane, where the usual search prefers what was compiled."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not _is_part(name) or path is None:
            return None
        found = (FileFinder(place, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(name) for place in path)
        return next((spec for spec in found if spec is not None), None)


def _is_part(name: str) -> bool:
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")


def _taken() -> dict[str, ModuleType]:
    """Take the modules of the control plane out of those that are imported."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if _is_part(name)}


@cache
def interpreted() -> dict[str, ModuleType]:
    """The modules of the roles and all that these import, by name inside the package; those in use stay as they are."""
    usual = import_module(PACKAGE)
    kept = _taken()
    sys.meta_path.insert(0, _Sources)
    try:
        for name in ("home_agent", "anchor_point", "correspondent"):
            import_module(f"{PACKAGE}.agent.{name}")
    finally:
        sys.meta_path.remove(_Sources)
        made = _taken()
        sys.modules |= kept
        flowclass.mobility = usual
    return {name.removeprefix(f"{PACKAGE}."): module for name, module in made.items() if name != PACKAGE}
