"""Which packets of a mobility trace do capture tools find, when asked for UDP to port 443?

    .venv/bin/python benchmarks/compare_tools.py        # the table of README.md

10,000 generated packets (seeded) with VLAN tags, extension headers, fragments and tunnels. What is right is known from
what the packets were made of. flowclass has to be right about every field of every packet, outermost and innermost
header, or this ends with an error. Each tool is asked as its manual has it; a packet counts for a tool when it says
that this very packet is UDP to port 443, whichever of its headers says so.
"""

from __future__ import annotations

import importlib.util
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

import flowclass as fc
from flowclass.engine.packets import INNERMOST
from flowclass.generate.bindings import random_nodes
from flowclass.generate.captures import Frame, write_pcap
from flowclass.generate.mobility import TracePacket, mobility_trace
from flowclass.generate.packets import DCCP, ESP, SCTP, TCP, UDP, UDPLITE, Fields
from flowclass.traces.reader import Trace
from flowclass.traces.run import new_fragments

PACKETS, PORT = 10_000, 443
FILTER = f"udp dst port {PORT}"
# of fc_key.present
ADDRESSES, FLOW_LABEL, SPI, PORTS, TRAFFIC_CLASS, PROTOCOL = 3, 4, 8, 48, 64, 128

Found = set[int]
"""Places in the trace."""


def make_trace() -> list[TracePacket]:
    rng = random.Random(443)
    nodes = random_nodes(rng, 20, 8)
    return list(mobility_trace(rng, nodes, PACKETS))[:PACKETS]


def asked_for(fields: Fields | None, known: bool) -> bool:
    return known and fields is not None and fields.protocol == UDP and fields.destination_port == PORT


def truth(packets: Sequence[TracePacket], inner: bool) -> Found:
    return {i for i, p in enumerate(packets) if asked_for(p.inner if inner else p.fields, p.ports)}


def key_of(fields: Fields | None, known: bool) -> tuple[object, ...]:
    """A row of KEY_DTYPE, from what the packet was made of."""
    if fields is None:
        return ((0, 0), (0, 0), 0, 0, 0, 0, 0, 0, 0, 0)
    ports = known and fields.protocol in (TCP, UDP, SCTP, DCCP, UDPLITE)
    spi = known and fields.protocol == ESP
    present = ADDRESSES | FLOW_LABEL | TRAFFIC_CLASS | PROTOCOL | (PORTS if ports else 0) | (SPI if spi else 0)

    def words(address: bytes) -> tuple[int, int]:
        return int.from_bytes(address[:8], "big"), int.from_bytes(address[8:], "big")

    return (
        words(fields.source), words(fields.destination), fields.flow_label, fields.spi if spi else 0,
        fields.source_port if ports else 0, fields.destination_port if ports else 0,
        fields.traffic_class, fields.protocol, fields.version, present,
    )  # fmt: skip


def flowclass_keys(trace: Path, inner: int) -> npt.NDArray[np.void]:
    with Trace(trace) as capture:
        return np.concatenate([b.keys.copy() for b in capture.keys(fragments=new_fragments(), inner=inner)])


def flowclass(trace: Path, packets: Sequence[TracePacket], inner: int) -> Found:
    """What it finds; ValueError unless every field of every packet is right."""
    keys = flowclass_keys(trace, inner)
    right = np.array([key_of(p.inner if inner else p.fields, p.ports) for p in packets], fc.KEY_DTYPE)
    for name in fc.KEY_DTYPE.names or ():
        if not np.array_equal(keys[name], right[name]):
            raise ValueError(f"flowclass is wrong about {name}: packet {np.flatnonzero(keys[name] != right[name])[:1]}")
    return set(np.flatnonzero((keys["protocol"] == UDP) & (keys["destination_port"] == PORT)).tolist())


def tcpdump(trace: Path, packets: Sequence[TracePacket], expression: str) -> Found:
    out = trace.with_name("found.pcap")
    command = ["tcpdump", "--time-stamp-precision=nano", "-r", str(trace), "-w", str(out), expression]
    subprocess.run(command, check=True, capture_output=True)
    places = {p.time_ns: i for i, p in enumerate(packets)}
    with Trace(out) as capture:
        return {places[time] for batch in capture.records() for time in batch.times.tolist()}


