"""Every capture of ../shared/data against tshark and capinfos: frames, times, addresses, protocols, ports.

One run of mergecap, capinfos and tshark for all files together (a few seconds), not one for each.
The differences that remain are listed here by file and frame; docs/tshark.md gives the reasons.
"""

from __future__ import annotations

import ipaddress
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

from flowclass.engine.packets import INNERMOST, parse
from flowclass.traces.reader import NO_TIME, Trace

pytestmark = pytest.mark.needs_tool("tshark", "capinfos", "mergecap")

PAGE = " ".join((ROOT / "docs" / "tshark.md").read_text(encoding="utf-8").split())
FIELDS = [
    "frame.time_epoch",
    "frame.cap_len",
    "frame.len",
    "frame.protocols",
    "ip.src",
    "ip.dst",
    "ip.proto",
    "ip.dsfield",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.nxt",
    "ipv6.flow",
    "ipv6.tclass",
    "ipv6.hopopts.nxt",
    "ipv6.routing.nxt",
    "ipv6.dstopts.nxt",
    "ipv6.fraghdr.nxt",
    "ah.next_header",
    "tcp.srcport",
    "tcp.dstport",
    "udp.srcport",
    "udp.dstport",
    "sctp.srcport",
    "sctp.dstport",
    "dccp.srcport",
    "dccp.dstport",
    "esp.spi",
]
EXTENSIONS = {
    "ipv6.hopopts": "ipv6.hopopts.nxt",
    "ipv6.routing": "ipv6.routing.nxt",
    "ipv6.dstopts": "ipv6.dstopts.nxt",
    "ipv6.fraghdr": "ipv6.fraghdr.nxt",
    "ah": "ah.next_header",
}

# tshark shows Custom Blocks as frames; capinfos doesn't count them, and neither do we.
CUSTOM_BLOCKS = {
    "output_be__basic__test017",
    "output_le__basic__test017",
    "output_le__basic__test018",
    "output_le__difficult__test202",
}
# Link types that tshark 4.0 doesn't open at all.
UNKNOWN_TO_TSHARK = {
    "tests__dsa",
    "tests__filter__dsa",
    "tests__edsa",
    "tests__edsa-high-vid",
    "tests__frf16_magic_ie-oobr",
    "tests__vtp_asan-2",
    "tests__vtp_asan-3",
}
# Damaged so that tshark refuses the file; we read on.
DAMAGED = {"tests__pcap-invalid-version-1", "tests__pcapng-invalid-vers-2", "tests__shb-option-too-long"}
# Its last 592 octets are zeros, which others show as 37 packets of 1970 without octets; they are damage (capture.c).
DAMAGED |= {"tests__bgp_vpn_rt-oobr"}
# Times: tshark takes an ATM pseudo header off, and loses times whose second part overflows.
OTHER_TIMES = {
    "tests__atm-heapoverflow",
    "tests__atm-oam-heapoverflow",
    "tests__atm-oam-loopback-print-overrun",
    "tests__rx_serviceid_oobr",
    "tests__timestamp_invalid_nano",
}

# The outermost header: how many frames of a file differ from tshark, and why (docs/tshark.md).
DIFFERENT = {
    # link layers that we don't read
    "tests__filter__arcnet-rfc1051-arp-icmp-http": 13,
    "tests__filter__arcnet-rfc1201-arp-icmp-http": 11,
    "tests__802_15_4-data": 1,
    "tests__LINKTYPE_USER2_PKTAP": 1,
    # a version nibble that contradicts the link layer: tshark shows an empty "ip" first, we go by the nibble
    "tests__LINKTYPE_IPV4_invalid": 1,
    "tests__bad-ipv4-version-pgm-heapoverflow": 1,
    "tests__kday1": 1,
    "tests__cfgs__default__pcap__fuzz-2006-06-26-2594": 7,
    "tests__cfgs__default__pcap__fuzz-2006-09-29-28586": 2,
    # malformed for us: the IP header or its chain isn't all there, or lies about its length
    "testing__btest__Traces__trunc__ip6-trunc": 1,
    "testing__btest__Traces__trunc__ipv4-internally-truncated-header": 1,
    "testing__btest__Traces__trunc__ipv4-truncated-broken-header": 1,
    "tests__ipv4_invalid_hdr_length": 1,
    "tests__ipv4_invalid_total_length_2": 1,
    # the extension chain is cut by the snap length: no protocol for us
    "tests__heapoverflow-ip_demux_print": 1,
    "tests__hoobr_rt6_print": 1,
    "tests__ipv6-srh-tlv-pad1-padn-5-trunc": 1,
    "tests__ipv6hdr-heapoverflow": 1,
    # SLIP, which tshark doesn't look into
    "tests__cve2015-0261-ipv6": 2,
    # tshark stops earlier: at an option it can't read, a short SCTP packet, a jumbogram without its option
    "zeek__ipv6-mobility-dst-opts": 2,
    "testing__btest__Traces__cisco-fabric-path": 24,
    "tests__sctp-pkt-too-small__input": 1,
    "tests__ipv6_frag6_negative_len": 1,
    "tests__ipv6_missing_jumbo_payload_option": 1,
    "tests__bigtcp-ipv6-geneve-ipv4": 1,
    "tests__bigtcp-ipv6-geneve-ipv6": 1,
    "tests__bigtcp-ipv6-vxlan-ipv4": 1,
    "tests__bigtcp-ipv6-vxlan-ipv6": 1,
}
# Inner headers that tshark doesn't look for: VXLAN on its port of old, a jumbogram.
DEEPER = {
    "tests__vxlan_port_8472": 8,
    "tests__bigtcp-ipv4-vxlan-ipv6": 1,
    "tests__bigtcp-ipv6-geneve-ipv4": 1,
    "tests__bigtcp-ipv6-geneve-ipv6": 1,
    "tests__bigtcp-ipv6-vxlan-ipv4": 1,
    "tests__bigtcp-ipv6-vxlan-ipv6": 1,
}


