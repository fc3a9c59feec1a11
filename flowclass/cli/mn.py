"""``flowclass mn``."""

from __future__ import annotations

import click

from ._inputs import check_machine


@click.command("mn", short_help="Run a live mobile node.")
@click.argument("config", type=click.Path(), metavar="CONFIG")
@click.option("--check", is_flag=True, help="Read the configuration and say what it would do; change nothing.")
def command(config: str, check: bool) -> int:
    """Runs a mobile node in the foreground, as a TOML file says; for laboratories and tests.

    It registers the care-of addresses that its interfaces have, with the file's flows, and follows their changes.
    "ready" on standard error says that the home agent has acknowledged it; SIGTERM de-registers and ends it, SIGHUP has
    it read its file again.
    """
    from flowclass.agent.config import read_node_config
    from flowclass.agent.control import check_control

    found = read_node_config(config)
    if check:
        click.echo(f"{found.home} at home agent {found.home_agent}, profile {found.profile}, device {found.tun}")
        for source in found.care_of:
            click.echo(f"BID {source.bid}: {source.interface or source.address}, priority {source.priority}")
        for flow in found.flows:
            click.echo(f"flow {flow.fid}, PRI {flow.pri}: BIDs {', '.join(map(str, flow.bids)) or 'none'}")
        return check_machine(found.warnings, [lambda: check_control(found.control)])
    from flowclass.agent.mobile_node import MobileNodeService

    MobileNodeService(found).run()
    return 0
