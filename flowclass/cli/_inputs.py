"""Inputs of the commands: traces, bindings, and the options that several commands share."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from flowclass.errors import FlowclassError

if TYPE_CHECKING:
    from flowclass.engine.forwarding import ForwardingTable
    from flowclass.mobility import HomeAgent
    from flowclass.traces.selection import Selection
    from flowclass.wire import Profile

__all__ = [
    "InnerCommand",
    "Part",
    "Size",
    "bindings_options",
    "check_machine",
    "check_traces",
    "esp_option",
    "expand_traces",
    "inner_option",
    "make_agent",
    "make_decider",
    "memory_option",
    "profile_of",
    "profile_options",
    "selection_options",
    "total_size",
    "traces_argument",
]

F = TypeVar("F", bound=Callable[..., Any])


def traces_argument(function: F) -> F:
    """Adds TRACE... and -r to a command, which passes both to `expand_traces`."""
    function = click.option(
        "-r", "--recursive", is_flag=True, help="A TRACE that is a folder stands for all files in it and below."
    )(function)
    return click.argument("traces", nargs=-1, required=True, type=click.Path(), metavar="TRACE...")(function)


def expand_traces(traces: Sequence[str], recursive: bool) -> tuple[str, ...]:
    """The files that the arguments mean: expands folders (with -r) and patterns that the shell has not expanded.

    The files of a folder or pattern are in the order of their names. Numbers in names are compared as numbers, so that
    the files of a rotation (trace.pcap9, trace.pcap10) are in the order of time. Hidden files, and outputs that are
    being written, are left out.
    """
    found: list[str] = []
    for name in traces:
        if name != "-" and os.path.isdir(name):
            if not recursive:
                raise click.UsageError(f"{name}: is a directory; -r reads the files in it")
            below = [
                os.path.join(folder, file)
                for folder, folders, files in os.walk(name)
                for file in files
                if not file.startswith(".") and not _hidden(folder, name)
            ]
            if not below:
                raise click.UsageError(f"{name}: has no files in it")
            found += sorted(filter(os.path.isfile, below), key=_natural)
        elif name != "-" and not os.path.lexists(name) and glob.has_magic(name):
            found += sorted(filter(os.path.isfile, glob.glob(name, recursive=recursive)), key=_natural) or [name]
        else:
            found.append(name)
    return tuple(found)


def _hidden(folder: str, top: str) -> bool:
    return any(part.startswith(".") for part in os.path.relpath(folder, top).split(os.sep) if part != ".")


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def esp_option(function: F) -> F:
    """Adds --no-esp-null to a command."""
    return click.option(
        "--no-esp-null", "esp_null", is_flag=True, flag_value=False, default=True,
        help="No binding updates out of ESP (NULL encryption, told by its trailer).",
    )(function)  # fmt: skip


def bindings_options(function: F) -> F:
    """Adds --bindings, --replay and --no-esp-null to a command."""
    function = esp_option(function)
    for option in (
        click.option("--replay", is_flag=True,
                     help="Binding updates found in the traces drive the bindings, in time order."),
        click.option("--bindings", "bindings_file", type=click.Path(), metavar="FILE",
                     help="Bindings file (.toml, .json, .npz, .parquet)."),
    ):  # fmt: skip
        function = option(function)
    return function


def profile_options(function: F) -> F:
    """Adds --profile and --option-type to a command."""
    for option in (
        click.option("--option-type", type=click.IntRange(7, 255), metavar="N",
                     help="Mobility option type of flow identification in the draft profile (18 if not given)."),
        click.option("--profile", type=click.Choice(["draft", "rfc6089"]), help="Wire format of flow bindings."),
    ):  # fmt: skip
        function = option(function)
    return function


def profile_of(name: str | None, option_type: int | None) -> Profile:
    """The wire profile that --profile and --option-type ask for."""
    from dataclasses import replace

    from flowclass.wire import get_profile

    chosen = get_profile(name or "draft")
    if option_type is None:
        return chosen
    if chosen.name != "draft":
        raise click.UsageError("--option-type is for the draft profile: RFC 6089 has a number of its own")
    return replace(chosen, flow_identification=option_type)


class Size(click.ParamType[int]):
    """The type of options that take octets: a number, which may end in K, M or G for powers of 1024."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of octets."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+)([KMG]?)", str(value).upper())
        octets = int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[found[2]] if found else 0
        if octets == 0:
            self.fail(f"{value!r}: expected a number of octets such as 64M", param, ctx)
        return octets


class Part(NamedTuple):
    """Which packets a command is about: the values of --from, --to, --where, --skip and --first."""

    since: str | None
    before: str | None
    where: str | None
    skip: int
    first: int | None

    def selection(self, *, decides: bool = True) -> Selection | None:
        """The selection that they describe; None if they select everything.

        A command that ``decides`` nothing has no conditions on decisions.
        """
        if self == Part(None, None, None, 0, None):
            return None
        from flowclass.traces.selection import Selection, time_ns
        from flowclass.traces.where import Where

        where = None if self.where is None else Where(self.where)
        if where is not None and not where.of_packets and not decides:
            raise click.UsageError("--where: nothing is decided here: only fields of packets can be asked for")
        start, stop = (None if text is None else time_ns(text) for text in (self.since, self.before))
        return Selection(start, stop, self.skip, self.first, where)


