"""Extracts binding updates from the packets of a capture, also from fragments, ESP and UDP.

A binding update may come in fragments, which are reassembled. It may be in ESP with NULL encryption, which IPsec
testbeds use so that captures can be read; such packets are recognised by a plausible ESP trailer (RFC 5879). Or it may
be in UDP with port 4191, which a mobile node in an IPv4 network uses to carry its IPv6 packets (RFC 5555 section 4.1).
Each is turned into a plain IPv6 packet with a Mobility Header. Signalling that could not be read is counted by reason.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from flowclass.wire.numbers import DSMIPV6_PORT, HOME_ADDRESS_OPTION, MOBILITY_HEADER, MessageType, Protocol

from .reader import NO_TIME

__all__ = ["ESP", "Signalling"]

ESP: Final = Protocol.ESP.value
_UDP, _FRAGMENT, _AH = Protocol.UDP.value, Protocol.FRAGMENT.value, Protocol.AH.value
_HOP_BY_HOP, _ROUTING = Protocol.HOP_BY_HOP.value, Protocol.ROUTING.value
_DESTINATION_OPTIONS = Protocol.DESTINATION_OPTIONS.value
_BINDING_UPDATE: Final = MessageType.BINDING_UPDATE.value
_FIRST, _LATER = 1, 2  # enum fc_fragment
_CUT: Final = 2  # FC_PACKET_CUT
_DATAGRAMS: Final = 64  # how many are reassembled at a time
_LIFETIME: Final = 60 * 10**9  # ns, RFC 8200 section 4.5
_CHECK_VALUES: Final = (12, 16, 24, 32, 0)  # possible octets of ESP's integrity check value, commonest first
_INITIALIZATION: Final = (0, 8)  # octets before the payload: none with NULL encryption, 8 with AES-GMAC


@dataclass(slots=True)
class _Datagram:
    """A fragmented packet: the pieces received so far (offset -> octets), and ``head``, all before the Fragment header.

    ``time`` is that of its first piece; ``size`` is the length of all pieces, known from the last one.
    """

    time: int
    head: bytes = b""
    pieces: dict[int, bytes] = field(default_factory=dict)
    size: int | None = None


class Signalling:
    """Finds the binding updates of one capture, whose packets it takes in their order.

    ``unread`` counts, by reason, packets that were signalling, or probably were, and could not be read. With
    ``esp_null`` False, ESP is not looked into.
    """

    def __init__(self, unread: dict[str, int], *, esp_null: bool = True) -> None:
        self.unread = unread
        self._esp_null = esp_null
        self._datagrams: OrderedDict[tuple[bytes, int], _Datagram] = OrderedDict()

    def update_in(self, frame: bytes, key: Any, info: Any, time: int) -> bytes | None:
        """The binding update that a packet carries or completes, as an IPv6 packet; None if it carries none.

        ``key`` and ``info`` are what the engine found in ``frame``; ``time`` is in ns, or `NO_TIME`.
        """
        start, transport = int(info["ip_offset"]), int(info["transport_offset"])
        packet = frame[start : min(len(frame), start + int(info["ip_length"]))]
        at = transport - start
        protocol = int(key["protocol"])
        if info["fragment"] in (_FIRST, _LATER):
            return self._piece(packet, int(info["fragment_id"]), time) if packet[0] >> 4 == 6 else None
        if protocol == MOBILITY_HEADER:
            return self._checked(packet, at, bool(info["flags"] & _CUT))
        if protocol == _UDP and DSMIPV6_PORT in (key["destination_port"], key["source_port"]):
            return self._in_udp(packet[at + 8 :])
        if protocol == ESP and packet[0] >> 4 == 6 and self._esp_null:
            return self._in_esp(packet, at)
        return None

    def finish(self) -> None:
        """Must be called at the end of the capture: packets that are incomplete then are counted as unread."""
        if self._datagrams:
            self._count("fragments are missing", len(self._datagrams))
            self._datagrams.clear()

    def _count(self, reason: str, packets: int = 1) -> None:
        self.unread[reason] = self.unread.get(reason, 0) + packets

    def _checked(self, packet: bytes, at: int, cut: bool) -> bytes | None:
        if packet[at + 2 : at + 3] not in (bytes((_BINDING_UPDATE,)), b""):
            return None
        if cut:
            self._count("cut by the snap length")
            return None
        return packet if len(packet) > at + 2 else None

    # ---- fragments

    def _piece(self, packet: bytes, identification: int, time: int) -> bytes | None:
        found = _header(packet, _FRAGMENT)
        if found is None:
            return None
        pointer, at = found
        field_ = int.from_bytes(packet[at + 2 : at + 4], "big")
        offset, more = field_ & 0xFFF8, field_ & 1
        octets = packet[at + 8 :]
        if len(packet) != 40 + int.from_bytes(packet[4:6], "big"):
            self._count("cut by the snap length")
            return None
        self._forget(time)
        identity = (packet[8:40], identification)
        datagram = self._datagrams.setdefault(identity, _Datagram(time))
        if offset == 0:
            head = bytearray(packet[:at])
            head[pointer] = packet[at]
            datagram.head = bytes(head)
        if not more:
            datagram.size = offset + len(octets)
        overlaps = any(o < offset + len(octets) and offset < o + len(p) for o, p in datagram.pieces.items())
        if overlaps and datagram.pieces.get(offset) != octets:  # not just a repetition of the same fragment
            del self._datagrams[identity]
            self._count("fragments overlap")  # RFC 5722
            return None
        datagram.pieces[offset] = octets
        whole = sum(map(len, datagram.pieces.values())) == datagram.size and datagram.head
        if not whole:
            return None
        del self._datagrams[identity]
        body = b"".join(octets for _, octets in sorted(datagram.pieces.items()))
        return self._read(datagram.head + body)

    def _forget(self, time: int) -> None:
        """Drops datagrams that are too old, and the oldest one if there are too many."""
        while self._datagrams:
            oldest = next(iter(self._datagrams.values()))
            known = NO_TIME not in (time, oldest.time)
            if len(self._datagrams) < _DATAGRAMS and not (known and abs(time - oldest.time) > _LIFETIME):
                return
            self._datagrams.popitem(last=False)
            self._count("fragments are missing")

    def _read(self, packet: bytes) -> bytes | None:
        """Looks for a binding update in a whole packet, whose payload length is corrected first."""
        if len(packet) - 40 > 0xFFFF:
            return None
        packet = packet[:4] + (len(packet) - 40).to_bytes(2, "big") + packet[6:]
        found = _header(packet, MOBILITY_HEADER)
        if found is not None:
            return self._checked(packet, found[1], cut=False)
        found = _header(packet, ESP)
        return self._in_esp(packet, found[1]) if found is not None and self._esp_null else None

    # ---- UDP and ESP

    def _in_udp(self, inside: bytes) -> bytes | None:
        if len(inside) < 40 or inside[0] >> 4 != 6:
            return None
        declared = 40 + int.from_bytes(inside[4:6], "big")
        if declared > len(inside):
            self._count("cut by the snap length")
            return None
        return self._read(inside[:declared])

    def _in_esp(self, packet: bytes, at: int) -> bytes | None:
        for check_value in _CHECK_VALUES:
            end = len(packet) - check_value
            if end - at < 8 + 2 or packet[end - 1] != MOBILITY_HEADER:
                continue
            padding = packet[end - 2]
            stop = end - 2 - padding
            if packet[stop : end - 2] != bytes(range(1, padding + 1)):
                continue
            for skip in _INITIALIZATION:
                message = packet[at + 8 + skip : stop]
                if len(message) >= 8 and message[0] == Protocol.NO_NEXT_HEADER and 8 * (message[1] + 1) == len(message):
                    head = bytearray(packet[:at])
                    head[_pointer(packet, at)] = MOBILITY_HEADER
                    return self._read(bytes(head) + message)
        if _has_home_address(packet, at):
            self._count("in ESP, encrypted or not understood")
        return None


def _header(packet: bytes, wanted: int) -> tuple[int, int] | None:
    """(place of the Next Header octet that announces it, place where it begins) of the first header of a kind."""
    pointer, at = 6, 40
    while at + 2 <= len(packet):
        kind = packet[pointer]
        if kind == wanted:
            return pointer, at
        size = _size(packet, kind, at)
        if size is None:
            return None
        pointer, at = at, at + size
    return None


def _size(packet: bytes, kind: int, at: int) -> int | None:
    if kind in (_HOP_BY_HOP, _ROUTING, _DESTINATION_OPTIONS):
        return 8 * (packet[at + 1] + 1)
    if kind == _AH:
        return 4 * (packet[at + 1] + 2)
    return 8 if kind == _FRAGMENT else None


def _pointer(packet: bytes, end: int) -> int:
    """The place of the Next Header octet that announces the header beginning at ``end``."""
    pointer, at = 6, 40
    while at < end:
        size = _size(packet, packet[pointer], at)
        if size is None:
            break
        pointer, at = at, at + size
    return pointer


def _has_home_address(packet: bytes, end: int) -> bool:
    """Whether a Home Address option is before ``end``, as in packets from a mobile node to its home agent."""
    found = _header(packet[:end], _DESTINATION_OPTIONS)
    if found is None:
        return False
    at = found[1]
    stop, at = min(end, at + 8 * (packet[at + 1] + 1)), at + 2
    while at + 1 < stop:
        if packet[at] == HOME_ADDRESS_OPTION:
            return True
        at += 1 if packet[at] == 0 else 2 + packet[at + 1]
    return False
