"""Any bytes at all: an answer or silence, and a state that changes only with an acceptance.

What is compiled answers as the same sources do when Python interprets them.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interpreted import interpreted
from mobility_kit import AGENT, COA1, COA2, COA3, HOME, HTTPS, SSH, Peer, ReadableTable, bid, checksummed, flow

from flowclass.mobility import (
    Agent,
    CorrespondentNode,
    HomeAgent,
    Limits,
    MobileNode,
    MobilityAnchorPoint,
    NonceTable,
)
from flowclass.mobility.mobile_node.plan import Role
from flowclass.wire import (
    AlternateCareOf,
    BindingAcknowledgement,
    BindingAuthorizationData,
    BindingError,
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
    TrafficSelector4,
    TrafficSelector6,
    UnknownMessage,
    UnknownOption,
    Verbatim,
    decode_packet,
    encode_packet,
)

PROFILES = ["draft", "rfc6089"]


def started(profile: str) -> Peer:
    peer = Peer(profile, limits=Limits(flows_per_node=6, bids_per_node=4))
    peer.send(
        bid(1, COA1, 1), bid(2, COA2, 2), flow(1, 1, bids=[1], selector=SSH), flow(2, 2, bids=[2], selector=HTTPS)
    )
    return peer


def check(peer: Peer, data: bytes, authenticated: bool = True) -> list[bytes]:
    before = peer.state()
    published = dict(peer.table.nodes)
    replies = peer.agent.receive(data, now=peer.now, authenticated=authenticated)
    assert len(replies) <= 1
    accepted = False
    for reply in replies:
        message = decode_packet(reply, peer.agent.profile)
        assert message.checksum_ok
        accepted = isinstance(message.message, BindingAcknowledgement) and message.message.status < 128
    if not accepted:
        assert peer.state() == before
        assert peer.table.nodes == published
    assert not accepted or authenticated
    assert set(peer.table.nodes) == set(peer.state())
    return replies


@pytest.mark.parametrize("profile", PROFILES)
@given(data=st.binary(max_size=200))
def test_noise(profile: str, data: bytes) -> None:
    check(started(profile), data)


@pytest.mark.parametrize("profile", PROFILES)
@given(
    body=st.lists(
        st.one_of(
            st.binary(max_size=40).map(lambda b: bytes((18, len(b))) + b),
            st.binary(max_size=40).map(lambda b: bytes((45, len(b))) + b),
            st.binary(max_size=40).map(lambda b: bytes((44, len(b))) + b),
            st.sampled_from([4, 8, 20, 5]).flatmap(
                lambda n: st.binary(min_size=n, max_size=n).map(lambda b: bytes((35, len(b))) + b)
            ),
            st.binary(max_size=20),
        ),
        max_size=8,
    ).map(b"".join),
    sequence=st.integers(0, 65535),
    flags=st.integers(0, 65535),
    lifetime=st.sampled_from([0, 1, 150, 65535]),
    authenticated=st.booleans(),
)
def test_options_of_noise_in_a_packet_that_is_right(
    profile: str, body: bytes, sequence: int, flags: int, lifetime: int, authenticated: bool
) -> None:
    """The checksum holds, so that the noise gets as far as it can."""
    peer = started(profile)
    body += bytes(-(len(body) + 12) % 8)
    plain = MobilityPacket(COA1, AGENT, BindingUpdate(sequence, lifetime, flags), HOME)
    data = bytearray(encode_packet(plain))
    del data[-4:]
    data += body
    if len(body) + 12 > 2048:
        return
    length = len(data) - 40
    data[4:6] = length.to_bytes(2, "big")
    data[65] = (len(body) + 12) // 8 - 1
    data = bytearray(checksummed(data, 64, HOME, AGENT))
    check(peer, bytes(data), authenticated)


@st.composite
def flow_options(draw: Any) -> Any:
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return FlowSummary(tuple(draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))))
    if kind == 1:
        return bid(draw(st.integers(0, 5)), draw(st.sampled_from([None, COA1, COA2, COA3, HOME, "192.0.2.1"])))
    suboptions: list[Any] = []
    if draw(st.booleans()):
        suboptions.append(BindingReference(tuple(draw(st.lists(st.integers(0, 5), min_size=1, max_size=3)))))
    if draw(st.booleans()):
        suboptions += flow(1, selector=draw(st.sampled_from([SSH, HTTPS]))).suboptions
    return FlowIdentification(
        draw(st.integers(0, 4)),
        draw(st.integers(0, 3)),
        draw(st.integers(0, 4)),
        draw(st.sampled_from([0, 1, 2, 3, 15])),
        0,
        tuple(suboptions),
    )


@pytest.mark.parametrize("profile", PROFILES)
@given(
    updates=st.lists(
        st.tuples(
            st.lists(flow_options(), max_size=5),
            st.sampled_from([0xC000, 0xC040, 0x8000, 0xC400]),
            st.sampled_from([0, 5, 150]),
            st.sampled_from([COA1, COA2, HOME]),
            st.integers(0, 30),
        ),
        max_size=8,
    )
)
def test_runs_of_updates_that_make_sense_or_not(profile: str, updates: list[Any]) -> None:
    """Whatever comes, in whatever order: what is published is what the cache says, and its bounds hold."""
    peer = started(profile)
    twin_table = ReadableTable()
    twin = interpreted_receiver(HomeAgent, profile, twin_table, [])
    twin.import_state(peer.agent.export_state(peer.now), peer.now)
    for options, flags, lifetime, source, passed in updates:
        usable = tuple(
            o
            for o in options
            if not (isinstance(o, FlowSummary) and profile == "draft")
            and not (isinstance(o, FlowIdentification) and profile != "draft" and (o.action != 1 or o.pro))
        )
        data = encode_packet(peer.packet(*usable, flags=flags, lifetime=lifetime, source=source), profile)
        assert check(peer, data) == twin.receive(data, now=peer.now)
        for node in peer.agent.cache:
            assert len(node.flows) <= 6
            assert len(node.care_of) <= 4
            targets, default, flows = node.forwarding()
            published = peer.table.nodes[node.home]
            assert (published["targets"], published["default"], published["flows"]) == (targets, default, flows)
            if profile != "draft":
                priorities = [f.priority for f in node.flows.values()]
                assert len(set(priorities)) == len(priorities)
        peer.now += passed
        assert peer.agent.tick(peer.now) == twin.tick(peer.now)
    assert (peer.agent.export_state(peer.now), peer.table.nodes) == (twin.export_state(peer.now), twin_table.nodes)


def test_an_option_that_is_no_flow_option() -> None:
    peer = started("draft")
    packet = peer.packet(bid(1, COA1), Verbatim((UnknownOption(18, b"abc"),))[0])
    check(peer, encode_packet(packet))


# ---- messages that are right but for a few octets, to every role


MESSAGES = [
    BindingUpdate(
        7,
        150,
        0xC000,
        (
            bid(1, COA1, 10),
            bid(2, "192.0.2.1", 5),
            bid(3, home=True),
            flow(1, 1, bids=[1], selector=TrafficSelector6((COA1, COA3), (HOME, HOME), (1, 9), (0, 5), (22, 80))),
            flow(2, 2, bids=[1, 2], selector=TrafficSelector4(protocol=(6, 17), traffic_class=(8, 32))),
        ),
    ),
    BindingUpdate(8, 150, 0xC400, (MobileNetworkPrefix(COA2, 64), IPv4HomeAddress(IPv4Address("192.0.2.7")), flow(1))),
    BindingUpdate(9, 0, 0xC000, (bid(1), flow(1, selector=SSH))),
    BindingUpdate(10, 150, 0x8800, (AlternateCareOf(COA3), IPv4CareOf(IPv4Address("192.0.2.9")), flow(3))),
    BindingUpdate(
        11, 100, 0x8000, (NonceIndices(1, 1), bid(1), flow(1, bids=[1]), BindingAuthorizationData(bytes(12)))
    ),
    BindingAcknowledgement(0, 1, 100, 0, (bid(1, priority=1), flow(1), BindingRefreshAdvice(9))),
    BindingAcknowledgement(135, 1, 100, 0x40, (IPv4AddressAcknowledgement(IPv4Address("192.0.2.7")), NatDetection(5))),
    BindingRefreshRequest((bid(1), bid(2))),
    BindingError(1, HOME),
    HomeTestInit(b"cookie!!"),
    CareOfTestInit(b"cookie!!", (bid(1),)),
    HomeTest(1, bytes(8), b"token..."),
    CareOfTest(1, bytes(8), b"token...", (bid(1),)),
    UnknownMessage(99, bytes(18)),
]


def mutated(rnd: Random, data: bytes) -> bytes:
    """A packet with up to four octets changed, inserted or taken out, cut short, or joined with itself; mostly the
    lengths and the checksum are put right afterwards, so that the faults get as far as they can."""
    octets = bytearray(data)
    for _ in range(rnd.randint(0, 4)):
        at = rnd.randrange(40 if rnd.randint(0, 9) and len(octets) > 40 else 0, len(octets))
        match rnd.randint(0, 5):
            case 0 | 1:
                octets[at] = rnd.choice([0, 1, 2, 3, 4, 127, 128, 255, rnd.randint(0, 255)])
            case 2:
                octets[at] ^= 1 << rnd.randint(0, 7)
            case 3:
                octets[at:at] = rnd.randbytes(rnd.choice([1, 2, 8]))
            case 4:
                del octets[at : at + rnd.choice([1, 2, 8])]
            case 5:
                octets[at:at] = octets[at : at + rnd.choice([2, 4, 8, 24])]
    start = 64 if octets[6:7] == b"\x3c" else 40
    if rnd.randint(0, 9) and len(octets) > start + 8:
        octets += bytes(-len(octets) % 8)
        octets[4:6] = (len(octets) - 40).to_bytes(2, "big")
        octets[start + 1] = min(255, (len(octets) - start) // 8 - 1)
        source = IPv6Address(bytes(octets[48:64] if start == 64 else octets[8:24]))
        octets = bytearray(checksummed(octets, start, source, IPv6Address(bytes(octets[24:40]))))
    return bytes(octets)


ROLES = {"home agent": HomeAgent, "anchor point": MobilityAnchorPoint, "correspondent node": CorrespondentNode}


def receiver(kind: type[Agent], limits: type[Limits], profile: str, table: ReadableTable, events: list[Any]) -> Agent:
    made = kind(profile, table=table, listener=events.append, limits=limits(flows_per_node=6, bids_per_node=4))
    if hasattr(made, "nonces"):
        made.nonces = NonceTable(Random(1).randbytes)
    return made


def interpreted_receiver(kind: type[Agent], profile: str, table: ReadableTable, events: list[Any]) -> Agent:
    modules = interpreted()
    found = getattr(modules[kind.__module__.removeprefix("flowclass.mobility.")], kind.__name__)
    return receiver(found, modules["settings"].Limits, profile, table, events)


def test_the_interpreted_twin_is_interpreted_and_the_one_in_use_compiled() -> None:
    twins = {name: str(module.__file__) for name, module in interpreted().items()}
    assert all(name.endswith(".py") for name in twins.values())
    compiled = {name for name, path in twins.items() if Path(path).read_text(encoding="utf-8").startswith("# cython:")}
    assert {"agent.process", "agent.flows", "cache.node"} <= compiled
    in_use = {name: str(import_module(f"flowclass.mobility.{name}").__file__) for name in twins}
    assert {name for name, path in in_use.items() if not path.endswith(".py")} == compiled


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("role", ["home agent", "anchor point", "correspondent node"])
@given(seed=st.integers(0, 2**64))
def test_messages_that_are_nearly_right(role: str, profile: str, seed: int) -> None:
    rnd, events, table = Random(seed), list[Any](), ReadableTable()
    agent = receiver(ROLES[role], Limits, profile, table, events)
    twin_events, twin_table = list[Any](), ReadableTable()
    twin = interpreted_receiver(ROLES[role], profile, twin_table, twin_events)
    flags = {"home agent": 0x4000, "anchor point": 0x0800, "correspondent node": 0}[role]
    for n in range(20):
        message = rnd.choice(MESSAGES)
        if isinstance(message, BindingUpdate):
            message = replace(message, sequence=n, flags=message.flags & 0xB7FF | flags)
        packet = MobilityPacket(COA1, AGENT, message, HOME if rnd.randint(0, 4) else None)
        data = mutated(rnd, encode_packet(packet, profile))
        before, count = (agent.export_state(float(n)), dict(table.nodes)), sum(agent.counters.updates[:128])
        authorized = rnd.choice([None, [COA1.packed, HOME.packed, COA3.packed]])
        believed = rnd.randint(0, 3) > 0
        replies = agent.receive(data, now=float(n), authenticated=believed, authorized=authorized)
        assert replies == twin.receive(data, now=float(n), authenticated=believed, authorized=authorized)
        assert len(replies) <= 1
        accepted = sum(agent.counters.updates[:128]) > count
        assert believed or not accepted
        for reply in replies:
            sent = decode_packet(reply, profile)
            assert sent.checksum_ok
            assert encode_packet(sent, profile) == reply
            if isinstance(sent.message, BindingAcknowledgement):
                assert (sent.message.status < 128) == accepted
        if not accepted:
            assert (agent.export_state(float(n)), table.nodes) == before
        assert agent.tick(float(n)) == twin.tick(float(n))
        for node in agent.cache:
            assert len(node.flows) <= 6
            assert len(node.care_of) <= 4
        assert set(table.nodes) == {node.home for node in agent.cache}
    assert (agent.export_state(20.0), table.nodes, events) == (twin.export_state(20.0), twin_table.nodes, twin_events)
    assert agent.counters.as_dict() == twin.counters.as_dict()


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("role", ["home-agent", "map", "correspondent"])
@given(seed=st.integers(0, 2**64))
def test_a_mobile_node_bears_messages_that_are_nearly_right(role: Role, profile: str, seed: int) -> None:
    """Whatever comes, it goes on: in the end, with a receiver that answers, its list is what was wanted."""
    rnd, now = Random(seed), 0.0
    node = MobileNode(HOME, profile, random=rnd.randbytes)
    wanted = node.add_receiver(AGENT, role)
    sent = node.register(AGENT, 1, COA1, 10, now=now)
    for _ in range(20):
        now += rnd.choice([0.0, 0.5, 40.0])
        message = rnd.choice(MESSAGES)
        if isinstance(message, BindingAcknowledgement):
            message = replace(message, sequence=wanted.sequence, status=rnd.choice([0, 4, 129, 135, 136, 165, 168]))
        packet = MobilityPacket(AGENT, COA1, message, None, HOME if rnd.randint(0, 3) else None)
        sent += node.receive(mutated(rnd, encode_packet(packet, profile)), now=now, authenticated=rnd.randint(0, 3) > 0)
        sent += node.tick(now)
        if rnd.randint(0, 4) == 0 and 1 in wanted.wanted_care_of and 1 not in wanted.wanted_flows:
            sent += node.add_flow(AGENT, 1, 1, [1], SSH, now=now)
    for octets in sent:
        assert decode_packet(octets, profile).checksum_ok
