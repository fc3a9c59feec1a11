"""The mobile node's side of RFC 4285: binding updates are authenticated with a key that the node shares with its home
agent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv6Address

from flowclass.wire.auth import Authorized, authenticate, is_authenticated, ntp_seconds, ntp_timestamp
from flowclass.wire.messages import BindingAcknowledgement, BindingUpdate, Option
from flowclass.wire.options import MobileNodeIdentifier, ReplayProtection
from flowclass.wire.packets import mobility_header
from flowclass.wire.profiles import Profile

__all__ = ["SharedKey"]


class SharedKey:
    """A mobility security association of RFC 4285, as the mobile node uses it.

    ``spi`` is its security parameter index and ``key`` its shared key. ``wall`` returns the time in seconds since the
    epoch, for timestamps. ``identifier`` is the mobile node identifier (RFC 4283), for home agents that require one.
    """

    def __init__(self, spi: int, key: bytes, *, wall: Callable[[], float], identifier: bytes = b"") -> None:
        self.spi = spi
        self.key = key
        self.wall = wall
        self.identifier = identifier
        self.ahead: float = 0.0
        """How many seconds the home agent's clock is ahead of ours, by its last answer that told its time; at first
        0."""
        self._latest = 0

    def seal(self, message: BindingUpdate, care_of: IPv6Address, home: IPv6Address, profile: Profile) -> BindingUpdate:
        """Return the binding update with the options for identifier, timestamp and authenticator added."""
        self._latest = max(ntp_timestamp(self.wall() + self.ahead), self._latest + 1)
        more: tuple[Option, ...] = (ReplayProtection(self._latest),)
        if self.identifier:
            more = (MobileNodeIdentifier(self.identifier), *more)
        message = replace(message, options=(*message.options, *more))
        return authenticate(message, self.spi, self.key, care_of, home, profile)

    def authenticate(
        self, message: Authorized, care_of: IPv6Address, home: IPv6Address, profile: Profile
    ) -> Authorized:
        """Return a message with the authenticator alone."""
        return authenticate(message, self.spi, self.key, care_of, home, profile)

    def is_authentic(self, packet: bytes, care_of: IPv6Address, home: IPv6Address) -> bool:
        """Whether the last mobility option of the packet is a correct authentication option for it (RFC 4285)."""
        return is_authenticated(mobility_header(packet), self.key, care_of, home)

    def set_clock(self, message: BindingAcknowledgement) -> bool:
        """Set the clock by the timestamp in an acknowledgement with the status MIPV6-ID-MISMATCH (RFC 4285).

        Returns True if that changes the clock by more than one second, so that sending again makes sense.
        """
        for option in message.options:
            if isinstance(option, ReplayProtection):
                before, self.ahead = self.ahead, ntp_seconds(option.timestamp) - self.wall()
                self._latest = min(self._latest, option.timestamp)
                return abs(self.ahead - before) > 1.0
        return False
