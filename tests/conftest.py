"""What all tests share: hypothesis profiles, the ../shared folder, and what happens when a tool is missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from places import REQUIRE_TOOLS, SHARED

# No deadlines: the machines that run this are shared, and no test asserts a time.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
# The check of a commit tries the same examples each time, so that what it says is about the commit.
settings.register_profile("quick", max_examples=30, derandomize="CI" in os.environ, **_COMMON)
settings.register_profile("smoke", max_examples=4, **_COMMON)  # over sanitized extensions, where all is slow
settings.register_profile("ci", max_examples=100, print_blob=True, **_COMMON)
settings.register_profile("long", max_examples=3000, **_COMMON)
settings.load_profile(os.environ.get("FLOWCLASS_HYPOTHESIS", "quick"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder ../shared; without it the test is skipped, whatever FLOWCLASS_REQUIRE_TOOLS says."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared beside the checkout")
    return SHARED


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """``needs_tool("tshark", ...)``: without the program the test is skipped, or fails where tools are required."""
    names = [name for marker in item.iter_markers("needs_tool") for name in marker.args]
    missing = [name for name in names if shutil.which(name) is None]
    if missing and REQUIRE_TOOLS:
        pytest.fail(f"FLOWCLASS_REQUIRE_TOOLS is set and not installed: {', '.join(missing)}", pytrace=False)
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
