"""The packet loop of a home agent in plain Python, for reading: what `flowclass.agent._forward` does in C, 30 times as
fast and with path MTUs, offloads and several queues.

    read from the TUN device  ->  decide, all at once  ->  put a header in front  ->  send through a raw socket

Packets to the agent's own address take the other way: a tunnel from a mobile node is opened, if it comes from a care-of
address of the node whose packet is inside; everything else is the control plane's and returned by `run`.

    python examples/python_packet_loop.py ha.toml       # as `flowclass ha ha.toml`, with this loop
"""

from __future__ import annotations

import os
import select
import socket
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from ipaddress import IPv6Address
from time import monotonic
from typing import Any, Final

import numpy as np

from flowclass.agent._forward import FLOW_COUNTER_DTYPE, Local
from flowclass.agent.config import read_agent_config
from flowclass.agent.home_agent import HomeAgentService
from flowclass.agent.packets import FRAGMENT, IPV4, IPV6, Upper, encapsulate, encapsulate4, too_big, upper_layer
from flowclass.engine.forwarding import ForwardingTable
from flowclass.engine.packets import Fragments
from flowclass.mobility import BindingCache

NONE: Final = 0
DISCARD: Final = 2
NCAST: Final = 3
_BATCH: Final = 64
_OVERHEAD: Final = 48  # an IPv6 header, and the option with the encapsulation limit
_MIN_MTU: Final = 1280
_REASSEMBLY_TIME: Final = 60.0  # RFC 8200 section 4.5
_REASSEMBLIES: Final = 64
_REASONS: Final = ("not-ip", "malformed", "unbound", "signalling", "flow", "default")


