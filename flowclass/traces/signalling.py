"""Extracts Mobility Header messages from the packets of a capture, also from fragments, ESP and UDP.

A binding update may come in fragments, which are reassembled. It may be in ESP with NULL encryption, which IPsec
testbeds use so that captures can be read; such packets are recognised by a plausible ESP trailer (RFC 5879). Or it may
be in UDP with port 4191, which a mobile node in an IPv4 network uses to carry its IPv6 packets (RFC 5555 section 4.1),
and which IPv4 may have cut into fragments.
Each is turned into a plain IPv6 packet with a Mobility Header. Signalling that could not be read is counted by reason.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from flowclass.engine.fields import BITS
from flowclass.wire.numbers import DSMIPV6_PORT, HOME_ADDRESS_OPTION, MOBILITY_HEADER, MessageType, Protocol

from .reader import NO_TIME

__all__ = ["ESP", "Found", "Signalling", "may_be_signalling"]

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


def may_be_signalling(keys: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    """Which packets may carry signalling inside ESP or UDP (RFC 5555): a boolean for each key.

    Fragments of UDP whose first one has not been met, so that their ports are unknown, are among them.
    """
    protocols = keys["protocol"]
    at_port = (keys["destination_port"] == DSMIPV6_PORT) | (keys["source_port"] == DSMIPV6_PORT)
    at_port |= keys["present"] & BITS["destination_port"] == 0
    return np.asarray((protocols == ESP) | ((protocols == _UDP) & at_port))


class Found(NamedTuple):
    """A Mobility Header message as a plain IPv6 packet, and how it came: "" or as "fragments, ESP"."""

    packet: bytes
    through: str


@dataclass(slots=True)
class _Datagram:
    """A fragmented packet: the pieces received so far (offset -> octets), and ``head``, all before the Fragment header.

    In IPv4 ``head`` is the header. ``time`` is that of its first piece; ``size`` is the length of all pieces, known
    from the last one. ``certain`` is False while it may be something else than signalling.
    """

    time: int
    head: bytes = b""
    pieces: dict[int, bytes] = field(default_factory=dict)
    size: int | None = None
    certain: bool = True


class Signalling:
    """Finds the binding updates of one capture, whose packets it takes in their order; with ``every``, all messages.

    ``unread`` counts, by reason, packets that were signalling, or probably were, and could not be read. With
    ``esp_null`` False, ESP is not looked into.
    """

    def __init__(self, unread: dict[str, int], *, esp_null: bool = True, every: bool = False) -> None:
        self.unread = unread
        self._esp_null = esp_null
        self._every = every
        self._through: list[str] = []
        self._datagrams: OrderedDict[tuple[bytes, int], _Datagram] = OrderedDict()

    def find(self, frame: bytes, key: Any, info: Any, time: int) -> Found | None:
        """The message that a packet carries or completes; None if it carries none.

        ``key`` and ``info`` are what the engine found in ``frame``; ``time`` is in ns, or `NO_TIME`.
        """
        self._through = []
        packet = self._find(frame, key, info, time)
        return None if packet is None else Found(packet, ", ".join(self._through))

    def _find(self, frame: bytes, key: Any, info: Any, time: int) -> bytes | None:
        start, transport = int(info["ip_offset"]), int(info["transport_offset"])
        packet = frame[start : min(len(frame), start + int(info["ip_length"]))]
        at = transport - start
        protocol = int(key["protocol"])
        if info["fragment"] in (_FIRST, _LATER):
            number = int(info["fragment_id"])
            return self._piece(packet, number, time) if packet[0] >> 4 == 6 else self._piece4(packet, number, time)
        if protocol == MOBILITY_HEADER:
            return self._checked(packet, at, bool(info["flags"] & _CUT))
        if protocol == _UDP and DSMIPV6_PORT in (key["destination_port"], key["source_port"]):
            return self._in_udp(packet[at + 8 :])
        if protocol == ESP and packet[0] >> 4 == 6 and self._esp_null:
            return self._in_esp(packet, at)
        return None

    def finish(self) -> None:
        """Must be called at the end of the capture: packets that are incomplete then are counted as unread."""
        certain = sum(datagram.certain for datagram in self._datagrams.values())
        if certain:
            self._count("fragments are missing", certain)
        self._datagrams.clear()

    def _count(self, reason: str, packets: int = 1) -> None:
        if packets:
            self.unread[reason] = self.unread.get(reason, 0) + packets

    def _checked(self, packet: bytes, at: int, cut: bool) -> bytes | None:
        if not self._every and packet[at + 2 : at + 3] not in (bytes((_BINDING_UPDATE,)), b""):
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
        head = bytearray(packet[:at])
        head[pointer] = packet[at]
        datagram = self._put(packet[8:40], identification, time, bytes(head), offset, bool(more), octets)
        if datagram is None:
            return None
        self._through.append("fragments")
        return self._read(datagram)

    def _piece4(self, packet: bytes, identification: int, time: int) -> bytes | None:
        """A piece of an IPv4 packet, of which only UDP with the port of RFC 5555 matters."""
        if packet[9] != _UDP:
            return None
        at = 4 * (packet[0] & 15)
        field_, length = int.from_bytes(packet[6:8], "big"), int.from_bytes(packet[2:4], "big")
        offset, more = 8 * (field_ & 0x1FFF), field_ & 0x2000
        octets = packet[at:length]
        identity = packet[12:20], identification
        if offset == 0 and not _is_dsmipv6(octets):
            self._datagrams.pop(identity, None)
            return None
        if len(packet) < length:
            if offset == 0:
                self._count("cut by the snap length")
            return None
        whole = self._put(*identity, time, packet[:at], offset, bool(more), octets, certain=offset == 0)
        if whole is None or not _is_dsmipv6(whole[at:]):
            return None
        self._through.append("fragments")
        return self._in_udp(whole[at + 8 :])

    def _put(
        self, addresses: bytes, number: int, time: int, head: bytes, offset: int, more: bool, octets: bytes,
        *, certain: bool = True,
    ) -> bytes | None:  # fmt: skip
        """Adds a piece to its datagram; returns ``head`` of the first piece and all octets once it is whole."""
        self._forget(time)
        identity = (addresses, number)
        datagram = self._datagrams.setdefault(identity, _Datagram(time, certain=certain))
        datagram.certain |= certain
        if offset == 0:
            datagram.head = head
        if not more:
            datagram.size = offset + len(octets)
        overlaps = any(o < offset + len(octets) and offset < o + len(p) for o, p in datagram.pieces.items())
        if overlaps and datagram.pieces.get(offset) != octets:  # not just a repetition of the same fragment
            del self._datagrams[identity]
            self._count("fragments overlap", datagram.certain)  # RFC 5722
            return None
        datagram.pieces[offset] = octets
        if sum(map(len, datagram.pieces.values())) != datagram.size or not datagram.head:
            return None
        del self._datagrams[identity]
        return datagram.head + b"".join(octets for _, octets in sorted(datagram.pieces.items()))

    def _forget(self, time: int) -> None:
        """Drops datagrams that are too old, and the oldest one if there are too many."""
        while self._datagrams:
            oldest = next(iter(self._datagrams.values()))
            known = NO_TIME not in (time, oldest.time)
            if len(self._datagrams) < _DATAGRAMS and not (known and abs(time - oldest.time) > _LIFETIME):
                return
            self._datagrams.popitem(last=False)
            self._count("fragments are missing", oldest.certain)

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
        self._through.append("UDP")
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
                    self._through.append("ESP")
                    head = bytearray(packet[:at])
                    head[_pointer(packet, at)] = MOBILITY_HEADER
                    return self._read(bytes(head) + message)
        if _has_home_address(packet, at):
            self._count("in ESP, encrypted or not understood")
        return None


def _is_dsmipv6(udp: bytes) -> bool:
    """Whether a UDP datagram, from its header on, has the port of RFC 5555."""
    return DSMIPV6_PORT in (int.from_bytes(udp[:2], "big"), int.from_bytes(udp[2:4], "big"))


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
