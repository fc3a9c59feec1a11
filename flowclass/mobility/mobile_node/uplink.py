"""The choice of the care-of address from which a mobile node sends the packets of a flow.

RFC 6089 section 5.3.6 leaves this choice to the node; by the same rules, both directions of a flow take the same path.
Flow bindings describe packets to the mobile node. For the packets that it sends, the node publishes the bindings that
its home agent has acknowledged in a forwarding table of its own, under its home address, and looks packets up with
source and destination exchanged.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from flowclass.addresses import AddressLike, PrefixLike, as_packed
from flowclass.engine.rules import WILD_CARD, selector_rule

from ..cache.binding_cache import Table
from ..cache.node import DISCARD, FORWARD, CareOf, Flow, Node
from .plan import FlowEntry, Selector
from .update_list import UpdateList

__all__ = ["exchanged", "publish_known", "publish_uplink"]

_PAIRS = (("source", "destination"), ("source_port", "destination_port"))
_BITS = ((1, 2), (16, 32))  # the bits of source and destination, and of their ports, in `present`


def exchanged(keys: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Return a copy of packet keys (KEY_DTYPE) with source and destination exchanged, in addresses and in ports."""
    other = keys.copy()
    present: Any = keys["present"] & np.uint8(0xFF & ~sum(a | b for a, b in _BITS))
    for (one, two), (first, second) in zip(_PAIRS, _BITS, strict=True):
        other[one], other[two] = keys[two], keys[one]
        present = present | np.where(keys["present"] & first, second, 0) | np.where(keys["present"] & second, first, 0)
    other["present"] = present
    return other


def publish_known(table: Table, home: AddressLike, updates: UpdateList) -> int:
    """Publish in ``table``, under the node's own address ``home``, what the receiver of ``updates`` has acknowledged.

    Entries that aren't certain are left out. Returns what ``table.publish`` returns.
    """
    home = as_packed("home", home)
    node = _care_of(home, updates, None)
    for fid, flow in updates.flows.items():
        if flow.certain:
            node.flows[fid] = Flow(fid, flow.pri, flow.action, _bids(flow), _rule(flow.selector))
    targets, default, flows = node.forwarding()
    return table.publish(home, targets=targets, default=default, flows=flows)


def publish_uplink(
    table: Table,
    address: AddressLike,
    updates: UpdateList,
    *,
    usable: Container[bytes] | None = None,
    prefixes: Iterable[PrefixLike] = (),
) -> bool:
    """Publish in ``table``, for packets that the node sends, what the receiver of ``updates`` has acknowledged.

    Unlike with `publish_known`, packets are looked up as they are: the rules have source and destination exchanged. The
    ``address`` and ``prefixes`` are those of destinations: a correspondent node, or the home address and all prefixes.
    The node sends no copies, and a flow that is discarded on its way to the node takes the default binding on its way
    back. Care-of addresses that aren't in ``usable`` (packed addresses; None: all) are left out. If none is left, False
    is returned, and the table is as it was: the caller withdraws what was published there before.
    """
    address = as_packed("address", address)
    node = _care_of(address, updates, usable)
    default = node.default
    if default is None:
        return False
    for fid, flow in updates.flows.items():
        if flow.certain:
            bids = tuple(bid for bid in flow.bids if bid in node.care_of) if flow.action != DISCARD else ()
            rule = _rule(None if flow.selector is None else _back(flow.selector))
            node.flows[fid] = Flow(fid, flow.pri, FORWARD, bids[:1] or (default.bid,), rule)
    targets, first, flows = node.forwarding()
    table.publish(address, prefixes=prefixes, targets=targets, default=first, flows=flows)
    return True


def _care_of(address: bytes, updates: UpdateList, usable: Container[bytes] | None) -> Node:
    node = Node(address)
    for bid, entry in updates.care_of.items():
        if entry.certain and (usable is None or entry.address.packed in usable):
            node.care_of[bid] = CareOf(bid, entry.address.packed, entry.priority)
    return node


def _back(selector: Selector) -> Selector:
    """The selector of the packets that answer those of ``selector``."""
    ends: dict[str, Any] = {"source": selector.destination, "destination": selector.source}
    ports: dict[str, Any] = {"source_port": selector.destination_port, "destination_port": selector.source_port}
    return replace(selector, **ends, **ports)


def _bids(flow: FlowEntry) -> tuple[int, ...]:
    return () if flow.action == DISCARD else flow.bids


def _rule(selector: Selector | None) -> bytes:
    return WILD_CARD if selector is None else selector_rule(selector)
