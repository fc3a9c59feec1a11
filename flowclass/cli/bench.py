"""``flowclass bench``: measures the classifier on this machine, after checking that its answers are right."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from flowclass.bench.plot import check_plot, render
from flowclass.cli._console import make_console, make_table, warn
from flowclass.generate.names import ADVERSARIAL_NAMES, FAMILY_NAMES, MAX_RULES

if TYPE_CHECKING:
    from flowclass.bench.lookup import Case, LookupResult
    from flowclass.bench.nodes import NodesResult
    from flowclass.bench.traces import TracesResult
    from flowclass.bench.updates import UpdatesResult

F = TypeVar("F", bound=Callable[..., Any])
Point = tuple[float, ...]  # (size, value), or (size, value, lowest, highest) for several measurements


def size(text: str) -> int:
    """Converts the text of a number of rules, nodes or packets, such as 500, 10k or 1M."""
    factor = {"k": 1_000, "m": 1_000_000}.get(text[-1:].lower(), 1)
    digits = text[:-1] if factor > 1 else text
    if not digits.isdecimal() or not 1 <= int(digits) * factor <= MAX_RULES:
        raise click.BadParameter(f"{text!r}: a number from 1 to {MAX_RULES} expected, such as 500, 10k or 1M")
    return int(digits) * factor


def _plot_option(name: str, parameter: str, text: str) -> Callable[[F], F]:
    return click.option(name, parameter, multiple=True, type=click.Path(), metavar="FILE", help=text)


def _common(function: F) -> F:
    for option in (
        _plot_option("--plot", "plots", "A picture over size: .svg, or with matplotlib .png or .pdf. May be repeated."),
        click.option("--csv", "as_csv", is_flag=True, help="One line for each figure instead of tables."),
        click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables."),
        click.option("--seed", default=1, show_default=True, help="Of everything that is generated."),
        click.option("--rounds", type=click.IntRange(1), default=7, show_default=True, help="Medians of so many."),
    ):
        function = option(function)
    return function


def _peer_option(function: F) -> F:
    return click.option(
        "--peer",
        "own_peers",
        multiple=True,
        metavar="MODULE:NAME",
        help="Measure a classifier of your own beside (or an entry point): see pydoc flowclass.bench.peers.",
    )(function)


def _cases(
    files: Sequence[Path],
    families: Sequence[str],
    sizes: Sequence[int],
    versions: Sequence[str],
    kinds: Sequence[str],
    packets: int,
    seed: int,
    trace_files: Sequence[Path] = (),
    notes: list[str] | None = None,
) -> Iterator[Case]:
    """Yields the rule sets of the files, or generated ones; one at a time, as large ones take much memory."""
    from flowclass.bench.lookup import file_case, generated_case

    for path in files:
        yield file_case(path, kinds, packets, seed, files=trace_files, notes=notes)
    if not files:
        for version, family, n in product(versions or ("4",), families, sizes or (1_000, 10_000)):
            yield generated_case(family, n, int(version), kinds, packets, seed)


@click.group(name="bench", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Measure the classifier on this machine; right answers are checked before anything is timed.

    Without a subcommand: look-ups in generated sets of 1k and 10k rules.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(lookup)


@command.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--family",
    "families",
    multiple=True,
    type=click.Choice([*FAMILY_NAMES, *ADVERSARIAL_NAMES]),
    help="Generated sets, if no FILES are given (default: acl, fw and ipc). May be repeated, as all below.",
)
@click.option("--size", "sizes", multiple=True, type=size, help="Rules of generated sets (default: 1k and 10k).")
@click.option("--ip", "versions", multiple=True, type=click.Choice(["4", "6"]), help="IP versions (default: 4).")
@click.option(
    "--trace",
    "traces",
    multiple=True,
    type=click.Choice(["corner", "uniform", "zipf", "worst"]),
    help="Packets: on corners of rules, inside them (default), repeating, or aimed at the worst place.",
)
@click.option(
    "--trace-file",
    "trace_files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Packets from a file, for all FILES; ClassBench's (NAME_trace) make no claim about the answers.",
)
@click.option("--packets", type=size, default="50k", show_default=True, help="Packets of a generated trace.")
@click.option("--kernel", "chosen", multiple=True, help="Kernels (default: all that run here).")
@click.option("--peers/--no-peers", default=True, help="Measure linear search and rte_acl beside (where installed).")
@click.option(
    "--peers-up-to", type=size, help="No peers beside sets of more rules than this: their builds may take minutes."
)
@_plot_option("--plot-build", "plot_build", "As --plot, of how long builds take.")
@_plot_option("--plot-memory", "plot_memory", "As --plot, of the memory for each rule.")
@_peer_option
@_common
def lookup(
    files: tuple[Path, ...],
    families: tuple[str, ...],
    sizes: tuple[int, ...],
    versions: tuple[str, ...],
    traces: tuple[str, ...],
    trace_files: tuple[Path, ...],
    packets: int,
    chosen: tuple[str, ...],
    peers: bool,
    peers_up_to: int | None,
    plot_build: tuple[str, ...],
    plot_memory: tuple[str, ...],
    own_peers: tuple[str, ...],
    rounds: int,
    seed: int,
    as_json: bool,
    as_csv: bool,
    plots: tuple[str, ...],
) -> None:
    """Look-ups in flat rule sets: FILES of ClassBench's format or OpenFlow rules, or generated sets.

    Beside a file its own trace is looked for: NAME_trace as ClassBench's trace_generator calls it, or NAME.KIND.trace.
    """
    from flowclass.bench.lookup import measure
    from flowclass.bench.peers import load_peer

    _check_plots((*plots, *plot_build, *plot_memory), (*files, *trace_files))
    if trace_files and not files:
        raise click.UsageError("--trace-file: for rule sets in FILES")
    for name in own_peers:
        load_peer(name)
    notes: list[str] = []
    cases = _cases(files, families or FAMILY_NAMES, sizes, versions, traces, packets, seed, trace_files, notes)
    names = (("rte_acl", "linear") if peers else ()) + own_peers
    results: list[LookupResult] = []
    for case in cases:
        beside = names if peers_up_to is None or len(case.rules) <= peers_up_to else ()
        results += measure(case, chosen=chosen, peer_names=beside, rounds=rounds, notes=notes)
    title = "How many packets does one thread classify in a second?"
    labels = (title, "rules", "million packets per second")
    rates = _lookup_curves(results, _rates)
    _finish("lookup", results, (as_json, as_csv), notes, plots, rates, labels, _lookup_tables)
    _draw(plot_build, _lookup_curves(results, _builds), ("How long does a build take?", "rules", "seconds"))
    _draw(
        plot_memory, _lookup_curves(results, _octets), ("How much memory does a rule take?", "rules", "octets a rule")
    )


def _lookup_curves(
    results: Sequence[LookupResult], figures: Callable[[LookupResult], Mapping[str, tuple[float, ...]]]
) -> dict[str, list[Point]]:
    """A curve over the number of rules for each classifier, kind of set and trace; names leave out what all share."""
    found: dict[tuple[str, ...], list[Point]] = {}
    for result in results:
        kind = result.trace.removeprefix(result.case).lstrip("_")  # acl1_1k_trace and acl1_10k_trace are of one curve
        family = result.case.rpartition("_")[0] or result.case
        what = (f"IPv{result.version}", family.removeprefix(f"v{result.version}_"), kind)
        for name, values in figures(result).items():
            found.setdefault((name, *what), []).append((result.rules, *values))
    telling = [i for i in range(1, 4) if len({key[i] for key in found}) > 1]
    return {", ".join((key[0], " ".join(key[i] for i in telling))).removesuffix(", "): found[key] for key in found}


def _rates(result: LookupResult) -> dict[str, tuple[float, ...]]:
    """The rates in Mpps of the default kernel and of each peer's best algorithm: median, lowest, highest."""
    spreads = {"flowclass": result.mpps["auto"]} | {p.name: p.mpps[p.best] for p in result.peers}
    return {name: (rate.median, rate.low, rate.high) for name, rate in spreads.items()}


