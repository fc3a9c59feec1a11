"""Everything that the public packages offer says what it is: modules, functions, classes, and their public members."""

from __future__ import annotations

import importlib
import inspect
import pydoc
from collections.abc import Iterator
from typing import Any

import pytest
import stub_docs

PACKAGES = ["flowclass", "flowclass.wire", "flowclass.mobility", "flowclass.traces", "flowclass.engine.packets"]


def offered(package: str) -> Iterator[tuple[str, Any]]:
    """What a package offers by name, and the public members that a class of ours defines itself."""
    module = importlib.import_module(package)
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    for name in names:
        value = getattr(module, name)
        if not (inspect.isclass(value) or inspect.isroutine(value)):
            continue  # a number or a table: its text stands below it in the source
        if not str(getattr(value, "__module__", "")).startswith("flowclass"):
            continue
        yield f"{package}.{name}", value
        if inspect.isclass(value):
            for member, inner in vars(value).items():
                shown = inspect.isroutine(inner) or isinstance(inner, (property, classmethod, staticmethod))
                if shown and not member.startswith("_"):
                    yield f"{package}.{name}.{member}", inner


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_public_lacks_a_docstring(package: str) -> None:
    found = list(offered(package))
    assert len(found) > 5
    assert [name for name, value in found if not (inspect.getdoc(value) or "").strip()] == []


@pytest.mark.parametrize("package", [*PACKAGES, "flowclass.engine.forwarding", "flowclass.engine.decisions"])
def test_help_has_everything_public(package: str) -> None:
    """Also what is imported late, and the types in annotations, which help looks up for some kinds of classes."""
    module = importlib.import_module(package)
    assert {*module.__all__} <= {*dir(module)}
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) and value.__module__.startswith("flowclass"):
            assert f"class {value.__name__}" in pydoc.plain(pydoc.render_doc(value))
    assert package in pydoc.plain(pydoc.render_doc(module))


@pytest.mark.parametrize("module", stub_docs.MODULES)
def test_editors_read_the_docstrings_of_extension_modules_in_their_stubs(module: str) -> None:
    assert stub_docs.differences(module) == [], "python tests/support/stub_docs.py copies them"
    assert sum(bool(text) for _, text in stub_docs.definitions(module)) > 5
