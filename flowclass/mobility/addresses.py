"""Functions that classify packed addresses: those of 16 octets are IPv6, those of 4 are IPv4."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import Final

__all__ = ["Prefix", "in_prefixes", "is_inside", "is_routable", "is_unicast", "stays_on_link"]

Prefix = tuple[bytes, int]
"""A prefix: its packed network, whose host bits are zero, and its length."""

_NOT_ROUTABLE: Final = (bytes(12), bytes(10) + b"\xff\xff")


def is_routable(address: bytes) -> bool:
    """Whether this is a unicast routable address, to which another subnet can send (RFC 6275 section 3.1)."""
    first = address[0]
    if len(address) == 4:
        return 0 < first < 224 and first != 127 and address[:2] != b"\xa9\xfe"
    if first == 0xFF or (first == 0xFE and address[1] & 0xC0 == 0x80):
        return False  # multicast, link-local
    # unspecified, loopback, IPv4-compatible; IPv4-mapped
    return first != 0 or not (address.startswith(_NOT_ROUTABLE))


def stays_on_link(address: bytes) -> bool:
    """Link-local, or multicast whose scope ends with the link: in nobody's prefix (fib_stays_on_link in csrc)."""
    if len(address) == 4:
        return address[:2] == b"\xa9\xfe" or address[:3] == b"\xe0\0\0" or address == b"\xff\xff\xff\xff"
    return (address[0] == 0xFE and address[1] & 0xC0 == 0x80) or (address[0] == 0xFF and address[1] & 15 <= 2)


def in_prefixes(address: bytes, prefixes: Iterable[Prefix]) -> bool:
    """Whether a packed address lies in one of the prefixes."""
    number = int.from_bytes(address, "big")
    return any(
        len(network) == len(address)
        and (number ^ int.from_bytes(network, "big")) >> (8 * len(network) - length) == 0
        for network, length in prefixes
    )  # fmt: skip


def is_inside(prefix: Prefix, around: Prefix) -> bool:
    """Whether a prefix lies inside another one, or equals it."""
    return prefix[1] >= around[1] and in_prefixes(prefix[0], (around,))


def is_unicast(address: IPv6Address) -> bool:
    """Whether an IPv6 address is unicast: neither multicast nor unspecified."""
    return not address.is_multicast and not address.is_unspecified
