"""Explains why one packet went where it went: every flow binding that was tried, and the field on which it failed.

The explanation is made by comparing the packet with the rules one by one, field by field, because the classifier tells
only which rule matched. The decision itself comes from the classifier.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from flowclass.addresses import address_text
from flowclass.engine.decisions import DecisionFlag
from flowclass.engine.fields import ADDRESSES, BITS
from flowclass.engine.keys import RULE_DTYPE
from flowclass.engine.packets import parse
from flowclass.errors import FlowclassError
from flowclass.mobility import HomeAgent
from flowclass.mobility.addresses import stays_on_link
from flowclass.mobility.cache.node import DISCARD, NCAST, Flow, Node

from .decompress import MEMORY
from .outcomes import ACTIONS, REASONS, Rows, RowValues
from .reader import Damages, KeyBatch, Trace
from .replaying import replay
from .run import Run, Source, new_fragments
from .sources import FileIdentity, identity_of
from .unread import unread_words

__all__ = ["Candidate", "Explanation", "explain_frame", "explain_packet"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One flow binding of the node.

    ``failed`` is the field on which the packet failed it; None if it matched or was not tried. ``words`` is the
    explanation in words.
    """

    fid: int
    pri: int
    action: str
    bids: tuple[int, ...]
    matched: bool
    failed: str | None
    words: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """One frame explained: its fields, the node that it is for, the flow bindings in matching order, the outcome.

    ``damages`` are the damaged places that were met in the file on the way to the frame; `to_dict` leaves them out.
    """

    file: str
    frame: int
    packet: dict[str, Any]
    node: str | None
    node_words: str
    candidates: tuple[Candidate, ...]
    outcome: RowValues
    damages: Damages = field(default_factory=Damages)

    def to_dict(self) -> dict[str, Any]:
        """The explanation as values for JSON."""
        values = asdict(self) | {"outcome": self.outcome._asdict()}
        del values["damages"]
        return values


class _Found(Exception):
    """Raised to end a run when the frame has been decided."""


def explain_frame(
    agent: HomeAgent,
    source: Source,
    frame: int,
    *,
    inner: int = 0,
    updates: bool = False,
    memory: int = MEMORY,
    esp_null: bool = True,
) -> Explanation:
    """Explains frame number ``frame`` of a trace; with ``updates``, after the binding updates before it."""
    outcomes: list[RowValues] = []

    def watch(rows: Rows) -> None:
        first = int(rows.frames[0])
        if first <= frame < first + len(rows):
            outcomes.append(rows.outcomes.values[rows.ids[frame - first]])
            raise _Found

    before = _identity(source)
    run = Run(agent, observers=[watch], inner=inner, memory=memory, esp_null=esp_null)
    try:
        (replay(run, [source]) if updates else run.classify([source]))
    except _Found:
        pass
    else:
        raise FlowclassError(f"{source}: has {run.summary.packets} frames, there is no frame {frame}")
    batch, i, damages = _find(source, frame, inner, memory, before)
    found = _explain(agent, batch.keys[i], batch.infos[i], outcomes[0], run.summary.files[0].file, frame)
    return replace(found, damages=damages)


def explain_packet(agent: HomeAgent, packet: bytes, name: str = "packet") -> Explanation:
    """Explains a whole IP packet by the present state of the agent."""
    keys, infos = parse([packet])
    table = agent.table
    decision = table.classify_parsed(keys, infos)[0]
    home = table.home_address(decision)
    flags = int(decision["flags"])
    outcome = RowValues(
        ACTIONS[int(decision["action"])],
        REASONS[int(decision["reason"])],
        None if home is None else address_text(home),
        int(decision["fid"]) if flags & DecisionFlag.FID else None,
        int(decision["bid"]) if flags & DecisionFlag.BID else None,
        tuple(address_text(address) for address in table.care_of(decision)),
    )
    return _explain(agent, keys[0], infos[0], outcome, name, 1)


def _explain(agent: HomeAgent, key: Any, info: Any, outcome: RowValues, file: str, frame: int) -> Explanation:
    node, words = _node(agent, key, outcome)
    tried: tuple[Candidate, ...] = ()
    if node is not None and outcome.reason in ("flow", "default", "unbound"):
        tried = tuple(_candidates(node, key))
    return Explanation(
        file=file,
        frame=frame,
        packet=_packet(key, info),
        node=None if node is None else address_text(node.home),
        node_words=words,
        candidates=tried,
        outcome=outcome,
    )


def _identity(source: Source) -> FileIdentity | None:
    with contextlib.suppress(OSError, TypeError, ValueError):  # a file object, or a missing file: reported later
        return identity_of(source)  # type: ignore[arg-type]  # a file object is a TypeError
    return None


