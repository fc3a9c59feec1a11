"""``flowclass ha``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from ._inputs import check_machine

if TYPE_CHECKING:
    from flowclass.agent.config import AgentConfig


@click.command("ha", short_help="Run a live home agent.")
@click.argument("config", type=click.Path(), metavar="CONFIG")
@click.option("--check", is_flag=True, help="Read the configuration and say what it would do; change nothing.")
@click.option("--follow", is_flag=True, help="Follow the store of an agent that runs, and take over when it is gone.")
def command(config: str, check: bool, follow: bool) -> int:
    """Runs a home agent in the foreground, as a TOML file says.

    It takes binding updates from the network, keeps a binding cache, and tunnels packets to mobile nodes. "ready" on
    standard error says that it serves; SIGTERM and SIGINT end it, SIGHUP has it read its file again.
    """
    from flowclass.agent.config import read_agent_config

    found = read_agent_config(config)
    if check:
        _describe(found)
        return check_machine(found.warnings, _checks(found))
    from flowclass.agent.home_agent import HomeAgentService

    HomeAgentService(found, follow=follow).run()
    return 0


def _checks(config: AgentConfig) -> Iterator[Callable[[], object]]:
    """What the agent needs of the machine, and what can be asked for without a change."""
    from flowclass.agent.control import check_control
    from flowclass.agent.network import Network
    from flowclass.agent.privileges import user_ids
    from flowclass.agent.store import check_store

    if (store := config.store) is not None:
        yield lambda: check_store(str(store))
    yield lambda: check_control(config.control)
    if (user := config.user) is not None:
        yield lambda: user_ids(user)
    if (link := config.home_link) is not None:
        yield lambda: Network.index(link)


def _describe(config: AgentConfig) -> None:
    security = config.security
    if security.insecure:
        how = "INSECURE: all updates are believed"
    elif security.is_protected:
        marks = [f"mark {mark:#x}" for mark in security.marks]
        how = f"updates by {', '.join([*security.interfaces, *marks])} are believed: IPsec protects them"
    else:
        how = f"updates with a key: {len(security.associations)} mobile nodes (RFC 4285)"
    what = "the home prefixes" if config.home_link is None else "home addresses of registered nodes"
    lines = {
        "home agent": str(config.home_agent),
        "profile": config.profile,
        "home prefixes": ", ".join(map(str, config.home_prefixes)),
        "device": f"{config.tun}: makes it, routes {config.home_agent} and {what} into it",
        "home link": "none"
        if config.home_link is None
        else f"{config.home_link}: defends home addresses of nodes away",
        "security": how,
        "store": "none: bindings are lost at the end" if config.store is None else str(config.store),
        "control": f"{config.control}, mode 0600",
        "metrics": "none" if config.metrics is None else f"{config.metrics[0]} port {config.metrics[1]}",
    }
    for name, value in lines.items():
        click.echo(f"{name:14} {value}")
