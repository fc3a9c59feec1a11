"""What the fields of wire values may hold: read from their annotations, and checked when a value is made.

A field's annotation says everything: ``U16`` is an integer of 16 bits, ``Annotated[bytes, 8]`` has 8 octets,
``Annotated[Range, 20]`` is a first and a last value of 20 bits each. Addresses are taken in every form of
`flowclass.addresses`. The decoders in _usual.pyx fill the slots of values without these checks, because octets on the
wire can't be out of range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from operator import index
from types import NoneType, UnionType
from typing import Annotated, Any, Final, TypeAlias, Union, get_args, get_origin

from flowclass.addresses import AddressLike, PrefixLike, as_packed
from flowclass.errors import ArgumentError, EncodeError, FlowclassError

__all__ = ["U8", "U16", "U20", "U32", "U64", "AddressRange", "Range", "Range4", "Range6", "RangeLike", "check_of"]

U8: TypeAlias = Annotated[int, 8]
U16: TypeAlias = Annotated[int, 16]
U20: TypeAlias = Annotated[int, 20]
U32: TypeAlias = Annotated[int, 32]
U64: TypeAlias = Annotated[int, 64]
"""Integers from 0, of so many bits."""

Range = tuple[int, int]
Range4 = tuple[IPv4Address, IPv4Address]
Range6 = tuple[IPv6Address, IPv6Address]
"""A first and a last value, both included. Where one is expected, a single value stands for itself, and for addresses a
prefix for all of its addresses."""

RangeLike: TypeAlias = int | tuple[int, int]
AddressRange: TypeAlias = PrefixLike | AddressLike | tuple[AddressLike, AddressLike]
"""What constructors take for a `Range`, and for a `Range4` or a `Range6`: for type checkers."""

_VERSIONS: Final = {IPv4Address: 4, IPv6Address: 6}

Check: TypeAlias = Callable[[str, Any], Any]
"""Takes the name of a field and a value; returns what the field is to hold, or raises a FlowclassError."""


def check_of(annotation: Any) -> tuple[str, Check]:
    """Return the check for a field's annotation: an expression that is true for a usual value, and the whole check.

    The expression is text with ``{x}`` in place of the value; it decides nearly all values without a call.
    """
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    kinds = tuple(kind for kind in kinds if kind is not NoneType)
    usual, check = _check_of(kinds)
    if annotation is not None and NoneType in get_args(annotation):
        return f"{{x}} is None or {usual}", partial(_optional, check)
    return usual, check


def _check_of(kinds: tuple[Any, ...]) -> tuple[str, Check]:
    if all(kind in _VERSIONS for kind in kinds):
        usual = " or ".join(f"type_of({{x}}) is {kind.__name__}" for kind in kinds)
        return f"({usual})", partial(_address, _VERSIONS[kinds[0]] if len(kinds) == 1 else None)
    if len(kinds) > 1:
        return "False", partial(_instance, kinds)
    kind: Any = kinds[0]
    details: list[Any] = []
    if get_origin(kind) is Annotated:
        kind, *details = get_args(kind)
    if kind is bool:
        return "({x} is True or {x} is False)", _flag
    if kind is int:
        largest = (1 << details[0]) - 1 if details else None
        usual = "type_of({x}) is int" + ("" if largest is None else f" and 0 <= {{x}} <= {largest}")
        return f"({usual})", partial(_integer, largest)
    if kind is bytes:
        size = details[0] if details else None
        return "(type_of({x}) is bytes" + (")" if size is None else f" and len({{x}}) == {size})"), partial(
            _octets, size
        )
    if get_origin(kind) is tuple:
        items = get_args(kind)
        if items[-1] is Ellipsis:
            return "{x} == ()", partial(_several, check_of(items[0])[1])
        if items[0] in _VERSIONS:
            return "False", partial(_address_range, _VERSIONS[items[0]])
        return "False", partial(_range, (1 << details[0]) - 1, details[1] if len(details) > 1 else 0)
    return "type_of({x}) is str" if kind is str else "False", partial(_instance, kinds)


def _optional(check: Check, name: str, value: Any) -> Any:
    return None if value is None else check(name, value)


def _integer(largest: int | None, name: str, value: Any) -> int:
    try:
        number = value if isinstance(value, int) else index(value)
    except TypeError:
        raise ArgumentError(name, "an integer", value) from None
    if largest is not None and not 0 <= number <= largest:
        raise EncodeError(f"{name}: 0 to {largest} expected, got {number}")
    return number


def _flag(name: str, value: Any) -> bool:
    if value not in (0, 1):
        raise ArgumentError(name, "True or False", value)
    return bool(value)


def _octets(size: int | None, name: str, value: Any) -> bytes:
    try:
        octets = bytes(memoryview(value))
    except TypeError:
        raise ArgumentError(name, "a bytes-like object", value) from None
    if size is not None and len(octets) != size:
        raise EncodeError(f"{name}: {size} octets expected, got {len(octets)}")
    return octets


def _address(version: int | None, name: str, value: Any) -> IPv4Address | IPv6Address:
    try:
        return ip_address(as_packed(name, value, version))
    except ArgumentError:
        raise
    except FlowclassError as error:
        raise EncodeError(str(error)) from None


def _range(largest: int, ignored: int, name: str, value: Any) -> Range:
    """``ignored`` is the number of lowest bits that don't count when the two ends are compared."""
    first, last = _ends(name, value)
    first, last = _integer(largest, name, first), _integer(largest, name, last)
    if first >> ignored > last >> ignored:
        raise EncodeError(f"{name}: the range is reversed: {first} to {last}")
    return first, last


def _address_range(version: int, name: str, value: Any) -> tuple[Any, Any]:
    if isinstance(value, str) and "/" in value:
        try:
            value = ip_network(value)
        except ValueError as error:
            raise EncodeError(f"{name}: {error}") from None
    if isinstance(value, (IPv4Network, IPv6Network)):
        value = value.network_address, value.broadcast_address
    first, last = _ends(name, value)
    first, last = _address(version, name, first), _address(version, name, last)
    if int(first) > int(last):
        raise EncodeError(f"{name}: the range is reversed: {first} to {last}")
    return first, last


def _ends(name: str, value: Any) -> tuple[Any, Any]:
    """The two ends of a range; a single value is both."""
    if not isinstance(value, (tuple, list)):
        return value, value
    if len(value) != 2:
        raise ArgumentError(name, "one value, or a pair (first, last),", value)
    return value[0], value[1]


def _several(check: Check, name: str, value: Any) -> tuple[Any, ...]:
    """A tuple stays the object that it is when nothing in it has to be changed: it may be a `Verbatim`."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ArgumentError(name, "a tuple", value)
    given = value if isinstance(value, tuple) else tuple(value)
    checked = [check(name, item) for item in given]
    return given if all(a is b for a, b in zip(checked, given, strict=True)) else tuple(checked)


def _instance(kinds: tuple[Any, ...], name: str, value: Any) -> Any:
    if not isinstance(value, kinds):
        names = [kind.__name__ for kind in kinds]
        raise ArgumentError(name, f"a {names[0]}" if len(names) == 1 else f"one of {', '.join(names)}", value)
    return value
