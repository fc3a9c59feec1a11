"""docs/agent.md, typed command by command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from network_kit import needs_namespaces
from places import ROOT

COMMANDS = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs/agent.md").read_text(), re.MULTILINE | re.DOTALL)


@needs_namespaces
@pytest.mark.needs_tool("ping", "nft")
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    if any(Path("/run/netns").glob("fc-*")):
        pytest.skip("somebody's laboratory is there")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if shutil.which("flowclass", path=path) is None:
        pytest.skip("flowclass is not installed as a command")
    script = "set -e\n" + "\necho ==========\n".join(COMMANDS)
    try:
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True,
            timeout=300,
        )  # fmt: skip
    finally:
        subprocess.run([str(ROOT / "examples/laboratory.sh"), "down"], capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    made, checked, registered, first, second, again, direct, _ = done.stdout.split("==========")
    assert "made: fc-cn" in made
    assert "INSECURE" in checked
    assert re.search(r"2\* +2001:db8:b::2", registered)
    assert "protocol 58" in registered
    assert re.search(r"flow 1 +3", first)
    assert re.search(r"default +[1-9]", second)
    assert " 0% packet loss" in again
    assert "restored nodes=1" in again
    assert re.search(r"direct +[1-9]", direct)
    assert "2001:db8:b::2" in direct
    assert not list(Path("/run/netns").glob("fc-*"))
