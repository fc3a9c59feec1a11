"""Small rule sets, which get cross-product tables beside their trees: right answers, with the tables and without."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
import strategies

import flowclass as fc
from flowclass.bench.linear import first_match
from flowclass.generate.key_traces import key_trace, near_misses
from flowclass.generate.rulesets import FAMILIES, rule_set

KERNELS = ["auto", *(name for name, runs in fc.kernels().items() if runs)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("n", [1, 16, 256, 1000, 2100])
def test_generated_sets_have_the_answers_of_linear_search(family: str, version: int, n: int) -> None:
    rules = rule_set(family, n, version=version, seed=n)
    kinds = [key_trace(rules, 1000, kind=kind, seed=n) for kind in ("uniform", "corner")]
    keys = np.concatenate([*kinds, near_misses(rules, 500, seed=n)])
    table = fc.Classifier(rules)
    right = first_match(rules, keys)
    for kernel in KERNELS:
        np.testing.assert_array_equal(table.classify(keys, kernel=kernel), right)


def test_small_ipv4_sets_have_steps_and_large_ones_have_none() -> None:
    for family in FAMILIES:
        assert fc.Classifier(rule_set(family, 256, version=4, seed=5)).info["steps"][0] > 0
    assert fc.Classifier(rule_set("acl", 5000, version=4, seed=5)).info["steps"] == (0, 0)
    assert fc.Classifier(rule_set("acl", 64, version=4, seed=5)).info["steps"][1] == 0
    assert fc.Classifier(rule_set("acl", 64, version=6, seed=5)).info["steps"][1] > 0


def test_steps_count_in_bytes_and_updates_do_without_them() -> None:
    rules = rule_set("acl", 64, version=4, seed=6)
    keys = key_trace(rules, 5000, kind="uniform", seed=6)
    table = fc.Classifier(rules)
    assert table.info["steps"][0] > 0
    assert table.info["bytes"] > 64 * len(rules)
    table.remove([0])
    np.testing.assert_array_equal(
        table.classify(keys), np.where(first_match(rules[1:], keys) < 0, -1, first_match(rules[1:], keys) + 1)
    )
    table.insert(rules[:1], -1.0)
    assert (table.classify(keys) >= 0).sum() == (first_match(rules, keys) >= 0).sum()


@pytest.mark.parametrize("seed", range(12))
def test_random_rules_of_both_versions_in_all_fields(seed: int) -> None:
    rules, keys = strategies.rules_and_keys(seed, 4 + 5 * seed, 700)
    right = oracle.brute_force(rules, keys)
    table = fc.Classifier(rules)
    for kernel in KERNELS:
        np.testing.assert_array_equal(table.classify(keys, kernel=kernel), right)


def test_keys_of_both_versions_without_ports_and_of_no_version() -> None:
    rules = np.concatenate([rule_set(f, 60, version=v, seed=7) for v in (4, 6) for f in ("acl", "fw")])
    keys = np.concatenate([key_trace(rules[rules["version"] == v], 2000, kind="uniform", seed=8) for v in (4, 6)])
    keys = keys[np.random.default_rng(1).permutation(len(keys))]
    keys["present"][::5] &= 0xFF ^ (16 | 32)
    keys["source_port"][::5] = 0
    keys["destination_port"][::5] = 0
    keys["version"][::97] = 0
    right = oracle.brute_force(rules, keys)
    table = fc.Classifier(rules)
    assert min(table.info["steps"][:1]) > 0
    for kernel in KERNELS:
        np.testing.assert_array_equal(table.classify(keys, kernel=kernel), right)
