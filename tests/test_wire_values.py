"""The constructor that `fast_init` makes is the one of `dataclasses`, but for its speed."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, replace
from typing import ClassVar

import pytest

from flowclass.wire import FlowIdentification, MobilityPacket, TrafficSelector6
from flowclass.wire.values import fast_init


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
