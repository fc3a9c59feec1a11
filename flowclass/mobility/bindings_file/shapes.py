"""The shape of a bindings file: which keys there are, and what their values may be, before anybody looks at values.

msgspec checks plain data against these classes. A key that is absent is UNSET.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import UNSET, Raw, Struct, UnsetType

__all__ = [
    "COLUMNAR",
    "LISTS",
    "SELECTOR",
    "CareOfShape",
    "FileShape",
    "FlowShape",
    "NodeShape",
    "RawFileShape",
    "SelectorShape",
    "Value",
    "WholeNodeShape",
]

Value = int | str


class SelectorShape(Struct, forbid_unknown_fields=True, gc=False):
    source: str | UnsetType = UNSET
    destination: str | UnsetType = UNSET
    protocol: Value | UnsetType = UNSET
    source_port: Value | UnsetType = UNSET
    destination_port: Value | UnsetType = UNSET
    flow_label: Value | UnsetType = UNSET
    spi: Value | UnsetType = UNSET
    traffic_class: Value | UnsetType = UNSET
    version: Value | UnsetType = UNSET


class FlowShape(Struct, forbid_unknown_fields=True, gc=False):
    fid: Value
    pri: Value
    action: str | UnsetType = UNSET
    bids: list[Value] | UnsetType = UNSET
    selector: SelectorShape | UnsetType = UNSET


class CareOfShape(Struct, forbid_unknown_fields=True, gc=False):
    bid: Value
    address: str
    priority: Value | UnsetType = UNSET


class NodeShape(Struct, forbid_unknown_fields=True, gc=False):
    home_address: str
    ipv4_home_address: str | UnsetType = UNSET
    prefixes: list[str] | UnsetType = UNSET
    care_of: list[CareOfShape] | UnsetType = UNSET
    flow: list[Any] | UnsetType = UNSET  # removed before, see _take_flows


class WholeNodeShape(NodeShape, forbid_unknown_fields=True, gc=False):
    flow: list[FlowShape] | UnsetType = UNSET


class FileShape(Struct, forbid_unknown_fields=True, gc=False):
    profile: Literal["draft", "rfc6089"] = "draft"
    node: list[NodeShape] = []


class RawFileShape(Struct, forbid_unknown_fields=True, gc=False):
    profile: Literal["draft", "rfc6089"] | UnsetType = UNSET
    node: list[Raw] | UnsetType = UNSET


COLUMNAR: Final[tuple[str, ...]] = (".npz", ".parquet")
"""The endings of files with columns."""

SELECTOR: Final[tuple[str, ...]] = SelectorShape.__struct_fields__
"""The keys of a selector."""

LISTS: Final[dict[str, tuple[str, ...]]] = {
    "prefixes": ("prefix",),
    "care_of": CareOfShape.__struct_fields__,
    "flow": ("fid", "pri", "action", "bids", *(f"selector.{name}" for name in SELECTOR)),
}
"""The lists of a node, and the columns of each in a columnar file."""
