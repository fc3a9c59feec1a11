"""The usage scenario of section 5 of the draft, with a home agent and a mobile node that run, and real connections."""

from __future__ import annotations

import sys
from functools import partial

import pytest
from network_kit import (
    CARE_OF_A,
    CARE_OF_B,
    CARE_OF_D,
    CORRESPONDENT,
    HOME,
    HOME_AGENT,
    Laboratory,
    TcpClient,
    echo_server,
    needs_namespaces,
    wait_until,
)
from places import ROOT

pytestmark = [needs_namespaces, pytest.mark.needs_tool("tshark", "tcpdump")]

FLOWS = """
[[flow]]
fid = 1
pri = 1
bids = [1]
[flow.selector]
protocol = "tcp"
source_port = 22
[[flow]]
fid = 2
pri = 2
bids = [1]
[flow.selector]
protocol = "tcp"
source_port = 443
"""
TUNNELLED = f"ipv6.src == {HOME_AGENT} && ipv6.dst == {HOME} && tcp"


def ports_seen(rows: list[list[str]]) -> dict[int, set[str]]:
    """TCP source port -> outer destination addresses of the packets from it."""
    found: dict[int, set[str]] = {}
    for destinations, port in rows:
        found.setdefault(int(port), set()).add(destinations.split(",")[0])
    return found


def rewrite_flows(lab: Laboratory, text: str) -> None:
    """Another policy in the mobile node's file, and a SIGHUP."""
    path = lab.folder / "mn.toml"
    head, _, rest = path.read_text().partition("#flows")
    _, _, tail = rest.partition("#end")
    path.write_text(f"{head}#flows\n{text}\n#end{tail}")
    lab.daemons[1].send(1)


@pytest.fixture
def scenario(laboratory: Laboratory) -> Laboratory:
    laboratory.home_agent()
    laboratory.mobile_node(f"#flows\n{FLOWS}\n#end")
    echo_server(laboratory, "cn", CORRESPONDENT, 22, 443, 8080)
    return laboratory


@pytest.mark.req("R76", "R77", "R78", "R79", "R80", "R81")
def test_ssh_and_https_arrive_through_care_of_1_and_the_rest_through_2(scenario: Laboratory) -> None:
    captures = {name: scenario.capture("core", name) for name in ("wlan", "lte")}
    clients = [TcpClient(scenario, "mn", CORRESPONDENT, port) for port in (22, 443, 8080)]
    for client in clients:
        client.exchange()
        client.close()
    seen = {name: ports_seen(c.rows(TUNNELLED, "ipv6.dst", "tcp.srcport")) for name, c in captures.items()}
    assert seen["wlan"] == {22: {CARE_OF_A}, 443: {CARE_OF_A}}
    assert seen["lte"] == {8080: {CARE_OF_B}}


def test_a_connection_survives_that_care_of_1_moves_by_one_update(scenario: Laboratory) -> None:
    client = TcpClient(scenario, "mn", CORRESPONDENT, 22)
    client.exchange("before")
    wlan, lte = scenario.capture("core", "wlan"), scenario.capture("core", "lte")
    scenario.ip("mn", f"addr add {CARE_OF_D}/64 dev wlan nodad")
    scenario.ip("mn", "-6 route replace default via 2001:db8:d::1 dev wlan metric 1124")
    scenario.ip("mn", f"addr del {CARE_OF_A}/64 dev wlan")
    wait_until(lambda: any(c["address"] == CARE_OF_D for c in scenario.ctl("nodes")["nodes"][0]["care_of"]))
    client.exchange("after")
    client.close()
    updates = {row[0] for c in (wlan, lte) for row in c.rows("mip6.mhtype == 5", "mip6.bu.seqnr")}
    assert len(updates) == 1  # though perhaps sent again, if the machine was busy
    assert [row for row in wlan.rows(f"{TUNNELLED} && tcp.len > 0", "ipv6.dst") if row[0].startswith(CARE_OF_D)]
    assert not lte.rows(f"{TUNNELLED} && tcp.srcport == 22", "ipv6.dst")


def test_n_cast_delivers_two_copies_and_discard_none(scenario: Laboratory) -> None:
    flow = '[[flow]]\nfid = 7\npri = 7\naction = "{}"\n{}[flow.selector]\nprotocol = "udp"\ndestination_port = {}\n'
    rewrite_flows(scenario, flow.format("n-cast", "bids = [1, 2]\n", 5000) + flow.format("discard", "", 5001).replace(
        "fid = 7\npri = 7", "fid = 8\npri = 8"))  # fmt: skip
    wait_until(lambda: {f["fid"] for f in scenario.ctl("flows", HOME)["flows"]} == {7, 8})
    captures = {name: scenario.capture("core", name) for name in ("wlan", "lte")}
    send = "import socket, sys; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); "
    send += "[s.sendto(b'x', (sys.argv[1], p)) for p in (5000, 5001, 5002)]"
    scenario.python("cn", send, HOME)
    for name, port in (("wlan", 5000), ("lte", 5000), ("lte", 5002)):
        wait_until(partial(captures[name].count, port.to_bytes(2) + b"\0\x09"), f"{port} on {name}")
    scenario.run("cn", "ping", "-c", "1", "-W", "30", HOME)  # a copy too many would be there before it
    display = f"udp && ipv6.src == {HOME_AGENT}"
    seen = {name: sorted(int(row[0]) for row in c.rows(display, "udp.dstport")) for name, c in captures.items()}
    assert seen == {"wlan": [5000], "lte": [5000, 5002]}


def test_removing_a_flow_returns_it_to_the_default_at_once(scenario: Laboratory) -> None:
    client = TcpClient(scenario, "mn", CORRESPONDENT, 22)
    client.exchange("through care-of 1")
    rewrite_flows(scenario, FLOWS[FLOWS.index("[[flow]]", 10) :])
    wait_until(lambda: [f["fid"] for f in scenario.ctl("flows", HOME)["flows"]] == [2])
    captures = {name: scenario.capture("core", name) for name in ("wlan", "lte")}
    client.exchange("through the default")
    client.close()
    seen = {name: ports_seen(c.rows(TUNNELLED, "ipv6.dst", "tcp.srcport")) for name, c in captures.items()}
    assert seen == {"wlan": {}, "lte": {22: {CARE_OF_B}}}


def test_the_same_with_the_packet_loop_in_python(laboratory: Laboratory) -> None:
    path = laboratory.folder / "ha.toml"
    path.write_text(
        f'home_agent = "{HOME_AGENT}"\nhome_prefixes = ["2001:db8:100::/64"]\noffloads = false\n'
        "[security]\ninsecure = true\n"
    )
    laboratory.start("ha", sys.executable, str(ROOT / "examples/python_packet_loop.py"), str(path))
    laboratory.mobile_node(FLOWS)
    echo_server(laboratory, "cn", CORRESPONDENT, 22)
    wlan = laboratory.capture("core", "wlan")
    client = TcpClient(laboratory, "mn", CORRESPONDENT, 22)
    client.exchange()
    client.close()
    assert ports_seen(wlan.rows(TUNNELLED, "ipv6.dst", "tcp.srcport")) == {22: {CARE_OF_A}}
    flows = laboratory.ctl("counters")["forwarding"]["flows"]
    assert {row["fid"] for row in flows if row["kind"] == "flow"} == {1}
