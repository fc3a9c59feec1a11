"""The policy by which an agent decides updates: its settings, and the configuration of its nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from flowclass.addresses import AddressLike
from flowclass.errors import ArgumentError, FlowclassError
from flowclass.wire.flow_options import FlowIdentification
from flowclass.wire.profiles import Profile

from ..addresses import Prefix
from ..cache.node import Node
from ..settings import Capabilities, Limits, Switches

__all__ = ["Policy", "verdict"]


class Policy(Struct, gc=False):
    """The inputs of `process` that are the same for all updates of an agent; addresses are packed."""

    profile: Profile
    switches: Switches = Switches()
    limits: Limits = Limits()
    capabilities: Capabilities = Capabilities()
    correspondent: bool = False
    """Whether this is a correspondent node, which has no IPsec and binds only addresses whose token was used."""
    replay_memory: float = 0.0
    """For how many seconds a sequence number is remembered after its binding has expired or was removed."""
    prefix_table: Mapping[bytes, Sequence[Prefix]] = {}
    """Mobile network prefixes by home address, for implicit mode, and as those that explicit mode may register."""
    ipv4_homes: Mapping[bytes, bytes] = {}
    """IPv4 home addresses by home address; a node that is listed here can have no other one."""
    home_prefixes: Sequence[Prefix] = ()
    """Prefixes in which home addresses must lie, as must mobile network prefixes that aren't in the table; empty:
    any."""
    closed_prefixes: bool = False
    """Whether ``prefix_table`` was configured; if so, nobody can register a prefix that isn't in it."""
    allocate_ipv4: Callable[[bytes], AddressLike | None] | None = None
    """Returns an IPv4 home address for a given home address, or None to refuse."""
    admit_flow: Callable[[Node, FlowIdentification], int | None] | None = None
    """Local policy about one flow option; `verdict` interprets its result. Without one, all flows are admitted."""


def verdict(name: str, answer: object, refusal: int) -> int:
    """Return the status that corresponds to the result of a policy hook.

    True, None and 0 accept with status 0, and 1 to 127 accept with that status. False refuses with the status
    ``refusal``, and 128 to 255 refuse with that status. Any other result raises a FlowclassError that names the hook.
    """
    if answer is None or answer is True:
        return 0
    if answer is False:
        return refusal
    if not isinstance(answer, int):
        raise ArgumentError(name, "a function that returns a bool or a status of 0 to 255", answer)
    if not 0 <= answer <= 255:
        raise FlowclassError(f"{name}: a bool or a status of 0 to 255 expected, got {answer}")
    return int(answer)
