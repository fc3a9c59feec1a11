"""``flowclass cn``."""

from __future__ import annotations

import click

from ._inputs import check_machine


@click.command("cn", short_help="Run a live correspondent node.")
@click.argument("config", type=click.Path(), metavar="CONFIG")
@click.option("--check", is_flag=True, help="Read the configuration and say what it would do; change nothing.")
def command(config: str, check: bool) -> int:
    """Runs a correspondent node in the foreground, as a TOML file says: packets of this host's applications and of
    mobile nodes to each other go directly, instead of through a home agent.

    A mobile node proves by return routability that both of its addresses are its own. "ready" on standard error says
    that the correspondent node serves; SIGTERM and SIGINT end it, SIGHUP has it read its file again.
    """
    from flowclass.agent.config import read_correspondent_config
    from flowclass.agent.control import check_control

    found = read_correspondent_config(config)
    if check:
        where = ", ".join(map(str, found.home_prefixes)) or "anywhere"
        click.echo(f"{found.address}, profile {found.profile}, device {found.tun}; mobile nodes at home {where}")
        return check_machine((), [lambda: check_control(found.control)])
    from flowclass.agent.correspondent import CorrespondentService

    CorrespondentService(found).run()
    return 0
