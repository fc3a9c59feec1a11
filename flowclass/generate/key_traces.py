"""Seeded packet keys for a rule set: on the corners of rules, uniform inside rules, and flows that repeat (Zipf)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flowclass.engine.fields import ADDRESSES, BITS, LARGEST
from flowclass.engine.keys import KEY_DTYPE
from flowclass.errors import ClassifierError

__all__ = ["TRACES", "key_trace", "near_misses"]

Rules = npt.NDArray[np.void]
Keys = npt.NDArray[np.void]

TRACES: Final = ("corner", "uniform", "zipf")

_FIVE_TUPLE: Final = sum(
    BITS[name] for name in ("source", "destination", "source_port", "destination_port", "protocol")
)
_ONES: Final = np.uint64(0xFFFFFFFFFFFFFFFF)


def _words_inside(
    rng: np.random.Generator, first: npt.NDArray[np.uint64], last: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    """Random addresses between two others, inclusive: uniform if their number is a power of two, else nearly so."""
    borrow = (last[:, 1] < first[:, 1]).astype(np.uint64)
    high, low = last[:, 0] - first[:, 0] - borrow, last[:, 1] - first[:, 1]
    noise = rng.integers(0, _ONES, first.shape, np.uint64, endpoint=True)
    # cut to the bit length of the span, so at most twice the span: halving those above the span is enough
    noise[:, 0] &= _fill_right(high)
    noise[:, 1] &= np.where(high > 0, _ONES, _fill_right(low))
    over = (noise[:, 0] > high) | ((noise[:, 0] == high) & (noise[:, 1] > low))
    noise[over] >>= np.uint64(1)
    total = first[:, 1] + noise[:, 1]
    carry = (total < first[:, 1]).astype(np.uint64)
    return np.stack([first[:, 0] + noise[:, 0] + carry, total], axis=1)


def _fill_right(a: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """2**k - 1 for the bit length k of each number."""
    for shift in (1, 2, 4, 8, 16, 32):
        a = a | a >> np.uint64(shift)
    return a


def _bounds(rules: Rules, name: str, version: npt.NDArray[np.uint8]) -> tuple[Any, Any]:
    """The range of a field in each rule; the full range of the field if the rule has no condition on it."""
    stated = (rules["conditions"] & BITS[name]) != 0
    first, last = rules[f"{name}_first"].copy(), rules[f"{name}_last"].copy()
    first[~stated] = 0
    if name in ADDRESSES:
        last[~stated] = _ONES
        last[~stated & (version == 4)] = (0, 0xFFFFFFFF)
    else:
        last[~stated] = LARGEST[name]
    return first, last


def _keys_inside(
    rng: np.random.Generator, rules: Rules, chosen: npt.NDArray[np.integer[Any]], corner: bool = False
) -> Keys:
    """A key for each chosen rule: anywhere inside the rule, or with every field at an end of its range."""
    rows = rules[chosen]
    present = _FIVE_TUPLE | int(np.bitwise_or.reduce(rules["conditions"])) if len(rules) else _FIVE_TUPLE
    keys = np.zeros(len(rows), KEY_DTYPE)
    keys["version"] = np.where(rows["version"] == 0, rng.choice(np.array([4, 6], np.uint8), len(rows)), rows["version"])
    keys["present"] = present
    for name, bit in BITS.items():
        if not present & bit:
            continue
        first, last = _bounds(rows, name, keys["version"])
        if corner:
            upper = rng.random(len(rows)) < 0.5
            keys[name] = np.where(upper[:, None] if name in ADDRESSES else upper, last, first)
        elif name in ADDRESSES:
            keys[name] = _words_inside(rng, first, last)
        else:
            keys[name] = rng.integers(first.astype(np.int64), last.astype(np.int64), endpoint=True)
    return keys


def key_trace(rules: Rules, n: int, *, kind: str = "uniform", seed: int = 0, flows: int = 0) -> Keys:
    """``n`` keys for a rule set, each made from a rule drawn uniformly: an array of `KEY_DTYPE`.

    kind
        ``corner``: every field is at an end of the rule's range; ``uniform``: anywhere inside the rule; ``zipf``: like
        uniform, but with only ``flows`` different keys (a sixteenth of ``n`` unless given), of which the k-th most
        popular has a weight of 1/k.

    Keys have the fields of the five-tuple, and all others on which a rule of the set has a condition. The first match
    of a key is often another rule than the one it was made from. Raises ClassifierError for an unknown kind or an empty
    rule set.
    """
    if kind not in TRACES:
        raise ClassifierError(f"no trace kind named {kind!r}: one of {', '.join(TRACES)} expected")
    if not len(rules):
        raise ClassifierError("a trace needs at least one rule")
    rng = np.random.default_rng([seed, n, TRACES.index(kind)])
    if kind != "zipf":
        return _keys_inside(rng, rules, rng.integers(0, len(rules), n), kind == "corner")
    count = max(1, flows or n // 16)
    distinct = _keys_inside(rng, rules, rng.integers(0, len(rules), count))
    weights = np.cumsum(1 / np.arange(1, count + 1))
    popular: Keys = distinct[np.searchsorted(weights, rng.random(n) * weights[-1])]
    return popular


def near_misses(rules: Rules, n: int, *, seed: int = 0, tries: int = 4096, worst: int = 16) -> Keys:
    """``n`` keys aimed at the worst place of a rule set, whatever structure it is put into: an array of `KEY_DTYPE`.

    Candidates mix the corners of different rules, field by field. A lookup may have to compare a rule in vain if it
    agrees with the candidate in all fields but one. The ``worst`` candidates that have the most such rules before their
    first match, counted over a sample of 1,024 rules, are repeated in random order.
    """
    rng = np.random.default_rng([seed, n, 7])
    sample = rules if len(rules) <= 1024 else rules[np.sort(rng.choice(len(rules), 1024, replace=False))]
    candidates = _keys_inside(rng, rules, rng.integers(0, len(rules), tries), True)
    for name in BITS:  # the addresses come from one rule, the ports from another, ...
        if rng.random() < 0.7:
            candidates[name] = candidates[name][rng.permutation(tries)]
    candidates["protocol"][::3] = 255 - candidates["protocol"][::3]  # a protocol that few rules match
    score = np.zeros(tries, np.int64)
    for i, key in enumerate(candidates):
        failed = _failed_fields(sample, key)
        hits = np.flatnonzero(failed == 0)
        score[i] = np.count_nonzero(failed[: hits[0] if len(hits) else len(sample)] == 1)
    best = candidates[np.argsort(-score)[:worst]]
    return best[rng.integers(0, len(best), n)]


def _failed_fields(rules: Rules, key: Any) -> npt.NDArray[np.int64]:
    """The number of fields on which a key fails each rule (a wrong IP version counts as many)."""
    failed = np.where((rules["version"] == 0) | (rules["version"] == key["version"]), 0, 99)
    for name, bit in BITS.items():
        stated = (rules["conditions"] & bit) != 0
        first, last, value = rules[f"{name}_first"], rules[f"{name}_last"], key[name]
        if name in ADDRESSES:
            low = (first[:, 0] > value[0]) | ((first[:, 0] == value[0]) & (first[:, 1] > value[1]))
            high = (last[:, 0] < value[0]) | ((last[:, 0] == value[0]) & (last[:, 1] < value[1]))
        else:
            low, high = value < first, value > last
        failed += stated & (low | high)
    return failed.astype(np.int64)
