"""tshark as an independent judge of the encoder: fields, and position, length and octets of every option (PDML)."""

from __future__ import annotations

import struct
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from wire_values import packets

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
    BindingRevocationAcknowledgement,
    BindingRevocationIndication,
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
    PadN,
    Profile,
    TrafficSelector4,
    TrafficSelector6,
    TrafficSelectorOption,
    UnknownMessage,
    decode_packet,
    encode_packet,
)

pytestmark = pytest.mark.needs_tool("tshark")


@dataclass
class Field:
    """One field of PDML: ``pos`` and ``value`` are exact, also where the length that tshark shows is not."""

    name: str
    show: str
    pos: int
    value: str


@dataclass
class Dissection:
    """What tshark finds in one frame: the layer's own fields, and each option with the fields in it."""

    fields: dict[str, str]
    options: list[tuple[Field, dict[str, str]]]


def as_field(node: ET.Element) -> Field:
    # a flag's value is the bit, the octets are in unmaskedvalue
    value = node.get("unmaskedvalue") or node.get("value") or ""
    return Field(node.get("name") or "", node.get("show") or "", int(node.get("pos") or 0), value)


def dissect(folder: Path, frames: Iterable[bytes]) -> list[Dissection]:
    path = folder / "frames.pcap"
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))
        for frame in frames:
            out.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)
    run = subprocess.run(["tshark", "-r", path, "-T", "pdml"], capture_output=True, check=True, timeout=120)
    found = []
    for packet in ET.fromstring(run.stdout).iter("packet"):
        layer = next(node for node in packet.iter("proto") if node.get("name") == "mipv6")
        block = next((node for node in layer if node.get("show") == "Mobility Options"), None)
        inside = set() if block is None else set(block.iter("field"))
        fields = {f.name: f.show for f in map(as_field, (n for n in layer.iter("field") if n not in inside)) if f.name}
        options = [
            (as_field(node), {f.name: f.show for f in map(as_field, node.iter("field")) if f.name})
            for node in ([] if block is None else block)
        ]
        found.append(Dissection(fields, options))
    return found


def hexes(octets: bytes) -> str:
    return octets.hex(":")


def message_fields(message: Any) -> dict[str, Any]:
    """tshark's names for what the message says."""
    kind = {1: "hoti", 2: "coti", 3: "hot", 4: "cot"}.get(message.type)
    if isinstance(message, HomeTestInit | CareOfTestInit):
        return {f"mip6.{kind}.cookie": f"0x{message.cookie.hex()}"}
    if isinstance(message, HomeTest | CareOfTest):
        return {
            f"mip6.{kind}.nindex": message.nonce_index,
            f"mip6.{kind}.cookie": f"0x{message.cookie.hex()}",
            # tshark has one name for both messages' token
            "mip6.hot.token": f"0x{message.token.hex()}",
        }
    if isinstance(message, BindingUpdate):
        names = ("a", "h", "l", "k", "m", None, "p", "f", "t", "b")
        flags = {f"mip6.bu.{n}_flag": message.flags >> (15 - i) & 1 for i, n in enumerate(names) if n}
        flags["mip6.nemo.bu.r_flag"] = message.flags >> 10 & 1
        return {"mip6.bu.seqnr": message.sequence, "mip6.bu.lifetime": message.lifetime, **flags}
    if isinstance(message, BindingAcknowledgement):
        return {
            "mip6.ba.status": message.status,
            "mip6.ba.seqnr": message.sequence,
            "mip6.ba.lifetime": message.lifetime,
            **{f"mip6.ba.{n}_flag": message.flags >> bit & 1 for n, bit in (("k", 7), ("p", 5), ("t", 4), ("b", 3))},
            "mip6.nemo.ba.r_flag": message.flags >> 6 & 1,
        }
    if isinstance(message, BindingError):
        return {"mip6.be.status": message.status, "mip6.be.haddr": message.home_address}
    if isinstance(message, BindingRevocationIndication | BindingRevocationAcknowledgement):
        indication = isinstance(message, BindingRevocationIndication)
        what = {"mip6.bri_r.trigger": message.trigger} if indication else {"mip6.bri_status": message.status}
        return {"mip6.bri_br.type": 1 if indication else 2, "mip6.bri_seqnr": message.sequence, **what}
    return {}


