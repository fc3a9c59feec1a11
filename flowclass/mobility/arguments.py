"""Arguments checked before anything is changed: one error that names the argument and says what was expected."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from flowclass.errors import ArgumentError, FlowclassError

__all__ = ["check_address", "check_callable", "check_number", "check_type"]


def check_type(name: str, value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    if not isinstance(value, kinds):
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


def check_callable(name: str, value: object, optional: bool = False) -> None:
    if not callable(value) and not (optional and value is None):
        raise ArgumentError(name, "a function", value)
