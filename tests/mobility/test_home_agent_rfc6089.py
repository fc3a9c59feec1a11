"""Flow options at a home agent, rfc6089 profile (RFC 6089 sections 5.3.1 to 5.3.5), and both profiles in one cache."""

from __future__ import annotations

from typing import Any

import pytest
from mobility_kit import (
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
    Peer,
    ReadableTable,
    bid,
    flow,
)

from flowclass.engine.rules import selector_rule
from flowclass.mobility import NCAST, BindingCache, Capabilities, HomeAgent, Limits, Switches
from flowclass.wire import (
    BindingReference,
    FlowIdentification,
    FlowSummary,
    MalformedSubOption,
    TrafficSelector4,
    TrafficSelector6,
    UnknownOption,
    UnknownSelector,
    UnknownSubOption,
    Verbatim,
)


def add(fid: int, pri: int, bids: list[int], selector: Any = SSH) -> FlowIdentification:
    return flow(fid, pri, bids=bids, selector=selector)


@pytest.fixture
def peer() -> Peer:
    made = Peer("rfc6089")
    answer = made.send(bid(1, COA1, 10), bid(2, COA2, 20), add(1, 10, [2]), add(2, 20, [1], HTTPS))
    assert answer.flow_statuses == [0, 0]
    return made


def keep(peer: Peer, *options: Any, summary: tuple[int, ...] = (1, 2), **how: Any) -> list[int]:
    """Statuses of the answer to an update that names flows 1 and 2 in a summary."""
    return peer.send(bid(1, COA1, 10), *options, FlowSummary(summary), **how).flow_statuses


def test_decisions(peer: Peer) -> None:
    assert peer.decide(source_port=22) == ("forward", 1, [str(COA2)])
    assert peer.decide(source_port=443) == ("forward", 2, [str(COA1)])
    assert peer.decide(source_port=1) == ("default", None, [str(COA1)])


@pytest.mark.req("K27")
def test_several_bids_mean_copies_to_each(peer: Peer) -> None:
    assert keep(peer, add(3, 5, [2, 1])) == [0]
    assert peer.node.flows[3].action == NCAST
    assert peer.decide(source_port=22) == ("n-cast", 3, [str(COA2), str(COA1)])
    assert keep(peer, flow(3, 5, bids=[1])) == [0]
    assert peer.decide(source_port=22) == ("forward", 3, [str(COA1)])
    limited = Peer("rfc6089", capabilities=Capabilities(ncast=False))
    answer = limited.send(bid(1, COA1), bid(2, COA2), add(1, 1, [1, 2]), add(2, 2, [1]))
    assert answer.flow_statuses == [128, 0]


@pytest.mark.req("K7", "R73")
def test_the_echo_is_the_whole_option(peer: Peer) -> None:
    sent = FlowIdentification(3, 5, suboptions=(BindingReference((1,)), UnknownSubOption(99, b"xy")))
    answer = peer.send(bid(1), sent, FlowSummary((1, 2)))
    (echo,) = answer.flows
    assert (echo.fid, echo.pri, echo.status) == (3, 5, 130)
    assert [s for s in echo.suboptions if s in sent.suboptions] == list(sent.suboptions)


@pytest.mark.req("K31", "K14", "K9")
@pytest.mark.parametrize(
    ("option", "status"),
    [
        (add(0, 5, [1]), 130),
        (add(3, 0, [1]), 130),
        (add(3, 10, [1]), 130),  # flow 1 has that FID-PRI
        (flow(3, 5, bids=[1]), 130),
        (flow(3, 5, selector=SSH), 130),
        (flow(3, 5), 130),
        (add(3, 5, [9]), 131),
        (add(3, 5, [1, 9]), 131),
        # no selector of its kind
        (flow(3, 5, bids=[9], selector=UnknownSelector(7, b"")), 133),  # type: ignore[arg-type]  # refused on purpose
        (flow(3, 5, selector=UnknownSelector(7, b"")), 133),  # type: ignore[arg-type]  # no selector of its kind
        (FlowIdentification(3, 5, suboptions=Verbatim((MalformedSubOption(b"\2\3\0\1\0"),))), 130),
        (FlowIdentification(3, 5, suboptions=Verbatim((MalformedSubOption(b"\2\7\0\1\0"),))), 130),
        (add(3, 5, [1]), 0),
        (add(3, 65535, [1], TrafficSelector4()), 0),
        (flow(1, 10), 0),
        (flow(1, 20), 130),
    ],
)
def test_statuses(peer: Peer, option: FlowIdentification, status: int) -> None:
    assert keep(peer, option) == [status]
    assert sorted(peer.node.flows) == ([1, 2, 3] if status == 0 and option.fid == 3 else [1, 2])


