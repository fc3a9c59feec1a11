"""Reads a bindings file, which describes the bindings of a home agent in TOML or JSON (docs/interfaces.md).

There are three steps: tomllib or json turns the text into plain data; msgspec turns that into the classes of shapes.py,
and detects unknown and missing keys and wrong types; this module turns these into nodes, and checks numbers, addresses,
ranges and everything that must be unique. The first mistake raises `BindingsFileError` with the path of the key and its
line. Of files with columns, columns.py makes the same classes.

JSON, which may have a million nodes, is read node by node, and in one step where msgspec finds nothing wrong. Where it
does, or where a key may be there twice (of which msgspec takes the last), the node is read again in the other way,
which knows what to say.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

import msgspec
from msgspec import UNSET, MsgspecError
from msgspec.json import Decoder, Encoder

from flowclass.engine.fields import NUMBERS
from flowclass.engine.rules import WILD_CARD, Range, rule_row
from flowclass.errors import ArgumentError, BindingsFileError, ClassifierError
from flowclass.wire.numbers import MAX_BID_PRIORITY

from ..addresses import Prefix
from ..cache.node import DISCARD, FORWARD, NCAST, CareOf, Flow, Node
from .key_lines import json_lines, line_of, toml_lines
from .parse import BadValueError, address, address_range, number, number_range, prefix
from .shapes import COLUMNAR, CareOfShape, FileShape, FlowShape, NodeShape, RawFileShape, SelectorShape, WholeNodeShape

if TYPE_CHECKING:
    from ..cache.binding_cache import Table

__all__ = ["BindingsFile", "invalid", "publish_bindings", "read_bindings", "read_text"]

_ACTIONS: Final = {"forward": FORWARD, "discard": DISCARD, "n-cast": NCAST}
_INVALID = re.compile(r"^(?P<what>.*?)(?: - at `\$?\.?(?P<path>[^`]*)`)?$", re.DOTALL)
_NO_CHOICE = re.compile(r"Invalid enum value (.*)", re.DOTALL)
_NAMED_KEY = re.compile(r"(?:unknown|required) field `([^`]*)`")

_UNREAD: Final = (MsgspecError, ValueError, RecursionError)
"""What msgspec raises for text that it can't read."""

_DECODE_FILE: Final = Decoder(RawFileShape).decode
_DECODE_NODE: Final = Decoder(WholeNodeShape).decode
_ENCODE: Final = Encoder().encode


@dataclass(slots=True)
class BindingsFile:
    """The content of a valid bindings file: nodes whose entries never expire, and the line of each key.

    The node at index i is ``node[i]`` of the file, and its flow at index j, in file order, is ``node[i].flow[j]``;
    `line` takes such a path.
    """

    file: str
    profile: Literal["draft", "rfc6089"]
    nodes: list[Node] = field(default_factory=list)
    unknown_bids: list[BindingsFileError] = field(default_factory=list)
    """The unknown BIDs that a lenient reading has left out of their flows."""
    source: str | bytearray = field(default="", repr=False)
    """The file: its text, or the octets of one with JSON, which are a text only where lines are asked for."""
    is_json: bool = False
    _lines: dict[str, int] | None = field(default=None, repr=False)
    _places: dict[int, dict[int, int]] = field(default_factory=dict, repr=False)

    @property
    def text(self) -> str:
        """The text of the file with plain line ends. Raises ValueError if it is none."""
        return self.source if isinstance(self.source, str) else _text(self.source)

    @property
    def lines(self) -> dict[str, int]:
        """The line of every key, by its path. It is made when first needed, because it takes as much memory as all the
        rest."""
        if self._lines is None:
            self._lines = json_lines(self.text) if self.is_json else toml_lines(self.text)
        return self._lines

    def refused(self, number: int, error: ClassifierError) -> BindingsFileError:
        """The error that says that a forwarding table can't hold the node at this index."""
        path = f"node[{number}]"
        return BindingsFileError(str(error), file=self.file, path=path, line=self.line(path))

    def line(self, path: str) -> int | None:
        """Return the line of a key, or of the nearest key around it; None if there is none, or the file is no text."""
        try:
            return line_of(self.lines, path) if path else None
        except ValueError:  # octets that aren't UTF-8 behind a fault: JSON is read value by value
            return None

    def flow_line(self, node: int, fid: int) -> int | None:
        """Return the line on which a flow of the node at this index begins."""
        places = self._places.get(node)
        if places is None:
            places = self._places[node] = {number: at for at, number in enumerate(self.nodes[node].flows)}
        return self.line(f"node[{node}].flow[{places[fid]}]")


