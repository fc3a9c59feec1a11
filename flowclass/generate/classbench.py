"""ClassBench's text formats: writing filter sets (the engine reads them), and traces with their right answers."""

from __future__ import annotations

import gzip
import socket
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from flowclass.engine.keys import make_keys
from flowclass.errors import ClassifierError

__all__ = ["read_trace", "write_classbench", "write_trace"]


def _open(path: str | PathLike[str], mode: str) -> Any:
    return gzip.open(path, mode, compresslevel=6) if str(path).endswith(".gz") else open(path, mode)


def _text(words: Any, version: int) -> str:
    if version == 4:
        return socket.inet_ntop(socket.AF_INET, int(words[1]).to_bytes(4, "big"))
    high, low = int(words[0]), int(words[1])
    return ":".join(f"{w >> shift & 0xFFFF:x}" for w in (high, low) for shift in (48, 32, 16, 0))


def _prefix(row: Any, side: str, bit: int) -> str:
    version = int(row["version"])
    bits = 32 if version == 4 else 128
    if not row["conditions"] & bit:
        return f"{_text((0, 0), version)}/0"
    first = int(row[f"{side}_first"][0]) << 64 | int(row[f"{side}_first"][1])
    last = int(row[f"{side}_last"][0]) << 64 | int(row[f"{side}_last"][1])
    span = last - first
    if span & (span + 1) or first & span:
        raise ValueError(f"{side} is no prefix")
    return f"{_text(row[f'{side}_first'], version)}/{bits - span.bit_length()}"


def _ports(row: Any, side: str, bit: int) -> str:
    first, last = (int(row[f"{side}_first"]), int(row[f"{side}_last"])) if row["conditions"] & bit else (0, 65535)
    if row["conditions"] & bit and (first, last) == (0, 65535):
        raise ValueError(f"a condition on {side} that every port meets can't be told from none")
    return f"{first} : {last}"


def _line(row: Any) -> str:
    if row["version"] == 0 or row["conditions"] & (4 | 8 | 64):
        raise ValueError("one IP version and the five-tuple's fields only")
    protocol = "0x00/0x00"
    if row["conditions"] & 128:
        if row["protocol_first"] != row["protocol_last"]:
            raise ValueError("a range of protocols")
        protocol = f"0x{row['protocol_first']:02x}/0xFF"
    return "\t".join(
        (
            "@" + _prefix(row, "source", 1),
            _prefix(row, "destination", 2),
            _ports(row, "source_port", 16),
            _ports(row, "destination_port", 32),
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
    return socket.inet_pton(socket.AF_INET6, text) if ":" in text else int(text)


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
            except (ValueError, OSError):
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
