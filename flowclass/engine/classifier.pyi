from collections.abc import Sequence
from typing import Any, Self, TypedDict

import numpy as np
import numpy.typing as npt

__all__ = ["Classifier", "kernels"]

class TableInfo(TypedDict):
    rules: int
    trees: tuple[int, int]
    depth: int
    largest_leaf: int
    nodes: int
    slots: int
    leaf_rules: int
    steps: tuple[int, int]
    rebuilds: int
    bytes: int

def kernels() -> dict[str, bool]:
    """The kernels of this build by name, and whether this CPU can run them: ``{"scalar": True, "avx2": ...}``."""

def parts_of(n: int, threads: int, least: int = 16384) -> list[tuple[int, int]]:
    """Divides ``n`` items among up to ``threads`` threads, at least ``least`` for each: [(begin, end), ...]."""

class Classifier:
    """A rule set of any size, from one rule to millions, that may change while it is read.

    ``rules`` is an array of RULE_DTYPE; it is copied. Its order is the order of priority: of the rules that match, the
    first decides. Rule i has the id i and the priority i.

    Any number of threads may classify, insert and remove at once. Readers take no lock: each answer is that of a state
    that existed during the call, with every insertion or removal of a rule seen whole or not at all. The GIL is
    released in every method that looks up, builds or changes.

    Raises ClassifierError for a bad rule, with the field that is wrong.
    """
    def __new__(cls, rules: npt.NDArray[np.void]) -> Self: ...
    def __len__(self) -> int: ...
    @property
    def info(self) -> TableInfo:
        """Counts, as a dict. ``rules`` is how many there are now. Of the last build: ``trees`` (per IP version),
        ``depth``, ``largest_leaf`` (its rules), ``nodes``, ``slots``, and ``leaf_rules`` (copies of rules in leaves).
        ``steps`` (per IP version) is how many look-ups a key takes in the cross-product tables that a small set has
        beside its trees, 1 where it has bit vectors in their place, 0 where it has neither. ``rebuilds`` counts from
        the first update on, and ``bytes`` is all memory in use.
        """
    def classify(
        self,
        keys: npt.NDArray[np.void],
        out: npt.NDArray[np.int32] | None = None,
        kernel: str = "auto",
        *,
        threads: int = 1,
    ) -> npt.NDArray[np.int32]:
        """For each key the id of the first rule that matches, or -1: an int32 array of the keys' length.

        ``keys`` is an array of KEY_DTYPE. ``out``, when given, is a contiguous, writable int32 array of that length,
        which is filled and returned. A named ``kernel`` runs or fails. ``threads`` shares a batch between so many
        threads, where each gets at least 16,384 keys: below that, starting them costs more than they save.
        """
    def insert(
        self, rules: npt.NDArray[np.void], priorities: float | Sequence[float] | npt.NDArray[Any]
    ) -> npt.NDArray[np.uint32]:
        """Inserts rules, one after the other, and returns their ids: a uint32 array.

        ``rules`` is an array of RULE_DTYPE. ``priorities`` has a number for each rule, or is one number for all; the
        rule with the lowest one comes first. The rules that the classifier was made of have 0, 1, 2 ..., so 0.5 is
        between the first two and -1 before all. Of equal priorities the lower id comes first. Ids of removed rules are
        given again.

        The call itself builds the classifier anew only at the very first update, for the first rule with a condition on
        a field that no rule had, and when there is no room left for new leaves. That takes about as long as making the
        classifier did; readers go on meanwhile.

        Raises ClassifierError, with nothing inserted, for a bad rule or a priority that is not a number.
        """
    def remove(self, ids: int | Sequence[int] | npt.NDArray[Any]) -> None:
        """Removes the rules with these ids (an integer or a sequence), one after the other.

        Raises ClassifierError for an id that no rule has; those before it in ``ids`` are removed.
        """
    def rebuild(self) -> None:
        """Builds the classifier anew now, while readers go on. Otherwise that is done in the background, when updates
        have made look-ups slower.
        """
