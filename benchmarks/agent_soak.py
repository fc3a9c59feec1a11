"""A live home agent for a long time: traffic, changes, kills; memory flat, no error, decisions as the cache says.

    python benchmarks/agent_soak.py [--seconds 3600] [--kill-every 18]

Network namespaces, made and removed; a home agent with a store, 50 mobile nodes that move and change flows, packets to
all of them. Every second a sample of decisions of the running agent (`ctl why`) is compared with a naive reading of its
own dump; acknowledged bindings are compared after each kill -9. Prints the agent's memory; status 1 on any difference.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests/support")]

from network_kit import CORRESPONDENT, Daemon, Laboratory, exchange, why_not  # noqa: E402

from flowclass.mobility import MobileNode  # noqa: E402
from flowclass.wire.selectors import TrafficSelector6  # noqa: E402

AGENT = IPv6Address("2001:db8:100::1")
CARE_OF = [IPv6Address("2001:db8:a::2"), IPv6Address("2001:db8:b::2")]
NODES = 50
PORTS = range(1000, 1008)

STREAM = """
import socket, sys, time
out = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
homes = sys.argv[1:]
while True:
    for home in homes:
        out.sendto(bytes(100), (home, 1000))
    time.sleep(0.01)
"""


def packet(home: IPv6Address, port: int) -> bytes:
    head = bytes.fromhex("6000000000081140") + IPv6Address(CORRESPONDENT).packed + home.packed
    return head + port.to_bytes(2) + bytes.fromhex("03e8 0008 0000")


def naive(node: dict[str, Any], port: int) -> list[str]:
    """Care-of addresses by reading the dump from top to bottom."""
    addresses = {entry["bid"]: entry["address"] for entry in node["care_of"]}
    for flow in sorted(node["flow"], key=lambda flow: (flow["pri"], flow["fid"])):
        wanted = flow.get("selector", {}).get("source_port")
        if wanted is None or wanted == port:
            return [] if flow["action"] == "discard" else [addresses[flow["bids"][0]]]
    default = min(node["care_of"], key=lambda entry: (entry["priority"] or 256, entry["bid"]))
    return [default["address"]]


class Soak:
    def __init__(self, lab: Laboratory, seed: int) -> None:
        self.lab = lab
        self.random = random.Random(seed)
        self.homes = [IPv6Address("2001:db8:100::1:0") + i for i in range(NODES)]
        self.mobiles = [MobileNode(home, lifetime=10000) for home in self.homes]
        for mobile in self.mobiles:
            mobile.add_receiver(AGENT)
        self.now = 0.0
        self.kills = self.checks = self.updates = 0
        self.ha = self.start()

    def start(self) -> Daemon:
        return self.lab.home_agent('store = "bindings.sqlite"')

    def change(self) -> None:
        """One round: each of some nodes moves, or gets, changes or loses a flow; all answers are waited for."""
        packets: list[bytes] = []
        chosen = self.random.sample(self.mobiles, 10)
        for mobile in chosen:
            self.now += 1.0
            updates = mobile.update_list(AGENT)
            port = self.random.choice(PORTS)
            if len(updates.wanted_care_of) < 2:
                packets += mobile.register(AGENT, len(updates.wanted_care_of) + 1, CARE_OF[0], now=self.now)
            elif port in updates.wanted_flows:
                packets += mobile.remove_flow(AGENT, port, now=self.now)
            elif self.random.random() < 0.2:
                packets += mobile.register(AGENT, 1, self.random.choice(CARE_OF), now=self.now)
            else:
                selector = TrafficSelector6(source_port=(port, port))
                packets += mobile.add_flow(AGENT, port, 1, (self.random.choice((1, 2)),), selector, now=self.now)
        self.updates += len(packets)
        for interface, care_of in zip(("wlan", "lte"), CARE_OF, strict=True):
            sent = [p for p in packets if p[8:24] == care_of.packed]
            for reply in exchange(self.lab, "mn", interface, sent) if sent else []:
                home = reply[48:64]
                mobile = self.mobiles[self.homes.index(IPv6Address(home))]
                mobile.receive(reply, now=self.now)
        for mobile in chosen:  # what was not answered is sent again with the next change
            if mobile.update_list(AGENT).outstanding is not None:
                raise SystemExit(f"no answer for {mobile.home}")

    def check(self) -> None:
        dump = {node["home_address"]: node for node in self.lab.ctl("dump")["node"]}
        for mobile in self.mobiles:
            known = mobile.update_list(AGENT)
            node = dump.get(str(mobile.home), {"care_of": [], "flow": []})
            if {e["bid"]: e["address"] for e in node["care_of"]} != {
                b: str(e.address) for b, e in known.care_of.items()
            }:
                raise SystemExit(f"{mobile.home}: {node['care_of']} in the agent, {known.care_of} acknowledged")
            if {f["fid"] for f in node["flow"]} != set(known.flows):
                raise SystemExit(f"{mobile.home}: flows {node['flow']} in the agent, {known.flows} acknowledged")
        for home in self.random.sample(sorted(dump), min(3, len(dump))):
            port = self.random.choice(PORTS)
            outcome = self.lab.ctl("why", packet(IPv6Address(home), port).hex())["explanation"]["outcome"]
            if outcome["care_of"] != naive(dump[home], port):
                raise SystemExit(f"{home} port {port}: {outcome} but {naive(dump[home], port)}")
            self.checks += 1

    def kill(self) -> None:
        self.ha.send(signal.SIGKILL)
        self.ha.process.wait()
        self.ha = self.start()
        self.kills += 1

    def memory(self) -> int:
        status = Path(f"/proc/{self.ha.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--kill-every", type=float, default=18.0, help="seconds; 200 kills in an hour; 0: none")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if (reason := why_not()) is not None:
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder, Laboratory(Path(folder)) as lab:
        soak = Soak(lab, arguments.seed)
        stream = subprocess.Popen(lab.inside("cn", sys.executable, "-c", STREAM, *map(str, soak.homes)))
        try:
            run(soak, arguments.seconds, arguments.kill_every)
        finally:
            stream.kill()
            stream.wait()


def run(soak: Soak, seconds: float, kill_every: float) -> None:
    began = said = time.monotonic()
    next_kill = began + kill_every if kill_every else float("inf")
    first = 0
    while time.monotonic() < began + seconds:
        soak.change()
        soak.check()
        first = first or soak.memory()
        now = time.monotonic()
        if now >= next_kill:
            soak.kill()
            soak.check()
            next_kill = now + kill_every
        if now >= said + 10:
            said = now
            print(f"{now - began:6.0f} s: {soak.updates} updates, {soak.checks} decisions as the cache says, "
                  f"{soak.kills} kills, {soak.memory()} KiB", flush=True)  # fmt: skip
    last = soak.memory()
    print(f"memory: {first} KiB at first, {last} KiB at last; {soak.updates} updates, {soak.checks} decisions, "
          f"{soak.kills} kills survived")  # fmt: skip
    if last > 1.3 * first + 8192:
        sys.exit("memory grew")
    if "error" in soak.ha.log:
        sys.exit(soak.ha.log)


if __name__ == "__main__":
    main()
