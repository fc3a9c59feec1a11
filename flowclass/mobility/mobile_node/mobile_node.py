"""The mobile node (section 6 of the draft; RFC 6275 section 11): it registers care-of addresses and flows with home
agents, anchor points and correspondent nodes, and keeps track of what they have accepted.

The policy is the caller's (R6): the caller decides which care-of addresses and flows to register with which receiver.
Each call returns the packets to send now; `tick` returns those that are due later (retransmissions with back-off, and
refreshes), and `receive` those that follow from an answer. When a receiver refuses something, the request is rolled
back and the `listener` gets a `Refusal`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import wraps
from ipaddress import IPv6Address
from math import inf
from threading import RLock
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, get_args

from flowclass.addresses import AddressLike, PrefixLike, as_address, as_ipv6
from flowclass.errors import ArgumentError, DecodeError, EncodeError, FlowclassError
from flowclass.wire.messages import (
    BindingAcknowledgement,
    BindingError,
    BindingRefreshRequest,
    BindingRevocationAcknowledgement,
    BindingRevocationIndication,
    BindingUpdate,
    CareOfTest,
    HomeTest,
)
from flowclass.wire.numbers import (
    INITIAL_BINDACK_TIMEOUT,
    INITIAL_BINDACK_TIMEOUT_FIRST_REG,
    LIFETIME_UNIT,
    MAX_BID_PRIORITY,
    MAX_BINDACK_TIMEOUT,
    MAX_RR_BINDING_LIFETIME,
    MAX_UPDATE_RATE,
    REFUSED,
    AcknowledgementFlag,
    BindingErrorStatus,
    BindingStatus,
    RevocationFlag,
    RevocationStatus,
    RevocationTrigger,
    UpdateFlag,
    not_greater,
)
from flowclass.wire.options import (
    BindingAuthorizationData,
    BindingIdentifier,
    BindingRefreshAdvice,
    MobileNetworkPrefix,
)
from flowclass.wire.packets import MobilityPacket, decode_packet, encode_packet
from flowclass.wire.profiles import Profile, get_profile
from flowclass.wire.selectors import TrafficSelector4, TrafficSelector6

from ..arguments import check_callable, check_number, check_optional, check_prefixes, later
from ..cache.node import FORWARD, NCAST, PLAIN
from ..delivery import Outbox
from .peer import MAX_HOME_UPDATE_RATE, Peer, Rate
from .plan import CareOfEntry, FlowEntry, Plan, Refusal, Role, check_flow
from .settle import refuse, settle
from .shared_key import SharedKey
from .update_list import UpdateList

__all__ = ["MobileNode"]

_ROLES: Final[tuple[str, ...]] = get_args(Role)


_RESYNCHRONIZED: Final = 4
"""How many refusals of one update for its sequence number (status 135) are followed by a retransmission at once."""

_REMARKS: Final = (BindingStatus.PREFIX_DISCOVERY_NECESSARY, BindingStatus.MCOA_RETURNHOME_WO_NDP)
"""Statuses of acceptance that require an action of the caller."""

_RETURN: Final = (RevocationTrigger.UNSPECIFIED, RevocationTrigger.POSSIBLY_OUT_OF_SYNC)
"""Reasons of a revocation after which a mobile node registers again at once."""

P = ParamSpec("P")
R = TypeVar("R")


def _one_at_a_time(method: Callable[Concatenate[MobileNode, P], R]) -> Callable[Concatenate[MobileNode, P], R]:
    """Decorate a method so that it holds the node's lock, and calls the listener after releasing it."""

    @wraps(method)
    def locked(self: MobileNode, /, *arguments: P.args, **how: P.kwargs) -> R:
        with self._lock:
            result = method(self, *arguments, **how)
        self._outbox.deliver(self._tell)
        return result

    return locked


