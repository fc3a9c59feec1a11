"""The owners of mobile network prefixes and IPv4 home addresses, and whether a new prefix conflicts with them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ..addresses import Prefix, in_prefixes
from .node import Node

__all__ = ["Owners"]

_UNSORTED: Final = 1000
"""Up to this many additions are searched one by one; then they are merged into the sorted list."""

_MOST_HOPS: Final = 64
"""The greatest number of nodes that a chain of care-of addresses may lead through; a longer one counts as a loop."""


class Owners(dict[Prefix, bytes]):
    """Maps each prefix to the home address of its node; an IPv4 home address is a prefix of its full length.

    ``nodes`` are the nodes of the cache, which the cache itself maintains; it calls `added` for a new one. Prefixes are
    added by `claim` and removed by `release`. Addresses and prefixes inside a given prefix are searched in a sorted
    list, which is made when it is first needed.
    """

    __slots__ = ("_additions", "_lengths", "_nodes", "_sorted")

    def __init__(self, nodes: Mapping[bytes, Node] | None = None) -> None:
        super().__init__()
        self._nodes = {} if nodes is None else nodes
        self._lengths: dict[tuple[int, int], int] = {}  # (octets of the address, prefix length) -> number of prefixes
        self._sorted: list[Prefix] | None = None
        self._additions: list[Prefix] = []

    def claim(self, prefixes: Iterable[Prefix], home: bytes) -> None:
        """Make ``home`` the owner of these prefixes."""
        for prefix in prefixes:
            if prefix not in self:
                kind = len(prefix[0]), prefix[1]
                self._lengths[kind] = self._lengths.get(kind, 0) + 1
            self[prefix] = home
            self.added(prefix)

    def release(self, prefixes: Iterable[Prefix], home: bytes) -> None:
        """Remove those of these prefixes that ``home`` owns."""
        for prefix in prefixes:
            if self.get(prefix) == home:
                del self[prefix]
                kind = len(prefix[0]), prefix[1]
                self._lengths[kind] -= 1
                if not self._lengths[kind]:
                    del self._lengths[kind]

    def added(self, prefix: Prefix) -> None:
        """Note a new prefix, or a new home address as a prefix of its full length."""
        if self._sorted is None:
            return
        self._additions.append(prefix)
        if len(self._additions) > 2 * (len(self._nodes) + len(self)) + _UNSORTED:
            self._sorted = None
            self._additions = []

    def in_the_way(self, prefix: Prefix, home: bytes) -> bool:
        """Whether another node than ``home`` has this prefix, one that contains it, or an address or prefix inside
        it."""
        return self._covers(prefix, home) or self._holds(prefix, home)

    def _covers(self, prefix: Prefix, home: bytes) -> bool:
        network, length = prefix
        size, number = 8 * len(network), int.from_bytes(network, "big")
        for octets, shorter in self._lengths:
            if octets == len(network) and shorter <= length:
                host = size - shorter
                around = ((number >> host << host).to_bytes(octets, "big"), shorter)
                if self.get(around, home) != home:
                    return True
        return False

    def owner(self, address: bytes) -> bytes | None:
        """Return the home address of the node to which packets to this address go, or None if there is no such node."""
        if address in self._nodes:
            return address
        found, longest = None, -1
        number, size = int.from_bytes(address, "big"), 8 * len(address)
        for octets, length in self._lengths:
            if octets == len(address) and length > longest:
                host = size - length
                home = self.get(((number >> host << host).to_bytes(octets, "big"), length))
                if home is not None:
                    found, longest = home, length
        return found

    def leads_back(self, address: bytes, home: bytes, prefixes: Sequence[Prefix] = ()) -> bool:
        """Whether packets sent to a care-of address would come back to the node with this home address and prefixes.

        They do if the address is one of the node's own, or leads to a node here whose care-of addresses lead back.
        """
        if not self and not prefixes and address not in self._nodes:
            return address == home
        waiting, seen = [address], set[bytes]()
        while waiting:
            at = waiting.pop()
            if at == home or in_prefixes(at, prefixes):
                return True
            owner = self.owner(at)
            if owner is None or owner == home or owner in seen:
                continue
            seen.add(owner)
            if len(seen) > _MOST_HOPS:
                return True
            waiting += [entry.address for entry in self._nodes[owner].care_of.values() if not entry.home]
        return False

    def _holds(self, prefix: Prefix, home: bytes) -> bool:
        network, length = prefix
        host = 8 * len(network) - length
        last = (int.from_bytes(network, "big") | ((1 << host) - 1)).to_bytes(len(network), "big")
        size = len(network)
        if any(
            len(found) == size and network <= found <= last and bits >= length and self._is_others((found, bits), home)
            for found, bits in self._additions
        ):
            return True
        found = self._all()
        gone = 0
        for at in range(bisect_left(found, (network, 0)), len(found)):
            entry = found[at]
            if entry[0] > last:
                break
            if len(entry[0]) != size or entry[1] < length:
                continue
            if self._is_others(entry, home):
                return True
            gone += 1
            if gone > _UNSORTED:  # most are of removed nodes: sort anew next time
                self._sorted = None
                self._additions = []
        return False

    def _is_others(self, entry: Prefix, home: bytes) -> bool:
        address, length = entry
        if length == 8 * len(address) and address != home and address in self._nodes:
            return True
        return self.get(entry, home) != home

    def _all(self) -> list[Prefix]:
        if self._sorted is None:
            self._sorted = sorted([*((home, 8 * len(home)) for home in self._nodes), *self])
            self._additions = []
        elif len(self._additions) > _UNSORTED:
            self._sorted = sorted({*self._sorted, *self._additions})
            self._additions = []
        return self._sorted
