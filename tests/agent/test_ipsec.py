"""Binding updates that IPsec protects: the strongSwan configuration of examples/ipsec, run."""

from __future__ import annotations

import subprocess
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from network_kit import CARE_OF_A, CARE_OF_B, HOME, HOME_AGENT, Laboratory, exchange, needs_namespaces, wait_until
from places import ROOT

from flowclass.wire import BindingUpdate, MobilityPacket, encode_packet

EXAMPLES = ROOT / "examples/ipsec"
CHARON = Path("/usr/lib/ipsec/charon")
PLUGINS = [Path(f"/usr/lib/ipsec/plugins/libstrongswan-{name}.so") for name in ("kernel-libipsec", "openssl")]

pytestmark = [
    needs_namespaces,
    pytest.mark.needs_tool("tshark", "tcpdump", "swanctl"),
    pytest.mark.skipif(
        not all(path.exists() for path in (CHARON, *PLUGINS)), reason="no strongSwan with kernel-libipsec and openssl"
    ),
]


def swan(lab: Laboratory, name: str, *arguments: str) -> None:
    command = lab.inside(name, "swanctl", *arguments, "--uri", f"unix://{lab.folder / name}.vici")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:] + done.stdout[-500:]


def charon(lab: Laboratory, name: str, connections: str) -> None:
    """strongSwan in a namespace, with a /run and a control socket of its own."""
    settings = lab.folder / f"{name}.conf"
    vici = lab.folder / f"{name}.vici"
    settings.write_text(
        f"include {EXAMPLES / 'strongswan.conf'}\ncharon {{\nplugins {{\nvici {{\nsocket = unix://{vici}\n}}\n}}\n"
        "filelog {\nstderr {\ndefault = 1\n}\n}\n}\n"
    )
    lab.folder.chmod(0o755)
    begin = f"mount -t tmpfs tmpfs /run && exec {CHARON}"
    daemon = lab.start(name, "env", f"STRONGSWAN_CONF={settings}", "sh", "-c", begin, ready=None)
    wait_until(lambda: vici.exists() or daemon.process.poll() is not None, "strongSwan")
    swan(lab, name, "--load-all", "--file", str(EXAMPLES / connections))


@pytest.mark.req("R137")
def test_updates_that_strongswan_protects_are_believed_and_no_others(laboratory: Laboratory) -> None:
    lab = laboratory
    lab.ip("ha", "addr add 2001:db8:100::2/128 dev lo")
    lab.ip("mn", f"-6 route add 2001:db8:f::2 via 2001:db8:a::1 dev wlan src {CARE_OF_A}")
    charon(lab, "ha", "home-agent.conf")
    charon(lab, "mn", "mobile-node.conf")
    swan(lab, "mn", "--initiate", "--child", "signalling", "--timeout", "30")
    agent = lab.home_agent(security='protected_interfaces = ["ipsec0"]')
    packet = MobilityPacket(
        IPv6Address(CARE_OF_B), IPv6Address(HOME_AGENT), BindingUpdate(7, 100, 0xC000), IPv6Address(HOME)
    )
    assert exchange(lab, "mn", "lte", [encode_packet(packet)], 1.0) == []
    agent.wait_for("result=unauthenticated")
    assert lab.ctl("nodes")["nodes"] == []
    link = lab.capture("core", "wlan")
    (lab.folder / "mn.toml").write_text(
        f'home_address = "{HOME}"\nhome_agent = "{HOME_AGENT}"\n[[care_of]]\nbid = 1\ninterface = "wlan"\n'
        "[security]\nipsec = true\n"
    )
    node = lab.flowclass("mn", "mn", str(lab.folder / "mn.toml"))
    assert lab.run("cn", "ping", "-c", "1", "-W", "30", HOME)
    assert node.stop() == 0
    assert lab.ctl("nodes")["nodes"] == []
    assert link.rows("esp", "esp.spi")
    assert link.rows("mip6.mhtype == 5 || mip6.mhtype == 6", "ipv6.src") == []
