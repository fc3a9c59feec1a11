"""docs/tshark.md lists the layers that are read, as the tests have them."""

from __future__ import annotations

import subprocess
import sys

from places import ROOT


def test_the_page_is_up_to_date() -> None:
    script = ROOT / "docs" / "layers.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, f"python docs/layers.py writes it anew {done.stderr}"