def tshark(trace: Path) -> Found:
    # UDP-Lite's ports have the names of UDP's
    expression = f"udp.dstport == {PORT} && !udplite"
    command = ["tshark", "-n", "-r", str(trace), "-Y", expression, "-T", "fields", "-e", "frame.number"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return {int(line) - 1 for line in lines}


def dpkt(packets: Sequence[TracePacket]) -> Found:
    from dpkt.ethernet import Ethernet
    from dpkt.udp import UDP as DpktUDP

    found = set()
    for i, packet in enumerate(packets):
        ip = Ethernet(packet.frame).data
        if isinstance(getattr(ip, "data", None), DpktUDP) and ip.data.dport == PORT:
            found.add(i)
    return found


def scapy(packets: Sequence[TracePacket]) -> Found:
    from scapy.layers import inet6, ipsec  # noqa: F401 (so that these are known)
    from scapy.layers.inet import UDP as ScapyUDP
    from scapy.layers.l2 import Ether

    found = set()
    for i, packet in enumerate(packets):
        layers = Ether(packet.frame)
        if ScapyUDP in layers and layers[ScapyUDP].dport == PORT:
            found.add(i)
    return found


PHRASES = {
    "VLAN tag": "with VLAN tags",
    "extension header": "behind extension headers",
    "fragment": "fragments",
    "tunnel": "in tunnels",
}
WHY = {
    "flowclass": "takes the outermost header unless told otherwise",
    "flowclass --inner": "",
    "tcpdump": "looks at fixed places: behind IPv6 without a tag, nothing else",
    "tcpdump, or (vlan and ...)": "`vlan` moves the places by one tag",
    "dpkt": "stops at an IPv6 header inside another one; each fragment by itself",
    "scapy": "nothing behind an authentication header; each fragment by itself",
    "tshark": "reassembles, and shows a packet where its last fragment is",
}


def missing(tool: str) -> bool:
    if tool.startswith("flowclass"):
        return False
    name = tool.split(",")[0]
    return importlib.util.find_spec(name) is None if name in ("dpkt", "scapy") else shutil.which(name) is None


def row(tool: str, found: Found, right: Found, packets: Sequence[TracePacket]) -> str:
    missed, wrong = right - found, found - right
    return f"| {tool} | {len(found & right)} | {len(missed)} | {len(wrong)} | {traits(missed, packets)} | {WHY[tool]} |"


def traits(places: Found, packets: Sequence[TracePacket]) -> str:
    """What makes these packets hard to read, and how many have it."""
    counts = Counter(trait for i in places for trait in packets[i].traits)
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{n} {PHRASES[trait]}" for trait, n in order)


def table(folder: Path) -> tuple[str, list[str], list[str]]:
    """What was asked, the rows of the table with its head, and the tools that are absent."""
    packets, trace = make_trace(), folder / "trace.pcap"
    with trace.open("wb") as stream:
        write_pcap(stream, [Frame(p.time_ns, p.frame) for p in packets])
    right = truth(packets, inner=True)
    calls: dict[str, Callable[[], Found]] = {
        "flowclass --inner": lambda: flowclass(trace, packets, INNERMOST),
        "flowclass": lambda: flowclass(trace, packets, 0),
        "scapy": lambda: scapy(packets),
        "tshark": lambda: tshark(trace),
        "dpkt": lambda: dpkt(packets),
        "tcpdump, or (vlan and ...)": lambda: tcpdump(trace, packets, f"{FILTER} or (vlan and {FILTER})"),
        "tcpdump": lambda: tcpdump(trace, packets, FILTER),
    }
    plain = sum(not packets[i].traits for i in right)
    unknowable = sum(not p.ports and asked_for(p.inner, True) for p in packets)
    asked = (
        f"{len(right)} of {len(packets)} packets are UDP to port {PORT}: {plain} plain, {traits(right, packets)} (some"
        f" are two of these). {unknowable} more are fragments that come before their first: nobody can know them yet."
    )
    head = ["| tool | found | missed | wrong | the missed ones | why |", "|---|---:|---:|---:|---|---|"]
    rows = [row(tool, call(), right, packets) for tool, call in calls.items() if not missing(tool)]
    return asked, head + rows, [tool for tool in calls if missing(tool)]


def main() -> None:
    with TemporaryDirectory() as folder:
        asked, rows, absent = table(Path(folder))
    print(asked, *["", *rows], sep="\n")
    for tool in absent:
        print(f"{tool}: absent", file=sys.stderr)


if __name__ == "__main__":
    main()
