"""The live packet loop, in network namespaces: beside a bare echo loop, and under TCP. As root; figures are printed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from network_kit import needs_namespaces

from flowclass.bench.harness import tun_echo

pytestmark = [needs_namespaces, pytest.mark.skipif(bool(tun_echo.available()), reason=str(tun_echo.available()))]


def measured(*arguments: str) -> dict[str, Any]:
    script = Path(__file__).with_name("forwarding.py")
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    print(json.dumps(result))
    return result


def test_beside_a_loop_that_does_nothing() -> None:
    """Packets a second of processor time; the run itself fails unless every packet is sent. 0.7 is asked for."""
    assert measured("drain", "--rounds", "9")["ratio"] > 0


@pytest.mark.skipif(shutil.which("iperf3") is None, reason="iperf3 is not installed")
def test_tcp_through_the_tunnel() -> None:
    """Of a loop in Python, of the agent, and of the agent with offloads, which is the fastest of them."""
    result = measured("tcp", "--seconds", "2")
    assert all(result[kind]["mbits_per_cpu_s_of_the_agent"] > 0 for kind in ("python", "no offloads", "offloads"))
