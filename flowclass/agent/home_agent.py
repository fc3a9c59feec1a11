"""``flowclass ha``: a `flowclass.HomeAgent` with devices, sockets, a store and a control socket for the operator.

There are two threads. The data thread runs the forwarder, in C and without the interpreter's lock, and passes packets
for the agent itself to the main thread. The main thread does everything else: binding updates (in batches, with one
commit of the store for each batch, after which the acknowledgements are sent), timers, signals, the control socket.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final

import msgspec

from flowclass.errors import FlowclassError, StoreError
from flowclass.mobility import Event, EventKind, HomeAgent, Node, Pending, SharedKeys, Update
from flowclass.mobility.addresses import in_prefixes
from flowclass.wire.numbers import BINDING_STATUS, BindingStatus, RevocationTrigger

from . import answers
from ._forward import Forwarder
from .config import AgentConfig, Security, read_agent_config
from .control import ControlServer
from .home_link import HomeLink
from .logs import Log
from .loop import DataThread, Loop
from .metrics import MetricsServer
from .network import Network
from .notify import notify
from .packets import IPV4, IPV6, MOBILITY, echo_reply, upper_layer
from .privileges import become, user_ids
from .rates import RateLimit
from .sockets import raw_ipv4, raw_ipv6, tunnel_ipv4, udp_ipv4
from .store import SqliteStore, StoreFollower
from .tun import DEVICE_QUEUE, MAX_NAME, Tun

if TYPE_CHECKING:
    from ._forward import Local

__all__ = ["HomeAgentService"]

_BATCH: Final = 256
_FIXED: Final = (
    "profile", "home_agent", "home_agent_ipv4", "home_link", "tun", "queues", "offloads", "store", "control",
    "metrics", "user",
)  # fmt: skip
_FOLLOW_INTERVAL: Final = 0.1  # seconds between looks at the store and at its writer
_PROTECTED_TABLE: Final = 4191
_RULE_PRIORITY: Final = 4191


class HomeAgentService:
    """One running home agent. `run` returns when it has been told to stop."""

    def __init__(self, config: AgentConfig, *, follow: bool = False) -> None:
        if follow and config.store is None:
            raise FlowclassError("--follow: the configuration has no store to follow")
        self.config: AgentConfig = config
        self.follow = follow
        self.log: Log = Log(config.log, config.log_interval)
        self.loop: Loop = Loop()
        self.started: float = time.monotonic()
        self.ignored: Counter[str] = Counter()
        self.latencies: answers.Latencies = answers.Latencies()
        self.drained = False
        self._rates = RateLimit(config.updates_per_second, config.burst)
        self._data: DataThread = DataThread(self.loop, self._take_waiting, self.ignored)
        self._udp: socket.socket | None = None
        self._udp_replies: list[tuple[bytes, tuple[bytes, int]]] = []
        self._closing = contextlib.ExitStack()
        self._closing.callback(self.loop.close)
        self.agent: HomeAgent = self._make_agent()
        self.make_forwarder: Callable[..., Any] = Forwarder
        self.forwarder: Forwarder
        self._link: HomeLink | None = None
        self._network: Network

    def _make_agent(self) -> HomeAgent:
        config = self.config
        return HomeAgent(
            config.profile,
            limits=config.limits,
            home_prefixes=_packed(config.home_prefixes),
            prefix_table=dict(_prefix_table(config).items()) or None,  # a dict of the argument's wider types
            ipv4_homes=dict(_ipv4_homes(config).items()),
            listener=self._happened,
            security=self._make_keys(),
            admit_update=self._admit,
        )

    def _admit(self, update: Update, node: Node) -> int:
        """Refuse new nodes while the agent is drained; return a status for ``admit_update``."""
        return BindingStatus.INSUFFICIENT_RESOURCES if self.drained and not node.care_of and update.lifetime else 0

    def _make_keys(self) -> SharedKeys | None:
        security = self.config.security
        if not security.associations:
            return None
        return SharedKeys(security.associations, wall=time.time, window=security.window)

    # ---- life

    def run(self) -> None:
        """Open everything, serve, and close everything; FlowclassError if something can't be opened.

        After the end of another agent packets are lost until the thread starts, so what they don't need comes later.
        """
        try:
            self.loop.on_signal(signal.SIGTERM, self.loop.stop)
            self.loop.on_signal(signal.SIGINT, self.loop.stop)
            self.loop.on_signal(signal.SIGHUP, self.reload)
            if not self._open_store():
                return
            self._open()
            self._data.start(self.forwarder)
            self.loop.deadlines.append(self.agent.next_deadline)
            self.loop.on_time.append(self._tick)
            if self.config.user is None:
                self._serve_metrics()
            self._say_how()
            self.log.ready()
            notify("READY=1")
            self.loop.run()
            notify("STOPPING=1")
            self._data.stop()
            while self._data.waiting:
                self._take_waiting()
            self.log.info("stopped")
        finally:
            self._data.stop()
            self._closing.close()  # all of them, also if one fails

    def _keep(self, thing: Any) -> Any:
        self._closing.callback(thing.close)
        return thing

    def _open_store(self) -> bool:
        """Open the store and restore the cache from it; a following agent first waits until the serving one has ended.

        Returns False if the agent was told to stop while it waited.
        """
        path = self.config.store
        if path is None:
            return True
        cache = self.agent.cache
        cache.listener = None  # restored nodes are no new events
        if self.follow:
            store = self._follow(StoreFollower(path))
            if store is None:
                return False
        else:
            store = SqliteStore(path)
        self._keep(store)
        for node in list(cache):
            cache.remove(node.home)
        began = time.monotonic()
        count = store.restore(cache, began)
        cache.store, cache.listener = store, self._happened
        self.log.info("restored", nodes=count, seconds=round(time.monotonic() - began, 3))
        return True

    def _follow(self, follower: StoreFollower) -> SqliteStore | None:
        """Keep a copy of the serving agent's cache until that agent ends; return its store, or None if told to stop."""
        taken: list[SqliteStore] = []

        def look(now: float) -> None:
            store = follower.take_over()
            if store is not None:
                taken.append(store)
                self.loop.stop()
                return
            try:
                follower.follow(self.agent.cache, now)
            except FlowclassError as error:
                self.log.limited("follow", "the store can't be followed", error=error)

        self.log.following()
        self.loop.on_time.append(look)
        self.loop.deadlines.append(lambda: time.monotonic() + _FOLLOW_INTERVAL)
        self.loop.run()
        self.loop.on_time.clear()
        self.loop.deadlines.clear()
        if not taken:
            follower.close()
            return None
        self.loop.go_on()
        self.log.warning("the agent that served is gone: taking over")
        return taken[0]

    def _open(self) -> None:
        config = self.config
        output = self._keep(raw_ipv6())
        output4 = self._keep(raw_ipv4())
        udp: socket.socket | None = None
        tunnels: tuple[socket.socket, ...] = ()
        if config.home_agent_ipv4 is not None:
            address = str(config.home_agent_ipv4)
            udp = self._udp = self._keep(udp_ipv4(address))
            tunnels = self._keep(tunnel_ipv4(address, IPV6)), self._keep(tunnel_ipv4(address, IPV4))
        self._network = network = self._keep(Network())
        own = ip_network(config.home_agent)
        routed = [*_routed(config), own]
        queues = self._device(network, config.tun, config.queues).queues
        for prefix in routed:
            network.add_route(prefix, config.tun)
        if config.security.is_protected:
            name = config.tun[: MAX_NAME - 1] + "p"
            queues = [*queues, *self._device(network, name, 1).queues]
            network.add_route(own, name, table=_PROTECTED_TABLE)
            self._keep(_Rules(network, config.security.interfaces, config.security.marks))
        self.forwarder = self.make_forwarder(
            self.agent.table,
            tun=queues,
            output=output.fileno(),
            output4=output4.fileno(),
            udp=None if udp is None else udp.fileno(),
            tunnel4=[tunnel.fileno() for tunnel in tunnels],
            home_agent=config.home_agent.packed,
            home_agent_ipv4=None if config.home_agent_ipv4 is None else config.home_agent_ipv4.packed,
            mtu=config.mtu,
            hop_limit=config.hop_limit,
            encapsulation_limit=config.encapsulation_limit,
            vnet_header=config.offloads,
        )
        for node in self.agent.cache:
            self._set_ports(node)
        if config.home_link is not None:
            self._defend_all(config.home_link)
        control = self._keep(ControlServer(config.control, self.loop, lambda ask: answers.answer(self, ask), self.log))
        if config.user is not None:
            user, group = user_ids(config.user)
            control.hand_over(user, group)
            self._hand_over_store(user, group)
            answers.load()  # the account may not be able to read where flowclass is installed
            self._serve_metrics()
            become(config.user)

    def _serve_metrics(self) -> None:
        if self.config.metrics is not None:
            self._keep(MetricsServer(self, *self.config.metrics))

    def _defend_all(self, name: str) -> None:
        config = self.config
        link = self._keep(HomeLink(name, config.home_agent.packed, config.tun, self._network, self.loop, self.log))
        self._link = link
        self.loop.deadlines.append(link.next_deadline)
        self.loop.on_time.append(link.tick)
        for home in (config.home_agent.packed, *(node.home for node in self.agent.cache)):
            link.defend(home)

    def _device(self, network: Network, name: str, queues: int) -> Tun:
        tun: Tun = self._keep(Tun(name, queues=queues, offloads=self.config.offloads))
        network.set_up(name, queue=DEVICE_QUEUE)
        return tun

    def _hand_over_store(self, user: int, group: int) -> None:
        if self.config.store is not None:
            for ending in ("", "-wal", "-shm", ".lock"):
                with contextlib.suppress(FileNotFoundError):
                    os.chown(f"{self.config.store}{ending}", user, group)

    def _say_how(self) -> None:
        config = self.config
        for warning in config.warnings:
            self.log.warning(warning)
        if config.security.insecure:
            self.log.warning("INSECURE: every binding update is believed, whoever sends it; for laboratories only")
        if config.store is None:
            self.log.warning("no store: bindings live in memory only and are lost when this process ends")
        self.log.info("serving", home_agent=config.home_agent, profile=config.profile, tun=config.tun)

    def reload(self) -> FlowclassError | None:
        """Reload the configuration (SIGHUP), as far as a running agent can change; return what is wrong with the file,
        and then nothing has changed."""
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        refused = None
        try:
            config = read_agent_config(self.config.file)
        except FlowclassError as error:
            refused = error
            self.log.error("reload: the configuration is as it was", error=error)
        else:
            self._reload(config)
            self.log.info("reloaded")
        notify("READY=1")
        return refused

    def _reload(self, config: AgentConfig) -> None:
        """Make the new configuration the present one; other devices, sockets, files and kinds of security wait for a
        restart."""
        before, fixed = self.config, list(_FIXED)
        if _kind(config.security) != _kind(before.security):
            self.log.error("reload: another kind of security needs a restart; the present one stays")
            fixed.append("security")
        if waiting := [name for name in _FIXED if getattr(config, name) != getattr(before, name)]:
            self.log.error("reload: what needs a restart is as it was", settings=", ".join(waiting))
        config = msgspec.structs.replace(config, **{name: getattr(before, name) for name in fixed})
        agent = self.agent
        agent.home_prefixes = _packed(config.home_prefixes)
        self._revoke_unwanted(config)  # with the keys that their mobile nodes have
        self.config = config
        self._rates = RateLimit(config.updates_per_second, config.burst)
        agent.limits = config.limits
        agent.prefix_table = _prefix_table(config)
        agent.closed_prefixes = bool(agent.prefix_table)
        agent.ipv4_homes = _ipv4_homes(config)
        if isinstance(agent.security, SharedKeys):
            agent.security.replace(config.security.associations)
        self.forwarder.reload(
            mtu=config.mtu, hop_limit=config.hop_limit, encapsulation_limit=config.encapsulation_limit
        )
        try:
            for prefix in set(_routed(config)) - set(_routed(before)):
                self._network.add_route(prefix, before.tun)
        except FlowclassError as error:
            self.log.error("reload: a home prefix gets no packets", error=error)
        for prefix in set(_routed(before)) - set(_routed(config)):
            self._network.remove_route(prefix, before.tun)

    def _revoke_unwanted(self, config: AgentConfig) -> None:
        """Revoke the bindings of nodes that will have no key, or whose home address is in no home prefix any longer."""
        keys = {association.home for association in config.security.associations}
        for node in list(self.agent.cache):
            if in_prefixes(node.home, self.agent.home_prefixes) and (not keys or node.home in keys):
                continue
            self.log.warning("revoked: no longer in the configuration", home=ip_address(node.home))
            try:
                self.revoke(node.home, (), RevocationTrigger.LOCAL_POLICY)
            except (FlowclassError, OSError) as error:
                self.log.error("a binding could not be revoked", home=ip_address(node.home), error=error)

    # ---- the main thread

    def _take_waiting(self) -> None:
        """Process a batch of the waiting packets; send the answers after one commit of the store for all of them."""
        waiting = self._data.waiting
        replies: list[bytes] = []
        batch = [waiting.popleft() for _ in range(min(len(waiting), _BATCH))]
        try:
            with self.agent.cache.batch():
                for _, local in batch:
                    replies += self._take(local)
        except (StoreError, OSError) as error:
            self.ignored["store failed"] += len(batch)  # mobile nodes without an answer send again
            self.log.limited("store", "no update of a batch could be kept, and none is acknowledged", error=error)
            replies = []
            self._udp_replies.clear()
        self._send(replies)
        self._send_udp()
        now = time.monotonic()
        for arrival, _ in batch:
            self.latencies.add(now - arrival)
        if waiting:
            self._data.schedule()

    def _take(self, local: Local) -> list[bytes]:
        packet = local.packet
        upper = upper_layer(packet)
        if upper is None:
            self.ignored["malformed"] += 1
            return []
        if upper.protocol != MOBILITY:
            reply = echo_reply(packet)
            if reply is None:
                self.ignored["other protocol"] += 1
            return [] if reply is None else [reply]
        now = time.monotonic()
        source = packet[8:24]
        if not self._rates.allows(source, now):
            self._note("rate limit", source)
            self.ignored["rate limit"] += 1
            return []
        protected = local.tun >= self.config.queues  # it came by the device for packets protected by IPsec
        believed = protected or not self.config.security.is_protected
        pending = self.agent.begin(packet, now=now, authenticated=believed, outer=local.outer)
        if self._link is not None and pending.update is not None and self._is_new(pending):
            try:
                self._link.probe(pending.update.home, lambda unique: self._probed(pending, local.outer, unique))
                return []
            except OSError as error:
                self.log.limited("home link", "a home address can't be looked for on the home link", error=error)
                pending.abort()
        replies = pending.commit()
        if local.outer is not None:
            self._udp_replies += [(reply, local.outer) for reply in replies]
            replies = []
        if pending.ignored is not None:
            self._note(pending.ignored, source)
        elif pending.refused is not None:
            self._note(f"refused with {pending.refused}, {BINDING_STATUS.get(pending.refused, '')}", source)
        return replies

    def _is_new(self, pending: Pending) -> bool:
        """Whether an update would register a home address that has no binding yet (RFC 6275 section 10.3.1)."""
        update = pending.update
        return (
            update is not None
            and pending.transaction is not None
            and update.lifetime > 0
            and update.home not in self.agent.cache
        )

    def _probed(self, pending: Pending, outer: tuple[bytes, int] | None, unique: bool) -> None:
        """Finish a registration that has waited for duplicate address detection on the home link."""
        try:
            with self.agent.cache.batch():
                replies = (
                    pending.commit() if unique else pending.abort(BindingStatus.DUPLICATE_ADDRESS_DETECTION_FAILED)
                )
        except (FlowclassError, OSError) as error:
            self.ignored["store failed"] += 1
            self.log.limited("store", "an update could not be kept, and isn't acknowledged", error=error)
            return
        if not unique and pending.update is not None:
            self.log.warning("the home address is in use on the home link", home=ip_address(pending.update.home))
        if outer is None:
            self._send(replies)
        else:
            self._udp_replies += [(reply, outer) for reply in replies]
            self._send_udp()

    def _note(self, what: str, source: bytes) -> None:
        """Log the fate of an update, once per interval for each source and reason; counters are kept elsewhere."""
        self.log.limited(f"{what} {source.hex()}", "binding update", result=what, source=ip_address(source))

    def _send_udp(self) -> None:
        """Send the answers to updates that came in UDP over IPv4 in the same way (RFC 5555 section 4.4.2)."""
        replies, self._udp_replies = self._udp_replies, []
        for packet, (address, port) in replies:
            assert self._udp is not None
            try:
                self._udp.sendto(packet, (str(IPv4Address(address)), port))
            except OSError as error:
                self.log.limited("send", "a message could not be sent", error=error)

    def _set_ports(self, node: Node) -> None:
        """Tell the forwarder which IPv4 care-of addresses of a node are behind a NAT."""
        for entry in node.care_of.values():
            if len(entry.address) == 4:
                self.forwarder.set_port(node.home, entry.bid, entry.address, entry.port or None)

    def _send(self, packets: list[bytes]) -> None:
        try:
            self.forwarder.send(packets)
        except OSError as error:
            self.log.limited("send", "a message could not be sent", error=error)

    def _tick(self, now: float) -> None:
        when = self.agent.next_deadline()
        if when is None or when > now:
            return
        try:
            with self.agent.cache.batch():
                packets = self.agent.tick(now)
        except (StoreError, OSError) as error:
            self.log.limited("store", "what has expired could not be kept as expired", error=error)
        else:
            self._send(packets)

    def revoke(self, home: bytes, bids: Sequence[int], trigger: int) -> bool:
        """Remove bindings and tell the mobile node (RFC 5846); return whether it can be told."""
        with self.agent.cache.batch():
            packets = self.agent.revoke(home, bids, now=time.monotonic(), trigger=trigger)
        self._send(packets)
        return bool(packets)

    def _happened(self, event: Event) -> None:
        if event.kind is EventKind.PARAMETER_PROBLEM:
            return
        if event.kind in (EventKind.BID_ADDED, EventKind.BID_CHANGED) and len(event.address) == 4:
            node = self.agent.cache.get(event.home)
            if node is not None:
                self._set_ports(node)
        if self._link is not None and len(event.home) == 16:
            if event.kind is EventKind.NODE_ADDED:
                self._link.defend(event.home)
            elif event.kind is EventKind.NODE_REMOVED:
                self._link.give_up(event.home)
        fields: dict[str, Any] = {"home": ip_address(event.home)}
        if event.number >= 0:
            fields["fid" if event.kind.startswith("flow") else "bid"] = event.number
        if event.address:
            fields["care_of"] = ip_address(event.address)
        self.log.event(event.kind.value, **fields)


