"""A mobile node's side of RFC 4285: binding updates with an authenticator, by a key that the home agent shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv6Address

from flowclass.wire.auth import authenticate, is_authenticated, ntp_seconds, ntp_timestamp
from flowclass.wire.messages import BindingAcknowledgement, BindingUpdate, Option
from flowclass.wire.options import MobileNodeIdentifier, ReplayProtection
from flowclass.wire.packets import mobility_header
from flowclass.wire.profiles import Profile

__all__ = ["SharedKey"]


class SharedKey:
    """The key of one SPI, an identifier where the home agent wants one, and a clock (seconds since the epoch)."""

    def __init__(self, spi: int, key: bytes, *, wall: Callable[[], float], identifier: bytes = b"") -> None:
        self.spi = spi
        self.key = key
        self.wall = wall
        self.identifier = identifier
        self.ahead = 0.0
        """By how many seconds the home agent's clock is ahead, as far as it has said so."""
        self._latest = 0

    def seal(self, message: BindingUpdate, care_of: IPv6Address, home: IPv6Address, profile: Profile) -> BindingUpdate:
        """With identifier, timestamp and authenticator."""
        self._latest = max(ntp_timestamp(self.wall() + self.ahead), self._latest + 1)
        more: tuple[Option, ...] = (ReplayProtection(self._latest),)
        if self.identifier:
            more = (MobileNodeIdentifier(self.identifier), *more)
        message = replace(message, options=(*message.options, *more))
        return authenticate(message, self.spi, self.key, care_of, home, profile)

    def is_authentic(self, packet: bytes, care_of: IPv6Address, home: IPv6Address) -> bool:
        """Whether the last option of a packet's message authenticates it (RFC 4285)."""
        return is_authenticated(mobility_header(packet), self.key, care_of, home)

    def set_clock(self, message: BindingAcknowledgement) -> bool:
        """Go by the time that the home agent says (MIPV6-ID-MISMATCH); whether that makes a difference."""
        for option in message.options:
            if isinstance(option, ReplayProtection):
                before, self.ahead = self.ahead, ntp_seconds(option.timestamp) - self.wall()
                self._latest = min(self._latest, option.timestamp)
                return abs(self.ahead - before) > 1.0
        return False
