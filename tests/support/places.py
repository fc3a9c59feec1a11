"""Where things are, and what this run demands: the checkout, ../shared beside it, tools that must be there."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""

SHARED = ROOT.parent / "shared"
"""Specifications and test data beside the checkout; not part of the project, and often absent."""

REQUIRE_TOOLS = os.environ.get("FLOWCLASS_REQUIRE_TOOLS", "") not in ("", "0")
"""Whether a test that lacks its tool fails; otherwise it is skipped."""
