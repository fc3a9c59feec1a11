"""Decodes and encodes flow identification and flow summary options, in any profile."""

from __future__ import annotations

from struct import Struct, pack, unpack_from
from typing import Any, Final

from flowclass.errors import DecodeError, EncodeError
from flowclass.wire.flow_options import (
    BindingReference,
    FlowIdentification,
    FlowSummary,
    MalformedSubOption,
    SubOption,
    TrafficSelectorOption,
    UnknownSubOption,
    received_flow,
    received_selector,
)
from flowclass.wire.options import MalformedOption, Pad1, PadN, UnknownOption, Verbatim
from flowclass.wire.profiles import Profile
from flowclass.wire.selectors import FORMATS, UnknownSelector, selector_alignment
from flowclass.wire.tlv import padding, tlv

__all__ = ["FlowCodec", "decode_flow_summary", "whole_numbers"]

PAD1: Final = Pad1()
_U16: Final = Struct(">H")
_TWICE: Final = "a sub-option that may be there once, a second time"
_NOTHING: Final[Verbatim[Any]] = Verbatim(())


def _decode_numbers(data: bytes, at: int, length: int, what: str) -> tuple[int, ...]:
    """Decode numbers of 16 bits; there must be at least one, and no octet may be left over (R29, K3)."""
    if length == 2:
        return _U16.unpack_from(data, at)
    if length == 0 or length & 1:
        raise DecodeError(f"a {what} of {length} octets: one or more numbers of 2 octets expected", at)
    return unpack_from(f">{length // 2}H", data, at)


def _encode_numbers(numbers: tuple[int, ...], what: str) -> bytes:
    if not numbers:
        raise EncodeError(f"an empty {what}")
    return pack(f">{len(numbers)}H", *numbers)


def decode_flow_summary(data: bytes, at: int, length: int) -> FlowSummary | MalformedOption:
    """Decode a flow summary option (RFC 6089 section 4.2.2).

    If its length is wrong, this concerns flows alone, so that the message stays readable: a `MalformedOption`.
    """
    try:
        return FlowSummary(_decode_numbers(data, at, length, "flow summary"))
    except DecodeError as fault:
        return MalformedOption(data[at - 2], data[at : at + length], fault.reason, fault.offset)


def whole_numbers(data: bytes) -> tuple[int, ...]:
    """Return the complete 16-bit numbers at the beginning of a flow summary whose length is wrong."""
    return unpack_from(f">{len(data) // 2}H", data)


def _decode_selector(data: bytes, at: int, length: int) -> tuple[TrafficSelectorOption, bool]:
    """Return the sub-option, and whether the encoder would write the same octets for it."""
    # RFC 6089 section 4.2.1.4: TS Format, a reserved octet, and the selector
    if length < 2:
        raise DecodeError("a traffic selector without its format", at)
    end = at + length
    form = FORMATS.get(data[at])
    if form is None:
        return TrafficSelectorOption(UnknownSelector(data[at], data[at + 2 : end])), data[at + 1] == 0
    if form.check(data, at + 2, end) and data[at + 1] == 0:
        return received_selector(data[at:end]), True
    return TrafficSelectorOption(form.make(data, at + 2)), False


