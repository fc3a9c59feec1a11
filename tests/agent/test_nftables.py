"""A node's flow bindings as nftables rules: the kernel decides as the engine does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from network_kit import CARE_OF_A, CARE_OF_B, Laboratory, needs_namespaces, wait_until
from places import ROOT
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.ipsec import ESP

from flowclass import Reason
from flowclass.agent.nftables import mark_rules, nft_rules
from flowclass.mobility import HomeAgent, load_bindings

HOME, CN = "2001:db8:100::5", "2001:db8:c::2"
BINDINGS = """
[[node]]
home_address = "2001:db8:100::5"
ipv4_home_address = "192.0.2.99"
prefixes = ["2001:db8:200::/56"]
[[node.care_of]]
bid = 1
address = "2001:db8:a::2"
priority = 20
[[node.care_of]]
bid = 2
address = "2001:db8:b::2"
priority = 10
"""
SELECTORS = [
    'protocol = "tcp"\nsource_port = 22',
    'protocol = "tcp"\nsource_port = "400-500"\ndestination_port = "1000-2000"',
    'flow_label = "5-9"',
    'traffic_class = "0x28-0x3f"',
    'spi = "256-300"',
    'source = "2001:db8:c::7-2001:db8:c::9"',
    'destination = "2001:db8:200::/56"\nprotocol = "udp"',
    'source_port = "0-65535"',
    "protocol = 1\nversion = 4",
]


@pytest.fixture
def agent(tmp_path: Path) -> HomeAgent:
    text = BINDINGS
    for fid, selector in enumerate(SELECTORS, 1):
        what = (
            'action = "discard"' if fid == 6 else f"bids = [{1 + fid % 2}, {2 - fid % 2}]" if fid == 8 else "bids = [1]"
        )
        text += f"[[node.flow]]\nfid = {fid}\npri = {fid}\n{what}\n[node.flow.selector]\n{selector}\n"
    (tmp_path / "bindings.toml").write_text(text)
    return load_bindings(tmp_path / "bindings.toml")


def packets() -> list[Any]:
    """Packets to the node, some of which just miss a flow."""
    ports = [(source, to) for source in (22, 23, 399, 400, 500, 501) for to in (999, 1000, 2000, 2001)]
    found = [IPv6(src=CN, dst=HOME) / TCP(sport=source, dport=to) for source, to in ports]
    found += [IPv6(src=CN, dst=HOME, fl=label) / ICMPv6EchoRequest() for label in (4, 5, 9, 10)]
    found += [IPv6(src=CN, dst=HOME, tc=tc) / ICMPv6EchoRequest() for tc in (0x27, 0x28, 0x3F, 0x40)]
    found += [IPv6(src=CN, dst=HOME) / ESP(spi=spi, seq=1, data=bytes(16)) for spi in (255, 256, 300, 301)]
    found += [IPv6(src=f"2001:db8:c::{n}", dst=HOME) / ICMPv6EchoRequest() for n in (6, 7, 9)]
    found += [IPv6(src=CN, dst="2001:db8:200::1") / layer for layer in (UDP(sport=1, dport=1), ICMPv6EchoRequest())]
    return [*found, IPv6(src=CN, dst=HOME) / UDP(sport=9, dport=9)]


@needs_namespaces
@pytest.mark.needs_tool("nft")
def test_the_kernel_decides_as_the_engine_does(laboratory: Laboratory, agent: HomeAgent) -> None:
    node = agent.cache.get(IPv6Address(HOME).packed)
    assert node is not None
    laboratory.ip("core", "-6 route del 2001:db8:100::/64")  # once counted, a packet is at its end
    tried = subprocess.run(laboratory.inside("core", "nft", "-f", "-"), input=nft_rules(node), text=True,
                           capture_output=True)  # fmt: skip
    if "Operation not supported" in tried.stderr or "No such file" in tried.stderr:
        pytest.skip(f"this kernel has no nftables: {tried.stderr}")
    assert tried.returncode == 0, tried.stderr
    expected: Counter[str] = Counter()
    octets = [bytes(packet) for packet in packets()]
    for decision in agent.classify(octets):
        expected[f"flow {decision['fid']}" if decision["reason"] == Reason.FLOW else "default"] += 1
    send = "import socket, sys; s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)\n"
    send += "for line in sys.stdin: p = bytes.fromhex(line); s.sendto(p, (socket.inet_ntop(10, p[24:40]), 0))"
    laboratory.python("cn", send, input="".join(f"{packet.hex()}\n" for packet in octets))

    def counted() -> Counter[str]:
        rows = json.loads(laboratory.run("core", "nft", "-j", "list", "ruleset"))["nftables"]
        found: Counter[str] = Counter()
        for rule in (row["rule"] for row in rows if "rule" in row and "comment" in row["rule"]):
            found[rule["comment"]] += next(e["counter"]["packets"] for e in rule["expr"] if "counter" in e)
        return +found

    wait_until(lambda: counted().total() >= len(octets), "all packets are counted")
    assert counted() == expected
    assert len(expected) >= 8


def test_rules_say_what_nftables_cannot_do(agent: HomeAgent) -> None:
    node = agent.cache.get(ip_address(HOME).packed)
    assert node is not None
    assert "# flow 8: BIDs 1 2, one for each connection; nftables takes the first" in nft_rules(node)
    assert mark_rules(node) == "ip -6 rule add fwmark 1 lookup 1\nip -6 rule add fwmark 2 lookup 2\n"


_COUNT = """
import collections, socket, sys
found, end = collections.Counter(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
end.bind((sys.argv[1], 9))
print("listening", flush=True)
while True:
    data, where = end.recvfrom(2000)
    print(where[1], flush=True)
"""


@needs_namespaces
@pytest.mark.needs_tool("nft", "ip6tables", "tcpdump")
@pytest.mark.parametrize("example", ["kernel_rules.py", "nfqueue_marks.py"])
def test_the_kernel_forwards_by_the_marks_of_the_examples(laboratory: Laboratory, tmp_path: Path, example: str) -> None:
    """UDP from port 22 goes by the link of BID 1, from port 23 nowhere, and from port 24 by the default's, BID 2."""
    flows = "[[node.flow]]\nfid = 1\npri = 1\nbids = [1]\n[node.flow.selector]\nsource_port = 22\n"
    flows += '[[node.flow]]\nfid = 2\npri = 2\naction = "discard"\n[node.flow.selector]\nsource_port = 23\n'
    (tmp_path / "bindings.toml").write_text(BINDINGS + flows)
    lab = laboratory
    lab.ip("mn", f"addr add {HOME}/128 dev lo")
    lab.ip("core", "-6 route del 2001:db8:100::/64")
    lab.ip("core", f"-6 route add {HOME} via {CARE_OF_B} dev lte")  # a packet without a mark would show in the counters
    for mark, (care_of, link) in enumerate(((CARE_OF_A, "wlan"), (CARE_OF_B, "lte")), 1):
        lab.ip("core", f"-6 route add {HOME} via {care_of} dev {link} table {mark}")
    arguments = [str(ROOT / "examples" / example), str(tmp_path / "bindings.toml")]
    if example == "nfqueue_marks.py":
        rule = f"ip6tables -t mangle -A PREROUTING -d {HOME} -j NFQUEUE --queue-num 5".split()
        tried = subprocess.run(lab.inside("core", *rule), capture_output=True, text=True)
        if tried.returncode:
            pytest.skip(f"this kernel has no NFQUEUE: {tried.stderr.strip()}")
        for mark in (1, 2):
            lab.ip("core", f"-6 rule add fwmark {mark} lookup {mark}")
        arguments.append("5")
    daemon = lab.start("core", sys.executable, *arguments)
    receiver = lab.start("mn", sys.executable, "-c", _COUNT, HOME, ready="listening")
    links = {name: lab.capture("core", name) for name in ("wlan", "lte")}
    send = f"""
import socket
for port in (22, 23, 24) * 20:
    end = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    end.bind(("::", port))
    end.sendto(b"x" * 100, ("{HOME}", 9))
"""
    lab.python("cn", send)
    receiver.wait_for("24\n", times=20)
    receiver.wait_for("22\n", times=20)
    assert "23\n" not in receiver.log
    for name, port in (("wlan", "22"), ("lte", "24")):
        assert links[name].rows("udp.dstport == 9", "udp.srcport") == [[port]] * 20
    daemon.stop()
    if example == "kernel_rules.py":
        assert lab.run("core", "nft", "list", "tables") == ""
        assert "fwmark" not in lab.ip("core", "-6 rule")
