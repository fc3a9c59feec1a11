"""Pages of the checkout's top folder (README.md, ARCHITECTURE.md, CHANGELOG.md) as pages of the site.

Links are written for people who read the files in the checkout. Here a link to a page leads to that page of the site,
and a link to a source file to nothing: it is shown as code.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

TOP = Path(__file__).parents[2]
OUTSIDE = {"architecture": "ARCHITECTURE.md", "changelog": "CHANGELOG.md", "contributing": "CONTRIBUTING.md"}
FOLDER = "project"


def relink(text: str, folder: Path, page: Path) -> str:
    """Links of a text in ``folder`` as seen from ``page`` of the site."""

    def changed(match: re.Match[str]) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        if re.match(r"[a-z]+:", target):
            return match[0]
        path = (folder / target).resolve()
        docs = TOP / "docs"
        names = {(TOP / name).resolve(): docs / FOLDER / f"{page_name}.md" for page_name, name in OUTSIDE.items()}
        path = names.get(path, path)
        if path.is_dir():
            path = path / "README.md"
        if not path.is_relative_to(docs) or path.suffix != ".md":
            return f"`{words}`" if "`" not in words else words
        up = Path(*[".."] * len(page.parent.relative_to(docs).parts))
        return f"[{words}]({(up / path.relative_to(docs)).as_posix()}{anchor})"

    return re.sub(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)", changed, text)


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    folder, _, name = docname.rpartition("/")
    page = TOP / "docs" / f"{docname}.md"
    if folder == FOLDER and name in OUTSIDE:
        outside = TOP / OUTSIDE[name]
        app.env.note_dependency(str(outside))
        source[0] = relink(outside.read_text(encoding="utf-8"), TOP, page)
    elif page.exists():
        source[0] = relink(source[0], page.parent, page)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