def read_bindings(path: str | PathLike[str], *, lenient: bool = False) -> BindingsFile:
    """Read and check a bindings file. Raises `BindingsFileError`, also for one that can't be read.

    If ``lenient`` is True, BIDs that the node doesn't have are collected in ``unknown_bids`` instead of refused.
    """
    if not isinstance(path, (str, PathLike)):
        raise ArgumentError("path", "a path", path)
    return _Reader(fspath(path), lenient).read()


def publish_bindings(path: str | PathLike[str], table: Table) -> None:
    """Read a bindings file into a forwarding table, where no binding cache is needed: node by node, in little memory.

    Raises `BindingsFileError`, also when the table can't hold a node. Then the nodes before it are in the table.
    """
    reader = _Reader(fspath(path))
    for i, node in enumerate(reader.nodes()):
        targets, default, flows = node.forwarding()
        try:
            table.publish(
                node.home, also=node.also, prefixes=node.prefixes, targets=targets, default=default, flows=flows
            )
        except ClassifierError as error:
            raise reader.found.refused(i, error) from None


class _Repeating(dict[str, Any]):
    """A JSON object that has ``key`` twice; Python's reader would silently take the last one."""

    key: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    names = [name for name, _ in pairs]
    repeating = _Repeating(found)
    repeating.key = next(name for i, name in enumerate(names) if name in names[:i])
    return repeating


def _repeated(value: Any, path: str) -> str | None:
    """Return the path of the first key that is given twice, or None."""
    if isinstance(value, _Repeating):
        return f"{path}.{value.key}" if path else value.key
    inner: Any = ()
    if isinstance(value, dict):
        inner = ((f"{path}.{name}" if path else name, item) for name, item in value.items())
    elif isinstance(value, list):
        inner = ((f"{path}[{i}]", item) for i, item in enumerate(value))
    return next((found for where, item in inner if (found := _repeated(item, where)) is not None), None)


def _take_flows(data: Any) -> dict[int, list[Any]]:
    """Remove the lists of flows from plain data; return them by the index of their node.

    Flows are most of a large file, and are converted a few at a time to save memory. A value that isn't a list stays
    where it is and is refused later.
    """
    nodes = data.get("node") if isinstance(data, dict) else None
    return {
        i: node.pop("flow")
        for i, node in enumerate(nodes if isinstance(nodes, list) else ())
        if isinstance(node, dict) and isinstance(node.get("flow"), list)
    }


_AT_ONCE: Final = 100
"""How many flows are converted at a time."""


def _surrogate(value: Any, path: str) -> str | None:
    """Return the path of the first key or text that has a surrogate and thus is invalid Unicode, or None."""
    if isinstance(value, str):
        return path if any("\ud800" <= character <= "\udfff" for character in value) else None
    inner: Any = ()
    if isinstance(value, dict):
        for name in value:
            if _surrogate(name, path) is not None:
                return f"{path}.{name}" if path else name
        inner = ((f"{path}.{name}" if path else name, item) for name, item in value.items())
    elif isinstance(value, list):
        inner = ((f"{path}[{i}]", item) for i, item in enumerate(value))
    return next((found for where, item in inner if (found := _surrogate(item, where)) is not None), None)


