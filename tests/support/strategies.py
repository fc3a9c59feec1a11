"""Rules that nest, touch, overlap and collide, and keys on their edges.

The generators take a `random.Random`, so that one piece of code serves seeded tests (``Random(7)``) and hypothesis
(`st.randoms` gives a Random whose choices hypothesis records and shrinks).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from oracle import BITS

from flowclass import KEY_DTYPE, RULE_DTYPE

FIELDS = tuple(BITS)
WIDTH = {
    "source": 128,
    "destination": 128,
    "flow_label": 20,
    "spi": 32,
    "source_port": 16,
    "destination_port": 16,
    "traffic_class": 8,
    "protocol": 8,
}
ADDRESSES = ("source", "destination")
_M64 = (1 << 64) - 1

Range = tuple[int, int]


@dataclass
class Rule:
    """A rule in plain Python: a range for each field that it looks at."""

    version: int
    ranges: dict[str, Range] = field(default_factory=dict)


def width(name: str, version: int) -> int:
    """Bits of a field; an address of an IPv4 rule or key has 32."""
    return 32 if version == 4 and name in ADDRESSES else WIDTH[name]


def random_range(rnd: Random, bits: int) -> Range:
    """A point, a prefix, the full range, one that touches an end, one across a 16-bit border, or any other."""
    top = (1 << bits) - 1
    a, b = sorted((rnd.randint(0, top), rnd.randint(0, top)))
    kind = rnd.randint(0, 6)
    if kind == 0:
        return a, a
    if kind == 1:
        span = (1 << rnd.randint(0, bits)) - 1
        return a & ~span, a & ~span | span
    if kind == 2:
        return 0, top
    if kind == 3:
        return (0, a) if rnd.randint(0, 1) else (a, top)
    if kind == 4 and bits > 16:
        border = max(a >> 16, 1) << 16
        return border - rnd.randint(1, 9), min(border + rnd.randint(0, 9), top)
    if kind == 5:
        return a, min(a + rnd.randint(1, 20), top)
    return a, b


def neighbour(rnd: Random, old: Range, bits: int) -> Range:
    """A range in a telling position to another: the same, nested, touching, overlapping, around it, or off by one."""
    top = (1 << bits) - 1
    lo, hi = old
    kind = rnd.randint(0, 6)
    if kind == 0:
        return old
    if kind == 1:
        a, b = sorted((rnd.randint(lo, hi), rnd.randint(lo, hi)))
        return a, b
    if kind == 2 and hi < top:
        return hi + 1, rnd.randint(hi + 1, top)
    if kind == 3 and lo > 0:
        return rnd.randint(0, lo - 1), lo - 1
    if kind == 4:
        return rnd.randint(lo, hi), rnd.randint(hi, top)
    if kind == 5:
        return rnd.randint(0, lo), rnd.randint(hi, top)
    return max(lo - 1, 0), min(hi + 1, top)


def random_rule(rnd: Random, versions: Sequence[int], fields: Sequence[str]) -> Rule:
    """A rule with any subset of the fields; one of version 0 (both) has no addresses."""
    rule = Rule(rnd.choice(list(versions)))
    for name in fields:
        if rnd.randint(0, 1) and not (rule.version == 0 and name in ADDRESSES):
            rule.ranges[name] = random_range(rnd, width(name, rule.version))
    return rule


def mutated(rnd: Random, old: Rule, fields: Sequence[str]) -> Rule:
    """A copy of a rule with one or two fields moved, dropped or added: what nests and collides with the first."""
    rule = Rule(old.version, dict(old.ranges))
    for _ in range(rnd.randint(1, 2)):
        name = rnd.choice(list(fields))
        if rule.version == 0 and name in ADDRESSES:
            continue
        bits = width(name, rule.version)
        if name not in rule.ranges:
            rule.ranges[name] = random_range(rnd, bits)
        elif rnd.randint(0, 3) == 0:
            del rule.ranges[name]
        else:
            rule.ranges[name] = neighbour(rnd, rule.ranges[name], bits)
    return rule


def random_rules(
    rnd: Random, n: int, *, versions: Sequence[int] = (0, 4, 6), fields: Sequence[str] = FIELDS
) -> list[Rule]:
    """``n`` rules, two of three made from an earlier one."""
    rules: list[Rule] = []
    for _ in range(n):
        if rules and rnd.randint(0, 2):
            rules.append(mutated(rnd, rnd.choice(rules), fields))
        else:
            rules.append(random_rule(rnd, versions, fields))
    return rules


def _store(row: Any, column: str, value: int) -> None:
    row[column] = (value >> 64, value & _M64) if row[column].shape else value


def rule_rows(rules: Iterable[Rule], rnd: Random | None = None) -> npt.NDArray[np.void]:
    """Rules as RULE_DTYPE rows; with ``rnd``, columns that a rule doesn't look at may hold noise."""
    rules = list(rules)
    rows = np.zeros(len(rules), RULE_DTYPE)
    for row, rule in zip(rows, rules, strict=True):
        row["version"] = rule.version
        for name in FIELDS:
            if name in rule.ranges:
                row["conditions"] |= BITS[name]
                pair = rule.ranges[name]
            elif rnd is not None and rnd.randint(0, 3) == 0:
                top = (1 << width(name, rule.version)) - 1
                pair = (rnd.randint(0, top), rnd.randint(0, top))
            else:
                continue
            _store(row, f"{name}_first", pair[0])
            _store(row, f"{name}_last", pair[1])
    return rows


