"""Access to the links, addresses, routes and rules of the kernel, by netlink.

pyroute2 does what is asked for now and then. It takes longer to load than all the rest of an agent, so setting up a
device and its routes, which every start needs before the first packet, is done here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

from flowclass.errors import FlowclassError

__all__ = ["InterfaceAddress", "Network", "address_changes"]

Prefix = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_RTMGRP_LINK: Final = 0x1
_RTMGRP_IPV4_IFADDR: Final = 0x10
_RTMGRP_IPV6_IFADDR: Final = 0x100
_GLOBAL_SCOPE: Final = 0
_TENTATIVE: Final = 0x40
_DEPRECATED: Final = 0x20
_FAILED: Final = 0x08  # duplicate address detection found the address in use
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_SIOCSIFMTU: Final = 0x8922
_SIOCSIFTXQLEN: Final = 0x8943
_IFF_UP: Final = 1
_RTM_NEWROUTE: Final = 24
_RTM_DELROUTE: Final = 25
_ACKNOWLEDGED: Final = 0x5  # NLM_F_REQUEST, NLM_F_ACK
_REPLACE_ACKNOWLEDGED: Final = _ACKNOWLEDGED | 0x500  # NLM_F_REPLACE, NLM_F_CREATE
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTA_PRIORITY: Final = 6
_RTA_PREFSRC: Final = 7
_RTA_TABLE: Final = 15
_RTPROT_STATIC: Final = 4
_SCOPE_OF_LINK: Final = {4: 253, 6: 0}  # IPv6 routes have none
_RTN_UNICAST: Final = 1
_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """A global address of an interface that can be used as a source."""

    interface: str
    index: int
    address: Address


def _pyroute2() -> Any:
    try:
        import pyroute2
    except ImportError:
        raise FlowclassError(
            "a live agent sets addresses and routes by pyroute2, which is not installed: pip install 'flowclass[agent]'"
        ) from None
    return pyroute2


class Network:
    """Netlink sockets. A request that fails raises a FlowclassError that says what was tried."""

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)

    @cached_property
    def _route(self) -> Any:
        return _pyroute2().IPRoute()

    def close(self) -> None:
        self._netlink.close()
        if "_route" in vars(self):
            self._route.close()

    @staticmethod
    def index(name: str) -> int:
        """Return the number of an interface; FlowclassError if there is none of this name."""
        try:
            return socket.if_nametoindex(name)
        except OSError:
            raise FlowclassError(f"there is no interface {name}") from None

    @contextlib.contextmanager
    def _trying(self, what: str) -> Iterator[None]:
        from pyroute2 import NetlinkError

        try:
            yield
        except NetlinkError as error:
            raise FlowclassError(f"{what}: {error.args[1] if len(error.args) > 1 else error}") from None

    def set_up(self, name: str, mtu: int | None = None, queue: int | None = None) -> None:
        """Set an interface up, with the given MTU; ``queue`` is how many packets may wait to be read from it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:

            def request(number: int, value: int = 0) -> int:
                asked = struct.pack("16si20x", name.encode(), value)  # struct ifreq
                (answer,) = struct.unpack_from("i", fcntl.ioctl(any_socket, number, asked), 16)
                return int(answer)

            try:
                if mtu is not None:
                    request(_SIOCSIFMTU, mtu)
                if queue is not None:
                    request(_SIOCSIFTXQLEN, queue)
                flags = request(_SIOCGIFFLAGS) & 0xFFFF  # a short
                request(_SIOCSIFFLAGS, flags | _IFF_UP)
            except OSError as error:
                raise FlowclassError(f"{name}: set up: {error.strerror}") from None

    def hardware_address(self, name: str) -> bytes:
        """Return the hardware address of an Ethernet interface, six octets; b"" for other interfaces."""
        index = self.index(name)
        with self._trying(f"{name}: its hardware address"):
            (link,) = self._route.get_links(index)
        text = link.get_attr("IFLA_ADDRESS")
        return bytes.fromhex(text.replace(":", "")) if text else b""

    def add_address(self, name: str, address: Address) -> None:
        """Add an address with full prefix length, without duplicate address detection, because it is on no link."""
        more = {"flags": 0x02} if address.version == 6 else {}  # IFA_F_NODAD
        with self._trying(f"{name}: address {address}"):
            self._route.addr(
                "replace", index=self.index(name), address=str(address), prefixlen=address.max_prefixlen,
                family=_FAMILY[address.version], **more,
            )  # fmt: skip

    def add_route(
        self,
        prefix: Prefix,
        name: str,
        *,
        table: int = 254,
        source: Address | None = None,
        metric: int | None = None,
    ) -> None:
        """Route packets to ``prefix`` to an interface, replacing a present route."""
        problem = self._change_route(_RTM_NEWROUTE, prefix, name, table, source, metric)
        if problem:
            raise FlowclassError(f"a route to {prefix} by {name}: {os.strerror(problem)}")

    def remove_route(self, prefix: Prefix, name: str, *, table: int = 254) -> None:
        """Remove a route, unless it was removed together with its device."""
        with contextlib.suppress(FlowclassError):
            self._change_route(_RTM_DELROUTE, prefix, name, table)

    def _change_route(
        self,
        kind: int,
        prefix: Prefix,
        name: str,
        table: int,
        source: Address | None = None,
        metric: int | None = None,
    ) -> int:
        """Send a netlink message about a route; return the error number of its acknowledgement, 0 for none."""
        version = prefix.version
        attributes = _attribute(_RTA_DST, prefix.network_address.packed)
        attributes += _attribute(_RTA_OIF, struct.pack("I", self.index(name)))
        attributes += _attribute(_RTA_TABLE, struct.pack("I", table))
        if source is not None:
            attributes += _attribute(_RTA_PREFSRC, source.packed)
        if metric is not None:
            attributes += _attribute(_RTA_PRIORITY, struct.pack("I", metric))
        route = struct.pack(  # struct rtmsg; its octet for the table says "see the attribute"
            "BBBBBBBBI", _FAMILY[version], prefix.prefixlen, 0, 0, 0, _RTPROT_STATIC, _SCOPE_OF_LINK[version],
            _RTN_UNICAST, 0,
        )  # fmt: skip
        flags = _REPLACE_ACKNOWLEDGED if kind == _RTM_NEWROUTE else _ACKNOWLEDGED
        body = route + attributes
        self._netlink.send(struct.pack("IHHII", 16 + len(body), kind, flags, 0, 0) + body)
        (negative,) = struct.unpack_from("i", self._netlink.recv(65536), 16)
        return -int(negative)

    def add_rule(self, version: int, *, table: int, priority: int, interface: str = "", mark: int = 0) -> None:
        """Make packets that came by an interface, or that have a mark, use the routing table ``table`` first."""
        from pyroute2 import NetlinkError

        match: dict[str, Any] = {"iifname": interface} if interface else {"fwmark": mark}
        with self._trying(f"a rule for {interface or hex(mark)}"):
            try:
                self._route.rule("add", family=_FAMILY[version], table=table, priority=priority, **match)
            except NetlinkError as error:
                if error.code != errno.EEXIST:
                    raise

    def remove_rule(self, version: int, *, table: int, priority: int, interface: str = "", mark: int = 0) -> None:
        from pyroute2 import NetlinkError

        match: dict[str, Any] = {"iifname": interface} if interface else {"fwmark": mark}
        with contextlib.suppress(NetlinkError):
            self._route.rule("del", family=_FAMILY[version], table=table, priority=priority, **match)

    def addresses(self) -> list[InterfaceAddress]:
        """Return the global addresses of interfaces that are up, in the order of the kernel.

        Tentative, deprecated and failed ones are left out.
        """
        with self._trying("the interfaces' addresses"):
            links = {link["index"]: link for link in self._route.get_links()}
            messages = list(self._route.get_addr())
        found = []
        for message in messages:
            link = links.get(message["index"])
            flags = message.get_attr("IFA_FLAGS") or message["flags"]
            if link is None or message["scope"] != _GLOBAL_SCOPE or flags & (_TENTATIVE | _DEPRECATED | _FAILED):
                continue
            if link.get_attr("IFLA_OPERSTATE") not in ("UP", "UNKNOWN") or not link["flags"] & 1:
                continue
            text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
            found.append(InterfaceAddress(link.get_attr("IFLA_IFNAME"), message["index"], ip_address(text)))
        return found


def _attribute(kind: int, value: bytes) -> bytes:
    """Return a netlink attribute, padded."""
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def address_changes() -> socket.socket:
    """Return a socket that becomes readable when an address or a link has changed.

    Its messages needn't be interpreted: the caller reads `Network.addresses` again.
    """
    watcher = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    watcher.setblocking(False)
    watcher.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR))
    return watcher
