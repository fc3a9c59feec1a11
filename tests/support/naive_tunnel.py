"""What a home agent makes of one packet to a mobile node, from RFC 2473, 4213, 4443 and 792, written a second time:
octets joined, nothing clever. `into_tunnel` for a packet and a care-of address; `checksum`, `rejoin` for tests."""

from __future__ import annotations

import struct
from typing import NamedTuple

IPV6_IN_IP, IP_IN_IP, FRAGMENT, OPTIONS, ROUTING, HOP_BY_HOP, ICMPV6 = 41, 4, 44, 60, 43, 0, 58


def checksum(data: bytes) -> int:
    """The Internet checksum, one 16-bit word after the other."""
    total = 0
    for i in range(0, len(data), 2):
        total += int.from_bytes(data[i : i + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def transport_checksum(packet: bytes, at: int, protocol: int) -> int:
    """Of what begins ``at`` in an IP packet, whose checksum field is 0."""
    body = packet[at:]
    if packet[0] >> 4 == 6:
        return checksum(packet[8:40] + struct.pack(">II", len(body), protocol) + body)
    return checksum(packet[12:20] + struct.pack(">HH", protocol, len(body)) + body)


def ipv4_header(header: bytes) -> bytes:
    """With its checksum."""
    header = header[:10] + b"\0\0" + header[12:]
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:]


class Setting(NamedTuple):
    home_agent: bytes
    home_agent4: bytes
    mtu: int = 1500
    hop_limit: int = 64
    limit: int | None = 4


class Result(NamedTuple):
    sent: bytes | None = None  # the tunnel packet, before it is fragmented
    fragmented: bool = False
    error: bytes | None = None
    drop: str | None = None


def tunnel_limit(packet: bytes) -> tuple[int, int] | None:
    """Place and value of the tunnel encapsulation limit option."""
    if packet[0] >> 4 != 6:
        return None
    following, at = packet[6], 40
    while following in (HOP_BY_HOP, ROUTING, OPTIONS):
        size = 8 * (packet[at + 1] + 1)
        if following == OPTIONS:
            i = at + 2
            while i < at + size:
                if packet[i] == 0:
                    i += 1
                    continue
                if packet[i] == 4 and packet[i + 1] == 1:
                    return i + 2, packet[i + 2]
                i += 2 + packet[i + 1]
        following, at = packet[at], at + size
    return None


def icmp_error(setting: Setting, packet: bytes, six: tuple[int, int, int], four: tuple[int, int, int]) -> bytes:
    """``six`` and ``four``: type, code and the word that follows the checksum."""
    if packet[0] >> 4 == 6:
        body = struct.pack(">BBHI", six[0], six[1], 0, six[2]) + packet[: 1280 - 48]
        outer = struct.pack(">IHBB", 6 << 28, len(body), ICMPV6, 64) + setting.home_agent + packet[8:24]
        value = transport_checksum(outer + body, 40, ICMPV6)
        return outer + body[:2] + value.to_bytes(2, "big") + body[4:]
    body = struct.pack(">BBHI", four[0], four[1], 0, four[2]) + packet[:548]
    body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
    outer = struct.pack(">BBHHHBBH", 0x45, 0xC0, 20 + len(body), 0, 0, 64, 1, 0) + setting.home_agent4 + packet[12:16]
    return ipv4_header(outer) + body


def into_tunnel(setting: Setting, packet: bytes, care_of: bytes) -> Result:
    """A packet that the kernel has routed here: its hop limit is counted already."""
    six = packet[0] >> 4 == 6
    limit = setting.limit
    found = tunnel_limit(packet)
    if found and found[1] == 0:
        return Result(error=icmp_error(setting, packet, (4, 0, found[0]), (0, 0, 0)), drop="encapsulation-limit")
    if found:
        limit = found[1] - 1
    protocol = IPV6_IN_IP if six else IP_IN_IP
    traffic_class = int.from_bytes(packet[:2], "big") >> 4 & 0xFF if six else packet[1]
    label = int.from_bytes(packet[1:4], "big") & 0xFFFFF if six else 0
    option = b"" if limit is None else bytes([protocol, 0, 4, 1, limit, 1, 1, 0])
    overhead = 40 + len(option) if len(care_of) == 16 else 20
    room = setting.mtu - overhead
    fragmented = False
    if len(packet) > room:
        if six and len(packet) > 1280:
            return Result(error=icmp_error(setting, packet, (2, 0, max(room, 1280)), (0, 0, 0)), drop="too-big")
        if not six and packet[6] & 0x40:
            return Result(error=icmp_error(setting, packet, (0, 0, 0), (3, 4, room)), drop="too-big")
        fragmented = True
    if len(care_of) == 16:
        word = 6 << 28 | traffic_class << 20 | label
        header = struct.pack(
            ">IHBB", word, len(option) + len(packet), OPTIONS if option else protocol, setting.hop_limit
        )
        return Result(sent=header + setting.home_agent + care_of + option + packet, fragmented=fragmented)
    header = struct.pack(">BBHHHBBH", 0x45, traffic_class, 20 + len(packet), 0, 0, setting.hop_limit, protocol, 0)
    return Result(sent=ipv4_header(header + setting.home_agent4 + care_of) + packet, fragmented=fragmented)


def rejoin(fragments: list[bytes]) -> bytes:
    """The packet that these fragments are of, in any order; an IPv6 Fragment header must follow the IPv6 header."""
    parts: dict[int, bytes] = {}
    end, first = None, b""
    six = fragments[0][0] >> 4 == 6
    for f in fragments:
        if six:
            assert f[6] == FRAGMENT
            assert int.from_bytes(f[4:6], "big") == len(f) - 40
            field = int.from_bytes(f[42:44], "big")
            offset, more, data = field & ~7, field & 1, f[48:]
            assert f[44:48] == fragments[0][44:48]
        else:
            assert ipv4_header(f[:20]) == f[:20]
            assert int.from_bytes(f[2:4], "big") == len(f)
            field = int.from_bytes(f[6:8], "big")
            offset, more, data = 8 * (field & 0x1FFF), field >> 13 & 1, f[20:]
            assert f[4:6] == fragments[0][4:6] != b"\0\0"
        assert not more or len(data) % 8 == 0
        parts[offset] = data
        if offset == 0:
            first = f
        if not more:
            end = offset + len(data)
    payload = b""
    for offset in sorted(parts):
        assert offset == len(payload), "a gap or an overlap"
        payload += parts[offset]
    assert end == len(payload)
    if six:
        return first[:4] + len(payload).to_bytes(2, "big") + first[40:41] + first[7:40] + payload
    return ipv4_header(first[:2] + (20 + len(payload)).to_bytes(2, "big") + b"\0\0\0\0" + first[8:20]) + payload
