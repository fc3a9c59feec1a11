"""Checks of a bindings file: flow bindings that can never match, ambiguous priorities, and other likely mistakes.

A rule is treated as a box, the product of one interval for each field. A field that a packet doesn't have counts as the
value -1, below all others. The interval of a field without a condition includes it; that of a condition doesn't, not
even if the condition allows all numbers. A flow can never match if the boxes of the flows before it cover its own box.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final, Literal

import numpy as np

from flowclass.engine.fields import BITS, FIELDS
from flowclass.engine.keys import RULE_DTYPE
from flowclass.wire.numbers import MOBILITY_HEADER, Protocol

from ..addresses import is_routable
from ..cache.node import Flow, Node
from .read import BindingsFile

__all__ = ["Finding", "check_bindings"]

Kind = Literal["unreachable", "overlap", "no-default", "unknown-bid", "address"]

# six bits of the traffic class are compared
_BITS: Final = {field.name: 6 if field.name == "traffic_class" else field.width for field in FIELDS}
_ORDER: Final = ("version", *_BITS)
_WITH_PORTS: Final = (Protocol.TCP, Protocol.UDP, Protocol.DCCP, Protocol.SCTP, Protocol.UDPLITE)
_NOT_ROUTABLE: Final = "no unicast routable address"
_MOST_BOXES: Final = 20_000
"""The search for covering flows gives up without a finding when the rest of a box has more pieces than this."""

_MOST_WORK: Final = 200_000
"""How many pieces are cut for all flows of a node together, which takes a second or two. After that, only single flows
that cover another one are searched."""

_MOST_NAMED: Final = 16
"""How many other flows the findings about a flow name; further ones are only counted."""

Box = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a bindings file that is probably a mistake."""

    file: str
    line: int | None
    kind: Kind
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.message}"


def check_bindings(found: BindingsFile) -> list[Finding]:
    """Return all findings: unknown BIDs, then those of each node in file order, with its flows in matching order."""
    findings = [Finding(found.file, e.line, "unknown-bid", f"{e.path}: {e.reason}") for e in found.unknown_bids]
    for number, node in enumerate(found.nodes):
        findings += _check_node(found, number, node)
    return findings


def _check_node(found: BindingsFile, number: int, node: Node) -> Iterator[Finding]:
    home = ip_address(node.home)
    yield from _addresses(found, number, node)

    def finding(kind: Kind, fid: int | None, message: str) -> Finding:
        line = found.line(f"node[{number}]") if fid is None else found.flow_line(number, fid)
        subject = f"node {home}" if fid is None else f"flow {fid} of {home}"
        return Finding(found.file, line, kind, f"{subject} {message}")

    if node.default is None:
        yield finding("no-default", None, "has no default binding: what no flow binding matches goes nowhere")
    yield from _check_flows(found, number, node, finding)


def _check_flows(
    found: BindingsFile, number: int, node: Node, finding: Callable[[Kind, int | None, str], Finding]
) -> Iterator[Finding]:
    flows = node.ordered()
    boxes = [_box(flow) for flow in flows]
    before = _Boxes(flows, boxes)
    for at, (flow, box) in enumerate(zip(flows, boxes, strict=True)):
        if (reason := _impossible(flow, box, node)) is not None:
            yield finding("unreachable", flow.fid, f"can never match: {reason}")
            continue
        touching = before.touching(at)
        if (culprits := _covering(at, touching, before)) is not None:
            shown = [f"flow {f.fid}{_line(found, number, f)}" for f in culprits[:_MOST_NAMED]]
            if len(culprits) > _MOST_NAMED:
                shown.append(f"{len(culprits) - _MOST_NAMED} more")
            verb = "matches" if len(culprits) == 1 else "match"
            yield finding(
                "unreachable", flow.fid,
                f"can never match: {' and '.join(shown)} before it {verb} everything that it does",
            )  # fmt: skip
            continue
        rivals = before.rivals(at, touching)
        for other in rivals[:_MOST_NAMED]:
            yield finding(
                "overlap", flow.fid,
                f"overlaps with flow {other.fid}{_line(found, number, other)}: both have PRI {flow.priority},"
                f" so the lower FID decides",
            )  # fmt: skip
        if len(rivals) > _MOST_NAMED:
            more = len(rivals) - _MOST_NAMED
            yield finding("overlap", flow.fid, f"overlaps with {more} more flows that have PRI {flow.priority}")
        before.add(at)


