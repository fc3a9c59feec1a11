"""The mobility options about flows, for both profiles: flow identification with its sub-options, and flow summary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from flowclass.wire.checks import U8, U16
from flowclass.wire.lazy import Received, checked_init, received
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


@checked_init
@dataclass(frozen=True, slots=True)
class BindingReference:
    """Binding reference sub-option: the BIDs, one or more, of the bindings that a flow's packets are sent to.

    Draft section 3.2 (R29 to R34), RFC 6089 section 4.2.1.3.
    """

    bids: tuple[U16, ...]


@checked_init
@dataclass(frozen=True, slots=True)
class TrafficSelectorOption(Received):
    """Traffic selector sub-option: it describes which packets belong to a flow.

    Defined in RFC 6089 section 4.2.1.4; decisions K8 and K22 say how the draft profile uses it.
    """

    _late: ClassVar[tuple[str, ...]] = ("selector",)

    selector: TrafficSelector4 | TrafficSelector6 | UnknownSelector

    def _complete(self) -> None:
        octets: bytes = self._octets
        _set_selector(self, decode_selector(octets[0], octets, 2, len(octets)))

    @property
    def octets(self) -> bytes:
        """The content of the sub-option on the wire: the TS Format octet, a reserved octet, and the encoded
        selector."""
        octets: bytes | None = getattr(self, "_octets", None)
        if octets is None:
            octets = bytes((self.selector.format, 0)) + encode_selector(self.selector)
        return octets


_set_selector: Any = TrafficSelectorOption.__dict__["selector"].__set__
received_selector: Callable[..., TrafficSelectorOption] = received(TrafficSelectorOption)


@checked_init
@dataclass(frozen=True, slots=True)
class UnknownSubOption:
    """A sub-option of a type that the profile doesn't know.

    Receivers skip it. Its type and data are kept, so that encoding gives the same octets again.
    """

    type: U8
    data: bytes


@checked_init
@dataclass(frozen=True, slots=True)
class MalformedSubOption:
    """A sub-option that breaks a rule of the profile.

    ``octets`` are its octets, type and length included; ``reason`` says which rule it breaks, and ``offset`` where.
    When its own length is wrong, nothing after it can be decoded, and ``octets`` is the whole rest of the flow
    identification option. The rest of the message stays readable: the receiver refuses this one flow, with the
    profile's status "malformed" (R18, R25).
    """

    octets: bytes
    reason: str = field(default="", compare=False)
    offset: int = field(default=0, compare=False)


SubOption = Pad1 | PadN | BindingReference | TrafficSelectorOption | UnknownSubOption | MalformedSubOption


@checked_init
@dataclass(frozen=True, slots=True)
class FlowIdentification(Received):
    """Flow identification option: in a binding update a request about one flow, in an acknowledgement its answer.

    Draft section 3.1, RFC 6089 section 4.2. ``fid`` is the flow's identifier. ``pri`` is its priority: flows with
    lower numbers are matched first. ``action`` and ``pro`` (the request) exist in the draft only and are plain numbers,
    so that undefined values can be represented; in the RFC 6089 profile they are always FORWARD and ADD. ``status``
    has a meaning in acknowledgements only (R18). When ``suboptions`` is a plain tuple, the encoder inserts alignment
    padding; a `Verbatim` tuple is written unchanged.
    """

    alignment: ClassVar[tuple[int, int]] = (2, 0)  # RFC 6089 4.2; harmless in the draft profile (K15)

    fid: U16
    pri: U16
    action: U8 = Action.FORWARD.value
    pro: U8 = Request.ADD.value
    status: U8 = 0
    suboptions: tuple[SubOption, ...] = ()
    len_units: bool = field(default=False, compare=False)
    """Whether the received option had its length in units of 8 octets (K2). This concerns the encoding, not the
    meaning, so that comparisons leave it out."""

    @property
    def bids(self) -> tuple[int, ...]:
        """The BIDs of all binding reference sub-options, in order and without duplicates (K16)."""
        found: dict[int, None] = {}
        for sub in self.suboptions:
            if type(sub) is BindingReference:
                found.update(dict.fromkeys(sub.bids))
        return tuple(found)

    @property
    def selector(self) -> TrafficSelector4 | TrafficSelector6 | UnknownSelector | None:
        """The first traffic selector, or None if there is none; in an Add of the draft, none means a wild card
        (R62)."""
        for sub in self.suboptions:
            if type(sub) is TrafficSelectorOption:
                return sub.selector
        return None

    @property
    def has_reference(self) -> bool:
        """Whether the option has a well-formed binding reference sub-option."""
        return any(type(sub) is BindingReference for sub in self.suboptions)

    @property
    def error(self) -> MalformedSubOption | None:
        """The first sub-option that breaks a rule, or None if all sub-options are well formed."""
        for sub in self.suboptions:
            if type(sub) is MalformedSubOption:
                return sub
        return None

    def answer(self, status: int, *, whole: bool) -> FlowIdentification:
        """Return the copy of this option that goes into an acknowledgement, with the given status.

        ``whole`` is the ``echo_whole`` of the profile: if True, the copy has all sub-options, otherwise it is the fixed
        part of 8 octets alone. Only the status differs from the original (R73, R74, R129), and the length field, which
        in a copy always counts octets (K2, K7).
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


received_flow: Callable[..., FlowIdentification] = received(FlowIdentification)
"""The decoder's constructor. Its first argument, ``_octets``, holds the encoded sub-options, which the encoder copies
unchanged."""


@checked_init
@dataclass(frozen=True, slots=True)
class FlowSummary:
    """Flow summary option (RFC 6089 section 4.2.2): the FIDs, 1 to 127, of flows that the receiver is to keep."""

    alignment: ClassVar[tuple[int, int]] = (2, 0)

    fids: tuple[U16, ...]