def test_two_references_are_one_too_many(peer: Peer) -> None:
    # as octets: the encoder wouldn't write it
    option = UnknownOption(45, bytes.fromhex("0003 0005 00 00 0202 0001 0202 0002 0306 0200 0000 0000"))
    packet = peer.packet(bid(1), option, FlowSummary((1, 2)))
    (reply,) = peer.replies(packet)
    assert Answer(reply).flow_statuses == [130]


@pytest.mark.req("K11")
def test_an_update_keeps_what_it_does_not_name(peer: Peer) -> None:
    assert keep(peer, flow(1, 15)) == [0]
    was = peer.node.flows[1]
    assert (was.priority, was.bids, was.rule) == (15, (2,), selector_rule(SSH))
    assert keep(peer, flow(1, 15, bids=[1])) == [0]
    assert (peer.node.flows[1].bids, peer.node.flows[1].rule) == ((1,), selector_rule(SSH))
    assert keep(peer, flow(1, 15, selector=TrafficSelector6(protocol=(6, 6)))) == [0]
    assert peer.node.flows[1].bids == (1,)
    assert peer.decide(protocol=6)[1] == 1


@pytest.mark.req("K14")
def test_priorities_may_be_exchanged_in_one_update(peer: Peer) -> None:
    assert keep(peer, flow(1, 20), flow(2, 10)) == [0, 0]
    assert {f.fid: f.priority for f in peer.node.flows.values()} == {1: 20, 2: 10}
    # 1 moves to where 2 is, but 2 can't leave: then 1 can't move either, nor 3 to where 1 was
    assert keep(peer, flow(1, 10), flow(2, 30, bids=[9]), add(3, 20, [1])) == [130, 131, 130]
    assert {f.fid: f.priority for f in peer.node.flows.values()} == {1: 20, 2: 10}
    assert keep(peer, add(3, 7, [1]), add(4, 7, [1])) == [0, 130]


@pytest.mark.req("K25")
def test_duplicates_refuse_all_options(peer: Peer) -> None:
    before = {f.fid: f.priority for f in peer.node.flows.values()}
    assert keep(peer, flow(1, 11), add(3, 5, [1]), flow(1, 12)) == [130, 130, 130]
    assert {f.fid: f.priority for f in peer.node.flows.values()} == before


@pytest.mark.req("K12", "R70")
def test_removal_by_omission(peer: Peer) -> None:
    assert keep(peer, summary=(2,)) == []
    assert list(peer.node.flows) == [2]
    peer.send(bid(1, COA1))
    assert peer.node.flows == {}


def test_a_refused_update_of_a_flow_keeps_it(peer: Peer) -> None:
    assert keep(peer, flow(1, 10, bids=[9]), summary=(2,)) == [131]
    assert sorted(peer.node.flows) == [1, 2]


@pytest.mark.req("K6")
def test_flow_summary(peer: Peer) -> None:
    peer.now += 100
    answer = peer.send(bid(1, COA1), FlowSummary((1, 1)), FlowSummary((7, 2, 7)), lifetime=20)
    assert [(o.fid, o.status) for o in answer.flows] == [(7, 132)]
    assert {f.expires for f in peer.node.flows.values()} == {peer.now + 80}
    # a FID that an option of the same update adds is there
    assert keep(peer, add(3, 5, [1]), summary=(1, 2, 3)) == [0]
    # and without any flow the summary is still answered
    peer.send(bid(1))
    assert keep(peer) == [132, 132]


