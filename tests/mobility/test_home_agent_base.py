"""The home agent before any flow: RFC 6275 10.3, RFC 5648 6.2, RFC 3963 6.2, and what a packet may look like."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mobility_kit import (
    AGENT,
    COA1,
    COA2,
    COA3,
    HOME,
    HTTPS,
    OTHER_HOME,
    OVERWRITE,
    SSH,
    A,
    Answer,
    H,
    M,
    P,
    Peer,
    R,
    bid,
    checksummed,
    flow,
)

from flowclass.errors import FlowclassError
from flowclass.mobility import PLAIN, Capabilities, EventKind, HomeAgent, Limits, Switches
from flowclass.mobility.addresses import is_routable
from flowclass.wire import (
    AlternateCareOf,
    BindingError,
    BindingRefreshAdvice,
    BindingRefreshRequest,
    FlowSummary,
    IPv4CareOf,
    MalformedOption,
    MobileNetworkPrefix,
    MobilityPacket,
    NonceIndices,
    UnknownMessage,
    UnknownOption,
    decode_packet,
    encode_packet,
)
from flowclass.wire.numbers import not_greater

NETWORK = IPv6Address("2001:db8:100::")


def care_of(peer: Peer) -> dict[int, str]:
    return {b: str(IPv6Address(c.address)) for b, c in peer.node.care_of.items()}


# ---- acknowledgements


@pytest.mark.req("R71", "R77", "R128")
@pytest.mark.parametrize("flags", [A | H, H])
def test_every_update_is_acknowledged_where_it_came_from(flags: int) -> None:
    peer = Peer()
    answer = peer.send(flags=flags)
    assert (answer.status, answer.lifetime, answer.sequence) == (0, 150, 1)
    assert (answer.packet.source, answer.packet.destination) == (AGENT, COA1)
    assert answer.packet.routing_home == HOME
    assert care_of(peer) == {PLAIN: str(COA1)}
    assert peer.decide() == ("default", None, [str(COA1)])


def test_an_update_from_the_home_address_itself_is_answered_without_routing_header() -> None:
    peer = Peer()
    peer.send()
    answer = peer.send(source=HOME, home=None, lifetime=0)
    assert answer.status == 0
    assert (answer.packet.destination, answer.packet.routing_home) == (HOME, None)


@pytest.mark.req("R137")
def test_an_update_that_is_not_authenticated_touches_nothing() -> None:
    peer = Peer()
    peer.send(bid(1, COA1))
    before = peer.state()
    assert peer.replies(peer.packet(bid(1, COA2)), authenticated=False) == []
    assert peer.replies(peer.packet(lifetime=0), authenticated=False) == []
    assert peer.state() == before
    assert peer.agent.counters.ignored["unauthenticated"] == 2


def test_a_wrong_checksum_is_silence() -> None:
    peer = Peer()
    data = bytearray(encode_packet(peer.packet()))
    data[-1] ^= 1
    assert peer.agent.receive(bytes(data), now=0) == []
    assert peer.agent.counters.ignored["checksum"] == 1


@pytest.mark.parametrize(
    ("home", "source"),
    [("ff02::1", COA1), ("fe80::1", COA1), ("::", COA1), ("::1", COA1), ("::ffff:1.2.3.4", COA1), (HOME, "ff02::1")],
)
def test_addresses_that_nobody_can_answer(home: Any, source: Any) -> None:
    peer = Peer()
    assert peer.replies(peer.packet(home=IPv6Address(home), source=IPv6Address(source))) == []
    assert len(peer.agent.cache) == 0


def test_routable() -> None:
    assert is_routable(HOME.packed)
    assert is_routable(bytes([10, 0, 0, 1]))
    for bad in ("0.0.0.1", "127.0.0.1", "224.0.0.1", "255.255.255.255", "169.254.1.1"):
        assert not is_routable(bytes(map(int, bad.split("."))))


# ---- sequence numbers, flags, lifetimes


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_sequence_numbers_modulo_2_to_the_16(last: int, received: int) -> None:
    plainly = {(last - i) % 65536 for i in (0, 1, 2, 32767, 32768)}
    if received in plainly:
        assert not_greater(received, last)
    assert not_greater(received, last) == any(received == (last - i) % 65536 for i in range(32769))


def test_the_sequence_number_of_the_rfc_example() -> None:
    for too_old in (0, 15, 32783, 65535):
        assert not_greater(too_old, 15)
    for fresh in (16, 32782):
        assert not not_greater(fresh, 15)


@pytest.mark.req("K29")
def test_an_old_sequence_number_gets_the_last_accepted_one() -> None:
    peer = Peer()
    peer.send(bid(1, COA1), sequence=1000)
    before = peer.state()
    answer = peer.send(bid(2, COA2), flow(7), sequence=1000)
    assert (answer.status, answer.sequence, answer.lifetime) == (135, 1000, 0)
    assert answer.flow_statuses == [128]  # or the mobile node would think that flows aren't understood
    assert peer.state() == before
    assert peer.send(bid(2, COA2), sequence=1000 + 32767).status == 0


def test_one_sequence_space_for_all_bids() -> None:
    peer = Peer()
    peer.send(bid(1, COA1), sequence=10)
    assert peer.send(bid(2, COA2), sequence=9).status == 135


def test_a_delayed_update_after_a_deregistration() -> None:
    peer = Peer()
    peer.send(sequence=5)
    peer.send(lifetime=0, sequence=6)
    assert peer.send(sequence=5).status == 135
    assert peer.node is None
    peer.now += 10
    peer.agent.tick(peer.now)
    assert peer.send(sequence=5).status == 0


def test_the_lifetime_granted() -> None:
    peer = Peer(limits=Limits(lifetime=100))
    assert peer.send(bid(1, COA1), flow(1), lifetime=65535).lifetime == 100
    assert peer.node.care_of[1].expires == peer.now + 400
    assert peer.node.flows[1].expires == peer.now + 400
    assert peer.send(bid(1, COA1), lifetime=3).lifetime == 3


def test_flags_that_change() -> None:
    peer = Peer()
    peer.send(bid(1, COA1))
    before = peer.state()
    assert peer.send(bid(1, COA1), flags=A).status == 139
    assert peer.send(bid(1, COA1), flags=A | H | R).status == 139
    assert peer.send(bid(1, COA1), flags=A | R).status == 139
    assert peer.state() == before


def test_what_is_no_home_registration() -> None:
    peer = Peer()
    assert peer.replies(peer.packet(flags=A)) == []
    assert peer.replies(peer.packet(flags=A | M)) == []
    assert peer.replies(peer.packet(NonceIndices(1, 1))) == []
    assert peer.send(flags=A | R).status == 140
    # RFC 6275 10.3.1: a registration carries a Home Address option
    assert peer.replies(peer.packet(AlternateCareOf(COA2), source=HOME, home=None)) == []
    assert len(peer.agent.cache) == 0


def test_the_home_subnet() -> None:
    peer = Peer(home_prefixes=[(IPv6Address("2001:db8:1::").packed, 48)])
    assert peer.send().status == 0
    assert peer.send(home=IPv6Address("2001:db8:2::1")).status == 132


def test_nobody_registers_the_agents_own_address() -> None:
    peer = Peer()
    assert peer.replies(peer.packet(home=AGENT)) == []
    assert (len(peer.agent.cache), peer.agent.counters.ignored) == (0, {"address": 1})


def test_local_policy_and_bounds() -> None:
    peer = Peer(limits=Limits(nodes=1), admit_update=lambda update, node: 129 if update.lifetime == 9 else 0)
    assert peer.send(lifetime=9).status == 129
    assert peer.send().status == 0
    assert peer.send(home=OTHER_HOME).status == 130
    assert peer.send().status == 0


# ---- care-of addresses


def test_settings_that_change_count_from_the_next_update_on() -> None:
    peer = Peer()
    assert peer.send(bid(1, COA1), flow(1, bids=[1], selector=SSH)).flow_statuses == [0]
    peer.agent.limits = Limits(lifetime=5, flows_per_node=1)
    answer = peer.send(bid(1, COA1), flow(2, bids=[1], selector=HTTPS), lifetime=100)
    assert (answer.lifetime, answer.flow_statuses) == (5, [128])
    peer.agent.admit_flow = lambda node, option: 200
    assert peer.send(bid(1, COA1), flow(1, pro=1, bids=[1], selector=HTTPS)).flow_statuses == [200]
    assert peer.agent.policy.limits is peer.agent.limits


@pytest.mark.req("R57", "R95")
def test_the_care_of_address_of_a_plain_update() -> None:
    peer = Peer()
    peer.send(AlternateCareOf(COA2))
    assert care_of(peer) == {PLAIN: str(COA2)}
    for address in ("ff02::1", "fe80::1", "::", "::1", "::ffff:192.0.2.1"):
        # RFC 6275 section 6.1.7: silently discarded, and also a de-registration
        assert peer.replies(peer.packet(AlternateCareOf(IPv6Address(address)))) == []
        assert peer.replies(peer.packet(AlternateCareOf(IPv6Address(address)), lifetime=0)) == []
    assert peer.agent.counters.ignored["address"] == 10
    answer = peer.send(IPv4CareOf(__import__("ipaddress").IPv4Address("192.0.2.9")), source=HOME, home=None)
    assert answer.status == 0
    assert peer.node.care_of[PLAIN].address == bytes([192, 0, 2, 9])


@pytest.mark.req("R39", "R44", "R48", "R50")
def test_several_care_of_addresses_and_their_order() -> None:
    peer = Peer()
    peer.send(bid(1, COA1, 20))
    answer = peer.send(bid(2, COA2, 10))
    assert [(o.bid, o.status, o.priority, o.care_of) for o in answer.bids] == [(2, 0, 10, None)]
    assert care_of(peer) == {1: str(COA1), 2: str(COA2)}
    assert peer.decide()[2] == [str(COA2)]
    peer.send(bid(2, COA3, 30))
    assert peer.decide()[2] == [str(COA1)]


def test_bulk_registration_and_its_failures() -> None:
    peer = Peer(switches=Switches(bid_source_address=False))
    answer = peer.send(bid(1, COA1), bid(2), bid(3, "ff02::1"), bid(4, HOME), bid(0, COA2), bid(5, COA2))
    assert answer.status == 4
    assert [(o.bid, o.status) for o in answer.bids] == [(1, 0), (2, 167), (3, 164), (4, 164), (0, 164), (5, 0)]
    assert care_of(peer) == {1: str(COA1), 5: str(COA2)}
    answer = peer.send(bid(1), bid(5, COA3))
    assert (answer.status, [o.status for o in answer.bids]) == (0, [0, 0])
    assert care_of(peer) == {1: str(COA1), 5: str(COA3)}


def test_the_only_bid_fails_the_update() -> None:
    peer = Peer(switches=Switches(bid_source_address=False))
    answer = peer.send(bid(2), flow(1, bids=[2]))
    assert (answer.status, [o.status for o in answer.bids], answer.flow_statuses) == (167, [0], [128])
    assert peer.node is None
    assert peer.send(bid(2, "fe80::1")).status == 164
    answer = peer.send(MalformedOption(35, bytes(5)), bid(1, COA1))
    assert answer.status == 164
    assert peer.send(MalformedOption(35, bytes(5)), lifetime=0).status == 133
    peer.send(bid(1, COA1))
    assert peer.send(MalformedOption(35, bytes(5)), lifetime=0).status == 164
    assert care_of(peer) == {1: str(COA1)}


def test_a_bid_without_address_where_the_switch_allows_it() -> None:
    peer = Peer(switches=Switches(bid_source_address=True))
    peer.send(bid(2, priority=5), source=COA2)
    assert care_of(peer) == {2: str(COA2)}


def test_an_update_without_bid_replaces_all() -> None:
    peer = Peer()
    peer.send(bid(1, COA1), bid(2, COA2), flow(1, bids=[1]))
    assert peer.send(source=COA1).status == 0
    assert care_of(peer) == {PLAIN: str(COA1)}
    assert list(peer.node.flows) == [1]  # inactive now (K30)
    assert peer.decide(source_port=1)[0] == "default"
    assert peer.send(bid(1, COA1)).status == 165
    assert peer.send(bid(1, COA1), flags=A | H | OVERWRITE).status == 0
    assert care_of(peer) == {1: str(COA1)}
    assert peer.decide()[:2] == ("forward", 1)


def test_the_o_flag_replaces_all() -> None:
    peer = Peer()
    peer.send(bid(1, COA1), bid(2, COA2))
    answer = peer.send(bid(2), bid(3, COA3), flags=A | H | OVERWRITE)
    assert answer.status == 0
    assert care_of(peer) == {2: str(COA2), 3: str(COA3)}


@pytest.mark.req("K36")
def test_the_bit_of_the_o_flag_means_something_else_with_p() -> None:
    peer = Peer()
    peer.send(bid(1, COA1))
    peer.send(bid(2, COA2), flags=A | H | OVERWRITE | P)
    assert care_of(peer) == {1: str(COA1), 2: str(COA2)}


@pytest.mark.parametrize(
    ("capabilities", "options", "status"),
    [
        (Capabilities(multiple_care_of=False), [bid(1, COA1)], 166),
        (Capabilities(bulk=False), [bid(1, COA1), bid(2, COA2)], 168),
        (Capabilities(home_and_foreign=False), [bid(1, HOME, home=True)], 169),
    ],
)
def test_what_an_agent_may_not_do(capabilities: Capabilities, options: list[Any], status: int) -> None:
    peer = Peer(capabilities=capabilities)
    assert peer.send(*options).status == status
    assert peer.node is None


def test_more_bids_than_allowed() -> None:
    peer = Peer(limits=Limits(bids_per_node=2))
    answer = peer.send(bid(1, COA1), bid(2, COA2), bid(3, COA3))
    assert (answer.status, [o.status for o in answer.bids]) == (4, [0, 0, 130])
    assert peer.send(bid(3, COA3)).status == 130
    assert peer.send(bid(2, COA3)).status == 0


def test_home_and_foreign_at_once() -> None:
    peer = Peer(capabilities=Capabilities(home_without_ndp=True))
    answer = peer.send(bid(1, HOME, 1, home=True), bid(2, COA2, 2))
    assert answer.status == 5
    assert [o.home for o in answer.bids] == [True, False]
    assert care_of(peer) == {1: str(HOME), 2: str(COA2)}
    peer.send(bid(3, home=True))  # one home binding at a time
    assert care_of(peer) == {2: str(COA2), 3: str(HOME)}
    peer.send(bid(2, COA2))  # H clear: no longer at home
    assert care_of(peer) == {2: str(COA2)}
    assert Peer().send(bid(1, HOME, home=True)).status == 0


@pytest.mark.parametrize("keeps", [True, False])
def test_h_unset_in_an_update_for_another_bid(keeps: bool) -> None:
    peer = Peer(switches=Switches(h_unset_leaves_home=not keeps))
    peer.send(bid(1, HOME, home=True))
    peer.send(bid(2, COA2))
    assert (1 in peer.node.care_of) is keeps


# ---- de-registration


@pytest.mark.req("R108")
def test_deregistration_of_everything() -> None:
    peer = Peer()
    peer.send(bid(1, COA1), bid(2, COA2), flow(1), flow(2, bids=[2]))
    answer = peer.send(lifetime=0)
    assert (answer.status, answer.lifetime) == (0, 0)
    assert peer.node is None
    assert peer.table.nodes == {}
    assert peer.send(lifetime=0).status == 133


@pytest.mark.req("R108")
def test_the_home_address_as_care_of_address_is_a_deregistration() -> None:
    peer = Peer()
    peer.send(bid(1, COA1), flow(1))
    assert peer.send(source=HOME, home=None, lifetime=150).status == 0
    assert peer.node is None
    peer.send(bid(1, COA1))
    assert peer.send(AlternateCareOf(HOME)).status == 0
    assert peer.node is None


@pytest.mark.req("K30", "R126")
def test_deregistration_of_single_bids() -> None:
    peer = Peer()
    peer.send(bid(1, COA1, 1), bid(2, COA2, 2), bid(3, COA3, 3), flow(1, bids=[1]), flow(2, bids=[2]))
    answer = peer.send(bid(1), lifetime=0)
    assert (answer.status, answer.lifetime) == (0, 0)
    assert care_of(peer) == {2: str(COA2), 3: str(COA3)}
    assert sorted(peer.node.flows) == [1, 2]
    assert peer.decide() == ("forward", 2, [str(COA2)])
    assert peer.send(bid(1), lifetime=0).status == 133
    answer = peer.send(bid(2), bid(9), lifetime=0, flags=A | H | OVERWRITE)
    assert (answer.status, [o.status for o in answer.bids]) == (4, [0, 133])
    assert care_of(peer) == {3: str(COA3)}
    peer.send(bid(3), lifetime=0)
    assert sorted(peer.node.flows) == [1, 2]  # kept to their own end
    assert peer.decide() == ("unbound", None, [])
    peer.send(bid(1, COA1))
    assert peer.decide() == ("forward", 1, [str(COA1)])


@pytest.mark.req("K33", "R68")
def test_flow_options_in_a_deregistration() -> None:
    peer = Peer()
    peer.send(bid(1, COA1), flow(1), flow(2))
    answer = peer.send(flow(1, pro=15), flow(9, pro=15), flow(2, pro=2), flow(3), lifetime=0)
    assert (answer.status, answer.flow_statuses) == (0, [0, 136, 128, 128])
    peer.send(bid(1, COA1), bid(2, COA2), flow(1), flow(2, bids=[1]), sequence=100)
    ends = peer.node.flows[1].expires
    peer.now += 8
    answer = peer.send(bid(1), flow(2, pro=1, bids=[2]), flow(1, pro=2), flow(5, bids=[2]), lifetime=0, sequence=101)
    assert answer.flow_statuses == [0, 0, 128]  # nothing new without a lifetime; what is there keeps its own
    assert peer.node.flows[2].bids == (2,)
    assert {f.expires for f in peer.node.flows.values()} == {ends}


# ---- mobile networks


def test_explicit_prefixes() -> None:
    peer = Peer()
    answer = peer.send(bid(1, COA1), MobileNetworkPrefix(IPv6Address("2001:db8:100::99"), 56), flags=A | H | R)
    assert answer.status == 0
    assert answer.message.flags == 0x40
    assert peer.node.prefixes == ((NETWORK.packed, 56),)
    assert peer.table.nodes[HOME.packed]["prefixes"] == ((NETWORK.packed, 56),)
    peer.send(bid(1, COA1), MobileNetworkPrefix(IPv6Address("2001:db8:200::"), 56), flags=A | H | R)
    assert peer.node.prefixes == ((IPv6Address("2001:db8:200::").packed, 56),)
    before = peer.state()
    for prefix, length, status in [
        (NETWORK, 129, 141),
        (NETWORK, 0, 141),
        (IPv6Address("ff00::"), 8, 141),
        (IPv6Address("fe80::"), 64, 141),
    ]:
        answer = peer.send(bid(1, COA1), MobileNetworkPrefix(prefix, length), flags=A | H | R)
        assert (answer.status, answer.message.flags) == (status, 0)
    assert peer.send(bid(1, COA1), flags=A | H | R).status == 143
    assert peer.state() == before
    other = peer.packet(
        bid(1, COA2), MobileNetworkPrefix(IPv6Address("2001:db8:200::"), 56), home=OTHER_HOME, flags=A | H | R
    )
    (reply,) = peer.replies(other)
    assert reply.message.status == 142  # type: ignore[union-attr]  # its type is known
    peer.send(lifetime=0)  # the R flag of a de-registration is ignored
    assert peer.agent.cache.owners == {}
    other = peer.packet(
        bid(1, COA2), MobileNetworkPrefix(IPv6Address("2001:db8:200::"), 56), home=OTHER_HOME, flags=A | H | R
    )
    assert peer.replies(other)[0].message.status == 0  # type: ignore[union-attr]  # its type is known


def test_the_prefix_table() -> None:
    table = {HOME.packed: [(NETWORK.packed, 56)]}
    peer = Peer(prefix_table=table)
    assert peer.send(flags=A | H | R).status == 0
    assert peer.node.prefixes == ((NETWORK.packed, 56),)
    assert peer.send(MobileNetworkPrefix(NETWORK, 48), flags=A | H | R).status == 142
    assert peer.send(MobileNetworkPrefix(NETWORK, 56), flags=A | H | R).status == 0
    peer = Peer(limits=Limits(prefixes_per_node=1))
    two = [MobileNetworkPrefix(NETWORK, 56), MobileNetworkPrefix(NETWORK, 57)]
    assert peer.send(*two, flags=A | H | R).status == 141
    assert Peer(capabilities=Capabilities(mobile_routers=False)).send(flags=A | H | R).status == 140
    peer = Peer()
    peer.send(MobileNetworkPrefix(NETWORK, 56))  # without R: a mobile node, nothing behind it
    assert peer.node.prefixes == ()


# ---- other messages


def test_an_unknown_message_type_gets_a_binding_error() -> None:
    peer = Peer()
    message = UnknownMessage(77, bytes(10))
    (reply,) = peer.replies(MobilityPacket(COA1, AGENT, message, home_address=HOME))
    assert reply.message == BindingError(2, HOME)
    assert (reply.source, reply.destination, reply.routing_home) == (AGENT, COA1, None)
    (reply,) = peer.replies(MobilityPacket(COA1, AGENT, message))
    assert reply.message == BindingError(2, IPv6Address("::"))
    assert peer.replies(MobilityPacket(IPv6Address("::"), AGENT, message)) == []
    assert peer.replies(MobilityPacket(COA1, IPv6Address("ff02::1"), message)) == []
    assert peer.replies(MobilityPacket(COA1, AGENT, BindingError(1, HOME))) == []


def test_parameter_problems_are_reported_to_the_caller() -> None:
    peer = Peer()
    data = bytearray(encode_packet(peer.packet()))
    start = 40 + 24
    for at, value in ((0, 6), (1, 0)):
        broken = bytearray(data)
        broken[start + at] = value
        assert peer.agent.receive(checksummed(broken, start, HOME, AGENT), now=0) == []
        event = peer.events[-1]
        assert (event.kind, event.number, event.address) == (EventKind.PARAMETER_PROBLEM, start + at, COA1.packed)


@pytest.mark.req("R96")
def test_unknown_options_are_skipped() -> None:
    peer = Peer()
    answer = peer.send(UnknownOption(200, b"abc"), bid(1, COA1))
    assert (answer.status, [type(o).__name__ for o in answer.options]) == (0, ["BindingIdentifier"])


# ---- time


@pytest.mark.req("K17", "R131")
def test_refresh_advice() -> None:
    peer = Peer(switches=Switches(refresh_advice=0.5))
    assert peer.send(bid(1, COA1)).options[-1] == BindingRefreshAdvice(75)
    assert peer.send(bid(1, COA1), lifetime=1).options[1:] == []
    assert peer.send(bid(9, "fe80::1"), lifetime=150).options[1:] == []  # refused
    assert peer.send(lifetime=0).options == []
    peer = Peer(switches=Switches(refresh_advice=5.0))
    assert peer.send(lifetime=10).options == [BindingRefreshAdvice(9)]  # always less than the lifetime


def test_no_advice_from_an_agent_that_keeps_its_cache() -> None:
    class Store:
        def put(self, home_address: bytes, node: object) -> None:
            pass

    assert Peer(switches=Switches(refresh_advice=0.5), store=Store()).send().options == []


@pytest.mark.req("K17", "R131", "R130")
def test_refresh_requests_before_the_end() -> None:
    peer = Peer()
    peer.send(bid(1, COA1, 5), bid(2, COA2, 1), flow(1, bids=[1]), lifetime=150)
    peer.now += 100
    peer.send(bid(2, COA2, 1), lifetime=150)
    assert peer.agent.next_deadline() == 1590.0
    assert peer.agent.tick(1589.9) == []
    (data,) = peer.agent.tick(1590.0)
    request = decode_packet(data)
    assert isinstance(request.message, BindingRefreshRequest)
    assert [o for o in request.message.options if o == bid(1)] == [bid(1)]
    assert (request.source, request.destination, request.routing_home) == (AGENT, COA2, HOME)
    assert peer.agent.next_deadline() == 1600.0
    assert peer.agent.tick(1600.0) == []
    assert care_of(peer) == {2: str(COA2)}
    (data,) = peer.agent.tick(1695.0)
    assert peer.agent.tick(1700.0) == []
    assert peer.node is None


def test_a_short_lifetime_is_asked_for_at_half_time() -> None:
    peer = Peer()
    peer.send(lifetime=2)
    assert peer.agent.next_deadline() == peer.now + 4
    assert Peer(switches=Switches(refresh_lead=0)).send(lifetime=2).status == 0


def test_an_entry_that_has_expired_is_not_there_for_the_next_update_either() -> None:
    peer = Peer(switches=Switches(bid_source_address=False))
    peer.send(bid(1, COA1), flow(1), lifetime=1)
    peer.now += 4
    answer = peer.send(bid(1), flow(2, bids=[1]))  # no tick in between
    assert answer.status == 167


# ---- an update left open


@pytest.mark.parametrize("profile", ["draft", "rfc6089"])
def test_what_an_embedder_grants(profile: str) -> None:
    """Less than was asked for, of what this update makes; never more, and never nothing."""
    peer = Peer(profile)
    peer.send(bid(1, COA1), flow(1, 1, bids=[1], selector=SSH))
    peer.now += 1
    options: tuple[Any, ...] = (bid(2, COA2), flow(2, 2, bids=[2], selector=HTTPS))
    if profile == "rfc6089":
        options += (FlowSummary((1,)),)
    pending = peer.agent.begin(encode_packet(peer.packet(*options), profile), now=peer.now)
    for wrong in (0, -1):
        with pytest.raises(FlowclassError, match=r"^granted_lifetime: 1 or more"):
            pending.commit(wrong)
    (reply,) = pending.commit(granted_lifetime=10)
    assert Answer(decode_packet(reply, profile)).lifetime == 10
    early, late = peer.now - 1 + 600, peer.now + 40
    assert {b: c.expires for b, c in peer.node.care_of.items()} == {1: early, 2: late}
    assert {f: x.expires for f, x in peer.node.flows.items()} == {1: early if profile == "draft" else late, 2: late}
    assert peer.agent.next_deadline() == late - 10
    pending = peer.agent.begin(encode_packet(peer.packet(bid(1)), profile), now=peer.now)
    (reply,) = pending.commit(granted_lifetime=1000)
    assert Answer(decode_packet(reply, profile)).lifetime == 150


def test_an_update_left_open_for_duplicate_address_detection() -> None:
    peer = Peer()
    agent = peer.agent
    pending = agent.begin(encode_packet(peer.packet(bid(1, COA1), flow(1))), now=peer.now)
    assert [str(e.kind) for e in pending.changes] == ["node-added", "bid-added", "flow-added", "default-changed"]
    assert peer.node is None
    assert peer.replies(peer.packet(bid(2, COA2))) == []
    assert agent.counters.ignored["busy"] == 1
    (answer,) = pending.commit()
    assert decode_packet(answer).message.status == 0  # type: ignore[union-attr]  # its type is known
    assert care_of(peer) == {1: str(COA1)}
    assert pending.commit() == [answer]
    pending = agent.begin(peer.packet(bid(2, COA2), flow(2)), now=peer.now)
    (answer,) = pending.abort(134)
    message = decode_packet(answer).message
    assert message.status == 134  # type: ignore[union-attr]  # its type is known
    assert care_of(peer) == {1: str(COA1)}
    assert peer.send(bid(2, COA2)).status == 0
    assert agent.begin(b"", now=0).changes == []


def test_a_table_that_refuses_is_a_refusal() -> None:
    class Full:
        def publish(self, home_address: bytes, **what: Any) -> int:
            from flowclass.errors import ClassifierError

            raise ClassifierError("full")

        def withdraw(self, home_address: bytes) -> None:
            raise AssertionError

    peer = Peer(agent=HomeAgent(table=Full()))
    answer = peer.send(bid(1, COA1), flow(1))
    assert (answer.status, answer.flow_statuses) == (130, [128])
    assert peer.node is None
    assert peer.send(bid(1, COA1)).status == 130  # and not busy
