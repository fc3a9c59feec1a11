"""The sockets through which the agents send and receive packets."""

from __future__ import annotations

import socket
import struct
from typing import Final

from flowclass.errors import FlowclassError
from flowclass.wire.numbers import DSMIPV6_PORT

__all__ = [
    "ICMP6_FILTER",
    "UDP_PORT",
    "mobility_tap",
    "neighbor_tap",
    "payloads",
    "raw_ipv4",
    "raw_ipv6",
    "tunnel_ipv4",
    "udp_ipv4",
]

UDP_PORT: Final = DSMIPV6_PORT
ICMP6_FILTER: Final = 1
"""An option of raw ICMPv6 sockets: which message types they don't receive (RFC 3542 section 3.2)."""

_IPV6_HDRINCL: Final = 36
_BUFFER: Final = 4 << 20


def _open(family: int, kind: int, protocol: int, what: str) -> socket.socket:
    try:
        made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    except PermissionError:
        raise FlowclassError(f"{what}: not permitted; root, or CAP_NET_RAW and CAP_NET_ADMIN, are needed") from None
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        made.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
    return made


def raw_ipv6(interface: str | None = None) -> socket.socket:
    """Return a socket that sends whole IPv6 packets with any source address, by ``interface`` if it is given."""
    made = _open(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW, "a raw IPv6 socket")
    made.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
    if interface is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    return made


def raw_ipv4(interface: str | None = None) -> socket.socket:
    """Return a socket that sends whole IPv4 packets, by ``interface`` if it is given."""
    made = _open(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW, "a raw IPv4 socket")
    if interface is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    return made


def udp_ipv4(address: str, port: int = UDP_PORT, interface: str | None = None) -> socket.socket:
    """Return a UDP socket that is bound to an IPv4 address of this machine, and to ``interface`` if it is given;
    FlowclassError if that fails."""
    made = _open(socket.AF_INET, socket.SOCK_DGRAM, 0, "a UDP socket")
    try:
        if interface is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        made.bind((address, port))
    except OSError as error:
        made.close()
        raise FlowclassError(f"UDP port {port} of {address}: {error.strerror}") from None
    return made


def tunnel_ipv4(address: str, protocol: int) -> socket.socket:
    """Return a socket that receives whole IPv4 packets of a protocol to an address of this machine."""
    made = _open(socket.AF_INET, socket.SOCK_RAW, protocol, "a raw IPv4 socket")
    made.bind((address, 0))
    return made


def payloads(family: int, protocol: int) -> socket.socket:
    """Return a socket that receives the payloads of packets of a protocol; with IPv6, also their addresses
    (pktinfo)."""
    made = _open(family, socket.SOCK_RAW, protocol, "a raw socket")
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    return made


_PACKET: Final = 17  # AF_PACKET, which the socket module lacks on other systems
_ETH_P_IPV6: Final = 0x86DD
_SO_ATTACH_FILTER: Final = 26


def mobility_tap(*, home_address: bool = False) -> socket.socket:
    """Return a socket that receives whole IPv6 packets which begin with a type 2 routing header or a Mobility Header.

    With ``home_address`` it receives those with a Home Address option instead of a routing header. It receives them
    before the kernel processes them: a kernel without Mobile IPv6 refuses both, and doesn't know the Mobility Header.
    """
    # octet 6 is the next header. If it is 135; or 43, and octet 42, the routing type, is 2; or 60, and the option at
    # octet 42 or 46 has type 201: accept the whole packet, otherwise nothing
    rest = [(0x15, 0, 4, 60), (0x30, 0, 0, 42), (0x15, 3, 0, 201), (0x30, 0, 0, 46), (0x15, 1, 0, 201)]
    if not home_address:
        rest = [(0x15, 0, 2, 43), (0x30, 0, 0, 42), (0x15, 1, 0, 2)]
    program = [(0x30, 0, 0, 6), (0x15, len(rest) + 1, 0, 135), *rest, (0x06, 0, 0, 0), (0x06, 0, 0, 0x40000)]
    return _tap(program)


def neighbor_tap(interface: str) -> socket.socket:
    """Return a socket that receives the neighbor solicitations and advertisements of an interface, as whole packets.

    It receives them even if their destination is an address that this machine routes elsewhere.
    """
    # if octet 6 is 58, and octet 40 is 135 or 136, accept the whole packet, otherwise nothing
    program = [(0x30, 0, 0, 6), (0x15, 0, 4, 58), (0x30, 0, 0, 40), (0x15, 1, 0, 135), (0x15, 0, 1, 136),
               (0x06, 0, 0, 0x40000), (0x06, 0, 0, 0)]  # fmt: skip
    made = _tap(program)
    made.bind((interface, _ETH_P_IPV6))
    return made


def _tap(program: list[tuple[int, int, int, int]]) -> socket.socket:
    made = _open(_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IPV6), "a packet socket")
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = bytearray(code)
    made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(program), _address_of(buffer)))
    return made


def _address_of(buffer: bytearray) -> int:
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
