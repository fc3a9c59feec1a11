"""The decision about one binding update, without an agent, a cache or a forwarding table."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any

import pytest
from mobility_kit import AGENT, COA1, COA2, HOME, OTHER_HOME, REMOVE, SSH, A, H, R, bid, flow

from flowclass.mobility.agent.policy import Policy
from flowclass.mobility.agent.process import process
from flowclass.mobility.agent.received_update import Outcome, RefusedUpdateError, Update, collect
from flowclass.mobility.cache.node import Node
from flowclass.mobility.cache.owners import Owners
from flowclass.mobility.settings import Limits
from flowclass.wire import (
    DRAFT,
    RFC6089,
    BindingStatus,
    BindingUpdate,
    DraftFlowStatus,
    MobileNetworkPrefix,
    MobilityPacket,
)


def update(*options: Any, lifetime: int = 100, sequence: int = 7, flags: int = A | H) -> Update:
    message = BindingUpdate(sequence, lifetime, flags, options)
    return collect(MobilityPacket(COA1, AGENT, message, HOME), message)


def refusal(asked: Update, node: Node, policy: Policy, owners: Owners | None = None) -> int:
    with pytest.raises(RefusedUpdateError) as caught:
        process(asked, node, policy, owners or Owners(), now=0.0)
    return caught.value.status


def test_an_update_fills_the_node_that_it_is_given() -> None:
    node = Node(HOME.packed)
    outcome = process(update(bid(1, COA1, 5), flow(3, bids=[1], selector=SSH)), node, Policy(DRAFT), Owners(), now=50.0)
    assert outcome == Outcome(BindingStatus.ACCEPTED, 100, [BindingStatus.ACCEPTED], [DraftFlowStatus.SUCCESS])
    assert [(c.bid, c.address, c.priority, c.expires) for c in node.care_of.values()] == [(1, COA1.packed, 5, 450.0)]
    assert [(f.fid, f.bids, f.expires) for f in node.flows.values()] == [(3, (1,), 450.0)]
    assert (node.sequence, node.agent, node.profile) == (7, AGENT.packed, "draft")


def test_the_policy_bounds_what_is_granted() -> None:
    node = Node(HOME.packed)
    policy = Policy(RFC6089, limits=Limits(lifetime=10, bids_per_node=1))
    outcome = process(update(bid(1, COA1), bid(2, COA2)), node, policy, Owners(), now=0.0)
    assert (outcome.status, outcome.lifetime) == (BindingStatus.MCOA_NOTCOMPLETE, 10)
    assert outcome.bids == [BindingStatus.ACCEPTED, BindingStatus.INSUFFICIENT_RESOURCES]
    assert [(c.bid, c.expires) for c in node.care_of.values()] == [(1, 40.0)]


def test_a_deregistration_empties_the_node() -> None:
    node = Node(HOME.packed)
    process(update(bid(1, COA1), flow(3, bids=[1], selector=SSH)), node, Policy(DRAFT), Owners(), now=0.0)
    outcome = process(update(flow(3, pro=REMOVE), lifetime=0), node, Policy(DRAFT), Owners(), now=1.0)
    assert (outcome.status, outcome.lifetime, outcome.flows) == (0, 0, [DraftFlowStatus.SUCCESS])
    assert not node.care_of
    assert not node.flows
    assert refusal(update(lifetime=0), Node(HOME.packed), Policy(DRAFT)) == BindingStatus.NOT_HOME_AGENT


def test_prefixes_are_somebodys() -> None:
    network = IPv6Address("2001:db8:100::")
    router = update(MobileNetworkPrefix(network, 56), flags=A | H | R)
    taken = Owners()
    taken.claim([(network.packed, 56)], OTHER_HOME.packed)
    assert refusal(router, Node(HOME.packed), Policy(DRAFT), taken) == BindingStatus.NOT_AUTHORIZED_FOR_PREFIX
    mine = {HOME.packed: [(network.packed, 56)]}
    node = Node(HOME.packed)
    process(router, node, Policy(DRAFT, prefix_table=mine), Owners(), now=0.0)
    assert node.prefixes == ((network.packed, 56),)
