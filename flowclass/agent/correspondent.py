"""``flowclass cn``: a `flowclass.CorrespondentNode` for the applications of a host: packets to mobile nodes take the
direct way (RFC 6275 section 9, section 7 of the draft).

Packets to the home addresses that it has bindings for are routed to a TUN device, and leave with a type 2 routing
header. Packets with a Home Address option are taken before the kernel sees them, which would refuse them.
"""

from __future__ import annotations

import time
from functools import partial
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any, ClassVar

from flowclass.errors import FlowclassError
from flowclass.mobility import CorrespondentNode, Event, EventKind
from flowclass.mobility.addresses import is_routable
from flowclass.wire import BindingError, MobilityPacket, encode_packet
from flowclass.wire.numbers import BINDING_STATUS, BindingErrorStatus

from . import answers
from ._forward import Forwarder
from .config import CorrespondentConfig, read_correspondent_config
from .ends import PATH_MTU, EndService, Handler, Untouched
from .logs import Log
from .network import address_changes
from .notify import notify
from .packets import MOBILITY, home_address, upper_layer
from .rates import RateLimit
from .sockets import raw_ipv6

if TYPE_CHECKING:
    import socket

    from ._forward import Local

__all__ = ["CorrespondentService"]


class CorrespondentService(EndService):
    """One running correspondent node. `run` returns when it has been told to stop."""

    role: ClassVar[str] = "correspondent node"

    def __init__(self, config: CorrespondentConfig) -> None:
        super().__init__(Log(config.log, config.log_interval), config.control, config.tun, config.mtu)
        self.config: CorrespondentConfig = config
        self._interface: int | None = None
        self._rates = RateLimit(config.updates_per_second, config.burst)
        self.agent: CorrespondentNode = CorrespondentNode(
            config.profile, limits=config.limits, home_prefixes=config.packed_prefixes, listener=self._happened
        )

    # ---- life

    def _open(self) -> None:
        config = self.config
        self._keep(Untouched(config.tun, home_address=True))
        tun = self._tun()
        self.forwarder: Forwarder = Forwarder(
            self.agent.table,
            role="correspondent",
            tun=tun.queues,
            output=self._keep(raw_ipv6()).fileno(),
            tap=self._tap(home_address=True).fileno(),
            home_agent=config.address.packed,
            own=[(config.address.packed, 128)],
            mtu=PATH_MTU,
            vnet_header=True,
        )
        self._find_address()
        if self._interface is None:
            raise FlowclassError(f"no interface has the address {config.address}")
        watcher = self._keep(address_changes())
        self.loop.watch(watcher, lambda: self._changed(watcher))
        self.loop.deadlines.append(self.agent.next_deadline)
        self.loop.on_time.append(self._tick)

    def _serve(self) -> None:
        self.log.info("serving", address=self.config.address, profile=self.config.profile)
        self.log.ready()
        notify("READY=1")

    def _leave(self) -> None:
        self.loop.stop()

    def reload(self) -> FlowclassError | None:
        """Take the limits and the home prefixes of the configuration file from now on (SIGHUP); return what is wrong
        with it, and then nothing has changed."""
        try:
            config = read_correspondent_config(self.config.file)
        except FlowclassError as error:
            self.log.error("reload: the configuration is as it was", error=error)
            return error
        self.agent.limits, self.agent.home_prefixes = config.limits, config.packed_prefixes
        self._rates = RateLimit(config.updates_per_second, config.burst)
        self.log.info("reloaded")
        return None

    def _changed(self, watcher: socket.socket) -> None:
        while True:
            try:
                if not watcher.recv(65536):
                    break
            except OSError:  # no message is left, or some were lost: look at the addresses in any case
                break
        self._find_address()

    def _find_address(self) -> None:
        address = self.config.address
        found = next((a.index for a in self.network.addresses() if a.address == address), None)
        if found != self._interface:
            self._interface = found
            self.forwarder.set_source(address.packed, found)

    def _tick(self, now: float) -> None:
        when = self.agent.next_deadline()
        if when is not None and when <= now:
            self._send(self.agent.tick(now))

    # ---- packets

    def _take(self, local: Local) -> None:
        packet, now = local.packet, time.monotonic()
        upper = upper_layer(packet)
        if upper is None or packet[24:40] != self.config.address.packed:
            self.counters["malformed"] += 1
            return
        source = packet[8:24]
        if not self._rates.allows(source, now):
            self.counters["rate limit"] += 1
            self._note("rate limit", source)
            return
        if upper.protocol != MOBILITY:
            self._report_unbound(packet)
            return
        pending = self.agent.begin(packet, now=now)
        self._send(pending.commit())
        if pending.ignored is not None:
            self.counters[pending.ignored] += 1
            self._note(pending.ignored, source)
        elif pending.refused is not None:
            self._note(f"refused with {pending.refused}, {BINDING_STATUS.get(pending.refused, '')}", source)

    def _report_unbound(self, packet: bytes) -> None:
        """Answer a Home Address option that no binding bears out by a Binding Error (RFC 6275 section 9.3.3).

        There is none about addresses that no host may have, nor to such an address (sections 6.3 and 9.3.1).
        """
        home = home_address(packet)
        if home is None or not is_routable(home) or not is_routable(packet[8:24]):
            self.counters["malformed"] += 1
            return
        self.counters["unbound home address"] += 1
        message = BindingError(BindingErrorStatus.UNKNOWN_BINDING, IPv6Address(home))
        answer = MobilityPacket(self.config.address, IPv6Address(packet[8:24]), message)
        self._send([encode_packet(answer, self.config.profile)])

    def _note(self, what: str, source: bytes) -> None:
        self.log.limited(f"{what} {source.hex()}", "signalling", result=what, source=ip_address(source))

    def _send(self, packets: list[bytes]) -> None:
        for packet in packets:
            try:
                self.forwarder.send([packet])
            except OSError as error:
                self.counters["send failed"] += 1
                self.log.limited("send", "a message could not be sent", error=error)

    def _happened(self, event: Event) -> None:
        if event.kind is EventKind.PARAMETER_PROBLEM:
            return
        home = ip_address(event.home)
        if event.kind is EventKind.NODE_ADDED:
            try:
                self.network.add_route(ip_network(home), self.config.tun, source=self.config.address)
            except FlowclassError as error:
                self.log.error("packets to a mobile node don't take the direct way", error=error)
        elif event.kind is EventKind.NODE_REMOVED:
            self.network.remove_route(ip_network(home), self.config.tun)
        fields: dict[str, Any] = {"home": home}
        if event.number >= 0:
            fields["fid" if event.kind.startswith("flow") else "bid"] = event.number
        if event.address:
            fields["care_of"] = ip_address(event.address)
        self.log.event(event.kind.value, **fields)

    # ---- the operator

    def _handlers(self) -> dict[str, Handler]:
        return super()._handlers() | {"nodes": partial(answers.nodes, self), "flows": partial(answers.flows, self)}

    def _status(self) -> dict[str, Any]:
        return {"address": str(self.config.address), "profile": self.config.profile, "nodes": len(self.agent.cache)}
