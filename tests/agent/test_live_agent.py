"""A live home agent among others: clients that aren't ours, changes under traffic, restarts, and who stands by."""

from __future__ import annotations

import json
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from mobility_kit import statuses
from network_kit import (
    CARE_OF_A,
    CARE_OF_B,
    CORRESPONDENT,
    HOME,
    HOME_AGENT,
    PATIENCE,
    Daemon,
    Laboratory,
    exchange,
    needs_namespaces,
    run,
    wait_until,
)

from flowclass.agent.packets import icmpv6
from flowclass.wire import BindingIdentifier, BindingUpdate, MobilityPacket, NatDetection, decode_packet, encode_packet

pytestmark = needs_namespaces

AGENT = IPv6Address(HOME_AGENT)


def wait_for_ping(lab: Laboratory, address: str) -> float:
    """How long it takes until an address answers, in seconds."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < PATIENCE:
        done = subprocess.run(
            lab.inside("cn", "ping", "-c", "1", "-W", "0.1", "-i", "0.05", address), capture_output=True
        )
        if done.returncode == 0:
            return time.monotonic() - began
    raise AssertionError(f"{address} does not answer after {passed:.1f} s")


# ---- clients that aren't ours


def test_a_client_made_of_scapy_gets_right_answers_on_the_wire(laboratory: Laboratory) -> None:
    scapy = pytest.importorskip("scapy.layers.inet6")
    laboratory.home_agent()
    bid = scapy.MIP6OptUnknown(otype=35, odata=b"\0\7\0\0" + IPv6Address(CARE_OF_B).packed)
    packet = (
        scapy.IPv6(src=CARE_OF_B, dst=HOME_AGENT)
        / scapy.IPv6ExtHdrDestOpt(options=[scapy.HAO(hoa=HOME)])
        / scapy.MIP6MH_BU(seq=77, flags="AH", mhtime=150, options=[bid])
    )
    (reply,) = exchange(laboratory, "mn", "lte", [bytes(packet)])
    answer = scapy.IPv6(reply)
    assert (answer.src, answer.dst) == (HOME_AGENT, CARE_OF_B)
    routing = answer[scapy.IPv6ExtHdrRouting]
    assert (routing.type, routing.segleft, routing.addresses) == (2, 1, [HOME])
    acknowledgement = answer[scapy.MIP6MH_BA]
    assert (acknowledgement.status, acknowledgement.seq, acknowledgement.mhtime) == (0, 77, 150)
    kinds = [option.otype for option in acknowledgement.options if option.otype > 1]
    assert kinds == [35]
    # RFC 6275 section 6.1.1: the checksum is over the home address in the routing header
    body = bytes(acknowledgement)
    assert scapy.in6_chksum(135, scapy.IPv6(src=HOME_AGENT, dst=HOME), body) == 0
    assert decode_packet(reply).checksum_ok


def test_a_sequence_number_that_was_there_gets_135_with_the_last_one(laboratory: Laboratory) -> None:
    laboratory.home_agent()
    care_of = IPv6Address(CARE_OF_B)

    def update(sequence: int) -> bytes:
        message = BindingUpdate(sequence, 100, 0xC000, (BindingIdentifier(1, care_of),))
        return encode_packet(MobilityPacket(care_of, AGENT, message, IPv6Address(HOME)))

    replies = exchange(laboratory, "mn", "lte", [update(9), update(9), update(8), update(10)])
    found: list[Any] = [decode_packet(reply).message for reply in replies]
    assert [(m.status, m.sequence) for m in found] == [(0, 9), (135, 9), (135, 9), (0, 10)]


_UDP = """
import socket, sys
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.bind((sys.argv[1], 40000))
out.settimeout(60)
out.sendto(bytes.fromhex(sys.argv[3]), (sys.argv[2], 4191))
print(out.recv(2000).hex(), flush=True)
print(out.recv(2000).hex(), flush=True)
"""


def test_a_node_behind_a_nat_is_reached_in_udp_over_ipv4(laboratory: Laboratory) -> None:
    laboratory.ip("ha", "addr add 198.51.100.1/32 dev lo")
    laboratory.home_agent('home_agent_ipv4 = "198.51.100.1"\nstore = "bindings.sqlite"')
    inside = IPv4Address("10.0.0.7")  # what the node takes for its address; the agent sees 192.0.2.10
    message = BindingUpdate(1, 100, 0xC000, (BindingIdentifier(1, inside),))
    update = encode_packet(MobilityPacket(IPv6Address(HOME), AGENT, message))
    client = subprocess.Popen(
        laboratory.inside("mn", sys.executable, "-c", _UDP, "192.0.2.10", "198.51.100.1", update.hex()),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert client.stdout is not None
    answer: Any = decode_packet(bytes.fromhex(client.stdout.readline())).message
    assert answer.status == 0
    assert any(isinstance(option, NatDetection) for option in answer.options)
    laboratory.daemons[0].send(signal.SIGKILL)
    laboratory.daemons[0].process.wait()
    laboratory.home_agent('home_agent_ipv4 = "198.51.100.1"\nstore = "bindings.sqlite"')  # it knows the port still
    pinged = laboratory.start("cn", "ping", "-c", "1", "-W", "30", HOME, ready=None)
    inner = bytes.fromhex(client.stdout.readline())
    assert inner[24:40] == IPv6Address(HOME).packed
    assert inner[8:24] == IPv6Address(CORRESPONDENT).packed
    assert inner[40] == 128  # an echo request
    client.wait(PATIENCE)
    pinged.stop(signal.SIGKILL)  # nobody answers it


_PROTOCOL_41 = """
import socket, sys
mine, agent, update, packet = sys.argv[1:]
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
tunnel = socket.socket(socket.AF_INET, socket.SOCK_RAW, 41)
for end in udp, tunnel:
    end.settimeout(60)
