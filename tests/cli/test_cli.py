"""The command line from outside: what docs/interfaces.md promises of rows, summaries, errors and exit statuses."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

from flowclass.generate.captures import Frame, write_pcap, write_pcapng
from flowclass.generate.packets import (
    ESP,
    ICMP6,
    MOBILITY,
    TCP,
    UDP,
    Fields,
    destination_options,
    ethernet,
    fragment6,
    ip_packet,
    tunnel,
)
from flowclass.generate.scenario import BINDINGS_TOML, section5

COMMAND = [sys.executable, "-m", "flowclass"]
PEER = IPv6Address("2001:db8:c::1").packed
HOME, USELESS = IPv6Address("2001:db8:10::1").packed, IPv6Address("2001:db8:20::1").packed
OTHER, NET = IPv6Address("2001:db8:f::1").packed, IPv6Address("2001:db8:100::9").packed
START = 1_600_000_000_123_456_789


def run(*arguments: object, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*COMMAND, *map(str, arguments)], input=stdin, capture_output=True, timeout=120)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of an error with exit status 2."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def write_trace(path: Path, packets: Sequence[bytes], *, linktype: int = 101, seconds: Sequence[int] = ()) -> Path:
    """``seconds``: when the packets came; else a microsecond after each other."""
    times = [START + 10**9 * s for s in seconds] or [START + 1000 * i for i in range(len(packets))]
    with path.open("wb") as stream:
        write = write_pcapng if path.suffix == ".pcapng" else write_pcap
        write(stream, [Frame(time, p) for time, p in zip(times, packets, strict=True)], linktype=linktype)
    return path


BINDINGS = """
[[node]]
home_address = "2001:db8:10::1"
ipv4_home_address = "192.0.2.1"
prefixes = ["2001:db8:100::/56"]
[[node.care_of]]
bid = 1
address = "2001:db8:a::1"
priority = 20
[[node.care_of]]
bid = 2
address = "2001:db8:b::1"
priority = 10
[[node.flow]]
fid = 1
pri = 1
bids = [1]
selector = { source_port = 22, protocol = "tcp" }
[[node.flow]]
fid = 2
pri = 2
action = "discard"
selector = { spi = "256-511" }
[[node.flow]]
fid = 3
pri = 3
action = "n-cast"
bids = [2, 1]
selector = { source_port = "5000-5010" }
[[node.flow]]
fid = 4
pri = 4
bids = [1]
selector = { source = "198.51.100.0/24" }