def _builds(result: LookupResult) -> dict[str, tuple[float, ...]]:
    """The seconds that builds took; linear search has none."""
    seconds = [("flowclass", result.build_seconds), *((p.name, p.build_seconds) for p in result.peers)]
    return {name: (value,) for name, value in seconds if value > 0}


def _octets(result: LookupResult) -> dict[str, tuple[float, ...]]:
    """The octets of memory for each rule, where they are known."""
    octets = [
        ("flowclass", result.bytes_per_rule),
        *((p.name, p.bytes / result.rules) for p in result.peers if p.bytes),
    ]
    return {name: (value,) for name, value in octets}


def _lookup_tables(results: Sequence[LookupResult]) -> list[Any]:
    names = list(dict.fromkeys(name for result in results for name in result.mpps))
    ours = make_table(
        "Look-ups: million packets per second and thread by kernel; a batch of 256 in microseconds",
        *(("set", "left"), ("trace", "left"), ("rules", "right")),
        *((name, "right") for name in names),
        *(("p50", "right"), ("p99", "right"), ("build s", "right"), ("B/rule", "right"), ("checked", "right")),
    )
    for r in results:
        rates = (f"{r.mpps[name].median:.1f}" if name in r.mpps else "" for name in names)
        latency = (f"{r.latency_us[name]:.2f}" for name in ("p50", "p99"))
        checked = "all" if r.checked == r.packets else str(r.checked)
        ours.add_row(
            *(r.case, r.trace, str(r.rules)),
            *rates,
            *latency,
            f"{r.build_seconds:.3f}",
            f"{r.bytes_per_rule:.0f}",
            checked,
        )
    if not any(r.peers for r in results):
        return [ours]
    theirs = make_table(
        "Peers in the same run: flowclass is so many times faster (median of paired rounds, smallest to largest)",
        *(("set", "left"), ("trace", "left"), ("peer", "left"), ("algorithm", "left"), ("Mpps", "right")),
        *(("times", "right"), ("spread", "right"), ("build s", "right"), ("B/rule", "right")),
    )
    for r in results:
        for p in r.peers:
            size = "" if p.bytes is None else f"{p.bytes / r.rules:.0f}"
            spread = f"{p.ratio.low:.2f}-{p.ratio.high:.2f}"
            rate = f"{p.mpps[p.best].median:.3g}"
            theirs.add_row(
                *(
                    r.case,
                    r.trace,
                    p.name,
                    p.best,
                    rate,
                    f"{p.ratio.median:.2f}",
                    spread,
                    f"{p.build_seconds:.3f}",
                    size,
                )
            )
    return [ours, theirs]


