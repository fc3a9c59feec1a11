"""Seeded rule sets in the manner of ClassBench (Taylor and Turner, 2007): access lists, firewalls and IP chains.

A family is what its parameter file is there: how often each pair of prefix lengths occurs, five classes of port ranges
(WC all, HI 1024-65535, LO 0-1023, AR any other range, EM one port), the mix of protocols, and two address trees, whose
breadth per octet and skew decide how prefixes nest and are shared. The figures are rounded statistics of public
ClassBench sets; no set is copied. Rules come narrow before wide, as the original's do, with some disorder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flowclass.engine.fields import BITS
from flowclass.engine.keys import RULE_DTYPE
from flowclass.errors import ClassifierError
from flowclass.generate.names import MAX_RULES

__all__ = ["FAMILIES", "Family", "first_occurrences", "full_ranges", "prefix_range", "rule_set"]

Words = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]
Rules = npt.NDArray[np.void]

_ONES: Final = np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Tree:
    """An address tree.

    ``octets``: its breadth after 8, 16 and 24 bits, as a share of the leaves (at least ``first``); ``leaves``:
    addresses per rule in sets of 1k, 10k and 100k rules; ``skew``: the Zipf exponent of their use.
    """

    first: int
    octets: tuple[float, float, float]
    leaves: tuple[float, float, float]
    skew: float


@dataclass(frozen=True, slots=True)
class Ports:
    """Shares of the classes EM, AR, HI and LO among the rules whose protocol has ports; the rest is WC."""

    exact: float
    ranges: float
    high: float
    low: float


@dataclass(frozen=True, slots=True)
class Family:
    """``shapes``: (weight, source prefix lengths, destination prefix lengths), for IPv4; ``protocols``: -1 is any."""

    shapes: tuple[tuple[float, Mapping[int, float], Mapping[int, float]], ...]
    source_tree: Tree
    destination_tree: Tree
    source_ports: Ports
    destination_ports: Ports
    protocols: Mapping[int, float]


_SHORT: Final = {0: 45, 1: 43, 2: 10, 3: 2}
_HOSTS: Final = {32: 57, 31: 27, 30: 6, 29: 2, 28: 2, 27: 1, 22: 1, 21: 2, 20: 1, 24: 1}

FAMILIES: Final[Mapping[str, Family]] = {
    "acl": Family(
        shapes=(
            (
                1.0,
                {32: 690, 31: 190, 23: 40, 30: 32, 24: 24, 22: 12, 25: 5, 29: 5, 8: 1, 0: 1},
                {32: 670, 31: 160, 22: 36, 23: 24, 24: 22, 30: 22, 25: 19, 21: 9, 16: 6, 15: 4, 17: 4, 26: 4, 29: 5},
            ),
        ),
        source_tree=Tree(128, (0.02, 0.03, 0.06), (0.02, 0.33, 1.8), 0.4),
        destination_tree=Tree(200, (0.2, 0.4, 0.5), (0.2, 0.05, 0.065), 1.0),
        source_ports=Ports(0, 0, 0, 0),
        destination_ports=Ports(0.64, 0.14, 0, 0),
        protocols={6: 873, -1: 83, 1: 32, 17: 12},
    ),
    "fw": Family(
        shapes=((0.57, _SHORT, _HOSTS), (0.23, _HOSTS, _SHORT), (0.18, _HOSTS, _HOSTS), (0.02, _SHORT, _SHORT)),
        source_tree=Tree(256, (0.1, 0.8, 1.0), (0.06, 1.1, 1.1), 0.0),
        destination_tree=Tree(256, (0.1, 0.6, 1.0), (0.11, 1.6, 1.6), 0.0),
        source_ports=Ports(0.145, 0.001, 0.093, 0),
        destination_ports=Ports(0.675, 0.001, 0.09, 0),
        protocols={6: 58, 17: 32, 47: 5, 1: 4, -1: 1},
    ),
    "ipc": Family(
        shapes=(
            (
                1.0,
                {32: 27, 24: 14, 23: 12, 25: 10, 31: 9, 26: 5, 22: 4, 0: 3, 27: 3, 1: 2, 16: 2, 28: 2, 21: 2, 15: 2},
                {32: 34, 24: 12, 25: 10, 31: 10, 26: 6, 23: 6, 27: 4, 28: 3, 16: 3, 0: 2, 17: 2, 15: 1, 22: 2, 29: 2},
            ),
        ),
        source_tree=Tree(53, (0.05, 0.1, 0.3), (0.04, 0.035, 1.8), 0.4),
        destination_tree=Tree(95, (0.04, 0.1, 0.2), (0.25, 0.1, 1.8), 0.4),
        source_ports=Ports(0.22, 0.034, 0.006, 0),
        destination_ports=Ports(0.56, 0.045, 0.1, 0),
        protocols={17: 375, -1: 340, 6: 270, 1: 10, 47: 2, 50: 1, 51: 2},
    ),
}
"""acl: hosts on both sides; fw: a wild card on one side, both ports in use; ipc: medium prefixes, many protocols."""

# the ports that administrators use most; the rest of the pool is drawn from the registered range
_SERVICES: Final = (80, 443, 25, 53, 22, 21, 110, 143, 123, 161, 389, 1521, 3306, 3389, 5060, 8080, 137, 139, 445, 500)


def _check(version: int, n: int) -> None:
    if version not in (4, 6):
        raise ClassifierError("version: 4 or 6 expected")
    if not 1 <= n <= MAX_RULES:
        raise ClassifierError(f"a rule set of 1 to {MAX_RULES} rules expected, not {n}")


def prefix_range(address: Words, length: Numbers, version: int) -> tuple[Words, Words]:
    """First and last address of prefixes: (n, 2) words of any address inside and (n,) lengths -> two (n, 2) arrays."""
    bits = length + (96 if version == 4 else 0)
    free = np.empty_like(address)  # ones where the prefix leaves the address free
    for word in (0, 1):
        kept = np.clip(bits - 64 * word, 0, 64)
        shift = np.minimum(kept, 63).astype(np.uint64)
        free[:, word] = np.where(kept == 64, np.uint64(0), _ONES >> shift)
    if version == 4:
        free &= np.array([0, 0xFFFFFFFF], np.uint64)
    return address & ~free, address | free


def full_ranges(n: int, version: int) -> Rules:
    """``n`` rules without a condition, their (unread) ranges the full ones, as `read_classbench` fills them."""
    rules = np.zeros(n, RULE_DTYPE)
    rules["version"] = version
    top = np.array([0, 0xFFFFFFFF] if version == 4 else [_ONES, _ONES], np.uint64)
    rules["source_last"] = rules["destination_last"] = top
    rules["source_port_last"] = rules["destination_port_last"] = 0xFFFF
    rules["protocol_last"] = 0xFF
    return rules


def first_occurrences(rules: Rules) -> npt.NDArray[np.intp]:
    """The index of the first occurrence of each rule, ascending.

    Rows are compared by a 64-bit hash; a collision would only lose a rule.
    """
    words = np.ascontiguousarray(rules).view(np.uint64).reshape(len(rules), -1)
    digest = np.zeros(len(rules), np.uint64)
    for column in words.T:
        digest = (digest ^ column) * np.uint64(0x9E3779B97F4A7C15)
        digest ^= digest >> np.uint64(29)
    return np.sort(np.unique(digest, return_index=True)[1])


def _weighted(rng: np.random.Generator, weights: Mapping[int, float], n: int) -> Numbers:
    values = np.array(list(weights), np.int64)
    shares = np.array(list(weights.values()), float)
    return values[rng.choice(len(values), n, p=shares / shares.sum())]


def _leaves(tree: Tree, n: int) -> int:
    """Addresses in the tree of a set of n rules: the share of the three known sizes, interpolated over log n."""
    share = float(np.interp(np.log10(n), (3, 4, 5), tree.leaves))
    return max(4, round(n * share))


def _grow(rng: np.random.Generator, tree: Tree, n: int) -> Numbers:
    """The tree's IPv4 addresses, octet by octet: each node has at least one child, extra ones go where chance says."""
    leaves = _leaves(tree, n)
    nodes = np.zeros(1, np.int64)
    for octet, share in enumerate((*tree.octets, 1.0)):
        wanted = max(len(nodes), round(leaves * share), min(leaves, tree.first) if octet < 3 else leaves)
        wanted = min(wanted, 256 * len(nodes))
        extra = rng.choice(nodes, wanted - len(nodes)) if wanted > len(nodes) else nodes[:0]
        parents = np.concatenate([nodes, extra])
        nodes = np.unique(parents << 8 | rng.integers(0, 256, len(parents)))
    return rng.permutation(nodes)


