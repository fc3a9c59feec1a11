"""The control plane: the binding cache, the roles that receive and send binding updates, and the bindings file."""

from __future__ import annotations

from .acknowledgement import Outcome, acknowledge
from .anchor import Anchor, Pending
from .anchor_point import MobilityAnchorPoint
from .bindings_file import BindingsFile, read_bindings
from .cache import BindingCache, BusyError, Store, Transaction
from .config import Capabilities, Limits, Switches
from .correspondent import CorrespondentNode
from .counters import Counters
from .events import Event, EventKind
from .home_agent import HomeAgent, load_bindings
from .mobile_node import MobileNode
from .nonces import NonceTable
from .state import DISCARD, FORWARD, NCAST, PLAIN, CareOf, Flow, Node
from .update import Update

__all__ = [
    "DISCARD",
    "FORWARD",
    "NCAST",
    "PLAIN",
    "Anchor",
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
    "HomeAgent",
    "Limits",
    "MobileNode",
    "MobilityAnchorPoint",
    "Node",
    "NonceTable",
    "Outcome",
    "Pending",
    "Store",
    "Switches",
    "Transaction",
    "Update",
    "acknowledge",
    "load_bindings",
    "read_bindings",
]
