"""ClassBench's text formats, read and written: filter sets (rules), and traces (keys with their right answers)."""

from __future__ import annotations

import gzip
import ipaddress
import re
import zlib
from collections.abc import Callable
from os import PathLike
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flowclass.errors import ArgumentError, ClassifierError

from .fields import BITS, LARGEST
from .keys import RULE_DTYPE, make_keys

__all__ = ["read_classbench", "read_trace", "write_classbench", "write_trace"]

_M64: Final = (1 << 64) - 1
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


def _number6(text: str) -> int:
    return int(ipaddress.IPv6Address(text))


def _classbench_row(match: re.Match[str]) -> tuple[Any, ...]:
    src, slen, dst, dlen, sp0, sp1, dp0, dp1, proto, mask = match.groups()
    version = 6 if ":" in src else 4
    number: Callable[[str], int] = _number6 if version == 6 else _number4
    bits = 128 if version == 6 else 32
    if int(slen) > bits or int(dlen) > bits:
        raise ValueError("prefix length")
    conditions = 0
    words: list[tuple[int, int]] = []
    for name, text, length in (("source", src, int(slen)), ("destination", dst, int(dlen))):
        span = (1 << (bits - length)) - 1
        first = number(text) & ~span
        words += [(first >> 64, first & _M64), ((first | span) >> 64, (first | span) & _M64)]
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


def read_classbench(path: str | PathLike[str]) -> npt.NDArray[np.void]:
    """A ClassBench filter set (``.gz`` too): an array of `RULE_DTYPE`; file order is priority order.

    Lines are ``@source/len destination/len first : last first : last protocol/mask [flags/mask]``, IPv4 or IPv6.
    The flags column is ignored; a port range ``0 : 65535``, a prefix of length 0 and a protocol mask 0 are no
    condition. Empty lines and lines that begin with ``#`` are skipped.

    Raises ClassifierError with file and line for anything else, and for a file that can't be read.
    """
    if not isinstance(path, (str, PathLike)):  # an integer would be somebody's open file
        raise ArgumentError("path", "a path", path)
    name = str(path)
    rows = []
    try:
        with gzip.open(path, "rt") if name.endswith(".gz") else open(path) as file:
            for number, line in enumerate(file, 1):
                text = line.strip()
                if not text or text.startswith("#"):
                    continue
                match = _LINE.match(text)
                if match is None:
                    raise ClassifierError(f"{name}:{number}: not a ClassBench filter: {text[:60]!r}")
                try:
                    rows.append(_classbench_row(match))
                except ValueError as error:
                    raise ClassifierError(f"{name}:{number}: not a ClassBench filter: {error}") from None
    except OSError as error:
        raise ClassifierError(f"{name}: {error.strerror or error}") from None
    except (EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ClassifierError(f"{name}: damaged, or no text: {error}") from None
    return np.array(rows, RULE_DTYPE)


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


def _address(text: str) -> bytes | int:
    return ipaddress.IPv6Address(text).packed if ":" in text else int(text)


def read_trace(path: str | PathLike[str]) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int32]]:
    """A trace (``.gz`` too): keys and the index of the first rule that matches each, -1 for none.

    A line holds source and destination (IPv4: a decimal number, IPv6: text), source port, destination port, protocol
    and the answer. Raises ClassifierError with file and line for anything else, OSError for a file that can't be read.
    """
    name = str(path)
    sides: tuple[list[Any], list[Any]] = ([], [])
    numbers = []
    with _open(path, "rt") as file:
        for line_number, line in enumerate(file, 1):
            columns = line.split()
            try:
                if len(columns) != 6:
                    raise ValueError
                sides[0].append(_address(columns[0]))
                sides[1].append(_address(columns[1]))
                numbers.append([int(c) for c in columns[2:]])
            except ValueError:
                raise ClassifierError(f"{name}:{line_number}: six columns expected: {line.strip()[:60]!r}") from None
    if not numbers:
        raise ClassifierError(f"{name}: an empty trace")
    kinds = {type(a) for side in sides for a in side}
    if len(kinds) > 1:
        raise ClassifierError(f"{name}: IPv4 and IPv6 addresses in one trace")
    source: npt.NDArray[Any]
    destination: npt.NDArray[Any]
    if kinds == {int}:
        version, source, destination = 4, *(np.array(side, np.int64) for side in sides)
    else:
        version, source, destination = 6, *(np.frombuffer(b"".join(s), np.uint8).reshape(-1, 16) for s in sides)
    table = np.array(numbers, np.int64)
    keys = make_keys(
        version=version,
        source=source,
        destination=destination,
        source_port=table[:, 0],
        destination_port=table[:, 1],
        protocol=table[:, 2],
    )
    return keys, table[:, 3].astype(np.int32)
