"""Packets that the kernel's packet filter hands over, by NFQUEUE, and what becomes of them: a packet source for the
classifier where the kernel goes on to forward packets itself.

A rule such as ``ip6 daddr 2001:db8:100::/64 queue num 5`` of nftables, or ``-j NFQUEUE --queue-num 5`` of iptables,
puts packets into a queue. Each waits there until it is accepted, perhaps with a mark for routing rules, or dropped.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Final, NamedTuple

from flowclass.errors import FlowclassError

__all__ = ["PacketQueue", "QueuedPacket"]

# linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nfnetlink_queue.h
_NETLINK_NETFILTER: Final = 12
_SUBSYSTEM_QUEUE: Final = 3 << 8
_PACKET, _VERDICT, _CONFIG = 0, 1, 2
_REQUEST, _ACKNOWLEDGE = 0x1, 0x4
_ERROR: Final = 2
_COMMAND, _PARAMETERS, _LONGEST, _MASK, _FLAGS = 1, 2, 3, 4, 5  # attributes of a configuration
_HEADER, _VERDICT_HEADER, _MARK, _PAYLOAD = 1, 2, 3, 10  # and of packets and verdicts
_BIND: Final = 1
_COPY_PACKET: Final = 2
_FAIL_OPEN: Final = 1
_DROP, _ACCEPT = 0, 1
_TYPE: Final = 0x3FFF  # the upper two bits of an attribute's type are flags

_MESSAGE: Final = struct.Struct("=IHHII")
_QUEUE_HEADER: Final = struct.Struct(">BBH")
_ATTRIBUTE: Final = struct.Struct("=HH")
_BUFFER: Final = 1 << 17
_SOCKET_BUFFER: Final = 8 << 20
_LARGEST: Final = 0xFFFF
_BATCH: Final = 256


class QueuedPacket(NamedTuple):
    """A whole IP packet that waits in the queue; ``number`` names it there, ``mark`` is its firewall mark so far."""

    number: int
    packet: bytes
    mark: int


class PacketQueue:
    """Queue ``number`` (0 to 65535) of the kernel's packet filter, in the network namespace of the caller.

    At most ``length`` packets wait; others are dropped, or accepted as they are with ``fail_open``. When the queue is
    closed, the kernel drops what waits, and what comes then meets a rule without a listener. ``lost`` counts how often
    the kernel could not hand over packets in time. Needs CAP_NET_ADMIN; raises FlowclassError with the reason if the
    queue can't be had.
    """

    def __init__(self, number: int, *, length: int = 4096, fail_open: bool = False) -> None:
        if not 0 <= number <= 0xFFFF:
            raise FlowclassError(f"number: 0 to 65535 expected, got {number}")
        if not 0 < length <= 0xFFFFFFFF:
            raise FlowclassError(f"length: 1 to 4294967295 expected, got {length}")
        self.number = number
        self.lost: int = 0
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        except OSError as error:
            raise FlowclassError(f"NFQUEUE: {error.strerror}") from None
        try:
            self._socket.bind((0, 0))
            with contextlib.suppress(OSError):  # SO_RCVBUFFORCE: a wish
                self._socket.setsockopt(socket.SOL_SOCKET, 33, _SOCKET_BUFFER)
            self._configure((_COMMAND, struct.pack(">BxH", _BIND, 0)))
            self._configure((_PARAMETERS, struct.pack(">IB", _LARGEST, _COPY_PACKET)))
            self._configure((_LONGEST, struct.pack(">I", length)))
            if fail_open:
                value = struct.pack(">I", _FAIL_OPEN)
                self._configure((_FLAGS, value), (_MASK, value))
        except OSError as error:
            self._socket.close()
            why = "another program has it" if error.errno in (errno.EBUSY, errno.EPERM) and _is_root() else None
            raise FlowclassError(f"NFQUEUE {number}: {why or error.strerror}") from None
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """The descriptor that becomes readable when packets wait."""
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> PacketQueue:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self) -> list[QueuedPacket]:
        """Return the packets that wait and have not been returned yet, at most a few hundred; it never blocks."""
        found: list[QueuedPacket] = []
        while len(found) < _BATCH:
            try:
                data = self._socket.recv(_BUFFER)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.lost += 1
                continue
            found += self._packets(data)
        return found

    def decide(self, verdicts: Iterable[tuple[int, int | None]]) -> None:
        """Let packets go on: for each, its number and the mark to give it (0: none), or None to drop it."""
        out = bytearray()
        for number, mark in verdicts:
            header = struct.pack(">II", _DROP if mark is None else _ACCEPT, number)
            attributes = _attribute(_VERDICT_HEADER, header)
            if mark is not None:
                attributes += _attribute(_MARK, struct.pack(">I", mark))
            out += self._message(_VERDICT, _REQUEST, attributes)
        if out:
            self._socket.send(out)

    def _message(self, kind: int, flags: int, attributes: bytes) -> bytes:
        head = _QUEUE_HEADER.pack(socket.AF_UNSPEC, 0, self.number)
        size = _MESSAGE.size + len(head) + len(attributes)
        return _MESSAGE.pack(size, _SUBSYSTEM_QUEUE | kind, flags, 0, 0) + head + attributes

    def _configure(self, *attributes: tuple[int, bytes]) -> None:
        content = b"".join(_attribute(kind, data) for kind, data in attributes)
        self._socket.send(self._message(_CONFIG, _REQUEST | _ACKNOWLEDGE, content))
        while True:
            for kind, body in _messages(self._socket.recv(_BUFFER)):
                if kind == _ERROR:
                    code = -int(struct.unpack_from("=i", body)[0])
                    if code:
                        raise OSError(code, os.strerror(code))
                    return

    @staticmethod
    def _packets(data: bytes) -> Iterator[QueuedPacket]:
        for kind, body in _messages(data):
            if kind != _SUBSYSTEM_QUEUE | _PACKET:
                continue
            number, packet, mark = -1, b"", 0
            for name, value in _attributes(body[_QUEUE_HEADER.size :]):
                if name == _HEADER:
                    number = int.from_bytes(value[:4])
                elif name == _MARK:
                    mark = int.from_bytes(value)
                elif name == _PAYLOAD:
                    packet = value
            if number >= 0:
                yield QueuedPacket(number, packet, mark)


def _is_root() -> bool:
    return os.geteuid() == 0


def _attribute(kind: int, data: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data + bytes(-len(data) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size:
            return
        yield kind & _TYPE, data[at + _ATTRIBUTE.size : at + size]
        at += size + -size % 4


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _MESSAGE.size <= len(data):
        size, kind, _, _, _ = _MESSAGE.unpack_from(data, at)
        if size < _MESSAGE.size:
            return
        yield kind, data[at + _MESSAGE.size : at + size]
        at += size + -size % 4
