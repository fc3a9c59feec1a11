"""A live home agent is killed again and again: how soon do packets go on, is all there that was acknowledged?

    python benchmarks/agent_kills.py [--kills 200] [--follower]

Network namespaces, made and removed; `flowclass ha` with a store. A stream of packets to one mobile node, one every
millisecond; 50 other nodes register, move and deregister all the time. At a random moment the agent gets SIGKILL.
What is counted runs from that signal to the arrival, on the access link, of the first packet that was sent when the
process had gone: its end, its start again at once (as systemd does with RestartSec=0), the Python interpreter, the
store, the device and its routes. With ``--follower`` another agent stands by and takes over. After each kill the
agent's dump is compared with what it has acknowledged. Status 1 if anything of that is missing, or is there although
its removal was acknowledged.
"""

from __future__ import annotations

import argparse
import compileall
import json
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from ipaddress import IPv6Address
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests/support")]

from network_kit import PATIENCE, Daemon, Laboratory, exchange, wait_until, why_not  # noqa: E402 (behind sys.path)

from flowclass.agent.control import ask  # noqa: E402 (behind sys.path)
from flowclass.errors import FlowclassError  # noqa: E402 (behind sys.path)
from flowclass.wire import BindingIdentifier, BindingUpdate, MobilityPacket, encode_packet  # noqa: E402 (behind sys.path)

AGENT = IPv6Address("2001:db8:100::1")
WLAN = IPv6Address("2001:db8:a::2")
HOME = IPv6Address("2001:db8:100::5")

STREAM = """
import socket, struct, sys, time
out = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
due = time.monotonic()
while True:
    out.sendto(struct.pack("d56x", time.monotonic()), (sys.argv[1], 7000))
    due = max(due + 0.001, time.monotonic() - 0.05)
    time.sleep(max(0.0, due - time.monotonic()))
"""

# for each packet before which some were lost: when it was sent, when it came
ARRIVALS = """
import socket, struct, time
tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x86DD))
tap.bind(("wlan", 0x86DD))
last = 0.0
while True:
    data = tap.recv(65535)
    if len(data) >= 112 and data[-70:-66] == (7000).to_bytes(2) + (72).to_bytes(2):
        (sent,) = struct.unpack_from("d", data, len(data) - 64)
        if sent > last + 0.03:
            print(sent, time.monotonic(), flush=True)
        last = sent
"""

# on each line of input: stops until the next one, and says what is acknowledged and what is under way
CLIENT = """
import json, random, select, socket, sys, time
from ipaddress import IPv6Address
from flowclass.wire import BindingIdentifier, BindingUpdate, MobilityPacket, decode_packet, encode_packet
agent, links = IPv6Address("2001:db8:100::1"), ["2001:db8:b::2", "2001:db8:b::3"]
homes = [IPv6Address("2001:db8:100::1:0") + i for i in range(50)]
tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x86DD))
tap.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
tap.bind(("lte", 0x86DD))
out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
out.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lte")
sequence, acknowledged, asked, when = [{home: start for home in homes} for start in (0, None, None, 0.0)]
under_way, count = set(), 0

def send(home, care_of):
    sequence[home] = (sequence[home] + 1) & 0xFFFF
    asked[home], when[home] = care_of, time.monotonic()
    under_way.add(home)
    source = IPv6Address(care_of or links[0])
    options = (BindingIdentifier(1, source),) if care_of else ()
    message = BindingUpdate(sequence[home], 10000 if care_of else 0, 0xC000, options)
    out.sendto(encode_packet(MobilityPacket(source, agent, message, home)), (str(agent), 0))

while True:
    for home in homes:
        if home in under_way and time.monotonic() > when[home] + 1.0:
            send(home, asked[home])  # again, with the next sequence number
    free = [home for home in homes if home not in under_way]
    for home in random.sample(free, min(len(free), max(0, 8 - len(under_way)))):
        send(home, random.choice(links) if acknowledged[home] is None or random.random() < 0.5 else None)
    ready = select.select([tap, sys.stdin], [], [], 0.05)[0]
    if sys.stdin in ready:
        if not sys.stdin.readline():
            break
        end = time.monotonic() + 0.2  # answers that have left are counted
    while select.select([tap], [], [], 0 if sys.stdin not in ready else max(0.0, end - time.monotonic()))[0]:
        data, source = tap.recvfrom(65535)
        if source[2] != 0 or data[6] != 43:
            continue
        message, home = decode_packet(data).message, IPv6Address(data[48:64])
        if message.sequence == sequence[home] and home in under_way:
            # 133: a removal whose acknowledgement was lost, asked for again
            assert message.status == 0 or (message.status == 133 and asked[home] is None), message
            under_way.discard(home)
            acknowledged[home] = asked[home]
            count += 1
    if sys.stdin in ready:
        known = {str(h): [acknowledged[h]] + ([asked[h]] if h in under_way else []) for h in homes}
        print(json.dumps({"count": count, "known": known}), flush=True)
        sys.stdin.readline()
    else:
        time.sleep(0.02)
"""


