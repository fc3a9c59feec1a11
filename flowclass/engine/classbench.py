"""Reads and writes the text formats of packet classification: filter sets (rules) and traces (keys).

Filter sets are ClassBench's (IPv4; IPv6 as text or, as some of its descendants write it, as one decimal number), and
ClassBench-ng's OpenFlow rules. Traces are those of ClassBench's trace_generator, which make no claim about the answer,
and this project's own, whose sixth column is the answer: the index of the rule that decides.
"""

from __future__ import annotations

import gzip
import ipaddress
import re
import zlib
from collections.abc import Iterator, MutableSet
from io import BytesIO, TextIOWrapper
from os import PathLike
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flowclass.errors import ArgumentError, ClassifierError

from ._filters import usual_filters
from .fields import BITS, LARGEST, LOW_WORD
from .keys import RULE_DTYPE, make_keys

__all__ = ["read_classbench", "read_trace", "write_classbench", "write_trace"]

_ANY_PORT: Final = (0, LARGEST["source_port"])
_NOT_EXPRESSIBLE: Final = BITS["flow_label"] | BITS["spi"] | BITS["traffic_class"]
_LINE: Final = re.compile(
    r"@(\S+)/(\d+)\s+(\S+)/(\d+)\s+(\d+)\s*:\s*(\d+)\s+(\d+)\s*:\s*(\d+)\s+"
    r"(0x[0-9a-fA-F]+|\d+)/(0x[0-9a-fA-F]+|\d+)(?:\s|$)"
)


def _number4(text: str) -> int:
    a, b, c, d = map(int, text.split("."))
    if max(a, b, c, d) > 255:
        raise ValueError(text)
    return a << 24 | b << 16 | c << 8 | d


def _number(text: str, version: int) -> int:
    """An address as an integer: text of either version, or a decimal number."""
    if text.isdecimal():
        return int(text)
    return int(ipaddress.IPv6Address(text)) if version == 6 else _number4(text)


def _classbench_row(match: re.Match[str], decimal: int) -> tuple[Any, ...]:
    src, slen, dst, dlen, sp0, sp1, dp0, dp1, proto, mask = match.groups()
    version = decimal if src.isdecimal() else 6 if ":" in src else 4
    bits = 128 if version == 6 else 32
    if int(slen) > bits or int(dlen) > bits:
        raise ValueError("prefix length")
    conditions = 0
    words: list[tuple[int, int]] = []
    for name, text, length in (("source", src, int(slen)), ("destination", dst, int(dlen))):
        span = (1 << (bits - length)) - 1
        words += _words(_number(text, version) & ~span, span)
        conditions |= BITS[name] if length else 0
    ports = (int(sp0), int(sp1), int(dp0), int(dp1))
    if max(ports) > LARGEST["source_port"] or ports[0] > ports[1] or ports[2] > ports[3]:
        raise ValueError("port range")
    for name, pair in (("source_port", ports[:2]), ("destination_port", ports[2:])):
        conditions |= BITS[name] if pair != _ANY_PORT else 0
    proto_value, proto_mask = int(proto, 0), int(mask, 0)
    if proto_mask not in (0, 0xFF) or proto_value > 255:
        raise ValueError("protocol or its mask")
    conditions |= BITS["protocol"] if proto_mask else 0
    protocols = (proto_value, proto_value) if proto_mask else (0, 255)
    # flow label, SPI and traffic class are no part of the format
    return (*words, 0, 0, 0, 0, *ports, 0, 0, *protocols, version, conditions, (0, 0))


def _words(first: int, span: int) -> list[tuple[int, int]]:
    """A prefix of addresses as its first and its last address, two words each."""
    if first >> 128:
        raise ValueError("an address of more than 128 bits")
    return [(first >> 64, first & LOW_WORD), ((first | span) >> 64, (first | span) & LOW_WORD)]


# ---- OpenFlow rules, as ClassBench-ng and ovs-ofctl write them: name=value, name=value/mask, ...

_PORTS: Final = {
    name: side
    for side, end in (("source_port", "src"), ("destination_port", "dst"))
    for name in (f"tp_{end}", f"tcp_{end}", f"udp_{end}", f"sctp_{end}")
}
_SIDES: Final = {
    f"{kind}_{end}": (side, version)
    for side, end in (("source", "src"), ("destination", "dst"))
    for kind, version in (("nw", 4), ("ip", 4), ("ipv4", 4), ("ipv6", 6))
}
_ETHERTYPES: Final = {0x0800: 4, 0x86DD: 6}


