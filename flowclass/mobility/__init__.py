"""The control plane: the binding cache, the roles that receive and send binding updates, and the bindings file.

What only a mobile node needs is loaded when it is first used: an agent that restarts has packets waiting.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from .agent.acknowledgement import acknowledge
from .agent.agent import Agent, Pending
from .agent.anchor_point import MobilityAnchorPoint
from .agent.correspondent import CorrespondentNode
from .agent.counters import Counters
from .agent.home_agent import HomeAgent, load_bindings
from .agent.nonces import NonceTable
from .agent.received_update import Outcome, Update
from .agent.shared_keys import Association, Security, SharedKeys
from .bindings_file.read import BindingsFile, read_bindings
from .cache.binding_cache import BindingCache, BusyError, Store, Table, Transaction
from .cache.events import Event, EventKind
from .cache.node import DISCARD, FORWARD, NCAST, PLAIN, CareOf, Flow, Node
from .cache.snapshot import decode_node, encode_node
from .settings import Capabilities, Limits, Switches

if TYPE_CHECKING:
    from .mobile_node.mobile_node import MobileNode as MobileNode
    from .mobile_node.plan import FlowEntry as FlowEntry
    from .mobile_node.plan import Refusal as Refusal
    from .mobile_node.shared_key import SharedKey as SharedKey
    from .mobile_node.update_list import UpdateList as UpdateList
    from .mobile_node.uplink import exchanged as exchanged
    from .mobile_node.uplink import publish_known as publish_known

_LAZY = {
    "MobileNode": "mobile_node",
    "FlowEntry": "plan",
    "Refusal": "plan",
    "SharedKey": "shared_key",
    "UpdateList": "update_list",
    "exchanged": "uplink",
    "publish_known": "uplink",
}

Anchor = Agent
"""The name that `Agent` had before 0.1.0."""

__all__ = [
    "DISCARD",
    "FORWARD",
    "NCAST",
    "PLAIN",
    "Agent",
    "Anchor",
    "Association",
    "BindingCache",
    "BindingsFile",
    "BusyError",
    "Capabilities",
    "CareOf",
    "CorrespondentNode",
    "Counters",
    "Event",
    "EventKind",
    "Flow",
    "FlowEntry",
    "HomeAgent",
    "Limits",
    "MobileNode",
    "MobilityAnchorPoint",
    "Node",
    "NonceTable",
    "Outcome",
    "Pending",
    "Refusal",
    "Security",
    "SharedKey",
    "SharedKeys",
    "Store",
    "Switches",
    "Table",
    "Transaction",
    "Update",
    "UpdateList",
    "acknowledge",
    "decode_node",
    "encode_node",
    "exchanged",
    "load_bindings",
    "publish_known",
    "read_bindings",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    value = getattr(importlib.import_module(f"{__name__}.mobile_node.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
