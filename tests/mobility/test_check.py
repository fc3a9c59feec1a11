"""flowclass check: findings with their lines, and the geometry behind "can never match" against enumeration."""

from __future__ import annotations

import itertools
import json
import random
import time
from pathlib import Path

import numpy as np
import pytest
from oracle import matches

import flowclass as fc
from flowclass.cli import main
from flowclass.mobility.bindings_file import read_bindings
from flowclass.mobility.bindings_file.check import Finding, check_bindings

HEAD = """[[node]]
home_address = "2001:db8:1::1"
[[node.care_of]]
bid = 1
address = "2001:db8:a::1"
"""


def write(path: Path, flows: list[str]) -> Path:
    path.write_text(HEAD + "".join(f"[[node.flow]]\n{flow}\n" for flow in flows))
    return path


def check(path: Path) -> list[Finding]:
    return check_bindings(read_bindings(path, lenient=True))


def flow(fid: int, pri: int, selector: str, extra: str = "bids = [1]") -> str:
    return f"fid = {fid}\npri = {pri}\n{extra}\nselector = {{ {selector} }}"


CASES = {
    "covered by one": (
        [flow(1, 1, 'source_port = "1-100"'), flow(2, 2, "source_port = 50")],
        [("unreachable", 11, "flow 1 (line 6)")],
    ),
    "covered by two": (
        [flow(1, 1, 'spi = "0-99"'), flow(2, 1, 'spi = "100-0xffffffff"'), flow(3, 2, 'spi = "50-500"')],
        [("unreachable", 16, "flow 1 (line 6) and flow 2 (line 11)")],
    ),
    "a wild card": (["fid = 1\npri = 1\nbids = [1]", flow(2, 2, "source_port = 5")], [("unreachable", 10, "flow 1")]),
    "matching order, not file order": (
        [flow(1, 9, "source_port = 5"), "fid = 2\npri = 2\nbids = [1]"],
        [("unreachable", 6, "flow 2 (line 11)")],
    ),
    "all ports leave packets without any": (
        [flow(1, 1, 'source_port = "0-65535"'), flow(2, 2, 'protocol = "tcp"')],
        [],
    ),
    "the six upper bits": (
        [flow(1, 1, "traffic_class = 0x28"), flow(2, 2, "traffic_class = 0x2b")],
        [("unreachable", 11, "flow 1")],
    ),
    "equal PRI": (
        [flow(1, 1, "source_port = 5"), flow(2, 1, 'protocol = "tcp"', 'action = "discard"')],
        [("overlap", 11, "PRI 1")],
    ),
    "equal PRI, apart": ([flow(1, 1, "source_port = 5"), flow(2, 1, "source_port = 6", 'action = "discard"')], []),
    "equal PRI, the same done": ([flow(1, 1, "source_port = 5"), flow(2, 1, "destination_port = 6")], []),
    "ports of ICMPv6": ([flow(1, 1, 'protocol = "icmpv6", source_port = 1')], [("unreachable", 6, "its protocol")]),
    "an SPI of TCP": ([flow(1, 1, 'protocol = "tcp", spi = 1')], [("unreachable", 6, "ESP")]),
    "ports and SPI": ([flow(1, 1, "source_port = 1, spi = 1")], [("unreachable", 6, "both")]),
    "a label of IPv4": ([flow(1, 1, "flow_label = 1, version = 4")], [("unreachable", 6, "IPv4 has no flow label")]),
    "signalling": ([flow(1, 1, "protocol = 135")], [("unreachable", 6, "signalling")]),
    "signalling among others": ([flow(1, 1, 'protocol = "135-136"')], []),
    "IPv4 without an address": (
        [flow(1, 1, 'version = 4, protocol = "tcp"')],
        [("unreachable", 6, "the node has no IPv4 address or prefix")],
    ),
    "an IPv4 source": ([flow(1, 1, 'source = "10.0.0.1"')], [("unreachable", 6, "no IPv4 address")]),
    "somebody else": ([flow(1, 1, 'destination = "2001:db8:2::1"')], [("unreachable", 6, "destination")]),
    "itself": ([flow(1, 1, 'destination = "2001:db8:1::1"')], []),
    "an unknown BID": ([flow(1, 1, "source_port = 1", "bids = [1, 7]")], [("unknown-bid", 9, "BID 7")]),
    "nothing but unknown BIDs": ([flow(1, 1, "source_port = 1", "bids = [7]")], [("unknown-bid", 9, "BID 7")]),
}


@pytest.mark.parametrize("case", CASES)
def test_findings(tmp_path: Path, case: str) -> None:
    flows, right = CASES[case]
    found = check(write(tmp_path / "b.toml", flows))
    assert [(f.kind, f.line) for f in found] == [(kind, line) for kind, line, _ in right]
    for finding, (_, _, words) in zip(found, right, strict=True):
        assert words in finding.message


@pytest.mark.parametrize(
    ("key", "address", "words"),
    [
        ("home_address", "::", "no unicast routable address as home_address"),
        ("home_address", "ff02::1", "no unicast routable address as home_address"),
        ("care_of", "::", "BID 1 of 2001:db8:1::1 has no unicast routable address as care-of address: ::"),
        ("care_of", "ff02::1", "no unicast routable address as care-of address: ff02::1"),
        ("care_of", "224.0.0.1", "no unicast routable address as care-of address"),
        ("care_of", "2001:db8:1::1", "the node's own home address"),
    ],
)
def test_addresses(tmp_path: Path, key: str, address: str, words: str) -> None:
    path = tmp_path / "b.toml"
    at, given = (2, "2001:db8:1::1") if key == "home_address" else (5, "2001:db8:a::1")
    path.write_text(HEAD.replace(f'"{given}"', f'"{address}"'))
    (finding,) = check(path)
    assert (finding.kind, finding.line) == ("address", at)
    assert words in finding.message