def _masked(text: str, bits: int) -> tuple[int, int]:
    """``value`` or ``value/mask`` as a range. The bits that the mask leaves open must be the lowest ones."""
    value, slash, mask = text.partition("/")
    full = (1 << bits) - 1
    span = full & ~int(mask, 0) if slash else 0
    if span & (span + 1):
        raise ValueError(f"a mask with a hole: {text}")
    first = int(value, 0) & ~span
    if first | span > full:
        raise ValueError(f"{text} has more than {bits} bits")
    return first, first | span


def _openflow_row(text: str, left_out: MutableSet[str] | None) -> tuple[tuple[Any, ...], int | None]:
    """Reads one rule; returns it, and its ``priority`` or None."""
    match_part = re.split(r"[,\s]\s*actions\s*=", text)[0]
    fields = dict(item.split("=", 1) for item in re.split(r"[,\s]+", match_part.strip().strip(",")) if item)
    version, conditions, priority = 0, 0, None
    sides: dict[str, tuple[int, int]] = {}
    ports = {"source_port": _ANY_PORT, "destination_port": _ANY_PORT}
    protocols, classes = (0, 255), (0, 255)
    for name, value in fields.items():
        if name in _SIDES:
            side, of = _SIDES[name]
            if version not in (0, of):
                raise ValueError("fields of both IP versions")
            version = of
            network = ipaddress.ip_network(value, strict=False)
            if network.version != version:
                raise ValueError(f"{name}: {value}")
            if network.prefixlen:
                sides[side] = int(network[0]), int(network[-1]) - int(network[0])
                conditions |= BITS[side]
        elif name in _PORTS:
            ports[_PORTS[name]] = _masked(value, 16)
            conditions |= BITS[_PORTS[name]]
        elif name in ("nw_proto", "ip_proto"):
            protocols = _masked(value, 8)
            conditions |= BITS["protocol"]
        elif name in ("nw_tos", "ip_dscp"):
            first = int(value, 0) << 2 if name == "ip_dscp" else int(value, 0) & 0xFC
            if first > 0xFC:
                raise ValueError(f"{name}: {value}")
            classes = first, first | 3
            conditions |= BITS["traffic_class"]
        elif name in ("dl_type", "eth_type"):
            of = _ETHERTYPES.get(int(value, 0), -1)
            if of < 0:
                if left_out is None:
                    raise ValueError(f"{name}={value} is no IP")
                left_out.add(name)
            elif version not in (0, of):
                raise ValueError("fields of both IP versions")
            else:
                version = of
        elif name == "priority":
            priority = int(value, 0)
        elif left_out is None:
            raise ValueError(f"{name} is no field of the classifier")
        else:
            left_out.add(name)
    if not version and conditions:
        version = 4  # nw_ and tp_ alone are those of OpenFlow 1.0
    full = {0: 0, 4: (1 << 32) - 1, 6: (1 << 128) - 1}[version]
    words = [word for side in ("source", "destination") for word in _words(*sides.get(side, (0, full)))]
    row = (
        *words, 0, 0, 0, 0, *ports["source_port"], *ports["destination_port"], *classes, *protocols, version,
        conditions, (0, 0),
    )  # fmt: skip
    return row, priority


def _octets(path: str | PathLike[str]) -> bytes:
    """What a file holds, decompressed. Raises ClassifierError for a file that can't be read."""
    name = str(path)
    try:
        with gzip.open(path) if name.endswith(".gz") else open(path, "rb") as file:
            data = bytearray()
            while chunk := file.read(1 << 20):
                data += chunk
                if b"\0" in chunk:  # as of /dev/zero, which has no end
                    raise ClassifierError(f"{name}: no text: octet {data.index(0)} is 0")
            return bytes(data)
    except OSError as error:
        raise ClassifierError(f"{name}: {error.strerror or error}") from None
    except (EOFError, zlib.error) as error:
        raise ClassifierError(f"{name}: damaged, or no text: {error}") from None


