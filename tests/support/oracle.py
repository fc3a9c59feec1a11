"""What a rule means, written a second time: slow, plain, and sharing no code with the package.

`classify` reads like the definition and is the judge. `brute_force` says the same with whole numpy arrays, for sets
that are too big for it; test_oracle.py holds the two together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

# field name: its bit in a key's `present` and in a rule's `conditions` (flowclass.h, enum fc_field)
BITS = {
    "source": 1,
    "destination": 2,
    "flow_label": 4,
    "spi": 8,
    "source_port": 16,
    "destination_port": 32,
    "traffic_class": 64,
    "protocol": 128,
}


def number(row: Any, column: str) -> int:
    """One field of a row as a Python integer; a traffic class counts by its upper six bits."""
    field = column.removesuffix("_first").removesuffix("_last")
    value = row[column]
    if field in ("source", "destination"):
        return int(value[0]) << 64 | int(value[1])
    if field == "traffic_class":
        return int(value) >> 2
    return int(value)


def matches(rule: Any, key: Any) -> bool:
    """True when the key has the rule's version and every field that the rule looks at, inside the rule's range."""
    if rule["version"] != 0 and rule["version"] != key["version"]:
        return False
    for field, bit in BITS.items():
        if not rule["conditions"] & bit:
            continue
        if not key["present"] & bit:
            return False
        if not number(rule, f"{field}_first") <= number(key, field) <= number(rule, f"{field}_last"):
            return False
    return True


def first_match(rules: npt.NDArray[np.void], key: Any) -> int:
    """The index of the first rule that matches the key, -1 for none."""
    for index, rule in enumerate(rules):
        if matches(rule, key):
            return index
    return -1


def classify(rules: npt.NDArray[np.void], keys: npt.NDArray[np.void]) -> list[int]:
    """`first_match` for each of the keys."""
    return [first_match(rules, key) for key in keys]


def _at_least(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """a >= b, element by element, where the last axis holds the two words of an address."""
    equal = a[..., 0] == b[..., 0]
    return (a[..., 0] > b[..., 0]) | (equal & (a[..., 1] >= b[..., 1]))


def _match_matrix(rules: npt.NDArray[np.void], keys: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    """`matches` for every rule (rows) and every key (columns)."""
    r, k = rules[:, None], keys[None, :]
    ok = (r["version"] == 0) | (r["version"] == k["version"])
    ok &= (r["conditions"] & ~k["present"]) == 0
    for field, bit in BITS.items():
        wanted = (r["conditions"] & bit) != 0
        if not wanted.any():
            continue
        first, last, value = r[f"{field}_first"], r[f"{field}_last"], k[field]
        if field in ("source", "destination"):
            inside = _at_least(value, first) & _at_least(last, value)
        elif field == "traffic_class":
            inside = (value >> 2 >= first >> 2) & (value >> 2 <= last >> 2)
        else:
            inside = (value >= first) & (value <= last)
        ok &= inside | ~wanted
    return ok


def brute_force(rules: npt.NDArray[np.void], keys: npt.NDArray[np.void], *, block: int = 256) -> npt.NDArray[np.int32]:
    """`classify` as an int32 array, ``block`` rules at a time against the keys that have no answer yet."""
    answers = np.full(len(keys), -1, np.int32)
    pending = np.arange(len(keys))
    for start in range(0, len(rules), block):
        matrix = _match_matrix(rules[start : start + block], keys[pending])
        found = matrix.any(axis=0)
        answers[pending[found]] = start + matrix[:, found].argmax(axis=0)
        pending = pending[~found]
        if not len(pending):
            break
    return answers