def _find(
    source: Source, frame: int, inner: int, memory: int, before: FileIdentity | None
) -> tuple[KeyBatch, int, Damages]:
    """Reads the trace again up to a frame, with a new fragment memory; returns its batch, its index in it, and what was
    damaged up to there."""
    with Trace(source, memory=memory) as trace:
        for batch in trace.keys(fragments=new_fragments(), inner=inner):
            if frame < batch.first_frame + len(batch):
                trace.check(before)
                return batch, frame - batch.first_frame, trace.damages
        trace.check(before)
        raise FlowclassError(f"{trace.name}: frame {frame} was there at first, and can't be read again")


def _packet(key: Any, info: Any) -> dict[str, Any]:
    """The fields that the packet has, or why it has none."""
    found: dict[str, Any]
    if not key["version"]:
        found = {"status": ("ok", "not-ip", "malformed")[info["status"]]}
        if info["unread"]:
            found["because"] = unread_words(int(info["unread"]), int(info["unread_value"]))
        return found
    found = {"version": int(key["version"])}
    for name, bit in BITS.items():
        if key["present"] & bit:
            found[name] = _text(name, _number(key[name], name), int(key["version"]))
    kinds = ("whole", "first fragment", "later fragment")
    found["fragment"] = kinds[info["fragment"]] if info["fragment"] < len(kinds) else "fragment"
    return found


def _number(value: Any, name: str) -> int:
    return int(value[0]) << 64 | int(value[1]) if name in ADDRESSES else int(value)


def _text(name: str, number: int, version: int) -> Any:
    if name in ADDRESSES:
        return address_text(number.to_bytes(4 if version == 4 else 16, "big"))
    return f"0x{number:02x}" if name == "traffic_class" else number


def _node(agent: HomeAgent, key: Any, outcome: RowValues) -> tuple[Node | None, str]:
    if not key["version"]:
        return None, "it says no destination"
    size = 4 if key["version"] == 4 else 16
    destination = _number(key["destination"], "destination").to_bytes(size, "big")
    for node in agent.cache:
        if outcome.home_address == address_text(node.home):
            if destination == node.home:
                return node, "its home address"
            if destination in node.also:
                return node, "another home address of it"
            return node, f"its prefix {_longest(node, destination)}"
    if stays_on_link(destination):
        return None, f"{address_text(destination)} is no home address, and packets to it stay on their link"
    return None, f"{address_text(destination)} is no home address and in no mobile network prefix"


def _longest(node: Node, destination: bytes) -> str:
    """The longest of the node's prefixes that contains the address."""
    bits, value = 8 * len(destination), int.from_bytes(destination, "big")
    best = max(
        ((length, network) for network, length in node.prefixes
         if len(network) == len(destination)
         and value >> (bits - length) == int.from_bytes(network, "big") >> (bits - length)),
        default=(0, bytes(len(destination))),
    )  # fmt: skip
    return f"{address_text(best[1])}/{best[0]}"


def _candidates(node: Node, key: Any) -> list[Candidate]:
    found: list[Candidate] = []
    winner: int | None = None
    for flow in node.ordered():
        if winner is not None:
            field, words = None, f"not tried: flow {winner} decided"
        elif not node.active(flow):
            field, words = None, f"inactive: none of its BIDs {_list(flow.bids)} is registered"
        else:
            field, words = _first_failure(flow, key)
            if field is None:
                winner = flow.fid
        action = {DISCARD: "discard", NCAST: "n-cast"}.get(flow.action, "forward")
        found.append(Candidate(flow.fid, flow.priority, action, flow.bids, winner == flow.fid, field, words))
    return found


def _list(bids: Sequence[int]) -> str:
    return ", ".join(map(str, bids))


def _first_failure(flow: Flow, key: Any) -> tuple[str | None, str]:
    """(first field on which the packet fails the flow, explanation in words); the field is None for a match."""
    rule = np.frombuffer(flow.rule, dtype=RULE_DTYPE)[0]
    version = int(rule["version"])
    if version not in (0, int(key["version"])):
        return "version", f"version: it asks for IPv{version}, the packet is IPv{key['version']}"
    for name, bit in BITS.items():
        if not rule["conditions"] & bit:
            continue
        first, last = (_number(rule[f"{name}_{end}"], name) for end in ("first", "last"))
        wanted = f"{name}: it asks for {_range(name, first, last, version)}"
        if not key["present"] & bit:
            return name, f"{wanted}, the packet has none"
        value = _number(key[name], name)
        shift = 2 if name == "traffic_class" else 0
        if not first >> shift <= value >> shift <= last >> shift:
            return name, f"{wanted}, the packet has {_text(name, value, version)}"
    return None, "matches" if rule["conditions"] else "matches: a wild card"


def _range(name: str, first: int, last: int, version: int) -> str:
    texts = [str(_text(name, number, version)) for number in (first, last)]
    suffix = " (upper six bits)" if name == "traffic_class" else ""
    return (texts[0] if first == last else "-".join(texts)) + suffix