def _lines(name: str, octets: bytes) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, without empty lines and comments. Raises ClassifierError for what is no
    text."""
    try:
        with TextIOWrapper(BytesIO(octets)) as file:
            for number, line in enumerate(file, 1):
                text = line.strip()
                if text and not text.startswith("#"):
                    yield number, text
    except UnicodeDecodeError as error:
        raise ClassifierError(f"{name}: damaged, or no text: {error}") from None


def read_classbench(path: str | PathLike[str], *, left_out: MutableSet[str] | None = None) -> npt.NDArray[np.void]:
    """A ClassBench filter set (``.gz`` too): an array of `RULE_DTYPE`; file order is priority order.

    Lines are ``@source/len destination/len first : last first : last protocol/mask [flags/mask]``, IPv4 or IPv6.
    The flags column is ignored; a port range ``0 : 65535``, a prefix of length 0 and a protocol mask 0 are no
    condition. Addresses may be decimal numbers; they are IPv6 where any in the file needs more than 32 bits. Empty
    lines and lines that begin with ``#`` are skipped.

    ClassBench-ng's OpenFlow rules are taken as well (``nw_src=192.0.2.0/24, nw_proto=6, tp_dst=443``). Fields that the
    classifier doesn't have (``in_port``, ``dl_src`` ...) are an error, unless ``left_out`` is a set: then a rule is
    read without them, and the set gets their names.

    Raises ClassifierError with file and line for anything else, and for a file that can't be read.
    """
    if not isinstance(path, (str, PathLike)):  # an integer would be somebody's open file
        raise ArgumentError("path", "a path", path)
    name = str(path)
    octets = _octets(path)
    found = usual_filters(octets)
    return _read_lines(name, octets, left_out) if found is None else found


def _read_lines(name: str, octets: bytes, left_out: MutableSet[str] | None) -> npt.NDArray[np.void]:
    """Read rules of all forms line by line."""
    rows = []
    matches = []
    before: int | None = None
    for number, text in _lines(name, octets):
        match = _LINE.match(text)
        try:
            if match is not None:
                matches.append((number, match))
            elif re.match(r"\w+\s*=", text):
                row, priority = _openflow_row(text, left_out)
                if before is not None and priority is not None and priority > before:
                    raise ValueError("a higher priority than the line before: file order is priority order")
                before = priority if priority is not None else before
                rows.append(row)
            else:
                raise ClassifierError(f"{name}:{number}: not a ClassBench filter: {text[:60]!r}")
        except ValueError as error:
            if isinstance(error, ClassifierError):
                raise
            raise ClassifierError(f"{name}:{number}: not an OpenFlow rule for the classifier: {error}") from None
    if rows and matches:
        raise ClassifierError(f"{name}:{matches[0][0]}: ClassBench filters and OpenFlow rules in one file")
    decimal = 6 if any(_is_wide(match) for _, match in matches) else 4
    for number, match in matches:
        try:
            rows.append(_classbench_row(match, decimal))
        except ValueError as error:
            raise ClassifierError(f"{name}:{number}: not a ClassBench filter: {error}") from None
    return np.array(rows, RULE_DTYPE)


def _is_wide(match: re.Match[str]) -> bool:
    """Whether a decimal address, or its prefix, is longer than 32 bits."""
    texts, lengths = match.group(1, 3), match.group(2, 4)
    return all(text.isdecimal() for text in texts) and (
        any(int(text) >> 32 for text in texts) or any(int(length) > 32 for length in lengths)
    )


def _open(path: str | PathLike[str], mode: str) -> Any:
    return gzip.open(path, mode, compresslevel=6) if str(path).endswith(".gz") else open(path, mode)


def _text(words: Any, version: int) -> str:
    if version == 4:
        return ".".join(map(str, int(words[1]).to_bytes(4, "big")))
    high, low = int(words[0]), int(words[1])
    return ":".join(f"{w >> shift & 0xFFFF:x}" for w in (high, low) for shift in (48, 32, 16, 0))


def _prefix(row: Any, side: str) -> str:
    version = int(row["version"])
    bits = 32 if version == 4 else 128
    if not row["conditions"] & BITS[side]:
        return f"{_text((0, 0), version)}/0"
    first = int(row[f"{side}_first"][0]) << 64 | int(row[f"{side}_first"][1])
    last = int(row[f"{side}_last"][0]) << 64 | int(row[f"{side}_last"][1])
    span = last - first
    if span & (span + 1) or first & span:
        raise ValueError(f"{side} is no prefix")
    return f"{_text(row[f'{side}_first'], version)}/{bits - span.bit_length()}"


def _ports(row: Any, side: str) -> str:
    first, last = _ANY_PORT
    if row["conditions"] & BITS[side]:
        first, last = int(row[f"{side}_first"]), int(row[f"{side}_last"])
        if (first, last) == _ANY_PORT:
            raise ValueError(f"a condition on {side} that every port meets can't be told from none")
    return f"{first} : {last}"


def _line(row: Any) -> str:
    if row["version"] == 0 or row["conditions"] & _NOT_EXPRESSIBLE:
        raise ValueError("one IP version and the five-tuple's fields only")
    protocol = "0x00/0x00"
    if row["conditions"] & BITS["protocol"]:
        if row["protocol_first"] != row["protocol_last"]:
            raise ValueError("a range of protocols")
        protocol = f"0x{row['protocol_first']:02x}/0xFF"
    return "\t".join(
        (
            "@" + _prefix(row, "source"),
            _prefix(row, "destination"),
            _ports(row, "source_port"),
            _ports(row, "destination_port"),
            protocol,
            "0x0000/0x0000",
        )
    )


def write_classbench(rules: npt.NDArray[np.void], path: str | PathLike[str]) -> None:
    """Writes rules as a ClassBench filter set (``.gz`` too), which `read_classbench` reads back as they were.

    Raises ClassifierError, before anything is written, for a rule that the format can't express: a range of addresses
    that is no prefix, a range of protocols, flow label, SPI or traffic class, both IP versions.
    """
    lines = []
    for number, row in enumerate(rules):
        try:
            lines.append(_line(row))
        except ValueError as error:
            raise ClassifierError(f"rule {number}: not expressible in ClassBench format: {error}") from None
    with _open(path, "wt") as file:
        file.writelines(line + "\n" for line in lines)


def write_trace(keys: npt.NDArray[np.void], answers: npt.NDArray[np.int32], path: str | PathLike[str]) -> None:
    """Writes keys and their right answers, one packet a line, as `read_trace` reads them."""
    with _open(path, "wt") as file:
        for key, answer in zip(keys, answers.tolist(), strict=True):
            version = int(key["version"])
            pair = [
                str(int(key[side][1])) if version == 4 else _text(key[side], 6) for side in ("source", "destination")
            ]
            numbers = [str(int(key[name])) for name in ("source_port", "destination_port", "protocol")]
            file.write("\t".join((*pair, *numbers, str(answer))) + "\n")


def _addresses(texts: list[str], version: int) -> npt.NDArray[Any]:
    if version == 4:
        return np.array([_number(text, 4) for text in texts], np.int64)
    octets = b"".join(_number(text, 6).to_bytes(16, "big") for text in texts)
    return np.frombuffer(octets, np.uint8).reshape(-1, 16)


def read_trace(
    path: str | PathLike[str], *, version: int = 0, claims: bool = True
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int32] | None]:
    """Reads a trace (``.gz`` too): keys, and the index of the first rule that matches each (-1: none) if the file has
    it.

    A line holds source, destination, source port, destination port, protocol, and perhaps more. Addresses are text of
    either IP version, or decimal numbers; of these ``version`` tells the IP version: 4, 6, or 0 (6 if any needs more
    than 32 bits). If the sixth column is the last, it is the answer, unless ``claims`` is False. That is for the traces
    of ClassBench's trace_generator: there the last of six or seven columns is the filter that a packet was drawn from,
    which is no claim about the answer. Raises ClassifierError with file and line for anything else, and for a file that
    can't be read.
    """
    name = str(path)
    sides: tuple[list[str], list[str]] = ([], [])
    numbers: list[list[int]] = []
    widths = set()
    for line_number, line in _lines(name, _octets(path)):
        columns = line.split()
        try:
            if len(columns) < 5:
                raise ValueError("five columns or more expected")
            for side, text in zip(sides, columns, strict=False):
                _number(text, 6 if ":" in text else 4)
                side.append(text)
            numbers.append([int(column) for column in columns[2:6]])
        except ValueError:
            raise ClassifierError(
                f"{name}:{line_number}: no packet: source, destination, two ports and protocol expected: {line[:60]!r}"
            ) from None
        widths.add(len(columns))
    if not numbers:
        raise ClassifierError(f"{name}: an empty trace")
    texts = [text for side in sides for text in side]
    found = {6 if ":" in text else 4 for text in texts if not text.isdecimal()}
    if any(text.isdecimal() for text in texts):
        wide = any(text.isdecimal() and int(text) >> 32 for text in texts)
        found.add(6 if wide else version or 4)
    if len(found) > 1:
        raise ClassifierError(f"{name}: IPv4 and IPv6 addresses in one trace")
    version = found.pop()
    answers = None
    if claims and widths == {6}:
        answers = np.array([row[3] for row in numbers], np.int64).astype(np.int32)
    table = np.array([row[:3] for row in numbers], np.int64)
    keys = make_keys(
        version=version,
        source=_addresses(sides[0], version),
        destination=_addresses(sides[1], version),
        source_port=table[:, 0],
        destination_port=table[:, 1],
        protocol=table[:, 2],
    )
    return keys, answers
