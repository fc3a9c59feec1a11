"""Arguments checked before anything is changed: one error that names the argument and says what was expected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from math import inf
from typing import Any

from flowclass.errors import ArgumentError, FlowclassError

__all__ = [
    "check_address",
    "check_callable",
    "check_methods",
    "check_number",
    "check_optional",
    "check_packed",
    "check_prefixes",
    "check_type",
    "later",
]


def check_type(name: str, value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    if not isinstance(value, kinds):
        raise ArgumentError(name, expected, value)


def check_optional(name: str, value: object, kind: type) -> None:
    """Check that an argument is an instance of a class, or None."""
    if value is not None and not isinstance(value, kind):
        raise ArgumentError(name, f"a {kind.__name__}", value)


def check_methods(name: str, value: object, expected: str, *methods: str) -> None:
    """Check that an argument has these methods, or is None."""
    if value is not None and not all(callable(getattr(value, method, None)) for method in methods):
        raise ArgumentError(name, expected, value)


def check_number(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int):
        raise ArgumentError(name, "an integer", value)
    if not low <= value <= high:
        raise FlowclassError(f"{name}: {low} to {high} expected, got {value}")


def check_address(name: str, value: object, ipv4: bool = False) -> None:
    if ipv4:
        check_type(name, value, (IPv6Address, IPv4Address), "an IPv6Address or IPv4Address")
    else:
        check_type(name, value, IPv6Address, "an IPv6Address")


def check_packed(name: str, value: object, size: int = 16) -> None:
    if not isinstance(value, bytes):
        raise ArgumentError(name, f"a packed address ({size} octets)", value)
    if len(value) != size:
        raise FlowclassError(f"{name}: a packed address of {size} octets expected, got {len(value)}")


def check_callable(name: str, value: object, optional: bool = False) -> None:
    if not callable(value) and not (optional and value is None):
        raise ArgumentError(name, "a function", value)


def check_prefixes(name: str, prefixes: Any) -> tuple[tuple[bytes, int], ...]:
    """Check prefixes, and return them as a tuple of pairs (packed network, length)."""
    expected = "pairs (packed network, length)"
    if isinstance(prefixes, (str, bytes, Mapping)) or not isinstance(prefixes, Iterable):
        raise ArgumentError(name, expected, prefixes)
    found = tuple(prefixes)
    for prefix in found:
        if not isinstance(prefix, (tuple, list)) or len(prefix) != 2:
            raise ArgumentError(name, expected, prefix)
        network, length = prefix
        if not isinstance(network, bytes):
            raise ArgumentError(name, f"{expected}: packed networks", network)
        if len(network) not in (4, 16):
            raise FlowclassError(f"{name}: packed networks of 16 or 4 octets expected, got {len(network)}")
        check_number(f"{name}: length", length, 0, 8 * len(network))
    return found


def later(now: float, clock: float) -> float:
    """`now`, or `clock` where that is later: time does not go back. FlowclassError for what is no finite number."""
    try:
        if -inf < now < inf:
            return now if now > clock else clock
    except (TypeError, ValueError):
        raise ArgumentError("now", "a number of seconds", now) from None
    raise FlowclassError(f"now: a finite number of seconds expected, got {now}")
