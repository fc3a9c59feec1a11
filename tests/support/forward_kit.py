"""A forwarder between socket pairs: what a TUN device and raw sockets would be, without a kernel that routes."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import naive_forwarding as naive
import numpy as np

from flowclass.agent._forward import Forwarder
from flowclass.engine.forwarding import ForwardingTable
from flowclass.engine.keys import make_rules

HOME_AGENT = "2001:db8:100::1"
HOME_AGENT4 = "192.0.2.1"
VNET = struct.Struct(
    "=BBHHHH"
)  # struct virtio_net_hdr: flags, gso type, header length, gso size, checksum start and offset


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def flow(fid: int, action: int, targets: tuple[int, ...], **conditions: Any) -> naive.Flow:
    rule = make_rules(**conditions)
    return fid, action, targets, rule[0].tobytes()


class Rig:
    """``give`` puts packets where the kernel would route them; ``run`` lets the forwarder work until it is idle; what
    it sent is in ``sent`` (raw IPv6), ``sent4`` (raw IPv4), ``routed`` (to the TUN device), ``told`` (to the agent).
    With ``tap`` there is a packet socket as well."""

    def __init__(
        self,
        *,
        udp: bool = False,
        vnet: bool = False,
        ipv4: bool = True,
        queues: int = 1,
        tap: bool = False,
        **options: Any,
    ) -> None:
        self.table = ForwardingTable(secret=bytes(16))
        self.nodes: list[naive.Node] = []
        self.vnet = vnet
        self._pairs: list[socket.socket] = []
        tuns = [self._pair() for _ in range(queues)]
        self.tun = [kernel for kernel, _ in tuns]
        self._out6, output = self._pair()
        self._out4, output4 = self._pair()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM) if udp else None
        if self.udp:
            self.udp.bind(("127.0.0.1", 0))
            self.udp.setblocking(False)
            self._pairs.append(self.udp)
        self.told: list[Any] = []
        self._link, end = self._pair() if tap else (None, None)
        if end is not None:
            options["tap"] = end.fileno()
        self.forwarder = Forwarder(
            self.table,
            tun=[inside.fileno() for _, inside in tuns],
            output=output.fileno(),
            output4=output4.fileno() if ipv4 else None,
            udp=self.udp.fileno() if self.udp else None,
            home_agent=packed(HOME_AGENT),
            home_agent_ipv4=packed(HOME_AGENT4) if ipv4 else None,
            vnet_header=vnet,
            secret=bytes(16),
            **options,
        )

    def _pair(self) -> tuple[socket.socket, socket.socket]:
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in pair:
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
            self._pairs.append(end)
        return pair

    def node(self, home: str, *care_of: str, flows: Iterable[naive.Flow] = (), **more: Any) -> int:
        """Care-of address i has BID i + 1; the first is the default."""
        node = naive.Node(
            packed(home),
            targets=tuple((i + 1, packed(a)) for i, a in enumerate(care_of)),
            default=0 if care_of else -1,
            flows=tuple(flows),
            **more,
        )
        self.nodes = [n for n in self.nodes if n.home != node.home] + [node]
        return node.publish(self.table)

    def give(self, *packets: Any, vnet: bytes = bytes(10), queue: int = 0) -> Rig:
        for packet in packets:
            self.tun[queue].send((vnet if self.vnet else b"") + bytes(packet))
        return self

    def tap(self, *packets: Any) -> Rig:
        """Gives packets as they come by a link, before the kernel of an end would process them."""
        assert self._link is not None
        for packet in packets:
            self._link.send(bytes(packet))
        return self

    def run(self, timeout_ms: int = 0) -> Rig:
        while found := self.forwarder.run(timeout_ms):
            self.told += found
        return self

    @staticmethod
    def _drain(end: socket.socket) -> Iterator[bytes]:
        with contextlib.suppress(BlockingIOError):
            while True:
                yield end.recv(1 << 17)

    @property
    def sent(self) -> list[bytes]:
        return list(self._drain(self._out6))

    @property
    def sent4(self) -> list[bytes]:
        return list(self._drain(self._out4))

    @property
    def routed(self) -> list[bytes]:
        skip = VNET.size if self.vnet else 0
        return [data[skip:] for tun in self.tun for data in self._drain(tun)]

    @property
    def dropped(self) -> dict[str, int]:
        return {name: n for name, n in self.forwarder.counters()["drops"].items() if n}

    @property
    def packets(self) -> dict[str, int]:
        return {name: n for name, n in self.forwarder.counters()["packets"].items() if n}

    def flows(self) -> dict[tuple[int, str, int], tuple[int, int]]:
        rows: np.ndarray[Any, Any] = self.forwarder.flows()
        return {
            (int(r["node"]), Forwarder.KINDS[r["kind"]], int(r["fid"])): (int(r["packets"]), int(r["octets"]))
            for r in rows
        }

    def close(self) -> None:
        del self.forwarder
        for end in self._pairs:
            end.close()
