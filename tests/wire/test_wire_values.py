"""Constructors that `fast_init` makes, and values that the decoder leaves incomplete, are as `dataclasses` has them."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, replace
from ipaddress import IPv6Address
from typing import Any, ClassVar

import pytest

from flowclass.wire import (
    RFC6089,
    BindingIdentifier,
    BindingReference,
    BindingUpdate,
    FlowIdentification,
    MobilityPacket,
    TrafficSelector6,
    TrafficSelectorOption,
    Verbatim,
    decode_packet,
    encode_packet,
)
from flowclass.wire.lazy import fast_init


@dataclass(frozen=True, slots=True)
class Plain:
    kind: ClassVar[int] = 7

    a: int
    b: str = "x"
    c: int = field(default=0, compare=False, repr=False)


@fast_init
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
        value.a = 2  # type: ignore[misc]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        cls()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'd'"):
        cls(1, d=2)  # type: ignore[call-arg]
    assert cls.__match_args__ == ("a", "b", "c")


@pytest.mark.parametrize("cls", [FlowIdentification, MobilityPacket, TrafficSelector6])
def test_the_codec_s_own_values_have_it(cls: type) -> None:
    assert "set_" in " ".join(cls.__init__.__globals__)  # type: ignore[misc]


def test_what_it_is_not_for() -> None:
    @dataclass(frozen=True, slots=True)
    class Factory:
        a: list[int] = field(default_factory=list)

    with pytest.raises(TypeError, match=r"Factory\.a: fast_init takes plain fields only"):
        fast_init(Factory)


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
