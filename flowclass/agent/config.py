"""The configuration files of the live agents (docs/interfaces.md, "A live agent"), in TOML.

They are read like bindings files: tomllib turns the text into plain data, msgspec turns that into the classes below,
and this module checks these and makes the values. The first mistake raises a `ConfigurationError` with the file, the
line and the key. Paths in a file are relative to its folder.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from flowclass.engine.fields import NUMBERS
from flowclass.errors import ConfigurationError
from flowclass.mobility import DISCARD, FORWARD, NCAST, Association, Limits
from flowclass.mobility.addresses import is_routable
from flowclass.mobility.bindings_file.key_lines import line_of, toml_lines
from flowclass.mobility.bindings_file.parse import BadValueError, address_range, number, number_range
from flowclass.mobility.bindings_file.read import invalid, read_text
from flowclass.wire.selectors import TrafficSelector4, TrafficSelector6

from .packets import MIN_MTU
from .tun import MAX_NAME

__all__ = [
    "AgentConfig",
    "CareOfSource",
    "CorrespondentConfig",
    "FlowPolicy",
    "NodeConfig",
    "Provisioned",
    "Security",
    "read_agent_config",
    "read_correspondent_config",
    "read_node_config",
]

Profile = Literal["draft", "rfc6089"]
Selector = TrafficSelector4 | TrafficSelector6
Prefixes = tuple[IPv4Network | IPv6Network, ...]
T = TypeVar("T")

_DEVICE: Final = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_NAME}}}")
_ACTIONS: Final = {"forward": FORWARD, "discard": DISCARD, "n-cast": NCAST}
_MAX_MTU: Final = 65535  # the forwarder takes no more
_LONGEST: Final = 1e9  # seconds: 30 years, which stand for ever
_MIN_KEY: Final = 16
_LONGEST_KEY: Final = 4096
_RATE: Final = 100.0  # updates per second from one source; RFC 6275 allows a mobile node three
_CORRESPONDENT_NODES: Final = 1024  # each needs a route of the kernel
_LABORATORY_RATE: Final = 5000.0  # with insecure = true, where one generator may simulate many nodes


# ---- what a file may hold


class _Association(Struct, forbid_unknown_fields=True):
    home_address: str
    spi: int
    key_file: str
    identifier: str | UnsetType = UNSET
    timestamps: bool = True


class _Security(Struct, forbid_unknown_fields=True):
    insecure: bool = False
    protected_interfaces: list[str] = []
    protected_marks: list[int] = []
    mobile_node: list[_Association] = []
    timestamp_window: float = 7.0


_DEFAULT: Final = Limits()
_LIMITS: Final = (
    ("nodes", 0, 0xFFFFFFFF),
    ("bids_per_node", 1, 0xFFFF),
    ("flows_per_node", 1, 0xFFFF),
    ("lifetime", 1, 0xFFFF),
    ("updates_per_second", 1, 1_000_000),
    ("burst", 1, 1_000_000),
)
"""The least and the greatest value of each limit."""


class _Limits(Struct, forbid_unknown_fields=True):
    nodes: int | None = None
    bids_per_node: int = _DEFAULT.bids_per_node
    flows_per_node: int = _DEFAULT.flows_per_node
    lifetime: int = _DEFAULT.lifetime
    updates_per_second: float | None = None
    burst: int | None = None


class _Provisioned(Struct, forbid_unknown_fields=True):
    home_address: str
    ipv4_home_address: str | UnsetType = UNSET
    prefixes: list[str] = []


class _Agent(Struct, forbid_unknown_fields=True):
    home_agent: str
    home_prefixes: list[str]
    security: _Security
    profile: Profile = "draft"
    tun: str = "flowclass0"
    mtu: int = 1500
    hop_limit: int = 64
    encapsulation_limit: int | Literal[False] = 4
    queues: int = 1
    offloads: bool = True
    on_interface: bool = False
    home_link: str | UnsetType = UNSET
    home_agent_ipv4: str | UnsetType = UNSET
    store: str | UnsetType = UNSET
    control: str = "flowclass.sock"
    metrics: str | UnsetType = UNSET
    log: Literal["text", "json"] = "text"
    log_interval: float = 10.0
    user: str | UnsetType = UNSET
    limits: _Limits = msgspec.field(default_factory=_Limits)
    node: list[_Provisioned] = []


class _NodeSecurity(Struct, forbid_unknown_fields=True):
    insecure: bool = False
    ipsec: bool = False
    spi: int | UnsetType = UNSET
    key_file: str | UnsetType = UNSET
    identifier: str | UnsetType = UNSET


class _CareOf(Struct, forbid_unknown_fields=True):
    bid: int
    interface: str | UnsetType = UNSET
    address: str | UnsetType = UNSET
    priority: int = 0


class _Selector(Struct, forbid_unknown_fields=True):
    source: str | UnsetType = UNSET
    destination: str | UnsetType = UNSET
    protocol: int | str | UnsetType = UNSET
    source_port: int | str | UnsetType = UNSET
    destination_port: int | str | UnsetType = UNSET
    flow_label: int | str | UnsetType = UNSET
    spi: int | str | UnsetType = UNSET
    traffic_class: int | str | UnsetType = UNSET
    version: int | str | UnsetType = UNSET


class _Flow(Struct, forbid_unknown_fields=True):
    fid: int | str
    pri: int | str
    action: str | UnsetType = UNSET
    bids: list[int | str] = []
    selector: _Selector | UnsetType = UNSET


class _Node(Struct, forbid_unknown_fields=True):
    home_address: str
    home_agent: str
    care_of: list[_CareOf]
    security: _NodeSecurity
    profile: Profile = "draft"
    tun: str = "mobile0"
    mtu: int = 1400
    hop_limit: int = 64
    lifetime: int = 600
    default_route: bool = True
    ipv4_home_address: str | UnsetType = UNSET
    home_agent_ipv4: str | UnsetType = UNSET
    prefixes: list[str] = []
    route_optimization: bool = False
    correspondents: list[str] = []
    control: str = "mobile.sock"
    log: Literal["text", "json"] = "text"
    log_interval: float = 10.0
    flow: list[_Flow] = []


class _CorrespondentNode(Struct, forbid_unknown_fields=True):
    address: str
    home_prefixes: list[str] = []
    profile: Profile = "draft"
    tun: str = "correspondent0"
    mtu: int = 1400
    control: str = "correspondent.sock"
    log: Literal["text", "json"] = "text"
    log_interval: float = 10.0
    limits: _Limits = msgspec.field(default_factory=lambda: _Limits(nodes=_CORRESPONDENT_NODES))


# ---- what they mean


class Security(Struct, frozen=True):
    """How binding updates are authenticated, in one of three ways."""

    insecure: bool
    interfaces: tuple[str, ...]
    marks: tuple[int, ...]
    associations: tuple[Association, ...]
    window: float  # seconds by which a timestamp may be off (RFC 4285 section 6)

    @property
    def is_protected(self) -> bool:
        return bool(self.interfaces or self.marks)


class Provisioned(Struct, frozen=True):
    """The configuration of one mobile node by the operator."""

    home: IPv6Address
    ipv4_home: IPv4Address | None
    prefixes: tuple[IPv6Network, ...]


class AgentConfig(Struct, frozen=True):
    """A checked configuration of `flowclass ha`."""

    file: str
    profile: Profile
    home_agent: IPv6Address
    home_prefixes: tuple[IPv4Network | IPv6Network, ...]
    tun: str
    mtu: int
    hop_limit: int
    encapsulation_limit: int | None
    queues: int
    offloads: bool
    home_link: str | None  # the interface of the link that home addresses are on
    home_agent_ipv4: IPv4Address | None
    store: Path | None
    control: Path
    metrics: tuple[str, int] | None
    log: Literal["text", "json"]
    log_interval: float
    user: str | None
    limits: Limits
    updates_per_second: float
    burst: int
    nodes: tuple[Provisioned, ...]
    security: Security
    warnings: tuple[str, ...] = ()  # about settings that are allowed, but dangerous


class CareOfSource(Struct, frozen=True):
    """The source of a care-of address: an interface, or an address in the file."""

    bid: int
    interface: str | None
    address: IPv4Address | IPv6Address | None
    priority: int


class FlowPolicy(Struct, frozen=True):
    """A flow binding that the mobile node has to register."""

    fid: int
    pri: int
    action: int
    bids: tuple[int, ...]
    selector: Selector | None


class NodeConfig(Struct, frozen=True):
    """A checked configuration of `flowclass mn`."""

    file: str
    profile: Profile
    home: IPv6Address
    home_agent: IPv6Address
    tun: str
    mtu: int
    hop_limit: int
    lifetime: int  # units of 4 seconds
    default_route: bool
    ipv4_home: IPv4Address | None
    home_agent_ipv4: IPv4Address | None
    prefixes: tuple[IPv6Network, ...]
    route_optimization: bool
    correspondents: tuple[IPv6Network, ...]  # prefixes; none: all
    control: Path
    log: Literal["text", "json"]
    log_interval: float
    care_of: tuple[CareOfSource, ...]
    flows: tuple[FlowPolicy, ...]
    association: Association | None
    ipsec: (
        bool  # signalling with the home agent goes where the routing table says, not by the care-of address's interface
    )
    warnings: tuple[str, ...] = ()


class CorrespondentConfig(Struct, frozen=True):
    """A checked configuration of `flowclass cn`."""

    file: str
    profile: Profile
    address: IPv6Address
    home_prefixes: tuple[IPv6Network, ...]  # of mobile nodes; none: any
    tun: str
    mtu: int
    control: Path
    log: Literal["text", "json"]
    log_interval: float
    limits: Limits
    updates_per_second: float
    burst: int

    @property
    def packed_prefixes(self) -> tuple[tuple[bytes, int], ...]:
        return tuple((prefix.network_address.packed, prefix.prefixlen) for prefix in self.home_prefixes)


class _Reader:
    """The state of reading one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, int] = {}
        self.warnings: list[str] = []

    def fail(self, message: str, path: str = "") -> NoReturn:
        raise ConfigurationError(message, file=str(self.path), path=path, line=line_of(self.lines, path))

    def read(self, shape: type[T]) -> T:
        try:
            text = read_text(self.path)
        except OSError as error:
            self.fail(error.strerror or str(error))
        except ValueError as error:
            self.fail(str(error))
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            where = re.search(r" \(at line (\d+), column \d+\)$", str(error))
            what = str(error)[: where.start()] if where else str(error)
            self.lines = {"": int(where[1])} if where else {}
            raise ConfigurationError(
                f"no valid TOML: {what}", file=str(self.path), line=int(where[1]) if where else None
            ) from None
        except (RecursionError, ValueError):
            self.fail("nested too deeply, or a number too long")
        self.lines = toml_lines(text)
        try:
            return msgspec.convert(data, shape)
        except msgspec.ValidationError as error:
            what, path = invalid(error, shape)
        self.fail(what, path)

    def file(self, text: str, path: str) -> Path:
        if not text or "\0" in text:
            self.fail("the path of a file expected", path)
        return self.path.parent / text

    def number(self, value: int | str, path: str, low: int, high: int) -> int:
        return self.value(path, number, value, low, high)

    def value(self, path: str, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return function(*arguments)
        except BadValueError as error:
            self.fail(str(error), path)

    def within(self, value: float, low: float, high: float, path: str) -> None:
        if not low <= value <= high:
            self.fail(f"{value} is out of range: expected {low} to {high}", path)

    def address(self, text: str, path: str) -> IPv4Address | IPv6Address:
        try:
            return ip_address(text.strip())
        except ValueError:
            self.fail(f"{text!r} is no IP address", path)

    def address6(self, text: str, path: str) -> IPv6Address:
        found = self.address(text, path)
        if not isinstance(found, IPv6Address) or not is_routable(found.packed):
            self.fail(f"{text!r}: a global unicast IPv6 address expected", path)
        return found

    def home(self, text: str, path: str, prefixes: Prefixes) -> IPv6Address:
        found = self.address6(text, path)
        if not any(found in prefix for prefix in prefixes):
            self.fail(f"{found} is in none of home_prefixes", path)
        return found

    def address4(self, text: str | UnsetType, path: str) -> IPv4Address | None:
        if text is UNSET:
            return None
        found = self.address(text, path)
        if not isinstance(found, IPv4Address) or found.is_multicast or found.is_unspecified:
            self.fail(f"{text!r}: a unicast IPv4 address expected", path)
        return found

    def prefix(self, text: str, path: str) -> IPv4Network | IPv6Network:
        try:
            found = ip_network(text.strip(), strict=False)
        except ValueError:
            self.fail(f"{text!r} is no prefix", path)
        if found.prefixlen == 0:
            self.fail("a prefix of length 0 would take all packets there are", path)
        return found

    def prefixes6(self, texts: list[str], path: str) -> tuple[IPv6Network, ...]:
        found = []
        for i, text in enumerate(texts):
            prefix = self.prefix(text, f"{path}[{i}]")
            if not isinstance(prefix, IPv6Network):
                self.fail(f"{text!r}: an IPv6 prefix expected", f"{path}[{i}]")
            found.append(prefix)
        return tuple(found)

    def device(self, text: str, path: str) -> str:
        if not _DEVICE.fullmatch(text):
            self.fail(f"{text!r} is no name of a device: 1 to {MAX_NAME} letters, digits, '_', '.' or '-'", path)
        return text

    def key(self, text: str, path: str) -> bytes:
        """Read a key file: hexadecimal octets, with white space ignored; any other content is the key itself,
        unchanged."""
        file = self.file(text, path)
        try:
            with file.open("rb") as stream:
                found = stream.read(_LONGEST_KEY + 1)
            mode = file.stat().st_mode
        except OSError as error:
            self.fail(f"{file}: {error.strerror}", path)
        if len(found) > _LONGEST_KEY:
            self.fail(f"{file}: a key of at most {_LONGEST_KEY} octets is expected", path)
        try:
            key = bytes.fromhex(b"".join(found.split()).decode("ascii"))
        except ValueError:
            key = found.rstrip(b"\r\n")
        if not key:
            self.fail(f"{file}: no key is in it", path)
        if mode & 0o077:
            self.warnings.append(f"{file}: others than its owner may read or write this key; chmod 600 it")
        if len(key) < _MIN_KEY:
            self.warnings.append(f"{file}: a key of {len(key)} octets can be guessed; {_MIN_KEY} or more are advised")
        return key

    # ---- flows

    def flow(self, raw: _Flow, profile: Profile, path: str) -> FlowPolicy:
        rfc = profile == "rfc6089"
        low, high = (1, 0xFFFF) if rfc else (0, 0xFF)
        fid = self.number(raw.fid, f"{path}.fid", low, 0xFFFF)
        pri = self.number(raw.pri, f"{path}.pri", low, high)
        bids = tuple(self.number(bid, f"{path}.bids[{i}]", 1, 0xFFFF) for i, bid in enumerate(raw.bids))
        if len(set(bids)) != len(bids):
            self.fail("a BID is given twice", f"{path}.bids")
        action = FORWARD
        if raw.action is not UNSET:
            if rfc:
                self.fail("the rfc6089 profile has no actions: several BIDs mean copies to each", f"{path}.action")
            if raw.action not in _ACTIONS:
                self.fail(f"{raw.action!r} is no action; expected {', '.join(_ACTIONS)}", f"{path}.action")
            action = _ACTIONS[raw.action]
        if action != DISCARD and not bids:
            self.fail("bids is missing: a flow that isn't discarded needs one BID or more", path)
        selector = None if raw.selector is UNSET else self.selector(raw.selector, f"{path}.selector")
        if rfc and selector is None:
            self.fail("the rfc6089 profile has no wild card: a selector is needed", path)
        return FlowPolicy(fid, pri, action, bids, selector)

    def selector(self, raw: _Selector, path: str) -> Selector | None:
        version = 0
        if raw.version is not UNSET:
            version = self.number(raw.version, f"{path}.version", 0, 255)
            if version not in (4, 6):
                self.fail(f"{version} is no IP version; expected 4 or 6", f"{path}.version")
        fields: dict[str, Any] = {}
        for name in ("source", "destination"):
            text = getattr(raw, name)
            if text is not UNSET:
                its, (first, last) = self.value(f"{path}.{name}", address_range, text)
                if version not in (0, its):
                    self.fail(f"an IPv{its} address in a selector of version {version}", f"{path}.{name}")
                version = its
                kind = IPv4Address if its == 4 else IPv6Address
                fields[name] = (kind(first), kind(last))
        for name in NUMBERS:
            value = getattr(raw, name)
            if value is not UNSET:
                fields[name] = self.value(f"{path}.{name}", number_range, value, name)
        if not fields and not version:
            return None
        if version == 4 and "flow_label" in fields:
            self.fail("IPv4 packets have no flow label", f"{path}.flow_label")
        return (TrafficSelector4 if version == 4 else TrafficSelector6)(**fields)


def read_agent_config(path: str | Path) -> AgentConfig:
    """Read and check the configuration of a home agent, with its key files; raises `ConfigurationError`."""
    reader = _Reader(Path(path))
    raw = reader.read(_Agent)
    home_agent = reader.address6(raw.home_agent, "home_agent")
    if raw.on_interface:
        reader.fail("kernels with Mobile IPv6 of their own aren't used: the agent's address is on no interface",
                    "on_interface")  # fmt: skip
    if not raw.home_prefixes:
        reader.fail("one prefix or more expected", "home_prefixes")
    prefixes = tuple(reader.prefix(text, f"home_prefixes[{i}]") for i, text in enumerate(raw.home_prefixes))
    reader.within(raw.mtu, MIN_MTU, _MAX_MTU, "mtu")
    reader.number(raw.hop_limit, "hop_limit", 1, 255)
    reader.number(raw.queues, "queues", 1, 64)
    limit: int | None = None
    if raw.encapsulation_limit is not False:
        limit = reader.number(raw.encapsulation_limit, "encapsulation_limit", 0, 255)
    reader.within(raw.log_interval, 0.1, _LONGEST, "log_interval")
    limits = _checked_limits(reader, raw.limits)
    rate = raw.limits.updates_per_second or (_LABORATORY_RATE if raw.security.insecure else _RATE)
    return AgentConfig(
        file=str(path),
        profile=raw.profile,
        home_agent=home_agent,
        home_prefixes=prefixes,
        tun=reader.device(raw.tun, "tun"),
        mtu=raw.mtu,
        hop_limit=raw.hop_limit,
        encapsulation_limit=limit,
        queues=raw.queues,
        offloads=raw.offloads,
        home_link=None if raw.home_link is UNSET else reader.device(raw.home_link, "home_link"),
        home_agent_ipv4=reader.address4(raw.home_agent_ipv4, "home_agent_ipv4"),
        store=None if raw.store is UNSET else reader.file(raw.store, "store"),
        control=reader.file(raw.control, "control"),
        metrics=None if raw.metrics is UNSET else _metrics(reader, raw.metrics),
        log=raw.log,
        log_interval=raw.log_interval,
        user=None if raw.user is UNSET else raw.user,
        limits=limits,
        updates_per_second=rate,
        burst=raw.limits.burst or int(2 * rate),
        nodes=_provisioned(reader, raw.node, prefixes),
        security=_security(reader, raw.security, prefixes),
        warnings=tuple(reader.warnings),
    )


def _checked_limits(reader: _Reader, limits: _Limits) -> Limits:
    for name, low, high in _LIMITS:
        if (value := getattr(limits, name)) is not None:
            reader.within(value, low, high, f"limits.{name}")
    return Limits(
        nodes=limits.nodes,
        bids_per_node=limits.bids_per_node,
        flows_per_node=limits.flows_per_node,
        lifetime=limits.lifetime,
    )


def read_correspondent_config(path: str | Path) -> CorrespondentConfig:
    """Read and check the configuration of a correspondent node; raises `ConfigurationError`."""
    reader = _Reader(Path(path))
    raw = reader.read(_CorrespondentNode)
    reader.within(raw.mtu, MIN_MTU, _MAX_MTU, "mtu")
    reader.within(raw.log_interval, 0.1, _LONGEST, "log_interval")
    limits = _checked_limits(reader, raw.limits)
    rate = raw.limits.updates_per_second or _RATE
    return CorrespondentConfig(
        file=str(path),
        profile=raw.profile,
        address=reader.address6(raw.address, "address"),
        home_prefixes=reader.prefixes6(raw.home_prefixes, "home_prefixes"),
        tun=reader.device(raw.tun, "tun"),
        mtu=raw.mtu,
        control=reader.file(raw.control, "control"),
        log=raw.log,
        log_interval=raw.log_interval,
        limits=limits,
        updates_per_second=rate,
        burst=raw.limits.burst or int(2 * rate),
    )


def _metrics(reader: _Reader, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        reader.fail(f"{text!r}: ADDRESS:PORT expected", "metrics")
    if not reader.address(host, "metrics").is_loopback:
        reader.fail(f"{text!r}: a loopback address expected; metrics are for nobody else", "metrics")
    return host, int(port)


def _provisioned(reader: _Reader, raw: list[_Provisioned], prefixes: Prefixes) -> tuple[Provisioned, ...]:
    found: dict[IPv6Address, Provisioned] = {}
    for i, node in enumerate(raw):
        path = f"node[{i}]"
        home = reader.home(node.home_address, f"{path}.home_address", prefixes)
        if home in found:
            reader.fail(f"the home address {home} is given twice", f"{path}.home_address")
        ipv4 = reader.address4(node.ipv4_home_address, f"{path}.ipv4_home_address")
        found[home] = Provisioned(home, ipv4, reader.prefixes6(node.prefixes, f"{path}.prefixes"))
    return tuple(found.values())


def _security(reader: _Reader, raw: _Security, prefixes: Prefixes) -> Security:
    ways = [raw.insecure, bool(raw.protected_interfaces or raw.protected_marks), bool(raw.mobile_node)]
    if sum(ways) != 1:
        reader.fail("exactly one of insecure, mobile_node, and protected_interfaces or protected_marks expected",
                    "security")  # fmt: skip
    reader.within(raw.timestamp_window, 0.1, _LONGEST, "security.timestamp_window")
    associations: dict[int, Association] = {}
    for i, node in enumerate(raw.mobile_node):
        path = f"security.mobile_node[{i}]"
        spi = _spi(reader, node.spi, f"{path}.spi")
        if spi in associations:
            reader.fail(f"SPI {spi} is given twice", f"{path}.spi")
        home = reader.home(node.home_address, f"{path}.home_address", prefixes)
        key = reader.key(node.key_file, f"{path}.key_file")
        identifier = b"" if node.identifier is UNSET else node.identifier.encode()
        associations[spi] = Association(spi, home.packed, key, identifier, node.timestamps)
    return Security(
        insecure=raw.insecure,
        interfaces=tuple(
            reader.device(name, f"security.protected_interfaces[{i}]")
            for i, name in enumerate(raw.protected_interfaces)
        ),
        marks=tuple(
            reader.number(mark, f"security.protected_marks[{i}]", 1, 0xFFFFFFFF)
            for i, mark in enumerate(raw.protected_marks)
        ),
        associations=tuple(associations.values()),
        window=raw.timestamp_window,
    )


def _spi(reader: _Reader, value: int, path: str) -> int:
    return reader.number(value, path, 256, 0xFFFFFFFF)  # RFC 4285 section 5: 0 to 255 are reserved


def read_node_config(path: str | Path) -> NodeConfig:
    """Read and check the configuration of a mobile node, with its key file; raises `ConfigurationError`."""
    reader = _Reader(Path(path))
    raw = reader.read(_Node)
    home = reader.address6(raw.home_address, "home_address")
    reader.within(raw.mtu, MIN_MTU, _MAX_MTU, "mtu")
    reader.number(raw.hop_limit, "hop_limit", 1, 255)
    reader.number(raw.lifetime, "lifetime", 4, 4 * 0xFFFF)
    reader.within(raw.log_interval, 0.1, _LONGEST, "log_interval")
    care_of = _care_of(reader, raw.care_of)
    flows: dict[int, FlowPolicy] = {}
    for i, raw_flow in enumerate(raw.flow):
        flow = reader.flow(raw_flow, raw.profile, f"flow[{i}]")
        if flow.fid in flows:
            reader.fail(f"FID {flow.fid} is given twice", f"flow[{i}].fid")
        for j, bid in enumerate(flow.bids):
            if bid not in {entry.bid for entry in care_of}:
                reader.fail(f"BID {bid} is unknown: there is no such care-of address", f"flow[{i}].bids[{j}]")
        flows[flow.fid] = flow
    if raw.profile == "rfc6089" and len({flow.pri for flow in flows.values()}) != len(flows):
        reader.fail("a PRI is given twice, but must be unique in a node", "flow")
    if raw.route_optimization and raw.prefixes:
        reader.fail("routes of mobile routers can't be optimized (section 7 of the draft)", "route_optimization")
    if raw.correspondents and not raw.route_optimization:
        reader.fail("there is no route optimization that this could restrict", "correspondents")
    return NodeConfig(
        file=str(path),
        profile=raw.profile,
        home=home,
        home_agent=reader.address6(raw.home_agent, "home_agent"),
        tun=reader.device(raw.tun, "tun"),
        mtu=raw.mtu,
        hop_limit=raw.hop_limit,
        lifetime=raw.lifetime // 4,
        default_route=raw.default_route,
        ipv4_home=reader.address4(raw.ipv4_home_address, "ipv4_home_address"),
        home_agent_ipv4=reader.address4(raw.home_agent_ipv4, "home_agent_ipv4"),
        prefixes=reader.prefixes6(raw.prefixes, "prefixes"),
        route_optimization=raw.route_optimization,
        correspondents=reader.prefixes6(raw.correspondents, "correspondents"),
        control=reader.file(raw.control, "control"),
        log=raw.log,
        log_interval=raw.log_interval,
        care_of=care_of,
        flows=tuple(flows.values()),
        association=_node_security(reader, raw.security, home),
        ipsec=raw.security.ipsec,
        warnings=tuple(reader.warnings),
    )


def _care_of(reader: _Reader, raw: list[_CareOf]) -> tuple[CareOfSource, ...]:
    if not raw:
        reader.fail("one care-of address or more expected", "care_of")
    found: dict[int, CareOfSource] = {}
    for i, entry in enumerate(raw):
        path = f"care_of[{i}]"
        bid = reader.number(entry.bid, f"{path}.bid", 1, 0xFFFF)
        if bid in found:
            reader.fail(f"BID {bid} is given twice", f"{path}.bid")
        if (entry.interface is UNSET) == (entry.address is UNSET):
            reader.fail("either an interface or an address expected", path)
        found[bid] = CareOfSource(
            bid,
            None if entry.interface is UNSET else reader.device(entry.interface, f"{path}.interface"),
            None if entry.address is UNSET else reader.address(entry.address, f"{path}.address"),
            reader.number(entry.priority, f"{path}.priority", 0, 0x7F),
        )
    return tuple(found.values())


def _node_security(reader: _Reader, raw: _NodeSecurity, home: IPv6Address) -> Association | None:
    keyed = raw.spi is not UNSET or raw.key_file is not UNSET
    if raw.insecure + raw.ipsec + keyed != 1:
        reader.fail("exactly one of insecure, ipsec, and spi with key_file expected", "security")
    if not keyed:
        return None
    if raw.spi is UNSET or raw.key_file is UNSET:
        reader.fail(f"{'spi' if raw.spi is UNSET else 'key_file'} is missing", "security")
    identifier = b"" if raw.identifier is UNSET else raw.identifier.encode()
    return Association(
        _spi(reader, raw.spi, "security.spi"), home.packed, reader.key(raw.key_file, "security.key_file"), identifier
    )
