"""The whole cache as octets, and back: for a warm restart, or another process.

JSON. Times are seconds that are left, so that the clock of the process that reads it may start anywhere; null: for
ever. Octets are hexadecimal. Nothing is installed before everything has been checked.
"""

from __future__ import annotations

from math import inf
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from flowclass.engine.rules import WILD_CARD, describe_rule
from flowclass.errors import ClassifierError, FlowclassError
from flowclass.wire.octets import as_bytes
from flowclass.wire.profiles import get_profile

from ..arguments import later
from .binding_cache import BindingCache
from .node import DISCARD, NCAST, PLAIN, CareOf, Flow, Node

__all__ = ["decode_node", "encode_node", "export_cache", "import_cache"]

FORMAT: Final = 1

U16 = Annotated[int, Meta(ge=0, le=0xFFFF)]
Priority = Annotated[int, Meta(ge=0, le=0xFF)]
Hex = Annotated[str, Meta(pattern="^([0-9a-f]{2})*$")]
Seconds = Annotated[float, Meta(ge=0)]


class _CareOf(Struct, forbid_unknown_fields=True):
    bid: U16
    address: Hex
    priority: Priority
    left: Seconds | None
    ask: Seconds | None
    home: bool


class _Flow(Struct, forbid_unknown_fields=True):
    fid: U16
    priority: U16
    action: Annotated[int, Meta(ge=1, le=NCAST)]
    bids: list[U16]
    rule: Hex
    left: Seconds | None
    ask: Seconds | None


class _Node(Struct, forbid_unknown_fields=True):
    home: Hex
    profile: str
    care_of: list[_CareOf]
    flows: list[_Flow]
    sequence: U16 | None
    registration: bool
    router: bool | None
    prefixes: list[tuple[Hex, int]]
    also: list[Hex]
    agent: Hex
    memory: Seconds


class _Deleted(Struct, forbid_unknown_fields=True):
    home: Hex
    left: Seconds
    sequence: U16


class _Snapshot(Struct, forbid_unknown_fields=True):
    format: int
    nodes: list[_Node]
    deleted: list[_Deleted]


def export_cache(cache: BindingCache, now: float) -> bytes:
    """Everything in the cache that hasn't expired at `now`; open transactions aren't in it."""

    now = cache.advance(now)
    nodes = [_raw(node, now) for node in cache]
    deleted = [
        _Deleted(home.hex(), until - now, last) for home, (until, last) in cache.deleted().items() if until > now
    ]
    return msgspec.json.encode(_Snapshot(FORMAT, nodes, deleted))


def _raw(node: Node, now: float) -> _Node:
    """A node as it is written, without what has expired."""

    def left(time: float) -> float | None:
        return None if time == inf else max(time - now, 0.0)

    return _Node(
        node.home.hex(),
        node.profile,
        [
            _CareOf(c.bid, c.address.hex(), c.priority, left(c.expires), left(c.refresh_at), c.home)
            for c in node.care_of.values()
            if c.expires > now
        ],
        [
            _Flow(f.fid, f.priority, f.action, list(f.bids), f.rule.hex(), left(f.expires), left(f.refresh_at))
            for f in node.flows.values()
            if f.expires > now
        ],
        node.sequence,
        node.registration,
        node.router,
        [(network.hex(), length) for network, length in node.prefixes],
        [address.hex() for address in node.also],
        node.agent.hex(),
        node.memory,
    )


def encode_node(node: Node, now: float) -> bytes:
    """One node as octets, for a store: as in a snapshot of a whole cache, without what has expired at `now`."""
    return msgspec.json.encode(_raw(node, now))


def decode_node(data: bytes, now: float) -> Node:
    """What `encode_node` wrote, as a node whose times count from `now`. FlowclassError for data that makes no sense."""
    try:
        return _node(msgspec.json.decode(data, type=_Node), now)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FlowclassError(f"no node of a binding cache: {error}") from None


