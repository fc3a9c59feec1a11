"""The directive ``c-header``: a C header as reference pages, a part of the page for each section of the header.

A section begins with a line such as ``/* ---- Kernels. Any thread. ------ */``. Inside it a comment that stands just
above a declaration, or behind it on the same line, tells about that declaration; any other comment is a paragraph.
Functions become entries of the C domain, so that the index and links find them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.nodes import nested_parse_with_titles

BAR = re.compile(r"^/\* -{4} (.*?)(?: -+)? \*/$", re.MULTILINE)
TOKEN = re.compile(
    r"/\*(?P<comment>.*?)\*/|(?P<blank>\n[ \t]*\n)|(?P<code>(?:[^/\n]|/(?!\*)|\n(?![ \t]*\n))+)", re.DOTALL
)


def sections(text: str) -> Iterator[tuple[str, str]]:
    """Each section's title and its text; what stands before the first has no title. What says how functions are
    exported is left out."""
    pieces = BAR.split(re.sub(r"^#if defined\(__GNUC__\)\n.*?^#endif\n", "", text, flags=re.MULTILINE | re.DOTALL))
    yield "", pieces[0]
    yield from zip(pieces[1::2], pieces[2::2], strict=True)


def blocks(text: str) -> list[str]:
    """The text in pieces that end with an empty line outside of braces and comments."""
    found: list[str] = []
    lines: list[str] = []
    depth, comment = 0, False
    for line in text.splitlines():
        if not line.strip() and depth == 0 and not comment:
            found.append("\n".join(lines))
            lines = []
            continue
        lines.append(line)
        bare = line
        if comment:
            if "*/" not in bare:
                continue
            bare, comment = bare.partition("*/")[2], False
        bare = re.sub(r"/\*.*?\*/", "", bare)
        if "/*" in bare:
            bare, comment = bare.partition("/*")[0], True
        depth += bare.count("{") - bare.count("}")
    found.append("\n".join(lines))
    return [block for block in found if block.strip()]


def prose(comment: str) -> str:
    """The text of a comment in one line."""
    return " ".join(line.strip().removeprefix("*").strip() for line in comment.strip().splitlines()).strip()


def declarations(block: str) -> Iterator[tuple[str, str]]:
    """(comment above, declaration with what stands behind it) of one block; a comment alone has no declaration."""
    above, at = "", 0
    while at < len(block):
        rest = block[at:]
        if match := re.match(r"\s+", rest):
            at += match.end()
        elif match := re.match(r"/\*(.*?)\*/", rest, re.DOTALL):
            above = f"{above}\n\n{prose(match[1])}".strip()
            at += match.end()
        elif match := re.match(r"#define[^\n]*(?:\n#define[^\n]*)*|#[^\n]*", rest):
            yield above, match[0]
            above, at = "", at + match.end()
        else:
            end, depth = 0, 0
            while end < len(rest):
                if rest.startswith("/*", end):
                    end = rest.index("*/", end) + 2
                    continue
                depth += {"{": 1, "}": -1}.get(rest[end], 0)
                end += 1
                if rest[end - 1] == ";" and depth == 0:
                    break
            behind = re.match(r"[ \t]*/\*.*?\*/", rest[end:], re.DOTALL)
            end += behind.end() if behind else 0
            yield above, rest[:end]
            above, at = "", at + end
    if above:
        yield above, ""


def paragraph(text: str) -> nodes.paragraph:
    """A comment's text; what stands between backticks, and names of the library, are code."""
    found = nodes.paragraph()
    for piece in re.split(r"(`[^`]+`|\b(?:FC|fc)_\w+)", text):
        code = piece.startswith(("`", "FC_", "fc_"))
        found += nodes.literal(piece, piece.strip("`")) if code else nodes.Text(piece)
    return found


class CHeader(Directive):
    """``.. c-header:: PATH``, from the page's folder."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        env = self.state.document.settings.env
        path = Path(env.doc2path(env.docname)).parent / self.arguments[0]
        env.note_dependency(str(path.resolve()))
        self.state.document.settings.record_dependencies.add(str(path))
        out: list[nodes.Node] = []
        for title, text in sections(path.read_text(encoding="utf-8")):
            if not title:
                continue
            title, _, threads = title.partition(". ")  # who may call these functions, if it isn't in the title
            title = title.rstrip(".")
            section = nodes.section(ids=[nodes.make_id("c-" + title)], names=[nodes.fully_normalize_name(title)])
            section += nodes.title(title, title)
            if threads:
                section += paragraph(threads)
            for block in blocks(text):
                for above, declaration in declarations(block):
                    section += self.entry(above, declaration)
            out.append(section)
        return out

    def entry(self, above: str, declaration: str) -> list[nodes.Node]:
        paragraphs: list[nodes.Node] = [paragraph(text) for text in above.split("\n\n") if text]
        if not declaration:
            return paragraphs
        if declaration.startswith(("#if", "#endif", "#ifdef", "#ifndef", "extern", "}")):
            return []
        behind = ""
        function = re.match(r"FC_API\s+(.*?);\s*(?:/\*(.*?)\*/)?$", declaration, re.DOTALL)
        if not function:
            code = nodes.literal_block(declaration, declaration, language="c")
            return [*paragraphs, code]
        signature, behind = " ".join(function[1].split()), prose(function[2] or "")
        holder = nodes.container()
        lines = StringList([f"```{{c:function}} {signature}", "```"], source="flowclass.h")
        nested_parse_with_titles(self.state, lines, holder)
        for node in holder.findall(nodes.Element):
            if node.tagname == "desc_content":
                node += [*paragraphs, *([paragraph(behind)] if behind else [])]
        return list(holder.children)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("c-header", CHeader)
    return {"parallel_read_safe": True}
