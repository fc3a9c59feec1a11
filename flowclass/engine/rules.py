"""Traffic selectors (RFC 6088) as rule rows of the engine (`RULE_DTYPE`, 96 octets, host byte order).

A selector without any condition matches all packets of its IP version. No selector at all is a wild card for both
versions (R62, version 0). A start without an end stands for that one value. The lower two bits of the traffic class are
ignored, in rules and in keys.
"""

from __future__ import annotations

import struct
import sys
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from flowclass.late import Late

from .fields import ADDRESSES, BITS, FIELDS, LOW_WORD

if TYPE_CHECKING:
    from flowclass.wire import flow_options, selectors
    from flowclass.wire.selectors import TrafficSelector4, TrafficSelector6
else:
    flow_options = Late("flowclass.wire.flow_options")
    selectors = Late("flowclass.wire.selectors")

__all__ = ["WILD_CARD", "Range", "describe_rule", "octets_rule", "rule_row", "rule_text", "selector_rule"]

Range = tuple[int, int]
"""First and last value, both included."""

# two 64-bit words per address, the more significant first; then labels, SPIs, ports, and octets. The engine's arrays
# are little-endian by definition and host order by use: the same on every platform that the C core supports
_ROW: Final = struct.Struct("<8Q4I4H6B2x")
_NONE: Final = (0, 0)
_BITS_IN_ORDER: Final = tuple(field.bit for field in FIELDS)

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
    """Makes one row of 96 octets. `version` is 4, 6, or 0 for both; addresses are integers of that version, and None is
    no condition. Values that are too large raise struct.error. A reversed range is left for the table to refuse."""
    if traffic_class is not None:
        traffic_class = traffic_class[0] & 0xFC, traffic_class[1] & 0xFC  # else 0x2b to 0x28 would seem reversed
    given = (source, destination, flow_label, spi, source_port, destination_port, traffic_class, protocol)
    conditions, numbers = 0, list[int]()
    for bit, pair in zip(_BITS_IN_ORDER, given, strict=True):
        if pair is None:
            numbers += _NONE
        else:
            conditions |= bit
            numbers += pair
    first, last, begin, end, *others = numbers
    return _ROW.pack(
        first >> 64, first & LOW_WORD, last >> 64, last & LOW_WORD,
        begin >> 64, begin & LOW_WORD, end >> 64, end & LOW_WORD,
        *others, version, conditions,
    )  # fmt: skip


class _Template(NamedTuple):
    """How the octets of a selector become a row, for one format and flag word."""

    order: bytes
    """Where each octet of the row stands in the selector's octets followed by `rest`."""
    rest: bytes
    """What fills the selector's octets up to 256: version, conditions, and zeros."""
    mask: int
    """Which bits of the row to keep, as a little-endian number; 0 keeps all."""


# field -> its offset in the row, and the octets of one bound there
_COLUMNS: Final = {
    field.name: (sum(2 * before.octets for before in FIELDS[:number]), field.octets)
    for number, field in enumerate(FIELDS)
}
_VERSION_AT: Final = 92
_CONDITIONS_AT: Final = 93
# TS Format, a reserved octet and the flag word say where everything is: at most 2 x 6561 of them
_templates: Final[dict[bytes, _Template]] = {}


def _template(head: bytes) -> _Template:
    form = selectors.FORMATS[head[0]]
    flags = int.from_bytes(head[2:])
    order = bytearray([255]) * _ROW.size  # the last octet is always zero
    mask = (1 << 8 * _ROW.size) - 1
    conditions, at = 0, len(head)
    for row in form.fields:
        if not flags & row.start:
            continue
        conditions |= BITS[row.name]
        at_row, width = _COLUMNS[row.name]
        size = struct.calcsize(row.code)
        for bound in range(2):
            if bound and flags & row.end:
                at += size
            for i in range(size):  # i-th of the octets from the least significant on
                # an address is two words, the more significant first
                to = i if width < 16 else (i + 8) % 16
                order[at_row + bound * width + to] = at + size - 1 - i
        at += size
        if row.name == "traffic_class":  # else 0x2b to 0x28 would seem reversed
            mask ^= 0x0303 << 8 * at_row
    order[_VERSION_AT], order[_CONDITIONS_AT] = at, at + 1
    rest = bytes((4 if head[0] == 1 else 6, conditions)).ljust(256 - at, b"\0")
    made = _templates[head] = _Template(bytes(order), rest, mask if conditions & BITS["traffic_class"] else 0)
    return made


def octets_rule(octets: bytes) -> bytes:
    """The row of a binary traffic selector as it is on the wire (`TrafficSelectorOption.octets`). It is made by putting
    the selector's octets into another order, which takes 0.6 us; parsing the selector first would take 5."""
    head = octets[:6]
    order, rest, mask = _templates.get(head) or _template(head)
    row = order.translate(octets + rest)
    return (int.from_bytes(row, "little") & mask).to_bytes(_ROW.size, "little") if mask else row


def selector_rule(selector: TrafficSelector4 | TrafficSelector6) -> bytes:
    """The row of a binary traffic selector (RFC 6088). It has all of the selector's conditions."""
    return octets_rule(flow_options.TrafficSelectorOption(selector).octets)


def describe_rule(row: bytes) -> dict[str, int | Range]:
    """A row's version and its conditions by name, in the order of `FIELDS`: for people and for export."""
    words = _ROW.unpack(row)
    pairs = [((words[i] << 64) | words[i + 1], (words[i + 2] << 64) | words[i + 3]) for i in (0, 4)] + [
        (words[i], words[i + 1]) for i in range(8, 20, 2)
    ]
    version, conditions = words[20], words[21]
    found: dict[str, int | Range] = {"version": version}
    for (name, bit), pair in zip(BITS.items(), pairs, strict=True):
        if conditions & bit:
            found[name] = pair
    return found


def rule_text(row: bytes) -> str:
    """A row as a line for people, such as ``version 6, source 2001:db8::-2001:db8::ff, source_port 22``."""
    conditions = describe_rule(row)
    version = conditions.pop("version")
    address = IPv4Address if version == 4 else IPv6Address
    shown = [f"version {version}" if version else "any version"]
    for name, pair in conditions.items():
        ends = dict.fromkeys(map(address if name in ADDRESSES else int, cast("Range", pair)))
        shown.append(f"{name} {'-'.join(map(str, ends))}")
    return ", ".join(shown)
