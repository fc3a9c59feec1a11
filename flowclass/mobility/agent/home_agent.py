"""The home agent (section 8 of the draft; RFC 6275 section 10.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from ipaddress import IPv6Address
from os import PathLike
from typing import Any, Final, NoReturn

from flowclass.addresses import AddressLike, as_packed
from flowclass.errors import ClassifierError, FlowclassError
from flowclass.wire.messages import BindingRevocationAcknowledgement
from flowclass.wire.numbers import BindingStatus, RevocationTrigger, UpdateFlag
from flowclass.wire.packets import MobilityPacket, encode_packet

from ..bindings_file.read import BindingsFile, read_bindings
from ..cache.node import PLAIN, Node
from .agent import Agent, Pending
from .received_update import Outcome, RefusedUpdateError, SilentlyIgnored, Update
from .revocation import Revocations
from .shared_keys import SharedKeys

__all__ = ["HomeAgent", "load_bindings"]


_HOME_REGISTRATION: Final = UpdateFlag.HOME_REGISTRATION.value
_MOBILE_ROUTER: Final = UpdateFlag.MOBILE_ROUTER.value


class HomeAgent(Agent):
    """A home agent without sockets: it takes packets and returns packets, and decides where data packets go.

    All arguments are optional:

    * ``profile``: "draft" or "rfc6089", or a `flowclass.wire.Profile`;
    * ``limits``, ``capabilities``, ``switches``: values of `flowclass.mobility`, docs/switches.md has their fields;
    * ``home_prefixes``: prefixes; home addresses must lie in one of these (else status 132);
    * ``prefix_table``: maps home addresses to mobile network prefixes; ``ipv4_homes`` maps them to IPv4 home addresses.
      ``allocate_ipv4(home)`` returns a new IPv4 home address for a packed one that has none;
    * ``admit_update(update, node)``: returns 0 to admit an update, a status of 128 or more to refuse it;
      ``admit_flow(node, option)``: returns a bool;
    * ``listener(event)``: called with every `flowclass.mobility.Event`;
    * ``table``, ``store``: a `ForwardingTable` and a `flowclass.mobility.Store` for the agent's own cache, or
      ``cache``: a `flowclass.mobility.BindingCache` that agents share.

    Addresses and prefixes may be packed, `ipaddress` objects or text (`flowclass.addresses`).

    `receive` takes a packet and returns those to send; `begin` does the same, but leaves the commit to the caller.
    `tick` is to be called at the time that `next_deadline` returns. `classify`, `care_of` and `account` are for data
    packets, `export_state` and `import_state` for restarts. The caller passes the time, in seconds. A wrong argument
    raises a FlowclassError that names it. `revoke` removes bindings and tells the mobile node (RFC 5846).
    """

    # ---- revocation (RFC 5846)

    @cached_property
    def _revocations(self) -> Revocations:
        return Revocations()

    def revoke(
        self,
        home: AddressLike,
        bids: Iterable[int] = (),
        *,
        now: float,
        trigger: int = RevocationTrigger.ADMINISTRATIVE,
    ) -> list[bytes]:
        """Remove bindings of a home address; return the packet that tells the mobile node.

        ``bids`` are the binding identifiers to remove, by default all. The packet is sent again by `tick` until it is
        acknowledged. A mobile node that hears of the ``trigger`` ADMINISTRATIVE doesn't register again by itself. There
        is no packet where the mobile node can't be reached by IPv6. FlowclassError is raised if there is no such
        binding; what the store or the table raises is passed on, and then nothing has changed.
        """
        home = as_packed("home", home, 6)
        with self.cache.lock:
            now = self.cache.advance(now)
            node = self.cache.get(home)
            if node is None:
                raise FlowclassError(f"{IPv6Address(home)} has no binding")
            chosen = tuple(dict.fromkeys(bids))
            for bid in chosen:
                if bid not in node.care_of:
                    raise FlowclassError(f"{IPv6Address(home)} has no binding with BID {bid}")
            if len(chosen) in (0, len(node.care_of)):
                chosen = ()
                self.cache.remove(home, now)
            else:
                self._remove_some(home, chosen, node.profile, now)
            packet = self._indicate(node, chosen, trigger, now)
        self.cache.deliver()
        return packet

    def _remove_some(self, home: bytes, bids: tuple[int, ...], profile: str, now: float) -> None:
        transaction = self.cache.begin(home, now, profile)
        try:
            for bid in bids:
                transaction.node.care_of.pop(bid, None)  # it may have expired just now
            transaction.commit()
        except BaseException:
            transaction.abort()
            raise

    def _indicate(self, node: Node, bids: tuple[int, ...], trigger: int, now: float) -> list[bytes]:
        default = node.default
        reachable = [entry for entry in node.care_of.values() if len(entry.address) == 16 and not entry.home]
        if default in reachable:
            reachable.insert(0, default)
        if not reachable or len(node.agent) != 16:
            return []
        names = tuple(bid for bid in bids if bid != PLAIN)
        where = IPv6Address(reachable[0].address)
        return [
            self._sealed(
                self._revocations.begin(IPv6Address(node.agent), IPv6Address(node.home), where, names, trigger, now)
            )
        ]

    def _sealed(self, packet: MobilityPacket) -> bytes:
        if isinstance(self.security, SharedKeys) and packet.routing_home is not None:
            message: Any = packet.message
            message = self.security.seal_between(message, packet.destination, packet.routing_home, self.profile)
            packet = replace(packet, message=message)
        return encode_packet(packet, self.profile)

    def _other(self, packet: MobilityPacket, octets: bytes, now: float, authenticated: bool) -> Pending:
        message = packet.message
        if not isinstance(message, BindingRevocationAcknowledgement):
            return super()._other(packet, octets, now, authenticated)
        home = packet.mobile_node.packed
        care_of = self._revocations.care_of(home)
        if isinstance(self.security, SharedKeys):
            authenticated = care_of is not None and self.security.is_authentic(
                octets or encode_packet(packet, self.profile), care_of, packet.mobile_node
            )
        if not authenticated:
            return self._ignore("unauthenticated")
        reason = self._revocations.acknowledged(home, message)
        return Pending(self, []) if reason is None else self._ignore(reason)

    def _answer(self, update: Update, outcome: Outcome) -> list[bytes]:
        if outcome.status < BindingStatus.UNSPECIFIED:
            self._revocations.forget(update.home)
        return super()._answer(update, outcome)

    def tick(self, now: float, most: int | None = None) -> list[bytes]:
        with self.cache.lock:
            again = [self._sealed(packet) for packet in self._revocations.due(now, self._is_bound)]
        return again + super().tick(now, most)

    def _is_bound(self, home: bytes, bids: tuple[int, ...]) -> bool:
        """Whether a home address has one of these bindings (or any) after all, because a batch was undone."""
        node = self.cache.get(home)
        return node is not None and (not bids or any(bid in node.care_of for bid in bids))

    def next_deadline(self) -> float | None:
        times = [when for when in (super().next_deadline(), self._revocations.next_deadline()) if when is not None]
        return min(times, default=None)

    # ---- binding updates

    def _validate(self, update: Update, node: Node | None, now: float) -> frozenset[bytes] | None:
        if not update.flags & _HOME_REGISTRATION:
            self._not_a_home_registration(update, node)
        if update.nonces is not None:
            raise SilentlyIgnored("nonce indices")  # RFC 6275 section 9.5.1
        if not update.away and update.alternate not in (None, update.home) and update.lifetime and not update.bids:
            # RFC 6275 section 10.3.1: a registration has a Home Address option, unless it comes from the home link
            # itself (H flag) or through an IPv4 tunnel (RFC 5555 section 4.4.2)
            raise SilentlyIgnored("no Home Address option")
        self._check_sequence(update)
        self._check_router(update, node)
        self._check_subnet(update.home)
        return None

    def _not_a_home_registration(self, update: Update, node: Node | None) -> NoReturn:
        """Refuse or ignore an update without the H flag, which is meant for a correspondent node."""
        if node is not None:
            self._check_sequence(update)
            raise RefusedUpdateError(BindingStatus.TYPE_CHANGE_DISALLOWED)  # RFC 6275 section 9.5.1
        if update.flags & _MOBILE_ROUTER:
            raise RefusedUpdateError(BindingStatus.MOBILE_ROUTER_NOT_PERMITTED)  # RFC 3963 section 6.2
        raise SilentlyIgnored("no home registration")

    def load(self, found: BindingsFile) -> None:
        """Add the nodes of a bindings file to the binding cache.

        Implicit mode uses the prefixes of the file (RFC 3963 section 5.2); its IPv4 home addresses are static.
        `BindingsFileError` is raised when the forwarding table can't hold the nodes.
        """
        for i, node in enumerate(found.nodes):
            try:
                self.cache.put(node)
            except ClassifierError as error:  # the forwarding table is full
                raise found.refused(i, error) from None
            if node.prefixes:
                self.prefix_table[node.home] = node.prefixes
            if node.also:
                self.ipv4_homes[node.home] = node.also[0]


def load_bindings(path: str | PathLike[str]) -> HomeAgent:
    """Return a home agent with the state that a bindings file describes; its entries never expire.

    Raises `BindingsFileError` with the file, the key and, if it is known, the line.
    """
    found = read_bindings(path)
    agent = HomeAgent(found.profile)
    agent.load(found)
    return agent
