"""Export and import of a whole binding cache as octets, for a warm restart or for another process.

The format is JSON with one line for each node, so that it can be written and read in pieces. Times are the seconds
left until then, so that the reading process may have another clock; null means for ever. Octets are written in
hexadecimal. An import checks all data before it installs anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import inf
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from flowclass.engine.rules import WILD_CARD, describe_rule
from flowclass.errors import ArgumentError, ClassifierError, FlowclassError
from flowclass.wire.octets import as_bytes
from flowclass.wire.profiles import get_profile

from ..addresses import Prefix
from ..arguments import later
from .binding_cache import BindingCache
from .node import DISCARD, NCAST, PLAIN, CareOf, Flow, Node

__all__ = ["decode_node", "encode_node", "export_cache", "export_pieces", "import_cache", "import_pieces"]

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
    port: U16 = 0


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
    nodes: list[msgspec.Raw]
    deleted: list[_Deleted]


# the lines before, between and after those of the nodes and of the remembered sequence numbers; all is one JSON object
_HEAD: Final = b'{"format":%d,"nodes":[' % FORMAT
_MIDDLE: Final = b'],"deleted":['
_TAIL: Final = b"]}"


def export_pieces(cache: BindingCache, now: float, most: int = 1000) -> Iterator[bytes]:
    """Yield everything in the cache that hasn't expired at ``now``, in pieces of at most ``most`` nodes.

    This is the state of the cache at the first piece, whatever changes before the last one. Joined, the pieces are an
    input for `import_cache`. Open transactions are not included.
    """
    now = cache.advance(now)
    with cache.lock:
        nodes, deleted = list(cache), cache.deleted()
    for piece in _lines(_HEAD, nodes, most, lambda node: msgspec.json.encode(_raw(node, now))):
        yield piece
    left = [(home, until, last) for home, (until, last) in deleted.items() if until > now]
    for piece in _lines(
        b"\n" + _MIDDLE, left, most, lambda x: msgspec.json.encode(_Deleted(x[0].hex(), x[1] - now, x[2]))
    ):
        yield piece
    yield b"\n" + _TAIL


def _lines(head: bytes, things: list[Any], most: int, encode: Callable[[Any], bytes]) -> Iterator[bytes]:
    if most < 1:
        raise FlowclassError(f"most: 1 or more nodes expected, got {most}")
    before = head + b"\n"
    if not things:
        yield head
    for at in range(0, len(things), most):
        yield before + b",\n".join(map(encode, things[at : at + most]))
        before = b",\n"


def export_cache(cache: BindingCache, now: float) -> bytes:
    """Return everything in the cache that hasn't expired at ``now``; open transactions are not included."""
    return b"".join(export_pieces(cache, now))


