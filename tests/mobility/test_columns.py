"""Bindings as columns (.npz, .parquet): they mean what a file of text means, and a mistake is named with its place."""

from __future__ import annotations

import io
import os
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowclass.cli import main
from flowclass.errors import BindingsFileError
from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.mobility.bindings_file import read_bindings, write_bindings

MORE = """
[[node]]
home_address = "192.0.2.1"
[[node]]
home_address = "2001:db8:1:ff::1"
ipv4_home_address = "192.0.2.7"
prefixes = ["198.51.100.0/24", "2001:db8:77::/48"]
[[node.care_of]]
bid = 9
address = "203.0.113.5"
[[node.flow]]
fid = 7
pri = 3
action = "discard"
[node.flow.selector]
version = 4
[[node.flow]]
fid = 8
pri = 3
bids = [9]
[node.flow.selector]
source = "192.0.2.3-192.0.2.9"
"""


@pytest.mark.parametrize("form", [".json", ".npz", ".parquet"])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_written_is_read_as_it_was(tmp_path: Path, form: str, seed: int) -> None:
    if form == ".parquet":
        pytest.importorskip("pyarrow")
    text = bindings_toml(random_nodes(random.Random(seed), 3 * seed + 1, 7 * seed)) + (MORE if seed else "")
    path, other = tmp_path / "b.toml", tmp_path / f"b{form}"
    path.write_text(text)
    found = read_bindings(path)
    with other.open("wb") as stream:
        write_bindings(stream, form, found.nodes, found.profile)
    again = read_bindings(other)
    assert again.nodes == found.nodes
    assert again.profile == found.profile


@pytest.mark.parametrize("form", [".json", ".npz", ".parquet"])
def test_the_other_profile(tmp_path: Path, form: str) -> None:
    if form == ".parquet":
        pytest.importorskip("pyarrow")
    path, other = tmp_path / "b.toml", tmp_path / f"b{form}"
    path.write_text(
        'profile = "rfc6089"\n[[node]]\nhome_address = "::5"\n'
        "[[node.care_of]]\nbid = 1\naddress = '::6'\n[[node.care_of]]\nbid = 2\naddress = '::7'\n"
        "[[node.flow]]\nfid = 1\npri = 900\nbids = [2, 1]\n[[node.flow]]\nfid = 2\npri = 3\nbids = [2]\n"
    )
    assert main(["check", str(path), "-o", str(other)]) == 1  # ::5 is not routable
    assert read_bindings(other).nodes == read_bindings(path).nodes
    assert read_bindings(other).profile == "rfc6089"


def test_more_nodes_than_a_block_has(tmp_path: Path) -> None:
    n, path = 40_000, tmp_path / "b.npz"
    homes = [f"2001:db8:{i >> 8:x}:{i & 255:x}::1" for i in range(n)]
    some = np.arange(0, n, 3)
    np.savez(path, **{"home_address": np.array(homes), "care_of.node": some, "care_of.bid": np.full(len(some), 4),
                      "care_of.address": np.array(homes)[some]})  # fmt: skip
    found = read_bindings(path)
    assert len(found.nodes) == n
    assert [list(node.care_of) for node in found.nodes] == [[4] if i % 3 == 0 else [] for i in range(n)]
    assert all(node.care_of[4].address == node.home for node in found.nodes[::3])


GOOD: dict[str, Any] = {
    "home_address": np.array(["2001:db8::1", "2001:db8::2"]),
    "care_of.node": np.array([0, 1]), "care_of.bid": np.array([1, 1]),
    "care_of.address": np.array(["2001:db8:a::1", "2001:db8:a::2"]),
    "flow.node": np.array([1, 1]), "flow.fid": np.array([1, 2]), "flow.pri": np.array(["7", "0x8"]),
    "flow.bids": np.array([[1, 0], [1, 0]]), "flow.selector.spi": np.array(["", "5-9"]),
}  # fmt: skip


def npz(path: Path, **changes: Any) -> Path:
    columns = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    with path.open("wb") as stream:
        np.savez(stream, **columns)
    return path