def invalid(error: msgspec.ValidationError, kind: Any) -> tuple[str, str]:
    """(what is wrong, the path of the key) of plain data that could not be converted to ``kind``."""
    match = _INVALID.match(str(error))
    what, path = (match["what"], match["path"] or "") if match else (str(error), "")
    named = _NAMED_KEY.search(what)
    if named and "unknown" in what:
        from difflib import get_close_matches

        close = get_close_matches(named[1], _keys(kind, path), 1)
        what = f"unknown key: did you mean {close[0]}?" if close else "unknown key"
        path = f"{path}.{named[1]}" if path else named[1]
    elif named:
        what = f"{named[1]} is missing"
    elif value := _NO_CHOICE.match(what):
        choices = getattr(_type_at(kind, path), "values", ())
        what = f"{value[1]}: one of {', '.join(map(str, choices))} expected"
    return what, path


def _keys(kind: Any, path: str) -> Sequence[str]:
    """The keys that a table may have at the path (as ``node[0].care_of``) in a value of the type ``kind``."""
    at = _type_at(kind, path)
    return [field.encode_name for field in at.fields] if isinstance(at, msgspec.inspect.StructType) else ()


def _type_at(kind: Any, path: str) -> Any:
    """What msgspec says about the type at a path in a value of the type ``kind``."""
    inspect = msgspec.inspect
    at: Any = inspect.type_info(kind)
    for name in [*re.findall(r"[^.\[\]]+|\[", path), ""]:
        if isinstance(at, inspect.UnionType):  # of a table or list, and what stands for its absence
            kinds = inspect.StructType | inspect.ListType | inspect.LiteralType
            at = next((one for one in at.types if isinstance(one, kinds)), None)
        if name == "[" and isinstance(at, inspect.ListType):
            at = at.item_type
        elif name and not name.isdecimal() and isinstance(at, inspect.StructType):
            at = next((field.type for field in at.fields if field.encode_name == name), None)
    return at


_LONGEST: Final = 200
"""The greatest number of characters of a message or a path that is shown."""