class Agents:
    """Who serves, and who stands by; the process that ends is started again at once."""

    def __init__(self, lab: Laboratory, follower: bool) -> None:
        self.lab = lab
        self.follower = follower
        self.serving = lab.home_agent('store = "bindings.sqlite"\n')
        self.standby = self.follow() if follower else None

    def start(self, ready: str | None, *options: str) -> Daemon:
        return self.lab.flowclass("ha", "ha", *options, str(self.lab.folder / "ha.toml"), ready=ready)

    def follow(self) -> Daemon:
        return self.start("following", "--follow")

    def kill(self) -> tuple[float, float]:
        """Returns when the signal was sent, and when the process had gone."""
        before = self.serving
        began = time.monotonic()
        before.process.kill()
        before.process.wait()
        gone = time.monotonic()
        if self.standby is None:
            self.serving = self.start(None)
        else:
            self.serving = self.standby
        return began, gone

    def settle(self) -> None:
        self.serving.wait_for("ready")
        if self.follower:
            self.standby = self.follow()


def check(known: dict[str, list[str | None]], lab: Laboratory) -> None:
    held: dict[str, str] = {}
    for node in ask(lab.folder / "flowclass.sock", "dump")["bindings"]["node"]:
        for entry in node["care_of"]:
            held[node["home_address"]] = entry["address"]
    for home, allowed in known.items():
        if held.get(home) not in allowed:
            raise SystemExit(f"{home}: {held.get(home)} in the agent; acknowledged, then under way: {allowed}")


def stop(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--follower", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if (reason := why_not()) is not None:
        sys.exit(reason)
    compileall.compile_dir(ROOT / "flowclass", quiet=1)  # as an installation is
    with tempfile.TemporaryDirectory() as folder, Laboratory(Path(folder)) as lab:
        agents = Agents(lab, arguments.follower)
        times, updates = run(lab, agents, arguments.kills, random.Random(arguments.seed))
    times.sort()
    print(f"{len(times)} kills under {updates} acknowledged updates: all that was acknowledged was there, and no more")
    for share in (0, 10, 50, 90, 99, 100):
        print(f"  {share:3} % resumed within {times[min(len(times) - 1, len(times) * share // 100)]:.3f} s")
    print(f"  above one second: {sum(t > 1.0 for t in times)}; above three: {sum(t > 3.0 for t in times)}")


def run(lab: Laboratory, agents: Agents, kills: int, chance: random.Random) -> tuple[list[float], int]:
    lab.ip("mn", "addr add 2001:db8:b::3/64 dev lte nodad")
    update = BindingUpdate(1, 10000, 0xC000, (BindingIdentifier(1, WLAN),))
    exchange(lab, "mn", "wlan", [encode_packet(MobilityPacket(WLAN, AGENT, update, HOME))])
    client = subprocess.Popen(lab.inside("mn", sys.executable, "-c", CLIENT), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True, bufsize=1)  # fmt: skip
    tap = subprocess.Popen(lab.inside("mn", sys.executable, "-c", ARRIVALS), stdout=subprocess.PIPE, text=True)
    stream = subprocess.Popen(lab.inside("cn", sys.executable, "-c", STREAM, str(HOME)), text=True)
    assert client.stdin is not None
    assert client.stdout is not None
    assert tap.stdout is not None
    arrivals: queue.Queue[tuple[float, float]] = queue.Queue()

    def read(lines: Iterable[str]) -> None:
        for line in lines:
            sent, arrived = map(float, line.split())
            arrivals.put((sent, arrived))

    reader = threading.Thread(target=read, args=(tap.stdout,))
    reader.start()
    times: list[float] = []
    count = 0
    try:
        arrivals.get(timeout=PATIENCE)
        for _ in range(kills):
            time.sleep(chance.uniform(0.3, 1.3))
            began, gone = agents.kill()
            sent = 0.0
            while sent < gone:  # an earlier gap: the machine was busy with something else
                sent, arrived = arrivals.get(timeout=PATIENCE)
            times.append(arrived - began)
            agents.settle()
            client.stdin.write("stop\n")
            answer = json.loads(client.stdout.readline())
            wait_until(lambda: settled(lab), "the control plane to answer")
            check(answer["known"], lab)
            client.stdin.write("go\n")
            count = answer["count"]
    finally:
        stop(client, tap, stream)
        reader.join()
    return times, count


def settled(lab: Laboratory) -> bool:
    """Whether the agent answers; and what it had received before, it has processed."""
    try:
        ask(lab.folder / "flowclass.sock", "status")
    except FlowclassError:
        return False
    return True


if __name__ == "__main__":
    main()
