"""The bindings file: what is taken, and every mistake with its key and line (docs/interfaces.md)."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import random
import time
import tomllib
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowclass.addresses import packed_text
from flowclass.engine.forwarding import ForwardingTable
from flowclass.engine.keys import make_keys
from flowclass.engine.rules import WILD_CARD, describe_rule
from flowclass.errors import BindingsFileError
from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.mobility import load_bindings
from flowclass.mobility.bindings_file import BindingsFile, publish_bindings, read_bindings
from flowclass.mobility.bindings_file.key_lines import json_lines, toml_lines
from flowclass.mobility.cache.node import DISCARD, FORWARD, NCAST, Flow

EXAMPLE = """\
profile = "draft"                         # optional: "draft" (default) or "rfc6089"

[[node]]
home_address = "2001:db8:1::1"
prefixes = ["2001:db8:100::/56"]          # optional: mobile network prefixes

[[node.care_of]]
bid = 1
address = "2001:db8:a::1"
priority = 20                             # optional BID priority

[[node.care_of]]
bid = 2
address = "2001:db8:b::1"
priority = 10                             # the default binding

[[node.flow]]
fid = 1
pri = 1
action = "forward"                        # forward | discard | n-cast
bids = [1]
[node.flow.selector]                      # absent: wild card
source = "2001:db8:c::/64"                # address, prefix, or "first-last"
destination = "2001:db8:1::1"
protocol = "tcp"                          # name, number, or "first-last"
source_port = "22"                        # number or "first-last"
destination_port = "1024-65535"
flow_label = 0
spi = "256-4095"
traffic_class = "0x28"
version = 6
"""


def read(tmp_path: Path, text: str, name: str = "bindings.toml") -> BindingsFile:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return read_bindings(file)


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def integer(text: str) -> int:
    return int(ipaddress.ip_address(text))


def one_flow(tmp_path: Path, flow: str, profile: str = "draft") -> Flow:
    text = f'profile = "{profile}"\n[[node]]\nhome_address = "2001:db8::1"\n'
    text += '[[node.care_of]]\nbid = 1\naddress = "2001:db8:a::1"\n[[node.care_of]]\nbid = 2\naddress = "192.0.2.1"\n'
    found = read(tmp_path, text + "[[node.flow]]\nfid = 1\npri = 1\n" + flow).nodes[0].flows[1]
    return found


def selector(tmp_path: Path, text: str) -> dict[str, object]:
    flow = one_flow(tmp_path, "bids = [1]\n[node.flow.selector]\n" + text)
    return dict(describe_rule(flow.rule))


def test_the_example_of_the_interface(tmp_path: Path) -> None:
    found = read(tmp_path, EXAMPLE)
    (node,) = found.nodes
    assert node.home == packed("2001:db8:1::1")
    assert node.prefixes == ((packed("2001:db8:100::"), 56),)
    assert {bid: (c.address, c.priority) for bid, c in node.care_of.items()} == {
        1: (packed("2001:db8:a::1"), 20),
        2: (packed("2001:db8:b::1"), 10),
    }
    assert node.default is node.care_of[2]
    (flow,) = node.flows.values()
    assert (flow.fid, flow.priority, flow.action, flow.bids) == (1, 1, FORWARD, (1,))
    assert describe_rule(flow.rule) == {
        "version": 6,
        "source": (integer("2001:db8:c::"), integer("2001:db8:c::ffff:ffff:ffff:ffff")),
        "destination": (integer("2001:db8:1::1"),) * 2,
        "flow_label": (0, 0),
        "spi": (256, 4095),
        "source_port": (22, 22),
        "destination_port": (1024, 65535),
        "traffic_class": (0x28, 0x28),
        "protocol": (6, 6),
    }
    assert found.flow_line(0, 1) == 17
    assert found.line("node[0].care_of[1].priority") == 15
    assert found.line("node[0].flow[0].selector.spi") == 29


def test_the_same_structure_in_json(tmp_path: Path) -> None:
    import tomllib

    data = tomllib.loads(EXAMPLE)
    text = json.dumps(data, indent=1)
    found = read(tmp_path, text, "b.json")
    assert found.nodes == read(tmp_path, EXAMPLE).nodes
    assert read(tmp_path, text, "b.conf").nodes == found.nodes
    line = found.flow_line(0, 1)
    assert line is not None
    assert '"fid"' in text.splitlines()[line]  # the brace that opens the flow stands before its first key


@pytest.mark.req("R62")
def test_no_selector_or_an_empty_one_is_a_wild_card_for_both_versions(tmp_path: Path) -> None:
    assert one_flow(tmp_path, "bids = [1]").rule == WILD_CARD
    assert one_flow(tmp_path, "bids = [1]\n[node.flow.selector]\n").rule == WILD_CARD


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("protocol = 'UdP'", {"version": 6, "protocol": (17, 17)}),
        ("protocol = 'tcp-udp'", {"version": 6, "protocol": (6, 17)}),
        ("protocol = 'icmp-0x3A'", {"version": 6, "protocol": (1, 58)}),
        ("protocol = 255", {"version": 6, "protocol": (255, 255)}),
        ("version = 4", {"version": 4}),
        ("version = '6'", {"version": 6}),
        ("source = '192.0.2.77/24'", {"version": 4, "source": (integer("192.0.2.0"), integer("192.0.2.255"))}),
        ("source = '::ffff:192.0.2.1'", {"version": 6, "source": (integer("::ffff:192.0.2.1"),) * 2}),
        ("source = '::5 - ::9'", {"version": 6, "source": (5, 9)}),
        ("destination = '0.0.0.0/0'", {"version": 4, "destination": (0, 0xFFFFFFFF)}),
        ("destination_port = '0-65535'", {"version": 6, "destination_port": (0, 65535)}),
        ("traffic_class = '0x2b'", {"version": 6, "traffic_class": (0x28, 0x28)}),
        ("flow_label = '0xfffff'", {"version": 6, "flow_label": (0xFFFFF, 0xFFFFF)}),
        ("spi = 4294967295", {"version": 6, "spi": (0xFFFFFFFF, 0xFFFFFFFF)}),
        ("version = 4\nflow_label = 1", {"version": 4, "flow_label": (1, 1)}),  # legal; matches nothing
    ],
)  # fmt: skip
def test_selectors(tmp_path: Path, text: str, expected: dict[str, object]) -> None:
    assert selector(tmp_path, text) == expected


def test_actions_and_their_bids(tmp_path: Path) -> None:
    assert one_flow(tmp_path, "action = 'discard'").action == DISCARD
    assert one_flow(tmp_path, "action = 'n-cast'\nbids = ['2', 1]").bids == (2, 1)
    assert one_flow(tmp_path, "bids = [1, 2]").action == FORWARD
    assert one_flow(tmp_path, "bids = [1, 2]", "rfc6089").action == NCAST
    assert one_flow(tmp_path, "bids = [2]", "rfc6089").action == FORWARD


@pytest.mark.req("K13", "K31")
def test_what_is_optional_and_what_zero_means(tmp_path: Path) -> None:
    text = '[[node]]\nhome_address = "10.0.0.1"\n[[node]]\nhome_address = "::1"\nipv4_home_address = "10.0.0.2"\n'
    first, second = read(tmp_path, text).nodes
    assert (first.home, first.care_of, first.flows, first.prefixes) == (packed("10.0.0.1"), {}, {}, ())
    assert second.also == (packed("10.0.0.2"),)
    text = '[[node]]\nhome_address = "::2"\n[[node.care_of]]\nbid = 9\naddress = "::9"\n'
    text += '[[node.care_of]]\nbid = 3\naddress = "::3"\npriority = 0\n[[node.flow]]\nfid = 0\npri = 0\nbids = [9]\n'
    (node,) = read(tmp_path, text).nodes
    assert node.default is node.care_of[3]
    assert node.flows[0].priority == 0
    assert read(tmp_path, "").nodes == []


NODE = '[[node]]\nhome_address = "2001:db8::1"\n'  # lines 1 and 2
CARE_OF = NODE + '[[node.care_of]]\nbid = 1\naddress = "2001:db8:a::1"\n'  # 3, 4, 5
FLOW = CARE_OF + "[[node.flow]]\nfid = 1\npri = 1\nbids = [1]\n"  # 6 to 9
SELECTOR = FLOW + "[node.flow.selector]\n"  # 10
RFC = 'profile = "rfc6089"\n'

BAD = [
    ("[[colour.care_of]]\nbid = 1\n", "colour", 1, "unknown key"),
    ("colour = 1\n", "colour", 1, "unknown key"),
    ('profile = "rfc3775"\n', "profile", 1, "rfc3775"),
    (NODE + "colour = 1\n", "node[0].colour", 3, "unknown key"),
    ("[[node]]\n", "node[0]", 1, "home_address is missing"),
    ("[[node]]\nhome_address = 1\n", "node[0].home_address", 2, "Expected `str`"),
    ('[[node]]\nhome_address = "2001:db8::g"\n', "node[0].home_address", 2, "no IP address"),
    ('[[node]]\nhome_address = "fe80::1%eth0"\n', "node[0].home_address", 2, "zone"),
    (NODE + NODE, "node[1].home_address", 4, "given twice"),
    (NODE + 'ipv4_home_address = "::2"\n', "node[0].ipv4_home_address", 3, "IPv4"),
    (NODE + 'prefixes = ["::/129"]\n', "node[0].prefixes[0]", 3, "out of range"),
    (NODE + 'prefixes = ["::/-1"]\n', "node[0].prefixes[0]", 3, "prefix length"),
    (NODE + 'prefixes = ["2001:db8::/32",\n "2001:db8::1/32"]\n', "node[0].prefixes[1]", 3, "given twice"),
    (NODE + "[[node.care_of]]\nbid = 0\naddress = '::'\n", "node[0].care_of[0].bid", 4, "expected 1 to 65535"),
    (NODE + "[[node.care_of]]\nbid = 65536\naddress = '::'\n", "node[0].care_of[0].bid", 4, "out of range"),
    (NODE + "[[node.care_of]]\naddress = '::'\n", "node[0].care_of[0]", 3, "bid is missing"),
    (NODE + "[[node.care_of]]\nbid = 1\n", "node[0].care_of[0]", 3, "address is missing"),
    (CARE_OF + "priority = 128\n", "node[0].care_of[0].priority", 6, "expected 0 to 127"),
    (CARE_OF + "[[node.care_of]]\nbid = 1\naddress = '::'\n", "node[0].care_of[1].bid", 7, "given twice"),
    (CARE_OF + "[[node.flow]]\npri = 1\nbids = [1]\n", "node[0].flow[0]", 6, "fid is missing"),
    (CARE_OF + "[[node.flow]]\nfid = 1\nbids = [1]\n", "node[0].flow[0]", 6, "pri is missing"),
    (CARE_OF + "[[node.flow]]\nfid = 1\npri = 1\n", "node[0].flow[0]", 6, "bids is missing"),
    (CARE_OF + "[[node.flow]]\nfid = 1\npri = 1\nbids = []\n", "node[0].flow[0].bids", 9, "bids is missing"),
    (CARE_OF + "[[node.flow]]\nfid = 1\npri = 256\nbids = [1]\n", "node[0].flow[0].pri", 8, "expected 0 to 255"),
    (CARE_OF + "[[node.flow]]\nfid = -1\npri = 1\nbids = [1]\n", "node[0].flow[0].fid", 7, "out of range"),
    (CARE_OF + "[[node.flow]]\nfid = true\npri = 1\nbids = [1]\n", "node[0].flow[0].fid", 7, "got `bool`"),
    (CARE_OF + "[[node.flow]]\nfid = 1.0\npri = 1\nbids = [1]\n", "node[0].flow[0].fid", 7, "got `float`"),
    (CARE_OF + "[[node.flow]]\nfid = 1\npri = 1\nbids = [1,\n 2]\n", "node[0].flow[0].bids[1]", 9, "BID 2 is unknown"),
    (CARE_OF + "[[node.flow]]\nfid = 1\npri = 1\nbids = [1, 1]\n", "node[0].flow[0].bids[1]", 9, "given twice"),
    (FLOW + "action = 'drop'\n", "node[0].flow[0].action", 10, "no action"),
    (FLOW + "[[node.flow]]\nfid = 1\npri = 2\nbids = [1]\n", "node[0].flow[1].fid", 11, "given twice"),
    (SELECTOR + "source_port = '24-22'\n", "node[0].flow[0].selector.source_port", 11, "reversed"),
    (SELECTOR + "source_port = 65536\n", "node[0].flow[0].selector.source_port", 11, "out of range"),
    (SELECTOR + "source_port = 'ssh'\n", "node[0].flow[0].selector.source_port", 11, "no number"),
    (SELECTOR + "source_port = '1_000'\n", "node[0].flow[0].selector.source_port", 11, "no number"),
    (SELECTOR + "source_port = '1-2-3'\n", "node[0].flow[0].selector.source_port", 11, "no number"),
    (SELECTOR + "protocol = 'smtp'\n", "node[0].flow[0].selector.protocol", 11, "protocol name"),
    (SELECTOR + "flow_label = 0x100000\n", "node[0].flow[0].selector.flow_label", 11, "out of range"),
    (SELECTOR + "traffic_class = 256\n", "node[0].flow[0].selector.traffic_class", 11, "out of range"),
    (SELECTOR + "spi = 4294967296\n", "node[0].flow[0].selector.spi", 11, "out of range"),
    (SELECTOR + "version = 5\n", "node[0].flow[0].selector.version", 11, "expected 4 or 6"),
    (SELECTOR + "version = 4\nsource = '::1'\n", "node[0].flow[0].selector.source", 12, "version 4"),
    (SELECTOR + "source = '::1'\ndestination = '1.2.3.4'\n", "node[0].flow[0].selector.destination", 12, "version 6"),
    (SELECTOR + "source = '::2-::1'\n", "node[0].flow[0].selector.source", 11, "reversed"),
    (SELECTOR + "source = '::2-1.2.3.4'\n", "node[0].flow[0].selector.source", 11, "one IP version to the other"),
    (SELECTOR + "port = 1\n", "node[0].flow[0].selector.port", 11, "unknown key"),
    (RFC + FLOW + "action = 'forward'\n", "node[0].flow[0].action", 11, "no actions"),
    (RFC + CARE_OF + "[[node.flow]]\nfid = 0\npri = 1\nbids = [1]\n", "node[0].flow[0].fid", 8, "expected 1 to"),
    (RFC + CARE_OF + "[[node.flow]]\nfid = 1\npri = 0\nbids = [1]\n", "node[0].flow[0].pri", 9, "expected 1 to"),
    (RFC + FLOW + "[[node.flow]]\nfid = 2\npri = 1\nbids = [1]\n", "node[0].flow[1].pri", 13, "must be unique"),
    ("[[nodes]]\n", "nodes", 1, "did you mean node?"),
    (NODE + "[[node.flows]]\nfid = 1\n", "node[0].flows", 3, "did you mean flow?"),
    (CARE_OF + "priorty = 1\n", "node[0].care_of[0].priorty", 6, "did you mean priority?"),
    (FLOW + "[[node.flow]]\nfid = 2\npri = 2\nbid = [1]\n", "node[0].flow[1].bid", 13, "did you mean bids?"),
    (SELECTOR + "sorce_port = 1\n", "node[0].flow[0].selector.sorce_port", 11, "did you mean source_port?"),
    ("node = [1]\n", "node[0]", 1, "Expected `object`"),
    ("node = {home_address = '::1', colour = 2}\n", "node", 1, "Expected `array`"),
    ("node = [{home_address = '::1', colour = 2}]\n", "node[0].colour", 1, "unknown key"),
    ("[[node]\n", "", 1, "no valid TOML"),
    ("a = 1\na = 2\n", "", 2, "no valid TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "path", "line", "message"), BAD, ids=[f"{b[1]}:{b[3]}" for b in BAD])
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, path: str, line: int, message: str) -> None:
    with pytest.raises(BindingsFileError) as caught:
        read(tmp_path, text)
    error = caught.value
    assert (error.path, error.line) == (path, line)
    assert message in error.reason
    assert str(error).startswith(f"{tmp_path}/bindings.toml:{line}: ")
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("name", "content", "message", "line"),
    [
        ("b.json", b'{"node": [\n{"home_address": "::1",\n "flow": [{"fid": 1}]}]}', "pri is missing", 3),
        ("b.json", b'{"node": [\n{"home_address": "::1",\n "colour": 3}]}', "unknown key", 3),
        ("b.json", b'{"node": [\n', "no valid JSON", 2),
        ("b.json", b'{"node": [],\n"node": []}', "node: the key is given twice", 2),
        (
            "b.json",
            b'{"node": [{"home_address": "::1", "flow": [{"fid": 1,\n "pri": 1,\n "\\u0066id": 2}]}]}',
            "node[0].flow[0].fid: the key is given twice",
            1,
        ),
        ("b.json", b'{"node": null}', "Expected `array`", 1),
        ("b.json", b"[" * 100_000, "nested too deeply", None),
        ("b.json", b'{"node": [' + b"[" * 100_000, "nested too deeply", None),
        ("b.json", b'{"node": [' + b"[" * 600 + b"]" * 600 + b"]}", "nested too deeply", None),
        (
            "b.json",
            b'{"node": [{"home_address": "::1", "flow": ' + b"[" * 2000 + b"]" * 2000 + b"}]}",
            "nested too deeply",
            None,
        ),
        ("b.json", b'{"node": [{"home_address": "\xed\xa0\x80"}]}', "not UTF-8 (octet 28)", None),
        (  # the first fault is told, though behind it there is no text to count lines in
            "b.json",
            b'{"node": [{"home_address": "zz"}, {"home_address": "\xff"}]}',
            "node[0].home_address: 'zz' is no IP address",
            None,
        ),
        ("b.toml", b"a = " + b"[" * 100_000, "nested too deeply", None),
        ("b.toml", b"\xff\xfe", "not UTF-8", None),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes, message: str, line: int | None) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BindingsFileError) as caught:
        read_bindings(tmp_path / name)
    assert message in str(caught.value)
    assert caught.value.line == line


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BindingsFileError, match="No such file"):
        read_bindings(tmp_path / "none.toml")
    with pytest.raises(BindingsFileError):
        read_bindings(tmp_path)


def test_lines_in_hard_places() -> None:
    text = '# [[node]]\na = """\n[[x]]\nb = 1\n"""  # c = 2\n"d.e".f = [ # ]\n  1,\n]\n  [g]\n  h = \'[\'\ni = 1\n'
    assert toml_lines(text) == {"a": 2, "d.e": 6, "d.e.f": 6, "g": 9, "g.h": 10, "g.i": 11}
    assert json_lines('{\n"a": [1,\n{"b":\n"}"}],\n"c": "x"}') == {"a": 2, "a[0]": 2, "a[1]": 3, "a[1].b": 3, "c": 5}


@given(st.text(alphabet="[]{}=\"'#\n.a1,:-/ \\", max_size=60))
def test_any_text_is_a_file_or_one_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    for name in ("any.toml", "any.json"):
        file = file.with_name(name)
        file.write_text(text, encoding="utf-8")
        with contextlib.suppress(BindingsFileError):
            read_bindings(file)
        toml_lines(text)


# ---- large files, and text that is none


def flows_file(count: int, profile: str = "draft") -> str:
    lines = [f'profile = "{profile}"', "[[node]]", 'home_address = "2001:db8:1::1"']
    lines += ["[[node.care_of]]", "bid = 1", 'address = "2001:db8:a::1"']
    for i in range(count):
        pri = i % 256 if profile == "draft" else i + 1
        lines += ["[[node.flow]]", f"fid = {i + 1}", f"pri = {pri}", "bids = [1]", "[node.flow.selector]"]
        lines += [f'source = "2001:db8:{i:x}::/{48 + i % 3 * 8}"', 'protocol = "tcp"', f'source_port = "{1 + i}"']
    return "\n".join(lines)


@pytest.mark.parametrize("profile", ["draft", "rfc6089"])
def test_loading_takes_time_and_memory_as_the_file_is_long(tmp_path: Path, profile: str) -> None:
    paths = {count: tmp_path / f"{count}.toml" for count in (1000, 3000)}
    for count, path in paths.items():
        path.write_text(flows_file(count, profile))

    def cost(count: int) -> float:
        began = time.process_time()
        assert len(read_bindings(paths[count]).nodes[0].flows) == count
        return time.process_time() - began

    # a collection of garbage or a busy machine can make any one of them slow, but not all
    assert any(cost(3000) < 3 * 3 * max(cost(1000), 0.05) for _ in range(6))
    tracemalloc.start()
    read_bindings(paths[3000])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * paths[3000].stat().st_size


@pytest.mark.parametrize(("head", "end"), [('profile = "', '"'), ('profile = """', '"""'), ("profile = '''", "'''")])
@pytest.mark.parametrize("filling", ["x", "[", "\\n"])
def test_one_long_string_takes_no_more_memory_than_others(tmp_path: Path, head: str, end: str, filling: str) -> None:
    path = tmp_path / "long.toml"
    path.write_text(head + filling * 100_000 + end + "\n")
    tracemalloc.start()
    try:
        with pytest.raises(BindingsFileError) as caught:
            read_bindings(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * path.stat().st_size
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '{"\\ud800": 1}',
        '{"node": [{"home_address": "2001:db8:1::1", "prefixes": ["\\udfff"]}]}',
        '{"node": [{"home_address": "::1", "flow": [{"fid": 1, "pri": 1, "selector": {"sour\\ud800t": 1}}]}]}',
        '{"node": [{"home_address": "\\ud800"}]}',
        '{"profile": "\\ud800"}',
    ],
)
def test_half_a_surrogate_pair_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(BindingsFileError, match="surrogate") as caught:
        read_bindings(path)
    str(caught.value).encode()  # it can be printed


def test_messages_show_no_more_than_a_line_of_a_value(tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    long = "y\n" * 100_000
    for node in (
        {"home_address": long},
        {"home_address": "2001:db8:1::1", "prefixes": [f"::/{long}"]},
        {"home_address": "2001:db8:1::1", long: 1},
        {"home_address": "2001:db8:1::1", "care_of": [{"bid": long, "address": "::1"}]},
        {"home_address": "2001:db8:1::1", "care_of": [{"bid": "9" * 30 + "\n", "address": "::1"}]},
        {"home_address": "2001:db8:1::1", "flow": [{"fid": 1, "pri": 1, "action": long, "bids": []}]},
        {"home_address": "2001:db8:1::1", "flow": [{"fid": 1, "pri": 1, "action": "discard", "selector": {
            "source": f"::1-{long}"}}]},
        {"home_address": "2001:db8:1::1", "flow": [{"fid": 1, "pri": 1, "action": "discard", "selector": {
            "protocol": f"tcp-{long}"}}]},
    ):  # fmt: skip
        path.write_text(json.dumps({"node": [node]}))
        with pytest.raises(BindingsFileError) as caught:
            read_bindings(path)
        assert len(str(caught.value)) < 600
        assert "\n" not in str(caught.value)


def test_a_mistake_in_a_flow_far_down_has_its_place(tmp_path: Path) -> None:
    path = tmp_path / "far.toml"
    path.write_text(flows_file(1200).replace("fid = 1101", "fdi = 1101"))
    with pytest.raises(BindingsFileError) as caught:
        read_bindings(path)
    assert caught.value.path == "node[0].flow[1100].fdi"
    assert path.read_text().splitlines()[(caught.value.line or 0) - 1] == "fdi = 1101"


def test_strings_of_several_lines_hide_what_looks_like_keys() -> None:
    text = "a = \"\"\"\nb = 1\n\"\"\"\"\nc = '''x\n[d]'''''\ne = 5\n"
    assert toml_lines(text) == {"a": 1, "c": 4, "e": 6}


# JSON node by node, in one step where nothing is wrong


@pytest.mark.parametrize("seed", range(4))
def test_json_means_what_toml_means(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    toml = bindings_toml(random_nodes(rng, rng.randint(1, 12), rng.randint(0, 30)))
    text = json.dumps(tomllib.loads(toml), indent=rng.choice((None, 1)))
    if seed == 3:  # escapes are read in the other way
        text = text.replace('"fid"', '"f\\u0069d"')
    from_json, from_toml = read(tmp_path, text, "b.json"), read(tmp_path, toml)
    assert from_json.nodes == from_toml.nodes
    assert from_json.profile == from_toml.profile
    assert from_json.line("node[0].home_address") is not None


@pytest.mark.parametrize("start", ["", "\ufeff", "\n" * 70_000])
def test_json_without_its_ending(tmp_path: Path, start: str) -> None:
    found = read(tmp_path, start + '{"node": [{"home_address": "::1"}]}', "bindings")
    assert found.is_json
    assert [node.home for node in found.nodes] == [ipaddress.ip_address("::1").packed]


GOOD = '{"home_address": "2001:db8::%d", "care_of": [{"bid": 1, "address": "2001:db8:a::1"}]}'


@pytest.mark.parametrize(
    ("bad", "message", "path"),
    [
        ('{"home_address": "::2", "home_address": "::3"}', "the key is given twice", "node[1].home_address"),
        ('{"home_address": "::2", "care_of": [], "care_of": []}', "the key is given twice", "node[1].care_of"),
        (
            '{"home_address": "::2", "flow": [{"fid": 1, "pri": 1, "bids": [1], "selector": {"spi": 1, "spi": 1}}]}',
            "the key is given twice",
            "node[1].flow[0].selector.spi",
        ),
        ('{"home_address": "::2", "colour": 1}', "unknown key", "node[1].colour"),
        ('{"home_address": 7}', "Expected `str`, got `int`", "node[1].home_address"),
        ('{"home_address": "\\ud800"}', "is no IP address", "node[1].home_address"),
        ('{"home_address": "2001:db8::1"}', "given twice (first as node[0].home_address)", "node[1].home_address"),
        ('{"home_address": "::2", "ipv4_home_address": "::9"}', "not an IPv4 address", "node[1].ipv4_home_address"),
        ('{"home_address": "::2", "flow": [{"fid": 1e3, "pri": 1}]}', "Expected `int | str`", "node[1].flow[0].fid"),
        ('{"home_address": "::2", "flow": [{"fid": 70000, "pri": 1}]}', "out of range", "node[1].flow[0].fid"),
        ("[]", "Expected `object`, got `array`", "node[1]"),
    ],
)
def test_a_mistake_in_one_of_many_nodes_of_a_json_file(tmp_path: Path, bad: str, message: str, path: str) -> None:
    with pytest.raises(BindingsFileError) as caught:
        read(tmp_path, f'{{"node": [\n{GOOD % 1},\n{bad},\n{GOOD % 3}]}}', "b.json")
    assert message in str(caught.value)
    assert (caught.value.path, caught.value.line) == (path, 3)


@pytest.mark.parametrize("text", ['{"node": [%s, {"x" 1}]}', '{"node": [%s], }', '{"node": [%s]', '{"node": [%s]} x'])
def test_json_that_ends_wrongly_behind_good_nodes(tmp_path: Path, text: str) -> None:
    with pytest.raises(BindingsFileError, match="no valid JSON"):
        read(tmp_path, text % (GOOD % 1), "b.json")


def test_a_table_is_filled_as_by_a_home_agent(tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    path.write_text(bindings_toml(random_nodes(random.Random(5), 20, 12)))
    table, agent = ForwardingTable(), load_bindings(path)
    publish_bindings(path, table)
    keys = make_keys(
        version=6,
        source=[f"2001:db8:c::{i % 64:x}" for i in range(600)],
        destination=[f"2001:db8:1::{1 + i % 20:x}" for i in range(600)],
        protocol=6, source_port=[i % 9000 for i in range(600)], destination_port=[80 + i % 7 for i in range(600)],
    )  # fmt: skip
    assert isinstance(agent.cache.table, ForwardingTable)
    ours, theirs = table.classify(keys), agent.cache.table.classify(keys)
    for name in ("action", "reason", "flags", "n_targets", "fid", "bid", "care_of"):
        assert (ours[name] == theirs[name]).all()
    assert (ours["action"] != 0).all()


@given(st.one_of(st.text("0123456789abcdefABCDEF:./% -xn", max_size=45), st.ip_addresses().map(str)))
def test_libc_reads_no_address_that_ipaddress_reads_otherwise(text: str) -> None:
    packed = packed_text(text)
    if packed is not None:
        assert packed == ipaddress.ip_address(text).packed
