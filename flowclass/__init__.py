"""flowclass: flow bindings in Mobile IPv6 and NEMO.

A wire codec, a binding cache for home agents, anchor points and correspondent nodes, and a compiled packet
classifier.
Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from flowclass.errors import (
    ArgumentError,
    BindingsFileError,
    CaptureError,
    ClassifierError,
    ConfigurationError,
    DamageWarning,
    DecodeError,
    EncodeError,
    FlowclassError,
    ParameterProblem,
    StoreError,
)

if TYPE_CHECKING:
    from flowclass.agent.store import SqliteStore as SqliteStore
    from flowclass.engine.classbench import read_classbench as read_classbench
    from flowclass.engine.classifier import Classifier as Classifier
    from flowclass.engine.classifier import kernels as kernels
    from flowclass.engine.decisions import DECISION_DTYPE as DECISION_DTYPE
    from flowclass.engine.decisions import Action as Action
    from flowclass.engine.decisions import DecisionFlag as DecisionFlag
    from flowclass.engine.decisions import Reason as Reason
    from flowclass.engine.decisions import decision_text as decision_text
    from flowclass.engine.forwarding import Decision as Decision
    from flowclass.engine.forwarding import ForwardingTable as ForwardingTable
    from flowclass.engine.keys import KEY_DTYPE as KEY_DTYPE
    from flowclass.engine.keys import RULE_DTYPE as RULE_DTYPE
    from flowclass.engine.keys import make_keys as make_keys
    from flowclass.engine.keys import make_rules as make_rules
    from flowclass.mobility import CorrespondentNode as CorrespondentNode
    from flowclass.mobility import HomeAgent as HomeAgent
    from flowclass.mobility import MobileNode as MobileNode
    from flowclass.mobility import MobilityAnchorPoint as MobilityAnchorPoint
    from flowclass.mobility import load_bindings as load_bindings

__version__ = "0.1.0"

# public name -> module that has it; sub-packages stand for themselves
_LAZY = {
    "KEY_DTYPE": "flowclass.engine.keys",
    "RULE_DTYPE": "flowclass.engine.keys",
    "make_keys": "flowclass.engine.keys",
    "make_rules": "flowclass.engine.keys",
    "read_classbench": "flowclass.engine.classbench",
    "Classifier": "flowclass.engine.classifier",
    "DECISION_DTYPE": "flowclass.engine.decisions",
    "Action": "flowclass.engine.decisions",
    "DecisionFlag": "flowclass.engine.decisions",
    "Reason": "flowclass.engine.decisions",
    "decision_text": "flowclass.engine.decisions",
    "Decision": "flowclass.engine.forwarding",
    "ForwardingTable": "flowclass.engine.forwarding",
    "kernels": "flowclass.engine.classifier",
    "CorrespondentNode": "flowclass.mobility",
    "HomeAgent": "flowclass.mobility",
    "MobileNode": "flowclass.mobility",
    "MobilityAnchorPoint": "flowclass.mobility",
    "load_bindings": "flowclass.mobility",
    "SqliteStore": "flowclass.agent.store",
}
_HERE = os.path.dirname(os.path.abspath(__file__))
_CHECKOUT = os.path.join(os.path.dirname(_HERE), "csrc")
_PACKAGES = frozenset({"addresses", "agent", "bench", "engine", "generate", "mobility", "traces", "wire"})

__all__ = [
    "ArgumentError",
    "BindingsFileError",
    "CaptureError",
    "ClassifierError",
    "ConfigurationError",
    "DamageWarning",
    "DecodeError",
    "EncodeError",
    "FlowclassError",
    "ParameterProblem",
    "StoreError",
    "get_include",
    "get_sources",
    *_LAZY,
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
    elif name in _PACKAGES:
        value = importlib.import_module(f"flowclass.{name}")
    else:
        # with the module as `obj` a traceback names what was probably meant
        raise AttributeError(f"module 'flowclass' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_PACKAGES})


def get_include() -> str:
    """The folder that holds ``flowclass.h``, for a C or Cython build."""
    installed = os.path.join(_HERE, "include")
    return installed if os.path.isdir(installed) else os.path.join(_CHECKOUT, "include")


def get_sources() -> list[str]:
    """The C library's sources, to be compiled into a program or extension of one's own.

    Paths of the .c files, sorted. They take ``-std=c11 -pthread`` and the folder of :func:`get_include`, nothing else.
    Each includes its neighbours by relative paths, so they are compiled where they are. The part of the library that
    only flowclass's own reading of captures uses is not among them.
    """
    from glob import escape, glob

    installed = os.path.join(_HERE, "csrc", "src")
    top = installed if os.path.isdir(installed) else os.path.join(_CHECKOUT, "src")
    found = glob(os.path.join(escape(top), "*", "*.c"))
    return sorted(path for path in found if os.path.basename(os.path.dirname(path)) != "trace")