def selection_options(function: F) -> F:
    """Adds --from, --to, --where, --skip and --first to a command, which gets them as one `Part`, ``part``."""

    @wraps(function)
    def call(**values: Any) -> Any:
        part = Part(**{name: values.pop(name) for name in Part._fields})
        return function(part=part, **values)

    for option in (
        click.option("--first", type=click.IntRange(min=1), metavar="N", help="At most N packets (of those)."),
        click.option("--skip", type=click.IntRange(min=0), default=0, metavar="N",
                     help="Without the first N (of those)."),
        click.option("--where", metavar="CONDITION",
                     help='Packets that match, such as "reason=flow and source=2001:db8::/32 and length=64-128".'),
        click.option("--to", "before", metavar="TIME", help="Packets before a time."),
        click.option("--from", "since", metavar="TIME",
                     help="Packets from a time on: as 2026-11-27T08:30:00Z, or seconds since 1970."),
    ):  # fmt: skip
        call = option(call)
    return call  # type: ignore[return-value]  # options give back what they are given


def memory_option(function: F) -> F:
    """Adds --memory to a command."""
    from flowclass.traces.decompress import MEMORY

    return click.option(
        "--memory", type=Size(), default=MEMORY, metavar="SIZE",
        help=f"What decompressing may take (K, M, G; {MEMORY >> 20}M if not given).",
    )(function)  # fmt: skip


class _Depth(click.ParamType[int]):
    """The type of --inner: 1 for the outermost IP header, N for the N-th, or "innermost"."""

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
    """A command with --inner, whose value is optional: the next argument is its value only if it looks like one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Inserts the value of an ``--inner`` that has none."""
        for i, argument in enumerate(args):
            if argument == "--":
                break
            following = args[i + 1] if i + 1 < len(args) else ""
            if argument == "--inner" and not (following.isdigit() or following == "innermost"):
                args[i] = "--inner=innermost"
        return super().parse_args(ctx, args)


def inner_option(function: F) -> F:
    """Adds --inner [N] to a command."""
    return click.option(
        "--inner", type=_Depth(), default=0, metavar="[N]",
        help="Decide by an inner IP header of tunnels: the innermost, or the N-th (1: the outermost).",
    )(function)  # fmt: skip


def make_agent(bindings_file: str | None, replay: bool, profile: str | None, option_type: int | None) -> HomeAgent:
    """The home agent that the options describe."""
    if bindings_file is None and not replay:
        raise click.UsageError("--bindings FILE or --replay is needed: where do the bindings come from?")
    if not replay and (profile or option_type is not None):
        raise click.UsageError("--profile and --option-type are about binding updates: they go with --replay")
    from flowclass.mobility import HomeAgent
    from flowclass.mobility.bindings_file import read_bindings

    found = None if bindings_file is None else read_bindings(bindings_file)
    agent = HomeAgent(profile_of(profile or (found.profile if found else None), option_type))
    if found is not None:
        agent.load(found)
    return agent


def make_decider(
    bindings_file: str | None, replay: bool, profile: str | None, option_type: int | None
) -> HomeAgent | ForwardingTable:
    """What decides packets: the home agent that the options describe, or only its forwarding table without --replay."""
    if replay or bindings_file is None or profile or option_type is not None:
        return make_agent(bindings_file, replay, profile, option_type)
    from flowclass.engine.forwarding import ForwardingTable
    from flowclass.mobility.bindings_file.read import publish_bindings

    table = ForwardingTable()
    publish_bindings(bindings_file, table)
    return table


def check_machine(warnings: Iterable[str], checks: Iterable[Callable[[], object]]) -> int:
    """The end of ``--check``: tells what a live agent would warn of, and what on this machine would keep it from
    running, which are those of the checks that raise an error. Returns the exit status."""
    from . import DONE, USAGE, tell

    status = DONE
    for warning in warnings:
        tell(f"warning: {warning}")
    for check in checks:
        try:
            check()
        except FlowclassError as error:
            tell(f"flowclass: {error}")
            status = USAGE
    return status


def check_traces(traces: Sequence[str]) -> None:
    """Raises `CaptureError` or a usage error for missing traces, before anything is read or written."""
    from flowclass.errors import CaptureError
    from flowclass.traces.sources import path_text

    for name in traces:
        if name != "-" and not os.path.exists(name):
            raise CaptureError(f"{path_text(name)}: no such file or directory")
    if traces.count("-") > 1:
        raise click.UsageError("standard input (-) can be read once only")


def total_size(traces: Sequence[str]) -> int | None:
    """The size of all traces in octets; None if one of them is not a file."""
    if all(os.path.isfile(name) for name in traces):
        return sum(os.path.getsize(name) for name in traces)
    return None
