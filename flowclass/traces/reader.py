"""Reads pcap and pcapng traces from files and pipes, compressed or not, in constant memory, and goes on after damage::

with Trace("trace.pcapng.gz") as trace:
    for batch in trace.keys():
        ...                            # batch.keys, batch.infos, batch.times, ...
    trace.damages                      # the damaged places
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO, Final

from msgspec import Struct, field

from flowclass.engine.forwarding import ForwardingTable
from flowclass.engine.packets import Fragments
from flowclass.errors import CaptureError
from flowclass.late import Late
from flowclass.traces._capture import END, MORE, NO_TIME, STOPPED, WINDOW, Capture, KeyArrays, RecordArrays, Tally
from flowclass.traces.decompress import MEMORY, decompressed, other_kind
from flowclass.traces.interruption import Interruption, WaitEndedError
from flowclass.traces.sources import ByteSource, FileIdentity, RawSource, open_raw, source_name

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
else:
    np = Late("numpy")
    npt = Late("numpy.typing")  # in the annotations of msgspec's classes, of which `help` makes types

__all__ = ["NO_TIME", "Checkpoint", "Damage", "Damages", "KeyBatch", "RecordBatch", "Trace"]

_WINDOWS: Final = 4  # of a megabyte: how many octets of packets a batch has at most
_KINDS: Final = {
    1: "the capture ends inside a record",
    2: "no record can begin here",
    3: "the record before this has a wrong length: others begin inside it",
    4: "a block whose lengths contradict each other",
    5: "a block with impossible contents",
    6: "a section of unknown byte order",
    7: "another capture file begins here",
    8: "a version that is not known",
    9: "beyond the limit of 700,000 octets for a packet, or 16 MiB for another pcapng block",
}


class Damage(Struct, frozen=True):
    """One damaged place of a trace.

    ``offset``
        its place, in octets from the start of the trace (after decompression).
    ``frame``
        the number of the next good frame.
    ``skipped``
        how many octets were passed over, and are in no frame, because of the damage.
    ``what``
        what is wrong, in words.
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

    The limit bounds memory: a file of a few kilobytes can have millions of damaged places once it is decompressed.
    """

    MOST = 1000

    def __init__(self, kept: Iterable[Damage] = (), more: int = 0) -> None:
        super().__init__(kept)
        self.more: int = more

    @property
    def found(self) -> int:
        """How many damaged places there are in all."""
        return len(self) + self.more

    def add(self, damage: Damage) -> None:
        """Keeps one more damaged place, or only counts it when there are `MOST` already."""
        if len(self) < self.MOST:
            self.append(damage)
        else:
            self.more += 1


class RecordBatch(Struct, frozen=True, eq=False):
    """A batch of records with their octets; all arrays except ``buffer`` have one element per record.

    Packet i is ``buffer[offsets[i] : offsets[i] + lengths[i]]``, and its frame number is ``first_frame + i``. ``times``
    are ns since 1970, `NO_TIME` where the capture has none. ``originals`` are the lengths on the wire in octets,
    ``linktypes`` the link types as pcap numbers them (LINKTYPE_x), and ``interfaces`` the index of the pcapng interface
    within its section.
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


class KeyBatch(Struct, frozen=True, eq=False):
    """The keys of a batch of records, without the records' octets.

    ``keys`` and ``infos`` are as `flowclass.engine.packets.parse` returns them, and the other arrays as in
    `RecordBatch`. ``kept`` maps the index of a packet in the batch to its octets, for the packets that were asked for.
    Where all octets were asked for, ``windows`` has pairs of the index of a packet, and the octets in which this one
    and those behind it are, at ``offsets``.
    """

    first_frame: int
    keys: npt.NDArray[np.void]
    infos: npt.NDArray[np.void]
    lengths: npt.NDArray[np.uint32]
    originals: npt.NDArray[np.uint32]
    times: npt.NDArray[np.int64]
    linktypes: npt.NDArray[np.uint16]
    kept: dict[int, bytes] = {}
    offsets: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    windows: list[tuple[int, npt.NDArray[np.uint8]]] = []

    def __len__(self) -> int:
        return len(self.keys)


class Checkpoint(Struct, frozen=True):
    """A place between two records of an uncompressed capture file, from which a reader can go on.

    ``offset`` is in octets; ``state`` is what the reader must know about the file before it (`Capture.state`).
    """

    offset: int
    state: bytes

    _SEARCH = slice(3, 8)  # the octets that only a search for records uses: fc_capture_state in capture/parts.h

    def proves(self, guess: Checkpoint) -> bool:
        """Whether ``guess`` was right: a reader that began there reads the same as one that begins here."""
        return self.offset == guess.offset and self.matches(guess.state)

    def matches(self, state: bytes) -> bool:
        """Whether ``state`` equals this one's, apart from the octets that only a search uses."""
        mine, other = bytearray(self.state), bytearray(state)
        mine[self._SEARCH] = other[self._SEARCH] = b""
        return mine == other


