"""Keys and rules as numpy structured arrays: the mirrors of ``fc_key`` and ``fc_rule`` in flowclass.h."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flowclass.errors import ArgumentError, ClassifierError

from .fields import ADDRESSES, BITS, FIELDS, LARGEST, LOW_WORD, Field

__all__ = ["KEY_DTYPE", "RULE_DTYPE", "make_keys", "make_rules"]

_ADDRESS: Final = ("<u8", (2,))


def _column(field: Field, end: str = "") -> tuple[Any, ...]:
    """A field as a column of a structured array: of keys, or, with ``end``, for that end of a rule's range."""
    name = f"{field.name}_{end}" if end else field.name
    return (name, *_ADDRESS) if field.name in ADDRESSES else (name, f"<u{field.octets}")


KEY_DTYPE: Final = np.dtype([*map(_column, FIELDS), ("version", "u1"), ("present", "u1")])
"""What one packet says, 48 octets, host byte order.

``source``, ``destination``
    128-bit integers as two 64-bit words, the more significant first. An IPv4 address is in the low 32 bits of
    the second word, the first is 0; ``version`` 4 keeps it apart from every IPv6 address.
``flow_label`` (20 bits), ``spi``, ``source_port``, ``destination_port``, ``traffic_class`` (the whole octet; only the
    upper six bits are compared), ``protocol`` (after the extension chain)
    integers; 0 where absent.
``version``
    4 or 6.
``present``
    a bit for each field that the packet has: source 1, destination 2, flow_label 4, spi 8, source_port 16,
    destination_port 32, traffic_class 64, protocol 128. A rule's condition on an absent field fails.
"""

RULE_DTYPE: Final = np.dtype(
    [
        *(_column(field, end) for field in FIELDS for end in ("first", "last")),
        ("version", "u1"),
        ("conditions", "u1"),
        ("reserved", "u1", (2,)),
    ]
)
"""Up to eight inclusive ranges (``*_first`` to ``*_last``), 96 octets, host byte order, addresses as in `KEY_DTYPE`.

``version`` is 4, 6, or 0 for both. ``conditions`` has a bit (numbered as ``present`` of a key) for each field that the
rule looks at: the ranges of the others are ignored, and a set bit fails on a key that lacks the field, also when its
range is the full one. Traffic class is compared by its upper six bits on both sides.
"""


assert KEY_DTYPE.itemsize == 48
assert RULE_DTYPE.itemsize == 96


def _address_int(value: Any, version: int, name: str) -> int:
    size = 4 if version == 4 else 16
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        number = int(value)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        if len(value) != size:
            raise ClassifierError(f"{name}: {len(value)} octets, expected {size}")
        number = int.from_bytes(value, "big")
    else:
        if not isinstance(value, (ipaddress.IPv4Address, ipaddress.IPv6Address, str)):
            raise ArgumentError(name, "an IP address", value)
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            raise ClassifierError(f"{name}: {value!r} is no IP address") from None
        if version and address.version != version:
            raise ClassifierError(f"{name}: {address} is not of IP version {version}")
        number = int(address)
    if not 0 <= number < 1 << (8 * size):
        raise ClassifierError(f"{name}: {value!r} is out of range for IP version {version}")
    return number


def _address_array(value: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint64] | None:
    """The array forms of addresses, or None when the elements have to be taken one by one."""
    if value.dtype == np.uint64 and value.ndim >= 1 and value.shape[-1] == 2:
        return value.astype("<u8").reshape(-1, 2)
    if value.dtype == np.uint8 and value.ndim == 2 and value.shape[1] in (4, 16):
        packed = np.zeros((len(value), 16), np.uint8)
        packed[:, 16 - value.shape[1] :] = value
        return packed.view(">u8").astype("<u8")
    if value.dtype.kind in "iu" and value.ndim == 1:
        if value.dtype.kind == "i" and len(value) and int(value.min()) < 0:
            raise ClassifierError(f"{name}: a negative number is no address")
        words = np.zeros((len(value), 2), "<u8")
        words[:, 1] = value
        return words
    return None


def _address_words(value: Any, version: npt.NDArray[np.uint8], name: str) -> npt.NDArray[np.uint64]:
    """One address, a sequence of addresses, or an array of them, as (n or 1, 2) host-order words."""
    if isinstance(value, np.ndarray):
        words = _address_array(value, name)
        if words is not None:
            if len(version) not in (1, len(words)):
                raise ClassifierError(f"{name}: {len(words)} values, {len(version)} versions")
            if np.any(((words[:, 0] != 0) | (words[:, 1] >> np.uint64(32) != 0)) & (version == 4)):
                raise ClassifierError(f"{name}: an address of IP version 4 has 32 bits")
            return words
        value = value.tolist()
    if isinstance(value, (str, bytes, bytearray, memoryview)) or not isinstance(value, Sequence):
        value = [value] * (len(version) if len(set(version.tolist())) > 1 else 1)
    if len(version) not in (1, len(value)):
        if len(value) != 1:
            raise ClassifierError(f"{name}: {len(value)} values, {len(version)} versions")
        version = version[:1]
    out = np.empty((len(value), 2), "<u8")
    for i, (item, v) in enumerate(zip(value, np.broadcast_to(version, (len(value),)).tolist(), strict=True)):
        number = _address_int(item, v, name)
        out[i] = (number >> 64, number & LOW_WORD)
    return out


def _array(value: Any, name: str, expected: str = "integers") -> npt.NDArray[Any]:
    """An integer or several, in one dimension."""
    try:
        array = np.atleast_1d(np.asarray(value))
    except ValueError:  # sequences of unequal lengths
        raise ClassifierError(f"{name}: {expected} expected") from None
    if array.dtype.kind not in "iu" and array.size:
        raise ClassifierError(f"{name}: {expected} expected, got {array.dtype}")
    if array.ndim != 1:
        raise ClassifierError(f"{name}: one dimension expected, got {array.ndim}")
    return array


