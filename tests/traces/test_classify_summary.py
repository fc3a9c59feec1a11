"""The summary of a run without rows, counted in C by key and by decision, against that of the rows."""

from __future__ import annotations

import io
import random
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flowclass.cli import main
from flowclass.cli._console import print_fitting
from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.generate.captures import Frame, write_pcap, write_pcapng
from flowclass.generate.mobility import START_NS, mobility_trace
from flowclass.generate.packets import MOBILITY, Fields, ethernet, ip_packet
from flowclass.generate.traffic import traffic
from flowclass.mobility import load_bindings
from flowclass.traces.outcomes import Rows
from flowclass.traces.reader import NO_TIME
from flowclass.traces.run import Run
from flowclass.traces.summary import Summary, Totals, first_of


def capture(frames: Sequence[Frame], write: Callable[..., object] = write_pcap, **how: int) -> io.BytesIO:
    stream = io.BytesIO()
    write(stream, frames, **how)
    stream.seek(0)
    return stream


@pytest.mark.parametrize("inner", [0, 255])
@pytest.mark.parametrize("count", [1, 60])
def test_a_summary_alone_is_that_of_the_rows(tmp_path: Path, count: int, inner: int) -> None:
    """With signalling, tunnels, damage and more than one file."""
    rng = random.Random(count)
    nodes = random_nodes(rng, count, 8)
    file = tmp_path / "bindings.toml"
    file.write_text(bindings_toml(nodes))
    frames = [Frame(p.time_ns, p.frame) for p in mobility_trace(rng, nodes, 3000)]
    frames += traffic(rng, nodes, 3000, connections=300)
    signalling = ip_packet(Fields(nodes[0].care_of[0][1].packed, nodes[0].home_address.packed, MOBILITY))
    frames += [Frame(START_NS, ethernet(signalling)), Frame(START_NS, ethernet(signalling)[:40])]
    damaged = capture(frames)
    damaged.seek(50_000)
    damaged.write(b"\xff" * 5000)

    def summary(**how: Any) -> Summary:
        sources = [capture(frames), capture(frames, write_pcapng), capture(frames, snap_length=70)]
        sources.append(io.BytesIO(damaged.getvalue()))
        return Run(load_bindings(file), inner=inner, **how).classify(sources)

    alone, of_rows = summary(), summary(observers=[lambda rows: None])
    assert alone.to_dict() == of_rows.to_dict()
    assert alone.damage
    assert alone.cut > 1000
    assert all(way.packets for reason, way in alone.by_reason().items())


