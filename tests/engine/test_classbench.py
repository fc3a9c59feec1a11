"""Rule sets and traces of other tools: ClassBench's, those of its IPv6 descendants, and OpenFlow rules."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import flowclass as fc
from flowclass.engine._filters import usual_filters
from flowclass.engine.classbench import _read_lines, read_trace


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "some.rules"
        path.write_text(text)
        return path

    return write


def test_ipv6_as_one_decimal_number(write: Any) -> None:
    network = IPv6Network("2001:db8:1::/48")
    line = f"@{int(network[0])}/48\t{int(network[5])}/128\t0 : 65535\t80 : 80\t0x06/0xFF"
    text = f"@{network}\t{network[5]}/128\t0 : 65535\t80 : 80\t0x06/0xFF"
    decimal = fc.read_classbench(write(f"{line}\n@0/0\t0/0\t0 : 65535\t0 : 65535\t0x00/0x00\n"))
    plain = fc.read_classbench(write(f"{text}\n@::/0\t::/0\t0 : 65535\t0 : 65535\t0x00/0x00\n"))
    assert decimal.tobytes() == plain.tobytes()


def test_ipv4_as_one_decimal_number(write: Any) -> None:
    address = int(IPv4Network("192.0.2.0/24")[0])
    decimal = fc.read_classbench(write(f"@{address}/24\t0/0\t0 : 65535\t80 : 80\t0x06/0xFF\n"))
    assert (
        decimal.tobytes()
        == fc.read_classbench(write("@192.0.2.0/24\t0.0.0.0/0\t0 : 65535\t80 : 80\t0x06/0xFF\n")).tobytes()
    )


LINES = st.builds(
    "@{}/{}\t{}/{}\t{} : {}\t{}:{} {}/{}{}".format,
    *[st.ip_addresses(v=4) | st.ip_addresses(v=6), st.integers(0, 129) | st.integers(0, 32)] * 2,
    *[st.integers(0, 65536)] * 4,
    *[st.sampled_from(["0x06", "0x00", "6", "06", "255", "256", "0xFF", "0xff", "0X1", "0x1ff"])] * 2,
    st.sampled_from(["", "\t0x0000/0x0200", " ", "\r", "x", "\x0b", "\u00a0"]),
)
NOISE = st.sampled_from(["", "# comment", "#\u00e9", " ", "@", "::/", ":::", "1::2::3", "tp_dst=1", "\r", "\t", "."])


def lines_in_python(octets: bytes) -> Any:
    try:
        return _read_lines("it", octets, None).tobytes()
    except fc.ClassifierError as error:
        return str(error)


@given(st.lists(LINES | NOISE, max_size=3), st.data())
@example([f"@192.0.2.1/{'9' * 40} 0.0.0.0/0 {'9' * 40}:1 0:{'9' * 40} 6/255"], None)
@example(["@1::2:3/64\t::/0\t0 : 65535\t1:1 6/255", "@1:2:3:4:5:6:7::/1 ::8/128 0:0 0:65535 0x6/0xFF"], None)
def test_usual_lines_are_read_in_c_as_in_python(lines: list[str], data: Any) -> None:
    text = "\n".join(lines)
    if data is not None and text and data.draw(st.booleans()):  # damage
        at = data.draw(st.integers(0, len(text) - 1))
        text = text[:at] + data.draw(st.sampled_from([*"0:./@ #\r\nfx-", ""])) + text[at + 1 :]
    found = usual_filters(text.encode())
    if found is not None:
        assert found.tobytes() == lines_in_python(text.encode())


def test_usual_files_are_read_in_c() -> None:
    text = "#  set\n\n@10.0.0.0/8\t0.0.0.0/0\t0 : 65535\t80 : 80\t0x06/0xFF\t0x0000/0x0200\t\r\n"
    text += "  @2001:DB8::7/33 ::/0 1:2 0 :65535 17/0"
    found = usual_filters(text.encode())
    assert found is not None
    assert found.tobytes() == lines_in_python(text.encode())
    assert len(found) == 2
    assert usual_filters(b"") is not None
    assert usual_filters(text.encode() + b"\ntp_dst=1") is None


def test_openflow_rules_are_the_same_as_written_otherwise(write: Any) -> None:
    text = """