[[node]]
home_address = "2001:db8:20::1"
"""


@pytest.fixture
def bindings(tmp_path: Path) -> Path:
    path = tmp_path / "bindings.toml"
    path.write_text(BINDINGS)
    return path


def rows_of(tmp_path: Path, bindings: Path, packets: Sequence[bytes], *extra: object, linktype: int = 101) -> Any:
    trace = write_trace(tmp_path / "t.pcap", packets, linktype=linktype)
    out = tmp_path / "rows.jsonl"
    done = run("classify", trace, "--bindings", bindings, "-o", out, *extra)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(1, len(packets) + 1))
    assert all(row["file"] == str(trace) for row in rows)
    return rows


def short(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("action", "reason", "home_address", "fid", "bid", "care_of"))


H = "2001:db8:10::1"
DEFAULT = ("forward", "default", H, None, 2, ["2001:db8:b::1"])
FLOW_1 = ("forward", "flow", H, 1, 1, ["2001:db8:a::1"])


def test_every_reason_and_action(tmp_path: Path, bindings: Path) -> None:
    ssh = ip_packet(Fields(PEER, HOME, TCP, 22, 1000))
    malformed = ssh[:30]
    nothing_usable = ip_packet(Fields(PEER, USELESS, TCP, 22, 1))
    four = ip_packet(Fields(bytes([198, 51, 100, 7]), bytes([192, 0, 2, 1]), UDP, 53, 1))
    cases = [
        (b"\x00" * 40, ("none", "not-ip", None, None, None, None)),
        (malformed, ("none", "malformed", None, None, None, None)),
        (ip_packet(Fields(PEER, OTHER, TCP, 22, 1)), ("none", "unbound", None, None, None, None)),
        (nothing_usable, ("none", "unbound", "2001:db8:20::1", None, None, None)),
        (ip_packet(Fields(PEER, HOME, MOBILITY)), ("forward", "signalling", *DEFAULT[2:])),
        (ssh, FLOW_1),
        (ip_packet(Fields(PEER, HOME, TCP, 23, 1000)), DEFAULT),
        (ip_packet(Fields(PEER, HOME, ESP, spi=300)), ("discard", "flow", H, 2, None, None)),
        (ip_packet(Fields(PEER, HOME, UDP, 5001, 9)),
         ("n-cast", "flow", H, 3, None, ["2001:db8:b::1", "2001:db8:a::1"])),
        (ip_packet(Fields(PEER, NET, TCP, 22, 1)), FLOW_1),  # a prefix: home_address is the node's
        (four, ("forward", "flow", H, 4, 1, ["2001:db8:a::1"])),
        (ip_packet(Fields(PEER, HOME, TCP, 22, 1), extensions=[destination_options()]), FLOW_1),
        (tunnel(PEER, HOME, ssh), DEFAULT),  # the outermost header counts
    ]  # fmt: skip
    rows = rows_of(tmp_path, bindings, [packet for packet, _ in cases])
    for row, (_, right) in zip(rows, cases, strict=True):
        assert short(row) == right, row["frame"]
    assert [row["time_ns"] for row in rows] == [START + i * 1000 for i in range(len(rows))]


@pytest.mark.parametrize("kind", [144, 145, 146, 147])
def test_home_agent_discovery_is_signalling(tmp_path: Path, bindings: Path, kind: int) -> None:
    echo = ip_packet(Fields(PEER, HOME, ICMP6))
    row = rows_of(tmp_path, bindings, [echo[:40] + bytes([kind]) + echo[41:]])[0]
    assert row["reason"] == "signalling"


def test_inner_header(tmp_path: Path, bindings: Path) -> None:
    ssh = ip_packet(Fields(PEER, HOME, TCP, 22, 1000))
    outer = tunnel(PEER, OTHER, tunnel(PEER, OTHER, ssh))
    assert rows_of(tmp_path, bindings, [outer])[0]["reason"] == "unbound"
    assert short(rows_of(tmp_path, bindings, [outer], "--inner")[0]) == FLOW_1
    done = run("classify", "--inner", tmp_path / "t.pcap", "--bindings", bindings, "--json")
    assert json.loads(done.stdout)["reasons"]["flow"] == 1  # what follows --inner is no number: it's the trace
    assert rows_of(tmp_path, bindings, [outer], "--inner", "2")[0]["reason"] == "unbound"
    assert short(rows_of(tmp_path, bindings, [outer], "--inner=3")[0]) == FLOW_1


def test_fragments(tmp_path: Path, bindings: Path) -> None:
    first, *later = fragment6(ip_packet(Fields(PEER, HOME, TCP, 22, 1), payload=100), size=48, identification=7)
    rows = rows_of(tmp_path, bindings, [later[0], first, *later])
    assert [short(row) for row in rows] == [DEFAULT, FLOW_1, FLOW_1, FLOW_1]


@pytest.mark.parametrize("out", ["rows.jsonl", None])
def test_an_identification_that_is_used_again(tmp_path: Path, bindings: Path, out: str | None) -> None:
    first, later = fragment6(ip_packet(Fields(PEER, HOME, TCP, 22, 1), payload=60), size=48, identification=7)
    other, _ = fragment6(ip_packet(Fields(PEER, HOME, TCP, 80, 1), payload=60), size=48, identification=7)
    trace = write_trace(tmp_path / "t.pcap", [first, later, later, later, other], seconds=[0, 60, 61, 7200, 7200])
    to_file = [] if out is None else ["-o", tmp_path / out]
    done = run("classify", trace, "--bindings", bindings, "--json", *to_file)
    assert json.loads(done.stdout)["reasons"]["flow"] == 2
    if out is not None:
        rows = [json.loads(line) for line in (tmp_path / out).read_text().splitlines()]
        assert [short(row) for row in rows] == [FLOW_1, FLOW_1, DEFAULT, DEFAULT, DEFAULT]


def test_fragments_are_remembered_for_one_input_only(tmp_path: Path, bindings: Path) -> None:
    first, later = fragment6(ip_packet(Fields(PEER, HOME, TCP, 22, 1), payload=60), size=48, identification=7)
    traces = [write_trace(tmp_path / name, [packet]) for name, packet in (("1.pcap", first), ("2.pcap", later))]
    out = tmp_path / "rows.jsonl"
    assert run("classify", *traces, "--bindings", bindings, "-o", out).returncode == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [short(row) for row in rows] == [FLOW_1, DEFAULT]
    assert [row["frame"] for row in rows] == [1, 1]


def test_summary(tmp_path: Path, bindings: Path) -> None:
    packets = [ip_packet(Fields(PEER, HOME, TCP, 22, 1))] * 3 + [b"\0" * 20]
    trace = write_trace(tmp_path / "t.pcapng", packets)
    done = run("classify", trace, "--bindings", bindings, "--json")
    found = json.loads(done.stdout)
    assert found["packets"] == 4
    assert found["reasons"] == {"not-ip": 1, "malformed": 0, "unbound": 0, "signalling": 0, "flow": 3, "default": 0}
    assert found["actions"]["forward"] == 3
    text = run("classify", trace, "--bindings", bindings).stdout
    assert "4 packets" in text
    assert "flow 1" in text


def test_snap_length_is_counted(tmp_path: Path, bindings: Path) -> None:
    path = tmp_path / "cut.pcap"
    with path.open("wb") as stream:
        write_pcap(stream, [Frame(1, ip_packet(Fields(PEER, HOME, TCP, 22, 1)))], linktype=101, snap_length=41)
    found = json.loads(run("classify", path, "--bindings", bindings, "--json").stdout)
    assert found["cut"] == 1
    assert found["reasons"]["default"] == 1  # the ports are cut off: absent, not malformed


def test_standard_input_and_compression(tmp_path: Path, bindings: Path) -> None:
    trace = write_trace(tmp_path / "t.pcap", [ip_packet(Fields(PEER, HOME, TCP, 22, 1))])
    for data in (trace.read_bytes(), gzip.compress(trace.read_bytes())):
        out = tmp_path / "rows.csv"
        assert run("classify", "-", "--bindings", bindings, "-o", out, stdin=data).returncode == 0
        row = next(csv.DictReader(out.open()))
        assert (row["file"], row["fid"], row["care_of"]) == ("-", "1", "2001:db8:a::1")


@pytest.mark.req("R76", "R77", "R78", "R79", "R80", "R81", "K4", "K13", "K14")
@pytest.mark.parametrize("profile", ["draft", "rfc6089"])
def test_section_5(tmp_path: Path, profile: str) -> None:
    from flowclass.wire import get_profile

    steps = section5(get_profile(profile))
    trace = tmp_path / "s5.pcapng"
    with trace.open("wb") as stream:
        write_pcapng(stream, [step.frame for step in steps])
    out = tmp_path / "rows.jsonl"
    done = run("classify", trace, "--replay", "--profile", profile, "-o", out, "--json")
    updates = json.loads(done.stdout)["updates"]
    assert (updates["received"], updates["accepted"], updates["flows_accepted"]) == (2, 2, 2)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    for row, step in zip(rows, steps, strict=True):
        assert row["care_of"] == (None if step.care_of is None else [str(step.care_of)]), step.words
    # the bindings file of the demo says the same as the updates did, once they have come
    bindings = tmp_path / "s5.toml"
    bindings.write_text(BINDINGS_TOML[profile])
    assert run("classify", trace, "--bindings", bindings, "-o", out).returncode == 0
    again = [json.loads(line) for line in out.read_text().splitlines()]
    assert again[7:] == rows[7:]


def test_why_updates_were_rejected(tmp_path: Path) -> None:
    """The same update twice: the second one's sequence number is old (RFC 6275: 135)."""
    octets = [step.frame.data[14:] for step in section5()]
    update = next(o for o in octets if o[6] == 60 or o[6] == 135)
    trace = write_trace(tmp_path / "twice.pcap", [update, update])
    updates = json.loads(run("classify", trace, "--replay", "--json").stdout)["updates"]
    assert (updates["accepted"], updates["rejected"], updates["profile"]) == (1, 1, "draft")
    assert updates["statuses"] == {"0": 1, "135": 1}
    assert sum(updates["flow_statuses"].values()) == updates["flows_accepted"] + updates["flows_rejected"]
    text = run("classify", trace, "--replay").stdout
    assert "2 binding updates: 1 accepted, 1 rejected" in text
    assert "rejected binding updates: 1 with 135 (" in text


