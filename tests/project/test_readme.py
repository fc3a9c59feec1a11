"""The examples of README.md do what they say: commands, bindings file, Python and C."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

from flowclass.generate.captures import RAW, Frame, write_pcap
from flowclass.generate.packets import TCP, Fields, ip_packet
from flowclass.generate.scenario import CARE_OF_1, CARE_OF_2, CORRESPONDENT, HOME_ADDRESS, binding_updates
from flowclass.wire import encode_packet

TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the examples take for granted, in a folder with the bindings file of README.md."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bindings.toml").write_text(blocks("toml")[0])

    def packet(port: int) -> bytes:
        return ip_packet(Fields(CORRESPONDENT.packed, HOME_ADDRESS.packed, TCP, port, 50000))

    with (tmp_path / "trace.pcap").open("wb") as stream:
        write_pcap(stream, [Frame(0, packet(22))], linktype=RAW)
    return {
        "ssh_packet": packet(22),
        "web_packet": packet(80),
        "care_of_1": CARE_OF_1,
        "care_of_2": CARE_OF_2,
        "binding_update": encode_packet(binding_updates()[0]),
    }


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python(number: int, names: dict[str, Any]) -> None:
    if "pyarrow" in blocks("python")[number]:
        pytest.importorskip("pyarrow")
    exec(compile(blocks("python")[number], f"README.md, Python example {number}", "exec"), names)
    if "replies" in names:
        assert len(names["replies"]) == 1
    assert isinstance(names["care_of_1"], IPv6Address)


def test_commands(tmp_path: Path) -> None:
    commands = re.findall(r"^    (flowclass .*)$", TEXT, re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        arguments = [sys.executable, "-m", *shlex.split(command)]
        done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (command, done.stderr)
    assert (tmp_path / "rows.csv").read_text().startswith("file,frame,time_ns,")


def test_two_commands_at_the_top() -> None:
    lines = [line for line in TEXT.splitlines() if line.startswith("    ")][:2]
    assert lines == [
        "    python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/flowclass demo",
        "    python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest",
    ]


def test_c(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None  # building the package took one
    source = tmp_path / "example.c"
    source.write_text(blocks("c")[0])
    program = tmp_path / "example"
    core = [str(ROOT / "csrc/src/rules/rule.c")]
    command = [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/csrc/include", str(source), *core]
    subprocess.run([*command, "-o", str(program)], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    assert done.stdout == "rule 0: does not match\nrule 1: matches\n"


def test_links_and_commands_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / target).exists(), target
    for name in set(re.findall(r"`flowclass ([a-z]+)", TEXT)):
        assert (ROOT / f"flowclass/cli/{name}.py").exists(), name


@pytest.mark.needs_tool("tcpdump", "tshark")
def test_what_other_tools_miss(tmp_path: Path) -> None:
    """The table is what the script prints."""
    pytest.importorskip("dpkt")
    pytest.importorskip("scapy")
    spec = importlib.util.spec_from_file_location("compare_tools", ROOT / "benchmarks" / "compare_tools.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    asked, rows, absent = script.table(tmp_path)
    assert not absent
    assert "\n".join([asked, "", *rows, ""]) in TEXT
