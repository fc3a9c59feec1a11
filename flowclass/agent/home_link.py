"""The home link: a home agent answers there for the home addresses of nodes that are away (RFC 6275 section 10.4.1).

Neighbor solicitations for them get a proxy neighbor advertisement with the agent's own link-layer address, also those
of duplicate address detection; and a registration is announced to all nodes of the link, so that packets come to the
agent at once. A home address that nobody has yet is looked for on the link before it is registered (section 10.3.1).
"""

from __future__ import annotations

import contextlib
import heapq
import socket
import struct
import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_network
from typing import Final

from .logs import Log
from .loop import Loop
from .network import Network
from .packets import ICMPV6, checksum, icmpv6
from .sockets import ICMP6_FILTER, neighbor_tap, payloads, raw_ipv6

__all__ = ["HomeLink"]

_SOLICITATION: Final = 135
_ADVERTISEMENT: Final = 136
_SOLICITED: Final = 0x40
_OVERRIDE: Final = 0x20
_TARGET_LINK_LAYER_ADDRESS: Final = 2
_ND_HOP_LIMIT: Final = 255  # RFC 4861 section 7.1: a router would have counted one
_ALL_NODES: Final = IPv6Address("ff02::1").packed
_SOLICITED_NODE: Final = IPv6Address("ff02::1:ff00:0").packed
_UNSPECIFIED: Final = bytes(16)
_RETRANS_TIMER: Final = 1.0  # RFC 4861 section 10: seconds
_ANNOUNCEMENTS: Final = 3  # MAX_NEIGHBOR_ADVERTISEMENT there
_MESSAGES: Final = 64  # are read at once


