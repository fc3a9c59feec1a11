"""Why a packet was not read as IP, in words. A packet that was "not read" may still carry IP.

The numbers are those of enum fc_unread in flowclass.h (``unread`` and ``unread_value`` of `PACKET_DTYPE`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flowclass.late import Late

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
else:
    np = Late("numpy")

__all__ = ["Unread", "add_unread", "unread_of", "unread_words"]

Unread = dict[tuple[int, int], int]
"""Maps (unread, value) to the number of packets."""

_OTHERS = (0, 0)
_MOST = 63  # how many different reasons are kept apart, the first ones, as in FC_TALLY_UNREAD
_CARRIES_NO_IP = {
    0x0806: "ARP", 0x8035: "RARP", 0x88CC: "LLDP", 0x8863: "PPPoE discovery", 0x888E: "802.1X", 0x8809: "LACP",
    0x88E1: "HomePlug", 0x8892: "PROFINET", 0x88F7: "PTP", 0x9000: "loopback", 0x8137: "IPX", 0x809B: "AppleTalk",
}  # fmt: skip


def unread_words(unread: int, value: int) -> str:
    """One reason in words."""
    match unread:
        case 1:
            return f"link type {value} is not read"
        case 2:
            name = _CARRIES_NO_IP.get(value)
            return f"EtherType 0x{value:04x} ({name}) is no IP" if name else f"EtherType 0x{value:04x} is not read"
        case 3:
            return f"PPP protocol 0x{value:04x} is not read"
        case 4:
            return f"LLC service access points 0x{value:04x} are not read"
        case 5:
            return f"SNAP protocol 0x{value:04x} of an organization's own is not read"
        case 6:
            return f"network layer protocol identifier 0x{value:02x} is not read"
        case 7:
            return f"address family {value} is not read"
        case 8:
            return f"where an IP header should begin, the version is {value}"
        case 9:
            return f"a frame of link type {value} that carries no packet"
        case 10:
            return f"encrypted (0x{value:04x})"
        case 11:
            return f"more than {value} layers, which are as many as are followed"
        case 12:
            return "the captured octets end before an IP header"
    return "other reasons"


def add_unread(total: Unread, more: Iterable[tuple[int, int, int]]) -> None:
    """Adds counts (unread, value, packets). Beyond `_MOST` different reasons, further ones are counted together."""
    for unread, value, packets in more:
        key = unread, value
        if key not in total and len(total) - (_OTHERS in total) >= _MOST:
            key = _OTHERS
        total[key] = total.get(key, 0) + packets


def unread_of(infos: npt.NDArray[np.void]) -> list[tuple[int, int, int]]:
    """The counts (unread, value, packets) of an array of `PACKET_DTYPE`, in the order of the first packets."""
    chosen = infos[infos["unread"] != 0]
    if not len(chosen):
        return []
    both = chosen["unread"].astype(np.uint32) << 16 | chosen["unread_value"]
    values, first, counts = np.unique(both, return_index=True, return_counts=True)
    order = np.argsort(first)
    found = zip(values[order].tolist(), counts[order].tolist(), strict=True)
    return [(value >> 16, value & 0xFFFF, packets) for value, packets in found]
