"""Route optimization of a live mobile node (RFC 6275 sections 11.6 and 11.7.2, section 6 of the draft).

The forwarder says whose packets come through the tunnel. With each of them that the configuration allows, the node
makes the return routability procedure, and registers its care-of addresses, one by one, and its flows, except those
with copies, which correspondent nodes refuse. What a correspondent node has acknowledged is published in the table of
the forwarder, and packets go directly. Otherwise they stay in the tunnel: a correspondent node that refuses, is silent,
or whose host says that it doesn't know a header of ours, isn't asked again for a while.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any, Final

from flowclass.engine.forwarding import ForwardingTable
from flowclass.errors import FlowclassError
from flowclass.mobility import DISCARD, NCAST, FlowEntry, MobileNode, UpdateList, publish_uplink
from flowclass.mobility.addresses import in_prefixes, is_routable
from flowclass.wire.numbers import HOME_ADDRESS_OPTION, MAX_RR_BINDING_LIFETIME

from .config import CareOfSource, FlowPolicy
from .logs import Log
from .packets import ICMPV6, MOBILITY, upper_layer
from .sockets import ICMP6_FILTER, payloads

__all__ = ["RouteOptimization", "want_flows"]

_MOST: Final = 256  # correspondent nodes at once
_SILENCE: Final = 15.0  # seconds: four transmissions of each message of return routability
_QUIET: Final = MAX_RR_BINDING_LIFETIME  # seconds for which a correspondent node isn't asked again
_MOST_QUIET: Final = 4096
_IDLE: Final = 120.0  # seconds without a packet, after which a binding isn't refreshed any longer
_PARAMETER_PROBLEM: Final = 4
_UNKNOWN_HEADER: Final = 1  # codes of a Parameter Problem
_UNKNOWN_OPTION: Final = 2

Address = IPv4Address | IPv6Address


@dataclass(slots=True)
class _Correspondent:
    updates: UpdateList
    since: float
    published: object = None
    packets: int = 0
    used: float = 0.0
    ending: bool = False  # it has been asked to remove all bindings


class RouteOptimization:
    """The correspondent nodes of a mobile node. ``send`` sends packets of `MobileNode`, ``count`` returns the packets
    by node of the table so far."""

    def __init__(
        self,
        node: MobileNode,
        table: ForwardingTable,
        *,
        own: Iterable[tuple[bytes, int]],
        send: Callable[[list[bytes]], None],
        count: Callable[[], dict[int, int]],
        log: Log,
    ) -> None:
        self._node = node
        self._table = table
        self._own = [entry for entry in own if len(entry[0]) == 16]
        self._send = send
        self._count = count
        self._log = log
        self._known: dict[IPv6Address, _Correspondent] = {}
        self._quiet: dict[IPv6Address, float] = {}
        self._care_of: dict[int, tuple[CareOfSource, IPv6Address]] = {}
        self._flows: tuple[FlowPolicy, ...] = ()
        self._prefixes: tuple[IPv6Network, ...] = ()
        self._usable: Container[bytes] = ()
        self._count_at: float | None = None
        self.errors: socket.socket = payloads(socket.AF_INET6, ICMPV6)
        blocked = [0xFFFFFFFF] * 8
        blocked[_PARAMETER_PROBLEM // 32] &= ~(1 << _PARAMETER_PROBLEM % 32)
        self.errors.setsockopt(ICMPV6, ICMP6_FILTER, struct.pack("8I", *blocked))

    def close(self) -> None:
        self.errors.close()

    def look(
        self,
        care_of: dict[int, tuple[CareOfSource, Address]],
        flows: Iterable[FlowPolicy],
        prefixes: tuple[IPv6Network, ...],
        usable: Container[bytes],
        now: float,
    ) -> None:
        """Take other care-of addresses, flows and prefixes of correspondent nodes from now on."""
        found = {bid: (source, a) for bid, (source, a) in care_of.items() if isinstance(a, IPv6Address)}
        by_number = not self._node.profile.explicit_actions  # several BIDs mean copies (RFC 6089)
        kept = tuple(flow for flow in flows if flow.action != NCAST and not (by_number and len(flow.bids) > 1))
        if len(found) == 1 and not kept:
            found = {0: next(iter(found.values()))}  # as with RFC 6275 alone, which every correspondent node knows
        mixed = (0 in found) != (0 in self._care_of) and bool(self._care_of)
        self._care_of, self._flows, self._prefixes, self._usable = found, kept, prefixes, usable
        for peer, known in list(self._known.items()):
            if known.ending:
                continue
            if mixed or not found or not self._allows(peer):
                self._end(peer, now)
            else:
                self._want(peer, now)
        self.settle(now)

    def _allows(self, peer: IPv6Address) -> bool:
        return not self._prefixes or any(peer in prefix for prefix in self._prefixes)

    def heard(self, address: bytes, now: float) -> None:
        """Consider to optimize the route to a node whose packet has come through the tunnel."""
        peer = IPv6Address(address)
        if peer in self._known or not self._care_of or not is_routable(address) or in_prefixes(address, self._own):
            return
        if not self._allows(peer) or self._quiet.get(peer, now) > now or len(self._known) >= _MOST:
            return
        self._quiet.pop(peer, None)
        updates = self._node.add_receiver(peer, "correspondent")
        self._known[peer] = _Correspondent(updates, now, used=now)
        self._count_at = min(self._count_at or now + _SILENCE, now + _SILENCE)
        self._want(peer, now)

    def _want(self, peer: IPv6Address, now: float) -> None:
        try:
            self._ask(peer, self._known[peer].updates, now)
        except FlowclassError as error:
            self._log.error("route optimization", correspondent=peer, error=error)
            self._forget(peer, now + _QUIET)

    def _ask(self, peer: IPv6Address, updates: UpdateList, now: float) -> None:
        for bid, (source, address) in self._care_of.items():
            known = updates.wanted_care_of.get(bid)
            if known is None or (known.address, known.priority) != (address, source.priority):
                self._node.register(peer, bid, address, source.priority, now=now, flush=False)
        gone = [bid for bid in updates.wanted_care_of if bid not in self._care_of]
        packets = self._node.deregister(peer, *gone, now=now) if gone else []
        want_flows(self._node, peer, self._flows, now)
        self._send(packets + self._node.flush(peer, now=now))

    def settle(self, now: float) -> None:
        """Publish what has been acknowledged since, and withdraw what has expired."""
        for peer, known in list(self._known.items()):
            updates = known.updates
            if known.ending:
                if not updates.contacted:
                    self._forget(peer)
                continue
            entries = [(e.bid, e.address, e.priority) for e in updates.care_of.values() if e.certain]
            usable = [entry for entry in entries if entry[1].packed in self._usable]
            content = (usable, [(f.fid, f.pri, f.bids, f.selector) for f in updates.flows.values()]) if usable else None
            if content == known.published:
                continue
            if (content is None) != (known.published is None):
                self._log.info("route", correspondent=peer, way="direct" if content else "tunnel")
            known.published = content
            if not publish_uplink(self._table, peer, updates, usable=self._usable):
                self._table.withdraw(peer)

    def _end(self, peer: IPv6Address, now: float) -> None:
        """Return to the tunnel, and ask the correspondent node to remove its bindings."""
        known = self._known[peer]
        if not known.updates.contacted:
            self._forget(peer)
            return
        self._withdraw(peer)
        known.ending, known.since = True, now
        self._send(self._node.deregister(peer, *known.updates.wanted_care_of, now=now))

    def _withdraw(self, peer: IPv6Address) -> None:
        known = self._known[peer]
        if known.published is not None:
            known.published = None
            self._table.withdraw(peer)
            self._log.info("route", correspondent=peer, way="tunnel")

    def _forget(self, peer: IPv6Address, quiet_until: float | None = None) -> None:
        self._withdraw(peer)
        del self._known[peer]
        self._node.remove_receiver(peer)
        if quiet_until is not None:
            self._quiet[peer] = quiet_until
            if len(self._quiet) > _MOST_QUIET:
                del self._quiet[next(iter(self._quiet))]

    def refused(self, peer: IPv6Address, now: float) -> None:
        """Return to the tunnel, because the correspondent node has refused an update."""
        if peer in self._known:
            self._forget(peer, now + _QUIET)

    def hear_error(self, now: float) -> None:
        """Read ICMPv6 Parameter Problems: the host of a correspondent node doesn't know a header of ours.

        Problems with what applications send say nothing about the route (RFC 6275 section 11.3.5).
        """
        while True:
            try:
                message, source = self.errors.recvfrom(2048)
            except OSError:
                return
            peer = IPv6Address(source[0].partition("%")[0])
            if len(message) < 48 or message[0] != _PARAMETER_PROBLEM or message[32:48] != peer.packed:
                continue
            if _is_about_mobility(message[1], message[8:], int.from_bytes(message[4:8])):
                self.refused(peer, now)

    def next_deadline(self) -> float | None:
        return self._count_at

    def tick(self, now: float) -> None:
        """Give up correspondent nodes that are silent, and those with whom no packets are exchanged any longer."""
        self.settle(now)
        if self._count_at is None or now < self._count_at:
            return
        counts = self._count()
        for peer, known in list(self._known.items()):
            number = self._table.find(peer)
            packets = 0 if number is None else counts.get(number, 0)
            if packets != known.packets:
                known.packets, known.used = packets, now
            if (known.ending or not known.updates.care_of) and now - known.since >= _SILENCE:
                self._log.info("no answer", correspondent=peer)
                self._forget(peer, now + _QUIET)
            elif not known.ending and now - known.used >= _IDLE:
                self._end(peer, now)
        self._count_at = now + _SILENCE if self._known else None

    def leave(self, now: float) -> None:
        """End with all correspondent nodes; `is_idle` is true when they have answered."""
        self._care_of.clear()
        for peer, known in list(self._known.items()):
            if not known.ending:
                self._end(peer, now)

    @property
    def is_idle(self) -> bool:
        return not self._known

    def status(self) -> list[dict[str, Any]]:
        return [
            {
                "address": str(peer),
                "way": "tunnel" if known.published is None else "direct",
                "care_of": [str(entry.address) for entry in known.updates.care_of.values()],
                "flows": sorted(known.updates.flows),
            }
            for peer, known in self._known.items()
        ]


def _is_about_mobility(code: int, packet: bytes, at: int) -> bool:
    """Whether a Parameter Problem says that the Mobility Header, or the Home Address option, of a packet is unknown."""
    if code == _UNKNOWN_HEADER:
        upper = upper_layer(packet)
        return upper is not None and upper.protocol == MOBILITY
    return code == _UNKNOWN_OPTION and packet[at : at + 1] == bytes((HOME_ADDRESS_OPTION,))


def want_flows(node: MobileNode, peer: IPv6Address, flows: Iterable[FlowPolicy], now: float) -> None:
    """Ask a receiver for the flows of a configuration file, as far as their care-of addresses are there."""
    updates = node.update_list(peer)
    wanted = updates.wanted_flows
    policies = {flow.fid: flow for flow in flows}
    for fid in [fid for fid in wanted if fid not in policies]:
        node.remove_flow(peer, fid, now=now, flush=False)
    for fid, flow in policies.items():
        known = wanted.get(fid)
        there = tuple(bid for bid in flow.bids if bid in updates.wanted_care_of)
        if not there and flow.action != DISCARD:
            continue  # none of its care-of addresses is there yet; it is registered when one is
        if known is None:
            node.add_flow(peer, fid, flow.pri, there, flow.selector, flow.action, now=now, flush=False)
        elif not _same(known, flow, there):
            node.replace_flow(
                peer, fid, now=now, pri=flow.pri, bids=there, selector=flow.selector,
                wild_card=flow.selector is None, action=flow.action, flush=False,
            )  # fmt: skip


def _same(known: FlowEntry, flow: FlowPolicy, bids: tuple[int, ...]) -> bool:
    """Whether what was asked for is what the file says; copies to one BID alone were completed (R90)."""
    completed = flow.action == NCAST and len(bids) == 1
    there = bids if not completed else known.bids
    return (known.pri, known.action, known.bids, known.selector) == (flow.pri, flow.action, there, flow.selector)
