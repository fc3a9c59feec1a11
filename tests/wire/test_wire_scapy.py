"""scapy as an independent builder: packets made of its classes have the same octets, padding and checksum too."""

from __future__ import annotations

import logging
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from flowclass.wire import (
    DRAFT,
    RFC6089,
    AlternateCareOf,
    BindingAcknowledgement,
    BindingAuthorizationData,
    BindingError,
    BindingIdentifier,
    BindingReference,
    BindingRefreshAdvice,
    BindingRefreshRequest,
    BindingUpdate,
    CareOfTest,
    CareOfTestInit,
    FlowIdentification,
    FlowSummary,
    HomeTest,
    HomeTestInit,
    IPv4AddressAcknowledgement,
    IPv4CareOf,
    IPv4HomeAddress,
    MobileNetworkPrefix,
    MobilityPacket,
    NatDetection,
    NonceIndices,
    TrafficSelector6,
    TrafficSelectorOption,
    encode_packet,
)

logging.getLogger("scapy").setLevel(logging.ERROR)
s: Any = pytest.importorskip("scapy.layers.inet6")

HOME, COA, AGENT = "2001:db8:1::100", "2001:db8:a::100", "2001:db8:1::1"
V4 = IPv4Address("192.0.2.9")
MAC = bytes(range(12))
SSH = TrafficSelector6(source_port=(22, 22), protocol=(6, 6))


def raw(kind: int, octets: str) -> Any:
    data = bytes.fromhex(octets)
    return s.MIP6OptUnknown(otype=kind, olen=len(data), odata=data)


def scapy_packet(header: Any, *, home: str | None, routing: str | None) -> bytes:
    """Built afresh: on dissected packets scapy's checksum takes the wrong source."""
    packet = s.IPv6(src=COA, dst=AGENT, hlim=64)
    if routing:
        packet /= s.IPv6ExtHdrRouting(type=2, addresses=[routing], segleft=1)
    if home:
        packet /= s.IPv6ExtHdrDestOpt(options=[s.HAO(hoa=home)])
    return bytes(packet / header)


@pytest.mark.parametrize(("home", "routing"), [(HOME, None), (None, HOME), (None, None)])
@pytest.mark.parametrize(
    ("message", "make"),
    [
        (BindingRefreshRequest(), lambda: s.MIP6MH_BRR()),
        (HomeTestInit(b"cookie-1"), lambda: s.MIP6MH_HoTI(cookie=b"cookie-1")),
        (CareOfTestInit(b"cookie-1"), lambda: s.MIP6MH_CoTI(cookie=b"cookie-1")),
        (HomeTest(7, b"cookie-1", b"token--1"), lambda: s.MIP6MH_HoT(index=7, cookie=b"cookie-1", token=b"token--1")),
        (CareOfTest(7, b"cookie-1", b"token--1"), lambda: s.MIP6MH_CoT(index=7, cookie=b"cookie-1", token=b"token--1")),
        (BindingUpdate(9, 150, 0xC000), lambda: s.MIP6MH_BU(seq=9, mhtime=150, flags="HA")),
        (
            BindingUpdate(
                9, 150, 0xC400, (AlternateCareOf(IPv6Address(COA)), MobileNetworkPrefix(IPv6Address(HOME), 64))
            ),
            lambda: s.MIP6MH_BU(
                seq=9, mhtime=150, flags="RHA", options=[s.MIP6OptAltCoA(acoa=COA), s.MIP6OptMobNetPrefix(prefix=HOME)]
            ),
        ),
        (
            BindingUpdate(9, 150, 0x8000, (NonceIndices(1, 2), BindingAuthorizationData(MAC))),
            lambda: s.MIP6MH_BU(
                seq=9,
                mhtime=150,
                flags="A",
                options=[
                    s.MIP6OptNonceIndices(olen=4, hni=1, coni=2),
                    s.MIP6OptBindingAuthData(olen=12, authenticator=int.from_bytes(MAC)),
                ],
            ),
        ),
        (
            BindingAcknowledgement(0, 9, 150, 0, (BindingRefreshAdvice(100),)),
            lambda: s.MIP6MH_BA(seq=9, mhtime=150, flags="", options=[s.MIP6OptBRAdvice(rinter=100)]),
        ),
        (BindingError(2, IPv6Address(HOME)), lambda: s.MIP6MH_BE(status=2, ha=HOME)),
    ],
    ids=lambda v: type(v).__name__,
)
def test_scapy_builds_the_same(message: Any, make: Any, home: str | None, routing: str | None) -> None:
    ours = MobilityPacket(
        IPv6Address(COA),
        IPv6Address(AGENT),
        message,
        home_address=IPv6Address(home) if home else None,
        routing_home=IPv6Address(routing) if routing else None,
    )
    assert encode_packet(ours).hex(" ") == scapy_packet(make(), home=home, routing=routing).hex(" ")


