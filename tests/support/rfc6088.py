"""RFC 6088 read a second time: octets of a traffic selector, and whether a packet matches them.

Written from sections 3.1 and 3.2 alone, letter by letter, sharing nothing with the package: no tables, no ranges as
values, no early way out. A packet is a dict: ``version``, and of the fields those that the packet has.
"""

from __future__ import annotations

from dataclasses import dataclass

# (flag of the start field, flag of the end field, octets of each, packet field), in the order of the figures
FIGURE_1 = (
    ("A", "B", 4, "source"),
    ("C", "D", 4, "destination"),
    ("E", "F", 4, "spi"),
    ("G", "H", 2, "source_port"),
    ("I", "J", 2, "destination_port"),
    ("K", "L", 1, "traffic_class"),
    ("M", "N", 1, "protocol"),
)
FIGURE_2 = (
    ("A", "B", 16, "source"),
    ("C", "D", 16, "destination"),
    ("E", "F", 4, "spi"),
    ("G", "H", 4, "flow_label"),
    ("I", "J", 2, "source_port"),
    ("K", "L", 2, "destination_port"),
    ("M", "N", 1, "traffic_class"),
    ("O", "P", 1, "protocol"),
)
FIGURES = {1: FIGURE_1, 2: FIGURE_2}


class Malformed(Exception):
    """The octets are no traffic selector of their format."""


@dataclass
class Condition:
    field: str
    start: int
    end: int


def flag_is_set(body: bytes, letter: str) -> bool:
    """Flags are named from the most significant bit of the first octet on: A is bit 0 of the figure."""
    bit = "ABCDEFGHIJKLMNOP".index(letter)
    return (body[bit // 8] << (bit % 8)) & 0x80 != 0


def conditions(ts_format: int, body: bytes) -> list[Condition]:
    """What the selector asks for, field by field; raises Malformed."""
    if len(body) < 4:
        raise Malformed("no flags")
    rest = body[4:]
    found = []
    for start_flag, end_flag, size, field in FIGURES[ts_format]:
        has_start = flag_is_set(body, start_flag)
        has_end = flag_is_set(body, end_flag)
        if has_end and not has_start:
            raise Malformed(f"({end_flag}) MUST NOT be included unless ({start_flag}) is included")
        values = []
        for present in (has_start, has_end):
            if present:
                if len(rest) < size:
                    raise Malformed("octets missing")
                values.append(int.from_bytes(rest[:size], "big"))
                rest = rest[size:]
        if not values:
            continue
        if field == "flow_label":
            # "ignore the first 8 bits", and of the 24 that the RFC names the flow label has 20 (RFC 8200)
            values = [value % 2**20 for value in values]
        if field == "traffic_class":
            # "the 2 least significant bits' values MUST be ignored in any comparison"
            values = [value // 4 for value in values]
        start, end = values[0], values[-1]
        if start > end:
            raise Malformed("a range from high to low")
        found.append(Condition(field, start, end))
    if rest:
        raise Malformed("octets left over")
    return found


def matches(ts_format: int, body: bytes, packet: dict[str, int]) -> bool:
    """Whether the packet has every field asked for, in its range; format 1 is for IPv4 packets, 2 for IPv6."""
    if packet["version"] != {1: 4, 2: 6}[ts_format]:
        return False
    for condition in conditions(ts_format, body):
        if condition.field not in packet:
            return False
        value = packet[condition.field]
        if condition.field == "traffic_class":
            value = value // 4
        if value < condition.start or value > condition.end:
            return False
    return True
