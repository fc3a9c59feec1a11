"""A home agent as an asyncio program: timers, events, a store that survives a restart, packets in batches.

    python examples/asyncio_home_agent.py [--state FILE]

UDP datagrams on the loopback interface stand in for the network: the first octet says what the rest is, ``S``
signalling (an IPv6 packet with a Mobility Header) or ``D`` a data packet. A program that has raw sockets reads and
writes the same packets there; nothing else in it differs. Two mobile nodes register and are sent packets; then the
agent is started again from its store.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import cast

import flowclass as fc
from flowclass import wire
from flowclass.generate.packets import TCP, UDP, Fields, ip_packet
from flowclass.mobility import Event

HOME_AGENT = IPv6Address("2001:db8:1::ffff")
CORRESPONDENT = IPv6Address("2001:db8:c::1")
Peer = tuple[str, int]


class HomeAgentProtocol(asyncio.DatagramProtocol):
    """The host of one `flowclass.HomeAgent`: it owns the socket, the clock, the timer and the file."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.agent = fc.HomeAgent(listener=self.event)
        self.where: dict[bytes, Peer] = {}  # home address -> the socket of its mobile node
        self.waiting: list[bytes] = []  # data packets of this turn of the loop
        self.forwarded: list[tuple[str, int]] = []  # care-of address and octets, for the demonstration
        self.dropped = 0
        self.timer: asyncio.TimerHandle | None = None
        if state.exists():
            self.agent.import_state(state.read_bytes(), now=time.monotonic())

    # ---- events: what changed in the binding cache

    def event(self, event: Event) -> None:
        print(f"  {event.kind:16} {IPv6Address(event.home)}", "" if event.number < 0 else event.number)

    # ---- time: one timer, for the agent's next deadline

    def schedule(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        due = self.agent.next_deadline()
        if due is not None:
            delay = max(0.0, due - time.monotonic())
            self.timer = asyncio.get_running_loop().call_later(delay, self.tick)

    def tick(self) -> None:
        for packet in self.agent.tick(time.monotonic()):
            self.send(packet)
        self.schedule()

    # ---- packets

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)
        self.schedule()

    def datagram_received(self, data: bytes, addr: Peer) -> None:
        kind, packet = data[:1], data[1:]
        if kind == b"S":
            self.learn(packet, addr)
            for reply in self.agent.receive(packet, now=time.monotonic()):
                self.send(reply)
            self.schedule()
        elif kind == b"D":
            if not self.waiting:  # what arrives in one turn of the loop is decided in one call
                asyncio.get_running_loop().call_soon(self.forward)
            self.waiting.append(packet)

    def learn(self, packet: bytes, addr: Peer) -> None:
        """Routing is the host's: here, which socket a home address is behind."""
        try:
            found = wire.decode_packet(packet)
        except fc.DecodeError:
            return  # the agent will pass over it, too
        if found.home_address is not None:
            self.where[found.home_address.packed] = addr

    def send(self, packet: bytes) -> None:
        found = wire.decode_packet(packet)
        home = found.routing_home or found.destination
        if home.packed in self.where:
            self.transport.sendto(b"S" + packet, self.where[home.packed])

    def forward(self) -> None:
        packets, self.waiting = self.waiting, []
        decisions = self.agent.classify(packets)
        for packet, decision in zip(packets, decisions, strict=True):
            for address in self.agent.care_of(decision):
                tunnelled = encapsulate(packet, address)
                self.forwarded.append((str(address), len(tunnelled)))
            if not decision["n_targets"]:
                self.dropped += 1

    # ---- a store: everything at once, whole or not at all

    def save(self) -> None:
        new = self.state.with_suffix(".new")
        new.write_bytes(self.agent.export_state(time.monotonic()))
        os.replace(new, self.state)


def encapsulate(packet: bytes, care_of: IPv6Address | IPv4Address) -> bytes:
    """IPv6 in IPv6 (RFC 2473), from the home agent to a care-of address."""
    header = b"\x60\0\0\0" + len(packet).to_bytes(2, "big") + bytes((41, 64))
    return header + HOME_AGENT.packed + care_of.packed + packet


class MobileNodeProtocol(asyncio.DatagramProtocol):
    """The host of one `flowclass.MobileNode`."""

    def __init__(self, number: int) -> None:
        self.home = IPv6Address(f"2001:db8:1::{number:x}")
        self.number = number
        self.node = fc.MobileNode(self.home)
        self.updates = self.node.add_receiver(HOME_AGENT)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def out(self, packets: list[bytes]) -> None:
        for packet in packets:
            self.transport.sendto(b"S" + packet)

    def datagram_received(self, data: bytes, addr: Peer) -> None:
        self.out(self.node.receive(data[1:], now=time.monotonic()))

    def register(self) -> None:
        """Two care-of addresses, and ssh over the first one; all in one binding update."""
        now = time.monotonic()
        ssh = wire.TrafficSelector6(protocol=(TCP, TCP), source_port=(22, 22))
        for bid, (network, priority) in enumerate((("a", 20), ("b", 10)), 1):
            address = IPv6Address(f"2001:db8:{network}::{self.number:x}")
            self.node.register(HOME_AGENT, bid, address, priority, now=now, flush=False)
        self.node.add_flow(HOME_AGENT, 1, 1, (1,), ssh, now=now, flush=False)
        self.out(self.node.flush(HOME_AGENT, now=now))

    @property
    def registered(self) -> bool:
        return self.updates.outstanding is None and len(self.updates.care_of) == 2


def data_packet(home: IPv6Address, protocol: int, port: int) -> bytes:
    return ip_packet(Fields(CORRESPONDENT.packed, home.packed, protocol, port, 50000))


async def until(condition: object) -> None:
    for _ in range(500):
        if condition():  # type: ignore[operator]
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


async def demonstrate(state: Path) -> None:
    loop = asyncio.get_running_loop()
    transport, home_agent = await loop.create_datagram_endpoint(lambda: HomeAgentProtocol(state), ("127.0.0.1", 0))
    address = transport.get_extra_info("sockname")

    print("two mobile nodes register:")
    nodes = []
    for number in (1, 2):
        _, node = await loop.create_datagram_endpoint(
            lambda number=number: MobileNodeProtocol(number),  # type: ignore[misc]
            remote_addr=address,
        )
        node.register()
        nodes.append(node)
    await until(lambda: all(node.registered for node in nodes))

    print("packets for them:")
    sender, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=address)
    for node in nodes:
        sender.sendto(b"D" + data_packet(node.home, TCP, 22))
        sender.sendto(b"D" + data_packet(node.home, UDP, 53))
    sender.sendto(b"D" + data_packet(IPv6Address("2001:db8:1::99"), UDP, 53))
    await until(lambda: len(home_agent.forwarded) + home_agent.dropped == 5)
    for care_of, octets in home_agent.forwarded:
        print(f"  {octets} octets to {care_of}")
    print(f"  {home_agent.dropped} for nobody")

    home_agent.save()
    again = HomeAgentProtocol(state)
    print(f"started again from its store: {len(again.agent.cache)} nodes")
    for open_transport in (transport, sender, *(node.transport for node in nodes)):
        open_transport.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, help="where the bindings are kept (default: a file that is thrown away)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(demonstrate(arguments.state or Path(folder) / "bindings.state"))


if __name__ == "__main__":
    main()
