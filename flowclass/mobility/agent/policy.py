"""What one agent judges every update by: its settings, and what was configured for its nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from flowclass.errors import ArgumentError, FlowclassError
from flowclass.wire.flow_options import FlowIdentification
from flowclass.wire.profiles import Profile

from ..addresses import Prefix
from ..cache.node import Node
from ..settings import Capabilities, Limits, Switches

__all__ = ["Policy", "verdict"]


class Policy(Struct, gc=False):
    """The inputs of `process` that are the same for each update; addresses are packed."""

    profile: Profile
    switches: Switches = Switches()
    limits: Limits = Limits()
    capabilities: Capabilities = Capabilities()
    correspondent: bool = False
    """Whether a correspondent node decides: it has no IPsec, and binds addresses with a token only."""
    replay_memory: float = 0.0
    """Seconds for which a sequence number outlives its binding, whichever way that ends."""
    prefix_table: Mapping[bytes, Sequence[Prefix]] = {}
    """Mobile network prefixes by home address: those of implicit mode, and those that explicit mode may name."""
    ipv4_homes: Mapping[bytes, bytes] = {}
    """IPv4 home addresses by home address: a node has the one that stands here, and no other."""
    home_prefixes: Sequence[Prefix] = ()
    """Those that home addresses may have, and mobile network prefixes that no table names; empty: any."""
    closed_prefixes: bool = False
    """Whether ``prefix_table`` was configured: then a prefix that it doesn't have is nobody's."""
    allocate_ipv4: Callable[[bytes], bytes | None] | None = None
    """Makes up an IPv4 home address for a home address; None refuses."""
    admit_flow: Callable[[Node, FlowIdentification], int | None] | None = None
    """Local policy about one flow option (`verdict` reads its answer); None admits all."""


def verdict(name: str, answer: object, refusal: int) -> int:
    """What a hook has answered, as a status: True, None and 0 accept with 0; 1 to 127 accept with that status; False
    refuses with `refusal`, 128 to 255 with that status."""
    if answer is None or answer is True:
        return 0
    if answer is False:
        return refusal
    if not isinstance(answer, int):
        raise ArgumentError(name, "a function that returns a bool or a status of 0 to 255", answer)
    if not 0 <= answer <= 255:
        raise FlowclassError(f"{name}: a bool or a status of 0 to 255 expected, got {answer}")
    return int(answer)
