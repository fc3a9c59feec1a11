"""``flowclass report``."""

from __future__ import annotations

import click

from . import DAMAGED, DONE, INTERRUPTED
from ._console import command_line, progress, warn, warn_damage
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


@click.command("report", cls=InnerCommand, short_help="Write one HTML page about capture files, with pictures.")
@traces_argument
@bindings_options
@profile_options
@inner_option
@memory_option
@selection_options
@click.option(
    "-o", "--output", required=True, type=click.Path(), metavar="PAGE", help="The page, a name ending in .html."
)
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
    output: str,
) -> int:
    """Writes one self-contained HTML page about capture files.

    It shows packets and octets over time by what was decided, and binding updates below them; how many each node, flow
    and care-of address got; the flow bindings that never matched; damaged places; and how the page was made. Tables can
    be sorted and filtered in the page.
    """
    from flowclass.traces.files import atomic_file, check_apart, check_writable
    from flowclass.traces.interruption import interruptible
    from flowclass.traces.report import make_report

    if not output.lower().endswith((".html", ".htm")):
        raise click.UsageError(f"{output}: expected a name that ends in .html")
    agent = make_agent(bindings_file, replay, profile, option_type)
    traces = expand_traces(traces, recursive)
    check_traces(traces)
    check_writable(output)
    check_apart(output, (*traces, bindings_file))
    with interruptible() as interruption, progress("reading", total_size(traces)) as tell:
        page, summary = make_report(
            agent,
            traces,
            updates=replay,
            inner=inner,
            progress=tell,
            memory=memory,
            esp_null=esp_null,
            interruption=interruption,
            selection=part.selection(),
            bindings=bindings_file or "",
            command=command_line(),
        )
    with atomic_file(output) as stream:
        stream.write(page.encode("utf-8", "replace"))
    warn_damage(summary)
    if interruption.requested:
        warn("interrupted: the page is about what was read until then")
        return INTERRUPTED
    return DAMAGED if summary.is_damaged else DONE
