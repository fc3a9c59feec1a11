"""``flowclass mn``: a `flowclass.MobileNode` on a machine with interfaces that come and go.

Its home address is on a TUN device. Packets that applications send from this address go through a tunnel to the home
agent, from the care-of address that the flow bindings select, so that both directions of a flow take the same path.
Packets from the tunnel are written to the device. There is one thread, which suffices for laboratories and tests.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections import Counter
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any, Final

from flowclass.engine.forwarding import ForwardingTable
from flowclass.engine.packets import parse
from flowclass.errors import DecodeError, FlowclassError
from flowclass.mobility import (
    DISCARD,
    NCAST,
    FlowEntry,
    MobileNode,
    Refusal,
    SharedKey,
    UpdateList,
    exchanged,
    publish_known,
)
from flowclass.wire import BindingAcknowledgement, NatDetection, decode_packet
from flowclass.wire.numbers import BINDING_STATUS, NAT_KEEPALIVE_TIMEOUT, REFUSED

from .config import CareOfSource, FlowPolicy, NodeConfig, read_node_config
from .control import ControlServer
from .logs import Log
from .loop import Loop
from .network import InterfaceAddress, Network, address_changes
from .notify import notify
from .packets import IPV4, IPV6, MOBILITY, encapsulate, upper_layer
from .sockets import UDP_PORT, mobility_tap, payloads, raw_ipv6, udp_ipv4
from .tun import Tun

__all__ = ["MobileNodeService"]

_ROUTE_METRIC: Final = 1
_BATCH: Final = 64
_SETTLE: Final = 0.05  # seconds for which changes of addresses are collected
_LEAVE: Final = 3.0  # seconds to wait for the acknowledgement of the last update
_TYPE_2: Final = 2
_NO_NAT: Final = 0xFFFFFFFF  # RFC 5555 section 3.2.2
_KEEPALIVE: Final = b"\xff"  # as in RFC 3948; the home agent passes over it


class MobileNodeService:
    """One running mobile node. `run` returns when it has been told to stop and has de-registered."""

    def __init__(self, config: NodeConfig) -> None:
        self.config: NodeConfig = config
        self.log: Log = Log(config.log, config.log_interval)
        self.loop: Loop = Loop()
        self.counters: Counter[str] = Counter()
        self.started: float = time.monotonic()
        self._closing: list[Any] = []
        self._ready = False
        self._leaving: float | None = None
        self._look_at: float | None = None
        self._table = ForwardingTable()
        self._revoked: set[int] = set()  # BIDs that the home agent has revoked; a reload asks for them again
        self._known: object = None
        self._outputs: dict[str, socket.socket] = {}
        self._last_ipv4 = b""
        self._places: dict[bytes, str] = {}  # care-of address -> interface
        self._udp: dict[bytes, socket.socket] = {}  # IPv4 care-of address -> socket to the home agent (RFC 5555)
        self._keepalive: float | None = None  # seconds between two keepalives (RFC 5555 section 5.4)
        self._keepalive_at: float | None = None
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

    def run(self) -> None:
        try:
            self._open()
            self.loop.on_signal(signal.SIGTERM, self._leave)
            self.loop.on_signal(signal.SIGINT, self._leave)
            self.loop.on_signal(signal.SIGHUP, self.reload)
            self.loop.deadlines += [
                self.node.next_deadline,
                lambda: self._look_at,
                lambda: self._leaving,
                lambda: self._keepalive_at,
            ]
            self.loop.on_time.append(self._tick)
            self._look()
            self.loop.run()
            self.log.info("stopped")
        finally:
            while self._closing:
                self._closing.pop().close()
            for output in (*self._outputs.values(), *self._udp.values()):
                output.close()
            self.loop.close()

    def _keep(self, thing: Any) -> Any:
        self._closing.append(thing)
        return thing

    def _open(self) -> None:
        config = self.config
        self.network: Network = self._keep(Network())
        tap = self._keep(mobility_tap())
        self._keep(payloads(socket.AF_INET6, MOBILITY))  # otherwise the kernel would report an unknown protocol
        tunnels = [self._keep(payloads(socket.AF_INET6, protocol)) for protocol in (IPV6, IPV4)]
        self.tun: Tun = self._keep(Tun(config.tun))
        self.network.set_up(config.tun, config.mtu)
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
        watcher = self._keep(address_changes())
        self.control: ControlServer = self._keep(ControlServer(config.control, self.loop, self._answer, self.log))
        self.loop.watch(tap, lambda: self._tapped(tap))
        for tunnel in tunnels:
            self.loop.watch(tunnel, partial(self._tunnelled, tunnel))
        self.loop.watch(self.tun.queues[0], self._from_applications)
        self.loop.watch(watcher, lambda: self._changed(watcher))

    def _leave(self) -> None:
        """De-register everything, wait for the answer for a while, and end (SIGTERM)."""
        if self._leaving is not None or not self.updates.contacted:
            self.loop.stop()
            return
        now = time.monotonic()
        self._leaving = now + _LEAVE
        self.log.info("de-registering")
        self._send(self.node.deregister(self.config.home_agent, *self.updates.wanted_care_of, now=now))

    def reload(self) -> None:
        """Replace the present flows and care-of addresses by those in the configuration file (SIGHUP)."""
        try:
            config = read_node_config(self.config.file)
        except FlowclassError as error:
            self.log.error("reload: the configuration is as it was", error=error)
            return
        self.config = config
        self._revoked.clear()
        self.log.info("reloaded")
        self._look()

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
        self._places = {a.address.packed: a.interface for a in there if a.interface != self.config.tun}
        wanted: dict[int, tuple[CareOfSource, IPv4Address | IPv6Address]] = {}
        for source in self.config.care_of:
            address = self._address(source, there)
            if address is not None and source.bid not in self._revoked:
                wanted[source.bid] = (source, address)
        try:
            for bid, (source, address) in wanted.items():
                known = updates.wanted_care_of.get(bid)
                if known is None or (known.address, known.priority) != (address, source.priority):
                    self.log.info("care-of address", bid=bid, address=address, interface=self._places[address.packed])
                    self.node.register(agent, bid, address, source.priority, now=now, flush=False)
            gone = [bid for bid in updates.wanted_care_of if bid not in wanted]
            for bid in gone:
                self.log.warning("care-of address is gone", bid=bid)
            if gone and wanted:
                self._send(self.node.deregister(agent, *gone, now=now))
            self._want_flows(wanted.keys(), now)
        except FlowclassError as error:
            self.log.error("policy", error=error)
        if wanted and all(address.version == 4 for _, address in wanted.values()):
            self.updates.bulk = False  # a NAT gives each its own address and port, so each has an update of its own
            self.updates.force_udp = True  # so that all packets take the way on which a NAT was looked for
        self._send(self.node.flush(agent, now=now))

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

    def _want_flows(self, bids: Any, now: float) -> None:
        agent, wanted = self.config.home_agent, self.updates.wanted_flows
        policies = {flow.fid: flow for flow in self.config.flows}
        for fid in [fid for fid in wanted if fid not in policies]:
            self.node.remove_flow(agent, fid, now=now, flush=False)
        for fid, flow in policies.items():
            known = wanted.get(fid)
            there = tuple(bid for bid in flow.bids if bid in self.updates.wanted_care_of)
            if flow.bids and not there:
                continue  # none of its care-of addresses is there yet; it is registered when one is
            if known is None:
                self.node.add_flow(agent, fid, flow.pri, there, flow.selector, flow.action, now=now, flush=False)
            elif not _same(known, flow, there):
                self.node.replace_flow(
                    agent, fid, now=now, pri=flow.pri, bids=there, selector=flow.selector,
                    wild_card=flow.selector is None, action=flow.action, flush=False,
                )  # fmt: skip

    # ---- time and answers

    def _tick(self, now: float) -> None:
        if self._leaving is not None and now >= self._leaving:
            self.log.warning("no acknowledgement of the de-registration")
            self.loop.stop()
            return
        if self._look_at is not None and now >= self._look_at:
            self._look()
        if self._keepalive_at is not None and now >= self._keepalive_at:
            self._keep_alive(now)
        when = self.node.next_deadline()
        if when is not None and when <= now:
            self._send(self.node.tick(now))

    def _heard(self, packet: bytes) -> None:
        """Process a packet with a Mobility Header for this node."""
        self.counters["signalling"] += 1
        before, known = self.updates.outstanding, list(self.updates.care_of)
        self._send(self.node.receive(packet, now=time.monotonic(), authenticated=True))
        if (before is None or self.updates.outstanding is before) and known == list(self.updates.care_of):
            return
        if self._leaving is not None:
            if not self.updates.care_of:
                self.loop.stop()
            return
        if self.updates.care_of:
            publish_known(self._table, self.config.home.packed, self.updates)
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
        meaning = BINDING_STATUS.get(refusal.status, "") if refusal.what in ("update", "bid") else ""
        self.log.warning(
            "refused", what=refusal.what, number=refusal.number, status=refusal.status,
            **({"meaning": meaning} if meaning else {}),
        )  # fmt: skip

    # ---- packets

    def _tapped(self, tap: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                packet, (interface, _, kind, *_) = tap.recvfrom(65575)
            except OSError:
                return
            if kind != 0 or interface == self.config.tun:  # 0 is PACKET_HOST: sent to this machine
                continue
            if packet[24:40] not in self._places:
                continue
            upper = upper_layer(packet)
            if upper is not None and upper.protocol == MOBILITY:
                self._heard(packet)

    def _tunnelled(self, tunnel: socket.socket) -> None:
        agent = str(self.config.home_agent)
        for _ in range(_BATCH):
            try:
                packet, _, _, source = tunnel.recvmsg(65575, 64)
            except OSError:
                return
            if source[0] != agent:  # RFC 6275 section 11.3.1: only the home agent may send it
                self.counters["foreign tunnel"] += 1
                continue
            self._inner(packet)

    # ---- IPv4 care-of addresses (RFC 5555)

    def _agent4(self) -> str:
        return str(self.config.home_agent_ipv4)

    def _heard_udp(self, udp: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                packet, source = udp.recvfrom(65535)
            except OSError:
                return
            if source != (self._agent4(), UDP_PORT):
                self.counters["foreign tunnel"] += 1
                continue
            self._look_for_nat(packet)
            self._inner(packet)

    def _look_for_nat(self, packet: bytes) -> None:
        """Read from an acknowledgement how often a NAT on the way has to see packets (section 5.4)."""
        upper = upper_layer(packet)
        if upper is None or upper.protocol != MOBILITY:
            return
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
        interface = self._places.get(care_of)
        if interface is None:
            self.counters["no interface"] += 1
            return
        try:
            udp = self._udp.get(care_of)
            if udp is None:
                udp = self._udp[care_of] = udp_ipv4(str(IPv4Address(care_of)), interface=interface)
                self.loop.watch(udp, partial(self._heard_udp, udp))
            udp.sendto(packet, (self._agent4(), UDP_PORT))
        except (FlowclassError, OSError) as error:
            self.counters["send failed"] += 1
            self.log.limited("send", "a packet could not be sent", interface=interface, error=error)

    def _inner(self, packet: bytes) -> None:
        upper = upper_layer(packet)
        if upper is not None and upper.protocol == MOBILITY:
            self._heard(packet)
            return
        self.counters["received"] += 1
        try:
            os.write(self.tun.queues[0], packet)
        except OSError:
            self.counters["not delivered"] += 1

    def _from_applications(self) -> None:
        packets = []
        for _ in range(_BATCH):
            try:
                packets.append(os.read(self.tun.queues[0], 65575))
            except OSError:
                break
        own = [packet for packet in packets if self._is_ours(packet)]
        if not own:
            return
        if not self.updates.care_of:
            self.counters["no binding"] += len(own)
            return
        keys, _ = parse(own)
        decisions = self._table.classify(exchanged(keys))
        for packet, decision in zip(own, decisions, strict=True):
            addresses = () if int(decision["action"]) == DISCARD else self._table.care_of(decision)
            self._reverse(packet, addresses[0] if addresses else self._default())

    def _is_ours(self, packet: bytes) -> bool:
        """Whether a packet comes from a home address or a mobile network, rather than from a link-local address."""
        config = self.config
        if packet[0] >> 4 == 4:
            return config.ipv4_home is not None and packet[12:16] == config.ipv4_home.packed
        source = packet[8:24]
        if source == config.home.packed:
            return True
        return any(IPv6Address(source) in prefix for prefix in config.prefixes)

    def _default(self) -> bytes:
        best = min(self.updates.care_of.values(), key=lambda entry: (entry.priority or 256, entry.bid))
        return best.address.packed

    def _reverse(self, packet: bytes, care_of: bytes) -> None:
        """Send a packet from the home address through the tunnel to the home agent (RFC 6275 section 11.3.1)."""
        self.counters["sent"] += 1
        if len(care_of) == 4:
            self._emit_udp(packet, care_of)
            return
        self._emit(encapsulate(care_of, self.config.home_agent.packed, packet, self.config.hop_limit, None), care_of)

    def _send(self, packets: list[bytes]) -> None:
        for packet in packets:
            source = packet[8:24]
            by_udp = self._ipv4_source() if source == self.config.home.packed else b""
            if by_udp:
                self._emit_udp(packet, by_udp)
            elif source == self.config.home.packed:
                self._reverse(packet, self._default()) if self.updates.care_of else None
            else:
                self._emit(packet, source)

    def _emit(self, packet: bytes, care_of: bytes) -> None:
        """Send a packet by the interface that has the care-of address."""
        interface = self._places.get(care_of)
        if interface is None:
            self.counters["no interface"] += 1
            return
        output = self._outputs.get(interface)
        if output is None:
            output = self._outputs[interface] = raw_ipv6(interface)
        try:
            output.sendto(packet, (str(IPv6Address(packet[24:40])), 0))
        except OSError as error:
            self.counters["send failed"] += 1
            self.log.limited("send", "a packet could not be sent", interface=interface, error=error)

    # ---- the operator

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        command = request.get("command")
        handler = {"status": self._status, "counters": self._counters, "reload": self._reload}.get(str(command))
        if handler is None:
            raise FlowclassError(f"a mobile node answers status, counters and reload, not {command!r}")
        return handler()

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
        }

    def _counters(self) -> dict[str, Any]:
        return {"counters": dict(self.counters)}

    def _reload(self) -> dict[str, Any]:
        self.reload()
        return {}


def _same(known: FlowEntry, flow: FlowPolicy, bids: tuple[int, ...]) -> bool:
    """Whether what was asked for is what the file says; copies to one BID alone were completed (R90)."""
    completed = flow.action == NCAST and len(bids) == 1
    there = bids if not completed else known.bids
    return (known.pri, known.action, known.bids, known.selector) == (flow.pri, flow.action, there, flow.selector)