class HomeLink:
    """The interface ``name``, which is on the home link. Home addresses that are defended are routed to ``tun``.

    ``agent`` is the agent's own packed address; it is on no interface, and defended like a home address.
    """

    def __init__(self, name: str, agent: bytes, tun: str, network: Network, loop: Loop, log: Log) -> None:
        self._name = name
        self._agent = agent
        self._tun = tun
        self._network = network
        self._loop = loop
        self._log = log
        self._index = network.index(name)
        self._option = struct.pack("BB", _TARGET_LINK_LAYER_ADDRESS, 1) + network.hardware_address(name)
        self._output = raw_ipv6(name)
        self._output.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, self._index)
        self._output.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        self._tap = neighbor_tap(name)
        self._members: list[socket.socket] = []
        self._groups: dict[bytes, tuple[socket.socket, int]] = {}  # solicited-node group -> where joined, for how many
        self._defended: set[bytes] = set()
        self._probed: dict[bytes, tuple[float, Callable[[bool], object]]] = {}  # until when, and what then
        self._due: list[tuple[float, bytes, int]] = []  # when, home address, how many announcements are left
        self._member()
        loop.watch(self._tap, self._heard)

    # ---- what is defended

    def defend(self, home: bytes) -> None:
        """Take on the packets for a home address, and announce it to all nodes of the link."""
        if home in self._defended:
            return
        self._defended.add(home)
        self._join(home)
        if home != self._agent:
            self._network.add_route(ip_network(home), self._tun)
        heapq.heappush(self._due, (time.monotonic(), home, _ANNOUNCEMENTS))

    def give_up(self, home: bytes) -> None:
        """Leave a home address to its node, which is at home again, or gone."""
        if home not in self._defended:
            return
        self._defended.discard(home)
        self._leave(home)
        self._network.remove_route(ip_network(home), self._tun)

    def probe(self, home: bytes, done: Callable[[bool], object]) -> None:
        """Call ``done`` after a second with True, or with False as soon as another node shows that it uses it.

        No other probe of this address may be running. Raises OSError, and then ``done`` is not called.
        """
        until = time.monotonic() + _RETRANS_TIMER
        self._join(home)
        self._probed[home] = (until, done)
        self._send(_UNSPECIFIED, _solicited_node(home), struct.pack(">BBHI", _SOLICITATION, 0, 0, 0) + home)
        heapq.heappush(self._due, (until, home, 0))

    # ---- time

    def next_deadline(self) -> float | None:
        return self._due[0][0] if self._due else None

    def tick(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            when, home, left = heapq.heappop(self._due)
            if left == 0:
                if self._probed.get(home, (None,))[0] == when:  # and not a later probe of the same address
                    self._found(home, unique=True)
            elif home in self._defended:
                self._advertise(home, _ALL_NODES, _OVERRIDE)
                if left > 1:
                    heapq.heappush(self._due, (now + _RETRANS_TIMER, home, left - 1))

    def _found(self, home: bytes, *, unique: bool) -> None:
        probe = self._probed.pop(home, None)
        if probe is not None:
            self._leave(home)
            probe[1](unique)

    # ---- messages

    def _heard(self) -> None:
        for _ in range(_MESSAGES):
            try:
                packet, (_, _, kind, *_) = self._tap.recvfrom(2048)
            except OSError:
                return
            body = packet[40 : 40 + int.from_bytes(packet[4:6])]
            if kind == socket.PACKET_OUTGOING or packet[7] != _ND_HOP_LIMIT or len(body) < 24 or body[1]:
                continue
            if checksum(packet[8:40] + struct.pack(">II", len(body), ICMPV6) + body):
                continue
            target, whose = body[8:24], packet[8:24]
            if body[0] == _ADVERTISEMENT:
                self._found(target, unique=False)
            elif whose == _UNSPECIFIED and target in self._probed:
                self._found(target, unique=False)  # somebody else is about to take it (RFC 4862 section 5.4.3)
            elif target in self._defended:
                if whose == _UNSPECIFIED:
                    self._advertise(target, _ALL_NODES, _OVERRIDE)
                else:
                    self._advertise(target, whose, _SOLICITED | _OVERRIDE)

    def _advertise(self, home: bytes, destination: bytes, flags: int) -> None:
        body = struct.pack(">BBHB3x", _ADVERTISEMENT, 0, 0, flags) + home + self._option
        self._send(self._agent, destination, body)

    def _send(self, source: bytes, destination: bytes, body: bytes) -> None:
        packet = icmpv6(source, destination, body, _ND_HOP_LIMIT)
        try:
            self._output.sendto(packet, (str(IPv6Address(destination)), 0, 0, self._index))
        except OSError as error:
            self._log.limited("home link", "a message on the home link could not be sent", error=error)

    # ---- sockets

    def _member(self) -> socket.socket:
        """Return a further socket that hears nothing and is there for its groups."""
        made = payloads(socket.AF_INET6, ICMPV6)
        made.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, b"\xff" * 32)
        self._members.append(made)
        return made

    def _join(self, home: bytes) -> None:
        """Listen to the solicited-node group of an address, which several addresses may share."""
        group = _solicited_node(home)
        where, count = self._groups.get(group, (self._members[-1], 0))
        if count == 0:
            request = group + struct.pack("@I", self._index)
            try:
                where.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
            except OSError:  # the kernel bounds how many groups a socket may have
                where = self._member()
                try:
                    where.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
                except OSError:  # or the interface is gone
                    self._members.pop().close()
                    raise
        self._groups[group] = (where, count + 1)

    def _leave(self, home: bytes) -> None:
        group = _solicited_node(home)
        where, count = self._groups.pop(group)
        if count > 1:
            self._groups[group] = (where, count - 1)
            return
        with contextlib.suppress(OSError):  # the interface is gone
            where.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, group + struct.pack("@I", self._index))

    def close(self) -> None:
        self._loop.forget(self._tap)
        for made in (self._tap, self._output, *self._members):
            made.close()


def _solicited_node(address: bytes) -> bytes:
    return _SOLICITED_NODE[:13] + address[13:]