def import_cache(cache: BindingCache, data: bytes, now: float) -> None:
    """Put what was exported in place of all that the cache has. Raises FlowclassError for data that makes no sense, and
    then the cache is as it was."""
    now = later(now, -inf)
    try:
        snapshot = msgspec.json.decode(as_bytes(data), type=_Snapshot)
        if snapshot.format != FORMAT:
            raise FlowclassError(f"a snapshot of format {snapshot.format}: {FORMAT} expected")
        nodes = [_node(raw, now) for raw in snapshot.nodes]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FlowclassError(f"no snapshot of a binding cache: {error}") from None
    homes = {node.home for node in nodes}
    owned = [owner for node in nodes for owner in (*node.prefixes, *((a, 8 * len(a)) for a in node.also))]
    if len(homes) != len(nodes) or len(set(owned)) != len(owned):
        raise FlowclassError("no snapshot of a binding cache: a home address or a prefix is in it twice")
    deleted = [(_address(raw.home), raw.sequence, now + raw.left) for raw in snapshot.deleted]
    before = list(cache)
    try:
        _exchange(cache, [node for node in nodes if node.care_of or node.flows], now)
    except Exception as error:  # what the forwarding table won't take, or a store
        _exchange(cache, before, now)
        if not isinstance(error, ClassifierError):
            raise
        raise FlowclassError(f"no snapshot of a binding cache: {error}") from None
    cache.restart(now)
    for home, sequence, until in deleted:
        cache.remember(home, sequence, until)


def _exchange(cache: BindingCache, nodes: list[Node], now: float) -> None:
    """Put these nodes in place of all that the cache has; addresses may go from one to another."""
    kept = {node.home: (node.prefixes, node.also) for node in nodes}
    for node in list(cache):
        if kept.get(node.home) != (node.prefixes, node.also):
            cache.remove(node.home, now)
    for node in nodes:
        cache.put(node)


def _node(raw: _Node, now: float) -> Node:
    def until(left: float | None) -> float:
        return inf if left is None else now + left

    get_profile(raw.profile)
    node = Node(_address(raw.home), raw.profile)
    if len({c.bid for c in raw.care_of}) != len(raw.care_of) or len({f.fid for f in raw.flows}) != len(raw.flows):
        raise FlowclassError("no snapshot of a binding cache: a BID or a FID is in a node twice")
    if len(raw.care_of) > 1 and any(c.bid == PLAIN for c in raw.care_of):
        raise FlowclassError("no snapshot of a binding cache: a binding without BID is not alone")
    for c in raw.care_of:
        node.care_of[c.bid] = CareOf(c.bid, _address(c.address), c.priority, until(c.left), until(c.ask), c.home)
    for f in raw.flows:
        rule = bytes.fromhex(f.rule)
        if len(rule) != len(WILD_CARD) or any(
            first > last for first, last in (pair for pair in describe_rule(rule).values() if isinstance(pair, tuple))
        ):
            raise FlowclassError(f"no snapshot of a binding cache: the rule of flow {f.fid}")
        if f.action != DISCARD and not f.bids:
            raise FlowclassError(f"no snapshot of a binding cache: flow {f.fid} goes nowhere")
        if len(set(f.bids)) != len(f.bids):
            raise FlowclassError(f"no snapshot of a binding cache: flow {f.fid} names a BID twice")
        node.flows[f.fid] = Flow(f.fid, f.priority, f.action, tuple(f.bids), rule, until(f.left), until(f.ask))
    node.sequence, node.registration, node.router = raw.sequence, raw.registration, raw.router
    node.prefixes = tuple((_address(network), length) for network, length in raw.prefixes)
    if any(not 0 <= length <= 8 * len(network) for network, length in node.prefixes):
        raise FlowclassError("no snapshot of a binding cache: a prefix length")
    node.also = tuple(_address(address) for address in raw.also)
    node.agent = _address(raw.agent) if raw.agent else b""
    node.memory = raw.memory
    return node


def _address(text: str) -> bytes:
    if len(text) not in (8, 32):
        raise FlowclassError(f"no snapshot of a binding cache: {text!r} is no address")
    return bytes.fromhex(text)
