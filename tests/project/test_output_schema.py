"""docs/reference/output.schema.json takes what every command with --json prints, and names every key of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from ipaddress import IPv6Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from forward_kit import Rig, packed
from places import ROOT

from flowclass import load_bindings
from flowclass.agent import answers, control
from flowclass.agent.correspondent import CorrespondentService
from flowclass.agent.logs import Log
from flowclass.agent.mobile_node import MobileNodeService
from flowclass.cli import COMMANDS, flowclass, main
from flowclass.mobility.mobile_node.plan import CareOfEntry

jsonschema = pytest.importorskip("jsonschema")
FOLDER = ROOT / "docs" / "reference"
SCHEMA = json.loads((FOLDER / "output.schema.json").read_text(encoding="utf-8"))
HOME = "2001:db8:1::1"
Shown = Callable[..., Any]


def strict(schema: Any) -> Any:
    """The same schema, but a key that it doesn't name is refused; only wire structures have fields of their own."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: value if key == "structure" else strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        found.setdefault("additionalProperties", False)
    return found


def check(name: str, document: Any) -> None:
    for schema in (SCHEMA, strict(SCHEMA)):
        one = {"$schema": schema["$schema"], "$defs": schema["$defs"], "$ref": f"#/$defs/{name.replace(' ', '%20')}"}
        jsonschema.Draft202012Validator(one).validate(document)


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Runs a command in a folder with the demo's files, and returns what it prints as JSON."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, status: int = 0) -> Any:
        assert main([*arguments, "--json"]) == status
        return json.loads(capsys.readouterr().out)

    assert main(["demo", "--save", "."]) == 0
    capsys.readouterr()
    return run


def commands() -> set[str]:
    """The names of all commands and subcommands that have --json."""
    found = set()
    for name in COMMANDS:
        command = flowclass.get_command(click.Context(flowclass), name)
        assert command is not None
        every = {f"{name} {sub}": c for sub, c in command.commands.items()} if isinstance(command, click.Group) else {}
        for title, one in (every or {name: command}).items():
            if any("--json" in parameter.opts for parameter in one.params):
                found.add(title)
    return found


def test_it_is_a_schema_with_a_definition_for_each_command() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    wanted = commands() - {"ctl dump", "ctl watch"}  # which print a bindings file, and a screen
    assert {name for name in SCHEMA["$defs"] if name in commands()} == wanted
    assert {each["$ref"] for each in SCHEMA["anyOf"]} == {
        f"#/$defs/{name.replace(' ', '%20')}" for name in wanted - {"ctl reload"}
    }


def test_classify(shown: Shown) -> None:
    with open("section5.pcapng", "ab") as stream:
        stream.write(b"no block of pcapng")
    found = shown("classify", "section5.pcapng", "--replay", "-o", "rows.csv", status=1)
    check("classify", found)
    assert found["updates"]["statuses"]
    assert found["files"][0]["damage"]
    check("classify", shown("classify", "section5.pcapng", "--bindings", "section5.toml", status=1))


def test_decode(shown: Shown) -> None:
    found = shown("decode", "section5.pcapng")
    check("decode", found)
    assert found["messages"]
    data = bytearray(Path("section5.pcapng").read_bytes())
    place = data.index(IPv6Address("2001:db8:b::1").packed) + 32 + 24  # behind the addresses and destination options
    data[place + 1] = 200  # of the Mobility Header: its length
    Path("cut.pcapng").write_bytes(data)
    found = shown("decode", "cut.pcapng", status=1)
    check("decode", found)
    assert any("error" in message for message in found["messages"])


def test_the_other_commands_about_traces(shown: Shown) -> None:
    bindings = ("--bindings", "section5.toml")
    check("explain", shown("explain", "section5.pcapng", "--frame", "5", *bindings))
    check("split", shown("split", "section5.pcapng", "-o", "out", *bindings))
    check("check", shown("check", "section5.toml"))
    with open("section5.toml", "a") as stream:
        stream.write('\n[[node]]\nhome_address = "ff02::1"\n')
    found = shown("check", "section5.toml", status=1)
    check("check", found)
    assert found["findings"]