@command.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--family",
    "families",
    multiple=True,
    type=click.Choice([*FAMILY_NAMES, *ADVERSARIAL_NAMES]),
    help="Generated sets, if no FILES are given (default: acl). May be repeated, as all below.",
)
@click.option("--size", "sizes", multiple=True, type=size, help="Rules of generated sets (default: 1k and 10k).")
@click.option("--ip", "versions", multiple=True, type=click.Choice(["4", "6"]), help="IP versions (default: 4).")
@_peer_option
@_common
def updates(
    files: tuple[Path, ...],
    families: tuple[str, ...],
    sizes: tuple[int, ...],
    versions: tuple[str, ...],
    own_peers: tuple[str, ...],
    rounds: int,
    seed: int,
    as_json: bool,
    as_csv: bool,
    plots: tuple[str, ...],
) -> None:
    """Rules removed and inserted in place, alone and beside a reader: ClassBench FILES or generated sets."""
    from flowclass.bench.updates import measure as measure_updates

    _check_plots(plots, files)
    cases = _cases(files, families or ("acl",), sizes, versions, ("uniform",), 50_000, seed)
    results = [measure_updates(case, rounds=rounds, seed=seed, peer_names=own_peers) for case in cases]
    curves: dict[str, list[Point]] = {}
    for r in results:
        rate = r.updates
        label = r.case.rpartition("_")[0] or r.case
        curves.setdefault(label, []).append((r.rules, rate.median, rate.low, rate.high))
    title = "How many rules per second come and go, with how many rules?"
    _finish(
        "updates",
        results,
        (as_json, as_csv),
        (),
        plots,
        curves,
        (title, "rules", "million updates per second"),
        _updates_tables,
    )


def _updates_tables(results: Sequence[UpdatesResult]) -> list[Any]:
    table = make_table(
        "Updates: million per second (100 to a call), one to a call in microseconds, the first one in seconds; million"
        " packets per second before, after and after a rebuild; what is left of a reader beside a writer",
        *(("set", "left"), ("rules", "right"), ("M updates/s", "right"), ("p50", "right"), ("p99", "right")),
        *(("first", "right"), ("fresh", "right"), ("updated", "right"), ("rebuilt", "right")),
        *(("writer/s", "right"), ("reader left", "right"), ("B/rule", "right")),
    )
    for r in results:
        table.add_row(
            *(r.case, str(r.rules), f"{r.updates.median:.2f}"),
            *(f"{r.single_us['p50']:.1f}", f"{r.single_us['p99']:.1f}", f"{r.first_update_seconds:.3f}"),
            *(f"{rate:.1f}" for rate in r.mpps.values()),
            *(f"{r.beside_rate:.0f}", f"{r.reader_ratio.median:.2f}", f"{r.bytes_per_rule:.0f}"),
        )
    if not any(r.peers for r in results):
        return [table]
    theirs = make_table(
        "Peers: million updates per second", ("set", "left"), ("peer", "left"), ("M updates/s", "right")
    )
    for r in results:
        for name, rate in r.peers.items():
            theirs.add_row(r.case, name, f"{rate.median:.3g}")
    return [table, theirs]


