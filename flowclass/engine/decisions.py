"""What the engine decides about a packet: the array type of decisions, and names for the numbers in it.

    decisions = table.classify_packets(packets)
    dropped = decisions[decisions["action"] == Action.DISCARD]
    print(decision_text(decisions[0]))      # forward to 2001:db8:a::1 by flow 1, BID 1

The numbers are those of enum fc_action, fc_reason and fc_decision_flag in flowclass.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Any

from flowclass.addresses import address_text
from flowclass.errors import ArgumentError

if TYPE_CHECKING:
    import numpy as np

    from .dtypes import DECISION_DTYPE as DECISION_DTYPE

__all__ = ["DECISION_DTYPE", "Action", "DecisionFlag", "Reason", "decision_text", "outcome_text"]


class _Labelled(IntEnum):
    @property
    def label(self) -> str:
        """The word for it in rows and summaries, such as ``n-cast`` or ``not-ip``."""
        return self.name.lower().replace("_", "-")


class Action(_Labelled):
    """What is done with a packet. From `FORWARD` on the numbers are those of the draft's ACTION field (3.1)."""

    NONE = 0
    """Nothing: the packet is not for a mobile node, or there is nothing to send it to."""
    FORWARD = 1
    """Sent to one care-of address."""
    DISCARD = 2
    """Dropped, because a flow binding says so."""
    N_CAST = 3
    """Copied to several care-of addresses."""


class Reason(_Labelled):
    """Why a packet was decided as it was: the first of these reasons that holds, in this order."""

    NOT_IP = 0
    """It is no IP packet, or its link layer is one that is not read."""
    MALFORMED = 1
    """The IP header is cut short, or its extension chain contradicts the header's length."""
    UNBOUND = 2
    """No mobile node has the destination, or the node has nothing usable to send to."""
    SIGNALLING = 3
    """Mobile IPv6 signalling to a node, which flow bindings never match: it goes to the default binding."""
    FLOW = 4
    """A flow binding matched, which may be a wild card."""
    DEFAULT = 5
    """No flow binding matched, so the packet goes to the default binding."""


class DecisionFlag(IntFlag):
    """Which fields of a decision apply."""

    FID = 1
    BID = 2
    NODE = 4
    CARE_OF_IPV4 = 8
    """``care_of`` is an IPv4 address, in its first four octets."""


def __getattr__(name: str) -> Any:
    if name == "DECISION_DTYPE":
        from .dtypes import DECISION_DTYPE

        return DECISION_DTYPE
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "DECISION_DTYPE"})


def decision_text(decision: np.void) -> str:
    """Return one decision, an element of an array of `DECISION_DTYPE`, as a line for people.

    Of an n-cast it has the first care-of address and how many there are. ArgumentError for anything else.
    """
    import numpy as np

    from .dtypes import DECISION_DTYPE

    if not isinstance(decision, np.void) or decision.dtype != DECISION_DTYPE:
        raise ArgumentError("decision", "one element of an array of DECISION_DTYPE", decision)
    flags = DecisionFlag(int(decision["flags"]))
    care_of = bytes(decision["care_of"])
    first = [care_of[:4] if flags & DecisionFlag.CARE_OF_IPV4 else care_of] if decision["n_targets"] else []
    return outcome_text(
        Action(int(decision["action"])),
        Reason(int(decision["reason"])),
        int(decision["fid"]) if flags & DecisionFlag.FID else None,
        int(decision["bid"]) if flags & DecisionFlag.BID else None,
        first,
        int(decision["n_targets"]),
    )


def outcome_text(
    action: Action,
    reason: Reason,
    fid: int | None,
    bid: int | None,
    care_of: Sequence[bytes],
    copies: int | None = None,
) -> str:
    """Return the parts of a decision as a line for people; there may be more ``copies`` than addresses are known."""
    if reason in (Reason.FLOW, Reason.DEFAULT):
        why = f"by flow {fid}" if fid is not None else "by the default binding"
    elif reason == Reason.SIGNALLING:
        why = "by the default binding, as signalling"
    else:
        why = f"({reason.label})"
    more = (len(care_of) if copies is None else copies) - len(care_of)
    where = ", ".join(map(address_text, care_of)) + (f" and {more} more" if more > 0 else "")
    return f"{action.label}{f' to {where}' if care_of else ''} {why}{f', BID {bid}' if bid else ''}"
