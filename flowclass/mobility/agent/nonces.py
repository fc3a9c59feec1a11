"""The node keys and nonces of a correspondent node, for return routability (RFC 6275 sections 5.2.1 to 5.2.7)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from flowclass.wire.auth import care_of_keygen_token, home_keygen_token
from flowclass.wire.numbers import MAX_NONCE_LIFETIME, MAX_TOKEN_LIFETIME

__all__ = ["NonceTable"]


_INTERVAL: Final = MAX_NONCE_LIFETIME - MAX_TOKEN_LIFETIME  # section 5.2.7: a new nonce every 30 seconds
_KEY_SIZE: Final = 20
_NONCE_SIZE: Final = 8


@dataclass(slots=True)
class _Nonce:
    key: bytes
    nonce: bytes
    first_used: float


class NonceTable:
    """The nonces by their index, each with the node key that belongs to it; none is valid for longer than 240 seconds.

    ``random`` returns the given number of unpredictable octets; tests may use something else than os.urandom. The first
    index is random as well: after a restart a mobile node's old tokens are refused as expired (status 136 to 138), so
    that it gets new ones at once, instead of being ignored because their nonces have become others.
    """

    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        self._random = random
        self._nonces: dict[int, _Nonce] = {}
        self._current = int.from_bytes(random(2), "big")

    def current(self, now: float) -> int:
        """Return the index of the nonce for new tokens; when the last nonce is 30 seconds old, a new one is made."""
        last = self._nonces.get(self._current)
        if last is not None and now - last.first_used < _INTERVAL:
            return self._current
        self._nonces = {i: n for i, n in self._nonces.items() if now - n.first_used < MAX_NONCE_LIFETIME}
        self._current = self._current % 0xFFFF + 1  # de-registrations contain 0 in place of an index
        self._nonces[self._current] = _Nonce(self._random(_KEY_SIZE), self._random(_NONCE_SIZE), now)
        return self._current

    def valid(self, index: int, now: float) -> bool:
        """Whether the nonce with this index exists and may still be used (RFC 6275 section 5.2.7)."""
        found = self._nonces.get(index)
        return found is not None and now - found.first_used < MAX_NONCE_LIFETIME

    def home_token(self, index: int, home: IPv6Address) -> bytes:
        """Return the home keygen token for a home address (RFC 6275 section 5.2.5); KeyError for an unknown index."""
        found = self._nonces[index]
        return home_keygen_token(found.key, home, found.nonce)

    def care_of_token(self, index: int, care_of: IPv6Address) -> bytes:
        """Return the care-of keygen token for a care-of address (RFC 6275 section 5.2.5); KeyError for an unknown
        index."""
        found = self._nonces[index]
        return care_of_keygen_token(found.key, care_of, found.nonce)
