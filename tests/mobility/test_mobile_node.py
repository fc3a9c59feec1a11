"""The mobile node, message by message (section 6 of the draft; RFC 6275 section 11)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv6Address
from typing import Any

import pytest
from mobility_kit import (
    ADD,
    AGENT,
    COA1,
    COA2,
    COA3,
    DISCARD,
    FORWARD,
    HOME,
    HTTPS,
    NCAST,
    OVERWRITE,
    REFRESH,
    REMOVE,
    REPLACE,
    SSH,
    A,
    H,
    M,
    R,
    ReadableTable,
    bid,
)

from flowclass.errors import FlowclassError
from flowclass.mobility import Capabilities, CorrespondentNode, HomeAgent, MobileNode, Switches
from flowclass.mobility.mobile_node.plan import Refusal, Role
from flowclass.wire import (
    AlternateCareOf,
    BindingAcknowledgement,
    BindingError,
    BindingIdentifier,
    BindingReference,
    BindingRefreshRequest,
    BindingUpdate,
    CareOfTestInit,
    FlowIdentification,
    FlowSummary,
    HomeTestInit,
    MobileNetworkPrefix,
    MobilityPacket,
    TrafficSelectorOption,
    decode_packet,
    encode_packet,
)

CN = IPv6Address("2001:db8:99::7")


class Pair:
    """A mobile node and a home agent beside each other; messages are delivered, or looked at."""

    def __init__(self, profile: str = "draft", role: Role = "home-agent", **how: Any) -> None:
        self.profile = profile
        self.table = ReadableTable()
        self.agent = HomeAgent(profile, table=self.table, **how)
        self.refusals: list[Refusal] = []
        self.node = MobileNode(HOME, profile, random=bytes, listener=lambda peer, r: self.refusals.append(r))
        self.list = self.node.add_receiver(AGENT, role)
        self.now = 0.0

    def message(self, packets: list[bytes]) -> BindingUpdate:
        (packet,) = packets
        self.packet = decode_packet(packet, self.profile)
        assert isinstance(self.packet.message, BindingUpdate)
        return self.packet.message

    def flows(self, packets: list[bytes]) -> list[FlowIdentification]:
        return [o for o in self.message(packets).options if isinstance(o, FlowIdentification)]

    def through(self, packets: list[bytes]) -> None:
        """Deliver, and all that follows."""
        while packets:
            replies = [reply for packet in packets for reply in self.agent.receive(packet, now=self.now)]
            packets = [p for reply in replies for p in self.node.receive(reply, now=self.now)]

    def answer(self, update: BindingUpdate, status: int = 0, *options: Any, **how: Any) -> list[bytes]:
        """An acknowledgement made by hand, as the node sees it."""
        lifetime = how.get("lifetime", update.lifetime)
        message = BindingAcknowledgement(status, how.get("sequence", update.sequence), lifetime, 0, options)
        packet = MobilityPacket(AGENT, COA1, message, routing_home=how.get("home", HOME))
        return self.node.receive(
            encode_packet(packet, self.profile), now=self.now, authenticated=how.get("authenticated", True)
        )


@pytest.fixture
def pair() -> Pair:
    """BIDs 1 (COA1) and 2 (COA2), flow 1 ssh to BID 2."""
    made = Pair()
    made.through(made.node.register(AGENT, 1, COA1, 1, now=0))
    made.through(made.node.register(AGENT, 2, COA2, 2, now=0))
    made.through(made.node.add_flow(AGENT, 1, 5, [2], SSH, now=0))
    assert made.table.decide(HOME, source_port=22) == ("forward", 1, [str(COA2)])
    return made


@pytest.mark.req("R51", "R82", "R6")
def test_the_first_update() -> None:
    pair = Pair()
    update = pair.message(pair.node.register(AGENT, 1, COA1, 9, now=0))
    assert (pair.packet.source, pair.packet.destination, pair.packet.home_address) == (COA1, AGENT, HOME)
    assert update.flags == A | H | OVERWRITE  # RFC 5648 section 5.9: bootstrapping
    assert (update.lifetime, [o for o in update.options if isinstance(o, BindingIdentifier)]) == (
        150,
        [bid(1, COA1, 9)],
    )
    assert pair.node.register(AGENT, 2, COA2, now=0) == []  # one at a time
    (packet,) = pair.answer(update, 0, bid(1))
    following = pair.message([packet])
    assert following.flags == A | H
    assert following.sequence == (update.sequence + 1) & 0xFFFF


@pytest.mark.req("R52", "R53", "R54", "R56", "R58", "R84", "R89")
def test_adding(pair: Pair) -> None:
    (option,) = pair.flows(pair.node.add_flow(AGENT, 2, 7, [1], HTTPS, now=0))
    assert (option.fid, option.pri, option.pro, option.action) == (2, 7, ADD, FORWARD)
    assert option.suboptions[0] == BindingReference((1,))
    assert TrafficSelectorOption(HTTPS) in option.suboptions
    # an update for flows alone names a BID: without one it would replace all bindings
    assert any(isinstance(o, BindingIdentifier) for o in pair.message([encode_packet(pair.packet)]).options)


@pytest.mark.req("R83", "R62")
def test_adding_a_wild_card(pair: Pair) -> None:
    packets = pair.node.add_flow(AGENT, 2, 7, [2], now=0)
    assert [type(s) for s in pair.flows(packets)[0].suboptions] == [BindingReference]
    pair.through(packets)
    assert pair.table.decide(HOME, source_port=9) == ("forward", 2, [str(COA2)])


@pytest.mark.req("R85", "R86", "R87", "R88", "R89", "R90", "R92", "R93", "R107", "R109")
def test_what_a_node_must_not_ask_for(pair: Pair) -> None:
    node = pair.node
    cn = node.add_receiver(CN, "correspondent")
    node.register(CN, 1, COA1, now=0)
    calls: list[Callable[[], object]] = [
        lambda: node.add_flow(AGENT, 1, 5, [2], now=0),
        lambda: node.replace_flow(AGENT, 9, pri=1, now=0),
        lambda: node.refresh_flow(AGENT, 9, now=0),
        lambda: node.remove_flow(AGENT, 9, now=0),
        lambda: node.add_flow(AGENT, 9, 5, [7], now=0),
        lambda: node.add_flow(AGENT, 9, 5, [], now=0),
        lambda: node.add_flow(AGENT, 9, 256, [1], now=0),
        lambda: node.add_flow(AGENT, 65536, 1, [1], now=0),
        lambda: node.add_flow(AGENT, 9, 1, [1], None, 7, now=0),
        lambda: node.add_flow(CN, 9, 1, [1], None, NCAST, now=0),
        lambda: node.register(AGENT, 0, COA1, now=0),
        lambda: node.add_receiver(AGENT),
        lambda: node.flush(COA3, now=0),
        lambda: MobileNode(HOME, mobile_router=True).add_receiver(CN, "correspondent"),
        lambda: Pair("rfc6089").node.add_flow(AGENT, 1, 1, [], now=0),
    ]
    for call in calls:
        with pytest.raises(FlowclassError):
            call()
    assert list(cn.wanted_flows) == []
    lonely = Pair()
    lonely.node.register(AGENT, 1, COA1, now=0)
    with pytest.raises(FlowclassError, match="R90"):
        lonely.node.add_flow(AGENT, 1, 1, [1], None, NCAST, now=0)


@pytest.mark.req("R55", "R36")
def test_the_same_fid_with_two_receivers(pair: Pair) -> None:
    pair.node.add_receiver(COA3)
    pair.node.register(COA3, 1, COA1, now=0)
    pair.node.add_flow(COA3, 1, 1, [1], now=0)
    assert 1 in pair.node.update_list(COA3).wanted_flows


@pytest.mark.req("R90", "R121", "K19")
def test_ncast_with_one_bid_is_bicast_with_the_best_other(pair: Pair) -> None:
    pair.through(pair.node.add_flow(AGENT, 2, 1, [2], HTTPS, NCAST, now=0))
    assert pair.table.decide(HOME, source_port=443) == ("n-cast", 2, [str(COA1), str(COA2)])
    pair.through(pair.node.add_flow(AGENT, 3, 0, [2, 1], HTTPS, NCAST, now=0))
    assert pair.table.decide(HOME, source_port=443) == ("n-cast", 3, [str(COA2), str(COA1)])


@pytest.mark.req("R63", "R64", "R86", "R103", "K11")
def test_replacing(pair: Pair) -> None:
    packets = pair.node.replace_flow(AGENT, 1, pri=9, bids=[1], now=0)
    (option,) = pair.flows(packets)
    assert (option.pro, option.pri, [type(s) for s in option.suboptions]) == (REPLACE, 9, [BindingReference])
    pair.through(packets)
    assert pair.table.decide(HOME, source_port=22) == ("forward", 1, [str(COA1)])
    packets = pair.node.replace_flow(AGENT, 1, selector=HTTPS, now=0)
    assert TrafficSelectorOption(HTTPS) in pair.flows(packets)[0].suboptions
    pair.through(packets)
    # a wild card can't be said by Replace, which would keep the filter
    packets = pair.node.replace_flow(AGENT, 1, wild_card=True, now=0)
    assert [o.pro for o in pair.flows(packets)] == [REMOVE, ADD]
    pair.through(packets)
    assert pair.table.decide(HOME, source_port=1)[1] == 1
    assert pair.node.replace_flow(AGENT, 1, pri=9, now=0) == []


@pytest.mark.req("R67", "R68", "R88", "K32")
def test_removing(pair: Pair) -> None:
    packets = pair.node.remove_flow(AGENT, 1, now=0)
    (option,) = pair.flows(packets)
    assert (option.pro, option.pri, option.action, option.suboptions) == (REMOVE, 5, FORWARD, ())
    pair.through(packets)
    assert pair.list.flows == {}


@pytest.mark.req("R69", "R87", "K32")
def test_refreshing(pair: Pair) -> None:
    (option,) = pair.flows(pair.node.refresh_flow(AGENT, 1, now=0))
    assert (option.pro, option.pri, option.action, option.suboptions) == (REFRESH, 5, FORWARD, ())
    pair.answer(pair.message([encode_packet(pair.packet)]), 0, bid(1), FlowIdentification(1, 5, 1, REFRESH))
    assert pair.node.next_deadline() == 450.0  # three quarters of the lifetime
    pair.now = 450.0
    assert [o.pro for o in pair.flows(pair.node.tick(450.0))] == [REFRESH]


@pytest.mark.req("R46", "R66", "R104", "R100")
def test_movement_by_the_bid(pair: Pair) -> None:
    packets = pair.node.register(AGENT, 2, COA3, 2, now=0)
    assert pair.flows(packets) == []
    pair.through(packets)
    assert pair.table.decide(HOME, source_port=22) == ("forward", 1, [str(COA3)])


@pytest.mark.req("R100", "R101", "R102", "R103")
def test_movement_by_flow_options(pair: Pair) -> None:
    packets = pair.node.move(AGENT, 2, 3, COA3, now=0)
    (option,) = pair.flows(packets)
    assert (option.fid, option.pro, option.suboptions) == (1, REPLACE, (BindingReference((3,)),))
    assert pair.packet.source == COA3
    pair.through(packets)
    assert pair.table.decide(HOME, source_port=22) == ("forward", 1, [str(COA3)])
    assert sorted(pair.list.care_of) == [1, 3]
    assert sorted(pair.agent.cache.nodes[HOME.packed].care_of) == [1, 3]


@pytest.mark.req("R108")
def test_returning_home(pair: Pair) -> None:
    packets = pair.node.return_home(AGENT, now=0)
    update = pair.message(packets)
    assert (pair.packet.source, pair.packet.home_address) == (HOME, None)
    assert (update.lifetime, update.flags) == (0, A | H)
    pair.through(packets)
    assert (pair.list.care_of, pair.list.flows) == ({}, {})
    assert len(pair.agent.cache) == 0
    assert pair.node.return_home(AGENT, now=0) == []
    assert pair.message(pair.node.register(AGENT, 1, COA1, now=0)).flags & OVERWRITE


def test_giving_up_care_of_addresses(pair: Pair) -> None:
    packets = pair.node.deregister(AGENT, 1, now=0)
    update = pair.message(packets)
    assert (update.lifetime, pair.packet.source) == (0, COA2)
    pair.through(packets)
    assert list(pair.agent.cache.nodes[HOME.packed].care_of) == [2]
    packets = pair.node.deregister(AGENT, 2, now=0)
    assert pair.message(packets).options == () or not any(
        isinstance(o, BindingIdentifier) for o in pair.message(packets).options
    )
    pair.through(packets)
    assert len(pair.agent.cache) == 0


# ---- reading acknowledgements


@pytest.mark.req("R97", "R99", "R75", "K7")
def test_each_flow_has_its_own_result(pair: Pair) -> None:
    pair.node.add_flow(AGENT, 2, 7, [1], HTTPS, now=0, flush=False)
    pair.node.add_flow(AGENT, 3, 7, [1], HTTPS, now=0, flush=False)
    pair.node.replace_flow(AGENT, 1, now=0, pri=6, flush=False)
    update = pair.message(pair.node.flush(AGENT, now=0))
    copies = [
        FlowIdentification(1, 6, 1, REPLACE, 130),
        FlowIdentification(2, 7, 1, ADD, 0),
        FlowIdentification(3, 8, 1, ADD, 0),  # not the same eight octets: no copy
    ]
    assert pair.answer(update, 0, bid(1), *copies) == []
    assert pair.refusals == [Refusal("flow", 1, 130), Refusal("flow", 3, -1)]
    assert pair.list.wanted_flows[1].pri == pair.list.flows[1].pri == 5  # rolled back
    assert sorted(pair.list.wanted_flows) == sorted(pair.list.flows) == [1, 2]


@pytest.mark.req("R75", "R98")
def test_no_copy_at_all_is_a_negative_acknowledgement() -> None:
    pair = Pair(capabilities=Capabilities(flow_bindings=False))
    pair.through(pair.node.register(AGENT, 1, COA1, now=0))
    pair.through(pair.node.add_flow(AGENT, 1, 1, [1], now=0))
    assert pair.refusals == [Refusal("flows", -1, -1)]
    assert pair.list.supports_flows is False
    assert pair.list.wanted_flows == {}
    assert pair.node.flush(AGENT, now=0) == []
    assert list(pair.list.care_of) == [1]


def test_a_receiver_that_knows_no_bids() -> None:
    pair = Pair()
    update = pair.message(pair.node.register(AGENT, 1, COA1, now=0))
    pair.answer(update)
    assert pair.refusals == [Refusal("bids", -1, -1)]
    assert pair.list.care_of[0].address == COA1


@pytest.mark.req("K5", "K6")
@pytest.mark.parametrize(("request_", "status"), [(REPLACE, 129), (REPLACE, 136), (REFRESH, 129), (REFRESH, 136)])
def test_a_flow_that_the_receiver_has_lost_is_added_again(pair: Pair, request_: int, status: int) -> None:
    if request_ == REPLACE:
        packets = pair.node.replace_flow(AGENT, 1, pri=6, now=0)
    else:
        packets = pair.node.refresh_flow(AGENT, 1, now=0)
    (option,) = pair.flows(packets)
    packets = pair.answer(pair.message(packets), 0, bid(1), replace(option, status=status, suboptions=()))
    *removal, again = pair.flows(packets)
    assert (again.fid, again.pro) == (1, ADD)
    assert TrafficSelectorOption(SSH) in again.suboptions
    # 129 says other things as well, so that it may be there
    assert [(option.fid, option.pro) for option in removal] == ([(1, REMOVE)] if status == 129 else [])


@pytest.mark.req("K5")
@pytest.mark.parametrize("status", [0, 136, 137])
def test_what_is_not_found_is_removed(pair: Pair, status: int) -> None:
    packets = pair.node.remove_flow(AGENT, 1, now=0)
    (option,) = pair.flows(packets)
    pair.answer(pair.message(packets), 0, bid(1), replace(option, status=status))
    assert (pair.list.flows, pair.refusals) == ({}, [])


def test_a_quarrel_ends() -> None:
    """A receiver that says in use to an Add, and lost to a Replace: not for ever."""
    pair = Pair()
    pair.through(pair.node.register(AGENT, 1, COA1, now=0))
    packets = pair.node.add_flow(AGENT, 1, 1, [1], SSH, now=0)
    count = 0
    while packets and count < 20:
        count += 1
        answers = [
            replace(option, status={ADD: 135, REMOVE: 136}.get(option.pro, 129), suboptions=())
            for option in pair.flows(packets)
        ]
        packets = pair.answer(pair.message(packets), 0, bid(1), *answers)
    assert count == 4
    assert len(pair.flows(pair.node.tick(1.0))) == 1  # a Remove, in vain, when the time after a refusal is over
    assert pair.refusals[-1].what == "flow"


@pytest.mark.req("R70", "K12")
def test_a_lost_acknowledgement_of_an_add(pair: Pair) -> None:
    packets = pair.node.add_flow(AGENT, 2, 7, [1], HTTPS, now=0)
    pair.agent.receive(packets[0], now=0)  # its answer is lost
    pair.now = pair.node.next_deadline() or 0.0
    pair.through(pair.node.tick(pair.now))  # 135, then a Replace
    assert pair.list.flows[2].certain
    assert pair.refusals == []
    assert pair.table.decide(HOME, source_port=443) == ("forward", 2, [str(COA1)])


def test_acknowledgements_that_are_not_believed(pair: Pair) -> None:
    update = pair.message(pair.node.add_flow(AGENT, 2, 7, [1], HTTPS, now=0))
    copy = FlowIdentification(2, 7, 1, ADD, 0)
    ways: list[dict[str, Any]] = [
        {"authenticated": False},
        {"sequence": (update.sequence + 1) & 0xFFFF},
        {"home": None},
        {"home": COA3},
    ]
    for how in ways:
        assert pair.answer(update, 0, bid(1), copy, **how) == []
        assert pair.list.outstanding is not None
    assert pair.node.receive(b"noise", now=0) == []
    stranger = MobilityPacket(COA3, COA1, BindingAcknowledgement(0, update.sequence, 150), routing_home=HOME)
    assert pair.node.receive(encode_packet(stranger), now=0) == []
    pair.answer(update, 0, bid(1), copy)
    assert 2 in pair.list.flows


@pytest.mark.req("K29")
def test_whole_updates_that_are_refused(pair: Pair) -> None:
    packets = pair.node.add_flow(AGENT, 2, 7, [1], HTTPS, now=0)
    update = pair.message(packets)
    (packet,) = pair.answer(update, 135, sequence=(update.sequence + 100) & 0xFFFF)
    again = pair.message([packet])
    assert again.sequence == (update.sequence + 101) & 0xFFFF
    assert pair.answer(again, 135, sequence=(again.sequence - 5) & 0xFFFF) == []  # about an older one
    pair.answer(again, 130, FlowIdentification(2, 7, 1, ADD, 128))
    assert pair.refusals == [Refusal("update", -1, 130)]
    assert sorted(pair.list.wanted_flows) == [1]


def test_bulk_registration_that_is_prohibited() -> None:
    pair = Pair(capabilities=Capabilities(bulk=False))
    pair.node.register(AGENT, 1, COA1, now=0, flush=False)
    pair.through(pair.node.register(AGENT, 2, COA2, now=0))
    assert sorted(pair.agent.cache.nodes[HOME.packed].care_of) == [1, 2]
    assert pair.refusals == []


def test_from_a_plain_binding_to_bids() -> None:
    pair = Pair()
    update = pair.message(pair.node.register(AGENT, 0, COA1, now=0))
    assert not any(isinstance(o, BindingIdentifier) for o in update.options)
    assert update.flags == A | H
    pair.answer(update)
    pair.agent.receive(encode_packet(replace(pair.packet)), now=0)
    pair.through(pair.node.add_flow(AGENT, 1, 1, [0], SSH, now=0))
    assert pair.table.decide(HOME, source_port=22) == ("forward", 1, [str(COA1)])
    pair.list.wanted_care_of.clear()
    pair.through(pair.node.register(AGENT, 1, COA2, now=0))
    assert list(pair.agent.cache.nodes[HOME.packed].care_of) == [1]


def test_a_bid_that_is_refused_takes_its_flows_along() -> None:
    pair = Pair(limits=None)
    pair.through(pair.node.register(AGENT, 1, COA1, now=0))
    pair.node.register(AGENT, 2, COA2, now=0, flush=False)
    pair.node.register(AGENT, 3, COA3, now=0, flush=False)
    pair.node.add_flow(AGENT, 1, 1, [3], now=0, flush=False)
    update = pair.message(pair.node.flush(AGENT, now=0))
    pair.answer(update, 4, bid(2), replace(bid(3), status=130), FlowIdentification(1, 1, 1, ADD, 129))
    assert sorted(pair.list.wanted_care_of) == [1, 2]
    assert pair.list.wanted_flows == {}
    assert Refusal("bid", 3, 130) in pair.refusals


# ---- time


def test_retransmission_with_back_off() -> None:
    pair = Pair()
    first = pair.message(pair.node.register(AGENT, 1, COA1, now=0))
    times, sequences = [0.0], [first.sequence]
    for _ in range(8):
        when = pair.node.next_deadline()
        assert when is not None
        assert pair.node.tick(when - 0.001) == []
        sequences.append(pair.message(pair.node.tick(when)).sequence)
        times.append(when)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps == [1.5, 3.0, 6.0, 12.0, 24.0, 32.0, 32.0, 32.0]
    assert sequences == [(first.sequence + i) & 0xFFFF for i in range(9)]
    pair.now = 200.0
    pair.answer(first, 0, bid(1))  # the first one was answered after all: its time counts
    assert pair.list.care_of[1].expires == 600.0


def test_the_lifetime_counts_from_the_sending(pair: Pair) -> None:
    short = Pair()
    update = short.message(short.node.register(AGENT, 1, COA1, now=100.0))
    short.now = 101.0
    short.answer(replace(update, lifetime=10), 0, bid(1))
    assert short.list.care_of[1].expires == 140.0


@pytest.mark.req("K17")
def test_refresh_advice_is_followed() -> None:
    pair = Pair(switches=Switches(refresh_advice=0.25))
    pair.through(pair.node.register(AGENT, 1, COA1, now=0))
    assert pair.node.next_deadline() == 4 * 37


def test_refresh_requests(pair: Pair) -> None:
    request = MobilityPacket(AGENT, COA1, BindingRefreshRequest((bid(2),)), routing_home=HOME)
    packets = pair.node.receive(encode_packet(request), now=50.0)
    update = pair.message(packets)
    assert [o.bid for o in update.options if isinstance(o, BindingIdentifier)] == [2]
    assert [(o.fid, o.pro) for o in pair.flows(packets)] == [(1, REFRESH)]


def test_everything_is_refreshed_in_time(pair: Pair) -> None:
    for _ in range(20):
        when = pair.node.next_deadline()
        assert when is not None
        pair.now = when
        pair.agent.tick(when)
        pair.through(pair.node.tick(when))
    assert pair.now > 2000
    assert pair.table.decide(HOME, source_port=22) == ("forward", 1, [str(COA2)])
    assert pair.refusals == []


# ---- other receivers


def test_a_mobile_router_says_its_prefixes_each_time() -> None:
    network = (IPv6Address("2001:db8:100::"), 56)
    node = MobileNode(HOME, mobile_router=True, prefixes=[network], random=bytes)
    node.add_receiver(AGENT)
    agent = HomeAgent(table=ReadableTable())
    for address in (COA1, COA2):
        (packet,) = node.register(AGENT, 1, address, now=0)
        message = decode_packet(packet).message
        assert isinstance(message, BindingUpdate)
        assert message.flags & R
        assert MobileNetworkPrefix(*network) in message.options
        (reply,) = agent.receive(packet, now=0)
        assert node.receive(reply, now=0) == []


@pytest.mark.req("R132")
def test_an_anchor_point_is_told_the_regional_address() -> None:
    pair = Pair(role="map")
    update = pair.message(pair.node.register(AGENT, 1, COA1, now=0))
    assert update.flags == A | M | OVERWRITE
    assert pair.packet.home_address == HOME


@pytest.mark.req("R91", "R94", "R105", "R106", "R107", "K33")
def test_route_optimization() -> None:
    table = ReadableTable()
    cn = CorrespondentNode(table=table)
    node = MobileNode(HOME)
    updates = node.add_receiver(CN, "correspondent")
    node.register(CN, 1, COA1, now=0, flush=False)
    node.register(CN, 2, COA2, now=0, flush=False)
    node.add_flow(CN, 1, 1, [1], SSH, now=0, flush=False)
    node.add_flow(CN, 2, 2, [2], HTTPS, now=0, flush=False)
    packets = node.flush(CN, now=0)
    tests = [decode_packet(p) for p in packets]
    assert [(t.source, type(t.message)) for t in tests] == [(HOME, HomeTestInit), (COA1, CareOfTestInit)]
    seen = []
    now = 0.0
    for _ in range(50):
        while packets:
            found = decode_packet(packets[0])
            if isinstance(found.message, BindingUpdate):
                bids = [o.bid for o in found.message.options if isinstance(o, BindingIdentifier)]
                fids = [o.fid for o in found.message.options if isinstance(o, FlowIdentification)]
                seen.append((found.source, bids, fids))
            replies = cn.receive(packets.pop(0), now=now)
            packets += [p for reply in replies for p in node.receive(reply, now=now)]
        now += 1.0
        packets = node.tick(now)
    # one care-of address in each, with the flows that are bound to it
    assert seen[:2] == [(COA1, [1], [1]), (COA2, [2], [2])]
    assert table.decide(HOME, source_port=443) == ("forward", 2, [str(COA2)])
    assert sorted(updates.care_of) == [1, 2]
    # the correspondent node forgets; a Binding Error says so
    cn.cache.remove(HOME.packed)
    error = MobilityPacket(CN, COA1, BindingError(1, HOME))
    assert node.receive(encode_packet(error), now=now) != []
    assert node.receive(encode_packet(replace(error, message=BindingError(2, HOME))), now=now) == []


def test_tests_are_retransmitted_with_new_cookies() -> None:
    node = MobileNode(HOME)
    node.add_receiver(CN, "correspondent")
    first = [decode_packet(p).message for p in node.register(CN, 1, COA1, now=0)]
    assert node.next_deadline() == 1.0
    second = [decode_packet(p).message for p in node.tick(1.0)]
    assert [type(m) for m in first] == [type(m) for m in second]
    assert not {m.cookie for m in first} & {m.cookie for m in second}  # type: ignore[union-attr]  # both are tests
    assert node.next_deadline() == 3.0


@pytest.mark.parametrize(
    ("role", "bid_number", "there"), [("home-agent", 0, True), ("home-agent", 1, False), ("map", 0, False)]
)
def test_a_home_registration_has_an_alternate_care_of_address(role: Role, bid_number: int, there: bool) -> None:
    # RFC 6275 section 11.7.1; not beside a BID option (RFC 5648 section 4.2)
    pair = Pair(role=role)
    update = pair.message(pair.node.register(AGENT, bid_number, COA1, now=0))
    addresses = [o.address for o in update.options if isinstance(o, AlternateCareOf)]
    assert addresses == ([COA1] if there else [])


# ---- refused, and asked again


REFUSALS: dict[str, Callable[[Pair, BindingUpdate], list[bytes]]] = {
    "130": lambda pair, update: pair.answer(update, 130),
    "128": lambda pair, update: pair.answer(update, 128),
    "a BID in its option": lambda pair, update: pair.answer(
        update, 4, *(replace(o, status=130, care_of=None) for o in update.options if isinstance(o, BindingIdentifier))
    ),
    "a flow in its option": lambda pair, update: pair.answer(
        update,
        0,
        *(replace(o, care_of=None) for o in update.options if isinstance(o, BindingIdentifier)),
        *(o.answer(128, whole=pair.profile == "rfc6089") for o in update.options if isinstance(o, FlowIdentification)),
    ),
    "accepted for no time": lambda pair, update: pair.answer(
        update,
        0,
        *(replace(o, care_of=None) for o in update.options if isinstance(o, BindingIdentifier)),
        *(o.answer(0, whole=pair.profile == "rfc6089") for o in update.options if isinstance(o, FlowIdentification)),
        lifetime=0,
    ),
    "165 for ever": lambda pair, update: pair.answer(update, 165),
    "168 for ever": lambda pair, update: pair.answer(update, 168),
    "135 for ever": lambda pair, update: pair.answer(update, 135, sequence=(update.sequence + 100) & 0xFFFF),
}


@pytest.mark.parametrize("profile", ["draft", "rfc6089"])
@pytest.mark.parametrize("role", ["home-agent", "map"])
@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_is_refused_is_asked_again_less_and_less_often(refusal: str, role: Role, profile: str) -> None:
    pair = Pair(profile, role)
    for number, address in ((1, COA1), (2, COA2)):
        pair.node.register(AGENT, number, address, now=0, flush=False)
    packets = pair.node.add_flow(AGENT, 1, 1, [1], SSH, now=0)
    while packets:  # all of it is accepted at first
        update = pair.message(packets)
        packets = pair.answer(
            update,
            0,
            *(replace(o, care_of=None) for o in update.options if isinstance(o, BindingIdentifier)),
            *(o.answer(0, whole=profile == "rfc6089") for o in update.options if isinstance(o, FlowIdentification)),
        )
    assert not pair.refusals
    pair.now = pair.node.next_deadline() or 0.0
    start, sent = pair.now, list[float]()
    packets = pair.node.tick(pair.now)
    while pair.now < start + 100:
        for packet in packets:
            sent.append(pair.now)
            pair.now += 0.05
            packets = REFUSALS[refusal](pair, pair.message([packet]))
        if not packets:
            pair.now = max(pair.now, pair.node.next_deadline() or start + 100)
            packets = pair.node.tick(pair.now)
    assert len(sent) <= 16
    assert len([time for time in sent if time < start + 10]) <= 12
    # none of it keeps the node's policy from asking
    pair.node.update_list(AGENT).give_up()
    assert pair.node.register(AGENT, 1, COA3, now=pair.now)


def test_after_an_acceptance_the_next_refusal_counts_from_one_second_again() -> None:
    pair = Pair()
    packets = pair.node.register(AGENT, 1, COA1, now=0)
    assert pair.answer(pair.message(packets), 0, bid(1)) == []
    for _ in range(2):
        pair.now = pair.node.next_deadline() or 0.0
        assert pair.answer(pair.message(pair.node.tick(pair.now)), 130) == []
        assert pair.node.next_deadline() == pair.now + 1.0
        pair.now += 1.0
        assert pair.answer(pair.message(pair.node.tick(pair.now)), 0, bid(1)) == []


def test_calls_without_end_are_bounded_too() -> None:
    for role, most in (("home-agent", 16), ("map", 16)):
        pair = Pair(role=role)  # type: ignore[arg-type]  # a text for all roles
        pair.answer(pair.message(pair.node.register(AGENT, 1, COA1, now=0)), 0, bid(1))
        sent = 0
        for turn in range(1000):
            pair.now = turn / 1000
            for packet in pair.node.register(AGENT, 1, COA1, 1 + turn % 2, now=pair.now):
                sent += 1
                pair.answer(pair.message([packet]), 0, bid(1))
        assert sent <= most


@pytest.mark.parametrize("role", ["home-agent", "map"])
def test_a_mobile_router_takes_an_acknowledgement_without_r_as_a_failure(role: Role) -> None:
    refusals: list[Refusal] = []
    node = MobileNode(HOME, mobile_router=True, listener=lambda peer, refusal: refusals.append(refusal))
    node.add_receiver(AGENT, role)
    for flags, failed in ((0x40, False), (0, True)):
        update = decode_packet(node.register(AGENT, 1, COA1, now=0.0)[0]).message
        assert isinstance(update, BindingUpdate)
        message = BindingAcknowledgement(0, update.sequence, update.lifetime, flags, (bid(1),))
        packets = node.receive(encode_packet(MobilityPacket(AGENT, COA1, message, routing_home=HOME)), now=0.0)
        packets += node.tick(1.0) if failed else []
        assert refusals == ([Refusal("update", -1, 140)] if failed else [])
        if failed:  # RFC 3963 section 5.3: it de-registers
            (gone,) = packets
            assert decode_packet(gone).message.lifetime == 0  # type: ignore[union-attr]  # its type is known
        else:
            node.update_list(AGENT).care_of.clear()


@pytest.mark.parametrize("status", [1, 5])
def test_what_an_acceptance_remarks_is_told(status: int) -> None:
    pair = Pair()
    assert pair.answer(pair.message(pair.node.register(AGENT, 1, COA1, now=0)), status, bid(1)) == []
    assert pair.refusals == [Refusal("update", -1, status)]
    assert (pair.list.status, sorted(pair.list.care_of)) == (status, [1])


def test_no_priority_of_zero_in_rfc6089() -> None:
    # RFC 6089 section 5.2.1
    for profile, priority in (("draft", 0), ("rfc6089", 127)):
        pair = Pair(profile)
        update = pair.message(pair.node.register(AGENT, 1, COA1, now=0))
        assert [o.priority for o in update.options if isinstance(o, BindingIdentifier)] == [priority]
        pair.through([encode_packet(pair.packet, profile)])
        assert pair.list.plan(0.0) is None


def test_a_listener_of_a_mobile_node_that_raises_or_calls_back() -> None:
    pair = Pair()
    seen: list[Refusal] = []

    def listener(peer: IPv6Address, refusal: Refusal) -> None:
        seen.append(refusal)
        if len(seen) < 3:
            pair.node.register(peer, 9, COA3, now=pair.now)
        raise KeyError("a listener with a fault")

    pair.node.listener = listener
    pair.answer(pair.message(pair.node.register(AGENT, 1, COA1, now=0)), 130)
    assert seen == [Refusal("update", -1, 130)]
    assert 9 in pair.list.wanted_care_of


# ---- rfc6089


def test_rfc6089_updates_name_every_flow() -> None:
    pair = Pair("rfc6089")
    pair.node.register(AGENT, 1, COA1, 1, now=0, flush=False)
    pair.node.register(AGENT, 2, COA2, 2, now=0, flush=False)
    pair.node.add_flow(AGENT, 1, 1, [1], SSH, now=0, flush=False)
    pair.through(pair.node.add_flow(AGENT, 2, 2, [1, 2], HTTPS, now=0))
    assert pair.table.decide(HOME, source_port=443) == ("n-cast", 2, [str(COA1), str(COA2)])
    update = pair.message(pair.node.register(AGENT, 2, COA3, 2, now=0))
    assert [o.fids for o in update.options if isinstance(o, FlowSummary)] == [(1, 2)]
    pair.through([encode_packet(pair.packet, "rfc6089")])
    pair.through(pair.node.remove_flow(AGENT, 1, now=0))
    assert list(pair.agent.cache.nodes[HOME.packed].flows) == [2]
    with pytest.raises(FlowclassError, match="K14"):
        pair.node.add_flow(AGENT, 3, 2, [1], SSH, now=0)
    with pytest.raises(FlowclassError, match="wild card"):
        pair.node.add_flow(AGENT, 3, 3, [1], now=0)
    with pytest.raises(FlowclassError, match="action"):
        pair.node.add_flow(AGENT, 3, 3, [1], SSH, DISCARD, now=0)
    # the agent lost a flow: the summary's answer says so
    node = pair.agent.cache.nodes[HOME.packed].copy()
    node.flows.clear()
    pair.agent.cache.put(node)
    pair.through(pair.node.refresh_flow(AGENT, 2, now=0))
    assert list(pair.agent.cache.nodes[HOME.packed].flows) == [2]


@pytest.mark.req("R87", "K30")
def test_a_flow_whose_care_of_address_is_gone_is_refreshed_without_it(pair: Pair) -> None:
    """The receiver keeps it, inactive. An update that left it out, because it can't be asked for again, was followed by
    another one as soon as it was acknowledged."""
    pair.through(pair.node.deregister(AGENT, 2, now=0))
    pair.now = 450.0  # three quarters of the lifetime
    (option,) = pair.flows(packets := pair.node.tick(pair.now))
    assert (option.fid, option.pro, option.suboptions) == (1, REFRESH, ())
    pair.through(packets)
    assert pair.node.flush(AGENT, now=pair.now) == []
    cached = pair.agent.cache.get(HOME.packed)
    assert cached is not None
    assert cached.flows[1].expires == 1050.0
    assert pair.table.decide(HOME, source_port=22) == ("default", None, [str(COA1)])
    # and it goes on as it was when the address comes back
    pair.through(pair.node.register(AGENT, 2, COA3, now=pair.now))
    assert pair.table.decide(HOME, source_port=22) == ("forward", 1, [str(COA3)])


def test_how_often_tests_are_sent_to_a_correspondent_node() -> None:
    """RFC 6275 11.8: three messages of one kind within a second, whatever is asked for in the meantime."""
    node = MobileNode(HOME, random=bytes)
    node.add_receiver(CN, "correspondent")
    kinds: list[int] = []
    for i in range(6):
        packets = node.register(CN, 1, IPv6Address(f"2001:db8:ee::{i}"), now=0.1 * i)
        packets += node.return_home(CN, now=0.1 * i)
        kinds += [decode_packet(packet).message.type for packet in packets]
    assert (kinds.count(1), kinds.count(2)) == (3, 3)
    assert node.register(CN, 1, COA1, now=0.6) == []
    later = [decode_packet(packet).message.type for packet in node.tick(1.2)]
    assert sorted(later) == [1, 2]


@pytest.mark.req("K12")
@pytest.mark.parametrize("call", ["refresh_flow", "replace_flow"])
def test_a_flow_whose_refresh_was_given_up_may_outlive_what_is_known(pair: Pair, call: str) -> None:
    """It may have been done, and its answer be lost: then the receiver has the flow when its known time is over."""
    assert getattr(pair.node, call)(AGENT, 1, now=500.0, **({"pri": 9} if call == "replace_flow" else {}))
    pair.list.give_up()
    pair.list.forget_expired(599.0)
    assert pair.list.flows.keys() == {1}
    pair.list.forget_expired(600.0)
    assert not pair.list.flows
    assert pair.list.doubtful[1].expires == 1100.0  # until then it's removed, or removed and added
    pair.list.forget_expired(1100.0)
    assert not pair.list.doubtful