def _kind(security: Security) -> tuple[bool, ...]:
    return security.insecure, security.is_protected, bool(security.associations)


def _routed(config: AgentConfig) -> list[IPv4Network | IPv6Network]:
    """The home prefixes of which all packets come to the agent; on a home link only those of nodes away do."""
    return [prefix for prefix in config.home_prefixes if config.home_link is None or prefix.version == 4]


def _packed(prefixes: Iterable[IPv4Network | IPv6Network]) -> tuple[tuple[bytes, int], ...]:
    return tuple((prefix.network_address.packed, prefix.prefixlen) for prefix in prefixes)


def _prefix_table(config: AgentConfig) -> dict[bytes, Sequence[tuple[bytes, int]]]:
    return {node.home.packed: _packed(node.prefixes) for node in config.nodes if node.prefixes}


def _ipv4_homes(config: AgentConfig) -> dict[bytes, bytes]:
    return {node.home.packed: node.ipv4_home.packed for node in config.nodes if node.ipv4_home is not None}


class _Rules:
    """Routing rules that send packets protected by IPsec to a routing table of their own.

    They thus reach the agent by another device, from which it knows that they are protected. `close` removes the rules.
    """

    def __init__(self, network: Network, interfaces: tuple[str, ...], marks: tuple[int, ...]) -> None:
        self._network = network
        self._matches: list[dict[str, Any]] = [{"interface": name} for name in interfaces]
        self._matches += [{"mark": mark} for mark in marks]
        for match in self._matches:
            network.add_rule(6, table=_PROTECTED_TABLE, priority=_RULE_PRIORITY, **match)

    def close(self) -> None:
        for match in self._matches:
            self._network.remove_rule(6, table=_PROTECTED_TABLE, priority=_RULE_PRIORITY, **match)
