"""Completion in the shells themselves, of commands, options, values and file names; and hints at what was meant."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flowclass.cli import COMMANDS, main

BASH = """
eval "$(flowclass completion bash)"
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); _flowclass_completion flowclass
printf '%s\\n' "${COMPREPLY[@]}"
"""
# the functions of zsh's completion system are stood in for, as they work at a prompt only
ZSH = """
compdef() { true; }; _path_files() { print -l -- ${words[CURRENT]}*(N); }
_describe() { print -l -- ${${(P)3}%%:*}; }
compadd() { print -l -- ${(P)@[-1]}; }
eval "$(flowclass completion zsh)"
words=("$@"); CURRENT=$#; _flowclass_completion
"""
FISH = """
flowclass completion fish | source
complete -C (string join -- ' ' $argv)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "demo").mkdir()
    for name in ("demo/section5.pcapng", "demo/section5.toml", "a trace.pcap"):
        (tmp_path / name).touch()
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "flowclass").write_text(
        f"#!{sys.executable}\nfrom flowclass.cli import main\nraise SystemExit(main())\n"
    )
    (programs / "flowclass").chmod(0o755)
    return tmp_path


def completed(shell: str, folder: Path, *words: str) -> list[str]:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell]
    command = [shell, "--norc" if shell == "bash" else "-f" if shell == "zsh" else "--no-config", "-c", script]
    environment = os.environ | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)}
    zero = [] if shell == "fish" else [shell]
    done = subprocess.run([*command, *zero, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    return [line.split("\t")[0].rstrip("/") for line in done.stdout.splitlines()]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_options_values_and_files_are_completed(shell: str, folder: Path) -> None:
    assert completed(shell, folder, "flowclass", "cla") == ["classify"]
    files = ["demo/section5.pcapng", "demo/section5.toml"]
    assert completed(shell, folder, "flowclass", "classify", "demo/sec") == files
    assert completed(shell, folder, "flowclass", "report", "x.pcap", "--bindings", "demo/sec") == files
    assert "--bindings" in completed(shell, folder, "flowclass", "classify", "--bi")
    assert completed(shell, folder, "flowclass", "decode", "x", "--profile", "rf") == ["rfc6089"]


def test_a_name_with_a_space_is_one_name(folder: Path) -> None:
    assert completed("bash", folder, "flowclass", "classify", "a") == ["a trace.pcap"]


def test_the_shell_is_told_by_its_variable(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert main(["completion"]) == 0
    assert "complete --no-files --command flowclass" in capsys.readouterr().out
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert main(["completion"]) == 2
    assert "which shell? One of bash, zsh, fish is expected" in capsys.readouterr().err


def test_completing_a_command_imports_none(folder: Path) -> None:
    code = (
        "import sys; from flowclass.cli import flowclass; import click\n"
        "context = click.Context(flowclass)\n"
        "print(*(item.value for item in flowclass.shell_complete(context, '')))\n"
        "assert not any(name.startswith('flowclass.cli.') for name in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["clasify"], "there is no command 'clasify': did you mean classify?"),
        (["xyzzy"], "there is no command 'xyzzy' (see flowclass --help)"),
        (["classify", "x", "--bindngs", "y"], "'--bindings'"),
    ],
)
def test_what_was_probably_meant(arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert hint in error
    assert error.count("\n") == 1
