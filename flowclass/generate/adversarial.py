"""Seeded rule sets that are hard for a classifier. Each function says for which data structure, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from flowclass.engine.fields import ADDRESSES, BITS, FIELDS, LARGEST
from flowclass.errors import ClassifierError
from flowclass.generate.names import ADVERSARIAL_NAMES, MAX_RULES
from flowclass.generate.rulesets import first_occurrences, full_ranges, prefix_range

__all__ = ["ADVERSARIAL", "adversarial_set"]

Rules = npt.NDArray[np.void]
Maker = Callable[[np.random.Generator, int, int], Rules]


_WIDTH: Final = {field.name: field.width for field in FIELDS}


def _words(rng: np.random.Generator, n: int, version: int) -> npt.NDArray[np.uint64]:
    """Random addresses: (n, 2) words."""
    words = rng.integers(0, 0xFFFFFFFFFFFFFFFF, (n, 2), np.uint64, endpoint=True)
    if version == 4:
        words &= np.array([0, 0xFFFFFFFF], np.uint64)
    return words


def _set_prefixes(rules: Rules, side: str, words: npt.NDArray[np.uint64], lengths: npt.NDArray[np.int64]) -> None:
    rules[f"{side}_first"], rules[f"{side}_last"] = prefix_range(words, lengths, int(rules["version"][0]))
    rules["conditions"] |= np.where(lengths > 0, BITS[side], 0).astype(np.uint8)


def _set_ranges(rules: Rules, name: str, first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]) -> None:
    rules[f"{name}_first"], rules[f"{name}_last"] = first, last
    rules["conditions"] |= np.uint8(BITS[name])


def _until_unique(make: Callable[[int], Rules], n: int) -> Rules:
    """``n`` different rules; ``make(count)`` draws ``count`` rules, which may have duplicates."""
    rules = make(n)
    while len(rules := rules[first_occurrences(rules)]) < n:
        rules = np.concatenate([rules, make(n)])
    return rules[:n]


def prefix_pairs(rng: np.random.Generator, n: int, version: int) -> Rules:
    """All pairs of prefix lengths equally often: hundreds of tuples for tuple space search, no good cut for a tree."""

    def make(count: int) -> Rules:
        rules = full_ranges(count, version)
        for side in ("source", "destination"):
            lengths = rng.integers(1, 32 if version == 4 else 128, count, endpoint=True)
            _set_prefixes(rules, side, _words(rng, count, version), lengths)
        return rules

    return _until_unique(make, n)


def nested_ranges(rng: np.random.Generator, n: int, version: int) -> Rules:
    """Source port ranges, each inside the next: no single bit separates them, and the middle is in all of them.

    Above 32,768 rules the nests repeat, one for each protocol.
    """
    rules = full_ranges(n, version)
    depth = np.arange(n) % 32768
    _set_ranges(rules, "source_port", 32767 - depth, 32768 + depth)
    nest = np.arange(n) // 32768
    if n > 32768:
        _set_ranges(rules, "protocol", nest % 256, nest % 256)
    return rules


def _rectangles(rng: np.random.Generator, n: int, version: int, smallest: int, largest: int) -> Rules:
    def make(count: int) -> Rules:
        rules = full_ranges(count, version)
        for side in ("source_port", "destination_port"):
            first = rng.integers(0, 65536, count)
            last = np.minimum(first + rng.integers(smallest, largest, count, endpoint=True) - 1, 65535)
            _set_ranges(rules, side, first, last)
        return rules

    return _until_unique(make, n)


def small_rectangles(rng: np.random.Generator, n: int, version: int) -> Rules:
    """Small rectangles of ports that are not prefixes: splitting ranges into prefixes makes dozens of each."""
    return _rectangles(rng, n, version, 2, 64)


def medium_rectangles(rng: np.random.Generator, n: int, version: int) -> Rules:
    """Rectangles of ports, hundreds of which overlap in every point: a tree has long leaves or many copies."""
    return _rectangles(rng, n, version, 1024, 8192)


def overlapping_ranges(rng: np.random.Generator, n: int, version: int) -> Rules:
    """A window of half the port range that slides by one port: every point is inside half of the rules.

    Above 32,768 rules the windows repeat, one row for each protocol.
    """
    rules = full_ranges(n, version)
    start = np.arange(n) % 32768
    _set_ranges(rules, "destination_port", start, start + 32767)
    row = np.arange(n) // 32768
    _set_ranges(rules, "protocol", row % 256, row % 256)
    return rules[rng.permutation(n)]


def tuple_explosion(rng: np.random.Generator, n: int, version: int) -> Rules:
    """As many combinations of prefix lengths in four fields as there are rules (Csikor et al., CoNEXT 2019).

    The prefixes lie around one header, so that a packet near it visits every tuple.
    """
    bits = 32 if version == 4 else 128
    rules = full_ranges(n, version)
    combination = rng.permutation(n)
    centre = _words(rng, 2, version)
    for i, side in enumerate(("source", "destination")):
        lengths = 1 + (combination // bits**i) % bits
        # the last bit of the prefix is flipped, so the centre itself matches none of them
        flip = np.zeros((n, 2), np.uint64)
        position = bits - lengths
        word = np.where(position >= 64, 0, 1)
        flip[np.arange(n), word] = np.uint64(1) << (position % 64).astype(np.uint64)
        _set_prefixes(rules, side, np.broadcast_to(centre[i], (n, 2)) ^ flip, lengths)
    combination //= bits**2
    for side, port in (("source_port", 0xA5A5), ("destination_port", 0x5A5A)):
        free = (1 << (combination % 17)) - 1
        _set_ranges(rules, side, (port ^ (free + 1)) & 0xFFFF & ~free, (port ^ (free + 1)) & 0xFFFF | free)
        combination //= 17
    return rules


def one_leaf(rng: np.random.Generator, n: int, version: int) -> Rules:
    """Boxes around one header, seldom one inside another: a box that is wide in one field is narrow in another."""
    bits = 32 if version == 4 else 128
    centre = _words(rng, 2, version)

    def make(count: int) -> Rules:
        rules = full_ranges(count, version)
        # the four exponents share one budget: a box that is narrower here is wider there
        share = rng.dirichlet(np.ones(4), count)
        budget = (2 * bits + 32) * 0.5
        for i, side in enumerate(("source", "destination")):
            lengths = np.clip(np.rint(share[:, i] * budget), 1, bits).astype(np.int64)
            _set_prefixes(rules, side, np.broadcast_to(centre[i], (count, 2)), lengths)
        for i, side in enumerate(("source_port", "destination_port")):
            reach = np.maximum(2 ** (15.9 - np.clip(share[:, 2 + i] * budget, 0, 15.5)), 1)
            below = (rng.random(count) * reach).astype(np.int64)
            above = (rng.random(count) * reach).astype(np.int64)
            _set_ranges(rules, side, np.maximum(30000 - below, 0), np.minimum(30000 + above, 65535))
        return rules

    return _until_unique(make, n)


def _shifted(words: npt.NDArray[np.uint64], by: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Shifts 128-bit numbers, given as (n, 2) words, right by 0 to 127 bits."""
    near, far = np.minimum(by, 63).astype(np.uint64), np.clip(by - 64, 0, 63).astype(np.uint64)
    carried = np.where(near > 0, words[:, 0] << (np.uint64(64) - np.maximum(near, np.uint64(1))), np.uint64(0))
    low = np.where(by < 64, words[:, 1] >> near | carried, words[:, 0] >> far)
    return np.stack([np.where(by < 64, words[:, 0] >> near, np.uint64(0)), low], axis=1)


