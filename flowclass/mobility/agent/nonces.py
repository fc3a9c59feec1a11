"""What a correspondent node knows of return routability: node keys and nonces (RFC 6275 sections 5.2.1 to 5.2.7)."""

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
    """Nonces with the node key of their time, by index; none is accepted 240 seconds after its first use.

    ``random`` gives that many octets that nobody can guess; anything else than os.urandom is for tests.
    """

    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        self._random = random
        self._nonces: dict[int, _Nonce] = {}
        self._current = 0

    def current(self, now: float) -> int:
        """The index to hand out tokens with; makes a nonce when the last one is 30 seconds old."""
        last = self._nonces.get(self._current)
        if last is not None and now - last.first_used < _INTERVAL:
            return self._current
        self._nonces = {i: n for i, n in self._nonces.items() if now - n.first_used < MAX_NONCE_LIFETIME}
        self._current = self._current % 0xFFFF + 1  # 0 is what a de-registration carries in place of one
        self._nonces[self._current] = _Nonce(self._random(_KEY_SIZE), self._random(_NONCE_SIZE), now)
        return self._current

    def valid(self, index: int, now: float) -> bool:
        """Whether a nonce with this index is still good (RFC 6275 section 5.2.7)."""
        found = self._nonces.get(index)
        return found is not None and now - found.first_used < MAX_NONCE_LIFETIME

    def home_token(self, index: int, home: IPv6Address) -> bytes:
        """The home keygen token for a home address (RFC 6275 section 5.2.5)."""
        found = self._nonces[index]
        return home_keygen_token(found.key, home, found.nonce)

    def care_of_token(self, index: int, care_of: IPv6Address) -> bytes:
        """The care-of keygen token for a care-of address (RFC 6275 section 5.2.5)."""
        found = self._nonces[index]
        return care_of_keygen_token(found.key, care_of, found.nonce)
