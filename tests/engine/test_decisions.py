"""Names for the numbers of a decision, and the table of fields: the same as in flowclass.h and in the arrays."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
from places import ROOT

import flowclass as fc
from flowclass.engine.fields import BITS, FIELDS, LARGEST

HEADER = (ROOT / "csrc/include/flowclass.h").read_text(encoding="utf-8")


def constants(enum: str) -> dict[str, int]:
    """The members of an enumeration in flowclass.h."""
    (body,) = re.findall(rf"enum {enum} \{{(.*?)\}};", HEADER, re.DOTALL)
    found = re.findall(r"\bFC_(\w+) = ([\d <]+)", body)
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
