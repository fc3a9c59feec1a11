"""Addresses and prefixes as callers have them: packed, as objects of `ipaddress`, or as text.

Every public function that takes an address or a prefix takes it in each of these forms. The functions here turn them
into the one form that the rest of the code works with, and raise an error that names the argument.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import TypeAlias

from flowclass.errors import ArgumentError, FlowclassError

__all__ = [
    "AddressLike",
    "PrefixLike",
    "address_text",
    "as_address",
    "as_ipv6",
    "as_packed",
    "as_packed_prefix",
    "packed_text",
]

AddressLike: TypeAlias = IPv4Address | IPv6Address | str | bytes | bytearray | memoryview
"""An address: an `ipaddress` object, text, or 4 or 16 octets in network byte order."""

PrefixLike: TypeAlias = IPv4Network | IPv6Network | str | tuple[AddressLike, int]
"""A prefix: an `ipaddress` network, text such as ``2001:db8::/32``, or a pair of network address and length."""

_SIZES = {4: 4, 6: 16}
_EXPECTED = "an address (an ipaddress object, text, or packed octets)"


def as_packed(name: str, address: AddressLike, version: int | None = None) -> bytes:
    """Return an address as 4 or 16 octets; with ``version`` 4 or 6, only one of this IP version is taken.

    ``name`` is that of the argument, for the error: ArgumentError for a wrong type, FlowclassError for a wrong value.
    """
    if isinstance(address, (IPv4Address, IPv6Address)):
        packed = address.packed
    elif isinstance(address, str):
        try:
            packed = ip_address(address).packed
        except ValueError:
            raise FlowclassError(f"{name}: an IP address expected, got {address!r}") from None
    else:
        try:
            packed = bytes(memoryview(address))
        except TypeError:
            raise ArgumentError(name, _EXPECTED, address) from None
    if version is not None and len(packed) != _SIZES[version]:
        given = f"{len(packed)} octets" if isinstance(address, (bytes, bytearray, memoryview)) else str(address)
        raise FlowclassError(f"{name}: an IPv{version} address ({_SIZES[version]} octets) expected, got {given}")
    if len(packed) not in (4, 16):
        raise FlowclassError(f"{name}: an address of 4 or 16 octets expected, got {len(packed)} octets")
    return packed


def as_address(name: str, address: AddressLike) -> IPv4Address | IPv6Address:
    """Return an address as an `ipaddress` object; errors as those of `as_packed`."""
    if isinstance(address, (IPv4Address, IPv6Address)):
        return address
    return ip_address(as_packed(name, address))


def as_ipv6(name: str, address: AddressLike) -> IPv6Address:
    """Return an IPv6 address as an `ipaddress` object; errors as those of `as_packed`."""
    if isinstance(address, IPv6Address):
        return address
    return IPv6Address(as_packed(name, address, 6))


def as_packed_prefix(name: str, prefix: PrefixLike) -> tuple[bytes, int]:
    """Return a prefix as its packed network and its length in bits; errors as those of `as_packed`."""
    if isinstance(prefix, str):
        try:
            prefix = ip_network(prefix)
        except ValueError as error:
            raise FlowclassError(f"{name}: a prefix expected: {error}") from None
    if isinstance(prefix, (IPv4Network, IPv6Network)):
        return prefix.network_address.packed, prefix.prefixlen
    if not isinstance(prefix, (tuple, list)) or len(prefix) != 2:
        raise ArgumentError(name, "a prefix (an ipaddress network, text, or a pair of network and length)", prefix)
    network, length = as_packed(f"{name}: network", prefix[0]), prefix[1]
    if not isinstance(length, int):
        raise ArgumentError(f"{name}: length", "an integer", length)
    if not 0 <= length <= 8 * len(network):
        raise FlowclassError(f"{name}: length: 0 to {8 * len(network)} expected, got {length}")
    return network, length


def packed_text(text: str) -> bytes | None:
    """The packed address that a text means, or None if it is no address, or one that only `ipaddress` can read."""
    try:
        # libc takes a tenth of the time of the ipaddress module
        return inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return None


def address_text(packed: bytes) -> str:
    """The text of a packed address (4 or 16 octets) as RFC 5952 has it.

    IPv4-mapped addresses are in mixed notation on every Python version. Octets that are no address are in hexadecimal.
    """
    if len(packed) not in (4, 16):
        return packed.hex()
    if packed[:12] == bytes(12):
        return str(IPv6Address(packed))  # libc would write ::192.0.2.1, which RFC 5952 does not ask for
    # libc is used because the ipaddress module takes 20 us per address
    return inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)