def _integers(value: Any, largest: int, name: str) -> npt.NDArray[np.uint64]:
    array = _array(value, name)
    if len(array) and (int(array.min()) < 0 or int(array.max()) > largest):
        raise ClassifierError(f"{name}: a value is outside 0..{largest}")
    return array.astype(np.uint64)


def _versions(version: Any, allowed: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    expected = " or ".join(map(str, allowed))
    array = _array(version, "version", expected)
    if not np.isin(array, allowed).all():
        raise ClassifierError(f"version: {expected} expected")
    return array.astype(np.uint8)


def _fill(columns: dict[str, npt.NDArray[Any]], dtype: np.dtype[Any]) -> npt.NDArray[np.void]:
    lengths = {len(c) for c in columns.values()} - {1}
    if len(lengths) > 1:
        raise ClassifierError(f"arguments have different lengths: {sorted(lengths)}")
    out = np.zeros(lengths.pop() if lengths else 1, dtype)
    for name, column in columns.items():
        out[name] = column
    return out


def make_keys(
    *,
    version: Any = 6,
    source: Any = None,
    destination: Any = None,
    protocol: Any = None,
    source_port: Any = None,
    destination_port: Any = None,
    flow_label: Any = None,
    spi: Any = None,
    traffic_class: Any = None,
) -> npt.NDArray[np.void]:
    """Makes packet keys from arrays or scalars (scalars are repeated), and returns an array of `KEY_DTYPE`.

    Addresses may be text, `ipaddress` objects, packed bytes, integers, sequences of these, arrays of integers,
    (n, 2) arrays of uint64 words (more significant first) or (n, 16) or (n, 4) arrays of octets in network order.
    The other fields are integers or integer arrays. ``version`` is 4 or 6, or an array of these.

    A field is present in the keys when its argument is given (not None), whatever the protocol says.

    Raises ClassifierError for values out of range and for arrays of different lengths.
    """
    columns: dict[str, npt.NDArray[Any]] = {"version": _versions(version, (4, 6))}
    present = 0
    given = {
        "source": source,
        "destination": destination,
        "flow_label": flow_label,
        "spi": spi,
        "source_port": source_port,
        "destination_port": destination_port,
        "traffic_class": traffic_class,
        "protocol": protocol,
    }
    for name, value in given.items():
        if value is None:
            continue
        present |= BITS[name]
        if name in ADDRESSES:
            columns[name] = _address_words(value, columns["version"], name)
        else:
            columns[name] = _integers(value, LARGEST[name], name)
    columns["present"] = np.array([present], np.uint8)
    return _fill(columns, KEY_DTYPE)


def _refuse_reversed(rules: npt.NDArray[np.void], conditions: int) -> None:
    for name, bit in BITS.items():
        if not bit & conditions:
            continue
        a, b = rules[f"{name}_first"], rules[f"{name}_last"]
        if name in ADDRESSES:
            above = (a[:, 0] > b[:, 0]) | ((a[:, 0] == b[:, 0]) & (a[:, 1] > b[:, 1]))
        else:
            above = a > b
        if above.any():
            raise ClassifierError(f"rule {int(np.argmax(above))}: {name}: first is above last")


def _pair(name: str, given: Any) -> tuple[Any, Any]:
    """What `make_rules` was given for one field, as first and last value."""
    if name in ADDRESSES:
        if isinstance(given, str) and "/" in given:
            try:
                given = ipaddress.ip_network(given)
            except ValueError as error:
                raise ClassifierError(f"{name}: {error}") from None
        if isinstance(given, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
            return given.network_address, given.broadcast_address
        if isinstance(given, (str, bytes, ipaddress.IPv4Address, ipaddress.IPv6Address)):
            return given, given
    if isinstance(given, (int, np.integer)):
        return given, given
    try:
        first, last = given
    except (TypeError, ValueError):
        raise ArgumentError(name, "one value, or a pair (first, last),", given) from None
    return first, last


def make_rules(*, version: Any = 6, **ranges: Any) -> npt.NDArray[np.void]:
    """Makes rules from ranges given by field name: an array of `RULE_DTYPE`, in the order of the arguments' elements.

    Each field of fields.py may be given as a pair ``(first, last)``, both inclusive, each a scalar or an array as in
    `make_keys`. One number or address alone stands for that value; for an address, a prefix (text such as
    ``2001:db8::/32``, or an `ipaddress` network) stands for all of its addresses. A field that is not given is no
    condition. ``version`` is 4, 6, or 0 for both (then without addresses).

    Raises ClassifierError for an unknown field, a value out of range, or a first above its last.
    """
    columns: dict[str, npt.NDArray[Any]] = {"version": _versions(version, (0, 4, 6))}
    conditions = 0
    for name, pair in ranges.items():
        if name not in BITS:
            raise ClassifierError(f"no field named {name!r}: one of {', '.join(BITS)} expected")
        if pair is None:
            continue
        first, last = _pair(name, pair)
        conditions |= BITS[name]
        for suffix, value in (("first", first), ("last", last)):
            label = f"{name}_{suffix}"
            if name in ADDRESSES:
                columns[label] = _address_words(value, columns["version"], label)
            else:
                columns[label] = _integers(value, LARGEST[name], label)
    columns["conditions"] = np.array([conditions], np.uint8)
    rules = _fill(columns, RULE_DTYPE)
    if conditions & (BITS["source"] | BITS["destination"]) and np.any(rules["version"] == 0):
        raise ClassifierError("version 0 (both) and a condition on an address contradict each other")
    _refuse_reversed(rules, conditions)
    return rules
