"""What the tests of the control plane share: binding updates from a few words, an agent on a table that can be read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Any

from flowclass.engine.rules import describe_rule
from flowclass.mobility import Agent, HomeAgent
from flowclass.wire import (
    BindingAcknowledgement,
    BindingIdentifier,
    BindingReference,
    BindingUpdate,
    FlowIdentification,
    MobilityPacket,
    Option,
    Pad1,
    PadN,
    SubOption,
    TrafficSelector4,
    TrafficSelector6,
    TrafficSelectorOption,
    decode_packet,
    encode_packet,
)

HOME = IPv6Address("2001:db8:1::100")
OTHER_HOME = IPv6Address("2001:db8:1::200")
AGENT = IPv6Address("2001:db8:1::1")
COA1 = IPv6Address("2001:db8:a::1")
COA2 = IPv6Address("2001:db8:b::1")
COA3 = IPv6Address("2001:db8:c::1")

A, H, M, R, OVERWRITE, P = 0x8000, 0x4000, 0x0800, 0x0400, 0x0040, 0x0200
ADD, REPLACE, REFRESH, REMOVE = 0, 1, 2, 15
FORWARD, DISCARD, NCAST = 1, 2, 3

SSH = TrafficSelector6(source_port=(22, 22))
HTTPS = TrafficSelector6(source_port=(443, 443))


class ReadableTable:
    """Takes what a forwarding table takes, and decides by reading it aloud: home address, flows in order, default."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, dict[str, Any]] = {}

    def publish(self, home_address: bytes, **what: Any) -> int:
        self.nodes[home_address] = what
        return 0

    def withdraw(self, home_address: bytes) -> None:
        del self.nodes[home_address]

    def decide(self, home: IPv6Address, version: int = 6, **fields: int) -> tuple[str, int | None, list[str]]:
        """Reason, FID and care-of addresses for a packet to a home address with these fields (others absent)."""
        node = self.nodes[home.packed]
        targets = [str(ip_address(address)) for _, address in node["targets"]]
        for fid, action, where, row in node["flows"]:
            rule: dict[str, Any] = dict(describe_rule(row))
            if rule.pop("version") in (0, version) and all(
                name in fields and low <= fields[name] <= high for name, (low, high) in rule.items()
            ):
                return {1: "forward", 2: "discard", 3: "n-cast"}[action], fid, [targets[i] for i in where]
        default = node["default"]
        return ("default", None, [targets[default]]) if default >= 0 else ("unbound", None, [])


def bid(number: int, care_of: object = None, priority: int = 0, home: bool = False) -> BindingIdentifier:
    return BindingIdentifier(number, None if care_of is None else ip_address(str(care_of)), priority, 0, home)


def flow(
    fid: int,
    pri: int = 1,
    *,
    pro: int = ADD,
    action: int = FORWARD,
    bids: Sequence[int] | None = None,
    selector: TrafficSelector4 | TrafficSelector6 | None = None,
    more: Iterable[SubOption] = (),
) -> FlowIdentification:
    subs: list[SubOption] = list(more)
    if bids is not None:
        subs.append(BindingReference(tuple(bids)))
    if selector is not None:
        subs.append(TrafficSelectorOption(selector))
    return FlowIdentification(fid, pri, action, pro, 0, tuple(subs))


def statuses(replies: Iterable[bytes]) -> list[int]:
    """Of binding acknowledgements, as packets."""
    return [decode_packet(reply).message.status for reply in replies]  # type: ignore[union-attr]  # its type is known


def checksummed(data: bytes | bytearray, start: int, source: IPv6Address, destination: IPv6Address) -> bytes:
    """A packet whose Mobility Header at `start` gets the checksum that its octets ask for, whatever they are."""
    octets = bytearray(data)
    end = min(len(octets), start + 8 * octets[start + 1] + 8)
    octets[start + 4 : start + 6] = bytes(2)
    total = int.from_bytes(octets[start:end], "big") + int(source) + int(destination) + end - start + 135
    octets[start + 4 : start + 6] = (-total % 65535).to_bytes(2, "big")
    return bytes(octets)


class Peer:
    """A mobile node's side of an agent, without any state but the sequence number: sends, and reads the answer."""

    def __init__(self, profile: str = "draft", agent: Agent | None = None, **how: Any) -> None:
        self.table = ReadableTable()
        self.events: list[Any] = []
        if agent is None:
            agent = HomeAgent(profile, table=self.table, listener=self.events.append, **how)
        self.agent = agent
        self.sequence = 0
        self.now = 1000.0

    def packet(
        self,
        *options: Option,
        source: IPv6Address = COA1,
        home: IPv6Address | None = HOME,
        destination: IPv6Address = AGENT,
        flags: int = A | H,
        lifetime: int = 150,
        sequence: int | None = None,
    ) -> MobilityPacket:
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        return MobilityPacket(source, destination, BindingUpdate(sequence, lifetime, flags, options), home)

    def replies(self, packet: MobilityPacket, **how: Any) -> list[MobilityPacket]:
        data = encode_packet(packet, self.agent.profile)
        return [decode_packet(reply, self.agent.profile) for reply in self.agent.receive(data, now=self.now, **how)]

    def send(self, *options: Option, **how: Any) -> Answer:
        """Send a binding update, return what the one acknowledgement says."""
        (reply,) = self.replies(self.packet(*options, **how))
        return Answer(reply)

    @property
    def node(self) -> Any:
        return self.agent.cache.get(HOME.packed)

    def decide(self, **fields: int) -> tuple[str, int | None, list[str]]:
        return self.table.decide(HOME, **fields)

    def state(self) -> dict[bytes, tuple[Any, ...]]:
        """A reading of the whole cache that can be compared."""
        return {
            node.home: (
                node.sequence,
                node.router,
                node.prefixes,
                node.also,
                {b: (c.address, c.priority, c.expires, c.home) for b, c in node.care_of.items()},
                {f: (x.priority, x.action, x.bids, x.rule, x.expires) for f, x in node.flows.items()},
            )
            for node in self.agent.cache
        }


class Answer:
    """A binding acknowledgement, options by kind, padding left out."""

    def __init__(self, packet: MobilityPacket) -> None:
        assert isinstance(packet.message, BindingAcknowledgement)
        assert packet.checksum_ok
        self.packet = packet
        self.message = packet.message
        self.status = packet.message.status
        self.lifetime = packet.message.lifetime
        self.sequence = packet.message.sequence
        self.options = [o for o in packet.message.options if not isinstance(o, (Pad1, PadN))]
        self.bids = [o for o in self.options if isinstance(o, BindingIdentifier)]
        self.flows = [o for o in self.options if isinstance(o, FlowIdentification)]

    @property
    def flow_statuses(self) -> list[int]:
        return [option.status for option in self.flows]
