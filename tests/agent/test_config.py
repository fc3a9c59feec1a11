"""The agents' configuration files: what they mean, and what a mistake is answered with."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from flowclass import ConfigurationError, FlowclassError
from flowclass.agent.config import read_agent_config, read_node_config
from flowclass.agent.control import check_control
from flowclass.agent.store import check_store
from flowclass.errors import StoreError
from flowclass.mobility import DISCARD

HA = """
home_agent = "2001:db8:100::1"
home_prefixes = ["2001:db8:100::/64"]
{more}
[security]
{security}
"""
MN = """
home_address = "2001:db8:100::5"
home_agent = "2001:db8:100::1"
{more}
[[care_of]]
bid = 1
interface = "wlan"
[security]
insecure = true
"""

KEYED = "[[security.mobile_node]]\nhome_address = '{}'\nspi = {}\nkey_file = '{}'"


def agent(folder: Path, more: str = "", security: str = "insecure = true") -> Path:
    path = folder / "ha.toml"
    path.write_text(HA.format(more=more, security=security))
    return path


def node(folder: Path, more: str = "") -> Path:
    path = folder / "mn.toml"
    path.write_text(MN.format(more=more))
    return path


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    found = read_agent_config(agent(tmp_path, 'store = "b.sqlite"\nmetrics = "[::1]:9464"'))
    assert found.store == tmp_path / "b.sqlite"
    assert found.control == tmp_path / "flowclass.sock"
    assert found.metrics == ("::1", 9464)
    assert found.profile == "draft"
    assert found.security.insecure


@pytest.mark.parametrize(
    ("more", "security", "message"),
    [
        ("nonsense = 1", "insecure = true", r"ha.toml:4: nonsense: unknown key"),
        ("hoplimit = 1", "insecure = true", r"ha.toml:4: hoplimit: unknown key: did you mean hop_limit\?"),
        ("", "insecur = true", r"security.insecur: unknown key: did you mean insecure\?"),
        ("", "[[security.mobile_node]]\nhome_adress = '::1'", r"did you mean home_address\?"),
        ("mtu = 1000", "insecure = true", r"ha.toml:4: mtu: 1000 is out of range: expected 1280 to 65535"),
        ("mtu = 65536", "insecure = true", r"ha.toml:4: mtu: 65536 is out of range"),
        ("log_interval = inf", "insecure = true", r"ha.toml:4: log_interval: inf is out of range"),
        ('control = "\\u0000"', "insecure = true", r"ha.toml:4: control: the path of a file expected"),
        ("", "insecure = true\ntimestamp_window = nan", r"ha.toml:7: security.timestamp_window: nan is out of range"),
        ("tun = 'a b'", "insecure = true", r"ha.toml:4: tun: 'a b' is no name of a device"),
        ("profile = 'x'", "insecure = true", r"ha.toml:4: profile: 'x': one of draft, rfc6089 expected"),
        ("log = 'xml'", "insecure = true", r"ha.toml:4: log: 'xml': one of json, text expected"),
        ("store = ''", "insecure = true", r"ha.toml:4: store: the path of a file expected"),
        ("[[node]]\nhome_address = '2001:db8:9::5'", "insecure = true", r"2001:db8:9::5 is in none of home_prefixes"),
        (
            "",
            "[[security.mobile_node]]\nhome_address = '2001:db8:9::5'\nspi = 256\nkey_file = 'k'",
            r"security.mobile_node\[0\].home_address: 2001:db8:9::5 is in none of home_prefixes",
        ),
        ("hop_limit = 0", "insecure = true", r"ha.toml:4: hop_limit: 0 is out of range"),
        ("metrics = '192.0.2.1:80'", "insecure = true", r"ha.toml:4: metrics: .*loopback"),
        ("on_interface = true", "insecure = true", r"ha.toml:4: on_interface"),
        ("", "", r"ha.toml:5: security: exactly one of"),
        ("", "insecure = true\nprotected_interfaces = ['eth0']", r"security: exactly one of"),
        (
            "",
            "[[security.mobile_node]]\nhome_address = '2001:db8:100::5'\nspi = 256\nkey_file = 'no'",
            r"key_file: .*no: No",
        ),
        (
            "",
            "[[security.mobile_node]]\nhome_address = '2001:db8:100::5'\nspi = 5\nkey_file = 'k'",
            r"spi: 5 is out of range",
        ),
        ("", "[[security.mobile_node]]\nhome_address = '1.2.3.4'\nspi = 256\nkey_file = 'k'", r"home_address: .*IPv6"),
        ("", "insecure = 'yes'", r"ha.toml:6: security.insecure: Expected `bool`"),
        ("x = [", "", r"ha.toml:\d+: no valid TOML"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(tmp_path: Path, more: str, security: str, message: str) -> None:
    (tmp_path / "k").write_text("00" * 16)
    with pytest.raises(ConfigurationError, match=message):
        read_agent_config(agent(tmp_path, more, security))


@pytest.mark.parametrize(
    "text",
    [
        "nodes = -1",
        "nodes = 4294967296",
        "bids_per_node = 0",
        "flows_per_node = 100000",
        "lifetime = 65536",
        "updates_per_second = inf",
        "updates_per_second = nan",
        "burst = 0",
    ],
)
def test_limits_have_a_least_and_a_greatest_value(tmp_path: Path, text: str) -> None:
    name, _, value = text.split()
    expected = rf"ha.toml:8: limits.{name}: {value} is out of range: expected \d+ to \d+$"
    with pytest.raises(ConfigurationError, match=expected):
        read_agent_config(agent(tmp_path, "", f"insecure = true\n[limits]\n{text}"))


@pytest.mark.parametrize("address", ["::1", "::", "fe80::1", "ff02::1", "::ffff:192.0.2.1", "192.0.2.1"])
def test_an_agent_has_an_address_that_others_can_send_to(tmp_path: Path, address: str) -> None:
    path = agent(tmp_path)
    path.write_text(path.read_text().replace("2001:db8:100::1", address))
    with pytest.raises(ConfigurationError, match="a global unicast IPv6 address expected"):
        read_agent_config(path)


def test_a_missing_file_and_a_missing_key_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: No such file"):
        read_agent_config(tmp_path / "nowhere.toml")
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(ConfigurationError, match="home_agent is missing"):
        read_agent_config(tmp_path / "empty.toml")


def test_keys_are_hexadecimal_or_themselves_and_readable_ones_are_warned_of(tmp_path: Path) -> None:
    security = "[[security.mobile_node]]\nhome_address = '2001:db8:100::5'\nspi = 256\nkey_file = 'k'"
    key = tmp_path / "k"
    key.touch(0o600)
    key.write_text("00 01 02 03" * 5 + "\n")
    found = read_agent_config(agent(tmp_path, "", security))
    assert found.security.associations[0].key == bytes((0, 1, 2, 3)) * 5
    assert not found.warnings
    key.write_text("a good pass phrase\n")
    key.chmod(0o644)
    found = read_agent_config(agent(tmp_path, "", security))
    assert found.security.associations[0].key == b"a good pass phrase"
    assert "chmod 600" in found.warnings[0]
    command = [sys.executable, "-m", "flowclass", "ha", "--check", str(tmp_path / "ha.toml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, f"warning: {found.warnings[0]}\n")


def test_flows_are_those_of_a_bindings_file(tmp_path: Path) -> None:
    flows = (
        '[[flow]]\nfid = 1\npri = 2\nbids = [1]\nselector = { source = "2001:db8:c::/64", protocol = "tcp" }\n'
        '[[flow]]\nfid = 2\npri = "0x10"\naction = "discard"\nselector = { version = 4, destination_port = "1-9" }\n'
    )
    found = read_node_config(node(tmp_path, flows))
    first, second = found.flows
    assert first.selector is not None
    assert first.selector.protocol == (6, 6)
    assert str(first.selector.source[1]) == "2001:db8:c:0:ffff:ffff:ffff:ffff"  # type: ignore[index]  # it has one
    assert (second.pri, second.action, second.bids) == (16, DISCARD, ())
    assert second.selector is not None
    assert second.selector.version == 4


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ("fid = 1\npri = 1\nbids = [9]", r"flow\[0\].bids\[0\]: BID 9 is unknown"),
        ("fid = 1\npri = 1", r"flow\[0\]: bids is missing"),
        ("fid = 1\npri = 300\nbids = [1]", r"flow\[0\].pri: 300 is out of range"),
        ("fid = 1\npri = 1\nbids = [1]\nselector = { source = '1-0' }", r"flow\[0\].selector.source"),
        ("fid = 1\npri = 1\nbids = [1]\nselector = { source_port = '9-1' }", r"the range 9-1 is reversed"),
    ],
)
def test_a_mistake_in_a_flow_is_named(tmp_path: Path, flow: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_node_config(node(tmp_path, f"[[flow]]\n{flow}"))


def test_check_says_what_it_would_do_and_a_mistake_is_one_line_and_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flowclass", "ha", "--check"]
    done = subprocess.run([*command, str(agent(tmp_path))], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "INSECURE" in done.stdout
    assert "2001:db8:100::/64" in done.stdout
    done = subprocess.run([*command, str(agent(tmp_path, "nonsense = 1"))], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    done = subprocess.run(
        [sys.executable, "-m", "flowclass", "ctl", "--socket", str(tmp_path / "no"), "nodes"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no agent answers there" in done.stderr


def test_check_names_all_that_would_keep_the_agent_from_running(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("no database")
    more = "store = 'note'\ncontrol = 'nowhere/socket'\nuser = 'no such account'\nhome_link = 'no-link'"
    done = subprocess.run(
        [sys.executable, "-m", "flowclass", "ha", "--check", str(agent(tmp_path, more))], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.count("no-link")) == (2, 1)
    assert done.stderr.splitlines() == [
        f"flowclass: {tmp_path}/note: no SQLite file, but something else is there; it is left as it is",
        f"flowclass: the control socket {tmp_path}/nowhere/socket: there is no folder {tmp_path}/nowhere",
        "flowclass: user: there is no account no such account",
        "flowclass: there is no interface no-link",
    ]


def test_check_knows_where_a_control_socket_or_a_store_can_not_be(tmp_path: Path) -> None:
    (tmp_path / "ha.toml").touch()
    for name, reason in (("c" * 108, "more than 107 octets"), ("ha.toml", "a file that is no socket is there")):
        with pytest.raises(FlowclassError, match=reason):
            check_control(tmp_path / name)
    with socket.socket(socket.AF_UNIX) as in_use:
        in_use.bind(str(tmp_path / "socket"))
        check_control(tmp_path / "socket")  # of an agent that runs
    check_store(str(tmp_path / "new.sqlite"))
    with pytest.raises(StoreError, match="there is no folder"):
        check_store(str(tmp_path / "nowhere" / "new.sqlite"))
    assert not list(tmp_path.glob("*.sqlite*"))
