"""How a packet is decided (docs/interfaces.md, rules 1 to 6), written a second time: lists, loops, nothing clever."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import oracle

from flowclass.engine.keys import RULE_DTYPE
from flowclass.mobility import BindingCache

NONE, FORWARD, DISCARD, NCAST = 0, 1, 2, 3
NOT_IP, MALFORMED, UNBOUND, SIGNALLING, FLOW, DEFAULT = range(6)

Flow = tuple[int, int, tuple[int, ...], Any]


@dataclass
class Node:
    """The arguments of one ForwardingTable.publish."""

    home: bytes
    also: tuple[bytes, ...] = ()
    prefixes: tuple[tuple[bytes, int], ...] = ()
    targets: tuple[tuple[int, bytes], ...] = ()
    default: int = -1
    flows: tuple[Flow, ...] = ()
    rules: tuple[Any, ...] = ()  # of the flows, as strategies.Rule: keys are aimed at their edges

    def publish(self, table: Any) -> int:
        number: int = table.publish(
            self.home,
            also=self.also,
            prefixes=self.prefixes,
            targets=self.targets,
            default=self.default,
            flows=[(fid, action, indices, bytes(rule)) for fid, action, indices, rule in self.flows],
        )
        return number


@dataclass(frozen=True)
class Answer:
    """``one_of``: forward goes to one of these (BID, address); ``all_of``: the addresses that n-cast goes to."""

    action: int
    reason: int
    home: bytes | None = None
    fid: int | None = None
    one_of: tuple[tuple[int, bytes], ...] = ()
    all_of: tuple[bytes, ...] = field(default=())


def destination(key: Any) -> bytes | None:
    """The destination of a key as packed octets."""
    if not key["present"] & oracle.BITS["destination"] or key["version"] not in (4, 6):
        return None
    number = int(key["destination"][0]) << 64 | int(key["destination"][1])
    return number.to_bytes(16, "big") if key["version"] == 6 else (number & 0xFFFFFFFF).to_bytes(4, "big")


def stays_on_link(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Link-local addresses and multicast of the link's scope are in nobody's prefix."""
    networks = ["169.254.0.0/16", "224.0.0.0/24", "255.255.255.255/32", "fe80::/10"]
    networks += [f"ff{flags:x}{scope}::/16" for flags in range(16) for scope in range(3)]
    return any(address in ipaddress.ip_network(network) for network in networks)


def find(nodes: Iterable[Node], address: bytes) -> Node | None:
    """The node of an address: exactly, else by the longest prefix."""
    nodes = list(nodes)
    for node in nodes:
        if address == node.home or address in node.also:
            return node
    if stays_on_link(ipaddress.ip_address(address)):
        return None
    best, longest = None, -1
    for node in nodes:
        for network, length in node.prefixes:
            if len(network) == len(address) and length > longest:
                text = f"{ipaddress.ip_address(network)}/{length}"
                if ipaddress.ip_address(address) in ipaddress.ip_network(text):
                    best, longest = node, length
    return best


def decide(nodes: Iterable[Node], key: Any, *, signalling: bool | None = None) -> Answer:
    """What becomes of a packet; ``signalling`` None: a bare key, for which protocol 135 says it."""
    address = destination(key)
    node = find(nodes, address) if address is not None else None
    if node is None:
        return Answer(NONE, UNBOUND)
    if not node.targets:
        return Answer(NONE, UNBOUND, node.home)
    by_default = Answer(FORWARD, DEFAULT, node.home, one_of=(node.targets[node.default],))
    if node.default < 0:
        by_default = Answer(NONE, UNBOUND, node.home)
    if signalling is None:
        signalling = bool(key["present"] & oracle.BITS["protocol"]) and key["protocol"] == 135
    if signalling:  # goes to the default binding, whatever the flows say
        return replace(by_default, reason=SIGNALLING) if by_default.action == FORWARD else by_default
    for fid, action, indices, rule in node.flows:
        if (action == DISCARD or indices) and oracle.matches(rule, key):
            chosen = [node.targets[i] for i in indices]
            if action == DISCARD:
                return Answer(DISCARD, FLOW, node.home, fid)
            if action == NCAST:
                return Answer(NCAST, FLOW, node.home, fid, all_of=tuple(dict.fromkeys(a for _, a in chosen)))
            return Answer(FORWARD, FLOW, node.home, fid, one_of=tuple(chosen))
    return by_default


def agrees(table: Any, decision: Any, answer: Answer) -> bool:
    """Is a decision of the table what the answer says, field by field?"""
    flags = int(decision["flags"])
    care_of = table.care_of(decision)
    same = (
        int(decision["action"]) == answer.action
        and int(decision["reason"]) == answer.reason
        and table.home_address(decision) == answer.home
        and bool(flags & 4) == (answer.home is not None)
        and bool(flags & 1) == (answer.fid is not None)
        and int(decision["fid"]) == (answer.fid or 0)
        and int(decision["n_targets"]) == len(care_of)
    )
    first = bytes(decision["care_of"])
    if care_of:
        same = same and bool(flags & 8) == (len(care_of[0]) == 4) and first == care_of[0].ljust(16, b"\0")
    else:
        same = same and not flags & 8 and first == bytes(16)
    if answer.action == FORWARD:
        bid = int(decision["bid"])
        return same and bool(flags & 2) == (bid != 0) and (bid, care_of[0]) in answer.one_of
    return same and not flags & 2 and decision["bid"] == 0 and care_of == answer.all_of


def reading(cache: BindingCache) -> list[Node]:
    """The cache as lists, read from its entries alone."""
    nodes = []
    for node in cache:
        targets = [(entry.bid, entry.address) for entry in node.care_of.values()]
        best = sorted((c.priority if c.priority else 1000, c.bid) for c in node.care_of.values())
        default = [b for b, _ in targets].index(best[0][1]) if best else -1
        flows = []
        for entry in sorted(node.flows.values(), key=lambda f: (f.priority, f.fid)):
            indices = tuple([b for b, _ in targets].index(b) for b in entry.bids if b in node.care_of)
            rule = np.frombuffer(entry.rule, RULE_DTYPE)[0]
            flows.append((entry.fid, entry.action, () if entry.action == DISCARD else indices, rule))
        nodes.append(Node(node.home, node.also, node.prefixes, tuple(targets), default, tuple(flows)))
    return nodes
