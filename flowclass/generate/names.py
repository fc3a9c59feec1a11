"""Names of the rule sets that can be generated; kept apart, so that `flowclass bench --help` doesn't load numpy."""

from __future__ import annotations

from typing import Final

__all__ = ["ADVERSARIAL_NAMES", "FAMILY_NAMES", "MAX_RULES"]

FAMILY_NAMES: Final = ("acl", "fw", "ipc")
ADVERSARIAL_NAMES: Final = (
    "prefix_pairs",
    "nested_ranges",
    "small_rectangles",
    "medium_rectangles",
    "overlapping_ranges",
    "tuple_explosion",
    "one_leaf",
    "address_ranges",
    "eight_fields",
    "staggered",
    "one_box",
    "present_fields",
    "corners",
)
MAX_RULES: Final = 1 << 24
