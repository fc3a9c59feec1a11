"""Arguments checked before anything is changed: one error that names the argument and says what was expected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network
from math import inf

from flowclass.addresses import PrefixLike, as_packed_prefix
from flowclass.errors import ArgumentError, FlowclassError

__all__ = [
    "check_callable",
    "check_methods",
    "check_number",
    "check_optional",
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


def check_callable(name: str, value: object, optional: bool = False) -> None:
    if not callable(value) and not (optional and value is None):
        raise ArgumentError(name, "a function", value)


def check_prefixes(name: str, prefixes: Iterable[PrefixLike]) -> tuple[tuple[bytes, int], ...]:
    """Check prefixes, and return them as a tuple of pairs (packed network, length)."""
    if isinstance(prefixes, (str, bytes, Mapping, IPv4Network, IPv6Network)) or not isinstance(prefixes, Iterable):
        raise ArgumentError(name, "several prefixes", prefixes)
    return tuple(as_packed_prefix(name, prefix) for prefix in prefixes)


def later(now: float, clock: float) -> float:
    """`now`, or `clock` where that is later: time does not go back. FlowclassError for what is no finite number."""
    try:
        if -inf < now < inf:
            return now if now > clock else clock
    except (TypeError, ValueError):
        raise ArgumentError("now", "a number of seconds", now) from None
    raise FlowclassError(f"now: a finite number of seconds expected, got {now}")