def _short(text: str) -> str:
    """Return a text as a single, short line: unprintable characters are escaped, and a long text loses its middle."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]}…{text[-_LONGEST // 2 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


_LARGEST: Final = 1 << 30  # octets
_OBJECT: Final = re.compile(rb"\s*+\{")
_MARK: Final = b"\xef\xbb\xbf"  # with which Windows begins UTF-8


def read_octets(path: str | PathLike[str]) -> bytearray:
    """Return the octets of a file of text. Raises OSError for one that can't be read, and ValueError for one that is no
    text, or that may have no end."""
    data = bytearray()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(1 << 16):
            data += chunk
            if b"\0" in chunk:  # as of /dev/zero, which has no end
                raise ValueError(f"no text: octet {data.index(0)} is 0")
            if len(data) > _LARGEST:
                raise ValueError("more than 1 GiB")
    return data


def read_text(path: str | PathLike[str]) -> str:
    """Return a file of UTF-8 text with plain line ends. Errors are those of `read_octets`, and ValueError for octets
    that are not UTF-8."""
    return _text(read_octets(path))


def _text(octets: bytearray) -> str:
    try:
        return octets.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (octet {error.start})") from None


class _Reader:
    """The state of reading one file."""

    def __init__(self, file: str, lenient: bool = False) -> None:
        self.file = file
        self.lenient = lenient
        self.found = BindingsFile(file, "draft")
        self.priorities: set[int] = set()
        self.raw_flows: dict[int, list[Any]] = {}
        self.addresses: dict[bytes, int] = {}  # home address to the index of its node, IPv4 home address to ~index
        self.prefixes: dict[Prefix, str] = {}

    def fail(self, message: str, path: str = "") -> NoReturn:
        raise BindingsFileError(_short(message), file=self.file, path=_short(path), line=self.found.line(path))

    def read(self) -> BindingsFile:
        self.found.nodes += self.nodes()
        return self.found

    def nodes(self) -> Iterator[Node]:
        """Yield the nodes of the file in its order; ``found`` has the rest, the profile before the first node."""
        if self.file.lower().endswith(COLUMNAR):
            return self.column_nodes()
        try:
            octets = read_octets(self.file)
            start = len(_MARK) if octets.startswith(_MARK) else 0
            self.found.is_json = self.file.endswith(".json") or (
                not self.file.endswith(".toml") and _OBJECT.match(octets, start) is not None
            )
            self.found.source = octets if self.found.is_json else _text(octets)
        except OSError as error:
            raise BindingsFileError(error.strerror or str(error), file=self.file) from None
        except ValueError as error:
            raise BindingsFileError(str(error), file=self.file) from None
        if self.found.is_json:
            with suppress(*_UNREAD):  # then the other way says what is wrong
                return self.raw_nodes(_DECODE_FILE(memoryview(octets)[start:]), octets.count(b'"'))
        del octets
        return self.plain_nodes(self.data())

    def column_nodes(self) -> Iterator[Node]:
        """The nodes of a columnar file."""
        from .columns import read_columns  # which takes numpy

        self.found.profile, shapes = read_columns(self.file)
        for i, shape in enumerate(shapes):
            yield self.node(shape, i, [] if shape.flow is UNSET else shape.flow)

    def raw_nodes(self, file: RawFileShape, all_quotes: int) -> Iterator[Node]:
        """The nodes of a JSON file whose outermost object is valid."""
        self.found.profile = "draft" if file.profile is UNSET else file.profile
        raws: list[Any] = [] if file.node is UNSET else file.node
        quotes = 4 * (file.profile is not UNSET) + 2 * (file.node is not UNSET)
        for i, raw in enumerate(raws):
            raws[i] = None  # this frees its memory
            octets = bytes(raw)
            quotes += octets.count(b'"')
            yield self.raw_node(octets, i)
        if all_quotes != quotes:
            self.data()  # "profile" or "node" is there twice

    def raw_node(self, octets: bytes, number: int) -> Node:
        try:
            shape = _DECODE_NODE(octets)
            # a key that is there twice is encoded once
            plain = b"\\" in octets or _ENCODE(shape).count(b'"') != octets.count(b'"')
        except _UNREAD:
            plain = True
        if plain:
            return self.plain_node(octets, number)
        return self.node(shape, number, [] if shape.flow is UNSET else shape.flow)

    def plain_node(self, octets: bytes, number: int) -> Node:
        try:
            data = json.loads(octets.decode(), object_pairs_hook=_object)
            repeated = _repeated(data, f"node[{number}]")
        except (RecursionError, ValueError):
            self.data()  # which raises it with the line
            raise
        if repeated is not None:
            self.fail("the key is given twice", repeated)
        flows = _take_flows({"node": [data]})
        shape = self.shape([data], list[NodeShape], "node", number)[0]
        return self.node(shape, number, self.flow_shapes(flows.pop(0, []), number))

    def plain_nodes(self, data: Any) -> Iterator[Node]:
        """The nodes of a file as plain data."""
        self.raw_flows = _take_flows(data)
        shape: FileShape = self.shape(data, FileShape)
        del data
        self.found.profile = shape.profile
        for i, node in enumerate(shape.node):
            yield self.node(node, i, self.flow_shapes(self.raw_flows.pop(i, []), i))

    def data(self) -> Any:
        try:
            text = self.found.text
        except ValueError as error:
            raise BindingsFileError(str(error), file=self.file) from None
        try:
            if not self.found.is_json:
                return tomllib.loads(text)
            data = json.loads(text, object_pairs_hook=_object)
            repeated = _repeated(data, "")
        except json.JSONDecodeError as error:
            raise BindingsFileError(f"no valid JSON: {error.msg}", file=self.file, line=error.lineno) from None
        except tomllib.TOMLDecodeError as error:
            where = re.search(r" \(at line (\d+), column \d+\)$", str(error))
            what = str(error)[: where.start()] if where else str(error)
            line = int(where[1]) if where else None
            raise BindingsFileError(_short(f"no valid TOML: {what}"), file=self.file, line=line) from None
        except (RecursionError, ValueError):  # ValueError: integers beyond the interpreter's limit of digits
            raise BindingsFileError("nested too deeply, or a number too long", file=self.file) from None
        if repeated is not None:
            self.fail("the key is given twice", repeated)
        return data

    def shape(self, data: Any, kind: Any, inside: str = "", first: int = 0) -> Any:
        """Convert plain data to values of the type ``kind``.

        If ``inside`` is given, it is the path of a list, and ``data`` are its items from index ``first`` on.
        """
        try:
            return msgspec.convert(data, kind)
        except UnicodeEncodeError:
            what, path = "no Unicode text: half of a surrogate pair", _surrogate(data, "") or ""
        except msgspec.ValidationError as error:
            what, path = invalid(error, kind)
        if inside:
            item = re.match(r"\[(\d+)\]", path)
            path = inside if item is None else f"{inside}[{first + int(item[1])}]{path[item.end() :]}"
        self.fail(what, path)

    def flow_shapes(self, raw_flows: list[Any], number: int) -> Iterator[FlowShape]:
        """The flows of the node at an index, out of plain data."""
        for first in range(0, len(raw_flows), _AT_ONCE):
            some = raw_flows[first : first + _AT_ONCE]
            raw_flows[first : first + _AT_ONCE] = [None] * len(some)  # this frees the memory of what was read
            yield from self.shape(some, list[FlowShape], f"node[{number}].flow", first)

    def node(self, raw: NodeShape, number: int, flows: Iterable[FlowShape]) -> Node:
        path = f"node[{number}]"
        home = self.own_address(raw.home_address, number, "home_address")
        node = Node(home, self.found.profile)
        if raw.ipv4_home_address is not UNSET:
            ipv4 = self.own_address(raw.ipv4_home_address, number, "ipv4_home_address")
            if len(ipv4) != 4:
                self.fail("not an IPv4 address", f"{path}.ipv4_home_address")
            node.also = (ipv4,)
        if raw.prefixes is not UNSET:
            node.prefixes = tuple(self.prefix(text, f"{path}.prefixes[{i}]") for i, text in enumerate(raw.prefixes))
        for i, care_of in enumerate([] if raw.care_of is UNSET else raw.care_of):
            entry = self.care_of(care_of, f"{path}.care_of[{i}]")
            if entry.bid in node.care_of:
                self.fail(f"BID {entry.bid} is given twice", f"{path}.care_of[{i}].bid")
            node.care_of[entry.bid] = entry
        self.priorities.clear()
        for i, raw_flow in enumerate(flows):
            flow = self.flow(raw_flow, node, f"{path}.flow[{i}]")
            node.flows[flow.fid] = flow
        return node

    def own_address(self, text: str, number: int, key: str) -> bytes:
        path = f"node[{number}].{key}"
        try:
            packed = address(text)
        except BadValueError as error:
            self.fail(str(error), path)
        whose = number if key == "home_address" else ~number
        first = self.addresses.setdefault(packed, whose)
        if first != whose:
            other = f"node[{first}].home_address" if first >= 0 else f"node[{~first}].ipv4_home_address"
            self.fail(f"the home address {text} is given twice (first as {other})", path)
        return packed

    def prefix(self, text: str, path: str) -> Prefix:
        try:
            found = prefix(text)
        except BadValueError as error:
            self.fail(str(error), path)
        if found in self.prefixes:
            self.fail(f"the prefix {text} is given twice (first as {self.prefixes[found]})", path)
        self.prefixes[found] = path
        return found

    def care_of(self, raw: CareOfShape, path: str) -> CareOf:
        key = "bid"
        try:
            bid = number(raw.bid, 1, 0xFFFF)
            key = "address"
            packed = address(raw.address)
            if raw.priority is UNSET:
                return CareOf(bid, packed)
            key = "priority"
            return CareOf(bid, packed, number(raw.priority, 0, MAX_BID_PRIORITY))
        except BadValueError as error:
            self.fail(str(error), f"{path}.{key}")

    def flow(self, raw: FlowShape, node: Node, path: str) -> Flow:
        rfc = self.found.profile == "rfc6089"
        low, high = (1, 0xFFFF) if rfc else (0, 0xFF)  # K31: 0 is legal in the draft
        key = "fid"
        try:
            fid = number(raw.fid, low, 0xFFFF)
            key = "pri"
            pri = number(raw.pri, low, high)
        except BadValueError as error:
            self.fail(str(error), f"{path}.{key}")
        if fid in node.flows:
            self.fail(f"FID {fid} is given twice", f"{path}.fid")
        if rfc and pri in self.priorities:
            self.fail(f"PRI {pri} is given twice, but must be unique in a node (K14)", f"{path}.pri")
        self.priorities.add(pri)
        bids = self.bids(raw, node, path)
        action = NCAST if rfc and len(bids) > 1 else FORWARD
        if raw.action is not UNSET:
            if rfc:
                self.fail("the rfc6089 profile has no actions: several BIDs mean copies to each", f"{path}.action")
            if raw.action not in _ACTIONS:
                self.fail(f"{raw.action!r} is no action; expected {', '.join(_ACTIONS)}", f"{path}.action")
            action = _ACTIONS[raw.action]
        if action != DISCARD and not bids and not (self.lenient and raw.bids):
            self.fail("bids is missing: a flow that isn't discarded needs one BID or more",
                      path if raw.bids is UNSET else f"{path}.bids")  # fmt: skip
        rule = WILD_CARD if raw.selector is UNSET else self.selector(raw.selector, f"{path}.selector")
        return Flow(fid, pri, action, bids, rule)

    def bids(self, raw: FlowShape, node: Node, path: str) -> tuple[int, ...]:
        bids: dict[int, None] = {}
        for i, value in enumerate([] if raw.bids is UNSET else raw.bids):
            try:
                bid = number(value, 1, 0xFFFF)
            except BadValueError as error:
                self.fail(str(error), f"{path}.bids[{i}]")
            if bid not in node.care_of:
                self.unknown_bid(bid, f"{path}.bids[{i}]")
                continue
            if bid in bids:
                self.fail(f"BID {bid} is given twice", f"{path}.bids[{i}]")
            bids[bid] = None
        return tuple(bids)

    def unknown_bid(self, bid: int, path: str) -> None:
        message = f"BID {bid} is unknown: the node has no such care-of address"
        if not self.lenient:
            self.fail(message, path)
        line = self.found.line(path)
        self.found.unknown_bids.append(BindingsFileError(message, file=self.file, path=path, line=line))

    def selector(self, raw: SelectorShape, path: str) -> bytes:
        version = 0
        ranges: dict[str, Range] = {}
        name = "version"
        try:
            if raw.version is not UNSET:
                version = number(raw.version, 0, 255)
                if version not in (4, 6):
                    raise BadValueError(f"{version} is no IP version; expected 4 or 6")
            for name in ("source", "destination"):
                text = getattr(raw, name)
                if text is not UNSET:
                    its, ranges[name] = address_range(text)
                    if version not in (0, its):
                        raise BadValueError(f"an IPv{its} address in a selector of version {version}")
                    version = its
            for name in NUMBERS:
                value = getattr(raw, name)
                if value is not UNSET:
                    ranges[name] = number_range(value, name)
        except BadValueError as error:
            self.fail(str(error), f"{path}.{name}")
        if not ranges and not version:
            return WILD_CARD
        return rule_row(version or 6, **ranges)
