# cython: language_level=3, annotation_typing=False
"""Encodes the decision about a binding update as a Binding Acknowledgement (R73, R129; RFC 6275 section 9.5.4)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from flowclass.errors import EncodeError
from flowclass.wire._usual import acknowledgement, flow_answer
from flowclass.wire.flow_options import FlowIdentification
from flowclass.wire.messages import BindingAcknowledgement, Option
from flowclass.wire.numbers import REFUSED, AcknowledgementFlag
from flowclass.wire.options import BindingIdentifier, BindingRefreshAdvice, Pad1, Verbatim
from flowclass.wire.packets import encode_between
from flowclass.wire.profiles import Profile

from .received_update import Outcome, Update

__all__ = ["Seal", "acknowledge"]

_KEY_MANAGEMENT_FLAG: Final = AcknowledgementFlag.KEY_MANAGEMENT.value
_ROUTER_FLAG: Final = AcknowledgementFlag.MOBILE_ROUTER.value


# The options in acknowledgements are immutable, and mobile nodes number their BIDs from 1: the same few recur.
_bid_copy = lru_cache(maxsize=4096)(BindingIdentifier)


Seal = Callable[[BindingAcknowledgement, Update, Outcome], BindingAcknowledgement]


def acknowledge(
    update: Update, outcome: Outcome, profile: Profile, *, advice: float | None = None, seal: Seal | None = None
) -> bytes:
    """Return the packet with the acknowledgement of ``update``, whose decision is ``outcome``.

    It goes to the source of the update, with a type 2 routing header if the update had a Home Address option. The
    statuses of flows don't change the status of the acknowledgement (R128). IPv4 address acknowledgements come first
    (RFC 5648 section 8.2), then BID options, then a copy of each flow identification option. The last option is the
    Binding Refresh Advice, if ``advice`` is given: its interval is this share of the lifetime (K17). ``seal`` is a
    function that adds the option which authenticates the message.
    """
    options: list[Option] = list(outcome.extra)
    # enumerate, because zip with "strict" takes as long as all of the loop
    for i, option in enumerate(update.bids):
        # RFC 6089 section 5.3.5: BID-PRI is copied, except where the format before RFC 5648 has the status in its place
        priority = 0 if profile.bid_priority_in_status else option.priority
        options.append(_bid_copy(option.bid, None, priority, outcome.bids[i], option.home))
    if outcome.flows is not None:
        whole = profile.echo_whole
        for i, copied in enumerate(update.flows):
            # K7: the fixed eight octets with a new length, or (RFC 6089 section 5.3.5) the whole option as received
            options.append(flow_answer(copied, outcome.flows[i], whole))
    options += [FlowIdentification(fid, 0, status=profile.status.fid_not_found) for fid in outcome.missing]
    options += [FlowIdentification(fid, 0, status=profile.status.malformed) for fid in outcome.malformed]
    interval = 0 if advice is None else min(int(outcome.lifetime * advice), outcome.lifetime - 1)
    if interval > 0 and outcome.status < REFUSED:
        options.append(BindingRefreshAdvice(interval))
    return _packet(update, outcome, options, profile, seal)


def _packet(update: Update, outcome: Outcome, options: list[Option], profile: Profile, seal: Seal | None) -> bytes:
    sequence = update.sequence if outcome.sequence is None else outcome.sequence
    addresses = update.destination, update.source, None, update.home if update.away else None
    flags = _ROUTER_FLAG if outcome.router else 0
    if outcome.key_management:
        flags |= _KEY_MANAGEMENT_FLAG

    def encode(values: tuple[Option, ...]) -> bytes:
        message = acknowledgement(outcome.status, sequence, outcome.lifetime, flags, values)
        return encode_between(addresses, message if seal is None else seal(message, update, outcome), profile)

    try:
        return encode(tuple(options))
    except EncodeError:
        return _encode_less(encode, options)


def _encode_less(encode: Callable[[tuple[Option, ...]], bytes], options: list[Option]) -> bytes:
    """Encode an acknowledgement that exceeds the 2048 octets of a Mobility Header.

    The options are not aligned, which receivers don't need for decoding. If that doesn't suffice, the last options are
    left out until the rest fits.
    """
    fit, count = 0, len(options)
    best = _encode_plain(encode, options)
    if best is not None:
        return best
    best = _encode_plain(encode, [])
    while count - fit > 1:
        middle = (fit + count) // 2
        made = _encode_plain(encode, options[:middle])
        if made is None:
            count = middle
        else:
            fit, best = middle, made
    assert best is not None  # a message without options always fits
    return best


def _encode_plain(encode: Callable[[tuple[Option, ...]], bytes], options: list[Option]) -> bytes | None:
    """Encode without alignment, padded to a multiple of eight octets; None if the message is too long."""
    values = list(options)
    for _ in range(8):
        try:
            return encode(Verbatim(values))
        except EncodeError:
            values.append(Pad1())
    return None