def test_damage_in_a_compressed_trace(tmp_path: Path, bindings: Path) -> None:
    """Octets flipped at many places: few lines, all places in --json, and no lengths that no packet has."""
    rng, trace = random.Random(5), tmp_path / "d.pcap"
    packets = [ip_packet(Fields(PEER, HOME, TCP, 22, 1)) + rng.randbytes(rng.randrange(60)) for _ in range(20_000)]
    write_trace(trace, packets)
    plain = bytearray(trace.read_bytes())
    at = 24
    for i, packet in enumerate(packets):  # a length on the wire that can't be
        if i % 50 == 7:
            plain[at + 15] = 0x7F
        elif i % 100 == 13:
            plain[at + 8 : at + 12] = b"\xff\xff\xff\x7f"
        at += 16 + len(packet)
    damaged = tmp_path / "d.pcap.gz"
    damaged.write_bytes(gzip.compress(bytes(plain)))
    done = run("classify", damaged, "--bindings", bindings, "--json")
    assert done.returncode == 1
    lines, found = done.stderr.splitlines(), json.loads(done.stdout)
    assert len(found["files"][0]["damage"]) > 100
    assert len(lines) == 11
    assert lines[-1] == f"flowclass: {damaged}: and {len(found['files'][0]['damage']) - 10} more damaged places"
    assert found["octets"] <= sum(map(len, packets))


