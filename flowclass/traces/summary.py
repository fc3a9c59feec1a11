"""The summary of a run over traces: packets per action, reason, node, flow and care-of address, and the damage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from flowclass.late import Late

from .outcomes import ACTIONS, REASONS, Rows, RowValues, row_values_of
from .reader import NO_TIME, Damage, Damages
from .unread import Unread, add_unread, unread_words

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from . import _rows
else:
    np = Late("numpy")
    _rows = Late("flowclass.traces._rows")

__all__ = ["FileSummary", "FlowSummary", "SavedSummary", "Summary", "Totals", "Updates", "first_of"]


class FileSummary(Struct):
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


class Totals(Struct):
    """Packets, their octets on the wire, and the times of the first and last (ns since 1970; None: none has a time)."""

    packets: int = 0
    octets: int = 0
    first: int | None = None
    last: int | None = None

    def add(self, more: Totals) -> None:
        """Adds the packets that ``more`` counts."""
        self.packets += more.packets
        self.octets += more.octets
        if more.first is not None and (self.first is None or more.first < self.first):
            self.first = more.first
        if more.last is not None and (self.last is None or more.last > self.last):
            self.last = more.last

    def to_dict(self) -> dict[str, int | None]:
        """For JSON."""
        return {"packets": self.packets, "octets": self.octets, "first_ns": self.first, "last_ns": self.last}


class FlowSummary(Totals):
    """Totals of the packets of one node that were treated alike: those of a flow, of its default, its signalling, ...

    ``care_of`` has the number of packets sent to each care-of address.
    """

    care_of: dict[str, int] = {}

    def send(self, packets: int, care_of: Iterable[str]) -> None:
        """Counts packets, each of which went to all of these care-of addresses."""
        for address in care_of:
            self.care_of[address] = self.care_of.get(address, 0) + packets


class Updates(Struct):
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
    statuses: dict[int, int] = {}
    flow_statuses: dict[int, int] = {}
    unread: dict[str, int] = {}


_HTML_ROWS = 20

_Key = tuple[str, str, str, int]  # home address or "", reason, action, FID or -1


class SavedSummary(NamedTuple):
    """A `Summary` as plain values, for a file; msgspec checks their types when it reads them back."""

    files: list[tuple[str, int, int, list[Damage], int, str | None, int | None]]
    cut: int
    unread: list[tuple[int, int, int]]
    ways: list[tuple[str, str, str, int, FlowSummary]]
    care_of: dict[str, Totals]


class Summary:
    """All counts of a run, to which batches are added. Its size depends on the nodes and flows, not on the packets."""

    def __init__(self) -> None:
        self.files: list[FileSummary] = []
        self.cut: int = 0
        self.unread: Unread = {}
        self.updates: Updates | None = None
        self._folded: dict[_Key, FlowSummary] = {}
        self._care_of: dict[str, Totals] = {}
        # totals by outcome id; they are added to `_folded` when somebody asks for them, or when the ids are forgotten
        self._values: list[RowValues] = []
        self._totals: npt.NDArray[np.void] | None = None  # none before the first batch
        self._counted: list[tuple[Any, ...]] = []  # arguments of add_decisions, added to `_folded` when somebody asks

    def add(self, rows: Rows, file: FileSummary, counted: Rows | None = None) -> None:
        """Counts one batch. An n-cast packet adds 1 to the count of each of its care-of addresses.

        Of the decisions only those of the rows ``counted`` count, where these are not all.
        """
        self.count(rows if counted is None else counted)
        file.packets += len(rows)
        file.octets += int(rows.sizes.sum(dtype=np.uint64))

    def count(self, rows: Rows) -> None:
        """Counts the outcomes of rows, but not the packets of their file."""
        if self._values is not rows.outcomes.values:
            self._fold()
            self._values = rows.outcomes.values
        known = len(self._values)
        if self._totals is None:
            self._totals = np.full(2 * known, _rows.NO_TOTAL)
        elif known > len(self._totals):
            self._totals = np.append(self._totals, np.full(2 * known - len(self._totals), _rows.NO_TOTAL))
        _rows.add_totals(self._totals, rows.ids, rows.sizes, rows.times)

    def add_decisions(
        self, decisions: npt.NDArray[np.void], addresses: tuple[Any, ...], totals: npt.NDArray[np.void]
    ) -> None:
        """Adds the totals (`TOTAL_DTYPE`) of the packets that had each of the decisions (`DECISION_DTYPE`).

        ``addresses`` is what `ForwardingTable.addresses_of` returned for these decisions. The caller has to count the
        packets and octets of the files. Texts are made only when somebody asks for them.
        """
        self._counted.append((decisions, addresses, totals))

    @property
    def _ways(self) -> dict[_Key, FlowSummary]:
        self._fold()
        return self._folded

    @property
    def care_of(self) -> dict[str, Totals]:
        """What was sent to each care-of address, by its text. An n-cast packet counts for each of its addresses."""
        self._fold()
        return self._care_of

    def _fold(self) -> None:
        if self._totals is not None:
            used = np.flatnonzero(self._totals["packets"])
            for number, total in zip(used.tolist(), self._totals[used].tolist(), strict=True):
                self._fold_one(self._values[number], _totals(total))
            self._totals[: len(self._values)] = _rows.NO_TOTAL
        counted, self._counted = self._counted, []
        for decisions, addresses, totals in counted:
            for outcome, total in zip(row_values_of(decisions, *addresses), totals.tolist(), strict=True):
                self._fold_one(outcome, _totals(total))

    def _fold_one(self, outcome: RowValues, total: Totals) -> None:
        action, reason, home_address, fid, _, care_of = outcome
        key = (home_address or "", reason, action, -1 if fid is None else fid)
        way = self._folded.get(key)
        if way is None:
            way = self._folded[key] = FlowSummary()
        way.add(total)
        way.send(total.packets, care_of)
        for address in care_of:
            known = self._care_of.get(address)
            if known is None:
                known = self._care_of[address] = Totals()
            known.add(total)

    @property
    def damage(self) -> list[Damage]:
        """The damaged places of all files; of each file the first 1,000."""
        return [damage for file in self.files for damage in file.damage]

    @property
    def is_damaged(self) -> bool:
        """Whether some file was damaged, or could not be read at all."""
        return any(file.damage or file.error is not None for file in self.files)

    def damage_texts(self) -> list[str]:
        """A sentence for each file that is damaged, or could not be read at all."""
        found = []
        for file in self.files:
            if file.error is not None:
                found.append(f"{file.file}: {file.error}: passed over")
            if file.damage:
                more = f"; and {file.damage.found - 1} more damaged places" if file.damage.found > 1 else ""
                found.append(f"{file.damage[0]}{more}")
        return found

    @property
    def packets(self) -> int:
        """Packets of all files."""
        return sum(file.packets for file in self.files)

    @property
    def octets(self) -> int:
        """Octets of all files, as they were on the wire."""
        return sum(file.octets for file in self.files)

    def __repr__(self) -> str:
        reasons = ", ".join(f"{way.packets} {name}" for name, way in self.by_reason().items() if way.packets)
        damaged = sum(bool(file.damage or file.error) for file in self.files)
        rest = f"; {damaged} of {len(self.files)} files damaged" if damaged else ""
        return f"<Summary of {self.packets} packets{': ' * bool(reasons)}{reasons}{rest}>"

    def _repr_html_(self) -> str:
        """Tables for a notebook: packets by reason, what was sent to 20 care-of addresses at most, and the damage."""
        from html import escape

        ways = [(name, way) for name, way in self.by_reason().items() if way.packets]
        text = _html_table("reason", ways) + _html_table("care-of address", first_of(self.care_of, _HTML_ROWS))
        if len(self.care_of) > _HTML_ROWS:
            text += f"<p>the busiest ones, and {len(self.care_of) - _HTML_ROWS} more care-of addresses</p>"
        damage = self.damage_texts()
        text += "".join(f"<p>{escape(line)}</p>" for line in damage[:_HTML_ROWS])
        return text + (f"<p>and {len(damage) - _HTML_ROWS} more files</p>" if len(damage) > _HTML_ROWS else "")

    def by_reason(self) -> dict[str, FlowSummary]:
        """Packets and octets for each reason, in the order of `REASONS`."""
        return self._by(1, REASONS)

    def by_action(self) -> dict[str, FlowSummary]:
        """Packets and octets for each action."""
        return self._by(2, ACTIONS)

    def _by(self, part: int, names: tuple[str, ...]) -> dict[str, FlowSummary]:
        totals = {name: FlowSummary() for name in names}
        for key, way in self._ways.items():
            totals[str(key[part])].add(way)
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
            mine.add(way)
            for address, packets in way.care_of.items():
                mine.send(packets, [address])
        for address, total in other.care_of.items():
            self._care_of.setdefault(address, Totals()).add(total)

    def to_saved(self) -> SavedSummary:
        """All counts except those of binding updates, in a form that can be written to a file."""
        files = [(file.file, file.packets, file.octets, list(file.damage), file.damage.more, file.error, file.read_to)
                 for file in self.files]  # fmt: skip
        unread = [(*key, packets) for key, packets in self.unread.items()]
        return SavedSummary(files, self.cut, unread, [(*key, way) for key, way in self._ways.items()], self.care_of)

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
        found._care_of = saved.care_of
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
            "care_of": [{"care_of": address, **total.to_dict()} for address, total in sorted(self.care_of.items())],
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

    def nodes(self) -> dict[str, Totals]:
        """What was addressed to each node, by its home address as text, in the order of `ways`."""
        nodes: dict[str, Totals] = {}
        for home, _, _, _, way in self.ways():
            nodes.setdefault(home, Totals()).add(way)
        return nodes

    def _nodes(self) -> list[dict[str, Any]]:
        nodes: dict[str, dict[str, Any]] = {
            home: {"home_address": home, **total.to_dict(), "decisions": []} for home, total in self.nodes().items()
        }
        for home, reason, action, fid, way in self.ways():
            entry = {"reason": reason, "action": action, "fid": fid, **way.to_dict()}
            nodes[home]["decisions"].append({**entry, "care_of": dict(sorted(way.care_of.items()))})
        return list(nodes.values())


def first_of(totals: Mapping[str, Totals], most: int) -> list[tuple[str, Totals]]:
    """All totals by name; or if there are more than ``most``, so many with the most packets, the busiest first."""
    found = sorted(totals.items())
    return found if len(found) <= most else sorted(found, key=lambda item: -item[1].packets)[:most]


def _html_table(heading: str, rows: Sequence[tuple[str, Totals]]) -> str:
    from html import escape

    left, right = (f' style="text-align: {side}"' for side in ("left", "right"))  # notebooks align everything right
    lines = "".join(
        f"<tr><td{left}>{escape(name)}</td><td{right}>{t.packets:,}</td><td{right}>{t.octets:,}</td></tr>"
        for name, t in rows
    )
    head = f"<tr><th{left}>{heading}</th><th{right}>packets</th><th{right}>octets</th></tr>"
    return f"<table>{head}{lines}</table>" if rows else ""


def _totals(values: tuple[int, int, int, int]) -> Totals:
    """The totals of one element of `TOTAL_DTYPE`."""
    packets, octets, first, last = values
    return Totals(packets, octets) if last == NO_TIME else Totals(packets, octets, first, last)


def _plain(value: Any, leave_out: str = "") -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__struct_fields__ if name != leave_out}
