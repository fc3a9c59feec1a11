"""Finds the line of each key in a TOML or JSON file, which the parsers of the standard library don't report.

Both scanners take text that was parsed successfully before, so that they needn't detect mistakes. They return a
dictionary from the path of a key, such as ``node[0].flow[1].fid``, to its line, counted from 1. A key that a scanner
doesn't find, such as one in an inline table, has the line of the nearest key around it; `line_of` returns that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["json_lines", "line_of", "toml_lines"]

# strings are matched possessively, so that a long one needs no backtracking state for each character
_KEY = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\]++|\\.)*+"|'[^']*+')"""
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]\]?")
_ASSIGNMENT = re.compile(rf"\s*({_DOTTED})\s*=")
# comments and the four kinds of strings, in which brackets don't count, long strings first; then text without these
_HIDDEN = re.compile(
    r'"""(?:[^"\\]++|\\.|"(?!""))*+"""(?:"{0,2})'
    r"|'''(?:[^']++|'(?!''))*+'''(?:'{0,2})"
    r'|"(?:[^"\\\n]++|\\.)*+"'
    r"|'[^'\n]*+'|#[^\n]*+",
    re.DOTALL,
)
_PLAIN = re.compile(r"""[^\[\]{}"'#\n]++""")
_JSON_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[{}\[\],:]|\n|[^\s{}\[\],:"]++')


def line_of(lines: dict[str, int], path: str) -> int | None:
    """Return the line of a key (for a list of tables, of the first), or of the nearest key around it, or None."""
    while path:
        for place in (path, f"{path}[0]"):
            if place in lines:
                return lines[place]
        cut = max(path.rfind("."), path.rfind("["))
        path = path[: max(cut, 0)]
    return None


def _parts(dotted: str) -> list[str]:
    return [part.strip("\"'") for part in re.findall(_KEY, dotted)]


def toml_lines(text: str) -> dict[str, int]:
    """Return the lines of all headers and assignments of a TOML file, by their paths."""
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    prefix = ""
    position = 0
    number = 1
    while position < len(text):
        header = _HEADER.match(text, position)
        assignment = None if header else _ASSIGNMENT.match(text, position)
        match = header or assignment
        if match is not None:
            start = number + text.count("\n", position, match.start(1))
        if header is not None:
            for prefix in _header_paths(_parts(header[2]), header[1] == "[[", counts):
                lines.setdefault(prefix, start)
        elif assignment is not None:
            path = prefix
            for part in _parts(assignment[1]):
                path = f"{path}.{part}" if path else part
                lines.setdefault(path, start)
        end = _end_of_statement(text, match.end() if match else position)
        number += text.count("\n", position, end)
        position = end
    return lines


def _header_paths(parts: list[str], is_array: bool, counts: dict[str, int]) -> Iterator[str]:
    """The paths of the tables that a header names, the outermost first: it makes those that aren't there yet."""
    path = ""
    for i, part in enumerate(parts):
        path = f"{path}.{part}" if path else part
        if is_array and i == len(parts) - 1:
            counts[path] = counts.get(path, 0) + 1
        if path in counts:
            path = f"{path}[{counts[path] - 1}]"
        yield path


def _end_of_statement(text: str, position: int) -> int:
    """Return the start of the line after a value: where brackets are balanced, except in strings and comments."""
    depth = 0
    while position < len(text):
        hidden = _HIDDEN.match(text, position)
        if hidden is not None:
            position = hidden.end()
            continue
        plain = _PLAIN.match(text, position)
        if plain is not None:
            position = plain.end()
            continue
        character = text[position]
        position += 1
        if character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "\n" and depth <= 0:
            break
    return position


def json_lines(text: str) -> dict[str, int]:
    """Return the lines of all members and elements of a JSON file, by their paths."""
    lines: dict[str, int] = {}
    stack: list[tuple[str, int | str]] = []  # path of the container, and the index or key that comes next
    number = 1
    for match in _JSON_TOKEN.finditer(text):
        token = match[0]
        if token == "\n":
            number += 1
        elif token in "{[":
            path = _here(stack)
            if path:
                lines.setdefault(path, number)
            stack.append((path, 0 if token == "[" else ""))
        elif token in "}]":
            stack.pop()
        elif token == ",":
            path, where = stack.pop()
            stack.append((path, where + 1 if isinstance(where, int) else ""))
        elif stack and stack[-1][1] == "" and token[0] == '"':
            stack[-1] = (stack[-1][0], token[1:-1])
            lines[_here(stack)] = number
        elif token != ":" and stack and isinstance(stack[-1][1], int):
            lines.setdefault(_here(stack), number)
    return lines


def _here(stack: list[tuple[str, int | str]]) -> str:
    if not stack:
        return ""
    path, where = stack[-1]
    if isinstance(where, int):
        return f"{path}[{where}]"
    return f"{path}.{where}" if path else where