def option_fields(option: Any) -> dict[str, Any]:
    """tshark's names for what the option says; none for those it does not dissect."""
    match option:
        case BindingRefreshAdvice(interval):
            return {"mip6.bra.interval": interval}
        case AlternateCareOf(address):
            return {"mip6.acoa.acoa": address}
        case NonceIndices(home, care_of):
            return {"mip6.ni.hni": home, "mip6.ni.cni": care_of}
        case BindingAuthorizationData(mac):
            return {"mip6.bad.auth": hexes(mac)}
        case MobileNetworkPrefix(prefix, length):
            return {"mip6.nemo.mnp.mnp": prefix, "mip6.nemo.mnp.pfl": length}
        case IPv4HomeAddress(address, length, request):
            return {"mip6.ipv4ha.ha": address, "mip6.ipv4ha.preflen": length, "mip6.ipv4ha.p_flag": int(request)}
        case IPv4AddressAcknowledgement(address, status, length):
            return {"mip6.ipv4ha.ha": address, "mip6.ipv4aa.sts": status, "mip6.ipv4ha.preflen": length}
        case NatDetection(seconds, force):
            return {"mip6.natd.refresh_t": seconds, "mip6.natd.f_flag": int(force)}
        case IPv4CareOf(address):
            return {"mip6.ipv4coa.addr": address}
        case BindingIdentifier(bid, care_of, _, status, home):
            found: dict[str, Any] = {"mip6.bi.bid": bid, "mip6.bi.status": status, "mip6.bi.h_flag": int(home)}
            if care_of is not None:
                found["mip6.bi.coa_ipv4" if isinstance(care_of, IPv4Address) else "mip6.bi.coa_ipv6"] = care_of
            return found
        case PadN(data) if data:
            return {"mip6.padn": hexes(data)}
    return {}


FIXED = {0: 8, 1: 16, 2: 16, 3: 24, 4: 24, 5: 12, 6: 12, 7: 24, 16: 12}


def walk(octets: bytes, at: int) -> list[tuple[int, str]]:
    """RFC 6275 6.2.1: type, length, data; position and octets of each option from ``at`` on."""
    found = []
    while at < len(octets):
        size = 1 if octets[at] == 0 else 2 + octets[at + 1]
        found.append((at, octets[at : at + size].hex()))
        at += size
    return found


def agrees(shown: str, value: Any) -> bool:
    """Whether tshark shows this value; addresses by value, for it writes ::0.11.196.51 for ::b:c433."""
    return type(value)(shown) == value if isinstance(value, IPv4Address | IPv6Address) else shown == str(value)


def compare(octets: bytes, profile: Profile, seen: Dissection) -> None:
    packet = decode_packet(octets, profile)
    message: Any = packet.message
    start = 40 + (24 if packet.home_address else 0) + (24 if packet.routing_home else 0)
    assert seen.fields["mip6.mhtype"] == str(message.type)
    assert int(seen.fields["mip6.csum"], 16) == message.checksum
    for name, value in message_fields(message).items():
        assert agrees(seen.fields[name], value), name
    expected = walk(octets, start + FIXED[message.type])
    assert [(option.pos, option.value) for option, _ in seen.options] == expected
    for option, (_, fields) in zip(message.options, seen.options, strict=True):
        for name, value in option_fields(option).items():
            assert agrees(fields[name], value), name


