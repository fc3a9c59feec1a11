"""Functions shared by the encoders of type-length-value (TLV) options: header, padding and addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from flowclass.errors import EncodeError

__all__ = ["octets4", "octets6", "padding", "tlv"]


def tlv(kind: int, data: bytes) -> bytes:
    """Encode one option: an octet with its type, an octet with the length of its data, and the data.

    The length doesn't count the type and length octets themselves (RFC 6275 section 6.2.1). EncodeError is raised for
    a type outside 1 to 255 and for more than 255 octets of data.
    """
    # Type 0 is Pad1, a single octet without length and data (RFC 6275 section 6.2.2)
    if not 0 < kind < 256:
        raise EncodeError(f"option type {kind}: 1 to 255 expected")
    if len(data) > 255:
        raise EncodeError(f"option {kind} has {len(data)} octets, 255 fit")
    return bytes((kind, len(data))) + data


def padding(count: int, pad_n: int | None = 1) -> bytes:
    """Return ``count`` octets of padding: one Pad1 option for one octet, otherwise a PadN option.

    Both are defined in RFC 6275, sections 6.2.2 and 6.2.3. ``pad_n`` is the type number of PadN; None means that the
    receiver has no PadN, so that all padding consists of Pad1 options.
    """
    if pad_n is None or count == 1:
        return bytes(count)
    return bytes((pad_n, count - 2)) + bytes(count - 2) if count else b""


def octets6(address: IPv6Address) -> bytes:
    """Return the 16 octets of an IPv6 address.

    Any other kind of address raises EncodeError, because its length would shift all fields that follow it.
    """
    if not isinstance(address, IPv6Address):
        raise EncodeError(f"{address} where an IPv6 address belongs")
    return address.packed


def octets4(address: IPv4Address) -> bytes:
    """Return the 4 octets of an IPv4 address; any other kind of address raises EncodeError."""
    if not isinstance(address, IPv4Address):
        raise EncodeError(f"{address} where an IPv4 address belongs")
    return address.packed
