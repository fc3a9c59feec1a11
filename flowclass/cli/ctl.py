"""``flowclass ctl``."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from ._console import count_text, counted, make_console, make_table


def _said_later(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Gives --socket and --json the same meaning after the command as before it."""
    path, as_json = ctx.obj or ("flowclass.sock", False)
    if param.name == "path" and value is not None:
        path = value
    ctx.obj = (path, as_json or (param.name == "as_json" and value))
    return value


class _Asking(click.Command):
    """A subcommand that also accepts the options of the group."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.params += [
            click.Option(
                ["--socket", "path"], type=click.Path(), metavar="PATH", help="The agent's control socket.",
                expose_value=False,
                callback=_said_later,
            ),
            click.Option(
                ["--json", "as_json"], is_flag=True, help="One JSON object.", expose_value=False, callback=_said_later
            ),
        ]  # fmt: skip


@click.group("ctl", short_help="Ask or tell a running agent.")
@click.option(
    "--socket", "path", default="flowclass.sock", type=click.Path(), metavar="PATH", help="The agent's control socket."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_context
def command(ctx: click.Context, path: str, as_json: bool) -> None:
    """Asks a running `flowclass ha`, `mn` or `cn` what it has and does, or tells it what to do."""
    ctx.obj = (path, as_json)


def _ask(ctx: click.Context, name: str, **arguments: Any) -> dict[str, Any] | None:
    """Asks the agent, and returns the answer; None if it was printed as JSON."""
    from flowclass.agent.control import ask

    path, as_json = ctx.obj
    found = ask(path, name, **arguments)
    if as_json:
        click.echo(json.dumps(found))
        return None
    return found


def _left(seconds: float | None) -> str:
    return "for ever" if seconds is None else f"{seconds:.0f} s"


@command.command("status", cls=_Asking)
@click.pass_context
def status(ctx: click.Context) -> int:
    """What runs there, since when."""
    if (found := _ask(ctx, "status")) is not None:
        for name, value in found.items():
            click.echo(f"{name.replace('_', ' '):12} {value}")
    return 0


@command.command("nodes", cls=_Asking)
@click.pass_context
def nodes(ctx: click.Context) -> int:
    """Mobile nodes and their care-of addresses."""
    if (found := _ask(ctx, "nodes")) is not None:
        table = make_table(
            counted(len(found["nodes"]), "mobile node"), ("home address", "left"), ("BID", "right"),
            ("care-of address", "left"), ("priority", "right"), ("left", "right"), ("flows", "right"),
        )  # fmt: skip
        for node in found["nodes"]:
            for i, entry in enumerate(node["care_of"] or [None]):
                first = (node["home_address"], str(node["flows"])) if i == 0 else ("", "")
                if entry is None:
                    table.add_row(first[0], "", "none", "", "", first[1])
                    continue
                bid = f"{entry['bid']}{'*' if entry['bid'] == node['default_bid'] else ''}"
                table.add_row(
                    first[0], bid, entry["address"], str(entry["priority"] or ""), _left(entry["left"]), first[1]
                )
        console = make_console()
        console.print(table)
        console.print("* the default binding", style="dim")
    return 0


@command.command("flows", cls=_Asking)
@click.argument("home", metavar="HOME")
@click.pass_context
def flows(ctx: click.Context, home: str) -> int:
    """Flow bindings of one mobile node, in the order in which they are tried."""
    if (found := _ask(ctx, "flows", home=home)) is not None:
        table = make_table(
            f"flow bindings of {found['home_address']}", ("PRI", "right"), ("FID", "right"), ("action", "left"),
            ("BIDs", "left"), ("left", "right"), ("packets that", "left"),
        )  # fmt: skip
        for flow in found["flows"]:
            selector = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in flow["selector"].items())
            table.add_row(
                str(flow["pri"]), str(flow["fid"]), flow["action"] + ("" if flow["active"] else " (inactive)"),
                " ".join(map(str, flow["bids"])), _left(flow["left"]), selector or "all",
            )  # fmt: skip
        make_console().print(table)
    return 0


@command.command("counters", cls=_Asking)
@click.pass_context
def counters(ctx: click.Context) -> int:
    """Packets and octets by decision and flow, drops by reason, updates by status."""
    if (found := _ask(ctx, "counters")) is not None:
        _show_counters(found)
    return 0


def _show_counters(found: dict[str, Any]) -> None:
    console = make_console()
    forwarding = found.get("forwarding")
    if forwarding is None:
        rows = found["counters"] | found["packets"] | {f"dropped: {why}": n for why, n in found["drops"].items()}
        for name, value in rows.items():
            click.echo(f"{name:28} {count_text(value)}")
        return
    table = make_table("packets", ("", "left"), ("packets", "right"), ("octets", "right"))
    for name, packets in forwarding["packets"].items():
        table.add_row(name, count_text(packets), count_text(forwarding["octets"].get(name, 0)))
    for name, packets in forwarding["drops"].items():
        table.add_row(f"dropped: {name}", count_text(packets), "")
    console.print(table)
    table = make_table("flows", ("home address", "left"), ("by", "left"), ("packets", "right"), ("octets", "right"))
    for row in forwarding["flows"]:
        by = row["kind"] if row["fid"] is None else f"flow {row['fid']}"
        table.add_row(row["home_address"], by, count_text(row["packets"]), count_text(row["octets"]))
    console.print(table)
    table = make_table("binding updates", ("", "left"), ("count", "right"))
    for status, count in found["updates"]["updates"].items():
        table.add_row(f"answered with {status}", count_text(count))
    for reason, count in found["updates"]["ignored"].items():
        table.add_row(f"ignored: {reason}", count_text(count))
    console.print(table)


@command.command("why", cls=_Asking)
@click.argument("packet", metavar="PACKET")
@click.pass_context
def why(ctx: click.Context, packet: str) -> int:
    """Why a packet would go where it goes: PACKET is an IP packet in hexadecimal, or - for octets on standard input."""
    if packet == "-":
        packet = sys.stdin.buffer.read().hex()
    if (found := _ask(ctx, "why", packet=packet)) is not None:
        from flowclass.traces.explain import Candidate, Explanation
        from flowclass.traces.outcomes import RowValues

        from .explain import show as show_explanation

        what = found["explanation"]
        what["candidates"] = tuple(Candidate(**candidate) for candidate in what["candidates"])
        what["outcome"] = RowValues(**what["outcome"])
        show_explanation(Explanation(**what))
    return 0


@command.command("drain", cls=_Asking)
@click.option("--end", is_flag=True, help="Take on mobile nodes again.")
@click.pass_context
def drain(ctx: click.Context, end: bool) -> int:
    """Have the agent take on no further mobile nodes; those it has are served."""
    if (found := _ask(ctx, "drain", end=end)) is not None:
        click.echo(f"{'drained' if found['drained'] else 'not drained'}: {counted(found['nodes'], 'mobile node')}")
    return 0


@command.command("revoke", cls=_Asking)
@click.argument("home", metavar="HOME")
@click.option("--bid", "bids", type=click.IntRange(0, 65535), multiple=True, metavar="N", help="Only this binding.")
@click.option("--may-return", is_flag=True, help="The mobile node may register again at once.")
@click.pass_context
def revoke(ctx: click.Context, home: str, bids: tuple[int, ...], may_return: bool) -> int:
    """Remove bindings of a mobile node, and tell it (RFC 5846); --bid may be given several times."""
    if (found := _ask(ctx, "revoke", home=home, bids=list(bids), may_return=may_return)) is not None:
        told = "" if found["told"] else "; it can't be told, for it has no IPv6 care-of address"
        click.echo(f"{found['home_address']}: revoked BID {', '.join(map(str, found['bids']))}{told}")
    return 0


@command.command("rules", cls=_Asking)
@click.argument("home", metavar="HOME")
@click.option("--format", "form", type=click.Choice(["nft", "ip"]), default="nft", help="For `nft -f -`, or a shell.")
@click.pass_context
def rules(ctx: click.Context, home: str, form: str) -> int:
    """Flow bindings of a mobile node for the kernel: nftables rules that mark packets, or `ip rule` commands."""
    if (found := _ask(ctx, "rules", home=home)) is not None:
        click.echo(found[form], nl=False)
    return 0


@command.command("dump", cls=_Asking)
@click.pass_context
def dump(ctx: click.Context) -> int:
    """Print the binding cache as a bindings file in JSON, for `flowclass classify`, `report` and `check`."""
    from flowclass.agent.control import ask

    click.echo(json.dumps(ask(ctx.obj[0], "dump")["bindings"], indent=2))
    return 0


@command.command("watch", cls=_Asking)
@click.option("--interval", type=click.FloatRange(min=0.1), default=1.0, metavar="S", help="Seconds between two looks.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after so many looks.")
@click.pass_context
def watch(ctx: click.Context, interval: float, count: int | None) -> int:
    """A live view: mobile nodes, flows, rates and events, until Ctrl-C."""
    from ._watch import watch_agent

    watch_agent(ctx.obj[0], interval, count)
    return 0


@command.command("reload", cls=_Asking)
@click.pass_context
def reload_agent(ctx: click.Context) -> int:
    """Have the agent read its configuration again."""
    _ask(ctx, "reload")
    return 0
