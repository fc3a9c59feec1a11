"""What a live home agent refuses: on the wire, in its counters, and in its log once per interval."""

from __future__ import annotations

import json
import sys
import time
from ipaddress import IPv6Address
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
    Laboratory,
    exchange,
    needs_namespaces,
    wait_until,
)

from flowclass.wire import (
    BindingIdentifier,
    BindingRefreshRequest,
    BindingUpdate,
    MobilityPacket,
    ReplayProtection,
    encode_packet,
)
from flowclass.wire.auth import authenticate, ntp_timestamp

pytestmark = needs_namespaces

AGENT, NODE, OTHER = IPv6Address(HOME_AGENT), IPv6Address(HOME), IPv6Address("2001:db8:100::6")
CARE_OF = IPv6Address(CARE_OF_B)
KEY = bytes(range(32, 52))
KEYS = """
[[security.mobile_node]]
home_address = "2001:db8:100::5"
spi = 256
key_file = "keys/5"
[[security.mobile_node]]
home_address = "2001:db8:100::6"
spi = 257
key_file = "keys/6"
"""


def keys(folder: Path) -> str:
    (folder / "keys").mkdir()
    for name, key in (("5", KEY), ("6", bytes(20))):
        path = folder / "keys" / name
        path.touch(0o600)
        path.write_text(key.hex() + "\n")
    return KEYS


def update(
    sequence: int,
    key: bytes = KEY,
    spi: int = 256,
    home: IPv6Address = NODE,
    care_of: IPv6Address = CARE_OF,
    when: float | None = None,
    sign: bool = True,
) -> bytes:
    stamp = ReplayProtection(ntp_timestamp(time.time() if when is None else when))
    message = BindingUpdate(sequence, 100, 0xC000, (BindingIdentifier(1, care_of), *([stamp] if sign else [])))
    if sign:
        message = authenticate(message, spi, key, care_of, home)
    return encode_packet(MobilityPacket(care_of, AGENT, message, home))


def ignored(lab: Laboratory) -> dict[str, int]:
    found: dict[str, int] = lab.ctl("counters")["updates"]["ignored"]
    return found


def test_a_mobile_node_with_a_key_is_served(laboratory: Laboratory) -> None:
    laboratory.home_agent(security=keys(laboratory.folder))
    laboratory.mobile_node(security='spi = 256\nkey_file = "keys/5"')
    laboratory.run("cn", "ping", "-c", "1", "-W", "30", HOME)


def test_wrong_keys_replays_and_foreign_home_addresses_are_refused(laboratory: Laboratory) -> None:
    ha = laboratory.home_agent(security=keys(laboratory.folder))
    first = update(1)
    assert statuses(exchange(laboratory, "mn", "lte", [first])) == [0]
    assert statuses(exchange(laboratory, "mn", "lte", [first])) == [144]
    assert statuses(exchange(laboratory, "mn", "lte", [update(2, when=time.time() - 60)])) == [144]
    assert statuses(exchange(laboratory, "mn", "lte", [update(2, key=bytes(20))])) == [146]
    assert statuses(exchange(laboratory, "mn", "lte", [update(2, home=OTHER)])) == [129]
    assert exchange(laboratory, "mn", "lte", [update(2, sign=False)], 0.3) == []
    (node,) = laboratory.ctl("nodes")["nodes"]
    assert (node["home_address"], node["sequence"]) == (HOME, 1)
    wait_until(lambda: ignored(laboratory).get("unauthenticated") == 1)
    for word in ("refused with 144", "refused with 146", "refused with 129", "unauthenticated"):
        assert ha.log.count(f"result={word}") == 1, word  # once per interval, though 144 came twice


_STREAM = """
import socket, sys, time
out = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for number in range(int(sys.argv[2])):
    out.sendto(number.to_bytes(4), (sys.argv[1], 7001))
    if number % 5 == 0:
        time.sleep(0.002)
    if number % 1000 == 0:
        print("sent", number, flush=True)
"""


