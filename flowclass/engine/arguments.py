"""Checks the arguments of the engine's functions, and brings them into the form that C takes.

Each function returns the argument in that form, or raises `ArgumentError` for a wrong type and `ClassifierError` for a
wrong value, with the argument's name in the message.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from flowclass.errors import ArgumentError, ClassifierError
from flowclass.late import Late

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from . import keys as arrays
else:
    np = Late("numpy")
    arrays = Late("flowclass.engine.keys")

__all__ = ["as_keys", "as_rules", "contiguous", "integer", "link_types", "out_array", "secret_key", "times_of"]

NO_TIME = -(2**63)  # FC_NO_TIME


def integer(name: str, value: Any, low: int, high: int) -> int:
    """An argument that is one integer from ``low`` to ``high``."""
    if not isinstance(value, int) and not isinstance(value, np.integer):
        raise ArgumentError(name, "an integer", value)
    if not low <= value <= high:
        raise ClassifierError(f"{name}: expected {low} to {high}, got {value}")
    return int(value)


def as_rules(rules: Any) -> npt.NDArray[np.void]:
    """``rules`` as a contiguous array of `RULE_DTYPE`, copied only if it must be."""
    if not isinstance(rules, np.ndarray) or rules.dtype != arrays.RULE_DTYPE or rules.ndim != 1:
        raise ClassifierError("rules: a one-dimensional array of RULE_DTYPE expected (see make_rules, read_classbench)")
    return np.ascontiguousarray(rules)


def as_keys(keys: Any) -> npt.NDArray[np.void]:
    """``keys`` as a contiguous array of `KEY_DTYPE`, copied only if it must be."""
    if not isinstance(keys, np.ndarray) or keys.dtype != arrays.KEY_DTYPE or keys.ndim != 1:
        raise ClassifierError("keys: a one-dimensional array of KEY_DTYPE expected (see make_keys)")
    return np.ascontiguousarray(keys)


def contiguous(name: str, array: Any) -> npt.NDArray[Any]:
    """An argument that is an array, copied only if it must be."""
    if not isinstance(array, np.ndarray):
        raise ArgumentError(name, "a numpy array", array)
    return np.ascontiguousarray(array)


def out_array(name: str, array: Any, dtype: np.dtype[Any], n: int) -> npt.NDArray[Any]:
    """The first ``n`` elements of an array that the caller gave to be filled, or, for None, a new array of ``n``."""
    if array is None:
        return np.empty(n, dtype=dtype)
    if (
        not isinstance(array, np.ndarray)
        or array.dtype != dtype
        or array.ndim != 1
        or array.size < n
        or not (array.flags.c_contiguous and array.flags.writeable)
    ):
        what = f"at least {n} {dtype.names or dtype.name}"
        raise ClassifierError(f"{name}: expected a contiguous array that can be written to, of {what}")
    return array[:n]


def secret_key(secret: Any) -> bytes:
    """The argument ``secret``, 16 octets that key a hash; for None they are random."""
    if secret is None:
        return os.urandom(16)
    if not isinstance(secret, (bytes, bytearray, memoryview)):
        raise ArgumentError("secret", "a bytes-like object", secret)
    if len(secret) != 16:
        raise ClassifierError(f"secret: expected 16 octets, got {len(secret)}")
    return bytes(secret)


def link_types(numbers: Any, n: int) -> npt.NDArray[np.uint16]:
    """The argument ``linktypes`` as an array of ``n`` u16."""
    try:
        array = np.asarray(numbers)
    except ValueError:  # sequences of unequal lengths
        array = np.empty(0)
    if array.dtype.kind not in "iu" or array.ndim != 1 or np.any((array < 0) | (array > 0xFFFF)):
        raise ClassifierError("linktypes: expected one dimension of integers from 0 to 65535")
    if len(array) != n:
        raise ClassifierError(f"linktypes: expected {n}, got {len(array)}")
    return np.ascontiguousarray(array, dtype=np.uint16)


def times_of(times: Any, n: int) -> npt.NDArray[np.int64]:
    """The argument ``times`` as an array of ``n`` i64 (ns). One integer is the time of all packets; None is
    `NO_TIME`."""
    if times is None:
        times = NO_TIME
    if isinstance(times, (int, np.integer)):
        return np.full(n, integer("times", times, -(2**63), 2**63 - 1), dtype=np.int64)
    array = np.asarray(times)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ClassifierError("times: expected an integer or one dimension of integers (ns)")
    if len(array) != n:
        raise ClassifierError(f"times: expected {n}, got {len(array)}")
    return np.ascontiguousarray(array, dtype=np.int64)