@pytest.mark.req("R12", "R33", "K1", "K2", "K3")
@pytest.mark.parametrize(
    ("profile", "options", "theirs"),
    [
        (
            DRAFT,
            (
                BindingIdentifier(1),
                FlowIdentification(1, 1, suboptions=(BindingReference((1,)),)),
                FlowIdentification(2, 1, pro=15),
            ),
            lambda: [raw(35, "0001 00 00"), raw(18, "01 0001 01 00 00 01 04 0001"), raw(18, "01 0002 01 00 f0")],
        ),
        (
            RFC6089,
            (
                BindingIdentifier(1, priority=10),
                FlowIdentification(1, 1, suboptions=(BindingReference((1,)), TrafficSelectorOption(SSH))),
                FlowSummary((2, 3)),
            ),
            lambda: [
                raw(35, "0001 00 0a"),
                raw(45, "0001 0001 00 00 02 02 0001 03 09 02 00 00820000 0016 06"),
                s.Pad1(),
                raw(44, "0002 0003"),
            ],
        ),
        *(
            (
                profile,
                (
                    BindingIdentifier(1, IPv6Address(COA), home=True),
                    IPv4HomeAddress(V4, 24, True),
                    IPv4AddressAcknowledgement(V4, 131, 30),
                    NatDetection(110, True),
                    IPv4CareOf(V4),
                    BindingIdentifier(2, V4),
                ),
                lambda: [
                    s.PadN(optdata=bytes(4)),
                    raw(35, f"0001 00 80 {IPv6Address(COA).packed.hex()}"),
                    raw(29, "6200 c0000209"),
                    raw(30, "8378 c0000209"),
                    raw(31, "8000 0000006e"),
                    raw(32, "0000 c0000209"),
                    s.PadN(optdata=b""),
                    raw(35, "0002 00 00 c0000209"),
                ],
            )
            for profile in (DRAFT, RFC6089)
        ),
    ],
)
def test_scapy_builds_the_same_options(profile: Any, options: Any, theirs: Any) -> None:
    """Those that scapy has no class for, from octets made by hand: in an update, and in an acknowledgement."""
    message = BindingUpdate(9, 150, 0xC000, options)
    ours = MobilityPacket(IPv6Address(COA), IPv6Address(AGENT), message, home_address=IPv6Address(HOME))
    made = scapy_packet(s.MIP6MH_BU(seq=9, mhtime=150, flags="HA", options=theirs()), home=HOME, routing=None)
    assert encode_packet(ours, profile).hex(" ") == made.hex(" ")
    if any(isinstance(option, FlowSummary) for option in options):
        return  # in updates only
    answer = BindingAcknowledgement(0, 9, 150, 0, options)
    ours = MobilityPacket(IPv6Address(COA), IPv6Address(AGENT), answer, routing_home=IPv6Address(HOME))
    made = scapy_packet(s.MIP6MH_BA(seq=9, mhtime=150, flags="", options=theirs()), home=None, routing=HOME)
    assert encode_packet(ours, profile).hex(" ") == made.hex(" ")