def edge_key(rnd: Random, rules: Sequence[Rule]) -> Any:
    """A key row near one rule: each field on an edge of the rule, just outside it, or inside; now and then absent."""
    row = np.zeros(1, KEY_DTYPE)[0]
    rule = rnd.choice(list(rules)) if rules else Rule(6)
    row["version"] = rule.version or rnd.choice([4, 6])
    if rnd.randint(0, 9) == 0:
        row["version"] = 10 - row["version"]
    strict = rnd.randint(0, 1)  # half of the keys stay inside their rule, or hits would be rare with many fields
    for name in FIELDS:
        top = (1 << width(name, int(row["version"]))) - 1
        if name in rule.ranges:
            lo, hi = rule.ranges[name]
            inside = [lo, hi, (lo + hi) // 2, rnd.randint(lo, hi)]
            value = rnd.choice(inside if strict else [*inside, lo - 1, hi + 1])
        else:
            value = rnd.choice([0, top, rnd.randint(0, top)])
        if rnd.randint(0, 15 if strict or name in rule.ranges else 3) == 0:
            continue
        row["present"] |= BITS[name]
        _store(row, name, min(max(value, 0), top))
    return row


def edge_keys(rnd: Random, rules: Sequence[Rule], n: int) -> npt.NDArray[np.void]:
    """``n`` rows of KEY_DTYPE, each an `edge_key`; fields that a key lacks are 0."""
    rows = np.zeros(n, KEY_DTYPE)
    for i in range(n):
        rows[i] = edge_key(rnd, rules)
    return rows


def rules_and_keys(
    seed: int, n_rules: int, n_keys: int, *, versions: Sequence[int] = (0, 4, 6), fields: Sequence[str] = FIELDS
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
    """A seeded rule set with keys on its edges, for tests that take more than hypothesis can shrink."""
    rnd = Random(seed)
    rules = random_rules(rnd, n_rules, versions=versions, fields=fields)
    return rule_rows(rules, rnd), edge_keys(rnd, rules, n_keys)


@st.composite
def classifications(
    draw: st.DrawFn, *, max_rules: int = 20, max_keys: int = 20, versions: Sequence[int] = (0, 4, 6)
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
    """(rules, keys) for hypothesis: any subset of the eight fields is in use, so that tables of few fields occur."""
    fields = draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=8, unique=True))
    n_rules = draw(st.integers(0, max_rules))
    n_keys = draw(st.integers(0, max_keys))
    rnd = draw(st.randoms(use_true_random=False))
    rules = random_rules(rnd, n_rules, versions=versions, fields=fields)
    return rule_rows(rules, rnd), edge_keys(rnd, rules, n_keys)
