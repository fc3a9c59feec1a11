"""``flowclass lookup``: prints which rule each packet header matches, to compare another classifier with this one."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import click

from flowclass.cli._console import warn

HEADER_FIELDS = ("source", "destination", "source_port", "destination_port", "protocol")


@click.command(name="lookup")
@click.argument("rules", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="RULES")
@click.argument("trace", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="TRACE")
@click.option(
    "--header",
    "headers",
    multiple=True,
    nargs=5,
    metavar="SOURCE DESTINATION SPORT DPORT PROTOCOL",
    help="A packet in place of TRACE. May be repeated.",
)
@click.option("--kernel", default="auto", show_default=True, help="How to look up; all give the same answers.")
@click.option("--all", "every", is_flag=True, help="All rules that match, the first one first, found one by one.")
def command(
    rules: Path,
    trace: Path | None,
    headers: tuple[tuple[str, str, str, str, str], ...],
    kernel: str,
    every: bool,
) -> None:
    """Show which rule of RULES each packet header of TRACE gets: one line of .csv for each.

    RULES is a ClassBench filter set, or OpenFlow rules as ClassBench-ng writes them; TRACE has source, destination, two
    ports and protocol in each line (ClassBench's traces, or your own). Rules count from 0; -1: none matches.
    """
    import numpy as np

    from flowclass.bench.linear import first_match
    from flowclass.engine.classbench import read_classbench, read_trace
    from flowclass.engine.classifier import Classifier
    from flowclass.engine.keys import make_keys
    from flowclass.errors import FlowclassError

    if bool(trace) == bool(headers):
        raise click.UsageError("either TRACE or --header")
    left_out: set[str] = set()
    found = read_classbench(rules, left_out=left_out)
    if not len(found):
        raise FlowclassError(f"{rules}: no rules")
    if left_out:
        warn(f"{rules}: rules are read without {', '.join(sorted(left_out))}, which no packet's IP header has")
    if trace is not None:
        keys, _ = read_trace(trace, version=int(found["version"].max()))
    else:
        keys = np.concatenate([make_keys(**_fields(header)) for header in headers])
    answers = Classifier(found).classify(keys, kernel=kernel)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["packet", "rules" if every else "rule"])
    for number, answer in enumerate(answers.tolist()):
        text = str(answer)
        if every:
            matching = [
                i for i in range(len(found)) if first_match(found[i : i + 1], keys[number : number + 1])[0] == 0
            ]
            text = " ".join(map(str, matching)) or "-1"
        writer.writerow([number, text])


def _fields(header: tuple[str, ...]) -> dict[str, Any]:
    try:
        numbers = [int(text, 0) for text in header[2:]]
    except ValueError:
        raise click.UsageError(f"--header: two ports and a protocol expected, not {' '.join(header[2:])}") from None
    version = 6 if ":" in header[0] else 4
    return {"version": version, **dict(zip(HEADER_FIELDS, (*header[:2], *numbers), strict=True))}
