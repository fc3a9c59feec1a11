"""Where the IP header of a frame begins, and the one inside a tunnel: slow, plain and written from the standards alone.

`outermost(linktype, frame)` and `inside(protocol, octets)` give an offset, or None. Both are compared with the
engine's, which goes through the same layers in another way. Each layer is a function of the octets and of where it
begins; it says where the IP header begins, or raises `NoIP`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

__all__ = ["inside", "outermost"]

Layer = Callable[[bytes, int], int]


class NoIP(Exception):
    """There is no IP header, or none that this layer knows of."""


def need(octets: bytes, at: int, count: int) -> bytes:
    found = octets[at : at + count]
    if len(found) < count:
        raise NoIP
    return found


def number(octets: bytes, at: int, count: int) -> int:
    return int.from_bytes(need(octets, at, count), "big")


def little(octets: bytes, at: int, count: int) -> int:
    return int.from_bytes(need(octets, at, count), "little")


def check(condition: object) -> None:
    if not condition:
        raise NoIP


def ip(octets: bytes, at: int) -> int:
    check(at <= len(octets))
    return at


# ---- Ethernet and what an EtherType names ------------------------------------------------------------------

TAGS: Final = {  # EtherType -> octets up to the next EtherType
    0x8100: 2,
    0x88A8: 2,
    0x9100: 2,
    0x9200: 2,
    0x9300: 2,
    0x8926: 4,  # VN-Tag
    0x892F: 4,  # HSR
    0x893F: 6,  # 802.1BR E-Tag
    0xDADA: 6,  # EDSA
}


def ethernet(octets: bytes, at: int) -> int:
    kind = number(octets, at + 12, 2)
    first = need(octets, at, 5)
    if kind < 0x600 and first in (b"\x01\x00\x0c\x00\x00", b"\x03\x00\x0c\x00\x00"):
        return ethernet(octets, at + 26)  # ISL
    return ethertype(octets, at + 14, kind)


def ethertype(octets: bytes, at: int, kind: int) -> int:
    if kind in (0x0800, 0x86DD):
        return ip(octets, at)
    if kind in TAGS:
        return ethertype(octets, at + TAGS[kind] + 2, number(octets, at + TAGS[kind], 2))
    if kind < 0x600:
        return llc(octets, at)
    check(kind in SHIMS)
    return SHIMS[kind](octets, at)


def cisco_metadata(octets: bytes, at: int) -> int:
    size = 2 + 4 * need(octets, at, 2)[1]
    return ethertype(octets, at + size + 2, number(octets, at + size, 2))


def arista(octets: bytes, at: int) -> int:
    sizes = {0x10: 8, 0x20: 6}
    version = number(octets, at + 2, 2)
    check(version in sizes)
    return ethertype(octets, at + 4 + sizes[version] + 2, number(octets, at + 4 + sizes[version], 2))


def macsec(octets: bytes, at: int) -> int:
    control = need(octets, at, 6)[0]
    check(not control & 0x0C)  # encrypted or changed
    size = 14 if control & 0x20 else 6
    return ethertype(octets, at + size + 2, number(octets, at + size, 2))


def trill(octets: bytes, at: int) -> int:
    word = number(octets, at, 2)
    need(octets, at, 6)
    check(word >> 14 == 0)
    return ethernet(octets, at + 6 + 4 * (word >> 6 & 31))


def nsh(octets: bytes, at: int) -> int:
    head = need(octets, at, 8)
    size = 4 * (head[1] & 63)
    check(head[0] >> 6 == 0 and size >= 8)
    need(octets, at, size)
    following: dict[int, Layer] = {1: ip, 2: ip, 3: ethernet, 4: nsh, 5: mpls}
    check(head[3] in following)
    return following[head[3]](octets, at + size)


def pppoe(octets: bytes, at: int) -> int:
    check(need(octets, at, 6)[:2] == b"\x11\x00")
    return ppp(octets, at + 6)


def ppp(octets: bytes, at: int) -> int:
    if octets[at : at + 2] == b"\xff\x03":
        at += 2
    size = 1 if need(octets, at, 1)[0] & 1 else 2
    known: dict[int, Layer] = {0x21: ip, 0x57: ip, 0x281: mpls, 0x283: mpls}
    protocol = number(octets, at, size)
    check(protocol in known)
    return known[protocol](octets, at + size)


def llc(octets: bytes, at: int) -> int:
    head = need(octets, at, 3)
    if head == b"\x06\x06\x03":
        return ip(octets, at + 3)
    if head == b"\xfe\xfe\x03":
        check(need(octets, at + 3, 1) in (b"\xcc", b"\x8e"))
        return ip(octets, at + 4)
    check(head == b"\xaa\xaa\x03")
    organization, kind = need(octets, at + 3, 3), number(octets, at + 6, 2)
    if organization == b"\x00\x80\xc2" and kind in (1, 7):
        return ethernet(octets, at + 10)
    check(organization in (b"\0\0\0", b"\x00\x00\xf8") and kind >= 0x600)
    return ethertype(octets, at + 8, kind)


def mpls(octets: bytes, at: int) -> int:
    while not number(octets, at, 4) & 0x100:
        at += 4
    at += 4
    check(at < len(octets))
    if octets[at] >> 4 == 0 and seems_ethernet(octets, at + 4):
        return ethernet(octets, at + 4)
    return ip_or_ethernet(octets, at)


def ip_or_ethernet(octets: bytes, at: int) -> int:
    check(at < len(octets))
    if octets[at] >> 4 in (4, 6) and not (seems_ethernet(octets, at) and not surely_ip(octets[at:])):
        return at
    check(seems_ethernet(octets, at))
    return ethernet(octets, at)


def seems_ethernet(octets: bytes, at: int) -> bool:
    if len(octets) - at < 15:
        return False
    kind, first = int.from_bytes(octets[at + 12 : at + 14], "big"), octets[at + 14]
    if kind == 0x0800:
        return 0x45 <= first <= 0x4F
    if kind == 0x86DD:
        return first >> 4 == 6
    if kind < 0x600:
        return octets[at + 14 : at + 17] == b"\xaa\xaa\x03"
    return kind == 0x0806 or kind in TAGS or kind in SHIMS


def surely_ip(packet: bytes) -> bool:
    """An IPv4 header with a right checksum; an IPv6 packet as long as it says, but for padding."""
    if packet[0] >> 4 == 4:
        header = packet[: 4 * (packet[0] & 15)]
        if len(header) < 20 or len(header) < 4 * (packet[0] & 15):
            return False
        total = sum(int.from_bytes(header[i : i + 2], "big") for i in range(0, len(header), 2))
        return total > 0 and total % 0xFFFF == 0
    return len(packet) >= 40 and 0 <= len(packet) - 40 - int.from_bytes(packet[4:6], "big") < 46


SHIMS: Final[dict[int, Layer]] = {
    0x8909: cisco_metadata,
    0xD28B: arista,
    0x88E5: macsec,
    0x88E7: lambda octets, at: ethernet(octets, at + 4),  # provider backbone bridges: I-TAG
    0x8903: lambda octets, at: ethernet(octets, at + 2),  # FabricPath
    0x22F3: trill,
    0x894F: nsh,
    0x8847: mpls,
    0x8848: mpls,
    0x8864: pppoe,
    0x880B: ppp,
}

# ---- IEEE 802.11 -------------------------------------------------------------------------------------------


def wlan(octets: bytes, at: int, padded: bool = False, swapped: bool = False) -> int:
    head = need(octets, at, 24)
    first, second = (head[1], head[0]) if swapped else (head[0], head[1])
    check(first & 0x0F == 8 and not first & 0x40 and not second & 0x40 and not head[22] & 15)
    size = 30 if second & 3 == 3 else 24
    aggregated = False
    if first & 0x80:
        aggregated = bool(need(octets, at + size, 2)[0] & 0x80)
        size += 6 if second & 0x80 else 2
    if padded:
        size += -size % 4
    return llc(octets, at + size + (14 if aggregated else 0))


def radiotap(octets: bytes, at: int) -> int:
    head = need(octets, at, 8)
    length = int.from_bytes(head[2:4], "little")
    check(head[0] == 0 and length >= 8)
    header = need(octets, at, length)
    words = [header[i : i + 4] for i in range(4, length - 3, 4)]
    bitmaps = 1
    while words[bitmaps - 1][3] & 0x80:
        check(bitmaps < len(words))
        bitmaps += 1
    fields = 4 + 4 * bitmaps
    if words[0][0] & 1:
        fields += -fields % 8 + 8
    padded = bool(words[0][0] & 2 and fields < length and header[fields] & 0x20)
    return wlan(octets, at + length, padded)


def prism_or_avs(octets: bytes, at: int) -> int:
    need(octets, at, 8)
    length = number(octets, at + 4, 4)
    if number(octets, at, 4) >> 12 != 0x80211 and little(octets, at + 4, 4) < 65536:
        length = little(octets, at + 4, 4)
    check(length >= 8)
    return wlan(octets, at + length)


# ---- link types --------------------------------------------------------------------------------------------

BSD_FAMILIES: Final = {2, 10, 23, 24, 28, 30}


def cisco_hdlc(octets: bytes, at: int) -> int:
    check(need(octets, at, 1)[0] in (0x0F, 0x8F))
    return ethertype(octets, at + 4, number(octets, at + 2, 2))


def ppp_or_hdlc(octets: bytes, at: int) -> int:
    return cisco_hdlc(octets, at) if octets[at : at + 1] in (b"\x0f", b"\x8f") else ppp(octets, at)


def frame_relay(octets: bytes, at: int) -> int:
    size = 1
    while not need(octets, at, size)[-1] & 1:
        size += 1
    check(2 <= size <= 4)
    at += size
    head = need(octets, at, 2)
    if head[0] != 3:
        return ethertype(octets, at + 2, number(octets, at, 2))
    at += 1 if head[1] else 2
    nlpid = need(octets, at, 1)[0]
    if nlpid in (0xCC, 0x8E):
        return ip(octets, at + 1)
    check(nlpid == 0x80)
    organization, kind = need(octets, at + 1, 3), number(octets, at + 4, 2)
    if organization == b"\x00\x80\xc2" and kind in (1, 7):
        return ethernet(octets, at + 6)
    check(organization == b"\0\0\0")
    return ethertype(octets, at + 6, kind)


def null(octets: bytes, at: int) -> int:
    families = {little(octets, at, 4)} if little(octets, at, 4) < 65536 else {number(octets, at, 4)}
    if families & BSD_FAMILIES:
        return ip(octets, at + 4)
    if octets[at : at + 2] == b"\xff\x03":
        return ppp(octets, at)
    kind = min(families) if min(families) < 65536 else number(octets, at + 2, 2)
    check(kind >= 0x600)
    return ethertype(octets, at + 4, kind)


def cooked(octets: bytes, size: int, hardware: int, protocol: int) -> int:
    need(octets, 0, size)
    if protocol >= 0x600:
        return ethertype(octets, size, protocol)
    monitors: dict[int, Layer] = {801: wlan, 802: prism_or_avs, 803: radiotap}
    if hardware in monitors:
        return monitors[hardware](octets, size)
    check(protocol == 4)
    return llc(octets, size)


def token_ring(octets: bytes, at: int) -> int:
    head = need(octets, at, 14)
    check(head[1] >> 6 == 1)
    size = 14
    if head[8] & 0x80:
        route = need(octets, at + 14, 2)[0] & 31
        check(route >= 2)
        size += route
    return llc(octets, at + size)


def sunatm(octets: bytes, at: int) -> int:
    kind = need(octets, at, 4)[0] & 15
    check(kind in (1, 2))
    return ethernet(octets, at + 6) if kind == 1 else llc(octets, at + 4)


def docsis(octets: bytes, at: int) -> int:
    head = need(octets, at, 6)
    check(head[0] >> 6 == 0)
    return ethernet(octets, at + 6 + (head[1] if head[0] & 1 else 0))


def juniper(inside_it: Layer) -> Layer:
    def read(octets: bytes, at: int) -> int:
        head = need(octets, at, 4)
        check(head[:3] == b"MGC")
        at += 4
        if head[3] & 0x80:
            at += 2 + number(octets, at, 2)
        return ip(octets, at) if head[3] & 2 else inside_it(octets, at)

    return read


def pflog(octets: bytes, at: int) -> int:
    size, family = need(octets, at, 2)
    check(size and family in BSD_FAMILIES)
    return ip(octets, at + size + -size % 4)


def nflog(octets: bytes, at: int) -> int:
    family = need(octets, at, 4)[0]
    at, protocol = at + 4, 0
    while True:
        head = need(octets, at, 4)
        check(0 in head[2:])
        order: Literal["little", "big"] = "little" if head[3] == 0 else "big"
        size, kind = (int.from_bytes(head[i : i + 2], order) for i in (0, 2))
        check(size >= 4)
        if kind == 9:
            break
        if kind == 1 and size >= 6:
            protocol = number(octets, at + 4, 2)
        at += size + -size % 4
    at += 4
    if family in (2, 10):
        return ip(octets, at)
    check(family == 7 and protocol >= 0x600)
    return ethertype(octets, at, protocol)


def ipnet(octets: bytes, at: int) -> int:
    check(need(octets, at, 24)[1] in (2, 26))
    return at + 24


def erf(octets: bytes, at: int) -> int:
    kind = need(octets, at, 16)[8]
    at, more = at + 16, kind & 0x80
    while more:
        more = need(octets, at, 8)[0] & 0x80
        at += 8
    layers: dict[int, Layer] = {22: ip, 23: ip}
    layers |= dict.fromkeys((2, 11, 16, 20), lambda o, a: ethernet(o, a + 2))
    layers |= dict.fromkeys((1, 10, 15, 19), ppp_or_hdlc)
    layers |= dict.fromkeys((5, 17), lambda o, a: ppp_or_hdlc(o, a + 4))
    check(kind & 0x7F in layers)
    return layers[kind & 0x7F](octets, at)


def mpacket(octets: bytes, at: int) -> int:
    check(need(octets, at, 8)[7] in (0xD5, 0xE6, 0x4C, 0x7F, 0xB3))
    return ethernet(octets, at + 8)


def pppd(octets: bytes, at: int) -> int:
    check(need(octets, at, 2) in (b"\x00\x03", b"\x01\x03"))
    return ppp(octets, at + 2)


def tag_of_a_switch(octets: bytes, at: int) -> int:
    return ethertype(octets, at + 18, number(octets, at + 16, 2))


def fddi(octets: bytes, at: int) -> int:
    check(need(octets, at, 13)[0] >> 4 == 5)
    return llc(octets, at + 13)


def behind(count: int, layer: Layer) -> Layer:
    return lambda octets, at: layer(octets, at + count)


LINK_TYPES: Final[dict[int, Layer]] = {
    0: null,
    1: ethernet,
    6: token_ring,
    8: behind(16, ip),  # SLIP
    9: ppp_or_hdlc,
    10: fddi,
    12: ip,
    14: ip,
    50: ppp_or_hdlc,
    51: pppoe,
    100: llc,
    101: ip,
    104: cisco_hdlc,
    105: wlan,
    107: frame_relay,
    108: null,
    109: behind(12, ip),  # ENC
    113: lambda o, a: cooked(o, 16, number(o, 2, 2), number(o, 14, 2)),
    117: pflog,
    119: prism_or_avs,
    122: behind(16, llc),  # IP over Fibre Channel
    123: sunatm,
    127: radiotap,
    138: lambda o, a: ethertype(o, a + 18, number(o, a + 16, 2)),
    143: docsis,
    163: prism_or_avs,
    166: pppd,
    178: juniper(ethernet),
    179: juniper(ppp),
    180: juniper(frame_relay),
    181: juniper(cisco_hdlc),
    197: erf,
    204: behind(1, ppp),
    205: behind(1, cisco_hdlc),
    206: behind(1, frame_relay),
    219: mpls,
    226: ipnet,
    228: ip,
    229: ip,
    239: nflog,
    240: behind(4, ethernet),
    241: behind(12, ethernet),
    242: lambda o, a: ethertype(o, a + len(need(o, a, 44)), number(o, a + 40, 2)),
    274: mpacket,
    276: lambda o, a: cooked(o, 20, number(o, 8, 2), number(o, 0, 2)),
    281: tag_of_a_switch,
    282: behind(4, ethernet),
    284: tag_of_a_switch,
    285: ethernet,
}


def outermost(linktype: int, frame: bytes) -> int | None:
    """Where the IP header begins: at most ``len(frame)``, where nothing of it is left."""
    try:
        at = 0
        if linktype == 192:
            length, linktype = little(frame, 2, 2), little(frame, 4, 4)
            need(frame, 0, 8)
            check(length >= 8)
            at = len(need(frame, 0, length))
        elif linktype == 258:
            length, linktype = little(frame, 0, 4), little(frame, 8, 4)
            check(length >= 12)
            at = len(need(frame, 0, length))
        check(linktype in LINK_TYPES)
        found = LINK_TYPES[linktype](frame[at:], 0)
        check(found <= len(frame) - at)
        return at + found
    except NoIP:
        return None


# ---- tunnels -----------------------------------------------------------------------------------------------


def gre(octets: bytes, at: int) -> int:
    flags, kind = number(octets, at, 2), number(octets, at + 2, 2)
    at += 4
    check(flags & 7 <= 1)
    at += 4 * bool(flags & 0xC000) + 4 * bool(flags & 0x2000) + 4 * bool(flags & 0x1000)
    at += 4 if flags & 7 == 1 and flags & 0x80 else 0
    need(octets, 0, at)
    if flags & 0x4000:
        while entry := need(octets, at, 4):
            at += 4 + entry[3]
            need(octets, 0, at)
            if entry[:2] == b"\0\0" and not entry[3]:
                break
    if kind == 0x6558:
        return ethernet(octets, at)
    if kind in (0x88BE, 0x22EB):
        return erspan(octets, at) if flags & 0x1000 else ethernet(octets, at)
    if kind == 0x883E:
        return ip(octets, at if octets[at : at + 1] and octets[at] >> 4 == 4 else at + 4)
    if 0x8200 <= kind <= 0x8370 and kind % 16 == 0:
        return wlan(octets, at)
    check(kind >= 0x600)
    return ethertype(octets, at, kind)


def erspan(octets: bytes, at: int) -> int:
    version = need(octets, at, 8)[0] >> 4
    if version == 1:
        return ethernet(octets, at + 8)
    check(version == 2)
    word = number(octets, at + 10, 2)
    at += 20 if word & 1 else 12
    need(octets, 0, at)
    kinds: dict[int, Layer] = {0: ethernet, 2: ip}
    check(word >> 10 & 31 in kinds)
    return kinds[word >> 10 & 31](octets, at)


def etherip(octets: bytes, at: int) -> int:
    check(number(octets, at, 2) == 0x3000)
    return ethernet(octets, at + 2)


def l2tp_session(octets: bytes, at: int) -> int:
    check(number(octets, at, 4))
    for more in (0, 4, 8, 12):
        if seems_ethernet(octets, at + 4 + more):
            return ethernet(octets, at + 4 + more)
    raise NoIP


def l2tp(octets: bytes, at: int) -> int:
    flags = number(octets, at, 2)
    check(not flags & 0x8000 and flags & 15 in (2, 3))
    if flags & 15 == 3:
        return l2tp_session(octets, at + 4)
    at += 6 + 2 * bool(flags & 0x4000) + 4 * bool(flags & 0x0800)
    if flags & 0x0200:
        at += 2 + number(octets, at, 2)
    check(at <= len(octets))
    return ppp(octets, at)


def gtp_u(octets: bytes, at: int) -> int:
    head = need(octets, at, 8)
    check(head[0] >> 4 == 3 and head[1] == 255)
    at += 8
    if head[0] & 7:
        following = need(octets, at, 4)[3] if head[0] & 4 else 0
        at += 4
        while following:
            size = 4 * need(octets, at, 1)[0]
            check(size)
            following = need(octets, at, size)[-1]
            at += size
    return ip_or_ethernet(octets, at)


def vxlan(octets: bytes, at: int, generic: bool = False) -> int:
    head = need(octets, at, 8)
    if head[0] & 4 and not head[0] & 0x30:
        following: dict[int, Layer] = {1: ip, 2: ip, 3: ethernet, 4: nsh, 5: mpls}
        check(head[3] in following)
        return following[head[3]](octets, at + 8)
    check(head[0] & 8 and not generic)
    return ethernet(octets, at + 8)


def geneve(octets: bytes, at: int) -> int:
    head = need(octets, at, 8)
    check(head[0] >> 6 == 0)
    kind, at = number(octets, at + 2, 2), at + 8 + 4 * (head[0] & 63)
    need(octets, 0, at)
    return ethernet(octets, at) if kind == 0x6558 else ethertype(octets, at, kind)


def teredo(octets: bytes, at: int) -> int:
    if octets[at : at + 2] == b"\0\1" and len(octets) - at >= 4:
        at += 13 + octets[at + 2] + octets[at + 3]
        need(octets, 0, at)
    if octets[at : at + 2] == b"\0\0" and len(octets) - at >= 8:
        at += 8
    check(need(octets, at, 1)[0] >> 4 == 6)
    return at


def gue(octets: bytes, at: int) -> int:
    head = need(octets, at, 1)[0]
    if head >> 6 == 1:
        return at
    check(head >> 6 == 0 and not head & 0x20)
    protocol = need(octets, at, 4)[1]
    need(octets, at + 4, 4 * (head & 31))
    return ip_protocol(protocol, octets, at + 4 + 4 * (head & 31))


def tzsp(octets: bytes, at: int) -> int:
    head = need(octets, at, 4)
    check(head[0] == 1 and head[1] in (0, 1))
    at += 4
    while need(octets, at, 1)[0] != 1:
        at += 1 if octets[at] == 0 else 2 + need(octets, at + 1, 1)[0]
    kinds: dict[int, Layer] = {1: ethernet, 0x12: wlan, 0x77: prism_or_avs, 0x7F: prism_or_avs}
    kind = int.from_bytes(head[2:4], "big")
    check(kind in kinds)
    return kinds[kind](octets, at + 1)


def capwap(octets: bytes, at: int) -> int:
    head = need(octets, at, 8)
    size = 4 * (head[1] >> 3)
    check(head[0] == 0 and size >= 8 and not head[3] & 8)
    check(not (head[3] & 0x80 and int.from_bytes(head[6:8], "big") >> 3))
    need(octets, at, size)
    at += size
    if not head[2] & 1 and seems_ethernet(octets, at):
        return ethernet(octets, at)
    control = need(octets, at, 2)
    check(control[0] & 15 == 8 or control[1] & 15 == 8)
    return wlan(octets, at, swapped=control[0] & 15 != 8)


def ayiya(octets: bytes, at: int) -> int:
    head = need(octets, at, 8)
    check(head[2] & 15 == 1)
    at += 8 + (1 << (head[0] >> 4)) + 4 * (head[1] >> 4)
    need(octets, 0, at)
    return ip_protocol(head[3], octets, at)


TO_PORT: Final[dict[int, Layer]] = {
    4341: behind(8, ip),  # LISP
    4754: gre,
    4789: vxlan,
    4790: lambda o, a: vxlan(o, a, generic=True),
    6080: gue,
    6081: geneve,
    6635: mpls,
    8472: vxlan,
    37008: tzsp,
}
EITHER_PORT: Final[dict[int, Layer]] = {1701: l2tp, 2152: gtp_u, 3544: teredo, 5072: ayiya, 5247: capwap}


def udp(octets: bytes, at: int) -> int:
    need(octets, at, 8)
    source, destination = number(octets, at, 2), number(octets, at + 2, 2)
    layer = TO_PORT.get(destination) or EITHER_PORT.get(source) or EITHER_PORT.get(destination)
    check(layer)
    assert layer is not None
    return layer(octets, at + 8)


def ip_protocol(protocol: int, octets: bytes, at: int) -> int:
    if protocol in (4, 41):
        check(need(octets, at, 1)[0] >> 4 == (4 if protocol == 4 else 6))
        return at
    tunnels: dict[int, Layer] = {47: gre, 97: etherip, 115: l2tp_session, 137: mpls, 143: ethernet}
    check(protocol in tunnels)
    return tunnels[protocol](octets, at)


def inside(protocol: int, octets: bytes) -> int | None:
    """Where an IP header begins in the payload ``octets`` of an IP packet; less than ``len(octets)``."""
    try:
        at = udp(octets, 0) if protocol == 17 else ip_protocol(protocol, octets, 0)
        return at if at < len(octets) else None
    except NoIP:
        return None
