"""The control plane: the binding cache, the roles that receive and send binding updates, and the bindings file.

A name's module is imported when the name is first used: an agent that restarts has packets waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowclass.late import late_names

if TYPE_CHECKING:
    from .agent.acknowledgement import acknowledge as acknowledge
    from .agent.agent import Agent as Agent
    from .agent.agent import Anchor as Anchor
    from .agent.agent import Pending as Pending
    from .agent.anchor_point import MobilityAnchorPoint as MobilityAnchorPoint
    from .agent.correspondent import CorrespondentNode as CorrespondentNode
    from .agent.counters import Counters as Counters
    from .agent.home_agent import HomeAgent as HomeAgent
    from .agent.home_agent import load_bindings as load_bindings
    from .agent.nonces import NonceTable as NonceTable
    from .agent.received_update import Outcome as Outcome
    from .agent.received_update import Update as Update
    from .agent.shared_keys import Association as Association
    from .agent.shared_keys import Security as Security
    from .agent.shared_keys import SharedKeys as SharedKeys
    from .bindings_file.read import BindingsFile as BindingsFile
    from .bindings_file.read import read_bindings as read_bindings
    from .cache.binding_cache import BindingCache as BindingCache
    from .cache.binding_cache import BusyError as BusyError
    from .cache.binding_cache import Store as Store
    from .cache.binding_cache import Table as Table
    from .cache.binding_cache import Transaction as Transaction
    from .cache.events import Event as Event
    from .cache.events import EventKind as EventKind
    from .cache.node import DISCARD as DISCARD
    from .cache.node import FORWARD as FORWARD
    from .cache.node import NCAST as NCAST
    from .cache.node import PLAIN as PLAIN
    from .cache.node import CareOf as CareOf
    from .cache.node import Flow as Flow
    from .cache.node import Node as Node
    from .cache.snapshot import decode_node as decode_node
    from .cache.snapshot import encode_node as encode_node
    from .mobile_node.mobile_node import MobileNode as MobileNode
    from .mobile_node.plan import FlowEntry as FlowEntry
    from .mobile_node.plan import Refusal as Refusal
    from .mobile_node.shared_key import SharedKey as SharedKey
    from .mobile_node.update_list import UpdateList as UpdateList
    from .mobile_node.uplink import exchanged as exchanged
    from .mobile_node.uplink import publish_known as publish_known
    from .mobile_node.uplink import publish_uplink as publish_uplink
    from .settings import Capabilities as Capabilities
    from .settings import Limits as Limits
    from .settings import Switches as Switches

# public name -> the module of this package that defines it
_PLACES = {
    "DISCARD": "cache.node",
    "FORWARD": "cache.node",
    "NCAST": "cache.node",
    "PLAIN": "cache.node",
    "Agent": "agent.agent",
    "Anchor": "agent.agent",
    "Association": "agent.shared_keys",
    "BindingCache": "cache.binding_cache",
    "BindingsFile": "bindings_file.read",
    "BusyError": "cache.binding_cache",
    "Capabilities": "settings",
    "CareOf": "cache.node",
    "CorrespondentNode": "agent.correspondent",
    "Counters": "agent.counters",
    "Event": "cache.events",
    "EventKind": "cache.events",
    "Flow": "cache.node",
    "FlowEntry": "mobile_node.plan",
    "HomeAgent": "agent.home_agent",
    "Limits": "settings",
    "MobileNode": "mobile_node.mobile_node",
    "MobilityAnchorPoint": "agent.anchor_point",
    "Node": "cache.node",
    "NonceTable": "agent.nonces",
    "Outcome": "agent.received_update",
    "Pending": "agent.agent",
    "Refusal": "mobile_node.plan",
    "Security": "agent.shared_keys",
    "SharedKey": "mobile_node.shared_key",
    "SharedKeys": "agent.shared_keys",
    "Store": "cache.binding_cache",
    "Switches": "settings",
    "Table": "cache.binding_cache",
    "Transaction": "cache.binding_cache",
    "Update": "agent.received_update",
    "UpdateList": "mobile_node.update_list",
    "acknowledge": "agent.acknowledgement",
    "decode_node": "cache.snapshot",
    "encode_node": "cache.snapshot",
    "exchanged": "mobile_node.uplink",
    "load_bindings": "agent.home_agent",
    "publish_known": "mobile_node.uplink",
    "publish_uplink": "mobile_node.uplink",
    "read_bindings": "bindings_file.read",
}

__all__ = list(_PLACES)

__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = late_names(__name__, _PLACES)
