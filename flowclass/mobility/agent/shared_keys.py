"""Binding updates that are believed because of a key that each mobile node shares with its home agent (RFC 4285), where
there is no IPsec."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv6Address
from typing import Protocol

from msgspec import Struct

from flowclass.errors import FlowclassError
from flowclass.wire.auth import authenticate, is_authenticated, ntp_seconds, ntp_timestamp
from flowclass.wire.messages import BindingAcknowledgement, Option
from flowclass.wire.numbers import BindingStatus
from flowclass.wire.options import ReplayProtection
from flowclass.wire.packets import mobility_header
from flowclass.wire.profiles import Profile

from .received_update import RefusedUpdateError, SilentlyIgnored, Update

__all__ = ["Association", "Security", "SharedKeys"]


class Security(Protocol):
    """How an agent tells whether an update is to be believed, and makes its answers believed.

    `check` raises `RefusedUpdateError` with a status, or `SilentlyIgnored`, for an update that isn't. `seal` returns
    the acknowledgement with what makes it authentic; that of a refusal too.
    """

    def check(self, update: Update) -> None:
        """Raise what the update is refused or passed over with, if it is not authentic."""

    def seal(self, message: BindingAcknowledgement, update: Update, profile: Profile) -> BindingAcknowledgement:
        """The acknowledgement with what authenticates it."""


class Association(Struct, frozen=True):
    """A mobility security association of RFC 4285: it's good for one home address (packed) and no other."""

    spi: int
    home: bytes
    key: bytes
    identifier: bytes = b""
    """The network access identifier that updates must carry (RFC 4283); empty: any, or none."""
    timestamps: bool = True
    """Whether updates must carry a timestamp (RFC 4285 section 6)."""


class SharedKeys:
    """`Security` by the MN-HA mobility message authentication option, with timestamps against replays.

    ``wall`` tells the time since the epoch in seconds; a timestamp may be ``window`` seconds off, and must be greater
    than those accepted before. What is refused: 146 a wrong authenticator or identifier, 144 a timestamp, 145 none, 129
    the home address of somebody else. Without an option, or with an SPI that nobody has, an update is ignored in
    silence (RFC 4285 section 5.1).
    """

    def __init__(self, associations: Iterable[Association], *, wall: Callable[[], float], window: float = 7.0) -> None:
        self.wall = wall
        self.window = window
        self._associations: dict[int, Association] = {}
        self._latest: dict[int, int] = {}
        self.replace(associations)

    def replace(self, associations: Iterable[Association]) -> None:
        """Other associations from now on; timestamps are remembered where the SPI stays."""
        found: dict[int, Association] = {}
        for association in associations:
            if association.spi in found:
                raise FlowclassError(f"SPI {association.spi} is given twice")
            found[association.spi] = association
        self._associations = found
        self._latest = {spi: latest for spi, latest in self._latest.items() if spi in found}

    def check(self, update: Update) -> None:
        """Raise what the update is refused or passed over with, if no key authenticates it (RFC 4285)."""
        option = update.authentication
        association = None if option is None else self._associations.get(option.spi)
        if option is None or association is None:
            raise SilentlyIgnored("unauthenticated")
        header = mobility_header(update.octets)
        care_of, home = IPv6Address(_care_of(update)), IPv6Address(update.home)
        if not is_authenticated(header, association.key, care_of, home):
            raise RefusedUpdateError(BindingStatus.AUTHENTICATION_FAILED)
        if association.home != update.home:
            raise RefusedUpdateError(BindingStatus.PROHIBITED)
        if association.identifier and update.identifier != association.identifier:
            raise RefusedUpdateError(BindingStatus.AUTHENTICATION_FAILED)
        if association.timestamps:
            self._check_time(update, association.spi)

    def _check_time(self, update: Update, spi: int) -> None:
        timestamp = update.timestamp
        if timestamp is None:
            raise RefusedUpdateError(BindingStatus.MESSAGE_ID_REQUIRED)
        off = abs(ntp_seconds(timestamp) - self.wall())
        if off > self.window or timestamp <= self._latest.get(spi, -1):
            raise RefusedUpdateError(BindingStatus.ID_MISMATCH)
        self._latest[spi] = timestamp

    def seal(self, message: BindingAcknowledgement, update: Update, profile: Profile) -> BindingAcknowledgement:
        """The acknowledgement with the option that authenticates it, made with the key of the update."""
        option = update.authentication
        association = None if option is None else self._associations.get(option.spi)
        if association is None:
            return message
        more: tuple[Option, ...] = ()
        if message.status == BindingStatus.ID_MISMATCH:
            more = (ReplayProtection(ntp_timestamp(self.wall())),)  # so that the mobile node sets its clock by ours
        elif update.timestamp is not None:
            more = (ReplayProtection(update.timestamp),)
        message = replace(message, options=(*message.options, *more))
        care_of, home = IPv6Address(_care_of(update)), IPv6Address(update.home)
        return authenticate(message, association.spi, association.key, care_of, home, profile)


def _care_of(update: Update) -> bytes:
    """The care-of address that the authenticator covers: the update's own, which BID options don't change."""
    return update.alternate or update.source
