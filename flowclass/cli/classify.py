"""``flowclass classify``."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import click

from . import DAMAGED, DONE, INTERRUPTED
from ._console import (
    count_text,
    counted,
    make_console,
    make_table,
    print_fitting,
    progress,
    time_text,
    warn,
    warn_damage,
)
from ._inputs import (
    InnerCommand,
    Part,
    Size,
    bindings_options,
    check_traces,
    expand_traces,
    inner_option,
    make_decider,
    memory_option,
    profile_options,
    selection_options,
    total_size,
    traces_argument,
)

if TYPE_CHECKING:
    from rich.console import Console

    from flowclass.engine.forwarding import ForwardingTable
    from flowclass.mobility import HomeAgent
    from flowclass.traces.interruption import Interruption
    from flowclass.traces.outcomes import Rows
    from flowclass.traces.selection import Selection
    from flowclass.traces.summary import Summary, Totals, Updates

_SHOWN_WAYS = 40
_BEHIND = 4
_SHOWN_UNREAD = 8
_TIMES = ("first", "last")
_TOTALS = (("packets", "right"), ("octets", "right"), *((time, "left") for time in _TIMES))


@click.command("classify", cls=InnerCommand, short_help="Decide each packet of capture files.")
@traces_argument
@bindings_options
@profile_options
@inner_option
@memory_option
@selection_options
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Share the traces, and parts of large ones, among N processes; interrupted, the same command goes on where it"
    " was. With --replay, --write, --by or a choice of packets (--where, ...): read, decide and write side by side.",
)
@click.option(
    "--part-size",
    type=Size(),
    metavar="SIZE",
    help="Cut larger traces into parts of at most so many octets (K, M, G; 256M if not given).",
)
@click.option("--scheduler", metavar="ADDRESS", help="The same by a Dask cluster: tcp://HOST:PORT, or 'local'.")
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    metavar="OUT",
    help="Rows, one per packet, to a .csv, .jsonl, .arrow or .parquet file, text also with .gz or .zst behind; '-' is"
    " standard output.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl", "arrow"]),
    help="What the rows of '-o -' are (csv if not given; arrow is a stream).",
)
@click.option(
    "--columns",
    metavar="LIST",
    help="The columns of the rows, such as frame,time,source,bid; +packet or +source,length adds to the usual ones.",
)
@click.option(
    "--by",
    type=click.Choice(["5-tuple"]),
    help="A row per connection instead of one per packet, to -o: its packets, octets, first and last time.",
)
@click.option(
    "--write",
    "packets_file",
    type=click.Path(),
    metavar="FILE",
    help="The packets themselves (those that --where, --from, ... choose) to a .pcapng or .pcap file, also with .gz or"
    " .zst behind; '-' is standard output (pcapng).",
)
@click.option("--json", "as_json", is_flag=True, help="The summary as one JSON object.")
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
    workers: int | None,
    part_size: int | None,
    scheduler: str | None,
    output: str | None,
    columns: str | None,
    form: str | None,
    by: str | None,
    packets_file: str | None,
    as_json: bool,
) -> int:
    """Decides each packet of capture files: pcap or pcapng, compressed or not; "-" is standard input.

    The bindings come from a file, from the binding updates in the traces (--replay), or from the one and then the
    other. Prints a summary; with -o also writes one row per packet. Packets that are cut, malformed or not IP are
    rows like others. '-o -' writes them to standard output as the packets come, and the summary to standard error.
    With --write the packets themselves go to a capture file, in their order here; a .pcap file takes one link type and
    no comments. One of the two, rows or packets, may go to standard output.
    Exit status 1 says that a capture was damaged, or one of several could not be read: what could be read is in the
    results. Ctrl-C ends the reading: the summary and the rows are those of what was read until then,
    and the exit status is 130. A second one stops at once.
    """
    from flowclass.traces.columns import COLUMNS, parse_columns
    from flowclass.traces.files import check_apart
    from flowclass.traces.interruption import interruptible
    from flowclass.traces.sources import path_text

    if columns is not None and output is None:
        raise click.UsageError("--columns goes with -o: they are the columns of the rows")
    if by is not None and output is None:
        raise click.UsageError("--by goes with -o: it says what the rows are")
    names: tuple[str, ...]
    if by is None:
        names = COLUMNS if columns is None else parse_columns(columns)
    else:
        from flowclass.traces.connections import ALL_CONNECTION_COLUMNS, CONNECTION_COLUMNS

        names = CONNECTION_COLUMNS
        if columns is not None:
            names = parse_columns(columns, CONNECTION_COLUMNS, ALL_CONNECTION_COLUMNS)
    traces = expand_traces(traces, recursive)
    streams = "-" in (output, packets_file)
    if form is not None and output != "-":
        raise click.UsageError("--format goes with -o -: of a file, the ending of its name says what the rows are")
    for written in (output, packets_file):
        check_apart(None if written == "-" else written, (*traces, bindings_file))
    check_traces(traces)
    if scheduler is not None and (replay or bindings_file is None):
        raise click.UsageError("--scheduler goes with --bindings alone: a replay is one sequence")
    selection = part.selection()
    if selection is not None and (scheduler is not None or part_size is not None):
        raise click.UsageError("--from, --to, --where, --skip and --first go without --scheduler and --part-size")
    if packets_file is not None:
        if scheduler is not None or part_size is not None:
            raise click.UsageError("--write goes without --scheduler and --part-size")
        if output is not None and os.path.realpath(output) == os.path.realpath(packets_file):
            raise click.UsageError("-o and --write name the same output")
        if packets_file != "-":
            from flowclass.traces.packet_files import check_packets

            check_packets(packets_file)
    if by is not None and (scheduler is not None or part_size is not None):
        raise click.UsageError("--by goes without --scheduler and --part-size")
    alone = replay or selection is not None or packets_file is not None or by is not None
    if (workers is not None and not alone) or scheduler is not None:
        if streams:
            raise click.UsageError("-o - goes without --workers and --scheduler, which write files")
        from flowclass.traces.compress import endings

        if output is not None and endings(output)[1]:
            raise click.UsageError(f"{output}: --workers and --scheduler write rows that aren't compressed")
        if bindings_file is None:
            raise click.UsageError("--workers needs --bindings FILE or --replay")
        with interruptible() as interruption:
            summary = _by_workers(
                traces, bindings_file, inner, memory, workers, part_size, scheduler, output, names, interruption
            )
    else:
        if part_size is not None:
            raise click.UsageError("--part-size goes with --workers or --scheduler, and not with --replay")
        agent = make_decider(bindings_file, replay, profile, option_type)
        threads = workers is not None and workers > 1
        with interruptible() as interruption:
            summary = _alone(
                traces, agent, replay, inner, memory, selection, output, form or "csv", names, by is not None,
                packets_file, threads, interruption, esp_null,
            )  # fmt: skip
    if as_json:
        name = None if output is None else path_text(output)
        document = summary.to_dict() | {"output": name, "interrupted": interruption.requested}
        if packets_file is not None:
            document["written"] = path_text(packets_file)
        click.echo(json.dumps(document), err=streams)
    else:
        show(summary, output, packets_file, stderr=streams)
    warn_damage(summary)
    if interruption.requested:
        warn("interrupted: the results are those of what was read until then")
        return INTERRUPTED
    return DAMAGED if summary.is_damaged else DONE


def _alone(
    traces: Sequence[str],
    agent: HomeAgent | ForwardingTable,
    replay: bool,
    inner: int,
    memory: int,
    selection: Selection | None,
    output: str | None,
    form: str,
    columns: tuple[str, ...],
    by_tuple: bool,
    packets_file: str | None,
    threads: bool,
    interruption: Interruption,
    esp_null: bool,
) -> Summary:
    from flowclass.traces.files import together
    from flowclass.traces.run import Run

    with together() as files, ExitStack() as stack:
        writer = None
        observers: list[Callable[[Rows], None]] = []
        if by_tuple and output is not None:
            from flowclass.traces.connections import Connections, stream_connections, write_connections
            from flowclass.traces.outputs import check_output

            connections = Connections()
            observers.append(connections.add)
            if output == "-":
                write = partial(stream_connections, form, sys.stdout.buffer, connections, columns)
            else:
                check_output(output)
                write = partial(write_connections, output, connections, columns, files)
            stack.push(lambda kind, *_: None if kind else write())
        elif output is not None:
            from flowclass.traces.outputs import open_output, open_stream

            writer = stack.enter_context(
                open_stream(form, sys.stdout.buffer, columns) if output == "-" else open_output(output, columns, files)
            )
        packets = behind = None
        if packets_file is not None:
            from flowclass.traces.packet_files import open_packets, stream_packets

            packets = stack.enter_context(
                stream_packets(sys.stdout.buffer) if packets_file == "-" else open_packets(packets_file, files)
            )
        tell = stack.enter_context(progress("classifying", total_size(traces)))
        if threads:
            from flowclass.traces.pipeline import WriteBehind

            behind = stack.enter_context(WriteBehind(_BEHIND))
        run = Run(
            agent,
            writer=writer,
            packets=packets,
            observers=observers,
            inner=inner,
            progress=tell,
            behind=behind,
            memory=memory,
            interruption=interruption,
            selection=selection,
            esp_null=esp_null,
            live="-" in (output, packets_file),
        )
        if not replay:
            return run.classify(traces)
        from flowclass.traces.replaying import replay as replay_traces

        return replay_traces(run, traces, ahead=threads)


def _by_workers(
    traces: Sequence[str],
    bindings_file: str,
    inner: int,
    memory: int,
    workers: int | None,
    part_size: int | None,
    scheduler: str | None,
    output: str | None,
    columns: tuple[str, ...],
    interruption: Interruption,
) -> Summary:
    from tempfile import TemporaryDirectory

    from flowclass.mobility.bindings_file import read_bindings
    from flowclass.traces.outputs import check_output
    from flowclass.traces.workers.jobs import Job, parts_folder, run_job
    from flowclass.traces.workers.parts import PART_SIZE, agent_of
    from flowclass.traces.workers.pools import DaskPool, LocalPool

    if output is not None:
        check_output(output, columns)
    if bad := [name for name in traces if not os.path.isfile(name)]:
        raise click.UsageError(f"{bad[0]}: --workers takes files, which can be read by another process")
    ending = None if output is None else os.path.splitext(output)[1].lower()
    job = Job(read_bindings(bindings_file), inner, ending, memory, columns)
    with ExitStack() as stack:
        pool: LocalPool | DaskPool
        if scheduler is None:
            agent_of(job)  # loads the bindings before the workers are forked, which then have them
            pool = stack.enter_context(LocalPool(workers or 1))
        else:
            pool = stack.enter_context(DaskPool(scheduler, workers))
        tell = stack.enter_context(progress("classifying", total_size(traces)))
        if output is not None:
            folder = parts_folder(output)
        else:
            folder = os.path.join(stack.enter_context(TemporaryDirectory(prefix="flowclass-")), "parts")
        try:
            return run_job(
                job,
                traces,
                output,
                folder,
                pool,
                part_size=part_size or PART_SIZE,
                progress=tell,
                interruption=interruption,
            )
        except KeyboardInterrupt:
            if interruption.requested and output is not None:
                warn(f"what is done is kept in {folder}; the same command goes on with it")
            raise


def show(summary: Summary, output: str | None, packets_file: str | None = None, *, stderr: bool = False) -> None:
    """Prints the summary: lines, and tables where there is something to show."""
    files = summary.files[0].file if len(summary.files) == 1 else f"{len(summary.files)} files"
    lines = [f"{counted(summary.packets, 'packet')}, {counted(summary.octets, 'octet')}, {files}"]
    if summary.cut:
        lines.append(f"{count_text(summary.cut)} of them were cut by the capture; decided on what is there")
    if summary.updates is not None:
        lines += _update_lines(summary.updates)
    for line in lines:
        click.echo(line, err=stderr)
    if summary.packets:
        _show_tables(summary, make_console(stderr=stderr))
    for what, file in (("rows", output), ("packets", packets_file)):
        if file not in (None, "-"):
            click.echo(f"{what}: {file}", err=stderr)


def _update_lines(updates: Updates) -> list[str]:
    from flowclass.wire.numbers import BINDING_STATUS
    from flowclass.wire.profiles import get_profile

    lines = [
        f"{counted(updates.received, 'binding update')}: {updates.accepted} accepted, {updates.rejected} rejected,"
        f" {updates.ignored} ignored; flow options: {updates.flows_accepted} accepted,"
        f" {updates.flows_rejected} rejected"
    ]
    if updates.unread:
        found = ", ".join(f"{count_text(n)} {reason}" for reason, n in sorted(updates.unread.items()))
        lines.append(f"signalling that could not be read: {found}")
    for of, counts, names in (
        ("binding updates", updates.statuses, BINDING_STATUS),
        ("flow options", updates.flow_statuses, get_profile(updates.profile).status.names),
    ):
        rejected = [f"{count_text(n)} with {status} ({names.get(status, 'unknown')})" for status, n in counts.items()
                    if status >= 128]  # fmt: skip
        if rejected:
            lines.append(f"rejected {of}: {', '.join(rejected)}")
    return lines


def _show_tables(summary: Summary, console: Console) -> None:
    reasons = make_table("", ("reason", "left"), ("packets", "right"), ("octets", "right"), ("share", "right"))
    for name, way in summary.by_reason().items():
        if way.packets:
            share = f"{100 * way.packets / summary.packets:.1f} %"
            reasons.add_row(name, count_text(way.packets), count_text(way.octets), share)
    console.print(reasons)
    _show_unread(summary, console)
    _show_ways(summary, console)
    _show_care_of(summary, console)


def _show_unread(summary: Summary, console: Console) -> None:
    """Prints why packets were not read as IP. A link layer that is not read may still carry IP."""
    from flowclass.traces.unread import unread_words

    found = sorted(summary.unread.items(), key=lambda item: -item[1])
    for (unread, value), packets in found[:_SHOWN_UNREAD]:
        console.print(f"not-ip: {count_text(packets)} because {unread_words(unread, value)}", markup=False)
    if len(found) > _SHOWN_UNREAD:
        console.print(f"not-ip: and {len(found) - _SHOWN_UNREAD} more reasons: --json has them")


def _show_care_of(summary: Summary, console: Console) -> None:
    """Prints what was sent to each care-of address."""
    from flowclass.traces.summary import first_of

    found = first_of(summary.care_of, _SHOWN_WAYS)
    if not found:
        return
    rows = [(address, *_total_texts(total)) for address, total in found]
    print_fitting(console, [("care-of address", "left"), *_TOTALS], rows, _TIMES)
    if (more := len(summary.care_of) - len(found)) > 0:
        console.print(f"the busiest ones, and {count_text(more)} more care-of addresses: --json has them all")


def _total_texts(total: Totals) -> tuple[str, str, str, str]:
    """The cells of the columns `_TOTALS`."""
    return (count_text(total.packets), count_text(total.octets), time_text(total.first), time_text(total.last))


def _show_ways(summary: Summary, console: Console) -> None:
    ways = summary.ways()
    if not ways:
        return
    if len(ways) > _SHOWN_WAYS:
        packets = Counter[str]()
        for home, *_, way in ways:
            packets[home] += way.packets
        ways.sort(key=lambda line: -packets[line[0]])
    columns = [("home address", "left"), ("decided by", "left"), ("action", "left"), *_TOTALS]
    rows = []
    last = ""
    for home, reason, action, fid, way in ways[:_SHOWN_WAYS]:
        name = f"flow {fid}" if fid is not None else reason
        care_of = ", ".join(
            address if len(way.care_of) == 1 else f"{address} ({count_text(packets)})"
            for address, packets in sorted(way.care_of.items())
        )
        rows.append(("" if home == last else home, name, action, *_total_texts(way), care_of))
        last = home
    print_fitting(console, [*columns, ("care-of addresses", "left")], rows, _TIMES, ("action", "octets"))
    if len(ways) > _SHOWN_WAYS:
        console.print(f"the busiest nodes, and {count_text(len(ways) - _SHOWN_WAYS)} more lines: --json has them all")
