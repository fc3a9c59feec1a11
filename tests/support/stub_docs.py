"""Docstrings of the extension modules, for editors: these read a .pyi and can't look into a compiled module.

``python tests/support/stub_docs.py`` copies them from the built modules into their stubs; a test says when that is due.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from places import ROOT

MODULES = ("classifier", "forwarding", "packets")
Definition = ast.ClassDef | ast.FunctionDef


def stub_of(module: str) -> Path:
    return ROOT / "flowclass" / "engine" / f"{module}.pyi"


def docstring(value: Any, name: str) -> str:
    """A docstring without the signature that Cython puts above it; "" for what has none of its own."""
    text = inspect.cleandoc(getattr(value, "__doc__", None) or "")
    first, _, rest = text.partition("\n")
    return rest.strip() if f"{name}(" in first else "" if f"{name}: " in first else text


def definitions(module: str) -> Iterator[tuple[Definition, str]]:
    """Classes, functions and methods of a stub, and the docstrings that the module has for them."""
    built = importlib.import_module(f"flowclass.engine.{module}")
    for node in ast.parse(stub_of(module).read_text(encoding="utf-8")).body:
        if not isinstance(node, Definition) or not hasattr(built, node.name):
            continue  # a name for type checkers alone
        value = getattr(built, node.name)
        yield node, docstring(value, node.name)
        for member in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(member, Definition) and not member.name.startswith("_"):
                yield member, docstring(getattr(value, member.name), member.name)


def differences(module: str) -> list[str]:
    """The names whose docstrings in the stub are not the module's."""
    return [node.name for node, text in definitions(module) if (ast.get_docstring(node) or "") != text]


def write(module: str) -> None:
    lines = stub_of(module).read_text(encoding="utf-8").splitlines()
    for node, text in reversed(list(definitions(module))):
        indent = " " * (node.col_offset + 4)
        quoted = f'"""{text}\n"""' if "\n" in text else f'"""{text}"""'
        written = textwrap.indent(quoted, indent).splitlines() if text else [f"{indent}..."]
        first = node.body[0]
        line = lines[first.lineno - 1]
        if isinstance(node, ast.ClassDef) and ast.get_docstring(node) is None:
            top = min([first.lineno, *(d.lineno for d in getattr(first, "decorator_list", []))])
            lines[top - 1 : top - 1] = written if text else []
        elif line.lstrip().startswith(("...", '"""')):
            lines[first.lineno - 1 : first.end_lineno] = written
        else:  # behind the signature
            lines[first.lineno - 1 : first.lineno] = [line[: first.col_offset].rstrip(), *written]
    stub_of(module).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for name in MODULES:
        write(name)