@command.command()
@click.option("--nodes", "sizes", multiple=True, type=size, help="Mobile nodes (default: 1k and 10k). May be repeated.")
@click.option(
    "--flows",
    type=(click.IntRange(1, 1000), click.IntRange(1, 1000)),
    default=(4, 16),
    show_default=True,
    help="Fewest and most flows of a node.",
)
@click.option(
    "--packets", type=size, default="200k", show_default=True, help="Packets to home addresses drawn uniformly."
)
@click.option("--peers/--no-peers", default=True, help="Measure pytricia's look-up of the home address (if installed).")
@_common
def nodes(
    sizes: tuple[int, ...],
    flows: tuple[int, int],
    packets: int,
    peers: bool,
    rounds: int,
    seed: int,
    as_json: bool,
    as_csv: bool,
    plots: tuple[str, ...],
) -> None:
    """Decisions for many mobile nodes with a few flows each, and publishing nodes while packets are classified."""
    from flowclass.bench.nodes import measure as measure_nodes

    if flows[0] > flows[1]:
        raise click.UsageError("--flows: the fewest exceed the most")
    _check_plots(plots, ())
    results = [
        measure_nodes(n, flows=flows, packets=packets, rounds=rounds, seed=seed, peers=peers)
        for n in sizes or (1_000, 10_000)
    ]
    curves = {
        f"kernel {name}": [(r.nodes, (rate := r.mpps[name]).median, rate.low, rate.high) for r in results]
        for name in results[0].mpps
        if name != "auto"  # one of the others
    }
    title = "How many packets does one thread decide in a second?"
    _finish(
        "nodes",
        results,
        (as_json, as_csv),
        (),
        plots,
        curves,
        (title, "mobile nodes", "million packets per second"),
        _nodes_tables,
    )


def _nodes_tables(results: Sequence[NodesResult]) -> list[Any]:
    names = list(results[0].mpps)
    table = make_table(
        "Nodes: million packets per second and thread by kernel; publishing one node in microseconds; what is left of a"
        " reader beside a publisher",
        *(("nodes", "right"), ("flows", "right")),
        *((name, "right") for name in names),
        *(
            ("B/node", "right"),
            ("load s", "right"),
            ("publish p50", "right"),
            ("p99", "right"),
            ("publishes/s", "right"),
        ),
        *(("reader left", "right"), ("pytricia", "right")),
    )
    for r in results:
        other = "" if r.pytricia_mpps is None else f"{r.pytricia_mpps:.2f}"
        table.add_row(
            *(str(r.nodes), f"{r.flows:.1f}"),
            *(f"{r.mpps[name].median:.1f}" for name in names),
            *(f"{r.bytes_per_node:.0f}", f"{r.load_seconds:.2f}"),
            *(f"{r.publish_us['p50']:.1f}", f"{r.publish_us['p99']:.1f}", f"{r.publish_rate:.0f}"),
            *(f"{r.reader_ratio.median:.2f}", other),
        )
    return [table]


@command.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--bindings",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Decide the packets of FILES by this bindings file.",
)
@click.option("--packets", type=size, default="200k", show_default=True, help="Packets of the generated capture.")
@click.option("--peers/--no-peers", default=True, help="Measure cat, tcpdump and libpcap beside.")
@_common
def traces(
    files: tuple[Path, ...],
    bindings: Path | None,
    packets: int,
    peers: bool,
    rounds: int,
    seed: int,
    as_json: bool,
    as_csv: bool,
    plots: tuple[str, ...],
) -> None:
    """Reading and classifying capture FILES, or a generated one for 100 nodes with 8 flows each."""
    from flowclass.bench.traces import generated
    from flowclass.bench.traces import measure as measure_traces

    if plots:
        raise click.UsageError("--plot: captures have no size to plot over")
    if files:
        results = [measure_traces(path, bindings, rounds=rounds, peers=peers) for path in files]
    else:
        with generated(packets, seed) as made:
            results = [measure_traces(*made, rounds=rounds, peers=peers)]
    _finish("traces", results, (as_json, as_csv), (), (), {}, ("", "", ""), _traces_tables)


