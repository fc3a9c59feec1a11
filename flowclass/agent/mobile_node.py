"""``flowclass mn``: a `flowclass.MobileNode` on a machine with interfaces that come and go.

Its home address is on a TUN device. Packets that applications send from this address go through a tunnel to the home
agent, from the care-of address that the flow bindings select, so that both directions of a flow take the same path; or
directly to correspondent nodes, where the route is optimized. Packets that arrive are written to the device.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from flowclass.engine.forwarding import ForwardingTable
from flowclass.errors import DecodeError, FlowclassError
from flowclass.mobility import MobileNode, Refusal, SharedKey, UpdateList, publish_uplink
from flowclass.wire import BindingAcknowledgement, NatDetection, decode_packet
from flowclass.wire.numbers import BINDING_STATUS, NAT_KEEPALIVE_TIMEOUT, REFUSED

from ._forward import PEER, Forwarder
from .config import CareOfSource, NodeConfig, read_node_config
from .ends import PATH_MTU, EndService, Untouched
from .logs import Log
from .network import InterfaceAddress, address_changes
from .notify import notify
from .packets import IPV4, IPV6, MOBILITY, encapsulate, upper_layer
from .route_optimization import RouteOptimization, want_flows
from .sockets import UDP_PORT, payloads, raw_ipv6, udp_ipv4

if TYPE_CHECKING:
    from ._forward import Local

__all__ = ["MobileNodeService"]

_RELOADED: Final = ("care_of", "flows", "correspondents")  # settings that a running node can change
_ROUTE_METRIC: Final = 1
_SETTLE: Final = 0.05  # seconds for which changes of addresses are collected
_LEAVE: Final = 3.0  # seconds to wait for the acknowledgement of the last update
_NO_NAT: Final = 0xFFFFFFFF  # RFC 5555 section 3.2.2
_KEEPALIVE: Final = b"\xff"  # as in RFC 3948; the home agent passes over it
_IP_PKTINFO: Final = 8
_EVERYWHERE: Final = ((bytes(16), 0), (bytes(4), 0))


class MobileNodeService(EndService):
    """One running mobile node. `run` returns when it has been told to stop and has de-registered."""

    role: ClassVar[str] = "mobile node"

    def __init__(self, config: NodeConfig) -> None:
        super().__init__(Log(config.log, config.log_interval), config.control, config.tun, config.mtu)
        self.config: NodeConfig = config
        self._ready = False
        self._leaving: float | None = None  # the time at which it no longer waits for an answer
        self._left_correspondents = False
        self._look_at: float | None = None
        self._table = ForwardingTable()
        self._revoked: set[int] = set()  # BIDs that the home agent has revoked; a reload asks for them again
        self._last_ipv4 = b""
        self._places: dict[bytes, InterfaceAddress] = {}  # by packed address
        self._sources: dict[bytes, int] = {}  # those that the forwarder sends from, and by which interface
        self._routed: socket.socket | None = None  # for signalling that IPsec protects, perhaps by a device of its own
        self._udp: socket.socket | None = None  # to the home agent, from all IPv4 care-of addresses (RFC 5555)
        self._keepalive: float | None = None  # seconds between two keepalives (RFC 5555 section 5.4)
        self._keepalive_at: float | None = None
        self._optimization: RouteOptimization | None = None
        self._own = [(config.home.packed, 128), *((p.network_address.packed, p.prefixlen) for p in config.prefixes)]
        if config.ipv4_home is not None:
            self._own.append((config.ipv4_home.packed, 32))
        key = config.association
        self.node: MobileNode = MobileNode(
            config.home,
            config.profile,
            lifetime=config.lifetime,
            mobile_router=bool(config.prefixes),
            prefixes=[(p.network_address, p.prefixlen) for p in config.prefixes],
            listener=self._refused,
            security=None if key is None else SharedKey(key.spi, key.key, wall=time.time, identifier=key.identifier),
        )
        self.updates: UpdateList = self.node.add_receiver(config.home_agent)

    # ---- life

    def _open(self) -> None:
        config = self.config
        tun = self._tun()
        self.network.add_address(config.tun, config.home)
        if config.ipv4_home is not None:
            self.network.add_address(config.tun, config.ipv4_home)
        if config.default_route:
            self.network.add_route(ip_network("::/0"), config.tun, source=config.home, metric=_ROUTE_METRIC)
            if config.ipv4_home is not None:
                self.network.add_route(
                    ip_network("0.0.0.0/0"), config.tun, source=config.ipv4_home, metric=_ROUTE_METRIC
                )
        for warning in config.warnings:
            self.log.warning(warning)
        agent4 = config.home_agent_ipv4
        if agent4 is not None:
            self._udp = self._keep(udp_ipv4("0.0.0.0"))
        if config.ipsec:
            self._routed = self._keep(raw_ipv6())
        if config.route_optimization:
            self._keep(Untouched(config.tun, home_address=False))
        self.forwarder: Forwarder = Forwarder(
            self._table,
            role="mobile-node",
            tun=tun.queues,
            output=self._keep(raw_ipv6()).fileno(),
            tap=self._tap(home_address=False).fileno(),
            tunnel6=[self._keep(payloads(socket.AF_INET6, protocol)).fileno() for protocol in (IPV6, IPV4)],
            udp=None if self._udp is None else self._udp.fileno(),
            home_agent=config.home_agent.packed,
            home_agent_ipv4=None if agent4 is None else agent4.packed,
            own=self._own,
            mtu=PATH_MTU,
            hop_limit=config.hop_limit,
            encapsulation_limit=None,
            vnet_header=True,
        )
        if config.route_optimization:
            self._optimize()
        watcher = self._keep(address_changes())
        self.loop.watch(watcher, lambda: self._changed(watcher))
        self.loop.deadlines += [
            self.node.next_deadline,
            lambda: self._look_at,
            lambda: self._leaving,
            lambda: self._keepalive_at,
        ]
        self.loop.on_time.append(self._tick)

    def _optimize(self) -> None:
        found = RouteOptimization(
            self.node,
            self._table,
            own=[*self._own, (self.config.home_agent.packed, 128)],
            send=self._send,
            count=self._packets_by_node,
            log=self.log,
        )
        self._optimization = self._keep(found)
        self.loop.watch(found.errors, lambda: found.hear_error(time.monotonic()))
        self.loop.deadlines.append(found.next_deadline)

    def _packets_by_node(self) -> dict[int, int]:
        found: Counter[int] = Counter()
        for row in self.forwarder.flows():
            found[int(row["node"])] += int(row["packets"])
        return found

    def _serve(self) -> None:
        self._look()

    def _leave(self) -> None:
        """De-register everything, wait for the answer for a while, and end (SIGTERM)."""
        if self._leaving is not None or not self.updates.contacted:
            self.loop.stop()
            return
        now = time.monotonic()
        self._leaving = now + _LEAVE
        self.log.info("de-registering")
        if self._optimization is None:
            self._leave_home(now)
        else:  # correspondent nodes first: return routability needs the home agent
            self._optimization.leave(now)
            self._go_on_leaving(now)

    def _leave_home(self, now: float) -> None:
        self._leaving, self._left_correspondents = now + _LEAVE, True
        self._send(self.node.deregister(self.config.home_agent, *self.updates.wanted_care_of, now=now))

    def _go_on_leaving(self, now: float) -> None:
        optimization = self._optimization
        assert self._leaving is not None
        if not self._left_correspondents:
            if optimization is None or optimization.is_idle or now >= self._leaving:
                self._leave_home(now)
        elif not self.updates.care_of:
            self.loop.stop()
        elif now >= self._leaving:
            self.log.warning("no acknowledgement of the de-registration")
            self.loop.stop()

    def reload(self) -> FlowclassError | None:
        """Replace the present flows, care-of addresses and correspondents by those in the configuration file (SIGHUP);
        anything else waits for a restart. Return what is wrong with the file, and then nothing has changed."""
        try:
            config = read_node_config(self.config.file)
        except FlowclassError as error:
            self.log.error("reload: the configuration is as it was", error=error)
            return error
        before, present = self.config, {name: getattr(config, name) for name in _RELOADED}
        self.config = msgspec.structs.replace(before, **present, warnings=config.warnings)
        fixed = [name for name in NodeConfig.__struct_fields__ if getattr(config, name) != getattr(self.config, name)]
        if fixed:
            self.log.error("reload: what needs a restart is as it was", settings=", ".join(fixed))
        self._revoked.clear()
        self.log.info("reloaded")
        self._look()
        return None

    # ---- what is wanted

    def _changed(self, watcher: socket.socket) -> None:
        with contextlib.suppress(OSError):  # no message is left, or some were lost: look at the addresses in any case
            while watcher.recv(65536):
                pass
        if self._look_at is None:
            self._look_at = time.monotonic() + _SETTLE

    def _look(self) -> None:
        """Register the present care-of addresses, and the flows of the configuration."""
        if self._leaving is not None:
            return
        self._look_at = None
        now, agent, updates = time.monotonic(), self.config.home_agent, self.updates
        there = self.network.addresses()
        self._places = {a.address.packed: a for a in there if a.interface != self.config.tun}
        wanted: dict[int, tuple[CareOfSource, IPv4Address | IPv6Address]] = {}
        for source in self.config.care_of:
            address = self._address(source, there)
            if address is not None and source.bid not in self._revoked:
                wanted[source.bid] = (source, address)
        self._leave_from([address.packed for _, address in wanted.values()])
        try:
            for bid, (source, address) in wanted.items():
                known = updates.wanted_care_of.get(bid)
                if known is None or (known.address, known.priority) != (address, source.priority):
                    place = self._places[address.packed].interface
                    self.log.info("care-of address", bid=bid, address=address, interface=place)
                    self.node.register(agent, bid, address, source.priority, now=now, flush=False)
            gone = [bid for bid in updates.wanted_care_of if bid not in wanted]
            for bid in gone:
                self.log.warning("care-of address is gone", bid=bid)
            if gone and wanted:
                self._send(self.node.deregister(agent, *gone, now=now))
            want_flows(self.node, agent, self.config.flows, now)
        except FlowclassError as error:
            self.log.error("policy", error=error)
        if wanted and all(address.version == 4 for _, address in wanted.values()):
            self.updates.bulk = False  # a NAT gives each its own address and port, so each has an update of its own
            self.updates.force_udp = True  # so that all packets take the way on which a NAT was looked for
        self._send(self.node.flush(agent, now=now))
        self._settle(now)
        if self._optimization is not None:
            self._optimization.look(wanted, self.config.flows, self.config.correspondents, self._places, now)

    def _leave_from(self, care_of: list[bytes]) -> None:
        """Tell the forwarder which care-of addresses are on which interfaces."""
        for address in [address for address in self._sources if address not in self._places]:
            del self._sources[address]
            self.forwarder.set_source(address, None)
        for address in care_of:
            index = self._places[address].index
            if self._sources.get(address) != index:
                self._sources[address] = index
                self.forwarder.set_source(address, index)

    def _settle(self, now: float) -> None:
        """Publish what the receivers have acknowledged, as far as it is here."""
        home, before = self.config.home, self._table.find(self.config.home) is not None
        there = publish_uplink(self._table, home, self.updates, usable=self._places, prefixes=_EVERYWHERE)
        if before and not there:
            self._table.withdraw(home)
        if self._optimization is not None:
            self._optimization.settle(now)

    def _address(self, source: CareOfSource, there: list[InterfaceAddress]) -> IPv4Address | IPv6Address | None:
        """Return the care-of address: the configured one if an interface has it, or the newest one of the interface."""
        if source.address is not None:
            return source.address if source.address.packed in self._places else None
        found: list[IPv4Address | IPv6Address]
        found = [a.address for a in there if a.interface == source.interface and a.address.version == 6]
        if not found and self.config.home_agent_ipv4 is not None:
            found = [a.address for a in there if a.interface == source.interface and a.address.version == 4]
        known = self.updates.wanted_care_of.get(source.bid)
        if known is not None and known.address in found:
            return known.address
        return found[-1] if found else None

    # ---- time and answers

    def _tick(self, now: float) -> None:
        if self._leaving is not None:
            self._go_on_leaving(now)
        if self._look_at is not None and now >= self._look_at:
            self._look()
        if self._keepalive_at is not None and now >= self._keepalive_at:
            self._keep_alive(now)
        when = self.node.next_deadline()
        if when is not None and when <= now:
            self._send(self.node.tick(now))
            self._settle(now)
        if self._optimization is not None:
            self._optimization.tick(now)

    def _heard(self, packet: bytes, *, in_udp: bool) -> None:
        """Process a packet with a Mobility Header for this node."""
        self.counters["signalling"] += 1
        before, known = self.updates.outstanding, list(self.updates.care_of)
        now = time.monotonic()
        self._send(self.node.receive(packet, now=now, authenticated=True))
        if in_udp and before is not None and self.updates.outstanding is not before:
            self._look_for_nat(packet)  # it is the answer to the update; from anybody else, nothing is believed
        if self._optimization is not None:
            self._optimization.settle(now)
        if self._leaving is not None:
            self._go_on_leaving(now)
        if (before is None or self.updates.outstanding is before) and known == list(self.updates.care_of):
            return
        if self._leaving is None and self.updates.care_of:
            self._settle(now)
            if not self._ready:
                self._ready = True
                self.log.ready()
                notify("READY=1")

    def _refused(self, peer: IPv6Address, refusal: Refusal) -> None:
        if refusal.what == "revoked":
            self.counters["revoked"] += 1
            if refusal.number not in self.updates.wanted_care_of:
                self._revoked.add(refusal.number)
            self.log.warning("revoked by the home agent", bid=refusal.number, trigger=refusal.status)
            return
        self.counters["refused"] += 1
        if self._optimization is not None and peer != self.config.home_agent and refusal.what == "update":
            self._optimization.refused(peer, time.monotonic())
        meaning = BINDING_STATUS.get(refusal.status, "") if refusal.what in ("update", "bid") else ""
        self.log.warning(
            "refused", by=peer, what=refusal.what, number=refusal.number, status=refusal.status,
            **({"meaning": meaning} if meaning else {}),
        )  # fmt: skip

    # ---- packets

    def _take(self, local: Local) -> None:
        packet = local.packet
        if local.tun == PEER:
            if self._optimization is not None and self._leaving is None:
                self._optimization.heard(packet[8:24], time.monotonic())
            return
        upper = upper_layer(packet)
        if upper is None or upper.protocol != MOBILITY:
            self.counters["other protocol"] += 1
            return
        if local.outer is None and packet[24:40] not in self._places and packet[24:40] != self.config.home.packed:
            return
        self._heard(packet, in_udp=local.outer is not None)

    # ---- IPv4 care-of addresses (RFC 5555)

    def _look_for_nat(self, packet: bytes) -> None:
        """Read from an acknowledgement how often a NAT on the way has to see packets (section 5.4)."""
        with contextlib.suppress(DecodeError):
            message = decode_packet(packet, self.config.profile).message
            if isinstance(message, BindingAcknowledgement) and message.status < REFUSED:
                found = (option for option in message.options if isinstance(option, NatDetection))
                nat = next((option for option in found if option.refresh_time != _NO_NAT), None)
                self._keepalive = None if nat is None else float(nat.refresh_time or NAT_KEEPALIVE_TIMEOUT)
                self._keepalive_at = None if self._keepalive is None else time.monotonic() + self._keepalive

    def _keep_alive(self, now: float) -> None:
        for entry in self.updates.care_of.values():
            if isinstance(entry.address, IPv4Address):
                self._emit_udp(_KEEPALIVE, entry.address.packed)
        self._keepalive_at = None if self._keepalive is None else now + self._keepalive

    def _ipv4_source(self) -> bytes:
        """The IPv4 care-of address that the present update is sent from; empty if there are others, or none.

        Updates go in UDP, so that a NAT shows (section 4.1): each from the address that it registers.
        """
        entries = list(self.updates.wanted_care_of.values())
        if any(isinstance(entry.address, IPv6Address) for entry in entries):
            return b""
        plan = self.updates.outstanding
        chosen = (plan.care_of if plan is not None else []) or entries
        if chosen:
            self._last_ipv4 = chosen[0].address.packed
        return self._last_ipv4

    def _emit_udp(self, packet: bytes, care_of: bytes) -> None:
        place = self._places.get(care_of)
        if place is None or self._udp is None:
            self.counters["no interface"] += 1
            return
        way = (socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4x", place.index, care_of))
        try:
            self._udp.sendmsg([packet], [way], 0, (str(self.config.home_agent_ipv4), UDP_PORT))
        except OSError as error:
            self._not_sent(place.interface, error)

    def _send(self, packets: list[bytes]) -> None:
        for packet in packets:
            source = packet[8:24]
            if source == self.config.home.packed:
                self._send_home(packet)
            else:
                self._emit(packet, source)

    def _send_home(self, packet: bytes) -> None:
        """Send a packet from the home address: an update in UDP, or through the tunnel (RFC 6275 section 11.3.1)."""
        by_udp = self._ipv4_source()
        if by_udp:
            self._emit_udp(packet, by_udp)
            return
        entries = (e for e in self.updates.care_of.values() if isinstance(e.address, IPv6Address))
        best = min(entries, key=lambda entry: (entry.priority or 256, entry.bid), default=None)
        if best is not None:
            agent, hops = self.config.home_agent.packed, self.config.hop_limit
            self._emit(encapsulate(best.address.packed, agent, packet, hops, None), best.address.packed)

    def _emit(self, packet: bytes, care_of: bytes) -> None:
        """Send a packet by the interface that has the care-of address."""
        place = self._places.get(care_of)
        if place is None:
            self.counters["no interface"] += 1
            return
        if care_of not in self._sources:
            self._leave_from([care_of])
        try:
            if self._routed is not None and packet[24:40] == self.config.home_agent.packed:
                self._routed.sendto(packet, (str(self.config.home_agent), 0))
            else:
                self.forwarder.send([packet])
        except OSError as error:
            self._not_sent(place.interface, error)

    def _not_sent(self, interface: str, error: OSError) -> None:
        self.counters["send failed"] += 1
        self.log.limited("send", "a packet could not be sent", interface=interface, error=error)

    # ---- the operator

    def _status(self) -> dict[str, Any]:
        now = time.monotonic()
        return {
            "home_address": str(self.config.home),
            "home_agent": str(self.config.home_agent),
            "care_of": [
                {
                    "bid": entry.bid,
                    "address": str(entry.address),
                    "priority": entry.priority,
                    "left": round(entry.expires - now, 3),
                }
                for entry in self.updates.care_of.values()
            ],
            "flows": [
                {"fid": flow.fid, "pri": flow.pri, "bids": list(flow.bids)} for flow in self.updates.flows.values()
            ],
            "outstanding": self.updates.outstanding is not None,
            "correspondents": [] if self._optimization is None else self._optimization.status(),
        }
