"""Threads around one loop: the same as without them, in order, and nothing left over."""

from __future__ import annotations

import io
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowclass.cli import main
from flowclass.errors import CaptureError
from flowclass.generate.bindings import random_nodes
from flowclass.generate.captures import Frame, write_pcap, write_pcapng
from flowclass.generate.mobility import START_NS, mobility_trace
from flowclass.generate.packets import ethernet
from flowclass.generate.updates import update_packets
from flowclass.traces.outcomes import Outcomes
from flowclass.traces.pipeline import ReadAhead, WriteBehind


def test_items_in_order_and_then_the_error() -> None:
    def items() -> Iterator[int]:
        yield from range(100)
        raise CaptureError("gone")

    ahead = ReadAhead(items(), 3)
    assert [next(ahead) for _ in range(100)] == list(range(100))
    with pytest.raises(CaptureError, match="gone"):
        next(ahead)
    assert next(ahead, None) is None
    assert ahead.close()
    assert list(ReadAhead(iter("abc"), 1)) == ["a", "b", "c"]


def test_no_further_ahead_than_asked_and_left_early() -> None:
    made, before = [], threading.active_count()

    def items() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    ahead = ReadAhead(items(), 3)
    assert made == []  # nothing is done before it is asked for
    assert next(ahead) == 0
    time.sleep(0.1)
    assert len(made) <= 1 + 3 + 1  # those in between, and one in its hand
    assert ahead.close()
    assert threading.active_count() == before


def test_calls_in_order_complete_at_the_end() -> None:
    done: list[int] = []
    with WriteBehind(2) as behind:
        for number in range(300):
            behind.call(done.append, number)
        behind.wait()
        assert done == list(range(300))
        behind.call(done.append, -1)
    assert done[-1] == -1


def test_errors_behind_come_out_and_end_it() -> None:
    done: list[int] = []

    def fail() -> None:
        raise OSError("full")

    for late in (False, True):
        done.clear()
        with pytest.raises(OSError, match="full"), WriteBehind(2) as behind:  # noqa: PT012
            behind.call(fail)
            if late:
                behind.call(done.append, 1)
                behind.wait()
            else:
                for number in range(100):
                    behind.call(done.append, number)
        assert len(done) == 0
    with pytest.raises(ZeroDivisionError), WriteBehind(1000) as behind:  # noqa: PT012
        behind.call(time.sleep, 0.05)
        for number in range(100):
            behind.call(done.append, number)
        raise ZeroDivisionError
    assert done == []  # what had not begun is dropped


def captures(rng: random.Random, folder: Path) -> list[str]:
    """Several files side by side in time, binding updates of short lifetimes and damage in any of them."""
    nodes = random_nodes(rng, 5, 4)
    frames = [Frame(p.time_ns, p.frame) for p in mobility_trace(rng, nodes, 1500, interval_ns=20_000_000)]
    sequence = 0
    for _ in range(30):
        node = rng.choice(nodes)
        for octets in update_packets(node, lifetime=rng.choice((1, 2, 3, 100))):
            sequence += 1
            frames.append(Frame(START_NS + rng.randrange(30 * 10**9), ethernet(octets)))
    frames.sort()
    names = []
    count = rng.randrange(1, 5)
    for number in range(count):
        path = folder / f"{number}.pcap"
        mine = [frame for frame in frames if rng.random() < 1.5 / count]
        for _ in range(5):  # times that go back
            i = rng.randrange(len(mine))
            mine[i] = Frame(mine[i].time_ns - rng.randrange(10**10), mine[i].data)
        stream = io.BytesIO()
        rng.choice((write_pcap, write_pcapng))(stream, mine)
        data = bytearray(stream.getvalue())
        if rng.random() < 0.3:
            at = rng.randrange(100, len(data))
            data[at : at + 16] = b"\xff" * 16
        path.write_bytes(data)
        names.append(str(path))
    return names


@given(st.integers(0, 2**32))
def test_replay_side_by_side(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """--workers changes nothing but the time that it takes."""
    rng, folder = random.Random(seed), tmp_path_factory.mktemp("replay")
    names = captures(rng, folder)
    ending, said = rng.choice(("csv", "jsonl")), []
    with pytest.MonkeyPatch.context() as patch:
        if rng.random() < 0.5:
            patch.setattr(Outcomes, "LIMIT", 20)  # ids are forgotten while rows of theirs are still to be written
        for workers in ([], ["--workers", "2"], ["--workers", "1"]):
            out = folder / f"out{len(workers)}.{ending}"
            with pytest.MonkeyPatch.context() as streams:
                text, errors = io.StringIO(), io.StringIO()
                streams.setattr("sys.stdout", text)
                streams.setattr("sys.stderr", errors)
                status = main(["classify", *names, "--replay", "--json", "-o", str(out), *workers])
            said.append((status, text.getvalue().replace(str(out), ""), errors.getvalue(), out.read_bytes()))
    assert said[0] == said[1] == said[2]
    assert said[0][0] in (0, 1)
    assert '"accepted": 0' not in said[0][1]


def test_what_goes_wrong_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = captures(random.Random(1), tmp_path)
    bad = tmp_path / "bad.pcap"
    bad.write_text("no capture")
    before = threading.active_count()
    arguments: list[list[Any]] = [[bad], [*names, "-o", "/dev/full/x.csv"], [*names, "--part-size", "1M"],
                                  [*names, "--scheduler", "local"]]  # fmt: skip
    for some in arguments:
        assert main(["classify", *map(str, some), "--replay", "--workers", "2"]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert main(["classify", *map(str, (*names, bad)), "--replay", "--workers", "2"]) == 1  # passed over
    assert "bad.pcap: no capture" in capsys.readouterr().err
    full = tmp_path / "full.csv"
    full.symlink_to("/dev/full")
    assert main(["classify", *names, "--replay", "--workers", "2", "-o", str(full)]) == 2
    assert "full.csv: No space left on device" in capsys.readouterr().err
    assert threading.active_count() == before