def _some_ranges(
    rng: np.random.Generator, n: int, version: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """First and last addresses of ranges; the size of each has a random number of bits, at most six less than all."""
    bits = 32 if version == 4 else 128
    top = np.array([0, 0xFFFFFFFF] if version == 4 else [0xFFFFFFFFFFFFFFFF] * 2, np.uint64)
    first = _words(rng, n, version)
    span = _shifted(_words(rng, n, version), bits - rng.integers(1, bits - 6, n))
    last = first + span
    last[:, 0] += (last[:, 1] < first[:, 1]).astype(np.uint64)
    over = (last[:, 0] < first[:, 0]) | ((last[:, 0] == top[0]) & (last[:, 1] > top[1]))
    last[over] = top
    return first, last


def address_ranges(rng: np.random.Generator, n: int, version: int) -> Rules:
    """Source and destination ranges that are not prefixes, from two addresses to a hundredth of all, some nested."""

    def make(count: int) -> Rules:
        rules = full_ranges(count, version)
        for side in ("source", "destination"):
            rules[f"{side}_first"], rules[f"{side}_last"] = _some_ranges(rng, count, version)
            rules["conditions"] |= np.uint8(BITS[side])
        return rules

    return _until_unique(make, n)


def eight_fields(rng: np.random.Generator, n: int, version: int) -> Rules:
    """Rules with two to eight fields, all with arbitrary ranges, which no five-tuple classifier supports."""

    def make(count: int) -> Rules:
        rules = address_ranges(rng, count, version)
        rules["conditions"] = 0
        drawn = {"source": 0.5, "destination": 0.5, "flow_label": 0.3, "spi": 0.2}
        drawn |= {"source_port": 0.4, "destination_port": 0.5, "traffic_class": 0.4, "protocol": 0.6}
        for name, share in drawn.items():
            stated = rng.random(count) < share
            rules["conditions"] |= np.where(stated, BITS[name], 0).astype(np.uint8)
            if name in ADDRESSES:
                continue
            bits = _WIDTH[name]
            first = rng.integers(0, 1 << bits, count)
            span = rng.integers(0, 1 << rng.integers(0, bits, count))
            rules[f"{name}_first"] = first
            rules[f"{name}_last"] = np.minimum(first + span, (1 << bits) - 1)
        two_fields: Rules = rules[np.unpackbits(rules["conditions"][:, None], axis=1).sum(axis=1) >= 2]
        return two_fields

    return _until_unique(make, n)


def staggered(rng: np.random.Generator, n: int, version: int) -> Rules:
    """A grid of squares, each half of the ports wide, around one point: each corner of the grid is in other rules.

    Above 16,384 rules the grids repeat, one for each protocol.
    """
    rules = full_ranges(n, version)
    cell = np.arange(n)
    side = min(128, int(np.ceil(np.sqrt(n))))
    for name, place in (("source_port", cell % side), ("destination_port", cell // side % side)):
        start = place * (32768 // side) + rng.integers(0, 32768 // side, n)
        _set_ranges(rules, name, start, start + 32767)
    row = cell // (side * side)
    if n > side * side:
        _set_ranges(rules, "protocol", row % 256, row % 256)
    return rules[rng.permutation(n)]


def one_box(rng: np.random.Generator, n: int, version: int) -> Rules:
    """Address ranges with the same bounding box of 16-bit ranges, which is all that a comparison by 16-bit lanes sees.

    They begin in the upper half of one block of 16 bits less and end in the lower half of the next.
    """
    word, shift = (0, 48) if version == 6 else (1, 16)
    half = np.uint64(1 << (shift - 1))

    def make(count: int) -> Rules:
        rules = full_ranges(count, version)
        for side in ("source", "destination"):
            first, last = _words(rng, count, version), _words(rng, count, version)
            first[:, word] = first[:, word] % half + half + np.uint64(0x2001 << shift)
            last[:, word] = last[:, word] % half + np.uint64(0x2002 << shift)
            rules[f"{side}_first"], rules[f"{side}_last"] = first, last
            rules["conditions"] |= np.uint8(BITS[side])
        return rules

    return _until_unique(make, n)


def present_fields(rng: np.random.Generator, n: int, version: int) -> Rules:
    """Wide source port ranges; each rule also requires some fields to be present, with any value.

    No value proves that a packet has a field, so no rule covers a region.
    """
    rules = full_ranges(n, version)
    first = rng.integers(0, 32768, n)
    _set_ranges(rules, "source_port", first, first + rng.integers(0, 32768, n))
    optional = sum(BITS[name] for name in ("flow_label", "spi", "destination_port", "traffic_class", "protocol"))
    rules["conditions"] |= (rng.integers(1, 256, n) & optional).astype(np.uint8)
    return rules


def corners(rng: np.random.Generator, n: int, version: int) -> Rules:
    """Boxes in all eight fields that contain one header, except in one field, in which they end just before it."""
    order = ("source", "flow_label", "spi", "source_port", "traffic_class")  # the order of random draws
    bits = {
        name: 32 if version == 4 and name in ADDRESSES else _WIDTH[name]
        for name in (*order, "destination", "destination_port", "protocol")
    }
    centre = {name: int.from_bytes(rng.bytes(16), "big") >> (128 - b) | 1 << (b - 1) for name, b in bits.items()}

    def make(count: int) -> Rules:
        rules = full_ranges(count, version)
        short = rng.integers(0, 8, count)
        for i, (name, b) in enumerate(bits.items()):
            reach = [
                [int.from_bytes(rng.bytes(16), "big") >> (129 - b + int(k)) for k in rng.integers(0, b, count)]
                for _ in "ab"
            ]
            top, c = (1 << b) - 1, centre[name]
            first = [c - r for r in reach[0]]
            last = [min(c + r, top) if short[k] != i else max(c - 1 - r // 4, first[k]) for k, r in enumerate(reach[1])]
            if name in ADDRESSES:
                for end, values in (("first", first), ("last", last)):
                    rules[f"{name}_{end}"] = [[v >> 64, v & 0xFFFFFFFFFFFFFFFF] for v in values]
            else:
                rules[f"{name}_first"], rules[f"{name}_last"] = first, last
            rules["conditions"] |= np.uint8(BITS[name])
        if version == 4:
            rules["conditions"] &= np.uint8(255 - BITS["flow_label"])
            rules["flow_label_first"], rules["flow_label_last"] = 0, LARGEST["flow_label"]
        return rules

    return _until_unique(make, n)


ADVERSARIAL: Final[Mapping[str, Maker]] = {name: globals()[name] for name in ADVERSARIAL_NAMES}


def adversarial_set(name: str, n: int, *, version: int = 4, seed: int = 0) -> Rules:
    """``n`` different rules of an adversarial family (a name in `ADVERSARIAL`): an array of `RULE_DTYPE`.

    The same arguments give the same rules. Raises ClassifierError for an unknown name, version or size.
    """
    if name not in ADVERSARIAL:
        raise ClassifierError(f"no adversarial family named {name!r}: one of {', '.join(ADVERSARIAL)} expected")
    if version not in (4, 6) or not 1 <= n <= MAX_RULES:
        raise ClassifierError(f"version 4 or 6 and 1 to {MAX_RULES} rules expected")
    rng = np.random.default_rng([seed, version, n, list(ADVERSARIAL).index(name)])
    rules = ADVERSARIAL[name](rng, n, version)
    if len(first_occurrences(rules)) < n:
        raise ClassifierError(f"{name} has no {n} different rules of IP version {version}")
    return rules