@pytest.mark.needs_tool("tshark", "tcpdump")
def test_a_flood_from_one_source_is_limited_and_others_are_served(laboratory: Laboratory) -> None:
    laboratory.home_agent(
        'log_interval = 60.0\nlog = "json"\n[limits]\nupdates_per_second = 10', keys(laboratory.folder)
    )
    other = update(1, key=bytes(20), spi=257, home=OTHER, care_of=IPv6Address(CARE_OF_A))
    assert statuses(exchange(laboratory, "mn", "wlan", [other])) == [0]
    flood = [update(n, key=bytes(20)) for n in range(2000)]
    wlan = laboratory.capture("core", "wlan")
    sent = 3000
    stream = laboratory.start("cn", sys.executable, "-c", _STREAM, str(OTHER), str(sent), ready="sent 1000\n")
    exchange(laboratory, "mn", "lte", flood, 0.5)
    assert stream.process.wait(PATIENCE) == 0

    def results() -> list[dict[str, int]]:
        counters = laboratory.ctl("counters")["updates"]
        return [counters["ignored"], counters["updates"]]

    wait_until(lambda: results()[0].get("rate limit", 0) + results()[1].get("146", 0) == len(flood), "a flood's end")
    assert results()[0]["rate limit"] > len(flood) // 2
    rows = wlan.rows("udp.dstport == 7001 && !icmpv6", "frame.time_relative", "udp.payload")
    assert [int(payload, 16) for _, payload in rows] == list(range(sent))  # all of another node's packets
    times = [float(when) for when, _ in rows]
    before, during = (999 / (times[999] - times[0]), (sent - 1000) / (times[-1] - times[999]))
    print(f"\nanother node's packets/s: {before:.0f} before a flood of {len(flood)} updates, {during:.0f} with it")
    lines = [json.loads(line) for line in laboratory.daemons[0].log.splitlines() if line.startswith("{")]
    assert [line["times"] for line in lines if line.get("result") == "rate limit"] == [1]
    later = update(2, key=bytes(20), spi=257, home=OTHER, care_of=IPv6Address(CARE_OF_A))
    assert statuses(exchange(laboratory, "mn", "wlan", [later])) == [0]


@pytest.mark.parametrize(("listed", "expected"), [("eth0", [0]), ("other0", [])])
def test_updates_are_believed_by_listed_interfaces_only(
    laboratory: Laboratory, listed: str, expected: list[int]
) -> None:
    laboratory.ip("ha", "link add other0 type veth peer name other1")
    laboratory.ip("ha", "link set other0 up")
    ha = laboratory.home_agent(security=f'protected_interfaces = ["{listed}"]')
    replies = exchange(laboratory, "mn", "lte", [update(1, sign=False)], PATIENCE if expected else 0.3)
    assert statuses(replies) == expected
    wait_until(lambda: ignored(laboratory).get("unauthenticated", 0) == (0 if expected else 1))
    assert "4191" in laboratory.ip("ha", "-6 rule show")
    laboratory.run("cn", "ping", "-c", "1", "-W", "30", HOME_AGENT)
    assert ha.stop() == 0
    assert "4191" not in laboratory.ip("ha", "-6 rule show")


def test_insecurity_is_said_loudly_and_privileges_are_given_up(laboratory: Laboratory) -> None:
    laboratory.folder.chmod(0o755)
    ha = laboratory.home_agent('user = "nobody"\nstore = "bindings.sqlite"\nmetrics = "[::1]:9464"')
    assert "warning INSECURE" in ha.log
    status = Path(f"/proc/{ha.process.pid}/status").read_text()
    fields: dict[str, Any] = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() != ["0"] * 4
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 1 << 12
    laboratory.mobile_node()
    laboratory.run("cn", "ping", "-c", "1", "-W", "30", HOME)
    assert laboratory.ctl("nodes")["nodes"][0]["home_address"] == HOME
    assert (laboratory.folder / "flowclass.sock").stat().st_mode & 0o777 == 0o600
    # nobody may not be able to read where flowclass is installed: what these need is loaded already
    packet = encode_packet(MobilityPacket(IPv6Address(CORRESPONDENT), IPv6Address(HOME), BindingRefreshRequest()))
    assert laboratory.ctl("why", packet.hex())["explanation"]["outcome"]["care_of"] == [CARE_OF_B]
    assert laboratory.ctl("rules", HOME)["nft"]
    code = "import urllib.request; print(urllib.request.urlopen('http://[::1]:9464/metrics').read().decode())"
    assert "flowclass_nodes 1.0" in laboratory.python("ha", code)
    assert ha.stop() == 0
