"""Section 5 of the draft as a capture: two binding updates, their acknowledgements, and packets before and after.

A mobile node has two interfaces. It registers the second (CoA2) as the preferred one; later it registers the first
(CoA1) too and asks that flows from ports 22 and 443 go there. So ssh and https take CoA1 and everything else CoA2.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address

from flowclass import wire

from .bindings import HOME_AGENT
from .captures import Frame
from .mobility import START_NS
from .packets import ICMP6, TCP, UDP, Fields, ethernet, hop_by_hop, ip_packet

__all__ = [
    "BINDINGS_TOML",
    "CARE_OF_1",
    "CARE_OF_2",
    "CORRESPONDENT",
    "HOME_ADDRESS",
    "Step",
    "binding_updates",
    "section5",
]

HOME_ADDRESS = IPv6Address("2001:db8:1::1")
CARE_OF_1 = IPv6Address("2001:db8:a::1")
CARE_OF_2 = IPv6Address("2001:db8:b::1")
CORRESPONDENT = IPv6Address("2001:db8:c::1")
_STRANGER = IPv6Address("2001:db8:1::2")

_BINDINGS = """\
# Section 5 of the draft as a bindings file: the state after both binding updates.
profile = "{profile}"

[[node]]
home_address = "{home}"

[[node.care_of]]
bid = 1
address = "{coa1}"
priority = 20

[[node.care_of]]
bid = 2
address = "{coa2}"
priority = 10                 # the lower number is preferred: the default binding

[[node.flow]]                 # ssh
fid = 1
pri = 1
bids = [1]
selector = {{ source_port = 22 }}

[[node.flow]]                 # https
fid = 2
pri = {second}
bids = [1]
selector = {{ source_port = 443 }}
"""

BINDINGS_TOML = {
    # PRI is unique in RFC 6089 (K14)
    profile: _BINDINGS.format(profile=profile, home=HOME_ADDRESS, coa1=CARE_OF_1, coa2=CARE_OF_2, second=second)
    for profile, second in (("draft", 1), ("rfc6089", 2))
}
"""The bindings that result from the two updates, by profile, as a bindings file."""

_LIFETIME = 150  # units of 4 seconds: ten minutes


@dataclass(frozen=True, slots=True)
class Step:
    """A frame and its description; ``care_of`` is where section 5 says it goes, or None if it is not forwarded."""

    frame: Frame
    words: str
    care_of: IPv6Address | None = None


def _selector(port: int) -> wire.TrafficSelectorOption:
    return wire.TrafficSelectorOption(wire.TrafficSelector6(source_port=(port, port)))


def binding_updates(profile: wire.Profile = wire.DRAFT) -> tuple[wire.MobilityPacket, wire.MobilityPacket]:
    """The two binding updates. BID 2 is CoA2 with the better priority: a lower number is preferred (K13)."""
    first = _update(1, CARE_OF_2, [wire.BindingIdentifier(2, CARE_OF_2, priority=10)])
    second: list[wire.Option] = [wire.BindingIdentifier(1, CARE_OF_1, priority=20)]
    for fid, port in ((1, 22), (2, 443)):
        pri = fid if profile.unique_pri else 1  # both 1 in the draft (R79); RFC 6089 wants unique ones (K14)
        second.append(wire.FlowIdentification(fid, pri, suboptions=(wire.BindingReference((1,)), _selector(port))))
    return first, _update(2, CARE_OF_1, second)


def _update(sequence: int, care_of: IPv6Address, options: list[wire.Option]) -> wire.MobilityPacket:
    flags = wire.UpdateFlag.ACKNOWLEDGE | wire.UpdateFlag.HOME_REGISTRATION
    message = wire.BindingUpdate(sequence, _LIFETIME, flags, tuple(options))
    return wire.MobilityPacket(care_of, HOME_AGENT, message, home_address=HOME_ADDRESS)


def _acknowledgement(update: wire.MobilityPacket) -> wire.MobilityPacket:
    """What a home agent answers: BID options without their addresses, copies of the flow options (R73, K7)."""
    assert isinstance(update.message, wire.BindingUpdate)
    options: list[wire.Option] = []
    for option in update.message.options:
        if isinstance(option, wire.BindingIdentifier):
            options.append(wire.BindingIdentifier(option.bid, priority=option.priority))
        elif isinstance(option, wire.FlowIdentification):
            options.append(wire.FlowIdentification(option.fid, option.pri))
    message = wire.BindingAcknowledgement(0, update.message.sequence, _LIFETIME, options=tuple(options))
    return wire.MobilityPacket(HOME_AGENT, update.source, message, routing_home=HOME_ADDRESS)


def section5(profile: wire.Profile = wire.DRAFT) -> list[Step]:
    """The trace, Ethernet frames a tenth of a second apart."""
    first, second = binding_updates(profile)
    ssh, https, http = (_packet(TCP, port, to) for port, to in ((22, 50022), (443, 50443), (80, 50080)))
    wrapped = _packet(TCP, 443, 50444, options=True)
    named = _packet(UDP, 53, 50053)
    outgoing = _packet(TCP, 50022, 22)  # a server on the mobile node: 22 is the destination port
    ping = _packet(ICMP6)
    elsewhere = ip_packet(Fields(CORRESPONDENT.packed, _STRANGER.packed, TCP, 22, 50022))
    made: list[tuple[bytes, str, IPv6Address | None]] = [
        (ssh, "ssh", None),
        (wire.encode_packet(first, profile), "binding update 1", None),
        (wire.encode_packet(_acknowledgement(first), profile), "its acknowledgement", None),
        (ssh, "ssh", CARE_OF_2),
        (http, "web page", CARE_OF_2),
        (wire.encode_packet(second, profile), "binding update 2", None),
        (wire.encode_packet(_acknowledgement(second), profile), "its acknowledgement", None),
        (ssh, "ssh", CARE_OF_1),
        (https, "https", CARE_OF_1),
        (wrapped, "https, hop-by-hop options", CARE_OF_1),
        (http, "web page", CARE_OF_2),
        (named, "DNS answer", CARE_OF_2),
        (outgoing, "to the node's port 22", CARE_OF_2),
        (ping, "ping, no ports", CARE_OF_2),
        (elsewhere, "ssh to somebody else", None),
    ]
    return [
        Step(Frame(START_NS + number * 100_000_000, ethernet(octets)), words, care_of)
        for number, (octets, words, care_of) in enumerate(made)
    ]


def _packet(protocol: int, source_port: int = 0, destination_port: int = 0, *, options: bool = False) -> bytes:
    fields = Fields(CORRESPONDENT.packed, HOME_ADDRESS.packed, protocol, source_port, destination_port)
    return ip_packet(fields, extensions=[hop_by_hop()] if options else ())
