"""The choice of the care-of address from which a mobile node sends the packets of a flow.

RFC 6089 section 5.3.6 leaves this choice to the node; by the same rules, both directions of a flow take the same path.
Flow bindings describe packets to the mobile node. For the packets that it sends, the node publishes the bindings that
its home agent has acknowledged in a forwarding table of its own, under its home address, and looks packets up with
source and destination exchanged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from flowclass.addresses import AddressLike, as_packed
from flowclass.engine.rules import WILD_CARD, selector_rule

from ..cache.binding_cache import Table
from ..cache.node import DISCARD, CareOf, Flow, Node
from .plan import FlowEntry
from .update_list import UpdateList

__all__ = ["exchanged", "publish_known"]

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