@pytest.mark.req("K30")
def test_inactive_flows_are_kept_and_skipped(peer: Peer) -> None:
    answer = peer.send(bid(2), FlowSummary((1, 2)), lifetime=0)
    assert (answer.status, answer.flow_statuses) == (0, [])
    assert peer.decide(source_port=22) == ("default", None, [str(COA1)])
    assert sorted(peer.node.flows) == [1, 2]
    assert keep(peer, bid(2, COA3)) == []
    assert peer.decide(source_port=22) == ("forward", 1, [str(COA3)])
    peer.send(bid(2), lifetime=0)  # without a summary the flows go too (5.3.3)
    assert peer.node.flows == {}


@pytest.mark.req("R108")
def test_a_deregistration_ignores_the_summary(peer: Peer) -> None:
    answer = peer.send(add(3, 5, [1]), FlowSummary((1, 2, 9)), lifetime=0)
    assert (answer.status, answer.flow_statuses) == (0, [129])
    assert peer.node is None


@pytest.mark.req("K37")
def test_an_update_without_bid_replaces_all(peer: Peer) -> None:
    assert peer.send(flow(1, 10), FlowSummary((2,)), source=COA2).flow_statuses == [0]
    assert list(peer.node.care_of) == [0]
    assert peer.decide(source_port=22) == ("default", None, [str(COA2)])


@pytest.mark.req("K29")
def test_a_refused_update(peer: Peer) -> None:
    answer = peer.send(bid(1), flow(1, 5), FlowSummary((2,)), sequence=1)
    assert (answer.status, answer.flow_statuses) == (135, [129])


@pytest.mark.req("R25", "R26")
@pytest.mark.parametrize("missing", ["ports", "prefixes", "flow_label", "spi", "ipv6_selectors"])
def test_what_is_not_supported(missing: str) -> None:
    peer = Peer("rfc6089", capabilities=Capabilities(**{missing: False}))
    selector = TrafficSelector6(source=(COA1, COA2), spi=(1, 1), flow_label=(1, 1), source_port=(1, 1))
    answer = peer.send(bid(1, COA1), add(1, 1, [1], selector))
    assert answer.flow_statuses == [133 if missing == "ipv6_selectors" else 129]


def test_limits_and_policy() -> None:
    limits = Limits(flows_per_node=2, fan_out=2)
    peer = Peer("rfc6089", limits=limits, admit_flow=lambda node, option: option.pri != 66)
    answer = peer.send(
        bid(1, COA1), bid(2, COA2), bid(3, COA3),
        add(1, 66, [1]), add(2, 2, [1, 2, 3]), add(3, 3, [1]), add(4, 4, [1]), add(5, 5, [1]),
    )  # fmt: skip
    assert answer.flow_statuses == [128, 129, 0, 0, 129]
    answer = peer.send(bid(1), FlowSummary((4,)), add(5, 5, [1]))
    assert answer.flow_statuses == [0]  # what the update omits makes room first
    assert sorted(peer.node.flows) == [4, 5]
    assert Switches().omission == "keep"  # a switch of the draft profile only


def test_an_overwrite_keeps_the_flows_that_are_named(peer: Peer) -> None:
    assert keep(peer, flags=A | H | OVERWRITE, summary=(1,)) == []
    assert list(peer.node.care_of) == [1]
    assert list(peer.node.flows) == [1]
    assert peer.decide(source_port=22)[0] == "default"


def test_one_cache_for_nodes_of_both_profiles() -> None:
    table = ReadableTable()
    cache = BindingCache(table)
    draft = Peer(agent=HomeAgent("draft", cache=cache))
    rfc = Peer(agent=HomeAgent("rfc6089", cache=cache))
    draft.table = rfc.table = table
    draft.send(bid(1, COA1), flow(1, 1, selector=SSH))
    rfc.send(bid(1, COA2), add(1, 1, [1], HTTPS), home=OTHER_HOME)
    assert {n.home: n.profile for n in cache} == {HOME.packed: "draft", OTHER_HOME.packed: "rfc6089"}
    draft.send(bid(1, COA1))
    rfc.send(bid(1, COA2), home=OTHER_HOME)
    assert table.decide(HOME, source_port=22)[0] == "forward"  # K12: kept
    assert table.decide(OTHER_HOME, source_port=443)[0] == "default"  # purged
