"""The live packet loop beside the least that a program can do: run as root, `python benchmarks/forwarding.py`.

``drain``: a TUN device's queue is filled with packets of 64 octets of payload while nobody reads it, then one loop
empties it: the bare echo loop of flowclass/bench/harness/tun_echo_peer.c (read, swap the addresses, write back), or the
forwarder (read, parse, classify, encapsulate, send through a raw socket). Both send to a veth whose other end discards.
So sender and receiver share no processor time, and rounds that alternate give a ratio. Everything happens in network
namespaces of its own.
"""

from __future__ import annotations

import argparse
import fcntl
import ipaddress
import json
import os
import random
import socket
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from flowclass.agent._forward import Forwarder
from flowclass.bench.harness import tun_echo
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


def _nodes(count: int, flows: int) -> tuple[ForwardingTable, list[bytes]]:
    table = ForwardingTable()
    homes = []
    for i in range(count):
        home = _HOME_AGENT[:8] + struct.pack(">Q", i + 16)
        care_of = [ipaddress.ip_address(f"2001:db8:a:{n}::").packed[:8] + struct.pack(">Q", i + 1) for n in (1, 2, 3)]
        rules = make_rules(
            version=6, source_port=([1000 + 16 * f for f in range(flows)], [1015 + 16 * f for f in range(flows)])
        )
        table.publish(
            home,
            targets=[(n + 1, address) for n, address in enumerate(care_of)],
            default=0,
            flows=[(f + 1, 1, (f % 3,), rules[f].tobytes()) for f in range(flows)],
        )
        homes.append(home)
    return table, homes


def drain(rounds: int, nodes: int, flows: int) -> dict[str, Any]:
    """Thousand packets a second of processor time, of both loops, and the median ratio of neighbouring rounds."""
    sink = f"fcsink{os.getpid()}"
    _ip(f"netns add {sink}")
    try:
        tun = _network(sink)
        table, homes = _nodes(nodes, flows)
        raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        output = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        rng = random.Random(1)
        packets = [_packet(rng.choice(homes), rng.randrange(900, 1000 + 16 * flows)) for _ in range(_PACKETS)]
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
            **{f"{k}_kpps_cpu": round(statistics.median(v) / 1e3, 1) for k, v in got.items()},
            **{f"{k}_kpps_wall": round(statistics.median(v) / 1e3, 1) for k, v in wall.items()},
            "ratio": round(statistics.median(ratios), 3),
            "ratios": [round(r, 2) for r in sorted(ratios)],
            "drops": {k: v for k, v in forwarder.counters()["drops"].items() if v},
        }
    finally:
        _ip(f"netns del {sink}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="drain", choices=["drain"])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--flows", type=int, default=16)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.inside:  # into a network namespace of its own
        sys.exit(subprocess.run(["unshare", "-n", sys.executable, *sys.argv, "--inside"]).returncode)
    print(json.dumps(drain(arguments.rounds, arguments.nodes, arguments.flows)))


if __name__ == "__main__":
    main()