def stem(path: Path) -> str:
    return path.name.rsplit(".", 1)[0]


def captures(shared: Path) -> list[Path]:
    folders = [shared / "data" / "mobility", *sorted((shared / "data" / "traffic").iterdir())]
    return [p for folder in folders if folder.is_dir() for p in sorted(folder.iterdir()) if p.suffix != ".tsv"]


@pytest.fixture(scope="module")
def dissected(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Path, list[dict[str, str]]]:
    """What tshark says of each frame of each file that it can open."""
    skipped = CUSTOM_BLOCKS | UNKNOWN_TO_TSHARK | DAMAGED
    files = [p for p in captures(shared) if stem(p) not in skipped]
    merged = tmp_path_factory.mktemp("tshark") / "all.pcapng"
    subprocess.run(["mergecap", "-a", "-w", merged, *files], check=True, capture_output=True)
    # every frame by itself: no reassembly
    command = ["tshark", "-n", "-r", str(merged), "-T", "fields", "-E", "occurrence=a"]
    for option in ("ip.defragment", "ipv6.defragment", "tcp.desegment_tcp_streams", "sctp.reassembly"):
        command += ["-o", f"{option}:FALSE"]
    for field in FIELDS:
        command += ["-e", field]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = iter([dict(zip(FIELDS, line.split("\t"), strict=True)) for line in text.splitlines()])
    counts = counted(files)
    found = {p: [next(rows) for _ in range(counts[p])] for p in files}
    assert next(rows, None) is None
    return found


def counted(files: list[Path]) -> dict[Path, int]:
    text = subprocess.run(["capinfos", "-T", "-r", "-M", "-c", *files], capture_output=True, text=True).stdout
    counts = {Path(name): int(n) for name, n in (line.split("\t") for line in text.splitlines())}
    assert set(counts) == set(files)
    return counts


def test_frame_counts(shared: Path) -> None:
    files = [p for p in captures(shared) if stem(p) not in UNKNOWN_TO_TSHARK | DAMAGED]
    counts = counted(files)
    for path in files:
        with Trace(path) as trace:
            assert (sum(map(len, trace.records())), trace.damages) == (counts[path], []), path.name
    for path in captures(shared):
        if stem(path) in DAMAGED:
            with Trace(path) as trace:
                assert sum(map(len, trace.records())) == 1
            assert trace.damages


def nanoseconds(text: str) -> int:
    whole, part = text.lstrip("-").split(".")
    value = int(whole) * 10**9 + int(part.ljust(9, "0"))
    return -value if text.startswith("-") else value


def test_times_and_lengths(dissected: dict[Path, list[dict[str, str]]]) -> None:
    for path, rows in dissected.items():
        if stem(path) in OTHER_TIMES:
            continue
        with Trace(path) as trace:
            found = [
                (int(b.times[i]), int(b.lengths[i]), int(b.originals[i]))
                for b in trace.records()
                for i in range(len(b))
            ]
        # mergecap writes the time 0 where there was none
        found = [(0 if time == NO_TIME else time, captured, original) for time, captured, original in found]
        expected = [(nanoseconds(r["frame.time_epoch"]), int(r["frame.cap_len"]), int(r["frame.len"])) for r in rows]
        assert found == expected, path.name


