"""The answers of a running home agent, and in part of other agents, to `flowclass ctl`, as plain data."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_address
from math import inf
from typing import Any, Final, Protocol

from flowclass import __version__
from flowclass.addresses import address_text
from flowclass.errors import FlowclassError
from flowclass.mobility import DISCARD, NCAST, CareOf, Flow, HomeAgent, Node
from flowclass.mobility.agent.agent import Agent
from flowclass.mobility.bindings_file.write import plain_node, plain_selector
from flowclass.wire.numbers import RevocationTrigger

from .config import AgentConfig
from .logs import Log

__all__ = ["Latencies", "Service", "answer", "flows", "nodes"]

_ACTIONS: Final = {DISCARD: "discard", NCAST: "n-cast"}
_BOUNDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class Latencies:
    """A histogram of the time from the arrival of an update at the control plane to the sending of its acknowledgement.

    Counts are by upper bound in seconds, as in a Prometheus histogram.
    """

    def __init__(self) -> None:
        self.counts: list[int] = [0] * (len(_BOUNDS) + 1)
        self.sum: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(_BOUNDS, seconds)] += 1
        self.sum += seconds

    def as_dict(self) -> dict[str, Any]:
        buckets = {str(bound): count for bound, count in zip((*_BOUNDS, inf), self.counts, strict=True)}
        return {"count": sum(self.counts), "sum": self.sum, "buckets": buckets}


class HasCache(Protocol):
    """A service with a binding cache."""

    @property
    def agent(self) -> Agent: ...


class Service(Protocol):
    """The attributes of a running home agent that the answers need."""

    @property
    def config(self) -> AgentConfig: ...
    @property
    def agent(self) -> HomeAgent: ...
    @property
    def forwarder(self) -> Any: ...
    @property
    def ignored(self) -> Counter[str]: ...
    @property
    def latencies(self) -> Latencies: ...
    @property
    def started(self) -> float: ...

    drained: bool

    @property
    def log(self) -> Log: ...
    def reload(self) -> FlowclassError | None: ...
    def revoke(self, home: bytes, bids: Sequence[int], trigger: int) -> bool: ...


def load() -> None:
    """Import what some answers need, and what an agent that starts doesn't wait for otherwise, because it is much."""
    from flowclass.traces import explain  # noqa: F401 (loading it is the purpose)

    from . import nftables  # noqa: F401 (likewise)


