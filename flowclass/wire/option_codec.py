"""Decodes and encodes mobility options by two tables, of decoders and of encoders, which follow from a profile."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Any, Final

from flowclass.errors import DecodeError, EncodeError
from flowclass.wire import options
from flowclass.wire._usual import UsualCodec
from flowclass.wire.flow_codec import FlowCodec, decode_flow_summary
from flowclass.wire.flow_options import FlowIdentification, FlowSummary
from flowclass.wire.messages import Option
from flowclass.wire.numbers import MAX_BID_PRIORITY, MessageType, OptionType
from flowclass.wire.options import Verbatim
from flowclass.wire.profiles import Profile
from flowclass.wire.tlv import octets4, octets6, padding, tlv

__all__ = ["Codec", "get_codec"]

# A decoder gets all octets, and the offset and number of those of the option, which are known to be there.
Leaf = Callable[[bytes, int, int], Option]
Encoder = Callable[[Any, int], bytes]

PAD1: Final = options.Pad1()
_BINDING_IDENTIFIER: Final = OptionType.BINDING_IDENTIFIER.value
_ANY_LENGTH: Final = -1

_U16: Final = Struct(">H")
_NONCES: Final = Struct(">HH")
_PREFIX: Final = Struct(">BB16s")
_BID: Final = Struct(">HBB")
_SPI: Final = Struct(">BI")
_WORDS: Final = Struct(">HI")
_WORD_AND_ADDRESS: Final = Struct(">H4s")


# ---- options that look the same in every profile and message -------------------------------------------------------


def _decode_pad_n(data: bytes, at: int, length: int) -> Option:
    return options.PadN(data[at : at + length])


def _decode_refresh_advice(data: bytes, at: int, length: int) -> Option:
    # RFC 6275 section 6.2.4
    return options.BindingRefreshAdvice(_U16.unpack_from(data, at)[0])


def _decode_alternate_care_of(data: bytes, at: int, length: int) -> Option:
    # RFC 6275 section 6.2.5
    return options.AlternateCareOf(IPv6Address(data[at : at + 16]))


def _decode_nonce_indices(data: bytes, at: int, length: int) -> Option:
    # RFC 6275 section 6.2.6
    return options.NonceIndices(*_NONCES.unpack_from(data, at))


def _decode_authorization(data: bytes, at: int, length: int) -> Option:
    # RFC 6275 section 6.2.7; the RFC makes 96 bits; whoever verifies it refuses another length
    return options.BindingAuthorizationData(data[at : at + length])


def _decode_network_prefix(data: bytes, at: int, length: int) -> Option:
    # RFC 3963 section 4.3
    _, prefix_length, prefix = _PREFIX.unpack_from(data, at)
    return options.MobileNetworkPrefix(IPv6Address(prefix), prefix_length)


def _decode_identifier(data: bytes, at: int, length: int) -> Option:
    # RFC 4283 section 3; one that is too short has no meaning, and needs no answer
    if length < 2:
        return options.UnknownOption(OptionType.MOBILE_NODE_IDENTIFIER, data[at : at + length])
    return options.MobileNodeIdentifier(data[at + 1 : at + length], data[at])


def _decode_authentication(data: bytes, at: int, length: int) -> Option:
    # RFC 4285 section 5
    if length < 6:
        return options.UnknownOption(OptionType.MESSAGE_AUTHENTICATION, data[at : at + length])
    subtype, spi = _SPI.unpack_from(data, at)
    return options.MessageAuthentication(spi, data[at + 5 : at + length], subtype)


def _decode_replay(data: bytes, at: int, length: int) -> Option:
    # RFC 4285 section 6
    if length != 8:
        return options.UnknownOption(OptionType.REPLAY_PROTECTION, data[at : at + length])
    return options.ReplayProtection(int.from_bytes(data[at : at + 8]))


def _decode_ipv4_home(data: bytes, at: int, length: int) -> Option:
    # RFC 5555 section 3.1.1: prefix length of 6 bits, P, 9 reserved bits
    word, address = _WORDS.unpack_from(data, at)
    return options.IPv4HomeAddress(IPv4Address(address), word >> 10, bool(word & 0x200))


def _decode_ipv4_ack(data: bytes, at: int, length: int) -> Option:
    # RFC 5555 section 3.2.1: status, prefix length of 6 bits, 2 reserved bits
    word, address = _WORDS.unpack_from(data, at)
    return options.IPv4AddressAcknowledgement(IPv4Address(address), word >> 8, (word & 0xFF) >> 2)


def _decode_nat(data: bytes, at: int, length: int) -> Option:
    # RFC 5555 section 3.2.2: F, 15 reserved bits
    word, seconds = _WORDS.unpack_from(data, at)
    return options.NatDetection(seconds, bool(word & 0x8000))


def _decode_ipv4_care_of(data: bytes, at: int, length: int) -> Option:
    # RFC 5555 section 3.1.2
    _, address = _WORDS.unpack_from(data, at)
    return options.IPv4CareOf(IPv4Address(address))


# Maps a type to its only valid length and its decoder.
_LEAVES: Final[dict[int, tuple[int, Leaf]]] = {
    OptionType.PADN: (_ANY_LENGTH, _decode_pad_n),
    OptionType.BINDING_REFRESH_ADVICE: (2, _decode_refresh_advice),
    OptionType.ALTERNATE_CARE_OF: (16, _decode_alternate_care_of),
    OptionType.NONCE_INDICES: (4, _decode_nonce_indices),
    OptionType.BINDING_AUTHORIZATION_DATA: (_ANY_LENGTH, _decode_authorization),
    OptionType.MOBILE_NETWORK_PREFIX: (18, _decode_network_prefix),
    OptionType.MOBILE_NODE_IDENTIFIER: (_ANY_LENGTH, _decode_identifier),
    OptionType.MESSAGE_AUTHENTICATION: (_ANY_LENGTH, _decode_authentication),
    OptionType.REPLAY_PROTECTION: (_ANY_LENGTH, _decode_replay),
    OptionType.IPV4_HOME_ADDRESS: (6, _decode_ipv4_home),
    OptionType.IPV4_ADDRESS_ACKNOWLEDGEMENT: (6, _decode_ipv4_ack),
    OptionType.NAT_DETECTION: (6, _decode_nat),
    OptionType.IPV4_CARE_OF_ADDRESS: (6, _decode_ipv4_care_of),
}


def _six_bit_prefix(length: int) -> int:
    if length > 63:
        raise EncodeError(f"prefix length {length} does not fit 6 bits")
    return length


_ENCODERS: Final[dict[type, Encoder]] = {
    options.Pad1: lambda o, at: b"\0",
    options.PadN: lambda o, at: tlv(OptionType.PADN, o.data),
    options.BindingRefreshAdvice: lambda o, at: tlv(OptionType.BINDING_REFRESH_ADVICE, _U16.pack(o.interval)),
    options.AlternateCareOf: lambda o, at: tlv(OptionType.ALTERNATE_CARE_OF, octets6(o.address)),
    options.NonceIndices: lambda o, at: tlv(OptionType.NONCE_INDICES, _NONCES.pack(o.home, o.care_of)),
    options.BindingAuthorizationData: lambda o, at: tlv(OptionType.BINDING_AUTHORIZATION_DATA, o.authenticator),
    options.MobileNetworkPrefix: lambda o, at: tlv(
        OptionType.MOBILE_NETWORK_PREFIX, _PREFIX.pack(0, o.prefix_length, octets6(o.prefix))
    ),
    options.IPv4HomeAddress: lambda o, at: tlv(
        OptionType.IPV4_HOME_ADDRESS,
        _WORD_AND_ADDRESS.pack(_six_bit_prefix(o.prefix_length) << 10 | o.request_prefix << 9, octets4(o.address)),
    ),
    options.IPv4AddressAcknowledgement: lambda o, at: tlv(
        OptionType.IPV4_ADDRESS_ACKNOWLEDGEMENT,
        _WORD_AND_ADDRESS.pack(o.status << 8 | _six_bit_prefix(o.prefix_length) << 2, octets4(o.address)),
    ),
    options.NatDetection: lambda o, at: tlv(OptionType.NAT_DETECTION, _WORDS.pack(o.force_udp << 15, o.refresh_time)),
    options.IPv4CareOf: lambda o, at: tlv(
        OptionType.IPV4_CARE_OF_ADDRESS, _WORD_AND_ADDRESS.pack(0, octets4(o.address))
    ),
    options.MobileNodeIdentifier: lambda o, at: tlv(
        OptionType.MOBILE_NODE_IDENTIFIER, bytes((o.subtype,)) + o.identifier
    ),
    options.MessageAuthentication: lambda o, at: tlv(
        OptionType.MESSAGE_AUTHENTICATION, _SPI.pack(o.subtype, o.spi) + o.authenticator
    ),
    options.ReplayProtection: lambda o, at: tlv(OptionType.REPLAY_PROTECTION, o.timestamp.to_bytes(8)),
    options.UnknownOption: lambda o, at: tlv(o.type, o.data),
    options.MalformedOption: lambda o, at: tlv(o.type, o.data),
}


class Codec:
    """The tables of one profile for one kind of message, and the codec in C for its usual forms.

    ``kind`` is the Mobility Header type. Only binding updates and acknowledgements have flow options (R9), and only
    updates have flow summaries; in other messages, options of these types are unknown options.
    """

    def __init__(self, profile: Profile, kind: int) -> None:
        self.profile = profile
        self.priority_in_status: bool = profile.bid_priority_in_status and kind == MessageType.BINDING_UPDATE
        self.leaves: dict[int, tuple[int, Leaf]] = {
            **_LEAVES,
            _BINDING_IDENTIFIER: (_ANY_LENGTH, self._decode_bid),
        }
        self.encoders: dict[type, Encoder] = {**_ENCODERS, options.BindingIdentifier: self._encode_bid}
        # -1 isn't the type of any option
        self.flow_type: int = -1
        if kind in (MessageType.BINDING_UPDATE, MessageType.BINDING_ACKNOWLEDGEMENT):
            flows = FlowCodec(profile, update=kind == MessageType.BINDING_UPDATE)
            self.flow_type = profile.flow_identification
            self.decode_flow: Callable[[bytes, int, int], FlowIdentification | options.UnknownOption] = flows.decode
            self.encoders[FlowIdentification] = flows.encode
            if kind == MessageType.BINDING_UPDATE and profile.flow_summary is not None:
                self.leaves[profile.flow_summary] = (_ANY_LENGTH, decode_flow_summary)
                self.encoders[FlowSummary] = flows.encode_summary
        self.usual: UsualCodec = UsualCodec(profile, self.leaves)

    # ---- a run of mobility options ---------------------------------------------------------------------------------

    def decode_options(self, data: bytes, at: int, end: int) -> Verbatim[Option]:
        """Decode the options in ``data[at:end]`` (RFC 6275 section 6.2.1)."""
        found: list[Option] = []
        leaves = self.leaves
        flow_type = self.flow_type
        while at < end:
            kind = data[at]
            if kind == 0:
                found.append(PAD1)
                at += 1
                continue
            start = at + 2
            if start > end:
                raise DecodeError("2 octets expected, 1 left", at)
            length = data[at + 1]
            # K2: so few octets couldn't hold the fixed part, so that they are units of 8
            if kind == flow_type and 0 < length < 6 and self.profile.accept_len_units:
                length = 8 * length - 2
            at = start + length
            if at > end:
                raise DecodeError(f"{length} octets expected, {end - start} left", start)
            if kind == flow_type:
                found.append(self.decode_flow(data, start, length))
                continue
            leaf = leaves.get(kind)
            if leaf is None:
                found.append(options.UnknownOption(kind, data[start:at]))
                continue
            expected, decode = leaf
            if length != expected != _ANY_LENGTH:
                raise DecodeError(f"option {kind} of {length} octets: {expected} expected", start - 1)
            found.append(decode(data, start, length))
        return Verbatim(found)

    def encode_options(self, values: tuple[Option, ...], start: int) -> bytes:
        """Encode options that begin at octet ``start`` of the Mobility Header; their end is at a multiple of 8.

        Raises EncodeError for an option that this message or profile cannot carry, an authenticator that is not last,
        and `Verbatim` options that do not fill up 8 octets.
        """
        aligned = type(values) is not Verbatim
        parts: list[bytes] = []
        at = start
        encoders = self.encoders
        closed = False
        for value in values:
            kind = type(value)
            if aligned:
                if closed:
                    raise EncodeError(f"{kind.__name__} after the authenticator, which must be last")
                closed = kind is options.BindingAuthorizationData
                modulus, remainder = value.alignment
                gap = (remainder - at) % modulus
                if gap:
                    parts.append(padding(gap))
                    at += gap
            encode = encoders.get(kind)
            if encode is None:
                raise EncodeError(f"profile {self.profile.name!r} has no {kind.__name__} in this message")
            octets = encode(value, at)
            parts.append(octets)
            at += len(octets)
        if at % 8:
            # RFC 6275 section 6.2.7: an authenticator is the last option, and has no padding after it
            if closed or not aligned:
                raise EncodeError(f"the options end at octet {at}, not at a multiple of 8")
            parts.append(padding(-at % 8))
        return b"".join(parts)

    # ---- binding identifier ----------------------------------------------------------------------------------------

    def _decode_bid(self, data: bytes, at: int, length: int) -> Option:
        # RFC 5648 section 4.3, RFC 6089 section 4.1
        if length not in (4, 8, 20):
            reason = f"a binding identifier of {length} octets: 4, 8 or 20 expected"
            return options.MalformedOption(_BINDING_IDENTIFIER, data[at : at + length], reason, at - 1)
        bid, status, flags = _BID.unpack_from(data, at)
        priority = flags & MAX_BID_PRIORITY
        if self.priority_in_status:
            priority, status = status, 0
        if length == 4:
            return options.BindingIdentifier(bid, None, priority, status, flags > MAX_BID_PRIORITY)
        made: options.BindingIdentifier = options.received_bid(
            data[at + 4 : at + length], bid, priority, status, flags > MAX_BID_PRIORITY
        )
        return made

    def _encode_bid(self, value: options.BindingIdentifier, at: int) -> bytes:
        status, priority = value.status, value.priority
        if self.priority_in_status:
            status, priority = priority, 0
        if priority > MAX_BID_PRIORITY:
            raise EncodeError(f"BID priority {priority} does not fit 7 bits")
        care_of = value.packed or b""
        return (
            bytes((_BINDING_IDENTIFIER, 4 + len(care_of)))
            + _BID.pack(value.bid, status, value.home << 7 | priority)
            + care_of
        )


def get_codec(profile: Profile, kind: int) -> Codec:
    """Return the codec of a profile for messages of type ``kind``; the profile keeps it once it is made."""
    codec: Codec | None = profile.codecs.get(kind)
    if codec is None:
        codec = profile.codecs[kind] = Codec(profile, kind)
    return codec
