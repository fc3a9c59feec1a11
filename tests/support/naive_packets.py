"""A packet parser that is slow, plain and written from the rules alone: what the engine's is compared with.

It takes the octets from the IP header on. The rules are those of "How a packet is decided" (a packet reaches as far as
it was captured, or as its length field says where that is less and not zero).
"""

from __future__ import annotations

from dataclasses import dataclass

EXTENSIONS = {
    0: "hop-by-hop",
    43: "routing",
    44: "fragment",
    51: "authentication",
    60: "destination options",
    139: "HIP",
    140: "Shim6",
}
PORTS = {6, 17, 33, 132, 136}


@dataclass(frozen=True)
class Parsed:
    """`status` is "ok", "malformed" or "not-ip"; a field that isn't there is None."""

    status: str
    version: int | None = None
    source: bytes | None = None
    destination: bytes | None = None
    traffic_class: int | None = None
    flow_label: int | None = None
    protocol: int | None = None
    source_port: int | None = None
    destination_port: int | None = None
    spi: int | None = None
    fragment: str = "none"
    signalling: bool = False


def parse(packet: bytes) -> Parsed:
    if not packet:
        return Parsed("malformed")
    version = packet[0] >> 4
    if version == 6:
        return parse6(packet)
    if version == 4:
        return parse4(packet)
    return Parsed("not-ip")


def parse6(packet: bytes) -> Parsed:
    if len(packet) < 40:
        return Parsed("malformed")
    payload_length = int.from_bytes(packet[4:6], "big")
    declared: float = 40 + payload_length if payload_length else float("inf")
    packet = packet[: int(min(declared, len(packet)))]
    next_header: int | None = packet[6]
    rest, fragment = packet[40:], "none"
    while next_header in EXTENSIONS and fragment != "later":
        size = 8
        if next_header == 51 and len(rest) >= 2:
            size = (rest[1] + 2) * 4
        elif next_header != 44 and len(rest) >= 2:
            size = (rest[1] + 1) * 8
        if len(rest) < max(size, 8):  # cut off, or more than the packet has room for
            if declared - (len(packet) - len(rest)) < max(size, 8):
                return Parsed("malformed")
            next_header = None
            break
        if next_header == 44:
            field = int.from_bytes(rest[2:4], "big")
            if field >> 3:
                fragment = "later"
            elif field & 1:
                fragment = "first"
        next_header, rest = rest[0], rest[size:]
    word = int.from_bytes(packet[:4], "big")
    return upper(6, packet[8:24], packet[24:40], word >> 20 & 255, word & 0xFFFFF, next_header, rest, fragment)


def parse4(packet: bytes) -> Parsed:
    if len(packet) < 20:
        return Parsed("malformed")
    header = 4 * (packet[0] & 15)
    total = int.from_bytes(packet[2:4], "big")
    declared: float = total if total else float("inf")
    packet = packet[: int(min(declared, len(packet)))]
    if header < 20 or len(packet) < header:
        return Parsed("malformed")
    field = int.from_bytes(packet[6:8], "big")
    fragment = "later" if field & 0x1FFF else "first" if field & 0x2000 else "none"
    protocol: int | None = packet[9]
    rest = packet[header:]
    while protocol == 51 and fragment != "later":
        size = max((rest[1] + 2) * 4 if len(rest) >= 2 else 8, 8)
        if len(rest) < size:
            if declared - (len(packet) - len(rest)) < size:
                return Parsed("malformed")
            protocol = None
            break
        protocol, rest = rest[0], rest[size:]
    return upper(4, packet[12:16], packet[16:20], packet[1], None, protocol, rest, fragment)


def upper(
    version: int,
    source: bytes,
    destination: bytes,
    traffic_class: int,
    flow_label: int | None,
    protocol: int | None,
    rest: bytes,
    fragment: str,
) -> Parsed:
    source_port = destination_port = spi = None
    signalling = protocol == 135
    if fragment != "later":
        if protocol in PORTS and len(rest) >= 2:
            source_port = int.from_bytes(rest[0:2], "big")
        if protocol in PORTS and len(rest) >= 4:
            destination_port = int.from_bytes(rest[2:4], "big")
        if protocol == 50 and len(rest) >= 4:
            spi = int.from_bytes(rest[:4], "big")
        if protocol == 58 and rest and 144 <= rest[0] <= 147:
            signalling = True
    return Parsed(
        "ok",
        version,
        source,
        destination,
        traffic_class,
        flow_label,
        protocol,
        source_port,
        destination_port,
        spi,
        fragment,
        signalling,
    )
