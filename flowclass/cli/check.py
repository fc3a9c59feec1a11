"""``flowclass check``."""

from __future__ import annotations

import json
import os

import click

from ._console import counted


@click.command("check", short_help="Examine a bindings file.")
@click.argument("bindings_file", type=click.Path(), metavar="FILE")
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    metavar="OUT",
    help="The bindings again, as a .json, .npz or .parquet file: for very many nodes.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(bindings_file: str, output: str | None, as_json: bool) -> int:
    """Examines a bindings file (.toml, .json, .npz, .parquet) for what is probably not meant.

    Reported, each with its line: flow bindings that can never match, because others before them match everything that
    they do or because no packet can have what they ask for; flow bindings that overlap with equal PRI; BIDs that the
    node does not have; nodes without a default binding; home and care-of addresses that are not unicast and routable,
    or the same. Exit status 1 says that something was found. With -o the bindings are also written in another form;
    unknown BIDs are not in it.
    """
    from flowclass.mobility.bindings_file import read_bindings
    from flowclass.mobility.bindings_file.check import check_bindings

    found = read_bindings(bindings_file, lenient=True)
    findings = check_bindings(found)
    if output is not None:
        from flowclass.mobility.bindings_file.write import WRITTEN, write_bindings
        from flowclass.traces.files import atomic_file, check_apart

        ending = os.path.splitext(output)[1].lower()
        if ending not in WRITTEN:
            raise click.UsageError(f"{output}: expected a name that ends in {', '.join(WRITTEN)}")
        check_apart(output, (bindings_file,))
        with atomic_file(output) as stream:
            write_bindings(stream, ending, found.nodes, found.profile)
    flows = sum(len(node.flows) for node in found.nodes)
    if as_json:
        listed = [{"line": f.line, "kind": f.kind, "message": f.message} for f in findings]
        click.echo(json.dumps({"file": bindings_file, "nodes": len(found.nodes), "flows": flows, "findings": listed}))
    else:
        for finding in findings:
            click.echo(str(finding))
        if not findings:
            size = f"{counted(len(found.nodes), 'node')} and {counted(flows, 'flow')}"
            click.echo(f"{bindings_file}: nothing to complain about in {size}")
    return 1 if findings else 0
