"""Classifier: every kernel against the naive oracle, and the errors."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import oracle
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

import flowclass as fc
from flowclass.bench.linear import first_match
from flowclass.generate.adversarial import adversarial_set
from flowclass.generate.key_traces import key_trace, near_misses
from flowclass.generate.rulesets import rule_set

KERNELS = [name for name, runs in fc.kernels().items() if runs]
Case = tuple[npt.NDArray[np.void], npt.NDArray[np.void]]


def test_portable_kernel_is_always_there() -> None:
    assert fc.kernels()["scalar"] is True


@pytest.mark.req("R2", "R3", "R26", "R59", "R60", "K34")
@pytest.mark.parametrize("kernel", ["auto", *KERNELS])
@given(case=strategies.classifications())
def test_equals_the_oracle(kernel: str, case: Case) -> None:
    rules, keys = case
    assert fc.Classifier(rules).classify(keys, kernel=kernel).tolist() == oracle.classify(rules, keys)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_batch_length(kernel: str) -> None:
    rnd = Random(5)
    rules = strategies.random_rules(rnd, 90)
    rows = strategies.rule_rows(rules)
    keys = strategies.edge_keys(rnd, rules, 3 * 256 + 1)
    want = oracle.brute_force(rows, keys)
    table = fc.Classifier(rows)
    for n in range(len(keys) + 1):
        assert table.classify(keys[:n], kernel=kernel).tolist() == want[:n].tolist()


@pytest.mark.parametrize("other_version_at", [None, 17, 383])
def test_batch_lengths_of_5_tuples(other_version_at: int | None) -> None:
    rows = rule_set("acl", 2100, version=4, seed=3)  # too many for cross-product tables
    keys = np.concatenate([key_trace(rows, 600, kind="corner"), near_misses(rows, 600, seed=2)])
    if other_version_at is not None:
        keys["version"][other_version_at] = 6
    want = first_match(rows, keys)
    table = fc.Classifier(rows)
    for kernel in KERNELS:
        for n in (*range(40), *range(254, 259), *range(382, 388), *range(766, 772), *range(1150, 1156), len(keys)):
            assert table.classify(keys[:n], kernel=kernel).tolist() == want[:n].tolist()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("family", ["acl", "fw"])
def test_keys_that_wait_for_later_trees(family: str, version: int) -> None:
    rows = rule_set(family, 2100, version=version, seed=4)  # too many for cross-product tables
    keys = np.concatenate([key_trace(rows, 2500, kind="corner"), near_misses(rows, 1500, seed=5)])
    np.random.default_rng(6).shuffle(keys)
    some = slice(900, 1100), slice(3300, 4000, 97)
    keys["present"][some[0]] &= 3  # addresses only, so that some pieces that wait are asked what each rule needs
    for name in "source_port", "destination_port", "protocol":
        keys[name][some[0]] = 0
    table = fc.Classifier(rows)
    for other in (slice(0), some[1], some[0]):  # keys of the other version, too
        keys["version"][other] = 10 - version
        want = first_match(rows, keys)
        for kernel in KERNELS:
            for n in (3073, len(keys)):
                assert np.array_equal(table.classify(keys[:n], kernel=kernel), want[:n])


@pytest.mark.parametrize("family", ["acl", "ipc"])
def test_short_bodies_of_large_ipv6_sets(family: str) -> None:
    rows = rule_set(family, 17_500, version=6, seed=8)
    keys = np.concatenate([key_trace(rows, 900, kind="corner"), near_misses(rows, 600, seed=9)])
    lacking = keys.copy()
    lacking["present"][700:] &= 0x7F  # no protocol: their pieces need the ordinary bodies
    lacking["protocol"][700:] = 0
    class_asked_for = rows.copy()  # by one rule, so that there are none
    for name, value in ("traffic_class_first", 8), ("traffic_class_last", 15):
        class_asked_for[name][5] = value
    class_asked_for["conditions"][5] |= 1 << 6
    octets = fc.Classifier(class_asked_for).info["bytes"]
    table = fc.Classifier(rows)
    assert table.info["bytes"] - octets > 60 * len(rows)
    for rules, classifier in (rows, table), (class_asked_for, fc.Classifier(class_asked_for)):
        for asked in keys, lacking:
            want = first_match(rules, asked)
            for kernel in KERNELS:
                assert np.array_equal(classifier.classify(asked, kernel=kernel), want)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("n", [0, 1, 2, 300, 3000])
def test_sizes(kernel: str, n: int) -> None:
    rnd = Random(n)
    rules = strategies.random_rules(rnd, n)
    rows = strategies.rule_rows(rules)
    keys = strategies.edge_keys(rnd, rules or strategies.random_rules(rnd, 3), 700)
    assert fc.Classifier(rows).classify(keys, kernel=kernel).tolist() == oracle.brute_force(rows, keys).tolist()


def test_out_is_filled_and_returned() -> None:
    table = fc.Classifier(fc.make_rules(version=0))
    keys = fc.make_keys(version=[4, 6], protocol=6)
    out = np.full(2, 7, np.int32)
    assert table.classify(keys, out) is out
    assert out.tolist() == [0, 0]
    with pytest.raises(fc.ClassifierError, match="int32"):
        table.classify(keys, np.zeros(2, np.int64))  # type: ignore[arg-type]  # the mistake that is tested
    with pytest.raises(fc.ClassifierError, match="length 2"):
        table.classify(keys, np.zeros(3, np.int32))
    read_only = np.empty(2, np.int32)
    read_only.flags.writeable = False
    for out in (read_only, np.empty(4, np.int32)[::2]):
        with pytest.raises(fc.ClassifierError, match="contiguous array that can be written to"):
            table.classify(keys, out)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_batch_shared_between_threads(threads: int) -> None:
    rules = fc.make_rules(version=6, source_port=(np.arange(500), np.arange(500)))
    keys = fc.make_keys(version=6, source_port=np.random.default_rng(1).integers(0, 700, 100_003))
    want = np.where(keys["source_port"] < 500, keys["source_port"].astype(np.int32), -1)
    assert np.array_equal(fc.Classifier(rules).classify(keys, threads=threads), want)


def test_threads_are_checked() -> None:
    with pytest.raises(fc.ClassifierError, match="threads"):
        fc.Classifier(fc.make_rules()).classify(fc.make_keys(), threads=0)


def test_wrong_arguments_are_named() -> None:
    table = fc.Classifier(fc.make_rules(version=6))
    with pytest.raises(fc.ClassifierError, match="KEY_DTYPE"):
        table.classify(np.zeros(3, np.uint8))  # type: ignore[arg-type]  # the mistake that is tested
    with pytest.raises(fc.ClassifierError, match="RULE_DTYPE"):
        fc.Classifier(np.zeros(3))  # type: ignore[arg-type]  # the mistake that is tested
    with pytest.raises(fc.ClassifierError, match="no kernel named 'sse9'"):
        table.classify(fc.make_keys(), kernel="sse9")
    rules = np.concatenate([fc.make_rules(spi=(1, 2)), fc.make_rules(spi=(1, 2))])
    rules["spi_first"][1] = 3
    with pytest.raises(fc.ClassifierError, match="rule 1"):
        fc.Classifier(rules)


def test_strided_arrays_are_taken() -> None:
    rules = fc.make_rules(source_port=([1, 9, 3, 9], [1, 9, 3, 9]))[::2]
    keys = fc.make_keys(source_port=[3, 0, 1, 0])[::2]
    assert fc.Classifier(rules).classify(keys).tolist() == [1, 0]


def test_info() -> None:
    info = fc.Classifier(fc.make_rules(version=6, source_port=(np.arange(100), np.arange(100)))).info
    assert info["rules"] == 100
    assert info["trees"][0] == 0
    assert info["trees"][1] >= 1
    assert info["bytes"] >= 100 * 32


def test_threads_share_a_table() -> None:
    rnd = Random(9)
    rules = strategies.random_rules(rnd, 200)
    rows = strategies.rule_rows(rules)
    keys = strategies.edge_keys(rnd, rules, 3000)
    table, want = fc.Classifier(rows), oracle.brute_force(rows, keys).tolist()
    wrong: list[int] = []

    def reader() -> None:
        wrong.extend(i for i in range(20) if table.classify(keys).tolist() != want)

    threads = [threading.Thread(target=reader) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


class Model:
    """A rule set as a dict: what a Classifier is to be equal to, update by update."""

    def __init__(self, rows: npt.NDArray[np.void]) -> None:
        self.rules = {i: (float(i), row.copy()) for i, row in enumerate(rows)}

    def classify(self, keys: npt.NDArray[np.void]) -> list[int]:
        order = sorted(self.rules, key=lambda i: (self.rules[i][0], i))
        rows = np.array([self.rules[i][1] for i in order], fc.RULE_DTYPE)
        return [order[hit] if hit >= 0 else -1 for hit in oracle.brute_force(rows, keys).tolist()]


@given(seed=st.integers(0, 2**32))
def test_updates_equal_the_oracle(seed: int) -> None:
    rnd = Random(seed)
    fields = rnd.sample(strategies.FIELDS, rnd.randint(1, 8))
    pool = strategies.random_rules(rnd, 60, fields=fields)
    rows = strategies.rule_rows(pool)
    start = rnd.randint(0, 30)
    table, model = fc.Classifier(rows[:start]), Model(rows[:start])
    for _ in range(12):
        if model.rules and rnd.random() < 0.5:
            gone = rnd.sample(sorted(model.rules), rnd.randint(1, min(3, len(model.rules))))
            table.remove(gone)
            for i in gone:
                del model.rules[i]
        else:
            new = rows[[rnd.randrange(len(rows)) for _ in range(rnd.randint(1, 3))]]
            priorities = [rnd.choice([rnd.uniform(-1, 40), float(rnd.randint(0, 5))]) for _ in new]
            ids = table.insert(new, priorities).tolist()
            assert len(set(ids)) == len(ids)
            assert not set(ids) & set(model.rules)
            model.rules.update((i, (p, row.copy())) for i, p, row in zip(ids, priorities, new, strict=True))
        keys = strategies.edge_keys(rnd, pool, 40)
        want = model.classify(keys) if model.rules else [-1] * len(keys)
        for kernel in KERNELS:
            assert table.classify(keys, kernel=kernel).tolist() == want
        assert len(table) == len(model.rules)
    table.rebuild()
    assert table.classify(keys).tolist() == want


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("family", ["overlapping_ranges", "one_leaf", "one_box", "present_fields", "corners"])
def test_leaves_of_hundreds_of_rules(family: str, version: int) -> None:
    rows = adversarial_set(family, 1500, version=version, seed=3)
    keys = np.concatenate([near_misses(rows, 300, worst=256), key_trace(rows, 300, kind="corner")])
    keys["present"][::5] &= ~np.uint8(32)  # a field that rules ask for
    keys["destination_port"][::5] = 0
    table, model, rnd = fc.Classifier(rows), Model(rows), Random(version)
    assert table.info["largest_leaf"] > 128
    for kernel in KERNELS:
        assert table.classify(keys, kernel=kernel).tolist() == oracle.brute_force(rows, keys).tolist()
    for _ in range(4):
        gone = rnd.sample(sorted(model.rules), 350)
        table.remove(gone)
        moved = [(rnd.uniform(-10, 1600), model.rules.pop(i)[1]) for i in gone]
        ids = table.insert(np.array([row for _, row in moved], fc.RULE_DTYPE), [p for p, _ in moved])
        model.rules.update(zip(ids.tolist(), moved, strict=True))
        for kernel in KERNELS:
            assert table.classify(keys, kernel=kernel).tolist() == model.classify(keys)


def test_refused_updates_change_nothing() -> None:
    table = fc.Classifier(fc.make_rules(source_port=([1, 2], [1, 2])))
    bad = fc.make_rules(source_port=([7, 8], [7, 8]))
    bad["source_port_first"][1] = 9
    with pytest.raises(fc.ClassifierError, match="rule 1: source_port: first is above last; nothing was inserted"):
        table.insert(bad, [0, 1])
    with pytest.raises(fc.ClassifierError, match="rule 1: source_port: first is above last"):
        fc.Classifier(bad)
    with pytest.raises(fc.ClassifierError, match="rule 0: its priority is not a number"):
        table.insert(bad[:1], float("nan"))
    with pytest.raises(fc.ClassifierError, match="priorities"):
        table.insert(bad[:1], [1, 2, 3])
    with pytest.raises(fc.ClassifierError, match="no rule has the id 2"):
        table.remove([2])
    with pytest.raises(fc.ClassifierError, match="ids"):
        table.remove([-1])
    with pytest.raises(fc.ClassifierError, match="the first 1 of 2 were removed"):
        table.remove([1, 1])
    assert table.classify(fc.make_keys(source_port=[1, 2, 7, 8])).tolist() == [0, -1, -1, -1]


def test_readers_beside_a_writer() -> None:
    """A rule that comes and goes is seen or not; the rules around it are always seen."""
    rules = fc.make_rules(version=6, destination_port=(np.arange(2000), np.arange(2000)))
    table = fc.Classifier(rules)
    keys = fc.make_keys(version=6, destination_port=np.arange(2000))
    first = fc.make_rules(version=6, destination_port=(0, 999))
    stop, wrong = threading.Event(), []

    def reader() -> None:
        while not stop.is_set():
            hits = table.classify(keys)
            if hits[1000:].tolist() != list(range(1000, 2000)):
                wrong.append("a rule beside")
            if not np.all((hits[:1000] == np.arange(1000)) | (hits[:1000] >= 2000)):
                wrong.append("a rule below")

    threads = [threading.Thread(target=reader) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        table.remove(table.insert(first, -1))
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert table.classify(keys).tolist() == list(range(2000))


def read_trace(path: Path) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int32]]:
    with gzip.open(path, "rt") as file:
        columns = list(zip(*(line.split() for line in file), strict=True))
    version = 6 if ":" in columns[0][0] else 4
    source, destination = (c if version == 6 else np.array(c, np.uint32) for c in columns[:2])
    keys = fc.make_keys(
        version=version,
        source=source,
        destination=destination,
        source_port=np.array(columns[2], np.uint16),
        destination_port=np.array(columns[3], np.uint16),
        protocol=np.array(columns[4], np.uint8),
    )
    return keys, np.array(columns[5], np.int32)


def test_classbench_sets(shared: Path) -> None:
    for path in sorted((shared / "data" / "rulesets").glob("*.rules.gz")):
        table = fc.Classifier(fc.read_classbench(path))
        for trace in path.parent.glob(path.name.removesuffix(".rules.gz") + ".*.trace.gz"):
            if trace.stat().st_size > 1_000_000:
                continue  # the benchmark that compares engines checks the large ones
            keys, want = read_trace(trace)
            for kernel in KERNELS:
                assert np.array_equal(table.classify(keys, kernel=kernel), want), (trace.name, kernel)


FORKED = """
import os
import numpy as np
import flowclass as fc

rules = fc.make_rules(version=6, destination_port=([443, 0], [443, 1023]))
keys = fc.make_keys(version=6, destination_port=np.arange(65536))
table = fc.Classifier(rules)
right = table.classify(keys).tolist()
assert table.classify(keys, threads=3).tolist() == right
child = os.fork()
if child == 0:
    os._exit(table.classify(keys, threads=3).tolist() != right)
assert os.waitpid(child, 0)[1] == 0
"""


def test_threads_in_a_forked_process() -> None:
    """A child has none of its parent's threads, and must not wait for them."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