def _traces_tables(results: Sequence[TracesResult]) -> list[Any]:
    names = list(dict.fromkeys(name for r in results for name in (*r.nanoseconds, *r.peers)))
    table = make_table(
        "Captures: nanoseconds of processor time per packet; each pass includes those to its left, peers stand alone",
        *(("file", "left"), ("packets", "right"), ("octets", "right")),
        *((name, "right") for name in names),
    )
    for r in results:
        both = {**r.nanoseconds, **r.peers}
        cells = (f"{both[name].median:.0f}" if name in both else "" for name in names)
        table.add_row(r.file, str(r.packets), str(r.octets), *cells)
    shares = make_table(
        "What the summary takes of a peer's time",
        *(
            ("file", "left"),
            ("peer", "left"),
            ("processor", "right"),
            ("low", "right"),
            ("high", "right"),
            ("wall", "right"),
        ),
    )
    for r in results:
        for name, (processor, wall) in r.ratios.items():
            values = (processor.median, processor.high, processor.low, wall.median)
            shares.add_row(r.file, name, *(f"{1 / value:.2f}" for value in values))
    return [table, shares] if any(r.ratios for r in results) else [table]


def _check_plots(plots: Sequence[str], inputs: Sequence[Path]) -> None:
    """Raises `FlowclassError` for a plot that could not be written, before anything is measured."""
    from flowclass.traces.files import check_apart, check_writable

    for plot in plots:
        check_plot(plot)
        check_writable(plot)
        check_apart(plot, map(str, inputs))


def _finish(
    what: str,
    results: Sequence[Any],
    form: tuple[bool, bool],
    notes: Sequence[str],
    plots: Sequence[str],
    curves: Mapping[str, Sequence[Point]],
    labels: tuple[str, str, str],
    tables: Callable[[Sequence[Any]], list[Any]],
) -> None:
    """Writes results to standard output, ``notes`` to standard error, and then the plots to their files."""
    from flowclass.bench.machine import describe

    _print_results(what, results, form, notes, describe(), tables)
    _draw(plots, curves, labels)


def _draw(plots: Sequence[str], curves: Mapping[str, Sequence[Point]], labels: tuple[str, str, str]) -> None:
    """Writes a picture to each of the files that were asked for. ``labels``: its title, and those of its axes."""
    from flowclass.bench.machine import describe
    from flowclass.traces.files import atomic_file

    if not plots:
        return
    machine = describe()
    title, x_label, y_label = labels
    spread = "; medians, lowest and highest" if any(len(p) > 2 for curve in curves.values() for p in curve) else ""
    where = f"{machine['processor']}, {machine['system']}{spread}"
    for plot in plots:
        with atomic_file(plot) as stream:
            stream.write(render(plot, curves, title=title, subtitle=where, x_label=x_label, y_label=y_label))


def _print_results(
    what: str,
    results: Sequence[Any],
    form: tuple[bool, bool],
    notes: Sequence[str],
    machine: Mapping[str, Any],
    tables: Callable[[Sequence[Any]], list[Any]],
) -> None:
    for note in notes:
        warn(note)
    as_json, as_csv = form
    if as_csv:
        _csv(results)
        return
    if as_json:
        document = {"bench": what, "machine": machine, "results": [result.as_dict() for result in results]}
        click.echo(json.dumps(document, indent=1))
        return
    console = make_console()
    for table in tables(results):
        console.print(table)
    runs = ", ".join(str(k) for k in machine["kernels"])
    console.print(f"{machine['processor']}, {machine['processors']} processors, {machine['system']}; kernels {runs}")


def _csv(results: Sequence[Any]) -> None:
    """Prints a line per figure: what was measured, the figure's name, its value, the lowest and the highest."""
    texts = list(dict.fromkeys(k for r in results for k, v in r.as_dict().items() if isinstance(v, str)))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*texts, "figure", "value", "low", "high"])
    for result in results:
        document = result.as_dict()
        head = [document.get(text, "") for text in texts]
        for figure, values in _figures("", document):
            writer.writerow([*head, figure, *values])


def _figures(path: str, value: Any) -> Iterator[tuple[str, tuple[Any, Any, Any]]]:
    """The numbers of a result as (name, (value, low, high)); the figures of a peer are named after the peer."""
    if isinstance(value, dict) and set(value) == {"median", "low", "high"}:
        yield path, (value["median"], value["low"], value["high"])
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _figures(f"{path}.{name}" if path else name, inner)
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            name = inner.get("name", i) if isinstance(inner, dict) else i
            yield from _figures(f"{path}.{name}", inner)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, (value, "", "")
