"""The flow bindings of a mobile node as nftables rules, for data planes of the kernel's own.

Each packet to the node gets a mark: the BID that its flow binding or the default binding selects. `ip rule` then leads
each mark to the routing table of its tunnel. What nftables can't do is said in comments: it sends no copies, so that
n-cast goes to the first BID alone, and of several BIDs it takes the first.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from types import TracebackType
from typing import Final

from flowclass.addresses import address_text
from flowclass.engine.rules import describe_rule
from flowclass.errors import FlowclassError
from flowclass.mobility import DISCARD, NCAST, Flow, Node
from flowclass.wire.numbers import MOBILITY_HEADER, Protocol

from .network import Network

__all__ = ["KernelRules", "mark_rules", "nft_rules", "run_nft"]

_WITH_PORTS: Final = ", ".join(
    str(p.value) for p in (Protocol.TCP, Protocol.UDP, Protocol.DCCP, Protocol.SCTP, Protocol.UDPLITE)
)
_RULE_PRIORITY: Final = 4192
_FAMILY: Final = {4: "ip", 6: "ip6"}


def nft_rules(node: Node) -> str:
    """Return a table of nftables that replaces the one of this node, if it is there: input for ``nft -f -``."""
    name = _table(node.home)
    lines = [f"table inet {name}", f"delete table inet {name}", f"table inet {name} {{", "    chain node {"]
    default = node.default
    mark = None if default is None else f"counter meta mark set {default.bid} accept"
    if mark is not None:
        lines.append(f'        meta l4proto {MOBILITY_HEADER} {mark} comment "signalling"')
        lines.append(f'        icmpv6 type 144-147 {mark} comment "signalling"')
    for flow in node.ordered():
        if node.active(flow):
            lines += [f"        {line}" for line in _flow_lines(flow, node)]
    if mark is not None:
        lines.append(f'        {mark} comment "default"')
    lines += ["    }", "    chain forward {", "        type filter hook prerouting priority mangle; policy accept;"]
    for address, length in [*((a, 8 * len(a)) for a in (node.home, *node.also)), *node.prefixes]:
        family = _FAMILY[6 if len(address) == 16 else 4]
        lines.append(f"        {family} daddr {address_text(address)}/{length} jump node")
    return "\n".join([*lines, "    }", "}", ""])


def mark_rules(node: Node) -> str:
    """Return the ``ip rule`` commands that lead the marks of `nft_rules` to routing tables of the same numbers."""
    return "".join(f"ip -6 rule add fwmark {bid} lookup {bid}\n" for bid in sorted(node.care_of) if bid)


class KernelRules:
    """The rules of `nft_rules` and `mark_rules`, applied in the network namespace of the caller until `close`.

    nftables are changed by the program ``nft``, routing rules by netlink (pyroute2). Several nodes share the routing
    rules, since a mark is a BID: the routing table of that number has a route for each home address. Raises
    FlowclassError with the reason if the kernel refuses something. The caller applies a node again when it
    has changed, for example in a listener of its binding cache.
    """

    def __init__(self) -> None:
        self._network = Network()
        self._marks: dict[bytes, set[tuple[int, int]]] = {}  # home address -> IP versions and marks of routing rules

    def apply(self, node: Node) -> None:
        """Replace the rules of this node by those of its present state, in one transaction of nftables."""
        run_nft(nft_rules(node))
        versions = {6} | {
            4 for address in (*node.also, *(network for network, _ in node.prefixes)) if len(address) == 4
        }
        self._lead(node.home, {(version, bid) for version in versions for bid in node.care_of if bid})

    def remove(self, home: bytes) -> None:
        """Remove the rules of the node with this home address (packed)."""
        if home in self._marks:
            table = f"table inet {_table(home)}"
            run_nft(f"{table}\ndelete {table}\n")  # also if something else, such as a new firewall, has removed it
            self._lead(home, set())
            del self._marks[home]

    def _lead(self, home: bytes, wanted: set[tuple[int, int]]) -> None:
        before = set().union(*self._marks.values())
        self._marks[home] = wanted
        after = set().union(*self._marks.values())
        for version, mark in sorted(after - before):
            self._network.add_rule(version, table=mark, priority=_RULE_PRIORITY, mark=mark)
        for version, mark in sorted(before - after):
            self._network.remove_rule(version, table=mark, priority=_RULE_PRIORITY, mark=mark)

    def close(self) -> None:
        for home in list(self._marks):
            self.remove(home)
        self._network.close()

    def __enter__(self) -> KernelRules:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def run_nft(text: str) -> None:
    """Have ``nft`` carry out commands, all or none; FlowclassError with its first line if it refuses."""
    try:
        done = subprocess.run(["nft", "-f", "-"], input=text, capture_output=True, text=True)
    except OSError as error:
        raise FlowclassError(f"nft: {error.strerror}") from None
    if done.returncode:
        raise FlowclassError(f"nft: {(done.stderr.strip() or 'failed').splitlines()[0]}")


def _table(home: bytes) -> str:
    return "flowclass_" + home.hex()


def _flow_lines(flow: Flow, node: Node) -> Iterator[str]:
    bids = [bid for bid in flow.bids if bid in node.care_of]
    if flow.action == DISCARD:
        verdict = "counter drop"
    else:
        if len(bids) > 1:
            how = "copies to each" if flow.action == NCAST else "one for each connection"
            yield f"# flow {flow.fid}: BIDs {' '.join(map(str, bids))}, {how}; nftables takes the first"
        verdict = f"counter meta mark set {bids[0]} accept"
    ranges = describe_rule(flow.rule)
    version = ranges.pop("version")
    for family in (6, 4):
        if version in (0, family) and (family == 6 or "flow_label" not in ranges):
            match = " ".join(_matches(dict(ranges), family))
            yield f'{match} {verdict} comment "flow {flow.fid}"'


def _matches(ranges: dict[str, int | tuple[int, int]], version: int) -> Iterator[str]:
    """The conditions of a rule; one on a field that a packet lacks fails, as in the engine."""
    family, kind = _FAMILY[version], IPv6Address if version == 6 else IPv4Address
    yield f"meta nfproto ipv{version}"
    for name, value in ranges.items():
        first, last = value if isinstance(value, tuple) else (value, value)
        if name in ("source", "destination"):
            yield f"{family} {'saddr' if name == 'source' else 'daddr'} {_range(kind(first), kind(last))}"
        elif name in ("source_port", "destination_port"):
            port = "sport" if name == "source_port" else "dport"
            yield f"meta l4proto {{ {_WITH_PORTS} }} th {port} {_range(first, last)}"
        elif name == "spi":
            yield f"meta l4proto {Protocol.ESP.value} esp spi {_range(first, last)}"
        elif name == "traffic_class":
            yield f"{family} dscp {_range(first >> 2, last >> 2)}"
        elif name == "flow_label":
            yield f"ip6 flowlabel {_range(first, last)}"
        else:
            yield f"meta l4proto {_range(first, last)}"


def _range(first: object, last: object) -> str:
    return str(first) if first == last else f"{first}-{last}"
