"""The live packet loop beside the least that a program can do: run as root, `python benchmarks/forwarding.py`.

``drain``: a TUN device's queue is filled with packets of 64 octets of payload while nobody reads it, then one loop
empties it: the bare echo loop of flowclass/bench/harness/tun_echo_peer.c (read, swap the addresses, write back), or the
forwarder (read, parse, classify, encapsulate, send through a raw socket). Both send to a veth whose other end discards.
So sender and receiver share no processor time, and rounds that alternate give a ratio. Everything happens in network
namespaces of its own.

``tcp``: iperf3 through the tunnel, from a correspondent to a mobile node whose end is a small C program
(flowclass/bench/harness/tunnel_end_peer.c): with the loop, with and without offloads, and with a plain loop in Python.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import ipaddress
import json
import os
import random
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

from flowclass.agent._forward import Forwarder
from flowclass.bench.harness import tun_echo, tunnel_end
from flowclass.engine.forwarding import ForwardingTable
from flowclass.engine.keys import make_rules

_HOME_AGENT: Final = ipaddress.ip_address("2001:db8:100::1").packed
_PACKETS: Final = 20_000


def _ip(command: str, namespace: str | None = None) -> None:
    subprocess.run(["ip", *(["-n", namespace] if namespace else []), *command.split()], check=True)


def _tun(name: str, flags: int = 0x1001) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name.encode(), flags))
    return fd


def _network(sink: str) -> int:
    """In this namespace: the TUN device that home addresses are routed to, and a veth whose other end discards."""
    tun = _tun("home")
    Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
    for command in (
        "link set lo up",
        f"link set home up txqueuelen {2 * _PACKETS} addrgenmode none",
        "-6 route add 2001:db8:100::/64 dev home",
        f"link add out type veth peer name in netns {sink}",
        "link set out up addrgenmode none",
        "-6 neigh add fe80::1 lladdr 02:00:00:00:00:01 dev out nud permanent",
        "-6 route add 2001:db8::/48 via fe80::1 dev out",
        "-6 route add 2001:db8:a::/48 via fe80::1 dev out",
        "-6 route add 2001:db8:c::/48 via fe80::1 dev out",
    ):
        _ip(command)
    subprocess.run(["ip", "netns", "exec", sink, "sysctl", "-qw", "net.ipv6.conf.in.disable_ipv6=1"], check=True)
    _ip("link set in up", sink)
    return tun


def _packet(home: bytes, port: int) -> bytes:
    source = ipaddress.ip_address("2001:db8:c::9").packed
    return struct.pack(">IHBB", 6 << 28, 72, 17, 64) + source + home + struct.pack(">HHHH", port, 9, 72, 1) + bytes(64)


def _fill(raw: socket.socket, packets: list[bytes]) -> None:
    for packet in packets:
        raw.sendto(packet, (socket.inet_ntop(socket.AF_INET6, packet[24:40]), 0))


def _nodes(count: int, flows: int, width: int) -> tuple[ForwardingTable, list[bytes]]:
    """Each flow has ``width`` source ports of 16; those in between go by the default binding."""
    table = ForwardingTable()
    homes = []
    for i in range(count):
        home = _HOME_AGENT[:8] + struct.pack(">Q", i + 16)
        care_of = [ipaddress.ip_address(f"2001:db8:a:{n}::").packed[:8] + struct.pack(">Q", i + 1) for n in (1, 2, 3)]
        first = [1000 + 16 * f for f in range(flows)]
        rules = make_rules(version=6, source_port=(first, [port + width - 1 for port in first]))
        table.publish(
            home,
            targets=[(n + 1, address) for n, address in enumerate(care_of)],
            default=0,
            flows=[(f + 1, 1, (f % 3,), rules[f].tobytes()) for f in range(flows)],
        )
        homes.append(home)
    return table, homes


def drain(rounds: int, nodes: int, flows: int, width: int) -> dict[str, Any]:
    """Thousand packets a second of processor time, of both loops, and the median ratio of neighbouring rounds."""
    sink = f"fcsink{os.getpid()}"
    _ip(f"netns add {sink}")
    try:
        tun = _network(sink)
        table, homes = _nodes(nodes, flows, width)
        raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        output = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        rng = random.Random(1)
        packets = [
            _packet(rng.choice(homes), 1000 + 16 * rng.randrange(flows + 1) + rng.randrange(width))
            for _ in range(_PACKETS)
        ]
        forwarder = Forwarder(
            table, tun=[tun], output=output.fileno(), home_agent=_HOME_AGENT, encapsulation_limit=None
        )
        forwarder.run(0)  # what the kernel itself has sent
        got: dict[str, list[float]] = {"echo": [], "forward": []}
        wall: dict[str, list[float]] = {"echo": [], "forward": []}
        for _ in range(rounds):
            forwarder.run(0)  # what an echo left because the kernel had sent something itself
            before = forwarder.counters()["packets"]
            _fill(raw, packets)
            began, cpu = time.perf_counter(), time.thread_time()
            while (
                forwarder.counters()["packets"]["sent"] - before["sent"] < _PACKETS
                and not forwarder.counters()["drops"]["send"]
            ):
                forwarder.run(10)
            cpu, began = time.thread_time() - cpu, time.perf_counter() - began
            after = forwarder.counters()["packets"]
            assert after["sent"] - before["sent"] == _PACKETS, "not every packet was sent"
            got["forward"].append(_PACKETS / cpu)
            wall["forward"].append(_PACKETS / began)
            _fill(raw, packets)
            done = subprocess.run(
                [tun_echo.program(), str(tun), str(_PACKETS)],
                pass_fds=[tun],
                capture_output=True,
                text=True,
                check=True,
            )
            n, ns, cpu_ns = map(int, done.stdout.split())
            assert n == _PACKETS
            got["echo"].append(n / cpu_ns * 1e9)
            wall["echo"].append(n / ns * 1e9)
        ratios = [f / e for f, e in zip(got["forward"], got["echo"], strict=True)]
        return {
            "nodes": nodes,
            "flows": flows,
            "ports_of_a_flow": width,
            **{f"{k}_kpps_cpu": round(statistics.median(v) / 1e3, 1) for k, v in got.items()},
            **{f"{k}_kpps_wall": round(statistics.median(v) / 1e3, 1) for k, v in wall.items()},
            "ratio": round(statistics.median(ratios), 3),
            "ratios": [round(r, 2) for r in sorted(ratios)],
            "drops": {k: v for k, v in forwarder.counters()["drops"].items() if v},
        }
    finally:
        _ip(f"netns del {sink}")


# ---- A TCP connection through the tunnel

_MN, _CARE_OF = "2001:db8:100::5", "2001:db8:a::2"


def _inside(namespace: str, function: Any) -> int:
    """Runs a function in a child that has entered the namespace; the child's number."""
    child = os.fork()
    if child:
        return child
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        fd = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        if libc.setns(fd, 0x40000000):
            raise OSError(ctypes.get_errno(), "setns")
        function()
    except BaseException as error:
        print(error, file=sys.stderr)
    finally:
        os._exit(0)


