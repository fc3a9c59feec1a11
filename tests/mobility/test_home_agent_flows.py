"""Flow identification options at a home agent, draft profile: section 8.1 in its order, every status code."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from mobility_kit import (
    ADD,
    COA1,
    COA2,
    COA3,
    DISCARD,
    FORWARD,
    HOME,
    HTTPS,
    NCAST,
    OTHER_HOME,
    REFRESH,
    REMOVE,
    REPLACE,
    SSH,
    Peer,
    ReadableTable,
    bid,
    flow,
)

from flowclass.engine.rules import WILD_CARD, describe_rule, selector_rule
from flowclass.mobility import Capabilities, Limits, Switches
from flowclass.wire import (
    DRAFT,
    AlternateCareOf,
    BindingReference,
    FlowIdentification,
    FlowSummary,
    MalformedSubOption,
    TrafficSelector4,
    TrafficSelector6,
    TrafficSelectorOption,
    UnknownSelector,
    UnknownSubOption,
    Verbatim,
    encode_packet,
)


@pytest.fixture
def peer() -> Peer:
    """BIDs 1 (COA1, preferred) and 2 (COA2), flow 1: ssh to BID 2."""
    made = Peer()
    made.send(bid(1, COA1, 10), bid(2, COA2, 20), flow(1, 5, bids=[2], selector=SSH))
    assert made.decide(source_port=22) == ("forward", 1, [str(COA2)])
    return made


def one(peer: Peer, option: Any, *others: Any, **how: Any) -> int:
    """The status of one flow option, sent in an update of BID 1."""
    answer = peer.send(*(others or (bid(1, COA1, 10),)), option, **how)
    assert answer.status == 0
    (status,) = answer.flow_statuses
    return status


# ---- section 5, and the echo


@pytest.mark.req(
    "R1",
    "R2",
    "R5",
    "R8",
    "R10",
    "R12",
    "R16",
    "R17",
    "R22",
    "R49",
    "R76",
    "R77",
    "R78",
    "R79",
    "R80",
    "R81",
    "K4",
    "K14",
)
@pytest.mark.parametrize("action", [FORWARD, 0])
def test_section_5(action: int) -> None:
    """Secure flows over CoA1, the rest over CoA2: from binding update to decision."""
    peer = Peer()
    first = peer.send(bid(2, COA2, 1), source=COA2)
    assert first.status == 0
    assert peer.decide(source_port=22) == ("default", None, [str(COA2)])
    options = [flow(1, 1, action=action, selector=SSH), flow(2, 1, action=action, selector=HTTPS)]
    second = peer.send(bid(1, COA1, 2), *options, source=COA1)
    assert second.status == 0
    assert [(o.fid, o.pri, o.action, o.pro, o.status, o.suboptions) for o in second.flows] == [
        (1, 1, action, 0, 0, ()),
        (2, 1, action, 0, 0, ()),
    ]
    assert peer.decide(source_port=22) == ("forward", 1, [str(COA1)])
    assert peer.decide(source_port=443) == ("forward", 2, [str(COA1)])
    assert peer.decide(source_port=80, destination_port=22) == ("default", None, [str(COA2)])
    assert peer.agent.counters.actions_zero == (0 if action else 2)


@pytest.mark.req("R73", "R74", "R129", "K7", "R20", "R18")
def test_the_echo_is_eight_octets_with_only_the_status_changed(peer: Peer) -> None:
    sent = [
        FlowIdentification(0x1234, 7, 1, 0, 0x55, (BindingReference((1,)), UnknownSubOption(9, b"xyz"))),
        FlowIdentification(1, 0, 2, 0, 0),
    ]
    packet = peer.packet(bid(1), *sent)
    data = peer.agent.receive(encode_packet(packet), now=peer.now)[0]
    assert bytes.fromhex("12 06 07 1234 01 00 00") in data
    assert bytes.fromhex("12 06 00 0001 02 87 00") in data


@pytest.mark.req("R18", "R128")
def test_the_status_of_the_update_is_not_that_of_its_flows(peer: Peer) -> None:
    answer = peer.send(bid(1), flow(1), flow(1, pro=REMOVE), flow(1, pro=REMOVE), flow(1, bids=[9]), flow(4))
    assert answer.status == 0
    assert answer.flow_statuses == [135, 0, 136, 129, 0]


# ---- Add


@pytest.mark.req("R43", "R52", "R54", "R56", "R59", "R60", "R61", "R116", "R118", "R123", "R35", "R37", "R58")
def test_add(peer: Peer) -> None:
    selector = TrafficSelector6(
        source=(IPv6Address("2001:db8:5::"), IPv6Address("2001:db8:5::ffff")),
        destination=(HOME, HOME),
        spi=(1, 2),
        flow_label=(3, 4),
        source_port=(5, 6),
        destination_port=(7, 8),
        traffic_class=(0x2A, 0x2B),
        protocol=(6, 17),
    )
    assert one(peer, flow(7, 3, bids=[2], selector=selector)) == 0
    assert describe_rule(peer.node.flows[7].rule) == {
        "version": 6,
        "source": (int(IPv6Address("2001:db8:5::")), int(IPv6Address("2001:db8:5::ffff"))),
        "destination": (int(HOME), int(HOME)),
        "spi": (1, 2),
        "flow_label": (3, 4),
        "source_port": (5, 6),
        "destination_port": (7, 8),
        "traffic_class": (0x28, 0x28),
        "protocol": (6, 17),
    }
    assert one(peer, flow(8, bids=[1], selector=TrafficSelector4(source=(IPv4Address(1), IPv4Address(9))))) == 0
    assert describe_rule(peer.node.flows[8].rule) == {"version": 4, "source": (1, 9)}
    assert one(peer, flow(9, bids=[1], selector=TrafficSelector4())) == 0
    assert describe_rule(peer.node.flows[9].rule) == {"version": 4}
    before = peer.state()
    assert one(peer, flow(7), sequence=100) == 135
    after = peer.state()
    assert after[HOME.packed][5] == before[HOME.packed][5]


@pytest.mark.req("R36", "R38", "R55")
def test_fids_are_per_home_address(peer: Peer) -> None:
    other = peer.send(bid(1, COA3), flow(1, selector=HTTPS), home=OTHER_HOME)
    assert other.flow_statuses == [0]
    assert peer.table.decide(OTHER_HOME, source_port=443) == ("forward", 1, [str(COA3)])
    assert peer.decide(source_port=22)[1] == 1


@pytest.mark.req("R62", "K9", "K35", "R41")
def test_a_wild_card_beats_the_default_and_loses_to_a_smaller_pri(peer: Peer) -> None:
    assert one(peer, flow(9, 9)) == 0
    assert peer.node.flows[9].rule == WILD_CARD
    assert peer.decide(source_port=22) == ("forward", 1, [str(COA2)])
    assert peer.decide(source_port=23) == ("forward", 9, [str(COA1)])
    assert peer.decide(version=4) == ("forward", 9, [str(COA1)])
    assert one(peer, flow(9, pro=REMOVE)) == 0
    assert peer.decide(source_port=23) == ("default", None, [str(COA1)])
    assert one(peer, flow(9, 4)) == 0
    assert peer.decide(source_port=22) == ("forward", 9, [str(COA1)])


@pytest.mark.req("R15", "R42", "R79", "K14", "K31", "K34")
def test_matching_order(peer: Peer) -> None:
    assert one(peer, flow(3, 5, bids=[1], selector=TrafficSelector6(protocol=(6, 6)))) == 0
    assert peer.decide(source_port=22, protocol=6)[1] == 1  # equal PRI: the lower FID, not the better match
    assert one(peer, flow(0, 5, action=DISCARD, selector=SSH)) == 0
    assert peer.decide(source_port=22, protocol=6) == ("discard", 0, [])
    assert one(peer, flow(4, 0, bids=[1], selector=SSH)) == 0
    assert peer.decide(source_port=22, protocol=6)[1] == 4


@pytest.mark.req("R23")
def test_discard(peer: Peer) -> None:
    assert one(peer, flow(2, 1, action=DISCARD, selector=HTTPS)) == 0
    assert peer.decide(source_port=443) == ("discard", 2, [])
    assert peer.node.flows[2].bids == ()
    # it needs no care-of address to go to, so it isn't inactive when all have gone
    peer.send(bid(1), bid(2), lifetime=0)
    assert peer.decide(source_port=443) == ("discard", 2, [])
    assert peer.decide(source_port=22) == ("unbound", None, [])


# ---- what the description may not be


@pytest.mark.req("R25", "R26", "R118")
@pytest.mark.parametrize(
    ("capabilities", "selector", "status"),
    [
        ({"prefixes": False}, TrafficSelector6(source=(COA1, COA2)), 131),
        ({"prefixes": False}, TrafficSelector6(destination=(COA1, COA2)), 131),
        ({"prefixes": False}, TrafficSelector4(source=(IPv4Address(1), IPv4Address(2))), 131),
        ({"prefixes": False}, TrafficSelector6(source=(COA1, COA1)), 0),
        ({"ports": False}, TrafficSelector6(source_port=(1, 1)), 132),
        ({"ports": False}, TrafficSelector6(destination_port=(1, 1)), 132),
        ({"ports": False}, TrafficSelector6(protocol=(1, 1)), 0),
        ({"flow_label": False}, TrafficSelector6(flow_label=(1, 1)), 133),
        ({"flow_label": False}, TrafficSelector4(protocol=(1, 1)), 0),
        ({"spi": False}, TrafficSelector6(spi=(1, 1)), 134),
        ({"spi": False, "ports": False}, TrafficSelector6(spi=(1, 1), source_port=(1, 1)), 132),
        ({"ipv4_selectors": False}, TrafficSelector4(), 137),
        ({"ipv6_selectors": False}, TrafficSelector6(), 137),
        ({}, UnknownSelector(3, b"abc"), 137),
        ({}, UnknownSelector(0, b""), 137),
    ],
)
def test_descriptions_that_are_not_supported(capabilities: dict[str, bool], selector: Any, status: int) -> None:
    peer = Peer(capabilities=Capabilities(**capabilities))
    assert one(peer, flow(1, selector=selector), bid(1, COA1)) == status
    assert (1 in peer.node.flows) is (status == 0)


@pytest.mark.parametrize(
    "sub",
    [
        MalformedSubOption(bytes.fromhex("03 0a 02 00 40000000 0016")),  # an end without its start
        MalformedSubOption(bytes.fromhex("01 05 0001 00")),  # an odd reference (K3)
        MalformedSubOption(bytes.fromhex("01 02")),  # an empty one (R29)
        MalformedSubOption(bytes.fromhex("01 06 0001")),  # longer than the option
        MalformedSubOption(bytes.fromhex("01 01")),  # a length that doesn't cover itself
        MalformedSubOption(bytes.fromhex("01")),  # cut off
    ],
)
@pytest.mark.req("R25", "R29", "K3", "R14")
def test_malformed_sub_options(peer: Peer, sub: MalformedSubOption) -> None:
    option = FlowIdentification(5, 1, 1, ADD, 0, Verbatim((sub,)))
    assert one(peer, option) == 129
    assert 5 not in peer.node.flows


@pytest.mark.req("R68", "R113h", "R124c")
def test_which_malformed_sub_options_concern_a_remove(peer: Peer) -> None:
    content = MalformedSubOption(bytes.fromhex("01 05 0001 00"))
    framing = MalformedSubOption(bytes.fromhex("01 06 0001"))
    assert one(peer, FlowIdentification(1, 99, 77, REFRESH, 0, Verbatim((content,)))) == 0
    assert one(peer, FlowIdentification(1, 1, 1, REMOVE, 0, Verbatim((framing,)))) == 129
    assert one(peer, FlowIdentification(1, 99, 77, REMOVE, 0, Verbatim((content,)))) == 0


def test_an_option_too_short_for_its_fixed_part_is_no_flow_option(peer: Peer) -> None:
    from flowclass.wire import UnknownOption

    answer = peer.send(bid(1), UnknownOption(18, b"\0" * 0))
    assert answer.flows == []


@pytest.mark.req("R25")
def test_local_policy_and_room() -> None:
    peer = Peer(admit_flow=lambda node, option: option.pri != 66, limits=Limits(flows_per_node=2, fan_out=2))
    peer.send(*(bid(b, f"2001:db8:f::{b}") for b in range(1, 5)))
    assert one(peer, flow(1, 66)) == 130
    assert one(peer, flow(1)) == 0
    assert one(peer, flow(2, action=NCAST, bids=[1, 2, 3])) == 128
    assert one(peer, flow(2, action=NCAST, bids=[1, 2])) == 0
    assert one(peer, flow(3)) == 128
    assert one(peer, flow(2, pro=REPLACE)) == 0
    assert one(peer, flow(2, 66, pro=REPLACE)) == 130


# ---- where a flow goes


@pytest.mark.req("R30", "R31", "R53", "K23", "R33", "R34")
def test_references(peer: Peer) -> None:
    assert one(peer, flow(5, bids=[3])) == 129
    assert one(peer, flow(5, bids=[1, 3])) == 129
    assert one(peer, flow(5, bids=[0])) == 129
    assert one(peer, flow(5, bids=[3]), bid(3, COA3)) == 0  # known by an option of the same update
    strict = Peer(switches=Switches(unknown_bid_status=128))
    assert one(strict, flow(5, bids=[3]), bid(1, COA1)) == 128


@pytest.mark.req("K16")
def test_several_references_and_duplicates(peer: Peer) -> None:
    more = (BindingReference((2, 1)), BindingReference((1, 2, 2)))
    assert one(peer, flow(5, action=NCAST, more=more)) == 0
    assert peer.node.flows[5].bids == (2, 1)


@pytest.mark.req("K18", "R57", "R95")
def test_a_flow_without_reference_goes_to_the_updates_own_address(peer: Peer) -> None:
    # the only BID option, whatever the packet's source and the alternate care-of address
    assert one(peer, flow(5), bid(2, COA2), AlternateCareOf(COA1)) == 0
    assert peer.node.flows[5].bids == (2,)
    # several: the one with the alternate care-of address, or the source
    assert one(peer, flow(6), bid(1, COA1), bid(2, COA2), AlternateCareOf(COA2)) == 0
    assert peer.node.flows[6].bids == (2,)
    assert one(peer, flow(7), bid(1, COA1), bid(2, COA2), source=COA1) == 0
    assert peer.node.flows[7].bids == (1,)
    # none of them
    assert one(peer, flow(8), bid(1, COA1), bid(2, COA2), source=COA3) == 129
    assert one(peer, flow(8, action=NCAST, bids=[1]), bid(1, COA1), bid(2, COA2), source=COA3) == 129
    assert one(peer, flow(8, action=DISCARD), bid(1, COA1), bid(2, COA2), source=COA3) == 0


@pytest.mark.req("K37", "R53")
def test_flow_options_without_bid_option(peer: Peer) -> None:
    peer.now += 100
    answer = peer.send(flow(5, selector=HTTPS), source=COA2)
    assert (answer.status, answer.flow_statuses) == (0, [0])
    assert peer.node.flows[5].bids == (2,)
    assert sorted(peer.node.care_of) == [1, 2]
    assert peer.node.care_of[2].expires == peer.now + 600
    assert peer.node.care_of[2].priority == 20
    assert peer.node.care_of[1].expires == peer.now + 500
    answer = peer.send(flow(6), AlternateCareOf(COA1))
    assert peer.node.flows[6].bids == (1,)
    answer = peer.send(flow(7), source=COA3)  # no registered address: everything is replaced
    assert answer.flow_statuses == [0]
    assert list(peer.node.care_of) == [0]
    assert peer.node.flows[7].bids == (0,)
    assert peer.decide() == ("forward", 7, [str(COA3)])
    peer.send(source=COA2)
    assert peer.decide() == ("forward", 7, [str(COA2)])  # follows the binding without BID (K19)


@pytest.mark.req("R46", "R66", "R104")
def test_a_bid_that_moves_takes_its_flows_along(peer: Peer) -> None:
    assert peer.send(bid(2, COA3), source=COA3).flows == []
    assert peer.decide(source_port=22) == ("forward", 1, [str(COA3)])
    peer.send(bid(2, "192.0.2.1"))
    assert peer.decide(source_port=22) == ("forward", 1, ["192.0.2.1"])


# ---- n-cast


@pytest.mark.req("R24", "R117", "R119", "R120", "R121", "R122", "K19", "K26", "R90")
def test_ncast(peer: Peer) -> None:
    assert one(peer, flow(5, action=NCAST)) == 129
    assert one(peer, flow(5, action=NCAST, more=(UnknownSubOption(7, b""),))) == 129
    assert one(peer, flow(5, action=NCAST, bids=[1])) == 129  # the update's own address: nothing to copy to
    assert one(peer, flow(5, 1, action=NCAST, bids=[2], selector=HTTPS)) == 0  # bicast
    assert peer.node.flows[5].bids == (1, 2)
    assert peer.decide(source_port=443) == ("n-cast", 5, [str(COA1), str(COA2)])
    peer.send(bid(1, COA3, 10))
    assert peer.decide(source_port=443) == ("n-cast", 5, [str(COA3), str(COA2)])
    peer.send(bid(3, COA1))
    assert one(peer, flow(6, 0, action=NCAST, bids=[3, 2], selector=HTTPS)) == 0
    assert peer.decide(source_port=443) == ("n-cast", 6, [str(COA1), str(COA2)])
    assert len(peer.node.flows) == 3  # one entry each, with a list of BIDs
    peer.send(bid(3), lifetime=0)
    assert peer.decide(source_port=443) == ("n-cast", 6, [str(COA2)])


@pytest.mark.req("K19")
def test_bicast_with_a_binding_without_bid() -> None:
    peer = Peer()
    peer.send(source=COA1)
    peer.send(bid(1, COA1), bid(2, COA2), flags=0xC040)
    assert one(peer, flow(5, action=NCAST, bids=[2]), AlternateCareOf(COA1)) == 0  # K37
    assert peer.node.flows[5].bids == (1, 2)


@pytest.mark.req("R122")
def test_ncast_to_the_updates_own_address_where_a_switch_allows_it() -> None:
    peer = Peer(switches=Switches(single_own_bid_ncast="forward"))
    assert one(peer, flow(5, action=NCAST, bids=[1]), bid(1, COA1)) == 0
    assert peer.decide() == ("n-cast", 5, [str(COA1)])


@pytest.mark.req("R26", "R25")
@pytest.mark.parametrize(
    ("capabilities", "action", "status"),
    [({"ncast": False}, NCAST, 139), ({"discard": False}, DISCARD, 138), ({"ncast": False}, FORWARD, 0)],
)
def test_actions_that_are_not_supported(capabilities: dict[str, bool], action: int, status: int) -> None:
    peer = Peer(capabilities=Capabilities(**capabilities))
    assert one(peer, flow(5, action=action, bids=[1]), bid(1, COA1)) == status


@pytest.mark.req("K24", "K4", "R21")
def test_numbers_without_meaning(peer: Peer) -> None:
    for pro in range(3, 15):
        assert one(peer, flow(1 if pro % 2 else 9, pro=pro)) == 129
    for action in (4, 5, 255):
        assert one(peer, flow(9, action=action)) == 129
    assert one(peer, flow(9, action=0)) == 0
    strict = Peer(switches=Switches(accept_action_zero=False))
    assert one(strict, flow(9, action=0), bid(1, COA1)) == 129


# ---- Replace, Refresh, Remove


@pytest.mark.req("R63", "R64", "R65", "R101", "R102", "R103", "R124b", "K10", "K11")
def test_replace(peer: Peer) -> None:
    assert one(peer, flow(1, 9, pro=REPLACE)) == 0
    assert peer.node.flows[1].rule == selector_rule(SSH)  # the filter is kept,
    assert peer.decide(source_port=22) == ("forward", 1, [str(COA1)])  # the target is the packet's own,
    assert peer.node.flows[1].priority == 9  # PRI and action are always new
    assert one(peer, flow(1, 9, pro=REPLACE, bids=[2], selector=HTTPS)) == 0
    assert peer.decide(source_port=22)[0] == "default"
    assert peer.decide(source_port=443) == ("forward", 1, [str(COA2)])
    assert one(peer, flow(1, 9, pro=REPLACE, action=NCAST)) == 129
    assert one(peer, flow(1, 9, pro=REPLACE, action=NCAST, bids=[2])) == 0
    assert one(peer, flow(1, 9, pro=REPLACE, action=DISCARD)) == 0
    assert peer.decide(source_port=443) == ("discard", 1, [])
    before = peer.state()[HOME.packed][5]
    assert one(peer, flow(1, 1, pro=REPLACE, bids=[9])) == 129  # and what was there stays
    assert peer.state()[HOME.packed][5] == before


@pytest.mark.req("R124a", "R124c", "R86", "R87", "K6", "K5")
@pytest.mark.parametrize(("switch", "status"), [("literal", 129), ("not-found", 136)])
def test_an_unknown_fid(switch: Any, status: int) -> None:
    peer = Peer(switches=Switches(unknown_fid_status=switch))
    assert one(peer, flow(1, pro=REPLACE), bid(1, COA1)) == status
    assert one(peer, flow(1, pro=REFRESH)) == status
    assert one(peer, flow(1, pro=REMOVE)) == 136


@pytest.mark.req("R67", "R68", "R125", "R126", "R127", "K5")
def test_remove(peer: Peer) -> None:
    assert one(peer, flow(2, 1, bids=[2], selector=HTTPS)) == 0
    assert one(peer, flow(1, 200, pro=REMOVE, action=99, bids=[77])) == 0
    assert list(peer.node.flows) == [2]
    assert one(peer, flow(1, pro=REMOVE)) == 136


@pytest.mark.req("R69", "K12", "R124c", "R134")
def test_lifetimes_are_each_flows_own(peer: Peer) -> None:
    assert one(peer, flow(2, bids=[2])) == 0
    start = peer.now
    peer.now += 100
    assert one(peer, flow(1, 77, pro=REFRESH, action=99), lifetime=10) == 0
    flows = peer.node.flows
    assert flows[1].expires == start + 140
    assert (flows[1].priority, flows[1].bids) == (5, (2,))
    assert flows[2].expires == start + 600  # not named: neither deleted nor extended
    peer.send(bid(1, COA1, 10), lifetime=150)
    assert flows[2].expires == start + 600
    peer.now = start + 140
    peer.agent.tick(peer.now)
    assert list(peer.node.flows) == [2]


@pytest.mark.req("K12", "R70")
def test_the_switch_for_soft_state() -> None:
    peer = Peer(switches=Switches(omission="purge"))
    peer.send(bid(1, COA1), flow(1), flow(2), flow(3))
    answer = peer.send(bid(1, COA1), flow(1, pro=REFRESH), flow(3))
    assert answer.flow_statuses == [0, 135]
    assert sorted(peer.node.flows) == [1, 3]
    peer.send(bid(1, COA1))
    assert peer.node.flows == {}


@pytest.mark.req("K25", "R10")
def test_the_same_fid_twice_in_one_update(peer: Peer) -> None:
    answer = peer.send(bid(1), flow(1, pro=REMOVE), flow(1, 3, selector=HTTPS), flow(1, pro=REFRESH), flow(1))
    assert answer.flow_statuses == [0, 0, 0, 135]
    assert peer.decide(source_port=443) == ("forward", 1, [str(COA1)])


@pytest.mark.req("R75", "R96", "R98")
def test_an_agent_without_flow_bindings_says_nothing_of_them() -> None:
    peer = Peer(capabilities=Capabilities(flow_bindings=False))
    answer = peer.send(bid(1, COA1), flow(1))
    assert (answer.status, answer.flows) == (0, [])
    assert peer.node.flows == {}
    assert peer.send(bid(1), flow(1), sequence=1).flows == []


def test_the_order_of_the_checks(peer: Peer) -> None:
    """An option with many faults has the status of the first check that it fails."""
    peer = Peer(capabilities=Capabilities(ports=False, ncast=False), admit_flow=lambda node, option: False)
    peer.send(bid(1, COA1))
    peer.agent.admit_flow = None
    peer.send(bid(1), flow(1))
    peer.agent.admit_flow = lambda node, option: False
    bad_bid, ports = BindingReference((9,)), TrafficSelectorOption(SSH)
    content = MalformedSubOption(bytes.fromhex("01 05 0001 00"))
    framing = MalformedSubOption(bytes.fromhex("01 09 0001"))
    for suboptions, fid, pro, action, status in [
        ((ports, bad_bid, framing), 1, ADD, 3, 129),
        ((ports, bad_bid, content), 1, 9, 3, 129),
        ((ports, bad_bid, content), 1, ADD, 3, 135),
        ((ports, bad_bid, content), 2, ADD, 3, 139),
        ((ports, bad_bid, content), 2, ADD, 1, 132),
        ((bad_bid, content), 2, ADD, 1, 129),
        ((bad_bid,), 2, ADD, 1, 130),
    ]:
        assert one(peer, FlowIdentification(fid, 1, action, pro, 0, Verbatim(suboptions))) == status
    peer.agent.admit_flow = None
    assert one(peer, FlowIdentification(2, 1, 1, ADD, 0, (bad_bid,))) == 129


def test_counters_by_status(peer: Peer) -> None:
    peer.send(bid(1), flow(1), flow(9, bids=[77]), flow(8))
    peer.send(bid(1), sequence=1)
    assert peer.agent.counters.as_dict()["flows"] == {"0": 2, "129": 1, "135": 1}
    assert peer.agent.counters.as_dict()["updates"] == {"0": 2, "135": 1}


def test_an_acknowledgement_that_would_be_too_long() -> None:
    """More options than a Mobility Header holds once they're aligned: still one answer, the first options in it."""
    peer = Peer()
    many = Verbatim([*[flow(i) for i in range(253)], *bytes_of_padding(4)])
    (reply,) = peer.replies(peer.packet(*many))
    # its type is known
    assert sum(isinstance(o, FlowIdentification) for o in reply.message.options) == 253  # type: ignore[union-attr]  # an acknowledgement
    assert DRAFT.flow_summary is None
    peer = Peer("rfc6089")
    many = Verbatim([FlowSummary(tuple(range(1 + 100 * i, 101 + 100 * i))) for i in range(9)])
    (reply,) = peer.replies(peer.packet(*many))
    # its type is known
    missing = [o for o in reply.message.options if isinstance(o, FlowIdentification)]  # type: ignore[union-attr]  # an acknowledgement
    assert 100 < len(missing) < 900
    assert {o.status for o in missing} == {132}