class _Boxes:
    """The boxes of the flows of one node in matching order, as arrays, so that a flow is compared with all before it.

    Each bound is replaced by its rank among all bounds of its field: only the order counts, and 128 bits would not fit
    into an array element.
    """

    def __init__(self, flows: list[Flow], boxes: list[Box]) -> None:
        self.flows = flows
        self.boxes = boxes
        sides = range(len(_ORDER))
        ranks = [
            {bound: rank for rank, bound in enumerate(sorted({bound for box in boxes for bound in box[side]}))}
            for side in sides
        ]
        shape = (len(_ORDER), len(boxes))
        self.first, self.last = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        for side in sides:
            self.first[side] = [ranks[side][box[side][0]] for box in boxes]
            self.last[side] = [ranks[side][box[side][1]] for box in boxes]
        effects: dict[tuple[int, tuple[int, ...]], int] = {}
        self.effect = np.array([effects.setdefault(_effect(flow), len(effects)) for flow in flows], np.int32)
        self.priority = np.array([flow.priority for flow in flows], np.int32)
        self.there = np.zeros(len(boxes), bool)
        self.work = _MOST_WORK
        # a field with the same interval in all boxes separates none of them
        self.sides = [side for side in sides if len({box[side] for box in boxes}) > 1]

    def add(self, at: int) -> None:
        """Note that the flow at this position can match packets, so that it counts for the flows after it."""
        self.there[at] = True

    def touching(self, at: int) -> Any:
        """Return the positions of the earlier flows whose boxes overlap with that of the flow at ``at``."""
        found = np.flatnonzero(self.there[:at])
        for side in self.sides:
            first, last = self.first[side], self.last[side]
            found = found[(first[found] <= last[at]) & (last[found] >= first[at])]
        return found

    def around(self, at: int, touching: Any) -> Flow | None:
        """Return the first of the ``touching`` flows whose box contains that of the flow at ``at``, or None."""
        first, last = self.first[:, touching], self.last[:, touching]
        holds = np.all((first <= self.first[:, [at]]) & (last >= self.last[:, [at]]), axis=0)
        return self.flows[touching[int(holds.argmax())]] if holds.any() else None

    def rivals(self, at: int, touching: Any) -> list[Flow]:
        """Return the ``touching`` flows that have the same PRI, but another action or other BIDs."""
        same = (self.priority[touching] == self.priority[at]) & (self.effect[touching] != self.effect[at])
        return [self.flows[place] for place in touching[same]]


def _addresses(found: BindingsFile, number: int, node: Node) -> Iterator[Finding]:
    """Find addresses that a binding update couldn't register (RFC 6275 sections 9.3.1, 9.5.1), or that lead nowhere."""
    home = ip_address(node.home)
    own = [("home_address", node.home)] + [("ipv4_home_address", address) for address in node.also]
    for key, packed in own:
        if not is_routable(packed):
            line = found.line(f"node[{number}].{key}")
            yield Finding(
                found.file, line, "address", f"node {home} has {_NOT_ROUTABLE} as {key}: {ip_address(packed)}"
            )
    for i, entry in enumerate(node.care_of.values()):  # in file order
        line = found.line(f"node[{number}].care_of[{i}].address")
        subject = f"BID {entry.bid} of {home} has"
        if not is_routable(entry.address):
            given = ip_address(entry.address)
            yield Finding(found.file, line, "address", f"{subject} {_NOT_ROUTABLE} as care-of address: {given}")
        elif entry.address in (node.home, *node.also):
            yield Finding(found.file, line, "address", f"{subject} the node's own home address as care-of address")


def _line(found: BindingsFile, number: int, flow: Flow) -> str:
    line = found.flow_line(number, flow.fid)
    return "" if line is None else f" (line {line})"


