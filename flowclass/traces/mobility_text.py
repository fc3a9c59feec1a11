"""Mobility Header messages of a capture, as plain values for people and for JSON."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from flowclass import wire
from flowclass.addresses import address_text

__all__ = ["faults_of", "message_lines", "packet_dict"]

_UPDATE_LETTERS = "AHLKMRPFTOSD"  # from 0x8000 down
_ACK_LETTERS = "KRPTB"  # from 0x80 down
_REVOCATION_LETTERS = "PVG"  # from 0x8000 down
_REQUESTS = {0: "add", 1: "replace", 2: "refresh", 15: "remove"}
_ACTIONS = {0: "forward (sent as 0)", 1: "forward", 2: "discard", 3: "n-cast"}


def packet_dict(packet: wire.MobilityPacket, profile: wire.Profile) -> dict[str, Any]:
    """One packet for JSON: addresses as RFC 5952 text, octets as hexadecimal text, every field by its name."""
    return {
        "source": address_text(packet.source.packed),
        "destination": address_text(packet.destination.packed),
        "home_address": _value(packet.home_address),
        "routing_home": _value(packet.routing_home),
        "checksum_ok": packet.checksum_ok,
        "message": _structure(packet.message, profile),
    }


def _structure(value: Any, profile: wire.Profile) -> dict[str, Any]:
    """A message, option or sub-option as a dict, whose ``name`` is that of its class."""
    found: dict[str, Any] = {"name": type(value).__name__}
    if isinstance(kind := getattr(type(value), "type", None), int):
        found["type"] = kind
    for field in fields(value):
        found[field.name] = _value(getattr(value, field.name), profile)
    found.update(_meanings(value, profile))
    return found


def _value(value: Any, profile: wire.Profile = wire.DRAFT) -> Any:
    if isinstance(value, IPv4Address | IPv6Address):
        return address_text(value.packed)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [_value(item, profile) for item in value]
    if is_dataclass(value):
        return _structure(value, profile)
    return value


def _meanings(value: Any, profile: wire.Profile) -> dict[str, Any]:
    """What some of the numbers in a structure mean, in words."""
    match value:
        case wire.BindingUpdate():
            letters = _letters(value.flags, _UPDATE_LETTERS, 0x8000)
            return {"flags_set": letters, "lifetime_seconds": value.lifetime * wire.LIFETIME_UNIT}
        case wire.BindingAcknowledgement():
            return {
                "flags_set": _letters(value.flags, _ACK_LETTERS, 0x80),
                "lifetime_seconds": value.lifetime * wire.LIFETIME_UNIT,
                "status_text": wire.BINDING_STATUS.get(value.status, "unknown"),
            }
        case wire.BindingRevocationIndication() | wire.BindingRevocationAcknowledgement():
            return {"flags_set": _letters(value.flags, _REVOCATION_LETTERS, 0x8000)}
        case wire.FlowIdentification():
            words: dict[str, Any] = {"status_text": profile.status.names.get(value.status, "unknown")}
            if profile.explicit_requests:
                words["request"] = _REQUESTS.get(value.pro, "undefined")
            if profile.explicit_actions:
                words["action_text"] = _ACTIONS.get(value.action, "undefined")
            return words
    return {}


def _letters(flags: int, letters: str, top: int) -> list[str]:
    return [letter for place, letter in enumerate(letters) if flags & top >> place]


def faults_of(packet: dict[str, Any]) -> list[tuple[str, int]]:
    """(what, octet of the IP packet) for options and sub-options of a `packet_dict` that break a rule."""
    options = packet["message"].get("options", [])
    every = [*options, *(sub for option in options for sub in option.get("suboptions", []))]
    return [(option["reason"], option["offset"]) for option in every if option["name"].startswith("Malformed")]


def message_lines(packet: dict[str, Any]) -> list[str]:
    """A `packet_dict` as text lines: one for the route, one for the message, one for each option and sub-option."""
    message = packet["message"]
    route = f"{packet['source']} > {packet['destination']}"
    if packet["home_address"]:
        route += f", home address {packet['home_address']}"
    if packet["routing_home"]:
        route += f", to home address {packet['routing_home']}"
    # a status means something only in an acknowledgement (R18)
    answer = message["name"] in ("BindingAcknowledgement", "BindingRevocationAcknowledgement")
    lines = [route, _line(message, True) + ("" if packet["checksum_ok"] else " [bad checksum]")]
    for option in message.get("options", ()):
        lines.append(f"  {_line(option, answer)}")
        lines.extend(f"    {_line(sub, answer)}" for sub in option.get("suboptions", ()))
    return lines


# fields that lines leave out, because they are shown otherwise or concern only the encoding
_QUIET = frozenset(
    {"name", "type", "options", "suboptions", "checksum", "explicit_ends", "flags", "len_units", "offset"}
    | {"lifetime", "status_text", "pro", "action", "action_text", "request"}
)


def _line(structure: dict[str, Any], answer: bool) -> str:
    """``Name: field value, ...``, without empty fields."""
    name = structure["name"]
    if name in ("Pad1", "PadN"):
        return "padding"
    if name.startswith("Unknown"):
        name += f" {structure.get('type', structure.get('format'))}"
    ranges = name.startswith("TrafficSelector") and "selector" not in structure
    parts = [structure[key] for key in ("request", "action_text") if key in structure]
    parts += [
        f"{key.replace('_', ' ')} {_text(key, value, structure, '-' if ranges else ' ')}"
        for key, value in structure.items()
        if key not in _QUIET and not _says_nothing(value) and (key != "status" or answer)
    ]
    return f"{name}: {', '.join(parts)}" if parts else name


def _says_nothing(value: Any) -> bool:
    return value is None or value is False or value in ("", [])


def _text(key: str, value: Any, structure: dict[str, Any], between: str) -> str:
    if isinstance(value, dict):
        return f"({_line(value, False)})"
    if isinstance(value, list):
        values = value[:1] if between == "-" and value[0] == value[-1] else value
        return between.join(map(str, values))
    if value is True:
        return "yes"
    if key == "status" and "status_text" in structure:
        return f"{value} ({structure['status_text']})"
    return str(value)
