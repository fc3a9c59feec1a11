"""Route optimization, live: a mobile node and a correspondent node talk without the home agent; tshark judges."""

from __future__ import annotations

import signal
import subprocess
import sys
from ipaddress import IPv6Address
from typing import Any

import pytest
from network_kit import (
    CARE_OF_A,
    CARE_OF_B,
    CARE_OF_D,
    CORRESPONDENT,
    HOME,
    Laboratory,
    TcpClient,
    echo_server,
    exchange,
    needs_namespaces,
    run,
    wait_until,
)
from scapy.layers.inet import UDP
from scapy.layers.inet6 import HAO, ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrRouting

from flowclass.wire import (
    BindingError,
    BindingUpdate,
    CareOfTest,
    CareOfTestInit,
    MobilityPacket,
    NonceIndices,
    decode_packet,
    encode_packet,
    get_profile,
)
from flowclass.wire.auth import authorize, binding_key

pytestmark = [needs_namespaces, pytest.mark.needs_tool("tshark", "tcpdump", "nft")]

OPTIMIZE = "route_optimization = true"
SSH = '[[flow]]\nfid = 1\npri = 1\nbids = [1]\n[flow.selector]\nprotocol = "tcp"\nsource_port = 22\n'


def ping(lab: Laboratory, name: str = "cn", address: str = HOME) -> bool:
    return not subprocess.run(lab.inside(name, "ping", "-c1", "-W1", address), capture_output=True).returncode


def direct(lab: Laboratory) -> list[str]:
    """The care-of addresses that the one correspondent node has acknowledged, if packets go directly there."""
    found = lab.ctl("status", socket="mobile.sock")["correspondents"]
    return sorted(found[0]["care_of"]) if found and found[0]["way"] == "direct" else []


@pytest.mark.req("R91", "R105", "R111")
def test_both_ways_are_direct_by_flow_and_survive_a_move(laboratory: Laboratory) -> None:
    laboratory.home_agent()
    laboratory.correspondent()
    echo_server(laboratory, "cn", CORRESPONDENT, 22, 80)
    laboratory.mobile_node(SSH, top=OPTIMIZE)
    clients = [TcpClient(laboratory, "mn", CORRESPONDENT, port) for port in (22, 80)]
    wait_until(lambda: direct(laboratory) == [CARE_OF_A, CARE_OF_B], "both care-of addresses at the correspondent")
    flows = laboratory.ctl("flows", HOME, socket="correspondent.sock")["flows"]
    assert [(flow["fid"], flow["bids"]) for flow in flows] == [(1, [1])]
    wlan, lte, agent = (laboratory.capture("core", name) for name in ("wlan", "lte", "agent"))
    for client in clients:
        client.exchange()
    laboratory.ip("mn", "addr del 2001:db8:a::2/64 dev wlan")
    laboratory.ip("mn", f"addr add {CARE_OF_D}/64 dev wlan nodad")
    laboratory.ip("mn", "-6 route replace default via 2001:db8:d::1 dev wlan metric 1124")
    wait_until(lambda: direct(laboratory) == [CARE_OF_B, CARE_OF_D], "the new care-of address at the correspondent")
    for client in clients:
        client.exchange("again")
        client.close()
    fields = (
        "ipv6.src",
        "ipv6.dst",
        "ipv6.routing.type",
        "ipv6.routing.mipv6.home_address",
        "ipv6.opt.mipv6.home_address",
    )
    for capture, port, addresses in ((wlan, 22, {CARE_OF_A, CARE_OF_D}), (lte, 80, {CARE_OF_B})):
        rows = capture.rows("tcp.len > 0 && !(ipv6.nxt == 41)", *fields, "tcp.port", "tcp.checksum.status")
        assert {row[5].split(",")[0 if row[2] else 1] for row in rows} == {str(port)}
        arrived = [row for row in rows if row[2]]
        left = [row for row in rows if not row[2]]
        assert {(row[0], row[2], row[3]) for row in arrived} == {(CORRESPONDENT, "2", HOME)}
        assert {row[1] for row in arrived} == addresses
        assert {(row[1], row[4]) for row in left} == {(CORRESPONDENT, HOME)}
        assert {row[0] for row in left} == addresses
    assert agent.rows("tcp.len > 0 && tcp.port == 80", "ipv6.src") == []


def test_a_host_without_mobile_ipv6_stays_in_the_tunnel_and_is_asked_once(laboratory: Laboratory) -> None:
    laboratory.home_agent()
    lte = laboratory.capture("core", "lte")
    node = laboratory.mobile_node(top=OPTIMIZE)
    assert ping(laboratory)
    wait_until(lambda: not laboratory.ctl("status", socket="mobile.sock")["correspondents"] and ping(laboratory))
    assert ping(laboratory)
    assert "way=direct" not in node.log
    assert len(lte.rows("mip6.mhtype == 1 && !icmpv6", "ipv6.src")) == 1  # Home Test Init
    assert lte.rows("icmpv6.type == 129 && !(ipv6.nxt == 41)", "ipv6.src") == []


