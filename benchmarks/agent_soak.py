"""A live home agent for a long time: traffic, changes, kills; memory flat, no error, decisions as the cache says.

    python benchmarks/agent_soak.py [--seconds 3600] [--kill-every 6] [--rate 2000]

Network namespaces, made and removed; a home agent with a store, 50 mobile nodes of which some move or change flows each
second, packets to all of them. In each round a sample of decisions of the running agent (`ctl why`) is compared with a
naive reading of its own dump, and what it holds with what it has acknowledged; and packets must have gone on. In the
first third of the time the agent is killed (kill -9) again and again. The process that is left then runs to the end:
its memory and its descriptors have to stay what they are. Status 1 on any difference.
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

from network_kit import CORRESPONDENT, Daemon, Laboratory, exchange, why_not  # noqa: E402 (behind sys.path)

from flowclass.agent.control import ask  # noqa: E402 (behind sys.path)
from flowclass.mobility import MobileNode  # noqa: E402 (behind sys.path)
from flowclass.wire.selectors import TrafficSelector6  # noqa: E402 (behind sys.path)

AGENT = IPv6Address("2001:db8:100::1")
CARE_OF = [IPv6Address("2001:db8:a::2"), IPv6Address("2001:db8:b::2")]
NODES = 50
PORTS = range(1000, 1008)
ROUND = 1.0  # seconds from one to the next, if they don't take longer
GROWTH = 4096  # KiB that the memory of the last process may grow by
CONNECTIONS = 4  # to the control socket that may be about to be closed

STREAM = """
import socket, sys, time
out = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
rate, homes = float(sys.argv[1]), sys.argv[2:]
while True:
    for home in homes:
        out.sendto(bytes(100), (home, 1000))
    time.sleep(len(homes) / rate)
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
        self.mobiles = [MobileNode(home, lifetime=65535) for home in self.homes]
        for mobile in self.mobiles:
            mobile.add_receiver(AGENT)
        self.now = 0.0
        self.kills = self.checks = self.updates = self.packets = 0
        self.ha = self.start()

    def start(self) -> Daemon:
        self.rounds_alive = 0  # of this process
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

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        return ask(self.lab.folder / "flowclass.sock", command, **arguments)

    def check(self) -> None:
        dump = {node["home_address"]: node for node in self.ask("dump")["bindings"]["node"]}
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
            outcome = self.ask("why", packet=packet(IPv6Address(home), port).hex())["explanation"]["outcome"]
            if outcome["care_of"] != naive(dump[home], port):
                raise SystemExit(f"{home} port {port}: {outcome} but {naive(dump[home], port)}")
            self.checks += 1
        sent = self.ask("counters")["forwarding"]["packets"]["sent"]
        if self.rounds_alive and sent == self.packets:
            raise SystemExit(f"no packet was forwarded in a whole round: {self.ask('counters')}")
        self.packets = sent
        self.rounds_alive += 1
        for line in self.ha.log.splitlines():
            if "error" in line or "Traceback" in line:
                raise SystemExit(f"an error in the agent's log: {line}")

    def kill(self) -> None:
        self.ha.send(signal.SIGKILL)
        self.ha.process.wait()
        self.ha = self.start()
        self.kills += 1

    def memory(self) -> int:
        """Of the agent, in KiB."""
        status = Path(f"/proc/{self.ha.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.ha.process.pid}/fd").iterdir()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--kill-every", type=float, default=6.0, help="seconds; 200 kills in an hour; 0: none")
    parser.add_argument("--rate", type=float, default=2000.0, help="packets a second to all nodes together")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if (reason := why_not()) is not None:
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder, Laboratory(Path(folder)) as lab:
        soak = Soak(lab, arguments.seed)
        numbers = [str(arguments.rate), *map(str, soak.homes)]
        stream = subprocess.Popen(lab.inside("cn", sys.executable, "-c", STREAM, *numbers))
        try:
            run(soak, arguments.seconds, arguments.kill_every)
        finally:
            stream.kill()
            stream.wait()


def run(soak: Soak, seconds: float, kill_every: float) -> None:
    began = said = time.monotonic()
    last_kill = began + (seconds / 3 if kill_every else 0.0)
    settled = last_kill + (began + seconds - last_kill) / 4  # by then it has met every node, flow and answer
    next_kill = began + kill_every
    first: tuple[int, int] | None = None
    while (now := time.monotonic()) < began + seconds:
        soak.change()
        soak.check()
        if next_kill <= now < last_kill:
            soak.kill()
            soak.check()
            next_kill = now + kill_every
        if first is None and now >= settled:
            first = soak.memory(), soak.descriptors()
        if now >= said + 10:
            said = now
            print(f"{now - began:6.0f} s: {soak.updates} updates, {soak.checks} decisions as the cache says, "
                  f"{soak.kills} kills, {soak.packets} packets sent by this process, {soak.memory()} KiB, "
                  f"{soak.descriptors()} descriptors", flush=True)  # fmt: skip
        time.sleep(max(0.0, now + ROUND - time.monotonic()))
    last = soak.memory(), soak.descriptors()
    if first is None:
        sys.exit("too short: nothing can be said about memory")
    print(f"{soak.updates} updates, {soak.checks} decisions, {soak.kills} kills survived; the last process, from a "
          f"quarter of its life to its end: {first[0]} to {last[0]} KiB, {first[1]} to {last[1]} descriptors, "
          f"{soak.packets} packets sent")  # fmt: skip
    if last[0] > first[0] + GROWTH or last[1] > first[1] + CONNECTIONS:
        sys.exit("memory or descriptors grew")


if __name__ == "__main__":
    main()
