# cython: language_level=3, annotation_typing=False
"""The common part of home agents, mobility anchor points and correspondent nodes.

An agent takes a packet, makes one transaction on the binding cache, and returns the packets to send. `Agent.begin` does
everything but the commit and returns a `Pending`; `Agent.receive` commits it at once. An embedder that uses ``begin``
can apply ``pending.changes`` to its kernel or run duplicate address detection first, and then call ``commit`` or
``abort``. Only these two return the acknowledgement.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address
from math import copysign, isfinite
from threading import Lock
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Protocol, cast

from msgspec import Struct
from msgspec.structs import replace

from flowclass.addresses import AddressLike, PrefixLike, as_packed
from flowclass.errors import DecodeError, FlowclassError, ParameterProblem
from flowclass.wire.flow_options import FlowIdentification
from flowclass.wire.messages import (
    BindingAcknowledgement,
    BindingError,
    BindingRefreshRequest,
    BindingUpdate,
    UnknownMessage,
)
from flowclass.wire.numbers import (
    LIFETIME_UNIT,
    REFUSED,
    BindingErrorStatus,
    BindingStatus,
    Request,
    UpdateFlag,
    not_greater,
)
from flowclass.wire.octets import as_bytes
from flowclass.wire.options import BindingIdentifier
from flowclass.wire.packets import MobilityPacket, decode_packet, encode_packet
from flowclass.wire.profiles import Profile, get_profile

from ..addresses import Prefix, in_prefixes, is_routable, is_unicast
from ..arguments import check_callable, check_methods, check_optional, check_prefixes, check_type
from ..cache.binding_cache import BindingCache, BusyError, Store, Table, Transaction
from ..cache.events import Event, EventKind
from ..cache.node import PLAIN, Node
from ..cache.snapshot import export_cache, export_pieces, import_cache, import_pieces
from ..settings import Capabilities, Limits, Switches
from .acknowledgement import acknowledge
from .counters import Counters
from .policy import Policy, verdict
from .process import process, times
from .received_update import Outcome, RefusedUpdateError, SilentlyIgnored, Update, collect
from .shared_keys import Security

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from flowclass.engine.forwarding import DataPlane, Decision, ForwardingTable
    from flowclass.engine.packets import Fragments, Packets

__all__ = ["Agent", "Anchor", "Pending"]


_SETTINGS: Final = Policy.__struct_fields__
"""The attributes of an agent that its policy consists of."""
_setting: Final = Lock()
_LONGEST: Final = 9e9
"""A number of seconds whose nanoseconds fit 64 bits."""

_ADD_OR_REPLACE: Final = (Request.ADD.value, Request.REPLACE.value)
_log = logging.getLogger("flowclass.mobility")

_KEY_MANAGEMENT: Final = UpdateFlag.KEY_MANAGEMENT.value
_MOBILE_ROUTER: Final = UpdateFlag.MOBILE_ROUTER.value
_UNSPECIFIED = IPv6Address(0)


class ClassifyOne(Protocol):
    """The type of `Agent.classify_one`."""

    def __call__(self, packet: bytes | bytearray | memoryview, linktype: int = 101) -> int: ...


class DecideOne(Protocol):
    """The type of `Agent.decide_one`."""

    def __call__(self, packet: bytes | bytearray | memoryview, linktype: int = 101) -> Decision: ...


class Pending(Struct, eq=False):
    """The result of `Agent.begin` for one packet, usually a binding update that is not acknowledged yet.

    Without a transaction there is nothing to commit, because the update was refused or ignored, or the packet has none:
    `commit` and `abort` then both return the answer, if any.
    """

    agent: Agent
    answer: list[bytes]
    update: Update | None = None
    transaction: Transaction | None = None
    outcome: Outcome | None = None
    refused: int | None = None
    """The status with which the update was refused as a whole, if it was."""
    ignored: str | None = None
    """The reason why the packet was silently ignored, if it was: a key of `Counters.ignored`."""

    @property
    def changes(self) -> list[Event]:
        """The changes that a commit will make."""
        return [] if self.transaction is None else self.transaction.changes

    def commit(self, granted_lifetime: int | None = None, *, now: float | None = None) -> list[bytes]:
        """Make the changes, then return the packets to send: the acknowledgement.

        ``granted_lifetime``, in units of 4 seconds, is the longest lifetime for the bindings and flows of this update;
        it can only shorten the one that `Limits` allow. ``now`` is the present time; if the lifetime is over by then,
        the answer is a refusal with status 128.

        If the store or the forwarding table raises an exception, nothing changes, the answer is a refusal with status
        130, and the error is logged. FlowclassError is raised if `BindingCache.remove` has closed the transaction.
        """
        transaction, update, outcome = self.transaction, self.update, self.outcome
        if transaction is None or update is None or outcome is None:
            return self.answer
        cache = self.agent.cache
        if granted_lifetime is not None:
            self._grant(granted_lifetime, transaction, outcome)
        time = cache.advance(transaction.now if now is None else now)
        if outcome.lifetime and transaction.now + outcome.lifetime * LIFETIME_UNIT <= time:
            return self.abort(BindingStatus.UNSPECIFIED)
        try:
            transaction.commit()
        except Exception as error:
            if transaction.closed:
                raise
            _log.error("a binding update could not be committed: %r", error, exc_info=_log.isEnabledFor(logging.DEBUG))
            return self.abort(BindingStatus.INSUFFICIENT_RESOURCES)
        except BaseException:
            transaction.abort()
            raise
        self.transaction = None
        with cache.lock:
            self.answer = self.agent._answer(update, outcome)
        return self.answer

    def _grant(self, lifetime: int, transaction: Transaction, outcome: Outcome) -> None:
        """Shorten the lifetime of the entries that the update has made, which are those that the cache doesn't have."""
        if lifetime < 1:
            raise FlowclassError(f"granted_lifetime: 1 or more units of 4 seconds expected, got {lifetime}")
        if lifetime >= outcome.lifetime:
            return
        outcome.lifetime = lifetime
        node, old = transaction.node, self.agent.cache.get(transaction.home) or Node(transaction.home)
        seconds = lifetime * LIFETIME_UNIT
        expires, refresh_at = times(transaction.now, seconds, self.agent.switches.refresh_lead)
        for bid, entry in node.care_of.items():
            if old.care_of.get(bid) is not entry:
                node.care_of[bid] = replace(entry, expires=expires, refresh_at=refresh_at)
        for fid, flow in node.flows.items():
            if old.flows.get(fid) is not flow:
                node.flows[fid] = replace(flow, expires=expires, refresh_at=refresh_at)

    def abort(self, status: int = BindingStatus.INSUFFICIENT_RESOURCES) -> list[bytes]:
        """Change nothing and return the refusal with this status.

        An example is 134, when duplicate address detection has found the home address in use.
        """
        if self.transaction is not None and self.update is not None:
            self.transaction.abort()
            self.transaction = None
            with self.agent.cache.lock:
                self.answer = self.agent._refuse(self.update, status)
            self.refused = status
        return self.answer


