"""``flowclass split``."""

from __future__ import annotations

import json
import os
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

import click

from . import DAMAGED, DONE, INTERRUPTED
from ._console import count_text, counted, make_console, make_table, progress, warn, warn_damage
from ._inputs import (
    InnerCommand,
    Part,
    bindings_options,
    check_traces,
    expand_traces,
    inner_option,
    make_agent,
    memory_option,
    profile_options,
    selection_options,
    total_size,
    traces_argument,
)

if TYPE_CHECKING:
    from flowclass.traces.split import By, Split

_SHOWN = 40


def _home_agents(addresses: tuple[str, ...]) -> tuple[IPv6Address, IPv4Address]:
    """The source addresses of tunnels: those given, or else documentation addresses."""
    found: dict[int, IPv6Address | IPv4Address] = {}
    for text in addresses:
        try:
            address = ip_address(text)
        except ValueError:
            raise click.UsageError(f"--home-agent: {text!r} is no IP address") from None
        if address.version in found:
            raise click.UsageError(
                f"--home-agent: {found[address.version]} and {address} are both of IPv{address.version}"
            )
        found[address.version] = address
    six, four = IPv6Address(found.get(6, "2001:db8::")), IPv4Address(found.get(4, "192.0.2.0"))
    return six, four


@click.command("split", cls=InnerCommand, short_help="Write the packets themselves, one file per decision.")
@traces_argument
@bindings_options
@profile_options
@inner_option
@memory_option
@selection_options
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(file_okay=False),
    metavar="DIR",
    required=True,
    help="The folder for the files.",
)
@click.option(
    "--by",
    type=click.Choice(["care-of", "flow", "node", "action"]),
    default="care-of",
    help="What a file is for (care-of address if not given).",
)
@click.option(
    "--encapsulate",
    is_flag=True,
    help="Put the tunnel header in front that a home agent does (RFC 2473); n-cast: one copy to each address.",
)
@click.option(
    "--home-agent",
    "home_agents",
    multiple=True,
    metavar="ADDRESS",
    help="The source address of tunnels, at most one of each IP version (2001:db8:: and 192.0.2.0 if not given).",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["pcapng", "pcap", "pcapng.gz", "pcap.gz", "pcapng.zst", "pcap.zst"]),
    default="pcapng",
    help="What the files are (pcapng if not given); a pcap file has one link type and no comments.",
)
@click.option("--json", "as_json", is_flag=True, help="What was written as one JSON object.")
def command(
    traces: tuple[str, ...],
    recursive: bool,
    bindings_file: str | None,
    replay: bool,
    esp_null: bool,
    profile: str | None,
    option_type: int | None,
    inner: int,
    memory: int,
    part: Part,
    folder: str,
    by: By,
    encapsulate: bool,
    home_agents: tuple[str, ...],
    form: str,
    as_json: bool,
) -> int:
    """Writes the packets of capture files into a folder: one pcapng file for each care-of address, which has what that
    access link would carry, or for each flow, node or action.

    Times, link types and comments are kept. A packet that is sent to several care-of addresses (n-cast) is in the file
    of each. What is sent nowhere is in no file, but for --by action, and --by flow and node if a node was found.
    Ctrl-C ends the reading: the files have what was read until then, and the exit status is 130.
    """
    from flowclass.traces.interruption import interruptible
    from flowclass.traces.sources import path_text
    from flowclass.traces.split import Splitter

    sources = _home_agents(home_agents)
    if home_agents and not encapsulate:
        raise click.UsageError("--home-agent goes with --encapsulate")
    traces = expand_traces(traces, recursive)
    agent = make_agent(bindings_file, replay, profile, option_type)
    check_traces(traces)
    if folder in ("", "-"):
        raise click.UsageError(f"-o {folder or chr(39) * 2}: a folder expected, for a file of each care-of address")
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise click.UsageError(f"{folder}: is not a folder")
    with interruptible() as interruption, progress("splitting", total_size(traces)) as tell:
        splitter = Splitter(
            agent,
            folder,
            by=by,
            encapsulate=encapsulate,
            home_agents=sources,
            ending=f".{form}",
            inner=inner,
            progress=tell,
            memory=memory,
            esp_null=esp_null,
            interruption=interruption,
            selection=part.selection(),
            inputs=[bindings_file],
        )
        result = splitter.split(traces, replay=replay)
    if as_json:
        click.echo(json.dumps(result.to_dict() | {"folder": path_text(folder), "interrupted": interruption.requested}))
    else:
        _show(result, folder)
    warn_damage(result.summary)
    if interruption.requested:
        warn("interrupted: the files have what was read until then")
        return INTERRUPTED
    return DAMAGED if result.summary.is_damaged else DONE


def _show(result: Split, folder: str) -> None:
    console = make_console()
    console.print(
        f"{counted(result.packets, 'packet')}, {counted(len(result.outputs), 'file')} in {folder}", markup=False
    )
    table = make_table("", ("file", "left"), ("packets", "right"), ("octets", "right"))
    for output in result.outputs[:_SHOWN]:
        table.add_row(output.file, count_text(output.packets), count_text(output.octets))
    if result.outputs:
        console.print(table)
    if len(result.outputs) > _SHOWN:
        console.print(f"and {count_text(len(result.outputs) - _SHOWN)} more files: --json has them all")
    if result.left_out:
        console.print(f"{counted(result.left_out, 'packet')} in no file: nothing sends them anywhere")