def bytes_of_padding(count: int) -> list[Any]:
    from flowclass.wire import Pad1

    return [Pad1()] * count


def test_the_table_is_told_what_changes_forwarding_and_nothing_else() -> None:
    peer = Peer()
    told: list[bytes] = []

    class Counting(ReadableTable):
        def publish(self, home_address: bytes, **what: Any) -> int:
            told.append(home_address)
            return super().publish(home_address, **what)

    peer.agent.cache.table = peer.table = Counting()

    def publications(*options: Any, **how: Any) -> int:
        told.clear()
        peer.send(*options, **how)
        return len(told)

    mine = bid(1, COA1, 5), bid(2, COA2, 6)
    assert publications(*mine, flow(1, 1, bids=[1], selector=SSH)) == 1
    assert publications(*mine, flow(1, 1, pro=REPLACE, bids=[1], selector=SSH)) == 0, "the same again"
    assert publications(*mine, flow(2, 2, bids=[7], selector=SSH), flow(1, 1, bids=[1])) == 0, "both are refused"
    assert publications(*mine, lifetime=50) == 0, "a refresh"
    assert publications(bid(1, COA1, 7)) == 1, "another default binding"
    assert publications(bid(1, COA3, 7)) == 1, "another address"
    for changed in ({"bids": [2]}, {"action": DISCARD}, {"selector": HTTPS}, {"pri": 3}):
        what: dict[str, Any] = {"pri": 1, "bids": [1], "selector": SSH} | changed
        pri = what.pop("pri")
        assert publications(*mine, flow(1, pri, pro=REPLACE, **what)) == 1, changed
    assert publications(flow(1, pro=REMOVE)) == 1
    assert publications(lifetime=0) == 0, "it is withdrawn"
    assert not peer.table.nodes
