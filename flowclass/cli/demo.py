"""``flowclass demo``: generates the scenario of the draft's section 5 as a capture, reads it back and classifies it."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from ._console import make_console, make_table
from ._inputs import profile_of, profile_options

if TYPE_CHECKING:
    from rich.console import Console

    from flowclass.generate.scenario import Step
    from flowclass.traces.outcomes import Rows
    from flowclass.wire import Profile

_BEGINNING = """\
A [bold]mobile node[/] is known by one address, its [bold]home address[/], wherever it is. Just now it has two
interfaces, each with an address of the network it visits, a [bold]care-of address[/]. Packets to the home
address arrive at its [bold]home agent[/], which sends them on through a tunnel. Which care-of address
a packet goes to is what flowclass decides.

    home address   {home}     what everybody writes to
    CoA1           {coa1}     say, a wired network: good enough for secure traffic
    CoA2           {coa2}     say, a wireless one: for all the rest
"""

_UPDATES = """\
By two [bold]binding updates[/] the node tells its home agent what it wants (section 5 of the draft):
"""

_MEANING = """\
The second one holds two [bold]flow bindings[/]: what comes from port 22 (ssh) and from port 443 (https)
goes to BID 1. CoA2 has the better priority (the lower number), so that it is the [bold]default binding[/]:
it gets what no flow binding matches.
"""

_ENDING = """\
Each packet was decided by the bindings at its time: ssh went to CoA2 until the second update came.

Try it on a trace of your own:
    flowclass classify TRACE --bindings FILE -o rows.csv      bindings from a file (see README.md)
    flowclass classify TRACE --replay                         bindings from the updates in the trace
    flowclass demo --save DIR                                 this trace and a bindings file, to start from
"""


@click.command("demo", short_help="The draft's usage scenario on data made on the spot.")
@profile_options
@click.option(
    "--save",
    "folder",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Also write the trace and a bindings file into a folder.",
)
def command(profile: str | None, option_type: int | None, folder: str | None) -> int:
    """The usage scenario of the draft (section 5), from binding updates to decisions.

    A trace is made on the spot: two binding updates and a dozen packets. It is then read like any other capture, the
    updates drive a home agent's binding cache, and each packet is classified.
    """
    from flowclass.generate.scenario import CARE_OF_1, CARE_OF_2, HOME_ADDRESS, section5
    from flowclass.traces.files import make_folder

    chosen = profile_of(profile, option_type)
    console = make_console()
    steps = section5(chosen)
    console.rule("[bold]Flow bindings in Mobile IPv6", align="left")
    console.print(_BEGINNING.format(home=HOME_ADDRESS, coa1=CARE_OF_1, coa2=CARE_OF_2))
    console.rule("[bold]What the mobile node asks for", align="left")
    console.print(_UPDATES)
    _show_updates(console, steps, chosen)
    console.print(_MEANING)
    console.rule("[bold]What the home agent does", align="left")
    with ExitStack() as stack:
        if folder is None:
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="flowclass-"))
        else:
            make_folder(folder)
            place = folder
        rows, summary = _classify(_write(place, steps, chosen), chosen)
    console.print(_packet_table(steps, rows))
    updates = summary["updates"]
    console.print(
        f"{updates['received']} binding updates processed, {updates['accepted']} accepted,"
        f" {updates['flows_accepted']} flow bindings made; {summary['packets']} packets classified.\n"
    )
    console.print(_ENDING)
    if folder is not None:
        console.print(f"Written: {place}/section5.pcapng and {place}/section5.toml", markup=False)
    return 0


def _show_updates(console: Console, steps: list[Step], profile: Profile) -> None:
    from flowclass import wire
    from flowclass.traces.mobility_text import message_lines, packet_dict

    for number, step in enumerate(steps, 1):
        if not step.words.startswith("binding update"):
            continue
        packet = wire.decode_packet(step.frame.data[14:], profile)  # after the Ethernet header
        route, *lines = message_lines(packet_dict(packet, profile))
        console.print(f"  frame {number}: {route}", style="cyan", markup=False)
        for line in lines:
            if "padding" not in line:
                console.print(f"    {line}", markup=False)
        console.print()


def _write(folder: str, steps: list[Step], profile: Profile) -> str:
    """Writes the trace, and the bindings as they are at its end; returns the path of the trace."""
    from flowclass.generate.captures import write_pcapng
    from flowclass.generate.scenario import BINDINGS_TOML
    from flowclass.traces.files import atomic_file

    path = os.path.join(folder, "section5.pcapng")
    with atomic_file(path) as stream:
        write_pcapng(stream, [step.frame for step in steps])
    with atomic_file(os.path.join(folder, "section5.toml")) as stream:
        stream.write(BINDINGS_TOML[profile.name].encode())
    return path


def _classify(path: str, profile: Profile) -> tuple[list[Any], dict[str, Any]]:
    """Does what ``classify --replay`` does; returns the outcome of each frame, and the summary."""
    from flowclass.mobility import HomeAgent
    from flowclass.traces.replaying import replay
    from flowclass.traces.run import Run

    found: list[Any] = []

    def collect(rows: Rows) -> None:
        found.extend(rows.outcomes.values[number] for number in rows.ids.tolist())

    summary = replay(Run(HomeAgent(profile), observers=[collect]), [path])
    return found, summary.to_dict()


def _packet_table(steps: list[Step], outcomes: list[Any]) -> Any:
    from flowclass.generate.scenario import CARE_OF_1, CARE_OF_2

    names = {str(CARE_OF_1): "CoA1", str(CARE_OF_2): "CoA2"}
    table = make_table(
        "", ("frame", "right"), ("packet", "left"), ("action", "left"), ("flow", "right"),
        ("care-of address", "left"), ("why", "left"),
    )  # fmt: skip
    for number, (step, outcome) in enumerate(zip(steps, outcomes, strict=True), 1):
        care_of = " ".join(f"{names[address]} {address}" for address in outcome.care_of)
        style = {"flow": "green", "default": "yellow"}.get(outcome.reason, "dim")
        table.add_row(
            str(number), step.words, outcome.action, "" if outcome.fid is None else str(outcome.fid), care_of,
            _because(step, outcome), style=style,
        )  # fmt: skip
    return table


def _because(step: Step, outcome: Any) -> str:
    """The reason for an outcome, in words for newcomers."""
    if outcome.reason == "flow":
        return f"flow {outcome.fid} matches"
    if outcome.reason == "default":
        return "no flow matches"
    if step.words.startswith("binding update"):
        return "to the home agent"
    if step.words.startswith("its ack"):
        return "its answer"
    return "not registered yet" if step.words == "ssh" else "no mobile node"
