"""The differences between the draft (May 2008) and RFC 6089, as two `Profile` values.

Layouts, numbers, status codes and behavioural differences are here and nowhere else: code asks the profile, never its
name. A variation is another value: ``dataclasses.replace(DRAFT, flow_identification=77, send_len_units=True)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from struct import Struct
from typing import Any, Final

from flowclass.errors import ArgumentError, EncodeError, FlowclassError
from flowclass.wire.numbers import (
    DRAFT_FLOW_STATUS,
    RFC6089_FLOW_STATUS,
    Action,
    DraftFlowStatus,
    OptionType,
    Request,
    Rfc6089FlowStatus,
)

__all__ = ["DRAFT", "RFC6089", "FlowLayout", "FlowStatus", "Profile", "get_profile"]


@dataclass(frozen=True, slots=True)
class FlowLayout:
    """The six octets after type and length of a flow identification option.

    ``unpack(data, offset)`` gives (fid, pri, action, status, pro); ``pack`` takes them in that order.
    """

    unpack: Callable[[bytes, int], tuple[int, int, int, int, int]]
    pack: Callable[[int, int, int, int, int], bytes]


_FORWARD: Final = Action.FORWARD.value
_ADD: Final = Request.ADD.value
_DRAFT_FIXED = Struct(">BHBBB")
_RFC_FIXED = Struct(">HHBB")


def _unpack_draft(data: bytes, at: int) -> tuple[int, int, int, int, int]:
    # figure 1 of the draft, FID of 16 bits at octets 3-4 (R12, K1); the low nibble of octet 7 is reserved (R20)
    pri, fid, action, status, pro = _DRAFT_FIXED.unpack_from(data, at)
    return fid, pri, action, status, pro >> 4


def _pack_draft(fid: int, pri: int, action: int, status: int, pro: int) -> bytes:
    if pro > 15:
        raise EncodeError(f"PRO {pro} does not fit 4 bits")
    return _DRAFT_FIXED.pack(pri, fid, action, status, pro << 4)


def _unpack_rfc(data: bytes, at: int) -> tuple[int, int, int, int, int]:
    fid, pri, _, status = _RFC_FIXED.unpack_from(data, at)
    return fid, pri, _FORWARD, status, _ADD


def _pack_rfc(fid: int, pri: int, action: int, status: int, pro: int) -> bytes:
    if action != _FORWARD or pro != _ADD:
        raise EncodeError(f"RFC 6089 carries neither an action ({action}) nor a request ({pro})")
    return _RFC_FIXED.pack(fid, pri, 0, status)


@dataclass(frozen=True, slots=True)
class FlowStatus:
    """Status codes of a flow identification option; a meaning without a code of its own has the nearest."""

    success: int
    unspecified: int
    malformed: int
    prohibited: int
    unknown_bid: int
    fid_in_use: int
    fid_not_found: int
    fid_lost: int
    """Replace or Refresh of an unknown FID at a home agent or anchor point (K6)."""
    selector_format_unsupported: int
    prefix_unsupported: int
    ports_unsupported: int
    flow_label_unsupported: int
    spi_unsupported: int
    discard_unsupported: int
    ncast_unsupported: int
    names: Mapping[int, str] = field(hash=False)


# numbers, not members of the enumerations: they are compared and packed for each option
_DRAFT_STATUS: Final = FlowStatus(
    success=DraftFlowStatus.SUCCESS.value,
    unspecified=DraftFlowStatus.UNSPECIFIED.value,
    malformed=DraftFlowStatus.MALFORMED.value,
    prohibited=DraftFlowStatus.PROHIBITED.value,
    unknown_bid=DraftFlowStatus.MALFORMED.value,  # K23
    fid_in_use=DraftFlowStatus.FID_IN_USE.value,
    fid_not_found=DraftFlowStatus.FID_NOT_FOUND.value,  # K5
    fid_lost=DraftFlowStatus.MALFORMED.value,  # K6
    selector_format_unsupported=DraftFlowStatus.CLASSIFIER_UNSUPPORTED.value,
    prefix_unsupported=DraftFlowStatus.PREFIX_UNSUPPORTED.value,
    ports_unsupported=DraftFlowStatus.PORTS_UNSUPPORTED.value,
    flow_label_unsupported=DraftFlowStatus.FLOW_LABEL_UNSUPPORTED.value,
    spi_unsupported=DraftFlowStatus.SPI_UNSUPPORTED.value,
    discard_unsupported=DraftFlowStatus.DISCARD_UNSUPPORTED.value,
    ncast_unsupported=DraftFlowStatus.NCAST_UNSUPPORTED.value,
    names=DRAFT_FLOW_STATUS,
)

_RFC_STATUS: Final = FlowStatus(
    success=Rfc6089FlowStatus.SUCCESS.value,
    unspecified=Rfc6089FlowStatus.UNSPECIFIED.value,
    malformed=Rfc6089FlowStatus.MALFORMED.value,
    prohibited=Rfc6089FlowStatus.PROHIBITED.value,
    unknown_bid=Rfc6089FlowStatus.BID_NOT_FOUND.value,
    fid_in_use=Rfc6089FlowStatus.UNSPECIFIED.value,  # cannot happen: a known FID is an update
    fid_not_found=Rfc6089FlowStatus.FID_NOT_FOUND.value,
    fid_lost=Rfc6089FlowStatus.FID_NOT_FOUND.value,
    selector_format_unsupported=Rfc6089FlowStatus.SELECTOR_FORMAT_UNSUPPORTED.value,
    prefix_unsupported=Rfc6089FlowStatus.UNSPECIFIED.value,
    ports_unsupported=Rfc6089FlowStatus.UNSPECIFIED.value,
    flow_label_unsupported=Rfc6089FlowStatus.UNSPECIFIED.value,
    spi_unsupported=Rfc6089FlowStatus.UNSPECIFIED.value,
    discard_unsupported=Rfc6089FlowStatus.UNSPECIFIED.value,  # cannot happen: there is no action field
    ncast_unsupported=Rfc6089FlowStatus.PROHIBITED.value,
    names=RFC6089_FLOW_STATUS,
)

# no profile may use one of these for its flow options
_TAKEN = frozenset(OptionType)


@dataclass(frozen=True, slots=True)
class Profile:
    """One wire format of flow bindings and the rules that go with it."""

    name: str

    # numbers and layouts
    flow_identification: int
    """Mobility option type (draft: TBD, so configurable, R13, K22)."""
    flow_summary: int | None
    """Mobility option type, None where there is no such option (K36: 44, not 45)."""
    layout: FlowLayout
    binding_reference: int
    """Sub-option type (R32)."""
    traffic_selector: int
    """Sub-option type (K22 for the draft)."""
    pad_n: int | None
    """Sub-option type of PadN; None: only Pad1 (0) pads (K22)."""
    suboption_length_includes_header: bool
    """The draft counts a sub-option's type and length octets in its length (R33, K16)."""
    status: FlowStatus

    # the draft's length field (K2)
    accept_len_units: bool = True
    """Read an Option Len of 1 to 5 as 8-octet units: as octets it could not hold the fixed part."""
    send_len_units: bool = False
    """Write Option Len in 8-octet units, padded at the end."""

    bid_priority_in_status: bool = False
    """In a binding update octet 4 of the BID option is an 8-bit priority, as drafts of multiplecoa before 06 had it."""

    # behaviour
    bid_source_address: bool = False
    """A BID option without an address, for an unknown BID, registers the update's own care-of address (R77)."""
    bid_priority_required: bool = False
    """A mobile node gives each care-of address a priority: BID-PRI 0 is reserved (RFC 6089 5.2.1)."""
    max_pri: int = 0xFFFF
    explicit_requests: bool = False
    """Add, Replace, Refresh and Remove are named by PRO; without: a known FID is an update, an unknown one an add."""
    explicit_actions: bool = False
    """Forward, discard and n-cast are named; without: several BIDs mean a copy to each (K27)."""
    zero_reserved: bool = True
    """FID 0 and PRI 0 must not be used (K31)."""
    unique_pri: bool = True
    """Two flows of one mobile node must not share a PRI (K14)."""
    single_reference: bool = True
    """At most one binding reference in an option (K16)."""
    description_required: bool = True
    """A new FID needs a traffic selector and a binding reference; without: no selector is a wild card (K9, R62)."""
    omission_purges: bool = True
    """A flow that an accepted binding update does not name is removed (K12)."""
    duplicates_rejected: bool = True
    """A FID twice in one binding update: all its options are rejected; without: one after the other (K25)."""
    echo_whole: bool = True
    """An acknowledgement copies whole options; without: their first 8 octets (K7)."""

    # tables that the codec derives from this value, made when first used
    codecs: dict[int, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for kind in (self.flow_identification, self.flow_summary):
            if kind is not None and (kind in _TAKEN or not 0 < kind < 256):
                raise FlowclassError(f"option type {kind} cannot carry flow bindings: taken, or not 1 to 255")
        if self.flow_identification == self.flow_summary:
            raise FlowclassError("flow identification and flow summary need different option types")

    def __reduce__(self) -> tuple[Any, ...]:
        # pickled and copied without the codecs, which are made anew
        return _rebuild, ({f.name: getattr(self, f.name) for f in fields(self) if f.init},)


def _rebuild(values: dict[str, Any]) -> Profile:
    return Profile(**values)


DRAFT: Final = Profile(
    name="draft",
    flow_identification=18,  # RFC 5096, experimental: no decoder misreads it (K22)
    flow_summary=None,
    layout=FlowLayout(_unpack_draft, _pack_draft),
    binding_reference=1,
    traffic_selector=3,
    pad_n=None,
    suboption_length_includes_header=True,
    status=_DRAFT_STATUS,
    bid_source_address=True,
    max_pri=0xFF,
    explicit_requests=True,
    explicit_actions=True,
    zero_reserved=False,
    unique_pri=False,
    single_reference=False,
    description_required=False,
    omission_purges=False,
    duplicates_rejected=False,
    echo_whole=False,
)
"""The draft of May 2008 with the resolutions K1..K37."""

RFC6089: Final = Profile(
    name="rfc6089",
    flow_identification=45,
    flow_summary=44,
    layout=FlowLayout(_unpack_rfc, _pack_rfc),
    binding_reference=2,
    traffic_selector=3,
    pad_n=1,
    suboption_length_includes_header=False,
    status=_RFC_STATUS,
    accept_len_units=False,
    bid_priority_required=True,
)
"""RFC 6089 with RFC 5648 and RFC 6088."""

_BY_NAME: Final = {"draft": DRAFT, "rfc6089": RFC6089}


def get_profile(profile: str | Profile) -> Profile:
    """A profile by its name, ``"draft"`` or ``"rfc6089"``; a `Profile` is returned as it is."""
    if isinstance(profile, Profile):
        return profile
    if not isinstance(profile, str):
        raise ArgumentError("profile", "a Profile or its name", profile)
    try:
        return _BY_NAME[profile]
    except KeyError:
        raise FlowclassError(f"unknown profile {profile!r}: one of {', '.join(sorted(_BY_NAME))}") from None