udp.bind((mine, 4191))
tunnel.bind((mine, 0))
udp.sendto(bytes.fromhex(update), (agent, 4191))
print(udp.recv(2000).hex())
tunnel.sendto(bytes.fromhex(packet), (agent, 0))
print(tunnel.recv(2000)[20:].hex())
"""


def test_a_node_with_ipv4_and_no_nat_has_tunnels_without_udp_in_both_directions(laboratory: Laboratory) -> None:
    laboratory.ip("ha", "addr add 198.51.100.1/32 dev lo")
    laboratory.home_agent('home_agent_ipv4 = "198.51.100.1"')
    care_of = IPv4Address("192.0.2.10")
    message = BindingUpdate(1, 100, 0xC000, (BindingIdentifier(1, care_of),))
    update = encode_packet(MobilityPacket(IPv6Address(HOME), AGENT, message))
    request = icmpv6(IPv6Address(HOME).packed, IPv6Address(CORRESPONDENT).packed, bytes.fromhex("80000000 00010001"))
    lines = laboratory.python("mn", _PROTOCOL_41, str(care_of), "198.51.100.1", update.hex(), request.hex()).split()
    answer, reply = map(bytes.fromhex, lines)
    acknowledgement: Any = decode_packet(answer).message
    assert acknowledgement.status == 0
    assert not any(isinstance(option, NatDetection) for option in acknowledgement.options)
    assert reply[8:40] == request[24:40] + request[8:24]
    assert reply[40] == 129  # an echo reply
    assert laboratory.ctl("counters")["forwarding"]["packets"]["reverse"] == 1


@pytest.mark.needs_tool("tshark", "tcpdump")
@pytest.mark.parametrize("nat", [False, True])
def test_a_mobile_node_with_ipv4_access_alone(laboratory: Laboratory, nat: bool) -> None:
    if nat:
        rules = "table ip nat { chain out { type nat hook postrouting priority srcnat; oifname agent masquerade; }; }"
        made = subprocess.run(laboratory.inside("core", "nft", rules), capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"no NAT can be made here: {made.stderr.splitlines()[0]}")
    for device, letter in (("wlan", "a"), ("lte", "b")):
        laboratory.ip("mn", f"addr del 2001:db8:{letter}::2/64 dev {device}")
    laboratory.ip("ha", "addr add 198.51.100.1/32 dev lo")
    laboratory.home_agent('home_agent_ipv4 = "198.51.100.1"')
    lte = laboratory.capture("core", "lte")
    mn = laboratory.mobile_node(top='home_agent_ipv4 = "198.51.100.1"')
    wait_until(lambda: len(laboratory.ctl("nodes")["nodes"][0]["care_of"]) == 2, "both care-of addresses")
    expected = {"192.0.2.5"} if nat else {"192.0.2.10", "192.0.2.14"}
    node = laboratory.ctl("nodes")["nodes"][0]
    assert {entry["address"] for entry in node["care_of"]} == expected
    laboratory.run("cn", "ping", "-c", "2", "-i", "0.1", "-W", "30", HOME)
    laboratory.run("mn", "ping", "-c", "2", "-i", "0.1", "-W", "30", CORRESPONDENT)
    assert mn.stop() == 0
    assert laboratory.ctl("nodes") == {"nodes": []}
    rows = lte.rows("udp.port == 4191 && !icmp", "ip.src", "data.data")
    assert sum(data[12:14] == "3a" for _, data in rows) >= 8  # requests and replies, in UDP


# ---- changes under traffic

_STREAM = """
import select, socket, sys, time
out = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
out.bind((sys.argv[1], 7000))
number = 0
while not select.select([sys.stdin], [], [], 0)[0]:  # until the end of the standard input
    out.sendto(number.to_bytes(4, "big"), (sys.argv[2], 7001))
    number += 1
    time.sleep(0.0005)
