"""Writes nodes as a bindings file: as JSON, or as columns (.npz, .parquet) where they are very many."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import IO, Any, Final

from flowclass.addresses import address_text
from flowclass.engine.fields import ADDRESSES
from flowclass.engine.rules import Range, describe_rule
from flowclass.errors import BindingsFileError
from flowclass.wire.numbers import Action

from ..cache.node import Node
from .shapes import LISTS, SELECTOR

__all__ = ["WRITTEN", "plain_node", "plain_selector", "write_bindings"]

_ACTIONS: Final = {action.value: action.name.lower().replace("_", "-") for action in Action}

WRITTEN: Final = (".json", ".npz", ".parquet")
"""The endings of the files that `write_bindings` makes."""


def write_bindings(stream: IO[bytes], form: str, nodes: Iterable[Node], profile: str = "draft") -> None:
    """Write nodes to a binary stream, as a bindings file whose name has the ending ``form``, one of `WRITTEN`.

    Raises `BindingsFileError` if ``form`` is another one, or pyarrow is missing for .parquet.
    """
    plain = (plain_node(node) for node in nodes)
    if form == ".json":
        stream.write(f'{{"profile": "{profile}", "node": ['.encode())
        for number, node in enumerate(plain):
            stream.write(b",\n" if number else b"\n")
            stream.write(json.dumps(node).encode())
        stream.write(b"\n]}\n")
    elif form == ".npz":
        _write_npz(stream, plain, profile)
    elif form == ".parquet":
        _write_parquet(stream, plain, profile)
    else:
        raise BindingsFileError(f"expected a name that ends in {', '.join(WRITTEN)}", file=form)


def plain_node(node: Node) -> dict[str, Any]:
    """A node as a bindings file has it: ``[[node]]`` as plain data.

    What a bindings file can't say is left out: lifetimes, sequence numbers, that a node is at home, flows of which no
    BID is registered. A binding without a BID is written with BID 1.
    """
    plain: dict[str, Any] = {"home_address": address_text(node.home)}
    if node.also:
        plain["ipv4_home_address"] = address_text(node.also[0])
    if node.prefixes:
        plain["prefixes"] = [f"{address_text(network)}/{length}" for network, length in node.prefixes]
    plain["care_of"] = [
        {"bid": entry.bid or 1, "address": address_text(entry.address), "priority": entry.priority}
        for entry in node.care_of.values()
    ]
    plain["flow"] = []
    for flow in node.ordered():
        if not node.active(flow):
            continue
        shape: dict[str, Any] = {"fid": flow.fid, "pri": flow.priority}
        if node.profile == "draft":
            shape["action"] = _ACTIONS[flow.action]
        if bids := [bid or 1 for bid in flow.bids if bid in node.care_of]:
            shape["bids"] = bids
        if selector := plain_selector(flow.rule):
            shape["selector"] = selector
        plain["flow"].append(shape)
    return plain


def plain_selector(rule: bytes) -> dict[str, Any]:
    """A rule as a selector of a bindings file; empty for a wild card."""
    found = describe_rule(rule)
    version = found.pop("version")
    selector: dict[str, Any] = {}
    for name, pair in found.items():
        if isinstance(pair, tuple):
            first, last = pair
            if name in ADDRESSES:
                selector[name] = _addresses(pair, version == 4)
            else:
                selector[name] = first if first == last else f"{first}-{last}"
    return {**selector, "version": version} if version else selector


def _addresses(pair: Range, is_ipv4: bool) -> str:
    octets = 4 if is_ipv4 else 16
    first, last = (address_text(number.to_bytes(octets, "big")) for number in pair)
    if first == last:
        return first
    size = pair[1] - pair[0] + 1
    if size & (size - 1) == 0 and pair[0] % size == 0:
        return f"{first}/{8 * octets - size.bit_length() + 1}"
    return f"{first}-{last}"


def _write_npz(stream: IO[bytes], plain: Iterable[dict[str, Any]], profile: str) -> None:
    import numpy as np

    lists = {name: names for name, names in LISTS.items() if name != "prefixes"}
    found: dict[str, list[Any]] = {f"{name}.{column}": [] for name in lists for column in ("node", *lists[name])}
    found |= {"home_address": [], "ipv4_home_address": [], "prefixes.node": [], "prefixes.prefix": []}
    for number, node in enumerate(plain):
        found["home_address"].append(node["home_address"])
        found["ipv4_home_address"].append(node.get("ipv4_home_address", ""))
        for prefix in node.get("prefixes", ()):
            found["prefixes.node"].append(number)
            found["prefixes.prefix"].append(prefix)
        for name, names in lists.items():
            for row in node[name]:
                selector = row.get("selector", {})
                found[f"{name}.node"].append(number)
                for column in names:
                    key = column.removeprefix("selector.")
                    found[f"{name}.{column}"].append((row if key == column else selector).get(key, ""))
    bids = found.pop("flow.bids")
    most = max(map(len, bids), default=0)
    arrays: dict[str, Any] = {"profile": np.array(profile, np.bytes_)}
    for column, values in found.items():
        if any(value != "" for value in values) or column == "home_address":
            numbers = column.rpartition(".")[2] in ("node", "bid", "priority", "fid", "pri")
            arrays[column] = np.array(values, np.uint32 if numbers else np.bytes_)
    if found["flow.node"]:
        arrays["flow.bids"] = np.array([[*row, *[0] * (most - len(row))] for row in bids], np.uint16)
    np.savez(stream, **arrays)


_ROWS: Final = 1 << 14  # of a Parquet file at a time


def _write_parquet(stream: IO[bytes], plain: Iterator[dict[str, Any]], profile: str) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise BindingsFileError("Parquet takes pyarrow: pip install 'flowclass[parquet]'", file=".parquet") from None
    text, number = pa.string(), pa.uint16()
    chosen = pa.struct([(name, number if name == "version" else text) for name in SELECTOR])
    flow = [("fid", number), ("pri", number), ("action", text), ("bids", pa.list_(number)), ("selector", chosen)]
    care_of = [("bid", number), ("address", text), ("priority", number)]
    schema = pa.schema(
        [("home_address", text), ("ipv4_home_address", text), ("prefixes", pa.list_(text)),
         ("care_of", pa.list_(pa.struct(care_of))), ("flow", pa.list_(pa.struct(flow)))],
        {"profile": profile},
    )  # fmt: skip
    with pq.ParquetWriter(stream, schema) as writer:
        while rows := list(islice(plain, _ROWS)):
            for selector in (flow["selector"] for node in rows for flow in node["flow"] if "selector" in flow):
                selector.update((name, str(value)) for name, value in selector.items() if name != "version")
            writer.write_table(pa.Table.from_pylist(rows, schema))
