"""The other direction: which of its own addresses a mobile node sends a flow from (RFC 6089 section 5.3.6 leaves it to
the node; with the same rules both directions of a flow take the same path).

Flow bindings describe packets to the mobile node. For its own packets the node publishes what its home agent knows
under its home address, and looks packets up with source and destination exchanged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from flowclass.engine.rules import WILD_CARD, selector_rule

from ..cache.binding_cache import Table
from ..cache.node import DISCARD, CareOf, Flow, Node
from .plan import FlowEntry
from .update_list import UpdateList

__all__ = ["exchanged", "publish_known"]

_PAIRS = (("source", "destination"), ("source_port", "destination_port"))
_BITS = ((1, 2), (16, 32))  # source and destination, and their ports, in `present`


def exchanged(keys: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Keys (KEY_DTYPE) of packets in one direction as those of the other: a copy with addresses and ports exchanged."""
    other = keys.copy()
    present: Any = keys["present"] & np.uint8(0xFF & ~sum(a | b for a, b in _BITS))
    for (one, two), (first, second) in zip(_PAIRS, _BITS, strict=True):
        other[one], other[two] = keys[two], keys[one]
        present = present | np.where(keys["present"] & first, second, 0) | np.where(keys["present"] & second, first, 0)
    other["present"] = present
    return other


def publish_known(table: Table, home: bytes, updates: UpdateList) -> int:
    """Publish what the receiver of an update list has acknowledged, under a home address of the node itself."""
    node = Node(home)
    for bid, entry in updates.care_of.items():
        if entry.certain:
            node.care_of[bid] = CareOf(bid, entry.address.packed, entry.priority)
    for fid, flow in updates.flows.items():
        if flow.certain:
            node.flows[fid] = Flow(fid, flow.pri, flow.action, _bids(flow), _rule(flow))
    targets, default, flows = node.forwarding()
    return table.publish(home, targets=targets, default=default, flows=flows)


def _bids(flow: FlowEntry) -> tuple[int, ...]:
    return () if flow.action == DISCARD else flow.bids


def _rule(flow: FlowEntry) -> bytes:
    return WILD_CARD if flow.selector is None else selector_rule(flow.selector)
