"""Reading traces: pcap and pcapng, from anywhere, compressed or not, in constant memory, past damage::

with Trace("trace.pcapng.gz") as trace:
    for batch in trace.keys():
        ...                            # batch.keys, batch.infos, batch.times, ...
    trace.damages                      # what was wrong, and where
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from flowclass.engine.forwarding import ForwardingTable
from flowclass.engine.packets import Fragments
from flowclass.errors import CaptureError
from flowclass.traces._capture import END, MORE, NO_TIME, STOPPED, WINDOW, Capture, KeyArrays, RecordArrays, Tally
from flowclass.traces.decompress import MEMORY, decompressed, other_kind
from flowclass.traces.interruption import Interruption, WaitEndedError
from flowclass.traces.sources import ByteSource, FileIdentity, RawSource, open_raw

__all__ = ["NO_TIME", "Checkpoint", "Damage", "Damages", "KeyBatch", "RecordBatch", "Trace"]

_KINDS: Final = {
    1: "the capture ends inside a record",
    2: "no record can begin here",
    3: "the record before this has a wrong length: others begin inside it",
    4: "a block whose lengths contradict each other",
    5: "a block with impossible contents",
    6: "a section of unknown byte order",
    7: "another capture file begins here",
    8: "a version that is not known",
    9: "a block beyond the limit of 16 MiB",
}


@dataclass(frozen=True, slots=True)
class Damage:
    """One damaged place.

    ``offset``
        in octets from the start of the trace, of what came out of it where it is compressed.
    ``frame``
        the number that the next good frame has.
    ``skipped``
        octets that are in no frame because of it.
    """

    file: str
    offset: int
    frame: int
    skipped: int
    what: str

    def __str__(self) -> str:
        passed = f", {self.skipped} octet{'s' * (self.skipped != 1)} skipped" if self.skipped else ""
        return f"{self.file}: octet {self.offset}: {self.what}{passed} (before frame {self.frame})"


class Damages(list[Damage]):
    """The damaged places of one file: the first `MOST` of them, and how many ``more`` there are.

    A file of a few kilobytes can have millions of places once it is decompressed; they take constant memory.
    """

    MOST = 1000

    def __init__(self, kept: Iterable[Damage] = (), more: int = 0) -> None:
        super().__init__(kept)
        self.more = more

    @property
    def found(self) -> int:
        """How many there are in all."""
        return len(self) + self.more

    def add(self, damage: Damage) -> None:
        """One more: kept, or only counted."""
        if len(self) < self.MOST:
            self.append(damage)
        else:
            self.more += 1


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Some records: packet i is ``buffer[offsets[i] : offsets[i] + lengths[i]]``, frame ``first_frame + i``.

    ``times`` are ns since 1970, `NO_TIME` where the capture has none; ``originals`` the lengths on the wire;
    ``linktypes`` pcap's link type numbers (LINKTYPE_x); ``interfaces`` the pcapng interface within its section.
    """

    first_frame: int
    buffer: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.uint32]
    originals: npt.NDArray[np.uint32]
    times: npt.NDArray[np.int64]
    linktypes: npt.NDArray[np.uint16]
    interfaces: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.offsets)

    def packet(self, i: int) -> bytes:
        """The captured octets of packet ``i``."""
        start = int(self.offsets[i])
        return self.buffer[start : start + int(self.lengths[i])].tobytes()