@dataclass(frozen=True)
class Header:
    version: int
    source: str | None
    destination: str | None
    protocol: int | None
    source_port: int | None = None
    destination_port: int | None = None
    spi: int | None = None
    traffic_class: int | None = None
    flow_label: int | None = None


class Dissection:
    """The fields of one frame, taken in the order of its protocols."""

    def __init__(self, row: dict[str, str]) -> None:
        self.values = {name: iter(text.split(",")) if text else iter(()) for name, text in row.items()}
        self.protocols = row["frame.protocols"].split(":")

    def take(self, field: str, base: int = 10) -> int | None:
        text = next(self.values[field], "")
        return int(text, base) if text else None

    def address(self, field: str) -> str | None:
        return next(self.values[field], None)

    def headers(self) -> Iterator[Header]:
        at = 0
        while at < len(self.protocols):
            if self.protocols[at] in ("ip", "ipv6"):
                at, header = self.header(at)
                yield header
            else:
                at += 1

    def header(self, at: int) -> tuple[int, Header]:
        six = self.protocols[at] == "ipv6"
        name = "ipv6" if six else "ip"
        source, destination = self.address(f"{name}.src"), self.address(f"{name}.dst")
        protocol = self.take("ipv6.nxt" if six else "ip.proto")
        tclass = self.take("ipv6.tclass", 16) if six else self.take("ip.dsfield", 16)
        flow = self.take("ipv6.flow", 16) if six else None
        at += 1
        while at < len(self.protocols) and self.protocols[at] in EXTENSIONS:
            protocol = self.take(EXTENSIONS[self.protocols[at]])
            at += 1
        upper = self.protocols[at] if at < len(self.protocols) else ""
        ports: list[int | None] = [None, None]
        if upper in ("tcp", "udp", "sctp", "dccp", "udplite"):
            prefix = "udp" if upper == "udplite" else upper
            ports = [self.take(f"{prefix}.srcport"), self.take(f"{prefix}.dstport")]
        spi = self.take("esp.spi", 16) if upper == "esp" else None
        return at, Header(6 if six else 4, source, destination, protocol, ports[0], ports[1], spi, tclass, flow)


def ours(key: Any) -> Header:
    version, present = int(key["version"]), int(key["present"])

    def address(words: Any) -> str:
        if version == 4:
            return str(ipaddress.IPv4Address(int(words[1])))
        return str(ipaddress.IPv6Address(int(words[0]) << 64 | int(words[1])))

    def field(name: str, bit: int) -> int | None:
        return int(key[name]) if present & bit else None

    return Header(
        version,
        address(key["source"]),
        address(key["destination"]),
        field("protocol", 128),
        field("source_port", 16),
        field("destination_port", 32),
        field("spi", 8),
        field("traffic_class", 64),
        field("flow_label", 4),
    )


def compared(path: Path, rows: list[dict[str, str]], inner: int) -> Iterator[tuple[int, Header | None, list[Header]]]:
    """(depth, our header or None, tshark's headers) of each frame."""
    row = iter(rows)
    with Trace(path) as trace:
        for batch in trace.records():
            keys, infos = parse((batch.buffer, batch.offsets, batch.lengths), linktypes=batch.linktypes, inner=inner)
            for key, info in zip(keys, infos, strict=True):
                headers = list(Dissection(next(row)).headers())
                yield int(info["depth"]), None if info["status"] else ours(key), headers


def test_outermost_headers(shared: Path, dissected: dict[Path, list[dict[str, str]]]) -> None:
    different: Counter[str] = Counter()
    equal = 0
    for path, rows in dissected.items():
        for _, own, headers in compared(path, rows, 0):
            same = own == (headers[0] if headers else None)
            different[stem(path)] += not same
            equal += same and own is not None
    assert +different == DIFFERENT
    frames = sum(map(len, dissected.values()))
    assert f"reads {len(captures(shared))} ordinary" in PAGE
    assert f"the {len(dissected)} of them that it opens and counts alike, {frames:,} frames" in PAGE
    assert f"equal in {equal:,} IP frames and differ in {different.total()} frames" in PAGE


def test_inner_headers(dissected: dict[Path, list[dict[str, str]]]) -> None:
    """The innermost header is the one that tshark has at the same depth (tshark also shows headers quoted in ICMP)."""
    different: Counter[str] = Counter()
    inside = 0
    for path, rows in dissected.items():
        for depth, own, headers in compared(path, rows, INNERMOST):
            if own is not None and depth > 1:
                different[stem(path)] += len(headers) < depth or own != headers[depth - 1]
                inside += 1
    assert +different == DEEPER
    assert f"of {inside} inner headers of tunnels {inside - different.total()} are equal" in PAGE