@pytest.mark.parametrize(
    "arguments",
    [
        "lookup --family fw --size 20 --packets 100 --no-peers",
        "nodes --nodes 10 --flows 2 3 --packets 100 --no-peers",
        "updates --family fw --size 50",
        "traces --packets 100 --no-peers",
    ],
)
def test_bench(arguments: str, shown: Shown) -> None:
    name = arguments.partition(" ")[0]
    check(f"bench {name}", shown("bench", *arguments.split(), "--rounds", "1"))


@pytest.mark.needs_tool("tcpdump")
def test_what_peers_add_to_benchmarks(shown: Shown) -> None:
    found = shown("bench", "traces", "--packets", "100", "--rounds", "1")
    check("bench traces", found)
    assert found["results"][0]["times_faster_than"]


@pytest.mark.parametrize(
    "arguments",
    ["status", "nodes", "flows HOME", "counters", "why PACKET", "drain", "revoke HOME", "rules HOME", "reload", "dump"],
)
def test_ctl(arguments: str, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = load_bindings("section5.toml")
    (node,) = agent.cache
    config = SimpleNamespace(profile="draft", home_agent=IPv6Address("2001:db8:1::ffff"), store=None)
    with closing(Rig()) as rig:
        rig.node(HOME, "2001:db8:a::1", "2001:db8:b::1")
        packet = b"\x60" + bytes(4) + b"\0\x3b\x40" + packed("2001:db8:c::1") + packed(HOME)
        rig.give(packet).run()
        service: Any = SimpleNamespace(
            config=config, agent=agent, forwarder=rig.forwarder, ignored=Counter(rate=1), drained=False, started=0.0,
            latencies=answers.Latencies(), log=Log(), reload=lambda: None, revoke=lambda *arguments: True,
        )  # fmt: skip

        def ask(path: object, command: str, **more: Any) -> Any:
            return json.loads(json.dumps(answers.answer(service, {"command": command, **more})))

        monkeypatch.setattr(control, "ask", ask)
        found = shown("ctl", *arguments.replace("HOME", HOME).replace("PACKET", packet.hex()).split())
    name = arguments.partition(" ")[0]
    if name == "dump":
        jsonschema.validate(found, json.loads((FOLDER / "bindings.schema.json").read_text(encoding="utf-8")))
    else:
        check(f"ctl {name}", found)
    assert node.flows
    assert name != "counters" or found["forwarding"]["flows"]


def test_ctl_of_a_mobile_node() -> None:
    bid, flow = CareOfEntry(1, IPv6Address("2001:db8:a::1"), expires=10.0), SimpleNamespace(fid=1, pri=2, bids=(1,))
    node: Any = SimpleNamespace(
        config=SimpleNamespace(home=IPv6Address(HOME), home_agent=IPv6Address("2001:db8:1::ffff")),
        updates=SimpleNamespace(care_of={1: bid}, flows={1: flow}, outstanding=None),
        counters=Counter(signalling=1),
        forwarder=SimpleNamespace(counters=lambda: {"packets": {"direct": 1}, "drops": {"source": 1}}),
        _optimization=None,
    )
    check("ctl status", MobileNodeService._status(node))
    node._optimization = SimpleNamespace(
        status=lambda: [{"address": HOME, "way": "direct", "care_of": ["2001:db8:a::1"], "flows": [1]}]
    )
    check("ctl status", MobileNodeService._status(node))
    check("ctl counters", MobileNodeService._counters(node))


def test_ctl_of_a_correspondent_node() -> None:
    config = SimpleNamespace(address=IPv6Address(HOME), profile="draft")
    check("ctl status", CorrespondentService._status(SimpleNamespace(config=config, agent=SimpleNamespace(cache={}))))  # type: ignore[arg-type]  # what it looks at


def test_a_key_that_is_no_key_of_an_output_is_told_apart() -> None:
    found = {"file": "a", "nodes": 1, "flows": 1, "findings": []}
    check("check", found)
    for wrong in (found | {"nodes": "1"}, found | {"new": 1}, {"file": "a"}):
        with pytest.raises(jsonschema.ValidationError):
            check("check", wrong)