print(number, flush=True)
"""

_CHANGES = """
import socket, sys
from ipaddress import IPv6Address
from flowclass.mobility import MobileNode
from flowclass.wire.selectors import TrafficSelector6
home, agent, a, b = map(IPv6Address, sys.argv[1:5])
out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x86DD))
tap.settimeout(60)
mobile = MobileNode(home, lifetime=1000)
mobile.add_receiver(agent)
now = 0.0
def talk(packets):
    global now
    while packets:
        for packet in packets:
            out.sendto(packet, (str(agent), 0))
        while True:
            data, where = tap.recvfrom(65535)
            if where[2] == 0 and data[6] == 43:
                break
        now += 1.0
        packets = mobile.receive(data, now=now)
talk(mobile.register(agent, 2, b, 10, now=now))
talk(mobile.register(agent, 1, a, 20, now=now))
print("registered", flush=True)
sys.stdin.readline()
selector = TrafficSelector6(source_port=(7000, 7000), protocol=(17, 17))
changes = 0
while changes < int(sys.argv[5]):
    now += 1.0
    turn = changes % 3
    if turn == 0:
        talk(mobile.add_flow(agent, 1, 1, (1,), selector, now=now))
    elif turn == 1:
        talk(mobile.replace_flow(agent, 1, bids=(2,), now=now))
    else:
        talk(mobile.remove_flow(agent, 1, now=now))
    changes += 1
    assert mobile.update_list(agent).outstanding is None