class MobileNode:
    """A mobile node or mobile router with one home address (at an anchor point, one regional care-of address).

    ``lifetime`` is the lifetime that updates ask for, in units of 4 seconds, 1 to 65535. ``prefixes`` are the mobile
    network prefixes of a mobile router. ``listener`` is called with the
    address of a receiver and each `Refusal` of that receiver. ``random`` returns random octets, for cookies and for the
    first sequence numbers. With ``security``, a `SharedKey`, updates to home agents and anchor points have an
    authenticator, and their answers must have one (RFC 4285). The caller passes the time to each call, in seconds; it
    must be finite. A time earlier than that of a previous call is replaced by the previous one.

    Addresses and prefixes are taken in every form of `flowclass.addresses`: packed, as `ipaddress` objects, or as text.
    Each call checks its arguments first; when it raises FlowclassError for one of them, nothing has changed.

    A receiver gets at most sixteen updates a second, of which three may register new care-of addresses; a correspondent
    node gets at most three in all (RFC 6275 section 11.8). After a refusal (of a whole update, of a BID or flow in its
    option, or by an acceptance with lifetime 0) the node sends nothing to this receiver by itself for a while, which
    doubles with each refusal from 1 second to 32. A call that asks for something is not held back.

    Methods may be called from any number of threads; calls wait for each other. The listener is called after a call
    has done its work, and may call methods itself; exceptions that it raises are logged and change nothing. A
    `Refusal` with a status below 128 is a remark about an update that was accepted: 1 means that prefix discovery is
    necessary, 5 that the node has returned home without neighbor discovery (RFC 5648).
    """

    def __init__(
        self,
        home: AddressLike,
        profile: str | Profile = "draft",
        *,
        lifetime: int = 150,
        mobile_router: bool = False,
        prefixes: Iterable[PrefixLike] = (),
        listener: Callable[[IPv6Address, Refusal], object] | None = None,
        random: Callable[[int], bytes] = os.urandom,
        security: SharedKey | None = None,
    ) -> None:
        check_number("lifetime", lifetime, 1, 0xFFFF)
        check_callable("listener", listener, optional=True)
        check_callable("random", random)
        check_optional("security", security, SharedKey)
        self.home: IPv6Address = as_ipv6("home", home)
        self.profile: Profile = get_profile(profile)
        self.lifetime = lifetime
        self.mobile_router = mobile_router
        self.prefixes: tuple[tuple[IPv6Address, int], ...] = _prefixes(check_prefixes("prefixes", prefixes))
        self.listener = listener
        self.random = random
        self.security = security
        self._receivers: dict[IPv6Address, Peer] = {}
        self._clock = -inf
        self._lock = RLock()
        self._outbox: Outbox[tuple[IPv6Address, Refusal]] = Outbox()

    def __repr__(self) -> str:
        peers = ", ".join(f"{peer.updates.role} {address}" for address, peer in list(self._receivers.items()))
        return f"<{type(self).__name__}: home={str(self.home)!r}, profile={self.profile.name!r}, receivers=[{peers}]>"

    def _tell(self, what: tuple[IPv6Address, Refusal]) -> None:
        if self.listener is not None:
            self.listener(*what)

    # ---- what is wanted

    @_one_at_a_time
    def add_receiver(self, peer: AddressLike, role: Role = "home-agent") -> UpdateList:
        """Start and return a binding update list for the receiver at address ``peer``; nothing is sent yet.

        ``role`` is "home-agent", "map" or "correspondent".
        """
        peer = as_ipv6("peer", peer)
        if role not in _ROLES:
            raise FlowclassError(f"role: one of {', '.join(_ROLES)} expected, got {role!r}")
        if peer in self._receivers:
            raise FlowclassError(f"{peer} is a receiver already")
        if role == "correspondent" and self.mobile_router:
            raise FlowclassError("route optimization isn't for mobile routers (R109)")
        lifetime = self.lifetime
        if role == "correspondent":
            lifetime = min(lifetime, int(MAX_RR_BINDING_LIFETIME) // LIFETIME_UNIT)
        sequence = int.from_bytes(self.random(2), "big")
        made = UpdateList(peer, role, self.profile, lifetime, sequence)
        self._receivers[peer] = Peer(
            made,
            self.home,
            self.random,
            updates_sent=Rate(MAX_UPDATE_RATE if role == "correspondent" else MAX_HOME_UPDATE_RATE),
        )
        return made

    @_one_at_a_time
    def remove_receiver(self, peer: AddressLike) -> None:
        """Forget a receiver and its binding update list; nothing is sent.

        What the receiver has is left to expire; `deregister` removes it.
        """
        self._receiver(peer)
        del self._receivers[as_ipv6("peer", peer)]

    @_one_at_a_time
    def update_list(self, peer: AddressLike) -> UpdateList:
        """Return the binding update list of a receiver: its wanted and known entries, and the outstanding update."""
        return self._receiver(peer).updates

    def _receiver(self, peer: AddressLike) -> Peer:
        try:
            return self._receivers[as_ipv6("peer", peer)]
        except KeyError:
            raise FlowclassError(f"{peer!s} is no receiver: add_receiver first") from None

    def _at(self, peer: AddressLike, now: float) -> tuple[Peer, float]:
        """Return the receiver with this address and the time to use; a wrong argument raises before anything has
        changed."""
        receiver = self._receiver(peer)
        self._clock = later(now, self._clock)
        return receiver, self._clock

    @_one_at_a_time
    def register(
        self,
        peer: AddressLike,
        bid: int,
        address: AddressLike,
        priority: int = 0,
        *,
        now: float,
        home: bool = False,
        flush: bool = True,
    ) -> list[bytes]:
        """Register a care-of address under a BID, or change the one that the BID has; return the packets to send.

        All flows on the BID move along with it (R66, R104). With ``bid`` 0 the update has no BID option. ``priority``
        is 0 (none) to 127; lower numbers are preferred. ``home=True`` registers the home link as one of several
        attachments (RFC 5648 section 5.6). With ``flush=False`` nothing is sent now; a later update carries it.
        """
        check_number("bid", bid, 0, 0xFFFF)
        check_number("priority", priority, 0, MAX_BID_PRIORITY)
        address = as_address("address", address)
        receiver, now = self._at(peer, now)
        moved = receiver.updates.wanted_care_of.get(bid)
        receiver.updates.want_care_of(CareOfEntry(bid, self.home if home else address, priority, home))
        if moved is not None and moved.address != address:
            self._give_up(receiver)  # the outstanding update was sent from an address that may be gone
        return self._flush(receiver, now) if flush else []

    @_one_at_a_time
    def deregister(self, peer: AddressLike, *bids: int, now: float) -> list[bytes]:
        """De-register the care-of addresses of these BIDs; when none is left, flows are removed as well."""
        for bid in bids:
            check_number("bids", bid, 0, 0xFFFF)
        receiver, now = self._at(peer, now)
        receiver.updates.drop_care_of(bids)
        return self._flush(receiver, now)

    @_one_at_a_time
    def return_home(self, peer: AddressLike, *, now: float) -> list[bytes]:
        """De-register all bindings, flow bindings included, from the home link (R108; RFC 6275 section 11.5.5)."""
        receiver, now = self._at(peer, now)
        receiver.updates.leave(at_home=True)
        self._give_up(receiver)
        return self._flush(receiver, now)

    @_one_at_a_time
    def add_flow(
        self,
        peer: AddressLike,
        fid: int,
        pri: int,
        bids: Sequence[int],
        selector: TrafficSelector4 | TrafficSelector6 | None = None,
        action: int = FORWARD,
        *,
        now: float,
        flush: bool = True,
    ) -> list[bytes]:
        """Add a flow binding (R52, R85, R89, R92); return the packets to send.

        The FID must not be in the list yet. Without a selector the flow is a wild card (R62).
        """
        entry = FlowEntry(fid, pri, action, _bids(bids), selector)
        check_flow(entry)
        receiver, now = self._at(peer, now)
        if fid in receiver.updates.wanted_flows:
            raise FlowclassError(f"FID {fid} exists: replace it (R85)")
        receiver.updates.want_flow(entry)
        return self._flush(receiver, now) if flush else []

    @_one_at_a_time
    def replace_flow(
        self,
        peer: AddressLike,
        fid: int,
        *,
        now: float,
        pri: int | None = None,
        bids: Sequence[int] | None = None,
        selector: TrafficSelector4 | TrafficSelector6 | None = None,
        wild_card: bool = False,
        action: int | None = None,
        flush: bool = True,
    ) -> list[bytes]:
        """Change attributes of a flow binding; attributes that aren't given stay as they are (R63, R64, R86, R93)."""
        receiver, now = self._at(peer, now)
        old = self._flow(receiver, fid, "R86")
        new = replace(
            old,
            pri=old.pri if pri is None else pri,
            bids=old.bids if bids is None else _bids(bids),
            selector=selector if selector is not None or wild_card else old.selector,
            action=old.action if action is None else action,
        )
        check_flow(new)
        receiver.updates.want_flow(new)
        return self._flush(receiver, now) if flush else []

    @_one_at_a_time
    def refresh_flow(self, peer: AddressLike, fid: int, *, now: float) -> list[bytes]:
        """Refresh a flow binding now (R69, R87); `tick` does so automatically before it expires."""
        receiver, now = self._at(peer, now)
        self._flow(receiver, fid, "R87")
        known = receiver.updates.flows.get(fid)
        if known is not None:
            receiver.updates.flows[fid] = replace(known, refresh_at=now)
        return self._flush(receiver, now)

    @_one_at_a_time
    def remove_flow(self, peer: AddressLike, fid: int, *, now: float, flush: bool = True) -> list[bytes]:
        """Remove a flow binding (R67, R88); return the packets to send."""
        receiver, now = self._at(peer, now)
        self._flow(receiver, fid, "R88")
        del receiver.updates.wanted_flows[fid]
        return self._flush(receiver, now) if flush else []

    @staticmethod
    def _flow(receiver: Peer, fid: int, rule: str) -> FlowEntry:
        check_number("fid", fid, 0, 0xFFFF)
        try:
            return receiver.updates.wanted_flows[fid]
        except KeyError:
            raise FlowclassError(f"FID {fid} doesn't exist ({rule})") from None

    @_one_at_a_time
    def move(self, peer: AddressLike, old: int, new: int, address: AddressLike, *, now: float) -> list[bytes]:
        """Move to a new care-of address by replacing flow bindings (R100 to R103); return the packets to send.

        The flows on BID ``old`` go to BID ``new``, which gets the new address. To give a BID another address and leave
        the flow bindings alone, use `register`.
        """
        check_number("old", old, 0, 0xFFFF)
        check_number("new", new, 0, 0xFFFF)
        address = as_address("address", address)
        receiver, now = self._at(peer, now)
        updates = receiver.updates
        was = updates.wanted_care_of.get(old)
        updates.want_care_of(CareOfEntry(new, address, was.priority if was is not None else 0))
        for entry in list(updates.wanted_flows.values()):
            if old in entry.bids:
                bids = dict.fromkeys(new if bid == old else bid for bid in entry.bids)
                # n-cast needs more than one address (R122)
                action = FORWARD if entry.action == NCAST and len(bids) == 1 else entry.action
                updates.wanted_flows[entry.fid] = replace(entry, bids=tuple(bids), action=action)
        if new != old:
            updates.wanted_care_of.pop(old, None)
        self._give_up(receiver)
        return self._flush(receiver, now)

    # ---- sending

    @_one_at_a_time
    def flush(self, peer: AddressLike, *, now: float) -> list[bytes]:
        """Return the next binding update to send, if something has to be changed and no update is outstanding."""
        return self._flush(*self._at(peer, now))

    def _give_up(self, receiver: Peer) -> None:
        receiver.updates.give_up()
        receiver.next_at = inf

    def _flush(self, receiver: Peer, now: float, *, asked: bool = True) -> list[bytes]:
        """Return the packets of the next binding update, if it may be sent now.

        ``asked`` is False when an answer or the clock is the cause, rather than a call of the node's user; after a
        refusal, such an update has to wait.
        """
        updates = receiver.updates
        if updates.outstanding is not None:
            return []
        if not asked and now < receiver.hold_until:
            receiver.next_at = receiver.hold_until
            return []
        plan = updates.plan(now)
        if plan is None:
            receiver.tests.clear()
            return []
        if updates.role == "correspondent":
            packets = receiver.test(plan, now)
            if packets is not None:
                return packets
        moves = plan.lifetime > 0 and any(
            (known := updates.care_of.get(entry.bid)) is None or known.address != entry.address
            for entry in plan.care_of
        )
        rates = [receiver.updates_sent]
        if moves:
            rates.append(receiver.moves_sent)
        when = max(rate.next(now) for rate in rates)
        if when > now:
            receiver.next_at = when
            return []
        if moves:
            receiver.moves_sent.count(now)
        receiver.timeout = INITIAL_BINDACK_TIMEOUT if updates.care_of else INITIAL_BINDACK_TIMEOUT_FIRST_REG
        updates.outstanding = plan
        return [self._send(receiver, plan, now)]

    def _send(self, receiver: Peer, plan: Plan, now: float) -> bytes:
        """Return the packet of an update; each transmission has a new sequence number (RFC 6275 section 11.8)."""
        updates = receiver.updates
        updates.sequence = (updates.sequence + 1) & 0xFFFF
        plan.sent[updates.sequence] = now
        updates.contacted = True
        receiver.next_at = now + receiver.timeout
        receiver.updates_sent.count(now)
        flags = UpdateFlag.ACKNOWLEDGE
        if plan.overwrite:
            flags |= UpdateFlag.OVERWRITE
        if updates.force_udp:
            flags |= UpdateFlag.FORCE_UDP
        options: tuple[Any, ...] = plan.options()
        if updates.role != "correspondent":
            flags |= UpdateFlag.MAP_REGISTRATION if updates.role == "map" else UpdateFlag.HOME_REGISTRATION
            if self.mobile_router:
                flags |= UpdateFlag.MOBILE_ROUTER
                if plan.lifetime:
                    # RFC 3963 section 5.2: all updates have the prefixes, also those that refresh
                    options += tuple(MobileNetworkPrefix(network, length) for network, length in self.prefixes)
        message = BindingUpdate(updates.sequence, plan.lifetime, flags.value, options)
        source = self.home if plan.source is None else plan.source
        if updates.role == "correspondent":
            message = receiver.secure(plan, message)
        elif self.security is not None:
            message = self.security.seal(message, plan.alternate or source, self.home, self.profile)
        home = None if source == self.home else self.home
        return encode_packet(MobilityPacket(source, updates.peer, message, home), self.profile)

    # ---- receiving

    @_one_at_a_time
    def receive(self, packet: bytes, *, now: float, authenticated: bool = True) -> list[bytes]:
        """Process a packet that was sent to this node; return the packets to send in turn.

        ``authenticated`` says whether IPsec with the home agent or anchor point has authenticated the packet. The
        content of a packet never makes this method raise.
        """
        self._clock = now = later(now, self._clock)
        try:
            found = decode_packet(packet, self.profile)
        except DecodeError:
            return []
        receiver = self._receivers.get(found.source)
        if receiver is None or not found.checksum_ok:
            return []
        message = found.message
        if isinstance(message, BindingAcknowledgement):
            return self._acknowledged(receiver, found, bytes(packet), message, now, authenticated)
        if isinstance(message, (HomeTest, CareOfTest)):
            return self._tested(receiver, found, message, now)
        if isinstance(message, BindingRefreshRequest):
            return self._refresh_requested(receiver, message, now)
        if isinstance(message, BindingRevocationIndication):
            return self._revoked(receiver, found, bytes(packet), message, now, authenticated)
        if (
            isinstance(message, BindingError)
            and message.status == BindingErrorStatus.UNKNOWN_BINDING
            and message.home_address == self.home
        ):
            return self._lost(receiver, message, now)
        return []

    def _tested(
        self, receiver: Peer, packet: MobilityPacket, message: HomeTest | CareOfTest, now: float
    ) -> list[bytes]:
        if not receiver.tested(packet.destination, message, isinstance(message, HomeTest), now):
            return []
        return self._flush(receiver, now, asked=False)

    def _refresh_requested(self, receiver: Peer, message: BindingRefreshRequest, now: float) -> list[bytes]:
        """Refresh the BIDs that a Binding Refresh Request names, or all if it names none (RFC 5648 section 5.8)."""
        updates = receiver.updates
        bids = {o.bid for o in message.options if isinstance(o, BindingIdentifier)} or set(updates.care_of)
        for bid in bids & updates.care_of.keys():
            updates.care_of[bid] = replace(updates.care_of[bid], refresh_at=now)
        for fid, entry in updates.flows.items():
            if bids.intersection(entry.bids) or PLAIN in bids:
                updates.flows[fid] = replace(entry, refresh_at=now)
        return self._flush(receiver, now, asked=False)

    def _revoked(
        self,
        receiver: Peer,
        packet: MobilityPacket,
        octets: bytes,
        message: BindingRevocationIndication,
        now: float,
        authenticated: bool,
    ) -> list[bytes]:
        """Answer that bindings were revoked (RFC 5846 section 11); register them again, or no longer.

        A node whose bindings were removed by an administrator, or by the agent's policy, waits until its user asks for
        something.
        """
        updates = receiver.updates
        here = packet.destination
        if updates.role == "correspondent" or (packet.routing_home or here) != self.home or not authenticated:
            return []
        if self.security is not None and not self.security.is_authentic(octets, here, self.home):
            return []
        gone: list[int] = []
        if message.flags & RevocationFlag.PROXY:
            status = RevocationStatus.PROXY_NOT_SUPPORTED
        else:
            bids = [option.bid for option in message.options if isinstance(option, BindingIdentifier)]
            gone = updates.revoked(bids, stop=message.trigger not in _RETURN)
            status = RevocationStatus.SUCCESS if gone else RevocationStatus.NO_BINDING
            for bid in gone:
                self._outbox.put((updates.peer, Refusal("revoked", bid, message.trigger)))
        answer = BindingRevocationAcknowledgement(message.sequence, status.value, message.flags)
        if self.security is not None:
            answer = self.security.authenticate(answer, here, self.home, self.profile)
        home = None if here == self.home else self.home
        return [
            encode_packet(MobilityPacket(here, updates.peer, answer, home), self.profile),
            *(self._flush(receiver, now, asked=False) if gone else []),
        ]

    def _lost(self, receiver: Peer, message: BindingError, now: float) -> list[bytes]:
        """Handle a Binding Error which says that the receiver has no binding for this node (RFC 6275 section
        11.3.6)."""
        updates = receiver.updates
        if message.status != BindingErrorStatus.UNKNOWN_BINDING or updates.role != "correspondent":
            return []  # the message isn't protected, and a home agent has safer means to say so
        updates.give_up()
        updates.care_of.clear()
        updates.doubtful |= updates.flows
        updates.flows.clear()
        return self._flush(receiver, now, asked=False)

    def _acknowledged(
        self,
        receiver: Peer,
        packet: MobilityPacket,
        octets: bytes,
        message: BindingAcknowledgement,
        now: float,
        authenticated: bool,
    ) -> list[bytes]:
        """Process a Binding Acknowledgement (RFC 6275 section 11.7.3)."""
        updates, plan = receiver.updates, receiver.updates.outstanding
        if plan is None or not self._is_ours(receiver, packet, octets, plan, authenticated):
            return []
        if message.status == BindingStatus.SEQUENCE_OUT_OF_WINDOW:
            if not not_greater(updates.sequence, message.sequence):
                return []  # it answers an older update; a newer one was sent since
            updates.sequence = message.sequence
            plan.resynchronized += 1
            recent = sum(now - time < 1.0 for time in plan.sent.values())
            if plan.resynchronized > _RESYNCHRONIZED or recent >= MAX_UPDATE_RATE:
                return []  # the retransmission timer sends it again
            return [self._send(receiver, plan, now)]
        if message.sequence not in plan.sent:
            return []
        receiver.next_at = inf
        updates.status = message.status
        remarks: list[Refusal] = []
        if message.status < REFUSED:
            refusals = settle(updates, message)
            self._advised(updates, message, plan.sent[message.sequence])
            if plan.lifetime and self._is_no_router(updates, message):
                # RFC 3963 section 5.3: the router has to de-register again
                updates.leave(at_home=False)
                refusals.append(Refusal("update", -1, BindingStatus.MOBILE_ROUTER_NOT_PERMITTED))
            elif plan.lifetime and not message.lifetime and not refusals:
                refusals.append(Refusal("update", -1, message.status))  # accepted with a lifetime of 0
            elif message.status in _REMARKS:
                remarks.append(Refusal("update", -1, message.status))
        else:
            refusals = self._refused(receiver, message)
        if refusals and plan.lifetime:
            receiver.refused(now)
        elif message.status >= REFUSED and plan.lifetime:
            receiver.corrected(now)
        else:
            receiver.accepted()
        for refusal in refusals + remarks:
            self._outbox.put((updates.peer, refusal))
        return self._flush(receiver, now, asked=False)

    def _is_no_router(self, updates: UpdateList, message: BindingAcknowledgement) -> bool:
        """Whether a receiver has registered this mobile router as a mobile node: the R flag is missing from its
        answer."""
        return (
            self.mobile_router
            and updates.role != "correspondent"
            and not message.flags & AcknowledgementFlag.MOBILE_ROUTER
        )

    def _is_ours(self, receiver: Peer, packet: MobilityPacket, octets: bytes, plan: Plan, authenticated: bool) -> bool:
        # the home address is in the routing header, or else is the destination; RFC 5380 section 6.1: ignore others
        if (packet.routing_home or packet.destination) != self.home:
            return False
        if receiver.updates.role != "correspondent":
            if not authenticated or self.security is None:
                return authenticated
            return self.security.is_authentic(octets, plan.alternate or packet.destination, self.home)
        assert isinstance(packet.message, BindingAcknowledgement)
        if BindingStatus.EXPIRED_HOME_NONCE <= packet.message.status <= BindingStatus.EXPIRED_NONCES:
            return True  # it has no authenticator, so that all it can cause is a new start
        options = packet.message.options
        if not options or not isinstance(options[-1], BindingAuthorizationData):
            return False
        return receiver.is_authentic(octets, plan)

    def _advised(self, updates: UpdateList, message: BindingAcknowledgement, start: float) -> None:
        """Refresh as early as a Binding Refresh Advice option says (K17); one of a correspondent node is ignored."""
        for option in message.options:
            if isinstance(option, BindingRefreshAdvice) and updates.role != "correspondent" and option.interval:
                at = start + LIFETIME_UNIT * option.interval
                for bid, care_of in updates.care_of.items():
                    updates.care_of[bid] = replace(care_of, refresh_at=min(care_of.refresh_at, at))
                for fid, flow in updates.flows.items():
                    updates.flows[fid] = replace(flow, refresh_at=min(flow.refresh_at, at))

    def _refused(self, receiver: Peer, message: BindingAcknowledgement) -> list[Refusal]:
        """Handle an update that was refused as a whole, and return what to report.

        Where the next update can avoid the cause of the refusal, nothing is reported; otherwise the update's requests
        are rolled back.
        """
        status = message.status
        updates, plan = receiver.updates, receiver.updates.outstanding
        assert plan is not None
        if BindingStatus.EXPIRED_HOME_NONCE <= status <= BindingStatus.EXPIRED_NONCES:
            if status != BindingStatus.EXPIRED_CARE_OF_NONCE:
                receiver.tokens.pop(self.home, None)
            if status != BindingStatus.EXPIRED_HOME_NONCE and plan.secured is not None:
                receiver.tokens.pop(plan.secured, None)
            updates.start_over()
            return []
        if status == BindingStatus.ID_MISMATCH and self.security is not None and self.security.set_clock(message):
            updates.start_over()
            return []
        if status == BindingStatus.MCOA_NON_MCOA_BINDING_EXISTS and not plan.overwrite:
            updates.outstanding = None
            updates.fresh = True  # RFC 5648 section 5.7: register again with the O flag
            updates.care_of.clear()
            return []
        if status == BindingStatus.MCOA_BULK_REGISTRATION_PROHIBITED and updates.bulk:
            updates.outstanding = None
            updates.bulk = False
            return []
        return refuse(updates, status)

    # ---- time

    @staticmethod
    def _due(receiver: Peer) -> float:
        if receiver.next_at < inf or receiver.updates.outstanding is not None:
            return receiver.next_at
        return receiver.updates.deadline()

    @_one_at_a_time
    def next_deadline(self) -> float | None:
        """Return the time at which `tick` has to be called next, or None if nothing is due."""
        times = [self._due(receiver) for receiver in self._receivers.values()]
        when = min(times, default=inf)
        return None if when == inf else when

    @_one_at_a_time
    def tick(self, now: float) -> list[bytes]:
        """Return the packets that are due: retransmissions of unanswered updates, and refreshes before entries expire.

        The timeout doubles with each retransmission, up to 32 seconds. When the message for one receiver can't be
        encoded (because ``random`` returns too few octets, for example), this receiver waits for 32 seconds, and the
        packets for the others are returned; EncodeError is raised only if there are none.
        """
        self._clock = now = later(now, self._clock)
        packets = []
        failed: EncodeError | None = None
        for receiver in self._receivers.values():
            try:
                packets += self._tick(receiver, now)
            except EncodeError as error:
                failed = error
                receiver.next_at = now + MAX_BINDACK_TIMEOUT
        if failed is not None and not packets:
            raise failed
        return packets

    def _tick(self, receiver: Peer, now: float) -> list[bytes]:
        plan = receiver.updates.outstanding
        if plan is None:
            if self._due(receiver) <= now:
                receiver.next_at = inf
                return self._flush(receiver, now, asked=False)
        elif receiver.next_at <= now:
            receiver.timeout = min(2 * receiver.timeout, MAX_BINDACK_TIMEOUT)
            return [self._send(receiver, plan, now)]
        return []


def _prefixes(prefixes: tuple[tuple[bytes, int], ...]) -> tuple[tuple[IPv6Address, int], ...]:
    return tuple((as_ipv6("prefixes", network), length) for network, length in prefixes)


def _bids(bids: Sequence[int]) -> tuple[int, ...]:
    if isinstance(bids, (str, bytes)):
        raise ArgumentError("bids", "a sequence of integers", bids)
    try:
        return tuple(bids)
    except TypeError:
        raise ArgumentError("bids", "a sequence of integers", bids) from None
