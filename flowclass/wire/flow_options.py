"""The flow options of both profiles: flow identification with its sub-options, and flow summary."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from flowclass.wire.lazy import Received, fast_init, received
from flowclass.wire.numbers import Action, Request
from flowclass.wire.options import Pad1, PadN
from flowclass.wire.selectors import (
    TrafficSelector4,
    TrafficSelector6,
    UnknownSelector,
    decode_selector,
    encode_selector,
)

__all__ = [
    "BindingReference",
    "FlowIdentification",
    "FlowSummary",
    "MalformedSubOption",
    "SubOption",
    "TrafficSelectorOption",
    "UnknownSubOption",
]


@fast_init
@dataclass(frozen=True, slots=True)
class BindingReference:
    """The BIDs that a flow goes to (draft 3.2, R29-R34; RFC 6089 4.2.1.3): one or more."""

    bids: tuple[int, ...]


@fast_init
@dataclass(frozen=True, slots=True)
class TrafficSelectorOption(Received):
    """The description of a flow (RFC 6089 4.2.1.4; in the draft profile by K8 and K22)."""

    _late: ClassVar[tuple[str, ...]] = ("selector",)

    selector: TrafficSelector4 | TrafficSelector6 | UnknownSelector

    def _complete(self) -> None:
        octets: bytes = self._octets
        _set_selector(self, decode_selector(octets[0], octets, 2, len(octets)))

    @property
    def octets(self) -> bytes:
        """TS Format, a reserved octet, and the selector as it is on the wire."""
        octets: bytes | None = getattr(self, "_octets", None)
        if octets is None:
            octets = bytes((self.selector.format, 0)) + encode_selector(self.selector)
        return octets


_set_selector: Any = TrafficSelectorOption.__dict__["selector"].__set__
received_selector = received(TrafficSelectorOption)


@dataclass(frozen=True, slots=True)
class UnknownSubOption:
    """A sub-option that the profile does not know: skipped by receivers, kept for a round trip."""

    type: int
    data: bytes


@dataclass(frozen=True, slots=True)
class MalformedSubOption:
    """A sub-option that breaks a rule: its octets with type and length, why, and where.

    When the fault is in the sub-option's own length, ``octets`` is all that is left of the flow identification option.
    It does not make the message unreadable: the receiver answers for this flow alone, with the profile's status
    "malformed" (R18, R25).
    """

    octets: bytes
    reason: str = field(default="", compare=False)
    offset: int = field(default=0, compare=False)


SubOption = Pad1 | PadN | BindingReference | TrafficSelectorOption | UnknownSubOption | MalformedSubOption


@fast_init
@dataclass(frozen=True, slots=True)
class FlowIdentification(Received):
    """What is asked for, or was done, with one flow (draft 3.1; RFC 6089 4.2).

    ``pri`` orders flows, lower first. ``action`` and ``pro`` are the draft's (numbers, so that undefined ones survive);
    in the RFC 6089 profile they are always FORWARD and ADD. ``status`` counts in acknowledgements only (R18).
    ``suboptions`` that are a plain tuple get alignment padding when encoded, `Verbatim` ones are written as they are.
    """

    alignment: ClassVar[tuple[int, int]] = (2, 0)  # RFC 6089 4.2; harmless in the draft profile (K15)

    fid: int
    pri: int
    action: int = Action.FORWARD.value
    pro: int = Request.ADD.value
    status: int = 0
    suboptions: tuple[SubOption, ...] = ()
    len_units: bool = field(default=False, compare=False)
    """Received with its length in 8-octet units (K2): only how it was written, so not compared."""

    @property
    def bids(self) -> tuple[int, ...]:
        """All BIDs of all binding references in order, each once (K16)."""
        found: dict[int, None] = {}
        for sub in self.suboptions:
            if type(sub) is BindingReference:
                found.update(dict.fromkeys(sub.bids))
        return tuple(found)

    @property
    def selector(self) -> TrafficSelector4 | TrafficSelector6 | UnknownSelector | None:
        """The flow description; None: there is none (a wild card when a draft Add has none, R62)."""
        for sub in self.suboptions:
            if type(sub) is TrafficSelectorOption:
                return sub.selector
        return None

    @property
    def has_reference(self) -> bool:
        """Whether a well-formed binding reference is present."""
        return any(type(sub) is BindingReference for sub in self.suboptions)

    @property
    def error(self) -> MalformedSubOption | None:
        """The first sub-option that breaks a rule; None: well formed."""
        for sub in self.suboptions:
            if type(sub) is MalformedSubOption:
                return sub
        return None

    def answer(self, status: int, *, whole: bool) -> FlowIdentification:
        """The copy that goes into an acknowledgement: with all sub-options, or the fixed 8 octets alone.

        ``whole`` is the profile's ``echo_whole``. Only the status changes (R73, R74, R129), and the length, which
        always counts octets (K2, K7).
        """
        if not whole:
            return FlowIdentification(self.fid, self.pri, self.action, self.pro, status)
        octets = getattr(self, "_octets", None)
        if octets is None:
            return FlowIdentification(self.fid, self.pri, self.action, self.pro, status, self.suboptions)
        copy: FlowIdentification = received_flow(
            octets, self.fid, self.pri, self.action, self.pro, status, self.suboptions, False
        )
        return copy


received_flow = received(FlowIdentification)
"""``_octets`` are those of the sub-options: the encoder takes them as they are."""


@dataclass(frozen=True, slots=True)
class FlowSummary:
    """The flows to keep (RFC 6089 4.2.2): 1 to 127 FIDs."""

    alignment: ClassVar[tuple[int, int]] = (2, 0)

    fids: tuple[int, ...]
