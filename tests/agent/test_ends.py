"""The two ends: their packet loop between socket pairs, which scapy judges, and what their control planes believe."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv6Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from forward_kit import HOME_AGENT, HOME_AGENT4, VNET, Rig, flow, packed
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    HAO,
    MIP6MH_BU,
    HBHOptUnknown,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    MIP6MH_HoTI,
    PadN,
)
from scapy.packet import Raw

from flowclass.agent._forward import Forwarder, Local
from flowclass.agent.config import read_correspondent_config, read_node_config
from flowclass.agent.correspondent import CorrespondentService
from flowclass.agent.loop import DataThread, Loop
from flowclass.agent.mobile_node import MobileNodeService
from flowclass.agent.route_optimization import RouteOptimization
from flowclass.engine.forwarding import ForwardingTable
from flowclass.errors import ClassifierError, FlowclassError
from flowclass.wire import BindingAcknowledgement, MobilityPacket, NatDetection, encode_packet

HOME4 = "198.51.100.5"
HOME, CN, OTHER = "2001:db8:100::5", "2001:db8:c::9", "2001:db8:e::7"
COA1, COA2 = "2001:db8:a::1", "2001:db8:b::1"
FORWARD = 1
EVERYWHERE = ((bytes(16), 0), (bytes(4), 0))

MakeRig = Callable[..., Rig]


@pytest.fixture
def mobile() -> Iterator[MakeRig]:
    """A mobile node with two care-of addresses, the second for packets to port 22, and CN as a correspondent."""
    yield from _rigs("mobile-node", HOME, _mobile)


def _mobile(r: Rig) -> None:
    flows = [flow(1, FORWARD, (1,), version=6, destination_port=(22, 22))]
    r.node(HOME, COA1, COA2, prefixes=EVERYWHERE, flows=flows)
    r.node(CN, COA2)
    for i, address in enumerate((COA1, COA2)):
        r.forwarder.set_source(packed(address), i + 1)


@pytest.fixture
def correspondent() -> Iterator[MakeRig]:
    """A correspondent node that has a binding of HOME, port 22 at the second care-of address."""
    yield from _rigs("correspondent", CN, _correspondent)


def _correspondent(r: Rig) -> None:
    r.node(HOME, COA1, COA2, flows=[flow(1, FORWARD, (1,), version=6, source_port=(22, 22))])
    r.forwarder.set_source(packed(CN), 1)


def _rigs(role: str, own: str, prepare: Callable[[Rig], None]) -> Iterator[MakeRig]:
    made: list[Rig] = []

    def make(more: Iterable[tuple[bytes, int]] = (), **options: Any) -> Rig:
        r = Rig(role=role, own=[(packed(own), 128), *more], tap=True, encapsulation_limit=None, **options)
        made.append(r)
        prepare(r)
        return r

    yield make
    for one in made:
        one.close()


def udp(source: str, destination: str, size: int = 32, sport: int = 1000, dport: int = 2000, chain: Any = None) -> Any:
    header = IPv6(src=source, dst=destination, tc=0xB8, fl=0x12345)
    body = UDP(sport=sport, dport=dport) / Raw(bytes(i % 251 for i in range(size)))
    return IPv6(bytes(header / body if chain is None else header / chain / body))


CHAINS: list[tuple[Any, int]] = [
    (None, 40),
    (IPv6ExtHdrHopByHop(options=[HBHOptUnknown(otype=0x1E, optdata=b"abcd")]), 48),
    (IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))]), 40),
    (IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(type=3, segleft=0, addresses=[OTHER]), 80),
    (IPv6ExtHdrFragment(id=7, m=1), 40),
]


# ---- What leaves


def test_a_mobile_node_tunnels_from_the_care_of_address_of_the_flow(mobile: MakeRig) -> None:
    r = mobile()
    plain, ssh = udp(HOME, OTHER), udp(HOME, OTHER, dport=22)
    r.give(plain, ssh).run()
    outer = [IPv6(p) for p in r.sent]
    assert [(p.src, p.dst, p.nh, p.tc, p.fl) for p in outer] == [
        (care_of, HOME_AGENT, 41, 0xB8, 0x12345) for care_of in (COA1, COA2)
    ]
    assert [bytes(p.payload) for p in outer] == [bytes(plain), bytes(ssh)]
    assert r.packets == {"flow": 1, "default": 1, "sent": 2}


@pytest.mark.parametrize(("chain", "at"), CHAINS)
def test_the_home_address_option_stands_where_rfc_6275_wants_it(mobile: MakeRig, chain: Any, at: int) -> None:
    r = mobile()
    packet = bytes(udp(HOME, CN, chain=chain))
    r.give(packet).run()
    (sent,) = r.sent
    found = IPv6(sent)
    assert (found.src, found.dst, found.plen, found.tc, found.fl) == (COA2, CN, len(packet) - 16, 0xB8, 0x12345)
    header = IPv6ExtHdrDestOpt(sent[at : at + 24])
    assert [(type(o), getattr(o, "hoa", None)) for o in header.options] == [(PadN, None), (HAO, HOME)]
    assert sent[at + 24 :] == packet[at:]
    assert r.packets == {"default": 1, "direct": 1, "sent": 1}


@pytest.mark.parametrize(("chain", "at"), CHAINS)
def test_the_type_2_routing_header_leads_to_the_care_of_address(correspondent: MakeRig, chain: Any, at: int) -> None:
    r = correspondent()
    packet = bytes(udp(CN, HOME, sport=22, chain=chain))
    r.give(packet).run()
    (sent,) = r.sent
    assert (IPv6(sent).src, IPv6(sent).dst) == (CN, COA2)
    routing = IPv6ExtHdrRouting(sent[at : at + 24])
    assert (routing.type, routing.segleft, routing.addresses) == (2, 1, [HOME])
    assert sent[at + 24 :] == packet[at:]


def test_a_correspondent_sends_plainly_where_there_is_no_binding(correspondent: MakeRig) -> None:
    r = correspondent()
    packet = udp(CN, OTHER)
    r.give(packet).run()
    assert r.sent == [bytes(packet)]
    assert r.packets == {"sent": 1}


def test_segments_of_a_super_packet_have_the_header_and_right_checksums(
    mobile: MakeRig, correspondent: MakeRig
) -> None:
    for r, source, destination in ((mobile(vnet=True), HOME, CN), (correspondent(vnet=True), CN, HOME)):
        packet = IPv6(src=source, dst=destination) / TCP(sport=5, dport=6, seq=100, flags="PA") / Raw(b"x" * 2500)
        data = bytearray(bytes(packet))
        pseudo = packed(source) + packed(destination) + (2520).to_bytes(4, "big") + (6).to_bytes(4, "big")
        total = sum(int.from_bytes(pseudo[i : i + 2], "big") for i in range(0, 40, 2))
        total = (total & 0xFFFF) + (total >> 16)
        data[56:58] = (total & 0xFFFF).to_bytes(2, "big")
        r.give(data, vnet=VNET.pack(1, 4, 60, 1000, 40, 16)).run()
        sent = [IPv6(p) for p in r.sent]
        assert [p[TCP].seq for p in sent] == [100, 1100, 2100]
        for p in sent:
            restored = IPv6(src=source, dst=destination) / TCP(bytes(p[TCP]))
            found = restored[TCP].chksum
            del restored[TCP].chksum
            assert IPv6(bytes(restored))[TCP].chksum == found
        assert r.packets["direct"] == 3


def test_too_long_a_packet_draws_an_error_to_the_application(mobile: MakeRig) -> None:
    r = mobile(mtu=1400)
    r.give(udp(HOME, CN, 1400 - 48 - 24), udp(HOME, CN, 1400 - 48 - 23)).run()
    assert len(r.sent) == 1
    (error,) = [IPv6(p) for p in r.routed]
    assert (error.dst, error[ICMPv6PacketTooBig].mtu) == (HOME, 1376)


@pytest.mark.parametrize(("ipv4", "source"), [(True, HOME_AGENT4), (False, "192.0.0.8")])
def test_too_long_a_packet_of_ipv4_draws_an_error_too(mobile: MakeRig, ipv4: bool, source: str) -> None:
    r = mobile(mtu=1400, ipv4=ipv4, more=[(packed(HOME4), 32)])
    inner = [IP(src=HOME4, dst="192.0.2.77", flags="DF") / UDP() / Raw(bytes(size - 28)) for size in (1360, 1361)]
    r.give(*inner).run()
    assert [IPv6(p)[IP].len for p in r.sent] == [1360]
    (error,) = [IP(p) for p in r.routed]
    assert (error.src, error.dst, error[ICMP].type, error[ICMP].code, error[ICMP].nexthopmtu) == (
        source, HOME4, 3, 4, 1360,
    )  # fmt: skip
    found = error[ICMP].chksum
    del error[ICMP].chksum
    assert IP(bytes(error))[ICMP].chksum == found


def test_a_small_packet_that_does_not_fit_directly_takes_the_tunnel(mobile: MakeRig) -> None:
    r = mobile(mtu=1280)
    r.give(udp(HOME, CN, 1280 - 48)).run()
    assert {(IPv6(p).src, IPv6(p).dst, IPv6(p).nh) for p in r.sent} == {(COA2, HOME_AGENT, 44)}


def test_what_is_not_the_nodes_own_stays(mobile: MakeRig, correspondent: MakeRig) -> None:
    for r in (mobile(), correspondent()):
        r.give(udp(OTHER, CN), udp(OTHER, "ff02::2")).run()
        assert r.sent == []
        assert r.dropped == {"source": 1, "scope": 1}


def test_a_care_of_address_that_is_gone_sends_nothing(mobile: MakeRig) -> None:
    r = mobile()
    r.forwarder.set_source(packed(COA1), None)
    r.give(udp(HOME, OTHER), udp(HOME, OTHER, dport=22)).run()
    assert [IPv6(p).src for p in r.sent] == [COA2]
    assert r.dropped == {"no-socket": 1}


# ---- What arrives


def with_routing(packet: Any, home: str = HOME, care_of: str = COA1, left: int = 1, kind: int = 2) -> bytes:
    header = IPv6(src=packet.src, dst=care_of) / IPv6ExtHdrRouting(type=kind, segleft=left, addresses=[home])
    return bytes(header / packet.payload)


def test_a_type_2_routing_header_is_taken_out(mobile: MakeRig) -> None:
    r = mobile()
    packet = IPv6(bytes(IPv6(src=CN, dst=HOME) / UDP(sport=1) / Raw(b"hello")))
    r.tap(with_routing(packet)).run()
    assert r.routed == [bytes(packet)]
    assert r.packets == {"reverse": 1, "direct": 1}


def test_a_routing_header_for_somebody_else_or_of_another_kind_is_dropped(mobile: MakeRig) -> None:
    r = mobile()
    packet = IPv6(bytes(IPv6(src=CN, dst=HOME) / UDP(sport=1) / Raw(b"hello")))
    r.tap(
        with_routing(packet, home=OTHER),
        with_routing(packet, left=0),
        with_routing(packet, left=2),
        with_routing(packet, kind=0),
        with_routing(packet, care_of=OTHER),
        with_routing(packet)[:60],
    ).run()
    assert r.routed == []
    assert r.dropped == {"malformed": 6}


def with_option(packet: Any, home: str = HOME, care_of: str = COA1, *more: Any) -> bytes:
    header = IPv6(src=care_of, dst=packet.dst) / IPv6ExtHdrDestOpt(options=[HAO(hoa=home), *more])
    return bytes(header / packet.payload)


@pytest.mark.parametrize("care_of", [COA1, COA2])
def test_a_home_address_option_that_a_binding_bears_out_is_taken_out(correspondent: MakeRig, care_of: str) -> None:
    r = correspondent()
    packet = IPv6(bytes(IPv6(src=HOME, dst=CN) / UDP(sport=1) / Raw(b"hello")))
    r.tap(with_option(packet, HOME, care_of)).run()
    assert r.routed == [bytes(packet)]
    r.tap(with_option(packet, HOME, care_of, HBHOptUnknown(otype=0x3E, optdata=b"kept"))).run()
    (kept,) = (IPv6(p) for p in r.routed)
    assert (kept.src, [o.otype for o in kept[IPv6ExtHdrDestOpt].options if o.otype > 1]) == (HOME, [0x1E, 0x3E])


def test_a_home_address_option_without_a_binding_is_told_and_not_delivered(correspondent: MakeRig) -> None:
    r = correspondent()
    packet = IPv6(bytes(IPv6(src=HOME, dst=CN) / UDP(sport=1) / Raw(b"hello")))
    wrong = [with_option(packet, OTHER), with_option(packet, HOME, OTHER)]
    r.tap(*wrong).run()
    assert r.routed == []
    assert r.dropped == {"source": 2}
    assert [local.packet for local in r.told] == wrong


def test_a_flood_of_data_packets_leaves_room_for_signalling(correspondent: MakeRig) -> None:
    c = correspondent()
    update = IPv6(src=COA1, dst=CN) / MIP6MH_BU(seq=1)
    unbound = with_option(udp(HOME, CN), care_of="2001:db8:bad::1")
    for _ in range(60):
        c.tap(*[unbound] * 50).run()
    c.tap(update).run()
    assert c.told[-1].packet == bytes(update)
    assert len(c.told) - 1 + c.dropped.get("rate", 0) == 3000
    assert c.dropped.get("rate", 0) > 0


def test_signalling_is_told_as_it_came(mobile: MakeRig, correspondent: MakeRig) -> None:
    update = IPv6(src=COA1, dst=CN) / IPv6ExtHdrDestOpt(options=[HAO(hoa=HOME)]) / MIP6MH_BU()
    for r in (mobile(), correspondent()):
        r.tap(update).run()
        assert [local.packet for local in r.told] == [bytes(update)]
        assert r.routed == []


def test_a_checksum_that_the_kernel_left_to_be_completed_is_completed(mobile: MakeRig) -> None:
    r = mobile()
    packet = IPv6(bytes(IPv6(src=CN, dst=HOME) / TCP(sport=1, dport=2) / Raw(b"y" * 3001)))
    for destination in (COA1, HOME):  # the kernel may take either address for the one in the pseudo-header
        data = bytearray(with_routing(packet))
        length = len(packet) - 40
        pseudo = packed(CN) + packed(destination) + length.to_bytes(4, "big") + (6).to_bytes(4, "big")
        total = sum(int.from_bytes(pseudo[i : i + 2], "big") for i in range(0, 40, 2))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        at = 40 + 24 + 16
        data[at : at + 2] = total.to_bytes(2, "big")
        r.tap(data).run()
        assert r.routed == [bytes(packet)]


def test_an_echo_that_comes_back_is_the_same_packet(mobile: MakeRig, correspondent: MakeRig) -> None:
    m, c = mobile(), correspondent()
    request = IPv6(bytes(IPv6(src=HOME, dst=CN, hlim=9) / ICMPv6EchoRequest(data=b"there and back")))
    m.give(request).run()
    c.tap(*m.sent).run()
    assert c.routed == [bytes(request)]
    answer = IPv6(bytes(IPv6(src=CN, dst=HOME) / ICMPv6EchoRequest(data=b"there and back")))
    c.give(answer).run()
    m.tap(*c.sent).run()
    assert m.routed == [bytes(answer)]


def test_arguments_of_the_roles_are_checked() -> None:
    table = ForwardingTable()
    for wrong in ({"role": "router"}, {"role": "mobile-node"}, {"own": [(packed(HOME), 128)]},
                  {"role": "correspondent", "own": [(packed(HOME), 129)]},
                  {"role": "correspondent", "own": [(bytes(4), 32)]}):  # fmt: skip
        with pytest.raises(ClassifierError):
            Forwarder(table, tun=[0], output=1, home_agent=packed(HOME_AGENT), **wrong)


# ---- The control plane of a correspondent node


@pytest.fixture
def service(tmp_path: Path) -> Iterator[CorrespondentService]:
    """A correspondent node that has opened nothing; what it sends is in ``service.forwarder.out``."""
    (tmp_path / "cn.toml").write_text(f'address = "{CN}"\ncontrol = "{tmp_path}/cn.sock"\n')
    made = CorrespondentService(read_correspondent_config(tmp_path / "cn.toml"))
    out: list[bytes] = []
    made.forwarder = SimpleNamespace(send=out.extend, out=out)  # type: ignore[assignment]  # what it uses
    yield made
    made.loop.close()


def test_a_reload_grants_no_longer_lifetime_than_return_routability(service: CorrespondentService) -> None:
    assert service.agent.limits.lifetime == 105  # 420 seconds, MAX_RR_BINDING_LIFETIME
    service.reload()
    assert service.agent.limits.lifetime == 105


@pytest.mark.parametrize(
    ("source", "home", "answers"),
    [
        (COA1, HOME, 1),
        ("ff02::1", HOME, 0),
        ("::", HOME, 0),
        ("fe80::1", HOME, 0),
        (COA1, "ff0e::1", 0),
        (COA1, "fe80::5", 0),
        (COA1, "::1", 0),
    ],
)
def test_a_binding_error_is_about_routable_addresses_only(
    service: CorrespondentService, source: str, home: str, answers: int
) -> None:
    packet = with_option(udp(HOME, CN), home=home, care_of=source)
    service._take(Local(packet, -1, None))
    assert len(service.forwarder.out) == answers  # type: ignore[attr-defined]  # the list of the fixture


def test_packets_that_never_end_leave_timers_and_signals_their_turn(service: CorrespondentService) -> None:
    taken = 0

    def take(local: Local) -> None:
        nonlocal taken
        taken += 1
        assert taken < 100, "the end takes one packet after the other"
        service._data.waiting.append((0.0, local))  # as the data thread does meanwhile

    service._take = take  # type: ignore[method-assign]
    service._data.waiting.append((0.0, Local(b"", -1, None)))
    service._take_waiting()
    assert taken == 1


def test_calls_that_ask_for_themselves_again_leave_timers_their_turn() -> None:
    loop, calls = Loop(), 0

    def again() -> None:
        nonlocal calls
        calls += 1
        assert calls < 100, "the loop does nothing else"
        loop.call(again)

    loop.on_time.append(lambda now: loop.stop())
    loop.call(again)
    loop.run()
    loop.close()
    assert calls == 1


# ---- The control plane of a mobile node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[MobileNodeService]:
    """A mobile node that has opened nothing."""
    (tmp_path / "mn.toml").write_text(
        f'home_address = "{HOME}"\nhome_agent = "{HOME_AGENT}"\nhome_agent_ipv4 = "192.0.2.1"\n'
        f'control = "{tmp_path}/mn.sock"\n[[care_of]]\nbid = 1\ninterface = "wlan"\n[security]\ninsecure = true\n'
    )
    made = MobileNodeService(read_node_config(tmp_path / "mn.toml"))
    yield made
    made.loop.close()


def test_a_reload_with_another_home_agent_changes_the_rest_and_says_so(node: MobileNodeService) -> None:
    file = Path(node.config.file)
    file.write_text(file.read_text().replace(HOME_AGENT, OTHER).replace("bid = 1", "bid = 3"))
    node.network = SimpleNamespace(addresses=list)  # type: ignore[assignment]  # what it uses
    node.reload()
    assert str(node.config.home_agent) == HOME_AGENT
    assert [source.bid for source in node.config.care_of] == [3]
    assert [entry["settings"] for entry in node.log.recent if entry["level"] == "error"] == ["home_agent"]


def test_whoever_asks_for_a_reload_hears_why_it_is_refused(
    node: MobileNodeService, service: CorrespondentService
) -> None:
    for end in (node, service):
        Path(end.config.file).write_text("nonsense = 1\n")
        with pytest.raises(FlowclassError, match=r"n\.toml.*nonsense"):
            end._answer({"command": "reload"})
        assert [entry["level"] for entry in end.log.recent] == ["error"]


def test_only_the_answer_to_the_update_says_whether_there_is_a_nat(node: MobileNodeService) -> None:
    node.node.register(HOME_AGENT, 1, "192.0.2.10", now=0.0)

    def hear(sequence: int) -> None:
        message = BindingAcknowledgement(0, sequence, 100, options=(NatDetection(7),))
        packet = encode_packet(MobilityPacket(IPv6Address(HOME_AGENT), IPv6Address(HOME), message))
        node._take(Local(packet, -1, (packed("192.0.2.1"), 4191)))

    hear(node.updates.sequence ^ 1)
    assert node._keepalive is None
    hear(node.updates.sequence)
    assert node._keepalive == 7.0


def test_a_problem_with_an_application_ends_no_direct_way(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[tuple[bytes, tuple[str, int, int, int]]] = []

    def receive(size: int) -> Any:
        if not waiting:
            raise BlockingIOError
        return waiting.pop()

    sockets = SimpleNamespace(setsockopt=lambda *_: None, recvfrom=receive)
    monkeypatch.setattr("flowclass.agent.route_optimization.payloads", lambda *_: sockets)
    nothing: Any = None
    route = RouteOptimization(nothing, nothing, own=(), send=nothing, count=nothing, log=nothing)
    refused: list[IPv6Address] = []
    monkeypatch.setattr(route, "refused", lambda peer, now: refused.append(peer))

    def problem(packet: Any, code: int, at: int) -> list[IPv6Address]:
        refused.clear()
        error = bytes(ICMPv6ParamProblem(code=code, ptr=at) / packet)
        waiting.append((error, (CN, 0, 0, 0)))
        route.hear_error(0.0)
        return list(refused)

    option = IPv6ExtHdrDestOpt(options=[HAO(hoa=HOME)])
    head, peer = IPv6(src=COA1, dst=CN), IPv6Address(CN)
    assert problem(head / MIP6MH_HoTI(), 1, 6) == [peer]
    assert problem(head / option / udp(HOME, CN)[UDP], 2, 46) == [peer]
    assert problem(IPv6(src=HOME, dst=CN, nh=132) / Raw(bytes(32)), 1, 6) == []  # a protocol that isn't there
    assert problem(head / option / udp(HOME, CN)[UDP], 2, 42) == []  # another option
    assert problem(head / option / udp(HOME, CN)[UDP], 0, 4) == []
    assert problem(IPv6(src=HOME, dst=OTHER) / MIP6MH_HoTI(), 1, 6) == []  # it didn't get the packet


class FullForwarder:
    """Gives more packets than may wait, then fails, unless it was closed before."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.given = False

    def run(self, milliseconds: int) -> list[Local]:
        if self.given:
            self.closed.wait(60)
            raise FlowclassError("closed")
        self.given = True
        return [Local(b"", -1, None)] * 5000

    def close(self) -> None:
        self.closed.set()


def test_packets_without_room_are_dropped_and_a_failure_of_the_data_thread_ends_the_loop() -> None:
    loop, dropped, taken = Loop(), Counter[str](), list[int]()
    forwarder: Any = FullForwarder()

    def take() -> None:
        taken.append(len(data.waiting))
        data.waiting.clear()
        forwarder.close()

    data = DataThread(loop, take, dropped)
    data.start(forwarder)
    with pytest.raises(FlowclassError, match="closed"):
        loop.run()
    data.stop()
    loop.close()
    assert (taken, dropped) == ([4096], {"control plane busy": 904})
