"""What a mobile node puts on the wire for each wish of its policy, and what it makes of answers written by hand."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any

import pytest
from mobility_kit import AGENT, COA1, COA2, DISCARD, FORWARD, HOME, HTTPS, NCAST, OTHER_HOME, REMOVE, SSH

from flowclass.errors import EncodeError, FlowclassError
from flowclass.mobility import HomeAgent, MobileNode
from flowclass.mobility.mobile_node.settle import settle
from flowclass.wire import (
    BindingAcknowledgement,
    BindingIdentifier,
    BindingUpdate,
    FlowIdentification,
    MobilityPacket,
    Option,
    TrafficSelector6,
    decode_packet,
    encode_packet,
)

ADD, REPLACE, REFRESH = 0, 1, 2


class Script:
    """A mobile node whose packets are read here, and answered as the test says."""

    def __init__(self, role: Any = "home-agent") -> None:
        self.refusals: list[Any] = []
        self.node = MobileNode(HOME, random=bytes, listener=lambda peer, refusal: self.refusals.append(refusal))
        self.list = self.node.add_receiver(AGENT, role)
        self.now = 100.0
        self.sent: list[BindingUpdate] = []

    def read(self, packets: list[bytes]) -> list[BindingUpdate]:
        for octets in packets:
            message = decode_packet(octets).message
            assert isinstance(message, BindingUpdate)
            self.sent.append(message)
        return self.sent[len(self.sent) - len(packets) :]

    def ask(self, method: str, *arguments: Any, **how: Any) -> list[BindingUpdate]:
        return self.read(getattr(self.node, method)(AGENT, *arguments, now=self.now, **how))

    def answer(self, *options: Option, status: int = 0) -> list[BindingUpdate]:
        """Acknowledge the last update with these options; what is sent then."""
        message = BindingAcknowledgement(status, self.sent[-1].sequence, self.sent[-1].lifetime, 0, options)
        packet = MobilityPacket(AGENT, COA1, message, routing_home=HOME)
        return self.read(self.node.receive(encode_packet(packet), now=self.now))

    def agree(self, change: Callable[[FlowIdentification], FlowIdentification | None] = lambda o: o) -> None:
        """Answer as a receiver that accepts all, each copy as ``change`` has it, until nothing more is sent."""
        more = [self.sent[-1]]
        while more:
            copies: list[Option] = []
            for option in more[-1].options:
                if isinstance(option, BindingIdentifier):
                    copies.append(BindingIdentifier(option.bid))
                elif isinstance(option, FlowIdentification):
                    copy = change(option.answer(0, whole=False))
                    copies += [] if copy is None else [copy]
            more = self.answer(*copies)

    def registered(self) -> Script:
        self.ask("register", 1, COA1, 10)
        self.agree()
        self.ask("register", 2, COA2, 20)
        self.agree()
        return self


def flows(updates: list[BindingUpdate]) -> list[FlowIdentification]:
    return [option for update in updates for option in update.options if isinstance(option, FlowIdentification)]


@pytest.fixture
def script() -> Script:
    return Script().registered()


@pytest.mark.req("R6")
def test_nothing_is_sent_that_was_not_asked_for() -> None:
    script = Script()
    assert script.node.tick(script.now) == []
    assert script.node.next_deadline() is None
    (update,) = script.ask("register", 1, COA1, 10)
    assert flows([update]) == []
    script.agree()
    (update,) = script.ask("add_flow", 7, 3, [1], SSH, FORWARD)
    (option,) = flows([update])
    assert (option.fid, option.pri, option.bids, option.selector, option.action) == (7, 3, (1,), SSH, FORWARD)


@pytest.mark.req("R51", "R82", "R45", "R50")
def test_the_default_binding_is_the_mobile_node_s_to_choose(script: Script) -> None:
    assert [[(o.bid, o.priority) for o in u.options if isinstance(o, BindingIdentifier)] for u in script.sent] == [
        [(1, 10)],
        [(2, 20)],
    ]
    # it changes by a BID option alone
    (update,) = script.ask("register", 2, COA2, 5)
    assert [(o.bid, o.priority) for o in update.options if isinstance(o, BindingIdentifier)] == [(2, 5)]
    assert flows([update]) == []


@pytest.mark.req("R82", "R53")
def test_no_flow_without_a_care_of_address() -> None:
    script = Script()
    with pytest.raises(FlowclassError, match="BID 1 has no care-of address"):
        script.ask("add_flow", 1, 1, [1], SSH)
    # asked for together, the update has both
    script.ask("register", 1, COA1, 10, flush=False)
    (update,) = script.ask("add_flow", 1, 1, [1], SSH)
    assert [o.bid for o in update.options if isinstance(o, BindingIdentifier)] == [1]
    assert [o.fid for o in flows([update])] == [1]


@pytest.mark.req("R52", "R83", "R84", "R85", "R89", "R56", "R62")
def test_add_with_and_without_description(script: Script) -> None:
    (option,) = flows(script.ask("add_flow", 1, 9, [1], SSH))
    assert (option.fid, option.pri, option.action, option.pro, option.selector) == (1, 9, FORWARD, ADD, SSH)
    script.agree()
    (option,) = flows(script.ask("add_flow", 2, 8, [2]))
    assert (option.fid, option.pri, option.action, option.pro, option.selector) == (2, 8, FORWARD, ADD, None)
    script.agree()
    with pytest.raises(FlowclassError, match="FID 1 exists"):
        script.ask("add_flow", 1, 1, [1], HTTPS)


@pytest.mark.req("R84", "R89")
def test_values_that_are_not_valid(script: Script) -> None:
    for fid, pri, action in ((1 << 16, 1, FORWARD), (1, 256, FORWARD), (1, -1, FORWARD), (1, 1, 4)):
        with pytest.raises(FlowclassError):
            script.ask("add_flow", fid, pri, [1], SSH, action)
    assert script.list.wanted_flows == {}


@pytest.mark.req("R86", "R87", "R88")
def test_no_request_about_a_flow_that_is_not_there(script: Script) -> None:
    for method in ("replace_flow", "refresh_flow", "remove_flow"):
        with pytest.raises(FlowclassError, match="FID 5 doesn't exist"):
            script.ask(method, 5)


@pytest.mark.req("R63", "R67", "R69", "R86", "R87", "R88", "K32")
def test_requests_carry_pri_and_action_of_the_list(script: Script) -> None:
    script.ask("add_flow", 1, 9, [2], SSH, DISCARD)
    script.agree()
    (option,) = flows(script.ask("refresh_flow", 1))
    assert (option.pro, option.pri, option.action, option.suboptions) == (REFRESH, 9, DISCARD, ())
    script.agree()
    (option,) = flows(script.ask("replace_flow", 1, pri=4))
    assert (option.pro, option.pri, option.action) == (REPLACE, 4, DISCARD)
    script.agree()
    (option,) = flows(script.ask("remove_flow", 1))
    assert (option.pro, option.pri, option.action, option.suboptions) == (REMOVE, 4, DISCARD, ())


@pytest.mark.req("R90")
def test_n_cast(script: Script) -> None:
    (option,) = flows(script.ask("add_flow", 1, 1, [1, 2], SSH, NCAST))
    assert (option.action, option.bids) == (NCAST, (1, 2))
    lone = Script()
    lone.ask("register", 1, COA1, 10)
    lone.agree()
    with pytest.raises(FlowclassError, match="a second care-of address"):
        lone.ask("add_flow", 1, 1, [1], SSH, NCAST)


@pytest.mark.req("R75", "R98")
def test_no_copies_mean_that_the_receiver_knows_no_flows(script: Script) -> None:
    script.ask("add_flow", 1, 1, [1], SSH)
    script.agree(lambda copy: None)
    assert [(r.what, r.number) for r in script.refusals] == [("flows", -1)]
    assert script.list.supports_flows is False
    assert script.list.flows == {}


@pytest.mark.req("R97", "R99", "K7")
def test_each_copy_is_looked_for_and_its_status_is_that_flow_s(script: Script) -> None:
    script.ask("add_flow", 1, 1, [1], SSH, flush=False)
    script.ask("add_flow", 2, 2, [1], HTTPS, flush=False)
    script.ask("add_flow", 3, 3, [2], flush=False)
    assert len(flows(script.ask("flush"))) == 3

    def change(copy: FlowIdentification) -> FlowIdentification | None:
        if copy.fid == 1:
            return copy
        # one with a failure, and one that is not a copy: another PRI
        return (
            FlowIdentification(2, 2, status=130) if copy.fid == 2 else FlowIdentification(3, 99, copy.action, copy.pro)
        )

    for _ in range(3):
        script.agree(change)
    assert set(script.list.flows) == {1}
    assert {(r.what, r.number, r.status) for r in script.refusals} >= {("flow", 3, -1), ("flow", 2, 130)}


@pytest.mark.req("R94", "R106")
def test_at_a_correspondent_node_only_flows_of_the_updates_own_address() -> None:
    # without return routability nothing is sent; what would be is in the plan
    script = Script("correspondent")
    updates = script.list
    for bid, address in ((1, COA1), (2, COA2)):
        script.node.register(AGENT, bid, address, now=script.now, flush=False)
    for fid, bid in ((1, 1), (2, 2)):
        script.node.add_flow(AGENT, fid, fid, [bid], SSH, now=script.now, flush=False)
    updates.fresh = False
    seen = []
    for _ in range(2):
        plan = updates.plan(script.now)
        assert plan is not None
        (care_of,) = plan.care_of
        assert [option.fid for option in plan.flows] == [care_of.bid]
        seen.append(care_of.bid)
        plan.sent[1] = script.now
        updates.outstanding = plan
        settle(
            updates,
            BindingAcknowledgement(
                0,
                1,
                plan.lifetime,
                0,
                (BindingIdentifier(care_of.bid), *(o.answer(0, whole=False) for o in plan.flows)),
            ),
        )
    assert seen == [1, 2]
    # a refresh, and a removal, travel with the address that the flow is on
    for entry in (1, 2):
        del updates.wanted_flows[entry]
    plan = updates.plan(script.now)
    assert plan is not None
    assert [(option.fid, option.pro) for option in plan.flows] == [(plan.care_of[0].bid, REMOVE)]


@pytest.mark.req("R100", "R101", "R102", "R103", "R104")
def test_movement(script: Script) -> None:
    moved = IPv6Address("2001:db8:dd::1")
    script.ask("add_flow", 1, 1, [2], SSH)
    script.agree()
    script.ask("add_flow", 2, 2, [2], HTTPS)
    script.agree()
    # one way: the BID gets the new address, and no flow is named
    (update,) = script.ask("register", 2, moved, 20)
    assert [(o.bid, o.care_of) for o in update.options if isinstance(o, BindingIdentifier)] == [(2, moved)]
    assert flows([update]) == []
    script.agree()
    script.now += 1  # three new addresses a second (RFC 6275 11.5.3)
    # the other: each flow on the old BID is replaced, description left out
    options = flows(script.ask("move", 2, 3, COA2))
    assert [(o.fid, o.pro, o.bids, o.selector) for o in options] == [(1, REPLACE, (3,), None), (2, REPLACE, (3,), None)]


def test_how_often_a_home_agent_hears_about_new_addresses(script: Script) -> None:
    """RFC 6275 11.5.3: not more than three times within a second; what concerns the old ones is said at once."""
    addresses = [IPv6Address(f"2001:db8:ee::{i:x}") for i in range(1, 7)]
    script.now += 5
    sent = [script.ask("register", 1, address, 10) for address in addresses]
    assert [len(updates) for updates in sent] == [1, 1, 1, 0, 0, 0]
    assert script.node.next_deadline() == script.now + 1
    assert script.read(script.node.tick(script.now + 0.5)) == []
    script.now += 1
    (update,) = script.read(script.node.tick(script.now))
    assert [o.care_of for o in update.options if isinstance(o, BindingIdentifier)] == [addresses[-1]]
    script.agree()
    assert len(script.ask("add_flow", 1, 1, [1], SSH)) == 1
    script.agree()
    assert [len(script.ask("replace_flow", 1, pri=pri)) for pri in (2,)] == [1]


def test_a_receiver_that_always_refuses_the_sequence_number(script: Script) -> None:
    """Each refusal leads to another attempt, but not to more than three of one update within a second."""
    script.now += 5
    script.ask("register", 1, COA2, 10)
    count = len(script.sent)
    for _ in range(10):
        message = BindingAcknowledgement(135, script.sent[-1].sequence + 1 & 0xFFFF, 0)
        octets = encode_packet(MobilityPacket(AGENT, COA1, message, routing_home=HOME))
        script.read(script.node.receive(octets, now=script.now))
    assert len(script.sent) - count == 2
    deadline = script.node.next_deadline()
    assert deadline is not None
    assert len(script.read(script.node.tick(deadline))) == 1


WRONG_CALLS: dict[str, tuple[Callable[[MobileNode], object], str]] = {
    "priority": (lambda m: m.register(AGENT, 2, COA2, 500, now=1.0), r"^priority: 0 to 127 expected, got 500$"),
    "BID": (lambda m: m.register(AGENT, 70000, COA2, now=1.0), r"^bid: 0 to 65535 expected, got 70000$"),
    # the mistake that is tested
    "no BID": (lambda m: m.register(AGENT, [], COA2, now=1.0), "^bid: an integer"),  # type: ignore[arg-type]  # wrong on purpose
    "address": (
        lambda m: m.register(AGENT, 2, "2001:db8:b::x", now=1.0),
        "^address: an IP address expected, got '2001:db8:b::x'$",
    ),
    # the mistake that is tested
    "selector": (lambda m: m.add_flow(AGENT, 9, 9, [1], "tcp", now=1.0), "^selector: "),  # type: ignore[arg-type]  # wrong on purpose
    "reversed": (
        lambda m: m.add_flow(AGENT, 9, 9, [1], TrafficSelector6(source_port=(5, 2)), now=1.0),
        r"^TrafficSelector6\.source_port: the range is reversed",
    ),
    "port": (
        lambda m: m.add_flow(AGENT, 9, 9, [1], TrafficSelector6(source_port=(5, 70000)), now=1.0),
        r"^TrafficSelector6\.source_port: 0 to 65535 expected, got 70000$",
    ),
    "an address in a selector": (
        # the mistake that is tested
        lambda m: m.add_flow(AGENT, 9, 9, [1], TrafficSelector6(source=("::", "::x")), now=1.0),
        r"^TrafficSelector6\.source: an IP address expected, got '::x'$",
    ),
    # the mistake that is tested
    "BIDs": (lambda m: m.add_flow(AGENT, 9, 9, "1", now=1.0), "^bids: "),  # type: ignore[arg-type]  # wrong on purpose
    "many BIDs": (lambda m: m.add_flow(AGENT, 9, 9, [1] * 127, now=1.0), "^bids: 127 with this selector fit no option"),
    # the mistake that is tested
    "FID": (lambda m: m.add_flow(AGENT, "9", 9, [1], now=1.0), "^fid: "),  # type: ignore[arg-type]  # wrong on purpose
    "replaced": (
        lambda m: m.replace_flow(AGENT, 1, selector=TrafficSelector6(source_port=(5, 2)), now=1.0),
        r"^TrafficSelector6\.source_port: the range is reversed",
    ),
    "moved": (lambda m: m.move(AGENT, 1, 70000, COA2, now=1.0), "^new: "),
    # the mistake that is tested
    "given up": (lambda m: m.deregister(AGENT, 1, [], now=1.0), "^bids: "),  # type: ignore[arg-type]  # wrong on purpose
    "peer": (lambda m: m.flush([], now=1.0), "^peer: "),  # type: ignore[arg-type]  # the mistake that is tested
    "role": (
        lambda m: m.add_receiver(OTHER_HOME, "foo"),  # type: ignore[arg-type]  # the mistake that is tested
        "^role: one of home-agent, map, correspondent expected, got 'foo'$",
    ),
}


@pytest.mark.parametrize("outstanding", [False, True])
@pytest.mark.parametrize("case", WRONG_CALLS)
def test_a_wrong_argument_changes_nothing(case: str, outstanding: bool) -> None:
    call, message = WRONG_CALLS[case]
    agent, other = HomeAgent(), IPv6Address("2001:db8:2::1")
    node = MobileNode(HOME, random=bytes)
    wishes = node.add_receiver(AGENT)
    node.add_receiver(other)
    (packet,) = node.register(AGENT, 1, COA1, now=0.0)
    (answer,) = agent.receive(packet, now=0.0)
    node.receive(answer, now=0.0)
    (packet,) = node.add_flow(AGENT, 1, 1, [1], SSH, now=0.0)
    (answer,) = agent.receive(packet, now=0.0)
    if not outstanding:
        node.receive(answer, now=0.0)
    node.register(other, 1, COA1, now=0.0)
    before = dict(wishes.wanted_care_of), dict(wishes.wanted_flows)
    with pytest.raises(FlowclassError, match=message):
        call(node)
    assert (wishes.wanted_care_of, wishes.wanted_flows) == before
    if outstanding:
        assert node.receive(answer, now=1.0) == []
    assert node.flush(AGENT, now=1.0) == []
    assert [decode_packet(p).destination for p in node.tick(2.0)] == [other]


def test_a_receiver_that_cannot_be_spoken_to() -> None:
    """Its messages can't be made; the others' go out all the same."""
    short = False
    node = MobileNode(HOME, random=lambda count: b"" if short else bytes(count))
    correspondent = IPv6Address("2001:db8:99::7")
    node.add_receiver(correspondent, "correspondent")
    node.add_receiver(AGENT)
    node.register(correspondent, 1, COA1, now=0.0)
    node.register(AGENT, 1, COA1, now=0.0)
    short = True
    (packet,) = node.tick(2.0)
    assert decode_packet(packet).destination == AGENT
    (answer,) = HomeAgent().receive(packet, now=2.0)
    node.receive(answer, now=2.0)
    with pytest.raises(EncodeError):
        node.tick(40.0)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: MobileNode("192.0.2.1"), "^home: an IPv6 address .16 octets. expected, got 192.0.2.1$"),
        (lambda: MobileNode(HOME, lifetime=-1), "^lifetime: 1 to 65535 expected, got -1$"),
        (lambda: MobileNode(HOME, lifetime=70000), "^lifetime: 1 to 65535 expected, got 70000$"),
        (lambda: MobileNode(HOME, prefixes=["2001:db8::1/64"]), "^prefixes: .* has host bits set$"),
        # the mistake that is tested
        (lambda: MobileNode(HOME, listener=5), "^listener: a function expected"),  # type: ignore[arg-type]  # wrong on purpose
    ],
)
def test_a_node_of_wrong_arguments(made: Callable[[], MobileNode], message: str) -> None:
    with pytest.raises(FlowclassError, match=message):
        made()


def test_a_flow_that_fits_no_option() -> None:
    """Each part has an encoding, all of them together have none: RFC 6089 options have 255 octets."""
    node = MobileNode(HOME, "rfc6089", random=bytes)
    wishes = node.add_receiver(AGENT)
    node.register(AGENT, 1, COA1, now=0.0)
    selector = TrafficSelector6(source=(COA1, COA2), destination=(COA1, COA2))
    with pytest.raises(FlowclassError, match=r"^bids: 126 with this selector fit no option"):
        node.add_flow(AGENT, 9, 9, [1] * 126, selector, now=0.0)
    assert not wishes.wanted_flows