def test_a_correspondent_that_lost_its_bindings_says_so_and_gets_them_again(laboratory: Laboratory) -> None:
    laboratory.home_agent()
    correspondent = laboratory.correspondent()
    node = laboratory.mobile_node(top=OPTIMIZE)
    wait_until(lambda: ping(laboratory) and direct(laboratory))
    correspondent.send(signal.SIGKILL)
    correspondent.process.wait()
    correspondent = laboratory.correspondent()
    wait_until(lambda: ping(laboratory, "mn", CORRESPONDENT))
    wait_until(lambda: len(laboratory.ctl("nodes", socket="correspondent.sock")["nodes"]) == 1)
    wait_until(lambda: direct(laboratory))
    node.stop()
    wait_until(lambda: not laboratory.ctl("nodes", socket="correspondent.sock")["nodes"], "its de-registration")
    assert correspondent.stop() == 0
    for name in ("mn", "cn"):
        assert run(*laboratory.inside(name, "nft", "list", "tables")).stdout == ""


_UNTOUCHED = """
import signal
from flowclass.agent.ends import Untouched
from flowclass.agent.nftables import run_nft
made = [Untouched("other", home_address=True), Untouched("mobile", home_address=False)]
print("ready", flush=True)
signal.sigwait([signal.SIGTERM])
run_nft("flush ruleset\\n")  # as a firewall that is loaded anew
for one in made:
    one.close()
"""


def test_packets_for_others_are_forwarded_and_another_firewall_harms_no_end(laboratory: Laboratory) -> None:
    code = f"import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n{_UNTOUCHED}"
    end = laboratory.start("core", sys.executable, "-c", code)
    seen = laboratory.capture("cn", "eth0")
    option = IPv6ExtHdrDestOpt(options=[HAO(hoa=HOME)])
    routing = IPv6ExtHdrRouting(type=2, segleft=1, addresses=[HOME])
    head = IPv6(src=CARE_OF_B, dst=CORRESPONDENT)
    packets = [bytes(head / header / UDP(dport=9) / f"to {i}".encode()) for i, header in enumerate((option, routing))]
    exchange(laboratory, "mn", "lte", packets, 0.0)
    wait_until(lambda: all(seen.count(b"to %d" % i) for i in range(2)), "both packets behind the router")
    assert end.stop() == 0, end.log


@pytest.mark.req("R106", "R112", "R137")
def test_without_authorization_nothing_is_bound_and_nothing_delivered(laboratory: Laboratory) -> None:
    laboratory.correspondent()
    peer, care_of, home = (IPv6Address(address) for address in (CORRESPONDENT, CARE_OF_B, HOME))

    def send(
        message: Any, wait: float = 60.0, source: IPv6Address = care_of, own: IPv6Address | None = None
    ) -> list[Any]:
        packet = encode_packet(MobilityPacket(source, peer, message, own))
        return [decode_packet(p).message for p in exchange(laboratory, "mn", "lte", [packet], wait)]

    (test,) = send(CareOfTestInit(b"12345678"))
    assert isinstance(test, CareOfTest)
    assert test.cookie == b"12345678"
    update = BindingUpdate(1, 100, 0x8000)
    indices = NonceIndices(test.nonce_index, test.nonce_index)
    guessed = authorize(
        BindingUpdate(2, 100, 0x8000, (indices,)),
        binding_key(bytes(8), test.token),
        care_of,
        peer,
        get_profile("draft"),
    )  # the home keygen token went to the home address, where the sender isn't
    assert send(update, 1.0, own=home) == []
    assert send(guessed, 1.0, own=home) == []
    assert laboratory.ctl("nodes", socket="correspondent.sock")["nodes"] == []
    inside = laboratory.capture("cn", "correspondent0")
    option = IPv6ExtHdrDestOpt(options=[HAO(hoa=HOME)])
    spoofed = bytes(IPv6(src=CARE_OF_B, dst=CORRESPONDENT) / option / ICMPv6EchoRequest(data=b"spoofed"))
    (reply,) = exchange(laboratory, "mn", "lte", [spoofed])
    message = decode_packet(reply).message
    assert isinstance(message, BindingError)
    assert (message.status, message.home_address) == (1, home)
    assert inside.count(b"spoofed") == 0
    counters = laboratory.ctl("counters", socket="correspondent.sock")
    assert counters["counters"]["authenticator"] == 1
    assert counters["drops"]["source"] == 1
