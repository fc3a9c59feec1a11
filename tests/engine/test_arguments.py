"""Arguments of a wrong type or shape: one error of the package's own that names the argument, whatever the call."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from ipaddress import IPv6Address
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flowclass as fc
from flowclass import wire
from flowclass.mobility import BindingCache

HOME = bytes(15) + b"\1"
RULES, KEYS = fc.make_rules(protocol=(6, 6)), fc.make_keys(protocol=6)
FRACTION, ODD, TEXTS, NEGATIVE, HUGE = 1.5, [[1, 2], [3]], np.array(["a"]), -1, 1 << 200
WRONG = [None, object(), "text", FRACTION, [1, "a"], {}, ODD, TEXTS, NEGATIVE, HUGE, [None]]


def with_table(call: Callable[[fc.ForwardingTable, Any], object]) -> Callable[[Any], object]:
    def made(value: Any) -> object:
        table = fc.ForwardingTable()
        table.publish(HOME, targets=[(1, bytes(16))], default=0)
        return call(table, value)

    return made


# what is called, the name that the error begins with, and of WRONG what is right here
CALLS: dict[str, tuple[Callable[[Any], object], str, tuple[Any, ...]]] = {
    "make_keys, source": (lambda v: fc.make_keys(source=v), "source", (None,)),
    "make_keys, spi": (lambda v: fc.make_keys(spi=v), "spi", (None,)),
    "make_keys, version": (lambda v: fc.make_keys(version=v), "version", ()),
    "make_rules, source": (lambda v: fc.make_rules(source=(v, v)), "source_first", ()),
    "make_rules, spi": (lambda v: fc.make_rules(spi=v), "spi", (None, ODD)),
    "read_classbench": (fc.read_classbench, "path|text", ()),
    "load_bindings": (fc.load_bindings, "path|text", ()),
    "Classifier": (fc.Classifier, "rules", ()),
    "classify": (lambda v: fc.Classifier(RULES).classify(v), "keys", ()),
    "classify, out": (lambda v: fc.Classifier(RULES).classify(KEYS, v), "out", (None,)),
    "classify, kernel": (lambda v: fc.Classifier(RULES).classify(KEYS, kernel=v), "kernel|no kernel", ()),
    "classify, threads": (lambda v: fc.Classifier(RULES).classify(KEYS, threads=v), "threads", ()),
    "insert": (lambda v: fc.Classifier(RULES).insert(v, 0), "rules", ()),
    "insert, priorities": (
        lambda v: fc.Classifier(RULES).insert(RULES, v),
        "priorities|rule 0",
        (FRACTION, NEGATIVE, HUGE),
    ),
    "remove": (lambda v: fc.Classifier(RULES).remove(v), "ids|no rule", ()),
    "ForwardingTable": (lambda v: fc.ForwardingTable(secret=v), "secret", (None,)),
    "publish": (with_table(lambda t, v: t.publish(v)), "home_address", (TEXTS,)),
    "publish, targets": (with_table(lambda t, v: t.publish(HOME, targets=[v])), "publish|care-of", ()),
    "publish, default": (with_table(lambda t, v: t.publish(HOME, default=v)), "publish", (NEGATIVE,)),
    "publish, flows": (with_table(lambda t, v: t.publish(HOME, flows=[v])), "publish|flow", ()),
    "publish, a rule": (with_table(lambda t, v: t.publish(HOME, flows=[(1, 2, (), v)])), "rule|flow", ()),
    "withdraw": (with_table(lambda t, v: t.withdraw(v)), "home_address|withdraw", ()),
    "find": (with_table(lambda t, v: t.find(v)), "home_address", (TEXTS,)),
    "reserve": (with_table(lambda t, v: t.reserve(v)), "addresses", ()),
    "decisions": (with_table(lambda t, v: t.classify(v)), "keys", ()),
    "decisions, out": (with_table(lambda t, v: t.classify(KEYS, v)), "out", (None,)),
    "packets": (with_table(lambda t, v: t.classify_packets(v)), "packets", (TEXTS,)),
    "packets, linktype": (with_table(lambda t, v: t.classify_packets([], linktype=v)), "linktype", ()),
    "packets, linktypes": (with_table(lambda t, v: t.classify_packets([b""], linktypes=v)), "linktypes", (None,)),
    "packets, inner": (with_table(lambda t, v: t.classify_packets([], inner=v)), "inner", ()),
    "packets, fragments": (with_table(lambda t, v: t.classify_packets([], fragments=v)), "fragments", (None,)),
    "packets, threads": (with_table(lambda t, v: t.classify_packets([], threads=v)), "threads", ()),
    "one packet": (with_table(lambda t, v: t.classify_one(v)), "packet", (TEXTS,)),
    "one packet, linktype": (with_table(lambda t, v: t.decide_one(b"", v)), "linktype", ()),
    "care_of": (with_table(lambda t, v: t.care_of(v)), "decision", ()),
    "home_address": (with_table(lambda t, v: t.home_address(v)), "decision|node number", ()),
    "profile": (fc.HomeAgent, "profile|unknown profile", ()),
    "receive": (lambda v: fc.HomeAgent().receive(v, now=0.0), "data", (TEXTS,)),
    "receive, now": (lambda v: fc.HomeAgent().receive(b"", now=v), "now", (FRACTION, NEGATIVE, HUGE)),
    "tick": (lambda v: fc.HomeAgent().tick(v), "now", (FRACTION, NEGATIVE, HUGE)),
    "decode_message": (wire.decode_message, "data", (TEXTS,)),
    "decode_packet": (wire.decode_packet, "data", (TEXTS,)),
    "encode_message": (wire.encode_message, "message", ()),
    "encode_packet": (wire.encode_packet, "packet", ()),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_argument(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where there is no file named "text"
    call, begins, right = CALLS[name]
    for value in WRONG:
        if any(value is one for one in right):
            continue
        with pytest.raises(fc.FlowclassError, match=f"^({begins})"):
            call(value)


PACKED, TEXT_PREFIX = IPv6Address("2001:db8:1::").packed, "2001:db8:1::/64"


@pytest.mark.parametrize("role", [fc.HomeAgent, fc.MobilityAnchorPoint, fc.CorrespondentNode])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limits", 3),
        ("switches", 1),
        ("capabilities", {}),
        ("store", 5),
        ("table", 5),
        ("cache", 4),
        ("listener", 5),
        ("admit_update", 5),
        ("admit_flow", 5),
        ("allocate_ipv4", 5),
        ("home_prefixes", 5),
        ("home_prefixes", TEXT_PREFIX),
        ("home_prefixes", [5]),
        ("home_prefixes", [(5, 64)]),
        ("home_prefixes", [(PACKED, 129)]),
        ("home_prefixes", [(PACKED, "64")]),
        ("home_prefixes", [(PACKED[:5], 8)]),
        ("prefix_table", 5),
        ("prefix_table", {"::x": []}),
        ("prefix_table", {PACKED: [5]}),
        ("ipv4_homes", 5),
        ("ipv4_homes", {PACKED: PACKED}),
    ],
)
def test_a_wrong_setting(role: Callable[..., object], name: str, value: Any) -> None:
    with pytest.raises(fc.FlowclassError, match=rf"^{name}\b.* expected, got "):
        role(**{name: value})


def test_settings_of_one_role() -> None:
    with pytest.raises(fc.ArgumentError, match=r"^care_of_prefixes: a prefix .* expected, got int"):
        fc.MobilityAnchorPoint(care_of_prefixes=[5])  # type: ignore[list-item]  # the mistake that is tested
    with pytest.raises(fc.ArgumentError, match=r"^nonces: a NonceTable expected, got int"):
        fc.CorrespondentNode(nonces=5)  # type: ignore[arg-type]  # the mistake that is tested


@pytest.mark.parametrize(("at", "name"), list(enumerate(("source", "destination", "home"))))
def test_what_is_no_address(at: int, name: str) -> None:
    for wrong in ("a", b"a"):
        addresses: list[Any] = [HOME, HOME, HOME]
        addresses[at] = wrong
        with pytest.raises(fc.FlowclassError, match=f"^{name}: an IP.* address.* expected, got "):
            fc.HomeAgent().home_address_error(*addresses)


def test_a_wrong_type_is_a_type_error_too() -> None:
    with pytest.raises(TypeError, match=r"^packet: a bytes-like object expected, got str$"):
        fc.ForwardingTable().classify_one("text")  # type: ignore[arg-type]  # the mistake that is tested


def test_a_file_that_is_missing_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(fc.ClassifierError, match=r"no\.rules: No such file or directory$"):
        fc.read_classbench(tmp_path / "no.rules")
    with pytest.raises(fc.ClassifierError, match="Is a directory"):
        fc.read_classbench(tmp_path)
    (tmp_path / "odd.rules.gz").write_bytes(b"no gzip")
    (tmp_path / "odd.rules").write_bytes(b"\xff\xfe\0")
    for name in ("odd.rules.gz", "odd.rules"):
        with pytest.raises(fc.ClassifierError, match=name):
            fc.read_classbench(tmp_path / name)


@pytest.mark.parametrize("now", [nan, inf, -inf])
def test_a_time_that_is_none(now: float) -> None:
    agent, node, home = fc.HomeAgent(), fc.MobileNode(IPv6Address(1)), IPv6Address(2)
    node.add_receiver(home)
    calls: list[Callable[[], object]] = [
        lambda: agent.receive(b"", now=now),
        lambda: agent.tick(now),
        lambda: agent.export_state(now),
        lambda: agent.import_state(fc.HomeAgent().export_state(0.0), now),
        lambda: BindingCache().begin(HOME, now),
        lambda: node.register(home, 1, IPv6Address(3), now=now),
        lambda: node.receive(b"", now=now),
        lambda: node.tick(now),
    ]
    for call in calls:
        with pytest.raises(fc.FlowclassError, match=r"^now: a finite number of seconds expected"):
            call()
    assert node.flush(home, now=0.0) == []  # nothing was noted of what was refused


def test_a_name_that_is_not_there_is_told_with_the_one_that_was_meant() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import flowclass; flowclass.Homeagent"], capture_output=True, text=True
    )
    assert "module 'flowclass' has no attribute 'Homeagent'. Did you mean: 'HomeAgent'?" in done.stderr
    assert fc.bench.__name__ == "flowclass.bench"  # every sub-package is loaded when it is asked for
    assert fc.addresses.__name__ == "flowclass.addresses"


@pytest.mark.parametrize("wrong", ["state.json", None, 5])
def test_a_state_that_is_no_octets(wrong: Any) -> None:
    agent = fc.HomeAgent()
    for call in (lambda: agent.import_state(wrong, 0.0), lambda: list(agent.import_pieces(wrong, 0.0))):
        with pytest.raises(fc.ArgumentError, match=r"^data: a bytes-like object expected, got "):
            call()
