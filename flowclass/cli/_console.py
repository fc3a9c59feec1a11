"""Printing for all commands: tables, counts, progress, warnings."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from . import ARGUMENTS, tell

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from flowclass.traces.reader import Damages
    from flowclass.traces.summary import Summary

__all__ = [
    "command_line",
    "count_text",
    "counted",
    "make_console",
    "make_table",
    "print_fitting",
    "progress",
    "time_text",
    "warn",
    "warn_damage",
    "warn_places",
]

_SHOWN_DAMAGE = 10


def make_console(*, stderr: bool = False) -> Console:
    """A console for standard output, or error: colours and the terminal's width on a terminal, plain text elsewhere."""
    from rich.console import Console

    class Here(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # `main` handles it; rich would exit with status 1

    # a pipe or file has no width, so this one has room for two IPv6 addresses and their counts side by side
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Here(highlight=False, stderr=stderr, width=None if is_terminal else 132)


def make_table(title: str, *columns: tuple[str, str]) -> Table:
    """A table with (heading, justification) for each column."""
    from rich import box
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, justify in columns:
        if justify == "right":  # a number is never divided
            table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
        else:
            table.add_column(heading, overflow="fold")
    return table


def print_fitting(
    console: Console,
    columns: Sequence[tuple[str, str]],
    rows: Sequence[Sequence[str]],
    spare: Sequence[str],
    more: Sequence[str] = (),
) -> None:
    """Prints a table with (heading, justification) for each column, if need be without some of these: without the
    ``spare`` headings if a row would otherwise take more than a line on this terminal, and without ``more`` of them if
    words would have to be divided.
    """
    wide = console.options.update(max_width=10_000)

    def make(without: Sequence[str]) -> Table:
        kept = [place for place, (heading, _) in enumerate(columns) if heading not in without]
        table = make_table("", *(columns[place] for place in kept))
        for row in rows:
            table.add_row(*(row[place] for place in kept))
        return table

    table = make(())
    if console.measure(table, options=wide).maximum > console.width:
        table = make(spare)
    if console.measure(table, options=wide).minimum > console.width:
        table = make((*spare, *more))
    console.print(table)


def count_text(number: int) -> str:
    """1234567 as "1 234 567", with plain spaces, because not every terminal shows narrow no-break spaces."""
    return f"{number:,}".replace(",", " ")


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 packet", "1 234 packets"."""
    return f"{count_text(number)} {noun}{'s' * (number != 1)}"


def time_text(ns: int | None) -> str:
    """A time in ns since 1970 as "2026-11-27 08:30:00" (UTC), or nothing if it is None."""
    if ns is None:
        return ""
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=ns // 10**9):%Y-%m-%d %H:%M:%S}"


def warn(message: str) -> None:
    """Prints one line to standard error."""
    tell(f"flowclass: {' '.join(message.split())}")


def warn_damage(summary: Summary) -> None:
    """Warns of each file that could not be read, or not to its end, and of the damaged places of the others."""
    for file in summary.files:
        if file.error is not None:
            warn(f"{file.file}: {file.error}: passed over")
        if file.read_to is not None:
            warn(f"{file.file}: has grown; it was read to octet {file.read_to}, where it ended when the job began")
        warn_places(file.file, file.damage)


def warn_places(file: str, damages: Damages) -> None:
    """Warns of the first damaged places of a file only, because one flipped bit in a .gz can cause hundreds."""
    for damage in damages[:_SHOWN_DAMAGE]:
        warn(str(damage))
    if damages.found > _SHOWN_DAMAGE:
        warn(f"{file}: and {counted(damages.found - _SHOWN_DAMAGE, 'more damaged place')}")


def command_line() -> str:
    """The command that is running, as it could be typed into a shell again."""
    return shlex.join(("flowclass", *click.get_current_context().meta[ARGUMENTS]))


@contextlib.contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error when that is a terminal; yields a function that takes the octets done so far."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
