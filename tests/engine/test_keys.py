"""make_keys, make_rules and read_classbench."""

from __future__ import annotations

import gzip
import ipaddress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flowclass as fc


def test_presence_follows_the_arguments() -> None:
    keys = fc.make_keys(version=6, source="2001:db8::1", protocol=58, source_port=[1, 2, 3])
    assert keys.dtype == fc.KEY_DTYPE
    assert keys.shape == (3,)
    assert keys["present"].tolist() == [1 | 16 | 128] * 3
    assert keys["source"].tolist() == [[0x20010DB800000000, 1]] * 3
    assert keys["source_port"].tolist() == [1, 2, 3]
    assert keys["destination_port"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "source",
    [
        "10.1.2.3",
        ipaddress.ip_address("10.1.2.3"),
        b"\x0a\x01\x02\x03",
        0x0A010203,
        np.array([0x0A010203], np.uint32),
        np.array([[10, 1, 2, 3]], np.uint8),
        np.array([[0, 0x0A010203]], np.uint64),
        ["10.1.2.3"],
    ],
)
def test_address_forms_agree(source: object) -> None:
    keys = fc.make_keys(version=4, source=source)
    assert keys["source"].tolist() == [[0, 0x0A010203]]
    assert keys["version"].tolist() == [4]


def test_versions_may_differ_from_key_to_key() -> None:
    keys = fc.make_keys(version=[4, 6], source=["10.0.0.1", "2001:db8::1"], protocol=6)
    assert keys["version"].tolist() == [4, 6]
    assert keys["source"].tolist() == [[0, 0x0A000001], [0x20010DB800000000, 1]]


def test_packed_ipv6_array() -> None:
    packed = np.frombuffer(ipaddress.ip_address("2001:db8::ff").packed * 2, np.uint8).reshape(2, 16)
    assert fc.make_keys(source=packed)["source"].tolist() == [[0x20010DB800000000, 0xFF]] * 2


@pytest.mark.parametrize(
    "arguments",
    [
        {"version": 5},
        {"version": 4, "source": "::1"},
        {"version": 4, "source": 1 << 32},
        {"version": 4, "source": np.array([[1, 0]], np.uint64)},
        {"source": "nonsense"},
        {"source": b"\x01"},
        {"protocol": 256},
        {"source_port": -1},
        {"flow_label": 1 << 20},
        {"source_port": [1, 2], "destination_port": [1, 2, 3]},
        {"source_port": 1.5},
    ],
)
def test_bad_keys_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(fc.ClassifierError):
        fc.make_keys(**arguments)


def test_make_rules() -> None:
    rules = fc.make_rules(version=6, source=("2001:db8::", "2001:db8::ffff"), spi=(256, [300, 400]))
    assert rules.dtype == fc.RULE_DTYPE
    assert rules["spi_last"].tolist() == [300, 400]
    assert rules["conditions"].tolist() == [9, 9]
    with pytest.raises(fc.ClassifierError, match="first is above last"):
        fc.make_rules(source_port=(5, [5, 4]))
    with pytest.raises(fc.ClassifierError, match="no field"):
        fc.make_rules(port=(1, 2))
    with pytest.raises(fc.ClassifierError, match="contradict"):
        fc.make_rules(version=0, source=("::1", "::1"))


CLASSBENCH = """\
# a comment
@10.1.2.3/24 192.168.0.0/16 0 : 65535 1024 : 65535 0x06/0xFF 0x0000/0x0000
@0.0.0.0/0\t0.0.0.0/0\t53 : 53\t0 : 65535\t0x00/0x00\t0x1000/0x1000

@2001:db8:0:0:0:0:0:1/128 0:0:0:0:0:0:0:0/0 0 : 65535 0 : 65535 0x11/0xFF
"""


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_read_classbench(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"set.rules{suffix}"
    path.write_bytes(gzip.compress(CLASSBENCH.encode()) if suffix else CLASSBENCH.encode())
    rules = fc.read_classbench(path)
    assert rules["version"].tolist() == [4, 4, 6]
    assert rules["conditions"].tolist() == [1 | 2 | 32 | 128, 16, 1 | 128]
    assert rules["source_first"][0].tolist() == [0, 0x0A010200]
    assert rules["source_last"][0].tolist() == [0, 0x0A0102FF]
    assert rules["source_first"][2].tolist() == rules["source_last"][2].tolist() == [0x20010DB800000000, 1]
    assert rules["protocol_first"].tolist() == [6, 0, 17]


@pytest.mark.parametrize(
    "line",
    ["nonsense", "@1.2.3.4/33 0.0.0.0/0 0 : 1 0 : 1 0x06/0xFF", "@1.2.3.4/3 0.0.0.0/0 2 : 1 0 : 1 6/0xFF"],
)
def test_bad_classbench_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.rules"
    path.write_text("# x\n" + line + "\n")
    with pytest.raises(fc.ClassifierError, match=r"bad\.rules:2"):
        fc.read_classbench(path)
