"""Flow identification and flow summary options to bytes and back, in any profile."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from flowclass.errors import DecodeError, EncodeError
from flowclass.wire.flow import (
    BindingReference,
    FlowIdentification,
    FlowSummary,
    MalformedSubOption,
    SubOption,
    TrafficSelectorOption,
    UnknownSubOption,
)
from flowclass.wire.layout import padding, tlv
from flowclass.wire.options import Pad1, PadN, UnknownOption, Verbatim
from flowclass.wire.profiles import Profile
from flowclass.wire.reader import Reader
from flowclass.wire.selectors import decode_selector, encode_selector, selector_alignment

__all__ = ["FlowCodec", "decode_flow_summary"]

PAD1: Final = Pad1()
_U16: Final = Struct(">H")
_NOTHING: Final[Verbatim[Any]] = Verbatim(())
# Options decoded before are not decoded again: refreshes repeat them (R70), and nodes ask for the same flows. Some 2 KB
# for the longest option bound the memory to 8 MB for a profile.
_KNOWN: Final = 4096


def _decode_numbers(data: bytes, at: int, length: int, what: str) -> tuple[int, ...]:
    """16-bit numbers: at least one, and no odd octet (R29, K3)."""
    if length == 2:
        return _U16.unpack_from(data, at)
    if length == 0 or length & 1:
        raise DecodeError(f"a {what} of {length} octets: one or more numbers of 2 octets expected", at)
    return Struct(f">{length // 2}H").unpack_from(data, at)


def _encode_numbers(numbers: tuple[int, ...], what: str) -> bytes:
    if not numbers:
        raise EncodeError(f"an empty {what}")
    return Struct(f">{len(numbers)}H").pack(*numbers)


def decode_flow_summary(data: bytes, at: int, length: int) -> FlowSummary:
    """RFC 6089 4.2.2."""
    return FlowSummary(_decode_numbers(data, at, length, "flow summary"))


def _decode_reference(data: bytes, at: int, length: int) -> SubOption:
    # draft 3.2, RFC 6089 4.2.1.3
    return BindingReference(_decode_numbers(data, at, length, "binding reference"))


def _decode_selector(data: bytes, at: int, length: int) -> SubOption:
    # RFC 6089 4.2.1.4: TS Format, reserved, selector
    if length < 2:
        raise DecodeError("a traffic selector without its format", at)
    return TrafficSelectorOption(decode_selector(data[at], data, at + 2, at + length))


def _decode_pad_n(data: bytes, at: int, length: int) -> SubOption:
    return PadN(data[at : at + length])


class FlowCodec:
    """The flow options of one profile; ``update`` for binding updates, else for acknowledgements."""

    def __init__(self, profile: Profile, *, update: bool) -> None:
        self.profile = profile
        # an acknowledgement always counts octets (K2)
        self.send_len_units = profile.send_len_units and update
        self.type = profile.flow_identification
        # octets of a sub-option that its length does not count
        self.uncounted = 0 if profile.suboption_length_includes_header else 2
        self.decoders: dict[int, Callable[[bytes, int, int], SubOption]] = {
            profile.binding_reference: _decode_reference,
            profile.traffic_selector: _decode_selector,
        }
        # at most one selector in either profile; at most one reference by RFC 6089, any number in the draft (K16)
        self.single = {profile.traffic_selector}
        if profile.single_reference:
            self.single.add(profile.binding_reference)
        if profile.pad_n is not None:
            self.decoders[profile.pad_n] = _decode_pad_n
        # octets, from the length on -> value
        self.known: dict[bytes, FlowIdentification] = {}

    def decode(self, r: Reader) -> FlowIdentification | UnknownOption:
        """The option that fills the rest of ``r`` (draft 3.1, RFC 6089 4.2).

        A fault in the sub-options makes a `MalformedSubOption`. An option that lacks part of its 8 fixed octets cannot
        be answered by a copy of them, so it counts as unknown.
        """
        if r.end - r.pos < 6:
            return UnknownOption(self.type, r.rest())
        octets = r.data[r.pos - 1 : r.end]
        option = self.known.get(octets)
        if option is not None:
            r.rest()
            return option
        at = r.take(6)
        fid, pri, action, status, pro = self.profile.layout.unpack(r.data, at)
        subs = self._decode_suboptions(r) if r.pos < r.end else _NOTHING
        option = FlowIdentification(fid, pri, action, pro, status, subs, r.data[at - 1] < 6)
        if MalformedSubOption not in map(type, subs):  # a fault has an offset, another one next time
            if len(self.known) >= _KNOWN:
                self.known.clear()
            self.known[octets] = option
        return option

    def _decode_suboptions(self, r: Reader) -> Verbatim[SubOption]:
        found: list[SubOption] = []
        seen: list[int] = []
        data = r.data
        while r.pos < r.end:
            start = r.pos
            if data[start] == 0:
                r.take(1)
                found.append(PAD1)
                continue
            left = r.end - start
            size = data[start + 1] + self.uncounted if left > 1 else 0
            if not 2 <= size <= left:
                # with a wrong length nothing after it can be found
                reason = f"a sub-option of {size} octets, {left} are left" if left > 1 else "a sub-option cut short"
                found.append(MalformedSubOption(r.rest(), reason, start))
                break
            at = r.take(size) + 2
            kind = data[start]
            decode = self.decoders.get(kind)
            if decode is None:
                found.append(UnknownSubOption(kind, data[at : start + size]))
                continue
            try:
                if kind in self.single:
                    if kind in seen:
                        raise DecodeError("a sub-option that may be there once, a second time", start)
                    seen.append(kind)
                found.append(decode(data, at, size - 2))
            except DecodeError as fault:
                found.append(MalformedSubOption(data[start : start + size], fault.reason, fault.offset))
        return Verbatim(found)

    def encode(self, option: FlowIdentification, start: int) -> bytes:
        """The option at octet ``start`` of the Mobility Header."""
        fixed = self.profile.layout.pack(option.fid, option.pri, option.action, option.status, option.pro)
        body = fixed + self._encode_suboptions(option.suboptions, start + 8) if option.suboptions else fixed
        if option.len_units or self.send_len_units:
            # K2: 8-octet units, the rest filled with Pad1 sub-options
            total = -(-(len(body) + 2) // 8)
            if total > 255:
                raise EncodeError(f"a flow identification option of {total} units, 255 fit")
            return bytes((self.type, total)) + body + bytes(total * 8 - 2 - len(body))
        return tlv(self.type, body)

    def encode_summary(self, option: FlowSummary, start: int) -> bytes:
        """RFC 6089 4.2.2."""
        assert self.profile.flow_summary is not None
        return tlv(self.profile.flow_summary, _encode_numbers(option.fids, "flow summary"))

    def _encode_suboptions(self, subs: tuple[SubOption, ...], start: int) -> bytes:
        aligned = type(subs) is not Verbatim
        parts: list[bytes] = []
        at = start
        for sub in subs:
            octets, modulus = self._encode_suboption(sub)
            if aligned and at % modulus:
                gap = padding(-at % modulus, self.profile.pad_n)
                parts.append(gap)
                at += len(gap)
            parts.append(octets)
            at += len(octets)
        return b"".join(parts)

    def _encode_suboption(self, sub: SubOption) -> tuple[bytes, int]:
        """A sub-option and the multiple at which it wants to start."""
        if isinstance(sub, TrafficSelectorOption):
            selector = sub.selector
            octets = self._tlv(self.profile.traffic_selector, bytes((selector.format, 0)) + encode_selector(selector))
            return octets, selector_alignment(selector)
        if isinstance(sub, BindingReference):
            return self._tlv(self.profile.binding_reference, _encode_numbers(sub.bids, "binding reference")), 2
        if isinstance(sub, UnknownSubOption):
            return self._tlv(sub.type, sub.data), 1
        if isinstance(sub, MalformedSubOption):
            return sub.octets, 1
        if isinstance(sub, PadN):
            if self.profile.pad_n is None:
                raise EncodeError(f"profile {self.profile.name!r} has no PadN sub-option")
            return self._tlv(self.profile.pad_n, sub.data), 1
        return b"\0", 1

    def _tlv(self, kind: int, data: bytes) -> bytes:
        if not 0 < kind < 256 or len(data) + 2 - self.uncounted > 255:
            raise EncodeError(f"sub-option {kind} of {len(data)} octets: type or length does not fit")
        return bytes((kind, len(data) + 2 - self.uncounted)) + data
