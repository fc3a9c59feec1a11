from collections.abc import Callable, Iterable
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer, deprecated

from flowclass.addresses import AddressLike, PrefixLike
from flowclass.engine.decisions import Action, DecisionFlag, Reason
from flowclass.engine.packets import Fragments, Packets

__all__ = ["FLOW_DTYPE", "TARGET_DTYPE", "DataPlane", "Decision", "ForwardingTable"]

FLOW_DTYPE: Final[np.dtype[np.void]]
ABI: tuple[int, ...]
TARGET_DTYPE: Final[np.dtype[np.void]]

Records = npt.NDArray[np.void]
Flow = tuple[int, int, tuple[int, ...], Buffer]

class Decision:
    """One decision: what `ForwardingTable.decide_one` returns. Fields that do not apply are None."""
    @property
    def action(self) -> Action: ...
    @property
    def reason(self) -> Reason: ...
    @property
    def flags(self) -> DecisionFlag: ...
    @property
    def n_targets(self) -> int: ...
    @property
    def fid(self) -> int | None: ...
    @property
    def bid(self) -> int | None: ...
    @property
    def node(self) -> int | None: ...
    @property
    def home_address(self) -> bytes | None: ...
    @property
    def care_of(self) -> tuple[bytes, ...]: ...

class ForwardingTable:
    """Decides packets for mobile nodes, which it finds by home address (exact) or mobile network prefix (longest
    match).

    Readers (`classify...`) run in any number of threads beside one another and beside `publish` and `withdraw`, and
    wait for nobody: each decision is that of a complete state of the node. decisions.py has the array type of decisions
    (`DECISION_DTYPE`) and names for its numbers. ``secret`` (16 octets) keys the hash of addresses; without one it is
    random. Errors are `ClassifierError`; a call that fails changes nothing.
    """
    def __new__(cls, secret: Buffer | None = None) -> Self: ...
    def __len__(self) -> int: ...
    def __contains__(self, home_address: AddressLike, /) -> bool: ...
    def publish(
        self,
        home_address: AddressLike,
        *,
        also: Iterable[AddressLike] = (),
        prefixes: Iterable[PrefixLike] = (),
        targets: Iterable[tuple[int, AddressLike]] = (),
        default: int = -1,
        flows: Iterable[Flow] = (),
    ) -> int:
        """Adds a node, or replaces the one with this home address as a whole; returns its number.

        ``home_address``, ``also``
            addresses in any form of `flowclass.addresses`; ``also`` are further ones of the same node.
        ``prefixes``
            its mobile networks.
        ``targets``
            (BID, care-of address); BID 0 is a binding without one.
        ``default``
            index into targets of the default binding, or -1.
        ``flows``
            (FID, action, tuple of indices into targets, rule) in matching order: (PRI, FID). Action 1 forward, 2
            discard, 3 n-cast; rule: the 96 octets of one row of `RULE_DTYPE`. A flow that forwards to no target is
            inactive.
        """
    def load(
        self,
        home_addresses: npt.ArrayLike,
        *,
        targets: Records,
        target_offsets: npt.ArrayLike,
        defaults: npt.ArrayLike,
        flows: Records,
        flow_offsets: npt.ArrayLike,
        flow_targets: npt.ArrayLike,
    ) -> npt.NDArray[np.uint32]:
        """Publishes many nodes at once, from arrays; returns their numbers (u32).

        ``home_addresses``
            (n, 16) or (n, 4) octets.
        ``targets``, ``target_offsets``
            rows of `TARGET_DTYPE`; node i has those from target_offsets[i] up to target_offsets[i + 1].
        ``defaults``
            index among the node's own targets, or -1.
        ``flows``, ``flow_offsets``
            rows of `FLOW_DTYPE` in matching order, divided among the nodes in the same way. A flow's targets are
            flow_targets[targets : targets + n_targets], each an index (u16) among the node's own targets.

        If a node is refused, loading ends with a `ClassifierError` that says which; the nodes before it are in the
        table.
        """
    def withdraw(self, home_address: AddressLike) -> None:
        """Removes the node with this home address, its other addresses and its prefixes."""
    def find(self, home_address: AddressLike) -> int | None:
        """The number of the node with exactly this address (its home address or a further one), or None."""
    def reserve(self, addresses: int) -> None:
        """Makes room in the index before a bulk load."""
    def reclaim(self) -> None:
        """Frees now what was replaced and no reader can see any more; `publish` does so from time to time."""
    def info(self) -> dict[str, int]:
        """Counts, as a dict: ``nodes``, ``addresses`` and ``prefixes``; ``bytes``, all memory in use; ``waiting``, the
        octets that are freed when readers have left; ``freed``, the octets that were freed in this way so far.
        """
    def classify(self, keys: Records, out: Records | None = None, kernel: str = "auto", *, threads: int = 1) -> Records:
        """The decision for each key of an array of `KEY_DTYPE`, as an array of `DECISION_DTYPE`. ``out`` may be an
        array to fill, at least as long; the filled part is returned. A key of protocol 135 is signalling.
        """
    def classify_parsed(
        self, keys: Records, infos: Records, out: Records | None = None, *, kernel: str = "auto", threads: int = 1
    ) -> Records:
        """The decision for each packet that `flowclass.engine.packets.parse` (or a trace) made ``keys`` and ``infos``
        (`PACKET_DTYPE`) of: as `classify_packets`, without parsing again.
        """
    def classify_packets(
        self,
        packets: Packets,
        *,
        linktype: int = 101,
        linktypes: npt.ArrayLike | None = None,
        fragments: Fragments | None = None,
        times: npt.ArrayLike | None = None,
        inner: int = 0,
        out: Records | None = None,
        kernel: str = "auto",
        threads: int = 1,
    ) -> Records:
        """The decision for each packet; packets are given as `flowclass.engine.packets.parse` takes them. With
        ``fragments`` only one thread is used.
        """
    def classify_one(self, packet: Buffer, linktype: int = 101) -> int:
        """One packet's decision as an integer: action in bits 0-1, reason in 2-4, FID valid 5, BID valid 6, node found
        7, BID in 8-23, FID in 24-39, copies to send in 40-47.
        """
    def decide_one(self, packet: Buffer, linktype: int = 101) -> Decision:
        """One packet's `Decision`."""
    def addresses_of(
        self, decisions: Records
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], Records, npt.NDArray[np.int64]]:
        """What `home_address` and `care_of` say, for an array of `DECISION_DTYPE` at once: (homes, versions, targets,
        ends).

        ``homes`` (n, 16) octets and ``versions`` (n): 4, 6, or 0 for none. ``targets``: rows of `TARGET_DTYPE`, those
        of decision i from ends[i - 1] (0 before the first) up to ends[i].
        """
    @deprecated("ForwardingTable.places is called addresses_of")
    def places(
        self, decisions: Records
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], Records, npt.NDArray[np.int64]]:
        """The former name of `addresses_of`."""
    def care_of(self, decision: np.void | Buffer) -> tuple[bytes, ...]:
        """The packed addresses that a decision (an element of `DECISION_DTYPE`) sends to: none, one, or for n-cast in
        the order of the flow's BIDs. Of n-cast these are the node's present ones, should it have been replaced
        since.
        """
    def home_address(self, decision: np.void | Buffer | int | np.integer) -> bytes | None:
        """The packed home address of a decision's node, or of a node number; None if there is none (any more)."""

class DataPlane:
    """A table with a memory of first fragments: what an agent needs for one packet, or a few, at a time.

    ``fragments`` returns the `Fragments` to use, and ``clock`` the time in ns, or None; for one packet both are only
    called if it is a fragment. A later fragment is decided as its first one was (RFC 6089 section 5.3.6), for 60 s by
    that clock (RFC 8200 section 4.5); calls with fragments wait for each other.
    """
    def __init__(
        self, table: ForwardingTable, fragments: Callable[[], Fragments], clock: Callable[[], int | None]
    ) -> None: ...
    def classify(self, packets: Packets) -> npt.NDArray[np.void]:
        """An array of DECISION_DTYPE: `ForwardingTable.classify_packets` with that memory and that clock, at less cost
        for a list or tuple of a few packets.
        """
    def classify_one(self, packet: Buffer, linktype: int = 101) -> int:
        """One packet's decision as an integer, whose bits are those of `ForwardingTable.classify_one`."""
    def decide_one(self, packet: Buffer, linktype: int = 101) -> Decision:
        """One packet's `Decision`."""
