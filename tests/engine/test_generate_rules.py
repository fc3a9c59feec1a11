"""Generated rule sets and traces: what they promise, and their likeness to the sets in ../shared."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import oracle
import pytest

import flowclass as fc
from flowclass.engine.classbench import read_trace, write_classbench, write_trace
from flowclass.generate.adversarial import ADVERSARIAL, adversarial_set
from flowclass.generate.key_traces import TRACES, key_trace, near_misses
from flowclass.generate.names import ADVERSARIAL_NAMES, FAMILY_NAMES
from flowclass.generate.rulesets import FAMILIES, first_occurrences, prefix_range, rule_set

Rules = npt.NDArray[np.void]


def assert_well_formed(rules: Rules, n: int, version: int) -> None:
    assert rules.dtype == fc.RULE_DTYPE
    assert len(rules) == n == len(np.unique(rules))
    assert set(rules["version"].tolist()) == {version}
    for name, bit in oracle.BITS.items():
        for row in rules[(rules["conditions"] & bit) != 0][:300]:
            assert oracle.number(row, f"{name}_first") <= oracle.number(row, f"{name}_last")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("family", FAMILIES)
def test_families(family: str, version: int) -> None:
    for n in (1, 16, 1000):
        rules = rule_set(family, n, version=version, seed=5)
        assert_well_formed(rules, n, version)
        assert rules.tobytes() == rule_set(family, n, version=version, seed=5).tobytes()
        assert rules.tobytes() != rule_set(family, n, version=version, seed=6).tobytes() or n == 1


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_adversarial_families(name: str, version: int) -> None:
    rules = adversarial_set(name, 900, version=version, seed=5)
    assert_well_formed(rules, 900, version)
    assert rules.tobytes() == adversarial_set(name, 900, version=version, seed=5).tobytes()
    keys = near_misses(rules, 50, tries=64)
    assert keys.dtype == fc.KEY_DTYPE
    assert len(keys) == 50


def test_adversarial_shapes() -> None:
    def overlap(rules: Rules) -> float:
        """Mean number of rules that hold a key made inside one of them."""
        return float(oracle._match_matrix(rules, key_trace(rules, 200)).sum(axis=0).mean())

    assert overlap(adversarial_set("overlapping_ranges", 2000)) > 500
    assert overlap(adversarial_set("nested_ranges", 2000)) > 500
    assert overlap(adversarial_set("small_rectangles", 2000)) < 3
    pairs = adversarial_set("tuple_explosion", 1024)
    spans = {name: pairs[f"{name}_last"][:, 1] - pairs[f"{name}_first"][:, 1] for name in ("source", "destination")}
    assert len(set(zip(spans["source"].tolist(), spans["destination"].tolist(), strict=True))) == 1024
    for version in (4, 6):
        some = adversarial_set("address_ranges", 500, version=version)
        spans = [oracle.number(row, "source_last") - oracle.number(row, "source_first") for row in some]
        assert min(spans) >= 0
        assert len({span.bit_length() for span in spans}) > (15 if version == 4 else 80)
        assert sum(span & (span + 1) != 0 for span in spans) > 350, "ranges, not prefixes"
    assert np.bitwise_or.reduce(adversarial_set("eight_fields", 500)["conditions"]) == 255


@pytest.mark.parametrize("kind", TRACES)
@pytest.mark.parametrize("make", ["acl", "fw", "ipc", "eight_fields", "address_ranges"])
@pytest.mark.parametrize("version", [4, 6])
def test_traces_hit_their_rules(make: str, version: int, kind: str) -> None:
    maker = rule_set if make in FAMILIES else adversarial_set
    rules = maker(make, 300, version=version, seed=2)
    keys = key_trace(rules, 500, kind=kind, seed=3)
    assert keys.tobytes() == key_trace(rules, 500, kind=kind, seed=3).tobytes()
    assert set(keys["version"].tolist()) == {version}
    answers = oracle.brute_force(rules, keys)
    assert answers.min() >= 0, "every key is made inside a rule"
    different = len(np.unique(keys))
    assert different <= 32 if kind == "zipf" else different > 150
    if kind == "corner":
        hit = rules[answers]
        stated = (hit["conditions"] & 1) != 0
        low, high = hit["source_first"], hit["source_last"]
        edge = ((keys["source"] == low) | (keys["source"] == high)).all(axis=1)
        assert edge[stated].mean() > 0.5


def test_uniform_addresses_fill_their_range() -> None:
    first, last = (0x20010DB8 << 32, (1 << 64) - 3), ((0x20010DB8 << 32) + 2, 2)
    rules = fc.make_rules(source=(np.array([first], np.uint64), np.array([last], np.uint64)))
    rules = np.repeat(rules, 2)
    keys = key_trace(rules, 4000)
    numbers = [oracle.number(key, "source") for key in keys]
    low, high = first[0] << 64 | first[1], last[0] << 64 | last[1]
    assert low <= min(numbers) < low + (high - low) // 100
    assert high - (high - low) // 100 < max(numbers) <= high


def test_one_rule_without_conditions() -> None:
    rules = fc.make_rules(version=0)
    keys = key_trace(rules, 100)
    assert set(keys["version"].tolist()) == {4, 6}
    assert not keys["source"][keys["version"] == 4][:, 0].any()


@pytest.mark.parametrize("version", [4, 6])
def test_prefix_range(version: int) -> None:
    bits = 32 if version == 4 else 128
    words = np.array([[0, 0xDEADBEEF] if version == 4 else [0xDEADBEEF12345678, 0x9ABCDEF011223344]], np.uint64)
    address = int(words[0, 0]) << 64 | int(words[0, 1])
    for length in range(bits + 1):
        first, last = prefix_range(words, np.array([length]), version)
        span = (1 << (bits - length)) - 1
        assert int(first[0, 0]) << 64 | int(first[0, 1]) == address & ~span
        assert int(last[0, 0]) << 64 | int(last[0, 1]) == address | span


def test_first_occurrences() -> None:
    rules = rule_set("acl", 50)
    assert first_occurrences(np.concatenate([rules[:20], rules[10:], rules])).tolist() == [*range(20), *range(30, 60)]


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("version", [4, 6])
def test_classbench_round_trip(tmp_path: Path, version: int, suffix: str) -> None:
    for family in FAMILIES:
        rules = rule_set(family, 200, version=version)
        write_classbench(rules, tmp_path / f"set.rules{suffix}")
        assert fc.read_classbench(tmp_path / f"set.rules{suffix}").tobytes() == rules.tobytes()
    keys = key_trace(rules, 100)
    answers = oracle.brute_force(rules, keys)
    write_trace(keys, answers, tmp_path / f"set.trace{suffix}")
    again, right = read_trace(tmp_path / f"set.trace{suffix}")
    assert again.tobytes() == keys.tobytes()
    assert right.tolist() == answers.tolist()


def test_what_classbench_cannot_say(tmp_path: Path) -> None:
    good = rule_set("acl", 3)
    for bad in (
        fc.make_rules(version=4, source=("10.0.0.1", "10.0.0.2")),
        fc.make_rules(version=4, protocol=(6, 17)),
        fc.make_rules(version=6, spi=(1, 2)),
        fc.make_rules(version=0, destination_port=(1, 2)),
        fc.make_rules(version=4, destination_port=(0, 65535)),
    ):
        with pytest.raises(fc.ClassifierError, match="rule 3: not expressible"):
            write_classbench(np.concatenate([good, bad]), tmp_path / "bad.rules")
    assert not (tmp_path / "bad.rules").exists()


@pytest.mark.parametrize(
    "text", ["1 2 3 4\n", "1 2 3 4 5 x\n", "::1 1 1 1 1 0\n", "1 2 3 4 5 6\n::g ::1 1 1 1 0\n", ""]
)
def test_bad_traces_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.trace"
    path.write_text(text)
    with pytest.raises(fc.ClassifierError, match=r"bad\.trace"):
        read_trace(path)


def test_wrong_names() -> None:
    for call in (
        lambda: rule_set("nonsense", 5),
        lambda: rule_set("acl", 0),
        lambda: rule_set("acl", 5, version=5),
        lambda: adversarial_set("nonsense", 5),
        lambda: adversarial_set("tuple_explosion", 400_000),
        lambda: key_trace(rule_set("acl", 5), 5, kind="nonsense"),
    ):
        with pytest.raises(fc.ClassifierError):
            call()


def test_names_stand_for_makers() -> None:
    assert tuple(FAMILIES) == FAMILY_NAMES
    assert tuple(ADVERSARIAL) == ADVERSARIAL_NAMES


def statistics(rules: Rules) -> dict[str, float]:
    """Shares that make a family what it is."""
    n, stated = len(rules), rules["conditions"][:, None] & np.array([1, 2, 16, 32, 128], np.uint8) > 0
    out = dict(zip(("source", "destination", "sport", "dport", "protocol"), stated.mean(axis=0).tolist(), strict=True))
    bits = 32 if rules["version"][0] == 4 else 128
    for side in ("source", "destination"):
        span = rules[f"{side}_last"].astype(float) - rules[f"{side}_first"].astype(float)
        host = (span.sum(axis=1) == 0) & stated[:, 0 if side == "source" else 1]
        out[f"{side} hosts"] = float(host.mean())
        wide = span[:, 1] >= 2.0**28 if bits == 32 else span[:, 0] >= 2.0**56
        out[f"{side} wide"] = float((wide | ~stated[:, 0 if side == "source" else 1]).mean())
    for side in ("source_port", "destination_port"):
        out[f"{side} exact"] = float((rules[f"{side}_first"] == rules[f"{side}_last"]).mean())
        out[f"{side} high"] = float(((rules[f"{side}_first"] == 1024) & (rules[f"{side}_last"] == 65535)).mean())
    for protocol, count in Counter(rules["protocol_first"][stated[:, 4]].tolist()).items():
        if count > n / 50:
            out[f"protocol {protocol}"] = count / n
    return out


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("family", FAMILIES)
def test_families_resemble_classbench(shared: Path, family: str, version: int) -> None:
    model = fc.read_classbench(shared / "data" / "rulesets" / f"v{version}_{family}1_10k.rules.gz")
    ours, theirs = statistics(rule_set(family, len(model), version=version, seed=1)), statistics(model)
    for name in ours.keys() | theirs.keys():
        assert abs(ours.get(name, 0) - theirs.get(name, 0)) < 0.06, name
    for side in ("source", "destination"):
        distinct = [
            len(np.unique(r[[f"{side}_first", f"{side}_last"]])) / len(r) for r in (rule_set(family, 10000), model)
        ]
        assert distinct[0] / distinct[1] == pytest.approx(1, abs=0.6), side