class Agent(ABC):
    """A receiver of binding updates. The roles differ in the method `_validate` and in class attributes.

    ``limits`` (`Limits`), ``capabilities`` (`Capabilities`) and ``switches`` (`Switches`) say how much the agent can
    store, what it supports, and how it decides where the specifications leave a choice; see docs/switches.md. If
    ``home_prefixes`` is given, home addresses must lie in one of these prefixes (status 132 for others). Addresses and
    prefixes are taken in every form of `flowclass.addresses`: packed, as `ipaddress` objects, or as text.

    ``cache`` is a binding cache that may be shared with other agents, also of other profiles. Without it the agent
    makes its own, with ``table`` (a ForwardingTable, by default a new one) and ``store``. ``prefix_table`` maps
    home addresses to mobile network prefixes, which implicit mode uses and explicit mode is checked against (RFC 3963
    section 6.1.2). ``admit_update`` and ``admit_flow`` are local policy; they refuse with a status of 128 or more, or
    with False. ``ipv4_homes`` maps home addresses to IPv4 home addresses, and ``allocate_ipv4`` returns a new one (RFC
    5555) for a packed home address. ``listener`` is called with every `Event`. ``security`` (`SharedKeys`, or another
    `Security`) authenticates updates where there is no IPsec, and adds authenticators to acknowledgements. No method
    reads a clock: the caller passes the time as ``now``, in seconds of a monotonic clock.

    An argument of a wrong type or form raises ArgumentError, or another FlowclassError, that names it.
    """

    correspondent: ClassVar[bool] = False
    always_acknowledges: ClassVar[bool] = True  # R71, R128
    replay_memory: ClassVar[float] = 0.0
    """For how many seconds a sequence number is remembered after its binding has expired or was removed."""
    _policy: Policy

    def __init__(
        self,
        profile: str | Profile = "draft",
        store: Store | None = None,
        limits: Limits | None = None,
        capabilities: Capabilities | None = None,
        switches: Switches | None = None,
        *,
        cache: BindingCache | None = None,
        table: Table | None = None,
        listener: Callable[[Event], object] | None = None,
        home_prefixes: Iterable[PrefixLike] = (),
        prefix_table: Mapping[AddressLike, Iterable[PrefixLike]] | None = None,
        admit_update: Callable[[Update, Node], int | None] | None = None,
        admit_flow: Callable[[Node, FlowIdentification], int | None] | None = None,
        ipv4_homes: Mapping[AddressLike, AddressLike] | None = None,
        allocate_ipv4: Callable[[bytes], AddressLike | None] | None = None,
        security: Security | None = None,
    ) -> None:
        self.profile: Profile = get_profile(profile)
        for name, value, kind in (
            ("limits", limits, Limits),
            ("capabilities", capabilities, Capabilities),
            ("switches", switches, Switches),
            ("cache", cache, BindingCache),
        ):
            check_optional(name, value, kind)
        check_methods("table", table, "a ForwardingTable", "publish", "withdraw")
        check_methods("security", security, "a Security with the methods check and seal", "check", "seal")
        check_methods("store", store, "a store with the method put", "put")
        check_callable("listener", listener, optional=True)
        check_callable("admit_update", admit_update, optional=True)
        check_callable("admit_flow", admit_flow, optional=True)
        check_callable("allocate_ipv4", allocate_ipv4, optional=True)
        self.limits: Limits = limits or Limits()
        self.capabilities: Capabilities = capabilities or Capabilities()
        if cache is None:
            cache = BindingCache(
                new_table() if table is None else table, store=store, switches=switches, listener=listener
            )
        self.cache = cache
        self.switches: Switches = switches or cache.switches
        self.home_prefixes: tuple[Prefix, ...] = check_prefixes("home_prefixes", home_prefixes)
        self.prefix_table: dict[bytes, Sequence[Prefix]] = _prefix_table(prefix_table)
        self.closed_prefixes: bool = prefix_table is not None
        self.ipv4_homes: dict[bytes, bytes] = _ipv4_homes(ipv4_homes)
        self.allocate_ipv4 = allocate_ipv4
        self.security = security
        self.admit_update = admit_update
        self.admit_flow = admit_flow
        self.counters: Counters = Counters()
        self._fragments: Fragments | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: profile={self.profile.name!r}, nodes={len(self.cache)}>"

    # ---- packets in, packets out

    def receive(
        self,
        packet: bytes | bytearray | memoryview | MobilityPacket,
        *,
        now: float,
        authenticated: bool = True,
        authorized: Iterable[AddressLike] | None = None,
        outer: tuple[AddressLike, int] | None = None,
    ) -> list[bytes]:
        """Process an IPv6 packet with a Mobility Header; return the packets to send.

        ``now`` must be a finite number of seconds, otherwise FlowclassError is raised. A time earlier than that of a
        previous call is replaced by the previous one.

        Any packet is either answered or silently ignored; its content never raises an exception. ``authenticated``
        says whether IPsec has authenticated it, for home agents and anchor points; an update that isn't authenticated
        changes nothing (R137). ``authorized`` is for correspondent nodes: if the caller has verified the authenticator
        itself, these are the care-of addresses whose keygen tokens secured the update; by default the agent
        verifies it. For a packet received in UDP over IPv4 (RFC 5555), ``outer`` is the IPv4 address and the
        port of its sender; if a NAT has changed the address, both are bound.
        """
        pending = self.begin(packet, now=now, authenticated=authenticated, authorized=authorized, outer=outer)
        return pending.commit()

    def begin(
        self,
        packet: bytes | bytearray | memoryview | MobilityPacket,
        *,
        now: float,
        authenticated: bool = True,
        authorized: Iterable[AddressLike] | None = None,
        outer: tuple[AddressLike, int] | None = None,
    ) -> Pending:
        """Process a packet like `receive`, but leave the commit to the caller; return a `Pending`.

        While it has an open transaction, further updates of this home address are silently ignored as "busy", so that
        the mobile node sends them again.
        """
        octets = b""
        if not isinstance(packet, MobilityPacket):
            octets = as_bytes(packet)
            try:
                packet = decode_packet(octets, self.profile)
            except DecodeError as error:
                self.cache.advance(now)
                return self._undecodable(octets, error)
        with self.cache.lock:
            return self._look_at(packet, octets, self.cache.advance(now), authenticated, authorized, outer)

    def _look_at(
        self,
        packet: MobilityPacket,
        octets: bytes,
        now: float,
        authenticated: bool,
        authorized: Iterable[AddressLike] | None,
        outer: tuple[AddressLike, int] | None,
    ) -> Pending:
        if not packet.checksum_ok:
            return self._ignore("checksum")
        message = packet.message
        if isinstance(message, BindingUpdate):
            if not authenticated:
                return self._ignore("unauthenticated")
            update = collect(packet, message)
            update.outer = None if outer is None else (as_packed("outer", outer[0], 4), outer[1])
            if self.correspondent or self.security is not None:
                update.octets = octets or encode_packet(packet, self.profile)
            if self.correspondent:
                update.authorized = (
                    None if authorized is None else frozenset(as_packed("authorized", a) for a in authorized)
                )
            return self._begin_update(update, now)
        if isinstance(message, UnknownMessage):
            return self._unknown_type(packet)
        return self._other(packet, octets, now, authenticated)

    def _other(self, packet: MobilityPacket, octets: bytes, now: float, authenticated: bool) -> Pending:
        """Process a message that is no binding update; by default it is ignored."""
        return self._ignore("other message")

    def _ignore(self, reason: str) -> Pending:
        with self.cache.lock:
            self.counters.ignored[reason] += 1
        return Pending(self, [], ignored=reason)

    def _undecodable(self, data: bytes, error: DecodeError) -> Pending:
        # RFC 6275 section 9.2: the sender gets an ICMPv6 message, which is left to the caller
        if isinstance(error, ParameterProblem):
            self.cache.tell(Event(EventKind.PARAMETER_PROBLEM, b"", error.offset, data[8:24]))
        return self._ignore("malformed")

    def _unknown_type(self, packet: MobilityPacket) -> Pending:
        """Answer an unknown message type with a Binding Error to the source of the packet (RFC 6275 sections 9.2,
        9.3.3)."""
        if not is_unicast(packet.source) or not is_unicast(packet.destination):
            return self._ignore("unknown message type")
        home = packet.home_address if packet.home_address is not None else _UNSPECIFIED
        self.counters.ignored["unknown message type"] += 1
        reply = MobilityPacket(
            packet.destination, packet.source, BindingError(BindingErrorStatus.UNRECOGNIZED_TYPE, home)
        )
        return Pending(self, [encode_packet(reply, self.profile)])

    # ---- one binding update

    def _begin_update(self, update: Update, now: float) -> Pending:
        if not is_routable(update.home) or not is_routable(update.source) or update.destination[0] == 0xFF:
            return self._ignore("address")  # RFC 6275 sections 9.3.1, 9.5.4
        if update.home == update.destination:
            return self._ignore("address")  # this agent's own: packets for the agent itself would go to the node
        if update.alternate is not None and not is_routable(update.alternate):
            return self._ignore("address")  # section 6.1.7: silently discarded
        if self.security is not None:
            try:
                self.security.check(update)
            except RefusedUpdateError as refused:
                return Pending(self, self._refuse(update, refused.status), refused=refused.status)
            except SilentlyIgnored as ignored:
                return self._ignore(ignored.reason)
        try:
            transaction = self.cache.begin(update.home, now, self.profile.name)
        except BusyError:
            return self._ignore("busy")
        try:
            outcome = self._decide(update, transaction, now)
        except RefusedUpdateError as refused:
            transaction.abort()
            answer = self._refuse(update, refused.status, refused.sequence, refused.bids)
            return Pending(self, answer, refused=refused.status)
        except SilentlyIgnored as ignored:
            transaction.abort()
            return self._ignore(ignored.reason)
        except BaseException:
            transaction.abort()
            raise
        return Pending(self, [], update, transaction, outcome)

    @abstractmethod
    def _validate(self, update: Update, node: Node | None, now: float) -> frozenset[bytes] | None:
        """Make the checks of this role (RFC 6275 sections 9.5.1, 10.3.1).

        ``node`` is the node in the cache, None if it has no binding. Returns the care-of addresses that the update may
        bind, None for any. Raises `RefusedUpdateError` or `SilentlyIgnored` if a check fails.
        """

    def _decide(self, update: Update, transaction: Transaction, now: float) -> Outcome:
        node = transaction.node
        known = bool(node.care_of or node.flows)
        # a node that has flows but no care-of address has no binding, so that its type can't change
        authorized = self._validate(update, node if node.care_of else None, now)
        if not known and self.limits.nodes is not None and len(self.cache) >= self.limits.nodes and update.lifetime:
            raise RefusedUpdateError(BindingStatus.INSUFFICIENT_RESOURCES)
        status = 0
        if self.admit_update is not None:
            status = verdict("admit_update", self.admit_update(update, node), BindingStatus.PROHIBITED)
            if status >= REFUSED:
                raise RefusedUpdateError(status)
        outcome = process(update, node, self._policy, self.cache.owners, now=now, authorized=authorized)
        outcome.status = outcome.status or status
        outcome.key_management = self.capabilities.key_management and bool(update.flags & _KEY_MANAGEMENT)
        return outcome

    @property
    def policy(self) -> Policy:
        """The present settings and tables of the agent, by which it decides updates.

        They may change at any time: assigning one of these attributes makes a new policy.
        """
        return self._policy

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _SETTINGS:
            object.__setattr__(self, name, value)
            return
        with _setting:
            object.__setattr__(self, name, value)
            if all(
                hasattr(self, setting) for setting in _SETTINGS
            ):  # not before the last one is set for the first time
                object.__setattr__(self, "_policy", Policy(*(getattr(self, setting) for setting in _SETTINGS)))

    # ---- answers

    def _answer(self, update: Update, outcome: Outcome) -> list[bytes]:
        counters = self.counters
        counters.updates[outcome.status] += 1
        for status in outcome.bids:
            counters.bids[status] += 1
        if outcome.flows is not None:
            for i, status in enumerate(outcome.flows):
                counters.flows[status] += 1
                if status == 0:
                    option = update.flows[i]
                    if option.action == 0 and option.pro in _ADD_OR_REPLACE:
                        counters.actions_zero += 1
        if not self.always_acknowledges and not self._wants_answer(update, outcome.status):
            return []
        # RFC 6275 section 10.3.1: no refresh advice is given if the cache survives a restart
        advice = None if self.cache.store is not None or self.correspondent else self.switches.refresh_advice
        return [acknowledge(update, outcome, self.profile, advice=advice, seal=self._seal)]

    def _seal(self, message: BindingAcknowledgement, update: Update, outcome: Outcome) -> BindingAcknowledgement:
        """Return the acknowledgement with the options that authenticate it, if any."""
        return message if self.security is None else self.security.seal(message, update, self.profile)

    def _wants_answer(self, update: Update, status: int) -> bool:
        return True

    def _refuse(
        self, update: Update, status: int, sequence: int | None = None, bids: list[int] | None = None
    ) -> list[bytes]:
        """Return the acknowledgement for an update that is refused as a whole.

        It contains the flow options nevertheless; otherwise the mobile node would conclude that the agent doesn't
        support them (K29).
        """
        outcome = Outcome(status, 0, [0] * len(update.bids) if bids is None else bids, sequence=sequence)
        if self.capabilities.flow_bindings:
            outcome.flows = [self.profile.status.unspecified] * len(update.flows)
        return self._answer(update, outcome)

    # ---- time

    def tick(self, now: float, most: int | None = None) -> list[bytes]:
        """Remove expired entries; return the Binding Refresh Requests to send (K17).

        ``most`` is the number of home addresses to process at most, so that a call stays short even if many are due.
        If some are left, `next_deadline` is still in the past: call again. A failing store or table raises nothing.
        """
        packets: list[bytes] = []
        for event in self.cache.tick(now, most):
            if event.kind is EventKind.REFRESH_DUE:
                packets += self._refresh_request(event)
        return packets

    def next_deadline(self) -> float | None:
        """Return when `tick` should be called next, or None if nothing is waiting."""
        return self.cache.next_deadline()

    def _refresh_request(self, event: Event) -> list[bytes]:
        """Return the Binding Refresh Request for a node whose entries are due (RFC 5648 section 6.4).

        The list is empty if none can be sent. The request goes to the home address by way of the default care-of
        address (RFC 6275 sections 9.5.5 and 9.3.2). Flow bindings don't apply, because signalling isn't
        matched against them (RFC 6089 section 4.3).
        """
        node = self.cache.get(event.home)
        if node is None or len(node.agent) != 16 or len(node.home) != 16:
            return []
        options = tuple(BindingIdentifier(bid) for bid in event.bids if bid != PLAIN)
        home = IPv6Address(node.home)
        default = node.default
        if default is None:
            return []
        # for an IPv4 care-of address, the caller tunnels the packet (RFC 5555 section 4.5)
        direct = self.correspondent or default.home or len(default.address) == 4
        packet = MobilityPacket(
            IPv6Address(node.agent),
            home if direct else IPv6Address(default.address),
            BindingRefreshRequest(options),
            routing_home=None if direct else home,
        )
        return [encode_packet(packet, self.profile)]

    def home_address_error(self, source: AddressLike, destination: AddressLike, home: AddressLike) -> list[bytes]:
        """Check a data packet with a Home Address option; return the Binding Error to send, if any.

        If the home address isn't bound to the source of the packet, the packet has to be dropped and the Binding Error
        sent (RFC 6275 section 9.3.1, RFC 5648 section 6.5). This check isn't meant for
        packets with ESP, AH or a Mobility Header.
        """
        source = as_packed("source", source, 6)
        destination = as_packed("destination", destination, 6)
        home = as_packed("home", home, 6)
        node = self.cache.get(home)
        if not is_routable(home) or (node is not None and any(c.address == source for c in node.care_of.values())):
            return []
        peer, here = IPv6Address(source), IPv6Address(destination)
        if not is_unicast(peer) or not is_unicast(here):
            return []
        reply = MobilityPacket(here, peer, BindingError(BindingErrorStatus.UNKNOWN_BINDING, IPv6Address(home)))
        return [encode_packet(reply, self.profile)]

    # ---- restart

    def export_state(self, now: float) -> bytes:
        """Return the whole binding cache as octets, for `import_state`."""
        return export_cache(self.cache, now)

    def import_state(self, data: bytes, now: float) -> None:
        """Replace the content of the cache by exported state; FlowclassError, and no change, if the data is invalid."""
        import_cache(self.cache, data, now)

    def export_pieces(self, now: float, most: int = 1000) -> Iterator[bytes]:
        """Do what `export_state` does in pieces of at most ``most`` nodes, so that an agent can work in between.

        All pieces joined are the state of the cache at the time of the first one.
        """
        return export_pieces(self.cache, now, most)

    def import_pieces(self, data: bytes | Iterable[bytes], now: float, most: int = 500) -> Iterator[int]:
        """Do what `import_state` does in steps of at most ``most`` nodes; the caller has to iterate to the end.

        All data is checked before the first node is put in place. Changes that updates make in between are newer than
        the data, and stay.
        """
        return import_pieces(self.cache, data, now, most)

    # ---- data plane

    @property
    def table(self) -> ForwardingTable:
        """The forwarding table that holds the bindings, for everything that `classify` doesn't offer.

        If the agent or its cache was given a table of the caller's own class, it is that one.
        """
        return cast("ForwardingTable", self.cache.table)

    def classify(
        self,
        packets: Packets,
        *,
        linktype: int = 101,
        linktypes: npt.ArrayLike | None = None,
        fragments: Fragments | Literal["own"] | None = "own",
        times: npt.ArrayLike | None = None,
        inner: int = 0,
        out: npt.NDArray[np.void] | None = None,
        kernel: str = "auto",
        threads: int = 1,
    ) -> npt.NDArray[np.void]:
        """Classify packets; return an array of DECISION_DTYPE.

        ``packets`` is a list of bytes-like objects, or a tuple of buffer, offsets and lengths; the keyword arguments
        are those of ForwardingTable.classify_packets.

        A later fragment gets the decision of its first fragment, if that came before, in this call or an earlier one
        (RFC 6089 section 5.3.6). First fragments are remembered for 60 seconds (RFC 8200 section 4.5) in
        ``fragments``, by default a memory of the agent itself, for which calls wait for each other. ``times`` is the
        arrival time of the packets in nanoseconds, one for all or one each, on the clock of ``now``; by default it is
        the time of the agent's last call. With ``fragments=None``, or several ``threads``, each fragment is decided by
        itself.
        """
        if (  # 0.6 us less than the call below
            fragments == "own" and linktype == 101 and linktypes is None and times is None and inner == 0
            and out is None and kernel == "auto" and threads == 1 and self._has_data_plane
        ):  # fmt: skip
            return self._data_plane.classify(packets)
        memory: Fragments | None = None
        if fragments != "own":
            memory = fragments
        elif threads == 1:
            memory = self._fragments or self._own_fragments()
            if times is None:
                times = self._nanoseconds()
        table = cast("ForwardingTable", self.cache.table)
        return table.classify_packets(
            packets, linktype=linktype, linktypes=linktypes, fragments=memory, times=times, inner=inner, out=out,
            kernel=kernel, threads=threads,
        )  # fmt: skip

    @cached_property
    def classify_one(self) -> ClassifyOne:
        """``classify_one(packet, linktype=101)``: classify one packet; return an integer.

        This is for an agent that gets its packets one at a time. Later fragments are decided as with `classify`, and
        both use the same memory. The integer has the action in bits 0 and 1, the reason in bits 2 to 4, in bits 5 to 7
        whether a FID, a BID and a node apply, the BID in bits 8 to 23, the FID in bits 24 to 39, and the number of
        copies to send in bits 40 to 47. A caller's own class of table doesn't have it (ArgumentError).
        """
        return self._data_plane.classify_one

    @cached_property
    def decide_one(self) -> DecideOne:
        """``decide_one(packet, linktype=101)``: classify one packet, as `classify_one` does; return a `Decision`.

        Its attributes have the action, the reason, FID, BID, home address and care-of addresses (packed).
        """
        return self._data_plane.decide_one

    @cached_property
    def packed_care_of(self) -> Callable[[np.void | bytes], tuple[bytes, ...]]:
        """``packed_care_of(decision)``: what `care_of` returns, as packed addresses of 16 or 4 octets."""
        return self.table.care_of

    @cached_property
    def _has_data_plane(self) -> bool:
        from flowclass.engine.forwarding import ForwardingTable

        return isinstance(self.table, ForwardingTable)

    @cached_property
    def _data_plane(self) -> DataPlane:
        from flowclass.engine.forwarding import DataPlane, ForwardingTable

        check_type("table", self.table, ForwardingTable, "a ForwardingTable")
        return DataPlane(self.table, self._own_fragments, self._nanoseconds)

    def _nanoseconds(self) -> int | None:
        """Return the time of the agent's last call in nanoseconds, None before the first."""
        clock = self.cache.clock
        if -_LONGEST < clock < _LONGEST:
            return int(clock * 1e9)
        return int(copysign(_LONGEST, clock) * 1e9) if isfinite(clock) else None

    def _own_fragments(self) -> Fragments:
        """Return the agent's own memory of first fragments, which is made when it is first needed."""
        if self._fragments is None:
            with self.cache.lock:
                if self._fragments is None:  # another thread may have been first
                    self._fragments = new_fragments()
        return self._fragments

    def care_of(self, decision: np.void | bytes) -> tuple[IPv4Address | IPv6Address, ...]:
        """Return the care-of addresses to which a decision sends its packet: one, or with n-cast one for each copy."""
        return tuple(ip_address(packed) for packed in self.table.care_of(decision))

    def account(self, decisions: npt.NDArray[np.void], lengths: npt.ArrayLike | None = None) -> None:
        """Count packets and octets in ``counters.traffic``, by home address and FID.

        ``decisions`` are of DECISION_DTYPE, ``lengths`` the sizes of their packets. With n-cast, a packet counts once.
        Decisions must be younger than the removal of any node in them.
        """
        with self.cache.lock:
            self.counters.count(self.table, decisions, lengths)

    # ---- checks that roles share

    def _check_sequence(self, update: Update) -> None:
        last = self.cache.last_sequence(update.home)
        if last is not None and not_greater(update.sequence, last):
            raise RefusedUpdateError(BindingStatus.SEQUENCE_OUT_OF_WINDOW, last)

    def _check_router(self, update: Update, node: Node | None) -> None:
        """Check the R flag (RFC 3963 section 6.2); a de-registration can't change the type of the node."""
        router = bool(update.flags & _MOBILE_ROUTER)
        if router and not self.capabilities.mobile_routers:
            raise RefusedUpdateError(BindingStatus.MOBILE_ROUTER_NOT_PERMITTED)
        if update.lifetime and node is not None and node.router is not None and node.router != router:
            raise RefusedUpdateError(BindingStatus.TYPE_CHANGE_DISALLOWED)

    def _check_subnet(self, home: bytes) -> None:
        if self.home_prefixes and not in_prefixes(home, self.home_prefixes):
            raise RefusedUpdateError(BindingStatus.NOT_HOME_SUBNET)


def _prefix_table(table: Mapping[AddressLike, Iterable[PrefixLike]] | None) -> dict[bytes, Sequence[Prefix]]:
    check_optional("prefix_table", table, Mapping)
    return {
        as_packed("prefix_table: home address", home, 6): check_prefixes("prefix_table", prefixes)
        for home, prefixes in (table or {}).items()
    }


def _ipv4_homes(homes: Mapping[AddressLike, AddressLike] | None) -> dict[bytes, bytes]:
    check_optional("ipv4_homes", homes, Mapping)
    return {
        as_packed("ipv4_homes: home address", home, 6): as_packed("ipv4_homes: IPv4 address", address, 4)
        for home, address in (homes or {}).items()
    }


def new_fragments() -> Fragments:
    """Return a new memory of first fragments, whose hash function has a secret of its own."""
    from flowclass.engine.packets import Fragments

    return Fragments()


def new_table() -> ForwardingTable:
    """Return a new forwarding table; it is imported late, because it imports numpy."""
    from flowclass.engine.forwarding import ForwardingTable

    return ForwardingTable()


Anchor = Agent
"""The name that `Agent` had before 0.1.0."""
