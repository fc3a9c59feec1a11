"""What an agent may be told: switches where the draft leaves a choice, limits, and capabilities.

Every choice that the texts leave is a field of `Switches` (K numbers: docs/requirements.md); docs/switches.md lists
them for users. Switches of the wire format (K2, K22) belong to the wire profile value.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import inf
from types import UnionType
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from flowclass.errors import ArgumentError, FlowclassError
from flowclass.wire.numbers import MAX_DELETE_BCE_TIMEOUT

__all__ = ["Capabilities", "Limits", "Switches"]


@dataclass(frozen=True, slots=True)
class Switches:
    """Behaviour that the texts leave open; times in seconds."""

    accept_action_zero: bool = True
    """K4: Action 0 is taken as Forward, because section 5 of the draft sends it; off: 129."""

    unknown_fid_status: Literal["literal", "not-found"] = "literal"
    """K6: Replace or Refresh of an unknown FID at a home agent or MAP: 129 as section 8.1 says, or 136."""

    omission: Literal["keep", "purge"] = "keep"
    """K12, draft profile: flow bindings that an update doesn't name live on until they expire, or are removed.
    The rfc6089 profile always purges (RFC 6089 section 5.3.4)."""

    single_own_bid_ncast: Literal["reject", "forward"] = "reject"
    """K19, R122: n-cast with one BID that is the update's own care-of address: 129, or a copy to that one address."""

    unknown_bid_status: Literal[129, 128] = 129
    """K23, draft profile: the status for a Binding Reference to a BID that isn't registered."""

    forward_multi: Literal["hash", "first"] = "hash"
    """K27: Forward with several BIDs: one chosen per flow by rendezvous hashing, or the first registered one."""

    bid_source_address: bool | None = None
    """R77: a Binding Identifier option without an address for an unknown BID takes the update's own care-of address, as
    section 5 of the draft does; off: 167, RFC 5648 section 6.2. None: as the profile says, on in the draft and off in
    rfc6089. Correspondent nodes always take it (RFC 5648 section 5.2)."""

    h_unset_leaves_home: bool = True
    """RFC 5648 section 5.6.5: an update whose BID options all have H clear ends a binding to the home link."""

    refresh_lead: float = 10.0
    """R131, K17: how long before expiry a Binding Refresh Request goes out (half the lifetime where that is less)."""

    refresh_advice: float | None = None
    """K17: the refresh interval to advise in acknowledgements, as a fraction of the lifetime granted; None: no
    advice."""

    deleted_memory: float = MAX_DELETE_BCE_TIMEOUT
    """RFC 6275 section 10.3.2, MAX_DELETE_BCE_TIMEOUT: how long the sequence number of a de-registered node is kept."""

    def __post_init__(self) -> None:
        _check_fields(self)
        _check_number(self, "refresh_lead", 0, inf)
        _check_number(self, "deleted_memory", 0, inf)
        if self.refresh_advice is not None:
            _check_number(self, "refresh_advice", 0, inf)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what mobile nodes can make an agent hold; each refusal has a status code of the protocol."""

    nodes: int | None = None
    """Home addresses in the cache; one more is refused with 130, insufficient resources. None: no bound."""

    bids_per_node: int = 32
    """Care-of addresses of one node; one more BID is refused with 130 in its option."""

    flows_per_node: int = 256
    """Flow bindings of one node; one more Add is refused with 128 (draft) or 129 (rfc6089): no resources."""

    fan_out: int = 8
    """BIDs that one flow may name; more are refused like a flow too many."""

    prefixes_per_node: int = 16
    """Mobile network prefixes of one mobile router; more are refused with 141."""

    lifetime: int = 0xFFFF
    """The longest lifetime granted, in units of 4 seconds."""

    def __post_init__(self) -> None:
        _check_fields(self)
        for name, least in (("bids_per_node", 1), ("flows_per_node", 0), ("fan_out", 1), ("prefixes_per_node", 0)):
            _check_number(self, name, least, inf)
        _check_number(self, "lifetime", 1, 0xFFFF)
        if self.nodes is not None:
            _check_number(self, "nodes", 0, inf)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this agent can do (R26); what it can't is refused with the code of its own."""

    flow_bindings: bool = True
    """Off: flow identification options are unknown options, skipped and not echoed (R75, R96)."""

    discard: bool = True  # 138
    ncast: bool = True  # 139; rfc6089: 128
    prefixes: bool = True  # address ranges in selectors: 131; rfc6089: 129
    ports: bool = True  # 132; 129
    flow_label: bool = True  # 133; 129
    spi: bool = True  # 134; 129
    ipv4_selectors: bool = True  # RFC 6088 format 1: 137; rfc6089: 133
    ipv6_selectors: bool = True  # RFC 6088 format 2: 137; rfc6089: 133
    multiple_care_of: bool = True  # BID options at all: 166
    bulk: bool = True  # several BID options in one update: 168
    home_and_foreign: bool = True  # the H flag of the BID option: 169
    home_without_ndp: bool = False  # acknowledge a home binding with 5 instead of 0 (RFC 5648 section 6.3)
    mobile_routers: bool = True  # the R flag: 140
    ipv4: bool = True  # RFC 5555: IPv4 home addresses; off: the options are skipped
    key_management: bool = False  # the K flag: its security associations follow a node that moves (RFC 6275 10.3.1)

    def __post_init__(self) -> None:
        _check_fields(self)


def _check_fields(settings: Switches | Limits | Capabilities) -> None:
    """That every field has a value of its type; a Literal one of its own."""
    kinds = _kinds(cast(Any, type(settings)))
    for name, kind in kinds.items():
        value = getattr(settings, name)
        choices = get_args(kind) if get_origin(kind) in (Literal, UnionType) else (kind,)
        if get_origin(kind) is Literal:
            if not any(value == choice and type(value) is type(choice) for choice in choices):
                raise ArgumentError(name, " or ".join(map(repr, choices)), value)
        elif not (type(value) in choices or (float in choices and type(value) is int)):
            names = ("None" if choice is type(None) else choice.__name__ for choice in choices)
            raise ArgumentError(name, " or ".join(names), value)


@cache
def _kinds(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _check_number(settings: Switches | Limits | Capabilities, name: str, low: float, high: float) -> None:
    value = getattr(settings, name)
    if not low <= value <= high:  # what is no number isn't either
        most = "or more" if high == inf else f"to {high}"
        raise FlowclassError(f"{name}: {low} {most} expected, got {value}")
