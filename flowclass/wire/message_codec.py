"""Decodes and encodes Mobility Header messages with their checksum (RFC 6275 section 6.1)."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address
from struct import Struct
from struct import error as StructError
from typing import Any, Final

from flowclass.errors import ArgumentError, DecodeError, EncodeError, FlowclassError, ParameterProblem
from flowclass.wire import messages
from flowclass.wire.messages import Message, UnknownMessage
from flowclass.wire.numbers import MAX_MOBILITY_HEADER, MOBILITY_HEADER, MessageType, Protocol, RevocationType
from flowclass.wire.octets import as_bytes
from flowclass.wire.option_codec import Codec, get_codec
from flowclass.wire.profiles import Profile, get_profile
from flowclass.wire.tlv import octets6

__all__ = [
    "checksum_fits",
    "checksum_ok",
    "decode_message",
    "decode_message_at",
    "encode_message",
    "encode_message_between",
]

_NO_NEXT_HEADER: Final = Protocol.NO_NEXT_HEADER.value
_HEADER: Final = Struct(">BBBBH")
_START: Final = Struct(">BBBB")
_CHECKSUM: Final = Struct(">H")
# what follows the checksum, up to the options
_REFRESH_REQUEST: Final = Struct(">H")
_TEST_INIT: Final = Struct(">H8s")
_TEST: Final = Struct(">H8s8s")
_UPDATE: Final = Struct(">HHH")
_ACKNOWLEDGEMENT: Final = Struct(">BBHH")
_ERROR: Final = Struct(">BB16s")
_REVOCATION: Final = Struct(">BBHH")


# Each decoder gets the octets, and the offsets at which the fixed part begins and the message ends. The fixed part is
# known to be complete.


def _decode_refresh_request(data: bytes, at: int, end: int, codec: Codec, checksum: int) -> Message:
    # RFC 6275 6.1.2
    return messages.BindingRefreshRequest(codec.decode_options(data, at + 2, end), checksum)


def _decode_home_test_init(data: bytes, at: int, end: int, codec: Codec, checksum: int) -> Message:
    # RFC 6275 6.1.3
    _, cookie = _TEST_INIT.unpack_from(data, at)
    return messages.HomeTestInit(cookie, codec.decode_options(data, at + 10, end), checksum)


def _decode_care_of_test_init(data: bytes, at: int, end: int, codec: Codec, checksum: int) -> Message:
    # RFC 6275 6.1.4
    _, cookie = _TEST_INIT.unpack_from(data, at)
    return messages.CareOfTestInit(cookie, codec.decode_options(data, at + 10, end), checksum)


def _decode_home_test(data: bytes, at: int, end: int, codec: Codec, checksum: int) -> Message:
    # RFC 6275 6.1.5
    nonce, cookie, token = _TEST.unpack_from(data, at)
    return messages.HomeTest(nonce, cookie, token, codec.decode_options(data, at + 18, end), checksum)


def _decode_care_of_test(data: bytes, at: int, end: int, codec: Codec, checksum: int) -> Message:
    # RFC 6275 6.1.6
    nonce, cookie, token = _TEST.unpack_from(data, at)
    return messages.CareOfTest(nonce, cookie, token, codec.decode_options(data, at + 18, end), checksum)


def _decode_update(data: bytes, at: int, end: int, codec: Codec, checksum: int) -> Message:
    # RFC 6275 6.1.7
    sequence, flags, lifetime = _UPDATE.unpack_from(data, at)
    return messages.BindingUpdate(sequence, lifetime, flags, codec.decode_options(data, at + 6, end), checksum)


def _decode_acknowledgement(data: bytes, at: int, end: int, codec: Codec, checksum: int) -> Message:
    # RFC 6275 6.1.8
    status, flags, sequence, lifetime = _ACKNOWLEDGEMENT.unpack_from(data, at)
    options = codec.decode_options(data, at + 6, end)
    return messages.BindingAcknowledgement(status, sequence, lifetime, flags, options, checksum)


def _decode_error(data: bytes, at: int, end: int, codec: Codec, checksum: int) -> Message:
    # RFC 6275 6.1.9
    status, _, home = _ERROR.unpack_from(data, at)
    return messages.BindingError(status, IPv6Address(home), codec.decode_options(data, at + 18, end), checksum)


def _decode_revocation(data: bytes, at: int, end: int, codec: Codec, checksum: int) -> Message:
    # RFC 5846 5
    kind, what, sequence, flags = _REVOCATION.unpack_from(data, at)
    if kind == RevocationType.INDICATION:
        options = codec.decode_options(data, at + 6, end)
        return messages.BindingRevocationIndication(sequence, what, flags, options, checksum)
    if kind == RevocationType.ACKNOWLEDGEMENT:
        options = codec.decode_options(data, at + 6, end)
        return messages.BindingRevocationAcknowledgement(sequence, what, flags, options, checksum)
    return UnknownMessage(MessageType.BINDING_REVOCATION.value, data[at:end], checksum)


# For each type its decoder, and the smallest length, by which a Header Len that is too small is found (RFC 6275
# section 9.2).
_DECODERS: Final[dict[int, tuple[Callable[[bytes, int, int, Codec, int], Message], int]]] = {
    MessageType.BINDING_REFRESH_REQUEST: (_decode_refresh_request, 8),
    MessageType.HOME_TEST_INIT: (_decode_home_test_init, 16),
    MessageType.CARE_OF_TEST_INIT: (_decode_care_of_test_init, 16),
    MessageType.HOME_TEST: (_decode_home_test, 24),
    MessageType.CARE_OF_TEST: (_decode_care_of_test, 24),
    MessageType.BINDING_UPDATE: (_decode_update, 16),
    MessageType.BINDING_ACKNOWLEDGEMENT: (_decode_acknowledgement, 16),
    MessageType.BINDING_ERROR: (_decode_error, 24),
    MessageType.BINDING_REVOCATION: (_decode_revocation, 16),
}

_ENCODERS: Final[dict[type, Callable[[Any], bytes]]] = {
    messages.BindingRefreshRequest: lambda m: b"\0\0",
    messages.HomeTestInit: lambda m: _TEST_INIT.pack(0, _eight(m.cookie)),
    messages.CareOfTestInit: lambda m: _TEST_INIT.pack(0, _eight(m.cookie)),
    messages.HomeTest: lambda m: _TEST.pack(m.nonce_index, _eight(m.cookie), _eight(m.token)),
    messages.CareOfTest: lambda m: _TEST.pack(m.nonce_index, _eight(m.cookie), _eight(m.token)),
    messages.BindingUpdate: lambda m: _UPDATE.pack(m.sequence, m.flags, m.lifetime),
    messages.BindingAcknowledgement: lambda m: _ACKNOWLEDGEMENT.pack(m.status, m.flags, m.sequence, m.lifetime),
    messages.BindingError: lambda m: _ERROR.pack(m.status, 0, octets6(m.home_address)),
    messages.BindingRevocationIndication: lambda m: _REVOCATION.pack(
        RevocationType.INDICATION, m.trigger, m.sequence, m.flags
    ),
    messages.BindingRevocationAcknowledgement: lambda m: _REVOCATION.pack(
        RevocationType.ACKNOWLEDGEMENT, m.status, m.sequence, m.flags
    ),
}


def _eight(octets: bytes) -> bytes:
    if len(octets) != 8:
        raise EncodeError(f"a cookie or token of {len(octets)} octets: 8 expected")
    return octets


def decode_message(data: bytes | bytearray | memoryview, profile: str | Profile = "draft") -> Message:
    """Decode a whole Mobility Header; ``data`` begins with its Payload Proto octet.

    The checksum is stored but not verified, which needs the addresses of the packet (`decode_packet`, `checksum_ok`).
    Raises DecodeError; its subclass ParameterProblem is for a Payload Proto other than 59 and a Header Len that is too
    small for the type. A fault inside a flow identification option, and a binding identifier of a wrong length, don't
    raise it: they are returned as `MalformedSubOption` and `MalformedOption`.
    """
    octets = as_bytes(data)
    message = decode_message_at(octets, 0, len(octets), get_profile(profile))
    size = 8 * octets[1] + 8
    if size != len(octets):
        raise DecodeError(f"{len(octets) - size} octets after the Mobility Header", size)
    return message


def decode_message_at(data: bytes, start: int, end: int, profile: Profile) -> Message:
    """Decode the Mobility Header that begins at ``start``; octets after it, up to ``end``, are ignored."""
    if end - start < 6:
        raise DecodeError(f"6 octets expected, {end - start} left", start)
    proto, length, kind, _, checksum = _HEADER.unpack_from(data, start)
    if proto != _NO_NEXT_HEADER:
        raise ParameterProblem(f"Payload Proto is {proto}: {_NO_NEXT_HEADER} expected", start)
    size = 8 * length + 8
    if start + size > end:
        raise DecodeError(f"Header Len {length} means {size} octets, {end - start} are there", start + 1)
    known = _DECODERS.get(kind)
    if known is None:
        return UnknownMessage(kind, data[start + 6 : start + size], checksum)
    decode, smallest = known
    if size < smallest:
        raise ParameterProblem(f"Header Len {length} is too small for message type {kind}", start + 1)
    return decode(data, start + 6, start + size, get_codec(profile, kind), checksum)


def encode_message(
    message: Message,
    *,
    source: IPv6Address | None = None,
    destination: IPv6Address | None = None,
    profile: str | Profile = "draft",
) -> bytes:
    """Return the octets of a whole Mobility Header, a multiple of 8.

    ``source`` and ``destination`` are those of the pseudo-header: the address in the Home Address option, if there is
    one, and the home address in a type 2 routing header (RFC 6275 section 6.1.1). Without them, the ``checksum`` of the
    message itself is written. Options are laid out as `Verbatim` says. Raises EncodeError for what has no encoding.
    """
    if (source is None) != (destination is None):
        raise EncodeError("the checksum takes both addresses")
    return encode_message_between(
        message,
        None if source is None else octets6(source),
        None if destination is None else octets6(destination),
        get_profile(profile),
    )


def encode_message_between(
    message: Message, source: bytes | None, destination: bytes | None, profile: Profile
) -> bytes:
    """Do what `encode_message` does, with packed addresses."""
    if type(message) not in _ENCODERS and type(message) is not UnknownMessage:
        raise ArgumentError("message", "a Mobility Header message", message)
    try:
        return _encode(message, source, destination, profile)
    except FlowclassError:
        raise
    except (StructError, TypeError, ValueError, AttributeError) as error:
        # a field that holds what no field of that kind can hold
        raise EncodeError(f"{type(message).__name__}: {error}") from None


def _encode(message: Message, source: bytes | None, destination: bytes | None, profile: Profile) -> bytes:
    if isinstance(message, UnknownMessage):
        body = message.data
        if len(body) % 8 != 2:
            raise EncodeError(f"{len(body)} octets after the checksum: a multiple of 8, and 2, expected")
    else:
        fixed = _ENCODERS[type(message)](message)
        body = fixed + get_codec(profile, message.type).encode_options(message.options, 6 + len(fixed))
    length = len(body) // 8
    if length > 255:
        raise EncodeError(f"a message of {len(body) + 6} octets: {MAX_MOBILITY_HEADER} fit")
    header = _START.pack(_NO_NEXT_HEADER, length, message.type, 0)
    checksum = message.checksum
    if source is not None and destination is not None:
        checksum = -_sum(header + b"\0\0" + body, source, destination) % 0xFFFF
    return header + _CHECKSUM.pack(checksum) + body


def _sum(message: bytes, source: bytes, destination: bytes) -> int:
    """Return the sum of a message and its pseudo-header (RFC 8200 section 8.1), which the caller takes modulo 65535.

    Modulo 65535, 2**16 is 1. Therefore a big-endian number that consists of whole 16-bit words equals the one's
    complement sum of its words, so that one division replaces a loop.
    """
    return int.from_bytes(source + destination + message) + len(message) + MOBILITY_HEADER


def checksum_fits(message: bytes, source: bytes, destination: bytes) -> bool:
    """Do what `checksum_ok` does, with packed addresses."""
    return _sum(message, source, destination) % 0xFFFF == 0


def checksum_ok(message: bytes, source: IPv6Address, destination: IPv6Address) -> bool:
    """Whether the checksum of a Mobility Header is right; the addresses are those of `encode_message`."""
    return checksum_fits(message, octets6(source), octets6(destination))