def _effect(flow: Flow) -> tuple[int, tuple[int, ...]]:
    return flow.action, flow.bids


def _box(flow: Flow) -> Box:
    row = np.frombuffer(flow.rule, dtype=RULE_DTYPE)[0]
    version = int(row["version"])
    sides = [(version or 4, version or 6)]
    for name, bits in _BITS.items():
        if int(row["conditions"]) & BITS[name]:
            sides.append((_number(row[f"{name}_first"], name), _number(row[f"{name}_last"], name)))
        else:
            sides.append((-1, (1 << bits) - 1))
    return tuple(sides)


def _number(value: Any, name: str) -> int:
    if _BITS[name] == 128:
        return int(value[0]) << 64 | int(value[1])
    return int(value) >> 2 if name == "traffic_class" else int(value)


def _impossible(flow: Flow, box: Box, node: Node) -> str | None:
    """Return why no packet to the node can meet the conditions of a flow, or None if one can."""
    sides = dict(zip(_ORDER, box, strict=True))
    asked = {name for name in _BITS if sides[name][0] >= 0}
    first, last = sides["protocol"]
    if (first, last) == (MOBILITY_HEADER, MOBILITY_HEADER):
        return "packets with a Mobility Header are signalling, which no flow binding is asked about"
    ports = asked & {"source_port", "destination_port"}
    if ports and "spi" in asked:
        return "no packet has both ports and an SPI"
    if ports and not any(first <= p <= last for p in _WITH_PORTS):
        return "it asks for a port, but its protocol has none"
    if "spi" in asked and not first <= Protocol.ESP <= last:
        return "it asks for an SPI, but its protocol is not ESP"
    if "flow_label" in asked and sides["version"] == (4, 4):
        return "IPv4 has no flow label"
    if "destination" in asked and not _reaches(node, sides["version"][0], sides["destination"]):
        return "its destination is none of the node's addresses or prefixes"
    low, high = sides["version"]
    if low == high and not _reaches(node, low, (0, (1 << 128) - 1)):
        return f"the node has no IPv{low} address or prefix"
    return None


def _reaches(node: Node, version: int, destination: tuple[int, int]) -> bool:
    size = 4 if version == 4 else 16
    own = [(int.from_bytes(a, "big"), 0) for a in (node.home, *node.also) if len(a) == size]
    own += [(int.from_bytes(n, "big"), 8 * size - length) for n, length in node.prefixes if len(n) == size]
    return any(destination[0] <= first + (1 << free) - 1 and first <= destination[1] for first, free in own)


def _meet(a: Box, b: Box) -> bool:
    return all(x[0] <= y[1] and y[0] <= x[1] for x, y in zip(a, b, strict=True))


def _covering(at: int, touching: Any, boxes: _Boxes) -> list[Flow] | None:
    """Return the flows that together cover the box, a single one if possible; None if they don't, or it is unclear."""
    alone = boxes.around(at, touching)
    if alone is not None:
        return [alone]
    left, used = [boxes.boxes[at]], list[Flow]()
    for place in touching.tolist():
        boxes.work -= len(left)
        if boxes.work < 0:
            return None
        rest = [piece for part in left for piece in _minus(part, boxes.boxes[place])]
        if rest != left:
            used.append(boxes.flows[place])
        left = rest
        if not left:
            return used
        if len(left) > _MOST_BOXES:
            return None
    return None


def _minus(box: Box, other: Box) -> list[Box]:
    """Return the part of ``box`` outside of ``other``, as boxes that don't overlap."""
    if not _meet(box, other):
        return [box]
    pieces: list[Box] = []
    rest = list(box)
    for i, ((first, last), (low, high)) in enumerate(zip(box, other, strict=True)):
        if first < low:
            pieces.append((*rest[:i], (first, low - 1), *rest[i + 1 :]))
        if last > high:
            pieces.append((*rest[:i], (high + 1, last), *rest[i + 1 :]))
        rest[i] = (max(first, low), min(last, high))
    return pieces
