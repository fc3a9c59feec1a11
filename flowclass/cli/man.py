"""``flowclass man``: a manual page for each command, in roff's man macros, from what --help says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from inspect import cleandoc

import click

from flowclass import __version__

from ._console import counted

_ROFF = str.maketrans(
    {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", "|": r"|\:"}
)  # behind | a line may break
_STATUS = (
    "0: done. 1: done, but some input was damaged, or check found something. 2: wrong usage, a mistake in a file, "
    "a file that is missing or no capture: nothing is written. 130: interrupted."
)


@click.command("man", short_help="Write the manual pages into a folder.")
@click.argument("folder", type=click.Path(file_okay=False), metavar="DIR")
def command(folder: str) -> None:
    """Writes a manual page for each command into a folder, which is made if it is not there.

    \b
    flowclass man ~/.local/share/man/man1
    man flowclass-classify
    """
    from flowclass.traces.files import atomic_file, make_folder

    make_folder(folder)
    pages = dict(manual(click.get_current_context().find_root()))
    for name, text in pages.items():
        with atomic_file(os.path.join(folder, f"{name}.1")) as stream:
            stream.write(text.encode())
    click.echo(f"{counted(len(pages), 'manual page')} in {folder}")


def manual(ctx: click.Context) -> Iterator[tuple[str, str]]:
    """(name, page) of the command of a context, and of all commands below it."""
    yield ctx.command_path.replace(" ", "-"), _page(ctx)
    for child in _children(ctx):
        yield from manual(child)


def _children(ctx: click.Context) -> list[click.Context]:
    """A context for each command of a group, in the group's order; none for what is no group."""
    group, found = ctx.command, []
    if isinstance(group, click.Group):
        for name in group.list_commands(ctx):
            child = group.get_command(ctx, name)
            if child is not None and not child.hidden:
                found.append(click.Context(child, info_name=name, parent=ctx))
    return found


def _page(ctx: click.Context) -> str:
    name = ctx.command_path.replace(" ", "-")
    pieces = " ".join(ctx.command.collect_usage_pieces(ctx))
    lines = [
        f'.TH "{_text(name.upper())}" 1 "" "flowclass {__version__}" "flowclass manual"',
        ".nh",
        ".ad l",
        ".SH NAME",
        f"{_text(name)} \\- {_text(ctx.command.get_short_help_str(200).rstrip('.'))}",
        ".SH SYNOPSIS",
        f"\\fB{_text(ctx.command_path)}\\fR {_text(pieces)}",
        ".SH DESCRIPTION",
        *_paragraphs(ctx.command.help or ""),
        *_paragraphs(ctx.command.epilog or ""),
    ]
    options = [parameter for parameter in ctx.command.get_params(ctx) if isinstance(parameter, click.Option)]
    records = [found for option in options if (found := option.get_help_record(ctx)) is not None]
    children = _children(ctx)
    if children:
        lines.append(".SH COMMANDS")
        for child in children:
            title = f"{child.command_path.replace(' ', '-')}(1)"
            lines += [".TP", f"\\fB{_text(title)}\\fR", _text(child.command.get_short_help_str(200))]
    lines.append(".SH OPTIONS")
    for names, text in records:
        lines += [".TP", f"\\fB{_text(names)}\\fR", _text(" ".join(text.split()))]
    lines += [".SH EXIT STATUS", _text(_STATUS)]
    if ctx.parent is not None:
        lines += [".SH SEE ALSO", f"\\fB{_text(ctx.parent.command_path.replace(' ', '-'))}\\fR(1)"]
    return "\n".join(lines) + "\n"


def _paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a help text; one that begins with click's mark (a backspace) keeps its lines."""
    for paragraph in filter(None, cleandoc(text).split("\n\n")):
        first, *rest = paragraph.strip("\n").splitlines()
        yield ".PP"
        if first.strip() == "\b":
            yield from (".nf", *map(_text, rest), ".fi")
        else:
            yield _text(" ".join(line.strip() for line in (first, *rest)))


def _text(text: str) -> str:
    """Text in which roff sees no request and no escape; behind \\& a full stop at the start is one."""
    escaped = text.translate(_ROFF)
    return f"\\&{escaped}" if escaped.startswith(".") else escaped
