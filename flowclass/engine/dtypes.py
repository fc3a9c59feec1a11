"""The array types of the structs of flowclass.h and csrc that Python sees; those of keys and rules are in keys.py.

The modules that use them have them as attributes, too, so that numpy is imported only by those who use arrays. All are
in host byte order.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from .keys import KEY_DTYPE, RULE_DTYPE

__all__ = ["DECISION_DTYPE", "FIRST_DTYPE", "FLOW_DTYPE", "KEY_DTYPE", "NOTE_DTYPE", "PACKET_DTYPE", "TARGET_DTYPE"]

DECISION_DTYPE: Final = np.dtype(
    [
        ("action", "u1"),
        ("reason", "u1"),
        ("flags", "u1"),
        ("n_targets", "u1"),
        ("fid", "<u2"),
        ("bid", "<u2"),
        ("node", "<u4"),
        ("reserved", "<u4"),
        ("care_of", "u1", (16,)),
    ]
)
"""One decision, 32 octets, host byte order (struct fc_decision). What does not apply is 0.

``action``, ``reason``, ``flags``
    `Action`, `Reason`, and a sum of `DecisionFlag`.
``n_targets``
    copies to send: 0, 1, or more for n-cast (`ForwardingTable.care_of` has their addresses).
``fid``, ``bid``
    of the flow binding that matched, and of the care-of address.
``node``
    the number of the mobile node in its table.
``care_of``
    the first or only care-of address in network byte order.
"""

PACKET_DTYPE: Final = np.dtype(
    [
        ("status", "u1"),
        ("fragment", "u1"),
        ("flags", "u1"),
        ("depth", "u1"),
        ("fragment_id", "=u4"),
        ("ip_offset", "=u4"),
        ("ip_length", "=u4"),
        ("transport_offset", "=u4"),
        ("unread", "=u2"),
        ("unread_value", "=u2"),
    ]
)
"""What the parser says of a packet besides its key (struct fc_packet)."""

TARGET_DTYPE: Final = np.dtype([("address", "u1", (16,)), ("bid", "<u2"), ("version", "u1"), ("reserved", "u1")])
"""A care-of address of a node and its BID (struct fc_target); of an IPv4 address the first four octets count."""

FLOW_DTYPE: Final = np.dtype(
    [("rule", RULE_DTYPE), ("fid", "<u2"), ("action", "u1"), ("n_targets", "u1"), ("targets", "<u4")]
)
"""A flow binding of a node (struct fc_flow); ``targets`` is where its ``n_targets`` indices begin."""

NOTE_DTYPE: Final = np.dtype(
    [
        ("packet", "=u8"),
        ("number", "=u8"),
        ("told", "=u8"),
        ("from", "=u8"),
        ("key", KEY_DTYPE),
        ("info", PACKET_DTYPE),
        ("source", "=u8", 2),
        ("destination", "=u8", 2),
        ("id", "=u4"),
        ("kind", "=u4"),
        ("tells", "=u4"),
        ("original", "=u4"),
        ("time", "=i8"),
    ]
)
"""What a part of a trace leaves open about a fragment (struct fc_fragment_note)."""

FIRST_DTYPE: Final = np.dtype(
    [
        ("serial", "=u8"),
        ("open", "=u8"),
        ("key", KEY_DTYPE),
        ("source", "=u8", 2),
        ("destination", "=u8", 2),
        ("id", "=u4"),
        ("kind", "=u4"),
        ("flags", "u1"),
        ("depth", "u1"),
        ("reserved", "u1", 6),
        ("time", "=i8"),
    ]
)
"""A first fragment that is remembered (struct fc_fragment_first)."""