def _agent(tun: int, output: socket.socket, offloads: bool) -> None:
    table = ForwardingTable()
    packed = ipaddress.ip_address
    table.publish(packed(_MN).packed, targets=[(1, packed(_CARE_OF).packed)], default=0)
    forwarder = Forwarder(
        table,
        tun=[tun],
        output=output.fileno(),
        home_agent=_HOME_AGENT,
        encapsulation_limit=None,
        vnet_header=offloads,
    )
    while True:
        forwarder.run(1000)


def _python_agent(tun: int, output: socket.socket) -> None:
    """The plain loop: one packet at a time, a dictionary, a header in front."""
    packed = ipaddress.ip_address
    bindings = {packed(_MN).packed: packed(_CARE_OF).packed}
    os.set_blocking(tun, True)
    while True:
        packet = os.read(tun, 65536)
        home = packet[24:40]
        if home in bindings:
            care_of = bindings[home]
            header = packet[:4] + struct.pack(">HBB", len(packet), 41, 64) + _HOME_AGENT + care_of
            output.sendto(header + packet, (_CARE_OF, 0))
        elif home == _HOME_AGENT and packet[6] == 41:
            os.write(tun, packet[40:])


def tcp(seconds: float) -> dict[str, Any]:
    """iperf3 from the correspondent to the mobile node: through the loop with and without offloads, and through
    a plain Python loop, one after the other in one run, with the same programs at both ends."""
    names = {n: f"fc{n}{os.getpid()}" for n in ("cn", "ha", "mn")}
    children: list[int] = []
    result: dict[str, Any] = {}
    try:
        for name in names.values():
            _ip(f"netns add {name}")
            _ip("link set lo up", name)
        for a, b, net in (("cn", "ha", "c"), ("ha", "mn", "a")):
            _ip(f"link add {b} netns {names[a]} type veth peer name {a} netns {names[b]}")
            for me, other, last in ((a, b, 1 if a == "ha" else 2), (b, a, 1 if b == "ha" else 2)):
                _ip(f"link set {other} up", names[me])
                _ip(f"-6 addr add 2001:db8:{net}::{last}/64 dev {other} nodad", names[me])
        _ip("-6 route add default via 2001:db8:c::1", names["cn"])
        _ip("-6 route add default via 2001:db8:a::1", names["mn"])
        subprocess.run(
            ["ip", "netns", "exec", names["ha"], "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"], check=True
        )

        def mobile_node() -> None:
            tun = _tun("mn0", 0x5001)
            fcntl.ioctl(tun, 0x400454D0, 0)  # what the node itself sends comes with its checksums
            for command in ("link set mn0 up mtu 1460", f"-6 addr add {_MN}/128 dev mn0 nodad",
                            "-6 route add 2001:db8:c::/64 dev mn0"):  # fmt: skip
                _ip(command)
            raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 41)
            os.set_inheritable(tun, True)
            os.set_inheritable(raw.fileno(), True)
            agent = str(ipaddress.ip_address(_HOME_AGENT))
            os.execv(tunnel_end.program(), ["tunnel_end", str(tun), str(raw.fileno()), agent])

        def agent(kind: str) -> None:
            tun = _tun("home", 0x5001 if kind == "offloads" else 0x1001)
            if kind == "offloads":
                fcntl.ioctl(tun, 0x400454D0, 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40)
            for command in ("link set home up mtu 1460", "-6 route add 2001:db8:100::/64 dev home"):
                _ip(command)
            output = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
            if kind == "python":
                _python_agent(tun, output)
            _agent(tun, output, kind == "offloads")

        children.append(_inside(names["mn"], mobile_node))
        for kind in ("python", "no offloads", "offloads"):
            children.append(_inside(names["ha"], partial(agent, kind)))
            time.sleep(0.5)
            server = subprocess.Popen(
                ["ip", "netns", "exec", names["mn"], "iperf3", "-s", "-1"], stdout=subprocess.DEVNULL
            )
            time.sleep(0.3)
            done = subprocess.run(
                ["ip", "netns", "exec", names["cn"], "iperf3", "-6", "-c", _MN, "-t", str(seconds), "-J"],
                capture_output=True,
                text=True,
            )
            server.kill()
            server.wait()
            os.kill(children[-1], signal.SIGKILL)
            used = os.wait4(children.pop(), 0)[2]
            sums = json.loads(done.stdout)["end"]
            megabits = sums["sum_received"]["bytes"] * 8 / 1e6
            result[kind] = {
                "mbits_per_s": round(megabits / sums["sum_received"]["seconds"]),
                "mbits_per_cpu_s_of_the_agent": round(megabits / (used.ru_utime + used.ru_stime)),
                "retransmits": sums["sum_sent"]["retransmits"],
            }
            time.sleep(0.2)
        for figure in ("mbits_per_s", "mbits_per_cpu_s_of_the_agent"):
            result[f"{figure}, ratio"] = round(result["offloads"][figure] / result["python"][figure], 2)
        return result
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        for name in names.values():
            subprocess.run(["ip", "netns", "del", name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="drain", choices=["drain", "tcp"])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--flows", type=int, default=16)
    parser.add_argument("--width", type=int, default=1, choices=range(1, 17), help="ports of a flow", metavar="N")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.what == "tcp":
        print(json.dumps(tcp(arguments.seconds)))
        return
    if not arguments.inside:  # into a network namespace of its own
        sys.exit(subprocess.run(["unshare", "-n", sys.executable, *sys.argv, "--inside"]).returncode)
    print(json.dumps(drain(arguments.rounds, arguments.nodes, arguments.flows, arguments.width)))


if __name__ == "__main__":
    main()