def _spread(addresses: Numbers) -> Words:
    """IPv4 tree addresses as IPv6 ones, (n, 2) words: each bit becomes two, the second a hash of the bits so far.

    Prefixes of 2L bits are shared exactly where those of L bits were; the interface identifier is a hash of the leaf.
    """
    high = np.zeros(len(addresses), np.uint64)
    a = addresses.astype(np.uint64)
    for bit in range(32):
        so_far = a >> np.uint64(31 - bit)
        noise = ((so_far + np.uint64(bit)) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(63)
        high = high << np.uint64(2) | (so_far & np.uint64(1)) << np.uint64(1) | noise
    low = (a + np.uint64(1)) * np.uint64(0xBF58476D1CE4E5B9)
    low ^= low >> np.uint64(31)
    return np.stack([high, low * np.uint64(0x94D049BB133111EB)], axis=1)


def _pick(rng: np.random.Generator, size: int, n: int, skew: float) -> Numbers:
    """``n`` indices below ``size``, the k-th with a weight of k**-skew."""
    if skew == 0:
        return rng.integers(0, size, n)
    weights = np.cumsum(np.arange(1, size + 1, dtype=float) ** -skew)
    chosen: Numbers = np.searchsorted(weights, rng.random(n) * weights[-1])
    return chosen


def _addresses(
    rng: np.random.Generator, tree: Tree, pool: Numbers, lengths: Numbers, version: int
) -> tuple[Words, Words, Numbers]:
    chosen = pool[_pick(rng, len(pool), len(lengths), tree.skew)]
    # a prefix of 1 or 2 bits taken from few leaves would be one and the same: let it fall anywhere
    chosen = np.where(lengths < 8, rng.integers(0, 1 << 32, len(lengths)), chosen)
    if version == 4:
        words = np.stack([np.zeros(len(chosen), np.uint64), chosen.astype(np.uint64)], axis=1)
        return *prefix_range(words, lengths, 4), lengths
    lengths = np.where(lengths == 32, 128, 2 * lengths)
    return *prefix_range(_spread(chosen), lengths, 6), lengths


def _port_pools(rng: np.random.Generator) -> tuple[Numbers, Numbers]:
    """The exact ports and the arbitrary ranges that a set uses, most popular first."""
    exact = np.unique(np.concatenate([_SERVICES, rng.integers(1, 10000, 80)]))
    first = rng.integers(1, 60000, 30)
    ranges = np.stack([first, np.minimum(first + rng.integers(1, 4000, 30), 65535)], axis=1)
    ranges[:2] = ((6000, 6063), (33434, 33600))
    return rng.permutation(exact), ranges


def _ports(rng: np.random.Generator, mix: Ports, pools: tuple[Numbers, Numbers], n: int) -> Numbers:
    """(n, 2): first and last port of each rule."""
    exact, ranges = pools
    out = np.tile(np.array([0, 65535], np.int64), (n, 1))
    kind = rng.random(n)
    edges = np.cumsum((mix.exact, mix.ranges, mix.high, mix.low))
    chosen = exact[_pick(rng, len(exact), n, 0.9)]
    is_exact = kind < edges[0]
    out[is_exact] = np.stack([chosen, chosen], axis=1)[is_exact]
    is_range = (kind >= edges[0]) & (kind < edges[1])
    out[is_range] = ranges[_pick(rng, len(ranges), n, 0.9)][is_range]
    out[(kind >= edges[1]) & (kind < edges[2])] = (1024, 65535)
    out[(kind >= edges[2]) & (kind < edges[3])] = (0, 1023)
    return out


def _draw(
    rng: np.random.Generator, family: Family, trees: tuple[Numbers, Numbers], pools: Any, n: int, version: int
) -> tuple[Rules, npt.NDArray[np.float64]]:
    """``n`` rules, duplicates possible, and how wide each is: log2 of the number of headers that it covers."""
    rules = full_ranges(n, version)
    shape = _weighted(rng, {i: s[0] for i, s in enumerate(family.shapes)}, n)
    width = np.zeros(n)
    for side, tree, pool, weights in (
        ("source", family.source_tree, trees[0], [s[1] for s in family.shapes]),
        ("destination", family.destination_tree, trees[1], [s[2] for s in family.shapes]),
    ):
        lengths = np.zeros(n, np.int64)
        for i, weight in enumerate(weights):
            lengths = np.where(shape == i, _weighted(rng, weight, n), lengths)
        first, last, lengths = _addresses(rng, tree, pool, lengths, version)
        rules[f"{side}_first"], rules[f"{side}_last"] = first, last
        rules["conditions"] |= np.where(lengths > 0, BITS[side], 0).astype(np.uint8)
        width += (32 if version == 4 else 128) - lengths
    protocol = _weighted(rng, family.protocols, n)
    stated = protocol >= 0
    rules["protocol_first"][stated] = rules["protocol_last"][stated] = protocol[stated]
    rules["conditions"] |= np.where(stated, BITS["protocol"], 0).astype(np.uint8)
    width += np.where(stated, 0, 8)
    for side, mix, pool in (
        ("source_port", family.source_ports, pools[0]),
        ("destination_port", family.destination_ports, pools[1]),
    ):
        ports = _ports(rng, mix, pool, n)
        ports[(protocol != 6) & (protocol != 17)] = (0, 65535)
        rules[f"{side}_first"], rules[f"{side}_last"] = ports[:, 0], ports[:, 1]
        some = (ports[:, 0] > 0) | (ports[:, 1] < 65535)
        rules["conditions"] |= np.where(some, BITS[side], 0).astype(np.uint8)
        width += np.log2(ports[:, 1] - ports[:, 0] + 1)
    return rules, width


def rule_set(family: str, n: int, *, version: int = 4, seed: int = 0) -> Rules:
    """``n`` different rules of a family (a name in `FAMILIES`), narrow before wide: an array of `RULE_DTYPE`.

    IPv6 sets have the same structure: prefix lengths are doubled, hosts are /128. The same arguments give the same
    rules on every machine. Raises ClassifierError for an unknown family, a version other than 4 or 6, or ``n`` out of
    1 to 2**24.
    """
    _check(version, n)
    if family not in FAMILIES:
        raise ClassifierError(f"no family named {family!r}: one of {', '.join(FAMILIES)} expected")
    chosen = FAMILIES[family]
    rng = np.random.default_rng([seed, version, n, list(FAMILIES).index(family)])
    trees = (_grow(rng, chosen.source_tree, n), _grow(rng, chosen.destination_tree, n))
    pools = (_port_pools(rng), _port_pools(rng))
    rules, width = np.empty(0, RULE_DTYPE), np.empty(0)
    while len(rules) < n:  # duplicates are dropped, so more are drawn than are missing
        more, wider = _draw(rng, chosen, trees, pools, (n - len(rules)) * 5 // 4 + 16, version)
        rules, width = np.concatenate([rules, more]), np.concatenate([width, wider])
        first = first_occurrences(rules)[:n]
        rules, width = rules[first], width[first]
    return rules[np.argsort(width + rng.normal(0, 8, n), kind="stable")]
