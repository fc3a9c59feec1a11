"""``flowclass explain``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from . import DAMAGED, DONE
from ._console import make_console, make_table, warn_places
from ._inputs import InnerCommand, bindings_options, inner_option, make_agent, memory_option, profile_options

if TYPE_CHECKING:
    from flowclass.traces.explain import Explanation


@click.command("explain", cls=InnerCommand, short_help="Show why one packet went where it went.")
@click.argument("trace", type=click.Path(), metavar="TRACE")
@click.option("--frame", type=click.IntRange(min=1), required=True, metavar="N", help="The frame's number, from 1.")
@bindings_options
@profile_options
@inner_option
@memory_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(
    trace: str,
    frame: int,
    bindings_file: str | None,
    replay: bool,
    esp_null: bool,
    profile: str | None,
    option_type: int | None,
    inner: int,
    memory: int,
    as_json: bool,
) -> int:
    """Shows why one packet of a capture file went where it went.

    The flow bindings of its mobile node in the order in which they were tried, and for each the field on which the
    packet failed it.
    """
    from flowclass.traces.explain import explain_frame

    if trace == "-":
        raise click.UsageError("explain reads the trace twice: a file is needed")
    agent = make_agent(bindings_file, replay, profile, option_type)
    found = explain_frame(agent, trace, frame, inner=inner, updates=replay, memory=memory, esp_null=esp_null)
    if as_json:
        click.echo(json.dumps(found.to_dict()))
    else:
        show(found)
    warn_places(found.file, found.damages)
    return DAMAGED if found.damages else DONE


def show(found: Explanation) -> None:
    """Prints one explanation as text."""
    console = make_console()
    fields = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in found.packet.items())
    console.print(f"frame {found.frame} of {found.file}: {fields}", markup=False)
    if found.node is None:
        console.print(f"mobile node: none: {found.node_words}", markup=False)
    else:
        console.print(f"mobile node: {found.node}, by {found.node_words}", markup=False)
    if found.candidates:
        table = make_table("", ("PRI", "right"), ("flow", "right"), ("action", "left"), ("BIDs", "left"), ("", "left"))
        for candidate in found.candidates:
            style = "green" if candidate.matched else "dim" if candidate.failed is None else ""
            bids = " ".join(map(str, candidate.bids))
            row = (str(candidate.pri), str(candidate.fid), candidate.action, bids, candidate.words)
            table.add_row(*row, style=style)
        console.print(table)
    console.print(f"decision: {_decision(found)}", markup=False, style="bold")


def _decision(found: Explanation) -> str:
    outcome = found.outcome
    if outcome.reason == "flow":
        by = f"flow {outcome.fid}"
    elif outcome.reason == "default":
        by = "the default binding: no flow binding matches"
    else:
        by = {
            "not-ip": "no IP header was found in it",
            "malformed": "its IP header or extension chain is cut short or inconsistent",
            "signalling": "Mobile IPv6 signalling, which flow bindings never match, goes to the default binding",
            "unbound": "nothing to send it to is known",
        }[outcome.reason]
    where = f" to {' and '.join(outcome.care_of)}" if outcome.care_of else ""
    bid = f" (BID {outcome.bid})" if outcome.bid is not None else ""
    return f"{outcome.action}{where}{bid}: {by}"
