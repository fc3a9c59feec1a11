"""Traffic selectors (RFC 6088) as rule rows of the engine (`RULE_DTYPE`, 96 octets, host byte order).

The correspondence is PROTOCOL.md 3.6: a selector without any condition matches all packets of its IP version; no
selector at all is a wild card for both (R62, version 0); a start without an end is that one value; of the traffic
class the lower two bits are ignored on both sides.
"""

from __future__ import annotations

import struct
import sys
from typing import Final

from flowclass.wire.selectors import TrafficSelector4, TrafficSelector6

__all__ = ["CONDITIONS", "WILD_CARD", "Range", "describe_rule", "rule_row", "selector_rule"]

Range = tuple[int, int]
"""First and last value, both included."""

# two 64-bit words per address, the more significant first; then labels, SPIs, ports, and octets. The engine's arrays
# are little-endian by definition and host order by use: the same on every platform that the C core supports
_ROW: Final = struct.Struct("<8Q4I4H6B2x")
_M64: Final = (1 << 64) - 1
_NONE: Final = (0, 0)

CONDITIONS: Final = {
    "source": 1,
    "destination": 2,
    "flow_label": 4,
    "spi": 8,
    "source_port": 16,
    "destination_port": 32,
    "traffic_class": 64,
    "protocol": 128,
}
"""The bits of `conditions`, enum fc_field of flowclass.h (repeated: this module is used where numpy isn't loaded)."""

WILD_CARD: Final = bytes(_ROW.size)
"""The row that matches every packet of either version."""

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("flowclass needs a little-endian machine")


def rule_row(
    version: int,
    source: Range | None = None,
    destination: Range | None = None,
    flow_label: Range | None = None,
    spi: Range | None = None,
    source_port: Range | None = None,
    destination_port: Range | None = None,
    traffic_class: Range | None = None,
    protocol: Range | None = None,
) -> bytes:
    """One row of 96 octets. `version` is 4, 6 or 0 for both; addresses are integers of that version, None is no
    condition. Values out of their width raise struct.error; a reversed range is the table's to refuse."""
    conditions = 0
    if source is None:
        source = _NONE
    else:
        conditions |= 1
    if destination is None:
        destination = _NONE
    else:
        conditions |= 2
    if flow_label is None:
        flow_label = _NONE
    else:
        conditions |= 4
    if spi is None:
        spi = _NONE
    else:
        conditions |= 8
    if source_port is None:
        source_port = _NONE
    else:
        conditions |= 16
    if destination_port is None:
        destination_port = _NONE
    else:
        conditions |= 32
    if traffic_class is None:
        traffic_class = _NONE
    else:
        traffic_class = traffic_class[0] & 0xFC, traffic_class[1] & 0xFC  # else 0x2b to 0x28 would seem reversed
        conditions |= 64
    if protocol is None:
        protocol = _NONE
    else:
        conditions |= 128
    first, last = source
    begin, end = destination
    return _ROW.pack(
        first >> 64, first & _M64, last >> 64, last & _M64, begin >> 64, begin & _M64, end >> 64, end & _M64,
        *flow_label, *spi, *source_port, *destination_port, *traffic_class, *protocol, version, conditions,
    )  # fmt: skip


def selector_rule(selector: TrafficSelector4 | TrafficSelector6) -> bytes:
    """The row of a binary traffic selector (RFC 6088), None of whose conditions is lost."""
    source, destination = selector.source, selector.destination
    return rule_row(
        selector.version,
        None if source is None else (int(source[0]), int(source[1])),
        None if destination is None else (int(destination[0]), int(destination[1])),
        selector.flow_label,
        selector.spi,
        selector.source_port,
        selector.destination_port,
        selector.traffic_class,
        selector.protocol,
    )


def describe_rule(row: bytes) -> dict[str, int | Range]:
    """A row's version and its conditions by name, in the order of `CONDITIONS`: for people and for export."""
    words = _ROW.unpack(row)
    pairs = [((words[i] << 64) | words[i + 1], (words[i + 2] << 64) | words[i + 3]) for i in (0, 4)] + [
        (words[i], words[i + 1]) for i in range(8, 20, 2)
    ]
    version, conditions = words[20], words[21]
    found: dict[str, int | Range] = {"version": version}
    for (name, bit), pair in zip(CONDITIONS.items(), pairs, strict=True):
        if conditions & bit:
            found[name] = pair
    return found
