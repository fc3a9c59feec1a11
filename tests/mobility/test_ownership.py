"""Whose a mobile network prefix is, and care-of addresses that lead back to where packets came from."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mobility_kit import AGENT, COA1, COA2, HOME, OTHER_HOME, A, H, M, Peer, R, ReadableTable, bid, flow

from flowclass.mobility import Agent, CareOf, HomeAgent, MobilityAnchorPoint, Node
from flowclass.mobility.cache.owners import Owners
from flowclass.wire import AlternateCareOf, IPv4HomeAddress, MobileNetworkPrefix

FLAGS = {HomeAgent: A | H | R, MobilityAnchorPoint: A | M | R}
ROLES = pytest.mark.parametrize("role", FLAGS)
PROFILES = pytest.mark.parametrize("profile", ["draft", "rfc6089"])
NETWORK = "2001:db8:100::/56"


def pair(prefix: str) -> tuple[bytes, int]:
    network = IPv6Network(prefix)
    return network.network_address.packed, network.prefixlen


def option(prefix: str) -> MobileNetworkPrefix:
    network = IPv6Network(prefix)
    return MobileNetworkPrefix(network.network_address, network.prefixlen)


def peer_of(role: type[Agent], profile: str = "draft", **how: Any) -> Peer:
    table = ReadableTable()
    peer = Peer(agent=role(profile, table=table, **how))
    peer.table = table
    return peer


@ROLES
@PROFILES
def test_what_is_absent_from_a_configured_table_is_refused(role: type[Agent], profile: str) -> None:
    peer = peer_of(role, profile, prefix_table={HOME.packed: [pair(NETWORK)]})
    flags = FLAGS[role]
    for home in (HOME, OTHER_HOME):
        for prefix in ("2001:db8:100::/57", "2001:db8:100:80::/57", "2001:db8:100::/55", "2001:db8:100::/64",
                       "2001:db8:200::/56"):  # fmt: skip
            assert peer.send(bid(1, COA1), option(prefix), flags=flags, home=home).status == 142
    assert peer.send(bid(1, COA1), option(NETWORK), flags=flags, home=OTHER_HOME).status == 142
    assert peer.send(bid(1, COA1), option(NETWORK), flags=flags).status == 0
    assert peer.node.prefixes == (pair(NETWORK),)
    # implicit mode: what the table has, and nothing for who isn't in it
    assert peer.send(bid(1, COA1), flags=flags, home=OTHER_HOME).status == 143
    assert peer.send(bid(1, COA1), flags=flags).status == 0
    assert peer_of(role, profile, prefix_table={}).send(bid(1, COA1), option(NETWORK), flags=flags).status == 142


@ROLES
@PROFILES
def test_without_a_table_nobody_gets_what_is_in_anothers_way(role: type[Agent], profile: str) -> None:
    peer = peer_of(role, profile)
    flags = FLAGS[role]
    assert peer.send(bid(1, COA1), option(NETWORK), flags=flags).status == 0
    around_home = str(IPv6Network((HOME, 64), strict=False))
    for prefix in (NETWORK, "2001:db8:100::/64", "2001:db8:100:ff::/64", "2001:db8:100::/40", "2001:db8::/32",
                   f"{HOME}/128", around_home):  # fmt: skip
        assert peer.send(bid(1, COA2), option(prefix), flags=flags, home=OTHER_HOME).status == 142
    assert peer.send(bid(1, COA2), option("2001:db8:100:100::/56"), flags=flags, home=OTHER_HOME).status == 0
    # again, another length of one's own, and what was given up
    assert peer.send(bid(1, COA1), option(NETWORK), flags=flags).status == 0
    assert peer.send(bid(1, COA1), option("2001:db8:100::/57"), flags=flags).status == 0
    assert peer.send(bid(1, COA2), option("2001:db8:100:80::/57"), flags=flags, home=OTHER_HOME).status == 0


def test_prefixes_lie_in_the_agents_own_where_it_has_any() -> None:
    peer = peer_of(HomeAgent, home_prefixes=[pair("2001:db8:1::/48"), pair("2001:db8:100::/40")])
    flags = FLAGS[HomeAgent]
    assert peer.send(bid(1, COA1), option("2001:db8:200::/56"), flags=flags).status == 141
    assert peer.send(bid(1, COA1), option("2001:db8::/32"), flags=flags).status == 141
    assert peer.send(bid(1, COA1), option(NETWORK), flags=flags).status == 0


def test_the_networks_of_a_bindings_file_stay_those_of_its_nodes() -> None:
    peer = peer_of(HomeAgent)
    peer.agent.prefix_table[HOME.packed] = (pair(NETWORK),)
    flags = FLAGS[HomeAgent]
    assert peer.send(bid(1, COA1), option("2001:db8:100::/64"), flags=flags, home=OTHER_HOME).status == 142
    assert peer.send(bid(1, COA1), option("2001:db8:100::/48"), flags=flags, home=OTHER_HOME).status == 142
    assert peer.send(bid(1, COA1), option("2001:db8:200::/56"), flags=flags, home=OTHER_HOME).status == 0
    assert peer.send(bid(1, COA1), option("2001:db8:300::/56"), flags=flags).status == 142


def test_what_became_anothers_while_an_update_was_open() -> None:
    peer = peer_of(HomeAgent)
    pending = peer.agent.begin(peer.packet(bid(1, COA1), option(NETWORK), flags=FLAGS[HomeAgent]), now=peer.now)
    peer.send(bid(1, COA2), option(NETWORK), flags=FLAGS[HomeAgent], home=OTHER_HOME)
    assert len(pending.commit()) == 1
    assert peer.node is None


# ---- owners against a plain reading

ADDRESSES = st.integers(0, 255).map(lambda number: bytes([0x20] + [0] * 14 + [number]))
PREFIXES = st.tuples(st.integers(0, 255), st.integers(120, 128)).map(
    lambda x: (bytes([0x20] + [0] * 14 + [x[0] >> (128 - x[1]) << (128 - x[1])]), x[1])
)


@given(st.lists(st.tuples(ADDRESSES, st.lists(PREFIXES, max_size=3)), max_size=12), PREFIXES, ADDRESSES, st.booleans())
def test_who_is_in_the_way_against_a_plain_reading(
    claims: list[tuple[bytes, list[tuple[bytes, int]]]], prefix: tuple[bytes, int], home: bytes, early: bool
) -> None:
    nodes: dict[bytes, Node] = {}
    owners = Owners(nodes)
    plain: dict[tuple[bytes, int], bytes] = {}
    if early:
        owners.in_the_way(prefix, home)  # the list is sorted, and has to follow
    for owner, prefixes in claims:
        if owner not in nodes:
            nodes[owner] = Node(owner)
            owners.added((owner, 128))
        mine = [p for p in prefixes if plain.get(p, owner) == owner]
        owners.claim(mine, owner)
        plain |= dict.fromkeys(mine, owner)
    for owner, prefixes in claims[::3]:
        owners.release(prefixes[:1], owner)
        if prefixes and plain.get(prefixes[0]) == owner:
            del plain[prefixes[0]]
    network = IPv6Network(prefix)
    others = [IPv6Network(p) for p, owner in plain.items() if owner != home]
    others += [IPv6Network((owner, 128)) for owner in nodes if owner != home]
    expected = any(
        other.subnet_of(network) or (network.subnet_of(other) and other.prefixlen < 128) or network == other
        for other in others
    )
    assert owners.in_the_way(prefix, home) == expected
    assert dict(owners) == plain


# ---- care-of addresses that lead back


@ROLES
@PROFILES
def test_care_of_addresses_that_make_a_loop_are_refused(role: type[Agent], profile: str) -> None:
    peer = peer_of(role, profile)
    flags = FLAGS[role] & ~R
    own = [AGENT]
    for address in own:
        assert peer.send(bid(1, address), flags=flags).status == 174
        assert peer.send(AlternateCareOf(address), flags=flags).status == 174
        answer = peer.send(bid(1, COA1), bid(2, address), flags=flags)
        assert (answer.status, [o.status for o in answer.bids]) == (4, [0, 174])
    assert peer.send(lifetime=0, flags=flags).status == 0
    inside = IPv6Address("2001:db8:100::5")
    assert peer.send(bid(1, inside), option(NETWORK), flags=flags | R).status == 174
    assert peer.send(bid(1, COA1), option(NETWORK), flags=flags | R).status == 0
    assert peer.send(bid(1, inside), option(NETWORK), flags=flags | R).status == 174
    # another node may be in that network: nested, no loop; but then the network can't be behind the node
    assert peer.send(bid(1, inside), flags=flags, home=OTHER_HOME).status == 0
    assert peer.send(bid(1, OTHER_HOME), option(NETWORK), flags=flags | R).status == 174
    assert peer.node.care_of[1].address == COA1.packed


def test_a_chain_of_nodes_that_lead_to_each_other() -> None:
    peer = peer_of(HomeAgent)
    homes = [IPv6Address(int(HOME) + i) for i in range(5)]
    for here, there in pairwise(homes):
        assert peer.send(bid(1, there), flow(1), home=here).status == 0
    assert peer.send(bid(1, homes[0]), home=homes[-1]).status == 174
    assert peer.send(bid(1, homes[2]), home=homes[-1]).status == 174
    assert peer.send(bid(1, COA1), home=homes[-1]).status == 0


def test_an_ipv4_care_of_address_that_is_the_nodes_own_ipv4_home_address() -> None:
    mine = bytes([10, 0, 0, 1])
    peer = peer_of(HomeAgent, ipv4_homes={HOME.packed: mine})
    peer.send(bid(1, COA1))
    assert peer.node.also == (mine,)
    assert peer.send(bid(1, "10.0.0.1")).status == 174
    assert peer.send(bid(1, "10.0.0.2")).status == 0


def test_at_home_is_no_loop() -> None:
    peer = peer_of(HomeAgent)
    assert peer.send(bid(1, HOME, home=True), bid(2, COA1)).status == 0
    owners = Owners({HOME.packed: Node(HOME.packed, care_of={1: CareOf(1, HOME.packed, home=True)})})
    assert not owners.leads_back(HOME.packed, OTHER_HOME.packed)


def test_what_a_wrong_ipv4_option_leaves_alone() -> None:
    peer = peer_of(HomeAgent)
    answer = peer.send(bid(1, COA1), IPv4HomeAddress(IPv4Address("10.0.0.1")))
    assert (answer.status, peer.node.also) == (0, ())