print("changed", changes, flush=True)
"""


@pytest.mark.needs_tool("tshark", "tcpdump")
def test_a_stream_loses_and_doubles_nothing_while_its_flow_changes_a_thousand_times(laboratory: Laboratory) -> None:
    laboratory.home_agent()
    captures = [laboratory.capture("core", name) for name in ("wlan", "lte")]
    arguments = [HOME, HOME_AGENT, CARE_OF_A, CARE_OF_B, "1000"]
    changes = subprocess.Popen(
        laboratory.inside("mn", sys.executable, "-c", _CHANGES, *arguments),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert changes.stdin is not None
    assert changes.stdout is not None
    assert changes.stdout.readline() == "registered\n"
    stream = subprocess.Popen(
        laboratory.inside("cn", sys.executable, "-c", _STREAM, CORRESPONDENT, HOME),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    changes.stdin.write("go\n")
    changes.stdin.flush()
    out, err = changes.communicate(timeout=4 * PATIENCE)
    assert out == "changed 1000\n", err
    sent = int(stream.communicate(timeout=PATIENCE)[0])
    udp = struct.pack(">HHH", 7000, 7001, 12)
    wait_until(lambda: sum(capture.count(udp) for capture in captures) >= sent, "all packets on an access link")
    wait_for_ping(laboratory, HOME_AGENT)
    seen: dict[str, list[int]] = {}
    for capture in captures:
        for destinations, payload in capture.rows("udp.dstport == 7001 && !icmpv6", "ipv6.dst", "udp.payload"):
            seen.setdefault(destinations.split(",")[0], []).append(int(payload, 16))
    packets = laboratory.ctl("counters")["forwarding"]["packets"]
    assert packets["flow"] + packets["default"] == sent
    assert set(seen) <= {CARE_OF_A, CARE_OF_B}  # none where it was never right
    assert sorted(number for numbers in seen.values() for number in numbers) == list(range(sent))
    assert all(len(numbers) > 10 for numbers in seen.values())
    assert len(seen) == 2


# ---- the end of a process


@pytest.mark.parametrize("round_", range(2))
def test_after_kill_9_traffic_resumes_by_what_the_store_has(laboratory: Laboratory, round_: int) -> None:
    ha = laboratory.home_agent('store = "bindings.sqlite"')
    laboratory.mobile_node()
    wait_for_ping(laboratory, HOME)
    time.sleep(0.1 * round_)
    ha.send(signal.SIGKILL)
    ha.process.wait()
    began = time.monotonic()
    again = laboratory.home_agent('store = "bindings.sqlite"')
    started = time.monotonic() - began
    wait_for_ping(laboratory, HOME)
    print(f"\nready {started:.2f} s after the start, traffic at {time.monotonic() - began:.2f} s")
    assert "restored nodes=1" in again.log


def follower(lab: Laboratory) -> Daemon:
    return lab.flowclass("ha", "ha", "--follow", str(lab.folder / "ha.toml"), ready="following")


def test_a_follower_takes_over_within_three_seconds(laboratory: Laboratory) -> None:
    ha = laboratory.home_agent('store = "bindings.sqlite"')
    standby = follower(laboratory)
    laboratory.mobile_node()
    wait_for_ping(laboratory, HOME)
    ha.send(signal.SIGKILL)
    passed = wait_for_ping(laboratory, HOME)
    print(f"\ntraffic {passed:.2f} s after the kill")
    assert "taking over" in standby.log
    assert laboratory.ctl("nodes")["nodes"][0]["home_address"] == HOME
    assert standby.stop() == 0


def test_a_second_agent_on_one_store_is_refused_and_a_follower_can_be_told_to_stop(laboratory: Laboratory) -> None:
    laboratory.home_agent('store = "bindings.sqlite"')
    second = laboratory.flowclass("ha", "ha", str(laboratory.folder / "ha.toml"), ready=None)
    assert second.process.wait(PATIENCE) == 2
    assert re.search(r"error: .*bindings.sqlite: in use by process \d+", second.log)
    assert follower(laboratory).stop() == 0


# ---- operations


def test_metrics_reload_and_drain(laboratory: Laboratory) -> None:
    ha = laboratory.home_agent('metrics = "[::1]:9464"')
    laboratory.mobile_node()
    wait_for_ping(laboratory, HOME)
    code = "import urllib.request; print(urllib.request.urlopen('http://[::1]:9464/metrics').read().decode())"
    text = laboratory.python("ha", code)
    assert re.search(r'flowclass_packets_total{decision="default"} [1-9]', text)
    assert re.search(r'flowclass_updates_total{status="0"} 1\.0', text)
    assert re.search(r"flowclass_nodes 1\.0", text)
    assert re.search(r'flowclass_update_seconds_bucket{le="\+Inf"} [1-9]', text)
    ha.send(signal.SIGHUP)
    ha.wait_for("reloaded")
    (laboratory.folder / "ha.toml").write_text("nonsense = 1\n")
    ha.send(signal.SIGHUP)
    ha.wait_for("ha.toml:1: nonsense: unknown key")
    wait_for_ping(laboratory, HOME)
    assert laboratory.ctl("drain") == {"drained": True, "nodes": 1}
    care_of, other = IPv6Address(CARE_OF_B), IPv6Address("2001:db8:100::77")
    update = BindingUpdate(1, 100, 0xC000, (BindingIdentifier(1, care_of),))
    packet = encode_packet(MobilityPacket(care_of, AGENT, update, other))
    # its type is known
    assert statuses(exchange(laboratory, "mn", "lte", [packet])) == [130]
    assert ha.stop() == 0


_COUNTED = """
import select, socket, sys, time
out = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
number = 0
print("sending", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    out.sendto(number.to_bytes(4), (sys.argv[1], 7001))
    number += 1
    time.sleep(0.0005)
print(number, flush=True)
"""


@pytest.mark.needs_tool("tshark", "tcpdump")
def test_a_reload_under_traffic_loses_no_packet(laboratory: Laboratory) -> None:
    ha = laboratory.home_agent()
    laboratory.mobile_node()
    wait_for_ping(laboratory, HOME)
    lte = laboratory.capture("core", "lte")
    stream = subprocess.Popen(
        laboratory.inside("cn", sys.executable, "-c", _COUNTED, HOME),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert stream.stdout is not None
    assert stream.stdout.readline() == "sending\n"
    path = laboratory.folder / "ha.toml"
    for turn in range(10):
        path.write_text(f"mtu = {1400 + turn}\n" + re.sub("^mtu.*\n", "", path.read_text()))
        ha.send(signal.SIGHUP)
        ha.wait_for("reloaded", times=turn + 1)
    sent = int(stream.communicate(timeout=PATIENCE)[0])
    udp = struct.pack(">HH", 7001, 12)
    wait_until(lambda: lte.count(udp) >= sent, "all packets on the access link")
    rows = lte.rows(f"udp.dstport == 7001 && !icmpv6 && ipv6.src == {HOME_AGENT}", "udp.payload")
    assert [int(row[0], 16) for row in rows] == list(range(sent))


def test_a_reload_takes_other_prefixes_and_nodes(laboratory: Laboratory) -> None:
    ha = laboratory.home_agent()
    mn = laboratory.mobile_node()
    wait_for_ping(laboratory, HOME)
    path = laboratory.folder / "ha.toml"
    node = '[[node]]\nhome_address = "2001:db8:200::5"\nprefixes = ["2001:db8:300::/56"]\n'
    path.write_text(path.read_text().replace('/64"]', '/64", "2001:db8:200::/64"]') + node)
    laboratory.ctl("reload")
    care_of = IPv6Address(CARE_OF_B)
    update = BindingUpdate(1, 100, 0xC400, (BindingIdentifier(1, care_of),))
    packet = encode_packet(MobilityPacket(care_of, AGENT, update, IPv6Address("2001:db8:200::5")))
    # its type is known
    assert statuses(exchange(laboratory, "mn", "lte", [packet])) == [0]
    assert "2001:db8:200::/64" in laboratory.ip("ha", "-6 route show dev flowclass0")
    prefixes = {n["home_address"]: n["prefixes"] for n in laboratory.ctl("nodes")["nodes"]}
    assert prefixes == {HOME: [], "2001:db8:200::5": ["2001:db8:300::/56"]}
    good = path.read_text().replace('2001:db8:100::/64", "', "")
    path.write_text(good.replace('profile = "draft"', 'profile = "bogus"'))
    with pytest.raises(AssertionError, match=r"profile.*bogus"):
        laboratory.ctl("reload")
    path.write_text(good)
    laboratory.ctl("reload")
    assert [n["home_address"] for n in laboratory.ctl("nodes")["nodes"]] == ["2001:db8:200::5"]
    assert "2001:db8:100::/64" not in laboratory.ip("ha", "-6 route show dev flowclass0")
    mn.wait_for("revoked by the home agent bid=2 trigger=129")
    assert ha.stop() == 0


@pytest.mark.needs_tool("tshark", "tcpdump")
def test_home_addresses_are_defended_on_a_real_home_link(laboratory: Laboratory) -> None:
    laboratory.home_link()
    laboratory.ip("host", "addr add 2001:db8:100::77/64 dev eth0 nodad")
    home0 = laboratory.capture("ha", "home0")
    laboratory.home_agent('home_link = "home0"')
    care_of, taken = IPv6Address(CARE_OF_B), IPv6Address("2001:db8:100::77")
    update = BindingUpdate(1, 100, 0xC000, (BindingIdentifier(1, care_of),))
    packet = encode_packet(MobilityPacket(care_of, AGENT, update, taken))
    # its type is known
    assert statuses(exchange(laboratory, "mn", "lte", [packet])) == [134]
    mn = laboratory.mobile_node()
    assert f"{HOME} " in laboratory.ip("ha", "-6 route show dev flowclass0")
    laboratory.run("host", "ping", "-c", "1", "-W", "30", HOME)
    laboratory.run("host", "ping", "-c", "1", "-W", "30", HOME_AGENT)
    laboratory.run("cn", "ping", "-c", "1", "-W", "30", "2001:db8:100::9")  # who is at home gets its own packets
    laboratory.run("mn", "ping", "-c", "1", "-W", "30", "2001:db8:100::9")
    laboratory.ip("host", f"addr add {HOME}/64 dev eth0")  # with duplicate address detection
    wait_until(lambda: "dadfailed" in laboratory.ip("host", f"-6 addr show to {HOME}"), "a duplicate is found")
    laboratory.ip("host", f"addr del {HOME}/64 dev eth0")
    assert mn.stop() == 0
    assert f"{HOME} " not in laboratory.ip("ha", "-6 route show dev flowclass0")
    laboratory.ip("host", f"addr add {HOME}/64 dev eth0")  # the node is at home
    wait_until(lambda: "tentative" not in laboratory.ip("host", f"-6 addr show to {HOME}"), "the address is used")
    assert "dadfailed" not in laboratory.ip("host", f"-6 addr show to {HOME}")
    wait_for_ping(laboratory, HOME)
    fields = ("icmpv6.nd.na.flag.s", "icmpv6.nd.na.flag.o", "icmpv6.nd.na.flag.r", "ipv6.dst")
    advertised = home0.rows(
        f"icmpv6.type == 136 && icmpv6.nd.na.target_address == {HOME} && ipv6.src == {HOME_AGENT}", *fields
    )
    assert {(*row[:3], row[3] == "ff02::1") for row in advertised} == {("0", "1", "0", True), ("1", "1", "0", False)}


def test_a_revoked_node_stays_away_until_its_user_wants_it_back(laboratory: Laboratory) -> None:
    laboratory.home_agent()
    mn = laboratory.mobile_node()
    assert laboratory.ctl("revoke", HOME, "--bid", "1") == {"home_address": HOME, "bids": [1], "told": True}
    mn.wait_for("revoked by the home agent bid=1 trigger=1")
    wait_for_ping(laboratory, HOME)
    assert [entry["bid"] for entry in laboratory.ctl("nodes")["nodes"][0]["care_of"]] == [2]
    laboratory.ctl("revoke", HOME)
    mn.wait_for("revoked by the home agent bid=2 trigger=1")
    assert laboratory.ctl("nodes") == {"nodes": []}
    mn.send(signal.SIGHUP)
    wait_for_ping(laboratory, HOME)
    assert laboratory.ctl("revoke", "--may-return", HOME)["told"]
    mn.wait_for("trigger=0")
    wait_for_ping(laboratory, HOME)
    counters = laboratory.ctl("counters", socket="mobile.sock")["counters"]
    assert counters["revoked"] >= 3
    assert mn.stop() == 0
    assert laboratory.ctl("nodes") == {"nodes": []}


def test_systemd_hears_of_readiness_reload_and_stop(
    laboratory: Laboratory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        ha = laboratory.home_agent()
        assert listener.recv(100) == b"READY=1"
        ha.send(signal.SIGHUP)
        assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", listener.recv(100))
        assert listener.recv(100) == b"READY=1"
        assert ha.stop() == 0
        assert listener.recv(100) == b"STOPPING=1"


def test_the_dump_is_a_bindings_file_that_says_the_same(laboratory: Laboratory, tmp_path: Path) -> None:
    laboratory.home_agent()
    laboratory.mobile_node(
        '[[flow]]\nfid = 3\npri = 4\nbids = [1]\n[flow.selector]\nprotocol = "tcp"\nsource_port = 22'
    )
    dump = tmp_path / "dump.json"
    control = str(laboratory.folder / "flowclass.sock")
    dump.write_text(run(sys.executable, "-m", "flowclass", "ctl", "--socket", control, "dump").stdout)
    assert run(sys.executable, "-m", "flowclass", "check", str(dump)).stdout.strip().endswith("1 node and 1 flow")
    head = bytes.fromhex("6000000000140640") + IPv6Address(CORRESPONDENT).packed + IPv6Address(HOME).packed
    packet = head + bytes.fromhex("0016c350 00000000 00000000 50000000 00000000")
    why = laboratory.ctl("why", packet.hex())["explanation"]
    assert (why["outcome"]["reason"], why["outcome"]["fid"], why["outcome"]["care_of"]) == ("flow", 3, [CARE_OF_A])
    later = run(sys.executable, "-m", "flowclass", "ctl", "nodes", "--json", "--socket", control).stdout
    assert json.loads(later)["nodes"][0]["home_address"] == HOME
    screen = run(sys.executable, "-m", "flowclass", "ctl", "--socket", control, "watch", "--count", "1").stdout
    assert HOME in screen
    assert "1 mobile node" in screen