def test_option_type(tmp_path: Path) -> None:
    """The draft leaves the option's number open (K22): with another one its flows are unknown options."""
    from dataclasses import replace

    from flowclass.wire import DRAFT

    trace = tmp_path / "s5.pcap"
    with trace.open("wb") as stream:
        write_pcap(stream, [step.frame for step in section5(replace(DRAFT, flow_identification=200))])
    for extra, flows in (([], 0), (["--option-type", 200], 2)):
        found = json.loads(run("classify", trace, "--replay", "--json", *extra).stdout)
        assert found["updates"]["flows_accepted"] == flows


def test_bindings_file_to_start_a_replay_from(tmp_path: Path, bindings: Path) -> None:
    frames = [step.frame for step in section5()]
    extra = Frame(frames[0].time_ns - 1, ethernet(ip_packet(Fields(PEER, HOME, TCP, 22, 1))))
    trace = tmp_path / "t.pcap"
    with trace.open("wb") as stream:
        write_pcap(stream, [extra, *frames])
    found = json.loads(run("classify", trace, "--bindings", bindings, "--replay", "--json").stdout)
    assert {node["home_address"] for node in found["nodes"]} == {"2001:db8:10::1", "2001:db8:1::1"}


def test_demo() -> None:
    done = run("demo")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "2 binding updates processed" in done.stdout
    assert done.stdout.count("CoA1 2001:db8:a::1") == 3
    assert run("demo", "--profile", "rfc6089").returncode == 0


def test_demo_saves_what_it_shows(tmp_path: Path) -> None:
    assert run("demo", "--save", tmp_path / "d").returncode == 0
    done = run("classify", tmp_path / "d/section5.pcapng", "--bindings", tmp_path / "d/section5.toml", "--json")
    assert json.loads(done.stdout)["reasons"]["flow"] == 5


def test_decode(tmp_path: Path) -> None:
    assert run("demo", "--save", tmp_path).returncode == 0
    done = run("decode", tmp_path / "section5.pcapng", "--json")
    found = json.loads(done.stdout)
    assert [m["frame"] for m in found["messages"]] == [2, 3, 6, 7]
    names = [m["message"]["name"] for m in found["messages"]]
    assert names == ["BindingUpdate", "BindingAcknowledgement"] * 2
    flows = [o for o in found["messages"][2]["message"]["options"] if o["name"] == "FlowIdentification"]
    assert [(f["fid"], f["pri"], f["request"], f["action_text"]) for f in flows] == [
        (1, 1, "add", "forward"),
        (2, 1, "add", "forward"),
    ]
    assert flows[0]["suboptions"][1]["selector"]["source_port"] == [22, 22]
    text = run("decode", tmp_path / "section5.pcapng").stdout
    assert "frame 6: 2001:db8:a::1 > 2001:db8:1::ffff, home address 2001:db8:1::1" in text
    assert "status 0 (flow binding successful)" in text


