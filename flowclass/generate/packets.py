"""Makes IP packets: headers, extension headers, fragments, tunnels and link layers, with correct checksums.

The bytes are made from a `Fields` value, so tests and benchmarks know the right answer without parsing anything.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from flowclass.wire.packets import HOP_LIMIT

__all__ = [
    "AH",
    "DCCP",
    "ESP",
    "ICMP",
    "ICMP6",
    "MOBILITY",
    "SCTP",
    "TCP",
    "UDP",
    "UDPLITE",
    "Extension",
    "Fields",
    "authentication",
    "checksum",
    "destination_options",
    "ethernet",
    "fragment6",
    "hop_by_hop",
    "ip_packet",
    "routing",
    "tunnel",
]

ICMP, TCP, UDP, DCCP, ESP, AH, ICMP6, SCTP, MOBILITY, UDPLITE = 1, 6, 17, 33, 50, 51, 58, 132, 135, 136
_PORTS = frozenset({TCP, UDP, DCCP, SCTP, UDPLITE})


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of the outermost IP header and the transport header; addresses are packed, 4 or 16 octets.

    Ports are used for TCP, UDP, UDP-Lite, SCTP and DCCP, the SPI for ESP, the flow label for IPv6.
    """

    source: bytes
    destination: bytes
    protocol: int = UDP
    source_port: int = 0
    destination_port: int = 0
    flow_label: int = 0
    spi: int = 0
    traffic_class: int = 0

    @property
    def version(self) -> int:
        """The IP version, by the length of the destination."""
        return 4 if len(self.destination) == 4 else 6


Extension = tuple[int, bytes]  # protocol number; octets, which begin with a Next Header octet of 0


def hop_by_hop(size: int = 8) -> Extension:
    """A Hop-by-Hop Options header of PadN, ``size`` octets in all (a multiple of 8)."""
    return 0, _options(size)


def destination_options(size: int = 8) -> Extension:
    """A Destination Options header of PadN."""
    return 60, _options(size)


