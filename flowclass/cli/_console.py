"""What the commands share: tables, progress, and options that mean the same everywhere."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from flowclass.traces.reader import Damage
    from flowclass.wire import Profile

__all__ = [
    "InnerCommand",
    "count_text",
    "counted",
    "inner_option",
    "make_console",
    "make_table",
    "profile_of",
    "profile_options",
    "progress",
    "warn",
    "warn_damage",
]

_SHOWN_DAMAGE = 10

F = TypeVar("F", bound=Callable[..., Any])


def make_console() -> Console:
    """For standard output: colours and the terminal's width on a terminal, plain text elsewhere."""
    from rich.console import Console

    class Here(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # main knows what to do; rich would end with status 1

    # a pipe or file has no width: wide enough for two IPv6 addresses and their counts side by side
    return Here(highlight=False, width=None if sys.stdout.isatty() else 132)


def make_table(title: str, *columns: tuple[str, str]) -> Table:
    """A table with (heading, justification) for each column."""
    from rich import box
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, justify in columns:
        table.add_column(heading, justify=justify, no_wrap=justify == "right")  # type: ignore[arg-type]
    return table


def count_text(number: int) -> str:
    """1234567 as 1 234 567 (narrow no-break spaces would not survive every terminal)."""
    return f"{number:,}".replace(",", " ")


def counted(number: int, noun: str) -> str:
    """1 packet, 1 234 packets."""
    return f"{count_text(number)} {noun}{'s' * (number != 1)}"


def warn(message: str) -> None:
    """One line on standard error."""
    print(f"flowclass: {' '.join(message.split())}", file=sys.stderr)


def warn_damage(damages: Iterable[Damage]) -> None:
    """A line for each damaged place, but few for each file: one flipped bit in a .gz makes hundreds of places."""
    count: Counter[str] = Counter()
    for damage in damages:
        count[damage.file] += 1
        if count[damage.file] <= _SHOWN_DAMAGE:
            warn(str(damage))
    for file, number in count.items():
        if number > _SHOWN_DAMAGE:
            warn(f"{file}: and {counted(number - _SHOWN_DAMAGE, 'more damaged place')}")


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


def profile_options(function: F) -> F:
    """--profile and --option-type."""
    for option in (
        click.option("--option-type", type=click.IntRange(7, 255), metavar="N",
                     help="Mobility option type of flow identification in the draft profile (18 if not given)."),
        click.option("--profile", type=click.Choice(["draft", "rfc6089"]), help="Wire format of flow bindings."),
    ):  # fmt: skip
        function = option(function)
    return function


def profile_of(name: str | None, option_type: int | None) -> Profile:
    """The wire profile that the two options ask for."""
    from dataclasses import replace

    from flowclass.wire import get_profile

    chosen = get_profile(name or "draft")
    if option_type is None:
        return chosen
    if chosen.name != "draft":
        raise click.UsageError("--option-type is for the draft profile: RFC 6089 has a number of its own")
    return replace(chosen, flow_identification=option_type)


class _Depth(click.ParamType[int]):
    """1 for the outermost IP header, N for the N-th, or "innermost"."""

    name = "depth"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if value == "innermost":
            return 255  # FC_INNERMOST
        if str(value).isdigit() and 1 <= int(value) <= 254:
            return int(value)
        self.fail(f"{value!r}: expected 1 (the outermost IP header) to 254, or 'innermost'", param, ctx)


class InnerCommand(click.Command):
    """A command with --inner: what follows it is its value only if it looks like one, else the next argument."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for i, argument in enumerate(args):
            if argument == "--":
                break
            following = args[i + 1] if i + 1 < len(args) else ""
            if argument == "--inner" and not (following.isdigit() or following == "innermost"):
                args[i] = "--inner=innermost"
        return super().parse_args(ctx, args)


def inner_option(function: F) -> F:
    """--inner [N]."""
    return click.option(
        "--inner", type=_Depth(), default=0, metavar="[N]",
        help="Decide by an inner IP header of tunnels: the innermost, or the N-th (1: the outermost).",
    )(function)  # fmt: skip