# ClassBench-ng
nw_proto=6, nw_src=192.0.2.0/24, nw_dst=198.51.100.9/32, tp_dst=443
dl_type=0x0800,nw_proto=17,tp_src=0x1f90/0xfff8
dl_type=0x86dd, ipv6_src=2001:db8::/32, ip_dscp=46
nw_dst=198.51.100.0/24 actions=output:3
"""
    found = fc.read_classbench(write(text))
    keys = fc.make_keys(
        version=4, source="192.0.2.7", destination="198.51.100.9", protocol=[6, 6, 17, 17, 17],
        source_port=[1, 1, 0x1F90, 0x1F97, 0x1F98], destination_port=[443, 80, 5, 5, 5],
    )  # fmt: skip
    assert fc.Classifier(found).classify(keys).tolist() == [0, 3, 1, 1, 3]
    six = fc.make_keys(version=6, source="2001:db8::1", destination="::1", traffic_class=[46 << 2, 46 << 2 | 3, 0])
    assert fc.Classifier(found).classify(six).tolist() == [2, 2, -1]
    assert found["version"].tolist() == [4, 4, 6, 4]


def test_fields_that_a_header_lacks_are_an_error_or_left_out(write: Any) -> None:
    path = write("in_port=1, dl_src=02:00:00:00:00:01, nw_proto=6\ndl_type=0x0806, nw_proto=1\n")
    with pytest.raises(fc.ClassifierError, match=r"some\.rules:1: .*in_port is no field"):
        fc.read_classbench(path)
    left_out: set[str] = set()
    assert len(fc.read_classbench(path, left_out=left_out)) == 2
    assert left_out == {"in_port", "dl_src", "dl_type"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nw_src=192.0.2.0/24, ipv6_dst=::1", "both IP versions"),
        ("dl_type=0x86dd, nw_src=192.0.2.0/24", "both IP versions"),
        ("tp_dst=80/0xff0f", "hole"),
        ("tp_dst=70000", "more than 16 bits"),
        ("nw_proto=256", "more than 8 bits"),
        ("nw_src=nowhere", "nowhere"),
        ("priority=1, tp_dst=1\npriority=2, tp_dst=2", "some.rules:2: .*priority"),
        ("tp_dst=1\n@192.0.2.0/24\t0.0.0.0/0\t0 : 1\t0 : 1\t0x06/0xFF", "in one file"),
        ("@999999999999999999999999999999999999999999/4\t1/4\t0 : 1\t0 : 1\t0x06/0xFF", "128 bits"),
        ("tp_dst", "not a ClassBench filter"),
    ],
)
def test_what_makes_no_sense_is_named(write: Any, line: str, message: str) -> None:
    with pytest.raises(fc.ClassifierError, match=message):
        fc.read_classbench(write(f"{line}\n"))


def test_columns_of_a_trace(write: Any) -> None:
    five = write("192.0.2.1 3325256705 1000 25 6\n")
    keys, answers = read_trace(five)
    assert answers is None
    assert keys["version"].tolist() == [4]
    assert int(keys["destination"][0][1]) == 3325256705
    assert read_trace(write("1 2 3 4 5 6\n"))[1].tolist() == [6]  # type: ignore[union-attr]  # there are answers
    assert read_trace(write("1 2 3 4 5 6\n"), claims=False)[1] is None
    assert read_trace(write("1 2 3 4 5 0 6\n"))[1] is None
    assert read_trace(write("1 2 3 4 5 6\n1 2 3 4 5\n"))[1] is None, "not all lines have one"


def test_decimal_ipv6_addresses_of_a_trace(write: Any) -> None:
    address = int(IPv6Address("2001:db8::1"))
    keys, _ = read_trace(write(f"{address} 1 3 4 6 0\n"))
    assert (
        keys.tobytes()
        == fc.make_keys(
            version=6, source="2001:db8::1", destination="::1", source_port=3, destination_port=4, protocol=6
        ).tobytes()
    )
    assert read_trace(write("1 2 3 4 5\n"), version=6)[0]["version"].tolist() == [6]
