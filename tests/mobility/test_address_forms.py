"""Addresses and prefixes are taken packed, as `ipaddress` objects and as text, everywhere in the public interface."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any

import pytest

from flowclass import (
    ArgumentError,
    ClassifierError,
    FlowclassError,
    ForwardingTable,
    HomeAgent,
    MobileNode,
    MobilityAnchorPoint,
    make_keys,
    make_rules,
)
from flowclass.addresses import as_address, as_ipv6, as_packed, as_packed_prefix
from flowclass.mobility import FORWARD, Association, Event, EventKind, Flow

HOME, CARE_OF, NETWORK = IPv6Address("2001:db8:1::1"), IPv6Address("2001:db8:a::1"), IPv6Network("2001:db8:5::/48")
IPV4 = IPv4Address("192.0.2.1")
FORMS: list[Callable[[Any], Any]] = [lambda a: a, lambda a: a.packed, lambda a: bytearray(a.packed), str]
PREFIX_FORMS: list[Callable[[IPv6Network], Any]] = [
    lambda n: n,
    str,
    lambda n: (n.network_address.packed, n.prefixlen),
    lambda n: (str(n.network_address), n.prefixlen),
]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_address_is_the_same_address(form: Callable[[Any], Any]) -> None:
    for address in (HOME, IPV4):
        assert as_packed("home", form(address)) == address.packed
        assert as_address("home", form(address)) == address
    assert as_ipv6("home", form(HOME)) == HOME


@pytest.mark.parametrize("form", PREFIX_FORMS)
def test_every_form_of_a_prefix_is_the_same_prefix(form: Callable[[IPv6Network], Any]) -> None:
    assert as_packed_prefix("prefixes", form(NETWORK)) == (NETWORK.network_address.packed, 48)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: as_packed("home", "2001:db8::x"), "^home: an IP address expected, got '2001:db8::x'$"),
        (lambda: as_packed("home", b"123"), "^home: an address of 4 or 16 octets expected, got 3 octets$"),
        (lambda: as_packed("home", IPV4, 6), r"^home: an IPv6 address \(16 octets\) expected, got 192.0.2.1$"),
        (lambda: as_ipv6("peer", IPV4.packed), r"^peer: an IPv6 address \(16 octets\) expected, got 4 octets$"),
        (lambda: as_packed_prefix("p", "2001:db8::1/32"), "^p: a prefix expected: 2001:db8::1/32 has host bits set$"),
        (lambda: as_packed_prefix("p", (HOME, 129)), "^p: length: 0 to 128 expected, got 129$"),
        (lambda: HomeAgent(home_prefixes=["2001:db8::/200"]), "^home_prefixes: a prefix expected: "),
        (lambda: HomeAgent(ipv4_homes={HOME: HOME}), r"^ipv4_homes: IPv4 address: an IPv4 address \(4 octets\)"),
        (lambda: ForwardingTable().find("here"), "^home_address: an IP address expected, got 'here'$"),
        (lambda: ForwardingTable().publish(HOME, targets=[(1, "there")]), "^care-of address: an IP address expected"),
        (lambda: make_rules(source="2001:db8::1/32"), "^source: 2001:db8::1/32 has host bits set$"),
    ],
)
def test_a_wrong_address_is_told_with_the_name_of_the_argument(call: Callable[[], object], message: str) -> None:
    with pytest.raises(FlowclassError, match=message):
        call()


@pytest.mark.parametrize("wrong", [None, 5, 1.5, [HOME]])
def test_what_is_no_address_at_all_is_an_argument_of_a_wrong_type(wrong: Any) -> None:
    for call in (
        lambda: as_packed("home", wrong),
        lambda: ForwardingTable().withdraw(wrong),
        lambda: HomeAgent().cache.get(wrong),
        lambda: MobileNode(wrong),
    ):
        with pytest.raises(ArgumentError, match=r"^home"):
            call()


@pytest.mark.parametrize("form", FORMS)
def test_a_table_takes_every_form(form: Callable[[Any], Any]) -> None:
    table = ForwardingTable()
    prefixes = [NETWORK, str(NETWORK), (NETWORK.network_address.packed, 48)]
    for prefix in prefixes:
        table.publish(form(HOME), also=[form(IPV4)], prefixes=[prefix], targets=[(1, form(CARE_OF))], default=0)
        (decision,) = table.classify(make_keys(destination="2001:db8:5::9", protocol=6))
        assert table.care_of(decision) == (CARE_OF.packed,)
    assert form(HOME) in table
    assert table.find(form(IPV4)) == table.find(HOME.packed)
    table.withdraw(form(HOME))
    assert len(table) == 0


def test_a_table_says_that_a_wrong_address_is_its_own_kind_of_error() -> None:
    with pytest.raises(ClassifierError):
        ForwardingTable().find("here")


@pytest.mark.parametrize("form", FORMS)
def test_agents_and_nodes_take_every_form(form: Callable[[Any], Any]) -> None:
    key = HOME if isinstance(form(HOME), bytearray) else form(HOME)  # a bytearray is no key of a dict
    agent = HomeAgent(
        home_prefixes=["2001:db8:1::/64"],
        prefix_table={key: [NETWORK]},
        ipv4_homes={key: form(IPV4)},
        allocate_ipv4=lambda home: form(IPV4),
    )
    assert agent.prefix_table == {HOME.packed: ((NETWORK.network_address.packed, 48),)}
    assert agent.ipv4_homes == {HOME.packed: IPV4.packed}
    node = MobileNode(form(HOME), prefixes=[NETWORK])
    node.add_receiver("2001:db8:1::ff")
    (packet,) = node.register("2001:db8:1::ff", 1, form(CARE_OF), now=0.0)
    agent.receive(packet, now=0.0)
    found = agent.cache.get(form(HOME))
    assert found is not None
    assert form(HOME) in agent.cache
    assert found.care_of[1].address == CARE_OF.packed
    assert agent.cache.last_sequence(form(HOME)) == found.sequence
    assert agent.cache.remove(form(HOME))
    assert len(agent.table) == 0
    assert Association(256, form(HOME), b"k" * 16).home == HOME.packed
    assert MobilityAnchorPoint(care_of_prefixes=[NETWORK]).care_of_prefixes == ((NETWORK.network_address.packed, 48),)
    assert agent.home_address_error(form(CARE_OF), "2001:db8::1", form(HOME))


def test_rules_take_single_values_and_prefixes() -> None:
    one = make_rules(source="2001:db8::/32", destination=HOME, source_port=22, protocol=[6, 17])
    other = make_rules(
        source=("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
        destination=(HOME, HOME),
        source_port=(22, 22),
        protocol=(6, 17),
    )
    assert one.tobytes() == other.tobytes()


def test_agents_nodes_and_what_they_hold_say_what_they_are() -> None:
    agent, node = HomeAgent(), MobileNode(HOME)
    updates = node.add_receiver("2001:db8:1::ff")
    (packet,) = node.register("2001:db8:1::ff", 1, CARE_OF, 10, now=0.0)
    agent.receive(packet, now=0.0)
    assert repr(agent) == "<HomeAgent: profile='draft', nodes=1>"
    assert repr(node) == ("<MobileNode: home='2001:db8:1::1', profile='draft', receivers=[home-agent 2001:db8:1::ff]>")
    assert repr(updates) == ("<UpdateList: home-agent 2001:db8:1::ff, bids=[], fids=[], an update outstanding>")
    assert repr(agent.cache).startswith("<BindingCache: nodes=1, next_deadline=")
    (held,) = agent.cache
    assert repr(held).startswith(
        "Node(home='2001:db8:1::1', care_of=[CareOf(bid=1, address='2001:db8:a::1', priority=10,"
    )
    flow = Flow(7, 1, FORWARD, (1,), make_rules(source="2001:db8::/32", source_port=22).tobytes())
    assert repr(flow) == (
        "Flow(fid=7, priority=1, action=1, bids=(1,), rule='version 6, source "
        "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff, source_port 22')"
    )
    event = Event(EventKind.BID_ADDED, HOME.packed, 1, CARE_OF.packed)
    assert repr(event) == "Event(kind='bid-added', home='2001:db8:1::1', number=1, address='2001:db8:a::1')"
