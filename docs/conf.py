"""Sphinx's settings: `sphinx-build -W -b html docs build/docs` makes the pages (`pip install -e '.[docs]'`)."""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
import re
import sys
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "flowclass"
author = "the flowclass maintainers"
release = version = importlib.metadata.version("flowclass")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_click",
    "sphinx_copybutton",
    "c_header",
    "outside_pages",
]
root_doc = "index"
exclude_patterns = ["_ext", "_static"]

html_theme = "furo"
html_title = f"flowclass {release}"
html_static_path = ["_static"]
html_css_files = ["flowclass.css"]
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # a decision's numbers stand above its headings

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
default_role = "code"  # single backticks in docstrings


def plain_words(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text with code in backticks: a lone asterisk, or a name that ends with _, means itself."""
    for i, line in enumerate(lines):
        pieces = re.split(r"(``[^`]*``|`[^`]*`)", line)
        for j in range(0, len(pieces), 2):
            pieces[j] = re.sub(r"(?<![\w*\\])\*(?=\w)(?![^*]*\*)", r"\\*", pieces[j])
            pieces[j] = re.sub(r"(?<=\w)_(?=[\s,.;:)]|$)", r"\\_", pieces[j])
        lines[i] = "".join(pieces)


def name_numpy() -> None:
    """Modules that import numpy when it is first used name it in annotations, which autodoc evaluates."""
    import numpy.typing

    import flowclass.traces

    for module in pkgutil.iter_modules(flowclass.traces.__path__, "flowclass.traces."):
        names = vars(importlib.import_module(module.name))
        names.setdefault("np", numpy)
        names.setdefault("npt", numpy.typing)


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", plain_words)
    name_numpy()


copybutton_prompt_text = "$ "
linkcheck_ignore = [
    r"https?://.*"
]  # links inside are checked by building; those outside when somebody asks: -b linkcheck
