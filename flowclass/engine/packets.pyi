from collections.abc import Sequence
from typing import Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

__all__ = [
    "FIRST_DTYPE",
    "INNERMOST",
    "NOTE_DTYPE",
    "OPEN",
    "PACKET_DTYPE",
    "SIGNALLING",
    "Fragments",
    "as_batch",
    "parse",
]

INNERMOST: Final[int]
SIGNALLING: Final[int]
OPEN: Final[int]
FIRST_DTYPE: Final[np.dtype[np.void]]
NOTE_DTYPE: Final[np.dtype[np.void]]
PACKET_DTYPE: Final[np.dtype[np.void]]

Octets: TypeAlias = Buffer | npt.NDArray[np.uint8]
Packets: TypeAlias = Sequence[Octets] | tuple[Octets, npt.ArrayLike, npt.ArrayLike]
Batch: TypeAlias = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64], npt.NDArray[np.uint32]]
Records: TypeAlias = npt.NDArray[np.void]

class Fragments:
    """A bounded memory of first fragments, so that later fragments are decided as the first one was; see fragments.c.

    It holds at most ``capacity`` first fragments (1 to 2**24; 112 octets each); then the oldest makes room. ``secret``
    (16 octets) keys the hash; without one it is random. A memory belongs to one input: use one for each trace or
    interface. Batches that share one wait for each other.

    ``defer`` is for a part of an input. Where it could matter what came before the part, a packet is left as it would
    be without a memory, and a note is made, for the memory of what came before to `settle`.
    """
    def __new__(cls, capacity: int = 65536, secret: bytes | None = None, *, defer: bool = False) -> Self: ...
    def __len__(self) -> int: ...
    def clear(self) -> None:
        """Forgets everything."""
    def notes(self, most: int = 16384) -> Records:
        """Takes the oldest notes, at most ``most`` of them, and returns them as an array of `NOTE_DTYPE`."""
    @property
    def told(self) -> int:
        """How many first fragments the memory was told so far."""
    def firsts(self) -> Records:
        """All first fragments that are held, the oldest first, as an array of `FIRST_DTYPE`."""
    def settle(self, notes: Records) -> None:
        """Answers the notes of the part that comes next, in their order, in one or several calls: their ``key`` and
        ``info`` become those that their packets have.
        """
    def extend(self, firsts: Records, told: int) -> None:
        """Takes in what the memory of a part holds, once the part's notes are settled. Then the next part can come."""

def as_batch(packets: Packets) -> Batch:
    """``packets`` as (buffer, offsets u64, lengths u32), each packet inside the buffer: the form that the engine takes.

    Either such a triple (any buffer, integer arrays of equal length; checked, not copied where the types fit), or a
    sequence of bytes-like objects, which are copied together (a tuple of three arrays is always the triple). Raises
    `ClassifierError`.
    """

def parse(
    packets: Packets,
    *,
    linktype: int = 101,
    linktypes: npt.ArrayLike | None = None,
    fragments: Fragments | None = None,
    times: npt.ArrayLike | None = None,
    inner: int = 0,
    keys: Records | None = None,
    infos: Records | None = None,
) -> tuple[Records, Records]:
    """Parses packets and returns ``(keys, infos)``, arrays of `KEY_DTYPE` and `PACKET_DTYPE`.

    ``packets``
        a sequence of bytes-like objects, or (buffer, offsets, lengths) as `as_batch` takes them.
    ``linktype``, ``linktypes``
        the pcap link type number of all (LINKTYPE_x; 101: raw IP), or an array of u16 with one for each.
    ``fragments``
        a `Fragments`: later fragments take the key of their first one, if that came before.
    ``times``
        when each packet came, ns of one clock (i64), or one number for all; used with ``fragments`` only: a first
        fragment is good for 60 seconds (RFC 8200 section 4.5). None: forever.
    ``inner``
        0 or 1 the outermost IP header, N the N-th (or the deepest before it), `INNERMOST`.
    ``keys``, ``infos``
        arrays to fill instead of new ones; at least as long as the input, of which the filled part is returned.

    Never raises on what the packets hold. Raises `ClassifierError` on arguments that don't fit.
    """