class FlowCodec:
    """Decodes and encodes the flow options of one profile.

    ``update`` is True for those in binding updates, and False for those in acknowledgements.
    """

    def __init__(self, profile: Profile, *, update: bool) -> None:
        self.profile = profile
        # an acknowledgement always counts octets (K2)
        self.send_len_units: bool = profile.send_len_units and update
        self.type: int = profile.flow_identification
        # the number of octets of a sub-option that its length doesn't count
        self.uncounted = 0 if profile.suboption_length_includes_header else 2

    def decode(self, data: bytes, at: int, length: int) -> FlowIdentification | UnknownOption:
        """Decode the option whose octets after type and length are ``data[at:at + length]``.

        Its format is that of draft section 3.1 or RFC 6089 section 4.2. A fault in the sub-options makes a
        `MalformedSubOption`. An option that lacks part of its 8 fixed octets can't be answered by a copy of them, and
        therefore counts as unknown.
        """
        if length < 6:
            return UnknownOption(self.type, data[at : at + length])
        fid, pri, action, status, pro = self.profile.layout.unpack(data, at)
        len_units = data[at - 1] < 6
        if length == 6:
            return FlowIdentification(fid, pri, action, pro, status, _NOTHING, len_units)
        start, end = at + 6, at + length
        subs, exact = self._decode_suboptions(data, start, end)
        if not exact:
            return FlowIdentification(fid, pri, action, pro, status, subs, len_units)
        made: FlowIdentification = received_flow(
            (self.profile, data[start:end]), fid, pri, action, pro, status, subs, len_units
        )
        return made

    def _decode_suboptions(self, data: bytes, at: int, end: int) -> tuple[Verbatim[SubOption], bool]:
        """Return the sub-options, and whether the encoder would write the same octets for them."""
        found: list[SubOption] = []
        exact = True
        profile, uncounted = self.profile, self.uncounted
        selectors = references = 0
        while at < end:
            kind = data[at]
            if kind == 0:
                # there are often several, because the draft profile has no PadN
                pads = end - at - len(data[at:end].lstrip(b"\0"))
                found += (PAD1,) * pads
                at += pads
                continue
            left = end - at
            size = data[at + 1] + uncounted if left > 1 else 0
            if not 2 <= size <= left:
                # its length is wrong, so that nothing after it can be found
                reason = f"a sub-option of {size} octets, {left} are left" if left > 1 else "a sub-option cut short"
                found.append(MalformedSubOption(data[at:end], reason, at))
                break
            start, at = at, at + size
            try:
                if kind == profile.binding_reference:
                    # draft section 3.2, RFC 6089 section 4.2.1.3; RFC 6089 allows one, the draft any number (K16)
                    if references and profile.single_reference:
                        raise DecodeError(_TWICE, start)
                    references += 1
                    found.append(BindingReference(_decode_numbers(data, start + 2, size - 2, "binding reference")))
                elif kind == profile.traffic_selector:
                    if selectors:
                        raise DecodeError(_TWICE, start)
                    selectors += 1
                    selector, as_sent = _decode_selector(data, start + 2, size - 2)
                    exact &= as_sent
                    found.append(selector)
                elif kind == profile.pad_n:
                    found.append(PadN(data[start + 2 : at]))
                else:
                    found.append(UnknownSubOption(kind, data[start + 2 : at]))
            except DecodeError as fault:
                found.append(MalformedSubOption(data[start:at], fault.reason, fault.offset))
        return Verbatim(found), exact

    def encode(self, option: FlowIdentification, start: int) -> bytes:
        """Encode an option that begins at octet ``start`` of the Mobility Header."""
        fixed = self.profile.layout.pack(option.fid, option.pri, option.action, option.status, option.pro)
        body = fixed + self._encode_suboptions(option, start + 8) if option.suboptions else fixed
        if option.len_units or self.send_len_units:
            # K2: the length counts units of 8 octets, and Pad1 sub-options fill the last one
            total = -(-(len(body) + 2) // 8)
            if total > 255:
                raise EncodeError(f"a flow identification option of {total} units, 255 fit")
            return bytes((self.type, total)) + body + bytes(total * 8 - 2 - len(body))
        return tlv(self.type, body)

    def encode_summary(self, option: FlowSummary, start: int) -> bytes:
        """Encode a flow summary option (RFC 6089 section 4.2.2)."""
        assert self.profile.flow_summary is not None
        return tlv(self.profile.flow_summary, _encode_numbers(option.fids, "flow summary"))

    def _encode_suboptions(self, option: FlowIdentification, start: int) -> bytes:
        subs = option.suboptions
        if type(subs) is Verbatim:
            received: tuple[Profile, bytes] | None = getattr(option, "_octets", None)
            if received is not None and received[0] is self.profile:
                return received[1]
            return b"".join(map(self._encode_suboption, subs))
        parts: list[bytes] = []
        at = start
        for sub in subs:
            octets = self._encode_suboption(sub)
            modulus = _alignment(sub)
            if at % modulus:
                gap = padding(-at % modulus, self.profile.pad_n)
                parts.append(gap)
                at += len(gap)
            parts.append(octets)
            at += len(octets)
        return b"".join(parts)

    def _encode_suboption(self, sub: SubOption) -> bytes:
        if isinstance(sub, TrafficSelectorOption):
            return self._tlv(self.profile.traffic_selector, sub.octets)
        if isinstance(sub, BindingReference):
            return self._tlv(self.profile.binding_reference, _encode_numbers(sub.bids, "binding reference"))
        if isinstance(sub, UnknownSubOption):
            return self._tlv(sub.type, sub.data)
        if isinstance(sub, MalformedSubOption):
            return sub.octets
        if isinstance(sub, PadN):
            if self.profile.pad_n is None:
                raise EncodeError(f"profile {self.profile.name!r} has no PadN sub-option")
            return self._tlv(self.profile.pad_n, sub.data)
        return b"\0"

    def _tlv(self, kind: int, data: bytes) -> bytes:
        if not 0 < kind < 256 or len(data) + 2 - self.uncounted > 255:
            raise EncodeError(f"sub-option {kind} of {len(data)} octets: type or length does not fit")
        return bytes((kind, len(data) + 2 - self.uncounted)) + data


def _alignment(sub: SubOption) -> int:
    """Return the multiple of octets at which a sub-option should begin."""
    if isinstance(sub, TrafficSelectorOption):
        return selector_alignment(sub.selector)
    return 2 if isinstance(sub, BindingReference) else 1