def malformed_update() -> bytes:
    """Section 5's second update with an option that reaches past the end, checksum put right."""
    from flowclass.generate.packets import checksum

    packet = bytearray(section5()[5].frame.data[14:])
    at = 40 + 24 + 12 + 4  # IPv6, Home Address option, message, PadN: now the BID option
    assert packet[at + 2] == 35 or packet[at] in (1, 35)
    while packet[at] != 35:
        at += 1
    packet[at + 1] = 250
    start = 64
    packet[start + 4 : start + 6] = b"\0\0"
    home, agent = packet[48:64], packet[24:40]
    length = len(packet) - start
    value = checksum(bytes(home + agent + length.to_bytes(4, "big") + (135).to_bytes(4, "big") + packet[start:]))
    packet[start + 4 : start + 6] = value.to_bytes(2, "big")
    return bytes(packet)


def test_malformed_option(tmp_path: Path) -> None:
    """Named with file and place; what is good around it isn't lost."""
    steps = [step.frame.data[14:] for step in section5()]
    trace = write_trace(tmp_path / "bad.pcap", [steps[1], malformed_update(), steps[5], steps[7]])
    done = run("decode", trace, "--json")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert str(trace) in line
    assert "frame 2, octet " in line
    entries = json.loads(done.stdout)["messages"]
    assert ["error" in entry for entry in entries] == [False, True, False]
    found = json.loads(run("classify", trace, "--replay", "--json").stdout)
    assert (found["updates"]["accepted"], found["updates"]["ignored"]) == (2, 1)
    assert found["reasons"]["flow"] == 1


def test_truncated_capture(tmp_path: Path, bindings: Path) -> None:
    trace = write_trace(tmp_path / "t.pcap", [ip_packet(Fields(PEER, HOME, TCP, 22, 1))] * 3)
    whole = trace.read_bytes()
    trace.write_bytes(whole[:-10])
    out = tmp_path / "rows.csv"
    done = run("classify", trace, "--bindings", bindings, "-o", out, "--json")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    last = 24 + 2 * (len(whole) - 24) // 3
    assert f"{trace}" in line
    assert str(last) in line  # the byte at which the last record begins
    assert len(out.read_text().splitlines()) >= 3  # the header line and two whole packets
    damage = json.loads(done.stdout)["files"][0]["damage"]
    assert [d["offset"] for d in damage] == [last]


def test_explain_names_damage_before_the_frame(tmp_path: Path, bindings: Path) -> None:
    trace = write_trace(tmp_path / "t.pcap", [ip_packet(Fields(PEER, HOME, TCP, 22, 1))] * 3)
    sound = run("explain", trace, "--bindings", bindings, "--frame", 2)
    assert (sound.returncode, sound.stderr) == (0, "")
    whole = trace.read_bytes()
    record = (len(whole) - 24) // 3
    trace.write_bytes(whole[: 24 + record] + b"\xff" * 50 + whole[24 + record :])
    text = run("explain", trace, "--bindings", bindings, "--frame", 2)
    values = run("explain", trace, "--bindings", bindings, "--frame", 2, "--json")
    for done in (text, values):
        assert done.returncode == 1
        assert str(24 + record) in done.stderr
    assert text.stdout == sound.stdout
    assert json.loads(values.stdout)["frame"] == 2


BAD_BINDINGS = {
    "wrong key": ('[[node]]\nhome_adress = "2001:db8::1"\n', "home_adress"),
    "unknown bid": (
        '[[node]]\nhome_address = "2001:db8::1"\n[[node.flow]]\nfid = 1\npri = 1\nbids = [7]\n',
        "BID 7",
    ),
    "reversed range": (
        '[[node]]\nhome_address = "2001:db8::1"\n[[node.care_of]]\nbid = 1\naddress = "2001:db8::2"\n'
        '[[node.flow]]\nfid = 1\npri = 1\nbids = [1]\nselector = { source_port = "9-8" }\n',
        "source_port",
    ),
    "no toml": ("[[node\n", "TOML"),
}


@pytest.mark.parametrize("case", BAD_BINDINGS)
def test_bad_bindings_file(tmp_path: Path, case: str) -> None:
    text, named = BAD_BINDINGS[case]
    bindings, out = tmp_path / "bad.toml", tmp_path / "rows.csv"
    bindings.write_text(text)
    trace = write_trace(tmp_path / "t.pcap", [b""])
    line = error_line(run("classify", trace, "--bindings", bindings, "-o", out))
    assert f"{bindings}:" in line
    assert named in line
    assert not out.exists()