def test_the_good_columns_are_good(tmp_path: Path) -> None:
    first, second = read_bindings(npz(tmp_path / "B.NPZ")).nodes
    assert [list(first.flows), list(second.flows)] == [[], [1, 2]]
    assert [flow.priority for flow in second.flows.values()] == [7, 8]


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"home_address": None}, "home_address", "the column is missing"),
        ({"home_address": np.array(["2001:db8::1", "x"])}, "node[1].home_address", "'x' is no IP address"),
        ({"home_address": np.array(["::1", "::1"])}, "node[1].home_address", "given twice"),
        ({"home_address": np.array([1, 2])}, "home_address", "expected 1 dimensions of texts"),
        ({"home_address": np.array([b"\xff", b"::1"])}, "node[0].home_address", "no IP address"),
        ({"care_of.addres": np.array(["::1"])}, "care_of.addres", "unknown column: did you mean care_of.address?"),
        ({"care_of.node": None}, "care_of.node", "the column is missing"),
        ({"care_of.node": np.array([1, 0])}, "care_of.node[1]", "expected rising numbers, got 0 behind 1"),
        ({"care_of.node": np.array([0, 2])}, "care_of.node[1]", "expected the index of one of 2 nodes, got 2"),
        ({"care_of.node": np.array([-1, 0])}, "care_of.node[0]", "got -1"),
        ({"care_of.node": np.array([0.0, 1.0])}, "care_of.node", "got 1 dimensions of float64"),
        ({"care_of.bid": None}, "care_of.bid", "the column is missing"),
        ({"care_of.bid": np.array([1])}, "care_of.bid", "expected 2 values, as care_of.node has, got 1"),
        ({"care_of.bid": np.array([1, -1])}, "node[1].care_of[0].bid", "is missing"),
        ({"flow.fid": np.array([1, 1])}, "node[1].flow[1].fid", "FID 1 is given twice"),
        ({"flow.fid": np.array([1, 1 << 40])}, "node[1].flow[1].fid", "out of range"),
        ({"flow.bids": np.array([[1, 0], [5, 0]])}, "node[1].flow[1].bids[0]", "BID 5 is unknown"),
        ({"flow.bids": np.array([1, 1])}, "flow.bids", "expected 2 dimensions"),
        ({"flow.action": np.array(["", "drop"])}, "node[1].flow[1].action", "is no action"),
        ({"flow.selector.spi": np.array(["", "9-5"])}, "node[1].flow[1].selector.spi", "reversed"),
        ({"flow.selector.spi": np.array([1.5, 2])}, "flow.selector.spi", "float64"),
        ({"profile": np.array("rfc")}, "profile", "'rfc' is no profile"),
        ({"profile": np.array(b"\xff")}, "profile", "is no profile"),
        ({"profile": np.array(["draft"])}, "profile", "expected 0 dimensions of texts"),
        ({"ipv4_home_address": np.array(["192.0.2.1"])}, "ipv4_home_address", "expected 2 values"),
        ({"home_address": np.full(2, 0x110000, "<u4").view("<U1")}, "home_address", "no Unicode text"),
        ({"flow.action": np.full((2, 2), 0xFFFFFFFF, ">u4").view(">U2").reshape(2)}, "flow.action", "no Unicode text"),
        ({"profile": np.full(1, 0x110000, "<u4").view("<U1").reshape(())}, "profile", "no Unicode text"),
        ({"profile": np.array("")}, "profile", "'' is no profile"),
    ],
)
def test_mistakes_in_columns(tmp_path: Path, changes: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(BindingsFileError) as caught:
        read_bindings(npz(tmp_path / "b.npz", **changes))
    assert caught.value.path == path
    assert message in str(caught.value)


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
@pytest.mark.parametrize("octets", [b"", b"PK\x03\x04", b"PAR1", b"[[node]]\n", bytes(100)])
def test_files_that_have_no_columns(tmp_path: Path, ending: str, octets: bytes) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"b{ending}"
    path.write_bytes(octets)
    with pytest.raises(BindingsFileError, match=r"b\.(npz|parquet): no "):
        read_bindings(path)
    with pytest.raises(BindingsFileError, match="o such file"):
        read_bindings(tmp_path / f"none{ending}")


def test_objects_in_columns_are_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(BindingsFileError, match="allow_pickle"):
        read_bindings(npz(tmp_path / "b.npz", home_address=np.array(["::1", None], object)))


def _member(shape: str, octets: bytes = b"") -> bytes:
    """An array of texts of one character as numpy writes it, whatever its header says of its shape."""
    header = f"{{'descr': '<U1', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header + octets


@pytest.mark.parametrize("shape", ["(1000000000000000,)", f"({10**30},)", "((((", "(-1,)", "(2,)", "f()"])
def test_headers_of_arrays_that_lie(tmp_path: Path, shape: str) -> None:
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("home_address.npy", _member(shape))
    with pytest.raises(BindingsFileError, match=r"b\.npz: no \.npz file of arrays: "):
        read_bindings(tmp_path / "b.npz")


def test_members_that_are_no_arrays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("home_address", b"2001:db8::1")
    with pytest.raises(BindingsFileError, match="home_address: no array"):
        read_bindings(tmp_path / "b.npz")
    np.save(tmp_path / "b.npy", GOOD["home_address"])
    (tmp_path / "b.npy").rename(tmp_path / "b.npz")
    with pytest.raises(BindingsFileError, match=r"no \.npz file of arrays"):
        read_bindings(tmp_path / "b.npz")


@pytest.mark.parametrize("seed", range(4))
def test_damaged_octets_of_an_npz_file_are_one_clear_error(tmp_path: Path, seed: int) -> None:
    path, rng = tmp_path / "b.npz", random.Random(seed)
    np.savez_compressed(path, home_address=np.array([f"2001:db8::{i:x}" for i in range(1, 2000)]))
    good = path.read_bytes()
    refused = 0
    for _ in range(40):
        octets = bytearray(good)
        octets[rng.randrange(len(octets))] ^= rng.randrange(1, 256)
        path.write_bytes(octets)
        try:
            read_bindings(path)
        except BindingsFileError:
            refused += 1
    assert refused > 20


def test_an_npz_file_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowclass.mobility.bindings_file.columns._LARGEST", 1 << 30)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("home_address.npy", b"")
        archive.filelist[0].file_size = (1 << 30) + 1  # which the list of members at the end of the file repeats
    with pytest.raises(BindingsFileError, match="more than 1 GiB, unpacked"):
        read_bindings(tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("rows", "path", "message"),
    [
        ([{"home_address": "::1", "colour": 1}], "colour", "unknown column"),
        ([{"home_address": 7}], "home_address", "expected texts, got int64"),
        ([{"prefixes": ["::/64"]}], "home_address", "the column is missing"),
        ([{"home_address": None}], "node[0].home_address", "is missing"),
        ([{"home_address": "::1", "care_of": 5}], "care_of", "expected a list"),
        ([{"home_address": "::1", "care_of": [5]}], "care_of", "expected structs"),
        ([{"home_address": "::1", "care_of": [{"bid": 1.5, "address": "::2"}]}], "care_of.bid", "got double"),
        ([{"home_address": "::1", "care_of": [{"bid": 1}]}], "node[0].care_of[0].address", "is missing"),
        ([{"home_address": "::1", "flow": [{"fid": 1, "pri": 1, "selector": {"hue": 1}}]}], "flow.selector.hue",
         "unknown column"),
        ([{"home_address": "::1", "flow": [{"fid": 1, "pri": 1, "bids": [4]}]}], "node[0].flow[0].bids[0]", "unknown"),
    ],
)  # fmt: skip
def test_mistakes_in_parquet(tmp_path: Path, rows: list[dict[str, Any]], path: str, message: str) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    file = tmp_path / "b.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    with pytest.raises(BindingsFileError) as caught:
        read_bindings(file)
    assert caught.value.path == path
    assert message in str(caught.value)


def test_texts_in_parquet_that_are_not_utf_8(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    ends = pa.py_buffer((0).to_bytes(4, "little") + (2).to_bytes(4, "little"))
    text = pa.Array.from_buffers(pa.string(), 1, [None, ends, pa.py_buffer(b"\xff\xfe")])
    for array in (text, text.dictionary_encode()):
        pq.write_table(pa.table({"home_address": array}), tmp_path / "b.parquet")
        with pytest.raises(BindingsFileError, match="home_address: not UTF-8"):
            read_bindings(tmp_path / "b.parquet")


def test_columns_that_are_there_twice_in_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    file, home = tmp_path / "b.parquet", pa.array(["2001:db8::1"])
    pq.write_table(pa.Table.from_arrays([home, home], names=["home_address", "home_address"]), file)
    with pytest.raises(BindingsFileError, match="home_address: the column is there twice"):
        read_bindings(file)
    row = pa.StructArray.from_arrays([pa.array([1]), pa.array([2]), home], names=["bid", "bid", "address"])
    pq.write_table(pa.table({"home_address": home, "care_of": pa.ListArray.from_arrays([0, 1], row)}), file)
    with pytest.raises(BindingsFileError, match=r"care_of\.bid: the column is there twice"):
        read_bindings(file)


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(BindingsFileError, match=r"expected a name that ends in \.json, \.npz, \.parquet"):
        write_bindings(io.BytesIO(), ".toml", [])


def test_columns_for_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(npz(tmp_path / "b.npz"))]) == 1
    assert "b.npz: flow 2 of 2001:db8::2 can never match" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "b.npz"), "-o", str(tmp_path / "b.txt")]) == 2
    assert main(["check", str(tmp_path / "b.npz"), "-o", str(tmp_path / "b.npz")]) == 2


def test_a_list_that_no_node_has_may_be_of_type_null(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "b.parquet"
    columns = {
        "home_address": ["2001:db8:1::1", "2001:db8:1::2"],
        "prefixes": [None, None],
        "care_of": [None, None],
        "flow": [[{"fid": 1, "pri": 1, "action": "discard", "bids": None}], None],
    }
    parquet.write_table(pa.table(columns), path)
    first, second = read_bindings(str(path)).nodes
    (flow,) = first.flows.values()
    assert [*first.prefixes, *first.care_of, *flow.bids] == []
    assert [*second.prefixes, *second.care_of, *second.flows] == []


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_columns_do_not_come_by_a_pipe(tmp_path: Path, ending: str) -> None:
    os.mkfifo(tmp_path / f"b.{ending}")
    with pytest.raises(BindingsFileError, match="a file expected: columns are not read in order"):
        read_bindings(tmp_path / f"b.{ending}")


def test_what_pyarrow_says_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "b.parquet"
    path.write_bytes(b"PAR1" + b"\xff" * 20 + (20).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(BindingsFileError, match=r"no Parquet file: .*") as caught:
        read_bindings(path)
    assert len(str(caught.value).splitlines()) == 1
