"""What crosses the borders between processes: calls and their answers, as octets.

A pool sends octets to a worker, has it run `perform`, and takes the octets that this returns. They are MessagePack of
plain values, which msgspec checks against the types below: whatever a peer sends, decoding it runs no code. An
exception becomes an answer too, and is raised again by `check_answer`.
"""

from __future__ import annotations

import os
import traceback
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct

from flowclass.engine.keys import KEY_DTYPE
from flowclass.errors import CaptureError, FlowclassError, OutputError

from ..outcomes import RowValues
from .parts import LAYOUT, Job, RowLayout, Settled, Unit, do_unit, render

__all__ = ["check_answer", "perform", "render_call", "unit_call"]


class _UnitCall(Struct, tag="unit"):
    """The arguments of `do_unit`. Paths are octets, as a file's name may be no text."""

    layout: int
    job: bytes
    unit: Unit
    part: bytes


class _RenderCall(Struct, tag="render"):
    """The arguments of `render`. ``rows`` (i64), ``ids`` (u32), ``outcomes`` and ``keys`` are those of `Settled`."""

    layout: int
    look: RowLayout
    part: bytes
    first_frame: int
    rows: bytes
    ids: bytes
    outcomes: list[RowValues] | None
    keys: bytes
    target: bytes
    offset: int
    size: int


class _Failure(Struct):
    """An exception. ``kind`` is a key of `_KINDS`, ``"os"``, ``"memory"``, or ``"bug"`` with its traceback.

    The message is octets too, because it may hold a file's name.
    """

    kind: str
    message: bytes
    number: int = 0
    path: bytes | None = None


_KINDS: Final[dict[str, type[FlowclassError]]] = {
    "capture": CaptureError,
    "output": OutputError,
    "flowclass": FlowclassError,
}


def unit_call(job: Job, unit: Unit, part: str) -> bytes:
    """The call ``do_unit(job, unit, part)``."""
    return msgspec.msgpack.encode(_UnitCall(LAYOUT, job.octets, unit, os.fsencode(part)))


def render_call(
    look: RowLayout, part: str, first_frame: int, settled: Settled | None, target: str, offset: int, size: int
) -> bytes:
    """The call of `render` with these arguments."""
    answers: tuple[bytes, bytes, list[RowValues] | None, bytes] = (b"", b"", None, b"")
    if settled is not None:
        outcomes = list(settled.outcomes)
        answers = settled.rows.tobytes(), settled.ids.tobytes(), outcomes, settled.keys.tobytes()
    names = os.fsencode(part), os.fsencode(target)
    call = _RenderCall(LAYOUT, look, names[0], first_frame, *answers, names[1], offset, size)
    return msgspec.msgpack.encode(call)


def perform(call: bytes) -> bytes:
    """Makes a call in a worker, and returns its answer. Raises nothing."""
    try:
        _perform(call)
    except FlowclassError as error:
        kind = next(name for name, known in _KINDS.items() if isinstance(error, known))
        return _failure(kind, str(error))
    except OSError as error:
        path = None if error.filename is None else os.fsencode(error.filename)
        return _failure("os", error.strerror or str(error), error.errno or 0, path)
    except MemoryError as error:
        return _failure("memory", str(error))
    except Exception:
        return _failure("bug", traceback.format_exc())
    return b""


def _failure(kind: str, message: str, number: int = 0, path: bytes | None = None) -> bytes:
    return msgspec.msgpack.encode(_Failure(kind, message.encode(errors="surrogatepass"), number, path))


def _perform(octets: bytes) -> None:
    try:
        call = msgspec.msgpack.decode(octets, type=_UnitCall | _RenderCall)
        if call.layout != LAYOUT:
            raise ValueError(f"layout {call.layout} instead of {LAYOUT}")
    except (msgspec.MsgspecError, ValueError) as error:
        raise FlowclassError(f"a worker and this program have different versions of flowclass: {error}") from None
    if isinstance(call, _UnitCall):
        do_unit(Job.of(call.job), call.unit, os.fsdecode(call.part))
        return
    settled = None
    if call.outcomes is not None:
        rows, ids = np.frombuffer(call.rows, np.int64), np.frombuffer(call.ids, np.uint32)
        settled = Settled(rows, ids, call.outcomes, np.frombuffer(call.keys, KEY_DTYPE))
    part, target = os.fsdecode(call.part), os.fsdecode(call.target)
    render(call.look, part, call.first_frame, settled, target, call.offset, call.size)


def check_answer(answer: bytes) -> None:
    """Raises the exception that a worker met, if the answer is one. Raises RuntimeError for a fault of the program."""
    if not answer:
        return
    failure = msgspec.msgpack.decode(answer, type=_Failure)
    message = failure.message.decode(errors="surrogatepass")
    if failure.kind in _KINDS:
        raise _KINDS[failure.kind](message)
    if failure.kind == "os":
        raise OSError(failure.number, message, None if failure.path is None else os.fsdecode(failure.path))
    if failure.kind == "memory":
        raise MemoryError(message)
    raise RuntimeError(f"a worker failed:\n{message}")
