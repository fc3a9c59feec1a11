"""The control plane: the binding cache, the roles that receive and send binding updates, and the bindings file."""

from __future__ import annotations

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
from .mobile_node.mobile_node import MobileNode
from .mobile_node.plan import FlowEntry, Refusal
from .mobile_node.shared_key import SharedKey
from .mobile_node.update_list import UpdateList
from .mobile_node.uplink import exchanged, publish_known
from .settings import Capabilities, Limits, Switches

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