def _raw(node: Node, now: float) -> _Node:
    """Return the form in which a node is written, without expired entries."""

    def left(time: float) -> float | None:
        return None if time == inf else max(time - now, 0.0)

    return _Node(
        node.home.hex(),
        node.profile,
        [
            _CareOf(c.bid, c.address.hex(), c.priority, left(c.expires), left(c.refresh_at), c.home, c.port)
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
    """Return one node as octets, for a store, in the format of a snapshot; entries expired at ``now`` are left out."""
    return msgspec.json.encode(_raw(node, now))


def decode_node(data: bytes, now: float) -> Node:
    """Return the node that `encode_node` wrote, with times that count from ``now``; FlowclassError for invalid data."""
    try:
        return _node(msgspec.json.decode(data, type=_Node), now)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FlowclassError(f"no node of a binding cache: {error}") from None


def import_cache(cache: BindingCache, data: bytes, now: float) -> None:
    """Replace the content of the cache by an export; FlowclassError for invalid data, which changes nothing."""
    with cache.lock:
        for _ in import_pieces(cache, data, now):
            pass


def import_pieces(cache: BindingCache, data: bytes | Iterable[bytes], now: float, most: int = 500) -> Iterator[int]:
    """Do what `import_cache` does in steps of at most ``most`` nodes.

    Yields the number of nodes that have been read, and then the number of those in place. ``data`` may come in pieces
    of any size. All of it is read and checked before the first node is put in place. The cache may be used in between:
    nodes that change after the beginning are newer than the data, and stay. After an error, what was put in place is
    taken back.
    """
    if most < 1:
        raise FlowclassError(f"most: 1 or more nodes expected, got {most}")
    now = later(now, -inf)
    before = {node.home: node for node in cache}
    nodes: dict[bytes, Node] = {}
    owned: set[Prefix] = set()
    deleted: list[tuple[bytes, int, float]] = []
    for number, raw in enumerate(_entries(data)):
        if isinstance(raw, _Deleted):
            deleted.append((_address(raw.home), raw.sequence, now + raw.left))
            continue
        node = _node(raw, now)
        mine = (*node.prefixes, *((a, 8 * len(a)) for a in node.also))
        if node.home in nodes or len(set(mine)) != len(mine) or not owned.isdisjoint(mine):
            raise FlowclassError("no snapshot of a binding cache: a home address or a prefix is in it twice")
        owned.update(mine)
        nodes[node.home] = node
        if number % most == most - 1:
            yield number + 1
    done: list[tuple[bytes, Node | None, Node | None]] = []
    clock = cache.clock
    try:
        cache.restart(now)
        yield from _exchange(cache, before, nodes, done, now, most)
    except BaseException as error:  # the table or the store has failed, or the caller has stopped
        with cache.lock:
            if clock > -inf:
                cache.restart(clock)
            _take_back(cache, done, cache.clock)
        if not isinstance(error, ClassifierError):
            raise
        raise FlowclassError(f"no snapshot of a binding cache: {error}") from None
    for home, sequence, until in deleted:
        cache.remember(home, sequence, until)


def _exchange(
    cache: BindingCache,
    before: dict[bytes, Node],
    nodes: dict[bytes, Node],
    done: list[tuple[bytes, Node | None, Node | None]],
    now: float,
    most: int,
) -> Iterator[int]:
    """Replace the nodes ``before`` by ``nodes``.

    Prefixes may move from one node to another, so that nodes which lose some are removed first.
    """
    new = {home: node for home, node in nodes.items() if node.care_of or node.flows}
    leaving = [
        home
        for home, node in before.items()
        if home not in new or (new[home].prefixes, new[home].also) != (node.prefixes, node.also)
    ]
    steps = [(home, None) for home in leaving] + list(new.items())
    gone = set[bytes]()
    for at in range(0, len(steps), most):
        with cache.lock:
            for home, node in steps[at : at + most]:
                old = cache.get(home)
                if old is not (None if home in gone else before.get(home)):
                    continue  # an update has changed it in the meantime
                if node is None:
                    done.append((home, old, None))
                    cache.remove(home, now)
                    gone.add(home)
                else:
                    done.append((home, old, node))
                    cache.put(node)
        yield min(at + most, len(steps))


def _take_back(cache: BindingCache, done: list[tuple[bytes, Node | None, Node | None]], now: float) -> None:
    """Undo the steps of `_exchange`; the last one may not have been carried out."""
    for home, old, new in reversed(done):
        if cache.get(home) is not new:
            continue
        if old is None:
            cache.remove(home, now)
        else:
            cache.put(old)


def _entries(data: bytes | Iterable[bytes]) -> Iterator[_Node | _Deleted]:
    """Yield the nodes, then the remembered sequence numbers.

    The output of `export_pieces` is read line by line; other JSON of the same structure is read as a whole.
    """
    wrong = "no snapshot of a binding cache: "
    if isinstance(data, (str, bytes, bytearray, memoryview)):
        data = [as_bytes(data)]  # which refuses a text: its pieces would be characters
    if not isinstance(data, Iterable):
        raise ArgumentError("data", "a bytes-like object", data)
    pieces = iter(data)
    lines = _split(pieces)
    try:
        first = next(lines, b"")
        if first == _HEAD:
            kind: type[_Node] | type[_Deleted] = _Node
            for line in lines:
                if line == _MIDDLE and kind is _Node:
                    kind = _Deleted
                elif line == _TAIL and kind is _Deleted:
                    break
                else:
                    yield msgspec.json.decode(line.removesuffix(b","), type=kind)
            else:
                raise FlowclassError(f"{wrong}it ends early")
            if any(line.strip() for line in lines):
                raise FlowclassError(f"{wrong}it goes on after its end")
            return
        snapshot = msgspec.json.decode(b"\n".join([first, *lines]), type=_Snapshot)
        if snapshot.format != FORMAT:
            raise FlowclassError(f"a snapshot of format {snapshot.format}: {FORMAT} expected")
        for raw in snapshot.nodes:
            yield msgspec.json.decode(raw, type=_Node)
        yield from snapshot.deleted
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FlowclassError(f"{wrong}{error}") from None


def _split(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the lines of the pieces, without line ends."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
    if rest:
        yield rest


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
        node.care_of[c.bid] = CareOf(
            c.bid, _address(c.address), c.priority, until(c.left), until(c.ask), c.home, c.port
        )
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