def answer(service: Service, request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to one request; FlowclassError if it can't be answered."""
    command = request.get("command")
    handler = _ANSWERS.get(command) if isinstance(command, str) else None
    if handler is None:
        raise FlowclassError(f"command: one of {', '.join(_ANSWERS)} expected, got {command!r}")
    found: dict[str, Any] = handler(service, request)
    return found


def _left(time_: float, now: float) -> float | None:
    return None if time_ == inf else round(max(time_ - now, 0.0), 3)


def _care_of(entry: CareOf, now: float) -> dict[str, Any]:
    found = {
        "bid": entry.bid,
        "address": address_text(entry.address),
        "priority": entry.priority,
        "home": entry.home,
        "left": _left(entry.expires, now),
    }
    return found


def _node(node: Node, now: float) -> dict[str, Any]:
    default = node.default
    return {
        "home_address": address_text(node.home),
        "also": [address_text(address) for address in node.also],
        "prefixes": [f"{address_text(network)}/{length}" for network, length in node.prefixes],
        "profile": node.profile,
        "sequence": node.sequence,
        "default_bid": None if default is None else default.bid,
        "care_of": [_care_of(entry, now) for entry in node.care_of.values()],
        "flows": len(node.flows),
    }


def _flow(flow: Flow, node: Node, now: float) -> dict[str, Any]:
    return {
        "fid": flow.fid,
        "pri": flow.priority,
        "action": _ACTIONS.get(flow.action, "forward"),
        "bids": list(flow.bids),
        "active": node.active(flow),
        "left": _left(flow.expires, now),
        "selector": plain_selector(flow.rule),
    }


def _find(service: HasCache, request: dict[str, Any]) -> Node:
    text = request.get("home")
    try:
        packed = ip_address(str(text)).packed
    except ValueError:
        raise FlowclassError(f"{text!r} is no IP address") from None
    cache = service.agent.cache
    node = cache.get(packed) or cache.get(cache.owners.get((packed, 8 * len(packed)), b""))
    if node is None:
        raise FlowclassError(f"{text} has no binding")
    return node


def nodes(service: HasCache, request: dict[str, Any]) -> dict[str, Any]:
    """Return all mobile nodes of a service, with their care-of addresses."""
    now = time.monotonic()
    return {"nodes": [_node(node, now) for node in service.agent.cache]}


def flows(service: HasCache, request: dict[str, Any]) -> dict[str, Any]:
    """Return the flow bindings of the node that ``home`` names, in the order in which they are tried."""
    node, now = _find(service, request), time.monotonic()
    return {"home_address": address_text(node.home), "flows": [_flow(flow, node, now) for flow in node.ordered()]}


def flow_counters(service: Service) -> list[dict[str, Any]]:
    """Return the packets and octets by node and flow; ``kind`` is flow, default, signalling or reverse."""
    rows = service.forwarder.flows()
    table = service.agent.table
    homes: dict[int, str | None] = {}
    for node in set(rows["node"].tolist()):
        home = table.home_address(node)
        homes[node] = None if home is None else address_text(home)
    kinds = service.forwarder.KINDS
    return [
        {
            "home_address": homes[int(row["node"])],
            "kind": kinds[int(row["kind"])],
            "fid": int(row["fid"]) if kinds[int(row["kind"])] == "flow" else None,
            "packets": int(row["packets"]),
            "octets": int(row["octets"]),
        }
        for row in rows
        if homes[int(row["node"])] is not None
    ]


def _counters(service: Service, request: dict[str, Any]) -> dict[str, Any]:
    forwarding = dict(service.forwarder.counters())
    forwarding["drops"] = {reason: count for reason, count in forwarding["drops"].items() if count}
    del forwarding["drop_octets"]
    forwarding["flows"] = flow_counters(service)
    updates = service.agent.counters.as_dict()
    updates["ignored"] = {**updates["ignored"], **service.ignored}
    return {
        "forwarding": forwarding,
        "updates": updates,
        "latency": service.latencies.as_dict(),
        "nodes": len(service.agent.cache),
    }


def _status(service: Service, request: dict[str, Any]) -> dict[str, Any]:
    config = service.config
    return {
        "version": __version__,
        "pid": os.getpid(),
        "uptime": round(time.monotonic() - service.started, 3),
        "profile": config.profile,
        "home_agent": str(config.home_agent),
        "store": None if config.store is None else str(config.store),
        "drained": service.drained,
    }


def _why(service: Service, request: dict[str, Any]) -> dict[str, Any]:
    text = request.get("packet")
    try:
        packet = bytes.fromhex(str(text))
    except ValueError:
        raise FlowclassError("packet: the octets of an IP packet, hexadecimal, expected") from None
    from flowclass.traces.explain import explain_packet

    return {"explanation": explain_packet(service.agent, packet).to_dict()}


def _drain(service: Service, request: dict[str, Any]) -> dict[str, Any]:
    service.drained = request.get("end") is not True
    service.log.warning("drained: no further mobile nodes are taken on" if service.drained else "no longer drained")
    return {"drained": service.drained, "nodes": len(service.agent.cache)}


def _dump(service: Service, request: dict[str, Any]) -> dict[str, Any]:
    return {"bindings": dump(service.agent)}


def _revoke(service: Service, request: dict[str, Any]) -> dict[str, Any]:
    node = _find(service, request)
    bids = request.get("bids") or []
    if not isinstance(bids, list) or not all(isinstance(bid, int) for bid in bids):
        raise FlowclassError("bids: a list of binding identifiers expected")
    may_return = request.get("may_return") is True
    trigger = RevocationTrigger.UNSPECIFIED if may_return else RevocationTrigger.ADMINISTRATIVE
    gone = list(dict.fromkeys(bids)) or list(node.care_of)
    told = service.revoke(node.home, bids, trigger)
    service.log.warning("revoked", home=address_text(node.home), bids=" ".join(map(str, gone)), told=told)
    return {"home_address": address_text(node.home), "bids": gone, "told": told}


def _rules(service: Service, request: dict[str, Any]) -> dict[str, Any]:
    from .nftables import mark_rules, nft_rules

    node = _find(service, request)
    return {"home_address": address_text(node.home), "nft": nft_rules(node), "ip": mark_rules(node)}


def _events(service: Service, request: dict[str, Any]) -> dict[str, Any]:
    return {"events": list(service.log.recent)}


def dump(agent: HomeAgent) -> dict[str, Any]:
    """The cache as a bindings file in JSON: what `flowclass classify`, `report` and `check` take.

    Such a file has neither lifetimes nor inactive flows; a binding without a BID is written with BID 1.
    """
    return {"profile": agent.profile.name, "node": [plain_node(node) for node in agent.cache]}


def _reload(service: Service, request: dict[str, Any]) -> dict[str, Any]:
    refused = service.reload()
    if refused is not None:
        raise refused
    return {}


_ANSWERS: Final = {
    "status": _status,
    "nodes": nodes,
    "flows": flows,
    "counters": _counters,
    "why": _why,
    "reload": _reload,
    "revoke": _revoke,
    "rules": _rules,
    "drain": _drain,
    "dump": _dump,
    "events": _events,
}
