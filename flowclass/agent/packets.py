"""Functions that build and read IP packets as octets, for the control plane; data packets don't pass through them.

Readers return None for a packet that they can't read, and the caller counts it.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

__all__ = [
    "DESTINATION_OPTIONS",
    "FRAGMENT",
    "HOP_BY_HOP",
    "ICMPV6",
    "IPV4",
    "IPV6",
    "MOBILITY",
    "ROUTING",
    "Upper",
    "checksum",
    "echo_reply",
    "encapsulate",
    "encapsulate4",
    "home_address",
    "icmpv6",
    "too_big",
    "upper_layer",
]

HOP_BY_HOP: Final = 0
IPV4: Final = 4
UDP: Final = 17
IPV6: Final = 41
ROUTING: Final = 43
FRAGMENT: Final = 44
ICMPV6: Final = 58
DESTINATION_OPTIONS: Final = 60
MOBILITY: Final = 135

_ECHO_REQUEST: Final = 128
_ECHO_REPLY: Final = 129
_TOO_BIG: Final = 2
_HOME_ADDRESS: Final = 201
MIN_MTU: Final = 1280
"""The packet size in octets that every IPv6 link supports (RFC 8200 section 5)."""
_SKIPPED: Final = (HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS)


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of octets; their own checksum field must be zero."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Upper(NamedTuple):
    """The protocol after the extension headers of an IPv6 packet, and the offset of its header."""

    protocol: int
    offset: int


def upper_layer(packet: bytes) -> Upper | None:
    """Return the first header that is neither hop-by-hop options, routing nor destination options.

    None is returned if the packet isn't IPv6, or ends before that header.
    """
    if len(packet) < 40 or packet[0] >> 4 != 6:
        return None
    number, at = packet[6], 40
    while number in _SKIPPED:
        if at + 8 > len(packet):
            return None
        number, at = packet[at], at + 8 * packet[at + 1] + 8
    return Upper(number, at) if at <= len(packet) else None


def home_address(packet: bytes) -> bytes | None:
    """Return the home address of a Home Address option (RFC 6275 section 6.3), or None if the packet has none."""
    number, at = packet[6], 40
    while number in _SKIPPED and at + 8 <= len(packet):
        end = min(at + 8 * packet[at + 1] + 8, len(packet))
        option = at + 2
        while number == DESTINATION_OPTIONS and option + 2 <= end:
            size = 1 if packet[option] == 0 else 2 + packet[option + 1]
            if packet[option] == _HOME_ADDRESS and size == 18 and option + size <= end:
                return packet[option + 2 : option + 18]
            option += size
        number, at = packet[at], end
    return None


def icmpv6(source: bytes, destination: bytes, body: bytes, hop_limit: int = 64) -> bytes:
    """Return a packet with an ICMPv6 message (RFC 4443); ``body`` has zeros in place of its checksum."""
    pseudo = source + destination + struct.pack(">II", len(body), ICMPV6)
    body = body[:2] + struct.pack(">H", checksum(pseudo + body)) + body[4:]
    return struct.pack(">IHBB", 6 << 28, len(body), ICMPV6, hop_limit) + source + destination + body


def echo_reply(packet: bytes) -> bytes | None:
    """Return the answer to an ICMPv6 echo request; None if the packet isn't one, or its checksum is wrong."""
    upper = upper_layer(packet)
    if upper is None or upper.protocol != ICMPV6 or len(packet) < upper.offset + 8:
        return None
    end = 40 + int.from_bytes(packet[4:6])
    body = packet[upper.offset : end]
    if len(body) < 8 or body[0] != _ECHO_REQUEST or packet[8] == 0xFF or packet[24] == 0xFF:
        return None
    pseudo = packet[8:40] + struct.pack(">II", len(body), ICMPV6)
    if checksum(pseudo + body) != 0:
        return None
    return icmpv6(packet[24:40], packet[8:24], bytes((_ECHO_REPLY, 0, 0, 0)) + body[4:])


def too_big(agent: bytes, packet: bytes, mtu: int) -> bytes:
    """Return ICMPv6 Packet Too Big for the sender of an IPv6 packet (RFC 4443 section 3.2, RFC 2473 section 7.1)."""
    body = struct.pack(">BBHI", _TOO_BIG, 0, 0, mtu) + packet[: MIN_MTU - 48]
    return icmpv6(agent, packet[8:24], body)


def encapsulate(source: bytes, destination: bytes, packet: bytes, hop_limit: int, limit: int | None) -> bytes:
    """Return an IPv6 or IPv4 packet encapsulated in IPv6 (RFC 2473); traffic class and flow label are copied.

    ``limit`` is the value of the tunnel encapsulation limit option; None leaves this option out.
    """
    if packet[0] >> 4 == 6:
        word, inner = int.from_bytes(packet[:4]), IPV6
    else:
        word, inner = 6 << 28 | packet[1] << 20, IPV4
    option = b"" if limit is None else bytes((inner, 0, 4, 1, limit, 1, 1, 0))
    first = inner if limit is None else DESTINATION_OPTIONS
    header = struct.pack(">IHBB", word, len(option) + len(packet), first, hop_limit)
    return header + source + destination + option + packet


def encapsulate4(source: bytes, destination: bytes, packet: bytes, hop_limit: int) -> bytes:
    """Return a packet encapsulated in IPv4 (RFC 4213, RFC 2003); the kernel fills in identification and checksum."""
    six = packet[0] >> 4 == 6
    traffic_class = int.from_bytes(packet[:2]) >> 4 & 0xFF if six else packet[1]
    header = struct.pack(
        ">BBHHHBBH", 0x45, traffic_class, 20 + len(packet), 0, 0x4000, hop_limit, IPV6 if six else IPV4, 0
    )
    return header + source + destination + packet
