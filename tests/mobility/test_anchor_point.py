"""The mobility anchor point."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mobility_kit import (
    COA1,
    COA2,
    HOME,
    REFRESH,
    REMOVE,
    REPLACE,
    SSH,
    A,
    M,
    Peer,
    ReadableTable,
    bid,
    flow,
)

from flowclass.mobility import MobilityAnchorPoint
from flowclass.wire import (
    NonceIndices,
)

MAP_FLAGS = A | M


def anchor_point(**how: Any) -> Peer:
    table = ReadableTable()
    peer = Peer(agent=MobilityAnchorPoint(table=table, **how))
    peer.table = table
    return peer


@pytest.mark.req("R132", "R133", "R134", "R135", "R136", "R71", "K28")
def test_an_anchor_point_binds_flows_to_the_regional_address() -> None:
    peer = anchor_point()
    answer = peer.send(bid(1, COA1, 1), flow(1, selector=SSH), flow(1), flags=MAP_FLAGS)
    assert (answer.status, answer.flow_statuses) == (0, [0, 135])
    assert answer.packet.routing_home == HOME  # the RCoA; without it the mobile node would ignore the answer
    assert peer.node.flows[1].expires == peer.now + 600
    assert peer.decide(source_port=22) == ("forward", 1, [str(COA1)])
    answer = peer.send(bid(1), flow(9, pro=REPLACE), flow(9, pro=REFRESH), flow(9, pro=REMOVE), flags=MAP_FLAGS)
    assert answer.flow_statuses == [129, 129, 136]
    assert peer.send(lifetime=0, flags=MAP_FLAGS).status == 0
    assert peer.node is None


def test_what_is_no_local_binding_update() -> None:
    peer = anchor_point()
    assert peer.send(bid(1, COA1)).status == 131
    assert peer.replies(peer.packet(flags=A)) == []
    assert peer.replies(peer.packet(NonceIndices(1, 1), flags=MAP_FLAGS)) == []
    assert len(peer.agent.cache) == 0


def test_where_an_anchor_point_lets_its_nodes_be() -> None:
    peer = anchor_point(
        home_prefixes=[(IPv6Address("2001:db8:1::").packed, 48)],
        care_of_prefixes=[(IPv6Address("2001:db8:a::").packed, 48)],
    )
    assert peer.send(flags=MAP_FLAGS, home=IPv6Address("2001:db8:2::1")).status == 132
    assert peer.send(flags=MAP_FLAGS, source=COA2).status == 129
    assert peer.send(bid(1, COA2), flags=MAP_FLAGS, source=COA1).status == 129
    assert peer.send(bid(1, COA1), flags=MAP_FLAGS).status == 0
    assert peer.send(bid(1), flags=MAP_FLAGS, source=COA2).status == 0
    assert peer.send(flags=MAP_FLAGS, source=COA2, lifetime=0).status == 0


@given(st.binary(max_size=150))
def test_noise_at_an_anchor_point(data: bytes) -> None:
    assert MobilityAnchorPoint("rfc6089", table=ReadableTable()).receive(data, now=0.0) == []