def test_totals_have_the_first_and_last_time_of_everything(tmp_path: Path) -> None:
    """Times that jump by years, go back, and are missing; original lengths up to the largest."""
    rng = random.Random(8)
    nodes = random_nodes(rng, 5, 4)
    file = tmp_path / "bindings.toml"
    file.write_text(bindings_toml(nodes))
    packets = [frame.data for frame in traffic(rng, nodes, 2000, connections=50)]
    packets += [packets[0] + bytes(70_000)]  # on the wire; captured are fewer
    starts = [0, 1, 10**9, START_NS, START_NS + 2**41, 2**60]
    many = 80_000  # more than STRAYS of tally.c
    frames = [
        Frame(starts[i * len(starts) // many] + rng.randrange(10**9), packets[i % len(packets)]) for i in range(many)
    ]
    untimed = b"".join(
        struct.pack("<III", 3, 16 + len(data) + -len(data) % 4, len(data)) + data + bytes(-len(data) % 4)
        + struct.pack("<I", 16 + len(data) + -len(data) % 4) for data in packets[:100]
    )  # fmt: skip
    streams = [
        capture(frames, snap_length=120), io.BytesIO(capture(frames, write_pcapng, snap_length=200).read() + untimed)
    ]  # fmt: skip
    found = Counter[str](), Counter[str](), dict[str, int](), dict[str, int]()

    def watch(rows: Rows) -> None:
        columns = (rows.ids.tolist(), rows.sizes.tolist(), rows.times.tolist())
        for number, size, time in zip(*columns, strict=True):
            for address in rows.outcomes.values[number].care_of:
                found[0][address] += 1
                found[1][address] += size
                if time != NO_TIME:
                    found[2][address] = min(time, found[2].get(address, time))
                    found[3][address] = max(time, found[3].get(address, time))

    for stream in streams:
        for counts in found:
            counts.clear()
        of_rows = Run(load_bindings(file), observers=[watch]).classify([stream])
        stream.seek(0)
        alone = Run(load_bindings(file)).classify([stream])
        assert alone.to_dict() == of_rows.to_dict()
        care_of = {a: (t.packets, t.octets, t.first, t.last) for a, t in alone.care_of.items()}
        assert care_of == {a: tuple(counts[a] for counts in found) for a in found[0]}
        assert len(care_of) > 5


@pytest.mark.parametrize("last", [2**63 - 1, 2**63 - 2, 2**63 - 2**38, 2**63 - 2**40])
def test_packets_without_a_time_after_the_latest_times_that_there_are(tmp_path: Path, last: int) -> None:
    nodes = random_nodes(random.Random(2), 1, 0)
    file = tmp_path / "bindings.toml"
    file.write_text(bindings_toml(nodes))
    packet = next(traffic(random.Random(2), nodes, 1)).data
    size = 16 + len(packet) + -len(packet) % 4
    untimed = struct.pack("<III", 3, size, len(packet)) + packet + bytes(-len(packet) % 4) + struct.pack("<I", size)
    times = [last - 5, last, last]
    octets = capture([Frame(time, packet) for time in times], write_pcapng).read() + 5 * untimed
    for observers in ([], [lambda rows: None]):
        summary = Run(load_bindings(file), observers=observers).classify([io.BytesIO(octets)])
        (node,) = summary.to_dict()["nodes"]
        assert [node[name] for name in ("packets", "first_ns", "last_ns")] == [8, times[0], last]


def test_a_summary_of_more_keys_than_are_remembered(tmp_path: Path) -> None:
    rng = random.Random(3)
    nodes = random_nodes(rng, 4, 8)
    file = tmp_path / "bindings.toml"
    file.write_text(bindings_toml(nodes))
    frames = list(traffic(rng, nodes, 300, connections=100))
    # 26 to 30: in the IPv6 source behind Ethernet without tags; in others something else that varies
    varied = [Frame(0, f.data[:26] + n.to_bytes(4, "big") + f.data[30:]) for n in range(500) for f in frames]
    summaries = [
        Run(load_bindings(file), observers=observers).classify([capture(varied)]).to_dict()
        for observers in ([], [lambda rows: None])
    ]
    assert summaries[0] == summaries[1]
    assert summaries[0]["packets"] == 150_000


def test_of_many_the_busiest_are_shown() -> None:
    few = {"b": Totals(1), "a": Totals(2), "c": Totals(3)}
    assert [name for name, _ in first_of(few, 3)] == ["a", "b", "c"]
    assert [name for name, _ in first_of(few, 2)] == ["c", "a"]


def test_a_trace_to_many_nodes_is_shown_by_the_busiest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    nodes = "".join(
        f'[[node]]\nhome_address = "2001:db8::{n}"\ncare_of = [{{ bid = 1, address = "2001:db8:a::{n}" }}]\n'
        for n in range(1, 61)
    )
    Path("b.toml").write_text(nodes)
    homes = [bytes.fromhex("20010db8") + bytes(10) + int(str(n), 16).to_bytes(2, "big") for n in range(1, 61)]
    packets = [ip_packet(Fields(homes[0], home, 17, 1, 1)) for n, home in enumerate(homes, 1) for _ in range(n)]
    with open("t.pcap", "wb") as stream:
        write_pcap(stream, [Frame(0, packet) for packet in packets], linktype=101)
    assert main(["classify", "t.pcap", "--bindings", "b.toml"]) == 0
    said = capsys.readouterr().out
    assert "the busiest nodes, and 20 more lines" in said
    assert "the busiest ones, and 20 more care-of addresses" in said
    shown = [line.split()[0] for line in said.splitlines() if line.strip().startswith("2001:db8")]
    assert shown == [f"2001:db8{net}::{n}" for net in ("", ":a") for n in range(60, 20, -1)]


@pytest.mark.parametrize(("columns", "headings"), [(132, 7), (80, 5), (50, 3)])
def test_a_table_on_a_narrow_terminal_leaves_columns_out_and_cuts_nothing(columns: int, headings: int) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=columns)
    names = ("home", "action", "packets", "octets", "first", "last", "care-of")
    row = ["2001:db8:1::1", "forward", "123 456", "123 456", *["2026-11-27 08:30:00"] * 2, "2001:db8:a::1 (8)"]
    heads = [(name, "right" if name in ("packets", "octets") else "left") for name in names]
    print_fitting(console, heads, [row], ("first", "last"), ("action", "octets"))
    lines = stream.getvalue().splitlines()
    assert len(lines[1].split()) == headings
    assert max(map(len, lines)) <= columns
    assert "123 456" in stream.getvalue()
    assert "\u2026" not in stream.getvalue()
    assert "2001:db8:1::1" in stream.getvalue()
    assert "2001:db8:a::1" in stream.getvalue()