@dataclass(frozen=True, slots=True)
class KeyBatch:
    """The keys of some records, without their octets; the arrays are as in `RecordBatch` and `parse`.

    ``kept`` has the octets of those packets that were asked for, by index in the batch.
    """

    first_frame: int
    keys: npt.NDArray[np.void]
    infos: npt.NDArray[np.void]
    lengths: npt.NDArray[np.uint32]
    originals: npt.NDArray[np.uint32]
    times: npt.NDArray[np.int64]
    linktypes: npt.NDArray[np.uint16]
    kept: dict[int, bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place between two records of an uncompressed capture file, and all that a reader must know to begin there."""

    offset: int
    state: bytes

    _SEARCH = slice(3, 8)  # what only a search for records looks at: flowclass.h, fc_capture_state

    def proves(self, guess: Checkpoint) -> bool:
        """Whether a reader that began at ``guess`` and found a record there read what one that came here would have."""
        return self.offset == guess.offset and self.matches(guess.state)

    def matches(self, state: bytes) -> bool:
        """Whether two states differ at most in what only a search looks at."""
        mine, other = bytearray(self.state), bytearray(state)
        mine[self._SEARCH] = other[self._SEARCH] = b""
        return mine == other


class Trace:
    """One trace, read once from its start to its end: iterate `records` or `keys`.

    ``source`` is a path, ``"-"`` for standard input, or a binary file object; gzip, zstd, xz, bzip2 and lz4 are
    undone on the way. ``name`` is what damages call it. Raises `CaptureError` when the file is missing or no capture.

    A part of an uncompressed file: ``start`` is where it begins (frames are counted from there; ``guess``: with the
    first record that is found behind it), and no record that begins at ``stop`` or behind it is given.

    ``memory`` bounds the octets that decompressing may take. With an `Interruption`, the trace ends early, and without
    damage, when that is requested.

    ``damages``
        what was found so far (`Damages`: the first 1,000 places, the others counted).
    ``frames``
        how many records were given so far.
    ``position``, ``size``
        octets read of the file, and its size (None for a pipe), for a progress display.
    ``compressed``
        whether the octets are undone on the way.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        name: str | None = None,
        start: Checkpoint | None = None,
        guess: bool = False,
        stop: int | None = None,
        memory: int = MEMORY,
        interruption: Interruption | None = None,
    ) -> None:
        self._raw: RawSource = open_raw(source, 0 if start is None else start.offset)
        self.name = self._raw.name if name is None else name
        self.damages = Damages()
        self._capture = Capture()
        self._buffer = np.empty(WINDOW, np.uint8)
        self._begin = 0  # what is not read yet is self._buffer[self._begin : self._filled]
        self._filled = 0
        self._last = False
        self._last_damage: Damage | None = None
        self._ends_at: int | None = None  # where the octets end that an interruption lets be read
        self._interruption = Interruption() if interruption is None else interruption
        if stop is not None:
            self._capture.stop(stop)
        try:
            if start is not None:
                self._source: ByteSource = self._raw
                self._capture.resume(start.state, start.offset, guess)
            else:
                self._source = decompressed(self._raw, memory)
                self._identify()
        except BaseException:
            self._raw.close()
            raise

    def __enter__(self) -> Trace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives back files and threads."""
        self._source.close()

    @property
    def frames(self) -> int:
        """How many records were given so far."""
        return self._capture.frames

    @property
    def compressed(self) -> bool:
        """Whether the octets are undone on the way."""
        return self._source is not self._raw

    @property
    def identity(self) -> FileIdentity | None:
        """Which state of which file is read; None for what is no regular file. Asked anew each time."""
        return self._raw.identity()

    @property
    def begun(self) -> int:
        """Where the first record of a part is, when it has been read."""
        return self._capture.begun

    def checkpoint(self) -> Checkpoint:
        """Where the next record begins: after `records` or `keys`, the end of the part."""
        return Checkpoint(self._capture.position, self._capture.state())

    @property
    def position(self) -> int:
        """Octets read of the file, compressed ones where it is."""
        return self._raw.position

    @property
    def size(self) -> int | None:
        """The octets of the file; None for a pipe."""
        return self._raw.size

    def records(self, *, batch: int = 16384) -> Iterator[RecordBatch]:
        """Batches of at most ``batch`` records with their octets. Each batch stays valid."""
        status = MORE
        while self._goes_on(status):
            arrays = RecordArrays(batch)
            window = self._window()
            status, n, used = self._capture.read(window, len(window), self._last, arrays)
            first = self.frames - n + 1
            self._collect_damage()
            if n:
                yield RecordBatch(
                    first,
                    window,
                    arrays.offsets[:n],
                    arrays.lengths[:n],
                    arrays.originals[:n],
                    arrays.times[:n],
                    arrays.linktypes[:n],
                    arrays.interfaces[:n],
                )
            self._begin += used
            if status == MORE:
                self._fill(fresh=True)
        self._end(status)

    def keys(
        self,
        *,
        batch: int = 16384,
        fragments: Fragments | None = None,
        inner: int = 0,
        keep: int = 0,
        held: int = 1,
        keep_also: Callable[[npt.NDArray[np.void]], npt.NDArray[np.bool_]] | None = None,
    ) -> Iterator[KeyBatch]:
        """Batches of exactly ``batch`` keys, the last one shorter.

        ``fragments`` and ``inner`` as in `flowclass.engine.packets.parse`; ``keep``: the octets of packets whose
        ``infos["flags"]`` has one of these bits are kept beside the keys, and of those that ``keep_also`` chooses by
        their keys; ``held``: how many batches the caller still
        has when it asks for the next one (more is slower, not wrong).
        """
        pool: list[KeyArrays] = []
        arrays, filled, kept = _unused(pool, batch, held), 0, dict[int, bytes]()
        status = MORE
        while self._goes_on(status):
            window = self._window()
            status, n, used = self._capture.read_keys(window, len(window), self._last, arrays, filled, fragments, inner)
            if keep and n:
                kept |= self._kept(window, arrays, filled, filled + n, keep, keep_also)
            filled += n
            self._collect_damage()
            self._begin += used
            if filled == batch:
                yield self._key_batch(arrays, filled, kept)
                arrays, filled, kept = _unused(pool, batch, held), 0, {}
            if status == MORE:
                self._fill()
        if filled:
            yield self._key_batch(arrays, filled, kept)
        self._end(status)

    def tally(
        self, tally: Tally, table: ForwardingTable, *, fragments: Fragments | None = None, inner: int = 0
    ) -> Iterator[int]:
        """Counts what ``table`` decides about each packet; yields now and then, with the octets read so far."""
        status = MORE
        while self._goes_on(status):
            window = self._window()
            status, used = tally.read(self._capture, window, len(window), self._last, table, fragments, inner)
            self._collect_damage()
            self._begin += used
            yield self.position
            if status == MORE:
                self._fill()
        self._end(status)

    def _key_batch(self, arrays: KeyArrays, n: int, kept: dict[int, bytes]) -> KeyBatch:
        return KeyBatch(
            self.frames - n + 1,
            arrays.keys[:n],
            arrays.infos[:n],
            arrays.lengths[:n],
            arrays.originals[:n],
            arrays.times[:n],
            arrays.linktypes[:n],
            kept,
        )

    @staticmethod
    def _kept(
        window: npt.NDArray[np.uint8],
        arrays: KeyArrays,
        start: int,
        stop: int,
        keep: int,
        keep_also: Callable[[npt.NDArray[np.void]], npt.NDArray[np.bool_]] | None,
    ) -> dict[int, bytes]:
        chosen = (arrays.infos["flags"][start:stop] & keep) != 0
        if keep_also is not None:
            chosen |= keep_also(arrays.keys[start:stop])
        wanted = np.flatnonzero(chosen) + start
        found = {}
        for i in wanted.tolist():
            offset = int(arrays.offsets[i])
            found[i] = window[offset : offset + int(arrays.lengths[i])].tobytes()
        return found

    def _goes_on(self, status: int) -> bool:
        if status in (END, STOPPED):
            return False
        if self._interruption.requested and self._ends_at is None:
            # what is there already is read to its end: a record waits for what follows it, to be judged by that
            self._last, self._ends_at = True, self._capture.position + self._filled - self._begin
        return True

    def _window(self) -> npt.NDArray[np.uint8]:
        """The octets that are there and not read yet."""
        return self._buffer[self._begin : self._filled]

    def _fill(self, *, fresh: bool = False) -> None:
        """Appends what the source gives now; notes its end. ``fresh``: batches have the old buffer, it stays."""
        rest = self._window()
        if fresh:
            self._buffer = np.empty(WINDOW, np.uint8)
        self._buffer[: len(rest)] = rest  # numpy copies overlapping ranges right
        self._begin, self._filled = 0, len(rest)
        assert self._filled < len(self._buffer), "a full window makes progress: FC_CAPTURE_WINDOW"
        try:
            with self._interruption.waiting():
                n = self._source.readinto(self._buffer.data[self._filled :])
        except WaitEndedError:
            return
        self._filled += n
        self._last = n == 0

    def _identify(self) -> None:
        """Reads enough to know that this is a capture."""
        while not self._last and self._filled < 64 and not self._interruption.requested:
            self._fill()
        if self._interruption.requested:
            return
        try:
            Capture().read(self._buffer, self._filled, self._last, RecordArrays(1))
        except ValueError as error:
            why = self._source_damage()
            if self._filled:
                why.append(other_kind(self._buffer[: self._filled].tobytes()) or str(error))
            raise CaptureError(f"{self.name}: {'; '.join(why or ['is empty'])}") from None

    def _collect_damage(self) -> None:
        for kind, offset, skipped, frame in self._capture.damage():
            if self._ends_at is not None and offset + skipped >= self._ends_at:
                continue  # a record that an interruption cut
            self._add_damage(Damage(self.name, offset, frame, skipped, _KINDS[kind]))

    def _add_damage(self, damage: Damage) -> None:
        self._last_damage = damage
        self.damages.add(damage)

    def _end(self, status: int) -> None:
        if status != END or self._ends_at is not None:
            return  # whatever is wrong behind it is for the next part to say, or nobody waited for it
        if why := self._source_damage():
            # the octets ended here for a reason: if a record did too, this is one damage
            end, skipped, last = self._capture.position, 0, self._last_damage
            if last is not None and last.what == _KINDS[1] and last.offset + last.skipped == end:
                end, skipped = last.offset, last.skipped
                if self.damages.more:
                    self.damages.more -= 1
                else:
                    self.damages.pop()
            self._add_damage(Damage(self.name, end, self.frames + 1, skipped, "; ".join(why)))

    def _source_damage(self) -> list[str]:
        found, self._source.damage = self._source.damage, []
        return found


def _unused(pool: list[KeyArrays], capacity: int, held: int) -> KeyArrays:
    """Arrays that nobody holds any more, or new ones; a caller who keeps every batch gets new ones each time."""
    for arrays in pool:
        if arrays.unused:
            return arrays
    arrays = KeyArrays(capacity)
    del pool[: -held - 1]
    pool.append(arrays)
    return arrays