class PythonForwarder:
    """Takes the place of `flowclass.agent._forward.Forwarder`. ``cache``: whom an inner source address belongs to."""

    KINDS = ("flow", "n-cast", "default", "signalling", "discard", "reverse", "local", "sent", "errors")

    def __init__(
        self,
        table: ForwardingTable,
        *,
        tun: Sequence[int],
        output: int,
        home_agent: bytes,
        cache: BindingCache,
        output4: int | None = None,
        udp: int | None = None,
        tunnel4: Sequence[int] = (),  # tunnels over IPv4 are in UDP here
        home_agent_ipv4: bytes | None = None,
        mtu: int = 1500,
        hop_limit: int = 64,
        encapsulation_limit: int | None = 4,
        vnet_header: bool = False,
    ) -> None:
        assert not vnet_header, "offloads = false: this loop reads one packet at a time"
        self.table = table
        self.tun = list(tun)
        self.home_agent = home_agent
        self.home_agent_ipv4 = home_agent_ipv4
        self.cache = cache
        self.mtu = mtu
        self.hop_limit = hop_limit
        self.encapsulation_limit = encapsulation_limit
        self._output = socket.socket(fileno=os.dup(output))
        self._output4 = None if output4 is None else socket.socket(fileno=os.dup(output4))
        self._udp = None if udp is None else socket.socket(fileno=os.dup(udp))
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        for queue in [*self.tun, self._wake, *([] if udp is None else [udp])]:
            self._poll.register(queue, select.POLLIN)
        self._udp_number = udp
        self._ports: dict[tuple[bytes, int], tuple[bytes, int]] = {}
        self._fragments = Fragments()
        self._reassembly: dict[bytes, tuple[float, dict[int, bytes], list[int]]] = {}
        self._packets: Counter[str] = Counter()
        self._octets: Counter[str] = Counter()
        self._drops: Counter[str] = Counter()
        self._flows: dict[tuple[int, int, int], list[int]] = {}

    # ---- the loop

    def run(self, timeout_ms: int) -> list[Local]:
        """Waits for packets, forwards what can be forwarded, and returns what is the agent's own, if anything."""
        found: list[Local] = []
        for number, _ in self._poll.poll(timeout_ms):
            if number == self._wake:
                os.eventfd_read(self._wake)
            elif number == self._udp_number:
                self._read_udp(found)
            else:
                self._read(self.tun.index(number), found)
        return found

    def wake(self) -> None:
        os.eventfd_write(self._wake, 1)

    def _read(self, queue: int, found: list[Local]) -> None:
        transit: list[bytes] = []
        for _ in range(_BATCH):
            try:
                packet = os.read(self.tun[queue], 65575)
            except OSError:  # nothing is left
                break
            if len(packet) >= 40 and packet[0] >> 4 == 6 and packet[24:40] == self.home_agent:
                self._own(packet, queue, found)
            else:
                transit.append(packet)
        if transit:
            self._forward(transit)

    # ---- to mobile nodes

    def _forward(self, packets: list[bytes]) -> None:
        decisions = self.table.classify_packets(packets, fragments=self._fragments)
        for packet, decision in zip(packets, decisions, strict=True):
            action, reason = int(decision["action"]), _REASONS[int(decision["reason"])]
            if action == NONE:
                self._drops[reason] += 1
                continue
            kind = {DISCARD: "discard", NCAST: "n-cast"}.get(action, reason)
            self._count(kind, packet)
            row = self._flows.setdefault((int(decision["node"]), int(decision["fid"]), self.KINDS.index(kind)), [0, 0])
            row[0] += 1
            row[1] += len(packet)
            if action != DISCARD:
                for address in self.table.care_of(decision):
                    self._tunnel(packet, address, decision)

    def _tunnel(self, packet: bytes, care_of: bytes, decision: Any) -> None:
        # RFC 2473 section 3.1: the packet has been forwarded once by the time it leaves
        if packet[7 if packet[0] >> 4 == 6 else 8] <= 1:
            self._drops["hop-limit"] += 1
            return
        room = self.mtu - _OVERHEAD
        if len(packet) > max(room, _MIN_MTU) and packet[0] >> 4 == 6:
            self._drops["too-big"] += 1
            self.send([too_big(self.home_agent, packet, max(room, _MIN_MTU))])
            return
        if len(care_of) == 4:
            if self.home_agent_ipv4 is None:
                self._drops["no-ipv4"] += 1
                return
            home = self.table.home_address(decision) or b""
            at = self._ports.get((home, int(decision["bid"])))
            if at is not None and at[0] == care_of and self._udp is not None:
                self._sendto(self._udp, packet, (socket.inet_ntoa(care_of), at[1]))
            else:
                self.send([encapsulate4(self.home_agent_ipv4, care_of, packet, self.hop_limit)])
            return
        self.send([encapsulate(self.home_agent, care_of, packet, self.hop_limit, self.encapsulation_limit)])

    # ---- to the agent itself

    def _own(self, packet: bytes, queue: int, found: list[Local]) -> None:
        upper = upper_layer(packet)
        if upper is not None and upper.protocol == FRAGMENT:
            whole = self._reassemble(packet, upper)
            if whole is None:
                return
            packet, upper = whole, upper_layer(whole)
        if upper is not None and upper.protocol in (IPV4, IPV6):
            self._reverse(packet[upper.offset :], packet[8:24], queue, found)
        else:
            self._count("local", packet)
            found.append(Local(packet, queue, None))

    def _reverse(self, inner: bytes, outer: bytes, queue: int, found: list[Local]) -> None:
        """A packet out of a tunnel: RFC 6275 section 10.4.5."""
        six = len(inner) >= 40 and inner[0] >> 4 == 6
        if not six and (len(inner) < 20 or inner[0] >> 4 != 4):
            self._drops["malformed"] += 1
            return
        source, destination = (inner[8:24], inner[24:40]) if six else (inner[12:16], inner[16:20])
        if outer not in care_of_addresses(self.cache, source):
            self._drops["spoofed-reverse"] += 1
        elif destination == self.home_agent:
            found.append(Local(inner, queue, None))
        else:
            self._count("reverse", inner)
            self.send([inner])

    def _reassemble(self, packet: bytes, upper: Upper) -> bytes | None:
        at = upper.offset
        if at + 8 > len(packet):
            self._drops["malformed"] += 1
            return None
        number, place = packet[at], int.from_bytes(packet[at + 2 : at + 4])
        key, offset, more = packet[8:40] + packet[at + 4 : at + 8], place & ~7, place & 1
        now = monotonic()
        self._reassembly = {k: v for k, v in self._reassembly.items() if v[0] > now}
        if key not in self._reassembly and len(self._reassembly) >= _REASSEMBLIES:
            self._drops["fragment-overflow"] += 1
            return None
        _, parts, end = self._reassembly.setdefault(key, (now + _REASSEMBLY_TIME, {}, []))
        payload = packet[at + 8 : 40 + int.from_bytes(packet[4:6])]
        overlaps = any(o < offset + len(payload) and offset < o + len(p) for o, p in parts.items() if o != offset)
        if overlaps or offset + len(payload) > 0xFFFF or (more and len(payload) % 8):
            del self._reassembly[key]  # RFC 5722
            self._drops["malformed"] += 1
            return None
        parts[offset] = payload
        if not more:
            end.append(offset + len(payload))
        if not end or sum(map(len, parts.values())) != end[0]:
            return None
        del self._reassembly[key]
        body = b"".join(parts[o] for o in sorted(parts))
        head = bytearray(packet[:at])
        head[_next_header_at(packet)] = number
        head[4:6] = (at - 40 + len(body)).to_bytes(2)
        return bytes(head) + body

    def _read_udp(self, found: list[Local]) -> None:
        assert self._udp is not None
        for _ in range(_BATCH):
            try:
                packet, (host, port) = self._udp.recvfrom(65535)
            except OSError:
                return
            outer = socket.inet_aton(host)
            if len(packet) >= 40 and packet[0] >> 4 == 6 and packet[24:40] == self.home_agent:
                found.append(Local(packet, -1, (outer, port)))
            elif packet:  # a single octet or nothing keeps the NAT's mapping alive (RFC 5555 section 4.3)
                self._reverse(packet, outer, -1, found)

    # ---- sending and counting

    def set_port(self, home_address: bytes, bid: int, care_of: bytes, port: int | None) -> None:
        self._ports.pop((home_address, bid), None)
        if port is not None:
            self._ports[home_address, bid] = (care_of, port)

    def reload(self, *, mtu: int, hop_limit: int = 64, encapsulation_limit: int | None = 4) -> None:
        self.mtu, self.hop_limit, self.encapsulation_limit = mtu, hop_limit, encapsulation_limit

    close = wake

    def send(self, packets: Sequence[bytes]) -> None:
        """Whole IP packets, through the socket of their IP version."""
        for packet in packets:
            if packet[0] >> 4 == 6:
                self._sendto(self._output, packet, (str(IPv6Address(packet[24:40])), 0))
            elif self._output4 is not None:
                self._sendto(self._output4, packet, (socket.inet_ntoa(packet[16:20]), 0))

    def _sendto(self, through: socket.socket, packet: bytes, where: tuple[str, int]) -> None:
        try:
            through.sendto(packet, where)
        except OSError:
            self._drops["send-failed"] += 1
        else:
            self._count("sent", packet)

    def _count(self, name: str, packet: bytes) -> None:
        self._packets[name] += 1
        self._octets[name] += len(packet)

    def counters(self) -> dict[str, Any]:
        return {
            "packets": {kind: self._packets[kind] for kind in self.KINDS},
            "octets": {kind: self._octets[kind] for kind in self.KINDS},
            "drops": dict(self._drops),
            "drop_octets": {},
        }

    def flows(self) -> Any:
        rows = [(node, fid, kind, 0, *row) for (node, fid, kind), row in list(self._flows.items())]
        return np.array(rows, dtype=FLOW_COUNTER_DTYPE)


def care_of_addresses(cache: BindingCache, address: bytes) -> set[bytes]:
    """Those of the node that an address, or the longest prefix that it is in, belongs to."""
    bits, number = 8 * len(address), int.from_bytes(address)
    prefixes = ((network, length) for network, length in cache.owners if len(network) == len(address))
    around = [p for p in prefixes if number >> (bits - p[1]) == int.from_bytes(p[0]) >> (bits - p[1])]
    node = cache.get(address)
    if node is None and around:
        node = cache.get(cache.owners[max(around, key=lambda prefix: prefix[1])])
    return set() if node is None else {entry.address for entry in node.care_of.values()}


def _next_header_at(packet: bytes) -> int:
    """Where the Next Header octet stands that announces the Fragment header."""
    place, number, at = 6, packet[6], 40
    while number != FRAGMENT:
        place, number, at = at, packet[at], at + 8 * packet[at + 1] + 8
    return place


def main() -> None:
    service = HomeAgentService(read_agent_config(sys.argv[1]))
    service.make_forwarder = partial(PythonForwarder, cache=service.agent.cache)
    service.run()


if __name__ == "__main__":
    main()