def test_an_ipv4_flow_of_a_node_with_such_an_address(tmp_path: Path) -> None:
    path = write(tmp_path / "b.toml", [flow(1, 1, "version = 4")])
    path.write_text(path.read_text().replace("[[node.care_of]]", 'ipv4_home_address = "10.0.0.1"\n[[node.care_of]]', 1))
    assert check(path) == []


def test_no_default(tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    path.write_text('[[node]]\nhome_address = "2001:db8:1::1"\n\n[[node]]\nhome_address = "2001:db8:1::2"\n')
    assert [(f.kind, f.line) for f in check(path)] == [("no-default", 1), ("no-default", 4)]


@pytest.mark.parametrize("seed", range(12))
def test_unreachable_is_exact(tmp_path: Path, seed: int) -> None:
    """Small flows on three fields, against every corner of every combination of their ranges."""
    rng = random.Random(seed)
    flows = []
    for fid in range(1, 9):
        parts = []
        for name, low in (("source_port", 10), ("destination_port", 10), ("traffic_class", 0)):
            if rng.random() < 0.6:
                first = low + 4 * rng.randrange(3)
                parts.append(f'{name} = "{first}-{first + 4 * rng.randrange(3) + 3}"')
        flows.append(flow(fid, rng.randrange(3), ", ".join([*parts, "version = 6"])))
    path = write(tmp_path / "b.toml", flows)
    node = read_bindings(path).nodes[0]
    rules = [(f.fid, _row(f.rule)) for f in node.ordered()]
    ports = [None, *range(8, 28)]
    reached = set()
    for source, destination, octet in itertools.product(ports, ports, range(0, 28, 4)):
        given = {"source_port": source, "destination_port": destination}
        key = fc.make_keys(
            version=6, source="::1", destination="2001:db8:1::1", protocol=6, flow_label=0, traffic_class=octet,
            **{name: value for name, value in given.items() if value is not None},
        )[0]  # fmt: skip
        reached.add(next((fid for fid, rule in rules if matches(rule, key)), None))
    unreachable = {int(f.message.split()[1]) for f in check(path) if f.kind == "unreachable"}
    assert unreachable == {fid for fid, _ in rules} - reached


def _row(octets: bytes) -> np.void:
    return np.frombuffer(octets, dtype=fc.RULE_DTYPE)[0]


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "good.toml", [flow(1, 1, "source_port = 1")])
    bad = write(tmp_path / "bad.toml", [flow(1, 1, "source_port = 1"), flow(2, 1, "source_port = 1")])
    assert main(["check", str(good)]) == 0
    assert "1 node and 1 flow" in capsys.readouterr().out
    assert main(["check", str(bad)]) == 1
    assert capsys.readouterr().out.startswith(f"{bad}:11: flow 2 of 2001:db8:1::1 can never match")
    assert main(["check", str(bad), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["line"], finding["kind"]) == (11, "unreachable")
    bad.write_text("[[node]]\nhome = 1\n")
    assert main(["check", str(bad)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_twelve_thousand_flows_take_seconds(tmp_path: Path) -> None:
    lines = ["[[node]]", 'home_address = "2001:db8:1::1"', "[[node.care_of]]", "bid = 1", 'address = "2001:db8:a::1"']
    for i in range(12_000):
        lines += ["[[node.flow]]", f"fid = {i + 1}", f"pri = {i % 256}", "bids = [1]"]
        lines += ["[node.flow.selector]", f"source_port = {1 + i}", f'source = "2001:db8:{i // 4:x}::/48"']
    path = tmp_path / "many.toml"
    path.write_text("\n".join(lines))
    began = time.process_time()
    assert check_bindings(read_bindings(path)) == []
    assert time.process_time() - began < 10


@pytest.mark.parametrize("kind", ["all the same", "all around each other", "all across each other"])
def test_flows_that_all_meet_take_no_longer(tmp_path: Path, kind: str) -> None:
    count = 1000
    lines = ["[[node]]", 'home_address = "2001:db8:1::1"', "[[node.care_of]]", "bid = 1", 'address = "2001:db8:a::1"']
    lines += ["[[node.care_of]]", "bid = 2", 'address = "2001:db8:b::1"']
    for i in range(count):
        lines += ["[[node.flow]]", f"fid = {i + 1}", "pri = 1", f"bids = [{1 + i % 2}]", "[node.flow.selector]"]
        match kind:
            case "all the same":
                lines.append('source_port = "1-2"')
            case "all around each other":
                lines.append(f'source_port = "{count - i}-{count + 1 + i}"')
            case _:
                lines.append(f'source_port = "{1 + i}-60000"\ndestination_port = "1-{60000 - i}"\nspi = {i}')
                lines[-1] = lines[-1].replace(f"spi = {i}", f'flow_label = "{i}-{i + count}"')
    path = tmp_path / "meet.toml"
    path.write_text("\n".join(lines))
    began = time.process_time()
    found = check_bindings(read_bindings(path))
    assert time.process_time() - began < 10
    assert len(found) <= 17 * count
    if kind == "all the same":
        assert [f.kind for f in found] == ["unreachable"] * (count - 1)