@pytest.mark.parametrize("content", [None, b"", b"not a capture at all", b"\x1f\x8b\x08nonsense"])
@pytest.mark.parametrize("command", ["classify", "decode"])
def test_no_capture(tmp_path: Path, bindings: Path, command: str, content: bytes | None) -> None:
    trace, out = tmp_path / "trace.pcap", tmp_path / "rows.csv"
    if content is not None:
        trace.write_bytes(content)
    if command == "classify":
        line = error_line(run("classify", trace, "--bindings", bindings, "-o", out))
    else:
        line = error_line(run("decode", trace))
    assert str(trace) in line
    assert not out.exists()
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


@pytest.mark.parametrize(
    "arguments",
    [
        ["classify"],
        ["classify", "t.pcap"],
        ["classify", "t.pcap", "--replay", "-o", "rows.txt"],
        ["classify", "t.pcap", "--replay", "-o", "no/such/folder/rows.csv"],
        ["classify", "t.pcap", "--replay", "-o", "t.pcap"],
        ["classify", "t.pcap", "--replay", "--profile", "rfc9999"],
        ["classify", "t.pcap", "--replay", "--profile", "rfc6089", "--option-type", "77"],
        ["classify", "t.pcap", "--replay", "--option-type", "35"],
        ["classify", "t.pcap", "--bindings", "missing.toml"],
        ["classify", "t.pcap", "--replay", "--inner", "x"],
        ["decode"],
        ["decode", "t.pcap", "extra"],
        ["nonsense"],
        ["--nonsense"],
    ],
)
def test_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    write_trace(tmp_path / "t.pcap", [b""])
    line = error_line(run(*arguments))
    assert line.startswith("flowclass: error: ")
    assert "Traceback" not in line
    assert os.listdir(tmp_path) == ["t.pcap"]


def test_replaced_output(tmp_path: Path, bindings: Path) -> None:
    trace = write_trace(tmp_path / "t.pcap", [b""])
    out = tmp_path / "rows.csv"
    out.write_text("before")
    assert run("classify", trace, "--bindings", bindings, "-o", out).returncode == 0
    assert out.read_text().startswith("file,frame")
    assert run("classify", trace, "--bindings", "missing", "-o", out).returncode == 2
    assert out.read_text().startswith("file,frame")


def test_broken_pipe(tmp_path: Path) -> None:
    """A reader that goes away, as `head` does: no complaint."""
    frames = [step.frame.data for step in section5()][1:3] * 3000
    trace = write_trace(tmp_path / "t.pcap", frames, linktype=1)
    with subprocess.Popen([*COMMAND, "decode", str(trace)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(timeout=60) == 0


def test_tables_into_a_broken_pipe(tmp_path: Path, bindings: Path) -> None:
    trace = write_trace(tmp_path / "t.pcap", [step.frame.data for step in section5()], linktype=1)
    table = ["classify", str(trace), "--bindings", str(bindings)]
    for arguments in (table, ["demo"], ["--help"], ["classify", "--help"], []):
        with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            child.stdout.close()
            assert child.stderr.read() == b""
            assert child.wait(timeout=60) == 0


def test_help_and_version() -> None:
    began = time.perf_counter()
    done = run("--help")
    print(f"flowclass --help: {(time.perf_counter() - began) * 1000:.0f} ms")
    assert done.returncode == 0
    for name in ("demo", "classify", "decode"):
        assert f"  {name} " in done.stdout
        assert run(name, "--help").returncode == 0
    assert "flowclass, version" in run("--version").stdout
    bare = run()
    assert bare.returncode == 2
    assert "Usage:" in bare.stdout + bare.stderr


def test_help_imports_no_heavy_modules() -> None:
    code = "import sys; from flowclass.cli import main; main(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1]
    for module in ("numpy", "rich", "msgspec", "flowclass.engine", "flowclass.wire"):
        assert f"'{module}'" not in loaded


def test_classify_imports_what_it_needs_and_no_more(tmp_path: Path) -> None:
    with (tmp_path / "empty.pcap").open("wb") as stream:
        write_pcap(stream, [])
    (tmp_path / "b.toml").write_text(BINDINGS)
    code = (
        "import sys; from flowclass.cli import main;"
        " assert main(['classify', 'empty.pcap', '--bindings', 'b.toml']) == 0; print(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("0 packets, 0 octets, empty.pcap\n")
    loaded = done.stdout.splitlines()[-1]
    for module in (
        "numpy",
        "rich",
        "asyncio",
        "tempfile",
        "lzma",
        "flowclass.wire.messages",
        "flowclass.mobility.agent",
    ):
        assert f"'{module}'" not in loaded
