"""Constructors that `checked_init` makes, and values that the decoder leaves incomplete, are those of `dataclasses`."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import re
from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields, is_dataclass, replace
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from typing import Any, ClassVar

import pytest

from flowclass import wire
from flowclass.errors import FlowclassError
from flowclass.wire import (
    RFC6089,
    BindingIdentifier,
    BindingReference,
    BindingUpdate,
    FlowIdentification,
    HomeTestInit,
    MobilityPacket,
    TrafficSelector6,
    TrafficSelectorOption,
    Verbatim,
    decode_packet,
    encode_packet,
)
from flowclass.wire.lazy import checked_init


@dataclass(frozen=True, slots=True)
class Plain:
    kind: ClassVar[int] = 7

    a: int
    b: str = "x"
    c: int = field(default=0, compare=False, repr=False)


@checked_init
@dataclass(frozen=True, slots=True)
class Fast:
    kind: ClassVar[int] = 7

    a: int
    b: str = "x"
    c: int = field(default=0, compare=False, repr=False)


def test_the_signature_is_the_same() -> None:
    assert str(inspect.signature(Fast)) == str(inspect.signature(Plain))
    assert Fast.__init__.__qualname__ == "Fast.__init__"


@pytest.mark.parametrize("cls", [Plain, Fast])
def test_values_behave_as_frozen_dataclasses(cls: type[Fast]) -> None:
    value = cls(1, c=3)
    assert (value.a, value.b, value.c) == (1, "x", 3)
    assert value == cls(1)
    assert hash(value) == hash(cls(1))
    assert repr(value) == f"{cls.__name__}(a=1, b='x')"
    assert replace(value, b="y") == cls(1, "y")
    for again in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert (again, again.c) == (value, 3)
    with pytest.raises(FrozenInstanceError):
        value.a = 2  # type: ignore[misc]  # it is frozen
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        cls()  # type: ignore[call-arg]  # the mistake that is tested
    with pytest.raises(TypeError, match="unexpected keyword argument 'd'"):
        cls(1, d=2)  # type: ignore[call-arg]  # the mistake that is tested
    assert cls.__match_args__ == ("a", "b", "c")


@pytest.mark.parametrize("cls", [FlowIdentification, MobilityPacket, TrafficSelector6])
def test_the_codec_s_own_values_have_it(cls: type) -> None:
    assert "set_" in " ".join(cls.__init__.__globals__)  # type: ignore[misc]  # they have one


def test_what_it_is_not_for() -> None:
    @dataclass(frozen=True, slots=True)
    class Factory:
        a: list[int] = field(default_factory=list)

    with pytest.raises(TypeError, match=r"Factory\.a: checked_init takes plain fields only"):
        checked_init(Factory)


A, B, C = (IPv6Address(f"2001:db8::{i}") for i in (1, 2, 3))
SELECTOR = TrafficSelectorOption(TrafficSelector6(source=(A, B), protocol=(6, 6)))
FLOW = FlowIdentification(1, 1, suboptions=Verbatim((BindingReference((1,)), SELECTOR)))
BID = BindingIdentifier(1, A, 10)
PACKET = MobilityPacket(A, B, BindingUpdate(1, 150, 0xC000, (BID, FLOW)), C)


def received(kind: type) -> Any:
    """The value of that kind in the packet, as the decoder leaves it: nobody has asked for its fields yet."""
    packet = decode_packet(encode_packet(PACKET, RFC6089), RFC6089)
    assert isinstance(packet.message, BindingUpdate)
    flow = next(o for o in packet.message.options if isinstance(o, FlowIdentification))
    return next(v for v in (packet, flow, *packet.message.options, *flow.suboptions) if type(v) is kind)


@pytest.mark.parametrize("made", [PACKET, FLOW, BID, SELECTOR], ids=lambda v: type(v).__name__)
def test_values_received_are_as_those_made_by_hand(made: Any) -> None:
    kind = type(made)
    if kind is MobilityPacket:  # the checksum and padding of the one that was sent
        made = replace(made, message=received(kind).message)
    if kind is FlowIdentification:
        made = replace(made, suboptions=received(kind).suboptions)
    assert received(kind) == made
    assert made == received(kind)
    assert hash(received(kind)) == hash(made)
    assert repr(received(kind)) == repr(made)
    assert replace(received(kind)) == made
    for again in (copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))):
        assert again(received(kind)) == made
    for name in kind.__match_args__:
        assert getattr(received(kind), name) == getattr(made, name)
        with pytest.raises(FrozenInstanceError):
            setattr(received(kind), name, None)
    with pytest.raises(AttributeError, match="has no attribute 'sauce'"):
        received(kind).sauce  # noqa: B018


def test_octets_of_values_received_and_made() -> None:
    packed = A.packed, B.packed, C.packed, None
    assert received(MobilityPacket).addresses == PACKET.addresses == packed
    assert received(BindingIdentifier).packed == BID.packed == A.packed
    assert BindingIdentifier(1).packed is None
    octets = bytes.fromhex("0200 c0020000") + A.packed + B.packed + b"\6"
    assert received(TrafficSelectorOption).octets == SELECTOR.octets == octets


# ---- what a value may hold is checked when it is made ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BindingUpdate(70000, 1), "BindingUpdate.sequence: 0 to 65535 expected, got 70000"),
        (lambda: BindingUpdate(1, "1"), "BindingUpdate.lifetime: an integer expected, got str"),
        (lambda: BindingUpdate(1, 1, options=BID), "BindingUpdate.options: a tuple expected, got BindingIdentifier"),
        (lambda: BindingUpdate(1, 1, options=(5,)), "BindingUpdate.options: one of Pad1, PadN, "),
        (
            lambda: BindingIdentifier(1, "2001:db8::x"),
            "BindingIdentifier.care_of: an IP address expected, got '2001:db8::x'",
        ),
        (lambda: BindingIdentifier(1, home=2), "BindingIdentifier.home: True or False expected, got int"),
        (lambda: BindingReference((1, 70000)), "BindingReference.bids: 0 to 65535 expected, got 70000"),
        (lambda: FlowIdentification(1, 1, status=-1), "FlowIdentification.status: 0 to 255 expected, got -1"),
        (lambda: TrafficSelector6(source_port=(5, 2)), "TrafficSelector6.source_port: the range is reversed: 5 to 2"),
        (
            lambda: TrafficSelector6(flow_label=1 << 20),
            "TrafficSelector6.flow_label: 0 to 1048575 expected",
        ),
        (lambda: TrafficSelector6(source=(B, A)), "TrafficSelector6.source: the range is reversed"),
        (lambda: TrafficSelector6(source="192.0.2.1"), "TrafficSelector6.source: an IPv6 address (16 octets) expected"),
        (
            lambda: TrafficSelector6(source="2001:db8::1/64"),
            "TrafficSelector6.source: 2001:db8::1/64 has host bits",
        ),
        (
            lambda: TrafficSelector6(protocol=(1, 2, 3)),
            "TrafficSelector6.protocol: one value, or a pair (first",
        ),
        (lambda: TrafficSelectorOption(5), "TrafficSelectorOption.selector: one of TrafficSelector4, TrafficSelector6"),
        (lambda: HomeTestInit(b"short"), "HomeTestInit.cookie: 8 octets expected, got 5"),
        (lambda: HomeTestInit("cookie"), "HomeTestInit.cookie: a bytes-like object expected, got str"),
        (lambda: MobilityPacket(A, B, None), "MobilityPacket.message: one of BindingRefreshRequest, "),
        (lambda: replace(BID, bid=-1), "BindingIdentifier.bid: 0 to 65535 expected, got -1"),
    ],
)
def test_a_wrong_field_is_named_when_the_value_is_made(make: Callable[[], object], message: str) -> None:
    with pytest.raises(FlowclassError, match=f"^{re.escape(message)}"):
        make()


def test_a_value_takes_addresses_and_ranges_in_every_form() -> None:
    # both forms are taken
    assert BindingIdentifier(1, str(A)) == BindingIdentifier(1, A.packed) == BindingIdentifier(1, A)
    made: Any = TrafficSelector6
    prefix = made(source="2001:db8::/126", destination=IPv6Network("2001:db8::/126"), source_port=22)
    ends = (IPv6Address("2001:db8::"), IPv6Address("2001:db8::3"))
    assert prefix == TrafficSelector6(source=ends, destination=ends, source_port=(22, 22))
    assert made(source=str(A)) == TrafficSelector6(source=(A, A))
    assert made(traffic_class=[0x2B, 0x28]).traffic_class == (0x2B, 0x28)  # the lower two bits don't count
    assert BindingUpdate(1, 1, options=[BID]).options == (BID,)  # type: ignore[arg-type]  # a list is taken
    verbatim = Verbatim((BID, FLOW))
    assert BindingUpdate(1, 1, options=verbatim).options is verbatim


def declared_constructors() -> dict[str, ast.FunctionDef]:
    """The ``__init__`` that classes declare for type checkers, by class."""
    found: dict[str, ast.FunctionDef] = {}
    for path in Path(wire.__file__).parent.glob("*.py"):
        for cls in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for block in cls.body if isinstance(cls, ast.ClassDef) else ():
                if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
                    found[cls.name] = next(m for m in block.body if isinstance(m, ast.FunctionDef))
    return found


def test_constructors_that_are_declared_for_type_checkers_have_the_fields() -> None:
    """Those with addresses or ranges, which are taken in more forms than they are held in."""
    declared = declared_constructors()
    for name, cls in vars(wire).items():
        if not (isinstance(cls, type) and is_dataclass(cls)):
            continue
        hints = " ".join(str(f.type) for f in fields(cls))
        assert (name in declared) == bool(re.search(r"IPv[46]Address|Range", hints)), name
        if name in declared:
            arguments = declared[name].args
            own = [f for f in fields(cls) if f.init]
            assert [a.arg for a in arguments.args[1:]] == [f.name for f in own], name
            assert len(arguments.defaults) == sum(f.default is not MISSING for f in own), name
