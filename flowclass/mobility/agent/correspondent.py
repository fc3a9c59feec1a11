"""The correspondent node (section 7 of the draft; RFC 6275 sections 9.4, 9.5): route optimization.

There is no IPsec with a correspondent node. An update is authentic if its authenticator was made with the keygen tokens
that were sent to the home address and to the care-of address. Therefore a flow can only be bound to an address whose
token was used (R106): every binding in this cache was made with the token of its own care-of address, and an update
names only one such address.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address
from typing import Any, Final

from flowclass.wire.auth import authorize, binding_key, is_authentic
from flowclass.wire.messages import BindingAcknowledgement, CareOfTest, CareOfTestInit, HomeTest, HomeTestInit
from flowclass.wire.numbers import (
    LIFETIME_UNIT,
    MAX_NONCE_LIFETIME,
    MAX_RR_BINDING_LIFETIME,
    REFUSED,
    BindingStatus,
    UpdateFlag,
)
from flowclass.wire.options import BindingIdentifier
from flowclass.wire.packets import MobilityPacket, encode_packet, mobility_header
from flowclass.wire.profiles import Profile

from ..addresses import is_unicast
from ..arguments import check_optional
from ..cache.node import Node
from ..settings import Limits
from .agent import Agent, Pending
from .nonces import NonceTable
from .received_update import Outcome, RefusedUpdateError, SilentlyIgnored, Update

__all__ = ["CorrespondentNode"]


_ACKNOWLEDGE: Final = UpdateFlag.ACKNOWLEDGE.value
_HOME_REGISTRATION: Final = UpdateFlag.HOME_REGISTRATION.value
_MOBILE_ROUTER: Final = UpdateFlag.MOBILE_ROUTER.value


class CorrespondentNode(Agent):
    """A correspondent node without sockets; arguments and calls are those of `HomeAgent`.

    ``nonces`` is a `NonceTable`, by default a new one. A correspondent node also answers test init messages.
    """

    correspondent = True
    always_acknowledges = False
    replay_memory = MAX_NONCE_LIFETIME  # RFC 6275 section 5.2.8: as long as its nonces may be used

    def __init__(
        self, profile: str | Profile = "draft", *arguments: Any, nonces: NonceTable | None = None, **more: Any
    ) -> None:
        check_optional("nonces", nonces, NonceTable)
        super().__init__(profile, *arguments, **more)
        self.nonces: NonceTable = nonces or NonceTable()

    @property
    def limits(self) -> Limits:
        """As they were set, but bindings last no longer than return routability allows (RFC 6275 section 5.2.7)."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        longest = int(MAX_RR_BINDING_LIFETIME) // LIFETIME_UNIT
        self._limits = replace(limits, lifetime=min(limits.lifetime, longest))

    # ---- return routability

    def _other(self, packet: MobilityPacket, octets: bytes, now: float, authenticated: bool) -> Pending:
        """Answer a test init message (RFC 6275 sections 9.4.1 to 9.4.4); no state is kept for it."""
        message = packet.message
        if not isinstance(message, (HomeTestInit, CareOfTestInit)):
            return self._ignore("other message")
        if packet.home_address is not None or not is_unicast(packet.source) or not is_unicast(packet.destination):
            return self._ignore("test init")
        index = self.nonces.current(now)
        reply: HomeTest | CareOfTest
        if isinstance(message, HomeTestInit):
            reply = HomeTest(index, message.cookie, self.nonces.home_token(index, packet.source))
        else:
            # RFC 5648 section 4.3: the answer has the BID of the tested address, if the message has one
            bids = tuple(BindingIdentifier(o.bid) for o in message.options if isinstance(o, BindingIdentifier))
            token = self.nonces.care_of_token(index, packet.source)
            reply = CareOfTest(index, message.cookie, token, bids)
        return Pending(self, [encode_packet(MobilityPacket(packet.destination, packet.source, reply), self.profile)])

    # ---- binding updates

    def _validate(self, update: Update, node: Node | None, now: float) -> frozenset[bytes] | None:
        if update.flags & _HOME_REGISTRATION:
            raise RefusedUpdateError(BindingStatus.HOME_REGISTRATION_NOT_SUPPORTED)  # RFC 6275 section 10.3.1
        care_of = _secured_address(update)
        if update.authorized is None:
            update.key = self._key(update, care_of, now)
        elif update.lifetime and care_of not in update.authorized:
            raise SilentlyIgnored("care-of address without token")
        self._check_sequence(update)
        if update.flags & _MOBILE_ROUTER:
            raise RefusedUpdateError(
                BindingStatus.MOBILE_ROUTER_NOT_PERMITTED
            )  # R109: route optimization isn't for mobile routers
        if update.authorized is not None:
            return update.authorized
        # R106, R113f: this address, and those in the cache, which were verified in the same way
        registered = () if node is None else (entry.address for entry in node.care_of.values())
        return frozenset((care_of, *registered))

    def _key(self, update: Update, care_of: bytes, now: float) -> bytes:
        """Return the binding management key, after verifying the authenticator with it (RFC 6275 section 9.5.1).

        Raises `RefusedUpdateError` for expired nonces, `SilentlyIgnored` for a missing or wrong authenticator.
        """
        nonces = update.nonces
        if nonces is None or update.authorization is None:
            raise SilentlyIgnored("no authenticator")
        deletes = update.lifetime == 0 or care_of == update.home
        home_valid = self.nonces.valid(nonces.home, now)
        care_of_valid = deletes or self.nonces.valid(nonces.care_of, now)
        if not home_valid and not care_of_valid:
            raise RefusedUpdateError(BindingStatus.EXPIRED_NONCES)
        if not home_valid:
            raise RefusedUpdateError(BindingStatus.EXPIRED_HOME_NONCE)
        if not care_of_valid:
            raise RefusedUpdateError(BindingStatus.EXPIRED_CARE_OF_NONCE)
        home_token = self.nonces.home_token(nonces.home, IPv6Address(update.home))
        # section 5.2.6: a de-registration needs the home keygen token only; its care-of address is the home address
        token = b"" if deletes else self.nonces.care_of_token(nonces.care_of, IPv6Address(care_of))
        key = binding_key(home_token, token)
        if not is_authentic(
            mobility_header(update.octets), key, IPv6Address(care_of), IPv6Address(update.destination)
        ):  # fmt: skip
            raise SilentlyIgnored("authenticator")
        return key

    def _wants_answer(self, update: Update, status: int) -> bool:
        """Whether to send an acknowledgement (RFC 6275 section 9.5.4); for flow options, the draft demands one (R72,
        R113i)."""
        return bool(update.flags & _ACKNOWLEDGE) or status >= REFUSED or bool(update.flows)

    def _seal(self, message: BindingAcknowledgement, update: Update, outcome: Outcome) -> BindingAcknowledgement:
        """Return the acknowledgement with the authenticator as its last option (RFC 6275 section 9.5.4).

        Nothing is added if the key is unknown, because a nonce has expired.
        """
        if update.key is None or BindingStatus.EXPIRED_HOME_NONCE <= outcome.status <= BindingStatus.EXPIRED_NONCES:
            return message
        care_of = IPv6Address(_secured_address(update))
        return authorize(message, update.key, care_of, IPv6Address(update.destination), self.profile)


def _secured_address(update: Update) -> bytes:
    """Return the care-of address that the authenticator covers (RFC 6275 section 6.2.7, RFC 5648 section 5.2)."""
    if update.lifetime == 0:
        return update.home
    option = update.bids[0] if len(update.bids) == 1 else None
    if option is not None and option.care_of is not None and option.care_of.version == 6:
        return option.care_of.packed
    return update.alternate or update.source