def _options(size: int) -> bytes:
    return bytes([0, size // 8 - 1, 1, size - 4]) + bytes(size - 4)


def routing(final: bytes) -> Extension:
    """A type 2 routing header with one segment left: ``final`` is the home address (RFC 6275 section 6.4)."""
    return 43, b"\x00\x02\x02\x01\0\0\0\0" + final


def authentication(size: int = 24) -> Extension:
    """An AH with a Payload Len in its own unit, 4 octets less 2 (RFC 4302); ``size`` is a multiple of 8."""
    return AH, bytes([0, size // 4 - 2, 0, 0]) + struct.pack("!II", 0x1234, 1) + bytes(size - 12)


def ip_packet(fields: Fields, *, extensions: Sequence[Extension] = (), payload: int = 16) -> bytes:
    """A whole packet with ``payload`` octets after its transport header. Only IPv6 packets may have extensions."""
    # the pseudo header has the final destination, which a routing header knows (RFC 8200 section 8.1)
    final = next((octets[-16:] for number, octets in extensions if number == 43), fields.destination)
    upper = _upper(fields, final, payload)
    if fields.version == 4:
        return _ipv4(fields, fields.protocol, upper)
    return ipv6(fields, fields.protocol, upper, extensions)


def ipv6(fields: Fields, protocol: int, upper: bytes, extensions: Sequence[Extension] = ()) -> bytes:
    """An IPv6 packet: the header, ``extensions``, and then ``upper``, whose protocol number is ``protocol``."""
    chain = b""
    following = protocol
    for number, octets in reversed(extensions):
        chain = bytes([following]) + octets[1:] + chain
        following = number
    head = 6 << 28 | fields.traffic_class << 20 | fields.flow_label
    length = len(chain) + len(upper)
    return struct.pack("!IHBB", head, length, following, HOP_LIMIT) + fields.source + fields.destination + chain + upper


def _ipv4(fields: Fields, protocol: int, upper: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, fields.traffic_class, 20 + len(upper), 0, 0x4000, HOP_LIMIT, protocol, 0)
    head += fields.source + fields.destination
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + upper


def _upper(fields: Fields, final: bytes, payload: int) -> bytes:
    """The transport header and its payload, checksum included where the protocol has one."""
    ports = struct.pack("!HH", fields.source_port, fields.destination_port)
    data = _payload(payload)
    if fields.protocol == TCP:
        segment = ports + struct.pack("!IIBBHHH", 1, 1, 5 << 4, 0x10, 65535, 0, 0) + data
        return _checked(fields, final, segment, 16)
    if fields.protocol in (UDP, UDPLITE):
        # UDP-Lite: the field is the checksum coverage, 0 for the whole datagram
        length = 8 + payload if fields.protocol == UDP else 0
        return _checked(fields, final, ports + struct.pack("!HH", length, 0) + data, 6)
    if fields.protocol == DCCP:
        # a DCCP-Data packet with 48-bit sequence numbers: Data Offset 4, Type 2, X 1 (RFC 4340 section 5.1)
        return _checked(fields, final, ports + struct.pack("!BBHBBHI", 4, 0, 0, 2 << 1 | 1, 0, 0, 1) + data, 6)
    if fields.protocol == SCTP:
        # one DATA chunk (RFC 9260 section 3.3.1); the checksum, a CRC, stays 0: no classifier looks at it
        chunk = struct.pack("!BBHIHHI", 0, 3, 16 + payload, 1, 0, 0, 0) + data + bytes(-payload % 4)
        return ports + struct.pack("!II", 0, 0) + chunk
    if fields.protocol == ESP:
        return struct.pack("!II", fields.spi, 1) + data
    if fields.protocol == ICMP:
        head = struct.pack("!BBHHH", 8, 0, 0, 1, 1) + data
        return head[:2] + struct.pack("!H", checksum(head)) + head[4:]
    if fields.protocol == ICMP6:
        return _checked(fields, final, struct.pack("!BBHHH", 128, 0, 0, 1, 1) + data, 2)
    return data


def _checked(fields: Fields, final: bytes, segment: bytes, at: int) -> bytes:
    pseudo = fields.source + final + struct.pack("!II", len(segment), fields.protocol)
    value = checksum(pseudo + segment)  # never 0, which would mean "none" in UDP
    return segment[:at] + struct.pack("!H", value) + segment[at + 2 :]


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071), from 1 to 0xFFFF: zero is represented as 0xFFFF, as UDP requires."""
    data += b"\0" * (len(data) & 1)
    # 2**16 is 1 modulo 0xFFFF: the one's complement sum of 16-bit words is the number itself modulo 0xFFFF
    total = int.from_bytes(data, "big") % 0xFFFF
    return 0xFFFF - total


@cache
def _payload(size: int) -> bytes:
    """Pseudo-random octets from a small linear generator: every size is a prefix of the same sequence."""
    state, out = 12345, bytearray()
    while len(out) < size:
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        out += struct.pack("!H", state >> 15)
    return bytes(out[:size])


def fragment6(packet: bytes, *, size: int, identification: int) -> list[bytes]:
    """An IPv6 packet without extension headers in fragments of ``size`` octets of payload (a multiple of 8)."""
    head, protocol, rest = packet[:40], packet[6], packet[40:]
    parts = []
    for offset in range(0, len(rest), size):
        piece = rest[offset : offset + size]
        more = offset + size < len(rest)
        extension = struct.pack("!BBHI", protocol, 0, offset | more, identification)
        parts.append(head[:4] + struct.pack("!HB", 8 + len(piece), 44) + head[7:] + extension + piece)
    return parts


def tunnel(source: bytes, destination: bytes, inner: bytes) -> bytes:
    """``inner`` in an IPv6 packet (RFC 2473)."""
    return ipv6(Fields(source, destination), 41 if inner[0] >> 4 == 6 else 4, inner)


def ethernet(packet: bytes, tags: Sequence[int] = ()) -> bytes:
    """An IP packet in an Ethernet frame; ``tags`` are VLAN numbers, the outermost first (QinQ when there are two)."""
    frame = b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01"
    for depth, vlan in enumerate(tags):
        last = depth == len(tags) - 1
        frame += struct.pack("!HH", 0x8100 if last else 0x88A8, vlan)
    return frame + (b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00") + packet
