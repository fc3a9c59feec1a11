"""Binding revocation (RFC 5846): a mobile node is told that its bindings were removed, and says that it knows.

The bindings are gone when the indication is made. Until the mobile node acknowledges it, the indication is sent again,
each time after twice the time; after the last time the mobile node is assumed to be gone, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address
from typing import Final

from msgspec import Struct

from flowclass.wire.messages import BindingRevocationAcknowledgement, BindingRevocationIndication
from flowclass.wire.numbers import INITIAL_BINDACK_TIMEOUT, RevocationStatus
from flowclass.wire.options import BindingIdentifier
from flowclass.wire.packets import MobilityPacket

__all__ = ["Revocations"]

_RETRANSMISSIONS: Final = 4


class _Indication(Struct):
    """One that is not acknowledged yet. ``bids`` is empty if all bindings were revoked."""

    sequence: int
    agent: IPv6Address
    home: IPv6Address
    care_of: IPv6Address
    bids: tuple[int, ...]
    trigger: int
    next_at: float
    timeout: float = INITIAL_BINDACK_TIMEOUT
    left: int = _RETRANSMISSIONS

    def packet(self) -> MobilityPacket:
        options = tuple(BindingIdentifier(bid) for bid in self.bids)
        message = BindingRevocationIndication(self.sequence, self.trigger, options=options)
        return MobilityPacket(self.agent, self.care_of, message, routing_home=self.home)


class Revocations:
    """The indications of one home agent that wait for their acknowledgements; the last one of each home address."""

    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        self._sequence = int.from_bytes(random(2))
        self._waiting: dict[bytes, _Indication] = {}

    def begin(
        self,
        agent: IPv6Address,
        home: IPv6Address,
        care_of: IPv6Address,
        bids: Iterable[int],
        trigger: int,
        now: float,
    ) -> MobilityPacket:
        """Return the first transmission of an indication, which goes to ``care_of``."""
        self._sequence = (self._sequence + 1) & 0xFFFF
        indication = _Indication(
            self._sequence, agent, home, care_of, tuple(bids), trigger, now + INITIAL_BINDACK_TIMEOUT
        )
        self._waiting[home.packed] = indication
        return indication.packet()

    def forget(self, home: bytes) -> None:
        """Don't send again to this home address: it has a new binding."""
        self._waiting.pop(home, None)

    def care_of(self, home: bytes) -> IPv6Address | None:
        """The care-of address to which the waiting indication for this home address went."""
        indication = self._waiting.get(home)
        return None if indication is None else indication.care_of

    def acknowledged(self, home: bytes, message: BindingRevocationAcknowledgement) -> str | None:
        """End the retransmissions that a message acknowledges; return why not, if it acknowledges none.

        Whatever its status, the binding is gone here; sending again would change nothing (RFC 5846 section 9.2).
        """
        indication = self._waiting.get(home)
        if indication is None or indication.sequence != message.sequence:
            return "no such revocation"
        del self._waiting[home]
        known = message.status in (
            RevocationStatus.SUCCESS,
            RevocationStatus.PARTIAL_SUCCESS,
            RevocationStatus.NO_BINDING,
        )
        return None if known else f"revocation answered with {message.status}"

    def next_deadline(self) -> float | None:
        return min((indication.next_at for indication in self._waiting.values()), default=None)

    def due(self, now: float, is_bound: Callable[[bytes, tuple[int, ...]], bool]) -> list[MobilityPacket]:
        """Return the packets to send again now. Those are forgotten whose home address ``is_bound`` with their BIDs."""
        packets = []
        for home, indication in list(self._waiting.items()):
            if indication.next_at > now:
                continue
            if not indication.left or is_bound(home, indication.bids):
                del self._waiting[home]
                continue
            indication.left -= 1
            indication.timeout *= 2
            indication.next_at = now + indication.timeout
            packets.append(indication.packet())
        return packets
