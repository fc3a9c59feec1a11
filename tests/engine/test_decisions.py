"""Names for the numbers of a decision, and the table of fields: the same as in flowclass.h and in the arrays."""

from __future__ import annotations

import re
import subprocess
import sys
from ipaddress import IPv6Address

import numpy as np
import pytest
from places import ROOT

import flowclass as fc
from flowclass.engine.fields import BITS, FIELDS, LARGEST

HEADER = (ROOT / "csrc/include/flowclass.h").read_text(encoding="utf-8")


def constants(enum: str) -> dict[str, int]:
    """The members of an enumeration in flowclass.h."""
    (body,) = re.findall(rf"enum {enum} \{{(.*?)\}};", HEADER, re.DOTALL)
    found = re.findall(r"\bFC_(\w+) =\s+([\d <]+)", body)
    return {name: int(eval(value)) for name, value in found}  # digits and shifts, by the pattern


def test_actions_and_reasons_are_those_of_the_header() -> None:
    assert constants("fc_action") == {f"ACTION_{action.name.replace('_', '')}": action for action in fc.Action}
    assert constants("fc_reason") == {f"REASON_{reason.name}": reason for reason in fc.Reason}
    flags = {"HAS_FID": fc.DecisionFlag.FID, "HAS_BID": fc.DecisionFlag.BID, "HAS_NODE": fc.DecisionFlag.NODE}
    assert constants("fc_decision_flag") == flags | {"CARE_OF_IPV4": fc.DecisionFlag.CARE_OF_IPV4}


def test_fields_are_those_of_the_header_and_of_the_arrays() -> None:
    assert constants("fc_field") == {name.upper(): bit for name, bit in BITS.items()}
    for field in FIELDS:
        assert fc.KEY_DTYPE[field.name].itemsize == field.octets
        assert fc.RULE_DTYPE[f"{field.name}_first"] == fc.RULE_DTYPE[f"{field.name}_last"] == fc.KEY_DTYPE[field.name]
        assert LARGEST[field.name].bit_length() == field.width <= 8 * field.octets


def test_labels_are_the_words_of_rows() -> None:
    assert [action.label for action in fc.Action] == ["none", "forward", "discard", "n-cast"]
    assert [reason.label for reason in fc.Reason] == [
        "not-ip", "malformed", "unbound", "signalling", "flow", "default",
    ]  # fmt: skip


def test_arrays_and_single_decisions_compare_with_the_names() -> None:
    table = fc.ForwardingTable()
    home, care_of = bytes(15) + b"\1", bytes(15) + b"\2"
    table.publish(home, targets=[(3, care_of)], default=0, flows=[(7, fc.Action.DISCARD, (), bytes(96))])
    packet = bytes([0x60, 0, 0, 0, 0, 0, 59, 64]) + bytes(16) + home
    decisions = table.classify_packets([packet, b"\0"])
    assert np.array_equal(decisions["action"] == fc.Action.DISCARD, [True, False])
    assert decisions["reason"].tolist() == [fc.Reason.FLOW, fc.Reason.NOT_IP]
    one = table.decide_one(packet)
    assert one.action is fc.Action.DISCARD
    assert one.reason is fc.Reason.FLOW
    assert one.flags == fc.DecisionFlag.FID | fc.DecisionFlag.NODE
    assert "DISCARD" in repr(one)


def test_the_table_of_fields_needs_no_numpy() -> None:
    code = "import sys, flowclass.engine.fields; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_decision_is_a_line_for_people() -> None:
    table = fc.ForwardingTable()
    flows = [
        (7, fc.Action.FORWARD, (0,), fc.make_rules(source_port=22).tobytes()),
        (8, fc.Action.N_CAST, (1, 0, 2), fc.make_rules(source_port=53).tobytes()),
        (9, fc.Action.DISCARD, (), fc.make_rules(source_port=23).tobytes()),
    ]
    targets = [(1, "2001:db8:a::1"), (2, "192.0.2.2"), (3, "2001:db8:c::1")]
    table.publish("2001:db8:1::1", targets=targets, default=2, flows=flows)
    keys = fc.make_keys(
        destination=["2001:db8:1::1"] * 4 + ["2001:db8:1::2"], source_port=[22, 53, 23, 80, 80], protocol=6
    )
    assert [fc.decision_text(decision) for decision in table.classify(keys)] == [
        "forward to 2001:db8:a::1 by flow 7, BID 1",
        "n-cast to 192.0.2.2 and 2 more by flow 8",
        "discard by flow 9",
        "forward to 2001:db8:c::1 by the default binding, BID 3",
        "none (unbound)",
    ]
    with pytest.raises(fc.ArgumentError, match=r"^decision: one element of .* expected, got int$"):
        fc.decision_text(5)  # type: ignore[arg-type]  # the mistake that is tested


def test_one_decision_is_a_line_too_and_shows_its_addresses() -> None:
    table = fc.ForwardingTable()
    flow = (8, fc.Action.N_CAST, (1, 0), fc.make_rules(protocol=59).tobytes())
    table.publish("2001:db8:1::1", targets=[(1, "2001:db8:a::1"), (2, "192.0.2.2")], flows=[flow])
    header = (
        bytes.fromhex("60000000 0000 3b 40") + IPv6Address("2001:db8::9").packed + IPv6Address("2001:db8:1::1").packed
    )
    decision = table.decide_one(header)
    assert str(decision) == "n-cast to 192.0.2.2, 2001:db8:a::1 by flow 8"
    assert "home_address='2001:db8:1::1', fid=8, bid=None, care_of=['192.0.2.2', '2001:db8:a::1'])" in repr(decision)
    assert repr(table).startswith("<ForwardingTable: nodes=1, addresses=1, prefixes=0, bytes=")
    assert repr(fc.Classifier(fc.make_rules(protocol=[6, 17]))).startswith("<Classifier: rules=1, bytes=")