@pytest.mark.req("R10", "R14", "R44", "K2", "K36")
@settings(
    max_examples=2, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck), database=None
)
@given(data=st.data())
@pytest.mark.parametrize("profile", [DRAFT, RFC6089], ids=lambda p: p.name)
def test_tshark_sees_what_was_encoded(
    profile: Profile, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    known = packets(profile).filter(lambda p: not isinstance(p.message, UnknownMessage))
    frames = [encode_packet(packet, profile) for packet in data.draw(st.lists(known, min_size=40, max_size=40))]
    for frame, seen in zip(frames, dissect(tmp_path_factory.mktemp("tshark"), frames), strict=True):
        compare(frame, profile, seen)


@pytest.mark.parametrize("profile", [DRAFT, RFC6089], ids=lambda p: p.name)
def test_tshark_reads_every_option(profile: Profile, tmp_path: Path) -> None:
    """One of each, so that no option depends on luck; flow options it names, and knows their place and octets."""
    a6, a4 = IPv6Address("2001:db8::1"), IPv4Address("192.0.2.9")
    selectors = TrafficSelector6(source=(a6, a6), source_port=(22, 23)), TrafficSelector4(protocol=(6, 6))
    flows: list[Any] = [
        FlowIdentification(i, i, suboptions=(BindingReference((1, 2)), TrafficSelectorOption(selector)))
        for i, selector in enumerate(selectors, 1)
    ]
    options = (
        BindingRefreshAdvice(100),
        AlternateCareOf(a6),
        NonceIndices(3, 9),
        MobileNetworkPrefix(a6, 56),
        IPv4HomeAddress(a4, 24, True),
        IPv4AddressAcknowledgement(a4, 131, 30),
        NatDetection(110, True),
        IPv4CareOf(a4),
        BindingIdentifier(1, a6, 0 if profile is DRAFT else 10, 167, True),
        BindingIdentifier(2, a4),
        BindingIdentifier(3),
        *flows,
        FlowIdentification(3, 3),
    )
    mac = BindingAuthorizationData(bytes(range(12)))
    summary = (FlowSummary((1, 2, 3)),) if profile is RFC6089 else ()
    for message in (
        BindingUpdate(1, 2, 0xFFFF, (*options, *summary, mac)),
        BindingAcknowledgement(4, 1, 2, 0xC0, (*options, mac)),
    ):
        frame = encode_packet(MobilityPacket(a6, a6, message, home_address=a6), profile)
        (seen,) = dissect(tmp_path, [frame])
        compare(frame, profile, seen)
        named = [int(option.value[:2], 16) for option, _ in seen.options if option.name]
        assert {2, 3, 4, 5, 6, 29, 30, 31, 32, 35} <= set(named)
        numbers = [int(option.value[:2], 16) for option, _ in seen.options]
        assert numbers.count(profile.flow_identification) == 3
        assert numbers.count(44) == (message.type == 5 and profile is RFC6089)


def test_tshark_reads_every_message(tmp_path: Path) -> None:
    a6 = IPv6Address("2001:db8::1")
    messages = [
        BindingRefreshRequest((BindingIdentifier(1),)),
        HomeTestInit(b"cookie-1"),
        CareOfTestInit(b"cookie-2", (BindingIdentifier(1),)),
        HomeTest(7, b"cookie-1", b"token--1"),
        CareOfTest(8, b"cookie-2", b"token--2", (BindingIdentifier(1, status=1),)),
        BindingUpdate(9, 150, 0xC000),
        BindingAcknowledgement(135, 9, 150, 0x48),
        BindingError(2, a6),
        BindingRevocationIndication(9, 1, 0, (BindingIdentifier(1),)),
        BindingRevocationAcknowledgement(9, 128),
    ]
    for profile in (DRAFT, RFC6089):
        frames = [encode_packet(MobilityPacket(a6, a6, message, routing_home=a6), profile) for message in messages]
        for frame, seen, message in zip(frames, dissect(tmp_path, frames), messages, strict=True):
            assert seen.fields["mip6.mhtype"] == str(message.type)
            compare(frame, profile, seen)
