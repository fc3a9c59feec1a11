"""Authentication of binding updates without IPsec, by a key that a mobile node shares with its home agent (RFC
4285)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv6Address
from typing import Protocol

from msgspec import Struct
from msgspec.structs import force_setattr

from flowclass.addresses import as_packed
from flowclass.errors import FlowclassError
from flowclass.wire.auth import Authorized, authenticate, is_authenticated, ntp_seconds, ntp_timestamp
from flowclass.wire.messages import BindingAcknowledgement, Option
from flowclass.wire.numbers import BindingStatus
from flowclass.wire.options import ReplayProtection
from flowclass.wire.packets import mobility_header
from flowclass.wire.profiles import Profile

from .received_update import RefusedUpdateError, SilentlyIgnored, Update

__all__ = ["Association", "Security", "SharedKeys"]


class Security(Protocol):
    """Authenticates the binding updates that an agent receives, and the acknowledgements that it sends.

    For an update that is not authentic, `check` raises `RefusedUpdateError` with a status, or `SilentlyIgnored`. `seal`
    returns the acknowledgement with an authenticator added; it is called for refusals, too.
    """

    def check(self, update: Update) -> None:
        """Raise `RefusedUpdateError` or `SilentlyIgnored` if the update is not authentic."""

    def seal(self, message: BindingAcknowledgement, update: Update, profile: Profile) -> BindingAcknowledgement:
        """Return the acknowledgement with the options that authenticate it."""


class Association(Struct, frozen=True):
    """A mobility security association of RFC 4285. It authenticates updates for one home address only, which may be
    given in every form of `flowclass.addresses`."""

    spi: int
    home: bytes
    key: bytes
    identifier: bytes = b""
    """The mobile node identifier that updates must contain (RFC 4283); empty means that they may have any, or none."""
    timestamps: bool = True
    """Whether updates must contain a timestamp (RFC 4285 section 6)."""

    def __post_init__(self) -> None:
        force_setattr(self, "home", as_packed("home", self.home, 6))


class SharedKeys:
    """`Security` by the MN-HA mobility message authentication option, with timestamps against replays (RFC 4285).

    ``wall`` returns the time in seconds since the epoch. A timestamp may differ from it by ``window`` seconds, and must
    be greater than those accepted before. An update is refused with status 146 for a wrong authenticator or identifier,
    144 for a wrong timestamp, 145 for a missing one, and 129 for a home address to which the key doesn't belong. An
    update without the option, or with an unknown SPI, is silently ignored (RFC 4285 section 5.1).
    """

    def __init__(self, associations: Iterable[Association], *, wall: Callable[[], float], window: float = 7.0) -> None:
        self.wall = wall
        self.window = window
        self._associations: dict[int, Association] = {}
        self._latest: dict[int, int] = {}
        self.replace(associations)

    def replace(self, associations: Iterable[Association]) -> None:
        """Use these associations instead of the present ones; FlowclassError if two have the same SPI.

        The last timestamp of an SPI is remembered if the SPI is still among them.
        """
        found: dict[int, Association] = {}
        for association in associations:
            if association.spi in found:
                raise FlowclassError(f"SPI {association.spi} is given twice")
            found[association.spi] = association
        self._associations = found
        self._latest = {spi: latest for spi, latest in self._latest.items() if spi in found}

    def check(self, update: Update) -> None:
        """Raise `RefusedUpdateError` or `SilentlyIgnored` if no key authenticates the update (RFC 4285)."""
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
        """Return the acknowledgement with the options that authenticate it, made with the key of the update."""
        option = update.authentication
        association = None if option is None else self._associations.get(option.spi)
        if association is None:
            return message
        more: tuple[Option, ...] = ()
        if message.status == BindingStatus.ID_MISMATCH:
            more = (ReplayProtection(ntp_timestamp(self.wall())),)  # the mobile node sets its clock by ours
        elif update.timestamp is not None:
            more = (ReplayProtection(update.timestamp),)
        message = replace(message, options=(*message.options, *more))
        care_of, home = IPv6Address(_care_of(update)), IPv6Address(update.home)
        return authenticate(message, association.spi, association.key, care_of, home, profile)

    def _of(self, home: IPv6Address) -> Association | None:
        return next((a for a in self._associations.values() if a.home == home.packed), None)

    def seal_between(
        self, message: Authorized, care_of: IPv6Address, home: IPv6Address, profile: Profile
    ) -> Authorized:
        """Return a message that no update has asked for with the authenticator for a home address, if it has a key."""
        association = self._of(home)
        if association is None:
            return message
        return authenticate(message, association.spi, association.key, care_of, home, profile)

    def is_authentic(self, packet: bytes, care_of: IPv6Address, home: IPv6Address) -> bool:
        """Whether a packet from a mobile node has the authenticator that the key of its home address makes."""
        association = self._of(home)
        return association is not None and is_authenticated(mobility_header(packet), association.key, care_of, home)


def _care_of(update: Update) -> bytes:
    """Return the care-of address that the authenticator covers: that of the update itself, not one in a BID option."""
    return update.alternate or update.source
