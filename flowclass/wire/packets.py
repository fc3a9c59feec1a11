"""Decodes and encodes whole IPv6 packets with a Mobility Header (RFC 6275 sections 6.1.1, 6.3, 6.4; RFC 8200)."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv6Address
from struct import Struct
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final

from flowclass.addresses import AddressLike
from flowclass.errors import ArgumentError, DecodeError, EncodeError, ParameterProblem
from flowclass.wire._usual import PacketSlots
from flowclass.wire.checks import U8, U20
from flowclass.wire.lazy import Received, checked_init, received
from flowclass.wire.message_codec import checksum_fits, decode_message_at, encode_message_between
from flowclass.wire.messages import BindingAcknowledgement, Message
from flowclass.wire.numbers import (
    HOME_ADDRESS_OPTION,
    MOBILITY_HEADER,
    TYPE_2_ROUTING,
    MessageType,
    OptionType,
    Protocol,
)
from flowclass.wire.octets import as_bytes
from flowclass.wire.option_codec import get_codec
from flowclass.wire.profiles import Profile, get_profile
from flowclass.wire.tlv import octets6

__all__ = [
    "HOP_LIMIT",
    "Addresses",
    "ExtensionHeader",
    "MobilityPacket",
    "decode_packet",
    "encode_between",
    "encode_packet",
    "mobility_header",
]

HOP_LIMIT: Final = 64
"""The hop limit of packets that are sent."""

_IPV6: Final = Struct(">IHBB16s16s")
_VERSION: Final = 6 << 28
_HOP_BY_HOP: Final = Protocol.HOP_BY_HOP.value
_ROUTING: Final = Protocol.ROUTING.value
_FRAGMENT: Final = Protocol.FRAGMENT.value
_ESP: Final = Protocol.ESP.value
_AH: Final = Protocol.AH.value
_UPDATE: Final = MessageType.BINDING_UPDATE.value
_ACKNOWLEDGEMENT: Final = MessageType.BINDING_ACKNOWLEDGEMENT.value
_DESTINATION: Final = Protocol.DESTINATION_OPTIONS.value

# The usual forms of two extension headers, without their first octet (next header) and the address at their end: one
# with a Home Address option at 8n+6 after PadN (RFC 6275 section 6.3), and a type 2 routing header with one segment
# left (section 6.4).
_HOME_ADDRESS_HEADER: Final = bytes((2, OptionType.PADN, 2, 0, 0, HOME_ADDRESS_OPTION, 16))
_USUAL_UPDATE: Final = bytes((MOBILITY_HEADER,)) + _HOME_ADDRESS_HEADER
_ROUTING_HEADER: Final = bytes((2, TYPE_2_ROUTING, 1, 0, 0, 0, 0))


Addresses = tuple[bytes, bytes, bytes | None, bytes | None]
"""The addresses of a packet, all packed: source, destination, home address and routing home."""


@checked_init
@dataclass(frozen=True, slots=True)
class ExtensionHeader:
    """An extension header: its number, and its octets after the first one (next header)."""

    number: U8
    body: bytes


@checked_init
@dataclass(frozen=True, slots=True)
class MobilityPacket(Received):
    """A packet with a Mobility Header.

    ``source`` and ``destination`` are those of the IPv6 header. ``home_address`` is the address in the Home Address
    option, and ``routing_home`` that in a type 2 routing header with one segment left; they are None if there is no
    such option or header. ``checksum_ok`` says whether the decoder found the checksum right. ``extensions`` are the
    headers as received, if `encode_packet` would write them differently; if it is empty, the headers follow from the
    two addresses.
    """

    _late: ClassVar[tuple[str, ...]] = ("source", "destination", "home_address", "routing_home")

    source: IPv6Address
    destination: IPv6Address
    message: Message
    home_address: IPv6Address | None = None
    routing_home: IPv6Address | None = None
    checksum_ok: bool = field(default=True, compare=False)
    hop_limit: U8 = HOP_LIMIT
    traffic_class: U8 = 0
    flow_label: U20 = 0
    extensions: tuple[ExtensionHeader, ...] = ()

    if TYPE_CHECKING:

        def __init__(
            self,
            source: AddressLike,
            destination: AddressLike,
            message: Message,
            home_address: AddressLike | None = ...,
            routing_home: AddressLike | None = ...,
            checksum_ok: bool = ...,
            hop_limit: int = ...,
            traffic_class: int = ...,
            flow_label: int = ...,
            extensions: tuple[ExtensionHeader, ...] = ...,
        ) -> None: ...

    def _complete(self) -> None:
        for fill, address in zip(_SETTERS, self._octets, strict=True):
            fill(self, None if address is None else IPv6Address(int.from_bytes(address)))

    @property
    def addresses(self) -> Addresses:
        """The source, destination, home address and routing home, packed."""
        made: Addresses | None = getattr(self, "_octets", None)
        if made is None:
            home, routing = self.home_address, self.routing_home
            made = (
                octets6(self.source),
                octets6(self.destination),
                None if home is None else octets6(home),
                None if routing is None else octets6(routing),
            )
        return made

    @property
    def mobile_node(self) -> IPv6Address:
        """The home address that a binding update concerns: that of the Home Address option, or else the source."""
        return self.source if self.home_address is None else self.home_address


_SETTERS: Final[list[Any]] = [MobilityPacket.__dict__[name].__set__ for name in MobilityPacket._late]
_received_packet: Final = received(MobilityPacket)
_SLOTS: Final = PacketSlots(MobilityPacket)


class _Chain:
    """The content of the extension headers, which is filled while they are read."""

    __slots__ = ("headers", "home_address", "plain", "routing_home")

    def __init__(self) -> None:
        self.headers: list[ExtensionHeader] = []
        self.home_address: bytes | None = None
        self.routing_home: bytes | None = None
        # whether encode_packet would write the same headers for the two addresses
        self.plain = True


class _Reader:
    """Reads the extension headers in ``data[pos:end]`` once, from front to back.

    `take` is the only method that advances and the only bounds check. Offsets in errors count from the start of
    ``data``. Messages and options are decoded with ``struct`` and offsets of their own instead (message_codec.py,
    option_codec.py and flow_codec.py), because a reader's calls cost a binding update a fifth of its time.
    """

    __slots__ = ("_outer", "data", "end", "pos")

    def __init__(self, data: bytes, pos: int = 0, end: int | None = None) -> None:
        self.data = data
        self.pos = pos
        self.end = len(data) if end is None else end
        self._outer: list[int] = []

    def take(self, count: int) -> int:
        """Advance over ``count`` octets and return the offset of the first one."""
        at = self.pos
        after = at + count
        if after > self.end:
            raise DecodeError(f"{count} octets expected, {self.end - at} left", at)
        self.pos = after
        return at

    def octets(self, count: int) -> bytes:
        at = self.take(count)
        return self.data[at : at + count]

    def rest(self) -> bytes:
        return self.octets(self.end - self.pos)

    def restrict(self, count: int) -> _Reader:
        """Return a context manager whose body can read the next ``n`` octets only, and must read all of them."""
        inner = self.pos + count
        if inner > self.end:
            raise DecodeError(f"a length of {count} octets where {self.end - self.pos} are left", self.pos)
        self._outer.append(self.end)
        self.end = inner
        return self

    def __enter__(self) -> _Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        inner = self.end
        self.end = self._outer.pop()
        # after an error this would hide its cause
        if kind is None and self.pos != inner:
            raise DecodeError(f"{inner - self.pos} octets too many", self.pos)


def decode_packet(data: bytes | bytearray | memoryview, profile: str | Profile = "draft") -> MobilityPacket:
    """Decode an IPv6 packet with a Mobility Header; ``data`` begins with the IPv6 header.

    Octets after the Mobility Header are ignored, as RFC 8200 section 4.7 demands after "no next header". Raises
    DecodeError, also for a packet without a Mobility Header, an encrypted one, and a fragment, and ParameterProblem as
    `decode_message` does, if the checksum is right. A wrong checksum alone is no error here, but makes ``checksum_ok``
    False; RFC 6275 section 9.2 demands that the receiver silently ignores such a packet.
    """
    octets = as_bytes(data)
    chosen = get_profile(profile)
    usual: MobilityPacket | None = get_codec(chosen, _UPDATE).usual.read_update(
        octets, _USUAL_UPDATE, MobilityPacket, _SLOTS
    )
    return _decode(octets, chosen) if usual is None else usual


def _decode(octets: bytes, profile: Profile) -> MobilityPacket:
    if len(octets) < 40:
        raise DecodeError(f"40 octets expected, {len(octets)} left", 0)
    word, length, number, hop_limit, source, destination = _IPV6.unpack_from(octets)
    if word >> 28 != 6:
        raise DecodeError(f"IP version {word >> 28}: 6 expected", 0)
    start, end = 40, 40 + length
    if end > len(octets):
        raise DecodeError(f"a length of {length} octets where {len(octets) - 40} are left", 40)
    home = routing = None
    extensions: tuple[ExtensionHeader, ...] = ()
    if number != MOBILITY_HEADER:
        chain = _Chain()
        r = _Reader(octets, 40, end)
        while number != MOBILITY_HEADER:
            number = _walk(r, number, chain)
        start = r.pos
        home, routing = chain.home_address, chain.routing_home
        if not chain.plain:
            extensions = tuple(chain.headers)
    # the checksum covers as much as Header Len says, or as there is
    valid = end - start > 1 and checksum_fits(
        octets[start : min(end, start + 8 + 8 * octets[start + 1])], home or source, routing or destination
    )
    try:
        message = decode_message_at(octets, start, end, profile)
    except ParameterProblem as problem:
        if valid:
            raise
        # RFC 6275 section 9.2: the checksum is verified first, and a packet with a wrong one is ignored
        raise DecodeError(f"wrong checksum, and {problem.reason}", problem.offset) from None
    made: MobilityPacket = _received_packet(
        (source, destination, home, routing),
        message,
        valid,
        hop_limit,
        word >> 20 & 0xFF,
        word & 0xFFFFF,
        extensions,
    )
    return made


def _walk(r: _Reader, number: int, chain: _Chain) -> int:
    """Read one extension header of type ``number``, and return the number of the next header."""
    if number not in (_HOP_BY_HOP, _ROUTING, _DESTINATION, _AH):
        reason = {_FRAGMENT: "a fragment", _ESP: "encrypted"}.get(number, f"next header {number}")
        raise DecodeError(f"no Mobility Header: {reason}", r.pos)
    at = r.take(2)
    # the length counts units of 8 octets without the first one; in AH, units of 4 without the first two (RFC 4302 2.2)
    units = r.data[at + 1]
    size = 4 * units + 8 if number == _AH else 8 * units + 8
    body = r.data[at + 1 : at + size]
    with r.restrict(size - 2):
        if number == _DESTINATION:
            _read_destination_options(r, chain, body)
        elif number == _ROUTING:
            _read_routing_header(r, chain, body)
        else:
            chain.plain = False
            r.rest()
    chain.headers.append(ExtensionHeader(number, body))
    return r.data[at]


def _read_destination_options(r: _Reader, chain: _Chain, body: bytes) -> None:
    """Read destination options (RFC 8200 section 4.2); all but the Home Address option (RFC 6275) are skipped."""
    if len(body) == 23 and chain.home_address is None and body.startswith(_HOME_ADDRESS_HEADER):
        r.rest()
        chain.home_address = body[7:]
        return
    chain.plain = False
    while r.pos < r.end:
        if r.data[r.pos] == 0:
            r.take(1)
            continue
        at = r.take(2)
        length = r.data[at + 1]
        with r.restrict(length):
            if r.data[at] != HOME_ADDRESS_OPTION:
                r.rest()
                continue
            if length != 16:
                raise DecodeError(f"a Home Address option of {length} octets: 16 expected", at + 1)
            if chain.home_address is not None:
                raise DecodeError("a second Home Address option", at)
            chain.home_address = r.octets(16)


def _read_routing_header(r: _Reader, chain: _Chain, body: bytes) -> None:
    """Read a routing header (RFC 8200 section 4.4), which is of type 2 here (RFC 6275 section 6.4)."""
    at = r.take(2)
    kind, segments = r.data[at], r.data[at + 1]
    if kind != TYPE_2_ROUTING and segments:
        # RFC 8200 section 4.4: an unknown type is an error if segments are left, and is skipped otherwise
        raise DecodeError(f"routing header type {kind} with {segments} segments left", at)
    if kind != TYPE_2_ROUTING or segments == 0:
        # no segment is left: the packet has been routed, and its destination is the final one
        chain.plain = False
        r.rest()
        return
    if r.end - at != 22:
        raise DecodeError("a type 2 routing header holds one address", at - 1)
    if segments != 1 or chain.routing_home is not None:
        raise DecodeError(f"a type 2 routing header with {segments} segments left, or a second one", at + 1)
    # the encoder writes it before the destination options
    if not body.startswith(_ROUTING_HEADER) or chain.home_address is not None:
        chain.plain = False
    r.take(4)
    chain.routing_home = r.octets(16)


def mobility_header(packet: bytes) -> bytes:
    """Return the octets of the Mobility Header in a packet that `decode_packet` has accepted."""
    number, at = packet[6], 40
    while number != MOBILITY_HEADER:
        units = packet[at + 1]
        size = 4 * units + 8 if number == _AH else 8 * units + 8
        number, at = packet[at], at + size
    return packet[at : at + 8 * packet[at + 1] + 8]


def encode_packet(packet: MobilityPacket, profile: str | Profile = "draft") -> bytes:
    """Return the octets of a packet, with its checksum.

    The extension headers are in the order of RFC 6275: first the routing header, then destination options.
    """
    if not isinstance(packet, MobilityPacket):
        raise ArgumentError("packet", "a MobilityPacket", packet)
    source, destination, home, routing = packet.addresses
    if not packet.extensions:
        number, payload = _payload(packet.addresses, packet.message, get_profile(profile))
    else:
        number = MOBILITY_HEADER
        parts = [encode_message_between(packet.message, home or source, routing or destination, get_profile(profile))]
        for header in reversed(packet.extensions):
            parts.append(bytes((number,)) + header.body)
            number = header.number
        parts.reverse()
        payload = b"".join(parts)
    if not (0 <= packet.traffic_class < 256 and 0 <= packet.flow_label < 1 << 20 and 0 <= packet.hop_limit < 256):
        raise EncodeError("traffic class, flow label or hop limit do not fit the IPv6 header")
    if len(payload) > 0xFFFF:
        raise EncodeError(f"a payload of {len(payload)} octets: 65535 fit")
    word = _VERSION | packet.traffic_class << 20 | packet.flow_label
    return _IPV6.pack(word, len(payload), number, packet.hop_limit, source, destination) + payload


def encode_between(addresses: Addresses, message: Message, profile: Profile) -> bytes:
    """Do what `encode_packet` does for a packet that has only addresses, which are packed, and a message."""
    if type(message) is BindingAcknowledgement:
        usual = get_codec(profile, _ACKNOWLEDGEMENT).usual.write_acknowledgement(
            addresses, message, HOP_LIMIT, _ROUTING_HEADER
        )
        if usual is not None:
            return usual
    number, payload = _payload(addresses, message, profile)
    return _IPV6.pack(_VERSION, len(payload), number, HOP_LIMIT, addresses[0], addresses[1]) + payload


def _payload(addresses: Addresses, message: Message, profile: Profile) -> tuple[int, bytes]:
    source, destination, home, routing = addresses
    number, payload = MOBILITY_HEADER, encode_message_between(message, home or source, routing or destination, profile)
    if home is not None:
        number, payload = _DESTINATION, bytes((number,)) + _HOME_ADDRESS_HEADER + home + payload
    if routing is not None:
        number, payload = _ROUTING, bytes((number,)) + _ROUTING_HEADER + routing + payload
    return number, payload
