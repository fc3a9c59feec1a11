"""Parsers for the numbers, addresses and ranges that people write in a bindings file."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Final

from msgspec import UNSET

from flowclass.addresses import packed_text
from flowclass.engine.fields import LARGEST
from flowclass.wire.numbers import Protocol

__all__ = [
    "PROTOCOLS",
    "BadValueError",
    "address",
    "address_range",
    "number",
    "number_range",
    "prefix",
]

_VERSIONS: Final = {4: 4, 16: 6}
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+", re.ASCII)

PROTOCOLS: Final = {
    member.name.lower(): member.value
    for member in (
        Protocol.ICMP,
        Protocol.TCP,
        Protocol.UDP,
        Protocol.DCCP,
        Protocol.GRE,
        Protocol.ESP,
        Protocol.AH,
        Protocol.ICMPV6,
        Protocol.SCTP,
        Protocol.UDPLITE,
    )
}
"""The protocols that a bindings file may name, in lower case."""


class BadValueError(ValueError):
    """A text or number is invalid; the caller adds its place in the file."""


def _there(value: object) -> None:
    """Refuse what a column doesn't have; in other files msgspec does."""
    if value is UNSET:
        raise BadValueError("is missing")


def number(value: int | str, low: int, high: int, names: dict[str, int] | None = None) -> int:
    """Return a number from ``low`` to ``high``, given as an integer, as decimal or 0x text, or as one of ``names``."""
    if type(value) is int and low <= value <= high:
        return value
    _there(value)
    if isinstance(value, str):
        text = value.strip()
        if names and text.lower() in names:
            return names[text.lower()]
        if not _NUMBER.fullmatch(text) or len(text) > 40:
            raise BadValueError(
                f"{value!r} is no number" + (f" or protocol name ({', '.join(names)})" if names else "")
            )
        result = int(text, 16 if text[:2] in ("0x", "0X") else 10)
    else:
        result = value
    if not low <= result <= high:
        raise BadValueError(f"{value} is out of range: expected {low} to {high}")
    return result


@lru_cache(1024)  # a file has the same ports and protocols again and again
def number_range(value: int | str, name: str) -> tuple[int, int]:
    """Return the range (first, last) of a condition on the field ``name``: a number, or "first-last"."""
    high = LARGEST[name]
    names = PROTOCOLS if name == "protocol" else None
    if isinstance(value, int) or value.count("-") != 1:
        single = number(value, 0, high, names)
        return single, single
    first, last = (number(part, 0, high, names) for part in value.split("-"))
    if first > last:
        raise BadValueError(f"the range {value} is reversed")
    return first, last


def _packed(text: str) -> bytes:
    packed = packed_text(text)
    if packed is not None:
        return packed
    try:
        found = ipaddress.ip_address(text.strip())
    except ValueError:
        raise BadValueError(f"{text!r} is no IP address") from None
    if isinstance(found, ipaddress.IPv6Address) and found.scope_id is not None:
        raise BadValueError(f"{text!r} has a zone, which means nothing here")
    return found.packed


def address(text: str) -> bytes:
    """Return an address as 4 or 16 packed octets; an IPv4-mapped address counts as IPv6."""
    _there(text)
    return _packed(text)


def _split(text: str) -> tuple[bytes, int]:
    base, slash, length = text.partition("/")
    found = _packed(base)
    longest = 8 * len(found)
    if not slash:
        return found, longest
    if not _NUMBER.fullmatch(length) or not length.isdecimal() or len(length) > 3:
        raise BadValueError(f"{length!r} is no prefix length")
    if int(length) > longest:
        raise BadValueError(f"a prefix length of {length} is out of range: expected 0 to {longest}")
    return found, int(length)


def _first(base: bytes, length: int) -> tuple[int, int]:
    """The first address of a prefix as an integer, and how many bits of host addresses it has."""
    host = 8 * len(base) - length
    return int.from_bytes(base, "big") >> host << host, host


def prefix(text: str) -> tuple[bytes, int]:
    """Return a prefix as packed network, with host bits cleared, and length; an address is one of full length."""
    _there(text)
    base, length = _split(text)
    return _first(base, length)[0].to_bytes(len(base), "big"), length


def address_range(text: str) -> tuple[int, tuple[int, int]]:
    """Return the IP version, and the range of an address, a prefix or "first-last"."""
    if "-" in text:
        start, end = (_packed(part) for part in text.split("-", 1))
        if len(start) != len(end):
            raise BadValueError(f"{text!r} goes from one IP version to the other")
        if start > end:
            raise BadValueError(f"the range {text} is reversed")
        return _VERSIONS[len(start)], (int.from_bytes(start, "big"), int.from_bytes(end, "big"))
    base, length = _split(text)
    first, host = _first(base, length)
    return _VERSIONS[len(base)], (first, first | ((1 << host) - 1))
