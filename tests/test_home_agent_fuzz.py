"""Any bytes at all: an answer or silence, and a state that changes only with an acceptance."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mobility_kit import AGENT, COA1, COA2, COA3, HOME, HTTPS, SSH, Peer, bid, checksummed, flow

from flowclass.mobility import Limits
from flowclass.wire import (
    BindingAcknowledgement,
    BindingReference,
    BindingUpdate,
    FlowIdentification,
    FlowSummary,
    MobilityPacket,
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


def check(peer: Peer, data: bytes, authenticated: bool = True) -> None:
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
    for options, flags, lifetime, source, passed in updates:
        usable = tuple(
            o
            for o in options
            if not (isinstance(o, FlowSummary) and profile == "draft")
            and not (isinstance(o, FlowIdentification) and profile != "draft" and (o.action != 1 or o.pro))
        )
        data = encode_packet(peer.packet(*usable, flags=flags, lifetime=lifetime, source=source), profile)
        check(peer, data)
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
        peer.agent.tick(peer.now)


def test_an_option_that_is_no_flow_option() -> None:
    peer = started("draft")
    packet = peer.packet(bid(1, COA1), Verbatim((UnknownOption(18, b"abc"),))[0])
    check(peer, encode_packet(packet))
