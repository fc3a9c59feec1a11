"""What all type-length-value encoders share."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from flowclass.errors import EncodeError

__all__ = ["octets4", "octets6", "padding", "tlv"]


def tlv(kind: int, data: bytes) -> bytes:
    """Type, length (without the two), data."""
    # type 0 is the one without a length
    if not 0 < kind < 256:
        raise EncodeError(f"option type {kind}: 1 to 255 expected")
    if len(data) > 255:
        raise EncodeError(f"option {kind} has {len(data)} octets, 255 fit")
    return bytes((kind, len(data))) + data


def padding(count: int, pad_n: int | None = 1) -> bytes:
    """``count`` octets of padding: Pad1 for one, PadN for more (RFC 6275 6.2.2), Pad1 alone where PadN is unknown."""
    if pad_n is None or count == 1:
        return bytes(count)
    return bytes((pad_n, count - 2)) + bytes(count - 2) if count else b""


def octets6(address: IPv6Address) -> bytes:
    """The 16 octets of an IPv6 address; refuses another kind, which would shift all that follows."""
    if not isinstance(address, IPv6Address):
        raise EncodeError(f"{address} where an IPv6 address belongs")
    return address.packed


def octets4(address: IPv4Address) -> bytes:
    """The 4 octets of an IPv4 address; refuses another kind."""
    if not isinstance(address, IPv4Address):
        raise EncodeError(f"{address} where an IPv4 address belongs")
    return address.packed