class Trace:
    """One trace, read once from its start to its end: iterate over `records` or `keys`.

    ``source`` is a path, ``"-"`` for standard input, or a binary file object. gzip, zstd, xz, bzip2 and lz4 are
    decompressed while reading. ``name`` is what messages about damage call the trace. Raises `CaptureError` when the
    file is missing or is not a capture.

    ``start`` and ``stop`` select a part of an uncompressed file. Reading begins at the checkpoint ``start``, from which
    frames are counted; with ``guess``, it begins at the first record that a search from there on finds. Records that
    begin at the octet offset ``stop`` or later are not read. ``end`` is where the file ends for this reader, even if
    more was appended to it since; a record that is cut short there is then not reported as damage.

    ``memory`` limits the octets that decompression may use. When the ``interruption`` is requested, the trace ends
    early, which is not reported as damage. A ``live`` trace is one that is still being made: what has come is given at
    once, not only when a batch is full.

    ``damages``
        the damage found so far (`Damages`: the first 1,000 places; further ones are only counted).
    ``frames``
        how many records were read so far.
    ``position``, ``size``
        how many octets of the file were read, and its size (None for a pipe), for a progress display.
    ``compressed``
        whether the trace is decompressed while it is read.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        name: str | None = None,
        start: Checkpoint | None = None,
        guess: bool = False,
        stop: int | None = None,
        end: int | None = None,
        memory: int = MEMORY,
        interruption: Interruption | None = None,
        live: bool = False,
    ) -> None:
        self._interruption = Interruption() if interruption is None else interruption
        try:
            with self._interruption.waiting():  # for somebody who writes to a named pipe
                self._raw: RawSource = open_raw(source, 0 if start is None else start.offset, end)
        except WaitEndedError:
            self._raw = RawSource(source_name(source), lambda _: 0, lambda: None)
        self.name: str = self._raw.name if name is None else name
        self.damages: Damages = Damages()
        self._capture = Capture()
        self._buffer = memoryview(bytearray(WINDOW))
        self._begin = 0  # the octets not parsed yet are self._buffer[self._begin : self._filled]
        self._filled = 0
        self._last = False
        self._last_damage: Damage | None = None
        self._ends_at: int | None = None  # the offset up to which octets are read, where the file has more of them
        self._identified = start is not None  # whether it is known to be a capture
        self._live = live
        if stop is not None:
            self._capture.stop(stop)
        try:
            if start is not None:
                self._source: ByteSource = self._raw
                self._capture.resume(start.state, start.offset, guess)
            else:
                try:
                    with self._interruption.waiting():  # for the first octets, of which no packet can be
                        self._source = decompressed(self._raw, memory)
                except WaitEndedError:
                    self._source = self._raw
                self._identify()
        except BaseException:
            self._raw.close()
            raise

    def __enter__(self) -> Trace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file and ends the thread that decompresses it, if there is one."""
        self._source.close()

    @property
    def frames(self) -> int:
        """How many records were given so far."""
        return self._capture.frames

    @property
    def compressed(self) -> bool:
        """Whether the trace is decompressed while it is read."""
        return self._source is not self._raw

    def check(self, identity: FileIdentity | None) -> None:
        """Raises `CaptureError` if the file has another identity, or lost octets that it had then (`identity_of`)."""
        self._raw.check(identity)

    @property
    def has_grown(self) -> bool:
        """Whether there are octets behind ``end``."""
        return self._raw.is_limited

    @property
    def begun(self) -> int:
        """The offset of the first record of a part, once that record has been read."""
        return self._capture.begun

    def checkpoint(self) -> Checkpoint:
        """The place where the next record begins; after `records` or `keys`, this is the end of the part."""
        return Checkpoint(self._capture.position, self._capture.state())

    @property
    def position(self) -> int:
        """How many octets of the file were read (compressed ones, if it is compressed)."""
        return self._raw.position

    @property
    def size(self) -> int | None:
        """The size of the file in octets; None for a pipe."""
        return self._raw.size

    def records(self, *, batch: int = 16384) -> Iterator[RecordBatch]:
        """Yields batches of at most ``batch`` records with their octets. Batches stay valid when more are read."""
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
                    np.asarray(window),
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
        octets: bool = False,
    ) -> Iterator[KeyBatch]:
        """Yields batches of exactly ``batch`` keys; the last one may be shorter, and in a live trace any one.

        ``fragments`` and ``inner`` are as in `flowclass.engine.packets.parse`. A batch also has the octets of packets
        whose ``infos["flags"]`` has one of the bits of ``keep``. ``keep_also``, which gets an array of keys and returns
        a boolean for each, can choose more packets; it is not called when ``keep`` is 0. ``held`` is how many batches
        the caller still uses when it asks for the next one; if it uses more, reading is slower but still correct.
        With ``octets``, a batch has the octets of all of its packets, and is shorter if these are many.
        """
        pool: list[KeyArrays] = []
        arrays, filled, kept = _unused(pool, batch, held), 0, dict[int, bytes]()
        windows: list[tuple[int, npt.NDArray[np.uint8]]] = []
        status = MORE
        while self._goes_on(status):
            window = self._window()
            if octets:
                windows.append((filled, np.asarray(window)))
            status, n, used = self._capture.read_keys(window, len(window), self._last, arrays, filled, fragments, inner)
            if keep and n:
                kept |= self._kept(window, arrays, filled, filled + n, keep, keep_also)
            filled += n
            self._collect_damage()
            self._begin += used
            waits = self._live and status == MORE and not self._raw.is_ready()
            if filled == batch or (filled and (waits or len(windows) >= _WINDOWS)):
                yield self._key_batch(arrays, filled, kept, windows)
                arrays, filled, kept, windows = _unused(pool, batch, held), 0, {}, []
            if status == MORE:
                self._fill(fresh=octets)
        if filled:
            yield self._key_batch(arrays, filled, kept, windows)
        self._end(status)

    def tally(
        self, tally: Tally, table: ForwardingTable, *, fragments: Fragments | None = None, inner: int = 0
    ) -> Iterator[int]:
        """Counts in ``tally`` what ``table`` decides about each packet. Yields the octets read so far, now and then."""
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

    def _key_batch(
        self, arrays: KeyArrays, n: int, kept: dict[int, bytes], windows: list[tuple[int, npt.NDArray[np.uint8]]]
    ) -> KeyBatch:
        return KeyBatch(
            self.frames - n + 1,
            arrays.keys[:n],
            arrays.infos[:n],
            arrays.lengths[:n],
            arrays.originals[:n],
            arrays.times[:n],
            arrays.linktypes[:n],
            kept,
            arrays.offsets[:n],
            windows,
        )

    @staticmethod
    def _kept(
        window: memoryview,
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
        if status in (END, STOPPED) or not self._identified:
            return False
        if self._interruption.requested and self._ends_at is None:
            # the octets already there are parsed to their end as if nothing followed: a record is otherwise kept back
            # until the next one shows whether its length is right
            self._end_early()
        return True

    def _end_early(self) -> None:
        """Takes the octets that are in the buffer for the last ones, although more would follow."""
        self._last, self._ends_at = True, self._capture.position + self._filled - self._begin

    def _window(self) -> memoryview:
        """The octets in the buffer that are not parsed yet."""
        return self._buffer[self._begin : self._filled]

    def _fill(self, *, fresh: bool = False) -> None:
        """Appends octets from the source to the window, and notes when the source ends.

        With ``fresh`` they go to a new buffer, because batches still use the old one.
        """
        rest = self._window()
        if fresh:
            self._buffer = np.empty(WINDOW, np.uint8).data  # which, unlike a bytearray, is not filled with zeros
        self._buffer[: len(rest)] = rest  # ranges may overlap
        self._begin, self._filled = 0, len(rest)
        assert self._filled < len(self._buffer), "a full window makes progress: FC_CAPTURE_WINDOW"
        room = self._buffer[self._filled :]
        # only the waiting ends early, if it can be done apart: what is taken out of a pipe must not get lost
        apart, n = self._source is self._raw and self._raw.never_waits, 0
        if not apart:
            try:
                with self._interruption.waiting():
                    apart = self._source is self._raw and self._raw.wait()
                    n = 0 if apart else self._source.readinto(room)
            except WaitEndedError:
                return
        if apart:
            n = self._raw.readinto(room)
        self._filled += n
        self._last = n == 0
        if self._last and self._raw.is_limited:
            self._end_early()

    def _identify(self) -> None:
        """Reads enough to know that this is a capture; raises `CaptureError` if it is not."""
        while not self._last and self._filled < 64 and not self._interruption.requested:
            self._fill()
        if self._interruption.requested:
            return
        try:
            Capture().identify(self._buffer, self._filled, self._last)
        except ValueError as error:
            why = self._source_damage()
            if self._filled:
                why.append(other_kind(self._buffer[: self._filled].tobytes()) or str(error))
            raise CaptureError(f"{self.name}: {'; '.join(why or ['is empty'])}") from None
        self._identified = True

    def _collect_damage(self) -> None:
        for kind, offset, skipped, frame in self._capture.damage():
            if self._ends_at is not None and offset + skipped >= self._ends_at:
                continue  # not damage: the interruption, or the end that was given, cut this record short
            self._add_damage(Damage(self.name, offset, frame, skipped, _KINDS[kind]))

    def _add_damage(self, damage: Damage) -> None:
        self._last_damage = damage
        self.damages.add(damage)

    def _end(self, status: int) -> None:
        if status != END or self._ends_at is not None:
            return  # damage after `stop` is reported by the next part; what was not read is not damaged
        if why := self._source_damage():
            # the compressed data ended early: if a record is cut off there too, both are one damage
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
    """Arrays from the pool that nobody uses any more, or new ones if all are in use."""
    for arrays in pool:
        if arrays.unused:
            return arrays
    arrays = KeyArrays(capacity)
    del pool[: -held - 1]
    pool.append(arrays)
    return arrays
