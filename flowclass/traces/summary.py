"""The summary of a run over traces: packets per action, reason, node, flow and care-of address, and the damage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .outcomes import ACTIONS, REASONS, Rows, RowValues, row_values_of
from .reader import Damage, Damages
from .unread import Unread, add_unread, unread_words

__all__ = ["FileSummary", "FlowSummary", "SavedSummary", "Summary", "Updates"]


@dataclass(slots=True)
class FileSummary:
    """What was read of one trace.

    ``octets`` are those on the wire. ``error`` says why nothing could be read of a trace that is missing, empty or not
    a capture. ``read_to`` is the octet offset up to which a file was read that several workers shared, if more was
    appended to it meanwhile.
    """

    file: str
    packets: int = 0
    octets: int = 0
    damage: Damages = field(default_factory=Damages)
    error: str | None = None
    read_to: int | None = None


@dataclass(slots=True)
class FlowSummary:
    """Counts of the packets of one node that were treated alike: those of a flow, of its default, its signalling, ...

    ``care_of`` has the number of packets sent to each care-of address.
    """

    packets: int = 0
    octets: int = 0
    care_of: dict[str, int] = field(default_factory=dict)

    def add(self, packets: int, octets: int, care_of: Iterable[str]) -> None:
        """Adds ``packets`` packets, with ``octets`` in all, each of which went to all of these care-of addresses."""
        self.packets += packets
        self.octets += octets
        for address in care_of:
            self.care_of[address] = self.care_of.get(address, 0) + packets


@dataclass(slots=True)
class Updates:
    """Counts of the binding updates that a replay met.

    ``accepted`` and ``rejected`` are counted by the status of the acknowledgement. Updates that are ``ignored`` got no
    acknowledgement: they were unreadable, had a bad checksum, or were not meant for a home agent. Flows are counted by
    the status of their own option. ``statuses`` and ``flow_statuses`` map each status to how often it occurred (for the
    names see `wire.BINDING_STATUS` and the statuses of the ``profile``). ``unread`` counts the signalling that could
    not be read, by reason.
    """

    received: int = 0
    accepted: int = 0
    rejected: int = 0
    ignored: int = 0
    flows_accepted: int = 0
    flows_rejected: int = 0
    profile: str = "draft"
    statuses: dict[int, int] = field(default_factory=dict)
    flow_statuses: dict[int, int] = field(default_factory=dict)
    unread: dict[str, int] = field(default_factory=dict)


_Key = tuple[str, str, str, int]  # home address or "", reason, action, FID or -1


class SavedSummary(NamedTuple):
    """A `Summary` as plain values, for a file; msgspec checks their types when it reads them back."""

    files: list[tuple[str, int, int, list[Damage], int, str | None, int | None]]
    cut: int
    unread: list[tuple[int, int, int]]
    ways: list[tuple[str, str, str, int, FlowSummary]]


class Summary:
    """All counts of a run, to which batches are added. Its size depends on the nodes and flows, not on the packets."""

    def __init__(self) -> None:
        self.files: list[FileSummary] = []
        self.cut: int = 0
        self.unread: Unread = {}
        self.updates: Updates | None = None
        self._folded: dict[_Key, FlowSummary] = {}
        # counts by outcome id; they are added to `_folded` when somebody asks for counts, or when the ids are forgotten
        self._values: list[RowValues] = []
        self._packets = np.zeros(0, dtype=np.int64)
        self._octets = np.zeros(0, dtype=np.float64)  # exact up to 2**53
        self._counted: list[tuple[Any, ...]] = []  # arguments of add_decisions, added to `_folded` when somebody asks

    def add(self, rows: Rows, file: FileSummary) -> None:
        """Counts one batch. An n-cast packet adds 1 to the count of each of its care-of addresses."""
        self.count(rows)
        file.packets += len(rows)
        file.octets += int(rows.sizes.sum(dtype=np.uint64))

    def count(self, rows: Rows, sign: int = 1) -> None:
        """Counts the outcomes of rows, but not the packets of their file. ``sign`` -1 removes rows counted before."""
        if self._values is not rows.outcomes.values:
            self._fold()
            self._values = rows.outcomes.values
        known = len(self._values)
        if known > len(self._packets):
            more = 2 * known - len(self._packets)
            self._packets = np.append(self._packets, np.zeros(more, dtype=np.int64))
            self._octets = np.append(self._octets, np.zeros(more))
        self._packets[:known] += sign * np.bincount(rows.ids, minlength=known)
        self._octets[:known] += sign * np.bincount(rows.ids, weights=rows.sizes, minlength=known)

    def add_decisions(
        self,
        decisions: npt.NDArray[np.void],
        addresses: tuple[Any, ...],
        packets: npt.NDArray[np.uint64],
        octets: npt.NDArray[np.uint64],
    ) -> None:
        """Adds the numbers of ``packets`` and ``octets`` of decisions (`DECISION_DTYPE`), one element per decision.

        ``addresses`` is what `ForwardingTable.addresses_of` returned for these decisions. The caller has to count the
        packets and octets of the files. Texts are made only when somebody asks for them.
        """
        self._counted.append((decisions, addresses, packets, octets))

    @property
    def _ways(self) -> dict[_Key, FlowSummary]:
        self._fold()
        return self._folded

    def _fold(self) -> None:
        for number in np.flatnonzero(self._packets).tolist():
            self._fold_one(self._values[number], int(self._packets[number]), int(self._octets[number]))
        self._packets[:] = 0
        self._octets[:] = 0
        counted, self._counted = self._counted, []
        for decisions, addresses, packets, octets in counted:
            for outcome, *counts in zip(
                row_values_of(decisions, *addresses), packets.tolist(), octets.tolist(), strict=True
            ):
                self._fold_one(outcome, *counts)

    def _fold_one(self, outcome: RowValues, packets: int, octets: int) -> None:
        action, reason, home_address, fid, _, care_of = outcome
        key = (home_address or "", reason, action, -1 if fid is None else fid)
        way = self._folded.get(key)
        if way is None:
            way = self._folded[key] = FlowSummary()
        way.add(packets, octets, care_of)

    @property
    def damage(self) -> list[Damage]:
        """The damaged places of all files; of each file the first 1,000."""
        return [damage for file in self.files for damage in file.damage]

    @property
    def is_damaged(self) -> bool:
        """Whether some file was damaged, or could not be read at all."""
        return any(file.damage or file.error is not None for file in self.files)

    @property
    def packets(self) -> int:
        """Packets of all files."""
        return sum(file.packets for file in self.files)

    @property
    def octets(self) -> int:
        """Octets of all files, as they were on the wire."""
        return sum(file.octets for file in self.files)

    def by_reason(self) -> dict[str, FlowSummary]:
        """Packets and octets for each reason, in the order of `REASONS`."""
        return self._by(1, REASONS)

    def by_action(self) -> dict[str, FlowSummary]:
        """Packets and octets for each action."""
        return self._by(2, ACTIONS)

    def _by(self, part: int, names: tuple[str, ...]) -> dict[str, FlowSummary]:
        totals = {name: FlowSummary() for name in names}
        for key, way in self._ways.items():
            total = totals[str(key[part])]
            total.packets += way.packets
            total.octets += way.octets
        return totals

    def ways(self) -> list[tuple[str, str, str, int | None, FlowSummary]]:
        """(home address, reason, action, FID, counts), by home address as text, then flows by FID, then the rest."""
        order = {reason: place for place, reason in enumerate(("flow", "default", "signalling", "unbound"))}
        ways = self._ways
        keys = sorted((k for k in ways if k[0]), key=lambda k: (k[0], order[k[1]], k[3], k[2]))
        return [(home, reason, action, None if fid < 0 else fid, ways[home, reason, action, fid])
                for home, reason, action, fid in keys]  # fmt: skip

    def merge(self, other: Summary, *, same_file: bool = False) -> None:
        """Adds the counts of another run, whose files come after those of this one.

        ``same_file`` means that the other run read the next part of this one's last file, and counted its frames from 1
        again.
        """
        if same_file:
            last, more = self.files[-1], other.files[0]
            for damage in more.damage:
                last.damage.add(replace(damage, frame=damage.frame + last.packets))
            last.damage.more += more.damage.more
            last.packets += more.packets
            last.octets += more.octets
            last.read_to = more.read_to
        else:
            self.files += other.files
        self.cut += other.cut
        add_unread(self.unread, [(*key, packets) for key, packets in other.unread.items()])
        for key, way in other._ways.items():
            mine = self._folded.setdefault(key, FlowSummary())
            mine.packets += way.packets
            mine.octets += way.octets
            for address, packets in way.care_of.items():
                mine.care_of[address] = mine.care_of.get(address, 0) + packets

    def to_saved(self) -> SavedSummary:
        """All counts except those of binding updates, in a form that can be written to a file."""
        files = [(file.file, file.packets, file.octets, list(file.damage), file.damage.more, file.error, file.read_to)
                 for file in self.files]  # fmt: skip
        unread = [(*key, packets) for key, packets in self.unread.items()]
        return SavedSummary(files, self.cut, unread, [(*key, way) for key, way in self._ways.items()])

    @classmethod
    def from_saved(cls, saved: SavedSummary) -> Summary:
        """The summary of which `to_saved` made ``saved``."""
        found = cls()
        found.cut = saved.cut
        add_unread(found.unread, saved.unread)
        for name, packets, octets, damage, more, error, read_to in saved.files:
            found.files.append(FileSummary(name, packets, octets, Damages(damage, more), error, read_to))
        for home, reason, action, fid, way in saved.ways:
            found._folded[home, reason, action, fid] = way
        return found

    def to_dict(self) -> dict[str, Any]:
        """The summary as values for JSON. Every action and reason is included, even with 0 packets."""
        return {
            "packets": self.packets,
            "octets": self.octets,
            "cut": self.cut,
            "actions": {name: way.packets for name, way in self.by_action().items()},
            "reasons": {name: way.packets for name, way in self.by_reason().items()},
            "unread": [
                {"what": unread_words(*key), "packets": packets}
                for key, packets in sorted(self.unread.items(), key=lambda item: (-item[1], item[0]))
            ],
            "nodes": self._nodes(),
            "updates": None if self.updates is None else _plain(self.updates),
            "files": [
                {
                    "file": file.file,
                    "packets": file.packets,
                    "octets": file.octets,
                    "damage": [_plain(damage, leave_out="file") for damage in file.damage],
                    "more_damage": file.damage.more,
                    "error": file.error,
                    "read_to": file.read_to,
                }
                for file in self.files
            ],
        }

    def _nodes(self) -> list[dict[str, Any]]:
        nodes: dict[str, dict[str, Any]] = {}
        for home, reason, action, fid, way in self.ways():
            node = nodes.setdefault(home, {"home_address": home, "packets": 0, "octets": 0, "decisions": []})
            node["packets"] += way.packets
            node["octets"] += way.octets
            entry = {"reason": reason, "action": action, "fid": fid, "packets": way.packets, "octets": way.octets}
            node["decisions"].append({**entry, "care_of": dict(sorted(way.care_of.items()))})
        return list(nodes.values())


def _plain(value: Any, leave_out: str = "") -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__ if name != leave_out}
