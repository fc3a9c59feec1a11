"""``flowclass report``."""

from __future__ import annotations

import click

from ._console import progress, warn_damage
from ._inputs import (
    InnerCommand,
    bindings_options,
    check_traces,
    inner_option,
    make_agent,
    profile_options,
    total_size,
    traces_argument,
)


@click.command("report", cls=InnerCommand, short_help="Write one HTML page about capture files, with pictures.")
@traces_argument
@bindings_options
@profile_options
@inner_option
@click.option("-o", "--output", required=True, metavar="PAGE", help="The page, a name ending in .html.")
def command(
    traces: tuple[str, ...],
    bindings_file: str | None,
    replay: bool,
    profile: str | None,
    option_type: int | None,
    inner: int,
    output: str,
) -> int:
    """Writes one self-contained HTML page about capture files.

    Packets and octets per decision over time with binding updates as marks, per node and flow, the care-of addresses'
    shares, the flow bindings that never matched, and damaged places.
    """
    from flowclass.traces.files import atomic_file, check_writable
    from flowclass.traces.report import make_report

    if not output.lower().endswith((".html", ".htm")):
        raise click.UsageError(f"{output}: expected a name that ends in .html")
    agent = make_agent(bindings_file, replay, profile, option_type)
    check_traces(traces, None)
    check_writable(output)
    with progress("reading", total_size(traces)) as tell:
        page, summary = make_report(agent, traces, updates=replay, inner=inner, progress=tell)
    with atomic_file(output) as stream:
        stream.write(page.encode("utf-8", "replace"))
    warn_damage(summary.damage)
    return 1 if summary.damage else 0
