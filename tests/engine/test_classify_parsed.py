"""ForwardingTable.classify_parsed: the decisions of classify_packets, from keys that were parsed before."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from flowclass.engine.forwarding import ForwardingTable
from flowclass.engine.packets import parse
from flowclass.errors import ClassifierError
from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.generate.mobility import mobility_trace
from flowclass.generate.packets import MOBILITY, Fields, ethernet, ip_packet
from flowclass.mobility import load_bindings


def test_same_as_from_packets(tmp_path: Path) -> None:
    rng = random.Random(3)
    nodes = random_nodes(rng, 6, 8)
    file = tmp_path / "b.toml"
    file.write_text(bindings_toml(nodes))
    table = load_bindings(file).table
    assert isinstance(table, ForwardingTable)
    frames = [p.frame for p in mobility_trace(rng, nodes, 3000)] + [b"", b"\0" * 14, b"\x60" * 13]
    signalling = ip_packet(Fields(nodes[0].care_of[0][1].packed, nodes[0].home_address.packed, MOBILITY))
    frames += [ethernet(signalling), ethernet(signalling)[:30]]
    keys, infos = parse(frames, linktype=1)
    expected = table.classify_packets(frames, linktype=1)
    for threads in (1, 2):
        assert np.array_equal(table.classify_parsed(keys, infos, threads=threads), expected)
    assert len(np.unique(expected["reason"])) == 6
    for cut in range(20):
        assert np.array_equal(table.classify_parsed(keys[:cut], infos[:cut]), expected[:cut])


def test_addresses_of_many_decisions(tmp_path: Path) -> None:
    rng = random.Random(4)
    nodes = random_nodes(rng, 20, 8)
    file = tmp_path / "b.toml"
    file.write_text(bindings_toml(nodes))
    table = load_bindings(file).table
    assert isinstance(table, ForwardingTable)
    table.publish(bytes([192, 0, 2, 1]), targets=[(1, bytes([198, 51, 100, 1]))], default=0)
    packets = [p.frame for p in mobility_trace(rng, nodes, 1000)]
    packets.append(ethernet(ip_packet(Fields(bytes([198, 51, 100, 2]), bytes([192, 0, 2, 1])))))
    decisions = table.classify_packets(packets, linktype=1)
    homes, versions, targets, ends = table.addresses_of(decisions)
    assert set(versions.tolist()) == {0, 4, 6}
    starts = [0, *ends.tolist()]
    for i, decision in enumerate(decisions):
        size = {0: 0, 4: 4, 6: 16}[int(versions[i])]
        assert (homes[i, :size].tobytes() or None) == table.home_address(decision)
        assert not homes[i, size:].any()
        own = targets[starts[i] : starts[i + 1]]
        assert tuple(t["address"].tobytes()[: 4 if t["version"] == 4 else 16] for t in own) == table.care_of(decision)
    assert int(np.diff(starts).max()) > 1
    assert [len(part) for part in table.addresses_of(decisions[:0])] == [0, 0, 0, 0]
    with pytest.warns(DeprecationWarning, match="called addresses_of"):
        former = table.places(decisions)  # the name that it had
    assert [part.tobytes() for part in former] == [part.tobytes() for part in table.addresses_of(decisions)]
    with pytest.raises(ClassifierError, match="DECISION_DTYPE"):
        table.addresses_of(np.zeros(3))


def test_arguments() -> None:
    table = ForwardingTable()
    keys, infos = parse([b"", b""])
    with pytest.raises(ClassifierError, match="equal length"):
        table.classify_parsed(keys, infos[:1])
    with pytest.raises(ClassifierError, match="PACKET_DTYPE"):
        table.classify_parsed(keys, keys)
